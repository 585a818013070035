/* SPDX-License-Identifier: MIT */
/* A character backend on two descriptors: terminal, pipe, socket or file. See
 * ring3/char_stdio.h.
 *
 *   device --write()--> out ring --loop thread--> output() tap, then out_fd
 *   in_fd --loop thread--> Ctrl-a commands --> in ring --client.room()--> device
 *
 * write() only copies and kicks the loop thread (an eventfd), so the processor never waits for a
 * slow reader; a full ring is a short write, and the device is told when there is room again:
 * nothing is lost. Output must not block the loop either, but O_NONBLOCK belongs to the open
 * file, which the user's shell shares with us. So terminals and pipes are opened a second time
 * through /proc/self/fd; where that is refused we write little and only when poll() agrees.
 *
 * Terminal input is always read, even if the guest takes none, or else Ctrl-a x would not get
 * through to end a hung guest; keys beyond the in ring are dropped. Other input waits. End of
 * input is no error: the guest just hears nothing more. Left out: modem lines, break. */
#include "ring3/char_stdio.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define OUT_BYTES   (64 * KIB) /* powers of two */
#define IN_BYTES    (16 * KIB)
#define WRITE_MAX   (16 * KIB)
#define READ_MAX    1024
#define CAREFUL_MAX 256 /* what a terminal or pipe that polls writable takes without blocking */

enum out_kind {
    OUT_DIRECT,  /* never blocks for long: files, devices; or an open file of our own */
    OUT_SOCKET,  /* send(MSG_DONTWAIT) */
    OUT_CAREFUL, /* shared open file: poll, then a little */
};

struct stdio_char {
    struct chardev base; /* first */
    struct chardev_stdio_config config;
    struct loop *loop;
    int out_fd; /* config.out_fd or our own open file of it */
    int kick_fd;
    enum out_kind out_kind;

    pthread_mutex_t lock; /* guards the fields down to `failed` */
    uint8_t out[OUT_BYTES];
    uint64_t put, tapped, sent; /* bytes so far; sent <= put, tapped <= put, put - sent <= size */
    bool kicked;                /* the loop thread has been told */
    bool short_write;           /* the device waits for writable() */
    bool failed;

    /* Loop thread only. */
    uint8_t in[IN_BYTES];
    uint64_t in_put, in_taken;
    bool escape_seen, eof, deaf;
    void (*divert)(void *opaque, const uint8_t *p, size_t n); /* takes input, or NULL */
    void *divert_opaque;
    bool in_always_ready; /* a regular file: epoll refuses it */
};

static struct stdio_char *self(struct chardev *c)
{
    return container_of(c, struct stdio_char, base);
}

/* ---- output ---------------------------------------------------------------------------------- */

static void kick(struct stdio_char *s)
{
    uint64_t one = 1;
    ssize_t ignored = write(s->kick_fd, &one, sizeof one);
    (void)ignored;
}

static size_t stdio_write(struct chardev *c, const uint8_t *p, size_t n)
{
    struct stdio_char *s = self(c);
    pthread_mutex_lock(&s->lock);
    size_t room = OUT_BYTES - (size_t)(s->put - s->sent), take = n < room ? n : room;
    for (size_t done = 0; done < take;) {
        size_t at = s->put % OUT_BYTES, part = take - done;
        if (part > OUT_BYTES - at)
            part = OUT_BYTES - at;
        memcpy(s->out + at, p + done, part);
        s->put += part;
        done += part;
    }
    if (take < n)
        s->short_write = true;
    bool tell = !s->kicked;
    s->kicked = true;
    pthread_mutex_unlock(&s->lock);
    if (tell)
        kick(s);
    return take;
}

/* Bytes [from, put) as far as they lie in one piece. They stay valid: only the loop thread
 * moves `sent`, and writers never touch what is not sent. */
static size_t pending(struct stdio_char *s, const uint64_t *from, const uint8_t **p)
{
    pthread_mutex_lock(&s->lock);
    size_t at = *from % OUT_BYTES, n = (size_t)(s->put - *from);
    pthread_mutex_unlock(&s->lock);
    *p = s->out + at;
    return n < OUT_BYTES - at ? n : OUT_BYTES - at;
}

static void tap(struct stdio_char *s)
{
    const uint8_t *p;
    size_t n;
    while ((n = pending(s, &s->tapped, &p))) {
        if (s->config.output)
            s->config.output(s->config.opaque, p, n);
        s->tapped += n;
    }
}

static ssize_t write_some(struct stdio_char *s, const uint8_t *p, size_t n)
{
    if (s->out_kind == OUT_SOCKET)
        return send(s->out_fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (s->out_kind == OUT_CAREFUL) {
        struct pollfd f = {.fd = s->out_fd, .events = POLLOUT};
        if (poll(&f, 1, 0) == 0) {
            errno = EAGAIN;
            return -1;
        }
        n = n < CAREFUL_MAX ? n : CAREFUL_MAX;
    }
    return write(s->out_fd, p, n < WRITE_MAX ? n : WRITE_MAX);
}

static void advance_sent(struct stdio_char *s, size_t n)
{
    pthread_mutex_lock(&s->lock);
    s->sent += n;
    pthread_mutex_unlock(&s->lock);
}

static void fail(struct stdio_char *s, int errnum)
{
    pthread_mutex_lock(&s->lock);
    bool first = !s->failed;
    s->failed = true;
    pthread_mutex_unlock(&s->lock);
    if (first && s->config.failed)
        s->config.failed(s->config.opaque, errnum);
}

/* Write until the ring is empty or the other side is congested. Returns false if congested. */
static bool drain(struct stdio_char *s)
{
    const uint8_t *p;
    size_t n;
    while ((n = pending(s, &s->sent, &p))) {
        if (s->failed) {
            advance_sent(s, n);
            continue;
        }
        ssize_t done = write_some(s, p, n);
        if (done >= 0)
            advance_sent(s, (size_t)done);
        else if (errno == EAGAIN)
            return false;
        else if (errno != EINTR)
            fail(s, errno);
    }
    return true;
}

static void on_out_ready(void *opaque, uint32_t events);

static void serve_output(struct stdio_char *s)
{
    pthread_mutex_lock(&s->lock);
    s->kicked = false;
    pthread_mutex_unlock(&s->lock);
    tap(s);
    bool empty = drain(s);
    loop_watch(s->loop, s->out_fd, empty ? 0 : EPOLLOUT, on_out_ready, s);

    pthread_mutex_lock(&s->lock);
    bool tell = s->short_write && s->put - s->sent < OUT_BYTES;
    if (tell)
        s->short_write = false;
    pthread_mutex_unlock(&s->lock);
    if (tell && s->base.client.writable)
        s->base.client.writable(s->base.client.opaque);
}

static void on_out_ready(void *opaque, uint32_t events)
{
    serve_output(opaque);
}

/* ---- input ----------------------------------------------------------------------------------- */

static void accept_byte(struct stdio_char *s, uint8_t byte)
{
    if (s->config.escapes && s->escape_seen) {
        s->escape_seen = false;
        if (byte != 'a' && byte != CHAR_STDIO_ESCAPE) {
            if (s->config.command)
                s->config.command(s->config.opaque, (char)byte);
            return;
        }
        byte = CHAR_STDIO_ESCAPE;
    } else if (s->config.escapes && byte == CHAR_STDIO_ESCAPE) {
        s->escape_seen = true;
        return;
    }
    if (s->divert)
        s->divert(s->divert_opaque, &byte, 1);
    else if (s->in_put - s->in_taken < IN_BYTES)
        s->in[s->in_put++ % IN_BYTES] = byte;
}

static void deliver(struct stdio_char *s)
{
    const struct chardev_client *cl = &s->base.client;
    while (cl->room && s->in_put > s->in_taken) {
        size_t at = s->in_taken % IN_BYTES, n = (size_t)(s->in_put - s->in_taken);
        size_t room = cl->room(cl->opaque);
        n = n < IN_BYTES - at ? n : IN_BYTES - at;
        n = n < room ? n : room;
        if (!n)
            return;
        cl->receive(cl->opaque, s->in + at, n);
        s->in_taken += n;
    }
}

/* How many bytes we may read now without having to drop any. */
static size_t may_read(const struct stdio_char *s)
{
    size_t room = IN_BYTES - (size_t)(s->in_put - s->in_taken);
    return s->eof || s->deaf ? 0 : s->config.escapes || room > READ_MAX ? READ_MAX : room;
}

static void on_in_ready(void *opaque, uint32_t events);

static void watch_input(struct stdio_char *s)
{
    if (s->config.in_fd < 0 || s->in_always_ready)
        return;
    int r = loop_watch(s->loop, s->config.in_fd, may_read(s) ? EPOLLIN : 0, on_in_ready, s);
    if (r == -EPERM)
        s->in_always_ready = true;
    else if (r < 0)
        s->eof = true;
}

static void read_input(struct stdio_char *s)
{
    uint8_t buf[READ_MAX];
    size_t max = may_read(s);
    if (!max)
        return;
    ssize_t n = read(s->config.in_fd, buf, max);
    if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN))
        s->eof = true; /* a terminal that went away reads as EIO */
    for (ssize_t i = 0; i < n; i++)
        accept_byte(s, buf[i]);
}

/* A file is read as fast as the guest takes it, one piece each time round the loop. */
static void serve_input(struct stdio_char *s)
{
    if (s->in_always_ready && s->in_put == s->in_taken)
        read_input(s);
    uint64_t before = s->in_taken;
    deliver(s);
    watch_input(s);
    if (s->in_always_ready && !s->eof && s->in_taken == s->in_put && s->in_taken != before)
        kick(s);
}

static void on_in_ready(void *opaque, uint32_t events)
{
    struct stdio_char *s = opaque;
    read_input(s);
    deliver(s);
    watch_input(s);
}

static void stdio_resume(struct chardev *c)
{
    kick(self(c));
}

static void on_kick(void *opaque, uint32_t events)
{
    struct stdio_char *s = opaque;
    uint64_t count;
    ssize_t ignored = read(s->kick_fd, &count, sizeof count);
    (void)ignored;
    serve_output(s);
    serve_input(s);
}

/* ---- life ------------------------------------------------------------------------------------ */

static void open_output(struct stdio_char *s)
{
    struct stat st;
    int fd = s->config.out_fd;
    s->out_fd = fd;
    s->out_kind = OUT_DIRECT;
    if (fstat(fd, &st) < 0)
        return; /* the first write will say why */
    if (S_ISSOCK(st.st_mode)) {
        s->out_kind = OUT_SOCKET;
    } else if (S_ISFIFO(st.st_mode) || (S_ISCHR(st.st_mode) && isatty(fd))) {
        char path[32];
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        bool writable = (fcntl(fd, F_GETFL) & O_ACCMODE) != O_RDONLY;
        int own = writable ? open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC) : -1;
        if (own >= 0)
            s->out_fd = own;
        else
            s->out_kind = OUT_CAREFUL;
    }
}

static void stdio_free(struct chardev *c)
{
    struct stdio_char *s = self(c);
    if (s->loop) {
        loop_unwatch(s->loop, s->kick_fd);
        loop_unwatch(s->loop, s->out_fd);
        if (s->config.in_fd >= 0)
            loop_unwatch(s->loop, s->config.in_fd);
    }
    if (s->out_fd != s->config.out_fd)
        close(s->out_fd);
    close(s->kick_fd);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static const struct chardev_ops stdio_ops = {
    .write = stdio_write,
    .resume = stdio_resume,
    .free = stdio_free,
};

struct chardev *chardev_stdio_new(const struct chardev_stdio_config *config, struct err *e)
{
    struct stdio_char *s = calloc(1, sizeof *s);
    int kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (!s || kick_fd < 0) {
        err_set(e, s ? errno : ENOMEM, "console-failed", "cannot make the console: %s",
                strerror(s ? errno : ENOMEM));
        free(s);
        if (kick_fd >= 0)
            close(kick_fd);
        return NULL;
    }
    s->base.ops = &stdio_ops;
    s->config = *config;
    s->kick_fd = kick_fd;
    pthread_mutex_init(&s->lock, NULL);
    open_output(s);
    return &s->base;
}

int chardev_stdio_start(struct chardev *c, struct loop *l, struct err *e)
{
    struct stdio_char *s = self(c);
    s->loop = l;
    int r = loop_watch(l, s->kick_fd, EPOLLIN, on_kick, s);
    if (r < 0)
        return err_set(e, -r, "console-failed", "cannot watch the console: %s", strerror(-r));
    watch_input(s);
    kick(s); /* for what was written before, and for files */
    return 0;
}

void chardev_stdio_listen(struct chardev *c, bool on)
{
    struct stdio_char *s = self(c);
    s->deaf = !on;
    watch_input(s);
    kick(s);
}

void chardev_stdio_divert(struct chardev *c, void (*fn)(void *opaque, const uint8_t *p, size_t n),
                          void *opaque)
{
    struct stdio_char *s = container_of(c, struct stdio_char, base);
    s->divert = fn;
    s->divert_opaque = opaque;
}

size_t chardev_stdio_finish(struct chardev *c, int patience_ms)
{
    struct stdio_char *s = self(c);
    tap(s);
    for (;;) {
        uint64_t before = s->sent;
        if (drain(s))
            return 0;
        struct pollfd f = {.fd = s->out_fd, .events = POLLOUT};
        if (s->sent == before && poll(&f, 1, patience_ms) == 0)
            return (size_t)(s->put - s->sent);
    }
}
