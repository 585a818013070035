/* SPDX-License-Identifier: MIT */
/* What the 9P server does with files and directories: open, read, write, make, rename, remove. See
 * p9_internal.h for why nothing outside of the shared directory can be reached.
 *
 * Only regular files and directories are opened: a guest handles its own pipes, sockets and
 * devices, and one on the host must not be woken by a guest. New files never have set-ID bits, and
 * device nodes are not made, even if we could. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "backend/p9_internal.h"

#define OPEN_FLAGS                                                                                 \
    (O_ACCMODE | O_TRUNC | O_APPEND | O_SYNC | O_DSYNC |                                           \
     O_DIRECTORY) /* of the guest's, that count */
#define OPEN_ALWAYS (O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)
#define MODE_BITS   01777u
#define IOUNIT      0u /* the message size decides */
#define REMOVE_DIR  0x200u

static int result(int r)
{
    return r < 0 ? -errno : 0;
}

/* ---- names to descriptors -------------------------------------------------------------------- */

static bool is_name(const char *name, size_t n)
{
    return n && n < P9_PATH_MAX && !(n == 1 && name[0] == '.') &&
           !(n == 2 && name[0] == '.' && name[1] == '.');
}

/* The descriptor of a component below `at`, which is closed unless it is the root. */
static int descend(const struct p9 *p, int at, const char *name, size_t n)
{
    char copy[P9_PATH_MAX];
    int fd = -ENOENT;
    if (is_name(name, n)) {
        memcpy(copy, name, n);
        copy[n] = 0;
        fd = openat(at, copy, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        fd = fd < 0 ? -errno : fd;
    }
    if (at != p->root)
        close(at);
    return fd;
}

int p9_open_parent(const struct p9 *p, const char *path, const char **last)
{
    int at = p->root;
    for (const char *slash; (slash = strchr(path, '/')) != NULL; path = slash + 1) {
        at = descend(p, at, path, (size_t)(slash - path));
        if (at < 0)
            return at;
    }
    *last = path;
    if (*path && !is_name(path, strlen(path))) {
        if (at != p->root)
            close(at);
        return -ENOENT;
    }
    if (at == p->root) {
        at = fcntl(p->root, F_DUPFD_CLOEXEC, 0);
        return at < 0 ? -errno : at;
    }
    return at;
}

int p9_open_path(const struct p9 *p, const char *path, int flags, mode_t mode)
{
    const char *last;
    int at = p9_open_parent(p, path, &last);
    if (at < 0)
        return at;
    int fd = openat(at, *last ? last : ".", flags | OPEN_ALWAYS, mode);
    fd = fd < 0 ? -errno : fd;
    close(at);
    return fd;
}

int p9_stat(const struct p9 *p, const char *path, struct stat *st)
{
    const char *last;
    int at = p9_open_parent(p, path, &last);
    if (at < 0)
        return at;
    int r = result(fstatat(at, *last ? last : ".", st, AT_SYMLINK_NOFOLLOW));
    close(at);
    return r;
}

struct p9_qid p9_qid(const struct stat *st)
{
    return (struct p9_qid){
        .type = S_ISDIR(st->st_mode)   ? 0x80
                : S_ISLNK(st->st_mode) ? 0x02
                                       : 0,
        .version = (uint32_t)st->st_mtim.tv_nsec ^ (uint32_t)st->st_mtim.tv_sec << 8,
        .path = st->st_ino ^ (uint64_t)st->st_dev << 48,
    };
}

static int answer_qid(struct p9_call *c, const struct stat *st, bool iounit)
{
    struct p9_qid q = p9_qid(st);
    p9_put_qid(c->out, &q);
    if (iounit)
        p9_put(c->out, IOUNIT, 4);
    return 0;
}

static struct p9_fid *get_fid(struct p9_call *c)
{
    return p9_find(c->p, (uint32_t)p9_get(c->in, 4));
}

/* ---- open, read, write ----------------------------------------------------------------------- */

/* An open one of a kind that may be open; else it is closed and -EINVAL. */
static int checked(int fd, struct stat *st)
{
    if (fd < 0)
        return fd;
    int r = result(fstat(fd, st));
    if (r == 0 && !S_ISREG(st->st_mode) && !S_ISDIR(st->st_mode))
        r = -EINVAL;
    if (r < 0)
        close(fd);
    return r < 0 ? r : fd;
}

static void keep_open(struct p9 *p, struct p9_fid *f, int fd, int flags, const struct stat *st)
{
    p9_set_fd(p, f, fd);
    f->open = 1;
    f->flags = (uint32_t)flags & ~(uint32_t)(O_TRUNC | O_CREAT | O_EXCL);
    f->is_dir = S_ISDIR(st->st_mode);
}

void p9_reopen(struct p9 *p, const struct p9_fid *f)
{
    struct stat st;
    int flags = (int)f->flags & OPEN_FLAGS & ~(O_TRUNC | (p->read_only ? O_ACCMODE : 0));
    int fd = checked(p9_open_path(p, f->path, flags, 0), &st);
    if (fd >= 0)
        p9_set_fd(p, f, fd);
}

int p9_lopen(struct p9_call *c)
{
    struct p9_fid *f = get_fid(c);
    int flags = (int)p9_get(c->in, 4) & OPEN_FLAGS;
    struct stat st;
    if (!f || f->open)
        return -EBADF;
    if (c->p->read_only && ((flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC)))
        return -EROFS;
    int fd = checked(p9_open_path(c->p, f->path, flags, 0), &st);
    if (fd < 0)
        return fd;
    keep_open(c->p, f, fd, flags, &st);
    return answer_qid(c, &st, true);
}

int p9_lcreate(struct p9_call *c)
{
    char name[P9_PATH_MAX], path[P9_PATH_MAX];
    struct p9_fid *f = get_fid(c);
    p9_get_string(c->in, name, sizeof name);
    int flags = (int)p9_get(c->in, 4) & (OPEN_FLAGS | O_EXCL);
    mode_t mode = (mode_t)p9_get(c->in, 4) & MODE_BITS;
    struct stat st;
    if (!f || f->open)
        return -EBADF;
    if (c->in->bad || !p9_join(f->path, name, path))
        return -EINVAL;
    int fd = checked(p9_open_path(c->p, path, flags | O_CREAT, mode), &st);
    if (fd < 0)
        return fd;
    strcpy(f->path, path);
    keep_open(c->p, f, fd, flags, &st);
    return answer_qid(c, &st, true);
}

/* The first n bytes' worth of pieces. */
static unsigned clip(const struct iovec *from, unsigned count, uint64_t n, struct iovec *to)
{
    unsigned i = 0;
    for (; i < count && n; i++) {
        to[i] = from[i];
        if (to[i].iov_len > n)
            to[i].iov_len = n;
        n -= to[i].iov_len;
    }
    return i;
}

int p9_read(struct p9_call *c)
{
    struct iovec v[512];
    struct p9_fid *f = get_fid(c);
    uint64_t offset = p9_get(c->in, 8), count = p9_get(c->in, 4);
    if (!f || p9_fd(c->p, f) < 0 || f->is_dir)
        return -EBADF;
    if (count > c->data_bytes)
        count = c->data_bytes;
    if (offset > INT64_MAX - count)
        return -EINVAL;
    unsigned n = clip(c->data, c->data_count, count, v);
    ssize_t got = n ? preadv(p9_fd(c->p, f), v, (int)n, (off_t)offset) : 0;
    if (got < 0)
        return -errno;
    p9_put(c->out, (uint64_t)got, 4);
    c->moved = (uint32_t)got;
    c->p->stats.read_bytes += (uint64_t)got;
    return 0;
}

int p9_write(struct p9_call *c)
{
    struct iovec v[512];
    struct p9_fid *f = get_fid(c);
    uint64_t offset = p9_get(c->in, 8), count = p9_get(c->in, 4);
    if (!f || p9_fd(c->p, f) < 0)
        return -EBADF;
    if (count > c->data_bytes || offset > INT64_MAX - count)
        return -EINVAL;
    unsigned n = clip(c->data, c->data_count, count, v);
    ssize_t put = n ? pwritev(p9_fd(c->p, f), v, (int)n, (off_t)offset) : 0;
    if (put < 0)
        return -errno;
    p9_put(c->out, (uint64_t)put, 4);
    c->p->stats.written_bytes += (uint64_t)put;
    return 0;
}

int p9_fsync(struct p9_call *c)
{
    struct p9_fid *f = get_fid(c);
    uint32_t data_only = (uint32_t)p9_get(c->in, 4);
    if (!f || p9_fd(c->p, f) < 0)
        return -EBADF;
    return result(data_only ? fdatasync(p9_fd(c->p, f)) : fsync(p9_fd(c->p, f)));
}

/* ---- directories ----------------------------------------------------------------------------- */

static uint8_t qid_type(unsigned char d_type)
{
    return d_type == DT_DIR ? 0x80 : d_type == DT_LNK ? 0x02 : 0;
}

/* Entries as many as fit: qid[13] offset[8] type[1] name[s]. */
int p9_readdir(struct p9_call *c)
{
    struct p9_fid *f = get_fid(c);
    uint64_t offset = p9_get(c->in, 8), count = p9_get(c->in, 4);
    DIR *dir = f && f->is_dir ? p9_dir(c->p, f) : NULL;
    uint8_t *length = c->out->at;
    if (!dir)
        return -EBADF;
    if (offset)
        seekdir(dir, (long)offset);
    else
        rewinddir(dir);
    p9_put(c->out, 0, 4);
    uint64_t room = (uint64_t)(c->out->end - c->out->at), used = 0;
    if (count < room)
        room = count;
    for (struct dirent *d; (d = readdir(dir)) != NULL;) {
        size_t n = strlen(d->d_name);
        if (used + 24 + n > room)
            break;
        struct p9_qid q = {qid_type(d->d_type), 0, d->d_ino};
        p9_put_qid(c->out, &q);
        p9_put(c->out, (uint64_t)telldir(dir), 8);
        p9_put(c->out, d->d_type, 1);
        p9_put_string(c->out, d->d_name, n);
        used += 24 + n;
    }
    for (unsigned i = 0; i < 4; i++)
        length[i] = (uint8_t)(used >> 8 * i);
    return 0;
}

/* ---- names ----------------------------------------------------------------------------------- */

/* "directory's handle, name": the directory's descriptor, or -errno; path is the whole name. */
static int get_place(struct p9_call *c, char name[P9_PATH_MAX], char path[P9_PATH_MAX])
{
    struct p9_fid *d = get_fid(c);
    const char *last;
    p9_get_string(c->in, name, P9_PATH_MAX);
    if (!d)
        return -EBADF;
    if (c->in->bad || !p9_join(d->path, name, path))
        return -EINVAL;
    return p9_open_parent(c->p, path, &last);
}

/* Close the directory; answer the new file's qid. */
static int made(struct p9_call *c, int at, const char *name, int r)
{
    struct stat st;
    if (r == 0)
        r = result(fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW));
    close(at);
    return r < 0 ? r : answer_qid(c, &st, false);
}

int p9_mkdir(struct p9_call *c)
{
    char name[P9_PATH_MAX], path[P9_PATH_MAX];
    int at = get_place(c, name, path);
    mode_t mode = (mode_t)p9_get(c->in, 4) & MODE_BITS;
    return at < 0 ? at : made(c, at, name, result(mkdirat(at, name, mode)));
}

int p9_symlink(struct p9_call *c)
{
    char name[P9_PATH_MAX], path[P9_PATH_MAX], target[4096];
    int at = get_place(c, name, path);
    p9_get_string(c->in, target, sizeof target);
    if (at >= 0 && c->in->bad) {
        close(at);
        return -EINVAL;
    }
    return at < 0 ? at : made(c, at, name, result(symlinkat(target, at, name)));
}

int p9_mknod(struct p9_call *c)
{
    char name[P9_PATH_MAX], path[P9_PATH_MAX];
    int at = get_place(c, name, path);
    mode_t mode = (mode_t)p9_get(c->in, 4);
    bool harmless = S_ISREG(mode) || S_ISFIFO(mode) || S_ISSOCK(mode);
    int r = !harmless ? -EPERM
            : at < 0  ? at
                      : result(mknodat(at, name, (mode & S_IFMT) | (mode & MODE_BITS), 0));
    return at < 0 ? at : made(c, at, name, r);
}

int p9_link(struct p9_call *c)
{
    char name[P9_PATH_MAX], path[P9_PATH_MAX];
    struct p9_fid *d = get_fid(c), *f = get_fid(c);
    const char *to, *from;
    p9_get_string(c->in, name, sizeof name);
    if (!d || !f)
        return -EBADF;
    if (c->in->bad || !p9_join(d->path, name, path))
        return -EINVAL;
    int at = p9_open_parent(c->p, path, &to), old = p9_open_parent(c->p, f->path, &from);
    int r = at < 0 ? at : old < 0 ? old : result(linkat(old, from, at, to, 0));
    if (at >= 0)
        close(at);
    if (old >= 0)
        close(old);
    return r;
}

static int rename_path(struct p9 *p, const char *from, const char *to)
{
    const char *old_name, *new_name;
    int old = p9_open_parent(p, from, &old_name), at = p9_open_parent(p, to, &new_name);
    int r = old < 0 ? old : at < 0 ? at : result(renameat(old, old_name, at, new_name));
    if (old >= 0)
        close(old);
    if (at >= 0)
        close(at);
    if (r == 0)
        p9_renamed(p, from, to);
    return r;
}

int p9_rename(struct p9_call *c)
{
    char name[P9_PATH_MAX], to[P9_PATH_MAX], from[P9_PATH_MAX];
    struct p9_fid *f = get_fid(c), *d = get_fid(c);
    p9_get_string(c->in, name, sizeof name);
    if (!f || !d)
        return -EBADF;
    if (c->in->bad || !*f->path || !p9_join(d->path, name, to))
        return -EINVAL;
    strcpy(from, f->path);
    return rename_path(c->p, from, to);
}

int p9_renameat(struct p9_call *c)
{
    char name[P9_PATH_MAX], from[P9_PATH_MAX], to[P9_PATH_MAX];
    struct p9_fid *d = get_fid(c);
    p9_get_string(c->in, name, sizeof name);
    bool good = d && !c->in->bad && p9_join(d->path, name, from);
    d = get_fid(c);
    p9_get_string(c->in, name, sizeof name);
    good = good && d && !c->in->bad && p9_join(d->path, name, to);
    return good ? rename_path(c->p, from, to) : -EINVAL;
}

static int unlink_path(struct p9 *p, const char *path, bool dir)
{
    const char *last;
    int at = p9_open_parent(p, path, &last);
    if (at < 0)
        return at;
    int r = *last ? result(unlinkat(at, last, dir ? AT_REMOVEDIR : 0)) : -EBUSY;
    close(at);
    return r;
}

int p9_unlinkat(struct p9_call *c)
{
    char name[P9_PATH_MAX], path[P9_PATH_MAX];
    struct p9_fid *d = get_fid(c);
    p9_get_string(c->in, name, sizeof name);
    uint32_t flags = (uint32_t)p9_get(c->in, 4);
    if (!d)
        return -EBADF;
    if (c->in->bad || !p9_join(d->path, name, path))
        return -EINVAL;
    return unlink_path(c->p, path, flags & REMOVE_DIR);
}

/* The handle goes in any case. */
int p9_remove(struct p9_call *c)
{
    struct p9_fid *f = get_fid(c);
    struct stat st;
    if (!f)
        return -EBADF;
    int r = p9_stat(c->p, f->path, &st);
    if (r == 0)
        r = unlink_path(c->p, f->path, S_ISDIR(st.st_mode));
    p9_drop(c->p, f);
    return r;
}
