/* SPDX-License-Identifier: MIT */
/* The bytes of a file or a block device, as a disk: raw images, and what other formats are stored
 * in. A file whose length is no multiple of 512 ends in zeros.
 *
 * Locks (open file description locks, so another descriptor of this process counts, too) are those
 * of QEMU: a byte at 100 + n says "I use right n", one at 200 + n "I do not share right n"; both
 * are held as read locks and looked for in others. So ring3 and QEMU keep each other off. Left out:
 * O_DIRECT, Linux AIO and io_uring; the page cache is what makes this fast. */
#include "backend/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#define SECTOR      512
#define PIECES      64
#define ZERO_BYTES  (64 * KIB)
#define LOCK_USED   100
#define LOCK_REFUSE 200
enum { RIGHT_READ, RIGHT_WRITE, RIGHT_RESIZE = 3, RIGHTS };

struct file_disk {
    struct disk disk; /* first */
    int fd;
    bool unsafe;
    pthread_mutex_t
        writing;            /* the kernel lets one write at a time into a file; others would spin */
    bool in_memory;         /* on tmpfs: reads never wait for long */
    _Atomic bool no_nowait; /* the file system does not know RWF_NOWAIT */
    _Atomic bool no_holes;  /* the file system cannot punch */
    _Atomic bool sync_failed; /* fdatasync failed: what it lost will not be written later */
};

static struct file_disk *self(struct disk *d)
{
    return container_of(d, struct file_disk, disk);
}

/* A read found no more bytes at `at`. */
static int end_of_file(struct file_disk *f, uint64_t at, uint64_t len, struct span to)
{
    if (at < f->disk.end)
        return -EIO; /* somebody made it shorter */
    span_zero(to, len);
    return 0;
}

static int file_read(struct disk *d, uint64_t offset, uint64_t len, struct span to)
{
    struct file_disk *f = self(d);
    while (len) {
        struct iovec v[PIECES];
        uint64_t bytes;
        int n = span_pieces(to, len, v, PIECES, &bytes);
        ssize_t got = n ? preadv(f->fd, v, n, (off_t)offset) : 0;
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -EIO;
        if (got == 0)
            return end_of_file(f, offset, len, to);
        to = span_behind(to, (uint64_t)got);
        offset += (uint64_t)got, len -= (uint64_t)got;
    }
    return 0;
}

static bool file_read_now(struct disk *d, uint64_t offset, uint64_t len, struct span to)
{
    struct file_disk *f = self(d);
    int flags = f->in_memory ? 0 : RWF_NOWAIT;
    while (len) {
        struct iovec v[PIECES];
        uint64_t bytes;
        int n = f->no_nowait ? 0 : span_pieces(to, len, v, PIECES, &bytes);
        ssize_t got = n ? preadv2(f->fd, v, n, (off_t)offset, flags) : 0;
        if (got < 0 && errno == EOPNOTSUPP)
            f->no_nowait = true;
        if (got <= 0 || (uint64_t)got != bytes)
            return false; /* file_read finds out why, and reads it all */
        to = span_behind(to, bytes);
        offset += bytes, len -= bytes;
    }
    return true;
}

static void grown(struct file_disk *f, uint64_t end)
{
    uint64_t old = f->disk.end;
    while (old < end && !atomic_compare_exchange_weak(&f->disk.end, &old, end))
        ;
}

static int file_write(struct disk *d, uint64_t offset, uint64_t len, struct span from)
{
    struct file_disk *f = self(d);
    while (len) {
        struct iovec v[PIECES];
        uint64_t bytes;
        int n = span_pieces(from, len, v, PIECES, &bytes);
        pthread_mutex_lock(&f->writing);
        ssize_t put = n ? pwritev(f->fd, v, n, (off_t)offset) : 0;
        int errnum = errno;
        pthread_mutex_unlock(&f->writing);
        if (put < 0 && errnum == EINTR)
            continue;
        if (put <= 0)
            return put < 0 && (errnum == ENOSPC || errnum == EDQUOT || errnum == EFBIG) ? -ENOSPC
                                                                                        : -EIO;
        from = span_behind(from, (uint64_t)put);
        offset += (uint64_t)put, len -= (uint64_t)put;
        grown(f, offset);
    }
    return 0;
}

static int punch(struct file_disk *f, uint64_t offset, uint64_t len)
{
    if (f->no_holes)
        return -EOPNOTSUPP;
    int r;
    do
        r = fallocate(f->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)len);
    while (r < 0 && errno == EINTR);
    if (r < 0 && (errno == EOPNOTSUPP || errno == ENODEV || errno == EINVAL || errno == ENOSYS))
        f->no_holes = true;
    return r < 0 ? -errno : 0;
}

static int file_write_zeroes(struct disk *d, uint64_t offset, uint64_t len)
{
    static const uint8_t zeros[ZERO_BYTES];
    struct file_disk *f = self(d);
    int r = offset + len <= f->disk.end ? punch(f, offset, len) : -EOPNOTSUPP;
    if (r == 0)
        return 0;
    for (r = 0; len && r == 0;) {
        struct iovec v;
        uint64_t part = len < sizeof zeros ? len : sizeof zeros;
        r = file_write(d, offset, part, span_of(&v, zeros, part));
        offset += part, len -= part;
    }
    return r;
}

static int file_discard(struct disk *d, uint64_t offset, uint64_t len)
{
    int r = punch(self(d), offset, len);
    return r == -EIO ? r : 0; /* whatever else: the space stays taken */
}

static int file_flush(struct disk *d)
{
    struct file_disk *f = self(d);
    if (f->unsafe || d->read_only)
        return 0;
    if (!f->sync_failed && fdatasync(f->fd) < 0)
        f->sync_failed = true;
    return f->sync_failed ? -EIO : 0;
}

static int file_resize(struct disk *d, uint64_t bytes)
{
    struct file_disk *f = self(d);
    if (ftruncate(f->fd, (off_t)bytes) < 0)
        return errno == EFBIG || errno == ENOSPC ? -ENOSPC : -EIO;
    f->disk.end = bytes;
    d->bytes = (bytes + SECTOR - 1) / SECTOR * SECTOR;
    return 0;
}

static void file_free(struct disk *d)
{
    struct file_disk *f = self(d);
    file_flush(d);
    close(f->fd);
    pthread_mutex_destroy(&f->writing);
    free(d->name);
    free(f);
}

static const struct disk_ops file_ops = {
    .read = file_read,
    .read_now = file_read_now,
    .write = file_write,
    .write_zeroes = file_write_zeroes,
    .discard = file_discard,
    .flush = file_flush,
    .resize = file_resize,
    .free = file_free,
};

/* ---- opening --------------------------------------------------------------------------------- */

static int ofd_lock(int fd, int command, short type, off_t byte)
{
    struct flock l = {.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
    if (fcntl(fd, command, &l) < 0)
        return -errno;
    return command == F_OFD_GETLK && l.l_type != F_UNLCK ? -EAGAIN : 0;
}

/* Take the locks, then look whether somebody's are at odds with them. File systems without locks
 * are not worse off than before. */
static int lock_file(struct file_disk *f, const char *path, struct err *e)
{
    bool writer = !f->disk.read_only;
    bool use[RIGHTS] = {[RIGHT_READ] = true, [RIGHT_WRITE] = writer, [RIGHT_RESIZE] = writer};
    bool refuse[RIGHTS] = {[RIGHT_WRITE] = true, [RIGHT_RESIZE] = true};
    int r = 0;
    for (int i = 0; i < RIGHTS; i++) {
        if (use[i] && ofd_lock(f->fd, F_OFD_SETLK, F_RDLCK, LOCK_USED + i) == -EAGAIN)
            r = -EAGAIN;
        if (refuse[i] && ofd_lock(f->fd, F_OFD_SETLK, F_RDLCK, LOCK_REFUSE + i) == -EAGAIN)
            r = -EAGAIN;
    }
    for (int i = 0; i < RIGHTS; i++) {
        if (refuse[i] && ofd_lock(f->fd, F_OFD_GETLK, F_WRLCK, LOCK_USED + i) == -EAGAIN)
            r = -EAGAIN;
        if (use[i] && ofd_lock(f->fd, F_OFD_GETLK, F_WRLCK, LOCK_REFUSE + i) == -EAGAIN)
            r = -EAGAIN;
    }
    if (r == 0)
        return 0;
    return err_set(e, EBUSY, "disk-locked", "%s: another program %s; end it, or work on a copy",
                   path, writer ? "has this disk image open" : "is writing to this disk image");
}

static int open_error(const char *path, bool writing, int errnum, struct err *e)
{
    if (errnum == ENOENT || errnum == ENOTDIR)
        return err_set(e, errnum, "disk-missing", "%s: no such file", path);
    if (errnum == EISDIR)
        return err_set(e, errnum, "disk-unreadable", "%s: is a directory, not a disk image", path);
    if (errnum == EEXIST)
        return err_set(e, errnum, "disk-exists", "%s: exists already; remove it first", path);
    if (writing && (errnum == EACCES || errnum == EROFS || errnum == EPERM))
        return err_set(e, errnum, "disk-read-only",
                       "%s: cannot be written (%s); add ,ro to only read it, or ,snapshot to "
                       "throw writes away",
                       path, strerror(errnum));
    return err_set(e, errnum, "disk-unreadable", "%s: cannot open: %s", path, strerror(errnum));
}

static int find_size(struct file_disk *f, const char *path, struct err *e)
{
    struct stat st;
    if (fstat(f->fd, &st) < 0)
        return open_error(path, false, errno, e);
    if (S_ISDIR(st.st_mode))
        return open_error(path, false, EISDIR, e);
    if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
        return err_set(e, EINVAL, "disk-unreadable", "%s: is neither a file nor a block device",
                       path);
    off_t end = S_ISBLK(st.st_mode) ? lseek(f->fd, 0, SEEK_END) : st.st_size;
    if (end < 0)
        return open_error(path, false, errno, e);
    struct statfs fs;
    f->in_memory = fstatfs(f->fd, &fs) == 0 && fs.f_type == TMPFS_MAGIC;
    f->disk.end = (uint64_t)end;
    f->disk.bytes = (f->disk.end + SECTOR - 1) / SECTOR * SECTOR;
    return 0;
}

static struct disk *new_disk(int fd, const char *name, unsigned flags, struct err *e)
{
    struct file_disk *f = calloc(1, sizeof *f);
    char *copy = strdup(name);
    if (!f || !copy) {
        free(f);
        free(copy);
        close(fd);
        err_set(e, ENOMEM, "no-memory", "no memory for a disk");
        return NULL;
    }
    f->disk = (struct disk){.ops = &file_ops,
                            .read_only = flags & DISK_FILE_READ_ONLY,
                            .can_discard = true,
                            .cluster = 4096,
                            .threads = 4,
                            .format = "raw",
                            .name = copy};
    f->fd = fd;
    pthread_mutex_init(&f->writing, NULL);
    f->unsafe = flags & DISK_FILE_UNSAFE;
    if (find_size(f, name, e) < 0 || lock_file(f, name, e) < 0) {
        file_free(&f->disk);
        return NULL;
    }
    return &f->disk;
}

struct disk *disk_file_open(const char *path, unsigned flags, struct err *e)
{
    bool writing = !(flags & DISK_FILE_READ_ONLY);
    int how = writing ? O_RDWR : O_RDONLY;
    if (flags & DISK_FILE_CREATE)
        how |= O_CREAT | O_EXCL;
    int fd = open(path, how | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0666); /* a pipe must not block */
    if (fd < 0) {
        open_error(path, writing, errno, e);
        return NULL;
    }
    return new_disk(fd, path, flags, e);
}

struct disk *disk_file_temporary(struct err *e)
{
    const char *dir = getenv("TMPDIR");
    if (!dir || !*dir)
        dir = "/var/tmp";
    int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR)) {
        char path[4096];
        snprintf(path, sizeof path, "%s/ring3-XXXXXX", dir);
        fd = mkostemp(path, O_CLOEXEC);
        if (fd >= 0)
            unlink(path);
    }
    if (fd < 0) {
        err_set(e, errno, "no-temporary",
                "cannot make a temporary file in %s: %s; TMPDIR names another directory", dir,
                strerror(errno));
        return NULL;
    }
    return new_disk(fd, "temporary file", DISK_FILE_UNSAFE, e);
}
