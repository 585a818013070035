/* SPDX-License-Identifier: MIT */
/* qcow2: compressed clusters, deflate (RFC 1951, no header) or Zstandard (RFC 8878). They are only
 * read; what is written to one becomes an ordinary cluster. The cluster unpacked last is kept,
 * since guests read a cluster in several pieces. */
#include "backend/qcow2.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

void qcow2_packed_range(const struct qcow2 *q, uint64_t entry, uint64_t *offset, uint64_t *bytes)
{
    unsigned x = 62 - (q->h.cluster_bits - 8);
    uint64_t at = entry & ((UINT64_C(1) << x) - 1) & ((UINT64_C(1) << 56) - 1);
    uint64_t sectors = (entry & (QCOW2_COMPRESSED - 1)) >> x;
    *offset = at;
    *bytes = (sectors + 1) * 512 - (at & 511);
}

static bool inflate_cluster(const uint8_t *in, size_t n, uint8_t *out, size_t want)
{
    z_stream z = {.next_in = (Bytef *)(uintptr_t)in,
                  .avail_in = (uInt)n,
                  .next_out = out,
                  .avail_out = (uInt)want};
    if (inflateInit2(&z, -15) != Z_OK)
        return false;
    int r = inflate(&z, Z_FINISH);
    bool ok = (r == Z_STREAM_END || r == Z_BUF_ERROR) && z.avail_out == 0;
    inflateEnd(&z);
    return ok;
}

static bool unzstd_cluster(const uint8_t *in, size_t n, uint8_t *out, size_t want)
{
    ZSTD_DStream *z = ZSTD_createDStream();
    ZSTD_inBuffer from = {in, n, 0};
    ZSTD_outBuffer to = {out, want, 0};
    while (z && to.pos < want) {
        size_t in_before = from.pos, out_before = to.pos;
        size_t r = ZSTD_decompressStream(z, &to, &from);
        if (ZSTD_isError(r) || (from.pos == in_before && to.pos == out_before))
            break;
    }
    ZSTD_freeDStream(z);
    return to.pos == want;
}

/* With q->packed_lock. */
static int fill(struct qcow2 *q, uint64_t entry)
{
    uint64_t offset, bytes;
    struct iovec v;
    qcow2_packed_range(q, entry, &offset, &bytes);
    if (!q->packed)
        q->packed = malloc(q->cluster_bytes);
    if (!q->packed_in)
        q->packed_in = malloc(2 * (size_t)q->cluster_bytes + 512);
    if (!q->packed || !q->packed_in)
        return -ENOMEM;
    if (bytes > 2 * (uint64_t)q->cluster_bytes || offset >= q->file->end)
        return -EIO;
    q->packed_entry = 0;
    int r = q->file->ops->read(q->file, offset, bytes, span_of(&v, q->packed_in, bytes));
    if (r < 0)
        return r;
    bool ok = q->h.compression ? unzstd_cluster(q->packed_in, bytes, q->packed, q->cluster_bytes)
                               : inflate_cluster(q->packed_in, bytes, q->packed, q->cluster_bytes);
    if (!ok)
        return -EIO;
    q->packed_entry = entry;
    return 0;
}

int qcow2_unpack(struct qcow2 *q, uint64_t entry, uint64_t from, uint64_t len, struct span to)
{
    pthread_mutex_lock(&q->packed_lock);
    int r = q->packed_entry == entry ? 0 : fill(q, entry);
    if (r == 0)
        span_put(to, q->packed + from, len);
    pthread_mutex_unlock(&q->packed_lock);
    return r;
}
