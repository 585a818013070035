/* SPDX-License-Identifier: MIT */
/* `ring3 snapshot SOCKET FILE`: ask a running ring3, through its control socket (run --control), to
 * write a snapshot. It prints what the other side says; how far it is, on terminals only. */
#include "cli/cli.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/client.h"

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

static void show_progress(double done, double total)
{
    if (isatty(STDERR_FILENO) && total > 0)
        fprintf(stderr, "\rsnapshot: %3.0f%%%s", 100 * done / total,
                done >= total ? "\r\033[K" : "");
}

static int ask(FILE *f, const char *path, struct err *e)
{
    json_t *request =
        json_pack("{s:s, s:[s], s:b}", "command", "snapshot", "args", path, "progress", 1);
    json_t *answer = client_ask(f, request, show_progress, e);
    const char *text = json_string_value(json_object_get(answer, "text"));
    if (text)
        fputs(text, stdout);
    json_decref(request);
    json_decref(answer);
    return answer ? 0 : -e->errnum;
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
    FILE *f = client_connect(argv[1], &e);
    int r = f ? absolute(argv[2], path, &e) : -e.errnum;
    if (r == 0)
        r = ask(f, path, &e);
    if (f)
        fclose(f);
    return r < 0 ? cli_error(&e) : cli_flush_stdout();
}
