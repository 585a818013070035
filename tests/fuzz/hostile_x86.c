/* SPDX-License-Identifier: MIT */
/* A malicious guest: random machine state, random descriptor and page tables, random code at every
 * privilege level and in every mode (hostile_guest.c), and random user code below a kernel that it
 * must not harm (hostile_jail.c). Nothing it does may harm the monitor (Popek and Goldberg's
 * resource control): every run returns, for a reason that exists; the processor's invariants hold;
 * nothing but guest RAM has changed: ROM, the parts of its file that are not shown to the guest,
 * and canary pages around the machine's mappings are as they were, no host memory is both writable
 * and executable, the low 4 GiB are as empty as at first. Run it under ASan to see more of that.
 *
 *     hostile_x86 [--engine NAME] [SEED [RUNS]]
 *
 * NAME is interp (the default), one of the table below, or dbt: all but interp in turns. A failing
 * run names its seed and engine; machines live for GENERATION seeds, so that views and translations
 * meet guests they were not made for: if the seed alone passes, begin at its generation. Under
 * translation a second thread stops the run every now and then, which ends endless loops, so
 * where a run is interrupted differs from time to time. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "engine/dbt/dbt.h"
#include "hostile.h"
#include "isa/x86/fpu.h"

#define DEFAULT_RUNS 500
#define SLICES       4
#define SLICE        1500 /* instructions */
#define GENERATION   200
#define PERIOD_NS    500000 /* between stops */
#define PATIENCE     60     /* seconds until a run that was told to stop counts as lost */
#define LOW_END      (4 * GIB)

static const struct kind {
    const char *name;
    const struct engine_ops *ops;
    struct dbt_options dbt;
} kinds[] = {
    {"interp", &interp_engine, {0}},
    {"window", &dbt_engine, {.view = DBT_VIEW_WINDOW, .cache_bytes = MIB, .check_code = true}},
    {"flat", &dbt_engine, {.view = DBT_VIEW_FLAT, .cache_bytes = MIB, .check_code = true}},
    {"auto", &dbt_engine, {.cache_bytes = MIB, .check_code = true}},
    {"traced", &dbt_engine, {.cache_bytes = MIB, .check_code = true, .trace_tables = true}},
    {"old-host", &dbt_engine, {.check_code = true, .no_bmi2 = true, .no_fsgsbase = true}},
};

/* ---- the thread that stops runs ---------------------------------------------------------------
 */

struct stopper {
    struct vcpu *vcpu;
    pthread_t thread;
    _Atomic bool end;
    _Atomic uint64_t seed, served; /* stops that came through */
};

static void *stop_again_and_again(void *opaque)
{
    struct stopper *p = opaque;
    const struct timespec period = {0, PERIOD_NS};
    uint64_t seen = 0, since = 0;
    while (!atomic_load(&p->end)) {
        struct timespec now;
        nanosleep(&period, NULL);
        vcpu_attend(p->vcpu, ATTN_STOP);
        clock_gettime(CLOCK_MONOTONIC, &now);
        if (atomic_load(&p->served) != seen || !since) {
            seen = atomic_load(&p->served);
            since = (uint64_t)now.tv_sec;
        } else if ((uint64_t)now.tv_sec - since > PATIENCE) {
            printf("FAIL seed %llu: does not stop\n", (unsigned long long)atomic_load(&p->seed));
            fflush(stdout);
            _exit(1);
        }
    }
    return NULL;
}

/* ---- what must hold ----------------------------------------------------------------------------
 */

static const char *broken_invariant(const struct machine *m)
{
    const struct x86_vcpu *v = x86_of(m->vcpu);
    for (unsigned r = 0; r <= X86_GPR_ZERO; r++)
        if (v->gpr[r] >> 32)
            return "a register is wider than 32 bits";
    if (v->gpr[X86_GPR_ZERO])
        return "the zero register is not zero";
    if (v->eip >> 32)
        return "eip is wider than 32 bits";
    if (!(v->eflags & FL_FIXED) || (v->eflags & (FL_ARITH | FL_IF | FL_DF)))
        return "eflags holds what it must not";
    if ((v->if_flag & ~FL_IF) || (v->df_flag & ~FL_DF))
        return "a flag of its own holds something else";
    if (v->attn_mask != x86_attn_mask(v->if_flag))
        return "the mask of attention is stale";
    if (v->cpl > 3 || ((v->eflags & FL_VM) && v->cpl != 3))
        return "impossible privilege level";
    if (v->user != (v->cpl == 3) || v->tlb != v->tlb_sets[v->user])
        return "derived privilege is stale";
    if (v->fpu.live)
        return "the host's FPU still holds guest state";
    return NULL;
}

static bool all(const uint8_t *at, uint8_t byte, size_t n)
{
    return at[0] == byte && !memcmp(at, at + 1, n - 1);
}

/* Memory that the guest has no way to. */
static const char *broken_memory(const struct machine *m)
{
    const uint32_t rom = RAM_BYTES - ROM_BYTES;
    if (memcmp(m->file + CANARY_BYTES + rom, m->before + rom, ROM_BYTES))
        return "ROM has changed";
    if (!all(m->file, 0xa5, CANARY_BYTES) ||
        !all(m->file + CANARY_BYTES + RAM_BYTES, 0xa5, CANARY_BYTES))
        return "memory that the guest was not given has changed";
    for (unsigned i = 0; i < CANARIES; i++)
        if (!all(m->canary[i], 0x5a, CANARY_BYTES))
            return "a canary of the monitor has changed";
    return NULL;
}

/* Bytes of the low 4 GiB that can be accessed; with *wx whether any page can be written and run. */
static uint64_t low_memory(bool *wx)
{
    FILE *f = fopen("/proc/self/maps", "r");
    unsigned long long from, to;
    uint64_t low = 0;
    char rights[8], line[4200];
    *wx = false;
    while (f && fgets(line, sizeof line, f)) {
        if (sscanf(line, "%llx-%llx %7s", &from, &to, rights) != 3)
            continue;
        *wx |= rights[1] == 'w' && rights[2] == 'x';
        if (from < LOW_END && strncmp(rights, "---", 3) != 0)
            low += (to < LOW_END ? to : LOW_END) - from;
    }
    if (f)
        fclose(f);
    return low;
}

static const char *broken_exit(const struct vm_exit *x)
{
    if (x->kind == EXIT_UNSUPPORTED)
        return x->what && !strstr(x->what, "generated code") ? NULL : "bad generated code";
    return x->kind == EXIT_ATTENTION || x->kind == EXIT_HALT || x->kind == EXIT_SHUTDOWN
               ? NULL
               : "an exit that engines do not make";
}

/* ---- runs ---------------------------------------------------------------------------------------
 */

struct fuzz {
    struct machine m;
    struct stopper stopper;
    const struct kind *kind;
    uint64_t low, ends[EXIT_KIND_COUNT];
};

static int failure(const struct fuzz *f, uint64_t seed, const char *what, uint32_t gpa)
{
    printf("FAIL seed %llu under %s: %s", (unsigned long long)seed, f->kind->name, what);
    printf(gpa ? " at %#x\n" : "\n", gpa);
    f->m.vcpu->isa->post_mortem(f->m.vcpu, stdout);
    return 1;
}

static void run_slice(struct fuzz *f, struct vm_exit *x)
{
    struct vcpu *v = f->m.vcpu;
    *x = (struct vm_exit){0};
    if (f->kind->ops == &interp_engine) {
        v->isa->interpret(v, SLICE, x);
        return;
    }
    f->kind->ops->run(v, x);
    x86_fpu_park(x86_of(v));
    atomic_fetch_add(&f->stopper.served, 1);
    vcpu_unattend(v, ATTN_STOP);
}

static const char *broken(const struct fuzz *f, const struct vm_exit *x, bool jail, uint32_t *gpa)
{
    const char *what = broken_invariant(&f->m);
    *gpa = 0;
    if (!what)
        what = broken_exit(x);
    if (!what)
        what = broken_memory(&f->m);
    if (!what && jail && x->kind != EXIT_ATTENTION && x->kind != EXIT_UNSUPPORTED)
        what = "user code ended the run";
    if (!what && jail)
        what = hostile_escape(&f->m, gpa);
    return what;
}

/* Use up the code cache but for some, so that the code is dropped in the midst of the run. */
static void crowd_cache(const struct fuzz *f, uint64_t *s)
{
    struct dbt *d = f->m.vcpu->engine_state;
    uint32_t leave = 64 * KIB + below(s, 16) * KIB;
    if (cache_room(&d->cache) > leave)
        cache_take(&d->cache, cache_room(&d->cache) - leave);
}

static void set_up(struct fuzz *f, uint64_t seed, bool jail)
{
    struct machine *m = &f->m;
    uint64_t s = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
    x86_fpu_park(x86_of(m->vcpu));
    vcpu_unattend(m->vcpu, ATTN_STOP);
    (seed % 3 == 0 ? vcpu_attend : vcpu_unattend)(m->vcpu, ATTN_INTERRUPT);
    if (jail)
        hostile_jail(m, &s);
    else
        hostile_wild(m, &s);
    if (!jail && f->kind->ops != &interp_engine && below(&s, 8))
        hostile_flatten(m, &s);
    if (f->kind->ops == &dbt_engine && below(&s, 8) == 0)
        crowd_cache(f, &s);
    phys_read(m->mem, 0, m->before, RAM_BYTES);
}

static int run_one(struct fuzz *f, uint64_t seed, bool jail)
{
    atomic_store(&f->stopper.seed, seed);
    set_up(f, seed, jail);
    for (unsigned i = 0; i < SLICES; i++) {
        struct vm_exit x;
        uint32_t gpa;
        run_slice(f, &x);
        const char *what = broken(f, &x, jail, &gpa);
        if (what)
            return failure(f, seed, what, gpa);
        f->ends[x.kind]++;
        if (x.kind == EXIT_SHUTDOWN || x.kind == EXIT_UNSUPPORTED)
            return 0;
        if (x.kind == EXIT_HALT) /* an interrupt comes */
            x86_set_eflags(x86_of(f->m.vcpu), x86_get_eflags(x86_of(f->m.vcpu)) | FL_IF);
        if (jail) /* out of an endless loop */
            vcpu_attend(f->m.vcpu, ATTN_INTERRUPT);
    }
    return 0;
}

/* ---- machines ----------------------------------------------------------------------------------
 */

static int ack(void *opaque)
{
    struct machine *m = opaque;
    if (m->engine != &interp_engine && next(&m->irq_seed) & 1)
        vcpu_unattend(m->vcpu, ATTN_INTERRUPT);
    return (int)below(&m->irq_seed, 256);
}

static void place_canary(struct machine *m, unsigned i)
{
    void *p = mmap(NULL, CANARY_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    m->canary[i] = p == MAP_FAILED ? NULL : memset(p, 0x5a, CANARY_BYTES);
}

static int build_memory(struct machine *m, struct err *e)
{
    const uint32_t ram = RAM_BYTES - ROM_BYTES;
    m->mem = phys_new(FILE_BYTES, e);
    if (!m->mem || phys_map_ram(m->mem, 0, CANARY_BYTES, ram, e) < 0 ||
        phys_map_rom(m->mem, ram, CANARY_BYTES + ram, ROM_BYTES, e) < 0)
        return -e->errnum;
    m->file = phys_page(m->mem, (gpfn_t){0}).host - CANARY_BYTES;
    memset(m->file, 0xa5, CANARY_BYTES);
    memset(m->file + CANARY_BYTES + RAM_BYTES, 0xa5, CANARY_BYTES);
    return 0;
}

static int build(struct machine *m, const struct kind *k, struct err *e)
{
    m->log = (struct log){LOG_ERROR, 2};
    m->engine = k->ops;
    m->irq_seed = 1;
    place_canary(m, 0);
    if (build_memory(m, e) < 0)
        return -e->errnum;
    place_canary(m, 1);
    m->mmio = bus_new("mmio", PHYS_LIMIT, e);
    m->pio = bus_new("pio", 0x10000, e);
    m->clock = clock_new(CLOCK_VIRTUAL, e);
    if (!m->mmio || !m->pio || !m->clock)
        return -e->errnum;
    struct vcpu_wiring w = {m->mem, m->mmio, m->pio, m->clock, &m->log};
    m->vcpu = x86_isa.vcpu_new(&w, 0, e);
    if (!m->vcpu)
        return -e->errnum;
    m->vcpu->intc = (struct intc){ack, m};
    place_canary(m, 2);
    int r = k->ops == &interp_engine ? 0 : k->ops->attach(m->vcpu, &k->dbt, e);
    place_canary(m, 3);
    for (unsigned i = 0; i < CANARIES; i++)
        if (!m->canary[i])
            r = err_set(e, ENOMEM, "no-memory", "no memory for canaries");
    return r;
}

static int begin_generation(struct fuzz *f, struct err *e)
{
    bool wx;
    int r = build(&f->m, f->kind, e);
    if (r < 0)
        return r;
    f->low = low_memory(&wx);
    f->stopper.vcpu = f->m.vcpu;
    atomic_store(&f->stopper.end, false);
    if (f->kind->ops != &interp_engine &&
        pthread_create(&f->stopper.thread, NULL, stop_again_and_again, &f->stopper))
        return err_set(e, EAGAIN, "no-thread", "no thread");
    return 0;
}

static int end_generation(struct fuzz *f, uint64_t seed)
{
    struct machine *m = &f->m;
    bool wx;
    int failed = 0;
    if (f->kind->ops != &interp_engine) {
        atomic_store(&f->stopper.end, true);
        pthread_join(f->stopper.thread, NULL);
    }
    if (low_memory(&wx) != f->low)
        failed |= failure(f, seed, "the low 4 GiB are not as they were", 0);
    if (wx)
        failed |= failure(f, seed, "memory is writable and executable", 0);
    if (f->kind->ops != &interp_engine)
        f->kind->ops->detach(m->vcpu);
    m->vcpu->isa->vcpu_free(m->vcpu);
    clock_free(m->clock);
    bus_free(m->pio);
    bus_free(m->mmio);
    phys_free(m->mem);
    for (unsigned i = 0; i < CANARIES; i++)
        munmap(m->canary[i], CANARY_BYTES);
    return failed;
}

/* What has been going on. Under translation hardly anything else would be a test of nothing. */
static long report(const struct fuzz *f, uint64_t from)
{
    const struct vcpu_stats *t = &f->m.vcpu->stats;
    printf("%s from seed %llu: interpreted %llu, exceptions %llu, interrupts %llu", f->kind->name,
           (unsigned long long)from, (unsigned long long)t->interpreted,
           (unsigned long long)t->exits[EXIT_EXCEPTION],
           (unsigned long long)t->exits[EXIT_INTERRUPT]);
    if (f->kind->ops == &dbt_engine) {
        const struct dbt *d = f->m.vcpu->engine_state;
        printf(", translations %llu, entered %llu, flushes %llu, kicks %llu, faults filled %llu",
               (unsigned long long)d->figures.translations, (unsigned long long)d->figures.entries,
               (unsigned long long)d->figures.flushes, (unsigned long long)d->figures.kicks,
               (unsigned long long)d->figures.verdicts[DBT_RESUME]);
        printf(d->figures.translations ? "\n" : ": FAIL, nothing translated\n");
        return !d->figures.translations;
    }
    printf("\n");
    return 0;
}

/* Counts failures; -errno if machines cannot be made. */
static long run_generation(struct fuzz *f, uint64_t from, uint64_t to, struct err *e)
{
    long failed = 0;
    if (begin_generation(f, e) < 0)
        return -e->errnum;
    for (uint64_t seed = from; seed < to; seed++) {
        failed += run_one(f, seed, false);
        failed += run_one(f, seed, true);
    }
    failed += report(f, from);
    return failed + end_generation(f, to - 1);
}

static bool chosen(const struct kind *k, const char *name)
{
    return !strcmp(k->name, name) || (!strcmp(name, "dbt") && k->ops == &dbt_engine);
}

int main(int argc, char **argv)
{
    const char *name = argc > 2 && !strcmp(argv[1], "--engine") ? argv[2] : NULL;
    char **rest = argv + (name ? 3 : 1);
    uint64_t first = rest[0] ? strtoull(rest[0], NULL, 0) : 1;
    uint64_t runs = rest[0] && rest[1] ? strtoull(rest[1], NULL, 0) : DEFAULT_RUNS,
             end = first + runs;
    unsigned long machines = 0;
    long failed = 0;
    struct fuzz *f = calloc(1, sizeof *f);
    struct err e = {0};
    for (unsigned k = 0; f && k < ARRAY_LEN(kinds); k++) {
        if (!chosen(&kinds[k], name ? name : "interp"))
            continue;
        f->kind = &kinds[k];
        if (f->kind->ops->probe(&e) < 0) {
            printf("skip: %s\n", e.text);
            free(f);
            return 77;
        }
        for (uint64_t at = first; at < end; at += GENERATION, machines++) {
            long r = run_generation(f, at, end - at < GENERATION ? end : at + GENERATION, &e);
            if (r < 0) {
                fprintf(stderr, "hostile_x86: %s\n", e.text);
                return 1;
            }
            failed += r;
        }
    }
    for (unsigned k = 0; f && k < EXIT_KIND_COUNT; k++)
        if (f->ends[k])
            printf("%llu times exit %u\n", (unsigned long long)f->ends[k], k);
    printf("%lu machines, %ld failed\n", machines, failed);
    free(f);
    return failed != 0 || machines == 0;
}
