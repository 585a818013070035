/* SPDX-License-Identifier: MIT */
/* Segment loads, descriptor questions, table registers, I/O permission: the truth tables of the
 * manual, spelled out independently of the code under test. */
#include "x86_machine.h"

/* By type 0 to 15 of code and data descriptors. */
static const char readable[] = "1111111100110011";
static const char writable[] = "0011001100000000";
/* By type of system descriptors: which LAR and LSL accept. */
static const char lar_ok[] = "0111110001011000";
static const char lsl_ok[] = "0111000001010000";

static bool at(const char *row, unsigned type)
{
    return row[type] == '1';
}

/* Every attribute byte, CPL and RPL. */
struct combination {
    unsigned type, dpl, cpl, rpl;
    bool s, present;
};

static struct combination nth(unsigned n)
{
    return (struct combination){
        .type = n & 15,
        .s = n >> 4 & 1,
        .dpl = n >> 5 & 3,
        .present = n >> 7 & 1,
        .cpl = n >> 8 & 3,
        .rpl = n >> 10 & 3,
    };
}
#define COMBINATIONS (1u << 12)

static uint16_t place(struct x86_vcpu *v, const struct combination *c)
{
    set_desc(v, SLOT, 0x123000, 0x0ffff,
             c->type | (c->s ? SEG_S : 0) | ATTR_DPL(c->dpl) | (c->present ? SEG_P : 0) | SEG_DB);
    return (uint16_t)(SLOT | c->rpl);
}

static bool visible(const struct combination *c)
{
    bool conforming = c->s && c->type >= 12;
    return conforming || (c->cpl <= c->dpl && c->rpl <= c->dpl);
}

static void data_segment_loads(void **state)
{
    struct x86_vcpu *v = vcpu_of(state);
    for (unsigned n = 0; n < COMBINATIONS; n++) {
        struct combination c = nth(n);
        uint16_t sel = place(v, &c);
        set_ring(v, c.cpl);
        int want = !c.s || !at(readable, c.type) || !visible(&c) ? X86_GP
                   : !c.present                                  ? X86_NP
                                                                 : STEP_OK;
        assert_int_equal(load_seg(v, X86_ES, sel), want);
        if (want == STEP_OK) {
            assert_int_equal(v->seg[X86_ES].sel, sel);
            assert_int_equal(v->seg[X86_ES].base, 0x123000);
            assert_int_equal(v->seg[X86_ES].limit, 0xffff);
            assert_true(peek(v, GDT + SLOT + 5, 1) & SEG_ACCESSED);
        } else {
            assert_int_equal(v->fault.error, SLOT);
            assert_true(v->fault.has_error);
            assert_int_equal(v->seg[X86_ES].sel, DATA(c.cpl));
            assert_int_equal(peek(v, GDT + SLOT + 5, 1) & SEG_TYPE, c.type);
        }
    }
}

static void stack_segment_loads(void **state)
{
    struct x86_vcpu *v = vcpu_of(state);
    for (unsigned n = 0; n < COMBINATIONS; n++) {
        struct combination c = nth(n);
        uint16_t sel = place(v, &c);
        set_ring(v, c.cpl);
        bool ok = c.s && at(writable, c.type) && c.dpl == c.cpl && c.rpl == c.cpl;
        int want = !ok ? X86_GP : !c.present ? X86_SSF : STEP_OK;
        assert_int_equal(load_seg(v, X86_SS, sel), want);
        assert_int_equal(v->seg[X86_SS].sel, want == STEP_OK ? sel : DATA(c.cpl));
        if (want != STEP_OK)
            assert_int_equal(v->fault.error, SLOT);
    }
}

static void null_and_out_of_table(void **state)
{
    struct x86_vcpu *v = vcpu_of(state);
    for (unsigned sel = 0; sel < 4; sel++) {
        assert_int_equal(load_seg(v, X86_DS, (uint16_t)sel), STEP_OK);
        assert_int_equal(v->seg[X86_DS].sel, sel);
        assert_false(v->seg[X86_DS].attr & SEG_P);
        assert_int_equal(load_seg(v, X86_SS, (uint16_t)sel), X86_GP);
        assert_int_equal(v->fault.error, 0);
    }
    assert_int_equal(RUN(v, 0x8a, 0x05, 0, 0, 1, 0), X86_GP); /* mov al, [10000] through null */

    assert_int_equal(load_seg(v, X86_ES, GDT_BYTES), X86_GP);
    assert_int_equal(v->fault.error, GDT_BYTES);
    v->gdtr.limit = (SLOT | 7) - 1; /* one byte of the descriptor is missing */
    assert_int_equal(load_seg(v, X86_ES, SLOT), X86_GP);

    set_desc_at(v, LDT + 0xf8, 0x5000, 0xfff, SEG_P | SEG_S | SEG_WRITABLE);
    assert_int_equal(load_seg(v, X86_ES, 0xf8 | 4), STEP_OK);
    assert_int_equal(v->seg[X86_ES].base, 0x5000);
    assert_int_equal(load_seg(v, X86_ES, 0x100 | 4), X86_GP);
    assert_int_equal(v->fault.error, 0x104);
    assert_int_equal(RUN(v, 0x31, 0xc0, /* xor eax, eax */), STEP_OK);
    assert_int_equal(RUN(v, 0x0f, 0x00, 0xd0 /* lldt ax */), STEP_OK);
    assert_int_equal(load_seg(v, X86_ES, 0xf8 | 4), X86_GP); /* no LDT any more */
}

static void expand_down_limits(void **state)
{
    struct x86_vcpu *v = vcpu_of(state);
    set_desc(v, SLOT, 0, 0xfff, SEG_P | SEG_S | SEG_WRITABLE | SEG_EXPAND_DOWN);
    set_desc(v, SLOT2, 0, 0xf, SEG_G | SEG_DB | SEG_P | SEG_S | SEG_WRITABLE | SEG_EXPAND_DOWN);
    assert_int_equal(load_seg(v, X86_DS, SLOT), STEP_OK);
    assert_int_equal(RUN(v, 0xa0, 0xff, 0x0f, 0, 0), X86_GP);
    assert_int_equal(RUN(v, 0xa0, 0x00, 0x10, 0, 0), STEP_OK);
    assert_int_equal(RUN(v, 0xa0, 0xff, 0xff, 0, 0), STEP_OK);
    assert_int_equal(RUN(v, 0xa0, 0x00, 0x00, 1, 0), X86_GP); /* 64 KiB end without B */
    assert_int_equal(load_seg(v, X86_DS, SLOT2), STEP_OK);
    assert_int_equal(v->seg[X86_DS].limit, 0xffff);
    assert_int_equal(RUN(v, 0xa0, 0xff, 0xff, 0, 0), X86_GP);
    assert_int_equal(RUN(v, 0xa0, 0x00, 0x00, 1, 0), STEP_OK);
}

static void check_question(struct x86_vcpu *v, const uint8_t *insn, uint16_t sel, bool ok,
                           uint32_t result)
{
    x86_w32(v, X86_EAX, 0x5a5a5a5a);
    x86_w32(v, X86_EBX, sel);
    v->cc = ok ? 0 : CC_ZF;
    assert_int_equal(run(v, insn, 3), STEP_OK);
    assert_int_equal(v->cc, ok ? CC_ZF : 0);
    assert_int_equal(x86_r32(v, X86_EAX), ok ? result : 0x5a5a5a5a);
}

static void lar_lsl_verr_verw(void **state)
{
    static const uint8_t lar[] = {0x0f, 0x02, 0xc3}, lsl[] = {0x0f, 0x03, 0xc3};
    static const uint8_t verr[] = {0x0f, 0x00, 0xe3}, verw[] = {0x0f, 0x00, 0xeb};
    struct x86_vcpu *v = vcpu_of(state);
    for (unsigned n = 0; n < COMBINATIONS; n++) {
        struct combination c = nth(n);
        uint16_t sel = place(v, &c);
        set_ring(v, c.cpl);
        bool see = visible(&c);
        uint32_t rights = c.type << 8 | c.s << 12 | c.dpl << 13 | c.present << 15 | 0x400000u;
        check_question(v, lar, sel, see && (c.s || at(lar_ok, c.type)), rights);
        check_question(v, lsl, sel, see && (c.s || at(lsl_ok, c.type)), 0xffff);
        check_question(v, verr, sel, see && c.s && at(readable, c.type), 0x5a5a5a5a);
        check_question(v, verw, sel, see && c.s && at(writable, c.type), 0x5a5a5a5a);
    }
    set_ring(v, 0);
    check_question(v, lar, 3, false, 0);
    check_question(v, lsl, GDT_BYTES, false, 0);
    check_question(v, lsl, DATA(0), true, 0xffffffff);
    x86_w32(v, X86_EBX, DATA(0)); /* 16-bit result: the upper half stays */
    assert_int_equal(RUN(v, 0x66, 0x0f, 0x02, 0xc3), STEP_OK);
    assert_int_equal(x86_r32(v, X86_EAX), 0xffff9300);
}

static void arpl(void **state)
{
    struct x86_vcpu *v = vcpu_of(state);
    for (unsigned d = 0; d < 4; d++)
        for (unsigned s = 0; s < 4; s++) {
            x86_w32(v, X86_EAX, 0xabcd0100 | d);
            x86_w32(v, X86_ECX, 0x40 | s);
            v->cc = d < s ? 0 : CC_ZF | CC_CF;
            assert_int_equal(RUN(v, 0x63, 0xc8), STEP_OK);
            assert_int_equal(x86_r32(v, X86_EAX), 0xabcd0100 | (d < s ? s : d));
            assert_int_equal(v->cc, d < s ? CC_ZF : CC_CF);
        }
    poke(v, 0x7000, 0x10, 2);
    x86_w32(v, X86_EBX, 0x7000);
    x86_w32(v, X86_ECX, 3);
    assert_int_equal(RUN(v, 0x63, 0x0b), STEP_OK);
    assert_int_equal(peek(v, 0x7000, 2), 0x13);
    set_v86(v, 3);
    assert_int_equal(RUN(v, 0x63, 0xc8), X86_UD);
}

static void moves_of_segment_registers(void **state)
{
    struct x86_vcpu *v = vcpu_of(state);
    x86_w32(v, X86_EAX, 0xffffffff);
    assert_int_equal(RUN(v, 0x66, 0x8c, 0xd8), STEP_OK); /* mov ax, ds */
    assert_int_equal(x86_r32(v, X86_EAX), 0xffff0000 | DATA(0));
    assert_int_equal(RUN(v, 0x8c, 0xd8), STEP_OK); /* mov eax, ds */
    assert_int_equal(x86_r32(v, X86_EAX), DATA(0));
    poke(v, 0x7000, 0xffffffff, 4);
    x86_w32(v, X86_EBX, 0x7000);
    assert_int_equal(RUN(v, 0x8c, 0x0b), STEP_OK); /* mov [ebx], cs */
    assert_int_equal(peek(v, 0x7000, 4), 0xffff0000 | CODE(0));
    assert_int_equal(RUN(v, 0x8e, 0xc8), X86_UD); /* mov cs, ax */
    assert_int_equal(RUN(v, 0x8e, 0xf0), X86_UD);

    v->retired = 70;
    v->shadow_until = 0;
    x86_w32(v, X86_EAX, DATA(0));
    assert_int_equal(RUN(v, 0x8e, 0xd8), STEP_OK); /* mov ds, ax: no shadow */
    assert_int_equal(v->shadow_until, 0);
    assert_int_equal(RUN(v, 0x8e, 0xd0), STEP_OK); /* mov ss, ax */
    assert_int_equal(v->shadow_until, 71);

    poke(v, 0x7000, 0x11223344, 4);
    poke(v, 0x7004, DATA(3), 2);
    assert_int_equal(RUN(v, 0x0f, 0xb4, 0x0b), STEP_OK); /* lfs ecx, [ebx] */
    assert_int_equal(x86_r32(v, X86_ECX), 0x11223344);
    assert_int_equal(v->seg[X86_FS].sel, DATA(3));
    poke(v, 0x7002, CODE(3) | 0x100, 2);
    assert_int_equal(RUN(v, 0x66, 0xc4, 0x0b), X86_GP); /* les cx, [ebx]: beyond the GDT */
    assert_int_equal(x86_r32(v, X86_ECX), 0x11223344);
    assert_int_equal(v->seg[X86_ES].sel, DATA(0));
}

static void push_and_pop(void **state)
{
    struct x86_vcpu *v = vcpu_of(state);
    poke(v, STACK_TOP(0) - 4, 0xffffffff, 4);
    assert_int_equal(RUN(v, 0x0e), STEP_OK); /* push cs */
    assert_int_equal(x86_r32(v, X86_ESP), STACK_TOP(0) - 4);
    assert_int_equal(peek(v, STACK_TOP(0) - 4, 4), 0xffff0000 | CODE(0)); /* 2 bytes only */
    assert_int_equal(RUN(v, 0x66, 0x0f, 0xa0), STEP_OK);                  /* 16-bit push fs */
    assert_int_equal(x86_r32(v, X86_ESP), STACK_TOP(0) - 6);

    set_desc(v, SLOT, 0x20000, 0xffff, SEG_P | SEG_S | SEG_WRITABLE);
    x86_w32(v, X86_ESP, STACK_TOP(0) - 4);
    poke(v, STACK_TOP(0) - 4, 0xffff0000 | SLOT, 4);
    v->retired = 5;
    assert_int_equal(RUN(v, 0x17), STEP_OK); /* pop ss; esp grows in the old, 32-bit, size */
    assert_int_equal(x86_r32(v, X86_ESP), STACK_TOP(0));
    assert_int_equal(v->sp_mask, 0xffff);
    assert_int_equal(v->shadow_until, 6);

    poke(v, 0x20000, 0x1234, 2); /* the 16-bit stack wraps; a bad selector leaves sp alone */
    assert_int_equal(RUN(v, 0x1f), X86_GP);
    assert_int_equal(x86_r32(v, X86_ESP), STACK_TOP(0));
    poke(v, 0x20000, DATA(0), 2);
    assert_int_equal(RUN(v, 0x66, 0x0f, 0xa9), STEP_OK); /* pop gs */
    assert_int_equal(v->seg[X86_GS].sel, DATA(0));
    assert_int_equal(x86_r32(v, X86_ESP), STACK_TOP(0) + 2);
}

static void real_mode_keeps_limits(void **state)
{
    struct x86_vcpu *v = vcpu_of(state);
    v->cr0 &= ~CR0_PE; /* DS is flat from before */
    x86_update_mode(v);
    assert_int_equal(load_seg(v, X86_DS, 0x1234), STEP_OK);
    assert_int_equal(v->seg[X86_DS].base, 0x12340);
    assert_int_equal(v->seg[X86_DS].limit, 0xffffffff);
    v->cr0 |= CR0_PE;
    set_ring(v, 3);
    set_v86(v, 0);
    assert_int_equal(load_seg(v, X86_DS, 0xffff), STEP_OK);
    assert_int_equal(v->seg[X86_DS].base, 0xffff0);
    assert_int_equal(v->seg[X86_DS].limit, 0xffff);
    assert_int_equal(x86_dpl(&v->seg[X86_DS]), 3);
}

static void table_registers(void **state)
{
    struct x86_vcpu *v = vcpu_of(state);
    x86_w32(v, X86_EBX, 0x7000);
    poke(v, 0x7000, 0xfffe, 2);
    poke(v, 0x7002, 0x89abcdef, 4);
    assert_int_equal(RUN(v, 0x0f, 0x01, 0x1b), STEP_OK); /* lidt */
    assert_int_equal(v->idtr.base, 0x89abcdef);
    assert_int_equal(v->idtr.limit, 0xfffe);
    assert_int_equal(RUN(v, 0x66, 0x0f, 0x01, 0x1b), STEP_OK);
    assert_int_equal(v->idtr.base, 0xabcdef);
    assert_int_equal(RUN(v, 0x0f, 0x01, 0x03), STEP_OK); /* sgdt */
    assert_int_equal(peek(v, 0x7000, 2), GDT_BYTES - 1);
    assert_int_equal(peek(v, 0x7002, 4), GDT);
    set_ring(v, 3);
    x86_w32(v, X86_EBX, 0x7000);
    assert_int_equal(RUN(v, 0x0f, 0x01, 0x13), X86_GP);  /* lgdt */
    assert_int_equal(RUN(v, 0x0f, 0x01, 0x0b), STEP_OK); /* sidt is for everyone */
    assert_int_equal(RUN(v, 0x0f, 0x00, 0xd0), X86_GP);  /* lldt */
    assert_int_equal(RUN(v, 0x0f, 0x00, 0xd8), X86_GP);  /* ltr */
}

static void lldt_and_ltr(void **state)
{
    struct x86_vcpu *v = vcpu_of(state);
    const struct {
        uint8_t modrm; /* of 0F 00, operand ax */
        uint16_t sel;
        int want;
    } cases[] = {
        {0xd8, SEL_TSS_B, STEP_OK}, {0xd8, SEL_TSS_B, X86_GP}, /* busy the second time */
        {0xd8, SEL_TSS_C, STEP_OK}, {0xd8, 0, X86_GP},         {0xd8, SEL_LDT, X86_GP},
        {0xd8, CODE(0), X86_GP},    {0xd8, 4, X86_GP},         {0xd8, SLOT, X86_NP},
        {0xd0, SEL_LDT, STEP_OK},   {0xd0, 0, STEP_OK},        {0xd0, SEL_TSS_B, X86_GP},
        {0xd0, 8 | 4, X86_GP},      {0xd0, SLOT2, X86_NP},     {0xd0, DATA(0), X86_GP},
    };
    set_desc(v, SLOT, TSS_B, 0x67, X86_TSS32);
    set_desc(v, SLOT2, LDT, 0xff, X86_LDT);
    set_desc_at(v, LDT + 8, LDT, 0xff, SEG_P | X86_LDT);
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        x86_w32(v, X86_EAX, cases[i].sel);
        assert_int_equal(RUN(v, 0x0f, 0x00, cases[i].modrm), cases[i].want);
        if (cases[i].want != STEP_OK)
            assert_int_equal(v->fault.error, cases[i].sel & ~3u);
    }
    assert_int_equal(v->seg[X86_TR].sel, SEL_TSS_C);
    assert_int_equal(peek(v, GDT + SEL_TSS_C + 5, 1), SEG_P | X86_TSS16_BUSY);
    assert_false(v->seg[X86_LDTR].attr & SEG_P);
    x86_w32(v, X86_EAX, 0xffffffff);
    assert_int_equal(RUN(v, 0x0f, 0x00, 0xc8), STEP_OK); /* str eax */
    assert_int_equal(x86_r32(v, X86_EAX), SEL_TSS_C);
    set_v86(v, 3);
    assert_int_equal(RUN(v, 0x0f, 0x00, 0xc8), X86_UD);
}

static int check_io(struct x86_vcpu *v, uint16_t port, unsigned size)
{
    int unwind = setjmp(v->unwind);
    if (unwind == X86_UNWIND_NONE)
        x86_check_io(v, port, size);
    return stepped(v, unwind);
}

static void io_permission(void **state)
{
    struct x86_vcpu *v = vcpu_of(state);
    poke(v, TSS_A + 0x66, 0x80, 2);
    poke(v, TSS_A + 0x80, 0, 4);
    poke(v, TSS_A + 0x80 + 2, 0x81, 1);              /* ports 10 and 17 are closed */
    assert_int_equal(check_io(v, 0x10, 4), STEP_OK); /* CPL 0 <= IOPL */
    set_ring(v, 3);
    assert_int_equal(check_io(v, 0x0f, 1), STEP_OK);
    assert_int_equal(check_io(v, 0x0f, 2), X86_GP);
    assert_int_equal(check_io(v, 0x10, 1), X86_GP);
    assert_int_equal(check_io(v, 0x11, 4), STEP_OK);
    assert_int_equal(check_io(v, 0x14, 4), X86_GP);
    assert_int_equal(check_io(v, 0x0d, 4), X86_GP);
    poke(v, TSS_A + 0xfe, 0, 2); /* the limit is ff */
    assert_int_equal(check_io(v, (0xfe - 0x80) * 8, 1), STEP_OK);
    assert_int_equal(check_io(v, (0xff - 0x80) * 8, 1), X86_GP);
    x86_set_eflags(v, FL_IOPL);
    assert_int_equal(check_io(v, 0x10, 1), STEP_OK);
    set_v86(v, 3); /* IOPL does not count in v8086 mode */
    assert_int_equal(check_io(v, 0x10, 1), X86_GP);
    assert_int_equal(check_io(v, 0x11, 1), STEP_OK);
    force_seg(v, X86_TR, SEL_TSS_C);
    assert_int_equal(check_io(v, 0x11, 1), X86_GP);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, machine_make, machine_free)
    const struct CMUnitTest tests[] = {
        TEST(data_segment_loads),
        TEST(stack_segment_loads),
        TEST(null_and_out_of_table),
        TEST(expand_down_limits),
        TEST(lar_lsl_verr_verw),
        TEST(arpl),
        TEST(moves_of_segment_registers),
        TEST(push_and_pop),
        TEST(real_mode_keeps_limits),
        TEST(table_registers),
        TEST(lldt_and_ltr),
        TEST(io_permission),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
