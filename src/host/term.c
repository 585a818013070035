/* SPDX-License-Identifier: MIT */
/* Terminal modes: see host/term.h. POSIX general terminal interface (XBD ch. 11).
 *
 * A process in the background must leave the modes alone: they belong to who is in front. The
 * caller blocks SIGTTOU, so a race with job control does not stop us half-way. */
#include "host/term.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

void term_init(struct term *t, int fd)
{
    *t = (struct term){.fd = -1};
    if (isatty(fd) && tcgetattr(fd, &t->saved) == 0)
        t->fd = fd;
}

bool term_present(const struct term *t)
{
    return t->fd >= 0;
}

bool term_foreground(const struct term *t)
{
    pid_t front = tcgetpgrp(t->fd);
    return front < 0 || front == getpgrp();
}

int term_raw(struct term *t)
{
    if (t->fd < 0)
        return 0;
    if (!term_foreground(t))
        return -EAGAIN;
    struct termios raw = t->saved;
    cfmakeraw(&raw);
    raw.c_oflag = t->saved.c_oflag;
    atomic_store(&t->raw, true); /* first: a crash in between then restores what is in force */
    return tcsetattr(t->fd, TCSADRAIN, &raw) < 0 ? -errno : 0;
}

/* Reached from signal handlers. */
void term_restore(struct term *t)
{
    if (t->fd < 0 || !atomic_exchange(&t->raw, false) || !term_foreground(t))
        return;
    if (t->leave) {
        ssize_t ignored = write(t->fd, t->leave, strlen(t->leave));
        (void)ignored;
    }
    tcsetattr(t->fd, TCSANOW, &t->saved);
}
