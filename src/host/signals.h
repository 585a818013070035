/* SPDX-License-Identifier: MIT */
/* Signals that people send, as bytes on a pipe that an event loop can watch.
 *
 * A thread of its own waits for them. A signalfd would do without the thread, but the kernel wakes
 * whoever watches one for every signal of the process, the host faults of translated code included:
 * that doubled the price of each. */
#ifndef RING3_HOST_SIGNALS_H
#define RING3_HOST_SIGNALS_H

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>

#include "ring3/err.h"

struct signal_reader {
    int fd; /* readable when signal_reader_take() has something; -1 before start */
    int write_fd;
    sigset_t set;
    pthread_t thread;
    bool started;
};
#define SIGNAL_READER_INIT                                                                         \
    {                                                                                              \
        .fd = -1, .write_fd = -1                                                                   \
    }

/* Block these signals in the calling thread, and so in all that it starts later, and begin to read
 * them. 0 or -errno. Call before other threads exist. */
int signal_reader_start(struct signal_reader *r, const sigset_t *set, struct err *e);
/* Number of the next signal, 0 if none has come. */
int signal_reader_take(struct signal_reader *r);
/* The signals stay blocked. Also right when start failed or was never called. */
void signal_reader_stop(struct signal_reader *r);

#endif
