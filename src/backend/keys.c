/* SPDX-License-Identifier: MIT */
/* Names of keys: see backend/keys.h. */
#include "backend/keys.h"

#include <string.h>
#include <strings.h>

#include "ring3/types.h"

/* A row of keys: codes count up from `first`. */
static const struct {
    unsigned first;
    const char *plain, *shifted;
} rows[] = {
    {0x02, "1234567890-=", "!@#$%^&*()_+"},
    {0x10, "qwertyuiop[]", "QWERTYUIOP{}"},
    {0x1e, "asdfghjkl;'`", "ASDFGHJKL:\"~"},
    {0x2b, "\\zxcvbnm,./", "|ZXCVBNM<>?"},
    {0x39, " ", ""},
    {0x1c, "\n", ""},
    {0x1c, "\r", ""},
    {0x0f, "\t", ""},
    {0x0e, "\b", ""},
    {0x0e, "\x7f", ""},
    {0x01, "\x1b", ""},
};

static const struct {
    const char *name;
    unsigned code;
} names[] = {
    {"enter", 0x1c},   {"esc", 0x01},   {"tab", 0x0f},    {"space", 0x39},   {"backspace", 0x0e},
    {"shift", 0x2a},   {"ctrl", 0x1d},  {"alt", 0x38},    {"altgr", 0xe038}, {"win", 0xe05b},
    {"menu", 0xe05d},  {"up", 0xe048},  {"down", 0xe050}, {"left", 0xe04b},  {"right", 0xe04d},
    {"home", 0xe047},  {"end", 0xe04f}, {"pgup", 0xe049}, {"pgdn", 0xe051},  {"ins", 0xe052},
    {"del", 0xe053},   {"caps", 0x3a},  {"num", 0x45},    {"scroll", 0x46},  {"print", 0xe037},
    {"pause", 0xe11d}, {"lt", 0x133},   {"gt", 0x134},    {"minus", 0x0c},   {"f1", 0x3b},
    {"f2", 0x3c},      {"f3", 0x3d},    {"f4", 0x3e},     {"f5", 0x3f},      {"f6", 0x40},
    {"f7", 0x41},      {"f8", 0x42},    {"f9", 0x43},     {"f10", 0x44},     {"f11", 0x57},
    {"f12", 0x58},
};

unsigned key_of_char(char c)
{
    for (unsigned i = 0; c && i < ARRAY_LEN(rows); i++) {
        const char *p = strchr(rows[i].plain, c), *s = strchr(rows[i].shifted, c);
        if (p)
            return rows[i].first + (unsigned)(p - rows[i].plain);
        if (s)
            return (rows[i].first + (unsigned)(s - rows[i].shifted)) | KEY_WITH_SHIFT;
    }
    return 0;
}

unsigned key_of_name(const char *name, size_t n)
{
    for (unsigned i = 0; i < ARRAY_LEN(names); i++)
        if (strlen(names[i].name) == n && strncasecmp(names[i].name, name, n) == 0)
            return names[i].code;
    return n == 1 ? key_of_char(*name) : 0;
}
