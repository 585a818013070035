/* SPDX-License-Identifier: MIT */
/* Branches and jumps (vol. II).
 *
 * A branch runs the instruction in its delay slot itself, so nothing comes between the two: an
 * exception of the slot finds the branch under way (Cause.BD), and interrupts wait. A branch in a
 * delay slot, which the architecture leaves open, is a reserved instruction. */
#include "isa/mips32/mmu.h"

/* The delay slot of the branch under way. False if the mapping may have changed. */
static inline bool run_slot(struct mips32_vcpu *v, const struct mips32_insn *in)
{
    const struct mips32_insn *slot = in + 1;
    v->in_slot = true;
    slot = slot->fn(v, slot);
    v->in_slot = false;
    v->retired++;
    return slot;
}

/* Go on at the branch's own address plus distance. */
static inline const struct mips32_insn *go(struct mips32_vcpu *v, const struct mips32_insn *in,
                                           int32_t distance, bool same_mapping)
{
    if (likely(same_mapping && (uint32_t)(in->slot + distance / 4) < MIPS32_PAGE_INSNS))
        return in + distance / 4;
    v->pc = mips32_pc_of(v, in) + (uint32_t)distance;
    return NULL;
}

const struct mips32_insn *mips32_branch(struct mips32_vcpu *v, const struct mips32_insn *in,
                                        bool taken)
{
    if (unlikely(v->in_slot))
        mips32_raise(v, EXC_RI);
    bool same = run_slot(v, in);
    return go(v, in, taken ? in->imm : 8, same);
}

const struct mips32_insn *mips32_branch_likely(struct mips32_vcpu *v, const struct mips32_insn *in,
                                               bool taken)
{
    if (taken || v->in_slot)
        return mips32_branch(v, in, taken);
    return go(v, in, 8, true);
}

/* To an absolute address. */
static const struct mips32_insn *jump(struct mips32_vcpu *v, const struct mips32_insn *in,
                                      uint32_t target)
{
    if (unlikely(v->in_slot))
        mips32_raise(v, EXC_RI);
    bool same = run_slot(v, in);
    if (same && (target & ((uint32_t)PAGE_MASK | 3)) == v->page_va)
        return in - in->slot + (target >> 2 & (MIPS32_PAGE_INSNS - 1));
    v->pc = target;
    return NULL;
}

/* ---- handlers -------------------------------------------------------------------------------- */

#define BRANCH(name, condition)                                                                    \
    MIPS32_HANDLER(op_##name)                                                                      \
    {                                                                                              \
        const int32_t s = (int32_t)v->gpr[in->rs], t = (int32_t)v->gpr[in->rt];                    \
        (void)t;                                                                                   \
        return mips32_branch(v, in, condition);                                                    \
    }                                                                                              \
    MIPS32_HANDLER(op_##name##l)                                                                   \
    {                                                                                              \
        const int32_t s = (int32_t)v->gpr[in->rs], t = (int32_t)v->gpr[in->rt];                    \
        (void)t;                                                                                   \
        return mips32_branch_likely(v, in, condition);                                             \
    }
BRANCH(beq, s == t)
BRANCH(bne, s != t)
BRANCH(blez, s <= 0)
BRANCH(bgtz, s > 0)
BRANCH(bltz, s < 0)
BRANCH(bgez, s >= 0)

/* The link register is written before the slot runs, whether the branch is taken or not. */
static void link(struct mips32_vcpu *v, const struct mips32_insn *in, unsigned reg)
{
    if (unlikely(v->in_slot))
        mips32_raise(v, EXC_RI);
    v->gpr[reg] = mips32_pc_of(v, in) + 8;
}

#define BRANCH_LINK(name, condition)                                                               \
    MIPS32_HANDLER(op_##name)                                                                      \
    {                                                                                              \
        const int32_t s = (int32_t)v->gpr[in->rs];                                                 \
        link(v, in, MIPS32_RA);                                                                    \
        return mips32_branch(v, in, condition);                                                    \
    }                                                                                              \
    MIPS32_HANDLER(op_##name##l)                                                                   \
    {                                                                                              \
        const int32_t s = (int32_t)v->gpr[in->rs];                                                 \
        link(v, in, MIPS32_RA);                                                                    \
        return mips32_branch_likely(v, in, condition);                                             \
    }
BRANCH_LINK(bltzal, s < 0)
BRANCH_LINK(bgezal, s >= 0)

/* The 256 MiB region is that of the delay slot. */
static uint32_t region_target(const struct mips32_vcpu *v, const struct mips32_insn *in)
{
    return ((mips32_pc_of(v, in) + 4) & 0xf0000000u) | (uint32_t)in->imm;
}

MIPS32_HANDLER(op_j)
{
    return jump(v, in, region_target(v, in));
}

MIPS32_HANDLER(op_jal)
{
    link(v, in, MIPS32_RA);
    return jump(v, in, region_target(v, in));
}

MIPS32_HANDLER(op_jr)
{
    return jump(v, in, v->gpr[in->rs]);
}

MIPS32_HANDLER(op_jalr)
{
    uint32_t target = v->gpr[in->rs];
    link(v, in, in->dst);
    return jump(v, in, target);
}

/* ---- rows ------------------------------------------------------------------------------------ */

#define M_MAJOR  0xfc000000u
#define M_REGIMM 0xfc1f0000u
#define B        MIPS32_BRANCH
#define L        (MIPS32_BRANCH | MIPS32_LIKELY)

/* clang-format off */
static const struct mips32_op ops[] = {
    {"jr",      0x00000008, 0xfc1fffff, op_jr,      "s",   B},
    {"jr.hb",   0x00000408, 0xfc1fffff, op_jr,      "s",   B},
    {"jalr",    0x00000009, 0xfc1f07ff, op_jalr,    "ds",  B},
    {"jalr.hb", 0x00000409, 0xfc1f07ff, op_jalr,    "ds",  B},
    {"bltz",    0x04000000, M_REGIMM,   op_bltz,    "sb",  B},
    {"bgez",    0x04010000, M_REGIMM,   op_bgez,    "sb",  B},
    {"bltzl",   0x04020000, M_REGIMM,   op_bltzl,   "sb",  L},
    {"bgezl",   0x04030000, M_REGIMM,   op_bgezl,   "sb",  L},
    {"bltzal",  0x04100000, M_REGIMM,   op_bltzal,  "sb",  B},
    {"bgezal",  0x04110000, M_REGIMM,   op_bgezal,  "sb",  B},
    {"bltzall", 0x04120000, M_REGIMM,   op_bltzall, "sb",  L},
    {"bgezall", 0x04130000, M_REGIMM,   op_bgezall, "sb",  L},
    {"j",       0x08000000, M_MAJOR,    op_j,       "j",   B},
    {"jal",     0x0c000000, M_MAJOR,    op_jal,     "j",   B},
    {"beq",     0x10000000, M_MAJOR,    op_beq,     "stb", B},
    {"bne",     0x14000000, M_MAJOR,    op_bne,     "stb", B},
    {"blez",    0x18000000, M_REGIMM,   op_blez,    "sb",  B},
    {"bgtz",    0x1c000000, M_REGIMM,   op_bgtz,    "sb",  B},
    {"beql",    0x50000000, M_MAJOR,    op_beql,    "stb", L},
    {"bnel",    0x54000000, M_MAJOR,    op_bnel,    "stb", L},
    {"blezl",   0x58000000, M_REGIMM,   op_blezl,   "sb",  L},
    {"bgtzl",   0x5c000000, M_REGIMM,   op_bgtzl,   "sb",  L},
};
/* clang-format on */

const struct mips32_ops_list mips32_ops_branch = {ops, ARRAY_LEN(ops)};
