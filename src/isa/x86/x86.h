/* SPDX-License-Identifier: MIT */
/* State of one x86-32 virtual processor (Intel SDM vol. 3A ch. 2; vol. 1 ch. 3).
 *
 * Registers are 64 bits wide with the upper halves zero, so that code can use sub-registers by
 * byte offset (gpr[0] bytes 0 and 1 are al and ah) and long mode can come later. */
#ifndef RING3_ISA_X86_X86_H
#define RING3_ISA_X86_X86_H

#include <pthread.h>
#include <setjmp.h>

#include "isa/x86/gen.h"
#include "ring3/debug.h"
#include "ring3/vcpu.h"

enum x86_gpr { X86_EAX, X86_ECX, X86_EDX, X86_EBX, X86_ESP, X86_EBP, X86_ESI, X86_EDI };
#define X86_GPR_ZERO 16 /* index of a register that is always 0: absent base or index */

/* In the order of the sreg encoding; LDTR and TR follow. */
enum x86_sreg { X86_ES, X86_CS, X86_SS, X86_DS, X86_FS, X86_GS, X86_LDTR, X86_TR, X86_SREGS };

/* Exception vectors. */
enum x86_vector {
    X86_DE = 0,
    X86_DB = 1,
    X86_NMI = 2,
    X86_BP = 3,
    X86_OF = 4,
    X86_BR = 5,
    X86_UD = 6,
    X86_NM = 7,
    X86_DF = 8,
    X86_TS = 10,
    X86_NP = 11,
    X86_SSF = 12,
    X86_GP = 13,
    X86_PF = 14,
    X86_MF = 16,
    X86_AC = 17,
    X86_MC = 18,
    X86_XM = 19,
};

/* EFLAGS */
#define FL_CF    (1u << 0)
#define FL_PF    (1u << 2)
#define FL_AF    (1u << 4)
#define FL_ZF    (1u << 6)
#define FL_SF    (1u << 7)
#define FL_TF    (1u << 8)
#define FL_IF    (1u << 9)
#define FL_DF    (1u << 10)
#define FL_OF    (1u << 11)
#define FL_IOPL  (3u << 12)
#define FL_NT    (1u << 14)
#define FL_RF    (1u << 16)
#define FL_VM    (1u << 17)
#define FL_AC    (1u << 18)
#define FL_VIF   (1u << 19)
#define FL_VIP   (1u << 20)
#define FL_ID    (1u << 21)
#define FL_FIXED 2u
#define FL_ARITH (FL_CF | FL_PF | FL_AF | FL_ZF | FL_SF | FL_OF)

/* Arithmetic flags as the host hands them over with lahf; seto: ah in the high byte, OF in bit 0.
 * The interpreter executes ALU instructions on the host's ALU, so every flag, the "undefined"
 * ones too, is what the host processor produces. */
#define CC_OF (1u << 0)
#define CC_CF (1u << 8)
#define CC_PF (1u << 10)
#define CC_AF (1u << 12)
#define CC_ZF (1u << 14)
#define CC_SF (1u << 15)

#define CR0_PE (1u << 0)
#define CR0_MP (1u << 1)
#define CR0_EM (1u << 2)
#define CR0_TS (1u << 3)
#define CR0_ET (1u << 4)
#define CR0_NE (1u << 5)
#define CR0_WP (1u << 16)
#define CR0_AM (1u << 18)
#define CR0_NW (1u << 29)
#define CR0_CD (1u << 30)
#define CR0_PG (1u << 31)

#define CR4_VME        (1u << 0)
#define CR4_PVI        (1u << 1)
#define CR4_TSD        (1u << 2)
#define CR4_DE         (1u << 3)
#define CR4_PSE        (1u << 4)
#define CR4_PAE        (1u << 5)
#define CR4_MCE        (1u << 6)
#define CR4_PGE        (1u << 7)
#define CR4_PCE        (1u << 8)
#define CR4_OSFXSR     (1u << 9)
#define CR4_OSXMMEXCPT (1u << 10)

#define EFER_NXE (1u << 11)

#define DR6_BS    (1u << 14)
#define DR6_BT    (1u << 15)
#define DR6_BD    (1u << 13)
#define DR6_FIXED 0xffff0ff0u
#define DR7_FIXED 0x400u
#define DR7_GD    (1u << 13)

/* Segment attributes: bits 8-15 and 20-23 of a descriptor's second word, moved down by 8:
 *   15 14 13 12 | 7  6 5  4  3..0
 *    G  B  L AVL| P DPL   S  type          */
#define SEG_TYPE      0x000fu
#define SEG_S         0x0010u
#define SEG_DPL_SHIFT 5
#define SEG_DPL       0x0060u
#define SEG_P         0x0080u
#define SEG_AVL       0x1000u
#define SEG_L         0x2000u
#define SEG_DB        0x4000u
#define SEG_G         0x8000u
/* type bits of code and data segments */
#define SEG_ACCESSED    1u
#define SEG_WRITABLE    2u /* data */
#define SEG_READABLE    2u /* code */
#define SEG_EXPAND_DOWN 4u /* data */
#define SEG_CONFORMING  4u /* code */
#define SEG_CODE        8u

/* A segment register: selector and the hidden part. Whoever writes one calls
 * x86_seg_changed(). */
struct x86_seg {
    uint16_t sel;
    uint16_t attr;  /* SEG_*; P clear: null or unusable */
    uint32_t limit; /* in bytes, last valid offset (expand-down: last invalid) */
    uint64_t base;
    /* Fast checks, derived by x86_seg_changed(): an access of up to 16 bytes at an offset below
     * the span cannot break a segment rule. 0 sends every access down the slow path. */
    uint32_t read_span, write_span;
};
#define X86_SPAN_ALL (UINT32_MAX - 14) /* of a segment of 4 GiB */

struct x86_dtr { /* GDTR, IDTR */
    uint64_t base;
    uint16_t limit;
};

/* One soft TLB entry, direct mapped by linear page. A tag is the linear address of the page, or
 * X86_TLB_NONE, or anything that is not page-aligned for pages every access must see. */
struct x86_tlb_entry {
    uint64_t tag_read, tag_write;
    uintptr_t addend; /* host address = addend + linear address */
    uint32_t gpfn;    /* physical page behind it, valid while either tag is */
    bool global;
    bool listed; /* in x86_tlb_list: a load of CR3 has to look at it */
};
#define X86_TLB_BITS 10
#define X86_TLB_SIZE (1u << X86_TLB_BITS)
#define X86_TLB_NONE 1ull

/* What saves sweeps over the TLB's sets: which entries were filled with non-global pages since the
 * last flush, and how many entries of both sets may be written through to the physical pages that
 * share a hash. */
#define X86_TLB_WRITERS 1024u /* power of two */
struct x86_tlb_list {
    unsigned filled;
    uint16_t entry[2 * X86_TLB_SIZE]; /* set << X86_TLB_BITS | index, each at most once */
    uint16_t writers[X86_TLB_WRITERS];
};

/* FXSAVE image (SDM vol. 1 table 10-2): the guest's x87, MMX and SSE state at rest. While
 * fpu.live is set the x87/MMX part is in the host's registers and this copy of it is stale. */
struct x86_fx {
    uint16_t fcw, fsw;
    uint8_t ftw_abridged, reserved0;
    uint16_t fop;
    uint32_t fip, fcs, fdp, fds;
    uint32_t mxcsr, mxcsr_mask;
    uint8_t st[8][16];
    uint8_t xmm[16][16]; /* 8 used outside long mode */
    uint8_t reserved1[96];
} __attribute__((aligned(16)));
_Static_assert(sizeof(struct x86_fx) == 512, "FXSAVE image");

struct x86_fault {
    uint8_t vector;
    bool has_error;
    bool trap; /* reported after the instruction (debug traps): resume at eip, not at insn_eip */
    uint32_t error;
};

/* How control got back to the interpreter loop by longjmp. */
enum x86_unwind { X86_UNWIND_NONE, X86_UNWIND_FAULT, X86_UNWIND_EXIT };

/* Own bits of vcpu.attention. */
#define X86_ATTN_DEBUG                                                                             \
    (ATTN_ISA << 0) /* TF set, DR7 armed, a debug trap pending, or a debugger                      \
                     */
/* The two values of attn_mask: IF clear, IF set. */
#define X86_ATTN_MASK_CLOSED (ATTN_STOP | ATTN_NMI | ATTN_RESET | ATTN_CODE | X86_ATTN_DEBUG)
#define X86_ATTN_MASK_OPEN   (X86_ATTN_MASK_CLOSED | ATTN_INTERRUPT)

#define X86_BRANCH_LOG 16 /* entries, power of two */
#define X86_FAULT_LOG  16
struct x86_branch {
    uint32_t from, to; /* offsets in CS */
};
struct x86_fault_log {
    uint32_t eip, cs, error, cr2;
    uint8_t vector;
};

/* A debugger outside of the guest; see debugger.c. */
#define X86_DEBUG_POINTS 64u
struct x86_debug_point {
    uint32_t lin;
    uint16_t len;
    uint8_t kind; /* enum debug_point */
};
struct x86_debugger {
    struct x86_debug_point point[X86_DEBUG_POINTS];
    unsigned points, watches; /* of the points */
    bool step, stopped;       /* stop after one instruction; stop at the next boundary */
    uint64_t from;            /* `retired` where the processor went on */
    struct debug_stop stop;   /* the last one */
};

struct x86_icache;
struct x86_decoder;

struct x86_vcpu {
    struct vcpu base; /* first */

    uint64_t gpr[X86_GPR_ZERO + 1];
    uint64_t eip; /* of the next instruction while a handler runs */
    /* EFLAGS in parts, so that each can be written with one store of a constant. */
    uint16_t cc;      /* CC_*: the arithmetic flags */
    uint32_t eflags;  /* all but FL_ARITH, IF and DF; bit 1 always set */
    uint32_t if_flag; /* FL_IF or 0; decides attn_mask */
    uint32_t df_flag; /* FL_DF or 0 */
    uint8_t cpl;      /* virtual privilege level; 0 in real mode, 3 in v8086 mode */

    /* Changes only through x86_update_mode(). */
    bool user;          /* cpl == 3: which TLB, U/S checks */
    uint32_t attn_mask; /* bits of attention that matter now: x86_attn_mask(if_flag) */
    uint32_t sp_mask;   /* 0xffff or 0xffffffff by SS.B */

    struct x86_tlb_entry *tlb; /* tlb_sets[user] */
    uint64_t tlb_large[16]; /* bit per 4 MiB of linear space: entries there came from large pages */
    struct x86_seg seg[X86_SREGS];
    struct x86_dtr gdtr, idtr;
    uint32_t cr0, cr2, cr3, cr4;
    uint32_t dr[8]; /* 4 and 5 unused */
    uint64_t efer, pat, sysenter_cs, sysenter_esp, sysenter_eip, debugctl;
    uint64_t pdpte[4];  /* PAE: loaded with CR3 */
    int64_t tsc_offset; /* guest TSC = clock_tsc + offset */
    uint64_t a20_mask;  /* ANDed with every physical address */

    /* The instruction being executed. */
    uint64_t insn_eip;     /* its start; where a fault resumes */
    uint64_t retired;      /* instructions since reset */
    uint64_t counted;      /* how many of them are in base.stats.instructions */
    uint64_t budget_end;   /* interpret() returns when retired reaches it */
    uint64_t shadow_until; /* no interrupt while retired == this (sti, mov ss, pop ss) */
    bool shadow_debug;     /* that shadow holds debug traps, too (mov ss, pop ss) */
    uint32_t dr6_pending;  /* DR6 bits of a debug trap to deliver at the next boundary */
    bool nmi_blocked;      /* until iret */
    uint8_t saved_nmi;     /* ATTN_NMI is set; valid while parked */

    /* Leaving a handler in the middle. */
    jmp_buf unwind;
    struct x86_fault fault;   /* valid for X86_UNWIND_FAULT */
    struct vm_exit exit;      /* valid for X86_UNWIND_EXIT */
    int delivering;           /* vector whose delivery is under way, or -1: double-fault rules */
    bool delivering_external; /* that event was external to the program: sets EXT */

    struct {
        bool live;         /* x87/MMX state is in the host's registers */
        bool keep_live;    /* interpret() may return with live state; the engine's choice */
        uint32_t fip, fdp; /* last non-control x87 instruction and operand */
        uint16_t fcs, fds, fop;
    } fpu;
    struct x86_fx fx;
    /* FERR#: raised for a pending x87 error while CR0.NE is 0 (IRQ 13 on a PC). */
    struct {
        void (*raise)(void *opaque);
        void *opaque;
    } ferr;

    /* The local APIC's base register, MSR 0x1b. Without one (read NULL) CPUID denies it. */
    struct {
        uint64_t (*read)(void *opaque);
        bool (*write)(void *opaque, uint64_t value); /* false: #GP(0) */
        void *opaque;
    } apic_base;

    struct x86_debugger debugger;

    struct x86_gen gen;
    struct x86_shadow_hooks shadow;
    struct x86_decoder *decoder;
    struct x86_icache *icache;
    struct wp_watcher watcher;
    pthread_t owner; /* thread inside interpret(): stores of others go through ATTN_CODE */

    struct x86_branch branches[X86_BRANCH_LOG];
    struct x86_fault_log faults[X86_FAULT_LOG];
    unsigned branch_next, fault_next;

    struct x86_tlb_list tlb_list;
    struct x86_tlb_entry tlb_sets[2][X86_TLB_SIZE];
};

static inline struct x86_vcpu *x86_of(struct vcpu *v)
{
    return container_of(v, struct x86_vcpu, base);
}

/* Can every access be made without a check of this segment? And does its offset equal the address?
 */
static inline bool x86_seg_unlimited(const struct x86_seg *s)
{
    return s->read_span == X86_SPAN_ALL && s->write_span == X86_SPAN_ALL;
}
static inline bool x86_seg_flat(const struct x86_seg *s)
{
    return s->base == 0 && x86_seg_unlimited(s);
}

/* ---- modes ---------------------------------------------------------------------------------- */

static inline bool x86_protected(const struct x86_vcpu *v)
{
    return v->cr0 & CR0_PE;
}
static inline bool x86_v8086(const struct x86_vcpu *v)
{
    return v->eflags & FL_VM;
}
/* Selectors are paragraphs: real mode or v8086. */
static inline bool x86_real_or_v86(const struct x86_vcpu *v)
{
    return !x86_protected(v) || x86_v8086(v);
}
static inline unsigned x86_iopl(const struct x86_vcpu *v)
{
    return (v->eflags & FL_IOPL) >> 12;
}
static inline unsigned x86_dpl(const struct x86_seg *s)
{
    return (s->attr & SEG_DPL) >> SEG_DPL_SHIFT;
}
/* Default operand and address size of the code segment, bytes: 2 or 4. */
static inline unsigned x86_code_size(const struct x86_vcpu *v)
{
    return v->seg[X86_CS].attr & SEG_DB ? 4 : 2;
}

/* Recompute what depends on cpl, eflags, CR0, DR7 or SS: user, tlb, sp_mask, attn_mask, spans of
 * all segments, the instruction-fetch page. Call after changing any of them. (vcpu.c) */
void x86_update_mode(struct x86_vcpu *v);
/* The part of it that depends on cpl alone while no alignment is checked. (vcpu.c) */
void x86_privilege_changed(struct x86_vcpu *v);
/* After a change of TF, RF, DR6, DR7 or dr6_pending: keep X86_ATTN_DEBUG true. (interp.c) */
void x86_update_debug(struct x86_vcpu *v);
/* After writing seg[s]: derive the spans; for SS also sp_mask, for CS the fetch page. (vcpu.c) */
void x86_seg_changed(struct x86_vcpu *v, enum x86_sreg s);

/* ---- flags ---------------------------------------------------------------------------------- */

static inline uint32_t x86_cc_to_flags(uint16_t cc)
{
    return (uint32_t)(cc >> 8 & (FL_CF | FL_PF | FL_AF | FL_ZF | FL_SF)) | (cc & CC_OF ? FL_OF : 0);
}
static inline uint16_t x86_flags_to_cc(uint32_t fl)
{
    return (uint16_t)((fl & (FL_CF | FL_PF | FL_AF | FL_ZF | FL_SF)) << 8 |
                      (fl & FL_OF ? CC_OF : 0));
}
/* What attn_mask is while if_flag is FL_IF or 0. */
static inline uint32_t x86_attn_mask(uint32_t if_flag)
{
    return if_flag ? X86_ATTN_MASK_OPEN : X86_ATTN_MASK_CLOSED;
}
/* The whole EFLAGS register. */
static inline uint32_t x86_get_eflags(const struct x86_vcpu *v)
{
    return v->eflags | v->if_flag | v->df_flag | x86_cc_to_flags(v->cc);
}
/* Replace all of EFLAGS; no privilege checks. Follow with x86_update_mode() if VM changed;
 * IF, TF and AC are taken care of. (vcpu.c) */
void x86_set_eflags(struct x86_vcpu *v, uint32_t eflags);

/* ---- faults: none of these return ----------------------------------------------------------- */

/* Abandon the current instruction and deliver an exception. Registers must be as before the
 * instruction (or at a restartable point of a repeated string instruction). (vcpu.c) */
_Noreturn void x86_raise(struct x86_vcpu *v, enum x86_vector vector);
_Noreturn void x86_raise_error(struct x86_vcpu *v, enum x86_vector vector, uint32_t error);
/* Leave the interpreter with this exit. */
_Noreturn void x86_leave(struct x86_vcpu *v, enum exit_kind kind, const char *what);

/* ---- registers ------------------------------------------------------------------------------ */

static inline uint32_t x86_r32(const struct x86_vcpu *v, enum x86_gpr r)
{
    return (uint32_t)v->gpr[r];
}
static inline void x86_w32(struct x86_vcpu *v, enum x86_gpr r, uint32_t x)
{
    v->gpr[r] = x;
}
static inline uint16_t x86_r16(const struct x86_vcpu *v, enum x86_gpr r)
{
    return (uint16_t)v->gpr[r];
}
static inline void x86_w16(struct x86_vcpu *v, enum x86_gpr r, uint16_t x)
{
    v->gpr[r] = (v->gpr[r] & 0xffff0000u) | x;
}
/* esp or sp by the stack segment's size; the write keeps the upper half of esp if 16-bit. */
static inline uint32_t x86_sp(const struct x86_vcpu *v)
{
    return (uint32_t)v->gpr[X86_ESP] & v->sp_mask;
}
static inline void x86_set_sp(struct x86_vcpu *v, uint32_t sp)
{
    v->gpr[X86_ESP] = ((uint32_t)v->gpr[X86_ESP] & ~v->sp_mask) | (sp & v->sp_mask);
}

static inline void x86_log_branch(struct x86_vcpu *v, uint32_t from, uint32_t to)
{
    v->branches[v->branch_next++ & (X86_BRANCH_LOG - 1)] = (struct x86_branch){from, to};
}

/* ---- the other parts of isa/x86 ------------------------------------------------------------- */

extern const struct isa_ops x86_isa;
struct vcpu *x86_vcpu_new(const struct vcpu_wiring *w, unsigned index, struct err *e);

/* state.c: for x86_isa, see isa_ops. */
const struct state_field *x86_state_table(size_t *count);
void x86_parked(struct vcpu *v);
void x86_restored(struct vcpu *v);
void x86_resumed(struct vcpu *v);

/* The A20 gate (8042, port 92h): on lets address bit 20 through. vCPU thread. */
void x86_set_a20(struct x86_vcpu *v, bool on);

#endif
