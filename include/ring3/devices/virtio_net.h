/* SPDX-License-Identifier: MIT */
/* virtio network card (virtio 1.2, 5.1). */
#ifndef RING3_DEVICES_VIRTIO_NET_H
#define RING3_DEVICES_VIRTIO_NET_H

#include "ring3/devices/virtio.h"
#include "ring3/net.h"

struct virtio_net_config {
    const char *instance; /* "net0"; kept by reference */
    struct netdev *net;   /* outlives the card, which takes its client; NULL: no cable */
    uint8_t mac[6];
};

/* To be wrapped in a transport. NULL on error. */
struct virtio *virtio_net_new(const struct dev_host *h, const struct virtio_net_config *config,
                              struct err *e);

#endif
