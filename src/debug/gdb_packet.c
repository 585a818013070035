/* SPDX-License-Identifier: MIT */
/* Framing and number formats of gdb's protocol: see gdb_packet.h. Nothing here knows what packets
 * mean. Run-length encoding is left out: it is optional for whoever writes. */
#include "debug/gdb_packet.h"

#include <string.h>

static int digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

static const char digits[] = "0123456789abcdef";

/* ---- reading --------------------------------------------------------------------------------- */

enum { IDLE, DATA, SUM_HIGH, SUM_LOW };

static enum gdb_event finish(struct gdb_reader *r)
{
    bool good = r->sum == r->claimed && !r->too_long;
    r->state = IDLE;
    r->data[r->len] = 0;
    return good ? GDB_PACKET : GDB_DAMAGED;
}

static void take_data(struct gdb_reader *r, uint8_t byte)
{
    r->sum = (uint8_t)(r->sum + byte);
    if (r->len < GDB_PACKET_MAX)
        r->data[r->len++] = (char)byte;
    else
        r->too_long = true;
}

enum gdb_event gdb_read_byte(struct gdb_reader *r, uint8_t byte)
{
    int d = digit((char)byte);
    if (byte == '$' && r->state != DATA) {
        r->state = DATA;
        r->len = r->sum = 0;
        r->too_long = false;
        return GDB_NOTHING;
    }
    switch (r->state) {
    case IDLE:
        return byte == 3 ? GDB_BREAK : GDB_NOTHING; /* acknowledgements need no answer */
    case DATA:
        if (byte == '#')
            r->state = SUM_HIGH;
        else
            take_data(r, byte);
        return GDB_NOTHING;
    case SUM_HIGH:
        r->claimed = d < 0 ? 0 : (uint8_t)(d << 4);
        r->state = d < 0 ? IDLE : SUM_LOW;
        return d < 0 ? GDB_DAMAGED : GDB_NOTHING;
    default:
        if (d < 0)
            r->too_long = true;
        else
            r->claimed |= (uint8_t)d;
        return finish(r);
    }
}

bool gdb_parse_number(const char **at, uint64_t *x)
{
    unsigned n = 0;
    for (*x = 0; digit(**at) >= 0; (*at)++, n++)
        *x = *x << 4 | (unsigned)digit(**at);
    return n > 0 && n <= 16;
}

bool gdb_parse_hex(const char **at, uint8_t *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++, *at += 2) {
        int high = digit((*at)[0]), low = high < 0 ? -1 : digit((*at)[1]);
        if (low < 0)
            return false;
        bytes[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

bool gdb_parse_binary(const char *at, size_t len, uint8_t *bytes, size_t n)
{
    size_t done = 0;
    for (size_t i = 0; i < len; i++) {
        bool escaped = at[i] == '}';
        if (done == n || (escaped && ++i == len))
            return false;
        bytes[done++] = (uint8_t)(escaped ? at[i] ^ 0x20 : at[i]);
    }
    return done == n;
}

/* ---- writing --------------------------------------------------------------------------------- */

void gdb_begin(struct gdb_writer *w)
{
    w->data[0] = '$';
    w->len = 1;
}

unsigned gdb_room(const struct gdb_writer *w)
{
    return GDB_PACKET_MAX - (w->len - 1);
}

static void put(struct gdb_writer *w, char c)
{
    if (gdb_room(w))
        w->data[w->len++] = c;
}

void gdb_text(struct gdb_writer *w, const char *text)
{
    while (*text)
        put(w, *text++);
}

void gdb_hex(struct gdb_writer *w, const void *bytes, size_t n)
{
    const uint8_t *p = bytes;
    while (n--) {
        put(w, digits[*p >> 4]);
        put(w, digits[*p++ & 15]);
    }
}

void gdb_number(struct gdb_writer *w, uint64_t x)
{
    int shift = 60;
    while (shift && !(x >> shift & 15))
        shift -= 4;
    for (; shift >= 0; shift -= 4)
        put(w, digits[x >> shift & 15]);
}

void gdb_binary(struct gdb_writer *w, const void *bytes, size_t n)
{
    const char *p = bytes;
    for (; n--; p++) {
        bool special = *p == '#' || *p == '$' || *p == '}' || *p == '*';
        if (special)
            put(w, '}');
        put(w, (char)(special ? *p ^ 0x20 : *p));
    }
}

void gdb_end(struct gdb_writer *w)
{
    uint8_t sum = 0;
    for (unsigned i = 1; i < w->len; i++)
        sum = (uint8_t)(sum + (uint8_t)w->data[i]);
    w->data[w->len++] = '#';
    w->data[w->len++] = digits[sum >> 4];
    w->data[w->len++] = digits[sum & 15];
}
