/* SPDX-License-Identifier: MIT */
/* Memory in pieces, from a byte on: what is left of a request's iov. A value; copies are cheap. */
#ifndef RING3_BACKEND_SPAN_H
#define RING3_BACKEND_SPAN_H

#include <sys/uio.h>

#include "ring3/types.h"

struct span {
    const struct iovec *iov;
    unsigned count;
    size_t skip; /* bytes of iov[0] that do not belong to it; less than its length, or count 0 */
};

/* The span behind its first n bytes. */
struct span span_behind(struct span s, uint64_t n);
/* Up to max pieces that make up the first len bytes; *bytes: how many they hold. */
int span_pieces(struct span s, uint64_t len, struct iovec *out, int max, uint64_t *bytes);
/* The first len bytes. */
void span_put(struct span s, const void *from, uint64_t len);
void span_get(struct span s, void *to, uint64_t len);
void span_zero(struct span s, uint64_t len);

/* A span over one buffer; *v must live as long. */
static inline struct span span_of(struct iovec *v, const void *p, size_t n)
{
    *v = (struct iovec){(void *)(uintptr_t)p, n};
    return (struct span){v, 1, 0};
}

#endif
