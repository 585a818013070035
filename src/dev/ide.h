/* SPDX-License-Identifier: MIT */
/* Inside the IDE controller: what its files share. A command of a drive runs through one
 * `struct ide_transfer` per channel, in phases:
 *
 *   ide_channel.c  registers, the data port, resets, requests to the disk image
 *   ide_dma.c      bus master registers, descriptor tables
 *   ide_ata.c      ATA commands                ide_atapi.c       packets and the phases of PACKET
 *   ide_identify.c what drives say of themselves    ide_cdrom.c  packet commands of the CD-ROM
 *   ide.c          the PCI function, construction, the state table
 *
 * The lock of struct ide covers everything; functions here expect it held. */
#ifndef RING3_DEV_IDE_H
#define RING3_DEV_IDE_H

#include <pthread.h>

#include "ring3/devices/ide.h"

#define IDE_SECTOR       512u
#define IDE_CD_SECTOR    2048u
#define IDE_BUFFER       32768u /* bytes; a multiple of both, and of 16 sectors */
#define IDE_MAX_MULTIPLE 16
#define IDE_MAX_PRDS     8192 /* a descriptor table is at most 64 KiB */
#define IDE_PACKET_BYTES 12

/* Status register. */
enum { ST_ERR = 0x01, ST_DRQ = 0x08, ST_DSC = 0x10, ST_DF = 0x20, ST_DRDY = 0x40, ST_BSY = 0x80 };
/* Error register. */
enum { ER_ABRT = 0x04, ER_IDNF = 0x10, ER_UNC = 0x40 };
/* Device control. */
enum { CTL_NIEN = 0x02, CTL_SRST = 0x04, CTL_HOB = 0x80 };
/* Device register. */
enum { DEV_HEAD = 0x0f, DEV_DRIVE1 = 0x10, DEV_LBA = 0x40, DEV_ONES = 0xa0 };
/* Interrupt reason of ATAPI, in the count register. */
enum { REASON_COMMAND = 0x01, REASON_TO_HOST = 0x02 };

struct ide;
struct ide_channel;
struct ide_drive;
/* What follows a request to the image; result is 0 or -errno. */
typedef void (*ide_then_fn)(struct ide_channel *c, struct ide_drive *d, int result);

struct ide_geometry {
    uint16_t cylinders;
    uint8_t heads, sectors;
};

struct ide_drive {
    enum ide_kind kind;         /* fixed */
    uint8_t number;             /* 0 to 3, fixed */
    struct ide_geometry native; /* fixed: the geometry it comes up with */
    struct block *block;        /* NULL: no disc */
    uint64_t sectors;           /* of the medium; a CD's have 2048 bytes */

    /* Registers, each with what was written before the last value (LBA48). */
    uint8_t features, count, lba[3], old_features, old_count, old_lba[3];
    uint8_t error, status;
    uint8_t intrq; /* wants an interrupt */

    uint8_t heads, track_sectors; /* current geometry */
    uint8_t multiple;             /* sectors per block of READ MULTIPLE; 0: not set */
    uint8_t mode;                 /* transfer mode: 0x08|n PIO, 0x20|n multiword, 0x40|n ultra */
    uint8_t write_cache, look_ahead, smart, standby;

    /* CD-ROM */
    uint8_t sense_key, asc, ascq;
    uint8_t locked, tray_open;
    uint8_t attention; /* the next command fails: the medium may have changed */
    uint8_t event;     /* IDE_EVENT_ */
};

/* What a channel's buffer or its bus master waits for. */
enum ide_phase {
    PHASE_IDLE,
    PHASE_IN,      /* the guest reads buf[at..end) */
    PHASE_OUT,     /* the guest writes buf[at..end) */
    PHASE_DMA,     /* a bus master transfer waits for its start bit */
    PHASE_STALLED, /* the bus master cannot go on; a reset ends it */
    PHASE_COUNT
};
/* What happens when the guest has moved buf[at..end), or what the bus master is to do. */
enum ide_job {
    JOB_READ,     /* sectors to the guest */
    JOB_WRITE,    /* sectors from the guest */
    JOB_REPLY,    /* buf[0..filled) to the guest */
    JOB_TRIM,     /* a list of ranges from the guest; bus master only */
    JOB_PACKET,   /* a command packet from the guest; data port only */
    JOB_CD_READ,  /* sectors of a CD to the guest */
    JOB_CD_REPLY, /* buf[0..filled) to the guest, as the answer to a packet */
    JOB_COUNT
};

/* What GET EVENT STATUS reports of a disc. */
enum { IDE_EVENT_NONE, IDE_EVENT_EJECT_REQUEST, IDE_EVENT_NEW_MEDIA, IDE_EVENT_REMOVED };

struct ide_transfer {
    uint8_t phase, job; /* enum ide_phase, ide_job */
    uint8_t drive;      /* 0 or 1: whose it is */
    uint8_t ext;        /* an LBA48 command */
    uint8_t fua;        /* each write must be durable */
    uint8_t packet_dma; /* this PACKET moves its data by bus master */
    uint64_t lba;       /* next sector to ask the image for */
    uint32_t left;      /* sectors that remain from there */
    uint32_t block;     /* bytes per data request */
    uint32_t at, end, filled;
    uint8_t buf[IDE_BUFFER];
};

struct ide_bus_master {
    uint8_t command, status;
    uint32_t table;
};

struct ide_piece { /* of guest memory */
    uint32_t gpa, len;
};

struct ide_channel {
    struct ide *ide;
    struct ide_drive drive[2];
    struct irq_line irq;
    uint8_t device, control; /* registers */
    struct ide_transfer t;
    struct ide_bus_master bm;
    uint8_t decoded; /* follows from the PCI configuration */
    uint8_t level;   /* of irq; follows from the drives */

    /* A request to the image: none is under way while a snapshot is taken. */
    struct block_request request;
    bool in_flight;
    uint8_t reset_after; /* drives (bit 0, 1) that reset themselves once it is done */
    ide_then_fn then;
    struct iovec own;                     /* the buffer */
    struct iovec iov[IDE_MAX_PRDS + 8];   /* guest memory; RAM itself is in few pieces */
    struct ide_piece piece[IDE_MAX_PRDS]; /* the same by address, if it is written to */
    unsigned pieces;
    bool table_ends; /* the bus master used its table up exactly */
};

struct ide {
    struct device dev;
    struct dev_host h;
    struct pci_func func;
    pthread_mutex_t lock; /* the rest */
    struct ide_channel channel[IDE_CHANNELS];
    unsigned mapped; /* port ranges */
    struct log_limit limit;
    uint64_t accesses, requests, interrupts; /* for --stats: of the guest, to images, of both */
};

/* A register access begins: takes the lock. */
static inline void ide_enter(struct ide *s)
{
    pthread_mutex_lock(&s->lock);
    s->accesses++;
}

/* ---- ide_channel.c ---- */
extern const struct io_ops ide_command_ops, ide_control_ops; /* opaque: struct ide_channel */

static inline struct ide_drive *ide_owner(struct ide_channel *c)
{
    return &c->drive[c->t.drive & 1];
}
static inline struct ide_drive *ide_selected(struct ide_channel *c)
{
    return &c->drive[!!(c->device & DEV_DRIVE1)];
}
void ide_update_irq(struct ide_channel *c);
void ide_restore_irq(struct ide_channel *c); /* the level follows from registers again */
void ide_raise(struct ide_channel *c, struct ide_drive *d);
/* The command is over: well, or with these bits of error and status. Both interrupt. */
void ide_complete(struct ide_channel *c, struct ide_drive *d);
void ide_fail(struct ide_channel *c, struct ide_drive *d, uint8_t error, uint8_t status);
void ide_set_signature(struct ide_channel *c, struct ide_drive *d);
void ide_set_geometry(struct ide_drive *d);
void ide_reset_drive(struct ide_channel *c, struct ide_drive *d); /* DEVICE RESET */
/* Power-on state of everything but the bus master. */
void ide_channel_reset(struct ide_channel *c);
/* Ask the image; c->request's op, offset, len, fua, iov are filled in. The drive is busy until
 * then() is called, perhaps within. */
void ide_submit(struct ide_channel *c, ide_then_fn then);
/* The same with the first `bytes` of the buffer. */
void ide_submit_buffer(struct ide_channel *c, enum block_op op, uint64_t offset, uint32_t bytes,
                       ide_then_fn then);
/* Offer buf[at..end) to the guest, or ask for it; the jobs say what follows. */
void ide_offer(struct ide_channel *c, struct ide_drive *d, enum ide_phase phase);

/* ---- ide_dma.c ---- */
extern const struct io_ops ide_bus_master_ops; /* opaque: struct ide */
/* Let the bus master carry out c->t.job; once the guest starts it. */
void ide_dma_begin(struct ide_channel *c, struct ide_drive *d, enum ide_job job);
/* Guest memory that the request wrote to has changed. */
void ide_dma_written(struct ide_channel *c);
void ide_dma_interrupt(struct ide_channel *c); /* INTRQ rose */
void ide_dma_reset(struct ide_channel *c);

/* ---- ide_ata.c ---- */
void ide_command(struct ide_channel *c, uint8_t command);
void ide_read_moved(struct ide_channel *c, struct ide_drive *d);
void ide_write_moved(struct ide_channel *c, struct ide_drive *d);
void ide_reply_moved(struct ide_channel *c, struct ide_drive *d);
void ide_read_failed(struct ide_channel *c, struct ide_drive *d, int result);
void ide_write_failed(struct ide_channel *c, struct ide_drive *d, int result);
void ide_trim(struct ide_channel *c, struct ide_drive *d); /* the list is in the buffer */
/* Answer with buf[0..filled). */
void ide_reply(struct ide_channel *c, struct ide_drive *d, uint32_t filled);

/* ---- ide_identify.c ---- */
void ide_identify_disk(const struct ide_drive *d, uint8_t data[IDE_SECTOR]);
void ide_identify_cdrom(const struct ide_drive *d, uint8_t data[IDE_SECTOR]);

/* ---- ide_atapi.c ---- */
struct ide_sense { /* key, additional sense code and qualifier */
    uint8_t key, asc, ascq;
};
void ide_packet(struct ide_channel *c, struct ide_drive *d); /* the PACKET command was given */
void ide_packet_moved(struct ide_channel *c, struct ide_drive *d);
void ide_cd_read_moved(struct ide_channel *c, struct ide_drive *d);
void ide_cd_reply_moved(struct ide_channel *c, struct ide_drive *d);
void ide_cd_complete(struct ide_channel *c, struct ide_drive *d);
void ide_cd_fail(struct ide_channel *c, struct ide_drive *d, struct ide_sense sense);
void ide_cd_read_failed(struct ide_channel *c, struct ide_drive *d);
/* Answer with buf[0..have), at most `room` bytes of it. */
void ide_cd_reply(struct ide_channel *c, struct ide_drive *d, uint32_t have, uint32_t room);
/* Send n sectors from lba on. */
void ide_cd_read(struct ide_channel *c, struct ide_drive *d, uint32_t lba, uint32_t n);

/* ---- ide_cdrom.c ---- */
void ide_cd_execute(struct ide_channel *c, struct ide_drive *d,
                    const uint8_t cdb[IDE_PACKET_BYTES]);
static inline bool ide_has_disc(const struct ide_drive *d)
{
    return d->block && d->sectors && !d->tray_open;
}

#endif
