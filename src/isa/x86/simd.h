/* SPDX-License-Identifier: MIT */
/* Private to simd.c, mmx.c and sse.c: the form of an MMX or SSE instruction and its handlers. */
#ifndef RING3_ISA_X86_SIMD_H
#define RING3_ISA_X86_SIMD_H

#include <emmintrin.h>

#include "isa/x86/fpu.h"
#include "isa/x86/mmu.h"

enum {                      /* flags of a form */
       SIMD_MMX = 1 << 0,   /* uses MMX registers: x86_mmx_guard() */
       SIMD_SSE = 1 << 1,   /* uses XMM registers: x86_sse_guard() */
       SIMD_ALIGN = 1 << 2, /* memory operand must be 16-byte aligned, else #GP(0) */
       SIMD_FP = 1 << 3,    /* obeys and updates MXCSR */
       SIMD_MERGE = 1 << 4, /* register move keeps the rest of the destination */
       SIMD_HIGH = 1 << 5,  /* the upper half of the XMM register */
};

struct simd_form;
typedef void (*simd_handler)(struct x86_vcpu *v, const struct x86_insn *in,
                             const struct simd_form *f);

struct simd_form {
    simd_handler run;
    const void *stub;  /* in fpu_stubs.S, or NULL */
    uint16_t mnemonic; /* 0: any */
    uint8_t size;      /* bytes of a memory operand */
    uint8_t flags;     /* SIMD_* */
};

union xmm {
    __m128i v;
    uint8_t b[16];
    uint16_t w[8];
    uint32_t d[4];
    uint64_t q[2];
};

enum { SIMD_NP, SIMD_66, SIMD_F3, SIMD_F2 };
/* Mandatory prefix and opcode to form; no handler where there is no instruction. */
extern const struct simd_form x86_simd_forms[4][256];

static inline unsigned simd_reg(const struct x86_insn *in)
{
    return in->modrm >> 3 & 7;
}
static inline unsigned simd_rm(const struct x86_insn *in)
{
    return in->modrm & 7;
}
static inline union xmm *simd_xmm(struct x86_vcpu *v, unsigned n)
{
    return (union xmm *)v->fx.xmm[n];
}

/* Offset of the memory operand; #GP(0) if the form wants it aligned and it is not. */
uint32_t simd_ea(struct x86_vcpu *v, const struct x86_insn *in, const struct simd_form *f);
/* Read the memory operand, f->size bytes, zero-extended; the first is for up to 8 bytes. */
uint64_t simd_load_low(struct x86_vcpu *v, const struct x86_insn *in, const struct simd_form *f);
__m128i simd_load(struct x86_vcpu *v, const struct x86_insn *in, const struct simd_form *f);
/* Write the low f->size bytes (4, 8 or 16) of x. */
void simd_store(struct x86_vcpu *v, const struct x86_insn *in, const struct simd_form *f,
                __m128i x);
/* Raise what simd_store() would, before MMX state changes. */
void simd_probe(struct x86_vcpu *v, const struct x86_insn *in, const struct simd_form *f);
/* Replace the bytes of memory whose mask byte has bit 7 set, at DS:(e)di (MASKMOVQ and
 * MASKMOVDQU). Faults before anything is written. */
void simd_store_masked(struct x86_vcpu *v, const struct x86_insn *in, const uint8_t *from,
                       const uint8_t *mask, unsigned n);
/* The by-register form of a shift by immediate: what the stub of 0F 71-73 would be. */
const struct simd_form *simd_shift_form(const struct x86_insn *in, unsigned prefix);

/* MMX registers, live in the host; both have the side effects of an MMX instruction. (mmx.c) */
uint64_t mmx_get(unsigned n);
void mmx_set(unsigned n, uint64_t x);

/* Whole handlers: fpu.c and sse.c. */
void x86_fxsave(struct x86_vcpu *v, const struct x86_insn *in);
void x86_fxrstor(struct x86_vcpu *v, const struct x86_insn *in);
void x86_ldmxcsr(struct x86_vcpu *v, const struct x86_insn *in);
void x86_stmxcsr(struct x86_vcpu *v, const struct x86_insn *in);
void x86_movnti(struct x86_vcpu *v, const struct x86_insn *in);
void x86_clflush(struct x86_vcpu *v, const struct x86_insn *in);

/* Handlers by the last part of their name in mmx.def and sse.def. */
/* clang-format off */
#define SIMD_HANDLERS(X)                                                                           \
    X(mm) X(mm_movd_load) X(mm_movd_store) X(mm_store) X(mm_maskmov) X(mm_movmsk) X(mm_shuffle)    \
    X(mm_shift) X(mm_insert) X(mm_extract) X(emms)                                                 \
    X(xx) X(xi) X(flags) X(from_gpr) X(to_gpr) X(from_mm) X(to_mm) X(movq2dq) X(movdq2q)           \
    X(load) X(store) X(load_half) X(store_half) X(movd_load) X(movd_store) X(maskmov)              \
    X(shift) X(insert) X(extract)
/* clang-format on */
#define SIMD_DECLARE(name)                                                                         \
    void x86_simd_##name(struct x86_vcpu *v, const struct x86_insn *in, const struct simd_form *f);
SIMD_HANDLERS(SIMD_DECLARE)
#undef SIMD_DECLARE

#endif
