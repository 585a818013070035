/* SPDX-License-Identifier: MIT */
/* VGA: the ports 3b0 to 3df (FreeVGA, "Accessing the VGA Registers" and the pages of each group).
 *
 *   3c0/3c1  attribute controller: index and data take turns at 3c0; reading status 1 resets that
 *   3c4/3c5  sequencer            3c6-3c9  DAC        3c2/3cc  miscellaneous output
 *   3ce/3cf  graphics controller  3d4/3d5  CRTC       3da      input status 1, feature control
 *
 * Of 3b4/3b5/3ba and 3d4/3d5/3da only those answer that bit 0 of miscellaneous output selects.
 *
 * Retrace is a matter of the clock: 70 frames a second of 449 lines, of which the last twentieth
 * is vertical retrace; longer than a real one, so that slow polling sees it. Left out: vertical
 * interrupt, light pen, video feedback bits. */
#include "dev/vga.h"

#define LINE_NS        31778u
#define LINE_SHOWN_NS  25422u
#define FRAME_NS       (449u * LINE_NS)
#define FRAME_SHOWN_NS (FRAME_NS / 20 * 19)

enum { STATUS_NOT_SHOWN = 0x01, STATUS_RETRACE = 0x08, STATUS0_SENSE = 0x10 };
enum { CRTC_PROTECT = 0x80, OVERFLOW_COMPARE = 0x10 };

/* Bits that exist. Registers without an entry have none. */
static const uint8_t seq_bits[8] = {0x03, 0x3d, 0x0f, 0x3f, 0x0e};
static const uint8_t gfx_bits[16] = {0x0f, 0x0f, 0x0f, 0x1f, 0x03, 0x7b, 0x0f, 0x0f, 0xff};
static const uint8_t attr_bits[32] = {
    0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f,
    0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0xef, 0xff, 0x3f, 0x0f, 0x0f,
};
static const uint8_t crtc_bits[32] = {
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 0xff, 0x3f, 0x7f, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xef, 0xff,
};

static void crtc_write(struct vga_regs *r, uint8_t value)
{
    unsigned i = r->crtc_index & 31;

    if (i <= CRTC_OVERFLOW && (r->crtc[CRTC_RETRACE_END] & CRTC_PROTECT)) {
        if (i == CRTC_OVERFLOW)
            r->crtc[i] = (uint8_t)((r->crtc[i] & ~OVERFLOW_COMPARE) | (value & OVERFLOW_COMPARE));
        return;
    }
    r->crtc[i] = value & crtc_bits[i];
}

static void attr_write(struct vga_regs *r, uint8_t value)
{
    if (r->attr_data_next)
        r->attr[r->attr_index & 31] = value & attr_bits[r->attr_index & 31];
    else
        r->attr_index = value & 0x3f;
    r->attr_data_next ^= 1;
}

static void dac_data_write(struct vga_regs *r, uint8_t value)
{
    if (!(r->dispi[DISPI_ENABLE] & DISPI_8BIT_DAC))
        value &= 0x3f;
    r->dac_latch[r->dac_cycle % 3] = value;
    r->dac_cycle = (uint8_t)((r->dac_cycle + 1) % 3);
    if (r->dac_cycle)
        return;
    for (unsigned i = 0; i < 3; i++)
        r->dac[3 * r->dac_write_index + i] = r->dac_latch[i];
    r->dac_write_index++;
}

static uint8_t dac_data_read(struct vga_regs *r)
{
    uint8_t value = r->dac[3 * r->dac_read_index + r->dac_cycle % 3];

    r->dac_cycle = (uint8_t)((r->dac_cycle + 1) % 3);
    if (!r->dac_cycle)
        r->dac_read_index++;
    return value;
}

static uint8_t status1_read(struct vga *v)
{
    uint64_t now = clock_now_ns(v->h.clock);
    bool retrace = now % FRAME_NS >= FRAME_SHOWN_NS;

    v->r.attr_data_next = 0;
    return (uint8_t)((retrace ? STATUS_RETRACE : 0) |
                     (retrace || now % LINE_NS >= LINE_SHOWN_NS ? STATUS_NOT_SHOWN : 0));
}

/* Does the card answer at this port? The monochrome and the colour set exclude each other. */
static bool decodes(const struct vga_regs *r, unsigned port)
{
    if (port >= 0x3c0 && port < 0x3d0)
        return true;
    return (port >= 0x3d0) == (r->misc & MISC_COLOUR);
}

uint8_t vga_port_read(struct vga *v, unsigned port)
{
    struct vga_regs *r = &v->r;

    if (!decodes(r, port))
        return 0xff;
    switch (port < 0x3c0 ? port + 0x20 : port) {
    case 0x3c0:
        return r->attr_index;
    case 0x3c1:
        return r->attr[r->attr_index & 31];
    case 0x3c2:
        return STATUS0_SENSE;
    case 0x3c3:
        return r->subsystem;
    case 0x3c4:
        return r->seq_index;
    case 0x3c5:
        return r->seq[r->seq_index & 7];
    case 0x3c6:
        return r->dac_mask;
    case 0x3c7:
        return r->dac_reading ? 3 : 0;
    case 0x3c8:
        return r->dac_write_index;
    case 0x3c9:
        return dac_data_read(r);
    case 0x3ca:
        return r->feature;
    case 0x3cc:
        return r->misc;
    case 0x3ce:
        return r->gfx_index;
    case 0x3cf:
        return r->gfx[r->gfx_index & 15];
    case 0x3d4:
        return r->crtc_index;
    case 0x3d5:
        return r->crtc[r->crtc_index & 31];
    case 0x3da:
        return status1_read(v);
    default:
        return 0xff;
    }
}

void vga_port_write(struct vga *v, unsigned port, uint8_t value)
{
    struct vga_regs *r = &v->r;

    if (!decodes(r, port))
        return;
    switch (port < 0x3c0 ? port + 0x20 : port) {
    case 0x3c0:
        attr_write(r, value);
        break;
    case 0x3c2:
        r->misc = value;
        break;
    case 0x3c3:
        r->subsystem = value & 1;
        break;
    case 0x3c4:
        r->seq_index = value & 7;
        break;
    case 0x3c5:
        r->seq[r->seq_index & 7] = value & seq_bits[r->seq_index & 7];
        break;
    case 0x3c6:
        r->dac_mask = value;
        break;
    case 0x3c7:
        r->dac_read_index = value;
        r->dac_reading = 1;
        r->dac_cycle = 0;
        break;
    case 0x3c8:
        r->dac_write_index = value;
        r->dac_reading = r->dac_cycle = 0;
        break;
    case 0x3c9:
        dac_data_write(r, value);
        break;
    case 0x3ce:
        r->gfx_index = value & 15;
        break;
    case 0x3cf:
        r->gfx[r->gfx_index & 15] = value & gfx_bits[r->gfx_index & 15];
        break;
    case 0x3d4:
        r->crtc_index = value & 31;
        break;
    case 0x3d5:
        crtc_write(r, value);
        break;
    case 0x3da:
        r->feature = value & 3;
        break;
    default:
        break;
    }
    vga_window_changed(v);
}

/* ---- the buses' side ------------------------------------------------------------------------- */

static uint64_t read_at(struct vga *v, unsigned port)
{
    pthread_mutex_lock(&v->lock);
    uint8_t value = vga_port_read(v, port);
    pthread_mutex_unlock(&v->lock);
    return value;
}

static void write_at(struct vga *v, unsigned port, uint64_t value)
{
    pthread_mutex_lock(&v->lock);
    vga_port_write(v, port, (uint8_t)value);
    pthread_mutex_unlock(&v->lock);
}

static uint64_t read_3b0(void *opaque, uint64_t offset, unsigned size)
{
    return read_at(opaque, 0x3b0 + (unsigned)offset);
}

static void write_3b0(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    write_at(opaque, 0x3b0 + (unsigned)offset, value);
}

static uint64_t read_3c0(void *opaque, uint64_t offset, unsigned size)
{
    return read_at(opaque, 0x3c0 + (unsigned)offset);
}

static void write_3c0(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    write_at(opaque, 0x3c0 + (unsigned)offset, value);
}

const struct io_ops vga_port_ops_3b0 = {read_3b0, write_3b0, 1, 1};
const struct io_ops vga_port_ops_3c0 = {read_3c0, write_3c0, 1, 1};
