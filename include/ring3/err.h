/* SPDX-License-Identifier: MIT */
/* Errors of the host or of the configuration: a function returns a negative errno and fills a
 * `struct err`; only main() turns it into a message and an exit code. Guest mistakes are never
 * errors of this kind: they become architectural faults or device status. */
#ifndef RING3_ERR_H
#define RING3_ERR_H

#include <stddef.h>

struct err {
    int errnum;     /* positive errno, 0 when nothing was set */
    char id[32];    /* stable, e.g. "kernel-truncated"; what scripts may match */
    char text[512]; /* what, where, why, what to do; one line without a newline */
};

/* Fill *e (which may be NULL) and return -errnum. Text that is too long is cut. Any thread. */
int err_set(struct err *e, int errnum, const char *id, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* Put "context: " in front of an existing text; returns -e->errnum. */
int err_wrap(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
