/* SPDX-License-Identifier: MIT */
/* i8254 interval timer (Intel 8254 data sheet, 231164) and the PC's port 0x61.
 *
 * Nothing counts down here. A counter remembers at which tick of its 1.193182 MHz clock the count
 * was loaded; its value and output are functions of the ticks passed since, worked out when the
 * guest looks. Only counter 0's output drives an interrupt and needs a host timer, set for its
 * next rising edge. Its low phases in the periodic modes are shrunk to an instant just before the
 * edge, so that a tick that waits in the interrupt controller is not withdrawn.
 *
 * When the host is late, ticks of counter 0 that became due meanwhile are owed: they follow at
 * twice the programmed rate, so that each is a separate edge, and at most OWED_MAX of them; the
 * rest are lost, as on a machine whose firmware kept interrupts off. Edges come no faster than
 * one per IRQ_SPACING_TICKS (50 us), however short the programmed period.
 *
 * Left out: the one clock of delay between writing a count and loading it; in mode 3 a new count
 * takes effect at the end of the whole period, not of the half; counter 1's refresh requests. */
#include "ring3/devices/i8254.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#define OWED_MAX          20
#define IRQ_SPACING_TICKS 60
#define REFRESH_NS        15085 /* port 0x61's toggle */
#define NEVER             UINT64_MAX

enum { ACCESS_LATCH, ACCESS_LOW, ACCESS_HIGH, ACCESS_BOTH };
enum { CONTROL_BCD = 1, READBACK_NO_STATUS = 0x10, READBACK_NO_COUNT = 0x20 };
enum { STATUS_NULL = 0x40, STATUS_OUT = 0x80 };
enum { P61_GATE = 1, P61_KEPT = 0x0f, P61_REFRESH = 0x10, P61_OUT = 0x20 };

struct counter {
    uint8_t mode, access, bcd, gate;
    uint32_t count;   /* in force, 1 to 65536; 0 before the first */
    uint32_t waiting; /* written, comes into force at the end of the period or by the gate; or 0 */
    uint8_t running;
    uint64_t start;                  /* tick `count` was loaded; valid while running */
    uint64_t elapsed;                /* ticks counted; valid while not running */
    uint8_t write_low, write_second; /* two-byte write: first byte; second expected */
    uint8_t read_second;             /* two-byte read: high byte is next */
    uint8_t latched, status_latched; /* bytes of the latched count still to read; flag */
    uint16_t latch;
    uint8_t status;
};

struct i8254 {
    struct device d;
    struct bus *pio;
    struct clock *clock;
    struct irq_line irq;
    struct timer timer;
    pthread_mutex_t lock; /* guards everything below */
    struct counter counter[3];
    uint8_t port61;
    uint8_t level;   /* of the interrupt line */
    uint64_t edge;   /* tick of counter 0's next rising edge, or NEVER */
    uint64_t owed;   /* edges that are overdue */
    uint64_t makeup; /* tick of the next of them; valid while owed */
};

static uint64_t now_ticks(const struct i8254 *s)
{
    return (uint64_t)((unsigned __int128)clock_now_ns(s->clock) * I8254_HZ / NS_PER_SEC);
}

/* First nanosecond at which now_ticks() gives `ticks`. */
static uint64_t ticks_to_ns(uint64_t ticks)
{
    unsigned __int128 ns = ((unsigned __int128)ticks * NS_PER_SEC + I8254_HZ - 1) / I8254_HZ;
    return ns < TIMER_NEVER ? (uint64_t)ns : TIMER_NEVER - 1;
}

static bool is_periodic(const struct counter *c)
{
    return c->mode == 2 || c->mode == 3;
}
static bool starts_by_gate(const struct counter *c)
{
    return c->mode == 1 || c->mode == 5;
}

static uint64_t elapsed(const struct counter *c, uint64_t now)
{
    return c->running ? now - c->start : c->elapsed;
}

/* Bring a periodic counter's start into the current period; a waiting count comes into force at
 * the end of the period it was written in. */
static void sync_period(struct counter *c, uint64_t now)
{
    if (!is_periodic(c) || !c->running || now - c->start < c->count)
        return;
    if (c->waiting) {
        c->start += c->count;
        c->count = c->waiting;
        c->waiting = 0;
    }
    c->start = now - (now - c->start) % c->count;
}

static bool output(const struct counter *c, uint64_t now)
{
    if (!c->count)
        return c->mode != 0;
    uint64_t e = elapsed(c, now);
    switch (c->mode) {
    case 0:
    case 1:
        return e >= c->count;
    case 2:
        return !c->running || c->count == 1 || e % c->count != c->count - 1;
    case 3:
        return !c->running || e % c->count < (c->count + 1) / 2;
    default:
        return e != c->count; /* 4, 5: one low clock at the end */
    }
}

static uint16_t to_bcd(unsigned n)
{
    return (uint16_t)(n % 10 | n / 10 % 10 << 4 | n / 100 % 10 << 8 | n / 1000 % 10 << 12);
}

/* What the guest would read from the counting element. */
static uint16_t value(const struct counter *c, uint64_t now)
{
    unsigned wrap = c->bcd ? 10000 : 65536;
    uint64_t e = elapsed(c, now), left;
    if (!c->count)
        return 0;
    if (c->mode == 2) {
        left = c->count - e % c->count;
    } else if (c->mode == 3) {
        uint64_t half = (c->count + 1) / 2, phase = e % c->count;
        left = (c->count & ~1u) - 2 * (phase < half ? phase : phase - half);
    } else {
        left = wrap + c->count - e % wrap;
    }
    return c->bcd ? to_bcd((unsigned)(left % wrap)) : (uint16_t)left;
}

static void begin(struct counter *c, uint64_t now)
{
    c->elapsed = 0;
    c->start = now;
    c->running = c->gate || starts_by_gate(c);
}

/* A complete count was written. True if it came into force at once. */
static bool load(struct counter *c, uint16_t written, uint64_t now)
{
    uint32_t count = written ? written : 65536;
    if (c->bcd) {
        count = (written & 15) + 10u * (written >> 4 & 15) + 100u * (written >> 8 & 15) +
                1000u * (written >> 12);
        if (!count)
            count = 10000;
    }
    if (starts_by_gate(c) || (is_periodic(c) && c->count)) {
        c->waiting = count;
        return false;
    }
    c->count = count;
    begin(c, now);
    return true;
}

static void set_gate(struct counter *c, bool gate, uint64_t now)
{
    if (c->gate == gate)
        return;
    c->gate = gate;
    if (starts_by_gate(c) || (is_periodic(c) && gate)) {
        if (!gate)
            return;
        if (c->waiting)
            c->count = c->waiting;
        c->waiting = 0;
        if (c->count)
            begin(c, now);
    } else if (!gate) {
        c->elapsed = elapsed(c, now);
        c->running = 0;
    } else if (c->count && !(c->mode == 0 && c->write_second)) {
        c->start = now - c->elapsed;
        c->running = 1;
    }
}

/* --- counter 0's interrupt --- */

static uint64_t edge_spacing(const struct counter *c)
{
    uint64_t periods = (IRQ_SPACING_TICKS + c->count - 1) / c->count;
    return periods * c->count;
}

static void set_irq(struct i8254 *s, bool level)
{
    s->level = level;
    irq_set(&s->irq, level);
}

/* Find the next rising edge after counter 0 was reprogrammed, and show its present output. */
static void plan_edges(struct i8254 *s, uint64_t now)
{
    struct counter *c = &s->counter[0];
    s->owed = 0;
    s->edge = NEVER;
    if (c->running && is_periodic(c))
        s->edge = c->start + edge_spacing(c);
    else if (c->running)
        s->edge = c->start + c->count + (c->mode >= 4);
    set_irq(s, output(c, now));
}

static void arm(struct i8254 *s)
{
    uint64_t tick = s->owed && s->makeup < s->edge ? s->makeup : s->edge;
    timer_set(&s->timer, tick == NEVER ? TIMER_NEVER : ticks_to_ns(tick));
}

/* Count the edges that have come due into `owed` and move `edge` into the future. */
static void collect_edges(struct i8254 *s, uint64_t now)
{
    struct counter *c = &s->counter[0];
    if (now < s->edge)
        return;
    if (!is_periodic(c)) {
        s->owed = 1;
        s->edge = NEVER;
        return;
    }
    uint64_t late = now - s->edge;
    sync_period(c, now);
    uint64_t spacing = edge_spacing(c);
    s->owed += 1 + late / spacing;
    s->owed = s->owed < 1 + OWED_MAX ? s->owed : 1 + OWED_MAX;
    /* Edges stay in phase with the counter, whose count may just have changed. */
    s->edge = c->start + spacing;
}

/* Deliver what is due: at most one edge. */
static void run_edges(struct i8254 *s, uint64_t now)
{
    bool spaced = s->owed; /* an edge was delivered late: keep the distance */
    collect_edges(s, now);
    if (!s->owed || (spaced && now < s->makeup))
        return;
    s->owed--;
    s->makeup = now + edge_spacing(&s->counter[0]) / 2;
    set_irq(s, 0);
    set_irq(s, 1);
}

static void on_edge(void *opaque)
{
    struct i8254 *s = opaque;
    pthread_mutex_lock(&s->lock);
    run_edges(s, now_ticks(s));
    arm(s);
    pthread_mutex_unlock(&s->lock);
}

/* --- registers --- */

static void latch_count(struct counter *c, uint64_t now)
{
    if (c->latched)
        return; /* the first latch stands until it is read */
    c->latch = value(c, now);
    c->latched = c->access == ACCESS_BOTH ? 2 : 1;
}

static void latch_status(struct counter *c, uint64_t now)
{
    if (c->status_latched)
        return;
    bool null = !c->count || c->waiting;
    c->status = (uint8_t)((output(c, now) ? STATUS_OUT : 0) | (null ? STATUS_NULL : 0) |
                          c->access << 4 | c->mode << 1 | c->bcd);
    c->status_latched = 1;
}

static void read_back(struct i8254 *s, uint8_t command, uint64_t now)
{
    for (unsigned i = 0; i < 3; i++) {
        struct counter *c = &s->counter[i];
        if (!(command & 2u << i))
            continue;
        sync_period(c, now);
        if (!(command & READBACK_NO_COUNT))
            latch_count(c, now);
        if (!(command & READBACK_NO_STATUS))
            latch_status(c, now);
    }
}

static void write_control(struct i8254 *s, uint8_t command, uint64_t now)
{
    unsigned which = command >> 6;
    if (which == 3) {
        read_back(s, command, now);
        return;
    }
    struct counter *c = &s->counter[which];
    uint8_t access = command >> 4 & 3;
    if (access == ACCESS_LATCH) {
        latch_count(c, now);
        return;
    }
    uint8_t mode = command >> 1 & 7;
    *c = (struct counter){.mode = mode > 5 ? mode - 4 : mode,
                          .access = access,
                          .bcd = command & CONTROL_BCD,
                          .gate = c->gate};
    if (which == 0)
        plan_edges(s, now);
}

static void write_count(struct i8254 *s, unsigned which, uint8_t byte, uint64_t now)
{
    struct counter *c = &s->counter[which];
    bool changed = false;
    if (c->access == ACCESS_LATCH)
        return; /* never programmed */
    if (c->access == ACCESS_BOTH && !c->write_second) {
        c->write_low = byte;
        c->write_second = 1;
        if (c->mode == 0) { /* the first byte stops the count and drops the output */
            c->elapsed = 0;
            c->running = 0;
            changed = true;
        }
    } else {
        uint16_t low = c->access == ACCESS_BOTH ? c->write_low : 0;
        c->write_second = 0;
        changed = load(c, c->access == ACCESS_LOW ? byte : (uint16_t)(byte << 8 | low), now);
    }
    if (which == 0 && changed)
        plan_edges(s, now);
}

static uint8_t read_count(struct counter *c, uint64_t now)
{
    if (c->status_latched) {
        c->status_latched = 0;
        return c->status;
    }
    uint16_t v = c->latched ? c->latch : value(c, now);
    bool high = c->access == ACCESS_HIGH;
    if (c->access == ACCESS_BOTH) {
        high = c->read_second;
        c->read_second = !c->read_second;
    }
    if (c->latched)
        c->latched--;
    return (uint8_t)(high ? v >> 8 : v);
}

static void before_access(struct i8254 *s, uint64_t now)
{
    run_edges(s, now); /* the host's timer may be late */
    for (unsigned i = 0; i < 3; i++)
        sync_period(&s->counter[i], now);
}

static uint64_t pit_read(void *opaque, uint64_t offset, unsigned size)
{
    struct i8254 *s = opaque;
    if (offset == 3)
        return 0xff; /* write only */
    pthread_mutex_lock(&s->lock);
    uint64_t now = now_ticks(s);
    before_access(s, now);
    uint8_t byte = read_count(&s->counter[offset % 3], now);
    arm(s);
    pthread_mutex_unlock(&s->lock);
    return byte;
}

static void pit_write(void *opaque, uint64_t offset, unsigned size, uint64_t byte)
{
    struct i8254 *s = opaque;
    pthread_mutex_lock(&s->lock);
    uint64_t now = now_ticks(s);
    before_access(s, now);
    if (offset == 3)
        write_control(s, (uint8_t)byte, now);
    else
        write_count(s, offset % 3, (uint8_t)byte, now);
    arm(s);
    pthread_mutex_unlock(&s->lock);
}

static uint64_t port61_read(void *opaque, uint64_t offset, unsigned size)
{
    struct i8254 *s = opaque;
    pthread_mutex_lock(&s->lock);
    uint64_t ns = clock_now_ns(s->clock), now = now_ticks(s);
    before_access(s, now);
    uint8_t byte = s->port61;
    if (ns / REFRESH_NS % 2)
        byte |= P61_REFRESH;
    if (output(&s->counter[2], now))
        byte |= P61_OUT;
    arm(s);
    pthread_mutex_unlock(&s->lock);
    return byte;
}

static void port61_write(void *opaque, uint64_t offset, unsigned size, uint64_t byte)
{
    struct i8254 *s = opaque;
    pthread_mutex_lock(&s->lock);
    uint64_t now = now_ticks(s);
    before_access(s, now);
    s->port61 = (uint8_t)byte & P61_KEPT;
    set_gate(&s->counter[2], byte & P61_GATE, now);
    arm(s);
    pthread_mutex_unlock(&s->lock);
}

static void i8254_reset(struct device *d)
{
    struct i8254 *s = (struct i8254 *)d;
    pthread_mutex_lock(&s->lock);
    for (unsigned i = 0; i < 3; i++)
        s->counter[i] = (struct counter){.gate = i < 2};
    s->port61 = 0;
    plan_edges(s, now_ticks(s));
    arm(s);
    pthread_mutex_unlock(&s->lock);
}

static void i8254_free(struct device *d)
{
    struct i8254 *s = (struct i8254 *)d;
    timer_set(&s->timer, TIMER_NEVER);
    bus_unmap(s->pio, 0x40);
    bus_unmap(s->pio, 0x61);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

/* A snapshot file is not trusted: keep the arithmetic in its ranges. */
static void i8254_restored(struct device *d)
{
    struct i8254 *s = (struct i8254 *)d;
    pthread_mutex_lock(&s->lock);
    uint64_t now = now_ticks(s);
    for (unsigned i = 0; i < 3; i++) {
        struct counter *c = &s->counter[i];
        c->count = c->count > 65536 ? 65536 : c->count;
        c->waiting = c->waiting > 65536 ? 65536 : c->waiting;
        c->running = c->running && c->count;
        c->start = c->start > now ? now : c->start;
    }
    if (!s->counter[0].count)
        s->owed = 0;
    if (!s->counter[0].count || !s->counter[0].running)
        s->edge = NEVER; /* it would stay in the past for ever */
    s->owed = s->owed > OWED_MAX ? OWED_MAX : s->owed;
    set_irq(s, s->level & 1);
    arm(s);
    pthread_mutex_unlock(&s->lock);
}

/* clang-format off */
#define COUNTER_STATE(i)                                                                           \
    STATE(struct i8254, counter[i].mode),           STATE(struct i8254, counter[i].access),        \
    STATE(struct i8254, counter[i].bcd),            STATE(struct i8254, counter[i].gate),          \
    STATE(struct i8254, counter[i].count),          STATE(struct i8254, counter[i].waiting),       \
    STATE(struct i8254, counter[i].running),        STATE(struct i8254, counter[i].start),         \
    STATE(struct i8254, counter[i].elapsed),        STATE(struct i8254, counter[i].write_low),     \
    STATE(struct i8254, counter[i].write_second),   STATE(struct i8254, counter[i].read_second),   \
    STATE(struct i8254, counter[i].latched),        STATE(struct i8254, counter[i].status_latched),\
    STATE(struct i8254, counter[i].latch),          STATE(struct i8254, counter[i].status)
/* clang-format on */
static const struct state_field state[] = {
    COUNTER_STATE(0),           COUNTER_STATE(1),
    COUNTER_STATE(2),           STATE(struct i8254, port61),
    STATE(struct i8254, level), STATE(struct i8254, edge),
    STATE(struct i8254, owed),  STATE(struct i8254, makeup),
};

static const struct device_ops ops = {
    .name = "i8254",
    .reset = i8254_reset,
    .free = i8254_free,
    .restored = i8254_restored,
    .state = state,
    .state_count = ARRAY_LEN(state),
};

struct device *i8254_new(const struct dev_host *h, struct irq_line irq, struct err *e)
{
    static const struct io_ops pit_io = {pit_read, pit_write, 1, 1};
    static const struct io_ops port61_io = {port61_read, port61_write, 1, 1};
    struct i8254 *s = calloc(1, sizeof *s);
    if (!s) {
        err_set(e, ENOMEM, "no-memory", "no memory for the interval timer");
        return NULL;
    }
    s->d = (struct device){.ops = &ops, .instance = "pit"};
    s->pio = h->pio;
    s->clock = h->clock;
    s->irq = irq;
    pthread_mutex_init(&s->lock, NULL);
    timer_init(&s->timer, h->clock, on_edge, s);
    if (bus_map(h->pio, 0x40, 4, &pit_io, s, "pit", e))
        goto fail;
    if (bus_map(h->pio, 0x61, 1, &port61_io, s, "port61", e))
        goto fail_pit;
    i8254_reset(&s->d);
    return &s->d;

fail_pit:
    bus_unmap(h->pio, 0x40);
fail:
    pthread_mutex_destroy(&s->lock);
    free(s);
    return NULL;
}
