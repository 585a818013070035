/* SPDX-License-Identifier: MIT */
/* oracle: compares the interpreter with the host processor on random instruction sequences.
 *
 *   oracle [--helper PATH] [--seed N] [--first N] [--cases N] [--only MNEMONIC] [--strict-flags]
 *          [--coverage] [--self-check] [--show N] [--verbose]
 *
 * A case is a function of the seed, its number and --only, so each can be run again alone. The
 * first difference of every mnemonic is printed. Not compared: where the FPU last ran (FIP, FDP,
 * FOP), MXCSR_MASK, RF, flags the manual leaves undefined unless --strict-flags.
 * --verbose prints all registers, and the cases that were compared loosely (same_loosely below).
 * --self-check runs the host against itself, to show that the native side is deterministic.
 * Exit status: 0 all equal, 1 differences, 2 usage or set-up, 77 this host cannot. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include "encodings.h"

#define EXIT_SKIP 77
#define MNEMONICS (X86_MN_END + 1)

struct options {
    const char *helper, *only;
    uint64_t seed, first, cases, show;
    bool strict, coverage, self_check, verbose;
};

struct oracle {
    struct options opt;
    struct or_generator *gen;
    struct or_native *native;
    struct or_interp *interp;
    struct or_image base;
    uint8_t ro[OR_RO_BYTES];
    struct or_result other[OR_BATCH]; /* the interpreter's, or the host's first run */
    uint64_t passed, failed, shown;
    uint64_t loose; /* of those passed: see same_loosely() */
    /* A difference of this mnemonic was printed: within a sequence, alone. */
    bool seen[MNEMONICS], seen_alone[MNEMONICS];
};

/* ---- comparison ------------------------------------------------------------------------- */

#define FLAGS_COMPARED                                                                             \
    (FL_ARITH | FL_TF | FL_IF | FL_DF | FL_IOPL | FL_NT | FL_VM | FL_AC | FL_VIF | FL_VIP | FL_ID)

/* Which instruction of the case a run stopped at; c->insns also for a place that is none. */
static unsigned stopped_at(const struct or_case *c, const struct or_state *s)
{
    unsigned i = 0;
    while (i < c->insns && c->init.eip + c->start[i] != s->eip)
        i++;
    return i;
}

static uint32_t flags_mask(const struct oracle *o, const struct or_case *c,
                           const struct or_state *host)
{
    return FLAGS_COMPARED & ~(o->opt.strict ? 0 : c->undefined[stopped_at(c, host)]);
}

static bool same_fx(const struct or_fx *a, const struct or_fx *b)
{
    if (a->fcw != b->fcw || a->fsw != b->fsw || a->ftw != b->ftw || a->mxcsr != b->mxcsr)
        return false;
    for (unsigned i = 0; i < 8; i++)
        if (memcmp(a->st[i], b->st[i], 10))
            return false;
    return !memcmp(a->xmm, b->xmm, sizeof(a->xmm));
}

static bool same_state(const struct oracle *o, const struct or_case *c, const struct or_state *a,
                       const struct or_state *b)
{
    return a->vector == b->vector && a->error == b->error && a->cr2 == b->cr2 && a->eip == b->eip &&
           !((a->eflags ^ b->eflags) & flags_mask(o, c, a)) &&
           !memcmp(a->gpr, b->gpr, sizeof(a->gpr)) && same_fx(&a->fx, &b->fx);
}

/* Both stopped in the same instruction, on a memory fault, and it is one with several accesses:
 * which of them faults first and what the others have done by then is the processor's choice.
 * ENTER may also touch the new top of the stack, which matters for alignment checks, and MASKMOV
 * may fault for bytes it does not store. */
static bool same_memory_fault(const struct or_case *c, const struct or_state *a,
                              const struct or_state *b)
{
    const uint32_t memory = 1u << X86_SSF | 1u << X86_GP | 1u << X86_PF | 1u << X86_AC;
    unsigned i = stopped_at(c, a);
    if (i == c->insns || !or_several_accesses(c->mnemonic[i]) || a->vector > 31 || b->vector > 31)
        return false;
    if (c->mnemonic[i] == ZYDIS_MNEMONIC_ENTER && a->vector == X86_AC)
        return true;
    if (c->mnemonic[i] == ZYDIS_MNEMONIC_MASKMOVQ || c->mnemonic[i] == ZYDIS_MNEMONIC_MASKMOVDQU)
        return memory >> a->vector & 1;
    return a->eip == b->eip && memory >> a->vector & memory >> b->vector & 1;
}

#define MXCSR_OE 0x08u
#define MXCSR_UE 0x10u
#define MXCSR_PE 0x20u
#define MXCSR_MM 0x20000u /* AMD's misaligned mode: reserved, so #GP, on the virtual processor */

/* Differences between processors, and one known shortfall:
 * - CVTPI2PS with a memory operand waits for x87 exceptions by Intel's manual, not on AMD;
 * - AMD processors have one more bit in MXCSR that a program may load;
 * - with an unmasked overflow or underflow the interpreter may set PE where the processor, which
 *   rounds to an unbounded exponent for this, does not (sse.c). */
static bool same_loosely(const struct or_case *c, const struct or_state *s,
                         const struct or_state *t)
{
    unsigned host = stopped_at(c, s), interp = stopped_at(c, t);
    if (t->vector == X86_MF && interp < c->insns && c->mnemonic[interp] == ZYDIS_MNEMONIC_CVTPI2PS)
        return true;
    if (s->vector == X86_MF && host < c->insns && c->mnemonic[host] == ZYDIS_MNEMONIC_CVTPI2PS)
        return true;
    if (t->vector == X86_GP && (s->fx.mxcsr & MXCSR_MM) && interp < c->insns &&
        (c->mnemonic[interp] == ZYDIS_MNEMONIC_LDMXCSR ||
         c->mnemonic[interp] == ZYDIS_MNEMONIC_FXRSTOR))
        return true;
    if (s->vector == X86_XM && t->vector == X86_XM && s->eip == t->eip &&
        (s->fx.mxcsr & (MXCSR_OE | MXCSR_UE)) && (s->fx.mxcsr ^ t->fx.mxcsr) == MXCSR_PE)
        return true;
    return same_memory_fault(c, s, t);
}

static bool ignored(const struct or_case *c, uint32_t addr)
{
    for (unsigned i = 0; i < c->ignores; i++)
        if (addr - c->ignore[i].addr < c->ignore[i].size)
            return true;
    return false;
}

struct region {
    uint32_t addr, bytes;
    size_t offset; /* in struct or_image */
};
static const struct region regions[] = {
    {OR_DATA, OR_DATA_BYTES, offsetof(struct or_image, data)},
    {OR_SAVE, OR_SAVE_BYTES, offsetof(struct or_image, save)},
    {OR_STACK, OR_STACK_BYTES, offsetof(struct or_image, stack)},
};

/* Number of bytes that differ; prints the first few on `out` unless NULL. */
static unsigned compare_memory(const struct or_case *c, const struct or_result *a,
                               const struct or_result *b, FILE *out)
{
    unsigned count = 0;
    if (!memcmp(&a->image, &b->image, sizeof(a->image)))
        return 0;
    for (size_t r = 0; r < ARRAY_LEN(regions); r++)
        for (uint32_t i = 0; i < regions[r].bytes; i++) {
            uint8_t x = ((const uint8_t *)&a->image)[regions[r].offset + i];
            uint8_t y = ((const uint8_t *)&b->image)[regions[r].offset + i];
            uint32_t addr = regions[r].addr + i;
            if (x == y || ignored(c, addr))
                continue;
            if (out && count < 32)
                fprintf(out, "    [%08x]  host %02x  interpreter %02x\n", addr, x, y);
            count++;
        }
    return count;
}

/* ---- report ----------------------------------------------------------------------------- */

static void row(FILE *out, const char *name, uint32_t init, uint32_t host, uint32_t interp,
                uint32_t mask)
{
    fprintf(out, "    %-7s %08x   %08x %08x%s\n", name, init, host, interp,
            (host ^ interp) & mask ? "   <--" : "");
}

static void bytes_row(FILE *out, const char *name, unsigned n, const uint8_t *init,
                      const uint8_t *host, const uint8_t *interp, unsigned len)
{
    const uint8_t *column[] = {init, host, interp};
    bool differ = memcmp(host, interp, len);
    fprintf(out, "    %s%u   ", name, n);
    for (unsigned k = 0; k < 3; k++) {
        for (unsigned i = len; i-- > 0;)
            fprintf(out, "%02x", column[k][i]);
        fputc(' ', out);
    }
    fprintf(out, "%s\n", differ ? "  <--" : "");
}

static void print_registers(FILE *out, const struct oracle *o, const struct or_case *c,
                            const struct or_state *a, const struct or_state *b)
{
    static const char *const name[] = {"eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi"};
    const struct or_state *s = &c->init;

    fprintf(out, "    %-7s %-8s   %-8s %-8s\n", "", "before", "host", "interpreter");
    for (unsigned i = 0; i < 8; i++)
        row(out, name[i], s->gpr[i], a->gpr[i], b->gpr[i], ~0u);
    row(out, "eip", s->eip, a->eip, b->eip, ~0u);
    row(out, "eflags", s->eflags, a->eflags, b->eflags, flags_mask(o, c, a));
    row(out, "vector", 0, a->vector, b->vector, ~0u);
    row(out, "error", 0, a->error, b->error, ~0u);
    row(out, "cr2", 0, a->cr2, b->cr2, ~0u);
    row(out, "fcw", s->fx.fcw, a->fx.fcw, b->fx.fcw, ~0u);
    row(out, "fsw", s->fx.fsw, a->fx.fsw, b->fx.fsw, ~0u);
    row(out, "ftw", s->fx.ftw, a->fx.ftw, b->fx.ftw, ~0u);
    row(out, "mxcsr", s->fx.mxcsr, a->fx.mxcsr, b->fx.mxcsr, ~0u);
}

static void print_vectors(FILE *out, const struct oracle *o, const struct or_case *c,
                          const struct or_state *a, const struct or_state *b)
{
    const struct or_state *s = &c->init;
    for (unsigned i = 0; i < 8; i++)
        if (o->opt.verbose || memcmp(a->fx.st[i], b->fx.st[i], 10))
            bytes_row(out, "st", i, s->fx.st[i], a->fx.st[i], b->fx.st[i], 10);
    for (unsigned i = 0; i < 8; i++)
        if (o->opt.verbose || memcmp(a->fx.xmm[i], b->fx.xmm[i], 16))
            bytes_row(out, "xmm", i, s->fx.xmm[i], a->fx.xmm[i], b->fx.xmm[i], 16);
}

/* Something not printed before: a mnemonic that no printed sequence had, or one alone. */
static bool is_news(struct oracle *o, const struct or_case *c)
{
    bool news = false;
    bool *seen = c->insns == 1 ? o->seen_alone : o->seen;
    for (unsigned i = 0; i < c->insns; i++) {
        news |= !seen[c->mnemonic[i]];
        seen[c->mnemonic[i]] = true;
    }
    return news;
}

static void report(struct oracle *o, const char *what, const struct or_case *c,
                   const struct or_result *a, const struct or_result *b)
{
    o->shown++;
    printf("%s: --seed %llu --first %llu --cases 1%s%s%s\n", what, (unsigned long long)o->opt.seed,
           (unsigned long long)c->index, o->opt.only ? " --only " : "",
           o->opt.only ? o->opt.only : "", o->opt.strict ? " --strict-flags" : "");
    or_print_code(o->gen, c, stdout);
    for (unsigned i = 0; i < c->patches; i++)
        printf("    [%08x] is %llx before\n", c->patch[i].addr,
               (unsigned long long)c->patch[i].value);
    print_registers(stdout, o, c, &a->state, &b->state);
    print_vectors(stdout, o, c, &a->state, &b->state);
    compare_memory(c, a, b, stdout);
}

/* ---- running ---------------------------------------------------------------------------- */

static int run_batch(struct oracle *o, uint64_t first, unsigned count, struct err *e)
{
    for (unsigned i = 0; i < count; i++)
        or_generate(o->gen, o->opt.seed, first + i, or_native_case(o->native, i));
    if (o->opt.self_check) {
        if (or_native_run(o->native, count, e))
            return -e->errnum;
        for (unsigned i = 0; i < count; i++)
            o->other[i] = *or_native_result(o->native, i);
    } else {
        for (unsigned i = 0; i < count; i++)
            or_interp_run(o->interp, or_native_case(o->native, i), &o->other[i]);
    }
    if (or_native_run(o->native, count, e))
        return -e->errnum;
    for (unsigned i = 0; i < count; i++) {
        const struct or_case *c = or_native_case(o->native, i);
        const struct or_result *r = or_native_result(o->native, i);
        if (r->state.vector == X86_BP && r->state.eip == c->init.eip + c->code_len)
            or_generator_completed(o->gen, c);
        if (same_state(o, c, &r->state, &o->other[i].state) &&
            !compare_memory(c, r, &o->other[i], NULL)) {
            o->passed++;
            continue;
        }
        if (same_loosely(c, &r->state, &o->other[i].state)) {
            o->passed++;
            o->loose++;
            if (o->opt.verbose)
                report(o, "compared loosely", c, r, &o->other[i]);
            continue;
        }
        o->failed++;
        if (o->shown < o->opt.show && is_news(o, c))
            report(o, "difference", c, r, &o->other[i]);
    }
    return 0;
}

static int set_up(struct oracle *o, struct err *e)
{
    struct or_rng r = {or_mix(o->opt.seed)};

    or_random_image(&r, &o->base, o->ro);
    int rc = or_native_new(o->opt.helper, &o->base, o->ro, &o->native, e);
    if (rc)
        return rc;
    unsigned modes = or_native_modes(o->native);
    if (modes < OR_MODES)
        printf("this host has no modify_ldt: only flat 32-bit code is compared\n");
    o->gen = or_generator_new(o->opt.only, o->opt.strict, modes, e);
    if (!o->gen)
        return -e->errnum;
    return or_interp_new(&o->base, o->ro, &o->interp, e);
}

static void tear_down(struct oracle *o)
{
    or_interp_free(o->interp);
    or_native_free(o->native);
    or_generator_free(o->gen);
    free(o);
}

static int run_all(struct oracle *o, struct err *e)
{
    struct timespec t0, t1;
    clock_gettime(CLOCK_MONOTONIC, &t0);
    for (uint64_t done = 0; done < o->opt.cases; done += OR_BATCH) {
        uint64_t left = o->opt.cases - done;
        if (run_batch(o, o->opt.first + done, left < OR_BATCH ? (unsigned)left : OR_BATCH, e)) {
            fprintf(stderr, "oracle: near case %llu: %s\n",
                    (unsigned long long)(o->opt.first + done), e->text);
            return 2;
        }
    }
    clock_gettime(CLOCK_MONOTONIC, &t1);
    /* Too few cases cannot show every mnemonic. */
    bool whole = !o->opt.only && o->opt.cases >= 20000;
    unsigned missing =
        whole || o->opt.coverage ? or_generator_coverage(o->gen, o->opt.coverage, stdout) : 0;
    double s = (double)(t1.tv_sec - t0.tv_sec) + (double)(t1.tv_nsec - t0.tv_nsec) / 1e9;
    printf("seed %llu, %.1f s, %u mnemonics missing, %llu faults compared loosely\n",
           (unsigned long long)o->opt.seed, s, missing, (unsigned long long)o->loose);
    printf("%llu passed, %llu failed\n", (unsigned long long)o->passed,
           (unsigned long long)o->failed);
    return o->failed || missing;
}

static bool parse(int argc, char **argv, struct options *opt)
{
    static const struct option names[] = {{"helper", required_argument, NULL, 'h'},
                                          {"seed", required_argument, NULL, 's'},
                                          {"first", required_argument, NULL, 'f'},
                                          {"cases", required_argument, NULL, 'c'},
                                          {"only", required_argument, NULL, 'o'},
                                          {"show", required_argument, NULL, 'n'},
                                          {"strict-flags", no_argument, NULL, 't'},
                                          {"coverage", no_argument, NULL, 'v'},
                                          {"self-check", no_argument, NULL, 'x'},
                                          {"verbose", no_argument, NULL, 'V'},
                                          {NULL, 0, NULL, 0}};
    int ch;

    while ((ch = getopt_long(argc, argv, "", names, NULL)) != -1)
        switch (ch) {
        case 'h':
            opt->helper = optarg;
            break;
        case 's':
            opt->seed = strtoull(optarg, NULL, 0);
            break;
        case 'f':
            opt->first = strtoull(optarg, NULL, 0);
            break;
        case 'c':
            opt->cases = strtoull(optarg, NULL, 0);
            break;
        case 'o':
            opt->only = optarg;
            break;
        case 'n':
            opt->show = strtoull(optarg, NULL, 0);
            break;
        case 't':
            opt->strict = true;
            break;
        case 'v':
            opt->coverage = true;
            break;
        case 'x':
            opt->self_check = true;
            break;
        case 'V':
            opt->verbose = true;
            break;
        default:
            return false;
        }
    return optind == argc;
}

/* native_helper is built beside this program. */
static void default_helper(char *path, size_t size, const char *self)
{
    const char *slash = strrchr(self, '/');
    snprintf(path, size, "%.*snative_helper", slash ? (int)(slash + 1 - self) : 0, self);
}

int main(int argc, char **argv)
{
    struct oracle *o = calloc(1, sizeof(*o));
    struct err e = {0};
    char path[4096];

    if (!o)
        return 2;
    default_helper(path, sizeof(path), argv[0]);
    o->opt = (struct options){.helper = path, .seed = 1, .cases = 60000, .show = 40};
    signal(SIGPIPE, SIG_IGN);
    setvbuf(stdout, NULL, _IOLBF, 0);
    int rc = 2;
    if (!parse(argc, argv, &o->opt)) {
        fprintf(stderr, "oracle: see the first lines of tests/diff/main.c for the options\n");
    } else {
        rc = set_up(o, &e);
        if (rc == -ENOTSUP) {
            printf("skipped: this host cannot be the oracle: %s\n", e.text);
            rc = EXIT_SKIP;
        } else if (rc) {
            fprintf(stderr, "oracle: [%s] %s\n", e.id, e.text);
            rc = 2;
        } else {
            rc = run_all(o, &e);
        }
    }
    tear_down(o);
    return rc;
}
