/* SPDX-License-Identifier: MIT */
/* Windows: see window.h for what they are, what they promise and what they cost.
 *
 * A window is one anonymous PROT_NONE mapping (the reserve, guards included) into which ranges of
 * the memfd are mapped with MAP_FIXED. What every page shows stands in a table of 4 bytes a page,
 * itself a sparse mapping. The table answers three questions: may a call be skipped because
 * nothing changes, what does a page show, and how many host mappings does the window have. For the
 * last, the kernel joins neighbours that continue each other, so a window has one mapping more
 * than it has boundaries, places where two neighbouring pages do not continue each other. The
 * guards stand for absent pages before the first and behind the last.
 *
 *     entry:  31                        1   0
 *            | memfd page number + 1     | W |     0: absent
 *
 * A change therefore needs a look at the pages it touches and one more on either side. Emptying
 * the table zeroes only the parts in use (one bit per PART pages): for any number of them that is
 * several times cheaper than giving them back to the host and touching them again. But a window
 * that serves one address space after the other would in time keep all of its 4 MiB, so it gives
 * them back when its uses together have spread over GIVE_BACK parts. */
#include "mem/window.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "ring3/log.h"

#define WINDOW_BYTES  (WINDOW_PAGES * PAGE_BYTES)
#define RESERVE_BYTES (WINDOW_BYTES + 2 * WINDOW_GUARD)
#define RESERVE_FLAGS (MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE)
#define TABLE_BYTES   (WINDOW_PAGES * sizeof(entry_t))

#define PART        (PAGE_BYTES / sizeof(entry_t)) /* pages described by one page of the table */
#define PARTS       (WINDOW_PAGES / PART)
#define GIVE_BACK   128   /* parts: 512 KiB */
#define AROUND      16    /* pages the kernel enters around a read fault */
#define MAX_MAPS    65530 /* the kernel's default, when it does not say */
#define OVERSHOOT   8     /* protections may exceed the budget by 1/OVERSHOOT of it */
#define MOST_GROWTH 2     /* mappings that changing one range can add */
#define SPARES      16    /* host mappings kept back; see spare_take */

typedef uint32_t entry_t;
#define ENTRY_W ((entry_t)1)

struct window_pool {
    int fd;
    uint64_t ram_pages;
    uint64_t budget;
    uint8_t *spare; /* SPARES pages, each a mapping; MAP_FAILED: none */
    struct window_stats stats;
};

struct window {
    struct window_pool *pool;
    uintptr_t base;
    entry_t *table;
    uint32_t mappings;
    uint64_t used[PARTS / 64];     /* which parts of the table may hold something */
    uint64_t resident[PARTS / 64]; /* which did before, and were not given back since */
};

static uint64_t max_map_count(void)
{
    uint64_t n = 0;
    FILE *f = fopen("/proc/sys/vm/max_map_count", "re");

    if (!f)
        return MAX_MAPS;
    if (fscanf(f, "%" SCNu64, &n) != 1)
        n = MAX_MAPS;
    fclose(f);
    return n;
}

/* Once a process is over its limit of mappings, which splitting one can bring about, the kernel
 * refuses every mmap, even one that would join thousands; munmap of whole mappings still works.
 * It is no way to empty a window: until the reserve is back, another thread's mmap could land in
 * the hole, in the guest's reach. So a pool holds some mappings that nobody needs, and drops them
 * to get back under the limit. */
static void spare_take(struct window_pool *pool)
{
    pool->spare = mmap(NULL, SPARES * PAGE_BYTES, PROT_NONE, RESERVE_FLAGS, -1, 0);
    if (pool->spare == MAP_FAILED)
        return;
    /* Neighbours of different protection stay apart. Fewer than SPARES are better than none. */
    for (int i = 0; i < SPARES; i += 2)
        if (mprotect(pool->spare + i * PAGE_BYTES, PAGE_BYTES, PROT_READ) < 0)
            return;
}

static bool spare_drop(struct window_pool *pool)
{
    if (pool->spare == MAP_FAILED)
        return false;
    bool ok = munmap(pool->spare, SPARES * PAGE_BYTES) == 0;
    pool->spare = MAP_FAILED;
    return ok;
}

struct window_pool *window_pool_new(int fd, uint64_t budget, struct err *e)
{
    struct stat st;
    if (fstat(fd, &st) < 0) {
        err_set(e, errno, "host-memory", "cannot look at guest RAM: %s", strerror(errno));
        return NULL;
    }
    struct window_pool *pool = malloc(sizeof(*pool));
    if (!pool) {
        err_set(e, ENOMEM, "host-memory", "out of memory");
        return NULL;
    }
    *pool = (struct window_pool){.fd = fd,
                                 .ram_pages = (uint64_t)st.st_size >> PAGE_SHIFT,
                                 .budget = budget ? budget : max_map_count() / 2};
    spare_take(pool);
    return pool;
}

void window_pool_free(struct window_pool *pool)
{
    if (!pool)
        return;
    spare_drop(pool);
    free(pool);
}

struct window_stats window_pool_stats(const struct window_pool *pool)
{
    return pool->stats;
}

uint64_t window_pool_budget(const struct window_pool *pool)
{
    return pool->budget;
}

/* ---- The reserve --------------------------------------------------------------------------- */

/* A reserve whose window is 4 GiB-aligned, or 0: twice the room is taken and trimmed. */
static uintptr_t take_reserve(void)
{
    size_t room = WINDOW_BYTES + RESERVE_BYTES;
    uint8_t *p = mmap(NULL, room, PROT_NONE, RESERVE_FLAGS, -1, 0);

    if (p == MAP_FAILED)
        return 0;
    uintptr_t start = (uintptr_t)p;
    uintptr_t base = (start + WINDOW_GUARD + WINDOW_BYTES - 1) & ~(uintptr_t)(WINDOW_BYTES - 1);
    uintptr_t from = base - WINDOW_GUARD, to = from + RESERVE_BYTES;
    if (from > start)
        munmap(p, from - start);
    if (start + room > to)
        munmap((void *)to, start + room - to);
    return base;
}

static void *page_address(const struct window *w, uint32_t page)
{
    return (void *)(w->base + page * PAGE_BYTES);
}

static bool put_back(void *at, size_t bytes)
{
    return mmap(at, bytes, PROT_NONE, RESERVE_FLAGS | MAP_FIXED, -1, 0) != MAP_FAILED;
}

static void note_most(struct window_pool *pool)
{
    if (pool->stats.mappings > pool->stats.most)
        pool->stats.most = pool->stats.mappings;
}

struct window *window_new(struct window_pool *pool, struct err *e)
{
    if (pool->stats.mappings + 1 > pool->budget) {
        err_set(e, ENOMEM, "host-mappings",
                "no host mapping left for a window of guest memory: the budget is %" PRIu64,
                pool->budget);
        return NULL;
    }
    struct window *w = calloc(1, sizeof(*w));
    if (!w) {
        err_set(e, ENOMEM, "host-memory", "out of memory");
        return NULL;
    }
    w->pool = pool;
    w->table = mmap(NULL, TABLE_BYTES, PROT_READ | PROT_WRITE, RESERVE_FLAGS, -1, 0);
    w->base = w->table == MAP_FAILED ? 0 : take_reserve();
    if (!w->base) {
        err_set(e, ENOMEM, "host-memory",
                "cannot reserve 4 GiB of address space for a window of guest memory: %s",
                strerror(errno));
        if (w->table != MAP_FAILED)
            munmap(w->table, TABLE_BYTES);
        free(w);
        return NULL;
    }
    madvise(w->table, TABLE_BYTES, MADV_NOHUGEPAGE); /* it stays sparse */
    w->mappings = 1;
    pool->stats.mappings++;
    note_most(pool);
    return w;
}

void window_free(struct window *w)
{
    if (!w)
        return;
    munmap((void *)(w->base - WINDOW_GUARD), RESERVE_BYTES);
    munmap(w->table, TABLE_BYTES);
    w->pool->stats.mappings -= w->mappings;
    free(w);
}

uintptr_t window_base(const struct window *w)
{
    return w->base;
}

uint32_t window_mappings(const struct window *w)
{
    return w->mappings;
}

/* ---- The table ----------------------------------------------------------------------------- */

static bool part_used(const struct window *w, uint32_t page)
{
    uint32_t part = page / PART;

    return w->used[part / 64] >> part % 64 & 1;
}

/* Pages outside the window are guard: absent. A part without its bit is not looked at, because
 * reading it would take a page of host memory. */
static entry_t entry_at(const struct window *w, uint32_t page)
{
    return page < WINDOW_PAGES && part_used(w, page) ? w->table[page] : 0;
}

static entry_t make_entry(uint64_t ram_page, bool writable)
{
    return (entry_t)(ram_page + 1) << 1 | (writable ? ENTRY_W : 0);
}

/* Does b, the page behind a, belong to the same host mapping? */
static bool continues(entry_t a, entry_t b)
{
    return a ? b == a + 2 * ENTRY_W : !b;
}

/* The first page from page on that shows something, or end. */
static uint32_t next_present(const struct window *w, uint32_t page, uint32_t end)
{
    while (page < end) {
        if (!part_used(w, page))
            page = (page / PART + 1) * PART;
        else if (!w->table[page])
            page++;
        else
            return page;
    }
    return end;
}

/* Boundaries from the one before first to the one before end, both included. */
static uint32_t boundaries(const struct window *w, uint32_t first, uint32_t end)
{
    uint32_t n = 0;
    entry_t before = entry_at(w, first - 1);

    for (uint32_t p = first; p <= end; p++) {
        entry_t entry = entry_at(w, p);
        n += !continues(before, entry);
        before = entry;
    }
    return n;
}

/* The table changed such that `before` boundaries became `after`. */
static void recount(struct window *w, uint32_t before, uint32_t after)
{
    w->mappings += after - before;
    w->pool->stats.mappings += (uint64_t)after - before;
    note_most(w->pool);
}

static bool in_window(uint32_t first, uint32_t pages)
{
    return pages && first < WINDOW_PAGES && pages <= WINDOW_PAGES - first;
}

bool window_page(const struct window *w, uint32_t page, uint64_t *ram_offset, bool *writable)
{
    entry_t entry = entry_at(w, page);

    if (!entry)
        return false;
    if (ram_offset)
        *ram_offset = (uint64_t)((entry >> 1) - 1) << PAGE_SHIFT;
    if (writable)
        *writable = entry & ENTRY_W;
    return true;
}

/* ---- Changes ------------------------------------------------------------------------------- */

/* Make all entries absent. False if they were. */
static bool empty_table(struct window *w)
{
    bool any = false;
    unsigned parts = 0;

    for (uint32_t i = 0; i < ARRAY_LEN(w->used); i++) {
        any |= w->used[i] != 0;
        w->resident[i] |= w->used[i];
        parts += (unsigned)__builtin_popcountll(w->resident[i]);
    }
    if (parts >= GIVE_BACK && madvise(w->table, TABLE_BYTES, MADV_DONTNEED) == 0) {
        memset(w->resident, 0, sizeof w->resident);
        memset(w->used, 0, sizeof w->used);
    }
    for (uint32_t i = 0; i < ARRAY_LEN(w->used); i++) {
        for (uint64_t bits = w->used[i]; bits; bits &= bits - 1) {
            uint32_t part = i * 64 + (uint32_t)__builtin_ctzll(bits);
            memset(w->table + part * PART, 0, PAGE_BYTES);
        }
        w->used[i] = 0;
    }
    return any;
}

void window_clear(struct window *w)
{
    if (!empty_table(w))
        return;
    recount(w, w->mappings, 1);
    w->pool->stats.clears++;
    /* A window that kept pages the table does not know would hand the guest memory that it must
     * not see, so this may not fail: with the spares dropped it is within the limit. */
    struct window_pool *pool = w->pool;
    bool ok = put_back((void *)w->base, WINDOW_BYTES) ||
              (spare_drop(pool) && put_back((void *)w->base, WINDOW_BYTES));
    if (!ok)
        BUG("cannot empty the window at %#" PRIxPTR ": %s", w->base, strerror(errno));
    if (pool->spare == MAP_FAILED)
        spare_take(pool);
}

/* No other way to keep what the kernel shows and what the table says equal. */
static int lose(struct window *w)
{
    w->pool->stats.losses++;
    window_clear(w);
    return -ENOMEM;
}

static bool may_overshoot(const struct window *w)
{
    const struct window_pool *pool = w->pool;

    return pool->stats.mappings + MOST_GROWTH <= pool->budget + pool->budget / OVERSHOOT;
}

/* Does the range show exactly this already? */
static bool shows(const struct window *w, uint32_t first, uint32_t pages, entry_t entry)
{
    for (uint32_t i = 0; i < pages; i++)
        if (entry_at(w, first + i) != entry + 2 * i)
            return false;
    return true;
}

/* One read per group of pages that the kernel enters together. */
static void touch(const struct window *w, uint32_t first, uint32_t pages)
{
    for (uint32_t p = first; p < first + pages; p = (p / AROUND + 1) * AROUND)
        (void)*(const volatile uint8_t *)page_address(w, p);
}

static void record(struct window *w, uint32_t first, uint32_t pages, entry_t entry)
{
    for (uint32_t i = 0; i < pages; i++)
        w->table[first + i] = entry + 2 * i;
    for (uint32_t part = first / PART; part <= (first + pages - 1) / PART; part++)
        w->used[part / 64] |= UINT64_C(1) << part % 64;
}

int window_map(struct window *w, uint32_t first, uint64_t ram_offset, uint32_t pages, bool writable,
               bool populate)
{
    struct window_pool *pool = w->pool;
    uint64_t ram_page = ram_offset >> PAGE_SHIFT;

    if (!in_window(first, pages) || ram_offset % PAGE_BYTES || ram_page >= pool->ram_pages ||
        pages > pool->ram_pages - ram_page)
        return -EINVAL;
    entry_t entry = make_entry(ram_page, writable);
    if (!shows(w, first, pages, entry)) {
        uint32_t end = first + pages, before = boundaries(w, first, end);
        uint32_t after = !continues(entry_at(w, first - 1), entry) +
                         !continues(entry + 2 * (pages - 1), entry_at(w, end));
        if (after > before && pool->stats.mappings + (after - before) > pool->budget) {
            pool->stats.refusals++;
            return -ENOMEM;
        }
        pool->stats.maps++;
        if (mmap(page_address(w, first), pages * PAGE_BYTES,
                 PROT_READ | (writable ? PROT_WRITE : 0), MAP_SHARED | MAP_FIXED, pool->fd,
                 (off_t)ram_offset) == MAP_FAILED)
            return lose(w);
        record(w, first, pages, entry);
        recount(w, before, after);
    }
    if (populate)
        touch(w, first, pages);
    return 0;
}

/* Give the pages [first, end), all present, another protection. */
static int protect_run(struct window *w, uint32_t first, uint32_t end, bool writable)
{
    if (!may_overshoot(w))
        return lose(w);
    uint32_t before = boundaries(w, first, end);
    w->pool->stats.protects++;
    if (mprotect(page_address(w, first), (end - first) * PAGE_BYTES,
                 PROT_READ | (writable ? PROT_WRITE : 0)) < 0)
        return lose(w);
    for (uint32_t p = first; p < end; p++)
        w->table[p] = (w->table[p] & ~ENTRY_W) | (writable ? ENTRY_W : 0);
    recount(w, before, boundaries(w, first, end));
    return 0;
}

int window_protect(struct window *w, uint32_t first, uint32_t pages, bool writable)
{
    if (!in_window(first, pages))
        return -EINVAL;
    uint32_t end = first + pages;
    entry_t want = writable ? ENTRY_W : 0;
    /* Absent pages must stay PROT_NONE, so each stretch of pages to change is a call of its own. */
    for (uint32_t p = next_present(w, first, end); p < end; p = next_present(w, p, end)) {
        uint32_t from = p;
        for (entry_t entry; p < end && (entry = entry_at(w, p)) && (entry & ENTRY_W) != want;)
            p++;
        if (p == from)
            p++;
        else if (protect_run(w, from, p, writable) < 0)
            return -ENOMEM;
    }
    return 0;
}

int window_unmap(struct window *w, uint32_t first, uint32_t pages)
{
    if (!in_window(first, pages))
        return -EINVAL;
    uint32_t end = first + pages;
    first = next_present(w, first, end);
    if (first == end)
        return 0;
    if (!may_overshoot(w))
        return lose(w);
    uint32_t before = boundaries(w, first, end);
    w->pool->stats.unmaps++;
    if (!put_back(page_address(w, first), (end - first) * PAGE_BYTES))
        return lose(w);
    for (uint32_t p = first; p < end; p++)
        if (part_used(w, p))
            w->table[p] = 0;
    recount(w, before, boundaries(w, first, end));
    return 0;
}
