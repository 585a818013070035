/* SPDX-License-Identifier: MIT */
/* Windows: what an access sees, and the count of mappings against /proc/self/maps. */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "mem/window.h"
#include "ring3/mem.h"
#include "try_access.h"

#define RAM       (4 * MIB)
#define RAM_PAGES (RAM / PAGE_BYTES)
#define AT        0xc0100u /* a linear page somewhere */

struct rig {
    struct phys *phys;
    struct window_pool *pool;
    struct window *w;
};

static int make_with(void **state, uint64_t budget)
{
    struct rig *r = calloc(1, sizeof(*r));
    if (!r || !(r->phys = phys_new(RAM, NULL)) || phys_map_ram(r->phys, 0, 0, RAM, NULL) ||
        !(r->pool = window_pool_new(phys_ram_fd(r->phys), budget, NULL)) ||
        !(r->w = window_new(r->pool, NULL)))
        return -1;
    for (uint64_t i = 0; i < RAM_PAGES; i++) /* every page begins with its number */
        memcpy(phys_page(r->phys, (gpfn_t){i}).host, &(uint32_t){(uint32_t)i}, 4);
    *state = r;
    return 0;
}

static int make(void **state)
{
    return make_with(state, 0);
}

static int make_small(void **state)
{
    return make_with(state, 16);
}

static int make_endless(void **state)
{
    return make_with(state, UINT32_MAX);
}

static int unmake(void **state)
{
    struct rig *r = *state;
    window_free(r->w);
    window_pool_free(r->pool);
    phys_free(r->phys);
    free(r);
    return 0;
}

static uintptr_t address(struct window *w, uint64_t page)
{
    return window_base(w) + page * PAGE_BYTES;
}

/* What the kernel shows at a page: as in /proc/self/maps. */
struct shown {
    bool present, writable;
    uint64_t offset;
};

/* Read the host mappings of the window with its guards: how many, and what pages [first, +n) of
 * the window show. Nothing in there is ever executable. */
static uint32_t read_maps(struct window *w, uint32_t first, uint32_t n, struct shown *shown)
{
    uint64_t lo = window_base(w) - WINDOW_GUARD, hi = window_base(w) + 4 * GIB + WINDOW_GUARD;
    uint64_t start, end, offset, next = lo;
    char line[512], perms[5];
    uint32_t count = 0;
    FILE *f = fopen("/proc/self/maps", "re");

    assert_non_null(f);
    while (fgets(line, sizeof line, f)) {
        assert_int_equal(
            sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %" SCNx64, &start, &end, perms, &offset), 4);
        if (end <= lo || start >= hi)
            continue;
        count++;
        assert_true(start <= next); /* no hole */
        next = end;
        assert_int_equal(perms[2], '-');
        for (uint32_t i = 0; i < n; i++) {
            uint64_t at = address(w, first + i);
            if (at >= start && at < end)
                shown[i] = (struct shown){perms[0] == 'r', perms[1] == 'w', offset + (at - start)};
        }
    }
    fclose(f);
    assert_true(next >= hi);
    return count;
}

#define assert_counted(w) assert_int_equal(window_mappings(w), read_maps(w, 0, 0, NULL))

static void an_empty_window_faults_everywhere(void **state)
{
    struct rig *r = *state;
    uint64_t at[] = {0, 1, 0x7ffff, 0xfffff, 0x100000, UINT64_MAX, 0x1000ff};
    uint32_t v;

    assert_int_equal(window_base(r->w) % (4 * GIB), 0);
    for (size_t i = 0; i < ARRAY_LEN(at); i++) {
        assert_false(try_load(address(r->w, at[i]), &v));
        assert_false(try_store(address(r->w, at[i]), 1));
    }
    assert_false(try_load(window_base(r->w) - WINDOW_GUARD, &v));
    assert_false(try_load(window_base(r->w) + 4 * GIB + WINDOW_GUARD - 4, &v));
    assert_int_equal(window_mappings(r->w), 1);
    assert_counted(r->w);
    assert_false(window_page(r->w, 5, NULL, NULL));
    assert_false(window_page(r->w, UINT32_MAX, NULL, NULL));
}

static void accesses_reach_ram(void **state)
{
    struct rig *r = *state;
    uint32_t v;
    uint64_t offset;
    bool writable;

    assert_int_equal(window_map(r->w, AT, 7 * PAGE_BYTES, 3, true, false), 0);
    assert_int_equal(window_map(r->w, 0xfffff, 9 * PAGE_BYTES, 1, false, true), 0);
    assert_int_equal(window_map(r->w, 0, 0, 1, true, true), 0);
    for (uint32_t i = 0; i < 3; i++) {
        assert_true(try_load(address(r->w, AT + i), &v));
        assert_int_equal(v, 7 + i);
    }
    assert_true(try_store(address(r->w, AT + 2) + 8, 0xabcd));
    assert_int_equal(phys_page(r->phys, (gpfn_t){9}).host[8], 0xcd);
    assert_true(try_load(address(r->w, 0xfffff) + 8, &v)); /* the same page, read-only */
    assert_int_equal(v, 0xabcd);
    assert_false(try_store(address(r->w, 0xfffff) + 8, 1));
    assert_false(try_load(address(r->w, 0xfffff) + PAGE_BYTES - 2, &v)); /* runs over the end */
    assert_false(try_load(window_base(r->w) - 2, &v));
    assert_false(try_load(address(r->w, AT - 1), &v));
    assert_false(try_load(address(r->w, AT + 3), &v));
    assert_true(window_page(r->w, AT + 1, &offset, &writable));
    assert_int_equal(offset, 8 * PAGE_BYTES);
    assert_true(writable);
    assert_true(window_page(r->w, 0xfffff, NULL, &writable));
    assert_false(writable);
    assert_counted(r->w);
}

static void one_page_under_three_addresses(void **state)
{
    struct rig *r = *state;
    uint32_t at[] = {0x8048, 0x8049, 0xb7000}, v;

    for (int i = 0; i < 3; i++)
        assert_int_equal(window_map(r->w, at[i], 5 * PAGE_BYTES, 1, true, false), 0);
    assert_counted(r->w);
    for (uint32_t i = 0; i < 3; i++) {
        assert_true(try_store(address(r->w, at[i]), 100 + i));
        for (int k = 0; k < 3; k++) {
            assert_true(try_load(address(r->w, at[k]), &v));
            assert_int_equal(v, 100 + i);
        }
    }
    assert_int_equal(window_unmap(r->w, at[1], 1), 0);
    assert_false(try_load(address(r->w, at[1]), &v));
    assert_true(try_load(address(r->w, at[2]), &v));
    assert_counted(r->w);
}

static void neighbours_that_continue_are_one_mapping(void **state)
{
    struct rig *r = *state;

    assert_int_equal(window_map(r->w, AT, 10 * PAGE_BYTES, 4, true, false), 0);
    assert_int_equal(window_mappings(r->w), 3);
    assert_int_equal(window_map(r->w, AT + 4, 14 * PAGE_BYTES, 4, true, false), 0);
    assert_int_equal(window_mappings(r->w), 3);
    assert_int_equal(window_map(r->w, AT - 1, 9 * PAGE_BYTES, 1, true, false), 0);
    assert_int_equal(window_mappings(r->w), 3);
    assert_counted(r->w);
    assert_int_equal(window_protect(r->w, AT + 2, 1, false), 0); /* splits */
    assert_int_equal(window_mappings(r->w), 5);
    assert_counted(r->w);
    assert_int_equal(window_protect(r->w, AT - 3, 20, true), 0); /* joins, absent pages stay so */
    assert_int_equal(window_mappings(r->w), 3);
    assert_counted(r->w);
    assert_int_equal(window_map(r->w, AT + 8, 30 * PAGE_BYTES, 1, true, false), 0);
    assert_int_equal(window_mappings(r->w), 4);
    assert_int_equal(window_unmap(r->w, AT + 3, 1), 0);
    assert_int_equal(window_mappings(r->w), 6);
    assert_counted(r->w);
    uint64_t maps = window_pool_stats(r->pool).maps;
    assert_int_equal(window_map(r->w, AT, 10 * PAGE_BYTES, 2, true, false), 0); /* no change */
    assert_int_equal(window_pool_stats(r->pool).maps, maps);
    uint32_t v;
    assert_false(try_load(address(r->w, AT - 2), &v));
}

#define AREA 48u

/* Random changes of a small area at the end of a part of the table; what the kernel shows must be
 * what was asked for, and the count exact. */
static void any_pattern_matches_the_kernel(void **state)
{
    struct rig *r = *state;
    const uint32_t first = 0x40000 - AREA / 2;
    struct shown want[AREA] = {0};
    uint32_t seed = 12345;

    for (int step = 0; step < 1500; step++) {
        seed = seed * 1664525 + 1013904223;
        uint32_t at = (seed >> 8) % AREA, n = 1 + (seed >> 16) % 8, op = seed >> 28;
        bool writable = seed >> 27 & 1;
        if (n > AREA - at)
            n = AREA - at;
        uint64_t offset = (at + (seed >> 25 & 1) * 64) * PAGE_BYTES; /* so that many continue */
        if (op < 8)
            assert_int_equal(window_map(r->w, first + at, offset, n, writable, op & 1), 0);
        else if (op < 12)
            assert_int_equal(window_protect(r->w, first + at, n, writable), 0);
        else
            assert_int_equal(window_unmap(r->w, first + at, n), 0);
        for (uint32_t i = at; i < at + n; i++) {
            if (op < 8)
                want[i] = (struct shown){true, writable, offset + (i - at) * PAGE_BYTES};
            else if (op >= 12)
                want[i] = (struct shown){0};
            else if (want[i].present)
                want[i].writable = writable;
        }
        struct shown got[AREA] = {0};
        assert_int_equal(window_mappings(r->w), read_maps(r->w, first, AREA, got));
        for (uint32_t i = 0; i < AREA; i++) {
            uint64_t told = 0;
            bool told_w = false;
            assert_int_equal(got[i].present, want[i].present);
            assert_int_equal(window_page(r->w, first + i, &told, &told_w), want[i].present);
            if (!want[i].present)
                continue;
            assert_int_equal(got[i].writable, want[i].writable);
            assert_int_equal(got[i].offset, want[i].offset);
            assert_int_equal(told, want[i].offset);
            assert_int_equal(told_w, want[i].writable);
        }
    }
    assert_int_equal(window_pool_stats(r->pool).mappings, window_mappings(r->w));
    assert_int_equal(window_pool_stats(r->pool).losses, 0);
}

static void clear_drops_everything(void **state)
{
    struct rig *r = *state;
    uint32_t v;

    window_clear(r->w);
    assert_int_equal(window_pool_stats(r->pool).clears, 0);
    for (uint32_t i = 0; i < 100; i++)
        assert_int_equal(window_map(r->w, i * 10007, i * PAGE_BYTES, 2, i & 1, true), 0);
    assert_int_equal(window_mappings(r->w), 201); /* the guard before page 0 too */
    assert_counted(r->w);
    window_clear(r->w);
    assert_int_equal(window_pool_stats(r->pool).clears, 1);
    assert_int_equal(window_mappings(r->w), 1);
    assert_int_equal(window_pool_stats(r->pool).mappings, 1);
    assert_counted(r->w);
    for (uint32_t i = 0; i < 100; i++) {
        assert_false(try_load(address(r->w, i * 10007), &v));
        assert_false(window_page(r->w, i * 10007 + 1, NULL, NULL));
    }
    assert_int_equal(window_map(r->w, 10007, 3 * PAGE_BYTES, 1, true, false), 0);
    assert_true(try_load(address(r->w, 10007), &v));
    assert_int_equal(v, 3);
}

/* The table is kept in parts of 1024 pages, and a part that was emptied is used again. */
static void parts_of_the_table_do_not_show(void **state)
{
    struct rig *r = *state;
    uint32_t v;

    assert_int_equal(window_map(r->w, 1020, 100 * PAGE_BYTES, 8, true, false), 0);
    for (uint32_t i = 0; i < 8; i++)
        assert_true(window_page(r->w, 1020 + i, NULL, NULL));
    assert_counted(r->w);
    /* A page alone in its part, found from two empty parts before it. */
    assert_int_equal(window_map(r->w, 5 * 1024, 0, 1, true, false), 0);
    assert_int_equal(window_protect(r->w, 3 * 1024, 2 * 1024 + 1, false), 0);
    assert_false(try_store(address(r->w, 5 * 1024), 1));
    assert_int_equal(window_unmap(r->w, 4 * 1024, 2 * 1024), 0);
    assert_false(try_load(address(r->w, 5 * 1024), &v));
    assert_false(window_page(r->w, 5 * 1024, NULL, NULL));
    assert_counted(r->w);

    window_clear(r->w);
    assert_int_equal(window_map(r->w, 1000, 0, 1, true, false), 0);
    assert_int_equal(window_map(r->w, 1100, 0, 1, true, false), 0);
    assert_false(window_page(r->w, 1021, NULL, NULL));
    assert_counted(r->w);
    /* As before the clear: not to be taken for something that is there already. */
    assert_int_equal(window_map(r->w, 1020, 100 * PAGE_BYTES, 8, true, false), 0);
    assert_true(try_load(address(r->w, 1027), &v));
    assert_int_equal(v, 107);
    assert_counted(r->w);
}

/* Memory of the process that is not shared with a file, in KiB. */
static uint64_t own_memory_kib(void)
{
    uint64_t kib = 0;
    char line[256];
    FILE *f = fopen("/proc/self/status", "re");

    assert_non_null(f);
    while (fgets(line, sizeof line, f))
        if (sscanf(line, "RssAnon: %" SCNu64, &kib) == 1)
            break;
    fclose(f);
    assert_true(kib > 0);
    return kib;
}

/* What one use of a window after the other leaves behind goes back to the host: it would be 4 MiB
 * in the end. */
static void uses_do_not_pile_up(void **state)
{
    struct rig *r = *state;
    uint64_t before = own_memory_kib();

    for (uint32_t use = 0; use < 100; use++) {
        for (uint32_t i = 0; i < 20; i++)
            assert_int_equal(window_map(r->w, (use * 20 + i) % 1024 * 1024 + 7, 0, 1, true, false),
                             0);
        window_clear(r->w);
    }
    /* 128 + 20 parts, and what the C library takes. */
    assert_true(own_memory_kib() <= before + 592 + 1024);
    assert_counted(r->w);
}

/* Address space of the process, in pages. */
static uint64_t address_space(void)
{
    uint64_t pages = 0;
    FILE *f = fopen("/proc/self/statm", "re");

    assert_non_null(f);
    assert_int_equal(fscanf(f, "%" SCNu64, &pages), 1);
    fclose(f);
    return pages;
}

static void a_window_takes_its_reserve_and_gives_it_back(void **state)
{
    struct rig *r = *state;
    const uint64_t window = 4 * GIB / PAGE_BYTES, slack = 64 * MIB / PAGE_BYTES;
    struct window *w[4];
    uint64_t before = address_space();

    for (int i = 0; i < 4; i++)
        assert_non_null(w[i] = window_new(r->pool, NULL));
    uint64_t taken = address_space() - before;
    assert_true(taken >= 4 * window && taken < 4 * window + slack);
    for (int i = 0; i < 4; i++)
        window_free(w[i]);
    assert_true(address_space() < before + slack);
    assert_int_equal(window_pool_stats(r->pool).mappings, 1);
}

/* Room for 16: the empty window takes one, a scattered page two more. */
static void the_budget_refuses_and_changes_nothing(void **state)
{
    struct rig *r = *state;
    uint32_t i = 0, v;

    assert_int_equal(window_pool_budget(r->pool), 16);
    while (!window_map(r->w, i * 100, 50 * PAGE_BYTES, 3, true, false))
        i++;
    assert_int_equal(i, 7);
    assert_int_equal(window_mappings(r->w), 15);
    assert_int_equal(window_map(r->w, i * 100, 0, 1, true, false), -ENOMEM);
    assert_int_equal(window_pool_stats(r->pool).refusals, 2);
    assert_false(try_load(address(r->w, i * 100), &v));
    assert_true(try_load(address(r->w, 600), &v));
    assert_int_equal(v, 50);
    assert_int_equal(window_map(r->w, 603, 53 * PAGE_BYTES, 5, true, false), 0); /* continues */
    assert_int_equal(window_map(r->w, 500, 0, 3, true, false), 0); /* replaces as many */

    struct window *second = window_new(r->pool, NULL);
    assert_non_null(second);
    struct err e = {0};
    assert_null(window_new(r->pool, &e));
    assert_string_equal(e.id, "host-mappings");
    window_free(second);
    assert_int_equal(window_pool_stats(r->pool).mappings, 15);

    /* A protection has room for two more, and then the window goes. */
    assert_int_equal(window_protect(r->w, 101, 1, false), 0);
    assert_int_equal(window_mappings(r->w), 17);
    assert_false(try_store(address(r->w, 101), 1));
    assert_counted(r->w);
    assert_int_equal(window_protect(r->w, 201, 1, false), -ENOMEM);
    assert_int_equal(window_pool_stats(r->pool).losses, 1);
    assert_int_equal(window_mappings(r->w), 1);
    assert_false(try_load(address(r->w, 201), &v));
    assert_false(try_load(address(r->w, 0), &v));
    assert_counted(r->w);
}

/* Map scattered pages until the kernel has enough, which must leave an empty, working window. */
static void exhaust(struct rig *r, unsigned long limit)
{
    uint64_t losses = window_pool_stats(r->pool).losses;
    uint32_t i = 0, v;
    int err = 0;

    while (i < WINDOW_PAGES / 4 && !(err = window_map(r->w, i * 4, 0, 1, true, false)))
        i++;
    assert_int_equal(err, -ENOMEM);
    assert_true(i > limit / 3 && i < limit);
    assert_int_equal(window_pool_stats(r->pool).losses, losses + 1);
    assert_int_equal(window_mappings(r->w), 1);
    assert_counted(r->w);
    assert_false(try_load(address(r->w, 0), &v));
    assert_int_equal(window_map(r->w, 0, PAGE_BYTES, 1, true, false), 0);
    assert_true(try_load(address(r->w, 0), &v));
    assert_int_equal(v, 1);
    window_clear(r->w);
}

/* A page takes two mappings, so the process ends up at its limit or one above it, where the kernel
 * behaves differently: with one mapping more or less of our own both are tried, each twice in case
 * the pool used something up. */
static void the_kernel_refuses_and_the_window_is_empty(void **state)
{
    struct rig *r = *state;
    unsigned long limit = 0;
    FILE *f = fopen("/proc/sys/vm/max_map_count", "re");
    if (!f)
        skip();
    assert_int_equal(fscanf(f, "%lu", &limit), 1);
    fclose(f);
    if (limit > 200000)
        skip(); /* reaching it would take a minute */
    for (int round = 0; round < 4; round++) {
        void *own = MAP_FAILED;
        if (round & 1) /* shared: joins with nothing */
            own = mmap(NULL, PAGE_BYTES, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        exhaust(r, limit);
        if (own != MAP_FAILED)
            munmap(own, PAGE_BYTES);
    }
}

static void bad_ranges_are_refused(void **state)
{
    struct rig *r = *state;

    assert_int_equal(window_map(r->w, WINDOW_PAGES, 0, 1, true, false), -EINVAL);
    assert_int_equal(window_map(r->w, WINDOW_PAGES - 1, 0, 2, true, false), -EINVAL);
    assert_int_equal(window_map(r->w, 1, 0, UINT32_MAX, true, false), -EINVAL);
    assert_int_equal(window_map(r->w, 1, 0, 0, true, false), -EINVAL);
    assert_int_equal(window_map(r->w, 1, 100, 1, true, false), -EINVAL);
    assert_int_equal(window_map(r->w, 1, RAM + PHYS_EXTRA, 1, true, false), -EINVAL);
    assert_int_equal(window_map(r->w, 1, RAM + PHYS_EXTRA - PAGE_BYTES, 2, true, false), -EINVAL);
    assert_int_equal(window_map(r->w, 1, UINT64_MAX & PAGE_MASK, 2, true, false), -EINVAL);
    assert_int_equal(window_protect(r->w, WINDOW_PAGES, 1, true), -EINVAL);
    assert_int_equal(window_unmap(r->w, 5, WINDOW_PAGES), -EINVAL);
    assert_int_equal(window_mappings(r->w), 1);
    assert_int_equal(window_unmap(r->w, 0, WINDOW_PAGES), 0);
    assert_int_equal(window_pool_stats(r->pool).unmaps, 0);
    assert_null(window_pool_new(-1, 0, NULL));
    window_free(NULL);
    window_pool_free(NULL);
}

/* Is the page in the host's page table? */
static bool entered(struct window *w, uint32_t page)
{
    uint64_t entry = 0;
    int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &entry, 8, (off_t)(address(w, page) / PAGE_BYTES * 8)), 8);
    close(fd);
    return entry >> 63;
}

static void populate_enters_resident_pages(void **state)
{
    struct rig *r = *state;

    assert_int_equal(window_map(r->w, AT, 0, 40, true, false), 0);
    assert_false(entered(r->w, AT));
    assert_int_equal(window_map(r->w, AT, 0, 40, true, true), 0); /* nothing else to do */
    assert_int_equal(window_pool_stats(r->pool).maps, 1);
    assert_true(entered(r->w, AT));
    assert_true(entered(r->w, AT + 16));
    assert_true(entered(r->w, AT + 32));

    /* Memory nobody has touched stays that way, but for one page in 16. */
    assert_int_equal(phys_zero(r->phys, MIB, 2 * MIB), 0);
    uint64_t before = phys_host_pages_touched(r->phys);
    assert_int_equal(window_map(r->w, 0x10, MIB, 256, true, true), 0);
    assert_true(phys_host_pages_touched(r->phys) <= before + 256 / 16);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_empty_window_faults_everywhere, make, unmake),
        cmocka_unit_test_setup_teardown(accesses_reach_ram, make, unmake),
        cmocka_unit_test_setup_teardown(one_page_under_three_addresses, make, unmake),
        cmocka_unit_test_setup_teardown(neighbours_that_continue_are_one_mapping, make, unmake),
        cmocka_unit_test_setup_teardown(any_pattern_matches_the_kernel, make, unmake),
        cmocka_unit_test_setup_teardown(clear_drops_everything, make, unmake),
        cmocka_unit_test_setup_teardown(parts_of_the_table_do_not_show, make, unmake),
        cmocka_unit_test_setup_teardown(a_window_takes_its_reserve_and_gives_it_back, make, unmake),
        cmocka_unit_test_setup_teardown(the_budget_refuses_and_changes_nothing, make_small, unmake),
        cmocka_unit_test_setup_teardown(the_kernel_refuses_and_the_window_is_empty, make_endless,
                                        unmake),
        cmocka_unit_test_setup_teardown(bad_ranges_are_refused, make, unmake),
        cmocka_unit_test_setup_teardown(populate_enters_resident_pages, make, unmake),
        cmocka_unit_test_setup_teardown(uses_do_not_pile_up, make, unmake),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
