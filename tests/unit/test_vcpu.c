/* SPDX-License-Identifier: MIT */
/* vm/vcpu.c: the attention word; no wake-up and no kick is lost. */
#include "unit.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#include "host/fault.h"
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

/* ---- kicks ----------------------------------------------------------------------------------- */

static void count_kick(struct vcpu *v)
{
    struct race *r = (struct race *)v;
    atomic_fetch_add(&r->served, 1);
}

static void kick_is_called_for_new_bits_only(void **state)
{
    struct race r = {.v.kick = count_kick};
    vcpu_attend(&r.v, ATTN_INTERRUPT);
    assert_int_equal(r.served, 1);
    vcpu_attend(&r.v, ATTN_INTERRUPT);
    assert_int_equal(r.served, 1);
    vcpu_attend(&r.v, ATTN_INTERRUPT | ATTN_STOP);
    assert_int_equal(r.served, 2);
    vcpu_unattend(&r.v, ATTN_INTERRUPT);
    vcpu_attend(&r.v, ATTN_INTERRUPT);
    assert_int_equal(r.served, 3);
}

static void no_kick_for_a_sleeper_and_for_oneself(void **state)
{
    struct race r = {.v.kick = count_kick};
    r.v.asleep = true;
    vcpu_attend(&r.v, ATTN_INTERRUPT);
    r.v.asleep = false;
    r.v.runner = pthread_self();
    vcpu_attend(&r.v, ATTN_STOP);
    assert_int_equal(r.served, 0);
    assert_int_equal(r.v.attention, ATTN_INTERRUPT | ATTN_STOP);
}

/* An engine in small: its "translated code" is an endless loop, left by a kick only. Every fourth
 * time the processor sleeps instead. */
struct engine {
    struct vcpu v;
    _Atomic bool in_code, last;
    _Atomic unsigned served;
    pid_t tid;
    uint64_t start, end;
    unsigned kicked;
    int entered; /* host_fault_enter's result */
};

static void kick_engine(struct vcpu *v)
{
    struct engine *g = (struct engine *)v;
    if (atomic_load(&g->in_code))
        host_fault_kick(g->tid);
}

static bool on_kick(void *opaque, const struct host_fault *f)
{
    struct engine *g = opaque;
    greg_t *rip = &f->uc->uc_mcontext.gregs[REG_RIP];
    if (f->sig != HOST_FAULT_KICK)
        return false;
    if ((uint64_t)*rip >= g->start && (uint64_t)*rip < g->end) {
        *rip = (greg_t)g->end;
        g->kicked++;
    }
    return true;
}

/* The last look at the word is the first instruction of what on_kick leads out of. */
static void run_code(struct engine *g)
{
    __asm__ volatile("lea 1f(%%rip), %%rax\n mov %%rax, %[start]\n"
                     "lea 3f(%%rip), %%rax\n mov %%rax, %[end]\n"
                     "mov $1, %%al\n xchg %%al, %[in_code]\n"
                     "1: testl %[bits], %[word]\n jnz 3f\n 2: pause\n jmp 2b\n 3:\n"
                     : [start] "=m"(g->start), [end] "=m"(g->end), [in_code] "+m"(g->in_code)
                     : [word] "m"(g->v.attention), [bits] "i"(ATTN_INTERRUPT)
                     : "rax", "cc", "memory");
    atomic_store(&g->in_code, false);
}

static void *engine_thread(void *opaque)
{
    struct engine *g = opaque;
    g->entered = host_fault_enter(on_kick, g, NULL);
    g->tid = gettid();
    bool last = g->entered < 0;
    for (unsigned i = 0; !last; i++) {
        atomic_store(&g->v.runner, pthread_self());
        if (i % 4 == 3)
            vcpu_wait(&g->v, ATTN_INTERRUPT, UINT64_MAX);
        while (!(atomic_load(&g->v.attention) & ATTN_INTERRUPT))
            run_code(g);
        vcpu_unattend(&g->v, ATTN_INTERRUPT);
        last = atomic_load(&g->last); /* before the requester goes on */
        atomic_fetch_add(&g->served, 1);
    }
    host_fault_leave();
    return NULL;
}

/* One lost kick and the loop never ends. The pauses make the request meet each stage of entry. On
 * a busy machine each round lasts a time slice or two, so time limits the rounds as well. */
static void every_kick_ends_the_code(void **state)
{
    struct engine g = {.v.kick = kick_engine};
    time_t end = time(NULL) + 3;
    unsigned rounds = 0;
    pthread_t t;
    alarm(25);
    assert_int_equal(pthread_create(&t, NULL, engine_thread, &g), 0);
    while (!g.last) {
        for (volatile unsigned pause = rounds % 1024; pause; pause--)
            ;
        atomic_store(&g.last, rounds + 1 == ROUNDS || time(NULL) >= end);
        vcpu_attend(&g.v, ATTN_INTERRUPT);
        while (atomic_load(&g.served) == rounds)
            sched_yield();
        rounds++;
    }
    pthread_join(t, NULL);
    alarm(0);
    assert_int_equal(g.entered, 0);
    assert_int_equal(g.served, rounds);
    assert_true(g.kicked > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_request_wakes_the_sleeper),
        cmocka_unit_test(wait_returns_at_once_when_a_bit_is_set),
        cmocka_unit_test(other_bits_do_not_end_the_wait),
        cmocka_unit_test(kick_is_called_for_new_bits_only),
        cmocka_unit_test(no_kick_for_a_sleeper_and_for_oneself),
        cmocka_unit_test(every_kick_ends_the_code),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
