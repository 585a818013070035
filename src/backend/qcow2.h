/* SPDX-License-Identifier: MIT */
/* Inside the qcow2 format (QEMU's docs/interop/qcow2.txt, versions 2 and 3).
 *
 *   block_qcow2.c           the disk: reads, writes, zeroes, discards
 *   block_qcow2_open.c      header, features, backing file, what belongs to metadata
 *   block_qcow2_table.c     caches of L2 tables and refcount blocks
 *   block_qcow2_map.c       L1 and L2: where a guest cluster is
 *   block_qcow2_refs.c      refcounts: taking clusters and giving them back
 *   block_qcow2_flush.c     what reaches the file in which order
 *   block_qcow2_packed.c    compressed clusters
 *   block_qcow2_check.c     look through a whole image, count again
 *   block_qcow2_create.c    a new image
 *
 * Locks: q->lock guards everything that is not constant after opening. Data are read and written
 * without it; each such piece of work is a struct qcow2_op in a list meanwhile. Ops that will
 * change entries of L2 tables say so, and whoever wants to change the same guest clusters waits. A
 * cluster that was given back is not used anew while an op is under way that may still know it.
 *
 * Crashes: see block_qcow2_flush.c. */
#ifndef RING3_BACKEND_QCOW2_H
#define RING3_BACKEND_QCOW2_H

#include <endian.h>
#include <pthread.h>

#include "backend/disk.h"

#define QCOW2_MAGIC      0x514649fbu
#define QCOW2_V2_BYTES   72
#define QCOW2_V3_BYTES   104
#define QCOW2_MAX_L1     (32 * MIB) /* bytes; QEMU's limits, too */
#define QCOW2_MAX_REFS   (8 * MIB)  /* bytes of the refcount table */
#define QCOW2_MAX_SHOTS  65536
#define QCOW2_MAX_NAME   1023
#define QCOW2_MAX_DEPTH  32 /* files in a chain of backing files */
#define QCOW2_OFFSET     UINT64_C(0x00fffffffffffe00)
#define QCOW2_COPIED     (UINT64_C(1) << 63)
#define QCOW2_COMPRESSED (UINT64_C(1) << 62)
#define QCOW2_ZERO       UINT64_C(1)

enum qcow2_incompatible {
    QCOW2_DIRTY = 1 << 0,
    QCOW2_CORRUPT = 1 << 1,
    QCOW2_EXTERNAL_DATA = 1 << 2,
    QCOW2_COMPRESSION = 1 << 3,
    QCOW2_EXTENDED_L2 = 1 << 4,
};
#define QCOW2_AUTOCLEAR_BITMAPS 1

enum qcow2_extension {
    QCOW2_EXT_END = 0,
    QCOW2_EXT_BACKING_FORMAT = 0xe2792aca,
    QCOW2_EXT_FEATURE_NAMES = 0x6803f857,
};

/* The header in the host's byte order; what version 2 lacks has its implied value. */
struct qcow2_header {
    uint32_t version, backing_bytes, cluster_bits, crypt, l1_entries, refs_clusters, snapshots;
    uint64_t backing_offset, size, l1_offset, refs_offset, snapshots_offset;
    uint64_t incompatible, compatible, autoclear;
    uint32_t refcount_order, header_bytes;
    uint8_t compression;                                  /* 0 zlib, 1 zstd */
    char backing[QCOW2_MAX_NAME + 1], backing_format[16]; /* "" when absent */
};

/* A table of the file, one cluster large, as it is on disk (big endian). */
struct qcow2_table {
    uint64_t offset;
    uint32_t dirty_from, dirty_to; /* bytes that the file lacks; equal: none */
    bool busy;                     /* a flush is writing an earlier state of it */
    struct qcow2_table *hash_next, *older, *newer;
    uint64_t *bytes;
};
struct qcow2_cache {
    struct qcow2_table **hash;
    struct qcow2_table *oldest, *newest;
    unsigned hash_bits, count, limit, unclean; /* tables: there, wanted, dirty or busy */
    uint32_t table_bytes;
};

/* L1 and the refcount table: in memory as a whole, in the host's byte order. */
struct qcow2_array {
    uint64_t *entry;
    uint64_t offset;  /* in the file */
    uint32_t entries; /* a multiple of a sector's */
    uint8_t *dirty;   /* one per sector of 64 entries */
    bool any_dirty;
};

/* Work on data under way, on the stack of its thread. Guest clusters [first, end). */
struct qcow2_op {
    uint64_t stamp, first, end;
    bool changes; /* it will change their L2 entries */
    struct qcow2_op *prev, *next;
};

/* Clusters that L2 or L1 no longer name. */
struct qcow2_freed {
    uint64_t offset, clusters, stamp;
};

/* Numbers: of clusters of the file that hold metadata. Open addressing. */
struct qcow2_set {
    uint64_t *slot; /* cluster + 1, or 0 */
    uint64_t slots, count;
};

struct qcow2 {
    struct disk disk;            /* first */
    struct disk *file, *backing; /* owned; backing may be NULL */
    const struct log *log;       /* or NULL */
    struct qcow2_header h;       /* l1_* and refs_* as they were when it was opened */
    uint32_t cluster_bytes, l2_entries, refs_per_block;
    unsigned l2_bits, refs_bits; /* log2 of the two */

    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t changed;
    struct qcow2_array l1, refs;
    struct qcow2_cache l2_cache, refs_cache;
    struct qcow2_set metadata;
    struct qcow2_op ops; /* list head, oldest first */
    uint64_t stamp;
    struct qcow2_freed *freed; /* oldest first */
    uint64_t freed_count, freed_room;
    uint64_t free_hint; /* no free cluster below this number */
    uint64_t high;      /* clusters from this number on have never been in use */
    bool flushing;      /* a thread is in the middle of qcow2_flush_locked() */
    bool damaged;       /* metadata that cannot be right: no more writes */

    pthread_mutex_t packed_lock; /* guards the rest: the last cluster unpacked */
    uint64_t packed_entry;       /* its L2 entry, or 0 */
    uint8_t *packed;             /* cluster_bytes, or NULL */
    uint8_t *packed_in;          /* compressed */
};

/* What an L2 entry says. */
enum qcow2_kind {
    QCOW2_NOWHERE, /* in the backing file, or zero */
    QCOW2_ZEROES,
    QCOW2_DATA,
    QCOW2_PACKED,
    QCOW2_BAD,
};
enum qcow2_kind qcow2_kind(const struct qcow2 *q, uint64_t entry);

/* block_qcow2_open.c */
struct qcow2_open {
    bool read_only;
    unsigned depth;          /* of this file in its chain */
    const struct log *log;   /* or NULL */
    struct disk *backing;    /* use this one, whatever the header says; or NULL */
    bool no_backing, repair; /* do not open it; count refcounts anew even if not dirty */
};
/* A disk from the file that holds it; owns the file and o->backing even on error. */
struct disk *qcow2_open(struct disk *file, const struct qcow2_open *o, struct err *e);
int qcow2_read_header(struct disk *file, struct qcow2_header *h, struct err *e);
struct qcow2 *qcow2_of(struct disk *d);
void qcow2_damaged(struct qcow2 *q, const char *what, uint64_t where);

/* block_qcow2_create.c */
struct qcow2_create {
    uint64_t bytes;
    unsigned cluster_bits, refcount_order, version; /* 0: 16, 4, 3 */
    const char *backing, *backing_format;           /* or NULL */
};
int qcow2_create(struct disk *file, const struct qcow2_create *c, struct err *e);

/* block_qcow2_table.c; with q->lock */
int qcow2_cache_init(struct qcow2_cache *c, uint32_t table_bytes, uint64_t bytes);
void qcow2_cache_free(struct qcow2_cache *c);
struct qcow2_table *qcow2_cache_peek(struct qcow2_cache *c, uint64_t offset);
/* From the file, or zeros if `fresh`. NULL with *r set to -errno. Valid until the next call. */
struct qcow2_table *qcow2_cache_get(struct qcow2_cache *c, struct disk *file, uint64_t offset,
                                    bool fresh, int *r);
void qcow2_cache_dirty(struct qcow2_cache *c, struct qcow2_table *t, uint32_t from, uint32_t bytes);
void qcow2_cache_clean(struct qcow2_cache *c, struct qcow2_table *t);
int qcow2_array_init(struct qcow2_array *a, uint64_t offset, uint32_t entries);
void qcow2_array_set(struct qcow2_array *a, uint32_t i, uint64_t value);
int qcow2_set_add(struct qcow2_set *s, uint64_t cluster); /* 0, -EEXIST, -ENOMEM */
bool qcow2_set_has(const struct qcow2_set *s, uint64_t cluster);

/* block_qcow2_map.c; with q->lock */
/* The L2 entry of a guest cluster; *run: how many clusters from it on are in the same L2 table.
 * May be called without the lock being free for long: it reads the table. now: -EAGAIN instead. */
int qcow2_lookup(struct qcow2 *q, uint64_t cluster, bool now, uint64_t *entry, uint64_t *run,
                 const uint64_t **table);
/* The same table, made ready to be changed. */
int qcow2_l2_writable(struct qcow2 *q, uint64_t cluster, struct qcow2_table **t);
/* Change an entry of such a table; what the old one named is given back. */
int qcow2_set_entry(struct qcow2 *q, struct qcow2_table *t, uint64_t cluster, uint64_t entry);

/* block_qcow2_refs.c; with q->lock */
/* Up to `want` clusters in a row, at least one; refcounts are 1. *fresh: they are known to read as
 * zeros. */
int qcow2_take(struct qcow2 *q, uint64_t want, uint64_t *offset, uint64_t *got, bool *fresh);
int qcow2_take_metadata(struct qcow2 *q, uint64_t *offset);
/* Never was in any table: at once. */
void qcow2_untake(struct qcow2 *q, uint64_t offset, uint64_t clusters);
/* Was in a table: once the table's change is on disk. */
int qcow2_give_back(struct qcow2 *q, uint64_t offset, uint64_t clusters);
void qcow2_apply_freed(struct qcow2 *q, uint64_t count);
int qcow2_refcount(struct qcow2 *q, uint64_t cluster, uint64_t *count);
uint64_t qcow2_ref_read(const void *block, unsigned order, uint64_t i);
void qcow2_ref_write(void *block, unsigned order, uint64_t i, uint64_t value);

/* block_qcow2_flush.c */
int qcow2_flush_locked(struct qcow2 *q); /* with q->lock, which it lets go meanwhile */
int qcow2_make_room(struct qcow2 *q);    /* the same, only if too much is dirty */
int qcow2_settle(struct qcow2 *q);       /* before the end: until nothing is left */

/* block_qcow2_packed.c; without q->lock */
int qcow2_unpack(struct qcow2 *q, uint64_t entry, uint64_t from, uint64_t len, struct span to);
/* Bytes of the file that a compressed cluster's descriptor names. */
void qcow2_packed_range(const struct qcow2 *q, uint64_t entry, uint64_t *offset, uint64_t *bytes);

/* block_qcow2_check.c; nothing else may be going on */
struct qcow2_report {
    uint64_t clusters, data, packed, leaks, errors, fixed; /* clusters */
    char first[160];                                       /* the first error, or "" */
};
/* repair: set all refcounts and copied flags right, where nothing worse is wrong. */
int qcow2_check(struct qcow2 *q, bool repair, struct qcow2_report *r, struct err *e);

#endif
