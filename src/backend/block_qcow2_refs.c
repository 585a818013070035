/* SPDX-License-Identifier: MIT */
/* qcow2: refcounts of the file's clusters. All under q->lock.
 *
 * ring3 makes no snapshots, so counts rise from 0 to 1 only, and fall when something that an
 * internal snapshot may share is written anew. A count falls in two steps: qcow2_give_back() notes
 * the cluster, qcow2_apply_freed() lowers the count when the tables that named it are on disk
 * without it and nobody still reads there. */
#include "backend/qcow2.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MAX_CLUSTER(q) ((UINT64_C(1) << 56) >> (q)->h.cluster_bits)

uint64_t qcow2_ref_read(const void *block, unsigned order, uint64_t i)
{
    const uint8_t *p = block;
    unsigned bits = 1u << order;
    if (bits < 8)
        return p[i * bits / 8] >> (i * bits % 8) & ((1u << bits) - 1);
    uint64_t value = 0;
    for (unsigned n = 0; n < bits / 8; n++)
        value = value << 8 | p[i * (bits / 8) + n];
    return value;
}

void qcow2_ref_write(void *block, unsigned order, uint64_t i, uint64_t value)
{
    uint8_t *p = block;
    unsigned bits = 1u << order;
    if (bits < 8) {
        unsigned shift = i * bits % 8, mask = ((1u << bits) - 1) << shift;
        uint8_t *at = &p[i * bits / 8];
        *at = (uint8_t)((*at & ~mask) | (value << shift & mask));
        return;
    }
    for (unsigned n = bits / 8; n--; value >>= 8)
        p[i * (bits / 8) + n] = (uint8_t)value;
}

/* The block of a cluster's refcount; NULL with *r == 0: there is none, the count is 0. */
static struct qcow2_table *block_of(struct qcow2 *q, uint64_t cluster, int *r)
{
    uint64_t i = cluster >> q->refs_bits;
    *r = 0;
    if (i >= q->refs.entries || !q->refs.entry[i])
        return NULL;
    return qcow2_cache_get(&q->refs_cache, q->file, q->refs.entry[i], false, r);
}

int qcow2_refcount(struct qcow2 *q, uint64_t cluster, uint64_t *count)
{
    int r;
    struct qcow2_table *t = block_of(q, cluster, &r);
    *count =
        t ? qcow2_ref_read(t->bytes, q->h.refcount_order, cluster & (q->refs_per_block - 1)) : 0;
    return r;
}

static void set_count(struct qcow2 *q, struct qcow2_table *t, uint64_t cluster, uint64_t count)
{
    uint64_t i = cluster & (q->refs_per_block - 1);
    uint32_t byte = (uint32_t)(i << q->h.refcount_order >> 3);
    qcow2_ref_write(t->bytes, q->h.refcount_order, i, count);
    qcow2_cache_dirty(&q->refs_cache, t, byte,
                      q->h.refcount_order < 3 ? 1 : 1u << q->h.refcount_order >> 3);
}

static void forget_metadata(struct qcow2 *q, uint64_t cluster)
{
    /* Open addressing: take it out and put what follows in its row back. */
    struct qcow2_set *s = &q->metadata;
    if (!qcow2_set_has(s, cluster))
        return;
    uint64_t i = (cluster + 1) * UINT64_C(0x9e3779b97f4a7c15) & (s->slots - 1);
    while (s->slot[i] != cluster + 1)
        i = (i + 1) & (s->slots - 1);
    s->slot[i] = 0;
    s->count--;
    for (i = (i + 1) & (s->slots - 1); s->slot[i]; i = (i + 1) & (s->slots - 1)) {
        uint64_t key = s->slot[i];
        s->slot[i] = 0;
        s->count--;
        qcow2_set_add(s, key - 1);
    }
}

/* ---- taking ---------------------------------------------------------------------------------- */

static void took(struct qcow2 *q, uint64_t end)
{
    if (q->high < end)
        q->high = end;
}

/* A refcount block for the part that `cluster`, which is free, lies in; it is put there. */
static int new_block(struct qcow2 *q, uint64_t cluster)
{
    int r = qcow2_set_add(&q->metadata, cluster);
    if (r == -EEXIST) {
        qcow2_damaged(q, "free cluster that holds metadata", cluster << q->h.cluster_bits);
        return -EIO;
    }
    if (r < 0)
        return r;
    struct qcow2_table *t =
        qcow2_cache_get(&q->refs_cache, q->file, cluster << q->h.cluster_bits, true, &r);
    if (!t) {
        forget_metadata(q, cluster);
        return r;
    }
    qcow2_cache_dirty(&q->refs_cache, t, 0, q->cluster_bytes);
    set_count(q, t, cluster, 1);
    qcow2_array_set(&q->refs, (uint32_t)(cluster >> q->refs_bits), cluster << q->h.cluster_bits);
    took(q, cluster + 1);
    return 0;
}

static int write_file(struct qcow2 *q, uint64_t offset, const void *p, size_t n)
{
    struct iovec v;
    return q->file->ops->write(q->file, offset, n, span_of(&v, p, n));
}

/* Point the header to another refcount table, which is on disk. */
static int switch_table(struct qcow2 *q, uint64_t offset, uint32_t clusters)
{
    uint64_t be_offset = htobe64(offset);
    uint32_t be_clusters = htobe32(clusters);
    uint8_t both[12]; /* neighbours in one sector */
    memcpy(both, &be_offset, 8);
    memcpy(both + 8, &be_clusters, 4);
    int r = q->file->ops->flush(q->file);
    if (r == 0)
        r = write_file(q, 48, both, sizeof both);
    return r < 0 ? r : q->file->ops->flush(q->file);
}

/* Write the new table behind what the old one covers, with the blocks that count both. */
static int write_larger(struct qcow2 *q, struct qcow2_array *a, uint64_t start, uint64_t blocks,
                        uint64_t clusters)
{
    uint8_t *block = malloc(q->cluster_bytes);
    uint64_t *table = calloc(a->entries, sizeof *table);
    int r = block && table ? 0 : -ENOMEM;
    uint64_t used = blocks + clusters;
    for (uint64_t b = 0; b < blocks && r == 0; b++) {
        memset(block, 0, q->cluster_bytes);
        for (uint64_t i = 0; i < q->refs_per_block && b * q->refs_per_block + i < used; i++)
            qcow2_ref_write(block, q->h.refcount_order, i, 1);
        a->entry[(start >> q->refs_bits) + b] = (start + b) << q->h.cluster_bits;
        r = write_file(q, (start + b) << q->h.cluster_bits, block, q->cluster_bytes);
    }
    for (uint64_t i = 0; i < a->entries && r == 0; i++)
        table[i] = htobe64(a->entry[i]);
    if (r == 0)
        r = write_file(q, a->offset, table, a->entries * sizeof *table);
    for (uint64_t i = 0; i < used && r == 0; i++) {
        r = qcow2_set_add(&q->metadata, start + i);
        if (r == -EEXIST)
            r = -EIO;
    }
    free(block);
    free(table);
    return r;
}

/* The refcount table is full: move it. Rare, so it waits for the disk under the lock. */
static int grow_table(struct qcow2 *q)
{
    uint64_t start = (uint64_t)q->refs.entries << q->refs_bits; /* nothing there is in use */
    uint64_t blocks = 0, clusters, entries;
    do { /* until the new blocks count themselves and the table */
        blocks++;
        entries = q->refs.entries + blocks;
        entries += entries / 2 + 64;
        clusters = (entries * 8 + q->cluster_bytes - 1) / q->cluster_bytes;
    } while (blocks << q->refs_bits < blocks + clusters);
    entries = clusters * q->cluster_bytes / 8;
    if (clusters * q->cluster_bytes > QCOW2_MAX_REFS || start + blocks + clusters > MAX_CLUSTER(q))
        return -ENOSPC;
    struct qcow2_array a;
    int r = qcow2_array_init(&a, (start + blocks) << q->h.cluster_bits, (uint32_t)entries);
    if (r < 0)
        return r;
    memcpy(a.entry, q->refs.entry, q->refs.entries * sizeof *a.entry);
    /* Entries that the old table's flush would have written go along: their blocks come first. */
    for (struct qcow2_table *t = q->refs_cache.oldest; t && r == 0; t = t->newer)
        if (t->dirty_from != t->dirty_to)
            r = write_file(q, t->offset, t->bytes, q->cluster_bytes);
    if (r == 0)
        r = write_larger(q, &a, start, blocks, clusters);
    if (r == 0)
        r = switch_table(q, a.offset, (uint32_t)clusters);
    if (r < 0) {
        for (uint64_t i = 0; i < blocks + clusters; i++)
            forget_metadata(q, start + i);
        free(a.entry);
        free(a.dirty);
        return r;
    }
    uint64_t old = q->refs.offset, old_clusters = (uint64_t)q->refs.entries * 8 / q->cluster_bytes;
    free(q->refs.entry);
    free(q->refs.dirty);
    q->refs = a;
    took(q, start + blocks + clusters);
    return qcow2_give_back(q, old, old_clusters);
}

/* The first free cluster from free_hint on, with a refcount block for it. */
static int find_free(struct qcow2 *q, uint64_t *cluster)
{
    for (uint64_t i = q->free_hint; i < MAX_CLUSTER(q);) {
        if (i >> q->refs_bits >= q->refs.entries) {
            int r = grow_table(q);
            if (r < 0)
                return r;
            continue;
        }
        int r;
        struct qcow2_table *t = block_of(q, i, &r);
        if (r < 0)
            return r;
        if (!t) {
            r = new_block(q, i);
            if (r < 0)
                return r;
            i++;
            continue;
        }
        uint64_t end = (i | (q->refs_per_block - 1)) + 1;
        for (; i < end; i++)
            if (!qcow2_ref_read(t->bytes, q->h.refcount_order, i & (q->refs_per_block - 1))) {
                *cluster = i;
                return 0;
            }
    }
    return -ENOSPC;
}

int qcow2_take(struct qcow2 *q, uint64_t want, uint64_t *offset, uint64_t *got, bool *fresh)
{
    uint64_t first = 0, n = 0;
    if (q->damaged)
        return -EIO;
    int r = find_free(q, &first);
    if (r < 0)
        return r;
    struct qcow2_table *t = block_of(q, first, &r);
    if (!t)
        return r < 0 ? r : -EIO;
    uint64_t end = (first | (q->refs_per_block - 1)) + 1;
    while (n < want && first + n < end &&
           !qcow2_ref_read(t->bytes, q->h.refcount_order, (first + n) & (q->refs_per_block - 1))) {
        if (qcow2_set_has(&q->metadata, first + n)) {
            qcow2_damaged(q, "free cluster that holds metadata", (first + n) << q->h.cluster_bits);
            return -EIO;
        }
        n++;
    }
    for (uint64_t i = 0; i < n; i++)
        set_count(q, t, first + i, 1);
    *fresh = first >= q->high;
    took(q, first + n);
    q->free_hint = first + n;
    *offset = first << q->h.cluster_bits;
    *got = n;
    return 0;
}

int qcow2_take_metadata(struct qcow2 *q, uint64_t *offset)
{
    uint64_t got;
    bool fresh;
    int r = qcow2_take(q, 1, offset, &got, &fresh);
    if (r < 0)
        return r;
    r = qcow2_set_add(&q->metadata, *offset >> q->h.cluster_bits);
    if (r < 0)
        qcow2_untake(q, *offset, 1);
    return r;
}

/* ---- giving back ----------------------------------------------------------------------------- */

/* Lower the count of one cluster. */
static int lower(struct qcow2 *q, uint64_t cluster)
{
    int r;
    struct qcow2_table *t = block_of(q, cluster, &r);
    uint64_t i = cluster & (q->refs_per_block - 1);
    uint64_t count = t ? qcow2_ref_read(t->bytes, q->h.refcount_order, i) : 0;
    if (r < 0)
        return r;
    if (!count) {
        qcow2_damaged(q, "cluster in use with refcount 0", cluster << q->h.cluster_bits);
        return -EIO;
    }
    set_count(q, t, cluster, count - 1);
    return count == 1;
}

void qcow2_untake(struct qcow2 *q, uint64_t offset, uint64_t clusters)
{
    uint64_t first = offset >> q->h.cluster_bits;
    for (uint64_t i = first; i < first + clusters; i++) {
        if (lower(q, i) == 1)
            forget_metadata(q, i);
        if (q->free_hint > i)
            q->free_hint = i;
    }
}

int qcow2_give_back(struct qcow2 *q, uint64_t offset, uint64_t clusters)
{
    struct qcow2_freed *last = q->freed_count ? &q->freed[q->freed_count - 1] : NULL;
    if (last && last->offset + (last->clusters << q->h.cluster_bits) == offset &&
        last->stamp == q->stamp) {
        last->clusters += clusters;
        return 0;
    }
    if (q->freed_count == q->freed_room) {
        uint64_t room = q->freed_room ? q->freed_room * 2 : 64;
        struct qcow2_freed *more = realloc(q->freed, room * sizeof *more);
        if (!more)
            return -ENOMEM;
        q->freed = more;
        q->freed_room = room;
    }
    q->freed[q->freed_count++] = (struct qcow2_freed){offset, clusters, q->stamp};
    return 0;
}

static void release(struct qcow2 *q, const struct qcow2_freed *f)
{
    uint64_t first = f->offset >> q->h.cluster_bits;
    uint64_t hole = first, end = first + f->clusters;
    for (uint64_t i = first; i < end; i++) {
        bool gone = lower(q, i) == 1;
        if (gone) {
            forget_metadata(q, i);
            if (q->free_hint > i)
                q->free_hint = i;
            continue;
        }
        if (i > hole)
            q->file->ops->discard(q->file, hole << q->h.cluster_bits,
                                  (i - hole) << q->h.cluster_bits);
        hole = i + 1;
    }
    if (end > hole)
        q->file->ops->discard(q->file, hole << q->h.cluster_bits,
                              (end - hole) << q->h.cluster_bits);
}

void qcow2_apply_freed(struct qcow2 *q, uint64_t count)
{
    uint64_t oldest = q->ops.next != &q->ops ? q->ops.next->stamp : UINT64_MAX, kept = 0;
    for (uint64_t i = 0; i < q->freed_count; i++) {
        if (i < count && q->freed[i].stamp < oldest && !q->damaged &&
            q->refs_cache.unclean <= q->refs_cache.limit / 2)
            release(q, &q->freed[i]);
        else
            q->freed[kept++] = q->freed[i];
    }
    q->freed_count = kept;
}
