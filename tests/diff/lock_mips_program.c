/* SPDX-License-Identifier: MIT */
/* lock_mips_random's programs: see lock_mips_program.h.
 *
 * Virtual memory, each a pair of pages with an entry of the TLB of its own:
 *
 *   00400000, c0400000  code; also at 80008000 and a0008000
 *   10000000, c1000000  three pairs of data each: pages that exist or do not, writable or not, of
 *                       this ASID or another, one of them perhaps the device or code
 *   20000000            two pages of 16 KiB
 *
 * Some registers are bases of addresses, near borders of pages; the others hold anything. Where
 * data pages show the code, stores are of words, halves and bytes, because after others an engine
 * need not run the new code before software synchronises (vol. II SYNCI). EBase and IntCtl are left
 * alone, and so is Compare's interrupt, since the clock stands still. */
#include "lock_mips_program.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "isa/mips32/fpu.h"
#include "isa/mips32/insn.h"

#define ASID     5u
#define MAX_ROWS 512u

enum kind { ALU, LOAD, STORE, BRANCH, FPU, SYSTEM, KINDS };

struct lock_mips_generator {
    struct mips32_decoder *decoder; /* of release 2: programs for release 1 have its rows, too */
    uint16_t row[KINDS][MAX_ROWS];
    unsigned rows[KINDS];
    uint64_t used[MAX_ROWS];
};

struct random {
    uint64_t state;
};

/* One program in the making. */
struct making {
    struct lock_mips_generator *g;
    struct lock_mips_program *p;
    struct random r;
    bool kernel, narrow; /* `narrow`: plain stores only */
    unsigned body;       /* words of the program proper */
};

static uint64_t next(struct random *r)
{
    return lock_mips_mix(r->state++);
}

static unsigned below(struct making *m, unsigned n)
{
    return (unsigned)(next(&m->r) >> 32) % n;
}

static bool chance(struct making *m, unsigned percent)
{
    return below(m, 100) < percent;
}

#define PICK(m, array) ((array)[below(m, ARRAY_LEN(array))])

/* ---- values -----------------------------------------------------------------------------------
 */

static uint32_t value32(struct making *m)
{
    static const uint32_t special[] = {0,          1,          2,          31,         32,
                                       0x7f,       0x80,       0xff,       0x7fff,     0x8000,
                                       0xffff,     0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff,
                                       0x80000001, 0x3f800000, 0x7f800000, 0xff800000, 0x7fbfffff};
    return chance(m, 50) ? PICK(m, special) : (uint32_t)next(&m->r);
}

static uint64_t value64(struct making *m)
{
    static const uint64_t special[] = {
        0,
        UINT64_C(0x8000000000000000),
        UINT64_C(0x3ff0000000000000), /* 1 */
        UINT64_C(0xbff0000000000000),
        UINT64_C(0x7ff0000000000000), /* infinity */
        UINT64_C(0x7ff7ffffffffffff), /* NaNs */
        UINT64_C(0x7ff8000000000001),
        UINT64_C(0x0000000000000001), /* denormal */
        UINT64_C(0x41dfffffffc00000), /* 2^31 - 1 */
        UINT64_C(0x43e0000000000000), /* 2^63 */
        UINT64_C(0x7f7fffff3f800000),
        UINT64_C(0x0000000100000001),
        UINT64_C(0x3fe00000bf000000),
    };
    return chance(m, 60) ? PICK(m, special) : next(&m->r);
}

static const uint32_t data_windows[] = {0x10000000, 0x10002000, 0x10004000, 0xc1000000, 0xc1002000,
                                        0xc1004000, 0x20000000, 0x20004000, 0x80004000, 0x80006000,
                                        0xa0004000, 0xbf000000, 0x80001000, 0x9e000000};

/* An address that something is likely to be at, near the border of a page as a rule. */
static uint32_t address(struct making *m)
{
    static const uint32_t offset[] = {0, 4, 8, 0x10, 0x100, 0x7fc, 0xff0, 0xff8, 0xffc, 0x1000};
    unsigned odd = chance(m, 15) ? below(m, 8) : 0;
    return PICK(m, data_windows) + (chance(m, 50) ? 0x1000 : 0) + PICK(m, offset) + odd;
}

static uint32_t label(struct making *m)
{
    return m->p->at + 4 * below(m, m->body + 1);
}

static uint32_t entry_lo(struct making *m, bool code)
{
    static const uint32_t rights[] = {LO_V | LO_D, LO_V | LO_D, LO_V | LO_D, LO_V | LO_D,
                                      LO_V,        LO_V,        0,           LO_D};
    uint32_t frame = LOCK_MIPS_DATA + 0x1000 * below(m, LOCK_MIPS_DATA_PAGES);
    if (code)
        frame = LOCK_MIPS_CODE + 0x1000 * below(m, LOCK_MIPS_CODE_PAGES);
    else if (chance(m, 8))
        frame = LOCK_MIPS_DEVICE;
    else if (chance(m, 2))
        frame = 0x1e000000; /* nothing is there */
    return frame >> 6 | 3u << 3 | PICK(m, rights) | (chance(m, 25) ? LO_G : 0);
}

static uint32_t status(struct making *m)
{
    static const uint32_t modes[] = {0, 0, ST_UM, ST_SM, ST_UM | ST_SM};
    uint32_t x = PICK(m, modes) | (chance(m, 50) ? ST_IE : 0) | (chance(m, 15) ? ST_EXL : 0);
    x |= (chance(m, 4) ? ST_ERL : 0) | (chance(m, 4) ? ST_BEV : 0);
    x |= (chance(m, 80) ? ST_CU1 : 0) | (chance(m, 40) ? ST_FR : 0) | (chance(m, 20) ? ST_CU0 : 0);
    return x | (chance(m, 60) ? (uint32_t)next(&m->r) & ST_IM : 0);
}

static uint32_t asid(struct making *m)
{
    return chance(m, 75) ? ASID : ASID + 1 + below(m, 2);
}

static uint32_t page_mask(struct making *m)
{
    static const uint32_t masks[] = {0, 0, 0, 0, 0x6000, 0x1e000, 0x4000, 0x1fffe000};
    return PICK(m, masks);
}

/* ---- the state at the start -------------------------------------------------------------------
 */

static void set_entry(struct making *m, unsigned n, uint32_t va, uint32_t mask, bool code)
{
    m->p->tlb[n].hi = va | asid(m);
    m->p->tlb[n].mask = mask;
    for (unsigned half = 0; half < 2; half++)
        m->p->tlb[n].lo[half] = entry_lo(m, code);
}

/* The code, at its two mapped addresses; what goes wrong with its pages is the second one's. */
static void set_code_entry(struct making *m, unsigned n, uint32_t va)
{
    set_entry(m, n, va, 0, true);
    m->p->tlb[n].hi = va | ASID;
    m->p->tlb[n].lo[0] = LOCK_MIPS_CODE >> 6 | 3u << 3 | LO_V;
    if (chance(m, 85))
        m->p->tlb[n].lo[1] = (LOCK_MIPS_CODE + 0x1000) >> 6 | 3u << 3 | LO_V;
}

/* Four programs in a row have the same TLB. */
static void make_tlb(struct making *m, uint64_t seed)
{
    struct random own = m->r;
    m->r.state = lock_mips_mix(seed ^ m->p->index / 4);
    m->narrow = chance(m, 15);
    set_code_entry(m, 0, 0x00400000);
    set_code_entry(m, 1, 0xc0400000);
    for (unsigned i = 0; i < 6; i++)
        set_entry(m, 2 + i, data_windows[i], 0, m->narrow && chance(m, 30));
    set_entry(m, 8, 0x20000000, 0x6000, false);
    for (unsigned i = 9; i < LOCK_MIPS_ENTRIES; i++) { /* the same pages under another ASID */
        set_entry(m, i, data_windows[(i - 9) % 6], 0, false);
        m->p->tlb[i].hi = data_windows[(i - 9) % 6] | (ASID + 1 + i % 2);
    }
    m->r = own;
}

static bool is_base(unsigned reg)
{
    return UINT32_C(0x701f0038) >> reg & 1; /* v1 a0 a1 s0-s4 gp sp fp */
}

static void make_registers(struct making *m)
{
    struct lock_mips_program *p = m->p;
    for (unsigned i = 1; i < 32; i++) {
        p->gpr[i] = is_base(i) ? address(m) : value32(m);
        p->fpr[i] = value64(m);
    }
    p->fpr[0] = value64(m);
    p->hi = value32(m);
    p->lo = value32(m);
    p->fcsr = below(m, 4) | (chance(m, 20) ? FCSR_FS : 0) |
              (chance(m, 20) ? (uint32_t)next(&m->r) & FCSR_ENABLES : 0);
    p->ll_bit = chance(m, 20);
}

/* Where the code may run in a mode, and Status for it. */
static void make_mode(struct making *m)
{
    static const uint32_t at[] = {0x80008000, 0xa0008000, 0xc0400000, 0x00400000};
    const struct mips32_model *model = &lock_mips_model[m->p->model];
    unsigned way = below(m, 10);
    uint32_t x = status(m) & ~(uint32_t)(ST_UM | ST_SM | ST_EXL | ST_ERL | ST_BEV);
    m->kernel = way < 6;
    m->p->at = at[way < 6 ? below(m, 4) : 3];
    if (way >= 6 && way < 9)
        x |= ST_UM;
    if (way == 9 && model->supervisor) {
        x |= ST_SM;
        m->p->at = at[2 + below(m, 2)];
    } else if (way == 9) {
        x |= ST_UM;
    }
    if (m->kernel && chance(m, 8))
        x |= ST_EXL;
    if (m->kernel && m->p->at >= KSEG0 && chance(m, 3))
        x |= ST_ERL;
    m->p->status = x;
}

static void make_cp0(struct making *m)
{
    struct lock_mips_program *p = m->p;
    p->entry_hi = ASID | (address(m) & HI_VPN2);
    p->entry_lo[0] = entry_lo(m, false);
    p->entry_lo[1] = entry_lo(m, false);
    p->page_mask = page_mask(m);
    p->tlb_index = below(m, LOCK_MIPS_ENTRIES);
    p->wired = chance(m, 50) ? 2 : below(m, 16);
    p->random = p->wired + below(m, 16 - p->wired);
    p->epc = label(m);
    p->error_epc = label(m);
    p->hwrena = (uint32_t)next(&m->r) & 0x2000000f;
    p->count = value32(m);
    p->cause = chance(m, 50) ? CA_IV : 0;
    if (chance(m, 10))
        p->cause |= (uint32_t)next(&m->r) & CA_IP_SOFT;
    if (chance(m, 15))
        p->lines = (uint32_t)next(&m->r) & 0x7c00;
    p->handling = (struct lock_mips_handling){
        .fuel = 2 + below(m, 12),
        .refill = chance(m, 60),
        .lo = {entry_lo(m, false), entry_lo(m, false)},
    };
}

/* ---- instructions -----------------------------------------------------------------------------
 */

static unsigned written(struct making *m)
{
    unsigned reg = below(m, 32);
    while (is_base(reg) && !chance(m, 8))
        reg = below(m, 32);
    return reg;
}

static unsigned base(struct making *m)
{
    unsigned reg = below(m, 32);
    while (!is_base(reg) && !chance(m, 5))
        reg = below(m, 32);
    return reg;
}

static uint32_t distance(struct making *m, uint32_t bits)
{
    static const int16_t far[] = {-0x1000, 0x1000, -0x7ff8, 0x7ff8};
    int32_t x = chance(m, 3) ? PICK(m, far) : 4 * (int32_t)below(m, 9) - 16;
    if (chance(m, 20))
        x += (int32_t)below(m, 4);
    return (uint32_t)x & bits;
}

/* Words from the one behind the branch to a place in the program, forwards as a rule. */
static uint32_t branch_words(struct making *m)
{
    unsigned from = m->p->words + 1, left = m->body > from ? m->body - from : 0;
    if (chance(m, 12) || !left)
        return (below(m, m->body + 1) - from) & 0xffff;
    return below(m, left < 10 ? left + 1 : 10) & 0xffff;
}

static unsigned fp_register(struct making *m)
{
    return chance(m, 80) ? below(m, 16) * 2 : below(m, 32);
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
        return below(m, 32) << 21;
    case 't':
        return below(m, 32) << 16;
    case 'a':
        return below(m, 32) << 6;
    case 'i':
    case 'u':
        return value32(m) & 0xffff;
    case 'o':
        return base(m) << 21 | distance(m, 0xffff);
    case 'x':
        return base(m) << 21 | (chance(m, 70) ? 0 : below(m, 32) << 16);
    case 'b':
        return branch_words(m);
    case 'j':
        return label(m) >> 2 & 0x3ffffff;
    case 'k':
        return below(m, 1024) << 6;
    case 'S':
        return fp_register(m) << 11;
    case 'T':
        return fp_register(m) << 16;
    case 'D':
        return fp_register(m) << 6;
    case 'R':
        return fp_register(m) << 21;
    case 'n':
        return below(m, 8) << 18;
    case 'm':
        return below(m, 8) << 8;
    default:
        return 0;
    }
}

/* A field of bits: position and size, or position and last bit. */
static uint32_t bit_field(struct making *m, bool last_bit)
{
    unsigned position = below(m, 32), size = 1 + below(m, 32 - position);
    return position << 6 | (last_bit ? position + size - 1 : size - 1) << 11;
}

/* Number and selection of a CP0 register, or a control register of CP1. */
static uint32_t control_register(struct making *m, bool write)
{
    static const uint8_t fp[] = {31, 31, 31, 25, 26, 28, 0};
    static const uint8_t cp0[] = {0,  2,  3,  4,  5,  6,  7,  8,  9, 10,
                                  12, 13, 14, 16, 17, 28, 29, 30, 31};
    if (write)
        return (uint32_t)PICK(m, cp0) << 11;
    return chance(m, 30) ? (uint32_t)PICK(m, fp) << 11 : below(m, 32) << 11 | below(m, 4);
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
    return (m->narrow && is_wide(op)) || (ends && !chance(m, 15));
}

static const struct mips32_op *pick_row(struct making *m, enum kind kind)
{
    const struct lock_mips_generator *g = m->g;
    for (;;) {
        const struct mips32_op *op = mips32_row(g->decoder, g->row[kind][below(m, g->rows[kind])]);
        if (!too_often(m, op))
            return op;
    }
}

static enum kind pick_kind(struct making *m)
{
    unsigned n = below(m, 100), fpu = lock_mips_model[m->p->model].fpu ? 20 : 2;
    unsigned system = m->kernel || (m->p->status & ST_CU0) ? 12 : 4;
    if (n < fpu)
        return FPU;
    if (n < fpu + system)
        return SYSTEM;
    n = below(m, 100);
    return n < 25 ? LOAD : n < 45 ? STORE : ALU;
}

/* Any instruction but a branch, most of the time. */
static void put_one(struct making *m)
{
    if (chance(m, 1)) {
        put(m, (uint32_t)next(&m->r));
        return;
    }
    enum kind kind = chance(m, 3) ? BRANCH : pick_kind(m);
    put(m, operands_of(m, pick_row(m, kind)));
}

static void put_branch(struct making *m)
{
    const struct mips32_op *op = pick_row(m, BRANCH);
    bool by_register = strchr(op->operands, 's') && !strchr(op->operands, 'b');
    uint32_t word = operands_of(m, op);
    if (by_register && chance(m, 85))
        put_constant(m, word >> 21 & 31, label(m));
    put(m, word);
    put_one(m);
}

/* ---- snippets ---------------------------------------------------------------------------------
 */

static void put_mtc0(struct making *m, unsigned reg, uint32_t x)
{
    unsigned by = 8 + below(m, 8); /* a temporary */
    put_constant(m, by, x);
    put(m, MTC0 | by << 16 | reg << 11);
}

/* A register of CP0 with a value that means something. */
static void put_control(struct making *m)
{
    switch (below(m, 8)) {
    case 0:
        put_mtc0(m, 10, (address(m) & HI_VPN2) | asid(m)); /* EntryHi */
        break;
    case 1:
        put_mtc0(m, 5, page_mask(m));
        break;
    case 2:
        put_mtc0(m, 13, (uint32_t)next(&m->r) & (CA_IP_SOFT | CA_IV | CA_DC)); /* Cause */
        break;
    case 3:
        put_mtc0(m, 14, label(m)); /* EPC */
        break;
    case 4:
        put_mtc0(m, 6, below(m, 17)); /* Wired */
        break;
    default:
        put_mtc0(m, 12, status(m));
    }
}

/* An entry of the TLB is written, looked for or read; perhaps it is used then. */
static void put_tlb(struct making *m)
{
    static const uint32_t op[] = {0x42000001, 0x42000002, 0x42000002, 0x42000002,
                                  0x42000006, 0x42000006, 0x42000006, 0x42000008};
    uint32_t va = PICK(m, data_windows);
    put_mtc0(m, 10, va | asid(m));
    for (unsigned half = 0; half < 2; half++)
        if (chance(m, 60))
            put_mtc0(m, 2 + half, entry_lo(m, m->narrow && chance(m, 30)));
    if (chance(m, 20))
        put_mtc0(m, 5, page_mask(m));
    if (chance(m, 50))
        put_mtc0(m, 0, below(m, LOCK_MIPS_ENTRIES)); /* Index */
    put(m, PICK(m, op));
    if (chance(m, 50))
        put_constant(m, 16, va + (chance(m, 50) ? 0x1000 : 0) + 4 * below(m, 8)); /* s0 */
}

static void put_linked(struct making *m)
{
    unsigned b = base(m), t = written(m);
    uint32_t at = distance(m, 0xfffc);
    put(m, 0xc0000000 | b << 21 | t << 16 | at); /* ll */
    if (chance(m, 50))
        put_one(m);
    if (!m->narrow)
        put(m, 0xe0000000 | b << 21 | t << 16 | at); /* sc */
}

static void put_something(struct making *m)
{
    unsigned n = below(m, 100);
    if (m->kernel && n < 4)
        put_control(m);
    else if (m->kernel && n < 9)
        put_tlb(m);
    else if (n < 11)
        put_linked(m);
    else if (n < 13)
        put_constant(m, 16 + below(m, 5), address(m));
    else if (n < 28)
        put_branch(m);
    else
        put_one(m);
}

/* So that it ends in the first page, the second, or crosses from one to the other. */
static void make_place(struct making *m)
{
    struct lock_mips_program *p = m->p;
    if (chance(m, 50))
        p->first = 0x400 - 1 - below(m, m->body);
    else
        p->first = below(m, LOCK_MIPS_CODE_WORDS - LOCK_MIPS_WORDS - 1);
    p->at += 4 * p->first;
}

void lock_mips_generate(struct lock_mips_generator *g, uint64_t seed, uint64_t index,
                        unsigned model, struct lock_mips_program *p)
{
    struct making m = {.g = g, .p = p, .r = {lock_mips_mix(lock_mips_mix(seed) + index)}};
    memset(p, 0, sizeof *p);
    p->index = index;
    p->model = model;
    m.body = 3 + below(&m, chance(&m, 50) ? 12 : 52);
    make_tlb(&m, seed);
    make_mode(&m);
    make_place(&m);
    make_registers(&m);
    make_cp0(&m);
    while (p->words < m.body)
        put_something(&m);
    put(&m, BREAK);
}

/* ---- life, reports ----------------------------------------------------------------------------
 */

static enum kind kind_of(const struct mips32_op *op)
{
    if (op->flags & MIPS32_BRANCH)
        return BRANCH;
    if (op->flags & MIPS32_CP1)
        return FPU;
    if (op->flags & (MIPS32_LOAD | MIPS32_STORE))
        return op->flags & MIPS32_LOAD ? LOAD : STORE;
    return op->flags & (MIPS32_CP0 | MIPS32_END) ? SYSTEM : ALU;
}

struct lock_mips_generator *lock_mips_generator_new(struct err *e)
{
    struct lock_mips_generator *g = calloc(1, sizeof *g);
    if (!g || !(g->decoder = mips32_decoder_new(&lock_mips_model[0], e))) {
        free(g);
        return NULL;
    }
    for (unsigned i = 0; i < mips32_rows(g->decoder) && i < MAX_ROWS; i++) {
        enum kind k = kind_of(mips32_row(g->decoder, i));
        g->row[k][g->rows[k]++] = (uint16_t)i;
    }
    return g;
}

void lock_mips_generator_free(struct lock_mips_generator *g)
{
    if (g)
        mips32_decoder_free(g->decoder);
    free(g);
}

unsigned lock_mips_missing(const struct lock_mips_generator *g, FILE *out)
{
    unsigned missing = 0;
    for (unsigned i = 0; i < mips32_rows(g->decoder); i++)
        if (i >= MAX_ROWS || !g->used[i]) {
            if (out)
                fprintf(out, "in no program: %s\n", mips32_row(g->decoder, i)->name);
            missing++;
        }
    return missing;
}

void lock_mips_print_program(const struct lock_mips_generator *g, const struct lock_mips_program *p,
                             FILE *out)
{
    fprintf(out,
            "program %" PRIu64
            ": %s; status %08x fcsr %08x entry_hi %08x lines %04x, %u exceptions%s\n",
            p->index, lock_mips_model[p->model].name, p->status, p->fcsr, p->entry_hi, p->lines,
            p->handling.fuel, p->handling.refill ? ", refilled" : "");
    for (unsigned i = 0; i < LOCK_MIPS_ENTRIES; i++)
        fprintf(out, "    tlb %2u %08x mask %08x lo %08x %08x\n", i, p->tlb[i].hi, p->tlb[i].mask,
                p->tlb[i].lo[0], p->tlb[i].lo[1]);
    for (unsigned i = 0; i < 32; i++)
        fprintf(out, "%s%4s %08x%s", i % 4 ? " " : "    ", mips32_gpr_names[i], p->gpr[i],
                i % 4 == 3 ? "\n" : "");
    for (unsigned i = 0; i < 32; i++)
        fprintf(out, "%s f%-2u %016" PRIx64 "%s", i % 4 ? "" : "   ", i, p->fpr[i],
                i % 4 == 3 ? "\n" : "");
    for (unsigned i = 0; i < p->words; i++) {
        char text[80];
        mips32_disassemble(g->decoder, p->at + 4 * i, p->code[i], text, sizeof text);
        fprintf(out, "    %08x  %08x  %s\n", p->at + 4 * i, p->code[i], text);
    }
}
