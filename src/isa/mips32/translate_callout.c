/* SPDX-License-Identifier: MIT */
/* Call-outs: instructions that translated code has no form for are done by the interpreter's own
 * handler, called from generated code (translate_enter.c), which goes on behind them.
 *
 * Not in delay slots, where the state between branch and slot exists nowhere; not WAIT, which has
 * to leave. Where instructions are counted, an instruction counts here unless it was abandoned.
 * Stores to code need no look: until software synchronises, an earlier instruction may run (vol. II
 * SYNCI). */
#include "isa/mips32/translate.h"

#include "isa/mips32/fpu.h"
#include "isa/mips32/mmu.h"

#define KSEG0 0x80000000u
#define KSEG2 0xc0000000u
#define WAIT  0x42000020u

/* What generated code depends on besides addresses. */
static uint64_t mode_of(const struct mips32_vcpu *v)
{
    uint32_t fp = v->fcsr & (FCSR_ENABLES | FCSR_RM | FCSR_FS);
    return (uint64_t)fp << 32 | (uint32_t)v->mode | (v->cp0.status & (ST_CU1 | ST_FR | ST_ERL));
}

/* May the code behind the instruction go on? */
static bool goes_on(const struct mips32_vcpu *v, uint32_t next, uint64_t mode)
{
    return v->pc == next && mode_of(v) == mode && next >= KSEG0 && next < KSEG2;
}

/* The same few are called again and again. */
static const struct mips32_insn *decoded(struct mips32_vcpu *v, uint32_t row, uint32_t word)
{
    uint32_t hash = (word ^ word >> 11 ^ word >> 21) % MIPS32_TR_CALLED;
    struct mips32_insn *in = &v->gen.translator->called[hash];
    if (in->word != word || in->row != row || !in->fn)
        mips32_decode_as(v->decoder, row, word, in);
    return in;
}

unsigned mips32_run_callout(struct mips32_vcpu *v, uint32_t row, uint32_t word)
{
    struct mips32_insn in;
    uint32_t next = v->pc + 4;
    if (v->gen.fp.word)
        mips32_fp_sync(v);
    v->gen.translator->of[row].called++;
    uint64_t mode = mode_of(v);
    in = *decoded(v, row, word);
    in.slot = (uint16_t)((v->pc & ~(uint32_t)PAGE_MASK) / 4);
    v->page_va = v->pc & (uint32_t)PAGE_MASK;
    v->cur = &in;
    if (setjmp(v->unwind)) {
        mips32_deliver_fault(v);
        return MIPS32_CALLOUT_LEAVE;
    }
    const struct mips32_insn *then = in.fn(v, &in);
    v->cur = NULL;
    v->retired += v->gen.translator->options.count;
    if (then)
        v->pc = next;
    bool same = then ? mode_of(v) == mode : goes_on(v, next, mode);
    return same ? MIPS32_CALLOUT_NEXT : MIPS32_CALLOUT_LEAVE;
}

bool mips32_tr_callout(struct mips32_tr *tr)
{
    const struct mips32_op *op = mips32_row(tr->v->decoder, tr->in.row);
    if (tr->t->options.trap || !op || op->match == WAIT || (op->flags & MIPS32_BRANCH))
        return false;
    x64_mov32_imm(&tr->e, X64_R8, tr->pc);
    x64_mov32_imm(&tr->e, X64_R9, tr->in.row);
    x64_mov32_imm(&tr->e, X64_R10, tr->in.word);
    x64_op_mem(&tr->e, X64_OP(0xff), 2, MIPS32_STATE(gen.callout));
    return true;
}
