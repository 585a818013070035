/* SPDX-License-Identifier: MIT */
/* ring3's own voice: see ring3/log.h. Each line is one write(), so that lines of several threads
 * do not mix. */
#include "ring3/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static const char *const level_names[] = {"error", "warning", "info", "debug"};

static void emit(int fd, enum log_level level, const char *id, const char *fmt, va_list ap)
{
    char line[1024];
    int n = snprintf(line, sizeof line, "ring3: %s [%s] ", level_names[level], id);
    int m = vsnprintf(line + n, sizeof line - (size_t)n - 1, fmt, ap);
    size_t end = (size_t)n + (m < 0 ? 0 : (size_t)m);
    if (end > sizeof line - 2)
        end = sizeof line - 2;
    line[end++] = '\n';
    ssize_t ignored = write(fd, line, end); /* nowhere left to complain */
    (void)ignored;
}

void log_line(const struct log *l, enum log_level level, const char *id, const char *fmt, ...)
{
    if (level > l->level)
        return;
    va_list ap;
    va_start(ap, fmt);
    emit(l->fd, level, id, fmt, ap);
    va_end(ap);
}

void log_guest(const struct log *l, struct log_limit *limit, const char *id, const char *fmt, ...)
{
    if (LOG_WARN > l->level)
        return;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    uint64_t second = (uint64_t)now.tv_sec;
    if (atomic_exchange(&limit->window_s, second) != second)
        atomic_store(&limit->count, 0);
    if (atomic_fetch_add(&limit->count, 1) >= LOG_LIMIT_BURST)
        return;
    va_list ap;
    va_start(ap, fmt);
    emit(l->fd, LOG_WARN, id, fmt, ap);
    va_end(ap);
}

void bug_at(const char *file, int line, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fprintf(stderr, "ring3: BUG at %s:%d: ", file, line);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
    abort();
}
