/* SPDX-License-Identifier: MIT */
/* What generated code sees of guest memory: a flat view (mem/flat.h) per space.
 *
 *   space 0      kernel mode      \  all segments; mapped pages are those of the current ASID
 *   space 1      supervisor mode  /
 *   space 2 up   user mode, one for each ASID, the one used least recently makes way
 *
 * A view never shows a mapped page that no TLB entry maps any more: software that runs without
 * having put an entry there must get its refill exception. So an entry takes the pages it was
 * good for along when it is overwritten, and what shows a physical page can be found by looking
 * through the TLB. Pages come one by one, as instructions want them; of the unmapped segments,
 * which cannot change, aligned groups of FILL.
 *
 * Left out: nothing is shown while Status.ERL makes the user segment unmapped (translator.c). */
#include "isa/mips32/views.h"

#include <errno.h>
#include <stdlib.h>

#include "isa/mips32/mmu.h"
#include "mem/flat.h"
#include "ring3/figures.h"

#define UNMAPPED_PAGES (0x20000000u >> PAGE_SHIFT)
#define FILL           16u  /* pages, power of two */
#define MANY           256u /* pages; code of so many is not looked for one by one */
#define ASIDS          256u

enum { SPACE_KERNEL, SPACE_SUPERVISOR, SPACE_USER, SPACES = SPACE_USER + 32 };

struct space {
    struct flat *flat; /* NULL: not made yet */
    uint64_t used;     /* when, in terms of mips32_views.now */
    uint32_t asid;     /* of a user space */
    bool live;         /* a user space that has an ASID */
};

struct mips32_views {
    struct dbt_hooks hooks;
    struct flat_pool *pool;
    struct space space[SPACES];
    uint8_t of_asid[ASIDS]; /* user space, or 0 */
    uint64_t now, shown, dropped, recycled;
};

struct mips32_views *mips32_views_new(struct mips32_vcpu *v, const struct dbt_hooks *h,
                                      struct err *e)
{
    struct mips32_views *s = calloc(1, sizeof *s);
    if (!s) {
        err_set(e, ENOMEM, "out-of-memory", "no memory for views of guest memory");
        return NULL;
    }
    s->hooks = *h;
    s->pool = flat_pool_new(e);
    if (!s->pool) {
        free(s);
        return NULL;
    }
    return s;
}

void mips32_views_free(struct mips32_views *s)
{
    if (!s)
        return;
    for (unsigned i = 0; i < SPACES; i++)
        if (s->space[i].flat)
            flat_free(s->space[i].flat);
    flat_pool_free(s->pool);
    free(s);
}

/* ---- spaces ---------------------------------------------------------------------------------- */

static void empty(struct mips32_views *s, unsigned n)
{
    if (s->space[n].flat)
        flat_clear_all(s->space[n].flat);
    s->hooks.space_dropped(s->hooks.opaque, n);
}

static unsigned oldest_user_space(const struct mips32_views *s)
{
    unsigned n = SPACE_USER;
    for (unsigned i = SPACE_USER; i < SPACES; i++)
        if (s->space[i].used < s->space[n].used)
            n = i;
    return n;
}

static unsigned user_space(struct mips32_views *s, uint32_t asid)
{
    unsigned n = s->of_asid[asid];
    if (n)
        return n;
    n = oldest_user_space(s);
    struct space *p = &s->space[n];
    if (p->live) {
        s->of_asid[p->asid] = 0;
        empty(s, n);
        s->recycled++;
    }
    p->live = true;
    p->asid = asid;
    s->of_asid[asid] = (uint8_t)n;
    return n;
}

static unsigned current(struct mips32_vcpu *v)
{
    switch (v->mode) {
    case MIPS32_KERNEL:
        return SPACE_KERNEL;
    case MIPS32_SUPERVISOR:
        return SPACE_SUPERVISOR;
    default:
        return user_space(v->gen.views, v->cp0.entry_hi & HI_ASID);
    }
}

/* ---- showing --------------------------------------------------------------------------------- */

static void show_page(struct mips32_vcpu *v, struct flat *f, uint32_t va, uint32_t gpa,
                      bool writable)
{
    struct phys_page p = phys_page(v->base.mem, gpa_page(gpa));
    if (p.kind == PHYS_NONE)
        return;
    flat_set(f, va >> PAGE_SHIFT, p.host, writable && p.kind == PHYS_RAM && !p.wp);
    v->gen.views->shown++;
}

/* The access that left for the interpreter, if it is still possible: that may have raised an
 * exception instead. */
static void show_wanted(struct mips32_vcpu *v, struct flat *f)
{
    enum mips32_access a = v->gen.want == MIPS32_WANT_WRITE ? MIPS32_WRITE : MIPS32_READ;
    uint32_t va = v->gen.want_va & (uint32_t)PAGE_MASK;
    v->gen.want = MIPS32_WANT_NONE;
    struct mips32_translation t = mips32_translate(v, va, a, v->mode);
    if (t.result != MIPS32_MAPPED)
        return;
    if (va < KSEG0 || va >= KSEG2) {
        if (t.own_asid)
            mips32_note_asid_page(v, va);
        show_page(v, f, va, t.gpa, t.writable);
        return;
    }
    uint32_t group = ~(FILL * (uint32_t)PAGE_BYTES - 1);
    for (unsigned i = 0; i < FILL; i++)
        show_page(v, f, (va & group) + i * (uint32_t)PAGE_BYTES,
                  (t.gpa & group) + i * (uint32_t)PAGE_BYTES, true);
}

int mips32_views_prepare(struct mips32_vcpu *v)
{
    struct mips32_views *s = v->gen.views;
    unsigned n = current(v);
    struct space *p = &s->space[n];
    if (unlikely(!p->flat) && !(p->flat = flat_new(s->pool, NULL)))
        return -1;
    p->used = ++s->now;
    v->gen.view = flat_table(p->flat);
    if (v->gen.want != MIPS32_WANT_NONE)
        show_wanted(v, p->flat);
    return (int)n;
}

/* ---- dropping -------------------------------------------------------------------------------- */

static void drop_range(struct mips32_views *s, unsigned n, uint32_t page, uint32_t pages)
{
    if (!s->space[n].flat)
        return;
    s->dropped += pages;
    flat_clear(s->space[n].flat, page, pages);
    if (pages > MANY) {
        s->hooks.space_dropped(s->hooks.opaque, n);
        return;
    }
    for (uint32_t i = 0; i < pages; i++)
        s->hooks.code_unmapped(s->hooks.opaque, n, (page + i) << PAGE_SHIFT);
}

static uint32_t pages_of(const struct mips32_tlb_entry *t)
{
    return (t->mask | PAGEMASK_FIXED) / (uint32_t)PAGE_BYTES + 1;
}

void mips32_views_drop_entry(struct mips32_vcpu *v, const struct mips32_tlb_entry *t)
{
    struct mips32_views *s = v->gen.views;
    if (!s || !mips32_tlb_valid(t))
        return;
    uint32_t page = (t->hi & HI_VPN2) >> PAGE_SHIFT, pages = pages_of(t);
    uint32_t asid = t->hi & HI_ASID;
    drop_range(s, SPACE_KERNEL, page, pages);
    drop_range(s, SPACE_SUPERVISOR, page, pages);
    for (unsigned n = SPACE_USER; n < SPACES; n++)
        if (s->space[n].live && (t->global || s->space[n].asid == asid))
            drop_range(s, n, page, pages);
}

void mips32_views_leave_asid(struct mips32_vcpu *v, const uint32_t *va, unsigned count)
{
    struct mips32_views *s = v->gen.views;
    for (unsigned n = SPACE_KERNEL; s && n <= SPACE_SUPERVISOR; n++) {
        if (!va && s->space[n].flat)
            empty(s, n);
        for (unsigned i = 0; i < count; i++)
            drop_range(s, n, va[i] >> PAGE_SHIFT, 1);
    }
}

void mips32_views_drop_all(struct mips32_vcpu *v)
{
    for (unsigned n = 0; v->gen.views && n < SPACES; n++)
        if (v->gen.views->space[n].flat)
            empty(v->gen.views, n);
}

/* ---- stores that must be seen ---------------------------------------------------------------- */

static void readonly(struct mips32_views *s, unsigned n, uint32_t page)
{
    if (s->space[n].flat)
        flat_readonly(s->space[n].flat, page);
}

/* Where half h of an entry shows the physical page, if it does. */
static void protect_half(struct mips32_views *s, const struct mips32_tlb_entry *t, unsigned h,
                         gpfn_t page)
{
    uint32_t pages = pages_of(t) / 2, first = (t->lo[h] >> 6) & ~(pages - 1);
    if (!(t->lo[h] & LO_V) || page.n < first || page.n - first >= pages)
        return;
    uint32_t at = ((t->hi & HI_VPN2) >> PAGE_SHIFT) + h * pages + (uint32_t)(page.n - first);
    readonly(s, SPACE_KERNEL, at);
    readonly(s, SPACE_SUPERVISOR, at);
    for (unsigned n = SPACE_USER; n < SPACES; n++)
        if (s->space[n].live && (t->global || s->space[n].asid == (t->hi & HI_ASID)))
            readonly(s, n, at);
}

void mips32_views_protect(struct mips32_vcpu *v, gpfn_t page)
{
    struct mips32_views *s = v->gen.views;
    if (!s)
        return;
    if (page.n < UNMAPPED_PAGES) {
        readonly(s, SPACE_KERNEL, (KSEG0 >> PAGE_SHIFT) + (uint32_t)page.n);
        readonly(s, SPACE_KERNEL, (KSEG1 >> PAGE_SHIFT) + (uint32_t)page.n);
    }
    for (unsigned i = 0; i < v->model->tlb_entries; i++) {
        protect_half(s, &v->tlb[i], 0, page);
        protect_half(s, &v->tlb[i], 1, page);
    }
    for (unsigned i = 0; v->victims.live && i < MIPS32_VICTIMS; i++) {
        protect_half(s, &v->victims.entry[i], 0, page);
        protect_half(s, &v->victims.entry[i], 1, page);
    }
}

void mips32_views_figures(const struct mips32_views *s, const struct figure_sink *to)
{
    to->add(to->opaque, "view_shown", (double)s->shown, 0, "pages");
    to->add(to->opaque, "view_dropped", (double)s->dropped, 0, "pages");
    to->add(to->opaque, "view_recycled", (double)s->recycled, 0, "user spaces");
}
