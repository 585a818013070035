/* SPDX-License-Identifier: MIT */
/* Debug console, port 0xe9: see ring3/devices/debugcon.h. A read gives 0xe9, which tells the guest
 * that the port is there. It has no state and no flow control: bytes that the backend cannot take
 * at once are lost. */
#include "ring3/devices/debugcon.h"

#include <errno.h>
#include <stdlib.h>

struct debugcon {
    struct device dev;
    struct bus *pio;
    struct chardev *out;
};

static uint64_t port_read(void *opaque, uint64_t offset, unsigned size)
{
    return DEBUGCON_PORT;
}

static void port_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct debugcon *s = opaque;
    uint8_t byte = (uint8_t)value;

    chardev_write(s->out, &byte, 1);
}

static void reset(struct device *d) {}

static void release(struct device *d)
{
    struct debugcon *s = container_of(d, struct debugcon, dev);

    bus_unmap(s->pio, DEBUGCON_PORT);
    free(s);
}

static const struct io_ops io = {port_read, port_write, 1, 1};
static const struct device_ops ops = {.name = "debugcon", .reset = reset, .free = release};

struct device *debugcon_new(const struct dev_host *h, struct chardev *out, struct err *e)
{
    struct debugcon *s = calloc(1, sizeof *s);

    if (!s) {
        err_set(e, ENOMEM, "no-memory", "no memory for the debug console");
        return NULL;
    }
    *s = (struct debugcon){.dev = {.ops = &ops, .instance = "debugcon"}, .pio = h->pio, .out = out};
    if (bus_map(h->pio, DEBUGCON_PORT, 1, &io, s, "debugcon", e) < 0) {
        free(s);
        return NULL;
    }
    return &s->dev;
}
