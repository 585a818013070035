/* SPDX-License-Identifier: MIT */
/* Flat tables: see flat.h for what they are and how generated code reads them.
 *
 * The two tables of a view are one sparse mapping. A bit per page of them (PART entries) says
 * whether it may differ from its absent state, so that clearing everything costs what was used.
 * Writing zeros over used parts is several times cheaper than giving them back to the host and
 * touching them again (0.05-0.06 us a part against 0.2 + 1.3), so a view is given back only when
 * it has spread over GIVE_BACK parts, 1 MiB, in all of its uses since the last time: a view that
 * serves one address space after the other would else keep what any of them used, up to 16 MiB.
 *
 * The low 4 GiB: /proc/self/maps tells what is there. Every gap is reserved PROT_NONE; what is
 * mapped and accessible, and what the host refuses, goes into a short list of poisoned ranges.
 * Something PROT_NONE that is there already is another pool's reserve or as good as one. The
 * reserve also keeps later mappings of this process out, so the list never grows. */
#include "mem/flat.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define LOW_END    (4 * GIB)
#define PART       (PAGE_BYTES / sizeof(uint64_t)) /* entries in a page of a table */
#define PARTS      (FLAT_PAGES / PART)             /* per table */
#define GIVE_BACK  256
#define MAX_RANGES 64
#define MAX_TRIES  8     /* another thread may map or reserve while we look */
#define MIN_ADDR   65536 /* mmap_min_addr, when the kernel does not say */
#define FLAT_FLAGS (MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE)

struct range {
    uint32_t first, end; /* pages */
};

struct flat_pool {
    unsigned ranges;
    struct range range[MAX_RANGES]; /* ascending, disjoint */
};

enum { READS, WRITES, TABLES };

struct flat {
    const struct flat_pool *pool;
    uint64_t *table[TABLES];
    uint64_t used[TABLES][PARTS / 64];
    uint64_t resident[TABLES][PARTS / 64]; /* used before, and not given back since */
};

/* ---- The low 4 GiB ------------------------------------------------------------------------- */

/* Poison the pages that [start, end) touches. Ranges come in ascending order; when the list is
 * full the last one grows over the gap, which is safe: poison is never wrong, only dearer. */
static void poison(struct flat_pool *pool, uint64_t start, uint64_t end)
{
    uint32_t first = (uint32_t)(start >> PAGE_SHIFT);
    uint32_t last = (uint32_t)((end + PAGE_BYTES - 1) >> PAGE_SHIFT);
    struct range *r = pool->ranges ? &pool->range[pool->ranges - 1] : NULL;

    if (r && (first <= r->end || pool->ranges == MAX_RANGES))
        r->end = last;
    else
        pool->range[pool->ranges++] = (struct range){first, last};
}

/* Reserve the gap [start, end), or poison it. False if something was mapped there meanwhile. */
static bool reserve_gap(struct flat_pool *pool, uint64_t start, uint64_t end)
{
    if (start >= end)
        return true;
    void *p = mmap((void *)start, end - start, PROT_NONE, FLAT_FLAGS | MAP_FIXED_NOREPLACE, -1, 0);
    if (p == (void *)start)
        return true;
    bool raced = p == MAP_FAILED && errno == EEXIST;
    if (p != MAP_FAILED) /* a kernel that does not know the flag takes it as a wish */
        munmap(p, end - start);
    poison(pool, start, end);
    return !raced;
}

static uint64_t lowest_address(void)
{
    uint64_t n = 0;
    FILE *f = fopen("/proc/sys/vm/mmap_min_addr", "re");

    if (!f)
        return MIN_ADDR;
    if (fscanf(f, "%" SCNu64, &n) != 1)
        n = MIN_ADDR;
    fclose(f);
    return (n + PAGE_BYTES - 1) & PAGE_MASK;
}

/* One pass over the low 4 GiB: 0, -EAGAIN if it changed under our hands, or another -errno. */
static int take_low(struct flat_pool *pool)
{
    uint64_t at = lowest_address();
    char line[512];
    bool steady = true, whole = true; /* whole: the next chunk begins a line */
    FILE *f = fopen("/proc/self/maps", "re");

    if (!f)
        return -errno;
    pool->ranges = 0;
    while (fgets(line, sizeof line, f)) {
        uint64_t start, end;
        char perms[5];
        bool begins = whole;
        whole = strchr(line, '\n') != NULL;
        if (!begins || sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s", &start, &end, perms) != 3)
            continue;
        if (start >= LOW_END)
            break;
        if (end > LOW_END)
            end = LOW_END;
        steady &= reserve_gap(pool, at, start);
        if (strncmp(perms, "---", 3) != 0)
            poison(pool, start, end);
        if (end > at)
            at = end;
    }
    fclose(f);
    steady &= reserve_gap(pool, at, LOW_END);
    return steady ? 0 : -EAGAIN;
}

struct flat_pool *flat_pool_new(struct err *e)
{
    struct flat_pool *pool = calloc(1, sizeof(*pool));
    if (!pool) {
        err_set(e, ENOMEM, "host-memory", "out of memory");
        return NULL;
    }
    int r = -EAGAIN;
    for (int i = 0; i < MAX_TRIES && r == -EAGAIN; i++)
        r = take_low(pool);
    /* A gap that kept changing is poisoned by the last pass, and right all the same. */
    if (r < 0 && r != -EAGAIN) {
        err_set(e, -r, "host-memory", "cannot read /proc/self/maps: %s", strerror(-r));
        free(pool);
        return NULL;
    }
    return pool;
}

void flat_pool_free(struct flat_pool *pool)
{
    free(pool);
}

bool flat_poisoned(const struct flat_pool *pool, uint32_t page)
{
    for (unsigned i = 0; i < pool->ranges; i++)
        if (page >= pool->range[i].first && page < pool->range[i].end)
            return true;
    return false;
}

/* ---- Tables -------------------------------------------------------------------------------- */

static bool part_used(const struct flat *f, int table, uint32_t page)
{
    uint32_t part = page / PART;

    return f->used[table][part / 64] >> part % 64 & 1;
}

static void put(struct flat *f, int table, uint32_t page, uint64_t entry)
{
    uint32_t part = page / PART;

    f->used[table][part / 64] |= UINT64_C(1) << part % 64;
    __atomic_store_n(&f->table[table][page], entry, __ATOMIC_RELAXED);
}

static uint64_t absent(const struct flat *f, uint32_t page)
{
    return flat_poisoned(f->pool, page) ? FLAT_POISON : 0;
}

/* Put the poison back into [first, end) of both tables. */
static void poison_tables(struct flat *f, uint32_t first, uint32_t end)
{
    for (unsigned i = 0; i < f->pool->ranges; i++) {
        struct range r = f->pool->range[i];
        for (uint32_t p = r.first > first ? r.first : first; p < r.end && p < end; p++)
            f->table[READS][p] = f->table[WRITES][p] = FLAT_POISON;
    }
}

struct flat *flat_new(struct flat_pool *pool, struct err *e)
{
    struct flat *f = calloc(1, sizeof(*f));
    void *tables =
        mmap(NULL, TABLES * FLAT_WRITE_OFFSET, PROT_READ | PROT_WRITE, FLAT_FLAGS, -1, 0);

    if (!f || tables == MAP_FAILED) {
        err_set(e, ENOMEM, "host-memory", "no memory for a table of guest pages");
        if (tables != MAP_FAILED)
            munmap(tables, TABLES * FLAT_WRITE_OFFSET);
        free(f);
        return NULL;
    }
    /* A large page would make the first entry of every 2 MiB pay for zeroing all of it. Kernels
     * without large pages refuse, which is just as good. */
    madvise(tables, TABLES * FLAT_WRITE_OFFSET, MADV_NOHUGEPAGE);
    f->pool = pool;
    f->table[READS] = tables;
    f->table[WRITES] = f->table[READS] + FLAT_PAGES;
    poison_tables(f, 0, FLAT_PAGES);
    return f;
}

void flat_free(struct flat *f)
{
    if (!f)
        return;
    munmap(f->table[READS], TABLES * FLAT_WRITE_OFFSET);
    free(f);
}

uintptr_t flat_table(const struct flat *f)
{
    return (uintptr_t)f->table[READS];
}

void flat_set(struct flat *f, uint32_t page, const uint8_t *host, bool writable)
{
    if (page >= FLAT_PAGES)
        return;
    uint64_t entry = (uintptr_t)host - page * PAGE_BYTES;
    put(f, READS, page, entry);
    if (writable)
        put(f, WRITES, page, entry);
    else
        flat_readonly(f, page);
}

void flat_readonly(struct flat *f, uint32_t page)
{
    if (page < FLAT_PAGES && part_used(f, WRITES, page))
        put(f, WRITES, page, absent(f, page));
}

void flat_clear(struct flat *f, uint32_t first, uint32_t pages)
{
    if (first >= FLAT_PAGES)
        return;
    uint32_t end = pages < FLAT_PAGES - first ? first + pages : FLAT_PAGES;
    for (int t = 0; t < TABLES; t++)
        for (uint32_t p = first; p < end;) {
            if (!part_used(f, t, p)) {
                p = (p / PART + 1) * PART;
                continue;
            }
            put(f, t, p, absent(f, p));
            p++;
        }
}

/* Make a part absent again. */
static void clear_part(struct flat *f, int table, uint32_t part)
{
    memset(f->table[table] + part * PART, 0, PAGE_BYTES);
    poison_tables(f, part * PART, (part + 1) * PART);
}

void flat_clear_all(struct flat *f)
{
    unsigned parts = 0;
    for (int t = 0; t < TABLES; t++)
        for (uint32_t i = 0; i < PARTS / 64; i++) {
            f->resident[t][i] |= f->used[t][i];
            parts += (unsigned)__builtin_popcountll(f->resident[t][i]);
        }

    if (parts >= GIVE_BACK &&
        madvise(f->table[READS], TABLES * FLAT_WRITE_OFFSET, MADV_DONTNEED) == 0) {
        memset(f->resident, 0, sizeof f->resident);
        poison_tables(f, 0, FLAT_PAGES);
    } else {
        for (int t = 0; t < TABLES; t++)
            for (uint32_t i = 0; i < PARTS / 64; i++)
                for (uint64_t bits = f->used[t][i]; bits; bits &= bits - 1)
                    clear_part(f, t, i * 64 + (uint32_t)__builtin_ctzll(bits));
    }
    memset(f->used, 0, sizeof f->used);
}

uint8_t *flat_host(const struct flat *f, uint32_t linear, bool write)
{
    uint64_t entry = f->table[write ? WRITES : READS][linear >> PAGE_SHIFT];

    return entry && entry != FLAT_POISON ? (uint8_t *)(uintptr_t)(entry + linear) : NULL;
}
