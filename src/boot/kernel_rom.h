/* SPDX-License-Identifier: MIT */
/* An option ROM by which firmware starts the kernel of the command line: it appears as one more
 * device to start from.
 *
 *   ROM    asks the BIOS for the memory map, puts it at KERNEL_ROM_MAP
 *   ROM    selects item KERNEL_ROM_ITEM of fw_cfg and reads it to KERNEL_ROM_PLAN
 *   ring3  on selection: takes the map, loads the kernel, answers with the plan
 *   ROM    enters the kernel as the plan says */
#ifndef RING3_BOOT_KERNEL_ROM_H
#define RING3_BOOT_KERNEL_ROM_H

#define KERNEL_ROM_ITEM    0x8f00 /* SeaBIOS reads some from 0x8000 on */
#define KERNEL_ROM_SEGMENT 0x9000 /* of what follows: inside the loader's own area (boot.h) */
#define KERNEL_ROM_MAP     0x2000 /* count, 32 bits; then entries of 20 bytes, as INT 15h has them */
#define KERNEL_ROM_PLAN    0x1800
#define KERNEL_ROM_MAX     64 /* entries */
#define KERNEL_ROM_ENTRY   20

/* The plan, bytes from its start. */
#define PLAN_WAY           0  /* 32 bits: how to enter the kernel; 0 if there is none */
#define PLAN_GDTR          4  /* limit 16, base 32 */
#define PLAN_DATA          10 /* selector of data segments */
#define PLAN_GPR           12 /* eax ecx edx ebx esp ebp esi edi */
#define PLAN_ENTRY         44 /* eip 32, selector 16; real mode: ip 16, segment 16 */
#define PLAN_BYTES         50
#define PLAN_WAY_PROTECTED 1
#define PLAN_WAY_REAL      2 /* PLAN_DATA, sp and PLAN_ENTRY count */

#ifndef __ASSEMBLER__
#include "boot/boot.h"

#define KERNEL_ROM_NAME  "genroms/ring3-kernel.rom"
#define KERNEL_ROM_BYTES 512

/* The ROM's contents, with checksums. */
void kernel_rom_build(uint8_t rom[KERNEL_ROM_BYTES]);

/* The map that the ROM left in guest memory. Returns the number of entries; -EINVAL if it is none,
 * or calls RAM what is not. */
int kernel_rom_map(struct phys *mem, struct boot_e820 map[KERNEL_ROM_MAX]);
void kernel_rom_plan(const struct boot_plan *p, uint8_t bytes[PLAN_BYTES]);
#endif

#endif
