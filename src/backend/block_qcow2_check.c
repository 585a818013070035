/* SPDX-License-Identifier: MIT */
/* qcow2: look through a whole image, count how often each cluster is named, and compare with the
 * refcounts and copied flags. Repair puts a new refcount table with all its blocks behind the
 * end, correct as a whole, points the header there, and sets the flags: whatever the old one was
 * like. For images that were not closed properly (the dirty bit) and `ring3 image check`.
 *
 * Reads the file, not the caches; nothing else may be going on. Left out: what persistent bitmaps
 * take, so images with them are not repaired. */
#include "backend/qcow2.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_CLUSTERS (UINT64_C(1) << 28)

struct check {
    struct qcow2 *q;
    struct qcow2_report *r;
    uint32_t *count; /* how often each cluster is named */
    uint64_t clusters, room;
    uint64_t last; /* one behind the last one named */
    bool repair;
};

__attribute__((format(printf, 2, 3))) static void complain(struct check *c, const char *fmt, ...)
{
    c->r->errors++;
    if (c->r->first[0])
        return;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(c->r->first, sizeof c->r->first, fmt, ap);
    va_end(ap);
}

/* False: it does not lie within the file. */
static bool named(struct check *c, uint64_t offset, uint64_t bytes, const char *what)
{
    uint64_t first = offset >> c->q->h.cluster_bits,
             end = (offset + bytes + c->q->cluster_bytes - 1) >> c->q->h.cluster_bits;
    if (!bytes)
        return true;
    if (end > c->clusters) {
        complain(c, "%s at byte 0x%" PRIx64 " lies beyond the end of the file", what, offset);
        return false;
    }
    for (uint64_t i = first; i < end; i++)
        if (c->count[i] < UINT32_MAX)
            c->count[i]++;
    if (c->last < end)
        c->last = end;
    return true;
}

static int read_file(struct check *c, uint64_t offset, void *p, size_t n)
{
    struct iovec v;
    return c->q->file->ops->read(c->q->file, offset, n, span_of(&v, p, n));
}

static void count_entry(struct check *c, uint64_t entry, bool active)
{
    struct qcow2 *q = c->q;
    uint64_t offset, bytes;
    switch (qcow2_kind(q, entry)) {
    case QCOW2_DATA:
    case QCOW2_ZEROES:
        if (entry & QCOW2_OFFSET)
            named(c, entry & QCOW2_OFFSET, q->cluster_bytes, "a data cluster");
        if (active && qcow2_kind(q, entry) == QCOW2_DATA)
            c->r->data++;
        break;
    case QCOW2_PACKED:
        qcow2_packed_range(q, entry, &offset, &bytes);
        named(c, offset, bytes, "a compressed cluster");
        c->r->packed += active;
        break;
    case QCOW2_BAD:
        complain(c, "L2 entry 0x%" PRIx64 " cannot be right", entry);
        break;
    case QCOW2_NOWHERE:
        break;
    }
}

static int count_l2(struct check *c, uint64_t l1_entry, uint64_t *table, bool active)
{
    struct qcow2 *q = c->q;
    uint64_t offset = l1_entry & QCOW2_OFFSET;
    if (!offset)
        return 0;
    if (offset & (q->cluster_bytes - 1)) {
        complain(c, "L1 entry 0x%" PRIx64 " is misaligned", l1_entry);
        return 0;
    }
    if (!named(c, offset, q->cluster_bytes, "an L2 table"))
        return 0;
    int r = read_file(c, offset, table, q->cluster_bytes);
    for (uint32_t i = 0; i < q->l2_entries && r == 0; i++)
        count_entry(c, be64toh(table[i]), active);
    return r;
}

static int count_l1(struct check *c, uint64_t offset, uint64_t entries, uint64_t *table,
                    bool active)
{
    int r = 0;
    if (!named(c, offset, entries * 8, "an L1 table"))
        return 0;
    uint64_t *l1 = malloc(entries * 8 + 1);
    if (!l1)
        return -ENOMEM;
    if (entries)
        r = read_file(c, offset, l1, entries * 8);
    for (uint64_t i = 0; i < entries && r == 0; i++)
        r = count_l2(c, be64toh(l1[i]), table, active);
    free(l1);
    return r;
}

static int count_snapshots(struct check *c, uint64_t *table)
{
    struct qcow2_header *h = &c->q->h;
    uint64_t at = h->snapshots_offset;
    int r = 0;
    for (uint32_t i = 0; i < h->snapshots && r == 0; i++) {
        uint32_t p[10];
        r = read_file(c, at, p, sizeof p);
        if (r < 0)
            break;
        uint64_t l1 = (uint64_t)be32toh(p[0]) << 32 | be32toh(p[1]), entries = be32toh(p[2]);
        uint32_t names = be32toh(p[3]);
        if (entries * 8 > QCOW2_MAX_L1 || (l1 & (c->q->cluster_bytes - 1)) ||
            at - h->snapshots_offset > 64 * MIB) {
            complain(c, "entry %u of the snapshot table cannot be right", i);
            return 0;
        }
        r = count_l1(c, l1, entries, table, false);
        at += (40 + (uint64_t)be32toh(p[9]) + (names >> 16) + (names & 0xffff) + 7) & ~UINT64_C(7);
    }
    named(c, h->snapshots_offset, at - h->snapshots_offset, "the snapshot table");
    return r;
}

/* All but the refcount structures. */
static int count_all(struct check *c)
{
    struct qcow2 *q = c->q;
    uint64_t *table = malloc(q->cluster_bytes);
    int r = table ? 0 : -ENOMEM;
    named(c, 0, q->cluster_bytes, "the header");
    if (r == 0)
        r = count_l1(c, q->l1.offset, q->l1.entries, table, true);
    if (r == 0)
        r = count_snapshots(c, table);
    free(table);
    return r;
}

static void count_refs(struct check *c, uint32_t add)
{
    struct qcow2 *q = c->q;
    uint64_t bytes = (uint64_t)q->refs.entries * 8;
    for (uint64_t i = 0; i < bytes >> q->h.cluster_bits; i++)
        if ((q->refs.offset >> q->h.cluster_bits) + i < c->clusters)
            c->count[(q->refs.offset >> q->h.cluster_bits) + i] += add;
    for (uint32_t i = 0; i < q->refs.entries; i++) {
        uint64_t at = q->refs.entry[i];
        if (!at)
            continue;
        if (at & (q->cluster_bytes - 1) || at >> q->h.cluster_bits >= c->clusters) {
            if (add == 1)
                complain(c, "refcount block at byte 0x%" PRIx64 " cannot be right", at);
        } else {
            c->count[at >> q->h.cluster_bits] += add;
        }
    }
}

/* ---- comparing ------------------------------------------------------------------------------- */

static int compare_block(struct check *c, uint64_t first, const uint8_t *block)
{
    struct qcow2 *q = c->q;
    for (uint64_t i = 0; i < q->refs_per_block; i++) {
        uint64_t have = block ? qcow2_ref_read(block, q->h.refcount_order, i) : 0;
        uint64_t want = first + i < c->clusters ? c->count[first + i] : 0;
        if (!block && first + i >= c->clusters)
            break;
        c->r->clusters += want != 0;
        if (have > want)
            c->r->leaks++;
        else if (have < want)
            complain(c,
                     "the cluster at byte 0x%" PRIx64 " is named %" PRIu64
                     " times, its refcount is %" PRIu64,
                     (first + i) << q->h.cluster_bits, want, have);
    }
    return 0;
}

static int compare_refs(struct check *c)
{
    struct qcow2 *q = c->q;
    uint8_t *block = malloc(q->cluster_bytes);
    int r = block ? 0 : -ENOMEM;
    for (uint32_t i = 0; i < q->refs.entries && r == 0; i++) {
        uint64_t at = q->refs.entry[i], first = (uint64_t)i << q->refs_bits;
        bool there = at && !(at & (q->cluster_bytes - 1)) && at < q->file->end;
        if (there)
            r = read_file(c, at, block, q->cluster_bytes);
        if (r == 0 && (there || first < c->clusters))
            r = compare_block(c, first, there ? block : NULL);
    }
    for (uint64_t i = (uint64_t)q->refs.entries << q->refs_bits; i < c->clusters; i++)
        if (c->count[i])
            complain(c, "the cluster at byte 0x%" PRIx64 " is beyond the refcount table",
                     i << q->h.cluster_bits);
    free(block);
    return r;
}

/* The copied flag of an entry must say whether its cluster is named once. */
static bool flag_wrong(struct check *c, uint64_t entry)
{
    uint64_t cluster = (entry & QCOW2_OFFSET) >> c->q->h.cluster_bits;
    if (!cluster || cluster >= c->clusters)
        return false;
    return (c->count[cluster] == 1) != !!(entry & QCOW2_COPIED);
}

static int write_file(struct check *c, uint64_t offset, const void *p, size_t n)
{
    struct iovec v;
    return c->q->file->ops->write(c->q->file, offset, n, span_of(&v, p, n));
}

static int compare_flags_l2(struct check *c, uint64_t offset, uint64_t *table)
{
    struct qcow2 *q = c->q;
    bool changed = false;
    int r = read_file(c, offset, table, q->cluster_bytes);
    for (uint32_t i = 0; i < q->l2_entries && r == 0; i++) {
        uint64_t entry = be64toh(table[i]);
        enum qcow2_kind k = qcow2_kind(q, entry);
        if ((k != QCOW2_DATA && k != QCOW2_ZEROES) || !flag_wrong(c, entry))
            continue;
        complain(c, "the copied flag of the cluster at byte 0x%" PRIx64 " is wrong",
                 (uint64_t)(entry & QCOW2_OFFSET));
        table[i] = htobe64(entry ^ QCOW2_COPIED);
        changed = true;
    }
    return r == 0 && changed && c->repair ? write_file(c, offset, table, q->cluster_bytes) : r;
}

static int compare_flags(struct check *c)
{
    struct qcow2 *q = c->q;
    uint64_t *table = malloc(q->cluster_bytes);
    int r = table ? 0 : -ENOMEM;
    for (uint32_t i = 0; i < q->l1.entries && r == 0; i++) {
        uint64_t entry = q->l1.entry[i], offset = entry & QCOW2_OFFSET;
        if (!offset || offset & (q->cluster_bytes - 1) || offset >= q->file->end)
            continue;
        if (flag_wrong(c, entry)) {
            complain(c, "the copied flag of the L2 table at byte 0x%" PRIx64 " is wrong", offset);
            q->l1.entry[i] = entry ^ QCOW2_COPIED;
            uint64_t be = htobe64(q->l1.entry[i]);
            if (c->repair)
                r = write_file(c, q->l1.offset + (uint64_t)i * 8, &be, 8);
        }
        if (r == 0 && !(flag_wrong(c, q->l1.entry[i])) &&
            c->count[offset >> q->h.cluster_bits] == 1)
            r = compare_flags_l2(c, offset, table);
    }
    free(table);
    return r;
}

/* ---- repairing ------------------------------------------------------------------------------- */

/* Sizes of refcount structures that count themselves, too. */
static void plan(const struct qcow2 *q, uint64_t used, uint64_t *blocks, uint64_t *table)
{
    *blocks = *table = 0;
    for (;;) {
        uint64_t total = used + *blocks + *table;
        uint64_t b = (total + q->refs_per_block - 1) >> q->refs_bits;
        uint64_t t = (b * 8 + q->cluster_bytes - 1) >> q->h.cluster_bits;
        if (b == *blocks && t == *table)
            return;
        *blocks = b, *table = t;
    }
}

static int write_blocks(struct check *c, uint64_t blocks, uint64_t table)
{
    struct qcow2 *q = c->q;
    uint64_t start = c->last, end = start + blocks + table;
    uint8_t *block = malloc(q->cluster_bytes);
    uint64_t *entries = calloc(table, q->cluster_bytes);
    int r = block && entries ? 0 : -ENOMEM;
    for (uint64_t b = 0; b < blocks && r == 0; b++) {
        memset(block, 0, q->cluster_bytes);
        for (uint64_t i = 0; i < q->refs_per_block; i++) {
            uint64_t at = (b << q->refs_bits) + i;
            uint64_t n = at < start ? c->count[at] : at < end;
            if (q->h.refcount_order < 6 && n >> (1u << q->h.refcount_order))
                r = -EOVERFLOW;
            qcow2_ref_write(block, q->h.refcount_order, i, n);
        }
        entries[b] = htobe64((start + b) << q->h.cluster_bits);
        if (r == 0)
            r = write_file(c, (start + b) << q->h.cluster_bits, block, q->cluster_bytes);
    }
    if (r == 0)
        r = write_file(c, (start + blocks) << q->h.cluster_bits, entries,
                       table << q->h.cluster_bits);
    free(block);
    free(entries);
    return r;
}

static int rebuild(struct check *c)
{
    struct qcow2 *q = c->q;
    uint64_t blocks, table;
    count_refs(c, (uint32_t)-1); /* the old ones no longer count */
    plan(q, c->last, &blocks, &table);
    if (table << q->h.cluster_bits > QCOW2_MAX_REFS)
        return -EFBIG;
    int r = write_blocks(c, blocks, table);
    if (r == 0)
        r = q->file->ops->flush(q->file);
    if (r < 0)
        return r;
    uint8_t both[12];
    q->h.refs_offset = (c->last + blocks) << q->h.cluster_bits;
    q->h.refs_clusters = (uint32_t)table;
    uint64_t offset = htobe64(q->h.refs_offset);
    uint32_t clusters = htobe32(q->h.refs_clusters);
    memcpy(both, &offset, 8);
    memcpy(both + 8, &clusters, 4);
    r = write_file(c, 48, both, sizeof both);
    return r < 0 ? r : q->file->ops->flush(q->file);
}

static int repair(struct check *c)
{
    struct qcow2 *q = c->q;
    int r = c->r->errors || c->r->leaks ? rebuild(c) : 0;
    if (r == 0 && (q->h.incompatible & QCOW2_DIRTY)) {
        q->h.incompatible &= ~(uint64_t)QCOW2_DIRTY;
        uint64_t be = htobe64(q->h.incompatible);
        r = write_file(c, 72, &be, 8);
        if (r == 0)
            r = q->file->ops->flush(q->file);
    }
    return r;
}

int qcow2_check(struct qcow2 *q, bool fix, struct qcow2_report *report, struct err *e)
{
    struct check c = {.q = q, .r = report, .repair = fix};
    memset(report, 0, sizeof *report);
    c.clusters = (q->file->end + q->cluster_bytes - 1) >> q->h.cluster_bits;
    if (c.clusters > MAX_CLUSTERS)
        return err_set(e, EFBIG, "qcow2-check", "%s: has too many clusters to be checked",
                       q->disk.name);
    if (q->h.autoclear & QCOW2_AUTOCLEAR_BITMAPS)
        return err_set(e, EINVAL, "qcow2-check",
                       "%s: has persistent bitmaps; check it with `qemu-img check`", q->disk.name);
    c.count = calloc(c.clusters + 1, sizeof *c.count);
    int r = c.count ? 0 : -ENOMEM;
    if (r == 0)
        r = count_all(&c);
    uint64_t hopeless = report->errors; /* so far: what no refcount can mend */
    if (r == 0) {
        count_refs(&c, 1);
        r = compare_refs(&c);
    }
    if (r == 0)
        r = compare_flags(&c);
    if (r == 0 && fix && !hopeless)
        r = repair(&c);
    if (r == 0 && fix && !hopeless)
        report->fixed = report->errors;
    free(c.count);
    if (r < 0)
        return err_set(e, -r, "qcow2-check", "%s: cannot be checked%s: %s", q->disk.name,
                       fix ? " and repaired" : "", strerror(-r));
    return 0;
}
