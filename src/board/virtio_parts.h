/* SPDX-License-Identifier: MIT */
/* The virtio devices that the configuration asks for, on any board; how they are connected is the
 * board's. Build time. */
#ifndef RING3_BOARD_VIRTIO_PARTS_H
#define RING3_BOARD_VIRTIO_PARTS_H

#include "ring3/devices/virtio.h"
#include "ring3/vm.h"

struct virtio_parts {
    struct vm *vm;
    const struct dev_host *host;
    /* Wrap v, the n-th of its kind, into a transport, and hand that to the VM. v itself is the VM's
     * already. */
    int (*connect)(void *opaque, struct virtio *v, unsigned n, struct err *e);
    void *opaque;
};

/* Drives that are virtio; n is their index in config.drive[]. */
int virtio_parts_drives(const struct virtio_parts *p, struct err *e);
int virtio_parts_nic(const struct virtio_parts *p, unsigned n, struct err *e); /* one of --net */
int virtio_parts_shares(const struct virtio_parts *p, struct err *e);
/* Console, entropy, balloon. */
int virtio_parts_extras(const struct virtio_parts *p, struct err *e);

/* Is config.drive[n] one of the first? */
bool virtio_parts_is_drive(const struct vm_config *c, const struct drive_config *d);

#endif
