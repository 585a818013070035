/* SPDX-License-Identifier: MIT */
/* What every chip model is: registers on a bus, interrupt lines out, timers, and a table that
 * names its state. Devices know no processor. Threads: register handlers run on a vCPU thread,
 * backend callbacks on the event loop thread, timers on
 * either; each device has its own mutex.
 * Lock order: a device may raise interrupt lines while it holds its lock; an interrupt controller
 * never calls back into a device. */
#ifndef RING3_DEV_H
#define RING3_DEV_H

#include "ring3/bus.h"
#include "ring3/clock.h"
#include "ring3/err.h"
#include "ring3/figures.h"
#include "ring3/log.h"
#include "ring3/mem.h"
#include "ring3/types.h"

/* One wire. set() may be called from any thread; level is 0 or 1. An unconnected line has
 * set == NULL. */
struct irq_line {
    void (*set)(void *opaque, unsigned n, int level);
    void *opaque;
    unsigned n;
};
static inline void irq_set(const struct irq_line *l, int level)
{
    if (l->set)
        l->set(l->opaque, l->n, level);
}

/* One row of a device's state table: what snapshot saves, the monitor prints, tests inspect. */
struct state_field {
    const char *name; /* stable: it is the snapshot format */
    size_t offset;    /* in the device's own struct */
    size_t size;      /* bytes of one element: 1, 2, 4 or 8 */
    size_t count;     /* elements; 1 for scalars */
    bool is_bool;     /* elements of type bool, which may hold nothing but 0 and 1 */
};
/* clang-format off */
#define STATE_IS_BOOL(x) _Generic((x), bool: true, default: false)
#define STATE(type, field)                                                                         \
    {#field, offsetof(type, field), sizeof(((type *)0)->field), 1,                                 \
     STATE_IS_BOOL(((type *)0)->field)}
#define STATE_ARRAY(type, field)                                                                   \
    {#field, offsetof(type, field), sizeof(((type *)0)->field[0]), ARRAY_LEN(((type *)0)->field),  \
     STATE_IS_BOOL(((type *)0)->field[0])}
/* clang-format on */

struct device;
struct device_ops {
    const char *name; /* of the chip, e.g. "i8259" */
    void (*reset)(struct device *d);
    void (*free)(struct device *d);
    void (*restored)(struct device *d); /* state table was written: re-arm timers, lines; or NULL */
    const struct state_field *state;
    size_t state_count;
    /* Numbers for `--stats`, named without the instance; or NULL. Any thread. */
    void (*figures)(struct device *d, const struct figure_sink *to);
};

/* Embedded first in each device's struct. */
struct device {
    const struct device_ops *ops;
    const char *instance; /* "com1"; kept by reference */
    struct device *next;  /* the VM's list, in order of construction */
};

/* What a device constructor may use. Boards fill it in; the pointers outlive the device. */
struct dev_host {
    struct phys *mem;
    struct bus *mmio, *pio;
    struct clock *clock;
    const struct log *log;
};

#endif
