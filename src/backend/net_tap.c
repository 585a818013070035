/* SPDX-License-Identifier: MIT */
/* A tap interface of the host, by name: --net tap,name=tap0 (Linux Documentation/networking/
 * tuntap). The interface belongs to the user (ip tuntap add ... user NAME), or ring3 has
 * CAP_NET_ADMIN. Frames have no header in front (IFF_NO_PI).
 *
 * send() writes at once, on the card's thread; what the interface does not take is dropped. Left
 * out: making and addressing the interface, several queues, offloads (IFF_VNET_HDR). */
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <linux/if_tun.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "net_port.h"

#define TUN_DEVICE "/dev/net/tun"
#define MAX_READS  32 /* then the loop's other descriptors have a turn */

struct tap_net {
    struct net_port port; /* first */
    int fd;
    char name[IFNAMSIZ];
    bool gone;                    /* the interface was removed; loop thread only */
    uint8_t frame[NET_FRAME_MAX]; /* loop thread only */
};

static void tap_send(struct netdev *base, const struct iovec *iov, unsigned count)
{
    struct tap_net *s = container_of(base, struct tap_net, port.base);
    if (net_iov_len(iov, count) > base->max_frame)
        return;
    ssize_t ignored = writev(s->fd, iov, (int)count);
    (void)ignored;
    net_port_count_sent(&s->port, iov, count);
}

static void on_tap(void *opaque, uint32_t events);

static void serve(struct tap_net *s)
{
    bool room = net_port_retry(&s->port);
    for (unsigned i = 0; i < MAX_READS && room && !s->gone; i++) {
        ssize_t n = read(s->fd, s->frame, sizeof s->frame);
        if (n > 0)
            net_port_deliver(&s->port, s->frame, (size_t)n);
        else if (n < 0 && errno != EINTR && errno != EAGAIN)
            s->gone = true;
        if (n <= 0)
            break;
        room = net_port_retry(&s->port);
    }
    net_port_batch_end(&s->port);
    if (s->gone)
        log_line(s->port.log, LOG_WARN, "net-tap-gone",
                 "tap interface %s is gone; the guest's cable is out", s->name);
    loop_watch(s->port.loop, s->fd, room && !s->gone ? EPOLLIN : 0, on_tap, s);
}

static void on_tap(void *opaque, uint32_t events)
{
    serve(opaque);
}

static void on_kick(void *backend)
{
    serve(backend);
}

static void tap_resume(struct netdev *base)
{
    net_port_kick(&container_of(base, struct tap_net, port.base)->port);
}

static void tap_free(struct netdev *base)
{
    struct tap_net *s = container_of(base, struct tap_net, port.base);
    if (s->fd >= 0) {
        loop_unwatch(s->port.loop, s->fd);
        close(s->fd);
    }
    net_port_close(&s->port);
    free(s);
}

static const struct netdev_ops ops = {tap_send, tap_resume, tap_free};

static int parse(struct tap_net *s, const char *words, struct err *e)
{
    struct net_word w;
    int r = 0;
    while (r == 0 && net_word_next(&words, &w)) {
        if (net_word_is(&w, "name"))
            r = net_word_string(&w, s->name, sizeof s->name, e);
        else if (net_word_is(&w, "mtu"))
            r = net_word_number(&w, 576, 65520, &s->port.base.mtu, e);
        else if (!net_word_of_card(&w))
            r = net_word_unknown("tap", &w, "name=, mtu=", e);
    }
    if (r == 0 && !s->name[0])
        r = err_set(e, EINVAL, "net-spec",
                    "--net tap needs the name of the interface: --net tap,name=tap0");
    if (r == 0 && strpbrk(s->name, "/% :"))
        r = err_set(e, EINVAL, "net-spec", "--net tap,name=%s: no interface is called so", s->name);
    return r;
}

static int cannot(const struct tap_net *s, int errnum, struct err *e)
{
    if (errnum == EPERM || errnum == EACCES)
        return err_set(e, errnum, "net-tap",
                       "--net tap,name=%s: not permitted; have root run: ip tuntap add dev %s mode "
                       "tap user $USER && ip link set %s up",
                       s->name, s->name, s->name);
    if (errnum == EBUSY)
        return err_set(e, errnum, "net-tap", "--net tap,name=%s: another program has it", s->name);
    if (errnum == EINVAL)
        return err_set(e, errnum, "net-tap", "--net tap,name=%s: not a tap interface", s->name);
    return err_set(e, errnum == ENOENT ? EOPNOTSUPP : errnum, "net-tap",
                   "--net tap,name=%s: %s: %s; the host's kernel needs the module tun, and a "
                   "container the device",
                   s->name, TUN_DEVICE, strerror(errnum));
}

static int attach(struct tap_net *s, struct err *e)
{
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI};
    memcpy(request.ifr_name, s->name, sizeof request.ifr_name);
    s->fd = open(TUN_DEVICE, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (s->fd < 0 || ioctl(s->fd, TUNSETIFF, &request) < 0)
        return cannot(s, errno, e);
    int r = loop_watch(s->port.loop, s->fd, EPOLLIN, on_tap, s);
    return r < 0 ? err_set(e, -r, "net-failed", "network tap: epoll: %s", strerror(-r)) : 0;
}

static int start(struct tap_net *s, const char *words, struct loop *loop, const struct log *log,
                 struct err *e)
{
    int r = parse(s, words, e);
    if (r == 0)
        r = net_port_open(&s->port, "tap", &ops, loop, log, on_kick, e);
    if (r == 0 && s->port.base.mtu)
        s->port.base.max_frame = s->port.base.mtu + NET_FRAME_MIN;
    return r < 0 ? r : attach(s, e);
}

struct netdev *net_tap_open(const char *words, struct loop *loop, const struct log *log,
                            struct err *e)
{
    struct tap_net *s = calloc(1, sizeof *s);
    if (!s) {
        err_set(e, ENOMEM, "no-memory", "no memory for a tap network");
        return NULL;
    }
    s->fd = s->port.kick_fd = -1;
    if (start(s, words, loop, log, e) < 0) {
        tap_free(&s->port.base);
        return NULL;
    }
    return &s->port.base;
}
