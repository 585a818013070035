/* SPDX-License-Identifier: MIT */
/* Lock-step comparison: the x86 processor. Left out: where the FPU last ran (FIP, FDP, FOP). */
#include <string.h>

#include "isa/x86/fpu.h"
#include "lock.h"

#define F(name, field)                                                                             \
    {                                                                                              \
        name, offsetof(struct x86_vcpu, field), sizeof(((struct x86_vcpu *)0)->field)              \
    }
#define SEG(name, s)                                                                               \
    F(name, seg[s].sel), F(name " attr", seg[s].attr), F(name " limit", seg[s].limit),             \
        F(name " base", seg[s].base)
#define ST(n)                                                                                      \
    {"st" #n, offsetof(struct x86_vcpu, fx.st[n]), 8},                                             \
    {                                                                                              \
        "st" #n " top", offsetof(struct x86_vcpu, fx.st[n]) + 8, 2                                 \
    }
#define XMM(n)                                                                                     \
    {"xmm" #n, offsetof(struct x86_vcpu, fx.xmm[n]), 8},                                           \
    {                                                                                              \
        "xmm" #n " high", offsetof(struct x86_vcpu, fx.xmm[n]) + 8, 8                              \
    }

static const struct {
    const char *name;
    size_t offset;
    uint8_t size;
} fields[] = {
    F("eip", eip),
    F("eax", gpr[X86_EAX]),
    F("ecx", gpr[X86_ECX]),
    F("edx", gpr[X86_EDX]),
    F("ebx", gpr[X86_EBX]),
    F("esp", gpr[X86_ESP]),
    F("ebp", gpr[X86_EBP]),
    F("esi", gpr[X86_ESI]),
    F("edi", gpr[X86_EDI]),
    F("cpl", cpl),
    SEG("es", X86_ES),
    SEG("cs", X86_CS),
    SEG("ss", X86_SS),
    SEG("ds", X86_DS),
    SEG("fs", X86_FS),
    SEG("gs", X86_GS),
    SEG("ldtr", X86_LDTR),
    SEG("tr", X86_TR),
    F("gdtr", gdtr.base),
    F("gdtr limit", gdtr.limit),
    F("idtr", idtr.base),
    F("idtr limit", idtr.limit),
    F("cr0", cr0),
    F("cr2", cr2),
    F("cr3", cr3),
    F("cr4", cr4),
    F("dr0", dr[0]),
    F("dr1", dr[1]),
    F("dr2", dr[2]),
    F("dr3", dr[3]),
    F("dr6", dr[6]),
    F("dr7", dr[7]),
    F("efer", efer),
    F("sysenter_cs", sysenter_cs),
    F("sysenter_esp", sysenter_esp),
    F("sysenter_eip", sysenter_eip),
    F("nmi_blocked", nmi_blocked),
    F("dr6_pending", dr6_pending),
    F("fcw", fx.fcw),
    F("fsw", fx.fsw),
    F("ftw", fx.ftw_abridged),
    F("mxcsr", fx.mxcsr),
    ST(0),
    ST(1),
    ST(2),
    ST(3),
    ST(4),
    ST(5),
    ST(6),
    ST(7),
    XMM(0),
    XMM(1),
    XMM(2),
    XMM(3),
    XMM(4),
    XMM(5),
    XMM(6),
    XMM(7),
};

/* Words that are computed follow those of the table. */
enum { WORD_EFLAGS = ARRAY_LEN(fields), WORD_FAULTS, WORD_FAULT_LOG, WORDS };
static const char *const computed[] = {"eflags", "faults", "fault log"};
_Static_assert(WORDS <= LOCK_WORDS_MAX, "room for all registers");

static const char *word_name(unsigned i, char *text, size_t size)
{
    return i < ARRAY_LEN(fields) ? fields[i].name : computed[i - ARRAY_LEN(fields)];
}

/* One number for the last faults: FNV-1a over their fields. */
static uint64_t fault_digest(const struct x86_vcpu *v, unsigned count)
{
    uint64_t h = LOCK_DIGEST;
    for (unsigned i = count < X86_FAULT_LOG ? count : X86_FAULT_LOG; i > 0; i--) {
        const struct x86_fault_log *f = &v->faults[(v->fault_next - i) & (X86_FAULT_LOG - 1)];
        const uint32_t x[] = {f->eip, f->cs, f->error, f->cr2, f->vector};
        h = lock_digest(h, x, ARRAY_LEN(x));
    }
    return h;
}

static void capture(struct vcpu *base, unsigned fault_base, struct lock_state *s)
{
    const struct x86_vcpu *v = x86_of(base);
    for (unsigned i = 0; i < ARRAY_LEN(fields); i++)
        memcpy(&s->word[i], (const uint8_t *)v + fields[i].offset, fields[i].size);
    s->word[WORD_EFLAGS] = x86_get_eflags(v);
    s->word[WORD_FAULTS] = v->fault_next - fault_base;
    s->word[WORD_FAULT_LOG] = fault_digest(v, v->fault_next - fault_base);
}

static const struct x86_vcpu *const_of(const struct vcpu *v)
{
    return container_of(v, const struct x86_vcpu, base);
}

static unsigned faults(const struct vcpu *v)
{
    return const_of(v)->fault_next;
}

static bool same_quick(const struct vcpu *va, const struct vcpu *vb)
{
    const struct x86_vcpu *a = const_of(va), *b = const_of(vb);
    return a->eip == b->eip && !memcmp(a->gpr, b->gpr, sizeof a->gpr) &&
           x86_get_eflags(a) == x86_get_eflags(b) && a->cpl == b->cpl;
}

static uint64_t retired(const struct vcpu *v)
{
    return const_of(v)->retired;
}

/* A repeated string instruction may take pauses: the interpreter counts each stretch as an
 * instruction, generated code only the whole. */
static bool interpret(struct vcpu *base, uint64_t n, struct vm_exit *x)
{
    const struct x86_vcpu *v = x86_of(base);
    uint64_t eip = v->eip, si = v->gpr[X86_ESI], di = v->gpr[X86_EDI];
    x86_isa.interpret(base, n, x);
    return v->eip == eip && (v->gpr[X86_ESI] != si || v->gpr[X86_EDI] != di);
}

static void park(struct vcpu *v)
{
    x86_fpu_park(x86_of(v));
}

static void spoil(struct vcpu *v)
{
    x86_of(v)->gpr[X86_EAX] ^= 1;
}

static void adopt(struct vcpu *to, const struct vcpu *from)
{
    struct x86_vcpu *t = x86_of(to);
    memcpy(t->faults, const_of(from)->faults, sizeof t->faults);
    t->fault_next = const_of(from)->fault_next;
}

const struct lock_isa lock_x86 = {
    .ops = &x86_isa,
    .words = WORDS,
    .word_name = word_name,
    .capture = capture,
    .faults = faults,
    .same_quick = same_quick,
    .retired = retired,
    .interpret = interpret,
    .pauses = 4096,
    .park = park,
    .spoil = spoil,
    .adopt = adopt,
};
