/* SPDX-License-Identifier: MIT */
/* lock_mips_random's programs: random instructions from the rows of the instruction set, with
 * operands that lead them to where something happens. */
#ifndef RING3_TESTS_DIFF_LOCK_MIPS_PROGRAM_H
#define RING3_TESTS_DIFF_LOCK_MIPS_PROGRAM_H

#include "lock_mips_machine.h"

struct lock_mips_generator;
struct lock_mips_generator *lock_mips_generator_new(struct err *e); /* NULL on error */
void lock_mips_generator_free(struct lock_mips_generator *g);

/* A program is a function of seed and index (and of the compiler: it chooses in which order the
 * parts of an expression draw their numbers). */
void lock_mips_generate(struct lock_mips_generator *g, uint64_t seed, uint64_t index,
                        unsigned model, struct lock_mips_program *p);
/* Its TLB, registers and instructions, one a line. */
void lock_mips_print_program(const struct lock_mips_generator *g, const struct lock_mips_program *p,
                             FILE *out);
/* How many instructions of the set were in no program so far; prints their names to `out`, if that
 * is not NULL. */
unsigned lock_mips_missing(const struct lock_mips_generator *g, FILE *out);

#endif
