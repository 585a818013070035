/* SPDX-License-Identifier: MIT */
/* The user's terminal: raw mode while the guest owns it, and always back again. */
#ifndef RING3_HOST_TERM_H
#define RING3_HOST_TERM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <termios.h>

struct term {
    int fd;               /* -1: not a terminal, everything below does nothing */
    struct termios saved; /* the modes we found */
    const char *leave;    /* also written when the modes go back, or NULL */
    _Atomic bool raw;     /* ours are in force */
};

/* Remember fd's modes if it is a terminal. */
void term_init(struct term *t, int fd);
bool term_present(const struct term *t);
/* Are we the terminal's foreground process group? True if nobody can say. */
bool term_foreground(const struct term *t);
/* Raw input, but newline translation on output stays. 0 or -errno; -EAGAIN in the background. */
int term_raw(struct term *t);
/* Put the saved modes back if raw ones are in force. Async-signal-safe, any thread. */
void term_restore(struct term *t);

#endif
