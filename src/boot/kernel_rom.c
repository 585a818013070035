/* SPDX-License-Identifier: MIT */
/* Firmware starts the kernel of the command line: see kernel_rom.h. */
#include "boot/kernel_rom.h"

#include <errno.h>
#include <string.h>

#include "boot/loader.h"

#define BASE        (KERNEL_ROM_SEGMENT * 16u)
#define ROM_SUM     6
#define PNP_POINTER 0x1a
#define PNP_BYTES   32
#define PNP_SUM     9
_Static_assert(BASE + KERNEL_ROM_MAP >= BOOT_LOW_START &&
                   BASE + KERNEL_ROM_MAP + 4 + KERNEL_ROM_MAX * KERNEL_ROM_ENTRY <= BOOT_CMDLINE,
               "the map is inside the loader's area");
_Static_assert(BASE + KERNEL_ROM_PLAN >= BOOT_GDT + 64 &&
                   BASE + KERNEL_ROM_PLAN + PLAN_BYTES <= BOOT_LISTS,
               "the plan is between what the loader leaves");

extern const uint8_t kernel_rom_image[KERNEL_ROM_BYTES];

/* Make the sum of n bytes 0. */
static void fix_sum(uint8_t *p, size_t n, size_t at)
{
    uint8_t sum = 0;

    for (size_t i = 0; i < n; i++)
        sum = (uint8_t)(sum + p[i]);
    p[at] = (uint8_t)(p[at] - sum);
}

void kernel_rom_build(uint8_t rom[KERNEL_ROM_BYTES])
{
    memcpy(rom, kernel_rom_image, KERNEL_ROM_BYTES);
    fix_sum(rom + get16(rom + PNP_POINTER), PNP_BYTES, PNP_SUM);
    fix_sum(rom, KERNEL_ROM_BYTES, ROM_SUM);
}

/* Is all of it RAM that a loader may write? */
static bool is_ram(struct phys *mem, const struct boot_e820 *m)
{
    return m->len && phys_iovec(mem, m->base, m->len, true, NULL, 0) == -E2BIG;
}

int kernel_rom_map(struct phys *mem, struct boot_e820 map[KERNEL_ROM_MAX])
{
    uint8_t raw[4 + KERNEL_ROM_MAX * KERNEL_ROM_ENTRY];

    if (phys_read(mem, BASE + KERNEL_ROM_MAP, raw, sizeof raw) < 0)
        return -EINVAL;
    uint32_t count = get32(raw);
    if (!count || count > KERNEL_ROM_MAX)
        return -EINVAL;
    for (uint32_t i = 0; i < count; i++) {
        const uint8_t *p = raw + 4 + i * KERNEL_ROM_ENTRY;
        map[i] = (struct boot_e820){get64(p), get64(p + 8), get32(p + 16)};
        if (map[i].type == E820_RAM && !is_ram(mem, &map[i]))
            return -EINVAL;
    }
    return (int)count;
}

void kernel_rom_plan(const struct boot_plan *p, uint8_t bytes[PLAN_BYTES])
{
    if (p->real_segment) {
        put32(bytes + PLAN_WAY, PLAN_WAY_REAL);
        put16(bytes + PLAN_DATA, p->real_segment);
        put32(bytes + PLAN_GPR + 4 * R_ESP, p->gpr[R_ESP]);
        put16(bytes + PLAN_ENTRY + 2, (uint16_t)(p->real_segment + BOOT_REAL_ENTRY / 16));
        return;
    }
    put32(bytes + PLAN_WAY, PLAN_WAY_PROTECTED);
    put16(bytes + PLAN_GDTR, p->gdt_limit);
    put32(bytes + PLAN_GDTR + 2, p->gdt_base);
    put16(bytes + PLAN_DATA, p->ds_sel);
    for (unsigned i = 0; i < 8; i++)
        put32(bytes + PLAN_GPR + 4 * i, p->gpr[i]);
    put32(bytes + PLAN_ENTRY, p->entry);
    put16(bytes + PLAN_ENTRY + 4, p->cs_sel);
}
