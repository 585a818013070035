/* SPDX-License-Identifier: MIT */
/* Decoded-instruction cache: see icache.h.
 *
 * A page of 1,024 words has as many decoded instructions, so that a branch inside of it is an
 * addition to a pointer. The first word decoded write-protects the page; a store clears the words
 * it hits; after many stores beside decoded words the page is forgotten and writable again, with
 * twice the patience next time. A cleared instruction stays in place, so the one being executed
 * stays valid even when it overwrites itself.
 *
 * All of it lies in one arena, from which memory is only taken. When that is used up, everything is
 * dropped at the next instruction boundary. */
#include "isa/mips32/icache.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "isa/mips32/mmu.h"

#define HASH_SIZE 1024u /* power of two */

#define PATIENCE_MIN      16u /* stores beside code before the code is forgotten */
#define PATIENCE_LOG2_MAX 10u

struct mips32_icache {
    uint8_t *arena; /* MIPS32_ICACHE_BYTES */
    size_t used;
    struct mips32_code_page *hash[HASH_SIZE];
};

struct mips32_icache *mips32_icache_new(struct mips32_vcpu *v, struct err *e)
{
    struct mips32_icache *c = calloc(1, sizeof *c);
    if (!c) {
        err_set(e, ENOMEM, "out-of-memory", "no memory for the cache of decoded instructions");
        return NULL;
    }
    c->arena = mmap(NULL, MIPS32_ICACHE_BYTES, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (c->arena == MAP_FAILED) {
        err_set(e, errno, "out-of-memory", "cannot map the cache of decoded instructions: %s",
                strerror(errno));
        free(c);
        return NULL;
    }
    return c;
}

void mips32_icache_free(struct mips32_icache *c)
{
    if (!c)
        return;
    munmap(c->arena, MIPS32_ICACHE_BYTES);
    free(c);
}

/* ---- instructions that are not decoded ------------------------------------------------------- */

static void protect(struct mips32_vcpu *v, struct mips32_code_page *pg)
{
    if (pg->protected)
        return;
    pg->protected = true;
    wp_add(v->base.mem, pg->gpfn, WP_CODE);
}

/* The page is protected before the word is read, so no store is missed. */
MIPS32_HANDLER(not_decoded)
{
    struct mips32_code_page *pg = (struct mips32_code_page *)mips32_page_of(in);
    struct mips32_insn *at = &pg->insn[in->slot];
    uint32_t word;
    protect(v, pg);
    memcpy(&word, pg->host + 4 * at->slot, 4);
    mips32_decode(v->decoder, v->big_endian ? __builtin_bswap32(word) : word, at);
    v->base.stats.code_decoded++;
    return at->fn(v, at);
}

/* Behind the last word of a page. It is no instruction, but may stand where a delay slot is. */
MIPS32_HANDLER(next_page)
{
    uint32_t next = v->page_va + (uint32_t)PAGE_BYTES;
    if (v->in_slot) {
        const struct mips32_insn *slot = mips32_fetch(v, next);
        return slot->fn(v, slot);
    }
    v->retired--; /* the loop counts it */
    v->pc = next;
    return NULL;
}

/* ---- pages ----------------------------------------------------------------------------------- */

static struct mips32_code_page **bucket(struct mips32_icache *c, gpfn_t gpfn)
{
    return &c->hash[gpfn.n & (HASH_SIZE - 1)];
}

static struct mips32_code_page *find(struct mips32_icache *c, gpfn_t gpfn)
{
    struct mips32_code_page *pg = *bucket(c, gpfn);
    while (pg && pg->gpfn.n != gpfn.n)
        pg = pg->next;
    return pg;
}

bool mips32_icache_full(const struct mips32_icache *c)
{
    /* Two more: an instruction may need a page, and its delay slot another one. */
    return MIPS32_ICACHE_BYTES - c->used < 3 * sizeof(struct mips32_code_page);
}

struct mips32_code_page *mips32_icache_page(struct mips32_vcpu *v, gpfn_t gpfn)
{
    struct mips32_icache *c = v->icache;
    struct mips32_code_page *pg = find(c, gpfn);
    if (pg)
        return pg;
    pg = (struct mips32_code_page *)(void *)(c->arena + c->used);
    c->used += (sizeof *pg + 63) & ~(size_t)63;
    *pg = (struct mips32_code_page){.gpfn = gpfn, .next = *bucket(c, gpfn)};
    pg->host = phys_page(v->base.mem, gpfn).host;
    for (unsigned i = 0; i <= MIPS32_PAGE_INSNS; i++) {
        pg->insn[i].slot = (uint16_t)i;
        pg->insn[i].row = MIPS32_NO_ROW;
        pg->insn[i].fn = not_decoded;
    }
    pg->insn[MIPS32_PAGE_INSNS].fn = next_page;
    *bucket(c, gpfn) = pg;
    return pg;
}

void mips32_icache_flush(struct mips32_vcpu *v)
{
    struct mips32_icache *c = v->icache;
    for (unsigned h = 0; h < HASH_SIZE; h++) {
        for (const struct mips32_code_page *pg = c->hash[h]; pg; pg = pg->next)
            wp_drop(v->base.mem, pg->gpfn, WP_CODE);
        c->hash[h] = NULL;
    }
    c->used = 0;
    mips32_soft_flush(v);
}

static void forget(struct mips32_vcpu *v, struct mips32_code_page *pg)
{
    for (unsigned i = 0; i < MIPS32_PAGE_INSNS; i++)
        pg->insn[i].fn = not_decoded;
    pg->stray = 0;
    pg->protected = false;
    if (pg->patience < PATIENCE_LOG2_MAX)
        pg->patience++;
    wp_drop(v->base.mem, pg->gpfn, WP_CODE);
}

void mips32_icache_invalidate(struct mips32_vcpu *v, gpa_t gpa, uint64_t len)
{
    struct mips32_code_page *pg = find(v->icache, gpa_page(gpa));
    if (!pg || !pg->protected || !len)
        return;
    unsigned from = (unsigned)(gpa & ~PAGE_MASK);
    unsigned to = len < PAGE_BYTES - from ? from + (unsigned)len : (unsigned)PAGE_BYTES;
    bool hit = false;
    for (unsigned i = from / 4; i <= (to - 1) / 4; i++) {
        hit |= pg->insn[i].fn != not_decoded;
        pg->insn[i].fn = not_decoded;
    }
    if (hit)
        v->base.stats.code_invalidated++;
    else if (++pg->stray >= PATIENCE_MIN << pg->patience)
        forget(v, pg);
}
