/* SPDX-License-Identifier: MIT */
/* The host side of devices. A character backend is a two-way byte stream that never blocks. */
#ifndef RING3_BACKEND_H
#define RING3_BACKEND_H

#include "ring3/err.h"
#include "ring3/types.h"

struct chardev;

/* The device's side. All are called on the event loop thread with no backend lock held. */
struct chardev_client {
    size_t (*room)(void *opaque);                              /* bytes receive() would take now */
    void (*receive)(void *opaque, const uint8_t *p, size_t n); /* n <= room() */
    void (*writable)(void *opaque);                            /* after a short write: try again */
    void *opaque;
};

struct chardev_ops {
    /* Take up to n bytes, return how many; fewer than n means the host side is congested and
     * client.writable() will follow. Any thread. */
    size_t (*write)(struct chardev *c, const uint8_t *p, size_t n);
    /* The device has room again after room() returned 0. Any thread. */
    void (*resume)(struct chardev *c);
    void (*free)(struct chardev *c);
};

struct chardev {
    const struct chardev_ops *ops;
    struct chardev_client client; /* set by the device's constructor; zero while unconnected */
};

static inline size_t chardev_write(struct chardev *c, const uint8_t *p, size_t n)
{
    return c && c->ops->write ? c->ops->write(c, p, n) : n;
}
static inline void chardev_resume(struct chardev *c)
{
    if (c && c->ops->resume)
        c->ops->resume(c);
}

#endif
