/* SPDX-License-Identifier: MIT */
/* Branches and jumps in translated code, with the instruction in their delay slot.
 *
 * The slot is translated in front of the branch, which then is as the host has it. Where the slot
 * changes what the branch looks at, the condition, or the target, is put aside first. All of it is
 * one instruction: when the slot leaves to the interpreter, that does the branch again from the
 * start, and nothing but the link register has been written by then.
 *
 * Inside the page jumps are rel32 that the engine links; everything else goes through the jump
 * table (ring3/translate.h). A misaligned target finds no code there. */
#include "isa/mips32/fpu.h"
#include "isa/mips32/translate.h"

static bool unchained(const struct mips32_tr *tr)
{
    return tr->t->options.no_chain || tr->t->options.single;
}

/* r9 = table entry of the page; jump to the code of r8d. */
static void jump_by_entry(struct mips32_tr *tr)
{
    struct x64 *e = &tr->e;
    x64_lea64(e, X64_R9, x64_indexed(X64_R9, X64_R8, 2, 0));
    x64_load32(e, X64_R9, x64_indexed(X64_R9, X64_R11, 0, DBT_NOTHING_OFFSET));
    x64_op_reg(e, X64_WIDE(0x03), X64_R9, X64_R11);
    x64_jmp_reg(e, X64_R9);
}

static void jump_indirect(struct mips32_tr *tr)
{
    struct x64 *e = &tr->e;
    if (unchained(tr)) {
        mips32_tr_exit(tr, DBT_EXIT_MISS);
        return;
    }
    x64_mov32(e, X64_R9, X64_R8);
    x64_op_reg(e, X64_OP(0xc1), 5, X64_R9); /* shr */
    x64_u8(e, PAGE_SHIFT);
    x64_load64(e, X64_R9, x64_indexed(X64_R14, X64_R9, 3, 0));
    jump_by_entry(tr);
}

static void jump_far_page(struct mips32_tr *tr, uint32_t target)
{
    x64_mov32_imm(&tr->e, X64_R8, target);
    if (unchained(tr)) {
        mips32_tr_exit(tr, DBT_EXIT_MISS);
        return;
    }
    x64_load64(&tr->e, X64_R9, x64_at(X64_R14, (int32_t)(target >> PAGE_SHIFT) * 8));
    jump_by_entry(tr);
}

static bool in_page(const struct mips32_tr *tr, uint32_t target)
{
    return (target & (uint32_t)PAGE_MASK) == tr->tb->page && !tr->t->options.single;
}

static void link_at(struct mips32_tr *tr, uint8_t *at, uint32_t target)
{
    struct tb *tb = tr->tb;
    tb->link[tb->links++] =
        (struct tb_link){(uint16_t)(at - tb->code), (uint16_t)(target & ~(uint32_t)PAGE_MASK)};
}

void mips32_tr_jump(struct mips32_tr *tr, uint32_t target)
{
    if (in_page(tr, target))
        link_at(tr, x64_jmp(&tr->e), target);
    else
        jump_far_page(tr, target);
}

/* Make the rel32 at `at` lead to a known pc. */
static void lead_to(struct mips32_tr *tr, uint8_t *at, uint32_t target)
{
    if (in_page(tr, target)) {
        link_at(tr, at, target);
        return;
    }
    tr->tail[tr->tails].at = at;
    tr->tail[tr->tails++].target = target;
}

void mips32_tr_tails(struct mips32_tr *tr)
{
    for (unsigned i = 0; i < tr->tails; i++) {
        x64_here32(&tr->e, tr->tail[i].at);
        jump_far_page(tr, tr->tail[i].target);
    }
}

/* ---- branches -------------------------------------------------------------------------------- */

/* A condition in the host's terms, with what else the opcode says. */
enum { CC = 0xf, WITH_ZERO = 0x10, LIKELY = 0x20, LINK = 0x40, OF_FPU = 0x80 };

static void compare(struct mips32_tr *tr, unsigned how)
{
    if (how & OF_FPU) {
        x64_op_mem(&tr->e, X64_OP(0xf7), 0, MIPS32_STATE(fcsr)); /* test */
        x64_u32(&tr->e, mips32_fcc(tr->in.word >> 18 & 7));
        return;
    }
    mips32_tr_compare(tr, tr->in.rs, how & WITH_ZERO ? 0 : tr->in.rt);
}

static void write_link(struct mips32_tr *tr, unsigned reg)
{
    unsigned d = mips32_tr_result(reg, X64_R8);
    x64_mov32_imm(&tr->e, d, tr->pc + 8);
    mips32_tr_set(tr, reg, d);
}

/* Of what coprocessor 1 has, dst may be a register of the other kind: that does no harm. */
static bool slot_writes(const struct mips32_insn *slot, unsigned reg)
{
    return reg && slot->dst == reg;
}

static bool is_of_fpu(const struct mips32_tr *tr, const struct mips32_insn *slot)
{
    const struct mips32_op *op = mips32_row(tr->v->decoder, slot->row);
    return op && (op->flags & MIPS32_CP1);
}

/* The slot runs only if the branch is taken. */
static bool branch_likely(struct mips32_tr *tr, unsigned how, const struct mips32_insn *slot)
{
    compare(tr, how);
    uint8_t *over = x64_jcc(&tr->e, (how & CC) ^ 1);
    if (!mips32_tr_slot(tr, slot))
        return false;
    mips32_tr_count(tr, 2);
    mips32_tr_jump(tr, tr->pc + (uint32_t)tr->in.imm);
    x64_here32(&tr->e, over);
    mips32_tr_count(tr, 1);
    return true;
}

static bool tr_branch(struct mips32_tr *tr, unsigned how)
{
    struct mips32_insn slot;
    if (!mips32_tr_decode_slot(tr, &slot) || ((how & LINK) && tr->in.rs == MIPS32_RA))
        return false;
    if (how & LINK)
        write_link(tr, MIPS32_RA);
    if (how & LIKELY)
        return branch_likely(tr, how, &slot);
    unsigned cc = how & CC;
    bool aside = how & OF_FPU ? is_of_fpu(tr, &slot)
                              : slot_writes(&slot, tr->in.rs) ||
                                    (!(how & WITH_ZERO) && slot_writes(&slot, tr->in.rt));
    if (aside) {
        compare(tr, how);
        x64_op_mem(&tr->e, X64_OP(0x0f, (uint8_t)(0x90 | cc)), 0, MIPS32_STATE(gen.taken));
    }
    if (!mips32_tr_slot(tr, &slot))
        return false;
    mips32_tr_count(tr, 2);
    if (aside) {
        x64_op_mem(&tr->e, X64_OP(0x80), 7, MIPS32_STATE(gen.taken)); /* cmp */
        x64_u8(&tr->e, 0);
        cc = X64_CC_NE;
    } else {
        compare(tr, how);
    }
    lead_to(tr, x64_jcc(&tr->e, cc), tr->pc + (uint32_t)tr->in.imm);
    return true;
}

/* ---- jumps ----------------------------------------------------------------------------------- */

static bool tr_jump(struct mips32_tr *tr, unsigned how)
{
    struct mips32_insn slot;
    if (!mips32_tr_decode_slot(tr, &slot))
        return false;
    if (how & LINK)
        write_link(tr, MIPS32_RA);
    if (!mips32_tr_slot(tr, &slot))
        return false;
    mips32_tr_count(tr, 2);
    mips32_tr_jump(tr, ((tr->pc + 4) & 0xf0000000u) | (uint32_t)tr->in.imm);
    tr->done = true;
    return true;
}

static bool tr_jump_register(struct mips32_tr *tr, unsigned how)
{
    struct mips32_insn slot;
    unsigned rs = tr->in.rs;
    if (!mips32_tr_decode_slot(tr, &slot) || ((how & LINK) && tr->in.dst == rs))
        return false;
    bool aside = slot_writes(&slot, rs);
    if (aside)
        x64_store32(&tr->e, MIPS32_STATE(gen.target), mips32_tr_use(tr, rs, X64_R8));
    if (how & LINK)
        write_link(tr, tr->in.dst);
    if (!mips32_tr_slot(tr, &slot))
        return false;
    mips32_tr_count(tr, 2);
    if (aside)
        x64_load32(&tr->e, X64_R8, MIPS32_STATE(gen.target));
    else
        mips32_tr_load(tr, X64_R8, rs);
    jump_indirect(tr);
    tr->done = true;
    return true;
}

/* clang-format off */
static const struct mips32_tr_row rows[] = {
    {0x00000008, tr_jump_register, 0, true},
    {0x00000408, tr_jump_register, 0, true},
    {0x00000009, tr_jump_register, LINK, true},
    {0x00000409, tr_jump_register, LINK, true},
    {0x04000000, tr_branch, X64_CC_L  | WITH_ZERO, true},
    {0x04010000, tr_branch, X64_CC_GE | WITH_ZERO, true},
    {0x04020000, tr_branch, X64_CC_L  | WITH_ZERO | LIKELY, true},
    {0x04030000, tr_branch, X64_CC_GE | WITH_ZERO | LIKELY, true},
    {0x04100000, tr_branch, X64_CC_L  | WITH_ZERO | LINK, true},
    {0x04110000, tr_branch, X64_CC_GE | WITH_ZERO | LINK, true},
    {0x04120000, tr_branch, X64_CC_L  | WITH_ZERO | LINK | LIKELY, true},
    {0x04130000, tr_branch, X64_CC_GE | WITH_ZERO | LINK | LIKELY, true},
    {0x08000000, tr_jump, 0, true},
    {0x0c000000, tr_jump, LINK, true},
    {0x10000000, tr_branch, X64_CC_E, true},
    {0x14000000, tr_branch, X64_CC_NE, true},
    {0x18000000, tr_branch, X64_CC_LE | WITH_ZERO, true},
    {0x1c000000, tr_branch, X64_CC_G  | WITH_ZERO, true},
    {0x45000000, tr_branch, X64_CC_E  | OF_FPU, true},
    {0x45010000, tr_branch, X64_CC_NE | OF_FPU, true},
    {0x45020000, tr_branch, X64_CC_E  | OF_FPU | LIKELY, true},
    {0x45030000, tr_branch, X64_CC_NE | OF_FPU | LIKELY, true},
    {0x50000000, tr_branch, X64_CC_E  | LIKELY, true},
    {0x54000000, tr_branch, X64_CC_NE | LIKELY, true},
    {0x58000000, tr_branch, X64_CC_LE | WITH_ZERO | LIKELY, true},
    {0x5c000000, tr_branch, X64_CC_G  | WITH_ZERO | LIKELY, true},
};
/* clang-format on */

const struct mips32_tr_rows mips32_tr_flow = {rows, ARRAY_LEN(rows)};
