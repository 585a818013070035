/* SPDX-License-Identifier: MIT */
/* mc146818: the calendar, modes, UIP, the three interrupts. The virtual clock starts at
 * 2000-01-01 00:00:00, a Saturday. Line 8 of the bench is the interrupt. */
#include "dev_rig.h"

#include "ring3/devices/mc146818.h"

static struct device *make(struct rig *r)
{
    return mc146818_new(&r->host, rig_line(r, 8), NULL);
}

static struct rig *new_rtc(void)
{
    struct rig *r = rig_new();
    r->d = make(r);
    assert_non_null(r->d);
    return r;
}

static unsigned get(struct rig *r, unsigned i)
{
    out8(r, 0x70, i);
    return in8(r, 0x71);
}

static void put(struct rig *r, unsigned i, unsigned value)
{
    out8(r, 0x70, i);
    out8(r, 0x71, value);
}

/* "ccyy-mm-dd hh:mm:ss w" in hexadecimal, as the registers are. */
static const char *date(struct rig *r)
{
    static char text[64];
    snprintf(text, sizeof text, "%02x%02x-%02x-%02x %02x:%02x:%02x %x", get(r, 0x32), get(r, 9),
             get(r, 8), get(r, 7), get(r, 4), get(r, 2), get(r, 0), get(r, 6));
    return text;
}

static void seconds(struct rig *r, uint64_t n)
{
    rig_advance(r, n * NS_PER_SEC);
}

static void calendar_runs(void **state)
{
    struct rig *r = new_rtc();
    assert_string_equal(date(r), "2000-01-01 00:00:00 7");
    seconds(r, 59);
    assert_string_equal(date(r), "2000-01-01 00:00:59 7");
    seconds(r, 1 + 3600 * 23);
    assert_string_equal(date(r), "2000-01-01 23:01:00 7");
    seconds(r, 59 * 86400);
    assert_string_equal(date(r), "2000-02-29 23:01:00 3");
    seconds(r, 3540);
    assert_string_equal(date(r), "2000-03-01 00:00:00 4");
    assert_int_equal(get(r, 0x0d), 0x80);
    rig_free(r);
}

static void guest_sets_the_time(void **state)
{
    struct rig *r = new_rtc();
    seconds(r, 10);
    put(r, 0x0b, 0x82);
    put(r, 0x32, 0x19);
    put(r, 9, 0x99);
    put(r, 8, 0x12);
    put(r, 7, 0x31);
    put(r, 4, 0x23);
    put(r, 2, 0x59);
    put(r, 0, 0x58);
    seconds(r, 100); /* stands still */
    assert_int_equal(get(r, 0), 0x58);
    put(r, 0x0b, 0x02);
    seconds(r, 1);
    assert_string_equal(date(r), "1999-12-31 23:59:59 6");
    seconds(r, 1);
    assert_string_equal(date(r), "2000-01-01 00:00:00 7");
    put(r, 2, 0x30); /* also without SET */
    seconds(r, 5);
    assert_string_equal(date(r), "2000-01-01 00:30:05 7");
    rig_free(r);
}

static void released_divider_updates_after_half_a_second(void **state)
{
    struct rig *r = new_rtc();
    rig_advance(r, 123456789);
    put(r, 0x0a, 0x76);
    put(r, 0, 0x20);
    seconds(r, 3);
    put(r, 0x0a, 0x26);
    rig_advance(r, 499 * 1000 * 1000);
    assert_int_equal(get(r, 0), 0x20);
    rig_advance(r, 2 * 1000 * 1000);
    assert_int_equal(get(r, 0), 0x21);
    rig_free(r);
}

static void binary_and_12_hour_modes(void **state)
{
    struct rig *r = new_rtc();
    seconds(r, 13 * 3600 + 45);
    put(r, 0x0b, 0x06);
    assert_int_equal(get(r, 4), 13);
    assert_int_equal(get(r, 0), 45);
    put(r, 0x0b, 0x04);
    assert_int_equal(get(r, 4), 0x81);
    put(r, 0x0b, 0x00);
    assert_int_equal(get(r, 0), 0x45);
    assert_int_equal(get(r, 4), 0x81);
    put(r, 4, 0x12); /* midnight */
    put(r, 0x0b, 0x02);
    assert_int_equal(get(r, 4), 0x00);
    put(r, 0x0b, 0x00);
    put(r, 4, 0x92); /* noon */
    put(r, 0x0b, 0x02);
    assert_int_equal(get(r, 4), 0x12);
    rig_free(r);
}

static void uip_announces_the_update(void **state)
{
    struct rig *r = new_rtc();
    assert_int_equal(get(r, 0x0a), 0x26);
    rig_advance(r, 997 * 1000 * 1000);
    assert_int_equal(get(r, 0x0a), 0x26);
    rig_advance(r, 1000 * 1000);
    assert_int_equal(get(r, 0x0a), 0xa6);
    assert_int_equal(get(r, 0), 0x00);
    rig_advance(r, 2 * 1000 * 1000);
    assert_int_equal(get(r, 0x0a), 0x26);
    assert_int_equal(get(r, 0), 0x01);
    rig_advance(r, 998 * 1000 * 1000);
    put(r, 0x0b, 0x82);
    assert_int_equal(get(r, 0x0a), 0x26);
    rig_free(r);
}

static void update_interrupt(void **state)
{
    struct rig *r = new_rtc();
    put(r, 0x0b, 0x12);
    rig_advance(r, NS_PER_SEC - 1);
    assert_string_equal(rig_trace(r), "");
    rig_advance(r, 1);
    assert_string_equal(rig_trace(r), "+8 ");
    assert_int_equal(get(r, 0x0c), 0xd0); /* periodic flag too, though not enabled */
    assert_string_equal(rig_trace(r), "-8 ");
    assert_int_equal(get(r, 0x0c), 0x00);
    seconds(r, 5); /* unanswered: one edge */
    assert_string_equal(rig_trace(r), "+8 ");
    put(r, 0x0b, 0x02);
    assert_string_equal(rig_trace(r), "-8 ");
    rig_free(r);
}

static void alarm_interrupt(void **state)
{
    struct rig *r = new_rtc();
    put(r, 5, 0x01);
    put(r, 3, 0x02);
    put(r, 1, 0x03);
    put(r, 0x0b, 0x22);
    seconds(r, 3722);
    assert_string_equal(rig_trace(r), "");
    seconds(r, 1);
    assert_string_equal(rig_trace(r), "+8 ");
    assert_int_equal(get(r, 0x0c) & 0xa0, 0xa0);
    seconds(r, 86399);
    assert_string_equal(rig_trace(r), "-8 ");
    seconds(r, 1); /* every day */
    assert_string_equal(rig_trace(r), "+8 ");
    get(r, 0x0c);
    put(r, 5, 0xff); /* every hour */
    put(r, 3, 0xc0); /* every minute */
    seconds(r, 59);
    assert_string_equal(rig_trace(r), "-8 ");
    seconds(r, 1);
    assert_string_equal(rig_trace(r), "+8 ");
    get(r, 0x0c);
    put(r, 3, 0x61); /* no such minute */
    seconds(r, 200000);
    assert_string_equal(rig_trace(r), "-8 ");
    put(r, 0x0b, 0x02); /* the flag comes without the interrupt too */
    put(r, 3, 0xff);
    get(r, 0x0c);
    seconds(r, 60);
    assert_int_equal(get(r, 0x0c) & 0xa0, 0x20);
    rig_free(r);
}

static void alarm_in_12_hour_mode(void **state)
{
    struct rig *r = new_rtc();
    put(r, 0x0b, 0x20);
    put(r, 5, 0x81); /* 1 pm */
    put(r, 3, 0);
    put(r, 1, 0);
    seconds(r, 13 * 3600 - 1);
    assert_string_equal(rig_trace(r), "");
    seconds(r, 1);
    assert_string_equal(rig_trace(r), "+8 ");
    rig_free(r);
}

static void read_only_bits(void **state)
{
    struct rig *r = new_rtc();
    put(r, 0x0a, 0xa6);
    assert_int_equal(get(r, 0x0a), 0x26);
    put(r, 0x0c, 0xff);
    assert_int_equal(get(r, 0x0c), 0x00);
    put(r, 0x0d, 0x00);
    assert_int_equal(get(r, 0x0d), 0x80);
    put(r, 0x0b, 0x92); /* SET takes the update interrupt away */
    assert_int_equal(get(r, 0x0b), 0x82);
    rig_free(r);
}

static void dates_before_1970_and_nonsense(void **state)
{
    struct rig *r = new_rtc();
    put(r, 0x32, 0x19);
    put(r, 9, 0x04);
    put(r, 8, 0x02);
    put(r, 7, 0x29);
    assert_string_equal(date(r), "1904-02-29 00:00:00 2");
    put(r, 0x32, 0x00);
    put(r, 9, 0x00);
    assert_string_equal(date(r), "0000-02-29 00:00:00 3");
    put(r, 8, 0xff);
    assert_string_equal(date(r), "0000-12-29 00:00:00 6");
    rig_free(r);
}

static void periodic_interrupt(void **state)
{
    struct rig *r = new_rtc();
    const struct {
        unsigned rate, hz;
    } rates[] = {{1, 256}, {2, 128}, {3, 8192}, {6, 1024}, {15, 2}};
    for (unsigned i = 0; i < ARRAY_LEN(rates); i++) {
        put(r, 0x0a, 0x20 | rates[i].rate);
        put(r, 0x0b, 0x42);
        get(r, 0x0c);
        rig_advance(r, NS_PER_SEC - clock_now_ns(r->host.clock) % NS_PER_SEC);
        get(r, 0x0c);
        unsigned before = r->rises[8];
        for (unsigned step = 0; step < 20000; step++) { /* one second, answered at once */
            rig_advance(r, 50 * 1000);
            if (r->level[8])
                assert_int_equal(get(r, 0x0c) & 0xc0, 0xc0);
        }
        assert_int_equal(r->rises[8] - before, rates[i].hz);
    }
    put(r, 0x0a, 0x20); /* rate 0: none */
    get(r, 0x0c);
    seconds(r, 2);
    assert_int_equal(get(r, 0x0c) & 0x40, 0);
    rig_free(r);
}

static void cmos_memory_and_index(void **state)
{
    struct rig *r = new_rtc();
    put(r, 0x8e, 0x5a); /* NMI masked */
    assert_int_equal(in8(r, 0x70), 0x8e);
    assert_int_equal(get(r, 0x0e), 0x5a);
    mc146818_set_cmos(r->d, 0x7f, 0xa5);
    assert_int_equal(get(r, 0x7f), 0xa5);
    mc146818_set_cmos(r->d, 0x80, 1); /* out of range and the clock's own: ignored */
    mc146818_set_cmos(r->d, 0x0b, 0xff);
    mc146818_set_cmos(r->d, 0x32, 0x19);
    assert_int_equal(get(r, 0x32), 0x20);
    assert_int_equal(get(r, 0x0b), 0x02);
    mc146818_set_memory(r->d, 128 * MIB);
    assert_int_equal(get(r, 0x15) | get(r, 0x16) << 8, 640);
    assert_int_equal(get(r, 0x17) | get(r, 0x18) << 8, 63 * 1024);
    assert_int_equal(get(r, 0x30) | get(r, 0x31) << 8, 63 * 1024);
    assert_int_equal(get(r, 0x34) | get(r, 0x35) << 8, 112 * 16);
    put(r, 0x0b, 0x72);
    seconds(r, 2);
    r->d->ops->reset(r->d);
    assert_int_equal(get(r, 0x0b), 0x02);
    assert_int_equal(get(r, 0x7f), 0xa5);
    assert_string_equal(date(r), "2000-01-01 00:00:02 7");
    assert_int_equal(r->level[8], 0);
    rig_free(r);
}

/* Index and data in one go, or the random index would rarely meet the clock's registers. */
static uint64_t poke(struct rig *r, uint64_t random)
{
    unsigned i = random % 2 ? random >> 8 & 15 : random >> 8 & 0x7f;
    if (random & 4)
        put(r, i, (unsigned)(random >> 16) & 0xff);
    return get(r, i);
}

static void survives_anything(void **state)
{
    const uint16_t ports[] = {0x70, 0x71};
    rig_fuzz(&(struct rig_fuzz){make, ports, ARRAY_LEN(ports), 2 * NS_PER_SEC, poke});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calendar_runs),
        cmocka_unit_test(guest_sets_the_time),
        cmocka_unit_test(released_divider_updates_after_half_a_second),
        cmocka_unit_test(binary_and_12_hour_modes),
        cmocka_unit_test(uip_announces_the_update),
        cmocka_unit_test(update_interrupt),
        cmocka_unit_test(alarm_interrupt),
        cmocka_unit_test(alarm_in_12_hour_mode),
        cmocka_unit_test(read_only_bits),
        cmocka_unit_test(dates_before_1970_and_nonsense),
        cmocka_unit_test(periodic_interrupt),
        cmocka_unit_test(cmos_memory_and_index),
        cmocka_unit_test(survives_anything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
