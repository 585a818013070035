/* SPDX-License-Identifier: MIT */
/* virtio over memory-mapped registers (virtio 1.2, 4.2.2 and, for version 1, 4.2.4). Registers are
 * 32 bits wide; device configuration starts at 0x100. Left out: shared memory, queue reset. */
#include "ring3/devices/virtio_mmio.h"

#include <errno.h>
#include <stdlib.h>

#define MAGIC  0x74726976 /* "virt" */
#define VENDOR 0x334e5252 /* "RRN3" */
#define CONFIG 0x100

enum { AT_MAGIC = 0x00, AT_VERSION = 0x04, AT_DEVICE = 0x08, AT_VENDOR = 0x0c, AT_OFFER = 0x10 };
enum { V1 = 1, V2 = 2 }; /* versions that have a register */

struct virtio_mmio {
    struct device dev;
    struct virtio *v;
    struct bus *bus;
    struct virtio_mmio_config c;
};

static const struct row {
    uint8_t at, versions;
    uint8_t read, write; /* enum virtio_reg */
} rows[] = {
    {0x10, V1 | V2, VIRTIO_REG_OFFER, VIRTIO_REG_NONE},
    {0x14, V1 | V2, VIRTIO_REG_NONE, VIRTIO_REG_OFFER_SELECT},
    {0x20, V1 | V2, VIRTIO_REG_NONE, VIRTIO_REG_ACCEPT},
    {0x24, V1 | V2, VIRTIO_REG_NONE, VIRTIO_REG_ACCEPT_SELECT},
    {0x28, V1, VIRTIO_REG_NONE, VIRTIO_REG_LEGACY_PAGE_SIZE},
    {0x30, V1 | V2, VIRTIO_REG_NONE, VIRTIO_REG_QUEUE_SELECT},
    {0x34, V1 | V2, VIRTIO_REG_QUEUE_MAX, VIRTIO_REG_NONE},
    {0x38, V1 | V2, VIRTIO_REG_NONE, VIRTIO_REG_QUEUE_SIZE},
    {0x3c, V1, VIRTIO_REG_NONE, VIRTIO_REG_LEGACY_ALIGN},
    {0x40, V1, VIRTIO_REG_LEGACY_PFN, VIRTIO_REG_LEGACY_PFN},
    {0x44, V2, VIRTIO_REG_QUEUE_READY, VIRTIO_REG_QUEUE_READY},
    {0x50, V1 | V2, VIRTIO_REG_NONE, VIRTIO_REG_NOTIFY},
    {0x60, V1 | V2, VIRTIO_REG_ISR, VIRTIO_REG_NONE},
    {0x64, V1 | V2, VIRTIO_REG_NONE, VIRTIO_REG_ISR_ACK},
    {0x70, V1 | V2, VIRTIO_REG_STATUS, VIRTIO_REG_STATUS},
    {0x80, V2, VIRTIO_REG_NONE, VIRTIO_REG_QUEUE_DESC_LOW},
    {0x84, V2, VIRTIO_REG_NONE, VIRTIO_REG_QUEUE_DESC_HIGH},
    {0x90, V2, VIRTIO_REG_NONE, VIRTIO_REG_QUEUE_AVAIL_LOW},
    {0x94, V2, VIRTIO_REG_NONE, VIRTIO_REG_QUEUE_AVAIL_HIGH},
    {0xa0, V2, VIRTIO_REG_NONE, VIRTIO_REG_QUEUE_USED_LOW},
    {0xa4, V2, VIRTIO_REG_NONE, VIRTIO_REG_QUEUE_USED_HIGH},
    {0xfc, V2, VIRTIO_REG_GENERATION, VIRTIO_REG_NONE},
};

static const struct row *find_row(const struct virtio_mmio *m, uint64_t at, unsigned size)
{
    uint8_t version = m->c.legacy ? V1 : V2;

    for (size_t i = 0; size == 4 && i < ARRAY_LEN(rows); i++)
        if (rows[i].at == at && (rows[i].versions & version))
            return &rows[i];
    return NULL;
}

/* Legacy drivers are not shown that there is more. */
static uint32_t legacy_offer(struct virtio *v)
{
    return virtio_reg_read(v, VIRTIO_REG_OFFER_SELECT)
               ? 0
               : virtio_reg_read(v, VIRTIO_REG_LEGACY_OFFER);
}

static uint64_t mmio_read(void *opaque, uint64_t at, unsigned size)
{
    struct virtio_mmio *m = opaque;

    if (at >= CONFIG)
        return virtio_config_read(m->v, at - CONFIG, size);
    switch (at) {
    case AT_MAGIC:
        return MAGIC;
    case AT_VERSION:
        return m->c.legacy ? 1 : 2;
    case AT_DEVICE:
        return m->v->ops->id;
    case AT_VENDOR:
        return VENDOR;
    case AT_OFFER:
        if (m->c.legacy)
            return legacy_offer(m->v);
        break;
    }
    const struct row *row = find_row(m, at, size);
    return row ? virtio_reg_read(m->v, row->read) : 0;
}

static void mmio_write(void *opaque, uint64_t at, unsigned size, uint64_t value)
{
    struct virtio_mmio *m = opaque;

    if (at >= CONFIG) {
        virtio_config_write(m->v, at - CONFIG, size, (uint32_t)value);
        return;
    }
    const struct row *row = find_row(m, at, size);
    if (row)
        virtio_reg_write(m->v, row->write, (uint32_t)value);
}

static const struct io_ops io = {mmio_read, mmio_write, 1, 4};

static void release(struct device *d)
{
    struct virtio_mmio *m = container_of(d, struct virtio_mmio, dev);

    bus_unmap(m->bus, m->c.base);
    m->v->line = (struct irq_line){0};
    free(m);
}

/* All registers are the device's. */
static void reset(struct device *d) {}

static const struct device_ops ops = {.name = "virtio-mmio", .reset = reset, .free = release};

struct device *virtio_mmio_new(const struct dev_host *h, const struct virtio_mmio_config *config,
                               struct virtio *v, struct err *e)
{
    struct virtio_mmio *m = calloc(1, sizeof *m);

    if (!m) {
        err_set(e, ENOMEM, "no-memory", "no memory for %s", v->dev.instance);
        return NULL;
    }
    m->dev = (struct device){.ops = &ops, .instance = v->dev.instance};
    m->v = v;
    m->bus = h->mmio;
    m->c = *config;
    if (bus_map(h->mmio, config->base, VIRTIO_MMIO_BYTES, &io, m, v->dev.instance, e) < 0) {
        free(m);
        return NULL;
    }
    v->line = config->irq;
    return &m->dev;
}
