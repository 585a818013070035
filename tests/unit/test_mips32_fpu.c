/* SPDX-License-Identifier: MIT */
/* Rules of the MIPS32 FPU that the comparison with QEMU leaves out (tests/isa): traps, NaNs with
 * payloads, flushing, both register files, memory, FCSR's other faces, branches. */
#include "mips32_rig.h"

#define FP(fmt, funct, t, s, d)                                                                    \
    (0x46000000u | (uint32_t)(fmt) << 21 | (uint32_t)(t) << 16 | (uint32_t)(s) << 11 |             \
     (uint32_t)(d) << 6 | (funct))
enum { S = 0, D = 1, W = 4, L = 5 };
enum {
    F_ADD = 0,
    F_SUB = 1,
    F_MUL = 2,
    F_DIV = 3,
    F_ABS = 5,
    F_NEG = 7,
    F_CVT_S = 32,
    F_CVT_D = 33
};
#define MTC1(t, s)     (0x44800000u | (uint32_t)(t) << 16 | (uint32_t)(s) << 11)
#define CTC1(t, s)     (0x44c00000u | (uint32_t)(t) << 16 | (uint32_t)(s) << 11)
#define CFC1(t, s)     (0x44400000u | (uint32_t)(t) << 16 | (uint32_t)(s) << 11)
#define BC1(tf, cc, n) (0x45000000u | (uint32_t)(cc) << 18 | (uint32_t)(tf) << 16 | (n))
#define LDC1(t, i, s)  I_TYPE(53, s, t, i)
#define SDC1(t, i, s)  I_TYPE(61, s, t, i)
#define LDXC1(d, x, s)                                                                             \
    (0x4c000001u | (uint32_t)(s) << 21 | (uint32_t)(x) << 16 | (uint32_t)(d) << 6)
#define ONE  0x3f800000u
#define QNAN 0x7f812345u /* quiet, as MIPS of this age has it */
#define SNAN 0x7fc12345u

static struct mips32_rig *fpu_rig(const struct mips32_model *model, bool fr)
{
    struct mips32_rig *m = rig_new(model);
    mips32_set_status(m->v, m->v->cp0.status | ST_CU1 | (fr ? ST_FR : 0));
    return m;
}

static uint32_t binary(struct mips32_rig *m, unsigned funct, uint32_t a, uint32_t b)
{
    mips32_set_s(m->v, 2, a);
    mips32_set_s(m->v, 4, b);
    mips32_set_s(m->v, 6, 0xdead);
    RUN(m, FP(S, funct, 4, 2, 6), WAIT);
    return mips32_get_s(m->v, 6);
}

static unsigned flags(const struct mips32_rig *m)
{
    return m->v->fcsr >> FCSR_FLAGS_SHIFT & 31;
}
static unsigned causes(const struct mips32_rig *m)
{
    return m->v->fcsr >> FCSR_CAUSE_SHIFT & 63;
}

static void nans(void **state)
{
    struct mips32_rig *m = fpu_rig(&mips32_24kf, false);
    assert_int_equal(binary(m, F_ADD, QNAN, ONE), QNAN);
    assert_int_equal(binary(m, F_ADD, ONE, QNAN), QNAN);
    assert_int_equal(binary(m, F_MUL, QNAN + 1, QNAN), QNAN + 1);
    assert_int_equal(flags(m), 0);
    assert_int_equal(binary(m, F_ADD, QNAN, SNAN), 0x7fbfffff);
    assert_int_equal(flags(m), FP_INVALID);
    assert_int_equal(causes(m), FP_INVALID);
    assert_int_equal(binary(m, F_DIV, 0, 0), 0x7fbfffff);
    assert_int_equal(binary(m, F_SUB, ONE, ONE), 0);
    assert_int_equal(causes(m), 0); /* of the last instruction only */
    assert_int_equal(flags(m), FP_INVALID);
    /* ABS and NEG: a quiet NaN passes, a signalling one does not. */
    assert_int_equal(binary(m, F_NEG, QNAN, 0), 0xdead); /* ft must be 0: reserved */
    assert_int_equal(exc_code(m), EXC_RI);
    acknowledge(m);
    mips32_set_fcsr(m->v, 0);
    mips32_set_s(m->v, 2, QNAN);
    mips32_set_s(m->v, 4, SNAN);
    RUN(m, FP(S, F_NEG, 0, 2, 6), FP(S, F_ABS, 0, 2, 8), WAIT);
    assert_int_equal(mips32_get_s(m->v, 6), QNAN);
    assert_int_equal(mips32_get_s(m->v, 8), QNAN);
    assert_int_equal(flags(m), 0);
    RUN(m, FP(S, F_ABS, 0, 4, 6), WAIT);
    assert_int_equal(mips32_get_s(m->v, 6), 0x7fbfffff);
    assert_int_equal(flags(m), FP_INVALID);
    /* Conversions keep payloads. */
    RUN(m, FP(S, F_CVT_D, 0, 2, 10), FP(D, F_CVT_S, 0, 10, 12), WAIT);
    assert_int_equal(mips32_get_d(m->v, 10), UINT64_C(0x7ff02468a0000000));
    assert_int_equal(mips32_get_s(m->v, 12), QNAN);
    /* All of the payload that a single has room for is 0: infinity it must not become. */
    mips32_set_d(m->v, 10, UINT64_C(0x7ff0000000000001));
    RUN(m, FP(D, F_CVT_S, 0, 10, 12), WAIT);
    assert_int_equal(mips32_get_s(m->v, 12), 0x7fbfffff);
    rig_free(m);
}

static void traps_write_nothing(void **state)
{
    static const struct {
        unsigned funct, exception;
        uint32_t a, b;
    } cases[] = {
        {F_DIV, FP_DIVIDE, ONE, 0},
        {F_DIV, FP_INVALID, 0, 0},
        {F_ADD, FP_INEXACT, ONE, 0x2f800000},
        {F_MUL, FP_OVERFLOW, 0x7f7fffff, 0x7f7fffff},
        {F_MUL, FP_UNDERFLOW, 0x00800001, 0x3f000001},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct mips32_rig *m = fpu_rig(&mips32_24kf, false);
        mips32_set_fcsr(m->v, cases[i].exception << FCSR_EN_SHIFT);
        assert_int_equal(binary(m, cases[i].funct, cases[i].a, cases[i].b), 0xdead);
        assert_int_equal(exc_code(m), EXC_FPE);
        assert_int_equal(m->v->cp0.epc, CODE);
        assert_true(causes(m) & cases[i].exception);
        assert_int_equal(flags(m), 0);
        rig_free(m);
    }
}

/* Writing a cause together with its enable bit traps; the E bit always does. */
static void written_causes_trap(void **state)
{
    struct mips32_rig *m = fpu_rig(&mips32_24kf, false);
    static const struct {
        uint32_t fcsr;
        bool traps;
    } cases[] = {{1u << 12, false},
                 {1u << 12 | 1u << 7, true},
                 {1u << 16 | 1u << 7, false},
                 {1u << 17, true}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        m->v->gpr[T0] = cases[i].fcsr;
        uint32_t at = RUN(m, CTC1(T0, 31), WAIT);
        assert_int_equal(at, cases[i].traps ? VECTOR(GENERAL) : CODE + 4);
        assert_int_equal(m->v->fcsr, cases[i].fcsr);
        acknowledge(m);
    }
    rig_free(m);
}

static void control_registers(void **state)
{
    struct mips32_rig *m = fpu_rig(&mips32_24kf, false);
    m->v->gpr[T0] = UINT32_MAX & ~(63u << 12); /* no causes: nothing traps */
    RUN(m, CTC1(T0, 31), CFC1(T1, 31), CFC1(T2, 25), CFC1(T3, 26), CFC1(T4, 28), CFC1(T5, 0), WAIT);
    assert_int_equal(m->v->gpr[T1], 0xff800fff);
    assert_int_equal(m->v->gpr[T2], 0xff);
    assert_int_equal(m->v->gpr[T3], 0x7c);
    assert_int_equal(m->v->gpr[T4], 0xf87);
    assert_int_equal(m->v->gpr[T5], 0x00739300);
    m->v->gpr[T0] = 0x55;
    RUN(m, CTC1(ZERO, 31), CTC1(T0, 25), CFC1(T1, 31), WAIT);
    assert_int_equal(m->v->gpr[T1], 0x54000000 | 1u << 23);
    m->v->gpr[T0] = 7;
    RUN(m, CTC1(ZERO, 31), CTC1(T0, 28), CFC1(T1, 31), WAIT);
    assert_int_equal(m->v->gpr[T1], 3 | FCSR_FS);
    rig_free(m);
}

static void flush_to_zero(void **state)
{
    struct mips32_rig *m = fpu_rig(&mips32_24kf, false);
    assert_int_equal(binary(m, F_MUL, 0x00800000, 0x3f000000), 0x00400000);
    assert_int_equal(flags(m), 0);
    mips32_set_fcsr(m->v, FCSR_FS);
    assert_int_equal(binary(m, F_MUL, 0x80800000, 0x3f000000), 0x80000000);
    assert_int_equal(flags(m), FP_UNDERFLOW | FP_INEXACT);
    rig_free(m);
}

/* The monitor's own arithmetic is not the guest's: MXCSR is as it was. */
static void rounding_stays_inside(void **state)
{
    struct mips32_rig *m = fpu_rig(&mips32_24kf, false);
    uint32_t up[4];
    for (unsigned rm = 0; rm < 4; rm++) {
        mips32_set_fcsr(m->v, rm);
        up[rm] = binary(m, F_DIV, ONE, 0x40400000); /* 1 / 3 */
        assert_int_equal(__builtin_ia32_stmxcsr() & 0xffc0, 0x1f80);
    }
    assert_int_equal(up[0], 0x3eaaaaab);
    assert_int_equal(up[1], 0x3eaaaaaa);
    assert_int_equal(up[2], 0x3eaaaaab);
    assert_int_equal(up[3], 0x3eaaaaaa);
    rig_free(m);
}

static void register_files(void **state)
{
    struct mips32_rig *m = fpu_rig(&mips32_24kf, false);
    m->v->gpr[A0] = DATA;
    m->v->gpr[A1] = 8;
    poke32(m, DATA, 0x11223344);
    poke32(m, DATA + 4, 0x55667788);
    RUN(m, LDC1(4, 0, A0), SDC1(4, 8, A0), LDXC1(6, A1, A0), WAIT);
    assert_int_equal(mips32_get_s(m->v, 4), 0x11223344);
    assert_int_equal(mips32_get_s(m->v, 5), 0x55667788);
    assert_int_equal(peek32(m, DATA + 12), 0x55667788);
    assert_int_equal(mips32_get_d(m->v, 6), UINT64_C(0x5566778811223344));
    /* 64-bit formats are reserved in this file. */
    RUN(m, FP(S, 0x25, 0, 2, 4), WAIT);
    assert_int_equal(exc_code(m), EXC_RI);
    rig_free(m);
    m = fpu_rig(&mips32_24kf, true);
    m->v->gpr[A0] = DATA;
    poke32(m, DATA, 0x11223344);
    poke32(m, DATA + 4, 0x55667788);
    m->v->fpr[4] = 7;
    RUN(m, LDC1(5, 0, A0), MTC1(A0, 5), WAIT);
    assert_int_equal(m->v->fpr[4], 7);
    assert_int_equal(m->v->fpr[5], UINT64_C(0x5566778800000000) | DATA);
    RUN(m, LDC1(5, 4, A0), WAIT);
    assert_int_equal(exc_code(m), EXC_ADEL);
    rig_free(m);
}

static void doubles_in_a_big_endian_memory(void **state)
{
    struct mips32_model big = mips32_24kf;
    big.big_endian = true;
    struct mips32_rig *m = fpu_rig(&big, false);
    m->v->gpr[A0] = DATA;
    mips32_set_d(m->v, 2, UINT64_C(0x0102030405060708));
    RUN(m, SDC1(2, 0, A0), LDC1(4, 0, A0), WAIT);
    uint8_t bytes[8];
    assert_int_equal(phys_read(m->mem, DATA & 0x1fffffff, bytes, 8), 0);
    assert_memory_equal(bytes, ((uint8_t[]){1, 2, 3, 4, 5, 6, 7, 8}), 8);
    assert_int_equal(mips32_get_d(m->v, 4), UINT64_C(0x0102030405060708));
    rig_free(m);
}

static void branches(void **state)
{
    struct mips32_rig *m = fpu_rig(&mips32_24kf, false);
    for (unsigned cc = 0; cc < 8; cc++)
        for (unsigned set = 0; set < 2; set++)
            for (unsigned kind = 0; kind < 4; kind++) {
                mips32_set_fcsr(m->v, set ? mips32_fcc(cc) : ~mips32_fcc(cc) & 0xfe800000);
                m->v->gpr[T0] = 0;
                bool taken = (kind & 1) == set, likely_one = kind & 2;
                uint32_t at = RUN(m, BC1(kind, cc, 3), ADDIU(T0, ZERO, 1), WAIT, NOP, WAIT);
                assert_int_equal(at, taken ? CODE + 16 : CODE + 8);
                assert_int_equal(m->v->gpr[T0], taken || !likely_one);
            }
    rig_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nans),
        cmocka_unit_test(traps_write_nothing),
        cmocka_unit_test(written_causes_trap),
        cmocka_unit_test(control_registers),
        cmocka_unit_test(flush_to_zero),
        cmocka_unit_test(rounding_stays_inside),
        cmocka_unit_test(register_files),
        cmocka_unit_test(doubles_in_a_big_endian_memory),
        cmocka_unit_test(branches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
