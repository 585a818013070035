/* SPDX-License-Identifier: MIT */
/* Typing: movements of keys wait in a ring and go to the keyboard one at a time, as a person's
 * would, since the keyboard's buffer, and that of a BIOS behind it, hold about 16. A timer of the
 * guest's clock drives them, so a guest that stands still gets none; while the keyboard takes
 * nothing it tries ever more seldom. Keys are those of a US keyboard. */
#include "ring3/display.h"

#include <ctype.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "ring3/clock.h"

#define MOVEMENTS      4096 /* a power of two */
#define BETWEEN_NS     (8 * UINT64_C(1000000))
#define SELDOM_NS      (512 * UINT64_C(1000000))
#define TOGETHER_MAX   4 /* keys of <ctrl-alt-del> */
#define KEY_SHIFT      0x2a
#define KEY_DOWN       0x80000000u
#define NAME_MAX_CHARS 15

struct display_typist {
    struct display *display;
    pthread_mutex_t lock; /* guards what follows */
    struct timer timer;
    uint32_t ring[MOVEMENTS]; /* key codes, KEY_DOWN */
    uint64_t put, taken;
    uint64_t wait_ns; /* to the next movement */
};

/* ---- the ring -------------------------------------------------------------------------------- */

static void arm(struct display_typist *t)
{
    timer_set(&t->timer,
              t->put == t->taken ? TIMER_NEVER : clock_now_ns(t->timer.clock) + t->wait_ns);
}

static void on_timer(void *opaque)
{
    struct display_typist *t = opaque;

    pthread_mutex_lock(&t->lock);
    if (t->put != t->taken) {
        uint32_t key = t->ring[t->taken % MOVEMENTS];
        struct display *d = t->display;
        if (d->key(d->input_opaque, key & ~KEY_DOWN, key & KEY_DOWN)) {
            t->taken++;
            t->wait_ns = BETWEEN_NS;
        } else if (t->wait_ns < SELDOM_NS) {
            t->wait_ns *= 2;
        }
    }
    arm(t);
    pthread_mutex_unlock(&t->lock);
}

/* All of them or none. */
static bool add(struct display_typist *t, const uint32_t *keys, size_t n)
{
    pthread_mutex_lock(&t->lock);
    bool room = n <= MOVEMENTS - (t->put - t->taken), idle = t->put == t->taken;
    for (size_t i = 0; room && i < n; i++)
        t->ring[t->put++ % MOVEMENTS] = keys[i];
    if (room && idle)
        arm(t);
    pthread_mutex_unlock(&t->lock);
    return room;
}

struct display_typist *display_typist_new(struct display *d, struct clock *clock, struct err *e)
{
    struct display_typist *t = calloc(1, sizeof *t);

    if (!t) {
        err_set(e, ENOMEM, "no-memory", "no memory for the keyboard");
        return NULL;
    }
    t->display = d;
    t->wait_ns = BETWEEN_NS;
    pthread_mutex_init(&t->lock, NULL);
    timer_init(&t->timer, clock, on_timer, t);
    return t;
}

void display_typist_free(struct display_typist *t)
{
    if (!t)
        return;
    timer_set(&t->timer, TIMER_NEVER);
    pthread_mutex_destroy(&t->lock);
    free(t);
}

bool display_key(const struct display *d, unsigned code, bool down)
{
    uint32_t key = code | (down ? KEY_DOWN : 0);
    return d->typist && add(d->typist, &key, 1);
}

/* ---- names of keys --------------------------------------------------------------------------- */

/* A row of keys: codes count up from `first`. */
static const struct {
    unsigned first;
    const char *plain, *shifted;
} rows[] = {
    {0x02, "1234567890-=", "!@#$%^&*()_+"},
    {0x10, "qwertyuiop[]", "QWERTYUIOP{}"},
    {0x1e, "asdfghjkl;'`", "ASDFGHJKL:\"~"},
    {0x2b, "\\zxcvbnm,./", "|ZXCVBNM<>?"},
    {0x39, " ", ""},
    {0x1c, "\n", ""},
    {0x1c, "\r", ""},
    {0x0f, "\t", ""},
    {0x0e, "\b", ""},
    {0x0e, "\x7f", ""},
    {0x01, "\x1b", ""},
};

static const struct {
    const char *name;
    unsigned code;
} names[] = {
    {"enter", 0x1c},   {"esc", 0x01},   {"tab", 0x0f},    {"space", 0x39},   {"backspace", 0x0e},
    {"shift", 0x2a},   {"ctrl", 0x1d},  {"alt", 0x38},    {"altgr", 0xe038}, {"win", 0xe05b},
    {"menu", 0xe05d},  {"up", 0xe048},  {"down", 0xe050}, {"left", 0xe04b},  {"right", 0xe04d},
    {"home", 0xe047},  {"end", 0xe04f}, {"pgup", 0xe049}, {"pgdn", 0xe051},  {"ins", 0xe052},
    {"del", 0xe053},   {"caps", 0x3a},  {"num", 0x45},    {"scroll", 0x46},  {"print", 0xe037},
    {"pause", 0xe11d}, {"lt", 0x133},   {"gt", 0x134},    {"minus", 0x0c},   {"f1", 0x3b},
    {"f2", 0x3c},      {"f3", 0x3d},    {"f4", 0x3e},     {"f5", 0x3f},      {"f6", 0x40},
    {"f7", 0x41},      {"f8", 0x42},    {"f9", 0x43},     {"f10", 0x44},     {"f11", 0x57},
    {"f12", 0x58},
};
#define WITH_SHIFT 0x100u /* of codes below 0xe000 */

/* The key for a character, with WITH_SHIFT; 0: none. */
static unsigned key_of_char(char c)
{
    for (unsigned i = 0; c && i < ARRAY_LEN(rows); i++) {
        const char *p = strchr(rows[i].plain, c), *s = strchr(rows[i].shifted, c);
        if (p)
            return rows[i].first + (unsigned)(p - rows[i].plain);
        if (s)
            return (rows[i].first + (unsigned)(s - rows[i].shifted)) | WITH_SHIFT;
    }
    return 0;
}

static unsigned key_of_name(const char *name, size_t n)
{
    for (unsigned i = 0; i < ARRAY_LEN(names); i++)
        if (strlen(names[i].name) == n && strncasecmp(names[i].name, name, n) == 0)
            return names[i].code;
    return n == 1 ? key_of_char(*name) : 0;
}

/* ---- text to movements ----------------------------------------------------------------------- */

struct movements {
    uint32_t key[MOVEMENTS];
    size_t n;
    bool full;
};

static void move(struct movements *m, unsigned code, bool down)
{
    if (m->n == MOVEMENTS)
        m->full = true;
    else
        m->key[m->n++] = code | (down ? KEY_DOWN : 0);
}

static bool is_shifted(unsigned key)
{
    return key >> 8 == WITH_SHIFT >> 8;
}

/* Down in order, up again in reverse. */
static void chord(struct movements *m, const unsigned *keys, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        if (is_shifted(keys[i]))
            move(m, KEY_SHIFT, true);
        move(m, is_shifted(keys[i]) ? keys[i] & ~WITH_SHIFT : keys[i], true);
    }
    while (n-- > 0) {
        move(m, is_shifted(keys[n]) ? keys[n] & ~WITH_SHIFT : keys[n], false);
        if (is_shifted(keys[n]))
            move(m, KEY_SHIFT, false);
    }
}

/* What stands between < and >; returns the text behind it, or NULL. */
static const char *named(struct movements *m, const char *at)
{
    unsigned keys[TOGETHER_MAX], n = 0;

    for (;; at++) {
        size_t len = strcspn(at, "->");
        if (n == TOGETHER_MAX || !len || len > NAME_MAX_CHARS || !at[len])
            return NULL;
        keys[n] = key_of_name(at, len);
        if (!keys[n++])
            return NULL;
        at += len;
        if (*at == '>')
            break;
    }
    chord(m, keys, n);
    return at + 1;
}

static int translate(struct movements *m, const char *keys, struct err *e)
{
    for (const char *at = keys; *at;) {
        unsigned key = *at == '<' ? 0 : key_of_char(*at);
        const char *next = key ? at + 1 : *at == '<' ? named(m, at + 1) : NULL;
        if (!next)
            return err_set(e, EINVAL, "bad-keys",
                           "no key for \"%.20s\": what can be typed is ASCII text and names such "
                           "as <enter>, <esc>, <up>, <f2>, <ctrl-alt-del>, <lt> for \"<\"",
                           at);
        if (key)
            chord(m, &key, 1);
        at = next;
    }
    return 0;
}

int display_type(const struct display *d, const char *keys, struct err *e)
{
    struct movements *m = calloc(1, sizeof *m);
    int r;

    if (!m)
        return err_set(e, ENOMEM, "no-memory", "no memory for keys to type");
    if (!d->typist)
        r = err_set(e, ENODATA, "no-screen",
                    "this machine has no screen and keyboard: ask for them with --display");
    else
        r = translate(m, keys, e);
    if (r == 0 && (m->full || !add(d->typist, m->key, m->n)))
        r = err_set(e, ENOSPC, "keys-wait", "too many keys wait to be typed, at most %d fit",
                    MOVEMENTS / 2);
    free(m);
    return r;
}
