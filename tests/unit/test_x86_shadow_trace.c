/* SPDX-License-Identifier: MIT */
/* Traced page tables: what a store to a table takes out of which views, when a table gets its
 * protection and when it loses it, stores of other threads. */
#include "x86_shadow_rig.h"

#define CR3_A DIRECTORY(0)
#define CR3_B DIRECTORY(1)

static bool traced(struct rig *r, uint32_t gpa)
{
    return phys_page(r->m->mem, gpa_page(gpa)).wp & WP_PAGE_TABLE;
}

static const struct space *space_of(const struct rig *r, uint32_t cr3)
{
    for (unsigned i = 1; i < SHADOW_SPACES; i++)
        if (r->s->space[i].key == cr3)
            return &r->s->space[i];
    fail_msg("no space for %#x", cr3);
    return NULL;
}

static int64_t space_shows(struct rig *r, const struct space *sp, uint32_t lin)
{
    return r->flavour == X86_FLAVOUR_WINDOW ? window_shows(r, sp, lin, false)
                                            : flat_shows(r, sp, lin, false);
}

/* A table shared by two address spaces: its entries leave both at once, without any flush, and no
 * other page does. */
static void stores_count_in_every_space(void **state)
{
    struct rig *r = *state;
    for (unsigned i = 0; i < 3; i++)
        map_in(r, CR3_A, 0x400000 + i * 0x1000, (DATA_AT + i * 0x1000) | ALL);
    poke(r->v, pde_at(CR3_B, 0x800000), peek(r->v, pde_at(CR3_A, 0x400000), 4), 4);
    rig_ring(r, 3);
    assert_int_equal(load(r, 0x400000), DBT_RESUME);
    rig_cr3(r, CR3_B);
    assert_int_equal(load(r, 0x800000), DBT_RESUME);
    map_in(r, CR3_A, 0x401000, (DATA_AT + 0x9000) | ALL);
    for (unsigned i = 0; i < 3; i++) {
        int64_t want = i == 1 ? -1 : (int64_t)(DATA_AT + i * 0x1000);
        assert_int_equal(space_shows(r, space_of(r, CR3_A), 0x400000 + i * 0x1000), want);
        if (i == 1 && r->flavour == X86_FLAVOUR_FLAT)
            want = DATA_AT + 0x9000; /* it is current: what costs nothing comes back at once */
        assert_int_equal(space_shows(r, space_of(r, CR3_B), 0x800000 + i * 0x1000), want);
    }
    /* The directory entry of one, which is not current: all of that region, there alone. */
    poke(r->v, pde_at(CR3_A, 0x400000), 0, 4);
    assert_int_equal(space_shows(r, space_of(r, CR3_B), 0x800000), DATA_AT);
    for (unsigned i = 1; i < SHADOW_SPACES; i++)
        assert_true(r->s->space[i].key != CR3_A || space_shows(r, &r->s->space[i], 0x400000) < 0);
    rig_cr3(r, CR3_A);
    assert_int_equal(load(r, 0x400000), DBT_INTERPRET);
}

/* Space 0 shows what the directories have in common, until one of them differs. */
static void the_supervisor_follows_the_directory(void **state)
{
    struct rig *r = *state;
    map_in(r, CR3_A, 0xc0000000, DATA_AT | (ALL & ~US));
    map_in(r, CR3_A, 0xc0400000, (DATA_AT + 0x1000) | (ALL & ~US));
    for (uint32_t lin = 0xc0000000; lin <= 0xc0400000; lin += 0x400000)
        poke(r->v, pde_at(CR3_B, lin), peek(r->v, pde_at(CR3_A, lin), 4), 4);
    map_in(r, CR3_A, 0x400000,
           (DATA_AT + 0x2000) | ALL); /* with a user's view, A stays in the pool */
    rig_ring(r, 3);
    assert_int_equal(load(r, 0x400000), DBT_RESUME);
    rig_ring(r, 0);
    for (unsigned round = 0; round < 3; round++) {
        rig_cr3(r, round & 1 ? CR3_B : CR3_A);
        assert_int_equal(load(r, 0xc0000000), DBT_RESUME);
        assert_int_equal(load(r, 0xc0400000), DBT_RESUME);
    }
    uint64_t stale = x86_shadow_stats(r->s)->stale_pages;
    rig_cr3(r, CR3_B);
    enter(r);
    assert_shows(r, 0xc0000000, false, DATA_AT);
    /* Elsewhere: it counts when that directory is loaded. */
    poke(r->v, pde_at(CR3_A, 0xc0400000), 0, 4);
    assert_shows(r, 0xc0400000, false, DATA_AT + 0x1000);
    assert_int_equal(x86_shadow_stats(r->s)->stale_pages, stale);
    rig_cr3(r, CR3_A);
    enter(r);
    assert_shows(r, 0xc0000000, false, DATA_AT);
    assert_hides(r, 0xc0400000, false);
    /* In the current directory: at once. */
    poke(r->v, pde_at(CR3_A, 0xc0000000), 0, 4);
    assert_hides(r, 0xc0000000, false);
}

/* A table may be shown itself, as the pages of a recursive directory are: read-only from the time
 * it is traced on, whatever came first. */
static void tables_are_shown_readonly(void **state)
{
    struct rig *r = *state;
    map(r, 0x400000, DATA_AT | ALL);
    uint32_t table = pte_at(r, CR3_A, 0x400000) & ~0xfffu;
    map(r, 0x401000, table | ALL);
    map(r, 0x402000, CR3_A | ALL);
    rig_ring(r, 3);
    assert_int_equal(store(r, 0x402000), DBT_TRACED); /* first of all: no record yet */
    assert_int_not_equal(store(r, 0x401000), DBT_RESUME);
    assert_int_equal(load(r, 0x401000), DBT_RESUME);
    assert_shows(r, 0x401000, false, table);
    assert_hides(r, 0x401000, true);
    assert_int_equal(store(r, 0x401000), DBT_TRACED);
    assert_true(traced(r, table));
    assert_true(traced(r, CR3_A));
}

/* The table is not one any more: by its directory entry, or by what is stored to it. */
static void tables_are_given_back(void **state)
{
    struct rig *r = *state;
    map(r, 0x400000, DATA_AT | ALL);
    map(r, 0x800000, (DATA_AT + 0x1000) | ALL);
    uint32_t first = pte_at(r, CR3_A, 0x400000), second = pte_at(r, CR3_A, 0x800000);
    rig_ring(r, 3);
    assert_false(traced(r, first));
    assert_int_equal(load(r, 0x400000), DBT_RESUME);
    assert_int_equal(load(r, 0x800000), DBT_RESUME);
    assert_true(traced(r, first) && traced(r, second));
    poke(r->v, pde_at(CR3_A, 0x400000), 0, 4);
    assert_false(traced(r, first));
    assert_true(traced(r, second));
    for (unsigned i = 0; i < 100; i++) /* beside what is shown */
        poke(r->v, second + 64 + i * 4, i, 4);
    assert_true(traced(r, second));
    assert_shows(r, 0x800000, false, DATA_AT + 0x1000);
    poke(r->v, second, 0, 4);
    for (unsigned i = 0; i < 15; i++) {
        assert_true(traced(r, second));
        poke(r->v, second + 64, i, 4);
    }
    poke(r->v, second + 64, 0, 4);
    assert_false(traced(r, second));
    /* A table that is used again and again never gets that far. */
    for (unsigned i = 0; i < 100; i++) {
        poke(r->v, second, (DATA_AT + i % 8 * 0x1000) | ALL, 4);
        assert_int_equal(load(r, 0x800000), DBT_RESUME);
        assert_shows(r, 0x800000, false, DATA_AT + i % 8 * 0x1000);
        assert_true(traced(r, second));
    }
}

/* A process ends: its tables go while it is current, its directory is freed and reused later. */
static void directories_are_given_back(void **state)
{
    struct rig *r = *state;
    map_in(r, CR3_A, 0x400000, DATA_AT | ALL);
    map_in(r, CR3_B, 0x400000, (DATA_AT + 0x1000) | ALL);
    rig_ring(r, 3);
    assert_int_equal(load(r, 0x400000), DBT_RESUME);
    rig_cr3(r, CR3_B);
    assert_int_equal(load(r, 0x400000), DBT_RESUME);
    for (unsigned i = 0; i < 100; i++)
        poke(r->v, CR3_B + 1024, i << 12, 4); /* what is current stays traced */
    assert_true(traced(r, CR3_A) && traced(r, CR3_B));
    poke(r->v, pde_at(CR3_B, 0x400000), 0, 4);
    rig_cr3(r, CR3_A);
    assert_int_equal(load(r, 0x400000), DBT_RESUME);
    assert_true(traced(r, CR3_B));
    poke(r->v, CR3_B, 0, 4);
    assert_false(traced(r, CR3_B));
    /* Written over without ceremony. */
    map_in(r, CR3_B, 0x400000, (DATA_AT + 0x1000) | ALL);
    rig_cr3(r, CR3_B);
    assert_int_equal(load(r, 0x400000), DBT_RESUME);
    rig_cr3(r, CR3_A);
    enter(r);
    for (unsigned i = 0; i < 16; i++) {
        assert_true(traced(r, CR3_B));
        poke(r->v, CR3_B + 2048, i, 4);
    }
    assert_false(traced(r, CR3_B));
    /* No paging, no tables. */
    rig_control(r, 0, 0);
    enter(r);
    assert_false(traced(r, CR3_A));
    assert_int_equal(x86_shadow_stats(r->s)->traced_now, 0);
}

struct far {
    struct phys *mem;
    uint32_t at, step, count;
};
static void *store_far(void *opaque)
{
    const struct far *f = opaque;
    for (unsigned i = 0; i < f->count; i++) {
        uint32_t zero = 0;
        phys_write(f->mem, f->at + i * f->step, &zero, 4);
    }
    return NULL;
}

/* Devices can write to tables, too: exact, and still right if there are too many to remember. */
static void stores_of_other_threads(void **state)
{
    struct rig *r = *state;
    static const unsigned counts[] = {1, TRACE_FAR, 3 * TRACE_FAR};
    rig_ring(r, 3);
    for (unsigned n = 0; n < ARRAY_LEN(counts); n++) {
        for (unsigned i = 0; i < 256; i++)
            map_in(r, CR3_B, 0x400000 + i * 0x1000, (DATA_AT + i * 0x1000) | ALL);
        rig_cr3(r, CR3_B);
        for (unsigned i = 0; i < 256; i++)
            assert_int_equal(load(r, 0x400000 + i * 0x1000), DBT_RESUME);
        rig_cr3(r, CR3_A);
        enter(r);
        struct far f = {r->m->mem, pte_at(r, CR3_B, 0x400000), 4, counts[n]};
        pthread_t t;
        atomic_store(&r->v->base.attention, 0);
        assert_int_equal(pthread_create(&t, NULL, store_far, &f), 0);
        assert_int_equal(pthread_join(t, NULL), 0);
        assert_true(r->v->base.attention & ATTN_CODE);
        enter(r);
        rig_cr3(r, CR3_B);
        enter(r);
        for (unsigned i = 0; i < counts[n]; i++)
            assert_hides(r, 0x400000 + i * 0x1000, false);
        if (counts[n] <= TRACE_FAR)
            assert_shows(r, 0x400000 + counts[n] * 0x1000, false, DATA_AT + counts[n] * 0x1000);
        assert_int_equal(load(r, 0x4ff000), DBT_RESUME);
        assert_int_equal(load(r, 0x400000), DBT_INTERPRET);
    }
}

/* Neither INVLPG nor CR3 loads look at any table. */
static void flushes_are_free(void **state)
{
    struct rig *r = *state;
    map_in(r, CR3_A, 0x400000, DATA_AT | ALL);
    map_in(r, CR3_B, 0x400000, (DATA_AT + 0x1000) | ALL);
    rig_ring(r, 3);
    for (unsigned i = 0; i < 10; i++) {
        rig_cr3(r, i & 1 ? CR3_B : CR3_A);
        x86_tlb_flush_page(r->v, 0x400000);
        assert_int_equal(load(r, 0x400000), DBT_RESUME);
        assert_shows(r, 0x400000, true, DATA_AT + (i & 1) * 0x1000);
    }
    const struct x86_shadow_stats *x = x86_shadow_stats(r->s);
    assert_int_equal(x->fills_flat + x->fills_window, 2);
    assert_int_equal(x->validations, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TRACED(stores_count_in_every_space),
        TRACED(the_supervisor_follows_the_directory),
        TRACED(tables_are_shown_readonly),
        TRACED(tables_are_given_back),
        TRACED(directories_are_given_back),
        TRACED(stores_of_other_threads),
        TRACED(flushes_are_free),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
