/* SPDX-License-Identifier: MIT */
/* What a thread's signal handler knows: a record at the bottom of the alternate stack. Inside
 * host/ only. */
#ifndef RING3_HOST_ALTSTACK_H
#define RING3_HOST_ALTSTACK_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

struct crash;
struct host_fault;

/* Written by its thread only, also while signals arrive: `opaque` is valid when `handler` is set.
 */
struct altstack {
    uint64_t magic;
    struct crash *crash; /* what to put in order; NULL: nothing */
    bool (*volatile handler)(void *opaque, const struct host_fault *f); /* NULL: none */
    void *volatile opaque;
    volatile sig_atomic_t reporting; /* a crash is being reported */
    stack_t before;                  /* the thread's alternate stack before ours */
};

/* The record on an alternate stack (as in uc_stack), or NULL if the stack is not ours.
 * Async-signal-safe. */
struct altstack *altstack_of(const stack_t *s);
/* The calling thread's, made if it has none. NULL with errno set. */
struct altstack *altstack_enter(void);
/* The calling thread's, or NULL. */
struct altstack *altstack_get(void);
/* Give the thread its former alternate stack back once nothing is in the record. */
void altstack_leave(struct altstack *s);

#endif
