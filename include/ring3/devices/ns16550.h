/* SPDX-License-Identifier: MIT */
/* ns16550a serial port. */
#ifndef RING3_DEVICES_NS16550_H
#define RING3_DEVICES_NS16550_H

#include "ring3/backend.h"
#include "ring3/dev.h"

struct ns16550_config {
    const char *instance; /* "com1"; kept by reference */
    struct bus *bus;      /* port or memory bus */
    uint64_t base;
    unsigned shift; /* log2 of the distance between registers, bytes: 0 to 3 */
    struct irq_line irq;
    bool out2_gates_irq; /* PC: interrupts reach the controller only while MCR.OUT2 is set */
    struct chardev *chr; /* not owned, outlives the port; NULL: nothing is connected */
};
#define NS16550_COM1_BASE 0x3f8
#define NS16550_COM1_IRQ  4

/* Takes chr's client side. NULL on error. */
struct device *ns16550_new(const struct dev_host *h, const struct ns16550_config *config,
                           struct err *e);

#endif
