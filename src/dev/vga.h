/* SPDX-License-Identifier: MIT */
/* Inside the VGA: registers and parts. Facts from the IBM VGA and XGA manuals, by way of FreeVGA.
 *
 * Video memory holds the four planes side by side: the byte of plane p at address a is
 * vram[4 * a + p]. In the modes in which a real card spreads processor addresses over the planes
 * (odd/even, chain 4) and the CRT controller multiplies its own by 2 or 4 to find them again, both
 * are left out, so that chained memory is linear memory. What the eye sees is the same, unless a
 * program changes one side only.
 *
 *   vga.c         life, PCI, state                 vga_mode.c   what the registers say is to be
 * seen vga_regs.c    ports 3b0-3df                    vga_draw.c   pixels and characters of it
 *   vga_dispi.c   linear modes, registers in BAR 2
 *   vga_window.c  a0000-bffff                                                                    */
#ifndef RING3_DEV_VGA_H
#define RING3_DEV_VGA_H

#include <pthread.h>

#include "ring3/devices/vga.h"

#define VGA_VRAM_BYTES  (16 * MIB)
#define VGA_VRAM_WORDS  (uint32_t)(VGA_VRAM_BYTES / 4) /* addresses of a plane, linear modes too */
#define VGA_TEXT_BYTES  (32 * KIB)
#define VGA_WINDOW      0xa0000u
#define VGA_WINDOW_SIZE 0x20000u

enum { MISC_COLOUR = 0x01, MISC_RAM = 0x02 };
enum { SEQ_CLOCKING = 1, SEQ_MAP_MASK = 2, SEQ_FONTS = 3, SEQ_MEMORY = 4 };
enum { CLOCKING_8DOTS = 0x01, CLOCKING_HALF = 0x08, CLOCKING_OFF = 0x20 };
enum { MEMORY_SEQUENTIAL = 0x04, MEMORY_CHAIN4 = 0x08 };
enum {
    GFX_SET = 0,
    GFX_SET_ENABLE = 1,
    GFX_COMPARE = 2,
    GFX_FUNCTION = 3,
    GFX_READ_MAP = 4,
    GFX_MODE = 5,
    GFX_MISC = 6,
    GFX_COMPARE_MASK = 7,
    GFX_BIT_MASK = 8
};
enum {
    MODE_READ_COMPARE = 0x08,
    MODE_ODD_EVEN = 0x10,
    MODE_SHIFT_CGA = 0x20,
    MODE_SHIFT_256 = 0x40
};
enum {
    CRTC_SHOWN_END = 0x01,
    CRTC_OVERFLOW = 0x07,
    CRTC_PRESET_ROW = 0x08,
    CRTC_ROW_SCANS = 0x09,
    CRTC_CURSOR_START = 0x0a,
    CRTC_CURSOR_END = 0x0b,
    CRTC_START_HIGH = 0x0c,
    CRTC_CURSOR_HIGH = 0x0e,
    CRTC_RETRACE_END = 0x11,
    CRTC_LINES_END = 0x12,
    CRTC_OFFSET = 0x13,
    CRTC_UNDERLINE = 0x14,
    CRTC_MODE = 0x17,
    CRTC_LINE_COMPARE = 0x18
};
enum {
    ATTR_MODE = 0x10,
    ATTR_PLANES = 0x12,
    ATTR_PAN = 0x13,
    ATTR_COLOUR_SELECT = 0x14,
    ATTR_SHOWN = 0x20 /* of the index: the palette is the screen's, not the processor's */
};
enum {
    ATTR_MONO = 0x02,
    ATTR_LINE_GRAPHICS = 0x04,
    ATTR_BLINK = 0x08,
    ATTR_PAN_TOP = 0x20,
    ATTR_SELECT_5_4 = 0x80
};
enum {
    DISPI_ID,
    DISPI_XRES,
    DISPI_YRES,
    DISPI_BPP,
    DISPI_ENABLE,
    DISPI_BANK,
    DISPI_VIRT_WIDTH,
    DISPI_VIRT_HEIGHT,
    DISPI_X,
    DISPI_Y,
    DISPI_MEMORY,
    DISPI_REGS
};
enum { DISPI_ENABLED = 0x01, DISPI_GETCAPS = 0x02, DISPI_8BIT_DAC = 0x20, DISPI_NOCLEAR = 0x80 };

/* All that a guest can program. */
struct vga_regs {
    uint8_t misc, feature, subsystem;
    uint8_t seq_index, seq[8];
    uint8_t gfx_index, gfx[16];
    uint8_t crtc_index, crtc[32];
    uint8_t attr_index, attr_data_next, attr[32]; /* data_next: the flip-flop of port 3c0 */
    uint8_t dac_mask, dac_read_index, dac_write_index, dac_reading, dac_cycle;
    uint8_t dac_latch[3], dac[768];
    uint16_t dispi_index, dispi[DISPI_REGS];
    uint8_t dispi_low; /* first half of data that comes in bytes */
    uint32_t latch;    /* of the graphics controller, a byte a plane */
};

/* What the window shows as plain memory, without exits. */
enum vga_shown { VGA_SHOWS_NOTHING, VGA_SHOWS_TEXT, VGA_SHOWS_LINEAR };

struct vga {
    struct device dev; /* first */
    struct dev_host h;
    struct pci_func pci;
    uint64_t vram_offset, text_offset; /* as phys_remap() takes them */
    uint8_t *vram, *text;              /* the same memory; `text` has planes 0 and 1 while shown */
    bool ports_mapped, dispi_mapped, window_mapped;
    pthread_mutex_t lock; /* guards what follows */
    struct vga_regs r;
    uint8_t shown;     /* enum vga_shown */
    uint32_t shown_at; /* text: guest address; linear: offset in video memory */
};

static inline struct vga *vga_of(struct device *d)
{
    return container_of(d, struct vga, dev);
}

/* A linear mode with pixels of a byte or more; of four bits they are planes as in VGA modes. */
static inline bool vga_dispi_on(const struct vga_regs *r)
{
    return r->dispi[DISPI_ENABLE] & DISPI_ENABLED;
}
static inline bool vga_is_linear(const struct vga_regs *r)
{
    return vga_dispi_on(r) && r->dispi[DISPI_BPP] >= 8;
}

/* Registers. The lock is held. */
extern const struct io_ops vga_port_ops_3b0, vga_port_ops_3c0, vga_dispi_ops, vga_bar2_ops;
uint8_t vga_port_read(struct vga *v, unsigned port);
void vga_port_write(struct vga *v, unsigned port, uint8_t value);
void vga_dispi_reset(struct vga_regs *r);

/* The window. The lock is held; vCPU thread, or while that does not run. */
extern const struct io_ops vga_window_ops;
void vga_window_changed(struct vga *v);  /* registers changed: is what is shown still right? */
void vga_window_hide(struct vga *v);     /* back to exits; planes 0 and 1 are up to date */
void vga_window_restored(struct vga *v); /* show what the fields say */
void vga_text_to_planes(struct vga *v);  /* bring planes 0 and 1 up to date. Any thread */

/* What is to be seen. */
enum vga_kind { VGA_BLANK, VGA_TEXT, VGA_PLANAR, VGA_CGA4, VGA_256, VGA_LINEAR };
struct vga_view {
    enum vga_kind kind;
    unsigned width, height;          /* dots, scan lines */
    unsigned columns;                /* character clocks in a line: 8 or 9 dots each */
    unsigned cell_width;             /* 8 or 9 */
    unsigned double_dots;            /* 1: each dot is two wide */
    unsigned double_scan;            /* 1: each scan line is repeated */
    unsigned row_scans;              /* scan lines of a row of characters, or of one address */
    unsigned rows;                   /* text */
    uint32_t start, pitch;           /* addresses (linear: bytes) */
    uint32_t mask;                   /* of addresses */
    unsigned line_compare;           /* from the line behind it on, address 0 */
    unsigned preset_scan, pan;       /* smooth scrolling */
    unsigned bytes_per_pixel, depth; /* linear */
};
void vga_view_of(const struct vga_regs *r, struct vga_view *w);
/* Colours 0 to 15 of the attribute controller, or all 256 of the DAC, as 0x00RRGGBB. */
void vga_colours(const struct vga_regs *r, enum vga_kind kind, uint32_t colour[256]);

#endif
