/* SPDX-License-Identifier: MIT */
/* System control port A of the PS/2 and every PC since (port 0x92):
 *
 *     7   6   5   4   3   2   1   0
 *   [ kept                  |A20|RST]   RST: a change from 0 to 1 resets the machine
 *
 * Address bit 20 passes when this port or the keyboard controller lets it. */
#include "ring3/devices/port92.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

enum { RESET = 1, A20 = 2 };

struct port92 {
    struct device d;
    struct bus *pio;
    struct irq_line a20, reset;
    pthread_mutex_t lock; /* guards the two below */
    uint8_t value;
    uint8_t keyboard_a20; /* level of the keyboard controller's line */
};

static void drive_a20(struct port92 *s)
{
    irq_set(&s->a20, (s->value & A20) || s->keyboard_a20);
}

static uint64_t port92_read(void *opaque, uint64_t offset, unsigned size)
{
    struct port92 *s = opaque;
    pthread_mutex_lock(&s->lock);
    uint8_t value = s->value;
    pthread_mutex_unlock(&s->lock);
    return value;
}

static void port92_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct port92 *s = opaque;
    pthread_mutex_lock(&s->lock);
    bool reset = (value & RESET) && !(s->value & RESET);
    s->value = (uint8_t)value;
    drive_a20(s);
    pthread_mutex_unlock(&s->lock);
    if (reset) {
        irq_set(&s->reset, 1);
        irq_set(&s->reset, 0);
    }
}

static void keyboard_a20_set(void *opaque, unsigned n, int level)
{
    struct port92 *s = opaque;
    pthread_mutex_lock(&s->lock);
    s->keyboard_a20 = (uint8_t)level;
    drive_a20(s);
    pthread_mutex_unlock(&s->lock);
}

struct irq_line port92_a20_input(struct device *port92)
{
    return (struct irq_line){keyboard_a20_set, port92, 0};
}

static void port92_reset(struct device *d)
{
    struct port92 *s = (struct port92 *)d;
    pthread_mutex_lock(&s->lock);
    s->value = 0;
    drive_a20(s);
    pthread_mutex_unlock(&s->lock);
}

static void port92_free(struct device *d)
{
    struct port92 *s = (struct port92 *)d;
    bus_unmap(s->pio, 0x92);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static void port92_restored(struct device *d)
{
    struct port92 *s = (struct port92 *)d;
    pthread_mutex_lock(&s->lock);
    drive_a20(s);
    pthread_mutex_unlock(&s->lock);
}

static const struct state_field state[] = {
    STATE(struct port92, value),
    STATE(struct port92, keyboard_a20),
};

static const struct device_ops ops = {
    .name = "port92",
    .reset = port92_reset,
    .free = port92_free,
    .restored = port92_restored,
    .state = state,
    .state_count = ARRAY_LEN(state),
};

struct device *port92_new(const struct dev_host *h, struct irq_line a20, struct irq_line reset,
                          struct err *e)
{
    static const struct io_ops io = {port92_read, port92_write, 1, 1};
    struct port92 *s = calloc(1, sizeof *s);
    if (!s) {
        err_set(e, ENOMEM, "no-memory", "no memory for port 0x92");
        return NULL;
    }
    s->d = (struct device){.ops = &ops, .instance = "port92"};
    s->pio = h->pio;
    s->a20 = a20;
    s->reset = reset;
    pthread_mutex_init(&s->lock, NULL);
    if (bus_map(h->pio, 0x92, 1, &io, s, "port92", e)) {
        pthread_mutex_destroy(&s->lock);
        free(s);
        return NULL;
    }
    port92_reset(&s->d);
    return &s->d;
}
