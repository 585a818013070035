/* SPDX-License-Identifier: MIT */
/* The MIPS32 processor as boards see it. */
#ifndef RING3_ISA_MIPS32_MIPS32_H
#define RING3_ISA_MIPS32_MIPS32_H

#include "ring3/dev.h"
#include "ring3/vcpu.h"

extern const struct isa_ops mips32_ops;

/* What a processor is. Constant data; outlives the processor. */
struct mips32_model {
    const char *name;
    uint32_t prid;        /* CP0 PRId */
    unsigned tlb_entries; /* 16 to 64 */
    bool big_endian;      /* Config.BE: byte order in memory, in every mode */
    bool supervisor;      /* has supervisor mode and the segment KSSEG */
    bool release2;        /* MIPS32 release 2; else release 1 */
    bool fpu;             /* has coprocessor 1 */
    bool default_nan;     /* its result for a NaN operand is the default NaN, not the operand */
    uint64_t count_hz;    /* rate of CP0 Count, half of the processor's clock */
};
extern const struct mips32_model mips32_24kf; /* little-endian, release 2, FPU */

/* A processor of that model; mips32_ops.vcpu_new() makes a mips32_24kf. It does not use w->pio.
 * NULL on error. */
struct vcpu *mips32_new(const struct vcpu_wiring *w, const struct mips32_model *m, unsigned index,
                        struct err *e);

/* After reset(): start at pc as a boot loader would, in kernel mode with Status.BEV, ERL and EXL
 * clear, with a[] in registers a0 to a3. */
void mips32_start(struct vcpu *v, uint32_t pc, const uint32_t a[4]);

/* Hardware interrupt pin n (0 to 5), a level: Cause.IP[n + 2]. Pin 5 shares IP7 with the timer. Any
 * thread may set it. */
struct irq_line mips32_pin(struct vcpu *v, unsigned n);

#endif
