/* SPDX-License-Identifier: MIT */
/* Guest time: virtual clocks tick by tick, real clocks within generous bounds. */
#include "unit.h"

#include <stdio.h>
#include <time.h>

#include "ring3/clock.h"

static struct clock *test_clock;
static char trace[512];

static struct clock *make(enum clock_kind kind)
{
    trace[0] = 0;
    return test_clock = clock_new(kind, NULL);
}

static void note(void *opaque)
{
    size_t n = strlen(trace);
    snprintf(trace + n, sizeof trace - n, "%s@%lu ", (const char *)opaque,
             (unsigned long)clock_now_ns(test_clock));
}

static void timers_run_in_order_at_their_deadline(void **state)
{
    struct clock *c = make(CLOCK_VIRTUAL);
    struct timer a, b, d;
    timer_init(&a, c, note, "a");
    timer_init(&b, c, note, "b");
    timer_init(&d, c, note, "d");
    assert_true(clock_next_deadline(c) == TIMER_NEVER);
    timer_set(&a, 300);
    timer_set(&b, 100);
    timer_set(&d, 300);
    assert_true(clock_next_deadline(c) == 100);
    clock_advance(c, 99);
    assert_string_equal(trace, "");
    clock_advance(c, 401);
    assert_string_equal(trace, "b@100 a@300 d@300 ");
    assert_true(clock_now_ns(c) == 500);
    assert_true(clock_next_deadline(c) == TIMER_NEVER);
    clock_free(c);
}

static void setting_again_moves_and_never_disarms(void **state)
{
    struct clock *c = make(CLOCK_VIRTUAL);
    struct timer a, b;
    timer_init(&a, c, note, "a");
    timer_init(&b, c, note, "b");
    timer_set(&a, 100);
    timer_set(&b, 200);
    timer_set(&a, 300);
    timer_set(&b, TIMER_NEVER);
    timer_set(&b, TIMER_NEVER);
    clock_advance(c, 1000);
    assert_string_equal(trace, "a@300 ");
    timer_set(&b, 10); /* in the past: due at once, and time does not go back */
    assert_true(clock_run_due(c) == TIMER_NEVER);
    assert_string_equal(trace, "a@300 b@1000 ");
    clock_free(c);
}

struct periodic {
    struct timer t;
    unsigned runs;
};

static void again(void *opaque)
{
    struct periodic *p = opaque;
    p->runs++;
    timer_set(&p->t, clock_now_ns(p->t.clock) + 10);
}

static void callback_may_arm_its_own_timer(void **state)
{
    struct clock *c = make(CLOCK_VIRTUAL);
    struct periodic p = {0};
    timer_init(&p.t, c, again, &p);
    timer_set(&p.t, 10);
    clock_advance(c, 1000);
    assert_int_equal(p.runs, 100);
    timer_set(&p.t, TIMER_NEVER);
    clock_free(c);
}

static void count(void *opaque)
{
    ++*(unsigned *)opaque;
}

static void rearm_only_when_the_earliest_moves(void **state)
{
    struct clock *c = make(CLOCK_VIRTUAL);
    struct timer a, b;
    unsigned rearms = 0;
    clock_set_rearm(c, count, &rearms);
    timer_init(&a, c, note, "a");
    timer_init(&b, c, note, "b");
    timer_set(&a, 100);
    assert_int_equal(rearms, 1);
    timer_set(&b, 200);
    assert_int_equal(rearms, 1);
    timer_set(&b, 50);
    assert_int_equal(rearms, 2);
    timer_set(&b, TIMER_NEVER);
    assert_int_equal(rearms, 3);
    timer_set(&a, TIMER_NEVER);
    assert_int_equal(rearms, 4);
    clock_free(c);
}

static void virtual_time_is_deterministic(void **state)
{
    struct clock *c = make(CLOCK_VIRTUAL);
    assert_true(clock_now_ns(c) == 0);
    assert_true(clock_wall_s(c) == 946684800);
    assert_true(clock_tsc_hz(c) == NS_PER_SEC);
    clock_advance(c, 3 * NS_PER_SEC - 1);
    assert_true(clock_tsc(c) == 3 * NS_PER_SEC - 1);
    assert_true(clock_wall_s(c) == 946684802);
    clock_free(c);
}

static void real_time_follows_the_host(void **state)
{
    struct clock *c = make(CLOCK_REAL_TIME);
    struct timer a;
    timer_init(&a, c, note, "a");
    uint64_t start_ns = clock_now_ns(c), start_tsc = clock_tsc(c);
    timer_set(&a, start_ns + 20 * 1000 * 1000);
    assert_true(clock_run_due(c) == start_ns + 20 * 1000 * 1000);
    assert_string_equal(trace, "");
    struct timespec pause = {0, 50 * 1000 * 1000};
    nanosleep(&pause, NULL);
    assert_true(clock_run_due(c) == TIMER_NEVER);
    assert_int_equal(trace[0], 'a');
    uint64_t ns = clock_now_ns(c) - start_ns;
    double tsc_ns = (double)(clock_tsc(c) - start_tsc) * 1e9 / (double)clock_tsc_hz(c);
    assert_true(ns >= 50 * 1000 * 1000);
    assert_true(tsc_ns > (double)ns * 0.9 && tsc_ns < (double)ns * 1.1);
    int64_t behind = (int64_t)time(NULL) - clock_wall_s(c);
    assert_true(behind >= 0 && behind <= 2);
    clock_free(c);
}

static uint64_t host_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * NS_PER_SEC + (uint64_t)t.tv_nsec;
}

static void a_paused_clock_stands_still(void **state)
{
    const struct timespec moment = {0, 30 * 1000 * 1000};
    struct clock *c = make(CLOCK_REAL_TIME);
    struct timer a;
    timer_init(&a, c, note, "a");
    clock_pause(c);
    uint64_t ns = clock_now_ns(c), tsc = clock_tsc(c);
    assert_true(clock_is_paused(c));
    timer_set(&a, ns + 1000 * 1000);
    nanosleep(&moment, NULL);
    assert_true(clock_now_ns(c) == ns && clock_tsc(c) == tsc);
    clock_run_due(c);
    assert_string_equal(trace, "");
    uint64_t before = host_ns();
    clock_resume(c);
    uint64_t passed = clock_now_ns(c) - ns, tsc_passed = clock_tsc(c) - tsc;
    uint64_t real = host_ns() - before;
    assert_false(clock_is_paused(c));
    assert_true(passed <= real);
    assert_true((double)tsc_passed * 1e9 / (double)clock_tsc_hz(c) < (double)real * 1.1 + 1000);
    nanosleep(&moment, NULL);
    clock_run_due(c);
    assert_int_equal(trace[0], 'a');
    clock_free(c);
}

static void the_state_of_a_clock_moves_to_another(void **state)
{
    for (int kind = CLOCK_REAL_TIME; kind <= CLOCK_VIRTUAL; kind++) {
        struct clock *c = make((enum clock_kind)kind), *d = make((enum clock_kind)kind);
        struct clock_state s;
        if (kind == CLOCK_VIRTUAL)
            clock_advance(c, 12345);
        clock_pause(c);
        clock_get_state(c, &s);
        s.now_ns += 1000 * NS_PER_SEC;
        s.tsc += 77777;
        s.wall_s -= 3600; /* an hour ago */
        s.missed_s = 5;
        clock_pause(d);
        clock_set_state(d, &s);
        assert_true(clock_now_ns(d) == s.now_ns);
        if (kind == CLOCK_REAL_TIME)
            assert_true(clock_tsc(d) == s.tsc);
        clock_resume(d);
        assert_true(clock_now_ns(d) >= s.now_ns);
        if (kind == CLOCK_REAL_TIME)
            assert_in_range(clock_missed_s(d), 3605, 3700);
        else
            assert_int_equal(clock_missed_s(d), 0);
        clock_free(c);
        clock_free(d);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(timers_run_in_order_at_their_deadline),
        cmocka_unit_test(setting_again_moves_and_never_disarms),
        cmocka_unit_test(callback_may_arm_its_own_timer),
        cmocka_unit_test(rearm_only_when_the_earliest_moves),
        cmocka_unit_test(virtual_time_is_deterministic),
        cmocka_unit_test(real_time_follows_the_host),
        cmocka_unit_test(a_paused_clock_stands_still),
        cmocka_unit_test(the_state_of_a_clock_moves_to_another),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
