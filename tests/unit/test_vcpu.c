/* SPDX-License-Identifier: MIT */
/* vm/vcpu.c: the attention word; no wake-up is lost. */
#include "unit.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#include "ring3/vcpu.h"

#define ROUNDS 20000

struct race {
    struct vcpu v;
    _Atomic unsigned served;
};

static void *sleeper(void *opaque)
{
    struct race *r = opaque;
    for (unsigned i = 0; i < ROUNDS; i++) {
        vcpu_wait(&r->v, ATTN_INTERRUPT, UINT64_MAX);
        vcpu_unattend(&r->v, ATTN_INTERRUPT);
        atomic_fetch_add(&r->served, 1);
    }
    return NULL;
}

/* Each request is raised only after the one before was served: one lost wake-up and both threads
 * wait for ever (alarm() then fails the test). */
static void every_request_wakes_the_sleeper(void **state)
{
    struct race r = {0};
    pthread_t t;
    alarm(30);
    assert_int_equal(pthread_create(&t, NULL, sleeper, &r), 0);
    for (unsigned i = 0; i < ROUNDS; i++) {
        vcpu_attend(&r.v, ATTN_INTERRUPT);
        while (atomic_load(&r.served) == i)
            sched_yield();
    }
    pthread_join(t, NULL);
    alarm(0);
    assert_int_equal(r.served, ROUNDS);
}

static void wait_returns_at_once_when_a_bit_is_set(void **state)
{
    struct vcpu v = {0};
    vcpu_attend(&v, ATTN_NMI);
    alarm(5);
    vcpu_wait(&v, ATTN_NMI | ATTN_STOP, UINT64_MAX);
    alarm(0);
    assert_int_equal(v.attention, ATTN_NMI);
    assert_false(v.asleep);
    vcpu_unattend(&v, ATTN_NMI);
    assert_int_equal(v.attention, 0);
}

static void *wait_for_stop(void *opaque)
{
    struct race *r = opaque;
    vcpu_wait(&r->v, ATTN_STOP, UINT64_MAX);
    atomic_store(&r->served, 1);
    return NULL;
}

static void other_bits_do_not_end_the_wait(void **state)
{
    struct race r = {0};
    pthread_t t;
    struct timespec pause = {0, 20 * 1000 * 1000};
    assert_int_equal(pthread_create(&t, NULL, wait_for_stop, &r), 0);
    nanosleep(&pause, NULL);
    vcpu_attend(&r.v, ATTN_INTERRUPT);
    nanosleep(&pause, NULL);
    assert_int_equal(r.served, 0);
    alarm(5);
    vcpu_attend(&r.v, ATTN_STOP);
    pthread_join(t, NULL);
    alarm(0);
    assert_int_equal(r.served, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_request_wakes_the_sleeper),
        cmocka_unit_test(wait_returns_at_once_when_a_bit_is_set),
        cmocka_unit_test(other_bits_do_not_end_the_wait),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
