/* SPDX-License-Identifier: MIT */
/* The cache of decoded instructions, by guest-physical page and code size. Page tables may change
 * as they like: a translation cache of its own (linear page to decoded page) is dropped with the
 * TLB. Stores to decoded bytes are seen through write protection (WP_CODE). Owned by the vCPU
 * thread; other threads' writes are queued through ATTN_CODE. */
#ifndef RING3_ISA_X86_ICACHE_H
#define RING3_ISA_X86_ICACHE_H

#include "isa/x86/insn.h"

#define X86_ICACHE_PAGE_INSNS 4096u      /* decoded per page before it is started afresh */
#define X86_ICACHE_BYTES      (32 * MIB) /* memory before everything is dropped */

struct x86_icache_page {
    gpfn_t gpfn;
    uint8_t code_size;            /* 2 or 4 */
    uint16_t count, room;         /* insns used (slot 0 is none) and allocated */
    uint16_t stray;               /* stores beside the code since the page was protected */
    uint8_t patience;             /* log2 of how many there may be; see icache.c */
    bool protected;               /* WP_CODE is set for it */
    uint16_t last_end;            /* offset behind the instruction decoded last */
    uint64_t used_chunks;         /* bit n: bytes [64n, 64n+64) have been decoded */
    struct x86_insn *insns;       /* moves only while no handler runs */
    struct x86_icache_page *next; /* hash chain */
    uint16_t at[PAGE_BYTES];      /* slot of the instruction that starts at each byte, or 0 */
};

#define X86_WINDOW_NONE 1ull

struct x86_icache {
    /* Where the processor executes now: instructions of the page at linear address window_lin
     * are behind window_at and window_insns. X86_WINDOW_NONE: look up afresh. */
    uint64_t window_lin;
    const uint16_t *window_at;
    const struct x86_insn *window_insns;
    struct x86_icache_private *p;
};

struct x86_icache *x86_icache_new(struct x86_vcpu *v, struct err *e);
void x86_icache_free(struct x86_icache *c);

/* The instruction at CS:eip, raising whatever its fetch raises. The slow half. */
const struct x86_insn *x86_icache_lookup(struct x86_vcpu *v, uint32_t lin);

static inline const struct x86_insn *x86_icache_fetch(struct x86_vcpu *v)
{
    const struct x86_icache *c = v->icache;
    uint32_t lin = (uint32_t)(v->seg[X86_CS].base + v->eip);
    if (likely((lin & PAGE_MASK) == c->window_lin)) {
        unsigned slot = c->window_at[lin & ~PAGE_MASK];
        if (likely(slot))
            return &c->window_insns[slot];
    }
    return x86_icache_lookup(v, lin);
}

/* The current window no longer holds: CS, privilege or mode changed. */
static inline void x86_icache_leave_window(struct x86_icache *c)
{
    c->window_lin = X86_WINDOW_NONE;
}
/* Linear-to-physical translations changed. */
void x86_icache_forget_translations(struct x86_icache *c);
/* Bytes [gpa, gpa+len) within one page changed. vCPU thread. */
void x86_icache_invalidate(struct x86_icache *c, gpa_t gpa, uint64_t len);
/* Drop everything. vCPU thread, no handler running. */
void x86_icache_flush(struct x86_icache *c);

#endif
