/* SPDX-License-Identifier: MIT */
/* Loads and stores in translated code, through the flat view (mem/flat.h):
 *
 *     lea  r8d, [rs + offset]
 *     test r8b, size - 1          misaligned: to the interpreter
 *     mov  r9d, r8d
 *     shr  r9d, 12
 *     mov  r9, [r15 + r9*8]       host minus guest address of the page
 *     test r9, r9                 not shown: to the interpreter, which has it shown
 *     mov  rt, [r9 + r8]
 *
 * Where an absent page of the view is FLAT_POISON instead of 0, the access faults on the host. */
#include "isa/mips32/translate.h"

#include "mem/flat.h"

static void address(struct mips32_tr *tr)
{
    int base = mips32_tr_host(tr->in.rs);
    if (!tr->in.rs) {
        x64_mov32_imm(&tr->e, X64_R8, (uint32_t)tr->in.imm);
        return;
    }
    if (base < 0) {
        mips32_tr_load(tr, X64_R8, tr->in.rs);
        base = X64_R8;
    }
    if (base != X64_R8 || tr->in.imm)
        x64_lea32(&tr->e, X64_R8, x64_at((enum x64_reg)base, tr->in.imm));
}

struct x64_mem mips32_tr_access(struct mips32_tr *tr, unsigned bytes, enum mips32_want want)
{
    struct x64 *e = &tr->e;
    address(tr);
    if (bytes > 1) {
        x64_op_reg(e, X64_OP(0xf6), 0, X64_R8); /* test r8b, imm8 */
        x64_u8(e, (uint8_t)(bytes - 1));
        mips32_tr_leave_if(tr, X64_CC_NE, want);
    }
    x64_mov32(e, X64_R9, X64_R8);
    x64_op_reg(e, X64_OP(0xc1), 5, X64_R9); /* shr */
    x64_u8(e, PAGE_SHIFT);
    x64_load64(e, X64_R9,
               x64_indexed(X64_R15, X64_R9, 3, want == MIPS32_WANT_WRITE ? FLAT_WRITE_OFFSET : 0));
    x64_op_reg(e, X64_WIDE(0x85), X64_R9, X64_R9);
    mips32_tr_leave_if(tr, X64_CC_E, want);
    return x64_indexed(X64_R9, X64_R8, 0, 0);
}

/* The bytes of a register in the other order. */
static void swap(struct mips32_tr *tr, unsigned reg, unsigned bytes)
{
    if (!tr->v->big_endian || bytes == 1)
        return;
    x64_op_short(&tr->e, X64_OP(0x0f, 0xc8), reg);
    if (bytes == 2) {
        x64_op_reg(&tr->e, X64_OP(0xc1), 5, reg);
        x64_u8(&tr->e, 16);
    }
}

enum { SIGNED = 0x10 }; /* with the number of bytes */

/* movzx and movsx of a byte or a half. */
static struct x64_op extend(unsigned how)
{
    unsigned bytes = how & 0xf;
    return X64_OP(0x0f, (uint8_t)((how & SIGNED ? 0xbe : 0xb6) | (bytes == 2)));
}

static bool tr_load(struct mips32_tr *tr, unsigned how)
{
    unsigned bytes = how & 0xf, d = mips32_tr_result(tr->in.dst, X64_R10);
    struct x64_mem m = mips32_tr_access(tr, bytes, MIPS32_WANT_READ);
    x64_op_mem(&tr->e, bytes == 4 ? X64_OP(0x8b) : extend(how & (tr->v->big_endian ? 0xf : 0x1f)),
               d, m);
    swap(tr, d, bytes);
    if (tr->v->big_endian && bytes == 2 && (how & SIGNED))
        x64_op_reg(&tr->e, X64_OP(0x0f, 0xbf), d, d);
    if (tr->v->big_endian && bytes == 1 && (how & SIGNED)) {
        x64_mov32(&tr->e, X64_R10, d);
        x64_op_reg(&tr->e, X64_OP(0x0f, 0xbe), d, X64_R10);
    }
    mips32_tr_set(tr, tr->in.dst, d);
    return true;
}

static bool tr_store(struct mips32_tr *tr, unsigned bytes)
{
    struct x64_mem m = mips32_tr_access(tr, bytes, MIPS32_WANT_WRITE);
    unsigned from = X64_R10;
    if (bytes == 4 && !tr->v->big_endian)
        from = mips32_tr_use(tr, tr->in.rt, X64_R10);
    else /* r10 has a low byte whatever rt is in */
        mips32_tr_load(tr, X64_R10, tr->in.rt);
    swap(tr, from, bytes);
    struct x64_op op = bytes == 1 ? X64_OP(0x88) : X64_OP(0x89);
    op.opsize16 = bytes == 2;
    x64_op_mem(&tr->e, op, from, m);
    return true;
}

/* clang-format off */
static const struct mips32_tr_row rows[] = {
    {0x80000000, tr_load, 1 | SIGNED, false}, /* lb */
    {0x84000000, tr_load, 2 | SIGNED, false}, /* lh */
    {0x8c000000, tr_load, 4, false},          /* lw */
    {0x90000000, tr_load, 1, false},          /* lbu */
    {0x94000000, tr_load, 2, false},          /* lhu */
    {0xa0000000, tr_store, 1, false},         /* sb */
    {0xa4000000, tr_store, 2, false},         /* sh */
    {0xac000000, tr_store, 4, false},         /* sw */
};
/* clang-format on */

const struct mips32_tr_rows mips32_tr_mem = {rows, ARRAY_LEN(rows)};
