/* SPDX-License-Identifier: MIT */
/* qcow2: from guest clusters to clusters of the file, by L1 and L2. All under q->lock. */
#include "backend/qcow2.h"

#include <errno.h>

enum qcow2_kind qcow2_kind(const struct qcow2 *q, uint64_t entry)
{
    uint64_t offset = entry & QCOW2_OFFSET;
    if (entry & QCOW2_COMPRESSED)
        return QCOW2_PACKED;
    if ((entry & QCOW2_ZERO) && q->h.version >= 3)
        return offset & (q->cluster_bytes - 1) ? QCOW2_BAD : QCOW2_ZEROES;
    if (!offset)
        return entry & QCOW2_COPIED ? QCOW2_BAD : QCOW2_NOWHERE;
    return offset & (q->cluster_bytes - 1) ? QCOW2_BAD : QCOW2_DATA;
}

static struct qcow2_table *load(struct qcow2 *q, uint64_t l1_entry, int *r)
{
    uint64_t offset = l1_entry & QCOW2_OFFSET;
    if (offset & (q->cluster_bytes - 1)) {
        qcow2_damaged(q, "misaligned L2 table", offset);
        *r = -EIO;
        return NULL;
    }
    return qcow2_cache_get(&q->l2_cache, q->file, offset, false, r);
}

int qcow2_lookup(struct qcow2 *q, uint64_t cluster, bool now, uint64_t *entry, uint64_t *run,
                 const uint64_t **table)
{
    uint64_t l1_entry = q->l1.entry[cluster >> q->l2_bits];
    uint32_t i = cluster & (q->l2_entries - 1);
    struct qcow2_table *t;
    int r = 0;
    *run = q->l2_entries - i;
    *entry = 0;
    *table = NULL;
    if (!(l1_entry & QCOW2_OFFSET))
        return 0;
    if (now)
        t = qcow2_cache_peek(&q->l2_cache, l1_entry & QCOW2_OFFSET);
    else
        t = load(q, l1_entry, &r);
    if (!t)
        return now ? -EAGAIN : r;
    *table = t->bytes + i;
    *entry = be64toh(**table);
    return 0;
}

/* A new table, a copy of `old` or empty, in place of l1_entry. */
static int replace_table(struct qcow2 *q, uint64_t l1_index, struct qcow2_table **t)
{
    uint64_t l1_entry = q->l1.entry[l1_index], offset;
    int r = qcow2_take_metadata(q, &offset);
    if (r < 0)
        return r;
    *t = qcow2_cache_get(&q->l2_cache, q->file, offset, true, &r);
    if (*t && (l1_entry & QCOW2_OFFSET)) {
        struct qcow2_table *old = load(q, l1_entry, &r);
        *t = qcow2_cache_peek(&q->l2_cache, offset); /* clean, so it may have made way */
        if (old && !*t)
            r = -EIO;
        else if (old)
            for (uint32_t i = 0; i < q->l2_entries; i++)
                (*t)->bytes[i] = old->bytes[i];
        if (r == 0)
            r = qcow2_give_back(q, l1_entry & QCOW2_OFFSET, 1);
    }
    if (r < 0) {
        qcow2_untake(q, offset, 1);
        return r;
    }
    qcow2_cache_dirty(&q->l2_cache, *t, 0, q->cluster_bytes);
    qcow2_array_set(&q->l1, (uint32_t)l1_index, offset | QCOW2_COPIED);
    return 0;
}

int qcow2_l2_writable(struct qcow2 *q, uint64_t cluster, struct qcow2_table **t)
{
    uint64_t l1_index = cluster >> q->l2_bits, l1_entry = q->l1.entry[l1_index];
    int r = 0;
    if (!(l1_entry & QCOW2_COPIED) || !(l1_entry & QCOW2_OFFSET))
        return replace_table(q, l1_index, t);
    *t = load(q, l1_entry, &r);
    return r;
}

int qcow2_set_entry(struct qcow2 *q, struct qcow2_table *t, uint64_t cluster, uint64_t entry)
{
    uint32_t i = cluster & (q->l2_entries - 1);
    uint64_t old = be64toh(t->bytes[i]), offset = 0, bytes = 0;
    if (old == entry)
        return 0;
    switch (qcow2_kind(q, old)) {
    case QCOW2_PACKED:
        qcow2_packed_range(q, old, &offset, &bytes);
        break;
    case QCOW2_DATA:
    case QCOW2_ZEROES:
        offset = old & QCOW2_OFFSET;
        bytes = offset ? q->cluster_bytes : 0;
        break;
    case QCOW2_NOWHERE:
        break;
    case QCOW2_BAD:
        return -EIO;
    }
    uint64_t first = offset >> q->h.cluster_bits,
             end = (offset + bytes + q->cluster_bytes - 1) >> q->h.cluster_bits;
    for (uint64_t c = first; c < end; c++)
        if (qcow2_set_has(&q->metadata, c)) {
            qcow2_damaged(q, "guest data in the place of metadata", c << q->h.cluster_bits);
            return -EIO;
        }
    int r = bytes ? qcow2_give_back(q, first << q->h.cluster_bits, end - first) : 0;
    if (r < 0)
        return r;
    t->bytes[i] = htobe64(entry);
    qcow2_cache_dirty(&q->l2_cache, t, i * 8, 8);
    return 0;
}
