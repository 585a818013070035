/* SPDX-License-Identifier: MIT */
/* Records of what a space shows: keeping them, checking them against the guest's page tables,
 * dropping what no longer holds, and finding the writable views of a physical page.
 *
 * The check is what makes address spaces cheap to come back to (Intel SDM vol. 3A 4.10.4 says when
 * it is due). A page is kept if its entries are the same in all bits that the processor looks at.
 * That includes A and D: a guest that clears A to learn which pages are in use must see it set
 * again by the next access, so such a page is dropped.
 *
 * Writable views of a physical page are found by a count and one hint per physical page; only
 * pages that are writable in several places cost a search. Large pages of space 0 would fill
 * these tables for nothing (the kernel's direct map shows all of memory), so they are found by
 * arithmetic. */
#include "isa/x86/shadow_internal.h"

#include <stdlib.h>

#define HINT_SHIFT 20 /* of the space number in x86_shadow.writer */

/* ---- the guest's tables ---------------------------------------------------------------------- */

/* A page of guest memory as the monitor sees it, or NULL. */
static const uint8_t *table_host(const struct x86_shadow *s, uint64_t gpa)
{
    gpfn_t page = {gpa >> PAGE_SHIFT & s->frame_mask};
    struct phys_page p = phys_page(s->v->base.mem, page);
    return p.kind == PHYS_NONE ? NULL : p.host;
}

static uint64_t table_entry(const struct x86_shadow *s, const uint8_t *table, unsigned i)
{
    return s->pae ? ((const volatile uint64_t *)(const void *)table)[i]
                  : ((const volatile uint32_t *)(const void *)table)[i];
}

/* The page-directory entry for lin, 0 if there is none. */
static uint64_t directory_entry(const struct x86_shadow *s, uint32_t lin)
{
    const struct x86_vcpu *v = s->v;
    if (!s->paging)
        return ENT_P | ENT_RW | ENT_US | ENT_A | ENT_D | ENT_PS;
    uint64_t directory = v->cr3 & PAGE_MASK;
    unsigned i = lin >> s->region_shift;
    if (s->pae) {
        uint64_t pdpte = v->pdpte[lin >> 30];
        if (!(pdpte & ENT_P))
            return 0;
        directory = pdpte & ENT_ADDR;
        i &= 511;
    }
    const uint8_t *table = table_host(s, directory);
    return table ? table_entry(s, table, i) : 0;
}

static bool is_large(const struct x86_shadow *s, uint64_t pde)
{
    return (pde & ENT_PS) && (!s->paging || s->pae || (s->v->cr4 & CR4_PSE));
}

bool shadow_entries(const struct x86_shadow *s, uint32_t lin, struct entries *n)
{
    uint64_t pde = directory_entry(s, lin);
    *n = (struct entries){pde, pde, NULL, is_large(s, pde)};
    if (!(pde & ENT_P))
        return false;
    if (n->large)
        return true;
    n->table = table_host(s, pde & ENT_ADDR);
    if (!n->table)
        return false;
    n->pte = table_entry(s, n->table, page_index(s, lin));
    return n->pte & ENT_P;
}

/* Physical page number of a large page's first page, before the A20 gate. */
static uint64_t large_frame(const struct x86_shadow *s, uint32_t base, uint64_t pde)
{
    if (!s->paging)
        return base >> PAGE_SHIFT;
    if (s->pae)
        return (pde & ENT_ADDR & ~UINT64_C(0x1fffff)) >> PAGE_SHIFT;
    return ((pde & 0xffc00000) | (pde >> 13 & 15) << 32) >> PAGE_SHIFT;
}

gpfn_t region_gpfn(const struct x86_shadow *s, const struct region *r, unsigned i)
{
    uint64_t frame = r->large ? r->frame + i : (region_entry(s, r, i) & ENT_ADDR) >> PAGE_SHIFT;
    return (gpfn_t){frame & s->frame_mask};
}

uint64_t region_entry(const struct x86_shadow *s, const struct region *r, unsigned i)
{
    return s->pae ? r->pte.e64[i] : r->pte.e32[i];
}

uint64_t region_entry_now(const struct x86_shadow *s, const struct region *r, unsigned i)
{
    return table_entry(s, r->table, i);
}

void region_note(struct x86_shadow *s, struct region *r, unsigned i, uint64_t pte)
{
    if (r->large)
        return;
    if (s->pae)
        r->pte.e64[i] = pte;
    else
        r->pte.e32[i] = (uint32_t)pte;
}

/* ---- who can write to a physical page -------------------------------------------------------- */

static bool counted(const struct space *sp, const struct region *r)
{
    return sp->id || !r->large;
}

static void writer_add(struct x86_shadow *s, const struct space *sp, const struct region *r,
                       unsigned i)
{
    uint64_t n = region_gpfn(s, r, i).n;
    if (!counted(sp, r) || n >= PHYS_LIMIT >> PAGE_SHIFT)
        return;
    if (s->writers[n] < UINT8_MAX)
        s->writers[n]++;
    s->writer[n] = sp->id << HINT_SHIFT | region_page(r, i);
}

static void writer_remove(struct x86_shadow *s, const struct space *sp, const struct region *r,
                          unsigned i)
{
    uint64_t n = region_gpfn(s, r, i).n;
    if (!counted(sp, r) || n >= PHYS_LIMIT >> PAGE_SHIFT)
        return;
    if (s->writers[n] < UINT8_MAX)
        s->writers[n]--;
}

/* ---- state of a page ------------------------------------------------------------------------- */

static void set_bit(uint64_t *map, unsigned i, bool to)
{
    uint64_t bit = UINT64_C(1) << (i & 63);
    map[i / 64] = to ? map[i / 64] | bit : map[i / 64] & ~bit;
}

void region_add(struct x86_shadow *s, struct space *sp, struct region *r, unsigned i, uint8_t bits,
                bool global)
{
    uint8_t old = r->state[i];
    if (!old) {
        r->used++;
        r->nonglobal += !global;
        set_bit(r->used_map, i, true);
        set_bit(r->global_map, i, global);
    }
    r->state[i] = old | bits;
    if ((bits & PG_WRITABLE) && !(old & PG_WRITABLE))
        writer_add(s, sp, r, i);
}

/* Clear bits of the record alone; the views are the caller's business. */
static void region_remove(struct x86_shadow *s, struct space *sp, struct region *r, unsigned i,
                          uint8_t bits)
{
    uint8_t old = r->state[i], left = (uint8_t)(old & ~bits);
    if ((old & PG_WRITABLE) && !(left & PG_WRITABLE))
        writer_remove(s, sp, r, i);
    r->state[i] = left;
    if (old && !left) {
        r->used--;
        r->nonglobal -= !(r->global_map[i / 64] >> (i & 63) & 1);
        set_bit(r->used_map, i, false);
    }
}

/* ---- records --------------------------------------------------------------------------------- */

void region_free(struct x86_shadow *s, struct region *r)
{
    trace_region_end(s, r);
    s->space[r->space].dir[r->base >> s->region_shift] = NULL;
    *r->link = r->next;
    if (r->next)
        r->next->link = r->link;
    r->next = s->free_regions;
    s->free_regions = r;
    s->regions--;
}

static struct region *region_new(struct x86_shadow *s, struct space *sp, uint32_t lin,
                                 const struct entries *n)
{
    if (s->regions >= SHADOW_REGIONS_MAX)
        shadow_evict_records(s, sp);
    struct region *r = s->free_regions;
    if (r)
        s->free_regions = r->next;
    else if (!(r = malloc(sizeof *r)))
        return NULL;
    memset(r, 0, sizeof *r);
    r->space = (uint16_t)sp->id;
    r->base = lin & ~((1u << s->region_shift) - 1);
    r->pde = n->pde;
    r->large = n->large;
    r->table = n->table;
    if (n->large)
        r->frame = large_frame(s, r->base, n->pde);
    r->next = sp->regions;
    r->link = &sp->regions;
    if (r->next)
        r->next->link = &r->next;
    sp->regions = r;
    sp->dir[lin >> s->region_shift] = r;
    s->regions++;
    trace_region(s, sp, r);
    return r;
}

static void window_unmap_run(struct x86_shadow *s, struct space *sp, uint32_t first, uint32_t n)
{
    if (n && window_unmap(sp->window, first, n) < 0)
        space_window_lost(s, sp);
}

/* Take the pages in dead[] out of all views. Neighbours leave the window together. */
static void region_drop(struct x86_shadow *s, struct space *sp, struct region *r,
                        const uint64_t *dead)
{
    uint32_t first = 0, run = 0;
    for (unsigned w = 0; w < REGION_WORDS; w++)
        for (uint64_t bits = dead[w]; bits; bits &= bits - 1) {
            unsigned i = w * 64 + (unsigned)__builtin_ctzll(bits);
            uint32_t page = region_page(r, i);
            uint8_t state = r->state[i];
            region_remove(s, sp, r, i, PG_ALL);
            s->stats.stale_pages++;
            if (state & PG_FLAT)
                flat_clear(sp->flat, page, 1);
            if (state & PG_CODE)
                s->hooks.code_unmapped(s->hooks.opaque, sp->id, page << PAGE_SHIFT);
            if (!(state & PG_WINDOW))
                continue;
            if (first + run != page) {
                window_unmap_run(s, sp, first, run);
                first = page;
                run = 0;
            }
            run++;
        }
    window_unmap_run(s, sp, first, run);
}

static void region_drop_all(struct x86_shadow *s, struct space *sp, struct region *r)
{
    uint64_t dead[REGION_WORDS];
    memcpy(dead, r->used_map, sizeof dead);
    region_drop(s, sp, r, dead);
}

static void region_drop_one(struct x86_shadow *s, struct space *sp, struct region *r, unsigned i)
{
    uint64_t dead[REGION_WORDS] = {0};
    if (!r->state[i])
        return;
    set_bit(dead, i, true);
    region_drop(s, sp, r, dead);
}

/* Does a record made from `old` hold although the entry is `now`? A and D may have been set. */
static bool still_holds(uint64_t old, uint64_t now)
{
    return !((old ^ now) & ~ENT_OS & ~(now & (ENT_A | ENT_D)));
}

struct region *shadow_record(struct x86_shadow *s, struct space *sp, uint32_t lin,
                             const struct entries *n)
{
    struct region *r = region_at(s, sp, lin);
    unsigned i = page_index(s, lin);
    if (r && !still_holds(r->pde, n->pde)) {
        region_drop_all(s, sp, r);
        region_free(s, r);
        r = NULL;
    }
    if (!r && !(r = region_new(s, sp, lin, n)))
        return NULL;
    r->pde = n->pde;
    if (!r->large) {
        if (s->tables && region_entry_now(s, r, i) != n->pte)
            return NULL; /* another thread was faster than the trace */
        if (r->state[i] && !still_holds(region_entry(s, r, i), n->pte))
            region_drop_one(s, sp, r, i);
        region_note(s, r, i, n->pte);
    }
    return r;
}

/* ---- dropping -------------------------------------------------------------------------------- */

/* A page is about to go because its entry alone changed. */
static void stir(struct x86_shadow *s, struct region *r, unsigned i)
{
    struct foreign *f = &s->foreign[region_page(r, i) & (FOREIGN_SLOTS - 1)];
    if (r->churn < UINT8_MAX)
        r->churn++;
    if (f->page == region_page(r, i))
        f->count = 0;
}

/* Guests flush more than they change: a system's own bit, a page that they only want to be sure of.
 * (A clear A bit must be seen to be set again, so it is a change.) */
static bool same_entries(const struct x86_shadow *s, const struct region *r, uint32_t lin)
{
    struct entries n;
    return shadow_entries(s, lin, &n) && !((n.pde ^ r->pde) & ~ENT_OS) &&
           (r->large || !((n.pte ^ region_entry(s, r, page_index(s, lin))) & ~ENT_OS));
}

void space_flush_page(struct x86_shadow *s, struct space *sp, uint32_t lin)
{
    struct region *r = region_at(s, sp, lin);
    unsigned i = page_index(s, lin);
    if (!r || (!r->large && !r->state[i]) || same_entries(s, r, lin))
        return;
    if (r->large) {
        region_drop_all(s, sp, r);
        return;
    }
    bool flat = r->state[i] & PG_FLAT;
    stir(s, r, i);
    region_drop_one(s, sp, r, i);
    if (flat)
        shadow_refill_flat(s, sp, lin);
}

/* A block for each used page of a region; it may change their states. */
#define EACH_USED(r, i)                                                                            \
    for (unsigned w_ = 0; w_ < REGION_WORDS; w_++)                                                 \
        for (uint64_t b_ = (r)->used_map[w_], i = 0;                                               \
             b_ && ((i = w_ * 64 + (unsigned)__builtin_ctzll(b_)), true); b_ &= b_ - 1)

bool region_stored(struct x86_shadow *s, struct region *r, unsigned from, unsigned to)
{
    uint64_t dead[REGION_WORDS] = {0};
    bool shown = false, any = false, flat = false;
    for (unsigned i = from; i < to; i++) {
        uint64_t now = region_entry_now(s, r, i);
        if (!r->state[i])
            continue;
        shown = true;
        if (still_holds(region_entry(s, r, i), now)) {
            region_note(s, r, i, now);
            continue;
        }
        if (to - from == 1) {
            flat = r->state[i] & PG_FLAT;
            stir(s, r, i);
        }
        set_bit(dead, i, true);
        any = true;
    }
    struct space *sp = &s->space[r->space];
    if (any)
        region_drop(s, sp, r, dead);
    if (flat && (!sp->id || sp == s->owner) && still_holds(r->pde, directory_entry(s, r->base)))
        shadow_refill_flat(s, sp, region_page(r, from) << PAGE_SHIFT);
    return shown;
}

static void region_forget(struct x86_shadow *s, struct space *sp, struct region *r)
{
    EACH_USED(r, i)
    {
        region_remove(s, sp, r, (unsigned)i, PG_ALL);
    }
    region_free(s, r);
}

void space_clear(struct x86_shadow *s, struct space *sp)
{
    while (sp->regions)
        region_forget(s, sp, sp->regions);
    if (sp->window)
        window_clear(sp->window);
    if (sp->flat)
        flat_clear_all(sp->flat);
    s->hooks.space_dropped(s->hooks.opaque, sp->id);
}

void space_window_lost(struct x86_shadow *s, struct space *sp)
{
    for (struct region *r = sp->regions; r; r = r->next)
        EACH_USED(r, i)
        {
            region_remove(s, sp, r, (unsigned)i, PG_WINDOW | PG_WINDOW_W);
        }
}

/* ---- checking -------------------------------------------------------------------------------- */

/* Do the 64 entries from i on differ from the record in anything but the system's bits? What the
 * record says of unused pages does not matter, so true may mean nothing. Plain loops: they become
 * vector code. */
static bool word_changed(const struct x86_shadow *s, const struct region *r, unsigned i)
{
    uint64_t wide = 0;
    uint32_t narrow = 0;
    if (s->pae) {
        const uint64_t *now = (const void *)r->table;
        for (unsigned n = i; n < i + 64; n++)
            wide |= now[n] ^ r->pte.e64[n];
    } else {
        const uint32_t *now = (const void *)r->table;
        for (unsigned n = i; n < i + 64; n++)
            narrow |= now[n] ^ r->pte.e32[n];
    }
    return (wide | narrow) & ~ENT_OS;
}

/* Bits of word w whose entries are not what the record says. */
static uint64_t changed_in_word(const struct x86_shadow *s, const struct region *r, unsigned w,
                                uint64_t check)
{
    uint64_t dead = 0;
    if (!word_changed(s, r, w * 64))
        return 0;
    for (uint64_t bits = check; bits; bits &= bits - 1) {
        unsigned i = w * 64 + (unsigned)__builtin_ctzll(bits);
        uint64_t diff = region_entry(s, r, i) ^ region_entry_now(s, r, i);
        dead |= (diff & ~ENT_OS ? bits & -bits : 0);
    }
    return dead;
}

static void region_validate(struct x86_shadow *s, struct space *sp, struct region *r, bool global)
{
    s->stats.validated_pages += global ? r->used : r->nonglobal;
    if ((directory_entry(s, r->base) ^ r->pde) & ~ENT_OS) {
        region_drop_all(s, sp, r);
        return;
    }
    if (r->large)
        return;
    uint64_t dead[REGION_WORDS], any = 0;
    for (unsigned w = 0; w < REGION_WORDS; w++) {
        uint64_t check = global ? r->used_map[w] : r->used_map[w] & ~r->global_map[w];
        any |= dead[w] = check ? changed_in_word(s, r, w, check) : 0;
    }
    if (any)
        region_drop(s, sp, r, dead);
}

/* Has every directory entry changed? Then this is another process with the same CR3. */
static bool all_changed(const struct x86_shadow *s, const struct space *sp)
{
    for (const struct region *r = sp->regions; r; r = r->next)
        if (!((directory_entry(s, r->base) ^ r->pde) & ~ENT_OS))
            return false;
    return sp->regions;
}

/* Entry i of a space's directories, of which the current ones may be those of no page. */
static uint64_t entry_of(const struct x86_shadow *s, const struct space *by, unsigned i)
{
    if (by == s->owner)
        return directory_entry(s, i << s->region_shift);
    uint32_t page = by->directory[s->pae ? i / 512 : 0];
    const uint8_t *table = table_host(s, (uint64_t)page << PAGE_SHIFT);
    return table ? table_entry(s, table, s->pae ? i % 512 : i) : 0;
}

bool space_check_directory(struct x86_shadow *s, struct space *sp, const struct space *by,
                           unsigned from, unsigned to)
{
    bool any = false;
    for (struct region *r = sp->regions, *next; r; r = next) {
        unsigned i = r->base >> s->region_shift;
        next = r->next;
        if (i < from || i >= to)
            continue;
        uint64_t now = entry_of(s, by, i);
        if (still_holds(r->pde, now)) {
            r->pde = now;
            continue;
        }
        region_drop_all(s, sp, r);
        region_free(s, r);
        any = true;
    }
    return any;
}

void space_validate(struct x86_shadow *s, struct space *sp, bool global)
{
    s->stats.validations++;
    if (sp->id && all_changed(s, sp)) {
        for (const struct region *r = sp->regions; r; r = r->next)
            s->stats.stale_pages += r->used;
        space_clear(s, sp);
        sp->ran = 0;
        sp->promoted = false;
        return;
    }
    for (struct region *r = sp->regions, *next; r; r = next) {
        next = r->next;
        if (r->used && (global || r->nonglobal))
            region_validate(s, sp, r, global);
        if (!r->used)
            region_free(s, r);
    }
}

/* ---- write protection ------------------------------------------------------------------------ */

static void make_readonly(struct x86_shadow *s, struct space *sp, struct region *r, unsigned i)
{
    uint32_t page = region_page(r, i);
    uint8_t state = r->state[i];
    if (!(state & PG_WRITABLE))
        return;
    region_remove(s, sp, r, i, PG_WRITABLE);
    s->stats.protects++;
    if (state & PG_FLAT_W)
        flat_readonly(sp->flat, page);
    if ((state & PG_WINDOW_W) && window_protect(sp->window, page, 1, false) < 0)
        space_window_lost(s, sp);
}

/* The hint is right if the page is writable where it says. */
static bool protect_hinted(struct x86_shadow *s, gpfn_t page)
{
    uint32_t hint = s->writer[page.n];
    struct space *sp = &s->space[hint >> HINT_SHIFT];
    uint32_t lin = hint << PAGE_SHIFT;
    struct region *r = region_at(s, sp, lin);
    unsigned i = page_index(s, lin);
    if (!r || !counted(sp, r) || !(r->state[i] & PG_WRITABLE) || region_gpfn(s, r, i).n != page.n)
        return false;
    make_readonly(s, sp, r, i);
    return true;
}

static void region_protect(struct x86_shadow *s, struct space *sp, struct region *r, gpfn_t page)
{
    EACH_USED(r, i)
    {
        if (region_gpfn(s, r, (unsigned)i).n == page.n)
            make_readonly(s, sp, r, (unsigned)i);
    }
}

static void protect_large(struct x86_shadow *s, struct region *r, gpfn_t page)
{
    if (s->frame_mask != UINT64_MAX) /* with the A20 gate closed a page can appear twice */
        region_protect(s, &s->space[0], r, page);
    else if (page.n - r->frame < 1u << (s->region_shift - PAGE_SHIFT))
        make_readonly(s, &s->space[0], r, (unsigned)(page.n - r->frame));
}

void shadow_protect(struct x86_shadow *s, gpfn_t page)
{
    if (page.n >= PHYS_LIMIT >> PAGE_SHIFT)
        return;
    for (struct region *r = s->space[0].regions; r; r = r->next)
        if (r->large)
            protect_large(s, r, page);
    if (!s->writers[page.n] || (s->writers[page.n] == 1 && protect_hinted(s, page)))
        return;
    for (unsigned n = 0; n < SHADOW_SPACES; n++)
        for (struct region *r = s->space[n].regions; r; r = r->next)
            if (counted(&s->space[n], r))
                region_protect(s, &s->space[n], r, page);
}

void shadow_protect_all(struct x86_shadow *s)
{
    for (unsigned n = 0; n < SHADOW_SPACES; n++)
        for (struct region *r = s->space[n].regions; r; r = r->next)
            EACH_USED(r, i)
            {
                make_readonly(s, &s->space[n], r, (unsigned)i);
            }
}
