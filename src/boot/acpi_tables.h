/* SPDX-License-Identifier: MIT */
/* ACPI tables of the PC board, as firmware would leave them in memory. */
#ifndef RING3_BOOT_ACPI_TABLES_H
#define RING3_BOOT_ACPI_TABLES_H

#include "ring3/err.h"
#include "ring3/mem.h"

/* All tables lie here, the RSDP first; the memory map must call it reserved. */
#define ACPI_TABLES_GPA   0xe0000u
#define ACPI_TABLES_BYTES 0x10000u

/* Chips the guest is told about. */
enum {
    ACPI_HAS_RTC = 1 << 0,
    ACPI_HAS_KEYBOARD = 1 << 1,
    ACPI_HAS_MOUSE = 1 << 2,
    ACPI_HAS_COM1 = 1 << 3,
    ACPI_HAS_VGA = 1 << 4,
};

struct acpi_config {
    unsigned chips;  /* ACPI_HAS_* */
    uint8_t pirq[4]; /* ISA interrupt of PIRQA to PIRQD; 0: no routing is described */
    /* Memory the guest may give to PCI devices: [start, end), in 1 MiB steps, below 4 GiB. */
    uint64_t pci_start, pci_end;
};

/* Write RSDP, RSDT, FADT, FACS and DSDT; ports and commands are those of the acpi_pm and pci
 * devices. The area must be memory (ROM will do). */
int acpi_tables_load(struct phys *mem, const struct acpi_config *c, struct err *e);

#endif
