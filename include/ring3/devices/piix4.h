/* SPDX-License-Identifier: MIT */
/* Intel PIIX4 (82371AB): ISA bridge with the PCI interrupt router, and the PCI face of the power
 * management function (its registers are acpi_pm.h). */
#ifndef RING3_DEVICES_PIIX4_H
#define RING3_DEVICES_PIIX4_H

#include "ring3/devices/pci.h"

struct piix4_wiring {
    struct irq_line
        isa[16]; /* the interrupt controllers' inputs; only 3-7, 9-12, 14, 15 are used */
    /* Interrupt of PIRQA to PIRQD as firmware would have set it up; also restored by a reset. 0:
     * not routed. */
    uint8_t route[4];
    uint16_t pm_base;    /* port of the power management registers */
    uint16_t smbus_base; /* and of the SMBus controller's; 0: there is none */
    unsigned slot;       /* PCI device; 0: 1, as in PCs */
    /* The guest placed the power management registers at `port`, or nowhere (0): acpi_pm_move().
     * NULL: they cannot be moved. vCPU thread, and at reset and restore. */
    void (*pm_moved)(void *opaque, uint16_t port);
    void *opaque;
};

/* Functions 0 and 3 of the slot; takes over the host's PIRQ lines. NULL on error. */
struct device *piix4_new(struct pci_host *pci, const struct piix4_wiring *w, struct err *e);

#endif
