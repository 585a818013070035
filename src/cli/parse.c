/* SPDX-License-Identifier: MIT */
/* Values on the command line: numbers with units, the order of drives. */
#include "cli/cli.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
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

static const struct boot_word {
    char letter; /* as in drive letters, with n left out: there is no network ROM */
    const char *word;
    enum boot_device device;
} boot_words[] = {
    {'a', "floppy", BOOT_FLOPPY},
    {'c', "disk", BOOT_DISK},
    {'d', "cdrom", BOOT_CDROM},
};

/* The device that n characters name; BOOT_NONE if they name none. */
static enum boot_device find_word(const char *text, size_t n)
{
    for (unsigned i = 0; i < ARRAY_LEN(boot_words); i++)
        if (strlen(boot_words[i].word) == n && strncasecmp(boot_words[i].word, text, n) == 0)
            return boot_words[i].device;
    return BOOT_NONE;
}

static enum boot_device find_letter(char letter)
{
    for (unsigned i = 0; i < ARRAY_LEN(boot_words); i++)
        if (boot_words[i].letter == tolower((unsigned char)letter))
            return boot_words[i].device;
    return BOOT_NONE;
}

/* Put a device behind those that are there. False if it is none, or there already. */
static bool append_device(enum boot_device order[VM_MAX_BOOT], unsigned *count,
                          enum boot_device device)
{
    for (unsigned i = 0; i < *count; i++)
        if (order[i] == device)
            return false;
    if (device == BOOT_NONE || *count == VM_MAX_BOOT)
        return false;
    order[(*count)++] = device;
    return true;
}

/* The word for the BIOS's menu may stand among the devices, once. */
static bool take_menu(const char *text, size_t n, bool *menu)
{
    bool is_it = !*menu && n == 4 && strncasecmp(text, "menu", n) == 0;
    *menu |= is_it;
    return is_it;
}

int parse_boot_order(const char *text, enum boot_device order[VM_MAX_BOOT], bool *menu,
                     struct err *e)
{
    size_t first = strcspn(text, ",");
    bool words = text[first] || first > VM_MAX_BOOT, good = *text;
    unsigned count = 0;

    *menu = false;
    memset(order, 0, VM_MAX_BOOT * sizeof *order);
    for (const char *at = text; *at && good;) {
        size_t n = words ? strcspn(at, ",") : 1;
        good = (words && take_menu(at, n, menu)) ||
               append_device(order, &count, words ? find_word(at, n) : find_letter(*at));
        at += n;
        if (good && words && *at == ',')
            good = *++at;
    }
    if (good)
        return 0;
    return err_set(
        e, EINVAL, "bad-option",
        "--boot takes floppy, disk and cdrom in the order they are to be tried, and menu, "
        "with commas between, or the letters a, c and d; not \"%s\"",
        text);
}
