/* SPDX-License-Identifier: MIT */
/* Broken and malicious qcow2 images.
 *
 *   hostile_qcow2 [SEED [CASES]]      HOSTILE_SECONDS=N: go on with further seeds for so long
 *
 * A case takes a good image (of various kinds, with data, zero clusters, compressed clusters, a
 * snapshot table, a backing file), damages headers, tables, refcounts, names or compressed data at
 * random and with values that hurt, and may cut it off. Then the image is opened, read, written,
 * checked and repaired like any other. ring3 must survive, must not take more space than it is
 * allowed, and must not let guest data get into the header: the next start would believe it. */
#include <stdio.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include "../unit/mem_disk.h"
#include "backend/qcow2.h"

#define ROOM  (4 * MIB) /* the most a file may take */
#define DISK  (600 * KIB)
#define GUEST UINT64_C(0x6775657374646174) /* "guestdat": what guests write here */

struct fuzz {
    uint64_t seed, opened, refused, requests, errors, checked, repaired;
};

static uint64_t rnd(struct fuzz *f)
{
    f->seed ^= f->seed << 13, f->seed ^= f->seed >> 7, f->seed ^= f->seed << 17;
    return f->seed * UINT64_C(2685821657736338717) >> 11;
}

_Noreturn static void fail(const struct fuzz *f, uint64_t which, const char *what)
{
    fprintf(stderr, "FAIL: hostile_qcow2 %llu 1: %s\n", (unsigned long long)which, what);
    abort();
}

/* ---- good images ----------------------------------------------------------------------------- */

struct image {
    uint8_t *bytes;
    uint64_t len;
    unsigned cluster_bits;
};

static void put_be(uint8_t *p, uint64_t value, unsigned n)
{
    while (n--)
        p[n] = (uint8_t)value, value >>= 8;
}

static uint64_t get_be(const uint8_t *p, unsigned n)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < n; i++)
        value = value << 8 | p[i];
    return value;
}

/* Turn guest cluster `at`, which is there, into a compressed one, in the same place. */
static void compress_cluster(struct image *i, uint64_t at, bool zstd)
{
    uint64_t size = UINT64_C(1) << i->cluster_bits, l1 = get_be(i->bytes + 40, 8);
    uint64_t l2 = get_be(i->bytes + l1 + (at >> (i->cluster_bits - 3)) * 8, 8) & QCOW2_OFFSET;
    uint8_t *entry = i->bytes + l2 + (at & (size / 8 - 1)) * 8;
    uint64_t host = get_be(entry, 8) & QCOW2_OFFSET;
    uint8_t *packed = calloc(1, size * 2);
    size_t n = 0;
    if (zstd) {
        n = ZSTD_compress(packed, size, i->bytes + host, size, 1);
        n = ZSTD_isError(n) ? size : n;
    } else {
        z_stream z = {.next_in = i->bytes + host,
                      .avail_in = (uInt)size,
                      .next_out = packed,
                      .avail_out = (uInt)size * 2};
        deflateInit2(&z, 1, Z_DEFLATED, -12, 9, Z_DEFAULT_STRATEGY);
        deflate(&z, Z_FINISH);
        n = z.total_out;
        deflateEnd(&z);
    }
    if (host && l2 && n < size) {
        memcpy(i->bytes + host, packed, n);
        put_be(entry, QCOW2_COMPRESSED | (n - 1) / 512 << (62 - (i->cluster_bits - 8)) | host, 8);
    }
    free(packed);
}

/* A snapshot of the same tables; its refcounts are wrong, which is fine here. */
static void add_snapshot(struct image *i)
{
    uint64_t size = UINT64_C(1) << i->cluster_bits, l1 = get_be(i->bytes + 40, 8);
    uint64_t at = (i->len + size - 1) & ~(size - 1);
    uint64_t clusters = (get_be(i->bytes + 36, 4) * 8 + size - 1) / size;
    memcpy(i->bytes + at, i->bytes + l1, clusters * size);
    uint8_t *shot = i->bytes + at + clusters * size;
    put_be(shot, at, 8);
    put_be(shot + 8, get_be(i->bytes + 36, 4), 4);
    put_be(shot + 12, 1, 2);
    put_be(shot + 14, 1, 2);
    put_be(shot + 36, 16, 4);
    memcpy(shot + 56, "1a", 2);
    put_be(i->bytes + 60, 1, 4);
    put_be(i->bytes + 64, at + clusters * size, 8);
    i->len = at + clusters * size + 512;
}

static void make_image(struct fuzz *f, struct image *i)
{
    static const unsigned bits[] = {9, 10, 12, 16};
    struct qcow2_create c = {.bytes = DISK,
                             .cluster_bits = bits[rnd(f) % ARRAY_LEN(bits)],
                             .version = rnd(f) % 4 ? 3 : 2,
                             .refcount_order = (unsigned)(rnd(f) % 7)};
    if (rnd(f) % 4 == 0) {
        c.backing = "base.img";
        c.backing_format = rnd(f) % 2 ? "raw" : "qcow2";
    }
    struct err e;
    struct qcow2_open o = {.no_backing = true};
    struct disk *file = mem_disk("/nowhere/new.qcow2", NULL, 0, ROOM);
    if (qcow2_create(file, &c, &e) < 0)
        fail(f, 0, e.text);
    struct mem_disk *m = mem_of(file);
    struct disk *d = qcow2_open(file, &o, &e);
    if (!d)
        fail(f, 0, e.text);
    uint64_t data[512];
    for (unsigned k = 0; k < 40; k++) {
        struct iovec v;
        for (unsigned j = 0; j < 512; j++)
            data[j] = rnd(f) % 4 ? k : rnd(f);
        d->ops->write(d, (k < 8 ? k * 4096 : rnd(f) % (DISK / 512 - 8) * 512), 4096,
                      span_of(&v, data, 4096));
        if (k % 8 == 0)
            d->ops->write_zeroes(d, rnd(f) % (DISK / 2 / 512) * 512, 16384);
    }
    d->ops->flush(d);
    d->ops->flush(d);
    i->len = file->end;
    i->bytes = calloc(1, ROOM);
    memcpy(i->bytes, m->bytes, i->len);
    disk_free(d);
    i->cluster_bits = c.cluster_bits;
    bool zstd = c.version == 3 && rnd(f) % 2;
    if (zstd) {
        i->bytes[79] |= QCOW2_COMPRESSION;
        put_be(i->bytes + 100, 112, 4);
        memmove(i->bytes + 112, i->bytes + 104, 128);
        memset(i->bytes + 104, 0, 8);
        i->bytes[104] = 1;
        if (c.backing)
            put_be(i->bytes + 8, get_be(i->bytes + 8, 8) + 8, 8);
    }
    if (rnd(f) % 2)
        for (uint64_t k = 0; k < 5; k++)
            compress_cluster(i, k, zstd);
    if (rnd(f) % 3 == 0)
        add_snapshot(i);
}

/* ---- damage ---------------------------------------------------------------------------------- */

static uint64_t nasty(struct fuzz *f, const struct image *i)
{
    uint64_t size = UINT64_C(1) << i->cluster_bits;
    switch (rnd(f) % 10) {
    case 0:
        return 0;
    case 1:
        return 1;
    case 2:
        return UINT64_MAX >> (rnd(f) % 64);
    case 3:
        return UINT64_C(1) << (rnd(f) % 64);
    case 4:
        return i->len / size * size;
    case 5:
        return i->len + rnd(f) % size;
    case 6:
        return rnd(f) % 8 * size | QCOW2_COPIED;
    case 7:
        return (rnd(f) % (i->len / size + 2)) * size | (rnd(f) % 2 ? QCOW2_COPIED : 0) | rnd(f) % 2;
    case 8:
        return QCOW2_COMPRESSED | rnd(f) % i->len | rnd(f) << 40;
    default:
        return rnd(f) << 11 ^ rnd(f);
    }
}

/* A place where something is decided. */
static uint64_t tender(struct fuzz *f, const struct image *i)
{
    uint64_t size = UINT64_C(1) << i->cluster_bits, l1 = get_be(i->bytes + 40, 8);
    uint64_t refs = get_be(i->bytes + 48, 8), l1_at = l1 + rnd(f) % 16 * 8;
    switch (rnd(f) % 8) {
    case 0:
        return rnd(f) % 28 * 4; /* header */
    case 1:
        return 104 + rnd(f) % 100;
    case 2:
        return l1_at;
    case 3:
    case 4: /* an L2 table */
        return l1_at + 8 <= i->len
                   ? (get_be(i->bytes + l1_at, 8) & QCOW2_OFFSET) + rnd(f) % (size / 8) * 8
                   : 0;
    case 5:
        return refs + rnd(f) % 4 * 8;
    case 6: /* a refcount block */
        return refs + 8 <= i->len ? (get_be(i->bytes + refs, 8) & QCOW2_OFFSET) + rnd(f) % size : 0;
    default:
        return rnd(f) % i->len;
    }
}

static void damage(struct fuzz *f, struct image *i)
{
    static const unsigned widths[] = {1, 2, 4, 8, 8, 8};
    for (unsigned n = 1 + rnd(f) % 4; n; n--) {
        uint64_t at = tender(f, i);
        unsigned width = widths[rnd(f) % ARRAY_LEN(widths)];
        if (at > i->len || width > i->len - at)
            continue;
        if (rnd(f) % 3 == 0)
            i->bytes[at] ^= (uint8_t)(1 << (rnd(f) % 8));
        else
            put_be(i->bytes + at, nasty(f, i), width);
    }
    if (rnd(f) % 8 == 0)
        i->len = rnd(f) % i->len;
}

/* ---- use ------------------------------------------------------------------------------------- */

static void use(struct fuzz *f, struct disk *d)
{
    static uint8_t buf[64 * KIB];
    for (unsigned n = 0; n < 60; n++) {
        uint64_t len = 512 * (1 + rnd(f) % 128), bytes = d->bytes < DISK ? d->bytes : DISK;
        struct iovec v;
        if (rnd(f) % 8 == 0)
            bytes = d->bytes; /* whatever it says */
        if (len > bytes)
            continue;
        uint64_t at = rnd(f) % ((bytes - len) / 512 + 1) * 512;
        struct span s = span_of(&v, buf, len);
        unsigned kind = rnd(f) % 10;
        int r = 0;
        for (unsigned k = 0; k < len; k += 8)
            memcpy(buf + k, &(uint64_t){GUEST}, 8);
        if (kind < 4)
            r = d->ops->read(d, at, len, s);
        else if (d->read_only)
            continue;
        else if (kind < 7)
            r = d->ops->write(d, at, len, s);
        else if (kind == 7)
            r = d->ops->write_zeroes(d, at, len);
        else if (kind == 8)
            r = d->ops->discard(d, at, len);
        else
            r = d->ops->flush(d);
        f->requests++;
        f->errors += r < 0;
    }
}

static void one_case(struct fuzz *f, uint64_t which)
{
    struct image i;
    struct err e;
    struct qcow2_report report;
    f->seed = which * UINT64_C(0x9e3779b97f4a7c15) + 1;
    rnd(f);
    make_image(f, &i);
    damage(f, &i);
    struct qcow2_open o = {
        .read_only = rnd(f) % 4 == 0, .no_backing = rnd(f) % 4 != 0, .repair = rnd(f) % 4 == 0};
    if (o.no_backing && rnd(f) % 2)
        o.backing = mem_disk("base", i.bytes, DISK / 1024 * 512, DISK);
    struct disk *file = mem_disk("/nowhere/fuzz.qcow2", i.bytes, i.len, ROOM);
    uint8_t head[65536];
    memcpy(head, i.bytes, sizeof head);
    free(i.bytes);
    struct mem_disk *m = mem_of(file);
    bool repair = o.repair;
    struct disk *d = qcow2_open(file, &o, &e);
    f->opened += !!d;
    f->refused += !d;
    if (!d)
        return;
    use(f, d);
    /* Nothing of a guest may be in the first cluster. */
    for (unsigned k = 0; k < 512; k += 8)
        if (!memcmp(m->bytes + k, &(uint64_t){GUEST}, 8) && memcmp(head + k, &(uint64_t){GUEST}, 8))
            fail(f, which, "guest data in the header");
    if (memcmp(m->bytes, head, 48) || memcmp(m->bytes + 104, head + 104, 200))
        fail(f, which, "the header has changed");
    if (d->ops->flush(d) == 0 && qcow2_check(qcow2_of(d), false, &report, &e) == 0) {
        f->checked++;
        f->repaired += repair && !report.errors;
    }
    disk_free(d);
}

int main(int argc, char **argv)
{
    uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 1;
    uint64_t cases = argc > 2 ? strtoull(argv[2], NULL, 0) : 1000;
    const char *seconds = getenv("HOSTILE_SECONDS");
    time_t end = time(NULL) + (seconds ? atol(seconds) : 0);
    struct fuzz f = {0};
    uint64_t n = 0;
    for (; n < cases || time(NULL) < end; n++)
        one_case(&f, seed + n);
    printf("%llu images: %llu opened, %llu refused; %llu requests, %llu of them failed; %llu "
           "checked, %llu clean after repair\n",
           (unsigned long long)n, (unsigned long long)f.opened, (unsigned long long)f.refused,
           (unsigned long long)f.requests, (unsigned long long)f.errors,
           (unsigned long long)f.checked, (unsigned long long)f.repaired);
    return f.opened > n / 20 && f.refused > n / 20 ? 0 : 1;
}
