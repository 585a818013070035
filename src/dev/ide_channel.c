/* SPDX-License-Identifier: MIT */
/* An IDE channel: the registers two drives share, the data port, resets and interrupts, and
 * requests to the disk image (ATA/ATAPI-6, T13 1410D, chapters 7 and 9).
 *
 *   +0 data      16 or 32 bits             +4 lba[1], byte count low
 *   +1 error / features                    +5 lba[2], byte count high
 *   +2 count, interrupt reason             +6 device: LBA 6, DRV 4, head 3-0
 *   +3 lba[0]                              +7 status / command
 *   0x3f6, 0x376: alternate status / device control: HOB 7, SRST 2, nIEN 1
 *
 * Both drives take what is written to registers; the selected one answers. The registers of an
 * absent drive read 0 (where the other, on a real cable, may echo what was written), so that probes
 * see at once that it is not there. While a drive is busy
 * writes have no effect but a reset's. A reset waits for a request to the image that is under way:
 * the drive is busy until then, so guest memory does not change once the guest sees it ready. */
#include "dev/ide.h"

#include <errno.h>
#include <string.h>

enum { REG_DATA, REG_ERROR, REG_COUNT, REG_LBA0, REG_LBA1, REG_LBA2, REG_DEVICE, REG_STATUS };

static unsigned index_of(const struct ide_channel *c, const struct ide_drive *d)
{
    return d == &c->drive[1];
}

/* ---- interrupts, the end of commands --------------------------------------------------------- */

void ide_update_irq(struct ide_channel *c)
{
    uint8_t level = ide_selected(c)->intrq && !(c->control & CTL_NIEN);

    if (level && !c->level) {
        ide_dma_interrupt(c);
        c->ide->interrupts++;
    }
    c->level = level;
    irq_set(&c->irq, level);
}

void ide_restore_irq(struct ide_channel *c)
{
    c->level = ide_selected(c)->intrq && !(c->control & CTL_NIEN);
    irq_set(&c->irq, c->level);
}

void ide_raise(struct ide_channel *c, struct ide_drive *d)
{
    d->intrq = 1;
    ide_update_irq(c);
}

void ide_complete(struct ide_channel *c, struct ide_drive *d)
{
    c->t.phase = PHASE_IDLE;
    d->status = ST_DRDY | ST_DSC;
    ide_raise(c, d);
}

void ide_fail(struct ide_channel *c, struct ide_drive *d, uint8_t error, uint8_t status)
{
    c->t.phase = PHASE_IDLE;
    d->error = error;
    d->status = ST_DRDY | ST_DSC | ST_ERR | status;
    ide_raise(c, d);
}

void ide_offer(struct ide_channel *c, struct ide_drive *d, enum ide_phase phase)
{
    c->t.phase = (uint8_t)phase;
    d->status = ST_DRDY | ST_DSC | ST_DRQ;
}

/* ---- resets ---------------------------------------------------------------------------------- */

void ide_set_signature(struct ide_channel *c, struct ide_drive *d)
{
    d->count = d->lba[0] = 1;
    d->lba[1] = d->kind == IDE_CDROM ? 0x14 : 0;
    d->lba[2] = d->kind == IDE_CDROM ? 0xeb : 0;
    d->old_count = d->old_features = d->features = 0;
    memset(d->old_lba, 0, sizeof d->old_lba);
    d->error = 1; /* diagnostics passed */
    c->device &= DEV_DRIVE1;
}

void ide_set_geometry(struct ide_drive *d)
{
    d->heads = d->native.heads;
    d->track_sectors = d->native.sectors;
}

/* A packet device is not ready before its first command. */
static void reset_drive(struct ide_channel *c, struct ide_drive *d)
{
    if (ide_owner(c) == d)
        c->t.phase = PHASE_IDLE;
    ide_set_signature(c, d);
    ide_set_geometry(d);
    d->status = d->kind == IDE_DISK ? ST_DRDY | ST_DSC : 0;
    d->intrq = d->standby = 0;
    d->sense_key = d->asc = d->ascq = 0;
    d->locked = 0;
}

static void reset_drives(struct ide_channel *c, uint8_t which)
{
    for (unsigned i = 0; i < 2; i++)
        if (which >> i & 1)
            reset_drive(c, &c->drive[i]);
    if (which == 3)
        c->device = 0;
    ide_update_irq(c);
}

void ide_reset_drive(struct ide_channel *c, struct ide_drive *d)
{
    uint8_t which = (uint8_t)(1u << index_of(c, d));

    if (c->in_flight && ide_owner(c) == d) {
        c->reset_after |= which;
        return;
    }
    reset_drives(c, which);
}

static void write_control(struct ide_channel *c, uint8_t value)
{
    uint8_t changed = c->control ^ value;

    c->control = value;
    if ((changed & CTL_SRST) && (value & CTL_SRST)) {
        c->t.phase = PHASE_IDLE;
        c->reset_after = c->in_flight ? 3 : 0;
        for (unsigned i = 0; i < 2; i++) {
            c->drive[i].status = c->drive[i].kind == IDE_ABSENT ? 0 : ST_BSY;
            c->drive[i].intrq = 0;
        }
    } else if ((changed & CTL_SRST) && !c->in_flight) {
        reset_drives(c, 3);
    }
    ide_update_irq(c);
}

void ide_channel_reset(struct ide_channel *c)
{
    c->control = c->device = 0;
    c->reset_after = 0;
    memset(&c->t, 0, sizeof c->t);
    for (unsigned i = 0; i < 2; i++) {
        struct ide_drive *d = &c->drive[i];
        d->multiple = 0;
        d->mode = 0x08;
        d->write_cache = d->look_ahead = 1;
        d->smart = d->kind == IDE_DISK;
        d->tray_open = d->attention = d->event = 0;
    }
    reset_drives(c, 3);
    ide_dma_reset(c);
}

/* ---- requests to the image ------------------------------------------------------------------- */

static void finished(struct ide_channel *c, int result)
{
    uint8_t reset = c->reset_after;

    c->in_flight = false;
    c->reset_after = 0;
    ide_dma_written(c);
    if (!reset)
        c->then(c, ide_owner(c), result);
    else if (!(c->control & CTL_SRST))
        reset_drives(c, reset);
}

static void request_done(struct block_request *r)
{
    struct ide_channel *c = container_of(r, struct ide_channel, request);

    pthread_mutex_lock(&c->ide->lock);
    finished(c, r->result);
    pthread_mutex_unlock(&c->ide->lock);
}

void ide_submit(struct ide_channel *c, ide_then_fn then)
{
    struct ide_drive *d = ide_owner(c);

    if (!d->block) { /* the disc was taken out under way */
        then(c, d, -EIO);
        return;
    }
    c->ide->requests++;
    c->then = then;
    c->request.done = request_done;
    c->in_flight = true;
    c->t.phase = PHASE_IDLE;
    d->status = ST_BSY;
    d->standby = 0;
    if (block_submit(d->block, &c->request))
        finished(c, c->request.result);
}

void ide_submit_buffer(struct ide_channel *c, enum block_op op, uint64_t offset, uint32_t bytes,
                       ide_then_fn then)
{
    c->own = (struct iovec){c->t.buf, bytes};
    c->request = (struct block_request){.op = op,
                                        .fua = op == BLOCK_WRITE && c->t.fua,
                                        .offset = offset,
                                        .len = bytes,
                                        .iov = &c->own,
                                        .iov_count = 1};
    ide_submit(c, then);
}

/* ---- the data port --------------------------------------------------------------------------- */

static void (*const moved[JOB_COUNT])(struct ide_channel *c, struct ide_drive *d) = {
    [JOB_READ] = ide_read_moved,       [JOB_WRITE] = ide_write_moved,
    [JOB_REPLY] = ide_reply_moved,     [JOB_PACKET] = ide_packet_moved,
    [JOB_CD_READ] = ide_cd_read_moved, [JOB_CD_REPLY] = ide_cd_reply_moved,
};

/* How many bytes of an access are in the buffer's current block; 0 if the port does not work. */
static uint32_t data_bytes(const struct ide_channel *c, enum ide_phase phase, unsigned size)
{
    if (c->t.phase != phase || (c->t.drive & 1) != !!(c->device & DEV_DRIVE1))
        return 0;
    uint32_t left = c->t.end - c->t.at;
    return left < size ? left : size;
}

static void advance(struct ide_channel *c, uint32_t n)
{
    c->t.at += n;
    if (c->t.at == c->t.end)
        moved[c->t.job](c, ide_owner(c));
}

static uint64_t data_read(struct ide_channel *c, unsigned size)
{
    uint32_t n = data_bytes(c, PHASE_IN, size);
    uint64_t value = 0;

    if (!n)
        return UINT32_MAX;
    memcpy(&value, c->t.buf + c->t.at, n);
    advance(c, n);
    return value;
}

/* Up to the end of the block, after which the guest wants to see an interrupt. */
static unsigned data_read_many(struct ide_channel *c, unsigned size, void *buf, unsigned count)
{
    uint32_t n = data_bytes(c, PHASE_IN, UINT32_MAX) / size;

    n = n < count ? n : count;
    if (!n)
        return 0;
    memcpy(buf, c->t.buf + c->t.at, (size_t)n * size);
    advance(c, n * size);
    return n;
}

static void data_write(struct ide_channel *c, unsigned size, uint64_t value)
{
    uint32_t n = data_bytes(c, PHASE_OUT, size);

    if (!n)
        return;
    memcpy(c->t.buf + c->t.at, &value, n);
    advance(c, n);
}

/* ---- registers ------------------------------------------------------------------------------- */

static uint8_t status_of(const struct ide_channel *c)
{
    const struct ide_drive *d = &c->drive[!!(c->device & DEV_DRIVE1)];
    return d->kind == IDE_ABSENT ? 0 : d->status;
}

/* Is anything on the cable? */
static bool is_there(const struct ide_channel *c)
{
    return c->drive[0].kind != IDE_ABSENT || c->drive[1].kind != IDE_ABSENT;
}

static uint8_t read_register(struct ide_channel *c, unsigned reg)
{
    struct ide_drive *d = ide_selected(c);
    bool old = c->control & CTL_HOB;

    if (d->kind == IDE_ABSENT)
        return reg == REG_DEVICE && is_there(c) ? c->device | DEV_ONES : 0;
    switch (reg) {
    case REG_ERROR:
        return d->error;
    case REG_COUNT:
        return old ? d->old_count : d->count;
    case REG_LBA0:
    case REG_LBA1:
    case REG_LBA2:
        return (old ? d->old_lba : d->lba)[reg - REG_LBA0];
    case REG_DEVICE:
        return c->device | DEV_ONES;
    default:
        d->intrq = 0;
        ide_update_irq(c);
        return d->status;
    }
}

static void write_drive_register(struct ide_drive *d, unsigned reg, uint8_t value)
{
    switch (reg) {
    case REG_ERROR:
        d->old_features = d->features;
        d->features = value;
        break;
    case REG_COUNT:
        d->old_count = d->count;
        d->count = value;
        break;
    default:
        d->old_lba[reg - REG_LBA0] = d->lba[reg - REG_LBA0];
        d->lba[reg - REG_LBA0] = value;
        break;
    }
}

static void write_register(struct ide_channel *c, unsigned reg, uint8_t value)
{
    if (reg == REG_STATUS) {
        ide_command(c, value);
        return;
    }
    if (c->in_flight || (c->control & CTL_SRST))
        return;
    c->control &= (uint8_t)~CTL_HOB;
    if (reg == REG_DEVICE) {
        c->device = value;
        ide_update_irq(c);
        return;
    }
    for (unsigned i = 0; i < 2; i++)
        write_drive_register(&c->drive[i], reg, value);
}

static uint64_t command_read(void *opaque, uint64_t offset, unsigned size)
{
    struct ide_channel *c = opaque;
    uint64_t value = 0;

    ide_enter(c->ide);
    if (!c->decoded)
        value = UINT32_MAX;
    else if (offset == REG_DATA)
        value = data_read(c, size);
    else
        for (unsigned i = 0; i < size; i++)
            value |= (uint64_t)read_register(c, (unsigned)offset + i) << 8 * i;
    pthread_mutex_unlock(&c->ide->lock);
    return value;
}

static void command_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct ide_channel *c = opaque;

    ide_enter(c->ide);
    if (!c->decoded)
        ;
    else if (offset == REG_DATA)
        data_write(c, size, value);
    else
        for (unsigned i = 0; i < size; i++)
            write_register(c, (unsigned)offset + i, (uint8_t)(value >> 8 * i));
    pthread_mutex_unlock(&c->ide->lock);
}

static uint64_t control_read(void *opaque, uint64_t offset, unsigned size)
{
    struct ide_channel *c = opaque;

    ide_enter(c->ide);
    uint8_t value = c->decoded ? status_of(c) : 0xff;
    pthread_mutex_unlock(&c->ide->lock);
    return value;
}

static void control_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct ide_channel *c = opaque;

    ide_enter(c->ide);
    if (c->decoded)
        write_control(c, (uint8_t)value);
    pthread_mutex_unlock(&c->ide->lock);
}

static unsigned command_read_many(void *opaque, uint64_t offset, unsigned size, void *buf,
                                  unsigned count)
{
    struct ide_channel *c = opaque;
    unsigned n = 0;

    ide_enter(c->ide);
    if (c->decoded && offset == REG_DATA)
        n = data_read_many(c, size, buf, count);
    pthread_mutex_unlock(&c->ide->lock);
    return n;
}

const struct io_ops ide_command_ops = {command_read, command_write, 1, 4, command_read_many};
const struct io_ops ide_control_ops = {control_read, control_write, 1, 1};
