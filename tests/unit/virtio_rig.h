/* SPDX-License-Identifier: MIT */
/* A virtio device behind a PCI host, and its driver: finds the capabilities, or the legacy ports,
 * as drivers do. Line 0 is the function's interrupt. */
#ifndef RING3_TESTS_VIRTIO_RIG_H
#define RING3_TESTS_VIRTIO_RIG_H

#include "dev_rig.h"
#include "virtq_rig.h"

#include "ring3/devices/virtio_pci.h"

#define VR_SLOT   5
#define VR_PORTS  0xc000u
#define VR_MEMORY 0xf0000000u
#define VR_RINGS  0x20000u
#define VR_ALL    UINT64_MAX

struct vr {
    struct rig *r;
    struct device *pci, *transport;
    struct virtio *v;
    bool legacy;
    uint32_t common, isr, device, notify, stride; /* bus addresses */
    unsigned window;                              /* in configuration space */
    struct gq q[VIRTIO_QUEUES];
};

static inline uint32_t vr_cfg_read(struct vr *d, unsigned at, unsigned size)
{
    bus_write(d->r->host.pio, 0xcf8, 4, 0x80000000u | VR_SLOT << 11 | (at & 0xfc));
    return (uint32_t)bus_read(d->r->host.pio, 0xcfc + (at & 3), size);
}
static inline void vr_cfg_write(struct vr *d, unsigned at, unsigned size, uint32_t value)
{
    bus_write(d->r->host.pio, 0xcf8, 4, 0x80000000u | VR_SLOT << 11 | (at & 0xfc));
    bus_write(d->r->host.pio, 0xcfc + (at & 3), size, value);
}
static inline uint32_t mem_read(struct vr *d, uint32_t at, unsigned size)
{
    return (uint32_t)bus_read(d->r->host.mmio, at, size);
}
static inline void mem_write(struct vr *d, uint32_t at, unsigned size, uint32_t value)
{
    bus_write(d->r->host.mmio, at, size, value);
}
static inline uint32_t port_read(struct vr *d, unsigned at, unsigned size)
{
    return (uint32_t)bus_read(d->r->host.pio, VR_PORTS + at, size);
}
static inline void port_write(struct vr *d, unsigned at, unsigned size, uint32_t value)
{
    bus_write(d->r->host.pio, VR_PORTS + at, size, value);
}

/* Walk the capability list (4.1.4). */
static inline void vr_find_capabilities(struct vr *d)
{
    assert_true(vr_cfg_read(d, PCI_STATUS, 2) & PCI_STATUS_CAPABILITIES);
    unsigned at = vr_cfg_read(d, PCI_CAPABILITIES, 1);
    for (unsigned n = 0; at && n < 16; n++, at = vr_cfg_read(d, at + 1, 1)) {
        if (vr_cfg_read(d, at, 1) != 9)
            continue;
        uint32_t where = VR_MEMORY + vr_cfg_read(d, at + 8, 4);
        switch (vr_cfg_read(d, at + 3, 1)) {
        case 1:
            d->common = where;
            assert_true(vr_cfg_read(d, at + 12, 4) >= 56);
            break;
        case 2:
            d->notify = where;
            d->stride = vr_cfg_read(d, at + 16, 4);
            break;
        case 3:
            d->isr = where;
            break;
        case 4:
            d->device = where;
            break;
        case 5:
            d->window = at;
            break;
        }
    }
    assert_true(d->common && d->notify && d->isr && d->device && d->window);
}

/* Around a device that the test has made with r->host. */
static inline struct vr *vr_new(struct rig *r, struct device *pci, struct virtio *v, bool modern,
                                bool legacy)
{
    struct vr *d = calloc(1, sizeof *d);
    struct virtio_pci_config c = {VR_SLOT, modern, legacy, 0x010000};
    assert_non_null(v);
    *d = (struct vr){.r = r, .pci = pci, .v = v, .legacy = !modern};
    d->transport = virtio_pci_new(pci_host_of(pci), &c, v, NULL);
    assert_non_null(d->transport);
    vr_cfg_write(d, PCI_COMMAND, 2, 7);
    if (legacy)
        vr_cfg_write(d, PCI_BAR0, 4, VR_PORTS);
    if (modern) {
        vr_cfg_write(d, PCI_BAR0 + 4, 4, VR_MEMORY);
        vr_find_capabilities(d);
    }
    return d;
}

static inline struct rig *vr_rig(struct device **pci)
{
    struct rig *r = rig_new();
    r->host.mem = guest_memory();
    *pci = pci_host_new(&r->host, (struct irq_line){0}, NULL);
    assert_non_null(*pci);
    struct irq_line pirq[4];
    for (unsigned i = 0; i < 4; i++)
        pirq[i] = rig_line(r, 0);
    pci_set_pirq(pci_host_of(*pci), pirq);
    return r;
}

static inline void vr_free(struct vr *d)
{
    struct rig *r = d->r;
    struct phys *mem = r->host.mem;
    d->transport->ops->free(d->transport);
    d->v->dev.ops->free(&d->v->dev);
    d->pci->ops->free(d->pci);
    rig_free(r);
    phys_free(mem);
    free(d);
}

/* ---- the driver ------------------------------------------------------------------------------ */

static inline uint8_t vr_status(struct vr *d)
{
    return (uint8_t)(d->legacy ? port_read(d, 18, 1) : mem_read(d, d->common + 20, 1));
}
static inline void vr_set_status(struct vr *d, unsigned value)
{
    if (d->legacy)
        port_write(d, 18, 1, value);
    else
        mem_write(d, d->common + 20, 1, value);
}

static inline uint64_t vr_offered(struct vr *d)
{
    if (d->legacy)
        return port_read(d, 0, 4);
    mem_write(d, d->common, 4, 1);
    uint64_t high = mem_read(d, d->common + 4, 4);
    mem_write(d, d->common, 4, 0);
    return high << 32 | mem_read(d, d->common + 4, 4);
}

/* Accept those offered features that are in `wanted`; returns which. */
static inline uint64_t vr_negotiate(struct vr *d, uint64_t wanted)
{
    uint64_t f = vr_offered(d) & wanted;
    vr_set_status(d, 0);
    assert_int_equal(vr_status(d), 0);
    vr_set_status(d, 1);
    vr_set_status(d, 3);
    if (d->legacy) {
        port_write(d, 4, 4, (uint32_t)f);
        return f;
    }
    mem_write(d, d->common + 8, 4, 0);
    mem_write(d, d->common + 12, 4, (uint32_t)f);
    mem_write(d, d->common + 8, 4, 1);
    mem_write(d, d->common + 12, 4, (uint32_t)(f >> 32));
    vr_set_status(d, 11);
    assert_int_equal(vr_status(d), 11);
    return f;
}

static inline void vr_queue(struct vr *d, unsigned n)
{
    struct phys *mem = d->r->host.mem;
    gpa_t at = VR_RINGS + 0x4000 * n;
    if (d->legacy) {
        port_write(d, 14, 2, n);
        unsigned size = port_read(d, 12, 2);
        d->q[n] = gq_at(mem, at, size);
        d->q[n].avail = at + 16 * size;
        d->q[n].used = (d->q[n].avail + 4 + 2 * size + 2 + 4095) & ~UINT64_C(4095);
        port_write(d, 8, 4, (uint32_t)(at >> 12));
        return;
    }
    d->q[n] = gq_at(mem, at, 64);
    mem_write(d, d->common + 22, 2, n);
    assert_int_equal(mem_read(d, d->common + 24, 2), VIRTQ_MAX);
    mem_write(d, d->common + 24, 2, 64);
    bus_write(d->r->host.mmio, d->common + 32, 8, d->q[n].desc);
    bus_write(d->r->host.mmio, d->common + 40, 8, d->q[n].avail);
    bus_write(d->r->host.mmio, d->common + 48, 8, d->q[n].used);
    mem_write(d, d->common + 28, 2, 1);
}

static inline void vr_ok(struct vr *d)
{
    vr_set_status(d, vr_status(d) | 4);
}

/* All of it: features, `queues` queues, DRIVER_OK. */
static inline uint64_t vr_start(struct vr *d, uint64_t wanted, unsigned queues)
{
    uint64_t f = vr_negotiate(d, wanted);
    for (unsigned i = 0; i < queues; i++)
        vr_queue(d, i);
    vr_ok(d);
    return f;
}

static inline void vr_kick(struct vr *d, unsigned n)
{
    if (d->legacy)
        port_write(d, 16, 2, n);
    else
        mem_write(d, d->notify + d->stride * n, 2, n);
}

static inline unsigned vr_isr(struct vr *d)
{
    return d->legacy ? port_read(d, 19, 1) : mem_read(d, d->isr, 1);
}

static inline uint32_t vr_config(struct vr *d, unsigned at, unsigned size)
{
    return d->legacy ? port_read(d, 20 + at, size) : mem_read(d, d->device + at, size);
}
static inline void vr_set_config(struct vr *d, unsigned at, unsigned size, uint32_t value)
{
    if (d->legacy)
        port_write(d, 20 + at, size, value);
    else
        mem_write(d, d->device + at, size, value);
}

/* Offer one chain of up to 8 buffers, described by {address, len, writable}; head is 8 * slot. */
struct vr_buffer {
    gpa_t at;
    uint32_t len;
    bool write;
};
static inline void vr_offer(struct vr *d, unsigned n, unsigned slot, const struct vr_buffer *b,
                            unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        gq_desc(&d->q[n], 8 * slot + i, b[i].at, b[i].len,
                (b[i].write ? D_WRITE : 0u) | (i + 1 < count ? D_NEXT : 0u), 8 * slot + i + 1);
    gq_offer(&d->q[n], 8 * slot);
}

#endif
