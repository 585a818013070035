/* SPDX-License-Identifier: MIT */
/* The translating engine, the half of it that knows no instruction set (ring3/translate.h is the
 * contract with the other half).
 *
 * The run loop: ask the ISA where the processor is and whether its state is fit for generated code,
 * find the code (jump table, array of the page; or translate), enter it, and serve the reason it
 * came back for. Everything the translator declines, and every state it does not want, is
 * interpreted.
 *
 *     dispatch ──▶ enter ──▶ generated code ──▶ MISS, LINK            ──▶ dispatch
 *        ▲                                      EMULATE, SHADOWED     ──▶ interpret one ─┐
 *        │                                      ATTENTION, ABORTED    ──▶ interpret one ─┤
 *        │                                      host fault, kick      ──▶ fault.c ───────┤
 *        └───────────────────────────────────────────────────────────────────────────────┘
 *
 * Files: cache.c executable memory, tables.c jumps between pages, pages.c which guest pages have
 * code, map.c host address to guest instruction, build.c a translation comes into being, watch.c
 * stores to code, fault.c signals and adaptation, figures.c and show.c what one sees of it. */
#include "engine/dbt/dbt.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/engines.h"
#include "host/fault.h"
#include "isa/x86/x86.h"

/* Instructions interpreted at a time while the state is unfit: one at first, for it often lasts
 * no longer (the shadow of mov ss, RF behind a page fault), twice as many each time. */
#define SLICE_MAX 4096u

/* ---- finding code -------------------------------------------------------------------------------
 */

/* Does this space show what the page's code was built on? */
static bool facts_hold(struct dbt *d, uint32_t tp)
{
    const struct dbt_pages *p = &d->pages;
    for (uint32_t i = p->tpages[tp].depends; i; i = p->depends[i].next_of_tpage) {
        gpfn_t gpfn;
        if (!d->isa->fetch(d->v, p->depends[i].page << PAGE_SHIFT, &gpfn) ||
            gpfn.n != p->depends[i].gpfn.n)
            return false;
    }
    return true;
}

static uint32_t table_page(struct dbt *d, struct jump_table *j, const struct dbt_where *w)
{
    uint32_t page = w->pc & (uint32_t)PAGE_MASK, tp = dbt_table_tpage(d, j, w->pc);
    gpfn_t gpfn;
    if (tp)
        return tp;
    if (!d->isa->fetch(d->v, page, &gpfn) || gpfn.n >= PHYS_LIMIT >> PAGE_SHIFT)
        return 0;
    tp = pages_tpage(&d->pages, gpfn, page, w->mode);
    if (!facts_hold(d, tp)) {
        tpage_clear(&d->pages, tp);
        d->pages.tpages[tp].no_depends = true;
    }
    uintptr_t array = (uintptr_t)tpage_array(&d->pages, tp);
    table_set(j, page >> PAGE_SHIFT,
              array - (uintptr_t)d->cache.reserve - DBT_NOTHING_OFFSET - (uint64_t)page * 4);
    return tp;
}

/* The code of the instruction at tp's straddle_off in this space. */
static uint32_t find_straddle(struct dbt *d, struct jump_table *j, uint32_t tp)
{
    struct tpage *t = &d->pages.tpages[tp];
    uint16_t offset = t->straddle_off;
    uint32_t next_page = t->page + (uint32_t)PAGE_BYTES;
    gpfn_t next;
    if (!d->isa->fetch(d->v, next_page, &next) || next.n >= PHYS_LIMIT >> PAGE_SHIFT)
        return 0;
    if (t->straddle_off != offset) /* looking at page tables changed this very page */
        return 0;
    struct straddle *s = &d->pages.straddles[pages_straddle(&d->pages, tp, next)];
    if (!s->code)
        s->code = dbt_build_straddle(d, tp, next);
    if (s->code)
        table_set_straddle(j, t->page >> PAGE_SHIFT, s->code);
    return s->code;
}

static uint32_t find_slowly(struct dbt *d, struct jump_table *j, const struct dbt_where *w)
{
    uint16_t offset = w->pc & ~PAGE_MASK;
    d->figures.lookups++;
    if (!dbt_room(d))
        dbt_flush(d);
    uint32_t tp = table_page(d, j, w);
    if (!tp)
        return 0;
    uint32_t code = tpage_array(&d->pages, tp)[offset];
    if (!code)
        code = dbt_build(d, tp, offset);
    if (code && offset == d->pages.tpages[tp].straddle_off)
        code = find_straddle(d, j, tp);
    return code;
}

/* Offset of the code at w, translated if need be; 0: interpret. */
static uint32_t find_code(struct dbt *d, struct jump_table *j, const struct dbt_where *w)
{
    uint32_t tp = dbt_table_tpage(d, j, w->pc);
    if (likely(tp)) {
        uint16_t offset = w->pc & ~PAGE_MASK;
        uint32_t code = tpage_array(&d->pages, tp)[offset];
        if (likely(code && offset != d->pages.tpages[tp].straddle_off))
            return code;
    }
    return find_slowly(d, j, w);
}

/* Fill in the direct jump that asked for the code at w, if it still is of the same page. */
static void link_up(struct dbt *d, const struct jump_table *j, const struct dbt_where *w)
{
    const struct translation *from = map_find(&d->map, d->link_at);
    uint32_t tp = dbt_table_tpage(d, j, w->pc);
    uint32_t code = tp ? tpage_array(&d->pages, tp)[w->pc & ~PAGE_MASK] : 0;
    if (from && from->tpage == tp && code) {
        cache_link(&d->cache, d->link_at, code);
        d->figures.links++;
    }
    d->link_at = 0;
}

/* ---- the run loop
 * --------------------------------------------------------------------------------- */

/* False: leave run() with *x. */
static bool goes_on(const struct dbt *d, const struct vm_exit *x)
{
    return x->kind == EXIT_ATTENTION &&
           !(atomic_load_explicit(&d->v->attention, memory_order_relaxed) &
             (ATTN_STOP | ATTN_RESET));
}

static bool interpret(struct dbt *d, uint64_t instructions, struct vm_exit *x)
{
    d->v->isa->interpret(d->v, instructions, x);
    return goes_on(d, x);
}

static bool interpret_slice(struct dbt *d, struct vm_exit *x)
{
    d->figures.unfit++;
    d->slice = d->slice >= SLICE_MAX ? SLICE_MAX : d->slice ? d->slice * 2 : 1;
    return interpret(d, d->slice, x);
}

static bool serve(struct dbt *d, uint64_t left, struct vm_exit *x)
{
    uint32_t kind = (uint32_t)(left >> 32), argument = (uint32_t)left;
    d->figures.exits[kind]++;
    switch (kind) {
    case DBT_EXIT_MISS:
        return true;
    case DBT_EXIT_LINK:
        d->link_at = d->o.no_chain ? 0 : argument;
        return true;
    case DBT_EXIT_EMULATE:
        dbt_emulate(d, argument, x);
        return goes_on(d, x);
    case DBT_EXIT_SHADOWED:
        d->v->stats.exits[EXIT_EMULATE]++;
        return interpret(d, 1, x);
    case DBT_EXIT_FAULT:
        return dbt_serve_fault(d) || interpret(d, 1, x);
    default: /* ATTENTION, ABORTED: interpret() delivers what is due */
        return interpret(d, 1, x);
    }
}

/* One round through generated code. */
static bool round_trip(struct dbt *d, struct vm_exit *x)
{
    struct dbt_where w;
    if (unlikely(atomic_load_explicit(&d->far_pending, memory_order_acquire)))
        watch_drain(d);
    if (unlikely(!d->isa->prepare(d->v, &w))) {
        d->link_at = 0;
        return interpret_slice(d, x);
    }
    struct jump_table *j = tables_get(&d->tables, w.space, w.mode);
    if (unlikely(!j)) { /* no memory for one */
        d->link_at = 0;
        return interpret_slice(d, x);
    }
    d->slice = 0;
    uint32_t code = find_code(d, j, &w);
    if (unlikely(!code)) {
        d->link_at = 0;
        d->figures.unfetchable++;
        return interpret(d, 1, x);
    }
    if (unlikely(d->link_at))
        link_up(d, j, &w);
    if (unlikely(d->bad_code)) {
        *x = (struct vm_exit){.kind = EXIT_UNSUPPORTED,
                              .pc = d->bad_code - 1,
                              .what = "generated code with an instruction that must not be there"};
        return false;
    }
    d->figures.entries++;
    return serve(d,
                 d->isa->enter(d->v, d->cache.reserve + code, (uintptr_t)j->entry,
                               (uintptr_t)d->cache.reserve),
                 x);
}

/* The thread takes our host faults from now on. Threads run one VM each; tests that run several in
 * turns enter for them before each run(). */
static bool enter_thread(struct dbt *d, struct vm_exit *x)
{
    struct err e = {0};
    if (d->has_entered && pthread_equal(d->entered, pthread_self()))
        return true;
    if (host_fault_enter(dbt_on_host_fault, d, &e) < 0) {
        log_line(d->v->log, LOG_ERROR, e.id, "%s", e.text);
        *x = (struct vm_exit){.kind = EXIT_UNSUPPORTED, .what = "host faults on this thread"};
        return false;
    }
    d->entered = pthread_self();
    d->entered_tid = (int)gettid();
    d->has_entered = true;
    return true;
}

static void run(struct vcpu *v, struct vm_exit *x)
{
    struct dbt *d = v->engine_state;
    *x = (struct vm_exit){.kind = EXIT_ATTENTION};
    atomic_store(&v->runner, pthread_self());
    if (!enter_thread(d, x))
        return;
    atomic_store(&d->tid, d->entered_tid);
    d->link_at = 0;
    while (round_trip(d, x))
        if (unlikely(d->o.single))
            break;
    atomic_store(&d->tid, 0);
    if (x->kind != EXIT_UNSUPPORTED)
        x->pc = v->isa->pc(v);
}

/* ---- what others call ---------------------------------------------------------------------------
 */

static void code_unmapped(void *opaque, unsigned space, uint32_t page)
{
    struct dbt *d = opaque;
    pages_unmapped(&d->pages, space, page >> PAGE_SHIFT);
}

static void space_dropped(void *opaque, unsigned space)
{
    struct dbt *d = opaque;
    tables_space_dropped(&d->tables, space);
}

static void kick(struct vcpu *v)
{
    struct dbt *d = v->engine_state;
    int tid = atomic_load(&d->tid);
    if (tid)
        host_fault_kick(tid);
}

/* ---- life
 * ------------------------------------------------------------------------------------------ */

static int probe(struct err *e)
{
    static const struct isa_ops *const isas[] = {&x86_isa};
    int r =
        err_set(e, ENOSYS, "no-translator", "no instruction set of this build has a translator");
    for (unsigned i = 0; i < ARRAY_LEN(isas) && r < 0; i++)
        if (isas[i]->translator)
            r = isas[i]->translator->probe(e);
    return r < 0 ? r : cache_probe(e);
}

static void release(struct dbt *d)
{
    pages_close(&d->pages);
    tables_free(&d->tables);
    map_close(&d->map);
    cache_close(&d->cache);
    if (d->perf_fd >= 0)
        close(d->perf_fd);
    free(d);
}

static int open_parts(struct dbt *d, struct err *e)
{
    int r = cache_open(&d->cache, d->o.cache_bytes, d->isa->exit, e);
    if (r == 0)
        r = map_open(&d->map, d->o.cache_bytes, e);
    if (r == 0)
        r = pages_open(&d->pages, d->v->mem, &d->tables, e);
    if (r == 0 && d->o.perf_map)
        r = show_open_perf(d, e);
    if (r == 0)
        r = d->isa->attach(d->v, &d->o, &d->hooks, e);
    return r;
}

static struct dbt_options complete(const struct dbt_options *given)
{
    struct dbt_options o = given ? *given : (struct dbt_options){0};
    o.no_adapt |= o.trap;
    if (!o.cache_bytes)
        o.cache_bytes = DBT_CACHE_DEFAULT;
    if (o.cache_bytes < CACHE_MIN)
        o.cache_bytes = CACHE_MIN;
    if (o.cache_bytes > DBT_CODE_LIMIT)
        o.cache_bytes = DBT_CODE_LIMIT;
    if (!o.max_insns || o.max_insns > TB_MAX_INSNS)
        o.max_insns = TB_MAX_INSNS;
    return o;
}

static int attach(struct vcpu *v, const struct dbt_options *given, struct err *e)
{
    if (!v->isa->translator)
        return err_set(e, ENOSYS, "no-translator", "%s has no translator: take --engine interp",
                       v->isa->name);
    struct dbt *d = calloc(1, sizeof *d);
    if (!d)
        return err_set(e, ENOMEM, "out-of-memory", "no memory for the translating engine");
    d->v = v;
    d->isa = v->isa->translator;
    d->o = complete(given);
    d->perf_fd = -1;
    d->hooks = (struct dbt_hooks){d, code_unmapped, space_dropped};
    v->engine_state = d;
    int r = open_parts(d, e);
    if (r < 0) {
        v->engine_state = NULL;
        release(d);
        return r;
    }
    atomic_store(&v->runner, pthread_self());
    watch_open(d);
    v->kick = kick;
    return 0;
}

static void detach(struct vcpu *v)
{
    struct dbt *d = v->engine_state;
    v->kick = NULL;
    if (d->has_entered && pthread_equal(d->entered, pthread_self()))
        host_fault_leave();
    watch_close(d);
    d->isa->detach(v);
    v->engine_state = NULL;
    release(d);
}

const struct engine_ops dbt_engine = {
    .name = "dbt",
    .summary = "translator: guest code becomes host code",
    .probe = probe,
    .attach = attach,
    .detach = detach,
    .run = run,
    .figures = dbt_figures,
};
