/* SPDX-License-Identifier: MIT */
/* MSI-X (PCI Local Bus Specification 3.0, 6.8.2): see ring3/devices/pci_msix.h.
 *
 *   capability   +2 le16: size - 1, bit 14 all masked, bit 15 enabled   +4 table, +8 pending bits:
 *                offset within the BAR, whose number is in the low three bits
 *
 * Left out: plain MSI. */
#include "ring3/devices/pci_msix.h"

#include <string.h>

#define CAP_MSIX     0x11
#define CAP_BYTES    12
#define CAP_CONTROL  2
#define CAP_TABLE    4
#define CAP_PENDING  8
#define CTRL_MASKED  0x4000u
#define CTRL_ENABLED 0x8000u
enum { E_ADDRESS, E_ADDRESS_HIGH, E_DATA, E_CONTROL, E_WORDS };
#define E_MASKED 1u

static void put32(uint8_t *p, uint32_t value)
{
    for (unsigned i = 0; i < 4; i++)
        p[i] = (uint8_t)(value >> 8 * i);
}

void pci_msix_init(struct pci_msix *x, struct pci_host *host, struct pci_func *f, unsigned vectors,
                   unsigned n, uint32_t table_at, uint32_t pending_at)
{
    *x = (struct pci_msix){.f = f};
    if (!pci_has_messages(host))
        return;
    if (!vectors || vectors > PCI_MSIX_MAX)
        BUG("%s: %u messages", f->name, vectors);
    x->vectors = vectors;
    x->capability = pci_func_capability(f, CAP_MSIX, CAP_BYTES);
    uint8_t *c = f->config + x->capability;
    c[CAP_CONTROL] = (uint8_t)(vectors - 1);
    put32(c + CAP_TABLE, table_at | n);
    put32(c + CAP_PENDING, pending_at | n);
    f->writable[x->capability + CAP_CONTROL + 1] = (CTRL_MASKED | CTRL_ENABLED) >> 8;
    pci_msix_reset(x);
}

void pci_msix_reset(struct pci_msix *x)
{
    memset(x->table, 0, sizeof x->table);
    for (unsigned i = 0; i < x->vectors; i++)
        x->table[E_WORDS * i + E_CONTROL] = E_MASKED;
    x->pending = 0;
    x->enabled = x->masked = false;
}

uint32_t pci_msix_read(const struct pci_msix *x, uint32_t at)
{
    return at / 4 < E_WORDS * x->vectors ? x->table[at / 4] : 0;
}

static void send(struct pci_msix *x, unsigned n)
{
    const uint32_t *e = &x->table[E_WORDS * n];

    if (!x->enabled)
        return;
    if (x->masked || (e[E_CONTROL] & E_MASKED)) {
        x->pending |= 1u << n;
        return;
    }
    x->pending &= ~(1u << n);
    pci_message(x->f, (uint64_t)e[E_ADDRESS_HIGH] << 32 | e[E_ADDRESS], e[E_DATA]);
}

static void send_pending(struct pci_msix *x)
{
    for (unsigned n = 0; n < x->vectors; n++)
        if (x->pending >> n & 1)
            send(x, n);
}

void pci_msix_write(struct pci_msix *x, uint32_t at, uint32_t value)
{
    if (at / 4 >= E_WORDS * x->vectors)
        return;
    x->table[at / 4] = at / 4 % E_WORDS == E_CONTROL ? value & E_MASKED : value;
    send_pending(x);
}

void pci_msix_update(struct pci_msix *x)
{
    if (!x->vectors)
        return;
    unsigned control = pci_get16(x->f, x->capability + CAP_CONTROL);
    x->enabled = control & CTRL_ENABLED;
    x->masked = control & CTRL_MASKED;
    send_pending(x);
}

void pci_msix_notify(struct pci_msix *x, unsigned n)
{
    if (n < x->vectors)
        send(x, n);
}
