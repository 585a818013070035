/* SPDX-License-Identifier: MIT */
/* The front of every disk: checks of requests, statistics. See ring3/block.h. */
#include "ring3/block.h"

#include <errno.h>
#include <stdatomic.h>

#include "backend/disk.h"

#define SECTOR 512

static bool covers(const struct block_request *r)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < r->iov_count; i++)
        if (__builtin_add_overflow(sum, r->iov[i].iov_len, &sum))
            return false;
    return sum == r->len;
}

/* 0, or why the request cannot be. */
static int check(const struct block *b, const struct block_request *r)
{
    switch (r->op) {
    case BLOCK_FLUSH:
        return 0;
    case BLOCK_READ:
        break;
    case BLOCK_WRITE:
    case BLOCK_DISCARD:
    case BLOCK_WRITE_ZEROES:
        if (b->info.read_only)
            return -EROFS;
        break;
    default:
        return -EINVAL;
    }
    if ((r->offset | r->len) % SECTOR || r->offset > b->info.bytes ||
        r->len > b->info.bytes - r->offset)
        return -EINVAL;
    if ((r->op == BLOCK_READ || r->op == BLOCK_WRITE) && !covers(r))
        return -EINVAL;
    return 0;
}

static void add(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static void count(struct block_stats *s, const struct block_request *r)
{
    switch (r->op) {
    case BLOCK_READ:
        add(&s->reads, 1);
        add(&s->read_bytes, r->len);
        break;
    case BLOCK_WRITE:
        add(&s->writes, 1);
        add(&s->write_bytes, r->len);
        break;
    case BLOCK_FLUSH:
        add(&s->flushes, 1);
        break;
    case BLOCK_DISCARD:
    case BLOCK_WRITE_ZEROES:
        add(&s->discards, 1);
        break;
    }
}

void block_done(struct block *b, struct block_request *r, int result)
{
    if (result < 0)
        add(&b->stats.errors, 1);
    r->result = result;
    r->done(r);
}

bool block_submit(struct block *b, struct block_request *r)
{
    r->result = check(b, r);
    if (r->result == 0) {
        count(&b->stats, r);
        if ((r->len || r->op == BLOCK_FLUSH) && !b->ops->submit(b, r))
            return false; /* it may be gone already */
    }
    if (r->result < 0)
        add(&b->stats.errors, 1);
    return true;
}

void block_drain(struct block *b)
{
    b->ops->drain(b);
}

int block_changed(struct block *b, uint64_t offset, uint64_t *len)
{
    if (!b->ops->changed)
        return -ENOTSUP;
    return offset < b->info.bytes ? b->ops->changed(b, offset, len) : -EINVAL;
}

void block_free(struct block *b)
{
    if (!b)
        return;
    block_drain(b);
    b->ops->free(b);
}
