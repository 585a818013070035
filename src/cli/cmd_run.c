/* SPDX-License-Identifier: MIT */
/* `ring3 run` and `ring3 restore`: one guest from start to exit code.
 *
 * The main thread blocks the signals that end or suspend programs and reads them in the
 * event loop (host/signals.h), where stopping a VM and restoring the terminal are ordinary function
 * calls. on_exit() covers an exit() nobody thought of, crash.c covers crashes. Whatever the reason
 * of the end, the order is: guest output to the last byte, terminal modes, ring3's own lines. */
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "board/boards.h"
#include "cli/match.h"
#include "cli/monitor.h"
#include "cli/screen.h"
#include "control/control.h"
#include "debug/gdb.h"
#include "debug/stats.h"
#include "debug/trace.h"
#include "host/crash.h"
#include "host/signals.h"
#include "host/term.h"
#include "ring3/char_stdio.h"
#include "ring3/snapshot.h"
#include "ring3/viewer.h"

#define PATIENCE_MS        5000 /* for a reader of stdout that has stalled, at the end */
#define PATIENCE_KILLED_MS 100  /* the same when somebody wants us gone */

struct run {
    struct run_options options;
    struct vm vm;
    struct log log;
    struct matcher *matcher;
    struct trace *trace;
    struct screen *screen; /* or NULL */
    int null_fd;           /* /dev/null, for a console that the screen takes the place of, or -1 */
    struct control *control;
    struct gdb *gdb;
    struct monitor monitor;
    bool in_monitor;
    struct snapshot *snapshot; /* restored from; has strings of the configuration */
    struct term term;
    struct crash crash;
    struct signal_reader signals;
    int timeout_fd;    /* -1: none */
    bool killed;       /* by a signal */
    uint8_t last_byte; /* of guest output */
    int output_errnum; /* why output became impossible, or 0 */
};

/* ---- the console's callbacks, on the loop thread --------------------------------------------- */

#define FAIL_ON_TEXT       "guest output matched --fail-on '%s'"
#define EXPECT_TEXT        "guest output matched --expect '%s': done"
#define OUTPUT_FAILED_ID   "stdout-failed"
#define OUTPUT_FAILED_TEXT "cannot write the guest's console to standard output: %s"

static void on_output(void *opaque, const uint8_t *p, size_t n)
{
    struct run *r = opaque;
    r->last_byte = p[n - 1];
    enum match_result result = matcher_feed(r->matcher, p, n);
    if (result == MATCH_FAILED)
        vm_stop(&r->vm, VM_EXIT_PANIC, "fail-on-matched", FAIL_ON_TEXT,
                matcher_pattern(r->matcher));
    else if (result == MATCH_EXPECTED)
        vm_stop(&r->vm, 0, "expect-matched", EXPECT_TEXT, matcher_pattern(r->matcher));
}

static void on_output_failed(void *opaque, int errnum)
{
    struct run *r = opaque;
    r->output_errnum = errnum;
    vm_stop(&r->vm, VM_EXIT_FAILURE, OUTPUT_FAILED_ID, OUTPUT_FAILED_TEXT, strerror(errnum));
}

static void print_stats(struct run *r)
{
    if (r->options.stats == STATS_JSON)
        stats_print_json(&r->vm, stderr);
    else
        stats_print(&r->vm, stderr);
}

/* One command of the control socket's, from a person. */
static void run_command(void *opaque, const char *line, FILE *out)
{
    struct run *r = opaque;
    struct control_call call = {.vm = &r->vm, .out = out, .result = json_object()};
    struct err e = {0};
    if (control_run_line(&call, line, &e) < 0)
        fprintf(out, "%s\n", e.text);
    json_decref(call.result);
}

/* Ctrl-a w */
static void write_snapshot(struct run *r)
{
    char name[64];
    time_t now = time(NULL);
    struct tm tm;
    strftime(name, sizeof name, "ring3-%Y-%m-%d-%H%M%S.snap", localtime_r(&now, &tm));
    const char *words[] = {"snapshot", name};
    struct control_call call = {
        .vm = &r->vm, .argc = 2, .argv = words, .out = stderr, .result = json_object()};
    struct err e = {0};
    fputs("\n", stderr);
    if (control_run(&call, &e) < 0)
        log_line(&r->log, LOG_ERROR, e.id, "%s", e.text);
    json_decref(call.result);
}

static void on_typed(void *opaque, const uint8_t *p, size_t n)
{
    struct run *r = opaque;
    monitor_input(&r->monitor, p, n);
}

static void leave_monitor(void *opaque)
{
    struct run *r = opaque;
    r->in_monitor = false;
    chardev_stdio_divert(r->vm.console, NULL, NULL);
    fputs("\r\n", stderr);
}

/* Ctrl-a c: there and back */
static void toggle_monitor(struct run *r)
{
    if (r->options.screen.display == SCREEN_TEXT) {
        log_line(&r->log, LOG_INFO, "monitor",
                 "the monitor has no place on a terminal that shows the guest's screen; use "
                 "--control");
        return;
    }
    if (r->in_monitor) {
        leave_monitor(r);
        return;
    }
    r->in_monitor = true;
    r->monitor = (struct monitor){run_command, leave_monitor, r, stderr, "", 0};
    chardev_stdio_divert(r->vm.console, on_typed, r);
    monitor_enter(&r->monitor);
}

static void on_command(void *opaque, char key)
{
    struct run *r = opaque;
    switch (key) {
    case 'c':
        toggle_monitor(r);
        break;
    case 'x':
        vm_stop(&r->vm, 0, "user-quit", "ended with Ctrl-a x");
        break;
    case 's':
        fputs("\n", stderr);
        print_stats(r);
        break;
    case 'w':
        write_snapshot(r);
        break;
    case 'h':
        log_line(&r->log, LOG_INFO, "keys",
                 "Ctrl-a x: quit, Ctrl-a c: monitor, Ctrl-a s: statistics, Ctrl-a w: write a "
                 "snapshot, Ctrl-a a: send Ctrl-a, Ctrl-a h: this help");
        break;
    }
}

/* ---- signals and the time limit --------------------------------------------------------- */

static void enter_terminal(struct run *r)
{
    if (!term_present(&r->term))
        return;
    bool ours = term_raw(&r->term) != -EAGAIN;
    chardev_stdio_listen(r->vm.console, ours);
    screen_listen(r->screen, ours);
}

static void suspend(struct run *r)
{
    screen_listen(r->screen, false);
    term_restore(&r->term);
    kill(getpid(), SIGSTOP); /* SIGTSTP itself is blocked */
    /* SIGCONT arrives in the loop and takes the terminal back. */
}

static void on_signal(void *opaque, uint32_t events)
{
    struct run *r = opaque;
    int n = signal_reader_take(&r->signals);
    if (n == SIGTSTP) {
        suspend(r);
    } else if (n == SIGCONT) {
        enter_terminal(r);
    } else if (n) {
        r->killed = true;
        vm_stop(&r->vm, VM_EXIT_FAILURE, "killed", "stopped by SIG%s", sigabbrev_np(n));
    }
}

static int watch_signals(struct run *r, struct err *e)
{
    static const int signals[] = {SIGTERM, SIGHUP, SIGINT, SIGQUIT, SIGTSTP, SIGCONT};
    sigset_t set, background;
    sigemptyset(&set);
    for (unsigned i = 0; i < ARRAY_LEN(signals); i++)
        sigaddset(&set, signals[i]);
    sigemptyset(&background);
    sigaddset(&background, SIGTTOU); /* see host/term.c */
    pthread_sigmask(SIG_BLOCK, &background, NULL);
    return signal_reader_start(&r->signals, &set, e);
}

static void on_timeout(void *opaque, uint32_t events)
{
    struct run *r = opaque;
    double seconds = (double)r->options.timeout_ns / 1e9;
    const char *pattern = matcher_pattern(r->matcher), *screen = screen_awaited(r->screen);
    if (pattern)
        vm_stop(&r->vm, VM_EXIT_TIMEOUT, "timeout",
                "--timeout of %g s passed and no output matched --expect '%s'", seconds, pattern);
    else if (screen)
        vm_stop(&r->vm, VM_EXIT_TIMEOUT, "timeout",
                "--timeout of %g s passed and the screen did not match --expect-screen '%s'",
                seconds, screen);
    else
        vm_stop(&r->vm, VM_EXIT_TIMEOUT, "timeout",
                "--timeout of %g s passed and the guest had not powered off", seconds);
}

static int start_timeout(struct run *r, struct err *e)
{
    if (!r->options.timeout_ns)
        return 0;
    struct itimerspec t = {.it_value = {(time_t)(r->options.timeout_ns / NS_PER_SEC),
                                        (long)(r->options.timeout_ns % NS_PER_SEC)}};
    r->timeout_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (r->timeout_fd < 0 || timerfd_settime(r->timeout_fd, 0, &t, NULL) < 0)
        return err_set(e, errno, "timeout-failed", "timerfd: %s", strerror(errno));
    int n = loop_watch(r->vm.loop, r->timeout_fd, EPOLLIN, on_timeout, r);
    return n < 0 ? err_set(e, -n, "timeout-failed", "epoll: %s", strerror(-n)) : 0;
}

/* ---- set-up and clean-up ---------------------------------------------------------------- */

static int compile_patterns(struct run *r, struct err *e)
{
    r->matcher = matcher_new(e);
    if (!r->matcher)
        return -e->errnum;
    int n = 0;
    for (unsigned i = 0; i < r->options.expect_count && n == 0; i++)
        n = matcher_expect(r->matcher, r->options.expect[i], e);
    for (unsigned i = 0; i < r->options.fail_on_count && n == 0; i++)
        n = matcher_fail_on(r->matcher, r->options.fail_on[i], e);
    return n;
}

/* A screen in the terminal takes the console's place; what comes there is still matched. */
static struct chardev *make_console(struct run *r, struct err *e)
{
    bool hidden = r->options.screen.display == SCREEN_TEXT;
    if (hidden)
        r->null_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
    struct chardev_stdio_config config = {
        .in_fd = hidden ? -1 : STDIN_FILENO,
        .out_fd = hidden ? r->null_fd : STDOUT_FILENO,
        .escapes = !hidden && term_present(&r->term),
        .command = on_command,
        .output = on_output,
        .failed = on_output_failed,
        .opaque = r,
    };
    return chardev_stdio_new(&config, e);
}

/* Everything about the machine comes from the snapshot. */
static int open_snapshot(struct run *r, struct err *e)
{
    struct vm_config *c = &r->options.vm;
    bool reboot = c->allow_reboot;
    r->snapshot = snapshot_open(r->options.restore, e);
    if (!r->snapshot)
        return -e->errnum;
    c->board = board_find(snapshot_board(r->snapshot));
    if (!c->board)
        return err_set(e, EINVAL, "unknown-board",
                       "the snapshot is of a board \"%s\", which this ring3 does not have",
                       snapshot_board(r->snapshot));
    int n = snapshot_config(r->snapshot, c, r->options.force, e);
    c->allow_reboot |= reboot;
    return n;
}

static int build(struct run *r, struct err *e)
{
    struct vm_config *c = &r->options.vm;
    if (c->engine && c->engine->probe(e) < 0) {
        e->errnum = ENOSYS; /* whatever the reason: the host lacks something */
        return -ENOSYS;
    }
    int n = compile_patterns(r, e);
    if (n == 0 && r->options.restore)
        n = open_snapshot(r, e);
    if (n < 0)
        return n;
    struct chardev *console = make_console(r, e);
    if (!console)
        return -e->errnum;
    c->thread_start = crash_enter;
    c->thread_opaque = &r->crash;
    n = vm_build(&r->vm, c, r->log, console, e);
    return n == 0 && r->snapshot ? snapshot_restore(r->snapshot, &r->vm, e) : n;
}

static int start(struct run *r, struct err *e)
{
    if (r->options.trace) {
        r->trace = trace_attach(&r->vm, r->options.trace, e);
        if (!r->trace)
            return -e->errnum;
    }
    int n = loop_watch(r->vm.loop, r->signals.fd, EPOLLIN, on_signal, r);
    if (n < 0)
        return err_set(e, -n, "signals", "epoll: %s", strerror(-n));
    n = start_timeout(r, e);
    if (n == 0 && r->options.control) {
        r->control = control_listen(r->options.control, &r->vm, e);
        n = r->control ? 0 : -e->errnum;
    }
    if (n == 0 && r->options.gdb) {
        r->gdb = gdb_listen(&r->vm, r->options.gdb, r->options.stopped, run_command, r, e);
        n = r->gdb ? 0 : -e->errnum;
    }
    if (n == 0) {
        r->screen = screen_new(&r->options.screen, &r->vm, on_command, r, e);
        n = r->screen ? 0 : -e->errnum;
        r->term.leave = r->options.screen.display == SCREEN_TEXT ? VIEWER_TERM_LEAVE : NULL;
    }
    return n < 0 ? n : chardev_stdio_start(r->vm.console, r->vm.loop, e);
}

/* Another reason for the end than the one that vm_stop() recorded. The vCPU thread is gone. */
static int restate(struct run *r, int code, const char *id, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
static int restate(struct run *r, int code, const char *id, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    snprintf(r->vm.stop_id, sizeof r->vm.stop_id, "%s", id);
    vsnprintf(r->vm.stop_text, sizeof r->vm.stop_text, fmt, ap);
    va_end(ap);
    return code;
}

/* The guest may have ended before the loop thread saw its last output; that output came first,
 * so it counts first. Ends that are not the guest's doing stay what they are. */
static int final_code(struct run *r, int code)
{
    const char *id = r->vm.stop_id, *pattern = matcher_pattern(r->matcher);
    bool by_guest = !strcmp(id, "power-off") || !strcmp(id, "guest-exit") ||
                    code == VM_EXIT_REBOOT || code == VM_EXIT_TRIPLE_FAULT ||
                    code == VM_EXIT_UNSUPPORTED;
    if (!by_guest)
        return code;
    if (r->output_errnum)
        return restate(r, VM_EXIT_FAILURE, OUTPUT_FAILED_ID, OUTPUT_FAILED_TEXT,
                       strerror(r->output_errnum));
    switch (matcher_result(r->matcher)) {
    case MATCH_FAILED:
        return restate(r, VM_EXIT_PANIC, "fail-on-matched", FAIL_ON_TEXT, pattern);
    case MATCH_EXPECTED:
        return restate(r, 0, "expect-matched", EXPECT_TEXT, pattern);
    case MATCH_NONE:
        break;
    }
    const char *screen = screen_awaited(r->screen), *seen = screen_matched(r->screen);
    if (seen)
        return restate(r, 0, "expect-matched", SCREEN_MATCHED_TEXT, seen);
    if (screen && code == 0)
        return restate(r, VM_EXIT_FAILURE, "expect-missed",
                       "the guest powered off before the screen matched --expect-screen '%s'",
                       screen);
    if (pattern && code == 0)
        return restate(r, VM_EXIT_FAILURE, "expect-missed",
                       "the guest powered off before its output matched --expect '%s'", pattern);
    return code;
}

/* The terminal shows again what it showed before. */
static void screen_leave(struct run *r)
{
    screen_free(r->screen);
    r->screen = NULL;
    r->term.leave = NULL;
}

static int finish(struct run *r, int code)
{
    size_t lost = chardev_stdio_finish(r->vm.console, r->killed ? PATIENCE_KILLED_MS : PATIENCE_MS);
    struct err e;
    bool pictured = screen_finish(r->screen, &e) == 0;
    code = final_code(r, code);
    screen_leave(r);
    term_restore(&r->term);
    if (r->last_byte && r->last_byte != '\n' && isatty(STDOUT_FILENO) && isatty(STDERR_FILENO))
        fputs("\n", stderr);
    if (lost)
        log_line(&r->log, LOG_WARN, "output-lost",
                 "the last %zu bytes of console output were not taken by standard output's reader",
                 lost);
    if (r->vm.stop_text[0])
        log_line(&r->log, code ? LOG_ERROR : LOG_INFO, r->vm.stop_id, "%s", r->vm.stop_text);
    if (!pictured) {
        int failed = cli_error(&e);
        code = code ? code : failed;
    }
    if (code == VM_EXIT_TRIPLE_FAULT)
        r->vm.vcpu->isa->post_mortem(r->vm.vcpu, stderr);
    else if (code == VM_EXIT_UNSUPPORTED)
        r->vm.vcpu->isa->dump(r->vm.vcpu, stderr);
    if (r->options.stats != STATS_NONE)
        print_stats(r);
    return code;
}

static void restore_at_exit(int status, void *term)
{
    term_restore(term);
}

static void release(struct run *r)
{
    matcher_free(r->matcher);
    trace_free(r->trace);
    signal_reader_stop(&r->signals);
    if (r->timeout_fd >= 0)
        close(r->timeout_fd);
    crash_leave();
    run_options_free(&r->options);
    snapshot_close(r->snapshot);
    if (r->null_fd >= 0)
        close(r->null_fd);
}

static int run_guest(struct run *r)
{
    struct err e = {0};
    int code;
    if (build(r, &e) < 0 || start(r, &e) < 0) {
        code = cli_error(&e);
    } else {
        enter_terminal(r);
        code = finish(r, vm_run(&r->vm));
    }
    gdb_free(r->gdb);
    control_free(r->control);
    screen_leave(r);
    if (r->vm.created_ns) /* vm_build was reached */
        vm_free(&r->vm);
    return code;
}

int cmd_run(int argc, char **argv)
{
    struct err e = {0};
    struct run *r = calloc(1, sizeof *r);
    if (!r) {
        err_set(&e, ENOMEM, "no-memory", "no memory");
        return cli_error(&e);
    }
    r->log = (struct log){LOG_INFO, STDERR_FILENO};
    r->signals = (struct signal_reader)SIGNAL_READER_INIT;
    r->timeout_fd = r->null_fd = -1;
    term_init(&r->term, STDIN_FILENO);
    r->crash = (struct crash){&r->term, STDERR_FILENO};
    int code;
    if (run_options_parse(&r->options, argc, argv, &e) < 0) {
        code = cli_error(&e);
    } else if (r->options.help) {
        code = cmd_help(0, NULL);
    } else if (crash_install(&e) < 0 || watch_signals(r, &e) < 0) {
        code = cli_error(&e);
    } else {
        on_exit(restore_at_exit, &r->term);
        crash_enter(&r->crash);
        if (r->options.decided[0])
            log_line(&r->log, LOG_INFO, "image", "%s", r->options.decided);
        code = run_guest(r);
        release(r);
        return code; /* r stays: the exit handler reads the terminal's state in it */
    }
    run_options_free(&r->options);
    free(r);
    return code;
}
