/* SPDX-License-Identifier: MIT */
/* Whatever words a MIPS32 processor finds in memory, in whatever mode with whatever TLB: it runs to
 * the end of its slice, says HALT or ATTENTION, and what it relies on stays true. */
#include "mips32_rig.h"

static uint32_t x = 88172645;

static uint32_t next(void)
{
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    return x;
}

/* Words that are instructions more often than chance would have it. */
static uint32_t word(struct mips32_rig *m)
{
    uint32_t w = next();
    if (w & 1)
        return next();
    unsigned row = next() % (unsigned)mips32_rows(m->v->decoder);
    const struct mips32_op *op = mips32_row(m->v->decoder, row);
    w = op->match | (next() & ~op->mask);
    return op->flags & (MIPS32_LOAD | MIPS32_STORE) && next() & 7 ? w & ~0xf003u : w;
}

/* Addresses near something. */
static uint32_t address(void)
{
    static const uint32_t near[] = {0x80000000, 0x80001000, 0xa0000ff0, DEVICE,     0xc0000000,
                                    0x00400000, 0x7fffeff8, 0xfffffffc, 0xa8000000, 0};
    return near[next() % ARRAY_LEN(near)] + (next() & 0x1ffc);
}

static void fill(struct mips32_rig *m)
{
    struct mips32_vcpu *v = m->v;
    for (uint32_t at = 0; at < 4 * PAGE_BYTES; at += 4)
        poke32(m, 0x80000000 + at, word(m));
    for (unsigned r = 1; r < 32; r++)
        v->gpr[r] = next() & 3 ? address() : next();
    for (unsigned i = 0; i < v->model->tlb_entries; i++)
        set_tlb(m, i, address() | (next() & 3), next() & next() & next(),
                LO(next() & 0x3000, next() & 7), LO(next() & 0x3000, next() & 7));
    for (unsigned r = 0; r < 32; r++)
        mips32_cp0_write(v, r, 0, next());
    mips32_cp0_write(v, 15, 1, 0x80000000 + (next() & 0x3000));
    mips32_set_fcsr(v, next());
    mips32_set_status(v, v->cp0.status & ~(next() & 8 ? ST_EXL | ST_ERL | ST_BEV : 0));
    v->pc = address();
}

/* Two entries that match an address: which one counts is not defined, and may change. */
static bool is_defined(const struct mips32_vcpu *v, uint32_t va)
{
    unsigned matching = 0;
    for (unsigned i = 0; i < v->model->tlb_entries; i++) {
        const struct mips32_tlb_entry *t = &v->tlb[i];
        matching += ((va ^ t->hi) & ~(t->mask | PAGEMASK_FIXED)) == 0;
    }
    return matching < 2;
}

static void check(struct mips32_rig *m)
{
    const struct mips32_vcpu *v = m->v;
    assert_true(m->exit.kind == EXIT_HALT || m->exit.kind == EXIT_ATTENTION);
    assert_int_equal(v->gpr[0], 0);
    assert_null(v->cur);
    assert_false(v->in_slot);
    assert_true(v->soft == v->soft_sets[v->mode]);
    assert_int_equal(__builtin_ia32_stmxcsr() & 0xffc0, 0x1f80);
    /* What the soft TLB shows is what a translation says. */
    for (unsigned mode = 0; mode < MIPS32_MODES; mode++)
        for (unsigned i = 0; i < MIPS32_SOFT_SIZE; i++) {
            const struct mips32_soft *s = &v->soft_sets[mode][i];
            const uint32_t tags[] = {s->read, s->write, s->fetch};
            for (unsigned a = 0; a < 3; a++) {
                if (tags[a] == MIPS32_SOFT_NONE || !is_defined(v, tags[a]))
                    continue;
                struct mips32_translation t = mips32_translate(
                    v, tags[a], a == 1 ? MIPS32_WRITE : MIPS32_READ, (enum mips32_mode)mode);
                assert_int_equal(t.result, MIPS32_MAPPED);
                assert_int_equal(t.gpa >> PAGE_SHIFT, s->gpfn);
            }
        }
}

static void garbage(const struct mips32_model *model)
{
    struct mips32_rig *m = rig_new(model);
    for (unsigned round = 0; round < 400; round++) {
        fill(m);
        for (unsigned slice = 0; slice < 5; slice++) {
            struct irq_line line = mips32_pin(&m->v->base, next() % 6);
            irq_set(&line, next() & 1);
            m->v->base.isa->interpret(&m->v->base, 1000, &m->exit);
            clock_advance(m->clock, 10000);
            check(m);
        }
    }
    assert_true(m->v->base.stats.fault_hidden > 300);
    assert_true(m->v->base.stats.instructions > 100000);
    assert_true(m->v->base.stats.exits[EXIT_EXCEPTION] > 100000);
    rig_free(m);
}

static void garbage_little_endian(void **state)
{
    garbage(&mips32_24kf);
}

static void garbage_big_endian_with_supervisor(void **state)
{
    struct mips32_model model = mips32_24kf;
    model.big_endian = model.supervisor = true;
    model.tlb_entries = 16;
    garbage(&model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(garbage_little_endian),
        cmocka_unit_test(garbage_big_endian_with_supervisor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
