/* SPDX-License-Identifier: MIT */
/* What generated code sees of memory: see views.c. vCPU thread. */
#ifndef RING3_ISA_MIPS32_VIEWS_H
#define RING3_ISA_MIPS32_VIEWS_H

#include "isa/mips32/cpu.h"
#include "ring3/translate.h"

struct mips32_views *mips32_views_new(struct mips32_vcpu *v, const struct dbt_hooks *h,
                                      struct err *e);
void mips32_views_free(struct mips32_views *s);

/* Make the view of the current mode and ASID current; the access that was wanted last is shown, if
 * the guest may make it now. Returns the space; -1: no memory for a view. */
int mips32_views_prepare(struct mips32_vcpu *v);

/* The current translation of this TLB entry goes. */
void mips32_views_drop_entry(struct mips32_vcpu *v, const struct mips32_tlb_entry *t);
/* The kernel's mapped pages are of another ASID from now on: these pages go; va NULL: all do. */
void mips32_views_leave_asid(struct mips32_vcpu *v, const uint32_t *va, unsigned count);
/* Stores to this page must be seen. */
void mips32_views_protect(struct mips32_vcpu *v, gpfn_t page);
void mips32_views_drop_all(struct mips32_vcpu *v);

void mips32_views_figures(const struct mips32_views *s, const struct figure_sink *to);

#endif
