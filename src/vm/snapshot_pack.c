/* SPDX-License-Identifier: MIT */
/* Packed pieces of a snapshot and the threads that make and unpack them: see snapshot_pack.h. */
#include "vm/snapshot_pack.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>
#include <xxhash.h>

#define MAX_THREADS 4
#define LEVEL       3 /* of zstd, its default */

int snapshot_read_at(int fd, void *p, size_t n, uint64_t at)
{
    while (n) {
        ssize_t done = pread(fd, p, n, (off_t)at);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return done < 0 ? -errno : -EIO;
        p = (uint8_t *)p + done;
        at += (uint64_t)done;
        n -= (size_t)done;
    }
    return 0;
}

int snapshot_write_at(int fd, const void *p, size_t n, uint64_t at)
{
    while (n) {
        ssize_t done = pwrite(fd, p, n, (off_t)at);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return done < 0 ? -errno : -EIO;
        p = (const uint8_t *)p + done;
        at += (uint64_t)done;
        n -= (size_t)done;
    }
    return 0;
}

/* ---- pieces ---------------------------------------------------------------------------------- */

int snapshot_pack(struct snapshot_packer *p, size_t bytes, struct snapshot_out *o,
                  struct snapshot_piece *k)
{
    k->stored = ZSTD_compress2(p->zstd, p->packed, sizeof p->packed, p->plain, bytes);
    if (ZSTD_isError(k->stored))
        return -ENOMEM;
    k->hash = XXH64(p->packed, k->stored, 0);
    k->at = atomic_fetch_add(&o->end, k->stored);
    return snapshot_write_at(o->fd, p->packed, k->stored, k->at);
}

int snapshot_unpack(struct snapshot_packer *p, size_t bytes, int fd, const struct snapshot_piece *k)
{
    int r = snapshot_read_at(fd, p->packed, k->stored, k->at);
    if (r < 0)
        return r;
    if (XXH64(p->packed, k->stored, 0) != k->hash)
        return -EBADMSG;
    /* An error is a large number. */
    size_t got = ZSTD_decompressDCtx(p->zstd, p->plain, sizeof p->plain, p->packed, k->stored);
    return got == bytes ? 0 : -EBADMSG;
}

bool snapshot_piece_ok(const struct snapshot_piece *k, uint64_t file_bytes)
{
    return k->stored && k->stored <= SNAPSHOT_PIECE_STORED && k->stored <= file_bytes &&
           k->at <= file_bytes - k->stored;
}

/* ---- threads --------------------------------------------------------------------------------- */

static void *context_new(bool unpacks)
{
    if (unpacks)
        return ZSTD_createDCtx();
    ZSTD_CCtx *c = ZSTD_createCCtx();
    if (c)
        ZSTD_CCtx_setParameter(c, ZSTD_c_compressionLevel, LEVEL);
    return c;
}

static void context_free(bool unpacks, void *context)
{
    if (unpacks)
        ZSTD_freeDCtx(context);
    else
        ZSTD_freeCCtx(context);
}

static void report(const struct snapshot_crew *c)
{
    if (c->progress && c->progress->fn)
        c->progress->fn(c->progress->opaque, c->done, c->jobs);
}

static void work(struct snapshot_crew *c, bool reports)
{
    struct snapshot_packer *p = malloc(sizeof *p);
    void *context = context_new(c->unpacks);
    uint64_t n;
    if (p && context)
        p->zstd = context;
    else
        c->error = -ENOMEM;
    while (!c->error && (n = atomic_fetch_add(&c->next, 1)) < c->jobs) {
        int r = c->job(c, p, n);
        if (r < 0)
            c->error = r;
        c->done++;
        if (reports)
            report(c);
    }
    context_free(c->unpacks, context);
    free(p);
}

static void *crew_thread(void *opaque)
{
    pthread_setname_np(pthread_self(), "ring3-pack");
    work(opaque, false);
    return NULL;
}

/* No signal but those of a crash is theirs to take. */
static void mask_signals(sigset_t *old)
{
    static const int crash[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP};
    sigset_t all;
    sigfillset(&all);
    for (unsigned i = 0; i < ARRAY_LEN(crash); i++)
        sigdelset(&all, crash[i]);
    pthread_sigmask(SIG_SETMASK, &all, old);
}

int snapshot_crew_run(struct snapshot_crew *c)
{
    pthread_t thread[MAX_THREADS];
    unsigned threads = 0;
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    sigset_t old;
    mask_signals(&old);
    while (threads + 1 < MAX_THREADS && threads + 1 < processors && threads + 1 < c->jobs &&
           pthread_create(&thread[threads], NULL, crew_thread, c) == 0)
        threads++;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    work(c, true);
    for (unsigned i = 0; i < threads; i++)
        pthread_join(thread[i], NULL);
    if (!c->error)
        report(c);
    return c->error;
}
