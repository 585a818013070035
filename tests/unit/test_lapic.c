/* SPDX-License-Identifier: MIT */
/* Local APIC: priorities, virtual wire, timer, messages, the base MSR. Register offsets and rules
 * are those of Intel SDM vol. 3A. */
#include "dev_rig.h"

#include "ring3/devices/lapic.h"

enum { INTR, NMI };
#define ID      0x20
#define TPR     0x80
#define PPR     0xa0
#define EOI     0xb0
#define LDR     0xd0
#define DFR     0xe0
#define SVR     0xf0
#define ISR(v)  (0x100 + (v) / 32 * 16)
#define IRR(v)  (0x200 + (v) / 32 * 16)
#define ESR     0x280
#define ICR     0x300
#define LVT_T   0x320
#define LVT_L0  0x350
#define INITIAL 0x380
#define CURRENT 0x390
#define DIVIDE  0x3e0
#define MASKED  0x10000u

static int pic_vector(void *opaque)
{
    rig_note(opaque, "inta ");
    return 0x31;
}

static struct device *make_chip(struct rig *r)
{
    struct lapic_wiring w = {0, rig_line(r, INTR), rig_line(r, NMI), pic_vector, r};
    return lapic_new(&r->host, &w, NULL);
}

static uint32_t rd(struct rig *r, unsigned at)
{
    return (uint32_t)bus_read(r->host.mmio, LAPIC_BASE + at, 4);
}
static void wr(struct rig *r, unsigned at, uint32_t value)
{
    bus_write(r->host.mmio, LAPIC_BASE + at, 4, value);
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

static void enable(struct rig *r)
{
    wr(r, SVR, 0x1ff);
}

static void send(struct rig *r, unsigned vector, bool level)
{
    struct lapic_message m = {.vector = (uint8_t)vector, .level = level};
    assert_true(lapic_deliver(r->d, &m));
}

static void virtual_wire_until_a_driver_comes(void **state)
{
    struct rig *r = *state;
    struct irq_line pic = lapic_lint0(r->d);
    irq_set(&pic, 1);
    assert_string_equal(rig_trace(r), "+0 ");
    assert_int_equal(lapic_ack(r->d), 0x31);
    assert_string_equal(rig_trace(r), "inta ");
    irq_set(&pic, 0);
    assert_string_equal(rig_trace(r), "-0 ");
    assert_int_equal(lapic_ack(r->d), 0x31); /* taken back: the 8259s' spurious vector */
    assert_string_equal(rig_trace(r), "inta ");
    /* A message before the software enables the unit is lost. */
    send(r, 0x40, false);
    assert_string_equal(rig_trace(r), "");
    enable(r);
    wr(r, LVT_L0, 0x700 | MASKED);
    irq_set(&pic, 1);
    assert_string_equal(rig_trace(r), "");
    wr(r, LVT_L0, 0x700);
    assert_string_equal(rig_trace(r), "+0 ");
}

static void higher_classes_interrupt_lower_ones(void **state)
{
    struct rig *r = *state;
    enable(r);
    send(r, 0x41, false);
    assert_string_equal(rig_trace(r), "+0 ");
    assert_int_equal(rd(r, IRR(0x41)), 2);
    assert_int_equal(lapic_ack(r->d), 0x41);
    assert_string_equal(rig_trace(r), "-0 ");
    assert_int_equal(rd(r, IRR(0x41)), 0);
    assert_int_equal(rd(r, ISR(0x41)), 2);
    assert_int_equal(rd(r, PPR), 0x40);
    send(r, 0x4f, false); /* same class: waits */
    assert_string_equal(rig_trace(r), "");
    send(r, 0x51, false);
    assert_string_equal(rig_trace(r), "+0 ");
    assert_int_equal(lapic_ack(r->d), 0x51);
    wr(r, EOI, 0); /* of 0x51 */
    assert_int_equal(rd(r, PPR), 0x40);
    rig_trace(r);
    wr(r, EOI, 0); /* of 0x41 */
    assert_string_equal(rig_trace(r), "+0 ");
    assert_int_equal(lapic_ack(r->d), 0x4f);
    wr(r, EOI, 0);
    wr(r, EOI, 0); /* nothing in service: no effect */
    rig_trace(r);
    wr(r, TPR, 0x50);
    send(r, 0x5a, false);
    assert_string_equal(rig_trace(r), "");
    wr(r, TPR, 0x4f);
    assert_string_equal(rig_trace(r), "+0 ");
    wr(r, TPR, 0x60);
    assert_string_equal(rig_trace(r), "-0 ");
    wr(r, LVT_L0, 0x700 | MASKED);
    assert_int_equal(lapic_ack(r->d), 0xff); /* it went away: spurious, by SVR */
    assert_int_equal(rd(r, ISR(0xff)), 0);
}

static void messages_find_their_processor(void **state)
{
    struct rig *r = *state;
    struct lapic_message m = {.vector = 0x60, .destination = 3};
    enable(r);
    assert_false(lapic_deliver(r->d, &m));
    m.destination = 0xff;
    assert_true(lapic_deliver(r->d, &m));
    m.logical = true;
    m.destination = 2;
    wr(r, LDR, 0x01000000);
    assert_false(lapic_deliver(r->d, &m));
    m.destination = 3; /* flat: a set of bits */
    assert_true(lapic_deliver(r->d, &m));
    wr(r, DFR, 0x0fffffff); /* cluster 2, member 1 */
    wr(r, LDR, 0x21000000);
    m.destination = 0x13;
    assert_false(lapic_deliver(r->d, &m));
    m.destination = 0x23;
    assert_true(lapic_deliver(r->d, &m));
    wr(r, ID, 0x05000000);
    m = (struct lapic_message){.mode = LAPIC_NMI, .destination = 5};
    rig_trace(r);
    assert_true(lapic_deliver(r->d, &m));
    assert_string_equal(rig_trace(r), "+1 -1 ");
    m = (struct lapic_message){.vector = 5, .destination = 5}; /* illegal */
    assert_true(lapic_deliver(r->d, &m));
    wr(r, ESR, 0);
    assert_int_equal(rd(r, ESR), 0x40);
}

static void commands_reach_ourselves_only(void **state)
{
    struct rig *r = *state;
    enable(r);
    wr(r, ICR + 0x10, 0x07000000);
    wr(r, ICR, 0x70);    /* to processor 7 */
    wr(r, ICR, 0xc0070); /* to all others */
    wr(r, ICR, 0xc4500); /* INIT to all others */
    assert_string_equal(rig_trace(r), "");
    wr(r, ICR, 0x40071); /* self */
    assert_string_equal(rig_trace(r), "+0 ");
    assert_int_equal(rd(r, ICR) & 0x1000, 0); /* sent */
    assert_int_equal(lapic_ack(r->d), 0x71);
    wr(r, ICR, 0x40003);
    wr(r, ESR, 0);
    assert_int_equal(rd(r, ESR), 0x20);
}

static void note(void *opaque, int vector)
{
    char text[16];
    if (vector >= 0)
        snprintf(text, sizeof text, "eoi %x ", (unsigned)vector);
    else
        snprintf(text, sizeof text, "edge ");
    rig_note(opaque, text);
}

static void level_interrupts_end_at_the_io_apic(void **state)
{
    struct rig *r = *state;
    enable(r);
    send(r, 0x51, true);
    lapic_ack(r->d);
    send(r, 0x61, false);
    lapic_ack(r->d);
    assert_int_equal(rd(r, 0x180 + 0x20), 0x20000);

    lapic_set_eoi(r->d, note, r);
    rig_trace(r);
    wr(r, EOI, 0);
    assert_string_equal(rig_trace(r), "edge ");
    wr(r, EOI, 0);
    assert_string_equal(rig_trace(r), "eoi 51 ");
}

static void timer_counts_once_or_for_ever(void **state)
{
    struct rig *r = *state;
    enable(r);
    wr(r, DIVIDE, 0xb);    /* by 1 */
    wr(r, LVT_T, 0x20080); /* periodic */
    wr(r, INITIAL, 1000);
    assert_int_equal(rd(r, CURRENT), 1000);
    rig_advance(r, 400);
    assert_int_equal(rd(r, CURRENT), 600);
    assert_string_equal(rig_trace(r), "");
    rig_advance(r, 600);
    assert_string_equal(rig_trace(r), "+0 ");
    assert_int_equal(lapic_ack(r->d), 0x80);
    wr(r, EOI, 0);
    rig_advance(r, 1000);
    assert_string_equal(rig_trace(r), "-0 +0 ");
    lapic_ack(r->d);
    wr(r, EOI, 0);
    wr(r, LVT_T, 0x80); /* one shot */
    wr(r, DIVIDE, 3);   /* by 16 */
    wr(r, INITIAL, 100);
    rig_trace(r);
    rig_advance(r, 1599);
    assert_int_equal(rd(r, CURRENT), 1);
    assert_string_equal(rig_trace(r), "");
    rig_advance(r, 1);
    assert_string_equal(rig_trace(r), "+0 ");
    assert_int_equal(rd(r, CURRENT), 0);
    lapic_ack(r->d);
    wr(r, EOI, 0);
    rig_trace(r);
    rig_advance(r, 100000);
    assert_string_equal(rig_trace(r), "");
    wr(r, LVT_T, 0x80 | MASKED);
    wr(r, INITIAL, 10);
    rig_advance(r, 1000);
    wr(r, LVT_T, 0x80);
    rig_advance(r, 1000);
    assert_string_equal(rig_trace(r), "");
}

static void masked_ends_are_not_made_up(void **state)
{
    struct rig *r = *state;
    enable(r);
    wr(r, DIVIDE, 0xb);
    wr(r, LVT_T, 0x20080 | MASKED);
    wr(r, INITIAL, 1000);
    rig_advance(r, 3400);
    wr(r, LVT_T, 0x20080);
    assert_int_equal(rd(r, CURRENT), 600);
    rig_advance(r, 599);
    assert_string_equal(rig_trace(r), "");
    rig_advance(r, 1);
    assert_string_equal(rig_trace(r), "+0 ");
}

/* To a chip whose clock is `late_ns` ahead of that of its state, it looks as if the host had not
 * run its timers meanwhile: a busy host, or a snapshot that came before the tick. */
static void an_overdue_end_is_not_lost(void **state)
{
    struct rig *r = *state, *late = rig_new();
    enable(r);
    wr(r, DIVIDE, 0xb);
    wr(r, LVT_T, 0x80); /* one shot */
    wr(r, INITIAL, 1000);
    rig_advance(late, clock_now_ns(r->host.clock) + 1500);
    late->d = make_chip(late);
    rig_copy_state(late->d, r->d);
    rig_advance(late, 1);
    assert_string_equal(rig_trace(late), "+0 ");
    assert_int_equal(lapic_ack(late->d), 0x80);
    rig_free(late);
}

static void the_msr_moves_and_switches_off(void **state)
{
    struct rig *r = *state;
    assert_int_equal(lapic_read_base(r->d), 0xfee00900);
    assert_false(lapic_write_base(r->d, UINT64_C(0x1fee00900)));
    assert_false(lapic_write_base(r->d, 0xfee00d00)); /* x2APIC */
    enable(r);
    assert_true(lapic_write_base(r->d, 0xd0000900));
    assert_int_equal(rd(r, 0x30), 0xffffffff);
    assert_int_equal(bus_read(r->host.mmio, 0xd0000030, 4), 0x50014);
    assert_true(lapic_write_base(r->d, 0xfee00100)); /* off: the 8259 has the processor */
    assert_int_equal(rd(r, 0x30), 0xffffffff);
    struct irq_line pic = lapic_lint0(r->d);
    irq_set(&pic, 1);
    assert_string_equal(rig_trace(r), "+0 ");
    r->d->ops->reset(r->d);
    assert_int_equal(rd(r, 0x30), 0x50014);
    assert_int_equal(rd(r, SVR), 0xff);
}

static void software_disable_masks(void **state)
{
    struct rig *r = *state;
    enable(r);
    wr(r, LVT_T, 0x80);
    wr(r, SVR, 0xff);
    assert_int_equal(rd(r, LVT_T), 0x80 | MASKED);
    wr(r, LVT_T, 0x81);
    assert_int_equal(rd(r, LVT_T), 0x81 | MASKED);
}

static uint64_t poke(struct rig *r, uint64_t random)
{
    struct irq_line pic = lapic_lint0(r->d);
    struct lapic_message m = {.vector = (uint8_t)(random >> 8), .level = random >> 16 & 1};
    switch (random % 4) {
    case 0:
        irq_set(&pic, random >> 4 & 1);
        return 0;
    case 1:
        return lapic_deliver(r->d, &m);
    case 2:
        return r->level[INTR] ? (uint64_t)lapic_ack(r->d) : 0;
    default:
        return lapic_read_base(r->d);
    }
}

static void random_use_and_restored_twins(void **state)
{
    static const uint16_t offsets[] = {ID,    TPR,     PPR,     EOI,    EOI,   LDR,    DFR,
                                       SVR,   ESR,     ICR,     0x310,  LVT_T, LVT_L0, 0x360,
                                       0x370, INITIAL, CURRENT, DIVIDE, 0x100, 0x210,  0x1f0};
    const struct rig_fuzz f = {.make = make_chip,
                               .ports = offsets,
                               .port_count = ARRAY_LEN(offsets),
                               .mmio_base = LAPIC_BASE,
                               .max_step_ns = 8 * NS_PER_SEC,
                               .poke = poke};
    rig_fuzz(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(virtual_wire_until_a_driver_comes, make, unmake),
        cmocka_unit_test_setup_teardown(higher_classes_interrupt_lower_ones, make, unmake),
        cmocka_unit_test_setup_teardown(messages_find_their_processor, make, unmake),
        cmocka_unit_test_setup_teardown(commands_reach_ourselves_only, make, unmake),
        cmocka_unit_test_setup_teardown(level_interrupts_end_at_the_io_apic, make, unmake),
        cmocka_unit_test_setup_teardown(timer_counts_once_or_for_ever, make, unmake),
        cmocka_unit_test_setup_teardown(masked_ends_are_not_made_up, make, unmake),
        cmocka_unit_test_setup_teardown(an_overdue_end_is_not_lost, make, unmake),
        cmocka_unit_test_setup_teardown(the_msr_moves_and_switches_off, make, unmake),
        cmocka_unit_test_setup_teardown(software_disable_masks, make, unmake),
        cmocka_unit_test(random_use_and_restored_twins),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
