/* SPDX-License-Identifier: MIT */
/* virtio-net with a wire made of arrays. */
#include "virtio_rig.h"

#include "ring3/devices/virtio_net.h"
#include "ring3/net_offload.h"

#define TX    0x300000u
#define RX    0x400000u
#define CTRL  0x500000u
#define F(n)  (UINT64_C(1) << (n))
#define PLAIN (VIRTIO_F_VERSION_1 | F(5)) /* nothing but an address */

struct wire {
    struct netdev net;
    unsigned frames, resumes;
    size_t len[16];
    uint8_t frame[16][NET_FRAME_MAX];
    const void *first_piece;
};

static void wire_send(struct netdev *n, const struct iovec *iov, unsigned count)
{
    struct wire *w = container_of(n, struct wire, net);
    uint8_t *to = w->frame[w->frames];
    assert_true(w->frames < 16);
    w->first_piece = count ? iov[0].iov_base : NULL;
    for (unsigned i = 0; i < count; i++) {
        memcpy(to, iov[i].iov_base, iov[i].iov_len);
        to += iov[i].iov_len;
    }
    w->len[w->frames] = (size_t)(to - w->frame[w->frames]);
    w->frames++;
}

static void wire_resume(struct netdev *n)
{
    container_of(n, struct wire, net)->resumes++;
}

static const struct netdev_ops wire_ops = {wire_send, wire_resume, NULL};

struct bench {
    struct vr *d;
    struct wire *w;
    unsigned given; /* receive buffers */
};

static struct bench new_bench(bool modern)
{
    struct device *pci;
    struct rig *r = vr_rig(&pci);
    struct bench b = {.w = calloc(1, sizeof *b.w)};
    b.w->net.ops = &wire_ops;
    b.w->net.max_frame = 1514;
    struct virtio_net_config c = {"net0", &b.w->net, {0x52, 0x54, 0, 1, 2, 3}};
    b.d = vr_new(r, pci, virtio_net_new(&r->host, &c, NULL), modern, !modern);
    return b;
}

static void free_bench(struct bench *b)
{
    vr_free(b->d);
    free(b->w);
}

static struct phys *mem_of(struct bench *b)
{
    return b->d->r->host.mem;
}

/* A frame of n bytes after `header` bytes of header, sent. */
static void send(struct bench *b, const uint8_t *h, unsigned header, const uint8_t *frame, size_t n)
{
    uint32_t id, len = 0;
    phys_load(mem_of(b), TX, h, header);
    phys_load(mem_of(b), TX + 0x1000, frame, n);
    const struct vr_buffer v[] = {{TX, header, false}, {TX + 0x1000, (uint32_t)n, false}};
    vr_offer(b->d, 1, 0, v, 2);
    vr_kick(b->d, 1);
    assert_true(gq_used(&b->d->q[1], &id, &len));
    assert_int_equal(len, 0);
}

/* Offer a receive buffer of len bytes; they are 64 KiB apart. */
static void give(struct bench *b, uint32_t len)
{
    const struct vr_buffer v = {RX + 0x10000 * (b->given % 8), len, true};
    vr_offer(b->d, 0, b->given++ % 8, &v, 1);
}

static bool deliver(struct bench *b, const uint8_t *frame, size_t n)
{
    return b->w->net.client.receive(b->w->net.client.opaque, frame, n);
}
static void batch_end(struct bench *b)
{
    b->w->net.client.batch_end(b->w->net.client.opaque);
}

/* Ethernet, IPv4, TCP with `data` bytes; checksums right. Returns the length. */
static size_t tcp_frame(uint8_t *f, size_t data)
{
    memset(f, 0, 54);
    f[12] = 8;
    f[14] = 0x45;
    f[16] = (uint8_t)((40 + data) >> 8);
    f[17] = (uint8_t)(40 + data);
    f[22] = 64;
    f[23] = 6;
    f[26] = 10, f[29] = 2, f[30] = 10, f[33] = 15;
    f[34 + 12] = 5 << 4;
    f[34 + 13] = 0x10;
    for (size_t i = 0; i < data; i++)
        f[54 + i] = (uint8_t)(i * 31 + i / 256);
    net_checksum(f, 34, 14, 34, 24);
    f[34 + 16] = f[34 + 17] = 0;
    uint16_t sum =
        net_sum_finish(net_sum(f + 34, 20 + data, net_sum(f + 26, 8, (uint32_t)(6 + 20 + data))));
    f[34 + 16] = (uint8_t)(sum >> 8);
    f[34 + 17] = (uint8_t)sum;
    return 54 + data;
}

static void frames_leave_without_a_copy(void **state)
{
    for (unsigned modern = 0; modern < 2; modern++) {
        struct bench b = new_bench(modern);
        uint8_t h[12] = {0}, frame[100];
        memset(frame, 0x5a, sizeof frame);
        vr_start(b.d, PLAIN, 3);
        send(&b, h, modern ? 12 : 10, frame, sizeof frame);
        assert_int_equal(b.w->frames, 1);
        assert_int_equal(b.w->len[0], 100);
        assert_memory_equal(b.w->frame[0], frame, 100);
        assert_ptr_equal(b.w->first_piece, phys_page(mem_of(&b), gpa_page(TX + 0x1000)).host);
        send(&b, h, modern ? 12 : 10, frame, 13); /* no Ethernet frame */
        assert_int_equal(b.w->frames, 1);
        free_bench(&b);
    }
}

static void header_and_frame_may_share_buffers(void **state)
{
    struct bench b = new_bench(true);
    uint32_t id, len = 0;
    vr_start(b.d, PLAIN, 3);
    for (unsigned i = 0; i < 100; i++)
        put(mem_of(&b), TX + i, i < 12 ? 0 : i, 1);
    const struct vr_buffer v[] = {{TX, 5, false}, {TX + 5, 20, false}, {TX + 25, 75, false}};
    vr_offer(b.d, 1, 0, v, 3);
    vr_kick(b.d, 1);
    assert_true(gq_used(&b.d->q[1], &id, &len));
    assert_int_equal(b.w->len[0], 88);
    for (unsigned i = 0; i < 88; i++)
        assert_int_equal(b.w->frame[0][i], 12 + i);
    free_bench(&b);
}

/* 5.1.6.2: the field holds the sum of the pseudo header, the card does the rest. */
static void checksums_are_completed(void **state)
{
    struct bench b = new_bench(true);
    uint8_t right[200], left[200], h[12] = {1, 0, 0, 0, 0, 0, 34, 0, 16, 0};
    size_t n = tcp_frame(right, 101);
    vr_start(b.d, VR_ALL & ~VIRTIO_F_EVENT_IDX, 3);
    memcpy(left, right, n);
    uint16_t pseudo = (uint16_t)~net_sum_finish(net_sum(right + 26, 8, 6 + 20 + 101));
    left[50] = (uint8_t)(pseudo >> 8);
    left[51] = (uint8_t)pseudo;
    send(&b, h, 12, left, n);
    assert_int_equal(b.w->len[0], n);
    assert_memory_equal(b.w->frame[0], right, n);
    h[6] = 250; /* a checksum outside of the frame: dropped */
    send(&b, h, 12, left, n);
    assert_int_equal(b.w->frames, 1);
    free_bench(&b);
}

static void large_segments_are_cut(void **state)
{
    static uint8_t frame[8000];
    struct bench b = new_bench(true);
    uint8_t h[12] = {1, 1, 54, 0, 0xe8, 0x03, 34, 0, 16, 0}; /* TCPv4, 1,000 bytes each */
    size_t n = tcp_frame(frame, 3500);
    vr_start(b.d, VR_ALL & ~VIRTIO_F_EVENT_IDX, 3);
    send(&b, h, 12, frame, n);
    assert_int_equal(b.w->frames, 4);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(b.w->len[i], i < 3 ? 1054 : 554);
        assert_int_equal(
            net_checksum_verify(b.w->frame[i], b.w->len[i]) & (NET_L4_BAD | NET_IP_BAD), 0);
        assert_memory_equal(b.w->frame[i] + 54, frame + 54 + 1000 * i, b.w->len[i] - 54);
    }
    b.w->net.max_frame = NET_FRAME_MAX; /* a backend that takes it whole */
    send(&b, h, 12, frame, n);
    assert_int_equal(b.w->frames, 5);
    assert_int_equal(b.w->len[4], n);
    static const uint8_t bad[][12] = {
        {1, 3, 54, 0, 232, 3, 34, 0, 16, 0}, /* UDP */
        {1, 1, 54, 0, 0, 0, 34, 0, 16, 0},   /* no size */
        {1, 1, 54, 0, 232, 3, 255, 255, 16, 0},
    };
    for (unsigned i = 0; i < ARRAY_LEN(bad); i++)
        send(&b, bad[i], 12, frame, n);
    assert_int_equal(b.w->frames, 5);
    free_bench(&b);
}

static void frames_arrive(void **state)
{
    struct bench b = new_bench(true);
    uint8_t frame[200], copy[200];
    uint32_t id, len = 0;
    size_t n = tcp_frame(frame, 60);
    vr_start(b.d, VR_ALL & ~VIRTIO_F_EVENT_IDX & ~F(15), 3);
    give(&b, 2000);
    give(&b, 2000);
    give(&b, 100);
    assert_true(deliver(&b, frame, n));
    frame[60] ^= 1; /* the second one is damaged */
    assert_true(deliver(&b, frame, n));
    assert_int_equal(b.d->r->rises[0], 0);
    batch_end(&b);
    assert_int_equal(b.d->r->rises[0], 1);
    assert_true(gq_used(&b.d->q[0], &id, &len));
    assert_int_equal(len, 12 + n);
    assert_int_equal(get(mem_of(&b), RX, 8), 2); /* checksums are right */
    assert_int_equal(get(mem_of(&b), RX + 10, 2), 1);
    frame[60] ^= 1;
    phys_read(mem_of(&b), RX + 12, copy, n);
    assert_memory_equal(copy, frame, n);
    assert_true(gq_used(&b.d->q[0], &id, &len));
    assert_int_equal(get(mem_of(&b), RX + 0x10000, 8), 0);
    assert_true(deliver(&b, frame, n));  /* dropped: it does not fit the third buffer */
    assert_false(deliver(&b, frame, n)); /* kept by the backend */
    assert_true(gq_used(&b.d->q[0], &id, &len));
    assert_int_equal(len, 0);
    unsigned resumes = b.w->resumes;
    give(&b, 2000);
    vr_kick(b.d, 0);
    assert_int_equal(b.w->resumes, resumes + 1);
    assert_true(deliver(&b, frame, n));
    vr_kick(b.d, 0);
    assert_int_equal(b.w->resumes, resumes + 1); /* nothing waits */
    free_bench(&b);
}

static void frames_spread_over_buffers(void **state)
{
    static uint8_t frame[1400], copy[1400];
    struct bench b = new_bench(true);
    uint32_t id, len = 0;
    vr_start(b.d, VIRTIO_F_VERSION_1 | F(15), 3);
    for (unsigned i = 0; i < sizeof frame; i++)
        frame[i] = (uint8_t)(i * 17 + i / 256);
    give(&b, 512);
    give(&b, 512);
    assert_false(deliver(&b, frame, sizeof frame)); /* two are not enough, and stay */
    batch_end(&b);
    assert_false(gq_used(&b.d->q[0], &id, &len));
    give(&b, 512);
    give(&b, 512);
    assert_true(deliver(&b, frame, sizeof frame));
    batch_end(&b);
    assert_int_equal(get(mem_of(&b), RX + 10, 2), 3);
    for (unsigned i = 0, at = 0; i < 3; i++) {
        assert_true(gq_used(&b.d->q[0], &id, &len));
        assert_int_equal(id, 8 * i);
        assert_int_equal(len, i < 2 ? 512 : 12 + 1400 - 1024);
        unsigned skip = i ? 0 : 12;
        phys_read(mem_of(&b), RX + 0x10000 * i + skip, copy + at, len - skip);
        at += len - skip;
    }
    assert_memory_equal(copy, frame, sizeof frame);
    assert_false(gq_used(&b.d->q[0], &id, &len));
    free_bench(&b);
}

/* A driver with GUEST_TSO4 gets segments whole, with what it takes to cut them. */
static void large_segments_arrive_whole(void **state)
{
    static uint8_t frame[9000], copy[9000];
    struct bench b = new_bench(true);
    const struct netdev_client *c = &b.w->net.client;
    uint32_t id, len = 0;
    size_t n = tcp_frame(frame, 8000);
    assert_false(c->takes_large(c->opaque)); /* no driver */
    vr_start(b.d, VIRTIO_F_VERSION_1 | F(7) | F(1), 3);
    assert_true(c->takes_large(c->opaque));
    give(&b, 65000);
    assert_true(c->receive_large(c->opaque, frame, n, 1460));
    assert_false(c->receive_large(c->opaque, frame, n, 1460));
    batch_end(&b);
    assert_true(gq_used(&b.d->q[0], &id, &len));
    assert_int_equal(len, 12 + n);
    assert_int_equal(get(mem_of(&b), RX, 8),
                     1 | 1 << 8 | 54 << 16 | UINT64_C(1460) << 32 | UINT64_C(34) << 48);
    assert_int_equal(get(mem_of(&b), RX + 8, 4), 16 | 1 << 16);
    phys_read(mem_of(&b), RX + 12, copy, n);
    assert_int_equal(copy[50] << 8 | copy[51], /* the pseudo header's sum */
                     (uint16_t)~net_sum_finish(net_sum(frame + 26, 8, 6 + 8020)));
    assert_memory_equal(copy, frame, 50);
    assert_memory_equal(copy + 52, frame + 52, n - 52);
    vr_set_status(b.d, 0);
    vr_start(b.d, VIRTIO_F_VERSION_1 | F(7), 3); /* means nothing without GUEST_CSUM */
    assert_false(c->takes_large(c->opaque));
    free_bench(&b);
}

/* Buffers of no bytes never take a frame: that ends, too. */
static void buffers_without_room_end(void **state)
{
    static uint8_t frame[1400];
    struct bench b = new_bench(false);
    vr_start(b.d, F(15), 3);
    gq_desc(&b.d->q[0], 0, RX, 512, D_WRITE, 0);
    gq_desc(&b.d->q[0], 8, RX, 0, D_WRITE, 0);
    gq_offer(&b.d->q[0], 0);
    for (unsigned i = 1; i < 256; i++)
        gq_offer(&b.d->q[0], 8);
    assert_true(deliver(&b, frame, sizeof frame)); /* dropped */
    assert_int_equal(vr_status(b.d) & 0x40, 0x40);
    free_bench(&b);
}

static void without_a_driver_frames_are_dropped(void **state)
{
    struct bench b = new_bench(true);
    uint8_t frame[60] = {0};
    assert_true(deliver(&b, frame, sizeof frame));
    vr_start(b.d, PLAIN, 3);
    assert_false(deliver(&b, frame, sizeof frame));
    unsigned resumes = b.w->resumes;
    vr_set_status(b.d, 0);
    assert_true(b.w->resumes > resumes); /* what was kept is not wanted any more */
    assert_true(deliver(&b, frame, sizeof frame));
    free_bench(&b);
}

static unsigned command(struct bench *b, unsigned class, unsigned cmd, const char *data, uint32_t n)
{
    uint32_t id, len = 0;
    put(mem_of(b), CTRL, class | cmd << 8, 2);
    phys_load(mem_of(b), CTRL + 16, data, n);
    put(mem_of(b), CTRL + 64, 0xee, 1);
    const struct vr_buffer v[] = {{CTRL, 2, false}, {CTRL + 16, n, false}, {CTRL + 64, 1, true}};
    vr_offer(b->d, 2, 0, v, 3);
    vr_kick(b->d, 2);
    assert_true(gq_used(&b->d->q[2], &id, &len));
    assert_int_equal(len, 1);
    return (unsigned)get(mem_of(b), CTRL + 64, 1);
}

static void commands_and_configuration(void **state)
{
    struct bench b = new_bench(true);
    vr_start(b.d, VR_ALL & ~VIRTIO_F_EVENT_IDX, 3);
    assert_int_equal(vr_config(b.d, 0, 4), 0x01005452);
    assert_int_equal(vr_config(b.d, 4, 2), 0x0302);
    assert_int_equal(vr_config(b.d, 6, 2), 1);
    assert_int_equal(command(&b, 0, 0, "\1", 1), 0);
    assert_int_equal(command(&b, 0, 9, "\1", 1), 1);
    assert_int_equal(command(&b, 1, 1, "\x52\x54\0\7\7\7", 6), 0);
    assert_int_equal(vr_config(b.d, 4, 2), 0x0707);
    assert_int_equal(command(&b, 1, 1, "\x52", 1), 1);
    assert_int_equal(command(&b, 4, 0, "\1", 1), 1);
    vr_set_config(b.d, 0, 1, 0);
    assert_int_equal(vr_config(b.d, 0, 1), 0x52); /* only legacy drivers write it there */
    vr_set_status(b.d, 0);
    assert_int_equal(vr_config(b.d, 4, 2), 0x0302);
    free_bench(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_leave_without_a_copy),
        cmocka_unit_test(header_and_frame_may_share_buffers),
        cmocka_unit_test(checksums_are_completed),
        cmocka_unit_test(large_segments_are_cut),
        cmocka_unit_test(frames_arrive),
        cmocka_unit_test(frames_spread_over_buffers),
        cmocka_unit_test(large_segments_arrive_whole),
        cmocka_unit_test(buffers_without_room_end),
        cmocka_unit_test(without_a_driver_frames_are_dropped),
        cmocka_unit_test(commands_and_configuration),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
