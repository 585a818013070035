/* SPDX-License-Identifier: MIT */
/* Characters of the Basic Multilingual Plane as UTF-8 (RFC 3629, 3). */
#ifndef RING3_BACKEND_UTF8_H
#define RING3_BACKEND_UTF8_H

#include <stdint.h>

#define UTF8_MAX 3 /* bytes of a character below 0x10000 */

static inline char *utf8_put(char *to, uint32_t c)
{
    if (c < 0x80) {
        *to++ = (char)c;
        return to;
    }
    if (c < 0x800) {
        *to++ = (char)(0xc0 | c >> 6);
    } else {
        *to++ = (char)(0xe0 | c >> 12);
        *to++ = (char)(0x80 | (c >> 6 & 0x3f));
    }
    *to++ = (char)(0x80 | (c & 0x3f));
    return to;
}

#endif
