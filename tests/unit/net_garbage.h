/* SPDX-License-Identifier: MIT */
/* Frames of every kind and size for the user mode network, none of which may reach beyond it. */
#ifndef RING3_TESTS_NET_GARBAGE_H
#define RING3_TESTS_NET_GARBAGE_H

#include "net_rig.h"

static inline bool answers_arp(struct net_rig *r)
{
    uint8_t f[FRAME_ROOM];
    arp_ask(r, HOST_IP);
    for (;;) {
        size_t n = net_rig_next(r, f, sizeof f);
        if (get16(f + 12) == 0x0806 && f[21] == 2 && get32(f + 28) == HOST_IP) {
            assert_true(n >= 60); /* runts are padded */
            return true;
        }
    }
}

static inline uint64_t next_random(uint64_t *seed)
{
    uint64_t z = *seed += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static inline void slirp_garbage(uint64_t seed, unsigned frames)
{
    struct net_rig *r = net_rig_new("user,restrict,ipv6");
    static const unsigned types[] = {0x0800, 0x0806, 0x86dd, 0x88f8, 0x1234};
    static const uint8_t protocols[] = {1, 6, 17, 58, 0, 255};
    static uint8_t f[NET_FRAME_MAX + 1];
    for (unsigned i = 0; i < frames; i++) {
        uint64_t x = next_random(&seed);
        size_t n = x % 16 == 0 ? x >> 8 & 0xffff : (x >> 8) % 200;
        for (size_t j = 0; j < n; j++)
            f[j] = (uint8_t)(next_random(&seed) >> 9);
        if (n >= 14 && x >> 60)
            put16(f + 12, types[(x >> 32) % ARRAY_LEN(types)]);
        if (n >= L4_AT && x >> 61) {
            f[IP_AT] = 0x45;
            f[IP_AT + 9] = protocols[(x >> 40) % ARRAY_LEN(protocols)];
            put16(f + IP_AT + 2, (unsigned)(n - IP_AT) + (x >> 48 & 1));
            put16(f + IP_AT + 6, x >> 49 & 1 ? (unsigned)(x >> 50) & 0xffff : 0); /* fragments */
            put32(f + IP_AT + 16, x >> 47 & 1 ? HOST_IP : (uint32_t)(x >> 20));
            put16(f + IP_AT + 10, 0);
            put16(f + IP_AT + 10, fold16(sum16(f + IP_AT, 20, 0)));
        }
        net_rig_send(r, f, n);
        if (i % 32 == 31) /* the other side keeps up: nothing was dropped */
            assert_true(answers_arp(r));
    }
    net_rig_send(r, f, sizeof f); /* longer than any */
    net_rig_send(r, f, 0);
    assert_true(answers_arp(r));
    net_rig_free(r);
}

#endif
