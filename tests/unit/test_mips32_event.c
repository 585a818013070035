/* SPDX-License-Identifier: MIT */
/* MIPS32 exceptions and interrupts (vol. III chapter 6): vectors, pins, the timer, WAIT, ERET, NMI,
 * and what a snapshot and a debugger see of the processor. */
#include "mips32_rig.h"

#include <errno.h>
#include <stdlib.h>

#include "ring3/debug.h"

static void vectors_follow_bev_and_ebase(void **state)
{
    struct mips32_rig *m = rig_new(&mips32_24kf);
    for (uint32_t at = 0; at < 0x400; at += 4)
        poke32(m, 0x80003000 + at, WAIT);
    mips32_cp0_write(m->v, 15, 1, 0x80003000);
    assert_int_equal(RUN(m, SYSCALL, WAIT), 0x80003000 + GENERAL);
    acknowledge(m);
    m->v->gpr[A0] = 0x00400000;
    assert_int_equal(RUN(m, LW(T0, 0, A0), WAIT), 0x80003000 + REFILL);
    /* BEV leads to the ROM, where there is none: each fetch is a bus error at the general vector.
     */
    mips32_set_status(m->v, ST_BEV | ST_IM);
    PUT(m, CODE, SYSCALL);
    m->v->pc = CODE;
    m->v->base.isa->interpret(&m->v->base, 1, &m->exit);
    assert_int_equal(m->exit.kind, EXIT_ATTENTION);
    assert_int_equal(m->v->pc, 0xbfc00380);
    rig_free(m);
}

static void an_endless_chain_of_exceptions_ends_the_slice(void **state)
{
    struct mips32_rig *m = rig_new(&mips32_24kf);
    mips32_set_status(m->v, ST_BEV | ST_IM);
    m->v->pc = 0xbfc00000;
    m->v->base.isa->interpret(&m->v->base, 100000, &m->exit);
    assert_int_equal(m->exit.kind, EXIT_ATTENTION);
    assert_int_equal(m->v->base.stats.exits[EXIT_EXCEPTION], 100000);
    rig_free(m);
}

static void pin(struct mips32_rig *m, unsigned n, int level)
{
    struct irq_line line = mips32_pin(&m->v->base, n);
    irq_set(&line, level);
}

static void pins_and_masks(void **state)
{
    for (unsigned n = 0; n < 6; n++) {
        struct mips32_rig *m = rig_new(&mips32_24kf);
        uint32_t ip = 1u << (10 + n);
        PUT(m, CODE, EI(ZERO), NOP, WAIT);
        /* Masked: nothing but Cause tells. */
        mips32_cp0_write(m->v, 12, 0, ST_IM & ~ip);
        pin(m, n, 1);
        m->v->pc = CODE;
        assert_int_equal(run(m), CODE + 8);
        assert_int_equal(mips32_cp0_read(m->v, 13, 0) & 0xff00, ip);
        /* Let through, but not enabled. */
        mips32_cp0_write(m->v, 12, 0, ip);
        PUT(m, CODE + 0x40, NOP, BEQ(ZERO, ZERO, -2), NOP);
        m->v->pc = CODE + 0x40;
        m->v->base.isa->interpret(&m->v->base, 100, &m->exit);
        assert_int_equal(m->v->base.stats.exits[EXIT_INTERRUPT], 0);
        /* Enabled: at the next instruction. */
        m->v->pc = CODE;
        pin(m, n, 1);
        m->v->base.isa->interpret(&m->v->base, 2, &m->exit);
        assert_int_equal(m->v->base.stats.exits[EXIT_INTERRUPT], 1);
        assert_int_equal(m->v->cp0.epc, CODE + 4);
        assert_int_equal(exc_code(m), EXC_INT);
        assert_false(in_delay_slot(m));
        /* In the handler it waits; when it has gone, nothing comes any more. */
        pin(m, n, 0);
        acknowledge(m);
        mips32_cp0_write(m->v, 12, 0, ip | ST_IE);
        m->v->pc = CODE + 0x40;
        m->v->base.isa->interpret(&m->v->base, 100, &m->exit);
        assert_int_equal(m->v->base.stats.exits[EXIT_INTERRUPT], 1);
        rig_free(m);
    }
}

static void interrupt_vectors(void **state)
{
    static const struct {
        uint32_t cause, spacing, pins, vector;
    } cases[] = {
        {0, 0, 1, GENERAL},
        {CA_IV, 0, 1, INTERRUPT},
        {0, 0x20, 1, GENERAL},
        {CA_IV, 0x20, 1, INTERRUPT + 2 * 0x20},
        {CA_IV, 0x20, 0x21, INTERRUPT + 7 * 0x20}, /* the highest one wins */
        {CA_IV, 0x40, 4, INTERRUPT + 4 * 0x40},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct mips32_rig *m = rig_new(&mips32_24kf);
        mips32_cp0_write(m->v, 13, 0, cases[i].cause);
        mips32_cp0_write(m->v, 12, 1, cases[i].spacing);
        for (unsigned n = 0; n < 6; n++)
            pin(m, n, cases[i].pins >> n & 1);
        /* Vectors are full of WAITs, but with an interrupt waiting that is no halt. */
        mips32_cp0_write(m->v, 12, 0, ST_IM | ST_IE);
        m->v->pc = CODE;
        m->v->base.isa->interpret(&m->v->base, 0, &m->exit);
        PUT(m, CODE, NOP);
        PUT(m, VECTOR(cases[i].vector), ADDIU(T0, ZERO, 77));
        m->v->base.isa->interpret(&m->v->base, 1, &m->exit);
        assert_int_equal(m->v->gpr[T0], 77);
        assert_int_equal(m->v->cp0.epc, CODE);
        rig_free(m);
    }
}

static void software_interrupts(void **state)
{
    struct mips32_rig *m = rig_new(&mips32_24kf);
    mips32_cp0_write(m->v, 12, 0, ST_IM | ST_IE);
    m->v->gpr[T0] = 0x200;
    PUT(m, VECTOR(GENERAL), MTC0(ZERO, 13, 0), WAIT);
    assert_int_equal(RUN(m, MTC0(T0, 13, 0), ADDIU(T1, ZERO, 1), WAIT), VECTOR(GENERAL) + 4);
    assert_int_equal(m->v->cp0.epc, CODE + 4);
    assert_int_equal(m->v->gpr[T1], 0);
    rig_free(m);
}

/* A branch and its slot are not torn apart: an interrupt that comes in the slot is taken at the
 * target. */
static void interrupts_and_slots(void **state)
{
    struct mips32_rig *m = rig_new(&mips32_24kf);
    mips32_cp0_write(m->v, 12, 0, ST_IM | ST_IE);
    m->v->gpr[T0] = 0x100;
    PUT(m, VECTOR(GENERAL), MTC0(ZERO, 13, 0), WAIT);
    RUN(m, BEQ(ZERO, ZERO, 7), MTC0(T0, 13, 0), WAIT);
    assert_int_equal(exc_code(m), EXC_INT);
    assert_int_equal(m->v->cp0.epc, CODE + 32);
    assert_false(in_delay_slot(m));
    rig_free(m);
}

static void count_and_compare(void **state)
{
    struct mips32_rig *m = rig_new(&mips32_24kf);
    clock_advance(m->clock, 12345);
    mips32_cp0_write(m->v, 9, 0, 1000);
    uint32_t count = mips32_cp0_read(m->v, 9, 0);
    assert_in_range(count, 1000, 1001);
    clock_advance(m->clock, 1000); /* 100 ticks */
    assert_int_equal(mips32_cp0_read(m->v, 9, 0), count + 100);
    mips32_cp0_write(m->v, 11, 0, count + 200);
    clock_advance(m->clock, 980);
    assert_int_equal(mips32_cp0_read(m->v, 13, 0) & (CA_TI | CA_IP7), 0);
    clock_advance(m->clock, 40);
    assert_int_equal(mips32_cp0_read(m->v, 13, 0) & (CA_TI | CA_IP7), CA_TI | CA_IP7);
    /* A write of Compare, and nothing else, takes it away. */
    mips32_cp0_write(m->v, 9, 0, 0);
    assert_int_equal(mips32_cp0_read(m->v, 13, 0) & CA_TI, CA_TI);
    mips32_cp0_write(m->v, 11, 0, 50);
    assert_int_equal(mips32_cp0_read(m->v, 13, 0) & (CA_TI | CA_IP7), 0);
    /* It comes again each time Count wraps. */
    clock_advance(m->clock, 1000);
    assert_int_equal(mips32_cp0_read(m->v, 13, 0) & CA_TI, CA_TI);
    mips32_cp0_write(m->v, 11, 0, 50);
    for (unsigned round = 0; round < 3; round++) { /* by its timer, without Cause being read */
        clock_advance(m->clock, UINT64_C(42949672960) - 1000);
        assert_int_equal(atomic_load(&m->v->lines) & CA_TI, 0);
        clock_advance(m->clock, 1000);
        assert_int_equal(atomic_load(&m->v->lines) & CA_TI, CA_TI);
        mips32_set_lines(m->v, CA_TI, false);
    }
    rig_free(m);
}

/* The thread that runs the clock's timers may be late. Whoever has seen Count pass Compare sees the
 * interrupt all the same. */
static void count_shows_a_late_timer(void **state)
{
    struct mips32_rig *m = rig_new(&mips32_24kf);
    struct err e = {0};
    struct clock *real = clock_new(CLOCK_REAL_TIME, &e);
    m->v->base.clock = real; /* the processor's timer stays with the other, which stands still */
    uint32_t compare = mips32_cp0_read(m->v, 9, 0) + 100000;
    mips32_cp0_write(m->v, 11, 0, compare);
    assert_int_equal(mips32_cp0_read(m->v, 13, 0) & CA_TI, 0);
    while ((int32_t)(mips32_cp0_read(m->v, 9, 0) - compare) < 0)
        continue;
    assert_int_equal(mips32_cp0_read(m->v, 13, 0) & (CA_TI | CA_IP7), CA_TI | CA_IP7);
    m->v->base.clock = m->clock;
    clock_free(real);
    rig_free(m);
}

static void count_can_be_stopped(void **state)
{
    struct mips32_rig *m = rig_new(&mips32_24kf);
    mips32_cp0_write(m->v, 9, 0, 500);
    mips32_cp0_write(m->v, 11, 0, 600);
    mips32_cp0_write(m->v, 13, 0, CA_DC);
    uint32_t count = mips32_cp0_read(m->v, 9, 0);
    clock_advance(m->clock, 1000000);
    assert_int_equal(mips32_cp0_read(m->v, 9, 0), count);
    assert_int_equal(mips32_cp0_read(m->v, 13, 0) & CA_TI, 0);
    mips32_cp0_write(m->v, 13, 0, 0);
    assert_int_equal(mips32_cp0_read(m->v, 9, 0), count);
    clock_advance(m->clock, 2000);
    assert_int_equal(mips32_cp0_read(m->v, 9, 0), count + 200);
    assert_int_equal(mips32_cp0_read(m->v, 13, 0) & CA_TI, CA_TI);
    rig_free(m);
}

static void the_timer_wakes_a_halted_processor(void **state)
{
    struct mips32_rig *m = rig_new(&mips32_24kf);
    mips32_cp0_write(m->v, 12, 0, CA_IP7 | ST_IE);
    mips32_cp0_write(m->v, 11, 0, mips32_cp0_read(m->v, 9, 0) + 1000);
    assert_int_equal(RUN(m, WAIT, ADDIU(T0, ZERO, 1), WAIT), CODE);
    assert_int_equal(m->exit.wake, ATTN_NMI | ATTN_RESET | ATTN_INTERRUPT);
    assert_int_equal(atomic_load(&m->v->base.attention) & ATTN_INTERRUPT, 0);
    clock_advance(m->clock, 20000);
    assert_int_equal(atomic_load(&m->v->base.attention) & ATTN_INTERRUPT, ATTN_INTERRUPT);
    PUT(m, VECTOR(GENERAL), MTC0(ZERO, 11, 0), WAIT);
    assert_int_equal(run(m), VECTOR(GENERAL) + 4);
    assert_int_equal(m->v->cp0.epc, CODE + 4);
    assert_int_equal(m->v->gpr[T0], 0);
    rig_free(m);
}

static void wait_with_everything_masked(void **state)
{
    struct mips32_rig *m = rig_new(&mips32_24kf);
    mips32_cp0_write(m->v, 12, 0, 0);
    pin(m, 0, 1);
    assert_int_equal(RUN(m, WAIT), CODE);
    assert_int_equal(m->exit.wake, ATTN_NMI | ATTN_RESET);
    /* With the pin let through, WAIT is over at once even though interrupts are off. */
    mips32_cp0_write(m->v, 12, 0, ST_IM);
    PUT(m, CODE, WAIT, MTC0(ZERO, 12, 0), WAIT);
    m->v->pc = CODE;
    assert_int_equal(run(m), CODE + 8);
    rig_free(m);
}

static void return_from_exceptions(void **state)
{
    struct mips32_rig *m = rig_new(&mips32_24kf);
    m->v->cp0.epc = CODE + 0x40;
    m->v->cp0.error_epc = CODE + 0x80;
    PUT(m, CODE + 0x40, WAIT);
    PUT(m, CODE + 0x80, WAIT);
    mips32_set_status(m->v, ST_EXL | ST_ERL | ST_IM);
    assert_int_equal(RUN(m, ERET, NOP, WAIT), CODE + 0x80); /* ERL first */
    assert_int_equal(m->v->cp0.status, ST_EXL | ST_IM);
    assert_int_equal(RUN(m, ERET, NOP, WAIT), CODE + 0x40);
    assert_int_equal(m->v->cp0.status, ST_IM);
    rig_free(m);
}

static void non_maskable(void **state)
{
    struct mips32_rig *m = rig_new(&mips32_24kf);
    PUT(m, CODE, NOP, NOP);
    m->v->pc = CODE;
    vcpu_attend(&m->v->base, ATTN_NMI);
    m->v->base.isa->interpret(&m->v->base, 0, &m->exit);
    m->v->base.isa->interpret(&m->v->base, 1, &m->exit); /* its fetch is a bus error */
    assert_int_equal(m->v->cp0.error_epc, CODE);
    assert_true(m->v->cp0.status & ST_NMI);
    assert_true(m->v->cp0.status & ST_ERL);
    assert_int_equal(m->v->cp0.epc, 0xbfc00000);
    rig_free(m);
}

/* Saved and restored into another processor, a program goes on as if nothing had been. */
static void snapshots(void **state)
{
    struct mips32_rig *a = rig_new(&mips32_24kf), *b = rig_new(&mips32_24kf);
    size_t count;
    const struct state_field *f = mips32_ops.state(&count);
    PUT(a, CODE, ADDIU(T0, ZERO, 5), LW(T1, 0, A0), BNE(T0, ZERO, -2), ADDIU(T0, T0, -1), WAIT);
    PUT(b, CODE, ADDIU(T0, ZERO, 5), LW(T1, 0, A0), BNE(T0, ZERO, -2), ADDIU(T0, T0, -1), WAIT);
    poke32(b, 0x80000000 + 0x100000, 0xbeef);
    set_tlb(a, 7, 0x00400000, 0, LO(0x100000, LO_V | LO_G), LO_G);
    a->v->gpr[A0] = 0x00400000;
    a->v->fpr[3] = UINT64_C(0x123456789abcdef0);
    mips32_set_fcsr(a->v, 3);
    mips32_cp0_write(a->v, 9, 0, 777);
    mips32_cp0_write(a->v, 11, 0, 900);
    pin(a, 2, 1);
    a->v->pc = CODE;
    a->v->base.isa->interpret(&a->v->base, 4, &a->exit);
    mips32_ops.parked(&a->v->base);
    for (size_t i = 0; i < count; i++)
        memcpy((char *)b->v + f[i].offset, (char *)a->v + f[i].offset, f[i].size * f[i].count);
    mips32_ops.restored(&b->v->base);
    assert_int_equal(b->v->pc, a->v->pc);
    assert_int_equal(b->v->host_csr, a->v->host_csr);
    assert_int_equal(mips32_cp0_read(b->v, 9, 0), 777);
    assert_int_equal(mips32_cp0_read(b->v, 13, 0) & 0xff00, 1u << 12);
    mips32_cp0_write(b->v, 12, 0, ST_IM & ~(1u << 12));
    assert_int_equal(run(b), CODE + 16);
    assert_int_equal(b->v->gpr[T1], 0xbeef);
    clock_advance(b->clock, 1240);
    assert_int_equal(mips32_cp0_read(b->v, 13, 0) & CA_TI, CA_TI);
    /* Garbage is brought into range. */
    srand(1);
    for (unsigned round = 0; round < 100; round++) {
        for (size_t i = 0; i < count; i++)
            for (size_t k = 0; k < f[i].size * f[i].count; k++)
                ((uint8_t *)b->v)[f[i].offset + k] =
                    f[i].is_bool ? (uint8_t)(rand() & 1) : (uint8_t)rand();
        mips32_ops.restored(&b->v->base);
        assert_int_equal(b->v->gpr[0], 0);
        assert_in_range(b->v->cp0.random, 0, 31);
        b->v->base.isa->interpret(&b->v->base, 1000, &b->exit);
    }
    rig_free(a);
    rig_free(b);
}

static void debugger_points(void **state)
{
    struct mips32_rig *m = rig_new(&mips32_24kf);
    const struct isa_debug *d = mips32_ops.debug;
    struct vcpu *v = &m->v->base;
    struct debug_stop stop;
    m->v->gpr[A0] = DATA;
    PUT(m, CODE, NOP, ADDIU(T0, ZERO, 1), SW(T0, 8, A0), BEQ(ZERO, ZERO, 1), NOP, WAIT);
    m->v->pc = CODE;
    m->v->base.isa->interpret(v, 1, &m->exit); /* so that a point may be where it stands */
    assert_int_equal(d->set_point(v, DEBUG_EXECUTE, CODE + 8, 4, true), 0);
    v->isa->interpret(v, 100, &m->exit);
    assert_int_equal(m->exit.kind, EXIT_DEBUG);
    assert_int_equal(m->exit.pc, CODE + 8);
    d->reason(v, &stop);
    assert_true(stop.point);
    assert_int_equal(d->set_point(v, DEBUG_EXECUTE, CODE + 8, 4, false), 0);
    assert_int_equal(d->set_point(v, DEBUG_EXECUTE, CODE + 8, 4, false), -ENOENT);
    /* A watched store has happened when it is reported. */
    assert_int_equal(d->set_point(v, DEBUG_WRITE, DATA + 8, 4, true), 0);
    v->isa->interpret(v, 100, &m->exit);
    assert_int_equal(m->exit.kind, EXIT_DEBUG);
    assert_int_equal(m->exit.pc, CODE + 12);
    assert_int_equal(peek32(m, DATA + 8), 1);
    d->reason(v, &stop);
    assert_int_equal(stop.kind, DEBUG_WRITE);
    assert_int_equal(stop.address, DATA + 8);
    assert_int_equal(d->set_point(v, DEBUG_WRITE, DATA + 8, 4, false), 0);
    /* A branch and its slot are one step. */
    d->set_step(v, true);
    v->isa->interpret(v, 100, &m->exit);
    assert_int_equal(m->exit.kind, EXIT_DEBUG);
    assert_int_equal(m->exit.pc, CODE + 20);
    d->reason(v, &stop);
    assert_false(stop.point);
    assert_int_equal(run(m), CODE + 20);
    rig_free(m);
}

static void debugger_registers(void **state)
{
    struct mips32_rig *m = rig_new(&mips32_24kf);
    const struct isa_debug *d = mips32_ops.debug;
    struct vcpu *v = &m->v->base;
    mips32_set_status(m->v, m->v->cp0.status | ST_FR); /* FPRs of 64 bits */
    for (unsigned n = 0; n < d->registers; n++) {
        uint8_t bytes[DEBUG_REGISTER_BYTES] = {0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde, 0xf0};
        uint8_t back[DEBUG_REGISTER_BYTES] = {0};
        bool fixed = n == 32 || n == 35 || n == 36 || n == 71;
        assert_in_range(d->size(n), 4, 8);
        assert_int_equal(d->write(v, n, bytes), !fixed);
        d->read(v, n, back);
        if (!fixed && n != 0 && n != 70)
            assert_memory_equal(back, bytes, d->size(n));
    }
    assert_int_equal(d->size(d->registers), 0);
    assert_int_equal(m->v->gpr[0], 0);
    assert_int_equal(m->v->pc, 0x78563412);
    /* Of 32 bits, two of them in one double. */
    uint8_t f3[8] = {1, 2, 3, 4, 0xff}, back[8];
    mips32_set_status(m->v, m->v->cp0.status & ~ST_FR);
    assert_true(d->write(v, 38 + 3, f3));
    d->read(v, 38 + 3, back);
    assert_memory_equal(back, ((uint8_t[8]){1, 2, 3, 4}), 8);
    assert_int_equal(mips32_get_d(m->v, 2) >> 32, 0x04030201);
    gpa_t gpa;
    assert_true(d->translate(v, 0xa0001234, &gpa));
    assert_int_equal(gpa, 0x1234);
    assert_false(d->translate(v, 0x00400000, &gpa));
    rig_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vectors_follow_bev_and_ebase),
        cmocka_unit_test(an_endless_chain_of_exceptions_ends_the_slice),
        cmocka_unit_test(pins_and_masks),
        cmocka_unit_test(interrupt_vectors),
        cmocka_unit_test(software_interrupts),
        cmocka_unit_test(interrupts_and_slots),
        cmocka_unit_test(count_and_compare),
        cmocka_unit_test(count_shows_a_late_timer),
        cmocka_unit_test(count_can_be_stopped),
        cmocka_unit_test(the_timer_wakes_a_halted_processor),
        cmocka_unit_test(wait_with_everything_masked),
        cmocka_unit_test(return_from_exceptions),
        cmocka_unit_test(non_maskable),
        cmocka_unit_test(snapshots),
        cmocka_unit_test(debugger_points),
        cmocka_unit_test(debugger_registers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
