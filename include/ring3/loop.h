/* SPDX-License-Identifier: MIT */
/* The event loop: epoll over host descriptors, one timerfd for the guest clock, one eventfd to
 * wake it. One loop thread per VM (the main thread of the process). */
#ifndef RING3_LOOP_H
#define RING3_LOOP_H

#include "ring3/clock.h"
#include "ring3/err.h"

struct loop;
typedef void (*loop_fn)(void *opaque, uint32_t events); /* EPOLL* bits; on the loop thread */

/* clock: its timers run on the loop thread. NULL when somebody else drives them (virtual time).
 * Returns NULL on error. */
struct loop *loop_new(struct clock *clock, struct err *e);
void loop_free(struct loop *l);

/* Watch fd (not owned) for EPOLL* events; events 0 pauses it. -EPERM for regular files, which
 * are always ready: the caller then treats them so. Any thread. */
int loop_watch(struct loop *l, int fd, uint32_t events, loop_fn fn, void *opaque);
void loop_unwatch(struct loop *l, int fd); /* loop thread, or while the loop does not run */

/* Run fn once on the loop thread, soon. Any thread; at most 64 may be waiting (-EAGAIN). */
int loop_post(struct loop *l, void (*fn)(void *opaque), void *opaque);

/* A halted processor serves the clock's timers itself, which saves waking this thread and then that
 * one for each tick of the guest. Between the two calls the loop runs no timer; `moved` is called,
 * from any other thread, when the earliest deadline moves. Both on the vCPU thread. */
void loop_timers_borrow(struct loop *l, void (*moved)(void *opaque), void *opaque);
void loop_timers_return(struct loop *l);

/* Serve events until loop_quit. Returns 0, or -errno when the host's epoll fails. */
int loop_run(struct loop *l, struct err *e);
void loop_quit(struct loop *l); /* any thread, async-signal-safe */

#endif
