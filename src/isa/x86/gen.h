/* SPDX-License-Identifier: MIT */
/* The part of a processor's state that exists for generated code: see shadow.h, translate.h. */
#ifndef RING3_ISA_X86_GEN_H
#define RING3_ISA_X86_GEN_H

#include <stdint.h>

struct x86_shadow;

/* Read by generated code and enter.S. */
struct x86_gen {
    uint64_t view;       /* r15: (window base or flat table) | 12 of the current space */
    uint64_t window;     /* GS base: window of the current space, 0 if it has none */
    uint64_t select[4];  /* TB_SELECT: flat table | 12 by bits 31..30 of the address */
    uint64_t gs_current; /* GS base the thread has now */
    struct x86_shadow *shadow;
};

#endif
