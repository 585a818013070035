/* SPDX-License-Identifier: MIT */
/* Kernel loaders: crafted images of every format, one broken field at a time, then random damage.
 * Fields are poked by offset, so that the tests do not share the loaders' idea of the layout. */
#include <elf.h>
#include <errno.h>
#include <sys/stat.h>

#include "boot_rig.h"

#define RAM (32 * MIB)

static const struct boot_e820 map[] = {
    {0, 0x9fc00, E820_RAM},
    {0x9fc00, 0x400, E820_RESERVED},
    {0xe0000, 0x20000, E820_RESERVED},
    {MIB, RAM - MIB, E820_RAM},
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    f->mem = phys_new(RAM, NULL);
    assert_non_null(f->mem);
    assert_int_equal(phys_map_ram(f->mem, 0, 0, 640 * KIB, NULL), 0);
    assert_int_equal(phys_map_ram(f->mem, MIB, MIB, RAM - MIB, NULL), 0);
    temp_file(f->kernel);
    temp_file(f->initrd);
    f->req = (struct boot_request){
        .kernel = f->kernel, .append = "", .mem = f->mem, .map = map, .map_count = ARRAY_LEN(map)};
    *state = f;
    return 0;
}

static uint16_t mem16(struct fixture *f, gpa_t gpa)
{
    return (uint16_t)mem32(f, gpa);
}

static void assert_string_at(struct fixture *f, gpa_t gpa, const char *text)
{
    char buf[256];
    assert_true(strlen(text) < sizeof buf);
    assert_int_equal(phys_read(f->mem, gpa, buf, strlen(text) + 1), 0);
    assert_string_equal(buf, text);
}

/* ---- images ---------------------------------------------------------------------------------- */

#define BZ_SETUP   1024 /* one sector of setup code */
#define BZ_PAYLOAD 4096

static void make_bzimage(struct fixture *f)
{
    memset(f->image, 0, sizeof f->image);
    f->bytes = BZ_SETUP + BZ_PAYLOAD;
    for (size_t i = BZ_SETUP; i < f->bytes; i++)
        f->image[i] = (uint8_t)(i * 13 + 5);
    poke(f, 0x1f1, 1, 1);
    poke(f, 0x1f4, 4, BZ_PAYLOAD / 16);
    poke(f, 0x1fe, 2, 0xaa55);
    poke(f, 0x200, 2, 0x66eb); /* header ends at 0x268 */
    memcpy(f->image + 0x202, "HdrS", 4);
    poke(f, 0x206, 2, 0x20f);
    poke(f, 0x211, 1, 1);
    poke(f, 0x214, 4, 0x100000);
    poke(f, 0x22c, 4, 0x7fffffff);
    poke(f, 0x238, 4, 255);
    poke(f, 0x258, 8, 0x200000);
    poke(f, 0x260, 4, 0x400000);
    poke(f, 0x268, 4, 0xdeadbeef); /* code, not header: must not be copied */
}

/* Two segments: code at virtual 0xc0400000 = physical 4 MiB, data with bss behind it. */
static void make_elf(struct fixture *f)
{
    Elf32_Ehdr h = {.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS32, ELFDATA2LSB, 1},
                    .e_type = ET_EXEC,
                    .e_machine = EM_386,
                    .e_version = 1,
                    .e_entry = 0xc0400010,
                    .e_phoff = sizeof h,
                    .e_ehsize = sizeof h,
                    .e_phentsize = sizeof(Elf32_Phdr),
                    .e_phnum = 3};
    Elf32_Phdr ph[3] = {
        {PT_LOAD, 0x1000, 0xc0400000, 0x400000, 0x800, 0x800, PF_R | PF_X, 0x1000},
        {PT_NOTE, 0xffffff00, 0, 0, 0x1000, 0x1000, 0, 0}, /* out of the file, but not loaded */
        {PT_LOAD, 0x2000, 0xc0402000, 0x402000, 0x100, 0x3000, PF_R | PF_W, 0x1000},
    };
    memset(f->image, 0, sizeof f->image);
    memcpy(f->image, &h, sizeof h);
    memcpy(f->image + sizeof h, ph, sizeof ph);
    f->bytes = 0x2100;
    for (size_t i = 0x1000; i < f->bytes; i++)
        f->image[i] = (uint8_t)(i * 7 + 3);
}

#define MB_AT 0x100

static void add_multiboot(struct fixture *f, uint32_t flags)
{
    poke(f, MB_AT, 4, 0x1badb002);
    poke(f, MB_AT + 4, 4, flags);
    poke(f, MB_AT + 8, 4, 0u - 0x1badb002u - flags);
}

/* Not ELF: loaded by addresses, file offset 0x80 at 2 MiB, bss up to +0x3000. */
static void make_aout(struct fixture *f)
{
    memset(f->image, 0x11, sizeof f->image);
    f->bytes = 0x1000;
    add_multiboot(f, 1u << 16 | 3);
    poke(f, MB_AT + 12, 4, 0x200000 + MB_AT - 0x80);
    poke(f, MB_AT + 16, 4, 0x200000);
    poke(f, MB_AT + 20, 4, 0x200800);
    poke(f, MB_AT + 24, 4, 0x203000);
    poke(f, MB_AT + 28, 4, 0x200040);
}

/* ---- what works ------------------------------------------------------------------------------ */

static void assert_flat_gdt(struct fixture *f)
{
    struct boot_plan *p = &f->plan;
    assert_int_equal(p->cs_sel, 0x10);
    assert_int_equal(p->ds_sel, 0x18);
    assert_true(p->gdt_limit >= 0x1f);
    assert_int_equal(mem32(f, p->gdt_base), 0);
    assert_int_equal(mem32(f, p->gdt_base + 0x10), 0xffff);
    assert_int_equal(mem32(f, p->gdt_base + 0x14), 0xcf9b00);
    assert_int_equal(mem32(f, p->gdt_base + 0x1c), 0xcf9300);
}

static void bzimage_follows_the_boot_protocol(void **state)
{
    struct fixture *f = *state;
    uint8_t got[BZ_PAYLOAD], initrd[5000];
    make_bzimage(f);
    memset(initrd, 0x77, sizeof initrd);
    write_file(f->initrd, initrd, sizeof initrd);
    f->req.initrd = f->initrd;
    f->req.append = "console=ttyS0 quiet";
    assert_int_equal(load(f), 0);

    assert_string_equal(f->plan.format, "bzImage");
    assert_int_equal(f->plan.entry, 0x100000);
    assert_flat_gdt(f);
    phys_read(f->mem, 0x100000, got, sizeof got);
    assert_memory_equal(got, f->image + BZ_SETUP, BZ_PAYLOAD);

    uint32_t bp = f->plan.gpr[6];
    assert_int_equal(f->plan.gpr[3] | f->plan.gpr[5] | f->plan.gpr[7], 0); /* ebx ebp edi */
    assert_int_equal(mem16(f, bp + 0x1fe), 0xaa55);
    assert_int_equal(mem32(f, bp + 0x202), 0x53726448);
    assert_int_equal(mem32(f, bp + 0x260), 0x400000); /* copied to the header's end */
    assert_int_equal(mem32(f, bp + 0x268), 0);        /* and not beyond */
    assert_int_equal(mem16(f, bp + 0x210) & 0xff, 0xff);
    assert_string_at(f, mem32(f, bp + 0x228), "console=ttyS0 quiet");

    /* E820, byte for byte. */
    assert_int_equal(mem16(f, bp + 0x1e8) & 0xff, ARRAY_LEN(map));
    for (size_t i = 0; i < ARRAY_LEN(map); i++) {
        assert_int_equal(mem32(f, bp + 0x2d0 + 20 * i), map[i].base);
        assert_int_equal(mem32(f, bp + 0x2d0 + 20 * i + 8), map[i].len);
        assert_int_equal(mem32(f, bp + 0x2d0 + 20 * i + 16), map[i].type);
    }
    assert_int_equal(mem32(f, bp + 0x1e0), (RAM - MIB) / KIB);

    /* The initrd is as high as it can be, page-aligned. */
    uint32_t at = mem32(f, bp + 0x218);
    assert_int_equal(mem32(f, bp + 0x21c), sizeof initrd);
    assert_int_equal(at, (RAM - sizeof initrd) & PAGE_MASK);
    assert_int_equal(at, f->plan.initrd_start);
    assert_int_equal(mem32(f, at + 4996), 0x77777777);
}

static void bzimage_initrd_keeps_below_its_limit(void **state)
{
    struct fixture *f = *state;
    static uint8_t initrd[3 * MIB];
    make_bzimage(f);
    poke(f, 0x22c, 4, 0xcfffff); /* 13 MiB - 1 */
    write_file(f->initrd, initrd, sizeof initrd);
    f->req.initrd = f->initrd;
    assert_int_equal(load(f), 0);
    assert_int_equal(f->plan.initrd_start, 10 * MIB);
    /* The kernel unpacks to 2..6 MiB and is loaded at 1 MiB: 3 MiB below 8 do not fit. */
    poke(f, 0x22c, 4, 0x7fffff);
    assert_int_equal(load(f), -ENOSPC);
    assert_string_equal(f->e.id, "initrd-too-big");
    /* A kernel of protocol 2.02 has no limit field: the old fixed limit holds, and there is no
     * init_size either. */
    poke(f, 0x206, 2, 0x202);
    assert_int_equal(load(f), 0);
    assert_int_equal(f->plan.initrd_start, RAM - sizeof initrd);
}

/* The sample boot configuration of the boot protocol, with setup code at 0x10000. */
static void bzimage_starts_in_real_mode_behind_a_bios(void **state)
{
    static const struct {
        const char *append;
        uint16_t mode;
    } modes[] = {{"a b", 0x1234},
                 {"vga=791", 791},
                 {"a vga=0x317 b", 0x317},
                 {"vga=ask", 0xfffd},
                 {"x=vga=1 vga=", 0x1234},
                 {"vga=normal", 0xffff},
                 {"vga=1 vga=ext q", 0xfffe}};
    struct fixture *f = *state;
    static uint8_t initrd[5000];
    make_bzimage(f);
    poke(f, 0x1fa, 2, 0x1234);
    poke(f, 0x214, 4, 0); /* the real-mode code knows where to go */
    write_file(f->initrd, initrd, sizeof initrd);
    f->req.bios = true;
    f->req.initrd = f->initrd;
    f->req.append = "two words";
    assert_int_equal(load(f), 0);
    assert_int_equal(f->plan.real_segment, 0x1000);
    assert_int_equal(f->plan.gpr[4], 0xe000);
    assert_int_equal(mem32(f, 0x10202), 0x53726448); /* "HdrS" */
    assert_int_equal(mem16(f, 0x10210) & 0xff, 0xff);
    assert_int_equal(mem16(f, 0x10211) & 0x81, 0x81); /* loaded high, may use the heap */
    assert_int_equal(mem16(f, 0x10224), 0xde00);
    assert_string_at(f, mem32(f, 0x10228), "two words");
    assert_int_equal(mem32(f, 0x10218), f->plan.initrd_start);
    assert_int_equal(mem32(f, 0x1021c), sizeof initrd);
    assert_memory_equal((uint8_t[2]){0}, &(uint16_t){mem16(f, 0x90000)}, 2); /* no boot_params */
    for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
        f->req.append = modes[i].append;
        assert_int_equal(load(f), 0);
        assert_int_equal(mem16(f, 0x101fa), modes[i].mode);
    }
    poke(f, 0x1f1, 1, 64); /* 65 sectors of setup code */
    f->bytes = 40000;
    assert_int_equal(load(f), -ENOEXEC);
    assert_non_null(strstr(f->e.text, "setup code"));
}

static void vmlinux_is_loaded_by_physical_address(void **state)
{
    struct fixture *f = *state;
    uint8_t got[0x800];
    make_elf(f);
    f->req.append = "a b";
    phys_load(f->mem, 0x402100, "dirt", 4);
    assert_int_equal(load(f), 0);
    assert_string_equal(f->plan.format, "ELF");
    assert_int_equal(f->plan.entry, 0x400010); /* was virtual */
    phys_read(f->mem, 0x400000, got, sizeof got);
    assert_memory_equal(got, f->image + 0x1000, sizeof got);
    assert_int_equal(mem32(f, 0x4020fc), *(uint32_t *)(void *)(f->image + 0x20fc));
    assert_int_equal(mem32(f, 0x402100), 0); /* bss */
    assert_int_equal(f->plan.kernel_start, 0x400000);
    assert_int_equal(f->plan.kernel_end, 0x405000);
    uint32_t bp = f->plan.gpr[6];
    assert_int_equal(mem32(f, bp + 0x202), 0x53726448);
    assert_string_at(f, mem32(f, bp + 0x228), "a b");
    assert_flat_gdt(f);

    poke(f, 24, 4, 0x402004); /* a physical entry point stays as it is */
    assert_int_equal(load(f), 0);
    assert_int_equal(f->plan.entry, 0x402004);
}

static void multiboot_elf_gets_its_information(void **state)
{
    struct fixture *f = *state;
    make_elf(f);
    add_multiboot(f, 3);
    write_file(f->initrd, "module!", 7);
    f->req.initrd = f->initrd;
    f->req.append = "x=1";
    assert_int_equal(load(f), 0);
    assert_string_equal(f->plan.format, "multiboot");
    assert_int_equal(f->plan.entry, 0x400010);
    assert_int_equal(f->plan.gpr[0], 0x2badb002);
    assert_flat_gdt(f);

    uint32_t mbi = f->plan.gpr[3];
    assert_int_equal(mem32(f, mbi), 1 | 1 << 2 | 1 << 3 | 1 << 6 | 1 << 9);
    assert_int_equal(mem32(f, mbi + 4), 639);
    assert_int_equal(mem32(f, mbi + 8), (RAM - MIB) / KIB);
    char line[64];
    snprintf(line, sizeof line, "%s x=1", strrchr(f->kernel, '/') + 1);
    assert_string_at(f, mem32(f, mbi + 16), line);
    assert_string_at(f, mem32(f, mbi + 64), "ring3");

    assert_int_equal(mem32(f, mbi + 20), 1);
    uint32_t mod = mem32(f, mbi + 24), start = mem32(f, mod);
    assert_int_equal(start, 0x100000); /* lowest free page above 1 MiB */
    assert_int_equal(mem32(f, mod + 4), start + 7);
    assert_string_at(f, mem32(f, mod + 8), strrchr(f->initrd, '/') + 1);
    assert_int_equal(mem32(f, start), 0x75646f6d);

    assert_int_equal(mem32(f, mbi + 44), 24 * ARRAY_LEN(map));
    uint32_t mmap = mem32(f, mbi + 48);
    for (size_t i = 0; i < ARRAY_LEN(map); i++, mmap += 24) {
        assert_int_equal(mem32(f, mmap), 20);
        assert_int_equal(mem32(f, mmap + 4), map[i].base);
        assert_int_equal(mem32(f, mmap + 12), map[i].len);
        assert_int_equal(mem32(f, mmap + 20), map[i].type);
    }
}

static void multiboot_addresses_replace_elf(void **state)
{
    struct fixture *f = *state;
    make_aout(f);
    assert_int_equal(load(f), 0);
    assert_int_equal(f->plan.entry, 0x200040);
    assert_int_equal(mem32(f, 0x200000 + MB_AT - 0x80), 0x1badb002);
    assert_int_equal(mem32(f, 0x2007fc), 0x11111111);
    assert_int_equal(mem32(f, 0x200800), 0);
    assert_int_equal(f->plan.kernel_end, 0x203000);
    assert_int_equal(mem32(f, f->plan.gpr[3]) & 8, 0); /* no modules */
    poke(f, MB_AT + 20, 4, 0);                         /* no end: the whole file */
    assert_int_equal(load(f), 0);
    assert_int_equal(mem32(f, 0x200000 + 0x1000 - 0x80 - 4), 0x11111111);
    assert_int_equal(mem32(f, 0x200000 + 0x1000 - 0x80), 0);
}

/* ---- what is refused ------------------------------------------------------------------------- */

struct poke {
    uint16_t at;
    uint8_t size;
    uint64_t value;
};

static const struct bad {
    void (*make)(struct fixture *f);
    struct poke poke;
    size_t cut; /* file length, if not 0 */
    const char *id, *text;
} bad[] = {
    {make_bzimage, {0x206, 2, 0x201}, 0, "kernel-format", "protocol 2.01"},
    {make_bzimage, {0x211, 1, 0}, 0, "kernel-format", "zImage"},
    {make_bzimage, {0x236, 2, 1}, 0, "kernel-64bit", "64-bit"},
    {make_bzimage, {0x1f4, 4, 0x101}, 0, "kernel-truncated", "syssize says 5136"},
    {make_bzimage, {0x1f4, 4, 0xffffffff}, 0, "kernel-truncated", "syssize"},
    {make_bzimage, {0x1f1, 1, 64}, 0, "kernel-truncated", "setup_sects says 33280"},
    {make_bzimage, {0}, BZ_SETUP + 100, "kernel-truncated", "the file has 1124"},
    {make_bzimage, {0}, 0x220, "kernel-truncated", "setup header"},
    {make_bzimage, {0x214, 4, 0x1000}, 0, "kernel-format", "code32_start 0x1000"},
    {make_bzimage, {0x214, 4, 0x600000}, 0, "kernel-format", "code32_start 0x600000"},
    {make_bzimage, {0x260, 4, RAM}, 0, "kernel-too-big", "larger -m"},
    {make_bzimage, {0x258, 8, UINT64_MAX}, 0, "kernel-too-big", "not all RAM"},
    {make_bzimage, {0x202, 1, 'X'}, 0, "kernel-format", "boot sector"},
    {make_elf, {4, 1, ELFCLASS64}, 0, "kernel-64bit", "class 2"},
    {make_elf, {5, 1, 7}, 0, "kernel-format", "byte order 7"},
    {make_elf, {16, 2, ET_DYN}, 0, "kernel-format", "position-independent"},
    {make_elf, {16, 2, ET_REL}, 0, "kernel-format", "object file"},
    {make_elf, {18, 2, EM_X86_64}, 0, "kernel-64bit", "x86-64"},
    {make_elf, {18, 2, EM_MIPS}, 0, "kernel-format", "MIPS"},
    {make_elf, {18, 2, 0x1234}, 0, "kernel-format", "4660"},
    {make_elf, {5, 1, ELFDATA2MSB}, 0, "kernel-format", "type 768"}, /* EM_386 backwards */
    {make_elf, {24, 4, 0x1000}, 0, "kernel-format", "entry point 0x1000"},
    {make_elf, {28, 4, 0xfffffff0}, 0, "kernel-truncated", "the file has"},
    {make_elf, {42, 2, 31}, 0, "kernel-format", "31 bytes"},
    {make_elf, {44, 2, 0}, 0, "kernel-format", "0 entries"},
    {make_elf, {44, 2, 0xffff}, 0, "kernel-format", "65535 entries"},
    {make_elf, {52 + 4, 4, 0xfffff000}, 0, "kernel-truncated", "p_offset and p_filesz"},
    {make_elf, {52 + 4, 4, 0x1901}, 0, "kernel-truncated", "say 8449 bytes"},
    {make_elf, {52 + 12, 4, 0x90000}, 0, "kernel-too-big", "boot data"},
    {make_elf, {52 + 12, 4, 0xfffffff0}, 0, "kernel-too-big", "not all RAM"},
    {make_elf, {52 + 16, 4, 0x801}, 0, "kernel-format", "more bytes in the file"},
    {make_elf, {52 + 20, 4, 0xffffffff}, 0, "kernel-too-big", "not all RAM"},
    {make_elf, {0}, 0x1100, "kernel-truncated", "the file has 4352"},
    {make_elf, {0}, 40, "kernel-truncated", "ELF header"},
    {make_aout, {MB_AT + 16, 4, 0x300000}, 0, "kernel-format", "load address"},
    {make_aout, {MB_AT + 16, 4, 0x1000}, 0, "kernel-format", "load address"},
    {make_aout, {MB_AT + 20, 4, 0x201000}, 0, "kernel-truncated", "load_end_addr"},
    {make_aout, {MB_AT + 20, 4, 0x1ff000}, 0, "kernel-format", "load_end_addr"},
    {make_aout, {MB_AT + 24, 4, 0xffffffff}, 0, "kernel-too-big", "not all RAM"},
    {make_aout, {0}, MB_AT + 20, "kernel-truncated", "multiboot header"},
};

static void each_bad_field_is_named(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        const struct bad *b = &bad[i];
        b->make(f);
        assert_int_equal(load(f), 0); /* good before */
        poke(f, b->poke.at, b->poke.size, b->poke.value);
        if (b->cut)
            f->bytes = b->cut;
        int r = load(f);
        if (r >= 0 || strcmp(f->e.id, b->id) || !strstr(f->e.text, b->text))
            fail_msg("row %zu: wanted [%s] %s, got %d [%s] %s", i, b->id, b->text, r, f->e.id,
                     f->e.text);
        assert_int_equal(r, -f->e.errnum);
        assert_true(strstr(f->e.text, f->kernel) == f->e.text);
        assert_null(strchr(f->e.text, '\n'));
    }
}

static void multiboot_features_are_checked(void **state)
{
    struct fixture *f = *state;
    make_elf(f);
    add_multiboot(f, 1u << 3);
    assert_int_equal(load(f), -ENOEXEC);
    assert_non_null(strstr(f->e.text, "features 0x8"));
    memset(f->image, 0, sizeof f->image);
    f->bytes = 4096;
    add_multiboot(f, 3);
    assert_int_equal(load(f), -ENOEXEC);
    assert_non_null(strstr(f->e.text, "neither ELF"));
    poke(f, MB_AT + 8, 4, 0); /* bad checksum: not multiboot at all */
    assert_int_equal(load(f), -ENOEXEC);
    assert_non_null(strstr(f->e.text, "unknown file format"));
}

static const struct {
    const char *bytes;
    size_t n;
    const char *text;
} foreign[] = {
    {"\x1f\x8b\x08", 3, "gzip"},
    {"\xfd"
     "7zXZ\0",
     6, "xz-compressed"},
    {"\x28\xb5\x2f\xfd", 4, "zstd"},
    {"070701", 6, "cpio"},
    {"!<arch>\ndebian", 14, "Debian package"},
    {"#!/bin/sh\n", 10, "script"},
    {"MZ\x90", 3, "PE"},
    {"QFI\xfb", 4, "qcow2"},
    {"x", 1, "unknown file format"},
};

static void other_files_are_named(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < ARRAY_LEN(foreign); i++) {
        memcpy(f->image, foreign[i].bytes, foreign[i].n);
        f->bytes = foreign[i].n;
        assert_int_equal(load(f), -ENOEXEC);
        assert_string_equal(f->e.id, "kernel-format");
        if (!strstr(f->e.text, foreign[i].text))
            fail_msg("wanted %s, got %s", foreign[i].text, f->e.text);
    }
}

static void files_that_cannot_be_read(void **state)
{
    struct fixture *f = *state;
    make_bzimage(f);
    f->req.kernel = "/nonexistent/vmlinuz";
    assert_int_equal(load(f), -ENOENT);
    assert_string_equal(f->e.id, "kernel-missing");
    f->req.kernel = "/tmp";
    assert_int_equal(load(f), -EISDIR);
    assert_string_equal(f->e.id, "kernel-unreadable");
    assert_non_null(strstr(f->e.text, "directory"));
    f->req.kernel = "/dev/null";
    assert_true(load(f) < 0);
    assert_non_null(strstr(f->e.text, "device"));
    unlink(f->initrd);
    assert_int_equal(mkfifo(f->initrd, 0600), 0); /* must not wait for a writer */
    f->req.kernel = f->initrd;
    assert_true(load(f) < 0);
    assert_non_null(strstr(f->e.text, "pipe"));
    unlink(f->initrd);
    write_file(f->initrd, "", 0);
    f->req.kernel = f->kernel;

    f->req.initrd = "/nonexistent/initrd";
    assert_int_equal(load(f), -ENOENT);
    assert_string_equal(f->e.id, "initrd-missing");
    f->req.initrd = f->initrd; /* empty */
    assert_true(load(f) < 0);
    assert_string_equal(f->e.id, "initrd-empty");
    assert_int_equal(truncate(f->initrd, RAM), 0);
    assert_int_equal(load(f), -ENOSPC);
    assert_string_equal(f->e.id, "initrd-too-big");
    f->req.initrd = NULL;
    f->bytes = BZ_SETUP + BZ_PAYLOAD - 15; /* syssize counts whole paragraphs: no error */
    assert_int_equal(load(f), 0);
    f->bytes--;
    assert_true(load(f) < 0);
    f->bytes = 0;
    assert_true(load(f) < 0);
    assert_string_equal(f->e.id, "kernel-empty");

    if (geteuid() == 0)
        return; /* root may read everything */
    f->bytes = 4096;
    assert_int_equal(chmod(f->initrd, 0), 0);
    f->req.kernel = f->initrd;
    assert_int_equal(load(f), -EACCES);
    assert_string_equal(f->e.id, "kernel-unreadable");
}

static void command_line_length_is_checked(void **state)
{
    struct fixture *f = *state;
    char line[300];
    memset(line, 'a', sizeof line);
    line[255] = 0;
    f->req.append = line;
    make_bzimage(f);
    assert_int_equal(load(f), 0);
    line[255] = 'a', line[256] = 0;
    assert_int_equal(load(f), -E2BIG);
    assert_string_equal(f->e.id, "cmdline-too-long");
    assert_non_null(strstr(f->e.text, "256 bytes"));

    static char huge[100000];
    memset(huge, 'b', sizeof huge - 1);
    f->req.append = huge;
    poke(f, 0x238, 4, 0xffffffff);
    assert_int_equal(load(f), -E2BIG);
    make_elf(f);
    add_multiboot(f, 0);
    assert_int_equal(load(f), -E2BIG);
    assert_string_equal(f->e.id, "cmdline-too-long");
}

static void too_many_map_entries(void **state)
{
    struct fixture *f = *state;
    make_bzimage(f);
    f->req.map_count = BOOT_E820_MAX + 1;
    assert_int_equal(load(f), -EINVAL);
    assert_string_equal(f->e.id, "memory-map");
}

static void random_damage_is_survived(void **state)
{
    struct fixture *f = *state;
    void (*const make[])(struct fixture *) = {make_bzimage, make_elf, make_aout};
    static const uint32_t tempting[] = {0, 1, 0x7fffffff, 0x80000000, 0xffffffff, 0xfffff000};
    uint64_t seed = 20240229;
    unsigned loaded = 0, refused = 0;

    write_file(f->initrd, "initrd", 6);
    f->req.initrd = f->initrd;
    for (int i = 0; i < 3000; i++) {
        make[i % 3](f);
        for (uint32_t n = 1 + next_random(&seed) % 4; n; n--) {
            /* Where the headers of these three images are. */
            size_t at = (i % 3 == 0 ? 0x1f0 : i % 3 == 1 ? 0 : MB_AT) + next_random(&seed) % 0x98;
            uint32_t pick = next_random(&seed);
            poke(f, at, 1u << pick % 3,
                 pick & 8 ? next_random(&seed) : tempting[(pick >> 4) % ARRAY_LEN(tempting)]);
        }
        if (next_random(&seed) % 8 == 0)
            f->bytes = next_random(&seed) % f->bytes + 1;
        f->req.bios = i / 3 % 2;
        int r = load(f);
        assert_int_equal(r, -f->e.errnum);
        if (r == 0)
            loaded++;
        else
            refused++;
        assert_true(r == 0 || (f->e.id[0] && f->e.text[0]));
    }
    assert_true(loaded > 100 && refused > 100); /* both ways are exercised */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(bzimage_follows_the_boot_protocol),
        T(bzimage_starts_in_real_mode_behind_a_bios),
        T(bzimage_initrd_keeps_below_its_limit),
        T(vmlinux_is_loaded_by_physical_address),
        T(multiboot_elf_gets_its_information),
        T(multiboot_addresses_replace_elf),
        T(each_bad_field_is_named),
        T(multiboot_features_are_checked),
        T(other_files_are_named),
        T(files_that_cannot_be_read),
        T(command_line_length_is_checked),
        T(too_many_map_entries),
        T(random_damage_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
