/* SPDX-License-Identifier: MIT */
/* ATA commands (ATA/ATAPI-6, T13 1410D, chapter 8; DATA SET MANAGEMENT from ATA8-ACS). A table says
 * which drives take a command; all others are aborted.
 *
 * With the write cache on, a write is done when the image has taken it, and durable after FLUSH
 * CACHE. With it off, or by a FUA command, each write is durable when it is done. A transfer that
 * leaves the disk fails before anything moves, with the address where it starts.
 *
 * Left out: security, host protected area, media card and streaming commands, logs, queueing;
 * READ VERIFY and SEEK check the address only; standby timers; SLEEP is STANDBY. Software resets
 * keep the features that were set. */
#include "dev/ide.h"

#include <errno.h>
#include <string.h>

struct command {
    void (*run)(struct ide_channel *c, struct ide_drive *d, uint8_t command);
    uint8_t drives; /* bits 1 << enum ide_kind */
    uint8_t flags;
};
enum { ON_DISK = 1 << IDE_DISK, ON_CD = 1 << IDE_CDROM, ON_BOTH = ON_DISK | ON_CD };
enum { F_EXT = 1, F_DMA = 2, F_MULTIPLE = 4, F_FUA = 8 };

static const struct command commands[256];

/* ---- addresses ------------------------------------------------------------------------------- */

static uint64_t lba_of(const struct ide_channel *c, const struct ide_drive *d, bool ext)
{
    uint64_t low = d->lba[0] | (uint64_t)d->lba[1] << 8 | (uint64_t)d->lba[2] << 16;

    if (ext)
        return low | (uint64_t)d->old_lba[0] << 24 | (uint64_t)d->old_lba[1] << 32 |
               (uint64_t)d->old_lba[2] << 40;
    unsigned head = c->device & DEV_HEAD;
    if (c->device & DEV_LBA)
        return low | (uint64_t)head << 24;
    if (d->lba[0] == 0 || d->lba[0] > d->track_sectors || head >= d->heads)
        return UINT64_MAX;
    return ((uint64_t)(d->lba[1] | d->lba[2] << 8) * d->heads + head) * d->track_sectors +
           d->lba[0] - 1;
}

static uint32_t count_of(const struct ide_drive *d, bool ext)
{
    uint32_t n = ext ? (uint32_t)d->count | (uint32_t)d->old_count << 8 : d->count;
    return n ? n : ext ? 65536 : 256;
}

/* Show an address in the registers, in the form the command used. */
static void show_lba(struct ide_channel *c, struct ide_drive *d, uint64_t lba)
{
    if (!c->t.ext && !(c->device & DEV_LBA)) {
        uint64_t track = lba / d->track_sectors, cylinder = track / d->heads;
        d->lba[0] = (uint8_t)(lba % d->track_sectors + 1);
        d->lba[1] = (uint8_t)cylinder;
        d->lba[2] = (uint8_t)(cylinder >> 8);
        c->device = (uint8_t)((c->device & ~DEV_HEAD) | (track % d->heads & DEV_HEAD));
        return;
    }
    for (unsigned i = 0; i < 3; i++) {
        d->lba[i] = (uint8_t)(lba >> 8 * i);
        d->old_lba[i] = (uint8_t)(lba >> (24 + 8 * i));
    }
    if (!c->t.ext)
        c->device = (uint8_t)((c->device & ~DEV_HEAD) | (lba >> 24 & DEV_HEAD));
}

/* Fill in the transfer from the registers; false, with the command ended, beyond the disk. */
static bool take_range(struct ide_channel *c, struct ide_drive *d, uint8_t flags)
{
    struct ide_transfer *t = &c->t;

    t->ext = flags & F_EXT;
    t->fua = (flags & F_FUA) || !d->write_cache;
    t->lba = lba_of(c, d, flags & F_EXT);
    t->left = count_of(d, flags & F_EXT);
    if (t->lba < d->sectors && t->left <= d->sectors - t->lba)
        return true;
    ide_fail(c, d, ER_IDNF, 0);
    return false;
}

void ide_read_failed(struct ide_channel *c, struct ide_drive *d, int result)
{
    show_lba(c, d, c->t.lba);
    ide_fail(c, d, ER_UNC, 0);
}

/* The disk refuses, or it failed: a full host, an I/O error. */
void ide_write_failed(struct ide_channel *c, struct ide_drive *d, int result)
{
    show_lba(c, d, c->t.lba);
    ide_fail(c, d, ER_ABRT, result == -EROFS ? 0 : ST_DF);
}

/* ---- reading by the data port: the image fills the buffer, the guest empties it by blocks ---- */

static void offer_block(struct ide_channel *c, struct ide_drive *d)
{
    struct ide_transfer *t = &c->t;
    uint32_t left = t->filled - t->at;

    t->end = t->at + (t->block < left ? t->block : left);
    ide_offer(c, d, PHASE_IN);
    ide_raise(c, d);
}

static void read_filled(struct ide_channel *c, struct ide_drive *d, int result)
{
    struct ide_transfer *t = &c->t;

    if (result < 0) {
        ide_read_failed(c, d, result);
        return;
    }
    uint32_t sectors = (uint32_t)(c->request.len / IDE_SECTOR);
    t->lba += sectors;
    t->left -= sectors;
    t->filled = sectors * IDE_SECTOR;
    t->at = 0;
    offer_block(c, d);
}

static void fill(struct ide_channel *c)
{
    const uint32_t most = IDE_BUFFER / IDE_SECTOR;
    uint32_t n = c->t.left < most ? c->t.left : most;

    ide_submit_buffer(c, BLOCK_READ, c->t.lba * IDE_SECTOR, n * IDE_SECTOR, read_filled);
}

/* After the last block there is no interrupt: the one that offered it is the last. */
static void end_of_input(struct ide_channel *c, struct ide_drive *d)
{
    c->t.phase = PHASE_IDLE;
    d->status = ST_DRDY | ST_DSC;
}

void ide_read_moved(struct ide_channel *c, struct ide_drive *d)
{
    if (c->t.at < c->t.filled)
        offer_block(c, d);
    else if (c->t.left)
        fill(c);
    else
        end_of_input(c, d);
}

void ide_reply_moved(struct ide_channel *c, struct ide_drive *d)
{
    end_of_input(c, d);
}

void ide_reply(struct ide_channel *c, struct ide_drive *d, uint32_t filled)
{
    c->t.job = JOB_REPLY;
    c->t.at = 0;
    c->t.filled = c->t.block = filled;
    offer_block(c, d);
}

/* ---- writing by the data port ---------------------------------------------------------------- */

static void ask_block(struct ide_channel *c, struct ide_drive *d)
{
    struct ide_transfer *t = &c->t;
    uint32_t left = t->left * IDE_SECTOR - t->at; /* at most 32 MiB */

    t->end = t->at + (t->block < left ? t->block : left);
    ide_offer(c, d, PHASE_OUT);
}

static void write_stored(struct ide_channel *c, struct ide_drive *d, int result)
{
    struct ide_transfer *t = &c->t;
    uint32_t sectors = (uint32_t)(c->request.len / IDE_SECTOR);

    if (result < 0) {
        ide_write_failed(c, d, result);
        return;
    }
    t->lba += sectors;
    t->left -= sectors;
    t->at = 0;
    if (!t->left) {
        ide_complete(c, d);
        return;
    }
    ask_block(c, d);
    ide_raise(c, d);
}

void ide_write_moved(struct ide_channel *c, struct ide_drive *d)
{
    struct ide_transfer *t = &c->t;

    if (t->at < t->left * IDE_SECTOR && t->at + t->block <= IDE_BUFFER) {
        ask_block(c, d);
        ide_raise(c, d);
        return;
    }
    ide_submit_buffer(c, BLOCK_WRITE, t->lba * IDE_SECTOR, t->at, write_stored);
}

/* ---- commands that move sectors -------------------------------------------------------------- */

static bool set_block(struct ide_channel *c, struct ide_drive *d, uint8_t flags)
{
    c->t.block = IDE_SECTOR;
    if (flags & F_MULTIPLE)
        c->t.block = d->multiple * IDE_SECTOR;
    if (c->t.block)
        return true;
    ide_fail(c, d, ER_ABRT, 0);
    return false;
}

static void read_sectors(struct ide_channel *c, struct ide_drive *d, uint8_t command)
{
    uint8_t flags = commands[command].flags;

    if (!set_block(c, d, flags) || !take_range(c, d, flags))
        return;
    c->t.job = JOB_READ;
    if (flags & F_DMA)
        ide_dma_begin(c, d, JOB_READ);
    else
        fill(c);
}

static void write_sectors(struct ide_channel *c, struct ide_drive *d, uint8_t command)
{
    uint8_t flags = commands[command].flags;

    if (!set_block(c, d, flags) || !take_range(c, d, flags))
        return;
    c->t.job = JOB_WRITE;
    c->t.at = 0;
    if (flags & F_DMA)
        ide_dma_begin(c, d, JOB_WRITE);
    else
        ask_block(c, d);
}

static void verify(struct ide_channel *c, struct ide_drive *d, uint8_t command)
{
    if (take_range(c, d, commands[command].flags))
        ide_complete(c, d);
}

static void seek(struct ide_channel *c, struct ide_drive *d, uint8_t command)
{
    if (lba_of(c, d, false) < d->sectors)
        ide_complete(c, d);
    else
        ide_fail(c, d, ER_IDNF, 0);
}

/* ---- durability ------------------------------------------------------------------------------ */

static void flushed(struct ide_channel *c, struct ide_drive *d, int result)
{
    if (result < 0)
        ide_fail(c, d, ER_ABRT, ST_DF);
    else
        ide_complete(c, d);
}

static void flush(struct ide_channel *c, struct ide_drive *d, uint8_t command)
{
    ide_submit_buffer(c, BLOCK_FLUSH, 0, 0, flushed);
}

/* One of 64 ranges: lba 47-0, sectors 63-48. */
static void trim_next(struct ide_channel *c, struct ide_drive *d, int result)
{
    struct ide_transfer *t = &c->t;
    uint64_t range;

    while (t->at < t->filled) {
        memcpy(&range, t->buf + t->at, sizeof range);
        t->at += sizeof range;
        uint64_t lba = range & UINT64_C(0xffffffffffff), n = range >> 48;
        if (lba > d->sectors || n > d->sectors - lba) {
            ide_fail(c, d, ER_IDNF, 0);
            return;
        }
        if (!n)
            continue;
        c->request = (struct block_request){
            .op = BLOCK_DISCARD, .offset = lba * IDE_SECTOR, .len = n * IDE_SECTOR};
        ide_submit(c, trim_next); /* at most 64 calls deep */
        return;
    }
    ide_complete(c, d); /* discards are advice: errors of the image do not matter */
}

void ide_trim(struct ide_channel *c, struct ide_drive *d)
{
    c->t.at = 0;
    trim_next(c, d, 0);
}

static void data_set_management(struct ide_channel *c, struct ide_drive *d, uint8_t command)
{
    if (!(d->features & 1) || d->count != 1 || d->old_count || !d->block->info.can_discard) {
        ide_fail(c, d, ER_ABRT, 0);
        return;
    }
    c->t.filled = IDE_SECTOR;
    ide_dma_begin(c, d, JOB_TRIM);
}

/* ---- identity, features ---------------------------------------------------------------------- */

static void identify(struct ide_channel *c, struct ide_drive *d, uint8_t command)
{
    if (d->kind == IDE_CDROM) { /* the abort of a packet device comes with its signature */
        ide_set_signature(c, d);
        ide_fail(c, d, ER_ABRT, 0);
        return;
    }
    ide_identify_disk(d, c->t.buf);
    ide_reply(c, d, IDE_SECTOR);
}

static void identify_packet(struct ide_channel *c, struct ide_drive *d, uint8_t command)
{
    ide_identify_cdrom(d, c->t.buf);
    ide_reply(c, d, IDE_SECTOR);
}

static void abort_command(struct ide_channel *c, struct ide_drive *d, uint8_t command)
{
    ide_fail(c, d, ER_ABRT, 0);
}

static void do_nothing(struct ide_channel *c, struct ide_drive *d, uint8_t command)
{
    ide_complete(c, d);
}

static void initialize_parameters(struct ide_channel *c, struct ide_drive *d, uint8_t command)
{
    if (!d->count) {
        ide_fail(c, d, ER_ABRT, 0);
        return;
    }
    d->heads = (uint8_t)((c->device & DEV_HEAD) + 1);
    d->track_sectors = d->count;
    ide_complete(c, d);
}

static void set_multiple(struct ide_channel *c, struct ide_drive *d, uint8_t command)
{
    if (d->count > IDE_MAX_MULTIPLE || (d->count & (d->count - 1))) {
        ide_fail(c, d, ER_ABRT, 0);
        return;
    }
    d->multiple = d->count;
    ide_complete(c, d);
}

static bool set_transfer_mode(struct ide_drive *d, uint8_t mode)
{
    static const uint8_t most[] = {1, 4, 0xff, 0xff, 2, 0xff, 0xff, 0xff, 5};
    uint8_t kind = mode >> 3, n = mode & 7;

    if (kind >= ARRAY_LEN(most) || most[kind] == 0xff || n > most[kind])
        return false;
    d->mode = kind < 2 ? (uint8_t)(0x08 | (kind ? n : 0)) : mode;
    return true;
}

static void cache_off(struct ide_channel *c, struct ide_drive *d, int result)
{
    if (result == 0)
        d->write_cache = 0;
    flushed(c, d, result);
}

enum {
    FEATURE_CACHE_ON = 0x02,
    FEATURE_MODE = 0x03,
    FEATURE_LOOK_AHEAD_OFF = 0x55,
    FEATURE_REVERT_OFF = 0x66,
    FEATURE_CACHE_OFF = 0x82,
    FEATURE_LOOK_AHEAD_ON = 0xaa,
    FEATURE_REVERT_ON = 0xcc,
};

static void set_features(struct ide_channel *c, struct ide_drive *d, uint8_t command)
{
    bool disk = d->kind == IDE_DISK, ok = true;

    switch (d->features) {
    case FEATURE_CACHE_ON:
        ok = disk;
        d->write_cache = 1;
        break;
    case FEATURE_CACHE_OFF:
        if (disk) { /* what the cache may hold must be durable first */
            ide_submit_buffer(c, BLOCK_FLUSH, 0, 0, cache_off);
            return;
        }
        ok = false;
        break;
    case FEATURE_MODE:
        ok = set_transfer_mode(d, d->count);
        break;
    case FEATURE_LOOK_AHEAD_ON:
    case FEATURE_LOOK_AHEAD_OFF:
        ok = disk;
        d->look_ahead = d->features == FEATURE_LOOK_AHEAD_ON;
        break;
    case FEATURE_REVERT_OFF:
        break;
    default:
        ok = false;
        break;
    }
    if (ok)
        ide_complete(c, d);
    else
        ide_fail(c, d, ER_ABRT, 0);
}

static void native_max(struct ide_channel *c, struct ide_drive *d, uint8_t command)
{
    bool ext = commands[command].flags & F_EXT;
    uint64_t last = d->sectors - 1;

    if (!ext && last > 0x0fffffff)
        last = 0x0fffffff;
    c->t.ext = ext;
    c->device |= DEV_LBA;
    show_lba(c, d, last);
    ide_complete(c, d);
}

/* ---- power ----------------------------------------------------------------------------------- */

static void standby(struct ide_channel *c, struct ide_drive *d, uint8_t command)
{
    d->standby = 1;
    ide_complete(c, d);
}

static void idle(struct ide_channel *c, struct ide_drive *d, uint8_t command)
{
    d->standby = 0;
    ide_complete(c, d);
}

static void check_power(struct ide_channel *c, struct ide_drive *d, uint8_t command)
{
    d->count = d->standby ? 0x00 : 0xff;
    ide_complete(c, d);
}

/* ---- SMART: a drive in good health, without attributes --------------------------------------- */

enum {
    SMART_DATA = 0xd0,
    SMART_THRESHOLDS = 0xd1,
    SMART_AUTOSAVE = 0xd2,
    SMART_SAVE = 0xd3,
    SMART_ENABLE = 0xd8,
    SMART_DISABLE = 0xd9,
    SMART_STATUS = 0xda
};

static void smart_data(struct ide_channel *c, struct ide_drive *d)
{
    uint8_t *p = c->t.buf, sum = 0;

    memset(p, 0, IDE_SECTOR);
    p[0] = 0x10; /* structure revision */
    for (unsigned i = 0; i < IDE_SECTOR - 1; i++)
        sum = (uint8_t)(sum + p[i]);
    p[IDE_SECTOR - 1] = (uint8_t)-sum;
    ide_reply(c, d, IDE_SECTOR);
}

static void smart(struct ide_channel *c, struct ide_drive *d, uint8_t command)
{
    bool ok = d->lba[1] == 0x4f && d->lba[2] == 0xc2;

    if (ok && d->features == SMART_ENABLE)
        d->smart = 1;
    ok = ok && d->smart;
    switch (ok ? d->features : 0) {
    case SMART_DATA:
    case SMART_THRESHOLDS:
        smart_data(c, d);
        return;
    case SMART_DISABLE:
        d->smart = 0;
        break;
    case SMART_STATUS: /* the key stays in the registers: no threshold exceeded */
    case SMART_ENABLE:
    case SMART_AUTOSAVE:
    case SMART_SAVE:
        break;
    default:
        ok = false;
        break;
    }
    if (ok)
        ide_complete(c, d);
    else
        ide_fail(c, d, ER_ABRT, 0);
}

/* ---- dispatch -------------------------------------------------------------------------------- */

static void packet(struct ide_channel *c, struct ide_drive *d, uint8_t command)
{
    ide_packet(c, d);
}

static void device_reset(struct ide_channel *c, struct ide_drive *d, uint8_t command)
{
    ide_reset_drive(c, d);
}

/* Both drives test themselves; drive 0 answers for both. */
static void diagnose(struct ide_channel *c)
{
    for (unsigned i = 0; i < 2; i++) {
        struct ide_drive *d = &c->drive[i];
        ide_set_signature(c, d);
        d->status = d->kind == IDE_DISK ? ST_DRDY | ST_DSC : 0;
        d->intrq = 0;
    }
    c->t.phase = PHASE_IDLE;
    c->device = 0;
    if (c->drive[0].kind != IDE_ABSENT)
        ide_raise(c, &c->drive[0]);
    else
        ide_update_irq(c);
}

enum { DEVICE_RESET = 0x08, DIAGNOSTIC = 0x90 };

/* clang-format off */
static const struct command commands[256] = {
    [0x00] = {abort_command, ON_BOTH},
    [0x06] = {data_set_management, ON_DISK},
    [DEVICE_RESET] = {device_reset, ON_CD},
    [0x10 ... 0x1f] = {do_nothing, ON_DISK}, /* RECALIBRATE */
    [0x20] = {read_sectors, ON_DISK}, [0x21] = {read_sectors, ON_DISK},
    [0x24] = {read_sectors, ON_DISK, F_EXT},
    [0x25] = {read_sectors, ON_DISK, F_EXT | F_DMA},
    [0x27] = {native_max, ON_DISK, F_EXT},
    [0x29] = {read_sectors, ON_DISK, F_EXT | F_MULTIPLE},
    [0x30] = {write_sectors, ON_DISK}, [0x31] = {write_sectors, ON_DISK},
    [0x34] = {write_sectors, ON_DISK, F_EXT},
    [0x35] = {write_sectors, ON_DISK, F_EXT | F_DMA},
    [0x39] = {write_sectors, ON_DISK, F_EXT | F_MULTIPLE},
    [0x3d] = {write_sectors, ON_DISK, F_EXT | F_DMA | F_FUA},
    [0x40] = {verify, ON_DISK}, [0x41] = {verify, ON_DISK},
    [0x42] = {verify, ON_DISK, F_EXT},
    [0x70 ... 0x7f] = {seek, ON_DISK},
    [0x91] = {initialize_parameters, ON_DISK},
    [0x94] = {standby, ON_BOTH}, [0x95] = {idle, ON_BOTH}, /* old names of 0xe0 to 0xe6 */
    [0x96] = {standby, ON_BOTH}, [0x97] = {idle, ON_BOTH},
    [0x98] = {check_power, ON_BOTH}, [0x99] = {standby, ON_BOTH},
    [0xa0] = {packet, ON_CD},
    [0xa1] = {identify_packet, ON_CD},
    [0xb0] = {smart, ON_DISK},
    [0xc4] = {read_sectors, ON_DISK, F_MULTIPLE},
    [0xc5] = {write_sectors, ON_DISK, F_MULTIPLE},
    [0xc6] = {set_multiple, ON_DISK},
    [0xc8] = {read_sectors, ON_DISK, F_DMA}, [0xc9] = {read_sectors, ON_DISK, F_DMA},
    [0xca] = {write_sectors, ON_DISK, F_DMA}, [0xcb] = {write_sectors, ON_DISK, F_DMA},
    [0xce] = {write_sectors, ON_DISK, F_EXT | F_MULTIPLE | F_FUA},
    [0xe0] = {standby, ON_BOTH}, [0xe1] = {idle, ON_BOTH},
    [0xe2] = {standby, ON_BOTH}, [0xe3] = {idle, ON_BOTH},
    [0xe5] = {check_power, ON_BOTH}, [0xe6] = {standby, ON_BOTH},
    [0xe7] = {flush, ON_DISK}, [0xea] = {flush, ON_DISK},
    [0xec] = {identify, ON_BOTH},
    [0xef] = {set_features, ON_BOTH},
    [0xf8] = {native_max, ON_DISK},
};
/* clang-format on */

/* A command ends a transfer that waits for the guest. */
void ide_command(struct ide_channel *c, uint8_t command)
{
    struct ide_drive *d = ide_selected(c);
    const struct command *row = &commands[command];
    bool taken = row->drives >> d->kind & 1;

    if (c->control & CTL_SRST)
        return;
    if (command == DEVICE_RESET && taken) {
        row->run(c, d, command);
        return;
    }
    if (c->in_flight)
        return;
    c->control &= (uint8_t)~CTL_HOB;
    if (command == DIAGNOSTIC) {
        diagnose(c);
        return;
    }
    if (d->kind == IDE_ABSENT)
        return;
    d->intrq = 0;
    ide_update_irq(c);
    c->t.phase = PHASE_IDLE;
    c->t.drive = d->number & 1;
    d->error = 0;
    if (!taken && d->kind == IDE_CDROM)
        ide_set_signature(c, d);
    (taken ? row->run : abort_command)(c, d, command);
}
