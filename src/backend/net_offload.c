/* SPDX-License-Identifier: MIT */
/* Checksums and segmentation in software: see ring3/net_offload.h. RFC 1071 for sums, RFC 791 and
 * 8200 for headers, RFC 9293 for TCP.
 *
 * A sum may be made over words of any width, as long as carries come back in: here eight bytes at
 * a time, in the host's byte order, turned round at the end. Left out: IPv6 extension headers in
 * front of TCP and UDP, tunnels, UDP segmentation. */
#include "ring3/net_offload.h"

#include <string.h>

#define ETHERTYPE_IPV4 0x0800
#define ETHERTYPE_VLAN 0x8100
#define ETHERTYPE_IPV6 0x86dd
#define PROTOCOL_TCP   6
#define PROTOCOL_UDP   17
#define IPV4_LEAST     20u
#define IPV6_HEADER    40u
#define TCP_LEAST      20u
#define TCP_FIN_PSH    0x09
#define TCP_CWR        0x80
#define HEADERS_MOST   256u

static unsigned get16(const uint8_t *p)
{
    return (unsigned)p[0] << 8 | p[1];
}

static void put16(uint8_t *p, size_t x)
{
    p[0] = (uint8_t)(x >> 8);
    p[1] = (uint8_t)x;
}

static uint32_t get32(const uint8_t *p)
{
    return (uint32_t)get16(p) << 16 | get16(p + 2);
}

static void put32(uint8_t *p, uint32_t x)
{
    put16(p, x >> 16);
    put16(p + 2, x);
}

/* ---- sums ------------------------------------------------------------------------------------ */

static uint32_t fold(uint64_t sum)
{
    sum = (sum & UINT32_MAX) + (sum >> 32);
    sum = (sum & UINT32_MAX) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    return (uint32_t)sum;
}

uint32_t net_sum(const void *bytes, size_t n, uint32_t sum)
{
    const uint8_t *p = bytes;
    uint64_t low = 0, high = 0;
    for (; n >= 8; n -= 8, p += 8) {
        uint64_t x;
        memcpy(&x, p, 8);
        low += (uint32_t)x;
        high += x >> 32;
    }
    uint8_t rest[8] = {0};
    uint64_t x;
    if (n)
        memcpy(rest, p, n);
    memcpy(&x, rest, 8);
    low += (uint32_t)x;
    high += x >> 32;
    return fold((uint64_t)sum +
                __builtin_bswap16((uint16_t)fold(fold(low) + (uint64_t)fold(high))));
}

uint16_t net_sum_finish(uint32_t sum)
{
    return (uint16_t)~fold(sum);
}

bool net_checksum(uint8_t *frame, size_t n, size_t start, size_t end, size_t at)
{
    if (end > n || start > end || at < start || at + 2 > end)
        return false;
    put16(frame + at, net_sum_finish(net_sum(frame + start, end - start, 0)));
    return true;
}

/* ---- segmentation ---------------------------------------------------------------------------- */

/* The sum of a pseudo header for `len` bytes of `protocol`. */
static uint32_t pseudo_sum(const uint8_t *ip, bool ipv6, unsigned protocol, size_t len)
{
    uint32_t sum = ipv6 ? net_sum(ip + 8, 32, 0) : net_sum(ip + 12, 8, 0);
    return fold((uint64_t)sum + protocol + len);
}

static bool sensible(const struct net_tso *t, size_t n)
{
    size_t least = t->ipv6 ? IPV6_HEADER : IPV4_LEAST;
    return t->ip_at >= NET_FRAME_MIN && t->tcp_at >= t->ip_at + least && t->mss &&
           t->headers >= t->tcp_at + TCP_LEAST && t->headers <= HEADERS_MOST && t->headers <= n &&
           n <= NET_FRAME_MAX;
}

/* Headers of one frame with `data` bytes at `payload`; h is a copy of the first frame's. */
static void finish_headers(uint8_t *h, const struct net_tso *t, const uint8_t *payload, size_t data)
{
    uint8_t *ip = h + t->ip_at, *tcp = h + t->tcp_at;
    size_t ip_header = t->tcp_at - t->ip_at, tcp_len = t->headers - t->tcp_at + data;
    if (t->ipv6) {
        put16(ip + 4, ip_header - IPV6_HEADER + tcp_len);
    } else {
        put16(ip + 2, ip_header + tcp_len);
        put16(ip + 10, 0);
        put16(ip + 10, net_sum_finish(net_sum(ip, ip_header, 0)));
    }
    put16(tcp + 16, 0);
    uint32_t sum = pseudo_sum(ip, t->ipv6, PROTOCOL_TCP, tcp_len);
    sum = net_sum(tcp, t->headers - t->tcp_at, sum);
    put16(tcp + 16, net_sum_finish(net_sum(payload, data, sum)));
}

bool netdev_send_tso(struct netdev *net, uint8_t *frame, size_t n, const struct net_tso *t)
{
    if (!net || !sensible(t, n))
        return false;
    size_t left = n - t->headers, most = t->mss;
    if (n <= net->max_frame && n - t->ip_at <= UINT16_MAX)
        most = left;
    uint8_t h[HEADERS_MOST];
    const uint8_t *payload = frame + t->headers;
    uint8_t *tcp = h + t->tcp_at, flags = frame[t->tcp_at + 13];
    memcpy(h, frame, t->headers);
    do {
        size_t data = left < most ? left : most;
        left -= data;
        tcp[13] = left ? flags & (uint8_t)~TCP_FIN_PSH : flags;
        finish_headers(h, t, payload, data);
        struct iovec iov[2] = {{h, t->headers}, {(void *)payload, data}};
        netdev_send(net, iov, 2);
        payload += data;
        put32(tcp + 4, get32(tcp + 4) + (uint32_t)data);
        flags &= (uint8_t)~TCP_CWR;
        if (!t->ipv6)
            put16(h + t->ip_at + 4, get16(h + t->ip_at + 4) + 1);
    } while (left);
    return true;
}

/* ---- verification ---------------------------------------------------------------------------- */

static unsigned verify_l4(const uint8_t *ip, bool ipv6, unsigned protocol, const uint8_t *p,
                          size_t n)
{
    if (protocol == PROTOCOL_UDP && n >= 8 && get16(p + 4) >= 8 && get16(p + 4) <= n)
        n = get16(p + 4);
    else if (protocol != PROTOCOL_TCP || n < TCP_LEAST)
        return 0;
    unsigned kind = protocol == PROTOCOL_UDP ? NET_L4_UDP : 0;
    if (kind && !get16(p + 6))
        return 0; /* was sent without one */
    bool good = net_sum_finish(net_sum(p, n, pseudo_sum(ip, ipv6, protocol, n))) == 0;
    return NET_L4_CHECKED | kind | (good ? 0 : NET_L4_BAD);
}

static unsigned verify_ipv4(const uint8_t *ip, size_t n)
{
    size_t header = n >= IPV4_LEAST ? (size_t)(ip[0] & 15) * 4 : 0;
    if (header < IPV4_LEAST || header > n || ip[0] >> 4 != 4)
        return 0;
    size_t total = get16(ip + 2);
    if (net_sum_finish(net_sum(ip, header, 0)) != 0)
        return NET_IP_CHECKED | NET_IP_BAD;
    if (total < header || total > n || (get16(ip + 6) & 0x3fff)) /* a fragment */
        return NET_IP_CHECKED;
    return NET_IP_CHECKED | verify_l4(ip, false, ip[9], ip + header, total - header);
}

static unsigned verify_ipv6(const uint8_t *ip, size_t n)
{
    if (n < IPV6_HEADER || ip[0] >> 4 != 6 || get16(ip + 4) > n - IPV6_HEADER)
        return 0;
    return verify_l4(ip, true, ip[6], ip + IPV6_HEADER, get16(ip + 4));
}

unsigned net_checksum_verify(const uint8_t *frame, size_t n)
{
    size_t at = NET_FRAME_MIN;
    if (n < at)
        return 0;
    unsigned type = get16(frame + 12);
    if (type == ETHERTYPE_VLAN && n >= at + 4) {
        type = get16(frame + 16);
        at += 4;
    }
    if (type == ETHERTYPE_IPV4)
        return verify_ipv4(frame + at, n - at);
    return type == ETHERTYPE_IPV6 ? verify_ipv6(frame + at, n - at) : 0;
}

unsigned net_multicast_hash(const uint8_t mac[6])
{
    uint32_t crc = UINT32_MAX;
    for (unsigned i = 0; i < 48; i++) {
        uint32_t bit = crc >> 31 ^ (mac[i / 8] >> i % 8 & 1u);
        crc = crc << 1 ^ (bit ? 0x04c11db7 : 0);
    }
    return crc >> 26;
}
