/* SPDX-License-Identifier: MIT */
/* Loads and stores of the general registers (vol. II; unaligned ones: vol. I 4.1.1.3).
 *
 * LL remembers a physical address, SC succeeds if nothing has cleared LLbit (an ERET does, vol. III
 * 6.2.5) and the address is the same: there is one processor. Stores of devices to the word in
 * between are not noticed. */
#include "isa/mips32/mmu.h"

#define LOAD(name, bits, type)                                                                     \
    MIPS32_HANDLER(op_##name)                                                                      \
    {                                                                                              \
        uint32_t va = v->gpr[in->rs] + (uint32_t)in->imm;                                          \
        v->gpr[in->dst] = (uint32_t)(type)mips32_read##bits(v, va);                                \
        return in + 1;                                                                             \
    }
LOAD(lb, 8, int8_t)
LOAD(lbu, 8, uint8_t)
LOAD(lh, 16, int16_t)
LOAD(lhu, 16, uint16_t)
LOAD(lw, 32, uint32_t)

#define STORE(name, bits)                                                                          \
    MIPS32_HANDLER(op_##name)                                                                      \
    {                                                                                              \
        uint32_t va = v->gpr[in->rs] + (uint32_t)in->imm;                                          \
        mips32_write##bits(v, va, (uint##bits##_t)v->gpr[in->rt]);                                 \
        return in + 1;                                                                             \
    }
STORE(sb, 8)
STORE(sh, 16)
STORE(sw, 32)

/* ---- unaligned words --------------------------------------------------------------------------
 * Bytes of an unaligned word lie in two aligned ones. The "left" instructions move the more
 * significant bytes, up to the one at va; the "right" ones move the others. */

static uint32_t read_around(struct mips32_vcpu *v, uint32_t va)
{
    const struct mips32_soft *s = mips32_soft_at(v, va);
    if (unlikely((va & (uint32_t)PAGE_MASK) != s->read))
        mips32_probe(v, va, 1, MIPS32_READ);
    return mips32_read32(v, va & ~3u);
}

/* Place of the byte at va in its word as a register shows it: 0 is the most significant. */
static unsigned rank_of(const struct mips32_vcpu *v, uint32_t va)
{
    return v->big_endian ? va & 3 : 3 - (va & 3);
}

MIPS32_HANDLER(op_lwl)
{
    uint32_t va = v->gpr[in->rs] + (uint32_t)in->imm;
    uint32_t word = read_around(v, va);
    unsigned shift = 8 * rank_of(v, va);
    uint32_t kept = shift ? v->gpr[in->rt] & ((1u << shift) - 1) : 0;
    v->gpr[in->dst] = word << shift | kept;
    return in + 1;
}

MIPS32_HANDLER(op_lwr)
{
    uint32_t va = v->gpr[in->rs] + (uint32_t)in->imm;
    uint32_t word = read_around(v, va);
    unsigned shift = 8 * (3 - rank_of(v, va));
    uint32_t kept = shift ? v->gpr[in->rt] & ~(UINT32_MAX >> shift) : 0;
    v->gpr[in->dst] = word >> shift | kept;
    return in + 1;
}

/* Bytes of x, its most significant one first if `big`. */
static void bytes_of(uint32_t x, bool big, uint8_t bytes[4])
{
    x = big ? __builtin_bswap32(x) : x;
    memcpy(bytes, &x, 4);
}

MIPS32_HANDLER(op_swl)
{
    uint32_t va = v->gpr[in->rs] + (uint32_t)in->imm, x = v->gpr[in->rt];
    unsigned n = 4 - rank_of(v, va); /* bytes stored: the most significant ones of x */
    uint8_t bytes[4];
    bytes_of(x, v->big_endian, bytes);
    if (v->big_endian)
        mips32_write_bytes(v, va, va, bytes, n);
    else
        mips32_write_bytes(v, va, va & ~3u, bytes + 4 - n, n);
    return in + 1;
}

MIPS32_HANDLER(op_swr)
{
    uint32_t va = v->gpr[in->rs] + (uint32_t)in->imm, x = v->gpr[in->rt];
    unsigned n = rank_of(v, va) + 1; /* bytes stored: the least significant ones of x */
    uint8_t bytes[4];
    bytes_of(x, v->big_endian, bytes);
    if (v->big_endian)
        mips32_write_bytes(v, va, va & ~3u, bytes + 4 - n, n);
    else
        mips32_write_bytes(v, va, va, bytes, n);
    return in + 1;
}

/* ---- load linked, store conditional ---------------------------------------------------------- */

MIPS32_HANDLER(op_ll)
{
    uint32_t va = v->gpr[in->rs] + (uint32_t)in->imm;
    uint32_t gpa = mips32_probe(v, va, 4, MIPS32_READ);
    v->gpr[in->dst] = mips32_read32(v, va);
    v->cp0.ll_addr = gpa >> 4; /* vol. III 9.37 */
    v->ll_bit = true;
    return in + 1;
}

MIPS32_HANDLER(op_sc)
{
    uint32_t va = v->gpr[in->rs] + (uint32_t)in->imm;
    uint32_t gpa = mips32_probe(v, va, 4, MIPS32_WRITE);
    bool success = v->ll_bit && v->cp0.ll_addr == gpa >> 4;
    if (success)
        mips32_write32(v, va, v->gpr[in->rt]);
    v->ll_bit = false;
    v->gpr[in->dst] = success;
    return in + 1;
}

/* ---- rows ------------------------------------------------------------------------------------ */

#define M_MAJOR 0xfc000000u

/* clang-format off */
static const struct mips32_op ops[] = {
    {"lb",  0x80000000, M_MAJOR, op_lb,  "wo", MIPS32_LOAD},
    {"lh",  0x84000000, M_MAJOR, op_lh,  "wo", MIPS32_LOAD},
    {"lwl", 0x88000000, M_MAJOR, op_lwl, "wo", MIPS32_LOAD},
    {"lw",  0x8c000000, M_MAJOR, op_lw,  "wo", MIPS32_LOAD},
    {"lbu", 0x90000000, M_MAJOR, op_lbu, "wo", MIPS32_LOAD},
    {"lhu", 0x94000000, M_MAJOR, op_lhu, "wo", MIPS32_LOAD},
    {"lwr", 0x98000000, M_MAJOR, op_lwr, "wo", MIPS32_LOAD},
    {"sb",  0xa0000000, M_MAJOR, op_sb,  "to", MIPS32_STORE},
    {"sh",  0xa4000000, M_MAJOR, op_sh,  "to", MIPS32_STORE},
    {"swl", 0xa8000000, M_MAJOR, op_swl, "to", MIPS32_STORE},
    {"sw",  0xac000000, M_MAJOR, op_sw,  "to", MIPS32_STORE},
    {"swr", 0xb8000000, M_MAJOR, op_swr, "to", MIPS32_STORE},
    {"ll",  0xc0000000, M_MAJOR, op_ll,  "wo", MIPS32_LOAD},
    {"sc",  0xe0000000, M_MAJOR, op_sc,  "wo", MIPS32_STORE},
};
/* clang-format on */

const struct mips32_ops_list mips32_ops_mem = {ops, ARRAY_LEN(ops)};
