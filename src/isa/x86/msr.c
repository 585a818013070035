/* SPDX-License-Identifier: MIT */
/* Model-specific registers (Intel SDM vol. 4, AMD APM vol. 2 appendix A): the ones that systems of
 * the P6 age use on a processor with our CPUID. Everything else is #GP(0), which is how such
 * systems find out. */
#include "isa/x86/cpuid.h"
#include "isa/x86/mmu.h"

enum msr_kind {
    MSR_CONSTANT, /* reads `value`, writes are dropped */
    MSR_FIELD,    /* a uint64_t in struct x86_vcpu */
    MSR_SPECIAL,
};

struct msr {
    uint32_t index;
    enum msr_kind kind;
    size_t field;
    uint64_t value;
    uint64_t reserved; /* MSR_FIELD: bits that must be 0 in a write */
};

#define FIELD(index, name, reserved)                                                               \
    {                                                                                              \
        index, MSR_FIELD, offsetof(struct x86_vcpu, name), 0, reserved                             \
    }
#define HIGH UINT64_C(0xffffffff00000000)

enum { MSR_TSC = 0x10, MSR_APIC_BASE = 0x1b, MSR_PAT = 0x277, MSR_EFER = 0xc0000080 };

static const struct msr msrs[] = {
    {MSR_TSC, MSR_SPECIAL},
    {0x17, MSR_CONSTANT}, /* platform id */
    {MSR_APIC_BASE, MSR_SPECIAL},
    {0x2a, MSR_CONSTANT}, /* power-on configuration */
    {0x8b, MSR_CONSTANT}, /* microcode revision (AMD: patch level) */
    FIELD(0x174, sysenter_cs, HIGH),
    FIELD(0x175, sysenter_esp, HIGH),
    FIELD(0x176, sysenter_eip, HIGH),
    FIELD(0x1d9, debugctl, ~UINT64_C(3)), /* LBR, BTF: kept, no branch records behind them */
    {MSR_PAT, MSR_SPECIAL},
    {MSR_EFER, MSR_SPECIAL},
    {0xc0010015, MSR_CONSTANT}, /* HWCR */
};

static const struct msr *find(uint32_t index)
{
    for (unsigned i = 0; i < ARRAY_LEN(msrs); i++)
        if (msrs[i].index == index)
            return &msrs[i];
    return NULL;
}

static uint64_t *field_of(struct x86_vcpu *v, const struct msr *m)
{
    return (uint64_t *)(void *)((char *)v + m->field);
}

static bool read_special(const struct x86_vcpu *v, uint32_t index, uint64_t *x)
{
    switch (index) {
    case MSR_TSC:
        *x = clock_tsc(v->base.clock) + (uint64_t)v->tsc_offset;
        return true;
    case MSR_APIC_BASE:
        if (!v->apic_base.read)
            return false;
        *x = v->apic_base.read(v->apic_base.opaque);
        return true;
    case MSR_PAT:
        *x = v->pat;
        return true;
    default: /* MSR_EFER */
        *x = v->efer;
        return true;
    }
}

bool x86_msr_read(struct x86_vcpu *v, uint32_t index, uint64_t *x)
{
    const struct msr *m = find(index);
    if (!m)
        return false;
    if (m->kind == MSR_FIELD)
        *x = *field_of(v, m);
    else if (m->kind == MSR_CONSTANT)
        *x = m->value;
    else
        return read_special(v, index, x);
    return true;
}

/* Memory types 0, 1, 4 to 7 exist. */
static bool pat_valid(uint64_t x)
{
    for (unsigned i = 0; i < 8; i++, x >>= 8)
        if ((x & 0xff) > 7 || (x & 0xff) == 2 || (x & 0xff) == 3)
            return false;
    return true;
}

static bool write_special(struct x86_vcpu *v, uint32_t index, uint64_t x)
{
    switch (index) {
    case MSR_TSC:
        v->tsc_offset = (int64_t)(x - clock_tsc(v->base.clock));
        return true;
    case MSR_APIC_BASE:
        return v->apic_base.write && v->apic_base.write(v->apic_base.opaque, x);
    case MSR_PAT:
        if (!pat_valid(x))
            return false;
        v->pat = x;
        return true;
    default: /* MSR_EFER */
        if (x & ~(uint64_t)EFER_NXE)
            return false;
        v->efer = x;
        x86_tlb_flush(v, false);
        return true;
    }
}

bool x86_msr_write(struct x86_vcpu *v, uint32_t index, uint64_t x)
{
    const struct msr *m = find(index);
    if (!m)
        return false;
    if (m->kind == MSR_SPECIAL)
        return write_special(v, index, x);
    if (m->kind == MSR_FIELD) {
        if (x & m->reserved)
            return false;
        *field_of(v, m) = x;
    }
    return true;
}
