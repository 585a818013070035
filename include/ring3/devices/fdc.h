/* SPDX-License-Identifier: MIT */
/* A floppy disk controller, 82077AA, with two drives. */
#ifndef RING3_DEVICES_FDC_H
#define RING3_DEVICES_FDC_H

#include "ring3/block.h"
#include "ring3/dev.h"

#define FDC_IRQ         6
#define FDC_DMA_CHANNEL 2
#define FDC_DRIVES      2

struct fdc_config {
    struct irq_line irq;
    struct device *dma; /* an i8237; not owned */
    struct {
        bool present;
        struct block *medium; /* not owned, must outlive the device; NULL: no disk */
    } drive[FDC_DRIVES];
};

/* Ports 0x3f0-0x3f5 and 0x3f7. Drives take the type of their disk, 1.44M if empty. NULL on error: a
 * disk whose size is no floppy's. */
struct device *fdc_new(const struct dev_host *h, const struct fdc_config *c, struct err *e);

/* What CMOS memory says of drive n, 0 to 5: 0 none, 1 360K, 2 1.2M, 3 720K, 4 1.44M, 5 2.88M. */
uint8_t fdc_drive_type(struct device *d, unsigned n);

/* Exchange the disk of drive n; NULL takes it out. The old one has no request under way afterwards.
 * -ENOTTY if there is no such drive, -EINVAL if the size is no floppy's. Any thread but a block
 * backend's. */
int fdc_change_medium(struct device *d, unsigned n, struct block *medium);

#endif
