/* SPDX-License-Identifier: MIT */
/* Lock-step comparison: the MIPS32 processor. Left out is what is derived (mode, soft TLB, whether
 * an interrupt waits); how many instructions and exceptions there were is compared as the place
 * (lock.h). */
#include <stdio.h>
#include <string.h>

#include "isa/mips32/cpu.h"
#include "lock.h"

#define F(name, field)                                                                             \
    {                                                                                              \
        name, offsetof(struct mips32_vcpu, field), sizeof(((struct mips32_vcpu *)0)->field)        \
    }
#define CP0(field)         F(#field, cp0.field)
#define GPR(a, b, c, d, n) F(a, gpr[n]), F(b, gpr[n + 1]), F(c, gpr[n + 2]), F(d, gpr[n + 3])
#define FPR(n)                                                                                     \
    F("f" #n, fpr[n]), F("f" #n "+1", fpr[n + 1]), F("f" #n "+2", fpr[n + 2]),                     \
        F("f" #n "+3", fpr[n + 3])

static const struct {
    const char *name;
    size_t offset;
    uint8_t size;
} fields[] = {
    GPR("zero", "at", "v0", "v1", 0),
    GPR("a0", "a1", "a2", "a3", 4),
    GPR("t0", "t1", "t2", "t3", 8),
    GPR("t4", "t5", "t6", "t7", 12),
    GPR("s0", "s1", "s2", "s3", 16),
    GPR("s4", "s5", "s6", "s7", 20),
    GPR("t8", "t9", "k0", "k1", 24),
    GPR("gp", "sp", "fp", "ra", 28),
    F("hi", hi),
    F("lo", lo),
    F("ll_bit", ll_bit),
    FPR(0),
    FPR(4),
    FPR(8),
    FPR(12),
    FPR(16),
    FPR(20),
    FPR(24),
    FPR(28),
    F("fcsr", fcsr),
    CP0(index),
    CP0(random),
    F("entry_lo0", cp0.entry_lo[0]),
    F("entry_lo1", cp0.entry_lo[1]),
    CP0(context),
    CP0(page_mask),
    CP0(wired),
    CP0(hwrena),
    CP0(bad_vaddr),
    CP0(entry_hi),
    CP0(compare),
    CP0(status),
    CP0(int_ctl),
    CP0(epc),
    CP0(ebase),
    CP0(config0),
    CP0(ll_addr),
    CP0(error_epc),
    CP0(desave),
    CP0(user_local),
    CP0(tag_lo),
    CP0(tag_hi),
    F("count - clock", timer.count_offset),
};

/* Words that are computed follow those of the table; two for each entry of the TLB are last. */
enum {
    WORD_PC = ARRAY_LEN(fields),
    WORD_CAUSE,
    WORD_DUE,
    WORD_FAULTS,
    WORD_FAULT_LOG,
    WORD_TLB,
    WORDS = WORD_TLB + 2 * MIPS32_TLB_MAX
};
static const char *const computed[] = {"pc", "cause", "timer due", "faults", "fault log"};
_Static_assert(WORDS <= LOCK_WORDS_MAX, "room for all registers");

static const char *word_name(unsigned i, char *text, size_t size)
{
    if (i < ARRAY_LEN(fields))
        return fields[i].name;
    if (i < WORD_TLB)
        return computed[i - ARRAY_LEN(fields)];
    snprintf(text, size, "tlb %u %s", (i - WORD_TLB) / 2, (i - WORD_TLB) % 2 ? "lo" : "hi, mask");
    return text;
}

static uint64_t fault_digest(const struct mips32_vcpu *v, unsigned count)
{
    uint64_t h = LOCK_DIGEST;
    for (unsigned i = count < MIPS32_FAULT_LOG ? count : MIPS32_FAULT_LOG; i > 0; i--) {
        const struct mips32_fault_log *f = &v->faults[(v->fault_next - i) & (MIPS32_FAULT_LOG - 1)];
        const uint32_t x[] = {f->epc, f->bad_vaddr, f->cause, f->status};
        h = lock_digest(h, x, ARRAY_LEN(x));
    }
    return h;
}

static void capture(struct vcpu *base, unsigned fault_base, struct lock_state *s)
{
    struct mips32_vcpu *v = mips32_of(base);
    for (unsigned i = 0; i < ARRAY_LEN(fields); i++)
        memcpy(&s->word[i], (const uint8_t *)v + fields[i].offset, fields[i].size);
    s->word[WORD_PC] = mips32_pc(v);
    s->word[WORD_CAUSE] = mips32_cause(v);
    s->word[WORD_DUE] = atomic_load(&v->timer.due_ticks);
    s->word[WORD_FAULTS] = v->fault_next - fault_base;
    s->word[WORD_FAULT_LOG] = fault_digest(v, v->fault_next - fault_base);
    for (unsigned i = 0; i < MIPS32_TLB_MAX; i++) {
        const struct mips32_tlb_entry *t = &v->tlb[i];
        s->word[WORD_TLB + 2 * i] = (uint64_t)t->hi << 32 | t->mask | t->global;
        s->word[WORD_TLB + 2 * i + 1] = (uint64_t)t->lo[0] << 32 | t->lo[1];
    }
}

static unsigned faults(const struct vcpu *v)
{
    return mips32_const_of(v)->fault_next;
}

/* All but the FPU and the TLB. */
static bool same_quick(const struct vcpu *va, const struct vcpu *vb)
{
    const struct mips32_vcpu *a = mips32_const_of(va), *b = mips32_const_of(vb);
    return mips32_pc(a) == mips32_pc(b) && !memcmp(a->gpr, b->gpr, 32 * sizeof a->gpr[0]) &&
           a->hi == b->hi && a->lo == b->lo && a->ll_bit == b->ll_bit &&
           !memcmp(&a->cp0, &b->cp0, sizeof a->cp0);
}

static uint64_t retired(const struct vcpu *v)
{
    return mips32_const_of(v)->retired;
}

static bool interpret(struct vcpu *v, uint64_t n, struct vm_exit *x)
{
    mips32_ops.interpret(v, n, x);
    return false;
}

static void spoil(struct vcpu *v)
{
    mips32_of(v)->gpr[MIPS32_RA] ^= 1;
}

static void adopt(struct vcpu *to, const struct vcpu *from)
{
    struct mips32_vcpu *t = mips32_of(to);
    memcpy(t->faults, mips32_const_of(from)->faults, sizeof t->faults);
    t->fault_next = mips32_const_of(from)->fault_next;
}

const struct lock_isa lock_mips32 = {
    .ops = &mips32_ops,
    .words = WORDS,
    .word_name = word_name,
    .capture = capture,
    .faults = faults,
    .same_quick = same_quick,
    .retired = retired,
    .interpret = interpret,
    .spoil = spoil,
    .adopt = adopt,
};
