/* SPDX-License-Identifier: MIT */
/* The asynchronous face of a struct disk: a queue of requests and a few threads that carry them
 * out. What is in the host's page cache is read inside submit, without a change of threads.
 *
 * Threads are started when a request finds none idle, up to disk->threads. They take no signals
 * but those of a crash. Formats that keep changes in memory are asked to write them some time after
 * they were made, for guests that never flush. Left out: merging of neighbouring requests; guests
 * do that themselves. */
#include "backend/disk.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAX_THREADS 16
#define SETTLE_NS   (2 * NS_PER_SEC) /* from the first change on */

struct pooled {
    struct block base; /* first */
    struct disk *disk;
    void (*thread_start)(void *opaque);
    void *thread_opaque;

    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t work, quiet;
    struct block_request *first, **last; /* waiting */
    unsigned running, idle, waiting;     /* requests; threads; requests */
    bool quit;
    uint64_t settle_ns; /* monotonic time when changes are to be written; 0: there are none */
    unsigned threads;
    pthread_t thread[MAX_THREADS];
};

static struct pooled *self(struct block *b)
{
    return container_of(b, struct pooled, base);
}

static int carry_out(struct disk *d, const struct block_request *r)
{
    struct span s = {r->iov, r->iov_count, 0};
    int result = -EINVAL;
    switch (r->op) {
    case BLOCK_READ:
        return d->ops->read(d, r->offset, r->len, s);
    case BLOCK_WRITE:
        result = d->ops->write(d, r->offset, r->len, s);
        return result == 0 && r->fua ? d->ops->flush(d) : result;
    case BLOCK_FLUSH:
        return d->read_only ? 0 : d->ops->flush(d);
    case BLOCK_DISCARD:
        return d->ops->discard(d, r->offset, r->len);
    case BLOCK_WRITE_ZEROES:
        return d->ops->write_zeroes(d, r->offset, r->len);
    }
    return result;
}

static struct block_request *take(struct pooled *p)
{
    struct block_request *r = p->first;
    p->first = r->next;
    if (!p->first)
        p->last = &p->first;
    p->waiting--;
    p->running++;
    return r;
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * NS_PER_SEC + (uint64_t)t.tv_nsec;
}

/* With p->lock: until there is something to do. */
static void wait_for_work(struct pooled *p)
{
    p->idle++;
    if (p->settle_ns) {
        struct timespec t = {(time_t)(p->settle_ns / NS_PER_SEC),
                             (long)(p->settle_ns % NS_PER_SEC)};
        pthread_cond_timedwait(&p->work, &p->lock, &t);
    } else {
        pthread_cond_wait(&p->work, &p->lock);
    }
    p->idle--;
}

/* With p->lock, which is let go meanwhile: one request, or the writing of what is due. */
static void work(struct pooled *p)
{
    bool settle = p->settle_ns && now_ns() >= p->settle_ns;
    struct block_request *r = NULL;
    if (settle) {
        p->settle_ns = 0;
        p->running++;
    } else if (p->first) {
        r = take(p);
        if (r->op != BLOCK_READ && r->op != BLOCK_FLUSH && p->disk->ops->settle && !p->settle_ns)
            p->settle_ns = now_ns() + SETTLE_NS;
    } else {
        return; /* woken in vain */
    }
    pthread_mutex_unlock(&p->lock);
    if (settle)
        p->disk->ops->settle(p->disk);
    else
        block_done(&p->base, r, carry_out(p->disk, r));
    pthread_mutex_lock(&p->lock);
    p->running--;
    if (!p->running && !p->first)
        pthread_cond_broadcast(&p->quiet);
}

static void *worker(void *opaque)
{
    struct pooled *p = opaque;
    if (p->thread_start)
        p->thread_start(p->thread_opaque);
    pthread_mutex_lock(&p->lock);
    while (p->first || !p->quit) {
        if (p->first || (p->settle_ns && now_ns() >= p->settle_ns))
            work(p);
        else
            wait_for_work(p);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

int disk_thread_start(pthread_t *thread, const char *name, void *(*run)(void *opaque), void *opaque)
{
    sigset_t all, old;
    sigfillset(&all);
    static const int crash[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP};
    for (unsigned i = 0; i < ARRAY_LEN(crash); i++)
        sigdelset(&all, crash[i]);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int r = pthread_create(thread, NULL, run, opaque);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (r == 0)
        pthread_setname_np(*thread, name);
    return r;
}

/* With p->lock. */
static int start_thread(struct pooled *p)
{
    int r = disk_thread_start(&p->thread[p->threads], "ring3-disk", worker, p);
    if (r == 0)
        p->threads++;
    return r;
}

static bool pooled_submit(struct block *b, struct block_request *r)
{
    struct pooled *p = self(b);
    struct disk *d = p->disk;
    struct span s = {r->iov, r->iov_count, 0};
    if (r->op == BLOCK_READ && d->ops->read_now && d->ops->read_now(d, r->offset, r->len, s)) {
        r->result = 0;
        return true;
    }
    pthread_mutex_lock(&p->lock);
    r->next = NULL;
    *p->last = r;
    p->last = &r->next;
    p->waiting++;
    if (p->waiting > p->idle && p->threads < d->threads)
        start_thread(p); /* without it those that there are must do */
    pthread_cond_signal(&p->work);
    pthread_mutex_unlock(&p->lock);
    return false;
}

static void pooled_drain(struct block *b)
{
    struct pooled *p = self(b);
    pthread_mutex_lock(&p->lock);
    while (p->first || p->running)
        pthread_cond_wait(&p->quiet, &p->lock);
    pthread_mutex_unlock(&p->lock);
}

static void pooled_free(struct block *b)
{
    struct pooled *p = self(b);
    pthread_mutex_lock(&p->lock);
    p->quit = true;
    pthread_cond_broadcast(&p->work);
    pthread_mutex_unlock(&p->lock);
    for (unsigned i = 0; i < p->threads; i++)
        pthread_join(p->thread[i], NULL);
    disk_free(p->disk);
    pthread_mutex_destroy(&p->lock);
    pthread_cond_destroy(&p->work);
    pthread_cond_destroy(&p->quiet);
    free(p);
}

static int pooled_changed(struct block *b, uint64_t offset, uint64_t *len)
{
    struct disk *d = self(b)->disk;
    return d->ops->changed ? d->ops->changed(d, offset, len) : -ENOTSUP;
}

static const struct block_ops pooled_ops = {pooled_submit, pooled_drain, pooled_free,
                                            pooled_changed};

struct block *block_from_disk(struct disk *d, const struct block_config *c, struct err *e)
{
    struct pooled *p = calloc(1, sizeof *p);
    if (!p) {
        disk_free(d);
        err_set(e, ENOMEM, "no-memory", "no memory for a disk");
        return NULL;
    }
    p->base.ops = &pooled_ops;
    p->base.info = (struct block_info){.bytes = d->bytes,
                                       .read_only = d->read_only,
                                       .can_discard = d->can_discard,
                                       .cluster = d->cluster,
                                       .format = d->format,
                                       .name = d->name};
    p->disk = d;
    p->last = &p->first;
    p->thread_start = c->thread_start;
    p->thread_opaque = c->thread_opaque;
    pthread_mutex_init(&p->lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&p->work, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_cond_init(&p->quiet, NULL);
    if (d->threads > MAX_THREADS)
        d->threads = MAX_THREADS;
    pthread_mutex_lock(&p->lock);
    int r = start_thread(p);
    pthread_mutex_unlock(&p->lock);
    if (r == 0)
        return &p->base;
    err_set(e, r, "thread-failed",
            "cannot start a thread for disk %s: %s; check the limit on processes (ulimit -u)",
            d->name, strerror(r));
    pooled_free(&p->base);
    return NULL;
}
