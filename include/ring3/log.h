/* SPDX-License-Identifier: MIT */
/* What ring3 itself says: one line on stderr, "ring3: LEVEL [id] text". The guest's console is
 * stdout and never mixes with it. All functions: any thread, not in signal handlers. */
#ifndef RING3_LOG_H
#define RING3_LOG_H

#include "ring3/types.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

struct log {
    enum log_level level; /* lines above this level are dropped */
    int fd;               /* where lines go; normally STDERR_FILENO */
};

/* One source of warnings a guest can provoke; at most LOG_LIMIT_BURST lines a second pass. */
struct log_limit {
    _Atomic uint64_t window_s; /* second (monotonic) the count belongs to */
    _Atomic unsigned count;
};
#define LOG_LIMIT_BURST 5

void log_line(const struct log *l, enum log_level level, const char *id, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* As log_line at LOG_WARN, but rate-limited by *limit. For everything a guest can cause. */
void log_guest(const struct log *l, struct log_limit *limit, const char *id, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* Our own mistake: print where, then abort(). Never reachable from guest input. */
_Noreturn void bug_at(const char *file, int line, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
#define BUG(...) bug_at(__FILE__, __LINE__, __VA_ARGS__)

#endif
