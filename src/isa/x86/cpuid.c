/* SPDX-License-Identifier: MIT */
/* CPUID (Intel SDM vol. 2; AMD APM vol. 3 appendix E).
 *
 * The model is an Athlon-class processor with SSE2: family 6, vendor AuthenticAMD. The vendor
 * matters: kernels apply their Meltdown and L1TF mitigations, dear for an interpreter, to Intel's
 * of that age only. The APIC is offered where the board has one and it is switched on. Not offered:
 * MTRR, MCA, long mode, SYSCALL, AVX and anything after SSE2. Leaf 80000007 promises a constant
 * TSC, which the host's clock gives. */
#include "isa/x86/cpuid.h"

#define FEATURE_FPU          (1u << 0)
#define FEATURE_VME          (1u << 1)
#define FEATURE_DE           (1u << 2)
#define FEATURE_PSE          (1u << 3)
#define FEATURE_TSC          (1u << 4)
#define FEATURE_MSR          (1u << 5)
#define FEATURE_PAE          (1u << 6)
#define FEATURE_CX8          (1u << 8)
#define FEATURE_APIC         (1u << 9)
#define FEATURE_SEP          (1u << 11)
#define FEATURE_PGE          (1u << 13)
#define FEATURE_CMOV         (1u << 15)
#define FEATURE_PAT          (1u << 16)
#define FEATURE_PSE36        (1u << 17)
#define FEATURE_CLFLUSH      (1u << 19)
#define FEATURE_MMX          (1u << 23)
#define FEATURE_FXSR         (1u << 24)
#define FEATURE_SSE          (1u << 25)
#define FEATURE_SSE2         (1u << 26)
#define FEATURE_HYPERVISOR   (1u << 31) /* ecx */
#define FEATURE_NX           (1u << 20) /* 80000001 edx */
#define FEATURE_CONSTANT_TSC (1u << 8)  /* 80000007 edx */

#define FEATURES_COMMON                                                                            \
    (FEATURE_FPU | FEATURE_VME | FEATURE_DE | FEATURE_PSE | FEATURE_TSC | FEATURE_MSR |            \
     FEATURE_PAE | FEATURE_CX8 | FEATURE_PGE | FEATURE_CMOV | FEATURE_PAT | FEATURE_PSE36 |        \
     FEATURE_MMX | FEATURE_FXSR)
#define FEATURES_1 (FEATURES_COMMON | FEATURE_SEP | FEATURE_CLFLUSH | FEATURE_SSE | FEATURE_SSE2)

#define SIGNATURE      0x623u /* family 6, model 2, stepping 3 */
#define CLFLUSH_QWORDS (8u << 8)

/* Four characters in a register, first one lowest. */
#define CHARS(a, b, c, d)                                                                          \
    ((uint32_t)(a) | (uint32_t)(b) << 8 | (uint32_t)(c) << 16 | (uint32_t)(d) << 24)

static const struct {
    uint32_t leaf;
    struct x86_cpuid r;
} leaves[] = {
    {0, {1, CHARS('A', 'u', 't', 'h'), CHARS('c', 'A', 'M', 'D'), CHARS('e', 'n', 't', 'i')}},
    {1, {SIGNATURE, CLFLUSH_QWORDS, FEATURE_HYPERVISOR, FEATURES_1}},
    {0x40000000,
     {0x40000000, CHARS('r', 'i', 'n', 'g'), CHARS('3', ' ', 'v', 'm'), CHARS('m', 0, 0, 0)}},
    {0x80000000,
     {0x80000008, CHARS('A', 'u', 't', 'h'), CHARS('c', 'A', 'M', 'D'), CHARS('e', 'n', 't', 'i')}},
    {0x80000001, {SIGNATURE, 0, 0, FEATURES_COMMON | FEATURE_NX}},
    {0x80000002,
     {CHARS('r', 'i', 'n', 'g'), CHARS('3', ' ', 'v', 'i'), CHARS('r', 't', 'u', 'a'),
      CHARS('l', ' ', 'p', 'r')}},
    {0x80000003, {CHARS('o', 'c', 'e', 's'), CHARS('s', 'o', 'r', 0), 0, 0}},
    {0x80000004, {0, 0, 0, 0}},
    /* 64 KiB L1 caches, two-way, 64-byte lines; 512 KiB L2, 16-way: an Athlon's */
    {0x80000005, {0, 0, 0x40020140, 0x40020140}},
    {0x80000006, {0, 0, 0x02008140, 0}},
    {0x80000007, {0, 0, 0, FEATURE_CONSTANT_TSC}},
    {0x80000008, {36 | 32 << 8, 0, 0, 0}},
};

static bool has_apic(const struct x86_vcpu *v)
{
    return v->apic_base.read && (v->apic_base.read(v->apic_base.opaque) & X86_APIC_BASE_ENABLE);
}

struct x86_cpuid x86_cpuid(const struct x86_vcpu *v, uint32_t leaf, uint32_t subleaf)
{
    struct x86_cpuid r = {0};
    for (unsigned i = 0; i < ARRAY_LEN(leaves); i++)
        if (leaves[i].leaf == leaf)
            r = leaves[i].r;
    if ((leaf == 1 || leaf == 0x80000001) && has_apic(v))
        r.edx |= FEATURE_APIC;
    return r;
}
