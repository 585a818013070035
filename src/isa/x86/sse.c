/* SPDX-License-Identifier: MIT */
/* SSE and SSE2 instructions (Intel SDM vol. 1 ch. 10 and 11).
 *
 * XMM registers are in v->fx.xmm. What computes runs as a stub `op xmm0, xmm1` of the host, a C
 * function of vectors; what only moves bytes is C.
 *
 * Floating point runs with the guest's MXCSR but all exceptions masked and all flags clear. The
 * flags then raised say whether an unmasked one is among them: if so the destination stays, the
 * flags go to MXCSR and #XM (or #UD by CR4.OSXMMEXCPT) is raised. Two differences between masked
 * and unmasked responses are made up for (SDM vol. 1 11.5.2, 4.9.1.5): with an unmasked
 * invalid, denormal or divide-by-zero among the operands nothing is computed, so the flags of
 * results stay clear; and unmasked underflow means tiny, not tiny and inexact. Tiny results show
 * as UE when the host flushes them to zero, so with underflow unmasked a trial run does that.
 *
 * Left out: beside an unmasked overflow or underflow, PE is set if the masked result would be
 * inexact; the processor asks whether the result with unbounded exponent would. */
#include "isa/x86/simd.h"

typedef __m128i (*stub_xx)(__m128i, __m128i);
typedef unsigned (*stub_gx)(__m128i, __m128i);
typedef __m128i (*stub_xg)(__m128i, uint32_t);
typedef __m128i (*stub_xm)(__m128i, void *mem);
#define STUB(type, f)     ((type)(uintptr_t)(f)->stub)
#define IMM_STRIDE        8
#define MMX_SOURCE_STRIDE 8

/* ---- MXCSR ----------------------------------------------------------------------------------- */

#define MXCSR_DEFAULT 0x1f80u
#define MXCSR_FLAGS   0x3fu
#define MXCSR_BEFORE  0x07u /* invalid, denormal, divide by zero: found before computing */
#define MXCSR_UE      0x10u
#define MXCSR_MASKS   0x1f80u
#define MXCSR_UM      0x800u
#define MXCSR_FTZ     0x8000u

struct fp_run {
    uint32_t control; /* in the host's MXCSR */
    bool trial;       /* this run only asks for tiny results */
    bool tiny;        /* and there was one */
};

static inline struct fp_run fp_begin(struct x86_vcpu *v, const struct simd_form *f)
{
    struct fp_run r = {MXCSR_DEFAULT, false, false};
    if (!(f->flags & SIMD_FP))
        return r;
    r.control = (v->fx.mxcsr | MXCSR_MASKS) & ~MXCSR_FLAGS;
    r.trial = !(v->fx.mxcsr & MXCSR_UM);
    if (unlikely(r.trial))
        r.control |= MXCSR_FTZ;
    _mm_setcsr(r.control);
    return r;
}

static _Noreturn void fp_raise(struct x86_vcpu *v, uint32_t flags, uint32_t unmasked)
{
    v->fx.mxcsr |= unmasked & MXCSR_BEFORE ? flags & MXCSR_BEFORE : flags;
    x86_raise(v, v->cr4 & CR4_OSXMMEXCPT ? X86_XM : X86_UD);
}

/* After a run: true if it must be repeated. Raises. */
static inline bool fp_again(struct x86_vcpu *v, const struct simd_form *f, struct fp_run *r)
{
    if (!(f->flags & SIMD_FP))
        return false;
    uint32_t flags = _mm_getcsr() & MXCSR_FLAGS;
    if (unlikely(r->trial)) {
        r->trial = false;
        r->tiny = flags & MXCSR_UE;
        r->control &= ~MXCSR_FTZ; /* no effect with underflow unmasked */
        if (r->tiny) {
            _mm_setcsr(r->control);
            return true;
        }
    }
    _mm_setcsr(MXCSR_DEFAULT);
    if (unlikely(r->tiny))
        flags |= MXCSR_UE;
    uint32_t unmasked = flags & ~(v->fx.mxcsr >> 7);
    if (unlikely(unmasked))
        fp_raise(v, flags, unmasked);
    v->fx.mxcsr |= flags;
    return false;
}

static __m128i run_xx(struct x86_vcpu *v, const struct simd_form *f, stub_xx stub, __m128i a,
                      __m128i b)
{
    __m128i x;
    struct fp_run r = fp_begin(v, f);
    do
        x = stub(a, b);
    while (fp_again(v, f, &r));
    return x;
}

static unsigned run_gx(struct x86_vcpu *v, const struct simd_form *f, __m128i a, __m128i b)
{
    unsigned x;
    struct fp_run r = fp_begin(v, f);
    do
        x = STUB(stub_gx, f)(a, b);
    while (fp_again(v, f, &r));
    return x;
}

void x86_ldmxcsr(struct x86_vcpu *v, const struct x86_insn *in)
{
    x86_sse_guard(v);
    uint32_t x = x86_read32(v, in->seg, x86_ea(v, in));
    if (x & ~X86_MXCSR_MASK)
        x86_raise_error(v, X86_GP, 0);
    v->fx.mxcsr = x;
}

void x86_stmxcsr(struct x86_vcpu *v, const struct x86_insn *in)
{
    x86_sse_guard(v);
    x86_write32(v, in->seg, x86_ea(v, in), v->fx.mxcsr);
}

/* ---- computing ------------------------------------------------------------------------------- */

static inline __m128i source(struct x86_vcpu *v, const struct x86_insn *in,
                             const struct simd_form *f)
{
    return in->has_mem ? simd_load(v, in, f) : simd_xmm(v, simd_rm(in))->v;
}

/* xmm = op(xmm, xmm/m) */
void x86_simd_xx(struct x86_vcpu *v, const struct x86_insn *in, const struct simd_form *f)
{
    union xmm *dest = simd_xmm(v, simd_reg(in));
    dest->v = run_xx(v, f, STUB(stub_xx, f), dest->v, source(v, in, f));
}

/* The same with an immediate. Compares have 8 predicates and look at no more bits. */
void x86_simd_xi(struct x86_vcpu *v, const struct x86_insn *in, const struct simd_form *f)
{
    union xmm *dest = simd_xmm(v, simd_reg(in));
    unsigned imm = in->opcode == 0xc2 ? in->imm & 7 : in->imm & 0xff;
    stub_xx stub = (stub_xx)((uintptr_t)f->stub + imm * IMM_STRIDE);
    dest->v = run_xx(v, f, stub, dest->v, source(v, in, f));
}

/* comiss and its like */
void x86_simd_flags(struct x86_vcpu *v, const struct x86_insn *in, const struct simd_form *f)
{
    v->cc = (uint16_t)run_gx(v, f, simd_xmm(v, simd_reg(in))->v, source(v, in, f));
}

/* r32 = op(xmm/m) */
void x86_simd_to_gpr(struct x86_vcpu *v, const struct x86_insn *in, const struct simd_form *f)
{
    __m128i b = source(v, in, f);
    x86_w32(v, simd_reg(in), run_gx(v, f, b, b));
}

/* xmm = op(xmm, r/m32) */
void x86_simd_from_gpr(struct x86_vcpu *v, const struct x86_insn *in, const struct simd_form *f)
{
    union xmm *dest = simd_xmm(v, simd_reg(in));
    uint32_t b = in->has_mem ? (uint32_t)simd_load_low(v, in, f) : x86_r32(v, simd_rm(in));
    __m128i x;
    struct fp_run r = fp_begin(v, f);
    do
        x = STUB(stub_xg, f)(dest->v, b);
    while (fp_again(v, f, &r));
    dest->v = x;
}

/* cvtpi2ps, cvtpi2pd: MMX instructions if the source is a register. If it is memory the host
 * decides whether they count as such; they do not wait for a pending x87 error, and in case the
 * host does, it must not see one. */
void x86_simd_from_mm(struct x86_vcpu *v, const struct x86_insn *in, const struct simd_form *f)
{
    if (!in->has_mem) {
        if (!x86_mmx_guard(v))
            return;
    } else {
        x86_fpu_load(v);
        if (unlikely(x86_fpu_pending(v)))
            x86_fpu_park(v);
    }
    union xmm *dest = simd_xmm(v, simd_reg(in));
    uint64_t b = in->has_mem ? simd_load_low(v, in, f) : 0;
    unsigned which = in->has_mem ? 8 : simd_rm(in);
    stub_xm stub = (stub_xm)((uintptr_t)f->stub + which * MMX_SOURCE_STRIDE);
    __m128i x;
    struct fp_run r = fp_begin(v, f);
    do
        x = stub(dest->v, &b);
    while (fp_again(v, f, &r));
    dest->v = x;
}

/* mm = op(xmm/m): computed by the instruction that does the same to an XMM register, so that the
 * MMX register stays when an exception is raised, and moved over. The upper half of a source of
 * two floats is not its business and would raise flags. */
void x86_simd_to_mm(struct x86_vcpu *v, const struct x86_insn *in, const struct simd_form *f)
{
    bool doubles = f->size == 16, truncate = in->opcode == 0x2c;
    const struct simd_form *twin = doubles ? &x86_simd_forms[truncate ? SIMD_66 : SIMD_F2][0xe6]
                                           : &x86_simd_forms[truncate ? SIMD_F3 : SIMD_66][0x5b];
    union xmm x = {.v = source(v, in, f)};
    if (!doubles)
        x.q[1] = 0;
    (void)mmx_get(simd_reg(in)); /* it becomes an MMX instruction before it can raise #XM */
    x.v = run_xx(v, f, STUB(stub_xx, twin), x.v, x.v);
    mmx_set(simd_reg(in), x.q[0]);
}

/* ---- shifts by an immediate ------------------------------------------------------------------ */

static void shift_bytes(union xmm *x, unsigned n, bool left)
{
    uint8_t wide[48] = {0};
    if (n > 16)
        n = 16;
    memcpy(wide + 16, x, 16);
    memcpy(x, wide + (left ? 16 - n : 16 + n), 16);
}

void x86_simd_shift(struct x86_vcpu *v, const struct x86_insn *in, const struct simd_form *f)
{
    union xmm *dest = simd_xmm(v, simd_rm(in)), count = {.q = {(uint8_t)in->imm, 0}};
    if (in->opcode == 0x73 && (simd_reg(in) & 1)) {
        shift_bytes(dest, (uint8_t)in->imm, simd_reg(in) == 7);
        return;
    }
    dest->v = STUB(stub_xx, simd_shift_form(in, SIMD_66))(dest->v, count.v);
}

/* ---- moves ----------------------------------------------------------------------------------- */

/* Move f->size bytes; the rest of a register stays (SIMD_MERGE) or becomes zero. */
static void move_reg(union xmm *to, const union xmm *from, const struct simd_form *f)
{
    union xmm x = {.q = {0, 0}};
    if (f->flags & SIMD_MERGE)
        x = *to;
    memcpy(&x, from, f->size);
    *to = x;
}

void x86_simd_load(struct x86_vcpu *v, const struct x86_insn *in, const struct simd_form *f)
{
    union xmm *dest = simd_xmm(v, simd_reg(in));
    if (in->has_mem)
        dest->v = simd_load(v, in, f);
    else
        move_reg(dest, simd_xmm(v, simd_rm(in)), f);
}

void x86_simd_store(struct x86_vcpu *v, const struct x86_insn *in, const struct simd_form *f)
{
    const union xmm *from = simd_xmm(v, simd_reg(in));
    if (in->has_mem)
        simd_store(v, in, f, from->v);
    else
        move_reg(simd_xmm(v, simd_rm(in)), from, f);
}

/* movlps, movhps and movlpd, movhpd; between registers movhlps and movlhps, which take the other
 * half. */
void x86_simd_load_half(struct x86_vcpu *v, const struct x86_insn *in, const struct simd_form *f)
{
    bool high = f->flags & SIMD_HIGH;
    uint64_t x = in->has_mem ? simd_load_low(v, in, f) : simd_xmm(v, simd_rm(in))->q[!high];
    simd_xmm(v, simd_reg(in))->q[high] = x;
}

void x86_simd_store_half(struct x86_vcpu *v, const struct x86_insn *in, const struct simd_form *f)
{
    const union xmm *from = simd_xmm(v, simd_reg(in));
    simd_store(v, in, f, f->flags & SIMD_HIGH ? _mm_srli_si128(from->v, 8) : from->v);
}

void x86_simd_movd_load(struct x86_vcpu *v, const struct x86_insn *in, const struct simd_form *f)
{
    uint32_t x = in->has_mem ? (uint32_t)simd_load_low(v, in, f) : x86_r32(v, simd_rm(in));
    *simd_xmm(v, simd_reg(in)) = (union xmm){.d = {x, 0, 0, 0}};
}

void x86_simd_movd_store(struct x86_vcpu *v, const struct x86_insn *in, const struct simd_form *f)
{
    const union xmm *from = simd_xmm(v, simd_reg(in));
    if (in->has_mem)
        simd_store(v, in, f, from->v);
    else
        x86_w32(v, simd_rm(in), from->d[0]);
}

void x86_simd_movq2dq(struct x86_vcpu *v, const struct x86_insn *in, const struct simd_form *f)
{
    *simd_xmm(v, simd_reg(in)) = (union xmm){.q = {mmx_get(simd_rm(in)), 0}};
}

void x86_simd_movdq2q(struct x86_vcpu *v, const struct x86_insn *in, const struct simd_form *f)
{
    mmx_set(simd_reg(in), simd_xmm(v, simd_rm(in))->q[0]);
}

void x86_simd_maskmov(struct x86_vcpu *v, const struct x86_insn *in, const struct simd_form *f)
{
    simd_store_masked(v, in, simd_xmm(v, simd_reg(in))->b, simd_xmm(v, simd_rm(in))->b, 16);
}

void x86_simd_insert(struct x86_vcpu *v, const struct x86_insn *in, const struct simd_form *f)
{
    uint16_t x = in->has_mem ? (uint16_t)simd_load_low(v, in, f) : x86_r16(v, simd_rm(in));
    simd_xmm(v, simd_reg(in))->w[in->imm & 7] = x;
}

void x86_simd_extract(struct x86_vcpu *v, const struct x86_insn *in, const struct simd_form *f)
{
    x86_w32(v, simd_reg(in), simd_xmm(v, simd_rm(in))->w[in->imm & 7]);
}

void x86_movnti(struct x86_vcpu *v, const struct x86_insn *in)
{
    x86_write32(v, in->seg, x86_ea(v, in), x86_r32(v, simd_reg(in)));
}

/* Flushes nothing, but faults like the load of a byte. */
void x86_clflush(struct x86_vcpu *v, const struct x86_insn *in)
{
    (void)x86_read8(v, in->seg, x86_ea(v, in));
}
