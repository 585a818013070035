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

/* Set the hidden part from a descriptor (byte-granular limit); does not touch the selector or
 * call x86_seg_changed. */
void x86_seg_from_desc(struct x86_seg *s, uint32_t lo, uint32_t hi);
/* Real-mode or v8086 load: base = sel << 4. Real mode keeps limit and attributes of data
 * segments ("unreal" mode works); v8086 sets 64 KiB and DPL 3. */
void x86_load_seg_real(struct x86_vcpu *v, enum x86_sreg s, uint16_t sel);
/* MOV/POP to ES, SS, DS, FS, GS in the current mode with all checks; sets accessed bits. */
void x86_load_seg(struct x86_vcpu *v, enum x86_sreg s, uint16_t sel);
/* Read the descriptor a selector names; raises `vector`(sel) when outside its table or null. */
struct x86_desc x86_fetch_desc(struct x86_vcpu *v, uint16_t sel, enum x86_vector vector);
/* Change the privilege level (and everything derived). */
void x86_set_cpl(struct x86_vcpu *v, unsigned cpl);
/* I/O permission: #GP(0) unless CPL <= IOPL (protected mode) or the TSS bitmap allows. */
void x86_check_io(struct x86_vcpu *v, uint16_t port, unsigned size);

/* ---- event.c ----------------------------------------------------------------------------------- */

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

/* ---- task.c ------------------------------------------------------------------------------------ */

enum x86_task_cause { X86_TASK_JUMP, X86_TASK_CALL, X86_TASK_IRET, X86_TASK_GATE_EVENT };
/* Hardware task switch to the TSS `sel`. For events with an error code, it is pushed on the new
 * task's stack. */
void x86_task_switch(struct x86_vcpu *v, uint16_t sel, enum x86_task_cause cause, bool has_error,
                     uint32_t error);

#endif
