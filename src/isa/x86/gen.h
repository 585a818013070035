/* SPDX-License-Identifier: MIT */
/* The part of a processor's state that exists for generated code: see shadow.h, translate.h. */
#ifndef RING3_ISA_X86_GEN_H
#define RING3_ISA_X86_GEN_H

#include <stdbool.h>
#include <stdbool.h>
#include <stdint.h>

struct x86_shadow;
struct x86_translator;

#define X86_VIEW_TAG 12 /* low bits of view and select[]: the shift count of a page number */

/* A page that a call-out missed in a flat view. */
struct x86_want {
    uint32_t pc, next, lin; /* the instruction, the one behind it, the address */
    bool write, select, user, wanted;
};

#define X86_GEN_NO_BASE UINT64_C(0xffffffffffff0000) /* the host kernel's: always a page fault */

/* Read by generated code and translate_enter.c. */
struct x86_gen {
    uint64_t view;      /* r15: (window base or flat table) | 12 of the current space */
    uint64_t window;    /* GS base: window of the current space, 0 if it has none */
    uint64_t select[4]; /* TB_SELECT: flat table | 12 by bits 31..30 of the address */
    /* Where the bases of FS and GS are: seg[].base, or X86_GEN_NO_BASE, which faults, unless the
     * segment is one of 4 GiB that can be read and written without a check. */
    uint64_t base_at[2];
    uint64_t gs_current; /* GS base the thread has now */
    uint64_t callout;    /* address of x86_callout */
    uint64_t tsc_offset; /* the clock's TSC is the host's plus this, if tsc_is_host */
    bool tsc_is_host;
    struct x86_want want;
    struct x86_shadow *shadow;
    struct x86_translator *translator;
};

/* Called with every flush of the TLB, for views built from the same tables. NULL: none. */
struct x86_shadow_hooks {
    void (*flush)(void *opaque, bool keep_global);
    void (*flush_page)(void *opaque, uint32_t lin); /* with the whole large page around it */
    void *opaque;
};

#endif
