/* SPDX-License-Identifier: MIT */
/* Guest time. One clock per VM, two kinds:
 *   CLOCK_REAL_TIME  follows the host's monotonic clock; the event loop runs due timers.
 *   CLOCK_VIRTUAL    moves only by clock_advance(): deterministic runs and unit tests.
 * Time starts at 0 when the clock is made and never goes back. A paused clock stands still. */
#ifndef RING3_CLOCK_H
#define RING3_CLOCK_H

#include "ring3/err.h"
#include "ring3/types.h"

struct clock;
enum clock_kind { CLOCK_REAL_TIME, CLOCK_VIRTUAL };

#define TIMER_NEVER UINT64_MAX

/* A one-shot timer, embedded in its device. Fields are the clock's; use the functions. */
struct timer {
    struct clock *clock;
    void (*fn)(void *opaque);
    void *opaque;
    uint64_t deadline_ns; /* TIMER_NEVER while not armed */
    struct timer *next;   /* the clock's list, by deadline */
};

/* What a snapshot keeps of a clock. */
struct clock_state {
    uint64_t now_ns, tsc; /* clock_now_ns(), clock_tsc() */
    uint64_t tsc_hz;      /* of the host that it came from */
    int64_t wall_s;       /* clock_wall_s() */
    int64_t missed_s;     /* clock_missed_s() */
};

struct clock *clock_new(enum clock_kind kind, struct err *e); /* NULL on error */
void clock_free(struct clock *c);                             /* no timer may be armed */

/* Nanoseconds of guest time since clock_new. Any thread. */
uint64_t clock_now_ns(const struct clock *c);

/* Guest time stamp counter, ticks since clock_new, and its rate. Real time: the host's TSC;
 * virtual time: one tick a nanosecond. Any thread. */
uint64_t clock_tsc(const struct clock *c);
uint64_t clock_tsc_hz(const struct clock *c);
/* True if clock_tsc() is the host's TSC plus *offset, until the clock is paused. */
bool clock_tsc_offset(const struct clock *c, uint64_t *offset);

/* Seconds since 1970 UTC the guest's battery clock shows now. Virtual clocks start at a fixed
 * date (2000-01-01 00:00:00), so that runs repeat. Any thread. */
int64_t clock_wall_s(const struct clock *c);

/* Seconds that passed on the host's wall clock while guest time stood still, paused or in a
 * snapshot: what a battery clock is ahead of clock_now_ns(). 0 for virtual clocks. Any thread. */
int64_t clock_missed_s(const struct clock *c);

/* Guest time and TSC stand still between the two, and no timer becomes due; wall time goes on.
 * They do not nest. Loop thread, while no processor runs. */
void clock_pause(struct clock *c);
void clock_resume(struct clock *c);
bool clock_is_paused(const struct clock *c); /* any thread */

/* For snapshots, while paused. clock_set_state() makes guest time what it was then, and
 * counts the wall time since as missed; timers stay armed for the guest time they were armed for.
 */
void clock_get_state(const struct clock *c, struct clock_state *s);
void clock_set_state(struct clock *c, const struct clock_state *s);

/* Virtual clocks only: move time forward and run timers that become due, in order of deadline,
 * each seeing clock_now_ns() == its deadline. Callbacks run in the calling thread. */
void clock_advance(struct clock *c, uint64_t delta_ns);

/* Run all timers due by now; returns the next deadline or TIMER_NEVER. The event loop calls it.
 * Callbacks run in the calling thread with no clock lock held. */
uint64_t clock_run_due(struct clock *c);
uint64_t clock_next_deadline(const struct clock *c);

/* Called, from whatever thread arms a timer, when the earliest deadline has moved. The event loop
 * sets it to re-arm its timerfd. */
void clock_set_rearm(struct clock *c, void (*fn)(void *opaque), void *opaque);

/* timer_set moves the deadline (absolute, ns; TIMER_NEVER disarms). A callback may already be on
 * its way in another thread when this returns: it must take the device's lock and look at the
 * device's own state before it acts. Any thread. */
void timer_init(struct timer *t, struct clock *c, void (*fn)(void *opaque), void *opaque);
void timer_set(struct timer *t, uint64_t deadline_ns);

#endif
