/* SPDX-License-Identifier: MIT */
/* The alternate signal stack of a thread, and a record at its bottom.
 *
 * A signal handler gets no argument of ours, and ring3 keeps no globals. But every thread has
 * its own alternate signal stack, whose address the kernel passes to the handler in uc_stack; so
 * what the handler must know lies at the bottom of that stack, behind a magic word. */
#include "host/altstack.h"

#include <stddef.h>
#include <sys/mman.h>

#define STACK_BYTES (64 * 1024)
#define STACK_MAGIC UINT64_C(0x7233637261736821)

struct altstack *altstack_of(const stack_t *s)
{
    if (s->ss_flags & SS_DISABLE || !s->ss_sp || s->ss_size != STACK_BYTES)
        return NULL;
    struct altstack *record = s->ss_sp;
    return record->magic == STACK_MAGIC ? record : NULL;
}

struct altstack *altstack_get(void)
{
    stack_t now;
    return sigaltstack(NULL, &now) < 0 ? NULL : altstack_of(&now);
}

struct altstack *altstack_enter(void)
{
    stack_t before;
    if (sigaltstack(NULL, &before) < 0)
        return NULL;
    if (altstack_of(&before))
        return before.ss_sp;
    struct altstack *record =
        mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (record == MAP_FAILED)
        return NULL;
    *record = (struct altstack){.magic = STACK_MAGIC, .before = before};
    stack_t s = {.ss_sp = record, .ss_size = STACK_BYTES};
    if (sigaltstack(&s, NULL) == 0)
        return record;
    munmap(record, STACK_BYTES);
    return NULL;
}

void altstack_leave(struct altstack *s)
{
    if (s->crash || s->handler)
        return;
    stack_t before = s->before;
    before.ss_flags &= SS_DISABLE;
    if (sigaltstack(&before, NULL) == 0)
        munmap(s, STACK_BYTES);
}
