/* SPDX-License-Identifier: MIT */
/* lock_mips_random's programs: see lock_mips_program.h.
 *
 * Virtual memory, each a pair of pages with an entry of the TLB of its own:
 *
 *   00400000, c0400000  code; also at 80008000 and a0008000
 *   10000000, c1000000  three pairs of data each: pages that exist or do not, writable or not, of
 *                       this ASID or another, one of them perhaps the device or code; some have
 *                       a twin of another ASID
 *   20000000            two pages of 16 KiB
 *   30000000, c3000000  more pairs
 *
 * TLB entries for the same page are not made on purpose, because what they do is not defined.
 * Some registers are bases of addresses, near borders of pages; the others hold anything. Where
 * data pages show the code, stores are of words, halves and bytes, because after others an engine
 * need not run the new code before software synchronises (vol. II SYNCI). EBase and IntCtl are left
 * alone. Compare's interrupt does not come, since the clock stands still. */
#include "lock_mips_program.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "isa/mips32/fpu.h"
#include "lock_mips_making.h"

/* ---- the state at the start -------------------------------------------------------------------
 */

static void set_entry(struct making *m, unsigned n)
{
    m->p->tlb[n].hi = making_homes[n].va | (ASID + making_homes[n].asid);
    m->p->tlb[n].mask = making_homes[n].mask;
    for (unsigned half = 0; half < 2; half++)
        m->p->tlb[n].lo[half] = making_entry_lo(
            m, making_homes[n].how | (m->narrow && making_chance(m, 30) ? CODE : 0));
}

/* The code, at its two mapped addresses; what goes wrong with its pages is the second one's. */
static void set_code_entry(struct making *m, unsigned n)
{
    set_entry(m, n);
    m->p->tlb[n].lo[0] = LOCK_MIPS_CODE >> 6 | 3u << 3 | LO_V;
    if (making_chance(m, 85))
        m->p->tlb[n].lo[1] = (LOCK_MIPS_CODE + 0x1000) >> 6 | 3u << 3 | LO_V;
}

/* Four programs in a row have the same TLB. */
static void make_tlb(struct making *m, uint64_t seed)
{
    struct random own = m->r;
    m->r.state = lock_mips_mix(seed ^ m->p->index / 4);
    m->narrow = making_chance(m, 25);
    for (unsigned i = 0; i < LOCK_MIPS_ENTRIES; i++)
        if (i < 2)
            set_code_entry(m, i);
        else
            set_entry(m, i);
    m->r = own;
}

static void make_registers(struct making *m)
{
    struct lock_mips_program *p = m->p;
    for (unsigned i = 1; i < 32; i++) {
        p->gpr[i] = making_is_base(i) ? making_address(m) : making_value32(m);
        p->fpr[i] = making_value64(m);
    }
    p->fpr[0] = making_value64(m);
    p->hi = making_value32(m);
    p->lo = making_value32(m);
    p->fcsr = making_below(m, 4) | (making_chance(m, 20) ? FCSR_FS : 0) |
              (making_chance(m, 20) ? (uint32_t)making_next(&m->r) & FCSR_ENABLES : 0);
    p->ll_bit = making_chance(m, 20);
}

/* Where the code may run in a mode, and Status for it. */
static void make_mode(struct making *m)
{
    static const uint32_t at[] = {0x80008000, 0xa0008000, 0xc0400000, 0x00400000};
    const struct mips32_model *model = &lock_mips_model[m->p->model];
    unsigned way = making_below(m, 10);
    uint32_t x = making_status(m) & ~(uint32_t)(ST_UM | ST_SM | ST_EXL | ST_ERL | ST_BEV);
    m->kernel = way < 6;
    m->p->at = at[way < 6 ? making_below(m, 4) : 3];
    if (way >= 6 && way < 9)
        x |= ST_UM;
    if (way == 9 && model->supervisor) {
        x |= ST_SM;
        m->p->at = at[2 + making_below(m, 2)];
    } else if (way == 9) {
        x |= ST_UM;
    }
    if (m->kernel && making_chance(m, 20)) /* in an exception from some mode */
        x |= ST_EXL | (making_chance(m, 50) ? making_status(m) & (ST_UM | ST_SM) : 0);
    if (m->kernel && m->p->at >= KSEG0 && making_chance(m, 3))
        x |= ST_ERL;
    m->p->status = x;
}

static void make_cp0(struct making *m)
{
    struct lock_mips_program *p = m->p;
    p->entry_hi = ASID | (making_address(m) & HI_VPN2);
    p->entry_lo[0] = making_entry_lo(m, 0);
    p->entry_lo[1] = making_entry_lo(m, 0);
    p->page_mask = making_page_mask(m);
    p->tlb_index = making_below(m, LOCK_MIPS_ENTRIES);
    p->wired = making_chance(m, 50) ? 2 : making_below(m, 16);
    p->random = p->wired + making_below(m, 16 - p->wired);
    p->epc = making_label(m);
    p->error_epc = making_label(m);
    p->hwrena = (uint32_t)making_next(&m->r) & 0x2000000f;
    p->count = making_value32(m);
    p->cause = making_chance(m, 50) ? CA_IV : 0;
    if (making_chance(m, 10))
        p->cause |= (uint32_t)making_next(&m->r) & CA_IP_SOFT;
    if (making_chance(m, 15))
        p->lines = (uint32_t)making_next(&m->r) & 0x7c00;
    p->handling = (struct lock_mips_handling){
        .fuel = 2 + making_below(m, 12),
        .refill = making_chance(m, 60),
        .lo = {making_entry_lo(m, 0), making_entry_lo(m, 0)},
    };
}
/* So that it ends in the first page, the second, or crosses from one to the other. */
static void make_place(struct making *m)
{
    struct lock_mips_program *p = m->p;
    if (making_chance(m, 50))
        p->first = 0x400 - 1 - making_below(m, m->body);
    else
        p->first = making_below(m, LOCK_MIPS_CODE_WORDS - LOCK_MIPS_WORDS - 1);
    p->at += 4 * p->first;
}

void lock_mips_generate(struct lock_mips_generator *g, uint64_t seed, uint64_t index,
                        unsigned model, struct lock_mips_program *p)
{
    struct making m = {.g = g, .p = p, .r = {lock_mips_mix(lock_mips_mix(seed) + index)}};
    memset(p, 0, sizeof *p);
    p->index = index;
    p->model = model;
    m.body = 3 + making_below(&m, making_chance(&m, 50) ? 12 : 52);
    make_tlb(&m, seed);
    make_mode(&m);
    make_place(&m);
    make_registers(&m);
    make_cp0(&m);
    making_words(&m);
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
            ": %s; status %08x fcsr %08x entry_hi %08x cause %08x lines %04x, %u exceptions; "
            "refill %u lo %08x %08x random %u\n",
            p->index, lock_mips_model[p->model].name, p->status, p->fcsr, p->entry_hi, p->cause,
            p->lines, p->handling.fuel, p->handling.refill, p->handling.lo[0], p->handling.lo[1],
            p->random);
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
