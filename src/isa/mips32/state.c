/* SPDX-License-Identifier: MIT */
/* The MIPS32 processor as a snapshot holds it: architectural state and nothing that can be
 * derived. The soft TLB and decoded code start empty.
 *
 * A snapshot file is not trusted: whatever the guest could not have brought about is brought back
 * into the range that the rest of isa/mips32 relies on. Which model it is for is the board's to
 * compare. */
#include "isa/mips32/cp0.h"
#include "isa/mips32/fpu.h"
#include "isa/mips32/mmu.h"

/* clang-format off */
#define F(field) STATE(struct mips32_vcpu, field)
#define A(field) STATE_ARRAY(struct mips32_vcpu, field)
#define NAMED(name, field) {name, offsetof(struct mips32_vcpu, field), sizeof(((struct mips32_vcpu *)0)->field), 1}
#define WORDS(name, field) {name, offsetof(struct mips32_vcpu, field), 4, sizeof(((struct mips32_vcpu *)0)->field) / 4}

static const struct state_field fields[] = {
    A(gpr), F(hi), F(lo), F(pc), F(ll_bit), F(retired), A(fpr), F(fcsr),
    F(cp0.index), F(cp0.random), A(cp0.entry_lo), F(cp0.context), F(cp0.page_mask), F(cp0.wired),
    F(cp0.hwrena), F(cp0.bad_vaddr), F(cp0.entry_hi), F(cp0.compare), F(cp0.status), F(cp0.int_ctl),
    F(cp0.epc), F(cp0.ebase), F(cp0.config0), F(cp0.ll_addr), F(cp0.error_epc), F(cp0.desave),
    F(cp0.user_local), F(cp0.tag_lo), F(cp0.tag_hi), F(cp0.cause),
    WORDS("tlb", tlb), NAMED("lines", lines), NAMED("count_offset", timer.count_offset),
    NAMED("nmi_pending", saved_nmi), NAMED("halted", base.halted),
};
/* clang-format on */

const struct state_field *mips32_state_table(size_t *count)
{
    *count = ARRAY_LEN(fields);
    return fields;
}

void mips32_parked(struct vcpu *base)
{
    mips32_tlb_drop_victims(mips32_of(base)); /* who goes on from here has none, either */
    mips32_of(base)->saved_nmi = !!(atomic_load(&base->attention) & ATTN_NMI);
}

static void check_tlb(struct mips32_vcpu *v)
{
    for (unsigned i = 0; i < MIPS32_TLB_MAX; i++) {
        struct mips32_tlb_entry *t = &v->tlb[i];
        t->mask = mips32_legal_page_mask(t->mask);
        t->hi &= (HI_VPN2 | HI_ASID) & ~t->mask;
        t->lo[0] &= LO_MASK & ~LO_G;
        t->lo[1] &= LO_MASK & ~LO_G;
        t->global &= 1;
    }
}

void mips32_restored(struct vcpu *base)
{
    struct mips32_vcpu *v = mips32_of(base);
    v->gpr[0] = 0;
    v->cur = NULL;
    v->in_slot = false;
    v->retired &= UINT64_MAX >> 2; /* slices are added to it */
    v->counted = v->retired;
    mips32_cp0_restored(v);
    mips32_fpu_restored(v);
    mips32_tlb_drop_victims(v);
    mips32_soft_flush(v);
    check_tlb(v);
    atomic_fetch_and(&v->lines, CA_IP_PINS | CA_TI);
    mips32_icache_flush(v);
    mips32_update_mode(v);
    mips32_timer_arm(v);
    mips32_update_interrupts(v);
    if (base->halted) /* as WAIT would say */
        base->halted = ATTN_NMI | ATTN_RESET | (v->cp0.status & ST_IM ? ATTN_INTERRUPT : 0);
    if (v->saved_nmi)
        vcpu_attend(base, ATTN_NMI);
    else
        vcpu_unattend(base, ATTN_NMI);
}
