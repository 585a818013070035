/* SPDX-License-Identifier: MIT */
/* virtio console (virtio 1.2, 5.3): one port. Queue 0 takes input to the guest, queue 1 its output;
 * a driver that is not there yet may write single bytes to the configuration space.
 *
 * Input waits in a small buffer for the guest's; while that is full, in the backend. When the
 * backend is congested the chain under way stays in its queue, and `sent` says how much of it is
 * out. Left out: further ports (their control queues), the size of the terminal. */
#include "ring3/devices/virtio_console.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define F_EMERGENCY_WRITE (UINT64_C(1) << 2)
enum { CFG_EMERGENCY = 8, CFG_BYTES = 12 };
enum { Q_INPUT = 0, Q_OUTPUT = 1, QUEUES = 2 };
#define INPUT_BYTES 1024u

struct virtio_console {
    struct virtio v; /* first */
    struct chardev *chr;
    struct virtq_chain c;
    uint64_t sent;  /* bytes of the next output chain that are out already */
    uint32_t count; /* bytes in input */
    uint8_t input[INPUT_BYTES];
};

static struct virtio_console *console_of(struct virtio *v)
{
    return container_of(v, struct virtio_console, v);
}

/* Both directions take at most as many chains at a time as the queue holds: a guest that adds more
 * meanwhile must not keep the event loop's thread for ever. It notifies of those. */

/* ---- input, lock held ------------------------------------------------------------------------ */

static void give_input(struct virtio_console *s)
{
    struct virtq *q = &s->v.q[Q_INPUT];
    unsigned left = VIRTQ_MAX;

    while (left && s->count && virtio_pop(&s->v, q, &s->c)) {
        left--;
        uint64_t n = virtq_write(&s->c, 0, s->input, s->count);
        s->v.resume = true;
        s->count -= (uint32_t)n;
        memmove(s->input, s->input + n, s->count);
        virtq_push(q, &s->c, n);
    }
    virtio_publish(&s->v, q);
    if (!left)
        virtq_arm(q);
}

static size_t client_room(void *opaque)
{
    struct virtio_console *s = opaque;

    pthread_mutex_lock(&s->v.lock);
    size_t room = virtio_running(&s->v) ? INPUT_BYTES - s->count : 0;
    pthread_mutex_unlock(&s->v.lock);
    return room;
}

static void client_receive(void *opaque, const uint8_t *p, size_t n)
{
    struct virtio_console *s = opaque;

    pthread_mutex_lock(&s->v.lock);
    if (n > INPUT_BYTES - s->count)
        n = INPUT_BYTES - s->count;
    memcpy(s->input + s->count, p, n);
    s->count += (uint32_t)n;
    give_input(s);
    pthread_mutex_unlock(&s->v.lock);
}

/* ---- output, lock held ----------------------------------------------------------------------- */

/* What is left of the chain; false when the backend is congested. */
static bool write_chain(struct virtio_console *s)
{
    uint64_t skip = s->sent;

    for (unsigned i = 0; i < s->c.out; i++) {
        const struct iovec *v = &s->c.iov[i];
        if (skip >= v->iov_len) {
            skip -= v->iov_len;
            continue;
        }
        size_t n = v->iov_len - skip;
        size_t done = chardev_write(s->chr, (const uint8_t *)v->iov_base + skip, n);
        s->sent += done;
        if (done < n)
            return false;
        skip = 0;
    }
    s->sent = 0;
    return true;
}

static void take_output(struct virtio_console *s)
{
    struct virtq *q = &s->v.q[Q_OUTPUT];
    unsigned left = VIRTQ_MAX;

    while (left && virtio_pop(&s->v, q, &s->c)) {
        if (!write_chain(s)) {
            virtq_rewind(q, 1);
            break;
        }
        virtq_push(q, &s->c, 0);
        left--;
    }
    virtio_publish(&s->v, q);
    if (!left)
        virtq_arm(q);
}

static void client_writable(void *opaque)
{
    struct virtio_console *s = opaque;

    pthread_mutex_lock(&s->v.lock);
    take_output(s);
    pthread_mutex_unlock(&s->v.lock);
}

/* ---- life ------------------------------------------------------------------------------------ */

static void kick(struct virtio *v, unsigned n)
{
    if (n == Q_INPUT)
        give_input(console_of(v));
    else
        take_output(console_of(v));
}

static void started(struct virtio *v)
{
    v->resume = true;
}

static void config_written(struct virtio *v, unsigned at, unsigned n, uint32_t value)
{
    uint8_t byte = (uint8_t)value;

    if (at == CFG_EMERGENCY)
        chardev_write(console_of(v)->chr, &byte, 1);
}

static void reset(struct virtio *v)
{
    console_of(v)->count = 0;
    console_of(v)->sent = 0;
}

static void resume(struct virtio *v)
{
    chardev_resume(console_of(v)->chr);
}

/* A snapshot file is not trusted. */
static void restored(struct device *d)
{
    struct virtio_console *s = container_of(d, struct virtio_console, v.dev);

    virtio_device_restored(d);
    pthread_mutex_lock(&s->v.lock);
    if (s->count > INPUT_BYTES)
        s->count = 0;
    take_output(s);
    pthread_mutex_unlock(&s->v.lock);
    chardev_resume(s->chr);
}

static void release(struct device *d)
{
    struct virtio_console *s = container_of(d, struct virtio_console, v.dev);

    if (s->chr)
        s->chr->client = (struct chardev_client){0};
    virtio_destroy(&s->v);
    free(s);
}

static const struct state_field state[] = {
    VIRTIO_STATE(struct virtio_console, v),
    VIRTQ_STATE(struct virtio_console, v.q[Q_INPUT]),
    VIRTQ_STATE(struct virtio_console, v.q[Q_OUTPUT]),
    STATE(struct virtio_console, sent),
    STATE(struct virtio_console, count),
    STATE_ARRAY(struct virtio_console, input),
};
static const struct device_ops dev_ops = {
    .name = "virtio-console",
    .reset = virtio_device_reset,
    .free = release,
    .restored = restored,
    .state = state,
    .state_count = ARRAY_LEN(state),
    .figures = virtio_device_figures,
};
static const struct virtio_ops ops = {
    .id = VIRTIO_CONSOLE,
    .queues = QUEUES,
    .kick = kick,
    .started = started,
    .config_written = config_written,
    .reset = reset,
    .resume = resume,
};

struct virtio *virtio_console_new(const struct dev_host *h,
                                  const struct virtio_console_config *config, struct err *e)
{
    struct virtio_console *s = calloc(1, sizeof *s);

    if (!s) {
        err_set(e, ENOMEM, "no-memory", "no memory for a virtio console");
        return NULL;
    }
    s->v.dev = (struct device){.ops = &dev_ops, .instance = config->instance};
    s->v.ops = &ops;
    s->v.features = F_EMERGENCY_WRITE | VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX;
    s->v.config_bytes = CFG_BYTES;
    s->chr = config->chr;
    virtio_init(&s->v, h);
    if (s->chr)
        s->chr->client = (struct chardev_client){client_room, client_receive, client_writable, s};
    return &s->v;
}
