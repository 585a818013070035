/* SPDX-License-Identifier: MIT */
/* Segmentation and events: descriptor loads, privilege changes, interrupt and exception
 * delivery, task switches (Intel SDM vol. 3A ch. 3, 5, 6, 7). */
#ifndef RING3_ISA_X86_TRAP_H
#define RING3_ISA_X86_TRAP_H

#include "isa/x86/x86.h"

/* ---- segment.c ------------------------------------------------------------------------------- */

struct x86_desc { /* a raw descriptor and where it is */
    uint32_t lo, hi;
    uint32_t lin; /* linear address in GDT or LDT */
};

/* System descriptor types (SDM vol. 3A table 3-2); the S bit is 0. */
enum x86_sys_type {
    X86_TSS16 = 1,
    X86_LDT = 2,
    X86_TSS16_BUSY = 3,
    X86_CALL_GATE16 = 4,
    X86_TASK_GATE = 5,
    X86_INT_GATE16 = 6,
    X86_TRAP_GATE16 = 7,
    X86_TSS32 = 9,
    X86_TSS32_BUSY = 11,
    X86_CALL_GATE32 = 12,
    X86_INT_GATE32 = 14,
    X86_TRAP_GATE32 = 15,
};
#define X86_TYPE_BUSY 2u /* bit of a TSS type */
#define X86_TYPE_32   8u /* bit of a TSS or gate type */

/* Access-rights of a raw descriptor in the form of x86_seg.attr. */
static inline uint16_t x86_desc_attr(const struct x86_desc *d)
{
    return (uint16_t)(d->hi >> 8 & 0xf0ff);
}
static inline unsigned x86_desc_type(const struct x86_desc *d)
{
    return d->hi >> 8 & SEG_TYPE;
}
static inline unsigned x86_desc_dpl(const struct x86_desc *d)
{
    return d->hi >> 13 & 3;
}
static inline bool x86_desc_present(const struct x86_desc *d)
{
    return d->hi >> 8 & SEG_P;
}
static inline bool x86_desc_is_code(const struct x86_desc *d)
{
    return (d->hi >> 8 & (SEG_S | SEG_CODE)) == (SEG_S | SEG_CODE);
}
static inline bool x86_desc_is_conforming(const struct x86_desc *d)
{
    return x86_desc_is_code(d) && (d->hi >> 8 & SEG_CONFORMING);
}

/* Error code of a fault that concerns a selector: index, TI, and EXT while an exception or an
 * external interrupt is being delivered. */
static inline uint32_t x86_sel_error(const struct x86_vcpu *v, uint16_t sel)
{
    return (sel & 0xfffcu) | v->delivering_external;
}
/* Raise `vector` with that error code. sel 0 for faults that concern no selector. */
_Noreturn void x86_raise_sel(struct x86_vcpu *v, enum x86_vector vector, uint16_t sel);

/* Set the hidden part from a descriptor (byte-granular limit); does not touch the selector or
 * call x86_seg_changed. */
void x86_seg_from_desc(struct x86_seg *s, uint32_t lo, uint32_t hi);
/* Real-mode or v8086 load: base = sel << 4. Real mode keeps limit and attributes of data
 * segments ("unreal" mode works); v8086 sets 64 KiB and DPL 3. Calls x86_seg_changed. */
void x86_load_seg_real(struct x86_vcpu *v, enum x86_sreg s, uint16_t sel);
/* MOV/POP to ES, SS, DS, FS, GS in the current mode with all checks; sets accessed bits. */
void x86_load_seg(struct x86_vcpu *v, enum x86_sreg s, uint16_t sel);
/* Read the descriptor a selector names; raises `vector`(sel) when outside its table or null. */
struct x86_desc x86_fetch_desc(struct x86_vcpu *v, uint16_t sel, enum x86_vector vector);
/* Change the privilege level (and everything derived). */
void x86_set_cpl(struct x86_vcpu *v, unsigned cpl);
/* I/O permission: #GP(0) unless CPL <= IOPL (protected mode) or the TSS bitmap allows. */
void x86_check_io(struct x86_vcpu *v, uint16_t port, unsigned size);

/* The functions below build a segment register's new contents and commit nothing to *v (setting
 * accessed bits in memory apart), so that a far transfer can do all its checks first. */

/* Selector and hidden part of a code or data descriptor; sets its accessed bit in memory. */
struct x86_seg x86_seg_build(struct x86_vcpu *v, uint16_t sel, const struct x86_desc *d);
/* What a real-mode (or v8086) load of `old` makes. */
struct x86_seg x86_seg_real(const struct x86_seg *old, uint16_t sel, bool v86);
/* A data or readable code segment for ES, DS, FS, GS at privilege cpl; null makes an unusable
 * one. Faults: vector(sel), #NP(sel). */
struct x86_seg x86_data_seg(struct x86_vcpu *v, uint16_t sel, unsigned cpl, enum x86_vector vector);
/* A stack segment for privilege cpl. Faults: vector(sel), #SS(sel) when not present. */
struct x86_seg x86_stack_seg(struct x86_vcpu *v, uint16_t sel, unsigned cpl,
                             enum x86_vector vector);

/* A stack under construction. SS and eSP change only in x86_stack_commit(). */
struct x86_stack {
    struct x86_seg ss;
    unsigned cpl;           /* privilege of the accesses */
    uint32_t sp, mask;      /* mask by ss's B bit */
    enum x86_vector vector; /* of limit faults, with error */
    uint32_t error;
};
/* The stack in SS:eSP; limit faults are #SS(0). */
struct x86_stack x86_stack_current(const struct x86_vcpu *v);
/* The stack the TSS has for an inner privilege level (SDM vol. 3A 5.8.5); #TS if it is bad. */
struct x86_stack x86_stack_inner(struct x86_vcpu *v, unsigned cpl);
void x86_stack_push(struct x86_vcpu *v, struct x86_stack *st, unsigned size, uint32_t x);
uint32_t x86_stack_pop(struct x86_vcpu *v, struct x86_stack *st, unsigned size);
/* SS and eSP; the caller ends with x86_set_cpl or x86_update_mode. */
void x86_stack_commit(struct x86_vcpu *v, const struct x86_stack *st);

/* ---- far.c ----------------------------------------------------------------------------------- */

/* Flags an IRET may load, before privilege takes some away. VM, VIF and VIP come on top where
 * they are allowed. */
#define X86_FLAGS (FL_ARITH | FL_TF | FL_IF | FL_DF | FL_IOPL | FL_NT | FL_RF | FL_AC | FL_ID)

/* Continue at cs:eip at privilege cpl and log the branch. Recomputes what depends on the mode if
 * cpl changes. Last step of a far transfer: all checks made, flags and other segments set. */
void x86_commit_code(struct x86_vcpu *v, const struct x86_seg *cs, unsigned cpl, uint32_t eip);

/* ---- event.c --------------------------------------------------------------------------------- */

enum x86_event {
    X86_EVENT_FAULT,    /* processor exception: eip is restored to insn_eip for faults */
    X86_EVENT_EXTERNAL, /* interrupt line or NMI */
    X86_EVENT_SOFTWARE, /* INT n, INT3, INTO: gate DPL is checked */
};

/* Deliver v->fault. Applies the double-fault table against v->delivering, counts and logs it,
 * restores eip, leaves with EXIT_SHUTDOWN on a triple fault. May itself fault (unwinds again;
 * the loop then calls it once more). */
void x86_deliver_fault(struct x86_vcpu *v);
/* Deliver an external interrupt or NMI at an instruction boundary (v->eip is the return). */
void x86_deliver_external(struct x86_vcpu *v, uint8_t vector);
/* INT n and friends, from a handler (v->eip behind the instruction). */
void x86_deliver_software(struct x86_vcpu *v, uint8_t vector);
/* INT1 (opcode F1): #DB without a gate privilege check. */
void x86_deliver_int1(struct x86_vcpu *v);
/* The real-mode way through the vector table at linear address `table`, as real mode and the
 * redirected INT n of v8086 mode with CR4.VME use it; `flags` is the image to push, `clear` the
 * flags to clear. */
void x86_deliver_real(struct x86_vcpu *v, uint8_t vector, uint32_t table, uint16_t flags,
                      uint32_t clear);

/* ---- task.c ---------------------------------------------------------------------------------- */

enum x86_task_cause { X86_TASK_JUMP, X86_TASK_CALL, X86_TASK_IRET, X86_TASK_GATE_EVENT };
/* Hardware task switch to the TSS `sel`. For events with an error code, it is pushed on the new
 * task's stack. */
void x86_task_switch(struct x86_vcpu *v, uint16_t sel, enum x86_task_cause cause, bool has_error,
                     uint32_t error);

#endif
