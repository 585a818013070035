/* SPDX-License-Identifier: MIT */
/* The device tree of board mipsvirt: what the machine says about itself. */
#ifndef RING3_BOARD_MIPSVIRT_TREE_H
#define RING3_BOARD_MIPSVIRT_TREE_H

#include "ring3/err.h"
#include "ring3/types.h"

/* Physical memory. KSEG0 and KSEG1 show the first 512 MiB.
 *
 *   0           RAM, up to 256 MiB         1f000000  com1          1f002000  clock
 *   20000000    RAM from 256 MiB on        1f001000  syscon        1f010000  virtio, 0x200 each */
#define MIPSVIRT_LOW_RAM   (256 * MIB)
#define MIPSVIRT_HIGH_BASE 0x20000000u
#define MIPSVIRT_IO        0x1f000000u
#define MIPSVIRT_IO_BYTES  0x00100000u
#define MIPSVIRT_COM1      (MIPSVIRT_IO + 0x0000)
#define MIPSVIRT_SYSCON    (MIPSVIRT_IO + 0x1000)
#define MIPSVIRT_CLOCK     (MIPSVIRT_IO + 0x2000)
#define MIPSVIRT_VIRTIO    (MIPSVIRT_IO + 0x10000)
#define MIPSVIRT_SLOTS     32u /* for virtio devices */

/* Interrupt pins of the processor; Cause.IP and the tree count two software interrupts before. */
enum mipsvirt_pin {
    MIPSVIRT_PIN_COM1,
    MIPSVIRT_PIN_CLOCK,
    MIPSVIRT_PIN_DRIVES,
    MIPSVIRT_PIN_NICS,
    MIPSVIRT_PIN_OTHERS,
    MIPSVIRT_PINS,
};
#define MIPSVIRT_FIRST_IP 2

#define MIPSVIRT_SEED_BYTES 32

struct mipsvirt_tree {
    const char *cpu; /* its name in the tree, such as "mips,mips24Kf" */
    uint64_t ram_bytes;
    uint64_t clock_hz; /* of the processor; Count runs at half of it */
    struct mipsvirt_slot {
        bool used;
        enum mipsvirt_pin pin;
    } slot[MIPSVIRT_SLOTS];
    const uint8_t *seed; /* random bytes for the guest's own generator, or NULL */
};

/* Write the tree to buf, complete but for what the boot loader adds. */
int mipsvirt_tree_write(const struct mipsvirt_tree *t, void *buf, size_t bytes, struct err *e);

#endif
