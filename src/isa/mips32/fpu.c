/* SPDX-License-Identifier: MIT */
/* Arithmetic of coprocessor 1: formats S and D, conversions with W and L (vol. I chapter 5, vol.
 * II).
 *
 * The host's SSE unit does the arithmetic, under the guest's rounding mode and flush-to-zero, one
 * instruction between loading and reading MXCSR; its exception flags are the guest's. NaNs never
 * reach it: MIPS of this age has the quiet bit inverted and other rules (vol. I 5.5.2, 5.8):
 * a signalling operand is Invalid and gives the default NaN; else the first quiet operand is the
 * result (or the default NaN: IEEE 754-1985 6.2 only recommends it, and models differ). Conversions
 * to integers that are Invalid give the greatest integer.
 *
 * Denormal numbers are handled exactly, as on the 24Kf; "unimplemented operation" is never raised.
 * Underflow is tiny and inexact, also where its trap is enabled. ABS and NEG are arithmetic: quiet
 * NaNs pass unchanged. MADD and its relatives round twice. Formats PS and the MIPS-3D extension do
 * not exist. */
#include "isa/mips32/fpu.h"

#include <string.h>
#include <xmmintrin.h>

#include "isa/mips32/insn.h"

/* ---- control --------------------------------------------------------------------------------- */

#define CSR_DEFAULT  0x1f80u /* the monitor's own: all masked, round to nearest */
#define CSR_FTZ      (1u << 15)
#define CSR_RC_SHIFT 13
/* RC for RM: nearest, toward zero, up, down. */
static const uint8_t host_rounding[4] = {0, 3, 2, 1};

uint32_t mips32_fir(const struct mips32_vcpu *v)
{
    const uint32_t f64 = 1u << 22, l = 1u << 21, w = 1u << 20, d = 1u << 17, s = 1u << 16;
    if (!v->model->fpu)
        return 0;
    return (v->model->release2 ? f64 | l : 0) | w | d | s | (v->model->prid & 0xff00);
}

void mips32_set_fcsr(struct mips32_vcpu *v, uint32_t x)
{
    v->fcsr = x & FCSR_WRITABLE;
    v->host_csr = CSR_DEFAULT | (uint32_t)host_rounding[x & FCSR_RM] << CSR_RC_SHIFT |
                  (x & FCSR_FS ? CSR_FTZ : 0);
}

bool mips32_fcsr_traps(const struct mips32_vcpu *v)
{
    const uint32_t unimplemented = 1u << 5;
    uint32_t cause = (v->fcsr & FCSR_CAUSE) >> FCSR_CAUSE_SHIFT;
    return cause & ((v->fcsr & FCSR_ENABLES) >> FCSR_EN_SHIFT | unimplemented);
}

void mips32_fpu_reset(struct mips32_vcpu *v)
{
    mips32_set_fcsr(v, 0);
}

void mips32_fpu_restored(struct mips32_vcpu *v)
{
    mips32_set_fcsr(v, v->fcsr);
}

/* What an instruction raised: it traps, with its result not yet written, or sticks in the flags. */
static inline void finish(struct mips32_vcpu *v, uint32_t raised)
{
    v->fcsr = (v->fcsr & ~FCSR_CAUSE) | raised << FCSR_CAUSE_SHIFT;
    if (likely(!raised))
        return;
    if (mips32_fcsr_traps(v))
        mips32_raise(v, EXC_FPE);
    v->fcsr |= raised << FCSR_FLAGS_SHIFT;
}

/* ---- the host's unit ------------------------------------------------------------------------- */

/* Exceptions of MXCSR in FCSR's order. Denormal operands are none. */
static uint32_t raised_by(uint32_t csr)
{
    return (csr >> 5 & 1 ? FP_INEXACT : 0) | (csr >> 4 & 1 ? FP_UNDERFLOW : 0) |
           (csr >> 3 & 1 ? FP_OVERFLOW : 0) | (csr >> 2 & 1 ? FP_DIVIDE : 0) |
           (csr & 1 ? FP_INVALID : 0);
}

/* One SSE instruction under `csr`; what it raised is added to *raised. */
#define HOST(name, type, source, insn)                                                             \
    static inline type name(type a, source b, uint32_t csr, uint32_t *raised)                      \
    {                                                                                              \
        uint32_t after;                                                                            \
        __asm__ volatile("ldmxcsr %[before]\n\t" insn " %[b], %[a]\n\tstmxcsr %[after]"            \
                         : [a] "+x"(a), [after] "=m"(after)                                        \
                         : [b] "x"(b), [before] "m"(csr));                                         \
        if (unlikely(csr != CSR_DEFAULT))                                                          \
            _mm_setcsr(CSR_DEFAULT);                                                               \
        *raised |= raised_by(after);                                                               \
        return a;                                                                                  \
    }
HOST(host_add32, float, float, "addss")
HOST(host_sub32, float, float, "subss")
HOST(host_mul32, float, float, "mulss")
HOST(host_div32, float, float, "divss")
HOST(host_sqrt32, float, float, "sqrtss")
HOST(host_add64, double, double, "addsd")
HOST(host_sub64, double, double, "subsd")
HOST(host_mul64, double, double, "mulsd")
HOST(host_div64, double, double, "divsd")
HOST(host_sqrt64, double, double, "sqrtsd")
HOST(host_narrow, float, double, "cvtsd2ss")
HOST(host_widen, double, float, "cvtss2sd")

#define HOST_TO_INT(name, integer, source, insn)                                                   \
    static inline integer name(source b, uint32_t csr, uint32_t *raised)                           \
    {                                                                                              \
        uint32_t after;                                                                            \
        integer x;                                                                                 \
        __asm__ volatile("ldmxcsr %[before]\n\t" insn " %[b], %[x]\n\tstmxcsr %[after]"            \
                         : [x] "=r"(x), [after] "=m"(after)                                        \
                         : [b] "x"(b), [before] "m"(csr));                                         \
        if (unlikely(csr != CSR_DEFAULT))                                                          \
            _mm_setcsr(CSR_DEFAULT);                                                               \
        *raised |= raised_by(after);                                                               \
        return x;                                                                                  \
    }
HOST_TO_INT(host_to_w32, int32_t, float, "cvtss2si")
HOST_TO_INT(host_to_l32, int64_t, float, "cvtss2si")
HOST_TO_INT(host_to_w64, int32_t, double, "cvtsd2si")
HOST_TO_INT(host_to_l64, int64_t, double, "cvtsd2si")

#define HOST_FROM_INT(name, type, insn)                                                            \
    static inline type name(int64_t b, uint32_t csr, uint32_t *raised)                             \
    {                                                                                              \
        uint32_t after;                                                                            \
        type a = 0;                                                                                \
        __asm__ volatile("ldmxcsr %[before]\n\t" insn " %[b], %[a]\n\tstmxcsr %[after]"            \
                         : [a] "+x"(a), [after] "=m"(after)                                        \
                         : [b] "r"(b), [before] "m"(csr));                                         \
        if (unlikely(csr != CSR_DEFAULT))                                                          \
            _mm_setcsr(CSR_DEFAULT);                                                               \
        *raised |= raised_by(after);                                                               \
        return a;                                                                                  \
    }
HOST_FROM_INT(host_from32, float, "cvtsi2ssq")
HOST_FROM_INT(host_from64, double, "cvtsi2sdq")

/* ---- formats: bits in registers, NaNs -------------------------------------------------------- */

#define FORMAT(bits, type, exponent, quiet, fallback)                                              \
    static inline type value##bits(uint##bits##_t x)                                               \
    {                                                                                              \
        type f;                                                                                    \
        memcpy(&f, &x, sizeof f);                                                                  \
        return f;                                                                                  \
    }                                                                                              \
    static inline uint##bits##_t raw##bits(type f)                                                 \
    {                                                                                              \
        uint##bits##_t x;                                                                          \
        memcpy(&x, &f, sizeof x);                                                                  \
        return x;                                                                                  \
    }                                                                                              \
    static inline bool is_nan##bits(uint##bits##_t x)                                              \
    {                                                                                              \
        return (x & (UINT##bits##_MAX >> 1)) > (exponent);                                         \
    }                                                                                              \
    static inline bool is_signalling##bits(uint##bits##_t x)                                       \
    {                                                                                              \
        return is_nan##bits(x) && (x & (quiet));                                                   \
    }                                                                                              \
    static const uint##bits##_t default_nan##bits = (fallback);                                    \
    /* The result when an operand is a NaN. */                                                     \
    static uint##bits##_t nan_of##bits(const struct mips32_vcpu *v, uint##bits##_t a,              \
                                       uint##bits##_t b, uint32_t *raised)                         \
    {                                                                                              \
        if (is_signalling##bits(a) || is_signalling##bits(b)) {                                    \
            *raised |= FP_INVALID;                                                                 \
            return default_nan##bits;                                                              \
        }                                                                                          \
        return v->model->default_nan ? default_nan##bits : is_nan##bits(a) ? a : b;                \
    }                                                                                              \
    /* The host's own NaN becomes the guest's. */                                                  \
    static inline uint##bits##_t result##bits(type f)                                              \
    {                                                                                              \
        uint##bits##_t x = raw##bits(f);                                                           \
        return unlikely(is_nan##bits(x)) ? default_nan##bits : x;                                  \
    }
FORMAT(32, float, 0x7f800000u, 0x00400000u, 0x7fbfffffu)
FORMAT(64, double, UINT64_C(0x7ff0000000000000), UINT64_C(0x0008000000000000),
       UINT64_C(0x7ff7ffffffffffff))

/* ---- arithmetic ------------------------------------------------------------------------------ */

#define BINARY(bits, name)                                                                         \
    static uint##bits##_t name##bits(struct mips32_vcpu *v, uint##bits##_t a, uint##bits##_t b,    \
                                     uint32_t *raised)                                             \
    {                                                                                              \
        if (unlikely(is_nan##bits(a) || is_nan##bits(b)))                                          \
            return nan_of##bits(v, a, b, raised);                                                  \
        return result##bits(                                                                       \
            host_##name##bits(value##bits(a), value##bits(b), v->host_csr, raised));               \
    }
#define ARITHMETIC(bits)                                                                           \
    BINARY(bits, add)                                                                              \
    BINARY(bits, sub)                                                                              \
    BINARY(bits, mul)                                                                              \
    BINARY(bits, div)                                                                              \
    static uint##bits##_t sqrt##bits(struct mips32_vcpu *v, uint##bits##_t a, uint32_t *raised)    \
    {                                                                                              \
        if (unlikely(is_nan##bits(a)))                                                             \
            return nan_of##bits(v, a, a, raised);                                                  \
        return result##bits(host_sqrt##bits(0, value##bits(a), v->host_csr, raised));              \
    }                                                                                              \
    static uint##bits##_t recip##bits(struct mips32_vcpu *v, uint##bits##_t a, uint32_t *raised)   \
    {                                                                                              \
        return div##bits(v, raw##bits(1), a, raised);                                              \
    }                                                                                              \
    static uint##bits##_t rsqrt##bits(struct mips32_vcpu *v, uint##bits##_t a, uint32_t *raised)   \
    {                                                                                              \
        return recip##bits(v, sqrt##bits(v, a, raised), raised);                                   \
    }                                                                                              \
    static uint##bits##_t abs##bits(struct mips32_vcpu *v, uint##bits##_t a, uint32_t *raised)     \
    {                                                                                              \
        return is_nan##bits(a) ? nan_of##bits(v, a, a, raised) : a & (UINT##bits##_MAX >> 1);      \
    }                                                                                              \
    static uint##bits##_t neg##bits(struct mips32_vcpu *v, uint##bits##_t a, uint32_t *raised)     \
    {                                                                                              \
        return is_nan##bits(a) ? nan_of##bits(v, a, a, raised) : a ^ ~(UINT##bits##_MAX >> 1);     \
    }
ARITHMETIC(32)
ARITHMETIC(64)

/* Handlers: f names the format's accessors, s or d. */
#define TWO(name, f, bits)                                                                         \
    MIPS32_HANDLER(op_##name##_##f)                                                                \
    {                                                                                              \
        uint32_t raised = 0;                                                                       \
        uint##bits##_t x =                                                                         \
            name##bits(v, mips32_get_##f(v, in->rd), mips32_get_##f(v, in->rt), &raised);          \
        finish(v, raised);                                                                         \
        mips32_set_##f(v, in->dst, x);                                                             \
        return in + 1;                                                                             \
    }
#define ONE(name, f, bits)                                                                         \
    MIPS32_HANDLER(op_##name##_##f)                                                                \
    {                                                                                              \
        uint32_t raised = 0;                                                                       \
        uint##bits##_t x = name##bits(v, mips32_get_##f(v, in->rd), &raised);                      \
        finish(v, raised);                                                                         \
        mips32_set_##f(v, in->dst, x);                                                             \
        return in + 1;                                                                             \
    }
/* fs times ft, then fr added or subtracted, then the sign perhaps changed. */
#define FUSED(name, f, bits, then, sign)                                                           \
    MIPS32_HANDLER(op_##name##_##f)                                                                \
    {                                                                                              \
        uint32_t raised = 0;                                                                       \
        uint##bits##_t x =                                                                         \
            mul##bits(v, mips32_get_##f(v, in->rd), mips32_get_##f(v, in->rt), &raised);           \
        x = then##bits(v, x, mips32_get_##f(v, in->rs), &raised);                                  \
        finish(v, raised);                                                                         \
        mips32_set_##f(v, in->dst, x ^ (sign ? ~(UINT##bits##_MAX >> 1) : 0));                     \
        return in + 1;                                                                             \
    }
#define OPS_OF(f, bits)                                                                            \
    TWO(add, f, bits)                                                                              \
    TWO(sub, f, bits)                                                                              \
    TWO(mul, f, bits)                                                                              \
    TWO(div, f, bits)                                                                              \
    ONE(sqrt, f, bits)                                                                             \
    ONE(recip, f, bits)                                                                            \
    ONE(rsqrt, f, bits)                                                                            \
    ONE(abs, f, bits)                                                                              \
    ONE(neg, f, bits)                                                                              \
    FUSED(madd, f, bits, add, 0)                                                                   \
    FUSED(msub, f, bits, sub, 0)                                                                   \
    FUSED(nmadd, f, bits, add, 1)                                                                  \
    FUSED(nmsub, f, bits, sub, 1)
OPS_OF(s, 32)
OPS_OF(d, 64)

/* ---- comparison ------------------------------------------------------------------------------ */

/* The condition's bits: unordered, equal, less; the fourth makes every NaN Invalid. */
static void set_condition(struct mips32_vcpu *v, const struct mips32_insn *in, bool unordered,
                          bool signalling, bool equal, bool less)
{
    unsigned condition = in->word & 15;
    bool holds =
        (unordered && condition & 1) || (equal && condition & 2) || (less && condition & 4);
    finish(v, unordered && (signalling || condition & 8) ? FP_INVALID : 0);
    uint32_t bit = mips32_fcc((unsigned)in->imm);
    v->fcsr = holds ? v->fcsr | bit : v->fcsr & ~bit;
}

#define COMPARE(f, bits)                                                                           \
    MIPS32_HANDLER(op_c_##f)                                                                       \
    {                                                                                              \
        uint##bits##_t a = mips32_get_##f(v, in->rd), b = mips32_get_##f(v, in->rt);               \
        bool unordered = is_nan##bits(a) || is_nan##bits(b);                                       \
        bool signalling = is_signalling##bits(a) || is_signalling##bits(b);                        \
        set_condition(v, in, unordered, signalling,                                                \
                      !unordered && value##bits(a) == value##bits(b),                              \
                      !unordered && value##bits(a) < value##bits(b));                              \
        return in + 1;                                                                             \
    }
COMPARE(s, 32)
COMPARE(d, 64)

/* ---- conversions ----------------------------------------------------------------------------- */

MIPS32_HANDLER(op_cvt_s_d)
{
    uint32_t raised = 0, x;
    uint64_t a = mips32_get_d(v, in->rd);
    if (unlikely(is_nan64(a))) { /* the payload keeps its upper part, if that is a NaN's */
        a = nan_of64(v, a, a, &raised);
        x = (uint32_t)(a >> 32 & 0x80000000u) | 0x7f800000u | (uint32_t)(a >> 29 & 0x7fffffu);
        x = is_nan32(x) ? x : default_nan32;
    } else {
        x = result32(host_narrow(0, value64(a), v->host_csr, &raised));
    }
    finish(v, raised);
    mips32_set_s(v, in->dst, x);
    return in + 1;
}

MIPS32_HANDLER(op_cvt_d_s)
{
    uint32_t raised = 0, a = mips32_get_s(v, in->rd);
    uint64_t x;
    if (unlikely(is_signalling32(a))) {
        raised = FP_INVALID;
        x = default_nan64;
    } else if (unlikely(is_nan32(a) && v->model->default_nan))
        x = default_nan64;
    else if (unlikely(is_nan32(a)))
        x = (uint64_t)(a >> 31) << 63 | UINT64_C(0x7ff) << 52 | (uint64_t)(a & 0x7fffffu) << 29;
    else
        x = result64(host_widen(0, value32(a), v->host_csr, &raised));
    finish(v, raised);
    mips32_set_d(v, in->dst, x);
    return in + 1;
}

#define FROM_INT(name, from, integer, f, bits)                                                     \
    MIPS32_HANDLER(op_##name)                                                                      \
    {                                                                                              \
        uint32_t raised = 0;                                                                       \
        uint##bits##_t x = raw##bits(                                                              \
            host_from##bits((integer)mips32_get_##from(v, in->rd), v->host_csr, &raised));         \
        finish(v, raised);                                                                         \
        mips32_set_##f(v, in->dst, x);                                                             \
        return in + 1;                                                                             \
    }
FROM_INT(cvt_s_w, s, int32_t, s, 32)
FROM_INT(cvt_s_l, d, int64_t, s, 32)
FROM_INT(cvt_d_w, s, int32_t, d, 64)
FROM_INT(cvt_d_l, d, int64_t, d, 64)

/* The last two bits of round, trunc, ceil and floor are RM's values; CVT takes FCSR's. */
static uint32_t conversion_csr(const struct mips32_vcpu *v, const struct mips32_insn *in)
{
    bool cvt = in->word & 0x20;
    return cvt ? v->host_csr : CSR_DEFAULT | (uint32_t)host_rounding[in->word & 3] << CSR_RC_SHIFT;
}

#define TO_INT(to, integer, max, f, bits, set)                                                     \
    MIPS32_HANDLER(op_to_##to##_##f)                                                               \
    {                                                                                              \
        uint32_t raised = 0;                                                                       \
        integer x = host_to_##to##bits(value##bits(mips32_get_##f(v, in->rd)),                     \
                                       conversion_csr(v, in), &raised);                            \
        if (unlikely(raised & FP_INVALID))                                                         \
            x = max;                                                                               \
        finish(v, raised);                                                                         \
        mips32_set_##set(v, in->dst, (u##integer)x);                                               \
        return in + 1;                                                                             \
    }
TO_INT(w, int32_t, INT32_MAX, s, 32, s)
TO_INT(l, int64_t, INT64_MAX, s, 32, d)
TO_INT(w, int32_t, INT32_MAX, d, 64, s)
TO_INT(l, int64_t, INT64_MAX, d, 64, d)

/* ---- rows ------------------------------------------------------------------------------------ */

#define M_TWO   0xffe0003fu
#define M_ONE   0xffff003fu
#define M_C     0xffe000f0u
#define M_FUSED 0xfc00003fu
#define C1      MIPS32_CP1
#define L1      (MIPS32_CP1 | MIPS32_FR1 | MIPS32_R2)
#define R2      (MIPS32_CP1 | MIPS32_R2)

/* clang-format off */
#define OF_FORMAT(s, fmt)                                                                          \
    {"add." #s,     0x46000000 | fmt << 21, M_TWO, op_add_##s,   "DST", C1},                       \
    {"sub." #s,     0x46000001 | fmt << 21, M_TWO, op_sub_##s,   "DST", C1},                       \
    {"mul." #s,     0x46000002 | fmt << 21, M_TWO, op_mul_##s,   "DST", C1},                       \
    {"div." #s,     0x46000003 | fmt << 21, M_TWO, op_div_##s,   "DST", C1},                       \
    {"sqrt." #s,    0x46000004 | fmt << 21, M_ONE, op_sqrt_##s,  "DS",  C1},                       \
    {"abs." #s,     0x46000005 | fmt << 21, M_ONE, op_abs_##s,   "DS",  C1},                       \
    {"neg." #s,     0x46000007 | fmt << 21, M_ONE, op_neg_##s,   "DS",  C1},                       \
    {"round.l." #s, 0x46000008 | fmt << 21, M_ONE, op_to_l_##s,  "DS",  L1},                       \
    {"trunc.l." #s, 0x46000009 | fmt << 21, M_ONE, op_to_l_##s,  "DS",  L1},                       \
    {"ceil.l." #s,  0x4600000a | fmt << 21, M_ONE, op_to_l_##s,  "DS",  L1},                       \
    {"floor.l." #s, 0x4600000b | fmt << 21, M_ONE, op_to_l_##s,  "DS",  L1},                       \
    {"round.w." #s, 0x4600000c | fmt << 21, M_ONE, op_to_w_##s,  "DS",  C1},                       \
    {"trunc.w." #s, 0x4600000d | fmt << 21, M_ONE, op_to_w_##s,  "DS",  C1},                       \
    {"ceil.w." #s,  0x4600000e | fmt << 21, M_ONE, op_to_w_##s,  "DS",  C1},                       \
    {"floor.w." #s, 0x4600000f | fmt << 21, M_ONE, op_to_w_##s,  "DS",  C1},                       \
    {"recip." #s,   0x46000015 | fmt << 21, M_ONE, op_recip_##s, "DS",  R2},                       \
    {"rsqrt." #s,   0x46000016 | fmt << 21, M_ONE, op_rsqrt_##s, "DS",  R2},                       \
    {"cvt.w." #s,   0x46000024 | fmt << 21, M_ONE, op_to_w_##s,  "DS",  C1},                       \
    {"cvt.l." #s,   0x46000025 | fmt << 21, M_ONE, op_to_l_##s,  "DS",  L1},                       \
    {"c." #s,       0x46000030 | fmt << 21, M_C,   op_c_##s,     "mST", C1}
#define FUSED_OF(s, low)                                                                           \
    {"madd." #s,  0x4c000020 | low, M_FUSED, op_madd_##s,  "DRST", R2},                            \
    {"msub." #s,  0x4c000028 | low, M_FUSED, op_msub_##s,  "DRST", R2},                            \
    {"nmadd." #s, 0x4c000030 | low, M_FUSED, op_nmadd_##s, "DRST", R2},                            \
    {"nmsub." #s, 0x4c000038 | low, M_FUSED, op_nmsub_##s, "DRST", R2}

static const struct mips32_op ops[] = {
    OF_FORMAT(s, 0u),
    OF_FORMAT(d, 1u),
    {"cvt.s.d", 0x46200020, M_ONE, op_cvt_s_d, "DS", C1},
    {"cvt.s.w", 0x46800020, M_ONE, op_cvt_s_w, "DS", C1},
    {"cvt.s.l", 0x46a00020, M_ONE, op_cvt_s_l, "DS", L1},
    {"cvt.d.s", 0x46000021, M_ONE, op_cvt_d_s, "DS", C1},
    {"cvt.d.w", 0x46800021, M_ONE, op_cvt_d_w, "DS", C1},
    {"cvt.d.l", 0x46a00021, M_ONE, op_cvt_d_l, "DS", L1},
    FUSED_OF(s, 0u),
    FUSED_OF(d, 1u),
};
/* clang-format on */

const struct mips32_ops_list mips32_ops_fpu = {ops, ARRAY_LEN(ops)};
