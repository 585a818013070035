/* SPDX-License-Identifier: MIT */
/* Where translated code lies: see cache.c. vCPU thread only. */
#ifndef RING3_ENGINE_DBT_CACHE_H
#define RING3_ENGINE_DBT_CACHE_H

#include "ring3/translate.h"

#define CACHE_ALIGN    16u /* of every piece of code */
#define CACHE_MIN      MIB
#define CACHE_STUB_LEN 17u /* bytes of one link stub */

struct dbt_cache {
    uint8_t *reserve;               /* executable; code is named by its offset from here */
    uint8_t *writable;              /* the same memory, never executable */
    uint32_t bytes, used;           /* capacity; what is taken, trampolines included */
    uint32_t tramp[DBT_EXIT_KINDS]; /* offsets of the trampolines */
};

/* `bytes` is rounded up to whole pages; `exit` is where trampolines jump. 0 or -errno. */
int cache_open(struct dbt_cache *c, uint64_t bytes, const void *exit, struct err *e);
void cache_close(struct dbt_cache *c); /* also right after zeroing, or a failed cache_open */
/* Can this host give the address space, and executable memory? 0 or -errno. */
int cache_probe(struct err *e);

static inline uint32_t cache_room(const struct dbt_cache *c)
{
    return c->bytes - c->used;
}
/* Offset of `bytes` of memory; the caller has made sure that there is room. */
uint32_t cache_take(struct dbt_cache *c, uint32_t bytes);
/* Forget all code but the trampolines. */
void cache_reset(struct dbt_cache *c);

/* Let the rel32 at offset `at` lead to offset `to`. */
void cache_link(struct dbt_cache *c, uint32_t at, uint32_t to);
/* Write a stub at offset `at`: r8d = pc, r9d = argument, jump to the trampoline of `kind`. */
void cache_stub(struct dbt_cache *c, uint32_t at, uint32_t pc, uint32_t argument,
                enum dbt_exit kind);

static inline bool cache_holds(const struct dbt_cache *c, uintptr_t host)
{
    return host - (uintptr_t)c->reserve < c->used;
}

#endif
