/* SPDX-License-Identifier: MIT */
/* A disk in memory for tests of controllers. It notes what it is asked for, fails on demand, and
 * can hold a request back until the test lets it finish. */
#ifndef RING3_TESTS_MEMORY_DISK_H
#define RING3_TESTS_MEMORY_DISK_H

#include "unit.h"

#include <stdio.h>
#include <stdlib.h>

#include "ring3/block.h"

struct memory_disk {
    struct block block;
    uint8_t *bytes;
    char trace[2048]; /* "r3+2 ": read of 2 sectors from 3 on; w, W (durable), f, d */
    int fail;         /* result of the next request, once; 0: none */
    bool hold;        /* requests wait for memory_disk_finish() */
    struct block_request *held;
};

static inline void memory_disk_note(struct memory_disk *m, const struct block_request *r)
{
    static const char letters[] = {[BLOCK_READ] = 'r',
                                   [BLOCK_WRITE] = 'w',
                                   [BLOCK_FLUSH] = 'f',
                                   [BLOCK_DISCARD] = 'd',
                                   [BLOCK_WRITE_ZEROES] = 'z'};
    char letter = r->fua ? 'W' : letters[r->op];
    size_t n = strlen(m->trace);
    if (r->op == BLOCK_FLUSH)
        snprintf(m->trace + n, sizeof m->trace - n, "f ");
    else
        snprintf(m->trace + n, sizeof m->trace - n, "%c%u+%u ", letter, (unsigned)(r->offset / 512),
                 (unsigned)(r->len / 512));
}

static inline int memory_disk_carry_out(struct memory_disk *m, struct block_request *r)
{
    uint8_t *p = m->bytes + r->offset;
    int fail = m->fail;
    m->fail = 0;
    if (fail)
        return fail;
    for (unsigned i = 0; i < r->iov_count; i++) {
        if (r->op == BLOCK_READ)
            memcpy(r->iov[i].iov_base, p, r->iov[i].iov_len);
        else if (r->op == BLOCK_WRITE)
            memcpy(p, r->iov[i].iov_base, r->iov[i].iov_len);
        p += r->iov[i].iov_len;
    }
    if (r->op == BLOCK_DISCARD || r->op == BLOCK_WRITE_ZEROES)
        memset(p, 0, r->len);
    return 0;
}

static inline bool memory_disk_submit(struct block *b, struct block_request *r)
{
    struct memory_disk *m = container_of(b, struct memory_disk, block);
    memory_disk_note(m, r);
    if (m->hold) {
        assert_null(m->held);
        m->held = r;
        return false;
    }
    r->result = memory_disk_carry_out(m, r);
    return true;
}

/* Let the held request finish, as a thread of the backend would. */
static inline void memory_disk_finish(struct memory_disk *m)
{
    struct block_request *r = m->held;
    assert_non_null(r);
    m->held = NULL;
    r->result = memory_disk_carry_out(m, r);
    r->done(r);
}

static inline void memory_disk_drain(struct block *b)
{
    struct memory_disk *m = container_of(b, struct memory_disk, block);
    while (m->held)
        memory_disk_finish(m);
}

static inline void memory_disk_free(struct block *b)
{
    struct memory_disk *m = container_of(b, struct memory_disk, block);
    free(m->bytes);
    free(m);
}

/* Byte i of sector n is what memory_disk_byte() says. Free with block_free(). */
static inline uint8_t memory_disk_byte(uint64_t n, unsigned i)
{
    return (uint8_t)(n * 7 + i * 3 + (i >> 8) * 11 + 1);
}

static inline struct memory_disk *memory_disk_new(uint64_t bytes)
{
    static const struct block_ops ops = {memory_disk_submit, memory_disk_drain, memory_disk_free};
    struct memory_disk *m = calloc(1, sizeof *m);
    assert_non_null(m);
    m->block.ops = &ops;
    m->block.info = (struct block_info){bytes, false, true, 512, "memory", "memory"};
    m->bytes = malloc(bytes);
    assert_non_null(m->bytes);
    for (uint64_t i = 0; i < bytes; i++)
        m->bytes[i] = memory_disk_byte(i / 512, i % 512);
    return m;
}

/* What was asked for since the last call. */
static inline const char *memory_disk_trace(struct memory_disk *m)
{
    static char copy[sizeof m->trace];
    memcpy(copy, m->trace, sizeof copy);
    m->trace[0] = 0;
    return copy;
}

#endif
