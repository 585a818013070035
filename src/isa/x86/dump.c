/* SPDX-License-Identifier: MIT */
/* A processor in words: registers, and after a triple fault how it got there. */
#include <inttypes.h>

#include "isa/x86/interp.h"

static const struct x86_vcpu *const_of(const struct vcpu *base)
{
    return container_of(base, const struct x86_vcpu, base);
}

void x86_dump(const struct vcpu *base, FILE *out)
{
    static const char *const gpr[] = {"eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi"};
    static const char *const seg[] = {"es", "cs", "ss", "ds", "fs", "gs", "ldtr", "tr"};
    const struct x86_vcpu *v = const_of(base);
    for (unsigned r = 0; r < 8; r++)
        fprintf(out, "%s=%08" PRIx32 "%c", gpr[r], x86_r32(v, r), r % 4 == 3 ? '\n' : ' ');
    fprintf(out, "eip=%08" PRIx32 " eflags=%08" PRIx32 " cpl=%u retired=%" PRIu64 "\n",
            (uint32_t)v->eip, x86_get_eflags(v), v->cpl, v->retired);
    for (unsigned s = 0; s < X86_SREGS; s++)
        fprintf(out, "%-4s %04x base=%08" PRIx32 " limit=%08" PRIx32 " attr=%04x\n", seg[s],
                v->seg[s].sel, (uint32_t)v->seg[s].base, v->seg[s].limit, v->seg[s].attr);
    fprintf(out, "gdtr base=%08" PRIx32 " limit=%04x  idtr base=%08" PRIx32 " limit=%04x\n",
            (uint32_t)v->gdtr.base, v->gdtr.limit, (uint32_t)v->idtr.base, v->idtr.limit);
    fprintf(out, "cr0=%08" PRIx32 " cr2=%08" PRIx32 " cr3=%08" PRIx32 " cr4=%08" PRIx32 "\n",
            v->cr0, v->cr2, v->cr3, v->cr4);
    fprintf(out, "dr6=%08" PRIx32 " dr7=%08" PRIx32 " efer=%" PRIx64 "\n", v->dr[6], v->dr[7],
            v->efer);
}

static const char *vector_name(unsigned vector)
{
    static const char *const names[] = {
        [X86_DE] = "#DE", [X86_DB] = "#DB",  [X86_NMI] = "NMI", [X86_BP] = "#BP", [X86_OF] = "#OF",
        [X86_BR] = "#BR", [X86_UD] = "#UD",  [X86_NM] = "#NM",  [X86_DF] = "#DF", [X86_TS] = "#TS",
        [X86_NP] = "#NP", [X86_SSF] = "#SS", [X86_GP] = "#GP",  [X86_PF] = "#PF", [X86_MF] = "#MF",
        [X86_AC] = "#AC", [X86_MC] = "#MC",  [X86_XM] = "#XM",
    };
    return vector < ARRAY_LEN(names) && names[vector] ? names[vector] : "?";
}

/* The logs are rings: `next` counts all entries ever made. */
static unsigned first_of(unsigned next, unsigned size)
{
    return next > size ? next - size : 0;
}

void x86_post_mortem(const struct vcpu *base, FILE *out)
{
    const struct x86_vcpu *v = const_of(base);
    fprintf(out, "last exceptions, oldest first:\n");
    for (unsigned i = first_of(v->fault_next, X86_FAULT_LOG); i < v->fault_next; i++) {
        const struct x86_fault_log *f = &v->faults[i & (X86_FAULT_LOG - 1)];
        fprintf(out,
                "  %-3s error=%08" PRIx32 " at %04" PRIx32 ":%08" PRIx32 " cr2=%08" PRIx32 "\n",
                vector_name(f->vector), f->error, f->cs, f->eip, f->cr2);
    }
    fprintf(out, "last branches, oldest first:\n");
    for (unsigned i = first_of(v->branch_next, X86_BRANCH_LOG); i < v->branch_next; i++) {
        const struct x86_branch *b = &v->branches[i & (X86_BRANCH_LOG - 1)];
        fprintf(out, "  %08" PRIx32 " -> %08" PRIx32 "\n", b->from, b->to);
    }
    fprintf(out, "registers:\n");
    x86_dump(base, out);
}
