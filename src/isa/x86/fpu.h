/* SPDX-License-Identifier: MIT */
/* x87, MMX and SSE state (Intel SDM vol. 1 ch. 8-11). Instructions run on the host's own FPU:
 * x87 and MMX state stays live in the host's registers from the first such instruction until
 * x86_fpu_park(); XMM registers stay in memory (v->fx.xmm), since C code uses the host's. */
#ifndef RING3_ISA_X86_FPU_H
#define RING3_ISA_X86_FPU_H

#include "isa/x86/insn.h"

/* Bits of MXCSR a guest may set; the rest is #GP(0). What FXSAVE stores as MXCSR_MASK. */
#define X86_MXCSR_MASK 0xffffu

/* Power-up state (SDM vol. 3A table 9-1), parked. vCPU thread. */
void x86_fpu_reset(struct x86_vcpu *v);
/* Bring live host registers back into v->fx; the host FPU is then clean for anybody's C code.
 * To be called before v->fx is read outside interpret(), and before C code that computes with long
 * double; all other C code does not care. interpret() calls it when it returns unless
 * v->fpu.keep_live is set: an engine sets that whose own code runs with live state, since parking
 * and loading take some 100 ns, and then parks where needed. Cheap if not live. vCPU thread. */
void x86_fpu_park(struct x86_vcpu *v);
/* The reverse: guest x87/MMX state into the host's registers, if it is not there. */
void x86_fpu_load(struct x86_vcpu *v);

/* Guards before an instruction of each class, raising #NM, #UD or #MF as the manual says. The
 * first two also make the state live. False: the processor is frozen on an x87 error with CR0.NE
 * clear (FERR# is raised and eip put back): the handler must return at once. The handlers behind
 * x86_ops_x87, _mmx and _sse call them themselves. */
bool x86_fpu_guard(struct x86_vcpu *v) __attribute__((warn_unused_result));
bool x86_mmx_guard(struct x86_vcpu *v) __attribute__((warn_unused_result));
void x86_sse_guard(struct x86_vcpu *v);

/* Only the check for a pending x87 error, on live state: what FWAIT does. As above. */
bool x86_fpu_wait(struct x86_vcpu *v);
/* Whether one is pending, in live state. */
bool x86_fpu_pending(const struct x86_vcpu *v);

/* The handler of every MMX, SSE and SSE2 instruction with an MMX or XMM operand. */
void x86_simd_exec(struct x86_vcpu *v, const struct x86_insn *in);

#endif
