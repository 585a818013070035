/* SPDX-License-Identifier: MIT */
/* The device tree of board mipsvirt, read back with libfdt: what is in it, at which address, on
 * which pin; that handles lead somewhere; that it says what it was told. */
#include "unit.h"

#include <errno.h>
#include <libfdt.h>

#include "board/mipsvirt_tree.h"

static uint8_t blob[32768];

static const struct mipsvirt_tree usual = {
    .cpu = "mips,mips24Kf",
    .ram_bytes = 256 * MIB,
    .clock_hz = 200000000,
    .slot = {[0] = {true, MIPSVIRT_PIN_DRIVES}, [2] = {true, MIPSVIRT_PIN_NICS}},
};

static void write_tree(const struct mipsvirt_tree *t)
{
    memset(blob, 0xee, sizeof blob);
    assert_int_equal(mipsvirt_tree_write(t, blob, sizeof blob, NULL), 0);
    assert_int_equal(fdt_check_full(blob, sizeof blob), 0);
}

static const void *property(const char *path, const char *name, int bytes)
{
    int node = fdt_path_offset(blob, path), n = -1;
    if (node < 0)
        fail_msg("no %s", path);
    const void *p = fdt_getprop(blob, node, name, &n);
    if (!p)
        fail_msg("%s has no %s", path, name);
    if (bytes >= 0)
        assert_int_equal(n, bytes);
    return p;
}

static uint32_t number(const char *path, const char *name)
{
    return fdt32_ld(property(path, name, 4));
}

static void assert_text(const char *path, const char *name, const char *value)
{
    assert_string_equal(property(path, name, (int)strlen(value) + 1), value);
}

static void assert_reg(const char *path, uint32_t base, uint32_t bytes)
{
    const fdt32_t *reg = property(path, "reg", 8);
    assert_int_equal(fdt32_ld(reg), base);
    assert_int_equal(fdt32_ld(reg + 1), bytes);
}

/* Path of the node that a property of this one is the handle of. */
static void assert_leads_to(const char *path, const char *name, const char *target)
{
    char got[64];
    int node = fdt_node_offset_by_phandle(blob, number(path, name));
    assert_true(node > 0);
    assert_int_equal(fdt_get_path(blob, node, got, sizeof got), 0);
    assert_string_equal(got, target);
}

static void says_what_linux_asks(void **state)
{
    write_tree(&usual);
    assert_text("/", "compatible", "ring3,mipsvirt");
    assert_leads_to("/", "interrupt-parent", "/interrupt-controller");
    assert_text("/interrupt-controller", "compatible", "mti,cpu-interrupt-controller");
    assert_int_equal(number("/interrupt-controller", "#interrupt-cells"), 1);
    property("/interrupt-controller", "interrupt-controller", 0);

    assert_text("/cpus/cpu@0", "compatible", "mips,mips24Kf");
    assert_leads_to("/cpus/cpu@0", "clocks", "/cpu-clock");
    assert_text("/cpu-clock", "compatible", "fixed-clock");
    assert_int_equal(number("/cpu-clock", "clock-frequency"), 200000000);
    assert_int_equal(number("/cpu-clock", "#clock-cells"), 0);

    /* earlycon follows stdout-path through the alias. */
    assert_text("/chosen", "stdout-path", "serial0:115200n8");
    const char *serial = fdt_get_alias(blob, "serial0");
    assert_non_null(serial);
    assert_text(serial, "compatible", "ns16550a");
    assert_reg(serial, 0x1f000000, 8);
    assert_int_equal(number(serial, "clock-frequency"), 1843200);
    assert_int_equal(number(serial, "interrupts"), 2);

    assert_text("/soc", "compatible", "simple-bus");
    property("/soc", "ranges", 0);
    assert_reg("/soc/rtc@1f002000", 0x1f002000, 0x1000);
    assert_int_equal(number("/soc/rtc@1f002000", "interrupts"), 3);
    for (unsigned i = 0; i < 2; i++) {
        const char *path = i ? "/poweroff" : "/reboot";
        assert_text(path, "compatible", i ? "syscon-poweroff" : "syscon-reboot");
        assert_leads_to(path, "regmap", "/soc/syscon@1f001000");
        assert_int_equal(number(path, "offset"), 0);
        assert_int_equal(number(path, "value"), i ? 0x5555 : 0x7777);
    }
}

static void memory_is_in_two_pieces(void **state)
{
    static const struct {
        uint64_t ram;
        uint32_t low, high;
    } rows[] = {
        {16 * MIB, 0x1000000, 0},
        {256 * MIB, 0x10000000, 0},
        {256 * MIB + 4096, 0x10000000, 0x1000},
        {3 * GIB, 0x10000000, 0xb0000000},
    };
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
        struct mipsvirt_tree t = usual;
        t.ram_bytes = rows[i].ram;
        write_tree(&t);
        const fdt32_t *reg = property("/memory@0", "reg", rows[i].high ? 16 : 8);
        assert_int_equal(fdt32_ld(reg), 0);
        assert_int_equal(fdt32_ld(reg + 1), rows[i].low);
        if (rows[i].high) {
            assert_int_equal(fdt32_ld(reg + 2), 0x20000000);
            assert_int_equal(fdt32_ld(reg + 3), rows[i].high);
        }
    }
}

static void used_slots_have_a_node(void **state)
{
    struct mipsvirt_tree t = usual;
    unsigned nodes = 0;
    int node;
    write_tree(&t);
    assert_text("/soc/virtio@1f010000", "compatible", "virtio,mmio");
    assert_reg("/soc/virtio@1f010000", 0x1f010000, 0x200);
    assert_int_equal(number("/soc/virtio@1f010000", "interrupts"), 4);
    assert_reg("/soc/virtio@1f010400", 0x1f010400, 0x200);
    assert_int_equal(number("/soc/virtio@1f010400", "interrupts"), 5);
    assert_true(fdt_path_offset(blob, "/soc/virtio@1f010200") < 0);

    for (unsigned i = 0; i < MIPSVIRT_SLOTS; i++)
        t.slot[i] = (struct mipsvirt_slot){true, MIPSVIRT_PIN_OTHERS};
    write_tree(&t);
    for (node = -1; (node = fdt_node_offset_by_compatible(blob, node, "virtio,mmio")) >= 0;)
        nodes++;
    assert_int_equal(nodes, MIPSVIRT_SLOTS);
}

static void seed_is_passed_on(void **state)
{
    struct mipsvirt_tree t = usual;
    uint8_t seed[MIPSVIRT_SEED_BYTES];
    write_tree(&t);
    assert_null(fdt_getprop(blob, fdt_path_offset(blob, "/chosen"), "rng-seed", NULL));
    memset(seed, 0x5a, sizeof seed);
    t.seed = seed;
    write_tree(&t);
    assert_memory_equal(property("/chosen", "rng-seed", sizeof seed), seed, sizeof seed);
}

static void too_small_a_buffer_is_an_error(void **state)
{
    struct err e = {0};
    write_tree(&usual);
    size_t need = fdt_totalsize(blob);
    memset(blob, 0xee, sizeof blob);
    for (size_t n = 0; n < need; n++) {
        assert_int_equal(mipsvirt_tree_write(&usual, blob, n, &e), -ENOSPC);
        assert_string_equal(e.id, "device-tree");
        assert_int_equal(blob[n], 0xee); /* nothing was written behind it */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(says_what_linux_asks),           cmocka_unit_test(memory_is_in_two_pieces),
        cmocka_unit_test(used_slots_have_a_node),         cmocka_unit_test(seed_is_passed_on),
        cmocka_unit_test(too_small_a_buffer_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
