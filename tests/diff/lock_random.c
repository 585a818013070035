/* SPDX-License-Identifier: MIT */
/* lock_random: compares the translator with the interpreter on random programs.
 *
 *   lock_random [--seed N] [--first N] [--cases N] [--show N] [--engine NAME] [--spoil N]
 *               [--verbose]
 *
 * A program is a function of the seed and its number. Under each of the engines below it runs
 * twice, in the interpreter and in the engine. Those that stop after each translation are followed
 * by the interpreter instruction for instruction, and the registers compared each time; those that
 * run freely (linked translations, loops without leaving) are compared at the end. At the end comes
 * memory, too, with page tables and what devices were asked. All machines live for GENERATION
 * programs, so that views, translations and what was learnt about faulting instructions go on.
 *
 * A difference is printed with the program and all registers, then the program runs again in new
 * machines and the translations are printed; if it then passes, the generation is run again from
 * its start. --spoil N flips a bit in program N, to see that a difference is found.
 * Not compared: where the FPU last ran (FIP, FDP, FOP).
 * Exit status: 0 all equal, 1 differences, 2 usage or set-up, 77 this host cannot. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

#include "engine/engines.h"
#include "isa/x86/fpu.h"
#include "lock_program.h"

#define GENERATION 1000u
#define MAX_STEPS  20000u  /* translations */
#define MAX_WORK   400000u /* instructions: the program does not end */

static const struct lock_engine reference = {"interp", &interp_engine, {0}};
static const struct lock_engine engines_compared[] = {
    {"step-window", &dbt_engine, {.view = DBT_VIEW_WINDOW, .single = true, .count = true}},
    {"step-flat", &dbt_engine, {.view = DBT_VIEW_FLAT, .single = true, .count = true}},
    {"free-auto", &dbt_engine, {.view = DBT_VIEW_AUTO}},
    {"free-window", &dbt_engine, {.view = DBT_VIEW_WINDOW, .check_code = true}},
    {"free-flat", &dbt_engine, {.view = DBT_VIEW_FLAT, .no_adapt = true, .cache_bytes = MIB}},
    {"step-old-host",
     &dbt_engine,
     {.view = DBT_VIEW_FLAT, .single = true, .count = true, .no_bmi2 = true}},
    {"free-old-host", &dbt_engine, {.no_bmi2 = true, .no_fsgsbase = true}},
    {"free-trap", &dbt_engine, {.trap = true, .max_insns = 3, .no_chain = true}},
};
#define ENGINES ARRAY_LEN(engines_compared)

struct options {
    uint64_t seed, first, cases, show, spoil;
    const char *only; /* engine */
    bool verbose;
};

struct tally {
    uint64_t passed, failed, endless, steps, instructions, exceptions, interrupts, io;
};

struct lock_random {
    struct options opt;
    struct or_generator *gen;
    struct or_image image;
    uint8_t ro[OR_RO_BYTES];
    struct lock_machine *ref, *m[ENGINES];
    struct tally tally;
    bool retable; /* before the next program */
};

/* ---- machines ---------------------------------------------------------------------------------
 */

static bool wanted(const struct lock_random *l, unsigned i)
{
    return !l->opt.only || !strcmp(l->opt.only, engines_compared[i].name);
}

static void free_machines(struct lock_random *l)
{
    for (unsigned i = 0; i < ENGINES; i++) {
        lock_machine_free(l->m[i]);
        l->m[i] = NULL;
    }
    lock_machine_free(l->ref);
    l->ref = NULL;
}

static int new_machines(struct lock_random *l, struct err *e)
{
    free_machines(l);
    int r = lock_machine_new(&reference, &l->image, l->ro, &l->ref, e);
    for (unsigned i = 0; r == 0 && i < ENGINES; i++)
        if (wanted(l, i))
            r = lock_machine_new(&engines_compared[i], &l->image, l->ro, &l->m[i], e);
    return r;
}

/* ---- one program ------------------------------------------------------------------------------
 */

enum outcome { EQUAL, DIFFERENT, ENDLESS };

static void say(FILE *out, const struct lock_machine *m, const char *what, uint64_t pc)
{
    if (out)
        fprintf(out, "%s: %s; it began at %08" PRIx64 "\n", m->engine->name, what, pc);
}

static bool same_registers(const struct lock_machine *a, const struct lock_machine *b, uint64_t pc,
                           FILE *out)
{
    struct lock_state x, y;
    lock_capture(a->vcpu, a->fault_base, &x);
    lock_capture(b->vcpu, b->fault_base, &y);
    if (lock_same(&x, &y))
        return true;
    say(out, b, "registers differ", pc);
    if (out)
        lock_print(out, &x, &y, true);
    return false;
}

static bool same_end(const struct lock_machine *a, const struct lock_machine *b,
                     const struct lock_program *p, const struct vm_exit *xa,
                     const struct vm_exit *xb, uint64_t pc, bool *marked, FILE *out)
{
    if (xa->kind != xb->kind) {
        say(out, b, "exits differ", pc);
        if (out)
            fprintf(out, "    kinds %d and %d\n", (int)xa->kind, (int)xb->kind);
        return false;
    }
    if (!same_registers(a, b, pc, out))
        return false;
    if (lock_machine_same_memory(a, b, p, marked, NULL))
        return true;
    say(out, b, "memory differs", pc);
    if (out)
        lock_machine_same_memory(a, b, p, marked, out);
    return false;
}

static void spoil(const struct lock_random *l, struct lock_machine *m, const struct lock_program *p)
{
    if (p->c.index == l->opt.spoil)
        m->v->gpr[X86_EBX] ^= 1;
}

/* One translation after the other, with the interpreter in step. */
static enum outcome run_in_step(struct lock_random *l, struct lock_machine *a,
                                struct lock_machine *b, const struct lock_program *p,
                                struct vm_exit *xa, FILE *out)
{
    struct lock_place from_a = a->start, from_b = b->start;
    for (unsigned steps = 0; steps < MAX_STEPS; steps++) {
        struct vm_exit xb;
        uint64_t pc = b->v->eip, hidden = b->vcpu->stats.fault_hidden;
        lock_machine_run(b, &xb);
        if (xb.kind == EXIT_ATTENTION && b->vcpu->stats.fault_hidden != hidden)
            continue; /* a view was filled; a repeated instruction may be half done */
        x86_fpu_park(b->v);
        spoil(l, b, p);
        struct lock_place now = lock_place(b->vcpu), distance = lock_distance(now, from_b);
        from_b = now;
        bool there =
            lock_follow(a->vcpu, b->vcpu, from_a, distance, xb.kind != EXIT_ATTENTION, true, xa);
        from_a = lock_place(a->vcpu);
        l->tally.steps++;
        if (!there) {
            say(out, b, "the interpreter took another way", pc);
            same_registers(a, b, pc, out);
            return DIFFERENT;
        }
        if (xb.kind != EXIT_ATTENTION)
            return same_end(a, b, p, xa, &xb, pc, &l->retable, out) ? EQUAL : DIFFERENT;
        if (!same_registers(a, b, pc, out))
            return DIFFERENT;
        if (lock_distance(now, b->start).retired > MAX_WORK)
            return ENDLESS;
    }
    return ENDLESS;
}

static enum outcome run_freely(struct lock_random *l, struct lock_machine *a,
                               struct lock_machine *b, const struct lock_program *p,
                               const struct vm_exit *xa, FILE *out)
{
    struct vm_exit xb;
    lock_machine_run(b, &xb);
    spoil(l, b, p);
    return same_end(a, b, p, xa, &xb, p->at, &l->retable, out) ? EQUAL : DIFFERENT;
}

static void add_to_tally(struct lock_random *l, const struct lock_program *p)
{
    struct lock_place d = lock_distance(lock_place(l->ref->vcpu), l->ref->start);
    l->tally.instructions += d.retired;
    l->tally.exceptions += d.exceptions;
    l->tally.interrupts += d.interrupts;
    l->tally.io += l->ref->io.count;
    const struct x86_vcpu *v = l->ref->v;
    const struct x86_fault_log *f = &v->faults[(v->fault_next - 1) & (X86_FAULT_LOG - 1)];
    if (d.exceptions && v->eip == LOCK_K_HANDLERS + 4 * X86_BP + 1 && f->eip)
        or_generator_completed(l->gen, &p->c);
}

/* Under every engine. `out`: where to tell about a difference, or NULL. */
static enum outcome run_program(struct lock_random *l, const struct lock_program *p, FILE *out)
{
    struct vm_exit xa = {.kind = EXIT_ATTENTION};
    lock_machine_load(l->ref, p);
    lock_machine_run(l->ref, &xa);
    if (xa.kind == EXIT_ATTENTION)
        return ENDLESS;
    add_to_tally(l, p);
    for (unsigned i = 0; i < ENGINES; i++) {
        struct lock_machine *m = l->m[i];
        if (!m || m->engine->dbt.single)
            continue;
        lock_machine_load(m, p);
        if (run_freely(l, l->ref, m, p, &xa, out) == DIFFERENT)
            return DIFFERENT;
    }
    for (unsigned i = 0; i < ENGINES; i++) {
        struct lock_machine *m = l->m[i];
        if (!m || !m->engine->dbt.single)
            continue;
        lock_machine_load(l->ref, p);
        lock_machine_load(m, p);
        enum outcome r = run_in_step(l, l->ref, m, p, &xa, out);
        if (r != EQUAL)
            return r;
    }
    return EQUAL;
}

/* ---- programs ---------------------------------------------------------------------------------
 */

static void trace(struct lock_random *l)
{
    for (unsigned i = 0; i < ENGINES; i++)
        if (l->m[i])
            l->m[i]->vcpu->trace |= TRACE_BLOCKS;
}

/* The next program, with what it needs because of the last one. */
static void next_program(struct lock_random *l, uint64_t index, struct lock_program *p)
{
    lock_generate(l->gen, l->opt.seed, index, p);
    p->retable |= l->retable;
    l->retable = false;
}

/* Again, with the translations: alone, or after all that came before. */
static void explain(struct lock_random *l, const struct lock_program *p)
{
    struct err e;
    uint64_t i = p->c.index - (p->c.index - l->opt.first) % GENERATION;
    if (new_machines(l, &e))
        return;
    trace(l);
    if (run_program(l, p, stdout) == DIFFERENT || new_machines(l, &e))
        return;
    printf("alone it passes; again from program %" PRIu64 " on\n", i);
    l->retable = false;
    for (; i < p->c.index; i++) {
        struct lock_program q;
        next_program(l, i, &q);
        run_program(l, &q, NULL);
    }
    trace(l);
    if (run_program(l, p, stdout) != DIFFERENT)
        printf("it passes\n");
}

static void report(struct lock_random *l, const struct lock_program *p)
{
    printf("difference: --seed %" PRIu64 " --first %" PRIu64 " --cases 1\n", l->opt.seed,
           p->c.index);
    lock_print_program(p, stdout);
    explain(l, p);
}

static int run_all(struct lock_random *l, struct err *e)
{
    struct tally *t = &l->tally;
    for (uint64_t n = 0; n < l->opt.cases && t->failed < l->opt.show; n++) {
        struct lock_program p;
        if (n % GENERATION == 0 && new_machines(l, e))
            return -e->errnum;
        next_program(l, l->opt.first + n, &p);
        if (l->opt.verbose) {
            printf("program %" PRIu64 "\n", p.c.index);
            lock_print_program(&p, stdout);
        }
        enum outcome r = run_program(l, &p, stdout);
        t->passed += r == EQUAL;
        t->endless += r == ENDLESS;
        t->failed += r == DIFFERENT;
        if (r == DIFFERENT) {
            report(l, &p);
            if (new_machines(l, e))
                return -e->errnum;
        }
    }
    return 0;
}

static unsigned summary(struct lock_random *l)
{
    const struct tally *t = &l->tally;
    bool whole = !l->opt.only && l->opt.cases >= 20000 && !t->failed;
    unsigned missing = whole ? or_generator_coverage(l->gen, false, stdout) : 0;
    printf("seed %" PRIu64 ": %" PRIu64 " instructions, %" PRIu64 " exceptions, %" PRIu64
           " interrupts, %" PRIu64 " device accesses, %" PRIu64 " steps, %u mnemonics missing\n",
           l->opt.seed, t->instructions, t->exceptions, t->interrupts, t->io, t->steps, missing);
    printf("%" PRIu64 " passed, %" PRIu64 " failed, %" PRIu64 " without an end\n", t->passed,
           t->failed, t->endless);
    return missing + (t->failed > 0) + (t->endless > t->passed / 20);
}

/* ---- command line -----------------------------------------------------------------------------
 */

static bool number(const char *text, uint64_t *x)
{
    char *end;
    *x = strtoull(text, &end, 0);
    return *text && !*end;
}

static bool parse(int argc, char **argv, struct options *o)
{
    static const struct option names[] = {
        {"seed", required_argument, NULL, 's'},   {"first", required_argument, NULL, 'f'},
        {"cases", required_argument, NULL, 'c'},  {"show", required_argument, NULL, 'n'},
        {"engine", required_argument, NULL, 'e'}, {"spoil", required_argument, NULL, 'p'},
        {"verbose", no_argument, NULL, 'V'},      {NULL, 0, NULL, 0}};
    uint64_t *const numbers[128] = {['s'] = &o->seed,
                                    ['f'] = &o->first,
                                    ['c'] = &o->cases,
                                    ['n'] = &o->show,
                                    ['p'] = &o->spoil};
    int ch;
    while ((ch = getopt_long(argc, argv, "", names, NULL)) != -1) {
        if (ch == 'e')
            o->only = optarg;
        else if (ch == 'V')
            o->verbose = true;
        else if (ch >= 128 || ch < 0 || !numbers[ch] || !number(optarg, numbers[ch]))
            return false;
    }
    return optind == argc;
}

static int compare(struct lock_random *l)
{
    struct err e = {0};
    struct or_rng r = {or_mix(l->opt.seed)};
    or_random_image(&r, &l->image, l->ro);
    l->gen = or_generator_new(NULL, true, 1, &e);
    if (!l->gen || run_all(l, &e)) {
        fprintf(stderr, "lock_random: [%s] %s\n", e.id, e.text);
        return 2;
    }
    return summary(l) ? 1 : 0;
}

int main(int argc, char **argv)
{
    struct lock_random *l = calloc(1, sizeof *l);
    struct err e = {0};
    int rc = 2;
    if (!l)
        return 2;
    setvbuf(stdout, NULL, _IOLBF, 0); /* in order with the log's lines */
    l->opt = (struct options){.seed = 1, .cases = 20000, .show = 1, .spoil = UINT64_MAX};
    if (!parse(argc, argv, &l->opt)) {
        fprintf(stderr, "lock_random: see the first lines of tests/diff/lock_random.c\n");
    } else if (dbt_engine.probe(&e) < 0) {
        printf("skipped: this host cannot run the translator: %s\n", e.text);
        rc = LOCK_SKIP;
    } else {
        rc = compare(l);
    }
    free_machines(l);
    or_generator_free(l->gen);
    free(l);
    return rc;
}
