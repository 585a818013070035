/* SPDX-License-Identifier: MIT */
/* A VGA on a bench: registers by index, memory as a processor reaches it, standard modes. */
#ifndef RING3_TESTS_VGA_RIG_H
#define RING3_TESTS_VGA_RIG_H

#include "dev_rig.h"

#include "ring3/devices/vga.h"

static inline struct device *vga_make(struct rig *r)
{
    r->host.mem = r->own_mem = phys_new(MIB, NULL);
    assert_non_null(r->host.mem);
    return vga_new(&r->host, NULL);
}

static inline struct rig *vga_rig(void)
{
    struct rig *r = rig_new();
    r->d = vga_make(r);
    assert_non_null(r->d);
    return r;
}

/* An indexed register: 0x3c4, 0x3ce or 0x3d4. */
static inline void put_reg(struct rig *r, unsigned port, unsigned index, unsigned value)
{
    bus_write(r->host.pio, port, 2, value << 8 | index);
}
static inline unsigned get_reg(struct rig *r, unsigned port, unsigned index)
{
    out8(r, port, index);
    return in8(r, port + 1);
}
static inline void put_attr(struct rig *r, unsigned index, unsigned value)
{
    in8(r, 0x3da);
    out8(r, 0x3c0, index);
    out8(r, 0x3c0, value);
    out8(r, 0x3c0, 0x20);
}
static inline void put_dispi(struct rig *r, unsigned index, unsigned value)
{
    bus_write(r->host.pio, 0x1ce, 2, index);
    bus_write(r->host.pio, 0x1cf, 2, value);
}
static inline unsigned get_dispi(struct rig *r, unsigned index)
{
    bus_write(r->host.pio, 0x1ce, 2, index);
    return (unsigned)bus_read(r->host.pio, 0x1cf, 2);
}

/* Memory as a processor sees it: pages first, then the bus. */
static inline uint8_t load8(struct rig *r, gpa_t at)
{
    struct phys_page p = phys_page(r->host.mem, gpa_page(at));
    return p.kind ? p.host[at & ~PAGE_MASK] : (uint8_t)bus_read(r->host.mmio, at, 1);
}
static inline void store8(struct rig *r, gpa_t at, unsigned value)
{
    struct phys_page p = phys_page(r->host.mem, gpa_page(at));
    if (p.kind)
        p.host[at & ~PAGE_MASK] = (uint8_t)value;
    else
        bus_write(r->host.mmio, at, 1, value);
}
static inline bool is_plain(struct rig *r, gpa_t at)
{
    return phys_page(r->host.mem, gpa_page(at)).kind == PHYS_RAM;
}

/* Registers of a mode; `crtc` has 25, `attr` 21. */
struct mode {
    uint8_t misc, seq[4], gfx[9]; /* seq from 1 on */
    const uint8_t *crtc, *attr;
};

static inline void set_mode(struct rig *r, const struct mode *m)
{
    out8(r, 0x3c2, m->misc);
    for (unsigned i = 0; i < 4; i++)
        put_reg(r, 0x3c4, i + 1, m->seq[i]);
    put_reg(r, 0x3d4, 0x11, 0);
    for (unsigned i = 0; i < 25; i++)
        put_reg(r, 0x3d4, i, m->crtc[i]);
    for (unsigned i = 0; i < 9; i++)
        put_reg(r, 0x3ce, i, m->gfx[i]);
    for (unsigned i = 0; i < 21; i++)
        put_attr(r, i, m->attr[i]);
    /* The default colours of the DAC: 64 of two bits a gun. */
    out8(r, 0x3c8, 0);
    for (unsigned i = 0; i < 64; i++)
        for (unsigned gun = 0; gun < 3; gun++)
            out8(r, 0x3c9, (i >> (2 - gun) & 1) * 42 + (i >> (5 - gun) & 1) * 21);
}

/* The parameter tables of the VGA's BIOS, modes 12h, 13h and 4. */
static const uint8_t attr_16[21] = {0,  1,  2,  3,  4,  5, 20, 7,  56, 57, 58,
                                    59, 60, 61, 62, 63, 1, 0,  15, 0,  0};
static const uint8_t attr_256[21] = {0,  1,  2,  3,  4,  5,    6, 7,  8, 9, 10,
                                     11, 12, 13, 14, 15, 0x41, 0, 15, 0, 0};
static const uint8_t attr_cga[21] = {0,  0x13, 0x15, 0x17, 2,  4, 6, 7, 16, 17, 18,
                                     19, 20,   21,   22,   23, 1, 0, 3, 0,  0};
static const uint8_t crtc_12[25] = {0x5f, 0x4f, 0x50, 0x82, 0x54, 0x80, 0x0b, 0x3e, 0,
                                    0x40, 0,    0,    0,    0,    0,    0,    0xea, 0x8c,
                                    0xdf, 0x28, 0,    0xe7, 0x04, 0xe3, 0xff};
static const uint8_t crtc_13[25] = {0x5f, 0x4f, 0x50, 0x82, 0x54, 0x80, 0xbf, 0x1f, 0,
                                    0x41, 0,    0,    0,    0,    0,    0,    0x9c, 0x8e,
                                    0x8f, 0x28, 0x40, 0x96, 0xb9, 0xa3, 0xff};
static const uint8_t crtc_x[25] = {0x5f, 0x4f, 0x50, 0x82, 0x54, 0x80, 0x0d, 0x3e, 0,
                                   0x41, 0,    0,    0,    0,    0,    0,    0xea, 0xac,
                                   0xdf, 0x28, 0,    0xe7, 0x06, 0xe3, 0xff};
static const uint8_t crtc_4[25] = {0x2d, 0x27, 0x28, 0x90, 0x2b, 0x80, 0xbf, 0x1f, 0,
                                   0xc1, 0,    0,    0,    0,    0,    0,    0x9c, 0x8e,
                                   0x8f, 0x14, 0,    0x96, 0xb9, 0xa2, 0xff};
static const struct mode mode_12 = {
    0xe3, {1, 15, 0, 6}, {0, 0, 0, 0, 0, 0, 5, 15, 255}, crtc_12, attr_16};
static const struct mode mode_13 = {
    0x63, {1, 15, 0, 14}, {0, 0, 0, 0, 0, 0x40, 5, 15, 255}, crtc_13, attr_256};
static const struct mode mode_x = {/* 320 by 240, unchained */
                                   0xe3,
                                   {1, 15, 0, 6},
                                   {0, 0, 0, 0, 0, 0x40, 5, 15, 255},
                                   crtc_x,
                                   attr_256};
static const struct mode mode_4 = {
    0x63, {9, 3, 0, 2}, {0, 0, 0, 0, 0, 0x30, 15, 0, 255}, crtc_4, attr_cga};

#endif
