/* SPDX-License-Identifier: MIT */
/* virtio entropy device (virtio 1.2, 5.4). */
#ifndef RING3_DEVICES_VIRTIO_RNG_H
#define RING3_DEVICES_VIRTIO_RNG_H

#include "ring3/devices/virtio.h"

/* To be wrapped in a transport; instance is kept by reference. NULL on error. */
struct virtio *virtio_rng_new(const struct dev_host *h, const char *instance, struct err *e);

#endif
