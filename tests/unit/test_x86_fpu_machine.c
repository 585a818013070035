/* SPDX-License-Identifier: MIT */
/* x87, MMX and SSE on the whole processor: real decoder, segments, paging and interpreter loop.
 * Results of single instructions are compared with the host elsewhere (test_x86_fpu.c). */
#include "x86_machine.h"

#include "isa/x86/fpu.h"
#include "ring3/vcpu.h"

#define DATA_AT 0x30000u
#define PD_AT   0x100000u
#define PT_AT   0x101000u

static struct x86_vcpu *fresh(void **state)
{
    struct x86_vcpu *v = vcpu_of(state);
    v->cr0 |= CR0_NE | CR0_MP;
    v->cr4 |= CR4_OSFXSR | CR4_OSXMMEXCPT;
    v->gpr[X86_ESI] = DATA_AT;
    x86_fpu_reset(v);
    return v;
}

/* Identity-map 4 MiB with 4 KiB pages. */
static void start_paging(struct x86_vcpu *v)
{
    poke(v, PD_AT, PT_AT | 7, 4);
    for (uint32_t i = 0; i < 1024; i++)
        poke(v, PT_AT + 4 * i, i << 12 | 7, 4);
    v->cr3 = PD_AT;
    v->cr0 |= CR0_PG | CR0_WP;
    x86_tlb_flush(v, false);
    x86_update_mode(v);
}

static void set_page(struct x86_vcpu *v, uint32_t at, unsigned flags)
{
    poke(v, PT_AT + (at >> 12) * 4, (at & ~0xfffu) | flags, 4);
    x86_tlb_flush(v, false);
}

static const uint8_t pi[10] = {0x35, 0xc2, 0x68, 0x21, 0xa2, 0xda, 0x0f, 0xc9, 0x00, 0x40};

/* fldpi; fstp m80; fld m80; fstp m80 at every position around a page boundary. */
static void extended_values_cross_pages(void **state)
{
    struct x86_vcpu *v = fresh(state);
    uint8_t got[12];
    start_paging(v);
    assert_int_equal(RUN(v, 0xdb, 0xe3), STEP_OK);
    for (uint32_t at = DATA_AT - 11; at <= DATA_AT; at++) {
        v->gpr[X86_ESI] = at;
        poke(v, at - 1, 0x77, 1);
        poke(v, at + 10, 0x77, 1);
        assert_int_equal(RUN(v, 0xd9, 0xeb), STEP_OK);
        assert_int_equal(RUN(v, 0xdb, 0x3e), STEP_OK);
        assert_int_equal(RUN(v, 0xdb, 0x2e), STEP_OK);
        assert_int_equal(RUN(v, 0xdb, 0x7e, 0x20), STEP_OK);
        assert_int_equal(phys_read(v->base.mem, at - 1, got, 12), 0);
        assert_int_equal(got[0], 0x77);
        assert_memory_equal(got + 1, pi, 10);
        assert_int_equal(got[11], 0x77);
        assert_int_equal(phys_read(v->base.mem, at + 0x20, got, 10), 0);
        assert_memory_equal(got, pi, 10);
    }
    x86_fpu_park(v);
    assert_int_equal(v->fx.ftw_abridged, 0);
}

/* The second page cannot be written: nothing is popped and nothing is written. */
static void a_store_faults_before_it_pops(void **state)
{
    struct x86_vcpu *v = fresh(state);
    start_paging(v);
    assert_int_equal(RUN(v, 0xdb, 0xe3), STEP_OK);
    assert_int_equal(RUN(v, 0xd9, 0xeb), STEP_OK);
    v->gpr[X86_ESI] = DATA_AT - 4;
    poke(v, DATA_AT - 4, 0x77777777, 4);
    set_page(v, DATA_AT, 5);
    assert_int_equal(RUN(v, 0xdb, 0x3e), X86_PF); /* fstp m80 */
    assert_int_equal(v->cr2, DATA_AT);
    assert_int_equal(v->fault.error & 3, 3);
    assert_int_equal(RUN(v, 0xdd, 0x36), X86_PF);       /* fnsave */
    assert_int_equal(RUN(v, 0x0f, 0x11, 0x06), X86_PF); /* movups */
    assert_int_equal(RUN(v, 0x0f, 0x7f, 0x06), X86_PF); /* movq [esi], mm0 */
    assert_int_equal(peek(v, DATA_AT - 4, 4), 0x77777777);
    v->gpr[X86_ESI] = DATA_AT - 16;
    assert_int_equal(RUN(v, 0x0f, 0xae, 0x06), X86_PF); /* fxsave */
    set_page(v, DATA_AT, 4);
    assert_int_equal(RUN(v, 0x0f, 0xae, 0x0e), X86_PF); /* fxrstor */
    assert_int_equal(RUN(v, 0xdd, 0x26), X86_PF);       /* frstor */
    x86_fpu_park(v);
    assert_int_equal(v->fx.ftw_abridged, 0x80);
    assert_int_equal(v->fx.fcw, 0x37f);
    assert_memory_equal(v->fx.st[0], pi, 10);
}

static void operands_obey_segments(void **state)
{
    struct x86_vcpu *v = fresh(state);
    set_desc(v, SLOT, DATA_AT, 0xf, SEG_P | SEG_S | SEG_WRITABLE); /* 16 bytes */
    assert_int_equal(load_seg(v, X86_FS, SLOT), STEP_OK);
    v->gpr[X86_ESI] = 6;
    assert_int_equal(RUN(v, 0xdb, 0xe3), STEP_OK);
    assert_int_equal(RUN(v, 0xd9, 0xeb), STEP_OK);
    assert_int_equal(RUN(v, 0x64, 0xdb, 0x3e), STEP_OK); /* fstp m80 fs:[esi] */
    assert_int_equal(v->fpu.fds, SLOT);
    assert_int_equal(v->fpu.fdp, 6);
    assert_int_equal(v->fpu.fop, 0x33e);
    assert_int_equal(peek(v, DATA_AT + 12, 4), 0x4000c90f);
    v->gpr[X86_ESI] = 7;
    assert_int_equal(RUN(v, 0x64, 0xdb, 0x2e), X86_GP);
    assert_int_equal(RUN(v, 0x64, 0x0f, 0x10, 0x06), X86_GP); /* movups */
    v->gpr[X86_EBP] = 0xfffffffd; /* a segment of 4 GiB: the stack one by ebp */
    force_seg(v, X86_SS, SLOT);
    assert_int_equal(RUN(v, 0xd9, 0x45, 0x00), X86_SSF);
    /* maskmovq at fs:[edi], all bytes: an override moves it */
    v->gpr[X86_EDI] = 8;
    assert_int_equal(RUN(v, 0x0f, 0x76, 0xc0), STEP_OK); /* pcmpeqd mm0, mm0 */
    assert_int_equal(RUN(v, 0x64, 0x0f, 0xf7, 0xc0), STEP_OK);
    assert_int_equal(peek(v, DATA_AT + 12, 4), 0xffffffff);
    v->gpr[X86_EDI] = 9;
    assert_int_equal(RUN(v, 0x64, 0x0f, 0xf7, 0xc0), X86_GP);
    x86_fpu_park(v);
}

/* The environment's size is the operand size, its pointers are the mode's. */
static void environment_of_real_mode_code(void **state)
{
    struct x86_vcpu *v = fresh(state);
    set_real(v);
    v->gpr[X86_ESI] = 0x40; /* ds is 1003h */
    assert_int_equal(RUN(v, 0xdb, 0xe3), STEP_OK);
    assert_int_equal(RUN(v, 0xd9, 0x44, 0x10), STEP_OK); /* fld m32 [si+16], at 1001:102 */
    assert_int_equal(RUN(v, 0xd9, 0x34), STEP_OK);       /* fnstenv [si] */
    assert_int_equal(peek(v, 0x10030 + 0x40, 4), 0x3800037f);
    assert_int_equal(peek(v, 0x10030 + 0x46, 4), 0x11440112); /* ip, then 1000h with the opcode */
    assert_int_equal(peek(v, 0x10030 + 0x4a, 4), 0x10000080);
    assert_int_equal(peek(v, 0x10030 + 0x4e, 4), 0);
    x86_fpu_park(v);
}

/* ---- in the interpreter's loop --------------------------------------------------------------- */

static void interpret(struct x86_vcpu *v, const uint8_t *code, unsigned n, unsigned insns)
{
    struct vm_exit x;
    for (unsigned i = 0; i < n; i++)
        poke(v, (uint32_t)v->eip + i, code[i], 1);
    x86_isa.interpret(&v->base, insns, &x);
    assert_int_equal(x.kind, EXIT_ATTENTION);
    assert_true(v->fpu.keep_live || !v->fpu.live);
}
#define INTERPRET(v, insns, ...)                                                                   \
    interpret(v, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}), insns)

/* One instruction per slice: everything goes through the parked image every time, or, if the
 * engine wants it so, stays in the host's registers until somebody parks. */
static void slices_do_not_show(void **state)
{
    static const uint8_t program[] = {
        0xdb, 0xe3,             /* fninit */
        0xd9, 0xe8,             /* fld1 */
        0xd9, 0xeb,             /* fldpi */
        0xd8, 0xc1,             /* fadd st, st1 */
        0xdd, 0x16,             /* fst m64 [esi] */
        0xf2, 0x0f, 0x10, 0x06, /* movsd xmm0, [esi] */
        0xf2, 0x0f, 0x58, 0xc0, /* addsd xmm0, xmm0 */
        0xf2, 0x0f, 0x11, 0x06, /* movsd [esi], xmm0 */
        0xdc, 0x26,             /* fsub m64 [esi] */
        0xdb, 0xf1,             /* fcomi st, st1 */
    };
    static const unsigned insns = 10;
    struct x86_vcpu *v = fresh(state);
    struct x86_fx whole;
    interpret(v, program, sizeof program, insns);
    whole = v->fx;
    uint16_t cc = v->cc;
    assert_int_equal(v->eip, CODE_AT + sizeof program);
    assert_int_equal(peek(v, DATA_AT + 4, 4), 0x402090fd);
    assert_int_equal(x86_cc_to_flags(cc), FL_CF); /* negative, so below 1 */
    v->eip = CODE_AT;
    for (unsigned i = 0; i < insns; i++)
        interpret(v, NULL, 0, 1);
    assert_memory_equal(&v->fx, &whole, sizeof whole);
    assert_int_equal(v->cc, cc);
    v->eip = CODE_AT;
    v->fpu.keep_live = true;
    for (unsigned i = 0; i < insns; i++) {
        interpret(v, NULL, 0, 1);
        assert_true(v->fpu.live);
    }
    memset(v->fx.st, 0xcc, sizeof v->fx.st); /* stale until parked */
    x86_fpu_park(v);
    assert_memory_equal(&v->fx, &whole, sizeof whole);
    assert_int_equal(v->cc, cc);
    x86_fpu_load(v);
    x86_isa.reset(&v->base);
    assert_true(v->fpu.keep_live); /* the engine's, not the processor's */
    assert_false(v->fpu.live);
    assert_int_equal(v->fx.fcw, 0x40);
}

#define ZERO_DIVIDE                                                                                \
    0xdb, 0xe3,     /* fninit */                                                                   \
        0xd9, 0x2e, /* fldcw [esi] */                                                              \
        0xd9, 0xe8, /* fld1 */                                                                     \
        0xd9, 0xee, /* fldz */                                                                     \
        0xde, 0xf9  /* fdivp */

static void pending_error_is_delivered(void **state)
{
    struct x86_vcpu *v = fresh(state);
    poke(v, DATA_AT, 0x37b, 2);
    INTERPRET(v, 6, ZERO_DIVIDE, 0x90, 0x9b);
    assert_int_equal(v->eip, CODE_AT + 11); /* a non-x87 instruction does not notice */
    poke(v, HANDLER(X86_MF), 0xf4, 1);
    interpret(v, NULL, 0, 1);
    assert_int_equal(v->eip, HANDLER(X86_MF));
    EXPECT_STACK(v, 4, CODE_AT + 11, CODE(0)); /* the waiting instruction */
}

static void count(void *opaque)
{
    ++*(int *)opaque;
}

/* CR0.NE clear: FERR#, and no further until a handler clears the error. */
static void frozen_until_an_interrupt_handler_clears_it(void **state)
{
    struct x86_vcpu *v = fresh(state);
    int raised = 0;
    v->cr0 &= ~CR0_NE;
    v->ferr.raise = count;
    v->ferr.opaque = &raised;
    poke(v, DATA_AT, 0x37b, 2);
    INTERPRET(v, 20, ZERO_DIVIDE, 0x9b, 0x90, 0x90);
    assert_int_equal(v->eip, CODE_AT + 10);
    assert_int_not_equal(raised, 0);
    for (unsigned i = 0; i < 3; i++) /* the handler: fnclex; iret */
        poke(v, HANDLER(0x75) + i, ((const uint8_t[]){0xdb, 0xe2, 0xcf})[i], 1);
    assert_int_equal(deliver_external(v, 0x75), STEP_OK);
    assert_int_equal(v->eip, HANDLER(0x75));
    interpret(v, NULL, 0, 4); /* fnclex, iret, fwait, nop */
    assert_int_equal(v->eip, CODE_AT + 12);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, machine_make, machine_free)
    const struct CMUnitTest tests[] = {
        T(extended_values_cross_pages),
        T(a_store_faults_before_it_pops),
        T(operands_obey_segments),
        T(environment_of_real_mode_code),
        T(slices_do_not_show),
        T(pending_error_is_delivered),
        T(frozen_until_an_interrupt_handler_clears_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
