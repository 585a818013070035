/* SPDX-License-Identifier: MIT */
/* A virtio device as memory-mapped registers (virtio 1.2, 4.2). */
#ifndef RING3_DEVICES_VIRTIO_MMIO_H
#define RING3_DEVICES_VIRTIO_MMIO_H

#include "ring3/devices/virtio.h"

#define VIRTIO_MMIO_BYTES 0x200u

struct virtio_mmio_config {
    uint64_t base; /* VIRTIO_MMIO_BYTES from here on the MMIO bus */
    bool legacy;   /* version 1 of the registers, else 2 */
    struct irq_line irq;
};

/* The device stays the caller's, and is freed after this one. NULL on error. */
struct device *virtio_mmio_new(const struct dev_host *h, const struct virtio_mmio_config *config,
                               struct virtio *v, struct err *e);

#endif
