/* SPDX-License-Identifier: MIT */
/* A disk image as devices see it: an array of bytes with asynchronous requests. Formats and
 * transports (raw, qcow2, overlay, NBD) are behind struct block_ops, in src/backend. */
#ifndef RING3_BLOCK_H
#define RING3_BLOCK_H

#include <sys/uio.h>

#include "ring3/err.h"
#include "ring3/log.h"
#include "ring3/types.h"

struct block;

enum block_op {
    BLOCK_READ,
    BLOCK_WRITE,
    BLOCK_FLUSH,   /* what was written and done before this was submitted is durable after it */
    BLOCK_DISCARD, /* contents become undefined; may do nothing */
    BLOCK_WRITE_ZEROES,
};

/* One request, owned by the device; untouched from block_submit() until it is done. */
struct block_request {
    enum block_op op;
    bool fua;          /* BLOCK_WRITE: durable when done */
    uint64_t offset;   /* bytes; a multiple of 512, as is the length */
    uint64_t len;      /* bytes; READ and WRITE: the sum of iov; FLUSH: 0 */
    struct iovec *iov; /* READ and WRITE: guest memory (phys_iovec) or the device's own buffer */
    unsigned iov_count;
    int result; /* 0 or -errno, valid when done: -EIO, -ENOSPC, -EROFS, -EINVAL */
    void (*done)(struct block_request *r); /* on some other thread, no backend lock held */
    void *opaque;                          /* the device's */
    struct block_request *next;            /* the backend's, while it has the request */
};

struct block_info {
    uint64_t bytes; /* size of the disk, a multiple of 512 */
    bool read_only;
    bool can_discard;
    uint32_t cluster;   /* preferred granularity of I/O, bytes, a power of two from 512 up */
    const char *format; /* "raw", "qcow2", ... */
    const char *name;   /* for messages: the file */
};

struct block_stats { /* atomic, relaxed */
    _Atomic uint64_t reads, read_bytes, writes, write_bytes, flushes, discards, errors;
};

struct block_ops {
    bool (*submit)(struct block *b, struct block_request *r);
    void (*drain)(struct block *b);
    void (*free)(struct block *b);
    int (*changed)(struct block *b, uint64_t offset, uint64_t *len); /* NULL: -ENOTSUP */
};

/* Embedded first by each backend. */
struct block {
    const struct block_ops *ops;
    struct block_info info;
    struct block_stats stats;
};

/* Start a request. Any thread; never waits for the disk. True: it is done already, r->result says
 * how, r->done is not called. False: r->done follows, perhaps before this returns. Requests that
 * overlap in time may be carried out in any order. Requests beyond the end, writes to read-only
 * disks and the like give -EINVAL or -EROFS, never touch memory outside of iov. */
bool block_submit(struct block *b, struct block_request *r);
/* Wait until no request is under way: none may be submitted meanwhile. */
void block_drain(struct block *b);
/* For snapshots of a disk with a throw-away overlay, while no request is under way: 1 if what is at
 * `offset` is in the overlay, 0 if it is in the image below; *len: for how many bytes that is so.
 * -ENOTSUP if there is no overlay, or -errno. */
int block_changed(struct block *b, uint64_t offset, uint64_t *len);
/* Drains, writes back what was promised to be, closes. NULL is fine. */
void block_free(struct block *b);

/* How to open an image. Formats are never guessed for images the guest can write. */
enum block_format { BLOCK_FORMAT_BY_NAME, BLOCK_FORMAT_RAW, BLOCK_FORMAT_QCOW2 };
struct block_config {
    const char *file;         /* path, or nbd:// nbd+unix:// nbds:// URI */
    enum block_format format; /* BY_NAME: qcow2 for names that end in .qcow2, else raw */
    bool read_only;
    bool snapshot;         /* writes go to a throw-away overlay; the file stays as it is */
    bool unsafe;           /* guest flushes are not passed on to the host's disk */
    const struct log *log; /* says what was opened, and damage found later; NULL: nobody */
    /* Runs first on every thread of the disk, as in struct vm_config; may be NULL. */
    void (*thread_start)(void *opaque);
    void *thread_opaque;
};

/* NULL on error: *e says what is wrong with the file and what to do. */
struct block *block_open(const struct block_config *c, struct err *e);

#endif
