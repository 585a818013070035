/* SPDX-License-Identifier: MIT */
/* virtio 9P transport (device 9; it has no chapter in virtio 1.2 but a reserved number, and a
 * driver in Linux): one queue; a chain is a message and the room for its answer. The server works
 * while the guest's processor waits for the notification to return, so nothing is ever under way.
 */
#include "ring3/devices/virtio_9p.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define F_MOUNT_TAG (UINT64_C(1) << 0)

struct virtio_9p {
    struct virtio v; /* first */
    struct p9 *server;
    struct virtq_chain c;
};

static void kick(struct virtio *v, unsigned n)
{
    struct virtio_9p *d = container_of(v, struct virtio_9p, v);
    const struct virtq_chain *c = &d->c;

    while (virtio_pop(v, &v->q[0], &d->c)) {
        uint32_t bytes = p9_serve(d->server, c->iov, c->out, c->iov + c->out, c->in);
        if (!bytes) {
            virtio_broken(v, "a message that is none, or without room for an answer");
            return;
        }
        virtq_push(&v->q[0], c, bytes);
    }
    virtio_publish(v, &v->q[0]);
}

static void forget(struct virtio *v)
{
    p9_reset(container_of(v, struct virtio_9p, v)->server);
}

static void restored(struct device *d)
{
    struct virtio_9p *s = container_of(d, struct virtio_9p, v.dev);

    p9_restored(s->server);
    virtio_device_restored(d);
}

static void release(struct device *d)
{
    struct virtio_9p *s = container_of(d, struct virtio_9p, v.dev);

    virtio_destroy(&s->v);
    p9_free(s->server);
    free(s);
}

static void figures(struct device *d, const struct figure_sink *to)
{
    struct virtio_9p *s = container_of(d, struct virtio_9p, v.dev);

    pthread_mutex_lock(&s->v.lock);
    struct p9_stats x = p9_stats(s->server);
    pthread_mutex_unlock(&s->v.lock);
    virtio_device_figures(d, to);
    to->add(to->opaque, "errors", (double)x.errors, 0, "");
    to->add(to->opaque, "read_kib", (double)(x.read_bytes / KIB), 0, "KiB");
    to->add(to->opaque, "written_kib", (double)(x.written_bytes / KIB), 0, "KiB");
    to->add(to->opaque, "handles", (double)x.fids, 0, "now");
}

static const struct state_field state[] = {
    VIRTIO_STATE(struct virtio_9p, v),
    VIRTQ_STATE(struct virtio_9p, v.q[0]),
};
static const struct device_ops dev_ops = {
    .name = "virtio-9p",
    .reset = virtio_device_reset,
    .free = release,
    .restored = restored,
    .state = state,
    .state_count = ARRAY_LEN(state),
    .figures = figures,
};
static const struct virtio_ops ops = {.id = VIRTIO_9P, .queues = 1, .kick = kick, .reset = forget};

struct virtio *virtio_9p_new(const struct dev_host *h, const char *instance, const char *tag,
                             struct p9 *server, struct err *e)
{
    size_t n = strlen(tag);
    struct virtio_9p *s = calloc(1, sizeof *s);

    if (!s || n < 1 || n > VIRTIO_9P_TAG_MAX) {
        if (s)
            err_set(e, EINVAL, "share", "the tag of a share has 1 to %u characters: \"%s\"",
                    VIRTIO_9P_TAG_MAX, tag);
        else
            err_set(e, ENOMEM, "no-memory", "no memory for the share \"%s\"", tag);
        p9_free(server);
        free(s);
        return NULL;
    }
    s->server = server;
    s->v.dev = (struct device){.ops = &dev_ops, .instance = instance};
    s->v.ops = &ops;
    s->v.features = F_MOUNT_TAG | VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX;
    virtio_put(s->v.config, n, 2);
    memcpy(s->v.config + 2, tag, n);
    s->v.config_bytes = (unsigned)(2 + n);
    virtio_init(&s->v, h);
    return &s->v;
}
