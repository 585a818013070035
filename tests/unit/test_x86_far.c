/* SPDX-License-Identifier: MIT */
/* Far jumps, calls, returns, call gates, IRET, SYSENTER (Intel SDM vol. 3A 5.8). */
#include "x86_machine.h"

#define FLAGS              (FL_FIXED | FL_CF)
#define LE16(x)            (uint8_t)(x), (uint8_t)((x) >> 8)
#define LE32(x)            LE16(x), LE16((uint32_t)(x) >> 16)
#define JMP_FAR(sel, off)  0xea, LE32(off), LE16(sel)
#define CALL_FAR(sel, off) 0x9a, LE32(off), LE16(sel)

static void start(struct x86_vcpu *v, unsigned ring)
{
    set_ring(v, ring);
    x86_set_eflags(v, FLAGS);
}

/* Words from eSP up, as a caller has pushed them. */
static void push_words(struct x86_vcpu *v, unsigned n, const uint32_t *words)
{
    x86_w32(v, X86_ESP, x86_r32(v, X86_ESP) - 4 * n);
    for (unsigned i = 0; i < n; i++)
        poke(v, x86_r32(v, X86_ESP) + 4 * i, words[i], 4);
}
#define PUSH_WORDS(v, ...)                                                                         \
    push_words(v, ARRAY_LEN(((const uint32_t[]){__VA_ARGS__})), (const uint32_t[]){__VA_ARGS__})

/* ---- code segments ---------------------------------------------------------------------- */

static void jump_privileges(void **state)
{
    struct x86_vcpu *v = vcpu_of(state);
    for (unsigned n = 0; n < 4 * 4 * 4 * 2 * 2; n++) {
        unsigned dpl = n & 3, cpl = n >> 2 & 3, rpl = n >> 4 & 3;
        bool conforming = n >> 6 & 1, present = n >> 7 & 1;
        set_desc(v, SLOT, 0, 0xfffff,
                 (ATTR_FLAT & ~SEG_P) | (present ? SEG_P : 0) | ATTR_DPL(dpl) | SEG_CODE |
                     (conforming ? SEG_CONFORMING : 0));
        start(v, cpl);
        bool ok = conforming ? dpl <= cpl : dpl == cpl && rpl <= cpl;
        int want = !ok ? X86_GP : !present ? X86_NP : STEP_OK;
        assert_int_equal(RUN(v, JMP_FAR(SLOT | rpl, 0x12345678)), want);
        assert_int_equal(v->cpl, cpl);
        if (want != STEP_OK) {
            assert_int_equal(v->fault.error, SLOT);
            assert_int_equal(v->seg[X86_CS].sel, CODE(cpl));
            continue;
        }
        assert_int_equal(v->eip, 0x12345678);
        assert_int_equal(v->seg[X86_CS].sel, SLOT | cpl); /* RPL becomes CPL */
        assert_true(peek(v, GDT + SLOT + 5, 1) & SEG_ACCESSED);
    }
}

static void bad_targets(void **state)
{
    struct x86_vcpu *v = vcpu_of(state);
    const struct {
        uint16_t sel;
        uint32_t off, error;
    } cases[] = {
        {0, 0, 0},
        {3, 0, 0},
        {DATA(0), 0, DATA(0)},
        {SEL_LDT, 0, SEL_LDT},
        {SEL_TSS_A, 0, SEL_TSS_A}, /* busy */
        {GDT_BYTES, 0, GDT_BYTES},
        {CODE16, 0x10000, 0},
    };
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        start(v, 0);
        assert_int_equal(RUN(v, CALL_FAR(cases[i].sel, cases[i].off)), X86_GP);
        assert_int_equal(v->fault.error, cases[i].error);
        assert_int_equal(x86_r32(v, X86_ESP), STACK_TOP(0));
        assert_int_equal(v->seg[X86_CS].sel, CODE(0));
    }
}

static void calls_and_operand_sizes(void **state)
{
    struct x86_vcpu *v = vcpu_of(state);
    start(v, 0);
    assert_int_equal(RUN(v, CALL_FAR(CODE16, 0x1234)), STEP_OK);
    assert_int_equal(v->eip, 0x1234);
    assert_int_equal(x86_code_size(v), 2);
    EXPECT_STACK(v, 4, CODE_AT + 7, CODE(0));
    assert_int_equal(RUN(v, 0x66, 0xcb), STEP_OK); /* 32-bit retf in 16-bit code */
    assert_int_equal(v->eip, CODE_AT + 7);
    assert_int_equal(x86_r32(v, X86_ESP), STACK_TOP(0));

    poke(v, 0x7000, 0x5678 | (uint32_t)CODE16 << 16, 4);
    x86_w32(v, X86_EBX, 0x7000);
    v->eip = CODE_AT;
    assert_int_equal(RUN(v, 0x66, 0xff, 0x1b), STEP_OK); /* 16-bit call far [ebx] */
    assert_int_equal(v->eip, 0x5678);
    EXPECT_STACK(v, 2, (CODE_AT + 3) & 0xffff, CODE(0));
    assert_int_equal(x86_r32(v, X86_ESP), STACK_TOP(0) - 4);
    poke(v, 0x7000, 0x11223344, 4);
    poke(v, 0x7004, CODE(0), 2);
    assert_int_equal(RUN(v, 0x66, 0x67, 0xff, 0x2b), STEP_OK); /* jmp far [ebx] */
    assert_int_equal(v->eip, 0x11223344);
}

static void real_mode_and_v8086(void **state)
{
    struct x86_vcpu *v = vcpu_of(state);
    for (int v86 = 0; v86 < 2; v86++) {
        if (v86) {
            v->cr0 |= CR0_PE;
            set_v86(v, 0);
        } else {
            set_real(v);
        }
        assert_int_equal(RUN(v, 0x9a, LE16(0x20), LE16(0x3000)), STEP_OK);
        assert_int_equal(v->seg[X86_CS].base, 0x30000);
        assert_int_equal(v->eip, 0x20);
        assert_int_equal(x86_sp(v), 0x7fc);
        EXPECT_STACK(v, 2, 0x105, 0x1001);
        assert_int_equal(RUN(v, 0xca, LE16(6)), STEP_OK);
        assert_int_equal(v->seg[X86_CS].base, 0x10010);
        assert_int_equal(v->eip, 0x105);
        assert_int_equal(x86_sp(v), 0x806);
        assert_int_equal(RUN(v, 0x66, 0xea, LE32(0x10000), LE16(0)), X86_GP);
    }
}

/* ---- call gates ------------------------------------------------------------------------- */

static void call_gate_with_parameters(void **state)
{
    struct x86_vcpu *v = vcpu_of(state);
    for (unsigned to = 0; to < 3; to++) {
        set_gate(v, GDT + SLOT, CODE(to), 0x89abcdef, X86_CALL_GATE32, 3, 3);
        start(v, 3);
        PUSH_WORDS(v, 0x111, 0x222, 0x333, 0x444);
        assert_int_equal(RUN(v, CALL_FAR(SLOT | 3, 0)), STEP_OK);
        assert_int_equal(v->cpl, to);
        assert_int_equal(v->seg[X86_CS].sel, CODE(to));
        assert_int_equal(v->seg[X86_SS].sel, DATA(to));
        assert_int_equal(v->eip, 0x89abcdef);
        assert_int_equal(x86_r32(v, X86_ESP), STACK_TOP(to) - 28);
        EXPECT_STACK(v, 4, CODE_AT + 7, CODE(3), 0x111, 0x222, 0x333, STACK_TOP(3) - 16, DATA(3));
        /* ... and back: parameters leave both stacks, the inner data segments are dropped. */
        force_seg(v, X86_DS, DATA(to));
        force_seg(v, X86_ES, DATA(3));
        force_seg(v, X86_FS, CONFORMING);
        force_seg(v, X86_GS, CODE(to));
        assert_int_equal(RUN(v, 0xca, LE16(12)), STEP_OK);
        assert_int_equal(v->cpl, 3);
        assert_int_equal(v->eip, CODE_AT + 7);
        assert_int_equal(v->seg[X86_SS].sel, DATA(3));
        assert_int_equal(x86_r32(v, X86_ESP), STACK_TOP(3) - 4);
        assert_int_equal(v->seg[X86_DS].sel, 0);
        assert_false(v->seg[X86_DS].attr & SEG_P);
        assert_int_equal(v->seg[X86_ES].sel, DATA(3));
        assert_int_equal(v->seg[X86_FS].sel, CONFORMING);
        assert_int_equal(v->seg[X86_GS].sel, 0);
    }
}

static void call_gate_of_16_bits(void **state)
{
    struct x86_vcpu *v = vcpu_of(state);
    set_gate(v, GDT + SLOT, CODE(0), 0xffff4321, X86_CALL_GATE16, 3, 1);
    start(v, 3);
    PUSH_WORDS(v, 0x22221111);
    assert_int_equal(RUN(v, CALL_FAR(SLOT, 0)), STEP_OK);
    assert_int_equal(v->eip, 0x4321);
    assert_int_equal(x86_r32(v, X86_ESP), STACK_TOP(0) - 10);
    EXPECT_STACK(v, 2, (CODE_AT + 7) & 0xffff, CODE(3), 0x1111, (STACK_TOP(3) - 4) & 0xffff,
                 DATA(3));
}

static void gates_without_a_stack_switch(void **state)
{
    struct x86_vcpu *v = vcpu_of(state);
    set_gate(v, GDT + SLOT, CONFORMING, 0x4000, X86_CALL_GATE32, 3, 5);
    start(v, 3);
    assert_int_equal(RUN(v, CALL_FAR(SLOT, 0)), STEP_OK);
    assert_int_equal(v->cpl, 3);
    assert_int_equal(v->seg[X86_CS].sel, CONFORMING | 3);
    assert_int_equal(x86_r32(v, X86_ESP), STACK_TOP(3) - 8); /* no parameters copied */
    set_gate(v, GDT + SLOT, CODE(3), 0x4000, X86_CALL_GATE32, 3, 0);
    start(v, 3);
    assert_int_equal(RUN(v, JMP_FAR(SLOT, 0)), STEP_OK);
    assert_int_equal(v->eip, 0x4000);
    assert_int_equal(x86_r32(v, X86_ESP), STACK_TOP(3));
}

static void gate_faults(void **state)
{
    struct x86_vcpu *v = vcpu_of(state);
    const struct {
        uint16_t target;
        uint8_t dpl, rpl, cpl;
        bool jump, absent;
        int vector;
        uint32_t error;
    } cases[] = {
        {CODE(0), 3, 3, 3, true, false, X86_GP, CODE(0)}, /* jmp cannot go inward */
        {CODE(0), 2, 0, 3, false, false, X86_GP, SLOT},   /* gate DPL < CPL */
        {CODE(0), 2, 3, 0, false, false, X86_GP, SLOT},   /* gate DPL < RPL */
        {CODE(0), 3, 0, 3, false, true, X86_NP, SLOT},
        {CODE(3), 3, 0, 0, false, false, X86_GP, CODE(3) & ~3u}, /* outward */
        {DATA(0), 3, 0, 0, false, false, X86_GP, DATA(0)},
        {0, 3, 0, 0, false, false, X86_GP, 0},
        {SLOT2, 3, 0, 0, false, false, X86_NP, SLOT2},
    };
    set_desc(v, SLOT2, 0, 0xfffff, (ATTR_FLAT & ~SEG_P) | SEG_CODE);
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        set_gate(v, GDT + SLOT, cases[i].target, 0x4000, X86_CALL_GATE32, cases[i].dpl, 0);
        if (cases[i].absent)
            poke(v, GDT + SLOT + 5, 0x6c, 1);
        start(v, cases[i].cpl);
        uint16_t sel = SLOT | cases[i].rpl;
        assert_int_equal(cases[i].jump ? RUN(v, JMP_FAR(sel, 0)) : RUN(v, CALL_FAR(sel, 0)),
                         cases[i].vector);
        assert_int_equal(v->fault.error, cases[i].error);
        assert_int_equal(v->cpl, cases[i].cpl);
        assert_int_equal(x86_r32(v, X86_ESP), STACK_TOP(cases[i].cpl));
    }
    set_desc(v, SLOT2, 0, 0xfff, SEG_DB | SEG_P | SEG_S | SEG_CODE);
    set_gate(v, GDT + SLOT, SLOT2, 0x1000, X86_CALL_GATE32, 3, 0); /* beyond the limit */
    start(v, 3);
    assert_int_equal(RUN(v, CALL_FAR(SLOT, 0)), X86_GP);
    assert_int_equal(v->fault.error, 0);
    assert_int_equal(v->cpl, 3);
    set_gate(v, GDT + SLOT, CODE(0), 0x4000, X86_CALL_GATE32, 3, 0);
    poke(v, TSS_A + 8, DATA(1), 2); /* a stack of the wrong ring */
    start(v, 3);
    assert_int_equal(RUN(v, CALL_FAR(SLOT, 0)), X86_TS);
    assert_int_equal(v->fault.error, DATA(1) & ~3u);
}

/* ---- returns ---------------------------------------------------------------------------- */

static void return_privileges(void **state)
{
    struct x86_vcpu *v = vcpu_of(state);
    for (unsigned n = 0; n < 4 * 4 * 4 * 2; n++) {
        unsigned dpl = n & 3, cpl = n >> 2 & 3, rpl = n >> 4 & 3;
        bool conforming = n >> 6 & 1;
        set_desc(v, SLOT, 0, 0xfffff,
                 ATTR_FLAT | ATTR_DPL(dpl) | SEG_CODE | (conforming ? SEG_CONFORMING : 0));
        start(v, cpl);
        bool ok = rpl >= cpl && (conforming ? dpl <= rpl : dpl == rpl);
        PUSH_WORDS(v, 0x4000, SLOT | rpl, 0x29000, DATA(rpl));
        assert_int_equal(RUN(v, 0xcb), ok ? STEP_OK : X86_GP);
        assert_int_equal(v->cpl, ok ? rpl : cpl);
        if (!ok) {
            assert_int_equal(v->fault.error, SLOT);
            assert_int_equal(x86_r32(v, X86_ESP), STACK_TOP(cpl) - 16);
            continue;
        }
        assert_int_equal(v->seg[X86_CS].sel, SLOT | rpl);
        assert_int_equal(v->seg[X86_SS].sel, DATA(rpl));
        assert_int_equal(x86_r32(v, X86_ESP), rpl == cpl ? STACK_TOP(cpl) - 8 : 0x29000);
    }
}

static void return_faults(void **state)
{
    struct x86_vcpu *v = vcpu_of(state);
    set_desc(v, SLOT, 0, 0xfffff, (ATTR_FLAT & ~SEG_P) | SEG_WRITABLE | ATTR_DPL(3));
    set_desc(v, SLOT2, 0, 0xfff, SEG_DB | SEG_P | SEG_S | SEG_CODE | ATTR_DPL(3));
    const struct {
        uint16_t cs, ss;
        int vector;
        uint32_t error;
    } cases[] = {
        {0, DATA(3), X86_GP, 0},
        {3, DATA(3), X86_GP, 0},
        {DATA(3), DATA(3), X86_GP, DATA(3) & ~3u},
        {CODE(3), 0, X86_GP, 0},
        {CODE(3), DATA(3) & ~3, X86_GP, DATA(3) & ~3u},
        {CODE(3), DATA(2), X86_GP, DATA(2) & ~3u},
        {CODE(3), CODE(3), X86_GP, CODE(3) & ~3u},
        {CODE(3), SLOT | 3, X86_SSF, SLOT},
        {SLOT2 | 3, DATA(3), X86_GP, 0}, /* eip beyond the limit */
    };
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++)
        for (unsigned iret = 0; iret < 2; iret++) {
            start(v, 0);
            if (iret)
                PUSH_WORDS(v, 0x4000, cases[i].cs, FLAGS, 0x29000, cases[i].ss);
            else
                PUSH_WORDS(v, 0x4000, cases[i].cs, 0x29000, cases[i].ss);
            assert_int_equal(RUN(v, iret ? 0xcf : 0xcb), cases[i].vector);
            assert_int_equal(v->fault.error, cases[i].error);
            assert_int_equal(v->cpl, 0);
            assert_int_equal(v->seg[X86_SS].sel, DATA(0));
            assert_int_equal(x86_r32(v, X86_ESP), STACK_TOP(0) - (iret ? 20 : 16));
        }
}

static void return_to_a_16_bit_stack(void **state)
{
    struct x86_vcpu *v = vcpu_of(state);
    set_desc(v, SLOT, 0x20000, 0xffff, SEG_P | SEG_S | SEG_WRITABLE | ATTR_DPL(3));
    start(v, 0);
    PUSH_WORDS(v, 0x4000, CODE(3), FLAGS, 0x77771234, SLOT | 3);
    assert_int_equal(RUN(v, 0xcf), STEP_OK);
    assert_int_equal(x86_r32(v, X86_ESP), ((STACK_TOP(0) - 20) & 0xffff0000) | 0x1234);
    assert_int_equal(v->sp_mask, 0xffff);
}

#define ALL_FLAGS                                                                                  \
    (FL_ARITH | FL_TF | FL_IF | FL_DF | FL_IOPL | FL_NT | FL_RF | FL_AC | FL_ID | FL_VIF | FL_VIP)

/* EFLAGS is kept in parts; every combination of the two single flags comes back whole. */
static void flags_are_kept_in_parts(void **state)
{
    struct x86_vcpu *v = vcpu_of(state);
    for (unsigned i = 0; i < 4; i++) {
        uint32_t single = (i & 1 ? FL_IF : 0) | (i & 2 ? FL_DF : 0);
        uint32_t rest = FL_FIXED | FL_IOPL | FL_NT | FL_ID;
        x86_set_eflags(v, rest | FL_CF | FL_OF | single);
        assert_int_equal(v->eflags, rest);
        assert_int_equal(v->if_flag, single & FL_IF);
        assert_int_equal(v->df_flag, single & FL_DF);
        assert_int_equal(v->attn_mask, i & 1 ? X86_ATTN_MASK_OPEN : X86_ATTN_MASK_CLOSED);
        assert_int_equal(x86_get_eflags(v), rest | FL_CF | FL_OF | single);
    }
    assert_int_equal(X86_ATTN_MASK_OPEN & ~X86_ATTN_MASK_CLOSED, ATTN_INTERRUPT);
}

static void iret_flags(void **state)
{
    struct x86_vcpu *v = vcpu_of(state);
    const uint32_t always = FL_ARITH | FL_TF | FL_DF | FL_NT | FL_FIXED;
    const uint32_t wide = FL_RF | FL_AC | FL_ID;
    for (unsigned cpl = 0; cpl < 4; cpl++)
        for (unsigned iopl = 0; iopl < 4; iopl++) {
            uint32_t want = always | wide | (cpl <= iopl ? FL_IF : 0) | iopl << 12;
            if (cpl == 0)
                want |= FL_IOPL | FL_VIF | FL_VIP;
            set_ring(v, cpl);
            x86_set_eflags(v, FL_FIXED | iopl << 12);
            PUSH_WORDS(v, 0x4000, CODE(cpl), ALL_FLAGS | (cpl ? FL_VM : 0));
            assert_int_equal(RUN(v, 0xcf), STEP_OK);
            assert_int_equal(x86_get_eflags(v), want);
            assert_int_equal(v->cpl, cpl);
            set_ring(v, cpl);
            x86_set_eflags(v, FL_FIXED | FL_AC | iopl << 12); /* 16 bits leave the rest */
            PUSH_WORDS(v, 0x4000 | (uint32_t)CODE(cpl) << 16, 0xffff);
            assert_int_equal(RUN(v, 0x66, 0xcf), STEP_OK);
            assert_int_equal(x86_get_eflags(v), (want & 0xffff) | FL_AC);
            x86_set_eflags(v, FL_FIXED);
        }
}

static void iret_to_v8086(void **state)
{
    struct x86_vcpu *v = vcpu_of(state);
    start(v, 0);
    PUSH_WORDS(v, 0x1234, 0xabcd, FL_VM | FL_IF | FL_IOPL | FL_VIP, 0x5555fffe, 0x2000, 0x3000,
               0x4000, 0x5000, 0x6000);
    assert_int_equal(RUN(v, 0xcf), STEP_OK);
    assert_int_equal(v->cpl, 3);
    assert_true(x86_v8086(v));
    assert_int_equal(x86_get_eflags(v), FL_FIXED | FL_VM | FL_IF | FL_IOPL | FL_VIP);
    assert_int_equal(v->eip, 0x1234);
    assert_int_equal(x86_r32(v, X86_ESP), 0x5555fffe);
    static const uint16_t sels[] = {0x3000, 0xabcd, 0x2000, 0x4000, 0x5000, 0x6000};
    for (unsigned s = X86_ES; s <= X86_GS; s++) {
        assert_int_equal(v->seg[s].sel, sels[s]);
        assert_int_equal(v->seg[s].base, sels[s] << 4);
        assert_int_equal(v->seg[s].limit, 0xffff);
    }
    start(v, 0);
    PUSH_WORDS(v, 0x10000, 0, FL_VM, 0, 0, 0, 0, 0, 0);
    assert_int_equal(RUN(v, 0xcf), X86_GP);
    assert_false(x86_v8086(v));
}

static void iret_in_v8086(void **state)
{
    struct x86_vcpu *v = vcpu_of(state);
    set_v86(v, 2);
    assert_int_equal(RUN(v, 0xcf), X86_GP);
    set_v86(v, 3);
    uint32_t at = (uint32_t)v->seg[X86_SS].base + 0x800;
    poke(v, at, 0x20 | 0x3000 << 16, 4);
    poke(v, at + 4, FL_ZF, 2); /* would clear IOPL */
    assert_int_equal(RUN(v, 0xcf), STEP_OK);
    assert_int_equal(v->eip, 0x20);
    assert_int_equal(v->seg[X86_CS].base, 0x30000);
    assert_int_equal(x86_get_eflags(v), FL_FIXED | FL_VM | FL_IOPL | FL_ZF);
    assert_int_equal(x86_sp(v), 0x806);
}

/* ---- SYSENTER --------------------------------------------------------------------------- */

static void sysenter_and_sysexit(void **state)
{
    struct x86_vcpu *v = vcpu_of(state);
    set_ring(v, 3);
    x86_set_eflags(v, FL_FIXED | FL_IF | FL_CF);
    assert_int_equal(RUN(v, 0x0f, 0x34), X86_GP); /* MSR is 0 */
    v->sysenter_cs = 0x40;
    v->sysenter_eip = 0x12340000;
    v->sysenter_esp = 0x56780000;
    assert_int_equal(RUN(v, 0x0f, 0x34), STEP_OK);
    assert_int_equal(v->cpl, 0);
    assert_int_equal(v->seg[X86_CS].sel, 0x40);
    assert_int_equal(v->seg[X86_SS].sel, 0x48);
    assert_int_equal(v->seg[X86_SS].limit, 0xffffffff);
    assert_int_equal(v->eip, 0x12340000);
    assert_int_equal(x86_r32(v, X86_ESP), 0x56780000);
    assert_int_equal(x86_get_eflags(v), FL_FIXED | FL_CF);
    x86_w32(v, X86_EDX, 0x1111);
    x86_w32(v, X86_ECX, 0x2222);
    assert_int_equal(RUN(v, 0x0f, 0x35), STEP_OK);
    assert_int_equal(v->cpl, 3);
    assert_int_equal(v->seg[X86_CS].sel, 0x53);
    assert_int_equal(v->seg[X86_SS].sel, 0x5b);
    assert_int_equal(x86_dpl(&v->seg[X86_CS]), 3);
    assert_int_equal(v->eip, 0x1111);
    assert_int_equal(x86_r32(v, X86_ESP), 0x2222);
    assert_int_equal(RUN(v, 0x0f, 0x35), X86_GP);
    set_real(v);
    assert_int_equal(RUN(v, 0x0f, 0x34), X86_GP);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, machine_make, machine_free)
    const struct CMUnitTest tests[] = {
        TEST(jump_privileges),
        TEST(bad_targets),
        TEST(calls_and_operand_sizes),
        TEST(real_mode_and_v8086),
        TEST(call_gate_with_parameters),
        TEST(call_gate_of_16_bits),
        TEST(gates_without_a_stack_switch),
        TEST(gate_faults),
        TEST(return_privileges),
        TEST(return_faults),
        TEST(return_to_a_16_bit_stack),
        TEST(flags_are_kept_in_parts),
        TEST(iret_flags),
        TEST(iret_to_v8086),
        TEST(iret_in_v8086),
        TEST(sysenter_and_sysexit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
