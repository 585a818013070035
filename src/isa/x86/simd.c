/* SPDX-License-Identifier: MIT */
/* MMX, SSE and SSE2: the table of instruction forms, its dispatch, memory operands (Intel SDM
 * vol. 1 ch. 9-11; vol. 2).
 *
 * mmx.def and sse.def list every form once. The assembler makes a stub from each line that needs
 * one (fpu_stubs.S), this file makes the rows the decoder reads and a table by mandatory prefix
 * and opcode, from which x86_simd_exec() takes the handler. One mnemonic covers MMX and XMM
 * forms, so the decoder cannot tell them apart and the prefix must.
 *
 * Left out: everything from SSE3 on, which has no line and so is #UD. */
#include "isa/x86/simd.h"

/* ---- stubs and the table --------------------------------------------------------------------- */

#define F(mnemonic, p, op, stub, ...) DECLARE_##stub(p, op)
#define G                             F
#define H(p, op, stub, ...)           DECLARE_##stub(p, op)
#define DECLARE(p, op)                extern const uint8_t x86_simd_##p##_##op[];
#define DECLARE_mmx                   DECLARE
#define DECLARE_xmm                   DECLARE
#define DECLARE_imm256                DECLARE
#define DECLARE_imm8                  DECLARE
#define DECLARE_from_gpr              DECLARE
#define DECLARE_from_mmx              DECLARE
#define DECLARE_flags                 DECLARE
#define DECLARE_none(p, op)
#include "isa/x86/mmx.def"
#include "isa/x86/sse.def"
#undef F
#undef G
#undef H

#define ADDRESS(p, op)      x86_simd_##p##_##op
#define ADDRESS_mmx         ADDRESS
#define ADDRESS_xmm         ADDRESS
#define ADDRESS_imm256      ADDRESS
#define ADDRESS_imm8        ADDRESS
#define ADDRESS_from_gpr    ADDRESS
#define ADDRESS_from_mmx    ADDRESS
#define ADDRESS_flags       ADDRESS
#define ADDRESS_none(p, op) NULL

#define MMX   SIMD_MMX
#define SSE   SIMD_SSE
#define ALIGN SIMD_ALIGN
#define FP    SIMD_FP
#define MERGE SIMD_MERGE
#define HIGH  SIMD_HIGH
#define FORM(number, p, op, stub, run, size, flags)                                                \
    [SIMD_##p][0x##op] = {x86_simd_##run, ADDRESS_##stub(p, op), number, size, flags},
#define F(mnemonic, ...) FORM(ZYDIS_MNEMONIC_##mnemonic, __VA_ARGS__)
#define G                F
#define H(...)           FORM(0, __VA_ARGS__)
const struct simd_form x86_simd_forms[4][256] = {
#include "isa/x86/mmx.def"
#include "isa/x86/sse.def"
};
#undef F
#undef G
#undef H

/* ---- rows ------------------------------------------------------------------------------------ */

/* All may be copied but the masked moves, whose address is DS:(e)di and nowhere in the encoding. */
#define COPY(number)                                                                               \
    ((unsigned)(number) == ZYDIS_MNEMONIC_MASKMOVQ ||                                              \
             (unsigned)(number) == ZYDIS_MNEMONIC_MASKMOVDQU                                       \
         ? 0                                                                                       \
         : X86_COPY)
#define ROW(number, class)                                                                         \
    {                                                                                              \
        number, (class) | COPY(number), x86_simd_exec, NULL                                        \
    }
#define G(...)
#define H(...)
#define F(mnemonic, ...) ROW(ZYDIS_MNEMONIC_##mnemonic, X86_MMX),
const struct x86_op x86_ops_mmx[] = {
#include "isa/x86/mmx.def"
    {0},
};
#undef F

static void no_operation(struct x86_vcpu *v, const struct x86_insn *in) {}

/* Orders nothing: the one vCPU sees its own accesses in order, and devices are called at once. */
#define HINT(mnemonic)                                                                             \
    {                                                                                              \
        ZYDIS_MNEMONIC_##mnemonic, X86_COPY, no_operation, NULL                                    \
    }
#define F(mnemonic, ...) ROW(ZYDIS_MNEMONIC_##mnemonic, X86_SSE),
const struct x86_op x86_ops_sse[] = {
#include "isa/x86/sse.def"
    ROW(X86_MN_MOVSD_SSE, X86_SSE),
    ROW(X86_MN_CMPSD_SSE, X86_SSE),
    ROW(ZYDIS_MNEMONIC_MOVHLPS, X86_SSE),
    ROW(ZYDIS_MNEMONIC_MOVLHPS, X86_SSE),
    ROW(ZYDIS_MNEMONIC_PSRLDQ, X86_SSE),
    ROW(ZYDIS_MNEMONIC_PSLLDQ, X86_SSE),
    {ZYDIS_MNEMONIC_LDMXCSR, X86_SSE, x86_ldmxcsr, NULL}, /* #GP for bits of our choice */
    {ZYDIS_MNEMONIC_STMXCSR, X86_SSE | X86_COPY, x86_stmxcsr, NULL},
    {ZYDIS_MNEMONIC_FXSAVE, X86_SSE, x86_fxsave, NULL}, /* 64-bit mode has 8 more registers */
    {ZYDIS_MNEMONIC_FXRSTOR, X86_SSE, x86_fxrstor, NULL},
    {ZYDIS_MNEMONIC_MOVNTI, X86_COPY, x86_movnti, NULL},
    {ZYDIS_MNEMONIC_CLFLUSH, X86_COPY, x86_clflush, NULL},
    HINT(PREFETCHNTA),
    HINT(PREFETCHT0),
    HINT(PREFETCHT1),
    HINT(PREFETCHT2),
    HINT(SFENCE),
    HINT(LFENCE),
    HINT(MFENCE),
    HINT(PAUSE),
    {0},
};
#undef F
#undef G
#undef H
#undef ROW
#undef COPY

/* ---- dispatch -------------------------------------------------------------------------------- */

/* Prefixes in the order in which one hides the other. Of F2 and F3 decode.c leaves the one that
 * counts. */
static const struct simd_form *find_form(const struct x86_insn *in)
{
    static const struct {
        uint8_t bit, index;
    } order[] = {
        {X86_PFX_REPNE, SIMD_F2}, {X86_PFX_REP, SIMD_F3}, {X86_PFX_OPSIZE, SIMD_66}, {0, SIMD_NP}};
    for (unsigned i = 0; i < ARRAY_LEN(order); i++) {
        const struct simd_form *f = &x86_simd_forms[order[i].index][in->opcode];
        if ((in->prefix & order[i].bit) == order[i].bit && f->run &&
            (!f->mnemonic || f->mnemonic == in->mnemonic))
            return f;
    }
    return NULL;
}

/* CVTPI2PD with a memory operand leaves x87 and MMX alone (SDM vol. 2). */
static bool is_mmx(const struct x86_insn *in, const struct simd_form *f)
{
    return (f->flags & SIMD_MMX) && !(in->has_mem && f == &x86_simd_forms[SIMD_66][0x2a]);
}

void x86_simd_exec(struct x86_vcpu *v, const struct x86_insn *in)
{
    const struct simd_form *f = find_form(in);
    if (unlikely(!f)) /* one that only newer processors have */
        x86_raise(v, X86_UD);
    if (f->flags & SIMD_SSE)
        x86_sse_guard(v);
    if (is_mmx(in, f) && !x86_mmx_guard(v))
        return;
    f->run(v, in, f);
}

const struct simd_form *simd_shift_form(const struct x86_insn *in, unsigned prefix)
{
    /* modrm.reg 2: logical right, 4: arithmetic right, 6: left; 71: words, 72, 73: quadwords */
    static const uint8_t row[8] = {[2] = 0xd0, [4] = 0xe0, [6] = 0xf0};
    return &x86_simd_forms[prefix][row[simd_reg(in)] | (in->opcode & 3)];
}

/* ---- memory operands ------------------------------------------------------------------------- */

uint32_t simd_ea(struct x86_vcpu *v, const struct x86_insn *in, const struct simd_form *f)
{
    uint32_t ea = x86_ea(v, in);
    if ((f->flags & SIMD_ALIGN) && (((uint32_t)v->seg[in->seg].base + ea) & 15))
        x86_raise_error(v, X86_GP, 0);
    return ea;
}

uint64_t simd_load_low(struct x86_vcpu *v, const struct x86_insn *in, const struct simd_form *f)
{
    uint32_t ea = simd_ea(v, in, f);
    switch (f->size) {
    case 2:
        return x86_read16(v, in->seg, ea);
    case 4:
        return x86_read32(v, in->seg, ea);
    default:
        return x86_read64(v, in->seg, ea);
    }
}

__m128i simd_load(struct x86_vcpu *v, const struct x86_insn *in, const struct simd_form *f)
{
    union xmm x;
    if (f->size < 16)
        return _mm_cvtsi64_si128((long long)simd_load_low(v, in, f));
    uint32_t ea = simd_ea(v, in, f);
    const uint8_t *p = x86_fast_read(v, in->seg, ea, 16);
    if (likely(p))
        return _mm_loadu_si128((const __m128i_u *)p);
    x86_read_bytes(v, in->seg, ea, &x, 16);
    return x.v;
}

void simd_store(struct x86_vcpu *v, const struct x86_insn *in, const struct simd_form *f, __m128i x)
{
    uint32_t ea = simd_ea(v, in, f);
    if (f->size == 4) {
        x86_write32(v, in->seg, ea, (uint32_t)_mm_cvtsi128_si32(x));
    } else if (f->size == 8) {
        x86_write64(v, in->seg, ea, (uint64_t)_mm_cvtsi128_si64(x));
    } else {
        uint8_t *p = x86_fast_write(v, in->seg, ea, 16);
        if (likely(p))
            _mm_storeu_si128((__m128i_u *)p, x);
        else
            x86_write_bytes(v, in->seg, ea, &x, 16);
    }
}

void simd_probe(struct x86_vcpu *v, const struct x86_insn *in, const struct simd_form *f)
{
    uint32_t ea = x86_ea(v, in);
    if (unlikely(!x86_fast_write(v, in->seg, ea, f->size)))
        x86_probe_write(v, in->seg, ea, f->size);
}

void simd_store_masked(struct x86_vcpu *v, const struct x86_insn *in, const uint8_t *from,
                       const uint8_t *mask, unsigned n)
{
    uint32_t wrap = in->asize == 4 ? 0xffffffff : 0xffff;
    uint32_t ea = x86_r32(v, X86_EDI) & wrap;
    for (unsigned i = 0; i < n; i++)
        if (mask[i] & 0x80)
            x86_probe_write(v, in->seg, (ea + i) & wrap, 1);
    for (unsigned i = 0; i < n; i++)
        if (mask[i] & 0x80)
            x86_write8(v, in->seg, (ea + i) & wrap, from[i]);
}
