/* SPDX-License-Identifier: MIT */
/* virtio 9P transport: a shared host directory (tag in configuration space). */
#ifndef RING3_DEVICES_VIRTIO_9P_H
#define RING3_DEVICES_VIRTIO_9P_H

#include "ring3/devices/virtio.h"
#include "ring3/p9.h"

#define VIRTIO_9P_TAG_MAX (VIRTIO_CONFIG_BYTES - 2)

/* `server` passes to the device, even on error. instance is kept by reference; the tag has 1 to
 * VIRTIO_9P_TAG_MAX bytes. NULL on error. */
struct virtio *virtio_9p_new(const struct dev_host *h, const char *instance, const char *tag,
                             struct p9 *server, struct err *e);

#endif
