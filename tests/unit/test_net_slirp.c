/* SPDX-License-Identifier: MIT */
/* backend/net_slirp.c with a fake card that speaks ARP, DHCP, UDP and TCP. Only loopback traffic
 * leaves the process. */
#include "net_garbage.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

static void arp_is_answered(void **state)
{
    struct net_rig *r = net_rig_new("user");
    assert_true(answers_arp(r));
    assert_int_equal(r->net->stats.tx_frames, 1);
    assert_int_equal(r->net->stats.tx_bytes, 42);
    assert_true(answers_arp(r)); /* by now the first answer has been counted */
    assert_true(r->net->stats.rx_frames >= 1);
    net_rig_free(r);
}

/* ---- DHCP (RFC 2131, RFC 2132) --------------------------------------------------------------- */

static const uint8_t *dhcp_option(const uint8_t *f, size_t n, unsigned code, unsigned *len)
{
    size_t at = UDP_DATA + 240;
    while (at + 2 <= n && f[at] != 255) {
        *len = f[at + 1];
        if (f[at] == code && at + 2 + *len <= n)
            return f + at + 2;
        at += f[at] ? 2u + f[at + 1] : 1;
    }
    return NULL;
}

static size_t dhcp_discover(struct net_rig *r, uint8_t *f)
{
    uint8_t d[260] = {1, 1, 6, 0, 0x12, 0x34, 0x56, 0x78};
    static const uint8_t options[] = {0x63, 0x82, 0x53, 0x63, 53, 1, 1, 255};
    memcpy(d + 28, guest_mac, 6);
    memcpy(d + 236, options, sizeof options);
    uint8_t out[FRAME_ROOM];
    net_rig_send(r, out, udp_frame(out, 0, 68, 0xffffffff, 67, d, sizeof d));
    return next_ip(r, f, 17, 68);
}

static void dhcp_gives_address_and_names(void **state)
{
    struct net_rig *r = net_rig_new("user,hostname=alpha,domain=example.org");
    uint8_t f[FRAME_ROOM];
    unsigned len = 0;
    size_t n = dhcp_discover(r, f);
    assert_int_equal(f[UDP_DATA], 2);
    assert_int_equal(get32(f + UDP_DATA + 4), 0x12345678);
    assert_int_equal(get32(f + UDP_DATA + 16), GUEST_IP);
    const uint8_t *o = dhcp_option(f, n, 53, &len);
    assert_non_null(o);
    assert_int_equal(o[0], 2); /* offer */
    o = dhcp_option(f, n, 3, &len);
    assert_non_null(o);
    assert_int_equal(get32(o), HOST_IP);
    o = dhcp_option(f, n, 6, &len);
    assert_non_null(o);
    assert_int_equal(get32(o), IP4(10, 0, 2, 3));
    o = dhcp_option(f, n, 12, &len);
    assert_non_null(o);
    assert_int_equal(len, 5);
    assert_memory_equal(o, "alpha", 5);
    o = dhcp_option(f, n, 15, &len);
    assert_non_null(o);
    assert_memory_equal(o, "example.org", 11);
    net_rig_free(r);
}

static void another_network(void **state)
{
    struct net_rig *r = net_rig_new("user,net=192.168.77.0/24");
    uint8_t f[FRAME_ROOM];
    dhcp_discover(r, f);
    assert_int_equal(get32(f + UDP_DATA + 16), IP4(192, 168, 77, 15));
    net_rig_free(r);
}

/* What a card's boot ROM asks for: the name of a file (in the header of BOOTP) and the file by
 * TFTP. */
static void files_for_network_boot(void **state)
{
    char folder[] = "/tmp/ring3-tftp.XXXXXX", path[64], spec[128];
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/boot.0", folder);
    snprintf(spec, sizeof spec, "user,tftp=%s,bootfile=boot.0", folder);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs("chain loader", file);
    fclose(file);
    struct net_rig *r = net_rig_new(spec);
    uint8_t f[FRAME_ROOM];
    dhcp_discover(r, f);
    assert_string_equal((char *)f + UDP_DATA + 108, "boot.0");
    static const char request[] = "\0\1boot.0\0octet";
    net_rig_send(r, f, udp_frame(f, GUEST_IP, 2000, HOST_IP, 69, request, sizeof request));
    size_t n = next_ip(r, f, 17, 2000);
    assert_true(n >= UDP_DATA + 16);
    assert_memory_equal(f + UDP_DATA, "\0\3\0\1chain loader", 16);
    static const char outside[] = "\0\1../../etc/passwd\0octet";
    net_rig_send(r, f, udp_frame(f, GUEST_IP, 2001, HOST_IP, 69, outside, sizeof outside));
    next_ip(r, f, 17, 2001);
    assert_int_equal(f[UDP_DATA + 1], 5); /* an error */
    net_rig_free(r);
    unlink(path);
    rmdir(folder);
}

/* ---- connections ----------------------------------------------------------------------------- */

static void guest_connects_to_a_server_of_the_host(void **state)
{
    struct net_rig *r = net_rig_new("user");
    unsigned port;
    int listener = local_socket(SOCK_STREAM, &port);
    struct tcp_end t = {.peer = HOST_IP, .port = 40000, .peer_port = port, .seq = 1000};
    uint8_t f[FRAME_ROOM];
    size_t n;
    tcp_send(r, &t, TCP_SYN, NULL, 0);
    assert_int_equal(tcp_next(r, &t, f, &n), TCP_SYN | TCP_ACK);
    tcp_send(r, &t, TCP_ACK, NULL, 0);
    int fd = accept(listener, NULL, NULL);
    assert_true(fd >= 0);
    tcp_send(r, &t, TCP_ACK | TCP_PSH, "hello", 5);
    char got[16] = "";
    assert_int_equal(recv(fd, got, 5, MSG_WAITALL), 5);
    assert_string_equal(got, "hello");
    assert_int_equal(send(fd, "world!", 6, 0), 6);
    do {
        tcp_next(r, &t, f, &n);
    } while (!n);
    assert_int_equal(n, 6);
    assert_memory_equal(f + TCP_DATA, "world!", 6);
    tcp_send(r, &t, TCP_ACK, NULL, 0);
    close(fd);
    while (!(tcp_next(r, &t, f, &n) & TCP_FIN))
        ;
    close(listener);
    net_rig_free(r);
}

/* A segment larger than any wire takes goes through whole: what cards rely on for segmentation. */
static void large_segments_are_taken_whole(void **state)
{
    struct net_rig *r = net_rig_new("user");
    unsigned port;
    int listener = local_socket(SOCK_STREAM, &port);
    struct tcp_end t = {.peer = HOST_IP, .port = 40001, .peer_port = port, .seq = 1};
    uint8_t f[FRAME_ROOM];
    size_t n, size = 30000;
    assert_int_equal(r->net->max_frame, NET_FRAME_MAX);
    tcp_send(r, &t, TCP_SYN, NULL, 0);
    tcp_next(r, &t, f, &n);
    tcp_send(r, &t, TCP_ACK, NULL, 0);
    int fd = accept(listener, NULL, NULL);
    uint8_t *big = calloc(1, TCP_DATA + size), *got = malloc(size), *h = big + L4_AT;
    put16(h, t.port);
    put16(h + 2, t.peer_port);
    put32(h + 4, t.seq);
    put32(h + 8, t.ack);
    h[12] = 5 << 4;
    h[13] = TCP_ACK;
    put16(h + 14, 0xffff);
    for (size_t i = 0; i < size; i++)
        big[TCP_DATA + i] = (uint8_t)(i * 7);
    net_rig_send(r, big, ip_frame(big, 6, GUEST_IP, HOST_IP, 20 + size));
    assert_int_equal(recv(fd, got, size, MSG_WAITALL), size);
    assert_memory_equal(got, big + TCP_DATA, size);
    free(big);
    free(got);
    close(fd);
    close(listener);
    net_rig_free(r);
}

/* libslirp is never shown fragments (net_reassemble.c), and yet large datagrams arrive. */
static void fragmented_datagrams_arrive(void **state)
{
    struct net_rig *r = net_rig_new("user");
    unsigned port;
    int server = local_socket(SOCK_DGRAM, &port);
    static uint8_t f[6000], part[FRAME_ROOM], data[4000], got[5000];
    for (unsigned i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * 3);
    size_t n = udp_frame(f, GUEST_IP, 5000, HOST_IP, port, data, sizeof data);
    for (size_t at = 0; at < n - L4_AT; at += 1480) {
        size_t len = n - L4_AT - at < 1480 ? n - L4_AT - at : 1480;
        memcpy(part, f, L4_AT);
        memcpy(part + L4_AT, f + L4_AT + at, len);
        uint8_t *ip = part + IP_AT;
        put16(ip + 2, (unsigned)(20 + len));
        put16(ip + 6, (unsigned)(at / 8) | (at + len < n - L4_AT ? 0x2000 : 0));
        put16(ip + 10, 0);
        put16(ip + 10, fold16(sum16(ip, 20, 0)));
        net_rig_send(r, part, L4_AT + len);
    }
    assert_int_equal(recv(server, got, sizeof got, 0), sizeof data);
    assert_memory_equal(got, data, sizeof data);
    close(server);
    net_rig_free(r);
}

/* The card's driver takes segments whole, as virtio-net's does; or it does not. */
static bool takes_large;
static size_t largest, mss_told;

static bool does_take_large(void *opaque)
{
    return takes_large;
}

static bool receive_large(void *opaque, const uint8_t *frame, size_t n, size_t mss)
{
    largest = n > largest ? n : largest;
    mss_told = mss;
    return net_rig_receive(opaque, frame, n);
}

static void stream_of_bytes(bool whole)
{
    struct net_rig *r = net_rig_new("user");
    unsigned port;
    int listener = local_socket(SOCK_STREAM, &port);
    struct tcp_end t = {.peer = HOST_IP, .port = 40002, .peer_port = port, .seq = 1};
    static uint8_t f[NET_FRAME_MAX], sent[100000];
    for (size_t i = 0; i < sizeof sent; i++)
        sent[i] = (uint8_t)(i * 11 + (i >> 9));
    takes_large = whole;
    largest = 0;
    r->net->client.takes_large = does_take_large;
    r->net->client.receive_large = receive_large;
    uint8_t *h = f + L4_AT; /* a SYN with MSS 1400 behind two NOPs */
    put16(h, t.port);
    put16(h + 2, port);
    put32(h + 4, t.seq++);
    memcpy(h + 12, "\x70\x02\xff\xff\0\0\0\0\1\1\2\4\5\x78\0\0", 16);
    net_rig_send(r, f, ip_frame(f, 6, GUEST_IP, HOST_IP, 28));
    size_t n, done = 0, frames = 0;
    assert_int_equal(tcp_next(r, &t, f, &n), TCP_SYN | TCP_ACK);
    tcp_send(r, &t, TCP_ACK, NULL, 0);
    int fd = accept(listener, NULL, NULL);
    assert_int_equal(send(fd, sent, sizeof sent, 0), sizeof sent);
    while (done < sizeof sent) {
        uint32_t expected = t.ack;
        n = net_rig_next(r, f, sizeof f);
        if (!is_ip(f, n, 6) || get32(f + L4_AT + 4) != expected)
            continue;
        size_t data = get16(f + IP_AT + 2) - 40;
        assert_int_equal(f[L4_AT + 12] >> 4, 5);
        assert_memory_equal(f + TCP_DATA, sent + done, data);
        if (!whole)
            assert_in_range(data, 0, 1400);
        done += data;
        frames += data > 0;
        t.ack += (uint32_t)data;
        tcp_send(r, &t, TCP_ACK, NULL, 0);
    }
    if (whole) {
        assert_in_range(largest, 10000, 20000);
        assert_int_equal(mss_told, 1400);
        assert_in_range(frames, 7, 40);
    } else {
        assert_true(frames >= sizeof sent / 1400);
    }
    close(fd);
    close(listener);
    net_rig_free(r);
}

static void segments_are_cut_for_ordinary_cards(void **state)
{
    stream_of_bytes(false);
}

static void segments_stay_whole_for_others(void **state)
{
    stream_of_bytes(true);
}

/* Datagrams larger than the wire come as fragments. */
static void large_datagrams_are_fragmented(void **state)
{
    struct net_rig *r = net_rig_new("user");
    unsigned port;
    int server = local_socket(SOCK_DGRAM, &port);
    static uint8_t f[FRAME_ROOM], data[5000], got[6000];
    struct sockaddr_in from;
    socklen_t len = sizeof from;
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * 7);
    net_rig_send(r, f, udp_frame(f, GUEST_IP, 5001, HOST_IP, port, "x", 1));
    recvfrom(server, got, sizeof got, 0, (struct sockaddr *)&from, &len);
    assert_int_equal(sendto(server, data, sizeof data, 0, (struct sockaddr *)&from, len), 5000);
    for (size_t done = 0; done < 5008;) {
        size_t n = net_rig_next(r, f, sizeof f);
        if (arp_answer(r, f, n) || !is_ip(f, n, 17))
            continue;
        assert_in_range(n, 60, 1514);
        assert_int_equal(fold16(sum16(f + IP_AT, 20, 0)), 0);
        size_t at = (get16(f + IP_AT + 6) & 0x1fff) * 8, part = get16(f + IP_AT + 2) - 20;
        assert_int_equal(at, done);
        memcpy(got + at, f + L4_AT, part);
        done += part;
        assert_int_equal(get16(f + IP_AT + 6) >> 13 & 1, done < 5008);
    }
    assert_memory_equal(got + 8, data, sizeof data);
    close(server);
    net_rig_free(r);
}

static void udp_both_ways(void **state)
{
    struct net_rig *r = net_rig_new("user");
    unsigned port;
    int server = local_socket(SOCK_DGRAM, &port);
    uint8_t f[FRAME_ROOM];
    net_rig_send(r, f, udp_frame(f, GUEST_IP, 5000, HOST_IP, port, "ping", 4));
    char got[16] = "";
    struct sockaddr_in from;
    socklen_t len = sizeof from;
    assert_int_equal(recvfrom(server, got, sizeof got, 0, (struct sockaddr *)&from, &len), 4);
    assert_string_equal(got, "ping");
    assert_int_equal(sendto(server, "pong", 4, 0, (struct sockaddr *)&from, len), 4);
    next_ip(r, f, 17, 5000);
    assert_memory_equal(f + UDP_DATA, "pong", 4);
    close(server);
    net_rig_free(r);
}

/* A port that is free now; nobody else takes ports by number here. */
static unsigned free_port(int kind)
{
    unsigned port;
    close(local_socket(kind, &port));
    return port;
}

static void forwards_lead_into_the_guest(void **state)
{
    char spec[128];
    unsigned tcp = free_port(SOCK_STREAM), udp = free_port(SOCK_DGRAM);
    snprintf(spec, sizeof spec, "user,restrict,fwd=tcp:%u-22,fwd=udp:127.0.0.1:%u-10.0.2.15:53",
             tcp, udp);
    struct net_rig *r = net_rig_new(spec);
    uint8_t f[FRAME_ROOM];
    int fd = local_connect(SOCK_STREAM, tcp);
    struct tcp_end t = {.port = 22, .seq = 77};
    size_t n;
    assert_int_equal(tcp_next(r, &t, f, &n), TCP_SYN);
    tcp_send(r, &t, TCP_SYN | TCP_ACK, NULL, 0);
    assert_int_equal(send(fd, "SSH-", 4, 0), 4);
    do {
        tcp_next(r, &t, f, &n);
    } while (!n);
    assert_memory_equal(f + TCP_DATA, "SSH-", 4);
    tcp_send(r, &t, TCP_ACK | TCP_PSH, "yes", 3);
    char got[16] = "";
    assert_int_equal(recv(fd, got, 3, MSG_WAITALL), 3);
    assert_string_equal(got, "yes");
    close(fd);

    fd = local_connect(SOCK_DGRAM, udp);
    assert_int_equal(send(fd, "query", 5, 0), 5);
    next_ip(r, f, 17, 53);
    assert_memory_equal(f + UDP_DATA, "query", 5);
    close(fd);
    net_rig_free(r);
}

static void a_restricted_guest_reaches_nothing(void **state)
{
    struct net_rig *r = net_rig_new("user,restrict");
    unsigned port, udp_port;
    int listener = local_socket(SOCK_STREAM, &port), server = local_socket(SOCK_DGRAM, &udp_port);
    struct tcp_end t = {.peer = HOST_IP, .port = 40000, .peer_port = port, .seq = 1000};
    uint8_t f[FRAME_ROOM];
    net_rig_send(r, f, udp_frame(f, GUEST_IP, 5000, HOST_IP, udp_port, "ping", 4));
    tcp_send(r, &t, TCP_SYN, NULL, 0);
    assert_true(answers_arp(r)); /* what came before has been dealt with */
    struct pollfd p[2] = {{.fd = listener, .events = POLLIN}, {.fd = server, .events = POLLIN}};
    assert_int_equal(poll(p, 2, 0), 0);
    close(listener);
    close(server);
    net_rig_free(r);
}

static void used_ports_are_reported(void **state)
{
    unsigned port, udp_port;
    int fd = local_socket(SOCK_STREAM, &port), udp_fd = local_socket(SOCK_DGRAM, &udp_port);
    char spec[64], number[16];
    struct err e = {0};
    struct loop *loop = loop_new(NULL, NULL);
    snprintf(spec, sizeof spec, "user,fwd=tcp:%u-22", port);
    assert_null(netdev_open(spec, loop, NULL, &e));
    assert_string_equal(e.id, "net-port-used");
    assert_int_equal(e.errnum, EADDRINUSE);
    snprintf(number, sizeof number, "%u", port);
    assert_non_null(strstr(e.text, number));
    snprintf(spec, sizeof spec, "user,fwd=udp:%u-22", udp_port);
    assert_null(netdev_open(spec, loop, NULL, &e));
    assert_string_equal(e.id, "net-port-used");
    assert_null(netdev_open("user,fwd=tcp:192.0.2.1:4444-22", loop, NULL, &e));
    assert_string_equal(e.id, "net-forward");
    assert_int_equal(e.errnum, EADDRNOTAVAIL);
    close(fd);
    close(udp_fd);
    loop_free(loop);
}

/* ---- cards without buffers, hostile guests --------------------------------------------------- */

static void refused_frames_come_later_in_order(void **state)
{
    struct net_rig *r = net_rig_new("user");
    unsigned port;
    int server = local_socket(SOCK_DGRAM, &port);
    uint8_t f[FRAME_ROOM];
    struct sockaddr_in from;
    socklen_t len = sizeof from;
    char text[16];
    net_rig_send(r, f, udp_frame(f, GUEST_IP, 5000, HOST_IP, port, "x", 1));
    recvfrom(server, text, sizeof text, 0, (struct sockaddr *)&from, &len);
    sendto(server, "0", 1, 0, (struct sockaddr *)&from, len);
    next_ip(r, f, 17, 5000); /* the far side knows the guest's address by now */
    net_rig_refuse(r, true);
    for (unsigned i = 1; i <= 40; i++) {
        snprintf(text, sizeof text, "%u", i);
        sendto(server, text, strlen(text), 0, (struct sockaddr *)&from, len);
    }
    for (unsigned refused = 0; !refused;) {
        pthread_mutex_lock(&r->lock);
        refused = r->refused;
        pthread_mutex_unlock(&r->lock);
        usleep(1000); /* or the loop thread may never get the lock */
    }
    net_rig_refuse(r, false);
    for (unsigned i = 1; i <= 40; i++) {
        snprintf(text, sizeof text, "%u", i);
        next_ip(r, f, 17, 5000);
        assert_memory_equal(f + UDP_DATA, text, strlen(text));
    }
    assert_int_equal(r->net->stats.rx_dropped, 0);
    close(server);
    net_rig_free(r);
}

static void garbage_does_no_harm(void **state)
{
    slirp_garbage(11, 3000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arp_is_answered),
        cmocka_unit_test(dhcp_gives_address_and_names),
        cmocka_unit_test(another_network),
        cmocka_unit_test(files_for_network_boot),
        cmocka_unit_test(guest_connects_to_a_server_of_the_host),
        cmocka_unit_test(large_segments_are_taken_whole),
        cmocka_unit_test(segments_are_cut_for_ordinary_cards),
        cmocka_unit_test(segments_stay_whole_for_others),
        cmocka_unit_test(large_datagrams_are_fragmented),
        cmocka_unit_test(udp_both_ways),
        cmocka_unit_test(fragmented_datagrams_arrive),
        cmocka_unit_test(forwards_lead_into_the_guest),
        cmocka_unit_test(a_restricted_guest_reaches_nothing),
        cmocka_unit_test(used_ports_are_reported),
        cmocka_unit_test(refused_frames_come_later_in_order),
        cmocka_unit_test(garbage_does_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
