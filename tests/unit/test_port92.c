/* SPDX-License-Identifier: MIT */
/* Ports 0x92 and 0x80. Lines of the bench: 2 A20, 3 reset. */
#include "dev_rig.h"

#include "ring3/devices/port80.h"
#include "ring3/devices/port92.h"

static struct device *make(struct rig *r)
{
    return port92_new(&r->host, rig_line(r, 2), rig_line(r, 3), NULL);
}

static struct device *make_port80(struct rig *r)
{
    return port80_new(&r->host, NULL);
}

static void a20_is_the_or_of_two_sources(void **state)
{
    struct rig *r = rig_new();
    r->d = make(r);
    struct irq_line keyboard = port92_a20_input(r->d);
    assert_string_equal(rig_trace(r), "");
    out8(r, 0x92, 2);
    assert_string_equal(rig_trace(r), "+2 ");
    assert_int_equal(in8(r, 0x92), 2);
    irq_set(&keyboard, 1);
    out8(r, 0x92, 0);
    assert_string_equal(rig_trace(r), "");
    irq_set(&keyboard, 0);
    assert_string_equal(rig_trace(r), "-2 ");
    rig_free(r);
}

static void reset_on_the_rising_bit(void **state)
{
    struct rig *r = rig_new();
    r->d = make(r);
    out8(r, 0x92, 1);
    assert_string_equal(rig_trace(r), "+3 -3 ");
    out8(r, 0x92, 1);
    assert_string_equal(rig_trace(r), "");
    out8(r, 0x92, 0);
    out8(r, 0x92, 1);
    assert_string_equal(rig_trace(r), "+3 -3 ");
    r->d->ops->reset(r->d);
    assert_int_equal(in8(r, 0x92), 0);
    rig_free(r);
}

static void post_code_latches(void **state)
{
    struct rig *r = rig_new();
    r->d = make_port80(r);
    assert_int_equal(in8(r, 0x80), 0);
    out8(r, 0x80, 0x5a);
    assert_int_equal(in8(r, 0x80), 0x5a);
    assert_int_equal(port80_code(r->d), 0x5a);
    assert_null(port80_new(&r->host, NULL)); /* the port is taken */
    rig_free(r);
}

static uint64_t poke(struct rig *r, uint64_t random)
{
    struct irq_line keyboard = port92_a20_input(r->d);
    irq_set(&keyboard, random & 1);
    return 0;
}

static void survive_anything(void **state)
{
    const uint16_t ports[] = {0x92}, ports80[] = {0x80};
    rig_fuzz(&(struct rig_fuzz){make, ports, 1, 1000, poke});
    rig_fuzz(&(struct rig_fuzz){make_port80, ports80, 1, 1000, NULL});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a20_is_the_or_of_two_sources),
        cmocka_unit_test(reset_on_the_rising_bit),
        cmocka_unit_test(post_code_latches),
        cmocka_unit_test(survive_anything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
