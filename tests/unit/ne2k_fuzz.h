/* SPDX-License-Identifier: MIT */
/* Random guests of the ne2k, and what its tests share. */
#ifndef RING3_TESTS_NE2K_FUZZ_H
#define RING3_TESTS_NE2K_FUZZ_H

#include "nic_rig.h"

#define NE2K_PORTS 0xc000u

static const uint8_t ne2k_frame[100] = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56, 2,
                                        0,    0,    0,    0,    1,    0x12, 0x34};

static inline void ne2k_out(struct nic_rig *b, unsigned at, unsigned value)
{
    out8(b->r, NE2K_PORTS + at, value);
}
static inline unsigned ne2k_in(struct nic_rig *b, unsigned at)
{
    return in8(b->r, NE2K_PORTS + at);
}

static inline struct nic_rig *ne2k_new_card(void)
{
    struct nic_rig *b = nic_rig_new(ne2k_new, 0);
    nic_config(b, PCI_BAR0, 4, NE2K_PORTS);
    nic_config(b, PCI_COMMAND, 2, 1);
    return b;
}

/* Ring 0x46 to 0x80, send buffer at 0x40, all interrupts. */
static inline void ne2k_start(struct nic_rig *b)
{
    ne2k_out(b, 0x00, 0x21);
    ne2k_out(b, 0x0e, 0x49);
    ne2k_out(b, 0x0c, 0x04);
    ne2k_out(b, 0x0d, 0);
    ne2k_out(b, 0x01, 0x46);
    ne2k_out(b, 0x02, 0x80);
    ne2k_out(b, 0x03, 0x46);
    ne2k_out(b, 0x07, 0xff);
    ne2k_out(b, 0x0f, 0x7f);
    ne2k_out(b, 0x00, 0x61);
    ne2k_out(b, 0x07, 0x47);
    ne2k_out(b, 0x00, 0x22);
    rig_trace(b->r);
}

static inline uint64_t ne2k_poke(struct nic_rig *b, uint64_t random)
{
    uint8_t f[1514] = {0};
    memcpy(f, ne2k_frame, 14);
    if (random & 1)
        ne2k_start(b);
    if (random & 4) {
        ne2k_out(b, 4, 0x40 + (unsigned)(random >> 8 & 3));
        ne2k_out(b, 5, (unsigned)(random >> 16));
        ne2k_out(b, 6, (unsigned)(random >> 24 & 7));
        ne2k_out(b, 0, 0x26);
    }
    bool taken = nic_receive(b, f, 60 + random % 1454);
    if (random & 2)
        nic_batch_end(b);
    return taken;
}

static inline uint64_t ne2k_step(struct nic_rig *b, uint64_t *seed)
{
    uint64_t x = rig_random(seed), y = rig_random(seed);
    unsigned at = (unsigned)(x >> 8) % 32, size = 1u << (x >> 16) % 3;
    if (x % 8 < 3)
        return bus_read(b->r->host.pio, NE2K_PORTS + (at & ~(size - 1)), size);
    if (x % 8 < 7)
        bus_write(b->r->host.pio, NE2K_PORTS + (at & ~(size - 1)), size, y);
    return x % 8 < 7 ? 0 : ne2k_poke(b, y);
}

static inline void ne2k_fuzz(uint64_t seed, unsigned steps)
{
    struct nic_rig *a = ne2k_new_card();
    for (unsigned i = 0; i < steps; i++) {
        ne2k_step(a, &seed);
        a->r->trace[0] = 0;
        if (i % 1000 != 999)
            continue;
        struct nic_rig *b = ne2k_new_card();
        rig_copy_state(b->r->d, a->r->d);
        rig_copy_state(b->card, a->card);
        a->r->digest = b->r->digest = a->sent_digest = b->sent_digest = 0;
        uint64_t seed_b = seed;
        for (unsigned j = 0; j < 60; j++) {
            assert_int_equal(ne2k_step(a, &seed), ne2k_step(b, &seed_b));
            assert_int_equal(a->sent_digest, b->sent_digest);
            assert_int_equal(a->r->digest, b->r->digest);
            a->r->trace[0] = b->r->trace[0] = 0;
        }
        nic_rig_free(b);
    }
    assert_true(a->sent_count > steps / 2000);
    nic_rig_free(a);
}

#endif
