/* SPDX-License-Identifier: MIT */
/* Network cards on the PCI bus. All are made alike, so that a board has a table of them. */
#ifndef RING3_DEVICES_NIC_H
#define RING3_DEVICES_NIC_H

#include "ring3/dev.h"
#include "ring3/devices/pci.h"
#include "ring3/net.h"

struct nic_wiring {
    const struct dev_host *host;
    struct pci_host *pci;
    unsigned slot;      /* PCI device; function 0 */
    struct netdev *net; /* outlives the card, which takes its client; NULL: no cable */
    uint8_t mac[6];
};

/* NULL on error. */
struct device *e1000_new(const struct nic_wiring *w, struct err *e);   /* Intel 82540EM */
struct device *rtl8139_new(const struct nic_wiring *w, struct err *e); /* Realtek RTL8139C+ */
struct device *rtl8139c_new(const struct nic_wiring *w,
                            struct err *e);                         /* RTL8139C, without C+ mode */
struct device *ne2k_new(const struct nic_wiring *w, struct err *e); /* Realtek RTL8029AS */

#endif
