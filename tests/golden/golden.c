/* SPDX-License-Identifier: MIT */
/* Print what the x86 translator makes of the cases in cases.S, in every mode they ask for.
 * golden.py compares that with x86.golden, so that changes of generated code show up in reviews.
 * Exit status 1 if a table of a translation is wrong (text.c), 77 if this host cannot. */
#include "golden.h"

#include <stdlib.h>

#include "isa/x86/translate.h"
#include "isa/x86/translator.h"
#include "ring3/clock.h"

#define PAGE   0x08048000u
#define FILLER 0xf4 /* hlt: the code of no case runs into it */

struct golden_mode {
    char letter;
    const char *name;
    uint16_t bits;           /* changes to X86_MODE_FPU | X86_MODE_SSE */
    uint8_t policy;          /* enum tb_policy of the second instruction on, or of all */
    bool straddle, occupied; /* translate what straddles; another one has the page's slot */
    struct dbt_options options;
};
static const struct golden_mode modes[] = {
    {'W', "window", .bits = 0},
    {'F', "flat", .bits = X86_MODE_FLAT},
    {'S', "select", .policy = TB_SELECT},
    {'s', "select over flat", .bits = X86_MODE_FLAT, .policy = TB_SELECT},
    {'C', "call-out", .policy = TB_CALLOUT},
    {'N', "window, counting", .options.count = true},
    {'X', "window, unchained", .options.no_chain = true},
    {'1', "window, single", .options.single = true},
    {'B', "flat without BMI2", .bits = X86_MODE_FLAT, .options.no_bmi2 = true},
    {'b', "select without BMI2", .policy = TB_SELECT, .options.no_bmi2 = true},
    {'U', "window, user", .bits = X86_MODE_USER},
    {'T', "window, trap-and-emulate", .options.trap = true},
    {'M', "window, no FPU", .bits = X86_MODE_FPU | X86_MODE_SSE},
    {'P', "window, straddling", .straddle = true},
    {'Q', "window, slot taken", .occupied = true},
};

extern const uint8_t golden_cases[], golden_cases_end[];

struct golden_case {
    uint16_t len, at, max;
    const char *modes, *name;
    const uint8_t *code;
};

/* Returns what comes behind it. */
static const uint8_t *read_case(const uint8_t *p, struct golden_case *c)
{
    memcpy(&c->len, p, 2);
    memcpy(&c->at, p + 2, 2);
    memcpy(&c->max, p + 4, 2);
    c->modes = (const char *)p + 6;
    c->name = c->modes + strlen(c->modes) + 1;
    c->code = (const uint8_t *)c->name + strlen(c->name) + 1;
    return c->code + c->len;
}

/* ---- the engine's part --------------------------------------------------------------------- */

struct stub {
    const struct golden_case *c;
    const struct golden_mode *m;
    uint8_t bytes[2 * PAGE_BYTES + 16];
    struct tb tb;
};

static bool translated(void *opaque, uint16_t offset)
{
    const struct stub *s = opaque;
    return offset >= s->c->at + s->c->len;
}
static enum tb_policy policy(void *opaque, uint16_t offset)
{
    const struct stub *s = opaque;
    bool innocent = s->m->policy == TB_CALLOUT && offset == s->c->at;
    return innocent ? TB_PLAIN : (enum tb_policy)s->m->policy;
}
static bool may_straddle(void *opaque, uint16_t offset)
{
    const struct stub *s = opaque;
    return !s->m->occupied;
}
static const uint8_t *peek(void *opaque, uint32_t lin, unsigned len)
{
    const struct stub *s = opaque;
    return lin - PAGE <= PAGE_BYTES - len ? s->bytes + (lin - PAGE) : NULL;
}

static void prepare(struct stub *s)
{
    memset(s->bytes, FILLER, sizeof s->bytes);
    memcpy(s->bytes + s->c->at, s->c->code, s->c->len);
    s->tb = (struct tb){
        .page = PAGE,
        .start = s->c->at,
        .mode = (X86_MODE_FPU | X86_MODE_SSE) ^ s->m->bits,
        .bytes = s->bytes,
        .next = s->m->straddle ? s->bytes + PAGE_BYTES : NULL,
        .straddle = s->m->straddle,
        .max_insns = s->m->straddle ? 1 : s->c->max,
        .opaque = s,
        .translated = translated,
        .policy = policy,
        .may_straddle = may_straddle,
        .peek = peek,
    };
}

/* ---- a processor to translate for ---------------------------------------------------------- */

static void on_code_unmapped(void *opaque, unsigned space, uint32_t page) {}
static void on_space_dropped(void *opaque, unsigned space) {}

struct machine {
    struct phys *mem;
    struct bus *mmio, *pio;
    struct clock *clock;
    struct log log;
    struct vcpu *v;
};

static bool machine_make(struct machine *m, struct err *e)
{
    static const struct dbt_options plain;
    struct dbt_hooks hooks = {NULL, on_code_unmapped, on_space_dropped};
    *m = (struct machine){.mem = phys_new(4 * MIB, e),
                          .mmio = bus_new("mmio", PHYS_LIMIT, e),
                          .pio = bus_new("pio", 0x10000, e),
                          .clock = clock_new(CLOCK_VIRTUAL, e),
                          .log = {LOG_ERROR, 2}};
    if (!m->mem || !m->mmio || !m->pio || !m->clock || phys_map_ram(m->mem, 0, 0, 4 * MIB, e))
        return false;
    struct vcpu_wiring w = {m->mem, m->mmio, m->pio, m->clock, &m->log};
    m->v = x86_vcpu_new(&w, 0, e);
    return m->v && x86_translator.attach(m->v, &plain, &hooks, e) == 0;
}

static void machine_free(struct machine *m)
{
    x86_translator.detach(m->v);
    x86_isa.vcpu_free(m->v);
    phys_free(m->mem);
    bus_free(m->mmio);
    bus_free(m->pio);
    clock_free(m->clock);
}

/* ---- all of them --------------------------------------------------------------------------- */

static const struct golden_mode *mode_of(char letter)
{
    for (unsigned i = 0; i < ARRAY_LEN(modes); i++)
        if (modes[i].letter == letter)
            return &modes[i];
    return NULL;
}

static bool show(struct vcpu *v, struct stub *s, struct golden_sum *sums)
{
    char line[101];
    int n = snprintf(line, sizeof line, "== %s, %s ", s->c->name, s->m->name);
    memset(line + n, '=', sizeof line - (unsigned)n);
    printf("%.100s\n", line);
    x86_of(v)->gen.translator->options = s->m->options;
    x86_of(v)->gen.translator->bmi2 = !s->m->options.no_bmi2; /* whatever this host has */
    prepare(s);
    x86_translate(v, &s->tb);
    return golden_print(&s->tb, s->bytes, stdout, &sums[s->m - modes]);
}

static bool show_all(struct vcpu *v, struct stub *s, struct golden_sum *sums)
{
    bool good = true;
    struct golden_case c;
    for (const uint8_t *p = golden_cases; p < golden_cases_end;) {
        p = read_case(p, &c);
        s->c = &c;
        for (const char *m = c.modes; *m; m++) {
            s->m = mode_of(*m);
            good = s->m ? show(v, s, sums) && good : false;
        }
    }
    return good;
}

int main(void)
{
    struct err e = {0};
    struct machine m;
    struct golden_sum sums[ARRAY_LEN(modes)] = {0};
    struct stub *s = calloc(1, sizeof *s);
    if (!s || !machine_make(&m, &e)) {
        fprintf(stderr, "skipped: %s\n", e.text);
        return 77;
    }
    bool good = show_all(m.v, s, sums);
    for (unsigned i = 0; i < ARRAY_LEN(modes); i++)
        printf("%-26s guest %4u in %5u bytes, host %4u in %5u bytes\n", modes[i].name,
               sums[i].guest_insns, sums[i].guest_bytes, sums[i].host_insns, sums[i].host_bytes);
    machine_free(&m);
    free(s);
    return good ? 0 : 1;
}
