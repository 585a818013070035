/* SPDX-License-Identifier: MIT */
/* Galileo GT-64120 system controller: a MIPS processor's way to PCI bus 0. */
#ifndef RING3_DEVICES_GT64120_H
#define RING3_DEVICES_GT64120_H

#include "ring3/devices/pci.h"

#define GT64120_BYTES      0x200000u   /* of its registers, which repeat every 4 KiB */
#define GT64120_RESET_BASE 0x14000000u /* where they are after a reset */

/* Offsets of registers that boot loaders write. A place is an address divided by 2 MiB. */
enum {
    GT_PCI0_IO_LOW = 0x048,
    GT_PCI0_IO_HIGH = 0x050,
    GT_PCI0_MEM0_LOW = 0x058,
    GT_PCI0_MEM0_HIGH = 0x060,
    GT_INTERNAL_SPACE = 0x068,
    GT_PCI0_MEM1_LOW = 0x080,
    GT_PCI0_MEM1_HIGH = 0x088,
    GT_PCI0_IO_REMAP = 0x0f0,
    GT_PCI0_MEM0_REMAP = 0x0f8,
    GT_PCI0_MEM1_REMAP = 0x100,
    GT_PCI0_COMMAND = 0xc00,
    GT_INT_CAUSE = 0xc18,
    GT_INT_MASK = 0xc1c,
    GT_PCI0_IACK = 0xc34,
    GT_PCI0_ADDRESS = 0xcf8,
    GT_PCI0_DATA = 0xcfc,
};
#define GT_PLACE_SHIFT     21
#define GT_CAUSE_MASTER_0  0x40000u /* PCI 0: a cycle that nobody answered */
#define GT_COMMAND_NO_SWAP 0x1u     /* MByteSwap */

struct gt64120_config {
    bool big_endian;           /* strapping: registers in that order, PCI data swapped */
    struct irq_line interrupt; /* a level */
    /* Interrupt acknowledge cycle on PCI 0: the vector. vCPU thread. */
    int (*iack)(void *opaque);
    void *iack_opaque;
};

/* The registers and the windows to PCI appear on h->mmio, and move there; PCI I/O space is h->pio.
 * NULL on error. */
struct device *gt64120_new(const struct dev_host *h, const struct gt64120_config *c, struct err *e);
/* What functions on its PCI bus are to be made with: h, but with PCI memory space as mmio. */
struct dev_host gt64120_pci_host(struct device *d);
/* The bus itself, made with the above; its device 0 is this chip. Before the VM runs. */
int gt64120_connect(struct device *d, struct pci_host *pci, struct err *e);

#endif
