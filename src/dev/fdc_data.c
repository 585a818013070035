/* SPDX-License-Identifier: MIT */
/* How the floppy controller moves sectors (82077AA data sheet 290166, 5.1 and 6.1). The sectors of
 * one side of a track go through the buffer at once, those written without DMA one by one, so that
 * what the host gave before it stopped is on the disk.
 *
 *   host ── DMA or FIFO ──▶ buf ──▶ image ──▶ next sectors, the other side (MT), or the end
 *
 * A transfer ends with terminal count, or with an error (end of cylinder) after sector EOT. The
 * result then names the sector after the last one. */
#include "dev/fdc.h"

#include <errno.h>
#include <string.h>

#include "ring3/devices/i8237.h"

#define OVERRUN_NS (50 * 1000 * 1000)

enum { CMD_UNIT = 1, CMD_C, CMD_H, CMD_R, CMD_N, CMD_EOT };
enum { FORMAT_N = 2, FORMAT_SECTORS = 3, FORMAT_FILL = 5, ID_BYTES = 4 };
#define MULTI_TRACK 0x80
#define SIZE_512    2

static void next_sectors(struct fdc *s);

static struct fdc_drive *drive_of(struct fdc *s)
{
    return &s->drive[s->unit % FDC_DRIVES];
}

/* ---- the end --------------------------------------------------------------------------------- */

static void quiet(struct fdc *s)
{
    s->overrun_ns = TIMER_NEVER;
    timer_set(&s->timer, TIMER_NEVER);
    i8237_request(s->dma, FDC_DMA_CHANNEL, false);
}

/* Cylinder, head and sector after the last one, as the data sheet's table 5-4 has them. */
static void put_position(const struct fdc *s, uint8_t *p)
{
    bool past = s->job != FDC_FORMAT && s->r == s->command[CMD_EOT] + 1;
    bool multi = s->command[0] & MULTI_TRACK;

    p[0] = s->c;
    p[1] = s->head;
    p[2] = s->r;
    p[3] = SIZE_512;
    if (!past)
        return;
    p[2] = 1;
    if (multi && s->head == 0) {
        p[1] = 1;
    } else {
        p[0]++;
        p[1] = multi ? 0 : s->head;
    }
}

void fdc_finish(struct fdc *s, uint8_t st0, uint8_t st1, uint8_t st2)
{
    uint8_t result[7] = {(uint8_t)(st0 | s->unit | (s->head ? ST0_HEAD : 0)), st1, st2};

    quiet(s);
    put_position(s, result + 3);
    fdc_answer(s, result, sizeof result, true);
}

/* ---- requests to the image ------------------------------------------------------------------- */

static void submit(struct fdc *s, enum block_op op, unsigned sector, unsigned count,
                   void (*then)(struct fdc *s, int result))
{
    struct fdc_drive *d = drive_of(s);

    quiet(s);
    s->phase = FDC_BUSY;
    s->then = then;
    if (!d->block) { /* taken out under way */
        then(s, -EIO);
        return;
    }
    uint64_t lba =
        ((uint64_t)s->c * d->format->heads + s->head) * d->format->sectors + (sector - 1);
    s->iov = (struct iovec){s->buf, count * FDC_SECTOR};
    s->request = (struct block_request){.op = op,
                                        .offset = lba * FDC_SECTOR,
                                        .len = count * FDC_SECTOR,
                                        .iov = &s->iov,
                                        .iov_count = 1,
                                        .done = fdc_request_done};
    s->in_flight = true;
    if (block_submit(d->block, &s->request))
        fdc_finished(s, s->request.result);
}

/* The host's turn. */
static void offer(struct fdc *s, enum fdc_phase phase, uint32_t want)
{
    s->phase = (uint8_t)phase;
    s->at = 0;
    s->want = want;
    s->reached = 0;
    s->overrun_ns = clock_now_ns(s->h.clock) + OVERRUN_NS;
    timer_set(&s->timer, s->overrun_ns);
    if (fdc_is_pio(s)) {
        fdc_irq(s, 1);
    } else {
        i8237_request(s->dma, FDC_DMA_CHANNEL, true);
        fdc_pump(s);
    }
}

static void filled(struct fdc *s, int result)
{
    if (result < 0)
        fdc_finish(s, ST0_ABNORMAL, ST1_CRC, ST2_CRC);
    else
        offer(s, FDC_TO_HOST, (uint32_t)s->request.len);
}

static void stored(struct fdc *s, int result)
{
    if (result < 0) {
        fdc_finish(s, ST0_ABNORMAL, result == -EROFS ? ST1_PROTECTED : ST1_CRC, 0);
        return;
    }
    s->r = (uint8_t)(s->r + s->request.len / FDC_SECTOR);
    next_sectors(s);
}

static void formatted(struct fdc *s, int result)
{
    if (result < 0)
        fdc_finish(s, ST0_ABNORMAL, result == -EROFS ? ST1_PROTECTED : ST1_NO_MARK, 0);
    else
        fdc_finish(s, 0, 0, 0);
}

/* An image holds one format: the host must ask for just that, in any order of sectors. */
static void format_track(struct fdc *s)
{
    const struct fdc_drive *d = drive_of(s);
    uint64_t seen = 0;

    if (!d->block) {
        fdc_finish(s, ST0_ABNORMAL, ST1_NO_MARK, 0);
        return;
    }
    for (unsigned i = 0; i + ID_BYTES <= s->at; i += ID_BYTES) {
        const uint8_t *id = s->buf + i;
        if (id[0] == s->c && id[1] == s->head && id[2] < 64 && id[3] == SIZE_512)
            seen |= UINT64_C(1) << id[2];
    }
    unsigned sectors = d->format->sectors;
    if (seen != ((UINT64_C(1) << sectors) - 1) << 1) {
        fdc_finish(s, ST0_ABNORMAL, ST1_NO_DATA, 0);
        return;
    }
    memset(s->buf, s->command[FORMAT_FILL], sectors * FDC_SECTOR);
    submit(s, BLOCK_WRITE, 1, sectors, formatted);
}

/* ---- the buffer is empty, or full ------------------------------------------------------------ */

static void moved(struct fdc *s)
{
    unsigned sectors = (s->at + FDC_SECTOR - 1) / FDC_SECTOR;

    if (s->job == FDC_FORMAT) {
        format_track(s);
    } else if (s->job == FDC_WRITE) {
        memset(s->buf + s->at, 0, sectors * FDC_SECTOR - s->at);
        submit(s, BLOCK_WRITE, s->r, sectors, stored);
    } else {
        s->r = (uint8_t)(s->r + sectors);
        next_sectors(s);
    }
}

void fdc_pump(struct fdc *s)
{
    bool in = s->phase == FDC_TO_HOST, tc;

    if ((!in && s->phase != FDC_FROM_HOST) || fdc_is_pio(s) || !(s->dor & DOR_GATE))
        return;
    s->at += i8237_move(s->dma, FDC_DMA_CHANNEL, in ? I8237_TO_MEMORY : I8237_FROM_MEMORY,
                        s->buf + s->at, s->want - s->at, &tc);
    s->reached = tc;
    if (tc || s->at == s->want)
        moved(s);
}

/* A byte by the FIFO: the interrupt line pulses for the next one. */
static void byte_moved(struct fdc *s)
{
    fdc_irq(s, 0);
    if (++s->at == s->want) {
        moved(s);
        return;
    }
    s->overrun_ns = clock_now_ns(s->h.clock) + OVERRUN_NS;
    timer_set(&s->timer, s->overrun_ns);
    fdc_irq(s, 1);
}

uint8_t fdc_data_read(struct fdc *s)
{
    uint8_t value = s->buf[s->at];

    byte_moved(s);
    return value;
}

void fdc_data_write(struct fdc *s, uint8_t value)
{
    s->buf[s->at] = value;
    byte_moved(s);
}

/* ---- the course of a command ----------------------------------------------------------------- */

/* At sector r: go on, change sides, or stop. */
static void next_sectors(struct fdc *s)
{
    if (s->reached) {
        fdc_finish(s, 0, 0, 0);
        return;
    }
    if (s->r > s->last && s->last != s->command[CMD_EOT]) {
        fdc_finish(s, ST0_ABNORMAL, ST1_NO_DATA, 0); /* EOT is not on the disk */
        return;
    }
    if (s->r > s->last && (s->command[0] & MULTI_TRACK) && s->head == 0) {
        s->head = 1;
        s->r = 1;
    }
    if (s->r > s->last) {
        fdc_finish(s, ST0_ABNORMAL, ST1_END, 0);
        return;
    }
    unsigned n = s->last - s->r + 1u;
    if (s->job == FDC_WRITE)
        offer(s, FDC_FROM_HOST, (fdc_is_pio(s) ? 1 : n) * FDC_SECTOR);
    else
        submit(s, BLOCK_READ, s->r, n, filled);
}

void fdc_begin(struct fdc *s, enum fdc_job job)
{
    unsigned sectors = drive_of(s)->format->sectors, eot = s->command[CMD_EOT];

    s->job = (uint8_t)job;
    s->reached = 0;
    s->last = (uint8_t)(eot >= s->r && eot < sectors ? eot : sectors);
    next_sectors(s);
}

void fdc_begin_format(struct fdc *s)
{
    s->job = FDC_FORMAT;
    s->r = 1;
    s->last = 1;
    if (s->command[FORMAT_N] != SIZE_512 ||
        s->command[FORMAT_SECTORS] != drive_of(s)->format->sectors)
        fdc_finish(s, ST0_ABNORMAL, ST1_NO_DATA, 0);
    else
        offer(s, FDC_FROM_HOST, (uint32_t)s->command[FORMAT_SECTORS] * ID_BYTES);
}
