/* SPDX-License-Identifier: MIT */
/* The MIPS32 translator's main loop.
 *
 * A translation is a straight run of guest code, past conditional branches, up to a jump, the end
 * of the page, an instruction that has code already, or one that is declined. Each instruction but
 * those in delay slots is a mark where state is exact and jumps may come in. A branch in the page's
 * last word has its slot on another page and is declined, which no straddling translation is worth.
 *
 * What has no row here is called out. */
#include "isa/mips32/translate.h"

#define PAGE_WORD_BYTES 4u
#define ROOM_BYTES      (TB_MAX_CODE / 2) /* the rest is for stubs and tails */
#define ROOM_JUMPS      8u                /* an instruction makes fewer */

/* ---- small services -------------------------------------------------------------------------- */

static uint16_t here(const struct mips32_tr *tr)
{
    return (uint16_t)(tr->e.at - tr->tb->code);
}

static uint32_t word_at(const struct mips32_tr *tr, unsigned offset)
{
    uint32_t word;
    memcpy(&word, tr->tb->bytes + offset, sizeof word);
    return tr->v->big_endian ? __builtin_bswap32(word) : word;
}

void mips32_tr_exit(struct mips32_tr *tr, enum dbt_exit kind)
{
    struct tb *tb = tr->tb;
    uint8_t *at = x64_jmp(&tr->e);
    tb->tramp[tb->tramps++] = (struct tb_tramp){(uint16_t)(at - tb->code), (uint8_t)kind};
}

void mips32_tr_leave_if(struct mips32_tr *tr, enum x64_cc cc, enum mips32_want want)
{
    tr->stub[tr->stubs++] =
        (struct mips32_tr_stub){x64_jcc(&tr->e, cc), tr->pc, tr->in.row, (uint8_t)want};
}

void mips32_tr_count(struct mips32_tr *tr, unsigned n)
{
    if (!tr->t->options.count)
        return;
    x64_op_mem(&tr->e, X64_WIDE(0x83), 0, MIPS32_STATE(retired)); /* add */
    x64_u8(&tr->e, (uint8_t)n);
}

static void emulate(struct mips32_tr *tr, uint32_t pc, unsigned argument)
{
    x64_mov32_imm(&tr->e, X64_R8, pc);
    x64_mov32_imm(&tr->e, X64_R9, argument);
    mips32_tr_exit(tr, DBT_EXIT_EMULATE);
}

static bool same_stub(const struct mips32_tr_stub *a, const struct mips32_tr_stub *b)
{
    return a->pc == b->pc && a->want == b->want;
}

/* Stubs of one instruction follow each other. */
static void emit_stubs(struct mips32_tr *tr)
{
    for (unsigned i = 0; i < tr->stubs;) {
        const struct mips32_tr_stub *s = &tr->stub[i];
        for (; i < tr->stubs && same_stub(s, &tr->stub[i]); i++)
            x64_here32(&tr->e, tr->stub[i].at);
        if (s->want != MIPS32_WANT_NONE) {
            x64_store32(&tr->e, MIPS32_STATE(gen.want_va), X64_R8);
            x64_store32_imm(&tr->e, MIPS32_STATE(gen.want), s->want);
        }
        emulate(tr, s->pc, s->row);
    }
}

/* ---- one instruction ------------------------------------------------------------------------- */

static const struct mips32_tr_row *row_of(const struct mips32_tr *tr, const struct mips32_insn *in)
{
    const struct mips32_op *op = mips32_row(tr->v->decoder, in->row);
    if (!op || ((op->flags & MIPS32_CP1) && !(tr->tb->mode & MIPS32_TR_CP1)) ||
        ((op->flags & MIPS32_CP0) && (tr->tb->mode & MIPS32_TR_MODE) != MIPS32_KERNEL) ||
        ((op->flags & MIPS32_FR1) && !(tr->tb->mode & MIPS32_TR_FR)))
        return NULL;
    return tr->t->of[in->row].translate;
}

bool mips32_tr_decode_slot(const struct mips32_tr *tr, struct mips32_insn *slot)
{
    unsigned offset = (tr->pc & ~(uint32_t)PAGE_MASK) + PAGE_WORD_BYTES;
    if (offset >= PAGE_BYTES)
        return false;
    mips32_decode(tr->v->decoder, word_at(tr, offset), slot);
    return true;
}

bool mips32_tr_slot(struct mips32_tr *tr, const struct mips32_insn *slot)
{
    const struct mips32_tr_row *row = row_of(tr, slot);
    struct mips32_insn branch = tr->in;
    if (!row || row->flow)
        return false;
    tr->in = *slot;
    tr->in_slot = true;
    bool ok = row->fn(tr, row->argument);
    tr->in_slot = false;
    tr->in = branch;
    return ok;
}

static void begin_instruction(struct mips32_tr *tr, unsigned offset)
{
    struct tb *tb = tr->tb;
    tb->mark[tb->marks++] =
        (struct tb_mark){.host = here(tr), .guest = (uint16_t)offset, .entry = true};
    tr->pc = tb->page + offset;
    mips32_decode(tr->v->decoder, word_at(tr, offset), &tr->in);
}

/* Statistics blame the slot of a branch that is declined because of it. */
static void decline(struct mips32_tr *tr)
{
    struct mips32_insn slot;
    const struct mips32_tr_row *flow = row_of(tr, &tr->in);
    unsigned row = flow && mips32_tr_decode_slot(tr, &slot) ? slot.row : tr->in.row;
    if (row == MIPS32_NO_ROW)
        row = (unsigned)mips32_rows(tr->v->decoder);
    bool callout =
        tr->tb->policy(tr->tb->opaque, (uint16_t)(tr->pc & ~(uint32_t)PAGE_MASK)) == TB_CALLOUT;
    emulate(tr, tr->pc, row | (callout ? DBT_CALLOUT : 0));
    tr->done = true;
}

/* Returns the offset of the instruction behind it. */
static unsigned instruction(struct mips32_tr *tr, unsigned offset)
{
    struct tb *tb = tr->tb;
    begin_instruction(tr, offset);
    const struct mips32_tr_row *row = row_of(tr, &tr->in);
    uint8_t *start = tr->e.at;
    unsigned stubs = tr->stubs, tails = tr->tails;
    uint16_t links = tb->links, tramps = tb->tramps;
    if (row && row->fn(tr, row->argument)) {
        if (!row->flow)
            mips32_tr_count(tr, 1);
        return offset + (row->flow ? 2 : 1) * PAGE_WORD_BYTES;
    }
    tr->e.at = start;
    tr->stubs = stubs;
    tr->tails = tails;
    tb->links = links;
    tb->tramps = tramps;
    if (!(row && row->flow) && mips32_tr_callout(tr))
        return offset + PAGE_WORD_BYTES;
    decline(tr);
    return offset + PAGE_WORD_BYTES;
}

static bool room_left(const struct mips32_tr *tr)
{
    const struct tb *tb = tr->tb;
    return tb->marks < tb->max_insns && here(tr) < ROOM_BYTES &&
           tb->links + ROOM_JUMPS < TB_MAX_LINKS && tr->tails + ROOM_JUMPS < TB_MAX_INSNS &&
           tb->tramps + tr->tails + tr->stubs + ROOM_JUMPS < TB_MAX_TRAMPS &&
           tr->stubs + ROOM_JUMPS < MIPS32_TR_STUBS;
}

static void run_of_code(struct mips32_tr *tr)
{
    struct tb *tb = tr->tb;
    unsigned offset = tb->start;
    while (!tr->done) {
        bool known = offset < PAGE_BYTES && tb->translated(tb->opaque, (uint16_t)offset);
        if (offset >= PAGE_BYTES || (tb->marks && (known || !room_left(tr)))) {
            mips32_tr_jump(tr, tb->page + offset);
            break;
        }
        offset = instruction(tr, offset);
    }
    tb->end = (uint16_t)(offset < PAGE_BYTES ? offset : PAGE_BYTES);
}

void mips32_translate_code(struct vcpu *base, struct tb *tb)
{
    struct mips32_vcpu *v = mips32_of(base);
    struct mips32_tr tr = {.v = v, .t = v->gen.translator, .tb = tb, .e = {tb->code}};
    run_of_code(&tr);
    mips32_tr_tails(&tr);
    emit_stubs(&tr);
    tb->code_len = here(&tr);
}
