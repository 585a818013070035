/* SPDX-License-Identifier: MIT */
/* From an instruction word to its row and its decoded form, and to text (vol. I 4.1, vol. II).
 *
 * Rows are bucketed by major opcode; in a bucket the first match wins. Which coprocessor a row
 * needs is checked by a guard in front of its handler, because it depends on the mode in which the
 * instruction runs, not on the instruction. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "isa/mips32/insn.h"

#define MAJORS 64

struct mips32_decoder {
    bool release2;
    uint16_t first[MAJORS + 1]; /* bucket n is order[first[n]] up to order[first[n + 1]] */
    size_t rows;
    const struct mips32_op *order[];
};

static const struct mips32_ops_list *const subjects[] = {
    &mips32_ops_alu,    &mips32_ops_branch, &mips32_ops_mem,
    &mips32_ops_system, &mips32_ops_fpu,    &mips32_ops_fpmove,
};

const char mips32_gpr_names[32][5] = {
    "zero", "at", "v0", "v1", "a0", "a1", "a2", "a3", "t0", "t1", "t2",
    "t3",   "t4", "t5", "t6", "t7", "s0", "s1", "s2", "s3", "s4", "s5",
    "s6",   "s7", "t8", "t9", "k0", "k1", "gp", "sp", "fp", "ra",
};

/* ---- the table ------------------------------------------------------------------------------- */

static void fill_bucket(struct mips32_decoder *d, unsigned major)
{
    d->first[major] = (uint16_t)d->rows;
    for (size_t s = 0; s < ARRAY_LEN(subjects); s++)
        for (size_t i = 0; i < subjects[s]->count; i++)
            if (subjects[s]->ops[i].match >> 26 == major)
                d->order[d->rows++] = &subjects[s]->ops[i];
}

struct mips32_decoder *mips32_decoder_new(const struct mips32_model *m, struct err *e)
{
    size_t rows = 0;
    for (size_t s = 0; s < ARRAY_LEN(subjects); s++)
        rows += subjects[s]->count;
    struct mips32_decoder *d = calloc(1, sizeof *d + rows * sizeof *d->order);
    if (!d) {
        err_set(e, ENOMEM, "out-of-memory", "no memory for the instruction table");
        return NULL;
    }
    d->release2 = m->release2;
    for (unsigned major = 0; major < MAJORS; major++)
        fill_bucket(d, major);
    d->first[MAJORS] = (uint16_t)d->rows;
    return d;
}

void mips32_decoder_free(struct mips32_decoder *d)
{
    free(d);
}

size_t mips32_rows(const struct mips32_decoder *d)
{
    return d->rows;
}

const struct mips32_op *mips32_row(const struct mips32_decoder *d, unsigned row)
{
    return row < d->rows ? d->order[row] : NULL;
}

const char *mips32_row_name(unsigned row)
{
    for (unsigned major = 0; major < MAJORS; major++)
        for (size_t s = 0; s < ARRAY_LEN(subjects); s++)
            for (size_t i = 0; i < subjects[s]->count; i++)
                if (subjects[s]->ops[i].match >> 26 == major && !row--)
                    return subjects[s]->ops[i].name;
    return "(reserved)";
}

static unsigned find_row(const struct mips32_decoder *d, uint32_t word)
{
    unsigned major = word >> 26;
    for (unsigned i = d->first[major]; i < d->first[major + 1]; i++) {
        const struct mips32_op *op = d->order[i];
        if ((word & op->mask) == op->match && (d->release2 || !(op->flags & MIPS32_R2)))
            return i;
    }
    return MIPS32_NO_ROW;
}

/* ---- guards ---------------------------------------------------------------------------------- */

MIPS32_HANDLER(reserved)
{
    mips32_raise(v, EXC_RI);
    return in;
}

MIPS32_HANDLER(guard_cp0)
{
    if (v->mode != MIPS32_KERNEL && !(v->cp0.status & ST_CU0))
        mips32_raise_coprocessor(v, 0);
    return v->decoder->order[in->row]->fn(v, in);
}

MIPS32_HANDLER(guard_cp1)
{
    const struct mips32_op *op = v->decoder->order[in->row];
    if (!(v->cp0.status & ST_CU1))
        mips32_raise_coprocessor(v, 1);
    if ((op->flags & MIPS32_FR1) && !(v->cp0.status & ST_FR))
        mips32_raise(v, EXC_RI);
    return op->fn(v, in);
}

/* ---- operands -------------------------------------------------------------------------------- */

static unsigned field(uint32_t word, unsigned low)
{
    return word >> low & 31;
}

static int32_t immediate(uint32_t word, char operand)
{
    switch (operand) {
    case 'i':
    case 'o':
        return (int16_t)word;
    case 'u':
        return (uint16_t)word;
    case 'b': /* from the branch itself */
        return (int16_t)word * 4 + 4;
    case 'j':
        return (int32_t)((word & 0x03ffffffu) << 2);
    case 'a':
        return (int32_t)field(word, 6);
    case 'c': /* sel */
        return (int32_t)(word & 7);
    case 'e': /* pos | size << 8 */
        return (int32_t)(field(word, 6) | (field(word, 11) + 1) << 8);
    case 'E': /* the field has the msb */
        return (int32_t)(field(word, 6) | (field(word, 11) + 1 - field(word, 6)) << 8);
    case 'k':
        return (int32_t)(word >> 6 & 0xfffff);
    case 'm':
        return (int32_t)(word >> 8 & 7);
    default:
        return 0;
    }
}

void mips32_decode(const struct mips32_decoder *d, uint32_t word, struct mips32_insn *in)
{
    mips32_decode_as(d, find_row(d, word), word, in);
}

void mips32_decode_as(const struct mips32_decoder *d, unsigned row, uint32_t word,
                      struct mips32_insn *in)
{
    in->word = word;
    in->imm = 0;
    in->rs = (uint8_t)field(word, 21);
    in->rt = (uint8_t)field(word, 16);
    in->rd = (uint8_t)field(word, 11);
    in->dst = MIPS32_SINK;
    in->row = (uint16_t)row;
    in->fn = reserved;
    if (row == MIPS32_NO_ROW)
        return;
    const struct mips32_op *op = d->order[row];
    for (const char *p = op->operands; *p; p++) {
        if (*p == 'd' && in->rd)
            in->dst = in->rd;
        else if (*p == 'w' && in->rt)
            in->dst = in->rt;
        else if (*p == 'D')
            in->dst = (uint8_t)field(word, 6);
        int32_t imm = immediate(word, *p);
        if (imm)
            in->imm = imm;
    }
    in->fn = op->flags & MIPS32_CP0 ? guard_cp0 : op->flags & MIPS32_CP1 ? guard_cp1 : op->fn;
}

/* ---- text ------------------------------------------------------------------------------------ */

static int print_operand(char *at, size_t room, char operand, uint32_t pc, uint32_t word)
{
    int32_t imm = immediate(word, operand);
    switch (operand) {
    case 'd':
        return snprintf(at, room, "%s", mips32_gpr_names[field(word, 11)]);
    case 's':
        return snprintf(at, room, "%s", mips32_gpr_names[field(word, 21)]);
    case 't':
    case 'w':
        return snprintf(at, room, "%s", mips32_gpr_names[field(word, 16)]);
    case 'S':
        return snprintf(at, room, "$f%u", field(word, 11));
    case 'T':
        return snprintf(at, room, "$f%u", field(word, 16));
    case 'D':
        return snprintf(at, room, "$f%u", field(word, 6));
    case 'R':
        return snprintf(at, room, "$f%u", field(word, 21));
    case 'o':
        return snprintf(at, room, "%" PRId32 "(%s)", imm, mips32_gpr_names[field(word, 21)]);
    case 'x':
        return snprintf(at, room, "%s(%s)", mips32_gpr_names[field(word, 16)],
                        mips32_gpr_names[field(word, 21)]);
    case 'b':
        return snprintf(at, room, "0x%" PRIx32, pc + (uint32_t)imm);
    case 'j':
        return snprintf(at, room, "0x%" PRIx32, ((pc + 4) & 0xf0000000u) | (uint32_t)imm);
    case 'c':
        return snprintf(at, room, "$%u,%" PRId32, field(word, 11), imm);
    case 'e':
    case 'E':
        return snprintf(at, room, "%" PRId32 ",%" PRId32, imm & 0xff, imm >> 8);
    case 'n':
        return snprintf(at, room, "$fcc%u", word >> 18 & 7);
    case 'm':
        return snprintf(at, room, "$fcc%" PRId32, imm);
    default:
        return snprintf(at, room, "%" PRId32, imm);
    }
}

void mips32_disassemble(const struct mips32_decoder *d, uint32_t pc, uint32_t word, char *text,
                        size_t size)
{
    const struct mips32_op *op = mips32_row(d, find_row(d, word));
    if (!op) {
        snprintf(text, size, ".word 0x%08" PRIx32, word);
        return;
    }
    size_t n = (size_t)snprintf(text, size, "%s", op->name);
    for (const char *p = op->operands; *p && n < size; p++) {
        n += (size_t)snprintf(text + n, size - n, p == op->operands ? " " : ",");
        if (n < size)
            n += (size_t)print_operand(text + n, size - n, *p, pc, word);
    }
}
