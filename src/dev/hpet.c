/* SPDX-License-Identifier: MIT */
/* High precision event timer (IA-PC HPET Specification 1.0a, chapter 2): a 64-bit counter of 10 ns
 * and three comparators, of which the first is periodic.
 *
 * The counter is the clock's time; nothing runs but a timer for each comparator that has its
 * interrupt enabled. In legacy replacement mode timer 0 drives the classic interrupt 0 and timer 1
 * interrupt 8, whose own chips are then cut off.
 *
 * When the host is late, periods that have passed are owed: their interrupts follow at an eighth of
 * the period, since kernels count them while they look whether interrupts work at all.
 *
 * Left out: FSB (MSI) delivery; comparators 1 and 2 are one-shot. A comparator set to a value the
 * counter has passed waits until the counter comes round, as the specification has it. */
#include "ring3/devices/hpet.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define HPET_BYTES   0x400u
#define TICK_NS      10u
#define TICK_FS      (TICK_NS * 1000000u)
#define OWED_MAX     50u
#define TIMER_OFFSET 0x100u
#define TIMER_STEP   0x20u

/* Offsets of low halves. */
enum { REG_ID = 0x00, REG_CONFIG = 0x10, REG_STATUS = 0x20, REG_COUNTER = 0xf0 };
enum { TIMER_CONFIG = 0x00, TIMER_COMPARATOR = 0x08 };

#define CONFIG_ENABLE 1u
#define CONFIG_LEGACY 2u

#define TIMER_LEVEL        (1u << 1)
#define TIMER_INTERRUPT    (1u << 2)
#define TIMER_PERIODIC     (1u << 3)
#define TIMER_CAN_PERIODIC (1u << 4)
#define TIMER_CAN_64       (1u << 5)
#define TIMER_SET_VALUE    (1u << 6)
#define TIMER_32           (1u << 8)
#define TIMER_ROUTE_SHIFT  9
#define TIMER_WRITABLE     0x3f4eu

struct hpet;
struct comparator {
    struct hpet *hpet;
    struct timer timer;
};

struct hpet {
    struct device dev;
    struct dev_host h;
    struct hpet_wiring w;
    struct comparator unit[HPET_TIMERS];
    bool mapped;
    pthread_mutex_t lock; /* the rest */
    uint64_t counter;     /* value while it stands still */
    uint64_t started_ns;  /* while it runs: when it was `counter` */
    uint32_t config, status;
    uint32_t timer_config[HPET_TIMERS];
    uint64_t value[HPET_TIMERS]; /* comparators */
    uint64_t period[HPET_TIMERS];
    uint64_t owed[HPET_TIMERS];      /* interrupts of periodic timers that are overdue */
    uint64_t makeup_ns[HPET_TIMERS]; /* time of the next of them; valid while owed */
    uint8_t legacy_level[2];         /* of the chips' own outputs: interrupts 0 and 8 */
    uint8_t high[HPET_TIMERS];       /* level interrupts that are up */
};

/* ---- time ------------------------------------------------------------------------------------ */

static uint64_t counter(const struct hpet *s)
{
    if (!(s->config & CONFIG_ENABLE))
        return s->counter;
    return s->counter + (clock_now_ns(s->h.clock) - s->started_ns) / TICK_NS;
}

static bool is_periodic(const struct hpet *s, unsigned n)
{
    return s->timer_config[n] & TIMER_PERIODIC;
}

/* Ticks until the comparator matches, at least 1. */
static uint64_t distance(const struct hpet *s, unsigned n, uint64_t now)
{
    uint64_t mask = s->timer_config[n] & TIMER_32 ? UINT32_MAX : UINT64_MAX;
    uint64_t ticks = (s->value[n] - now) & mask;
    return ticks ? ticks : mask;
}

/* Has the counter gone past the comparator, rather than not reached it yet? */
static bool passed(const struct hpet *s, unsigned n, uint64_t now)
{
    uint64_t mask = s->timer_config[n] & TIMER_32 ? UINT32_MAX : UINT64_MAX;
    return ((now - s->value[n]) & mask) < mask / 2;
}

/* lock held. */
static void arm(struct hpet *s, unsigned n)
{
    uint64_t deadline = TIMER_NEVER;
    if ((s->config & CONFIG_ENABLE) && (s->timer_config[n] & TIMER_INTERRUPT)) {
        uint64_t now = counter(s), ticks = distance(s, n, now);
        uint64_t at = now - s->counter + ticks; /* ticks since started_ns */
        if (ticks < INT64_MAX / TICK_NS && at < INT64_MAX / TICK_NS)
            deadline = s->started_ns + at * TICK_NS;
        if (s->owed[n] && s->makeup_ns[n] < deadline)
            deadline = s->makeup_ns[n];
    }
    timer_set(&s->unit[n].timer, deadline);
}

static void arm_all(struct hpet *s)
{
    for (unsigned n = 0; n < HPET_TIMERS; n++)
        arm(s, n);
}

/* ---- interrupts ------------------------------------------------------------------------------ */

static bool legacy(const struct hpet *s)
{
    return s->config & CONFIG_LEGACY;
}

static const struct irq_line *line_of(const struct hpet *s, unsigned n)
{
    static const struct irq_line none = {0};
    unsigned route = s->timer_config[n] >> TIMER_ROUTE_SHIFT & 31;
    if (legacy(s) && n < 2)
        return n ? &s->w.irq8 : &s->w.irq0;
    return route < ARRAY_LEN(s->w.line) && (s->w.routes >> route & 1) ? &s->w.line[route] : &none;
}

/* lock held. */
static void fire(struct hpet *s, unsigned n)
{
    const struct irq_line *line = line_of(s, n);
    if (s->timer_config[n] & TIMER_LEVEL) {
        s->status |= 1u << n;
        s->high[n] = 1;
        irq_set(line, 1);
    } else {
        irq_set(line, 1);
        irq_set(line, 0);
    }
}

static void lower(struct hpet *s, unsigned n)
{
    if (s->high[n])
        irq_set(line_of(s, n), 0);
    s->high[n] = 0;
}

/* lock held. One interrupt, if one is due, or owed and `soon` or its time has come. */
static void run_timer(struct hpet *s, unsigned n, bool soon)
{
    uint64_t now = counter(s), mask = s->timer_config[n] & TIMER_32 ? UINT32_MAX : UINT64_MAX;
    uint64_t late = (now - s->value[n]) & mask, now_ns = clock_now_ns(s->h.clock);
    bool on = (s->config & CONFIG_ENABLE) && (s->timer_config[n] & TIMER_INTERRUPT);
    bool due = on && passed(s, n, now);
    if (due && is_periodic(s, n) && s->period[n]) {
        uint64_t missed = late / s->period[n];
        s->value[n] = (s->value[n] + (missed + 1) * s->period[n]) & mask;
        s->owed[n] = missed < OWED_MAX - s->owed[n] ? s->owed[n] + missed : OWED_MAX;
    } else if (s->owed[n] && (soon || now_ns >= s->makeup_ns[n])) {
        s->owed[n]--;
        due = on;
    }
    if (due) {
        s->makeup_ns[n] = now_ns + s->period[n] * TICK_NS / 8;
        fire(s, n);
    }
    arm(s, n);
}

static void timer_due(void *opaque)
{
    struct comparator *c = opaque;
    struct hpet *s = c->hpet;
    pthread_mutex_lock(&s->lock);
    run_timer(s, (unsigned)(c - s->unit), false);
    pthread_mutex_unlock(&s->lock);
}

void hpet_catch_up(struct device *d)
{
    struct hpet *s = container_of(d, struct hpet, dev);
    pthread_mutex_lock(&s->lock);
    if ((s->config & CONFIG_ENABLE) && is_periodic(s, 0) && s->period[0] &&
        (s->owed[0] || passed(s, 0, counter(s))))
        run_timer(s, 0, true);
    pthread_mutex_unlock(&s->lock);
}

/* The outputs of i8254 (n = 0) and mc146818 (n = 1). */
static void legacy_set(void *opaque, unsigned n, int level)
{
    struct hpet *s = opaque;
    pthread_mutex_lock(&s->lock);
    s->legacy_level[n] = (uint8_t)level;
    if (!legacy(s))
        irq_set(n ? &s->w.irq8 : &s->w.irq0, level);
    pthread_mutex_unlock(&s->lock);
}

struct irq_line hpet_irq0_input(struct device *d)
{
    return (struct irq_line){legacy_set, container_of(d, struct hpet, dev), 0};
}

struct irq_line hpet_irq8_input(struct device *d)
{
    return (struct irq_line){legacy_set, container_of(d, struct hpet, dev), 1};
}

/* ---- registers ------------------------------------------------------------------------------- */

static uint64_t timer_capabilities(const struct hpet *s, unsigned n)
{
    return (uint64_t)s->w.routes << 32 | TIMER_CAN_64 | (n == 0 ? TIMER_CAN_PERIODIC : 0);
}

static uint64_t read_wide(const struct hpet *s, unsigned at)
{
    unsigned n = (at - TIMER_OFFSET) / TIMER_STEP;
    if (at >= TIMER_OFFSET && n < HPET_TIMERS)
        switch (at % TIMER_STEP) {
        case TIMER_CONFIG:
            return timer_capabilities(s, n) | s->timer_config[n];
        case TIMER_COMPARATOR:
            return s->value[n];
        default:
            return 0;
        }
    switch (at) {
    case REG_ID:
        return (uint64_t)TICK_FS << 32 | HPET_ID;
    case REG_CONFIG:
        return s->config;
    case REG_STATUS:
        return s->status;
    case REG_COUNTER:
        return counter(s);
    default:
        return 0;
    }
}

static uint64_t mmio_read(void *opaque, uint64_t offset, unsigned size)
{
    struct hpet *s = opaque;
    pthread_mutex_lock(&s->lock);
    uint64_t value = read_wide(s, (unsigned)offset & ~7u);
    pthread_mutex_unlock(&s->lock);
    return offset & 4 ? value >> 32 : value & UINT32_MAX;
}

static uint64_t with_half(uint64_t old, bool high, uint32_t half)
{
    return high ? (old & UINT32_MAX) | (uint64_t)half << 32 : (old & ~(uint64_t)UINT32_MAX) | half;
}

static void write_config(struct hpet *s, uint32_t value)
{
    bool runs = s->config & CONFIG_ENABLE, was_legacy = legacy(s);
    uint64_t now = counter(s);
    value &= CONFIG_ENABLE | CONFIG_LEGACY;
    for (unsigned n = 0; n < HPET_TIMERS && value != s->config; n++)
        lower(s, n);
    if (runs != (bool)(value & CONFIG_ENABLE)) {
        memset(s->owed, 0, sizeof s->owed);
        s->counter = now;
        s->started_ns = clock_now_ns(s->h.clock);
    }
    s->config = value;
    if (was_legacy != legacy(s))
        for (unsigned i = 0; i < 2; i++)
            irq_set(i ? &s->w.irq8 : &s->w.irq0, legacy(s) ? 0 : s->legacy_level[i]);
    arm_all(s);
}

static void write_comparator(struct hpet *s, unsigned n, bool high, uint32_t value)
{
    if (!is_periodic(s, n) || (s->timer_config[n] & TIMER_SET_VALUE))
        s->value[n] = with_half(s->value[n], high, value);
    if (is_periodic(s, n))
        s->period[n] = with_half(s->period[n], high, value);
    s->owed[n] = 0;
    if (s->timer_config[n] & TIMER_32) {
        s->value[n] &= UINT32_MAX;
        s->period[n] &= UINT32_MAX;
    }
    if (high || (s->timer_config[n] & TIMER_32))
        s->timer_config[n] &= ~TIMER_SET_VALUE;
    arm(s, n);
}

static void write_timer(struct hpet *s, unsigned n, unsigned at, bool high, uint32_t value)
{
    if (at == TIMER_CONFIG && !high) {
        lower(s, n);
        s->owed[n] = 0;
        s->timer_config[n] = value & TIMER_WRITABLE & ~(n ? TIMER_PERIODIC | TIMER_SET_VALUE : 0u);
        if (s->timer_config[n] & TIMER_32)
            s->value[n] &= UINT32_MAX;
        arm(s, n);
    } else if (at == TIMER_COMPARATOR) {
        write_comparator(s, n, high, value);
    }
}

static void write_half(struct hpet *s, unsigned at, bool high, uint32_t value)
{
    unsigned n = (at - TIMER_OFFSET) / TIMER_STEP;
    if (at >= TIMER_OFFSET && n < HPET_TIMERS) {
        write_timer(s, n, at % TIMER_STEP, high, value);
    } else if (at == REG_CONFIG && !high) {
        write_config(s, value);
    } else if (at == REG_STATUS && !high) {
        for (n = 0; n < HPET_TIMERS; n++)
            if (value >> n & s->status >> n & 1)
                lower(s, n);
        s->status &= ~value;
    } else if (at == REG_COUNTER && !(s->config & CONFIG_ENABLE)) {
        s->counter = with_half(s->counter, high, value);
    }
}

static void mmio_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct hpet *s = opaque;
    pthread_mutex_lock(&s->lock);
    write_half(s, (unsigned)offset & ~7u, offset & 4, (uint32_t)value);
    pthread_mutex_unlock(&s->lock);
}

static const struct io_ops ops = {mmio_read, mmio_write, 4, 4};

/* ---- life ------------------------------------------------------------------------------------ */

static void reset(struct device *d)
{
    struct hpet *s = container_of(d, struct hpet, dev);
    pthread_mutex_lock(&s->lock);
    write_config(s, 0);
    s->counter = 0;
    s->status = 0;
    for (unsigned n = 0; n < HPET_TIMERS; n++) {
        s->timer_config[n] = 0;
        s->value[n] = UINT64_MAX;
        s->period[n] = 0;
        s->owed[n] = 0;
    }
    pthread_mutex_unlock(&s->lock);
}

static void restored(struct device *d)
{
    struct hpet *s = container_of(d, struct hpet, dev);
    pthread_mutex_lock(&s->lock);
    for (unsigned i = 0; i < 2 && !legacy(s); i++)
        irq_set(i ? &s->w.irq8 : &s->w.irq0, s->legacy_level[i]);
    for (unsigned n = 0; n < HPET_TIMERS; n++)
        if (s->high[n])
            irq_set(line_of(s, n), 1);
    for (unsigned n = 0; n < HPET_TIMERS; n++)
        s->owed[n] = s->owed[n] < OWED_MAX ? s->owed[n] : OWED_MAX;
    arm_all(s);
    pthread_mutex_unlock(&s->lock);
}

static void release(struct device *d)
{
    struct hpet *s = container_of(d, struct hpet, dev);
    for (unsigned n = 0; n < HPET_TIMERS; n++)
        timer_set(&s->unit[n].timer, TIMER_NEVER);
    if (s->mapped)
        bus_unmap(s->h.mmio, HPET_BASE);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static const struct state_field state[] = {
    STATE(struct hpet, counter),
    STATE(struct hpet, started_ns),
    STATE(struct hpet, config),
    STATE(struct hpet, status),
    STATE_ARRAY(struct hpet, timer_config),
    STATE_ARRAY(struct hpet, value),
    STATE_ARRAY(struct hpet, period),
    STATE_ARRAY(struct hpet, owed),
    STATE_ARRAY(struct hpet, makeup_ns),
    STATE_ARRAY(struct hpet, legacy_level),
    STATE_ARRAY(struct hpet, high),
};
static const struct device_ops device_ops = {.name = "hpet",
                                             .reset = reset,
                                             .free = release,
                                             .restored = restored,
                                             .state = state,
                                             .state_count = ARRAY_LEN(state)};

struct device *hpet_new(const struct dev_host *h, const struct hpet_wiring *w, struct err *e)
{
    struct hpet *s = calloc(1, sizeof *s);
    if (!s) {
        err_set(e, ENOMEM, "no-memory", "no memory for an HPET");
        return NULL;
    }
    s->dev = (struct device){.ops = &device_ops, .instance = "hpet"};
    s->h = *h;
    s->w = *w;
    pthread_mutex_init(&s->lock, NULL);
    for (unsigned n = 0; n < HPET_TIMERS; n++) {
        s->unit[n].hpet = s;
        timer_init(&s->unit[n].timer, h->clock, timer_due, &s->unit[n]);
        s->value[n] = UINT64_MAX;
    }
    s->mapped = bus_map(h->mmio, HPET_BASE, HPET_BYTES, &ops, s, "hpet", e) == 0;
    if (!s->mapped) {
        release(&s->dev);
        return NULL;
    }
    return &s->dev;
}
