/* SPDX-License-Identifier: MIT */
/* Numbers with units on the command line. */
#include "cli/cli.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <strings.h>

struct unit {
    const char *suffix;
    uint64_t factor;
};

/* DIGITS followed by one of the suffixes, any case. */
static int parse_units(const char *text, const struct unit *units, unsigned count, uint64_t *out)
{
    if (!isdigit((unsigned char)*text))
        return -EINVAL; /* strtoull would take a sign or blanks */
    char *end;
    errno = 0;
    uint64_t n = strtoull(text, &end, 10);
    if (errno)
        return -ERANGE;
    for (unsigned i = 0; i < count; i++)
        if (strcasecmp(end, units[i].suffix) == 0)
            return __builtin_mul_overflow(n, units[i].factor, out) ? -ERANGE : 0;
    return -EINVAL;
}

int parse_size(const char *text, uint64_t *bytes, struct err *e)
{
    static const struct unit units[] = {{"", MIB}, {"K", KIB}, {"M", MIB}, {"G", GIB}};
    int r = parse_units(text, units, ARRAY_LEN(units), bytes);
    if (r == -ERANGE)
        return err_set(e, EINVAL, "bad-size", "size \"%s\" is absurdly large", text);
    if (r < 0)
        return err_set(e, EINVAL, "bad-size",
                       "size \"%s\" is not a number with K, M or G behind it, like 256M or 1G",
                       text);
    return 0;
}

int parse_duration(const char *text, uint64_t *ns, struct err *e)
{
    static const struct unit units[] = {{"", NS_PER_SEC},
                                        {"ms", NS_PER_SEC / 1000},
                                        {"s", NS_PER_SEC},
                                        {"m", 60 * NS_PER_SEC},
                                        {"h", 3600 * NS_PER_SEC}};
    int r = parse_units(text, units, ARRAY_LEN(units), ns);
    if (r == -ERANGE || (r == 0 && *ns > (uint64_t)INT64_MAX))
        return err_set(e, EINVAL, "bad-duration", "duration \"%s\" is absurdly long", text);
    if (r < 0 || *ns == 0)
        return err_set(e, EINVAL, "bad-duration",
                       "duration \"%s\" is not a number above 0 with ms, s, m or h behind it, "
                       "like 30s or 2m",
                       text);
    return 0;
}
