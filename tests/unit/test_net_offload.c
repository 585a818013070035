/* SPDX-License-Identifier: MIT */
/* backend/net_offload.c: sums against the definition, segments against what a receiver checks. */
#include "net_rig.h"

#include "ring3/net_offload.h"

static void sums_are_those_of_rfc_1071(void **state)
{
    /* The example of RFC 1071, section 3. */
    static const uint8_t example[] = {0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};
    assert_int_equal(net_sum_finish(net_sum(example, 8, 0)), (uint16_t)~0xddf2);
    uint8_t bytes[1000];
    for (unsigned i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 37 + (i >> 3));
    for (unsigned n = 0; n < 300; n++)
        for (unsigned at = 0; at < 9; at++)
            assert_int_equal(net_sum_finish(net_sum(bytes + at, n, 0x1234)),
                             fold16(sum16(bytes + at, n, 0x1234)));
    uint8_t *ones = malloc(65536);
    memset(ones, 0xff, 65536);
    assert_int_equal(net_sum_finish(net_sum(ones, 65536, 0)), 0);
    free(ones);
}

static void checksums_stay_inside(void **state)
{
    uint8_t f[64] = {0};
    assert_false(net_checksum(f, 64, 14, 65, 20));
    assert_false(net_checksum(f, 64, 34, 30, 32));
    assert_false(net_checksum(f, 64, 34, 64, 63));
    assert_false(net_checksum(f, 64, 34, 64, 20));
    f[34] = 0x12;
    assert_true(net_checksum(f, 64, 34, 64, 62));
    assert_int_equal(get16(f + 62), 0xedff);
}

/* ---- segments -------------------------------------------------------------------------------- */

struct sink {
    struct netdev net;
    uint8_t data[70000];
    size_t len, frames, longest;
    uint32_t next_seq;
    unsigned flags[64], id[64];
    bool ipv6;
};

static void sink_send(struct netdev *n, const struct iovec *iov, unsigned count)
{
    struct sink *s = container_of(n, struct sink, net);
    uint8_t f[NET_FRAME_MAX];
    size_t len = 0, at = s->ipv6 ? 54 : 34;
    for (unsigned i = 0; i < count; i++) {
        memcpy(f + len, iov[i].iov_base, iov[i].iov_len);
        len += iov[i].iov_len;
    }
    unsigned known = net_checksum_verify(f, len);
    assert_int_equal(known, NET_L4_CHECKED | (s->ipv6 ? 0 : NET_IP_CHECKED));
    assert_int_equal(get32(f + at + 4), s->next_seq);
    s->flags[s->frames] = f[at + 13];
    s->id[s->frames] = get16(f + 18);
    memcpy(s->data + s->len, f + at + 20, len - at - 20);
    s->len += len - at - 20;
    s->next_seq += (uint32_t)(len - at - 20);
    s->longest = len > s->longest ? len : s->longest;
    s->frames++;
}

static const struct netdev_ops sink_ops = {.send = sink_send};

/* A large segment with `data` bytes; returns its length. */
static size_t large_segment(uint8_t *f, size_t data, bool ipv6)
{
    size_t at = ipv6 ? 54 : 34;
    memset(f, 0, at + 20);
    ethernet(f, ipv6 ? 0x86dd : 0x0800);
    if (ipv6) {
        f[14] = 0x60;
        f[20] = 6;
        for (unsigned i = 0; i < 32; i++)
            f[22 + i] = (uint8_t)(i + 1);
    } else {
        f[14] = 0x45;
        put16(f + 18, 0xfffe); /* identification wraps */
        f[23] = 6;
        put32(f + 26, GUEST_IP);
        put32(f + 30, HOST_IP);
    }
    put16(f + at, 1000);
    put32(f + at + 4, 0xfffffff0);
    f[at + 12] = 0x50;
    f[at + 13] = 0x99; /* CWR, ACK, PSH, FIN */
    for (size_t i = 0; i < data; i++)
        f[at + 20 + i] = (uint8_t)(i * 13 + (i >> 8));
    return at + 20 + data;
}

static void cut(bool ipv6, size_t data, size_t max_frame, size_t frames)
{
    static struct sink s;
    static uint8_t f[70000];
    memset(&s, 0, sizeof s);
    s.net = (struct netdev){.ops = &sink_ops, .max_frame = (uint32_t)max_frame};
    s.ipv6 = ipv6;
    s.next_seq = 0xfffffff0;
    size_t n = large_segment(f, data, ipv6), at = ipv6 ? 54 : 34;
    struct net_tso t = {.ip_at = 14, .tcp_at = at, .headers = at + 20, .mss = 1440, .ipv6 = ipv6};
    assert_true(netdev_send_tso(&s.net, f, n, &t));
    assert_int_equal(s.frames, frames);
    assert_int_equal(s.len, data);
    assert_memory_equal(s.data, f + at + 20, data);
    for (size_t i = 0; i < frames; i++) {
        bool last = i + 1 == frames;
        assert_int_equal(s.flags[i], 0x10 | (i ? 0 : 0x80) | (last ? 0x09 : 0));
        if (!ipv6)
            assert_int_equal(s.id[i], (0xfffe + i) & 0xffff);
    }
}

static void segments_are_cut_or_stay_whole(void **state)
{
    cut(false, 20000, 1514, 14);
    cut(true, 20000, 1514, 14);
    cut(false, 1440 * 3, 1514, 3);
    cut(false, 1, 1514, 1);
    cut(false, 0, 1514, 1);
    cut(false, 20000, NET_FRAME_MAX, 1);
    cut(true, 60000, NET_FRAME_MAX, 1);
    cut(false, 65536 - 40, NET_FRAME_MAX, 46); /* longer than IPv4 can say */
}

static void senseless_segments_are_refused(void **state)
{
    static struct sink s;
    static uint8_t f[70000];
    s.net = (struct netdev){.ops = &sink_ops, .max_frame = 1514};
    size_t n = large_segment(f, 3000, false);
    static const struct net_tso bad[] = {
        {14, 34, 54, 0, false},    {0, 34, 54, 1440, false},   {14, 33, 54, 1440, false},
        {14, 34, 53, 1440, false}, {14, 34, 300, 1440, false}, {14, 34, 54, 1440, true},
        {40, 34, 54, 1440, false},
    };
    for (unsigned i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(netdev_send_tso(&s.net, f, n, &bad[i]));
    struct net_tso t = {14, 34, 54, 1440, false};
    assert_false(netdev_send_tso(&s.net, f, 50, &t));
    assert_false(netdev_send_tso(&s.net, f, NET_FRAME_MAX + 1, &t));
    assert_false(netdev_send_tso(NULL, f, n, &t));
    assert_int_equal(s.frames, 0);
}

/* ---- verification ---------------------------------------------------------------------------- */

static void verification(void **state)
{
    uint8_t f[FRAME_ROOM] = {0};
    size_t n = udp_frame(f, GUEST_IP, 1, HOST_IP, 2, "hello", 5);
    unsigned good = NET_IP_CHECKED | NET_L4_CHECKED | NET_L4_UDP;
    assert_int_equal(net_checksum_verify(f, n), good);
    assert_int_equal(net_checksum_verify(f, n + 10), good); /* padding does not count */
    f[UDP_DATA] ^= 1;
    assert_int_equal(net_checksum_verify(f, n), good | NET_L4_BAD);
    put16(f + L4_AT + 6, 0); /* UDP without a checksum */
    assert_int_equal(net_checksum_verify(f, n), NET_IP_CHECKED);
    f[IP_AT + 8] ^= 1;
    assert_int_equal(net_checksum_verify(f, n), NET_IP_CHECKED | NET_IP_BAD);
    n = udp_frame(f, GUEST_IP, 1, HOST_IP, 2, "hello", 5);
    memmove(f + 16, f + 12, n - 12);
    put16(f + 12, 0x8100);
    assert_int_equal(net_checksum_verify(f, n + 4), good); /* behind a VLAN tag */
    for (size_t i = 0; i < n; i++)                         /* cut anywhere: no reading beyond */
        net_checksum_verify(f, i);
    ethernet(f, 0x0806);
    assert_int_equal(net_checksum_verify(f, n), 0);
}

static void multicast_hash(void **state)
{
    /* The CRC-32 of Ethernet, bits reversed: 0x7fa32d9b, 0xff48647d, 0xf99baaba by zlib. */
    static const uint8_t all_hosts[6] = {0x01, 0x00, 0x5e, 0, 0, 1},
                         all[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    assert_int_equal(net_multicast_hash(all_hosts), 0x1f);
    static const uint8_t all_nodes[6] = {0x33, 0x33, 0, 0, 0, 1};
    assert_int_equal(net_multicast_hash(all), 0x3f);
    assert_int_equal(net_multicast_hash(all_nodes), 0x3e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_are_those_of_rfc_1071),
        cmocka_unit_test(checksums_stay_inside),
        cmocka_unit_test(segments_are_cut_or_stay_whole),
        cmocka_unit_test(senseless_segments_are_refused),
        cmocka_unit_test(verification),
        cmocka_unit_test(multicast_hash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
