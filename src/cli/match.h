/* SPDX-License-Identifier: MIT */
/* Watches the guest's console output for patterns (--expect, --fail-on). One thread at a time. */
#ifndef RING3_CLI_MATCH_H
#define RING3_CLI_MATCH_H

#include "ring3/err.h"
#include "ring3/types.h"

enum match_result {
    MATCH_NONE,     /* nothing decided yet */
    MATCH_EXPECTED, /* every expected pattern came, in order */
    MATCH_FAILED,   /* a fail-on pattern came first */
};

struct matcher;
struct matcher *matcher_new(struct err *e); /* NULL on error */
void matcher_free(struct matcher *m);

/* POSIX extended regular expressions; `regex` is kept by reference. Expected ones must match in
 * the order added, each after the end of the one before. 0, or -EINVAL for a bad pattern. */
int matcher_expect(struct matcher *m, const char *regex, struct err *e);
int matcher_fail_on(struct matcher *m, const char *regex, struct err *e);

/* Look at more output. Once decided, the result stays. */
enum match_result matcher_feed(struct matcher *m, const uint8_t *p, size_t n);
enum match_result matcher_result(const struct matcher *m);

/* MATCH_FAILED: the pattern that matched. MATCH_NONE: the expected one that is awaited, or NULL.
 * MATCH_EXPECTED: the last one. */
const char *matcher_pattern(const struct matcher *m);

#endif
