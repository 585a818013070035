/* SPDX-License-Identifier: MIT */
/* VGA: what is to be seen, from the registers (FreeVGA, "CRT Controller Registers", "VGA Sequencer
 * Operation", "VGA Text Mode Operation"). The picture is what a monitor shows: mode 13h is 640 by
 * 400, text of nine dots a character 720 by 400.
 *
 * The guest can program anything; sizes are brought within DISPLAY_MAX_WIDTH and _HEIGHT here.
 * Left out: the timing registers, interlace, byte and double-word counting of CR14 and CR17. */
#include "dev/vga.h"

enum { CRTC_MODE_ROW_SCAN_13 = 0x01 };

static unsigned min_of(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

static void linear_view(const struct vga_regs *r, struct vga_view *w)
{
    const uint16_t *d = r->dispi;
    unsigned bpp = d[DISPI_BPP];

    w->kind = bpp < 8 ? VGA_PLANAR : VGA_LINEAR;
    w->width = min_of(d[DISPI_XRES], DISPLAY_MAX_WIDTH) & ~7u;
    w->height = min_of(d[DISPI_YRES], DISPLAY_MAX_HEIGHT);
    w->row_scans = 1;
    w->line_compare = UINT32_MAX;
    w->cell_width = 8;
    w->columns = w->width / 8;
    w->depth = bpp;
    w->bytes_per_pixel = (bpp + 7) / 8;
    if (bpp < 8) {
        w->pitch = d[DISPI_VIRT_WIDTH] / 8;
        w->start = d[DISPI_Y] * w->pitch + d[DISPI_X] / 8;
        w->pan = d[DISPI_X] % 8;
        w->mask = VGA_VRAM_WORDS - 1;
    } else {
        w->pitch = d[DISPI_VIRT_WIDTH] * w->bytes_per_pixel;
        w->start = d[DISPI_Y] * w->pitch + d[DISPI_X] * w->bytes_per_pixel;
    }
}

static enum vga_kind kind_of(const struct vga_regs *r)
{
    if (!(r->gfx[GFX_MISC] & 1))
        return VGA_TEXT;
    if (r->gfx[GFX_MODE] & MODE_SHIFT_256)
        return VGA_256;
    return r->gfx[GFX_MODE] & MODE_SHIFT_CGA ? VGA_CGA4 : VGA_PLANAR;
}

/* Dots by which the picture is moved to the left. */
static unsigned pan_of(const struct vga_regs *r, const struct vga_view *w)
{
    unsigned pan = r->attr[ATTR_PAN] & 15;

    if (w->kind == VGA_256)
        return pan & 6;
    if (w->cell_width == 9)
        return pan & 8 ? 0 : pan + 1;
    return (pan & 7) << w->double_dots;
}

static void vga_view(const struct vga_regs *r, struct vga_view *w)
{
    const uint8_t *c = r->crtc;
    unsigned clocking = r->seq[SEQ_CLOCKING], overflow = c[CRTC_OVERFLOW];
    unsigned rows = c[CRTC_ROW_SCANS];

    w->kind = kind_of(r);
    w->double_dots = clocking & CLOCKING_HALF ? 1 : 0;
    w->cell_width = w->kind != VGA_TEXT || (clocking & CLOCKING_8DOTS) ? 8 : 9;
    w->columns = min_of(c[CRTC_SHOWN_END] + 1u, DISPLAY_MAX_COLUMNS);
    w->columns = min_of(w->columns, DISPLAY_MAX_WIDTH / (w->cell_width << w->double_dots));
    w->width = w->columns * w->cell_width << w->double_dots;
    w->height = (c[CRTC_LINES_END] | (overflow & 2) << 7 | (overflow & 0x40) << 3) + 1u;
    w->double_scan = rows >> 7;
    w->row_scans = (rows & 31) + 1;
    w->rows = min_of((w->height >> w->double_scan) / w->row_scans, DISPLAY_MAX_ROWS);
    w->line_compare = c[CRTC_LINE_COMPARE] | (overflow & 0x10u) << 4 | (rows & 0x40u) << 3;
    w->start = (unsigned)c[CRTC_START_HIGH] << 8 | c[CRTC_START_HIGH + 1];
    w->start += c[CRTC_PRESET_ROW] >> 5 & 3;
    w->pitch = 2u * c[CRTC_OFFSET];
    w->mask = 0xffff;
    w->preset_scan = c[CRTC_PRESET_ROW] & 31;
    w->pan = pan_of(r, w);
    if (w->kind == VGA_TEXT && !w->rows)
        w->kind = VGA_BLANK;
    if (clocking & CLOCKING_OFF)
        w->kind = VGA_BLANK;
}

void vga_view_of(const struct vga_regs *r, struct vga_view *w)
{
    *w = (struct vga_view){0};
    if (vga_dispi_on(r))
        linear_view(r, w);
    else
        vga_view(r, w);
    if (!(r->attr_index & ATTR_SHOWN))
        w->kind = VGA_BLANK;
    if (!w->width || !w->height) {
        w->kind = VGA_BLANK;
        w->width = 640;
        w->height = 400;
    }
}

static uint32_t dac_colour(const struct vga_regs *r, unsigned index)
{
    const uint8_t *c = r->dac + 3 * (index & r->dac_mask & 0xff);

    if (r->dispi[DISPI_ENABLE] & DISPI_8BIT_DAC)
        return (uint32_t)c[0] << 16 | (uint32_t)c[1] << 8 | c[2];
    uint32_t rgb = 0;
    for (unsigned i = 0; i < 3; i++) /* 6 bits become 8: 63 is 255 */
        rgb = rgb << 8 | (uint8_t)((c[i] & 63) << 2 | (c[i] & 63) >> 4);
    return rgb;
}

/* Where the attribute controller sends a colour of four bits. */
static unsigned palette(const struct vga_regs *r, unsigned colour)
{
    unsigned select = r->attr[ATTR_COLOUR_SELECT], index = r->attr[colour] & 63;

    if (r->attr[ATTR_MODE] & ATTR_SELECT_5_4)
        index = (index & 15) | (select & 3) << 4;
    return index | (select & 12) << 4;
}

void vga_colours(const struct vga_regs *r, enum vga_kind kind, uint32_t colour[256])
{
    if (kind == VGA_256 || kind == VGA_LINEAR) {
        for (unsigned i = 0; i < 256; i++)
            colour[i] = dac_colour(r, i);
        return;
    }
    for (unsigned i = 0; i < 16; i++)
        colour[i] = dac_colour(r, palette(r, i));
}
