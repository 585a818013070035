/* SPDX-License-Identifier: MIT */
/* Coprocessor 1's registers and status (vol. I chapter 5). */
#ifndef RING3_ISA_MIPS32_FPU_H
#define RING3_ISA_MIPS32_FPU_H

#include "isa/mips32/cpu.h"

/* FCSR. Exceptions, from bit 0 of each field on: inexact, underflow, overflow, division by zero,
 * invalid; Cause alone has "unimplemented" above them. */
#define FCSR_RM          3u
#define FCSR_FLAGS_SHIFT 2
#define FCSR_ENABLES     0x00000f80u
#define FCSR_EN_SHIFT    7
#define FCSR_CAUSE       0x0003f000u
#define FCSR_CAUSE_SHIFT 12
#define FCSR_FS          (1u << 24)
#define FCSR_WRITABLE    0xff83ffffu /* not NAN2008 and ABS2008, which are 0 */
enum { FP_INEXACT = 1, FP_UNDERFLOW = 2, FP_OVERFLOW = 4, FP_DIVIDE = 8, FP_INVALID = 16 };

uint32_t mips32_fir(const struct mips32_vcpu *v);
void mips32_set_fcsr(struct mips32_vcpu *v, uint32_t x); /* raises nothing */
bool mips32_fcsr_traps(const struct mips32_vcpu *v); /* a bit of Cause is enabled, or unmaskable */
void mips32_fpu_reset(struct mips32_vcpu *v);
void mips32_fpu_restored(struct mips32_vcpu *v);

/* Condition code n as a bit of FCSR. */
static inline uint32_t mips32_fcc(unsigned n)
{
    return 1u << (n ? 24 + n : 23);
}

/* ---- registers: 32 bits in the low half; 64 bits as Status.FR says --------------------------- */

static inline uint32_t mips32_get_s(const struct mips32_vcpu *v, unsigned n)
{
    return (uint32_t)v->fpr[n];
}
static inline void mips32_set_s(struct mips32_vcpu *v, unsigned n, uint32_t x)
{
    v->fpr[n] = (v->fpr[n] & ~(uint64_t)UINT32_MAX) | x;
}
/* With FR clear, an odd n, which is not defined, names the pair that it is in. */
static inline uint64_t mips32_get_d(const struct mips32_vcpu *v, unsigned n)
{
    if (v->cp0.status & ST_FR)
        return v->fpr[n];
    return (uint64_t)(uint32_t)v->fpr[n | 1] << 32 | (uint32_t)v->fpr[n & ~1u];
}
static inline void mips32_set_d(struct mips32_vcpu *v, unsigned n, uint64_t x)
{
    if (v->cp0.status & ST_FR) {
        v->fpr[n] = x;
        return;
    }
    mips32_set_s(v, n & ~1u, (uint32_t)x);
    mips32_set_s(v, n | 1, (uint32_t)(x >> 32));
}

#endif
