/* SPDX-License-Identifier: MIT */
/* Intel 440FX host bridge (82441FX PMC), PCI 00:00.0. */
#ifndef RING3_DEVICES_I440FX_H
#define RING3_DEVICES_I440FX_H

#include "ring3/devices/pci.h"

/* Guest memory from 0xc0000 to 0xfffff comes in pieces that are RAM or what lies behind it. */
#define I440FX_PIECES      16
#define I440FX_PIECE_BYTES (16 * KIB)
#define I440FX_SHADOW_GPA  0xc0000u

/* What a piece shows while its shadow RAM cannot be read: ROM from ram_offset on, or nothing. */
struct i440fx_behind {
    enum phys_kind kind; /* PHYS_ROM or PHYS_NONE */
    uint64_t ram_offset;
};
struct i440fx_config {
    struct phys *mem; /* its shadow RAM is at the offsets in RAM that the guest addresses say */
    struct i440fx_behind behind[I440FX_PIECES];
};

/* NULL on error. Remaps its range of *mem, which must be RAM of at least 1 MiB, at once and at
 * each reset. */
struct device *i440fx_new(struct pci_host *pci, const struct i440fx_config *c, struct err *e);

#endif
