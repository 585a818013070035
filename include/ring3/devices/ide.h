/* SPDX-License-Identifier: MIT */
/* The IDE function of the PIIX4: two channels of two drives, disks (ATA) and CD-ROMs (ATAPI). */
#ifndef RING3_DEVICES_IDE_H
#define RING3_DEVICES_IDE_H

#include "ring3/block.h"
#include "ring3/devices/pci.h"

#define IDE_CHANNELS 2
#define IDE_DRIVES   4 /* 0, 1: primary; 2, 3: secondary */
#define IDE_IRQ0     14
#define IDE_IRQ1     15
#define IDE_IO0      0x1f0
#define IDE_IO1      0x170

enum ide_kind { IDE_ABSENT, IDE_DISK, IDE_CDROM };

struct ide_config {
    struct irq_line irq[IDE_CHANNELS]; /* ISA interrupts 14 and 15 */
    unsigned slot;                     /* PCI device, that of the ISA bridge; 0: 1, as in PCs */
    struct {
        enum ide_kind kind;
        struct block *medium; /* not owned, must outlive the device; NULL: no disc (CD only) */
    } drive[IDE_DRIVES];
};

/* Function 1 of the slot, ports 0x1f0-0x1f7, 0x3f6, 0x170-0x177, 0x376. NULL on error. */
struct device *ide_new(const struct dev_host *h, struct pci_host *pci, const struct ide_config *c,
                       struct err *e);

/* Exchange the disc of CD-ROM drive n; NULL takes it out. The guest is told, whether or not it has
 * locked the tray. The old medium has no request under way afterwards. -ENOTTY if n is no CD-ROM
 * drive. Any thread but a block backend's. */
int ide_change_medium(struct device *d, unsigned n, struct block *medium);

#endif
