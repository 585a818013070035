/* SPDX-License-Identifier: MIT */
/* The loaders of MIPS kernels: what they make of an ELF file, a device tree or an environment, and
 * an initrd, read back (with libfdt); one broken field at a time; random damage. */
#include <elf.h>
#include <errno.h>
#include <libfdt.h>

#include "boot_rig.h"

#define LOW_RAM   (32 * MIB)
#define HIGH_RAM  (16 * MIB)
#define HIGH_BASE 0x20000000u
#define TREE      (LOW_RAM - BOOT_TREE_BYTES)

static const struct boot_e820 map[] = {
    {0, LOW_RAM, E820_RAM},
    {HIGH_BASE, HIGH_RAM, E820_RAM},
};
static uint8_t tree[BOOT_TREE_BYTES];

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    f->mem = phys_new(LOW_RAM + HIGH_RAM, NULL);
    assert_non_null(f->mem);
    assert_int_equal(phys_map_ram(f->mem, 0, 0, LOW_RAM, NULL), 0);
    assert_int_equal(phys_map_ram(f->mem, HIGH_BASE, LOW_RAM, HIGH_RAM, NULL), 0);
    temp_file(f->kernel);
    temp_file(f->initrd);
    assert_int_equal(fdt_create_empty_tree(tree, sizeof tree), 0);
    assert_int_equal(fdt_setprop_string(tree, 0, "model", "rig"), 0);
    f->req = (struct boot_request){.arch = ARCH_MIPSEL,
                                   .kernel = f->kernel,
                                   .append = "",
                                   .mem = f->mem,
                                   .map = map,
                                   .map_count = ARRAY_LEN(map),
                                   .tree = tree};
    *state = f;
    return 0;
}

/* As Linux is linked: both addresses in KSEG0. Data with bss behind it is reached through KSEG1 and
 * says its address as physical. */
static void make_elf(struct fixture *f)
{
    Elf32_Ehdr h = {.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS32, ELFDATA2LSB, 1},
                    .e_type = ET_EXEC,
                    .e_machine = EM_MIPS,
                    .e_version = 1,
                    .e_entry = 0x80400010,
                    .e_phoff = sizeof h,
                    .e_ehsize = sizeof h,
                    .e_phentsize = sizeof(Elf32_Phdr),
                    .e_phnum = 3};
    Elf32_Phdr ph[3] = {
        {PT_LOAD, 0x1000, 0x80400000, 0x80400000, 0x800, 0x800, PF_R | PF_X, 0x1000},
        {PT_MIPS_ABIFLAGS, 0xffffff00, 0, 0, 0x18, 0x18, 0, 0}, /* nothing that is loaded */
        {PT_LOAD, 0x2000, 0xa0402000, 0x402000, 0x100, 0x3000, PF_R | PF_W, 0x1000},
    };
    memset(f->image, 0, sizeof f->image);
    memcpy(f->image, &h, sizeof h);
    memcpy(f->image + sizeof h, ph, sizeof ph);
    f->bytes = 0x2100;
    for (size_t i = 0x1000; i < f->bytes; i++)
        f->image[i] = (uint8_t)(i * 7 + 3);
}

/* The tree that the guest gets. */
static const void *read_tree(struct fixture *f)
{
    static uint8_t got[BOOT_TREE_BYTES];
    assert_int_equal(phys_read(f->mem, f->plan.argument[1] & 0x1fffffff, got, sizeof got), 0);
    assert_int_equal(fdt_check_header(got), 0);
    assert_true(fdt_totalsize(got) <= sizeof got);
    assert_string_equal(fdt_getprop(got, 0, "model", NULL), "rig");
    return got;
}

static uint32_t chosen32(const void *blob, const char *name)
{
    int n = 0;
    const void *p = fdt_getprop(blob, fdt_path_offset(blob, "/chosen"), name, &n);
    assert_non_null(p);
    assert_int_equal(n, 4);
    return fdt32_ld(p);
}

/* ---- what works ------------------------------------------------------------------------------ */

static void kernel_is_loaded_where_it_runs(void **state)
{
    struct fixture *f = *state;
    uint8_t got[0x800];
    make_elf(f);
    phys_load(f->mem, 0x402100, "dirt", 4);
    assert_int_equal(load(f), 0);
    assert_string_equal(f->plan.format, "ELF");
    assert_int_equal(f->plan.entry, 0x80400010);
    assert_int_equal(f->plan.argument[0], 0xfffffffe);
    assert_int_equal(f->plan.argument[1], 0x80000000 + TREE);
    assert_int_equal(f->plan.argument[2] | f->plan.argument[3], 0);
    phys_read(f->mem, 0x400000, got, sizeof got);
    assert_memory_equal(got, f->image + 0x1000, sizeof got);
    assert_int_equal(mem32(f, 0x4020fc), *(uint32_t *)(void *)(f->image + 0x20fc));
    assert_int_equal(mem32(f, 0x402100), 0); /* bss */
    assert_int_equal(f->plan.kernel_start, 0x400000);
    assert_int_equal(f->plan.kernel_end, 0x405000);
    assert_int_equal(boot_kernel_arch(f->kernel), ARCH_MIPSEL);
    assert_true(boot_is_kernel(f->kernel));

    poke(f, 24, 4, 0xa0402004); /* an entry point in KSEG1 stays there */
    assert_int_equal(load(f), 0);
    assert_int_equal(f->plan.entry, 0xa0402004);
}

static void tree_has_command_line_and_initrd(void **state)
{
    struct fixture *f = *state;
    uint8_t initrd[5000];
    make_elf(f);
    f->req.append = "console=ttyS0 \"a b\"";
    assert_int_equal(load(f), 0);
    const void *t = read_tree(f);
    int chosen = fdt_path_offset(t, "/chosen");
    assert_string_equal(fdt_getprop(t, chosen, "bootargs", NULL), f->req.append);
    assert_null(fdt_getprop(t, chosen, "linux,initrd-start", NULL));

    /* What the machine has put into /chosen stays. */
    assert_int_equal(fdt_add_subnode(tree, 0, "chosen") > 0, 1);
    fdt_setprop_string(tree, fdt_path_offset(tree, "/chosen"), "stdout-path", "serial0");
    memset(initrd, 0x77, sizeof initrd);
    write_file(f->initrd, initrd, sizeof initrd);
    f->req.initrd = f->initrd;
    f->req.append = NULL;
    assert_int_equal(load(f), 0);
    t = read_tree(f);
    chosen = fdt_path_offset(t, "/chosen");
    assert_string_equal(fdt_getprop(t, chosen, "bootargs", NULL), "");
    assert_string_equal(fdt_getprop(t, chosen, "stdout-path", NULL), "serial0");
    uint32_t start = chosen32(t, "linux,initrd-start");
    assert_int_equal(chosen32(t, "linux,initrd-end"), start + sizeof initrd);
    /* As high as KSEG0 goes, below the tree; not in high RAM. */
    assert_int_equal(start, (TREE - sizeof initrd) & PAGE_MASK);
    assert_int_equal(mem32(f, start + 4996), 0x77777777);
}

/* ---- what is refused ------------------------------------------------------------------------- */

static const struct bad {
    uint16_t at;
    uint8_t size;
    uint64_t value;
    size_t cut; /* file length, if not 0 */
    const char *id, *text;
} bad[] = {
    {4, 1, ELFCLASS64, 0, "kernel-64bit", "class 2"},
    {5, 1, 7, 0, "kernel-format", "byte order 7"},
    {18, 2, EM_386, 0, "kernel-format", "ELF file for i386; this machine runs little-endian MIPS"},
    {18, 2, 0x1234, 0, "kernel-format", "machine type 4660"},
    {16, 2, ET_DYN, 0, "kernel-format", "position-independent"},
    {24, 4, 0x80400800, 0, "kernel-format", "entry point 0x80400800"},
    {24, 4, 0x402000, 0, "kernel-format", "entry point 0x402000"}, /* p_paddr does not count */
    {28, 4, 0xfffffff0, 0, "kernel-truncated", "the file has"},
    {42, 2, 31, 0, "kernel-format", "31 bytes"},
    {44, 2, 0, 0, "kernel-format", "0 entries"},
    {44, 2, 0xffff, 0, "kernel-format", "65535 entries"},
    {52 + 4, 4, 0xfffff000, 0, "kernel-truncated", "p_offset and p_filesz"},
    {52 + 4, 4, 0x1901, 0, "kernel-truncated", "say 8449 bytes"},
    {52 + 8, 4, 0x40100000, 0, "kernel-format", "0x40100000, a mapped address"},
    {52 + 8, 4, 0x7ffffff0, 0, "kernel-format", "a mapped address"},
    {52 + 8, 4, 0xc0000000, 0, "kernel-format", "a mapped address"},
    {52 + 8, 4, 0x80000000 + TREE - 0x7ff, 0, "kernel-too-big",
     "boot data at 0x1ff0000; try a larger -m"},
    {52 + 8, 4, 0x9ffffff0, 0, "kernel-too-big", "not all RAM"},
    {52 + 16, 4, 0x801, 0, "kernel-format", "more bytes in the file"},
    {52 + 20, 4, 0xffffffff, 0, "kernel-too-big", "not all RAM"},
    {52 + 64 + 20, 4, 0x20000000, 0, "kernel-too-big", "larger -m"},
    {0, 0, 0, 0x1100, "kernel-truncated", "the file has 4352"},
    {0, 0, 0, 40, "kernel-truncated", "ELF header"},
    {0, 0, 0, 60, "kernel-truncated", "are needed"},
};

static void each_bad_field_is_named(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        const struct bad *b = &bad[i];
        make_elf(f);
        assert_int_equal(load(f), 0); /* good before */
        poke(f, b->at, b->size, b->value);
        if (b->cut)
            f->bytes = b->cut;
        int r = load(f);
        if (r >= 0 || strcmp(f->e.id, b->id) || !strstr(f->e.text, b->text))
            fail_msg("row %zu: wanted [%s] %s, got %d [%s] %s", i, b->id, b->text, r, f->e.id,
                     f->e.text);
        assert_int_equal(r, -f->e.errnum);
        assert_true(strstr(f->e.text, f->kernel) == f->e.text);
    }
}

static void swap16(struct fixture *f, size_t at)
{
    uint8_t low = f->image[at];
    f->image[at] = f->image[at + 1];
    f->image[at + 1] = low;
}

static void other_architectures_are_named(void **state)
{
    struct fixture *f = *state;
    make_elf(f);
    f->image[5] = ELFDATA2MSB;
    swap16(f, 18);
    assert_int_equal(load(f), -ENOEXEC);
    assert_non_null(
        strstr(f->e.text, "big-endian MIPS; this machine runs little-endian MIPS kernels"));
    assert_int_equal(boot_kernel_arch(f->kernel), ARCH_MIPS);

    /* And on the other machine. */
    make_elf(f);
    f->req.arch = ARCH_I386;
    assert_int_equal(load(f), -ENOEXEC);
    assert_non_null(
        strstr(f->e.text, "ELF file for little-endian MIPS; this machine runs i386 kernels"));
    f->req.arch = ARCH_MIPSEL;

    /* A bzImage, which has no ELF header. */
    memset(f->image, 0, sizeof f->image);
    poke(f, 0x1fe, 2, 0xaa55);
    memcpy(f->image + 0x202, "HdrS", 4);
    poke(f, 0x206, 2, 0x20f);
    f->bytes = 4096;
    assert_int_equal(load(f), -ENOEXEC);
    assert_non_null(strstr(f->e.text, "x86 Linux kernel; this machine runs little-endian MIPS"));
    assert_int_equal(boot_kernel_arch(f->kernel), ARCH_I386);

    memset(f->image, 'x', 512);
    f->bytes = 512;
    assert_int_equal(load(f), -ENOEXEC);
    assert_non_null(strstr(f->e.text, "an ELF32 file for little-endian MIPS"));
    assert_int_equal(boot_kernel_arch(f->kernel), ARCH_UNKNOWN);
    assert_int_equal(boot_kernel_arch("/nonexistent"), ARCH_UNKNOWN);
}

static void what_does_not_fit_is_refused(void **state)
{
    struct fixture *f = *state;
    char line[5000];
    make_elf(f);
    f->req.initrd = f->initrd;
    /* 0x405000 to the tree is the largest hole in KSEG0, although there is more RAM. */
    assert_int_equal(truncate(f->initrd, TREE - 0x405000), 0);
    assert_int_equal(load(f), 0);
    assert_int_equal(f->plan.initrd_start, 0x405000);
    assert_int_equal(truncate(f->initrd, TREE - 0x405000 + 1), 0);
    assert_int_equal(load(f), -ENOSPC);
    assert_string_equal(f->e.id, "initrd-too-big");
    assert_int_equal(truncate(f->initrd, INT64_C(1) << 40), 0);
    assert_int_equal(load(f), -ENOSPC);
    assert_string_equal(f->e.id, "initrd-too-big");
    f->req.initrd = NULL;

    memset(line, 'a', sizeof line);
    line[4095] = 0;
    f->req.append = line;
    assert_int_equal(load(f), 0);
    line[4095] = 'a', line[4096] = 0;
    assert_int_equal(load(f), -E2BIG);
    assert_string_equal(f->e.id, "cmdline-too-long");

    /* A machine that says it has no RAM at 0. */
    f->req.append = "";
    f->req.map = map + 1;
    f->req.map_count = 1;
    assert_int_equal(load(f), -EINVAL);
    assert_string_equal(f->e.id, "memory-map");
}

static void random_damage_is_survived(void **state)
{
    struct fixture *f = *state;
    static const uint32_t tempting[] = {0, 1, 0x7fffffff, 0x80000000, 0xffffffff, 0xbffff000};
    uint64_t seed = 20260101;
    unsigned loaded = 0, refused = 0;

    write_file(f->initrd, "initrd", 6);
    f->req.initrd = f->initrd;
    for (int i = 0; i < 3000; i++) {
        make_elf(f);
        for (uint32_t n = 1 + next_random(&seed) % 4; n; n--) {
            size_t at = next_random(&seed) % 0x98; /* the headers */
            uint32_t pick = next_random(&seed);
            poke(f, at, 1u << pick % 3,
                 pick & 8 ? next_random(&seed) : tempting[(pick >> 4) % ARRAY_LEN(tempting)]);
        }
        if (next_random(&seed) % 8 == 0)
            f->bytes = next_random(&seed) % f->bytes + 1;
        int r = load(f);
        assert_int_equal(r, -f->e.errnum);
        if (r == 0) {
            loaded++;
            read_tree(f);
        } else {
            refused++;
            assert_true(f->e.id[0] && f->e.text[0]);
        }
    }
    assert_true(loaded > 100 && refused > 100); /* both ways are exercised */
}

/* ---- kernels that get an environment --------------------------------------------------------- */

static const struct boot_variable environment[] = {
    {"memsize", "33554432"}, {"modetty0", "38400,n,8,1,hw"}, {NULL, NULL}};

/* The string at word `at` of a list in KSEG0. */
static const char *word(struct fixture *f, uint32_t list, unsigned at)
{
    static char text[4200];
    uint32_t address = mem32(f, (list & 0x1fffffff) + 4 * at);
    if (!address)
        return NULL;
    assert_int_equal(address >> 16, 0x8000);
    phys_read(f->mem, address & 0x1fffffff, text, sizeof text);
    text[sizeof text - 1] = 0;
    return text;
}

static void environment_and_arguments(void **state)
{
    struct fixture *f = *state;
    uint8_t initrd[5000];
    make_elf(f);
    f->req.tree = NULL;
    f->req.environment = environment;
    f->req.append = "console=ttyS0 quiet";
    assert_int_equal(load(f), 0);
    const uint32_t *a = f->plan.argument;
    assert_int_equal(f->plan.entry, 0x80400010);
    assert_int_equal(a[0], 2);
    assert_string_equal(word(f, a[1], 0), "kernel");
    assert_string_equal(word(f, a[1], 1), "console=ttyS0 quiet");
    assert_null(word(f, a[1], 2));
    assert_string_equal(word(f, a[2], 0), "memsize");
    assert_string_equal(word(f, a[2], 1), "33554432");
    assert_string_equal(word(f, a[2], 2), "modetty0");
    assert_string_equal(word(f, a[2], 3), "38400,n,8,1,hw");
    assert_null(word(f, a[2], 4));
    assert_int_equal(a[3], LOW_RAM);

    memset(initrd, 0x77, sizeof initrd);
    write_file(f->initrd, initrd, sizeof initrd);
    f->req.initrd = f->initrd;
    assert_int_equal(load(f), 0);
    assert_int_equal(f->plan.initrd_start, (LOW_RAM - sizeof initrd) & PAGE_MASK);
    assert_string_equal(word(f, a[1], 1), "rd_start=0x81ffe000 rd_size=5000 console=ttyS0 quiet");
    assert_int_equal(mem32(f, 0x1ffe000 + 4996), 0x77777777);
}

static void environment_has_limits(void **state)
{
    struct fixture *f = *state;
    static char line[5000], value[0x4000];
    const struct boot_variable large[] = {{"large", value}, {NULL, NULL}};
    make_elf(f);
    f->req.environment = environment;
    memset(line, 'a', sizeof line - 1);
    line[4095] = 0;
    f->req.append = line;
    assert_int_equal(load(f), 0);
    assert_string_equal(word(f, f->plan.argument[1], 1), line);
    line[4095] = 'a', line[4096] = 0;
    assert_int_equal(load(f), -E2BIG);
    assert_string_equal(f->e.id, "cmdline-too-long");
    line[4090] = 0;
    write_file(f->initrd, "initrd", 6);
    f->req.initrd = f->initrd; /* takes words of the line */
    assert_int_equal(load(f), -E2BIG);
    assert_string_equal(f->e.id, "cmdline-too-long");
    f->req.append = NULL;
    assert_int_equal(load(f), 0);
    memset(value, 'v', sizeof value - 1);
    f->req.environment = large;
    assert_int_equal(load(f), -E2BIG);
    assert_string_equal(f->e.id, "boot-environment");
    /* Not where the lists are. */
    f->req.environment = environment;
    poke(f, 52 + 8, 4, 0x80002000 + 0x3fff);
    assert_int_equal(load(f), -ENOSPC);
    assert_string_equal(f->e.id, "kernel-too-big");
    make_elf(f);
    f->req.map = map + 1;
    f->req.map_count = 1;
    assert_int_equal(load(f), -EINVAL);
    assert_string_equal(f->e.id, "memory-map");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(kernel_is_loaded_where_it_runs), T(tree_has_command_line_and_initrd),
        T(each_bad_field_is_named),        T(other_architectures_are_named),
        T(what_does_not_fit_is_refused),   T(random_damage_is_survived),
        T(environment_and_arguments),      T(environment_has_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
