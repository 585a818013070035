/* SPDX-License-Identifier: MIT */
/* State of one MIPS32 virtual processor. Sections are those of "MIPS32 Architecture For
 * Programmers": volume I (MD00082), II (MD00086), III (MD00090). */
#ifndef RING3_ISA_MIPS32_CPU_H
#define RING3_ISA_MIPS32_CPU_H

#include <pthread.h>
#include <setjmp.h>
#include <stdatomic.h>

#include "isa/mips32/gen.h"
#include "isa/mips32/mips32.h"
#include "ring3/debug.h"

/* Register 0 reads as zero, so instructions that name it as their destination write the sink. */
#define MIPS32_SINK 32
#define MIPS32_GPRS 33
enum { MIPS32_A0 = 4, MIPS32_RA = 31 };

/* Cause.ExcCode (vol. III table 9-47). */
enum mips32_exception {
    EXC_INT = 0,
    EXC_MOD = 1,
    EXC_TLBL = 2,
    EXC_TLBS = 3,
    EXC_ADEL = 4,
    EXC_ADES = 5,
    EXC_IBE = 6,
    EXC_SYS = 8,
    EXC_BP = 9,
    EXC_RI = 10,
    EXC_CPU = 11,
    EXC_OV = 12,
    EXC_TR = 13,
    EXC_FPE = 15,
};

/* Status (vol. III 9.22) */
#define ST_IE        (1u << 0)
#define ST_EXL       (1u << 1)
#define ST_ERL       (1u << 2)
#define ST_KSU_SHIFT 3
#define ST_SM        (1u << 3) /* supervisor mode; KSU is both bits */
#define ST_UM        (1u << 4) /* user mode */
#define ST_IM        0xff00u
#define ST_NMI       (1u << 19)
#define ST_SR        (1u << 20)
#define ST_TS        (1u << 21)
#define ST_BEV       (1u << 22)
#define ST_FR        (1u << 26)
#define ST_CU0       (1u << 28)
#define ST_CU1       (1u << 29)

/* Cause (vol. III 9.26) */
#define CA_EXC_SHIFT 2
#define CA_EXC       0x7cu
#define CA_IP_SHIFT  8
#define CA_IP_SOFT   0x0300u /* IP1..0, written by software */
#define CA_IP_PINS   0xfc00u /* IP7..2 */
#define CA_IP7       (1u << 15)
#define CA_WP        (1u << 22)
#define CA_IV        (1u << 23)
#define CA_DC        (1u << 27)
#define CA_CE_SHIFT  28
#define CA_TI        (1u << 30)
#define CA_BD        (1u << 31)

/* EntryLo, EntryHi, PageMask (vol. III 9.6, 9.9, 9.18); addresses of 32 bits. */
#define LO_G           1u
#define LO_V           2u
#define LO_D           4u
#define LO_MASK        0x03ffffffu
#define HI_VPN2        0xffffe000u
#define HI_ASID        0xffu
#define PAGEMASK_BITS  0x1fffe000u
#define PAGEMASK_FIXED 0x1fffu /* what every PageMask does not compare */

/* Segments of virtual memory (vol. III 4.2). */
#define KSEG0 0x80000000u
#define KSEG1 0xa0000000u
#define KSEG2 0xc0000000u /* KSSEG while there is supervisor mode */
#define KSEG3 0xe0000000u

enum mips32_mode { MIPS32_KERNEL, MIPS32_SUPERVISOR, MIPS32_USER, MIPS32_MODES };

#define MIPS32_TLB_MAX 64u
struct mips32_tlb_entry {
    uint32_t hi;   /* VPN2, masked; ASID */
    uint32_t mask; /* as PageMask */
    uint32_t lo[2];
    uint32_t global; /* 0 or 1 */
};
/* Does it map anything? */
static inline bool mips32_tlb_valid(const struct mips32_tlb_entry *t)
{
    return (t->lo[0] | t->lo[1]) & LO_V;
}

/* TLB entries that were displaced and still serve: tlb.c. Invalid ones are free places. */
#define MIPS32_VICTIMS 1024u
struct mips32_victims {
    unsigned live;
    struct mips32_tlb_entry entry[MIPS32_VICTIMS];
};

/* Pages of the current ASID alone that something was derived for, at most once in a row: mmu.c. */
#define MIPS32_ASID_PAGES 256u
struct mips32_asid_pages {
    unsigned count; /* may be one more than there is room for: then there were more */
    uint32_t va[MIPS32_ASID_PAGES];
};

struct mips32_code_page;

/* One entry of the soft TLB, direct mapped by virtual page, a set per mode. A tag is the address of
 * the page, or MIPS32_SOFT_NONE, which no aligned address equals. All of it is derived: from the
 * segments, or from TLB entries, with which it goes. */
struct mips32_soft {
    uint32_t read, write, fetch;   /* tags */
    uint32_t gpfn;                 /* physical page behind it, valid while a tag is */
    uintptr_t addend;              /* host address = addend + virtual address */
    struct mips32_code_page *code; /* valid while `fetch` is */
};
#define MIPS32_SOFT_BITS 10
#define MIPS32_SOFT_SIZE (1u << MIPS32_SOFT_BITS)
#define MIPS32_SOFT_NONE 0x10u

/* Coprocessor 0. Names are those of vol. III chapter 9; what is not here is derived. */
struct mips32_cp0 {
    uint32_t index, random, entry_lo[2], context, page_mask, wired, hwrena, bad_vaddr, entry_hi;
    uint32_t compare, status, int_ctl, epc, ebase, config0, ll_addr, error_epc, desave, user_local;
    uint32_t tag_lo, tag_hi;
    uint32_t cause; /* without IP7..2 and TI, which are in mips32_vcpu.lines */
};

struct mips32_fault {
    uint8_t code; /* enum mips32_exception */
    uint8_t coprocessor;
    bool refill;  /* no TLB entry matched */
    bool address; /* vaddr goes to BadVAddr */
    uint32_t vaddr;
};

/* How control got back to the interpreter loop by longjmp. */
enum mips32_unwind { MIPS32_UNWIND_NONE, MIPS32_UNWIND_FAULT, MIPS32_UNWIND_EXIT };

/* Own bit of vcpu.attention: a debugger has points or steps. */
#define MIPS32_ATTN_DEBUG (ATTN_ISA << 0)
/* The two values of attn_mask: interrupts are not taken, are taken. */
#define MIPS32_ATTN_CLOSED (ATTN_STOP | ATTN_NMI | ATTN_RESET | ATTN_CODE | MIPS32_ATTN_DEBUG)
#define MIPS32_ATTN_OPEN   (MIPS32_ATTN_CLOSED | ATTN_INTERRUPT)

/* CP0 Count and Compare: timer.c. Guest time in ticks of Count, 64 bits wide, is derived from the
 * clock; Count is its low half plus count_offset. */
struct mips32_timer {
    pthread_mutex_t lock; /* guards changes of due_ticks */
    struct timer timer;
    _Atomic uint64_t due_ticks; /* when Count reaches Compare next */
    uint32_t count_offset;      /* vCPU thread; while Cause.DC is set, Count itself */
};

/* A debugger outside of the guest: debugger.c. */
#define MIPS32_DEBUG_POINTS 64u
struct mips32_debug_point {
    uint32_t va;
    uint16_t len;
    uint8_t kind; /* enum debug_point */
};
struct mips32_debugger {
    struct mips32_debug_point point[MIPS32_DEBUG_POINTS];
    unsigned points, watches; /* of the points */
    bool step, stopped;       /* stop after one instruction; stop at the next boundary */
    uint64_t from;            /* `retired` where the processor went on */
    struct debug_stop stop;   /* the last one */
};

#define MIPS32_FAULT_LOG 16u /* entries, power of two */
struct mips32_fault_log {
    uint32_t epc, bad_vaddr, cause, status;
};

struct mips32_insn;
struct mips32_decoder;
struct mips32_icache;

struct mips32_vcpu {
    struct vcpu base; /* first */

    uint32_t gpr[MIPS32_GPRS];
    uint32_t hi, lo;
    struct mips32_soft *soft; /* the set of the current mode */
    /* Where the processor is. While instructions run, cur is the one under way (the branch, while
     * its delay slot runs) in the page at virtual address page_va; NULL otherwise, and pc is the
     * next one's address. */
    const struct mips32_insn *cur;
    uint32_t page_va, pc;
    bool in_slot;    /* what runs is the delay slot of cur */
    bool big_endian; /* of the model */
    bool ll_bit;
    uint32_t attn_mask;  /* bits of attention that matter now */
    uint64_t retired;    /* instructions since reset */
    uint64_t counted;    /* how many of them are in base.stats.instructions */
    uint64_t budget_end; /* interpret() returns when retired reaches it */

    /* Coprocessor 1: fpu.h. */
    uint64_t fpr[32];
    uint32_t fcsr;
    uint32_t host_csr; /* MXCSR for FCSR's rounding and flushing */

    enum mips32_mode mode;
    struct mips32_cp0 cp0;
    _Atomic uint32_t lines;   /* IP7..2 as the pins are, and CA_TI; any thread */
    _Atomic uint32_t line_im; /* Status.IM, for who raises a line; written by the vCPU thread */
    struct mips32_timer timer;
    struct mips32_tlb_entry tlb[MIPS32_TLB_MAX];
    struct mips32_victims victims;
    struct mips32_asid_pages asid_pages;
    const struct mips32_model *model;

    /* Leaving a handler in the middle. */
    jmp_buf unwind;
    struct mips32_fault fault; /* valid for MIPS32_UNWIND_FAULT */
    struct vm_exit exit;       /* valid for MIPS32_UNWIND_EXIT */

    struct mips32_gen gen;
    struct mips32_decoder *decoder;
    struct mips32_icache *icache;
    struct wp_watcher watcher;
    pthread_t owner; /* thread inside interpret(): stores of others go through ATTN_CODE */

    struct mips32_debugger debugger;
    struct mips32_fault_log faults[MIPS32_FAULT_LOG];
    unsigned fault_next;
    uint8_t saved_nmi; /* ATTN_NMI is set; valid while parked */

    struct mips32_soft soft_sets[MIPS32_MODES][MIPS32_SOFT_SIZE];
};

static inline struct mips32_vcpu *mips32_of(struct vcpu *v)
{
    return container_of(v, struct mips32_vcpu, base);
}
static inline const struct mips32_vcpu *mips32_const_of(const struct vcpu *v)
{
    return container_of(v, const struct mips32_vcpu, base);
}

/* Recompute what depends on Status: mode, soft, attn_mask, line_im. (vcpu.c) */
void mips32_update_mode(struct mips32_vcpu *v);

/* ---- leaving an instruction: none of these return (interp.c) --------------------------------- */

_Noreturn void mips32_raise(struct mips32_vcpu *v, enum mips32_exception code);
_Noreturn void mips32_raise_coprocessor(struct mips32_vcpu *v, unsigned n);
/* An address error or a TLB exception. */
_Noreturn void mips32_raise_address(struct mips32_vcpu *v, enum mips32_exception code,
                                    uint32_t vaddr, bool refill);
_Noreturn void mips32_leave(struct mips32_vcpu *v, const struct vm_exit *x);

/* ---- interp.c, dump.c, state.c, debugger.c: members of mips32_ops ---------------------------- */

void mips32_interpret(struct vcpu *v, uint64_t budget, struct vm_exit *x);
uint32_t mips32_pc(const struct mips32_vcpu *v); /* of the instruction under way, or the next one */
void mips32_dump(const struct vcpu *v, FILE *out);
void mips32_post_mortem(const struct vcpu *v, FILE *out);
const struct state_field *mips32_state_table(size_t *count);
void mips32_parked(struct vcpu *v);
void mips32_restored(struct vcpu *v);

/* ---- event.c --------------------------------------------------------------------------------- */

/* Take v->fault. */
void mips32_deliver_fault(struct mips32_vcpu *v);
/* Interrupts that may be taken now; true if one was. At an instruction boundary. */
bool mips32_deliver_interrupt(struct mips32_vcpu *v, uint32_t attention);
/* Cause as software reads it. */
uint32_t mips32_cause(const struct mips32_vcpu *v);
/* After a change of lines, Cause.IP1..0 or Status.IM: make ATTN_INTERRUPT say whether an interrupt
 * waits that Status.IM lets through. vCPU thread. */
void mips32_update_interrupts(struct mips32_vcpu *v);
/* Raise or lower bits of `lines`. Any thread. */
void mips32_set_lines(struct mips32_vcpu *v, uint32_t bits, bool level);

/* ---- timer.c --------------------------------------------------------------------------------- */

void mips32_timer_init(struct mips32_vcpu *v);
void mips32_timer_free(struct mips32_vcpu *v);
uint32_t mips32_count(const struct mips32_vcpu *v); /* for who only looks on */
uint32_t mips32_read_count(struct mips32_vcpu *v);  /* and raise the interrupt if it is due */
void mips32_set_count(struct mips32_vcpu *v, uint32_t count);
void mips32_set_compare(struct mips32_vcpu *v, uint32_t compare); /* and lower the interrupt */
/* Cause.DC is going to change to `stopped`. */
void mips32_stop_count(struct mips32_vcpu *v, bool stopped);
void mips32_timer_arm(struct mips32_vcpu *v); /* after a change of anything it depends on */

#endif
