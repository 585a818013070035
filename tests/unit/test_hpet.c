/* SPDX-License-Identifier: MIT */
/* HPET: the counter, one-shot and periodic comparators, legacy replacement (specification 1.0a). */
#include "dev_rig.h"

#include <unistd.h>

#include "ring3/devices/hpet.h"

enum { IRQ0 = 0, IRQ8 = 8, PIN20 = 10, PIN21 = 11 }; /* lines of the bench */
#define CONFIG   0x10
#define STATUS   0x20
#define COUNTER  0xf0
#define T(n)     (0x100 + 0x20 * (n))
#define CMP(n)   (T(n) + 8)
#define ENABLE   1
#define LEGACY   2
#define T_LEVEL  2
#define T_INT    4
#define T_PERIOD 8
#define T_SETVAL 0x40
#define T_32     0x100
#define ROUTE(n) ((n) << 9)

static struct device *make_chip(struct rig *r)
{
    struct hpet_wiring w = {
        .routes = 0x300000, .irq0 = rig_line(r, IRQ0), .irq8 = rig_line(r, IRQ8)};
    w.line[20] = rig_line(r, PIN20);
    w.line[21] = rig_line(r, PIN21);
    return hpet_new(&r->host, &w, NULL);
}

static int make(void **state)
{
    struct rig *r = rig_new();
    r->d = make_chip(r);
    *state = r;
    return r->d ? 0 : -1;
}

static int unmake(void **state)
{
    rig_free(*state);
    return 0;
}

static uint64_t rd(struct rig *r, unsigned at)
{
    return bus_read(r->host.mmio, HPET_BASE + at, 8);
}
static void wr(struct rig *r, unsigned at, uint64_t value)
{
    bus_write(r->host.mmio, HPET_BASE + at, 4, value & UINT32_MAX);
}

static void counter_runs_when_enabled(void **state)
{
    struct rig *r = *state;
    assert_int_equal(rd(r, 0) >> 32, 10000000); /* femtoseconds */
    assert_int_equal(rd(r, 0) & 0xffffffff, 0x8086a201);
    rig_advance(r, 1000);
    assert_int_equal(rd(r, COUNTER), 0);
    bus_write(r->host.mmio, HPET_BASE + COUNTER, 8, UINT64_C(0x1fffffff0));
    wr(r, CONFIG, ENABLE);
    rig_advance(r, 1000);
    assert_int_equal(rd(r, COUNTER), UINT64_C(0x200000054));
    wr(r, COUNTER, 5); /* not while it runs */
    wr(r, CONFIG, 0);
    rig_advance(r, 1000);
    assert_int_equal(rd(r, COUNTER), UINT64_C(0x200000054));
}

static void one_shot(void **state)
{
    struct rig *r = *state;
    assert_int_equal(rd(r, T(0)), UINT64_C(0x30000000000030));
    assert_int_equal(rd(r, T(1)), UINT64_C(0x30000000000020));
    wr(r, CONFIG, ENABLE);
    wr(r, T(1), T_INT | T_32 | ROUTE(21));
    wr(r, CMP(1), 50);
    rig_advance(r, 499);
    assert_string_equal(rig_trace(r), "");
    rig_advance(r, 1);
    assert_string_equal(rig_trace(r), "+11 -11 ");
    rig_advance(r, 10000000);
    assert_string_equal(rig_trace(r), "");
    wr(r, CMP(1), 10); /* passed: comes when 32 bits have come round */
    rig_advance(r, UINT64_C(10) << 32);
    assert_string_equal(rig_trace(r), "+11 -11 ");
}

static void levels_stay_until_cleared(void **state)
{
    struct rig *r = *state;
    wr(r, CONFIG, ENABLE);
    wr(r, T(2), T_INT | T_LEVEL | T_32 | ROUTE(20));
    wr(r, CMP(2), 7);
    rig_advance(r, 70);
    assert_string_equal(rig_trace(r), "+10 ");
    assert_int_equal(rd(r, STATUS), 4);
    wr(r, STATUS, 3);
    assert_string_equal(rig_trace(r), "");
    wr(r, STATUS, 4);
    assert_string_equal(rig_trace(r), "-10 ");
    assert_int_equal(rd(r, STATUS), 0);
}

static void periodic_as_linux_sets_it(void **state)
{
    struct rig *r = *state;
    wr(r, CONFIG, ENABLE | LEGACY);
    rig_advance(r, 100);
    wr(r, T(0), T_INT | T_PERIOD | T_SETVAL | T_32);
    wr(r, CMP(0), 10 + 25); /* first */
    wr(r, CMP(0), 25);      /* then every */
    rig_advance(r, 249);
    assert_string_equal(rig_trace(r), "");
    rig_advance(r, 1);
    assert_string_equal(rig_trace(r), "+0 -0 ");
    assert_int_equal(rd(r, CMP(0)), 60);
    rig_advance(r, 500);
    assert_string_equal(rig_trace(r), "+0 -0 +0 -0 ");
    wr(r, T(1), T_PERIOD);
    assert_int_equal(rd(r, T(1)) & T_PERIOD, 0); /* it cannot */
}

static void legacy_replacement_cuts_the_old_chips_off(void **state)
{
    struct rig *r = *state;
    struct irq_line pit = hpet_irq0_input(r->d), rtc = hpet_irq8_input(r->d);
    irq_set(&pit, 1);
    irq_set(&rtc, 1);
    assert_string_equal(rig_trace(r), "+0 +8 ");
    wr(r, CONFIG, LEGACY);
    assert_string_equal(rig_trace(r), "-0 -8 ");
    irq_set(&pit, 0);
    irq_set(&pit, 1);
    assert_string_equal(rig_trace(r), "");
    wr(r, CONFIG, 0);
    assert_string_equal(rig_trace(r), "+0 +8 ");
    r->d->ops->reset(r->d);
    assert_string_equal(rig_trace(r), "");
}

static uint64_t poke(struct rig *r, uint64_t random)
{
    struct irq_line line = random & 1 ? hpet_irq0_input(r->d) : hpet_irq8_input(r->d);
    irq_set(&line, random >> 8 & 1);
    return 0;
}

static void random_use_and_restored_twins(void **state)
{
    static const uint16_t offsets[] = {
        0,    4,      CONFIG, CONFIG, STATUS,     COUNTER,    COUNTER + 4, T(0), T(1),
        T(2), CMP(0), CMP(1), CMP(2), CMP(0) + 4, CMP(1) + 4, T(0) + 4,    0x3fc};
    const struct rig_fuzz f = {.make = make_chip,
                               .ports = offsets,
                               .port_count = ARRAY_LEN(offsets),
                               .mmio_base = HPET_BASE,
                               .max_step_ns = 64 * NS_PER_SEC,
                               .poke = poke};
    rig_fuzz(&f);
}

/* The host runs no timers for a while: later on no tick is missing. The clock is the real one, but
 * only its order matters. */
static void late_periods_are_made_up(void **state)
{
    struct rig *r = rig_new();
    clock_free(r->host.clock);
    r->host.clock = clock_new(CLOCK_REAL_TIME, NULL);
    r->d = make_chip(r);
    wr(r, CONFIG, ENABLE | LEGACY);
    uint64_t began = clock_now_ns(r->host.clock);
    wr(r, T(0), T_INT | T_32 | T_PERIOD | T_SETVAL);
    wr(r, CMP(0), 100000 + (uint32_t)rd(r, COUNTER)); /* 1 kHz */
    wr(r, CMP(0), 100000);
    usleep(15500);
    clock_run_due(r->host.clock);
    assert_int_equal(r->rises[IRQ0], 1); /* one at a time */
    hpet_catch_up(r->d);                 /* the guest has ended the first: */
    assert_int_equal(r->rises[IRQ0], 2);
    unsigned missing = 99;
    for (unsigned i = 0; i < 2000 && missing > 2; i++) {
        usleep(200);
        clock_run_due(r->host.clock);
        missing = (unsigned)((clock_now_ns(r->host.clock) - began) / 1000000) - r->rises[IRQ0];
    }
    assert_in_range(missing, 0, 2);
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(counter_runs_when_enabled, make, unmake),
        cmocka_unit_test_setup_teardown(one_shot, make, unmake),
        cmocka_unit_test_setup_teardown(levels_stay_until_cleared, make, unmake),
        cmocka_unit_test_setup_teardown(periodic_as_linux_sets_it, make, unmake),
        cmocka_unit_test_setup_teardown(legacy_replacement_cuts_the_old_chips_off, make, unmake),
        cmocka_unit_test(random_use_and_restored_twins),
        cmocka_unit_test(late_periods_are_made_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
