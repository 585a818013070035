/* SPDX-License-Identifier: MIT */
/* From the words behind --net to a backend: the table of kinds, and what their parsers share. See
 * ring3/net.h. Left out: names for backends, several cards on one of them. */
#include "ring3/net.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net_port.h"

/* ---- words ----------------------------------------------------------------------------------- */

bool net_word_next(const char **at, struct net_word *w)
{
    const char *p = *at;
    if (!*p)
        return false;
    size_t n = strcspn(p, ","), key = strcspn(p, ",=");
    *w = (struct net_word){.key = p, .key_len = key};
    if (p[key] == '=') {
        w->value = p + key + 1;
        w->value_len = n - key - 1;
    }
    *at = p + n + (p[n] == ',');
    return true;
}

bool net_word_is(const struct net_word *w, const char *key)
{
    return strlen(key) == w->key_len && memcmp(key, w->key, w->key_len) == 0;
}

bool net_word_of_card(const struct net_word *w)
{
    return net_word_is(w, "model") || net_word_is(w, "mac");
}

int net_word_string(const struct net_word *w, char *out, size_t size, struct err *e)
{
    if (!w->value || !w->value_len || w->value_len >= size)
        return err_set(e, EINVAL, "net-spec", "--net: %.*s= needs a value of 1 to %zu bytes",
                       (int)w->key_len, w->key, size - 1);
    memcpy(out, w->value, w->value_len);
    out[w->value_len] = 0;
    return 0;
}

int net_word_number(const struct net_word *w, unsigned min, unsigned max, unsigned *out,
                    struct err *e)
{
    unsigned x = 0;
    bool good = w->value && w->value_len >= 1 && w->value_len <= 8;
    for (size_t i = 0; good && i < w->value_len; i++) {
        good = isdigit((unsigned char)w->value[i]);
        x = x * 10 + (unsigned)(w->value[i] - '0');
    }
    *out = x;
    if (good && x >= min && x <= max)
        return 0;
    return err_set(e, EINVAL, "net-spec", "--net: %.*s= needs a number from %u to %u, not \"%.*s\"",
                   (int)w->key_len, w->key, min, max, (int)w->value_len, w->value ? w->value : "");
}

int net_word_unknown(const char *kind, const struct net_word *w, const char *known, struct err *e)
{
    return err_set(e, EINVAL, "net-spec",
                   "--net %s does not know \"%.*s\"; it knows %s, and model=, mac= for the card",
                   kind, (int)w->key_len, w->key, known);
}

bool net_parse_mac(const char *text, size_t n, uint8_t mac[6])
{
    unsigned any = 0;
    if (n != 17)
        return false;
    for (unsigned i = 0; i < 6; i++) {
        char digits[3] = {text[3 * i], text[3 * i + 1], 0};
        if (!isxdigit((unsigned char)digits[0]) || !isxdigit((unsigned char)digits[1]) ||
            (i < 5 && text[3 * i + 2] != ':'))
            return false;
        mac[i] = (uint8_t)strtoul(digits, NULL, 16);
        any |= mac[i];
    }
    return any && !(mac[0] & 1);
}

/* ---- no cable -------------------------------------------------------------------------------- */

static void none_send(struct netdev *n, const struct iovec *iov, unsigned count) {}

static void none_free(struct netdev *n)
{
    free(n);
}

static struct netdev *none_open(const char *words, struct loop *loop, const struct log *log,
                                struct err *e)
{
    static const struct netdev_ops ops = {.send = none_send, .free = none_free};
    struct net_word w;
    while (net_word_next(&words, &w))
        if (!net_word_of_card(&w)) {
            net_word_unknown("none", &w, "no word", e);
            return NULL;
        }
    struct netdev *n = calloc(1, sizeof *n);
    if (!n) {
        err_set(e, ENOMEM, "no-memory", "no memory for a network");
        return NULL;
    }
    n->ops = &ops;
    n->name = "none";
    n->max_frame = NET_FRAME_MAX;
    return n;
}

/* ---- the table of kinds ---------------------------------------------------------------------- */

static const struct kind {
    const char *name;
    struct netdev *(*open)(const char *words, struct loop *loop, const struct log *log,
                           struct err *e);
} kinds[] = {
    {"user", net_slirp_open},
    {"stream", net_stream_open},
    {"tap", net_tap_open},
    {"none", none_open},
};

struct netdev *netdev_open(const char *spec, struct loop *loop, const struct log *log,
                           struct err *e)
{
    const char *at = spec;
    struct net_word w = {0};
    bool any = net_word_next(&at, &w);
    for (unsigned i = 0; any && !w.value && i < ARRAY_LEN(kinds); i++)
        if (net_word_is(&w, kinds[i].name))
            return kinds[i].open(at, loop, log, e);
    err_set(e, EINVAL, "net-spec",
            "--net starts with user, stream, tap or none, not \"%.*s\"; for example "
            "--net user,fwd=tcp:2222-22",
            (int)strcspn(spec, ","), spec);
    return NULL;
}

void netdev_free(struct netdev *n)
{
    if (n)
        n->ops->free(n);
}
