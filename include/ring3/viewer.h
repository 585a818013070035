/* SPDX-License-Identifier: MIT */
/* Who looks at a display all the time: the user's terminal, VNC clients. */
#ifndef RING3_VIEWER_H
#define RING3_VIEWER_H

#include "ring3/display.h"
#include "ring3/loop.h"

struct viewer;
struct viewer_ops {
    /* Somebody else has (false), or no longer has, the terminal. Loop thread; NULL: no matter. */
    void (*listen)(struct viewer *v, bool on);
    void (*free)(struct viewer *v); /* before display and loop */
};
struct viewer {
    const struct viewer_ops *ops;
};

/* The text screen on a terminal whose modes are raw, and its keys. Freeing it leaves the terminal
 * as it was, with the last screen as plain text. NULL on error. */
struct viewer_term_config {
    int in_fd, out_fd;                       /* not owned */
    void (*command)(void *opaque, char key); /* Ctrl-a KEY; loop thread */
    void *opaque;
};
struct viewer *viewer_term_new(const struct display *d, struct loop *l,
                               const struct viewer_term_config *c, struct err *e);
/* What puts a terminal back in order when there is no time for more, as in a crash. */
#define VIEWER_TERM_LEAVE "\033[0m\033[?25h\033[?1049l"

/* A VNC server for `where`: "[HOST]:N" is TCP port 5900 + N, of this machine only unless HOST
 * says otherwise; "unix:PATH" a socket; behind either ",password-file=FILE", whose first line is
 * asked for. Its thread begins with thread_start(thread_opaque). NULL on error. */
struct viewer *viewer_vnc_new(const struct display *d, const char *where,
                              void (*thread_start)(void *opaque), void *thread_opaque,
                              struct err *e);

#endif
