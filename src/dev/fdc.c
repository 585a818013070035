/* SPDX-License-Identifier: MIT */
/* Intel 82077AA floppy disk controller (data sheet 290166) as a PC/AT has it. Registers:
 *
 *   3f2 DOR   motors 7-4, DMA and interrupt gate 3, not reset 2, drive 1-0
 *   3f3 TDR   tape drive, kept without effect
 *   3f4 MSR   request 7, to host 6, without DMA 5, busy 4   / DSR: reset 7, rate 1-0
 *   3f5 FIFO  commands, data, results
 *   3f7 DIR   disk change 7                                 / CCR: rate 1-0
 *
 * Heads move and disks turn in no time, so a command is over when the image has done its part and
 * the host has taken the data. A host that lets a byte wait for OVERRUN_NS loses the transfer; so
 * ends one without terminal count.
 *
 * Left out: the status registers of a PS/2 (3f0, 3f1 read as nothing), FIFO thresholds, power down,
 * perpendicular recording, tape. */
#include "dev/fdc.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ring3/devices/i8237.h"

#define BASE     0x3f0
#define DIGITAL  0x3f7
#define EMPTY_AS 4 /* a drive without a disk: 1.44M */
#define POLL_STS 4

enum { REG_DOR = 2, REG_TDR, REG_MSR_DSR, REG_FIFO };
enum { MSR_RQM = 0x80, MSR_DIO = 0x40, MSR_NON_DMA = 0x20, MSR_BUSY = 0x10 };
enum { DSR_RESET = 0x80, RATE = 0x03, DIR_CHANGED = 0x80 };

static const struct fdc_format formats[] = {
    {1440 * 1024, 80, 2, 18, 0, 4}, {2880 * 1024, 80, 2, 36, 3, 5}, {1200 * 1024, 80, 2, 15, 0, 2},
    {720 * 1024, 80, 2, 9, 2, 3},   {360 * 1024, 40, 2, 9, 2, 1},
};

/* ---- interrupt, result ----------------------------------------------------------------------- */

static void update_irq(struct fdc *s)
{
    irq_set(&s->irq_line, s->irq && (s->dor & DOR_GATE));
}

void fdc_irq(struct fdc *s, int level)
{
    s->irq = (uint8_t)level;
    update_irq(s);
}

void fdc_answer(struct fdc *s, const uint8_t *bytes, unsigned n, bool interrupt)
{
    if (n)
        memcpy(s->result, bytes, n);
    s->results = (uint8_t)n;
    s->told = s->have = s->need = 0;
    s->phase = n ? FDC_RESULT : FDC_COMMAND;
    if (interrupt)
        fdc_irq(s, 1);
}

/* ---- drives ---------------------------------------------------------------------------------- */

struct fdc_drive *fdc_drive(struct fdc *s, unsigned n)
{
    return n < FDC_DRIVES && s->drive[n].present ? &s->drive[n] : NULL;
}

void fdc_step(struct fdc_drive *d, unsigned cylinder)
{
    if (cylinder != d->cylinder && d->block)
        d->changed = 0;
    d->cylinder = (uint8_t)cylinder;
}

static const struct fdc_format *format_of(const struct block *b)
{
    for (unsigned i = 0; i < ARRAY_LEN(formats); i++)
        if (formats[i].bytes == b->info.bytes)
            return &formats[i];
    return NULL;
}

/* ---- resets ---------------------------------------------------------------------------------- */

static void stop(struct fdc *s)
{
    s->phase = FDC_COMMAND;
    s->have = s->need = 0;
    s->sense = 0;
    s->overrun_ns = TIMER_NEVER;
    timer_set(&s->timer, TIMER_NEVER);
    i8237_request(s->dma, FDC_DMA_CHANNEL, false);
    if (!s->lock_bit) {
        s->config = CONFIG_NO_FIFO;
        s->precompensation = 0;
    }
    s->perpendicular &= 0x3c;
    fdc_irq(s, 0);
}

/* Out of reset: polling finds that all drives have become ready. */
static void start(struct fdc *s)
{
    if (s->in_flight) {
        s->reset_after = true;
        return;
    }
    if (s->config & CONFIG_NO_POLL)
        return;
    s->sense = 0x0f;
    for (unsigned i = 0; i < POLL_STS; i++)
        s->sense_st0[i] = (uint8_t)(ST0_READY_CHANGED | i);
    fdc_irq(s, 1);
}

static void write_dor(struct fdc *s, uint8_t value)
{
    uint8_t changed = s->dor ^ value;

    s->dor = value;
    if ((changed & DOR_RUN) && !(value & DOR_RUN))
        stop(s);
    else if (changed & DOR_RUN)
        start(s);
    update_irq(s);
    fdc_pump(s); /* the gate may have opened */
}

/* ---- registers ------------------------------------------------------------------------------- */

static uint8_t read_msr(const struct fdc *s)
{
    if (!(s->dor & DOR_RUN) || s->reset_after)
        return 0;
    uint8_t data = fdc_is_pio(s) ? MSR_RQM | MSR_NON_DMA : 0;
    switch (s->phase) {
    case FDC_COMMAND:
        return MSR_RQM | (s->have ? MSR_BUSY : 0);
    case FDC_RESULT:
        return MSR_RQM | MSR_DIO | MSR_BUSY;
    case FDC_TO_HOST:
        return MSR_BUSY | data | (data ? MSR_DIO : 0);
    case FDC_FROM_HOST:
        return MSR_BUSY | data;
    default:
        return MSR_BUSY;
    }
}

static uint8_t read_fifo(struct fdc *s)
{
    if (s->phase == FDC_TO_HOST && fdc_is_pio(s))
        return fdc_data_read(s);
    if (s->phase != FDC_RESULT)
        return 0;
    uint8_t value = s->result[s->told++];
    if (s->told == 1)
        fdc_irq(s, 0);
    if (s->told == s->results)
        s->phase = FDC_COMMAND;
    return value;
}

static void write_fifo(struct fdc *s, uint8_t value)
{
    if (!(s->dor & DOR_RUN) || s->reset_after)
        return;
    if (s->phase == FDC_FROM_HOST && fdc_is_pio(s)) {
        fdc_data_write(s, value);
        return;
    }
    if (s->phase != FDC_COMMAND)
        return;
    if (!s->have)
        s->need = (uint8_t)fdc_command_length(value);
    s->command[s->have++] = value;
    if (s->have == s->need) {
        s->have = s->need = 0;
        fdc_execute(s);
    }
}

static uint8_t read_dir(struct fdc *s)
{
    const struct fdc_drive *d = fdc_drive(s, s->dor & DOR_SELECT);
    return d && (d->changed || !d->block) ? DIR_CHANGED : 0;
}

static uint64_t fdc_read(void *opaque, uint64_t offset, unsigned size)
{
    struct fdc *s = opaque;
    uint8_t value = 0xff;

    pthread_mutex_lock(&s->lock);
    switch (offset) {
    case REG_DOR:
        value = s->dor;
        break;
    case REG_TDR:
        value = s->tdr;
        break;
    case REG_MSR_DSR:
        value = read_msr(s);
        break;
    case REG_FIFO:
        value = read_fifo(s);
        break;
    default:
        break;
    }
    pthread_mutex_unlock(&s->lock);
    return value;
}

static void fdc_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct fdc *s = opaque;

    pthread_mutex_lock(&s->lock);
    switch (offset) {
    case REG_DOR:
        write_dor(s, (uint8_t)value);
        break;
    case REG_TDR:
        s->tdr = value & 3;
        break;
    case REG_MSR_DSR:
        s->rate = value & RATE;
        if ((value & DSR_RESET) && (s->dor & DOR_RUN)) {
            stop(s);
            start(s);
        }
        break;
    case REG_FIFO:
        write_fifo(s, (uint8_t)value);
        break;
    default:
        break;
    }
    pthread_mutex_unlock(&s->lock);
}

static uint64_t digital_read(void *opaque, uint64_t offset, unsigned size)
{
    struct fdc *s = opaque;

    pthread_mutex_lock(&s->lock);
    uint8_t value = read_dir(s);
    pthread_mutex_unlock(&s->lock);
    return value;
}

static void digital_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct fdc *s = opaque;

    pthread_mutex_lock(&s->lock);
    s->rate = value & RATE;
    pthread_mutex_unlock(&s->lock);
}

static const struct {
    uint16_t base, len;
    struct io_ops ops;
} ranges[] = {
    {BASE, 6, {fdc_read, fdc_write, 1, 1}},
    {DIGITAL, 1, {digital_read, digital_write, 1, 1}},
};

/* ---- other threads --------------------------------------------------------------------------- */

static void channel_ready(void *opaque)
{
    struct fdc *s = opaque;

    pthread_mutex_lock(&s->lock);
    fdc_pump(s);
    pthread_mutex_unlock(&s->lock);
}

static void on_timer(void *opaque)
{
    struct fdc *s = opaque;

    pthread_mutex_lock(&s->lock);
    if (s->overrun_ns <= clock_now_ns(s->h.clock))
        fdc_finish(s, ST0_ABNORMAL, ST1_OVERRUN, 0);
    pthread_mutex_unlock(&s->lock);
}

void fdc_finished(struct fdc *s, int result)
{
    bool reset = s->reset_after;

    s->in_flight = s->reset_after = false;
    if (!(s->dor & DOR_RUN) || (s->phase != FDC_BUSY && !reset))
        return;
    if (reset)
        start(s);
    else
        s->then(s, result);
}

void fdc_request_done(struct block_request *r)
{
    struct fdc *s = container_of(r, struct fdc, request);

    pthread_mutex_lock(&s->lock);
    fdc_finished(s, r->result);
    pthread_mutex_unlock(&s->lock);
}

/* ---- life ------------------------------------------------------------------------------------ */

/* No lock held: completions take it. */
static void drain(struct fdc *s)
{
    for (unsigned n = 0; n < FDC_DRIVES; n++)
        if (s->drive[n].block)
            block_drain(s->drive[n].block);
}

/* Left as a BIOS leaves it: running, interrupts through. */
static void reset(struct device *d)
{
    struct fdc *s = container_of(d, struct fdc, dev);

    drain(s);
    pthread_mutex_lock(&s->lock);
    s->lock_bit = s->perpendicular = s->tdr = s->rate = 0;
    s->dor = DOR_RUN | DOR_GATE;
    memset(s->specify, 0, sizeof s->specify);
    s->reset_after = false;
    stop(s);
    pthread_mutex_unlock(&s->lock);
}

static void release(struct device *d)
{
    struct fdc *s = container_of(d, struct fdc, dev);

    for (; s->mapped; s->mapped--)
        bus_unmap(s->h.pio, ranges[s->mapped - 1].base);
    timer_set(&s->timer, TIMER_NEVER);
    drain(s);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

/* A snapshot file is not trusted. */
static bool is_sound(const struct fdc *s)
{
    if (s->phase >= FDC_PHASES || s->phase == FDC_BUSY || s->job >= FDC_JOBS)
        return false;
    if (s->phase == FDC_COMMAND)
        return s->have == 0 ? s->need == 0
                            : s->have < s->need && s->need == fdc_command_length(s->command[0]);
    if (s->phase == FDC_RESULT)
        return s->results <= FDC_BYTES && s->told < s->results;
    return s->unit < FDC_DRIVES && s->drive[s->unit].block && s->head < 2 && s->at < s->want &&
           s->want <= FDC_BUFFER && s->r >= 1 && s->last <= FDC_MAX_SECTORS &&
           (s->job == FDC_FORMAT || s->want % FDC_SECTOR == 0);
}

static void restored(struct device *d)
{
    struct fdc *s = container_of(d, struct fdc, dev);

    pthread_mutex_lock(&s->lock);
    for (unsigned i = 0; i < FDC_DRIVES; i++)
        if (s->drive[i].block && s->drive[i].next_id >= s->drive[i].format->sectors)
            s->drive[i].next_id = 0;
    if (!is_sound(s)) {
        s->phase = FDC_COMMAND;
        s->have = s->need = 0;
        s->overrun_ns = TIMER_NEVER;
    }
    if (s->phase != FDC_COMMAND)
        s->have = s->need = 0;
    s->head &= 1;
    s->sense &= 0x0f;
    timer_set(&s->timer, s->overrun_ns);
    i8237_request(s->dma, FDC_DMA_CHANNEL,
                  !fdc_is_pio(s) && (s->phase == FDC_TO_HOST || s->phase == FDC_FROM_HOST));
    update_irq(s);
    pthread_mutex_unlock(&s->lock);
}

static const struct state_field state[] = {
    STATE(struct fdc, drive[0].cylinder),
    STATE(struct fdc, drive[0].changed),
    STATE(struct fdc, drive[0].next_id),
    STATE(struct fdc, drive[1].cylinder),
    STATE(struct fdc, drive[1].changed),
    STATE(struct fdc, drive[1].next_id),
    STATE(struct fdc, dor),
    STATE(struct fdc, tdr),
    STATE(struct fdc, rate),
    STATE(struct fdc, irq),
    STATE(struct fdc, config),
    STATE(struct fdc, precompensation),
    STATE(struct fdc, lock_bit),
    STATE(struct fdc, perpendicular),
    STATE_ARRAY(struct fdc, specify),
    STATE(struct fdc, sense),
    STATE_ARRAY(struct fdc, sense_st0),
    STATE(struct fdc, phase),
    STATE_ARRAY(struct fdc, command),
    STATE(struct fdc, have),
    STATE(struct fdc, need),
    STATE_ARRAY(struct fdc, result),
    STATE(struct fdc, results),
    STATE(struct fdc, told),
    STATE(struct fdc, job),
    STATE(struct fdc, unit),
    STATE(struct fdc, head),
    STATE(struct fdc, c),
    STATE(struct fdc, r),
    STATE(struct fdc, last),

    STATE(struct fdc, at),
    STATE(struct fdc, want),
    STATE(struct fdc, overrun_ns),
    STATE_ARRAY(struct fdc, buf),
};

static const struct device_ops ops = {
    .name = "fdc",
    .reset = reset,
    .free = release,
    .restored = restored,
    .state = state,
    .state_count = ARRAY_LEN(state),
};

uint8_t fdc_drive_type(struct device *d, unsigned n)
{
    struct fdc *s = container_of(d, struct fdc, dev);
    struct fdc_drive *drive = fdc_drive(s, n);
    return drive ? drive->type : 0;
}

int fdc_change_medium(struct device *d, unsigned n, struct block *medium)
{
    struct fdc *s = container_of(d, struct fdc, dev);
    struct fdc_drive *drive = fdc_drive(s, n);

    if (!drive)
        return -ENOTTY;
    if (medium && !format_of(medium))
        return -EINVAL;
    pthread_mutex_lock(&s->lock);
    struct block *old = drive->block;
    drive->block = NULL;
    pthread_mutex_unlock(&s->lock);
    if (old)
        block_drain(old);
    pthread_mutex_lock(&s->lock);
    drive->block = medium;
    drive->format = medium ? format_of(medium) : NULL;
    drive->changed = 1;
    drive->next_id = 0;
    pthread_mutex_unlock(&s->lock);
    return 0;
}

static int take_drives(struct fdc *s, const struct fdc_config *c, struct err *e)
{
    for (unsigned n = 0; n < FDC_DRIVES; n++) {
        struct fdc_drive *d = &s->drive[n];
        struct block *b = c->drive[n].medium;
        d->present = c->drive[n].present;
        d->type = EMPTY_AS;
        d->changed = 1; /* since power was off */
        if (!b)
            continue;
        d->format = format_of(b);
        if (!d->format)
            return err_set(e, EINVAL, "floppy-size",
                           "%s: %llu bytes is no floppy's size; there are 360, 720, 1200, 1440 and "
                           "2880 KiB",
                           b->info.name, (unsigned long long)b->info.bytes);
        d->block = b;
        d->type = d->format->type;
    }
    return 0;
}

struct device *fdc_new(const struct dev_host *h, const struct fdc_config *c, struct err *e)
{
    struct fdc *s = calloc(1, sizeof *s);

    if (!s) {
        err_set(e, ENOMEM, "no-memory", "no memory for the floppy controller");
        return NULL;
    }
    s->dev = (struct device){.ops = &ops, .instance = "fdc"};
    s->h = *h;
    s->dma = c->dma;
    s->irq_line = c->irq;
    pthread_mutex_init(&s->lock, NULL);
    timer_init(&s->timer, h->clock, on_timer, s);
    int r = take_drives(s, c, e);
    for (; r == 0 && s->mapped < ARRAY_LEN(ranges); s->mapped += r == 0)
        r = bus_map(h->pio, ranges[s->mapped].base, ranges[s->mapped].len, &ranges[s->mapped].ops,
                    s, "fdc", e);
    if (r < 0) {
        release(&s->dev);
        return NULL;
    }
    i8237_attach(c->dma, FDC_DMA_CHANNEL, channel_ready, s);
    reset(&s->dev);
    return &s->dev;
}
