/* SPDX-License-Identifier: MIT */
/* From guest bytes to code in the cache: let the ISA translate, put its code in place, join it with
 * what is there.
 *
 * The ISA leaves rel32 fields open: jumps to trampolines, and jumps to instructions of the same
 * page. The latter lead straight to their target if it is translated (the translation itself
 * counts), else to a stub behind the code, which asks the dispatcher (DBT_EXIT_LINK); that fills
 * the field in. Links never leave a tpage, so whatever changes the meaning of a linear page, links
 * stay right, and when a tpage loses its code, no link leads into it from elsewhere. */
#include <string.h>
#include <x86intrin.h>

#include "engine/dbt/dbt.h"

#define CYCLES_PREEMPTED 1000000u /* TSC; a translation takes some 10,000 */

#define BUILD_MAX (TB_MAX_CODE + TB_MAX_LINKS * CACHE_STUB_LEN + 2 * CACHE_ALIGN)

bool dbt_room(const struct dbt *d)
{
    /* A look-up may build a page's code and the instruction that crosses its end. */
    return cache_room(&d->cache) >= 2 * BUILD_MAX && map_room(&d->map) && pages_room(&d->pages);
}

void dbt_flush(struct dbt *d)
{
    d->figures.flushes++;
    d->link_at = 0;
    tables_clear(&d->tables);
    pages_flush(&d->pages);
    map_reset(&d->map);
    cache_reset(&d->cache);
}

/* ---- what the ISA may ask while it translates ----------------------------------------------- */

static bool translated(void *opaque, uint16_t offset)
{
    const struct dbt *d = opaque;
    return offset < PAGE_BYTES && tpage_array(&d->pages, d->building)[offset];
}

static enum tb_policy policy(void *opaque, uint16_t offset)
{
    const struct dbt *d = opaque;
    return tpage_policy(&d->pages, d->building, offset);
}

static bool may_straddle(void *opaque, uint16_t offset)
{
    struct dbt *d = opaque;
    struct tpage *t = &d->pages.tpages[d->building];
    if (t->straddle_off == NO_OFFSET)
        t->straddle_off = offset;
    return t->straddle_off == offset;
}

static const uint8_t *protected_bytes(struct dbt *d, gpfn_t gpfn);

static const uint8_t *peek(void *opaque, uint32_t lin, unsigned len)
{
    struct dbt *d = opaque;
    uint32_t page = lin & (uint32_t)PAGE_MASK;
    unsigned offset = lin & ~(uint32_t)PAGE_MASK;
    gpfn_t gpfn;
    if (d->o.no_chain || d->o.single || d->o.count || d->tb.straddle || len > PAGE_BYTES - offset ||
        !d->isa->fetch(d->v, page, &gpfn) || gpfn.n >= PHYS_LIMIT >> PAGE_SHIFT)
        return NULL;
    const uint8_t *bytes = protected_bytes(d, gpfn);
    if (!bytes ||
        (page != d->tb.page && !pages_depend(&d->pages, d->building, page >> PAGE_SHIFT, gpfn)))
        return NULL;
    pages_cover(&d->pages, gpfn, offset, offset + len);
    return bytes + offset;
}

/* ---- from struct tb into the cache ---------------------------------------------------------- */

/* What a wrong translator could do harm with. */
static bool is_sound(const struct tb *tb)
{
    if (!tb->code_len || tb->code_len > TB_MAX_CODE || !tb->marks || tb->marks > TB_MAX_INSNS + 1 ||
        tb->links > TB_MAX_LINKS || tb->tramps > TB_MAX_TRAMPS || tb->end > PAGE_BYTES ||
        tb->next_end > PAGE_BYTES || tb->mark[0].guest != tb->start || !tb->mark[0].entry)
        return false;
    for (unsigned i = 0; i < tb->marks; i++)
        if (tb->mark[i].guest >= PAGE_BYTES + !tb->mark[i].entry || tb->mark[i].host > tb->code_len)
            return false;
    for (unsigned i = 0; i < tb->tramps; i++)
        if (tb->tramp[i].at + 4 > tb->code_len || tb->tramp[i].kind >= DBT_EXIT_KINDS)
            return false;
    for (unsigned i = 0; i < tb->links; i++)
        if (tb->link[i].at + 4 > tb->code_len || tb->link[i].target >= PAGE_BYTES)
            return false;
    return true;
}

/* Every instruction at which jumps may arrive is entered into the page's array. */
static void enter_marks(struct dbt *d, uint32_t at)
{
    for (unsigned i = 0; i < d->tb.marks; i++)
        if (d->tb.mark[i].entry)
            tpage_set(&d->pages, d->building, d->tb.mark[i].guest, at + d->tb.mark[i].host);
}

/* Returns the end of the stubs. */
static uint32_t join_links(struct dbt *d, uint32_t at)
{
    const uint32_t *array = tpage_array(&d->pages, d->building);
    uint32_t stub = at + d->tb.code_len;
    for (unsigned i = 0; i < d->tb.links; i++) {
        uint32_t field = at + d->tb.link[i].at, target = d->tb.link[i].target;
        if (array[target] && !d->o.no_chain) {
            cache_link(&d->cache, field, array[target]);
            continue;
        }
        cache_stub(&d->cache, stub, d->tb.page + target, field, DBT_EXIT_LINK);
        cache_link(&d->cache, field, stub);
        stub += CACHE_STUB_LEN;
    }
    return stub;
}

static void check_code(struct dbt *d, uint32_t at)
{
    if (d->isa->find_sensitive &&
        d->isa->find_sensitive(d->cache.reserve + at, d->tb.code_len) >= 0)
        d->bad_code = (uint64_t)d->tb.page + d->tb.start + 1;
}

static void count(struct dbt *d, uint32_t bytes)
{
    struct dbt_figures *f = &d->figures;
    f->translations++;
    f->instructions += d->tb.marks;
    f->copied += d->tb.copied;
    f->identical += d->tb.identical;
    f->guest_bytes += (uint64_t)(d->tb.end - d->tb.start) + d->tb.next_end;
    f->host_bytes += bytes;
}

/* Where the host took the processor away in between, the time says nothing. */
static void count_cycles(struct dbt *d, uint64_t cycles)
{
    if (cycles >= CYCLES_PREEMPTED)
        return;
    d->figures.cycles += cycles;
    d->figures.timed_instructions += d->tb.marks;
}

/* Take d->tb into the cache. Returns its offset, or 0 if the ISA made nonsense. */
static uint32_t commit(struct dbt *d)
{
    const struct tb *tb = &d->tb;
    uint32_t at = d->cache.used;
    if (!is_sound(tb) || !map_add(&d->map, at, d->building, tb))
        return 0;
    cache_take(&d->cache, tb->code_len + tb->links * CACHE_STUB_LEN);
    memcpy(d->cache.writable + at, tb->code, tb->code_len);
    for (unsigned i = 0; i < tb->tramps; i++)
        cache_link(&d->cache, at + tb->tramp[i].at, d->cache.tramp[tb->tramp[i].kind]);
    if (!tb->straddle)
        enter_marks(d, at);
    uint32_t end = join_links(d, at);
    d->cache.used = (end + CACHE_ALIGN - 1) & ~(CACHE_ALIGN - 1);
    count(d, end - at);
    if (d->o.check_code)
        check_code(d, at);
    const struct translation *t = map_find(&d->map, at);
    if (unlikely(d->v->trace & TRACE_BLOCKS))
        show_translation(d, t, end);
    if (unlikely(d->perf_fd >= 0))
        show_to_perf(d, t, end - at);
    return at;
}

/* ---- the two kinds of translation ------------------------------------------------------------ */

/* NULL if it is not memory (any more). */
static const uint8_t *protected_bytes(struct dbt *d, gpfn_t gpfn)
{
    pages_protect(&d->pages, gpfn);
    return phys_page(d->v->mem, gpfn).host;
}

static void translate(struct dbt *d, uint32_t tp, uint16_t offset, const uint8_t *bytes,
                      const uint8_t *next)
{
    const struct tpage *t = &d->pages.tpages[tp];
    struct tb *tb = &d->tb;
    d->building = tp;
    tb->page = t->page;
    tb->start = offset;
    tb->mode = t->mode;
    tb->bytes = bytes;
    tb->next = next;
    tb->straddle = next != NULL;
    tb->max_insns = next ? 1 : d->o.max_insns;
    tb->opaque = d;
    tb->translated = translated;
    tb->policy = policy;
    tb->may_straddle = may_straddle;
    tb->peek = peek;
    tb->end = tb->next_end = 0;
    tb->code_len = tb->marks = tb->links = tb->tramps = tb->copied = tb->identical = 0;
    d->isa->translate(d->v, tb);
    if (tb->end < offset)
        tb->end = offset;
}

uint32_t dbt_build(struct dbt *d, uint32_t tp, uint16_t offset)
{
    uint64_t start = __rdtsc();
    gpfn_t gpfn = d->pages.tpages[tp].gpfn;
    const uint8_t *bytes = protected_bytes(d, gpfn);
    if (!bytes)
        return 0;
    uint64_t drops = d->pages.drops;
    translate(d, tp, offset, bytes, NULL);
    uint32_t at = d->pages.drops == drops ? commit(d) : 0; /* looking at tables may write to them */
    if (!at)
        return 0;
    pages_cover(&d->pages, gpfn, d->tb.start, d->tb.end);
    count_cycles(d, __rdtsc() - start);
    return at;
}

uint32_t dbt_build_straddle(struct dbt *d, uint32_t tp, gpfn_t next)
{
    gpfn_t gpfn = d->pages.tpages[tp].gpfn;
    uint16_t offset = d->pages.tpages[tp].straddle_off;
    const uint8_t *bytes = protected_bytes(d, gpfn), *more = protected_bytes(d, next);
    if (!bytes || !more)
        return 0;
    translate(d, tp, offset, bytes, more);
    uint32_t at = commit(d);
    if (!at)
        return 0;
    d->figures.straddles++;
    pages_cover(&d->pages, gpfn, offset, PAGE_BYTES);
    pages_cover(&d->pages, next, 0, d->tb.next_end);
    return at;
}
