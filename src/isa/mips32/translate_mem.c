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

/* ---- unaligned words -------------------------------------------------------------------------
 * The word around the address, shifted by so many bytes, meets what is kept of the register; mem.c
 * says more. The count goes into cl, which is lent. */

enum { LEFT = 4, RIGHT = 5 }; /* shl, shr */

/* r9 = rcx; ecx = 8 * how far the address in r10d is from the word's end that the shift goes to. */
static void count_in_cl(struct mips32_tr *tr, unsigned direction)
{
    struct x64 *e = &tr->e;
    x64_mov32(e, X64_R9, X64_RCX);
    x64_mov32(e, X64_RCX, X64_R10);
    if ((direction == LEFT) != tr->v->big_endian)
        x64_op_reg(e, X64_OP(0xf7), 2, X64_RCX); /* not */
    x64_op_reg(e, X64_OP(0x83), 4, X64_RCX);     /* and */
    x64_u8(e, 3);
    x64_op_reg(e, X64_OP(0xc1), 4, X64_RCX); /* shl */
    x64_u8(e, 3);
}

static bool tr_load_part(struct mips32_tr *tr, unsigned direction)
{
    struct x64 *e = &tr->e;
    struct x64_mem m = mips32_tr_access(tr, 1, MIPS32_WANT_READ);
    x64_mov32(e, X64_R10, X64_R8);
    x64_op_reg(e, X64_OP(0x83), 4, X64_R8); /* and */
    x64_u8(e, 0xfc);
    x64_load32(e, X64_R8, m);
    swap(tr, X64_R8, 4);
    count_in_cl(tr, direction);
    x64_op_reg(e, X64_OP(0xd3), direction, X64_R8);
    x64_mov32_imm(e, X64_R10, UINT32_MAX);
    x64_op_reg(e, X64_OP(0xd3), direction, X64_R10);
    x64_op_reg(e, X64_OP(0xf7), 2, X64_R10); /* what the register keeps */
    x64_mov32(e, X64_RCX, X64_R9);
    if (tr->in.rt)
        mips32_tr_op(tr, X64_OP(0x23), X64_R10, tr->in.rt); /* and */
    x64_op_reg(e, X64_OP(0x0b), X64_R8, X64_R10);           /* or */
    mips32_tr_set(tr, tr->in.dst, X64_R8);
    return true;
}

/* jnz or jmp, to be pointed at x64_here8() */
static uint8_t *jump_short(struct mips32_tr *tr, uint8_t opcode)
{
    x64_u8(&tr->e, opcode);
    x64_u8(&tr->e, 0);
    return tr->e.at - 1;
}

static uint8_t *if_bit(struct mips32_tr *tr, uint8_t bit)
{
    x64_op_reg(&tr->e, X64_OP(0xf6), 0, X64_R8); /* test r8b, imm8 */
    x64_u8(&tr->e, bit);
    return jump_short(tr, 0x75);
}

/* The low bytes of r10 to the address in r8, plus disp. */
static void put(struct mips32_tr *tr, unsigned bytes, int32_t disp)
{
    struct x64_op op = bytes == 1 ? X64_OP(0x88) : X64_OP(0x89);
    op.opsize16 = bytes == 2;
    x64_op_mem(&tr->e, op, X64_R10, x64_indexed(X64_R9, X64_R8, 0, disp));
}

static void drop_bytes(struct mips32_tr *tr, unsigned bytes)
{
    x64_op_reg(&tr->e, X64_OP(0xc1), 5, X64_R10); /* shr */
    x64_u8(&tr->e, (uint8_t)(8 * bytes));
}

/* From the address to the end of its word. */
static void put_upwards(struct mips32_tr *tr)
{
    uint8_t *odd = if_bit(tr, 1), *half = if_bit(tr, 2), *end[2];
    put(tr, 4, 0);
    end[0] = jump_short(tr, 0xeb);
    x64_here8(&tr->e, half);
    put(tr, 2, 0);
    end[1] = jump_short(tr, 0xeb);
    x64_here8(&tr->e, odd);
    put(tr, 1, 0);
    uint8_t *last = if_bit(tr, 2);
    drop_bytes(tr, 1);
    put(tr, 2, 1);
    x64_here8(&tr->e, last);
    x64_here8(&tr->e, end[0]);
    x64_here8(&tr->e, end[1]);
}

/* From the start of the address's word to the address: the upper bytes of r10. */
static void put_downwards(struct mips32_tr *tr)
{
    uint8_t *high = if_bit(tr, 2), *odd = if_bit(tr, 1), *end[3];
    drop_bytes(tr, 3);
    put(tr, 1, 0);
    end[0] = jump_short(tr, 0xeb);
    x64_here8(&tr->e, odd);
    drop_bytes(tr, 2);
    put(tr, 2, -1);
    end[1] = jump_short(tr, 0xeb);
    x64_here8(&tr->e, high);
    uint8_t *all = if_bit(tr, 1);
    drop_bytes(tr, 1);
    put(tr, 2, -2);
    drop_bytes(tr, 2);
    put(tr, 1, 0);
    end[2] = jump_short(tr, 0xeb);
    x64_here8(&tr->e, all);
    put(tr, 4, -3);
    for (unsigned i = 0; i < 3; i++)
        x64_here8(&tr->e, end[i]);
}

static bool tr_store_part(struct mips32_tr *tr, unsigned direction)
{
    mips32_tr_access(tr, 1, MIPS32_WANT_WRITE);
    mips32_tr_load(tr, X64_R10, tr->in.rt);
    swap(tr, X64_R10, 4);
    if ((direction == LEFT) == tr->v->big_endian)
        put_upwards(tr);
    else
        put_downwards(tr);
    return true;
}

/* clang-format off */
static const struct mips32_tr_row rows[] = {
    {0x80000000, tr_load, 1 | SIGNED, false}, /* lb */
    {0x84000000, tr_load, 2 | SIGNED, false}, /* lh */
    {0x88000000, tr_load_part, LEFT, false},  /* lwl */
    {0x8c000000, tr_load, 4, false},          /* lw */
    {0x90000000, tr_load, 1, false},          /* lbu */
    {0x94000000, tr_load, 2, false},          /* lhu */
    {0x98000000, tr_load_part, RIGHT, false}, /* lwr */
    {0xa0000000, tr_store, 1, false},         /* sb */
    {0xa4000000, tr_store, 2, false},         /* sh */
    {0xa8000000, tr_store_part, LEFT, false}, /* swl */
    {0xac000000, tr_store, 4, false},         /* sw */
    {0xb8000000, tr_store_part, RIGHT, false}, /* swr */
};
/* clang-format on */

const struct mips32_tr_rows mips32_tr_mem = {rows, ARRAY_LEN(rows)};
