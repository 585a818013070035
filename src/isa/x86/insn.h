/* SPDX-License-Identifier: MIT */
/* A decoded instruction and the table rows that say what each opcode is.
 *
 * Zydis decodes bytes to a mnemonic and operands; decode.c looks the mnemonic up in the rows
 * (one array per subject, below), picks a handler by operand form and size, and compacts the
 * operands into struct x86_insn. What has no row is #UD: the rows are the instruction set. */
#ifndef RING3_ISA_X86_INSN_H
#define RING3_ISA_X86_INSN_H

#include <string.h>

#include <Zydis/Zydis.h>

#include "isa/x86/x86.h"

struct x86_insn;
/* Execute one instruction. v->eip already points behind it, v->insn_eip at it. Either completes
 * or raises with registers unchanged. */
typedef void (*x86_handler)(struct x86_vcpu *v, const struct x86_insn *in);

/* The half of a handler that runs when fast access fails: kept out of line. */
#define X86_SLOW_HALF static __attribute__((noinline, cold))

struct x86_insn {
    x86_handler fn;
    uint32_t imm; /* immediate, sign-extended to 32 bits; branch displacement; far offset */
    union {
        uint32_t disp; /* of the memory operand */
        uint16_t imm2; /* far selector; second immediate of enter: they have no memory operand */
    };
    uint16_t mnemonic; /* ZydisMnemonic or enum x86_mnemonic */
    uint8_t len;       /* bytes, 1 to 15 */
    uint8_t opsize;    /* effective operand size in bytes: 2 or 4, or 1 for byte forms */
    uint8_t asize;     /* effective address size in bytes: 2 or 4 */
    uint8_t prefix;    /* X86_PFX_* */
    uint8_t seg;       /* segment of the memory operand, overrides applied (enum x86_sreg) */
    /* Register operands as byte offsets into gpr[] (so ah is 1): destination/first, source. For
     * segment, control, debug, MMX, XMM and x87 registers: the register number. */
    uint8_t r0, r1;
    /* Memory operand: gpr indices (X86_GPR_ZERO when absent) and shift. */
    uint8_t base, index, shift;
    bool has_mem;   /* the r/m operand is memory */
    uint8_t opcode; /* last opcode byte */
    uint8_t modrm;  /* 0 if there is none */
    bool runs_on;   /* array slot + 1 holds the instruction behind this one (icache.c) */
};
_Static_assert(sizeof(struct x86_insn) == 32, "two decoded instructions share a cache line");

enum {
    X86_PFX_REP = 1 << 0,   /* F3 */
    X86_PFX_REPNE = 1 << 1, /* F2 */
    X86_PFX_LOCK = 1 << 2,
    X86_PFX_OPSIZE = 1 << 3,   /* 66 */
    X86_PFX_ADDRSIZE = 1 << 4, /* 67 */
    X86_PFX_0F = 1 << 5        /* the opcode byte follows 0F, an escape rather than a prefix */
};

/* Operand forms a handler can specialise for. Index of a forms[] array is form * 3 + log2(size)
 * with size 1, 2 or 4 bytes. */
enum x86_form {
    X86_FORM_RR, /* reg, reg        r0, r1 */
    X86_FORM_RM, /* reg, memory     r0 */
    X86_FORM_MR, /* memory, reg     r1 */
    X86_FORM_RI, /* reg, immediate  r0 */
    X86_FORM_MI, /* memory, immediate */
    X86_FORM_R,  /* reg             r0 */
    X86_FORM_M,  /* memory */
    X86_FORM_I,  /* immediate, or relative branch */
    X86_FORMS
};
#define X86_FORM_SLOTS (X86_FORMS * 3)

/* Popek and Goldberg's classes, and where an instruction may run. */
enum {
    X86_INNOCUOUS = 0,
    X86_PRIVILEGED = 1 << 0,          /* #GP outside CPL 0 (or by IOPL, see X86_IOPL) */
    X86_CONTROL_SENSITIVE = 1 << 1,   /* changes the processor's configuration */
    X86_BEHAVIOUR_SENSITIVE = 1 << 2, /* result depends on configuration or real location */
    X86_CPL0 = 1 << 3,                /* decode.c's guard raises #GP(0) if CPL != 0 */
    X86_PROT_ONLY = 1 << 4,           /* decode.c's guard raises #UD in real and v8086 mode */
    X86_BRANCH = 1 << 5,              /* may change control flow */
    X86_FPU = 1 << 6,                 /* handlers call x86_fpu_guard() first */
    X86_MMX = 1 << 7,                 /* x86_mmx_guard() */
    X86_SSE = 1 << 8,                 /* x86_sse_guard() */
    /* The same opcode means the same in 64-bit user mode: a translator may copy it once operands
     * and prefixes are written anew. Set row by row where that is known, never by default. Of
     * such rows, a few encodings mean something else there and need another one: INC and DEC by
     * 40-4F (REX), 80 /n by 82 (undefined), A0-A3 (64-bit offset), NOP by 0F 18-1E (hints and
     * MPX; leave it out). */
    X86_COPY = 1 << 9,
    /* Invalid LOCK, memory operands where only registers may be and the like never reach a row:
     * Zydis refuses them and they decode to #UD. */
};

/* Zydis gives one mnemonic to instructions that have nothing in common but the name. decode.c
 * refines those, by opcode map or register class, so that each has its own row. */
enum x86_mnemonic {
    X86_MN_MOV_SEG = ZYDIS_MNEMONIC_MAX_VALUE + 1, /* mov sreg, r/m16; mov r/m, sreg */
    X86_MN_MOV_CR,
    X86_MN_MOV_DR,
    X86_MN_PUSH_SEG, /* r0 is the segment register's number */
    X86_MN_POP_SEG,
    X86_MN_JMP_FAR, /* direct: imm2:imm; indirect: has_mem */
    X86_MN_CALL_FAR,
    X86_MN_RET_FAR,
    X86_MN_MOVSD_SSE, /* ZYDIS_MNEMONIC_MOVSD and CMPSD are the string instructions */
    X86_MN_CMPSD_SSE,
    X86_MN_END
};

struct x86_op {
    uint16_t mnemonic;        /* ZydisMnemonic or enum x86_mnemonic */
    uint16_t class;           /* bits above */
    x86_handler any;          /* used when forms is NULL or has no entry for the form */
    const x86_handler *forms; /* X86_FORM_SLOTS entries or NULL */
};

/* The instruction set, by subject. Each array ends with mnemonic 0. */
extern const struct x86_op x86_ops_alu[];     /* alu.c: arithmetic, logic, shifts, bits */
extern const struct x86_op x86_ops_data[];    /* data.c: moves, stack, conversions */
extern const struct x86_op x86_ops_control[]; /* control.c: near jumps, calls, loops */
extern const struct x86_op x86_ops_string[];  /* string.c, port I/O */
extern const struct x86_op x86_ops_system[];  /* system.c: CRn, DRn, MSR, CPUID, flags */
extern const struct x86_op x86_ops_segment[]; /* segment.c: sreg moves, descriptor instructions */
extern const struct x86_op x86_ops_far[];     /* far.c: far transfers, INT, IRET, SYSENTER */
extern const struct x86_op x86_ops_x87[];     /* x87.c */
extern const struct x86_op x86_ops_mmx[];     /* simd.c, from mmx.def */
extern const struct x86_op x86_ops_sse[];     /* simd.c, from sse.def */

/* ---- operands -------------------------------------------------------------------------------- */

/* Effective address (offset within in->seg). */
static inline uint32_t x86_ea(const struct x86_vcpu *v, const struct x86_insn *in)
{
    uint32_t ea =
        (uint32_t)v->gpr[in->base] + ((uint32_t)v->gpr[in->index] << in->shift) + in->disp;
    return likely(in->asize == 4) ? ea : (uint16_t)ea;
}
/* A register operand of 1, 2 or 4 bytes by its byte offset (in->r0, in->r1). */
static inline void *x86_reg_ptr(struct x86_vcpu *v, uint8_t offset)
{
    return (uint8_t *)v->gpr + offset;
}
static inline uint32_t x86_reg_get(struct x86_vcpu *v, uint8_t offset, unsigned size)
{
    uint32_t x = 0;
    memcpy(&x, x86_reg_ptr(v, offset), size);
    return x;
}
static inline void x86_reg_set(struct x86_vcpu *v, uint8_t offset, unsigned size, uint32_t x)
{
    memcpy(x86_reg_ptr(v, offset), &x, size);
}

/* The r/m operand (memory, or the register in r0 or r1 as `reg` says), any size 1, 2, 4.
 * For instructions that are not worth a specialised form. (operand.c) */
uint32_t x86_rm_get(struct x86_vcpu *v, const struct x86_insn *in, uint8_t reg, unsigned size);
/* The same for an operand that x86_rm_set() will write: faults are those of the store. */
uint32_t x86_rm_get_for_write(struct x86_vcpu *v, const struct x86_insn *in, uint8_t reg,
                              unsigned size);
void x86_rm_set(struct x86_vcpu *v, const struct x86_insn *in, uint8_t reg, unsigned size,
                uint32_t x);

/* Push and pop at the current privilege on SS:eSP; size 2 or 4 bytes. (operand.c) */
void x86_push(struct x86_vcpu *v, unsigned size, uint32_t x);
uint32_t x86_pop(struct x86_vcpu *v, unsigned size);

/* Near branch to an offset in CS: #GP(0) beyond the limit. (control.c) */
void x86_jump(struct x86_vcpu *v, uint32_t eip);

/* The flags of a - b, operands of 1, 2 or 4 bytes. (alu.c) */
void x86_compare(uint32_t a, uint32_t b, unsigned size, uint16_t *cc);

/* Raises #UD: for table slots no encoding reaches. (decode.c) */
void x86_undefined(struct x86_vcpu *v, const struct x86_insn *in);

/* ---- decode ---------------------------------------------------------------------------------- */

/* Decode `n` (1 to 15) bytes for a code segment of `code_size` 2 or 4 bytes. Returns true and
 * fills *in; false when the bytes end too early (more are needed). Undefined opcodes decode to a
 * handler that raises #UD; instructions over 15 bytes to one that raises #GP(0). */
bool x86_decode(const struct x86_decoder *d, const uint8_t *bytes, unsigned n, unsigned code_size,
                struct x86_insn *in);

/* Where the parts of an encoding are and what its register numbers name: what one needs to write
 * the same instruction with other prefixes, registers or addresses. Only operands that assembler
 * notation shows count; hidden ones (the stack of push, al and [ebx] of xlat) do not.
 *
 *   prefixes | opcode (escapes 0F, 0F 38, 0F 3A included) | modrm sib disp | immediates */
struct x86_layout {
    uint8_t opcode_at, opcode_len; /* 1 to 3 bytes; modrm, if any, is next */
    /* 66, F2 or F3 when it is part of the opcode, else 0. Any other F2 or F3 is the rep of a
     * string instruction or means nothing, and may not be written again: F3 0F BC is BSF here and
     * TZCNT to newer processors. */
    uint8_t mandatory;
    bool opsize_66; /* code with 32-bit operands by default needs 66 for this operand size */
    bool has_modrm;
    uint8_t imm_at, imm_len;    /* all immediates, relative and far targets together; 0, 0: none */
    bool reg_is_gpr, rm_is_gpr; /* modrm.reg, modrm.rm with mod 3: a 16- or 32-bit register */
    bool opcode_reg_is_gpr;     /* the low 3 bits of the opcode: a 16- or 32-bit register */
    bool byte_reg, high_byte;   /* some operand is an 8-bit register; is ah, ch, dh or bh */
    /* The memory operand: lea does neither; nop and the prefetches count as reading. */
    bool mem_read, mem_write;
    /* Its size, 0: none or unknown. BT, BTS, BTR and BTC with the offset in a register reach
     * beyond it. */
    uint16_t mem_bytes;
};
/* x86_decode(), and *l: all 0 if the bytes are no instruction, or a VEX or 3DNow! one. Other
 * instructions without a row (0F 38, 0F 3A) have a layout, too. */
bool x86_decode_layout(const struct x86_decoder *d, const uint8_t *bytes, unsigned n,
                       unsigned code_size, struct x86_insn *in, struct x86_layout *l);
struct x86_decoder *x86_decoder_new(struct err *e);
void x86_decoder_free(struct x86_decoder *d);
/* Row of a mnemonic, or NULL. */
const struct x86_op *x86_op_row(const struct x86_decoder *d, unsigned mnemonic);

#endif
