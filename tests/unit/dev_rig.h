/* SPDX-License-Identifier: MIT */
/* A bench for one chip: virtual clock, two buses, and a trace of what its lines do.
 *
 * rig_fuzz drives a chip with random register accesses and time steps. Every so often it builds a
 * second chip on a second bench, copies the state table into it, and runs both on the same
 * accesses: if values read or interrupt edges differ, the state table misses something. */
#ifndef RING3_TESTS_DEV_RIG_H
#define RING3_TESTS_DEV_RIG_H

#include "unit.h"

#include <stdio.h>
#include <stdlib.h>

#include "ring3/backend.h"
#include "ring3/dev.h"

#define RIG_LINES 16

struct rig {
    struct dev_host host;
    struct device *d;
    struct device *parent; /* the bus *d is on, if any; freed after it */
    int level[RIG_LINES];
    unsigned rises[RIG_LINES];
    char trace[1024]; /* "+4 -4 ": line 4 went up, then down; also whatever a test adds */
    uint64_t digest;  /* of every line change with its time */
    struct log log;
    struct phys *own_mem; /* freed with the rig, if make() gave it memory */

    struct chardev chr; /* for chips with a byte stream */
    char sent[512];
    size_t sent_len;
    unsigned resumes;
    bool congested;
};

static inline void rig_note(struct rig *r, const char *text)
{
    size_t n = strlen(r->trace);
    snprintf(r->trace + n, sizeof r->trace - n, "%s", text);
}

static inline void rig_line_set(void *opaque, unsigned n, int level)
{
    struct rig *r = opaque;
    char text[16];
    assert_in_range(n, 0, RIG_LINES - 1);
    assert_in_range(level, 0, 1);
    if (r->level[n] == level)
        return;
    r->level[n] = level;
    r->rises[n] += (unsigned)level;
    snprintf(text, sizeof text, "%c%u ", level ? '+' : '-', n);
    rig_note(r, text);
    r->digest = (r->digest ^ (2 * n + (unsigned)level) ^ clock_now_ns(r->host.clock) << 8) *
                UINT64_C(0x100000001b3);
}

static inline struct irq_line rig_line(struct rig *r, unsigned n)
{
    return (struct irq_line){rig_line_set, r, n};
}

/* The trace since the last call. */
static inline const char *rig_trace(struct rig *r)
{
    static char copy[sizeof r->trace];
    memcpy(copy, r->trace, sizeof copy);
    r->trace[0] = 0;
    return copy;
}

static inline size_t rig_chr_write(struct chardev *c, const uint8_t *p, size_t n)
{
    struct rig *r = container_of(c, struct rig, chr);
    if (r->congested)
        return 0;
    for (size_t i = 0; i < n; i++)
        if (r->sent_len < sizeof r->sent - 1)
            r->sent[r->sent_len++] = (char)p[i];
    return n;
}

static inline void rig_chr_resume(struct chardev *c)
{
    container_of(c, struct rig, chr)->resumes++;
}

static inline struct rig *rig_new(void)
{
    static const struct chardev_ops chr_ops = {rig_chr_write, rig_chr_resume, NULL};
    struct rig *r = calloc(1, sizeof *r);
    assert_non_null(r);
    r->chr.ops = &chr_ops;
    r->log = (struct log){LOG_ERROR, 2};
    r->host.log = &r->log;
    r->host.clock = clock_new(CLOCK_VIRTUAL, NULL);
    r->host.pio = bus_new("pio", 0x10000, NULL);
    r->host.mmio = bus_new("mmio", 4 * GIB, NULL);
    return r;
}

static inline void rig_free(struct rig *r)
{
    if (r->d)
        r->d->ops->free(r->d);
    if (r->parent)
        r->parent->ops->free(r->parent);
    bus_free(r->host.pio);
    bus_free(r->host.mmio);
    clock_free(r->host.clock);
    phys_free(r->own_mem);
    free(r);
}

static inline uint8_t in8(struct rig *r, unsigned port)
{
    return (uint8_t)bus_read(r->host.pio, port, 1);
}
static inline void out8(struct rig *r, unsigned port, unsigned value)
{
    bus_write(r->host.pio, port, 1, value);
}
static inline void rig_advance(struct rig *r, uint64_t ns)
{
    clock_advance(r->host.clock, ns);
}

static inline uint64_t rig_random(uint64_t *seed) /* splitmix64 */
{
    uint64_t z = *seed += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* What rig_fuzz needs to know of a chip. */
struct rig_fuzz {
    struct device *(*make)(struct rig *r);
    const uint16_t *ports; /* or, with mmio_base, offsets of 32-bit registers from it */
    size_t port_count;
    uint64_t max_step_ns; /* time steps are spread evenly on a logarithmic scale up to this */
    /* One random thing other than a register access (input lines, bytes, acknowledge); the
     * result is compared between twins. NULL for none. */
    uint64_t (*poke)(struct rig *r, uint64_t random);
    uint64_t mmio_base;
};

static inline uint64_t rig_fuzz_step(struct rig *r, const struct rig_fuzz *f, uint64_t *seed)
{
    uint64_t what = rig_random(seed), value = rig_random(seed);
    unsigned port = f->ports[(what >> 8) % f->port_count];
    struct bus *bus = f->mmio_base ? r->host.mmio : r->host.pio;
    uint64_t at = f->mmio_base + port;
    unsigned size = f->mmio_base ? 4 : (what >> 40) % 16 == 0 ? 2 : 1;
    switch (what % 8) {
    case 0:
    case 1:
    case 2:
        return bus_read(bus, at, size);
    case 3:
    case 4:
    case 5:
        bus_write(bus, at, size, value);
        return 0;
    case 6:
        return f->poke ? f->poke(r, value) : 0;
    default:
        rig_advance(r, f->max_step_ns >> (what >> 16) % 24);
        return 0;
    }
}

static inline void rig_copy_state(struct device *to, const struct device *from)
{
    for (size_t i = 0; i < from->ops->state_count; i++) {
        const struct state_field *s = &from->ops->state[i];
        assert_true(s->size == 1 || s->size == 2 || s->size == 4 || s->size == 8);
        memcpy((char *)to + s->offset, (const char *)from + s->offset, s->size * s->count);
    }
    if (to->ops->restored)
        to->ops->restored(to);
}

static inline void rig_compare_twin(struct rig *a, const struct rig_fuzz *f, uint64_t *seed)
{
    struct rig *b = rig_new();
    rig_advance(b, clock_now_ns(a->host.clock));
    b->congested = a->congested;
    b->d = f->make(b);
    if (a->parent)
        rig_copy_state(b->parent, a->parent);
    rig_copy_state(b->d, a->d);
    a->digest = b->digest = 0;
    assert_memory_equal(a->level, b->level, sizeof a->level);
    uint64_t seed_b = *seed;
    for (unsigned i = 0; i < 100; i++) {
        uint64_t value_a = rig_fuzz_step(a, f, seed), value_b = rig_fuzz_step(b, f, &seed_b);
        if (value_a != value_b || a->digest != b->digest)
            fail_msg("%s: twins differ at step %u: %#lx %#lx, trace A ...%s, trace B ...%s",
                     a->d->ops->name, i, (unsigned long)value_a, (unsigned long)value_b,
                     rig_trace(a), b->trace);
        a->trace[0] = b->trace[0] = 0;
    }
    rig_free(b);
}

static inline void rig_fuzz(const struct rig_fuzz *f)
{
    struct rig *r = rig_new();
    uint64_t seed = 3;
    r->d = f->make(r);
    assert_non_null(r->d);
    for (unsigned i = 0; i < 200000; i++) {
        rig_fuzz_step(r, f, &seed);
        if (i % 500 == 499)
            rig_compare_twin(r, f, &seed);
        if (i % 10000 == 9999)
            r->d->ops->reset(r->d);
        r->trace[0] = 0;
    }
    rig_free(r);
}

#endif
