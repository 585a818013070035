/* SPDX-License-Identifier: MIT */
/* Coprocessor 0 in translated code: registers that are mere fields, and DI, which can let nothing
 * happen. Everything else of it is called out. Kernel mode only: translate.c sees to that. */
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

static bool tr_mtc0(struct mips32_tr *tr, unsigned unused)
{
    const struct mips32_insn *in = &tr->in;
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
