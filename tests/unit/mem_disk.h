/* SPDX-License-Identifier: MIT */
/* A struct disk in memory that takes the place of a file. It has a largest size, and can record
 * what was written and when it was flushed, so that a test can be a host that loses power. */
#ifndef RING3_TESTS_MEM_DISK_H
#define RING3_TESTS_MEM_DISK_H

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "backend/disk.h"

/* A write (of zeros if data is NULL), or a flush if len is 0. */
struct mem_event {
    uint64_t offset, len;
    uint8_t *data;
};
struct mem_disk {
    struct disk disk; /* first */
    uint8_t *bytes;
    uint64_t max; /* room in bytes; more gives -ENOSPC */
    pthread_mutex_t lock;
    bool record;
    struct mem_event *event;
    uint64_t events, room;
    bool *gone;      /* set when it is freed, or NULL */
    uint64_t budget; /* bytes that may still be written; then -ENOSPC */
};

static inline struct mem_disk *mem_of(struct disk *d)
{
    return container_of(d, struct mem_disk, disk);
}

static inline void mem_event(struct mem_disk *m, uint64_t offset, uint64_t len, const uint8_t *data)
{
    if (!m->record)
        return;
    if (m->events == m->room) {
        m->room = m->room ? m->room * 2 : 1024;
        m->event = realloc(m->event, m->room * sizeof *m->event);
    }
    struct mem_event *v = &m->event[m->events];
    *v = (struct mem_event){offset, len, NULL};
    if (data) {
        v->data = malloc(len);
        memcpy(v->data, data, len);
    }
    __atomic_store_n(&m->events, m->events + 1, __ATOMIC_RELEASE);
}

static inline int mem_read(struct disk *d, uint64_t offset, uint64_t len, struct span to)
{
    struct mem_disk *m = mem_of(d);
    pthread_mutex_lock(&m->lock);
    uint64_t end = d->end, there = offset >= end ? 0 : end - offset < len ? end - offset : len;
    span_put(to, m->bytes + (there ? offset : 0), there);
    span_zero(span_behind(to, there), len - there);
    pthread_mutex_unlock(&m->lock);
    return 0;
}
static inline int mem_change(struct mem_disk *m, uint64_t offset, uint64_t len,
                             const struct span *from)
{
    pthread_mutex_lock(&m->lock);
    int r = len > m->max || offset > m->max - len || len > m->budget ? -ENOSPC : 0;
    if (r == 0 && from) {
        m->budget -= len;
        if (m->disk.end < offset + len)
            m->disk.end = offset + len;
        span_get(*from, m->bytes + offset, len);
        mem_event(m, offset, len, m->bytes + offset);
    } else if (r == 0) {
        memset(m->bytes + offset, 0, len);
        mem_event(m, offset, len, NULL);
    }
    pthread_mutex_unlock(&m->lock);
    return r;
}
static inline int mem_write(struct disk *d, uint64_t offset, uint64_t len, struct span from)
{
    return mem_change(mem_of(d), offset, len, &from);
}
static inline int mem_zero(struct disk *d, uint64_t offset, uint64_t len)
{
    return mem_change(mem_of(d), offset, len, NULL);
}
static inline int mem_flush(struct disk *d)
{
    struct mem_disk *m = mem_of(d);
    pthread_mutex_lock(&m->lock);
    mem_event(m, 0, 0, NULL);
    pthread_mutex_unlock(&m->lock);
    return 0;
}
static inline void mem_free(struct disk *d)
{
    struct mem_disk *m = mem_of(d);
    if (m->gone)
        *m->gone = true;
    for (uint64_t i = 0; i < m->events; i++)
        free(m->event[i].data);
    free(m->event);
    free(m->bytes);
    free(d->name);
    pthread_mutex_destroy(&m->lock);
    free(m);
}

/* `bytes` of contents, or zeros if it is NULL. */
static inline struct disk *mem_disk(const char *name, const void *contents, uint64_t bytes,
                                    uint64_t max)
{
    static const struct disk_ops ops = {.read = mem_read,
                                        .write = mem_write,
                                        .write_zeroes = mem_zero,
                                        .discard = mem_zero,
                                        .flush = mem_flush,
                                        .free = mem_free};
    struct mem_disk *m = calloc(1, sizeof *m);
    m->disk = (struct disk){.ops = &ops,
                            .bytes = (bytes + 511) / 512 * 512,
                            .end = bytes,
                            .can_discard = true,
                            .cluster = 512,
                            .threads = 2,
                            .format = "memory",
                            .name = strdup(name)};
    m->bytes = calloc(1, max);
    m->max = max;
    m->budget = UINT64_MAX;
    if (contents)
        memcpy(m->bytes, contents, bytes);
    pthread_mutex_init(&m->lock, NULL);
    return &m->disk;
}

#endif
