/* SPDX-License-Identifier: MIT */
/* lock_mips_random: compares the MIPS32 translator with the interpreter on random programs.
 *
 *   lock_mips_random [--seed N] [--first N] [--cases N] [--show N] [--engine NAME] [--spoil N]
 *                    [--verbose]
 *
 * A program is a function of the seed and its number. Under each of the engines below it runs
 * twice, in the interpreter and in the engine. Those that stop after each translation are followed
 * by the interpreter instruction for instruction, and the registers compared each time; those that
 * run freely (linked translations, loops without leaving) are compared at the end. At the end comes
 * memory, too, and what the device was asked. All machines live for GENERATION programs, which have
 * one processor model, so that views and translations go on.
 *
 * Left out are programs that write to themselves by other stores than those of words, halves and
 * bytes, for an engine need not run the new code before software synchronises (vol. II SYNCI), and
 * those that make two TLB entries for one address (vol. II TLBWI: undefined).
 *
 * A difference is printed with the program and all registers; then the instructions that it does
 * not need are made NOPs, one after the other, and what is left is printed with its translations.
 * If it only comes after other programs, the generation is run again from its start. --spoil N
 * flips a bit in program N, to see that a difference is found.
 * Exit status: 0 all equal, 1 differences, 2 usage or set-up, 77 this host cannot. */
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "engine/engines.h"
#include "isa/mips32/cpu.h"
#include "lock_mips_program.h"

#define GENERATION 250u
#define MAX_WORK   4000u /* instructions: the program does not end */

static const struct lock_mips_engine reference = {"interp", &interp_engine, {0}};
static const struct lock_mips_engine engines_compared[] = {
    {"step", &dbt_engine, {.single = true, .count = true}},
    {"step-one", &dbt_engine, {.single = true, .count = true, .max_insns = 1}},
    {"step-trap", &dbt_engine, {.single = true, .count = true, .trap = true}},
    {"free", &dbt_engine, {0}},
    {"free-small", &dbt_engine, {.cache_bytes = MIB, .max_insns = 5}},
    {"free-unchained", &dbt_engine, {.no_chain = true}},
};
#define ENGINES ARRAY_LEN(engines_compared)

struct options {
    uint64_t seed, first, cases, show, spoil;
    const char *only; /* engine */
    bool verbose;
};

struct tally {
    uint64_t passed, failed, endless, undefined, steps, instructions, interrupts, io, raised[32];
};

struct lock_mips_random {
    struct options opt;
    struct lock_mips_generator *gen;
    struct lock_mips_machine *ref, *m[ENGINES];
    struct tally tally;
};

/* ---- machines ---------------------------------------------------------------------------------
 */

static void free_machines(struct lock_mips_random *l)
{
    for (unsigned i = 0; i < ENGINES; i++) {
        lock_mips_machine_free(l->m[i]);
        l->m[i] = NULL;
    }
    lock_mips_machine_free(l->ref);
    l->ref = NULL;
}

static unsigned model_of(uint64_t index)
{
    return (unsigned)(index / GENERATION % LOCK_MIPS_MODELS);
}

static int new_machines(struct lock_mips_random *l, unsigned model, struct err *e)
{
    free_machines(l);
    int r = lock_mips_machine_new(&reference, &lock_mips_model[model], &l->ref, e);
    for (unsigned i = 0; r == 0 && i < ENGINES; i++)
        if (!l->opt.only || !strcmp(l->opt.only, engines_compared[i].name))
            r = lock_mips_machine_new(&engines_compared[i], &lock_mips_model[model], &l->m[i], e);
    return r;
}

/* ---- one program ------------------------------------------------------------------------------
 */

enum outcome { EQUAL, DIFFERENT, ENDLESS, UNDEFINED };

static void say(FILE *out, const struct lock_mips_machine *m, const char *what, uint64_t pc)
{
    if (out)
        fprintf(out, "%s: %s; it began at %08" PRIx64 "\n", m->engine->name, what, pc);
}

static bool same_registers(const struct lock_mips_machine *a, const struct lock_mips_machine *b,
                           uint64_t pc, FILE *out)
{
    struct lock_state x, y;
    lock_capture(a->v, a->fault_base, &x);
    lock_capture(b->v, b->fault_base, &y);
    if (lock_same(&x, &y))
        return true;
    say(out, b, "registers differ", pc);
    if (out)
        lock_print(out, &x, &y, false);
    return false;
}

static bool same_end(const struct lock_mips_machine *a, const struct lock_mips_machine *b,
                     const struct vm_exit *xa, const struct vm_exit *xb, uint64_t pc, FILE *out)
{
    if (xa->kind != xb->kind) {
        say(out, b, "exits differ", pc);
        if (out)
            fprintf(out, "    kinds %d and %d\n", (int)xa->kind, (int)xb->kind);
        return false;
    }
    if (!same_registers(a, b, pc, out))
        return false;
    if (lock_mips_machine_same_memory(a, b, NULL))
        return true;
    say(out, b, "memory differs", pc);
    if (out)
        lock_mips_machine_same_memory(a, b, out);
    return false;
}

static void spoil(const struct lock_mips_random *l, struct lock_mips_machine *m,
                  const struct lock_mips_program *p)
{
    if (p->index == l->opt.spoil)
        lock_isa_of(m->v)->spoil(m->v);
}

/* One translation after the other, with the interpreter in step. */
static enum outcome run_in_step(struct lock_mips_random *l, struct lock_mips_machine *a,
                                struct lock_mips_machine *b, const struct lock_mips_program *p,
                                FILE *out)
{
    struct lock_place from_a = a->start, from_b = b->start;
    struct vm_exit xa, xb;
    do {
        uint64_t pc = b->v->isa->pc(b->v);
        lock_mips_machine_run(b, 0, &xb);
        spoil(l, b, p);
        struct lock_place now = lock_place(b->v), distance = lock_distance(now, from_b);
        from_b = now;
        bool there =
            lock_follow(a->v, b->v, from_a, distance, xb.kind != EXIT_ATTENTION, true, &xa);
        from_a = lock_place(a->v);
        l->tally.steps++;
        if (!there) {
            say(out, b, "the interpreter took another way", pc);
            same_registers(a, b, pc, out);
            return DIFFERENT;
        }
        if (!same_registers(a, b, pc, out))
            return DIFFERENT;
        if (xb.kind != EXIT_ATTENTION)
            return same_end(a, b, &xa, &xb, pc, out) ? EQUAL : DIFFERENT;
    } while (lock_distance(from_b, b->start).retired < 2 * MAX_WORK);
    return DIFFERENT; /* the reference ended before */
}

static enum outcome run_freely(struct lock_mips_random *l, struct lock_mips_machine *a,
                               struct lock_mips_machine *b, const struct lock_mips_program *p,
                               const struct vm_exit *xa, FILE *out)
{
    struct vm_exit xb;
    lock_mips_machine_run(b, 0, &xb);
    spoil(l, b, p);
    return same_end(a, b, xa, &xb, p->at, out) ? EQUAL : DIFFERENT;
}

static void add_to_tally(struct lock_mips_random *l)
{
    const struct mips32_vcpu *v = mips32_const_of(l->ref->v);
    struct lock_place d = lock_distance(lock_place(l->ref->v), l->ref->start);
    l->tally.instructions += d.retired;
    l->tally.interrupts += d.interrupts;
    l->tally.io += l->ref->io;
    unsigned faults = v->fault_next - l->ref->fault_base;
    for (unsigned i = 1; i <= faults && i <= MIPS32_FAULT_LOG; i++) {
        const struct mips32_fault_log *f = &v->faults[(v->fault_next - i) & (MIPS32_FAULT_LOG - 1)];
        l->tally.raised[f->cause >> CA_EXC_SHIFT & 31]++;
    }
}

/* Is it a program that ends and whose outcome is defined? Its end is that of l->ref then. */
static enum outcome run_reference(struct lock_mips_random *l, const struct lock_mips_program *p,
                                  struct vm_exit *x)
{
    const struct mips32_vcpu *v = mips32_const_of(l->ref->v);
    struct mips32_tlb_entry tlb[MIPS32_TLB_MAX] = {0};
    lock_mips_machine_load(l->ref, p);
    do {
        lock_mips_machine_run(l->ref, 1, x);
        if (!memcmp(tlb, v->tlb, sizeof tlb))
            continue;
        if (lock_mips_machine_tlb_overlaps(l->ref))
            return UNDEFINED;
        memcpy(tlb, v->tlb, sizeof tlb);
    } while (x->kind == EXIT_ATTENTION &&
             lock_distance(lock_place(l->ref->v), l->ref->start).retired < MAX_WORK);
    if (x->kind == EXIT_ATTENTION)
        return ENDLESS;
    return p->wide && lock_mips_machine_code_changed(l->ref, p) ? UNDEFINED : EQUAL;
}

/* Under every engine; first those in step, since a program that does not end would not end freely.
 * `out`: where to tell about a difference, or NULL. */
static enum outcome run_program(struct lock_mips_random *l, const struct lock_mips_program *p,
                                FILE *out)
{
    struct vm_exit xa;
    enum outcome r = run_reference(l, p, &xa);
    if (r != EQUAL)
        return r;
    add_to_tally(l);
    for (unsigned i = 0; i < ENGINES && r == EQUAL; i++) {
        struct lock_mips_machine *m = l->m[i];
        if (!m || !m->engine->dbt.single)
            continue;
        lock_mips_machine_load(l->ref, p);
        lock_mips_machine_load(m, p);
        r = run_in_step(l, l->ref, m, p, out);
    }
    for (unsigned i = 0; i < ENGINES && r == EQUAL; i++) {
        struct lock_mips_machine *m = l->m[i];
        if (!m || m->engine->dbt.single)
            continue;
        lock_mips_machine_load(m, p);
        r = run_freely(l, l->ref, m, p, &xa, out);
    }
    return r;
}

/* ---- a difference -----------------------------------------------------------------------------
 */

static void trace(struct lock_mips_random *l)
{
    l->ref->v->trace |= TRACE_EXCEPTIONS;
    for (unsigned i = 0; i < ENGINES; i++)
        if (l->m[i])
            l->m[i]->v->trace |= TRACE_BLOCKS | TRACE_EXCEPTIONS;
}

static bool fails_alone(struct lock_mips_random *l, const struct lock_mips_program *p, bool loud)
{
    struct err e;
    if (new_machines(l, p->model, &e))
        return false;
    if (loud)
        trace(l);
    return run_program(l, p, loud ? stdout : NULL) == DIFFERENT;
}

/* Take out what it does not need. */
static void reduce(struct lock_mips_random *l, struct lock_mips_program *p)
{
    for (unsigned i = 0; i + 1 < p->words; i++) {
        uint32_t word = p->code[i];
        p->code[i] = 0;
        if (!fails_alone(l, p, false))
            p->code[i] = word;
    }
}

static void run_generation(struct lock_mips_random *l, const struct lock_mips_program *p)
{
    struct err e;
    if (new_machines(l, p->model, &e))
        return;
    for (uint64_t i = p->index - p->index % GENERATION; i < p->index; i++) {
        struct lock_mips_program q;
        lock_mips_generate(l->gen, l->opt.seed, i, model_of(i), &q);
        run_program(l, &q, NULL);
    }
    trace(l);
    if (run_program(l, p, stdout) != DIFFERENT)
        printf("it passes\n");
}

static void report(struct lock_mips_random *l, struct lock_mips_program *p)
{
    printf("difference: --seed %" PRIu64 " --first %" PRIu64 " --cases 1\n", l->opt.seed, p->index);
    lock_mips_print_program(l->gen, p, stdout);
    if (!fails_alone(l, p, false)) {
        printf("alone it passes; again from the generation's first program on\n");
        run_generation(l, p);
        return;
    }
    reduce(l, p);
    printf("reduced:\n");
    lock_mips_print_program(l->gen, p, stdout);
    fails_alone(l, p, true);
}

/* ---- all programs -----------------------------------------------------------------------------
 */

static int run_all(struct lock_mips_random *l, struct err *e)
{
    struct tally *t = &l->tally;
    for (uint64_t n = 0; n < l->opt.cases && t->failed < l->opt.show; n++) {
        struct lock_mips_program p;
        uint64_t index = l->opt.first + n;
        unsigned model = model_of(index);
        if ((!l->ref || index % GENERATION == 0) && new_machines(l, model, e))
            return -e->errnum;
        lock_mips_generate(l->gen, l->opt.seed, index, model, &p);
        if (l->opt.verbose)
            lock_mips_print_program(l->gen, &p, stdout);
        enum outcome r = run_program(l, &p, stdout);
        t->passed += r == EQUAL;
        t->endless += r == ENDLESS;
        t->undefined += r == UNDEFINED;
        t->failed += r == DIFFERENT;
        if (r == DIFFERENT) {
            report(l, &p);
            free_machines(l);
        }
    }
    return 0;
}

/* Kinds of exceptions that enough programs must raise. */
static unsigned exceptions_missing(const struct lock_mips_random *l)
{
    static const uint8_t expected[] = {EXC_INT,  EXC_MOD, EXC_TLBL, EXC_TLBS, EXC_ADEL,
                                       EXC_ADES, EXC_IBE, EXC_SYS,  EXC_BP,   EXC_RI,
                                       EXC_CPU,  EXC_OV,  EXC_TR,   EXC_FPE};
    unsigned missing = 0;
    printf("exceptions by code:");
    for (unsigned i = 0; i < ARRAY_LEN(expected); i++) {
        printf(" %u:%" PRIu64, expected[i], l->tally.raised[expected[i]]);
        missing += l->tally.raised[expected[i]] < 10;
    }
    printf("\n");
    return missing;
}

static unsigned summary(struct lock_mips_random *l)
{
    const struct tally *t = &l->tally;
    bool whole = l->opt.cases >= 20000 && !t->failed;
    unsigned missing = exceptions_missing(l) + lock_mips_missing(l->gen, whole ? stdout : NULL);
    printf("seed %" PRIu64 ": %" PRIu64 " instructions, %" PRIu64 " interrupts, %" PRIu64
           " device accesses, %" PRIu64 " steps\n",
           l->opt.seed, t->instructions, t->interrupts, t->io, t->steps);
    printf("%" PRIu64 " passed, %" PRIu64 " failed, %" PRIu64 " without an end, %" PRIu64
           " left out\n",
           t->passed, t->failed, t->endless, t->undefined);
    return (whole ? missing : 0) + (t->failed > 0) + (t->endless + t->undefined > t->passed / 5);
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

static int compare(struct lock_mips_random *l)
{
    struct err e = {0};
    l->gen = lock_mips_generator_new(&e);
    if (!l->gen || run_all(l, &e)) {
        fprintf(stderr, "lock_mips_random: [%s] %s\n", e.id, e.text);
        return 2;
    }
    return summary(l) ? 1 : 0;
}

int main(int argc, char **argv)
{
    struct lock_mips_random *l = calloc(1, sizeof *l);
    struct err e = {0};
    int rc = 2;
    if (!l)
        return 2;
    setvbuf(stdout, NULL, _IOLBF, 0); /* in order with the log's lines */
    l->opt = (struct options){.seed = 1, .cases = 20000, .show = 1, .spoil = UINT64_MAX};
    if (!parse(argc, argv, &l->opt)) {
        fprintf(stderr, "lock_mips_random: see the first lines of tests/diff/lock_mips_random.c\n");
    } else if (dbt_engine.probe(&e) < 0) {
        printf("skipped: this host cannot run the translator: %s\n", e.text);
        rc = LOCK_SKIP;
    } else {
        rc = compare(l);
    }
    free_machines(l);
    lock_mips_generator_free(l->gen);
    free(l);
    return rc;
}
