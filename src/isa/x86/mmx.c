/* SPDX-License-Identifier: MIT */
/* MMX instructions, on the guest's MMX registers live in the host (Intel SDM vol. 1 ch. 9).
 *
 * Stubs exist for every register pair, so the host keeps tags, top of stack and exponents as the
 * guest's own processor would. Forms with an immediate go through plain 64-bit values: the MOVQ
 * in and out of them has the same side effects. */
#include "isa/x86/simd.h"

typedef unsigned (*mmx_stub)(void *mem);

#define MMX_STRIDE 4
/* Stub for two registers, or for a register and memory at the argument. */
static mmx_stub stub_rr(const void *stubs, unsigned reg, unsigned rm)
{
    return (mmx_stub)((uintptr_t)stubs + (reg << 3 | rm) * MMX_STRIDE);
}
static mmx_stub stub_rm(const void *stubs, unsigned reg)
{
    return (mmx_stub)((uintptr_t)stubs + (64 + reg) * MMX_STRIDE);
}

uint64_t mmx_get(unsigned n)
{
    uint64_t x;
    stub_rm(x86_simd_forms[SIMD_NP][0x7f].stub, n)(&x);
    return x;
}

void mmx_set(unsigned n, uint64_t x)
{
    stub_rm(x86_simd_forms[SIMD_NP][0x6f].stub, n)(&x);
}

/* op mm, mm/m */
void x86_simd_mm(struct x86_vcpu *v, const struct x86_insn *in, const struct simd_form *f)
{
    if (in->has_mem) {
        uint64_t x = simd_load_low(v, in, f);
        stub_rm(f->stub, simd_reg(in))(&x);
    } else {
        stub_rr(f->stub, simd_reg(in), simd_rm(in))(NULL);
    }
}

void x86_simd_mm_movd_load(struct x86_vcpu *v, const struct x86_insn *in, const struct simd_form *f)
{
    uint32_t x = in->has_mem ? (uint32_t)simd_load_low(v, in, f) : x86_r32(v, simd_rm(in));
    stub_rm(f->stub, simd_reg(in))(&x);
}

void x86_simd_mm_movd_store(struct x86_vcpu *v, const struct x86_insn *in,
                            const struct simd_form *f)
{
    uint32_t x;
    if (in->has_mem)
        simd_probe(v, in, f);
    stub_rm(f->stub, simd_reg(in))(&x);
    if (in->has_mem)
        simd_store(v, in, f, _mm_cvtsi64_si128((long long)x));
    else
        x86_w32(v, simd_rm(in), x);
}

/* movq mm/m64, mm; movntq */
void x86_simd_mm_store(struct x86_vcpu *v, const struct x86_insn *in, const struct simd_form *f)
{
    uint64_t x;
    if (!in->has_mem) {
        stub_rr(f->stub, simd_reg(in), simd_rm(in))(NULL);
        return;
    }
    simd_probe(v, in, f);
    stub_rm(f->stub, simd_reg(in))(&x);
    simd_store(v, in, f, _mm_cvtsi64_si128((long long)x));
}

void x86_simd_mm_maskmov(struct x86_vcpu *v, const struct x86_insn *in, const struct simd_form *f)
{
    uint64_t from = mmx_get(simd_reg(in)), mask = mmx_get(simd_rm(in));
    simd_store_masked(v, in, (const uint8_t *)&from, (const uint8_t *)&mask, 8);
}

void x86_simd_mm_movmsk(struct x86_vcpu *v, const struct x86_insn *in, const struct simd_form *f)
{
    x86_w32(v, simd_reg(in), stub_rr(f->stub, X86_EAX, simd_rm(in))(NULL));
}

/* pshufw: what pshuflw does to the lower half of an XMM register. */
void x86_simd_mm_shuffle(struct x86_vcpu *v, const struct x86_insn *in, const struct simd_form *f)
{
    const struct simd_form *low = &x86_simd_forms[SIMD_F2][0x70];
    uint64_t from = in->has_mem ? simd_load_low(v, in, f) : mmx_get(simd_rm(in));
    __m128i x = _mm_cvtsi64_si128((long long)from);
    x = ((__m128i(*)(__m128i, __m128i))((uintptr_t)low->stub + (uint8_t)in->imm * 8))(x, x);
    mmx_set(simd_reg(in), (uint64_t)_mm_cvtsi128_si64(x));
}

/* Shift by an immediate: the shift by a quadword in memory. */
void x86_simd_mm_shift(struct x86_vcpu *v, const struct x86_insn *in, const struct simd_form *f)
{
    uint64_t count = (uint8_t)in->imm;
    stub_rm(simd_shift_form(in, SIMD_NP)->stub, simd_rm(in))(&count);
}

void x86_simd_mm_insert(struct x86_vcpu *v, const struct x86_insn *in, const struct simd_form *f)
{
    uint16_t w = in->has_mem ? (uint16_t)simd_load_low(v, in, f) : x86_r16(v, simd_rm(in));
    union xmm x = {.q = {mmx_get(simd_reg(in)), 0}};
    x.w[in->imm & 3] = w;
    mmx_set(simd_reg(in), x.q[0]);
}

void x86_simd_mm_extract(struct x86_vcpu *v, const struct x86_insn *in, const struct simd_form *f)
{
    union xmm x = {.q = {mmx_get(simd_rm(in)), 0}};
    x86_w32(v, simd_reg(in), x.w[in->imm & 3]);
}

void x86_simd_emms(struct x86_vcpu *v, const struct x86_insn *in, const struct simd_form *f)
{
    __asm__ volatile("emms" : : : "memory");
}
