/* SPDX-License-Identifier: MIT */
/* virtio memory balloon (virtio 1.2, 5.5).
 *
 *   queue 0  inflate    le32 page numbers: these pages go back to the host
 *   queue 1  deflate    the guest uses pages again; they read as zero and come by themselves
 *   queue 2  statistics { le16 number, le64 value } ...; we hold the driver's one buffer until
 *                       somebody asks, by leaving it in the queue
 *   queue 3, or 4       free page reporting: buffers whose memory is free now. Drivers number the
 *                       queues of features they do not use, or do not, so both places do.
 *
 * Pages are of 4 KiB, whatever the guest's. Left out: free page hints (for migration), page
 * poison. */
#include "ring3/devices/virtio_balloon.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#define F_STATS          (UINT64_C(1) << 1)
#define F_DEFLATE_ON_OOM (UINT64_C(1) << 2)
#define F_REPORTING      (UINT64_C(1) << 5)

enum { CFG_PAGES = 0, CFG_ACTUAL = 4, CFG_BYTES = 8 };
enum { Q_INFLATE = 0, Q_DEFLATE = 1, Q_STATS = 2, Q_REPORT = 3, Q_REPORT_TOO = 4, QUEUES = 5 };
#define CHUNK      256u          /* page numbers read at a time */
#define MOST_PAGES (64u * CHUNK) /* page numbers in a chain that are looked at */
#define STAT_BYTES 10u

struct virtio_balloon {
    struct virtio v; /* first */
    struct virtq_chain c;
    uint64_t target_pages; /* set by the host: not the guest's to reset */
    uint16_t known;
    uint64_t stat[VIRTIO_BALLOON_STATS];
    uint64_t reported_bytes;
    _Atomic uint64_t returned_bytes; /* for statistics */
};

static struct virtio_balloon *balloon_of(struct virtio *v)
{
    return container_of(v, struct virtio_balloon, v);
}

static void give_back(struct virtio_balloon *b, gpa_t gpa, uint64_t len)
{
    gpa_t first = (gpa + PAGE_BYTES - 1) & PAGE_MASK, end = (gpa + len) & PAGE_MASK;

    if (first < end && phys_discard(b->v.h.mem, first, end - first) == 0)
        atomic_fetch_add_explicit(&b->returned_bytes, end - first, memory_order_relaxed);
}

/* Neighbouring pages, in whichever direction they come, go back together. */
static void inflate(struct virtio_balloon *b)
{
    uint8_t list[4 * CHUNK];
    uint64_t first = 0, count = 0, n;

    for (uint64_t at = 0; at < 4 * MOST_PAGES; at += sizeof list) {
        n = virtq_read(&b->c, at, list, sizeof list) / 4;
        for (uint64_t i = 0; i < n; i++) {
            uint64_t page = virtio_get(list + 4 * i, 4);
            if (count && page == first + count) {
                count++;
            } else if (count && page + 1 == first) {
                first--, count++;
            } else {
                give_back(b, first << PAGE_SHIFT, count << PAGE_SHIFT);
                first = page, count = 1;
            }
        }
        if (n < CHUNK)
            break;
    }
    give_back(b, first << PAGE_SHIFT, count << PAGE_SHIFT);
}

static void report(struct virtio_balloon *b)
{
    for (unsigned i = b->c.out; i < (unsigned)b->c.out + b->c.in; i++)
        give_back(b, b->c.gpa[i], b->c.iov[i].iov_len);
    b->reported_bytes += b->c.in_bytes;
}

/* The buffer stays in the queue until fresh ones are wanted. */
static void take_statistics(struct virtio_balloon *b)
{
    uint8_t row[STAT_BYTES];

    if (!virtio_pop(&b->v, &b->v.q[Q_STATS], &b->c))
        return;
    for (unsigned i = 0; i < 2 * VIRTIO_BALLOON_STATS; i++) {
        if (virtq_read(&b->c, i * STAT_BYTES, row, STAT_BYTES) < STAT_BYTES)
            break;
        uint64_t number = virtio_get(row, 2);
        if (number >= VIRTIO_BALLOON_STATS)
            continue;
        b->stat[number] = virtio_get(row + 2, 8);
        b->known |= (uint16_t)(1u << number);
    }
    virtq_rewind(&b->v.q[Q_STATS], 1);
}

static void kick(struct virtio *v, unsigned n)
{
    struct virtio_balloon *b = balloon_of(v);
    struct virtq *q = &v->q[n];

    if (n == Q_STATS) {
        take_statistics(b);
        return;
    }
    while (virtio_pop(v, q, &b->c)) {
        if (n == Q_INFLATE)
            inflate(b);
        else if (n != Q_DEFLATE)
            report(b);
        virtq_push(q, &b->c, 0);
    }
    virtio_publish(v, q);
}

static void config_written(struct virtio *v, unsigned at, unsigned n, uint32_t value)
{
    if (at >= CFG_ACTUAL)
        virtio_put(v->config + at, value, n);
}

static void reset(struct virtio *v)
{
    struct virtio_balloon *b = balloon_of(v);

    b->known = 0;
    b->reported_bytes = 0;
    virtio_put(v->config + CFG_PAGES, b->target_pages, 4);
    virtio_put(v->config + CFG_ACTUAL, 0, 4);
}

/* ---- for monitors ---------------------------------------------------------------------------- */

void virtio_balloon_set(struct virtio *v, uint64_t bytes)
{
    struct virtio_balloon *b = balloon_of(v);
    uint64_t pages = bytes >> PAGE_SHIFT;

    pthread_mutex_lock(&v->lock);
    b->target_pages = pages < UINT32_MAX ? pages : UINT32_MAX;
    virtio_put(v->config + CFG_PAGES, b->target_pages, 4);
    virtio_config_changed(v);
    pthread_mutex_unlock(&v->lock);
}

void virtio_balloon_query(struct virtio *v, struct virtio_balloon_report *report)
{
    struct virtio_balloon *b = balloon_of(v);
    struct virtq *q = &v->q[Q_STATS];

    pthread_mutex_lock(&v->lock);
    *report = (struct virtio_balloon_report){
        .driver = virtio_running(v),
        .target_bytes = b->target_pages << PAGE_SHIFT,
        .given_bytes = virtio_get(v->config + CFG_ACTUAL, 4) << PAGE_SHIFT,
        .reported_bytes = b->reported_bytes,
        .known = b->known,
    };
    for (unsigned i = 0; i < VIRTIO_BALLOON_STATS; i++)
        report->stat[i] = b->stat[i];
    if (virtio_running(v) && virtio_pop(v, q, &b->c)) {
        virtq_push(q, &b->c, 0);
        virtio_publish(v, q);
        take_statistics(b); /* there are none, so the driver will notify of the next */
    }
    pthread_mutex_unlock(&v->lock);
}

const char *virtio_balloon_stat_name(unsigned n)
{
    static const char *const names[] = {
        "swap-in",      "swap-out",  "major-faults", "minor-faults",          "free-memory",
        "total-memory", "available", "disk-caches",  "huge-page-allocations", "huge-page-failures",
    };
    return n < ARRAY_LEN(names) ? names[n] : NULL;
}

/* ---- life ------------------------------------------------------------------------------------ */

static void figures(struct device *d, const struct figure_sink *to)
{
    struct virtio_balloon *b = container_of(d, struct virtio_balloon, v.dev);

    virtio_device_figures(d, to);
    to->add(to->opaque, "returned_mib", (double)b->returned_bytes / (double)MIB, 1,
            "MiB given back to the host");
}

static void release(struct device *d)
{
    struct virtio_balloon *b = container_of(d, struct virtio_balloon, v.dev);

    virtio_destroy(&b->v);
    free(b);
}

static const struct state_field state[] = {
    VIRTIO_STATE(struct virtio_balloon, v),
    VIRTQ_STATE(struct virtio_balloon, v.q[Q_INFLATE]),
    VIRTQ_STATE(struct virtio_balloon, v.q[Q_DEFLATE]),
    VIRTQ_STATE(struct virtio_balloon, v.q[Q_STATS]),
    VIRTQ_STATE(struct virtio_balloon, v.q[Q_REPORT]),
    VIRTQ_STATE(struct virtio_balloon, v.q[Q_REPORT_TOO]),
    STATE(struct virtio_balloon, target_pages),
    STATE(struct virtio_balloon, known),
    STATE_ARRAY(struct virtio_balloon, stat),
    STATE(struct virtio_balloon, reported_bytes),
};
static const struct device_ops dev_ops = {
    .name = "virtio-balloon",
    .reset = virtio_device_reset,
    .free = release,
    .restored = virtio_device_restored,
    .state = state,
    .state_count = ARRAY_LEN(state),
    .figures = figures,
};
static const struct virtio_ops ops = {
    .id = VIRTIO_BALLOON,
    .queues = QUEUES,
    .kick = kick,
    .config_written = config_written,
    .reset = reset,
};

struct virtio *virtio_balloon_new(const struct dev_host *h, const char *instance, struct err *e)
{
    struct virtio_balloon *b = calloc(1, sizeof *b);

    if (!b) {
        err_set(e, ENOMEM, "no-memory", "no memory for the balloon");
        return NULL;
    }
    b->v.dev = (struct device){.ops = &dev_ops, .instance = instance};
    b->v.ops = &ops;
    b->v.features =
        F_STATS | F_DEFLATE_ON_OOM | F_REPORTING | VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX;
    b->v.config_bytes = CFG_BYTES;
    virtio_init(&b->v, h);
    return &b->v;
}
