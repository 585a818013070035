/* SPDX-License-Identifier: MIT */
/* The slow half of memory access: segment checks, page walks, TLB fills, devices, page crossings,
 * traced pages, alignment checks and data breakpoints. Intel SDM vol. 3A chapters 4 (paging), 5
 * (protection), 17.2 (breakpoints). Sets A and D bits only when the whole walk succeeds. */
#include "isa/x86/debugger.h"
#include "isa/x86/mmu.h"

#include "isa/x86/icache.h"

#define PTE_P  (1u << 0)
#define PTE_RW (1u << 1)
#define PTE_US (1u << 2)
#define PTE_A  (1u << 5)
#define PTE_D  (1u << 6)
#define PTE_PS (1u << 7)
#define PTE_G  (1u << 8)
#define PTE_NX (UINT64_C(1) << 63)

#define PF_P    1u
#define PF_W    2u
#define PF_U    4u
#define PF_RSVD 8u
#define PF_ID   16u

/* MAXPHYADDR is 36: bits 36 to 62 of PAE entries are reserved. */
#define PAE_RESERVED UINT64_C(0x7ffffff000000000)
#define PAE_ADDRESS  UINT64_C(0x0000000ffffff000)

/* ---- page walk -------------------------------------------------------------------------- */

static struct x86_table_entry entry_read(struct x86_vcpu *v, gpa_t gpa, unsigned bytes)
{
    struct x86_table_entry e = {gpa & v->a20_mask, 0, bytes};
    if (phys_read(v->base.mem, e.gpa, &e.value, bytes) < 0)
        e.value = 0; /* a table outside memory reads as not present */
    return e;
}

static void entry_set(struct x86_vcpu *v, struct x86_table_entry *e, uint64_t bits)
{
    if ((e->value & bits) == bits)
        return;
    e->value |= bits;
    phys_write(v->base.mem, e->gpa, &e->value, e->bytes);
}

/* What the entries of a walk say together. */
struct mapping {
    gpa_t base;
    uint32_t bytes;
    bool writable, user, nx, global, large, present, reserved;
};

static void map_32bit(struct x86_vcpu *v, uint32_t lin, struct mapping *m, struct x86_walk *w)
{
    struct x86_table_entry pde = entry_read(v, (v->cr3 & PAGE_MASK) + (lin >> 22) * 4, 4);
    w->entry[0] = pde;
    w->entries = 1;
    if (!(pde.value & PTE_P))
        return;
    m->writable = pde.value & PTE_RW;
    m->user = pde.value & PTE_US;
    if ((pde.value & PTE_PS) && (v->cr4 & CR4_PSE)) {
        m->present = m->large = true;
        m->reserved = pde.value & 0x3e0000; /* PSE-36 with 36 address bits */
        m->base = (pde.value & 0xffc00000) | (pde.value >> 13 & 15) << 32;
        m->bytes = 4 * MIB;
        m->global = pde.value & PTE_G;
        return;
    }
    struct x86_table_entry pte =
        entry_read(v, (pde.value & 0xfffff000) + (lin >> 12 & 0x3ff) * 4, 4);
    w->entry[1] = pte;
    w->entries = 2;
    m->present = pte.value & PTE_P;
    m->writable &= !!(pte.value & PTE_RW);
    m->user &= !!(pte.value & PTE_US);
    m->base = pte.value & 0xfffff000;
    m->bytes = PAGE_BYTES;
    m->global = pte.value & PTE_G;
}

static uint64_t pae_reserved(const struct x86_vcpu *v, uint64_t extra)
{
    return PAE_RESERVED | (v->efer & EFER_NXE ? 0 : PTE_NX) | extra;
}

static void map_pae(struct x86_vcpu *v, uint32_t lin, struct mapping *m, struct x86_walk *w)
{
    uint64_t pdpte = v->pdpte[lin >> 30];
    if (!(pdpte & PTE_P))
        return;
    struct x86_table_entry pde = entry_read(v, (pdpte & PAE_ADDRESS) + (lin >> 21 & 0x1ff) * 8, 8);
    w->entry[0] = pde;
    w->entries = 1;
    if (!(pde.value & PTE_P))
        return;
    m->writable = pde.value & PTE_RW;
    m->user = pde.value & PTE_US;
    m->nx = pde.value & PTE_NX;
    if (pde.value & PTE_PS) {
        m->present = m->large = true;
        m->reserved = pde.value & pae_reserved(v, 0x1fe000);
        m->base = pde.value & PAE_ADDRESS & ~UINT64_C(0x1fffff);
        m->bytes = 2 * MIB;
        m->global = pde.value & PTE_G;
        return;
    }
    m->reserved = pde.value & pae_reserved(v, 0);
    struct x86_table_entry pte =
        entry_read(v, (pde.value & PAE_ADDRESS) + (lin >> 12 & 0x1ff) * 8, 8);
    w->entry[1] = pte;
    w->entries = 2;
    m->present = pte.value & PTE_P;
    m->reserved |= m->present && (pte.value & pae_reserved(v, 0));
    m->writable &= !!(pte.value & PTE_RW);
    m->user &= !!(pte.value & PTE_US);
    m->nx |= !!(pte.value & PTE_NX);
    m->base = pte.value & PAE_ADDRESS;
    m->bytes = PAGE_BYTES;
    m->global = pte.value & PTE_G;
}

static bool permitted(const struct x86_vcpu *v, const struct mapping *m, enum x86_access a,
                      bool user)
{
    if (user && !m->user)
        return false;
    if (a == X86_WRITE && !m->writable && (user || (v->cr0 & CR0_WP)))
        return false;
    return !(a == X86_FETCH && m->nx);
}

/* Bit of tlb_large[lin >> 28] for the 4 MiB around lin. */
static uint64_t large_bit(uint32_t lin)
{
    return UINT64_C(1) << (lin >> 22 & 63);
}

static uint32_t fault_bits(const struct x86_vcpu *v, enum x86_access a, bool user)
{
    bool nx_on = (v->cr4 & CR4_PAE) && (v->efer & EFER_NXE);
    return (a == X86_WRITE ? PF_W : 0) | (user ? PF_U : 0) | (a == X86_FETCH && nx_on ? PF_ID : 0);
}

/* A walk that found something: A and D, and what the walk reports. */
static void finish(struct x86_vcpu *v, uint32_t lin, enum x86_access a, bool user, bool quiet,
                   const struct mapping *m, struct x86_walk *w)
{
    struct x86_table_entry *leaf = &w->entry[w->entries - 1];
    if (!quiet) {
        if (w->entries == 2)
            entry_set(v, &w->entry[0], PTE_A);
        entry_set(v, leaf, PTE_A | (a == X86_WRITE ? PTE_D : 0));
        if (m->large)
            v->tlb_large[lin >> 28] |= large_bit(lin);
    }
    w->present = true;
    w->base = m->base;
    w->bytes = m->bytes;
    w->gpa = (m->base | (lin & (m->bytes - 1))) & v->a20_mask;
    w->dirty = leaf->value & PTE_D;
    w->writable = permitted(v, m, X86_WRITE, user) && w->dirty;
    w->global = m->global && (v->cr4 & CR4_PGE);
    w->user = m->user;
    w->large = m->large;
}

/* x86_walk() without clearing *w first: entries that were not read and, if not present, what is
 * not valid then keep what they held. TLB misses go this way. */
static void walk(struct x86_vcpu *v, uint32_t lin, enum x86_access a, bool user, bool quiet,
                 struct x86_walk *w)
{
    w->entries = 0;
    if (!(v->cr0 & CR0_PG)) {
        w->present = w->writable = w->user = w->dirty = true;
        w->global = w->large = false;
        w->gpa = lin & v->a20_mask;
        w->base = lin & PAGE_MASK;
        w->bytes = PAGE_BYTES;
        return;
    }
    struct mapping m = {0};
    if (v->cr4 & CR4_PAE)
        map_pae(v, lin, &m, w);
    else
        map_32bit(v, lin, &m, w);
    w->present = false;
    w->error = fault_bits(v, a, user);
    if (m.reserved)
        w->error |= PF_P | PF_RSVD;
    else if (m.present && !permitted(v, &m, a, user))
        w->error |= PF_P;
    else if (m.present)
        finish(v, lin, a, user, quiet, &m, w);
}

struct x86_walk x86_walk(struct x86_vcpu *v, uint32_t lin, enum x86_access a, bool user, bool quiet)
{
    struct x86_walk w = {0};
    walk(v, lin, a, user, quiet, &w);
    return w;
}

void x86_load_pdptes(struct x86_vcpu *v, uint32_t cr3)
{
    uint64_t pdpte[4] = {0};
    for (unsigned i = 0; i < 4; i++) {
        pdpte[i] = entry_read(v, (cr3 & ~31u) + i * 8, 8).value;
        if ((pdpte[i] & PTE_P) && (pdpte[i] & (PAE_RESERVED | PTE_NX | 0x1e6)))
            x86_raise_error(v, X86_GP, 0);
    }
    memcpy(v->pdpte, pdpte, sizeof pdpte);
}

/* ---- TLB ------------------------------------------------------------------------------------- */

static uint16_t *writers(struct x86_vcpu *v, uint32_t gpfn)
{
    return &v->tlb_list.writers[gpfn & (X86_TLB_WRITERS - 1)];
}

static void drop_write(struct x86_vcpu *v, struct x86_tlb_entry *t)
{
    if (t->tag_write != X86_TLB_NONE)
        --*writers(v, t->gpfn);
    t->tag_write = X86_TLB_NONE;
}

static void drop_entry(struct x86_vcpu *v, struct x86_tlb_entry *t)
{
    drop_write(v, t);
    t->tag_read = X86_TLB_NONE;
}

static void set_entry(struct x86_vcpu *v, struct x86_tlb_entry *t, const struct x86_tlb_entry *x)
{
    struct x86_tlb_list *l = &v->tlb_list;
    bool listed = t->listed;
    drop_write(v, t);
    *t = *x;
    if (t->tag_write != X86_TLB_NONE)
        ++*writers(v, t->gpfn);
    t->listed = listed || !t->global;
    if (t->listed && !listed)
        l->entry[l->filled++] = (uint16_t)(t - v->tlb_sets[0]);
}

static void flush_all(struct x86_vcpu *v)
{
    for (unsigned u = 0; u < 2; u++)
        for (unsigned i = 0; i < X86_TLB_SIZE; i++) {
            struct x86_tlb_entry *t = &v->tlb_sets[u][i];
            t->tag_read = t->tag_write = X86_TLB_NONE;
            t->listed = false;
        }
    v->tlb_list.filled = 0;
    memset(v->tlb_list.writers, 0, sizeof v->tlb_list.writers);
    memset(v->tlb_large, 0, sizeof v->tlb_large);
}

static void flush_listed(struct x86_vcpu *v)
{
    struct x86_tlb_list *l = &v->tlb_list;
    for (unsigned i = 0; i < l->filled; i++) {
        unsigned n = l->entry[i];
        struct x86_tlb_entry *t = &v->tlb_sets[n / X86_TLB_SIZE][n % X86_TLB_SIZE];
        t->listed = false;
        if (!t->global)
            drop_entry(v, t);
    }
    l->filled = 0;
}

static void flush_tlb(struct x86_vcpu *v, bool keep_global)
{
    if (keep_global)
        flush_listed(v);
    else
        flush_all(v);
    x86_icache_forget_translations(v->icache);
}

void x86_tlb_flush(struct x86_vcpu *v, bool keep_global)
{
    flush_tlb(v, keep_global);
    if (v->shadow.flush)
        v->shadow.flush(v->shadow.opaque, keep_global);
}

void x86_tlb_flush_page(struct x86_vcpu *v, uint32_t lin)
{
    if (v->shadow.flush_page)
        v->shadow.flush_page(v->shadow.opaque, lin);
    if (v->tlb_large[lin >> 28] & large_bit(lin)) {
        flush_tlb(v, false); /* every fragment of the large page must go */
        return;
    }
    for (unsigned u = 0; u < 2; u++) {
        struct x86_tlb_entry *t = &v->tlb_sets[u][lin >> PAGE_SHIFT & (X86_TLB_SIZE - 1)];
        uint64_t page = lin & PAGE_MASK;
        if (t->tag_read == page || t->tag_write == page)
            drop_entry(v, t);
    }
    x86_icache_forget_translations(v->icache);
}

void x86_tlb_protect(struct x86_vcpu *v, gpfn_t page)
{
    if (!*writers(v, (uint32_t)page.n))
        return;
    for (unsigned u = 0; u < 2; u++)
        for (unsigned i = 0; i < X86_TLB_SIZE; i++) {
            struct x86_tlb_entry *t = &v->tlb_sets[u][i];
            if (t->gpfn == page.n)
                drop_write(v, t);
        }
}

/* ---- resolving one access within one page ----------------------------------------------- */

struct target {
    uint8_t *host; /* NULL: device or nothing there */
    gpa_t gpa;
    bool rom, traced;
};

static _Noreturn void page_fault(struct x86_vcpu *v, uint32_t lin, uint32_t error)
{
    v->cr2 = lin;
    x86_raise_error(v, X86_PF, error);
}

/* Translate, raising the page fault if there is one, and remember plain memory in the TLB. */
static struct target resolve(struct x86_vcpu *v, uint32_t lin, enum x86_access a, bool user)
{
    struct x86_tlb_entry *t = &v->tlb_sets[user][lin >> PAGE_SHIFT & (X86_TLB_SIZE - 1)];
    uint64_t page = lin & PAGE_MASK;
    if (a == X86_READ ? t->tag_read == page : t->tag_write == page)
        return (struct target){(uint8_t *)(t->addend + lin),
                               (gpa_t)t->gpfn << PAGE_SHIFT | (lin & ~PAGE_MASK), false, false};

    struct x86_walk w;
    walk(v, lin, a, user, false, &w);
    if (!w.present)
        page_fault(v, lin, w.error);
    struct phys_page p = phys_page(v->base.mem, gpa_page(w.gpa));
    if (p.kind == PHYS_NONE) {
        v->base.stats.fault_device++;
        return (struct target){NULL, w.gpa, false, false};
    }
    struct target r = {p.host + (lin & ~PAGE_MASK), w.gpa, p.kind == PHYS_ROM, p.wp != 0};
    if (t->tag_read != page)
        v->base.stats.fault_hidden++;
    struct x86_tlb_entry filled = {
        .tag_read = page,
        .tag_write = w.writable && p.kind == PHYS_RAM && !p.wp ? page : X86_TLB_NONE,
        .addend = (uintptr_t)p.host - page,
        .gpfn = (uint32_t)gpa_page(w.gpa).n,
        .global = w.global,
    };
    set_entry(v, t, &filled);
    return r;
}

static void load(struct x86_vcpu *v, struct target t, void *buf, unsigned n)
{
    if (t.host) {
        memcpy(buf, t.host, n);
        return;
    }
    v->base.stats.exits[EXIT_MMIO]++;
    if (n == 1 || n == 2 || n == 4 || n == 8) {
        uint64_t x = bus_read(v->base.mmio, t.gpa, n);
        memcpy(buf, &x, n);
    } else {
        for (unsigned i = 0; i < n; i++)
            ((uint8_t *)buf)[i] = (uint8_t)bus_read(v->base.mmio, t.gpa + i, 1);
    }
}

static void store(struct x86_vcpu *v, struct target t, const void *buf, unsigned n)
{
    if (t.rom)
        return;
    if (t.host) {
        memcpy(t.host, buf, n);
        if (t.traced)
            wp_written(v->base.mem, t.gpa, n);
        return;
    }
    v->base.stats.exits[EXIT_MMIO]++;
    if (n == 1 || n == 2 || n == 4 || n == 8) {
        uint64_t x = 0;
        memcpy(&x, buf, n);
        bus_write(v->base.mmio, t.gpa, n, x);
    } else {
        for (unsigned i = 0; i < n; i++)
            bus_write(v->base.mmio, t.gpa + i, 1, ((const uint8_t *)buf)[i]);
    }
}

/* An access of up to 512 bytes: at most two pages, both resolved before anything moves. */
struct span {
    struct target part[2];
    unsigned first; /* bytes in the first page */
};

static struct span resolve_span(struct x86_vcpu *v, uint32_t lin, unsigned n, enum x86_access a,
                                bool user)
{
    struct span s;
    unsigned room = (unsigned)(PAGE_BYTES - (lin & ~PAGE_MASK));
    s.part[0] = resolve(v, lin, a, user);
    s.first = n <= room ? n : room;
    if (n > room)
        s.part[1] = resolve(v, lin + room, a, user);
    return s;
}

static void span_load(struct x86_vcpu *v, const struct span *s, void *buf, unsigned n)
{
    load(v, s->part[0], buf, s->first);
    if (n > s->first)
        load(v, s->part[1], (uint8_t *)buf + s->first, n - s->first);
}

static void span_store(struct x86_vcpu *v, const struct span *s, const void *buf, unsigned n)
{
    store(v, s->part[0], buf, s->first);
    if (n > s->first)
        store(v, s->part[1], (const uint8_t *)buf + s->first, n - s->first);
}

/* ---- segment checks --------------------------------------------------------------------- */

/* SDM vol. 3A 5.3: is [off, off+n) inside? */
static bool within_limit(const struct x86_seg *s, uint32_t off, unsigned n)
{
    uint64_t last = (uint64_t)off + n - 1;
    bool expand_down =
        (s->attr & (SEG_S | SEG_CODE | SEG_EXPAND_DOWN)) == (SEG_S | SEG_EXPAND_DOWN);
    if (expand_down)
        return off > s->limit && last <= (s->attr & SEG_DB ? UINT32_MAX : UINT16_MAX);
    return last <= s->limit;
}

/* Segment type allows the access; in real and v8086 mode every segment is read-write. */
static bool type_allows(const struct x86_vcpu *v, const struct x86_seg *s, bool write)
{
    if (x86_real_or_v86(v))
        return true;
    if (!(s->attr & SEG_P))
        return false;
    if (s->attr & SEG_CODE)
        return !write && (s->attr & SEG_READABLE);
    return !write || (s->attr & SEG_WRITABLE);
}

static uint32_t check_segment(struct x86_vcpu *v, enum x86_sreg sreg, uint32_t off, unsigned n,
                              bool write)
{
    const struct x86_seg *s = &v->seg[sreg];
    if (!type_allows(v, s, write) || !within_limit(s, off, n))
        x86_raise_error(v, sreg == X86_SS ? X86_SSF : X86_GP, 0);
    return (uint32_t)s->base + off;
}

/* What operands of a size must be aligned to (SDM vol. 3A table 6-7): 80-bit numbers to 8 bytes,
 * FPU environments and states of 16-bit or 32-bit format to their fields. */
static unsigned alignment_of(unsigned size)
{
    switch (size) {
    case 10:
        return 8;
    case 14:
    case 94:
        return 2;
    case 28:
    case 108:
        return 4;
    default:
        return size & (size - 1) ? 1 : size;
    }
}

static void check_alignment(struct x86_vcpu *v, uint32_t lin, unsigned size)
{
    if (v->user && (v->cr0 & CR0_AM) && (v->eflags & FL_AC) && (lin & (alignment_of(size) - 1)))
        x86_raise_error(v, X86_AC, 0);
}

/* Note enabled breakpoints on [at, at+n) whose R/W field is in `types` (bit per value); the trap
 * comes after the instruction (SDM vol. 3B 17.2). */
static void note_breakpoints(struct x86_vcpu *v, uint32_t at, unsigned n, unsigned types)
{
    static const uint8_t lengths[] = {1, 2, 8, 4};
    uint32_t dr7 = v->dr[7];
    for (unsigned i = 0; i < 4; i++) {
        unsigned type = dr7 >> (16 + 4 * i) & 3, len = lengths[dr7 >> (18 + 4 * i) & 3];
        if (!(dr7 >> (2 * i) & 3) || !(types >> type & 1))
            continue;
        uint32_t start = v->dr[i] & ~(uint32_t)(len - 1);
        if ((uint64_t)at < (uint64_t)start + len && start < (uint64_t)at + n)
            v->dr6_pending |= 1u << i;
    }
    if (v->dr6_pending)
        x86_update_debug(v);
}

/* R/W values: 0 fetch, 1 write, 2 port (with CR4.DE), 3 read or write. */
static void check_breakpoints(struct x86_vcpu *v, uint32_t lin, unsigned n, bool write)
{
    if (unlikely(v->dr[7] & 0xff))
        note_breakpoints(v, lin, n, write ? 1u << 1 | 1u << 3 : 1u << 3);
    if (unlikely(v->debugger.watches))
        x86_debugger_access(v, lin, n, write);
}

void x86_check_port_breakpoints(struct x86_vcpu *v, uint16_t port, unsigned size)
{
    if (unlikely(v->dr[7] & 0xff) && (v->cr4 & CR4_DE))
        note_breakpoints(v, port, size, 1u << 2);
}

/* ---- the accessors ---------------------------------------------------------------------- */

uint64_t x86_read_slow(struct x86_vcpu *v, enum x86_sreg s, uint32_t off, unsigned size)
{
    uint32_t lin = check_segment(v, s, off, size, false);
    check_alignment(v, lin, size);
    struct span sp = resolve_span(v, lin, size, X86_READ, v->user);
    check_breakpoints(v, lin, size, false);
    uint64_t x = 0;
    span_load(v, &sp, &x, size);
    return x;
}

void x86_write_slow(struct x86_vcpu *v, enum x86_sreg s, uint32_t off, unsigned size, uint64_t x)
{
    uint32_t lin = check_segment(v, s, off, size, true);
    check_alignment(v, lin, size);
    struct span sp = resolve_span(v, lin, size, X86_WRITE, v->user);
    check_breakpoints(v, lin, size, true);
    span_store(v, &sp, &x, size);
}

uint64_t x86_rmw_slow(struct x86_vcpu *v, enum x86_sreg s, uint32_t off, unsigned size)
{
    uint32_t lin = check_segment(v, s, off, size, true);
    if (!type_allows(v, &v->seg[s], false))
        x86_raise_error(v, s == X86_SS ? X86_SSF : X86_GP, 0);
    check_alignment(v, lin, size);
    struct span sp = resolve_span(v, lin, size, X86_WRITE, v->user);
    uint64_t x = 0;
    span_load(v, &sp, &x, size);
    return x;
}

void x86_read_bytes(struct x86_vcpu *v, enum x86_sreg s, uint32_t off, void *buf, unsigned n)
{
    uint32_t lin = check_segment(v, s, off, n, false);
    check_alignment(v, lin, n);
    struct span sp = resolve_span(v, lin, n, X86_READ, v->user);
    check_breakpoints(v, lin, n, false);
    span_load(v, &sp, buf, n);
}

void x86_write_bytes(struct x86_vcpu *v, enum x86_sreg s, uint32_t off, const void *buf, unsigned n)
{
    uint32_t lin = check_segment(v, s, off, n, true);
    check_alignment(v, lin, n);
    struct span sp = resolve_span(v, lin, n, X86_WRITE, v->user);
    check_breakpoints(v, lin, n, true);
    span_store(v, &sp, buf, n);
}

void x86_probe_write(struct x86_vcpu *v, enum x86_sreg s, uint32_t off, unsigned n)
{
    uint32_t lin = check_segment(v, s, off, n, true);
    check_alignment(v, lin, n);
    resolve_span(v, lin, n, X86_WRITE, v->user);
}

/* Several operands, each of which checks its own alignment. */
static void probe_operands(struct x86_vcpu *v, enum x86_sreg s, uint32_t off, unsigned n)
{
    resolve_span(v, check_segment(v, s, off, n, true), n, X86_WRITE, v->user);
}

void x86_probe_stack_write(struct x86_vcpu *v, unsigned n)
{
    uint32_t bottom = (x86_sp(v) - n) & v->sp_mask;
    if ((uint64_t)bottom + n <= (uint64_t)v->sp_mask + 1) {
        probe_operands(v, X86_SS, bottom, n);
        return;
    }
    unsigned below_top = (unsigned)((uint64_t)v->sp_mask + 1 - bottom); /* the stack wraps */
    probe_operands(v, X86_SS, bottom, below_top);
    probe_operands(v, X86_SS, 0, n - below_top);
}

/* Accesses by linear address with a TLB hit are most of what an interrupt costs: no struct span
 * for them. */
static uint64_t linear_read(struct x86_vcpu *v, uint32_t lin, unsigned size, bool user)
{
    const struct x86_tlb_entry *t = &v->tlb_sets[user][lin >> PAGE_SHIFT & (X86_TLB_SIZE - 1)];
    uint64_t x = 0;
    if (likely(((uint64_t)(lin + (size - 1)) & PAGE_MASK) == t->tag_read)) {
        const uint8_t *p = (const uint8_t *)(t->addend + lin);
        if (size == 8) { /* descriptors; a constant size is one load, not a call */
            memcpy(&x, p, 8);
            return x;
        }
        if (size == 4) {
            memcpy(&x, p, 4);
            return x;
        }
        memcpy(&x, p, size);
        return x;
    }
    struct span sp = resolve_span(v, lin, size, X86_READ, user);
    span_load(v, &sp, &x, size);
    return x;
}

static void linear_write(struct x86_vcpu *v, uint32_t lin, unsigned size, uint64_t x, bool user)
{
    const struct x86_tlb_entry *t = &v->tlb_sets[user][lin >> PAGE_SHIFT & (X86_TLB_SIZE - 1)];
    if (likely(((uint64_t)(lin + (size - 1)) & PAGE_MASK) == t->tag_write)) {
        uint8_t *p = (uint8_t *)(t->addend + lin);
        if (size == 4)
            memcpy(p, &x, 4); /* a constant size is one store, not a call */
        else
            memcpy(p, &x, size);
        return;
    }
    struct span sp = resolve_span(v, lin, size, X86_WRITE, user);
    span_store(v, &sp, &x, size);
}

uint64_t x86_sys_read(struct x86_vcpu *v, uint32_t lin, unsigned size)
{
    return linear_read(v, lin, size, false);
}

void x86_sys_write(struct x86_vcpu *v, uint32_t lin, unsigned size, uint64_t x)
{
    linear_write(v, lin, size, x, false);
}

void x86_sys_probe_write(struct x86_vcpu *v, uint32_t lin, unsigned n)
{
    resolve_span(v, lin, n, X86_WRITE, false);
}

/* Limit and type of a stack that is not in SS yet. */
static uint32_t check_stack(struct x86_vcpu *v, const struct x86_seg *ss, uint32_t off, unsigned n,
                            bool write, enum x86_vector vector, uint32_t error)
{
    if (!type_allows(v, ss, write) || !within_limit(ss, off, n))
        x86_raise_error(v, vector, error);
    return (uint32_t)ss->base + off;
}

void x86_stack_write(struct x86_vcpu *v, const struct x86_seg *ss, unsigned cpl, uint32_t off,
                     unsigned size, uint32_t x, enum x86_vector vector, uint32_t error)
{
    uint32_t lin = check_stack(v, ss, off, size, true, vector, error);
    linear_write(v, lin, size, x, cpl == 3);
}

uint32_t x86_stack_read(struct x86_vcpu *v, const struct x86_seg *ss, unsigned cpl, uint32_t off,
                        unsigned size, enum x86_vector vector, uint32_t error)
{
    uint32_t lin = check_stack(v, ss, off, size, false, vector, error);
    return (uint32_t)linear_read(v, lin, size, cpl == 3);
}

gpa_t x86_fetch_gpa(struct x86_vcpu *v, uint32_t lin)
{
    struct x86_walk w = x86_walk(v, lin, X86_FETCH, v->user, false);
    if (!w.present)
        page_fault(v, lin, w.error);
    return w.gpa;
}
