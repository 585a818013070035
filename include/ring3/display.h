/* SPDX-License-Identifier: MIT */
/* What a video card shows and what a person at it types, between the chip (src/dev) and whoever
 * looks: terminal, VNC, screenshot (src/backend). The chip is passive: viewers ask when they want
 * to, so a headless guest pays nothing, and keep what they saw themselves. All calls: any thread.
 */
#ifndef RING3_DISPLAY_H
#define RING3_DISPLAY_H

#include "ring3/err.h"
#include "ring3/types.h"

struct clock;

#define DISPLAY_MAX_WIDTH   2560u
#define DISPLAY_MAX_HEIGHT  1600u
#define DISPLAY_MAX_COLUMNS 160u
#define DISPLAY_MAX_ROWS    100u
#define DISPLAY_MAX_CELLS   (DISPLAY_MAX_COLUMNS * DISPLAY_MAX_ROWS)

struct display_mode {
    unsigned width, height; /* pixels, as a monitor shows them; never 0 */
    bool text;              /* text() works */
    bool blank;             /* the card shows nothing; draw() gives black */
};

struct display_cell {
    uint8_t character; /* code page 437, as in video memory */
    uint8_t attribute; /* VGA: background << 4 | foreground */
};

/* A text screen. */
struct display_text {
    unsigned columns, rows;
    int cursor;                                   /* index of its cell, or -1 if it is off */
    struct display_cell cells[DISPLAY_MAX_CELLS]; /* row by row, without gaps */
};

/* Rectangle in pixels; empty when width is 0. */
struct display_rect {
    unsigned x, y, width, height;
};

struct display_ops {
    void (*mode)(void *opaque, struct display_mode *m);
    /* Bring pixels[] (0x00RRGGBB, `stride` pixels a row, room for the size in *m) up to date.
     * What it held is taken for what the viewer shows: *changed bounds the difference. False and
     * nothing drawn if the screen has another size by now. */
    bool (*draw)(void *opaque, const struct display_mode *m, uint32_t *pixels, unsigned stride,
                 struct display_rect *changed);
    /* False, and *t empty, unless in a text mode. */
    bool (*text)(void *opaque, struct display_text *t);
};

/* A key by its PC set-1 code, 0xe0xx for extended ones, and this one for Pause. */
#define DISPLAY_KEY_PAUSE 0xe11du

/* A screen with its keyboard and pointer. Built by the board, kept by the VM. */
struct display {
    const struct display_ops *ops;
    void *opaque;
    /* Input: a key down or up; false: no room, try again later. Relative motion, right and down
     * positive, wheel towards the user positive, buttons as I8042_LEFT and so on. */
    bool (*key)(void *opaque, unsigned code, bool down);
    bool (*pointer)(void *opaque, int dx, int dy, int dz, unsigned buttons);
    void *input_opaque;
    struct display_typist *typist; /* keys that wait for room; see below */
};

/* ---- what viewers, monitor and tests do with any display (src/backend) ------------------------
 */

/* Write the screen as a PNG picture. 0 or -errno. */
int display_screenshot(const struct display *d, const char *path, struct err *e);
/* The text screen as UTF-8: rows of at most 160 characters without trailing blanks, each with a
 * newline. 0, -ENODATA in a graphics mode. *text is the caller's to free(). */
int display_text(const struct display *d, char **text, struct err *e);
/* Code page 437 as Unicode. */
uint32_t display_unicode(uint8_t character);

/* Types keys as fast as the guest takes them, one movement each few milliseconds of guest time. */
struct display_typist *display_typist_new(struct display *d, struct clock *clock, struct err *e);
void display_typist_free(struct display_typist *t);
/* Text for a US keyboard. Names in angle brackets are keys: <enter> <esc> <tab> <up> <f1> ...,
 * <ctrl-alt-del> several at once, <lt> is "<" itself. -EINVAL for what has no key (nothing is
 * typed then), -ENOSPC if too much waits already. */
int display_type(const struct display *d, const char *keys, struct err *e);
/* One movement of a key behind what waits. False: too much waits. */
bool display_key(const struct display *d, unsigned code, bool down);

#endif
