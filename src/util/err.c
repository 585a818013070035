/* SPDX-License-Identifier: MIT */
/* struct err: see ring3/err.h. */
#include "ring3/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int err_set(struct err *e, int errnum, const char *id, const char *fmt, ...)
{
    if (!e)
        return -errnum;
    va_list ap;
    va_start(ap, fmt);
    e->errnum = errnum;
    snprintf(e->id, sizeof e->id, "%s", id);
    vsnprintf(e->text, sizeof e->text, fmt, ap);
    va_end(ap);
    return -errnum;
}

int err_wrap(struct err *e, const char *fmt, ...)
{
    if (!e)
        return 0;
    char old[sizeof e->text], context[sizeof e->text];
    memcpy(old, e->text, sizeof old);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(context, sizeof context, fmt, ap);
    va_end(ap);
    size_t n = strnlen(context, sizeof e->text - 3);
    memcpy(e->text, context, n);
    snprintf(e->text + n, sizeof e->text - n, ": %s", old);
    return -e->errnum;
}
