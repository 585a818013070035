/* SPDX-License-Identifier: MIT */
/* Guest time: see ring3/clock.h.
 *
 * Armed timers hang in one list sorted by deadline; a PC has about a dozen, so insertion by
 * walking is fine. A due timer is taken off the list under the lock and called without it, so
 * callbacks may arm timers freely.
 *
 * The real clock is CLOCK_MONOTONIC. Its time stamp counter is the host's, whose rate is measured
 * once against CLOCK_MONOTONIC over CALIBRATE_NS. Left out: hosts whose TSC is not constant over
 * frequency changes or not synchronous between processors (none since 2008). */
#include "ring3/clock.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <x86intrin.h>

#include "ring3/log.h"

#define CALIBRATE_NS    (10 * 1000 * 1000)
#define VIRTUAL_EPOCH_S INT64_C(946684800) /* 2000-01-01 00:00:00 UTC */

struct clock {
    enum clock_kind kind;
    /* Real clocks: host values when guest time was 0; guest time while it stands still. */
    _Atomic uint64_t start_ns, start_tsc, paused_ns, paused_tsc;
    _Atomic bool paused;
    _Atomic int64_t missed_s;
    int64_t paused_wall_s;
    uint64_t tsc_hz;
    _Atomic uint64_t virtual_ns; /* virtual clocks: the time */

    pthread_mutex_t lock; /* guards the rest, and the fields of every timer */
    struct timer *first;
    void (*rearm)(void *opaque);
    void *rearm_opaque;
};

static uint64_t host_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * NS_PER_SEC + (uint64_t)t.tv_nsec;
}

struct host_moment {
    uint64_t ns, tsc;
};

/* Both clocks at one moment. The TSC is read on both sides of the other clock; of a few attempts
 * the tightest wins, so that being scheduled away in between does no harm. */
static struct host_moment host_moment(void)
{
    struct host_moment best = {0};
    uint64_t best_width = UINT64_MAX;
    for (int i = 0; i < 8; i++) {
        uint64_t before = __rdtsc(), ns = host_ns(), after = __rdtsc();
        if (after - before < best_width) {
            best_width = after - before;
            best = (struct host_moment){ns, before + (after - before) / 2};
        }
    }
    return best;
}

static uint64_t mul_div(uint64_t a, uint64_t b, uint64_t c)
{
    return (uint64_t)((unsigned __int128)a * b / c);
}

static void start_real(struct clock *c)
{
    struct host_moment a = host_moment();
    struct timespec pause = {0, CALIBRATE_NS};
    nanosleep(&pause, NULL);
    struct host_moment z = host_moment();
    c->start_ns = a.ns;
    c->start_tsc = a.tsc;
    c->tsc_hz = z.ns > a.ns ? mul_div(z.tsc - a.tsc, NS_PER_SEC, z.ns - a.ns) : 0;
    if (!c->tsc_hz)
        c->tsc_hz = NS_PER_SEC; /* a TSC that stands still; let nobody divide by zero */
}

struct clock *clock_new(enum clock_kind kind, struct err *e)
{
    struct clock *c = calloc(1, sizeof *c);
    if (!c) {
        err_set(e, ENOMEM, "no-memory", "no memory for a clock");
        return NULL;
    }
    c->kind = kind;
    pthread_mutex_init(&c->lock, NULL);
    if (kind == CLOCK_REAL_TIME)
        start_real(c);
    else
        c->tsc_hz = NS_PER_SEC;
    return c;
}

void clock_free(struct clock *c)
{
    if (!c)
        return;
    if (c->first)
        BUG("clock freed while a timer is armed for %lu ns", (unsigned long)c->first->deadline_ns);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

uint64_t clock_now_ns(const struct clock *c)
{
    if (c->kind == CLOCK_VIRTUAL)
        return atomic_load(&c->virtual_ns);
    return atomic_load(&c->paused) ? c->paused_ns : host_ns() - c->start_ns;
}

uint64_t clock_tsc(const struct clock *c)
{
    if (c->kind == CLOCK_VIRTUAL)
        return atomic_load(&c->virtual_ns);
    return atomic_load(&c->paused) ? c->paused_tsc : __rdtsc() - c->start_tsc;
}

bool clock_tsc_offset(const struct clock *c, uint64_t *offset)
{
    *offset = 0 - c->start_tsc;
    return c->kind == CLOCK_REAL_TIME;
}

uint64_t clock_tsc_hz(const struct clock *c)
{
    return c->tsc_hz;
}

int64_t clock_wall_s(const struct clock *c)
{
    if (c->kind == CLOCK_VIRTUAL)
        return VIRTUAL_EPOCH_S + (int64_t)(atomic_load(&c->virtual_ns) / NS_PER_SEC);
    return (int64_t)time(NULL);
}

/* ---- standing still ---------------------------------------------------------------------- */

int64_t clock_missed_s(const struct clock *c)
{
    return c->missed_s;
}

bool clock_is_paused(const struct clock *c)
{
    return atomic_load(&c->paused);
}

static void call_rearm(struct clock *c)
{
    pthread_mutex_lock(&c->lock);
    void (*rearm)(void *) = c->rearm;
    void *opaque = c->rearm_opaque;
    pthread_mutex_unlock(&c->lock);
    if (rearm)
        rearm(opaque);
}

void clock_pause(struct clock *c)
{
    if (c->kind == CLOCK_REAL_TIME) {
        struct host_moment m = host_moment();
        c->paused_ns = m.ns - c->start_ns;
        c->paused_tsc = m.tsc - c->start_tsc;
        c->paused_wall_s = (int64_t)time(NULL);
    }
    atomic_store(&c->paused, true);
    call_rearm(c);
}

void clock_resume(struct clock *c)
{
    if (c->kind == CLOCK_REAL_TIME) {
        struct host_moment m = host_moment();
        c->start_ns = m.ns - c->paused_ns;
        c->start_tsc = m.tsc - c->paused_tsc;
        c->missed_s += (int64_t)time(NULL) - c->paused_wall_s;
    }
    atomic_store(&c->paused, false);
    call_rearm(c);
}

void clock_get_state(const struct clock *c, struct clock_state *s)
{
    *s = (struct clock_state){.now_ns = clock_now_ns(c),
                              .tsc = clock_tsc(c),
                              .tsc_hz = c->tsc_hz,
                              .wall_s = clock_wall_s(c),
                              .missed_s = c->missed_s};
}

void clock_set_state(struct clock *c, const struct clock_state *s)
{
    if (!atomic_load(&c->paused))
        BUG("the state of a running clock is set");
    if (c->kind == CLOCK_VIRTUAL) {
        atomic_store(&c->virtual_ns, s->now_ns);
        return;
    }
    c->paused_ns = s->now_ns;
    c->paused_tsc = s->tsc;
    c->paused_wall_s = (int64_t)time(NULL);
    c->missed_s = s->missed_s + c->paused_wall_s - s->wall_s;
}

/* ---- timers --------------------------------------------------------------------------------- */

/* Take the first timer off the list if it is due by limit_ns. Lock held. */
static struct timer *take_due(struct clock *c, uint64_t limit_ns, uint64_t *deadline_ns)
{
    struct timer *t = c->first;
    if (!t || t->deadline_ns > limit_ns)
        return NULL;
    c->first = t->next;
    *deadline_ns = t->deadline_ns;
    t->next = NULL;
    t->deadline_ns = TIMER_NEVER;
    return t;
}

static void run_until(struct clock *c, uint64_t limit_ns)
{
    for (;;) {
        uint64_t deadline_ns = 0;
        pthread_mutex_lock(&c->lock);
        struct timer *t = take_due(c, limit_ns, &deadline_ns);
        if (t && c->kind == CLOCK_VIRTUAL && deadline_ns > atomic_load(&c->virtual_ns))
            atomic_store(&c->virtual_ns, deadline_ns);
        pthread_mutex_unlock(&c->lock);
        if (!t)
            return;
        t->fn(t->opaque);
    }
}

void clock_advance(struct clock *c, uint64_t delta_ns)
{
    if (c->kind != CLOCK_VIRTUAL)
        BUG("clock_advance on a real clock");
    uint64_t target_ns = atomic_load(&c->virtual_ns) + delta_ns;
    run_until(c, target_ns);
    atomic_store(&c->virtual_ns, target_ns);
}

uint64_t clock_run_due(struct clock *c)
{
    run_until(c, clock_now_ns(c));
    return clock_next_deadline(c);
}

uint64_t clock_next_deadline(const struct clock *c)
{
    pthread_mutex_t *lock = (pthread_mutex_t *)&c->lock; /* const for the caller only */
    pthread_mutex_lock(lock);
    uint64_t deadline_ns = c->first ? c->first->deadline_ns : TIMER_NEVER;
    pthread_mutex_unlock(lock);
    return deadline_ns;
}

void clock_set_rearm(struct clock *c, void (*fn)(void *opaque), void *opaque)
{
    pthread_mutex_lock(&c->lock);
    c->rearm = fn;
    c->rearm_opaque = opaque;
    pthread_mutex_unlock(&c->lock);
}

void timer_init(struct timer *t, struct clock *c, void (*fn)(void *opaque), void *opaque)
{
    *t = (struct timer){.clock = c, .fn = fn, .opaque = opaque, .deadline_ns = TIMER_NEVER};
}

static void unlink_timer(struct clock *c, struct timer *t)
{
    for (struct timer **p = &c->first; *p; p = &(*p)->next) {
        if (*p == t) {
            *p = t->next;
            break;
        }
    }
    t->next = NULL;
}

/* After timers of the same deadline: they run in the order they were armed. */
static void link_timer(struct clock *c, struct timer *t)
{
    struct timer **p = &c->first;
    while (*p && (*p)->deadline_ns <= t->deadline_ns)
        p = &(*p)->next;
    t->next = *p;
    *p = t;
}

void timer_set(struct timer *t, uint64_t deadline_ns)
{
    struct clock *c = t->clock;
    if (!c)
        return; /* never initialised: a half-built device being freed */
    pthread_mutex_lock(&c->lock);
    uint64_t before = c->first ? c->first->deadline_ns : TIMER_NEVER;
    if (t->deadline_ns != TIMER_NEVER)
        unlink_timer(c, t);
    t->deadline_ns = deadline_ns;
    if (deadline_ns != TIMER_NEVER)
        link_timer(c, t);
    uint64_t after = c->first ? c->first->deadline_ns : TIMER_NEVER;
    void (*rearm)(void *) = after != before ? c->rearm : NULL;
    void *opaque = c->rearm_opaque;
    pthread_mutex_unlock(&c->lock);
    if (rearm)
        rearm(opaque);
}
