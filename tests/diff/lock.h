/* SPDX-License-Identifier: MIT */
/* Lock-step comparison of two engines: what lock_random, lock_boot and their parts share.
 *
 * The reference is the interpreter, the other side a translating engine with the options `single`
 * and `count`: its run() comes back after each translation and has counted what it retired. The
 * reference then goes exactly as far (lock_follow), and the registers must be equal. */
#ifndef RING3_TESTS_DIFF_LOCK_H
#define RING3_TESTS_DIFF_LOCK_H

#include <stdio.h>

#include "isa/x86/x86.h"
#include "ring3/engine.h"

#define LOCK_SKIP 77 /* exit status: this host cannot */

/* ---- lock_state.c: registers ------------------------------------------------------------------
 */

#define LOCK_WORDS_MAX 160
struct lock_state {
    uint64_t word[LOCK_WORDS_MAX];
};

/* Everything the guest can see of its processor but where the FPU last ran (FIP, FDP, FOP), plus
 * the number and contents of the faults it took since fault_base (a value of fault_next). Parks the
 * FPU. */
void lock_capture(struct x86_vcpu *v, unsigned fault_base, struct lock_state *s);
bool lock_same(const struct lock_state *a, const struct lock_state *b);
/* The registers whose values differ; with `all` the others, too. Columns: reference, engine. */
void lock_print(FILE *out, const struct lock_state *a, const struct lock_state *b, bool all);
/* General registers, eip and EFLAGS only: cheap enough for every block. */
bool lock_same_quick(const struct x86_vcpu *a, const struct x86_vcpu *b);

/* ---- lock_state.c: how far a processor has come -----------------------------------------------
 */

struct lock_place {
    uint64_t retired, exceptions, interrupts;
};
struct lock_place lock_place(const struct x86_vcpu *v);
/* now - then, field by field. */
struct lock_place lock_distance(struct lock_place now, struct lock_place then);

/* Interpret on `a` until it has come as far as `b`, which has covered `distance` since both were
 * equal; from_a is a's place then. `ended`: b's run() came back with something else than
 * EXIT_ATTENTION, and a has to get there, too. `exact`: instruction by instruction; otherwise
 * faster, and where it fails a may have gone beyond the place. False: it cannot be brought there,
 * so the two differ. *x is a's last exit. */
bool lock_follow(struct x86_vcpu *a, const struct x86_vcpu *b, struct lock_place from_a,
                 struct lock_place distance, bool ended, bool exact, struct vm_exit *x);

#endif
