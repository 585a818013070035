/* SPDX-License-Identifier: MIT */
/* Coprocessor 0 in translated code: registers that are mere fields; DI, which can let nothing
 * happen; and what kernels write to Status on their ways in and out. Everything else is called out.
 * Kernel mode only: translate.c sees to that. */
#include "isa/mips32/cp0.h"
#include "isa/mips32/translate.h"

static struct x64_mem field(uint16_t offset)
{
    return mips32_tr_state(offsetof(struct mips32_vcpu, cp0) + offset);
}

static bool tr_mfc0(struct mips32_tr *tr, unsigned unused)
{
    const struct mips32_insn *in = &tr->in;
    uint16_t offset;
    uint32_t mask;
    if (!mips32_cp0_field(tr->v, in->rd, (unsigned)in->imm, false, &offset, &mask))
        return false;
    unsigned d = mips32_tr_result(in->dst, X64_R8);
    if (in->dst == MIPS32_SINK)
        return true;
    x64_load32(&tr->e, d, field(offset));
    mips32_tr_set(tr, in->dst, d);
    return true;
}

#define STATUS 12u
/* Kernels change these all the time and stay in kernel mode. */
#define STATUS_QUICK (ST_IE | ST_EXL | ST_UM | ST_CU0)

/* attn_mask for the Status in r8d, as mips32_update_mode() says; if interrupts are let in, look
 * whether one waits. */
static void update_attention(struct mips32_tr *tr)
{
    struct x64 *e = &tr->e;
    x64_mov32(e, X64_R9, X64_R8);
    x64_op_reg(e, X64_OP(0x83), 4, X64_R9); /* and */
    x64_u8(e, ST_IE | ST_EXL | ST_ERL);
    x64_store32_imm(e, MIPS32_STATE(attn_mask), MIPS32_ATTN_CLOSED);
    x64_op_reg(e, X64_OP(0x83), 7, X64_R9); /* cmp */
    x64_u8(e, ST_IE);
    uint8_t *closed = x64_jcc(e, X64_CC_NE);
    x64_store32_imm(e, MIPS32_STATE(attn_mask), MIPS32_ATTN_OPEN);
    x64_op_mem(e, X64_OP(0xf7), 0, MIPS32_STATE(base.attention)); /* test */
    x64_u32(e, MIPS32_ATTN_OPEN);
    uint8_t *quiet = x64_jcc(e, X64_CC_E);
    x64_mov32_imm(e, X64_R8, tr->pc + 4);
    mips32_tr_exit(tr, DBT_EXIT_ATTENTION);
    x64_here32(e, quiet);
    x64_here32(e, closed);
}

/* Other changes, and the way to user mode without ERET, are the interpreter's. */
static bool tr_write_status(struct mips32_tr *tr)
{
    struct x64 *e = &tr->e;
    uint32_t mask = mips32_status_mask(tr->v->model);
    if (tr->in_slot || tr->t->options.count || tr->t->options.trap)
        return false;
    mips32_tr_load(tr, X64_R8, tr->in.rt);
    x64_op_reg(e, X64_OP(0x81), 4, X64_R8); /* and */
    x64_u32(e, mask);
    x64_load32(e, X64_R9, MIPS32_STATE(cp0.status));
    x64_op_reg(e, X64_OP(0x33), X64_R9, X64_R8);
    x64_op_reg(e, X64_OP(0xf7), 0, X64_R9); /* test */
    x64_u32(e, ~STATUS_QUICK);
    mips32_tr_leave_if(tr, X64_CC_NE, MIPS32_WANT_NONE);
    x64_mov32(e, X64_R9, X64_R8);
    x64_op_reg(e, X64_OP(0x83), 4, X64_R9); /* and */
    x64_u8(e, ST_UM | ST_EXL);
    x64_op_reg(e, X64_OP(0x83), 7, X64_R9); /* cmp */
    x64_u8(e, ST_UM);
    mips32_tr_leave_if(tr, X64_CC_E, MIPS32_WANT_NONE);
    x64_store32(e, MIPS32_STATE(cp0.status), X64_R8);
    update_attention(tr);
    return true;
}

static bool tr_mtc0(struct mips32_tr *tr, unsigned unused)
{
    const struct mips32_insn *in = &tr->in;
    if (in->rd == STATUS && in->imm == 0)
        return tr_write_status(tr);
    uint16_t offset;
    uint32_t mask;
    if (!mips32_cp0_field(tr->v, in->rd, (unsigned)in->imm, true, &offset, &mask))
        return false;
    if (mask == UINT32_MAX) {
        x64_store32(&tr->e, field(offset), mips32_tr_use(tr, in->rt, X64_R8));
        return true;
    }
    mips32_tr_load(tr, X64_R8, in->rt);
    x64_op_reg(&tr->e, X64_OP(0x81), 4, X64_R8); /* and */
    x64_u32(&tr->e, mask);
    x64_load32(&tr->e, X64_R9, field(offset));
    x64_op_reg(&tr->e, X64_OP(0x81), 4, X64_R9);
    x64_u32(&tr->e, ~mask);
    x64_op_reg(&tr->e, X64_OP(0x0b), X64_R8, X64_R9); /* or */
    x64_store32(&tr->e, field(offset), X64_R8);
    return true;
}

/* Status.IE goes; of what depends on Status (mips32_update_mode()) that changes attn_mask alone. */
static bool tr_di(struct mips32_tr *tr, unsigned unused)
{
    x64_load32(&tr->e, X64_R8, MIPS32_STATE(cp0.status));
    mips32_tr_set(tr, tr->in.dst, X64_R8);
    x64_op_reg(&tr->e, X64_OP(0x81), 4, X64_R8);
    x64_u32(&tr->e, ~ST_IE);
    x64_store32(&tr->e, MIPS32_STATE(cp0.status), X64_R8);
    x64_store32_imm(&tr->e, MIPS32_STATE(attn_mask), MIPS32_ATTN_CLOSED);
    return true;
}

static const struct mips32_tr_row rows[] = {
    {0x40000000, tr_mfc0, 0, false},
    {0x40800000, tr_mtc0, 0, false},
    {0x41606000, tr_di, 0, false},
};

const struct mips32_tr_rows mips32_tr_cp0 = {rows, ARRAY_LEN(rows)};
