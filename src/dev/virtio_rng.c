/* SPDX-License-Identifier: MIT */
/* virtio entropy device (virtio 1.2, 5.4): buffers are filled from the host's getrandom(2), at most
 * REQUEST_BYTES of each, which a device may do. */
#include "ring3/devices/virtio_rng.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#define REQUEST_BYTES 4096u

struct virtio_rng {
    struct virtio v; /* first */
    struct virtq_chain c;
};

static uint64_t fill(const struct virtq_chain *c)
{
    uint64_t done = 0;

    for (unsigned i = c->out; i < c->out + c->in && done < REQUEST_BYTES; i++) {
        uint64_t n = c->iov[i].iov_len;
        if (n > REQUEST_BYTES - done)
            n = REQUEST_BYTES - done;
        ssize_t got = getrandom(c->iov[i].iov_base, n, GRND_NONBLOCK);
        if (got < 0)
            break;
        done += (uint64_t)got;
        if ((uint64_t)got < n)
            break;
    }
    return done;
}

static void kick(struct virtio *v, unsigned n)
{
    struct virtio_rng *r = container_of(v, struct virtio_rng, v);

    while (virtio_pop(v, &v->q[0], &r->c))
        virtq_push(&v->q[0], &r->c, fill(&r->c));
    virtio_publish(v, &v->q[0]);
}

static void release(struct device *d)
{
    struct virtio_rng *r = container_of(d, struct virtio_rng, v.dev);

    virtio_destroy(&r->v);
    free(r);
}

static const struct state_field state[] = {
    VIRTIO_STATE(struct virtio_rng, v),
    VIRTQ_STATE(struct virtio_rng, v.q[0]),
};
static const struct device_ops dev_ops = {
    .name = "virtio-rng",
    .reset = virtio_device_reset,
    .free = release,
    .restored = virtio_device_restored,
    .state = state,
    .state_count = ARRAY_LEN(state),
    .figures = virtio_device_figures,
};
static const struct virtio_ops ops = {.id = VIRTIO_RNG, .queues = 1, .kick = kick};

struct virtio *virtio_rng_new(const struct dev_host *h, const char *instance, struct err *e)
{
    struct virtio_rng *r = calloc(1, sizeof *r);

    if (!r) {
        err_set(e, ENOMEM, "no-memory", "no memory for the entropy device");
        return NULL;
    }
    r->v.dev = (struct device){.ops = &dev_ops, .instance = instance};
    r->v.ops = &ops;
    r->v.features = VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX;
    virtio_init(&r->v, h);
    return &r->v;
}
