/* SPDX-License-Identifier: MIT */
/* Emitter of x86-64 machine code: one instruction a call, bytes appended to a buffer (Intel SDM
 * vol. 2A ch. 2). The caller makes sure of room: X64_MAX_INSN bytes an instruction. Registers are
 * numbers 0 to 15 in the hardware's order. */
#ifndef RING3_HOST_X64_H
#define RING3_HOST_X64_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define X64_MAX_INSN 15u

enum x64_reg {
    X64_RAX,
    X64_RCX,
    X64_RDX,
    X64_RBX,
    X64_RSP,
    X64_RBP,
    X64_RSI,
    X64_RDI,
    X64_R8,
    X64_R9,
    X64_R10,
    X64_R11,
    X64_R12,
    X64_R13,
    X64_R14,
    X64_R15,
    X64_NONE = -1,
};

struct x64 {
    uint8_t *at; /* next byte */
};

/* Conditions of jcc, setcc and cmovcc: the low four bits of their opcodes. */
enum x64_cc {
    X64_CC_O = 0x0,
    X64_CC_B = 0x2,
    X64_CC_AE = 0x3,
    X64_CC_E = 0x4,
    X64_CC_NE = 0x5,
    X64_CC_BE = 0x6,
    X64_CC_A = 0x7,
    X64_CC_S = 0x8,
    X64_CC_NS = 0x9,
    X64_CC_P = 0xa,
    X64_CC_L = 0xc,
    X64_CC_GE = 0xd,
    X64_CC_LE = 0xe,
    X64_CC_G = 0xf,
};

/* A memory operand: [base + (index << shift) + disp], by GS if `gs`; `addr32` cuts the address to
 * 32 bits before the segment base is added. */
struct x64_mem {
    int8_t base, index; /* X64_NONE when absent; index is never RSP */
    uint8_t shift;
    bool gs, addr32;
    int32_t disp;
};

/* An opcode and its prefixes. */
struct x64_op {
    uint8_t opcode[3], len;
    uint8_t mandatory; /* F2 or F3 (66: set opsize16), or 0 */
    bool opsize16;     /* prefix 66 */
    bool lock;
    bool wide; /* REX.W */
};
#define X64_OP(...)                                                                                \
    ((struct x64_op){.opcode = {__VA_ARGS__}, .len = sizeof((uint8_t[]){__VA_ARGS__})})
#define X64_WIDE(...)                                                                              \
    ((struct x64_op){                                                                              \
        .opcode = {__VA_ARGS__}, .len = sizeof((uint8_t[]){__VA_ARGS__}), .wide = true})

static inline void x64_u8(struct x64 *e, uint8_t x)
{
    *e->at++ = x;
}
static inline void x64_u32(struct x64 *e, uint32_t x)
{
    memcpy(e->at, &x, 4);
    e->at += 4;
}
static inline void x64_bytes(struct x64 *e, const uint8_t *b, unsigned n)
{
    memcpy(e->at, b, n);
    e->at += n;
}

static inline struct x64_mem x64_at(enum x64_reg base, int32_t disp)
{
    return (struct x64_mem){.base = (int8_t)base, .index = X64_NONE, .disp = disp};
}
static inline struct x64_mem x64_indexed(enum x64_reg base, enum x64_reg index, unsigned shift,
                                         int32_t disp)
{
    return (struct x64_mem){
        .base = (int8_t)base, .index = (int8_t)index, .shift = (uint8_t)shift, .disp = disp};
}

/* Would this operand need a REX prefix? (With one, ah to bh cannot be named.) */
static inline bool x64_mem_needs_rex(const struct x64_mem *m)
{
    return m->base >= 8 || m->index >= 8;
}

void x64_op_mem(struct x64 *e, struct x64_op op, unsigned reg, struct x64_mem m);
void x64_op_reg(struct x64 *e, struct x64_op op, unsigned reg, unsigned rm);
/* The register is in the opcode's low three bits. */
void x64_op_short(struct x64 *e, struct x64_op op, unsigned reg);
/* shrx, shlx, pext, rorx and friends: VEX.LZ.pp.0F38.W1 opcode /r, operands reg, vvvv, r/m. */
enum x64_vex_prefix { X64_VEX_NONE, X64_VEX_66, X64_VEX_F3, X64_VEX_F2 };
void x64_vex_reg(struct x64 *e, enum x64_vex_prefix pp, uint8_t opcode, unsigned reg, unsigned vvvv,
                 unsigned rm);

/* ---- instructions that glue code uses; none changes flags ----------------------------------- */

static inline void x64_load32(struct x64 *e, unsigned reg, struct x64_mem m)
{
    x64_op_mem(e, X64_OP(0x8b), reg, m);
}
static inline void x64_load64(struct x64 *e, unsigned reg, struct x64_mem m)
{
    x64_op_mem(e, X64_WIDE(0x8b), reg, m);
}
static inline void x64_store32(struct x64 *e, struct x64_mem m, unsigned reg)
{
    x64_op_mem(e, X64_OP(0x89), reg, m);
}
static inline void x64_store64(struct x64 *e, struct x64_mem m, unsigned reg)
{
    x64_op_mem(e, X64_WIDE(0x89), reg, m);
}
static inline void x64_store32_imm(struct x64 *e, struct x64_mem m, uint32_t imm)
{
    x64_op_mem(e, X64_OP(0xc7), 0, m);
    x64_u32(e, imm);
}
static inline void x64_lea32(struct x64 *e, unsigned reg, struct x64_mem m)
{
    x64_op_mem(e, X64_OP(0x8d), reg, m);
}
static inline void x64_lea64(struct x64 *e, unsigned reg, struct x64_mem m)
{
    x64_op_mem(e, X64_WIDE(0x8d), reg, m);
}
static inline void x64_mov32(struct x64 *e, unsigned to, unsigned from)
{
    x64_op_reg(e, X64_OP(0x8b), to, from);
}
static inline void x64_mov64(struct x64 *e, unsigned to, unsigned from)
{
    x64_op_reg(e, X64_WIDE(0x8b), to, from);
}
static inline void x64_mov32_imm(struct x64 *e, unsigned reg, uint32_t imm)
{
    x64_op_short(e, X64_OP(0xb8), reg);
    x64_u32(e, imm);
}
static inline void x64_load8(struct x64 *e, unsigned reg, struct x64_mem m) /* zero-extended */
{
    x64_op_mem(e, X64_OP(0x0f, 0xb6), reg, m);
}
static inline void x64_load16(struct x64 *e, unsigned reg, struct x64_mem m) /* zero-extended */
{
    x64_op_mem(e, X64_OP(0x0f, 0xb7), reg, m);
}
/* to = from >> (count & 63), 64 bits wide */
static inline void x64_shrx(struct x64 *e, unsigned to, unsigned from, unsigned count)
{
    x64_vex_reg(e, X64_VEX_F2, 0xf7, to, count, from);
}
static inline void x64_jmp_reg(struct x64 *e, unsigned reg)
{
    x64_op_reg(e, X64_OP(0xff), 4, reg);
}
/* jmp rel32 or jcc rel32 (0F 80+cc) with the displacement left 0; returns where it lies. */
static inline uint8_t *x64_jmp(struct x64 *e)
{
    x64_u8(e, 0xe9);
    x64_u32(e, 0);
    return e->at - 4;
}
static inline uint8_t *x64_jcc(struct x64 *e, unsigned cc)
{
    x64_u8(e, 0x0f);
    x64_u8(e, (uint8_t)(0x80 | cc));
    x64_u32(e, 0);
    return e->at - 4;
}
/* Point a rel32 or rel8 at the current place. */
static inline void x64_here32(struct x64 *e, uint8_t *at)
{
    int32_t d = (int32_t)(e->at - (at + 4));
    memcpy(at, &d, 4);
}
static inline void x64_here8(struct x64 *e, uint8_t *at)
{
    *at = (uint8_t)(e->at - (at + 1));
}

#endif
