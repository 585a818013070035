/* SPDX-License-Identifier: MIT */
/* Coprocessor 1 in translated code: moves, loads and stores, branches, and arithmetic on the host's
 * SSE unit, whose MXCSR has the guest's rounding mode while generated code runs.
 *
 * FCSR must say what each instruction raised, which MXCSR, whose flags stick, does not. So
 * arithmetic only notes itself and its operands (gen.fp), and mips32_fp_sync() makes FCSR exact
 * when generated code has been left: what stuck becomes Flags; the last instruction is done again
 * for Cause. A NaN, as operand or result, is left to the interpreter before anything is written,
 * since the rules of MIPS for them are others (fpu.c); as the host's Invalid comes with nothing
 * else, its flag is ignored. Nothing here runs while FCSR enables a trap. */
#include "isa/mips32/fpu.h"
#include "isa/mips32/translate.h"

enum { DOUBLE = 1 }; /* of a format; S is 0 */

#define MXCSR_FLAGS 0x3fu

/* ---- registers ------------------------------------------------------------------------------- */

static bool fr(const struct mips32_tr *tr)
{
    return tr->tb->mode & MIPS32_TR_FR;
}

static struct x64_mem home(const struct mips32_tr *tr, unsigned reg, unsigned format)
{
    size_t at = offsetof(struct mips32_vcpu, fpr);
    if (fr(tr))
        return mips32_tr_state(at + reg * 8);
    return mips32_tr_state(at + (reg & ~1u) * 8 + (format == DOUBLE ? 0 : (reg & 1) * 4));
}

static struct x64_op sse(unsigned opcode, unsigned format)
{
    struct x64_op op = X64_OP(0x0f, (uint8_t)opcode);
    op.mandatory = format == DOUBLE ? 0xf2 : 0xf3;
    return op;
}

enum { SSE_LOAD = 0x10, SSE_STORE = 0x11 };

static void load(struct mips32_tr *tr, unsigned xmm, unsigned reg, unsigned format)
{
    x64_op_mem(&tr->e, sse(SSE_LOAD, format), xmm, home(tr, reg, format));
}

static void store(struct mips32_tr *tr, unsigned reg, unsigned format, unsigned xmm)
{
    x64_op_mem(&tr->e, sse(SSE_STORE, format), xmm, home(tr, reg, format));
}

/* ---- moves ----------------------------------------------------------------------------------- */

static bool tr_mfc1(struct mips32_tr *tr, unsigned unused)
{
    unsigned d = mips32_tr_result(tr->in.dst, X64_R10);
    if (tr->in.dst == MIPS32_SINK)
        return true;
    x64_load32(&tr->e, d, home(tr, tr->in.rd, 0));
    mips32_tr_set(tr, tr->in.dst, d);
    return true;
}

static bool tr_mtc1(struct mips32_tr *tr, unsigned unused)
{
    x64_store32(&tr->e, home(tr, tr->in.rd, 0), mips32_tr_use(tr, tr->in.rt, X64_R10));
    return true;
}

static bool tr_mov(struct mips32_tr *tr, unsigned format)
{
    load(tr, 0, tr->in.rd, format);
    store(tr, tr->in.dst, format, 0);
    return true;
}

static bool tr_load(struct mips32_tr *tr, unsigned format)
{
    unsigned bytes = format == DOUBLE ? 8 : 4;
    if (tr->v->big_endian)
        return false;
    struct x64_mem m = mips32_tr_access(tr, bytes, MIPS32_WANT_READ);
    x64_op_mem(&tr->e, sse(SSE_LOAD, format), 0, m);
    store(tr, tr->in.rt, format, 0);
    return true;
}

static bool tr_store(struct mips32_tr *tr, unsigned format)
{
    unsigned bytes = format == DOUBLE ? 8 : 4;
    if (tr->v->big_endian)
        return false;
    struct x64_mem m = mips32_tr_access(tr, bytes, MIPS32_WANT_WRITE);
    load(tr, 0, tr->in.rt, format);
    x64_op_mem(&tr->e, sse(SSE_STORE, format), 0, m);
    return true;
}

/* ---- arithmetic ------------------------------------------------------------------------------ */

/* Not where a trap could be due. */
static bool may_compute(const struct mips32_tr *tr)
{
    return !(tr->tb->mode & MIPS32_TR_FP_TRAPS);
}

/* Compare and look for NaNs. */
static void leave_if_unordered(struct mips32_tr *tr, unsigned a, unsigned b, unsigned format)
{
    struct x64_op op = X64_OP(0x0f, 0x2e); /* ucomiss, ucomisd */
    op.opsize16 = format == DOUBLE;
    x64_op_reg(&tr->e, op, a, b);
    mips32_tr_leave_if(tr, X64_CC_P, MIPS32_WANT_NONE);
}

/* The instruction at hand is the last arithmetic now, its operands are in xmm1 and on. Not before
 * it has succeeded: what mips32_fp_sync() does again is a whole. */
static void note(struct mips32_tr *tr, unsigned operands)
{
    x64_store32_imm(&tr->e, MIPS32_STATE(gen.fp.word), tr->in.word);
    for (unsigned n = 0; n < operands; n++)
        x64_op_mem(&tr->e, sse(SSE_STORE, DOUBLE), 1 + n,
                   mips32_tr_state(offsetof(struct mips32_vcpu, gen.fp.operand) + n * 8));
}

/* The result in xmm0, if it is a number, is that of the instruction at hand. */
static bool finish(struct mips32_tr *tr, unsigned operands, unsigned format)
{
    leave_if_unordered(tr, 0, 0, format);
    note(tr, operands);
    store(tr, tr->in.dst, format, 0);
    return true;
}

/* xmm0 = xmm1, for the host's instructions have two operands */
static void copy_first(struct mips32_tr *tr)
{
    x64_op_reg(&tr->e, X64_OP(0x0f, 0x28), 0, 1); /* movaps */
}

#define WITH(opcode, format) ((opcode) << 1 | (format))

static bool tr_two(struct mips32_tr *tr, unsigned how)
{
    unsigned format = how & 1;
    if (!may_compute(tr))
        return false;
    load(tr, 1, tr->in.rd, format);
    load(tr, 2, tr->in.rt, format);
    copy_first(tr);
    x64_op_reg(&tr->e, sse(how >> 1, format), 0, 2);
    return finish(tr, 2, format);
}

static bool tr_sqrt(struct mips32_tr *tr, unsigned format)
{
    if (!may_compute(tr))
        return false;
    load(tr, 1, tr->in.rd, format);
    x64_op_reg(&tr->e, sse(0x51, format), 0, 1);
    return finish(tr, 1, format);
}

/* madd and msub: two roundings, and NaNs and infinities may come up in between. */
static bool tr_multiply_add(struct mips32_tr *tr, unsigned how)
{
    unsigned format = how & 1;
    if (!may_compute(tr))
        return false;
    load(tr, 1, tr->in.rd, format);
    load(tr, 2, tr->in.rt, format);
    load(tr, 3, tr->in.rs, format);
    copy_first(tr);
    x64_op_reg(&tr->e, sse(0x59, format), 0, 2);
    x64_op_reg(&tr->e, sse(how >> 1, format), 0, 3);
    return finish(tr, 3, format);
}

/* Between the formats, from and to words. */
static bool tr_convert(struct mips32_tr *tr, unsigned from)
{
    if (!may_compute(tr))
        return false;
    load(tr, 1, tr->in.rd, from);
    x64_op_reg(&tr->e, sse(0x5a, from), 0, 1);
    return finish(tr, 1, !from);
}

static bool tr_from_word(struct mips32_tr *tr, unsigned format)
{
    if (!may_compute(tr))
        return false;
    load(tr, 1, tr->in.rd, 0);
    x64_op_mem(&tr->e, sse(0x2a, format), 0, home(tr, tr->in.rd, 0));
    return finish(tr, 1, format);
}

/* trunc.w and cvt.w. What is no int32_t comes as the least one, which some number is, too. */
static bool tr_to_word(struct mips32_tr *tr, unsigned how)
{
    unsigned format = how & 1;
    if (!may_compute(tr))
        return false;
    load(tr, 1, tr->in.rd, format);
    x64_op_reg(&tr->e, sse(how >> 1, format), X64_R10, 1);
    x64_op_reg(&tr->e, X64_OP(0x81), 7, X64_R10); /* cmp */
    x64_u32(&tr->e, 0x80000000u);
    mips32_tr_leave_if(tr, X64_CC_E, MIPS32_WANT_NONE);
    note(tr, 1);
    x64_store32(&tr->e, home(tr, tr->in.dst, 0), X64_R10);
    return true;
}

/* ---- comparison ------------------------------------------------------------------------------ */

/* r8d = FCSR with condition code n as the host's condition says. */
static void set_condition(struct mips32_tr *tr, unsigned n, unsigned cc)
{
    uint32_t bit = mips32_fcc(n);
    struct x64 *e = &tr->e;
    x64_mov32_imm(e, X64_R9, 0); /* flags stay */
    x64_op_reg(e, X64_OP(0x0f, (uint8_t)(0x90 | cc)), 0, X64_R9);
    x64_load32(e, X64_R8, MIPS32_STATE(fcsr));
    x64_op_reg(e, X64_OP(0xc1), 4, X64_R9); /* shl */
    x64_u8(e, (uint8_t)__builtin_ctz(bit));
    x64_op_reg(e, X64_OP(0x81), 4, X64_R8); /* and */
    x64_u32(e, ~bit);
    x64_op_reg(e, X64_OP(0x0b), X64_R8, X64_R9);
    x64_store32(e, MIPS32_STATE(fcsr), X64_R8);
}

/* Of two numbers the condition's bits are equal and less; it raises nothing, which clears Cause. */
static bool tr_compare(struct mips32_tr *tr, unsigned format)
{
    static const uint8_t cc[4] = {0, X64_CC_E, X64_CC_B, X64_CC_BE};
    unsigned condition = tr->in.word >> 1 & 3;
    if (!may_compute(tr))
        return false;
    load(tr, 0, tr->in.rd, format);
    load(tr, 1, tr->in.rt, format);
    leave_if_unordered(tr, 0, 1, format);
    if (condition) {
        set_condition(tr, (unsigned)tr->in.imm, cc[condition]);
    } else { /* only unordered operands would do */
        x64_op_mem(&tr->e, X64_OP(0x81), 4, MIPS32_STATE(fcsr));
        x64_u32(&tr->e, ~mips32_fcc((unsigned)tr->in.imm));
    }
    x64_store32_imm(&tr->e, MIPS32_STATE(gen.fp.word), MIPS32_FP_NOTHING);
    return true;
}

/* movf, movt of general registers */
static bool tr_move_on_condition(struct mips32_tr *tr, unsigned wanted)
{
    const struct mips32_insn *in = &tr->in;
    unsigned d = mips32_tr_result(in->dst, X64_R8);
    if (in->dst == MIPS32_SINK)
        return true;
    if (d == X64_R8)
        mips32_tr_load(tr, d, in->dst);
    x64_op_mem(&tr->e, X64_OP(0xf7), 0, MIPS32_STATE(fcsr)); /* test */
    x64_u32(&tr->e, mips32_fcc(in->word >> 18 & 7));
    mips32_tr_op(tr, X64_OP(0x0f, (uint8_t)(0x40 | (wanted ? X64_CC_NE : X64_CC_E))), d, in->rs);
    mips32_tr_set(tr, in->dst, d);
    return true;
}

/* ---- exact FCSR ------------------------------------------------------------------------------ */

static uint32_t sticky(uint32_t mxcsr)
{
    return (mxcsr >> 5 & 1 ? FP_INEXACT : 0) | (mxcsr >> 4 & 1 ? FP_UNDERFLOW : 0) |
           (mxcsr >> 3 & 1 ? FP_OVERFLOW : 0) | (mxcsr >> 2 & 1 ? FP_DIVIDE : 0);
}

static void set_operand(struct mips32_vcpu *v, unsigned reg, uint64_t x, bool is_double)
{
    if (is_double)
        mips32_set_d(v, reg, x);
    else
        mips32_set_s(v, reg, (uint32_t)x);
}

/* Do the last instruction again, on its operands; it sets Cause. The registers stay as they are. */
static void again(struct mips32_vcpu *v, uint32_t word)
{
    struct mips32_insn in;
    uint64_t kept[32];
    memcpy(kept, v->fpr, sizeof kept);
    mips32_decode(v->decoder, word, &in);
    /* Format: of COP1X in the low bits, else in the field of rs: S 16, D 17, W 20, L 21. */
    bool fused = word >> 26 == 0x13;
    bool is_double = fused ? word & 1 : (word >> 21 & 31) == 17;
    set_operand(v, in.rd, v->gen.fp.operand[0], is_double);
    if (fused || (word & 0x3f) < 4)
        set_operand(v, in.rt, v->gen.fp.operand[1], is_double);
    if (fused)
        set_operand(v, in.rs, v->gen.fp.operand[2], is_double);
    mips32_row(v->decoder, in.row)->fn(v, &in); /* numbers: it raises no exception */
    memcpy(v->fpr, kept, sizeof kept);
}

void mips32_fp_sync(struct mips32_vcpu *v)
{
    uint32_t word = v->gen.fp.word;
    v->gen.fp.word = 0;
    v->fcsr |= sticky(v->gen.csr) << FCSR_FLAGS_SHIFT;
    v->gen.csr &= ~MXCSR_FLAGS;
    if (word == MIPS32_FP_NOTHING)
        v->fcsr &= ~FCSR_CAUSE;
    else
        again(v, word);
}

/* ---- rows ------------------------------------------------------------------------------------ */

#define ADD 0x58
#define MUL 0x59
#define SUB 0x5c
#define DIV 0x5e

/* clang-format off */
static const struct mips32_tr_row rows[] = {
    {0x00000001, tr_move_on_condition, 0, false}, /* movf */
    {0x00010001, tr_move_on_condition, 1, false},
    {0x44000000, tr_mfc1, 0, false},
    {0x44800000, tr_mtc1, 0, false},
    {0x46000000, tr_two, WITH(ADD, 0), false},
    {0x46000001, tr_two, WITH(SUB, 0), false},
    {0x46000002, tr_two, WITH(MUL, 0), false},
    {0x46000003, tr_two, WITH(DIV, 0), false},
    {0x46000004, tr_sqrt, 0, false},
    {0x46000006, tr_mov, 0, false},
    {0x4600000d, tr_to_word, WITH(0x2c, 0), false}, /* trunc.w.s */
    {0x46000021, tr_convert, 0, false},             /* cvt.d.s */
    {0x46000024, tr_to_word, WITH(0x2d, 0), false}, /* cvt.w.s */
    {0x46000030, tr_compare, 0, false},
    {0x46200000, tr_two, WITH(ADD, DOUBLE), false},
    {0x46200001, tr_two, WITH(SUB, DOUBLE), false},
    {0x46200002, tr_two, WITH(MUL, DOUBLE), false},
    {0x46200003, tr_two, WITH(DIV, DOUBLE), false},
    {0x46200004, tr_sqrt, DOUBLE, false},
    {0x46200006, tr_mov, DOUBLE, false},
    {0x4620000d, tr_to_word, WITH(0x2c, DOUBLE), false},
    {0x46200020, tr_convert, DOUBLE, false},        /* cvt.s.d */
    {0x46200024, tr_to_word, WITH(0x2d, DOUBLE), false},
    {0x46200030, tr_compare, DOUBLE, false},
    {0x46800020, tr_from_word, 0, false},           /* cvt.s.w */
    {0x46800021, tr_from_word, DOUBLE, false},
    {0x4c000020, tr_multiply_add, WITH(ADD, 0), false},
    {0x4c000021, tr_multiply_add, WITH(ADD, DOUBLE), false},
    {0x4c000028, tr_multiply_add, WITH(SUB, 0), false},
    {0x4c000029, tr_multiply_add, WITH(SUB, DOUBLE), false},
    {0xc4000000, tr_load, 0, false},                /* lwc1 */
    {0xd4000000, tr_load, DOUBLE, false},
    {0xe4000000, tr_store, 0, false},
    {0xf4000000, tr_store, DOUBLE, false},
};
/* clang-format on */

const struct mips32_tr_rows mips32_tr_fpu = {rows, ARRAY_LEN(rows)};
