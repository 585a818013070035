/* SPDX-License-Identifier: MIT */
/* Inside the floppy controller: fdc.c has registers, resets and life, fdc_data.c moves sectors,
 * fdc_commands.c is what commands do. The lock covers everything; functions here expect it held. */
#ifndef RING3_DEV_FDC_H
#define RING3_DEV_FDC_H

#include <pthread.h>

#include "ring3/devices/fdc.h"

#define FDC_SECTOR      512u
#define FDC_MAX_SECTORS 36 /* per track and side */
#define FDC_BUFFER      (FDC_MAX_SECTORS * FDC_SECTOR)
#define FDC_BYTES       10 /* of the longest command or result */

enum { DOR_SELECT = 0x03, DOR_RUN = 0x04, DOR_GATE = 0x08, DOR_MOTOR0 = 0x10 };
enum { CONFIG_SEEK = 0x40, CONFIG_NO_FIFO = 0x20, CONFIG_NO_POLL = 0x10 };
/* Status registers 0 to 3 of results. */
enum { ST0_ABNORMAL = 0x40, ST0_INVALID = 0x80, ST0_READY_CHANGED = 0xc0, ST0_SEEK_END = 0x20 };
enum { ST0_CHECK = 0x10, ST0_HEAD = 0x04 };
enum { ST1_NO_MARK = 0x01, ST1_PROTECTED = 0x02, ST1_NO_DATA = 0x04, ST1_OVERRUN = 0x10 };
enum { ST1_CRC = 0x20, ST1_END = 0x80 };
enum { ST2_BAD_CYLINDER = 0x02, ST2_WRONG_CYLINDER = 0x10, ST2_CRC = 0x20, ST2_DELETED = 0x40 };
enum { ST3_FIXED = 0x28, ST3_TRACK0 = 0x10, ST3_PROTECTED = 0x40 };

struct fdc_format {
    uint32_t bytes;
    uint8_t cylinders, heads, sectors;
    uint8_t rate; /* of the data: 0 500, 1 300, 2 250, 3 1000 kbit/s */
    uint8_t type; /* of the drive, in CMOS memory */
};

struct fdc_drive {
    bool present;                    /* fixed */
    uint8_t type;                    /* fixed */
    struct block *block;             /* NULL: no disk */
    const struct fdc_format *format; /* of the disk; valid with one */
    uint8_t cylinder;                /* where the heads are */
    uint8_t changed;                 /* the disk change line */
    uint8_t next_id;                 /* sector that READ ID finds next */
};

enum fdc_phase {
    FDC_COMMAND,   /* waits for the bytes of a command */
    FDC_BUSY,      /* the image works */
    FDC_TO_HOST,   /* buf[at..want) goes to the host, by DMA or byte by byte */
    FDC_FROM_HOST, /* buf[at..want) comes from it */
    FDC_RESULT,    /* the host reads the result */
    FDC_PHASES
};
enum fdc_job { FDC_READ, FDC_WRITE, FDC_FORMAT, FDC_JOBS };

struct fdc {
    struct device dev;
    struct dev_host h;
    struct device *dma;
    struct irq_line irq_line;
    struct timer timer;
    unsigned mapped;
    pthread_mutex_t lock; /* the rest */
    struct fdc_drive drive[FDC_DRIVES];

    uint8_t dor, tdr, rate, irq;
    uint8_t config, precompensation, lock_bit, perpendicular, specify[2];
    uint8_t sense, sense_st0[4]; /* interrupts that SENSE INTERRUPT tells: bits per drive, ST0s */
    uint8_t phase;
    uint8_t command[FDC_BYTES], have, need; /* bytes of a command; need: its length, 0 unknown */
    uint8_t result[FDC_BYTES], results, told;

    /* The command that moves data. */
    uint8_t job, unit, head; /* drive and head that are selected */
    uint8_t c, r, last;      /* next sector; the last one on this side */
    uint8_t reached;         /* terminal count: the host has, or gave, all it wanted */
    uint32_t at, want;
    uint64_t overrun_ns; /* when the host is too late; TIMER_NEVER */
    uint8_t buf[FDC_BUFFER];

    /* A request to the image: none is under way while a snapshot is taken. */
    struct block_request request;
    struct iovec iov;
    bool in_flight, reset_after;
    void (*then)(struct fdc *s, int result);
};

/* ---- fdc.c ---- */
void fdc_irq(struct fdc *s, int level);
/* The result phase: n bytes, with an interrupt if the command had an execution phase. */
void fdc_answer(struct fdc *s, const uint8_t *bytes, unsigned n, bool interrupt);
/* Drive n, or NULL. */
struct fdc_drive *fdc_drive(struct fdc *s, unsigned n);
/* Step to a cylinder; clears the disk change line if there is a disk and a step. */
void fdc_step(struct fdc_drive *d, unsigned cylinder);

/* A request to the image is done: block_request.done, and what it does under the lock. */
void fdc_request_done(struct block_request *r);
void fdc_finished(struct fdc *s, int result);

/* ---- fdc_data.c ---- */
/* End of a data command: the other bits of ST0, ST1, ST2, and where it stopped. */
void fdc_finish(struct fdc *s, uint8_t st0, uint8_t st1, uint8_t st2);
/* Sector r of the current cylinder and head on, up to `last`; command[] is set. */
void fdc_begin(struct fdc *s, enum fdc_job job);
void fdc_begin_format(struct fdc *s);
void fdc_pump(struct fdc *s); /* by DMA, as far as it goes */
uint8_t fdc_data_read(struct fdc *s);
void fdc_data_write(struct fdc *s, uint8_t value);
static inline bool fdc_is_pio(const struct fdc *s)
{
    return s->specify[1] & 1;
}

/* ---- fdc_commands.c ---- */
unsigned fdc_command_length(uint8_t first);
void fdc_execute(struct fdc *s);

#endif
