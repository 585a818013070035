/* SPDX-License-Identifier: MIT */
/* The control socket: see control.h.
 *
 * A client that does not take its answers is not read from until it has, so each costs at most one
 * line and one answer. Lines end with a newline and have at most MAX_LINE bytes; a client that
 * sends something else is told so and dropped. Left out: events that nobody asked for. */
#include "control/control.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "host/listen.h"
#include "vm/run.h"

#define MAX_CLIENTS 8
#define MAX_LINE    65536u
#define MAX_WORDS   64u
#define PROGRESS_NS (NS_PER_SEC / 20)

struct client {
    struct control *control; /* NULL: this place is free */
    int fd;
    char line[MAX_LINE];
    size_t len;
    char *out; /* what has not been sent, or NULL */
    size_t out_len, out_sent;
    bool closing;         /* once the answer is out */
    uint64_t progress_ns; /* when the last line about progress went out */
};

struct control {
    struct vm *vm;
    int fd;
    char path[HOST_UNIX_PATH];
    struct client client[MAX_CLIENTS];
};

static void on_client(void *opaque, uint32_t events);

/* ---- answers --------------------------------------------------------------------------------- */

static void drop(struct client *c)
{
    loop_unwatch(c->control->vm->loop, c->fd);
    close(c->fd);
    free(c->out);
    c->out = NULL;
    c->control = NULL;
}

/* Send what is left, as far as the socket takes it. False: the client is gone. */
static bool push(struct client *c)
{
    while (c->out && c->out_sent < c->out_len) {
        ssize_t n = send(c->fd, c->out + c->out_sent, c->out_len - c->out_sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            break;
        if (n <= 0) {
            drop(c);
            return false;
        }
        c->out_sent += (size_t)n;
    }
    bool done = !c->out || c->out_sent == c->out_len;
    if (done) {
        free(c->out);
        c->out = NULL;
    }
    if (done && c->closing) {
        drop(c);
        return false;
    }
    loop_watch(c->control->vm->loop, c->fd, done ? EPOLLIN : EPOLLOUT, on_client, c);
    return true;
}

/* Takes `answer` over. There is no other answer waiting. */
static void answer(struct client *c, json_t *answer)
{
    char *text = json_dumps(answer, JSON_COMPACT);
    size_t n = text ? strlen(text) : 0;
    json_decref(answer);
    c->out = malloc(n + 1);
    if (!text || !c->out) {
        free(text);
        c->closing = true;
        return;
    }
    memcpy(c->out, text, n);
    c->out[n] = '\n';
    c->out_len = n + 1;
    c->out_sent = 0;
    free(text);
}

static json_t *error_answer(const struct err *e)
{
    return json_pack("{s:b, s:{s:s, s:s}}", "ok", 0, "error", "id", e->id, "text", e->text);
}

/* A line ahead of the answer. The loop stands still meanwhile, so it goes out at once or not at
 * all. */
static void on_progress(void *opaque, uint64_t done, uint64_t total)
{
    struct client *c = opaque;
    char line[96];
    uint64_t now = host_now_ns();
    if (now - c->progress_ns < PROGRESS_NS && done != total)
        return;
    c->progress_ns = now;
    int n = snprintf(line, sizeof line, "{\"done\":%llu,\"total\":%llu}\n",
                     (unsigned long long)done, (unsigned long long)total);
    ssize_t ignored = send(c->fd, line, (size_t)n, MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)ignored;
}

/* ---- requests -------------------------------------------------------------------------------- */

static int take_words(const json_t *request, const char **words, unsigned *count, struct err *e)
{
    const json_t *args = json_object_get(request, "args");
    const char *name = json_string_value(json_object_get(request, "command"));
    if (!name || (args && !json_is_array(args)) || json_array_size(args) >= MAX_WORDS)
        return err_set(e, EINVAL, "bad-request",
                       "a request is {\"command\": NAME, \"args\": [TEXT, ...]}");
    words[0] = name;
    for (size_t i = 0; i < json_array_size(args); i++)
        if (!(words[1 + i] = json_string_value(json_array_get(args, i))))
            return err_set(e, EINVAL, "bad-request", "\"args\" of a request are texts");
    *count = 1 + (unsigned)json_array_size(args);
    return 0;
}

static json_t *run(struct client *c, const json_t *request)
{
    const char *words[MAX_WORDS];
    struct err e = {0};
    char *text = NULL;
    size_t size = 0;
    struct control_call call = {.vm = c->control->vm, .argv = words};
    if (json_is_true(json_object_get(request, "progress"))) {
        call.progress = on_progress;
        call.progress_opaque = c;
    }
    call.out = open_memstream(&text, &size);
    call.result = json_object();
    int r = call.out && call.result ? take_words(request, words, &call.argc, &e)
                                    : err_set(&e, ENOMEM, "no-memory", "no memory");
    if (r == 0)
        r = control_run(&call, &e);
    if (call.out)
        fclose(call.out);
    json_t *a = r < 0 ? error_answer(&e) : json_pack("{s:b}", "ok", 1);
    if (r == 0 && size)
        json_object_set_new(a, "text", json_string(text));
    if (r == 0 && json_object_size(call.result))
        json_object_set(a, "result", call.result);
    json_decref(call.result);
    free(text);
    return a;
}

static void on_line(struct client *c, const char *line, size_t len)
{
    json_error_t why;
    json_t *request = json_loadb(line, len, JSON_REJECT_DUPLICATES, &why), *a;
    if (!json_is_object(request)) {
        struct err e;
        err_set(&e, EINVAL, "bad-request", "a request is a JSON object on one line%s%s",
                request ? "" : ": ", request ? "" : why.text);
        a = error_answer(&e);
    } else {
        a = run(c, request);
        if (json_object_get(request, "id"))
            json_object_set(a, "id", json_object_get(request, "id"));
    }
    json_decref(request);
    answer(c, a);
}

/* Serve the lines that are complete, until an answer does not go out. */
static void serve_lines(struct client *c)
{
    char *end;
    while (!c->out && (end = memchr(c->line, '\n', c->len))) {
        size_t n = (size_t)(end - c->line);
        on_line(c, c->line, n);
        c->len -= n + 1;
        memmove(c->line, end + 1, c->len);
        if (!push(c))
            return;
    }
    if (!c->out && c->len == MAX_LINE) {
        struct err e;
        err_set(&e, EINVAL, "bad-request", "a request has at most %u bytes", MAX_LINE);
        c->closing = true;
        answer(c, error_answer(&e));
        push(c);
    }
}

static void on_client(void *opaque, uint32_t events)
{
    struct client *c = opaque;
    if (c->out) {
        if (push(c) && !c->out)
            serve_lines(c);
        return;
    }
    ssize_t n = recv(c->fd, c->line + c->len, MAX_LINE - c->len, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        drop(c);
        return;
    }
    c->len += (size_t)n;
    serve_lines(c);
}

/* ---- the socket ------------------------------------------------------------------------------ */

static void on_connect(void *opaque, uint32_t events)
{
    struct control *k = opaque;
    int fd = accept4(k->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0)
        return;
    for (unsigned i = 0; i < MAX_CLIENTS; i++) {
        struct client *c = &k->client[i];
        if (c->control)
            continue;
        c->control = k;
        c->fd = fd;
        c->len = 0;
        c->closing = false;
        if (loop_watch(k->vm->loop, fd, EPOLLIN, on_client, c) < 0)
            drop(c);
        return;
    }
    close(fd); /* too many */
}

struct control *control_listen(const char *path, struct vm *vm, struct err *e)
{
    struct control *k = calloc(1, sizeof *k);
    if (!k) {
        err_set(e, ENOMEM, "no-memory", "no memory for the control socket");
        return NULL;
    }
    k->vm = vm;
    k->fd = host_listen_unix(path, "control-socket", e);
    if (k->fd >= 0) {
        snprintf(k->path, sizeof k->path, "%s", path);
        int r = loop_watch(vm->loop, k->fd, EPOLLIN, on_connect, k);
        if (r == 0)
            return k;
        err_set(e, -r, "control-socket", "cannot listen on %s: %s", path, strerror(-r));
    }
    control_free(k);
    return NULL;
}

void control_free(struct control *k)
{
    if (!k)
        return;
    for (unsigned i = 0; i < MAX_CLIENTS; i++)
        if (k->client[i].control)
            drop(&k->client[i]);
    if (k->fd >= 0) {
        loop_unwatch(k->vm->loop, k->fd);
        close(k->fd);
        unlink(k->path);
    }
    free(k);
}
