/* SPDX-License-Identifier: MIT */
/* A bench for disks: one request at a time, or many random ones against a copy in memory. */
#ifndef RING3_TESTS_BLOCK_RIG_H
#define RING3_TESTS_BLOCK_RIG_H

#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ring3/block.h"

#define RIG_PATTERN(i) ((uint8_t)((i)*7 + ((i) >> 9) * 13 + 1))

/* A directory of this test's own; files in it by rig_path(). */
static char rig_dir[64];
static inline int rig_enter(void **state)
{
    strcpy(rig_dir, "/tmp/ring3-block-XXXXXX");
    return mkdtemp(rig_dir) ? 0 : -1;
}
static inline int rig_leave(void **state)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", rig_dir);
    return system(command);
}
/* Valid until the fourth next call. */
static inline const char *rig_path(const char *name)
{
    static char path[4][160];
    static unsigned next;
    char *p = path[next++ % 4];
    snprintf(p, sizeof path[0], "%s/%s", rig_dir, name);
    return p;
}
static inline const char *rig_file(const char *name, const void *bytes, size_t n, off_t size)
{
    const char *path = rig_path(name);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, n), n);
    assert_int_equal(ftruncate(fd, size), 0);
    close(fd);
    return path;
}
static inline void rig_load(const char *path, void *bytes, size_t n)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(read(fd, bytes, n), n);
    close(fd);
}

/* ---- one request ----------------------------------------------------------------------------- */

static inline void rig_posted(struct block_request *r)
{
    sem_post(r->opaque);
}
static inline int rig_do(struct block *b, struct block_request *r)
{
    sem_t s;
    sem_init(&s, 0, 0);
    r->done = rig_posted;
    r->opaque = &s;
    if (!block_submit(b, r))
        while (sem_wait(&s) < 0)
            ;
    sem_destroy(&s);
    return r->result;
}
static inline int rig_io(struct block *b, enum block_op op, uint64_t offset, void *p, size_t n)
{
    struct iovec v = {p, n};
    struct block_request r = {
        .op = op, .offset = offset, .len = n, .iov = &v, .iov_count = p ? 1 : 0};
    return rig_do(b, &r);
}

/* ---- random requests against a copy in memory ------------------------------------------------ */

#define RIG_SLOTS 8

struct rig_slot {
    struct block_request r;
    struct iovec v[5];
    uint8_t *buf, *want; /* what a read must give */
    bool busy;
    struct rig_shadow *s;
};
struct rig_shadow {
    struct block *b;
    uint8_t *copy;  /* what the disk must hold */
    uint64_t bytes; /* of the disk */
    uint64_t seed;
    uint64_t max; /* bytes of the largest request */
    pthread_mutex_t lock;
    pthread_cond_t some;
    struct rig_slot slot[RIG_SLOTS];
    unsigned counts[5];
};

static inline uint64_t rig_random(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed * UINT64_C(2685821657736338717) >> 11;
}

static inline void rig_check(struct rig_slot *t)
{
    assert_int_equal(t->r.result, 0);
    if (t->r.op == BLOCK_READ && memcmp(t->buf, t->want, t->r.len) != 0) {
        for (uint64_t i = 0; i < t->r.len; i++)
            if (t->buf[i] != t->want[i])
                fail_msg("read of %lu at %lu differs at byte %lu: %02x, wanted %02x",
                         (unsigned long)t->r.len, (unsigned long)t->r.offset,
                         (unsigned long)(t->r.offset + i), t->buf[i], t->want[i]);
    }
}
static inline void rig_slot_done(struct block_request *r)
{
    struct rig_slot *t = r->opaque;
    pthread_mutex_lock(&t->s->lock);
    t->busy = false;
    pthread_cond_signal(&t->s->some);
    pthread_mutex_unlock(&t->s->lock);
}
static inline bool rig_overlaps(const struct rig_shadow *s, uint64_t at, uint64_t n)
{
    for (unsigned i = 0; i < RIG_SLOTS; i++)
        if (s->slot[i].busy && at < s->slot[i].r.offset + s->slot[i].r.len &&
            s->slot[i].r.offset < at + n)
            return true;
    return false;
}
/* With s->lock. Contents after a discard are undefined: it is followed by a write of zeroes. */
static inline bool rig_fill(struct rig_shadow *s, struct rig_slot *t)
{
    uint64_t n = 512 * (1 + rig_random(&s->seed) % (s->max / 512));
    if (rig_random(&s->seed) % 4)
        n = n / 16 / 512 * 512 + 512;
    if (n > s->bytes)
        n = s->bytes;
    uint64_t at = rig_random(&s->seed) % ((s->bytes - n) / 512 + 1) * 512;
    unsigned kind = rig_random(&s->seed) % 16;
    if (rig_overlaps(s, at, n))
        return false;
    t->r = (struct block_request){.offset = at, .len = n, .iov = t->v, .iov_count = 1};
    t->r.op = kind < 6    ? BLOCK_READ
              : kind < 13 ? BLOCK_WRITE
              : kind < 15 ? BLOCK_WRITE_ZEROES
                          : BLOCK_FLUSH;
    t->r.done = rig_slot_done;
    t->r.opaque = t;
    if (t->r.op == BLOCK_FLUSH)
        t->r.offset = t->r.len = 0;
    if (t->r.op == BLOCK_READ || t->r.op == BLOCK_WRITE) { /* in pieces of odd sizes */
        uint64_t left = n, from = 0;
        for (t->r.iov_count = 0; left; t->r.iov_count++) {
            uint64_t part = t->r.iov_count == 4 ? left : rig_random(&s->seed) % (left + 1);
            t->v[t->r.iov_count] = (struct iovec){t->buf + from, part};
            from += part, left -= part;
        }
    } else {
        t->r.iov_count = 0;
    }
    if (t->r.op == BLOCK_WRITE)
        for (uint64_t i = 0; i < n; i += 8) {
            uint64_t x = rig_random(&s->seed);
            memcpy(t->buf + i, &x, 8);
        }
    s->counts[t->r.op]++;
    return true;
}

static inline void rig_shadow_open(struct rig_shadow *s, struct block *b, const void *contents,
                                   uint64_t seed, uint64_t max)
{
    memset(s, 0, sizeof *s);
    s->b = b;
    s->bytes = b->info.bytes;
    s->copy = malloc(s->bytes);
    s->seed = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
    s->max = max;
    if (contents)
        memcpy(s->copy, contents, s->bytes);
    else
        memset(s->copy, 0, s->bytes);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->some, NULL);
    for (unsigned i = 0; i < RIG_SLOTS; i++) {
        s->slot[i].buf = malloc(max);
        s->slot[i].want = malloc(max);
        s->slot[i].s = s;
    }
}
static inline void rig_shadow_settle(struct rig_shadow *s)
{
    block_drain(s->b);
    for (unsigned i = 0; i < RIG_SLOTS; i++) {
        assert_false(s->slot[i].busy);
        if (s->slot[i].r.len && s->slot[i].r.op == BLOCK_READ)
            rig_check(&s->slot[i]);
        s->slot[i].r.len = 0;
    }
}
static inline void rig_shadow_run(struct rig_shadow *s, unsigned requests)
{
    for (unsigned n = 0; n < requests; n++) {
        struct rig_slot *t = NULL;
        pthread_mutex_lock(&s->lock);
        while (!t) {
            for (unsigned i = 0; i < RIG_SLOTS; i++)
                if (!s->slot[i].busy)
                    t = &s->slot[i];
            if (!t)
                pthread_cond_wait(&s->some, &s->lock);
        }
        if (t->r.done)
            rig_check(t);
        bool ok = rig_fill(s, t);
        t->busy = ok;
        pthread_mutex_unlock(&s->lock);
        if (!ok) {
            t->r.done = NULL;
            continue;
        }
        /* Nobody else has a request there, so the copy may change now. */
        if (t->r.op == BLOCK_READ)
            memcpy(t->want, s->copy + t->r.offset, t->r.len);
        else if (t->r.op == BLOCK_WRITE)
            memcpy(s->copy + t->r.offset, t->buf, t->r.len);
        else if (t->r.op == BLOCK_WRITE_ZEROES)
            memset(s->copy + t->r.offset, 0, t->r.len);
        if (block_submit(s->b, &t->r)) {
            pthread_mutex_lock(&s->lock);
            t->busy = false;
            pthread_mutex_unlock(&s->lock);
        }
    }
    rig_shadow_settle(s);
}
/* Read it all. */
static inline void rig_shadow_compare(struct rig_shadow *s)
{
    uint8_t *all = malloc(s->bytes);
    assert_int_equal(rig_io(s->b, BLOCK_READ, 0, all, s->bytes), 0);
    for (uint64_t i = 0; i < s->bytes; i++)
        if (all[i] != s->copy[i])
            fail_msg("byte %lu is %02x, wanted %02x", (unsigned long)i, all[i], s->copy[i]);
    free(all);
}
static inline void rig_shadow_close(struct rig_shadow *s)
{
    for (unsigned i = 0; i < RIG_SLOTS; i++)
        free(s->slot[i].buf), free(s->slot[i].want);
    free(s->copy);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->some);
}

#endif
