/* SPDX-License-Identifier: MIT */
/* Showing more of guest memory: what a fault, an instruction fetch or a return to user code adds
 * to a space.
 *
 * Who may see what is decided once, by x86_walk(), for the page that was accessed; it also sets A
 * and D. Neighbours come along only if their entries grant exactly the same and have A set
 * already, so that no page looks used that was not. A page whose D is clear, or that somebody
 * watches, is shown read-only.
 *
 * Supervisor code that accesses user pages ("foreign" ones) would make the supervisor's window
 * change with every address space. The engine retranslates such code to look at
 * x86_gen.select[], which names a flat table per quarter of linear memory; here is decided which.
 * The same tables serve the supervisor's own pages where they keep changing one by one.
 * That is a matter of speed alone: space 0 may show user pages as well, and does where a guest's
 * supervisor lives in them or keeps coming back with code that cannot be retranslated. */
#include "isa/x86/shadow_internal.h"

#define FOREIGN_LIMIT   8u  /* accesses to a page by plain code before space 0 shows it */
#define FLIP_LIMIT      8u  /* a quarter whose select[] changes more often is mixed */
#define USER_NEIGHBOURS 16u /* pages tried around a user page; aligned group */
#define TABLE_LINE      64u /* bytes of page table looked at for a flat fill */

/* ---- neighbours ------------------------------------------------------------------------------ */

/* What is common to the pages filled together. */
struct fill {
    struct space *sp;
    struct region *r;
    uint64_t pte;     /* entry of the page that was accessed */
    bool may_write;   /* its rights allow writing; D and watchers aside */
    bool global;      /* kept when CR3 is loaded */
    bool keep_global; /* what global pages of this space have in `global` */
};

static bool page_writable(const struct fill *f, uint64_t pte, struct phys_page p)
{
    return f->may_write && (pte & ENT_D) && p.kind == PHYS_RAM && !p.wp;
}

/* Bits of an entry in which neighbours must agree: rights, A, and what is reserved. */
static uint64_t rights_mask(const struct x86_shadow *s)
{
    return ENT_P | ENT_RW | ENT_US | ENT_A | (s->pae ? ~(ENT_ADDR | 0xfff) : 0);
}

/* Look at page i as a neighbour: its entry and memory. False: not to be shown now. */
static bool neighbour(const struct x86_shadow *s, const struct fill *f, unsigned i, uint64_t *pte,
                      struct phys_page *p)
{
    struct region *r = f->r;
    *pte = f->pte;
    uint64_t frame = r->frame + i;
    if (!r->large) {
        *pte = region_entry_now(s, r, i);
        if ((*pte ^ f->pte) & rights_mask(s))
            return false;
        if (r->state[i] && ((region_entry(s, r, i) ^ *pte) & ~ENT_OS))
            return false; /* shown from an older entry */
        frame = (*pte & ENT_ADDR) >> PAGE_SHIFT;
    }
    *p = phys_page(s->v->base.mem, (gpfn_t){frame & s->frame_mask});
    return p->kind != PHYS_NONE;
}

static bool entry_global(const struct fill *f, uint64_t pte)
{
    return f->keep_global && (pte >> 8 & 1);
}

/* ---- window ---------------------------------------------------------------------------------- */

/* Pages [first, end) that one mapping can show; host is that of `first`. */
struct run {
    unsigned first, end;
    const uint8_t *host;
    bool writable;
};

/* May page i join a run whose page at `host` would be this one? */
static bool joins(const struct x86_shadow *s, const struct fill *f, unsigned i, const uint8_t *host,
                  bool writable)
{
    uint64_t pte;
    struct phys_page p;
    uint8_t have = f->r->state[i] & (PG_WINDOW | PG_WINDOW_W);
    return have != (writable ? PG_WINDOW | PG_WINDOW_W : PG_WINDOW) &&
           neighbour(s, f, i, &pte, &p) && p.host == host && page_writable(f, pte, p) == writable;
}

static struct run run_around(const struct x86_shadow *s, const struct fill *f, unsigned i,
                             struct phys_page p, bool writable, unsigned lo, unsigned hi)
{
    struct run run = {i, i + 1, p.host, writable};
    while (run.first > lo && joins(s, f, run.first - 1, run.host - PAGE_BYTES, writable)) {
        run.first--;
        run.host -= PAGE_BYTES;
    }
    while (run.end < hi && joins(s, f, run.end, p.host + (run.end - i) * PAGE_BYTES, writable))
        run.end++;
    return run;
}

/* window_map() with evictions until it succeeds. */
static bool map_run(struct x86_shadow *s, const struct fill *f, const struct run *run)
{
    struct space *sp = f->sp;
    uint32_t page = region_page(f->r, run->first), n = run->end - run->first;
    uint64_t offset = phys_ram_offset(s->v->base.mem, run->host);
    bool populate = sp->id && n > 1;
    while (window_map(sp->window, page, offset, n, run->writable, populate) < 0) {
        if (window_mappings(sp->window) == 1)
            space_window_lost(s, sp);
        if (!shadow_evict_window(s)) {
            sp->no_window = s->options.view != DBT_VIEW_WINDOW;
            atomic_fetch_or_explicit(&s->pending, PEND_SWITCH, memory_order_relaxed);
            return false;
        }
    }
    s->stats.fills_window++;
    s->stats.pages_window += n;
    return true;
}

static bool show_run(struct x86_shadow *s, const struct fill *f, const struct run *run)
{
    if (!map_run(s, f, run))
        return false;
    uint8_t bits = run->writable ? PG_WINDOW | PG_WINDOW_W : PG_WINDOW;
    for (unsigned i = run->first; i < run->end; i++) {
        uint64_t pte = f->r->large ? f->pte : region_entry_now(s, f->r, i);
        if (!f->r->state[i])
            region_note(s, f->r, i, pte);
        region_add(s, f->sp, f->r, i, bits, entry_global(f, pte));
    }
    return true;
}

/* User pages are scattered in RAM: the group around the page, a mapping for each run of it. */
static void show_user_neighbours(struct x86_shadow *s, const struct fill *f, unsigned i)
{
    unsigned lo = i & ~(USER_NEIGHBOURS - 1), hi = lo + USER_NEIGHBOURS;
    for (unsigned n = lo; n < hi; n++) {
        uint64_t pte;
        struct phys_page p;
        if ((f->r->state[n] & PG_WINDOW) || !neighbour(s, f, n, &pte, &p))
            continue;
        struct run run = run_around(s, f, n, p, page_writable(f, pte, p), lo, hi);
        if (!show_run(s, f, &run))
            return;
        n = run.end - 1;
    }
}

/* Neighbours share one mapping but leave one by one when the guest flushes them one by one. Where
 * it keeps doing that (a fixed mapping through which it looks at one page after the other) they
 * stay out, until as many pages have been filled alone. */
static bool alone(struct region *r)
{
    if (r->churn < CHURN_LIMIT)
        return false;
    r->churn--;
    return true;
}

static bool fill_window(struct x86_shadow *s, const struct fill *f, unsigned i, struct phys_page p)
{
    bool writable = page_writable(f, f->pte, p);
    unsigned pages = 1u << (s->region_shift - PAGE_SHIFT), lo = 0, hi = pages;
    if (f->sp->id && !f->r->large) {
        lo = i & ~(USER_NEIGHBOURS - 1);
        hi = lo + USER_NEIGHBOURS;
    }
    bool single = alone(f->r);
    if (single) {
        lo = i;
        hi = i + 1;
    }
    struct run run = run_around(s, f, i, p, writable, lo, hi);
    if (!show_run(s, f, &run))
        return false;
    if (f->sp->id && !f->r->large && !single)
        show_user_neighbours(s, f, i);
    return true;
}

/* ---- flat table ------------------------------------------------------------------------------ */

static void show_flat(struct x86_shadow *s, const struct fill *f, unsigned i, uint64_t pte,
                      struct phys_page p)
{
    bool writable = page_writable(f, pte, p);
    flat_set(f->sp->flat, region_page(f->r, i), p.host, writable);
    if (!f->r->state[i])
        region_note(s, f->r, i, pte);
    region_add(s, f->sp, f->r, i, writable ? PG_FLAT | PG_FLAT_W : PG_FLAT, entry_global(f, pte));
}

static void fill_flat(struct x86_shadow *s, const struct fill *f, unsigned i, struct phys_page p)
{
    unsigned group = TABLE_LINE / (s->pae ? 8 : 4), lo = i & ~(group - 1);
    s->stats.fills_flat++;
    show_flat(s, f, i, f->pte, p);
    for (unsigned n = lo; n < lo + group; n++) {
        uint64_t pte;
        struct phys_page q;
        if (!(f->r->state[n] & PG_FLAT) && neighbour(s, f, n, &pte, &q))
            show_flat(s, f, n, pte, q);
    }
}

/* ---- faults ---------------------------------------------------------------------------------- */

/* An access to be shown in one form of one space. */
struct demand {
    struct space *sp;
    uint8_t form; /* PG_WINDOW or PG_FLAT */
    uint32_t lin;
    bool write;
    bool plain; /* supervisor code that might rather be retranslated */
};

static bool in_quarter(uint64_t address, uint32_t lin)
{
    return (uint32_t)address >> 30 == lin >> 30;
}

/* Are user pages in this quarter best shown in space 0? Where the guest has no user code, where
 * its supervisor itself lives, and where its code wants both kinds in turns. */
static bool mixed(const struct x86_shadow *s, uint32_t lin)
{
    const struct x86_vcpu *v = s->v;
    return !s->user_seen || s->flips[lin >> 30] > FLIP_LIMIT || in_quarter(v->eip, lin) ||
           in_quarter(v->gpr[X86_ESP], lin);
}

/* Pages whose entries change one by one again and again (kmap, fixed mappings) cost a mapping each
 * time in the window, but next to nothing in the flat table. */
static bool restless(const struct x86_shadow *s, uint32_t lin)
{
    const struct region *r = region_at(s, &s->space[0], lin);
    return s->flavour == X86_FLAVOUR_WINDOW && !s->options.no_adapt && r && !r->large &&
           r->churn >= CHURN_LIMIT;
}

/* Should the engine hear that this access of supervisor code is to a user page, or a restless one?
 * Not any more if that does not help. */
static bool foreign(struct x86_shadow *s, uint32_t lin, bool user_page)
{
    bool to_user = user_page && !mixed(s, lin);
    if (!to_user && !restless(s, lin))
        return false;
    uint32_t page = lin >> PAGE_SHIFT;
    uint64_t epoch = to_user ? s->foreign_epoch : FOREIGN_RESTLESS;
    struct foreign *f = &s->foreign[page & (FOREIGN_SLOTS - 1)];
    if (f->page != page || f->epoch != epoch)
        *f = (struct foreign){page, 0, epoch};
    if (f->count >= FOREIGN_LIMIT)
        return false;
    f->count++;
    return true;
}

static bool form_exists(const struct demand *d)
{
    return d->form == PG_WINDOW ? d->sp->window != NULL : d->sp->flat != NULL;
}

/* Show the page that the walk found, with neighbours. */
static enum dbt_verdict fill(struct x86_shadow *s, const struct demand *d, const struct x86_walk *w,
                             const struct entries *n, struct phys_page p)
{
    const struct x86_vcpu *v = s->v;
    bool user_page = n->pde & n->pte & ENT_US, own = !d->sp->id;
    if (!own && !user_page)
        return DBT_INTERPRET;
    struct fill f = {
        .sp = d->sp,
        .pte = n->pte,
        .may_write = (entries_rights(n) & ENT_RW) || (own && !(v->cr0 & CR0_WP)),
        .keep_global = own && s->paging && (v->cr4 & CR4_PGE) && !user_page,
    };
    f.r = shadow_record(s, d->sp, d->lin, n);
    unsigned i = page_index(s, d->lin);
    p.wp = phys_page(v->base.mem, gpa_page(w->gpa)).wp; /* this may be the very table */
    if (d->write && !page_writable(&f, n->pte, p))
        return DBT_INTERPRET; /* or CR0.WP is clear and the view is the user's */
    if (!f.r || region_gpfn(s, f.r, i).n != gpa_page(w->gpa).n)
        return DBT_INTERPRET;
    if (d->form == PG_FLAT)
        fill_flat(s, &f, i, p);
    else if (!fill_window(s, &f, i, p))
        return DBT_INTERPRET;
    return DBT_RESUME;
}

void shadow_refill_flat(struct x86_shadow *s, struct space *sp, uint32_t lin)
{
    struct x86_vcpu *v = s->v;
    struct entries n;
    struct demand d = {sp, PG_FLAT, lin, false, false};
    if (!s->paging || !shadow_entries(s, lin, &n) || !(n.pde & n.pte & ENT_A))
        return;
    struct x86_walk w = x86_walk(v, lin, X86_READ, sp->id != 0, true);
    struct phys_page p = phys_page(v->base.mem, gpa_page(w.gpa));
    if (w.present && p.kind != PHYS_NONE)
        fill(s, &d, &w, &n, p);
}

static enum dbt_verdict show(struct x86_shadow *s, struct demand d)
{
    struct x86_vcpu *v = s->v;
    uint8_t state = page_state(s, d.sp, d.lin);
    if (!form_exists(&d))
        return DBT_INTERPRET;
    if (state & d.form) {
        if ((state & d.form << 1) || (d.form == PG_WINDOW && !d.write))
            return DBT_INTERPRET; /* all is there: an access that no view can serve */
        d.write = true;           /* reading would not have faulted */
    }
    struct x86_walk w = x86_walk(v, d.lin, d.write ? X86_WRITE : X86_READ, v->user, false);
    struct entries n;
    if (!w.present || !shadow_entries(s, d.lin, &n))
        return DBT_INTERPRET;
    struct phys_page p = phys_page(v->base.mem, gpa_page(w.gpa));
    if (p.kind == PHYS_NONE)
        return DBT_DEVICE;
    if (d.write && (p.kind == PHYS_ROM || p.wp))
        return DBT_TRACED;
    if (d.plain && s->paging && foreign(s, d.lin, entries_rights(&n) & ENT_US))
        return DBT_FOREIGN;
    return fill(s, &d, &w, &n, p);
}

/* Code that looks at select[]: let that name the right table, and fill it. */
static enum dbt_verdict show_selected(struct x86_shadow *s, uint32_t lin, bool write)
{
    unsigned q = lin >> 30;
    struct entries n;
    bool user =
        s->paging && shadow_entries(s, lin, &n) && (entries_rights(&n) & ENT_US) && !mixed(s, lin);
    struct space *sp = user ? s->owner : &s->space[0];
    if (!shadow_need_flat(s, sp))
        return DBT_INTERPRET;
    if (s->select_user[q] != user) {
        s->select_user[q] = user;
        s->flips[q]++;
        shadow_update_select(s);
        uint8_t state = page_state(s, sp, lin);
        if ((state & PG_FLAT) && (!write || (state & PG_FLAT_W)))
            return DBT_RESUME;
    } else {
        shadow_update_select(s); /* the table may be new */
    }
    return show(s, (struct demand){sp, PG_FLAT, lin, write, false});
}

enum dbt_verdict x86_shadow_fault(struct x86_vcpu *v, uint32_t lin, bool write,
                                  enum tb_policy policy)
{
    struct x86_shadow *s = v->gen.shadow;
    if (policy == TB_SELECT && !v->user)
        return show_selected(s, lin, write);
    return show(s, (struct demand){s->cur, s->flavour == X86_FLAVOUR_FLAT ? PG_FLAT : PG_WINDOW,
                                   lin, write, !v->user});
}

bool x86_shadow_fetch(struct x86_vcpu *v, uint32_t page, gpfn_t *gpfn)
{
    struct x86_shadow *s = v->gen.shadow;
    struct entries n;
    struct x86_walk w = x86_walk(v, page, X86_FETCH, v->user, false);
    if (!w.present || !shadow_entries(s, page, &n) ||
        phys_page(v->base.mem, gpa_page(w.gpa)).kind == PHYS_NONE)
        return false;
    struct region *r = shadow_record(s, s->cur, page, &n);
    unsigned i = page_index(s, page);
    if (!r || region_gpfn(s, r, i).n != gpa_page(w.gpa).n)
        return false;
    region_add(s, s->cur, r, i, PG_CODE, !s->cur->id && w.global && !(entries_rights(&n) & ENT_US));
    *gpfn = gpa_page(w.gpa);
    return true;
}

/* ---- map on return --------------------------------------------------------------------------- */

void shadow_map_on_return(struct x86_shadow *s)
{
    const struct x86_vcpu *v = s->v;
    unsigned newer = v->fault_next - s->fault_seen;
    if (newer > X86_FAULT_LOG)
        newer = X86_FAULT_LOG;
    for (unsigned i = 1; i <= newer; i++) {
        const struct x86_fault_log *f = &v->faults[(v->fault_next - i) & (X86_FAULT_LOG - 1)];
        if (f->vector != X86_PF || f->eip != (uint32_t)v->eip || !(f->error & 4))
            continue;
        uint8_t form = s->flavour == X86_FLAVOUR_FLAT ? PG_FLAT : PG_WINDOW;
        /* A store needs nothing else: whoever handles a write fault sets D, and if not, the store
         * must be seen. */
        if (f->cr2 >> PAGE_SHIFT != f->eip >> PAGE_SHIFT && !(page_state(s, s->cur, f->cr2) & form))
            show(s, (struct demand){s->cur, form, f->cr2, false, false});
        break;
    }
    s->fault_seen = v->fault_next;
}
