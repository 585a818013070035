/* SPDX-License-Identifier: MIT */
/* The code reserve: one range of host addresses, laid out as ring3/translate.h says.
 *
 *     +0         code: shared memory, readable and executable
 *     +guard     64 KiB of zeros, then 64 KiB that are not mapped
 *     +nothing   16 GiB and a little that read as zero
 *
 * It is mapped a second time elsewhere, readable and writable: no page is ever both writable
 * and executable. Memory is only taken, in order; when it is used up everything is dropped
 * (cache_reset), never failed. Both are views of one memory, so the processor sees the same
 * physical memory change, and code written through one view runs through the other without further
 * ado as long as one thread does both.
 *
 * Trampolines lie in front: mov r10d, kind; jmp [rip + exit]. The first is DBT_EXIT_MISS, so that
 * an offset of 0 means "not translated" everywhere. */
#include "engine/dbt/cache.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#define NOTHING_BYTES (16 * GIB + 64 * KIB)
#define RESERVE_BYTES (DBT_NOTHING_OFFSET + NOTHING_BYTES)

#define TRAMP_BYTES 16u
#define TRAMP_EXIT  (DBT_EXIT_KINDS * TRAMP_BYTES) /* offset of the address they jump to */
#define CODE_START  ((TRAMP_EXIT + 8u + 63u) & ~63u)

static void put32(uint8_t *at, uint32_t x)
{
    memcpy(at, &x, sizeof x);
}

static uint8_t *map_reserve(struct err *e)
{
    void *m =
        mmap(NULL, RESERVE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (m != MAP_FAILED)
        return m;
    err_set(e, ENOSYS, "code-reserve",
            "this host gives no 17 GiB of address space for translated code (%s); raise the limit "
            "on virtual memory (ulimit -v), or take --engine interp",
            strerror(errno));
    return NULL;
}

static int make_readable(uint8_t *at, uint64_t bytes)
{
    void *m =
        mmap(at, bytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    return m == MAP_FAILED ? -errno : 0;
}

/* Memory that is mapped twice. It is anonymous, not a memfd: perf(1) asks /tmp/perf-PID.map for
 * names in anonymous memory only, and kernels that forbid executable memfds allow it. */
static int map_code(struct dbt_cache *c)
{
    void *w = mmap(NULL, c->bytes, PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (w == MAP_FAILED)
        return -errno;
    c->writable = w;
    /* A size of 0 leaves the old mapping there: mremap(2). */
    void *x = mremap(w, 0, c->bytes, MREMAP_MAYMOVE | MREMAP_FIXED, c->reserve);
    if (x == MAP_FAILED || mprotect(x, c->bytes, PROT_READ | PROT_EXEC) < 0)
        return -errno;
    return 0;
}

static void put_trampolines(struct dbt_cache *c, const void *exit)
{
    for (uint32_t kind = 0; kind < DBT_EXIT_KINDS; kind++) {
        uint32_t at = kind * TRAMP_BYTES;
        uint8_t *p = c->writable + at;
        c->tramp[kind] = at;
        p[0] = 0x41, p[1] = 0xba; /* mov r10d, kind */
        put32(p + 2, kind);
        p[6] = 0xff, p[7] = 0x25; /* jmp [rip + disp32] */
        put32(p + 8, TRAMP_EXIT - (at + 12));
    }
    memcpy(c->writable + TRAMP_EXIT, &exit, sizeof exit);
}

int cache_open(struct dbt_cache *c, uint64_t bytes, const void *exit, struct err *e)
{
    *c = (struct dbt_cache){.reserve = map_reserve(e)};
    if (!c->reserve)
        return -ENOSYS;
    c->bytes = (uint32_t)((bytes + PAGE_BYTES - 1) & PAGE_MASK);
    int r = make_readable(c->reserve + DBT_GUARD_OFFSET, DBT_GUARD_BYTES);
    if (r == 0)
        r = make_readable(c->reserve + DBT_NOTHING_OFFSET, NOTHING_BYTES);
    if (r == 0)
        r = map_code(c);
    if (r < 0) {
        cache_close(c);
        return err_set(e, ENOSYS, "code-cache",
                       "this host gives no executable memory for translated code: %s; take "
                       "--engine interp",
                       strerror(-r));
    }
    put_trampolines(c, exit);
    cache_reset(c);
    return 0;
}

void cache_close(struct dbt_cache *c)
{
    if (c->writable)
        munmap(c->writable, c->bytes);
    if (c->reserve)
        munmap(c->reserve, RESERVE_BYTES);
    *c = (struct dbt_cache){0};
}

int cache_probe(struct err *e)
{
    struct dbt_cache c;
    int r = cache_open(&c, PAGE_BYTES, NULL, e);
    if (r == 0)
        cache_close(&c);
    return r;
}

uint32_t cache_take(struct dbt_cache *c, uint32_t bytes)
{
    uint32_t at = c->used;
    c->used += (bytes + CACHE_ALIGN - 1) & ~(CACHE_ALIGN - 1);
    return at;
}

void cache_reset(struct dbt_cache *c)
{
    c->used = CODE_START;
}

void cache_link(struct dbt_cache *c, uint32_t at, uint32_t to)
{
    put32(c->writable + at, to - (at + 4));
}

void cache_stub(struct dbt_cache *c, uint32_t at, uint32_t pc, uint32_t argument,
                enum dbt_exit kind)
{
    uint8_t *p = c->writable + at;
    p[0] = 0x41, p[1] = 0xb8; /* mov r8d, pc */
    put32(p + 2, pc);
    p[6] = 0x41, p[7] = 0xb9; /* mov r9d, argument */
    put32(p + 8, argument);
    p[12] = 0xe9; /* jmp */
    cache_link(c, at + 13, c->tramp[kind]);
}
