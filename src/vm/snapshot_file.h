/* SPDX-License-Identifier: MIT */
/* The file of a snapshot, and what snapshot*.c share. All numbers are little-endian.
 *
 *     header    struct snapshot_header
 *     pieces    of memory and disks, in any order (snapshot_pack.h)
 *     state     zstd of sections of fields (snapshot_state.h)
 *     chunks    struct snapshot_chunk, ascending by page
 *     extents   struct snapshot_extent
 *
 * A chunk holds those pages of SNAPSHOT_CHUNK_PAGES consecutive ones of the machine's memory
 * (phys_memory()) that are not all zero. Each part carries an XXH64. */
#ifndef RING3_VM_SNAPSHOT_FILE_H
#define RING3_VM_SNAPSHOT_FILE_H

#include "ring3/snapshot.h"
#include "vm/snapshot_pack.h"
#include "vm/snapshot_state.h"

#define SNAPSHOT_MAGIC       "ring3 snapshot\r\n" /* 16 bytes; survives no text conversion */
#define SNAPSHOT_VERSION     1u
#define SNAPSHOT_CHUNK_PAGES 64u        /* bits of snapshot_chunk.pages; a piece */
#define SNAPSHOT_STATE_MAX   (64 * MIB) /* the state, unpacked */

struct snapshot_header {
    char magic[16];
    uint32_t version, header_bytes;
    uint64_t file_bytes;
    uint64_t memory_bytes; /* of phys_memory() */
    uint64_t chunks_at, chunks, chunks_hash;
    uint64_t extents_at, extents, extents_hash;
    uint64_t state_at, state_stored, state_bytes, state_hash; /* hash: of what is stored */
    uint64_t hash;                                            /* of all before it */
};

/* Memory: snapshot_memory.c. */
struct snapshot_chunk {
    uint64_t first_page; /* multiple of SNAPSHOT_CHUNK_PAGES */
    uint64_t pages;      /* bit n: page first_page + n is in it */
    struct snapshot_piece piece;
};
struct snapshot_chunks {
    struct snapshot_chunk *list; /* malloc'ed */
    uint64_t count;
};
int snapshot_memory_save(struct vm *vm, struct snapshot_out *o, struct snapshot_chunks *x,
                         const struct snapshot_progress *p, struct err *e);
int snapshot_memory_check(const struct snapshot_header *h, const struct snapshot_chunks *x,
                          struct err *e);
/* Checked chunks. All memory that none has becomes zero. Most contents come later (vm->rest), from
 * fd and *x, which have to stay until snapshot_rest_end(). */
int snapshot_memory_load(struct vm *vm, int fd, const struct snapshot_chunks *x, struct err *e);

/* Overlays of disks: snapshot_disks.c. */
struct snapshot_extent {
    uint32_t drive, bytes;
    uint64_t offset;
    struct snapshot_piece piece;
};
struct snapshot_extents {
    struct snapshot_extent *list; /* malloc'ed */
    uint64_t count;
};
#define SNAPSHOT_MAX_EXTENTS (UINT64_C(1) << 24)
/* Also brings other disks up to date. */
int snapshot_disks_save(struct vm *vm, struct snapshot_out *o, struct snapshot_extents *x,
                        const struct snapshot_progress *p, struct err *e);
int snapshot_disks_load(struct vm *vm, int fd, uint64_t file_bytes,
                        const struct snapshot_extents *x, struct err *e);

/* Configuration: snapshot_config.c. */
struct snapshot_strings { /* owned texts */
    char **text;
    size_t count;
};
struct snapshot_image { /* a disk image as it was */
    uint64_t bytes;
    int64_t changed_ns;
};
struct snapshot_machine { /* what a snapshot says of the machine it was */
    struct vm_config config;
    char *board;
    struct snapshot_strings strings; /* those of config */
    struct snapshot_image image[VM_MAX_DRIVES];
    bool image_known[VM_MAX_DRIVES]; /* it is a file */
};
void snapshot_config_save(struct vm *vm, struct state_out *o);
/* *m is zero at first; free in either case. */
int snapshot_config_load(struct state_in *in, struct snapshot_machine *m, struct err *e);
/* Are the images what they were? */
int snapshot_config_images(const struct snapshot_machine *m, struct err *e);
void snapshot_config_free(struct snapshot_machine *m);

#endif
