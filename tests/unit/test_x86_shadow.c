/* SPDX-License-Identifier: MIT */
/* Shadow views, case by case: rights, A and D, what CR3 loads and INVLPG leave, write protection,
 * budgets. Every test runs with windows and with flat tables, unless it is about one of them. */
#include "x86_shadow_rig.h"

#include <pthread.h>

#define CR3_A DIRECTORY(0)
#define CR3_B DIRECTORY(1)

/* ---- rights ---------------------------------------------------------------------------------- */

static void rights_are_those_of_the_entries(void **state)
{
    struct rig *r = *state;
    static const struct {
        uint32_t entry;
        bool user_read, user_write, sys_write, sys_write_wp;
    } rows[] = {
        {P, 0, 0, 1, 0},           {P | RW, 0, 0, 1, 1}, {P | US, 1, 0, 1, 0},
        {P | RW | US, 1, 1, 1, 1}, {0, 0, 0, 0, 0},      {RW | US, 0, 0, 0, 0},
    };
    for (unsigned wp = 0; wp < 2; wp++)
        for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
            uint32_t lin = 0x400000u + i * 0x40000, gpa = DATA_AT + i * 0x1000;
            rig_control(r, CR0_PG | (wp ? CR0_WP : 0), 0);
            map(r, lin, gpa | rows[i].entry);
            bool sys_write = wp ? rows[i].sys_write_wp : rows[i].sys_write;
            rig_ring(r, 3);
            assert_int_equal(load(r, lin) == DBT_RESUME, rows[i].user_read);
            assert_int_equal(store(r, lin) == DBT_RESUME, rows[i].user_write);
            rig_ring(r, 0);
            assert_int_equal(load(r, lin) == DBT_RESUME, rows[i].entry & P);
            assert_int_equal(store(r, lin) == DBT_RESUME, sys_write);
            if (sys_write)
                assert_shows(r, lin + 5, true, gpa + 5);
            rig_ring(r, 3);
            enter(r);
            assert_int_equal(shows(r, lin, true) >= 0, rows[i].user_write);
        }
}

/* The rights of the directory entry count as well. */
static void directory_entries_restrict(void **state)
{
    struct rig *r = *state;
    map(r, 0x400000, DATA_AT | ALL);
    map(r, 0x800000, DATA_AT | ALL);
    poke(r->v, pde_at(CR3_A, 0x400000), peek(r->v, pde_at(CR3_A, 0x400000), 4) & ~US, 4);
    poke(r->v, pde_at(CR3_A, 0x800000), peek(r->v, pde_at(CR3_A, 0x800000), 4) & ~RW, 4);
    rig_ring(r, 3);
    assert_int_equal(load(r, 0x400000), DBT_INTERPRET);
    assert_int_equal(load(r, 0x800000), DBT_RESUME);
    assert_int_equal(store(r, 0x800000), DBT_INTERPRET);
    assert_hides(r, 0x800000, true);
}

static void what_is_no_memory_is_not_shown(void **state)
{
    struct rig *r = *state;
    map(r, 0x400000, NO_MEMORY | ALL);
    map(r, 0x401000, ROM_AT | ALL);
    assert_int_equal(load(r, 0x400000), DBT_DEVICE);
    assert_int_equal(store(r, 0x400000), DBT_DEVICE);
    assert_int_equal(load(r, 0x401000), DBT_RESUME);
    assert_shows(r, 0x401000, false, 4 * MIB - 64 * KIB);
    assert_int_equal(store(r, 0x401000), DBT_TRACED);
    assert_hides(r, 0x401000, true);
}

static void paging_off_shows_physical_memory(void **state)
{
    struct rig *r = *state;
    map(r, 0x200000, (DATA_AT + 0x5000) | ALL);
    assert_int_equal(load(r, 0x200000), DBT_RESUME);
    assert_shows(r, 0x200000, false, DATA_AT + 0x5000);
    rig_control(r, 0, 0);
    for (unsigned ring = 0; ring <= 3; ring += 3) {
        rig_ring(r, ring);
        assert_int_equal(store(r, 0x200000), DBT_RESUME);
        assert_shows(r, 0x200000, true, 0x200000);
        assert_int_equal(store(r, 0x300010), DBT_RESUME);
        assert_shows(r, 0x300010, true, 0x300010);
        assert_int_equal(load(r, 0x80000000), DBT_DEVICE);
    }
    x86_set_a20(r->v, false);
    assert_int_equal(store(r, 0x300010), DBT_RESUME);
    assert_shows(r, 0x300010, true, 0x200010);
}

/* ---- A and D --------------------------------------------------------------------------------- */

static void accesses_set_a_and_d(void **state)
{
    struct rig *r = *state;
    for (unsigned ring = 0; ring <= 3; ring += 3) {
        uint32_t lin = 0x400000 + ring * 0x1000;
        rig_ring(r, ring);
        poke(r->v, pde_at(CR3_A, lin), ring ? peek(r->v, pde_at(CR3_A, lin), 4) : 0, 4);
        map(r, lin, DATA_AT | P | RW | US);
        map(r, lin + 0x1000, (DATA_AT + 0x1000) | P | RW | US);
        poke(r->v, pde_at(CR3_A, lin), peek(r->v, pde_at(CR3_A, lin), 4) & ~A, 4);
        x86_tlb_flush(r->v, false);
        assert_int_equal(load(r, lin), DBT_RESUME);
        assert_int_equal(peek(r->v, pde_at(CR3_A, lin), 4) & 0xff, P | RW | US | A);
        assert_int_equal(pte_of(r, lin), DATA_AT | P | RW | US | A);
        assert_hides(r, lin, true);
        assert_int_equal(store(r, lin), DBT_RESUME);
        assert_int_equal(pte_of(r, lin), DATA_AT | ALL);
        /* Nobody touched the neighbour. */
        assert_int_equal(pte_of(r, lin + 0x1000), (DATA_AT + 0x1000) | P | RW | US);
        assert_hides(r, lin + 0x1000, false);
    }
}

static void cleared_a_and_d_are_set_again(void **state)
{
    struct rig *r = *state;
    map(r, 0x400000, DATA_AT | ALL);
    rig_ring(r, 3);
    assert_int_equal(store(r, 0x400000), DBT_RESUME);
    poke(r->v, pte_at(r, CR3_A, 0x400000), DATA_AT | (ALL & ~A), 4);
    rig_cr3(r, CR3_A);
    enter(r);
    assert_hides(r, 0x400000, false);
    assert_int_equal(load(r, 0x400000), DBT_RESUME);
    assert_int_equal(pte_of(r, 0x400000), DATA_AT | ALL);
    poke(r->v, pte_at(r, CR3_A, 0x400000), DATA_AT | (ALL & ~D), 4);
    rig_cr3(r, CR3_A);
    assert_int_equal(load(r, 0x400000), DBT_RESUME);
    assert_hides(r, 0x400000, true);
    assert_int_equal(pte_of(r, 0x400000), DATA_AT | (ALL & ~D));
}

/* Neighbours that may be shown are, in one go, those with D clear read-only. */
static void neighbours_come_along(void **state)
{
    struct rig *r = *state;
    for (unsigned ring = 0; ring <= 3; ring += 3) {
        uint32_t lin = 0x400000 + ring * 0x10000;
        for (unsigned i = 0; i < 16; i++)
            map(r, lin + i * 0x1000, (DATA_AT + i * 0x1000) | ALL);
        map(r, lin + 0x6000, (DATA_AT + 0x6000) | (ALL & ~D));
        map(r, lin + 0x8000, (DATA_AT + 0x8000) | (ALL & ~RW));
        map(r, lin + 0x9000, (DATA_AT + 0x9000) | (ALL & ~US));
        map(r, lin + 0xa000, (DATA_AT + 0xa000) | (ALL & ~A));
        map(r, lin + 0xb000, (DATA_AT + 0xb000) | (ALL & ~P));
        map(r, lin + 0xc000, NO_MEMORY | ALL);
        rig_ring(r, ring);
        assert_int_equal(load(r, lin + 0x3000), DBT_RESUME);
        for (unsigned i = 0; i <= 5; i++)
            assert_shows(r, lin + i * 0x1000, true, DATA_AT + i * 0x1000);
        assert_hides(r, lin + 0x6000, true);
        for (unsigned i = 8; i <= 0xc; i++)
            assert_hides(r, lin + i * 0x1000, false);
        bool reaches = ring || r->flavour == X86_FLAVOUR_FLAT; /* not one run */
        assert_int_equal(shows(r, lin + 0xf000, true) >= 0, reaches);
    }
}

/* ...but not where the guest keeps flushing pages one by one. */
static void neighbours_that_are_flushed_stay_out(void **state)
{
    struct rig *r = *state;
    uint64_t unmaps = 0, fills = 0;
    r->s->options.no_adapt = true; /* or else plain code would not be served here at all */
    for (unsigned i = 0; i < 16; i++)
        map(r, 0x400000 + i * 0x1000, (DATA_AT + i * 0x1000) | ALL);
    for (unsigned round = 0; round < 100; round++) {
        if (round == 20) {
            unmaps = window_pool_stats(r->s->windows).unmaps;
            fills = x86_shadow_stats(r->s)->pages_window;
        }
        assert_int_equal(load(r, 0x400000), DBT_RESUME);
        for (unsigned i = 0; i < 16; i++) {
            map(r, 0x400000 + i * 0x1000, (DATA_AT + (i + (round + 1) % 2 * 16) * 0x1000) | ALL);
            x86_tlb_flush_page(r->v, 0x400000 + i * 0x1000);
        }
        assert_hides(r, 0x400000, false);
    }
    assert_int_equal(window_pool_stats(r->s->windows).unmaps - unmaps, 80);
    assert_int_equal(x86_shadow_stats(r->s)->pages_window - fills, 80);
    for (unsigned i = 0; i < 40; i++) { /* it stops doing that */
        map(r, 0x410000 + i * 0x1000, (DATA_AT + i * 0x1000) | ALL);
        assert_int_equal(load(r, 0x410000 + i * 0x1000), DBT_RESUME);
    }
    assert_int_equal(load(r, 0x400000), DBT_RESUME);
    assert_shows(r, 0x40f000, true, DATA_AT + 0xf000);
}

static void change(struct rig *r, unsigned n)
{
    map(r, 0xc0400000, (DATA_AT + n % 8 * 0x1000) | ALL);
    x86_tlb_flush_page(r->v, 0xc0400000);
}

/* A supervisor's page that keeps changing alone: the code that accesses it is retranslated and
 * finds it in the flat table of space 0. What cannot be retranslated still gets it in the window.
 */
static void restless_pages_are_served_flat(void **state)
{
    struct rig *r = *state;
    const struct x86_shadow_stats *x = x86_shadow_stats(r->s);
    r->v->eip = 0xc0000000;
    map(r, 0xc0400000, DATA_AT | ALL);
    unsigned n = 0;
    while (load(r, 0xc0400000) == DBT_RESUME) {
        assert_true(n < 100);
        change(r, n++);
    }
    assert_true(n > 16);
    uint64_t before = x->fills_window;
    for (unsigned i = 0; i < 100; i++) {
        change(r, i);
        assert_int_equal(load(r, 0xc0400000), DBT_FOREIGN);
        if (i == 0) /* from then on it is refilled when it is flushed */
            assert_int_equal(x86_shadow_fault(r->v, 0xc0400000, true, TB_SELECT), DBT_RESUME);
        assert_int_equal(flat_shows(r, &r->s->space[0], 0xc0400000, true),
                         DATA_AT + i % 8 * 0x1000);
        assert_int_equal(r->v->gen.select[3], flat_table(r->s->space[0].flat) | 12);
    }
    assert_int_equal(x->fills_window, before);
    change(r, 1);
    for (n = 0; load(r, 0xc0400000) == DBT_FOREIGN; n++)
        assert_true(n < 100);
    assert_int_equal(n, 8);
    assert_shows(r, 0xc0400000, true, DATA_AT + 0x1000);
}

/* INVLPG for a page whose entries say what they said: it stays. Another page that has been
 * accessed, or the same with other rights, is shown at once if that costs nothing. */
static void flushed_pages_stay_or_come_back(void **state)
{
    struct rig *r = *state;
    bool at_once = r->flavour == X86_FLAVOUR_FLAT;
    map(r, 0x400000, DATA_AT | ALL);
    for (unsigned ring = 0; ring <= 3; ring += 3) {
        rig_ring(r, ring);
        map(r, 0x400000, DATA_AT | ALL);
        assert_int_equal(store(r, 0x400000), DBT_RESUME);
        x86_tlb_flush_page(r->v, 0x400000);
        assert_shows(r, 0x400000, true, DATA_AT);
        map(r, 0x400000, DATA_AT | ALL | 0xe00);
        x86_tlb_flush_page(r->v, 0x400000);
        assert_shows(r, 0x400000, true, DATA_AT);
        static const uint32_t changes[] = {A, D, RW, US, P, 0x1000};
        for (unsigned i = 0; i < ARRAY_LEN(changes); i++) {
            map(r, 0x400000, (DATA_AT | ALL) ^ changes[i]);
            x86_tlb_flush_page(r->v, 0x400000);
            bool seen = at_once && !(changes[i] & (A | P)) && !(changes[i] & US && ring);
            assert_int_equal(shows(r, 0x400000, false),
                             seen ? (int64_t)(DATA_AT ^ (changes[i] & 0x1000)) : -1);
            if (changes[i] & (D | RW))
                assert_hides(r, 0x400000, true);
            map(r, 0x400000, DATA_AT | ALL);
            assert_int_equal(store(r, 0x400000), DBT_RESUME);
        }
        uint32_t pde = peek(r->v, pde_at(CR3_A, 0x400000), 4);
        poke(r->v, pde_at(CR3_A, 0x400000), pde & ~A, 4);
        x86_tlb_flush_page(r->v, 0x400000);
        assert_hides(r, 0x400000, false);
        poke(r->v, pde_at(CR3_A, 0x400000), pde, 4);
    }
}

/* ---- large pages, PAE ------------------------------------------------------------------------ */

static void large_pages(void **state)
{
    struct rig *r = *state;
    rig_control(r, CR0_PG | CR0_WP, CR4_PSE);
    poke(r->v, pde_at(CR3_A, 0xc0000000), P | RW | PS, 4);
    r->v->eip = 0xc0000000;
    assert_int_equal(load(r, 0xc0200123), DBT_RESUME);
    assert_shows(r, 0xc0200123, false, 0x200123);
    assert_hides(r, 0xc0200123, true);
    assert_int_equal(peek(r->v, pde_at(CR3_A, 0xc0000000), 4), P | RW | PS | A);
    assert_int_equal(store(r, 0xc0200123), DBT_RESUME);
    assert_int_equal(peek(r->v, pde_at(CR3_A, 0xc0000000), 4), P | RW | PS | A | D);
    assert_shows(r, 0xc0200123, true, 0x200123);
    if (r->flavour == X86_FLAVOUR_WINDOW) {
        assert_shows(r, 0xc0000000, true, 0);
        assert_shows(r, 0xc03ff000, true, 0x3ff000);
        assert_int_equal(window_mappings(r->s->space[0].window), 3);
    }
    x86_tlb_flush_page(r->v, 0xc0300000);
    enter(r);
    assert_shows(r, 0xc0200123, true, 0x200123);
    poke(r->v, pde_at(CR3_A, 0xc0000000), P | RW | PS | A, 4);
    x86_tlb_flush_page(r->v, 0xc0300000); /* the whole of it */
    enter(r);
    assert_hides(r, 0xc0200123, false);
    rig_control(r, CR0_PG | CR0_WP, 0); /* PS means nothing without PSE */
    poke(r->v, 0x4, 0x300000 | ALL, 4);
    assert_int_equal(load(r, 0xc0001000), DBT_RESUME);
    assert_shows(r, 0xc0001000, false, 0x300000);
    poke(r->v, 0x4, 1, 4);
}

static void map_pae(struct rig *r, uint32_t lin, uint64_t pde, uint64_t pte)
{
    uint32_t directory = DIRECTORY(4 + (lin >> 30)), table = directory + 0x4000;
    poke(r->v, DIRECTORY(3) + (lin >> 30) * 8, directory | P, 8);
    poke(r->v, directory + (lin >> 21 & 511) * 8, pde & PS ? pde : table | pde, 8);
    poke(r->v, table + (lin >> 12 & 511) * 8, pte, 8);
}

static void pae(void **state)
{
    struct rig *r = *state;
    const uint64_t nx = UINT64_C(1) << 63;
    gpfn_t gpfn;
    map_pae(r, 0x40201000, P | RW | US, (DATA_AT + 0x1000) | P | US);
    map_pae(r, 0x40202000, P | RW | US, (DATA_AT + 0x2000) | P | US | nx);
    map_pae(r, 0x80000000, 0x200000 | P | RW | US | PS, 0);
    r->v->cr3 = DIRECTORY(3);
    r->v->efer = EFER_NXE;
    rig_control(r, CR0_PG | CR0_WP, CR4_PAE);
    rig_cr3(r, DIRECTORY(3));
    rig_ring(r, 3);
    assert_int_equal(load(r, 0x40201004), DBT_RESUME);
    assert_shows(r, 0x40201004, false, DATA_AT + 0x1004);
    assert_int_equal(load(r, 0x40202004), DBT_RESUME);
    assert_true(x86_shadow_fetch(r->v, 0x40201000, &gpfn));
    assert_int_equal(gpfn.n, (DATA_AT + 0x1000) >> 12);
    assert_false(x86_shadow_fetch(r->v, 0x40202000, &gpfn));
    assert_int_equal(store(r, 0x80012000), DBT_RESUME);
    assert_shows(r, 0x80012000, true, 0x212000);
    if (r->flavour == X86_FLAVOUR_WINDOW)
        assert_shows(r, 0x801ff000, true, 0x3ff000);
    /* The page-directory pointers count from the next load of CR3 on. */
    poke(r->v, DIRECTORY(3) + 8, 0, 8);
    enter(r);
    assert_shows(r, 0x40201004, false, DATA_AT + 0x1004);
    rig_cr3(r, DIRECTORY(3));
    enter(r);
    assert_hides(r, 0x40201004, false);
    assert_shows(r, 0x80012000, true, 0x212000);
    assert_int_equal(load(r, 0x40201004), DBT_INTERPRET);
}

/* ---- address spaces -------------------------------------------------------------------------- */

static void cr3_loads_keep_what_still_holds(void **state)
{
    struct rig *r = *state;
    for (unsigned i = 0; i < 3; i++)
        map_in(r, CR3_A, 0x400000 + i * 0x1000, (DATA_AT + i * 0x1000) | ALL);
    map_in(r, CR3_B, 0x400000, (DATA_AT + 0x8000) | ALL);
    rig_ring(r, 3);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(store(r, 0x400000 + i * 0x1000), DBT_RESUME);
    unsigned first = r->space;
    rig_cr3(r, CR3_B);
    assert_int_equal(load(r, 0x400000), DBT_RESUME);
    assert_int_not_equal(r->space, first);
    assert_shows(r, 0x400000, true, DATA_AT + 0x8000);
    assert_hides(r, 0x401000, false);
    /* While the other was away: one entry changes, one only in the bits that are the system's. */
    map_in(r, CR3_A, 0x401000, (DATA_AT + 0x9000) | ALL);
    map_in(r, CR3_A, 0x402000, (DATA_AT + 0x2000) | ALL | 0xe00);
    rig_cr3(r, CR3_A);
    enter(r);
    assert_int_equal(r->space, first);
    assert_shows(r, 0x400000, true, DATA_AT);
    assert_hides(r, 0x401000, false);
    assert_shows(r, 0x402000, true, DATA_AT + 0x2000);
    assert_int_equal(load(r, 0x401000), DBT_RESUME);
    assert_shows(r, 0x401000, true, DATA_AT + 0x9000);
    assert_true(x86_shadow_stats(r->s)->stale_pages >= 1);
}

static void a_new_table_drops_the_region(void **state)
{
    struct rig *r = *state;
    map(r, 0x400000, DATA_AT | ALL);
    map(r, 0x800000, (DATA_AT + 0x1000) | ALL);
    rig_ring(r, 3);
    assert_int_equal(load(r, 0x400000), DBT_RESUME);
    assert_int_equal(load(r, 0x800000), DBT_RESUME);
    poke(r->v, pde_at(CR3_A, 0x400000), 0, 4);
    map(r, 0x400000, (DATA_AT + 0x5000) | ALL); /* in a table of its own */
    rig_cr3(r, CR3_A);
    enter(r);
    assert_hides(r, 0x400000, false);
    assert_shows(r, 0x800000, true, DATA_AT + 0x1000);
    assert_int_equal(r->dropped, 0);
    /* All of them new: another process with the same CR3. */
    poke(r->v, pde_at(CR3_A, 0x400000), 0, 4);
    poke(r->v, pde_at(CR3_A, 0x800000), 0, 4);
    rig_cr3(r, CR3_A);
    enter(r);
    assert_hides(r, 0x800000, false);
    assert_int_equal(r->dropped, 1);
    assert_int_equal(r->dropped_space, r->space);
}

static void global_pages_outlive_cr3_loads(void **state)
{
    struct rig *r = *state;
    rig_control(r, CR0_PG | CR0_WP, CR4_PGE);
    map(r, 0xc0000000, DATA_AT | (ALL & ~US) | G);
    map(r, 0xc0100000, (DATA_AT + 0x1000) | (ALL & ~US));
    assert_int_equal(load(r, 0xc0000000), DBT_RESUME);
    assert_int_equal(load(r, 0xc0100000), DBT_RESUME);
    map(r, 0xc0000000, 0);
    map(r, 0xc0100000, 0);
    rig_cr3(r, CR3_A);
    enter(r);
    assert_shows(r, 0xc0000000, true, DATA_AT);
    assert_hides(r, 0xc0100000, false);
    x86_tlb_flush_page(r->v, 0xc0000000);
    enter(r);
    assert_hides(r, 0xc0000000, false);
    map(r, 0xc0000000, DATA_AT | (ALL & ~US) | G);
    assert_int_equal(load(r, 0xc0000000), DBT_RESUME);
    map(r, 0xc0000000, 0);
    rig_control(r, CR0_PG | CR0_WP, 0); /* PGE off and on again */
    rig_control(r, CR0_PG | CR0_WP, CR4_PGE);
    enter(r);
    assert_hides(r, 0xc0000000, false);
}

static void invlpg_drops_one_page(void **state)
{
    struct rig *r = *state;
    map(r, 0x400000, DATA_AT | ALL);
    map(r, 0x401000, (DATA_AT + 0x1000) | ALL);
    rig_ring(r, 3);
    assert_int_equal(load(r, 0x400000), DBT_RESUME);
    assert_shows(r, 0x401000, false, DATA_AT + 0x1000);
    map(r, 0x400000, 0);
    map(r, 0x401000, 0);
    enter(r);
    assert_shows(r, 0x400000, false, DATA_AT); /* no flush yet */
    x86_tlb_flush_page(r->v, 0x400fff);
    enter(r);
    assert_hides(r, 0x400000, false);
    assert_shows(r, 0x401000, false, DATA_AT + 0x1000);
    assert_int_equal(load(r, 0x400000), DBT_INTERPRET);
}

/* Without a flush the new entry may be used at once; then the old page must not stay. */
static void a_fill_replaces_what_an_older_entry_said(void **state)
{
    struct rig *r = *state;
    map(r, 0x400000, DATA_AT | (ALL & ~D));
    rig_ring(r, 3);
    assert_int_equal(load(r, 0x400000), DBT_RESUME);
    map(r, 0x400000, (DATA_AT + 0x3000) | ALL);
    assert_int_equal(store(r, 0x400000), DBT_RESUME);
    assert_shows(r, 0x400000, true, DATA_AT + 0x3000);
    assert_shows(r, 0x400000, false, DATA_AT + 0x3000);
}

/* The same for code, and for the directory entry of pages that have not been looked at yet. */
static void a_fetch_replaces_what_an_older_entry_said(void **state)
{
    struct rig *r = *state;
    gpfn_t gpfn;
    map(r, 0x400000, DATA_AT | ALL);
    map(r, 0x440000, (DATA_AT + 0x1000) | ALL);
    rig_ring(r, 3);
    enter(r);
    assert_true(x86_shadow_fetch(r->v, 0x400000, &gpfn));
    map(r, 0x400000, (DATA_AT + 0x2000) | ALL);
    assert_true(x86_shadow_fetch(r->v, 0x400000, &gpfn));
    assert_int_equal(gpfn.n, (DATA_AT + 0x2000) >> 12);
    assert_int_equal(r->unmapped, 1);
    poke(r->v, pde_at(CR3_A, 0x400000), 0, 4);
    map(r, 0x440000, (DATA_AT + 0x3000) | ALL); /* in another table */
    assert_int_equal(load(r, 0x440000), DBT_RESUME);
    assert_shows(r, 0x440000, false, DATA_AT + 0x3000);
    assert_int_equal(r->unmapped, 2);
}

static void modes_drop_everything(void **state)
{
    struct rig *r = *state;
    map(r, 0x400000, DATA_AT | (ALL & ~RW));
    r->v->eip = 0x400000;
    rig_control(r, CR0_PG, 0);
    assert_int_equal(store(r, 0x400000), DBT_RESUME);
    rig_control(r, CR0_PG | CR0_WP, 0);
    enter(r);
    assert_hides(r, 0x400000, false);
    assert_true(r->dropped > 0);
    assert_int_equal(store(r, 0x400000), DBT_INTERPRET);
}

static void spaces_are_recycled(void **state)
{
    struct rig *r = *state;
    unsigned first = 0;
    rig_ring(r, 3);
    map(r, 0x400000, DATA_AT | ALL);
    /* The pool and one more: CR3 values differ in bits that the walk ignores. */
    for (unsigned i = 0; i <= SHADOW_USER_SPACES; i++) {
        assert_int_equal(r->dropped, 0);
        rig_cr3(r, CR3_A | i);
        if (i == SHADOW_USER_SPACES)
            break;
        assert_int_equal(load(r, 0x400000), DBT_RESUME);
        if (!i)
            first = r->space;
    }
    enter(r);
    assert_int_equal(r->space, first);
    assert_int_equal(r->dropped, 1);
    assert_int_equal(r->dropped_space, first);
    assert_int_equal(x86_shadow_stats(r->s)->spaces_recycled, 1);
    assert_hides(r, 0x400000, false);
    rig_cr3(r, CR3_A | 1); /* the second is still there */
    enter(r);
    assert_shows(r, 0x400000, false, DATA_AT);
}

/* A worked example: process A calls read(), the kernel switches to process B and
 * returns to it, the keyboard interrupts, the kernel switches back and returns to A. Two switches
 * of the guest's page tables and four of privilege make six of views, no two for one reason. */
static void view_switches_are_counted(void **state)
{
    struct rig *r = *state;
    static const struct {
        uint8_t ring, process;
    } way[] = {{0, 0}, {0, 1}, {3, 1}, {0, 1}, {0, 0}, {3, 0}};
    map_in(r, CR3_A, 0x400000, DATA_AT | ALL);
    map_in(r, CR3_B, 0x400000, (DATA_AT + 0x1000) | ALL);
    map(r, 0xc0000000, (DATA_AT + 0x2000) | (ALL & ~US));
    poke(r->v, pde_at(CR3_B, 0xc0000000), peek(r->v, pde_at(CR3_A, 0xc0000000), 4), 4);
    rig_ring(r, 3);
    assert_int_equal(load(r, 0x400000), DBT_RESUME);
    const struct x86_shadow_stats before = *x86_shadow_stats(r->s), *x = x86_shadow_stats(r->s);
    for (unsigned i = 0; i < ARRAY_LEN(way); i++) {
        rig_ring(r, way[i].ring);
        if (r->v->cr3 != DIRECTORY(way[i].process))
            rig_cr3(r, DIRECTORY(way[i].process));
        for (unsigned again = 0; again < 2; again++) { /* one that stays is no switch */
            uint32_t lin = way[i].ring ? 0x400000 : 0xc0000000;
            assert_int_equal(load(r, lin), DBT_RESUME);
            assert_shows(r, lin, false,
                         DATA_AT + (way[i].ring ? way[i].process * 0x1000u : 0x2000u));
        }
        uint64_t switches = x->switches_privilege - before.switches_privilege + x->switches_cr3 -
                            before.switches_cr3;
        assert_int_equal(switches, i + 1);
    }
    assert_int_equal(x->switches_privilege - before.switches_privilege, 4);
    assert_int_equal(x->switches_cr3 - before.switches_cr3, 2);
    assert_int_equal(x->stale_pages, before.stale_pages); /* and both are as they were left */
}

/* ---- code ------------------------------------------------------------------------------------ */

static void code_that_goes_is_reported(void **state)
{
    struct rig *r = *state;
    gpfn_t gpfn;
    map(r, 0x400000, DATA_AT | P | US);
    map(r, 0x401000, (DATA_AT + 0x1000) | P);
    map(r, 0x402000, NO_MEMORY | ALL);
    rig_ring(r, 3);
    enter(r);
    assert_true(x86_shadow_fetch(r->v, 0x400000, &gpfn));
    assert_int_equal(gpfn.n, DATA_AT >> 12);
    assert_true(pte_of(r, 0x400000) & A);
    assert_false(x86_shadow_fetch(r->v, 0x401000, &gpfn));
    assert_false(x86_shadow_fetch(r->v, 0x402000, &gpfn));
    assert_false(x86_shadow_fetch(r->v, 0x403000, &gpfn));
    rig_cr3(r, CR3_A);
    enter(r);
    assert_int_equal(r->unmapped, 0);
    map(r, 0x400000, (DATA_AT + 0x1000) | P | US);
    rig_cr3(r, CR3_A);
    enter(r);
    assert_int_equal(r->unmapped, 1);
    assert_int_equal(r->unmapped_page, 0x400000);
    assert_int_equal(r->unmapped_space, r->space);
    assert_true(x86_shadow_fetch(r->v, 0x400000, &gpfn));
    map(r, 0x400000, DATA_AT | P | US);
    x86_tlb_flush_page(r->v, 0x400000);
    assert_int_equal(r->unmapped, 2);
}

/* ---- write protection ------------------------------------------------------------------------ */

/* A page at three addresses: the supervisor's large page, a small one, a user's. */
static void watched_pages_become_readonly_everywhere(void **state)
{
    struct rig *r = *state;
    static const uint32_t lin[] = {0xc0203000, 0xd0000000, 0x400000};
    static const unsigned ring[] = {0, 0, 3};
    rig_control(r, CR0_PG | CR0_WP, CR4_PSE);
    poke(r->v, pde_at(CR3_A, lin[0]), (ALL & ~US) | PS, 4);
    map(r, lin[1], 0x203000 | (ALL & ~US));
    map(r, lin[1] + 0x1000, 0x204000 | (ALL & ~US));
    map(r, lin[2], 0x203000 | ALL);
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned i = 0; i < 3; i++) {
            rig_ring(r, ring[i]);
            assert_int_equal(store(r, lin[i]), DBT_RESUME);
        }
        uint64_t before = x86_shadow_stats(r->s)->protects;
        wp_add(r->m->mem, (gpfn_t){0x203}, WP_DIRTY_LOG);
        assert_int_equal(x86_shadow_stats(r->s)->protects - before, 3);
        for (unsigned i = 0; i < 3; i++) {
            rig_ring(r, ring[i]);
            enter(r);
            assert_shows(r, lin[i], false, 0x203000);
            assert_hides(r, lin[i], true);
            assert_int_equal(store(r, lin[i]), DBT_TRACED);
        }
        rig_ring(r, 0);
        assert_int_equal(store(r, lin[1] + 0x1000), DBT_RESUME);
        wp_drop(r->m->mem, (gpfn_t){0x203}, WP_DIRTY_LOG);
    }
    /* A page with a reason is filled read-only from the start. */
    wp_add(r->m->mem, (gpfn_t){0x208}, WP_CODE);
    map(r, lin[1] + 0x8000, 0x208000 | (ALL & ~US));
    assert_int_equal(load(r, lin[1] + 0x8000), DBT_RESUME);
    assert_hides(r, lin[1] + 0x8000, true);
}

/* Pages that are writable in many places, and stop being so in any order. */
static void every_writer_is_found(void **state)
{
    struct rig *r = *state;
    rig_ring(r, 3);
    for (unsigned i = 0; i < 8; i++)
        map(r, 0x400000 + i * 0x20000, DATA_AT | ALL);
    for (unsigned keep = 0; keep < 8; keep++) {
        for (unsigned i = 0; i < 8; i++)
            assert_int_equal(store(r, 0x400000 + i * 0x20000), DBT_RESUME);
        for (unsigned i = 0; i < 8; i++)
            if (i != keep)
                x86_tlb_flush_page(r->v, 0x400000 + i * 0x20000);
        wp_add(r->m->mem, (gpfn_t){DATA_AT >> 12}, WP_CODE);
        enter(r);
        assert_shows(r, 0x400000 + keep * 0x20000, false, DATA_AT);
        assert_hides(r, 0x400000 + keep * 0x20000, true);
        wp_drop(r->m->mem, (gpfn_t){DATA_AT >> 12}, WP_CODE);
    }
}

static void *add_reason(void *opaque)
{
    wp_add(opaque, (gpfn_t){DATA_AT >> 12}, WP_DIRTY_LOG);
    return NULL;
}

static void other_threads_can_watch(void **state)
{
    struct rig *r = *state;
    pthread_t t;
    map(r, 0x400000, DATA_AT | ALL);
    rig_ring(r, 3);
    assert_int_equal(store(r, 0x400000), DBT_RESUME);
    assert_int_equal(pthread_create(&t, NULL, add_reason, r->m->mem), 0);
    assert_int_equal(pthread_join(t, NULL), 0);
    assert_true(r->v->base.attention & ATTN_CODE);
    enter(r);
    assert_shows(r, 0x400000, false, DATA_AT);
    assert_hides(r, 0x400000, true);
}

/* ---- budget ---------------------------------------------------------------------------------- */

static void limit_mappings(struct rig *r, uint64_t budget)
{
    window_free(r->s->space[0].window);
    window_pool_free(r->s->windows);
    r->s->windows = window_pool_new(phys_ram_fd(r->m->mem), budget, NULL);
    r->s->space[0].window = NULL;
    r->s->pending |= PEND_SWITCH;
}

static void windows_give_way_to_each_other(void **state)
{
    struct rig *r = *state;
    limit_mappings(r, 40);
    /* 3 address spaces with 12 scattered pages each: some 25 mappings. */
    for (unsigned n = 0; n < 3; n++)
        for (unsigned i = 0; i < 12; i++)
            map_in(r, DIRECTORY(n), 0x400000 + i * 0x20000,
                   (DATA_AT + (12 * n + i) * 0x1000) | ALL);
    map(r, 0xc0000000, DATA_AT | (ALL & ~US));
    for (unsigned n = 1; n < 3; n++) /* the same table in all of them */
        poke(r->v, pde_at(DIRECTORY(n), 0xc0000000), peek(r->v, pde_at(CR3_A, 0xc0000000), 4), 4);
    assert_int_equal(load(r, 0xc0000000), DBT_RESUME);
    rig_ring(r, 3);
    for (unsigned n = 0; n < 3; n++) {
        rig_cr3(r, DIRECTORY(n));
        for (unsigned i = 0; i < 12; i++) {
            assert_int_equal(store(r, 0x400000 + i * 0x20000), DBT_RESUME);
            assert_true(window_pool_stats(r->s->windows).mappings <= 40);
        }
        for (unsigned i = 0; i < 12; i++)
            assert_shows(r, 0x400000 + i * 0x20000, true, DATA_AT + (12 * n + i) * 0x1000);
    }
    rig_cr3(r, DIRECTORY(0)); /* was evicted, and comes back */
    enter(r);
    assert_hides(r, 0x400000, false);
    assert_int_equal(store(r, 0x400000), DBT_RESUME);
    rig_ring(r, 0);
    enter(r);
    assert_shows(r, 0xc0000000, true, DATA_AT); /* went last, so it never did */
    /* Evicted pages are not found writable any more. */
    wp_add(r->m->mem, (gpfn_t){(DATA_AT >> 12) + 12}, WP_CODE);
    assert_int_equal(x86_shadow_stats(r->s)->protects, 0);
}

/* More than the budget in a single space: it loses its own pages, and goes on. */
static void a_space_may_outgrow_the_budget(void **state)
{
    struct rig *r = *state;
    limit_mappings(r, 20);
    rig_ring(r, 3);
    for (unsigned i = 0; i < 40; i++)
        map(r, 0x400000 + i * 0x20000, (DATA_AT + (i * 7 % 40) * 0x1000) | ALL);
    for (unsigned i = 0; i < 200; i++) {
        uint32_t n = i * 29 % 40;
        assert_int_equal(store(r, 0x400000 + n * 0x20000), DBT_RESUME);
        assert_shows(r, 0x400000 + n * 0x20000, true, DATA_AT + (n * 7 % 40) * 0x1000);
    }
}

static void records_are_limited(void **state)
{
    struct rig *r = *state;
    uint32_t table = rig_table(r);
    poke(r->v, table, DATA_AT | ALL, 4);
    for (unsigned n = 0; n < 8; n++)
        for (unsigned i = 0; i < 1024; i++)
            poke(r->v, DIRECTORY(n) + i * 4, table | ALL, 4);
    rig_ring(r, 3);
    for (unsigned n = 0; n < 8; n++) {
        rig_cr3(r, DIRECTORY(n));
        for (unsigned i = 0; i < 1024; i++) {
            enter(r);
            assert_int_equal(x86_shadow_fault(r->v, i << 22, true, TB_PLAIN), DBT_RESUME);
            assert_true(r->s->regions <= SHADOW_REGIONS_MAX);
        }
        assert_shows(r, 1000u << 22, true, DATA_AT);
    }
}

/* With the flat flavour the host may not know that an access is a store. */
static void unknown_accesses_end_up_writable(void **state)
{
    struct rig *r = *state;
    map(r, 0x400000, DATA_AT | P | RW | US);
    rig_ring(r, 3);
    enter(r);
    assert_int_equal(x86_shadow_fault(r->v, 0x400000, false, TB_PLAIN), DBT_RESUME);
    assert_int_equal(pte_of(r, 0x400000) & D, 0);
    assert_int_equal(x86_shadow_fault(r->v, 0x400000, false, TB_PLAIN), DBT_RESUME);
    assert_shows(r, 0x400000, true, DATA_AT);
    assert_true(pte_of(r, 0x400000) & D);
    assert_int_equal(x86_shadow_fault(r->v, 0x400000, false, TB_PLAIN), DBT_INTERPRET);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(rights_are_those_of_the_entries),
        TRACED(rights_are_those_of_the_entries),
        BOTH(directory_entries_restrict),
        TRACED(directory_entries_restrict),
        BOTH(what_is_no_memory_is_not_shown),
        TRACED(what_is_no_memory_is_not_shown),
        BOTH(paging_off_shows_physical_memory),
        TRACED(paging_off_shows_physical_memory),
        BOTH(accesses_set_a_and_d),
        TRACED(accesses_set_a_and_d),
        BOTH(cleared_a_and_d_are_set_again),
        TRACED(cleared_a_and_d_are_set_again),
        BOTH(neighbours_come_along),
        TRACED(neighbours_come_along),
        WINDOW(neighbours_that_are_flushed_stay_out),
        WINDOW(restless_pages_are_served_flat),
        BOTH(flushed_pages_stay_or_come_back),
        BOTH(large_pages),
        BOTH(pae),
        TRACED(pae),
        BOTH(cr3_loads_keep_what_still_holds),
        TRACED(cr3_loads_keep_what_still_holds),
        BOTH(a_new_table_drops_the_region),
        BOTH(global_pages_outlive_cr3_loads),
        BOTH(invlpg_drops_one_page),
        BOTH(a_fill_replaces_what_an_older_entry_said),
        TRACED(a_fill_replaces_what_an_older_entry_said),
        BOTH(a_fetch_replaces_what_an_older_entry_said),
        TRACED(a_fetch_replaces_what_an_older_entry_said),
        BOTH(modes_drop_everything),
        TRACED(modes_drop_everything),
        BOTH(spaces_are_recycled),
        TRACED(spaces_are_recycled),
        BOTH(view_switches_are_counted),
        TRACED(view_switches_are_counted),
        BOTH(code_that_goes_is_reported),
        TRACED(code_that_goes_is_reported),
        BOTH(watched_pages_become_readonly_everywhere),
        TRACED(watched_pages_become_readonly_everywhere),
        BOTH(every_writer_is_found),
        TRACED(every_writer_is_found),
        BOTH(other_threads_can_watch),
        TRACED(other_threads_can_watch),
        WINDOW(windows_give_way_to_each_other),
        WINDOW(a_space_may_outgrow_the_budget),
        FLAT(records_are_limited),
        FLAT(unknown_accesses_end_up_writable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
