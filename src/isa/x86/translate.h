/* SPDX-License-Identifier: MIT */
/* Inside the x86 translator: one translation under construction, shared by translate*.c.
 *
 * 32-bit guest code becomes 64-bit host code by copying. Where guest state lives while it runs:
 *     eax ecx edx ebx ebp esi edi   the same host registers, upper halves zero
 *     esp                           r12d
 *     arithmetic flags, DF          host flags (df_flag in the vCPU follows DF)
 *     XMM, MXCSR, x87, MMX          the host's
 *     everything else               struct x86_vcpu at r13
 * Glue between copied instructions changes no flags: mov, lea, movzx, jrcxz, and
 * translate_host.c for shifts. */
#ifndef RING3_ISA_X86_TRANSLATE_H
#define RING3_ISA_X86_TRANSLATE_H

#include "host/x64.h"
#include "isa/x86/insn.h"
#include "isa/x86/shadow.h"

/* Bits of the mode that translations are keyed by. */
enum {
    X86_MODE_USER = 1 << 0,
    X86_MODE_FLAT = 1 << 1, /* memory through the table of addends instead of a window */
    X86_MODE_FPU = 1 << 2,  /* CR0.EM and TS clear: x87 and MMX instructions run */
    X86_MODE_SSE = 1 << 3,  /* and CR4.OSFXSR set */
};

/* What an abandoned instruction has changed already. */
enum {
    X86_FIX_ESP = TB_FIX_ISA, /* guest esp is r12d + fix_arg */
    X86_FIX_STRING,           /* esi and edi may have the window's base in their upper halves */
    X86_FIX_ESI,              /* esi is in r10d */
};

struct x86_tr;
typedef void (*x86_special)(struct x86_tr *tr);

/* A segment load the interpreter has done: see translate_callout.c. */
struct x86_known_segment {
    struct x86_seg seg; /* seg.sel 0: none */
    uint64_t raw;       /* its descriptor in the GDT, accessed bit set */
    uint8_t cpl;
};
#define X86_KNOWN_SEGMENTS 16u /* power of two */

struct x86_translator {
    struct dbt_options options;
    struct dbt_hooks hooks;
    bool bmi2; /* generated code may use it */
    struct x86_known_segment known[X86_KNOWN_SEGMENTS];
    x86_special special[X86_MN_END]; /* instructions that are not simply copied, by mnemonic */
};

#define X86_MAX_TAILS (TB_MAX_INSNS + 4)

struct x86_tr {
    struct x86_vcpu *v;
    struct x86_translator *t;
    struct tb *tb;
    struct x64 e;

    /* The instruction at hand. */
    struct x86_insn in;
    struct x86_layout l;
    const uint8_t *raw;
    uint8_t straddled[16]; /* raw bytes of an instruction in two pages */
    uint32_t pc, next;     /* its linear address, that of the one behind it */
    enum tb_policy policy;

    int16_t esp;        /* guest esp is r12d + this: pushes and pops are merged */
    bool after_sti;     /* in the shadow of sti: no interrupt before this instruction is done */
    bool done;          /* control does not go on behind this instruction */
    bool copied;        /* the instruction at hand is one that is copied */
    unsigned uncounted; /* 1 until the instruction at hand has been counted (options.count) */

    struct {
        uint8_t *at; /* rel32 to point at a jump to another page */
        uint32_t target;
    } tail[X86_MAX_TAILS];
    unsigned tails;
};

static inline struct x64_mem x86_state(size_t offset)
{
    return x64_at(X64_R13, (int32_t)offset);
}
/* A field of struct x86_vcpu as a memory operand. */
#define X86_STATE(field) x86_state(offsetof(struct x86_vcpu, field))

/* Host register of a guest general register. */
static inline unsigned x86_host_reg(unsigned guest)
{
    return guest == X86_ESP ? X64_R12 : guest;
}

/* ---- translate.c ------------------------------------------------------------------------- */

void x86_translate(struct vcpu *v, struct tb *tb);
/* Copy the instruction at hand. */
void x86_tr_copy(struct x86_tr *tr);
/* Leave the instruction to the interpreter; the translation ends. */
void x86_tr_decline(struct x86_tr *tr);
/* Jump to the trampoline of an exit kind; r8d and r9d are set. */
void x86_tr_exit(struct x86_tr *tr, enum dbt_exit kind);
/* May the instruction at hand call out? Not where instructions are counted, which it cannot do
 * exactly, nor where everything is to trap, nor behind sti. */
bool x86_tr_may_call(const struct x86_tr *tr);
/* Call a function of translate_callout.c with the operand in r10d; r8 and r9 are lost. */
void x86_tr_callout(struct x86_tr *tr, unsigned number);
/* Mark what must be put right if this instruction is abandoned. */
void x86_tr_fix(struct x86_tr *tr, unsigned fix);
/* Bring r12d up to date. */
void x86_tr_flush_esp(struct x86_tr *tr);
/* The opcode of the instruction at hand, ready to be re-emitted. */
struct x64_op x86_tr_op(const struct x86_tr *tr);
/* Count the instruction at hand now; otherwise it is counted behind its code. */
void x86_tr_count(struct x86_tr *tr);
/* Interrupts stay out before the next instruction even if the interpreter runs it. Uses r9. */
void x86_tr_set_shadow(struct x86_tr *tr);

/* ---- translate_check.c ------------------------------------------------------------------- */

/* isa_translator.find_sensitive */
int64_t x86_find_sensitive(const uint8_t *code, uint64_t len);

/* ---- translate_mem.c --------------------------------------------------------------------- */

/* Make host code that leads to the memory operand of the instruction at hand, `bytes` long, and
 * return the operand. Uses r8, r9, r10; r10 is free again afterwards. False: declined. */
bool x86_tr_mem(struct x86_tr *tr, unsigned bytes, bool write, struct x64_mem *m);
/* The same for a given address: `disp` off guest esp (never TB_SELECT). */
struct x64_mem x86_tr_stack(struct x86_tr *tr, int32_t disp, unsigned bytes, bool write);
/* Linear address of the memory operand into r8d. Uses r9. False: declined. */
bool x86_tr_address(struct x86_tr *tr);
/* The guest's own operand as an address without segment. */
struct x64_mem x86_tr_plain(const struct x86_tr *tr);
/* Operand at the linear address in r8d. Uses r9, r10. */
struct x64_mem x86_tr_view(struct x86_tr *tr, unsigned bytes, bool write, enum tb_policy policy);

/* ---- translate_host.c -------------------------------------------------------------------- */

/* r9d = page number of r8d */
void x86_tr_page(struct x86_tr *tr);
/* r10d = r8d >> 30 */
void x86_tr_quarter(struct x86_tr *tr);
/* r9d = 16 * offset of r8d in its page, plus 0 to 15 */
void x86_tr_offset16(struct x86_tr *tr);
/* r9d = word (signed, of 32 bits) that bit number `reg` is in; r10d = the bit's number in it */
void x86_tr_bit_word(struct x86_tr *tr, unsigned reg);
void x86_tr_bit_index(struct x86_tr *tr, unsigned reg);

/* ---- translate_flow.c -------------------------------------------------------------------- */

/* Jump to r8d, guest pc, wherever that is. Uses r9. */
void x86_tr_jump_indirect(struct x86_tr *tr);
/* Unconditional jump to a known pc. */
void x86_tr_jump(struct x86_tr *tr, uint32_t target);
/* Make the rel32 at `at` lead to a known pc. */
void x86_tr_branch(struct x86_tr *tr, uint8_t *at, uint32_t target);
/* End: jumps to other pages, collected by x86_tr_branch. */
void x86_tr_tails(struct x86_tr *tr);
/* Leave through the straddle slot: the instruction at hand goes on in the next page. */
void x86_tr_straddle(struct x86_tr *tr);

/* ---- rows of special instructions -------------------------------------------------------- */

struct x86_special_row {
    uint16_t mnemonic; /* 0 ends the array */
    x86_special fn;
};
extern const struct x86_special_row x86_specials_flow[], x86_specials_stack[], x86_specials_state[],
    x86_specials_string[], x86_specials_data[];

/* ---- translate_stack.c ------------------------------------------------------------------- */

/* Does the instruction at hand leave tr->esp pending (pushes and pops of registers)? */
bool x86_tr_merges(const struct x86_tr *tr);

#endif
