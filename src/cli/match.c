/* SPDX-License-Identifier: MIT */
/* Pattern matching on console output, line by line: see cli/match.h.
 *
 * A line is matched while it grows (a prompt never ends in a newline), once per piece of output
 * and once when it is complete; only then does `$` match at its end. Carriage returns are
 * dropped. A line longer than LINE_MAX_BYTES keeps its second half, so a match may span at most
 * that much. Patterns see one line at a time. */
#include "cli/match.h"

#include <errno.h>
#include <regex.h>
#include <stdlib.h>
#include <string.h>

#define LINE_MAX_BYTES 4096
#define MAX_PATTERNS   32

struct pattern {
    regex_t regex;
    const char *text;
};

struct patterns {
    struct pattern p[MAX_PATTERNS];
    unsigned count;
};

struct matcher {
    struct patterns expect, fail_on;
    unsigned next;   /* expected pattern that is awaited */
    unsigned failed; /* fail-on pattern that matched */
    enum match_result result;
    char line[LINE_MAX_BYTES];
    size_t length;
    size_t from;   /* where the awaited pattern may begin: behind the last match */
    bool beheaded; /* the line's beginning was dropped: `^` cannot match */
};

struct matcher *matcher_new(struct err *e)
{
    struct matcher *m = calloc(1, sizeof *m);
    if (!m)
        err_set(e, ENOMEM, "no-memory", "no memory for the output matcher");
    return m;
}

static void free_patterns(struct patterns *ps)
{
    for (unsigned i = 0; i < ps->count; i++)
        regfree(&ps->p[i].regex);
}

void matcher_free(struct matcher *m)
{
    if (!m)
        return;
    free_patterns(&m->expect);
    free_patterns(&m->fail_on);
    free(m);
}

static int add(struct patterns *ps, const char *text, struct err *e)
{
    if (ps->count == MAX_PATTERNS)
        return err_set(e, EINVAL, "too-many-patterns", "more than %d patterns", MAX_PATTERNS);
    struct pattern *p = &ps->p[ps->count];
    int r = regcomp(&p->regex, text, REG_EXTENDED);
    if (r) {
        char why[128];
        regerror(r, &p->regex, why, sizeof why);
        return err_set(e, EINVAL, "bad-regex",
                       "\"%s\" is not a POSIX extended regular expression: %s", text, why);
    }
    p->text = text;
    ps->count++;
    return 0;
}

int matcher_expect(struct matcher *m, const char *regex, struct err *e)
{
    return add(&m->expect, regex, e);
}

int matcher_fail_on(struct matcher *m, const char *regex, struct err *e)
{
    return add(&m->fail_on, regex, e);
}

/* Search the line from byte `from`; *end becomes the end of the match. */
static bool search(const struct matcher *m, const struct pattern *p, size_t from, bool complete,
                   size_t *end)
{
    regmatch_t at = {.rm_so = (regoff_t)from, .rm_eo = (regoff_t)m->length};
    int flags = REG_STARTEND | (complete ? 0 : REG_NOTEOL);
    if (from || m->beheaded)
        flags |= REG_NOTBOL;
    if (regexec(&p->regex, m->line, 1, &at, flags) != 0)
        return false;
    *end = (size_t)at.rm_eo;
    return true;
}

static void match_line(struct matcher *m, bool complete)
{
    size_t end;
    for (unsigned i = 0; i < m->fail_on.count; i++) {
        if (search(m, &m->fail_on.p[i], 0, complete, &end)) {
            m->failed = i;
            m->result = MATCH_FAILED;
            return;
        }
    }
    while (m->next < m->expect.count && search(m, &m->expect.p[m->next], m->from, complete, &end)) {
        m->next++;
        m->from = end;
    }
    if (m->expect.count && m->next == m->expect.count)
        m->result = MATCH_EXPECTED;
}

static void drop_first_half(struct matcher *m)
{
    size_t half = LINE_MAX_BYTES / 2;
    m->length -= half;
    memmove(m->line, m->line + half, m->length);
    m->from = m->from > half ? m->from - half : 0;
    m->beheaded = true;
}

static void take_byte(struct matcher *m, uint8_t byte)
{
    if (byte == '\n') {
        match_line(m, true);
        m->length = m->from = 0;
        m->beheaded = false;
    } else if (byte != '\r') {
        m->line[m->length++] = (char)byte;
        if (m->length == LINE_MAX_BYTES) {
            match_line(m, false);
            drop_first_half(m);
        }
    }
}

enum match_result matcher_feed(struct matcher *m, const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n && m->result == MATCH_NONE; i++)
        take_byte(m, p[i]);
    if (m->result == MATCH_NONE && m->length)
        match_line(m, false);
    return m->result;
}

enum match_result matcher_result(const struct matcher *m)
{
    return m->result;
}

const char *matcher_pattern(const struct matcher *m)
{
    if (m->result == MATCH_FAILED)
        return m->fail_on.p[m->failed].text;
    if (m->result == MATCH_EXPECTED)
        return m->expect.p[m->expect.count - 1].text;
    return m->next < m->expect.count ? m->expect.p[m->next].text : NULL;
}
