/* SPDX-License-Identifier: MIT */
/* Goldfish clock: what it shows, how it is set, when its alarm goes off; the state table is whole.
 */
#include "dev_rig.h"

#include "ring3/devices/goldfish_rtc.h"

#define BASE   0x1f002000u
#define LINE   5
#define Y2000  UINT64_C(946684800) /* where virtual clocks start, seconds since 1970 */
#define SECOND NS_PER_SEC

static struct device *make(struct rig *r)
{
    struct goldfish_rtc_config c = {BASE, rig_line(r, LINE)};
    return goldfish_rtc_new(&r->host, &c, NULL);
}

static uint32_t get(struct rig *r, unsigned at)
{
    return (uint32_t)bus_read(r->host.mmio, BASE + at, 4);
}

static void put(struct rig *r, unsigned at, uint32_t value)
{
    bus_write(r->host.mmio, BASE + at, 4, value);
}

static uint64_t shown(struct rig *r)
{
    uint64_t low = get(r, 0);
    return (uint64_t)get(r, 4) << 32 | low;
}

static void set_alarm(struct rig *r, uint64_t ns)
{
    put(r, 0x0c, (uint32_t)(ns >> 32));
    put(r, 0x08, (uint32_t)ns);
}

static void shows_the_time(void **state)
{
    struct rig *r = rig_new();
    rig_advance(r, 5 * SECOND);
    r->d = make(r);
    assert_int_equal(shown(r), (Y2000 + 5) * SECOND);
    rig_advance(r, 1234567890);
    assert_int_equal(shown(r), (Y2000 + 5) * SECOND + 1234567890);
    /* The high half is of the moment when the low one was read. */
    uint64_t now = shown(r), wrap = (now | 0xffffffff) + 1;
    rig_advance(r, wrap - 1 - now);
    uint32_t low = get(r, 0);
    rig_advance(r, 1);
    assert_int_equal((uint64_t)get(r, 4) << 32 | low, wrap - 1);
    assert_int_equal(shown(r), wrap);
    rig_free(r);
}

static void is_set(void **state)
{
    struct rig *r = rig_new();
    r->d = make(r);
    put(r, 4, 0x12345678); /* nothing happens before the low half */
    assert_int_equal(shown(r), Y2000 * SECOND);
    put(r, 0, 0x9abcdef0);
    assert_int_equal(shown(r), UINT64_C(0x123456789abcdef0));
    rig_advance(r, 16);
    assert_int_equal(shown(r), UINT64_C(0x123456789abcdf00));
    r->d->ops->reset(r->d); /* which a battery survives */
    assert_int_equal(shown(r), UINT64_C(0x123456789abcdf00));
    rig_free(r);
}

static void alarm_raises_the_line(void **state)
{
    struct rig *r = rig_new();
    r->d = make(r);
    put(r, 0x10, 1);
    set_alarm(r, (Y2000 + 3) * SECOND);
    assert_int_equal(get(r, 0x18), 1);
    assert_int_equal(get(r, 0x08), (uint32_t)((Y2000 + 3) * SECOND));
    assert_int_equal(get(r, 0x0c), (Y2000 + 3) * SECOND >> 32);
    rig_advance(r, 3 * SECOND - 1);
    assert_string_equal(rig_trace(r), "");
    rig_advance(r, 1);
    assert_string_equal(rig_trace(r), "+5 ");
    assert_int_equal(get(r, 0x18), 0);
    put(r, 0x1c, 1);
    assert_string_equal(rig_trace(r), "-5 ");

    set_alarm(r, 1); /* long ago: at once */
    assert_string_equal(rig_trace(r), "+5 ");
    put(r, 0x10, 0); /* masked, not forgotten */
    assert_string_equal(rig_trace(r), "-5 ");
    put(r, 0x10, 1);
    assert_string_equal(rig_trace(r), "+5 ");
    put(r, 0x1c, 0);

    set_alarm(r, (Y2000 + 9) * SECOND);
    put(r, 0x14, 1); /* taken back */
    rig_trace(r);
    rig_advance(r, 100 * SECOND);
    assert_string_equal(rig_trace(r), "");
    rig_free(r);
}

static void survives_anything(void **state)
{
    static const uint16_t registers[] = {0, 4, 8, 12, 16, 20, 24, 28, 32, 0xffc};
    rig_fuzz(&(struct rig_fuzz){make, registers, ARRAY_LEN(registers), 10 * SECOND, NULL, BASE});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shows_the_time),
        cmocka_unit_test(is_set),
        cmocka_unit_test(alarm_raises_the_line),
        cmocka_unit_test(survives_anything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
