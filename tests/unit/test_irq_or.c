/* SPDX-License-Identifier: MIT */
/* OR of interrupt lines: the pin is up while any input is; the state table is whole. */
#include "dev_rig.h"

#include "ring3/devices/irq_or.h"

#define LINE 4

static struct device *make(struct rig *r)
{
    return irq_or_new("pin", rig_line(r, LINE), NULL);
}

static void drive(struct rig *r, unsigned n, int level)
{
    struct irq_line l = irq_or_input(r->d, n);
    irq_set(&l, level);
}

static void any_input_holds_the_pin(void **state)
{
    struct rig *r = rig_new();
    r->d = make(r);
    drive(r, 0, 1);
    assert_string_equal(rig_trace(r), "+4 ");
    drive(r, 31, 1);
    drive(r, 31, 1); /* levels do not add up */
    drive(r, 0, 0);
    assert_string_equal(rig_trace(r), "");
    drive(r, 31, 0);
    assert_string_equal(rig_trace(r), "-4 ");
    assert_null(irq_or_input(r->d, 32).set);
    drive(r, 7, 1);
    r->d->ops->reset(r->d);
    assert_string_equal(rig_trace(r), "+4 -4 ");
    rig_free(r);
}

static void state_is_whole(void **state)
{
    struct rig *a = rig_new(), *b = rig_new();
    a->d = make(a);
    b->d = make(b);
    drive(a, 3, 1);
    drive(a, 9, 1);
    rig_copy_state(b->d, a->d);
    assert_string_equal(rig_trace(b), "+4 ");
    drive(b, 3, 0);
    assert_string_equal(rig_trace(b), "");
    drive(b, 9, 0);
    assert_string_equal(rig_trace(b), "-4 ");
    rig_free(a);
    rig_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_input_holds_the_pin),
        cmocka_unit_test(state_is_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
