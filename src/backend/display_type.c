/* SPDX-License-Identifier: MIT */
/* Typing: movements of keys wait in a ring and go to the keyboard one at a time, as a person's
 * would, since the keyboard's buffer, and that of a BIOS behind it, hold about 16. A timer of the
 * guest's clock drives them, so a guest that stands still gets none; while the keyboard takes
 * nothing it tries ever more seldom. Keys are those of a US keyboard. */
#include "ring3/display.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "backend/keys.h"
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
    return key >> 8 == KEY_WITH_SHIFT >> 8;
}

/* Down in order, up again in reverse. */
static void chord(struct movements *m, const unsigned *keys, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        if (is_shifted(keys[i]))
            move(m, KEY_SHIFT, true);
        move(m, is_shifted(keys[i]) ? keys[i] & ~KEY_WITH_SHIFT : keys[i], true);
    }
    while (n-- > 0) {
        move(m, is_shifted(keys[n]) ? keys[n] & ~KEY_WITH_SHIFT : keys[n], false);
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
