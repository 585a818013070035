/* SPDX-License-Identifier: MIT */
/* The console on two host descriptors, normally stdin and stdout. It does not touch terminal
 * modes; who owns the process does that (cli/). */
#ifndef RING3_CHAR_STDIO_H
#define RING3_CHAR_STDIO_H

#include "ring3/backend.h"
#include "ring3/loop.h"

#define CHAR_STDIO_ESCAPE 0x01 /* Ctrl-a */

/* Callbacks may be NULL; all run on the loop thread, `output` also in chardev_stdio_finish. */
struct chardev_stdio_config {
    int in_fd, out_fd; /* not owned; in_fd -1: no input */
    bool escapes;      /* Ctrl-a KEY is a command (Ctrl-a a: send Ctrl-a to the guest) */
    void (*command)(void *opaque, char key);
    /* Every byte of guest output once, in order, whether or not it could be written. */
    void (*output)(void *opaque, const uint8_t *p, size_t n);
    /* Output is impossible from now on (positive errno); later bytes are dropped. Once. */
    void (*failed)(void *opaque, int errnum);
    void *opaque;
};

/* NULL on error. Freed through its ops, before the loop. */
struct chardev *chardev_stdio_new(const struct chardev_stdio_config *config, struct err *e);
/* Begin to move bytes. Loop thread, or before the loop runs. */
int chardev_stdio_start(struct chardev *c, struct loop *l, struct err *e);
/* Stop or continue to read input (a terminal that belongs to another process group). Loop thread,
 * after chardev_stdio_start. */
void chardev_stdio_listen(struct chardev *c, bool on);
/* Give what is typed to fn instead of the guest, until it is NULL. Ctrl-a keys stay commands. Loop
 * thread. */
void chardev_stdio_divert(struct chardev *c, void (*fn)(void *opaque, const uint8_t *p, size_t n),
                          void *opaque);
/* After the loop has ended: write out what is left, giving up when nothing moved for patience_ms.
 * Returns how many bytes could not be written. */
size_t chardev_stdio_finish(struct chardev *c, int patience_ms);

#endif
