/* SPDX-License-Identifier: MIT */
/* The attention word: how other threads talk to a virtual processor.
 *
 * A running processor looks at the word between instructions, so setting a bit needs no system
 * call. A halted one sleeps in the kernel on the word itself (futex). No wake-up is lost:
 *
 *     attend: attention |= bits      wait: asleep = true
 *             if (asleep) wake             if (attention has bits) done, else futex_wait
 *
 * Both sides store before they load, sequentially consistent, so at least one sees the other;
 * and futex_wait returns at once if the word is no longer what was just read.
 *
 * Translated code does not look at the word. An engine that runs some sets vcpu.kick, which
 * interrupts the processor's thread by a signal if that is in translated code:
 *
 *     attend: attention |= bits      run: in_code = true
 *             if (asleep) wake            if (attention has bits) in_code = false, serve them
 *             else kick:                  else jump into the code
 *                 if (in_code) signal
 *
 * Again both sides store before they load, so either the engine sees the bits or kick() sees
 * in_code. A signal can come before the engine has got into the code. When it comes before the load
 * of attention, it may be ignored: the bits it speaks of were stored before it was sent, so
 * the load sees them. From that load on the signal handler must turn it into an exit, so the load
 * stands in the entry code, whose addresses the handler knows like those of translated code.
 * When `asleep` was seen set no kick is needed: the thread stores asleep = false and looks
 * at the word, in this order, before it runs code again. Nor is one for bits set already:
 * whoever set them has kicked or is about to, and the engine has looked since or will. */
#include "ring3/vcpu.h"

#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static void futex_wait(_Atomic uint32_t *word, uint32_t value, uint64_t timeout_ns)
{
    struct timespec t = {(time_t)(timeout_ns / NS_PER_SEC), (long)(timeout_ns % NS_PER_SEC)};
    syscall(SYS_futex, word, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, value,
            timeout_ns == UINT64_MAX ? NULL : &t, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, INT_MAX, NULL, NULL, 0);
}

void vcpu_attend(struct vcpu *v, uint32_t bits)
{
    uint32_t old = atomic_fetch_or(&v->attention, bits);
    if ((old & bits) == bits)
        return;
    if (atomic_load(&v->asleep))
        futex_wake(&v->attention);
    else if (v->kick && !pthread_equal(atomic_load(&v->runner), pthread_self()))
        v->kick(v);
}

void vcpu_unattend(struct vcpu *v, uint32_t bits)
{
    atomic_fetch_and(&v->attention, ~bits);
}

void vcpu_wait(struct vcpu *v, uint32_t bits, uint64_t timeout_ns)
{
    atomic_store(&v->asleep, true);
    for (;;) {
        uint32_t now = atomic_load(&v->attention);
        if (now & bits)
            break;
        futex_wait(&v->attention, now, timeout_ns); /* EAGAIN and EINTR: look again */
        if (timeout_ns != UINT64_MAX)
            break; /* how much is left is the caller's to know */
    }
    atomic_store(&v->asleep, false);
}
