/* SPDX-License-Identifier: MIT */
/* Where the processor looks for a debugger's points (debugger.c). */
#ifndef RING3_ISA_X86_DEBUGGER_H
#define RING3_ISA_X86_DEBUGGER_H

#include "isa/x86/x86.h"

extern const struct isa_debug x86_debug;

/* At a boundary: leave with EXIT_DEBUG? */
bool x86_debugger_stops(struct x86_vcpu *v);
/* An access to [at, at+n), when there are watches: the stop comes after the instruction. */
void x86_debugger_access(struct x86_vcpu *v, uint32_t at, unsigned n, bool write);

static inline bool x86_debugger_active(const struct x86_vcpu *v)
{
    return v->debugger.points || v->debugger.step || v->debugger.stopped;
}

#endif
