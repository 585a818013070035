/* SPDX-License-Identifier: MIT */
/* ACPI tables for firmware: files, and the script by which it places and links them. */
#ifndef RING3_BOOT_ACPI_LOADER_H
#define RING3_BOOT_ACPI_LOADER_H

#include "boot/acpi_tables.h"

#define ACPI_FILE_TABLES "etc/acpi/tables"
#define ACPI_FILE_RSDP   "etc/acpi/rsdp"
#define ACPI_FILE_SCRIPT "etc/table-loader"

#define ACPI_SCRIPT_MAX ((3u + ACPI_MAX_POINTERS + ACPI_MAX_TABLES) * 128u)

struct acpi_files {
    uint8_t tables[ACPI_BLOCK_BYTES]; /* pointers hold offsets */
    uint8_t rsdp[ACPI_RSDP_BYTES];
    uint8_t script[ACPI_SCRIPT_MAX];
    size_t script_bytes;
};
void acpi_files_build(struct acpi_files *f, const struct acpi_config *c);

#endif
