/* SPDX-License-Identifier: MIT */
/* Where the processor looks for a debugger's points (debugger.c). */
#ifndef RING3_ISA_MIPS32_DEBUGGER_H
#define RING3_ISA_MIPS32_DEBUGGER_H

#include "isa/mips32/cpu.h"

extern const struct isa_debug mips32_debug;

/* At a boundary: leave with EXIT_DEBUG? */
bool mips32_debugger_stops(struct mips32_vcpu *v);
/* An access to [va, va+n), when there are watches: the stop comes after the instruction. */
void mips32_debugger_access(struct mips32_vcpu *v, uint32_t va, unsigned n, bool write);
/* Keep MIPS32_ATTN_DEBUG true. */
void mips32_update_debug(struct mips32_vcpu *v);

#endif
