/* SPDX-License-Identifier: MIT */
/* Packet commands of a CD-ROM or DVD-ROM drive (SFF-8020i; MMC-3, T10 1363D): a disc of one data
 * track. A table says of each command whether it needs a disc and whether it lets the news pass
 * that the disc was changed.
 *
 * Left out: audio, raw sectors (READ CD gives user data only), changers, speed, writing. */
#include "dev/ide.h"

#include <string.h>

#define CD_MAX_SECTORS (80 * 60 * 75) /* more is a DVD */
#define LEAD_OUT       0xaa

static const struct ide_sense NOT_PRESENT = {2, 0x3a, 0}, TRAY_OPEN = {2, 0x3a, 2},
                              BAD_COMMAND = {5, 0x20, 0}, BAD_ADDRESS = {5, 0x21, 0},
                              BAD_FIELD = {5, 0x24, 0}, NO_SAVING = {5, 0x39, 0},
                              LOCKED = {5, 0x53, 2}, MAY_HAVE_CHANGED = {6, 0x28, 0};

static uint32_t be16(const uint8_t *p)
{
    return (uint32_t)p[0] << 8 | p[1];
}

static uint32_t be32(const uint8_t *p)
{
    return be16(p) << 16 | be16(p + 2);
}

static void put16(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static void put32(uint8_t *p, uint32_t v)
{
    put16(p, v >> 16);
    put16(p + 2, v & 0xffff);
}

/* A disc's address fits 32 bits: larger images are cut off. */
static uint32_t disc_sectors(const struct ide_drive *d)
{
    return d->sectors < UINT32_MAX ? (uint32_t)d->sectors : UINT32_MAX;
}

static bool is_dvd(const struct ide_drive *d)
{
    return disc_sectors(d) > CD_MAX_SECTORS;
}

/* A block address as such or as minute, second, frame. */
static void put_address(uint8_t *p, uint32_t lba, bool msf)
{
    uint32_t frame = lba + 150;

    put32(p, lba);
    if (msf) {
        p[0] = 0;
        p[1] = (uint8_t)(frame / 75 / 60);
        p[2] = (uint8_t)(frame / 75 % 60);
        p[3] = (uint8_t)(frame % 75);
    }
}

/* ---- state of drive and disc ----------------------------------------------------------------- */

static void nothing(struct ide_channel *c, struct ide_drive *d, const uint8_t *cdb)
{
    ide_cd_complete(c, d);
}

static void request_sense(struct ide_channel *c, struct ide_drive *d, const uint8_t *cdb)
{
    uint8_t *p = c->t.buf;

    memset(p, 0, 18);
    p[0] = 0x70; /* current error, fixed format */
    p[2] = d->sense_key;
    p[7] = 10; /* bytes that follow */
    p[12] = d->asc;
    p[13] = d->ascq;
    d->sense_key = d->asc = d->ascq = 0;
    ide_cd_reply(c, d, 18, cdb[4]);
}

static void inquiry(struct ide_channel *c, struct ide_drive *d, const uint8_t *cdb)
{
    uint8_t *p = c->t.buf;

    if (cdb[1] & 1) { /* vital product data */
        ide_cd_fail(c, d, BAD_FIELD);
        return;
    }
    memset(p, 0, 36);
    p[0] = 0x05; /* CD-ROM */
    p[1] = 0x80; /* removable */
    p[3] = 0x21; /* ATAPI, response format 1 */
    p[4] = 31;
    memcpy(p + 8, "RING3   CD-ROM          1.0 ", 28);
    ide_cd_reply(c, d, 36, be16(cdb + 3));
}

static void start_stop(struct ide_channel *c, struct ide_drive *d, const uint8_t *cdb)
{
    bool start = cdb[4] & 1, load_eject = cdb[4] & 2;

    if (load_eject && !start && d->locked) {
        ide_cd_fail(c, d, LOCKED);
        return;
    }
    if (load_eject && !start) {
        d->event = d->tray_open ? d->event : IDE_EVENT_REMOVED;
        d->tray_open = 1;
    } else if (load_eject && d->tray_open) {
        d->tray_open = 0;
        d->attention = d->block != NULL;
        d->event = d->block ? IDE_EVENT_NEW_MEDIA : IDE_EVENT_NONE;
    }
    ide_cd_complete(c, d);
}

static void prevent_allow(struct ide_channel *c, struct ide_drive *d, const uint8_t *cdb)
{
    d->locked = cdb[4] & 1;
    ide_cd_complete(c, d);
}

static void mechanism_status(struct ide_channel *c, struct ide_drive *d, const uint8_t *cdb)
{
    memset(c->t.buf, 0, 8);
    c->t.buf[1] = d->tray_open ? 0x10 : 0;
    c->t.buf[5] = 1; /* one slot, no table of slots */
    ide_cd_reply(c, d, 8, be16(cdb + 8));
}

/* Polled only: there is nothing to wait for while a packet is under way. */
static void event_status(struct ide_channel *c, struct ide_drive *d, const uint8_t *cdb)
{
    enum { POLLED = 1, MEDIA = 4, MEDIA_BIT = 1 << MEDIA, NO_EVENT = 0x80 };
    uint8_t *p = c->t.buf;

    if (!(cdb[1] & POLLED)) {
        ide_cd_fail(c, d, BAD_FIELD);
        return;
    }
    memset(p, 0, 8);
    p[3] = MEDIA_BIT; /* classes there are */
    if (!(cdb[4] & MEDIA_BIT)) {
        put16(p, 2);
        p[2] = NO_EVENT;
        ide_cd_reply(c, d, 4, be16(cdb + 7));
        return;
    }
    put16(p, 6);
    p[2] = MEDIA;
    p[4] = d->event;
    p[5] = (uint8_t)((d->tray_open ? 1 : 0) | (ide_has_disc(d) ? 2 : 0));
    d->event = IDE_EVENT_NONE;
    ide_cd_reply(c, d, 8, be16(cdb + 7));
}

/* ---- what is on the disc --------------------------------------------------------------------- */

static void read_capacity(struct ide_channel *c, struct ide_drive *d, const uint8_t *cdb)
{
    put32(c->t.buf, disc_sectors(d) - 1);
    put32(c->t.buf + 4, IDE_CD_SECTOR);
    ide_cd_reply(c, d, 8, 8);
}

static void read_range(struct ide_channel *c, struct ide_drive *d, uint32_t lba, uint32_t n)
{
    if (lba > disc_sectors(d) || n > disc_sectors(d) - lba)
        ide_cd_fail(c, d, BAD_ADDRESS);
    else
        ide_cd_read(c, d, lba, n);
}

static void read_10(struct ide_channel *c, struct ide_drive *d, const uint8_t *cdb)
{
    read_range(c, d, be32(cdb + 2), be16(cdb + 7));
}

static void read_12(struct ide_channel *c, struct ide_drive *d, const uint8_t *cdb)
{
    read_range(c, d, be32(cdb + 2), be32(cdb + 6));
}

static void read_cd(struct ide_channel *c, struct ide_drive *d, const uint8_t *cdb)
{
    enum { USER_DATA = 0x10, MODE_1 = 2 };
    unsigned type = cdb[1] >> 2 & 7;
    uint32_t n = (uint32_t)cdb[6] << 16 | be16(cdb + 7);

    if (cdb[9] == 0)
        n = 0;
    if ((type != 0 && type != MODE_1) || (cdb[9] && cdb[9] != USER_DATA) || (cdb[10] & 7))
        ide_cd_fail(c, d, BAD_FIELD);
    else
        read_range(c, d, be32(cdb + 2), n);
}

static void seek(struct ide_channel *c, struct ide_drive *d, const uint8_t *cdb)
{
    if (be32(cdb + 2) < disc_sectors(d))
        ide_cd_complete(c, d);
    else
        ide_cd_fail(c, d, BAD_ADDRESS);
}

static uint8_t *put_track(uint8_t *p, uint8_t track, uint32_t lba, bool msf)
{
    memset(p, 0, 8);
    p[1] = 0x14; /* a data track, position in the Q channel */
    p[2] = track;
    put_address(p + 4, lba, msf);
    return p + 8;
}

/* Format 2: points A0 (first track), A1 (last track), A2 (lead-out), and track 1. */
static uint8_t *put_raw_toc(uint8_t *p, uint32_t lead_out, bool msf)
{
    static const uint8_t points[] = {0xa0, 0xa1, 0xa2, 1};

    for (unsigned i = 0; i < sizeof points; i++, p += 11) {
        memset(p, 0, 11);
        p[0] = 1; /* session */
        p[1] = 0x14;
        p[3] = points[i];
        if (points[i] == 0xa0 || points[i] == 0xa1)
            p[8] = 1;
        else
            put_address(p + 7, points[i] == 1 ? 0 : lead_out, msf);
    }
    return p;
}

static void read_toc(struct ide_channel *c, struct ide_drive *d, const uint8_t *cdb)
{
    uint8_t *p = c->t.buf, *end = p + 4;
    bool msf = cdb[1] & 2;
    /* The format is in byte 2, or with older software in the top of byte 9. */
    unsigned format = cdb[2] & 15 ? cdb[2] & 15u : cdb[9] >> 6;

    if (format > 2 || (format == 0 && cdb[6] > 1 && cdb[6] != LEAD_OUT)) {
        ide_cd_fail(c, d, BAD_FIELD);
        return;
    }
    if (format == 2) {
        end = put_raw_toc(end, disc_sectors(d), msf);
    } else {
        if (format == 1 || cdb[6] <= 1)
            end = put_track(end, 1, 0, msf);
        if (format == 0)
            end = put_track(end, LEAD_OUT, disc_sectors(d), msf);
    }
    put16(p, (uint32_t)(end - p - 2));
    p[2] = p[3] = 1; /* first and last track or session */
    ide_cd_reply(c, d, (uint32_t)(end - p), be16(cdb + 7));
}

static void read_disc_information(struct ide_channel *c, struct ide_drive *d, const uint8_t *cdb)
{
    uint8_t *p = c->t.buf;

    memset(p, 0, 34);
    put16(p, 32);
    p[2] = 0x0e;                   /* last session complete, disc finalized */
    p[3] = p[4] = p[5] = p[6] = 1; /* first track, sessions, tracks of the last session */
    p[7] = 0x20;                   /* unrestricted use */
    memset(p + 16, 0xff, 8);       /* no lead-in or lead-out to write */
    ide_cd_reply(c, d, 34, be16(cdb + 7));
}

static void read_track_information(struct ide_channel *c, struct ide_drive *d, const uint8_t *cdb)
{
    uint8_t *p = c->t.buf;

    memset(p, 0, 36);
    put16(p, 34);
    p[2] = p[3] = 1; /* track, session */
    p[5] = 4;        /* data */
    p[6] = 1;        /* mode 1 */
    put32(p + 24, disc_sectors(d));
    ide_cd_reply(c, d, 36, be16(cdb + 7));
}

/* ---- what the drive can do ------------------------------------------------------------------- */

enum { PROFILE_CD = 0x08, PROFILE_DVD = 0x10 };

/* Features: number, bytes of data, flags (current, persistent, version), data. */
static const struct feature {
    uint16_t number;
    uint8_t flags, len, data[8];
} features[] = {
    {0x0000, 0x03, 8, {0, PROFILE_DVD, 0, 0, 0, PROFILE_CD, 0, 0}}, /* list of profiles */
    {0x0001, 0x0b, 8, {0, 0, 0, 2, 1}},                             /* core: ATAPI */
    {0x0003, 0x03, 4, {0x29}},                /* removable: tray, lock, eject */
    {0x0010, 0x01, 8, {0, 0, 8, 0, 0, 1, 1}}, /* random read: 2048, 1 */
    {0x001e, 0x09, 4, {0}},                   /* CD read */
    {0x001f, 0x01, 0, {0}},                   /* DVD read */
};
enum { CURRENT = 1, FEATURE_PROFILES = 0, FEATURE_CD = 0x1e, FEATURE_DVD = 0x1f };

static unsigned current_profile(const struct ide_drive *d)
{
    return !ide_has_disc(d) ? 0 : is_dvd(d) ? PROFILE_DVD : PROFILE_CD;
}

static bool feature_is_current(const struct ide_drive *d, const struct feature *f)
{
    if (f->number == 0x0010)
        return ide_has_disc(d);
    if (f->number == FEATURE_CD)
        return current_profile(d) == PROFILE_CD;
    if (f->number == FEATURE_DVD)
        return current_profile(d) == PROFILE_DVD;
    return f->flags & CURRENT;
}

static uint8_t *put_feature(uint8_t *p, const struct ide_drive *d, const struct feature *f)
{
    put16(p, f->number);
    p[2] = (uint8_t)((f->flags & ~CURRENT) | feature_is_current(d, f));
    p[3] = f->len;
    memcpy(p + 4, f->data, f->len);
    if (f->number == FEATURE_PROFILES) {
        p[6] = current_profile(d) == PROFILE_DVD;
        p[10] = current_profile(d) == PROFILE_CD;
    }
    return p + 4 + f->len;
}

static void get_configuration(struct ide_channel *c, struct ide_drive *d, const uint8_t *cdb)
{
    enum { ALL, ONLY_CURRENT, ONE };
    uint8_t *p = c->t.buf, *end = p + 8;
    unsigned how = cdb[1] & 3, first = be16(cdb + 2);

    if (how > ONE) {
        ide_cd_fail(c, d, BAD_FIELD);
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(features); i++) {
        const struct feature *f = &features[i];
        bool wanted = how == ONE ? f->number == first : f->number >= first;
        if (wanted && (how != ONLY_CURRENT || feature_is_current(d, f)))
            end = put_feature(end, d, f);
    }
    memset(p, 0, 8);
    put32(p, (uint32_t)(end - p - 4));
    put16(p + 6, current_profile(d));
    ide_cd_reply(c, d, (uint32_t)(end - p), be16(cdb + 7));
}

static uint8_t *put_recovery_page(uint8_t *p, const struct ide_drive *d)
{
    memset(p, 0, 8);
    p[0] = 0x01;
    p[1] = 6;
    p[3] = 5; /* retries */
    return p + 8;
}

static uint8_t *put_capabilities_page(uint8_t *p, const struct ide_drive *d)
{
    memset(p, 0, 20);
    p[0] = 0x2a;
    p[1] = 18;
    p[2] = 0x3b;                                  /* reads CD-R, CD-RW, method 2, DVD-ROM, DVD-R */
    p[4] = 0x70;                                  /* mode 2 forms 1 and 2, multi-session */
    p[6] = (uint8_t)(0x29 | (d->locked ? 2 : 0)); /* tray, eject, lock; locked */
    put16(p + 8, 7056);                           /* KB/s at most: 40 times a CD */
    put16(p + 10, 2);                             /* volume levels */
    put16(p + 12, 512);                           /* buffer, KiB */
    put16(p + 14, 7056);
    return p + 20;
}

static void mode_sense(struct ide_channel *c, struct ide_drive *d, const uint8_t *cdb)
{
    enum { SAVED = 3, RECOVERY = 0x01, CAPABILITIES = 0x2a, ALL = 0x3f };
    uint8_t *p = c->t.buf, *end = p + 8;
    unsigned control = cdb[2] >> 6, page = cdb[2] & 0x3f;

    if (control == SAVED || (page != RECOVERY && page != CAPABILITIES && page != ALL)) {
        ide_cd_fail(c, d, control == SAVED ? NO_SAVING : BAD_FIELD);
        return;
    }
    memset(p, 0, 8);
    if (page == RECOVERY || page == ALL)
        end = put_recovery_page(end, d);
    if (page == CAPABILITIES || page == ALL)
        end = put_capabilities_page(end, d);
    put16(p, (uint32_t)(end - p - 2));
    p[2] = ide_has_disc(d) ? 0x01 : d->tray_open ? 0x71 : 0x70; /* data disc, open, none */
    ide_cd_reply(c, d, (uint32_t)(end - p), be16(cdb + 7));
}

/* ---- dispatch -------------------------------------------------------------------------------- */

enum { NEEDS_DISC = 1, IGNORES_NEWS = 2 };

static const struct packet_command {
    void (*run)(struct ide_channel *c, struct ide_drive *d, const uint8_t *cdb);
    uint8_t flags;
} packet_commands[256] = {
    [0x00] = {nothing, NEEDS_DISC}, /* TEST UNIT READY */
    [0x03] = {request_sense, IGNORES_NEWS},
    [0x12] = {inquiry, IGNORES_NEWS},
    [0x1b] = {start_stop, 0},
    [0x1e] = {prevent_allow, 0},
    [0x25] = {read_capacity, NEEDS_DISC},
    [0x28] = {read_10, NEEDS_DISC},
    [0x2b] = {seek, NEEDS_DISC},
    [0x35] = {nothing, 0}, /* SYNCHRONIZE CACHE */
    [0x43] = {read_toc, NEEDS_DISC},
    [0x46] = {get_configuration, IGNORES_NEWS},
    [0x4a] = {event_status, IGNORES_NEWS},
    [0x51] = {read_disc_information, NEEDS_DISC},
    [0x52] = {read_track_information, NEEDS_DISC},
    [0x5a] = {mode_sense, 0},
    [0xa8] = {read_12, NEEDS_DISC},
    [0xbb] = {nothing, 0}, /* SET CD SPEED */
    [0xbd] = {mechanism_status, 0},
    [0xbe] = {read_cd, NEEDS_DISC},
};

void ide_cd_execute(struct ide_channel *c, struct ide_drive *d, const uint8_t cdb[IDE_PACKET_BYTES])
{
    const struct packet_command *row = &packet_commands[cdb[0]];

    if (!row->run) {
        ide_cd_fail(c, d, BAD_COMMAND);
    } else if (d->attention && !(row->flags & IGNORES_NEWS)) {
        d->attention = 0;
        ide_cd_fail(c, d, MAY_HAVE_CHANGED);
    } else if ((row->flags & NEEDS_DISC) && !ide_has_disc(d)) {
        ide_cd_fail(c, d, d->tray_open ? TRAY_OPEN : NOT_PRESENT);
    } else {
        if (cdb[0] != 0x03)
            d->sense_key = d->asc = d->ascq = 0;
        row->run(c, d, cdb);
    }
}
