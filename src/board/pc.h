/* SPDX-License-Identifier: MIT */
/* Inside the pc board: its parts, shared by wiring (pc.c) and start-up (pc_boot.c). */
#ifndef RING3_BOARD_PC_H
#define RING3_BOARD_PC_H

#include "board/ide_parts.h"
#include "boot/boot.h"
#include "isa/x86/x86.h"
#include "ring3/vm.h"

/* Guest-physical layout. RAM offset and guest address are the same everywhere.
 *
 *   0        RAM                          0xa0000   video memory window: VGA, or nothing
 *   0xc0000  ROM: ACPI tables, else zero  1 MiB     RAM up to -m
 *   RAM end  nothing, PCI windows
 *
 * With firmware: 0xc0000 is nothing, 0xe0000 and the end of 4 GiB the BIOS (pc_firmware.c). */
#define PC_EBDA       0x9fc00u /* extended BIOS data area: end of low RAM for the guest */
#define PC_LOW_END    0xa0000u
#define PC_ROM_START  0xc0000u
#define PC_BIOS_START 0xf0000u
#define PC_HIGH_START 0x100000u
#define PC_MAX_RAM    (3 * GIB)   /* above lie PCI windows, */
#define PC_PCI_END    0xfec00000u /* then interrupt controllers and firmware */

/* Where PCI interrupts A to D go, as SeaBIOS sets them, too; level-triggered, as is the ACPI
 * interrupt. */
#define PC_PIRQ_A 10
#define PC_PIRQ_B 10
#define PC_PIRQ_C 11
#define PC_PIRQ_D 11

/* Devices of PCI bus 0. */
enum {
    PC_SLOT_HOST = 0,
    PC_SLOT_PIIX4 = 1, /* functions: 0 ISA, 1 IDE, 3 power management */
    PC_SLOT_VGA = 2,
    PC_SLOT_NIC = 3,      /* to 6: as --net, in order */
    PC_SLOT_DRIVE = 8,    /* to 15: virtio-blk, by number of the drive */
    PC_SLOT_SHARE = 16,   /* to 19: 9P */
    PC_SLOT_CONSOLE = 20, /* virtio-console, -rng, -balloon */
    PC_SLOT_RNG = 21,
    PC_SLOT_BALLOON = 22,
};

#define PC_IRQS 16u /* the classic interrupts */

struct pc {
    struct device dev; /* first; owns this struct */
    struct vm *vm;
    struct x86_vcpu *cpu;
    struct dev_host host;
    struct device *lapic, *ioapic, *hpet, *pic, *pit, *rtc, *port92, *i8042, *com1, *pci_host,
        *piix4, *acpi_pm;
    struct ide_parts ide;
    uint8_t floppy_place[VM_MAX_DRIVES]; /* of config.drive[]: 1 and 2, 0 for what is no floppy */
    struct device *fw_cfg;               /* NULL without firmware */
    struct device *vga;                  /* or NULL */
    struct device *dma;
    struct device *fdc;                                    /* NULL without floppy drives */
    struct irq_line fpu_error;                             /* interrupt 13 */
    struct irq_line pic_line[PC_IRQS], apic_line[PC_IRQS]; /* of pc_irq() */
    pthread_mutex_t irq_lock;     /* below the devices' locks, above the controllers' */
    uint8_t irq_drivers[PC_IRQS]; /* under it: who holds each line up */
};

/* What ACPI tables say about this machine. */
struct acpi_config;
void pc_acpi_config(const struct pc *pc, struct acpi_config *c);

/* pc_virtio.c: devices that are virtio. Build time. */
int pc_virtio_build(struct pc *pc, struct err *e);
int pc_virtio_nic(struct pc *pc, unsigned n, struct err *e); /* the n-th of --net */
/* pc_net.c */
int pc_net(struct pc *pc, struct err *e);

/* Do what a BIOS and a boot loader do: tables, kernel, processor state. Devices and processor are
 * freshly reset. Build time and vCPU thread. */
int pc_boot(struct pc *pc, struct err *e);

/* pc_drives.c: drives that are not virtio, from vm->config.drive and vm->drive. */
int pc_drives_build(struct pc *pc, struct err *e);
int pc_change_medium(struct vm *vm, unsigned n, struct block *medium, struct err *e);
/* What the BIOS's equipment byte says of floppy drives. */
uint8_t pc_floppy_equipment(const struct pc *pc);

#endif
