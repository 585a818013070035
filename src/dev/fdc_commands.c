/* SPDX-License-Identifier: MIT */
/* The commands of the floppy controller (82077AA data sheet 290166, chapter 5). Sectors are found
 * as on a disk: the drive must be there with its motor on, the data rate the disk's, the identity
 * that the command names the one that passes under the head.
 *
 * Left out: SCAN, which is an invalid command; marks of deleted data, of which images have none:
 * READ DELETED DATA stops after a sector with its mark set, WRITE DELETED DATA is WRITE DATA. */
#include "dev/fdc.h"

#include <string.h>

enum { CMD_MFM = 0x40, UNIT_DRIVE = 0x03, UNIT_HEAD = 0x04, VERIFY_COUNT = 0x80 };
enum { ENHANCED_82077 = 0x90, LOCK = 0x80, SEEK_OUT = 0x40 };
#define SIZE_512  2
#define MAX_STEPS 79

/* ---- finding a sector ------------------------------------------------------------------------ */

/* The drive and head of command byte 1 are selected. ST1 of why nothing can be read there, or 0. */
static uint8_t select_unit(struct fdc *s)
{
    struct fdc_drive *d = fdc_drive(s, s->command[1] & UNIT_DRIVE);

    s->unit = s->command[1] & UNIT_DRIVE;
    s->head = !!(s->command[1] & UNIT_HEAD);
    s->c = d ? d->cylinder : 0;
    s->r = 1;
    if (!d || !d->block || !(s->dor & (DOR_MOTOR0 << s->unit)) || !(s->command[0] & CMD_MFM) ||
        s->rate != d->format->rate || s->head >= d->format->heads)
        return ST1_NO_MARK;
    return 0;
}

/* As above, and the heads are where the sector can be. Ends the command if not. */
static bool find_sector(struct fdc *s)
{
    const uint8_t *cmd = s->command;
    struct fdc_drive *d = fdc_drive(s, cmd[1] & UNIT_DRIVE);
    uint8_t st1 = select_unit(s), st2 = 0;

    if (!st1 && (s->config & CONFIG_SEEK))
        fdc_step(d, cmd[2]);
    if (!st1 && d->cylinder >= d->format->cylinders)
        st1 = ST1_NO_MARK;
    if (!st1 && cmd[2] != d->cylinder) {
        st1 = ST1_NO_DATA;
        st2 = cmd[2] == 0xff ? ST2_BAD_CYLINDER : ST2_WRONG_CYLINDER;
    }
    if (!st1 && (cmd[3] != s->head || cmd[5] != SIZE_512 || !cmd[4] || cmd[4] > d->format->sectors))
        st1 = ST1_NO_DATA;
    s->c = cmd[2];
    s->r = cmd[4];
    s->job = FDC_READ;
    if (st1)
        fdc_finish(s, ST0_ABNORMAL, st1, st2);
    return !st1;
}

/* ---- data ------------------------------------------------------------------------------------ */

static void read_data(struct fdc *s)
{
    if (find_sector(s))
        fdc_begin(s, FDC_READ);
}

/* From the index hole on. */
static void read_track(struct fdc *s)
{
    if (!find_sector(s))
        return;
    s->r = 1;
    s->command[0] &= 0x7f; /* there is no multi-track form */
    fdc_begin(s, FDC_READ);
}

static void read_deleted(struct fdc *s)
{
    if (!find_sector(s))
        return;
    s->r++;
    fdc_finish(s, 0, 0, ST2_DELETED);
}

static bool is_protected(struct fdc *s)
{
    if (!s->drive[s->unit].block->info.read_only)
        return false;
    fdc_finish(s, ST0_ABNORMAL, ST1_PROTECTED, 0);
    return true;
}

static void write_data(struct fdc *s)
{
    if (find_sector(s) && !is_protected(s))
        fdc_begin(s, FDC_WRITE);
}

/* No data go to the host: the sectors are there or not. */
static void verify(struct fdc *s)
{
    if (!find_sector(s))
        return;
    unsigned sectors = s->drive[s->unit].format->sectors, end = s->command[6];
    if (s->command[1] & VERIFY_COUNT)
        end = s->r + s->command[8] - 1u;
    bool there = end <= sectors;
    s->r = (uint8_t)((there ? end : sectors) + 1);
    fdc_finish(s, there ? 0 : ST0_ABNORMAL, there ? 0 : ST1_NO_DATA, 0);
}

static void format(struct fdc *s)
{
    uint8_t st1 = select_unit(s);

    s->job = FDC_FORMAT; /* so that the result names a sector as it is */
    if (!st1 && s->c >= s->drive[s->unit].format->cylinders)
        st1 = ST1_NO_MARK;
    if (st1)
        fdc_finish(s, ST0_ABNORMAL, st1, 0);
    else if (!is_protected(s))
        fdc_begin_format(s);
}

static void read_id(struct fdc *s)
{
    uint8_t st1 = select_unit(s);

    s->job = FDC_FORMAT;
    if (!st1 && s->c >= s->drive[s->unit].format->cylinders)
        st1 = ST1_NO_MARK;
    if (!st1) {
        struct fdc_drive *d = &s->drive[s->unit];
        s->r = (uint8_t)(d->next_id + 1);
        d->next_id = (uint8_t)((d->next_id + 1) % d->format->sectors);
    }
    fdc_finish(s, st1 ? ST0_ABNORMAL : 0, st1, 0);
}

/* ---- heads ----------------------------------------------------------------------------------- */

/* The end of a seek is told by SENSE INTERRUPT. */
static void seek_end(struct fdc *s, unsigned n, uint8_t st0)
{
    s->sense |= (uint8_t)(1u << n);
    s->sense_st0[n] = (uint8_t)(st0 | n);
    fdc_answer(s, NULL, 0, true);
}

static void recalibrate(struct fdc *s)
{
    unsigned n = s->command[1] & UNIT_DRIVE;
    struct fdc_drive *d = fdc_drive(s, n);
    bool found = d && d->cylinder <= MAX_STEPS;

    if (d)
        fdc_step(d, found ? 0 : d->cylinder - MAX_STEPS);
    seek_end(s, n, found ? ST0_SEEK_END : ST0_ABNORMAL | ST0_SEEK_END | ST0_CHECK);
}

static void seek(struct fdc *s)
{
    unsigned n = s->command[1] & UNIT_DRIVE;
    struct fdc_drive *d = fdc_drive(s, n);

    if (d)
        fdc_step(d, s->command[2]);
    seek_end(s, n, (uint8_t)(ST0_SEEK_END | (s->command[1] & UNIT_HEAD)));
}

static void relative_seek(struct fdc *s)
{
    unsigned n = s->command[1] & UNIT_DRIVE;
    struct fdc_drive *d = fdc_drive(s, n);
    int by = s->command[0] & SEEK_OUT ? s->command[2] : -(int)s->command[2];

    if (d) {
        int to = d->cylinder + by;
        fdc_step(d, (unsigned)(to < 0 ? 0 : to > 255 ? 255 : to));
    }
    seek_end(s, n, (uint8_t)(ST0_SEEK_END | (s->command[1] & UNIT_HEAD)));
}

/* ---- state ----------------------------------------------------------------------------------- */

static void invalid(struct fdc *s)
{
    fdc_answer(s, (const uint8_t[]){ST0_INVALID}, 1, false);
}

static void sense_interrupt(struct fdc *s)
{
    unsigned n = 0;

    if (!s->sense) {
        invalid(s);
        return;
    }
    while (!(s->sense >> n & 1))
        n++;
    struct fdc_drive *d = fdc_drive(s, n);
    uint8_t result[2] = {s->sense_st0[n], d ? d->cylinder : 0};
    s->sense &= (uint8_t) ~(1u << n);
    fdc_irq(s, 0);
    /* Those of a reset came with one interrupt; seeks have one each. */
    bool more = s->sense && (result[0] & ST0_READY_CHANGED) != ST0_READY_CHANGED;
    fdc_answer(s, result, sizeof result, more);
}

static void sense_drive(struct fdc *s)
{
    const struct fdc_drive *d = fdc_drive(s, s->command[1] & UNIT_DRIVE);
    uint8_t st3 = ST3_FIXED | (s->command[1] & (UNIT_DRIVE | UNIT_HEAD));

    if (d && d->cylinder == 0)
        st3 |= ST3_TRACK0;
    if (d && d->block && d->block->info.read_only)
        st3 |= ST3_PROTECTED;
    fdc_answer(s, &st3, 1, false);
}

static void specify(struct fdc *s)
{
    memcpy(s->specify, s->command + 1, 2);
    fdc_answer(s, NULL, 0, false);
}

static void configure(struct fdc *s)
{
    s->config = s->command[2];
    s->precompensation = s->command[3];
    fdc_answer(s, NULL, 0, false);
}

static void perpendicular(struct fdc *s)
{
    if (s->command[1] & 0x80) /* overwrite: the drive bits count */
        s->perpendicular = s->command[1] & 0x3f;
    else
        s->perpendicular = (uint8_t)((s->perpendicular & 0x3c) | (s->command[1] & 3));
    fdc_answer(s, NULL, 0, false);
}

static void lock(struct fdc *s)
{
    s->lock_bit = s->command[0] >> 7;
    fdc_answer(s, (const uint8_t[]){(uint8_t)(s->lock_bit << 4)}, 1, false);
}

static void version(struct fdc *s)
{
    fdc_answer(s, (const uint8_t[]){ENHANCED_82077}, 1, false);
}

static void dump_registers(struct fdc *s)
{
    uint8_t result[10] = {s->drive[0].cylinder,
                          s->drive[1].cylinder,
                          0,
                          0,
                          s->specify[0],
                          s->specify[1],
                          s->last,
                          (uint8_t)((s->lock_bit ? LOCK : 0) | s->perpendicular),
                          s->config,
                          s->precompensation};
    fdc_answer(s, result, sizeof result, false);
}

/* ---- dispatch -------------------------------------------------------------------------------- */

static const struct row {
    uint8_t mask, value;
    uint8_t length; /* bytes with the command itself */
    void (*run)(struct fdc *s);
} rows[] = {
    {0x9f, 0x02, 9, read_track},
    {0xff, 0x03, 3, specify},
    {0xff, 0x04, 2, sense_drive},
    {0x3f, 0x05, 9, write_data},
    {0x1f, 0x06, 9, read_data},
    {0xff, 0x07, 2, recalibrate},
    {0xff, 0x08, 1, sense_interrupt},
    {0x3f, 0x09, 9, write_data},
    {0xbf, 0x0a, 2, read_id},
    {0x1f, 0x0c, 9, read_deleted},
    {0xbf, 0x0d, 6, format},
    {0xff, 0x0e, 1, dump_registers},
    {0xff, 0x0f, 3, seek},
    {0xff, 0x10, 1, version},
    {0xff, 0x12, 2, perpendicular},
    {0xff, 0x13, 4, configure},
    {0x7f, 0x14, 1, lock},
    {0x1f, 0x16, 9, verify},
    {0xbf, 0x8f, 3, relative_seek},
    {0x00, 0x00, 1, invalid}, /* all others */
};

static const struct row *row_of(uint8_t first)
{
    const struct row *r = rows;

    while ((first & r->mask) != r->value)
        r++;
    return r;
}

unsigned fdc_command_length(uint8_t first)
{
    return row_of(first)->length;
}

void fdc_execute(struct fdc *s)
{
    row_of(s->command[0])->run(s);
}
