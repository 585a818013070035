/* SPDX-License-Identifier: MIT */
/* Kernel and initrd files: see image.h. Plain pread, no mapping of the file: a file that shrinks
 * while it is read gives a short read and an error, not SIGBUS. */
#include "boot/image.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHUNK (64 * KIB)

int image_err(const struct image *img, int errnum, const char *what, struct err *e, const char *fmt,
              ...)
{
    char id[32], text[400];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    snprintf(id, sizeof id, "%s-%s", img->role, what);
    return err_set(e, errnum, id, "%.*s: %s", 100, img->path, text);
}

static const char *kind_of(mode_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFDIR:
        return "a directory";
    case S_IFIFO:
        return "a pipe";
    case S_IFSOCK:
        return "a socket";
    default:
        return "a device";
    }
}

int image_open(struct image *img, const char *path, const char *role, struct err *e)
{
    struct stat st;

    *img = (struct image){.path = path, .role = role};
    img->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe must not block us */
    if (img->fd < 0) {
        int err = errno;
        if (err == ENOENT || err == ENOTDIR)
            return image_err(img, ENOENT, "missing", e, "no such file");
        return image_err(img, err, "unreadable", e, "cannot open: %s", strerror(err));
    }
    int r = 0;
    if (fstat(img->fd, &st) < 0)
        r = image_err(img, errno, "unreadable", e, "cannot stat: %s", strerror(errno));
    else if (!S_ISREG(st.st_mode))
        r = image_err(img, S_ISDIR(st.st_mode) ? EISDIR : EINVAL, "unreadable", e,
                      "is %s, not a file", kind_of(st.st_mode));
    else if (!st.st_size)
        r = image_err(img, ENOEXEC, "empty", e, "the file is empty");
    if (r < 0) {
        image_close(img);
        return r;
    }
    img->bytes = (uint64_t)st.st_size;
    return 0;
}

void image_close(struct image *img)
{
    if (img->fd >= 0)
        close(img->fd);
    img->fd = -1;
}

int image_read(const struct image *img, uint64_t offset, void *buf, uint64_t n, struct err *e)
{
    uint8_t *to = buf;

    if (offset > img->bytes || n > img->bytes - offset)
        return image_err(img, ENOEXEC, "truncated", e,
                         "bytes %" PRIu64 " to %" PRIu64 " are needed, the file has %" PRIu64,
                         offset, offset + n, img->bytes);
    while (n) {
        ssize_t got = pread(img->fd, to, n, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return image_err(img, errno, "unreadable", e, "read: %s", strerror(errno));
        if (!got)
            return image_err(img, ENOEXEC, "truncated", e, "the file shrank while it was read");
        to += got, offset += (uint64_t)got, n -= (uint64_t)got;
    }
    return 0;
}

int image_load(const struct image *img, uint64_t offset, uint64_t n, struct phys *mem, gpa_t gpa,
               struct err *e)
{
    uint8_t buf[CHUNK];

    while (n) {
        uint64_t part = n < sizeof buf ? n : sizeof buf;
        int r = image_read(img, offset, buf, part, e);
        if (r < 0)
            return r;
        if (phys_load(mem, gpa, buf, part) < 0)
            return image_err(img, ENOSPC, "too-big", e,
                             "guest memory 0x%" PRIx64 " to 0x%" PRIx64 " is not RAM", gpa,
                             gpa + part);
        offset += part, gpa += part, n -= part;
    }
    return 0;
}
