/* SPDX-License-Identifier: MIT */
/* The script that SeaBIOS (romfile_loader) and OVMF follow to place ACPI tables: commands of 128
 * bytes, little-endian, file names in 56 bytes.
 *
 *   1 allocate   +4 file  +60 alignment 32  +64 zone 8 (1 anywhere, 2 where an RSDP is looked for)
 *   2 pointer    +4 file it is in  +60 file it points to  +116 offset 32  +120 bytes 8
 *                the address of the second file is added to what the pointer holds
 *   3 checksum   +4 file  +60 offset of the byte 32  +64 start 32  +68 length 32 */
#include "boot/acpi_loader.h"

#include <stdio.h>
#include <string.h>

#define COMMAND_BYTES 128u
#define NAME_BYTES    56
#define RSDP_POINTER  16u /* within the RSDP */

enum { ALLOCATE = 1, ADD_POINTER = 2, ADD_CHECKSUM = 3 };
enum { ZONE_ANY = 1, ZONE_RSDP = 2 };

static void put32(uint8_t *p, uint32_t v)
{
    for (unsigned i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> 8 * i);
}

static uint8_t *command(struct acpi_files *f, uint32_t what, const char *file)
{
    uint8_t *p = f->script + f->script_bytes;

    f->script_bytes += COMMAND_BYTES;
    put32(p, what);
    snprintf((char *)p + 4, NAME_BYTES, "%s", file);
    return p;
}

static void allocate(struct acpi_files *f, const char *file, uint32_t align, uint8_t zone)
{
    uint8_t *p = command(f, ALLOCATE, file);

    put32(p + 60, align);
    p[64] = zone;
}

static void add_pointer(struct acpi_files *f, const char *file, uint32_t at, uint8_t bytes)
{
    uint8_t *p = command(f, ADD_POINTER, file);

    snprintf((char *)p + 60, NAME_BYTES, "%s", ACPI_FILE_TABLES);
    put32(p + 116, at);
    p[120] = bytes;
}

static void add_checksum(struct acpi_files *f, const char *file, uint32_t sum, uint32_t start,
                         uint32_t bytes)
{
    uint8_t *p = command(f, ADD_CHECKSUM, file);

    put32(p + 60, sum);
    put32(p + 64, start);
    put32(p + 68, bytes);
}

void acpi_files_build(struct acpi_files *f, const struct acpi_config *c)
{
    struct acpi_block b;

    acpi_tables_build(&b, 0, c);
    *f = (struct acpi_files){0};
    memcpy(f->rsdp, b.bytes, ACPI_RSDP_BYTES);
    memcpy(f->tables, b.bytes, sizeof f->tables);
    memset(f->tables, 0, ACPI_RSDP_BYTES);
    f->rsdp[ACPI_RSDP_SUM] = 0; /* firmware adds the sum to what is there */
    allocate(f, ACPI_FILE_TABLES, ACPI_BLOCK_ALIGN, ZONE_ANY);
    allocate(f, ACPI_FILE_RSDP, 16, ZONE_RSDP);
    for (unsigned i = 1; i < b.pointers; i++)
        add_pointer(f, ACPI_FILE_TABLES, b.pointer[i].at, b.pointer[i].bytes);
    for (unsigned i = 0; i < b.tables; i++) {
        uint32_t at = b.table[i].at;
        f->tables[at + ACPI_TABLE_SUM] = 0;
        add_checksum(f, ACPI_FILE_TABLES, at + ACPI_TABLE_SUM, at, b.table[i].bytes);
    }
    add_pointer(f, ACPI_FILE_RSDP, RSDP_POINTER, 4);
    add_checksum(f, ACPI_FILE_RSDP, ACPI_RSDP_SUM, 0, ACPI_RSDP_BYTES);
}
