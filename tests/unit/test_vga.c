/* SPDX-License-Identifier: MIT */
/* VGA: registers and memory, against FreeVGA's description; write modes against a model that works
 * bit by bit; Bochs' linear modes; PCI. */
#include "vga_rig.h"

#include <errno.h>

#define FRAME_NS (449u * 31778u)

/* ---- registers ------------------------------------------------------------------------------- */

static void attribute_flip_flop(void **state)
{
    struct rig *r = vga_rig();
    out8(r, 0x3c2, 1);
    in8(r, 0x3da);
    out8(r, 0x3c0, 0x11); /* index */
    out8(r, 0x3c0, 0x2a); /* data */
    out8(r, 0x3c0, 0x12);
    assert_int_equal(in8(r, 0x3c0), 0x12); /* reading does not move it on */
    out8(r, 0x3c0, 0x05);
    out8(r, 0x3c0, 0x11); /* index again */
    assert_int_equal(in8(r, 0x3c1), 0x2a);
    in8(r, 0x3da); /* index is next in any case */
    out8(r, 0x3c0, 0x12);
    assert_int_equal(in8(r, 0x3c1), 0x05);
    out8(r, 0x3c0, 0xff); /* palette entries have 6 bits, so has the index */
    out8(r, 0x3c0, 0x00);
    out8(r, 0x3c0, 0xff);
    out8(r, 0x3c0, 0x20);
    assert_int_equal(in8(r, 0x3c0), 0x20);
    assert_int_equal(in8(r, 0x3c1), 0x3f);
    rig_free(r);
}

static void mono_and_colour_ports(void **state)
{
    struct rig *r = vga_rig();
    out8(r, 0x3c2, 0x67);
    assert_int_equal(in8(r, 0x3cc), 0x67);
    put_reg(r, 0x3d4, 0x0f, 0x12);
    put_reg(r, 0x3b4, 0x0f, 0x34); /* nobody hears it */
    assert_int_equal(get_reg(r, 0x3d4, 0x0f), 0x12);
    assert_int_equal(get_reg(r, 0x3b4, 0x0f), 0xff);
    out8(r, 0x3c2, 0x66);
    assert_int_equal(get_reg(r, 0x3b4, 0x0f), 0x12);
    assert_int_equal(in8(r, 0x3d5), 0xff);
    assert_int_equal(in8(r, 0x3da), 0xff);
    assert_int_not_equal(in8(r, 0x3ba), 0xff);
    rig_free(r);
}

static void crtc_protection(void **state)
{
    struct rig *r = vga_rig();
    put_reg(r, 0x3d4, 0x00, 0x5f);
    put_reg(r, 0x3d4, 0x07, 0x0f);
    put_reg(r, 0x3d4, 0x11, 0x8e);
    put_reg(r, 0x3d4, 0x00, 0x77);
    put_reg(r, 0x3d4, 0x07, 0xff); /* only line compare's bit */
    put_reg(r, 0x3d4, 0x09, 0x4f);
    assert_int_equal(get_reg(r, 0x3d4, 0x00), 0x5f);
    assert_int_equal(get_reg(r, 0x3d4, 0x07), 0x1f);
    assert_int_equal(get_reg(r, 0x3d4, 0x09), 0x4f);
    put_reg(r, 0x3d4, 0x11, 0x0e);
    put_reg(r, 0x3d4, 0x00, 0x77);
    assert_int_equal(get_reg(r, 0x3d4, 0x00), 0x77);
    rig_free(r);
}

static void dac_sequence(void **state)
{
    struct rig *r = vga_rig();
    out8(r, 0x3c8, 10);
    for (unsigned i = 0; i < 6; i++)
        out8(r, 0x3c9, 0xc1 + i); /* two bits too many */
    assert_int_equal(in8(r, 0x3c8), 12);
    assert_int_equal(in8(r, 0x3c7), 0);
    out8(r, 0x3c9, 0x3f); /* an unfinished entry changes nothing */
    out8(r, 0x3c7, 10);
    assert_int_equal(in8(r, 0x3c7), 3);
    for (unsigned i = 0; i < 6; i++)
        assert_int_equal(in8(r, 0x3c9), 0x01 + i);
    assert_int_equal(in8(r, 0x3c9), 0);
    out8(r, 0x3c6, 0x0f);
    assert_int_equal(in8(r, 0x3c6), 0x0f);
    out8(r, 0x3c8, 255);
    for (unsigned i = 0; i < 6; i++)
        out8(r, 0x3c9, i);
    out8(r, 0x3c7, 0); /* the index wraps */
    assert_int_equal(in8(r, 0x3c9), 3);
    put_dispi(r, 4, 0x20); /* a DAC of 8 bits */
    out8(r, 0x3c8, 7);
    out8(r, 0x3c9, 0xfe);
    out8(r, 0x3c9, 0xfd);
    out8(r, 0x3c9, 0xfc);
    out8(r, 0x3c7, 7);
    assert_int_equal(in8(r, 0x3c9), 0xfe);
    rig_free(r);
}

/* Every frame has a vertical retrace, and lines of which a part is not shown. */
static void retrace_follows_the_clock(void **state)
{
    struct rig *r = vga_rig();
    unsigned retraces = 0, dark = 0, last = 0;
    for (unsigned i = 0; i < 10 * 449 * 4; i++) {
        unsigned now = in8(r, 0x3da);
        assert_int_equal(now & ~9u, 0);
        assert_true(!(now & 8) || (now & 1));
        retraces += (now & 8) && !(last & 8);
        dark += now & 1;
        last = now;
        rig_advance(r, FRAME_NS / 449 / 4);
    }
    assert_in_range(retraces, 9, 11);
    assert_in_range(dark, 10 * 449 * 4 / 5, 10 * 449 * 4 / 3);
    rig_free(r);
}

/* ---- memory: a model that works bit by bit ----------------------------------------------------
 */

struct model {
    uint8_t plane[4][0x10000], latch[4];
    uint8_t map, set, enable, compare, function, read_map, mode, care, mask;
};

static unsigned bit(unsigned value, unsigned n)
{
    return value >> n & 1;
}

static void model_write(struct model *m, unsigned at, uint8_t value)
{
    unsigned rotation = m->function & 7, op = m->function >> 3;
    for (unsigned p = 0; p < 4; p++) {
        uint8_t result = 0;
        for (unsigned b = 0; b < 8; b++) {
            unsigned rotated = bit(value, (b + rotation) % 8), in, pass = bit(m->mask, b);
            unsigned old = bit(m->latch[p], b);
            switch (m->mode & 3) {
            case 0:
                in = bit(m->enable, p) ? bit(m->set, p) : rotated;
                break;
            case 1:
                in = old, pass = 0;
                break;
            case 2:
                in = bit(value, p);
                break;
            default:
                in = bit(m->set, p), pass = pass && rotated;
            }
            in = op == 1 ? in & old : op == 2 ? in | old : op == 3 ? in ^ old : in;
            result |= (uint8_t)((pass ? in : old) << b);
        }
        if (bit(m->map, p))
            m->plane[p][at] = result;
    }
}

static uint8_t model_read(struct model *m, unsigned at)
{
    uint8_t result = 0;
    for (unsigned p = 0; p < 4; p++)
        m->latch[p] = m->plane[p][at];
    if (!(m->mode & 8))
        return m->latch[m->read_map];
    for (unsigned b = 0; b < 8; b++) {
        bool same = true;
        for (unsigned p = 0; p < 4; p++)
            same = same && (!bit(m->care, p) || bit(m->latch[p], b) == bit(m->compare, p));
        result |= (uint8_t)(same << b);
    }
    return result;
}

static void model_program(struct rig *r, struct model *m, uint64_t random)
{
    uint8_t value = (uint8_t)(random >> 8);
    const struct {
        unsigned port, index, mask;
        uint8_t *field;
    } regs[] = {
        {0x3c4, 2, 15, &m->map},     {0x3ce, 0, 15, &m->set},      {0x3ce, 1, 15, &m->enable},
        {0x3ce, 2, 15, &m->compare}, {0x3ce, 3, 31, &m->function}, {0x3ce, 4, 3, &m->read_map},
        {0x3ce, 5, 0x0b, &m->mode},  {0x3ce, 7, 15, &m->care},     {0x3ce, 8, 255, &m->mask},
    };
    unsigned n = (unsigned)random % ARRAY_LEN(regs);
    *regs[n].field = value & regs[n].mask;
    put_reg(r, regs[n].port, regs[n].index, value & regs[n].mask);
}

static void planes_as_documented(void **state)
{
    struct rig *r = vga_rig();
    struct model *m = calloc(1, sizeof *m);
    uint64_t seed = 1;
    set_mode(r, &mode_12);
    assert_non_null(m);
    m->map = 15, m->care = 15, m->mask = 255;
    for (unsigned i = 0; i < 100000; i++) {
        uint64_t x = rig_random(&seed);
        unsigned at = x >> 16 & 1 ? 0xffff : (unsigned)(x >> 20) & 7; /* few, so that they meet */
        if (x >> 60 < 5) {
            model_program(r, m, x >> 8);
        } else if (x >> 60 < 10) {
            store8(r, 0xa0000 + at, (uint8_t)x);
            model_write(m, at, (uint8_t)x);
        } else if (load8(r, 0xa0000 + at) != model_read(m, at)) {
            fail_msg("step %u: address %x", i, at);
        }
    }
    assert_false(is_plain(r, 0xa0000));
    free(m);
    rig_free(r);
}

/* Chain 4: the low two bits of the address choose the plane; unchained, planes are apart. */
static void chain_4(void **state)
{
    struct rig *r = vga_rig();
    set_mode(r, &mode_13);
    for (unsigned i = 0; i < 16; i++)
        store8(r, 0xa0000 + i, 0x50 + i);
    assert_true(is_plain(r, 0xa0000) && is_plain(r, 0xaf000) && !is_plain(r, 0xb0000));
    assert_int_equal(load8(r, 0xa0005), 0x55);
    put_reg(r, 0x3c4, 4, 6);
    assert_false(is_plain(r, 0xa0000));
    for (unsigned plane = 0; plane < 4; plane++) {
        put_reg(r, 0x3ce, 4, plane);
        assert_int_equal(load8(r, 0xa0001), 0x54 + plane);
    }
    put_reg(r, 0x3c4, 2, 4); /* plane 2 only */
    store8(r, 0xa0001, 0x99);
    put_reg(r, 0x3c4, 4, 14);
    put_reg(r, 0x3c4, 2, 1); /* chained, and the map mask counts: not plain */
    store8(r, 0xa0000, 0x11);
    store8(r, 0xa0001, 0x11);
    assert_false(is_plain(r, 0xa0000));
    put_reg(r, 0x3c4, 2, 15);
    assert_int_equal(load8(r, 0xa0006), 0x99);
    assert_int_equal(load8(r, 0xa0000), 0x11);
    assert_int_equal(load8(r, 0xa0001), 0x51);
    rig_free(r);
}

/* Text: characters in plane 0, attributes in plane 1, fonts in plane 2. */
static void odd_even(void **state)
{
    struct rig *r = vga_rig();
    vga_text_mode(r->d, NULL);
    assert_false(is_plain(r, 0xb8000));
    assert_int_equal(load8(r, 0xb8000), ' ');
    assert_int_equal(load8(r, 0xb8001), 7);
    assert_true(is_plain(r, 0xb8000) && is_plain(r, 0xbf000));
    assert_false(is_plain(r, 0xb7000) || is_plain(r, 0xa0000));
    store8(r, 0xb8002, 'x');
    store8(r, 0xb8003, 0x1e);
    assert_int_equal(load8(r, 0xb0002), 0xff);
    /* As Linux loads a font: sequential, plane 2. */
    put_reg(r, 0x3c4, 2, 4);
    put_reg(r, 0x3c4, 4, 7);
    put_reg(r, 0x3ce, 4, 2);
    put_reg(r, 0x3ce, 5, 0);
    put_reg(r, 0x3ce, 6, 0);
    assert_false(is_plain(r, 0xb8000));
    for (unsigned i = 0; i < 32; i++)
        store8(r, 0xa0000 + 32 * 'x' + i, i + 1);
    assert_int_equal(load8(r, 0xa0000 + 32 * 'x' + 3), 4);
    put_reg(r, 0x3ce, 4, 0);
    assert_int_equal(load8(r, 0xa0001), 'x');
    put_reg(r, 0x3ce, 4, 1);
    assert_int_equal(load8(r, 0xa0001), 0x1e);
    put_reg(r, 0x3c4, 2, 3);
    put_reg(r, 0x3c4, 4, 2);
    put_reg(r, 0x3ce, 4, 0);
    put_reg(r, 0x3ce, 5, 0x10);
    put_reg(r, 0x3ce, 6, 0x0e);
    assert_int_equal(load8(r, 0xb8002), 'x');
    assert_int_equal(load8(r, 0xb8003), 0x1e);
    assert_true(is_plain(r, 0xb8000));
    /* Through the graphics controller it is the same memory. */
    put_reg(r, 0x3ce, 3, 0x10);
    load8(r, 0xb8002);
    store8(r, 0xb8002, 0x80);
    assert_false(is_plain(r, 0xb8000));
    put_reg(r, 0x3ce, 3, 0);
    assert_int_equal(load8(r, 0xb8002), 'x' | 0x80);
    /* The monochrome window. */
    put_reg(r, 0x3ce, 6, 0x0a);
    assert_int_equal(load8(r, 0xb0002), 'x' | 0x80);
    assert_true(is_plain(r, 0xb0000) && !is_plain(r, 0xb8000));
    out8(r, 0x3c2, 0x65); /* memory off */
    assert_int_equal(load8(r, 0xb0002), 0xff);
    rig_free(r);
}

/* A write of several bytes is one after the other. */
static void wide_accesses(void **state)
{
    struct rig *r = vga_rig();
    set_mode(r, &mode_12);
    bus_write(r->host.mmio, 0xa0000, 4, 0x44332211);
    assert_int_equal(bus_read(r->host.mmio, 0xa0001, 2), 0x3322);
    assert_int_equal(bus_read(r->host.mmio, 0xa0000, 8), 0x44332211);
    rig_free(r);
}

/* ---- linear modes ---------------------------------------------------------------------------- */

static void dispi_registers(void **state)
{
    struct rig *r = vga_rig();
    assert_int_equal(get_dispi(r, 0), 0xb0c5);
    put_dispi(r, 0, 0xb0c2);
    assert_int_equal(get_dispi(r, 0), 0xb0c2);
    put_dispi(r, 0, 0xb0c6);
    assert_int_equal(get_dispi(r, 0), 0xb0c2);
    assert_int_equal(get_dispi(r, 10), 256); /* 64 KiB each */
    put_dispi(r, 1, 1024);
    put_dispi(r, 2, 768);
    put_dispi(r, 3, 16);
    put_dispi(r, 4, 2);
    assert_int_equal(get_dispi(r, 1), 2560);
    assert_int_equal(get_dispi(r, 2), 1600);
    assert_int_equal(get_dispi(r, 3), 32);
    put_dispi(r, 4, 0x41);
    assert_int_equal(get_dispi(r, 1), 1024);
    assert_int_equal(get_dispi(r, 6), 1024);
    assert_int_equal(get_dispi(r, 7), 8192); /* 16 MiB of 2,048 bytes */
    put_dispi(r, 6, 2048);
    assert_int_equal(get_dispi(r, 6), 2048);
    put_dispi(r, 6, 100); /* not narrower than the screen */
    assert_int_equal(get_dispi(r, 6), 1024);
    put_dispi(r, 6, 0xffff); /* not wider than memory allows */
    assert_in_range(get_dispi(r, 6), 10900, 10922);
    put_dispi(r, 3, 13);
    assert_int_equal(get_dispi(r, 3), 16);
    put_dispi(r, 1, 4096);
    assert_int_equal(get_dispi(r, 1), 1024);
    bus_write(r->host.pio, 0x1ce, 2, 1);
    assert_int_equal(bus_read(r->host.pio, 0x1d0, 2), 1024); /* the even data port */
    bus_write(r->host.pio, 0x1d0, 2, 800);
    assert_int_equal(get_dispi(r, 1), 800);
    put_dispi(r, 77, 1);
    assert_int_equal(get_dispi(r, 77), 0);
    rig_free(r);
}

static void dispi_banks(void **state)
{
    struct rig *r = vga_rig();
    put_dispi(r, 1, 640);
    put_dispi(r, 2, 480);
    put_dispi(r, 3, 32);
    put_dispi(r, 4, 0x41);
    for (unsigned bank = 0; bank < 3; bank++) {
        put_dispi(r, 5, bank);
        store8(r, 0xa1234, 0x10 + bank);
        assert_true(is_plain(r, 0xa0000));
    }
    for (unsigned bank = 0; bank < 3; bank++) {
        put_dispi(r, 5, bank);
        assert_int_equal(load8(r, 0xa1234), 0x10 + bank);
    }
    put_dispi(r, 5, 0xffff);
    store8(r, 0xaffff, 1); /* the last byte of video memory */
    put_dispi(r, 4, 0);
    put_dispi(r, 4, 0xc1); /* keep what is there */
    assert_int_equal(load8(r, 0xa1234), 0x10);
    put_dispi(r, 4, 0);
    put_dispi(r, 4, 0x41);
    assert_int_equal(load8(r, 0xa1234), 0);
    rig_free(r);
}

/* ---- PCI ------------------------------------------------------------------------------------- */

static void pci_write(struct rig *r, unsigned at, unsigned size, uint32_t value)
{
    bus_write(r->host.pio, 0xcf8, 4, 0x80001000u | (at & 0xfc));
    bus_write(r->host.pio, 0xcfc + (at & 3), size, value);
}

static uint32_t pci_read(struct rig *r, unsigned at)
{
    bus_write(r->host.pio, 0xcf8, 4, 0x80001000u | (at & 0xfc));
    return (uint32_t)bus_read(r->host.pio, 0xcfc, 4);
}

static void pci_card(void **state)
{
    struct rig *r = rig_new();
    struct device *vga = vga_make(r);
    r->d = pci_host_new(&r->host, rig_line(r, 0), NULL);
    assert_int_equal(phys_map_ram(r->host.mem, 0, 0, MIB, NULL), 0);
    assert_int_equal(vga_on_pci(vga, pci_host_of(r->d), 2, NULL), 0);
    assert_int_equal(pci_read(r, 0), 0x11111234);
    assert_int_equal(pci_read(r, 8) >> 8, 0x030000);
    pci_write(r, 0x10, 4, 0xffffffff);
    assert_int_equal(pci_read(r, 0x10), 0xff000008);
    pci_write(r, 0x10, 4, 0xe0000000);
    pci_write(r, 0x18, 4, 0xe1000000);
    assert_false(is_plain(r, 0xe0000000));
    pci_write(r, 4, 2, 2);
    assert_true(is_plain(r, 0xe0000000) && is_plain(r, 0xe0fff000) && !is_plain(r, 0xe1000000));
    store8(r, 0xe0012345, 0x77);
    pci_write(r, 0x10, 4, 0xf0000000); /* moved while in use */
    assert_false(is_plain(r, 0xe0000000));
    assert_int_equal(load8(r, 0xf0012345), 0x77);
    pci_write(r, 0x10, 4, 0); /* over RAM: refused */
    assert_false(is_plain(r, 0xf0000000));
    assert_true(is_plain(r, 0) && is_plain(r, 0x3000));
    pci_write(r, 0x10, 4, 0xf0000000);

    bus_write(r->host.mmio, 0xe1000502, 2, 640); /* registers in memory */
    assert_int_equal(get_dispi(r, 1), 640);
    assert_int_equal(bus_read(r->host.mmio, 0xe1000500, 2), 0xb0c5);
    bus_write(r->host.mmio, 0xe1000402, 1, 0x67);
    assert_int_equal(in8(r, 0x3cc), 0x67);
    bus_write(r->host.mmio, 0xe1000408, 1, 3);
    assert_int_equal(bus_read(r->host.mmio, 0xe1000408, 1), 3);
    assert_int_equal(bus_read(r->host.mmio, 0xe1000000, 1), 0xff); /* no EDID */

    vga->ops->reset(vga);
    assert_false(is_plain(r, 0xf0000000));
    pci_write(r, 0x10, 4, 0xf0000000);
    pci_write(r, 4, 2, 2);
    assert_int_equal(load8(r, 0xf0012345), 0);
    vga->ops->free(vga);
    rig_free(r);
}

/* Snapshots: a second card with the same fields and memory behaves the same. */
static void window_survives_restoring(void **state)
{
    struct rig *a = vga_rig(), *b = vga_rig();
    vga_text_mode(a->d, NULL);
    store8(a, 0xb8000, 'Q');
    assert_true(is_plain(a, 0xb8000));
    rig_copy_state(b->d, a->d);
    assert_true(is_plain(b, 0xb8000));
    put_reg(a, 0x3ce, 3, 8);
    rig_copy_state(b->d, a->d);
    store8(b, 0xb8000, 'R');                /* hidden again: goes to the planes */
    assert_int_equal(load8(b, 0xb8000), 0); /* AND with the latch */
    rig_free(a);
    rig_free(b);
}

/* ---- anything -------------------------------------------------------------------------------- */

static uint64_t poke(struct rig *r, uint64_t random)
{
    gpa_t at = 0xa0000 + (random >> 8) % 0x20000;
    if (random & 1)
        load8(r, at);
    else
        store8(r, at, (uint8_t)(random >> 40));
    if (random % 16 == 0) {
        struct display_mode m;
        vga_display_ops.mode(r->d, &m);
        assert_in_range(m.width, 1, DISPLAY_MAX_WIDTH);
        assert_in_range(m.height, 1, DISPLAY_MAX_HEIGHT);
        return m.width << 16 | m.height;
    }
    return 0;
}

static void survives_anything(void **state)
{
    static const uint16_t ports[] = {0x3b4, 0x3b5, 0x3ba, 0x3c0, 0x3c0, 0x3c1, 0x3c2, 0x3c3, 0x3c4,
                                     0x3c5, 0x3c5, 0x3c6, 0x3c7, 0x3c8, 0x3c9, 0x3ca, 0x3cc, 0x3ce,
                                     0x3cf, 0x3cf, 0x3d4, 0x3d5, 0x3da, 0x1ce, 0x1cf, 0x1d0, 0x1d1};
    rig_fuzz(&(struct rig_fuzz){vga_make, ports, ARRAY_LEN(ports), 1000000, poke});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attribute_flip_flop),
        cmocka_unit_test(mono_and_colour_ports),
        cmocka_unit_test(crtc_protection),
        cmocka_unit_test(dac_sequence),
        cmocka_unit_test(retrace_follows_the_clock),
        cmocka_unit_test(planes_as_documented),
        cmocka_unit_test(chain_4),
        cmocka_unit_test(odd_even),
        cmocka_unit_test(wide_accesses),
        cmocka_unit_test(dispi_registers),
        cmocka_unit_test(dispi_banks),
        cmocka_unit_test(pci_card),
        cmocka_unit_test(window_survives_restoring),
        cmocka_unit_test(survives_anything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
