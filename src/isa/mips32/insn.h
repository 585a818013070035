/* SPDX-License-Identifier: MIT */
/* Instructions: the rows of the instruction set, and the decoded form that the interpreter runs.
 *
 * One table, in subject files, feeds decoder, interpreter, disassembly and tests. A row's operand
 * string says which fields of the word there are; decode.c takes them apart by it:
 *
 *   31    26 25  21 20  16 15  11 10   6 5     0
 *    opcode |  rs  |  rt  |  rd  |  sa  | funct
 *
 *   d  rd, written        i  16 bits, signed         S  FPR fs (15..11)
 *   s  rs                 u  16 bits, unsigned       T  FPR ft (20..16)
 *   t  rt, read           o  16 bits(rs)             D  FPR fd (10..6), written
 *   w  rt, written        x  rs(rt as index)         R  FPR fr (25..21)
 *   a  shift amount       b  branch distance         c  CP0 register and sel, or FP control
 *   e  ext: pos, size     j  jump target             n  condition code of branch (20..18)
 *   E  ins: pos, size     k  code of trap, hint      m  condition code of compare (10..8)       */
#ifndef RING3_ISA_MIPS32_INSN_H
#define RING3_ISA_MIPS32_INSN_H

#include "isa/mips32/cpu.h"

/* A handler returns the decoded instruction to go on with, or NULL when that has to be looked up
 * at v->pc: it is on another page, or the mapping may have changed. It changes nothing before its
 * last possible fault. */
typedef const struct mips32_insn *(*mips32_handler)(struct mips32_vcpu *v,
                                                    const struct mips32_insn *in);

struct mips32_insn {
    mips32_handler fn;
    uint32_t word;
    int32_t imm; /* by the operand string: immediate, distance in bytes, code, sel, pos and size */
    uint8_t rs, rt, rd;
    uint8_t dst;   /* general register that is written, or MIPS32_SINK; with D: the FPR */
    uint16_t slot; /* place in its page, in words */
    uint16_t row;  /* mips32_row() */
};

enum {
    MIPS32_CP0 = 1 << 0,    /* coprocessor 0 must be usable: privileged */
    MIPS32_CP1 = 1 << 1,    /* coprocessor 1 must be usable */
    MIPS32_FR1 = 1 << 2,    /* reserved while Status.FR is 0 */
    MIPS32_R2 = 1 << 3,     /* reserved on release 1 */
    MIPS32_BRANCH = 1 << 4, /* has a delay slot */
    MIPS32_LIKELY = 1 << 5, /* which is skipped if the branch is not taken */
    MIPS32_END = 1 << 6,    /* may change what comes next in another way: a block ends here */
    MIPS32_LOAD = 1 << 7,
    MIPS32_STORE = 1 << 8,
};

struct mips32_op {
    const char *name;
    uint32_t match, mask; /* of the instruction word */
    mips32_handler fn;
    const char *operands;
    uint16_t flags;
};

/* The instruction set, by subject. */
struct mips32_ops_list {
    const struct mips32_op *ops;
    size_t count;
};
extern const struct mips32_ops_list mips32_ops_alu;    /* alu.c: arithmetic, logic, shifts */
extern const struct mips32_ops_list mips32_ops_branch; /* branch.c: branches, jumps */
extern const struct mips32_ops_list mips32_ops_mem;    /* mem.c: loads and stores */
extern const struct mips32_ops_list mips32_ops_system; /* system.c: CP0, traps, caches */
extern const struct mips32_ops_list mips32_ops_fpu;    /* fpu.c: arithmetic of coprocessor 1 */
extern const struct mips32_ops_list mips32_ops_fpmove; /* fpmove.c: its moves and branches */

/* ---- decode.c -------------------------------------------------------------------------------- */

struct mips32_decoder *mips32_decoder_new(const struct mips32_model *m, struct err *e);
void mips32_decoder_free(struct mips32_decoder *d);
/* Fill all but slot. What has no row raises a reserved-instruction exception when it runs. */
void mips32_decode(const struct mips32_decoder *d, uint32_t word, struct mips32_insn *in);
/* The same when the row is known. */
void mips32_decode_as(const struct mips32_decoder *d, unsigned row, uint32_t word,
                      struct mips32_insn *in);
#define MIPS32_NO_ROW UINT16_MAX
const struct mips32_op *mips32_row(const struct mips32_decoder *d, unsigned row); /* or NULL */
size_t mips32_rows(const struct mips32_decoder *d);
/* Its name, for statistics; rows are numbered alike in all decoders. */
const char *mips32_row_name(unsigned row);
/* The instruction at pc in assembler notation. */
void mips32_disassemble(const struct mips32_decoder *d, uint32_t pc, uint32_t word, char *text,
                        size_t size);
extern const char mips32_gpr_names[32][5];

/* ---- what handlers are made of --------------------------------------------------------------- */

#define MIPS32_HANDLER(name)                                                                       \
    static const struct mips32_insn *name(struct mips32_vcpu *v, const struct mips32_insn *in)

/* Address of the branch or instruction under way, which must be v->cur. */
static inline uint32_t mips32_pc_of(const struct mips32_vcpu *v, const struct mips32_insn *in)
{
    return v->page_va + 4u * in->slot;
}

/* Go on at the instruction after this one, after its mapping or the mode may have changed. */
static inline const struct mips32_insn *mips32_look_again(struct mips32_vcpu *v,
                                                          const struct mips32_insn *in)
{
    v->pc = mips32_pc_of(v, in) + 4;
    return NULL;
}

/* (branch.c) A branch whose delay slot has to be run: to pc + distance if taken. */
const struct mips32_insn *mips32_branch(struct mips32_vcpu *v, const struct mips32_insn *in,
                                        bool taken);
const struct mips32_insn *mips32_branch_likely(struct mips32_vcpu *v, const struct mips32_insn *in,
                                               bool taken);

#endif
