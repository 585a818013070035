/* SPDX-License-Identifier: MIT */
/* A host directory served by 9P2000.L, the file protocol of Linux guests (src/backend/p9*.c). It
 * knows no transport: a device hands over messages. One thread at a time. */
#ifndef RING3_P9_H
#define RING3_P9_H

#include <sys/uio.h>

#include "ring3/err.h"
#include "ring3/types.h"

struct p9;

/* What is kept of each file handle (fid) that the guest has, in memory that the caller saves and
 * restores with the guest. Zeroed memory has none. */
#define P9_FID_BYTES 512u
struct p9_config {
    const char *path; /* the directory */
    bool read_only;
    void *fids;         /* fid_count records of P9_FID_BYTES, page-aligned */
    unsigned fid_count; /* a power of two */
};

/* NULL on error. */
struct p9 *p9_open(const struct p9_config *c, struct err *e);
void p9_free(struct p9 *p);

/* Answer one message: `out` holds the request, `in` is for the answer. Returns the answer's bytes,
 * 0 if the request is no message at all or `in` cannot hold the smallest answer. */
uint32_t p9_serve(struct p9 *p, const struct iovec *out, unsigned out_count, const struct iovec *in,
                  unsigned in_count);
/* Forget all handles (the guest's driver starts anew). */
void p9_reset(struct p9 *p);
/* The records were restored from a snapshot, which is not trusted: open again what was open. */
void p9_restored(struct p9 *p);

struct p9_stats {
    uint64_t requests, errors, read_bytes, written_bytes, fids;
};
struct p9_stats p9_stats(const struct p9 *p);

#endif
