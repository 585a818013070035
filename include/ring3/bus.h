/* SPDX-License-Identifier: MIT */
/* An address space of device registers. MMIO and port I/O are two instances of the same type.
 * The bus copies the handler out and calls it with no lock held; devices lock themselves. */
#ifndef RING3_BUS_H
#define RING3_BUS_H

#include "ring3/err.h"
#include "ring3/types.h"

/* A device's registers. `offset` is from the start of the mapping; `size` is a power of two
 * between min_size and max_size (bytes) and divides `offset`; values are little-endian in the low
 * bits. Wider and misaligned guest accesses are split by the bus into ascending aligned pieces.
 * Narrower ones than min_size: the bus reads the containing min_size register and extracts; such
 * writes are passed at min_size with the other bytes 0. Called on a vCPU thread. */
struct io_ops {
    uint64_t (*read)(void *opaque, uint64_t offset, unsigned size);
    void (*write)(void *opaque, uint64_t offset, unsigned size, uint64_t value);
    uint8_t min_size, max_size; /* 1, 2, 4 or 8; 0 means 1 and 4 */
    /* For data ports, or NULL: the next `count` values of `size` bytes at `offset`, to buf. Returns
     * how many there were; 0 leaves it to read(). */
    unsigned (*read_many)(void *opaque, uint64_t offset, unsigned size, void *buf, unsigned count);
};

struct bus;
struct bus *bus_new(const char *name, uint64_t limit, struct err *e); /* addresses 0..limit-1 */
void bus_free(struct bus *b);

/* Map [base, base+len). -EEXIST if it overlaps another mapping. `name` is kept by reference. */
int bus_map(struct bus *b, uint64_t base, uint64_t len, const struct io_ops *ops, void *opaque,
            const char *name, struct err *e);
/* Remove the mapping that starts at base (PCI BARs move). No effect if there is none. */
void bus_unmap(struct bus *b, uint64_t base);

/* size: 1, 2, 4 or 8. Reads of unmapped addresses give all ones; writes there are dropped. */
uint64_t bus_read(struct bus *b, uint64_t addr, unsigned size);
void bus_write(struct bus *b, uint64_t addr, unsigned size, uint64_t value);

/* As many reads of addr as the device answers at once, at most count; 0: use bus_read. */
unsigned bus_read_many(struct bus *b, uint64_t addr, unsigned size, void *buf, unsigned count);

/* Name of the device at addr, or NULL. For traces and statistics. */
const char *bus_name_at(struct bus *b, uint64_t addr);

#endif
