/* SPDX-License-Identifier: MIT */
/* The POST code port, which kernels also write to wait a microsecond. */
#ifndef RING3_DEVICES_PORT80_H
#define RING3_DEVICES_PORT80_H

#include "ring3/dev.h"

/* Port 0x80. NULL on error. */
struct device *port80_new(const struct dev_host *h, struct err *e);

/* The last byte written. Any thread. */
uint8_t port80_code(struct device *port80);

#endif
