/* SPDX-License-Identifier: MIT */
/* The text screen in a terminal (ECMA-48, xterm control sequences), and the terminal's keys as keys
 * of the guest's keyboard.
 *
 * Twenty-five times a second the screen is compared with what the terminal shows, cell by cell, and
 * the difference is written. The terminal is opened a second time, so that writes need not block; a
 * slow terminal just misses pictures. Graphics modes are a line that says so. If the terminal has
 * fewer rows than the screen, those around the cursor are shown.
 *
 * Left out: the mouse, keys that terminals do not report (releases, Alt alone, Pause). */
#include "ring3/viewer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "backend/term_keys.h"
#include "backend/utf8.h"

#define ESCAPE_KEY  0x01 /* Ctrl-a */
#define FRAME_NS    40000000
#define READ_MAX    256
#define CELL_BYTES  48 /* at most: position, colours, character */
#define BUFFER_SIZE (DISPLAY_MAX_CELLS * CELL_BYTES + 256)

struct viewer_term {
    struct viewer base; /* first */
    const struct display *display;
    struct loop *loop;
    struct viewer_term_config config;
    int fd, timer_fd; /* own open file of the terminal */
    bool escape_seen, away;
    bool aside;                  /* something else is to be read, until the next key */
    unsigned columns, rows, top; /* of the terminal; first row of the screen that is shown */
    bool shown_valid;            /* `shown` is what the terminal shows */
    struct display_mode mode;    /* of what is shown */
    struct display_text shown, now;
    unsigned at;    /* cell of the terminal where its cursor is, from 1 on; 0: unknown */
    int attribute;  /* in force; -1: unknown */
    size_t n, sent; /* of buffer[] */
    char buffer[BUFFER_SIZE];
};

/* ---- output ---------------------------------------------------------------------------------- */

static void put(struct viewer_term *v, const char *text)
{
    size_t n = strlen(text);
    if (n > BUFFER_SIZE - v->n)
        return;
    memcpy(v->buffer + v->n, text, n);
    v->n += n;
}

/* True if all is out. */
static bool flush(struct viewer_term *v)
{
    while (v->sent < v->n) {
        ssize_t n = write(v->fd, v->buffer + v->sent, v->n - v->sent);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return false;
        if (n < 0)
            v->sent = v->n; /* gone: nobody sees it */
        else
            v->sent += (size_t)n;
    }
    v->n = v->sent = 0;
    return true;
}

/* Bits of a colour: blue 1, green 2, red 4 on a PC; red 1, green 2, blue 4 in a terminal. */
static unsigned ansi(unsigned colour)
{
    return (colour & 2) | (colour & 1) << 2 | (colour >> 2 & 1);
}

static void set_attribute(struct viewer_term *v, uint8_t a)
{
    char text[32];
    if (v->attribute == a)
        return;
    v->attribute = a;
    snprintf(text, sizeof text, "\033[%u;%um", (a & 8 ? 90 : 30) + ansi(a & 7),
             (a & 128 ? 100 : 40) + ansi(a >> 4 & 7));
    put(v, text);
}

static void go_to(struct viewer_term *v, unsigned row, unsigned column)
{
    char text[32];
    unsigned at = row * v->columns + column + 1;
    if (v->at == at)
        return;
    snprintf(text, sizeof text, "\033[%u;%uH", row + 1, column + 1);
    put(v, text);
    v->at = at;
}

static void put_cell(struct viewer_term *v, unsigned row, unsigned column, struct display_cell c)
{
    char text[UTF8_MAX + 1];
    go_to(v, row, column);
    set_attribute(v, c.attribute);
    *utf8_put(text, display_unicode(c.character)) = 0;
    put(v, text);
    /* Behind the last column terminals differ. */
    v->at = column + 1 < v->columns ? v->at + 1 : 0;
}

/* ---- frames ---------------------------------------------------------------------------------- */

static void clear(struct viewer_term *v)
{
    put(v, "\033[0m\033[2J");
    v->at = 0;
    v->attribute = -1;
}

static void look_at_size(struct viewer_term *v)
{
    struct winsize w = {0};
    ioctl(v->fd, TIOCGWINSZ, &w);
    unsigned columns = w.ws_col ? w.ws_col : 80, rows = w.ws_row ? w.ws_row : 25;
    if (columns != v->columns || rows != v->rows)
        v->shown_valid = false;
    v->columns = columns;
    v->rows = rows;
}

/* Which row comes first, so that the cursor is to be seen. */
static unsigned top_of(const struct viewer_term *v)
{
    unsigned cursor = v->now.cursor < 0 ? 0 : (unsigned)v->now.cursor / v->now.columns;
    unsigned most = v->now.rows > v->rows ? v->now.rows - v->rows : 0, top = v->top;
    if (cursor < top)
        top = cursor;
    if (cursor >= top + v->rows)
        top = cursor + 1 - v->rows;
    return top < most ? top : most;
}

static void draw_cursor(struct viewer_term *v)
{
    const struct display_text *t = &v->now;
    bool on = t->cursor >= 0, was_on = v->shown_valid && v->shown.cursor >= 0;
    if (on) {
        unsigned row = (unsigned)t->cursor / t->columns, column = (unsigned)t->cursor % t->columns;
        if (row >= v->top && row - v->top < v->rows && column < v->columns)
            go_to(v, row - v->top, column);
    }
    if (on != was_on || !v->shown_valid)
        put(v, on ? "\033[?25h" : "\033[?25l");
}

static void draw_text(struct viewer_term *v)
{
    const struct display_text *t = &v->now;
    unsigned top = top_of(v);

    if (top != v->top || t->columns != v->shown.columns || t->rows != v->shown.rows)
        v->shown_valid = false;
    v->top = top;
    if (!v->shown_valid)
        clear(v);
    for (unsigned row = 0; row < v->rows && row + top < t->rows; row++)
        for (unsigned column = 0; column < v->columns && column < t->columns; column++) {
            size_t i = (size_t)(row + top) * t->columns + column;
            const struct display_cell *a = &t->cells[i], *b = &v->shown.cells[i];
            if (!v->shown_valid || a->character != b->character || a->attribute != b->attribute)
                put_cell(v, row, column, *a);
        }
    draw_cursor(v);
    v->shown_valid = true;
    v->shown = v->now;
}

static void draw_graphics(struct viewer_term *v, const struct display_mode *m)
{
    char text[128];
    bool same = v->shown_valid && !v->mode.text && v->mode.width == m->width &&
                v->mode.height == m->height && v->mode.blank == m->blank;
    if (same)
        return;
    clear(v);
    snprintf(text, sizeof text, "\033[1;1H\033[?25l(graphics, %u by %u: --display vnc shows it)",
             m->width, m->height);
    put(v, m->blank ? "\033[1;1H\033[?25l(the screen is off)" : text);
    v->shown_valid = true;
    v->shown.columns = 0;
}

static void draw(struct viewer_term *v)
{
    struct display_mode m;
    look_at_size(v);
    v->display->ops->mode(v->display->opaque, &m);
    if (v->display->ops->text(v->display->opaque, &v->now))
        draw_text(v);
    else if (!m.text)
        draw_graphics(v, &m);
    v->mode = m;
}

static void on_timer(void *opaque, uint32_t events)
{
    struct viewer_term *v = opaque;
    uint64_t count;
    ssize_t ignored = read(v->timer_fd, &count, sizeof count);
    (void)ignored;
    if (v->away || v->aside || !flush(v))
        return;
    draw(v);
    flush(v);
}

/* Make room for what a command prints. */
static void step_aside(struct viewer_term *v)
{
    clear(v);
    put(v, "\033[H\033[?25h");
    flush(v);
    v->shown_valid = false;
    v->aside = true;
}

/* ---- input ----------------------------------------------------------------------------------- */

static void type(struct viewer_term *v, const char *keys)
{
    if (*keys)
        display_type(v->display, keys, NULL); /* too many: as a keyboard's buffer, it loses them */
}

static void on_input(void *opaque, uint32_t events)
{
    struct viewer_term *v = opaque;
    char bytes[READ_MAX + 1], keys[READ_MAX * TERM_KEYS_MAX + 1];
    ssize_t n = read(v->config.in_fd, bytes, READ_MAX);
    if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN)) {
        loop_unwatch(v->loop, v->config.in_fd); /* the terminal went away */
        return;
    }
    if (n > 0 && v->aside) {
        v->aside = false;
        return;
    }
    for (ssize_t i = 0, from = 0; i < n; from = i) {
        while (i < n && bytes[i] != ESCAPE_KEY && !v->escape_seen)
            i++;
        term_keys(bytes + from, (size_t)(i - from), keys);
        type(v, keys);
        if (i == n)
            break;
        if (!v->escape_seen) {
            v->escape_seen = true;
            i++;
            continue;
        }
        v->escape_seen = false;
        if (bytes[i] == 'a' || bytes[i] == ESCAPE_KEY) {
            type(v, "<ctrl-a>");
        } else {
            step_aside(v);
            v->config.command(v->config.opaque, bytes[i]);
        }
        i++;
    }
}

/* ---- life ------------------------------------------------------------------------------------ */

static void term_listen(struct viewer *base, bool on)
{
    struct viewer_term *v = container_of(base, struct viewer_term, base);
    v->away = !on;
    v->shown_valid = false;
    if (on)
        put(v, "\033[?1049h");
    loop_watch(v->loop, v->config.in_fd, on ? EPOLLIN : 0, on_input, v);
}

static void term_free(struct viewer *base)
{
    struct viewer_term *v = container_of(base, struct viewer_term, base);
    char *text = NULL;
    loop_unwatch(v->loop, v->config.in_fd);
    loop_unwatch(v->loop, v->timer_fd);
    fcntl(v->fd, F_SETFL, 0); /* the end may take its time */
    flush(v);
    put(v, VIEWER_TERM_LEAVE);
    flush(v);
    if (display_text(v->display, &text, NULL) == 0) {
        size_t n = strlen(text);
        while (n && text[n - 1] == '\n')
            n--;
        text[n] = 0;
        dprintf(v->fd, "%s%s", text, n ? "\n" : "");
    }
    free(text);
    close(v->timer_fd);
    close(v->fd);
    free(v);
}

static int start_timer(struct viewer_term *v)
{
    struct itimerspec t = {{0, FRAME_NS}, {0, FRAME_NS}};
    v->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (v->timer_fd < 0 || timerfd_settime(v->timer_fd, 0, &t, NULL) < 0)
        return -errno;
    return loop_watch(v->loop, v->timer_fd, EPOLLIN, on_timer, v);
}

struct viewer *viewer_term_new(const struct display *d, struct loop *l,
                               const struct viewer_term_config *c, struct err *e)
{
    static const struct viewer_ops ops = {term_listen, term_free};
    struct viewer_term *v = calloc(1, sizeof *v);
    char path[32];

    if (!v) {
        err_set(e, ENOMEM, "no-memory", "no memory for the screen in the terminal");
        return NULL;
    }
    v->base.ops = &ops;
    v->display = d;
    v->loop = l;
    v->config = *c;
    v->timer_fd = -1;
    v->attribute = -1;
    snprintf(path, sizeof path, "/proc/self/fd/%d", c->out_fd);
    v->fd = open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    int r = v->fd < 0 ? -errno : start_timer(v);
    if (r == 0)
        return &v->base;
    err_set(e, -r, "terminal-failed", "cannot show the screen in this terminal: %s", strerror(-r));
    if (v->timer_fd >= 0)
        close(v->timer_fd);
    if (v->fd >= 0)
        close(v->fd);
    free(v);
    return NULL;
}
