/* SPDX-License-Identifier: MIT */
/* A fake card on a network backend, with the event loop in a thread of its own, and a little
 * Ethernet, ARP, IPv4, UDP and TCP to speak with. Waits are bounded only against hanging. */
#ifndef RING3_TESTS_NET_RIG_H
#define RING3_TESTS_NET_RIG_H

#include "unit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "ring3/log.h"
#include "ring3/loop.h"
#include "ring3/net.h"

#define RIG_PATIENCE_S 30
#define RIG_FRAMES     256

struct rig_frame {
    size_t n;
    uint8_t *bytes;
};

struct net_rig {
    struct loop *loop;
    struct netdev *net;
    struct log log;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t came;
    struct rig_frame got[RIG_FRAMES]; /* a ring */
    unsigned put, taken;
    bool refuse;
    unsigned refused, batches;
};

static const uint8_t guest_mac[6] = {0x52, 0x54, 0, 0x12, 0x34, 0x56};

static inline bool net_rig_receive(void *opaque, const uint8_t *frame, size_t n)
{
    struct net_rig *r = opaque;
    pthread_mutex_lock(&r->lock);
    bool take = !r->refuse;
    if (take && r->put - r->taken < RIG_FRAMES) {
        struct rig_frame *f = &r->got[r->put++ % RIG_FRAMES];
        f->n = n;
        f->bytes = malloc(n);
        memcpy(f->bytes, frame, n);
    }
    r->refused += !take;
    pthread_cond_signal(&r->came);
    pthread_mutex_unlock(&r->lock);
    return take;
}

static inline void net_rig_batch_end(void *opaque)
{
    struct net_rig *r = opaque;
    pthread_mutex_lock(&r->lock);
    r->batches++;
    pthread_mutex_unlock(&r->lock);
}

static inline void *net_rig_loop(void *opaque)
{
    struct net_rig *r = opaque;
    loop_run(r->loop, NULL);
    return NULL;
}

static inline struct net_rig *net_rig_new(const char *spec)
{
    struct net_rig *r = calloc(1, sizeof *r);
    struct err e = {0};
    r->log = (struct log){LOG_ERROR, 2};
    r->loop = loop_new(NULL, NULL);
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->came, NULL);
    r->net = netdev_open(spec, r->loop, &r->log, &e);
    if (!r->net)
        fail_msg("%s: [%s] %s", spec, e.id, e.text);
    r->net->client = (struct netdev_client){net_rig_receive, r, net_rig_batch_end};
    assert_int_equal(pthread_create(&r->thread, NULL, net_rig_loop, r), 0);
    return r;
}

static inline void net_rig_free(struct net_rig *r)
{
    loop_quit(r->loop);
    pthread_join(r->thread, NULL);
    netdev_free(r->net);
    loop_free(r->loop);
    while (r->taken != r->put)
        free(r->got[r->taken++ % RIG_FRAMES].bytes);
    pthread_mutex_destroy(&r->lock);
    pthread_cond_destroy(&r->came);
    free(r);
}

static inline void net_rig_refuse(struct net_rig *r, bool on)
{
    pthread_mutex_lock(&r->lock);
    r->refuse = on;
    pthread_mutex_unlock(&r->lock);
    if (!on)
        netdev_resume(r->net);
}

static inline void net_rig_send(struct net_rig *r, const void *frame, size_t n)
{
    struct iovec iov = {(void *)frame, n};
    netdev_send(r->net, &iov, 1);
}

/* The next frame for the card: at most `size` bytes of it go to buf. Returns its length. */
static inline size_t net_rig_next(struct net_rig *r, uint8_t *buf, size_t size)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += RIG_PATIENCE_S;
    pthread_mutex_lock(&r->lock);
    while (r->taken == r->put)
        if (pthread_cond_timedwait(&r->came, &r->lock, &until)) {
            pthread_mutex_unlock(&r->lock);
            fail_msg("no frame came");
        }
    struct rig_frame f = r->got[r->taken++ % RIG_FRAMES];
    pthread_mutex_unlock(&r->lock);
    memcpy(buf, f.bytes, f.n < size ? f.n : size);
    free(f.bytes);
    return f.n;
}

/* ---- protocols ------------------------------------------------------------------------------- */

#define FRAME_ROOM 2048
#define IP_AT      14
#define L4_AT      34 /* behind an IPv4 header without options */
#define TCP_DATA   54
#define UDP_DATA   42
enum { TCP_FIN = 1, TCP_SYN = 2, TCP_RST = 4, TCP_PSH = 8, TCP_ACK = 16 };
#define IP4(a, b, c, d) ((uint32_t)(a) << 24 | (uint32_t)(b) << 16 | (uint32_t)(c) << 8 | (d))
#define GUEST_IP        IP4(10, 0, 2, 15)
#define HOST_IP         IP4(10, 0, 2, 2)

static inline void put16(uint8_t *p, unsigned x)
{
    p[0] = (uint8_t)(x >> 8);
    p[1] = (uint8_t)x;
}
static inline void put32(uint8_t *p, uint32_t x)
{
    put16(p, x >> 16);
    put16(p + 2, x & 0xffff);
}
static inline unsigned get16(const uint8_t *p)
{
    return (unsigned)(p[0] << 8 | p[1]);
}
static inline uint32_t get32(const uint8_t *p)
{
    return (uint32_t)get16(p) << 16 | get16(p + 2);
}

static inline uint32_t sum16(const uint8_t *p, size_t n, uint32_t sum)
{
    for (size_t i = 0; i < n; i++)
        sum += i & 1 ? p[i] : (uint32_t)p[i] << 8;
    return sum;
}
static inline unsigned fold16(uint32_t sum)
{
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return ~sum & 0xffff;
}

static inline void ethernet(uint8_t *f, unsigned type)
{
    memset(f, 0xff, 6);
    memcpy(f + 6, guest_mac, 6);
    put16(f + 12, type);
}

/* Fill in the headers around n bytes that are at L4_AT, checksums included; returns the length. */
static inline size_t ip_frame(uint8_t *f, unsigned protocol, uint32_t from, uint32_t to, size_t n)
{
    ethernet(f, 0x0800);
    uint8_t *ip = f + IP_AT, *l4 = f + L4_AT;
    memset(ip, 0, 20);
    ip[0] = 0x45;
    put16(ip + 2, (unsigned)(20 + n));
    ip[8] = 64;
    ip[9] = (uint8_t)protocol;
    put32(ip + 12, from);
    put32(ip + 16, to);
    put16(ip + 10, fold16(sum16(ip, 20, 0)));
    unsigned at = protocol == 6 ? 16 : 6;
    put16(l4 + at, 0);
    uint32_t pseudo = sum16(ip + 12, 8, protocol + (uint32_t)n);
    put16(l4 + at, fold16(sum16(l4, n, pseudo)));
    return L4_AT + n;
}

static inline size_t udp_frame(uint8_t *f, uint32_t from, unsigned from_port, uint32_t to,
                               unsigned to_port, const void *data, size_t n)
{
    uint8_t *u = f + L4_AT;
    put16(u, from_port);
    put16(u + 2, to_port);
    put16(u + 4, (unsigned)(8 + n));
    memcpy(f + UDP_DATA, data, n);
    return ip_frame(f, 17, from, to, 8 + n);
}

struct tcp_end {
    uint32_t peer;
    unsigned port, peer_port;
    uint32_t seq, ack;
};

static inline void tcp_send(struct net_rig *r, struct tcp_end *t, unsigned flags, const void *data,
                            size_t n)
{
    uint8_t f[FRAME_ROOM], *h = f + L4_AT;
    memset(h, 0, 20);
    put16(h, t->port);
    put16(h + 2, t->peer_port);
    put32(h + 4, t->seq);
    put32(h + 8, t->ack);
    h[12] = 5 << 4;
    h[13] = (uint8_t)flags;
    put16(h + 14, 0xffff);
    if (n)
        memcpy(f + TCP_DATA, data, n);
    net_rig_send(r, f, ip_frame(f, 6, GUEST_IP, t->peer, 20 + n));
    t->seq += (uint32_t)n + !!(flags & (TCP_SYN | TCP_FIN));
}

static inline bool is_ip(const uint8_t *f, size_t n, unsigned protocol)
{
    return n >= L4_AT + 8 && get16(f + 12) == 0x0800 && f[IP_AT + 9] == protocol;
}

/* Answer an ARP request for the guest, so that the other side can talk to it. */
static inline bool arp_answer(struct net_rig *r, const uint8_t *f, size_t n)
{
    if (n < 42 || get16(f + 12) != 0x0806 || f[21] != 1 || get32(f + 38) != GUEST_IP)
        return false;
    uint8_t a[42];
    memcpy(a, f, 42);
    memcpy(a, f + 6, 6);
    memcpy(a + 6, guest_mac, 6);
    a[21] = 2;
    memcpy(a + 22, guest_mac, 6);
    memcpy(a + 28, f + 38, 4);
    memcpy(a + 32, f + 22, 10);
    net_rig_send(r, a, 42);
    return true;
}

static inline void arp_ask(struct net_rig *r, uint32_t who)
{
    uint8_t f[42] = {0};
    static const uint8_t head[8] = {0, 1, 8, 0, 6, 4, 0, 1};
    ethernet(f, 0x0806);
    memcpy(f + 14, head, 8);
    memcpy(f + 22, guest_mac, 6);
    put32(f + 28, GUEST_IP);
    put32(f + 38, who);
    net_rig_send(r, f, sizeof f);
}

/* The next frame of this protocol to `port`; ARP requests on the way are answered. */
static inline size_t next_ip(struct net_rig *r, uint8_t *f, unsigned protocol, unsigned port)
{
    for (;;) {
        size_t n = net_rig_next(r, f, FRAME_ROOM);
        if (!arp_answer(r, f, n) && is_ip(f, n, protocol) && get16(f + L4_AT + 2) == port)
            return n;
    }
}

/* The next segment for this end; its flags. Data length in *len, data at f + TCP_DATA when the
 * header has no options, else moved there. */
static inline unsigned tcp_next(struct net_rig *r, struct tcp_end *t, uint8_t *f, size_t *len)
{
    next_ip(r, f, 6, t->port);
    const uint8_t *h = f + L4_AT;
    size_t head = (size_t)(h[12] >> 4) * 4, all = get16(f + IP_AT + 2);
    unsigned flags = h[13];
    *len = all - 20 - head;
    t->peer = get32(f + IP_AT + 12);
    t->peer_port = get16(h);
    if (get32(h + 4) == t->ack || (flags & TCP_SYN))
        t->ack = get32(h + 4) + (uint32_t)*len + !!(flags & (TCP_SYN | TCP_FIN));
    memmove(f + TCP_DATA, h + head, *len);
    return flags;
}

/* A listening socket of this kind on 127.0.0.1; its port in *port. */
static inline int local_socket(int kind, unsigned *port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof a;
    int fd = socket(AF_INET, kind, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    if (kind == SOCK_STREAM)
        assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    *port = ntohs(a.sin_port);
    return fd;
}

static inline int local_connect(int kind, unsigned port)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_addr = {htonl(INADDR_LOOPBACK)},
                            .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, kind, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

#endif
