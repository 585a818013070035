/* SPDX-License-Identifier: MIT */
/* What cards do for their drivers, in software: Internet checksums (RFC 1071) and cutting large
 * TCP segments. Frames are in the monitor's own memory. All functions: any thread. */
#ifndef RING3_NET_OFFLOAD_H
#define RING3_NET_OFFLOAD_H

#include "ring3/net.h"

/* Sum of the 16-bit words, most significant byte first, of p[0..n) plus `sum`, a sum of this kind
 * over an even number of bytes. */
uint32_t net_sum(const void *p, size_t n, uint32_t sum);
/* What goes into a checksum field for this sum. */
uint16_t net_sum_finish(uint32_t sum);

/* Complete a checksum: the sum of [start, end) goes to the 16-bit field at `at`, whose value, most
 * often that of a pseudo header, is part of it. False, nothing done, if that is not inside. */
bool net_checksum(uint8_t *frame, size_t n, size_t start, size_t end, size_t at);

/* A TCP segment that may be larger than a frame of the wire. */
struct net_tso {
    size_t ip_at, tcp_at; /* offsets of its headers; tcp_at > ip_at */
    size_t headers;       /* bytes in front of the data */
    size_t mss;           /* bytes of data in a frame, 1 or more */
    bool ipv6;
};
/* Send it: whole if the backend takes that, else in frames of mss bytes of data. Lengths, sequence
 * numbers, identification, flags and checksums are set, whatever was there. The frame is changed.
 * False, nothing sent, if the headers make no sense. */
bool netdev_send_tso(struct netdev *net, uint8_t *frame, size_t n, const struct net_tso *t);

/* What is known of a received frame's checksums. */
enum {
    NET_IP_CHECKED = 1, /* has an IPv4 header */
    NET_IP_BAD = 2,
    NET_L4_CHECKED = 4, /* is a whole TCP segment or UDP datagram over IPv4 or IPv6 */
    NET_L4_BAD = 8,
    NET_L4_UDP = 16,
};
unsigned net_checksum_verify(const uint8_t *frame, size_t n);

/* The six bits by which older cards filter multicast addresses: the top of the address's CRC. */
unsigned net_multicast_hash(const uint8_t mac[6]);

#endif
