/* SPDX-License-Identifier: MIT */
/* String instructions in translated code (Intel SDM vol. 2B MOVS, STOS, LODS, SCAS, CMPS, REP).
 *
 * In a window they run as they are: ES cannot be overridden, so the index registers themselves move
 * into the window and back. A fault in the middle leaves counts and indices as a processor does.
 *
 * With a flat table (flat and TB_SELECT code) each page lies elsewhere. movs and stos call out: the
 * function below runs the host's own instruction on as much as lies in one page of each operand.
 * Where a page is missing it leaves the rest to the interpreter and asks for the page to be shown,
 * so that the next one finds it. lods, scas and cmps are the interpreter's. */
#include <stdatomic.h>

/* No XMM register is saved around a call-out, and inline functions must keep off them, too. */
#pragma GCC target("general-regs-only")

#include "isa/x86/translate.h"
#include "isa/x86/translate_enter.h"

#include "mem/flat.h"

/* ---- the call-out --------------------------------------------------------------------------- */

/* The operand of X86_CALLOUT_STRING. */
enum {
    STRING_MOVES = 1 << 0, /* movs; else stos */
    STRING_REPEATS = 1 << 1,
    STRING_SELECTS = 1 << 2, /* through gen.select[] */
    STRING_SIZE_SHIFT = 8,   /* element size: 1, 2 or 4 bytes */
    STRING_LEN_SHIFT = 24,   /* length of the instruction */
};

/* Host address of a byte in the flat view, or NULL after a note of what is missing. */
static uint8_t *host_of(struct x86_vcpu *v, uint32_t op, uint32_t lin, bool write)
{
    uint64_t view = op & STRING_SELECTS ? v->gen.select[lin >> 30] : v->gen.view;
    const uint64_t *table = (const uint64_t *)(view - X86_VIEW_TAG);
    uint64_t addend = table[(write ? FLAT_PAGES : 0) + (lin >> PAGE_SHIFT)];
    if (addend && addend != FLAT_POISON)
        return (uint8_t *)(addend + lin);
    v->gen.want = (struct x86_want){
        .pc = (uint32_t)v->eip,
        .next = (uint32_t)v->eip + (op >> STRING_LEN_SHIFT),
        .lin = lin,
        .write = write,
        .select = op & STRING_SELECTS,
        .user = v->user,
        .wanted = true,
    };
    return NULL;
}

static uint32_t in_page(uint32_t lin, unsigned size, uint32_t count)
{
    uint32_t n = ((uint32_t)PAGE_BYTES - (lin & ~(uint32_t)PAGE_MASK)) / size;
    return n < count ? n : count;
}

static void copy(uint8_t *to, const uint8_t *from, unsigned size, uint64_t n)
{
    if (size == 4)
        __asm__ volatile("rep movsl" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
    else if (size == 2)
        __asm__ volatile("rep movsw" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
    else
        __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
}

static void fill(uint8_t *to, uint64_t a, unsigned size, uint64_t n)
{
    if (size == 4)
        __asm__ volatile("rep stosl" : "+D"(to), "+c"(n) : "a"(a) : "memory");
    else if (size == 2)
        __asm__ volatile("rep stosw" : "+D"(to), "+c"(n) : "a"(a) : "memory");
    else
        __asm__ volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(a) : "memory");
}

/* Some elements; 0 if the interpreter has to take the next one. */
static uint32_t stretch(struct x86_vcpu *v, uint32_t op, unsigned size, uint32_t count)
{
    uint32_t di = (uint32_t)v->gpr[X86_EDI], si = (uint32_t)v->gpr[X86_ESI];
    uint32_t n = in_page(di, size, count);
    bool moves = op & STRING_MOVES;
    if (moves)
        n = in_page(si, size, n);
    if (!n)
        return 0; /* the element straddles two pages */
    const uint8_t *from = moves ? host_of(v, op, si, false) : NULL;
    uint8_t *to = !moves || from ? host_of(v, op, di, true) : NULL;
    if (!to)
        return 0;
    if (moves) {
        copy(to, from, size, n);
        v->gpr[X86_ESI] = si + n * size;
    } else {
        fill(to, v->gpr[X86_EAX], size, n);
    }
    v->gpr[X86_EDI] = di + n * size;
    return n;
}

bool x86_callout_string(struct x86_vcpu *v, uint32_t op)
{
    unsigned size = op >> STRING_SIZE_SHIFT & 7;
    bool repeats = op & STRING_REPEATS;
    uint32_t count = repeats ? (uint32_t)v->gpr[X86_ECX] : 1;
    while (count) {
        uint32_t n = stretch(v, op, size, count);
        if (!n)
            return false;
        count -= n;
        if (repeats)
            v->gpr[X86_ECX] = count;
        if (count &&
            (atomic_load_explicit(&v->base.attention, memory_order_relaxed) & v->attn_mask))
            return false; /* the interpreter stops at once, between two elements */
    }
    return true;
}

/* ---- translation ---------------------------------------------------------------------------- */

static bool uses_si(unsigned opcode)
{
    return opcode != 0xaa && opcode != 0xab && opcode != 0xae && opcode != 0xaf;
}
static bool uses_di(unsigned opcode)
{
    return opcode != 0xac && opcode != 0xad;
}
static bool is_movs(unsigned opcode)
{
    return opcode == 0xa4 || opcode == 0xa5;
}
static bool is_stos(unsigned opcode)
{
    return opcode == 0xaa || opcode == 0xab;
}

static bool repeats(const struct x86_tr *tr)
{
    return tr->in.prefix & (X86_PFX_REP | X86_PFX_REPNE);
}

static void into_window(struct x86_tr *tr, unsigned reg)
{
    x64_lea64(&tr->e, reg, x64_indexed((enum x64_reg)reg, X64_R15, 0, -X86_VIEW_TAG));
}

static void in_window(struct x86_tr *tr)
{
    unsigned opcode = tr->in.opcode;
    if (uses_si(opcode))
        into_window(tr, X64_RSI);
    if (uses_di(opcode))
        into_window(tr, X64_RDI);
    x86_tr_fix(tr, X86_FIX_STRING);
    if (tr->in.opsize == 2)
        x64_u8(&tr->e, 0x66);
    if (repeats(tr))
        x64_u8(&tr->e, tr->in.prefix & X86_PFX_REPNE ? 0xf2 : 0xf3);
    x64_u8(&tr->e, (uint8_t)opcode);
    if (uses_si(opcode))
        x64_mov32(&tr->e, X64_RSI, X64_RSI);
    if (uses_di(opcode))
        x64_mov32(&tr->e, X64_RDI, X64_RDI);
}

static void by_callout(struct x86_tr *tr)
{
    bool select = tr->policy == TB_SELECT && !(tr->tb->mode & X86_MODE_USER);
    if ((!is_movs(tr->in.opcode) && !is_stos(tr->in.opcode)) || !x86_tr_may_call(tr)) {
        x86_tr_decline(tr);
        return;
    }
    x64_mov32_imm(&tr->e, X64_R10,
                  (is_movs(tr->in.opcode) ? STRING_MOVES : 0) | (repeats(tr) ? STRING_REPEATS : 0) |
                      (select ? STRING_SELECTS : 0) | (unsigned)tr->in.opsize << STRING_SIZE_SHIFT |
                      (unsigned)tr->in.len << STRING_LEN_SHIFT);
    x86_tr_callout(tr, X86_CALLOUT_STRING);
}

static void tr_string(struct x86_tr *tr)
{
    bool based = uses_si(tr->in.opcode) && (tr->in.seg == X86_FS || tr->in.seg == X86_GS);
    if (tr->in.asize != 4 || based || tr->policy == TB_CALLOUT)
        x86_tr_decline(tr);
    else if ((tr->tb->mode & X86_MODE_FLAT) || tr->policy == TB_SELECT)
        by_callout(tr);
    else
        in_window(tr);
}

#define ROW(m)                                                                                     \
    {                                                                                              \
        ZYDIS_MNEMONIC_##m, tr_string                                                              \
    }
const struct x86_special_row x86_specials_string[] = {
    ROW(MOVSB), ROW(MOVSW), ROW(MOVSD), ROW(STOSB), ROW(STOSW), ROW(STOSD), ROW(LODSB), ROW(LODSW),
    ROW(LODSD), ROW(SCASB), ROW(SCASW), ROW(SCASD), ROW(CMPSB), ROW(CMPSW), ROW(CMPSD), {0},
};
