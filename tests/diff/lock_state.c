/* SPDX-License-Identifier: MIT */
/* Lock-step comparison: registers as a list of words with names, and the reference's way to
 * the place where the other processor is. */
#include "lock.h"

#include <inttypes.h>
#include <string.h>

#include "isa/x86/fpu.h"

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

static const char *word_name(unsigned i)
{
    return i < ARRAY_LEN(fields) ? fields[i].name : computed[i - ARRAY_LEN(fields)];
}

/* One number for the last faults: FNV-1a over their fields. */
static uint64_t fault_digest(const struct x86_vcpu *v, unsigned count)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    for (unsigned i = count < X86_FAULT_LOG ? count : X86_FAULT_LOG; i > 0; i--) {
        const struct x86_fault_log *f = &v->faults[(v->fault_next - i) & (X86_FAULT_LOG - 1)];
        const uint32_t x[] = {f->eip, f->cs, f->error, f->cr2, f->vector};
        for (unsigned k = 0; k < ARRAY_LEN(x); k++)
            h = (h ^ x[k]) * UINT64_C(0x100000001b3);
    }
    return h;
}

void lock_capture(struct x86_vcpu *v, unsigned fault_base, struct lock_state *s)
{
    x86_fpu_park(v);
    memset(s, 0, sizeof *s);
    for (unsigned i = 0; i < ARRAY_LEN(fields); i++)
        memcpy(&s->word[i], (const uint8_t *)v + fields[i].offset, fields[i].size);
    s->word[WORD_EFLAGS] = x86_get_eflags(v);
    s->word[WORD_FAULTS] = v->fault_next - fault_base;
    s->word[WORD_FAULT_LOG] = fault_digest(v, v->fault_next - fault_base);
}

bool lock_same(const struct lock_state *a, const struct lock_state *b)
{
    return !memcmp(a->word, b->word, WORDS * sizeof a->word[0]);
}

void lock_print(FILE *out, const struct lock_state *a, const struct lock_state *b, bool all)
{
    fprintf(out, "    %-13s %16s %16s\n", "", "reference", "engine");
    for (unsigned i = 0; i < WORDS; i++)
        if (all || a->word[i] != b->word[i])
            fprintf(out, "    %-13s %16" PRIx64 " %16" PRIx64 "%s\n", word_name(i), a->word[i],
                    b->word[i], a->word[i] != b->word[i] ? "   <--" : "");
}

bool lock_same_quick(const struct x86_vcpu *a, const struct x86_vcpu *b)
{
    return a->eip == b->eip && !memcmp(a->gpr, b->gpr, sizeof a->gpr) &&
           x86_get_eflags(a) == x86_get_eflags(b) && a->cpl == b->cpl;
}

/* ---- how far -------------------------------------------------------------------------------- */

struct lock_place lock_place(const struct x86_vcpu *v)
{
    return (struct lock_place){v->retired, v->base.stats.exits[EXIT_EXCEPTION],
                               v->base.stats.exits[EXIT_INTERRUPT]};
}

struct lock_place lock_distance(struct lock_place now, struct lock_place then)
{
    return (struct lock_place){now.retired - then.retired, now.exceptions - then.exceptions,
                               now.interrupts - then.interrupts};
}

/* Interpret up to n instructions, or deliver one exception. A repeated string instruction may take
 * pauses: the interpreter counts each stretch as an instruction, generated code only the whole.
 * True if there was one at the end. */
static bool step(struct x86_vcpu *v, uint64_t n, struct vm_exit *x)
{
    uint64_t eip = v->eip, si = v->gpr[X86_ESI], di = v->gpr[X86_EDI];
    x86_isa.interpret(&v->base, n, x);
    return v->eip == eip && (v->gpr[X86_ESI] != si || v->gpr[X86_EDI] != di);
}

/* Pauses that go unnoticed in a long stretch. */
#define MOST_PAUSES 4096

/* So the reference may be ahead by its own count; where it is then shows in the registers. */
bool lock_follow(struct x86_vcpu *a, const struct x86_vcpu *b, struct lock_place from_a,
                 struct lock_place distance, bool ended, bool exact, struct vm_exit *x)
{
    int64_t pauses = exact ? 0 : MOST_PAUSES;
    *x = (struct vm_exit){.kind = EXIT_ATTENTION};
    for (;;) {
        struct lock_place d = lock_distance(lock_place(a), from_a);
        int64_t ahead = (int64_t)(d.retired - distance.retired);
        if (ahead > pauses || d.exceptions > distance.exceptions ||
            d.interrupts > distance.interrupts)
            return false;
        if (ahead >= 0 && d.exceptions == distance.exceptions &&
            d.interrupts == distance.interrupts && ended == (x->kind != EXIT_ATTENTION) &&
            (!pauses || lock_same_quick(a, b)))
            return true;
        if (x->kind != EXIT_ATTENTION)
            return false;
        pauses += step(a, exact || ahead >= 0 ? 1 : (uint64_t)-ahead, x);
    }
}
