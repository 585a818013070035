/* SPDX-License-Identifier: MIT */
/* Assembly labels around translated code (isa_translator in ring3/translate.h says what each is).
 */
#ifndef RING3_ISA_X86_TRANSLATE_ENTER_H
#define RING3_ISA_X86_TRANSLATE_ENTER_H

#include "isa/x86/x86.h"

uint64_t x86_enter(struct vcpu *v, const void *code, uintptr_t jump_table, uintptr_t reserve);
extern const uint8_t x86_exit[], x86_fault_exit[], x86_enter_begin[], x86_enter_end[],
    x86_enter_abort[], x86_callout[], x86_callout_begin[], x86_callout_end[], x86_callout_leave[];

/* What generated code can call without leaving (translate_callout.c). A function sees and may
 * change eax, ecx, edx, esp, esi, edi and the arithmetic flags in *v; of everything else it may
 * change only what no register holds. False: nothing was done, the interpreter must do it. It must
 * not touch XMM registers: its file says `#pragma GCC target("general-regs-only")` in front. */
typedef bool (*x86_callout_fn)(struct x86_vcpu *v, uint32_t operand);
enum x86_callout_number {
    X86_CALLOUT_LOAD = 0,    /* + enum x86_sreg, but not CS and SS: mov sreg, operand */
    X86_CALLOUT_POP = 8,     /* + enum x86_sreg: pop sreg, operand is what was on the stack */
    X86_CALLOUT_STRING = 16, /* translate_string.c */
    X86_CALLOUT_RDTSC,       /* no operand */
    X86_CALLOUT_POPF,        /* operand is what was on the stack */
    X86_CALLOUTS,
};
bool x86_callout_string(struct x86_vcpu *v, uint32_t op);
extern const x86_callout_fn x86_callouts[X86_CALLOUTS];

/* An interpreted load of segment register s has succeeded: remember for the next one. */
void x86_callout_remember(struct x86_vcpu *v, enum x86_sreg s);

#endif
