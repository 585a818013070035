/* SPDX-License-Identifier: MIT */
/* Try an access that may fault: for tests of memory views. One thread, one fault at a time. The
 * accesses are instructions of their own so that sanitizers do not check the address first. */
#ifndef RING3_TESTS_TRY_ACCESS_H
#define RING3_TESTS_TRY_ACCESS_H

#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

static sigjmp_buf try_back;

static void try_failed(int sig)
{
    (void)sig;
    siglongjmp(try_back, 1);
}

static inline void try_catch(struct sigaction *old)
{
    struct sigaction sa = {.sa_handler = try_failed};

    sigemptyset(&sa.sa_mask);
    sigaction(SIGSEGV, &sa, old);
}

/* Load four bytes; false if that faulted. */
static inline bool try_load(uintptr_t at, uint32_t *value)
{
    struct sigaction old;
    volatile bool ok = false;

    try_catch(&old);
    if (!sigsetjmp(try_back, 1)) {
        uint32_t got;
        __asm__ volatile("movl (%1), %0" : "=r"(got) : "r"(at) : "memory");
        *value = got;
        ok = true;
    }
    sigaction(SIGSEGV, &old, NULL);
    return ok;
}

static inline bool try_store(uintptr_t at, uint32_t value)
{
    struct sigaction old;
    volatile bool ok = false;

    try_catch(&old);
    if (!sigsetjmp(try_back, 1)) {
        __asm__ volatile("movl %0, (%1)" : : "r"(value), "r"(at) : "memory");
        ok = true;
    }
    sigaction(SIGSEGV, &old, NULL);
    return ok;
}

#endif
