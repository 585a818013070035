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
#include <unistd.h>

static long futex(_Atomic uint32_t *word, int op, uint32_t value)
{
    return syscall(SYS_futex, word, op | FUTEX_PRIVATE_FLAG, value, NULL, NULL, 0);
}

void vcpu_attend(struct vcpu *v, uint32_t bits)
{
    uint32_t old = atomic_fetch_or(&v->attention, bits);
    if ((old & bits) != bits && atomic_load(&v->asleep))
        futex(&v->attention, FUTEX_WAKE, INT_MAX);
}

void vcpu_unattend(struct vcpu *v, uint32_t bits)
{
    atomic_fetch_and(&v->attention, ~bits);
}

void vcpu_wait(struct vcpu *v, uint32_t bits)
{
    atomic_store(&v->asleep, true);
    for (;;) {
        uint32_t now = atomic_load(&v->attention);
        if (now & bits)
            break;
        futex(&v->attention, FUTEX_WAIT, now); /* EAGAIN and EINTR: look again */
    }
    atomic_store(&v->asleep, false);
}
