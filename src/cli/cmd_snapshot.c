/* SPDX-License-Identifier: MIT */
/* `ring3 snapshot SOCKET FILE`: ask a running ring3, through its control socket (run --control), to
 * write a snapshot. It prints what the other side says; how far it is, on terminals only. */
#include "cli/cli.h"

#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* A stream to the socket, or NULL. */
static FILE *connect_to(const char *path, struct err *e)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof a.sun_path) {
        err_set(e, ENAMETOOLONG, "control-socket", "the name of the socket is too long: %s", path);
        return NULL;
    }
    strcpy(a.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    FILE *f = NULL;
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&a, sizeof a) == 0)
        f = fdopen(fd, "r+");
    if (f)
        return f;
    err_set(e, errno, "control-socket",
            "cannot reach a ring3 at %s: %s; start it with `ring3 run --control %s`", path,
            strerror(errno), path);
    if (fd >= 0)
        close(fd);
    return NULL;
}

/* The other ring3 may stand in another directory. */
static int absolute(const char *path, char to[PATH_MAX], struct err *e)
{
    char here[PATH_MAX] = "";
    if (path[0] != '/' && !getcwd(here, sizeof here))
        return err_set(e, errno, "bad-path", "cannot tell the working directory: %s",
                       strerror(errno));
    int n = snprintf(to, PATH_MAX, "%s%s%s", here, here[0] ? "/" : "", path);
    return n < PATH_MAX ? 0 : err_set(e, ENAMETOOLONG, "bad-path", "the path is too long");
}

static void show_progress(const json_t *line)
{
    double done = json_number_value(json_object_get(line, "done"));
    double total = json_number_value(json_object_get(line, "total"));
    if (isatty(STDERR_FILENO) && total > 0)
        fprintf(stderr, "\rsnapshot: %3.0f%%%s", 100 * done / total,
                done >= total ? "\r\033[K" : "");
}

static int show_answer(const json_t *line, struct err *e)
{
    const json_t *why = json_object_get(line, "error");
    const char *text = json_string_value(json_object_get(line, "text"));
    const char *id = json_string_value(json_object_get(why, "id"));
    const char *what = json_string_value(json_object_get(why, "text"));
    if (!json_is_true(json_object_get(line, "ok")))
        return err_set(e, EIO, id ? id : "control-socket", "%s",
                       what ? what : "the other ring3 gave no reason");
    if (text)
        fputs(text, stdout);
    return 0;
}

/* Lines about progress, then the answer. */
static int converse(FILE *f, json_t *request, struct err *e)
{
    if (!request || json_dumpf(request, f, JSON_COMPACT) < 0 || fputc('\n', f) == EOF || fflush(f))
        return err_set(e, EIO, "control-socket", "cannot send the request");
    for (;;) {
        char *text = NULL;
        size_t size = 0;
        ssize_t n = getline(&text, &size, f);
        json_t *line = n > 0 ? json_loadb(text, (size_t)n, 0, NULL) : NULL;
        free(text);
        if (!line)
            return err_set(e, EIO, "control-socket", "the other ring3 ended before it answered");
        bool last = !json_object_get(line, "total");
        int r = 0;
        if (last)
            r = show_answer(line, e);
        else
            show_progress(line);
        json_decref(line);
        if (last)
            return r;
    }
}

int cmd_snapshot(int argc, char **argv)
{
    struct err e = {0};
    char path[PATH_MAX];
    if (argc != 3) {
        err_set(&e, EINVAL, "bad-arguments",
                "usage: ring3 snapshot SOCKET FILE, with the socket of `ring3 run --control`");
        return cli_error(&e);
    }
    FILE *f = connect_to(argv[1], &e);
    int r = f ? absolute(argv[2], path, &e) : -e.errnum;
    if (r == 0) {
        json_t *request =
            json_pack("{s:s, s:[s], s:b}", "command", "snapshot", "args", path, "progress", 1);
        r = converse(f, request, &e);
        json_decref(request);
    }
    if (f)
        fclose(f);
    return r < 0 ? cli_error(&e) : cli_flush_stdout();
}
