/* SPDX-License-Identifier: MIT */
/* The monitor's prompt on the terminal (Ctrl-a c): lines of commands as on the control socket. */
#ifndef RING3_CLI_MONITOR_H
#define RING3_CLI_MONITOR_H

#include "ring3/types.h"

#include <stdio.h>

#define MONITOR_LINE 512u

struct monitor {
    void (*run)(void *opaque, const char *line, FILE *out); /* a whole line */
    void (*left)(void *opaque); /* the user wants the guest's console back */
    void *opaque;
    FILE *out; /* a terminal in raw mode */
    char line[MONITOR_LINE];
    size_t len;
};

void monitor_enter(struct monitor *m); /* greeting and prompt */
/* What was typed. May call left(). */
void monitor_input(struct monitor *m, const uint8_t *p, size_t n);

#endif
