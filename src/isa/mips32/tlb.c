/* SPDX-License-Identifier: MIT */
/* The guest's TLB: entries, their lookup, TLBR, TLBWI, TLBWR, TLBP (vol. III chapter 5.4).
 *
 * Soft TLB entries are derived from TLB entries. An entry that is overwritten, or whose ASID is no
 * longer the current one, takes those along.
 *
 * Random is decremented each time it is used, not each cycle: TLBWR then replaces the entry that
 * has been there longest. PageMask values that are no page size act as the largest size below them.
 * Entries that match the same address are not found out (no machine check); the first one counts.
 */
#include "isa/mips32/mmu.h"

uint32_t mips32_legal_page_mask(uint32_t mask)
{
    uint32_t legal = 0;
    /* Sizes go in steps of four: two bits of the mask at once. */
    for (uint32_t pair = 3u << 13; pair & PAGEMASK_BITS && (mask & pair) == pair; pair <<= 2)
        legal |= pair;
    return legal;
}

/* Bytes of both pages of the entry. */
static uint64_t span_of(const struct mips32_tlb_entry *t)
{
    return (uint64_t)(t->mask | PAGEMASK_FIXED) + 1;
}

int mips32_tlb_find(const struct mips32_vcpu *v, uint32_t va, uint32_t asid)
{
    for (unsigned i = 0; i < v->model->tlb_entries; i++) {
        const struct mips32_tlb_entry *t = &v->tlb[i];
        if (((va ^ t->hi) & ~(t->mask | PAGEMASK_FIXED)) == 0 &&
            (t->global || (t->hi & HI_ASID) == asid))
            return (int)i;
    }
    return -1;
}

void mips32_tlb_read(struct mips32_vcpu *v)
{
    const struct mips32_tlb_entry *t = &v->tlb[(v->cp0.index & 63) % v->model->tlb_entries];
    v->cp0.page_mask = t->mask;
    v->cp0.entry_lo[0] = t->lo[0] | t->global;
    v->cp0.entry_lo[1] = t->lo[1] | t->global;
    mips32_set_entry_hi(v, t->hi);
}

void mips32_tlb_write(struct mips32_vcpu *v, unsigned index)
{
    struct mips32_tlb_entry *t = &v->tlb[index % v->model->tlb_entries];
    const struct mips32_cp0 *c = &v->cp0;
    mips32_soft_drop(v, t->hi & HI_VPN2, span_of(t));
    t->mask = mips32_legal_page_mask(c->page_mask);
    t->hi = c->entry_hi & ~t->mask;
    t->global = c->entry_lo[0] & c->entry_lo[1] & LO_G;
    t->lo[0] = c->entry_lo[0] & ~LO_G;
    t->lo[1] = c->entry_lo[1] & ~LO_G;
    /* An earlier entry for the same pages may have been used. */
    mips32_soft_drop(v, t->hi & HI_VPN2, span_of(t));
}

void mips32_tlb_probe(struct mips32_vcpu *v)
{
    int i = mips32_tlb_find(v, v->cp0.entry_hi & HI_VPN2, v->cp0.entry_hi & HI_ASID);
    v->cp0.index = i >= 0 ? (uint32_t)i : 1u << 31;
}

unsigned mips32_tlb_random(struct mips32_vcpu *v)
{
    unsigned last = v->model->tlb_entries - 1;
    unsigned now = v->cp0.random;
    if (now > last || now < v->cp0.wired)
        now = last;
    v->cp0.random = now > v->cp0.wired ? now - 1 : last;
    return now;
}

void mips32_set_entry_hi(struct mips32_vcpu *v, uint32_t x)
{
    uint32_t old = v->cp0.entry_hi & HI_ASID;
    v->cp0.entry_hi = x & (HI_VPN2 | HI_ASID);
    if ((x & HI_ASID) == old)
        return;
    for (unsigned i = 0; i < v->model->tlb_entries; i++) {
        const struct mips32_tlb_entry *t = &v->tlb[i];
        if (!t->global && (t->hi & HI_ASID) == old)
            mips32_soft_drop(v, t->hi & HI_VPN2, span_of(t));
    }
}
