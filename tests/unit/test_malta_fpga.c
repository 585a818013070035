/* SPDX-License-Identifier: MIT */
/* The Malta board's own registers. Line 5 of the bench is the reset line. */
#include "dev_rig.h"

#include "ring3/devices/malta_fpga.h"

static struct device *make(struct rig *r)
{
    return malta_fpga_new(&r->host, false, rig_line(r, 5), NULL);
}

static struct rig *new_board(void)
{
    struct rig *r = rig_new();
    r->d = make(r);
    assert_non_null(r->d);
    return r;
}

static uint32_t get(struct rig *r, unsigned at)
{
    return (uint32_t)bus_read(r->host.mmio, MALTA_FPGA_BASE + at, 4);
}
static void put(struct rig *r, unsigned at, uint32_t value)
{
    bus_write(r->host.mmio, MALTA_FPGA_BASE + at, 4, value);
}

static void what_kernels_read(void **state)
{
    struct rig *r = new_board();
    uint32_t revision = (uint32_t)bus_read(r->host.mmio, MALTA_REVISION_AT, 4);
    assert_int_equal(revision >> 10 & 0x3f, 1); /* Core LV, thus GT-64120 */
    assert_int_equal(revision >> 4 & 0xf, 2);   /* Malta */
    bus_write(r->host.mmio, MALTA_REVISION_AT, 4, 0);
    assert_int_equal(bus_read(r->host.mmio, MALTA_REVISION_AT, 4), revision);
    assert_int_equal(get(r, MALTA_STATUS), 0x02);
    assert_int_equal(bus_read(r->host.mmio, MALTA_FPGA_BASE + MALTA_JUMPERS, 2), 0); /* 33 MHz */
    assert_int_equal(get(r, MALTA_BREAK_RESET), 0x0a);
    assert_int_equal(get(r, MALTA_I2C_IN), 3);
    put(r, MALTA_I2C_ENABLE, 1);
    assert_int_equal(get(r, MALTA_I2C_IN), 2);
    put(r, MALTA_I2C_OUT, 1);
    assert_int_equal(get(r, MALTA_I2C_IN), 3);
    assert_null(bus_name_at(r->host.mmio, MALTA_FPGA_UART)); /* free for the chip */
    assert_null(bus_name_at(r->host.mmio, MALTA_FPGA_UART + 0x3f));
    struct rig *big = rig_new();
    big->d = malta_fpga_new(&big->host, true, rig_line(big, 5), NULL);
    assert_int_equal(get(big, MALTA_STATUS), 0x12);
    rig_free(big);
    rig_free(r);
}

static void display_and_leds(void **state)
{
    struct rig *r = new_board();
    char text[MALTA_DISPLAY_CHARS + 1];
    malta_fpga_display(r->d, text);
    assert_string_equal(text, "        ");
    for (unsigned i = 0; i < 8; i++)
        put(r, MALTA_ASCII_POSITION + 8 * i, (unsigned char)"LINUX ON"[i]);
    put(r, MALTA_ASCII_POSITION + 8 * 8, 'x'); /* there is no ninth */
    put(r, MALTA_ASCII_POSITION + 4, 'x');     /* nor anything between */
    malta_fpga_display(r->d, text);
    assert_string_equal(text, "LINUX ON");
    put(r, MALTA_ASCII_WORD, 0x0badcafe);
    malta_fpga_display(r->d, text);
    assert_string_equal(text, "0BADCAFE");
    put(r, MALTA_ASCII_POSITION, 7);
    malta_fpga_display(r->d, text);
    assert_string_equal(text, ".BADCAFE");
    put(r, MALTA_LED_BAR, 0x1a5);
    assert_int_equal(get(r, MALTA_LED_BAR), 0xa5);
    r->d->ops->reset(r->d);
    malta_fpga_display(r->d, text);
    assert_string_equal(text, "        ");
    assert_int_equal(get(r, MALTA_LED_BAR), 0);
    rig_free(r);
}

static void one_value_resets(void **state)
{
    struct rig *r = new_board();
    for (unsigned v = 0; v < 256; v++)
        if (v != MALTA_GO_RESET)
            put(r, MALTA_SOFT_RESET, v);
    assert_string_equal(rig_trace(r), "");
    put(r, MALTA_SOFT_RESET, MALTA_GO_RESET);
    assert_string_equal(rig_trace(r), "+5 -5 ");
    put(r, MALTA_BREAK_RESET, MALTA_GO_RESET);
    assert_string_equal(rig_trace(r), "");
    rig_free(r);
}

static uint64_t poke(struct rig *r, uint64_t random)
{
    char text[MALTA_DISPLAY_CHARS + 1];
    uint64_t x;
    malta_fpga_display(r->d, text);
    memcpy(&x, text, sizeof x);
    return x;
}

static void random_accesses_and_snapshots(void **state)
{
    static const uint16_t registers[] = {
        0x000,
        MALTA_STATUS,
        MALTA_LED_BAR,
        MALTA_ASCII_WORD,
        0x418,
        0x420,
        0x450,
        0x458,
        MALTA_SOFT_RESET,
        MALTA_BREAK_RESET,
        MALTA_GPIO_IN,
        MALTA_GPIO_OUT,
        MALTA_I2C_IN,
        MALTA_I2C_ENABLE,
        MALTA_I2C_OUT,
        0x900,
        MALTA_I2C_SELECT,
    };
    static const struct rig_fuzz f = {make, registers, ARRAY_LEN(registers),
                                      1000, poke,      MALTA_FPGA_BASE};
    rig_fuzz(&f);
}

static void occupied_place_is_an_error(void **state)
{
    struct rig *r = rig_new();
    struct err e = {0};
    bus_map(r->host.mmio, MALTA_REVISION_AT, 4, &(struct io_ops){0}, r, "other", NULL);
    assert_null(malta_fpga_new(&r->host, false, rig_line(r, 5), &e));
    assert_int_equal(e.errnum, 17); /* EEXIST */
    assert_null(bus_name_at(r->host.mmio, MALTA_FPGA_BASE));
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_kernels_read),
        cmocka_unit_test(display_and_leds),
        cmocka_unit_test(one_value_resets),
        cmocka_unit_test(random_accesses_and_snapshots),
        cmocka_unit_test(occupied_place_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
