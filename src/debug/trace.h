/* SPDX-License-Identifier: MIT */
/* `--trace`: one line on stderr per event. */
#ifndef RING3_DEBUG_TRACE_H
#define RING3_DEBUG_TRACE_H

#include "ring3/vm.h"

/* "exits,io" and the like to TRACE_* bits, added to *events. 0 or -EINVAL. */
int trace_parse(const char *list, uint32_t *events, struct err *e);

struct trace;
/* Between vm_build and vm_run. NULL on error. Freed after vm_free. */
struct trace *trace_attach(struct vm *vm, uint32_t events, struct err *e);
void trace_free(struct trace *t);

#endif
