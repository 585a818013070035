/* SPDX-License-Identifier: MIT */
/* lock_random's programs: a case of the oracle's generator between snippets of its own. */
#ifndef RING3_TESTS_DIFF_LOCK_PROGRAM_H
#define RING3_TESTS_DIFF_LOCK_PROGRAM_H

#include "lock_machine.h"

/* A program is a function of seed and index. */
void lock_generate(struct or_generator *g, uint64_t seed, uint64_t index, struct lock_program *p);
/* Disassemble it, one instruction a line. */
void lock_print_program(const struct lock_program *p, FILE *out);

#endif
