/* SPDX-License-Identifier: MIT */
/* System controller: which value does what, and that nothing else does anything. */
#include "dev_rig.h"

#include "ring3/devices/syscon.h"

#define BASE 0x1f001000u
#define LINE 2

static void power_off(void *opaque)
{
    rig_note(opaque, "off ");
}

static void guest_exit(void *opaque, unsigned code)
{
    char text[16];
    snprintf(text, sizeof text, "exit=%u ", code);
    rig_note(opaque, text);
}

static struct device *make(struct rig *r)
{
    struct syscon_config c = {BASE, rig_line(r, LINE), power_off, guest_exit, r};
    return syscon_new(&r->host, &c, NULL);
}

static void put(struct rig *r, unsigned at, uint32_t value)
{
    bus_write(r->host.mmio, BASE + at, 4, value);
}

static void each_value_does_its_own(void **state)
{
    struct rig *r = rig_new();
    r->d = make(r);
    put(r, 0, 0x7777);
    assert_string_equal(rig_trace(r), "+2 -2 ");
    put(r, 0, 0x5555);
    assert_string_equal(rig_trace(r), "off ");
    put(r, 0, 0x3333);
    put(r, 0, 0x773333);
    put(r, 0, 0x783333);
    put(r, 0, 0xffff3333);
    assert_string_equal(rig_trace(r), "exit=0 exit=119 exit=119 exit=119 ");
    assert_int_equal(bus_read(r->host.mmio, BASE, 4), 0);
    assert_null(syscon_new(&r->host, &(struct syscon_config){.base = BASE}, NULL)); /* taken */
    rig_free(r);
}

static void nothing_else_does_anything(void **state)
{
    struct rig *r = rig_new();
    r->d = make(r);
    put(r, 4, 0x7777);
    put(r, 0xffc, 0x5555);
    for (uint32_t v = 0; v < 0x10000; v++)
        if (v != 0x7777 && v != 0x5555 && v != 0x3333)
            put(r, 0, v | v << 16);
    r->d->ops->reset(r->d);
    assert_string_equal(rig_trace(r), "");
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_value_does_its_own),
        cmocka_unit_test(nothing_else_does_anything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
