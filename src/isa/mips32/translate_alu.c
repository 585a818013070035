/* SPDX-License-Identifier: MIT */
/* Arithmetic, logic, shifts, multiplication, division (alu.c says what they mean), and how guest
 * registers become operands. */
#include "isa/mips32/translate.h"

/* ---- registers ------------------------------------------------------------------------------- */

int mips32_tr_host(unsigned guest)
{
    static const uint8_t host_plus_1[MIPS32_GPRS] = {
        [2] = X64_RAX + 1, [3] = X64_RCX + 1, [4] = X64_RDX + 1,  [5] = X64_RBX + 1,
        [6] = X64_RBP + 1, [7] = X64_RSI + 1, [16] = X64_RDI + 1, [29] = X64_R12 + 1,
    };
    return host_plus_1[guest] - 1;
}

static struct x64_mem home(unsigned guest)
{
    return mips32_tr_state(offsetof(struct mips32_vcpu, gpr) + guest * sizeof(uint32_t));
}

unsigned mips32_tr_result(unsigned dst, unsigned scratch)
{
    int host = mips32_tr_host(dst);
    return host >= 0 ? (unsigned)host : scratch;
}

void mips32_tr_set(struct mips32_tr *tr, unsigned dst, unsigned from)
{
    int host = mips32_tr_host(dst);
    if (host >= 0 && (unsigned)host != from)
        x64_mov32(&tr->e, (unsigned)host, from);
    else if (host < 0 && dst != MIPS32_SINK)
        x64_store32(&tr->e, home(dst), from);
}

void mips32_tr_load(struct mips32_tr *tr, unsigned host, unsigned guest)
{
    int from = mips32_tr_host(guest);
    if (!guest)
        x64_op_reg(&tr->e, X64_OP(0x31), host, host); /* xor */
    else if (from < 0)
        x64_load32(&tr->e, host, home(guest));
    else if ((unsigned)from != host)
        x64_mov32(&tr->e, host, (unsigned)from);
}

unsigned mips32_tr_use(struct mips32_tr *tr, unsigned guest, unsigned scratch)
{
    int host = mips32_tr_host(guest);
    if (host >= 0)
        return (unsigned)host;
    mips32_tr_load(tr, scratch, guest);
    return scratch;
}

void mips32_tr_op(struct mips32_tr *tr, struct x64_op op, unsigned reg, unsigned guest)
{
    int host = mips32_tr_host(guest);
    if (host >= 0)
        x64_op_reg(&tr->e, op, reg, (unsigned)host);
    else
        x64_op_mem(&tr->e, op, reg, home(guest)); /* gpr[0] is there, too */
}

void mips32_tr_compare(struct mips32_tr *tr, unsigned s, unsigned t)
{
    unsigned reg = mips32_tr_use(tr, s, X64_R8);
    if (t)
        mips32_tr_op(tr, X64_OP(0x3b), reg, t);
    else
        x64_op_reg(&tr->e, X64_OP(0x85), reg, reg); /* test: the flags of a comparison with 0 */
}

/* ---- immediates ------------------------------------------------------------------------------ */

/* The group of 81: add 0, or 1, and 4, sub 5, xor 6, cmp 7. */
static void immediate(struct mips32_tr *tr, unsigned group, unsigned reg, uint32_t imm)
{
    x64_op_reg(&tr->e, X64_OP(0x81), group, reg);
    x64_u32(&tr->e, imm);
}

enum { GROUP_ADD = 0, GROUP_OR = 1, GROUP_AND = 4, GROUP_SUB = 5, GROUP_XOR = 6, GROUP_CMP = 7 };

static bool tr_immediate(struct mips32_tr *tr, unsigned group)
{
    const struct mips32_insn *in = &tr->in;
    unsigned d = mips32_tr_result(in->dst, X64_R8);
    if (in->dst == MIPS32_SINK)
        return true;
    bool identity = in->imm == 0 && group != GROUP_AND;
    if (!in->rs && group != GROUP_AND) {
        x64_mov32_imm(&tr->e, d, (uint32_t)in->imm);
    } else if (group == GROUP_ADD && mips32_tr_host(in->rs) >= 0 && in->imm) {
        x64_lea32(&tr->e, d, x64_at((enum x64_reg)mips32_tr_host(in->rs), in->imm));
    } else {
        mips32_tr_load(tr, d, in->rs);
        if (!identity)
            immediate(tr, group, d, (uint32_t)in->imm);
    }
    mips32_tr_set(tr, in->dst, d);
    return true;
}

static bool tr_lui(struct mips32_tr *tr, unsigned unused)
{
    unsigned d = mips32_tr_result(tr->in.dst, X64_R8);
    x64_mov32_imm(&tr->e, d, (uint32_t)tr->in.imm << 16);
    mips32_tr_set(tr, tr->in.dst, d);
    return true;
}

/* ---- three registers ------------------------------------------------------------------------- */

enum { OP_ADD = 0x03, OP_OR = 0x0b, OP_AND = 0x23, OP_SUB = 0x2b, OP_XOR = 0x33 };

/* d = s op t. A result register that holds t must not take s first. */
static unsigned three(struct mips32_tr *tr, unsigned opcode)
{
    const struct mips32_insn *in = &tr->in;
    unsigned d = mips32_tr_result(in->dst, X64_R8), s = in->rs, t = in->rt;
    bool swap = opcode != OP_SUB && (!s || (int)d == mips32_tr_host(t));
    if (swap)
        t = s, s = in->rt;
    else if ((int)d == mips32_tr_host(t) && s != t)
        d = X64_R8;
    mips32_tr_load(tr, d, s);
    if (t || opcode == OP_AND)
        mips32_tr_op(tr, X64_OP((uint8_t)opcode), d, t);
    return d;
}

/* addu, or and xor with register 0 are how moves are written. */
static bool tr_move(struct mips32_tr *tr, unsigned from)
{
    int d = mips32_tr_host(tr->in.dst);
    if (d >= 0)
        mips32_tr_load(tr, (unsigned)d, from);
    else
        mips32_tr_set(tr, tr->in.dst, mips32_tr_use(tr, from, X64_R8));
    return true;
}

static bool tr_three(struct mips32_tr *tr, unsigned opcode)
{
    const struct mips32_insn *in = &tr->in;
    if (in->dst == MIPS32_SINK)
        return true;
    if (!in->rt && opcode != OP_AND)
        return tr_move(tr, in->rs);
    if (!in->rs && opcode != OP_AND && opcode != OP_SUB)
        return tr_move(tr, in->rt);
    mips32_tr_set(tr, in->dst, three(tr, opcode));
    return true;
}

static bool tr_nor(struct mips32_tr *tr, unsigned unused)
{
    if (tr->in.dst == MIPS32_SINK)
        return true;
    unsigned d = three(tr, OP_OR);
    x64_op_reg(&tr->e, X64_OP(0xf7), 2, d); /* not */
    mips32_tr_set(tr, tr->in.dst, d);
    return true;
}

/* The result is written only when there was no overflow. */
static bool tr_trapping(struct mips32_tr *tr, unsigned opcode)
{
    mips32_tr_load(tr, X64_R8, tr->in.rs);
    mips32_tr_op(tr, X64_OP((uint8_t)opcode), X64_R8, tr->in.rt);
    mips32_tr_leave_if(tr, X64_CC_O, MIPS32_WANT_NONE);
    mips32_tr_set(tr, tr->in.dst, X64_R8);
    return true;
}

static bool tr_addi(struct mips32_tr *tr, unsigned unused)
{
    mips32_tr_load(tr, X64_R8, tr->in.rs);
    immediate(tr, GROUP_ADD, X64_R8, (uint32_t)tr->in.imm);
    mips32_tr_leave_if(tr, X64_CC_O, MIPS32_WANT_NONE);
    mips32_tr_set(tr, tr->in.dst, X64_R8);
    return true;
}

/* ---- comparisons ----------------------------------------------------------------------------- */

static bool set_if(struct mips32_tr *tr, unsigned cc)
{
    unsigned d = mips32_tr_result(tr->in.dst, X64_R9);
    x64_op_reg(&tr->e, X64_OP(0x0f, (uint8_t)(0x90 | cc)), 0, X64_R9); /* setcc r9b */
    x64_op_reg(&tr->e, X64_OP(0x0f, 0xb6), d, X64_R9);
    mips32_tr_set(tr, tr->in.dst, d);
    return true;
}

static bool tr_slt(struct mips32_tr *tr, unsigned cc)
{
    unsigned s = mips32_tr_use(tr, tr->in.rs, X64_R8);
    mips32_tr_op(tr, X64_OP(0x3b), s, tr->in.rt);
    return set_if(tr, cc);
}

static bool tr_slti(struct mips32_tr *tr, unsigned cc)
{
    immediate(tr, GROUP_CMP, mips32_tr_use(tr, tr->in.rs, X64_R8), (uint32_t)tr->in.imm);
    return set_if(tr, cc);
}

/* movz, movn: the destination keeps its value or takes rs. */
static bool tr_move_if(struct mips32_tr *tr, unsigned cc)
{
    const struct mips32_insn *in = &tr->in;
    if (in->dst == MIPS32_SINK)
        return true;
    unsigned t = mips32_tr_use(tr, in->rt, X64_R9);
    unsigned d = mips32_tr_result(in->dst, X64_R8);
    if (d == X64_R8)
        mips32_tr_load(tr, d, in->dst);
    x64_op_reg(&tr->e, X64_OP(0x85), t, t);
    mips32_tr_op(tr, X64_OP(0x0f, (uint8_t)(0x40 | cc)), d, in->rs);
    mips32_tr_set(tr, in->dst, d);
    return true;
}

/* ---- shifts ---------------------------------------------------------------------------------- */

enum { SHIFT_ROR = 1, SHIFT_SHL = 4, SHIFT_SHR = 5, SHIFT_SAR = 7 };

static void shift(struct mips32_tr *tr, unsigned group, unsigned reg, unsigned n)
{
    x64_op_reg(&tr->e, X64_OP(0xc1), group, reg);
    x64_u8(&tr->e, (uint8_t)n);
}

static bool tr_shift(struct mips32_tr *tr, unsigned group)
{
    if (tr->in.dst == MIPS32_SINK)
        return true;
    unsigned d = mips32_tr_result(tr->in.dst, X64_R8);
    mips32_tr_load(tr, d, tr->in.rt);
    if (tr->in.imm)
        shift(tr, group, d, (unsigned)tr->in.imm);
    mips32_tr_set(tr, tr->in.dst, d);
    return true;
}

/* The host takes the count, modulo 32 as well, in cl: lend rcx. */
static bool tr_shift_variable(struct mips32_tr *tr, unsigned group)
{
    const struct mips32_insn *in = &tr->in;
    bool lend = mips32_tr_host(in->rs) != X64_RCX;
    mips32_tr_load(tr, X64_R8, in->rt);
    if (lend) {
        x64_mov32(&tr->e, X64_R10, X64_RCX);
        mips32_tr_load(tr, X64_RCX, in->rs);
    }
    x64_op_reg(&tr->e, X64_OP(0xd3), group, X64_R8);
    if (lend)
        x64_mov32(&tr->e, X64_RCX, X64_R10);
    mips32_tr_set(tr, in->dst, X64_R8);
    return true;
}

/* ---- parts of words -------------------------------------------------------------------------- */

static bool tr_sign_extend(struct mips32_tr *tr, unsigned opcode)
{
    unsigned d = mips32_tr_result(tr->in.dst, X64_R8);
    mips32_tr_load(tr, X64_R8, tr->in.rt); /* r8 has a low byte whatever rt is in */
    x64_op_reg(&tr->e, X64_OP(0x0f, (uint8_t)opcode), d, X64_R8);
    mips32_tr_set(tr, tr->in.dst, d);
    return true;
}

static bool tr_wsbh(struct mips32_tr *tr, unsigned unused)
{
    mips32_tr_load(tr, X64_R8, tr->in.rt);
    x64_op_short(&tr->e, X64_OP(0x0f, 0xc8), X64_R8); /* bswap */
    shift(tr, SHIFT_ROR, X64_R8, 16);
    mips32_tr_set(tr, tr->in.dst, X64_R8);
    return true;
}

static bool tr_ext(struct mips32_tr *tr, unsigned unused)
{
    unsigned pos = tr->in.imm & 0xff, size = (unsigned)tr->in.imm >> 8 & 0x3f;
    if (pos + size > 32)
        return false;
    mips32_tr_load(tr, X64_R8, tr->in.rs);
    if (pos)
        shift(tr, SHIFT_SHR, X64_R8, pos);
    if (pos + size < 32)
        immediate(tr, GROUP_AND, X64_R8, (uint32_t)((UINT64_C(1) << size) - 1));
    mips32_tr_set(tr, tr->in.dst, X64_R8);
    return true;
}

static bool tr_ins(struct mips32_tr *tr, unsigned unused)
{
    unsigned pos = tr->in.imm & 0xff, size = (unsigned)tr->in.imm >> 8 & 0x3f;
    if (!size || pos + size > 32)
        return false;
    uint32_t ones = (uint32_t)((UINT64_C(1) << size) - 1);
    mips32_tr_load(tr, X64_R8, tr->in.rs);
    immediate(tr, GROUP_AND, X64_R8, ones);
    if (pos)
        shift(tr, SHIFT_SHL, X64_R8, pos);
    mips32_tr_load(tr, X64_R9, tr->in.rt);
    immediate(tr, GROUP_AND, X64_R9, ~(ones << pos));
    x64_op_reg(&tr->e, X64_OP(OP_OR), X64_R8, X64_R9);
    mips32_tr_set(tr, tr->in.dst, X64_R8);
    return true;
}

/* bsr leaves its destination alone for 0: 63 there becomes 32 as 31 becomes 0. */
static bool tr_count_leading(struct mips32_tr *tr, unsigned ones)
{
    mips32_tr_load(tr, X64_R8, tr->in.rs);
    if (ones)
        x64_op_reg(&tr->e, X64_OP(0xf7), 2, X64_R8); /* not */
    x64_mov32_imm(&tr->e, X64_R9, 63);
    x64_op_reg(&tr->e, X64_OP(0x0f, 0xbd), X64_R10, X64_R8);
    x64_op_reg(&tr->e, X64_OP(0x0f, 0x44), X64_R10, X64_R9); /* cmovz */
    immediate(tr, GROUP_XOR, X64_R10, 31);
    mips32_tr_set(tr, tr->in.dst, X64_R10);
    return true;
}

/* ---- HI and LO ------------------------------------------------------------------------------- */

static bool tr_from_hilo(struct mips32_tr *tr, unsigned offset)
{
    unsigned d = mips32_tr_result(tr->in.dst, X64_R8);
    if (tr->in.dst == MIPS32_SINK)
        return true;
    x64_load32(&tr->e, d, mips32_tr_state(offset));
    mips32_tr_set(tr, tr->in.dst, d);
    return true;
}

static bool tr_to_hilo(struct mips32_tr *tr, unsigned offset)
{
    x64_store32(&tr->e, mips32_tr_state(offset), mips32_tr_use(tr, tr->in.rs, X64_R8));
    return true;
}

static bool tr_mul(struct mips32_tr *tr, unsigned unused)
{
    mips32_tr_load(tr, X64_R8, tr->in.rs);
    mips32_tr_op(tr, X64_OP(0x0f, 0xaf), X64_R8, tr->in.rt);
    mips32_tr_set(tr, tr->in.dst, X64_R8);
    return true;
}

enum { MUL_SIGNED = 1, MUL_ADD = 2, MUL_SUB = 4 };

/* r8 = product, 64 bits wide; 32-bit loads extend with zeros. */
static void product(struct mips32_tr *tr, bool is_signed)
{
    if (is_signed) {
        mips32_tr_op(tr, X64_WIDE(0x63), X64_R8, tr->in.rs); /* movsxd */
        mips32_tr_op(tr, X64_WIDE(0x63), X64_R9, tr->in.rt);
    } else {
        mips32_tr_load(tr, X64_R8, tr->in.rs);
        mips32_tr_load(tr, X64_R9, tr->in.rt);
    }
    x64_op_reg(&tr->e, X64_WIDE(0x0f, 0xaf), X64_R8, X64_R9);
}

/* r9 = HI:LO */
static void load_hilo(struct mips32_tr *tr)
{
    x64_load32(&tr->e, X64_R9, MIPS32_STATE(hi));
    x64_op_reg(&tr->e, X64_WIDE(0xc1), SHIFT_SHL, X64_R9);
    x64_u8(&tr->e, 32);
    x64_load32(&tr->e, X64_R10, MIPS32_STATE(lo));
    x64_op_reg(&tr->e, X64_WIDE(OP_OR), X64_R9, X64_R10);
}

static bool tr_mult(struct mips32_tr *tr, unsigned how)
{
    unsigned result = X64_R8;
    product(tr, how & MUL_SIGNED);
    if (how & (MUL_ADD | MUL_SUB)) {
        load_hilo(tr);
        x64_op_reg(&tr->e, how & MUL_ADD ? X64_WIDE(OP_ADD) : X64_WIDE(OP_SUB), X64_R9, X64_R8);
        result = X64_R9;
    }
    x64_store32(&tr->e, MIPS32_STATE(lo), result);
    x64_op_reg(&tr->e, X64_WIDE(0xc1), SHIFT_SHR, result);
    x64_u8(&tr->e, 32);
    x64_store32(&tr->e, MIPS32_STATE(hi), result);
    return true;
}

/* Divisors that the host would trap on go to the interpreter. */
static bool tr_div(struct mips32_tr *tr, unsigned is_signed)
{
    struct x64 *e = &tr->e;
    mips32_tr_load(tr, X64_R9, tr->in.rt);
    mips32_tr_load(tr, X64_R8, tr->in.rs);
    x64_op_reg(e, X64_OP(0x85), X64_R9, X64_R9);
    mips32_tr_leave_if(tr, X64_CC_E, MIPS32_WANT_NONE);
    if (is_signed) {
        immediate(tr, GROUP_CMP, X64_R9, UINT32_MAX);
        mips32_tr_leave_if(tr, X64_CC_E, MIPS32_WANT_NONE);
    }
    x64_store64(e, MIPS32_STATE(gen.rax), X64_RAX);
    x64_store64(e, MIPS32_STATE(gen.rdx), X64_RDX);
    x64_mov32(e, X64_RAX, X64_R8);
    if (is_signed)
        x64_u8(e, 0x99); /* cdq */
    else
        x64_op_reg(e, X64_OP(0x31), X64_RDX, X64_RDX);
    x64_op_reg(e, X64_OP(0xf7), is_signed ? 7 : 6, X64_R9);
    x64_store32(e, MIPS32_STATE(lo), X64_RAX);
    x64_store32(e, MIPS32_STATE(hi), X64_RDX);
    x64_load64(e, X64_RAX, MIPS32_STATE(gen.rax));
    x64_load64(e, X64_RDX, MIPS32_STATE(gen.rdx));
    return true;
}

/* ---- traps, hardware registers, what does nothing -------------------------------------------- */

static bool tr_trap(struct mips32_tr *tr, unsigned cc)
{
    mips32_tr_compare(tr, tr->in.rs, tr->in.rt);
    mips32_tr_leave_if(tr, (enum x64_cc)cc, MIPS32_WANT_NONE);
    return true;
}

static bool tr_trap_immediate(struct mips32_tr *tr, unsigned cc)
{
    immediate(tr, GROUP_CMP, mips32_tr_use(tr, tr->in.rs, X64_R8), (uint32_t)tr->in.imm);
    mips32_tr_leave_if(tr, (enum x64_cc)cc, MIPS32_WANT_NONE);
    return true;
}

#define USER_LOCAL 29u

/* UserLocal, by which programs find their thread: if HWREna lets them. */
static bool tr_rdhwr(struct mips32_tr *tr, unsigned unused)
{
    if (tr->in.rd != USER_LOCAL)
        return false;
    x64_op_mem(&tr->e, X64_OP(0xf7), 0, MIPS32_STATE(cp0.hwrena)); /* test */
    x64_u32(&tr->e, 1u << USER_LOCAL);
    mips32_tr_leave_if(tr, X64_CC_E, MIPS32_WANT_NONE);
    return tr_from_hilo(tr, offsetof(struct mips32_vcpu, cp0.user_local));
}

static bool tr_nothing(struct mips32_tr *tr, unsigned unused)
{
    return true;
}

#define STATE_OF(field) offsetof(struct mips32_vcpu, field)

/* clang-format off */
static const struct mips32_tr_row rows[] = {
    {0x00000000, tr_nothing, 0, false}, /* nop */
    {0x00000840, tr_shift, SHIFT_SHL, false}, /* what is not nop */
    {0x00000002, tr_shift, SHIFT_SHR, false},
    {0x00200002, tr_shift, SHIFT_ROR, false},
    {0x00000003, tr_shift, SHIFT_SAR, false},
    {0x00000004, tr_shift_variable, SHIFT_SHL, false},
    {0x00000006, tr_shift_variable, SHIFT_SHR, false},
    {0x00000046, tr_shift_variable, SHIFT_ROR, false},
    {0x00000007, tr_shift_variable, SHIFT_SAR, false},
    {0x0000000a, tr_move_if, X64_CC_E, false},
    {0x0000000b, tr_move_if, X64_CC_NE, false},
    {0x0000000f, tr_nothing, 0, false}, /* sync */
    {0x00000010, tr_from_hilo, STATE_OF(hi), false},
    {0x00000011, tr_to_hilo, STATE_OF(hi), false},
    {0x00000012, tr_from_hilo, STATE_OF(lo), false},
    {0x00000013, tr_to_hilo, STATE_OF(lo), false},
    {0x00000018, tr_mult, MUL_SIGNED, false},
    {0x00000019, tr_mult, 0, false},
    {0x0000001a, tr_div, true, false},
    {0x0000001b, tr_div, false, false},
    {0x00000020, tr_trapping, OP_ADD, false},
    {0x00000021, tr_three, OP_ADD, false},
    {0x00000022, tr_trapping, OP_SUB, false},
    {0x00000023, tr_three, OP_SUB, false},
    {0x00000024, tr_three, OP_AND, false},
    {0x00000025, tr_three, OP_OR, false},
    {0x00000026, tr_three, OP_XOR, false},
    {0x00000027, tr_nor, 0, false},
    {0x0000002a, tr_slt, X64_CC_L, false},
    {0x0000002b, tr_slt, X64_CC_B, false},
    {0x00000030, tr_trap, X64_CC_GE, false},
    {0x00000031, tr_trap, X64_CC_AE, false},
    {0x00000032, tr_trap, X64_CC_L, false},
    {0x00000033, tr_trap, X64_CC_B, false},
    {0x00000034, tr_trap, X64_CC_E, false},
    {0x00000036, tr_trap, X64_CC_NE, false},
    {0x041f0000, tr_nothing, 0, false}, /* synci */
    {0x04080000, tr_trap_immediate, X64_CC_GE, false},
    {0x04090000, tr_trap_immediate, X64_CC_AE, false},
    {0x040a0000, tr_trap_immediate, X64_CC_L, false},
    {0x040b0000, tr_trap_immediate, X64_CC_B, false},
    {0x040c0000, tr_trap_immediate, X64_CC_E, false},
    {0x040e0000, tr_trap_immediate, X64_CC_NE, false},
    {0x20000000, tr_addi, 0, false},
    {0x24000000, tr_immediate, GROUP_ADD, false},
    {0x28000000, tr_slti, X64_CC_L, false},
    {0x2c000000, tr_slti, X64_CC_B, false},
    {0x30000000, tr_immediate, GROUP_AND, false},
    {0x34000000, tr_immediate, GROUP_OR, false},
    {0x38000000, tr_immediate, GROUP_XOR, false},
    {0x3c000000, tr_lui, 0, false},
    {0x70000000, tr_mult, MUL_SIGNED | MUL_ADD, false},
    {0x70000001, tr_mult, MUL_ADD, false},
    {0x70000002, tr_mul, 0, false},
    {0x70000004, tr_mult, MUL_SIGNED | MUL_SUB, false},
    {0x70000005, tr_mult, MUL_SUB, false},
    {0x70000020, tr_count_leading, false, false},
    {0x70000021, tr_count_leading, true, false},
    {0x7c000000, tr_ext, 0, false},
    {0x7c000004, tr_ins, 0, false},
    {0x7c00003b, tr_rdhwr, 0, false},
    {0x7c0000a0, tr_wsbh, 0, false},
    {0x7c000420, tr_sign_extend, 0xbe, false},
    {0x7c000620, tr_sign_extend, 0xbf, false},
    {0xbc000000, tr_nothing, 0, false}, /* cache */
    {0xcc000000, tr_nothing, 0, false}, /* pref */
};
/* clang-format on */

const struct mips32_tr_rows mips32_tr_alu = {rows, ARRAY_LEN(rows)};
