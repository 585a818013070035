/* SPDX-License-Identifier: MIT */
/* Screenshots as PNG (RFC 2083): 8 bits a colour, no alpha, rows unfiltered, one IDAT chunk that
 * zlib compresses. */
#include "ring3/display.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

static const uint8_t signature[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
#define HEADER_BYTES 13
#define COLOUR_RGB   2

static void put32(uint8_t *p, uint32_t x)
{
    for (unsigned i = 0; i < 4; i++)
        p[i] = (uint8_t)(x >> (24 - 8 * i));
}

static bool put_chunk(FILE *f, const char *type, const uint8_t *data, size_t n)
{
    uint8_t length[4], sum[4];

    put32(length, (uint32_t)n);
    uLong crc = crc32(crc32(0, (const Bytef *)type, 4), n ? data : (const uint8_t *)"", (uInt)n);
    put32(sum, (uint32_t)crc);
    return fwrite(length, 1, 4, f) == 4 && fwrite(type, 1, 4, f) == 4 &&
           (!n || fwrite(data, 1, n, f) == n) && fwrite(sum, 1, 4, f) == 4;
}

/* Each row begins with a byte that names its filter: 0, none. */
static uint8_t *make_rows(const struct display_mode *m, const uint32_t *pixels, size_t *bytes)
{
    size_t row = 1 + (size_t)m->width * 3;
    uint8_t *rows = malloc(row * m->height), *to = rows;

    *bytes = row * m->height;
    for (size_t i = 0; rows && i < (size_t)m->width * m->height; i++) {
        if (i % m->width == 0)
            *to++ = 0;
        *to++ = (uint8_t)(pixels[i] >> 16);
        *to++ = (uint8_t)(pixels[i] >> 8);
        *to++ = (uint8_t)pixels[i];
    }
    return rows;
}

static bool put_picture(FILE *f, const struct display_mode *m, const uint32_t *pixels)
{
    uint8_t header[HEADER_BYTES] = {[8] = 8, [9] = COLOUR_RGB};
    size_t bytes;
    uint8_t *rows = make_rows(m, pixels, &bytes);
    uLongf packed = compressBound(bytes);
    uint8_t *data = malloc(packed);
    bool done = false;

    put32(header, m->width);
    put32(header + 4, m->height);
    if (rows && data && compress2(data, &packed, rows, bytes, Z_BEST_SPEED) == Z_OK)
        done = fwrite(signature, 1, sizeof signature, f) == sizeof signature &&
               put_chunk(f, "IHDR", header, sizeof header) && put_chunk(f, "IDAT", data, packed) &&
               put_chunk(f, "IEND", NULL, 0);
    free(rows);
    free(data);
    return done;
}

/* The screen as it is, in memory of the caller. Its size may change while we look. */
static uint32_t *grab(const struct display *d, struct display_mode *m)
{
    struct display_rect changed;

    for (unsigned tries = 0; tries < 16; tries++) {
        d->ops->mode(d->opaque, m);
        uint32_t *pixels = calloc((size_t)m->width * m->height, sizeof *pixels);
        if (!pixels || d->ops->draw(d->opaque, m, pixels, m->width, &changed))
            return pixels;
        free(pixels);
    }
    return NULL;
}

int display_screenshot(const struct display *d, const char *path, struct err *e)
{
    struct display_mode m;

    if (!d->ops)
        return err_set(e, ENODATA, "no-screen",
                       "this machine has no screen: ask for one with --display");
    uint32_t *pixels = grab(d, &m);
    if (!pixels)
        return err_set(e, ENOMEM, "no-memory", "no memory for a picture of the screen");
    FILE *f = fopen(path, "wbe");
    bool done = f && put_picture(f, &m, pixels);
    int why = errno;
    if (f && fclose(f) && done) {
        done = false;
        why = errno;
    }
    free(pixels);
    if (done)
        return 0;
    return err_set(e, why ? why : EIO, "screenshot-failed", "cannot write the screenshot %s: %s",
                   path, strerror(why ? why : EIO));
}
