/* SPDX-License-Identifier: MIT */
/* The screen of a run: see cli/screen.h.
 *
 * --expect-screen and --type are one list, in the order of the command line: each pattern is looked
 * for on the screen as it is, ten times a second, in one row at a time; what follows it is
 * typed once it is there. When the list ends with a pattern, the VM ends with it. */
#include "cli/screen.h"

#include <errno.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "ring3/viewer.h"

#define LOOK_NS 100000000

struct screen {
    const struct screen_options *options;
    struct vm *vm;
    struct viewer *viewer;
    int timer_fd;      /* -1: nothing is awaited */
    unsigned next;     /* step */
    unsigned compiled; /* regex[] of steps below are valid, if they are patterns */
    regex_t regex[CLI_MAX_STEPS];
};

/* ---- the list -------------------------------------------------------------------------------- */

static bool on_screen(struct screen *s, const regex_t *regex)
{
    char *text, *rest, *line;
    bool found = false;
    if (display_text(&s->vm->display, &text, NULL) < 0)
        return false;
    for (rest = text; !found && (line = strsep(&rest, "\n"));)
        found = regexec(regex, line, 0, NULL, 0) == 0;
    free(text);
    return found;
}

static int advance(struct screen *s, struct err *e)
{
    const struct screen_options *o = s->options;
    int r = 0;
    while (s->next < o->steps && r == 0) {
        const struct screen_step *step = &o->step[s->next];
        if (step->type)
            r = display_type(&s->vm->display, step->text, e);
        else if (!on_screen(s, &s->regex[s->next]))
            break;
        s->next++;
    }
    return r;
}

const char *screen_matched(const struct screen *s)
{
    unsigned n = s ? s->options->steps : 0;
    return n && s->next == n && !s->options->step[n - 1].type ? s->options->step[n - 1].text : NULL;
}

static void on_timer(void *opaque, uint32_t events)
{
    struct screen *s = opaque;
    const struct screen_options *o = s->options;
    struct err e;
    uint64_t count;
    ssize_t ignored = read(s->timer_fd, &count, sizeof count);
    (void)ignored;
    if (advance(s, &e) < 0)
        vm_stop(s->vm, VM_EXIT_FAILURE, e.id, "%s", e.text);
    if (s->next < o->steps)
        return;
    loop_watch(s->vm->loop, s->timer_fd, 0, on_timer, s);
    if (screen_matched(s))
        vm_stop(s->vm, 0, "expect-matched", SCREEN_MATCHED_TEXT, screen_matched(s));
}

static int compile(struct screen *s, struct err *e)
{
    for (; s->compiled < s->options->steps; s->compiled++) {
        const struct screen_step *step = &s->options->step[s->compiled];
        int r =
            step->type ? 0 : regcomp(&s->regex[s->compiled], step->text, REG_EXTENDED | REG_NOSUB);
        if (r) {
            char why[128];
            regerror(r, &s->regex[s->compiled], why, sizeof why);
            return err_set(e, EINVAL, "bad-regex",
                           "\"%s\" is not a POSIX extended regular expression: %s", step->text,
                           why);
        }
    }
    return 0;
}

static int start_looking(struct screen *s, struct err *e)
{
    struct itimerspec t = {{0, LOOK_NS}, {0, LOOK_NS}};
    if (!s->options->steps)
        return 0;
    s->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    int r = s->timer_fd < 0 || timerfd_settime(s->timer_fd, 0, &t, NULL) < 0
                ? -errno
                : loop_watch(s->vm->loop, s->timer_fd, EPOLLIN, on_timer, s);
    return r < 0 ? err_set(e, -r, "screen-failed", "timerfd: %s", strerror(-r)) : 0;
}

/* ---- who looks ------------------------------------------------------------------------------- */

static int open_viewer(struct screen *s, void (*command)(void *opaque, char key), void *opaque,
                       struct err *e)
{
    const struct vm_config *c = &s->vm->config;
    struct viewer_term_config term = {STDIN_FILENO, STDOUT_FILENO, command, opaque};
    switch (s->options->display) {
    case SCREEN_TEXT:
        s->viewer = viewer_term_new(&s->vm->display, s->vm->loop, &term, e);
        break;
    case SCREEN_VNC:
        s->viewer =
            viewer_vnc_new(&s->vm->display, s->options->vnc, c->thread_start, c->thread_opaque, e);
        break;
    default:
        return 0;
    }
    return s->viewer ? 0 : -e->errnum;
}

void screen_listen(struct screen *s, bool on)
{
    if (s && s->viewer && s->viewer->ops->listen)
        s->viewer->ops->listen(s->viewer, on);
}

/* ---- the end --------------------------------------------------------------------------------- */

const char *screen_awaited(const struct screen *s)
{
    return s && s->next < s->options->steps && !s->options->step[s->next].type
               ? s->options->step[s->next].text
               : NULL;
}

static int write_text(struct screen *s, const char *path, struct err *e)
{
    char *text;
    int r = display_text(&s->vm->display, &text, e);
    if (r < 0)
        return r;
    FILE *f = fopen(path, "we");
    bool done = f && fputs(text, f) >= 0;
    if (f && fclose(f))
        done = false;
    free(text);
    return done ? 0
                : err_set(e, errno, "screenshot-failed", "cannot write the screen to %s: %s", path,
                          strerror(errno));
}

int screen_finish(struct screen *s, struct err *e)
{
    if (!s)
        return 0;
    const char *path = s->options->screenshot;
    struct err ignored;
    advance(s, &ignored);
    if (!path)
        return 0;
    size_t n = strlen(path);
    if (n > 4 && !strcmp(path + n - 4, ".txt"))
        return write_text(s, path, e);
    return display_screenshot(&s->vm->display, path, e);
}

void screen_free(struct screen *s)
{
    if (!s)
        return;
    if (s->viewer)
        s->viewer->ops->free(s->viewer);
    for (unsigned i = 0; i < s->compiled; i++)
        if (!s->options->step[i].type)
            regfree(&s->regex[i]);
    if (s->timer_fd >= 0) {
        loop_unwatch(s->vm->loop, s->timer_fd);
        close(s->timer_fd);
    }
    free(s);
}

struct screen *screen_new(const struct screen_options *o, struct vm *vm,
                          void (*command)(void *opaque, char key), void *opaque, struct err *e)
{
    struct screen *s = calloc(1, sizeof *s);
    if (!s) {
        err_set(e, ENOMEM, "no-memory", "no memory");
        return NULL;
    }
    s->options = o;
    s->vm = vm;
    s->timer_fd = -1;
    bool asked = o->display != SCREEN_NONE || o->steps || o->screenshot;
    if (asked && !vm->display.ops) {
        err_set(e, ENODATA, "no-screen", "this machine has no screen: it was built without one");
        screen_free(s);
        return NULL;
    }
    if (compile(s, e) < 0 || start_looking(s, e) < 0 || open_viewer(s, command, opaque, e) < 0) {
        screen_free(s);
        return NULL;
    }
    return s;
}
