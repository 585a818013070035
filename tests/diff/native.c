/* SPDX-License-Identifier: MIT */
/* The driver's end of the native side: starts native_helper, shares memory with it, runs batches.
 * The helper is a process of its own because its lower 4 GiB belong to the cases. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "oracle.h"

#define REPLY_MS 30000

struct or_native {
    struct or_shared *shared;
    pid_t pid;
    int to, from;
};

struct or_case *or_native_case(struct or_native *n, unsigned slot)
{
    return &n->shared->slot[slot].c;
}

const struct or_result *or_native_result(const struct or_native *n, unsigned slot)
{
    return &n->shared->slot[slot].r;
}

unsigned or_native_modes(const struct or_native *n)
{
    return n->shared->modes;
}

/* Child side: descriptors 0, 1 and 3 as the helper expects them, nothing else. */
static _Noreturn void become_helper(const char *path, int in, int out, int memory)
{
    if (memory == 3 || dup2(memory, 3) == 3)
        if (dup2(in, 0) == 0 && dup2(out, 1) == 1) {
            char *argv[] = {(char *)path, NULL};
            execv(path, argv);
        }
    _exit(127);
}

static int await_reply(struct or_native *n, struct err *e)
{
    struct pollfd p = {.fd = n->from, .events = POLLIN};
    uint8_t byte;
    if (poll(&p, 1, REPLY_MS) != 1)
        return err_set(e, ETIMEDOUT, "oracle-helper", "native helper does not answer");
    if (read(n->from, &byte, 1) != 1)
        return err_set(e, EPIPE, "oracle-helper", "native helper died");
    return 0;
}

static int start(struct or_native *n, const char *path, int memory, struct err *e)
{
    int to[2], from[2];
    if (pipe(to))
        return err_set(e, errno, "oracle-pipe", "pipe: %s", strerror(errno));
    if (pipe(from)) {
        close(to[0]);
        close(to[1]);
        return err_set(e, errno, "oracle-pipe", "pipe: %s", strerror(errno));
    }
    n->pid = fork();
    if (n->pid == 0) {
        /* Move away from the numbers dup2 is about to take. */
        int in = dup(to[0]), out = dup(from[1]);
        close(to[1]);
        close(from[0]);
        become_helper(path, in, out, memory);
    }
    close(to[0]);
    close(from[1]);
    n->to = to[1];
    n->from = from[0];
    if (n->pid < 0)
        return err_set(e, errno, "oracle-fork", "fork: %s", strerror(errno));
    int r = await_reply(n, e);
    if (r == 0 && n->shared->verdict[0])
        r = err_set(e, ENOTSUP, "oracle-host", "%s", n->shared->verdict);
    return r;
}

int or_native_new(const char *helper, const struct or_image *base, const uint8_t ro[OR_RO_BYTES],
                  struct or_native **out, struct err *e)
{
    struct or_native *n = calloc(1, sizeof(*n));
    int memory = memfd_create("oracle", 0), r;

    *out = n;
    if (!n || memory < 0 || ftruncate(memory, sizeof(struct or_shared)))
        return err_set(e, ENOMEM, "oracle-memory", "no memory to share with the helper");
    n->to = n->from = -1;
    n->shared = mmap(NULL, sizeof(*n->shared), PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
    if (n->shared == MAP_FAILED) {
        n->shared = NULL;
        r = err_set(e, errno, "oracle-memory", "mmap: %s", strerror(errno));
    } else {
        n->shared->base = *base;
        memcpy(n->shared->ro, ro, OR_RO_BYTES);
        r = start(n, helper, memory, e);
    }
    close(memory);
    return r;
}

void or_native_free(struct or_native *n)
{
    if (!n)
        return;
    if (n->to >= 0)
        close(n->to);
    if (n->from >= 0)
        close(n->from);
    if (n->pid > 0) {
        kill(n->pid, SIGKILL);
        waitpid(n->pid, NULL, 0);
    }
    if (n->shared)
        munmap(n->shared, sizeof(*n->shared));
    free(n);
}

int or_native_run(struct or_native *n, unsigned count, struct err *e)
{
    uint8_t byte = (uint8_t)count;
    if (write(n->to, &byte, 1) != 1)
        return err_set(e, errno, "oracle-helper", "native helper is gone");
    return await_reply(n, e);
}
