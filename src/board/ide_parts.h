/* SPDX-License-Identifier: MIT */
/* The IDE drives that the configuration asks for, behind a PIIX4, on any board. Build time, except
 * where said otherwise. */
#ifndef RING3_BOARD_IDE_PARTS_H
#define RING3_BOARD_IDE_PARTS_H

#include "ring3/devices/ide.h"
#include "ring3/vm.h"

struct ide_parts {
    struct device *ide;           /* the controller; the VM's */
    uint8_t place[VM_MAX_DRIVES]; /* of config.drive[]: 1 to 4, 0 for what is no IDE drive */
};

/* Is config.drive[n] an IDE drive? */
bool ide_parts_is_drive(const struct vm_config *c, const struct drive_config *d);
/* `wiring` has slot and interrupts; its drives are filled in from vm->config.drive and vm->drive.
 */
int ide_parts_build(struct ide_parts *p, struct vm *vm, const struct dev_host *h,
                    struct pci_host *pci, const struct ide_config *wiring, struct err *e);

#endif
