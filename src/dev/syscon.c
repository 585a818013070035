/* SPDX-License-Identifier: MIT */
/* System controller: see ring3/devices/syscon.h. One 32-bit register, as SiFive's test finisher has
 * it; it reads 0, so that drivers that only write what changes always write. It has no state.
 *
 *    31             16 15              0
 *   [    exit code    |      what       ]   7777: reset   5555: power off   3333: exit with a code
 */
#include "ring3/devices/syscon.h"

#include <errno.h>
#include <stdlib.h>

struct syscon {
    struct device d;
    struct bus *bus;
    struct syscon_config c;
};

static uint64_t syscon_read(void *opaque, uint64_t offset, unsigned size)
{
    return 0;
}

static void syscon_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct syscon *s = opaque;
    unsigned code = (unsigned)(value >> 16) & 0xffff;

    if (offset)
        return;
    switch (value & 0xffff) {
    case SYSCON_RESET:
        irq_set(&s->c.reset, 1);
        irq_set(&s->c.reset, 0);
        break;
    case SYSCON_POWER_OFF:
        s->c.power_off(s->c.opaque);
        break;
    case SYSCON_EXIT:
        s->c.guest_exit(s->c.opaque, code < SYSCON_EXIT_MAX ? code : SYSCON_EXIT_MAX);
        break;
    }
}

static void syscon_reset(struct device *d) {}

static void syscon_free(struct device *d)
{
    struct syscon *s = container_of(d, struct syscon, d);

    bus_unmap(s->bus, s->c.base);
    free(s);
}

static const struct io_ops io = {syscon_read, syscon_write, 4, 4};
static const struct device_ops ops = {.name = "syscon", .reset = syscon_reset, .free = syscon_free};

struct device *syscon_new(const struct dev_host *h, const struct syscon_config *config,
                          struct err *e)
{
    struct syscon *s = calloc(1, sizeof *s);

    if (!s) {
        err_set(e, ENOMEM, "no-memory", "no memory for the system controller");
        return NULL;
    }
    *s = (struct syscon){.d = {.ops = &ops, .instance = "syscon"}, .bus = h->mmio, .c = *config};
    if (bus_map(h->mmio, config->base, SYSCON_BYTES, &io, s, "syscon", e) < 0) {
        free(s);
        return NULL;
    }
    return &s->d;
}
