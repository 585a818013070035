/* SPDX-License-Identifier: MIT */
/* Network cards on the PCI bus. All are made alike, so that a board has a table of them. */
#ifndef RING3_DEVICES_NIC_H
#define RING3_DEVICES_NIC_H

#include "ring3/dev.h"
#include "ring3/devices/pci.h"
#include "ring3/figures.h"
#include "ring3/net.h"

struct nic_wiring {
    const char *instance; /* "net0"; kept by reference */
    const struct dev_host *host;
    struct pci_host *pci;
    unsigned slot, function; /* PCI device and its function */
    struct netdev *net;      /* outlives the card, which takes its client; NULL: no cable */
    uint8_t mac[6];
};

/* What a card counts besides frames; not saved. */
struct nic_counts {
    uint64_t accesses, interrupts; /* of registers; rises of the interrupt pin */
    bool pin;                      /* as it was last driven */
};
static inline void nic_pin(struct nic_counts *c, struct pci_func *f, bool level)
{
    c->interrupts += level && !c->pin;
    c->pin = level;
    pci_intx(f, level);
}
static inline void nic_figures(const struct nic_counts *c, struct netdev *net,
                               const struct figure_sink *to)
{
    uint64_t sent = net ? net->stats.tx_frames : 0, received = net ? net->stats.rx_frames : 0;
    double frames = (double)sent + (double)received;
    to->add(to->opaque, "sent", (double)sent, 0, "frames");
    to->add(to->opaque, "received", (double)received, 0, "frames");
    to->add(to->opaque, "dropped", net ? (double)net->stats.rx_dropped : 0, 0, "frames");
    to->add(to->opaque, "accesses", (double)c->accesses, 0, "of registers");
    to->add(to->opaque, "interrupts", (double)c->interrupts, 0, "");
    to->add(to->opaque, "exits_per_frame", frames > 0 ? (double)c->accesses / frames : 0, 2, "");
}

/* NULL on error. */
struct device *e1000_new(const struct nic_wiring *w, struct err *e);   /* Intel 82540EM */
struct device *rtl8139_new(const struct nic_wiring *w, struct err *e); /* Realtek RTL8139C+ */
struct device *rtl8139c_new(const struct nic_wiring *w,
                            struct err *e);                         /* RTL8139C, without C+ mode */
struct device *ne2k_new(const struct nic_wiring *w, struct err *e); /* Realtek RTL8029AS */

struct device *pcnet_new(const struct nic_wiring *w, struct err *e); /* AMD Am79C970A */

#endif
