/* SPDX-License-Identifier: MIT */
/* Shadow views: their life, and which of them is current.
 *
 * x86_shadow_prepare() runs before every entry into translated code, so it is two compares as long
 * as nothing happened. Whatever may make views stale sets a bit of x86_shadow.pending: loads of
 * CR3 and other flushes of the TLB through the hooks in struct x86_vcpu, write protection by other
 * threads, forms that could not be had. A change of privilege is the difference between v->user
 * and x86_shadow.user.
 *
 * A CR3 load checks what space 0 and the user space of that CR3 show (shadow_space.c), unless the
 * tables are traced (shadow_trace.c): then views are right at any time. Control bits
 * that change what every table means drop all spaces. CR0.PE is none of them: paging cannot be on
 * without it.
 *
 * Young user spaces use the flat form, which costs nanoseconds a page to fill; those that have run
 * for a while get a window, which costs microseconds a page and nothing per access. */
#include "isa/x86/shadow_internal.h"

#include <asm/prctl.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <x86intrin.h>

#include "ring3/engine.h"

/* TSC ticks of user code before its space gets a window: some to begin with, and for each page that
 * is in use about three times what mapping and unmapping it costs (7 microseconds). Whoever has run
 * so long will, as experience goes, run as long again, and win about a third. */
#define PROMOTE_TICKS          (UINT64_C(1) << 21)
#define PROMOTE_TICKS_PER_PAGE (UINT64_C(1) << 16)

/* One stay in user code of so many is measured: reading the TSC costs as much as the switch. */
#define SAMPLED 8u

#define HWCAP2_FSGS   2u
#define WRITERS_COUNT (PHYS_LIMIT >> PAGE_SHIFT)
#define TABLE_FLAGS   (MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE)

/* ---- forms ----------------------------------------------------------------------------------- */

bool shadow_need_flat(struct x86_shadow *s, struct space *sp)
{
    if (!sp->flat)
        sp->flat = flat_new(s->flats, NULL);
    return sp->flat;
}

static bool need_window(struct x86_shadow *s, struct space *sp)
{
    if (!sp->window && !sp->no_window && s->windows) {
        sp->window = window_new(s->windows, NULL);
        if (!sp->window && shadow_evict_window(s))
            sp->window = window_new(s->windows, NULL);
        sp->no_window = !sp->window;
    }
    return sp->window && !sp->no_window;
}

bool shadow_evict_window(struct x86_shadow *s)
{
    struct space *oldest = NULL;
    for (unsigned i = 1; i < SHADOW_SPACES; i++) {
        struct space *sp = &s->space[i];
        if (sp->window && window_mappings(sp->window) > 1 && (!oldest || sp->stamp < oldest->stamp))
            oldest = sp;
    }
    if (!oldest && s->space[0].window && window_mappings(s->space[0].window) > 1)
        oldest = &s->space[0];
    if (!oldest)
        return false;
    window_clear(oldest->window);
    space_window_lost(s, oldest);
    return true;
}

/* ---- the pool of user spaces ----------------------------------------------------------------- */

/* The user space to give up: one that stands for nothing, else the one used least recently. */
static struct space *oldest_space(struct x86_shadow *s, bool with_records,
                                  const struct space * not )
{
    struct space *oldest = NULL;
    for (unsigned i = 1; i < SHADOW_SPACES; i++) {
        struct space *sp = &s->space[i];
        if (sp == not || (with_records && !sp->regions))
            continue;
        if (!oldest || sp->stamp < oldest->stamp)
            oldest = sp;
    }
    return oldest;
}

void shadow_give_up(struct x86_shadow *s, struct space *sp)
{
    space_clear(s, sp);
    trace_space_end(s, sp);
    sp->key = KEY_NONE;
    sp->stamp = sp->ran = 0;
    sp->promoted = sp->no_window = false;
}

void shadow_evict_records(struct x86_shadow *s, struct space *sp)
{
    struct space *other = oldest_space(s, true, sp);
    space_clear(s, other ? other : sp);
}

static struct space *user_space(struct x86_shadow *s, uint64_t key)
{
    for (unsigned i = 1; i < SHADOW_SPACES; i++)
        if (s->space[i].key == key)
            return &s->space[i];
    struct space *sp = oldest_space(s, false, s->owner);
    if (sp->key != KEY_NONE) {
        shadow_give_up(s, sp);
        s->stats.spaces_recycled++;
    }
    sp->key = key;
    return sp;
}

/* ---- following the guest --------------------------------------------------------------------- */

#define MODE_STALE UINT64_MAX /* no processor's */

static uint64_t mode_of(const struct x86_vcpu *v)
{
    return (v->cr0 & (CR0_PG | CR0_WP)) | (v->cr4 & (CR4_PSE | CR4_PAE | CR4_PGE)) |
           (v->efer & EFER_NXE) | (v->a20_mask != UINT64_MAX);
}

static void set_mode(struct x86_shadow *s)
{
    const struct x86_vcpu *v = s->v;
    s->mode = mode_of(v);
    s->paging = v->cr0 & CR0_PG;
    s->pae = v->cr4 & CR4_PAE;
    s->region_shift = s->pae ? 21 : 22;
    s->frame_mask = v->a20_mask == UINT64_MAX ? UINT64_MAX : v->a20_mask >> PAGE_SHIFT;
}

static void change_mode(struct x86_shadow *s)
{
    space_clear(s, &s->space[0]);
    for (unsigned i = 1; i < SHADOW_SPACES; i++)
        if (s->space[i].key != KEY_NONE)
            shadow_give_up(s, &s->space[i]);
    s->owner = NULL;
    memset(s->flips, 0, sizeof s->flips);
    set_mode(s);
}

static void follow_tables(struct x86_shadow *s, bool global)
{
    if (mode_of(s->v) != s->mode)
        change_mode(s);
    uint64_t key = s->paging ? s->v->cr3 : KEY_IDENTITY;
    if (!s->owner || s->owner->key != key) {
        s->stats.switches_cr3 += s->owner != NULL;
        s->owner = user_space(s, key);
        s->foreign_epoch++;
    }
    s->owner->stamp = ++s->stamp;
    if (s->tables) {
        trace_follow(s);
        return;
    }
    space_validate(s, &s->space[0], global);
    space_validate(s, s->owner, true);
}

void shadow_update_select(struct x86_shadow *s)
{
    for (unsigned q = 0; q < 4; q++) {
        const struct space *sp = s->select_user[q] && s->owner->flat ? s->owner : &s->space[0];
        s->v->gen.select[q] = flat_table(sp->flat) | X86_VIEW_TAG;
    }
}

/* False: this process may not (a filter of system calls). */
static bool set_gs(const struct x86_shadow *s, uint64_t base)
{
    struct x86_vcpu *v = s->v;
    if (v->gen.gs_current == base)
        return true;
    if (s->wrgsbase)
        __asm__ volatile("wrgsbase %0" : : "r"(base));
    else if (syscall(SYS_arch_prctl, ARCH_SET_GS, base) < 0)
        return false;
    v->gen.gs_current = base;
    return true;
}

static bool deserves_window(const struct space *sp)
{
    uint64_t pages = 0;
    if (sp->ran < PROMOTE_TICKS)
        return false;
    for (const struct region *r = sp->regions; r; r = r->next)
        pages += r->used;
    return sp->ran > PROMOTE_TICKS + pages * PROMOTE_TICKS_PER_PAGE;
}

static enum x86_flavour choose_flavour(struct x86_shadow *s, struct space *sp)
{
    bool window = s->options.view == DBT_VIEW_WINDOW;
    if (s->options.view == DBT_VIEW_AUTO) {
        if (sp->id && !sp->promoted && s->windows && deserves_window(sp)) {
            sp->promoted = true;
            s->stats.promotions++;
        }
        window = !sp->id || sp->promoted;
    }
    if (window && need_window(s, sp)) {
        if (set_gs(s, window_base(sp->window)))
            return X86_FLAVOUR_WINDOW;
        sp->no_window = true;
    }
    return shadow_need_flat(s, sp) ? X86_FLAVOUR_FLAT : X86_FLAVOUR_NONE;
}

static void switch_space(struct x86_shadow *s)
{
    struct x86_vcpu *v = s->v;
    if (s->user && s->cur && s->entered)
        s->cur->ran += SAMPLED * (__rdtsc() - s->entered);
    struct space *sp = v->user ? s->owner : &s->space[0];
    s->stats.switches_privilege += v->user != s->user;
    s->user = v->user;
    s->user_seen |= v->user && s->paging;
    s->entered = v->user && ++s->switches % SAMPLED == 0 ? __rdtsc() : 0;
    s->cur = sp;
    s->flavour = (uint8_t)choose_flavour(s, sp);
    if (s->flavour == X86_FLAVOUR_WINDOW) {
        v->gen.window = window_base(sp->window);
        v->gen.view = v->gen.window | X86_VIEW_TAG;
    } else {
        v->gen.window = 0;
        v->gen.view = flat_table(sp->flat ? sp->flat : s->nothing) | X86_VIEW_TAG;
    }
    shadow_update_select(s);
}

static void refresh(struct x86_shadow *s)
{
    uint32_t pending = atomic_exchange(&s->pending, 0);
    bool entering = s->v->user && !s->user;
    if (pending & PEND_FLUSH)
        follow_tables(s, pending & PEND_GLOBAL);
    if (pending & PEND_STORED)
        trace_drain(s);
    if (pending & PEND_PROTECT)
        shadow_protect_all(s);
    switch_space(s);
    if (entering && s->flavour != X86_FLAVOUR_NONE)
        shadow_map_on_return(s);
}

unsigned x86_shadow_prepare(struct x86_vcpu *v, enum x86_flavour *flavour)
{
    struct x86_shadow *s = v->gen.shadow;
    if (unlikely(atomic_load_explicit(&s->pending, memory_order_relaxed) != 0) ||
        unlikely(v->user != s->user))
        refresh(s);
    *flavour = s->flavour;
    return s->cur->id;
}

/* ---- hooks ----------------------------------------------------------------------------------- */

static void tlb_flushed(void *opaque, bool keep_global)
{
    struct x86_shadow *s = opaque;
    atomic_fetch_or(&s->pending, keep_global ? PEND_FLUSH : PEND_FLUSH | PEND_GLOBAL);
}

/* At once: the guest may go on without another flush. User spaces other than the current one are
 * checked when their CR3 is loaded. */
static void tlb_page_flushed(void *opaque, uint32_t lin)
{
    struct x86_shadow *s = opaque;
    if (s->tables)
        return; /* it went when the entry was changed */
    space_flush_page(s, &s->space[0], lin);
    if (s->owner)
        space_flush_page(s, s->owner, lin);
}

static void reasons_changed(void *opaque, gpfn_t page, uint8_t reasons)
{
    struct x86_shadow *s = opaque;
    if (!reasons)
        return;
    if (pthread_equal(pthread_self(), s->v->owner)) {
        shadow_protect(s, page);
        return;
    }
    atomic_fetch_or(&s->pending, PEND_PROTECT);
    vcpu_attend(&s->v->base, ATTN_CODE);
}

/* Page tables say the same as before, so comparing them would find nothing: all views start anew,
 * as after a change of paging mode. */
static void remapped(void *opaque, gpa_t gpa, uint64_t len)
{
    struct x86_shadow *s = opaque;
    s->mode = MODE_STALE;
    atomic_fetch_or(&s->pending, PEND_FLUSH | PEND_GLOBAL);
}

/* ---- life ------------------------------------------------------------------------------------ */

const struct x86_shadow_stats *x86_shadow_stats(const struct x86_shadow *s)
{
    return &s->stats;
}

void x86_shadow_figures(const struct x86_shadow *s, const struct figure_sink *to)
{
    const struct x86_shadow_stats *x = &s->stats;
    const struct window_stats w =
        s->windows ? window_pool_stats(s->windows) : (struct window_stats){0};
    const struct {
        const char *name, *unit;
        uint64_t value;
    } rows[] = {
        {"view_switches", "of privilege", x->switches_privilege},
        {"view_switches_cr3", "to another page directory", x->switches_cr3},
        {"view_validations", "of a space's records", x->validations},
        {"view_validated", "pages", x->validated_pages},
        {"view_stale", "pages dropped: entry changed or flushed", x->stale_pages},
        {"view_fills_window", "operations", x->fills_window},
        {"view_pages_window", "mapped by them", x->pages_window},
        {"view_fills_flat", "operations", x->fills_flat},
        {"view_protects", "pages made read-only", x->protects},
        {"view_spaces_recycled", "for another page directory", x->spaces_recycled},
        {"view_promotions", "of spaces to a window", x->promotions},
        {"view_traced_tables", "now", x->traced_now},
        {"view_traced_ever", "times a table was traced", x->traced},
        {"view_table_stores", "seen, per use of the table", x->table_stores},
        {"view_mappings", "host mappings now", w.mappings},
        {"view_mappings_most", "at any time", w.most},
        {"view_windows_lost", "emptied for want of mappings", w.losses},
    };
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++)
        to->add(to->opaque, rows[i].name, (double)rows[i].value, 0, rows[i].unit);
}

static int make_spaces(struct x86_shadow *s, struct err *e)
{
    for (unsigned i = 0; i < SHADOW_SPACES; i++) {
        struct space *sp = &s->space[i];
        sp->id = i;
        sp->key = KEY_NONE;
        sp->dir = calloc(SPACE_REGIONS, sizeof(struct region *));
        if (!sp->dir)
            return err_set(e, ENOMEM, "host-memory", "out of memory");
    }
    s->writers = mmap(NULL, WRITERS_COUNT, PROT_READ | PROT_WRITE, TABLE_FLAGS, -1, 0);
    s->writer = mmap(NULL, WRITERS_COUNT * 4, PROT_READ | PROT_WRITE, TABLE_FLAGS, -1, 0);
    if (s->writers == MAP_FAILED || s->writer == MAP_FAILED)
        return err_set(e, ENOMEM, "host-memory", "no address space for shadow views");
    return 0;
}

static int make_views(struct x86_shadow *s, struct err *e)
{
    s->flats = flat_pool_new(e);
    if (!s->flats)
        return -ENOMEM;
    s->nothing = flat_new(s->flats, e);
    s->space[0].flat = flat_new(s->flats, e);
    if (!s->nothing || !s->space[0].flat)
        return -ENOMEM;
    if (s->options.view == DBT_VIEW_FLAT)
        return 0;
    bool forced = s->options.view == DBT_VIEW_WINDOW;
    s->windows = window_pool_new(phys_ram_fd(s->v->base.mem), 0, forced ? e : NULL);
    if (s->windows)
        s->space[0].window = window_new(s->windows, forced ? e : NULL);
    return s->space[0].window || !forced ? 0 : -ENOMEM;
}

struct x86_shadow *x86_shadow_new(struct x86_vcpu *v, const struct dbt_options *o,
                                  const struct dbt_hooks *h, struct err *e)
{
    struct x86_shadow *s = calloc(1, sizeof *s);
    if (!s) {
        err_set(e, ENOMEM, "host-memory", "out of memory");
        return NULL;
    }
    s->v = v;
    s->options = *o;
    s->hooks = *h;
    s->wrgsbase = !o->no_fsgsbase && getauxval(AT_HWCAP2) & HWCAP2_FSGS;
    s->writers = MAP_FAILED;
    s->writer = MAP_FAILED;
    s->watcher = (struct wp_watcher){.changed = reasons_changed, .remapped = remapped, .opaque = s};
    v->gen.shadow = s;
    bool good = trace_open(s, e) == 0 && make_spaces(s, e) == 0 && make_views(s, e) == 0;
    wp_watch(v->base.mem, &s->watcher);
    if (!good) {
        x86_shadow_free(s);
        return NULL;
    }
    set_mode(s);
    s->fault_seen = v->fault_next;
    s->pending = PEND_FLUSH | PEND_GLOBAL;
    v->shadow = (struct x86_shadow_hooks){tlb_flushed, tlb_page_flushed, s};
    return s;
}

void x86_shadow_free(struct x86_shadow *s)
{
    if (!s)
        return;
    s->v->shadow = (struct x86_shadow_hooks){0};
    s->v->gen = (struct x86_gen){.gs_current = s->v->gen.gs_current};
    trace_close(s);
    wp_unwatch(s->v->base.mem, &s->watcher);
    for (unsigned i = 0; i < SHADOW_SPACES; i++) {
        struct space *sp = &s->space[i];
        for (struct region *r = sp->regions, *next; r; r = next) {
            next = r->next;
            free(r);
        }
        free(sp->dir);
        window_free(sp->window);
        flat_free(sp->flat);
    }
    for (struct region *r = s->free_regions, *next; r; r = next) {
        next = r->next;
        free(r);
    }
    flat_free(s->nothing);
    window_pool_free(s->windows);
    flat_pool_free(s->flats);
    if (s->writers != MAP_FAILED)
        munmap(s->writers, WRITERS_COUNT);
    if (s->writer != MAP_FAILED)
        munmap(s->writer, WRITERS_COUNT * 4);
    free(s);
}
