/* SPDX-License-Identifier: MIT */
/* backend/net_stream.c against a Unix socket whose other end is the test. */
#include "net_rig.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

static char folder[] = "/tmp/ring3-stream.XXXXXX";
static char path[64], spec[80];

static int listen_there(void)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
    unlink(path);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(fd, 4), 0);
    return fd;
}

static void tell(int fd, const void *bytes, size_t n)
{
    uint8_t head[4];
    put32(head, (uint32_t)n);
    assert_int_equal(send(fd, head, 4, 0), 4);
    assert_int_equal(send(fd, bytes, n, 0), n);
}

static size_t hear(int fd, uint8_t *buf, size_t size)
{
    uint8_t head[4];
    assert_int_equal(recv(fd, head, 4, MSG_WAITALL), 4);
    size_t n = get32(head);
    assert_in_range(n, 0, size);
    assert_int_equal(recv(fd, buf, n, MSG_WAITALL), n);
    return n;
}

static void frames_both_ways(void **state)
{
    int listener = listen_there();
    struct net_rig *r = net_rig_new(spec);
    int fd = accept(listener, NULL, NULL);
    uint8_t out[100], in[256];
    memset(out, 0x5a, sizeof out);
    tell(fd, out, sizeof out);
    assert_int_equal(net_rig_next(r, in, sizeof in), sizeof out);
    assert_memory_equal(in, out, sizeof out);
    tell(fd, out, 14); /* a runt is padded */
    assert_int_equal(net_rig_next(r, in, sizeof in), 60);
    struct iovec iov[2] = {{out, 20}, {out, 30}};
    netdev_send(r->net, iov, 2);
    assert_int_equal(hear(fd, in, sizeof in), 50);
    assert_memory_equal(in, out, 50);
    close(fd);
    close(listener);
    net_rig_free(r);
}

/* A stream has no message boundaries: lengths and frames come in any pieces. */
static void pieces_make_frames(void **state)
{
    int listener = listen_there();
    struct net_rig *r = net_rig_new(spec);
    int fd = accept(listener, NULL, NULL);
    uint8_t bytes[3 * 104], in[256];
    for (unsigned i = 0; i < 3; i++) {
        put32(bytes + 104 * i, 100);
        memset(bytes + 104 * i + 4, (int)(i + 1), 100);
    }
    for (unsigned i = 0; i < sizeof bytes; i += 3)
        assert_int_equal(send(fd, bytes + i, 3, 0), 3);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(net_rig_next(r, in, sizeof in), 100);
        assert_int_equal(in[0], i + 1);
        assert_int_equal(in[99], i + 1);
    }
    close(fd);
    close(listener);
    net_rig_free(r);
}

/* Nobody reads: what the socket does not take waits, up to a bound, and comes in order. */
static void a_slow_reader_gets_whole_frames(void **state)
{
    int listener = listen_there();
    struct net_rig *r = net_rig_new(spec);
    int fd = accept(listener, NULL, NULL);
    static uint8_t out[1500], in[2000];
    for (unsigned i = 0; i < 2000; i++) {
        put32(out, i);
        net_rig_send(r, out, sizeof out);
    }
    uint32_t next = 0, count = 0;
    struct pollfd p = {.fd = fd, .events = POLLIN};
    while (poll(&p, 1, 1000) == 1) {
        assert_int_equal(hear(fd, in, sizeof in), sizeof out);
        assert_true(get32(in) >= next); /* some were dropped, none was torn or moved */
        next = get32(in) + 1;
        count++;
    }
    assert_in_range(count, 100, 2000);
    close(fd);
    close(listener);
    net_rig_free(r);
}

static void a_full_card_stops_the_reading(void **state)
{
    enum { FRAMES = 40 }; /* more might fill the socket, and nobody would read it on */
    int listener = listen_there();
    struct net_rig *r = net_rig_new(spec);
    int fd = accept(listener, NULL, NULL);
    uint8_t out[1000], in[1000];
    net_rig_refuse(r, true);
    for (unsigned i = 0; i < FRAMES; i++) {
        put32(out, i);
        tell(fd, out, sizeof out);
    }
    for (unsigned refused = 0; !refused;) {
        pthread_mutex_lock(&r->lock);
        refused = r->refused;
        pthread_mutex_unlock(&r->lock);
        usleep(1000); /* or the loop thread may never get the lock */
    }
    net_rig_refuse(r, false);
    for (unsigned i = 0; i < FRAMES; i++) {
        assert_int_equal(net_rig_next(r, in, sizeof in), sizeof in);
        assert_int_equal(get32(in), i);
    }
    assert_int_equal(r->net->stats.rx_dropped, 0);
    close(fd);
    close(listener);
    net_rig_free(r);
}

/* The far side goes away, or speaks another language: the connection is made anew. */
static void lost_connections_come_back(void **state)
{
    int listener = listen_there();
    struct net_rig *r = net_rig_new(spec);
    int fd = accept(listener, NULL, NULL);
    uint8_t in[256], out[64] = {1};
    close(fd);
    fd = accept(listener, NULL, NULL);
    assert_true(fd >= 0);
    tell(fd, out, sizeof out);
    assert_int_equal(net_rig_next(r, in, sizeof in), sizeof out);
    assert_int_equal(send(fd, "GET / HTTP/1.0\r\n", 16, 0), 16);
    int again = accept(listener, NULL, NULL);
    assert_true(again >= 0);
    assert_int_equal(recv(fd, in, sizeof in, 0), 0); /* hung up on */
    tell(again, out, sizeof out);
    assert_int_equal(net_rig_next(r, in, sizeof in), sizeof out);
    close(fd);
    close(again);
    close(listener);
    net_rig_free(r);
}

static void tcp_and_mtu(void **state)
{
    unsigned port;
    int listener = local_socket(SOCK_STREAM, &port);
    char text[64];
    snprintf(text, sizeof text, "stream,connect=127.0.0.1:%u,mtu=9000", port);
    struct net_rig *r = net_rig_new(text);
    int fd = accept(listener, NULL, NULL);
    static uint8_t out[9100], in[9100];
    assert_int_equal(r->net->max_frame, 9014);
    assert_int_equal(r->net->mtu, 9000);
    net_rig_send(r, out, 9015); /* too long: dropped */
    net_rig_send(r, out, 9014);
    assert_int_equal(hear(fd, in, sizeof in), 9014);
    close(fd);
    close(listener);
    net_rig_free(r);
}

static int make_folder(void **state)
{
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/s", folder);
    snprintf(spec, sizeof spec, "stream,path=%s", path);
    return 0;
}

static int remove_folder(void **state)
{
    unlink(path);
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_both_ways),
        cmocka_unit_test(pieces_make_frames),
        cmocka_unit_test(a_slow_reader_gets_whole_frames),
        cmocka_unit_test(a_full_card_stops_the_reading),
        cmocka_unit_test(lost_connections_come_back),
        cmocka_unit_test(tcp_and_mtu),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
