/* SPDX-License-Identifier: MIT */
/* A virtio device as a PCI function (virtio 1.2, 4.1). */
#ifndef RING3_DEVICES_VIRTIO_PCI_H
#define RING3_DEVICES_VIRTIO_PCI_H

#include "ring3/devices/pci.h"
#include "ring3/devices/virtio.h"

struct virtio_pci_config {
    unsigned slot;       /* device number on bus 0 */
    bool modern, legacy; /* which drivers are served; both: a transitional device */
    uint32_t class_code; /* as pci_func_init takes it */
    unsigned function;   /* of the device, 0 to 7 */
};

/* The device stays the caller's, and is freed after this one. NULL on error. */
struct device *virtio_pci_new(struct pci_host *pci, const struct virtio_pci_config *config,
                              struct virtio *v, struct err *e);

#endif
