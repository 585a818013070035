/* SPDX-License-Identifier: MIT */
/* Memory as instructions see it: segments, TLB, soft TLB (vol. III chapters 4 and 5).
 *
 * A fast access is: tag of the soft TLB's entry equal (a misaligned address never is), host load or
 * store. Everything else - segments, TLB exceptions, alignment, devices, watched pages - is the
 * slow path in mmu.c. Faults do not return. */
#ifndef RING3_ISA_MIPS32_MMU_H
#define RING3_ISA_MIPS32_MMU_H

#include <string.h>

#include "isa/mips32/icache.h"

enum mips32_access { MIPS32_READ, MIPS32_WRITE, MIPS32_FETCH };

/* ---- accesses at the current mode ------------------------------------------------------------ */

/* size 1, 2, 4 or 8; values as registers hold them, whatever the byte order. */
uint64_t mips32_read_slow(struct mips32_vcpu *v, uint32_t va, unsigned size);
void mips32_write_slow(struct mips32_vcpu *v, uint32_t va, unsigned size, uint64_t x);
/* `n` bytes in the order of memory, within an aligned word that holds va too. Faults name va. */
void mips32_write_bytes(struct mips32_vcpu *v, uint32_t va, uint32_t at, const uint8_t *bytes,
                        unsigned n);
/* Raise what such an access would; returns the physical address. */
uint32_t mips32_probe(struct mips32_vcpu *v, uint32_t va, unsigned size, enum mips32_access a);

static inline struct mips32_soft *mips32_soft_at(struct mips32_vcpu *v, uint32_t va)
{
    return &v->soft[va >> PAGE_SHIFT & (MIPS32_SOFT_SIZE - 1)];
}
/* What of an address of an access of that size has to equal the tag. */
static inline uint32_t mips32_tag(uint32_t va, unsigned size)
{
    return va & ((uint32_t)PAGE_MASK | (size - 1));
}

#define MIPS32_SWAP8(x)  (x)
#define MIPS32_SWAP16(x) __builtin_bswap16(x)
#define MIPS32_SWAP32(x) __builtin_bswap32(x)
#define MIPS32_SWAP64(x) __builtin_bswap64(x)
#define MIPS32_ACCESSORS(bits)                                                                     \
    static inline uint##bits##_t mips32_read##bits(struct mips32_vcpu *v, uint32_t va)             \
    {                                                                                              \
        const struct mips32_soft *s = mips32_soft_at(v, va);                                       \
        uint##bits##_t x;                                                                          \
        if (unlikely(mips32_tag(va, bits / 8) != s->read))                                         \
            return (uint##bits##_t)mips32_read_slow(v, va, bits / 8);                              \
        memcpy(&x, (const void *)(s->addend + va), bits / 8);                                      \
        return unlikely(v->big_endian) ? MIPS32_SWAP##bits(x) : x;                                 \
    }                                                                                              \
    static inline void mips32_write##bits(struct mips32_vcpu *v, uint32_t va, uint##bits##_t x)    \
    {                                                                                              \
        const struct mips32_soft *s = mips32_soft_at(v, va);                                       \
        if (unlikely(mips32_tag(va, bits / 8) != s->write)) {                                      \
            mips32_write_slow(v, va, bits / 8, x);                                                 \
            return;                                                                                \
        }                                                                                          \
        if (unlikely(v->big_endian))                                                               \
            x = MIPS32_SWAP##bits(x);                                                              \
        memcpy((void *)(s->addend + va), &x, bits / 8);                                            \
    }
MIPS32_ACCESSORS(8)
MIPS32_ACCESSORS(16)
MIPS32_ACCESSORS(32)
MIPS32_ACCESSORS(64)
#undef MIPS32_ACCESSORS

/* ---- instruction fetch ----------------------------------------------------------------------- */

const struct mips32_insn *mips32_fetch_slow(struct mips32_vcpu *v, uint32_t va);
/* The decoded instruction at va, raising whatever its fetch raises. */
static inline const struct mips32_insn *mips32_fetch(struct mips32_vcpu *v, uint32_t va)
{
    const struct mips32_soft *s = mips32_soft_at(v, va);
    if (unlikely(mips32_tag(va, 4) != s->fetch))
        return mips32_fetch_slow(v, va);
    return &s->code->insn[va >> 2 & (MIPS32_PAGE_INSNS - 1)];
}

/* ---- translation ----------------------------------------------------------------------------- */

struct mips32_translation {
    enum {
        MIPS32_MAPPED,
        MIPS32_NOT_ALLOWED,
        MIPS32_NO_ENTRY,
        MIPS32_INVALID,
        MIPS32_CLEAN
    } result;
    uint32_t gpa; /* valid if MIPS32_MAPPED, and so are: */
    bool writable;
    bool own_asid; /* an entry that is not global says so */
};
/* Without side effects. */
struct mips32_translation mips32_translate(const struct mips32_vcpu *v, uint32_t va,
                                           enum mips32_access a, enum mips32_mode mode);
/* Index of the TLB entry for va under an ASID, or -1. (tlb.c) */
int mips32_tlb_find(const struct mips32_vcpu *v, uint32_t va, uint32_t asid);
/* A displaced entry for it, or NULL. */
const struct mips32_tlb_entry *mips32_tlb_victim(const struct mips32_vcpu *v, uint32_t va,
                                                 uint32_t asid);
void mips32_tlb_drop_victims(struct mips32_vcpu *v);

/* ---- tlb.c: instructions that change the TLB ------------------------------------------------- */

void mips32_tlb_read(struct mips32_vcpu *v);
void mips32_tlb_write_indexed(struct mips32_vcpu *v);
void mips32_tlb_write_random(struct mips32_vcpu *v);
void mips32_tlb_probe(struct mips32_vcpu *v);
unsigned mips32_tlb_random(struct mips32_vcpu *v); /* CP0 Random, and step it */
void mips32_set_entry_hi(struct mips32_vcpu *v, uint32_t x);
uint32_t mips32_legal_page_mask(uint32_t mask);

/* ---- pages of the current ASID (mmu.c) ------------------------------------------------------ */

/* Something was derived from an entry that is not global. */
void mips32_note_asid_page(struct mips32_vcpu *v, uint32_t va);
/* EntryHi.ASID is another one: all of that goes. */
void mips32_leave_asid(struct mips32_vcpu *v);

/* ---- the soft TLB (mmu.c) -------------------------------------------------------------------- */

void mips32_soft_flush(struct mips32_vcpu *v);
/* Drop what [va, va + bytes) of the mapped segments showed, in all modes. */
void mips32_soft_drop(struct mips32_vcpu *v, uint32_t va, uint64_t bytes);
void mips32_soft_protect(struct mips32_vcpu *v, gpfn_t page); /* drop write access to a page */

#endif
