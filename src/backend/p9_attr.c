/* SPDX-License-Identifier: MIT */
/* What the 9P server says and changes about files: attributes, links' targets, the file system,
 * locks.
 *
 * The user that runs ring3 is the guest's root: its files show as those of user and group 0, and
 * back. Others keep their numbers. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "backend/p9_internal.h"

#define GETATTR_BASIC 0x7ffu      /* all but birth time, generation and version */
#define FS_MAGIC      0x01021997u /* of 9P */
enum {
    SET_MODE = 0x001,
    SET_UID = 0x002,
    SET_GID = 0x004,
    SET_SIZE = 0x008,
    SET_ATIME = 0x010,
    SET_MTIME = 0x020,
    SET_ATIME_TO = 0x080, /* to the time given, not to now */
    SET_MTIME_TO = 0x100,
};
enum { LOCK_SUCCESS = 0, LOCK_TYPE_UNLOCK = 2 };

static int result(int r)
{
    return r < 0 ? -errno : 0;
}

static struct p9_fid *get_fid(struct p9_call *c)
{
    return p9_find(c->p, (uint32_t)p9_get(c->in, 4));
}

/* Of an open file that may have no name any more, or by name. */
static int stat_fid(struct p9 *p, const struct p9_fid *f, struct stat *st)
{
    int fd = p9_fd(p, f);
    return fd >= 0 ? result(fstat(fd, st)) : p9_stat(p, f->path, st);
}

static void put_time(struct p9_out *m, const struct timespec *t)
{
    p9_put(m, (uint64_t)t->tv_sec, 8);
    p9_put(m, (uint64_t)t->tv_nsec, 8);
}

int p9_getattr(struct p9_call *c)
{
    struct p9_fid *f = get_fid(c);
    struct stat st;
    if (!f)
        return -EBADF;
    int r = stat_fid(c->p, f, &st);
    if (r < 0)
        return r;
    struct p9_qid q = p9_qid(&st);
    p9_put(c->out, GETATTR_BASIC, 8);
    p9_put_qid(c->out, &q);
    p9_put(c->out, st.st_mode, 4);
    p9_put(c->out, st.st_uid == c->p->uid ? 0 : st.st_uid, 4);
    p9_put(c->out, st.st_gid == c->p->gid ? 0 : st.st_gid, 4);
    p9_put(c->out, st.st_nlink, 8);
    p9_put(c->out, st.st_rdev, 8);
    p9_put(c->out, (uint64_t)st.st_size, 8);
    p9_put(c->out, (uint64_t)st.st_blksize, 8);
    p9_put(c->out, (uint64_t)st.st_blocks, 8);
    put_time(c->out, &st.st_atim);
    put_time(c->out, &st.st_mtim);
    put_time(c->out, &st.st_ctim);
    for (unsigned i = 0; i < 4; i++) /* birth time, generation, data version */
        p9_put(c->out, 0, 8);
    return 0;
}

struct changes {
    uint32_t valid, mode, uid, gid;
    uint64_t size;
    struct timespec time[2]; /* as utimensat() takes them */
};

static struct timespec get_time(struct p9_in *m, bool change, bool to)
{
    struct timespec t = {(time_t)p9_get(m, 8), (long)(p9_get(m, 8) % NS_PER_SEC)};
    if (!change)
        t.tv_nsec = UTIME_OMIT;
    else if (!to)
        t.tv_nsec = UTIME_NOW;
    return t;
}

static void get_changes(struct p9_in *m, struct changes *s)
{
    s->valid = (uint32_t)p9_get(m, 4);
    s->mode = (uint32_t)p9_get(m, 4);
    s->uid = (uint32_t)p9_get(m, 4);
    s->gid = (uint32_t)p9_get(m, 4);
    s->size = p9_get(m, 8);
    s->time[0] = get_time(m, s->valid & SET_ATIME, s->valid & SET_ATIME_TO);
    s->time[1] = get_time(m, s->valid & SET_MTIME, s->valid & SET_MTIME_TO);
}

/* chmod() cannot be told not to follow a link, except by way of a descriptor of what it is. */
static int change_mode(const struct p9 *p, const char *path, uint32_t mode)
{
    char by_fd[64];
    struct stat st;
    int fd = p9_open_path(p, path, O_PATH, 0);
    if (fd < 0)
        return fd;
    int r = result(fstat(fd, &st));
    if (r == 0 && S_ISLNK(st.st_mode))
        r = -EOPNOTSUPP;
    snprintf(by_fd, sizeof by_fd, "/proc/self/fd/%d", fd);
    if (r == 0)
        r = result(chmod(by_fd, mode & (S_ISDIR(st.st_mode) ? 03777u : 01777u)));
    close(fd);
    return r;
}

static int change_size(struct p9 *p, const struct p9_fid *f, uint64_t size)
{
    if (size > INT64_MAX)
        return -EFBIG;
    if (p9_fd(p, f) >= 0 && (f->flags & O_ACCMODE) != O_RDONLY)
        return result(ftruncate(p9_fd(p, f), (off_t)size));
    int fd = p9_open_path(p, f->path, O_WRONLY, 0);
    if (fd < 0)
        return fd;
    int r = result(ftruncate(fd, (off_t)size));
    close(fd);
    return r;
}

static int change_owner(const struct p9 *p, int at, const char *name, const struct changes *s)
{
    uid_t uid = !(s->valid & SET_UID) ? (uid_t)-1 : s->uid == 0 ? p->uid : s->uid;
    gid_t gid = !(s->valid & SET_GID) ? (gid_t)-1 : s->gid == 0 ? p->gid : s->gid;
    return result(fchownat(at, name, uid, gid, AT_SYMLINK_NOFOLLOW));
}

/* Owner and times, which need the directory. */
static int change_named(const struct p9 *p, const char *path, const struct changes *s)
{
    const char *last;
    int at = p9_open_parent(p, path, &last), r = 0;
    if (at < 0)
        return at;
    if (!*last)
        last = ".";
    if (s->valid & (SET_UID | SET_GID))
        r = change_owner(p, at, last, s);
    if (r == 0 && (s->valid & (SET_ATIME | SET_MTIME)))
        r = result(utimensat(at, last, s->time, AT_SYMLINK_NOFOLLOW));
    close(at);
    return r;
}

int p9_setattr(struct p9_call *c)
{
    struct p9_fid *f = get_fid(c);
    struct changes s;
    get_changes(c->in, &s);
    if (!f || c->in->bad)
        return f ? -EINVAL : -EBADF;
    int r = s.valid & SET_MODE ? change_mode(c->p, f->path, s.mode) : 0;
    if (r == 0 && (s.valid & SET_SIZE))
        r = change_size(c->p, f, s.size);
    return r == 0 ? change_named(c->p, f->path, &s) : r;
}

int p9_readlink(struct p9_call *c)
{
    struct p9_fid *f = get_fid(c);
    char target[4096];
    const char *last;
    if (!f)
        return -EBADF;
    int at = p9_open_parent(c->p, f->path, &last);
    if (at < 0)
        return at;
    ssize_t n = readlinkat(at, last, target, sizeof target);
    int r = n < 0 ? -errno : 0;
    close(at);
    if (r == 0)
        p9_put_string(c->out, target, (size_t)n);
    return r;
}

int p9_statfs(struct p9_call *c)
{
    struct p9_fid *f = get_fid(c);
    struct statvfs s;
    if (!f)
        return -EBADF;
    int fd = p9_open_path(c->p, "", O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0)
        return fd;
    int r = result(fstatvfs(fd, &s));
    close(fd);
    if (r < 0)
        return r;
    p9_put(c->out, FS_MAGIC, 4);
    p9_put(c->out, s.f_frsize, 4);
    p9_put(c->out, s.f_blocks, 8);
    p9_put(c->out, s.f_bfree, 8);
    p9_put(c->out, s.f_bavail, 8);
    p9_put(c->out, s.f_files, 8);
    p9_put(c->out, s.f_ffree, 8);
    p9_put(c->out, s.f_fsid, 8);
    p9_put(c->out, s.f_namemax < P9_PATH_MAX ? s.f_namemax : P9_PATH_MAX - 1, 4);
    return 0;
}

/* The guest keeps its own locks; the server would only add those of others. */
int p9_lock(struct p9_call *c)
{
    if (!get_fid(c))
        return -EBADF;
    p9_put(c->out, LOCK_SUCCESS, 1);
    return 0;
}

int p9_getlock(struct p9_call *c)
{
    char client[256];
    struct p9_fid *f = get_fid(c);
    p9_get(c->in, 1);
    uint64_t start = p9_get(c->in, 8), length = p9_get(c->in, 8), process = p9_get(c->in, 4);
    p9_get_string(c->in, client, sizeof client);
    if (!f || c->in->bad)
        return f ? -EINVAL : -EBADF;
    p9_put(c->out, LOCK_TYPE_UNLOCK, 1);
    p9_put(c->out, start, 8);
    p9_put(c->out, length, 8);
    p9_put(c->out, process, 4);
    p9_put_string(c->out, client, strlen(client));
    return 0;
}
