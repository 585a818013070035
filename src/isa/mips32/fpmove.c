/* SPDX-License-Identifier: MIT */
/* Moves, loads, stores and branches of coprocessor 1, and its control registers (vol. I 5.6, 5.9;
 * vol. II). None of them looks at values, so they raise no exception of the FPU, but for CTC1. */
#include "isa/mips32/fpu.h"
#include "isa/mips32/mmu.h"

/* ---- registers ------------------------------------------------------------------------------- */

MIPS32_HANDLER(op_mfc1)
{
    v->gpr[in->dst] = mips32_get_s(v, in->rd);
    return in + 1;
}

MIPS32_HANDLER(op_mtc1)
{
    mips32_set_s(v, in->rd, v->gpr[in->rt]);
    return in + 1;
}

MIPS32_HANDLER(op_mfhc1)
{
    v->gpr[in->dst] = (uint32_t)(mips32_get_d(v, in->rd) >> 32);
    return in + 1;
}

MIPS32_HANDLER(op_mthc1)
{
    uint64_t low = (uint32_t)mips32_get_d(v, in->rd);
    mips32_set_d(v, in->rd, (uint64_t)v->gpr[in->rt] << 32 | low);
    return in + 1;
}

MIPS32_HANDLER(op_mov_s)
{
    mips32_set_s(v, in->dst, mips32_get_s(v, in->rd));
    return in + 1;
}

MIPS32_HANDLER(op_mov_d)
{
    mips32_set_d(v, in->dst, mips32_get_d(v, in->rd));
    return in + 1;
}

/* The condition code of a branch or move, and whether it is what the instruction asks for. */
static bool condition(const struct mips32_vcpu *v, const struct mips32_insn *in)
{
    bool wanted = in->word >> 16 & 1;
    return !(v->fcsr & mips32_fcc(in->word >> 18 & 7)) != wanted;
}

MIPS32_HANDLER(op_movcf_s)
{
    return condition(v, in) ? op_mov_s(v, in) : in + 1;
}

MIPS32_HANDLER(op_movcf_d)
{
    return condition(v, in) ? op_mov_d(v, in) : in + 1;
}

MIPS32_HANDLER(op_movz_s)
{
    return v->gpr[in->rt] ? in + 1 : op_mov_s(v, in);
}

MIPS32_HANDLER(op_movz_d)
{
    return v->gpr[in->rt] ? in + 1 : op_mov_d(v, in);
}

MIPS32_HANDLER(op_movn_s)
{
    return v->gpr[in->rt] ? op_mov_s(v, in) : in + 1;
}

MIPS32_HANDLER(op_movn_d)
{
    return v->gpr[in->rt] ? op_mov_d(v, in) : in + 1;
}

/* Of general registers. */
MIPS32_HANDLER(op_movci)
{
    if (condition(v, in))
        v->gpr[in->dst] = v->gpr[in->rs];
    return in + 1;
}

/* ---- control registers ----------------------------------------------------------------------- */

#define FCCR_FROM(fcsr) (((fcsr) >> 24 & 0xfe) | ((fcsr) >> 23 & 1))
#define FEXR_BITS       0x0003f07cu
#define FENR_BITS       0x00000f83u /* those in the place they have in FCSR; FS is bit 2 */

MIPS32_HANDLER(op_cfc1)
{
    uint32_t f = v->fcsr;
    uint32_t x = in->rd == 0    ? mips32_fir(v)
                 : in->rd == 25 ? FCCR_FROM(f)
                 : in->rd == 26 ? f & FEXR_BITS
                 : in->rd == 28 ? (f & FENR_BITS) | (f & FCSR_FS ? 4 : 0)
                 : in->rd == 31 ? f
                                : 0;
    v->gpr[in->dst] = x;
    return in + 1;
}

/* A cause that is written together with its enable bit traps; the register is written all the same.
 */
MIPS32_HANDLER(op_ctc1)
{
    uint32_t f = v->fcsr, x = v->gpr[in->rt];
    if (in->rd == 25)
        f = (f & 0x017fffffu) | (x & 0xfe) << 24 | (x & 1) << 23;
    else if (in->rd == 26)
        f = (f & ~FEXR_BITS) | (x & FEXR_BITS);
    else if (in->rd == 28)
        f = (f & ~(FENR_BITS | FCSR_FS)) | (x & FENR_BITS) | (x & 4 ? FCSR_FS : 0);
    else if (in->rd == 31)
        f = x;
    mips32_set_fcsr(v, f);
    if (mips32_fcsr_traps(v))
        mips32_raise(v, EXC_FPE);
    return in + 1;
}

/* ---- branches -------------------------------------------------------------------------------- */

MIPS32_HANDLER(op_bc1)
{
    return mips32_branch(v, in, condition(v, in));
}

MIPS32_HANDLER(op_bc1l)
{
    return mips32_branch_likely(v, in, condition(v, in));
}

/* ---- loads and stores ------------------------------------------------------------------------ */

static uint32_t offset_address(const struct mips32_vcpu *v, const struct mips32_insn *in)
{
    return v->gpr[in->rs] + (uint32_t)in->imm;
}

static uint32_t indexed_address(const struct mips32_vcpu *v, const struct mips32_insn *in)
{
    return v->gpr[in->rs] + v->gpr[in->rt];
}

/* LUXC1 and SUXC1 ignore the low bits of an address. */
static uint32_t aligned_address(const struct mips32_vcpu *v, const struct mips32_insn *in)
{
    return indexed_address(v, in) & ~7u;
}

#define LOAD(name, address, bits, f, reg)                                                          \
    MIPS32_HANDLER(op_##name)                                                                      \
    {                                                                                              \
        mips32_set_##f(v, reg, mips32_read##bits(v, address(v, in)));                              \
        return in + 1;                                                                             \
    }
LOAD(lwc1, offset_address, 32, s, in->rt)
LOAD(ldc1, offset_address, 64, d, in->rt)
LOAD(lwxc1, indexed_address, 32, s, in->dst)
LOAD(ldxc1, indexed_address, 64, d, in->dst)
LOAD(luxc1, aligned_address, 64, d, in->dst)

#define STORE(name, address, bits, f, reg)                                                         \
    MIPS32_HANDLER(op_##name)                                                                      \
    {                                                                                              \
        mips32_write##bits(v, address(v, in), mips32_get_##f(v, reg));                             \
        return in + 1;                                                                             \
    }
STORE(swc1, offset_address, 32, s, in->rt)
STORE(sdc1, offset_address, 64, d, in->rt)
STORE(swxc1, indexed_address, 32, s, in->rd)
STORE(sdxc1, indexed_address, 64, d, in->rd)
STORE(suxc1, aligned_address, 64, d, in->rd)

MIPS32_HANDLER(op_prefx)
{
    return in + 1;
}

/* Coprocessor 1's words without a row of their own: unusable comes before reserved. */
MIPS32_HANDLER(op_reserved)
{
    mips32_raise(v, EXC_RI);
    return in;
}

/* ---- rows ------------------------------------------------------------------------------------ */

#define M_MAJOR 0xfc000000u
#define M_MOVE  0xffe007ffu
#define M_ONE   0xffff003fu
#define M_TWO   0xffe0003fu
#define M_CC    0xffe3003fu
#define M_BC    0xffe30000u
#define M_LX    0xfc00f83fu
#define M_SX    0xfc0007ffu
#define C1      MIPS32_CP1
#define R2      (MIPS32_CP1 | MIPS32_R2)
#define B       (MIPS32_CP1 | MIPS32_BRANCH)
#define BL      (MIPS32_CP1 | MIPS32_BRANCH | MIPS32_LIKELY)
#define LD      (MIPS32_CP1 | MIPS32_LOAD)
#define ST      (MIPS32_CP1 | MIPS32_STORE)
#define U       (MIPS32_R2 | MIPS32_FR1)

/* clang-format off */
static const struct mips32_op ops[] = {
    {"movf",   0x00000001, 0xfc0307ff, op_movci,   "dsn", C1},
    {"movt",   0x00010001, 0xfc0307ff, op_movci,   "dsn", C1},
    {"mfc1",   0x44000000, M_MOVE,     op_mfc1,    "wS",  C1},
    {"cfc1",   0x44400000, M_MOVE,     op_cfc1,    "wS",  C1},
    {"mfhc1",  0x44600000, M_MOVE,     op_mfhc1,   "wS",  R2},
    {"mtc1",   0x44800000, M_MOVE,     op_mtc1,    "tS",  C1},
    {"ctc1",   0x44c00000, M_MOVE,     op_ctc1,    "tS",  C1},
    {"mthc1",  0x44e00000, M_MOVE,     op_mthc1,   "tS",  R2},
    {"bc1f",   0x45000000, M_BC,       op_bc1,     "nb",  B},
    {"bc1t",   0x45010000, M_BC,       op_bc1,     "nb",  B},
    {"bc1fl",  0x45020000, M_BC,       op_bc1l,    "nb",  BL},
    {"bc1tl",  0x45030000, M_BC,       op_bc1l,    "nb",  BL},
    {"mov.s",  0x46000006, M_ONE,      op_mov_s,   "DS",  C1},
    {"movf.s", 0x46000011, M_CC,       op_movcf_s, "DSn", C1},
    {"movt.s", 0x46010011, M_CC,       op_movcf_s, "DSn", C1},
    {"movz.s", 0x46000012, M_TWO,      op_movz_s,  "DSt", C1},
    {"movn.s", 0x46000013, M_TWO,      op_movn_s,  "DSt", C1},
    {"mov.d",  0x46200006, M_ONE,      op_mov_d,   "DS",  C1},
    {"movf.d", 0x46200011, M_CC,       op_movcf_d, "DSn", C1},
    {"movt.d", 0x46210011, M_CC,       op_movcf_d, "DSn", C1},
    {"movz.d", 0x46200012, M_TWO,      op_movz_d,  "DSt", C1},
    {"movn.d", 0x46200013, M_TWO,      op_movn_d,  "DSt", C1},
    {"lwxc1",  0x4c000000, M_LX,       op_lwxc1,   "Dx",  LD | MIPS32_R2},
    {"ldxc1",  0x4c000001, M_LX,       op_ldxc1,   "Dx",  LD | MIPS32_R2},
    {"luxc1",  0x4c000005, M_LX,       op_luxc1,   "Dx",  LD | U},
    {"swxc1",  0x4c000008, M_SX,       op_swxc1,   "Sx",  ST | MIPS32_R2},
    {"sdxc1",  0x4c000009, M_SX,       op_sdxc1,   "Sx",  ST | MIPS32_R2},
    {"suxc1",  0x4c00000d, M_SX,       op_suxc1,   "Sx",  ST | U},
    {"prefx",  0x4c00000f, M_SX,       op_prefx,   "x",   R2},
    {"cop1",   0x44000000, M_MAJOR,    op_reserved, "",   C1 | MIPS32_END},
    {"cop1x",  0x4c000000, M_MAJOR,    op_reserved, "",   R2 | MIPS32_END},
    {"lwc1",   0xc4000000, M_MAJOR,    op_lwc1,    "To",  LD},
    {"ldc1",   0xd4000000, M_MAJOR,    op_ldc1,    "To",  LD},
    {"swc1",   0xe4000000, M_MAJOR,    op_swc1,    "To",  ST},
    {"sdc1",   0xf4000000, M_MAJOR,    op_sdc1,    "To",  ST},
};
/* clang-format on */

const struct mips32_ops_list mips32_ops_fpmove = {ops, ARRAY_LEN(ops)};
