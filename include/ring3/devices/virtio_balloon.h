/* SPDX-License-Identifier: MIT */
/* virtio memory balloon (virtio 1.2, 5.5): memory that the guest does without goes back to the
 * host. */
#ifndef RING3_DEVICES_VIRTIO_BALLOON_H
#define RING3_DEVICES_VIRTIO_BALLOON_H

#include "ring3/devices/virtio.h"

/* To be wrapped in a transport; instance is kept by reference. NULL on error. */
struct virtio *virtio_balloon_new(const struct dev_host *h, const char *instance, struct err *e);

/* How much memory the guest should do without; it may take its time, or not follow. Any thread. */
void virtio_balloon_set(struct virtio *v, uint64_t bytes);

/* What the guest's driver said last, by number of the statistic. */
#define VIRTIO_BALLOON_STATS 16
struct virtio_balloon_report {
    bool driver;                         /* a driver is there */
    uint64_t target_bytes;               /* as set */
    uint64_t given_bytes;                /* what the driver says it has given up */
    uint64_t reported_bytes;             /* free memory it has reported since its start, in all */
    uint16_t known;                      /* which of the following it has ever told: bit n */
    uint64_t stat[VIRTIO_BALLOON_STATS]; /* bytes or counts */
};
/* Any thread. It also asks the driver for fresh statistics, which a later call returns. */
void virtio_balloon_query(struct virtio *v, struct virtio_balloon_report *report);
/* "free-memory", "major-faults", ...: what statistic n is; NULL: unknown. */
const char *virtio_balloon_stat_name(unsigned n);

#endif
