/* SPDX-License-Identifier: MIT */
/* OR of interrupt lines: see ring3/devices/irq_or.h. The lock is held while the output is set, so
 * that its level is always that of the inputs; below the devices' locks, above the controllers'. */
#include "ring3/devices/irq_or.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

struct irq_or {
    struct device d;
    struct irq_line out;
    pthread_mutex_t lock;
    uint32_t inputs; /* under it: bit n is the level of input n */
};

static void set_input(void *opaque, unsigned n, int level)
{
    struct irq_or *s = opaque;
    uint32_t bit = UINT32_C(1) << n;

    pthread_mutex_lock(&s->lock);
    s->inputs = level ? s->inputs | bit : s->inputs & ~bit;
    irq_set(&s->out, s->inputs != 0);
    pthread_mutex_unlock(&s->lock);
}

struct irq_line irq_or_input(struct device *d, unsigned n)
{
    return n < IRQ_OR_INPUTS ? (struct irq_line){set_input, d, n} : (struct irq_line){0};
}

static void irq_or_reset(struct device *d)
{
    struct irq_or *s = container_of(d, struct irq_or, d);

    pthread_mutex_lock(&s->lock);
    s->inputs = 0;
    irq_set(&s->out, 0);
    pthread_mutex_unlock(&s->lock);
}

static void irq_or_restored(struct device *d)
{
    struct irq_or *s = container_of(d, struct irq_or, d);

    pthread_mutex_lock(&s->lock);
    irq_set(&s->out, s->inputs != 0);
    pthread_mutex_unlock(&s->lock);
}

static void irq_or_free(struct device *d)
{
    struct irq_or *s = container_of(d, struct irq_or, d);

    pthread_mutex_destroy(&s->lock);
    free(s);
}

static const struct state_field state[] = {STATE(struct irq_or, inputs)};
static const struct device_ops ops = {.name = "irq-or",
                                      .reset = irq_or_reset,
                                      .free = irq_or_free,
                                      .restored = irq_or_restored,
                                      .state = state,
                                      .state_count = ARRAY_LEN(state)};

struct device *irq_or_new(const char *instance, struct irq_line out, struct err *e)
{
    struct irq_or *s = calloc(1, sizeof *s);

    if (!s) {
        err_set(e, ENOMEM, "no-memory", "no memory for the interrupt pin %s", instance);
        return NULL;
    }
    s->d = (struct device){.ops = &ops, .instance = instance};
    s->out = out;
    pthread_mutex_init(&s->lock, NULL);
    return &s->d;
}
