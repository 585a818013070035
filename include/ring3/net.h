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
};

struct netdev_ops {
    /* Send a frame made of these pieces; may drop it, as a wire may. Any thread, never waits. */
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
};

struct loop;
struct log;
/* `spec` is what follows --net: "user,fwd=tcp:2222-22,restrict", "stream,path=/run/x.sock",
 * "tap,name=tap0", "none". NULL on error; *e says what is wrong with the words. */
struct netdev *netdev_open(const char *spec, struct loop *loop, const struct log *log,
                           struct err *e);

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
