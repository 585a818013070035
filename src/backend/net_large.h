/* SPDX-License-Identifier: MIT */
/* Frames that are larger than the guest's wire: see net_large.c. */
#ifndef RING3_BACKEND_NET_LARGE_H
#define RING3_BACKEND_NET_LARGE_H

#include "net_port.h"

#define LARGE_MSS (11 * 1460) /* four segments fill a window of 64 KiB */
#define LARGE_MTU (LARGE_MSS + 40)

struct net_large {
    struct net_port *port;
    struct netdev cut; /* where segments and fragments of ordinary size go */
};

void net_large_init(struct net_large *l, struct net_port *port);
/* A frame of the guest, in memory that may be changed: a TCP segment with SYN offers LARGE_MSS from
 * here on, and port->mss is at most what it offered. */
void net_large_offer(struct net_large *l, uint8_t *frame, size_t n);
/* A frame for the card, of any size: whole, if it is not larger than the wire or the card takes
 * such ones, else in pieces. */
void net_large_deliver(struct net_large *l, const uint8_t *frame, size_t n);

#endif
