/* SPDX-License-Identifier: MIT */
/* The POST code port: a latch of one byte. Kernels write it to wait; here it costs nothing. */
#include "ring3/devices/port80.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

struct port80 {
    struct device d;
    struct bus *pio;
    pthread_mutex_t lock; /* guards code */
    uint8_t code;
};

uint8_t port80_code(struct device *port80)
{
    struct port80 *s = (struct port80 *)port80;
    pthread_mutex_lock(&s->lock);
    uint8_t code = s->code;
    pthread_mutex_unlock(&s->lock);
    return code;
}

static void set_code(struct port80 *s, uint8_t code)
{
    pthread_mutex_lock(&s->lock);
    s->code = code;
    pthread_mutex_unlock(&s->lock);
}

static uint64_t port80_read(void *opaque, uint64_t offset, unsigned size)
{
    return port80_code(opaque);
}

static void port80_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    set_code(opaque, (uint8_t)value);
}

static void port80_reset(struct device *d)
{
    set_code((struct port80 *)d, 0);
}

static void port80_free(struct device *d)
{
    struct port80 *s = (struct port80 *)d;
    bus_unmap(s->pio, 0x80);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static const struct state_field state[] = {STATE(struct port80, code)};

static const struct device_ops ops = {
    .name = "port80",
    .reset = port80_reset,
    .free = port80_free,
    .state = state,
    .state_count = ARRAY_LEN(state),
};

struct device *port80_new(const struct dev_host *h, struct err *e)
{
    static const struct io_ops io = {port80_read, port80_write, 1, 1};
    struct port80 *s = calloc(1, sizeof *s);
    if (!s) {
        err_set(e, ENOMEM, "no-memory", "no memory for port 0x80");
        return NULL;
    }
    s->d = (struct device){.ops = &ops, .instance = "post"};
    s->pio = h->pio;
    pthread_mutex_init(&s->lock, NULL);
    if (bus_map(h->pio, 0x80, 1, &io, s, "post", e)) {
        pthread_mutex_destroy(&s->lock);
        free(s);
        return NULL;
    }
    return &s->d;
}
