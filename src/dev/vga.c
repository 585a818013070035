/* SPDX-License-Identifier: MIT */
/* VGA with the Bochs extensions: life of the card, PCI, state, and the mode that a BIOS leaves.
 * See dev/vga.h for its parts and what is left out.
 *
 * As PCI function 1234:1111 it is what the vgabios-stdvga of SeaBIOS and Linux's bochs-drm expect:
 * BAR 0 is video memory, BAR 2 has registers. Its ROM comes from the board. The legacy ports and
 * the window answer whether or not the PCI command register enables them. */
#include "dev/vga.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PCI_ID_VENDOR 0x1234u
#define PCI_ID_DEVICE 0x1111u
#define PCI_CLASS_VGA 0x030000u
#define BAR2_BYTES    4096u
#define DISPI_PORT    0x1ceu

static void reset_regs(struct vga *v)
{
    memset(&v->r, 0, sizeof v->r);
    v->r.misc = MISC_COLOUR;
    v->r.dac_mask = 0xff;
    vga_dispi_reset(&v->r);
}

static void vga_reset(struct device *d)
{
    struct vga *v = vga_of(d);

    if (v->pci.host)
        pci_func_reset(&v->pci);
    pthread_mutex_lock(&v->lock);
    vga_window_hide(v);
    reset_regs(v);
    phys_extra_zero(v->h.mem, v->vram_offset, VGA_VRAM_BYTES);
    phys_extra_zero(v->h.mem, v->text_offset, VGA_TEXT_BYTES);
    pthread_mutex_unlock(&v->lock);
}

static void vga_restored(struct device *d)
{
    struct vga *v = vga_of(d);

    if (v->pci.host)
        pci_func_restored(&v->pci);
    pthread_mutex_lock(&v->lock);
    if (v->r.dispi[DISPI_BPP] > 32)
        v->r.dispi[DISPI_BPP] = 8;
    vga_window_restored(v);
    pthread_mutex_unlock(&v->lock);
}

static void vga_free(struct device *d)
{
    struct vga *v = vga_of(d);

    pci_remove(&v->pci);
    if (v->ports_mapped) {
        bus_unmap(v->h.pio, 0x3b0);
        bus_unmap(v->h.pio, 0x3c0);
    }
    if (v->dispi_mapped)
        bus_unmap(v->h.pio, DISPI_PORT);
    if (v->window_mapped)
        bus_unmap(v->h.mmio, VGA_WINDOW);
    pthread_mutex_destroy(&v->lock);
    free(v);
}

/* clang-format off */
#define F(field) STATE(struct vga, field)
#define A(field) STATE_ARRAY(struct vga, field)
static const struct state_field state[] = {
    F(r.misc), F(r.feature), F(r.subsystem), F(r.seq_index), A(r.seq), F(r.gfx_index), A(r.gfx),
    F(r.crtc_index), A(r.crtc), F(r.attr_index), F(r.attr_data_next), A(r.attr),
    F(r.dac_mask), F(r.dac_read_index), F(r.dac_write_index), F(r.dac_reading), F(r.dac_cycle),
    A(r.dac_latch), A(r.dac), F(r.dispi_index), A(r.dispi), F(r.dispi_low), F(r.latch),
    F(shown), F(shown_at), A(pci.config),
};
#undef F
#undef A
/* clang-format on */

static const struct device_ops ops = {
    .name = "vga",
    .reset = vga_reset,
    .free = vga_free,
    .restored = vga_restored,
    .state = state,
    .state_count = ARRAY_LEN(state),
};

static int get_memory(struct vga *v, struct err *e)
{
    int r = phys_extra(v->h.mem, VGA_VRAM_BYTES, &v->vram_offset, e);
    if (r == 0)
        r = phys_extra(v->h.mem, VGA_TEXT_BYTES, &v->text_offset, e);
    if (r < 0)
        return r;
    v->vram = phys_extra_host(v->h.mem, v->vram_offset);
    v->text = phys_extra_host(v->h.mem, v->text_offset);
    return 0;
}

static int map_legacy(struct vga *v, struct err *e)
{
    int r = bus_map(v->h.pio, 0x3b0, 12, &vga_port_ops_3b0, v, "vga", e); /* 3bc: a printer port */
    if (r < 0)
        return r;
    r = bus_map(v->h.pio, 0x3c0, 32, &vga_port_ops_3c0, v, "vga", e);
    if (r < 0) {
        bus_unmap(v->h.pio, 0x3b0);
        return r;
    }
    v->ports_mapped = true;
    r = bus_map(v->h.pio, DISPI_PORT, 4, &vga_dispi_ops, v, "vga-dispi", e);
    if (r < 0)
        return r;
    v->dispi_mapped = true;
    r = bus_map(v->h.mmio, VGA_WINDOW, VGA_WINDOW_SIZE, &vga_window_ops, v, "vga-window", e);
    v->window_mapped = r == 0;
    return r;
}

struct device *vga_new(const struct dev_host *h, struct err *e)
{
    struct vga *v = calloc(1, sizeof *v);

    if (!v) {
        err_set(e, ENOMEM, "no-memory", "no memory for the VGA");
        return NULL;
    }
    v->dev = (struct device){.ops = &ops, .instance = "vga"};
    v->h = *h;
    pthread_mutex_init(&v->lock, NULL);
    reset_regs(v);
    if (get_memory(v, e) < 0 || map_legacy(v, e) < 0) {
        vga_free(&v->dev);
        return NULL;
    }
    return &v->dev;
}

int vga_on_pci(struct device *vga, struct pci_host *host, unsigned slot, struct err *e)
{
    struct vga *v = vga_of(vga);

    pci_func_init(&v->pci, "vga", PCI_ID_VENDOR, PCI_ID_DEVICE, PCI_CLASS_VGA, 2);
    pci_func_bar_ram(&v->pci, 0, VGA_VRAM_BYTES, v->vram_offset);
    pci_func_bar(&v->pci, 2, false, BAR2_BYTES, &vga_bar2_ops, v);
    return pci_add(host, &v->pci, slot, 0, e);
}

/* ---- the mode that a BIOS leaves ------------------------------------------------------------- */

/* Mode 3 with 400 lines (FreeVGA; the BIOS parameter table of the VGA). */
static const uint8_t mode3_seq[] = {0x03, 0x00, 0x03, 0x00, 0x02};
static const uint8_t mode3_crtc[] = {0x5f, 0x4f, 0x50, 0x82, 0x55, 0x81, 0xbf, 0x1f, 0x00,
                                     0x4f, 0x0d, 0x0e, 0x00, 0x00, 0x00, 0x00, 0x9c, 0x8e,
                                     0x8f, 0x28, 0x1f, 0x96, 0xb9, 0xa3, 0xff};
static const uint8_t mode3_gfx[] = {0x00, 0x00, 0x00, 0x00, 0x00, 0x10, 0x0e, 0x00, 0xff};
static const uint8_t mode3_attr[] = {0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x14,
                                     0x07, 0x38, 0x39, 0x3a, 0x3b, 0x3c, 0x3d,
                                     0x3e, 0x3f, 0x0c, 0x00, 0x0f, 0x08, 0x00};
#define MODE3_MISC 0x67

/* 64 colours of two bits a gun, as on an EGA: rgbRGB, the capital ones worth twice the others. */
static void set_palette(struct vga_regs *r)
{
    for (unsigned i = 0; i < 64; i++)
        for (unsigned gun = 0; gun < 3; gun++)
            r->dac[3 * i + gun] = (uint8_t)((i >> (2 - gun) & 1) * 42 + (i >> (5 - gun) & 1) * 21);
}

void vga_text_mode(struct device *vga, const uint8_t *font)
{
    struct vga *v = vga_of(vga);
    struct vga_regs *r = &v->r;

    pthread_mutex_lock(&v->lock);
    vga_window_hide(v);
    r->misc = MODE3_MISC;
    memcpy(r->seq, mode3_seq, sizeof mode3_seq);
    memcpy(r->crtc, mode3_crtc, sizeof mode3_crtc);
    memcpy(r->gfx, mode3_gfx, sizeof mode3_gfx);
    memcpy(r->attr, mode3_attr, sizeof mode3_attr);
    r->attr_index = ATTR_SHOWN;
    set_palette(r);
    for (unsigned i = 0; i < VGA_TEXT_BYTES / 2; i++) {
        v->vram[4 * i] = ' ';
        v->vram[4 * i + 1] = 0x07;
    }
    for (unsigned i = 0; font && i < 256 * 16; i++)
        v->vram[4 * (i / 16 * 32 + i % 16) + 2] = font[i];
    pthread_mutex_unlock(&v->lock);
}

/* Characters DB to DF are blocks, which look the same in every such font: full, lower half, left,
 * right, upper half. Before them lie those from 0 on, of which 0, 20h and FFh are empty. */
const uint8_t *vga_find_font(const uint8_t *image, size_t bytes)
{
    static const uint8_t rows[5][2] = {
        {0xff, 0xff}, {0, 0xff}, {0xf0, 0xf0}, {0x0f, 0x0f}, {0xff, 0}};
    enum { CELL = 16, FONT = 256 * CELL, BLOCKS = 0xdb * CELL };

    for (size_t at = 0; at + FONT <= bytes; at++) {
        const uint8_t *b = image + at + BLOCKS;
        bool found = true;
        for (unsigned i = 0; i < 5 * CELL && found; i++)
            /* where a half ends is a matter of taste */
            found = (i % CELL >= 6 && i % CELL < 10) || b[i] == rows[i / CELL][i % CELL >= 8];
        for (unsigned i = 0; i < CELL && found; i++)
            found = !image[at + i] && !image[at + 0x20 * CELL + i];
        if (found)
            return image + at;
    }
    return NULL;
}
