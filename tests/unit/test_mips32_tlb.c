/* SPDX-License-Identifier: MIT */
/* The MIPS32 TLB and segments (MIPS32 vol. III chapters 4 and 5): each exception with its vector
 * and registers, ASIDs, global and wired entries, page sizes, Random, and that nothing of an old
 * mapping survives in the soft TLB. */
#include "mips32_rig.h"

static const struct mips32_model supervisor = {.name = "supervisor",
                                               .prid = 0x00018000,
                                               .tlb_entries = 16,
                                               .supervisor = true,
                                               .release2 = true,
                                               .count_hz = 100000000};

#define VA    0x00400000u
#define FRAME 0x00100000u /* of physical memory that tests map */
#define FLAGS (3u << 3)   /* cacheable */

/* Run one instruction at CODE and say where the processor stopped. */
static uint32_t one(struct mips32_rig *m, uint32_t insn)
{
    return RUN(m, insn, WAIT);
}

static void expect_tlb_exception(struct mips32_rig *m, unsigned code, uint32_t va)
{
    const struct mips32_cp0 *c = &m->v->cp0;
    assert_int_equal(exc_code(m), code);
    assert_int_equal(c->bad_vaddr, va);
    assert_int_equal(c->context & 0x007ffff0, va >> 9 & 0x007ffff0);
    assert_int_equal(c->entry_hi & HI_VPN2, va & HI_VPN2);
    assert_int_equal(c->epc, CODE);
    assert_true(c->status & ST_EXL);
}

static void refill(void **state)
{
    struct mips32_rig *m = rig_new(&mips32_24kf);
    mips32_cp0_write(m->v, 4, 0, 0x12800000); /* Context.PTEBase */
    mips32_cp0_write(m->v, 10, 0, 0x77);      /* ASID */
    m->v->gpr[A0] = VA + 0x3000;
    m->v->gpr[T0] = 0x5a5a;
    assert_int_equal(one(m, LW(T0, 4, A0)), VECTOR(REFILL));
    expect_tlb_exception(m, EXC_TLBL, VA + 0x3004);
    assert_int_equal(m->v->cp0.entry_hi & HI_ASID, 0x77);
    assert_int_equal(m->v->cp0.context >> 23, 0x12800000 >> 23);
    assert_int_equal(m->v->gpr[T0], 0x5a5a);
    acknowledge(m);
    assert_int_equal(one(m, SW(T0, 8, A0)), VECTOR(REFILL));
    expect_tlb_exception(m, EXC_TLBS, VA + 0x3008);
    /* With EXL set it is the general vector, and EPC stays. */
    m->v->cp0.epc = 0x1234;
    assert_int_equal(one(m, LW(T0, 4, A0)), VECTOR(GENERAL));
    assert_int_equal(exc_code(m), EXC_TLBL);
    assert_int_equal(m->v->cp0.epc, 0x1234);
    acknowledge(m);
    /* Fetches, too. */
    m->v->pc = VA;
    assert_int_equal(run(m), VECTOR(REFILL));
    assert_int_equal(exc_code(m), EXC_TLBL);
    assert_int_equal(m->v->cp0.epc, VA);
    assert_int_equal(m->v->cp0.bad_vaddr, VA);
    rig_free(m);
}

static void invalid_and_modified(void **state)
{
    struct mips32_rig *m = rig_new(&mips32_24kf);
    m->v->gpr[A0] = VA;
    poke32(m, FRAME + 0x80001000, 7); /* seen through KSEG0 */
    /* Even page invalid, odd page clean. */
    set_tlb(m, 5, VA, 0, LO(FRAME, LO_G), LO(FRAME + 0x1000, LO_V | LO_G));
    assert_int_equal(one(m, LW(T0, 0, A0)), VECTOR(GENERAL));
    expect_tlb_exception(m, EXC_TLBL, VA);
    acknowledge(m);
    assert_int_equal(one(m, SW(T0, 0, A0)), VECTOR(GENERAL));
    expect_tlb_exception(m, EXC_TLBS, VA);
    acknowledge(m);
    assert_int_equal(one(m, LW(T0, 0x1000, A0)), CODE + 4);
    assert_int_equal(m->v->gpr[T0], 7);
    /* A store after a load that the soft TLB knows. */
    assert_int_equal(one(m, SW(ZERO, 0x1000, A0)), VECTOR(GENERAL));
    expect_tlb_exception(m, EXC_MOD, VA + 0x1000);
    acknowledge(m);
    assert_int_equal(peek32(m, FRAME + 0x80001000), 7);
    assert_int_equal(one(m, SC(T0, 0x1000, A0)), VECTOR(GENERAL));
    assert_int_equal(exc_code(m), EXC_MOD);
    acknowledge(m);
    set_tlb(m, 5, VA, 0, LO(FRAME, LO_G), LO(FRAME + 0x1000, LO_V | LO_D | LO_G));
    assert_int_equal(one(m, SW(ZERO, 0x1000, A0)), CODE + 4);
    assert_int_equal(peek32(m, FRAME + 0x80001000), 0);
    rig_free(m);
}

static void exceptions_in_slots(void **state)
{
    struct mips32_rig *m = rig_new(&mips32_24kf);
    m->v->gpr[A0] = VA;
    assert_int_equal(RUN(m, NOP, BEQ(ZERO, ZERO, 4), LW(T0, 0, A0), WAIT), VECTOR(REFILL));
    assert_int_equal(m->v->cp0.epc, CODE + 4);
    assert_true(in_delay_slot(m));
    acknowledge(m);
    /* The slot itself is on a page without an entry. */
    set_tlb(m, 0, VA, 0, LO(FRAME, LO_V | LO_G), LO_G);
    poke32(m, 0x80000000 + FRAME + 0xffc, BEQ(ZERO, ZERO, 4));
    m->v->pc = VA + 0xffc;
    assert_int_equal(run(m), VECTOR(GENERAL)); /* invalid: the odd page */
    assert_int_equal(m->v->cp0.epc, VA + 0xffc);
    assert_int_equal(m->v->cp0.bad_vaddr, VA + 0x1000);
    assert_true(in_delay_slot(m));
    acknowledge(m);
    /* It can be returned to: the branch runs again. */
    set_tlb(m, 0, VA, 0, LO(FRAME, LO_V | LO_G), LO(FRAME + 0x1000, LO_V | LO_G));
    poke32(m, 0x80000000 + FRAME + 0x1000, ADDIU(T0, ZERO, 3));
    poke32(m, 0x80000000 + FRAME + 0x1010, WAIT);
    m->v->pc = m->v->cp0.epc;
    assert_int_equal(run(m), VA + 0x1010);
    assert_int_equal(m->v->gpr[T0], 3);
    rig_free(m);
}

static void segments_and_modes(void **state)
{
    static const struct {
        uint32_t status, va;
        unsigned code; /* 0: mapped by the entry, or memory */
    } cases[] = {
        {0, 0x80001000, 0},
        {0, 0xa0001000, 0},
        {0, 0xc0000000, 0},
        {0, 0xe0000000, EXC_TLBL},
        {ST_UM, 0x80001000, EXC_ADEL},
        {ST_UM, 0xc0000000, EXC_ADEL},
        {ST_UM, 0xfffffffc, EXC_ADEL},
        {ST_UM | ST_EXL, 0x80001000, 0},
        {ST_SM, 0x80001000, EXC_ADEL},
        {ST_SM, 0xa0001000, EXC_ADEL},
        {ST_SM, 0xc0000000, 0},
        {ST_SM, 0xe0000000, EXC_ADEL},
        {ST_SM, VA + 0x1000, 0},
        {ST_UM, VA + 0x1000, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct mips32_rig *m = rig_new(&supervisor);
        /* Code is at VA, so that every mode may run it; global entries for the others. */
        set_tlb(m, 0, VA, 0, LO(FRAME, LO_V | LO_G), LO(FRAME + 0x1000, LO_V | LO_G));
        set_tlb(m, 1, 0xc0000000, 0, LO(FRAME, LO_V | LO_G), LO_G);
        PUT(m, 0x80000000 + FRAME, LW(T0, 0, A0), SYSCALL);
        m->v->gpr[A0] = cases[i].va;
        mips32_cp0_write(m->v, 12, 0, cases[i].status | ST_IM);
        m->v->pc = VA;
        run(m);
        assert_int_equal(exc_code(m), cases[i].code ? cases[i].code : EXC_SYS);
        rig_free(m);
    }
    /* A model without supervisor mode has no SM bit. */
    struct mips32_rig *m = rig_new(&mips32_24kf);
    mips32_cp0_write(m->v, 12, 0, ST_SM | ST_IM);
    assert_int_equal(m->v->cp0.status, ST_IM);
    rig_free(m);
}

static void error_level_unmaps_user_space(void **state)
{
    struct mips32_rig *m = rig_new(&mips32_24kf);
    poke32(m, 0x80000000 + 0x4000, 0xabcd);
    poke32(m, 0x80000000 + FRAME, 0x1111);
    set_tlb(m, 0, 0x4000, 0, LO(FRAME, LO_V | LO_G), LO_G);
    m->v->gpr[A0] = 0x4000;
    one(m, LW(T0, 0, A0));
    assert_int_equal(m->v->gpr[T0], 0x1111);
    mips32_cp0_write(m->v, 12, 0, ST_ERL | ST_IM);
    one(m, LW(T0, 0, A0));
    assert_int_equal(m->v->gpr[T0], 0xabcd);
    mips32_cp0_write(m->v, 12, 0, ST_IM);
    one(m, LW(T0, 0, A0));
    assert_int_equal(m->v->gpr[T0], 0x1111);
    rig_free(m);
}

/* Two address spaces, a global entry, and back: the soft TLB follows EntryHi. */
static void address_spaces(void **state)
{
    struct mips32_rig *m = rig_new(&mips32_24kf);
    const uint32_t other = FRAME + 0x2000, shared = FRAME + 0x4000;
    poke32(m, 0x80000000 + FRAME, 1);
    poke32(m, 0x80000000 + other, 2);
    poke32(m, 0x80000000 + shared, 3);
    set_tlb(m, 0, VA | 1, 0, LO(FRAME, LO_V | LO_D), 0);
    set_tlb(m, 1, VA | 2, 0, LO(other, LO_V | LO_D), 0);
    set_tlb(m, 2, VA + 0x2000, 0, LO(shared, LO_V | LO_D | LO_G), LO_G);
    m->v->gpr[A0] = VA;
    for (unsigned round = 0; round < 4; round++) {
        unsigned asid = round % 2 + 1;
        mips32_cp0_write(m->v, 10, 0, asid);
        RUN(m, LW(T0, 0, A0), LW(T1, 0x2000, A0), SW(T0, 0x2000, A0), LW(T2, 0x2000, A0), WAIT);
        assert_int_equal(m->v->gpr[T0], asid);
        assert_int_equal(m->v->gpr[T2], asid);
    }
    mips32_cp0_write(m->v, 10, 0, 9);
    assert_int_equal(one(m, LW(T0, 0, A0)), VECTOR(REFILL));
    acknowledge(m);
    /* G counts only if both halves have it. */
    set_tlb(m, 2, VA + 0x2000, 0, LO(shared, LO_V | LO_D | LO_G), 0);
    mips32_cp0_write(m->v, 10, 0, 5);
    assert_int_equal(one(m, LW(T0, 0x2000, A0)), VECTOR(REFILL));
    rig_free(m);
}

static void changed_entries_are_forgotten(void **state)
{
    struct mips32_rig *m = rig_new(&mips32_24kf);
    m->v->gpr[A0] = VA;
    poke32(m, 0x80000000 + FRAME, 1);
    poke32(m, 0x80000000 + FRAME + 0x2000, 2);
    set_tlb(m, 3, VA, 0, LO(FRAME, LO_V | LO_G), LO_G);
    one(m, LW(T0, 0, A0));
    assert_int_equal(m->v->gpr[T0], 1);
    set_tlb(m, 3, VA, 0, LO(FRAME + 0x2000, LO_V | LO_G), LO_G);
    one(m, LW(T0, 0, A0));
    assert_int_equal(m->v->gpr[T0], 2);
    set_tlb(m, 3, 0x10000000, 0, LO_G, LO_G);
    assert_int_equal(one(m, LW(T0, 0, A0)), VECTOR(REFILL));
    acknowledge(m);
    /* Code, too: the same address runs other instructions, in the middle of a page. */
    PUT(m, 0x80000000 + FRAME, NOP, ADDIU(T0, ZERO, 1), SYSCALL);
    PUT(m, 0x80000000 + FRAME + 0x2000, NOP, ADDIU(T0, ZERO, 2), SYSCALL);
    for (unsigned i = 0; i < 2; i++) {
        set_tlb(m, 3, VA, 0, LO(FRAME + 0x2000 * i, LO_V | LO_G), LO_G);
        m->v->pc = VA;
        run(m);
        acknowledge(m);
        assert_int_equal(m->v->gpr[T0], i + 1);
    }
    /* By TLBWI itself, executed from the page that it maps elsewhere. */
    PUT(m, 0x80000000 + FRAME, TLBWI, ADDIU(T1, ZERO, 1), SYSCALL);
    PUT(m, 0x80000000 + FRAME + 0x2000, NOP, ADDIU(T1, ZERO, 2), SYSCALL);
    set_tlb(m, 3, VA, 0, LO(FRAME, LO_V | LO_G), LO_G);
    mips32_cp0_write(m->v, 0, 0, 3);
    mips32_cp0_write(m->v, 10, 0, VA);
    mips32_cp0_write(m->v, 2, 0, LO(FRAME + 0x2000, LO_V | LO_G));
    m->v->pc = VA;
    run(m);
    assert_int_equal(m->v->gpr[T1], 2);
    rig_free(m);
}

static void page_sizes(void **state)
{
    for (unsigned shift = 12; shift <= 28; shift += 2) {
        struct mips32_rig *m = rig_new(&mips32_24kf);
        uint32_t size = 1u << shift, mask = (size - 1) << 1 & PAGEMASK_BITS;
        /* The odd page of the pair shows RAM from 0 on; the even one nothing. */
        set_tlb(m, 0, 0x40000000, mask, LO(0x40000000, LO_G), LO(0, LO_V | LO_D | LO_G));
        uint32_t within = size > RAM_BYTES ? 0x00ff0004 : size - 4;
        poke32(m, 0x80000000 + within, 0xc0de0000 + shift);
        m->v->gpr[A0] = 0x40000000 + size + within;
        assert_int_equal(one(m, LW(T0, 0, A0)), CODE + 4);
        assert_int_equal(m->v->gpr[T0], 0xc0de0000 + shift);
        m->v->gpr[A0] = 0x40000000 + size - 4;
        assert_int_equal(one(m, LW(T0, 0, A0)), VECTOR(GENERAL));
        assert_int_equal(exc_code(m), EXC_TLBL);
        acknowledge(m);
        m->v->gpr[A0] = 0x40000000 + 2 * size;
        assert_int_equal(one(m, LW(T0, 0, A0)), VECTOR(REFILL));
        acknowledge(m);
        /* And all of it goes with its entry. */
        m->v->gpr[A0] = 0x40000000 + size + within;
        set_tlb(m, 0, 0x50000000, 0, LO_G, LO_G);
        assert_int_equal(one(m, LW(T0, 0, A0)), VECTOR(REFILL));
        rig_free(m);
    }
}

static void odd_page_masks_are_made_legal(void **state)
{
    struct mips32_rig *m = rig_new(&mips32_24kf);
    static const uint32_t cases[][2] = {{0xffffffff, 0x1fffe000}, {0x00006000, 0x00006000},
                                        {0x00002000, 0},          {0x0001e000, 0x0001e000},
                                        {0x0000e000, 0x00006000}, {0x00018000, 0}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        mips32_cp0_write(m->v, 5, 0, cases[i][0]);
        assert_int_equal(mips32_cp0_read(m->v, 5, 0), cases[i][1]);
    }
    rig_free(m);
}

static void probe_and_read(void **state)
{
    struct mips32_rig *m = rig_new(&mips32_24kf);
    set_tlb(m, 9, VA | 4, 0x6000, LO(FRAME, LO_V), LO(FRAME + 0x4000, LO_D | LO_G));
    mips32_cp0_write(m->v, 10, 0, VA | 4);
    one(m, TLBP);
    assert_int_equal(m->v->cp0.index, 9);
    mips32_cp0_write(m->v, 10, 0, VA | 5);
    one(m, TLBP);
    assert_int_equal(m->v->cp0.index & 1u << 31, 1u << 31);
    mips32_cp0_write(m->v, 0, 0, 9);
    RUN(m, TLBR, MFC0(T0, 2, 0), MFC0(T1, 3, 0), MFC0(T2, 5, 0), MFC0(T3, 10, 0), WAIT);
    assert_int_equal(m->v->gpr[T0], LO(FRAME, LO_V));
    assert_int_equal(m->v->gpr[T1], LO(FRAME + 0x4000, LO_D)); /* G of one half is lost */
    assert_int_equal(m->v->gpr[T2], 0x6000);
    assert_int_equal(m->v->gpr[T3], VA | 4);
    rig_free(m);
}

static void random_spares_wired_entries(void **state)
{
    struct mips32_rig *m = rig_new(&mips32_24kf);
    uint64_t hit = 0;
    mips32_cp0_write(m->v, 6, 0, 20);
    assert_int_equal(m->v->cp0.random, 31);
    for (unsigned i = 0; i < 100; i++) {
        mips32_cp0_write(m->v, 10, 0, 0x10000000 + 0x2000 * i);
        mips32_cp0_write(m->v, 2, 0, LO(FRAME, LO_V | LO_G));
        mips32_cp0_write(m->v, 3, 0, LO_G);
        one(m, TLBWR);
    }
    for (unsigned i = 0; i < 32; i++)
        if (m->v->tlb[i].hi)
            hit |= UINT64_C(1) << i;
    assert_int_equal(hit, 0xfff00000);
    /* Wired beyond the last entry. */
    mips32_cp0_write(m->v, 6, 0, 63);
    assert_int_equal(m->v->cp0.wired, 31);
    assert_int_equal(mips32_tlb_random(m->v), 31);
    assert_int_equal(mips32_tlb_random(m->v), 31);
    rig_free(m);
}

static void registers_keep_what_exists(void **state)
{
    struct mips32_rig *m = rig_new(&mips32_24kf);
    static const struct {
        unsigned reg, sel;
        uint32_t ones; /* what is read after all ones were written */
    } cases[] = {
        {0, 0, 0x1f},        {2, 0, 0x03ffffff},  {3, 0, 0x03ffffff},  {4, 0, 0xff800000},
        {4, 2, 0xffffffff},  {5, 1, 0},           {7, 0, 0x2000000f},  {8, 0, 0},
        {10, 0, 0xffffe0ff}, {12, 1, 0xfc0003e0}, {14, 0, 0xffffffff}, {15, 0, 0x00019300},
        {15, 1, 0xbffff000}, {16, 2, 0x80000000}, {16, 3, 0x2020},     {16, 7, 0},
        {18, 0, 0},          {23, 0, 0},          {12, 2, 0},          {30, 0, 0xffffffff},
        {31, 0, 0xffffffff},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        mips32_cp0_write(m->v, cases[i].reg, cases[i].sel, UINT32_MAX);
        assert_int_equal(mips32_cp0_read(m->v, cases[i].reg, cases[i].sel), cases[i].ones);
    }
    /* Config1: 32 entries; both caches 128 sets, lines of 32 bytes, 4 ways; FPU. */
    uint32_t config1 = mips32_cp0_read(m->v, 16, 1);
    assert_int_equal(config1 >> 25 & 63, 31);
    assert_int_equal(config1 >> 16 & 0x1ff, 1 << 6 | 4 << 3 | 3);
    assert_int_equal(config1 >> 7 & 0x1ff, 1 << 6 | 4 << 3 | 3);
    assert_int_equal(config1 & 0x7f, 1);
    assert_int_equal(config1 >> 31, 1);
    mips32_cp0_write(m->v, 16, 0, UINT32_MAX);
    assert_int_equal(mips32_cp0_read(m->v, 16, 0), 0x80000487);
    /* Status: NMI, SR and TS cannot be set; nothing of user mode is on. */
    mips32_cp0_write(m->v, 12, 0, UINT32_MAX);
    assert_int_equal(m->v->cp0.status, 0x3440ff17);
    /* Cause: software interrupts, IV, WP, DC. */
    mips32_cp0_write(m->v, 13, 0, UINT32_MAX);
    assert_int_equal(m->v->cp0.cause, CA_IP_SOFT | CA_IV | CA_WP | CA_DC);
    rig_free(m);
}

static void release_1_has_fewer_registers(void **state)
{
    static const struct mips32_model release1 = {
        .name = "release 1", .prid = 0x00018000, .tlb_entries = 16, .count_hz = 100000000};
    static const uint8_t absent[][2] = {{4, 2}, {7, 0}, {12, 1}, {15, 1}, {16, 2}, {16, 3}};
    struct mips32_rig *m = rig_new(&release1);
    for (size_t i = 0; i < ARRAY_LEN(absent); i++) {
        mips32_cp0_write(m->v, absent[i][0], absent[i][1], UINT32_MAX);
        assert_int_equal(mips32_cp0_read(m->v, absent[i][0], absent[i][1]), 0);
    }
    assert_int_equal(mips32_cp0_read(m->v, 16, 0), 0x80000082);
    assert_int_equal(mips32_cp0_read(m->v, 16, 1) & 1u << 31, 0);
    assert_int_equal(mips32_cp0_read(m->v, 16, 1) & 1, 0);
    mips32_cp0_write(m->v, 12, 0, UINT32_MAX);
    assert_int_equal(m->v->cp0.status & (ST_CU1 | ST_FR), 0);
    mips32_cp0_write(m->v, 12, 0, ST_IM);
    /* The timer shows as IP7 alone. */
    mips32_set_lines(m->v, CA_TI, true);
    assert_int_equal(mips32_cp0_read(m->v, 13, 0), CA_IP7);
    mips32_set_lines(m->v, CA_TI, false);
    assert_int_equal(one(m, SYSCALL), VECTOR(GENERAL));
    rig_free(m);
}

/* Nowhere: reads give ones, fetches are bus errors. */
static void addresses_without_anything(void **state)
{
    struct mips32_rig *m = rig_new(&mips32_24kf);
    m->v->gpr[A0] = 0xa8000000;
    assert_int_equal(one(m, LW(T0, 0, A0)), CODE + 4);
    assert_int_equal(m->v->gpr[T0], 0xffffffff);
    m->v->pc = 0xa8000000;
    assert_int_equal(run(m), VECTOR(GENERAL));
    assert_int_equal(exc_code(m), EXC_IBE);
    assert_int_equal(m->v->cp0.epc, 0xa8000000);
    rig_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refill),
        cmocka_unit_test(invalid_and_modified),
        cmocka_unit_test(exceptions_in_slots),
        cmocka_unit_test(segments_and_modes),
        cmocka_unit_test(error_level_unmaps_user_space),
        cmocka_unit_test(address_spaces),
        cmocka_unit_test(changed_entries_are_forgotten),
        cmocka_unit_test(page_sizes),
        cmocka_unit_test(odd_page_masks_are_made_legal),
        cmocka_unit_test(probe_and_read),
        cmocka_unit_test(random_spares_wired_entries),
        cmocka_unit_test(registers_keep_what_exists),
        cmocka_unit_test(release_1_has_fewer_registers),
        cmocka_unit_test(addresses_without_anything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
