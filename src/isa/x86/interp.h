/* SPDX-License-Identifier: MIT */
/* The interpreter loop and what one shows of a processor: members of x86_isa. */
#ifndef RING3_ISA_X86_INTERP_H
#define RING3_ISA_X86_INTERP_H

#include "isa/x86/x86.h"

/* See isa_ops in ring3/isa.h. */
void x86_interpret(struct vcpu *v, uint64_t budget, struct vm_exit *x);
void x86_dump(const struct vcpu *v, FILE *out);
void x86_post_mortem(const struct vcpu *v, FILE *out);

#endif
