/* SPDX-License-Identifier: MIT */
/* i8254 interval timer with the PC's port 0x61 (gate of counter 2, speaker, refresh toggle). */
#ifndef RING3_DEVICES_I8254_H
#define RING3_DEVICES_I8254_H

#include "ring3/dev.h"

#define I8254_HZ 1193182

/* Ports 0x40 to 0x43 and 0x61. `irq` follows the output of counter 0. NULL on error. */
struct device *i8254_new(const struct dev_host *h, struct irq_line irq, struct err *e);

#endif
