/* SPDX-License-Identifier: MIT */
/* ne2k as the DP8390 data sheet and Linux' ne2k-pci have it, and as a hostile guest does. */
#include "ne2k_fuzz.h"

static void dma(struct nic_rig *b, unsigned command, unsigned at, unsigned n)
{
    ne2k_out(b, 0x0a, n);
    ne2k_out(b, 0x0b, n >> 8);
    ne2k_out(b, 0x08, at);
    ne2k_out(b, 0x09, at >> 8);
    ne2k_out(b, 0x00, command | 2);
}

static void identity_and_address(void **state)
{
    struct nic_rig *b = ne2k_new_card();
    assert_int_equal(nic_config_read(b, PCI_VENDOR, 4), 0x802910ec);
    ne2k_in(b, 0x18); /* reset */
    assert_int_equal(ne2k_in(b, 7) & 0x80, 0x80);
    assert_int_equal(ne2k_in(b, 0), 0x21);
    assert_int_equal(ne2k_in(b, 0x0a) << 8 | ne2k_in(b, 0x0b), 0x5043);
    ne2k_out(b, 0x0e, 0x49); /* word mode: a byte read takes a word */
    dma(b, 0x08, 0, 32);
    for (unsigned i = 0; i < 6; i++)
        assert_int_equal(ne2k_in(b, 0x10), "\x52\x54\x00\x12\x34\x56"[i]);
    ne2k_out(b, 0x0e, 0x48);
    dma(b, 0x08, 26, 6);
    assert_int_equal(ne2k_in(b, 0x10), 0);
    assert_int_equal(ne2k_in(b, 0x10), 0);
    assert_int_equal(ne2k_in(b, 0x10), 0x57);
    nic_rig_free(b);
}

static void memory_through_the_data_port(void **state)
{
    struct nic_rig *b = ne2k_new_card();
    ne2k_start(b);
    dma(b, 0x10, 0x4000, 8);
    bus_write(b->r->host.pio, NE2K_PORTS + 0x10, 4, 0x44332211);
    assert_string_equal(rig_trace(b->r), "");
    bus_write(b->r->host.pio, NE2K_PORTS + 0x10, 2, 0x6655);
    bus_write(b->r->host.pio, NE2K_PORTS + 0x10, 2, 0x8877);
    assert_string_equal(rig_trace(b->r), "+0 "); /* remote DMA complete */
    assert_int_equal(ne2k_in(b, 7), 0x40);
    ne2k_out(b, 7, 0x40);
    assert_string_equal(rig_trace(b->r), "-0 ");
    dma(b, 0x08, 0x4000, 8);
    assert_int_equal(bus_read(b->r->host.pio, NE2K_PORTS + 0x10, 4), 0x44332211);
    assert_int_equal(bus_read(b->r->host.pio, NE2K_PORTS + 0x10, 4), 0x88776655);
    bus_write(b->r->host.pio, NE2K_PORTS + 0x10, 2, 0xffff); /* nothing is left to write */
    dma(b, 0x08, 0x4000, 2);
    assert_int_equal(bus_read(b->r->host.pio, NE2K_PORTS + 0x10, 2), 0x2211);
    nic_rig_free(b);
}

static void sends(void **state)
{
    struct nic_rig *b = ne2k_new_card();
    ne2k_start(b);
    dma(b, 0x10, 0x4000, 100);
    for (unsigned i = 0; i < 100; i += 2)
        bus_write(b->r->host.pio, NE2K_PORTS + 0x10, 2, ne2k_frame[i] | ne2k_frame[i + 1] << 8);
    ne2k_out(b, 7, 0x40);
    rig_trace(b->r);
    ne2k_out(b, 4, 0x40);
    ne2k_out(b, 5, 100);
    ne2k_out(b, 6, 0);
    ne2k_out(b, 0, 0x26);
    assert_int_equal(b->sent_count, 1);
    assert_int_equal(b->sent[0].n, 100);
    assert_memory_equal(b->sent[0].bytes, ne2k_frame, 100);
    assert_int_equal(ne2k_in(b, 0) & 4, 0);
    assert_int_equal(ne2k_in(b, 4) & 1, 1);
    assert_int_equal(ne2k_in(b, 7), 2);
    assert_string_equal(rig_trace(b->r), "+0 ");
    nic_rig_free(b);
}

static unsigned current(struct nic_rig *b)
{
    ne2k_out(b, 0, 0x60); /* without START, as Linux does; the card goes on */
    unsigned page = ne2k_in(b, 7);
    ne2k_out(b, 0, 0x20);
    return page;
}

static void receives(void **state)
{
    struct nic_rig *b = ne2k_new_card();
    uint8_t other[60] = {2, 0, 0, 0, 0, 9};
    ne2k_start(b);
    assert_true(nic_receive(b, other, 60));
    assert_int_equal(current(b), 0x47);
    assert_true(nic_receive(b, ne2k_frame, 100));
    assert_string_equal(rig_trace(b->r), "");
    nic_batch_end(b);
    assert_string_equal(rig_trace(b->r), "+0 ");
    assert_int_equal(current(b), 0x48);
    dma(b, 0x08, 0x4700, 104);
    assert_int_equal(bus_read(b->r->host.pio, NE2K_PORTS + 0x10, 4), 104 << 16 | 0x48 << 8 | 1);
    for (unsigned i = 0; i < 100; i += 4) {
        uint32_t word;
        memcpy(&word, ne2k_frame + i, 4);
        assert_int_equal(bus_read(b->r->host.pio, NE2K_PORTS + 0x10, 4), word);
    }
    nic_rig_free(b);
}

/* Linux clears PRX after it has looked for frames. */
static void frames_between_look_and_clear_are_not_lost(void **state)
{
    struct nic_rig *b = ne2k_new_card();
    ne2k_start(b);
    nic_receive(b, ne2k_frame, 100);
    nic_batch_end(b);
    current(b);
    nic_receive(b, ne2k_frame, 100);
    nic_batch_end(b);
    rig_trace(b->r);
    ne2k_out(b, 7, 1);
    assert_int_equal(ne2k_in(b, 7), 1);
    current(b);
    ne2k_out(b, 7, 1);
    assert_int_equal(ne2k_in(b, 7), 0);
    assert_string_equal(rig_trace(b->r), "-0 ");
    nic_rig_free(b);
}

static void the_ring_wraps_and_fills(void **state)
{
    struct nic_rig *b = ne2k_new_card();
    static uint8_t f[1514];
    unsigned taken = 0;
    memset(f, 0x5a, sizeof f);
    memcpy(f, ne2k_frame, 14);
    ne2k_start(b);
    while (taken < 20 && nic_receive(b, f, sizeof f))
        taken++;
    assert_int_equal(taken, 9); /* of six pages each, among 57 */
    assert_int_equal(current(b), 0x7d);
    ne2k_out(b, 3, 0x45); /* in front of the ring: as its last page, so nothing is free */
    assert_false(nic_receive(b, f, sizeof f));
    ne2k_out(b, 3, 0x46);
    assert_int_equal(b->resumes, 0);
    ne2k_out(b, 3, 0x5e); /* the driver has read four */
    assert_int_equal(b->resumes, 1);
    assert_true(nic_receive(b, f, sizeof f));
    assert_int_equal(current(b), 0x49);
    dma(b, 0x08, 0x7d00, 1518); /* remote DMA goes round, too */
    assert_int_equal(bus_read(b->r->host.pio, NE2K_PORTS + 0x10, 4), 1518u << 16 | 0x49 << 8 | 1);
    for (unsigned i = 4; i < 1516; i += 4)
        if (i >= 18)
            assert_int_equal(bus_read(b->r->host.pio, NE2K_PORTS + 0x10, 4), 0x5a5a5a5a);
        else
            bus_read(b->r->host.pio, NE2K_PORTS + 0x10, 4);
    nic_rig_free(b);
}

static void hostile_settings(void **state)
{
    struct nic_rig *b = ne2k_new_card();
    static const uint8_t rings[][4] = {/* PSTART, PSTOP, BNRY, CURR */
                                       {0x46, 0x46, 0x46, 0x46}, {0x80, 0x46, 0x50, 0x50},
                                       {0x00, 0xff, 0x46, 0x46}, {0x46, 0x81, 0x46, 0x47},
                                       {0x46, 0x80, 0x80, 0x47}, {0x46, 0x80, 0x46, 0xff},
                                       {0x3f, 0x80, 0x46, 0x47}, {0x46, 0x47, 0x46, 0x46}};
    for (unsigned i = 0; i < ARRAY_LEN(rings); i++) {
        ne2k_start(b);
        ne2k_out(b, 0x00, 0x62);
        ne2k_out(b, 0x07, rings[i][3]);
        ne2k_out(b, 0x00, 0x22);
        for (unsigned j = 0; j < 3; j++)
            ne2k_out(b, 1 + j, rings[i][j]);
        nic_receive(b, ne2k_frame, 100);
    }
    ne2k_start(b);
    ne2k_out(b, 4, 0xff);
    ne2k_out(b, 5, 0xff);
    ne2k_out(b, 6, 0xff);
    ne2k_out(b, 0, 0x26); /* far outside */
    ne2k_out(b, 4, 0x7f);
    ne2k_out(b, 6, 5);
    ne2k_out(b, 0, 0x26); /* over the end */
    assert_int_equal(b->sent_count, 0);
    assert_int_equal(ne2k_in(b, 7) & 8, 8);
    dma(b, 0x08, 0xfffe, 0xffff);
    for (unsigned i = 0; i < 100; i++)
        bus_read(b->r->host.pio, NE2K_PORTS + 0x10, 4);
    nic_rig_free(b);
}

static void random_guests_and_twins(void **state)
{
    ne2k_fuzz(9, 200000);
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
