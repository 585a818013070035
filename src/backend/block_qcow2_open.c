/* SPDX-License-Identifier: MIT */
/* qcow2: opening. Every number of the header is checked here; what the tables say is checked
 * where it is used.
 *
 * A backing file is opened only if the image states its format, and read-only: guessing it from its
 * contents would let a guest name files of the host. The places of all metadata are noted, so that
 * a table that says otherwise cannot direct guest data there.
 *
 * Refused by name: encryption, external data files, extended L2 entries, unknown incompatible
 * features; for writing also images marked corrupt and persistent bitmaps, which would go stale. */
#include "backend/qcow2.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEAD_BYTES (64 * KIB) /* of the first cluster: more than headers take */
#define L2_CACHE   (4 * MIB)
#define REFS_CACHE (1 * MIB)

extern const struct disk_ops qcow2_ops;

static uint32_t get32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return be32toh(v);
}

static uint64_t get64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return be64toh(v);
}

static int bad(const struct disk *file, const char *what, struct err *e)
{
    return err_set(e, EINVAL, "qcow2-header", "%s: not a usable qcow2 image: %s", file->name, what);
}

/* ---- the header ------------------------------------------------------------------------------ */

/* Name of an unknown feature from the image's own table. */
static void feature_name(const uint8_t *table, uint32_t bytes, unsigned bit, char out[47])
{
    snprintf(out, 47, "bit %u", bit);
    for (uint32_t i = 0; table && i + 48 <= bytes; i += 48)
        if (table[i] == 0 && table[i + 1] == bit && table[i + 2]) {
            memcpy(out, table + i + 2, 46);
            out[46] = 0;
            for (char *c = out; *c; c++)
                if (*c < ' ' || *c > '~')
                    *c = '?';
        }
}

static int check_features(const struct disk *file, const struct qcow2_header *h,
                          const uint8_t *names, uint32_t names_bytes, struct err *e)
{
    if (h->crypt)
        return err_set(e, EINVAL, "qcow2-encrypted",
                       "%s: is encrypted (%s), which ring3 cannot read; decrypt it with "
                       "`qemu-img convert`",
                       file->name,
                       h->crypt == 1   ? "AES"
                       : h->crypt == 2 ? "LUKS"
                                       : "unknown");
    uint64_t known = QCOW2_DIRTY | QCOW2_CORRUPT | QCOW2_COMPRESSION;
    uint64_t unknown = h->incompatible & ~known;
    if (!unknown)
        return 0;
    char name[47];
    unsigned bit = (unsigned)__builtin_ctzll(unknown);
    if (bit == 2)
        snprintf(name, sizeof name, "an external data file");
    else if (bit == 4)
        snprintf(name, sizeof name, "extended L2 entries");
    else
        feature_name(names, names_bytes, bit, name);
    return err_set(e, EINVAL, "qcow2-feature",
                   "%s: uses a feature that ring3 does not know: %s; `qemu-img convert` can make a "
                   "copy without it",
                   file->name, name);
}

static int read_extensions(struct disk *file, const uint8_t *head, uint32_t bytes,
                           struct qcow2_header *h, struct err *e)
{
    const uint8_t *names = NULL;
    uint32_t names_bytes = 0, end = bytes;
    if (h->backing_offset && h->backing_offset < end)
        end = (uint32_t)h->backing_offset;
    for (uint32_t at = h->header_bytes; at + 8 <= end;) {
        uint32_t type = get32(head + at), n = get32(head + at + 4);
        at += 8;
        if (type == QCOW2_EXT_END)
            break;
        if (n > end - at)
            return bad(file, "a header extension is longer than the header", e);
        if (type == QCOW2_EXT_FEATURE_NAMES) {
            names = head + at;
            names_bytes = n;
        } else if (type == QCOW2_EXT_BACKING_FORMAT && n < sizeof h->backing_format) {
            memcpy(h->backing_format, head + at, n);
            h->backing_format[n] = 0;
        }
        at += (n + 7) & ~7u;
    }
    return check_features(file, h, names, names_bytes, e);
}

static int read_fields(struct disk *file, const uint8_t *p, uint32_t bytes, struct qcow2_header *h,
                       struct err *e)
{
    *h = (struct qcow2_header){
        .version = get32(p + 4),
        .backing_offset = get64(p + 8),
        .backing_bytes = get32(p + 16),
        .cluster_bits = get32(p + 20),
        .size = get64(p + 24),
        .crypt = get32(p + 32),
        .l1_entries = get32(p + 36),
        .l1_offset = get64(p + 40),
        .refs_offset = get64(p + 48),
        .refs_clusters = get32(p + 56),
        .snapshots = get32(p + 60),
        .snapshots_offset = get64(p + 64),
        .refcount_order = 4,
        .header_bytes = QCOW2_V2_BYTES,
    };
    if (get32(p) != QCOW2_MAGIC)
        return bad(file, "it does not begin with QFI\\xfb", e);
    if (h->version != 2 && h->version != 3)
        return err_set(e, EINVAL, "qcow2-header", "%s: is qcow2 version %u; ring3 knows 2 and 3",
                       file->name, h->version);
    if (h->cluster_bits < 9 || h->cluster_bits > 21)
        return bad(file, "clusters are not of 512 bytes to 2 MiB", e);
    if (h->version < 3)
        return 0;
    h->incompatible = get64(p + 72);
    h->compatible = get64(p + 80);
    h->autoclear = get64(p + 88);
    h->refcount_order = get32(p + 96);
    h->header_bytes = get32(p + 100);
    if (h->header_bytes < QCOW2_V3_BYTES || h->header_bytes % 8 || h->header_bytes > bytes)
        return bad(file, "the header's length cannot be right", e);
    if (h->refcount_order > 6)
        return bad(file, "refcounts are wider than 64 bits", e);
    if (h->header_bytes > 104)
        h->compression = p[104];
    if (!!h->compression != !!(h->incompatible & QCOW2_COMPRESSION) || h->compression > 1)
        return bad(file, "unknown compression", e);
    return 0;
}

/* [offset, +bytes) can be a table of the file. */
static bool plausible(const struct disk *file, const struct qcow2_header *h, uint64_t offset,
                      uint64_t bytes)
{
    uint64_t mask = (UINT64_C(1) << h->cluster_bits) - 1;
    return !(offset & mask) && offset <= file->end && bytes <= file->end - offset && offset;
}

static int check_tables(const struct disk *file, const struct qcow2_header *h, struct err *e)
{
    uint64_t covers = UINT64_C(1) << (2 * h->cluster_bits - 3);
    uint64_t sector_size = (h->size + 511) / 512 * 512;
    if (h->size > INT64_MAX - covers)
        return bad(file, "the disk's size is absurd", e);
    if ((uint64_t)h->l1_entries * 8 > QCOW2_MAX_L1)
        return bad(file, "the L1 table is larger than 32 MiB", e);
    if (h->l1_entries < (sector_size + covers - 1) / covers)
        return bad(file, "the L1 table is too small for the disk", e);
    if (h->l1_entries && !plausible(file, h, h->l1_offset, (uint64_t)h->l1_entries * 8))
        return bad(file, "the L1 table lies beyond the end of the file, which was cut off", e);
    uint64_t refs = (uint64_t)h->refs_clusters << h->cluster_bits;
    if (!h->refs_clusters || refs > QCOW2_MAX_REFS)
        return bad(file, "the refcount table's size cannot be right", e);
    if (!plausible(file, h, h->refs_offset, refs))
        return bad(file, "the refcount table lies beyond the end of the file, which was cut off",
                   e);
    if (h->snapshots > QCOW2_MAX_SHOTS ||
        (h->snapshots && !plausible(file, h, h->snapshots_offset, 40)))
        return bad(file, "the snapshot table cannot be right", e);
    return 0;
}

int qcow2_read_header(struct disk *file, struct qcow2_header *h, struct err *e)
{
    uint32_t bytes = file->end < HEAD_BYTES ? (uint32_t)file->end : HEAD_BYTES;
    struct iovec v;
    uint8_t *head = calloc(1, HEAD_BYTES);
    if (!head)
        return err_set(e, ENOMEM, "no-memory", "no memory for a disk");
    int r = bytes < QCOW2_V3_BYTES ? bad(file, "the file is too short", e) : 0;
    if (r == 0) {
        r = file->ops->read(file, 0, bytes, span_of(&v, head, bytes));
        if (r < 0)
            err_set(e, -r, "disk-unreadable", "%s: read: %s", file->name, strerror(-r));
    }
    if (r == 0)
        r = read_fields(file, head, bytes, h, e);
    if (r == 0 && bytes > UINT32_C(1) << h->cluster_bits)
        bytes = UINT32_C(1) << h->cluster_bits;
    if (r == 0 && h->header_bytes > bytes)
        r = bad(file, "the header's length cannot be right", e);
    if (r == 0)
        r = read_extensions(file, head, bytes, h, e);
    if (r == 0)
        r = check_tables(file, h, e);
    if (r == 0 && h->backing_offset) {
        if (h->backing_bytes > QCOW2_MAX_NAME || h->backing_offset > bytes ||
            h->backing_bytes > bytes - h->backing_offset)
            r = bad(file, "the backing file's name is not within the header", e);
        else
            memcpy(h->backing, head + h->backing_offset, h->backing_bytes);
        if (r == 0 && strlen(h->backing) != h->backing_bytes)
            r = bad(file, "the backing file's name has a zero byte in it", e);
    }
    free(head);
    return r;
}

/* ---- the backing file ------------------------------------------------------------------------ */

/* A relative name is relative to the image's directory. */
static char *backing_path(const char *image, const char *name)
{
    const char *slash = strrchr(image, '/');
    char *path;
    if (name[0] == '/' || !slash)
        return strdup(name);
    return asprintf(&path, "%.*s/%s", (int)(slash - image), image, name) < 0 ? NULL : path;
}

static int open_backing(struct qcow2 *q, const struct qcow2_open *o, struct err *e)
{
    const char *name = q->h.backing, *colon = strchr(name, ':'), *slash = strchr(name, '/');
    if (!name[0])
        return 0;
    if (o->depth + 1 >= QCOW2_MAX_DEPTH)
        return err_set(e, ELOOP, "qcow2-backing",
                       "%s: more than %d images stand on each other; perhaps they name each other",
                       q->file->name, QCOW2_MAX_DEPTH);
    if (colon && (!slash || slash > colon))
        return err_set(e, EINVAL, "qcow2-backing",
                       "%s: its backing file \"%s\" is not a plain file, which is all that ring3 "
                       "follows",
                       q->file->name, name);
    struct block_config c = {.read_only = true, .log = o->log};
    if (!strcmp(q->h.backing_format, "raw"))
        c.format = BLOCK_FORMAT_RAW;
    else if (!strcmp(q->h.backing_format, "qcow2"))
        c.format = BLOCK_FORMAT_QCOW2;
    else
        return err_set(e, EINVAL, "qcow2-backing",
                       "%s: %s the format of its backing file %s; state it with `qemu-img rebase "
                       "-u -F raw|qcow2 -b %s %s`",
                       q->file->name,
                       q->h.backing_format[0] ? "ring3 does not know" : "does not say", name, name,
                       q->file->name);
    char *path = backing_path(q->file->name, name);
    if (!path)
        return err_set(e, ENOMEM, "no-memory", "no memory for a disk");
    c.file = path;
    q->backing = disk_open(&c, o->depth + 1, e);
    if (!q->backing && !strstr(e->text, " (backing file of "))
        snprintf(e->text + strlen(e->text), sizeof e->text - strlen(e->text),
                 " (backing file of %s)", q->file->name);
    free(path);
    return q->backing ? 0 : -e->errnum;
}

/* ---- tables ---------------------------------------------------------------------------------- */

static int load_array(struct qcow2 *q, struct qcow2_array *a, uint64_t offset, uint32_t entries,
                      struct err *e)
{
    struct iovec v;
    uint64_t bytes = (uint64_t)entries * 8;
    int r = qcow2_array_init(a, offset, entries);
    if (r == 0 && entries)
        r = q->file->ops->read(q->file, offset, bytes, span_of(&v, a->entry, bytes));
    if (r < 0)
        return err_set(e, -r, "disk-unreadable", "%s: cannot read its tables: %s", q->file->name,
                       strerror(-r));
    for (uint32_t i = 0; i < entries; i++)
        a->entry[i] = be64toh(a->entry[i]);
    return 0;
}

static int note(struct qcow2 *q, const char *what, uint64_t offset, uint64_t bytes, struct err *e)
{
    uint64_t first = offset >> q->h.cluster_bits,
             end = (offset + bytes + q->cluster_bytes - 1) >> q->h.cluster_bits;
    for (uint64_t c = first; c < end; c++) {
        int r = qcow2_set_add(&q->metadata, c);
        if (r == -EEXIST)
            return err_set(e, EINVAL, "qcow2-damaged",
                           "%s: is damaged: the %s at byte 0x%" PRIx64 " lies where other metadata "
                           "is; open it with ,ro and copy what is left",
                           q->file->name, what, c << q->h.cluster_bits);
        if (r < 0)
            return err_set(e, ENOMEM, "no-memory", "no memory for a disk");
    }
    return 0;
}

/* The snapshot table and the L1 tables it names. */
static int note_snapshots(struct qcow2 *q, struct err *e)
{
    uint64_t at = q->h.snapshots_offset;
    uint8_t p[40];
    struct iovec v;
    int r = 0;
    for (uint32_t i = 0; i < q->h.snapshots && r == 0; i++) {
        if (at + sizeof p > q->file->end || at - q->h.snapshots_offset > 64 * MIB ||
            q->file->ops->read(q->file, at, sizeof p, span_of(&v, p, sizeof p)) < 0)
            return bad(q->file, "the snapshot table cannot be right", e);
        uint64_t l1 = get64(p), entries = get32(p + 8);
        uint64_t n =
            40 + (uint64_t)get32(p + 36) + (get32(p + 12) >> 16) + (get32(p + 12) & 0xffff);
        if (entries * 8 > QCOW2_MAX_L1 || (entries && !plausible(q->file, &q->h, l1, entries * 8)))
            return bad(q->file, "a snapshot's L1 table cannot be right", e);
        r = note(q, "snapshot's L1 table", l1, entries * 8, e);
        at += (n + 7) & ~UINT64_C(7);
    }
    return r < 0 || !q->h.snapshots
               ? r
               : note(q, "snapshot table", q->h.snapshots_offset, at - q->h.snapshots_offset, e);
}

static int note_metadata(struct qcow2 *q, struct err *e)
{
    uint64_t mask = q->cluster_bytes - 1;
    int r = note(q, "header", 0, q->cluster_bytes, e);
    if (r == 0)
        r = note(q, "L1 table", q->l1.offset, (uint64_t)q->l1.entries * 8, e);
    if (r == 0)
        r = note(q, "refcount table", q->refs.offset, (uint64_t)q->refs.entries * 8, e);
    if (r == 0)
        r = note_snapshots(q, e);
    for (uint32_t i = 0; i < q->refs.entries && r == 0; i++) {
        uint64_t at = q->refs.entry[i];
        if (at & mask || at >> 56)
            return bad(q->file, "an entry of the refcount table is misaligned", e);
        if (at)
            r = note(q, "refcount block", at, q->cluster_bytes, e);
    }
    for (uint32_t i = 0; i < q->l1.entries && r == 0; i++) {
        uint64_t at = q->l1.entry[i] & QCOW2_OFFSET;
        if (at & mask)
            return bad(q->file, "an entry of the L1 table is misaligned", e);
        if (at)
            r = note(q, "L2 table", at, q->cluster_bytes, e);
    }
    return r;
}

/* ---- opening --------------------------------------------------------------------------------- */

static int check_writable(const struct qcow2 *q, struct err *e)
{
    if (q->h.incompatible & QCOW2_CORRUPT)
        return err_set(e, EINVAL, "qcow2-damaged",
                       "%s: is marked corrupt; repair it with `qemu-img check -r all`, or add ,ro",
                       q->file->name);
    if (q->h.autoclear & QCOW2_AUTOCLEAR_BITMAPS)
        return err_set(e, EINVAL, "qcow2-feature",
                       "%s: has persistent bitmaps, which ring3 would not keep up to date; remove "
                       "them with `qemu-img bitmap --remove`, or add ,ro",
                       q->file->name);
    return 0;
}

/* Refcounts were repaired, and are elsewhere now. */
static int reload_refs(struct qcow2 *q, struct err *e)
{
    free(q->refs.entry), free(q->refs.dirty);
    free(q->metadata.slot);
    q->metadata = (struct qcow2_set){0};
    q->high = (q->file->end + q->cluster_bytes - 1) >> q->h.cluster_bits;
    int r =
        load_array(q, &q->refs, q->h.refs_offset, q->h.refs_clusters << (q->h.cluster_bits - 3), e);
    return r < 0 ? r : note_metadata(q, e);
}

/* Features that writing makes untrue are cleared; refcounts that were not kept are counted. */
static int prepare_to_write(struct qcow2 *q, bool repair, struct err *e)
{
    int r = note_metadata(q, e);
    uint64_t none = 0;
    struct iovec v;
    if (r == 0 && (repair || (q->h.incompatible & QCOW2_DIRTY))) {
        struct qcow2_report report;
        r = qcow2_check(q, true, &report, e);
        if (r == 0 && report.errors > report.fixed)
            r = err_set(e, EINVAL, "qcow2-damaged",
                        "%s: was not closed properly, and cannot be repaired: %s; try `qemu-img "
                        "check -r all`, or add ,ro",
                        q->file->name, report.first);
        if (r == 0 && (report.errors || report.leaks))
            r = reload_refs(q, e);
    }
    if (r == 0 && q->h.autoclear) {
        r = q->file->ops->write(q->file, 88, 8, span_of(&v, &none, 8));
        if (r == 0)
            r = q->file->ops->flush(q->file);
        if (r < 0)
            err_set(e, -r, "disk-unwritable", "%s: cannot write its header: %s", q->file->name,
                    strerror(-r));
    }
    return r;
}

static int set_up(struct qcow2 *q, const struct qcow2_open *o, struct err *e)
{
    int r = qcow2_read_header(q->file, &q->h, e);
    if (r == 0 && !o->read_only)
        r = check_writable(q, e);
    if (r < 0)
        return r;
    q->cluster_bytes = UINT32_C(1) << q->h.cluster_bits;
    q->l2_bits = q->h.cluster_bits - 3;
    q->l2_entries = UINT32_C(1) << q->l2_bits;
    q->refs_bits = q->h.cluster_bits + 3 - q->h.refcount_order;
    q->refs_per_block = UINT32_C(1) << q->refs_bits;
    q->high = (q->file->end + q->cluster_bytes - 1) >> q->h.cluster_bits;
    q->disk.bytes = (q->h.size + 511) / 512 * 512;
    q->disk.end = q->disk.bytes;
    q->disk.cluster = q->cluster_bytes;
    if (qcow2_cache_init(&q->l2_cache, q->cluster_bytes, L2_CACHE) < 0 ||
        qcow2_cache_init(&q->refs_cache, q->cluster_bytes, REFS_CACHE) < 0)
        return err_set(e, ENOMEM, "no-memory", "no memory for a disk");
    if (!q->backing && !o->no_backing)
        r = open_backing(q, o, e);
    if (r == 0)
        r = load_array(q, &q->l1, q->h.l1_offset, q->h.l1_entries, e);
    if (r == 0)
        r = load_array(q, &q->refs, q->h.refs_offset, q->h.refs_clusters << (q->h.cluster_bits - 3),
                       e);
    if (r == 0 && !o->read_only)
        r = prepare_to_write(q, o->repair, e);
    return r;
}

struct disk *qcow2_open(struct disk *file, const struct qcow2_open *o, struct err *e)
{
    struct qcow2 *q = calloc(1, sizeof *q);
    char *name = strdup(file->name);
    if (!q || !name) {
        free(q), free(name);
        disk_free(file);
        disk_free(o->backing);
        err_set(e, ENOMEM, "no-memory", "no memory for a disk");
        return NULL;
    }
    q->disk = (struct disk){.ops = &qcow2_ops,
                            .read_only = true, /* until all is well */
                            .can_discard = true,
                            .threads = 4,
                            .format = "qcow2",
                            .name = name};
    q->file = file;
    q->backing = o->backing;
    q->log = o->log;
    q->ops.prev = q->ops.next = &q->ops;
    pthread_mutex_init(&q->lock, NULL);
    pthread_mutex_init(&q->packed_lock, NULL);
    pthread_cond_init(&q->changed, NULL);
    if (set_up(q, o, e) < 0) {
        disk_free(&q->disk);
        return NULL;
    }
    q->disk.read_only = o->read_only;
    return &q->disk;
}
