/* SPDX-License-Identifier: MIT */
/* Interrupt lines of a MIPS32 processor, raised by another thread while it runs, halts, masks and
 * unmasks them: none is lost, none comes twice. */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <time.h>

#include "mips32_rig.h"

#define ROUNDS 5000u
#define LIMIT  60 /* seconds without an answer */

struct shared {
    struct mips32_rig *m;
    struct irq_line line;
    _Atomic unsigned served;
    _Atomic bool done, late;
};

/* The guest's handler writes here: the device takes its interrupt back. */
static void served(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct shared *s = opaque;
    irq_set(&s->line, 0);
    atomic_fetch_add(&s->served, 1);
}

static void *device(void *opaque)
{
    struct shared *s = opaque;
    struct timespec start, now;
    for (unsigned i = 0; i < ROUNDS && !atomic_load(&s->late); i++) {
        clock_gettime(CLOCK_MONOTONIC, &start);
        irq_set(&s->line, 1);
        while (atomic_load(&s->served) == i && !atomic_load(&s->late)) {
            sched_yield();
            clock_gettime(CLOCK_MONOTONIC, &now);
            if (now.tv_sec - start.tv_sec > LIMIT)
                atomic_store(&s->late, true);
        }
    }
    atomic_store(&s->done, true);
    vcpu_attend(&s->m->v->base, ATTN_STOP);
    return NULL;
}

static void run_until_done(struct shared *s)
{
    struct vcpu *v = &s->m->v->base;
    while (!atomic_load(&s->done)) {
        struct vm_exit x = {.kind = EXIT_ATTENTION};
        v->isa->interpret(v, 1000, &x);
        if (x.kind == EXIT_HALT)
            vcpu_wait(v, x.wake | ATTN_STOP, UINT64_MAX);
    }
}

static void handshakes(const uint32_t *program, size_t words)
{
    static const struct io_ops ops = {.write = served, .min_size = 4, .max_size = 4};
    struct shared s = {.m = rig_new(&mips32_24kf)};
    struct err e = {0};
    pthread_t thread;
    s.line = mips32_pin(&s.m->v->base, 2);
    assert_int_equal(bus_map(s.m->mmio, 0x1f001000, 4, &ops, &s, "served", &e), 0);
    /* k0 and k1 are the handler's. */
    PUT(s.m, VECTOR(GENERAL), LUI(K0, 0xbf00), ORI(K0, K0, 0x1000), SW(ZERO, 0, K0),
        ADDIU(S0, S0, 1), ERET);
    put_code(s.m, CODE, program, words);
    mips32_cp0_write(s.m->v, 12, 0, ST_IM | ST_IE);
    s.m->v->gpr[S1] = ST_IM | ST_IE;
    s.m->v->pc = CODE;
    assert_int_equal(pthread_create(&thread, NULL, device, &s), 0);
    run_until_done(&s);
    pthread_join(thread, NULL);
    assert_false(atomic_load(&s.late));
    assert_int_equal(atomic_load(&s.served), ROUNDS);
    assert_int_equal(s.m->v->gpr[S0], ROUNDS);
    rig_free(s.m);
}
#define HANDSHAKES(...)                                                                            \
    handshakes((const uint32_t[]){__VA_ARGS__}, ARRAY_LEN(((const uint32_t[]){__VA_ARGS__})))

static void while_it_computes(void **state)
{
    HANDSHAKES(BEQ(ZERO, ZERO, -1), ADDIU(T0, T0, 1));
}

static void while_it_halts(void **state)
{
    HANDSHAKES(WAIT, BEQ(ZERO, ZERO, -2), NOP);
}

static void while_it_masks_and_unmasks(void **state)
{
    HANDSHAKES(DI(T0), NOP, EI(T0), WAIT, MTC0(ZERO, 12, 0), NOP, NOP, MTC0(S1, 12, 0),
               BEQ(ZERO, ZERO, -9), NOP);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(while_it_computes),
        cmocka_unit_test(while_it_halts),
        cmocka_unit_test(while_it_masks_and_unmasks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
