/* SPDX-License-Identifier: MIT */
/* A processor with page tables made by hand and shadow views over them, and ways to ask what the
 * current view shows. Shared by the tests of the views.
 *
 *   100000 page directories, 4 KiB each   110000 page tables, taken in turns
 *   200000 data: every page begins with its number   fff00000 ROM, the last 64 KiB of RAM */
#ifndef RING3_TESTS_X86_SHADOW_RIG_H
#define RING3_TESTS_X86_SHADOW_RIG_H

#include "try_access.h"
#include "x86_machine.h"

#include "isa/x86/shadow_internal.h"

#define DIRECTORY(n) (0x100000u + 0x1000u * (n))
#define TABLES       0x110000u
#define TABLES_END   0x200000u
#define DATA_AT      0x200000u
#define ROM_AT       0xfff00000u
#define NO_MEMORY    0x80000000u /* a physical address where there is nothing */

enum { P = 1, RW = 2, US = 4, A = 0x20, D = 0x40, PS = 0x80, G = 0x100 };
#define ALL (P | RW | US | A | D)

struct rig {
    struct machine *m;
    struct x86_vcpu *v;
    struct x86_shadow *s;
    uint32_t next_table;
    enum x86_flavour flavour;
    unsigned space; /* as prepare() said */
    /* What the hooks heard. */
    unsigned unmapped, dropped;
    uint32_t unmapped_page;
    unsigned unmapped_space, dropped_space;
};

static inline void on_code_unmapped(void *opaque, unsigned space, uint32_t page)
{
    struct rig *r = opaque;
    r->unmapped++;
    r->unmapped_space = space;
    r->unmapped_page = page;
}
static inline void on_space_dropped(void *opaque, unsigned space)
{
    struct rig *r = opaque;
    r->dropped++;
    r->dropped_space = space;
}

static inline void rig_control(struct rig *r, uint32_t cr0, uint32_t cr4)
{
    r->v->cr0 = cr0 | CR0_PE;
    r->v->cr4 = cr4;
    x86_tlb_flush(r->v, false);
}

static inline void rig_ring(struct rig *r, unsigned ring)
{
    r->v->cpl = (uint8_t)ring;
    x86_update_mode(r->v);
}

static inline void rig_cr3(struct rig *r, uint32_t cr3)
{
    r->v->cr3 = cr3;
    if (r->v->cr4 & CR4_PAE)
        x86_load_pdptes(r->v, cr3);
    x86_tlb_flush(r->v, r->v->cr4 & CR4_PGE);
}

static inline void enter(struct rig *r)
{
    r->space = x86_shadow_prepare(r->v, &r->flavour);
    assert_int_equal(r->v->gen.view & 0xfff, 12);
    if (r->flavour == X86_FLAVOUR_WINDOW)
        assert_int_equal(r->v->gen.view, r->v->gen.window | 12);
}

static inline int rig_make_from(void **state, const struct dbt_options *o)
{
    void *machine = NULL;
    if (machine_make(&machine))
        return -1;
    struct rig *r = test_calloc(1, sizeof *r);
    r->m = machine;
    r->v = r->m->v;
    r->next_table = TABLES;
    for (uint32_t at = 0; at < 4 * MIB; at += PAGE_BYTES)
        poke(r->v, at, at >> PAGE_SHIFT, at < DATA_AT && at >= 0x1000 ? 0 : 4);
    if (phys_map_rom(r->m->mem, ROM_AT, 4 * MIB - 64 * KIB, 64 * KIB, NULL))
        return -1;
    struct dbt_hooks h = {r, on_code_unmapped, on_space_dropped};
    r->s = x86_shadow_new(r->v, o, &h, NULL);
    r->v->cr3 = DIRECTORY(0);
    rig_control(r, CR0_PG | CR0_WP, 0);
    *state = r;
    if (!r->s)
        return -1;
    enter(r);
    r->dropped = 0;
    return 0;
}
static inline int rig_make_with(void **state, enum dbt_view view)
{
    return rig_make_from(state, &(struct dbt_options){.view = view});
}
static inline int rig_make(void **state)
{
    return rig_make_with(state, DBT_VIEW_WINDOW);
}
static inline int rig_make_flat(void **state)
{
    return rig_make_with(state, DBT_VIEW_FLAT);
}
static inline int rig_make_auto(void **state)
{
    return rig_make_with(state, DBT_VIEW_AUTO);
}
static inline int rig_make_traced(void **state)
{
    return rig_make_from(state,
                         &(struct dbt_options){.view = DBT_VIEW_WINDOW, .trace_tables = true});
}
static inline int rig_make_flat_traced(void **state)
{
    return rig_make_from(state, &(struct dbt_options){.view = DBT_VIEW_FLAT, .trace_tables = true});
}

static inline int rig_free(void **state)
{
    struct rig *r = *state;
    void *machine = r->m;
    x86_shadow_free(r->s);
    for (uint64_t n = 0; n < 4 * MIB >> PAGE_SHIFT; n++) /* tables are given back */
        assert_int_equal(phys_page(r->m->mem, (gpfn_t){n}).wp & WP_PAGE_TABLE, 0);
    test_free(r);
    return machine_free(&machine);
}

/* ---- page tables ----------------------------------------------------------------------------- */

static inline uint32_t rig_table(struct rig *r)
{
    uint32_t at = r->next_table;
    assert_true(at < TABLES_END);
    r->next_table += (uint32_t)PAGE_BYTES;
    return at;
}

/* Where the entries for lin are in the tables behind directory `dir`, without PAE. */
static inline uint32_t pde_at(uint32_t dir, uint32_t lin)
{
    return dir + (lin >> 22) * 4;
}
static inline uint32_t pte_at(struct rig *r, uint32_t dir, uint32_t lin)
{
    uint32_t at = pde_at(dir, lin);
    if (!(peek(r->v, at, 4) & P))
        poke(r->v, at, rig_table(r) | P | RW | US | A, 4);
    return (peek(r->v, at, 4) & ~0xfffu) + (lin >> 12 & 1023) * 4;
}
static inline void map_in(struct rig *r, uint32_t dir, uint32_t lin, uint32_t entry)
{
    poke(r->v, pte_at(r, dir, lin), entry, 4);
}
static inline void map(struct rig *r, uint32_t lin, uint32_t entry)
{
    map_in(r, r->v->cr3, lin, entry);
}
static inline uint32_t pte_of(struct rig *r, uint32_t lin)
{
    return peek(r->v, pte_at(r, r->v->cr3, lin), 4);
}

/* ---- views ----------------------------------------------------------------------------------- */

/* Physical address that a space shows at lin, or -1. Windows are looked at for real. */
static inline int64_t window_shows(struct rig *r, const struct space *sp, uint32_t lin, bool write)
{
    uint64_t offset;
    uint32_t seen = 0, there = 0;
    bool writable,
        shown = sp->window && window_page(sp->window, lin >> PAGE_SHIFT, &offset, &writable);
    if (sp->window)
        assert_int_equal(try_load(window_base(sp->window) + (lin & ~3u), &seen), shown);
    if (!shown || (write && !writable))
        return -1;
    assert_int_equal(phys_read(r->m->mem, (offset | (lin & 0xffc)), &there, 4), 0);
    assert_int_equal(seen, there);
    return (int64_t)(offset | (lin & 0xfff));
}
static inline int64_t flat_shows(struct rig *r, const struct space *sp, uint32_t lin, bool write)
{
    uint8_t *host = sp->flat ? flat_host(sp->flat, lin, write) : NULL;
    return host ? (int64_t)phys_ram_offset(r->m->mem, host) : -1;
}
static inline int64_t shows(struct rig *r, uint32_t lin, bool write)
{
    const struct space *sp = &r->s->space[r->space];
    return r->flavour == X86_FLAVOUR_WINDOW ? window_shows(r, sp, lin, write)
                                            : flat_shows(r, sp, lin, write);
}

/* Access memory as translated code would. DBT_RESUME: the view shows it. */
static inline enum dbt_verdict access_as(struct rig *r, uint32_t lin, bool write,
                                         enum tb_policy policy)
{
    enter(r);
    for (unsigned i = 0; i < 3; i++) {
        if (shows(r, lin, write) >= 0)
            return DBT_RESUME;
        enum dbt_verdict x = x86_shadow_fault(r->v, lin, write, policy);
        if (x != DBT_RESUME)
            return x;
    }
    fail_msg("no progress at %#x", lin);
    return DBT_VERDICTS;
}
static inline enum dbt_verdict load(struct rig *r, uint32_t lin)
{
    return access_as(r, lin, false, TB_PLAIN);
}
static inline enum dbt_verdict store(struct rig *r, uint32_t lin)
{
    return access_as(r, lin, true, TB_PLAIN);
}

#define assert_shows(r, lin, write, gpa) assert_int_equal(shows(r, lin, write), (int64_t)(gpa))
#define assert_hides(r, lin, write)      assert_int_equal(shows(r, lin, write), -1)

/* A test with windows, with flat tables, as the view chooses, and both of the former. */
#define WINDOW(f) cmocka_unit_test_setup_teardown(f, rig_make, rig_free)
#define FLAT(f)   cmocka_unit_test_setup_teardown(f, rig_make_flat, rig_free)
#define AUTO(f)   cmocka_unit_test_setup_teardown(f, rig_make_auto, rig_free)
#define BOTH(f)   WINDOW(f), FLAT(f)
/* The same two with traced page tables. */
#define TRACED(f)                                                                                  \
    cmocka_unit_test_setup_teardown(f, rig_make_traced, rig_free),                                 \
        cmocka_unit_test_setup_teardown(f, rig_make_flat_traced, rig_free)

#endif
