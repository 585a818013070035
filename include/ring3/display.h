/* SPDX-License-Identifier: MIT */
/* What a video card shows and what a person at it types, between the chip (src/dev) and whoever
 * looks: terminal, VNC, screenshot (src/backend). The chip is passive: viewers ask when they want
 * to, on the loop thread, so a headless guest pays nothing. */
#ifndef RING3_DISPLAY_H
#define RING3_DISPLAY_H

#include "ring3/err.h"
#include "ring3/types.h"

#define DISPLAY_MAX_WIDTH   2560u
#define DISPLAY_MAX_HEIGHT  1600u
#define DISPLAY_MAX_COLUMNS 160u
#define DISPLAY_MAX_ROWS    100u

struct display_mode {
    unsigned width, height; /* pixels; 0: the screen is blank */
    bool text;              /* columns and rows are valid: text() works */
    unsigned columns, rows;
    uint32_t generation; /* another number when any of the above changed */
};

struct display_cell {
    uint8_t character; /* code page 437, as in video memory */
    uint8_t attribute; /* VGA: background << 4 | foreground */
};

/* Rectangle in pixels that changed; empty when width is 0. */
struct display_rect {
    unsigned x, y, width, height;
};

struct display_ops {
    void (*mode)(void *opaque, struct display_mode *m);
    /* Draw the rows that changed since the last call into pixels[] (0x00RRGGBB, `stride` pixels a
     * row, room for the mode's size); `whole` draws everything. *changed bounds what was drawn. */
    void (*draw)(void *opaque, uint32_t *pixels, unsigned stride, bool whole,
                 struct display_rect *changed);
    /* Text modes: all cells, row by row; the cursor's cell, or -1 if it is off. */
    void (*text)(void *opaque, struct display_cell *cells, int *cursor);
};

/* A screen with its keyboard and pointer. Built by the board, kept by the VM. */
struct display {
    const struct display_ops *ops;
    void *opaque;
    /* Input: a key by its PC set-1 code (0xe0xx for extended ones), down or up; false: no room,
     * try again later. A pointer: relative motion, buttons as I8042_LEFT and so on. Any thread. */
    bool (*key)(void *opaque, unsigned code, bool down);
    bool (*pointer)(void *opaque, int dx, int dy, int dz, unsigned buttons);
    void *input_opaque;
};

#endif
