/* SPDX-License-Identifier: MIT */
/* The part of a processor's state that exists for generated code: see translate.h. */
#ifndef RING3_ISA_MIPS32_GEN_H
#define RING3_ISA_MIPS32_GEN_H

#include <stdint.h>

struct mips32_translator;
struct mips32_views;

/* An access that its view did not show, told to the next mips32_views_prepare(). */
enum mips32_want { MIPS32_WANT_NONE, MIPS32_WANT_READ, MIPS32_WANT_WRITE };

#define MIPS32_FP_NOTHING 1u /* no instruction of coprocessor 1 */

struct mips32_gen {
    uint64_t callout;  /* address of mips32_callout */
    uint64_t view;     /* r15: flat table of the current space */
    uint64_t rax, rdx; /* kept while a division uses them */
    uint32_t target;   /* of a jump whose delay slot changes its register */
    uint32_t taken;    /* likewise, the condition of a branch */
    uint32_t csr;      /* MXCSR of generated code, in whose flags is what has been raised */
    struct {           /* the last arithmetic of coprocessor 1; word 0: FCSR is exact */
        uint32_t word; /* the instruction, or MIPS32_FP_NOTHING: one that raised nothing */
        uint64_t operand[3];
    } fp;
    uint32_t want_va, want; /* enum mips32_want */
    struct mips32_translator *translator;
    struct mips32_views *views; /* NULL: no translator is attached */
};

#endif
