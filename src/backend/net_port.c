/* SPDX-License-Identifier: MIT */
/* What network backends share: see net_port.h.
 *
 *   card, any thread --send()--> backend's list --kick--> loop thread --> outside
 *   outside --> loop thread --deliver()--> card, or the list `waiting` until it has buffers
 *
 * A card refuses a frame and later, on another thread, calls resume(). That only kicks: the loop
 * thread comes to it after the refusal was noted, so no wake-up gets lost. */
#include "net_port.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define WAITING_BYTES  (512 * KIB)
#define ETHERNET_LEAST 60 /* without CRC; some drivers drop shorter ones as runts */
#define RECORD_ALIGN   8

/* ---- lists of frames ------------------------------------------------------------------------- */

int frame_list_init(struct frame_list *l, size_t limit)
{
    *l = (struct frame_list){.bytes = malloc(limit), .limit = limit};
    return l->bytes ? 0 : -ENOMEM;
}

void frame_list_free(struct frame_list *l)
{
    free(l->bytes);
    *l = (struct frame_list){0};
}

size_t net_iov_len(const struct iovec *iov, unsigned count)
{
    size_t n = 0;
    for (unsigned i = 0; i < count; i++)
        n += iov[i].iov_len;
    return n;
}

/* A record: its length as a word of 8 bytes, the frame, padding to a multiple of 8. */
static size_t record_bytes(size_t n)
{
    return sizeof(uint64_t) + ((n + RECORD_ALIGN - 1) & ~(size_t)(RECORD_ALIGN - 1));
}

bool frame_list_put(struct frame_list *l, const struct iovec *iov, unsigned count)
{
    uint64_t n = net_iov_len(iov, count);
    if (n > NET_FRAME_MAX)
        return false;
    if (l->head == l->tail)
        l->head = l->tail = 0;
    if (l->limit - l->tail < record_bytes(n) && l->head) {
        memmove(l->bytes, l->bytes + l->head, l->tail - l->head);
        l->tail -= l->head;
        l->head = 0;
    }
    if (l->limit - l->tail < record_bytes(n))
        return false;
    uint8_t *p = l->bytes + l->tail;
    memcpy(p, &n, sizeof n);
    p += sizeof n;
    for (unsigned i = 0; i < count; i++) {
        memcpy(p, iov[i].iov_base, iov[i].iov_len);
        p += iov[i].iov_len;
    }
    l->tail += record_bytes(n);
    return true;
}

const uint8_t *frame_list_first(const struct frame_list *l, size_t *n)
{
    if (l->head == l->tail)
        return NULL;
    uint64_t len;
    memcpy(&len, l->bytes + l->head, sizeof len);
    *n = len;
    return l->bytes + l->head + sizeof len;
}

void frame_list_drop(struct frame_list *l)
{
    size_t n;
    if (frame_list_first(l, &n))
        l->head += record_bytes(n);
}

/* ---- waking the loop ------------------------------------------------------------------------- */

static void kicked(void *opaque, uint32_t events)
{
    struct net_port *p = opaque;
    uint64_t count;
    ssize_t ignored = read(p->kick_fd, &count, sizeof count);
    (void)ignored;
    atomic_store(&p->kicked, false);
    p->on_kick(p);
}

void net_port_kick(struct net_port *p)
{
    uint64_t one = 1;
    if (atomic_exchange(&p->kicked, true))
        return;
    ssize_t ignored = write(p->kick_fd, &one, sizeof one);
    (void)ignored;
}

int net_port_open(struct net_port *p, const char *name, const struct netdev_ops *ops,
                  struct loop *loop, const struct log *log, void (*on_kick)(void *backend),
                  struct err *e)
{
    p->base.ops = ops;
    p->base.name = name;
    p->base.max_frame = 1514;
    p->loop = loop;
    p->log = log;
    p->on_kick = on_kick;
    p->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (p->kick_fd < 0)
        return err_set(e, errno, "net-failed", "network %s: eventfd: %s", name, strerror(errno));
    if (frame_list_init(&p->waiting, WAITING_BYTES) < 0)
        return err_set(e, ENOMEM, "no-memory", "no memory for network %s", name);
    int r = loop_watch(loop, p->kick_fd, EPOLLIN, kicked, p);
    return r < 0 ? err_set(e, -r, "net-failed", "network %s: epoll: %s", name, strerror(-r)) : 0;
}

void net_port_close(struct net_port *p)
{
    if (p->kick_fd >= 0) {
        loop_unwatch(p->loop, p->kick_fd);
        close(p->kick_fd);
        p->kick_fd = -1;
    }
    frame_list_free(&p->waiting);
}

/* ---- frames for the card --------------------------------------------------------------------- */

static void count(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static bool offer(struct net_port *p, const uint8_t *frame, size_t n)
{
    const struct netdev_client *c = &p->base.client;
    if (!c->receive)
        return true; /* no card: nobody hears it */
    bool large = p->mss && n > NET_WIRE;
    if (large && !(c->takes_large && c->takes_large(c->opaque))) {
        count(&p->base.stats.rx_dropped, 1); /* the driver changed while it waited */
        return true;
    }
    if (large ? !c->receive_large(c->opaque, frame, n, p->mss) : !c->receive(c->opaque, frame, n))
        return false;
    count(&p->base.stats.rx_frames, 1);
    count(&p->base.stats.rx_bytes, n);
    return true;
}

void net_port_deliver(struct net_port *p, const uint8_t *frame, size_t n)
{
    uint8_t padded[ETHERNET_LEAST] = {0};
    if (n < NET_FRAME_MIN || n > NET_FRAME_MAX) {
        count(&p->base.stats.rx_dropped, 1);
        return;
    }
    if (n < sizeof padded) {
        memcpy(padded, frame, n);
        frame = padded;
        n = sizeof padded;
    }
    size_t first;
    if (!frame_list_first(&p->waiting, &first) && offer(p, frame, n))
        return;
    struct iovec iov = {(void *)frame, n};
    if (!frame_list_put(&p->waiting, &iov, 1))
        count(&p->base.stats.rx_dropped, 1);
}

bool net_port_retry(struct net_port *p)
{
    const uint8_t *frame;
    size_t n;
    while ((frame = frame_list_first(&p->waiting, &n))) {
        if (!offer(p, frame, n))
            return false;
        frame_list_drop(&p->waiting);
    }
    return true;
}

void net_port_batch_end(struct net_port *p)
{
    const struct netdev_client *c = &p->base.client;
    if (c->batch_end)
        c->batch_end(c->opaque);
}

void net_port_count_sent(struct net_port *p, const struct iovec *iov, unsigned iov_count)
{
    count(&p->base.stats.tx_frames, 1);
    count(&p->base.stats.tx_bytes, net_iov_len(iov, iov_count));
}
