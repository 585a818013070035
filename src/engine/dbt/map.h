/* SPDX-License-Identifier: MIT */
/* The fault map: which guest instruction a host address belongs to. See map.c. */
#ifndef RING3_ENGINE_DBT_MAP_H
#define RING3_ENGINE_DBT_MAP_H

#include "ring3/translate.h"

struct translation {
    uint32_t code, code_len; /* offset in the cache; bytes that the ISA made (no stubs) */
    uint32_t tpage;          /* see pages.h */
    uint32_t marks;          /* where its marks begin in dbt_map.marks */
    uint16_t count, start;   /* number of marks; guest offset of the first */
};

struct dbt_map {
    struct translation *t; /* ascending by code */
    uint32_t count, limit;
    uint16_t *marks; /* packed, see map.c */
    uint32_t marks_used, marks_limit;
};

/* For a cache of so many bytes. 0 or -errno. */
int map_open(struct dbt_map *m, uint64_t cache_bytes, struct err *e);
void map_close(struct dbt_map *m);
void map_reset(struct dbt_map *m);

/* Room for one more translation of the largest kind? */
bool map_room(const struct dbt_map *m);
/* Note a translation whose code is behind all that are there. False: its marks make no sense. */
bool map_add(struct dbt_map *m, uint32_t code, uint32_t tpage, const struct tb *tb);

/* The translation that holds offset `at` of the cache, or NULL. Async-signal-safe, like the next.
 */
const struct translation *map_find(const struct dbt_map *m, uint32_t at);
/* Fill *mark with the instruction that offset `at` of its code belongs to (false: it lies before
 * the first); *exact: it is the first byte of it. */
bool map_mark(const struct dbt_map *m, const struct translation *t, uint32_t at,
              struct tb_mark *mark, bool *exact);

#endif
