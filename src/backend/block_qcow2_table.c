/* SPDX-License-Identifier: MIT */
/* Metadata of a qcow2 image in memory: caches of tables, arrays that are there as a whole, and the
 * set of clusters that hold metadata. All under q->lock.
 *
 * A cache gives the table used least recently away when it is full, but only one that is clean. Its
 * limit is therefore soft: who changes tables calls qcow2_make_room() first, which keeps at most
 * half of them unclean. */
#include "backend/qcow2.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SECTOR_ENTRIES 64u

/* ---- caches ---------------------------------------------------------------------------------- */

int qcow2_cache_init(struct qcow2_cache *c, uint32_t table_bytes, uint64_t bytes)
{
    uint64_t limit = bytes / table_bytes;
    c->table_bytes = table_bytes;
    c->limit = limit < 8 ? 8 : (unsigned)limit;
    c->hash_bits = 1;
    while (1u << c->hash_bits < c->limit)
        c->hash_bits++;
    c->hash = calloc((size_t)1 << c->hash_bits, sizeof *c->hash);
    return c->hash ? 0 : -ENOMEM;
}

static struct qcow2_table **bucket(struct qcow2_cache *c, uint64_t offset)
{
    return &c->hash[(offset >> 9) * UINT64_C(0x9e3779b97f4a7c15) >> (64 - c->hash_bits)];
}

static void unlink_age(struct qcow2_cache *c, struct qcow2_table *t)
{
    *(t->older ? &t->older->newer : &c->oldest) = t->newer;
    *(t->newer ? &t->newer->older : &c->newest) = t->older;
    t->older = t->newer = NULL;
}

static void link_newest(struct qcow2_cache *c, struct qcow2_table *t)
{
    t->older = c->newest;
    *(c->newest ? &c->newest->newer : &c->oldest) = t;
    c->newest = t;
}

static void drop(struct qcow2_cache *c, struct qcow2_table *t)
{
    struct qcow2_table **at = bucket(c, t->offset);
    while (*at != t)
        at = &(*at)->hash_next;
    *at = t->hash_next;
    unlink_age(c, t);
    c->count--;
    free(t->bytes);
    free(t);
}

void qcow2_cache_free(struct qcow2_cache *c)
{
    while (c->oldest)
        drop(c, c->oldest);
    free(c->hash);
}

struct qcow2_table *qcow2_cache_peek(struct qcow2_cache *c, uint64_t offset)
{
    for (struct qcow2_table *t = *bucket(c, offset); t; t = t->hash_next)
        if (t->offset == offset) {
            if (t != c->newest) {
                unlink_age(c, t);
                link_newest(c, t);
            }
            return t;
        }
    return NULL;
}

static void make_way(struct qcow2_cache *c)
{
    struct qcow2_table *t = c->oldest;
    while (t && c->count >= c->limit) {
        struct qcow2_table *newer = t->newer;
        if (t->dirty_from == t->dirty_to && !t->busy)
            drop(c, t);
        t = newer;
    }
}

static struct qcow2_table *new_table(struct qcow2_cache *c, uint64_t offset)
{
    struct qcow2_table *t = calloc(1, sizeof *t);
    if (t)
        t->bytes = calloc(1, c->table_bytes);
    if (!t || !t->bytes) {
        free(t);
        return NULL;
    }
    t->offset = offset;
    return t;
}

struct qcow2_table *qcow2_cache_get(struct qcow2_cache *c, struct disk *file, uint64_t offset,
                                    bool fresh, int *r)
{
    struct qcow2_table *t = qcow2_cache_peek(c, offset);
    *r = 0;
    if (t) {
        if (fresh)
            memset(t->bytes, 0, c->table_bytes);
        return t;
    }
    make_way(c);
    t = new_table(c, offset);
    if (!t) {
        *r = -ENOMEM;
        return NULL;
    }
    if (!fresh) {
        struct iovec v;
        *r = offset >= file->end ? -EIO /* the file was cut off */
                                 : file->ops->read(file, offset, c->table_bytes,
                                                   span_of(&v, t->bytes, c->table_bytes));
        if (*r < 0) {
            free(t->bytes);
            free(t);
            return NULL;
        }
    }
    t->hash_next = *bucket(c, offset);
    *bucket(c, offset) = t;
    link_newest(c, t);
    c->count++;
    return t;
}

static bool unclean(const struct qcow2_table *t)
{
    return t->busy || t->dirty_from != t->dirty_to;
}

void qcow2_cache_dirty(struct qcow2_cache *c, struct qcow2_table *t, uint32_t from, uint32_t bytes)
{
    bool was = unclean(t);
    if (t->dirty_from == t->dirty_to) {
        t->dirty_from = from;
        t->dirty_to = from + bytes;
    } else {
        t->dirty_from = from < t->dirty_from ? from : t->dirty_from;
        t->dirty_to = from + bytes > t->dirty_to ? from + bytes : t->dirty_to;
    }
    c->unclean += !was;
}

void qcow2_cache_clean(struct qcow2_cache *c, struct qcow2_table *t)
{
    bool was = unclean(t);
    t->busy = false;
    if (was && !unclean(t))
        c->unclean--;
}

/* ---- arrays ---------------------------------------------------------------------------------- */

int qcow2_array_init(struct qcow2_array *a, uint64_t offset, uint32_t entries)
{
    uint32_t sectors = (entries + SECTOR_ENTRIES - 1) / SECTOR_ENTRIES;
    a->offset = offset;
    a->entries = entries;
    a->any_dirty = false;
    a->entry = calloc((size_t)sectors * SECTOR_ENTRIES + 1, sizeof *a->entry);
    a->dirty = calloc(sectors + 1, 1);
    if (a->entry && a->dirty)
        return 0;
    free(a->entry);
    free(a->dirty);
    a->entry = NULL;
    a->dirty = NULL;
    return -ENOMEM;
}

void qcow2_array_set(struct qcow2_array *a, uint32_t i, uint64_t value)
{
    a->entry[i] = value;
    a->dirty[i / SECTOR_ENTRIES] = 1;
    a->any_dirty = true;
}

/* ---- the set of metadata clusters ------------------------------------------------------------ */

static uint64_t *find_slot(uint64_t *slot, uint64_t slots, uint64_t key)
{
    uint64_t i = key * UINT64_C(0x9e3779b97f4a7c15) & (slots - 1);
    while (slot[i] && slot[i] != key)
        i = (i + 1) & (slots - 1);
    return &slot[i];
}

static int grow_set(struct qcow2_set *s)
{
    uint64_t slots = s->slots ? s->slots * 2 : 64;
    uint64_t *slot = calloc(slots, sizeof *slot);
    if (!slot)
        return -ENOMEM;
    for (uint64_t i = 0; i < s->slots; i++)
        if (s->slot[i])
            *find_slot(slot, slots, s->slot[i]) = s->slot[i];
    free(s->slot);
    s->slot = slot;
    s->slots = slots;
    return 0;
}

int qcow2_set_add(struct qcow2_set *s, uint64_t cluster)
{
    if (s->count * 2 >= s->slots && grow_set(s) < 0)
        return -ENOMEM;
    uint64_t *at = find_slot(s->slot, s->slots, cluster + 1);
    if (*at)
        return -EEXIST;
    *at = cluster + 1;
    s->count++;
    return 0;
}

bool qcow2_set_has(const struct qcow2_set *s, uint64_t cluster)
{
    return s->slots && *find_slot(s->slot, s->slots, cluster + 1);
}
