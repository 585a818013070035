/* SPDX-License-Identifier: MIT */
/* Work that generated code calls for without leaving: an exit to the dispatcher and back costs five
 * times as much: loads of segment registers, seven of which make up a system call of Linux, popf,
 * rdtsc, and string instructions (translate_string.c).
 *
 * A segment load that the interpreter has done before, of the same selector with the same
 * descriptor at the same privilege, has the same outcome: it is remembered by selector. The
 * descriptor is read again each time, for a guest that changes it. */
#include <string.h>
#include <x86intrin.h>

/* No XMM register is saved around a call-out, and inline functions must keep off them, too. */
#pragma GCC target("general-regs-only")

#include "isa/x86/translate.h"
#include "isa/x86/translate_enter.h"
#include "isa/x86/mmu.h"

/* The descriptor in the GDT, if it can be had from the TLB. */
static bool read_descriptor(const struct x86_vcpu *v, uint32_t selector, uint64_t *raw)
{
    uint32_t offset = selector & 0xfff8u, lin = (uint32_t)v->gdtr.base + offset;
    const struct x86_tlb_entry *t = &v->tlb_sets[0][lin >> PAGE_SHIFT & (X86_TLB_SIZE - 1)];
    if (offset + 7 > v->gdtr.limit || ((uint64_t)(lin + 7) & PAGE_MASK) != t->tag_read)
        return false;
    memcpy(raw, (const uint8_t *)(t->addend + lin), sizeof *raw);
    return true;
}

static struct x86_known_segment *slot(const struct x86_vcpu *v, uint32_t selector)
{
    return &v->gen.translator->known[selector >> 3 & (X86_KNOWN_SEGMENTS - 1)];
}

static bool load_null(struct x86_vcpu *v, enum x86_sreg s, uint32_t selector)
{
    if (s != X86_FS && s != X86_GS) /* translated code takes DS, ES and SS for flat */
        return false;
    v->seg[s] = (struct x86_seg){.sel = (uint16_t)selector};
    v->gen.base_at[s - X86_FS] = X86_GEN_NO_BASE;
    return true;
}

static bool load(struct x86_vcpu *v, enum x86_sreg s, uint32_t selector)
{
    selector &= 0xffff;
    if (!(selector & ~3u))
        return load_null(v, s, selector);
    const struct x86_known_segment *k = slot(v, selector);
    uint64_t raw;
    if ((selector & 4) || k->seg.sel != selector || k->cpl != v->cpl ||
        !read_descriptor(v, selector, &raw) || raw != k->raw)
        return false;
    if (s == X86_FS || s == X86_GS)
        v->gen.base_at[s - X86_FS] = (uintptr_t)&v->seg[s].base;
    else if (!x86_seg_flat(&k->seg))
        return false;
    v->seg[s] = k->seg;
    return true;
}

void x86_callout_remember(struct x86_vcpu *v, enum x86_sreg s)
{
    const struct x86_seg *seg = &v->seg[s];
    uint64_t raw;
    if (s == X86_SS || (seg->sel & 4) || !x86_seg_unlimited(seg) ||
        !read_descriptor(v, seg->sel, &raw))
        return;
    *slot(v, seg->sel) = (struct x86_known_segment){*seg, raw, v->cpl};
}

#define LOAD_AND_POP(s)                                                                            \
    static bool load_##s(struct x86_vcpu *v, uint32_t selector)                                    \
    {                                                                                              \
        return load(v, X86_##s, selector);                                                         \
    }                                                                                              \
    static bool pop_##s(struct x86_vcpu *v, uint32_t selector)                                     \
    {                                                                                              \
        if (!load(v, X86_##s, selector))                                                           \
            return false;                                                                          \
        v->gpr[X86_ESP] = (uint32_t)v->gpr[X86_ESP] + 4;                                           \
        return true;                                                                               \
    }
LOAD_AND_POP(ES)
LOAD_AND_POP(DS)
LOAD_AND_POP(FS)
LOAD_AND_POP(GS)

/* ---- rdtsc, popf ----------------------------------------------------------------------------- */

static bool rdtsc(struct x86_vcpu *v, uint32_t operand)
{
    if (!v->gen.tsc_is_host || ((v->cr4 & CR4_TSD) && v->cpl != 0))
        return false;
    uint64_t t = __rdtsc() + v->gen.tsc_offset + (uint64_t)v->tsc_offset;
    v->gpr[X86_EAX] = (uint32_t)t;
    v->gpr[X86_EDX] = t >> 32;
    return true;
}

/* What popf mostly brings: arithmetic flags, IF, and the rest as it was. */
static bool popf(struct x86_vcpu *v, uint32_t image)
{
    const uint32_t rare = FL_TF | FL_IOPL | FL_NT | FL_AC | FL_ID;
    if (((image ^ v->eflags) & rare) || (image & FL_DF) != v->df_flag || (v->eflags & FL_RF))
        return false;
    v->cc = x86_flags_to_cc(image);
    if (v->cpl <= x86_iopl(v)) {
        v->if_flag = image & FL_IF;
        v->attn_mask = x86_attn_mask(v->if_flag);
    }
    v->gpr[X86_ESP] = (uint32_t)v->gpr[X86_ESP] + 4;
    return true;
}

#define ROWS(s) [X86_CALLOUT_LOAD + X86_##s] = load_##s, [X86_CALLOUT_POP + X86_##s] = pop_##s
const x86_callout_fn x86_callouts[X86_CALLOUTS] = {
    ROWS(ES),
    ROWS(DS),
    ROWS(FS),
    ROWS(GS),
    [X86_CALLOUT_STRING] = x86_callout_string,
    [X86_CALLOUT_RDTSC] = rdtsc,
    [X86_CALLOUT_POPF] = popf,
};
