/* SPDX-License-Identifier: MIT */
/* The slow half of memory access: segments, translation, soft TLB fills, devices, watched pages,
 * alignment (vol. III chapter 4).
 *
 * Physical addresses have 32 bits. Data accesses where there is neither memory nor a device read as
 * all ones; fetching instructions from anything but memory is a bus error. Cacheability attributes
 * mean nothing: memory is always coherent. */
#include "isa/mips32/mmu.h"

#include "isa/mips32/debugger.h"
#include "isa/mips32/views.h"

#define UNMAPPED_MASK 0x1fffffffu

/* ---- translation ----------------------------------------------------------------------------- */

static bool allowed(const struct mips32_vcpu *v, uint32_t va, enum mips32_mode mode)
{
    if (va < KSEG0 || mode == MIPS32_KERNEL)
        return true;
    return mode == MIPS32_SUPERVISOR && va >= KSEG2 && va < KSEG3;
}

struct mips32_translation mips32_translate(const struct mips32_vcpu *v, uint32_t va,
                                           enum mips32_access a, enum mips32_mode mode)
{
    if (!allowed(v, va, mode))
        return (struct mips32_translation){.result = MIPS32_NOT_ALLOWED};
    if (va >= KSEG0 && va < KSEG2)
        return (struct mips32_translation){MIPS32_MAPPED, va & UNMAPPED_MASK, true};
    if (va < KSEG0 && (v->cp0.status & ST_ERL))
        return (struct mips32_translation){MIPS32_MAPPED, va, true};
    int i = mips32_tlb_find(v, va, v->cp0.entry_hi & HI_ASID);
    const struct mips32_tlb_entry *t =
        i >= 0 ? &v->tlb[i] : mips32_tlb_victim(v, va, v->cp0.entry_hi & HI_ASID);
    if (!t)
        return (struct mips32_translation){.result = MIPS32_NO_ENTRY};
    uint32_t within = (t->mask | PAGEMASK_FIXED) >> 1; /* of one page of the two */
    uint32_t lo = t->lo[va & (within + 1) ? 1 : 0];
    if (i < 0 && (!(lo & LO_V) || (a == MIPS32_WRITE && !(lo & LO_D))))
        return (struct mips32_translation){.result = MIPS32_NO_ENTRY}; /* of victims */
    if (!(lo & LO_V))
        return (struct mips32_translation){.result = MIPS32_INVALID};
    if (a == MIPS32_WRITE && !(lo & LO_D))
        return (struct mips32_translation){.result = MIPS32_CLEAN};
    uint32_t frame = lo << 6 & (uint32_t)PAGE_MASK;
    return (struct mips32_translation){MIPS32_MAPPED, (frame & ~within) | (va & within), lo & LO_D,
                                       !t->global};
}

static _Noreturn void fault(struct mips32_vcpu *v, uint32_t va, enum mips32_access a,
                            const struct mips32_translation *t)
{
    bool store = a == MIPS32_WRITE;
    if (t->result == MIPS32_NOT_ALLOWED)
        mips32_raise_address(v, store ? EXC_ADES : EXC_ADEL, va, false);
    if (t->result == MIPS32_CLEAN)
        mips32_raise_address(v, EXC_MOD, va, false);
    mips32_raise_address(v, store ? EXC_TLBS : EXC_TLBL, va, t->result == MIPS32_NO_ENTRY);
}

static struct mips32_translation translate_or_fault(struct mips32_vcpu *v, uint32_t va,
                                                    unsigned size, enum mips32_access a)
{
    if (va & (size - 1))
        mips32_raise_address(v, a == MIPS32_WRITE ? EXC_ADES : EXC_ADEL, va, false);
    struct mips32_translation t = mips32_translate(v, va, a, v->mode);
    if (t.result != MIPS32_MAPPED)
        fault(v, va, a, &t);
    return t;
}

uint32_t mips32_probe(struct mips32_vcpu *v, uint32_t va, unsigned size, enum mips32_access a)
{
    const struct mips32_soft *s = mips32_soft_at(v, va);
    if (mips32_tag(va, size) == (a == MIPS32_WRITE ? s->write : s->read))
        return s->gpfn << PAGE_SHIFT | (va & ~(uint32_t)PAGE_MASK);
    return translate_or_fault(v, va, size, a).gpa;
}

/* ---- the soft TLB ---------------------------------------------------------------------------- */

static void drop(struct mips32_soft *s)
{
    s->read = s->write = s->fetch = MIPS32_SOFT_NONE;
}

void mips32_soft_flush(struct mips32_vcpu *v)
{
    for (unsigned m = 0; m < MIPS32_MODES; m++)
        for (unsigned i = 0; i < MIPS32_SOFT_SIZE; i++)
            drop(&v->soft_sets[m][i]);
    mips32_views_drop_all(v);
}

static void drop_page(struct mips32_vcpu *v, uint32_t va)
{
    for (unsigned m = 0; m < MIPS32_MODES; m++) {
        struct mips32_soft *s = &v->soft_sets[m][va >> PAGE_SHIFT & (MIPS32_SOFT_SIZE - 1)];
        if (s->read == va || s->write == va || s->fetch == va)
            drop(s);
    }
}

void mips32_soft_drop(struct mips32_vcpu *v, uint32_t va, uint64_t bytes)
{
    if (bytes / PAGE_BYTES > MIPS32_SOFT_SIZE) {
        mips32_soft_flush(v);
        return;
    }
    for (uint64_t done = 0; done < bytes; done += PAGE_BYTES)
        drop_page(v, va + (uint32_t)done);
}

void mips32_soft_protect(struct mips32_vcpu *v, gpfn_t page)
{
    for (unsigned m = 0; m < MIPS32_MODES; m++)
        for (unsigned i = 0; i < MIPS32_SOFT_SIZE; i++)
            if (v->soft_sets[m][i].gpfn == page.n)
                v->soft_sets[m][i].write = MIPS32_SOFT_NONE;
    mips32_views_protect(v, page);
}

void mips32_note_asid_page(struct mips32_vcpu *v, uint32_t va)
{
    struct mips32_asid_pages *p = &v->asid_pages;
    uint32_t page = va & (uint32_t)PAGE_MASK;
    if (p->count > MIPS32_ASID_PAGES || (p->count && p->va[p->count - 1] == page))
        return;
    if (p->count < MIPS32_ASID_PAGES)
        p->va[p->count] = page;
    p->count++;
}

void mips32_leave_asid(struct mips32_vcpu *v)
{
    struct mips32_asid_pages *p = &v->asid_pages;
    if (p->count > MIPS32_ASID_PAGES) {
        for (unsigned m = 0; m < MIPS32_MODES; m++)
            for (unsigned i = 0; i < MIPS32_SOFT_SIZE; i++)
                drop(&v->soft_sets[m][i]);
        mips32_views_leave_asid(v, NULL, 0);
    } else {
        for (unsigned i = 0; i < p->count; i++)
            drop_page(v, p->va[i]);
        mips32_views_leave_asid(v, p->va, p->count);
    }
    p->count = 0;
}

/* The entry for va, filled for reading and, if that needs no watching, for writing. Entries whose
 * every use a debugger wants to see are not made. */
static void fill(struct mips32_vcpu *v, uint32_t va, const struct mips32_translation *t,
                 const struct phys_page *p)
{
    struct mips32_soft *s = mips32_soft_at(v, va);
    uint32_t page = va & (uint32_t)PAGE_MASK;
    if (v->debugger.watches)
        return;
    if (s->fetch != page)
        s->fetch = MIPS32_SOFT_NONE;
    if (t->own_asid)
        mips32_note_asid_page(v, va);
    s->read = page;
    s->gpfn = t->gpa >> PAGE_SHIFT;
    s->addend = (uintptr_t)p->host - page;
    s->write = t->writable && p->kind == PHYS_RAM && !p->wp ? page : MIPS32_SOFT_NONE;
    v->base.stats.fault_hidden++;
}

/* ---- data ------------------------------------------------------------------------------------ */

static uint64_t swap(const struct mips32_vcpu *v, uint64_t x, unsigned size)
{
    return v->big_endian ? __builtin_bswap64(x) >> (64 - 8 * size) : x;
}

uint64_t mips32_read_slow(struct mips32_vcpu *v, uint32_t va, unsigned size)
{
    struct mips32_translation t = translate_or_fault(v, va, size, MIPS32_READ);
    struct phys_page p = phys_page(v->base.mem, gpa_page(t.gpa));
    if (unlikely(v->debugger.watches))
        mips32_debugger_access(v, va, size, false);
    if (p.kind == PHYS_NONE) {
        v->base.stats.exits[EXIT_MMIO]++;
        return bus_read(v->base.mmio, t.gpa, size);
    }
    fill(v, va, &t, &p);
    uint64_t x = 0;
    memcpy(&x, p.host + (va & ~(uint32_t)PAGE_MASK), size);
    return swap(v, x, size);
}

/* Bytes in the order of memory, within one page. */
static void store(struct mips32_vcpu *v, uint32_t gpa, const struct phys_page *p, const void *bytes,
                  unsigned n)
{
    if (p->kind != PHYS_RAM)
        return;
    memcpy(p->host + (gpa & ~(uint32_t)PAGE_MASK), bytes, n);
    if (p->wp)
        wp_written(v->base.mem, gpa, n);
}

void mips32_write_slow(struct mips32_vcpu *v, uint32_t va, unsigned size, uint64_t x)
{
    struct mips32_translation t = translate_or_fault(v, va, size, MIPS32_WRITE);
    struct phys_page p = phys_page(v->base.mem, gpa_page(t.gpa));
    if (unlikely(v->debugger.watches))
        mips32_debugger_access(v, va, size, true);
    if (p.kind == PHYS_NONE) {
        v->base.stats.exits[EXIT_MMIO]++;
        bus_write(v->base.mmio, t.gpa, size, x);
        return;
    }
    fill(v, va, &t, &p);
    x = swap(v, x, size);
    store(v, t.gpa, &p, &x, size);
}

void mips32_write_bytes(struct mips32_vcpu *v, uint32_t va, uint32_t at, const uint8_t *bytes,
                        unsigned n)
{
    const struct mips32_soft *s = mips32_soft_at(v, va);
    if (likely(mips32_tag(va, 1) == s->write)) {
        memcpy((void *)(s->addend + at), bytes, n);
        return;
    }
    struct mips32_translation t = translate_or_fault(v, va, 1, MIPS32_WRITE);
    struct phys_page p = phys_page(v->base.mem, gpa_page(t.gpa));
    uint32_t gpa = t.gpa - va + at;
    if (unlikely(v->debugger.watches))
        mips32_debugger_access(v, at, n, true);
    if (p.kind != PHYS_NONE) {
        store(v, gpa, &p, bytes, n);
        return;
    }
    v->base.stats.exits[EXIT_MMIO]++;
    for (unsigned i = 0; i < n; i++)
        bus_write(v->base.mmio, gpa + i, 1, bytes[i]);
}

/* ---- instructions ---------------------------------------------------------------------------- */

const struct mips32_insn *mips32_fetch_slow(struct mips32_vcpu *v, uint32_t va)
{
    struct mips32_translation t = translate_or_fault(v, va, 4, MIPS32_FETCH);
    struct phys_page p = phys_page(v->base.mem, gpa_page(t.gpa));
    if (p.kind == PHYS_NONE)
        mips32_raise(v, EXC_IBE);
    if (t.own_asid)
        mips32_note_asid_page(v, va);
    struct mips32_soft *s = mips32_soft_at(v, va);
    struct mips32_code_page *pg = mips32_icache_page(v, gpa_page(t.gpa));
    uint32_t page = va & (uint32_t)PAGE_MASK;
    if (s->read != page)
        s->read = s->write = MIPS32_SOFT_NONE;
    s->gpfn = t.gpa >> PAGE_SHIFT;
    s->fetch = page;
    s->code = pg;
    return &pg->insn[va >> 2 & (MIPS32_PAGE_INSNS - 1)];
}
