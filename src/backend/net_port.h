/* SPDX-License-Identifier: MIT */
/* What network backends share: lists of frames, waking the loop thread, and frames that the card
 * could not take yet. */
#ifndef RING3_BACKEND_NET_PORT_H
#define RING3_BACKEND_NET_PORT_H

#include <pthread.h>

#include "ring3/log.h"
#include "ring3/loop.h"
#include "ring3/net.h"

/* A bounded first-in first-out list of frames in one piece of memory. Not locked. */
struct frame_list {
    uint8_t *bytes;
    size_t limit, head, tail; /* unread records are [head, tail) */
};
int frame_list_init(struct frame_list *l,
                    size_t limit); /* 0 or -ENOMEM; no memory is touched yet */
void frame_list_free(struct frame_list *l);
bool frame_list_put(struct frame_list *l, const struct iovec *iov,
                    unsigned count); /* false: full */
/* The first frame, without taking it away; NULL if there is none. Valid until the next put. */
const uint8_t *frame_list_first(const struct frame_list *l, size_t *n);
void frame_list_drop(struct frame_list *l);

#define NET_WIRE 1514u /* the largest frame of an ordinary Ethernet */

/* Embedded first by backends. */
struct net_port {
    struct netdev base;
    struct loop *loop;
    const struct log *log;
    int kick_fd;                    /* an eventfd; -1: none */
    _Atomic bool kicked;            /* the loop thread has been told and not come yet */
    void (*on_kick)(void *backend); /* loop thread */
    struct frame_list waiting;      /* for the card; loop thread only */
    /* Bytes of data of a segment on the guest's wire; frames beyond NET_WIRE are large ones. 0:
     * there are no large ones. Loop thread only. */
    size_t mss;
};

/* Fills p->base and watches for kicks. 0 or -errno; net_port_close() also after an error. */
int net_port_open(struct net_port *p, const char *name, const struct netdev_ops *ops,
                  struct loop *loop, const struct log *log, void (*on_kick)(void *backend),
                  struct err *e);
void net_port_close(struct net_port *p);
/* Have on_kick called soon: once for any number of kicks before it. Any thread. */
void net_port_kick(struct net_port *p);

/* Loop thread. A frame for the card: given to it, or kept, or, beyond a limit, dropped. Short ones
 * are padded to what Ethernet carries. */
void net_port_deliver(struct net_port *p, const uint8_t *frame, size_t n);
/* Offer what was kept. True if nothing is left. */
bool net_port_retry(struct net_port *p);
void net_port_batch_end(struct net_port *p); /* the card may interrupt now */

void net_port_count_sent(struct net_port *p, const struct iovec *iov, unsigned count);
size_t net_iov_len(const struct iovec *iov, unsigned count);

/* The kinds. `words` is what follows "user,"; the others too. */
struct netdev *net_slirp_open(const char *words, struct loop *loop, const struct log *log,
                              struct err *e);
struct netdev *net_stream_open(const char *words, struct loop *loop, const struct log *log,
                               struct err *e);
struct netdev *net_tap_open(const char *words, struct loop *loop, const struct log *log,
                            struct err *e);

/* Helpers of parsers. A word's value as a string of at most size - 1 bytes. */
int net_word_string(const struct net_word *w, char *out, size_t size, struct err *e);
/* A decimal number from min to max. */
int net_word_number(const struct net_word *w, unsigned min, unsigned max, unsigned *out,
                    struct err *e);
/* -EINVAL with a text that lists `known`. */
int net_word_unknown(const char *kind, const struct net_word *w, const char *known, struct err *e);
bool net_word_of_card(const struct net_word *w); /* model=, mac= */

#endif
