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
    ACPI_HAS_APIC = 1 << 5, /* local and I/O */
    ACPI_HAS_HPET = 1 << 6,
    ACPI_HAS_FLOPPY = 1 << 7,
};

struct acpi_config {
    unsigned chips;  /* ACPI_HAS_* */
    uint8_t pirq[4]; /* ISA interrupt of PIRQA to PIRQD; 0: no routing is described */
    /* Memory the guest may give to PCI devices: [start, end), in 1 MiB steps, below 4 GiB. */
    uint64_t pci_start, pci_end;
};

/* All tables as one block: RSDP, RSDT, FADT, FACS, DSDT; ports
 * and commands are those of the acpi_pm and pci devices. A pointer holds base plus the offset of
 * what it points to. Who moves the block adjusts the pointers, then the checksums. */
#define ACPI_BLOCK_BYTES  0x2000u
#define ACPI_BLOCK_ALIGN  64u
#define ACPI_MAX_POINTERS 24
#define ACPI_MAX_TABLES   12
#define ACPI_RSDP_BYTES   20u /* at the start of the block; pointer 0 is its own */
#define ACPI_RSDP_SUM     8u  /* its checksum, of ACPI_RSDP_BYTES */
#define ACPI_TABLE_SUM    9u  /* checksum of any other table, of all of it */

struct acpi_block {
    uint8_t bytes[ACPI_BLOCK_BYTES];
    uint32_t base;
    struct acpi_pointer {
        uint16_t at;
        uint8_t bytes; /* 4 or 8 */
    } pointer[ACPI_MAX_POINTERS];
    struct acpi_table { /* those with a checksum, without the RSDP */
        uint16_t at, bytes;
    } table[ACPI_MAX_TABLES];
    unsigned pointers, tables;
};
void acpi_tables_build(struct acpi_block *b, uint32_t base, const struct acpi_config *c);

/* Build them for ACPI_TABLES_GPA and write them there; the area must be memory (ROM will do). */
int acpi_tables_load(struct phys *mem, const struct acpi_config *c, struct err *e);

#endif
