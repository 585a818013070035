/* SPDX-License-Identifier: MIT */
/* Several interrupt lines on one pin: it is up while any of them is. */
#ifndef RING3_DEVICES_IRQ_OR_H
#define RING3_DEVICES_IRQ_OR_H

#include "ring3/dev.h"

#define IRQ_OR_INPUTS 32u

/* instance is kept by reference. NULL on error. */
struct device *irq_or_new(const char *instance, struct irq_line out, struct err *e);

/* Input n, below IRQ_OR_INPUTS. Its set() may be called from any thread. */
struct irq_line irq_or_input(struct device *d, unsigned n);

#endif
