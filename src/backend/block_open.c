/* SPDX-License-Identifier: MIT */
/* Open a disk image: decide its format, stack what is needed. See ring3/block.h.
 *
 * The format comes from the user or the file's name, never from contents: a guest can write
 * anything into a raw disk, and a disk that turns into qcow2 at the next start could name any file
 * of the host as its backing file. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "backend/qcow2.h"

static bool ends_in(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);
    return n >= m && strcasecmp(s + n - m, end) == 0;
}

static enum block_format format_of(const struct block_config *c)
{
    if (c->format != BLOCK_FORMAT_BY_NAME)
        return c->format;
    return ends_in(c->file, ".qcow2") ? BLOCK_FORMAT_QCOW2 : BLOCK_FORMAT_RAW;
}

/* A qcow2 image under another name is more likely a mistake than a disk with such a boot sector. */
static int check_not_qcow2(struct disk *d, struct err *e)
{
    uint8_t head[4];
    struct iovec v;
    if (d->bytes < 512 || d->ops->read(d, 0, sizeof head, span_of(&v, head, sizeof head)) < 0 ||
        memcmp(head, "QFI\xfb", 4) != 0)
        return 0;
    return err_set(e, EINVAL, "disk-format",
                   "%s: begins like a qcow2 image, but its name does not end in .qcow2; add "
                   ",format=qcow2, or ,format=raw if a guest wrote that there",
                   d->name);
}

/* Writes go to a qcow2 image without a name, and are gone with it. */
static struct disk *throw_away(struct disk *base, const struct block_config *c, struct err *e)
{
    struct qcow2_create image = {.bytes = base->bytes};
    struct qcow2_open o = {.log = c->log, .backing = base};
    struct disk *file = disk_file_temporary(e);
    if (!file || qcow2_create(file, &image, e) < 0) {
        disk_free(file);
        disk_free(base);
        return NULL;
    }
    struct disk *d = qcow2_open(file, &o, e);
    if (!d)
        return NULL;
    char *name = strdup(base->name);
    if (name) {
        free(d->name);
        d->name = name;
    }
    d->format = base->format;
    return d;
}

/* What the server makes of it is its business, so it is raw. */
static struct disk *open_nbd(const struct block_config *c, bool read_only, struct err *e)
{
    if (c->format != BLOCK_FORMAT_QCOW2)
        return disk_nbd_open(c->file, read_only, c->unsafe, e);
    err_set(e, EINVAL, "disk-format",
            "%s: format=qcow2 is for files; let the server read the format: qemu-nbd -f qcow2",
            c->file);
    return NULL;
}

static struct disk *open_file(const struct block_config *c, bool read_only, unsigned depth,
                              struct err *e)
{
    enum block_format format = format_of(c);
    struct disk *d = disk_file_open(
        c->file, (read_only ? DISK_FILE_READ_ONLY : 0) | (c->unsafe ? DISK_FILE_UNSAFE : 0), e);
    if (!d)
        return NULL;
    if (c->format == BLOCK_FORMAT_BY_NAME && format == BLOCK_FORMAT_RAW &&
        check_not_qcow2(d, e) < 0) {
        disk_free(d);
        return NULL;
    }
    if (format == BLOCK_FORMAT_QCOW2) {
        struct qcow2_open o = {.read_only = read_only, .depth = depth, .log = c->log};
        d = qcow2_open(d, &o, e);
    }
    return d;
}

struct disk *disk_open(const struct block_config *c, unsigned depth, struct err *e)
{
    bool read_only = c->read_only || c->snapshot;
    struct disk *d =
        disk_is_nbd(c->file) ? open_nbd(c, read_only, e) : open_file(c, read_only, depth, e);
    return d && c->snapshot && !c->read_only ? throw_away(d, c, e) : d;
}

struct block *block_open(const struct block_config *c, struct err *e)
{
    struct disk *d = disk_open(c, 0, e);
    if (!d)
        return NULL;
    if (d->bytes == 0) {
        err_set(e, EINVAL, "disk-empty", "%s: the disk is empty, it needs at least 512 bytes",
                c->file);
        disk_free(d);
        return NULL;
    }
    struct block *b = block_from_disk(d, c, e);
    if (b && c->log)
        log_line(c->log, LOG_INFO, "disk", "%s: %s, %" PRIu64 " MiB%s", b->info.name,
                 b->info.format, (b->info.bytes + MIB - 1) / MIB,
                 b->info.read_only ? ", read-only"
                 : c->snapshot     ? ", writes will be thrown away"
                                   : "");
    return b;
}
