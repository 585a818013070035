/* SPDX-License-Identifier: MIT */
/* Memory in pieces: see span.h. */
#include "backend/span.h"

#include <string.h>

struct span span_behind(struct span s, uint64_t n)
{
    while (s.count) {
        size_t left = s.iov->iov_len - s.skip;
        if (n < left) {
            s.skip += n;
            return s;
        }
        n -= left;
        s.iov++, s.count--, s.skip = 0;
    }
    return s;
}

int span_pieces(struct span s, uint64_t len, struct iovec *out, int max, uint64_t *bytes)
{
    int n = 0;
    *bytes = 0;
    for (; s.count && n < max && *bytes < len; s.iov++, s.count--, s.skip = 0) {
        size_t part = s.iov->iov_len - s.skip;
        if (part > len - *bytes)
            part = len - *bytes;
        if (!part)
            continue;
        out[n++] = (struct iovec){(char *)s.iov->iov_base + s.skip, part};
        *bytes += part;
    }
    return n;
}

void span_put(struct span s, const void *from, uint64_t len)
{
    const char *p = from;
    for (; s.count && len; s.iov++, s.count--, s.skip = 0) {
        size_t left = s.iov->iov_len - s.skip, part = left < len ? left : len;
        memcpy((char *)s.iov->iov_base + s.skip, p, part);
        p += part, len -= part;
    }
}

void span_get(struct span s, void *to, uint64_t len)
{
    char *p = to;
    for (; s.count && len; s.iov++, s.count--, s.skip = 0) {
        size_t left = s.iov->iov_len - s.skip, part = left < len ? left : len;
        memcpy(p, (char *)s.iov->iov_base + s.skip, part);
        p += part, len -= part;
    }
}

void span_zero(struct span s, uint64_t len)
{
    for (; s.count && len; s.iov++, s.count--, s.skip = 0) {
        size_t left = s.iov->iov_len - s.skip, part = left < len ? left : len;
        memset((char *)s.iov->iov_base + s.skip, 0, part);
        len -= part;
    }
}
