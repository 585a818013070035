/* SPDX-License-Identifier: MIT */
/* The PC's pair of i8259A interrupt controllers with their edge/level registers. */
#ifndef RING3_DEVICES_I8259_H
#define RING3_DEVICES_I8259_H

#include "ring3/dev.h"

/* Ports 0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1. `out` follows the master's INT pin (a level, to the
 * processor); it is driven with the chip's lock held and must not call back. NULL on error. */
struct device *i8259_new(const struct dev_host *h, struct irq_line out, struct err *e);

/* Interrupt input n, 0 to 15. Input 2 is the cascade: it and higher numbers than 15 give an
 * unconnected line. Any thread may set the line. */
struct irq_line i8259_line(struct device *pic, unsigned n);

/* The processor's acknowledge cycle: returns the vector, 0 to 255; that of line 7 when the
 * request went away. `pic` is the struct device *: this is an intc.ack. Any thread. */
int i8259_ack(void *pic);

#endif
