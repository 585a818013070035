/* SPDX-License-Identifier: MIT */
/* VGA: the Bochs extensions ("dispi", vbe_display_api.txt of the Bochs VGABIOS): linear modes with
 * 4 to 32 bits a pixel by eleven 16-bit registers. Index at port 1ce, data at 1cf and 1d0; also
 * memory-mapped in BAR 2, with the VGA's own ports:
 *
 *   400-41f  ports 3c0-3df, a byte each       500-515  registers 0 to 10, 16 bits each
 *
 * Enabling a mode takes its size as the virtual one, from the upper left corner, and clears it
 * unless told otherwise. Sizes that make no sense are corrected where they are used: the mode is
 * whatever fits (vga_mode.c). The window at a0000 then shows 64 KiB of video memory by bank number.
 *
 * Left out: EDID (BAR 2 from 0 on reads as ones, so drivers offer their own modes), byte order. */
#include "dev/vga.h"

#include <string.h>

#define ID_OLDEST 0xb0c0u
#define ID_NEWEST 0xb0c5u
#define PORTS     0x400u
#define REGISTERS 0x500u

static unsigned limited(unsigned value, unsigned max)
{
    return value > max ? max : value;
}

/* Bytes of a row of `pixels`. */
static unsigned row_bytes(const struct vga_regs *r, unsigned pixels)
{
    unsigned bpp = r->dispi[DISPI_BPP];
    return bpp < 8 ? pixels / 2 : pixels * ((bpp + 7) / 8);
}

/* A row must be no wider than what leaves room for all rows. */
static void set_virtual_width(struct vga_regs *r, unsigned pixels)
{
    unsigned rows = r->dispi[DISPI_YRES] ? r->dispi[DISPI_YRES] : 1;

    pixels &= ~7u;
    if (pixels < r->dispi[DISPI_XRES])
        pixels = r->dispi[DISPI_XRES];
    while (pixels > r->dispi[DISPI_XRES] && row_bytes(r, pixels) > VGA_VRAM_BYTES / rows)
        pixels -= 8;
    r->dispi[DISPI_VIRT_WIDTH] = (uint16_t)pixels;
    unsigned bytes = row_bytes(r, pixels);
    r->dispi[DISPI_VIRT_HEIGHT] =
        (uint16_t)limited(bytes ? (unsigned)VGA_VRAM_BYTES / bytes : 0, UINT16_MAX);
}

static void enable(struct vga *v, uint16_t value)
{
    struct vga_regs *r = &v->r;
    bool was_on = vga_dispi_on(r);

    r->dispi[DISPI_ENABLE] = value;
    if (!(value & DISPI_ENABLED) || was_on)
        return;
    r->dispi[DISPI_X] = r->dispi[DISPI_Y] = r->dispi[DISPI_BANK] = 0;
    set_virtual_width(r, r->dispi[DISPI_XRES]);
    uint64_t bytes = (uint64_t)row_bytes(r, r->dispi[DISPI_XRES]) * r->dispi[DISPI_YRES];
    if (!(value & DISPI_NOCLEAR))
        memset(v->vram, 0, bytes < VGA_VRAM_BYTES ? bytes : VGA_VRAM_BYTES);
}

static bool is_depth(unsigned bpp)
{
    return bpp == 4 || bpp == 8 || bpp == 15 || bpp == 16 || bpp == 24 || bpp == 32;
}

static void write_register(struct vga *v, unsigned n, uint16_t value)
{
    struct vga_regs *r = &v->r;

    switch (n) {
    case DISPI_ID:
        if (value >= ID_OLDEST && value <= ID_NEWEST)
            r->dispi[n] = value;
        break;
    case DISPI_XRES:
        if (value <= DISPLAY_MAX_WIDTH)
            r->dispi[n] = value & 0xfff8;
        break;
    case DISPI_YRES:
        if (value <= DISPLAY_MAX_HEIGHT)
            r->dispi[n] = value;
        break;
    case DISPI_BPP:
        if (is_depth(value ? value : 8))
            r->dispi[n] = value ? value : 8;
        break;
    case DISPI_ENABLE:
        vga_window_hide(v); /* before memory is cleared */
        enable(v, value);
        break;
    case DISPI_BANK:
        r->dispi[n] = value & (VGA_VRAM_BYTES / (64 * KIB) - 1);
        break;
    case DISPI_VIRT_WIDTH:
        set_virtual_width(r, value);
        break;
    case DISPI_X:
    case DISPI_Y:
        r->dispi[n] = value;
        break;
    default:
        break;
    }
    vga_window_changed(v);
}

static uint16_t read_register(const struct vga_regs *r, unsigned n)
{
    static const uint16_t most[] = {
        [DISPI_XRES] = DISPLAY_MAX_WIDTH, [DISPI_YRES] = DISPLAY_MAX_HEIGHT, [DISPI_BPP] = 32};

    if (n >= DISPI_REGS)
        return 0;
    if (n == DISPI_MEMORY)
        return VGA_VRAM_BYTES / (64 * KIB);
    if (n >= DISPI_XRES && n <= DISPI_BPP && (r->dispi[DISPI_ENABLE] & DISPI_GETCAPS))
        return most[n];
    return r->dispi[n];
}

void vga_dispi_reset(struct vga_regs *r)
{
    memset(r->dispi, 0, sizeof r->dispi);
    r->dispi[DISPI_ID] = ID_NEWEST;
    r->dispi[DISPI_BPP] = 8;
    r->dispi_index = 0;
    r->dispi_low = 0;
}

/* ---- ports 1ce to 1d1: index, then data at an odd address or at the even one behind it --------
 */

static uint64_t port_read(void *opaque, uint64_t offset, unsigned size)
{
    struct vga *v = opaque;

    pthread_mutex_lock(&v->lock);
    uint16_t data = read_register(&v->r, v->r.dispi_index), index = v->r.dispi_index;
    pthread_mutex_unlock(&v->lock);
    if (offset == 0)
        return index;
    if (offset == 1 || size == 2)
        return data;
    return offset == 2 ? data >> 8 : 0xff; /* second byte of a word at 1cf */
}

static void port_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct vga *v = opaque;

    pthread_mutex_lock(&v->lock);
    if (offset == 0)
        v->r.dispi_index = (uint16_t)value;
    else if (offset == 1)
        v->r.dispi_low = (uint8_t)value;
    else if (offset == 2 && size == 2)
        write_register(v, v->r.dispi_index, (uint16_t)value);
    else if (offset == 2)
        write_register(v, v->r.dispi_index, (uint16_t)((value & 0xff) << 8 | v->r.dispi_low));
    pthread_mutex_unlock(&v->lock);
}

const struct io_ops vga_dispi_ops = {port_read, port_write, 1, 2};

/* ---- BAR 2 ----------------------------------------------------------------------------------- */

static uint64_t bar2_read(void *opaque, uint64_t offset, unsigned size)
{
    struct vga *v = opaque;
    uint64_t value = UINT16_MAX;

    pthread_mutex_lock(&v->lock);
    if (offset >= PORTS && offset < PORTS + 0x20) {
        value = vga_port_read(v, 0x3c0 + (unsigned)(offset - PORTS));
        if (size == 2)
            value |= (unsigned)vga_port_read(v, 0x3c1 + (unsigned)(offset - PORTS)) << 8;
    } else if (offset >= REGISTERS && offset < REGISTERS + 2 * DISPI_REGS) {
        value = read_register(&v->r, (unsigned)(offset - REGISTERS) / 2) >> 8 * (offset & 1);
    }
    pthread_mutex_unlock(&v->lock);
    return value;
}

static void bar2_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct vga *v = opaque;

    pthread_mutex_lock(&v->lock);
    if (offset >= PORTS && offset < PORTS + 0x20) {
        for (unsigned i = 0; i < size; i++)
            vga_port_write(v, 0x3c0 + (unsigned)(offset - PORTS) + i, (uint8_t)(value >> 8 * i));
    } else if (offset >= REGISTERS && offset < REGISTERS + 2 * DISPI_REGS && size == 2) {
        write_register(v, (unsigned)(offset - REGISTERS) / 2, (uint16_t)value);
    }
    pthread_mutex_unlock(&v->lock);
}

const struct io_ops vga_bar2_ops = {bar2_read, bar2_write, 1, 2};
