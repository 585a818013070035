/* SPDX-License-Identifier: MIT */
/* The PACKET command (ATA/ATAPI-6, T13 1410D, 8.23 and 9.8): a packet of 12 bytes comes in by the
 * data port, its answer goes out by the data port, in blocks of at most the byte count in lba[2:1],
 * or by the bus master. The count register says what is asked for: 1 a packet, 2 data, 3 the end.
 *
 * An odd byte count is rounded down unless the data fits; 0 is taken as 65534. Left out: data to
 * the drive, overlapped commands. */
#include "dev/ide.h"

#include <string.h>

/* ---- the end --------------------------------------------------------------------------------- */

void ide_cd_complete(struct ide_channel *c, struct ide_drive *d)
{
    d->count = REASON_COMMAND | REASON_TO_HOST;
    ide_complete(c, d);
}

void ide_cd_fail(struct ide_channel *c, struct ide_drive *d, struct ide_sense sense)
{
    d->sense_key = sense.key;
    d->asc = sense.asc;
    d->ascq = sense.ascq;
    d->count = REASON_COMMAND | REASON_TO_HOST;
    ide_fail(c, d, (uint8_t)(sense.key << 4 | ER_ABRT), 0);
}

void ide_cd_read_failed(struct ide_channel *c, struct ide_drive *d)
{
    ide_cd_fail(c, d, (struct ide_sense){3, 0x11, 0}); /* medium error, unrecovered read */
}

/* ---- data to the guest ----------------------------------------------------------------------- */

static void offer_block(struct ide_channel *c, struct ide_drive *d)
{
    struct ide_transfer *t = &c->t;
    uint32_t n = t->filled - t->at, limit = t->block;

    if (n > limit)
        n = limit & ~1u;
    t->end = t->at + n;
    d->count = REASON_TO_HOST;
    d->lba[1] = (uint8_t)n;
    d->lba[2] = (uint8_t)(n >> 8);
    ide_offer(c, d, PHASE_IN);
    ide_raise(c, d);
}

void ide_cd_reply_moved(struct ide_channel *c, struct ide_drive *d)
{
    if (c->t.at < c->t.filled)
        offer_block(c, d);
    else
        ide_cd_complete(c, d);
}

void ide_cd_reply(struct ide_channel *c, struct ide_drive *d, uint32_t have, uint32_t room)
{
    c->t.at = 0;
    c->t.filled = have < room ? have : room;
    c->t.job = JOB_CD_REPLY;
    if (!c->t.filled)
        ide_cd_complete(c, d);
    else if (c->t.packet_dma)
        ide_dma_begin(c, d, JOB_CD_REPLY);
    else
        offer_block(c, d);
}

static void filled(struct ide_channel *c, struct ide_drive *d, int result)
{
    struct ide_transfer *t = &c->t;
    uint32_t sectors = (uint32_t)(c->request.len / IDE_CD_SECTOR);

    if (result < 0) {
        ide_cd_read_failed(c, d);
        return;
    }
    t->lba += sectors;
    t->left -= sectors;
    t->filled = sectors * IDE_CD_SECTOR;
    t->at = 0;
    offer_block(c, d);
}

static void fill(struct ide_channel *c)
{
    const uint32_t most = IDE_BUFFER / IDE_CD_SECTOR;
    uint32_t n = c->t.left < most ? c->t.left : most;

    ide_submit_buffer(c, BLOCK_READ, c->t.lba * IDE_CD_SECTOR, n * IDE_CD_SECTOR, filled);
}

void ide_cd_read_moved(struct ide_channel *c, struct ide_drive *d)
{
    if (c->t.at < c->t.filled)
        offer_block(c, d);
    else if (c->t.left)
        fill(c);
    else
        ide_cd_complete(c, d);
}

void ide_cd_read(struct ide_channel *c, struct ide_drive *d, uint32_t lba, uint32_t n)
{
    c->t.lba = lba;
    c->t.left = n;
    c->t.job = JOB_CD_READ;
    if (!n)
        ide_cd_complete(c, d);
    else if (c->t.packet_dma)
        ide_dma_begin(c, d, JOB_CD_READ);
    else
        fill(c);
}

/* ---- the packet ------------------------------------------------------------------------------ */

enum { FEATURE_DMA = 1, FEATURE_OVERLAP = 2 };

void ide_packet(struct ide_channel *c, struct ide_drive *d)
{
    uint32_t limit = (uint32_t)(d->lba[1] | d->lba[2] << 8);

    if (d->features & FEATURE_OVERLAP) {
        ide_fail(c, d, ER_ABRT, 0);
        return;
    }
    c->t.packet_dma = d->features & FEATURE_DMA;
    c->t.block = limit < 2 || limit == 0xffff ? 0xfffe : limit;
    c->t.job = JOB_PACKET;
    c->t.at = 0;
    c->t.end = IDE_PACKET_BYTES;
    d->count = REASON_COMMAND;
    ide_offer(c, d, PHASE_OUT); /* without an interrupt, as the identity says */
}

void ide_packet_moved(struct ide_channel *c, struct ide_drive *d)
{
    uint8_t cdb[IDE_PACKET_BYTES];

    memcpy(cdb, c->t.buf, sizeof cdb);
    c->t.phase = PHASE_IDLE;
    ide_cd_execute(c, d, cdb);
}
