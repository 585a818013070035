/* SPDX-License-Identifier: MIT */
/* From MIPS32 code to x86-64 code: what the files of the translator share.
 *
 *   translator.c       the operations of ring3/translate.h
 *   translate.c        the run of instructions, its marks, what is left to the interpreter
 *   translate_alu.c    arithmetic
 *   translate_mem.c    loads and stores
 *   translate_fpu.c    coprocessor 1
 *   translate_cp0.c    coprocessor 0
 *   translate_flow.c   branches, jumps, their delay slots
 *   translate_callout.c  instructions that the interpreter does on call
 *   translate_enter.c  into generated code and out of it
 *   views.c            which pages generated code sees
 *
 * Eight guest registers live in host registers, the same eight in all code, so that jumps between
 * translations cost nothing and state is exact at each instruction; the others are operands in the
 * processor's state. The choice follows how often compilers name them.
 *
 *   v0 rax   v1 rcx   a0 rdx   a1 rbx   a2 rbp   a3 rsi   s0 rdi   sp r12
 *   r15 flat table of the space    r8, r9, r10 scratch    others: ring3/translate.h
 *
 * MIPS has no flags, so generated code is free to change the host's.
 *
 * An instruction that cannot go on (a page that the view does not show, a misaligned address, an
 * exception) jumps to a stub behind the code, which leaves with DBT_EXIT_EMULATE: the interpreter
 * does the instruction, and the page is shown from then on. There is no host fault on that way:
 * TLB refills are too frequent for one. A branch and its delay slot are one instruction
 * here, because the slot's exception is the branch's. */
#ifndef RING3_ISA_MIPS32_TRANSLATE_H
#define RING3_ISA_MIPS32_TRANSLATE_H

#include "host/x64.h"
#include "isa/mips32/insn.h"
#include "ring3/translate.h"

/* Bits of tb.mode: what decides how code is translated besides its bytes. */
enum {
    MIPS32_TR_MODE = 3, /* enum mips32_mode */
    MIPS32_TR_CP1 = 1 << 2,
    MIPS32_TR_FR = 1 << 3,
    MIPS32_TR_FP_TRAPS = 1 << 4, /* FCSR enables some */
};

struct mips32_tr;
/* Translate the instruction at hand. False: left to the interpreter; nothing was emitted then, or
 * what was is dropped. */
typedef bool (*mips32_tr_fn)(struct mips32_tr *tr, unsigned argument);

struct mips32_tr_row { /* by opcode, since an instruction's row has one */
    uint32_t match;
    mips32_tr_fn fn;
    unsigned argument;
    bool flow; /* a branch or jump: not in a delay slot */
};
struct mips32_tr_rows {
    const struct mips32_tr_row *row;
    size_t count;
};
extern const struct mips32_tr_rows mips32_tr_alu, mips32_tr_mem, mips32_tr_flow, mips32_tr_fpu,
    mips32_tr_cp0;

struct mips32_translator {
    struct dbt_options options;
    size_t rows;
    struct {
        const struct mips32_tr_row *translate; /* NULL: called out or declined */
        uint64_t called;                       /* how often it was */
    } of[];                                    /* by mips32_insn.row */
};

#define MIPS32_TR_STUBS (4 * TB_MAX_INSNS)

struct mips32_tr {
    struct mips32_vcpu *v;
    const struct mips32_translator *t;
    struct tb *tb;
    struct x64 e;

    /* The instruction at hand. In a delay slot `in` is the slot's, and pc the branch's. */
    struct mips32_insn in;
    uint32_t pc;
    bool done;    /* control does not go on behind it */
    bool in_slot; /* it is in a delay slot */

    struct mips32_tr_stub { /* rel32 fields that lead to the interpreter */
        uint8_t *at;
        uint32_t pc;
        uint16_t row;
        uint8_t want; /* enum mips32_want: r8d is the address */
    } stub[MIPS32_TR_STUBS];
    unsigned stubs;
    struct { /* rel32 fields that lead to another page */
        uint8_t *at;
        uint32_t target;
    } tail[TB_MAX_INSNS];
    unsigned tails;
};

static inline struct x64_mem mips32_tr_state(size_t offset)
{
    return x64_at(X64_R13, (int32_t)offset);
}
/* A field of struct mips32_vcpu as a memory operand. */
#define MIPS32_STATE(field) mips32_tr_state(offsetof(struct mips32_vcpu, field))

/* ---- translate.c ----------------------------------------------------------------------------- */

void mips32_translate_code(struct vcpu *v, struct tb *tb);
/* Translate the instruction in in[1], the delay slot of the one at hand, which stays the one at
 * hand. False: it cannot be in a slot, or is declined. */
bool mips32_tr_slot(struct mips32_tr *tr, const struct mips32_insn *slot);
/* Is there a delay slot on this page? It is decoded into *slot. */
bool mips32_tr_decode_slot(const struct mips32_tr *tr, struct mips32_insn *slot);
/* Jump to the interpreter if condition `cc` of the host's flags holds. */
void mips32_tr_leave_if(struct mips32_tr *tr, enum x64_cc cc, enum mips32_want want);
/* Leave for good: kind, with r8d the pc. */
void mips32_tr_exit(struct mips32_tr *tr, enum dbt_exit kind);
/* Count n instructions, if they are to be counted. */
void mips32_tr_count(struct mips32_tr *tr, unsigned n);

/* ---- translate_flow.c ------------------------------------------------------------------------ */

/* Unconditional jump to a known pc. */
void mips32_tr_jump(struct mips32_tr *tr, uint32_t target);
/* End: jumps to other pages. */
void mips32_tr_tails(struct mips32_tr *tr);

/* ---- registers (translate_alu.c) --------------------------------------------------------------
 */

/* Host register of a guest register, or X64_NONE. */
int mips32_tr_host(unsigned guest);
/* The register that a result for guest register dst is made in: its own, or `scratch`. */
unsigned mips32_tr_result(unsigned dst, unsigned scratch);
/* What was made in mips32_tr_result() is complete. */
void mips32_tr_set(struct mips32_tr *tr, unsigned dst, unsigned from);
/* host = guest; a host register that holds the guest's (it itself, or scratch after a load); op
 * reg, guest. */
void mips32_tr_load(struct mips32_tr *tr, unsigned host, unsigned guest);
unsigned mips32_tr_use(struct mips32_tr *tr, unsigned guest, unsigned scratch);
void mips32_tr_op(struct mips32_tr *tr, struct x64_op op, unsigned reg, unsigned guest);
/* Compare two guest registers; the host's flags say how. Uses r8. */
void mips32_tr_compare(struct mips32_tr *tr, unsigned s, unsigned t);

/* ---- translate_mem.c ------------------------------------------------------------------------- */

/* Make host code that leads to the memory operand of the instruction at hand, `bytes` long and
 * aligned, and return the operand. Uses r8, r9. */
struct x64_mem mips32_tr_access(struct mips32_tr *tr, unsigned bytes, enum mips32_want want);

/* ---- translate_fpu.c ------------------------------------------------------------------------- */

/* Make FCSR exact; v->gen.fp.word is not 0. */
void mips32_fp_sync(struct mips32_vcpu *v);

/* ---- translate_callout.c --------------------------------------------------------------------- */

/* Have the interpreter's handler do the instruction at hand and go on behind it. False: declined.
 */
bool mips32_tr_callout(struct mips32_tr *tr);
enum { MIPS32_CALLOUT_NEXT = 1, MIPS32_CALLOUT_LEAVE };
/* Called by mips32_callout, v->pc at the instruction. v->pc is the next one then; LEAVE: generated
 * code has to be found for it. */
unsigned mips32_run_callout(struct mips32_vcpu *v, uint32_t row, uint32_t word);

/* ---- translate_enter.c ------------------------------------------------------------------------
 */

uint64_t mips32_enter(struct vcpu *v, const void *code, uintptr_t jump_table, uintptr_t reserve);
extern const char mips32_exit[], mips32_fault_exit[], mips32_enter_begin[], mips32_enter_end[],
    mips32_enter_abort[], mips32_callout[], mips32_callout_begin[], mips32_callout_end[],
    mips32_callout_leave[];

extern const struct isa_translator mips32_translator;

#endif
