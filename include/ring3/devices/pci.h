/* SPDX-License-Identifier: MIT */
/* A PCI host (configuration mechanism 1, or a host bridge's own) and what a PCI function is made of
 * (PCI Local Bus Specification 2.2, chapters 3.2.2 and 6). One bus, 32 devices of 8 functions.
 *
 * A chip embeds struct pci_func, calls pci_func_init(), describes its BARs and any bytes of its
 * own in config/writable/write_clear, then pci_add(). The host answers configuration accesses from
 * these three arrays, keeps the BARs mapped on the buses where the guest puts them, and calls
 * config_written() for what is more than memory.
 *
 * Lock: the host's mutex covers configuration accesses. config_written() runs under it and may take
 * the device's lock; so a device must not hold its lock when it calls pci_func_reset() or
 * pci_func_restored(). pci_intx() is safe under the device's lock. */
#ifndef RING3_DEVICES_PCI_H
#define RING3_DEVICES_PCI_H

#include "ring3/dev.h"

/* Registers of the type 0 header. */
enum {
    PCI_VENDOR = 0x00,
    PCI_DEVICE = 0x02,
    PCI_COMMAND = 0x04,
    PCI_STATUS = 0x06,
    PCI_REVISION = 0x08,
    PCI_PROG_IF = 0x09,
    PCI_CLASS = 0x0a, /* 16 bits: subclass, class */
    PCI_CACHE_LINE = 0x0c,
    PCI_LATENCY = 0x0d,
    PCI_HEADER_TYPE = 0x0e,
    PCI_BAR0 = 0x10,
    PCI_SUBSYSTEM_VENDOR = 0x2c,
    PCI_SUBSYSTEM = 0x2e,
    PCI_CAPABILITIES = 0x34,
    PCI_INT_LINE = 0x3c,
    PCI_INT_PIN = 0x3d,
};
#define PCI_RESET_PORT           0xcf9
#define PCI_RESET_VALUE          0x06 /* written there, resets the machine */
#define PCI_CONFIG_BYTES         256
#define PCI_BARS                 6
#define PCI_COMMAND_IO           0x0001u
#define PCI_COMMAND_MEMORY       0x0002u
#define PCI_COMMAND_MASTER       0x0004u
#define PCI_COMMAND_INTX_OFF     0x0400u
#define PCI_STATUS_INTX          0x0008u
#define PCI_STATUS_CAPABILITIES  0x0010u
#define PCI_HEADER_MULTIFUNCTION 0x80u

/* A window of device registers or memory that the guest places. 32-bit only. */
struct pci_bar {
    uint32_t len; /* bytes: a power of two, 4 to 256 for I/O, 16 or more for memory; 0: absent */
    bool io;      /* on the port bus, else on the MMIO bus */
    const struct io_ops *ops; /* NULL: memory from ram_offset on (phys_extra) */
    void *opaque;
    uint64_t ram_offset;
    bool mapped; /* the rest is the host's */
    uint32_t at; /* valid while mapped */
};

struct pci_host;
struct pci_func {
    const char *name;                      /* shown for mapped BARs; kept by reference */
    uint8_t config[PCI_CONFIG_BYTES];      /* what the guest reads; belongs in the state table */
    uint8_t power_up[PCI_CONFIG_BYTES];    /* config as pci_add() found it */
    uint8_t writable[PCI_CONFIG_BYTES];    /* bits the guest may set and clear */
    uint8_t write_clear[PCI_CONFIG_BYTES]; /* bits that writing 1 clears */
    struct pci_bar bar[PCI_BARS];
    /* The guest wrote [offset, offset+size), size 1, 2 or 4; config is new, BARs are in place.
     * vCPU thread, host's lock held. May be NULL. */
    void (*config_written)(struct pci_func *f, unsigned offset, unsigned size);
    /* The guest is about to read [offset, offset+size): bring config up to date. Likewise. */
    void (*config_read)(struct pci_func *f, unsigned offset, unsigned size);
    uint8_t next_capability; /* where the next one goes; 0: at 0x40 */
    struct pci_host *host;   /* set by pci_add */
    uint8_t devfn;
    bool intx, intx_off; /* level of its interrupt pin, and PCI_COMMAND_INTX_OFF */
};

/* Boards: the host itself. Ports 0xcf8-0xcff. `reset`: pulsed 1, 0 on the vCPU thread when the
 * guest writes the reset control at port 0xcf9. NULL on error. */
struct device *pci_host_new(const struct dev_host *h, struct irq_line reset, struct err *e);
/* The same without ports, for host bridges of other kinds, which ask pci_config_read() and
 * _write(). Pin n (1 to 4) of a device is wired to PIRQ (device + n + turn) modulo 4. NULL on
 * error. */
struct device *pci_bus_new(const struct dev_host *h, unsigned turn, struct err *e);
struct pci_host *pci_host_of(struct device *d);
/* Where PIRQA to PIRQD go: the inputs of the interrupt router. Before the VM runs. */
void pci_set_pirq(struct pci_host *host, const struct irq_line pirq[4]);

/* Where functions send interrupt messages (MSI): stores of `data` to `address`. Called from any
 * thread, under a device's lock. Before functions that use them are made. */
void pci_set_messages(struct pci_host *host,
                      void (*send)(void *opaque, uint64_t address, uint32_t data), void *opaque);
bool pci_has_messages(const struct pci_host *host);
void pci_message(struct pci_func *f, uint64_t address, uint32_t data);

/* Configuration cycles. address: as in the address register of mechanism 1, whose bit 31 is not
 * looked at. The access is `size` bytes (1, 2 or 4) at `offset` (0 to 3) from there, and does not
 * leave that dword. False if no function answers: a read gives all ones then. vCPU thread. */
bool pci_config_read(struct pci_host *host, uint32_t address, unsigned offset, unsigned size,
                     uint32_t *value);
bool pci_config_write(struct pci_host *host, uint32_t address, unsigned offset, unsigned size,
                      uint32_t value);

/* Functions. init: identity, header type 0, and the usual write masks of the header. class_code is
 * class, subclass, programming interface, e.g. 0x010180. */
void pci_func_init(struct pci_func *f, const char *name, uint16_t vendor, uint16_t device,
                   uint32_t class_code, uint8_t revision);
/* Give BAR n its size and handlers. Before pci_add(). */
void pci_func_bar(struct pci_func *f, unsigned n, bool io, uint32_t len, const struct io_ops *ops,
                  void *opaque);
/* Append a capability of `len` bytes, of which id and link are filled in; returns its offset. The
 * first one is at 0x40; what does not fit is our own mistake. Before pci_add(). */
unsigned pci_func_capability(struct pci_func *f, uint8_t id, unsigned len);
/* Make BAR n prefetchable memory of the guest's own, which phys_extra() gave: at least 4 KiB. It
 * is shown where nothing else is memory. */
void pci_func_bar_ram(struct pci_func *f, unsigned n, uint32_t len, uint64_t ram_offset);
/* Put the function on the bus; -EEXIST if the place is taken. *f stays the caller's and must live
 * until pci_remove(). Function 0 of a device that has others says so in its header. */
int pci_add(struct pci_host *host, struct pci_func *f, unsigned device, unsigned function,
            struct err *e);
void pci_remove(struct pci_func *f); /* no effect before pci_add, or once the host is gone */
/* Configuration space as at pci_add(), BARs unmapped, pin low. From the owner's reset. */
void pci_func_reset(struct pci_func *f);
/* config was restored from a snapshot: put the BARs where it says. */
void pci_func_restored(struct pci_func *f);

/* Drive the interrupt pin named by PCI_INT_PIN (1 to 4; 0 has none). Any thread. */
void pci_intx(struct pci_func *f, int level);

/* Which PIRQ (0 to 3) pin `pin` (1 to 4) of a device is wired to, as on PIIX boards. */
#define PCI_TURN_PIIX 2u
static inline unsigned pci_pirq_of(unsigned device, unsigned pin)
{
    return (device + pin + PCI_TURN_PIIX) & 3;
}

static inline uint16_t pci_get16(const struct pci_func *f, unsigned at)
{
    return (uint16_t)(f->config[at] | f->config[at + 1] << 8);
}
static inline uint32_t pci_get32(const struct pci_func *f, unsigned at)
{
    return pci_get16(f, at) | (uint32_t)pci_get16(f, at + 2) << 16;
}

#endif
