/* SPDX-License-Identifier: MIT */
/* MSI-X of a PCI function (PCI Local Bus Specification 3.0, 6.8.2): a table of messages and a word
 * of pending bits within one of its memory BARs. Embedded by a chip, whose lock covers it. */
#ifndef RING3_DEVICES_PCI_MSIX_H
#define RING3_DEVICES_PCI_MSIX_H

#include "ring3/devices/pci.h"

#define PCI_MSIX_MAX         16u
#define PCI_MSIX_ENTRY_BYTES 16u

struct pci_msix {
    struct pci_func *f;
    unsigned capability, vectors;
    bool enabled, masked; /* as its configuration space says */
    /* State: PCI_MSIX_STATE. */
    uint32_t table[4 * PCI_MSIX_MAX]; /* address, address above 4 GiB, data, 1: masked */
    uint32_t pending;                 /* bit per vector */
};
#define PCI_MSIX_STATE(type, x) STATE_ARRAY(type, x.table), STATE(type, x.pending)

/* Adds the capability; before pci_add(). The table is at table_at of BAR n, pending bits at
 * pending_at. Nothing, if the host has nowhere to send messages: then vectors is 0. */
void pci_msix_init(struct pci_msix *x, struct pci_host *host, struct pci_func *f, unsigned vectors,
                   unsigned n, uint32_t table_at, uint32_t pending_at);
void pci_msix_reset(struct pci_msix *x);

/* With the chip's lock held. at: from the table's start, a multiple of 4. */
uint32_t pci_msix_read(const struct pci_msix *x, uint32_t at);
void pci_msix_write(struct pci_msix *x, uint32_t at, uint32_t value);
/* Configuration space may have changed: after a write of the guest, or a restore. */
void pci_msix_update(struct pci_msix *x);
/* Send message n, or remember to; a number beyond the table is none. */
void pci_msix_notify(struct pci_msix *x, unsigned n);

#endif
