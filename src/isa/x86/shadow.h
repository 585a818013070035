/* SPDX-License-Identifier: MIT */
/* Shadow views: what translated code sees of guest-linear memory.
 *
 * A space is one view: space 0 is the supervisor's, shared by all address spaces; the others are
 * the user views of recently used CR3 values (a pool, least recently used goes first). A space
 * remembers for each linear page that it shows which page-table entries said so, and is checked
 * against guest memory when CR3 is loaded or the TLB flushed; what still holds stays, so that
 * switching between processes costs nanoseconds a page instead of a refill. Like a TLB it may lag
 * behind the tables in between. With dbt_options.trace_tables stores to the tables are seen when
 * they happen instead, and it never does. A space has up to two forms: a window (mem/window.h) and
 * a table of addends (mem/flat.h). vCPU thread only; its wp_watcher hears of stores
 * from any thread.
 */
#ifndef RING3_ISA_X86_SHADOW_H
#define RING3_ISA_X86_SHADOW_H

#include "isa/x86/x86.h"
#include "ring3/translate.h"

struct x86_shadow;

struct x86_shadow *x86_shadow_new(struct x86_vcpu *v, const struct dbt_options *o,
                                  const struct dbt_hooks *h, struct err *e);
void x86_shadow_free(struct x86_shadow *s);

/* Which kind of access generated code uses for the space at hand. */
enum x86_flavour {
    X86_FLAVOUR_WINDOW,
    X86_FLAVOUR_FLAT,
    X86_FLAVOUR_NONE, /* the host has no memory for a view: generated code cannot run */
};

/* Make the space of (CR3, v->user) current: look it up or take one from the pool, validate it if
 * tables may have changed since, fill v->gen. Cheap when nothing changed (a few compares). Returns
 * the space's number; *flavour says how its code accesses memory. */
unsigned x86_shadow_prepare(struct x86_vcpu *v, enum x86_flavour *flavour);

/* isa_translator.fetch for the current space: permitted for instruction fetch and RAM or ROM. */
bool x86_shadow_fetch(struct x86_vcpu *v, uint32_t page, gpfn_t *gpfn);

/* An access at `lin` faulted in generated code (`write` if the host said so; else it may be either:
 * with the flat flavour the host cannot tell). `policy` is how the site is translated. Fills the
 * view (with neighbours where that is cheap) or says why not. Sets A and D bits as the access
 * demands. */
enum dbt_verdict x86_shadow_fault(struct x86_vcpu *v, uint32_t lin, bool write,
                                  enum tb_policy policy);

/* Figures for --stats. A switch is counted when prepare() makes it, so what the interpreter did in
 * between shows in its outcome only. */
struct x86_shadow_stats {
    uint64_t switches_privilege; /* the other of supervisor's and user's view became current */
    uint64_t switches_cr3;       /* user memory is now that of another page directory */
    uint64_t fills_window, fills_flat, pages_window; /* fill operations; pages mapped by them */
    uint64_t validations, validated_pages, stale_pages;
    uint64_t spaces_recycled, promotions;
    uint64_t protects; /* pages made read-only for a write-protection reason */
    /* With traced tables: pages that are now, those that ever were, stores to them. */
    uint64_t traced_now, traced, table_stores;
};
const struct x86_shadow_stats *x86_shadow_stats(const struct x86_shadow *s);
void x86_shadow_figures(const struct x86_shadow *s, const struct figure_sink *to);

#endif
