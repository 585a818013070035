/* SPDX-License-Identifier: MIT */
/* ACPI fixed hardware. Line 0 of the bench is the SCI; power-off leaves "off " in the trace. */
#include "dev_rig.h"

#include "ring3/devices/acpi_pm.h"

enum { STS = 0x600, EN = 0x602, CNT = 0x604, TMR = 0x608, SMI = 0xb2 };

static void power_off(void *opaque)
{
    rig_note(opaque, "off ");
}

static struct device *make(struct rig *r)
{
    return acpi_pm_new(&r->host, rig_line(r, 0), power_off, r, NULL);
}

static struct rig *new_pm(void)
{
    struct rig *r = rig_new();
    r->d = make(r);
    assert_non_null(r->d);
    return r;
}

static uint16_t in16(struct rig *r, unsigned port)
{
    return (uint16_t)bus_read(r->host.pio, port, 2);
}
static void out16(struct rig *r, unsigned port, unsigned value)
{
    bus_write(r->host.pio, port, 2, value);
}
static uint32_t timer(struct rig *r)
{
    return (uint32_t)bus_read(r->host.pio, TMR, 4);
}

static void timer_counts_at_its_rate(void **state)
{
    struct rig *r = new_pm();
    assert_int_equal(timer(r), 0);
    rig_advance(r, NS_PER_SEC);
    assert_int_equal(timer(r), 3579545);
    rig_advance(r, 4 * NS_PER_SEC);
    assert_int_equal(timer(r), 5 * 3579545 % (1 << 24)); /* 24 bits */
    assert_int_equal(bus_read(r->host.pio, TMR + 1, 1), timer(r) >> 8 & 0xff);
    bus_write(r->host.pio, TMR, 4, 0); /* read only */
    assert_int_equal(timer(r), 5 * 3579545 % (1 << 24));
    rig_free(r);
}

static void timer_status_follows_the_top_bit(void **state)
{
    struct rig *r = new_pm();
    const uint64_t half = UINT64_C(8388608) * NS_PER_SEC / 3579545; /* 2.34 s, rounded down */
    rig_advance(r, half);
    assert_int_equal(in16(r, STS), 0);
    rig_advance(r, 1);
    assert_int_equal(in16(r, STS), 1);
    out16(r, STS, 1);
    assert_int_equal(in16(r, STS), 0);
    assert_string_equal(rig_trace(r), ""); /* not enabled */

    out8(r, SMI, 0xf1);
    out16(r, EN, 1);
    rig_advance(r, half - 10);
    assert_string_equal(rig_trace(r), "");
    rig_advance(r, 20);
    assert_string_equal(rig_trace(r), "+0 ");
    out16(r, STS, 1);
    assert_string_equal(rig_trace(r), "-0 ");
    out16(r, EN, 0);
    rig_advance(r, 10 * half);
    assert_string_equal(rig_trace(r), "");
    assert_int_equal(clock_next_deadline(r->host.clock), TIMER_NEVER); /* an idle guest sleeps */
    rig_free(r);
}

static void smi_commands_switch_acpi_mode(void **state)
{
    struct rig *r = new_pm();
    assert_int_equal(in16(r, CNT), 0);
    out8(r, SMI, 0x55);
    assert_int_equal(in16(r, CNT), 0);
    out8(r, SMI, 0xf1);
    assert_int_equal(in16(r, CNT), 1);
    assert_int_equal(in8(r, SMI), 0xf1);
    out8(r, SMI + 1, 0x77);
    assert_int_equal(in8(r, SMI + 1), 0x77);
    out8(r, SMI, 0xf0);
    assert_int_equal(in16(r, CNT), 0);
    rig_free(r);
}

static void power_button_interrupts(void **state)
{
    struct rig *r = new_pm();
    out16(r, EN, 0x100);
    acpi_pm_power_button(r->d);
    assert_string_equal(rig_trace(r), ""); /* not in ACPI mode */
    assert_int_equal(in16(r, STS), 0x100);
    out8(r, SMI, 0xf1);
    assert_string_equal(rig_trace(r), "+0 ");
    out8(r, STS + 1, 1); /* bytes work too */
    assert_string_equal(rig_trace(r), "-0 ");
    assert_int_equal(in16(r, STS), 0);
    out8(r, EN, 0x01); /* other half stays */
    assert_int_equal(in16(r, EN), 0x101);
    acpi_pm_power_button(r->d);
    assert_string_equal(rig_trace(r), "+0 ");
    r->d->ops->reset(r->d);
    assert_string_equal(rig_trace(r), "-0 ");
    assert_int_equal(in16(r, EN), 0);
    rig_free(r);
}

static void soft_off_powers_off(void **state)
{
    struct rig *r = new_pm();
    out16(r, CNT, 0x0001);
    assert_string_equal(rig_trace(r), "");
    out16(r, CNT, 0x2001);
    assert_string_equal(rig_trace(r), "off ");
    assert_int_equal(in16(r, CNT), 0x0001); /* SLP_EN reads 0 */
    out8(r, CNT + 1, 0x20);
    assert_string_equal(rig_trace(r), "off ");
    out16(r, CNT, 5 << 10 | 0x2000); /* another sleep state: not there, wakes at once */
    assert_string_equal(rig_trace(r), "");
    assert_int_equal(in16(r, STS), 0x8000);
    out16(r, STS, 0x8000);
    assert_int_equal(in16(r, STS), 0);
    rig_free(r);
}

static uint64_t poke(struct rig *r, uint64_t random)
{
    acpi_pm_power_button(r->d);
    return 0;
}

static void random_accesses_and_snapshots(void **state)
{
    static const uint16_t ports[] = {0x600, 0x601, 0x602, 0x603, 0x604, 0x605,
                                     0x606, 0x608, 0x60b, 0xb2,  0xb3};
    static const struct rig_fuzz f = {make, ports, ARRAY_LEN(ports), 20 * NS_PER_SEC, poke};
    rig_fuzz(&f);
}

static void occupied_port_is_an_error(void **state)
{
    struct rig *r = new_pm();
    struct err e = {0};
    assert_null(acpi_pm_new(&r->host, rig_line(r, 0), power_off, r, &e));
    assert_int_equal(e.errnum, 17); /* EEXIST */
    out8(r, SMI, 0xf1);             /* the first one still works */
    assert_int_equal(in16(r, CNT), 1);
    rig_free(r);
}

static void registers_move(void **state)
{
    struct rig *r = new_pm();
    struct err e;
    bus_map(r->host.pio, 0x2004, 1, &(struct io_ops){0}, r, "other", &e);
    r->log.level = LOG_ERROR;
    acpi_pm_move(r->d, 0x1000);
    assert_null(bus_name_at(r->host.pio, STS));
    assert_null(bus_name_at(r->host.pio, TMR));
    out8(r, SMI, 0xf1);
    assert_int_equal(in16(r, 0x1004), 1);
    assert_string_equal(bus_name_at(r->host.pio, 0x1008), "acpi-timer");
    acpi_pm_move(r->d, 0x2000); /* one of the two finds no place */
    assert_string_equal(bus_name_at(r->host.pio, 0x2004), "other");
    assert_string_equal(bus_name_at(r->host.pio, 0x2008), "acpi-timer");
    assert_null(bus_name_at(r->host.pio, 0x1004));
    acpi_pm_move(r->d, 0);
    assert_null(bus_name_at(r->host.pio, 0x2008));
    assert_string_equal(bus_name_at(r->host.pio, SMI), "acpi-smi"); /* which stays */
    acpi_pm_move(r->d, 0x600);
    assert_int_equal(in16(r, CNT), 1);
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(timer_counts_at_its_rate),
        cmocka_unit_test(timer_status_follows_the_top_bit),
        cmocka_unit_test(smi_commands_switch_acpi_mode),
        cmocka_unit_test(power_button_interrupts),
        cmocka_unit_test(soft_off_powers_off),
        cmocka_unit_test(random_accesses_and_snapshots),
        cmocka_unit_test(registers_move),
        cmocka_unit_test(occupied_port_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
