/* SPDX-License-Identifier: MIT */
/* I/O APIC: registers behind the window, edges, levels and their ends (82093AA datasheet). */
#include "dev_rig.h"

#include "ring3/devices/ioapic.h"
#include "ring3/devices/lapic.h"

#define LEVEL  0x8000u
#define MASKED 0x10000u

/* Messages go into the trace: "40 ", "40L ", with the mode and destination if not 0. */
static bool take(void *opaque, const struct lapic_message *m)
{
    struct rig *r = opaque;
    char text[32];
    snprintf(text, sizeof text, "%x%s", m->vector, m->level ? "L" : "");
    rig_note(r, text);
    snprintf(text, sizeof text, m->mode || m->destination || m->logical ? ":%u,%x%s " : " ",
             m->mode, m->destination, m->logical ? "l" : "");
    rig_note(r, text);
    r->digest = r->digest * 31 + m->vector + m->level * 7u + m->mode * 3u + m->destination;
    return !r->congested;
}

static struct device *make_chip(struct rig *r)
{
    return ioapic_new(&r->host, take, r, NULL);
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

static uint32_t rd(struct rig *r, unsigned reg)
{
    bus_write(r->host.mmio, IOAPIC_BASE, 4, reg);
    return (uint32_t)bus_read(r->host.mmio, IOAPIC_BASE + 0x10, 4);
}
static void wr(struct rig *r, unsigned reg, uint32_t value)
{
    bus_write(r->host.mmio, IOAPIC_BASE, 4, reg);
    bus_write(r->host.mmio, IOAPIC_BASE + 0x10, 4, value);
}
static void pin(struct rig *r, unsigned n, int level)
{
    struct irq_line line = ioapic_line(r->d, n);
    irq_set(&line, level);
}

static void registers_are_behind_a_window(void **state)
{
    struct rig *r = *state;
    assert_int_equal(rd(r, 1), 0x170011);
    wr(r, 0, 0xff000000);
    assert_int_equal(rd(r, 0), 0x0f000000);
    assert_int_equal(rd(r, 0x10 + 2 * 23), MASKED);
    wr(r, 0x10 + 2 * 5, 0xffffffff);
    assert_int_equal(rd(r, 0x10 + 2 * 5), 0x1afff); /* status and remote IRR are not written */
    wr(r, 0x11 + 2 * 5, 0x12345678);
    assert_int_equal(rd(r, 0x11 + 2 * 5), 0x12000000);
    assert_int_equal(rd(r, 0x40), 0);
    wr(r, 0x40, 1);
    assert_null(ioapic_line(r->d, 24).set);
}

static void edges_send_once(void **state)
{
    struct rig *r = *state;
    pin(r, 4, 1); /* masked: lost */
    wr(r, 0x18, 0x40);
    assert_string_equal(rig_trace(r), "");
    pin(r, 4, 1);
    pin(r, 4, 0);
    pin(r, 4, 1);
    pin(r, 4, 1);
    assert_string_equal(rig_trace(r), "40 ");
    wr(r, 0x19, 0x03000000);
    wr(r, 0x18, 0x941); /* logical, lowest priority */
    pin(r, 4, 0);
    pin(r, 4, 1);
    assert_string_equal(rig_trace(r), "41:1,3l ");
}

static void levels_send_until_they_fall(void **state)
{
    struct rig *r = *state;
    wr(r, 0x10 + 2 * 10, 0x51 | LEVEL);
    pin(r, 10, 1);
    assert_string_equal(rig_trace(r), "51L ");
    assert_int_equal(rd(r, 0x10 + 2 * 10), 0x51 | LEVEL | 0x4000);
    pin(r, 10, 1);
    pin(r, 10, 0);
    pin(r, 10, 1); /* still waits for the end */
    assert_string_equal(rig_trace(r), "");
    ioapic_eoi(r->d, 0x52);
    assert_string_equal(rig_trace(r), "");
    ioapic_eoi(r->d, 0x51);
    assert_string_equal(rig_trace(r), "51L ");
    pin(r, 10, 0);
    ioapic_eoi(r->d, 0x51);
    assert_string_equal(rig_trace(r), "");
    assert_int_equal(rd(r, 0x10 + 2 * 10), 0x51 | LEVEL);
    wr(r, 0x10 + 2 * 10, 0x51 | LEVEL | MASKED);
    pin(r, 10, 1);
    assert_string_equal(rig_trace(r), "");
    wr(r, 0x10 + 2 * 10, 0x53 | LEVEL); /* unmasked while up */
    assert_string_equal(rig_trace(r), "53L ");
    wr(r, 0x10 + 2 * 10, 0x53); /* an edge now: nothing is owed */
    assert_int_equal(rd(r, 0x10 + 2 * 10), 0x53);
}

static void who_is_not_addressed_does_not_owe(void **state)
{
    struct rig *r = *state;
    r->congested = true; /* take() says: nobody */
    wr(r, 0x10 + 2 * 11, 0x61 | LEVEL);
    pin(r, 11, 1);
    assert_int_equal(rd(r, 0x10 + 2 * 11), 0x61 | LEVEL);
}

static uint64_t poke(struct rig *r, uint64_t random)
{
    if (random & 1)
        pin(r, random >> 8 & 15, random >> 4 & 1);
    else
        ioapic_eoi(r->d, (uint8_t)(random >> 8));
    return 0;
}

static void random_use_and_restored_twins(void **state)
{
    static const uint16_t offsets[] = {0, 0, 0x10, 0x10, 0x10};
    const struct rig_fuzz f = {.make = make_chip,
                               .ports = offsets,
                               .port_count = ARRAY_LEN(offsets),
                               .mmio_base = IOAPIC_BASE,
                               .max_step_ns = 1,
                               .poke = poke};
    rig_fuzz(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(registers_are_behind_a_window, make, unmake),
        cmocka_unit_test_setup_teardown(edges_send_once, make, unmake),
        cmocka_unit_test_setup_teardown(levels_send_until_they_fall, make, unmake),
        cmocka_unit_test_setup_teardown(who_is_not_addressed_does_not_owe, make, unmake),
        cmocka_unit_test(random_use_and_restored_twins),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
