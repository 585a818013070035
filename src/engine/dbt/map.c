/* SPDX-License-Identifier: MIT */
/* The fault map: translations in the order of their code, and for each its marks, packed.
 *
 * A translation is found by binary search, its mark by walking at most TB_MAX_INSNS packed ones.
 * Most instructions cost two bytes:
 *
 *     15    14      13..10        9..0
 *     more  entry   guest bytes   host bytes     since the mark before
 *
 * `more` is followed by two words, fix and fix_arg. Look-ups only read, and nothing is updated
 * while translated code runs, so a signal handler may look up; all tables are reserved at once and
 * never move. */
#include "engine/dbt/map.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#define HOST_BITS  10
#define HOST_MAX   ((1u << HOST_BITS) - 1)
#define GUEST_MAX  15u
#define MARK_ENTRY 0x4000u
#define MARK_MORE  0x8000u

#define MARK_WORDS ((TB_MAX_INSNS + 1) * 3) /* of one translation at most */

static void *reserve(uint64_t bytes)
{
    void *m = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                   -1, 0);
    return m == MAP_FAILED ? NULL : m;
}

int map_open(struct dbt_map *m, uint64_t cache_bytes, struct err *e)
{
    *m = (struct dbt_map){.limit = (uint32_t)(cache_bytes / 32),
                          .marks_limit = (uint32_t)(cache_bytes / 2)};
    m->t = reserve(m->limit * sizeof *m->t);
    m->marks = reserve(m->marks_limit * sizeof *m->marks);
    if (m->t && m->marks)
        return 0;
    map_close(m);
    return err_set(e, ENOMEM, "host-memory", "no address space for the map of translated code");
}

void map_close(struct dbt_map *m)
{
    if (m->t)
        munmap(m->t, m->limit * sizeof *m->t);
    if (m->marks)
        munmap(m->marks, m->marks_limit * sizeof *m->marks);
    *m = (struct dbt_map){0};
}

void map_reset(struct dbt_map *m)
{
    m->count = m->marks_used = 0;
}

bool map_room(const struct dbt_map *m)
{
    return m->count < m->limit && m->marks_limit - m->marks_used >= MARK_WORDS;
}

bool map_add(struct dbt_map *m, uint32_t code, uint32_t tpage, const struct tb *tb)
{
    uint32_t used = m->marks_used;
    struct tb_mark last = {.guest = tb->start};
    for (unsigned i = 0; i < tb->marks; i++) {
        struct tb_mark k = tb->mark[i];
        unsigned host = (unsigned)k.host - last.host, guest = (unsigned)k.guest - last.guest;
        if (host > HOST_MAX || guest > GUEST_MAX) /* going back wraps: too large as well */
            return false;
        bool more = k.fix || k.fix_arg;
        m->marks[used++] = (uint16_t)(host | guest << HOST_BITS | (k.entry ? MARK_ENTRY : 0) |
                                      (more ? MARK_MORE : 0));
        if (more) {
            m->marks[used++] = k.fix;
            m->marks[used++] = (uint16_t)k.fix_arg;
        }
        last = k;
    }
    m->t[m->count++] =
        (struct translation){code, tb->code_len, tpage, m->marks_used, tb->marks, tb->start};
    m->marks_used = used;
    return true;
}

const struct translation *map_find(const struct dbt_map *m, uint32_t at)
{
    uint32_t low = 0, high = m->count; /* t[low - 1].code <= at < t[high].code */
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (m->t[middle].code <= at)
            low = middle + 1;
        else
            high = middle;
    }
    return low ? &m->t[low - 1] : NULL;
}

/* Unpack the mark at *word behind *k, and step over it. */
static void next_mark(const struct dbt_map *m, uint32_t *word, struct tb_mark *k)
{
    uint16_t w = m->marks[(*word)++];
    k->host = (uint16_t)(k->host + (w & HOST_MAX));
    k->guest = (uint16_t)(k->guest + (w >> HOST_BITS & GUEST_MAX));
    k->entry = (w & MARK_ENTRY) != 0;
    k->fix = TB_FIX_NONE;
    k->fix_arg = 0;
    if (w & MARK_MORE) {
        k->fix = (uint8_t)m->marks[(*word)++];
        k->fix_arg = (int16_t)m->marks[(*word)++];
    }
}

bool map_mark(const struct dbt_map *m, const struct translation *t, uint32_t at,
              struct tb_mark *mark, bool *exact)
{
    struct tb_mark k = {.guest = t->start};
    uint32_t word = t->marks, offset = at - t->code;
    bool found = false;
    for (unsigned i = 0; i < t->count; i++) {
        next_mark(m, &word, &k);
        if (k.host > offset)
            break;
        *mark = k;
        found = true;
    }
    *exact = found && mark->host == offset;
    return found;
}
