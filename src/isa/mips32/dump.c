/* SPDX-License-Identifier: MIT */
/* A processor in words: registers, and how it got where it is. */
#include <inttypes.h>

#include "isa/mips32/insn.h"

void mips32_dump(const struct vcpu *base, FILE *out)
{
    const struct mips32_vcpu *v = mips32_const_of(base);
    const struct mips32_cp0 *c = &v->cp0;
    for (unsigned r = 0; r < 32; r++)
        fprintf(out, "%-4s %08" PRIx32 "%c", mips32_gpr_names[r], v->gpr[r],
                r % 8 == 7 ? '\n' : ' ');
    fprintf(out, "pc=%08" PRIx32 " hi=%08" PRIx32 " lo=%08" PRIx32 " retired=%" PRIu64 "\n",
            mips32_pc(v), v->hi, v->lo, v->retired);
    fprintf(out,
            "status=%08" PRIx32 " cause=%08" PRIx32 " epc=%08" PRIx32 " badvaddr=%08" PRIx32 "\n",
            c->status, mips32_cause(v), c->epc, c->bad_vaddr);
    fprintf(out,
            "entryhi=%08" PRIx32 " context=%08" PRIx32 " ebase=%08" PRIx32 " errorepc=%08" PRIx32
            "\n",
            c->entry_hi, c->context, c->ebase, c->error_epc);
    fprintf(out, "count=%08" PRIx32 " compare=%08" PRIx32 " fcsr=%08" PRIx32 " wired=%" PRIu32 "\n",
            mips32_count(v), c->compare, v->fcsr, c->wired);
    for (unsigned i = 0; i < v->model->tlb_entries; i++) {
        const struct mips32_tlb_entry *t = &v->tlb[i];
        if ((t->lo[0] | t->lo[1]) & LO_V)
            fprintf(out,
                    "tlb %2u hi=%08" PRIx32 " mask=%08" PRIx32 " lo0=%08" PRIx32 " lo1=%08" PRIx32
                    "%s\n",
                    i, t->hi, t->mask, t->lo[0], t->lo[1], t->global ? " global" : "");
    }
}

static const char *exception_name(unsigned code)
{
    static const char *const names[32] = {
        [EXC_INT] = "Int",   [EXC_MOD] = "Mod",   [EXC_TLBL] = "TLBL", [EXC_TLBS] = "TLBS",
        [EXC_ADEL] = "AdEL", [EXC_ADES] = "AdES", [EXC_IBE] = "IBE",   [EXC_SYS] = "Sys",
        [EXC_BP] = "Bp",     [EXC_RI] = "RI",     [EXC_CPU] = "CpU",   [EXC_OV] = "Ov",
        [EXC_TR] = "Tr",     [EXC_FPE] = "FPE",
    };
    return names[code & 31] ? names[code & 31] : "?";
}

static void show_instruction(const struct mips32_vcpu *v, FILE *out)
{
    uint32_t pc = mips32_pc(v), word;
    char text[64];
    gpa_t gpa;
    if (!mips32_ops.debug->translate((struct vcpu *)&v->base, pc, &gpa) ||
        phys_read(v->base.mem, gpa, &word, 4) < 0)
        return;
    mips32_disassemble(v->decoder, pc, v->big_endian ? __builtin_bswap32(word) : word, text,
                       sizeof text);
    fprintf(out, "at %08" PRIx32 ": %s\n", pc, text);
}

void mips32_post_mortem(const struct vcpu *base, FILE *out)
{
    const struct mips32_vcpu *v = mips32_const_of(base);
    unsigned first = v->fault_next > MIPS32_FAULT_LOG ? v->fault_next - MIPS32_FAULT_LOG : 0;
    fprintf(out, "last exceptions, oldest first:\n");
    for (unsigned i = first; i < v->fault_next; i++) {
        const struct mips32_fault_log *f = &v->faults[i & (MIPS32_FAULT_LOG - 1)];
        fprintf(out,
                "  %-4s at %08" PRIx32 " badvaddr=%08" PRIx32 " cause=%08" PRIx32
                " status=%08" PRIx32 "\n",
                exception_name(f->cause >> CA_EXC_SHIFT), f->epc, f->bad_vaddr, f->cause,
                f->status);
    }
    fprintf(out, "registers:\n");
    mips32_dump(base, out);
    show_instruction(v, out);
}
