/* SPDX-License-Identifier: MIT */
/* Which guest pages have translated code, and what to do when one is written.
 *
 * Code belongs to a tpage: (guest-physical page, linear page, mode). Its array of 4,096 code
 * offsets is what jump tables point to; arrays are numbered like tpages and lie in one sparse
 * reserve, so a table entry leads back to its tpage by a division. Arrays never move or go away
 * before a flush: invalidating a page only zeroes them, and whoever still jumps through them
 * arrives at DBT_EXIT_MISS.
 *
 * Per guest-physical page a bitmap says which bytes went into translations. A store to other bytes
 * changes nothing (data beside code) until there were many of them: then the page seems to be data
 * by now, and translating again is cheaper. A store to one of those drops all code of that page,
 * under every linear address and mode, and the page's protection with it.
 *
 * An instruction that crosses into the next page depends on two guest pages, and which the second
 * one is, is a matter of the space. It is translated apart, once per (tpage, next guest page), and
 * reached through a slot of the jump table. One such instruction per tpage has that right
 * (straddle_off); others, which only jumps into the middle of instructions can bring about, are
 * interpreted. */
#include "engine/dbt/pages.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define GPFNS          (PHYS_LIMIT >> PAGE_SHIFT)
#define CODE_PAGES_MAX TPAGES_MAX
#define SITES_MAX      256u

#define PATIENCE_MIN      16u
#define PATIENCE_LOG2_MAX 12u

#define QUARTER 1024u /* entries in a host page of an array */

static void *reserve(uint64_t bytes)
{
    void *m = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                   -1, 0);
    return m == MAP_FAILED ? NULL : m;
}

static void release(void *m, uint64_t bytes)
{
    if (m)
        munmap(m, bytes);
}

#define ARRAYS_BYTES    ((uint64_t)TPAGES_MAX * PAGE_ENTRIES * sizeof(uint32_t))
#define BY_GPFN_BYTES   (GPFNS * sizeof(uint32_t))
#define CODE_BYTES      (CODE_PAGES_MAX * sizeof(struct code_page))
#define TPAGES_BYTES    (TPAGES_MAX * sizeof(struct tpage))
#define STRADDLES_BYTES (STRADDLES_MAX * sizeof(struct straddle))
#define DEPENDS_BYTES   (DEPENDS_MAX * sizeof(struct depend))

int pages_open(struct dbt_pages *p, struct phys *mem, struct dbt_tables *tables, struct err *e)
{
    *p = (struct dbt_pages){.mem = mem,
                            .tables = tables,
                            .by_gpfn = reserve(BY_GPFN_BYTES),
                            .code = reserve(CODE_BYTES),
                            .tpages = reserve(TPAGES_BYTES),
                            .straddles = reserve(STRADDLES_BYTES),
                            .depends = reserve(DEPENDS_BYTES),
                            .arrays = reserve(ARRAYS_BYTES),
                            .code_count = 1,
                            .tpage_count = 1,
                            .straddle_count = 1,
                            .depend_count = 1};
    if (p->by_gpfn && p->code && p->tpages && p->straddles && p->depends && p->arrays) {
        madvise(p->arrays, ARRAYS_BYTES, MADV_NOHUGEPAGE); /* they stay sparse */
        return 0;
    }
    pages_close(p);
    return err_set(e, ENOMEM, "host-memory", "no address space for tables of translated pages");
}

static void free_sites(struct dbt_pages *p)
{
    for (uint32_t i = 1; i < p->tpage_count; i++)
        free(p->tpages[i].sites);
}

void pages_close(struct dbt_pages *p)
{
    if (p->tpages)
        free_sites(p);
    release(p->by_gpfn, BY_GPFN_BYTES);
    release(p->code, CODE_BYTES);
    release(p->tpages, TPAGES_BYTES);
    release(p->straddles, STRADDLES_BYTES);
    release(p->depends, DEPENDS_BYTES);
    release(p->arrays, ARRAYS_BYTES);
    *p = (struct dbt_pages){0};
}

bool pages_room(const struct dbt_pages *p)
{
    /* A straddle may bring two guest pages. */
    return p->tpage_count < TPAGES_MAX && p->code_count + 1 < CODE_PAGES_MAX &&
           p->straddle_count < STRADDLES_MAX;
}

static void unprotect(struct dbt_pages *p, struct code_page *c)
{
    if (!c->protected)
        return;
    c->protected = false;
    wp_drop(p->mem, c->gpfn, WP_TRANSLATED);
}

void pages_flush(struct dbt_pages *p)
{
    for (uint32_t i = 1; i < p->code_count; i++) {
        unprotect(p, &p->code[i]);
        p->by_gpfn[p->code[i].gpfn.n] = 0;
    }
    free_sites(p);
    madvise(p->arrays, (size_t)p->tpage_count * PAGE_ENTRIES * sizeof *p->arrays, MADV_DONTNEED);
    memset(p->depend_of_page, 0, sizeof p->depend_of_page);
    p->code_count = p->tpage_count = p->straddle_count = p->depend_count = 1;
}

/* ---- pages ---------------------------------------------------------------------------------- */

static struct code_page *code_page_of(struct dbt_pages *p, gpfn_t gpfn)
{
    uint32_t *number = &p->by_gpfn[gpfn.n];
    if (!*number) {
        *number = p->code_count++;
        p->code[*number] = (struct code_page){.gpfn = gpfn};
    }
    return &p->code[*number];
}

uint32_t pages_tpage(struct dbt_pages *p, gpfn_t gpfn, uint32_t page, uint16_t mode)
{
    struct code_page *c = code_page_of(p, gpfn);
    for (uint32_t i = c->tpages; i; i = p->tpages[i].next)
        if (p->tpages[i].page == page && p->tpages[i].mode == mode)
            return i;
    uint32_t tp = p->tpage_count++;
    p->tpages[tp] = (struct tpage){
        .gpfn = gpfn, .page = page, .mode = mode, .straddle_off = NO_OFFSET, .next = c->tpages};
    c->tpages = tp;
    return tp;
}

void tpage_set(struct dbt_pages *p, uint32_t tp, uint16_t offset, uint32_t code)
{
    tpage_array(p, tp)[offset] = code;
    p->tpages[tp].touched |= (uint8_t)(1u << offset / QUARTER);
}

static void drop_straddle(struct dbt_pages *p, struct straddle *s)
{
    if (!s->code)
        return;
    tables_straddle_gone(p->tables, p->tpages[s->tpage].page >> PAGE_SHIFT, s->code);
    s->code = 0;
}

void tpage_clear(struct dbt_pages *p, uint32_t tp)
{
    struct tpage *t = &p->tpages[tp];
    for (unsigned q = 0; q < PAGE_ENTRIES / QUARTER; q++)
        if (t->touched >> q & 1)
            memset(tpage_array(p, tp) + q * QUARTER, 0, QUARTER * sizeof(uint32_t));
    t->touched = 0;
    t->straddle_off = NO_OFFSET;
    t->depends = t->depend_count = 0; /* of no code any more; the records stay until the flush */
    for (uint32_t i = t->straddles; i; i = p->straddles[i].next_of_tpage)
        drop_straddle(p, &p->straddles[i]);
}

uint32_t pages_straddle(struct dbt_pages *p, uint32_t tp, gpfn_t next)
{
    struct tpage *t = &p->tpages[tp];
    for (uint32_t i = t->straddles; i; i = p->straddles[i].next_of_tpage)
        if (p->straddles[i].next.n == next.n)
            return i;
    struct code_page *c = code_page_of(p, next);
    uint32_t s = p->straddle_count++;
    p->straddles[s] = (struct straddle){
        .tpage = tp, .next = next, .next_of_tpage = t->straddles, .next_of_gpfn = c->straddles};
    t->straddles = c->straddles = s;
    return s;
}

/* ---- facts about other pages that code was built on -------------------------------------------
 */

static uint32_t *depend_head(struct dbt_pages *p, uint32_t page)
{
    return &p->depend_of_page[page & (DEPEND_HEADS - 1)];
}

bool pages_depend(struct dbt_pages *p, uint32_t tp, uint32_t page, gpfn_t gpfn)
{
    struct tpage *t = &p->tpages[tp];
    for (uint32_t i = t->depends; i; i = p->depends[i].next_of_tpage)
        if (p->depends[i].page == page)
            return p->depends[i].gpfn.n == gpfn.n;
    if (t->no_depends || t->depend_count == TPAGE_DEPENDS || p->depend_count == DEPENDS_MAX ||
        p->code_count + 1 >= CODE_PAGES_MAX)
        return false;
    struct code_page *c = code_page_of(p, gpfn);
    uint32_t i = p->depend_count++, *head = depend_head(p, page);
    p->depends[i] = (struct depend){tp, page, gpfn, t->depends, c->depends, *head};
    t->depends = c->depends = *head = i;
    t->depend_count++;
    tables_forget_array(p->tables, t->page >> PAGE_SHIFT); /* spaces look at the fact themselves */
    return true;
}

void pages_unmapped(struct dbt_pages *p, unsigned space, uint32_t page)
{
    tables_unmapped(p->tables, space, page);
    for (uint32_t i = *depend_head(p, page); i; i = p->depends[i].next_of_page)
        if (p->depends[i].page == page)
            tables_unmapped(p->tables, space, p->tpages[p->depends[i].tpage].page >> PAGE_SHIFT);
}

/* ---- what was read and what is written ------------------------------------------------------ */

void pages_protect(struct dbt_pages *p, gpfn_t gpfn)
{
    struct code_page *c = code_page_of(p, gpfn);
    if (c->protected)
        return;
    c->protected = true;
    wp_add(p->mem, gpfn, WP_TRANSLATED);
}

/* The bits of word n of a bitmap that stand for [from, to). */
static uint64_t bits_of_word(unsigned n, unsigned from, unsigned to)
{
    unsigned first = n * 64, last = first + 63;
    uint64_t mask = ~UINT64_C(0);
    if (from > first)
        mask <<= from - first;
    if (to - 1 < last)
        mask &= ~UINT64_C(0) >> (last - (to - 1));
    return mask;
}

void pages_cover(struct dbt_pages *p, gpfn_t gpfn, unsigned from, unsigned to)
{
    struct code_page *c = code_page_of(p, gpfn);
    if (from >= to)
        return;
    for (unsigned n = from / 64; n <= (to - 1) / 64; n++)
        c->covered[n] |= bits_of_word(n, from, to);
}

static bool is_covered(const struct code_page *c, unsigned from, unsigned to)
{
    for (unsigned n = from / 64; n <= (to - 1) / 64; n++)
        if (c->covered[n] & bits_of_word(n, from, to))
            return true;
    return false;
}

/* A page that has been reused, or that holds code and data: each store beside the code costs a trip
 * through the interpreter, so after some of them it is worth translating again if need be. Twice as
 * many each time. */
static bool is_data(struct code_page *c)
{
    if (!c->protected || ++c->stray < PATIENCE_MIN << c->patience)
        return false;
    if (c->patience < PATIENCE_LOG2_MAX)
        c->patience++;
    return true;
}

bool pages_written(struct dbt_pages *p, gpa_t gpa, uint64_t len)
{
    uint32_t number = gpa < PHYS_LIMIT ? p->by_gpfn[gpa >> PAGE_SHIFT] : 0;
    struct code_page *c = &p->code[number];
    unsigned from = (unsigned)(gpa & ~PAGE_MASK);
    unsigned to = len < PAGE_BYTES - from ? from + (unsigned)len : (unsigned)PAGE_BYTES;
    if (!number || from >= to || (!is_covered(c, from, to) && !is_data(c)))
        return false;
    for (uint32_t i = c->tpages; i; i = p->tpages[i].next)
        tpage_clear(p, i);
    for (uint32_t i = c->straddles; i; i = p->straddles[i].next_of_gpfn)
        drop_straddle(p, &p->straddles[i]);
    for (uint32_t i = c->depends; i; i = p->depends[i].next_of_gpfn)
        tpage_clear(p, p->depends[i].tpage);
    c->depends = 0;
    p->drops++;
    memset(c->covered, 0, sizeof c->covered);
    c->stray = 0;
    unprotect(p, c);
    return true;
}

/* ---- sites ------------------------------------------------------------------------------------
 */

static struct site *find_site(const struct dbt_pages *p, uint32_t tp, uint16_t offset)
{
    const struct tpage *t = &p->tpages[tp];
    for (unsigned i = 0; i < t->site_count; i++)
        if (t->sites[i].offset == offset)
            return &t->sites[i];
    return NULL;
}

enum tb_policy tpage_policy(const struct dbt_pages *p, uint32_t tp, uint16_t offset)
{
    const struct site *s = find_site(p, tp, offset);
    return s ? (enum tb_policy)s->policy : TB_PLAIN;
}

struct site *tpage_site(struct dbt_pages *p, uint32_t tp, uint16_t offset)
{
    struct tpage *t = &p->tpages[tp];
    struct site *s = find_site(p, tp, offset);
    if (s)
        return s;
    if (t->site_count == t->site_room) {
        unsigned room = t->site_room ? t->site_room * 2u : 8;
        struct site *bigger = room <= SITES_MAX ? realloc(t->sites, room * sizeof *bigger) : NULL;
        if (!bigger)
            return NULL;
        t->sites = bigger;
        t->site_room = (uint16_t)room;
    }
    s = &t->sites[t->site_count++];
    *s = (struct site){.offset = offset};
    return s;
}
