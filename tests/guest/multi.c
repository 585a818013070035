/* SPDX-License-Identifier: MIT */
/* What a multiboot 1 loader hands over (Multiboot Specification 0.6.96, 3.2 and 3.3): registers,
 * memory sizes, command line, one module, memory map. run.py gives command line and module. */
#include "lib/lib.h"

struct module {
    u32 start, end, string, reserved;
};

struct info {
    u32 flags, mem_lower, mem_upper, boot_device, cmdline, mods_count, mods_addr, syms[4],
        mmap_length, mmap_addr;
};

struct region {
    u32 size;
    u64 base, length;
    u32 type;
} __attribute__((packed));

static const char module_text[] = "The module of the multiboot test.\n";

static size_t length(const char *s)
{
    size_t n = 0;
    while (s[n])
        n++;
    return n;
}

static bool ends_with(const char *s, const char *end)
{
    size_t n = length(s), e = length(end);
    return n >= e && !memcmp(s + n - e, end, e + 1);
}

static bool overlaps_image(u32 start, u32 end)
{
    return start < (u32)image_end && end > (u32)image_start;
}

static void memory_map(const struct info *i)
{
    u64 ram_above = 0;
    bool low = false, sane = true, inside = false;
    u32 p = i->mmap_addr, end = p + i->mmap_length;

    while (p < end) {
        const struct region *r = (const void *)p;
        sane &= r->size >= 20 && r->length != 0;
        put_str("  ");
        put_hex((u32)r->base);
        put_str(" + ");
        put_hex((u32)r->length);
        put_str(" type ");
        put_hex(r->type);
        put_char('\n');
        if (r->type == 1) {
            low |= r->base == 0 && r->length >= 0x80000;
            inside |= r->base <= (u32)image_start && r->base + r->length >= (u32)image_end;
            if (r->base >= 0x100000)
                ram_above += r->length;
            sane &= r->base + r->length <= 64 << 20;
            sane &= r->base + r->length <= 0xa0000 || r->base >= 0x100000;
        }
        p += r->size + 4;
    }
    check_eq("map-ends-at-its-length", p, end);
    check("map-entries-sane", sane);
    check("map-has-low-memory", low);
    check("map-contains-the-image", inside);
    /* Firmware and tables may keep some of it. */
    check("map-has-all-ram", ram_above > 62 << 20 && ram_above <= 63 << 20);
    check("map-agrees-with-mem-upper", i->mem_upper <= ram_above >> 10);
}

void test_main(void)
{
    const struct info *i = (const void *)boot_info;

    check_eq("magic", boot_magic, 0x2badb002);
    check_eq("flags-memory-cmdline-modules-map", i->flags & 0x4d, 0x4d);
    check("mem-lower", i->mem_lower >= 512 && i->mem_lower <= 640);
    check("mem-upper", i->mem_upper > 62 << 10 && i->mem_upper <= 63 << 10);
    put_str("  command line: ");
    put_str((const char *)i->cmdline);
    put_char('\n');
    check("command-line", ends_with((const char *)i->cmdline, "one two=2 three"));
    check_eq("one-module", i->mods_count, 1);
    const struct module *m = (const void *)i->mods_addr;
    check_eq("module-size", m->end - m->start, sizeof(module_text) - 1);
    check("module-bytes", !memcmp((const void *)m->start, module_text, sizeof(module_text) - 1));
    check_eq("module-page-aligned", m->start & 0xfff, 0);
    check("module-clear-of-image", !overlaps_image(m->start, m->end));
    put_str("  module: ");
    put_str((const char *)m->string);
    put_char('\n');
    check("module-string", length((const char *)m->string) > 0);
    memory_map(i);
    check_eq("protected-mode-paging-off", read_cr0() & 0x80000001, 1);
}
