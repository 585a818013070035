/* SPDX-License-Identifier: MIT */
/* A machine's memory in a snapshot: chunks of 64 pages, packed and unpacked by a few threads.
 *
 * Holes of the memfd and pages of zeros are not in it. Restoring puts pages where they belong and
 * touches no others, so a restored guest takes no more memory of the host than the saved one did.
 * Everything is unpacked before the guest runs: at about 1 GB/s and processor that is a tenth of a
 * second for a guest of 256 MiB. To do it on demand would need userfaultfd, which containers
 * forbid. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>
#include <zstd.h>

#include "vm/snapshot_file.h"

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

/* ---- threads --------------------------------------------------------------------------------- */

/* Jobs 0 to jobs-1, each done once by some thread. */
struct crew {
    int (*job)(struct crew *c, void *own, uint64_t n); /* 0 or -errno, which ends the rest */
    void *(*begin)(void);                              /* what a thread has of its own */
    void (*end)(void *own);
    const struct snapshot_progress *progress;
    uint64_t jobs;
    _Atomic uint64_t next, done;
    _Atomic int error;
};

static void report(const struct crew *c)
{
    if (c->progress && c->progress->fn)
        c->progress->fn(c->progress->opaque, c->done, c->jobs);
}

static void work(struct crew *c, bool reports)
{
    void *own = c->begin();
    if (!own)
        c->error = -ENOMEM;
    uint64_t n;
    while (!c->error && (n = atomic_fetch_add(&c->next, 1)) < c->jobs) {
        int r = c->job(c, own, n);
        if (r < 0)
            c->error = r;
        c->done++;
        if (reports)
            report(c);
    }
    c->end(own);
}

static void *crew_thread(void *opaque)
{
    work(opaque, false);
    return NULL;
}

/* The caller works, too, so it is done even if no thread can be had. */
static int crew_run(struct crew *c)
{
    pthread_t thread[MAX_THREADS];
    unsigned threads = 0;
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    while (threads + 1 < MAX_THREADS && threads + 1 < processors &&
           pthread_create(&thread[threads], NULL, crew_thread, c) == 0)
        threads++;
    work(c, true);
    for (unsigned i = 0; i < threads; i++)
        pthread_join(thread[i], NULL);
    if (!c->error)
        report(c);
    return c->error;
}

/* ---- saving ---------------------------------------------------------------------------------- */

struct save {
    struct crew crew; /* first */
    struct snapshot_memory_out *out;
    const uint8_t *memory;
    int memory_fd;
    uint64_t memory_bytes;
    _Atomic uint64_t end;
};

struct packer {
    ZSTD_CCtx *zstd;
    uint8_t pages[SNAPSHOT_CHUNK_BYTES];
    uint8_t packed[ZSTD_COMPRESSBOUND(SNAPSHOT_CHUNK_BYTES)];
};

static void *packer_new(void)
{
    struct packer *p = malloc(sizeof *p);
    if (p && !(p->zstd = ZSTD_createCCtx())) {
        free(p);
        p = NULL;
    }
    if (p)
        ZSTD_CCtx_setParameter(p->zstd, ZSTD_c_compressionLevel, LEVEL);
    return p;
}

static void packer_free(void *own)
{
    struct packer *p = own;
    if (p)
        ZSTD_freeCCtx(p->zstd);
    free(p);
}

static bool is_zero(const uint8_t *page)
{
    return !page[0] && !memcmp(page, page + 1, PAGE_BYTES - 1);
}

/* Copy the pages of [from, to) that hold something; reading a hole would fill it. */
static size_t gather(const struct save *s, uint64_t from, uint64_t to, uint8_t *pages,
                     uint64_t *mask)
{
    size_t n = 0;
    for (uint64_t at = from; at < to;) {
        off_t data = lseek(s->memory_fd, (off_t)at, SEEK_DATA);
        if (data < 0 || (uint64_t)data >= to)
            break;
        off_t hole = lseek(s->memory_fd, data, SEEK_HOLE);
        uint64_t end = hole < 0 || (uint64_t)hole > to ? to : (uint64_t)hole;
        for (at = (uint64_t)data & PAGE_MASK; at < end; at += PAGE_BYTES)
            if (!is_zero(s->memory + at)) {
                memcpy(pages + n, s->memory + at, PAGE_BYTES);
                *mask |= UINT64_C(1) << ((at - from) >> PAGE_SHIFT);
                n += PAGE_BYTES;
            }
    }
    return n;
}

static int save_chunk(struct crew *c, void *own, uint64_t n)
{
    struct save *s = (struct save *)c;
    struct packer *p = own;
    struct snapshot_chunk *k = &s->out->chunk[n];
    uint64_t from = n * SNAPSHOT_CHUNK_BYTES, to = from + SNAPSHOT_CHUNK_BYTES;
    *k = (struct snapshot_chunk){.first_page = n * SNAPSHOT_CHUNK_PAGES};
    size_t bytes =
        gather(s, from, to < s->memory_bytes ? to : s->memory_bytes, p->pages, &k->pages);
    if (!bytes)
        return 0;
    k->stored = ZSTD_compress2(p->zstd, p->packed, sizeof p->packed, p->pages, bytes);
    if (ZSTD_isError(k->stored))
        return -ENOMEM;
    k->hash = XXH64(p->packed, k->stored, 0);
    k->at = atomic_fetch_add(&s->end, k->stored);
    return snapshot_write_at(s->out->fd, p->packed, k->stored, k->at);
}

int snapshot_memory_save(struct vm *vm, struct snapshot_memory_out *o,
                         const struct snapshot_progress *p, struct err *e)
{
    struct save s = {
        .crew = {.job = save_chunk, .begin = packer_new, .end = packer_free, .progress = p},
        .out = o,
        .memory_fd = phys_ram_fd(vm->mem),
        .end = o->end};
    s.memory = phys_memory(vm->mem, &s.memory_bytes);
    s.crew.jobs = (s.memory_bytes + SNAPSHOT_CHUNK_BYTES - 1) / SNAPSHOT_CHUNK_BYTES;
    o->chunk = calloc(s.crew.jobs, sizeof *o->chunk);
    int r = o->chunk ? crew_run(&s.crew) : -ENOMEM;
    if (r < 0)
        return err_set(e, -r, "snapshot-write", "cannot write the snapshot: %s", strerror(-r));
    o->chunks = 0;
    for (uint64_t i = 0; i < s.crew.jobs; i++)
        if (o->chunk[i].pages)
            o->chunk[o->chunks++] = o->chunk[i];
    o->end = s.end;
    return 0;
}

/* ---- restoring ------------------------------------------------------------------------------- */

struct load {
    struct crew crew; /* first */
    const struct snapshot_chunk *chunk;
    int fd;
    uint8_t *memory;
};

struct unpacker {
    ZSTD_DCtx *zstd;
    uint8_t pages[SNAPSHOT_CHUNK_BYTES];
    uint8_t packed[ZSTD_COMPRESSBOUND(SNAPSHOT_CHUNK_BYTES)];
};

static void *unpacker_new(void)
{
    struct unpacker *u = malloc(sizeof *u);
    if (u && !(u->zstd = ZSTD_createDCtx())) {
        free(u);
        u = NULL;
    }
    return u;
}

static void unpacker_free(void *own)
{
    struct unpacker *u = own;
    if (u)
        ZSTD_freeDCtx(u->zstd);
    free(u);
}

static unsigned pages_in(uint64_t mask)
{
    return (unsigned)__builtin_popcountll(mask);
}

static int load_chunk(struct crew *c, void *own, uint64_t n)
{
    const struct load *l = (struct load *)c;
    struct unpacker *u = own;
    const struct snapshot_chunk *k = &l->chunk[n];
    int r = snapshot_read_at(l->fd, u->packed, k->stored, k->at);
    if (r < 0)
        return r;
    if (XXH64(u->packed, k->stored, 0) != k->hash)
        return -EBADMSG;
    size_t bytes = ZSTD_decompressDCtx(u->zstd, u->pages, sizeof u->pages, u->packed, k->stored);
    if (bytes != pages_in(k->pages) * PAGE_BYTES) /* or an error, which is a large number */
        return -EBADMSG;
    const uint8_t *from = u->pages;
    for (uint64_t mask = k->pages; mask; mask &= mask - 1, from += PAGE_BYTES) {
        uint64_t page = k->first_page + (unsigned)__builtin_ctzll(mask);
        memcpy(l->memory + (page << PAGE_SHIFT), from, PAGE_BYTES);
    }
    return 0;
}

int snapshot_memory_check(const struct snapshot_header *h, const struct snapshot_chunk *chunk,
                          struct err *e)
{
    uint64_t all = h->memory_bytes >> PAGE_SHIFT;
    for (uint64_t i = 0; i < h->chunks; i++) {
        const struct snapshot_chunk *k = &chunk[i];
        bool ascends = !i || k->first_page > chunk[i - 1].first_page;
        bool pages =
            k->pages && k->first_page % SNAPSHOT_CHUNK_PAGES == 0 && k->first_page < all &&
            (all - k->first_page >= SNAPSHOT_CHUNK_PAGES || !(k->pages >> (all - k->first_page)));
        bool place = k->stored && k->stored <= ZSTD_COMPRESSBOUND(SNAPSHOT_CHUNK_BYTES) &&
                     k->stored <= h->file_bytes && k->at <= h->file_bytes - k->stored;
        if (!ascends || !pages || !place)
            return err_set(e, EINVAL, "snapshot-corrupt",
                           "chunk %llu of the snapshot's memory cannot be", (unsigned long long)i);
    }
    return 0;
}

int snapshot_memory_load(struct vm *vm, int fd, const struct snapshot_chunk *chunk, uint64_t chunks,
                         struct err *e)
{
    uint64_t bytes;
    struct load l = {
        .crew = {.job = load_chunk, .begin = unpacker_new, .end = unpacker_free, .jobs = chunks},
        .chunk = chunk,
        .fd = fd,
        .memory = phys_memory(vm->mem, &bytes)};
    if (fallocate(phys_ram_fd(vm->mem), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
                  (off_t)bytes) < 0)
        memset(l.memory, 0, bytes);
    int r = crew_run(&l.crew);
    if (r == -EBADMSG)
        return err_set(e, EINVAL, "snapshot-corrupt",
                       "the snapshot's memory has a wrong checksum: the file was damaged");
    if (r < 0)
        return err_set(e, -r, "snapshot-read", "cannot read the snapshot's memory: %s",
                       strerror(-r));
    return 0;
}
