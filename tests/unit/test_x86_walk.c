/* SPDX-License-Identifier: MIT */
/* x86_walk(): what it reports of a translation, for those who remember translations and check them
 * again later; the hooks that tell them when; and what the TLB keeps. */
#include "x86_machine.h"

#define P           1u
#define RW          2u
#define US          4u
#define A           0x20u
#define D           0x40u
#define PS          0x80u
#define G           0x100u
#define DIR         0x100000u /* page directory; with PAE one per GiB, of which two are used */
#define TAB         0x104000u
#define LIN         0x40803123u /* directory entry 102h, table entry 3; PAE: 4 and 3 of directory 1 */
#define USER        true
#define LIN_PAGE(n) ((LIN & 0xffc00000u) + (n)*PAGE_BYTES)
#define QUIET       true

static void paging_32bit(struct x86_vcpu *v)
{
    v->cr3 = DIR;
    v->cr4 = CR4_PSE | CR4_PGE;
    v->cr0 |= CR0_PG | CR0_WP;
    x86_tlb_flush(v, false);
    x86_update_mode(v);
}

static void paging_pae(struct x86_vcpu *v)
{
    paging_32bit(v);
    v->cr4 |= CR4_PAE;
    for (unsigned i = 0; i < 2; i++)
        v->pdpte[i] = (DIR + i * PAGE_BYTES) | P;
    x86_tlb_flush(v, false);
}

static void expect_entry(const struct x86_vcpu *v, const struct x86_table_entry *e, gpa_t gpa,
                         uint64_t value, unsigned bytes)
{
    uint64_t now = 0;
    assert_int_equal(e->gpa, gpa);
    assert_int_equal(e->value, value);
    assert_int_equal(e->bytes, bytes);
    assert_int_equal(phys_read(v->base.mem, gpa, &now, bytes), 0);
    assert_int_equal(now, value);
}

static void two_levels_of_32_bits(void **state)
{
    struct x86_vcpu *v = vcpu_of(state);
    paging_32bit(v);
    poke(v, DIR + 0x102 * 4, TAB | P | RW | US, 4);
    poke(v, TAB + 3 * 4, 0x5000 | P | RW | G, 4);

    struct x86_walk w = x86_walk(v, LIN, X86_WRITE, !USER, QUIET);
    assert_true(w.present);
    assert_int_equal(w.entries, 2);
    expect_entry(v, &w.entry[0], DIR + 0x102 * 4, TAB | P | RW | US, 4); /* nothing set */
    expect_entry(v, &w.entry[1], TAB + 3 * 4, 0x5000 | P | RW | G, 4);
    assert_false(w.dirty);
    assert_false(w.writable);

    w = x86_walk(v, LIN, X86_READ, !USER, !QUIET);
    expect_entry(v, &w.entry[0], DIR + 0x102 * 4, TAB | P | RW | US | A, 4);
    expect_entry(v, &w.entry[1], TAB + 3 * 4, 0x5000 | P | RW | G | A, 4);
    assert_false(w.dirty);
    assert_int_equal(w.gpa, 0x5123);
    assert_int_equal(w.base, 0x5000);
    assert_int_equal(w.bytes, PAGE_BYTES);
    assert_false(w.large);
    assert_false(w.user); /* the leaf says no */
    assert_true(w.global);

    w = x86_walk(v, LIN, X86_WRITE, !USER, !QUIET);
    expect_entry(v, &w.entry[1], TAB + 3 * 4, 0x5000 | P | RW | G | A | D, 4);
    assert_true(w.dirty);
    assert_true(w.writable);

    poke(v, TAB + 3 * 4, 0x5000 | P | US | D, 4);
    w = x86_walk(v, LIN, X86_READ, USER, QUIET);
    assert_true(w.present);
    assert_true(w.user);
    assert_true(w.dirty);
    assert_false(w.writable);
    assert_false(w.global);
}

static void failed_walks_tell_how_far_they_came(void **state)
{
    struct x86_vcpu *v = vcpu_of(state);
    paging_32bit(v);
    struct x86_walk w = x86_walk(v, LIN, X86_READ, USER, !QUIET);
    assert_false(w.present);
    assert_int_equal(w.entries, 1);
    expect_entry(v, &w.entry[0], DIR + 0x102 * 4, 0, 4);
    poke(v, DIR + 0x102 * 4, TAB | P | RW | US, 4);
    w = x86_walk(v, LIN, X86_READ, USER, !QUIET);
    assert_false(w.present);
    assert_int_equal(w.entries, 2);
    expect_entry(v, &w.entry[1], TAB + 3 * 4, 0, 4);
    poke(v, TAB + 3 * 4, 0x5000 | P | RW, 4);
    w = x86_walk(v, LIN, X86_READ, USER, !QUIET); /* no right: no A bits either */
    assert_false(w.present);
    assert_int_equal(w.error, 5);
    expect_entry(v, &w.entry[0], DIR + 0x102 * 4, TAB | P | RW | US, 4);
    expect_entry(v, &w.entry[1], TAB + 3 * 4, 0x5000 | P | RW, 4);
    paging_pae(v);
    w = x86_walk(v, 0x80000000, X86_READ, !USER, !QUIET); /* PDPTE 2 */
    assert_false(w.present);
    assert_int_equal(w.entries, 0);
}

static void a_page_of_4_mib(void **state)
{
    struct x86_vcpu *v = vcpu_of(state);
    const uint32_t pde = 0x00c00000 | P | RW | US | PS;
    paging_32bit(v);
    poke(v, DIR + 0x102 * 4, pde, 4);
    struct x86_walk w = x86_walk(v, LIN, X86_WRITE, USER, QUIET);
    assert_int_equal(w.entries, 1);
    expect_entry(v, &w.entry[0], DIR + 0x102 * 4, pde, 4);
    assert_int_equal(v->tlb_large[LIN >> 28], 0);
    w = x86_walk(v, LIN, X86_WRITE, USER, !QUIET);
    assert_int_equal(w.entries, 1);
    expect_entry(v, &w.entry[0], DIR + 0x102 * 4, pde | A | D, 4);
    assert_true(w.large && w.user && w.dirty && w.writable && !w.global);
    assert_int_equal(w.bytes, 4 * MIB);
    assert_int_equal(w.base, 0x00c00000);
    assert_int_equal(w.gpa, 0x00c03123);
    assert_int_not_equal(v->tlb_large[LIN >> 28], 0);
}

static void pae(void **state)
{
    struct x86_vcpu *v = vcpu_of(state);
    const gpa_t dir = DIR + PAGE_BYTES, pde = dir + 4 * 8;
    paging_pae(v);
    poke(v, (uint32_t)pde, TAB | P | RW | US, 8);
    poke(v, TAB + 3 * 8, UINT64_C(0x400005000) | P | RW | US, 8);
    struct x86_walk w = x86_walk(v, LIN, X86_WRITE, USER, !QUIET);
    assert_int_equal(w.entries, 2);
    expect_entry(v, &w.entry[0], pde, TAB | P | RW | US | A, 8);
    expect_entry(v, &w.entry[1], TAB + 3 * 8, UINT64_C(0x400005000) | P | RW | US | A | D, 8);
    assert_int_equal(w.base, UINT64_C(0x400005000));
    assert_int_equal(w.gpa, UINT64_C(0x400005123));
    assert_int_equal(w.bytes, PAGE_BYTES);
    assert_true(w.user && w.dirty && w.writable && !w.large);

    poke(v, (uint32_t)pde, UINT64_C(0x400200000) | P | PS | G, 8);
    w = x86_walk(v, LIN, X86_READ, !USER, !QUIET);
    assert_int_equal(w.entries, 1);
    expect_entry(v, &w.entry[0], pde, UINT64_C(0x400200000) | P | PS | G | A, 8);
    assert_true(w.large && w.global && !w.user && !w.dirty && !w.writable);
    assert_int_equal(w.bytes, 2 * MIB);
    assert_int_equal(w.base, UINT64_C(0x400200000));
    assert_int_equal(w.gpa, UINT64_C(0x400203123));
}

static void without_paging_there_are_no_entries(void **state)
{
    struct x86_vcpu *v = vcpu_of(state);
    x86_set_a20(v, false);
    struct x86_walk w = x86_walk(v, 0x345678, X86_WRITE, USER, !QUIET);
    assert_int_equal(w.entries, 0);
    assert_true(w.present && w.user && w.dirty && w.writable && !w.large);
    assert_int_equal(w.bytes, PAGE_BYTES);
    assert_int_equal(w.base, 0x345000);
    assert_int_equal(w.gpa, 0x245678);
}

static void entries_are_where_a20_lets_them_be(void **state)
{
    struct x86_vcpu *v = vcpu_of(state);
    paging_32bit(v);
    poke(v, DIR - MIB + 0x102 * 4, TAB | P | RW, 4); /* bit 20 of its address is lost */
    poke(v, TAB - MIB + 3 * 4, 0x305000 | P | RW, 4);
    x86_set_a20(v, false);
    struct x86_walk w = x86_walk(v, LIN, X86_READ, !USER, !QUIET);
    assert_true(w.present);
    expect_entry(v, &w.entry[0], DIR - MIB + 0x102 * 4, TAB | P | RW | A, 4);
    expect_entry(v, &w.entry[1], TAB - MIB + 3 * 4, 0x305000 | P | RW | A, 4);
    assert_int_equal(w.base, 0x305000);
    assert_int_equal(w.gpa, 0x205123);
}

/* ---- hooks ----------------------------------------------------------------------------------- */

struct heard {
    unsigned all, kept, pages;
    uint32_t page;
};

static void heard_flush(void *opaque, bool keep_global)
{
    struct heard *h = opaque;
    h->all += !keep_global;
    h->kept += keep_global;
}

static void heard_page(void *opaque, uint32_t lin)
{
    struct heard *h = opaque;
    h->pages++;
    h->page = lin;
}

#define EXPECT_HEARD(h, a, k, p)                                                                   \
    do {                                                                                           \
        assert_int_equal((h).all, a);                                                              \
        assert_int_equal((h).kept, k);                                                             \
        assert_int_equal((h).pages, p);                                                            \
        (h) = (struct heard){0};                                                                   \
    } while (0)

static void shadows_hear_of_every_change(void **state)
{
    struct x86_vcpu *v = vcpu_of(state);
    struct heard h = {0};
    paging_32bit(v);
    for (unsigned i = 0; i < 2; i++) /* the same addresses: code runs on */
        poke(v, DIR + i * 4, i * 4 * MIB | P | RW | PS, 4);
    v->shadow.flush = heard_flush;
    v->shadow.flush_page = heard_page;
    v->shadow.opaque = &h;
    v->gpr[X86_EAX] = DIR;
    assert_int_equal(RUN(v, 0x0f, 0x22, 0xd8), STEP_OK); /* mov cr3, eax */
    EXPECT_HEARD(h, 0, 1, 0);
    v->gpr[X86_EAX] = v->cr4 & ~CR4_PGE;
    assert_int_equal(RUN(v, 0x0f, 0x22, 0xe0), STEP_OK); /* mov cr4, eax */
    EXPECT_HEARD(h, 1, 0, 0);
    v->gpr[X86_EAX] = DIR;
    assert_int_equal(RUN(v, 0x0f, 0x22, 0xd8), STEP_OK);
    EXPECT_HEARD(h, 1, 0, 0);
    v->gpr[X86_EAX] = v->cr0 & ~CR0_WP;
    assert_int_equal(RUN(v, 0x0f, 0x22, 0xc0), STEP_OK); /* mov cr0, eax */
    EXPECT_HEARD(h, 1, 0, 0);
    v->gpr[X86_EAX] = 0x12345;
    assert_int_equal(RUN(v, 0x0f, 0x01, 0x38), STEP_OK); /* invlpg [eax] */
    assert_int_equal(h.page, 0x12345);
    EXPECT_HEARD(h, 0, 0, 1);
    x86_set_a20(v, false);
    EXPECT_HEARD(h, 1, 0, 0);
    x86_isa.reset(&v->base);
    assert_true(h.all > 0);
}

/* Does the TLB let this access through without a look at the tables? */
static bool kept(struct x86_vcpu *v, uint32_t lin, bool write)
{
    return write ? x86_fast_write(v, X86_DS, lin, 4) : x86_fast_read(v, X86_DS, lin, 4);
}

/* Pages n of 64 are global if n is odd; all are written to. */
static void fill_tlb(struct x86_vcpu *v)
{
    for (unsigned n = 0; n < 64; n++) {
        poke(v, TAB + n * 4, (0x200000 + n * PAGE_BYTES) | P | RW | (n & 1 ? G : 0), 4);
        x86_write32(v, X86_DS, LIN_PAGE(n), n);
    }
}

static void a_load_of_cr3_forgets_what_is_not_global(void **state)
{
    struct x86_vcpu *v = vcpu_of(state);
    paging_32bit(v);
    poke(v, DIR + 0x102 * 4, TAB | P | RW | US, 4);
    for (unsigned round = 0; round < 3; round++) {
        fill_tlb(v);
        for (unsigned n = 0; n < 64; n++)
            assert_true(kept(v, LIN_PAGE(n), true));
        x86_tlb_flush(v, true);
        for (unsigned n = 0; n < 64; n++)
            assert_int_equal(kept(v, LIN_PAGE(n), false), n & 1);
    }
    assert_true(kept(v, LIN_PAGE(1), true));
    x86_tlb_flush(v, false);
    assert_false(kept(v, LIN_PAGE(1), false));
}

/* An entry changes sides between flushes: a page in its place, its own page anew. */
static void entries_that_change_hands_are_flushed(void **state)
{
    struct x86_vcpu *v = vcpu_of(state);
    uint32_t other = LIN_PAGE(1) + X86_TLB_SIZE * PAGE_BYTES;
    paging_32bit(v);
    poke(v, DIR + 0x102 * 4, TAB | P | RW | US, 4);
    poke(v, DIR + (other >> 22) * 4, (TAB + PAGE_BYTES) | P | RW | US, 4);
    poke(v, TAB + PAGE_BYTES + (other >> 12 & 0x3ff) * 4, 0x5000 | P | RW, 4);
    fill_tlb(v);
    x86_write32(v, X86_DS, other, 1); /* not global in a global one's place */
    x86_tlb_flush(v, true);
    assert_false(kept(v, other, false));
    x86_write32(v, X86_DS, other, 1);
    x86_write32(v, X86_DS, LIN_PAGE(1), 1); /* and the other way round */
    x86_tlb_flush(v, true);
    assert_true(kept(v, LIN_PAGE(1), true));
    x86_tlb_flush_page(v, LIN_PAGE(1));
    x86_write32(v, X86_DS, other, 1);
    unsigned listed = v->tlb_list.filled;
    for (unsigned i = 0; i < 8; i++) { /* in turns: the entry is listed once all the same */
        x86_write32(v, X86_DS, LIN_PAGE(1), 1);
        x86_write32(v, X86_DS, other, 1);
    }
    assert_int_equal(v->tlb_list.filled, listed);
    x86_tlb_flush(v, true);
    assert_false(kept(v, other, false));
}

static void protection_finds_every_writable_entry(void **state)
{
    struct x86_vcpu *v = vcpu_of(state);
    paging_32bit(v);
    poke(v, DIR + 0x102 * 4, TAB | P | RW | US, 4);
    fill_tlb(v);
    poke(v, TAB + 2 * 4, (0x200000 + 3 * PAGE_BYTES) | P | RW, 4); /* pages 2 and 3 are one */
    x86_tlb_flush_page(v, LIN_PAGE(2));
    x86_write32(v, X86_DS, LIN_PAGE(2), 1);
    for (unsigned round = 0; round < 2; round++) {
        x86_tlb_protect(v, (gpfn_t){0x203});
        for (unsigned n = 0; n < 64; n++)
            assert_int_equal(kept(v, LIN_PAGE(n), true), n != 2 && n != 3);
        assert_true(kept(v, LIN_PAGE(2), false));
    }
    x86_write32(v, X86_DS, LIN_PAGE(3), 1); /* nobody asked for WP: writable again */
    x86_tlb_flush(v, true);                 /* page 2, which is not global, goes; page 3 stays */
    assert_true(kept(v, LIN_PAGE(3), true));
    x86_tlb_protect(v, (gpfn_t){0x203});
    assert_false(kept(v, LIN_PAGE(3), true));
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, machine_make, machine_free)
    const struct CMUnitTest tests[] = {
        TEST(two_levels_of_32_bits),
        TEST(failed_walks_tell_how_far_they_came),
        TEST(a_page_of_4_mib),
        TEST(pae),
        TEST(without_paging_there_are_no_entries),
        TEST(entries_are_where_a20_lets_them_be),
        TEST(shadows_hear_of_every_change),
        TEST(a_load_of_cr3_forgets_what_is_not_global),
        TEST(entries_that_change_hands_are_flushed),
        TEST(protection_finds_every_writable_entry),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
