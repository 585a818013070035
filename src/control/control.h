/* SPDX-License-Identifier: MIT */
/* Commands to a running VM: a table of them, and a Unix socket that takes them as lines of JSON.
 *
 *     > {"command": "snapshot", "args": ["/tmp/x.snap"], "id": 1}
 *     < {"ok": true, "text": "...", "result": {...}, "id": 1}
 *     < {"ok": false, "error": {"id": "snapshot-write", "text": "..."}, "id": 1}
 *
 * "id" is whatever the client likes and may be absent, as may "args". "text" is for people,
 * "result" for programs; what a command has nothing to say in is absent. With "progress": true,
 * lines {"done": n, "total": m} may come before the answer. Everything runs on the loop thread. */
#ifndef RING3_CONTROL_CONTROL_H
#define RING3_CONTROL_CONTROL_H

#include <jansson.h>
#include <stdio.h>

#include "ring3/vm.h"

struct control_call {
    struct vm *vm;
    unsigned argc; /* with the command's name */
    const char *const *argv;
    FILE *out;      /* text for people; newlines inside are fine */
    json_t *result; /* an object to add to */
    void (*progress)(void *opaque, uint64_t done, uint64_t total); /* NULL: nobody looks */
    void *progress_opaque;
};

struct control_command {
    const char *name, *args, *help;                   /* "snapshot", "FILE", one line */
    unsigned min_args, max_args;                      /* behind the name */
    int (*fn)(struct control_call *c, struct err *e); /* 0 or -errno */
};

/* Ends with a row without a name. */
extern const struct control_command control_commands[];

/* Find the command, check its arguments, run it. 0 or -errno. Loop thread. */
int control_run(struct control_call *c, struct err *e);

/* The same for a line of words with blanks between; an empty one is nothing. */
int control_run_line(struct control_call *c, const char *line, struct err *e);

struct control;
/* Listen on a Unix socket that only this user may use. A socket file that nobody listens on any
 * more is replaced. NULL on error. Loop thread, or before the loop runs. */
struct control *control_listen(const char *path, struct vm *vm, struct err *e);
void control_free(struct control *c); /* before the VM; NULL is fine */

#endif
