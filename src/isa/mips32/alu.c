/* SPDX-License-Identifier: MIT */
/* Integer arithmetic, logic, shifts, multiplication, division, bit fields (vol. II).
 *
 * Where the architecture leaves a result open: division by zero, and of the least number by -1,
 * act as division by one; MUL leaves HI and LO alone. */
#include "isa/mips32/insn.h"

/* An instruction that writes a function of its operands to its destination. */
#define ALU(name, expr)                                                                            \
    MIPS32_HANDLER(op_##name)                                                                      \
    {                                                                                              \
        const uint32_t s = v->gpr[in->rs], t = v->gpr[in->rt], i = (uint32_t)in->imm;              \
        (void)s, (void)t, (void)i;                                                                 \
        v->gpr[in->dst] = (expr);                                                                  \
        return in + 1;                                                                             \
    }

static uint32_t rotate(uint32_t x, unsigned n)
{
    return x >> (n & 31) | x << (-n & 31);
}

/* Bits [pos, pos + size). A size beyond the word's end (ins with msb below lsb) is not defined;
 * 64-bit masks keep the shifts so. */
static uint32_t field_mask(uint32_t pos_size)
{
    unsigned pos = pos_size & 0xff, size = pos_size >> 8 & 0x3f;
    return (uint32_t)(((UINT64_C(1) << size) - 1) << pos);
}

ALU(sll, t << i)
ALU(srl, t >> i)
ALU(sra, (uint32_t)((int32_t)t >> i))
ALU(rotr, rotate(t, i))
ALU(sllv, t << (s & 31))
ALU(srlv, t >> (s & 31))
ALU(srav, (uint32_t)((int32_t)t >> (s & 31)))
ALU(rotrv, rotate(t, s))
ALU(addu, s + t)
ALU(subu, s - t)
ALU(and, s &t)
ALU(or, s | t)
ALU(xor, s ^ t)
ALU(nor, ~(s | t))
ALU(slt, (int32_t)s < (int32_t)t)
ALU(sltu, s < t)
ALU(addiu, s + i)
ALU(slti, (int32_t)s < (int32_t)i)
ALU(sltiu, s < i)
ALU(andi, s &i)
ALU(ori, s | i)
ALU(xori, s ^ i)
ALU(lui, i << 16)
ALU(mul, s *t)
ALU(clz, s ? (uint32_t)__builtin_clz(s) : 32)
ALU(clo, ~s ? (uint32_t)__builtin_clz(~s) : 32)
ALU(wsbh, rotate(__builtin_bswap32(t), 16))
ALU(seb, (uint32_t)(int8_t)t)
ALU(seh, (uint32_t)(int16_t)t)
ALU(ext, s >> (i & 0xff) & (field_mask(i) >> (i & 0xff)))
ALU(ins, (t & ~field_mask(i)) | (s << (i & 0xff) & field_mask(i)))
ALU(mfhi, v->hi)
ALU(mflo, v->lo)

/* Signed arithmetic that traps. */
#define TRAPPING(name, builtin, b)                                                                 \
    MIPS32_HANDLER(op_##name)                                                                      \
    {                                                                                              \
        int32_t x;                                                                                 \
        if (builtin((int32_t)v->gpr[in->rs], (b), &x))                                             \
            mips32_raise(v, EXC_OV);                                                               \
        v->gpr[in->dst] = (uint32_t)x;                                                             \
        return in + 1;                                                                             \
    }
TRAPPING(add, __builtin_add_overflow, (int32_t)v->gpr[in->rt])
TRAPPING(sub, __builtin_sub_overflow, (int32_t)v->gpr[in->rt])
TRAPPING(addi, __builtin_add_overflow, in->imm)

MIPS32_HANDLER(op_movz)
{
    if (!v->gpr[in->rt])
        v->gpr[in->dst] = v->gpr[in->rs];
    return in + 1;
}

MIPS32_HANDLER(op_movn)
{
    if (v->gpr[in->rt])
        v->gpr[in->dst] = v->gpr[in->rs];
    return in + 1;
}

MIPS32_HANDLER(op_mthi)
{
    v->hi = v->gpr[in->rs];
    return in + 1;
}

MIPS32_HANDLER(op_mtlo)
{
    v->lo = v->gpr[in->rs];
    return in + 1;
}

/* ---- HI and LO ------------------------------------------------------------------------------- */

static uint64_t product(uint32_t s, uint32_t t)
{
    return (uint64_t)s * t;
}

static uint64_t signed_product(uint32_t s, uint32_t t)
{
    return (uint64_t)((int64_t)(int32_t)s * (int32_t)t);
}

#define HILO(name, expr)                                                                           \
    MIPS32_HANDLER(op_##name)                                                                      \
    {                                                                                              \
        const uint32_t s = v->gpr[in->rs], t = v->gpr[in->rt];                                     \
        const uint64_t hilo = (uint64_t)v->hi << 32 | v->lo;                                       \
        (void)hilo;                                                                                \
        const uint64_t x = (expr);                                                                 \
        v->hi = (uint32_t)(x >> 32);                                                               \
        v->lo = (uint32_t)x;                                                                       \
        return in + 1;                                                                             \
    }
HILO(mult, signed_product(s, t))
HILO(multu, product(s, t))
HILO(madd, hilo + signed_product(s, t))
HILO(maddu, hilo + product(s, t))
HILO(msub, hilo - signed_product(s, t))
HILO(msubu, hilo - product(s, t))

MIPS32_HANDLER(op_div)
{
    int32_t s = (int32_t)v->gpr[in->rs], t = (int32_t)v->gpr[in->rt];
    if (!t || (s == INT32_MIN && t == -1))
        t = 1;
    v->lo = (uint32_t)(s / t);
    v->hi = (uint32_t)(s % t);
    return in + 1;
}

MIPS32_HANDLER(op_divu)
{
    uint32_t s = v->gpr[in->rs], t = v->gpr[in->rt];
    if (!t)
        t = 1;
    v->lo = s / t;
    v->hi = s % t;
    return in + 1;
}

/* ---- rows ------------------------------------------------------------------------------------ */

#define M_SPECIAL 0xfc0007ffu /* three registers */
#define M_SHIFT   0xffe0003fu /* by a constant */
#define M_MAJOR   0xfc000000u

/* clang-format off */
static const struct mips32_op ops[] = {
    {"nop",   0x00000000, 0xffffffff,        op_sll,   "",    0},
    {"sll",   0x00000000, M_SHIFT,           op_sll,   "dta", 0},
    {"srl",   0x00000002, M_SHIFT,           op_srl,   "dta", 0},
    {"rotr",  0x00200002, M_SHIFT,           op_rotr,  "dta", MIPS32_R2},
    {"sra",   0x00000003, M_SHIFT,           op_sra,   "dta", 0},
    {"sllv",  0x00000004, M_SPECIAL,         op_sllv,  "dts", 0},
    {"srlv",  0x00000006, M_SPECIAL,         op_srlv,  "dts", 0},
    {"rotrv", 0x00000046, M_SPECIAL,         op_rotrv, "dts", MIPS32_R2},
    {"srav",  0x00000007, M_SPECIAL,         op_srav,  "dts", 0},
    {"movz",  0x0000000a, M_SPECIAL,         op_movz,  "dst", 0},
    {"movn",  0x0000000b, M_SPECIAL,         op_movn,  "dst", 0},
    {"mfhi",  0x00000010, 0xffff07ff,        op_mfhi,  "d",   0},
    {"mthi",  0x00000011, 0xfc1fffff,        op_mthi,  "s",   0},
    {"mflo",  0x00000012, 0xffff07ff,        op_mflo,  "d",   0},
    {"mtlo",  0x00000013, 0xfc1fffff,        op_mtlo,  "s",   0},
    {"mult",  0x00000018, 0xfc00ffff,        op_mult,  "st",  0},
    {"multu", 0x00000019, 0xfc00ffff,        op_multu, "st",  0},
    {"div",   0x0000001a, 0xfc00ffff,        op_div,   "st",  0},
    {"divu",  0x0000001b, 0xfc00ffff,        op_divu,  "st",  0},
    {"add",   0x00000020, M_SPECIAL,         op_add,   "dst", 0},
    {"addu",  0x00000021, M_SPECIAL,         op_addu,  "dst", 0},
    {"sub",   0x00000022, M_SPECIAL,         op_sub,   "dst", 0},
    {"subu",  0x00000023, M_SPECIAL,         op_subu,  "dst", 0},
    {"and",   0x00000024, M_SPECIAL,         op_and,   "dst", 0},
    {"or",    0x00000025, M_SPECIAL,         op_or,    "dst", 0},
    {"xor",   0x00000026, M_SPECIAL,         op_xor,   "dst", 0},
    {"nor",   0x00000027, M_SPECIAL,         op_nor,   "dst", 0},
    {"slt",   0x0000002a, M_SPECIAL,         op_slt,   "dst", 0},
    {"sltu",  0x0000002b, M_SPECIAL,         op_sltu,  "dst", 0},
    {"addi",  0x20000000, M_MAJOR,           op_addi,  "wsi", 0},
    {"addiu", 0x24000000, M_MAJOR,           op_addiu, "wsi", 0},
    {"slti",  0x28000000, M_MAJOR,           op_slti,  "wsi", 0},
    {"sltiu", 0x2c000000, M_MAJOR,           op_sltiu, "wsi", 0},
    {"andi",  0x30000000, M_MAJOR,           op_andi,  "wsu", 0},
    {"ori",   0x34000000, M_MAJOR,           op_ori,   "wsu", 0},
    {"xori",  0x38000000, M_MAJOR,           op_xori,  "wsu", 0},
    {"lui",   0x3c000000, 0xffe00000,        op_lui,   "wu",  0},
    {"madd",  0x70000000, 0xfc00ffff,        op_madd,  "st",  0},
    {"maddu", 0x70000001, 0xfc00ffff,        op_maddu, "st",  0},
    {"mul",   0x70000002, M_SPECIAL,         op_mul,   "dst", 0},
    {"msub",  0x70000004, 0xfc00ffff,        op_msub,  "st",  0},
    {"msubu", 0x70000005, 0xfc00ffff,        op_msubu, "st",  0},
    {"clz",   0x70000020, M_SPECIAL,         op_clz,   "ds",  0},
    {"clo",   0x70000021, M_SPECIAL,         op_clo,   "ds",  0},
    {"ext",   0x7c000000, 0xfc00003f,        op_ext,   "wse", MIPS32_R2},
    {"ins",   0x7c000004, 0xfc00003f,        op_ins,   "wsE", MIPS32_R2},
    {"wsbh",  0x7c0000a0, 0xffe007ff,        op_wsbh,  "dt",  MIPS32_R2},
    {"seb",   0x7c000420, 0xffe007ff,        op_seb,   "dt",  MIPS32_R2},
    {"seh",   0x7c000620, 0xffe007ff,        op_seh,   "dt",  MIPS32_R2},
};
/* clang-format on */

const struct mips32_ops_list mips32_ops_alu = {ops, ARRAY_LEN(ops)};
