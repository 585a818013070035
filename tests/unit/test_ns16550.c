/* SPDX-License-Identifier: MIT */
/* ns16550a: what the data sheet says, register by register, and the probes Linux makes. */
#include "dev_rig.h"

#include <errno.h>

#include "ring3/devices/ns16550.h"

#define COM 0x3f8
enum { DATA = COM, IER, IIR, LCR, MCR, LSR, MSR, SCR, FCR = IIR };

static struct device *make(struct rig *r)
{
    struct ns16550_config c = {.instance = "com1",
                               .bus = r->host.pio,
                               .base = COM,
                               .irq = rig_line(r, 4),
                               .out2_gates_irq = true,
                               .chr = &r->chr};
    return ns16550_new(&r->host, &c, NULL);
}

static struct rig *new_com1(void)
{
    struct rig *r = rig_new();
    r->d = make(r);
    assert_non_null(r->d);
    out8(r, MCR, 0x0b); /* DTR RTS OUT2 */
    return r;
}

static size_t feed(struct rig *r, const char *bytes)
{
    struct chardev_client *c = &r->chr.client;
    size_t n = strlen(bytes), room = c->room(c->opaque);
    n = n < room ? n : room;
    c->receive(c->opaque, (const uint8_t *)bytes, n);
    return n;
}

static void output_is_instant(void **state)
{
    struct rig *r = new_com1();
    for (const char *p = "hello"; *p; p++) {
        assert_int_equal(in8(r, LSR), 0x60);
        out8(r, DATA, *p);
    }
    assert_string_equal(r->sent, "hello");
    assert_string_equal(rig_trace(r), "");
    rig_free(r);
}

static void linux_finds_a_16550a(void **state)
{
    struct rig *r = new_com1();
    out8(r, IER, 0);
    assert_int_equal(in8(r, IER), 0);
    out8(r, IER, 0xff);
    assert_int_equal(in8(r, IER), 0x0f);
    out8(r, IER, 0);
    out8(r, MCR, 0x1a); /* loopback, OUT2, RTS */
    assert_int_equal(in8(r, MSR) & 0xf0, 0x90);
    out8(r, MCR, 0x0b);
    out8(r, LCR, 0xbf); /* an extended UART would show its feature register here */
    out8(r, FCR, 0);
    out8(r, LCR, 0);
    out8(r, FCR, 1);
    assert_int_equal(in8(r, IIR) >> 6, 3);
    out8(r, FCR, 0x21); /* no 64 byte FIFO of the 16750 */
    assert_int_equal(in8(r, IIR) >> 5, 6);
    out8(r, FCR, 0);
    assert_int_equal(in8(r, IIR), 0x01);
    out8(r, SCR, 0x5a);
    assert_int_equal(in8(r, SCR), 0x5a);
    rig_free(r);
}

static void divisor_latch_hides_data_and_ier(void **state)
{
    struct rig *r = new_com1();
    out8(r, LCR, 0x83);
    out8(r, DATA, 0x34);
    out8(r, IER, 0x12);
    assert_int_equal(in8(r, DATA), 0x34);
    assert_int_equal(in8(r, IER), 0x12);
    out8(r, LCR, 0x03);
    assert_int_equal(in8(r, IER), 0);
    assert_int_equal(in8(r, LCR), 3);
    assert_int_equal(r->sent_len, 0);
    rig_free(r);
}

static void thre_interrupt_comes_and_goes(void **state)
{
    struct rig *r = new_com1();
    out8(r, IER, 2);
    assert_string_equal(rig_trace(r), "+4 "); /* empty when enabled */
    assert_int_equal(in8(r, IIR), 0x02);
    assert_string_equal(rig_trace(r), "-4 "); /* reading IIR takes it */
    assert_int_equal(in8(r, IIR), 0x01);
    out8(r, DATA, 'a');
    assert_string_equal(rig_trace(r), "+4 ");
    assert_int_equal(in8(r, IIR), 0x02);
    out8(r, IER, 0);
    out8(r, IER, 2); /* Linux's test of THRE: it must come again */
    assert_int_equal(in8(r, IIR), 0x02);
    rig_free(r);
}

static void congested_backend_holds_the_transmitter(void **state)
{
    struct rig *r = new_com1();
    out8(r, FCR, 1);
    r->congested = true;
    for (int i = 0; i < 20; i++) /* four more than fit: lost */
        out8(r, DATA, 'a' + i);
    assert_int_equal(in8(r, LSR), 0);
    out8(r, IER, 2);
    assert_string_equal(rig_trace(r), "");
    r->congested = false;
    r->chr.client.writable(r->chr.client.opaque);
    assert_string_equal(r->sent, "abcdefghijklmnop");
    assert_int_equal(in8(r, LSR), 0x60);
    assert_string_equal(rig_trace(r), "+4 ");
    r->congested = true;
    out8(r, DATA, 'x');
    assert_int_equal(in8(r, IIR), 0xc1);
    rig_trace(r);
    out8(r, FCR, 5); /* clearing the FIFO empties it too */
    assert_int_equal(in8(r, LSR), 0x60);
    assert_string_equal(rig_trace(r), "+4 ");
    assert_int_equal(in8(r, IIR), 0xc2);
    out8(r, FCR, 5); /* it was empty: nothing new */
    assert_int_equal(in8(r, IIR), 0xc1);
    rig_free(r);
}

static void input_without_fifo(void **state)
{
    struct rig *r = new_com1();
    out8(r, IER, 1);
    assert_int_equal(feed(r, "xy"), 1); /* room for one */
    assert_string_equal(rig_trace(r), "+4 ");
    assert_int_equal(in8(r, IIR), 0x04);
    assert_int_equal(in8(r, LSR), 0x61);
    unsigned resumes = r->resumes;
    assert_int_equal(in8(r, DATA), 'x');
    assert_int_equal(r->resumes, resumes + 1);
    in8(r, LSR);
    out8(r, SCR, 1);
    assert_int_equal(r->resumes, resumes + 1); /* only when room appears */
    assert_string_equal(rig_trace(r), "-4 ");
    assert_int_equal(in8(r, LSR), 0x60);
    rig_free(r);
}

static void fifo_trigger_and_timeout(void **state)
{
    struct rig *r = new_com1();
    out8(r, LCR, 0x80);
    out8(r, DATA, 1); /* 115200 baud: four characters of 10 bits are 347 us */
    out8(r, LCR, 0x03);
    out8(r, FCR, 0x41); /* trigger at 4 */
    out8(r, IER, 1);
    assert_int_equal(feed(r, "abc"), 3);
    assert_string_equal(rig_trace(r), "");
    assert_int_equal(in8(r, LSR), 0x61);
    rig_advance(r, 340 * 1000);
    assert_string_equal(rig_trace(r), "");
    rig_advance(r, 10 * 1000);
    assert_string_equal(rig_trace(r), "+4 ");
    assert_int_equal(in8(r, IIR), 0xcc);
    assert_int_equal(in8(r, DATA), 'a');
    assert_string_equal(rig_trace(r), "-4 "); /* reading restarts the timeout */
    rig_advance(r, 350 * 1000);
    assert_string_equal(rig_trace(r), "+4 ");
    feed(r, "def"); /* five now: the trigger level outranks */
    assert_int_equal(in8(r, IIR), 0xc4);
    for (const char *p = "bcdef"; *p; p++)
        assert_int_equal(in8(r, DATA), *p);
    assert_int_equal(in8(r, IIR), 0xc1);
    rig_advance(r, NS_PER_SEC);
    assert_int_equal(in8(r, IIR), 0xc1);
    assert_int_equal(feed(r, "0123456789abcdefgh"), 16);
    unsigned resumes = r->resumes;
    out8(r, FCR, 0x43);
    assert_int_equal(in8(r, LSR), 0x60);
    assert_int_equal(r->resumes, resumes + 1);
    rig_trace(r);
    feed(r, "a");
    out8(r, FCR, 0x43); /* takes the timeout with the byte */
    rig_advance(r, NS_PER_SEC);
    assert_string_equal(rig_trace(r), "");
    feed(r, "a");
    out8(r, FCR, 0x45); /* clears only the transmitter */
    assert_int_equal(in8(r, DATA), 'a');
    rig_free(r);
}

static void slow_and_unset_rates_time_out_soon(void **state)
{
    struct rig *r = new_com1();
    out8(r, FCR, 0x41);
    out8(r, IER, 1);
    const unsigned divisors[] = {2304, 0}; /* 50 baud; never set */
    for (unsigned i = 0; i < 2; i++) {
        out8(r, LCR, 0x83);
        out8(r, DATA, divisors[i] & 0xff);
        out8(r, IER, divisors[i] >> 8);
        out8(r, LCR, 0x03);
        feed(r, "a");
        rig_advance(r, 3900 * 1000);
        assert_string_equal(rig_trace(r), "");
        rig_advance(r, 200 * 1000);
        assert_string_equal(rig_trace(r), "+4 ");
        in8(r, DATA);
        rig_trace(r);
    }
    rig_free(r);
}

static void reset_silences(void **state)
{
    struct rig *r = new_com1();
    out8(r, IER, 2);
    r->d->ops->reset(r->d);
    assert_string_equal(rig_trace(r), "+4 -4 ");
    out8(r, FCR, 0x41);
    out8(r, MCR, 0x0b);
    out8(r, IER, 1);
    feed(r, "a");
    r->d->ops->reset(r->d);
    rig_advance(r, NS_PER_SEC);
    out8(r, MCR, 0x0b);
    out8(r, IER, 1);
    assert_string_equal(rig_trace(r), "");
    assert_int_equal(in8(r, LSR), 0x60);
    rig_free(r);
}

static void loopback_carries_bytes_lines_and_overruns(void **state)
{
    struct rig *r = new_com1();
    out8(r, MCR, 0x1b);
    assert_int_equal(r->chr.client.room(r->chr.client.opaque), 0);
    out8(r, DATA, 'a');
    out8(r, DATA, 'b');
    assert_int_equal(r->sent_len, 0);
    assert_int_equal(in8(r, LSR), 0x63); /* overrun, once */
    assert_int_equal(in8(r, LSR), 0x61);
    assert_int_equal(in8(r, DATA), 'b');
    out8(r, IER, 0x04);
    out8(r, DATA, 'c');
    out8(r, DATA, 'd');
    assert_int_equal(in8(r, IIR), 0x06);
    assert_string_equal(rig_trace(r), ""); /* OUT2's pin is off in loopback: no interrupt */
    in8(r, LSR);
    assert_int_equal(in8(r, IIR), 0x01);
    in8(r, MSR);
    out8(r, MCR, 0x14); /* RTS, DTR, OUT2 fall, OUT1 rises */
    assert_int_equal(in8(r, MSR), 0x4b);
    out8(r, MCR, 0x10);
    out8(r, IER, 0x08);
    assert_int_equal(in8(r, IIR), 0x00);
    assert_int_equal(in8(r, MSR), 0x04); /* trailing edge of RI */
    assert_int_equal(in8(r, MSR), 0x00);
    out8(r, MCR, 0x00);
    assert_int_equal(in8(r, MSR), 0xbb);
    rig_free(r);
}

static void out2_gates_the_interrupt(void **state)
{
    struct rig *r = new_com1();
    out8(r, IER, 2);
    out8(r, MCR, 0x03);
    out8(r, MCR, 0x0b);
    assert_string_equal(rig_trace(r), "+4 -4 +4 ");
    rig_free(r);
}

static void memory_mapped_with_spaced_registers(void **state)
{
    struct rig *r = rig_new();
    struct ns16550_config c = {.instance = "uart0",
                               .bus = r->host.mmio,
                               .base = 0x10000000,
                               .shift = 2,
                               .irq = rig_line(r, 1),
                               .chr = &r->chr};
    r->d = ns16550_new(&r->host, &c, NULL);
    assert_non_null(r->d);
    bus_write(r->host.mmio, 0x10000000, 4, 'z');
    bus_write(r->host.mmio, 0x10000001, 1, 'q'); /* between registers */
    assert_string_equal(r->sent, "z");
    assert_true(bus_read(r->host.mmio, 0x10000014, 4) == 0x60);
    bus_write(r->host.mmio, 0x10000004, 1, 2);
    assert_string_equal(rig_trace(r), "+1 "); /* no gate on this board */
    c.shift = 4;
    assert_null(ns16550_new(&r->host, &c, NULL));
    c.shift = 2;
    assert_null(ns16550_new(&r->host, &c, NULL)); /* overlaps the first */
    rig_free(r);
}

static uint64_t poke(struct rig *r, uint64_t random)
{
    struct chardev_client *c = &r->chr.client;
    if (random % 4 == 0)
        r->congested = !r->congested;
    if (random % 4 == 0 && !r->congested)
        c->writable(c->opaque);
    if (random % 4 == 1) {
        uint8_t byte = (uint8_t)(random >> 8);
        if (c->room(c->opaque))
            c->receive(c->opaque, &byte, 1);
    }
    return c->room(c->opaque);
}

static void survives_anything(void **state)
{
    const uint16_t ports[] = {DATA, IER, IIR, LCR, MCR, LSR, MSR, SCR};
    rig_fuzz(&(struct rig_fuzz){make, ports, ARRAY_LEN(ports), 10 * 1000 * 1000, poke});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(output_is_instant),
        cmocka_unit_test(linux_finds_a_16550a),
        cmocka_unit_test(divisor_latch_hides_data_and_ier),
        cmocka_unit_test(thre_interrupt_comes_and_goes),
        cmocka_unit_test(congested_backend_holds_the_transmitter),
        cmocka_unit_test(input_without_fifo),
        cmocka_unit_test(fifo_trigger_and_timeout),
        cmocka_unit_test(slow_and_unset_rates_time_out_soon),
        cmocka_unit_test(reset_silences),
        cmocka_unit_test(loopback_carries_bytes_lines_and_overruns),
        cmocka_unit_test(out2_gates_the_interrupt),
        cmocka_unit_test(memory_mapped_with_spaced_registers),
        cmocka_unit_test(survives_anything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
