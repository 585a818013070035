/* SPDX-License-Identifier: MIT */
/* VGA: the window a0000 to bffff, by which processors reach video memory (FreeVGA, "Accessing the
 * VGA Display Memory").
 *
 *   address ─▶ which plane, which address in it ─▶ write mode, set/reset, rotation, function with
 *              (sequential, odd/even, chain 4)     the latches, bit mask ─▶ planes of the map mask
 *
 * Where all of that amounts to nothing, the window is mapped as plain memory at its first access,
 * and taken away when a register changes:
 *
 *   linear  chain 4, and the banks of linear modes: 64 KiB of video memory itself
 *   text    odd/even: memory of its own, which takes planes 0 and 1 with it as long as it is shown
 *
 * Left out: latches are not loaded by reads of plain memory. */
#include "dev/vga.h"

#define BANK_BYTES 0x10000u

static const struct {
    uint32_t base, len;
} maps[4] = {{0, 0x20000}, {0, 0x10000}, {0x10000, 0x8000}, {0x18000, 0x8000}};

static unsigned map_of(const struct vga_regs *r)
{
    return r->gfx[GFX_MISC] >> 2 & 3;
}

/* ---- plain memory ---------------------------------------------------------------------------- */

/* Does a byte that is written come back as it was, whatever the latches hold? */
static bool is_straight(const struct vga_regs *r)
{
    return !(r->gfx[GFX_MODE] & (MODE_READ_COMPARE | 3)) && r->gfx[GFX_BIT_MASK] == 0xff &&
           !r->gfx[GFX_SET_ENABLE] && !r->gfx[GFX_FUNCTION] && (r->misc & MISC_RAM);
}

/* What the window could show, and where that begins: see shown_at. */
static enum vga_shown plain(const struct vga_regs *r, uint32_t *at)
{
    unsigned planes = r->seq[SEQ_MAP_MASK], map = map_of(r);

    if (vga_is_linear(r)) {
        *at = r->dispi[DISPI_BANK] % (uint32_t)(VGA_VRAM_BYTES / BANK_BYTES) * BANK_BYTES;
        return VGA_SHOWS_LINEAR;
    }
    *at = 0;
    if (!is_straight(r) || vga_dispi_on(r))
        return VGA_SHOWS_NOTHING;
    if ((r->seq[SEQ_MEMORY] & MEMORY_CHAIN4) && map == 1 && planes == 15)
        return VGA_SHOWS_LINEAR;
    bool odd_even = !(r->seq[SEQ_MEMORY] & (MEMORY_SEQUENTIAL | MEMORY_CHAIN4)) &&
                    (r->gfx[GFX_MODE] & MODE_ODD_EVEN);
    if (!odd_even || map < 2 || planes != 3 || (r->gfx[GFX_READ_MAP] & 2))
        return VGA_SHOWS_NOTHING;
    *at = VGA_WINDOW + maps[map].base;
    return VGA_SHOWS_TEXT;
}

void vga_text_to_planes(struct vga *v)
{
    if (v->shown != VGA_SHOWS_TEXT)
        return;
    for (uint32_t i = 0; i < VGA_TEXT_BYTES / 2; i++) {
        v->vram[4 * i] = v->text[2 * i];
        v->vram[4 * i + 1] = v->text[2 * i + 1];
    }
}

static void planes_to_text(struct vga *v)
{
    for (uint32_t i = 0; i < VGA_TEXT_BYTES / 2; i++) {
        v->text[2 * i] = v->vram[4 * i];
        v->text[2 * i + 1] = v->vram[4 * i + 1];
    }
}

static void remap(struct vga *v, enum phys_kind kind)
{
    if (v->shown == VGA_SHOWS_TEXT)
        phys_remap(v->h.mem, v->shown_at, kind, v->text_offset, VGA_TEXT_BYTES);
    else if (v->shown == VGA_SHOWS_LINEAR)
        phys_remap(v->h.mem, VGA_WINDOW, kind, v->vram_offset + v->shown_at, BANK_BYTES);
}

void vga_window_hide(struct vga *v)
{
    remap(v, PHYS_NONE);
    vga_text_to_planes(v);
    v->shown = VGA_SHOWS_NOTHING;
    v->shown_at = 0;
}

void vga_window_changed(struct vga *v)
{
    uint32_t at;

    if (v->shown && (plain(&v->r, &at) != v->shown || at != v->shown_at))
        vga_window_hide(v);
}

static void show(struct vga *v)
{
    uint32_t at;
    enum vga_shown what = plain(&v->r, &at);

    if (v->shown || !what)
        return;
    if (what == VGA_SHOWS_TEXT)
        planes_to_text(v);
    v->shown = (uint8_t)what;
    v->shown_at = at;
    remap(v, PHYS_RAM);
}

/* Fields come from a file: only what the registers allow is shown. */
void vga_window_restored(struct vga *v)
{
    uint32_t at;

    phys_remap(v->h.mem, VGA_WINDOW, PHYS_NONE, 0, VGA_WINDOW_SIZE);
    if (v->shown && plain(&v->r, &at) == v->shown && at == v->shown_at) {
        remap(v, PHYS_RAM);
        return;
    }
    v->shown = VGA_SHOWS_NOTHING;
    v->shown_at = 0;
}

/* The byte of plain memory at an offset in the window, or NULL. */
static uint8_t *plain_byte(struct vga *v, uint32_t offset)
{
    if (v->shown == VGA_SHOWS_LINEAR)
        return offset < BANK_BYTES ? v->vram + v->shown_at + offset : NULL;
    uint32_t from = v->shown_at - VGA_WINDOW;
    return offset >= from && offset - from < VGA_TEXT_BYTES ? v->text + offset - from : NULL;
}

/* ---- the graphics controller ----------------------------------------------------------------- */

/* A bit for each plane becomes a byte for each plane. */
static uint32_t spread(unsigned planes)
{
    return ((planes & 1) | (planes & 2) << 7 | (planes & 4) << 14 | (planes & 8) << 21) * 0xffu;
}

static uint32_t word_at(const struct vga *v, uint32_t at)
{
    const uint8_t *p = v->vram + 4 * (uint64_t)at;
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* Where the byte at an offset in the window lies: address in its plane, and which planes a write
 * reaches, or a read takes. False: the card does not answer there. Odd/even is the sequencer's
 * affair for writes and the graphics controller's for reads. */
static bool locate(const struct vga_regs *r, uint32_t offset, bool odd_even, uint32_t *at,
                   unsigned *planes)
{
    unsigned map = map_of(r);

    if (!(r->misc & MISC_RAM) || offset < maps[map].base ||
        offset - maps[map].base >= maps[map].len)
        return false;
    uint32_t a = (offset - maps[map].base) & 0xffff;
    if (vga_dispi_on(r))
        a += r->dispi[DISPI_BANK] * BANK_BYTES;
    *planes = 15;
    if (r->seq[SEQ_MEMORY] & MEMORY_CHAIN4) {
        *planes = 1u << (a & 3);
        a >>= 2;
    } else if (odd_even) {
        *planes = a & 1 ? 10 : 5;
        a >>= 1;
    }
    *at = a % VGA_VRAM_WORDS;
    return true;
}

/* Of the two planes that odd/even leaves, the read map chooses. */
static unsigned read_plane(const struct vga_regs *r, unsigned planes)
{
    unsigned chosen = r->gfx[GFX_READ_MAP] & 3;

    if (planes == 5 || planes == 10)
        return (chosen & 2) | (planes == 10);
    return planes == 15 ? chosen : (unsigned)__builtin_ctz(planes);
}

static uint8_t window_read_byte(struct vga *v, uint32_t offset)
{
    struct vga_regs *r = &v->r;
    unsigned mode = r->gfx[GFX_MODE], planes;
    uint32_t at;

    if (v->shown) {
        const uint8_t *p = plain_byte(v, offset);
        return p ? *p : 0xff;
    }
    if (!locate(r, offset, mode & MODE_ODD_EVEN, &at, &planes))
        return 0xff;
    r->latch = word_at(v, at);
    if (!(mode & MODE_READ_COMPARE))
        return (uint8_t)(r->latch >> 8 * read_plane(r, planes));
    uint32_t differ = (r->latch ^ spread(r->gfx[GFX_COMPARE])) & spread(r->gfx[GFX_COMPARE_MASK]);
    differ |= differ >> 16;
    return (uint8_t) ~(differ | differ >> 8);
}

static uint8_t rotate(const struct vga_regs *r, uint8_t value)
{
    unsigned n = r->gfx[GFX_FUNCTION] & 7;
    return (uint8_t)(value >> n | value << (8 - n));
}

static uint32_t combine(const struct vga_regs *r, uint32_t value)
{
    switch (r->gfx[GFX_FUNCTION] >> 3 & 3) {
    case 1:
        return value & r->latch;
    case 2:
        return value | r->latch;
    case 3:
        return value ^ r->latch;
    default:
        return value;
    }
}

/* What a write mode makes of a byte: one for each plane. */
static uint32_t written(const struct vga_regs *r, uint8_t value)
{
    uint32_t set = spread(r->gfx[GFX_SET]), mask = r->gfx[GFX_BIT_MASK] * 0x01010101u, bits;

    switch (r->gfx[GFX_MODE] & 3) {
    case 0: {
        uint32_t enabled = spread(r->gfx[GFX_SET_ENABLE]);
        bits = rotate(r, value) * 0x01010101u;
        bits = (bits & ~enabled) | (set & enabled);
        break;
    }
    case 1:
        return r->latch;
    case 2:
        bits = spread(value & 15);
        break;
    default:
        mask &= rotate(r, value) * 0x01010101u;
        bits = set;
        break;
    }
    return (combine(r, bits) & mask) | (r->latch & ~mask);
}

static void window_write_byte(struct vga *v, uint32_t offset, uint8_t value)
{
    uint32_t at;
    unsigned planes;

    if (v->shown) {
        uint8_t *p = plain_byte(v, offset);
        if (p)
            *p = value;
        return;
    }
    if (!locate(&v->r, offset, !(v->r.seq[SEQ_MEMORY] & MEMORY_SEQUENTIAL), &at, &planes))
        return;
    planes &= v->r.seq[SEQ_MAP_MASK];
    uint32_t bits = written(&v->r, value);
    uint8_t *p = v->vram + 4 * (uint64_t)at;
    for (unsigned i = 0; i < 4; i++)
        if (planes & 1u << i)
            p[i] = (uint8_t)(bits >> 8 * i);
}

static uint64_t window_read(void *opaque, uint64_t offset, unsigned size)
{
    struct vga *v = opaque;
    uint64_t value = 0;

    pthread_mutex_lock(&v->lock);
    show(v);
    for (unsigned i = 0; i < size; i++)
        value |= (uint64_t)window_read_byte(v, (uint32_t)offset + i) << 8 * i;
    pthread_mutex_unlock(&v->lock);
    return value;
}

static void window_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct vga *v = opaque;

    pthread_mutex_lock(&v->lock);
    show(v);
    for (unsigned i = 0; i < size; i++)
        window_write_byte(v, (uint32_t)offset + i, (uint8_t)(value >> 8 * i));
    pthread_mutex_unlock(&v->lock);
}

const struct io_ops vga_window_ops = {window_read, window_write, 1, 8};
