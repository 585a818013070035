/* SPDX-License-Identifier: MIT */
/* The MIPS32 side of the dbt engine as a whole: when translated code may run, and the operations of
 * ring3/translate.h. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "isa/mips32/fpu.h"
#include "isa/mips32/mmu.h"
#include "isa/mips32/translate.h"
#include "isa/mips32/views.h"

#define SHOWN_CALLS 8u

static int probe(struct err *e)
{
    return 0;
}

/* ---- attach ---------------------------------------------------------------------------------- */

static const struct mips32_tr_rows *const subjects[] = {
    &mips32_tr_alu, &mips32_tr_mem, &mips32_tr_flow, &mips32_tr_fpu, &mips32_tr_cp0};

#define MAJOR_OPCODE 0xfc000000u

/* An instruction that this model lacks decodes as what its major opcode stands for otherwise. */
static void add_rows(struct mips32_vcpu *v, struct mips32_translator *t,
                     const struct mips32_tr_rows *rows)
{
    for (size_t i = 0; i < rows->count; i++) {
        struct mips32_insn in;
        mips32_decode(v->decoder, rows->row[i].match, &in);
        const struct mips32_op *op = mips32_row(v->decoder, in.row);
        if (op && (op->match == rows->row[i].match || op->mask != MAJOR_OPCODE))
            t->of[in.row].translate = &rows->row[i];
    }
}

static void detach(struct vcpu *base)
{
    struct mips32_vcpu *v = mips32_of(base);
    mips32_views_free(v->gen.views);
    free(v->gen.translator);
    v->gen = (struct mips32_gen){0};
}

static int attach(struct vcpu *base, const struct dbt_options *o, const struct dbt_hooks *h,
                  struct err *e)
{
    struct mips32_vcpu *v = mips32_of(base);
    struct mips32_translator *t = calloc(1, sizeof *t + mips32_rows(v->decoder) * sizeof *t->of);
    if (!t)
        return err_set(e, ENOMEM, "out-of-memory", "no memory for the translator");
    t->options = *o;
    t->rows = mips32_rows(v->decoder);
    for (unsigned i = 0; i < ARRAY_LEN(subjects); i++)
        add_rows(v, t, subjects[i]);
    v->gen.translator = t;
    v->gen.callout = (uintptr_t)mips32_callout;
    v->gen.views = mips32_views_new(v, h, e);
    if (!v->gen.views) {
        detach(base);
        return -ENOMEM;
    }
    return 0;
}

/* ---- when ------------------------------------------------------------------------------------ */

static bool suits(const struct mips32_vcpu *v)
{
    return !(v->cp0.status & ST_ERL) && !(v->pc & 3) &&
           !(atomic_load_explicit(&v->base.attention, memory_order_relaxed) & MIPS32_ATTN_DEBUG);
}

static bool prepare(struct vcpu *base, struct dbt_where *w)
{
    struct mips32_vcpu *v = mips32_of(base);
    int space = suits(v) ? mips32_views_prepare(v) : -1;
    if (unlikely(space < 0))
        return false;
    v->gen.csr = v->host_csr;
    w->pc = v->pc;
    w->space = (uint16_t)space;
    w->mode = (uint16_t)(v->mode | (v->cp0.status & ST_CU1 ? MIPS32_TR_CP1 : 0) |
                         (v->cp0.status & ST_FR ? MIPS32_TR_FR : 0) |
                         (v->fcsr & FCSR_ENABLES ? MIPS32_TR_FP_TRAPS : 0));
    return true;
}

static bool fetch(struct vcpu *base, uint32_t page, gpfn_t *gpfn)
{
    struct mips32_vcpu *v = mips32_of(base);
    struct mips32_translation t = mips32_translate(v, page, MIPS32_FETCH, v->mode);
    if (t.result != MIPS32_MAPPED || phys_page(base->mem, gpa_page(t.gpa)).kind == PHYS_NONE)
        return false;
    if (t.own_asid)
        mips32_note_asid_page(v, page);
    *gpfn = gpa_page(t.gpa);
    return true;
}

static uint64_t enter(struct vcpu *base, const void *code, uintptr_t jump_table, uintptr_t reserve)
{
    struct mips32_vcpu *v = mips32_of(base);
    uint64_t left = mips32_enter(base, code, jump_table, reserve);
    if (v->gen.fp.word)
        mips32_fp_sync(v);
    return left;
}

static void set_pc(struct vcpu *base, uint32_t pc)
{
    mips32_of(base)->pc = pc;
}

/* Only an absent page that is not 0 (mem/flat.h) gets here. */
static enum dbt_verdict fault(struct vcpu *base, const struct dbt_fault *f)
{
    struct mips32_vcpu *v = mips32_of(base);
    v->pc = f->pc;
    if (f->sig == SIGSEGV) {
        v->gen.want_va = (uint32_t)f->r8;
        v->gen.want = MIPS32_WANT_READ;
    }
    return DBT_INTERPRET;
}

static const char *declined_name(uint32_t argument)
{
    return mips32_row_name(argument);
}

/* The row that has been called out most often among those called less often than `below`. */
static size_t most_called(const struct mips32_translator *t, uint64_t below)
{
    size_t most = t->rows;
    for (size_t i = 0; i < t->rows; i++)
        if (t->of[i].called && t->of[i].called < below &&
            (most == t->rows || t->of[i].called > t->of[most].called))
            most = i;
    return most;
}

static unsigned disassemble(const struct vcpu *base, const uint8_t *bytes, unsigned len,
                            uint32_t pc, char *text, size_t size)
{
    const struct mips32_vcpu *v = mips32_const_of(base);
    uint32_t word;
    if (len < sizeof word)
        return 0;
    memcpy(&word, bytes, sizeof word);
    mips32_disassemble(v->decoder, pc, v->big_endian ? __builtin_bswap32(word) : word, text, size);
    return sizeof word;
}

static void figures(const struct vcpu *base, const struct figure_sink *to)
{
    const struct mips32_vcpu *v = mips32_const_of(base);
    const struct mips32_translator *t = v->gen.translator;
    uint64_t below = UINT64_MAX;
    mips32_views_figures(v->gen.views, to);
    for (unsigned n = 0; n < SHOWN_CALLS; n++) {
        size_t row = most_called(t, below);
        char name[32];
        if (row == t->rows)
            break;
        below = t->of[row].called;
        snprintf(name, sizeof name, "called_%s", mips32_row_name((unsigned)row));
        to->add(to->opaque, name, (double)below, 0, "");
    }
}

const struct isa_translator mips32_translator = {
    .probe = probe,
    .attach = attach,
    .detach = detach,
    .prepare = prepare,
    .fetch = fetch,
    .translate = mips32_translate_code,
    .enter = enter,
    .exit = mips32_exit,
    .fault_exit = mips32_fault_exit,
    .enter_begin = mips32_enter_begin,
    .enter_end = mips32_enter_end,
    .enter_abort = mips32_enter_abort,
    .callout_begin = mips32_callout_begin,
    .callout_end = mips32_callout_end,
    .callout_leave = mips32_callout_leave,
    .fault = fault,
    .set_pc = set_pc,
    .declined_name = declined_name,
    .disassemble = disassemble,
    .figures = figures,
};
