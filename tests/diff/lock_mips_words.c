/* SPDX-License-Identifier: MIT */
/* The instructions of lock_mips_random's programs: rows of the instruction set with random
 * operands, and snippets for what single ones seldom do. */
#include <string.h>

#include "lock_mips_making.h"

/* ---- instructions -----------------------------------------------------------------------------
 */

static unsigned written(struct making *m)
{
    unsigned reg = making_below(m, 32);
    while (making_is_base(reg) && !making_chance(m, 8))
        reg = making_below(m, 32);
    return reg;
}

static unsigned base(struct making *m)
{
    unsigned reg = making_below(m, 32);
    while (!making_is_base(reg) && !making_chance(m, 5))
        reg = making_below(m, 32);
    return reg;
}

static uint32_t distance(struct making *m, uint32_t bits)
{
    static const int16_t far[] = {-0x1000, 0x1000, -0x7ff8, 0x7ff8};
    int32_t x = making_chance(m, 3) ? MAKING_PICK(m, far) : 4 * (int32_t)making_below(m, 9) - 16;
    if (making_chance(m, 20))
        x += (int32_t)making_below(m, 4);
    return (uint32_t)x & bits;
}

/* Words from the one behind the branch to a place in the program, forwards as a rule. */
static uint32_t branch_words(struct making *m)
{
    unsigned from = m->p->words + 1, left = m->body > from ? m->body - from : 0;
    if (making_chance(m, 12) || !left)
        return (making_below(m, m->body + 1) - from) & 0xffff;
    return making_below(m, left < 10 ? left + 1 : 10) & 0xffff;
}

static unsigned fp_register(struct making *m)
{
    return making_chance(m, 80) ? making_below(m, 16) * 2 : making_below(m, 32);
}

/* The field of an operand, random. */
static uint32_t operand(struct making *m, char c)
{
    switch (c) {
    case 'd':
        return written(m) << 11;
    case 'w':
        return written(m) << 16;
    case 's':
        return making_below(m, 32) << 21;
    case 't':
        return making_below(m, 32) << 16;
    case 'a':
        return making_below(m, 32) << 6;
    case 'i':
    case 'u':
        return making_value32(m) & 0xffff;
    case 'o':
        return base(m) << 21 | distance(m, 0xffff);
    case 'x':
        return base(m) << 21 | (making_chance(m, 70) ? 0 : making_below(m, 32) << 16);
    case 'b':
        return branch_words(m);
    case 'j':
        return making_label(m) >> 2 & 0x3ffffff;
    case 'k':
        return making_below(m, 1024) << 6;
    case 'S':
        return fp_register(m) << 11;
    case 'T':
        return fp_register(m) << 16;
    case 'D':
        return fp_register(m) << 6;
    case 'R':
        return fp_register(m) << 21;
    case 'n':
        return making_below(m, 8) << 18;
    case 'm':
        return making_below(m, 8) << 8;
    default:
        return 0;
    }
}

/* A field of bits: position and size, or position and last bit. */
static uint32_t bit_field(struct making *m, bool last_bit)
{
    unsigned position = making_below(m, 32), size = 1 + making_below(m, 32 - position);
    return position << 6 | (last_bit ? position + size - 1 : size - 1) << 11;
}

/* Number and selection of a CP0 register, or a control register of CP1. */
static uint32_t control_register(struct making *m, bool write)
{
    static const uint8_t fp[] = {31, 31, 31, 25, 26, 28, 0};
    static const uint16_t cp0[] = {0,        2 << 11,  3 << 11,  4 << 11,  4 << 11 | 2, 5 << 11,
                                   6 << 11,  7 << 11,  8 << 11,  9 << 11,  10 << 11,    11 << 11,
                                   12 << 11, 13 << 11, 14 << 11, 16 << 11, 17 << 11,    28 << 11,
                                   29 << 11, 30 << 11, 31 << 11};
    if (write)
        return MAKING_PICK(m, cp0);
    return making_chance(m, 30) ? (uint32_t)MAKING_PICK(m, fp) << 11
                                : making_below(m, 32) << 11 | making_below(m, 4);
}

#define MTC0 0x40800000u
#define MFC0 0x40000000u

static uint32_t operands_of(struct making *m, const struct mips32_op *op)
{
    uint32_t word = op->match;
    for (const char *c = op->operands; *c; c++)
        if (*c == 'e' || *c == 'E')
            word |= bit_field(m, *c == 'E');
        else if (*c == 'c')
            word |= op->flags & MIPS32_CP1 ? control_register(m, false) & 0xf800
                                           : control_register(m, op->match == MTC0);
        else
            word |= operand(m, *c) & ~op->mask;
    return word;
}

/* A store of something else than a word, half or byte. */
static bool is_wide(const struct mips32_op *op)
{
    return (op->flags & MIPS32_STORE) && op->match != 0xa0000000 && op->match != 0xa4000000 &&
           op->match != 0xac000000;
}

static void put(struct making *m, uint32_t word)
{
    struct lock_mips_program *p = m->p;
    struct mips32_insn in;
    if (p->words >= LOCK_MIPS_WORDS)
        return;
    mips32_decode(m->g->decoder, word, &in);
    if (in.row < MAX_ROWS) {
        m->g->used[in.row]++;
        p->wide |= is_wide(mips32_row(m->g->decoder, in.row));
    }
    p->code[p->words++] = word;
}

static void put_constant(struct making *m, unsigned reg, uint32_t x)
{
    put(m, 0x3c000000 | reg << 16 | x >> 16);                  /* lui */
    put(m, 0x34000000 | reg << 21 | reg << 16 | (x & 0xffff)); /* ori */
}

enum { BREAK = 0x0000000d, WAIT = 0x42000020, ERET = 0x42000018 };

/* What ends programs, or leads them away, comes less often than others. */
static bool too_often(struct making *m, const struct mips32_op *op)
{
    bool ends = op->match == BREAK || op->match == WAIT || op->match == ERET;
    return (m->narrow && is_wide(op)) || (ends && !making_chance(m, 15));
}

static const struct mips32_op *pick_row(struct making *m, enum kind kind)
{
    const struct lock_mips_generator *g = m->g;
    for (;;) {
        const struct mips32_op *op =
            mips32_row(g->decoder, g->row[kind][making_below(m, g->rows[kind])]);
        if (!too_often(m, op))
            return op;
    }
}

static enum kind pick_kind(struct making *m)
{
    unsigned n = making_below(m, 100), fpu = lock_mips_model[m->p->model].fpu ? 20 : 2;
    unsigned system = m->kernel || (m->p->status & ST_CU0) ? 12 : 4;
    if (n < fpu)
        return FPU;
    if (n < fpu + system)
        return SYSTEM;
    n = making_below(m, 100);
    return n < 25 ? LOAD : n < 45 ? STORE : ALU;
}

/* Any instruction but a branch, most of the time. */
static void put_one(struct making *m)
{
    if (making_chance(m, 1)) {
        put(m, (uint32_t)making_next(&m->r));
        return;
    }
    enum kind kind = making_chance(m, 3) ? BRANCH : pick_kind(m);
    put(m, operands_of(m, pick_row(m, kind)));
}

static void put_branch(struct making *m)
{
    const struct mips32_op *op = pick_row(m, BRANCH);
    bool by_register = strchr(op->operands, 's') && !strchr(op->operands, 'b');
    uint32_t word = operands_of(m, op);
    if (by_register && making_chance(m, 85))
        put_constant(m, word >> 21 & 31, making_label(m));
    put(m, word);
    put_one(m);
}

/* ---- snippets ---------------------------------------------------------------------------------
 */

static void put_mtc0(struct making *m, unsigned reg, uint32_t x)
{
    unsigned by = 8 + making_below(m, 8); /* a temporary */
    put_constant(m, by, x);
    put(m, MTC0 | by << 16 | reg << 11);
}

/* Some bits of Status change, as kernels do it. */
static void put_status_change(struct making *m)
{
    static const uint32_t bits[] = {ST_IE, ST_EXL, ST_UM, ST_SM, ST_IE | ST_EXL, ST_EXL | ST_UM, 0};
    unsigned by = 8 + making_below(m, 8);
    uint32_t change = MAKING_PICK(m, bits) | (making_chance(m, 10) ? making_status(m) & ST_IM : 0);
    put(m, MFC0 | by << 16 | 12 << 11);
    put(m, 0x38000000 | by << 21 | by << 16 | change); /* xori */
    put(m, MTC0 | by << 16 | 12 << 11);
}

/* A register of CP0 with a value that means something. */
static void put_control(struct making *m)
{
    switch (making_below(m, 12)) {
    case 0:
        put_mtc0(m, 10, (making_address(m) & HI_VPN2) | making_asid(m)); /* EntryHi */
        break;
    case 1:
        put_mtc0(m, 5, making_page_mask(m));
        break;
    case 2:
        put_mtc0(m, 13, (uint32_t)making_next(&m->r) & (CA_IP_SOFT | CA_IV | CA_DC)); /* Cause */
        break;
    case 3:
        put_mtc0(m, 14, making_label(m)); /* EPC */
        break;
    case 4:
        put_mtc0(m, 6, making_below(m, 17)); /* Wired */
        break;
    case 5:
    case 6:
        put_mtc0(m, 12, making_status(m));
        break;
    default:
        put_status_change(m);
    }
}

/* An entry of the TLB is written again, or perhaps to another place, looked for, or read. */
static void put_indexed(struct making *m)
{
    static const uint32_t op[] = {0x42000001, 0x42000002, 0x42000002, 0x42000002, 0x42000008};
    unsigned n = 2 + making_below(m, LOCK_MIPS_ENTRIES - 2), how = making_homes[n].how;
    put_mtc0(m, 0, n); /* Index */
    put_mtc0(m, 10, making_homes[n].va | (ASID + making_homes[n].asid));
    for (unsigned half = 0; half < 2; half++)
        if (making_chance(m, 70))
            put_mtc0(m, 2 + half,
                     making_entry_lo(m, how | (m->narrow && making_chance(m, 30) ? CODE : 0)));
    if (making_homes[n].mask || making_chance(m, 10))
        put_mtc0(m, 5, making_homes[n].mask);
    put(m, MAKING_PICK(m, op));
}

/* A new entry, in a random place. */
static void put_new(struct making *m)
{
    uint32_t va = (making_chance(m, 50) ? 0x10006000 : 0xc1006000) + 0x2000 * making_below(m, 8);
    put_mtc0(m, 10, va | making_asid(m));
    put_mtc0(m, 2 + making_below(m, 2), making_entry_lo(m, 0));
    put(m, 0x42000006); /* tlbwr */
    put_constant(m, 16, va + (making_chance(m, 50) ? 0x1000 : 0) + 4 * making_below(m, 8)); /* s0 */
}

static void put_tlb(struct making *m)
{
    if (making_chance(m, 60))
        put_indexed(m);
    else
        put_new(m);
    if (making_chance(m, 70))
        put_mtc0(m, 10, ASID);
}

static void put_linked(struct making *m)
{
    unsigned b = base(m), t = written(m);
    uint32_t at = distance(m, 0xfffc);
    put(m, 0xc0000000 | b << 21 | t << 16 | at); /* ll */
    if (making_chance(m, 50))
        put_one(m);
    if (!m->narrow)
        put(m, 0xe0000000 | b << 21 | t << 16 | at); /* sc */
}

/* An instruction of the program is replaced, through one of the addresses that its memory has. */
static void put_patch(struct making *m)
{
    static const uint32_t segments[] = {KSEG0, KSEG1};
    static const uint32_t words[] = {0, 0x24420001, 0x00a62821, 0x8c870000, 0x0000000d};
    uint32_t offset = 4 * making_below(m, m->body), frame = LOCK_MIPS_CODE + 4 * m->p->first;
    put_constant(m, 16, MAKING_PICK(m, segments) + frame + offset);
    put_constant(m, 17, making_chance(m, 90) ? MAKING_PICK(m, words) : making_value32(m));
    put(m, making_chance(m, 80) ? 0xae110000 : 0xa2110000); /* sw, sb s1,0(s0) */
}

static void put_something(struct making *m)
{
    unsigned n = making_below(m, 100);
    if (m->kernel && m->narrow && n >= 96)
        put_patch(m);
    else if (m->kernel && n < 4)
        put_control(m);
    else if (m->kernel && n < 9)
        put_tlb(m);
    else if (n < 11)
        put_linked(m);
    else if (n < 13)
        put_constant(m, 16 + making_below(m, 5), making_address(m));
    else if (n < 28)
        put_branch(m);
    else
        put_one(m);
}
void making_words(struct making *m)
{
    while (m->p->words < m->body)
        put_something(m);
    put(m, BREAK);
}
