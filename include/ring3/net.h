/* SPDX-License-Identifier: MIT */
/* The host side of network cards: whole Ethernet frames without CRC, both ways. Backends (user
 * mode network by libslirp, stream socket, tap, hub of nothing) are in src/backend. */
#ifndef RING3_NET_H
#define RING3_NET_H

#include <sys/uio.h>

#include "ring3/err.h"
#include "ring3/types.h"

#define NET_FRAME_MIN 14u
#define NET_FRAME_MAX 65550u /* with segmentation offload; cards without it see up to 1,514 */

struct netdev;

/* The card's side. Loop thread, no backend lock held. */
struct netdev_client {
    /* Take a frame, or return false: no buffers; the backend keeps it (or, when it must, drops it)
     * until netdev_resume(). */
    bool (*receive)(void *opaque, const uint8_t *frame, size_t n);
    void *opaque;
    /* No frame follows for now: time for an interrupt that waited for the batch. May be NULL. */
    void (*batch_end)(void *opaque);
    /* May frames be larger than the wire's, for now? Then receive_large() gets TCP segments over
     * IPv4 with more than mss bytes of data, of which the guest makes what it likes; all checksums
     * are right. It answers as receive() does. Both may be NULL. */
    bool (*takes_large)(void *opaque);
    bool (*receive_large)(void *opaque, const uint8_t *frame, size_t n, size_t mss);
};

struct netdev_ops {
    /* Send a frame made of these pieces, at most max_frame bytes; may drop it, as a wire may. Any
     * thread, never waits. All checksums must be there. */
    void (*send)(struct netdev *n, const struct iovec *iov, unsigned count);
    void (*resume)(struct netdev *n); /* the card has buffers again; any thread */
    void (*free)(struct netdev *n);
};

struct netdev_stats { /* atomic, relaxed; as the card sees it */
    _Atomic uint64_t tx_frames, tx_bytes, rx_frames, rx_bytes, rx_dropped;
};

struct netdev {
    const struct netdev_ops *ops;
    struct netdev_client client; /* set by the card's constructor */
    struct netdev_stats stats;
    const char *name; /* for messages: "user", "stream", "tap" */
    /* Bytes of the largest frame that send() takes: 1,514 where the far side is a real network, up
     * to NET_FRAME_MAX where it takes a TCP segment of any size whole. A card that offers
     * segmentation cuts larger ones itself: ring3/net_offload.h. */
    uint32_t max_frame;
    uint32_t mtu; /* what `mtu=` of the spec asked for; 0: nothing was said */
};

struct loop;
struct log;
/* `spec` is what follows --net: "user,fwd=tcp:2222-22,restrict", "stream,path=/run/x.sock",
 * "tap,name=tap0", "none" (a card with no cable). The words model= and mac= in it are the card's
 * and skipped. NULL on error; *e says what is wrong with the words. `loop` and `log` outlive it. */
struct netdev *netdev_open(const char *spec, struct loop *loop, const struct log *log,
                           struct err *e);
void netdev_free(struct netdev *n); /* the loop does not run; NULL is fine */

/* One word of a spec, "key=value" or "key", from *at on, which moves behind it; false at the end.
 * Words are separated by commas. */
struct net_word {
    const char *key, *value; /* into the spec, not terminated; value NULL without "=" */
    size_t key_len, value_len;
};
bool net_word_next(const char **at, struct net_word *w);
bool net_word_is(const struct net_word *w, const char *key);
/* "52:54:00:12:34:56", a unicast address, not all zeroes. False if it is not one. */
bool net_parse_mac(const char *text, size_t n, uint8_t mac[6]);

static inline void netdev_send(struct netdev *n, const struct iovec *iov, unsigned count)
{
    if (n)
        n->ops->send(n, iov, count);
}
static inline void netdev_resume(struct netdev *n)
{
    if (n && n->ops->resume)
        n->ops->resume(n);
}

#endif
