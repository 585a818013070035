/* SPDX-License-Identifier: MIT */
/* The words of --net user: see net_slirp.h.
 *
 *   fwd=[tcp:|udp:][HOSTADDR:]HOSTPORT-[GUESTADDR:]GUESTPORT   listens on 127.0.0.1 unless told
 *   net=ADDR/BITS  hostname=NAME  domain=NAME  mtu=N  tftp=DIR  bootfile=NAME
 *   restrict  noloopback  ipv6
 *
 * Left out: forwards over IPv6, and from the guest to programs and sockets of the host. */
#include "net_slirp.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net_port.h"

#define KNOWN_WORDS                                                                                \
    "fwd=, restrict, noloopback, ipv6, net=, hostname=, domain=, mtu=, tftp=, bootfile="

struct in_addr slirp_address(const struct slirp_words *w, unsigned n)
{
    return (struct in_addr){w->net.s_addr | (htonl(n) & ~w->mask.s_addr)};
}

/* ---- forwards -------------------------------------------------------------------------------- */

static int bad_forward(const struct net_word *w, const char *why, struct err *e)
{
    return err_set(e, EINVAL, "net-forward",
                   "--net user,fwd=%.*s: %s; write fwd=tcp:2222-22, or with addresses "
                   "fwd=udp:127.0.0.1:5353-10.0.2.15:53",
                   (int)w->value_len, w->value ? w->value : "", why);
}

static bool parse_port(const char *text, uint16_t *port)
{
    size_t n = strspn(text, "0123456789");
    if (n < 1 || n > 5 || text[n])
        return false;
    unsigned long x = strtoul(text, NULL, 10);
    *port = (uint16_t)x;
    return x >= 1 && x <= 65535;
}

/* "[ADDR:]PORT"; *addr stays as it is without ADDR. Changes text. */
static const char *parse_end(char *text, struct in_addr *addr, uint16_t *port)
{
    char *colon = strrchr(text, ':');
    if (colon) {
        *colon = 0;
        if (!inet_pton(AF_INET, text, addr))
            return "an address is four numbers with dots between";
    }
    return parse_port(colon ? colon + 1 : text, port) ? NULL : "a port is a number from 1 to 65535";
}

static int set_forward(struct slirp_words *s, const struct net_word *w, struct err *e)
{
    char text[96];
    if (!w->value || !w->value_len || w->value_len >= sizeof text)
        return bad_forward(w, "what to forward is missing or too long", e);
    if (s->forwards == SLIRP_MAX_FORWARDS)
        return err_set(e, EINVAL, "net-forward", "--net user: at most %d forwards",
                       SLIRP_MAX_FORWARDS);
    memcpy(text, w->value, w->value_len);
    text[w->value_len] = 0;
    struct slirp_forward f = {.host = {htonl(INADDR_LOOPBACK)}};
    char *at = text;
    f.udp = strncmp(at, "udp:", 4) == 0;
    if (f.udp || strncmp(at, "tcp:", 4) == 0)
        at += 4;
    char *dash = strchr(at, '-');
    if (!dash)
        return bad_forward(w, "there is no \"-\" between the host's and the guest's port", e);
    *dash = 0;
    const char *why = parse_end(at, &f.host, &f.host_port);
    if (!why)
        why = parse_end(dash + 1, &f.guest, &f.guest_port);
    if (why)
        return bad_forward(w, why, e);
    s->forward[s->forwards++] = f;
    return 0;
}

/* ---- the other words ------------------------------------------------------------------------- */

static int set_net(struct slirp_words *s, const struct net_word *w, struct err *e)
{
    char text[32];
    unsigned bits = 0;
    int r = net_word_string(w, text, sizeof text, e);
    if (r < 0)
        return r;
    char *slash = strchr(text, '/'), *end = text;
    if (slash) {
        *slash = 0;
        bits = (unsigned)strtoul(slash + 1, &end, 10);
    }
    if (!slash || end == slash + 1 || *end || bits < 8 || bits > 27 ||
        !inet_pton(AF_INET, text, &s->net))
        return err_set(e, EINVAL, "net-spec",
                       "--net user,net=%.*s: write an address, / and 8 to 27 bits, like "
                       "net=10.0.2.0/24",
                       (int)w->value_len, w->value);
    s->mask.s_addr = htonl(UINT32_MAX << (32 - bits));
    s->net.s_addr &= s->mask.s_addr;
    return 0;
}

static int set_hostname(struct slirp_words *s, const struct net_word *w, struct err *e)
{
    return net_word_string(w, s->hostname, sizeof s->hostname, e);
}

static int set_domain(struct slirp_words *s, const struct net_word *w, struct err *e)
{
    return net_word_string(w, s->domain, sizeof s->domain, e);
}

static int set_tftp(struct slirp_words *s, const struct net_word *w, struct err *e)
{
    return net_word_string(w, s->tftp, sizeof s->tftp, e);
}

static int set_bootfile(struct slirp_words *s, const struct net_word *w, struct err *e)
{
    return net_word_string(w, s->bootfile, sizeof s->bootfile, e);
}

static int set_mtu(struct slirp_words *s, const struct net_word *w, struct err *e)
{
    return net_word_number(w, 576, 65520, &s->mtu, e);
}

static int set_flag(bool *flag, const struct net_word *w, struct err *e)
{
    *flag = true;
    return w->value ? err_set(e, EINVAL, "net-spec", "--net user: %.*s takes no value",
                              (int)w->key_len, w->key)
                    : 0;
}

static int set_restrict(struct slirp_words *s, const struct net_word *w, struct err *e)
{
    return set_flag(&s->restricted, w, e);
}

static int set_noloopback(struct slirp_words *s, const struct net_word *w, struct err *e)
{
    return set_flag(&s->no_loopback, w, e);
}

static int set_ipv6(struct slirp_words *s, const struct net_word *w, struct err *e)
{
    return set_flag(&s->ipv6, w, e);
}

static int set_nothing(struct slirp_words *s, const struct net_word *w, struct err *e)
{
    return 0; /* the card's */
}

static const struct row {
    const char *key;
    int (*set)(struct slirp_words *s, const struct net_word *w, struct err *e);
} rows[] = {
    {"fwd", set_forward},       {"restrict", set_restrict}, {"noloopback", set_noloopback},
    {"ipv6", set_ipv6},         {"net", set_net},           {"hostname", set_hostname},
    {"domain", set_domain},     {"mtu", set_mtu},           {"tftp", set_tftp},
    {"bootfile", set_bootfile}, {"model", set_nothing},     {"mac", set_nothing},
};

int slirp_words_parse(const char *words, struct slirp_words *s, struct err *e)
{
    *s = (struct slirp_words){.net = {htonl(0x0a000200)}, .mask = {htonl(0xffffff00)}};
    struct net_word w;
    while (net_word_next(&words, &w)) {
        unsigned i = 0;
        while (i < ARRAY_LEN(rows) && !net_word_is(&w, rows[i].key))
            i++;
        int r = i < ARRAY_LEN(rows) ? rows[i].set(s, &w, e)
                                    : net_word_unknown("user", &w, KNOWN_WORDS, e);
        if (r < 0)
            return r;
    }
    return 0;
}
