/* SPDX-License-Identifier: MIT */
/* Finding firmware files, and the option ROM that starts kernels. */
#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "boot/bios.h"
#include "boot/kernel_rom.h"

/* ---- files ----------------------------------------------------------------------------------- */

static void make_file(const char *path, size_t bytes)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(ftruncate(fileno(f), (off_t)bytes), 0);
    fclose(f);
}

static void the_best_file_of_a_directory(void **state)
{
    char dir[] = "/tmp/ring3-bios-XXXXXX", small[64], large[64], path[BIOS_PATH_MAX];
    struct image img;
    struct err e = {0};
    assert_non_null(mkdtemp(dir));
    snprintf(small, sizeof small, "%s/bios.bin", dir);
    snprintf(large, sizeof large, "%s/bios-256k.bin", dir);
    setenv("RING3_FIRMWARE", dir, 1);
    assert_int_equal(bios_open(NULL, path, &img, &e), -ENOSYS);
    assert_string_equal(e.id, "firmware-missing");
    assert_non_null(strstr(e.text, "apt install seabios"));
    assert_non_null(strstr(e.text, dir));

    make_file(small, 128 * KIB);
    assert_int_equal(bios_open(NULL, path, &img, &e), 0);
    assert_string_equal(path, small);
    assert_int_equal(img.bytes, 128 * KIB);
    image_close(&img);
    make_file(large, 256 * KIB);
    assert_int_equal(bios_open(NULL, path, &img, &e), 0);
    assert_string_equal(path, large);
    image_close(&img);

    static const size_t bad[] = {512, 60 * KIB, 128 * KIB + 512, 32 * MIB};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        make_file(large, bad[i]);
        assert_int_equal(bios_open(large, path, &img, &e), -ENOEXEC);
        assert_string_equal(e.id, "firmware-size");
    }
    unlink(small);
    unlink(large);
    assert_int_equal(bios_open(large, path, &img, &e), -ENOENT); /* named, so it is not the host */
    assert_string_equal(e.id, "firmware-missing");
    rmdir(dir);
    unsetenv("RING3_FIRMWARE");
}

/* ---- option ROM ------------------------------------------------------------------------------ */

static uint8_t sum(const uint8_t *p, size_t n)
{
    uint8_t s = 0;
    while (n--)
        s = (uint8_t)(s + *p++);
    return s;
}

static unsigned le16(const uint8_t *p)
{
    return p[0] | (unsigned)p[1] << 8;
}

/* BIOS Boot Specification 1.01, appendix A. */
static void rom_is_a_boot_device(void **state)
{
    uint8_t rom[KERNEL_ROM_BYTES];
    kernel_rom_build(rom);
    assert_int_equal(le16(rom), 0xaa55);
    assert_int_equal(rom[2] * 512, sizeof rom);
    assert_int_equal(sum(rom, sizeof rom), 0);
    const uint8_t *pnp = rom + le16(rom + 0x1a);
    assert_true(pnp + 32 <= rom + sizeof rom);
    assert_memory_equal(pnp, "$PnP\1\2\0\0", 8);
    assert_int_equal(sum(pnp, 32), 0);
    assert_string_equal((const char *)rom + le16(pnp + 0x0e), "ring3");
    assert_string_equal((const char *)rom + le16(pnp + 0x10), "kernel");
    assert_int_equal(le16(pnp + 0x16), 0);            /* no boot connection vector */
    assert_in_range(le16(pnp + 0x1a), 3, sizeof rom); /* bootstrap entry */
    assert_int_equal(rom[le16(pnp + 0x1a)], 0xfa);    /* cli */
}

#define MAP 0x92000u

struct entry {
    uint64_t base, len;
    uint32_t type;
} __attribute__((packed));

static int take(struct phys *mem, uint32_t count, const struct entry *entries, size_t n,
                struct boot_e820 *map)
{
    phys_write(mem, MAP, &count, 4);
    phys_write(mem, MAP + 4, entries, n * sizeof *entries);
    return kernel_rom_map(mem, map);
}

/* The guest wrote it: what it calls RAM must be RAM, or loading would change ROM. */
static void map_is_checked(void **state)
{
    static const struct entry good[] = {{0, 0x9fc00, 1},          {0x9fc00, 0x400, 2},
                                        {0xf0000, 0x10000, 2},    {MIB, MIB, 1},
                                        {0xfffc0000, 0x40000, 2}, {UINT64_MAX, UINT64_MAX, 7}};
    static const struct entry bad[] = {{0, 0, 1},
                                       {0xe0000, 0x1000, 1},
                                       {0x9f000, 0x2000, 1},
                                       {MIB, 2 * MIB, 1},
                                       {UINT64_MAX - 0xfff, 0x1000, 1},
                                       {MIB, UINT64_MAX, 1},
                                       {0xfffc0000, 0x1000, 1}};
    struct boot_e820 map[KERNEL_ROM_MAX];
    struct phys *mem = phys_new(2 * MIB, NULL);
    phys_map_ram(mem, 0, 0, 0xa0000, NULL);
    phys_map_rom(mem, 0xe0000, 0xe0000, 0x20000, NULL);
    phys_map_ram(mem, MIB, MIB, MIB, NULL);
    assert_int_equal(take(mem, 6, good, 6, map), 6);
    assert_int_equal(map[0].len, 0x9fc00);
    assert_int_equal(map[2].base, 0xf0000);
    assert_int_equal(map[2].type, 2);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(take(mem, 1, &bad[i], 1, map), -EINVAL);
    assert_int_equal(take(mem, 0, good, 1, map), -EINVAL);
    assert_int_equal(take(mem, KERNEL_ROM_MAX + 1, good, 1, map), -EINVAL);
    assert_int_equal(take(mem, UINT32_MAX, good, 1, map), -EINVAL);
    phys_free(mem);
    mem = phys_new(MIB, NULL); /* nothing mapped */
    assert_int_equal(kernel_rom_map(mem, map), -EINVAL);
    phys_free(mem);
}

static void plan_as_the_rom_reads_it(void **state)
{
    static const uint8_t want[PLAN_BYTES] = {
        1, 0, 0, 0, 31, 0, 0, 0x10, 9, 0, 0x18, 0,    1,    0,    0,    0, 2,
        0, 0, 0, 3, 0,  0, 0, 4,    0, 0, 0,    5,    0,    0,    0,    6, 0,
        0, 0, 7, 0, 0,  0, 8, 0,    0, 0, 0x78, 0x56, 0x34, 0x12, 0x10, 0};
    struct boot_plan p = {.entry = 0x12345678,
                          .gpr = {1, 2, 3, 4, 5, 6, 7, 8},
                          .gdt_base = 0x91000,
                          .gdt_limit = 31,
                          .cs_sel = 0x10,
                          .ds_sel = 0x18};
    uint8_t bytes[PLAN_BYTES] = {0};
    kernel_rom_plan(&p, bytes);
    assert_memory_equal(bytes, want, sizeof want);

    struct boot_plan real = {.real_segment = 0x1000, .gpr = {[4] = 0xe000}};
    memset(bytes, 0, sizeof bytes);
    kernel_rom_plan(&real, bytes);
    assert_int_equal(bytes[0], 2);
    assert_int_equal(le16(bytes + 10), 0x1000);
    assert_int_equal(le16(bytes + 28), 0xe000);
    assert_int_equal(le16(bytes + 44), 0);
    assert_int_equal(le16(bytes + 46), 0x1020);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_best_file_of_a_directory),
        cmocka_unit_test(rom_is_a_boot_device),
        cmocka_unit_test(map_is_checked),
        cmocka_unit_test(plan_as_the_rom_reads_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
