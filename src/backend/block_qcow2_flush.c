/* SPDX-License-Identifier: MIT */
/* qcow2: what reaches the file in which order.
 *
 * Whatever the host loses at whatever moment, the file must hold a consistent image with all that
 * was flushed. Between two syncs the host may write in any order, so what must come first is
 * synced first:
 *
 *   guest data, refcount blocks      a sync
 *   refcount table, where changed    a sync
 *   L2 tables, where changed         a sync
 *   L1 table, where changed          a sync
 *   then lower the counts of clusters that no table names any more, and use them again
 *
 * Each line may name only what the lines above it have made durable: the refcount table blocks
 * that are there, L2 clusters that hold their data and are counted, L1 tables that are complete.
 * A crash in between leaves clusters that are counted but not used: leaks, which do no
 * harm, and which are gone after an orderly end.
 *
 * What is to be written is copied under the lock, all at one moment; the writing and syncing
 * is done without it, so that reads and writes go on. Cached tables stay where they are meanwhile
 * (`busy`), since the file does not yet say what they do. */
#include "backend/qcow2.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SECTOR         512u
#define SECTOR_ENTRIES 64u

enum stage { BLOCKS, REF_TABLE, L2, L1, STAGES };

struct piece {
    struct piece *next;
    struct qcow2_table *table; /* or NULL: a sector of an array */
    uint32_t sector;           /* of the array */
    uint64_t offset;           /* in the file */
    uint32_t bytes;
    uint8_t data[];
};
struct batch {
    struct piece *stage[STAGES];
};

static struct piece *new_piece(struct batch *b, enum stage s, uint32_t bytes)
{
    struct piece *p = malloc(sizeof *p + bytes);
    if (!p)
        return NULL;
    *p = (struct piece){.next = b->stage[s], .bytes = bytes};
    b->stage[s] = p;
    return p;
}

static int copy_cache(struct batch *b, enum stage s, struct qcow2_cache *c)
{
    for (struct qcow2_table *t = c->oldest; t; t = t->newer) {
        if (t->dirty_from == t->dirty_to)
            continue;
        uint32_t from = t->dirty_from / SECTOR * SECTOR;
        uint32_t to = (t->dirty_to + SECTOR - 1) / SECTOR * SECTOR;
        struct piece *p = new_piece(b, s, to - from);
        if (!p)
            return -ENOMEM;
        p->table = t;
        p->offset = t->offset + from;
        memcpy(p->data, (uint8_t *)t->bytes + from, to - from);
        t->busy = true; /* unclean before and after */
        t->dirty_from = t->dirty_to = 0;
    }
    return 0;
}

static int copy_array(struct batch *b, enum stage s, struct qcow2_array *a)
{
    if (!a->any_dirty)
        return 0;
    for (uint32_t i = 0; i * SECTOR_ENTRIES < a->entries; i++) {
        if (!a->dirty[i])
            continue;
        uint32_t n = a->entries - i * SECTOR_ENTRIES;
        n = n < SECTOR_ENTRIES ? n : SECTOR_ENTRIES;
        struct piece *p = new_piece(b, s, n * 8);
        if (!p)
            return -ENOMEM;
        p->sector = i;
        p->offset = a->offset + (uint64_t)i * SECTOR;
        for (uint32_t k = 0; k < n; k++) {
            uint64_t be = htobe64(a->entry[i * SECTOR_ENTRIES + k]);
            memcpy(p->data + k * 8, &be, 8);
        }
        a->dirty[i] = 0;
    }
    a->any_dirty = false;
    return 0;
}

/* Take the pieces back: on disk, or dirty again. */
static void end_batch(struct qcow2 *q, struct batch *b, bool written)
{
    for (int s = 0; s < STAGES; s++)
        while (b->stage[s]) {
            struct piece *p = b->stage[s];
            struct qcow2_cache *c = s == BLOCKS ? &q->refs_cache : &q->l2_cache;
            struct qcow2_array *a = s == REF_TABLE ? &q->refs : &q->l1;
            b->stage[s] = p->next;
            if (p->table && !written)
                qcow2_cache_dirty(c, p->table, (uint32_t)(p->offset - p->table->offset), p->bytes);
            if (p->table)
                qcow2_cache_clean(c, p->table);
            else if (!written)
                a->dirty[p->sector] = 1, a->any_dirty = true;
            free(p);
        }
}

static int write_stage(struct qcow2 *q, const struct piece *p)
{
    for (; p; p = p->next) {
        struct iovec v;
        int r = q->file->ops->write(q->file, p->offset, p->bytes, span_of(&v, p->data, p->bytes));
        if (r < 0)
            return r;
    }
    return 0;
}

static int write_batch(struct qcow2 *q, const struct batch *b)
{
    int r = write_stage(q, b->stage[BLOCKS]);
    for (int s = REF_TABLE; s < STAGES && r == 0; s++) {
        if (!b->stage[s])
            continue;
        r = q->file->ops->flush(q->file);
        if (r == 0)
            r = write_stage(q, b->stage[s]);
    }
    return r < 0 ? r : q->file->ops->flush(q->file);
}

int qcow2_flush_locked(struct qcow2 *q)
{
    while (q->flushing) /* what it writes may be older than what we must */
        pthread_cond_wait(&q->changed, &q->lock);
    struct batch b = {{0}};
    uint64_t freed = q->freed_count;
    int r = copy_cache(&b, BLOCKS, &q->refs_cache);
    if (r == 0)
        r = copy_array(&b, REF_TABLE, &q->refs);
    if (r == 0)
        r = copy_cache(&b, L2, &q->l2_cache);
    if (r == 0)
        r = copy_array(&b, L1, &q->l1);
    if (r == 0) {
        q->flushing = true;
        pthread_mutex_unlock(&q->lock);
        r = write_batch(q, &b);
        pthread_mutex_lock(&q->lock);
        q->flushing = false;
    }
    end_batch(q, &b, r == 0);
    if (r == 0)
        qcow2_apply_freed(q, freed);
    pthread_cond_broadcast(&q->changed);
    return r;
}

int qcow2_make_room(struct qcow2 *q)
{
    if (q->l2_cache.unclean <= q->l2_cache.limit / 2 &&
        q->refs_cache.unclean <= q->refs_cache.limit / 2 && q->freed_count < 65536)
        return 0;
    return qcow2_flush_locked(q);
}

int qcow2_settle(struct qcow2 *q)
{
    int r;
    uint64_t before;
    do {
        before = q->freed_count;
        r = qcow2_flush_locked(q);
    } while (r == 0 && (q->freed_count || q->refs_cache.unclean) &&
             (q->freed_count != before || q->refs_cache.unclean));
    return r;
}
