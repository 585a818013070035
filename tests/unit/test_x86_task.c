/* SPDX-License-Identifier: MIT */
/* Hardware task switches: by jump, call, gate, interrupt and IRET, 16- and 32-bit, and what can go
 * wrong before and after the commit point (Intel SDM vol. 3A ch. 7). */
#include "x86_machine.h"

#define FLAGS         (FL_FIXED | FL_CF | FL_IF)
#define TASK_ENTRY    0x11000u
#define TASK_STACK    0x27000u
#define LE16(x)       (uint8_t)(x), (uint8_t)((x) >> 8)
#define JMP_FAR(sel)  0xea, 0, 0, 0, 0, LE16(sel)
#define CALL_FAR(sel) 0x9a, 0, 0, 0, 0, LE16(sel)
#define GPR_MARK(i)   (0x01010101u * ((i) + 1))

/* 32-bit TSS of a task of a ring; registers marked, LDT as told. */
static void make_tss32(struct x86_vcpu *v, uint32_t at, unsigned ring, uint16_t ldt)
{
    poke(v, at + 0x20, TASK_ENTRY, 4);
    poke(v, at + 0x24, FL_FIXED | FL_ZF, 4);
    for (unsigned i = 0; i < 8; i++)
        poke(v, at + 0x28 + 4 * i, i == X86_ESP ? TASK_STACK : GPR_MARK(i), 4);
    const uint16_t sels[] = {DATA(ring), CODE(ring), DATA(ring), DATA(ring), 0, DATA(3)};
    for (unsigned i = 0; i < 6; i++)
        poke(v, at + 0x48 + 4 * i, sels[i], 4);
    poke(v, at + 0x60, ldt, 2);
}

static void make_tss16(struct x86_vcpu *v, uint32_t at)
{
    poke(v, at + 0x0e, 0x1234, 2);
    poke(v, at + 0x10, FL_FIXED | FL_ZF, 2);
    for (unsigned i = 0; i < 8; i++)
        poke(v, at + 0x12 + 2 * i, i == X86_ESP ? 0x7000 : GPR_MARK(i), 2);
    const uint16_t sels[] = {DATA(0), CODE16, DATA(0), DATA(0)};
    for (unsigned i = 0; i < 4; i++)
        poke(v, at + 0x22 + 2 * i, sels[i], 2);
}

static void start(struct x86_vcpu *v, unsigned ring)
{
    for (unsigned i = 0; i < 8; i++)
        x86_w32(v, i, 0xa0 + i);
    set_ring(v, ring);
    x86_set_eflags(v, FLAGS);
    v->cr0 &= ~CR0_TS;
}

static unsigned type_of(struct x86_vcpu *v, uint16_t sel)
{
    return peek(v, GDT + sel + 5, 1) & 15;
}

static void expect_in_task(struct x86_vcpu *v, unsigned ring)
{
    assert_int_equal(v->cpl, ring);
    assert_int_equal(v->eip, TASK_ENTRY);
    for (unsigned i = 0; i < 8; i++)
        if (i != X86_ESP)
            assert_int_equal(x86_r32(v, i), GPR_MARK(i));
    assert_int_equal(v->seg[X86_CS].sel, CODE(ring));
    assert_int_equal(v->seg[X86_SS].sel, DATA(ring));
    assert_int_equal(v->seg[X86_FS].sel, 0);
    assert_int_equal(v->seg[X86_GS].sel, DATA(3));
    assert_int_equal(v->seg[X86_TR].sel, SEL_TSS_B);
    assert_int_equal(v->seg[X86_TR].base, TSS_B);
    assert_true(v->cr0 & CR0_TS);
    assert_int_equal(type_of(v, SEL_TSS_B), X86_TSS32_BUSY);
}

static void jump_to_task(void **state)
{
    struct x86_vcpu *v = vcpu_of(state);
    make_tss32(v, TSS_B, 3, SEL_LDT);
    set_desc_at(v, GDT + SEL_LDT, LDT + 0x10, 0x2f, SEG_P | X86_LDT);
    start(v, 0);
    v->dr[7] = DR7_FIXED | 0x3ff;
    assert_int_equal(RUN(v, JMP_FAR(SEL_TSS_B)), STEP_OK);
    expect_in_task(v, 3);
    assert_int_equal(x86_r32(v, X86_ESP), TASK_STACK);
    assert_int_equal(x86_get_eflags(v), FL_FIXED | FL_ZF); /* no NT */
    assert_int_equal(v->seg[X86_LDTR].base, LDT + 0x10);
    assert_int_equal(v->dr[7], DR7_FIXED | 0x2aa);
    assert_int_equal(type_of(v, SEL_TSS_A), X86_TSS32); /* no longer busy */
    /* What was left behind. */
    assert_int_equal(peek(v, TSS_A + 0x20, 4), CODE_AT + 7);
    assert_int_equal(peek(v, TSS_A + 0x24, 4), FLAGS);
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(peek(v, TSS_A + 0x28 + 4 * i, 4), i == X86_ESP ? STACK_TOP(0) : 0xa0 + i);
    assert_int_equal(peek(v, TSS_A + 0x48, 4), DATA(0));
    assert_int_equal(peek(v, TSS_A + 0x4c, 4), CODE(0));
    assert_int_equal(peek(v, TSS_B, 2), 0); /* no back link */
}

static void call_and_iret(void **state)
{
    struct x86_vcpu *v = vcpu_of(state);
    make_tss32(v, TSS_B, 0, 0);
    start(v, 0);
    assert_int_equal(RUN(v, CALL_FAR(SEL_TSS_B)), STEP_OK);
    expect_in_task(v, 0);
    assert_int_equal(x86_get_eflags(v), FL_FIXED | FL_ZF | FL_NT);
    assert_int_equal(peek(v, TSS_B, 2), SEL_TSS_A);
    assert_int_equal(type_of(v, SEL_TSS_A), X86_TSS32_BUSY);
    assert_false(v->seg[X86_LDTR].attr & SEG_P);
    assert_int_equal(RUN(v, JMP_FAR(SEL_TSS_A)), X86_GP); /* busy */
    assert_int_equal(v->fault.error, SEL_TSS_A);

    poke(v, TSS_A + 0x60, SEL_LDT, 2);
    v->eip = TASK_ENTRY + 0x10;
    v->nmi_blocked = true;
    assert_int_equal(RUN(v, 0xcf), STEP_OK);
    assert_false(v->nmi_blocked);
    assert_int_equal(v->eip, CODE_AT + 7);
    assert_int_equal(v->seg[X86_TR].sel, SEL_TSS_A);
    assert_int_equal(x86_get_eflags(v), FLAGS);
    assert_int_equal(x86_r32(v, X86_EDI), 0xa7);
    assert_int_equal(v->seg[X86_LDTR].sel, SEL_LDT);
    assert_int_equal(type_of(v, SEL_TSS_B), X86_TSS32); /* available again */
    assert_int_equal(type_of(v, SEL_TSS_A), X86_TSS32_BUSY);
    assert_int_equal(peek(v, TSS_B + 0x20, 4), TASK_ENTRY + 0x11);
    assert_int_equal(peek(v, TSS_B + 0x24, 4), FL_FIXED | FL_ZF); /* NT saved as 0 */
}

static void task_of_16_bits(void **state)
{
    struct x86_vcpu *v = vcpu_of(state);
    make_tss16(v, TSS_C);
    start(v, 0);
    v->cr3 = 0x5000;
    assert_int_equal(RUN(v, CALL_FAR(SEL_TSS_C)), STEP_OK);
    assert_int_equal(v->eip, 0x1234);
    assert_int_equal(v->seg[X86_CS].sel, CODE16);
    assert_int_equal(x86_get_eflags(v), FL_FIXED | FL_ZF | FL_NT);
    assert_int_equal(x86_r16(v, X86_EDI), 0x0808);
    assert_int_equal(x86_r16(v, X86_ESP), 0x7000);
    assert_int_equal(v->seg[X86_FS].sel, 0);
    assert_int_equal(v->cr3, 0x5000);
    assert_int_equal(type_of(v, SEL_TSS_C), X86_TSS16_BUSY);
    x86_w32(v, X86_EAX, 0x12345678);
    poke(v, TSS_A + 0x60, 0, 2);
    assert_int_equal(RUN(v, 0xcf), STEP_OK);
    assert_int_equal(v->eip, CODE_AT + 7);
    assert_int_equal(peek(v, TSS_C + 0x0e, 2), 0x1235);
    assert_int_equal(peek(v, TSS_C + 0x12, 4), 0x01010000 * 2 + 0x5678); /* ax, then cx */
    assert_int_equal(peek(v, TSS_C + 0x2a, 2), 0);
}

static void through_task_gates(void **state)
{
    struct x86_vcpu *v = vcpu_of(state);
    make_tss32(v, TSS_B, 0, 0);
    set_gate(v, GDT + SLOT, SEL_TSS_B, 0, X86_TASK_GATE, 3, 0);
    start(v, 3); /* the TSS's own DPL 0 does not matter */
    assert_int_equal(RUN(v, CALL_FAR(SEL_TSS_B)), X86_GP);
    v->eip = CODE_AT;
    assert_int_equal(RUN(v, CALL_FAR(SLOT | 3)), STEP_OK);
    expect_in_task(v, 0);
    assert_int_equal(peek(v, TSS_A + 0x4c, 2), CODE(3));
    assert_int_equal(peek(v, TSS_B, 2), SEL_TSS_A);
}

static void double_fault_task(void **state)
{
    struct x86_vcpu *v = vcpu_of(state);
    make_tss32(v, TSS_B, 0, 0);
    set_gate(v, IDT + 8 * X86_DF, SEL_TSS_B, 0, X86_TASK_GATE, 0, 0);
    start(v, 3);
    v->eip = CODE_AT + 0x33;
    v->delivering = X86_GP;
    assert_int_equal(deliver_fault(v, X86_GP, true, 0x1234), 1);
    expect_in_task(v, 0);
    assert_int_equal(x86_r32(v, X86_ESP), TASK_STACK - 4);
    EXPECT_STACK(v, 4, 0);
    assert_int_equal(x86_get_eflags(v), FL_FIXED | FL_ZF | FL_NT);
    assert_int_equal(peek(v, TSS_A + 0x20, 4), CODE_AT + 0x33);
    assert_int_equal(v->delivering, -1);
}

static void events_through_task_gates(void **state)
{
    struct x86_vcpu *v = vcpu_of(state);
    make_tss32(v, TSS_B, 0, 0);
    set_gate(v, IDT + 8 * X86_GP, SEL_TSS_B, 0, X86_TASK_GATE, 0, 0);
    start(v, 3);
    assert_int_equal(deliver_fault(v, X86_GP, true, 0x1234), 1);
    EXPECT_STACK(v, 4, 0x1234);
    assert_int_equal(peek(v, TSS_A + 0x24, 4), FLAGS | FL_RF);
    /* The gate leads to a busy TSS: #GP with EXT, and that in #GP is a double fault. */
    set_ring(v, 0);
    assert_int_equal(deliver_fault(v, X86_GP, true, 0x1234), 2);
    assert_int_equal(v->eip, HANDLER(X86_DF));
    set_gate(v, IDT + 8 * 0x40, SEL_TSS_B, 0, X86_TASK_GATE, 3, 0);
    assert_int_equal(deliver_external(v, 0x40), X86_GP);
    assert_int_equal(v->fault.error, SEL_TSS_B | 1);
}

static void task_in_v8086_mode(void **state)
{
    struct x86_vcpu *v = vcpu_of(state);
    make_tss32(v, TSS_B, 0, 0);
    poke(v, TSS_B + 0x24, FL_FIXED | FL_VM | FL_IF, 4);
    poke(v, TSS_B + 0x20, 0x777, 4);
    for (unsigned i = 0; i < 6; i++)
        poke(v, TSS_B + 0x48 + 4 * i, 0x1000 * (i + 1), 2);
    start(v, 0);
    assert_int_equal(RUN(v, JMP_FAR(SEL_TSS_B)), STEP_OK);
    assert_true(x86_v8086(v));
    assert_int_equal(v->cpl, 3);
    for (unsigned s = X86_ES; s <= X86_GS; s++) {
        assert_int_equal(v->seg[s].base, 0x10000 * (s + 1));
        assert_int_equal(v->seg[s].limit, 0xffff);
    }
}

static void debug_trap_on_arrival(void **state)
{
    struct x86_vcpu *v = vcpu_of(state);
    make_tss32(v, TSS_B, 0, 0);
    poke(v, TSS_B + 0x64, 1, 2);
    start(v, 0);
    assert_int_equal(RUN(v, JMP_FAR(SEL_TSS_B)), STEP_OK);
    assert_true(v->dr6_pending & DR6_BT);
    assert_true(v->base.attention & X86_ATTN_DEBUG);
}

/* ---- faults ----------------------------------------------------------------------------- */

/* Before the commit point: the old task has the fault and nothing has changed. */
static void refused(void **state)
{
    struct x86_vcpu *v = vcpu_of(state);
    make_tss32(v, TSS_B, 0, 0);
    set_desc(v, SLOT, TSS_B, 0x66, SEG_P | X86_TSS32); /* too short */
    set_desc(v, SLOT2, TSS_B, 0x67, X86_TSS32);        /* not present */
    set_desc_at(v, LDT + 8, TSS_B, 0x67, SEG_P | X86_TSS32);
    const struct {
        uint16_t sel;
        int jump, iret; /* vectors */
    } cases[] = {
        {SLOT, X86_TS, X86_TS},       {SLOT2, X86_NP, X86_TS},      {8 | 4, X86_GP, X86_TS},
        {SEL_TSS_A, X86_GP, STEP_OK}, {SEL_TSS_B, STEP_OK, X86_TS}, {0, X86_GP, X86_TS},
    };
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++)
        for (unsigned iret = 0; iret < 2; iret++) {
            int want = iret ? cases[i].iret : cases[i].jump;
            if (want == STEP_OK)
                continue;
            start(v, 0);
            poke(v, TSS_A, cases[i].sel, 2);
            x86_set_eflags(v, FLAGS | (iret ? FL_NT : 0));
            assert_int_equal(iret ? RUN(v, 0xcf) : RUN(v, CALL_FAR(cases[i].sel)), want);
            assert_int_equal(v->fault.error, cases[i].sel & ~3u);
            assert_int_equal(v->seg[X86_TR].sel, SEL_TSS_A);
            assert_int_equal(v->insn_eip, CODE_AT);
            assert_int_equal(x86_r32(v, X86_EDI), 0xa7);
            assert_false(v->cr0 & CR0_TS);
        }
    assert_int_equal(type_of(v, SEL_TSS_B), X86_TSS32);
    v->seg[X86_TR].limit = 0x5e; /* the old TSS cannot hold the state */
    start(v, 0);
    assert_int_equal(RUN(v, CALL_FAR(SEL_TSS_B)), X86_TS);
    assert_int_equal(v->fault.error, SEL_TSS_A);
}

static void page_fault_on_the_old_tss(void **state)
{
    struct x86_vcpu *v = vcpu_of(state);
    const uint32_t directory = 0x100000, table = 0x101000, new_directory = 0x102000;
    make_tss32(v, TSS_B, 0, 0);
    poke(v, TSS_B + 0x1c, new_directory, 4);
    poke(v, directory, table | 7, 4);
    poke(v, new_directory, table | 7, 4);
    for (unsigned i = 0; i < 1024; i++)
        poke(v, table + 4 * i, i << 12 | 7, 4);
    poke(v, table + 4 * (TSS_A >> 12), TSS_A | 5, 4); /* read-only */
    v->cr3 = directory;
    v->cr0 |= CR0_PG | CR0_WP;
    x86_tlb_flush(v, false);
    start(v, 0);
    assert_int_equal(RUN(v, CALL_FAR(SEL_TSS_B)), X86_PF);
    assert_int_equal(v->fault.error, 3);
    assert_int_equal(v->cr2 & ~0xfffu, TSS_A);
    assert_int_equal(type_of(v, SEL_TSS_B), X86_TSS32);
    assert_int_equal(peek(v, TSS_B, 2), 0);
    assert_int_equal(v->seg[X86_TR].sel, SEL_TSS_A);

    /* The same with the GDT, which is written last. */
    poke(v, table + 4 * (TSS_A >> 12), TSS_A | 7, 4);
    poke(v, table + 4 * (GDT >> 12), GDT | 5, 4);
    x86_tlb_flush(v, false);
    v->eip = v->insn_eip;
    assert_int_equal(RUN(v, CALL_FAR(SEL_TSS_B)), X86_PF);
    assert_int_equal(v->cr2 & ~0xfffu, GDT);
    assert_int_equal(peek(v, TSS_B, 2), 0);
    assert_int_equal(peek(v, TSS_A + 0x20, 4), 0);

    poke(v, table + 4 * (GDT >> 12), GDT | 7, 4);
    x86_tlb_flush(v, false);
    v->eip = v->insn_eip;
    assert_int_equal(RUN(v, CALL_FAR(SEL_TSS_B)), STEP_OK);
    expect_in_task(v, 0);
    assert_int_equal(v->cr3, new_directory);
}

/* After it: the new task has the fault, at its first instruction. */
static void bad_segments_of_the_new_task(void **state)
{
    struct x86_vcpu *v = vcpu_of(state);
    set_desc(v, SLOT, 0, 0xfffff, (ATTR_FLAT & ~SEG_P) | SEG_WRITABLE);
    set_desc(v, SLOT2, 0, 0xfffff, (ATTR_FLAT & ~SEG_P) | SEG_CODE | SEG_READABLE);
    const struct {
        uint8_t slot; /* offset in the TSS */
        uint16_t sel;
        int vector;
    } cases[] = {
        {0x4c, 0, X86_TS},           {0x4c, DATA(0), X86_TS},      {0x4c, SLOT2, X86_NP},
        {0x4c, CODE(1), X86_TS},     {0x4c, CODE(3) & ~3, X86_TS}, {0x50, 0, X86_TS},
        {0x50, DATA(1), X86_TS},     {0x50, CODE(0), X86_TS},      {0x50, SLOT, X86_SSF},
        {0x54, SLOT, X86_NP},        {0x48, SEL_LDT, X86_TS},      {0x58, GDT_BYTES, X86_TS},
        {0x5c, DATA(0) | 3, X86_TS}, {0x60, DATA(0), X86_TS},      {0x60, 8 | 4, X86_TS},
        {0x60, SLOT, X86_TS},
    };
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        set_desc(v, SEL_TSS_A, TSS_A, 0xff, SEG_P | X86_TSS32_BUSY);
        set_desc(v, SEL_TSS_B, TSS_B, 0x67, SEG_P | X86_TSS32);
        force_seg(v, X86_TR, SEL_TSS_A);
        make_tss32(v, TSS_B, 0, 0);
        poke(v, TSS_B + cases[i].slot, cases[i].sel, 2);
        start(v, 0);
        int got = RUN(v, JMP_FAR(SEL_TSS_B));
        if (cases[i].slot == 0x4c && cases[i].sel == CODE(1)) {
            /* a ring 1 task with ring 0 stack: CS itself is fine */
            assert_int_equal(got, X86_TS);
            assert_int_equal(v->fault.error, DATA(0));
            continue;
        }
        assert_int_equal(got, cases[i].vector);
        assert_int_equal(v->fault.error, cases[i].sel & ~3u);
        assert_int_equal(v->seg[X86_TR].sel, SEL_TSS_B);
        assert_int_equal(v->insn_eip, TASK_ENTRY);
        assert_int_equal(type_of(v, SEL_TSS_A), X86_TSS32);
    }
}

static void code_of_the_new_task(void **state)
{
    struct x86_vcpu *v = vcpu_of(state);
    make_tss32(v, TSS_B, 3, 0);
    poke(v, TSS_B + 0x4c, CONFORMING | 3, 2); /* DPL 0, but conforming: runs at its RPL */
    start(v, 0);
    assert_int_equal(RUN(v, JMP_FAR(SEL_TSS_B)), STEP_OK);
    assert_int_equal(v->cpl, 3);

    make_tss16(v, TSS_C);
    set_desc(v, CODE16, CODE_AT, 0x1233, SEG_P | SEG_S | SEG_CODE);
    set_ring(v, 0);
    assert_int_equal(RUN(v, JMP_FAR(SEL_TSS_C)), X86_GP); /* ip 1234 is beyond the limit */
    assert_int_equal(v->fault.error, 0);
    assert_int_equal(v->seg[X86_TR].sel, SEL_TSS_C);
    assert_int_equal(v->insn_eip, 0x1234);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, machine_make, machine_free)
    const struct CMUnitTest tests[] = {
        TEST(jump_to_task),
        TEST(call_and_iret),
        TEST(task_of_16_bits),
        TEST(through_task_gates),
        TEST(double_fault_task),
        TEST(events_through_task_gates),
        TEST(task_in_v8086_mode),
        TEST(debug_trap_on_arrival),
        TEST(refused),
        TEST(page_fault_on_the_old_tss),
        TEST(bad_segments_of_the_new_task),
        TEST(code_of_the_new_task),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
