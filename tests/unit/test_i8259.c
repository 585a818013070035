/* SPDX-License-Identifier: MIT */
/* i8259 pair: register script in, INT pin and vectors out. Line 0 of the bench is INT. */
#include "dev_rig.h"

#include "ring3/devices/i8259.h"

enum { CMD = 0x20, DATA = 0x21, SLAVE_CMD = 0xa0, SLAVE_DATA = 0xa1 };

static struct device *make(struct rig *r)
{
    return i8259_new(&r->host, rig_line(r, 0), NULL);
}

/* As Linux does: vectors 0x30 and 0x38, cascade on 2, normal EOI, nothing masked. */
static void init(struct rig *r, unsigned icw4)
{
    out8(r, CMD, 0x11);
    out8(r, DATA, 0x30);
    out8(r, DATA, 0x04);
    out8(r, DATA, icw4);
    out8(r, SLAVE_CMD, 0x11);
    out8(r, SLAVE_DATA, 0x38);
    out8(r, SLAVE_DATA, 0x02);
    out8(r, SLAVE_DATA, icw4 & ~0x10u);
}

static struct rig *new_pic(unsigned icw4)
{
    struct rig *r = rig_new();
    r->d = make(r);
    assert_non_null(r->d);
    init(r, icw4);
    return r;
}

static void line(struct rig *r, unsigned n, int level)
{
    struct irq_line l = i8259_line(r->d, n);
    irq_set(&l, level);
}

static uint8_t isr(struct rig *r, unsigned port)
{
    out8(r, port, 0x0b);
    return in8(r, port);
}

static uint8_t irr(struct rig *r, unsigned port)
{
    out8(r, port, 0x0a);
    return in8(r, port);
}

static void edge_interrupt_and_eoi(void **state)
{
    struct rig *r = new_pic(0x01);
    line(r, 4, 1);
    assert_string_equal(rig_trace(r), "+0 ");
    assert_int_equal(irr(r, CMD), 0x10);
    assert_int_equal(i8259_ack(r->d), 0x34);
    assert_string_equal(rig_trace(r), "-0 ");
    assert_int_equal(irr(r, CMD), 0);
    assert_int_equal(isr(r, CMD), 0x10);
    line(r, 4, 1); /* still high: no new edge */
    line(r, 5, 1); /* lower priority waits */
    assert_string_equal(rig_trace(r), "");
    line(r, 1, 1); /* higher priority nests */
    assert_string_equal(rig_trace(r), "+0 ");
    assert_int_equal(i8259_ack(r->d), 0x31);
    out8(r, CMD, 0x20);
    assert_int_equal(isr(r, CMD), 0x10);
    out8(r, CMD, 0x20);
    assert_int_equal(isr(r, CMD), 0);
    assert_int_equal(i8259_ack(r->d), 0x35);
    out8(r, CMD, 0x65); /* specific EOI */
    assert_int_equal(isr(r, CMD), 0);
    rig_free(r);
}

static void linux_probe_and_masks(void **state)
{
    struct rig *r = rig_new();
    r->d = make(r);
    line(r, 0, 1);
    assert_string_equal(rig_trace(r), ""); /* masked until software comes */
    out8(r, SLAVE_DATA, 0xff);
    out8(r, DATA, 0xfb);
    assert_int_equal(in8(r, DATA), 0xfb);
    init(r, 1);
    assert_int_equal(in8(r, DATA), 0);
    assert_string_equal(rig_trace(r), ""); /* initialisation forgets edges */
    out8(r, DATA, 0x08);
    line(r, 3, 1);
    assert_string_equal(rig_trace(r), "");
    out8(r, DATA, 0x00);
    assert_string_equal(rig_trace(r), "+0 ");
    rig_free(r);
}

static void slave_cascades_through_line_2(void **state)
{
    struct rig *r = new_pic(0x01);
    assert_null(i8259_line(r->d, 2).set);
    assert_null(i8259_line(r->d, 16).set);
    line(r, 12, 1);
    assert_string_equal(rig_trace(r), "+0 ");
    assert_int_equal(i8259_ack(r->d), 0x3c);
    assert_int_equal(isr(r, CMD), 0x04);
    assert_int_equal(isr(r, SLAVE_CMD), 0x10);
    line(r, 8, 1); /* higher, but the master serves line 2 already */
    assert_string_equal(rig_trace(r), "-0 ");
    out8(r, CMD, 0x62);
    assert_string_equal(rig_trace(r), "+0 ");
    assert_int_equal(i8259_ack(r->d), 0x38);
    out8(r, SLAVE_CMD, 0x20);
    out8(r, SLAVE_CMD, 0x20);
    out8(r, CMD, 0x62);
    assert_int_equal(isr(r, SLAVE_CMD), 0);
    rig_free(r);
}

static void special_fully_nested_lets_the_slave_nest(void **state)
{
    struct rig *r = new_pic(0x11);
    line(r, 12, 1);
    assert_int_equal(i8259_ack(r->d), 0x3c);
    line(r, 3, 1); /* lower than line 2 */
    assert_string_equal(rig_trace(r), "+0 -0 ");
    line(r, 8, 1);
    assert_string_equal(rig_trace(r), "+0 ");
    assert_int_equal(i8259_ack(r->d), 0x38);
    rig_free(r);
}

static void level_lines_follow(void **state)
{
    struct rig *r = new_pic(0x01);
    out8(r, 0x4d0, 0xff);
    out8(r, 0x4d1, 0xff);
    assert_int_equal(in8(r, 0x4d0), 0xf8);
    assert_int_equal(in8(r, 0x4d1), 0xde);
    line(r, 11, 1);
    assert_int_equal(i8259_ack(r->d), 0x3b);
    out8(r, SLAVE_CMD, 0x20);
    out8(r, CMD, 0x20);
    assert_string_equal(rig_trace(r), "+0 -0 +0 "); /* still high: again */
    line(r, 11, 0);
    assert_string_equal(rig_trace(r), "-0 ");
    line(r, 14, 1);
    assert_int_equal(i8259_ack(r->d), 0x3e);
    line(r, 14, 0);
    out8(r, SLAVE_CMD, 0x20);
    out8(r, CMD, 0x20);
    assert_string_equal(rig_trace(r), "+0 -0 ");
    out8(r, 0x4d0, 0);
    line(r, 5, 1);
    i8259_ack(r->d);
    out8(r, CMD, 0x20);
    rig_trace(r);
    out8(r, 0x4d0, 0x20); /* a high line that becomes level triggered requests */
    assert_string_equal(rig_trace(r), "+0 ");
    r->d->ops->reset(r->d);
    assert_string_equal(rig_trace(r), "-0 ");
    assert_int_equal(in8(r, 0x4d0), 0);
    rig_free(r);
}

static void ltim_makes_all_lines_level(void **state)
{
    struct rig *r = new_pic(0x01);
    line(r, 1, 1);
    out8(r, CMD, 0x19);
    out8(r, DATA, 0x30);
    out8(r, DATA, 0x04);
    out8(r, DATA, 0x01);
    assert_int_equal(i8259_ack(r->d), 0x31);
    out8(r, CMD, 0x20);
    assert_int_equal(i8259_ack(r->d), 0x31);
    rig_free(r);
}

static void vanished_request_is_spurious(void **state)
{
    struct rig *r = new_pic(0x01);
    line(r, 4, 1);
    line(r, 4, 0);
    assert_string_equal(rig_trace(r), "+0 -0 ");
    assert_int_equal(i8259_ack(r->d), 0x37);
    assert_int_equal(isr(r, CMD), 0); /* how systems tell it from a real 7 */
    line(r, 7, 1);
    assert_int_equal(i8259_ack(r->d), 0x37);
    assert_int_equal(isr(r, CMD), 0x80);
    out8(r, CMD, 0x20);
    line(r, 9, 1);
    line(r, 9, 0); /* takes the slave's INT with it: the master knows nothing either */
    assert_int_equal(i8259_ack(r->d), 0x37);
    line(r, 15, 1);
    assert_int_equal(i8259_ack(r->d), 0x3f);
    assert_int_equal(isr(r, SLAVE_CMD), 0x80);
    rig_free(r);
}

static void auto_eoi_and_its_rotation(void **state)
{
    struct rig *r = new_pic(0x03);
    line(r, 1, 1);
    line(r, 3, 1);
    assert_int_equal(i8259_ack(r->d), 0x31);
    assert_int_equal(isr(r, CMD), 0);
    assert_int_equal(i8259_ack(r->d), 0x33);
    out8(r, CMD, 0x80);
    line(r, 3, 0);
    line(r, 3, 1);
    assert_int_equal(i8259_ack(r->d), 0x33); /* now 4 is highest */
    line(r, 1, 0);
    line(r, 1, 1);
    line(r, 5, 1);
    assert_int_equal(i8259_ack(r->d), 0x35);
    assert_int_equal(i8259_ack(r->d), 0x31);
    out8(r, CMD, 0x00); /* rotation off: 2 stays highest */
    line(r, 3, 0);
    line(r, 3, 1);
    assert_int_equal(i8259_ack(r->d), 0x33);
    line(r, 3, 0);
    line(r, 3, 1);
    line(r, 4, 1);
    assert_int_equal(i8259_ack(r->d), 0x33);
    rig_free(r);
}

static void without_icw4_there_is_no_auto_eoi(void **state)
{
    struct rig *r = new_pic(0x03);
    out8(r, CMD, 0x10);
    out8(r, DATA, 0x40);
    out8(r, DATA, 0x04);
    out8(r, DATA, 0xef); /* ready already: this is the mask */
    line(r, 4, 1);
    assert_int_equal(i8259_ack(r->d), 0x44);
    assert_int_equal(isr(r, CMD), 0x10);
    rig_free(r);
}

static void rotation_by_eoi_and_by_name(void **state)
{
    struct rig *r = new_pic(0x01);
    line(r, 4, 1);
    i8259_ack(r->d);
    out8(r, CMD, 0xa0); /* rotate on EOI: 4 lowest */
    line(r, 4, 0);
    line(r, 4, 1);
    line(r, 6, 1);
    assert_int_equal(i8259_ack(r->d), 0x36);
    out8(r, CMD, 0xe6); /* rotate on specific EOI: 6 lowest, 7 highest */
    line(r, 7, 1);
    assert_int_equal(i8259_ack(r->d), 0x37);
    out8(r, CMD, 0x20);
    out8(r, CMD, 0xc3); /* 3 lowest, 4 highest */
    line(r, 0, 1);
    assert_int_equal(i8259_ack(r->d), 0x34);
    rig_free(r);
}

static void special_mask_frees_lower_lines(void **state)
{
    struct rig *r = new_pic(0x01);
    line(r, 3, 1);
    i8259_ack(r->d);
    rig_trace(r);
    out8(r, DATA, 0x08);
    line(r, 6, 1);
    assert_string_equal(rig_trace(r), "");
    out8(r, CMD, 0x68);
    assert_string_equal(rig_trace(r), "+0 ");
    assert_int_equal(i8259_ack(r->d), 0x36);
    out8(r, CMD, 0x20); /* ends 6, not the masked 3 */
    assert_int_equal(isr(r, CMD), 0x08);
    out8(r, CMD, 0x48); /* normal again */
    out8(r, CMD, 0x20);
    assert_int_equal(isr(r, CMD), 0);
    rig_free(r);
}

static void poll_mode_acknowledges(void **state)
{
    struct rig *r = new_pic(0x01);
    out8(r, CMD, 0x0c);
    assert_int_equal(in8(r, CMD), 0x00);
    line(r, 5, 1);
    out8(r, CMD, 0x0c);
    assert_int_equal(in8(r, CMD), 0x85);
    assert_int_equal(isr(r, CMD), 0x20);
    line(r, 10, 1);
    assert_int_equal(irr(r, CMD), 0x04);
    out8(r, CMD, 0x65);
    out8(r, CMD, 0x0c);
    assert_int_equal(in8(r, CMD), 0x82); /* the slave has not been asked: one edge, one poll */
    assert_int_equal(irr(r, CMD), 0x00);
    out8(r, SLAVE_CMD, 0x0c);
    assert_int_equal(in8(r, SLAVE_CMD), 0x82);
    assert_int_equal(irr(r, CMD), 0x00);
    out8(r, CMD, 0x20);
    rig_trace(r);
    line(r, 9, 1);
    assert_string_equal(rig_trace(r), "+0 ");
    out8(r, SLAVE_CMD, 0x0c);
    in8(r, SLAVE_CMD);
    assert_string_equal(rig_trace(r), "-0 "); /* the poll takes the request off INT */
    rig_free(r);
}

static uint64_t poke(struct rig *r, uint64_t random)
{
    if (random % 4 == 0)
        return (uint64_t)i8259_ack(r->d);
    line(r, random >> 8 & 15, random >> 12 & 1);
    return 0;
}

static void survives_anything(void **state)
{
    const uint16_t ports[] = {CMD, DATA, SLAVE_CMD, SLAVE_DATA, 0x4d0, 0x4d1};
    rig_fuzz(&(struct rig_fuzz){make, ports, ARRAY_LEN(ports), 1000, poke});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(edge_interrupt_and_eoi),
        cmocka_unit_test(linux_probe_and_masks),
        cmocka_unit_test(slave_cascades_through_line_2),
        cmocka_unit_test(special_fully_nested_lets_the_slave_nest),
        cmocka_unit_test(level_lines_follow),
        cmocka_unit_test(ltim_makes_all_lines_level),
        cmocka_unit_test(vanished_request_is_spurious),
        cmocka_unit_test(auto_eoi_and_its_rotation),
        cmocka_unit_test(without_icw4_there_is_no_auto_eoi),
        cmocka_unit_test(rotation_by_eoi_and_by_name),
        cmocka_unit_test(special_mask_frees_lower_lines),
        cmocka_unit_test(poll_mode_acknowledges),
        cmocka_unit_test(survives_anything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
