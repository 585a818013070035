/* SPDX-License-Identifier: MIT */
/* The bulk of a snapshot, memory and disks: pieces of at most SNAPSHOT_PIECE_BYTES, each packed by
 * itself (zstd) with a checksum (XXH64), by a few threads at a time. */
#ifndef RING3_VM_SNAPSHOT_PACK_H
#define RING3_VM_SNAPSHOT_PACK_H

#include <pthread.h>
#include <zstd.h>

#include "ring3/snapshot.h"

#define SNAPSHOT_PIECE_BYTES  (256 * KIB)
#define SNAPSHOT_PIECE_STORED ZSTD_COMPRESSBOUND(SNAPSHOT_PIECE_BYTES)

struct snapshot_piece { /* where it is in the file */
    uint64_t at, stored, hash;
};

/* The file being written. */
struct snapshot_out {
    int fd;
    _Atomic uint64_t end; /* where to go on */
};

/* What a thread works with. */
struct snapshot_packer {
    uint8_t plain[SNAPSHOT_PIECE_BYTES];
    uint8_t packed[SNAPSHOT_PIECE_STORED];
    void *zstd;
};
int snapshot_packer_init(struct snapshot_packer *p, bool unpacks);  /* 0 or -ENOMEM */
void snapshot_packer_free(struct snapshot_packer *p, bool unpacks); /* also if that failed */

/* plain[0..bytes) to the file; and back. 0 or -errno, -EBADMSG if the piece is damaged. */
int snapshot_pack(struct snapshot_packer *p, size_t bytes, struct snapshot_out *o,
                  struct snapshot_piece *k);
int snapshot_unpack(struct snapshot_packer *p, size_t bytes, int fd,
                    const struct snapshot_piece *k);
/* As it is in the file, into packed. */
int snapshot_read_piece(struct snapshot_packer *p, int fd, const struct snapshot_piece *k);
/* Can it be, in a file of this size? */
bool snapshot_piece_ok(const struct snapshot_piece *k, uint64_t file_bytes);

/* Jobs 0 to jobs - 1, each done once, in any order, by some thread; this returns when all are done,
 * or after the first error. The caller works, too, and reports progress. */
struct snapshot_crew {
    int (*job)(struct snapshot_crew *c, struct snapshot_packer *p, uint64_t n); /* 0 or -errno */
    bool unpacks;
    uint64_t jobs;
    const struct snapshot_progress *progress; /* or NULL */
    /* Its own: */
    _Atomic uint64_t next, done;
    _Atomic int error;
};
int snapshot_crew_run(struct snapshot_crew *c);
/* A thread that takes no signals. 0 or -errno. */
int snapshot_thread_start(pthread_t *thread, void *(*run)(void *opaque), void *opaque);

/* All of it, or -errno; a file that is too short is -EIO. */
int snapshot_read_at(int fd, void *p, size_t n, uint64_t at);
int snapshot_write_at(int fd, const void *p, size_t n, uint64_t at);

#endif
