/* SPDX-License-Identifier: MIT */
/* ne2k as the DP8390 data sheet and Linux' ne2k-pci have it, and as a hostile guest does. */
#include "nic_rig.h"

#define BASE 0xc000u

static const uint8_t frame_for_us[100] = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56, 2,
                                          0,    0,    0,    0,    1,    0x12, 0x34};

static void out(struct nic_rig *b, unsigned at, unsigned value)
{
    out8(b->r, BASE + at, value);
}
static unsigned in(struct nic_rig *b, unsigned at)
{
    return in8(b->r, BASE + at);
}

static struct nic_rig *new_card(void)
{
    struct nic_rig *b = nic_rig_new(ne2k_new, 0);
    nic_config(b, PCI_BAR0, 4, BASE);
    nic_config(b, PCI_COMMAND, 2, 1);
    return b;
}

static void dma(struct nic_rig *b, unsigned command, unsigned at, unsigned n)
{
    out(b, 0x0a, n);
    out(b, 0x0b, n >> 8);
    out(b, 0x08, at);
    out(b, 0x09, at >> 8);
    out(b, 0x00, command | 2);
}

/* Ring 0x46 to 0x80, send buffer at 0x40, all interrupts. */
static void start(struct nic_rig *b)
{
    out(b, 0x00, 0x21);
    out(b, 0x0e, 0x49);
    out(b, 0x0c, 0x04);
    out(b, 0x0d, 0);
    out(b, 0x01, 0x46);
    out(b, 0x02, 0x80);
    out(b, 0x03, 0x46);
    out(b, 0x07, 0xff);
    out(b, 0x0f, 0x7f);
    out(b, 0x00, 0x61);
    out(b, 0x07, 0x47);
    out(b, 0x00, 0x22);
    rig_trace(b->r);
}

static void identity_and_address(void **state)
{
    struct nic_rig *b = new_card();
    assert_int_equal(nic_config_read(b, PCI_VENDOR, 4), 0x802910ec);
    in(b, 0x18); /* reset */
    assert_int_equal(in(b, 7) & 0x80, 0x80);
    assert_int_equal(in(b, 0), 0x21);
    assert_int_equal(in(b, 0x0a) << 8 | in(b, 0x0b), 0x5043);
    out(b, 0x0e, 0x49); /* word mode: a byte read takes a word */
    dma(b, 0x08, 0, 32);
    for (unsigned i = 0; i < 6; i++)
        assert_int_equal(in(b, 0x10), "\x52\x54\x00\x12\x34\x56"[i]);
    out(b, 0x0e, 0x48);
    dma(b, 0x08, 26, 6);
    assert_int_equal(in(b, 0x10), 0);
    assert_int_equal(in(b, 0x10), 0);
    assert_int_equal(in(b, 0x10), 0x57);
    nic_rig_free(b);
}

static void memory_through_the_data_port(void **state)
{
    struct nic_rig *b = new_card();
    start(b);
    dma(b, 0x10, 0x4000, 8);
    bus_write(b->r->host.pio, BASE + 0x10, 4, 0x44332211);
    assert_string_equal(rig_trace(b->r), "");
    bus_write(b->r->host.pio, BASE + 0x10, 2, 0x6655);
    bus_write(b->r->host.pio, BASE + 0x10, 2, 0x8877);
    assert_string_equal(rig_trace(b->r), "+0 "); /* remote DMA complete */
    assert_int_equal(in(b, 7), 0x40);
    out(b, 7, 0x40);
    assert_string_equal(rig_trace(b->r), "-0 ");
    dma(b, 0x08, 0x4000, 8);
    assert_int_equal(bus_read(b->r->host.pio, BASE + 0x10, 4), 0x44332211);
    assert_int_equal(bus_read(b->r->host.pio, BASE + 0x10, 4), 0x88776655);
    bus_write(b->r->host.pio, BASE + 0x10, 2, 0xffff); /* nothing is left to write */
    dma(b, 0x08, 0x4000, 2);
    assert_int_equal(bus_read(b->r->host.pio, BASE + 0x10, 2), 0x2211);
    nic_rig_free(b);
}

static void sends(void **state)
{
    struct nic_rig *b = new_card();
    start(b);
    dma(b, 0x10, 0x4000, 100);
    for (unsigned i = 0; i < 100; i += 2)
        bus_write(b->r->host.pio, BASE + 0x10, 2, frame_for_us[i] | frame_for_us[i + 1] << 8);
    out(b, 7, 0x40);
    rig_trace(b->r);
    out(b, 4, 0x40);
    out(b, 5, 100);
    out(b, 6, 0);
    out(b, 0, 0x26);
    assert_int_equal(b->sent_count, 1);
    assert_int_equal(b->sent[0].n, 100);
    assert_memory_equal(b->sent[0].bytes, frame_for_us, 100);
    assert_int_equal(in(b, 0) & 4, 0);
    assert_int_equal(in(b, 4) & 1, 1);
    assert_int_equal(in(b, 7), 2);
    assert_string_equal(rig_trace(b->r), "+0 ");
    nic_rig_free(b);
}

static unsigned current(struct nic_rig *b)
{
    out(b, 0, 0x60); /* without START, as Linux does; the card goes on */
    unsigned page = in(b, 7);
    out(b, 0, 0x20);
    return page;
}

static void receives(void **state)
{
    struct nic_rig *b = new_card();
    uint8_t other[60] = {2, 0, 0, 0, 0, 9};
    start(b);
    assert_true(nic_receive(b, other, 60));
    assert_int_equal(current(b), 0x47);
    assert_true(nic_receive(b, frame_for_us, 100));
    assert_string_equal(rig_trace(b->r), "");
    nic_batch_end(b);
    assert_string_equal(rig_trace(b->r), "+0 ");
    assert_int_equal(current(b), 0x48);
    dma(b, 0x08, 0x4700, 104);
    assert_int_equal(bus_read(b->r->host.pio, BASE + 0x10, 4), 104 << 16 | 0x48 << 8 | 1);
    for (unsigned i = 0; i < 100; i += 4) {
        uint32_t word;
        memcpy(&word, frame_for_us + i, 4);
        assert_int_equal(bus_read(b->r->host.pio, BASE + 0x10, 4), word);
    }
    nic_rig_free(b);
}

/* Linux clears PRX after it has looked for frames. */
static void frames_between_look_and_clear_are_not_lost(void **state)
{
    struct nic_rig *b = new_card();
    start(b);
    nic_receive(b, frame_for_us, 100);
    nic_batch_end(b);
    current(b);
    nic_receive(b, frame_for_us, 100);
    nic_batch_end(b);
    rig_trace(b->r);
    out(b, 7, 1);
    assert_int_equal(in(b, 7), 1);
    current(b);
    out(b, 7, 1);
    assert_int_equal(in(b, 7), 0);
    assert_string_equal(rig_trace(b->r), "-0 ");
    nic_rig_free(b);
}

static void the_ring_wraps_and_fills(void **state)
{
    struct nic_rig *b = new_card();
    static uint8_t f[1514];
    unsigned taken = 0;
    memset(f, 0x5a, sizeof f);
    memcpy(f, frame_for_us, 14);
    start(b);
    while (taken < 20 && nic_receive(b, f, sizeof f))
        taken++;
    assert_int_equal(taken, 9); /* of six pages each, among 57 */
    assert_int_equal(current(b), 0x7d);
    out(b, 3, 0x45); /* in front of the ring: as its last page, so nothing is free */
    assert_false(nic_receive(b, f, sizeof f));
    out(b, 3, 0x46);
    assert_int_equal(b->resumes, 0);
    out(b, 3, 0x5e); /* the driver has read four */
    assert_int_equal(b->resumes, 1);
    assert_true(nic_receive(b, f, sizeof f));
    assert_int_equal(current(b), 0x49);
    dma(b, 0x08, 0x7d00, 1518); /* remote DMA goes round, too */
    assert_int_equal(bus_read(b->r->host.pio, BASE + 0x10, 4), 1518u << 16 | 0x49 << 8 | 1);
    for (unsigned i = 4; i < 1516; i += 4)
        if (i >= 18)
            assert_int_equal(bus_read(b->r->host.pio, BASE + 0x10, 4), 0x5a5a5a5a);
        else
            bus_read(b->r->host.pio, BASE + 0x10, 4);
    nic_rig_free(b);
}

static void hostile_settings(void **state)
{
    struct nic_rig *b = new_card();
    static const uint8_t rings[][4] = {/* PSTART, PSTOP, BNRY, CURR */
                                       {0x46, 0x46, 0x46, 0x46}, {0x80, 0x46, 0x50, 0x50},
                                       {0x00, 0xff, 0x46, 0x46}, {0x46, 0x81, 0x46, 0x47},
                                       {0x46, 0x80, 0x80, 0x47}, {0x46, 0x80, 0x46, 0xff},
                                       {0x3f, 0x80, 0x46, 0x47}, {0x46, 0x47, 0x46, 0x46}};
    for (unsigned i = 0; i < ARRAY_LEN(rings); i++) {
        start(b);
        out(b, 0x00, 0x62);
        out(b, 0x07, rings[i][3]);
        out(b, 0x00, 0x22);
        for (unsigned j = 0; j < 3; j++)
            out(b, 1 + j, rings[i][j]);
        nic_receive(b, frame_for_us, 100);
    }
    start(b);
    out(b, 4, 0xff);
    out(b, 5, 0xff);
    out(b, 6, 0xff);
    out(b, 0, 0x26); /* far outside */
    out(b, 4, 0x7f);
    out(b, 6, 5);
    out(b, 0, 0x26); /* over the end */
    assert_int_equal(b->sent_count, 0);
    assert_int_equal(in(b, 7) & 8, 8);
    dma(b, 0x08, 0xfffe, 0xffff);
    for (unsigned i = 0; i < 100; i++)
        bus_read(b->r->host.pio, BASE + 0x10, 4);
    nic_rig_free(b);
}

/* ---- random ---------------------------------------------------------------------------------- */

static uint64_t poke(struct nic_rig *b, uint64_t random)
{
    uint8_t f[1514] = {0};
    memcpy(f, frame_for_us, 14);
    if (random & 1)
        start(b);
    if (random & 4) {
        out(b, 4, 0x40 + (unsigned)(random >> 8 & 3));
        out(b, 5, (unsigned)(random >> 16));
        out(b, 6, (unsigned)(random >> 24 & 7));
        out(b, 0, 0x26);
    }
    bool taken = nic_receive(b, f, 60 + random % 1454);
    if (random & 2)
        nic_batch_end(b);
    return taken;
}

static uint64_t step(struct nic_rig *b, uint64_t *seed)
{
    uint64_t x = rig_random(seed), y = rig_random(seed);
    unsigned at = (unsigned)(x >> 8) % 32, size = 1u << (x >> 16) % 3;
    if (x % 8 < 3)
        return bus_read(b->r->host.pio, BASE + (at & ~(size - 1)), size);
    if (x % 8 < 7)
        bus_write(b->r->host.pio, BASE + (at & ~(size - 1)), size, y);
    return x % 8 < 7 ? 0 : poke(b, y);
}

static void random_guests_and_twins(void **state)
{
    struct nic_rig *a = new_card();
    uint64_t seed = 9;
    for (unsigned i = 0; i < 200000; i++) {
        step(a, &seed);
        a->r->trace[0] = 0;
        if (i % 1000 != 999)
            continue;
        struct nic_rig *b = new_card();
        rig_copy_state(b->r->d, a->r->d);
        rig_copy_state(b->card, a->card);
        a->r->digest = b->r->digest = a->sent_digest = b->sent_digest = 0;
        uint64_t seed_b = seed;
        for (unsigned j = 0; j < 60; j++) {
            assert_int_equal(step(a, &seed), step(b, &seed_b));
            assert_int_equal(a->sent_digest, b->sent_digest);
            assert_int_equal(a->r->digest, b->r->digest);
            a->r->trace[0] = b->r->trace[0] = 0;
        }
        nic_rig_free(b);
    }
    assert_true(a->sent_count > 100);
    nic_rig_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(identity_and_address),
        cmocka_unit_test(memory_through_the_data_port),
        cmocka_unit_test(sends),
        cmocka_unit_test(receives),
        cmocka_unit_test(frames_between_look_and_clear_are_not_lost),
        cmocka_unit_test(the_ring_wraps_and_fills),
        cmocka_unit_test(hostile_settings),
        cmocka_unit_test(random_guests_and_twins),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
