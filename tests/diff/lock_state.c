/* SPDX-License-Identifier: MIT */
/* Lock-step comparison: registers as a list of words with names, and the reference's way to
 * the place where the other processor is. */
#include "lock.h"

#include <inttypes.h>
#include <string.h>

static const struct lock_isa *const isas[] = {&lock_x86, &lock_mips32};

const struct lock_isa *lock_isa_of(const struct vcpu *v)
{
    for (unsigned i = 0; i < ARRAY_LEN(isas); i++)
        if (isas[i]->ops == v->isa)
            return isas[i];
    return NULL;
}

uint64_t lock_digest(uint64_t h, const uint32_t *x, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        h = (h ^ x[i]) * UINT64_C(0x100000001b3);
    return h;
}

void lock_capture(struct vcpu *v, unsigned fault_base, struct lock_state *s)
{
    memset(s, 0, sizeof *s);
    s->isa = lock_isa_of(v);
    if (s->isa->park)
        s->isa->park(v);
    s->isa->capture(v, fault_base, s);
}

unsigned lock_faults(const struct vcpu *v)
{
    return lock_isa_of(v)->faults(v);
}

bool lock_same(const struct lock_state *a, const struct lock_state *b)
{
    return !memcmp(a->word, b->word, a->isa->words * sizeof a->word[0]);
}

void lock_print(FILE *out, const struct lock_state *a, const struct lock_state *b, bool all)
{
    char text[32];
    fprintf(out, "    %-13s %16s %16s\n", "", "reference", "engine");
    for (unsigned i = 0; i < a->isa->words; i++)
        if (all || a->word[i] != b->word[i])
            fprintf(out, "    %-13s %16" PRIx64 " %16" PRIx64 "%s\n",
                    a->isa->word_name(i, text, sizeof text), a->word[i], b->word[i],
                    a->word[i] != b->word[i] ? "   <--" : "");
}

bool lock_same_quick(const struct vcpu *a, const struct vcpu *b)
{
    return lock_isa_of(a)->same_quick(a, b);
}

/* ---- how far -------------------------------------------------------------------------------- */

struct lock_place lock_place(const struct vcpu *v)
{
    return (struct lock_place){lock_isa_of(v)->retired(v), v->stats.exits[EXIT_EXCEPTION],
                               v->stats.exits[EXIT_INTERRUPT]};
}

struct lock_place lock_distance(struct lock_place now, struct lock_place then)
{
    return (struct lock_place){now.retired - then.retired, now.exceptions - then.exceptions,
                               now.interrupts - then.interrupts};
}

/* Where there are pauses the reference may be ahead by its own count; where it is then shows in the
 * registers. */
bool lock_follow(struct vcpu *a, const struct vcpu *b, struct lock_place from_a,
                 struct lock_place distance, bool ended, bool exact, struct vm_exit *x)
{
    const struct lock_isa *isa = lock_isa_of(a);
    int64_t pauses = exact ? 0 : isa->pauses;
    *x = (struct vm_exit){.kind = EXIT_ATTENTION};
    for (;;) {
        struct lock_place d = lock_distance(lock_place(a), from_a);
        int64_t ahead = (int64_t)(d.retired - distance.retired);
        if (ahead > pauses || d.exceptions > distance.exceptions ||
            d.interrupts > distance.interrupts)
            return false;
        if (ahead >= 0 && d.exceptions == distance.exceptions &&
            d.interrupts == distance.interrupts && ended == (x->kind != EXIT_ATTENTION) &&
            (!pauses || isa->same_quick(a, b)))
            return true;
        if (x->kind != EXIT_ATTENTION)
            return false;
        pauses += isa->interpret(a, exact || ahead >= 0 ? 1 : (uint64_t)-ahead, x);
    }
}
