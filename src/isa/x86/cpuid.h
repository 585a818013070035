/* SPDX-License-Identifier: MIT */
/* What the processor says it is, and its model-specific registers. */
#ifndef RING3_ISA_X86_CPUID_H
#define RING3_ISA_X86_CPUID_H

#include "isa/x86/x86.h"

struct x86_cpuid {
    uint32_t eax, ebx, ecx, edx;
};
struct x86_cpuid x86_cpuid(const struct x86_vcpu *v, uint32_t leaf, uint32_t subleaf);
#define X86_APIC_BASE_ENABLE 0x800u /* in MSR 0x1b */

/* False: no such register, or a value it does not take (#GP(0)). (msr.c) */
bool x86_msr_read(struct x86_vcpu *v, uint32_t msr, uint64_t *x);
bool x86_msr_write(struct x86_vcpu *v, uint32_t msr, uint64_t x);

#endif
