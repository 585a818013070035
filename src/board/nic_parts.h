/* SPDX-License-Identifier: MIT */
/* The PCI network cards that boards can have, by the names of --net model=. */
#ifndef RING3_BOARD_NIC_PARTS_H
#define RING3_BOARD_NIC_PARTS_H

#include "ring3/devices/nic.h"
#include "ring3/vm.h"

/* Make the n-th card of --net and hand it to the VM. w says where it is; name, backend and address
 * are filled in from the configuration. -EINVAL, with the board's name in the error, for a model
 * that is not in the table (virtio never is). Build time. */
int nic_parts_add(struct vm *vm, const char *model, unsigned n, struct nic_wiring w, struct err *e);

#endif
