/* SPDX-License-Identifier: MIT */
/* Debug-exit port: see ring3/devices/debug_exit.h. Four ports wide, so that a dword arrives in one
 * piece; only accesses to the first one count. Reads give 0. It has no state. */
#include "ring3/devices/debug_exit.h"

#include <errno.h>
#include <stdlib.h>

struct debug_exit {
    struct device dev;
    struct dev_host h;
    void (*fn)(void *opaque, unsigned code);
    void *opaque;
    struct log_limit limit;
};

static uint64_t port_read(void *opaque, uint64_t offset, unsigned size)
{
    return 0;
}

static void port_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct debug_exit *s = opaque;

    if (offset)
        return;
    if (value > DEBUG_EXIT_MAX) {
        log_guest(s->h.log, &s->limit, "debug-exit",
                  "guest's exit code %llu is above %u and becomes that", (unsigned long long)value,
                  DEBUG_EXIT_MAX);
        value = DEBUG_EXIT_MAX;
    }
    s->fn(s->opaque, (unsigned)value);
}

static void reset(struct device *d) {}

static void release(struct device *d)
{
    struct debug_exit *s = container_of(d, struct debug_exit, dev);

    bus_unmap(s->h.pio, DEBUG_EXIT_PORT);
    free(s);
}

static const struct io_ops io = {port_read, port_write, 1, 4};
static const struct device_ops ops = {.name = "debug-exit", .reset = reset, .free = release};

struct device *debug_exit_new(const struct dev_host *h, void (*fn)(void *opaque, unsigned code),
                              void *opaque, struct err *e)
{
    struct debug_exit *s = calloc(1, sizeof *s);

    if (!s) {
        err_set(e, ENOMEM, "no-memory", "no memory for the debug-exit port");
        return NULL;
    }
    *s = (struct debug_exit){
        .dev = {.ops = &ops, .instance = "debug-exit"}, .h = *h, .fn = fn, .opaque = opaque};
    if (bus_map(h->pio, DEBUG_EXIT_PORT, 4, &io, s, "debug-exit", e) < 0) {
        free(s);
        return NULL;
    }
    return &s->dev;
}
