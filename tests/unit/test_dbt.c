/* SPDX-License-Identifier: MIT */
/* The run loop of engine/dbt with all its parts, on a toy instruction set. */
#include "dbt_toy.h"

#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "host/fault.h"

/* Most tests: the program runs twice, and the second time nothing but HALT leaves generated code.
 */
static void assert_settled(struct toy *t, uint32_t pc, uint64_t gain)
{
    const struct dbt_figures *f = &toy_dbt(t)->figures;
    assert_int_equal(toy_run(t, pc, EXIT_HALT), gain);
    struct dbt_figures before = *f;
    unsigned interpreted = t->interpreted;
    assert_int_equal(toy_run(t, pc, EXIT_HALT), gain);
    assert_int_equal(t->interpreted, interpreted + 1);
    assert_int_equal(f->entries, before.entries + 1);
    assert_int_equal(f->translations, before.translations);
    assert_int_equal(f->exits[DBT_EXIT_EMULATE], before.exits[DBT_EXIT_EMULATE] + 1);
}

static void jumps_are_joined(void **state)
{
    struct toy *t = toy_new(NULL);
    PUT(t, 0x1000, ADD, 1, JMP, 0x00, 0x01);
    PUT(t, 0x1100, ADD, 2, FAR, 0x00, 0x20, 0, 0);
    PUT(t, 0x2000, ADD, 3, HALT);
    assert_settled(t, 0x1000, 6);
    assert_int_equal(toy_dbt(t)->figures.links, 1);
    assert_int_equal(toy_dbt(t)->figures.exits[DBT_EXIT_LINK], 1);
    assert_int_equal(toy_dbt(t)->figures.exits[DBT_EXIT_MISS], 1);
    /* Into the middle of what is translated: no new translation. */
    uint64_t translations = toy_dbt(t)->figures.translations;
    assert_int_equal(toy_run(t, 0x1102, EXIT_HALT), 3);
    assert_int_equal(toy_dbt(t)->figures.translations, translations);
    /* A translation ends where another begins. */
    PUT(t, 0x10fe, ADD, 4);
    assert_int_equal(toy_run(t, 0x10fe, EXIT_HALT), 9);
    assert_int_equal(toy_dbt(t)->figures.instructions, 2 + 2 + 2 + 1);
    toy_free(t);
}

static void stores_of_the_guest_end_exactly_what_they_hit(void **state)
{
    struct toy *t = toy_new(NULL);
    struct dbt_figures *f = &toy_dbt(t)->figures;
    PUT(t, 0x1000, ADD, 1, STORE, 0x0d, 0x10, 0, 0, 8, HALT);  /* a byte behind the code */
    PUT(t, 0x3000, ADD, 2, STORE, 0x01, 0x10, 0, 0, 40, HALT); /* the operand of ADD 1 */
    PUT(t, 0x4000, ADD, 3, STORE, 0x08, 0x40, 0, 0, HALT, NOP, ADD, 100, HALT); /* ahead */
    t->map[0][9] = 1;
    t->map[1][5] = 1;
    assert_int_equal(toy_run(t, 0x1000, EXIT_HALT), 1);
    assert_int_equal(toy_run(t, 0x9000, EXIT_HALT), 1);
    assert_int_equal(f->invalidated, 0);
    assert_int_equal(toy_run(t, 0x3000, EXIT_HALT), 2);
    assert_int_equal(f->invalidated, 1);
    assert_int_equal(toy_run(t, 0x1000, EXIT_HALT), 40);
    assert_int_equal(toy_run(t, 0x9000, EXIT_HALT), 40);
    t->space = 1;
    assert_int_equal(toy_run(t, 0x5000, EXIT_HALT), 40);
    t->space = 0;
    assert_int_equal(toy_run(t, 0x4008, EXIT_HALT), 100);
    assert_int_equal(toy_run(t, 0x4000, EXIT_HALT), 3);
    toy_free(t);
}

struct device {
    struct toy *t;
    gpa_t at;
    uint8_t byte;
    unsigned times;
};

static void *device_thread(void *opaque)
{
    struct device *d = opaque;
    for (unsigned i = 0; i < d->times; i++)
        phys_write(d->t->base.mem, d->at, &d->byte, 1);
    return NULL;
}

static void device_writes(struct toy *t, gpa_t at, uint8_t byte, unsigned times)
{
    struct device d = {t, at, byte, times};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, device_thread, &d), 0);
    pthread_join(thread, NULL);
}

static void stores_of_devices_are_queued(void **state)
{
    struct toy *t = toy_new(NULL);
    struct dbt_figures *f = &toy_dbt(t)->figures;
    PUT(t, 0x1000, ADD, 1, HALT);
    PUT(t, 0x2000, ADD, 10, HALT);
    assert_settled(t, 0x1000, 1);
    assert_settled(t, 0x2000, 10);
    device_writes(t, 0x1001, 5, 1);
    assert_int_equal(f->invalidated, 0); /* not by the other thread */
    assert_int_equal(atomic_load(&t->base.attention) & ATTN_CODE, ATTN_CODE);
    assert_int_equal(toy_run(t, 0x1000, EXIT_HALT), 5);
    assert_int_equal(f->invalidated, 1);
    device_writes(t, 0x1003, 5, 1); /* data */
    assert_settled(t, 0x1000, 5);
    assert_int_equal(f->invalidated, 1);
    assert_int_equal(f->flushes, 0);
    device_writes(t, 0x2005, 6, DBT_WRITES + 1); /* data, but more than the queue holds */
    device_writes(t, 0x1001, 7, 1);
    assert_settled(t, 0x1000, 7);
    assert_int_equal(f->flushes, 1);
    assert_settled(t, 0x2000, 10);
    assert_true(toy_dbt(t)->map.count < f->translations);
    /* Faults after a flush find their instruction. */
    PUT(t, 0x3000, ADD, 1, LOAD, 3, HALT);
    mprotect(t->r.data, 4 * PAGE_BYTES, PROT_NONE);
    assert_int_equal(toy_run(t, 0x3000, EXIT_HALT), 1);
    assert_int_equal(t->fault.pc, 0x3002);
    toy_free(t);
}

static void pages_that_change_hands_are_found_again(void **state)
{
    struct toy *t = toy_new(NULL);
    PUT(t, 0x1000, FAR, 0x00, 0x20, 0, 0);
    PUT(t, 0x2000, ADD, 1, HALT);
    PUT(t, 0x3000, ADD, 2, HALT);
    memcpy(t->map[1], t->map[0], sizeof t->map[0]);
    for (t->space = 0; t->space < 2; t->space++)
        assert_settled(t, 0x1000, 1);
    uint64_t translations = toy_dbt(t)->figures.translations; /* shared by both spaces */
    assert_int_equal(translations, 2);
    t->map[1][2] = 3;
    t->hooks->code_unmapped(t->hooks->opaque, 1, 0x2000);
    t->space = 1;
    assert_settled(t, 0x1000, 2);
    t->space = 0;
    assert_settled(t, 0x1000, 1);
    t->map[0][1] = 3;
    t->map[0][2] = 3;
    t->hooks->space_dropped(t->hooks->opaque, 0);
    assert_settled(t, 0x1000, 2);
    /* The same page in another mode is another translation. */
    t->mode = 1;
    translations = toy_dbt(t)->figures.translations;
    assert_settled(t, 0x2000, 2);
    assert_int_equal(toy_dbt(t)->figures.translations, translations + 1);
    toy_free(t);
}

static void another_page_appears(struct toy *t)
{
    if (t->r.pc != 0x1100)
        return;
    t->map[0][1] = 3;
    t->hooks->code_unmapped(t->hooks->opaque, 0, 0x1000);
    t->preparing = NULL;
}

/* Between a direct jump's question and the answer its page was replaced. */
static void links_stay_inside_their_page(void **state)
{
    struct toy *t = toy_new(NULL);
    PUT(t, 0x1000, ADD, 1, JMP, 0x00, 0x01);
    PUT(t, 0x1100, ADD, 2, HALT);
    PUT(t, 0x3100, ADD, 50, HALT);
    t->preparing = another_page_appears;
    assert_int_equal(toy_run(t, 0x1000, EXIT_HALT), 51);
    assert_int_equal(toy_dbt(t)->figures.links, 0);
    t->map[0][1] = 1;
    t->hooks->code_unmapped(t->hooks->opaque, 0, 0x1000);
    assert_settled(t, 0x1000, 3);
    toy_free(t);
}

static void instructions_across_pages_follow_both(void **state)
{
    struct toy *t = toy_new(NULL);
    PUT(t, 0x1000, JMP, 0xff, 0x0f);
    PUT(t, 0x1fff, ADD);
    PUT(t, 0x2000, 7, HALT);
    PUT(t, 0x3000, 20, HALT);
    memcpy(t->map[1], t->map[0], sizeof t->map[0]);
    t->map[1][2] = 3;
    assert_settled(t, 0x1000, 7);
    t->space = 1;
    assert_settled(t, 0x1000, 20);
    t->space = 0;
    assert_settled(t, 0x1000, 7);
    assert_int_equal(toy_dbt(t)->figures.straddles, 2);
    uint8_t byte = 8; /* the operand, in the second page */
    phys_write(t->base.mem, 0x2000, &byte, 1);
    assert_settled(t, 0x1000, 8);
    byte = NOP; /* the opcode, in the first: now 0x2000 is executed */
    phys_write(t->base.mem, 0x1fff, &byte, 1);
    PUT(t, 0x2000, HALT);
    t->hooks->code_unmapped(t->hooks->opaque, 0, 0x2000);
    assert_int_equal(toy_run(t, 0x1000, EXIT_HALT), 0);
    assert_int_equal(t->r.pc, 0x2001);
    byte = ADD;
    phys_write(t->base.mem, 0x1fff, &byte, 1);
    byte = 9;
    phys_write(t->base.mem, 0x2000, &byte, 1);
    assert_settled(t, 0x1000, 9);
    t->map[0][2] = 3;
    t->hooks->code_unmapped(t->hooks->opaque, 0, 0x2000);
    assert_settled(t, 0x1000, 20);
    t->map[0][2] = 0; /* not there: the interpreter meets it */
    t->hooks->code_unmapped(t->hooks->opaque, 0, 0x2000);
    assert_int_equal(toy_run(t, 0x1000, EXIT_HALT), HALT);
    uint64_t invalidated =
        toy_dbt(t)->figures.invalidated; /* the way there depends on the opcode */
    phys_write(t->base.mem, 0x1fff, &byte, 1);
    assert_int_equal(toy_dbt(t)->figures.invalidated, invalidated + 1);
    toy_free(t);
}

static void second_straddler_of_a_page_is_declined(void **state)
{
    struct toy *t = toy_new(NULL);
    PUT(t, 0x1000, JMP, 0xff, 0x0f);
    PUT(t, 0x1010, JMP, 0xfe, 0x0f);
    PUT(t, 0x1ffe, FAR, ADD); /* to ADD | 7 << 8 | 0x30 << 16 | 0 << 24 */
    PUT(t, 0x2000, 7, HALT, 0);
    assert_settled(t, 0x1000, 7);
    t->map[0][0] = 5; /* 0x040701 */
    PUT(t, 0x5701, ADD, 1, HALT);
    t->map[0][4] = 6;
    t->map[0][0x40 % TOY_PAGES] = 5;
    unsigned before = t->interpreted;
    assert_int_equal(toy_run(t, 0x1010, EXIT_HALT), 1);
    assert_int_equal(t->interpreted, before + 2); /* FAR and HALT */
    toy_free(t);
}

/* A page that two spaces share, with code that was built on bytes of another page. */
static void facts_hold_for_each_space(void **state)
{
    struct toy *t = toy_new(NULL);
    const struct dbt_figures *f = &toy_dbt(t)->figures;
    PUT(t, 0x1000, FACT, 0x10, 0x20, 0, 0, HALT);
    PUT(t, 0x2010, 7);
    PUT(t, 0x3010, 20);
    memcpy(t->map[1], t->map[0], sizeof t->map[0]);
    for (t->space = 0; t->space < 2; t->space++)
        assert_settled(t, 0x1000, 7);
    assert_int_equal(f->translations, 1);
    /* The byte changes; one beside it does not count. */
    uint64_t invalidated = f->invalidated;
    uint8_t byte = 9;
    phys_write(t->base.mem, 0x2011, &byte, 1);
    assert_int_equal(f->invalidated, invalidated);
    phys_write(t->base.mem, 0x2010, &byte, 1);
    assert_int_equal(f->invalidated, invalidated + 1);
    for (t->space = 0; t->space < 2; t->space++)
        assert_settled(t, 0x1000, 9);
    /* One space shows another page there: they disagree, and nobody builds on it any more. */
    t->space = 1;
    t->map[1][2] = 3;
    t->hooks->code_unmapped(t->hooks->opaque, 1, 0x2000);
    for (unsigned i = 0; i < 4; i++) {
        t->space = !(i & 1);
        uint64_t declined = f->declined[FACT];
        assert_int_equal(toy_run(t, 0x1000, EXIT_HALT), t->space ? 20 : 9);
        assert_int_equal(f->declined[FACT], declined + 1);
    }
    toy_free(t);
}

/* Spaces that got their jump table entry before there was a fact have not looked at it. */
static void new_facts_are_shown_to_all_spaces(void **state)
{
    struct toy *t = toy_new(NULL);
    PUT(t, 0x1000, ADD, 1, HALT);
    PUT(t, 0x1010, FACT, 0x10, 0x20, 0, 0, HALT);
    PUT(t, 0x2010, 7);
    PUT(t, 0x3010, 20);
    memcpy(t->map[1], t->map[0], sizeof t->map[0]);
    t->map[1][2] = 3;
    for (t->space = 0; t->space < 2; t->space++)
        assert_settled(t, 0x1000, 1);
    t->space = 0;
    assert_settled(t, 0x1010, 7);
    t->space = 1;
    assert_int_equal(toy_run(t, 0x1010, EXIT_HALT), 20);
    t->space = 0;
    assert_int_equal(toy_run(t, 0x1010, EXIT_HALT), 7);
    assert_settled(t, 0x1000, 1);
    toy_free(t);
}

static void facts_about_nothing_are_declined(void **state)
{
    static const struct dbt_options options[] = {{0}, {.no_chain = true}, {.count = true}};
    for (unsigned i = 0; i < ARRAY_LEN(options); i++) {
        struct toy *t = toy_new(&options[i]);
        PUT(t, 0x1000, FACT, 0x10, 0x20, 0, 0, HALT);
        PUT(t, 0x2010, 7);
        t->map[0][2] = options[i].no_chain || options[i].count ? 2 : 0;
        int want = t->map[0][2] ? 7 : HALT; /* what toy_byte says of a page that is not there */
        assert_int_equal(toy_run(t, 0x1000, EXIT_HALT), want);
        assert_int_equal(toy_run(t, 0x1000, EXIT_HALT), want);
        assert_int_equal(toy_dbt(t)->figures.declined[FACT], 2);
        toy_free(t);
    }
}

static void options_change_the_way_not_the_result(void **state)
{
    static const struct dbt_options options[] = {
        {0},
        {.max_insns = 1},
        {.no_chain = true},
        {.max_insns = 3, .no_chain = true},
        {.cache_bytes = MIB},
    };
    for (unsigned i = 0; i < ARRAY_LEN(options); i++) {
        struct toy *t = toy_new(&options[i]);
        for (gpa_t at = 0x1000; at < 0x10000; at++)
            PUT(t, at, SLOW);
        PUT(t, 0xffff, HALT);
        const struct dbt_figures *f = &toy_dbt(t)->figures;
        assert_int_equal(toy_run(t, 0x1000, EXIT_HALT), 0xefff);
        uint64_t asked = f->exits[DBT_EXIT_LINK];
        assert_int_equal(toy_run(t, 0x1000, EXIT_HALT), 0xefff);
        if (!options[i].cache_bytes)
            assert_int_equal(f->exits[DBT_EXIT_LINK] > asked, options[i].no_chain);
        assert_int_equal(f->flushes > 0, options[i].cache_bytes == MIB);
        assert_int_equal(f->links > 0, !options[i].no_chain);
        if (options[i].max_insns)
            assert_true(f->translations >= 0xefff / options[i].max_insns);
        assert_true(t->interpreted == 2);
        toy_free(t);
    }
}

static void nochain_leaves_at_every_jump(void **state)
{
    struct toy *t = toy_new(&(struct dbt_options){.no_chain = true});
    PUT(t, 0x1000, ADD, 1, JMP, 0x10, 0x00);
    PUT(t, 0x1010, ADD, 2, HALT);
    assert_int_equal(toy_run(t, 0x1010, EXIT_HALT), 2);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(toy_run(t, 0x1000, EXIT_HALT), 3);
        assert_int_equal(toy_dbt(t)->figures.exits[DBT_EXIT_LINK], i + 1);
    }
    toy_free(t);
}

static void single_returns_after_each_translation(void **state)
{
    struct toy *t =
        toy_new(&(struct dbt_options){.single = true, .max_insns = 1, .no_chain = true});
    PUT(t, 0x1000, ADD, 1, ADD, 2, ADD, 3, HALT);
    static const uint32_t pcs[] = {0x1000, 0x1002, 0x1004};
    for (unsigned i = 0; i < ARRAY_LEN(pcs); i++) {
        assert_int_equal(toy_run(t, pcs[i], EXIT_ATTENTION), i + 1);
        assert_int_equal(t->r.pc, pcs[i] + 2);
    }
    assert_int_equal(toy_run(t, 0x1006, EXIT_HALT), 0);
    toy_free(t);
}

static void unfit_states_are_interpreted(void **state)
{
    struct toy *t = toy_new(NULL);
    for (gpa_t at = 0x1000; at < 0x1800; at++)
        PUT(t, at, SLOW);
    PUT(t, 0x1800, HALT);
    t->unfit = true;
    assert_int_equal(toy_run(t, 0x1000, EXIT_HALT), 0x800);
    assert_int_equal(t->interpreted, 0x801);
    assert_int_equal(toy_dbt(t)->figures.unfit, 12); /* 1, 2, 4, ... */
    assert_int_equal(toy_dbt(t)->figures.entries, 0);
    toy_free(t);
}

/* ---- host faults ------------------------------------------------------------------------------
 */

static void filled_views_are_run_on(void **state)
{
    struct toy *t = toy_new(NULL);
    PUT(t, 0x1000, ADD, 1, LOAD, 3, ADD, 2, HALT);
    mprotect(t->r.data, 4 * PAGE_BYTES, PROT_NONE);
    t->verdict = DBT_RESUME;
    assert_int_equal(toy_run(t, 0x1000, EXIT_HALT), 3);
    assert_int_equal(t->faults, 1);
    assert_int_equal(t->fault.sig, SIGSEGV);
    assert_int_equal(t->fault.trapno, 14);
    assert_int_equal(t->fault.addr, (uintptr_t)t->r.data + 3 * PAGE_BYTES);
    assert_int_equal(t->fault.pc, 0x1002);
    assert_int_equal(t->fault.mark.guest, 2);
    assert_int_equal(t->fault.policy, TB_PLAIN);
    assert_int_equal(t->base.stats.fault_hidden, 1);
    assert_int_equal(t->interpreted, 1);
    toy_free(t);
}

static void guilty_sites_become_call_outs_and_may_go_back(void **state)
{
    struct toy *t = toy_new(NULL);
    struct dbt_figures *f = &toy_dbt(t)->figures;
    PUT(t, 0x1000, LOAD, 1, HALT);
    mprotect(t->r.data, 4 * PAGE_BYTES, PROT_NONE);
    t->verdict = DBT_DEVICE;
    t->device = true;
    for (unsigned i = 0; i < 10; i++)
        assert_int_equal(toy_run(t, 0x1000, EXIT_HALT), 1000);
    assert_int_equal(t->faults, 3);
    assert_int_equal(f->verdicts[DBT_DEVICE], 3);
    assert_int_equal(f->retranslated[DBT_DEVICE], 1);
    assert_int_equal(f->declined[LOAD], 7);
    assert_int_equal(t->base.stats.fault_hidden, 0);
    /* As long as the device answers it stays so. */
    for (unsigned i = 0; i < 1000; i++)
        toy_run(t, 0x1000, EXIT_HALT);
    assert_int_equal(f->reverted, 0);
    /* Then there is memory: four runs convince the engine. */
    mprotect(t->r.data, 4 * PAGE_BYTES, PROT_READ);
    t->device = false;
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(f->reverted, 0);
        assert_int_equal(toy_run(t, 0x1000, EXIT_HALT), 1000);
    }
    assert_int_equal(f->reverted, 1);
    assert_settled(t, 0x1000, 0);
    assert_int_equal(t->faults, 3);
    /* A site that has changed its mind takes twice the proof both ways. */
    mprotect(t->r.data, 4 * PAGE_BYTES, PROT_NONE);
    for (unsigned i = 0; i < 6 + 8; i++) {
        assert_int_equal(f->retranslated[DBT_DEVICE], i < 6 ? 1 : 2);
        assert_int_equal(f->reverted, 1);
        toy_run(t, 0x1000, EXIT_HALT);
    }
    assert_int_equal(f->reverted, 2);
    assert_int_equal(t->faults, 3 + 6);
    toy_free(t);
}

/* Their translation knows no policies. */
static void straddling_sites_are_not_blamed(void **state)
{
    struct toy *t = toy_new(NULL);
    PUT(t, 0x1fff, LOAD, 1, HALT);
    mprotect(t->r.data, 4 * PAGE_BYTES, PROT_NONE);
    t->verdict = DBT_DEVICE;
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(toy_run(t, 0x1fff, EXIT_HALT), 1000);
    assert_int_equal(t->faults, 5);
    assert_int_equal(toy_dbt(t)->figures.translations, 3);
    toy_free(t);
}

static void noadapt_never_learns(void **state)
{
    struct toy *t = toy_new(&(struct dbt_options){.no_adapt = true});
    PUT(t, 0x1000, LOAD, 1, HALT);
    mprotect(t->r.data, 4 * PAGE_BYTES, PROT_NONE);
    t->verdict = DBT_TRACED;
    for (unsigned i = 0; i < 10; i++)
        toy_run(t, 0x1000, EXIT_HALT);
    assert_int_equal(t->faults, 10);
    assert_int_equal(toy_dbt(t)->figures.retranslated[DBT_TRACED], 0);
    toy_free(t);
}

/* ---- attention and kicks ------------------------------------------------------------------------
 */

static void pending_interrupt_comes_before_generated_code(void **state)
{
    struct toy *t = toy_new(NULL);
    PUT(t, 0x1000, ADD, 1, ADD, 2, HALT);
    toy_run(t, 0x1000, EXIT_HALT);
    vcpu_attend(&t->base, ATTN_INTERRUPT);
    assert_int_equal(toy_run(t, 0x1000, EXIT_HALT), 3);
    assert_int_equal(t->interrupts, 1);
    assert_int_equal(toy_dbt(t)->figures.exits[DBT_EXIT_ABORTED], 1);
    assert_int_equal(t->interpreted, 1 + 2); /* HALT, and ADD 1 on the way */
    toy_free(t);
}

struct kicker {
    struct vcpu *v;
    uint32_t bits;
    long delay_us;
};

static void *kicker_thread(void *opaque)
{
    const struct kicker *k = opaque;
    struct timespec pause = {0, k->delay_us * 1000};
    nanosleep(&pause, NULL);
    vcpu_attend(k->v, k->bits);
    return NULL;
}

/* Run on from pc until another thread says stop. */
static void run_until_kicked(struct toy *t, uint32_t pc, long delay_us)
{
    struct kicker k = {&t->base, ATTN_STOP, delay_us};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, kicker_thread, &k), 0);
    toy_run(t, pc, EXIT_ATTENTION);
    pthread_join(thread, NULL);
    vcpu_unattend(&t->base, ATTN_STOP);
}

static void kick_stops_endless_code_between_two_instructions(void **state)
{
    struct toy *t = toy_new(NULL);
    PUT(t, 0x1000, SLOW, SLOW, SLOW, SLOW, JMP, 0, 0);
    alarm(60);
    for (unsigned i = 0; i < 200; i++) {
        run_until_kicked(t, i ? (uint32_t)t->r.pc : 0x1000, 50 + i * 7 % 400);
        assert_in_range(t->r.pc, 0x1000, 0x1004);
        assert_int_equal(t->r.acc % 4, t->r.pc % 4);
    }
    alarm(0);
    assert_true(toy_dbt(t)->figures.kicks > 100);
    assert_true(toy_dbt(t)->figures.steps > 100);
    toy_free(t);
}

static void kick_leaves_a_repeated_instruction_in_the_middle(void **state)
{
    struct toy *t = toy_new(NULL);
    PUT(t, 0x1000, REP, JMP, 0, 0);
    alarm(60);
    for (unsigned i = 0; i < 3; i++) {
        run_until_kicked(t, 0x1000, 30000);
        assert_in_range(t->r.pc, 0x1000, 0x1001);
        assert_true(t->faults == i + 1); /* the ISA was asked to make the state precise */
        assert_int_equal(t->fault.pc, 0x1000);
        assert_true(t->fault.sig > SIGSYS);
    }
    alarm(0);
    assert_true(toy_dbt(t)->figures.steps <= 6 * 3);
    toy_free(t);
}

/* Where the handler sends a kick at `rip`; *flags are the interrupted ones. */
static uintptr_t kicked_at(struct toy *t, uintptr_t rip, uint64_t *flags)
{
    ucontext_t uc = {0};
    const struct host_fault f = {.sig = HOST_FAULT_KICK, .uc = &uc};
    uc.uc_mcontext.gregs[REG_RIP] = (greg_t)rip;
    uc.uc_mcontext.gregs[REG_EFL] = (greg_t)*flags;
    assert_true(dbt_on_host_fault(toy_dbt(t), &f));
    *flags = (uint64_t)uc.uc_mcontext.gregs[REG_EFL];
    return (uintptr_t)uc.uc_mcontext.gregs[REG_RIP];
}

static void kick_on_the_way_in_is_not_lost(void **state)
{
    struct toy *t = toy_new(NULL);
    const struct isa_translator *isa = toy_dbt(t)->isa;
    uintptr_t begin = (uintptr_t)isa->enter_begin, end = (uintptr_t)isa->enter_end;
    uint64_t flags = 0x202;
    assert_int_equal(kicked_at(t, begin, &flags), (uintptr_t)isa->enter_abort);
    assert_int_equal(kicked_at(t, end - 1, &flags), (uintptr_t)isa->enter_abort);
    assert_int_equal(kicked_at(t, begin - 1, &flags), begin - 1);
    assert_int_equal(kicked_at(t, end, &flags), end);
    /* Calls that generated code makes. */
    begin = (uintptr_t)isa->callout_begin, end = (uintptr_t)isa->callout_end;
    assert_int_equal(kicked_at(t, begin, &flags), (uintptr_t)isa->callout_leave);
    assert_int_equal(kicked_at(t, end, &flags), end);
    /* In generated code, but nobody wants anything any more. */
    uintptr_t code = (uintptr_t)toy_dbt(t)->cache.reserve + 1;
    assert_int_equal(kicked_at(t, code, &flags), code);
    assert_int_equal(flags, 0x202);
    vcpu_attend(&t->base, ATTN_INTERRUPT); /* a trampoline: step on */
    assert_int_equal(kicked_at(t, code, &flags), code);
    assert_int_equal(flags, 0x302);
    toy_free(t);
}

/* ---- checks and figures -------------------------------------------------------------------------
 */

static void check_stops_before_code_that_must_not_be(void **state)
{
    struct toy *t = toy_new(&(struct dbt_options){.check_code = true});
    PUT(t, 0x1000, ADD, 1, HALT);
    PUT(t, 0x2000, ADD, 1, REP, HALT);
    assert_settled(t, 0x1000, 1);
    assert_int_equal(toy_run(t, 0x2000, EXIT_UNSUPPORTED), 0);
    toy_free(t);
}

struct seen {
    double translations, emulations;
    unsigned count;
};

static void see(void *opaque, const char *name, double value, int decimals, const char *unit)
{
    struct seen *s = opaque;
    s->count++;
    if (strcmp(name, "dbt_translations") == 0)
        s->translations = value;
    if (strcmp(name, "declined_4") == 0)
        s->emulations = value;
}

static void figures_are_told(void **state)
{
    struct toy *t = toy_new(NULL);
    struct seen s = {0};
    PUT(t, 0x1000, ADD, 1, HALT);
    assert_settled(t, 0x1000, 1);
    dbt_engine.figures(&t->base, &(struct figure_sink){see, &s});
    assert_true(s.translations == 1);
    assert_true(s.emulations == 2);
    assert_true(s.count > 25);
    toy_free(t);
}

static void detached_engine_is_not_told_of_stores(void **state)
{
    struct toy *t = toy_new(NULL);
    uint8_t byte = 3;
    PUT(t, 0x1000, ADD, 1, HALT);
    toy_run(t, 0x1000, EXIT_HALT);
    assert_int_equal(phys_page(t->base.mem, (gpfn_t){1}).wp, WP_TRANSLATED);
    dbt_engine.detach(&t->base);
    assert_null(t->base.engine_state);
    assert_int_equal(phys_write(t->base.mem, 0x1001, &byte, 1), 0);
    assert_int_equal(dbt_engine.attach(&t->base, &t->options, NULL), 0);
    assert_int_equal(toy_run(t, 0x1000, EXIT_HALT), 3);
    toy_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(jumps_are_joined),
        cmocka_unit_test(stores_of_the_guest_end_exactly_what_they_hit),
        cmocka_unit_test(stores_of_devices_are_queued),
        cmocka_unit_test(pages_that_change_hands_are_found_again),
        cmocka_unit_test(links_stay_inside_their_page),
        cmocka_unit_test(instructions_across_pages_follow_both),
        cmocka_unit_test(second_straddler_of_a_page_is_declined),
        cmocka_unit_test(facts_hold_for_each_space),
        cmocka_unit_test(new_facts_are_shown_to_all_spaces),
        cmocka_unit_test(facts_about_nothing_are_declined),
        cmocka_unit_test(options_change_the_way_not_the_result),
        cmocka_unit_test(nochain_leaves_at_every_jump),
        cmocka_unit_test(single_returns_after_each_translation),
        cmocka_unit_test(unfit_states_are_interpreted),
        cmocka_unit_test(filled_views_are_run_on),
        cmocka_unit_test(guilty_sites_become_call_outs_and_may_go_back),
        cmocka_unit_test(straddling_sites_are_not_blamed),
        cmocka_unit_test(noadapt_never_learns),
        cmocka_unit_test(pending_interrupt_comes_before_generated_code),
        cmocka_unit_test(kick_stops_endless_code_between_two_instructions),
        cmocka_unit_test(kick_leaves_a_repeated_instruction_in_the_middle),
        cmocka_unit_test(kick_on_the_way_in_is_not_lost),
        cmocka_unit_test(check_stops_before_code_that_must_not_be),
        cmocka_unit_test(figures_are_told),
        cmocka_unit_test(detached_engine_is_not_told_of_stores),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
