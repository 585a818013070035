/* SPDX-License-Identifier: MIT */
/* A disk image as formats see it: synchronous, of any byte alignment. Formats stand on each other
 * (an overlay on qcow2 on a file), each a struct disk; block_pool.c makes the asynchronous
 * struct block of devices from the one on top. Inside backend/ and its tests only. */
#ifndef RING3_BACKEND_DISK_H
#define RING3_BACKEND_DISK_H

#include <pthread.h>

#include "backend/span.h"
#include "ring3/block.h"

struct disk;

/* All of them: 0 or -errno, any thread, several at a time. Ranges were checked: they lie within
 * disk->bytes. What a failed write has written is undefined, as on any disk. */
struct disk_ops {
    int (*read)(struct disk *d, uint64_t offset, uint64_t len, struct span to);
    /* The same only if it needs no waiting for a disk; false: nothing has happened. May be NULL. */
    bool (*read_now)(struct disk *d, uint64_t offset, uint64_t len, struct span to);
    int (*write)(struct disk *d, uint64_t offset, uint64_t len, struct span from);
    int (*write_zeroes)(struct disk *d, uint64_t offset, uint64_t len);
    int (*discard)(struct disk *d, uint64_t offset, uint64_t len); /* may do nothing */
    int (*flush)(struct disk *d); /* all writes that have returned survive a power loss */
    /* Write what is kept in memory only, for guests that do not flush; NULL: nothing is. */
    void (*settle)(struct disk *d);
    /* Make a file larger or smaller; NULL where it has a fixed size. */
    int (*resize)(struct disk *d, uint64_t bytes);
    /* As block_changed(), of the layer on top; NULL where there are no layers. */
    int (*changed)(struct disk *d, uint64_t offset, uint64_t *len);
    void (*free)(struct disk *d); /* flushes; closes what is below */
};

/* Embedded first by each format. */
struct disk {
    const struct disk_ops *ops;
    uint64_t bytes;       /* a multiple of 512; only formats may go beyond it, in their file, */
    _Atomic uint64_t end; /* which then grows: bytes that are there. Behind it are zeros. */
    bool read_only;       /* write and the like are not called */
    bool can_discard;     /* discard gives space back */
    uint32_t cluster;     /* as in struct block_info */
    unsigned threads;     /* requests worth having under way at a time */
    const char *format;
    char *name; /* for messages; owned */
};

static inline void disk_free(struct disk *d)
{
    if (d)
        d->ops->free(d);
}

/* block_raw.c: the bytes of a file or a block device. The file is locked against other writers,
 * among them QEMU, and when writable against other readers. */
enum disk_file_flags {
    DISK_FILE_READ_ONLY = 1 << 0,
    DISK_FILE_UNSAFE = 1 << 1, /* flush does nothing */
    DISK_FILE_CREATE = 1 << 2, /* the file must not be there yet */
};
struct disk *disk_file_open(const char *path, unsigned flags, struct err *e);
/* A file without a name in $TMPDIR or /var/tmp, gone when freed. Unsafe. */
struct disk *disk_file_temporary(struct err *e);

/* block_nbd.c: a disk that a server has, by its URI. */
bool disk_is_nbd(const char *file);
struct disk *disk_nbd_open(const char *uri, bool read_only, bool unsafe, struct err *e);

/* block_open.c: what c asks for, without the asynchronous face; `depth` of backing files so far. */
struct disk *disk_open(const struct block_config *c, unsigned depth, struct err *e);

/* block_pool.c: devices' view. Owns the disk from the start, even on error. */
struct block *block_from_disk(struct disk *d, const struct block_config *c, struct err *e);

/* A thread that takes no signals but those of its own crash; `name` has at most 15 bytes and is for
 * ps -L. 0 or an errno. */
int disk_thread_start(pthread_t *thread, const char *name, void *(*run)(void *opaque),
                      void *opaque);

/* block.c: for implementations of struct block_ops. Count and call done. */
void block_done(struct block *b, struct block_request *r, int result);

#endif
