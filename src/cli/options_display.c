/* SPDX-License-Identifier: MIT */
/* The screen on the command line: --display, --expect-screen, --type, --screenshot. Any of them
 * gives the machine a screen. */
#include "cli/cli.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

int option_display(struct run_options *o, const char *arg, struct err *e)
{
    struct screen_options *s = &o->screen;
    if (strcmp(arg, "none") == 0) {
        s->display = SCREEN_NONE;
    } else if (strcmp(arg, "text") == 0) {
        if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
            return err_set(e, ENOTTY, "no-terminal",
                           "--display text shows the screen in a terminal, but standard input or "
                           "output is none");
        s->display = SCREEN_TEXT;
    } else if (strncmp(arg, "vnc=", 4) == 0) {
        s->display = SCREEN_VNC;
        s->vnc = arg + 4;
    } else {
        return err_set(e, EINVAL, "bad-option",
                       "--display is none, text, vnc=[HOST]:N or vnc=unix:PATH, not \"%s\"; see "
                       "`ring3 help screen`",
                       arg);
    }
    o->vm.display |= s->display != SCREEN_NONE;
    return 0;
}

static int add_step(struct run_options *o, bool type, const char *arg, struct err *e)
{
    struct screen_options *s = &o->screen;
    if (s->steps == CLI_MAX_STEPS)
        return err_set(e, EINVAL, "too-many-patterns",
                       "at most %d --expect-screen and --type options together", CLI_MAX_STEPS);
    s->step[s->steps++] = (struct screen_step){type, arg};
    o->vm.display = true;
    return 0;
}

int option_expect_screen(struct run_options *o, const char *arg, struct err *e)
{
    return add_step(o, false, arg, e);
}

int option_type(struct run_options *o, const char *arg, struct err *e)
{
    return add_step(o, true, arg, e);
}

int option_screenshot(struct run_options *o, const char *arg, struct err *e)
{
    o->screen.screenshot = arg;
    o->vm.display = true;
    return 0;
}
