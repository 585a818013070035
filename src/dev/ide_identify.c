/* SPDX-License-Identifier: MIT */
/* What drives answer to IDENTIFY DEVICE and IDENTIFY PACKET DEVICE: 256 words (ATA/ATAPI-6, T13
 * 1410D, 8.15 and 8.16). */
#include "dev/ide.h"

#include <stdio.h>
#include <string.h>

#define CHS_LIMIT   (UINT64_C(16383) * 16 * 63)
#define LBA28_LIMIT UINT64_C(0x0fffffff)

static void put16(uint8_t *data, unsigned word, unsigned value)
{
    data[2 * word] = (uint8_t)value;
    data[2 * word + 1] = (uint8_t)(value >> 8);
}

static void put32(uint8_t *data, unsigned word, uint64_t value)
{
    put16(data, word, (unsigned)(value & 0xffff));
    put16(data, word + 1, (unsigned)(value >> 16 & 0xffff));
}

/* Characters go in with the bytes of each word exchanged, padded with spaces. */
static void put_text(uint8_t *data, unsigned word, unsigned words, const char *text)
{
    size_t n = strlen(text);

    for (size_t i = 0; i < 2 * (size_t)words; i++)
        data[2 * word + (i ^ 1)] = i < n ? (uint8_t)text[i] : ' ';
}

static void put_serial(uint8_t *data, const struct ide_drive *d)
{
    char serial[21];

    snprintf(serial, sizeof serial, "RING3-%04u", d->number);
    put_text(data, 10, 10, serial);
}

/* The last byte makes the sum of all 0. */
static void put_checksum(uint8_t *data)
{
    uint8_t sum = 0;

    data[510] = 0xa5;
    for (unsigned i = 0; i < 511; i++)
        sum = (uint8_t)(sum + data[i]);
    data[511] = (uint8_t)-sum;
}

/* Words 63 and 88: modes 0 to 2 and 0 to 5, and which of them is set. */
static void put_modes(uint8_t *data, const struct ide_drive *d)
{
    unsigned n = d->mode & 7, kind = d->mode >> 3;

    put16(data, 63, 0x07 | (kind == 4 ? 0x100u << n : 0));
    put16(data, 64, 0x03); /* PIO modes 3 and 4 */
    for (unsigned word = 65; word <= 68; word++)
        put16(data, word, 120); /* ns per word */
    put16(data, 88, 0x3f | (kind == 8 ? 0x100u << n : 0));
}

static void put_geometry(uint8_t *data, const struct ide_drive *d)
{
    uint64_t reach = d->sectors < CHS_LIMIT ? d->sectors : CHS_LIMIT;
    unsigned cylinders = (unsigned)(reach / ((unsigned)d->heads * d->track_sectors));
    cylinders = cylinders < 0xffff ? cylinders : 0xffff;

    put16(data, 1, d->native.cylinders);
    put16(data, 3, d->native.heads);
    put16(data, 6, d->native.sectors);
    put16(data, 54, cylinders);
    put16(data, 55, d->heads);
    put16(data, 56, d->track_sectors);
    put32(data, 57, (uint64_t)cylinders * d->heads * d->track_sectors);
    put32(data, 60, d->sectors < LBA28_LIMIT ? d->sectors : LBA28_LIMIT);
    put32(data, 100, d->sectors);
    put32(data, 102, d->sectors >> 32);
}

/* Words 82 to 87: what there is, then what is on. */
static void put_features(uint8_t *data, const struct ide_drive *d)
{
    enum { SMART = 1 << 0, POWER = 1 << 3, WRITE_CACHE = 1 << 5, LOOK_AHEAD = 1 << 6 };
    enum { LBA48 = 1 << 10, FLUSH = 1 << 12, FLUSH_EXT = 1 << 13, VALID = 1 << 14 };
    enum { FUA = 1 << 6, NOP = 1 << 14 };

    put16(data, 82, NOP | SMART | POWER | WRITE_CACHE | LOOK_AHEAD);
    put16(data, 83, VALID | FLUSH_EXT | FLUSH | LBA48);
    put16(data, 84, VALID | FUA);
    put16(data, 85,
          NOP | POWER | (d->smart ? SMART : 0u) | (d->write_cache ? WRITE_CACHE : 0u) |
              (d->look_ahead ? LOOK_AHEAD : 0u));
    put16(data, 86, FLUSH_EXT | FLUSH | LBA48);
    put16(data, 87, VALID | FUA);
}

void ide_identify_disk(const struct ide_drive *d, uint8_t data[IDE_SECTOR])
{
    memset(data, 0, IDE_SECTOR);
    put16(data, 0, 0x0040); /* fixed disk */
    put_serial(data, d);
    put_text(data, 23, 4, "1.0");
    put_text(data, 27, 20, "RING3 DISK");
    put16(data, 47, 0x8000 | IDE_MAX_MULTIPLE);
    put16(data, 49, 0x0f00); /* IORDY, LBA, DMA */
    put16(data, 50, 0x4000);
    put16(data, 51, 0x0200); /* PIO mode 2 without IORDY */
    put16(data, 53, 0x0007); /* words 54-58, 64-70 and 88 are valid */
    put16(data, 59, d->multiple ? 0x0100u | d->multiple : 0);
    put_modes(data, d);
    put_geometry(data, d);
    put16(data, 80, 0x01f0); /* ATA/ATAPI-4 to 7, ATA8-ACS, where TRIM is from */
    put_features(data, d);
    put16(data, 93, 0x6001 | (d->number & 1 ? 0x0e00u : 0x000e)); /* 80-conductor cable */
    if (d->block && d->block->info.can_discard) {
        put16(data, 105, 1);    /* sectors of ranges per command */
        put16(data, 169, 0x01); /* TRIM */
    }
    put16(data, 217, 1); /* does not rotate */
    put_checksum(data);
}

void ide_identify_cdrom(const struct ide_drive *d, uint8_t data[IDE_SECTOR])
{
    memset(data, 0, IDE_SECTOR);
    put16(data, 0, 0x85c0); /* ATAPI, CD-ROM, removable, fast data requests, 12-byte packets */
    put_serial(data, d);
    put_text(data, 23, 4, "1.0");
    put_text(data, 27, 20, "RING3 CD-ROM");
    put16(data, 49, 0x0f00);
    put16(data, 53, 0x0006);
    put_modes(data, d);
    put16(data, 71, 30); /* ns from a packet to release; from SERVICE to ready */
    put16(data, 72, 30);
    put16(data, 80, 0x0070);
    put16(data, 82, 0x4218); /* NOP, DEVICE RESET, PACKET, power management */
    put16(data, 83, 0x4000);
    put16(data, 84, 0x4000);
    put16(data, 85, 0x4218);
    put16(data, 87, 0x4000);
    put16(data, 93, 0x6001 | (d->number & 1 ? 0x0e00u : 0x000e));
    put_checksum(data);
}
