/* SPDX-License-Identifier: MIT */
/* Intel 82441FX host bridge (datasheet 290549, chapter 3): identity, shadow RAM, and further
 * registers that firmware programs, which are stored.
 *
 * Shadow RAM: the attribute registers PAM0 to PAM6 (0x59 to 0x5f, section 3.2.13) have two bits for
 * each piece of 0xc0000 to 0xfffff: 1 WE, writes go to RAM; 0 RE, reads come from RAM, else from
 * what is behind.
 *
 *   0x59  7..4  0xf0000 to 0xfffff            0x5a  3..0  0xc0000, 16 KiB    7..4  0xc4000
 *         3..0  reserved                      ...   0x5f  3..0  0xe8000      7..4  0xec000
 *
 * The subsystem's identity is the one by which SeaBIOS knows a virtual machine and looks for the
 * firmware configuration device.
 *
 * Left out: write-only shadow RAM (WE without RE), which shows what is behind and drops writes;
 * SMRAM and the memory hole, as the processor has no system management mode. */
#include "ring3/devices/i440fx.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PAM_FIRST 0x59
#define PAM_LAST  0x5f
#define PAM_RE    1u
#define PAM_WE    2u
#define PAM_MASK  (PAM_RE | PAM_WE)
#define DRB_FIRST 0x60 /* DRAM row boundaries */
#define DRB_LAST  0x67
#define SMRAM     0x72

#define SUBSYSTEM_VENDOR 0x1af4
#define SUBSYSTEM        0x1100

/* Pieces of the last 64 KiB, which share a field. */
#define BIOS_PIECE 12

struct i440fx {
    struct device dev;
    struct pci_func func;
    struct i440fx_config c;
    uint8_t shown[I440FX_PIECES]; /* attributes as the memory map has them; not state */
};

static uint8_t attributes(const struct i440fx *s, unsigned piece)
{
    if (piece >= BIOS_PIECE)
        return s->func.config[PAM_FIRST] >> 4 & PAM_MASK;
    return s->func.config[PAM_FIRST + 1 + piece / 2] >> 4 * (piece % 2) & PAM_MASK;
}

static void show(struct i440fx *s, unsigned piece)
{
    const struct i440fx_behind *b = &s->c.behind[piece];
    gpa_t gpa = I440FX_SHADOW_GPA + piece * I440FX_PIECE_BYTES;
    uint8_t a = attributes(s, piece);

    s->shown[piece] = a;
    if (a & PAM_RE)
        phys_remap(s->c.mem, gpa, a & PAM_WE ? PHYS_RAM : PHYS_ROM, gpa, I440FX_PIECE_BYTES);
    else
        phys_remap(s->c.mem, gpa, b->kind, b->ram_offset, I440FX_PIECE_BYTES);
}

static void show_all(struct i440fx *s)
{
    for (unsigned i = 0; i < I440FX_PIECES; i++)
        show(s, i);
}

static void written(struct pci_func *f, unsigned offset, unsigned size)
{
    struct i440fx *s = container_of(f, struct i440fx, func);

    if (offset > PAM_LAST || offset + size <= PAM_FIRST)
        return;
    for (unsigned i = 0; i < I440FX_PIECES; i++)
        if (attributes(s, i) != s->shown[i])
            show(s, i);
}

static void reset(struct device *d)
{
    struct i440fx *s = container_of(d, struct i440fx, dev);

    pci_func_reset(&s->func);
    show_all(s);
}

static void release(struct device *d)
{
    struct i440fx *s = container_of(d, struct i440fx, dev);

    pci_remove(&s->func);
    free(s);
}

static void restored(struct device *d)
{
    struct i440fx *s = container_of(d, struct i440fx, dev);

    pci_func_restored(&s->func);
    show_all(s);
}

static const struct state_field state[] = {
    STATE_ARRAY(struct i440fx, func.config),
};
static const struct device_ops ops = {
    .name = "i440fx",
    .reset = reset,
    .free = release,
    .restored = restored,
    .state = state,
    .state_count = ARRAY_LEN(state),
};

static void put16(uint8_t *p, unsigned v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

struct device *i440fx_new(struct pci_host *pci, const struct i440fx_config *c, struct err *e)
{
    struct i440fx *s = calloc(1, sizeof *s);

    if (!s) {
        err_set(e, ENOMEM, "no-memory", "no memory for the host bridge");
        return NULL;
    }
    s->dev = (struct device){.ops = &ops, .instance = "i440fx"};
    s->c = *c;
    pci_func_init(&s->func, "i440fx", 0x8086, 0x1237, 0x060000, 2);
    put16(s->func.config + PCI_SUBSYSTEM_VENDOR, SUBSYSTEM_VENDOR);
    put16(s->func.config + PCI_SUBSYSTEM, SUBSYSTEM);
    s->func.writable[PAM_FIRST] = PAM_MASK << 4;
    memset(s->func.writable + PAM_FIRST + 1, PAM_MASK << 4 | PAM_MASK, PAM_LAST - PAM_FIRST);
    memset(s->func.writable + DRB_FIRST, 0xff, DRB_LAST - DRB_FIRST + 1);
    s->func.writable[SMRAM] = 0x78;
    s->func.config[SMRAM] = 0x02;
    s->func.config_written = written;
    if (pci_add(pci, &s->func, 0, 0, e) < 0) {
        free(s);
        return NULL;
    }
    show_all(s);
    return &s->dev;
}
