/* SPDX-License-Identifier: MIT */
/* What a run did, in numbers. */
#ifndef RING3_DEBUG_STATS_H
#define RING3_DEBUG_STATS_H

#include <stdio.h>

#include "ring3/vm.h"

/* A table for people, or one JSON object on one line. Exact once the vCPU thread has ended;
 * while it runs, a glance (counters are read as they are). */
void stats_print(const struct vm *vm, FILE *out);
void stats_print_json(const struct vm *vm, FILE *out);

#endif
