/* SPDX-License-Identifier: MIT */
/* qcow2: a new, empty image.
 *
 *   cluster 0       header, name and format of the backing file
 *   then            refcount table, refcount blocks, L1 table
 *
 * The header is written last, so a file that was not finished is not an image. */
#include "backend/qcow2.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void put32(uint8_t *p, uint32_t v)
{
    v = htobe32(v);
    memcpy(p, &v, sizeof v);
}

static void put64(uint8_t *p, uint64_t v)
{
    v = htobe64(v);
    memcpy(p, &v, sizeof v);
}

/* Clusters of each part. */
struct layout {
    uint64_t cluster_bytes, table, blocks, l1, l1_entries;
    unsigned cluster_bits, order, version;
};

static int plan(const struct qcow2_create *c, struct layout *l)
{
    l->cluster_bits = c->cluster_bits ? c->cluster_bits : 16;
    l->version = c->version ? c->version : 3;
    l->order = c->version == 2 || !c->refcount_order ? 4 : c->refcount_order;
    l->cluster_bytes = UINT64_C(1) << l->cluster_bits;
    uint64_t per_l2 = UINT64_C(1) << (2 * l->cluster_bits - 3);
    if (c->bytes > INT64_MAX - per_l2)
        return -EFBIG;
    l->l1_entries = (c->bytes + per_l2 - 1) / per_l2;
    l->l1 = (l->l1_entries * 8 + l->cluster_bytes - 1) / l->cluster_bytes;
    if (!l->l1)
        l->l1 = 1;
    if (l->l1_entries * 8 > QCOW2_MAX_L1)
        return -EFBIG;
    unsigned block_bits = l->cluster_bits + 3 - l->order;
    for (l->table = l->blocks = 1;;) {
        uint64_t used = 1 + l->table + l->blocks + l->l1;
        uint64_t blocks = (used + (UINT64_C(1) << block_bits) - 1) >> block_bits;
        uint64_t table = (blocks * 8 + l->cluster_bytes - 1) / l->cluster_bytes;
        if (blocks == l->blocks && table == l->table)
            return 0;
        l->blocks = blocks, l->table = table;
    }
}

static int write_at(struct disk *file, uint64_t offset, const void *p, size_t n)
{
    struct iovec v;
    return file->ops->write(file, offset, n, span_of(&v, p, n));
}

static int write_refs(struct disk *file, const struct layout *l, uint8_t *buf)
{
    uint64_t used = 1 + l->table + l->blocks + l->l1, next = 0;
    unsigned block_bits = l->cluster_bits + 3 - l->order;
    int r = 0;
    for (uint64_t b = 0; b < l->blocks && r == 0; b++) {
        memset(buf, 0, l->cluster_bytes);
        for (uint64_t i = 0; i >> block_bits == 0 && next < used; i++, next++)
            qcow2_ref_write(buf, l->order, i, 1);
        r = write_at(file, (1 + l->table + b) << l->cluster_bits, buf, l->cluster_bytes);
    }
    for (uint64_t t = 0, b = 0; t < l->table && r == 0; t++) {
        memset(buf, 0, l->cluster_bytes);
        for (uint64_t i = 0; i < l->cluster_bytes / 8 && b < l->blocks; i++, b++)
            put64(buf + i * 8, (1 + l->table + b) << l->cluster_bits);
        r = write_at(file, (1 + t) << l->cluster_bits, buf, l->cluster_bytes);
    }
    memset(buf, 0, l->cluster_bytes);
    for (uint64_t i = 0; i < l->l1 && r == 0; i++)
        r = write_at(file, (1 + l->table + l->blocks + i) << l->cluster_bits, buf,
                     l->cluster_bytes);
    return r;
}

/* Bytes of the header with its extensions; -1: they do not fit. */
static int make_header(const struct qcow2_create *c, const struct layout *l, uint8_t *p)
{
    const char *format = c->backing ? c->backing_format : NULL;
    size_t name = c->backing ? strlen(c->backing) : 0, format_bytes = format ? strlen(format) : 0;
    uint32_t at = l->version == 2 ? QCOW2_V2_BYTES : QCOW2_V3_BYTES;
    if (at + 16 + (format_bytes + 7) / 8 * 8 + name > l->cluster_bytes || name > QCOW2_MAX_NAME)
        return -1;
    put32(p, QCOW2_MAGIC);
    put32(p + 4, l->version);
    put32(p + 20, l->cluster_bits);
    put64(p + 24, c->bytes);
    put32(p + 36, (uint32_t)l->l1_entries);
    put64(p + 40, (1 + l->table + l->blocks) << l->cluster_bits);
    put64(p + 48, l->cluster_bytes);
    put32(p + 56, (uint32_t)l->table);
    if (l->version > 2) {
        put32(p + 96, l->order);
        put32(p + 100, QCOW2_V3_BYTES);
    }
    if (format) {
        put32(p + at, QCOW2_EXT_BACKING_FORMAT);
        put32(p + at + 4, (uint32_t)format_bytes);
        memcpy(p + at + 8, format, format_bytes);
        at += 8 + (uint32_t)(format_bytes + 7) / 8 * 8;
    }
    at += 8; /* the end of extensions: zeros */
    if (name) {
        put64(p + 8, at);
        put32(p + 16, (uint32_t)name);
        memcpy(p + at, c->backing, name);
    }
    return 0;
}

int qcow2_create(struct disk *file, const struct qcow2_create *c, struct err *e)
{
    struct layout l;
    if (plan(c, &l) < 0)
        return err_set(e, EFBIG, "image-size", "%s: the disk would be too large for its clusters",
                       file->name);
    uint8_t *buf = calloc(1, l.cluster_bytes);
    int r = buf ? write_refs(file, &l, buf) : -ENOMEM;
    if (r == 0)
        r = file->ops->flush(file);
    if (r == 0 && make_header(c, &l, buf) < 0) {
        free(buf);
        return err_set(e, ENAMETOOLONG, "image-backing",
                       "%s: the backing file's name is too long for the header", file->name);
    }
    if (r == 0)
        r = write_at(file, 0, buf, l.cluster_bytes);
    if (r == 0)
        r = file->ops->flush(file);
    free(buf);
    return r < 0
               ? err_set(e, -r, "disk-unwritable", "%s: cannot write: %s", file->name, strerror(-r))
               : 0;
}
