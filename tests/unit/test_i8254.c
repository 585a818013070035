/* SPDX-License-Identifier: MIT */
/* i8254: each mode's count and output over time, latches, the interrupt of counter 0. Line 0 of
 * the bench is the interrupt. */
#include "dev_rig.h"

#include "ring3/devices/i8254.h"

enum { C0 = 0x40, C1, C2, CONTROL, P61 = 0x61 };

static struct device *make(struct rig *r)
{
    return i8254_new(&r->host, rig_line(r, 0), NULL);
}

static struct rig *new_pit(void)
{
    struct rig *r = rig_new();
    r->d = make(r);
    assert_non_null(r->d);
    return r;
}

/* Go to the moment the 8254's clock has ticked n times since the test began. */
static void to_tick(struct rig *r, uint64_t n)
{
    uint64_t ns = (n * NS_PER_SEC + I8254_HZ - 1) / I8254_HZ;
    rig_advance(r, ns - clock_now_ns(r->host.clock));
}

static unsigned count(struct rig *r, unsigned n)
{
    out8(r, CONTROL, n << 6);
    unsigned low = in8(r, C0 + n);
    return low | (unsigned)in8(r, C0 + n) << 8;
}

static void program(struct rig *r, unsigned n, unsigned mode, unsigned value)
{
    out8(r, CONTROL, n << 6 | 0x30 | mode << 1);
    out8(r, C0 + n, value & 0xff);
    out8(r, C0 + n, value >> 8);
}

static unsigned status(struct rig *r, unsigned n)
{
    out8(r, CONTROL, 0xe0 | 2u << n);
    return in8(r, C0 + n);
}

static bool out2(struct rig *r)
{
    return in8(r, P61) & 0x20;
}

static void mode_0_interrupts_once(void **state)
{
    struct rig *r = new_pit();
    program(r, 0, 0, 1000);
    assert_string_equal(rig_trace(r), "");
    to_tick(r, 400);
    assert_int_equal(count(r, 0), 600);
    assert_int_equal(status(r, 0), 0x30);
    to_tick(r, 999);
    assert_string_equal(rig_trace(r), "");
    to_tick(r, 1000);
    assert_string_equal(rig_trace(r), "+0 ");
    assert_int_equal(status(r, 0), 0xb0);
    to_tick(r, 1010);
    assert_int_equal(count(r, 0), 0x10000 - 10); /* goes on counting */
    out8(r, C0, 100);                            /* the first byte stops it and drops the output */
    assert_string_equal(rig_trace(r), "-0 ");
    to_tick(r, 3000);
    out8(r, C0, 0);
    to_tick(r, 3100);
    assert_string_equal(rig_trace(r), "+0 ");
    rig_free(r);
}

static void mode_1_is_a_shot_started_by_the_gate(void **state)
{
    struct rig *r = new_pit();
    program(r, 2, 1, 100);
    assert_true(out2(r));
    to_tick(r, 1000);
    assert_true(out2(r));
    assert_int_equal(status(r, 2), 0xf2); /* count not yet in force */
    out8(r, P61, 1);
    assert_false(out2(r));
    to_tick(r, 1060);
    assert_int_equal(count(r, 2), 40);
    out8(r, P61, 0); /* only the rising edge matters, and it starts again */
    out8(r, P61, 1);
    to_tick(r, 1159);
    assert_false(out2(r));
    to_tick(r, 1160);
    assert_true(out2(r));
    rig_free(r);
}

static void mode_2_is_periodic(void **state)
{
    struct rig *r = new_pit();
    program(r, 0, 2, 1193);
    assert_string_equal(rig_trace(r), "+0 "); /* the output goes high when programmed */
    to_tick(r, 1192);
    assert_int_equal(count(r, 0), 1);
    assert_int_equal(status(r, 0), 0x34);
    assert_string_equal(rig_trace(r), "");
    to_tick(r, 1193);
    assert_int_equal(count(r, 0), 1193);
    assert_string_equal(rig_trace(r), "-0 +0 ");
    rig_advance(r, NS_PER_SEC);
    assert_int_equal(r->rises[0], 2 + 1000);
    out8(r, C0, 100); /* a new count waits for the end of the period */
    out8(r, C0, 0);
    assert_int_equal(status(r, 0) & 0x40, 0x40);
    uint64_t end = 1193 * 1002;
    rig_trace(r);
    to_tick(r, end);
    assert_int_equal(status(r, 0) & 0x40, 0);
    assert_int_equal(count(r, 0), 100);
    to_tick(r, end + 250);
    assert_int_equal(count(r, 0), 50);
    assert_string_equal(rig_trace(r), "-0 +0 -0 +0 -0 +0 ");
    rig_free(r);
}

static void mode_3_is_a_square(void **state)
{
    struct rig *r = new_pit();
    out8(r, P61, 1);
    program(r, 2, 3, 10);
    const uint8_t counts[] = {10, 8, 6, 4, 2, 10, 8, 6, 4, 2};
    for (unsigned i = 0; i < 20; i++) {
        to_tick(r, i);
        assert_int_equal(count(r, 2), counts[i % 10]);
        assert_int_equal(out2(r), i % 10 < 5);
    }
    to_tick(r, 100);
    program(r, 2, 7, 5); /* 7 means 3; odd counts are high one tick longer */
    for (unsigned i = 0; i < 10; i++) {
        to_tick(r, 100 + i);
        assert_int_equal(out2(r), i % 5 < 3);
    }
    out8(r, P61, 0); /* without the gate the output is high */
    to_tick(r, 114);
    assert_true(out2(r));
    out8(r, P61, 1);
    to_tick(r, 117);
    assert_false(out2(r));
    rig_free(r);
}

static void mode_3_interrupts_every_period(void **state)
{
    struct rig *r = new_pit();
    program(r, 0, 3, 0); /* 65536: 18.2 Hz */
    rig_advance(r, 10 * NS_PER_SEC);
    assert_int_equal(r->rises[0], 1 + 182);
    rig_free(r);
}

static void modes_4_and_5_strobe(void **state)
{
    struct rig *r = new_pit();
    program(r, 0, 4, 50);
    assert_string_equal(rig_trace(r), "+0 ");
    to_tick(r, 50);
    assert_string_equal(rig_trace(r), "");
    assert_int_equal(status(r, 0) & 0x80, 0);
    to_tick(r, 51);
    assert_string_equal(rig_trace(r), "-0 +0 ");
    to_tick(r, 1000);
    assert_string_equal(rig_trace(r), "");
    program(r, 2, 5, 20);
    to_tick(r, 1100);
    assert_true(out2(r));
    out8(r, P61, 1);
    to_tick(r, 1120);
    assert_false(out2(r));
    to_tick(r, 1121);
    assert_true(out2(r));
    rig_free(r);
}

static void gate_of_counter_2_pauses_mode_0(void **state)
{
    struct rig *r = new_pit();
    program(r, 2, 0, 100);
    to_tick(r, 500);
    assert_int_equal(count(r, 2), 100);
    out8(r, P61, 1);
    to_tick(r, 560);
    out8(r, P61, 0);
    to_tick(r, 900);
    assert_int_equal(count(r, 2), 40);
    out8(r, P61, 1);
    to_tick(r, 939);
    assert_false(out2(r));
    to_tick(r, 940);
    assert_true(out2(r));
    rig_free(r);
}

/* As Linux calibrates the time stamp counter: counter 2 in mode 0, its high byte watched. */
static void linux_calibration(void **state)
{
    struct rig *r = new_pit();
    out8(r, P61, (in8(r, P61) & ~2u) | 1);
    out8(r, CONTROL, 0xb0);
    out8(r, C2, 0xff);
    out8(r, C2, 0xff);
    uint64_t start = clock_tsc(r->host.clock);
    unsigned steps = 0;
    while (!out2(r)) {
        in8(r, C2);
        unsigned high = in8(r, C2);
        assert_true(high <= 0xff - steps / 256 + 1);
        rig_advance(r, 838);
        steps++;
    }
    uint64_t ns = clock_tsc(r->host.clock) - start;
    assert_true(ns > 54900000 && ns < 54950000);
    rig_free(r);
}

static void latches_and_access_modes(void **state)
{
    struct rig *r = new_pit();
    program(r, 0, 2, 0x1234);
    out8(r, CONTROL, 0x00);
    to_tick(r, 0x100);
    out8(r, CONTROL, 0x00); /* the first latch stands */
    assert_int_equal(in8(r, C0), 0x34);
    to_tick(r, 0x200);
    assert_int_equal(in8(r, C0), 0x12);
    assert_int_equal(in8(r, C0), 0x34); /* live: 0x1034 */
    assert_int_equal(in8(r, C0), 0x10);
    out8(r, CONTROL, 0xc2); /* read back status and count: status comes first */
    to_tick(r, 0x300);
    assert_int_equal(in8(r, C0), 0xb4);
    assert_int_equal(in8(r, C0), 0x34);
    assert_int_equal(in8(r, C0), 0x10);
    out8(r, CONTROL, 0x54); /* counter 1, low byte only */
    out8(r, C1, 18);
    to_tick(r, 0x300 + 5);
    assert_int_equal(in8(r, C1), 13);
    assert_int_equal(in8(r, C1), 13);
    out8(r, CONTROL, 0x64); /* high byte only */
    out8(r, C1, 0x20);
    to_tick(r, 0x300 + 6);
    assert_int_equal(in8(r, C1), 0x1f);
    assert_int_equal(in8(r, CONTROL), 0xff);
    rig_free(r);
}

static void bcd_counts_in_decades(void **state)
{
    struct rig *r = new_pit();
    out8(r, CONTROL, 0x31);
    out8(r, C0, 0x34);
    out8(r, C0, 0x12); /* 1234 */
    to_tick(r, 1);
    assert_int_equal(count(r, 0), 0x1233);
    to_tick(r, 1235);
    assert_string_equal(rig_trace(r), "+0 ");
    assert_int_equal(count(r, 0), 0x9999);
    rig_free(r);
}

static void short_periods_do_not_flood_the_host(void **state)
{
    struct rig *r = new_pit();
    program(r, 0, 2, 1);
    rig_advance(r, NS_PER_SEC / 10);
    assert_in_range(r->rises[0], 1980, 2000); /* one per 60 ticks */
    program(r, 0, 2, 30);
    unsigned before = r->rises[0];
    rig_advance(r, NS_PER_SEC / 10);
    assert_in_range(r->rises[0] - before, 1980, 2000);
    rig_free(r);
}

/* A second bench whose clock is `late_ns` ahead takes over the timer of the first: to the chip it
 * looks as if the host had not run its timers meanwhile. */
static struct rig *take_over(struct rig *old, uint64_t late_ns)
{
    struct rig *r = rig_new();
    rig_advance(r, clock_now_ns(old->host.clock) + late_ns);
    r->d = make(r);
    rig_copy_state(r->d, old->d);
    rig_free(old);
    r->rises[0] = 0;
    return r;
}

static void late_ticks_are_made_up(void **state)
{
    struct rig *r = new_pit();
    program(r, 0, 2, 1193); /* 1 kHz and a little */
    r = take_over(r, 15500 * 1000);
    clock_run_due(r->host.clock);
    assert_int_equal(r->rises[0], 1); /* one at a time */
    rig_advance(r, 4000 * 1000);
    assert_int_equal(r->rises[0], 1 + 8); /* at twice the rate */
    r = take_over(r, 0);                  /* what is owed is part of the state */
    rig_advance(r, 20500 * 1000);
    assert_int_equal(r->rises[0], 40 - 9); /* 40 ms: none is missing */
    rig_free(r);
}

static void very_late_ticks_are_bounded(void **state)
{
    struct rig *r = new_pit();
    program(r, 0, 2, 1193);
    r = take_over(r, 10 * NS_PER_SEC);
    rig_advance(r, 100 * 1000 * 1000);
    assert_in_range(r->rises[0], 100 + 20, 100 + 22);
    rig_free(r);
}

static void late_one_shot_fires_at_once(void **state)
{
    struct rig *r = new_pit();
    program(r, 0, 0, 1193);
    r = take_over(r, NS_PER_SEC);
    in8(r, P61); /* any register will do */
    assert_string_equal(rig_trace(r), "+0 ");
    assert_true(clock_next_deadline(r->host.clock) == TIMER_NEVER);
    rig_free(r);
}

static void refresh_toggle_and_speaker_bits(void **state)
{
    struct rig *r = new_pit();
    out8(r, P61, 0xff);
    assert_int_equal(in8(r, P61) & 0x1f, 0x0f);
    rig_advance(r, 15085);
    assert_int_equal(in8(r, P61) & 0x1f, 0x1f);
    rig_advance(r, 15085);
    assert_int_equal(in8(r, P61) & 0x1f, 0x0f);
    rig_free(r);
}

static void reset_stops_the_ticks(void **state)
{
    struct rig *r = new_pit();
    program(r, 0, 2, 1193);
    out8(r, P61, 0x03);
    r->d->ops->reset(r->d);
    assert_int_equal(in8(r, P61) & 0x0f, 0);
    rig_trace(r);
    rig_advance(r, NS_PER_SEC);
    assert_string_equal(rig_trace(r), "");
    rig_free(r);
}

static void survives_anything(void **state)
{
    const uint16_t ports[] = {C0, C0, C1, C2, CONTROL, CONTROL, P61};
    rig_fuzz(&(struct rig_fuzz){make, ports, ARRAY_LEN(ports), 20 * 1000 * 1000, NULL});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mode_0_interrupts_once),
        cmocka_unit_test(mode_1_is_a_shot_started_by_the_gate),
        cmocka_unit_test(mode_2_is_periodic),
        cmocka_unit_test(mode_3_is_a_square),
        cmocka_unit_test(mode_3_interrupts_every_period),
        cmocka_unit_test(modes_4_and_5_strobe),
        cmocka_unit_test(gate_of_counter_2_pauses_mode_0),
        cmocka_unit_test(linux_calibration),
        cmocka_unit_test(latches_and_access_modes),
        cmocka_unit_test(bcd_counts_in_decades),
        cmocka_unit_test(short_periods_do_not_flood_the_host),
        cmocka_unit_test(late_ticks_are_made_up),
        cmocka_unit_test(very_late_ticks_are_bounded),
        cmocka_unit_test(late_one_shot_fires_at_once),
        cmocka_unit_test(refresh_toggle_and_speaker_bits),
        cmocka_unit_test(reset_stops_the_ticks),
        cmocka_unit_test(survives_anything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
