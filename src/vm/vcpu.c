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
 * and futex_wait returns at once if the word is no longer what was just read. */
#include "ring3/vcpu.h"

#include <limits.h>
#include <linux/futex.h>
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
    if ((old & bits) != bits && atomic_load(&v->asleep))
        futex_wake(&v->attention);
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
