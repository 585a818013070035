/* SPDX-License-Identifier: MIT */
/* Flat tables, looked up as generated code does it. The first test needs the low 4 GiB as the
 * process found them, since the reserve stays. */
#include "unit.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "mem/flat.h"
#include "try_access.h"

#define LOW_MAPPING 0x10000000u /* something accessible that was there before any pool */
#define HOST_PAGES  8u

struct rig {
    struct flat_pool *pool;
    struct flat *f;
    uint8_t *host; /* HOST_PAGES pages */
};

/* Places where absent pages may be of different kinds: ends, the lowest mappable page, the low
 * mapping, and both ends of AddressSanitizer's low shadow. */
static const uint32_t places[] = {0,       1,       0x10,    0xffff,  0x10000, 0x10001, 0x7fff7,
                                  0x7fff8, 0x88888, 0x8fff6, 0x8fff7, 0xc0000, 0xfffff};

static int make(void **state)
{
    struct rig *r = calloc(1, sizeof(*r));
    if (!r)
        return -1;
    r->host = mmap(NULL, HOST_PAGES * PAGE_BYTES, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (r->host == MAP_FAILED || !(r->pool = flat_pool_new(NULL)) ||
        !(r->f = flat_new(r->pool, NULL)))
        return -1;
    *state = r;
    return 0;
}

static int make_over_low_mapping(void **state)
{
    void *low = mmap((void *)(uintptr_t)LOW_MAPPING, PAGE_BYTES, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    return low == MAP_FAILED ? -1 : make(state);
}

static int unmake(void **state)
{
    struct rig *r = *state;
    flat_free(r->f);
    flat_pool_free(r->pool);
    munmap(r->host, HOST_PAGES * PAGE_BYTES);
    free(r);
    return 0;
}

/* shrx r9, ea, reg; mov r9, [reg + r9*8 - 12 (+ FLAT_WRITE_OFFSET)]; lea [r9 + ea] */
static uintptr_t translate(struct flat *f, uint32_t ea, bool write)
{
    uint64_t reg = flat_table(f) | 12, r9 = (uint64_t)ea >> (reg & 63), entry;

    memcpy(&entry, (void *)(reg + r9 * 8 - 12 + (write ? FLAT_WRITE_OFFSET : 0)), 8);
    return entry + ea;
}

static bool load(struct flat *f, uint32_t ea, uint32_t *v)
{
    return try_load(translate(f, ea, false), v);
}

static bool store(struct flat *f, uint32_t ea, uint32_t v)
{
    return try_store(translate(f, ea, true), v);
}

static void assert_absent(struct flat *f, uint32_t page)
{
    uint32_t v, ea = page << PAGE_SHIFT;

    assert_false(load(f, ea, &v));
    assert_false(load(f, ea + PAGE_BYTES - 4, &v));
    assert_false(store(f, ea, 1));
    assert_null(flat_host(f, ea, false));
    assert_null(flat_host(f, ea, true));
}

static void assert_all_absent(struct flat *f)
{
    for (size_t i = 0; i < ARRAY_LEN(places); i++)
        assert_absent(f, places[i]);
    for (uint32_t page = 3; page < FLAT_PAGES; page += 1021)
        assert_absent(f, page);
}

/* A low page that is accessible must not show through, nor be overmapped. */
static void what_was_there_is_poisoned(void **state)
{
    struct rig *r = *state;
    volatile uint32_t *low = (volatile uint32_t *)(uintptr_t)LOW_MAPPING;

    *low = 0x5eed;
    assert_true(flat_poisoned(r->pool, LOW_MAPPING >> PAGE_SHIFT));
    assert_false(flat_poisoned(r->pool, (LOW_MAPPING >> PAGE_SHIFT) - 1));
    assert_false(flat_poisoned(r->pool, (LOW_MAPPING >> PAGE_SHIFT) + 1));
    assert_all_absent(r->f);
    assert_int_equal(*low, 0x5eed);
    /* Later mappings stay out of the reserve, below and above what was there. */
    const uintptr_t reserved[] = {0x8048000, LOW_MAPPING - PAGE_BYTES, LOW_MAPPING + PAGE_BYTES,
                                  0x20000000, 0xfffff000};
    for (size_t i = 0; i < ARRAY_LEN(reserved); i++)
        assert_ptr_equal(mmap((void *)reserved[i], PAGE_BYTES, PROT_READ,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0),
                         MAP_FAILED);
}

static void pages_are_reached_and_cleared(void **state)
{
    struct rig *r = *state;
    uint32_t v;

    assert_int_equal(flat_table(r->f) % PAGE_BYTES, 0);
    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        uint8_t *host = r->host + i % HOST_PAGES * PAGE_BYTES;
        uint32_t ea = places[i] << PAGE_SHIFT | 0x124;
        flat_set(r->f, places[i], host, true);
        assert_true(store(r->f, ea, 77 + (uint32_t)i));
        memcpy(&v, host + 0x124, 4);
        assert_int_equal(v, 77 + i);
        assert_true(load(r->f, ea, &v));
        assert_int_equal(v, 77 + i);
        assert_ptr_equal(flat_host(r->f, ea, false), host + 0x124);
        assert_ptr_equal(flat_host(r->f, ea, true), host + 0x124);
    }
    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        flat_clear(r->f, places[i], 1);
        assert_absent(r->f, places[i]);
    }
    assert_all_absent(r->f);
}

static void read_only_pages_refuse_stores(void **state)
{
    struct rig *r = *state;
    uint32_t v, page[] = {0x8048, 0x80000, LOW_MAPPING >> PAGE_SHIFT};

    for (int i = 0; i < 3; i++) {
        uint32_t ea = page[i] << PAGE_SHIFT;
        flat_set(r->f, page[i], r->host, false);
        assert_true(load(r->f, ea, &v));
        assert_false(store(r->f, ea, 1));
        assert_null(flat_host(r->f, ea, true));
        flat_set(r->f, page[i], r->host, true);
        assert_true(store(r->f, ea, 1));
        flat_readonly(r->f, page[i]);
        assert_false(store(r->f, ea, 2));
        assert_true(load(r->f, ea, &v));
        assert_int_equal(v, 1);
        flat_set(r->f, page[i], r->host, true);
        flat_set(r->f, page[i], r->host, false); /* set again without the right to write */
        assert_false(store(r->f, ea, 2));
    }
    flat_readonly(r->f, 0x8049); /* absent stays absent */
    assert_absent(r->f, 0x8049);
}

static void one_page_under_three_addresses(void **state)
{
    struct rig *r = *state;
    uint32_t at[] = {0, 0x8048, 0xfffff}, v;

    for (int i = 0; i < 3; i++)
        flat_set(r->f, at[i], r->host, true);
    for (uint32_t i = 0; i < 3; i++) {
        assert_true(store(r->f, at[i] << PAGE_SHIFT, i + 5));
        for (int k = 0; k < 3; k++) {
            assert_true(load(r->f, at[k] << PAGE_SHIFT, &v));
            assert_int_equal(v, i + 5);
        }
    }
}

static void ranges_are_cleared_exactly(void **state)
{
    struct rig *r = *state;
    uint32_t v;

    for (uint32_t p = 0x3f0; p < 0x420; p++) /* over a page of the table */
        flat_set(r->f, p, r->host, p & 1);
    flat_clear(r->f, 0x3f8, 0x20);
    for (uint32_t p = 0x3f0; p < 0x420; p++) {
        bool gone = p >= 0x3f8 && p < 0x418;
        assert_int_equal(load(r->f, p << PAGE_SHIFT, &v), !gone);
        assert_int_equal(store(r->f, p << PAGE_SHIFT, 1), !gone && p & 1);
    }
    flat_set(r->f, 0xfffff, r->host, true);
    flat_clear(r->f, 0x100, UINT32_MAX); /* cut at the end */
    assert_all_absent(r->f);
    flat_clear(r->f, FLAT_PAGES, 1);
    flat_set(r->f, FLAT_PAGES, r->host, true);
    flat_readonly(r->f, FLAT_PAGES);
    assert_all_absent(r->f);
}

static void clear_all_leaves_nothing(void **state)
{
    struct rig *r = *state;

    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < ARRAY_LEN(places); i++)
            flat_set(r->f, places[i], r->host, true);
        flat_clear_all(r->f);
        assert_all_absent(r->f);
        /* Enough of them that the tables are given back to the host. */
        for (uint32_t p = 5; p < FLAT_PAGES; p += 509)
            flat_set(r->f, p, r->host, true);
        flat_clear_all(r->f);
        for (uint32_t p = 5; p < FLAT_PAGES; p += 509)
            assert_null(flat_host(r->f, p << PAGE_SHIFT, true));
        assert_all_absent(r->f);
    }
}

/* Pages of both tables that take host memory. */
static unsigned resident(struct flat *f)
{
    static unsigned char in[2 * FLAT_WRITE_OFFSET / 4096];
    unsigned n = 0;

    assert_int_equal(mincore((void *)flat_table(f), 2 * FLAT_WRITE_OFFSET, in), 0);
    for (size_t i = 0; i < sizeof in; i++)
        n += in[i] & 1;
    return n;
}

/* Memory of a view that spread widely goes back to the host; a small one keeps what it has. */
static void wide_views_give_memory_back(void **state)
{
    struct rig *r = *state;
    unsigned empty = resident(r->f);

    for (uint32_t p = 5; p < FLAT_PAGES; p += 509)
        flat_set(r->f, p, r->host, true);
    assert_true(resident(r->f) > 4000);
    flat_clear_all(r->f);
    assert_int_equal(resident(r->f), empty);
    for (uint32_t p = 5; p < 50 * 512; p += 512)
        flat_set(r->f, p, r->host, true);
    assert_int_equal(resident(r->f), empty + 100);
    flat_clear_all(r->f);
    assert_int_equal(resident(r->f), empty + 100);
    assert_all_absent(r->f);
}

/* So does that of small views which follow each other, each somewhere else. */
static void views_do_not_pile_up(void **state)
{
    struct rig *r = *state;
    unsigned empty = resident(r->f);

    for (uint32_t use = 0; use < 100; use++) {
        for (uint32_t i = 0; i < 20; i++)
            flat_set(r->f, (use * 20 + i) % 2048 * 512 + 7, r->host, true);
        flat_clear_all(r->f);
        assert_true(resident(r->f) <= empty + 256 + 2 * 20);
    }
    assert_all_absent(r->f);
}

static void pools_share_the_reserve(void **state)
{
    struct rig *r = *state;
    struct flat_pool *second = flat_pool_new(NULL);
    assert_non_null(second);
    struct flat *f = flat_new(second, NULL);
    assert_non_null(f);
    /* The reserve of the first pool is good for the second: no poison where it lies. */
    assert_false(flat_poisoned(second, 0x20000));
    assert_true(flat_poisoned(second, LOW_MAPPING >> PAGE_SHIFT));

    flat_free(r->f);
    flat_pool_free(r->pool);
    r->f = NULL;
    r->pool = NULL;
    assert_all_absent(f);
    flat_set(f, 0x1234, r->host, true);
    assert_true(store(f, 0x1234000, 9));
    flat_free(f);
    flat_pool_free(second);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_was_there_is_poisoned, make_over_low_mapping, unmake),
        cmocka_unit_test_setup_teardown(pages_are_reached_and_cleared, make, unmake),
        cmocka_unit_test_setup_teardown(read_only_pages_refuse_stores, make, unmake),
        cmocka_unit_test_setup_teardown(one_page_under_three_addresses, make, unmake),
        cmocka_unit_test_setup_teardown(ranges_are_cleared_exactly, make, unmake),
        cmocka_unit_test_setup_teardown(clear_all_leaves_nothing, make, unmake),
        cmocka_unit_test_setup_teardown(wide_views_give_memory_back, make, unmake),
        cmocka_unit_test_setup_teardown(views_do_not_pile_up, make, unmake),
        cmocka_unit_test_setup_teardown(pools_share_the_reserve, make, unmake),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
