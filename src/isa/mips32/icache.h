/* SPDX-License-Identifier: MIT */
/* The cache of decoded instructions, by guest-physical page. Which page is executed where is the
 * soft TLB's business (mmu.h). Stores to decoded words are seen through write protection
 * (WP_CODE). Owned by the vCPU thread; other threads' stores are queued through ATTN_CODE. */
#ifndef RING3_ISA_MIPS32_ICACHE_H
#define RING3_ISA_MIPS32_ICACHE_H

#include "isa/mips32/insn.h"

#define MIPS32_PAGE_INSNS   1024u
#define MIPS32_ICACHE_BYTES (64 * MIB) /* memory before everything is dropped */

struct mips32_code_page {
    gpfn_t gpfn;
    const uint8_t *host;           /* the page's bytes */
    struct mips32_code_page *next; /* hash chain */
    uint16_t stray;                /* stores beside decoded words since the page was protected */
    uint8_t patience;              /* log2 of how many there may be; see icache.c */
    bool protected;                /* WP_CODE is set for it */
    /* Words that are not decoded yet have a handler that decodes them and goes on; behind the last
     * one is an instruction that leads to the next page. */
    struct mips32_insn insn[MIPS32_PAGE_INSNS + 1];
};

struct mips32_icache *mips32_icache_new(struct mips32_vcpu *v, struct err *e);
void mips32_icache_free(struct mips32_icache *c);

/* The decoded page for a page of memory. Stays valid until the next flush. */
struct mips32_code_page *mips32_icache_page(struct mips32_vcpu *v, gpfn_t gpfn);
/* Bytes [gpa, gpa+len) within one page changed. vCPU thread. */
void mips32_icache_invalidate(struct mips32_vcpu *v, gpa_t gpa, uint64_t len);
/* Drop everything. vCPU thread, between instructions; the soft TLB goes, too. */
void mips32_icache_flush(struct mips32_vcpu *v);
/* It is used up and has to be flushed before the next page is made. */
bool mips32_icache_full(const struct mips32_icache *c);

static inline const struct mips32_code_page *mips32_page_of(const struct mips32_insn *in)
{
    return (const void *)((const char *)(in - in->slot) - offsetof(struct mips32_code_page, insn));
}

#endif
