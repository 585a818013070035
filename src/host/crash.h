/* SPDX-License-Identifier: MIT */
/* What ring3 does when it crashes itself. All sigaction calls of ring3 are in host/. */
#ifndef RING3_HOST_CRASH_H
#define RING3_HOST_CRASH_H

#include <signal.h>
#include <ucontext.h>

#include "host/term.h"
#include "ring3/err.h"

/* What a crash leaves in order. Outlives every thread that entered it. */
struct crash {
    struct term *term;
    int log_fd;
};

/* Handle SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP and SIGABRT: unless the thread takes them on
 * purpose (host/fault.h), restore the terminal, print one line, die of the signal. Ignore SIGPIPE:
 * writers see EPIPE. Once per process. */
int crash_install(struct err *e);

/* Give the calling thread an alternate stack and tie it to *c; without it a crash of the thread
 * restores nothing. The signature fits vm_config.thread_start. Undone by crash_leave or lost
 * with the thread (64 KiB). */
void crash_enter(void *crash);
void crash_leave(void);

/* Restore the terminal and print the line. c may be NULL. Async-signal-safe; for host/fault.c. */
void crash_report(struct crash *c, int sig, const siginfo_t *info, const ucontext_t *uc);

#endif
