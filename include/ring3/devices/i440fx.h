/* SPDX-License-Identifier: MIT */
/* Intel 440FX host bridge (82441FX PMC), PCI 00:00.0. */
#ifndef RING3_DEVICES_I440FX_H
#define RING3_DEVICES_I440FX_H

#include "ring3/devices/pci.h"

struct device *i440fx_new(struct pci_host *pci, struct err *e); /* NULL on error */

#endif
