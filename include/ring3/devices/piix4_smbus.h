/* SPDX-License-Identifier: MIT */
/* SMBus host controller of the PIIX4, with no device on the bus. */
#ifndef RING3_DEVICES_PIIX4_SMBUS_H
#define RING3_DEVICES_PIIX4_SMBUS_H

#include "ring3/dev.h"

#define PIIX4_SMBUS_BASE  0x700 /* where SeaBIOS puts it */
#define PIIX4_SMBUS_BYTES 16

/* Ports 0x700-0x70f. NULL on error. */
struct device *piix4_smbus_new(const struct dev_host *h, struct err *e);

#endif
