/* SPDX-License-Identifier: MIT */
/* virtio block device (virtio 1.2, 5.2). */
#ifndef RING3_DEVICES_VIRTIO_BLK_H
#define RING3_DEVICES_VIRTIO_BLK_H

#include "ring3/block.h"
#include "ring3/devices/virtio.h"

struct virtio_blk_config {
    const char *instance; /* "drive0"; kept by reference, also the disk's serial number */
    struct block *block;  /* not owned, outlives the device */
};

/* To be wrapped in a transport. NULL on error. */
struct virtio *virtio_blk_new(const struct dev_host *h, const struct virtio_blk_config *config,
                              struct err *e);

#endif
