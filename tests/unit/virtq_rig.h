/* SPDX-License-Identifier: MIT */
/* The driver's side of a virtqueue in a test's guest memory: 16 MiB of RAM at 0, of which 64 KiB
 * at 0xf0000 is ROM, and nothing above. */
#ifndef RING3_TESTS_VIRTQ_RIG_H
#define RING3_TESTS_VIRTQ_RIG_H

#include "unit.h"

#include "ring3/devices/virtq.h"

#define GUEST_RAM   (16 * MIB)
#define GUEST_ROM   0xf0000u
#define GUEST_ABOVE 0x100000u
enum { D_NEXT = 1, D_WRITE = 2, D_TABLE = 4 };

/* A queue as its driver knows it. */
struct gq {
    struct phys *mem;
    gpa_t desc, avail, used;
    unsigned size;
    uint16_t next_avail, next_used;
};

static inline struct phys *guest_memory(void)
{
    struct phys *mem = phys_new(GUEST_RAM, NULL);
    assert_non_null(mem);
    assert_int_equal(phys_map_ram(mem, 0, 0, GUEST_ROM, NULL), 0);
    assert_int_equal(phys_map_rom(mem, GUEST_ROM, GUEST_ROM, GUEST_ABOVE - GUEST_ROM, NULL), 0);
    assert_int_equal(phys_map_ram(mem, GUEST_ABOVE, GUEST_ABOVE, GUEST_RAM - GUEST_ABOVE, NULL), 0);
    return mem;
}

static inline void put(struct phys *mem, gpa_t at, uint64_t value, unsigned bytes)
{
    assert_int_equal(phys_load(mem, at, &value, bytes), 0);
}
static inline uint64_t get(struct phys *mem, gpa_t at, unsigned bytes)
{
    uint64_t value = 0;
    assert_int_equal(phys_read(mem, at, &value, bytes), 0);
    return value;
}

/* Rings one after the other from `at` on, each on a page of its own. */
static inline struct gq gq_at(struct phys *mem, gpa_t at, unsigned size)
{
    phys_zero(mem, at, 0x4000);
    return (struct gq){mem, at, at + 0x1000, at + 0x2000, size, 0, 0};
}

static inline void gq_desc_at(struct phys *mem, gpa_t table, unsigned n, gpa_t address,
                              uint32_t len, unsigned flags, unsigned next)
{
    put(mem, table + 16 * n, address, 8);
    put(mem, table + 16 * n + 8, len, 4);
    put(mem, table + 16 * n + 12, flags, 2);
    put(mem, table + 16 * n + 14, next, 2);
}
static inline void gq_desc(struct gq *g, unsigned n, gpa_t address, uint32_t len, unsigned flags,
                           unsigned next)
{
    gq_desc_at(g->mem, g->desc, n, address, len, flags, next);
}

static inline void gq_offer(struct gq *g, unsigned head)
{
    put(g->mem, g->avail + 4 + 2 * (g->next_avail % g->size), head, 2);
    g->next_avail++;
    put(g->mem, g->avail + 2, g->next_avail, 2);
}

/* The next used element, if there is one. */
static inline bool gq_used(struct gq *g, uint32_t *id, uint32_t *len)
{
    if ((uint16_t)get(g->mem, g->used + 2, 2) == g->next_used)
        return false;
    *id = (uint32_t)get(g->mem, g->used + 4 + 8 * (g->next_used % g->size), 4);
    *len = (uint32_t)get(g->mem, g->used + 8 + 8 * (g->next_used % g->size), 4);
    g->next_used++;
    return true;
}

static inline void gq_used_event(struct gq *g, unsigned value)
{
    put(g->mem, g->avail + 4 + 2 * g->size, value, 2);
}
static inline unsigned gq_avail_event(struct gq *g)
{
    return (unsigned)get(g->mem, g->used + 4 + 8 * g->size, 2);
}

/* The device's side of the same queue, switched on. */
static inline void gq_attach(const struct gq *g, struct virtq *q)
{
    virtq_reset(q, g->mem);
    q->desc = g->desc;
    q->avail = g->avail;
    q->used = g->used;
    q->size = (uint16_t)g->size;
    virtq_start(q);
}

#endif
