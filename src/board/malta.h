/* SPDX-License-Identifier: MIT */
/* Inside the malta board: its parts, shared by wiring (malta.c, malta_pci.c) and start-up
 * (malta_boot.c). */
#ifndef RING3_BOARD_MALTA_H
#define RING3_BOARD_MALTA_H

#include "board/ide_parts.h"
#include "ring3/devices/pci.h"
#include "ring3/vm.h"

/* Physical addresses.
 *
 *   0           RAM, the first 256 MiB       0x1be00000  GT-64120
 *   0x10000000  PCI memory                   0x1f000000  board's registers, third serial port
 *   0x18000000  PCI I/O                      0x1fc00010  revision
 *   0x18200000  PCI memory, too              0x90000000  RAM beyond 256 MiB
 *
 * On the board all of RAM is at 0x80000000 as well; only what 0 does not show is here. */
#define MALTA_LOW_RAM   (256 * MIB)
#define MALTA_HIGH_BASE 0x90000000u
#define MALTA_MAX_RAM   (MALTA_LOW_RAM + (UINT64_C(0x100000000) - MALTA_HIGH_BASE) - 16 * MIB)
#define MALTA_GT_BASE   0x1be00000u
#define MALTA_PCI_MEM0  0x10000000u
#define MALTA_PCI_IO    0x18000000u
#define MALTA_PCI_MEM1  0x18200000u

/* Hardware interrupt pins of the processor. */
enum malta_pin { MALTA_PIN_I8259 = 0, MALTA_PIN_UART = 2, MALTA_PIN_GT = 3 };

/* Devices of PCI bus 0. Four slots are all that kernels know how interrupts are wired of, so that
 * further devices are functions in one of them. */
enum malta_slot {
    MALTA_SLOT_PIIX4 = 10, /* functions: 0 ISA, 1 IDE, 3 power management */
    MALTA_SLOT_PCNET = 11, /* on the board: the first of --net */
    MALTA_SLOT_1 = 18,     /* virtio disks */
    MALTA_SLOT_2 = 19,     /* 9P */
    MALTA_SLOT_3 = 20,     /* virtio console, entropy, balloon */
    MALTA_SLOT_4 = 21,     /* other network cards */
    MALTA_SLOTS = 32,
};
#define MALTA_PIRQ_AB  10 /* where the monitor routes PCI interrupts, all of which are levels */
#define MALTA_PIRQ_CD  11
#define MALTA_PM_BASE  0x1000u
#define MALTA_ISA_IRQS 16u

struct malta {
    struct device dev; /* first; owns this struct */
    struct vm *vm;
    struct dev_host host;     /* of chips beside PCI; its ports are those of PCI */
    struct dev_host pci_host; /* of what is on PCI */
    struct device *gt, *pci, *pic, *acpi_pm, *rtc;
    struct device *isa_irq[MALTA_ISA_IRQS]; /* ORs of those that PCI may share; else NULL */
    struct ide_parts ide;
    uint8_t used[MALTA_SLOTS]; /* functions of each slot */
    char memsize[16], ememsize[16];
};

/* ISA interrupt n as a chip drives it, and as the PCI interrupt router does. */
struct irq_line malta_irq(struct malta *m, unsigned n);
struct irq_line malta_irq_for_pci(struct malta *m, unsigned n);

static inline uint64_t malta_low_ram(const struct malta *m)
{
    uint64_t ram = m->vm->config.ram_bytes;
    return ram < MALTA_LOW_RAM ? ram : MALTA_LOW_RAM;
}

/* malta_pci.c: what is behind the GT-64120 and not soldered. Build time. */
int malta_cards(struct malta *m, struct err *e);

/* Do what the YAMON monitor does: chips, memory, processor state. Devices and processor are freshly
 * reset. Build time and vCPU thread. */
int malta_boot(struct malta *m, struct err *e);

#endif
