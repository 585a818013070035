/* SPDX-License-Identifier: MIT */
/* A thread in sigwaitinfo() that writes numbers into a pipe: see signals.h. */
#include "host/signals.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

static void *reader(void *opaque)
{
    struct signal_reader *r = opaque;
    for (;;) {
        int n = sigwaitinfo(&r->set, NULL); /* where signal_reader_stop() ends the thread */
        uint8_t byte = (uint8_t)n;
        if (n > 0 && write(r->write_fd, &byte, 1) < 0)
            continue; /* the pipe is full: as many are waiting to be read already */
    }
    return NULL;
}

int signal_reader_start(struct signal_reader *r, const sigset_t *set, struct err *e)
{
    int fds[2];
    r->set = *set;
    pthread_sigmask(SIG_BLOCK, set, NULL);
    if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
        return err_set(e, errno, "signals", "pipe: %s", strerror(errno));
    r->fd = fds[0];
    r->write_fd = fds[1];
    int n = pthread_create(&r->thread, NULL, reader, r);
    if (n)
        return err_set(e, n, "signals", "cannot start a thread: %s", strerror(n));
    r->started = true;
    pthread_setname_np(r->thread, "ring3-signals");
    return 0;
}

int signal_reader_take(struct signal_reader *r)
{
    uint8_t byte;
    return read(r->fd, &byte, 1) == 1 ? byte : 0;
}

void signal_reader_stop(struct signal_reader *r)
{
    if (r->started) {
        pthread_cancel(r->thread);
        pthread_join(r->thread, NULL);
    }
    if (r->fd >= 0)
        close(r->fd);
    if (r->write_fd >= 0)
        close(r->write_fd);
    *r = (struct signal_reader)SIGNAL_READER_INIT;
}
