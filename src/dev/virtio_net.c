/* SPDX-License-Identifier: MIT */
/* virtio network card (virtio 1.2, 5.1): one pair of queues and a control queue.
 *
 *   header   u8 flags, u8 gso_type, le16 header_length, gso_size, checksum_start, checksum_offset,
 *            buffers (the last one not for legacy drivers without MRG_RXBUF)
 *
 * Frames that need nothing go from guest memory to the backend without a copy. Checksums that the
 * driver left to the card, and TCP segments larger than a frame, are done on a copy, in the host's
 * own code, which is many times faster than what the guest's translated code would do. Received
 * frames are checked for the driver, with the same gain.
 *
 * Frames are received while there are buffers; then the backend keeps them, and is told when the
 * driver notifies of new ones. Interrupts come at the end of a batch.
 *
 * Left out: filters (drivers get every frame the backend has, which is theirs anyway), VLAN
 * filters, several queues, receive segmentation over IPv6, RSS, announcements. */
#include "ring3/devices/virtio_net.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ring3/net_offload.h"

#define F_CSUM          (UINT64_C(1) << 0)
#define F_GUEST_CSUM    (UINT64_C(1) << 1)
#define F_MTU           (UINT64_C(1) << 3)
#define F_MAC           (UINT64_C(1) << 5)
#define F_GUEST_TSO4    (UINT64_C(1) << 7)
#define F_HOST_TSO4     (UINT64_C(1) << 11)
#define F_HOST_TSO6     (UINT64_C(1) << 12)
#define F_HOST_ECN      (UINT64_C(1) << 13)
#define F_MRG_RXBUF     (UINT64_C(1) << 15)
#define F_STATUS        (UINT64_C(1) << 16)
#define F_CTRL_VQ       (UINT64_C(1) << 17)
#define F_CTRL_RX       (UINT64_C(1) << 18)
#define F_CTRL_MAC_ADDR (UINT64_C(1) << 23)

enum { CFG_MAC = 0, CFG_STATUS = 6, CFG_MTU = 10, CFG_BYTES = 12 };
enum { Q_RECEIVE = 0, Q_SEND = 1, Q_CONTROL = 2, QUEUES = 3 };
#define STATUS_LINK_UP 1

/* Header. */
enum {
    H_FLAGS = 0,
    H_GSO_TYPE = 1,
    H_HEADERS = 2,
    H_GSO_SIZE = 4,
    H_CSUM_START = 6,
    H_CSUM_OFFSET = 8,
    H_BUFFERS = 10,
    H_BYTES = 12,
    H_BYTES_LEGACY = 10,
};
enum { NEEDS_CSUM = 1, DATA_VALID = 2 };
enum { GSO_NONE = 0, GSO_TCPV4 = 1, GSO_TCPV6 = 4, GSO_ECN = 0x80 };
#define TCP_OFFSET   12 /* of the byte with the header's length */
#define TCP_CHECKSUM 16

/* Control commands: class, command. */
enum { CTRL_RX = 0, CTRL_MAC = 1, MAC_SET_TABLE = 0, MAC_SET_ADDRESS = 1, RX_COMMANDS = 6 };
enum { CTRL_OK = 0, CTRL_ERROR = 1 };

struct virtio_net {
    struct virtio v; /* first */
    struct netdev *net;
    struct virtq_chain c, first;
    uint8_t mac[6];   /* as built */
    uint8_t starved;  /* a frame waits in the backend for buffers; state */
    uint8_t pushed;   /* received frames are not published yet */
    uint64_t dropped; /* frames sent that made no sense, or received that do not fit */
    uint8_t frame[NET_FRAME_MAX];
};

static struct virtio_net *net_of(struct virtio *v)
{
    return container_of(v, struct virtio_net, v);
}

static unsigned header_bytes(const struct virtio_net *s)
{
    return virtio_has(&s->v, VIRTIO_F_VERSION_1 | F_MRG_RXBUF) ? H_BYTES : H_BYTES_LEGACY;
}

/* ---- sending, lock held ---------------------------------------------------------------------- */

/* The frame without a copy: the pieces behind the header. */
static void send_pieces(struct virtio_net *s, unsigned header)
{
    struct iovec *iov = s->c.iov;
    unsigned n = s->c.out;

    while (n && header >= iov->iov_len) {
        header -= (unsigned)iov->iov_len;
        iov++, n--;
    }
    if (header) {
        iov->iov_base = (uint8_t *)iov->iov_base + header;
        iov->iov_len -= header;
    }
    netdev_send(s->net, iov, n);
}

/* A TCP segment to be cut, n bytes in s->frame. */
static bool send_segment(struct virtio_net *s, const uint8_t *h, size_t n)
{
    size_t tcp = virtio_get(h + H_CSUM_START, 2);
    unsigned type = h[H_GSO_TYPE] & ~GSO_ECN;

    if ((type != GSO_TCPV4 && type != GSO_TCPV6) || tcp + TCP_OFFSET >= n)
        return false;
    struct net_tso t = {.ip_at = NET_FRAME_MIN,
                        .tcp_at = tcp,
                        .headers = tcp + (s->frame[tcp + TCP_OFFSET] >> 4) * 4u,
                        .mss = virtio_get(h + H_GSO_SIZE, 2),
                        .ipv6 = type == GSO_TCPV6};
    if (s->frame[12] == 0x81 && s->frame[13] == 0) /* a VLAN tag */
        t.ip_at += 4;
    return netdev_send_tso(s->net, s->frame, n, &t);
}

static bool send_copy(struct virtio_net *s, const uint8_t *h, unsigned header, size_t n)
{
    virtq_read(&s->c, header, s->frame, n);
    if (h[H_GSO_TYPE] != GSO_NONE)
        return send_segment(s, h, n);
    size_t start = virtio_get(h + H_CSUM_START, 2);
    if (!net_checksum(s->frame, n, start, n, start + virtio_get(h + H_CSUM_OFFSET, 2)))
        return false;
    struct iovec iov = {s->frame, n};
    netdev_send(s->net, &iov, 1);
    return true;
}

/* The chain in s->c; false if it is no frame. */
static bool send_chain(struct virtio_net *s)
{
    uint8_t h[H_BYTES] = {0};
    unsigned header = header_bytes(s);

    if (s->c.out_bytes < header + NET_FRAME_MIN || s->c.out_bytes - header > NET_FRAME_MAX)
        return false;
    if (!s->net)
        return true;
    size_t n = s->c.out_bytes - header;
    virtq_read(&s->c, 0, h, header);
    bool whole = h[H_GSO_TYPE] == GSO_NONE;
    if (whole && n > s->net->max_frame)
        return false;
    if (!whole || (h[H_FLAGS] & NEEDS_CSUM))
        return send_copy(s, h, header, n);
    send_pieces(s, header);
    return true;
}

static void send_all(struct virtio_net *s)
{
    struct virtq *q = &s->v.q[Q_SEND];

    while (virtio_pop(&s->v, q, &s->c)) {
        if (!send_chain(s))
            s->dropped++;
        virtq_push(q, &s->c, 0);
    }
    virtio_publish(&s->v, q);
}

/* ---- receiving ------------------------------------------------------------------------------- */

enum { TAKEN, NO_BUFFERS, TOO_LONG };

static void publish_received(struct virtio_net *s)
{
    s->pushed = 0;
    virtio_publish(&s->v, &s->v.q[Q_RECEIVE]);
}

/* More chains for the rest of a frame, of which `done` bytes are in the first one. */
static int take_more(struct virtio_net *s, const uint8_t *frame, size_t n, size_t done)
{
    struct virtq *q = &s->v.q[Q_RECEIVE];
    unsigned header = header_bytes(s), chains = 1;
    uint8_t buffers[2];

    virtq_push(q, &s->first, header + done);
    for (; done < n && chains < VIRTQ_MAX; chains++) {
        if (!virtio_pop(&s->v, q, &s->c)) {
            virtq_undo(q, chains);
            return NO_BUFFERS;
        }
        size_t part = virtq_write(&s->c, 0, frame + done, n - done);
        virtq_push(q, &s->c, part);
        done += part;
    }
    if (done < n) {
        virtio_broken(&s->v, "a queue full of receive buffers has no room");
        return TOO_LONG;
    }
    virtio_put(buffers, chains, 2);
    virtq_write(&s->first, H_BUFFERS, buffers, 2);
    virtq_report(q, &s->first, header);
    return TAKEN;
}

/* A frame with its header; lock held. */
static int receive(struct virtio_net *s, const uint8_t h[H_BYTES], const uint8_t *frame, size_t n)
{
    struct virtq *q = &s->v.q[Q_RECEIVE];
    unsigned header = header_bytes(s);

    if (!virtio_pop(&s->v, q, &s->first))
        return virtio_running(&s->v) ? NO_BUFFERS : TOO_LONG;
    bool merges = virtio_has(&s->v, F_MRG_RXBUF);
    if (s->first.in_bytes < header || (!merges && s->first.in_bytes < header + n)) {
        virtq_push(q, &s->first, 0);
        return TOO_LONG;
    }
    virtq_write(&s->first, 0, h, header);
    size_t done = virtq_write(&s->first, header, frame, n);
    if (done < n)
        return take_more(s, frame, n, done);
    virtq_push(q, &s->first, header + n);
    return TAKEN;
}

/* lock held. False: the backend keeps the frame. */
static bool take(struct virtio_net *s, const uint8_t h[H_BYTES], const uint8_t *frame, size_t n)
{
    int r = TOO_LONG;

    if (virtio_running(&s->v) && n <= NET_FRAME_MAX) {
        r = receive(s, h, frame, n);
        s->pushed |= r == TAKEN;
    }
    if (r == TOO_LONG)
        s->dropped++;
    s->starved = r == NO_BUFFERS;
    if (s->starved)
        publish_received(s);
    return r != NO_BUFFERS;
}

static bool client_receive(void *opaque, const uint8_t *frame, size_t n)
{
    struct virtio_net *s = opaque;
    uint8_t h[H_BYTES] = {[H_BUFFERS] = 1};

    pthread_mutex_lock(&s->v.lock);
    if (virtio_has(&s->v, F_GUEST_CSUM) &&
        (net_checksum_verify(frame, n) & (NET_L4_CHECKED | NET_L4_BAD)) == NET_L4_CHECKED)
        h[H_FLAGS] = DATA_VALID;
    bool taken = take(s, h, frame, n);
    pthread_mutex_unlock(&s->v.lock);
    return taken;
}

static bool client_takes_large(void *opaque)
{
    struct virtio_net *s = opaque;

    pthread_mutex_lock(&s->v.lock);
    bool takes =
        virtio_running(&s->v) && virtio_has(&s->v, F_GUEST_CSUM) && virtio_has(&s->v, F_GUEST_TSO4);
    pthread_mutex_unlock(&s->v.lock);
    return takes;
}

/* The driver gets the segment whole, with the sum of the pseudo header in its checksum field. */
static bool client_receive_large(void *opaque, const uint8_t *frame, size_t n, size_t mss)
{
    struct virtio_net *s = opaque;
    uint8_t h[H_BYTES] = {[H_FLAGS] = NEEDS_CSUM, [H_GSO_TYPE] = GSO_TCPV4, [H_BUFFERS] = 1};
    const uint8_t *ip = frame + NET_FRAME_MIN;
    size_t tcp = NET_FRAME_MIN + (ip[0] & 15u) * 4;

    if (n > NET_FRAME_MAX || tcp + 20 > n)
        return true;
    virtio_put(h + H_HEADERS, tcp + (frame[tcp + TCP_OFFSET] >> 4) * 4u, 2);
    virtio_put(h + H_GSO_SIZE, mss, 2);
    virtio_put(h + H_CSUM_START, tcp, 2);
    virtio_put(h + H_CSUM_OFFSET, TCP_CHECKSUM, 2);
    uint16_t sum = (uint16_t)~net_sum_finish(net_sum(ip + 12, 8, ip[9] + (uint32_t)(n - tcp)));
    pthread_mutex_lock(&s->v.lock);
    memcpy(s->frame, frame, n);
    s->frame[tcp + TCP_CHECKSUM] = (uint8_t)(sum >> 8);
    s->frame[tcp + TCP_CHECKSUM + 1] = (uint8_t)sum;
    bool taken = take(s, h, s->frame, n);
    pthread_mutex_unlock(&s->v.lock);
    return taken;
}

static void client_batch_end(void *opaque)
{
    struct virtio_net *s = opaque;

    pthread_mutex_lock(&s->v.lock);
    if (s->pushed)
        publish_received(s);
    pthread_mutex_unlock(&s->v.lock);
}

/* ---- the control queue, lock held ------------------------------------------------------------ */

static uint8_t control(struct virtio_net *s)
{
    uint8_t head[2], mac[6];

    if (virtq_read(&s->c, 0, head, 2) < 2)
        return CTRL_ERROR;
    if (head[0] == CTRL_RX)
        return head[1] < RX_COMMANDS ? CTRL_OK : CTRL_ERROR;
    if (head[0] != CTRL_MAC)
        return CTRL_ERROR;
    if (head[1] == MAC_SET_TABLE)
        return CTRL_OK;
    if (head[1] != MAC_SET_ADDRESS || virtq_read(&s->c, 2, mac, 6) < 6)
        return CTRL_ERROR;
    memcpy(s->v.config + CFG_MAC, mac, 6);
    return CTRL_OK;
}

static void take_controls(struct virtio_net *s)
{
    struct virtq *q = &s->v.q[Q_CONTROL];

    while (virtio_pop(&s->v, q, &s->c)) {
        uint8_t ack = control(s);
        virtq_push(q, &s->c, virtq_write(&s->c, 0, &ack, 1));
    }
    virtio_publish(&s->v, q);
}

/* ---- life ------------------------------------------------------------------------------------ */

static void kick(struct virtio *v, unsigned n)
{
    struct virtio_net *s = net_of(v);

    if (n == Q_SEND)
        send_all(s);
    else if (n == Q_CONTROL)
        take_controls(s);
    else if (s->starved)
        v->resume = true;
}

/* Legacy drivers set the address here. */
static void config_written(struct virtio *v, unsigned at, unsigned n, uint32_t value)
{
    if (!virtio_has(v, VIRTIO_F_VERSION_1) && at + n <= CFG_MAC + 6)
        virtio_put(v->config + at, value, n);
}

static void reset(struct virtio *v)
{
    struct virtio_net *s = net_of(v);

    s->starved = s->pushed = 0;
    memcpy(v->config + CFG_MAC, s->mac, 6);
}

static void resume(struct virtio *v)
{
    netdev_resume(net_of(v)->net);
}

static void restored(struct device *d)
{
    struct virtio_net *s = container_of(d, struct virtio_net, v.dev);

    virtio_device_restored(d);
    netdev_resume(s->net);
}

static void figures(struct device *d, const struct figure_sink *to)
{
    struct virtio_net *s = container_of(d, struct virtio_net, v.dev);
    struct netdev_stats none = {0}, *n = s->net ? &s->net->stats : &none;
    double frames = (double)n->tx_frames + (double)n->rx_frames;
    double exits = (double)s->v.stats.kicks + (double)s->v.stats.isr_reads;

    virtio_device_figures(d, to);
    to->add(to->opaque, "sent", (double)n->tx_frames, 0, "frames");
    to->add(to->opaque, "received", (double)n->rx_frames, 0, "frames");
    to->add(to->opaque, "dropped", (double)s->dropped + (double)n->rx_dropped, 0, "frames");
    to->add(to->opaque, "exits_per_frame", frames > 0 ? exits / frames : 0, 2, "");
}

static void release(struct device *d)
{
    struct virtio_net *s = container_of(d, struct virtio_net, v.dev);

    if (s->net)
        s->net->client = (struct netdev_client){0};
    virtio_destroy(&s->v);
    free(s);
}

static const struct state_field state[] = {
    VIRTIO_STATE(struct virtio_net, v),          VIRTQ_STATE(struct virtio_net, v.q[Q_RECEIVE]),
    VIRTQ_STATE(struct virtio_net, v.q[Q_SEND]), VIRTQ_STATE(struct virtio_net, v.q[Q_CONTROL]),
    STATE(struct virtio_net, starved),
};
static const struct device_ops dev_ops = {
    .name = "virtio-net",
    .reset = virtio_device_reset,
    .free = release,
    .restored = restored,
    .state = state,
    .state_count = ARRAY_LEN(state),
    .figures = figures,
};
static const struct virtio_ops ops = {
    .id = VIRTIO_NET,
    .queues = QUEUES,
    .kick = kick,
    .config_written = config_written,
    .reset = reset,
    .resume = resume,
};

static void set_config(struct virtio_net *s, const struct virtio_net_config *c)
{
    s->v.features = F_CSUM | F_GUEST_CSUM | F_GUEST_TSO4 | F_MAC | F_HOST_TSO4 | F_HOST_TSO6 |
                    F_HOST_ECN | F_MRG_RXBUF | F_STATUS | F_CTRL_VQ | F_CTRL_RX | F_CTRL_MAC_ADDR |
                    VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX;
    s->v.config_bytes = CFG_BYTES;
    memcpy(s->mac, c->mac, 6);
    virtio_put(s->v.config + CFG_STATUS, s->net ? STATUS_LINK_UP : 0, 2);
    if (s->net && s->net->mtu) {
        s->v.features |= F_MTU;
        virtio_put(s->v.config + CFG_MTU, s->net->mtu, 2);
    }
}

struct virtio *virtio_net_new(const struct dev_host *h, const struct virtio_net_config *config,
                              struct err *e)
{
    struct virtio_net *s = calloc(1, sizeof *s);

    if (!s) {
        err_set(e, ENOMEM, "no-memory", "no memory for network card %s", config->instance);
        return NULL;
    }
    s->v.dev = (struct device){.ops = &dev_ops, .instance = config->instance};
    s->v.ops = &ops;
    s->net = config->net;
    set_config(s, config);
    virtio_init(&s->v, h);
    if (s->net)
        s->net->client = (struct netdev_client){client_receive, s, client_batch_end,
                                                client_takes_large, client_receive_large};
    return &s->v;
}
