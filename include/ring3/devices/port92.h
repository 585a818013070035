/* SPDX-License-Identifier: MIT */
/* System control port A: fast A20 gate and reset; and the OR gate of the PC's two A20 sources. */
#ifndef RING3_DEVICES_PORT92_H
#define RING3_DEVICES_PORT92_H

#include "ring3/dev.h"

/* Port 0x92. `a20`: level, 1 lets address bit 20 through. `reset`: pulsed 1, 0; must not call
 * back at once. NULL on error. */
struct device *port92_new(const struct dev_host *h, struct irq_line a20, struct irq_line reset,
                          struct err *e);

/* Where the keyboard controller's A20 line goes: `a20` above is this OR the port's own bit. */
struct irq_line port92_a20_input(struct device *port92);

#endif
