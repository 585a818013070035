/* SPDX-License-Identifier: MIT */
/* Goldfish real-time clock (Android's "Goldfish virtual hardware", section "RTC"): a 64-bit counter
 * of nanoseconds since 1970 that is read and set through two 32-bit registers, and an alarm.
 *
 *   00  TIME_LOW     reading it latches the high half; writing it sets the time, with
 *   04  TIME_HIGH    what was written here before
 *   08  ALARM_LOW    writing it sets the alarm, with
 *   0c  ALARM_HIGH   what was written here before
 *   10  IRQ_ENABLED  the alarm raises the interrupt
 *   14  CLEAR_ALARM  writing takes the alarm back
 *   18  ALARM_STATUS reads 1 while an alarm is set
 *   1c  CLEAR_INTERRUPT
 *
 * Like every battery clock it goes on while the guest stands still. An alarm that is in the past
 * goes off at once. Reset keeps the time. */
#include "ring3/devices/goldfish_rtc.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

enum {
    TIME_LOW = 0x00,
    TIME_HIGH = 0x04,
    ALARM_LOW = 0x08,
    ALARM_HIGH = 0x0c,
    IRQ_ENABLED = 0x10,
    CLEAR_ALARM = 0x14,
    ALARM_STATUS = 0x18,
    CLEAR_INTERRUPT = 0x1c,
};

struct rtc {
    struct device d;
    struct bus *bus;
    struct clock *clock;
    struct goldfish_rtc_config c;
    struct timer timer;
    pthread_mutex_t lock; /* guards everything below */
    uint64_t base_ns;     /* what it shows is this much ahead of the clock; wraps */
    uint64_t alarm_ns;    /* in its own time; valid while `armed` */
    uint32_t time_high, alarm_high, latched_high;
    bool armed, enabled, pending;
};

static uint64_t running_ns(const struct rtc *s)
{
    return clock_now_ns(s->clock) + (uint64_t)clock_missed_s(s->clock) * NS_PER_SEC;
}

static uint64_t time_ns(const struct rtc *s)
{
    return s->base_ns + running_ns(s);
}

/* The alarm if it is due, the line, and the timer for what comes. */
static void settle(struct rtc *s)
{
    uint64_t now = time_ns(s);

    if (s->armed && s->alarm_ns <= now) {
        s->armed = false;
        s->pending = true;
    }
    irq_set(&s->c.irq, s->pending && s->enabled);
    uint64_t wait = s->alarm_ns - now, here = clock_now_ns(s->clock);
    timer_set(&s->timer, s->armed && wait < TIMER_NEVER - here ? here + wait : TIMER_NEVER);
}

static void on_timer(void *opaque)
{
    struct rtc *s = opaque;

    pthread_mutex_lock(&s->lock);
    settle(s);
    pthread_mutex_unlock(&s->lock);
}

static uint32_t read_register(struct rtc *s, uint64_t offset)
{
    uint64_t now;

    switch (offset) {
    case TIME_LOW:
        now = time_ns(s);
        s->latched_high = (uint32_t)(now >> 32);
        return (uint32_t)now;
    case TIME_HIGH:
        return s->latched_high;
    case ALARM_LOW:
        return (uint32_t)s->alarm_ns;
    case ALARM_HIGH:
        return (uint32_t)(s->alarm_ns >> 32);
    case IRQ_ENABLED:
        return s->enabled;
    case ALARM_STATUS:
        return s->armed;
    default:
        return 0;
    }
}

static void write_register(struct rtc *s, uint64_t offset, uint32_t value)
{
    switch (offset) {
    case TIME_LOW:
        s->base_ns = ((uint64_t)s->time_high << 32 | value) - running_ns(s);
        break;
    case TIME_HIGH:
        s->time_high = value;
        break;
    case ALARM_LOW:
        s->alarm_ns = (uint64_t)s->alarm_high << 32 | value;
        s->armed = true;
        break;
    case ALARM_HIGH:
        s->alarm_high = value;
        break;
    case IRQ_ENABLED:
        s->enabled = value & 1;
        break;
    case CLEAR_ALARM:
        s->armed = false;
        break;
    case CLEAR_INTERRUPT:
        s->pending = false;
        break;
    }
}

static uint64_t rtc_read(void *opaque, uint64_t offset, unsigned size)
{
    struct rtc *s = opaque;

    pthread_mutex_lock(&s->lock);
    uint32_t value = read_register(s, offset);
    pthread_mutex_unlock(&s->lock);
    return value;
}

static void rtc_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct rtc *s = opaque;

    pthread_mutex_lock(&s->lock);
    write_register(s, offset, (uint32_t)value);
    settle(s);
    pthread_mutex_unlock(&s->lock);
}

static void rtc_reset(struct device *d)
{
    struct rtc *s = container_of(d, struct rtc, d);

    pthread_mutex_lock(&s->lock);
    s->alarm_ns = s->time_high = s->alarm_high = s->latched_high = 0;
    s->armed = s->enabled = s->pending = false;
    settle(s);
    pthread_mutex_unlock(&s->lock);
}

static void rtc_restored(struct device *d)
{
    on_timer(container_of(d, struct rtc, d));
}

static void rtc_free(struct device *d)
{
    struct rtc *s = container_of(d, struct rtc, d);

    bus_unmap(s->bus, s->c.base);
    timer_set(&s->timer, TIMER_NEVER);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static const struct state_field state[] = {
    STATE(struct rtc, base_ns),    STATE(struct rtc, alarm_ns),     STATE(struct rtc, time_high),
    STATE(struct rtc, alarm_high), STATE(struct rtc, latched_high), STATE(struct rtc, armed),
    STATE(struct rtc, enabled),    STATE(struct rtc, pending),
};
static const struct device_ops ops = {.name = "goldfish-rtc",
                                      .reset = rtc_reset,
                                      .free = rtc_free,
                                      .restored = rtc_restored,
                                      .state = state,
                                      .state_count = ARRAY_LEN(state)};
static const struct io_ops io = {rtc_read, rtc_write, 4, 4};

struct device *goldfish_rtc_new(const struct dev_host *h, const struct goldfish_rtc_config *config,
                                struct err *e)
{
    struct rtc *s = calloc(1, sizeof *s);

    if (!s) {
        err_set(e, ENOMEM, "no-memory", "no memory for the clock");
        return NULL;
    }
    s->d = (struct device){.ops = &ops, .instance = "rtc"};
    s->bus = h->mmio;
    s->clock = h->clock;
    s->c = *config;
    pthread_mutex_init(&s->lock, NULL);
    timer_init(&s->timer, h->clock, on_timer, s);
    s->base_ns = (uint64_t)clock_wall_s(h->clock) * NS_PER_SEC - running_ns(s);
    if (bus_map(h->mmio, config->base, GOLDFISH_RTC_BYTES, &io, s, "rtc", e) < 0) {
        pthread_mutex_destroy(&s->lock);
        free(s);
        return NULL;
    }
    return &s->d;
}
