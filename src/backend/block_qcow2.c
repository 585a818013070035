/* SPDX-License-Identifier: MIT */
/* Disk images in QEMU's qcow2 format: reads, writes, zeroes, discards. See qcow2.h.
 *
 * A request is served in steps, each within one L2 table: under the lock look at the entries, as
 * far as they are of one kind and their clusters follow each other, then move the data without it.
 * Writes to clusters that are this image's alone go there; all others get new clusters, with the
 * rest of the old contents copied, and the L2 entries change when the data are in the file. */
#include "backend/qcow2.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define STEP_BYTES (8 * MIB) /* most new data in one step */

struct qcow2 *qcow2_of(struct disk *d)
{
    return container_of(d, struct qcow2, disk);
}

void qcow2_damaged(struct qcow2 *q, const char *what, uint64_t where)
{
    if (!q->damaged && q->log)
        log_line(q->log, LOG_WARN, "disk-damaged",
                 "%s: %s at byte 0x%" PRIx64
                 " of the file; nothing more will be written to it, see "
                 "`ring3 image check`",
                 q->disk.name, what, where);
    q->damaged = true;
}

/* ---- work under way; with q->lock ------------------------------------------------------------ */

static void begin(struct qcow2 *q, struct qcow2_op *op, uint64_t first, uint64_t count,
                  bool changes)
{
    *op = (struct qcow2_op){++q->stamp, first, first + count, changes, q->ops.prev, &q->ops};
    q->ops.prev->next = op;
    q->ops.prev = op;
}

static void end(struct qcow2 *q, struct qcow2_op *op)
{
    op->prev->next = op->next;
    op->next->prev = op->prev;
    if (op->changes)
        pthread_cond_broadcast(&q->changed);
}

static bool contended(const struct qcow2 *q, uint64_t first, uint64_t count)
{
    for (const struct qcow2_op *op = q->ops.next; op != &q->ops; op = op->next)
        if (op->changes && op->first < first + count && first < op->end)
            return true;
    return false;
}

/* Wait until entries of these clusters may be changed, and there is room to remember it. Lets the
 * lock go meanwhile. */
static int may_change(struct qcow2 *q, uint64_t first, uint64_t count)
{
    for (;;) {
        int r = qcow2_make_room(q);
        if (r == 0 && q->damaged)
            r = -EIO;
        if (r < 0 || !contended(q, first, count))
            return r;
        pthread_cond_wait(&q->changed, &q->lock);
    }
}

/* ---- reading --------------------------------------------------------------------------------- */

static int read_backing(struct qcow2 *q, uint64_t offset, uint64_t len, struct span to, bool now)
{
    uint64_t bytes = q->backing ? q->backing->bytes : 0;
    uint64_t there = offset >= bytes ? 0 : bytes - offset < len ? bytes - offset : len;
    int r = 0;
    if (there && now)
        r = q->backing->ops->read_now && q->backing->ops->read_now(q->backing, offset, there, to)
                ? 0
                : -EAGAIN;
    else if (there)
        r = q->backing->ops->read(q->backing, offset, there, to);
    if (there < len)
        span_zero(span_behind(to, there), len - there);
    return r;
}

/* Read [offset, +len) of the disk, which `entry` is in charge of: within one cluster, or several
 * that follow each other in the file. The lock is not held. */
static int read_entry(struct qcow2 *q, uint64_t entry, uint64_t offset, uint64_t len,
                      struct span to, bool now)
{
    uint64_t in = offset & (q->cluster_bytes - 1), host = entry & QCOW2_OFFSET;
    uint64_t last = host + (in + len - 1) / q->cluster_bytes * q->cluster_bytes;
    switch (qcow2_kind(q, entry)) {
    case QCOW2_NOWHERE:
        return read_backing(q, offset, len, to, now);
    case QCOW2_ZEROES:
        span_zero(to, len);
        return 0;
    case QCOW2_DATA:
        if (last >= q->file->end)
            return -EIO; /* the file was cut off */
        if (!now)
            return q->file->ops->read(q->file, host + in, len, to);
        return q->file->ops->read_now && q->file->ops->read_now(q->file, host + in, len, to)
                   ? 0
                   : -EAGAIN;
    case QCOW2_PACKED:
        return now ? -EAGAIN : qcow2_unpack(q, entry, in, len, to);
    case QCOW2_BAD:
        break;
    }
    return -EIO;
}

/* How many of `max` entries from the first on go on where it begins. */
static uint64_t same_run(const struct qcow2 *q, const uint64_t *table, uint64_t max)
{
    uint64_t first = table ? be64toh(table[0]) : 0, n = 1;
    enum qcow2_kind kind = qcow2_kind(q, first);
    if (!table)
        return max;
    if (kind == QCOW2_PACKED || kind == QCOW2_BAD)
        return 1;
    for (; n < max; n++) {
        uint64_t next = be64toh(table[n]);
        if (qcow2_kind(q, next) != kind)
            break;
        if (kind == QCOW2_DATA &&
            ((next & QCOW2_OFFSET) != (first & QCOW2_OFFSET) + n * q->cluster_bytes ||
             (next & QCOW2_COPIED) != (first & QCOW2_COPIED)))
            break;
    }
    return n;
}

static uint64_t clusters_of(const struct qcow2 *q, uint64_t offset, uint64_t len)
{
    return ((offset & (q->cluster_bytes - 1)) + len + q->cluster_bytes - 1) >> q->h.cluster_bits;
}

/* Read as much from offset on as is in one run; *len becomes that. */
static int read_step(struct qcow2 *q, uint64_t offset, uint64_t *len, struct span to, bool now)
{
    uint64_t cluster = offset >> q->h.cluster_bits, entry, run, n = clusters_of(q, offset, *len);
    const uint64_t *table;
    struct qcow2_op op;
    if (!now)
        pthread_mutex_lock(&q->lock);
    else if (pthread_mutex_trylock(&q->lock) != 0)
        return -EAGAIN;
    int r = qcow2_lookup(q, cluster, now, &entry, &run, &table);
    if (r == 0) {
        run = same_run(q, table, run < n ? run : n);
        uint64_t bytes = (run << q->h.cluster_bits) - (offset & (q->cluster_bytes - 1));
        *len = *len < bytes ? *len : bytes;
        if (now) { /* cannot take long, but getting the lock again could */
            r = read_entry(q, entry, offset, *len, to, true);
        } else {
            begin(q, &op, cluster, run, false);
            pthread_mutex_unlock(&q->lock);
            r = read_entry(q, entry, offset, *len, to, false);
            pthread_mutex_lock(&q->lock);
            end(q, &op);
        }
    }
    pthread_mutex_unlock(&q->lock);
    return r;
}

static int qcow2_read(struct disk *d, uint64_t offset, uint64_t len, struct span to)
{
    struct qcow2 *q = qcow2_of(d);
    while (len) {
        uint64_t part = len;
        int r = read_step(q, offset, &part, to, false);
        if (r < 0)
            return r;
        to = span_behind(to, part);
        offset += part, len -= part;
    }
    return 0;
}

static bool qcow2_read_now(struct disk *d, uint64_t offset, uint64_t len, struct span to)
{
    struct qcow2 *q = qcow2_of(d);
    while (len) {
        uint64_t part = len;
        if (read_step(q, offset, &part, to, true) < 0)
            return false;
        to = span_behind(to, part);
        offset += part, len -= part;
    }
    return true;
}

/* ---- writing --------------------------------------------------------------------------------- */

static bool reads_zero(const struct qcow2 *q, uint64_t entry, uint64_t cluster)
{
    enum qcow2_kind k = qcow2_kind(q, entry);
    return k == QCOW2_ZEROES ||
           (k == QCOW2_NOWHERE &&
            (!q->backing || cluster << q->h.cluster_bits >= q->backing->bytes));
}

/* The part of a new cluster in front of or behind the data: the old contents. */
static int copy_old(struct qcow2 *q, uint64_t entry, uint64_t at, uint64_t len, uint64_t host)
{
    struct iovec v;
    uint8_t *buf = malloc(len);
    if (!buf)
        return -ENOMEM;
    int r = read_entry(q, entry, at, len, span_of(&v, buf, len), false);
    if (r == 0)
        r = q->file->ops->write(q->file, host + (at & (q->cluster_bytes - 1)), len,
                                span_of(&v, buf, len));
    free(buf);
    return r;
}

/* Data for part of one new cluster, and the rest of it, in one write. */
static int write_whole(struct qcow2 *q, uint64_t entry, uint64_t offset, uint64_t len,
                       struct span from, uint64_t host)
{
    uint64_t in = offset & (q->cluster_bytes - 1), start = offset - in, behind = in + len;
    struct iovec v;
    uint8_t *buf = malloc(q->cluster_bytes);
    int r = buf ? 0 : -ENOMEM;
    if (r == 0 && in)
        r = read_entry(q, entry, start, in, span_of(&v, buf, in), false);
    if (r == 0 && behind < q->cluster_bytes)
        r = read_entry(q, entry, start + behind, q->cluster_bytes - behind,
                       span_of(&v, buf + behind, q->cluster_bytes - behind), false);
    if (r == 0) {
        span_get(from, buf + in, len);
        r = q->file->ops->write(q->file, host, q->cluster_bytes,
                                span_of(&v, buf, q->cluster_bytes));
    }
    free(buf);
    return r;
}

/* Clusters that a write fills anew. */
struct new_run {
    uint64_t first, count, host;  /* guest cluster; clusters; offset in the file */
    bool fresh;                   /* they read as zeros now */
    uint64_t old_first, old_last; /* L2 entries so far */
};

static int fill_run(struct qcow2 *q, const struct new_run *n, uint64_t offset, uint64_t len,
                    struct span from)
{
    uint64_t mask = q->cluster_bytes - 1, in = offset & mask, end = offset + len;
    uint64_t last = n->first + n->count - 1;
    bool head = in && !(n->fresh && reads_zero(q, n->old_first, n->first));
    bool tail = (end & mask) && !(n->fresh && reads_zero(q, n->old_last, last));
    if (n->count == 1 && (head || tail))
        return write_whole(q, n->old_first, offset, len, from, n->host);
    int r = q->file->ops->write(q->file, n->host + in, len, from);
    if (r == 0 && head)
        r = copy_old(q, n->old_first, offset - in, in, n->host);
    if (r == 0 && tail)
        r = copy_old(q, n->old_last, end, q->cluster_bytes - (end & mask),
                     n->host + ((n->count - 1) << q->h.cluster_bits));
    return r;
}

/* With the lock: the L2 entries change. What does not get into the table is free again. */
static int publish_run(struct qcow2 *q, const struct new_run *n, int r)
{
    struct qcow2_table *t;
    uint64_t i = 0;
    if (r == 0)
        r = qcow2_l2_writable(q, n->first, &t);
    for (; i < n->count && r == 0; i++) {
        r = qcow2_set_entry(q, t, n->first + i,
                            (n->host + (i << q->h.cluster_bits)) | QCOW2_COPIED);
        if (r < 0)
            break;
    }
    if (i < n->count)
        qcow2_untake(q, n->host + (i << q->h.cluster_bits), n->count - i);
    return r;
}

static bool in_place(const struct qcow2 *q, uint64_t entry)
{
    return qcow2_kind(q, entry) == QCOW2_DATA && (entry & QCOW2_COPIED);
}

/* With the lock, as may_change() left it; lets it go meanwhile. */
static int write_new(struct qcow2 *q, uint64_t offset, uint64_t *len, struct span from,
                     uint64_t max)
{
    struct new_run n = {.first = offset >> q->h.cluster_bits};
    struct qcow2_table *t;
    struct qcow2_op op;
    int r = qcow2_l2_writable(q, n.first, &t);
    if (r < 0)
        return r;
    const uint64_t *entry = t->bytes + (n.first & (q->l2_entries - 1));
    uint64_t want = 0;
    while (want < max && !in_place(q, be64toh(entry[want]))) {
        if (qcow2_kind(q, be64toh(entry[want])) == QCOW2_BAD) {
            qcow2_damaged(q, "bad entry in the L2 table", t->offset);
            return -EIO;
        }
        want++;
    }
    r = qcow2_take(q, want, &n.host, &n.count, &n.fresh);
    if (r < 0)
        return r;
    n.old_first = be64toh(entry[0]);
    n.old_last = be64toh(entry[n.count - 1]);
    uint64_t bytes = (n.count << q->h.cluster_bits) - (offset & (q->cluster_bytes - 1));
    *len = *len < bytes ? *len : bytes;
    begin(q, &op, n.first, n.count, true);
    pthread_mutex_unlock(&q->lock);
    r = fill_run(q, &n, offset, *len, from);
    pthread_mutex_lock(&q->lock);
    r = publish_run(q, &n, r);
    end(q, &op);
    return r;
}

/* The same for clusters that take the data where they are. */
static int write_in_place(struct qcow2 *q, uint64_t offset, uint64_t *len, struct span from,
                          uint64_t entry, uint64_t run)
{
    uint64_t in = offset & (q->cluster_bytes - 1), host = entry & QCOW2_OFFSET;
    uint64_t bytes = (run << q->h.cluster_bits) - in;
    struct qcow2_op op;
    for (uint64_t i = 0; i < run; i++)
        if (qcow2_set_has(&q->metadata, (host >> q->h.cluster_bits) + i)) {
            qcow2_damaged(q, "guest data in the place of metadata", host);
            return -EIO;
        }
    *len = *len < bytes ? *len : bytes;
    begin(q, &op, offset >> q->h.cluster_bits, run, false);
    pthread_mutex_unlock(&q->lock);
    int r = q->file->ops->write(q->file, host + in, *len, from);
    pthread_mutex_lock(&q->lock);
    end(q, &op);
    return r;
}

static int write_step(struct qcow2 *q, uint64_t offset, uint64_t *len, struct span from)
{
    uint64_t cluster = offset >> q->h.cluster_bits, entry, run;
    const uint64_t *table;
    if (*len > STEP_BYTES)
        *len = STEP_BYTES;
    uint64_t n = clusters_of(q, offset, *len),
             left = q->l2_entries - (cluster & (q->l2_entries - 1));
    if (n > left)
        n = left;
    pthread_mutex_lock(&q->lock);
    int r = may_change(q, cluster, n);
    if (r == 0)
        r = qcow2_lookup(q, cluster, false, &entry, &run, &table);
    if (r == 0 && in_place(q, entry))
        r = write_in_place(q, offset, len, from, entry, same_run(q, table, n));
    else if (r == 0)
        r = write_new(q, offset, len, from, n);
    pthread_mutex_unlock(&q->lock);
    return r;
}

static int qcow2_write(struct disk *d, uint64_t offset, uint64_t len, struct span from)
{
    struct qcow2 *q = qcow2_of(d);
    while (len) {
        uint64_t part = len;
        int r = write_step(q, offset, &part, from);
        if (r < 0)
            return r;
        from = span_behind(from, part);
        offset += part, len -= part;
    }
    return 0;
}

/* ---- zeroes and discards --------------------------------------------------------------------- */

/* What a cluster's entry becomes when its contents are given up; `must`: it has to read as zeros.
 * False: it must be written. */
static bool empty_entry(const struct qcow2 *q, uint64_t cluster, uint64_t entry, bool must,
                        uint64_t *empty)
{
    enum qcow2_kind k = qcow2_kind(q, entry);
    bool below = q->backing && cluster << q->h.cluster_bits < q->backing->bytes;
    *empty = entry;
    if (k == QCOW2_BAD)
        return false;
    if (k == QCOW2_ZEROES && !(entry & QCOW2_OFFSET))
        return true;
    if (k == QCOW2_NOWHERE && (!below || !must))
        return true;
    if (below && q->h.version < 3)
        return !must;
    *empty = below ? QCOW2_ZERO : 0;
    return true;
}

/* Give up `count` whole clusters within one L2 table. -EOPNOTSUPP: write zeros instead. */
static int empty_step(struct qcow2 *q, uint64_t first, uint64_t count, bool must)
{
    uint64_t entry, run, empty, i;
    const uint64_t *table;
    struct qcow2_table *t;
    int r = may_change(q, first, count);
    if (r == 0)
        r = qcow2_lookup(q, first, false, &entry, &run, &table);
    if (r < 0)
        return r;
    for (i = 0; i < count; i++) {
        entry = table ? be64toh(table[i]) : 0;
        if (!empty_entry(q, first + i, entry, must, &empty))
            return -EOPNOTSUPP;
        if (empty != entry)
            break;
    }
    if (i == count)
        return 0; /* nothing changes */
    r = qcow2_l2_writable(q, first, &t);
    for (i = 0; i < count && r == 0; i++) {
        entry = be64toh(t->bytes[(first + i) & (q->l2_entries - 1)]);
        if (empty_entry(q, first + i, entry, must, &empty))
            r = qcow2_set_entry(q, t, first + i, empty);
        else
            r = -EOPNOTSUPP;
    }
    return r;
}

static int write_zero_bytes(struct disk *d, uint64_t offset, uint64_t len)
{
    static const uint8_t zeros[64 * KIB];
    int r = 0;
    while (len && r == 0) {
        struct iovec v;
        uint64_t part = len < sizeof zeros ? len : sizeof zeros;
        r = qcow2_write(d, offset, part, span_of(&v, zeros, part));
        offset += part, len -= part;
    }
    return r;
}

/* Part of a cluster, unless it reads as zeros anyway. */
static int zero_part(struct disk *d, uint64_t offset, uint64_t len)
{
    struct qcow2 *q = qcow2_of(d);
    uint64_t cluster = offset >> q->h.cluster_bits, entry, run;
    const uint64_t *table;
    pthread_mutex_lock(&q->lock);
    int r = may_change(q, cluster, 1);
    if (r == 0)
        r = qcow2_lookup(q, cluster, false, &entry, &run, &table);
    bool zero = r == 0 && reads_zero(q, entry, cluster);
    pthread_mutex_unlock(&q->lock);
    return r < 0 || zero ? r : write_zero_bytes(d, offset, len);
}

static int empty_range(struct disk *d, uint64_t offset, uint64_t len, bool must)
{
    struct qcow2 *q = qcow2_of(d);
    int r = 0;
    while (len && r == 0) {
        uint64_t in = offset & (q->cluster_bytes - 1), cluster = offset >> q->h.cluster_bits;
        uint64_t n = len >> q->h.cluster_bits, part = q->cluster_bytes - in;
        uint64_t left = q->l2_entries - (cluster & (q->l2_entries - 1));
        bool to_the_end = offset + len == d->bytes && len < q->cluster_bytes;
        if (in || (!n && !to_the_end)) {
            part = part < len ? part : len;
            r = must ? zero_part(d, offset, part) : 0;
        } else {
            n = to_the_end ? 1 : n < left ? n : left;
            part = n << q->h.cluster_bits;
            part = part < len ? part : len;
            pthread_mutex_lock(&q->lock);
            r = empty_step(q, cluster, n, must);
            pthread_mutex_unlock(&q->lock);
            if (r == -EOPNOTSUPP)
                r = must ? write_zero_bytes(d, offset, part) : 0;
        }
        offset += part, len -= part;
    }
    return r;
}

static int qcow2_write_zeroes(struct disk *d, uint64_t offset, uint64_t len)
{
    return empty_range(d, offset, len, true);
}

static int qcow2_discard(struct disk *d, uint64_t offset, uint64_t len)
{
    int r = empty_range(d, offset, len, false);
    return r == -EIO ? r : 0;
}

static int qcow2_flush(struct disk *d)
{
    struct qcow2 *q = qcow2_of(d);
    pthread_mutex_lock(&q->lock);
    int r = qcow2_flush_locked(q);
    pthread_mutex_unlock(&q->lock);
    return r;
}

static void qcow2_settle_disk(struct disk *d)
{
    struct qcow2 *q = qcow2_of(d);
    pthread_mutex_lock(&q->lock);
    qcow2_settle(q);
    pthread_mutex_unlock(&q->lock);
}

/* Runs of clusters of one kind, within an L2 table. */
static int qcow2_changed(struct disk *d, uint64_t offset, uint64_t *len)
{
    struct qcow2 *q = qcow2_of(d);
    uint64_t cluster = offset >> q->h.cluster_bits, entry, run, n = 1;
    const uint64_t *table;
    pthread_mutex_lock(&q->lock);
    int r = qcow2_lookup(q, cluster, false, &entry, &run, &table);
    bool here = r == 0 && qcow2_kind(q, entry) != QCOW2_NOWHERE;
    if (r == 0 && !table)
        n = run;
    while (r == 0 && n < run && (qcow2_kind(q, be64toh(table[n])) != QCOW2_NOWHERE) == here)
        n++;
    pthread_mutex_unlock(&q->lock);
    uint64_t end = (cluster + n) << q->h.cluster_bits;
    *len = (end < d->bytes ? end : d->bytes) - offset;
    return r < 0 ? r : here;
}

static void qcow2_free(struct disk *d)
{
    struct qcow2 *q = qcow2_of(d);
    if (!d->read_only && q->l1.entry && q->refs.entry) {
        pthread_mutex_lock(&q->lock);
        int r = qcow2_settle(q);
        pthread_mutex_unlock(&q->lock);
        if (r < 0 && q->log)
            log_line(q->log, LOG_ERROR, "disk-not-saved", "%s: cannot write its tables: %s",
                     d->name, strerror(-r));
    }
    qcow2_cache_free(&q->l2_cache);
    qcow2_cache_free(&q->refs_cache);
    free(q->l1.entry), free(q->l1.dirty);
    free(q->refs.entry), free(q->refs.dirty);
    free(q->metadata.slot);
    free(q->freed);
    free(q->packed), free(q->packed_in);
    disk_free(q->file);
    disk_free(q->backing);
    pthread_mutex_destroy(&q->lock);
    pthread_mutex_destroy(&q->packed_lock);
    pthread_cond_destroy(&q->changed);
    free(d->name);
    free(q);
}

const struct disk_ops qcow2_ops = {
    .read = qcow2_read,
    .read_now = qcow2_read_now,
    .write = qcow2_write,
    .write_zeroes = qcow2_write_zeroes,
    .discard = qcow2_discard,
    .flush = qcow2_flush,
    .settle = qcow2_settle_disk,
    .changed = qcow2_changed,
    .free = qcow2_free,
};
