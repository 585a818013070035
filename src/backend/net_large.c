/* SPDX-License-Identifier: MIT */
/* Large frames between libslirp and a card, which save work on both sides: what segmentation
 * offload is for sending, for receiving.
 *
 * libslirp sends TCP segments as long as the guest said it takes, in the MSS option of its SYN (RFC
 * 9293, 3.7.1). That option is made LARGE_MSS on the way. A segment that comes back goes to the
 * card whole if its driver takes such ones (virtio-net with GUEST_TSO4), else it is cut here to
 * what the guest had said. Larger datagrams of other protocols become fragments (RFC 791).
 *
 * One MSS is kept, the smallest that the guest named: connections differ in it only if the
 * guest wants them to. Left out: IPv6, VLAN tags. */
#include "net_large.h"

#include <string.h>

#include "ring3/net_offload.h"

#define IP_AT        NET_FRAME_MIN
#define IP_LEAST     20u
#define TCP_LEAST    20u
#define PROTOCOL_TCP 6
#define FLAG_SYN     2
#define OPTION_END   0
#define OPTION_NOP   1
#define OPTION_MSS   2
#define MSS_LEAST    64u
#define MORE         0x2000u

static unsigned get16(const uint8_t *p)
{
    return (unsigned)p[0] << 8 | p[1];
}

static void put16(uint8_t *p, size_t x)
{
    p[0] = (uint8_t)(x >> 8);
    p[1] = (uint8_t)x;
}

/* Where the IPv4 header ends, and *end where the datagram does; 0: it is not a whole datagram. */
static size_t ipv4_header(const uint8_t *frame, size_t n, size_t *end)
{
    if (n < IP_AT + IP_LEAST || get16(frame + 12) != 0x0800 || frame[IP_AT] >> 4 != 4)
        return 0;
    size_t header = (frame[IP_AT] & 15u) * 4, total = get16(frame + IP_AT + 2);
    *end = IP_AT + total;
    return header >= IP_LEAST && total >= header && *end <= n ? IP_AT + header : 0;
}

/* The offset behind the TCP header; 0: it is no whole segment. */
static size_t tcp_header(const uint8_t *frame, size_t tcp, size_t end)
{
    if (!tcp || frame[IP_AT + 9] != PROTOCOL_TCP || (get16(frame + IP_AT + 6) & 0x3fff) ||
        end - tcp < TCP_LEAST)
        return 0;
    size_t data = tcp + (frame[tcp + 12] >> 4) * 4u;
    return data >= tcp + TCP_LEAST && data <= end ? data : 0;
}

/* ---- what the guest offers ------------------------------------------------------------------- */

/* The value of the MSS option; NULL: there is none. */
static uint8_t *find_mss(uint8_t *frame, size_t at, size_t end)
{
    while (at < end && frame[at] != OPTION_END) {
        if (frame[at] == OPTION_NOP) {
            at++;
            continue;
        }
        if (at + 1 >= end || frame[at + 1] < 2 || at + frame[at + 1] > end)
            return NULL;
        if (frame[at] == OPTION_MSS)
            return frame[at + 1] == 4 ? frame + at + 2 : NULL;
        at += frame[at + 1];
    }
    return NULL;
}

void net_large_offer(struct net_large *l, uint8_t *frame, size_t n)
{
    size_t end = 0, tcp = ipv4_header(frame, n, &end), data = tcp_header(frame, tcp, end);
    if (!data || !(frame[tcp + 13] & FLAG_SYN))
        return;
    uint8_t *mss = find_mss(frame, tcp + TCP_LEAST, data);
    if (!mss || get16(mss) >= LARGE_MSS || get16(mss) < MSS_LEAST ||
        (net_checksum_verify(frame, n) & (NET_L4_CHECKED | NET_L4_BAD)) != NET_L4_CHECKED)
        return;
    if (get16(mss) < l->port->mss)
        l->port->mss = get16(mss);
    put16(mss, LARGE_MSS);
    put16(frame + tcp + 16, 0);
    uint32_t pseudo = net_sum(frame + IP_AT + 12, 8, PROTOCOL_TCP + (uint32_t)(end - tcp));
    put16(frame + tcp + 16, net_sum_finish(net_sum(frame + tcp, end - tcp, pseudo)));
}

/* ---- what it gets ---------------------------------------------------------------------------- */

/* A piece of a frame, which netdev_send_tso() and fragment() made. */
static void deliver_piece(struct netdev *cut, const struct iovec *iov, unsigned count)
{
    struct net_large *l = container_of(cut, struct net_large, cut);
    uint8_t frame[NET_WIRE];
    size_t n = 0;
    if (net_iov_len(iov, count) > sizeof frame)
        return;
    for (unsigned i = 0; i < count; i++) {
        memcpy(frame + n, iov[i].iov_base, iov[i].iov_len);
        n += iov[i].iov_len;
    }
    net_port_deliver(l->port, frame, n);
}

static void fragment(struct net_large *l, const uint8_t *frame, size_t at, size_t end)
{
    uint8_t head[IP_AT + 60], *ip = head + IP_AT;
    size_t most = (NET_WIRE - at) & ~(size_t)7, first = at;
    memcpy(head, frame, at);
    while (at < end) {
        size_t len = end - at < most ? end - at : most;
        put16(ip + 2, first - IP_AT + len);
        put16(ip + 6, (at - first) / 8 | (at + len < end ? MORE : 0));
        put16(ip + 10, 0);
        put16(ip + 10, net_sum_finish(net_sum(ip, first - IP_AT, 0)));
        struct iovec iov[2] = {{head, first}, {(void *)(frame + at), len}};
        deliver_piece(&l->cut, iov, 2);
        at += len;
    }
}

static bool card_takes_large(const struct net_port *p)
{
    const struct netdev_client *c = &p->base.client;
    return c->takes_large && c->takes_large(c->opaque);
}

void net_large_deliver(struct net_large *l, const uint8_t *frame, size_t n)
{
    if (n <= NET_WIRE || !l->port->mss) {
        net_port_deliver(l->port, frame, n);
        return;
    }
    uint8_t copy[IP_AT + LARGE_MTU];
    size_t end = 0, l4 = ipv4_header(frame, n, &end), data = tcp_header(frame, l4, end);
    if (!l4 || end > sizeof copy)
        return;
    if (!data) {
        fragment(l, frame, l4, end);
    } else if (card_takes_large(l->port)) {
        net_port_deliver(l->port, frame, end);
    } else {
        size_t mss = l->port->mss < NET_WIRE - data ? l->port->mss : NET_WIRE - data;
        const struct net_tso t = {.ip_at = IP_AT, .tcp_at = l4, .headers = data, .mss = mss};
        memcpy(copy, frame, end);
        netdev_send_tso(&l->cut, copy, end, &t);
    }
}

void net_large_init(struct net_large *l, struct net_port *port)
{
    static const struct netdev_ops cut_ops = {.send = deliver_piece};
    *l = (struct net_large){.port = port, .cut = {.ops = &cut_ops, .max_frame = NET_WIRE}};
    port->mss = LARGE_MSS;
}
