/* SPDX-License-Identifier: MIT */
/* Delivery of exceptions and interrupts: frames, error codes, gate checks, double and triple
 * faults (Intel SDM vol. 3A ch. 6). */
#include "x86_machine.h"

#define FLAGS (FL_FIXED | FL_IF | FL_CF)

static void start(struct x86_vcpu *v, unsigned ring)
{
    set_ring(v, ring);
    x86_set_eflags(v, FLAGS);
}

/* ---- frames --------------------------------------------------------------------------------- */

static void same_privilege(void **state)
{
    struct x86_vcpu *v = vcpu_of(state);
    start(v, 0);
    x86_set_eflags(v, FLAGS | FL_TF | FL_NT | FL_AC);
    assert_int_equal(RUN(v, 0xcd, 0x80), STEP_OK);
    assert_int_equal(v->eip, HANDLER(0x80));
    assert_int_equal(x86_r32(v, X86_ESP), STACK_TOP(0) - 12);
    EXPECT_STACK(v, 4, CODE_AT + 2, CODE(0), FLAGS | FL_TF | FL_NT | FL_AC);
    assert_int_equal(x86_get_eflags(v), FL_FIXED | FL_CF | FL_AC);
    assert_int_equal(v->base.stats.exits[EXIT_EXCEPTION], 1);

    start(v, 0);
    set_gate(v, IDT + 8 * 0x80, CODE(0), HANDLER(1), X86_TRAP_GATE32, 0, 0);
    assert_int_equal(RUN(v, 0xcd, 0x80), STEP_OK);
    assert_int_equal(x86_get_eflags(v), FLAGS); /* a trap gate leaves IF */
}

static void gates_of_16_bits(void **state)
{
    struct x86_vcpu *v = vcpu_of(state);
    start(v, 3);
    set_gate(v, IDT + 8 * 0x80, CODE(0), 0xdead8888, X86_INT_GATE16, 3, 0);
    assert_int_equal(RUN(v, 0xcd, 0x80), STEP_OK);
    assert_int_equal(v->eip, 0x8888);
    assert_int_equal(x86_r32(v, X86_ESP), STACK_TOP(0) - 10);
    EXPECT_STACK(v, 2, (CODE_AT + 2) & 0xffff, CODE(3), FLAGS, STACK_TOP(3) & 0xffff, DATA(3));
    assert_int_equal(v->if_flag, 0);
    set_gate(v, IDT + 8 * 13, CODE(0), 0x9000, X86_TRAP_GATE16, 0, 0);
    assert_int_equal(deliver_fault(v, X86_GP, true, 0x1234), 1);
    EXPECT_STACK(v, 2, 0x1234, 0x8888, CODE(0));
}

static void inner_privilege(void **state)
{
    struct x86_vcpu *v = vcpu_of(state);
    for (unsigned from = 1; from < 4; from++)
        for (unsigned to = 0; to <= from; to++) {
            if (to == 3)
                continue;
            set_idt(v, CODE(to), X86_INT_GATE32, 3);
            start(v, from);
            x86_w32(v, X86_ESP, STACK_TOP(from) - 8);
            assert_int_equal(deliver_external(v, 0x31), STEP_OK);
            assert_int_equal(v->cpl, to);
            assert_int_equal(v->seg[X86_CS].sel, CODE(to));
            assert_int_equal(v->seg[X86_SS].sel, DATA(to));
            assert_int_equal(v->seg[X86_DS].sel, DATA(from)); /* data segments stay */
            EXPECT_STACK(v, 4, CODE_AT, CODE(from), FLAGS);
            if (from == to) {
                assert_int_equal(x86_r32(v, X86_ESP), STACK_TOP(to) - 8 - 12);
                continue;
            }
            assert_int_equal(x86_r32(v, X86_ESP), STACK_TOP(to) - 20);
            EXPECT_STACK(v, 4, CODE_AT, CODE(from), FLAGS, STACK_TOP(from) - 8, DATA(from));
        }
    assert_true(v->base.stats.exits[EXIT_INTERRUPT] > 0);
}

static void conforming_handler_keeps_the_level(void **state)
{
    struct x86_vcpu *v = vcpu_of(state);
    set_idt(v, CONFORMING, X86_INT_GATE32, 3);
    start(v, 3);
    assert_int_equal(RUN(v, 0xcd, 0x21), STEP_OK);
    assert_int_equal(v->cpl, 3);
    assert_int_equal(v->seg[X86_CS].sel, CONFORMING | 3);
    assert_int_equal(x86_r32(v, X86_ESP), STACK_TOP(3) - 12);
}

static void from_v8086(void **state)
{
    struct x86_vcpu *v = vcpu_of(state);
    set_v86(v, 0);
    v->insn_eip = v->eip = 0x123;
    assert_int_equal(deliver_fault(v, X86_GP, true, 0), 1);
    assert_int_equal(v->cpl, 0);
    assert_false(x86_v8086(v));
    assert_int_equal(x86_r32(v, X86_ESP), STACK_TOP(0) - 40);
    EXPECT_STACK(v, 4, 0, 0x123, 0x1001, FL_FIXED | FL_VM | FL_IF | FL_RF, 0x800, 0x1002, 0x1000,
                 0x1003, 0x1004, 0x1005);
    for (unsigned s = X86_ES; s <= X86_GS; s++)
        if (s != X86_CS && s != X86_SS) {
            assert_int_equal(v->seg[s].sel, 0);
            assert_false(v->seg[s].attr & SEG_P);
        }

    /* Only a nonconforming ring 0 handler will do. */
    set_gate(v, IDT + 8 * 0x20, CONFORMING, HANDLER(0x20), X86_INT_GATE32, 3, 0);
    set_gate(v, IDT + 8 * 0x21, CODE(1), HANDLER(0x21), X86_INT_GATE32, 3, 0);
    set_v86(v, 3);
    assert_int_equal(RUN(v, 0xcd, 0x20), X86_GP);
    assert_int_equal(v->fault.error, CONFORMING);
    assert_int_equal(RUN(v, 0xcd, 0x21), X86_GP);
    assert_int_equal(v->fault.error, CODE(1) & ~3u);
    assert_true(x86_v8086(v));
}

static void int_n_in_v8086_needs_iopl(void **state)
{
    struct x86_vcpu *v = vcpu_of(state);
    set_idt(v, CODE(0), X86_INT_GATE32, 3);
    set_v86(v, 2);
    assert_int_equal(RUN(v, 0xcd, 0x20), X86_GP);
    assert_int_equal(v->fault.error, 0);
    assert_int_equal(RUN(v, 0xcc), STEP_OK); /* int3 does not */
    assert_int_equal(v->cpl, 0);
    set_v86(v, 3);
    assert_int_equal(RUN(v, 0xcd, 0x20), STEP_OK);
    assert_int_equal(v->eip, HANDLER(0x20));
}

static void vme_redirects_int_n(void **state)
{
    struct x86_vcpu *v = vcpu_of(state);
    poke(v, TSS_A + 0x66, 0x88, 2); /* redirection bitmap at 68 */
    poke(v, TSS_A + 0x68, UINT64_MAX & ~(UINT64_C(1) << 0x20), 8);
    poke(v, 4 * 0x20, 0x22221111, 4);
    set_idt(v, CODE(0), X86_INT_GATE32, 3);
    v->cr4 |= CR4_VME;
    set_v86(v, 0);
    x86_set_eflags(v, x86_get_eflags(v) | FL_VIF);
    assert_int_equal(RUN(v, 0xcd, 0x20), STEP_OK);
    assert_true(x86_v8086(v));
    assert_int_equal(v->seg[X86_CS].base, 0x22220);
    assert_int_equal(v->eip, 0x1111);
    assert_int_equal(x86_sp(v), 0x7fa);
    EXPECT_STACK(v, 2, 0x102, 0x1001, FL_FIXED | FL_IF | FL_IOPL);
    assert_int_equal(x86_get_eflags(v), FL_FIXED | FL_VM | FL_IF); /* VIF is off */
    poke(v, 0x22220 + 0x1111, 0xcf, 1);
    assert_int_equal(RUN(v, 0xcf), STEP_OK); /* iret turns VIF on again */
    assert_int_equal(x86_get_eflags(v), FL_FIXED | FL_VM | FL_IF | FL_VIF);
    assert_int_equal(v->eip, 0x102);
    assert_int_equal(RUN(v, 0xcd, 0x21), X86_GP); /* bit set, IOPL < 3 */
    set_v86(v, 0);                                /* with VIF off the program sees IF off */
    assert_int_equal(RUN(v, 0xcd, 0x20), STEP_OK);
    EXPECT_STACK(v, 2, 0x102, 0x1001, FL_FIXED | FL_IOPL);
}

static void real_mode(void **state)
{
    struct x86_vcpu *v = vcpu_of(state);
    set_real(v);
    x86_set_eflags(v, FLAGS | FL_TF);
    poke(v, 4 * 0x10, 0x2345abcd, 4);
    poke(v, 4 * X86_GP, 0x00010002, 4);
    assert_int_equal(RUN(v, 0xcd, 0x10), STEP_OK);
    assert_int_equal(v->seg[X86_CS].sel, 0x2345);
    assert_int_equal(v->seg[X86_CS].base, 0x23450);
    assert_int_equal(v->eip, 0xabcd);
    assert_int_equal(x86_sp(v), 0x7fa);
    EXPECT_STACK(v, 2, 0x102, 0x1001, FLAGS | FL_TF);
    assert_int_equal(x86_get_eflags(v), FL_FIXED | FL_CF);
    assert_int_equal(deliver_fault(v, X86_GP, true, 0), 1); /* pushes no error code */
    assert_int_equal(x86_sp(v), 0x7f4);
    EXPECT_STACK(v, 2, 0xabcd, 0x2345);
    v->idtr.limit = 4 * 0x10 + 2;
    assert_int_equal(RUN(v, 0xcd, 0x10), X86_GP);
}

static void nmi_is_blocked_until_iret(void **state)
{
    struct x86_vcpu *v = vcpu_of(state);
    start(v, 0);
    assert_int_equal(deliver_external(v, X86_NMI), STEP_OK);
    assert_true(v->nmi_blocked);
    assert_int_equal(RUN(v, 0xcf), STEP_OK);
    assert_false(v->nmi_blocked);
    assert_int_equal(v->eip, CODE_AT);
    assert_int_equal(x86_get_eflags(v), FLAGS);
}

/* ---- RF and debug exceptions ------------------------------------------------------------ */

static void resume_flag(void **state)
{
    struct x86_vcpu *v = vcpu_of(state);
    static const struct {
        uint8_t vector;
        bool rf;
    } cases[] = {{X86_DE, true}, {X86_UD, true},  {X86_GP, true},  {X86_PF, true},
                 {X86_NM, true}, {X86_DB, false}, {X86_DF, false}, {X86_MC, false}};
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        start(v, 0);
        assert_int_equal(deliver_fault(v, cases[i].vector, false, 0), 1);
        EXPECT_STACK(v, 4, CODE_AT, CODE(0), FLAGS | (cases[i].rf ? FL_RF : 0));
        assert_false(v->eflags & FL_RF);
    }
    start(v, 0);
    v->dr6_pending = DR6_BD;
    v->dr[7] |= DR7_GD;
    assert_int_equal(deliver_fault(v, X86_DB, false, 0), 1);
    EXPECT_STACK(v, 4, CODE_AT, CODE(0), FLAGS | FL_RF);
    assert_true(v->dr[6] & DR6_BD);
    assert_false(v->dr[7] & DR7_GD);
    assert_int_equal(v->dr6_pending, 0);
}

static void single_step_is_dropped_by_a_handler(void **state)
{
    struct x86_vcpu *v = vcpu_of(state);
    start(v, 0);
    v->dr6_pending = DR6_BS | 1;
    assert_int_equal(RUN(v, 0xcc), STEP_OK);
    assert_int_equal(v->dr6_pending, 1);
    start(v, 0);
    v->dr6_pending = DR6_BS;
    assert_int_equal(deliver_fault(v, X86_DB, false, 0), 1);
    assert_true(v->dr[6] & DR6_BS);
}

static void trap_resumes_behind(void **state)
{
    struct x86_vcpu *v = vcpu_of(state);
    start(v, 0);
    v->fault = (struct x86_fault){.vector = X86_DB, .trap = true};
    v->insn_eip = CODE_AT - 7;
    if (setjmp(v->unwind) == 0)
        x86_deliver_fault(v);
    EXPECT_STACK(v, 4, CODE_AT, CODE(0), FLAGS);
    assert_int_equal(v->eip, HANDLER(X86_DB));
}

/* ---- checks on gates -------------------------------------------------------------------- */

static void gate_privilege(void **state)
{
    struct x86_vcpu *v = vcpu_of(state);
    for (unsigned dpl = 0; dpl < 4; dpl++)
        for (unsigned cpl = 0; cpl < 4; cpl++) {
            bool ok = cpl <= dpl;
            set_idt(v, CODE(0), X86_INT_GATE32, dpl);
            start(v, cpl);
            assert_int_equal(RUN(v, 0xcd, 0x40), ok ? STEP_OK : X86_GP);
            if (!ok)
                assert_int_equal(v->fault.error, 0x40 * 8 + 2);
            start(v, cpl);
            assert_int_equal(RUN(v, 0xcc), ok ? STEP_OK : X86_GP); /* int3 */
            start(v, cpl);
            assert_int_equal(RUN(v, 0xf1), STEP_OK); /* int1 passes always */
            start(v, cpl);
            assert_int_equal(RUN(v, 0xce), STEP_OK); /* into without OF */
            assert_int_equal(v->eip, CODE_AT + 1);
            v->cc |= CC_OF;
            assert_int_equal(RUN(v, 0xce), ok ? STEP_OK : X86_GP);
            start(v, cpl);
            assert_int_equal(deliver_external(v, 0x40), STEP_OK); /* as do interrupts */
        }
}

/* A broken gate or handler: which exception, with which error code; EXT as the cause says. */
static void broken_gates(void **state)
{
    struct x86_vcpu *v = vcpu_of(state);
    const uint32_t idt = 0x40 * 8 + 2;
    set_desc(v, SLOT, 0, 0xfffff, ATTR_FLAT | SEG_CODE | ATTR_DPL(3)); /* outer */
    set_desc(v, SLOT2, 0, 0xfffff, (ATTR_FLAT & ~SEG_P) | SEG_CODE);   /* not present */
    for (unsigned type = 0; type < 32; type++) {
        bool good = type == X86_INT_GATE16 || type == X86_TRAP_GATE16 || type == X86_INT_GATE32 ||
                    type == X86_TRAP_GATE32 || type == X86_TASK_GATE;
        if (good)
            continue;
        set_gate(v, IDT + 8 * 0x40, CODE(0), 0x8000, type, 3, 0);
        assert_int_equal(RUN(v, 0xcd, 0x40), X86_GP);
        assert_int_equal(v->fault.error, idt);
    }
    const struct {
        uint16_t sel;
        bool absent;
        int vector;
        uint32_t error;
    } cases[] = {
        {CODE(0), true, X86_NP, idt},          {0, false, X86_GP, 0},
        {DATA(0), false, X86_GP, DATA(0)},     {GDT_BYTES, false, X86_GP, GDT_BYTES},
        {SLOT, false, X86_GP, SLOT},           {SLOT2, false, X86_NP, SLOT2},
        {SEL_TSS_B, false, X86_GP, SEL_TSS_B},
    };
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        set_ring(v, 0);
        set_gate(v, IDT + 8 * 0x40, cases[i].sel, 0x8000, X86_INT_GATE32, 3, 0);
        if (cases[i].absent)
            poke(v, IDT + 8 * 0x40 + 5, 0x6e, 1);
        assert_int_equal(RUN(v, 0xcd, 0x40), cases[i].vector);
        assert_int_equal(v->fault.error, cases[i].error);
        assert_int_equal(deliver_external(v, 0x40), cases[i].vector);
        assert_int_equal(v->fault.error, cases[i].error | 1);
        v->delivering_external = false;
    }
    v->idtr.limit = 8 * 0x40 + 6;
    assert_int_equal(RUN(v, 0xcd, 0x40), X86_GP);
    assert_int_equal(v->fault.error, idt);
    set_desc(v, SLOT, 0, 0x7fff, SEG_DB | SEG_P | SEG_S | SEG_CODE); /* handler beyond the limit */
    set_gate(v, IDT, SLOT, 0x8000, X86_INT_GATE32, 3, 0);
    assert_int_equal(RUN(v, 0xcd, 0), X86_GP);
    assert_int_equal(v->fault.error, 0);
    assert_int_equal(v->seg[X86_CS].sel, CODE(0));
}

/* The inner stack in the TSS is bad. */
static void broken_inner_stacks(void **state)
{
    struct x86_vcpu *v = vcpu_of(state);
    set_idt(v, CODE(0), X86_INT_GATE32, 3);
    set_desc(v, SLOT, 0, 0xfffff, (ATTR_FLAT & ~SEG_P) | SEG_WRITABLE);
    set_desc(v, SLOT2, 0, 0xfff, SEG_DB | SEG_P | SEG_S | SEG_WRITABLE);
    const struct {
        uint16_t ss;
        int vector;
        uint32_t error;
    } cases[] = {
        {0, X86_TS, 0},
        {DATA(0) | 1, X86_TS, DATA(0)},
        {DATA(1), X86_TS, DATA(1) & ~3u},
        {CODE(0), X86_TS, CODE(0)},
        {GDT_BYTES, X86_TS, GDT_BYTES},
        {SLOT, X86_SSF, SLOT},
        {SLOT2, X86_SSF, SLOT2}, /* esp 20000 is beyond the limit */
    };
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        start(v, 3);
        poke(v, TSS_A + 8, cases[i].ss, 2);
        assert_int_equal(RUN(v, 0xcd, 0x40), cases[i].vector);
        assert_int_equal(v->fault.error, cases[i].error);
        assert_int_equal(v->cpl, 3);
        assert_int_equal(v->seg[X86_SS].sel, DATA(3));
        assert_int_equal(x86_r32(v, X86_ESP), STACK_TOP(3));
        assert_int_equal(x86_get_eflags(v), FLAGS);
    }
    v->seg[X86_TR].limit = 8;
    assert_int_equal(RUN(v, 0xcd, 0x40), X86_TS);
    assert_int_equal(v->fault.error, SEL_TSS_A);
}

/* ---- double and triple faults ----------------------------------------------------------- */

static void double_fault_table(void **state)
{
    /* Classes of vectors 0 to 19: benign, contributory, page fault, double fault. */
    static const char class[] = "cbbbbbbbdbccccpbbbbb";
    struct x86_vcpu *v = vcpu_of(state);
    for (unsigned first = 0; first < 20; first++)
        for (unsigned second = 0; second < 20; second++) {
            char a = class[first], b = class[second];
            bool serious = b == 'c' || b == 'p';
            bool shutdown = a == 'd' && serious;
            bool twice = (a == 'c' && b == 'c') || (a == 'p' && serious);
            start(v, 0);
            v->delivering = (int)first;
            v->delivering_external = true;
            int tries = deliver_fault(v, second, false, 0);
            assert_int_equal(tries, shutdown ? STEP_EXIT : 1);
            assert_int_equal(v->delivering, -1);
            assert_false(v->delivering_external);
            if (shutdown)
                assert_int_equal(v->exit.kind, EXIT_SHUTDOWN);
            else
                assert_int_equal(v->eip, HANDLER(twice ? X86_DF : second));
            if (twice)
                EXPECT_STACK(v, 4, 0, CODE_AT);
        }
}

static void faults_while_delivering(void **state)
{
    struct x86_vcpu *v = vcpu_of(state);
    /* #NP's gate is not present: #NP of #NP is a double fault. */
    poke(v, IDT + 8 * X86_NP + 5, 0x0e, 1);
    start(v, 0);
    assert_int_equal(deliver_fault(v, X86_NP, true, 0), 2);
    assert_int_equal(v->eip, HANDLER(X86_DF));
    /* #UD is benign: the #NP of its gate comes serially, with EXT. */
    set_idt(v, CODE(0), X86_INT_GATE32, 0);
    poke(v, IDT + 8 * X86_UD + 5, 0x0e, 1);
    start(v, 0);
    assert_int_equal(deliver_fault(v, X86_UD, false, 0), 2);
    assert_int_equal(v->eip, HANDLER(X86_NP));
    EXPECT_STACK(v, 4, X86_UD * 8 + 3, CODE_AT);
    /* No IDT at all: #UD, #GP, #DF, shutdown; the log has the chain. */
    v->idtr.limit = 0;
    start(v, 0);
    v->fault_next = 0;
    assert_int_equal(deliver_fault(v, X86_UD, false, 0), STEP_EXIT);
    assert_int_equal(v->exit.kind, EXIT_SHUTDOWN);
    static const uint8_t chain[] = {X86_UD, X86_GP, X86_GP, X86_DF, X86_GP};
    assert_int_equal(v->fault_next, sizeof chain);
    for (unsigned i = 0; i < sizeof chain; i++)
        assert_int_equal(v->faults[i].vector, chain[i]);
    assert_int_equal(v->faults[0].eip, CODE_AT);
}

static void interrupts_are_benign(void **state)
{
    struct x86_vcpu *v = vcpu_of(state);
    set_idt(v, CODE(0), X86_INT_GATE32, 3);
    poke(v, IDT + 8 * 0x0d + 5, 0x0e, 1); /* vector 13 as an interrupt, as BIOSes had it */
    start(v, 3);
    v->eip = CODE_AT + 5;
    assert_int_equal(deliver_external(v, 13), X86_NP);
    x86_deliver_fault(v);
    assert_int_equal(v->eip, HANDLER(X86_NP));
    EXPECT_STACK(v, 4, 13 * 8 + 3, CODE_AT + 5);
    assert_false(v->delivering_external);
}

/* ---- page faults in the middle ---------------------------------------------------------- */

#define PAGE_DIRECTORY 0x100000u
#define PAGE_TABLE     0x101000u
#define PTE(page)      (PAGE_TABLE + 4 * ((page) >> 12))

static void paging_on(struct x86_vcpu *v)
{
    poke(v, PAGE_DIRECTORY, PAGE_TABLE | 7, 4);
    for (unsigned i = 0; i < 1024; i++)
        poke(v, PAGE_TABLE + 4 * i, i << 12 | 7, 4);
    v->cr3 = PAGE_DIRECTORY;
    v->cr0 |= CR0_PG | CR0_WP;
    x86_tlb_flush(v, false);
    x86_update_mode(v);
}

static void page_fault_on_the_inner_stack(void **state)
{
    struct x86_vcpu *v = vcpu_of(state);
    const uint32_t top = STACK_TOP(0) + 8; /* two words in the upper page, three below */
    set_idt(v, CODE(0), X86_INT_GATE32, 3);
    poke(v, TSS_A + 4, top, 4);
    poke(v, TSS_A + 4 + 8, STACK_TOP(1), 4);
    paging_on(v);
    poke(v, PTE(STACK_TOP(0) - 0x1000), 0, 4);
    start(v, 3);
    assert_int_equal(RUN(v, 0xcd, 0x40), X86_PF);
    assert_int_equal(v->cr2, STACK_TOP(0) - 4);
    assert_int_equal(v->fault.error, 2); /* a supervisor write */
    assert_int_equal(v->cpl, 3);
    assert_int_equal(v->seg[X86_SS].sel, DATA(3));
    assert_int_equal(v->seg[X86_CS].sel, CODE(3));
    assert_int_equal(x86_r32(v, X86_ESP), STACK_TOP(3));
    assert_int_equal(x86_get_eflags(v), FLAGS);

    poke(v, PTE(STACK_TOP(0) - 0x1000), (STACK_TOP(0) - 0x1000) | 7, 4);
    v->eip = v->insn_eip;
    assert_int_equal(RUN(v, 0xcd, 0x40), STEP_OK);
    EXPECT_STACK(v, 4, CODE_AT + 2, CODE(3), FLAGS, STACK_TOP(3), DATA(3));
}

static void page_faults_count_as_the_guests(void **state)
{
    struct x86_vcpu *v = vcpu_of(state);
    start(v, 3);
    assert_int_equal(deliver_fault(v, X86_PF, true, 6), 1);
    assert_int_equal(v->base.stats.fault_guest, 1);
    EXPECT_STACK(v, 4, 6, CODE_AT, CODE(3), FLAGS | FL_RF);
}

/* The same through the interpreter loop: a system call from ring 3 and back, then HLT there. */
static void through_the_loop(void **state)
{
    struct x86_vcpu *v = vcpu_of(state);
    struct vm_exit x;
    set_idt(v, CODE(0), X86_INT_GATE32, 3);
    poke(v, CODE_AT, 0xf480cd, 3);     /* int 80; hlt */
    poke(v, HANDLER(0x80), 0xcf40, 2); /* inc eax; iret */
    poke(v, HANDLER(X86_GP), 0xf4, 1); /* hlt */
    start(v, 3);
    x86_w32(v, X86_EAX, 0);
    x86_isa.interpret(&v->base, 1000, &x);
    assert_int_equal(x.kind, EXIT_HALT);
    assert_int_equal(v->cpl, 0);
    assert_int_equal(v->eip, HANDLER(X86_GP) + 1);
    assert_int_equal(x86_r32(v, X86_EAX), 1);
    EXPECT_STACK(v, 4, 0, CODE_AT + 2, CODE(3), FLAGS | FL_RF, STACK_TOP(3), DATA(3));
    assert_int_equal(v->base.stats.exits[EXIT_EXCEPTION], 2);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, machine_make, machine_free)
    const struct CMUnitTest tests[] = {
        TEST(same_privilege),
        TEST(gates_of_16_bits),
        TEST(inner_privilege),
        TEST(conforming_handler_keeps_the_level),
        TEST(from_v8086),
        TEST(int_n_in_v8086_needs_iopl),
        TEST(vme_redirects_int_n),
        TEST(real_mode),
        TEST(nmi_is_blocked_until_iret),
        TEST(resume_flag),
        TEST(single_step_is_dropped_by_a_handler),
        TEST(trap_resumes_behind),
        TEST(gate_privilege),
        TEST(broken_gates),
        TEST(broken_inner_stacks),
        TEST(double_fault_table),
        TEST(faults_while_delivering),
        TEST(interrupts_are_benign),
        TEST(page_fault_on_the_inner_stack),
        TEST(page_faults_count_as_the_guests),
        TEST(through_the_loop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
