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

int snapshot_read_piece(struct snapshot_packer *p, int fd, const struct snapshot_piece *k)
{
    int r = snapshot_read_at(fd, p->packed, k->stored, k->at);
    if (r < 0)
        return r;
    return XXH64(p->packed, k->stored, 0) == k->hash ? 0 : -EBADMSG;
}

int snapshot_unpack(struct snapshot_packer *p, size_t bytes, int fd, const struct snapshot_piece *k)
{
    int r = snapshot_read_piece(p, fd, k);
    if (r < 0)
        return r;
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

int snapshot_packer_init(struct snapshot_packer *p, bool unpacks)
{
    p->zstd = unpacks ? (void *)ZSTD_createDCtx() : ZSTD_createCCtx();
    if (!p->zstd)
        return -ENOMEM;
    if (!unpacks)
        ZSTD_CCtx_setParameter(p->zstd, ZSTD_c_compressionLevel, LEVEL);
    return 0;
}

void snapshot_packer_free(struct snapshot_packer *p, bool unpacks)
{
    if (unpacks)
        ZSTD_freeDCtx(p->zstd);
    else
        ZSTD_freeCCtx(p->zstd);
}

static void report(const struct snapshot_crew *c)
{
    if (c->progress && c->progress->fn)
        c->progress->fn(c->progress->opaque, c->done, c->jobs);
}

static void work(struct snapshot_crew *c, bool reports)
{
    struct snapshot_packer *p = malloc(sizeof *p);
    int r = p ? snapshot_packer_init(p, c->unpacks) : -ENOMEM;
    uint64_t n;
    if (r < 0)
        c->error = r;
    while (!c->error && (n = atomic_fetch_add(&c->next, 1)) < c->jobs) {
        r = c->job(c, p, n);
        if (r < 0)
            c->error = r;
        c->done++;
        if (reports)
            report(c);
    }
    if (p)
        snapshot_packer_free(p, c->unpacks);
    free(p);
}

static void *crew_thread(void *opaque)
{
    work(opaque, false);
    return NULL;
}

/* No signal but those of a crash is theirs to take. */
int snapshot_thread_start(pthread_t *thread, void *(*run)(void *opaque), void *opaque)
{
    static const int crash[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP};
    sigset_t all, old;
    sigfillset(&all);
    for (unsigned i = 0; i < ARRAY_LEN(crash); i++)
        sigdelset(&all, crash[i]);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int r = pthread_create(thread, NULL, run, opaque);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (r == 0)
        pthread_setname_np(*thread, "ring3-pack");
    return -r;
}

int snapshot_crew_run(struct snapshot_crew *c)
{
    pthread_t thread[MAX_THREADS];
    unsigned threads = 0;
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    while (threads + 1 < MAX_THREADS && threads + 1 < processors && threads + 1 < c->jobs &&
           snapshot_thread_start(&thread[threads], crew_thread, c) == 0)
        threads++;
    work(c, true);
    for (unsigned i = 0; i < threads; i++)
        pthread_join(thread[i], NULL);
    if (!c->error)
        report(c);
    return c->error;
}
