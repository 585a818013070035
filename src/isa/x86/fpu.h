/* SPDX-License-Identifier: MIT */
/* x87, MMX and SSE state (Intel SDM vol. 1 ch. 8-11). Instructions run on the host's own FPU:
 * x87 and MMX state stays live in the host's registers from the first such instruction until
 * x86_fpu_park(); XMM registers stay in memory (v->fx.xmm), since C code uses the host's. */
#ifndef RING3_ISA_X86_FPU_H
#define RING3_ISA_X86_FPU_H

#include "isa/x86/insn.h"

/* Power-up state (SDM vol. 3A table 9-1). */
void x86_fpu_reset(struct x86_vcpu *v);
/* Bring live host registers back into v->fx; the host FPU is then clean for anybody's C code.
 * Must be called before interpret() returns and before v->fx is read elsewhere. Cheap if not
 * live. vCPU thread. */
void x86_fpu_park(struct x86_vcpu *v);

/* Guards before an instruction of each class, raising #NM, #UD or #MF as the manual says. */
void x86_fpu_guard(struct x86_vcpu *v, const struct x86_insn *in);
void x86_mmx_guard(struct x86_vcpu *v, const struct x86_insn *in);
void x86_sse_guard(struct x86_vcpu *v, const struct x86_insn *in);

#endif
