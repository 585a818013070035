/* SPDX-License-Identifier: MIT */
/* rtl8139 in C+ mode (data sheet RTL8139C+, 6.33 to 6.36 and 9): rings of descriptors in the
 * guest's memory, with checksums, VLAN tags and segmentation done by the chip.
 *
 *   sending    31  30  29 28 27    26   19 18   17    16   15          0   next word: 17 TAGC
 *              OWN EOR FS LS LGSEN  (MSS)  IPCS UDPCS TCPCS length                    15-0 tag
 *   receiving  31  30  29 28       26-24   17-16 15  14   13   12       0   next word: 16 TAVA
 *              OWN EOR FS LS       MAR PAM BAR PID IPF UDPF TCPF length               15-0 tag
 *
 * then 64 bits of address. In a new receive descriptor the length is that of the buffer. Tags are
 * stored with their bytes exchanged. The driver names the queue to send from in TPPoll.
 *
 * TX_BUDGET descriptors at most are carried out at once; the timer goes on. The interrupt for
 * frames sent may wait LATE_NS or until UNSAID_MOST frames are sent, or comes with another one.
 * Left out: transmit thresholds, error counters. */
#include "rtl8139.h"

#include <string.h>

#include "ring3/net_offload.h"

#define TX_BUDGET   512
#define LATE_NS     (200 * 1000)
#define UNSAID_MOST 24
#define RING_MOST   64 /* descriptors; then the ring goes back to its start */
#define TAG_BYTES   4

enum {
    D_OWN = 1u << 31,
    D_EOR = 1 << 30,
    D_FS = 1 << 29,
    D_LS = 1 << 28,
    TX_LARGE = 1 << 27,
    TX_IPCS = 1 << 18,
    TX_UDPCS = 1 << 17,
    TX_TCPCS = 1 << 16,
    RX_TCP = 1 << 16,
    RX_UDP = 2 << 16,
    RX_IP = 3 << 16,
    RX_IPF = 1 << 15,
    RX_UDPF = 1 << 14,
    RX_TCPF = 1 << 13,
};
#define TX_LEN    0xffffu
#define RX_LEN    0x1fffu
#define TX_TAGGED (1u << 17)
#define RX_TAGGED (1u << 16)
#define MSS_MASK  0x7ffu

struct descriptor {
    uint32_t flags, vlan;
    uint64_t address;
};

void rtl_cp_reset(struct rtl8139 *s)
{
    s->tx_index[0] = s->tx_index[1] = s->rx_index = 0;
    s->tx_len = s->tx_drop = s->tx_unsaid = 0;
    s->tx_at_ns = TIMER_NEVER;
}

static uint64_t descriptor_at(const struct rtl8139 *s, unsigned base, uint32_t index)
{
    return ((uint64_t)rtl_get32(s, base + 4) << 32 | (rtl_get32(s, base) & ~0xffu)) + 16 * index;
}

static uint32_t following(uint32_t index, uint32_t flags)
{
    return flags & D_EOR || index + 1 >= RING_MOST ? 0 : index + 1;
}

/* ---- sending --------------------------------------------------------------------------------- */

/* Offsets of a frame with IPv4, as the chip finds them by itself. False: it is none. */
static bool find_headers(const struct rtl8139 *s, struct net_tso *t)
{
    const uint8_t *f = s->tx_frame;
    size_t ip = f[12] == 0x81 && f[13] == 0x00 ? NET_FRAME_MIN + TAG_BYTES : NET_FRAME_MIN;
    if (s->tx_len < ip + 20 || f[ip - 2] != 0x08 || f[ip - 1] != 0x00 || f[ip] >> 4 != 4)
        return false;
    *t = (struct net_tso){.ip_at = ip, .tcp_at = ip + 4u * (f[ip] & 15)};
    if (t->tcp_at < ip + 20 || s->tx_len < t->tcp_at + 8)
        return false;
    bool tcp = f[ip + 9] == 6 && s->tx_len >= t->tcp_at + 20;
    t->headers = t->tcp_at + (tcp ? 4u * (f[t->tcp_at + 12] >> 4) : 8);
    return true;
}

static void insert_checksums(struct rtl8139 *s, uint32_t flags)
{
    struct net_tso t;
    if (!find_headers(s, &t))
        return;
    uint8_t *ip = s->tx_frame + t.ip_at;
    size_t end = t.ip_at + (size_t)(ip[2] << 8 | ip[3]);
    if (flags & TX_IPCS) {
        ip[10] = ip[11] = 0;
        net_checksum(s->tx_frame, s->tx_len, t.ip_at, t.tcp_at, t.ip_at + 10);
    }
    unsigned field = flags & TX_TCPCS ? 16 : 6;
    if (!(flags & (TX_TCPCS | TX_UDPCS)) || end < t.tcp_at + field + 2 || end > s->tx_len)
        return;
    uint8_t *sum = s->tx_frame + t.tcp_at + field;
    uint32_t pseudo = net_sum(ip + 12, 8, ip[9] + (uint32_t)(end - t.tcp_at));
    sum[0] = sum[1] = 0;
    uint16_t x = net_sum_finish(net_sum(s->tx_frame + t.tcp_at, end - t.tcp_at, pseudo));
    sum[0] = (uint8_t)(x >> 8);
    sum[1] = (uint8_t)x;
}

static void insert_tag(struct rtl8139 *s, uint32_t vlan)
{
    uint8_t *p = s->tx_frame + 12;
    if (!(vlan & TX_TAGGED) || s->tx_len + TAG_BYTES > sizeof s->tx_frame)
        return;
    memmove(p + TAG_BYTES, p, s->tx_len - 12);
    p[0] = 0x81;
    p[1] = 0x00;
    p[2] = (uint8_t)vlan;
    p[3] = (uint8_t)(vlan >> 8);
    s->tx_len += TAG_BYTES;
}

static bool send_frame(struct rtl8139 *s, const struct descriptor *last)
{
    struct net_tso t;
    if (s->tx_drop || s->tx_len < NET_FRAME_MIN)
        return false;
    if (rtl_loopback(s))
        return true;
    insert_tag(s, last->vlan);
    if (last->flags & TX_LARGE) {
        t.mss = last->flags >> 16 & MSS_MASK;
        size_t mss = t.mss;
        if (!find_headers(s, &t))
            return false;
        t.mss = mss;
        return netdev_send_tso(s->net, s->tx_frame, s->tx_len, &t) || !s->net;
    }
    insert_checksums(s, last->flags);
    struct iovec iov = {s->tx_frame, s->tx_len};
    netdev_send(s->net, &iov, 1);
    return true;
}

static void carry_out(struct rtl8139 *s, const struct descriptor *d)
{
    uint32_t n = d->flags & TX_LEN;
    if (d->flags & D_FS)
        s->tx_len = s->tx_drop = 0;
    if (n > sizeof s->tx_frame - s->tx_len || s->tx_drop ||
        (n && phys_read(s->h.mem, d->address, s->tx_frame + s->tx_len, n) < 0))
        s->tx_drop = 1;
    else
        s->tx_len += n;
    if (!(d->flags & D_LS))
        return;
    if (send_frame(s, d))
        s->sent++;
    else
        log_guest(s->h.log, &s->limit, "rtl8139-tx", "guest sent a malformed frame: dropped");
    s->tx_len = s->tx_drop = 0;
    s->tx_unsaid += s->tx_unsaid < UINT8_MAX;
}

/* One queue; returns the budget that is left. */
static unsigned run_queue(struct rtl8139 *s, unsigned queue, unsigned base, unsigned budget)
{
    while (budget) {
        struct descriptor d;
        uint64_t at = descriptor_at(s, base, s->tx_index[queue]);
        if (phys_read(s->h.mem, at, &d, sizeof d) < 0 || !(d.flags & D_OWN))
            break;
        carry_out(s, &d);
        s->tx_index[queue] = following(s->tx_index[queue], d.flags);
        d.flags &= D_EOR | D_FS | D_LS | TX_LEN; /* no OWN, no errors */
        if (phys_write(s->h.mem, at, &d.flags, sizeof d.flags) < 0)
            break;
        budget--;
    }
    return budget;
}

void rtl_cp_transmit(struct rtl8139 *s)
{
    if (!rtl_cp_tx(s) || !(s->reg[R_CR] & CR_TE) || !s->master)
        return;
    unsigned budget = run_queue(s, 1, R_THPDS, rtl_get32(s, R_THPDS) ? TX_BUDGET : 0);
    budget = run_queue(s, 0, R_TNPDS, rtl_get32(s, R_THPDS) ? budget : TX_BUDGET);
    uint64_t now = clock_now_ns(s->h.clock);
    if (!budget)
        s->tx_at_ns = now;
    else if (s->tx_unsaid >= UNSAID_MOST)
        rtl_cause(s, ISR_TOK | ISR_TDU);
    else if (s->tx_unsaid && s->tx_at_ns == TIMER_NEVER)
        s->tx_at_ns = now + LATE_NS;
    if (s->tx_at_ns != TIMER_NEVER)
        timer_set(&s->tx_timer, s->tx_at_ns);
}

void rtl_cp_timer(void *opaque)
{
    struct rtl8139 *s = opaque;
    pthread_mutex_lock(&s->lock);
    if (s->tx_at_ns <= clock_now_ns(s->h.clock)) {
        s->tx_at_ns = TIMER_NEVER;
        if (s->tx_unsaid)
            rtl_cause(s, ISR_TOK | ISR_TDU);
        rtl_cp_transmit(s);
    }
    pthread_mutex_unlock(&s->lock);
}

/* ---- receiving ------------------------------------------------------------------------------- */

static uint32_t checksum_flags(const struct rtl8139 *s, const uint8_t *frame, size_t n)
{
    if (!(s->reg[R_CPCR] & CPCR_RXCSUM))
        return 0;
    unsigned known = net_checksum_verify(frame, n);
    uint32_t flags = known & NET_IP_BAD ? RX_IPF : 0;
    if (!(known & NET_IP_CHECKED))
        return 0;
    if (!(known & NET_L4_CHECKED))
        return flags | RX_IP;
    bool udp = known & NET_L4_UDP, bad = known & NET_L4_BAD;
    return flags | (udp ? RX_UDP | (bad ? RX_UDPF : 0) : RX_TCP | (bad ? RX_TCPF : 0));
}

static bool next_free(const struct rtl8139 *s, uint32_t index, struct descriptor *d)
{
    return phys_read(s->h.mem, descriptor_at(s, R_RDSAR, index), d, sizeof *d) == 0 &&
           (d->flags & D_OWN) && (d->flags & RX_LEN);
}

bool rtl_cp_room(const struct rtl8139 *s)
{
    struct descriptor d;
    return next_free(s, s->rx_index, &d);
}

/* The free descriptors that `left` bytes take; 0 if there are not enough. */
static unsigned find_buffers(const struct rtl8139 *s, size_t left, struct descriptor *d)
{
    uint32_t index = s->rx_index;
    for (unsigned i = 0; i < RING_MOST; i++) {
        if (!next_free(s, index, &d[i]))
            return 0;
        uint32_t size = d[i].flags & RX_LEN;
        if (size >= left)
            return i + 1;
        left -= size;
        index = following(index, d[i].flags);
    }
    return 0;
}

bool rtl_cp_store(struct rtl8139 *s, const uint8_t *frame, size_t n, unsigned how)
{
    struct descriptor d[RING_MOST];
    uint8_t bytes[RX_LEN];
    if (n + RTL_CRC > sizeof bytes)
        return true; /* too long for this chip */
    uint32_t tag = 0, flags = checksum_flags(s, frame, n) | how << 11;
    memcpy(bytes, frame, n);
    if ((s->reg[R_CPCR] & CPCR_VLAN) && frame[12] == 0x81 && frame[13] == 0 && n >= 18) {
        tag = RX_TAGGED | (uint32_t)(frame[14] | frame[15] << 8);
        n -= TAG_BYTES;
        memmove(bytes + 12, bytes + 12 + TAG_BYTES, n - 12);
    }
    memset(bytes + n, 0, RTL_CRC);
    size_t all = n + RTL_CRC, done = 0;
    unsigned count = find_buffers(s, all, d);
    for (unsigned i = 0; i < count; i++) {
        uint32_t size = d[i].flags & RX_LEN, part = (uint32_t)(all - done);
        part = part < size ? part : size;
        phys_write(s->h.mem, d[i].address, bytes + done, part);
        done += part;
        uint64_t at = descriptor_at(s, R_RDSAR, s->rx_index);
        s->rx_index = following(s->rx_index, d[i].flags);
        d[i].flags = (d[i].flags & D_EOR) | flags | (uint32_t)(i ? part : all) | (i ? 0 : D_FS) |
                     (i + 1 == count ? D_LS : 0);
        d[i].vlan = tag;
        phys_write(s->h.mem, at, &d[i], sizeof d[i]);
    }
    return count > 0;
}

/* ---- counters -------------------------------------------------------------------------------- */

void rtl_cp_dump(struct rtl8139 *s)
{
    uint64_t counters[8] = {s->sent, s->received};
    uint64_t at = (uint64_t)rtl_get32(s, R_DTCCR + 4) << 32 | (rtl_get32(s, R_DTCCR) & ~63u);
    if (s->master)
        phys_write(s->h.mem, at, counters, sizeof counters);
}
