/* SPDX-License-Identifier: MIT */
/* The file of a snapshot, and what snapshot*.c share. All numbers are little-endian.
 *
 *     header   struct snapshot_header
 *     chunks   each zstd, in any order
 *     index    struct snapshot_chunk, ascending by page
 *     state    zstd of sections of fields (snapshot_state.h)
 *
 * A chunk holds those pages of SNAPSHOT_CHUNK_PAGES consecutive ones of the machine's memory
 * (phys_memory()) that are not all zero. Header, index, state and chunks carry an XXH64 each. */
#ifndef RING3_VM_SNAPSHOT_FILE_H
#define RING3_VM_SNAPSHOT_FILE_H

#include "ring3/snapshot.h"
#include "vm/snapshot_state.h"

#define SNAPSHOT_MAGIC       "ring3 snapshot\r\n" /* 16 bytes; survives no text conversion */
#define SNAPSHOT_VERSION     1u
#define SNAPSHOT_CHUNK_PAGES 64u /* bits of snapshot_chunk.pages */
#define SNAPSHOT_CHUNK_BYTES (SNAPSHOT_CHUNK_PAGES * PAGE_BYTES)
#define SNAPSHOT_STATE_MAX   (64 * MIB) /* the state, unpacked */

struct snapshot_header {
    char magic[16];
    uint32_t version, header_bytes;
    uint64_t file_bytes;
    uint64_t memory_bytes; /* of phys_memory() */
    uint64_t index_at, chunks, index_hash;
    uint64_t state_at, state_stored, state_bytes, state_hash; /* hash: of what is stored */
    uint64_t hash;                                            /* of all before it */
};

struct snapshot_chunk {
    uint64_t first_page; /* multiple of SNAPSHOT_CHUNK_PAGES */
    uint64_t pages;      /* bit n: page first_page + n is in it */
    uint64_t at, stored, hash;
};

/* Header, chunks: snapshot_memory.c. Each is done by several threads. */
struct snapshot_memory_out {
    int fd;
    uint64_t end;                 /* where to go on writing */
    struct snapshot_chunk *chunk; /* malloc'ed */
    uint64_t chunks;
};
int snapshot_memory_save(struct vm *vm, struct snapshot_memory_out *o,
                         const struct snapshot_progress *p, struct err *e);
/* All memory that no chunk has becomes zero. The chunks are checked by snapshot_memory_check(). */
int snapshot_memory_load(struct vm *vm, int fd, const struct snapshot_chunk *chunk, uint64_t chunks,
                         struct err *e);
int snapshot_memory_check(const struct snapshot_header *h, const struct snapshot_chunk *chunk,
                          struct err *e);

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

/* read() and write() of all, or -errno; a short file is -EIO. */
int snapshot_read_at(int fd, void *p, size_t n, uint64_t at);
int snapshot_write_at(int fd, const void *p, size_t n, uint64_t at);

#endif
