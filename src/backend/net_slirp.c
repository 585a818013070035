/* SPDX-License-Identifier: MIT */
/* The user mode network: libslirp in this process (package libslirp0), so that a guest has DHCP,
 * DNS, TCP, UDP and ping without any privilege on the host.
 *
 *   10.0.2.2 the host (its 127.0.0.1)   10.0.2.3 name server   10.0.2.15 the guest, by DHCP
 *
 * libslirp runs on the loop thread only. send() copies a frame into `sent`, under `lock`, and wakes
 * the loop; serve() swaps that list for an empty one and feeds libslirp from it, so the processor
 * waits for a copy at most. libslirp's sockets are in an epoll set of their own, one descriptor
 * of the loop: a round asks libslirp what it wants to know (fill), polls exactly that without
 * waiting, lets it act, until nothing is ready; then the set is brought to what it last wanted,
 * and a timerfd to its next deadline.
 *
 * A card without buffers stops the reading of sockets (`blocked`): TCP then slows the peer down,
 * and little has to be kept. libslirp does not scale windows, so a connection has 64 KiB under
 * way at most. Time is the host's monotonic clock, not the guest's.
 *
 * Left out: guest-to-host command forwards, SMB, saving
 * connections in snapshots (they drop). */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <slirp/libslirp.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "net_large.h"
#include "net_port.h"
#include "net_reassemble.h"
#include "net_slirp.h"

#define SENT_BYTES   (1 * MIB)
#define MAX_SOCKETS  1024
#define MAX_ROUNDS   8 /* then the loop's other descriptors have a turn */
#define MS_PER_SEC   1000
#define NS_PER_MS    INT64_C(1000000)
#define NEVER_MS     INT64_MAX
#define NEEDS_NOTICE (POLLIN | POLLOUT | POLLPRI)

struct slirp_timer {
    SlirpTimerId id;
    void *cb_opaque;
    int64_t expires_ms; /* NEVER_MS: off */
    struct slirp_timer *next;
};

struct slirp_net {
    struct net_port port; /* first */
    Slirp *slirp;
    struct slirp_words words;
    struct log_limit guest_errors;

    pthread_mutex_t lock; /* guards `sent` */
    struct frame_list sent;

    /* The rest: loop thread only. */
    struct frame_list feeding;
    struct reassembly fragments;
    struct net_large large;
    struct slirp_timer *timers;
    int epoll_fd, timer_fd;
    bool blocked;     /* the card has no buffers */
    bool running;     /* serve() is on the stack */
    int64_t armed_ms; /* what the timerfd is set to; NEVER_MS: off */
    struct pollfd poll[MAX_SOCKETS];
    unsigned polls;
    struct pollfd watched[MAX_SOCKETS]; /* what the epoll set holds */
    unsigned watches;
};

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * (int64_t)NS_PER_SEC + t.tv_nsec;
}

/* ---- what libslirp calls --------------------------------------------------------------------- */

static ssize_t to_card(const void *frame, size_t n, void *opaque)
{
    struct slirp_net *s = opaque;
    net_large_deliver(&s->large, frame, n);
    return (ssize_t)n;
}

static void guest_error(const char *text, void *opaque)
{
    struct slirp_net *s = opaque;
    log_guest(s->port.log, &s->guest_errors, "net-guest", "user network: %s", text);
}

static int64_t slirp_now_ns(void *opaque)
{
    return now_ns();
}

static void *timer_make(SlirpTimerId id, void *cb_opaque, void *opaque)
{
    struct slirp_net *s = opaque;
    struct slirp_timer *t = calloc(1, sizeof *t);
    if (!t)
        return NULL;
    *t = (struct slirp_timer){id, cb_opaque, NEVER_MS, s->timers};
    s->timers = t;
    return t;
}

static void timer_drop(void *timer, void *opaque)
{
    struct slirp_net *s = opaque;
    struct slirp_timer **p = &s->timers;
    while (*p && *p != timer)
        p = &(*p)->next;
    if (*p) {
        *p = (*p)->next;
        free(timer);
    }
}

static void timer_move(void *timer, int64_t expires_ms, void *opaque)
{
    struct slirp_timer *t = timer;
    if (t)
        t->expires_ms = expires_ms;
}

static void socket_opened(int fd, void *opaque) {}

/* The socket is about to be closed: its number may soon be another's. */
static void socket_closing(int fd, void *opaque)
{
    struct slirp_net *s = opaque;
    for (unsigned i = 0; i < s->watches; i++)
        if (s->watched[i].fd == fd) {
            epoll_ctl(s->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
            s->watched[i] = s->watched[--s->watches];
            return;
        }
}

static void notify(void *opaque)
{
    struct slirp_net *s = opaque;
    if (!s->running)
        net_port_kick(&s->port);
}

static void init_completed(Slirp *slirp, void *opaque) {}

static const SlirpCb callbacks = {
    .send_packet = to_card,
    .guest_error = guest_error,
    .clock_get_ns = slirp_now_ns,
    .timer_new_opaque = timer_make,
    .timer_free = timer_drop,
    .timer_mod = timer_move,
    .register_poll_fd = socket_opened,
    .unregister_poll_fd = socket_closing,
    .notify = notify,
    .init_completed = init_completed,
};

/* ---- a round of libslirp --------------------------------------------------------------------- */

static const struct {
    int slirp;
    short poll;
} event_bits[] = {
    {SLIRP_POLL_IN, POLLIN},   {SLIRP_POLL_OUT, POLLOUT}, {SLIRP_POLL_PRI, POLLPRI},
    {SLIRP_POLL_ERR, POLLERR}, {SLIRP_POLL_HUP, POLLHUP},
};

static int add_poll(int fd, int events, void *opaque)
{
    struct slirp_net *s = opaque;
    short want = 0;
    if (s->polls == MAX_SOCKETS)
        return -1; /* hears nothing until others are gone */
    for (unsigned i = 0; i < ARRAY_LEN(event_bits); i++)
        if (events & event_bits[i].slirp)
            want |= event_bits[i].poll;
    s->poll[s->polls] = (struct pollfd){.fd = fd, .events = want};
    return (int)s->polls++;
}

static int get_revents(int n, void *opaque)
{
    const struct slirp_net *s = opaque;
    int seen = 0;
    for (unsigned i = 0; n >= 0 && (unsigned)n < s->polls && i < ARRAY_LEN(event_bits); i++)
        if (s->poll[n].revents & event_bits[i].poll)
            seen |= event_bits[i].slirp;
    return seen;
}

static void run_timers(struct slirp_net *s)
{
    int64_t now_ms = now_ns() / NS_PER_MS;
    for (struct slirp_timer *t = s->timers, *next; t; t = next) {
        next = t->next;
        if (t->expires_ms <= now_ms) {
            t->expires_ms = NEVER_MS;
            slirp_handle_timer(s->slirp, t->id, t->cb_opaque);
        }
    }
}

/* Returns how many milliseconds libslirp may be left alone. */
static uint32_t fill(struct slirp_net *s)
{
    uint32_t wait_ms = UINT32_MAX;
    s->polls = 0;
    slirp_pollfds_fill(s->slirp, &wait_ms, add_poll, s);
    int64_t now_ms = now_ns() / NS_PER_MS;
    for (struct slirp_timer *t = s->timers; t; t = t->next) {
        int64_t left = t->expires_ms == NEVER_MS ? UINT32_MAX : t->expires_ms - now_ms;
        if (left < wait_ms)
            wait_ms = left > 0 ? (uint32_t)left : 0;
    }
    return wait_ms;
}

static void feed(struct slirp_net *s)
{
    uint8_t *frame;
    size_t n;
    pthread_mutex_lock(&s->lock);
    struct frame_list empty = s->feeding;
    s->feeding = s->sent;
    s->sent = empty;
    pthread_mutex_unlock(&s->lock);
    while ((frame = (uint8_t *)frame_list_first(&s->feeding, &n))) {
        if (s->port.mss)
            net_large_offer(&s->large, frame, n);
        const uint8_t *whole = frame;
        if (net_is_fragment(frame, n))
            whole = net_reassemble(&s->fragments, frame, n, &n);
        if (whole)
            slirp_input(s->slirp, whole, (int)n);
        frame_list_drop(&s->feeding);
    }
}

static void on_kick(void *backend);

/* The epoll set gets what `poll` says; both lists are short. */
static void watch_sockets(struct slirp_net *s)
{
    for (unsigned i = 0; i < s->watches; i++)
        s->watched[i].revents = 0; /* here: nobody wants it any more */
    for (unsigned n = 0; n < s->polls; n++) {
        const struct pollfd *want = &s->poll[n];
        unsigned i = n < s->watches && s->watched[n].fd == want->fd ? n : 0;
        while (i < s->watches && s->watched[i].fd != want->fd)
            i++;
        if (i == s->watches && i == MAX_SOCKETS)
            continue;
        struct epoll_event ev = {.events = (uint32_t)(want->events & NEEDS_NOTICE)};
        if (i == s->watches) {
            if (epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, want->fd, &ev) < 0)
                continue;
            s->watches++;
        } else if (s->watched[i].events != want->events) {
            epoll_ctl(s->epoll_fd, EPOLL_CTL_MOD, want->fd, &ev);
        }
        s->watched[i] = (struct pollfd){want->fd, want->events, 1};
    }
    for (unsigned i = s->watches; i-- > 0;)
        if (!s->watched[i].revents) {
            epoll_ctl(s->epoll_fd, EPOLL_CTL_DEL, s->watched[i].fd, NULL);
            s->watched[i] = s->watched[--s->watches];
        }
}

/* An expiry that comes too early does no harm, so it is only ever moved forward. */
static void arm_timer(struct slirp_net *s, uint32_t wait_ms)
{
    int64_t now_ms = now_ns() / NS_PER_MS, at = now_ms + (wait_ms ? wait_ms : 1);
    if (wait_ms == UINT32_MAX || (s->armed_ms > now_ms && s->armed_ms <= at))
        return;
    wait_ms = wait_ms ? wait_ms : 1;
    struct itimerspec t = {
        .it_value = {wait_ms / MS_PER_SEC, (long)(wait_ms % MS_PER_SEC) * (long)NS_PER_MS}};
    timerfd_settime(s->timer_fd, 0, &t, NULL);
    s->armed_ms = at;
}

static void serve(struct slirp_net *s)
{
    uint32_t wait_ms = 0;
    s->running = true;
    s->blocked = !net_port_retry(&s->port);
    for (unsigned round = 0;; round++) {
        feed(s);
        wait_ms = fill(s);
        size_t n;
        s->blocked = frame_list_first(&s->port.waiting, &n) != NULL;
        if (s->blocked)
            s->polls = 0;
        int ready = s->polls ? poll(s->poll, s->polls, 0) : 0;
        if (round && ready <= 0)
            break;
        if (round == MAX_ROUNDS) {
            net_port_kick(&s->port);
            break;
        }
        run_timers(s);
        slirp_pollfds_poll(s->slirp, ready < 0, get_revents, s);
    }
    s->running = false;
    watch_sockets(s);
    arm_timer(s, wait_ms);
    net_port_batch_end(&s->port);
}

static void on_kick(void *backend)
{
    serve(backend);
}

/* A socket or the timer. */
static void on_epoll(void *opaque, uint32_t events)
{
    struct slirp_net *s = opaque;
    uint64_t count;
    if (read(s->timer_fd, &count, sizeof count) > 0)
        s->armed_ms = NEVER_MS;
    serve(s);
}

/* ---- the card's side ------------------------------------------------------------------------- */

static void slirp_net_send(struct netdev *base, const struct iovec *iov, unsigned count)
{
    struct slirp_net *s = container_of(base, struct slirp_net, port.base);
    pthread_mutex_lock(&s->lock);
    bool kept = frame_list_put(&s->sent, iov, count);
    pthread_mutex_unlock(&s->lock);
    if (kept)
        net_port_count_sent(&s->port, iov, count);
    net_port_kick(&s->port);
}

static void slirp_net_resume(struct netdev *base)
{
    net_port_kick(&container_of(base, struct slirp_net, port.base)->port);
}

static void slirp_net_free(struct netdev *base)
{
    struct slirp_net *s = container_of(base, struct slirp_net, port.base);
    s->port.base.client = (struct netdev_client){0};
    if (s->slirp)
        slirp_cleanup(s->slirp);
    while (s->timers)
        timer_drop(s->timers, s);
    if (s->epoll_fd >= 0) {
        loop_unwatch(s->port.loop, s->epoll_fd);
        close(s->epoll_fd);
    }
    if (s->timer_fd >= 0)
        close(s->timer_fd);
    net_port_close(&s->port);
    frame_list_free(&s->sent);
    frame_list_free(&s->feeding);
    net_reassembly_free(&s->fragments);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static const struct netdev_ops ops = {slirp_net_send, slirp_net_resume, slirp_net_free};

/* ---- construction ---------------------------------------------------------------------------- */

static int forward(struct slirp_net *s, const struct slirp_forward *f, struct err *e)
{
    char host[INET_ADDRSTRLEN];
    struct in_addr guest = f->guest.s_addr ? f->guest : slirp_address(&s->words, 15);
    inet_ntop(AF_INET, &f->host, host, sizeof host);
    errno = 0;
    if (slirp_add_hostfwd(s->slirp, f->udp, f->host, f->host_port, guest, f->guest_port) == 0)
        return 0;
    int errnum = errno ? errno : EINVAL;
    const char *todo = "choose another port or address";
    if (errnum == EADDRINUSE)
        todo = "another program listens there; end it or choose another port";
    else if (errnum == EACCES)
        todo = "ports below 1024 need privilege; choose a higher one";
    else if (errnum == EADDRNOTAVAIL)
        todo = "the host has no such address; leave it away to listen on 127.0.0.1";
    return err_set(e, errnum, errnum == EADDRINUSE ? "net-port-used" : "net-forward",
                   "--net user: cannot listen on %s port %u of %s for port %u of the guest: %s; %s",
                   f->udp ? "UDP" : "TCP", f->host_port, host, f->guest_port, strerror(errnum),
                   todo);
}

static const char *text_or_null(const char *text)
{
    return text[0] ? text : NULL;
}

static int start_slirp(struct slirp_net *s, struct err *e)
{
    const struct slirp_words *w = &s->words;
    SlirpConfig c = {
        .version = 4,
        .restricted = w->restricted,
        .in_enabled = true,
        .vnetwork = w->net,
        .vnetmask = w->mask,
        .vhost = slirp_address(w, 2),
        .vnameserver = slirp_address(w, 3),
        .vdhcp_start = slirp_address(w, 15),
        .in6_enabled = w->ipv6,
        .vprefix_len = 64,
        .vhostname = text_or_null(w->hostname),
        .vdomainname = text_or_null(w->domain),
        .tftp_path = text_or_null(w->tftp),
        .bootfile = text_or_null(w->bootfile),
        .if_mtu = s->port.mss ? LARGE_MTU : w->mtu,
        .if_mru = s->port.mss ? LARGE_MTU : w->mtu,
        .disable_host_loopback = w->no_loopback,
    };
    inet_pton(AF_INET6, "fec0::", &c.vprefix_addr6);
    inet_pton(AF_INET6, "fec0::2", &c.vhost6);
    inet_pton(AF_INET6, "fec0::3", &c.vnameserver6);
    s->slirp = slirp_new(&c, &callbacks, s);
    if (!s->slirp)
        return err_set(e, EINVAL, "net-failed", "--net user: libslirp %s refuses these settings",
                       slirp_version_string());
    int r = 0;
    for (unsigned i = 0; i < w->forwards && r == 0; i++)
        r = forward(s, &w->forward[i], e);
    return r;
}

static int start(struct slirp_net *s, struct loop *loop, const struct log *log, struct err *e)
{
    int r = net_port_open(&s->port, "user", &ops, loop, log, on_kick, e);
    if (r < 0)
        return r;
    s->port.base.max_frame = NET_FRAME_MAX; /* takes a TCP segment of any size */
    s->port.base.mtu = s->words.mtu;
    net_large_init(&s->large, &s->port);
    if (s->words.mtu || s->words.ipv6) /* the guest's wire may be wider, or carry what is not cut */
        s->port.mss = 0;
    if (frame_list_init(&s->sent, SENT_BYTES) < 0 || frame_list_init(&s->feeding, SENT_BYTES) < 0)
        return err_set(e, ENOMEM, "no-memory", "no memory for the user network");
    s->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    s->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    struct epoll_event ev = {.events = EPOLLIN};
    if (s->epoll_fd < 0 || s->timer_fd < 0 ||
        epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, s->timer_fd, &ev) < 0)
        return err_set(e, errno, "net-failed", "user network: epoll or timerfd: %s",
                       strerror(errno));
    r = start_slirp(s, e);
    if (r < 0)
        return r;
    r = loop_watch(loop, s->epoll_fd, EPOLLIN, on_epoll, s);
    if (r < 0)
        return err_set(e, -r, "net-failed", "user network: epoll: %s", strerror(-r));
    net_port_kick(&s->port); /* forwards listen from the start */
    return 0;
}

struct netdev *net_slirp_open(const char *words, struct loop *loop, const struct log *log,
                              struct err *e)
{
    struct slirp_net *s = calloc(1, sizeof *s);
    if (!s) {
        err_set(e, ENOMEM, "no-memory", "no memory for the user network");
        return NULL;
    }
    s->epoll_fd = s->timer_fd = s->port.kick_fd = -1;
    s->armed_ms = NEVER_MS;
    pthread_mutex_init(&s->lock, NULL);
    if (slirp_words_parse(words, &s->words, e) < 0 || start(s, loop, log, e) < 0) {
        slirp_net_free(&s->port.base);
        return NULL;
    }
    return &s->port.base;
}
