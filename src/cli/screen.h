/* SPDX-License-Identifier: MIT */
/* The screen of a run: who looks at it (--display), what is awaited on it and typed at it
 * (--expect-screen, --type), and the picture of its end (--screenshot). Loop thread. */
#ifndef RING3_CLI_SCREEN_H
#define RING3_CLI_SCREEN_H

#include "cli/cli.h"

struct screen;
/* `command`: a key behind Ctrl-a. When all that was awaited has come the VM is stopped. NULL on
 * error. */
struct screen *screen_new(const struct screen_options *o, struct vm *vm,
                          void (*command)(void *opaque, char key), void *opaque, struct err *e);
void screen_free(struct screen *s);
/* The terminal belongs to us (again), or not. */
void screen_listen(struct screen *s, bool on);
/* All that was awaited has come: the last pattern. Else NULL. */
const char *screen_matched(const struct screen *s);
#define SCREEN_MATCHED_TEXT "the screen matched --expect-screen '%s': done"
/* The pattern that is awaited, or NULL. */
const char *screen_awaited(const struct screen *s);
/* After the VM has ended: look once more, and take the screenshot. 0 or -errno. */
int screen_finish(struct screen *s, struct err *e);

#endif
