/* SPDX-License-Identifier: MIT */
/* Keys of terminals: see term_keys.h. The sequences are those of xterm and of the Linux console; an
 * ESC in front of a character is Alt. What has no name is dropped, as is text that is not ASCII. */
#include "backend/term_keys.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "ring3/types.h"

static const struct {
    const char *sequence, *name; /* behind the ESC */
} sequences[] = {
    {"[A", "<up>"},    {"[B", "<down>"},  {"[C", "<right>"}, {"[D", "<left>"},
    {"OA", "<up>"},    {"OB", "<down>"},  {"OC", "<right>"}, {"OD", "<left>"},
    {"[H", "<home>"},  {"[F", "<end>"},   {"OH", "<home>"},  {"OF", "<end>"},
    {"[1~", "<home>"}, {"[2~", "<ins>"},  {"[3~", "<del>"},  {"[4~", "<end>"},
    {"[5~", "<pgup>"}, {"[6~", "<pgdn>"}, {"OP", "<f1>"},    {"OQ", "<f2>"},
    {"OR", "<f3>"},    {"OS", "<f4>"},    {"[[A", "<f1>"},   {"[[B", "<f2>"},
    {"[[C", "<f3>"},   {"[[D", "<f4>"},   {"[[E", "<f5>"},   {"[11~", "<f1>"},
    {"[12~", "<f2>"},  {"[13~", "<f3>"},  {"[14~", "<f4>"},  {"[15~", "<f5>"},
    {"[17~", "<f6>"},  {"[18~", "<f7>"},  {"[19~", "<f8>"},  {"[20~", "<f9>"},
    {"[21~", "<f10>"}, {"[23~", "<f11>"}, {"[24~", "<f12>"}, {"[Z", "<shift-tab>"},
};

/* Length of the control sequence at p (ECMA-48, 5.4), or of ESC O and a letter; 0 if it is none. */
static size_t sequence_length(const char *p, size_t n)
{
    if (n >= 2 && p[0] == 'O')
        return 2;
    if (n < 2 || p[0] != '[')
        return 0;
    size_t at = p[1] == '[' ? 2 : 1;
    while (at < n && (p[at] < 0x40 || p[at] > 0x7e))
        at++;
    return at < n ? at + 1 : 0;
}

/* The sequence behind an ESC; how many bytes it has. */
static size_t take_sequence(const char *p, size_t n, const char **name)
{
    size_t len = sequence_length(p, n);
    *name = "";
    for (unsigned i = 0; len && i < ARRAY_LEN(sequences); i++)
        if (strlen(sequences[i].sequence) == len && !memcmp(sequences[i].sequence, p, len))
            *name = sequences[i].name;
    return len;
}

/* The name of a single byte, without brackets; "" if it has none. */
static const char *byte_name(unsigned char c, char text[8])
{
    const char *special = c == '\r' || c == '\n' ? "enter"
                          : c == '\t'            ? "tab"
                          : c == 0x7f || c == 8  ? "backspace"
                          : c == 0x1b            ? "esc"
                          : c == '<'             ? "lt"
                          : c == '>'             ? "gt"
                          : c == '-'             ? "minus"
                                                 : NULL;
    if (special)
        return special;
    text[0] = 0;
    if (c < 0x20)
        snprintf(text, 8, "ctrl-%c", c ? c + 0x60 : ' ');
    else if (c < 0x7f)
        snprintf(text, 8, "%c", c);
    return text;
}

void term_keys(const char *bytes, size_t n, char *keys)
{
    char text[8], *to = keys;
    const char *name;
    *to = 0;
    for (size_t i = 0; i < n;) {
        bool escape = bytes[i] == 0x1b && i + 1 < n;
        size_t len = escape ? take_sequence(bytes + i + 1, n - i - 1, &name) : 0;
        if (len) {
            to += sprintf(to, "%s", name);
            i += 1 + len;
            continue;
        }
        bool alt = escape && bytes[i + 1] != 0x1b;
        name = byte_name((unsigned char)bytes[i + alt], text);
        if (*name)
            to += sprintf(to, alt ? "<alt-%s>" : "<%s>", name);
        i += 1u + alt;
    }
}
