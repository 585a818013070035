/* SPDX-License-Identifier: MIT */
/* The guest's TLB: entries, their lookup, TLBR, TLBWI, TLBWR, TLBP (vol. III chapter 5.4).
 *
 * Soft TLB entries and views are derived from TLB entries. An entry that goes takes those along.
 *
 * An entry that TLBWR displaces, being a random one, stays as a victim for as long as software
 * cannot tell: it saves a refill exception, which costs more here than on a real processor. A
 * victim serves accesses that succeed; any other one finds nothing. It goes when TLBP looks for it
 * in vain, when an entry for the same pages is written, and all of them go with TLBR, which reads
 * what there is, and when an entry is written that cannot match (an unmapped address) or is
 * invalid, by which software empties the TLB.
 *
 * Random is decremented each time it is used, not each cycle: TLBWR then replaces the entry that
 * has been there longest. PageMask values that are no page size act as the largest size below them.
 * Entries that match the same address are not found out (no machine check); the first one counts.
 */
#include "isa/mips32/mmu.h"
#include "isa/mips32/views.h"

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

static bool matches(const struct mips32_tlb_entry *t, uint32_t va, uint32_t asid)
{
    return ((va ^ t->hi) & ~(t->mask | PAGEMASK_FIXED)) == 0 &&
           (t->global || (t->hi & HI_ASID) == asid);
}

int mips32_tlb_find(const struct mips32_vcpu *v, uint32_t va, uint32_t asid)
{
    for (unsigned i = 0; i < v->model->tlb_entries; i++)
        if (matches(&v->tlb[i], va, asid))
            return (int)i;
    return -1;
}

/* What was derived from an entry goes. */
static void forget(struct mips32_vcpu *v, const struct mips32_tlb_entry *t)
{
    mips32_soft_drop(v, t->hi & HI_VPN2, span_of(t));
    mips32_views_drop_entry(v, t);
}

/* ---- victims --------------------------------------------------------------------------------- */

static unsigned place_of(uint32_t va, uint32_t asid, bool global)
{
    uint32_t pair = va >> 13;
    return (pair ^ pair >> 10 ^ (global ? 0x2aa : asid * 7)) % MIPS32_VICTIMS;
}

const struct mips32_tlb_entry *mips32_tlb_victim(const struct mips32_vcpu *v, uint32_t va,
                                                 uint32_t asid)
{
    for (unsigned global = 0; v->victims.live && global < 2; global++) {
        const struct mips32_tlb_entry *t = &v->victims.entry[place_of(va, asid, global)];
        if (mips32_tlb_valid(t) && matches(t, va, asid))
            return t;
    }
    return NULL;
}

static void drop_victim(struct mips32_vcpu *v, struct mips32_tlb_entry *t)
{
    if (!mips32_tlb_valid(t))
        return;
    forget(v, t);
    *t = (struct mips32_tlb_entry){0};
    v->victims.live--;
}

void mips32_tlb_drop_victims(struct mips32_vcpu *v)
{
    for (unsigned i = 0; v->victims.live && i < MIPS32_VICTIMS; i++)
        drop_victim(v, &v->victims.entry[i]);
}

static void drop_victims_at(struct mips32_vcpu *v, uint32_t va, uint32_t asid)
{
    drop_victim(v, &v->victims.entry[place_of(va, asid, false)]);
    drop_victim(v, &v->victims.entry[place_of(va, asid, true)]);
}

/* Pairs of small pages only. */
static void keep_as_victim(struct mips32_vcpu *v, const struct mips32_tlb_entry *t)
{
    struct mips32_tlb_entry *to =
        &v->victims.entry[place_of(t->hi & HI_VPN2, t->hi & HI_ASID, t->global)];
    if (t->mask || !mips32_tlb_valid(t)) {
        forget(v, t);
        return;
    }
    drop_victim(v, to);
    *to = *t;
    v->victims.live++;
}

/* ---- instructions ---------------------------------------------------------------------------- */

void mips32_tlb_read(struct mips32_vcpu *v)
{
    const struct mips32_tlb_entry *t = &v->tlb[(v->cp0.index & 63) % v->model->tlb_entries];
    mips32_tlb_drop_victims(v);
    v->cp0.page_mask = t->mask;
    v->cp0.entry_lo[0] = t->lo[0] | t->global;
    v->cp0.entry_lo[1] = t->lo[1] | t->global;
    mips32_set_entry_hi(v, t->hi);
}

static bool can_match(const struct mips32_tlb_entry *t)
{
    return mips32_tlb_valid(t) && (t->hi < KSEG0 || t->hi >= KSEG2);
}

static void write_entry(struct mips32_vcpu *v, struct mips32_tlb_entry *t)
{
    const struct mips32_cp0 *c = &v->cp0;
    t->mask = mips32_legal_page_mask(c->page_mask);
    t->hi = c->entry_hi & ~t->mask;
    t->global = c->entry_lo[0] & c->entry_lo[1] & LO_G;
    t->lo[0] = c->entry_lo[0] & ~LO_G;
    t->lo[1] = c->entry_lo[1] & ~LO_G;
    forget(v, t); /* an earlier entry for the same pages may have been used */
}

void mips32_tlb_write_indexed(struct mips32_vcpu *v)
{
    struct mips32_tlb_entry *t = &v->tlb[(v->cp0.index & 63) % v->model->tlb_entries];
    forget(v, t);
    write_entry(v, t);
    if (can_match(t) && !t->mask)
        drop_victims_at(v, t->hi & HI_VPN2, t->hi & HI_ASID);
    else
        mips32_tlb_drop_victims(v);
}

void mips32_tlb_write_random(struct mips32_vcpu *v)
{
    struct mips32_tlb_entry *t = &v->tlb[mips32_tlb_random(v)];
    keep_as_victim(v, t);
    write_entry(v, t);
    if (t->mask || (t->hi >= KSEG0 && t->hi < KSEG2))
        mips32_tlb_drop_victims(v);
    else
        drop_victims_at(v, t->hi & HI_VPN2, t->hi & HI_ASID);
}

void mips32_tlb_probe(struct mips32_vcpu *v)
{
    uint32_t va = v->cp0.entry_hi & HI_VPN2, asid = v->cp0.entry_hi & HI_ASID;
    int i = mips32_tlb_find(v, va, asid);
    v->cp0.index = i >= 0 ? (uint32_t)i : 1u << 31;
    if (i < 0)
        drop_victims_at(v, va, asid);
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
    mips32_leave_asid(v);
}
