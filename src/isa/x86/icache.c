/* SPDX-License-Identifier: MIT */
/* Decoded-instruction cache: see icache.h.
 *
 * An instruction that crosses a page is not part of any page: it lives in a small table and is
 * trusted only if its bytes are still the same. Everything else is exact through WP_CODE: the
 * first instruction decoded from a page write-protects it, a store to the page clears the slots it
 * can overlap, and after many stores beside code the page is forgotten and writable again. Slots
 * are never reused, so the instruction being executed stays valid even when it overwrites itself;
 * pages start afresh when they run out of slots.
 *
 * All of it lies in one arena of huge pages, from which memory is only taken: a guest that wakes up
 * for a timer tick finds cold caches, and host TLB misses were a tenth of what that costs. When
 * the arena is used up everything is dropped. */
#include "isa/x86/icache.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "isa/x86/mmu.h"

#define MAX_INSN       15u
#define HASH_SIZE      1024u /* power of two */
#define FETCH_TLB_SIZE 512u  /* power of two */
#define STRADDLE_SIZE  512u  /* power of two */
#define CHUNK_SHIFT    6

#define PATIENCE_MIN      16u /* stores beside code before the code is forgotten */
#define PATIENCE_LOG2_MAX 10u

struct fetch_entry {
    uint64_t key; /* linear page | user | code size bit; FETCH_NONE when empty */
    uint64_t generation;
    struct x86_icache_page *page;
    struct x86_insn *insns; /* page->insns */
    gpfn_t gpfn;            /* page->gpfn */
};

struct straddle {
    uint8_t bytes[MAX_INSN];
    uint8_t count;     /* of bytes the decoder looked at; more than insn.len for undefined ones */
    uint8_t code_size; /* 0 when empty */
    uint32_t lin;
    struct x86_insn insn;
};

struct x86_icache_private {
    struct x86_vcpu *v;
    uint64_t generation; /* of fetch entries; counts translation changes */
    uint8_t *arena;      /* X86_ICACHE_BYTES */
    size_t used;         /* bytes of it taken */
    bool full;           /* drop everything before the next lookup */
    struct x86_icache_page *hash[HASH_SIZE];
    struct fetch_entry fetch[FETCH_TLB_SIZE];
    struct straddle straddle[STRADDLE_SIZE];
    struct x86_insn uncached; /* from device memory */
};

struct x86_icache *x86_icache_new(struct x86_vcpu *v, struct err *e)
{
    struct x86_icache *c = calloc(1, sizeof *c);
    struct x86_icache_private *p = calloc(1, sizeof *p);
    if (!c || !p) {
        free(c);
        free(p);
        err_set(e, ENOMEM, "out-of-memory", "no memory for the cache of decoded instructions");
        return NULL;
    }
    p->arena = mmap(NULL, X86_ICACHE_BYTES, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p->arena == MAP_FAILED) {
        err_set(e, errno, "out-of-memory", "cannot map the cache of decoded instructions: %s",
                strerror(errno));
        free(c);
        free(p);
        return NULL;
    }
    madvise(p->arena, X86_ICACHE_BYTES, MADV_HUGEPAGE); /* only a wish */
    p->v = v;
    p->generation = 1;
    c->p = p;
    c->window_lin = X86_WINDOW_NONE;
    return c;
}

void x86_icache_free(struct x86_icache *c)
{
    if (!c)
        return;
    munmap(c->p->arena, X86_ICACHE_BYTES);
    free(c->p);
    free(c);
}

/* Cache-line aligned and zeroed, or NULL when the arena is used up. */
static void *take(struct x86_icache_private *p, size_t bytes)
{
    bytes = (bytes + 63) & ~(size_t)63;
    if (bytes > X86_ICACHE_BYTES - p->used) {
        p->full = true;
        return NULL;
    }
    void *m = p->arena + p->used;
    p->used += bytes;
    return memset(m, 0, bytes);
}

void x86_icache_forget_translations(struct x86_icache *c)
{
    c->p->generation++;
    x86_icache_leave_window(c);
}

/* ---- pages ------------------------------------------------------------------------------ */

static struct x86_icache_page **bucket(struct x86_icache *c, gpfn_t gpfn)
{
    return &c->p->hash[gpfn.n & (HASH_SIZE - 1)];
}

static struct x86_icache_page *find_page(struct x86_icache *c, gpfn_t gpfn, unsigned code_size)
{
    struct x86_icache_page *pg = *bucket(c, gpfn);
    while (pg && (pg->gpfn.n != gpfn.n || pg->code_size != code_size))
        pg = pg->next;
    return pg;
}

void x86_icache_flush(struct x86_icache *c)
{
    struct phys *mem = c->p->v->base.mem;
    for (unsigned h = 0; h < HASH_SIZE; h++) {
        for (const struct x86_icache_page *pg = c->p->hash[h]; pg; pg = pg->next)
            wp_drop(mem, pg->gpfn, WP_CODE);
        c->p->hash[h] = NULL;
    }
    c->p->used = 0;
    c->p->full = false;
    x86_icache_forget_translations(c);
}

static struct x86_icache_page *new_page(struct x86_icache *c, gpfn_t gpfn, unsigned code_size)
{
    struct x86_icache_page *pg = take(c->p, sizeof *pg);
    if (!pg)
        return NULL;
    pg->gpfn = gpfn;
    pg->code_size = (uint8_t)code_size;
    pg->count = 1; /* slot 0 means none */
    pg->next = *bucket(c, gpfn);
    *bucket(c, gpfn) = pg;
    return pg;
}

/* Before bytes of it are decoded. */
static void protect(struct x86_icache *c, struct x86_icache_page *pg)
{
    if (pg->protected)
        return;
    pg->protected = true;
    wp_add(c->p->v->base.mem, pg->gpfn, WP_CODE);
}

/* A free slot, or 0 when the arena is used up. */
static unsigned new_slot(struct x86_icache *c, struct x86_icache_page *pg)
{
    if (pg->count == X86_ICACHE_PAGE_INSNS) {
        memset(pg->at, 0, sizeof pg->at);
        pg->count = 1;
        pg->last_end = 0;
    }
    if (pg->count >= pg->room) {
        unsigned room = pg->room ? pg->room * 2u : 32;
        struct x86_insn *bigger = take(c->p, room * sizeof *bigger);
        if (!bigger)
            return 0;
        if (pg->insns)
            memcpy(bigger, pg->insns, pg->count * sizeof *bigger);
        x86_icache_forget_translations(c); /* fetch entries know the old place */
        pg->insns = bigger;
        pg->room = (uint16_t)room;
    }
    return pg->count++;
}

/* Nothing of the page counts as decoded any more; no slot is used again. */
static void forget(struct x86_icache *c, struct x86_icache_page *pg)
{
    memset(pg->at, 0, sizeof pg->at);
    if (pg->count > 1)
        for (unsigned i = 0; i < pg->count; i++)
            pg->insns[i].runs_on = false;
    pg->used_chunks = 0;
    pg->last_end = 0;
    pg->stray = 0;
    pg->protected = false;
    if (pg->patience < PATIENCE_LOG2_MAX)
        pg->patience++;
    x86_icache_leave_window(c);
}

/* The page became data, or holds both: each store beside the code takes the slow way, so after some
 * of them the code goes, and the protection with it. Twice as many each time. */
static void tire(struct x86_icache *c, gpfn_t gpfn)
{
    bool held = false;
    for (struct x86_icache_page *pg = *bucket(c, gpfn); pg; pg = pg->next) {
        if (pg->gpfn.n != gpfn.n)
            continue;
        if (pg->protected && ++pg->stray >= PATIENCE_MIN << pg->patience)
            forget(c, pg);
        held |= pg->protected;
    }
    if (!held)
        wp_drop(c->p->v->base.mem, gpfn, WP_CODE);
}

/* True if an instruction was hit. */
static bool invalidate_in(struct x86_icache *c, struct x86_icache_page *pg, unsigned from,
                          unsigned to)
{
    unsigned first = from >> CHUNK_SHIFT, last = (to - 1) >> CHUNK_SHIFT;
    uint64_t mask = (~UINT64_C(0) >> (63 - last)) & (~UINT64_C(0) << first);
    if (!(pg->used_chunks & mask))
        return false;
    unsigned start = from < MAX_INSN - 1 ? 0 : from - (MAX_INSN - 1);
    bool hit = false;
    for (unsigned off = start; off < to; off++) {
        unsigned slot = pg->at[off];
        if (slot) {
            hit = true;
            pg->insns[slot - 1].runs_on = false;
            pg->insns[slot].runs_on = false;
            pg->at[off] = 0;
        }
    }
    if (!hit)
        return false;
    c->p->v->base.stats.code_invalidated++;
    x86_icache_leave_window(c);
    return true;
}

void x86_icache_invalidate(struct x86_icache *c, gpa_t gpa, uint64_t len)
{
    unsigned from = (unsigned)(gpa & ~PAGE_MASK);
    unsigned to = len < PAGE_BYTES - from ? from + (unsigned)len : (unsigned)PAGE_BYTES;
    bool hit = false;
    for (struct x86_icache_page *pg = *bucket(c, gpa_page(gpa)); pg; pg = pg->next)
        if (pg->gpfn.n == gpa_page(gpa).n)
            hit |= invalidate_in(c, pg, from, to);
    if (!hit)
        tire(c, gpa_page(gpa));
}

/* ---- lookup ----------------------------------------------------------------------------- */

/* An instruction that is not entirely in one page of memory is read byte by byte, each page
 * translated when the decoder asks for it: a fault comes only if the byte is needed. */
struct byte_reader {
    uint32_t lin;
    gpa_t gpa; /* of bytes[n], unless that starts a page */
    unsigned n;
    uint8_t bytes[MAX_INSN];
};

static void read_byte(struct x86_vcpu *v, struct byte_reader *r)
{
    if (v->eip + r->n > v->seg[X86_CS].limit) /* before its page is looked at */
        x86_raise_error(v, X86_GP, 0);
    if (r->n && ((r->lin + r->n) & ~PAGE_MASK) == 0)
        r->gpa = x86_fetch_gpa(v, r->lin + r->n);
    uint8_t *b = &r->bytes[r->n++];
    if (phys_read(v->base.mem, r->gpa, b, 1) < 0)
        *b = (uint8_t)bus_read(v->base.mmio, r->gpa, 1);
    r->gpa++;
}

/* Such instructions start in the last 14 bytes of a page, so the page number must count. */
static unsigned straddle_index(uint32_t lin)
{
    return ((lin >> PAGE_SHIFT) * MAX_INSN + (lin & 15)) & (STRADDLE_SIZE - 1);
}

static bool straddles(const struct x86_vcpu *v, uint32_t lin)
{
    const struct straddle *s = &v->icache->p->straddle[straddle_index(lin)];
    return s->code_size == x86_code_size(v) && s->lin == lin;
}

static const struct x86_insn *decode_bytewise(struct x86_vcpu *v, uint32_t lin, gpa_t gpa)
{
    struct straddle *s = &v->icache->p->straddle[straddle_index(lin)];
    unsigned code_size = x86_code_size(v);
    struct byte_reader r = {.lin = lin, .gpa = gpa};
    if (straddles(v, lin)) {
        do
            read_byte(v, &r);
        while (r.bytes[r.n - 1] == s->bytes[r.n - 1] && r.n < s->count);
        if (memcmp(r.bytes, s->bytes, s->count) == 0)
            return &s->insn;
    }
    s->code_size = 0;
    if (!r.n)
        read_byte(v, &r);
    while (!x86_decode(v->decoder, r.bytes, r.n, code_size, &s->insn) && r.n < MAX_INSN)
        read_byte(v, &r);
    v->base.stats.code_decoded++;
    memcpy(s->bytes, r.bytes, sizeof s->bytes);
    s->count = (uint8_t)r.n;
    s->lin = lin;
    s->code_size = (uint8_t)code_size;
    return &s->insn;
}

static const struct x86_insn *decode_in_page(struct x86_vcpu *v, struct x86_icache_page *pg,
                                             uint32_t lin, gpa_t gpa)
{
    struct x86_icache_private *p = v->icache->p;
    unsigned off = lin & ~PAGE_MASK, room = (unsigned)PAGE_BYTES - off;
    struct phys_page mem = phys_page(v->base.mem, pg->gpfn);
    struct x86_insn in;
    protect(v->icache, pg);
    if (room < MAX_INSN && straddles(v, lin))
        return decode_bytewise(v, lin, gpa);
    if (!x86_decode(v->decoder, mem.host + off, room < MAX_INSN ? room : MAX_INSN, pg->code_size,
                    &in))
        return decode_bytewise(v, lin, gpa);
    v->base.stats.code_decoded++;
    unsigned slot = new_slot(v->icache, pg);
    if (!slot) { /* run without caching, once */
        p->uncached = in;
        return &p->uncached;
    }
    pg->insns[slot] = in;
    pg->at[off] = (uint16_t)slot;
    pg->insns[slot - 1].runs_on = pg->last_end == off && slot > 1;
    pg->last_end = (uint16_t)(off + in.len);
    unsigned last = off + MAX_INSN - 1; /* what makes an opcode undefined lies beyond its length */
    if (last >= PAGE_BYTES)
        last = PAGE_BYTES - 1;
    pg->used_chunks |= UINT64_C(1) << (off >> CHUNK_SHIFT) | UINT64_C(1) << (last >> CHUNK_SHIFT);
    return &pg->insns[slot];
}

/* The decoded page behind a linear page at the current privilege. The entry's page is NULL when
 * there is none: *gpa says where the bytes are. */
static const struct fetch_entry *page_of(struct x86_vcpu *v, uint32_t lin, gpa_t *gpa)
{
    struct x86_icache *c = v->icache;
    unsigned code_size = x86_code_size(v);
    uint64_t key = (lin & PAGE_MASK) | (code_size == 4 ? 2 : 0) | v->user;
    struct fetch_entry *f = &c->p->fetch[lin >> PAGE_SHIFT & (FETCH_TLB_SIZE - 1)];
    if (f->key == key && f->generation == c->p->generation) {
        *gpa = f->gpfn.n << PAGE_SHIFT | (lin & ~PAGE_MASK);
        return f;
    }
    *gpa = x86_fetch_gpa(v, lin);
    gpfn_t gpfn = gpa_page(*gpa);
    struct x86_icache_page *pg = NULL;
    if (phys_page(v->base.mem, gpfn).kind != PHYS_NONE) {
        pg = find_page(c, gpfn, code_size);
        if (!pg)
            pg = new_page(c, gpfn, code_size);
    }
    *f = (struct fetch_entry){key, c->p->generation, pg, pg ? pg->insns : NULL, gpfn};
    return f;
}

/* Open the window that the inline half looks through. It checks no limit, so the whole page must
 * be inside. */
static void open_window(struct x86_vcpu *v, struct x86_icache_page *pg, uint32_t lin)
{
    struct x86_icache *c = v->icache;
    uint64_t start = v->eip - (lin & ~PAGE_MASK);
    if (start <= v->eip && start + PAGE_BYTES - 1 <= v->seg[X86_CS].limit) {
        c->window_at = pg->at;
        c->window_insns = pg->insns;
        c->window_lin = lin & PAGE_MASK;
    } else {
        x86_icache_leave_window(c);
    }
}

const struct x86_insn *x86_icache_lookup(struct x86_vcpu *v, uint32_t lin)
{
    struct x86_icache *c = v->icache;
    const struct x86_seg *cs = &v->seg[X86_CS];
    if (v->eip > cs->limit)
        x86_raise_error(v, X86_GP, 0);
    if (unlikely(c->p->full))
        x86_icache_flush(c);

    gpa_t gpa;
    const struct fetch_entry *f = page_of(v, lin, &gpa);
    struct x86_icache_page *pg = f->page;
    unsigned slot = pg ? pg->at[lin & ~PAGE_MASK] : 0;
    const struct x86_insn *in = slot ? &f->insns[slot]
                                : pg ? decode_in_page(v, pg, lin, gpa)
                                     : decode_bytewise(v, lin, gpa);
    if ((uint64_t)v->eip + in->len - 1 > cs->limit)
        x86_raise_error(v, X86_GP, 0);
    if (pg)
        open_window(v, pg, lin);
    else
        x86_icache_leave_window(c);
    return in;
}
