/* SPDX-License-Identifier: MIT */
/* Disks that a server offers by the Network Block Device protocol: qemu-nbd and nbdkit, and through
 * them every format and storage they know. libnbd speaks the protocol; it is loaded when it is
 * needed, so ring3 runs without it.
 *
 * Threads of the pool hand a command to libnbd and sleep until it is complete. One thread moves the
 * connection along: it polls the socket, and an eventfd by which the others say that there is
 * something to send. A server that goes away makes all requests fail. Left out: several
 * connections to one server, and connecting again. */
#include "backend/disk.h"

#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define SECTOR          512
#define MAX_COMMAND     (2 * MIB) /* bytes; every server takes that */
#define DIRECTION_READ  1u
#define DIRECTION_WRITE 2u

/* ---- libnbd, as far as it is used (libnbd(3), stable since 1.0) ------------------------------ */

struct nbd_handle;
struct nbd_completion {
    int (*callback)(void *user_data, int *error);
    void *user_data;
    void (*free)(void *user_data);
};

#define LIBNBD(F)                                                                                  \
    F(struct nbd_handle *, create, (void))                                                         \
    F(void, close, (struct nbd_handle *))                                                          \
    F(const char *, get_error, (void))                                                             \
    F(int, connect_uri, (struct nbd_handle *, const char *))                                       \
    F(int64_t, get_size, (struct nbd_handle *))                                                    \
    F(int, is_read_only, (struct nbd_handle *))                                                    \
    F(int, can_flush, (struct nbd_handle *))                                                       \
    F(int, can_trim, (struct nbd_handle *))                                                        \
    F(int, can_zero, (struct nbd_handle *))                                                        \
    F(int, shutdown, (struct nbd_handle *, uint32_t))                                              \
    F(int64_t, aio_pread,                                                                          \
      (struct nbd_handle *, void *, size_t, uint64_t, struct nbd_completion, uint32_t))            \
    F(int64_t, aio_pwrite,                                                                         \
      (struct nbd_handle *, const void *, size_t, uint64_t, struct nbd_completion, uint32_t))      \
    F(int64_t, aio_flush, (struct nbd_handle *, struct nbd_completion, uint32_t))                  \
    F(int64_t, aio_trim,                                                                           \
      (struct nbd_handle *, uint64_t, uint64_t, struct nbd_completion, uint32_t))                  \
    F(int64_t, aio_zero,                                                                           \
      (struct nbd_handle *, uint64_t, uint64_t, struct nbd_completion, uint32_t))                  \
    F(int, aio_get_fd, (struct nbd_handle *))                                                      \
    F(unsigned, aio_get_direction, (struct nbd_handle *))                                          \
    F(int, aio_notify_read, (struct nbd_handle *))                                                 \
    F(int, aio_notify_write, (struct nbd_handle *))                                                \
    F(int, aio_is_dead, (struct nbd_handle *))                                                     \
    F(int, aio_is_closed, (struct nbd_handle *))

struct libnbd {
    void *so;
#define MEMBER(type, name, args) type(*name) args;
    LIBNBD(MEMBER)
#undef MEMBER
};

static const struct {
    const char *name;
    size_t offset;
} functions[] = {
#define ROW(type, name, args) {"nbd_" #name, offsetof(struct libnbd, name)},
    LIBNBD(ROW)
#undef ROW
};

static int load_libnbd(struct libnbd *l, const char *uri, struct err *e)
{
    l->so = dlopen("libnbd.so.0", RTLD_NOW | RTLD_LOCAL);
    if (!l->so)
        return err_set(e, ENOSYS, "no-libnbd",
                       "%s: disks by NBD need the library libnbd; on Debian install libnbd0 (%s)",
                       uri, dlerror());
    for (unsigned i = 0; i < ARRAY_LEN(functions); i++) {
        void *f = dlsym(l->so, functions[i].name);
        if (!f)
            return err_set(e, ENOSYS, "no-libnbd",
                           "%s: the library libnbd is too old: it has no %s", uri,
                           functions[i].name);
        memcpy((char *)l + functions[i].offset, &f, sizeof f);
    }
    return 0;
}

/* ---- commands -------------------------------------------------------------------------------- */

struct nbd_disk {
    struct disk disk; /* first */
    struct libnbd lib;
    struct nbd_handle *h;
    bool can_flush, can_zero;
    int wake_fd;
    pthread_t thread;
    bool thread_started;
    _Atomic bool quit, dead;
    pthread_mutex_t lock; /* guards commands' done */
    pthread_cond_t some;
};
struct command {
    struct nbd_disk *n;
    bool done;
    int error;
};

static struct nbd_disk *self(struct disk *d)
{
    return container_of(d, struct nbd_disk, disk);
}

/* On whichever thread libnbd notices. */
static int completed(void *opaque, int *error)
{
    struct command *c = opaque;
    struct nbd_disk *n = c->n;
    pthread_mutex_lock(&n->lock);
    c->error = *error;
    c->done = true;
    pthread_cond_broadcast(&n->some);
    pthread_mutex_unlock(&n->lock);
    return 1; /* nobody will ask for it again */
}

static void wake(struct nbd_disk *n)
{
    uint64_t one = 1;
    ssize_t ignored = write(n->wake_fd, &one, sizeof one);
    (void)ignored;
}

static int issue(struct nbd_disk *n, enum block_op op, uint64_t offset, uint64_t len, void *p,
                 struct nbd_completion done)
{
    switch (op) {
    case BLOCK_READ:
        return n->lib.aio_pread(n->h, p, len, offset, done, 0) < 0 ? -EIO : 0;
    case BLOCK_WRITE:
        return n->lib.aio_pwrite(n->h, p, len, offset, done, 0) < 0 ? -EIO : 0;
    case BLOCK_FLUSH:
        return n->lib.aio_flush(n->h, done, 0) < 0 ? -EIO : 0;
    case BLOCK_DISCARD:
        return n->lib.aio_trim(n->h, len, offset, done, 0) < 0 ? -EIO : 0;
    case BLOCK_WRITE_ZEROES:
        return n->lib.aio_zero(n->h, len, offset, done, 0) < 0 ? -EIO : 0;
    }
    return -EINVAL;
}

static int command(struct nbd_disk *n, enum block_op op, uint64_t offset, uint64_t len, void *p)
{
    struct command c = {.n = n};
    if (n->dead)
        return -EIO;
    int r = issue(n, op, offset, len, p, (struct nbd_completion){completed, &c, NULL});
    if (r < 0)
        return r;
    wake(n);
    pthread_mutex_lock(&n->lock);
    while (!c.done)
        pthread_cond_wait(&n->some, &n->lock);
    pthread_mutex_unlock(&n->lock);
    return !c.error ? 0 : c.error == ENOSPC || c.error == EROFS ? -c.error : -EIO;
}

static void *serve(void *opaque)
{
    struct nbd_disk *n = opaque;
    while (!n->quit) {
        unsigned direction = n->lib.aio_get_direction(n->h);
        struct pollfd f[2] = {{.fd = n->lib.aio_get_fd(n->h)},
                              {.fd = n->wake_fd, .events = POLLIN}};
        if (direction & DIRECTION_READ)
            f[0].events |= POLLIN;
        if (direction & DIRECTION_WRITE)
            f[0].events |= POLLOUT;
        if (poll(f, 2, -1) < 0 && errno != EINTR)
            break;
        uint64_t count;
        if (f[1].revents && read(n->wake_fd, &count, sizeof count) < 0)
            continue;
        /* One at a time: the direction may have changed after the first. */
        if (f[0].revents & (POLLIN | POLLHUP | POLLERR) && direction & DIRECTION_READ)
            n->lib.aio_notify_read(n->h);
        else if (f[0].revents & (POLLOUT | POLLHUP | POLLERR) && direction & DIRECTION_WRITE)
            n->lib.aio_notify_write(n->h);
        if (n->lib.aio_is_dead(n->h) > 0 || n->lib.aio_is_closed(n->h) > 0)
            break; /* libnbd has completed all commands, with errors */
    }
    n->dead = true;
    return NULL;
}

/* ---- the disk -------------------------------------------------------------------------------- */

/* Pieces of odd sizes are put together, for servers know only blocks. */
static int transfer(struct nbd_disk *n, enum block_op op, uint64_t offset, uint64_t len,
                    struct span s)
{
    uint8_t *bounce = NULL;
    int r = 0;
    while (len && r == 0) {
        uint64_t part = len < MAX_COMMAND ? len : MAX_COMMAND, bytes;
        struct iovec v;
        uint8_t *p;
        if (span_pieces(s, part, &v, 1, &bytes) == 1 && bytes == part) {
            p = v.iov_base;
        } else {
            if (!bounce && !(bounce = malloc(part)))
                return -ENOMEM;
            p = bounce;
            if (op == BLOCK_WRITE)
                span_get(s, p, part);
        }
        r = command(n, op, offset, part, p);
        if (r == 0 && op == BLOCK_READ && p == bounce)
            span_put(s, p, part);
        s = span_behind(s, part);
        offset += part, len -= part;
    }
    free(bounce);
    return r;
}

static int nbd_read(struct disk *d, uint64_t offset, uint64_t len, struct span to)
{
    return transfer(self(d), BLOCK_READ, offset, len, to);
}

static int nbd_write(struct disk *d, uint64_t offset, uint64_t len, struct span from)
{
    return transfer(self(d), BLOCK_WRITE, offset, len, from);
}

static int by_parts(struct nbd_disk *n, enum block_op op, uint64_t offset, uint64_t len)
{
    const uint64_t most = 1 * GIB; /* lengths have 32 bits */
    int r = 0;
    for (; len && r == 0; len -= len < most ? len : most, offset += most)
        r = command(n, op, offset, len < most ? len : most, NULL);
    return r;
}

static int nbd_write_zeroes(struct disk *d, uint64_t offset, uint64_t len)
{
    static const uint8_t zeros[64 * KIB];
    struct nbd_disk *n = self(d);
    if (n->can_zero)
        return by_parts(n, BLOCK_WRITE_ZEROES, offset, len);
    int r = 0;
    while (len && r == 0) {
        struct iovec v;
        uint64_t part = len < sizeof zeros ? len : sizeof zeros;
        r = nbd_write(d, offset, part, span_of(&v, zeros, part));
        offset += part, len -= part;
    }
    return r;
}

static int nbd_discard(struct disk *d, uint64_t offset, uint64_t len)
{
    return d->can_discard ? by_parts(self(d), BLOCK_DISCARD, offset, len) : 0;
}

static int nbd_flush(struct disk *d)
{
    struct nbd_disk *n = self(d);
    return n->can_flush ? command(n, BLOCK_FLUSH, 0, 0, NULL) : 0;
}

static void nbd_free(struct disk *d)
{
    struct nbd_disk *n = self(d);
    if (n->thread_started) {
        if (!d->read_only)
            nbd_flush(d);
        n->quit = true;
        wake(n);
        pthread_join(n->thread, NULL);
        if (!n->dead || n->lib.aio_is_closed(n->h) == 0)
            n->lib.shutdown(n->h, 0);
    }
    if (n->h)
        n->lib.close(n->h);
    if (n->lib.so)
        dlclose(n->lib.so);
    if (n->wake_fd >= 0)
        close(n->wake_fd);
    pthread_mutex_destroy(&n->lock);
    pthread_cond_destroy(&n->some);
    free(d->name);
    free(n);
}

static const struct disk_ops nbd_ops = {
    .read = nbd_read,
    .write = nbd_write,
    .write_zeroes = nbd_write_zeroes,
    .discard = nbd_discard,
    .flush = nbd_flush,
    .free = nbd_free,
};

/* ---- opening --------------------------------------------------------------------------------- */

static int connect_to(struct nbd_disk *n, const char *uri, bool read_only, struct err *e)
{
    int r = load_libnbd(&n->lib, uri, e);
    if (r < 0)
        return r;
    n->h = n->lib.create();
    if (!n->h || n->lib.connect_uri(n->h, uri) < 0)
        return err_set(e, EIO, "nbd-failed", "%s: cannot connect: %s", uri, n->lib.get_error());
    int64_t bytes = n->lib.get_size(n->h);
    if (bytes < 0)
        return err_set(e, EIO, "nbd-failed", "%s: %s", uri, n->lib.get_error());
    if (!read_only && n->lib.is_read_only(n->h) != 0)
        return err_set(e, EROFS, "disk-read-only",
                       "%s: the server lets nobody write; add ,ro to only read it, or ,snapshot to "
                       "throw writes away",
                       uri);
    n->disk.bytes = (uint64_t)bytes / SECTOR * SECTOR;
    n->disk.end = n->disk.bytes;
    n->disk.can_discard = n->lib.can_trim(n->h) > 0;
    n->can_zero = n->lib.can_zero(n->h) > 0;
    n->can_flush = n->lib.can_flush(n->h) > 0;
    r = disk_thread_start(&n->thread, "ring3-nbd", serve, n);
    if (r != 0)
        return err_set(e, r, "thread-failed", "cannot start a thread for disk %s: %s", uri,
                       strerror(r));
    n->thread_started = true;
    return 0;
}

bool disk_is_nbd(const char *file)
{
    static const char *const schemes[] = {"nbd://", "nbds://", "nbd+unix://", "nbds+unix://"};
    for (unsigned i = 0; i < ARRAY_LEN(schemes); i++)
        if (!strncmp(file, schemes[i], strlen(schemes[i])))
            return true;
    return false;
}

struct disk *disk_nbd_open(const char *uri, bool read_only, bool unsafe, struct err *e)
{
    struct nbd_disk *n = calloc(1, sizeof *n);
    char *name = strdup(uri);
    if (!n || !name) {
        free(n), free(name);
        err_set(e, ENOMEM, "no-memory", "no memory for a disk");
        return NULL;
    }
    n->disk = (struct disk){.ops = &nbd_ops,
                            .read_only = read_only,
                            .cluster = 4096,
                            .threads = 8,
                            .format = "nbd",
                            .name = name};
    pthread_mutex_init(&n->lock, NULL);
    pthread_cond_init(&n->some, NULL);
    n->wake_fd = eventfd(0, EFD_CLOEXEC);
    if (n->wake_fd < 0)
        err_set(e, errno, "nbd-failed", "%s: eventfd: %s", uri, strerror(errno));
    else if (connect_to(n, uri, read_only, e) == 0) {
        n->can_flush &= !unsafe;
        return &n->disk;
    }
    nbd_free(&n->disk);
    return NULL;
}
