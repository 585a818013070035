/* SPDX-License-Identifier: MIT */
/* An instruction set: how to make, reset, run and show a processor of it. The interpreter behind
 * interpret() is the only instruction emulator; translators may decline, it may not. */
#ifndef RING3_ISA_H
#define RING3_ISA_H

#include <stdio.h>

#include "ring3/err.h"
#include "ring3/types.h"

struct isa_debug;
struct isa_translator;
struct state_field; /* ring3/dev.h */
struct vcpu;
struct vm_exit;

/* Parts of the VM a processor is wired to. All outlive it. */
struct vcpu_wiring {
    struct phys *mem;
    struct bus *mmio, *pio;
    struct clock *clock;
    const struct log *log;
};

struct isa_ops {
    const char *name;                        /* "x86" */
    const struct isa_translator *translator; /* ring3/translate.h; NULL if it has none */
    const struct isa_debug *debug;           /* ring3/debug.h; NULL: no debugger can look */
    struct vcpu *(*vcpu_new)(const struct vcpu_wiring *w, unsigned index, struct err *e);
    void (*vcpu_free)(struct vcpu *v);
    void (*reset)(struct vcpu *v); /* architectural power-up state */

    /* Interpret at most `budget` instructions, delivering exceptions and interrupts on the way.
     * Fills *x; x->kind is EXIT_ATTENTION when the budget ran out or ATTN_STOP is set. State is
     * precise on return, but for what an engine asked the ISA to leave in the host's registers.
     * vCPU thread. */
    void (*interpret)(struct vcpu *v, uint64_t budget, struct vm_exit *x);

    /* What a snapshot holds of a processor: fields of the ISA's struct, offsets from its struct
     * vcpu. NULL: this ISA has no snapshots. The three below it: while the processor stands at an
     * instruction boundary; may be NULL.
     * parked: bring into *v what is kept elsewhere, such as in the host's registers; vCPU thread.
     * restored: the table was written, into a processor that has not run yet: nothing in it is
     * trusted; derive what depends on it.
     * resumed: guest time has stood still; forget what was derived from the clock. */
    const struct state_field *(*state)(size_t *count);
    void (*parked)(struct vcpu *v);
    void (*restored)(struct vcpu *v);
    void (*resumed)(struct vcpu *v);

    uint64_t (*pc)(const struct vcpu *v);          /* linear address of the next instruction */
    void (*dump)(const struct vcpu *v, FILE *out); /* registers, readable */
    void (*post_mortem)(const struct vcpu *v, FILE *out); /* chain of faults, last branches */
};

#endif
