/* SPDX-License-Identifier: MIT */
/* virtio console (virtio 1.2, 5.3). */
#ifndef RING3_DEVICES_VIRTIO_CONSOLE_H
#define RING3_DEVICES_VIRTIO_CONSOLE_H

#include "ring3/backend.h"
#include "ring3/devices/virtio.h"

struct virtio_console_config {
    const char *instance; /* kept by reference */
    struct chardev *chr;  /* not owned, outlives the device, which takes its client side */
};

/* To be wrapped in a transport. NULL on error. */
struct virtio *virtio_console_new(const struct dev_host *h,
                                  const struct virtio_console_config *config, struct err *e);

#endif
