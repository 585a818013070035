/* SPDX-License-Identifier: MIT */
/* Frames over a stream socket, each behind its length as 4 bytes, most significant first: what
 * passt and QEMU's `-netdev stream` and `-netdev socket` speak.
 *
 *   stream,path=/run/passt.sock        a Unix socket
 *   stream,connect=127.0.0.1:5555      TCP
 *   mtu=N  the largest packet that the far side takes (1,500)
 *
 * send() writes to the socket at once, on the card's thread; what the socket does not take waits in
 * `backlog` for the loop thread, and what that does not take is dropped, as on a wire. A card
 * without buffers stops the reading. When the far side goes away the card's cable is out: frames
 * are dropped, and a connection is tried every second. Left out: listening, descriptors by number.
 */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include "net_port.h"

#define BACKLOG_BYTES (512 * KIB)
#define INPUT_BYTES   (2 * (HEADER + NET_FRAME_MAX))
#define HEADER        4u
#define MAX_PIECES    64
#define PATIENCE_S    5 /* for the first connection */
#define RETRY_S       1
#define MAX_READS     8 /* then the loop's other descriptors have a turn */

struct stream_net {
    struct net_port port; /* first */
    char target[160];     /* for messages */
    struct sockaddr_storage address;
    socklen_t address_len;
    int retry_fd; /* timerfd */
    struct log_limit limit;

    pthread_mutex_t lock;      /* guards the fields down to `connected` */
    int fd;                    /* -1: not even connecting; changed by the loop thread only */
    struct frame_list backlog; /* with headers */
    size_t first_sent;         /* bytes of its first frame that are out already */
    bool connected;

    uint8_t *input; /* loop thread only; INPUT_BYTES */
    size_t input_len;
};

static void on_socket(void *opaque, uint32_t events);

/* ---- connecting ------------------------------------------------------------------------------ */

/* Cable in. Loop thread, or while it does not run. */
static void set_connected(struct stream_net *s, bool on)
{
    pthread_mutex_lock(&s->lock);
    s->connected = on;
    s->first_sent = 0;
    s->backlog.head = s->backlog.tail = 0;
    pthread_mutex_unlock(&s->lock);
    s->input_len = 0;
}

static void retry_later(struct stream_net *s)
{
    struct itimerspec t = {.it_value = {RETRY_S, 0}};
    timerfd_settime(s->retry_fd, 0, &t, NULL);
}

static void hang_up(struct stream_net *s)
{
    set_connected(s, false);
    loop_unwatch(s->port.loop, s->fd);
    pthread_mutex_lock(&s->lock);
    close(s->fd);
    s->fd = -1;
    pthread_mutex_unlock(&s->lock);
    retry_later(s);
}

static void lost(struct stream_net *s, const char *why)
{
    log_guest(s->port.log, &s->limit, "net-stream-lost",
              "network stream to %s: %s; trying again every second", s->target, why);
    hang_up(s);
}

static int make_socket(struct stream_net *s)
{
    int fd = socket(s->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    if (fd >= 0 && s->address.ss_family != AF_UNIX)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    pthread_mutex_lock(&s->lock);
    s->fd = fd;
    pthread_mutex_unlock(&s->lock);
    return fd;
}

static void on_retry(void *opaque, uint32_t events)
{
    struct stream_net *s = opaque;
    uint64_t count;
    ssize_t ignored = read(s->retry_fd, &count, sizeof count);
    (void)ignored;
    if (s->fd >= 0)
        return;
    int fd = make_socket(s);
    if (fd < 0 || fcntl(fd, F_SETFL, O_NONBLOCK) < 0) {
        retry_later(s);
        return;
    }
    int r = connect(fd, (struct sockaddr *)&s->address, s->address_len);
    if (r < 0 && errno != EINPROGRESS)
        hang_up(s);
    else if (loop_watch(s->port.loop, fd, EPOLLOUT, on_socket, s) < 0)
        hang_up(s);
}

/* The outcome of a connect(). */
static void finish_connect(struct stream_net *s)
{
    int errnum = 0;
    socklen_t len = sizeof errnum;
    getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &errnum, &len);
    if (errnum) {
        hang_up(s);
        return;
    }
    log_guest(s->port.log, &s->limit, "net-stream-back", "network stream to %s: connected again",
              s->target);
    set_connected(s, true);
    loop_watch(s->port.loop, s->fd, EPOLLIN, on_socket, s);
}

/* ---- out ------------------------------------------------------------------------------------- */

static ssize_t send_pieces(int fd, struct iovec *iov, unsigned count)
{
    struct msghdr m = {.msg_iov = iov, .msg_iovlen = count};
    ssize_t n;
    do {
        n = sendmsg(fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    return n;
}

/* Write the backlog as far as the socket takes it. False: an error that ends the connection.
 * lock held. */
static bool write_backlog(struct stream_net *s)
{
    size_t n;
    const uint8_t *frame;
    while ((frame = frame_list_first(&s->backlog, &n))) {
        struct iovec iov = {(void *)(frame + s->first_sent), n - s->first_sent};
        ssize_t done = send_pieces(s->fd, &iov, 1);
        if (done < 0)
            return errno == EAGAIN;
        s->first_sent += (size_t)done;
        if (s->first_sent < n)
            return true;
        s->first_sent = 0;
        frame_list_drop(&s->backlog);
    }
    return true;
}

/* lock held. True if the loop thread has to go on with it. */
static bool send_or_keep(struct stream_net *s, struct iovec *iov, unsigned count, size_t len)
{
    size_t n;
    ssize_t done = 0;
    if (!s->connected)
        return false;
    bool first = !frame_list_first(&s->backlog, &n);
    if (first)
        done = send_pieces(s->fd, iov, count);
    if (done == (ssize_t)len || (done < 0 && errno != EAGAIN))
        return false; /* an error shows on the loop thread, too */
    if (frame_list_put(&s->backlog, iov, count) && first)
        s->first_sent = done > 0 ? (size_t)done : 0;
    return first;
}

static void stream_send(struct netdev *base, const struct iovec *iov, unsigned count)
{
    struct stream_net *s = container_of(base, struct stream_net, port.base);
    size_t len = net_iov_len(iov, count);
    if (count >= MAX_PIECES || len > base->max_frame)
        return;
    uint8_t header[HEADER] = {(uint8_t)(len >> 24), (uint8_t)(len >> 16), (uint8_t)(len >> 8),
                              (uint8_t)len};
    struct iovec all[MAX_PIECES] = {{header, HEADER}};
    memcpy(all + 1, iov, count * sizeof *iov);
    pthread_mutex_lock(&s->lock);
    bool more = send_or_keep(s, all, count + 1, len + HEADER);
    pthread_mutex_unlock(&s->lock);
    net_port_count_sent(&s->port, iov, count);
    if (more)
        net_port_kick(&s->port);
}

/* ---- in -------------------------------------------------------------------------------------- */

static uint32_t frame_len(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* Give whole frames of the input to the card. False: the far side does not speak this protocol. */
static bool take_frames(struct stream_net *s)
{
    size_t at = 0;
    while (net_port_retry(&s->port) && s->input_len - at >= HEADER) {
        uint32_t n = frame_len(s->input + at);
        if (n > NET_FRAME_MAX)
            return false;
        if (s->input_len - at - HEADER < n)
            break;
        net_port_deliver(&s->port, s->input + at + HEADER, n);
        at += HEADER + n;
    }
    s->input_len -= at;
    memmove(s->input, s->input + at, s->input_len);
    return true;
}

static bool card_is_full(struct stream_net *s)
{
    size_t n;
    return frame_list_first(&s->port.waiting, &n) != NULL;
}

/* One piece of input. False: there is none now, or the connection is gone. */
static bool read_piece(struct stream_net *s)
{
    ssize_t n = recv(s->fd, s->input + s->input_len, INPUT_BYTES - s->input_len, MSG_DONTWAIT);
    if (n > 0)
        s->input_len += (size_t)n;
    else if (n == 0)
        lost(s, "the far side closed it");
    else if (errno != EAGAIN && errno != EINTR)
        lost(s, strerror(errno));
    return n > 0;
}

/* False: the connection is gone. */
static bool read_frames(struct stream_net *s)
{
    for (unsigned i = 0; i < MAX_READS; i++) {
        if (!take_frames(s)) {
            lost(s, "the far side sent a frame longer than any; is it a network socket?");
            return false;
        }
        if (card_is_full(s) || !read_piece(s))
            return s->connected;
    }
    net_port_kick(&s->port); /* the last piece waits */
    return true;
}

static void serve(struct stream_net *s)
{
    if (!s->connected)
        return;
    pthread_mutex_lock(&s->lock);
    bool good = write_backlog(s);
    int errnum = errno;
    pthread_mutex_unlock(&s->lock);
    if (!good) {
        lost(s, strerror(errnum));
        return;
    }
    bool alive = read_frames(s);
    net_port_batch_end(&s->port);
    if (!alive)
        return;
    pthread_mutex_lock(&s->lock);
    size_t n;
    bool more = frame_list_first(&s->backlog, &n) != NULL;
    pthread_mutex_unlock(&s->lock);
    loop_watch(s->port.loop, s->fd, (card_is_full(s) ? 0 : EPOLLIN) | (more ? EPOLLOUT : 0),
               on_socket, s);
}

static void on_socket(void *opaque, uint32_t events)
{
    struct stream_net *s = opaque;
    if (s->connected)
        serve(s);
    else
        finish_connect(s);
}

static void on_kick(void *backend)
{
    serve(backend);
}

static void stream_resume(struct netdev *base)
{
    net_port_kick(&container_of(base, struct stream_net, port.base)->port);
}

static void stream_free(struct netdev *base)
{
    struct stream_net *s = container_of(base, struct stream_net, port.base);
    if (s->fd >= 0) {
        loop_unwatch(s->port.loop, s->fd);
        close(s->fd);
    }
    if (s->retry_fd >= 0) {
        loop_unwatch(s->port.loop, s->retry_fd);
        close(s->retry_fd);
    }
    net_port_close(&s->port);
    frame_list_free(&s->backlog);
    pthread_mutex_destroy(&s->lock);
    free(s->input);
    free(s);
}

static const struct netdev_ops ops = {stream_send, stream_resume, stream_free};

/* ---- construction ---------------------------------------------------------------------------- */

static int set_path(struct stream_net *s, const struct net_word *w, struct err *e)
{
    struct sockaddr_un *un = (struct sockaddr_un *)&s->address;
    int r = net_word_string(w, un->sun_path, sizeof un->sun_path, e);
    if (r < 0)
        return r;
    un->sun_family = AF_UNIX;
    s->address_len = sizeof *un;
    snprintf(s->target, sizeof s->target, "%s", un->sun_path);
    return 0;
}

static int set_connect(struct stream_net *s, const struct net_word *w, struct err *e)
{
    int r = net_word_string(w, s->target, sizeof s->target, e);
    if (r < 0)
        return r;
    char host[sizeof s->target];
    snprintf(host, sizeof host, "%s", s->target);
    char *colon = strrchr(host, ':');
    if (!colon || !colon[1] || colon == host)
        return err_set(e, EINVAL, "net-spec",
                       "--net stream,connect=%s: write HOST:PORT, like 127.0.0.1:5555", s->target);
    *colon = 0;
    struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *found = NULL;
    r = getaddrinfo(host, colon + 1, &hints, &found);
    if (r)
        return err_set(e, EINVAL, "net-stream", "--net stream,connect=%s: %s", s->target,
                       gai_strerror(r));
    memcpy(&s->address, found->ai_addr, found->ai_addrlen);
    s->address_len = found->ai_addrlen;
    freeaddrinfo(found);
    return 0;
}

static int parse(struct stream_net *s, const char *words, struct err *e)
{
    struct net_word w;
    int r = 0;
    while (r == 0 && net_word_next(&words, &w)) {
        if (net_word_is(&w, "path"))
            r = set_path(s, &w, e);
        else if (net_word_is(&w, "connect"))
            r = set_connect(s, &w, e);
        else if (net_word_is(&w, "mtu"))
            r = net_word_number(&w, 576, 65520, &s->port.base.mtu, e);
        else if (!net_word_of_card(&w))
            r = net_word_unknown("stream", &w, "path=, connect=, mtu=", e);
    }
    if (r == 0 && !s->address_len)
        r = err_set(e, EINVAL, "net-spec",
                    "--net stream needs to know where to: path=SOCKET or connect=HOST:PORT");
    return r;
}

static int first_connect(struct stream_net *s, struct err *e)
{
    struct timeval patience = {PATIENCE_S, 0};
    int fd = make_socket(s);
    if (fd >= 0)
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (fd < 0 || connect(fd, (struct sockaddr *)&s->address, s->address_len) < 0) {
        int errnum = errno == EINPROGRESS ? ETIMEDOUT : errno;
        return err_set(e, errnum, "net-stream",
                       "--net stream: cannot connect to %s: %s; start the program that listens "
                       "there first, for example passt",
                       s->target, strerror(errnum));
    }
    set_connected(s, true);
    int r = loop_watch(s->port.loop, fd, EPOLLIN, on_socket, s);
    return r < 0 ? err_set(e, -r, "net-failed", "network stream: epoll: %s", strerror(-r)) : 0;
}

static int start(struct stream_net *s, const char *words, struct loop *loop, const struct log *log,
                 struct err *e)
{
    int r = parse(s, words, e);
    if (r < 0)
        return r;
    r = net_port_open(&s->port, "stream", &ops, loop, log, on_kick, e);
    if (r < 0)
        return r;
    if (s->port.base.mtu)
        s->port.base.max_frame = s->port.base.mtu + NET_FRAME_MIN;
    s->input = malloc(INPUT_BYTES);
    if (!s->input || frame_list_init(&s->backlog, BACKLOG_BYTES) < 0)
        return err_set(e, ENOMEM, "no-memory", "no memory for a network stream");
    s->retry_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (s->retry_fd < 0)
        return err_set(e, errno, "net-failed", "network stream: timerfd: %s", strerror(errno));
    r = loop_watch(loop, s->retry_fd, EPOLLIN, on_retry, s);
    if (r < 0)
        return err_set(e, -r, "net-failed", "network stream: epoll: %s", strerror(-r));
    return first_connect(s, e);
}

struct netdev *net_stream_open(const char *words, struct loop *loop, const struct log *log,
                               struct err *e)
{
    struct stream_net *s = calloc(1, sizeof *s);
    if (!s) {
        err_set(e, ENOMEM, "no-memory", "no memory for a network stream");
        return NULL;
    }
    s->fd = s->retry_fd = s->port.kick_fd = -1;
    pthread_mutex_init(&s->lock, NULL);
    if (start(s, words, loop, log, e) < 0) {
        stream_free(&s->port.base);
        return NULL;
    }
    return &s->port.base;
}
