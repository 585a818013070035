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

/* ---- registers ------------------------------------------------------------------------------
 * With Status.FR set fpr[n] is register n, a single its low half. With FR clear a double is an even
 * register and the odd one behind it as its high half: both singles lie in fpr[n & ~1]; an odd n,
 * which is not defined for doubles, names the pair that it is in. What changes of FR do to contents
 * is not defined (vol. III 9.22). */

static inline unsigned mips32_fpr_shift(const struct mips32_vcpu *v, unsigned n)
{
    return v->cp0.status & ST_FR ? 0 : (n & 1) * 32;
}
static inline unsigned mips32_fpr_index(const struct mips32_vcpu *v, unsigned n)
{
    return v->cp0.status & ST_FR ? n : n & ~1u;
}
static inline uint32_t mips32_get_s(const struct mips32_vcpu *v, unsigned n)
{
    return (uint32_t)(v->fpr[mips32_fpr_index(v, n)] >> mips32_fpr_shift(v, n));
}
static inline void mips32_set_s(struct mips32_vcpu *v, unsigned n, uint32_t x)
{
    uint64_t *to = &v->fpr[mips32_fpr_index(v, n)];
    unsigned shift = mips32_fpr_shift(v, n);
    *to = (*to & ~((uint64_t)UINT32_MAX << shift)) | (uint64_t)x << shift;
}
static inline uint64_t mips32_get_d(const struct mips32_vcpu *v, unsigned n)
{
    return v->fpr[mips32_fpr_index(v, n)];
}
static inline void mips32_set_d(struct mips32_vcpu *v, unsigned n, uint64_t x)
{
    v->fpr[mips32_fpr_index(v, n)] = x;
}

#endif
