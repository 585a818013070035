/* SPDX-License-Identifier: MIT */
/* Lock-step comparison of two engines: what lock_random, lock_boot and their parts share.
 *
 * The reference is the interpreter, the other side a translating engine with the options `single`
 * and `count`: its run() comes back after each translation and has counted what it retired. The
 * reference then goes exactly as far (lock_follow), and the registers must be equal. */
#ifndef RING3_TESTS_DIFF_LOCK_H
#define RING3_TESTS_DIFF_LOCK_H

#include <stdio.h>

#include "ring3/engine.h"

#define LOCK_SKIP 77 /* exit status: this host cannot */

/* ---- registers: lock_state.c ------------------------------------------------------------------
 */

struct lock_isa;

#define LOCK_WORDS_MAX 256
struct lock_state {
    const struct lock_isa *isa;
    uint64_t word[LOCK_WORDS_MAX];
};

/* Everything the guest can see of its processor but what its struct lock_isa leaves out, plus the
 * number and contents of the faults it took since fault_base (a value of lock_faults()). Parks the
 * processor. */
void lock_capture(struct vcpu *v, unsigned fault_base, struct lock_state *s);
unsigned lock_faults(const struct vcpu *v);
bool lock_same(const struct lock_state *a, const struct lock_state *b);
/* The registers whose values differ; with `all` the others, too. Columns: reference, engine. */
void lock_print(FILE *out, const struct lock_state *a, const struct lock_state *b, bool all);
/* What most instructions change only: cheap enough for every block. */
bool lock_same_quick(const struct vcpu *a, const struct vcpu *b);
/* FNV-1a: `h` is the digest of what came before, LOCK_DIGEST at first. */
#define LOCK_DIGEST UINT64_C(0xcbf29ce484222325)
uint64_t lock_digest(uint64_t h, const uint32_t *x, unsigned n);

/* ---- how far a processor has come: lock_state.c -----------------------------------------------
 */

struct lock_place {
    uint64_t retired, exceptions, interrupts;
};
struct lock_place lock_place(const struct vcpu *v);
/* now - then, field by field. */
struct lock_place lock_distance(struct lock_place now, struct lock_place then);

/* Interpret on `a` until it has come as far as `b`, which has covered `distance` since both were
 * equal; from_a is a's place then. `ended`: b's run() came back with something else than
 * EXIT_ATTENTION, and a has to get there, too. `exact`: instruction by instruction; otherwise
 * faster, and where it fails a may have gone beyond the place. False: it cannot be brought there,
 * so the two differ. *x is a's last exit. */
bool lock_follow(struct vcpu *a, const struct vcpu *b, struct lock_place from_a,
                 struct lock_place distance, bool ended, bool exact, struct vm_exit *x);

/* ---- what differs by instruction set: lock_x86.c, lock_mips32.c -------------------------------
 */

struct lock_isa {
    const struct isa_ops *ops;
    unsigned words; /* of lock_state.word */
    const char *(*word_name)(unsigned i, char *text, size_t size);
    void (*capture)(struct vcpu *v, unsigned fault_base, struct lock_state *s);
    unsigned (*faults)(const struct vcpu *v); /* taken so far */
    bool (*same_quick)(const struct vcpu *a, const struct vcpu *b);
    uint64_t (*retired)(const struct vcpu *v);
    /* Interpret up to n instructions, or deliver one exception. True: it ended with a pause inside
     * of an instruction, which counts as one more than there are; `pauses` of them may go unnoticed
     * in a long stretch. */
    bool (*interpret)(struct vcpu *v, uint64_t n, struct vm_exit *x);
    int64_t pauses;
    void (*park)(struct vcpu *v);  /* bring in what is in the host's registers; may be NULL */
    void (*spoil)(struct vcpu *v); /* flip a bit of a register */
    /* Take over what is compared, but is no part of a snapshot. */
    void (*adopt)(struct vcpu *to, const struct vcpu *from);
};
extern const struct lock_isa lock_x86, lock_mips32;
const struct lock_isa *lock_isa_of(const struct vcpu *v);

#endif
