/* SPDX-License-Identifier: MIT */
/* cli/parse.c: sizes, durations, orders of drives. */
#include "unit.h"

#include <errno.h>

#include "cli/cli.h"

static void sizes(void **state)
{
    static const struct {
        const char *text;
        uint64_t bytes;
    } good[] = {{"128M", 128 * MIB}, {"2G", 2 * GIB}, {"131072K", 128 * MIB}, {"1g", GIB},
                {"64", 64 * MIB},    {"0", 0},        {"0010m", 10 * MIB}};
    static const char *const bad[] = {"",     "M",   "-1M", "+1M",   " 1M",  "1.5G",
                                      "128Q", "1MM", "1 M", "0x10M", "12M34"};
    struct err e;
    for (unsigned i = 0; i < ARRAY_LEN(good); i++) {
        uint64_t n = 1;
        assert_int_equal(parse_size(good[i].text, &n, &e), 0);
        assert_int_equal(n, good[i].bytes);
    }
    for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
        uint64_t n;
        assert_int_equal(parse_size(bad[i], &n, &e), -EINVAL);
        assert_string_equal(e.id, "bad-size");
        assert_non_null(strstr(e.text, "K, M or G"));
    }
}

static void sizes_that_overflow(void **state)
{
    static const char *const huge[] = {"99999999999999999999", "18446744073709551615G",
                                       "17592186044416M"};
    struct err e;
    for (unsigned i = 0; i < ARRAY_LEN(huge); i++) {
        uint64_t n;
        assert_int_equal(parse_size(huge[i], &n, &e), -EINVAL);
        assert_non_null(strstr(e.text, "absurdly large"));
    }
}

static void durations(void **state)
{
    static const struct {
        const char *text;
        uint64_t ns;
    } good[] = {{"30", 30 * NS_PER_SEC},
                {"30s", 30 * NS_PER_SEC},
                {"2m", 120 * NS_PER_SEC},
                {"500ms", NS_PER_SEC / 2},
                {"1h", 3600 * NS_PER_SEC}};
    static const char *const bad[] = {"", "0", "0s", "-5s", "1.5s", "s", "5d", "5 s", "5sm"};
    struct err e;
    for (unsigned i = 0; i < ARRAY_LEN(good); i++) {
        uint64_t n = 1;
        assert_int_equal(parse_duration(good[i].text, &n, &e), 0);
        assert_int_equal(n, good[i].ns);
    }
    for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
        uint64_t n;
        assert_int_equal(parse_duration(bad[i], &n, &e), -EINVAL);
        assert_string_equal(e.id, "bad-duration");
    }
    uint64_t n;
    assert_int_equal(parse_duration("9999999999h", &n, &e), -EINVAL);
    assert_non_null(strstr(e.text, "absurdly long"));
}

static void boot_orders(void **state)
{
    static const struct {
        const char *text;
        enum boot_device order[VM_MAX_BOOT];
        bool menu;
    } good[] = {
        {"menu", {BOOT_NONE}, true},
        {"menu,cdrom,disk", {BOOT_CDROM, BOOT_DISK}, true},
        {"floppy,Menu", {BOOT_FLOPPY}, true},
        {"floppy,disk,cdrom,menu", {BOOT_FLOPPY, BOOT_DISK, BOOT_CDROM}, true},
        {"cdrom", {BOOT_CDROM}},
        {"floppy,disk,cdrom", {BOOT_FLOPPY, BOOT_DISK, BOOT_CDROM}},
        {"Disk,CDROM", {BOOT_DISK, BOOT_CDROM}},
        {"dc", {BOOT_CDROM, BOOT_DISK}},
        {"A", {BOOT_FLOPPY}},
    };
    static const char *const bad[] = {"",          "network", "n",         "disk,", ",disk", "cc",
                                      "disk,disk", "cdx",     "disk,tape", "c,d",   "disk ", "acdn",
                                      "a,,c",      "acda",    "menu,menu", "men",   "menus"};
    struct err e;
    for (unsigned i = 0; i < ARRAY_LEN(good); i++) {
        enum boot_device order[VM_MAX_BOOT] = {BOOT_DISK, BOOT_DISK, BOOT_DISK};
        bool menu = !good[i].menu;
        assert_int_equal(parse_boot_order(good[i].text, order, &menu, &e), 0);
        assert_int_equal(menu, good[i].menu);
        assert_memory_equal(order, good[i].order, sizeof order);
    }
    for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
        enum boot_device order[VM_MAX_BOOT];
        bool menu;
        assert_int_equal(parse_boot_order(bad[i], order, &menu, &e), -EINVAL);
        assert_string_equal(e.id, "bad-option");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(boot_orders),
        cmocka_unit_test(sizes),
        cmocka_unit_test(sizes_that_overflow),
        cmocka_unit_test(durations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
