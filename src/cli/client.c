/* SPDX-License-Identifier: MIT */
/* Requests to a running ring3 through its control socket; see client.h. */
#include "cli/client.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

FILE *client_connect(const char *path, struct err *e)
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

static json_t *read_line(FILE *f)
{
    char *text = NULL;
    size_t size = 0;
    ssize_t n = getline(&text, &size, f);
    json_t *line = n > 0 ? json_loadb(text, (size_t)n, 0, NULL) : NULL;
    free(text);
    return line;
}

static int check_answer(const json_t *line, struct err *e)
{
    const json_t *why = json_object_get(line, "error");
    const char *id = json_string_value(json_object_get(why, "id"));
    const char *what = json_string_value(json_object_get(why, "text"));
    if (json_is_true(json_object_get(line, "ok")))
        return 0;
    return err_set(e, EIO, id ? id : "control-socket", "%s",
                   what ? what : "the other ring3 gave no reason");
}

json_t *client_ask(FILE *f, const json_t *request, void (*progress)(double done, double total),
                   struct err *e)
{
    if (!request || json_dumpf(request, f, JSON_COMPACT) < 0 || fputc('\n', f) == EOF ||
        fflush(f)) {
        err_set(e, EIO, "control-socket", "cannot send the request");
        return NULL;
    }
    for (;;) {
        json_t *line = read_line(f);
        if (!line) {
            err_set(e, EIO, "control-socket", "the other ring3 ended before it answered");
            return NULL;
        }
        const json_t *total = json_object_get(line, "total");
        if (!total && check_answer(line, e) == 0)
            return line;
        if (total && progress)
            progress(json_number_value(json_object_get(line, "done")), json_number_value(total));
        json_decref(line);
        if (!total)
            return NULL;
    }
}
