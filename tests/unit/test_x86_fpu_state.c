/* SPDX-License-Identifier: MIT */
/* x87, MMX and SSE: what is not one instruction's result. Guards, pending errors, moving state in
 * and out of the host, pointers and environments, FXSAVE, faults. */
#include "x86_fpu_unit.h"

static int run(const char *bytes, unsigned n)
{
    uint8_t code[15] = {0};
    struct x86_insn in;
    memcpy(code, bytes, n);
    assert_true(decode(code, &in));
    assert_int_equal(in.len, n);
    return execute(&in);
}
#define RUN(bytes) run(bytes, sizeof(bytes) - 1)

/* ---- guards ---------------------------------------------------------------------------------- */

#define FADD     "\xd8\xc1"
#define FWAIT    "\x9b"
#define FNCLEX   "\xdb\xe2"
#define PADDB    "\x0f\xfc\xc1"
#define ADDPS    "\x0f\x58\xc1"
#define MOVQ2DQ  "\xf3\x0f\xd6\xc1"
#define PREFETCH "\x0f\x18\x06"

static void control_bits_choose_the_fault(void **state)
{
    static const struct {
        uint32_t cr0, cr4;
        int x87, wait, mmx, sse;
    } cases[] = {
        {0, CR4_OSFXSR, NO_FAULT, NO_FAULT, NO_FAULT, NO_FAULT},
        {CR0_MP, 0, NO_FAULT, NO_FAULT, NO_FAULT, X86_UD},
        {CR0_TS, CR4_OSFXSR, X86_NM, NO_FAULT, X86_NM, X86_NM},
        {CR0_TS | CR0_MP, CR4_OSFXSR, X86_NM, X86_NM, X86_NM, X86_NM},
        {CR0_EM, CR4_OSFXSR, X86_NM, NO_FAULT, X86_UD, X86_UD},
        {CR0_EM | CR0_TS, CR4_OSFXSR, X86_NM, NO_FAULT, X86_UD, X86_UD},
        {CR0_TS, 0, X86_NM, NO_FAULT, X86_NM, X86_UD},
    };
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        power_up(false);
        cpu.cr0 = cases[i].cr0;
        cpu.cr4 = cases[i].cr4;
        assert_int_equal(RUN(FADD), cases[i].x87);
        assert_int_equal(RUN(FNCLEX), cases[i].x87);
        assert_int_equal(RUN("\xdf\xe0"), cases[i].x87);     /* fnstsw ax */
        assert_int_equal(RUN("\x0f\xae\x06"), cases[i].x87); /* fxsave [esi] */
        assert_int_equal(RUN(FWAIT), cases[i].wait);
        assert_int_equal(RUN(PADDB), cases[i].mmx);
        assert_int_equal(RUN(ADDPS), cases[i].sse);
        assert_int_equal(RUN("\x0f\xae\x1e"), cases[i].sse); /* stmxcsr [esi] */
        assert_int_equal(RUN(PREFETCH), NO_FAULT);
    }
    x86_fpu_park(&cpu);
}

/* Divide by zero, unmasked: pending afterwards. */
static void make_pending(void)
{
    memcpy(mem + OPERAND, &(uint16_t){0x037b}, 2);
    assert_int_equal(RUN("\xdb\xe3"), NO_FAULT); /* fninit */
    assert_int_equal(RUN("\xd9\x2e"), NO_FAULT); /* fldcw [esi] */
    assert_int_equal(RUN("\xd9\xe8"), NO_FAULT); /* fld1 */
    assert_int_equal(RUN("\xd9\xee"), NO_FAULT); /* fldz */
    assert_int_equal(RUN("\xde\xf9"), NO_FAULT); /* fdivp */
}

static void pending_error_is_reported_late(void **state)
{
    power_up(true);
    make_pending();
    assert_int_equal(RUN("\xd9\x3e"), NO_FAULT); /* fnstcw does not wait */
    assert_int_equal(RUN("\xdf\xe0"), NO_FAULT); /* nor does fnstsw ax */
    assert_int_equal(cpu.gpr[X86_EAX] & 0x84, 0x84);
    assert_int_equal(RUN(FADD), X86_MF);
    assert_int_equal(RUN(FWAIT), X86_MF);
    assert_int_equal(RUN(PADDB), X86_MF);
    assert_int_equal(RUN("\x0f\x77"), X86_MF); /* emms */
    assert_int_equal(RUN(MOVQ2DQ), X86_MF);
    assert_int_equal(RUN(ADDPS), NO_FAULT);
    assert_int_equal(RUN("\x66\x0f\x2a\xc0"), X86_MF);   /* cvtpi2pd xmm0, mm0 */
    assert_int_equal(RUN("\x66\x0f\x2a\x06"), NO_FAULT); /* cvtpi2pd xmm0, [esi] */
    x86_fpu_park(&cpu); /* pending errors survive parking and loading */
    assert_int_equal(cpu.fx.fsw & 0x84, 0x84);
    assert_int_equal(RUN(FADD), X86_MF);
    assert_int_equal(RUN(FNCLEX), NO_FAULT);
    assert_int_equal(RUN(FADD), NO_FAULT);
    assert_int_equal(ferr_raised, 0);
    x86_fpu_park(&cpu);
}

static void without_ne_an_error_freezes_and_raises_ferr(void **state)
{
    power_up(true);
    make_pending();
    cpu.cr0 &= ~CR0_NE;
    cpu.fpu.fip = 1;
    assert_int_equal(RUN(FADD), NO_FAULT);
    assert_int_equal(ferr_raised, 1);
    assert_int_equal(cpu.eip, cpu.insn_eip);
    assert_int_equal(cpu.fpu.fip, 1);
    assert_int_equal(RUN(PADDB), NO_FAULT);
    assert_int_equal(RUN(FWAIT), NO_FAULT);
    assert_int_equal(cpu.eip, cpu.insn_eip);
    assert_int_equal(ferr_raised, 3);
    assert_int_equal(RUN(FNCLEX), NO_FAULT);
    assert_int_equal(RUN(FADD), NO_FAULT);
    assert_int_equal(cpu.eip, cpu.insn_eip + 2);
    assert_int_equal(ferr_raised, 3);
    x86_fpu_park(&cpu);
}

/* ---- live and parked ------------------------------------------------------------------------- */

static uint16_t host_fcw(void)
{
    uint16_t cw;
    __asm__ volatile("fnstcw %0" : "=m"(cw));
    return cw;
}

static void parking_leaves_a_clean_host(void **state)
{
    struct x86_fx now __attribute__((aligned(16)));
    power_up(true);
    assert_int_equal(cpu.fx.fcw, 0x40);
    assert_int_equal(cpu.fx.ftw_abridged, 0xff);
    make_pending();
    assert_true(cpu.fpu.live);
    assert_int_equal(host_fcw(), 0x37b);
    x86_fpu_park(&cpu);
    assert_false(cpu.fpu.live);
    __asm__ volatile("fxsave %0" : "=m"(now));
    assert_int_equal(now.fcw, 0x37f);
    assert_int_equal(now.fsw, 0);
    assert_int_equal(now.ftw_abridged, 0);
    assert_int_equal(now.mxcsr & ~0x3fu, 0x1f80);
    __asm__ volatile("fwait");
    assert_int_equal(cpu.fx.fcw, 0x37b);
    x86_fpu_reset(&cpu);
    assert_int_equal(cpu.fx.fcw, 0x40);
    assert_int_equal(cpu.fx.mxcsr, 0x1f80);
}

static void state_survives_parking(void **state)
{
    power_up(true);
    for (int i = 0; i < 200; i++) {
        struct x86_fx fx;
        rnd_fx(&fx);
        cpu.fx = fx;
        x86_fpu_load(&cpu);
        x86_fpu_load(&cpu);
        assert_int_equal(_mm_getcsr(), 0x1f80);
        memset(&cpu.fx.st, 0xee, sizeof cpu.fx.st); /* stale while live */
        x86_fpu_park(&cpu);
        x86_fpu_park(&cpu);
        fx.reserved0 = cpu.fx.reserved0;
        assert_memory_equal(&cpu.fx, &fx, sizeof fx);
    }
}

/* ---- pointers and environments --------------------------------------------------------------- */

static void run_with_pointers(void)
{
    struct x86_insn in;
    power_up(true);
    cpu.fpu.fip = cpu.fpu.fdp = 0x55555555;
    assert_int_equal(RUN("\xdb\xe3"), NO_FAULT); /* fninit clears them */
    assert_int_equal(cpu.fpu.fip | cpu.fpu.fdp | cpu.fpu.fop | cpu.fpu.fcs, 0);
    assert_true(decode((uint8_t[15]){0xd9, 0x46, 0x10}, &in)); /* fld m32 [esi+16] */
    cpu.insn_eip = 0x1000;
    cpu.seg[X86_CS].sel = 0xabc0;
    cpu.seg[X86_DS].sel = 0xdef0;
    assert_int_equal(execute(&in), NO_FAULT);
    assert_int_equal(RUN("\xd9\x3e"), NO_FAULT); /* control instructions leave them */
}

static void environment_is(unsigned opsize, const uint16_t *words, unsigned n)
{
    struct x86_insn in;
    assert_true(decode((uint8_t[15]){0xd9, 0x36}, &in)); /* fnstenv [esi] */
    in.opsize = (uint8_t)opsize;
    memset(mem + OPERAND, 0x77, 64);
    assert_int_equal(execute(&in), NO_FAULT);
    assert_memory_equal(mem + OPERAND, words, n * 2);
    assert_int_equal(mem[OPERAND + n * 2], 0x77);
}

#define REAL      1
#define PROTECTED 0
static void environments_have_four_formats(void **state)
{
    /* st(0) = +0.0 in register 7: tag word 7fff; opcode d9 46: 146h; eip 1000h, ea 810h */
    static const struct {
        unsigned real, opsize;
        uint16_t words[14];
    } cases[] = {
        {PROTECTED,
         4,
         {0x37f, 0xffff, 0x3800, 0xffff, 0x7fff, 0xffff, 0x1000, 0, 0xabc0, 0x146, 0x810, 0, 0xdef0,
          0xffff}},
        {PROTECTED, 2, {0x37f, 0x3800, 0x7fff, 0x1000, 0xabc0, 0x810, 0xdef0}},
        {REAL,
         4,
         {0x37f, 0xffff, 0x3800, 0xffff, 0x7fff, 0xffff, 0xcc00, 0xffff, 0xa146, 0, 0xf710, 0xffff,
          0xd000, 0}},
        {REAL, 2, {0x37f, 0x3800, 0x7fff, 0xcc00, 0xa146, 0xf710, 0xd000}},
    };
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        run_with_pointers();
        if (cases[i].real)
            cpu.cr0 &= ~CR0_PE;
        environment_is(cases[i].opsize, cases[i].words, cases[i].opsize == 4 ? 14 : 7);
        environment_is(cases[i].opsize, cases[i].words, cases[i].opsize == 4 ? 14 : 7);
        x86_fpu_park(&cpu);
        cpu.cr0 |= CR0_PE;
        cpu.eflags |= cases[i].real ? FL_VM : 0; /* v8086 mode has the formats of real mode */
        environment_is(cases[i].opsize, cases[i].words, cases[i].opsize == 4 ? 14 : 7);
        x86_fpu_park(&cpu);
    }
}

/* Load an environment or a whole state, store it again: the same, in each format. */
static void environments_round_trip(void **state)
{
    static const char *const pairs[] = {"\xd9\x26\xd9\x36", "\xdd\x26\xdd\x36"};
    for (unsigned i = 0; i < 8; i++) {
        struct x86_insn load, save;
        unsigned opsize = i & 1 ? 2 : 4;
        const uint8_t *pair = (const uint8_t *)pairs[i >> 1 & 1];
        unsigned n = (opsize == 4 ? 28 : 14) + (i >> 1 & 1 ? 80 : 0);
        uint8_t before[128];
        power_up(false);
        run_with_pointers();
        make_pending();
        RUN(FNCLEX);
        if (i & 4)
            cpu.cr0 &= ~CR0_PE;
        assert_true(decode((uint8_t[15]){pair[0], pair[1]}, &load));
        assert_true(decode((uint8_t[15]){pair[2], pair[3]}, &save));
        load.opsize = save.opsize = (uint8_t)opsize;
        assert_int_equal(execute(&save), NO_FAULT);
        memcpy(before, mem + OPERAND, n);
        assert_int_equal(RUN("\xdb\xe3"), NO_FAULT);
        assert_int_equal(execute(&load), NO_FAULT);
        memset(mem + OPERAND, 0, n);
        assert_int_equal(execute(&save), NO_FAULT);
        assert_memory_equal(mem + OPERAND, before, n);
        x86_fpu_park(&cpu);
        if (i >> 1 & 1) { /* fnsave initialises */
            assert_int_equal(cpu.fx.fcw, 0x37f);
            assert_int_equal(cpu.fx.ftw_abridged, 0);
            assert_int_equal(cpu.fpu.fip, 0);
        }
    }
}

/* An environment with a flag whose exception is unmasked: pending at once. */
static void loading_an_unmasked_flag_makes_it_pending(void **state)
{
    power_up(true);
    assert_int_equal(RUN("\xd9\x36"), NO_FAULT);
    mem[OPERAND] = 0x7b;
    mem[OPERAND + 4] |= 4;
    assert_int_equal(RUN("\xd9\x26"), NO_FAULT);
    assert_int_equal(RUN(FWAIT), X86_MF);
    x86_fpu_park(&cpu);
}

/* ---- FXSAVE, MXCSR --------------------------------------------------------------------------- */

#define FXSAVE  "\x0f\xae\x06"
#define FXRSTOR "\x0f\xae\x0e"

/* Where the last instruction was is only stored with an exception pending. */
static void fxsave_round_trip(void **state)
{
    for (int i = 0; i < 50; i++) {
        struct x86_fx fx;
        power_up(i & 1);
        rnd_fx(&fx);
        fx.fip = 0x12345678;
        fx.fcs = 0x23;
        fx.fdp = 0x9abcdef0;
        fx.fds = 0x2b;
        fx.fop = 0x7a5;
        if (i & 2) { /* an unmasked Invalid: ES and B */
            fx.fcw &= ~1u;
            fx.fsw |= 0x8081;
        }
        memcpy(mem + OPERAND, &fx, sizeof fx);
        assert_int_equal(RUN(FXRSTOR), NO_FAULT);
        memset(mem + OPERAND, 0x77, sizeof fx);
        assert_int_equal(RUN(FXSAVE), NO_FAULT);
        if (!(fx.fsw & 0x80))
            fx.fop = 0, fx.fip = fx.fcs = fx.fdp = fx.fds = 0;
        assert_memory_equal(mem + OPERAND, &fx, 288);
        for (unsigned k = 288; k < 512; k++)
            assert_int_equal(mem[OPERAND + k], 0x77);
        x86_fpu_park(&cpu);
    }
}

static void fxsave_leaves_sse_alone_without_osfxsr(void **state)
{
    struct x86_fx fx;
    power_up(true);
    rnd_fx(&fx);
    fx.mxcsr = ~0u; /* not looked at */
    memcpy(mem + OPERAND, &fx, sizeof fx);
    cpu.cr4 = 0;
    assert_int_equal(RUN(FXRSTOR), NO_FAULT);
    assert_int_equal(cpu.fx.mxcsr, 0x1f80);
    memset(mem + OPERAND, 0x77, sizeof fx);
    assert_int_equal(RUN(FXSAVE), NO_FAULT);
    assert_memory_equal(mem + OPERAND + 32, fx.st, sizeof fx.st);
    assert_int_equal(mem[OPERAND + 24], 0x77);
    assert_int_equal(mem[OPERAND + 160], 0x77);
    x86_fpu_park(&cpu);
}

static void bad_images_are_refused(void **state)
{
    power_up(false);
    memset(mem + OPERAND, 0, 512);
    mem[OPERAND + 26] = 1; /* MXCSR bit 16 */
    cpu.fx.fcw = 0x37f;
    assert_int_equal(RUN(FXRSTOR), X86_GP);
    assert_int_equal(cpu.fx.fcw, 0x37f);
    cpu.gpr[X86_ESI]++;
    assert_int_equal(RUN(FXRSTOR), X86_GP);
    assert_int_equal(RUN(FXSAVE), X86_GP);
    cpu.gpr[X86_ESI] = OPERAND + 24;
    assert_int_equal(RUN("\x0f\xae\x16"), X86_GP); /* ldmxcsr */
    assert_int_equal(cpu.fx.mxcsr, 0x1f80);
    mem[OPERAND + 26] = 0;
    mem[OPERAND + 25] = 0xff;
    assert_int_equal(RUN("\x0f\xae\x16"), NO_FAULT);
    assert_int_equal(cpu.fx.mxcsr, 0xff00);
}

/* ---- faults leave everything as it was ------------------------------------------------------- */

static void a_fault_changes_nothing(void **state)
{
    static const struct {
        const char *code;
        bool store;
    } cases[] = {
        {"\xd9\x06", false},     {"\xdd\x06", false},
        {"\xdb\x2e", false}, /* fld m32, m64, m80 */
        {"\xd9\x1e", true},      {"\xdb\x3e", true},
        {"\xdf\x3e", true}, /* fstp, fistp */
        {"\xd9\x26", false},     {"\xdd\x26", false},
        {"\xd9\x36", true},      {"\xdd\x36", true},
        {"\x0f\xfc\x06", false}, {"\x0f\x7f\x06", true},
        {"\x0f\x7e\x06", true},  {"\x0f\x6e\x06", false},
        {"\x0f\xc4\x06", false}, {"\x0f\x70\x06", false},
        {"\x0f\x58\x06", false}, {"\x0f\x2c\x06", false},
        {"\x0f\x2a\x06", false}, {"\x0f\x2e\x06", false},
        {"\x0f\x29\x06", true},  {"\x0f\x13\x06", true},
        {"\x0f\xae\x06", true},  {"\x0f\xae\x0e", false},
        {"\x0f\xc3\x06", true},  {"\x0f\xae\x3e", false},
        {"\x0f\xf7\xc1", true},
    };
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        struct x86_fx before;
        struct x86_insn in;
        uint8_t code[15] = {0};
        power_up(false);
        rnd_fx(&cpu.fx);
        for (unsigned k = 0; k < 8; k++)
            memset(cpu.fx.st[k], 0x80, 10); /* maskmovq: all bytes */
        before = cpu.fx;
        memcpy(code, cases[i].code, strlen(cases[i].code));
        assert_true(decode(code, &in));
        *(cases[i].store ? &writable : &readable) = OPERAND;
        assert_int_equal(execute(&in), X86_PF);
        assert_int_equal(cpu.fpu.fip | cpu.fpu.fop, 0);
        x86_fpu_park(&cpu);
        if (in.opcode == 0xf7) { /* reading its operands made it an MMX instruction */
            before.ftw_abridged = 0xff;
            before.fsw &= 0xc7ff;
            memcpy(before.st, cpu.fx.st, sizeof before.st);
        }
        assert_memory_equal(&cpu.fx, &before, sizeof before);
    }
}

static void masked_stores_touch_only_masked_bytes(void **state)
{
    static const uint8_t mask[16] = {[1] = 0x80, [3] = 0xff, [5] = 0x7f};
    power_up(false);
    memset(cpu.fx.xmm[0], 0x11, 16);
    memcpy(cpu.fx.xmm[1], mask, 16);
    writable = OPERAND + 3; /* the second byte to store is not */
    assert_int_equal(RUN("\x66\x0f\xf7\xc1"), X86_PF);
    assert_int_equal(mem[OPERAND + 1], 0);
    writable = OPERAND + 4; /* what lies behind does not matter */
    assert_int_equal(RUN("\x66\x0f\xf7\xc1"), NO_FAULT);
    assert_memory_equal(mem + OPERAND, "\x00\x11\x00\x11\x00\x00", 6);
    cpu.gpr[X86_EDI] = 0xffffffff; /* wraps */
    writable = OPERAND + 3;
    assert_int_equal(RUN("\x67\x66\x0f\xf7\xc1"), NO_FAULT);
    assert_memory_equal(mem, "\x11\x00\x11\x00", 4);
}

static void only_aligned_operands_where_the_manual_says(void **state)
{
    power_up(true);
    cpu.gpr[X86_ESI] = OPERAND + 4;
    assert_int_equal(RUN("\x0f\x28\x06"), X86_GP); /* movaps */
    assert_int_equal(RUN("\x0f\x29\x06"), X86_GP);
    assert_int_equal(RUN("\x66\x0f\xe7\x06"), X86_GP);   /* movntdq */
    assert_int_equal(RUN("\x66\x0f\xfc\x06"), X86_GP);   /* paddb */
    assert_int_equal(RUN("\x66\x0f\x2d\x06"), X86_GP);   /* cvtpd2pi */
    assert_int_equal(RUN("\x0f\x10\x06"), NO_FAULT);     /* movups */
    assert_int_equal(RUN("\xf3\x0f\x58\x06"), NO_FAULT); /* addss */
    assert_int_equal(RUN("\x0f\x5a\x06"), NO_FAULT);     /* cvtps2pd m64 */
    cpu.seg[X86_DS].base = 12;                           /* what counts is the linear address */
    assert_int_equal(RUN("\x0f\x28\x06"), NO_FAULT);
    x86_fpu_park(&cpu);
}

static void unmasked_simd_exceptions(void **state)
{
    static const uint32_t one = 0x3f800000;
    power_up(true);
    memcpy(cpu.fx.xmm[0], &one, 4);
    cpu.fx.mxcsr = 0x1f80 & ~0x200u; /* divide by zero unmasked */
    assert_int_equal(RUN("\xf3\x0f\x5e\xc1"), X86_XM);
    assert_int_equal(cpu.fx.mxcsr, 0x1d84);
    assert_memory_equal(cpu.fx.xmm[0], &one, 4);
    assert_int_equal(_mm_getcsr() & ~0x3fu, 0x1f80);
    cpu.cr4 &= ~CR4_OSXMMEXCPT;
    assert_int_equal(RUN("\xf3\x0f\x5e\xc1"), X86_UD);
    cpu.fx.mxcsr = 0x1f80;
    assert_int_equal(RUN("\xf3\x0f\x5e\xc1"), NO_FAULT);
    assert_int_equal(cpu.fx.mxcsr, 0x1f84);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(control_bits_choose_the_fault),
        cmocka_unit_test(pending_error_is_reported_late),
        cmocka_unit_test(without_ne_an_error_freezes_and_raises_ferr),
        cmocka_unit_test(parking_leaves_a_clean_host),
        cmocka_unit_test(state_survives_parking),
        cmocka_unit_test(environments_have_four_formats),
        cmocka_unit_test(environments_round_trip),
        cmocka_unit_test(loading_an_unmasked_flag_makes_it_pending),
        cmocka_unit_test(fxsave_round_trip),
        cmocka_unit_test(fxsave_leaves_sse_alone_without_osfxsr),
        cmocka_unit_test(bad_images_are_refused),
        cmocka_unit_test(a_fault_changes_nothing),
        cmocka_unit_test(masked_stores_touch_only_masked_bytes),
        cmocka_unit_test(only_aligned_operands_where_the_manual_says),
        cmocka_unit_test(unmasked_simd_exceptions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
