/* SPDX-License-Identifier: MIT */
/* Memory as instructions see it: segmentation, paging, soft TLB (Intel SDM vol. 3A ch. 3-5).
 *
 * A fast access is: offset below the segment's span, tag of the TLB entry equal, host load or
 * store. Everything else - limits, types, page walks, A/D bits, devices, page crossings, code
 * pages, alignment checks, data breakpoints - is the slow path in mmu.c. Faults do not return. */
#ifndef RING3_ISA_X86_MMU_H
#define RING3_ISA_X86_MMU_H

#include <string.h>

#include "isa/x86/x86.h"

/* ---- access through a segment register, at the current privilege ----------------------------
 * x86_read8/16/32/64, x86_write8/16/32/64 (v, sreg, offset[, value]). Offsets are 32 bits; callers
 * mask 16-bit addresses themselves. Order of checks: segment (#GP, #SS), alignment, paging. */

uint64_t x86_read_slow(struct x86_vcpu *v, enum x86_sreg s, uint32_t off, unsigned size);
void x86_write_slow(struct x86_vcpu *v, enum x86_sreg s, uint32_t off, unsigned size, uint64_t x);

/* Host address of [off, off+size) for reading / for writing if the fast path allows, else NULL. */
static inline uint8_t *x86_fast_read(struct x86_vcpu *v, enum x86_sreg s, uint32_t off,
                                     unsigned size)
{
    const struct x86_seg *seg = &v->seg[s];
    uint32_t lin = (uint32_t)seg->base + off;
    const struct x86_tlb_entry *t = &v->tlb[lin >> PAGE_SHIFT & (X86_TLB_SIZE - 1)];
    if (unlikely(off >= seg->read_span) ||
        unlikely(((uint64_t)(lin + (size - 1)) & PAGE_MASK) != t->tag_read))
        return NULL;
    return (uint8_t *)(t->addend + lin);
}
static inline uint8_t *x86_fast_write(struct x86_vcpu *v, enum x86_sreg s, uint32_t off,
                                      unsigned size)
{
    const struct x86_seg *seg = &v->seg[s];
    uint32_t lin = (uint32_t)seg->base + off;
    const struct x86_tlb_entry *t = &v->tlb[lin >> PAGE_SHIFT & (X86_TLB_SIZE - 1)];
    if (unlikely(off >= seg->write_span) ||
        unlikely(((uint64_t)(lin + (size - 1)) & PAGE_MASK) != t->tag_write))
        return NULL;
    return (uint8_t *)(t->addend + lin);
}

#define X86_ACCESSORS(bits)                                                                        \
    static inline uint##bits##_t x86_read##bits(struct x86_vcpu *v, enum x86_sreg s, uint32_t off) \
    {                                                                                              \
        uint##bits##_t x;                                                                          \
        const uint8_t *p = x86_fast_read(v, s, off, bits / 8);                                     \
        if (unlikely(!p))                                                                          \
            return (uint##bits##_t)x86_read_slow(v, s, off, bits / 8);                             \
        memcpy(&x, p, bits / 8);                                                                   \
        return x;                                                                                  \
    }                                                                                              \
    static inline void x86_write##bits(struct x86_vcpu *v, enum x86_sreg s, uint32_t off,          \
                                       uint##bits##_t x)                                           \
    {                                                                                              \
        uint8_t *p = x86_fast_write(v, s, off, bits / 8);                                          \
        if (unlikely(!p))                                                                          \
            x86_write_slow(v, s, off, bits / 8, x);                                                \
        else                                                                                       \
            memcpy(p, &x, bits / 8);                                                               \
    }
X86_ACCESSORS(8)
X86_ACCESSORS(16)
X86_ACCESSORS(32)
X86_ACCESSORS(64)
#undef X86_ACCESSORS

/* First half of a read-modify-write that missed the fast path: check that the store would
 * succeed (faults are write faults), then read. The caller finishes with x86_writeN. */
uint64_t x86_rmw_slow(struct x86_vcpu *v, enum x86_sreg s, uint32_t off, unsigned size);

/* Longer operands (m80, m128, FXSAVE area), up to 512 bytes, no wrap inside a segment of 4 GiB
 * assumed: each byte obeys limit and paging. Nothing is stored unless everything can be. */
void x86_read_bytes(struct x86_vcpu *v, enum x86_sreg s, uint32_t off, void *buf, unsigned n);
void x86_write_bytes(struct x86_vcpu *v, enum x86_sreg s, uint32_t off, const void *buf,
                     unsigned n);
/* Check that [off, off+n) could be written, raising the fault a store would. */
void x86_probe_write(struct x86_vcpu *v, enum x86_sreg s, uint32_t off, unsigned n);
/* Note I/O breakpoints that a port access hits. */
void x86_check_port_breakpoints(struct x86_vcpu *v, uint16_t port, unsigned size);
/* The same for the `n` bytes below the stack pointer, wrapping as the stack does. */
void x86_probe_stack_write(struct x86_vcpu *v, unsigned n);

/* ---- access by linear address -----------------------------------------------------------------
 * Implicit supervisor accesses (descriptor tables, TSS): U/S as CPL 0 whatever the CPL; faults
 * are page faults with U=0. size 1, 2, 4 or 8. */
uint64_t x86_sys_read(struct x86_vcpu *v, uint32_t lin, unsigned size);
void x86_sys_write(struct x86_vcpu *v, uint32_t lin, unsigned size, uint64_t x);
/* Raise the page fault a supervisor write to [lin, lin+n) would, without writing. */
void x86_sys_probe_write(struct x86_vcpu *v, uint32_t lin, unsigned n);

/* Stack accesses on a stack that is not (yet) in SS: `ss` is the new hidden part, `cpl` the
 * privilege to use. Limit and type faults raise `vector` (X86_SSF or X86_TS) with `error`. */
void x86_stack_write(struct x86_vcpu *v, const struct x86_seg *ss, unsigned cpl, uint32_t off,
                     unsigned size, uint32_t x, enum x86_vector vector, uint32_t error);
uint32_t x86_stack_read(struct x86_vcpu *v, const struct x86_seg *ss, unsigned cpl, uint32_t off,
                        unsigned size, enum x86_vector vector, uint32_t error);

/* ---- translation and TLB --------------------------------------------------------------------- */

enum x86_access { X86_READ, X86_WRITE, X86_FETCH };

/* An entry of a page table that a walk used. */
struct x86_table_entry {
    gpa_t gpa;      /* where it is, A20 applied */
    uint64_t value; /* after the walk's update of A and D; 0 if it is outside memory */
    unsigned bytes; /* 4, or 8 with PAE */
};

struct x86_walk {
    bool present;   /* translation exists and permits the access */
    uint32_t error; /* page-fault error code otherwise */
    /* Where it came from: directory entry and, but for a large page, table entry. Also what was
     * read before the walk failed. Empty without paging. PDPTEs are processor state (v->pdpte),
     * loaded with CR3 and no part of it. */
    struct x86_table_entry entry[2];
    unsigned entries;
    /* The rest is valid if present. */
    gpa_t gpa;     /* A20 applied */
    bool writable; /* a write at this privilege would be allowed and the dirty bit is set */
    bool global;
    bool user;  /* mapping allows CPL 3 (always without paging) */
    bool dirty; /* D of the mapping is set (always without paging) */
    bool large;
    uint32_t bytes; /* of the page: 4 KiB, 2 MiB or 4 MiB; it starts at lin & -bytes */
    gpa_t base;     /* guest-physical address of its first byte, A20 not applied */
};
/* Walk the guest's tables for one linear address; sets A and D bits unless `quiet`. */
struct x86_walk x86_walk(struct x86_vcpu *v, uint32_t lin, enum x86_access a, bool user,
                         bool quiet);

/* Physical address to fetch instructions from at lin, at the current privilege. Faults. */
gpa_t x86_fetch_gpa(struct x86_vcpu *v, uint32_t lin);

void x86_tlb_flush(struct x86_vcpu *v, bool keep_global);  /* CR3 load keeps global pages */
void x86_tlb_flush_page(struct x86_vcpu *v, uint32_t lin); /* INVLPG */
void x86_tlb_protect(struct x86_vcpu *v, gpfn_t page);     /* drop write access to a page */
/* Load the four PDPTEs for PAE paging from cr3; #GP(0) on reserved bits. */
void x86_load_pdptes(struct x86_vcpu *v, uint32_t cr3);

#endif
