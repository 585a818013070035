/* SPDX-License-Identifier: MIT */
/* The words behind --net: backend/net.c and the parsers of its kinds, and --net itself. */
#include "unit.h"

#include <errno.h>
#include <stdio.h>

#include "backend/net_slirp.h"
#include "cli/cli.h"
#include "ring3/loop.h"
#include "ring3/net.h"

static void words_are_taken_apart(void **state)
{
    const char *at = "user,fwd=tcp:1-2,,restrict,net=";
    struct net_word w;
    assert_true(net_word_next(&at, &w));
    assert_true(net_word_is(&w, "user"));
    assert_false(net_word_is(&w, "use"));
    assert_false(net_word_is(&w, "users"));
    assert_null(w.value);
    assert_true(net_word_next(&at, &w));
    assert_true(net_word_is(&w, "fwd"));
    assert_int_equal(w.value_len, 7);
    assert_memory_equal(w.value, "tcp:1-2", 7);
    assert_true(net_word_next(&at, &w));
    assert_int_equal(w.key_len, 0);
    assert_true(net_word_next(&at, &w));
    assert_true(net_word_is(&w, "restrict"));
    assert_true(net_word_next(&at, &w));
    assert_int_equal(w.value_len, 0);
    assert_non_null(w.value);
    assert_false(net_word_next(&at, &w));
}

static void addresses_of_cards(void **state)
{
    uint8_t mac[6];
    assert_true(net_parse_mac("52:54:00:aB:cd:0F", 17, mac));
    assert_memory_equal(mac, "\x52\x54\x00\xab\xcd\x0f", 6);
    assert_false(net_parse_mac("00:00:00:00:00:00", 17, mac));
    assert_false(net_parse_mac("01:00:00:00:00:01", 17, mac)); /* multicast */
    assert_false(net_parse_mac("52:54:00:ab:cd:0", 16, mac));
    assert_false(net_parse_mac("52-54-00-ab-cd-0f", 17, mac));
    assert_false(net_parse_mac("52:54:00:ab:cd:0g", 17, mac));
}

static void user_words(void **state)
{
    struct slirp_words w;
    struct err e = {0};
    assert_int_equal(slirp_words_parse("", &w, &e), 0);
    assert_int_equal(ntohl(slirp_address(&w, 15).s_addr), 0x0a00020f);
    assert_false(w.restricted || w.ipv6 || w.no_loopback);
    assert_int_equal(
        slirp_words_parse("restrict,ipv6,noloopback,net=172.16.5.9/20,mtu=9000,"
                          "hostname=alpha,domain=a.b,tftp=/srv,bootfile=x.0,model=e1000",
                          &w, &e),
        0);
    assert_true(w.restricted && w.ipv6 && w.no_loopback);
    assert_int_equal(ntohl(w.net.s_addr), 0xac100000);
    assert_int_equal(ntohl(w.mask.s_addr), 0xfffff000);
    assert_int_equal(w.mtu, 9000);
    assert_string_equal(w.hostname, "alpha");
    assert_string_equal(w.domain, "a.b");
    assert_string_equal(w.tftp, "/srv");
    assert_string_equal(w.bootfile, "x.0");
}

static void forwards(void **state)
{
    struct slirp_words w;
    struct err e = {0};
    assert_int_equal(slirp_words_parse("fwd=tcp:2222-22,fwd=8080-80,"
                                       "fwd=udp:0.0.0.0:5353-10.0.2.20:53",
                                       &w, &e),
                     0);
    assert_int_equal(w.forwards, 3);
    assert_false(w.forward[0].udp);
    assert_int_equal(ntohl(w.forward[0].host.s_addr), 0x7f000001); /* loopback unless told */
    assert_int_equal(w.forward[0].host_port, 2222);
    assert_int_equal(w.forward[0].guest_port, 22);
    assert_int_equal(w.forward[0].guest.s_addr, 0);
    assert_int_equal(w.forward[1].host_port, 8080);
    assert_true(w.forward[2].udp);
    assert_int_equal(w.forward[2].host.s_addr, 0);
    assert_int_equal(ntohl(w.forward[2].guest.s_addr), 0x0a000214);
}

/* Each is refused with this id, and the text names what is wrong. */
static void mistakes_are_named(void **state)
{
    static const struct {
        const char *spec, *id, *text;
    } cases[] = {
        {"", "net-spec", "user, stream, tap or none"},
        {"slirp", "net-spec", "\"slirp\""},
        {"user=1", "net-spec", "user=1"},
        {"user,fwd", "net-forward", "missing"},
        {"user,fwd=", "net-forward", "missing"},
        {"user,fwd=22", "net-forward", "\"-\""},
        {"user,fwd=tcp:0-22", "net-forward", "1 to 65535"},
        {"user,fwd=tcp:65536-22", "net-forward", "1 to 65535"},
        {"user,fwd=tcp:99999999999-22", "net-forward", "1 to 65535"},
        {"user,fwd=tcp:-22", "net-forward", "1 to 65535"},
        {"user,fwd=tcp:2222-", "net-forward", "1 to 65535"},
        {"user,fwd=tcp:2222--22", "net-forward", "1 to 65535"},
        {"user,fwd=icmp:1-2", "net-forward", "four numbers"},
        {"user,fwd=tcp:1.2.3:22-22", "net-forward", "four numbers"},
        {"user,net=10.0.2.0", "net-spec", "8 to 27"},
        {"user,net=10.0.2.0/28", "net-spec", "8 to 27"},
        {"user,net=10.0.2.0/7", "net-spec", "8 to 27"},
        {"user,net=10.0.2/24", "net-spec", "8 to 27"},
        {"user,net=10.0.2.0/24x", "net-spec", "8 to 27"},
        {"user,mtu=575", "net-spec", "576 to 65520"},
        {"user,mtu=big", "net-spec", "576 to 65520"},
        {"user,restrict=yes", "net-spec", "no value"},
        {"user,colour=red", "net-spec", "fwd="},
        {"user,hostname=", "net-spec", "hostname= needs"},
        {"stream", "net-spec", "path=SOCKET or connect=HOST:PORT"},
        {"stream,connect=5555", "net-spec", "HOST:PORT"},
        {"stream,speed=9", "net-spec", "path="},
        {"stream,path=/nowhere/at/all", "net-stream", "/nowhere/at/all"},
        {"tap", "net-spec", "tap,name=tap0"},
        {"tap,name=a/b", "net-spec", "a/b"},
        {"tap,name=much-too-long-a-name", "net-spec", "1 to 15 bytes"},
        {"none,x", "net-spec", "\"x\""},
    };
    struct loop *loop = loop_new(NULL, NULL);
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        struct err e = {0};
        struct netdev *n = netdev_open(cases[i].spec, loop, NULL, &e);
        if (n || strcmp(e.id, cases[i].id) || !strstr(e.text, cases[i].text))
            fail_msg("\"%s\" gives [%s] %s", cases[i].spec, e.id, e.text);
    }
    loop_free(loop);
}

static void no_cable(void **state)
{
    struct loop *loop = loop_new(NULL, NULL);
    struct netdev *n = netdev_open("none,model=e1000,mac=52:54:00:00:00:01", loop, NULL, NULL);
    struct iovec iov = {"0123456789abcdef", 16};
    assert_non_null(n);
    netdev_send(n, &iov, 1);
    netdev_resume(n);
    netdev_free(n);
    netdev_free(NULL);
    loop_free(loop);
}

/* ---- the option ------------------------------------------------------------------------------ */

static int parse(struct run_options *o, const char *a, const char *b, struct err *e)
{
    const char *argv[8] = {"run", "kernel", "--net", a, b ? "--net" : NULL, b, NULL};
    return run_options_parse(o, b ? 6 : a ? 4 : 2, (char **)argv, e);
}

static void cards_of_the_command_line(void **state)
{
    struct run_options o;
    struct err e = {0};
    assert_int_equal(parse(&o, NULL, NULL, &e), 0);
    assert_int_equal(o.vm.nics, 0); /* a bare kernel has none unless asked */
    run_options_free(&o);
    assert_int_equal(parse(&o, "user,model=rtl8139", "none,mac=02:00:00:00:00:07,model=e1000", &e),
                     0);
    assert_int_equal(o.vm.nics, 2);
    assert_string_equal(o.vm.nic[0].model, "rtl8139");
    assert_memory_equal(o.vm.nic[0].mac, "\x52\x54\x00\x12\x34\x56", 6);
    assert_string_equal(o.vm.nic[1].model, "e1000");
    assert_memory_equal(o.vm.nic[1].mac, "\x02\x00\x00\x00\x00\x07", 6);
    run_options_free(&o);
    assert_int_equal(parse(&o, "user", "user", &e), 0);
    assert_null(o.vm.nic[0].model);
    assert_memory_equal(o.vm.nic[1].mac, "\x52\x54\x00\x12\x34\x57", 6);
    run_options_free(&o);
    assert_int_equal(parse(&o, "none", NULL, &e), 0);
    assert_int_equal(o.vm.nics, 0);
    run_options_free(&o);
    assert_int_equal(parse(&o, "user,model=ne3000", NULL, &e), -EINVAL);
    assert_string_equal(e.id, "net-model");
    run_options_free(&o);
    assert_int_equal(parse(&o, "user,mac=1:2", NULL, &e), -EINVAL);
    assert_string_equal(e.id, "net-mac");
    run_options_free(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_are_taken_apart),
        cmocka_unit_test(addresses_of_cards),
        cmocka_unit_test(user_words),
        cmocka_unit_test(forwards),
        cmocka_unit_test(mistakes_are_named),
        cmocka_unit_test(no_cable),
        cmocka_unit_test(cards_of_the_command_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
