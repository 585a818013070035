/* SPDX-License-Identifier: MIT */
/* vm/loop.c: descriptors, posts, timers, quit. */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "ring3/loop.h"

struct bench {
    struct loop *loop;
    int pipe[2], calls, order[4];
    uint32_t events;
};

static void setup(struct bench *b, struct clock *c)
{
    struct err e = {0};
    memset(b, 0, sizeof *b);
    b->loop = loop_new(c, &e);
    assert_non_null(b->loop);
    assert_int_equal(pipe(b->pipe), 0);
}

static void teardown(struct bench *b)
{
    loop_free(b->loop);
    close(b->pipe[0]);
    if (b->pipe[1] >= 0)
        close(b->pipe[1]);
}

static void run(struct bench *b)
{
    struct err e = {0};
    assert_int_equal(loop_run(b->loop, &e), 0);
}

static void quit(void *opaque)
{
    struct bench *b = opaque;
    loop_quit(b->loop);
}

static void on_readable(void *opaque, uint32_t events)
{
    struct bench *b = opaque;
    char c;
    b->calls++;
    b->events = events;
    assert_int_equal(read(b->pipe[0], &c, 1), 1);
    loop_quit(b->loop);
}

static void readable_descriptor_is_served(void **state)
{
    struct bench b;
    setup(&b, NULL);
    assert_int_equal(loop_watch(b.loop, b.pipe[0], EPOLLIN, on_readable, &b), 0);
    assert_int_equal(write(b.pipe[1], "x", 1), 1);
    run(&b);
    assert_int_equal(b.calls, 1);
    assert_true(b.events & EPOLLIN);
    teardown(&b);
}

static void *quit_later(void *opaque)
{
    struct timespec pause = {0, 50 * 1000 * 1000};
    nanosleep(&pause, NULL);
    quit(opaque);
    return NULL;
}

static void never(void *opaque, uint32_t events)
{
    struct bench *b = opaque;
    b->calls++;
}

static long cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return t.tv_sec * 1000000000L + t.tv_nsec;
}

/* epoll reports a hang-up even for an empty event set; a paused watch must hear nothing, and the
 * loop must not spin on a closed stdin. */
static void paused_descriptor_stays_silent_on_hangup(void **state)
{
    struct bench b;
    pthread_t t;
    setup(&b, NULL);
    assert_int_equal(loop_watch(b.loop, b.pipe[0], EPOLLIN, never, &b), 0);
    assert_int_equal(loop_watch(b.loop, b.pipe[0], 0, never, &b), 0);
    close(b.pipe[1]);
    b.pipe[1] = -1;
    assert_int_equal(pthread_create(&t, NULL, quit_later, &b), 0);
    long before = cpu_ns();
    run(&b);
    assert_true(cpu_ns() - before < 25 * 1000 * 1000);
    pthread_join(t, NULL);
    assert_int_equal(b.calls, 0);
    teardown(&b);
}

static void regular_file_is_refused_and_forgotten(void **state)
{
    struct bench b;
    char name[] = "/tmp/ring3-loop-XXXXXX";
    int fd = mkstemp(name);
    assert_true(fd >= 0);
    unlink(name);
    setup(&b, NULL);
    assert_int_equal(loop_watch(b.loop, fd, EPOLLIN, never, &b), -EPERM);
    assert_int_equal(loop_watch(b.loop, fd, 0, never, &b), 0);
    teardown(&b);
    close(fd);
}

struct pair {
    struct bench *b;
    int mine, other;
};

static void remove_other(void *opaque, uint32_t events)
{
    struct pair *p = opaque;
    p->b->calls++;
    loop_unwatch(p->b->loop, p->other);
    /* the same number again, as if closed and opened: the old event is not for the new watch */
    loop_watch(p->b->loop, p->other, EPOLLIN, never, p->b);
    loop_quit(p->b->loop);
}

/* Both descriptors are ready in the same epoll_wait; whichever comes first removes the other. */
static void event_of_a_removed_watch_is_dropped(void **state)
{
    struct bench b;
    int q[2];
    setup(&b, NULL);
    assert_int_equal(pipe(q), 0);
    struct pair one = {&b, b.pipe[0], q[0]}, two = {&b, q[0], b.pipe[0]};
    loop_watch(b.loop, b.pipe[0], EPOLLIN, remove_other, &one);
    loop_watch(b.loop, q[0], EPOLLIN, remove_other, &two);
    assert_int_equal(write(b.pipe[1], "x", 1), 1);
    assert_int_equal(write(q[1], "x", 1), 1);
    run(&b);
    assert_int_equal(b.calls, 1);
    teardown(&b);
    close(q[0]);
    close(q[1]);
}

static void note(void *opaque)
{
    struct bench *b = opaque;
    b->calls++;
}

static void posts_run_once_and_are_bounded(void **state)
{
    struct bench b;
    setup(&b, NULL);
    for (int i = 0; i < 63; i++)
        assert_int_equal(loop_post(b.loop, note, &b), 0);
    assert_int_equal(loop_post(b.loop, quit, &b), 0);
    assert_int_equal(loop_post(b.loop, note, &b), -EAGAIN);
    run(&b);
    assert_int_equal(b.calls, 63);
    teardown(&b);
}

static void quit_from_another_thread_and_before_run(void **state)
{
    struct bench b;
    pthread_t t;
    setup(&b, NULL);
    assert_int_equal(pthread_create(&t, NULL, quit_later, &b), 0);
    run(&b);
    pthread_join(t, NULL);
    run(&b); /* quit stays asked for */
    teardown(&b);
}

struct ticking {
    struct bench b;
    struct clock *clock;
    struct timer timer, late;
    uint64_t period_ns, due_ns;
};

static void tick(void *opaque)
{
    struct ticking *t = opaque;
    assert_true(clock_now_ns(t->clock) >= t->due_ns);
    if (++t->b.calls == 5) {
        loop_quit(t->b.loop);
        return;
    }
    t->due_ns += t->period_ns;
    timer_set(&t->timer, t->due_ns);
}

static void timers_run_on_the_loop_not_early(void **state)
{
    struct ticking t = {.period_ns = 2 * 1000 * 1000};
    struct err e = {0};
    t.clock = clock_new(CLOCK_REAL_TIME, &e);
    assert_non_null(t.clock);
    setup(&t.b, t.clock);
    timer_init(&t.timer, t.clock, tick, &t);
    timer_init(&t.late, t.clock, tick, &t);
    timer_set(&t.late, clock_now_ns(t.clock) + 3600 * NS_PER_SEC);
    t.due_ns = clock_now_ns(t.clock) + t.period_ns;
    timer_set(&t.timer, t.due_ns);
    run(&t.b);
    assert_int_equal(t.b.calls, 5);
    timer_set(&t.late, TIMER_NEVER);
    teardown(&t.b);
    clock_free(t.clock);
}

static void *arm_soon(void *opaque)
{
    struct ticking *t = opaque;
    struct timespec pause = {0, 20 * 1000 * 1000};
    nanosleep(&pause, NULL);
    t->due_ns = clock_now_ns(t->clock) + 1;
    t->b.calls = 4;
    timer_set(&t->timer, t->due_ns);
    return NULL;
}

/* The loop sleeps towards a far deadline; another thread arms a near one. */
static void earlier_deadline_from_another_thread_wakes_the_loop(void **state)
{
    struct ticking t = {0};
    struct err e = {0};
    pthread_t thread;
    t.clock = clock_new(CLOCK_REAL_TIME, &e);
    setup(&t.b, t.clock);
    timer_init(&t.timer, t.clock, tick, &t);
    timer_init(&t.late, t.clock, tick, &t);
    timer_set(&t.late, clock_now_ns(t.clock) + 3600 * NS_PER_SEC);
    assert_int_equal(pthread_create(&thread, NULL, arm_soon, &t), 0);
    run(&t.b);
    pthread_join(thread, NULL);
    assert_int_equal(t.b.calls, 5);
    timer_set(&t.late, TIMER_NEVER);
    teardown(&t.b);
    clock_free(t.clock);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(readable_descriptor_is_served),
        cmocka_unit_test(paused_descriptor_stays_silent_on_hangup),
        cmocka_unit_test(regular_file_is_refused_and_forgotten),
        cmocka_unit_test(event_of_a_removed_watch_is_dropped),
        cmocka_unit_test(posts_run_once_and_are_bounded),
        cmocka_unit_test(quit_from_another_thread_and_before_run),
        cmocka_unit_test(timers_run_on_the_loop_not_early),
        cmocka_unit_test(earlier_deadline_from_another_thread_wakes_the_loop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
