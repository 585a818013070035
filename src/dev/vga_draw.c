/* SPDX-License-Identifier: MIT */
/* VGA: pixels and characters, for viewers, on whatever thread asks. Registers are copied under the
 * lock, memory is read as it is, as a real card reads it while the processor writes. Nothing is
 * tracked: each line is drawn into a buffer and compared with what the viewer has.
 *
 * Left out: blinking, of characters and of the cursor; both are shown. */
#include "dev/vga.h"

#include <string.h>

#define SLACK 64 /* dots behind a line: a character more, of which panning shows a part */

struct picture {
    const uint8_t *vram;
    struct vga_view w;
    struct vga_regs r;
    uint32_t colour[256];
    uint32_t line[DISPLAY_MAX_WIDTH + SLACK];
};

/* What a scan line shows. */
struct scan {
    uint32_t at;  /* address of its first character clock */
    unsigned row; /* scan line within the row of characters */
    unsigned pan;
};

typedef void (*line_fn)(struct picture *p, const struct scan *s);

static const uint8_t *word_at(const struct picture *p, uint32_t at)
{
    return p->vram + 4 * (uint64_t)(at & p->w.mask);
}

/* `n` dots of a character clock; bit n-1 of `bits` is the first. */
static uint32_t *put_dots(const struct picture *p, uint32_t *to, unsigned bits, unsigned n,
                          uint32_t on, uint32_t off)
{
    for (unsigned i = n; i-- > 0;) {
        uint32_t c = bits >> i & 1 ? on : off;
        *to++ = c;
        if (p->w.double_dots)
            *to++ = c;
    }
    return to;
}

/* ---- text ------------------------------------------------------------------------------------ */

static unsigned font_base(unsigned select)
{
    return (select & 3) << 14 | (select & 4 ? 0x2000 : 0);
}

static bool cursor_row(const struct picture *p, unsigned scan)
{
    unsigned start = p->r.crtc[CRTC_CURSOR_START], end = p->r.crtc[CRTC_CURSOR_END] & 31;
    return !(start & 0x20) && scan >= (start & 31) && scan <= end;
}

static uint32_t cursor_at(const struct vga_regs *r)
{
    return ((unsigned)r->crtc[CRTC_CURSOR_HIGH] << 8 | r->crtc[CRTC_CURSOR_HIGH + 1]) & 0xffff;
}

/* The dots of a character: its byte of the font, the ninth dot, underline. */
static unsigned glyph(const struct picture *p, unsigned character, unsigned attribute,
                      unsigned font, unsigned scan)
{
    unsigned bits = word_at(p, font + 32 * character + (scan & 31))[2];

    if ((p->r.attr[ATTR_MODE] & ATTR_MONO) && (attribute & 0x77) == 1 &&
        scan == (p->r.crtc[CRTC_UNDERLINE] & 31u))
        bits = 0xff;
    if (p->w.cell_width == 8)
        return bits;
    bool ninth = (p->r.attr[ATTR_MODE] & ATTR_LINE_GRAPHICS) && (character & 0xe0) == 0xc0;
    return bits << 1 | (ninth ? bits & 1 : 0);
}

static void text_line(struct picture *p, const struct scan *s)
{
    unsigned fonts = p->r.seq[SEQ_FONTS], planes = p->r.attr[ATTR_PLANES];
    unsigned font[2] = {font_base((fonts & 3) | (fonts >> 2 & 4)),
                        font_base((fonts >> 2 & 3) | (fonts >> 3 & 4))};
    unsigned background = p->r.attr[ATTR_MODE] & ATTR_BLINK ? 7 : 15;
    uint32_t cursor = cursor_row(p, s->row) ? cursor_at(&p->r) : UINT32_MAX;
    uint32_t *to = p->line;

    for (unsigned i = 0; i <= p->w.columns; i++) {
        uint32_t at = (s->at + i) & p->w.mask;
        const uint8_t *cell = word_at(p, at);
        unsigned a = cell[1], bits = glyph(p, cell[0], a, font[a >> 3 & 1], s->row);
        if (at == cursor)
            bits = 0x1ff;
        to = put_dots(p, to, bits, p->w.cell_width, p->colour[a & planes & 15],
                      p->colour[a >> 4 & background & planes]);
    }
}

/* ---- graphics -------------------------------------------------------------------------------- */

/* Modes of the CGA put odd lines elsewhere: a bit of the row replaces one of the address. In words
 * (see vga.h on chained memory) that is a bit lower. */
static uint32_t row_address(const struct picture *p, const struct scan *s)
{
    unsigned mode = p->r.crtc[CRTC_MODE], bit = mode & 0x40 ? 13 : 12;
    uint32_t at = s->at;

    if (vga_dispi_on(&p->r))
        return at;
    if (!(mode & 1))
        at = (at & ~(1u << bit)) | (s->row & 1) << bit;
    if (!(mode & 2))
        at = (at & ~(2u << bit)) | (s->row >> 1 & 1) << (bit + 1);
    return at;
}

static void planar_line(struct picture *p, const struct scan *s)
{
    unsigned planes = vga_dispi_on(&p->r) ? 15 : p->r.attr[ATTR_PLANES] & 15;
    uint32_t at = row_address(p, s), *to = p->line;

    for (unsigned i = 0; i <= p->w.columns; i++) {
        const uint8_t *b = word_at(p, at + i);
        for (unsigned bit = 8; bit-- > 0;) {
            unsigned c = (b[0] >> bit & 1) | (b[1] >> bit & 1) << 1 | (b[2] >> bit & 1) << 2 |
                         (b[3] >> bit & 1) << 3;
            *to++ = p->colour[c & planes];
            if (p->w.double_dots)
                *to++ = p->colour[c & planes];
        }
    }
}

/* Two bits a pixel: four from planes 0 and 2, then four from 1 and 3. */
static void cga4_line(struct picture *p, const struct scan *s)
{
    unsigned planes = p->r.attr[ATTR_PLANES] & 15;
    uint32_t at = row_address(p, s), *to = p->line;

    for (unsigned i = 0; i <= p->w.columns; i++) {
        const uint8_t *b = word_at(p, at + i);
        for (unsigned n = 0; n < 8; n++) {
            unsigned shift = 6 - 2 * (n & 3), even = n >> 2;
            unsigned c = (b[even] >> shift & 3) | (b[even + 2] >> shift & 3) << 2;
            *to++ = p->colour[c & planes];
            if (p->w.double_dots)
                *to++ = p->colour[c & planes];
        }
    }
}

static void line_256(struct picture *p, const struct scan *s)
{
    uint32_t at = row_address(p, s), *to = p->line;

    for (unsigned i = 0; i <= p->w.columns; i++) {
        const uint8_t *b = word_at(p, at + i);
        for (unsigned n = 0; n < 8u << p->w.double_dots; n++)
            *to++ = p->colour[b[n >> (1 + p->w.double_dots)]];
    }
}

static uint32_t rgb_of_5(unsigned r, unsigned g, unsigned b)
{
    return (r << 3 | r >> 2) << 16 | (g << 3 | g >> 2) << 8 | (b << 3 | b >> 2);
}

static uint32_t linear_pixel(const struct picture *p, const uint8_t *b)
{
    switch (p->w.depth) {
    case 8:
        return p->colour[b[0]];
    case 15: {
        unsigned x = b[0] | (unsigned)b[1] << 8;
        return rgb_of_5(x >> 10 & 31, x >> 5 & 31, x & 31);
    }
    case 16: {
        unsigned x = b[0] | (unsigned)b[1] << 8, g = x >> 5 & 63;
        return (rgb_of_5(x >> 11, 0, x & 31) & 0xff00ff) | (g << 2 | g >> 4) << 8;
    }
    default:
        return b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16;
    }
}

static void linear_line(struct picture *p, const struct scan *s)
{
    unsigned bytes = p->w.bytes_per_pixel;
    uint64_t at = s->at;

    if (at + (uint64_t)p->w.width * bytes > VGA_VRAM_BYTES) {
        memset(p->line, 0, p->w.width * sizeof *p->line);
        return;
    }
    for (unsigned i = 0; i < p->w.width; i++)
        p->line[i] = linear_pixel(p, p->vram + at + (uint64_t)i * bytes);
}

static void blank_line(struct picture *p, const struct scan *s)
{
    memset(p->line, 0, p->w.width * sizeof *p->line);
}

/* ---- the screen ------------------------------------------------------------------------------ */

static void scan_of(const struct picture *p, unsigned y, struct scan *s)
{
    const struct vga_view *w = &p->w;
    uint32_t start = w->start;
    unsigned preset = w->preset_scan;

    s->pan = w->pan;
    if (y > w->line_compare) {
        y -= w->line_compare + 1;
        start = 0;
        preset = 0;
        if (p->r.attr[ATTR_MODE] & ATTR_PAN_TOP)
            s->pan = 0;
    }
    unsigned line = (y >> w->double_scan) + preset;
    s->row = line % w->row_scans;
    s->at = start + line / w->row_scans * w->pitch;
}

/* Copy what differs to the viewer's row; widen the rectangle. */
static void keep_line(const uint32_t *line, uint32_t *row, unsigned width, unsigned y,
                      struct display_rect *c)
{
    unsigned first = 0, last = width;

    if (memcmp(line, row, width * sizeof *line) == 0)
        return;
    while (line[first] == row[first])
        first++;
    while (line[last - 1] == row[last - 1])
        last--;
    memcpy(row + first, line + first, (last - first) * sizeof *line);
    if (!c->width) {
        *c = (struct display_rect){first, y, last - first, 1};
        return;
    }
    unsigned end = c->x + c->width > last ? c->x + c->width : last;
    c->x = c->x < first ? c->x : first;
    c->width = end - c->x;
    c->height = y - c->y + 1;
}

/* A copy of the registers, with memory in its place. */
static void take(struct vga *v, struct picture *p)
{
    pthread_mutex_lock(&v->lock);
    vga_text_to_planes(v);
    p->r = v->r;
    pthread_mutex_unlock(&v->lock);
    p->vram = v->vram;
    vga_view_of(&p->r, &p->w);
}

static void vga_mode(void *opaque, struct display_mode *m)
{
    struct vga *v = vga_of(opaque);
    struct vga_view w;

    pthread_mutex_lock(&v->lock);
    vga_view_of(&v->r, &w);
    pthread_mutex_unlock(&v->lock);
    *m = (struct display_mode){w.width, w.height, w.kind == VGA_TEXT, w.kind == VGA_BLANK};
}

static bool vga_draw(void *opaque, const struct display_mode *m, uint32_t *pixels, unsigned stride,
                     struct display_rect *changed)
{
    static const line_fn draw[] = {
        [VGA_BLANK] = blank_line, [VGA_TEXT] = text_line, [VGA_PLANAR] = planar_line,
        [VGA_CGA4] = cga4_line,   [VGA_256] = line_256,   [VGA_LINEAR] = linear_line,
    };
    struct picture p;
    struct scan s;

    *changed = (struct display_rect){0};
    take(vga_of(opaque), &p);
    if (p.w.width != m->width || p.w.height != m->height)
        return false;
    vga_colours(&p.r, p.w.kind, p.colour);
    for (unsigned y = 0; y < p.w.height; y++) {
        if (p.w.kind == VGA_LINEAR)
            s = (struct scan){.at = p.w.start + y * p.w.pitch};
        else
            scan_of(&p, y, &s);
        draw[p.w.kind](&p, &s);
        keep_line(p.line + s.pan, pixels + (size_t)y * stride, p.w.width, y, changed);
    }
    return true;
}

static bool vga_text(void *opaque, struct display_text *t)
{
    struct picture p;

    take(vga_of(opaque), &p);
    t->columns = t->rows = 0;
    t->cursor = -1;
    if (p.w.kind != VGA_TEXT)
        return false;
    t->columns = p.w.columns;
    t->rows = p.w.rows;
    uint32_t cursor = cursor_at(&p.r);
    bool on = !(p.r.crtc[CRTC_CURSOR_START] & 0x20);
    for (unsigned i = 0; i < t->columns * t->rows; i++) {
        unsigned row = i / t->columns, column = i % t->columns;
        uint32_t at = (p.w.start + row * p.w.pitch + column) & p.w.mask;
        const uint8_t *cell = word_at(&p, at);
        t->cells[i] = (struct display_cell){cell[0], cell[1]};
        if (on && at == cursor)
            t->cursor = (int)i;
    }
    return true;
}

const struct display_ops vga_display_ops = {vga_mode, vga_draw, vga_text};
