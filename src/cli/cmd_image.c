/* SPDX-License-Identifier: MIT */
/* `ring3 image`: make, look at, copy and check disk images. Formats come from options or from
 * names, as for `ring3 run --disk`. On terminals, long work shows how far it is. */
#include "cli/cli.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/qcow2.h"

#define CHUNK (1 * MIB)
#define PIECE (64 * KIB) /* zeros of this size are not written */

struct image_options {
    enum block_format format, out_format;
    const char *backing, *backing_format;
    bool repair;
    char **args; /* what is no option */
    int count;
};

/* ---- a line that says how far it is ---------------------------------------------------------- */

struct progress {
    const char *what;
    int shown; /* percent, or -1 */
};

static void show_progress(struct progress *p, uint64_t done, uint64_t total)
{
    int percent = total ? (int)(done * 100 / total) : 100;
    if (percent == p->shown || !isatty(STDERR_FILENO))
        return;
    p->shown = percent;
    fprintf(stderr, "\r%s: %3d%%", p->what, percent);
}

static void end_progress(const struct progress *p)
{
    if (p->shown >= 0)
        fputs("\r\033[K", stderr);
}

/* ---- create ---------------------------------------------------------------------------------- */

static enum block_format by_name(const char *file, enum block_format format)
{
    size_t n = strlen(file);
    if (format != BLOCK_FORMAT_BY_NAME)
        return format;
    return n > 6 && !strcmp(file + n - 6, ".qcow2") ? BLOCK_FORMAT_QCOW2 : BLOCK_FORMAT_RAW;
}

/* A new file with an empty disk in it, opened. */
static struct disk *make_disk(const char *file, enum block_format format,
                              const struct qcow2_create *c, bool no_backing, struct err *e)
{
    struct disk *d = disk_file_open(file, DISK_FILE_CREATE, e);
    if (!d)
        return NULL;
    struct qcow2_open o = {.no_backing = no_backing};
    int r = 0;
    if (format == BLOCK_FORMAT_QCOW2) {
        r = qcow2_create(d, c, e);
    } else {
        r = d->ops->resize(d, c->bytes);
        if (r < 0)
            err_set(e, -r, "image-size", "%s: cannot be made %" PRIu64 " bytes large: %s", file,
                    c->bytes, strerror(-r));
    }
    if (r < 0)
        disk_free(d);
    else if (format == BLOCK_FORMAT_QCOW2)
        d = qcow2_open(d, &o, e);
    if (r == 0 && d)
        return d;
    unlink(file);
    return NULL;
}

/* The size of a disk on another is that of the other; this also tells whether it is there. */
static int backing_bytes(const char *file, const struct image_options *o, uint64_t *bytes,
                         struct err *e)
{
    const char *slash = strrchr(file, '/');
    char path[4096];
    int n = snprintf(path, sizeof path, "%.*s%s%s",
                     slash && o->backing[0] != '/' ? (int)(slash - file) : 0, file,
                     slash && o->backing[0] != '/' ? "/" : "", o->backing);
    if (n < 0 || (size_t)n >= sizeof path)
        return err_set(e, ENAMETOOLONG, "image-backing", "%s: the name is too long", o->backing);
    struct block_config c = {.file = path, .read_only = true, .format = BLOCK_FORMAT_RAW};
    if (!strcmp(o->backing_format, "qcow2"))
        c.format = BLOCK_FORMAT_QCOW2;
    struct disk *d = disk_open(&c, 0, e);
    if (!d)
        return -e->errnum;
    *bytes = d->bytes;
    disk_free(d);
    return 0;
}

static int create(struct image_options *o, struct err *e)
{
    const char *file = o->args[0];
    enum block_format format = by_name(file, o->format);
    struct qcow2_create c = {.backing = o->backing};
    if (o->backing && format != BLOCK_FORMAT_QCOW2)
        return err_set(e, EINVAL, "bad-option",
                       "%s: only qcow2 images can stand on a backing file; use -f qcow2 or a name "
                       "in .qcow2",
                       file);
    if (o->backing && !o->backing_format)
        o->backing_format = by_name(o->backing, 0) == BLOCK_FORMAT_QCOW2 ? "qcow2" : "raw";
    c.backing_format = o->backing_format;
    int r = 0;
    if (o->backing)
        r = backing_bytes(file, o, &c.bytes, e);
    else if (o->count < 2)
        r = err_set(e, EINVAL, "bad-usage", "how large? usage: ring3 image create FILE SIZE");
    if (r == 0 && o->count > 1)
        r = parse_size(o->args[1], &c.bytes, e);
    if (r == 0 && !c.bytes)
        r = err_set(e, EINVAL, "image-size", "%s: a disk of no bytes is of no use", file);
    if (r < 0)
        return r;
    struct disk *d = make_disk(file, format, &c, false, e);
    if (!d)
        return -e->errnum;
    printf("%s: %s, %" PRIu64 " MiB\n", file, d->format, (d->bytes + MIB - 1) / MIB);
    disk_free(d);
    return 0;
}

/* ---- info ------------------------------------------------------------------------------------ */

static void print_qcow2(const struct qcow2_header *h)
{
    printf("version    %u\nclusters   %" PRIu64 " bytes, refcounts of %u bits\n", h->version,
           UINT64_C(1) << h->cluster_bits, 1u << h->refcount_order);
    if (h->backing[0])
        printf("backing    %s (%s)\n", h->backing,
               h->backing_format[0] ? h->backing_format : "format not stated");
    if (h->version > 2)
        printf("packed by  %s\n", h->compression ? "zstd" : "zlib");
    if (h->snapshots)
        printf("snapshots  %u\n", h->snapshots);
    if (h->incompatible & QCOW2_DIRTY)
        puts("state      was not closed properly; repaired when opened for writing");
    if (h->incompatible & QCOW2_CORRUPT)
        puts("state      marked corrupt");
}

static int info(struct image_options *o, struct err *e)
{
    const char *file = o->args[0];
    bool qcow2 = by_name(file, o->format) == BLOCK_FORMAT_QCOW2;
    struct qcow2_header h;
    struct stat st;
    struct disk *d = disk_is_nbd(file) ? disk_nbd_open(file, true, false, e)
                                       : disk_file_open(file, DISK_FILE_READ_ONLY, e);
    if (!d)
        return -e->errnum;
    int r = qcow2 ? qcow2_read_header(d, &h, e) : 0;
    if (r == 0) {
        uint64_t bytes = qcow2 ? (h.size + 511) / 512 * 512 : d->bytes;
        printf("file       %s\nformat     %s\nsize       %" PRIu64 " bytes (%.1f MiB)\n", file,
               qcow2 ? "qcow2" : d->format, bytes, (double)bytes / (double)MIB);
        if (!disk_is_nbd(file) && stat(file, &st) == 0)
            printf("on disk    %.1f MiB\n", (double)st.st_blocks * 512 / (double)MIB);
        if (qcow2)
            print_qcow2(&h);
    }
    disk_free(d);
    return r;
}

/* ---- convert --------------------------------------------------------------------------------- */

static bool all_zero(const uint8_t *p, size_t n)
{
    return !n || (!p[0] && !memcmp(p, p + 1, n - 1));
}

static int copy(struct disk *from, struct disk *to, struct progress *p, struct err *e)
{
    uint8_t *buf = malloc(CHUNK);
    int r = buf ? 0 : err_set(e, ENOMEM, "no-memory", "no memory");
    for (uint64_t at = 0; at < from->bytes && r == 0; at += CHUNK) {
        uint64_t n = from->bytes - at < CHUNK ? from->bytes - at : CHUNK;
        struct iovec v;
        r = from->ops->read(from, at, n, span_of(&v, buf, n));
        if (r < 0) {
            err_set(e, -r, "disk-unreadable", "%s: cannot read at byte %" PRIu64 ": %s", from->name,
                    at, strerror(-r));
            break;
        }
        for (uint64_t i = 0; i < n && r == 0; i += PIECE) {
            uint64_t part = n - i < PIECE ? n - i : PIECE;
            if (!all_zero(buf + i, part))
                r = to->ops->write(to, at + i, part, span_of(&v, buf + i, part));
        }
        if (r < 0)
            err_set(e, -r, "disk-unwritable", "%s: cannot write: %s", to->name, strerror(-r));
        show_progress(p, at + n, from->bytes);
    }
    if (r == 0 && (r = to->ops->flush(to)) < 0)
        err_set(e, -r, "disk-unwritable", "%s: cannot write: %s", to->name, strerror(-r));
    free(buf);
    return r;
}

static int convert(struct image_options *o, struct err *e)
{
    struct block_config c = {.file = o->args[0], .format = o->format, .read_only = true};
    struct progress p = {"convert", -1};
    struct disk *from = disk_open(&c, 0, e);
    if (!from)
        return -e->errnum;
    struct qcow2_create image = {.bytes = from->bytes};
    struct disk *to = make_disk(o->args[1], by_name(o->args[1], o->out_format), &image, true, e);
    int r = to ? copy(from, to, &p, e) : -e->errnum;
    end_progress(&p);
    disk_free(from);
    disk_free(to);
    if (to && r < 0)
        unlink(o->args[1]);
    return r;
}

/* ---- check ----------------------------------------------------------------------------------- */

static int look_through(const char *file, bool repair, struct qcow2_report *report, struct err *e)
{
    struct qcow2_open o = {.read_only = !repair, .no_backing = true, .repair = repair};
    struct disk *d = disk_file_open(file, repair ? 0 : DISK_FILE_READ_ONLY, e);
    if (d)
        d = qcow2_open(d, &o, e);
    int r = d ? qcow2_check(qcow2_of(d), false, report, e) : -e->errnum;
    disk_free(d);
    return r;
}

static int check(struct image_options *o, struct err *e)
{
    const char *file = o->args[0];
    struct qcow2_report report;
    if (by_name(file, o->format) != BLOCK_FORMAT_QCOW2)
        return err_set(e, EINVAL, "image-format",
                       "%s: only qcow2 images can be checked, raw ones are always right; -f qcow2 "
                       "says that it is one",
                       file);
    int r = look_through(file, false, &report, e);
    if (r == 0 && o->repair && (report.errors || report.leaks)) {
        printf("%s: %" PRIu64 " errors, %" PRIu64 " clusters leaked; repairing\n", file,
               report.errors, report.leaks);
        r = look_through(file, true, &report, e);
    }
    if (r < 0)
        return r;
    if (report.errors)
        return err_set(e, EINVAL, "image-damaged",
                       "%s: %" PRIu64 " errors, %" PRIu64 " clusters leaked; the first: %s", file,
                       report.errors, report.leaks, report.first);
    printf("%s: no errors, %" PRIu64 " clusters in use, %" PRIu64 " of them compressed%s\n", file,
           report.clusters, report.packed, report.leaks ? "" : ", none leaked");
    if (report.leaks)
        printf("%s: %" PRIu64 " clusters leaked: harmless, --repair gives them back\n", file,
               report.leaks);
    return 0;
}

/* ---- the command ----------------------------------------------------------------------------- */

static const struct verb {
    const char *name, *usage;
    int (*run)(struct image_options *o, struct err *e);
    int min, max; /* arguments */
} verbs[] = {
    {"create", "ring3 image create [-f FORMAT] [-b BACKING [-F FORMAT]] FILE [SIZE]", create, 1, 2},
    {"info", "ring3 image info [-f FORMAT] FILE", info, 1, 1},
    {"convert", "ring3 image convert [-f FORMAT] [-O FORMAT] FILE NEWFILE", convert, 2, 2},
    {"check", "ring3 image check [-f FORMAT] [--repair] FILE", check, 1, 1},
};

static int parse_format(const char *arg, enum block_format *format, struct err *e)
{
    if (!strcmp(arg, "raw"))
        *format = BLOCK_FORMAT_RAW;
    else if (!strcmp(arg, "qcow2"))
        *format = BLOCK_FORMAT_QCOW2;
    else
        return err_set(e, EINVAL, "bad-option", "formats are raw and qcow2, not \"%s\"", arg);
    return 0;
}

static int parse(struct image_options *o, const struct verb *v, int argc, char **argv,
                 struct err *e)
{
    static const struct option longs[] = {{"repair", no_argument, NULL, 'r'}, {0}};
    enum block_format ignored;
    int c, r = 0;
    opterr = 0;
    optind = 0;
    while (r == 0 && (c = getopt_long(argc, argv, ":f:O:b:F:", longs, NULL)) != -1) {
        if (c == 'f')
            r = parse_format(optarg, &o->format, e);
        else if (c == 'O')
            r = parse_format(optarg, &o->out_format, e);
        else if (c == 'F')
            r = parse_format(o->backing_format = optarg, &ignored, e);
        else if (c == 'b')
            o->backing = optarg;
        else if (c == 'r')
            o->repair = true;
        else
            r = err_set(e, EINVAL, "bad-option", "usage: %s", v->usage);
    }
    o->args = argv + optind;
    o->count = argc - optind;
    if (r == 0 && (o->count < v->min || o->count > v->max))
        r = err_set(e, EINVAL, "bad-usage", "usage: %s", v->usage);
    return r;
}

int cmd_image(int argc, char **argv)
{
    struct image_options o = {0};
    struct err e = {0};
    const struct verb *v = NULL;
    for (unsigned i = 0; i < ARRAY_LEN(verbs) && argc > 1; i++)
        if (!strcmp(argv[1], verbs[i].name))
            v = &verbs[i];
    if (!v)
        err_set(&e, EINVAL, "bad-usage",
                "usage: ring3 image create|info|convert|check ...; see `ring3 help images`");
    if (!v || parse(&o, v, argc - 1, argv + 1, &e) < 0 || v->run(&o, &e) < 0)
        return cli_error(&e);
    return cli_flush_stdout();
}
