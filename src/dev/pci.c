/* SPDX-License-Identifier: MIT */
/* PCI host, with configuration mechanism 1 or without (PCI Local Bus Specification 2.2, 3.2.2.3.2):
 * the dword at port 0xcf8 selects function and register, 0xcfc-0xcff are its bytes. See
 * ring3/devices/pci.h.
 *
 *   31 30     24 23   16 15    11 10     8 7        2 1 0
 *   EN reserved   bus     device  function register   0 0
 *
 * The byte at 0xcf9 is not part of the address register but the chipset's reset control (PIIX3 and
 * later): bit 2 going from 0 to 1 resets the machine.
 *
 * Interrupt pins are ORed per PIRQ; the router (piix4.c) takes them from there. Two locks: `lock`
 * for configuration, `pins` for interrupts, so that a device may pull its pin under its own lock.
 * Order: lock, device, pins.
 *
 * Left out: bridges and further buses, 64-bit BARs, expansion ROMs, special cycles. */
#include "ring3/devices/pci.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define ADDRESS_PORT     0xcf8
#define DATA_PORT        0xcfc
#define ADDRESS_ENABLE   0x80000000u
#define ADDRESS_KEPT     0x80fffffcu /* the other bits read 0 */
#define RESET_OFFSET     1
#define RESET_CPU        0x04
#define RESET_KEPT       0x06
#define FIRST_CAPABILITY 0x40
#define DEVFNS           256
#define PIRQS            4
#define PREFETCHABLE     0x08 /* of a BAR */

struct pci_host {
    struct device dev;
    pthread_mutex_t lock; /* configuration: all below but the pins; functions' config and BARs */
    struct dev_host h;
    struct irq_line reset;
    unsigned turn; /* of the pins: see pci_bus_new() */
    struct pci_func *func[DEVFNS];
    uint32_t address;
    uint8_t reset_control;
    struct log_limit limit;
    bool address_mapped, data_mapped;
    void (*message)(void *opaque, uint64_t address, uint32_t data); /* constant once built */
    void *message_opaque;

    pthread_mutex_t pins;     /* interrupts: the functions' intx and intx_off too */
    unsigned asserted[PIRQS]; /* functions that hold this line up */
    struct irq_line pirq[PIRQS];
};

/* ---- BARs ----------------------------------------------------------------------------------- */

static struct bus *bar_bus(const struct pci_host *p, const struct pci_bar *b)
{
    return b->io ? p->h.pio : p->h.mmio;
}

/* Where the guest wants the BAR; false if it does not decode. A BAR of all ones is being sized. */
static bool bar_wanted(const struct pci_func *f, unsigned n, uint32_t *at)
{
    const struct pci_bar *b = &f->bar[n];
    unsigned enable = b->io ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY;

    if (!b->len || !(pci_get16(f, PCI_COMMAND) & enable))
        return false;
    *at = pci_get32(f, PCI_BAR0 + 4 * n) & ~(b->len - 1);
    return *at && *at <= (b->io ? 0xffffu : UINT32_MAX) - b->len;
}

/* Memory goes only where there is none, or taking it away would leave a hole in RAM. */
static int show_ram(struct pci_host *p, const struct pci_bar *b, struct err *e)
{
    for (uint64_t a = b->at; a < (uint64_t)b->at + b->len; a += PAGE_BYTES)
        if (phys_page(p->h.mem, gpa_page(a)).kind != PHYS_NONE)
            return err_set(e, EEXIST, "pci-bar", "there is other memory at 0x%x", (unsigned)a);
    phys_remap(p->h.mem, b->at, PHYS_RAM, b->ram_offset, b->len);
    return 0;
}

static int bar_map(struct pci_host *p, struct pci_func *f, struct pci_bar *b, struct err *e)
{
    return b->ops ? bus_map(bar_bus(p, b), b->at, b->len, b->ops, b->opaque, f->name, e)
                  : show_ram(p, b, e);
}

static void bar_unmap(struct pci_host *p, struct pci_bar *b)
{
    if (b->ops)
        bus_unmap(bar_bus(p, b), b->at);
    else
        phys_remap(p->h.mem, b->at, PHYS_NONE, 0, b->len);
    b->mapped = false;
}

static void bars_update(struct pci_host *p, struct pci_func *f)
{
    bool want[PCI_BARS];
    uint32_t at[PCI_BARS];
    struct err e;

    for (unsigned n = 0; n < PCI_BARS; n++) {
        struct pci_bar *b = &f->bar[n];
        want[n] = bar_wanted(f, n, &at[n]);
        if (b->mapped && (!want[n] || at[n] != b->at))
            bar_unmap(p, b);
    }
    for (unsigned n = 0; n < PCI_BARS; n++) {
        struct pci_bar *b = &f->bar[n];
        if (!want[n] || b->mapped)
            continue;
        b->at = at[n];
        b->mapped = bar_map(p, f, b, &e) == 0;
        if (!b->mapped)
            log_guest(p->h.log, &p->limit, "pci-bar", "guest placed BAR %u of %s badly: %s", n,
                      f->name, e.text);
    }
}

/* ---- interrupt pins -------------------------------------------------------------------------- */

static unsigned pirq_of(const struct pci_func *f)
{
    return ((f->devfn >> 3) + f->config[PCI_INT_PIN] + f->host->turn) & (PIRQS - 1);
}

static bool pulls(const struct pci_func *f)
{
    return f->intx && !f->intx_off;
}

/* Change pin and mask of a function, -1 keeps one as it is; the line follows. */
static void pin_change(struct pci_func *f, int intx, int off)
{
    struct pci_host *p = f->host;

    pthread_mutex_lock(&p->pins);
    bool before = pulls(f);
    if (intx >= 0)
        f->intx = intx;
    if (off >= 0)
        f->intx_off = off;
    if (pulls(f) != before && f->config[PCI_INT_PIN]) {
        unsigned n = pirq_of(f);
        p->asserted[n] += pulls(f) ? 1u : -1u;
        irq_set(&p->pirq[n], p->asserted[n] != 0);
    }
    pthread_mutex_unlock(&p->pins);
}

void pci_intx(struct pci_func *f, int level)
{
    if (f->host)
        pin_change(f, level != 0, -1);
}

static bool intx_off(const struct pci_func *f)
{
    return pci_get16(f, PCI_COMMAND) & PCI_COMMAND_INTX_OFF;
}

static bool pin_level(struct pci_func *f)
{
    pthread_mutex_lock(&f->host->pins);
    bool level = f->intx;
    pthread_mutex_unlock(&f->host->pins);
    return level;
}

/* ---- configuration accesses ------------------------------------------------------------------ */

/* The function and register of a configuration cycle. */
static struct pci_func *selected(const struct pci_host *p, uint32_t address, unsigned offset,
                                 unsigned *at)
{
    *at = (address & 0xfc) + offset;
    return address >> 16 & 0xff ? NULL : p->func[address >> 8 & 0xff];
}

bool pci_config_read(struct pci_host *p, uint32_t address, unsigned offset, unsigned size,
                     uint32_t *value)
{
    unsigned at;

    *value = 0;
    pthread_mutex_lock(&p->lock);
    struct pci_func *f = selected(p, address, offset, &at);
    if (f && f->config_read)
        f->config_read(f, at, size);
    for (unsigned i = 0; i < size; i++) {
        uint8_t byte = f ? f->config[at + i] : 0xff;
        if (f && at + i == PCI_STATUS && pin_level(f))
            byte |= PCI_STATUS_INTX;
        *value |= (uint32_t)byte << 8 * i;
    }
    pthread_mutex_unlock(&p->lock);
    return f;
}

static void config_write(struct pci_host *p, struct pci_func *f, unsigned at, unsigned size,
                         uint32_t value)
{
    for (unsigned i = 0; i < size; i++) {
        uint8_t byte = (uint8_t)(value >> 8 * i), *reg = &f->config[at + i];
        uint8_t mask = f->writable[at + i];
        *reg = (uint8_t)((*reg & ~mask) | (byte & mask));
        *reg &= (uint8_t) ~(byte & f->write_clear[at + i]);
    }
    if (at < PCI_BAR0 + 4 * PCI_BARS)
        bars_update(p, f);
    pin_change(f, -1, intx_off(f));
    if (f->config_written)
        f->config_written(f, at, size);
}

bool pci_config_write(struct pci_host *p, uint32_t address, unsigned offset, unsigned size,
                      uint32_t value)
{
    unsigned at;

    pthread_mutex_lock(&p->lock);
    struct pci_func *f = selected(p, address, offset, &at);
    if (f)
        config_write(p, f, at, size, value);
    pthread_mutex_unlock(&p->lock);
    return f;
}

/* ---- mechanism 1 ----------------------------------------------------------------------------- */

static uint32_t address_register(struct pci_host *p)
{
    pthread_mutex_lock(&p->lock);
    uint32_t address = p->address;
    pthread_mutex_unlock(&p->lock);
    return address;
}

static uint64_t data_read(void *opaque, uint64_t offset, unsigned size)
{
    struct pci_host *p = opaque;
    uint32_t address = address_register(p), value = UINT32_MAX;

    if (address & ADDRESS_ENABLE)
        pci_config_read(p, address, (unsigned)offset, size, &value);
    return value;
}

static void data_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct pci_host *p = opaque;
    uint32_t address = address_register(p);

    if (address & ADDRESS_ENABLE)
        pci_config_write(p, address, (unsigned)offset, size, (uint32_t)value);
}

static uint64_t address_read(void *opaque, uint64_t offset, unsigned size)
{
    struct pci_host *p = opaque;
    uint32_t value = 0xffffffff; /* partial accesses do not reach the register */

    pthread_mutex_lock(&p->lock);
    if (size == 4)
        value = p->address;
    else if (size == 1 && offset == RESET_OFFSET)
        value = p->reset_control;
    pthread_mutex_unlock(&p->lock);
    return value;
}

static void address_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct pci_host *p = opaque;
    bool reset = false;

    pthread_mutex_lock(&p->lock);
    if (size == 4) {
        p->address = (uint32_t)value & ADDRESS_KEPT;
    } else if (size == 1 && offset == RESET_OFFSET) {
        reset = value & ~p->reset_control & RESET_CPU;
        p->reset_control = value & RESET_KEPT;
    }
    pthread_mutex_unlock(&p->lock);
    if (reset) {
        irq_set(&p->reset, 1);
        irq_set(&p->reset, 0);
    }
}

static const struct io_ops address_ops = {address_read, address_write, 1, 4};
static const struct io_ops data_ops = {data_read, data_write, 1, 4};

/* ---- functions ------------------------------------------------------------------------------- */

static void put_config(uint8_t *p, uint32_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        p[i] = (uint8_t)(value >> 8 * i);
}

void pci_func_init(struct pci_func *f, const char *name, uint16_t vendor, uint16_t device,
                   uint32_t class_code, uint8_t revision)
{
    *f = (struct pci_func){.name = name};
    put_config(f->config + PCI_VENDOR, vendor, 2);
    put_config(f->config + PCI_DEVICE, device, 2);
    f->config[PCI_REVISION] = revision;
    put_config(f->config + PCI_PROG_IF, class_code, 3);
    put_config(f->writable + PCI_COMMAND,
               PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_INTX_OFF, 2);
    put_config(f->write_clear + PCI_STATUS, 0xf900, 2); /* error bits */
    f->writable[PCI_CACHE_LINE] = 0xff;
    f->writable[PCI_LATENCY] = 0xf8;
    f->writable[PCI_INT_LINE] = 0xff;
}

void pci_func_bar(struct pci_func *f, unsigned n, bool io, uint32_t len, const struct io_ops *ops,
                  void *opaque)
{
    if (n >= PCI_BARS || len < (io ? 4 : 16) || (len & (len - 1)))
        BUG("%s: BAR %u of %u bytes", f->name, n, len);
    f->bar[n] = (struct pci_bar){.len = len, .io = io, .ops = ops, .opaque = opaque};
    f->config[PCI_BAR0 + 4 * n] = io;
    put_config(f->writable + PCI_BAR0 + 4 * n, ~(len - 1), 4);
}

unsigned pci_func_capability(struct pci_func *f, uint8_t id, unsigned len)
{
    unsigned at = f->next_capability ? f->next_capability : FIRST_CAPABILITY;

    if (len < 2 || at + len > PCI_CONFIG_BYTES)
        BUG("%s: capability 0x%x of %u bytes at 0x%x", f->name, id, len, at);
    f->config[at] = id;
    f->config[at + 1] = f->config[PCI_CAPABILITIES];
    f->config[PCI_CAPABILITIES] = (uint8_t)at;
    f->config[PCI_STATUS] |= PCI_STATUS_CAPABILITIES;
    f->next_capability = (uint8_t)((at + len + 3) & ~3u);
    return at;
}

void pci_func_bar_ram(struct pci_func *f, unsigned n, uint32_t len, uint64_t ram_offset)
{
    if (n >= PCI_BARS || len < PAGE_BYTES || (len & (len - 1)))
        BUG("%s: BAR %u of %u bytes", f->name, n, len);
    f->bar[n] = (struct pci_bar){.len = len, .ram_offset = ram_offset};
    f->config[PCI_BAR0 + 4 * n] = PREFETCHABLE;
    put_config(f->writable + PCI_BAR0 + 4 * n, ~(len - 1), 4);
}

/* lock held; power_up is what a reset brings back. */
static void mark_multifunction(struct pci_host *host, unsigned device)
{
    struct pci_func *first = host->func[device << 3];
    bool others = false;

    for (unsigned n = 1; n < 8; n++)
        others |= host->func[device << 3 | n] != NULL;
    if (!first || !others)
        return;
    first->config[PCI_HEADER_TYPE] |= PCI_HEADER_MULTIFUNCTION;
    first->power_up[PCI_HEADER_TYPE] |= PCI_HEADER_MULTIFUNCTION;
}

int pci_add(struct pci_host *host, struct pci_func *f, unsigned device, unsigned function,
            struct err *e)
{
    unsigned devfn = device << 3 | function;
    int r = 0;

    if (device > 31 || function > 7)
        return err_set(e, EINVAL, "pci-slot", "%s: no PCI slot %u.%u", f->name, device, function);
    pthread_mutex_lock(&host->lock);
    if (host->func[devfn]) {
        r = err_set(e, EEXIST, "pci-slot", "%s: PCI slot %u.%u is taken by %s", f->name, device,
                    function, host->func[devfn]->name);
    } else {
        host->func[devfn] = f;
        f->host = host;
        f->devfn = (uint8_t)devfn;
        memcpy(f->power_up, f->config, sizeof f->config);
        mark_multifunction(host, device);
    }
    pthread_mutex_unlock(&host->lock);
    return r;
}

void pci_remove(struct pci_func *f)
{
    struct pci_host *p = f->host;

    if (!p)
        return;
    pci_func_reset(f);
    pthread_mutex_lock(&p->lock);
    p->func[f->devfn] = NULL;
    f->host = NULL;
    pthread_mutex_unlock(&p->lock);
}

void pci_func_reset(struct pci_func *f)
{
    struct pci_host *p = f->host;

    pthread_mutex_lock(&p->lock);
    memcpy(f->config, f->power_up, sizeof f->config);
    bars_update(p, f);
    pin_change(f, 0, 0);
    pthread_mutex_unlock(&p->lock);
}

void pci_func_restored(struct pci_func *f)
{
    struct pci_host *p = f->host;

    pthread_mutex_lock(&p->lock);
    bars_update(p, f);
    pin_change(f, -1, intx_off(f));
    pthread_mutex_unlock(&p->lock);
}

/* ---- the host -------------------------------------------------------------------------------- */

static void host_reset(struct device *d)
{
    struct pci_host *p = container_of(d, struct pci_host, dev);

    pthread_mutex_lock(&p->lock);
    p->address = 0;
    p->reset_control = 0;
    pthread_mutex_unlock(&p->lock);
}

static void host_free(struct device *d)
{
    struct pci_host *p = container_of(d, struct pci_host, dev);

    for (unsigned i = 0; i < DEVFNS; i++) /* a host bridge's own may outlive it */
        if (p->func[i])
            pci_remove(p->func[i]);
    if (p->address_mapped)
        bus_unmap(p->h.pio, ADDRESS_PORT);
    if (p->data_mapped)
        bus_unmap(p->h.pio, DATA_PORT);
    pthread_mutex_destroy(&p->lock);
    pthread_mutex_destroy(&p->pins);
    free(p);
}

static const struct state_field host_state[] = {
    STATE(struct pci_host, address),
    STATE(struct pci_host, reset_control),
};
static const struct device_ops host_ops = {
    .name = "pci",
    .reset = host_reset,
    .free = host_free,
    .state = host_state,
    .state_count = ARRAY_LEN(host_state),
};

struct device *pci_bus_new(const struct dev_host *h, unsigned turn, struct err *e)
{
    struct pci_host *p = calloc(1, sizeof *p);

    if (!p) {
        err_set(e, ENOMEM, "no-memory", "no memory for the PCI host");
        return NULL;
    }
    p->dev = (struct device){.ops = &host_ops, .instance = "pci"};
    p->h = *h;
    p->turn = turn;
    pthread_mutex_init(&p->lock, NULL);
    pthread_mutex_init(&p->pins, NULL);
    return &p->dev;
}

struct device *pci_host_new(const struct dev_host *h, struct irq_line reset, struct err *e)
{
    struct device *d = pci_bus_new(h, PCI_TURN_PIIX, e);

    if (!d)
        return NULL;
    struct pci_host *p = container_of(d, struct pci_host, dev);
    p->reset = reset;
    p->address_mapped = !bus_map(h->pio, ADDRESS_PORT, 4, &address_ops, p, "pci-address", e);
    p->data_mapped =
        p->address_mapped && !bus_map(h->pio, DATA_PORT, 4, &data_ops, p, "pci-data", e);
    if (!p->data_mapped) {
        host_free(&p->dev);
        return NULL;
    }
    return &p->dev;
}

struct pci_host *pci_host_of(struct device *d)
{
    return container_of(d, struct pci_host, dev);
}

void pci_set_pirq(struct pci_host *host, const struct irq_line pirq[PIRQS])
{
    memcpy(host->pirq, pirq, sizeof host->pirq);
}

void pci_set_messages(struct pci_host *host,
                      void (*send)(void *opaque, uint64_t address, uint32_t data), void *opaque)
{
    host->message = send;
    host->message_opaque = opaque;
}

bool pci_has_messages(const struct pci_host *host)
{
    return host->message;
}

void pci_message(struct pci_func *f, uint64_t address, uint32_t data)
{
    if (f->host && f->host->message)
        f->host->message(f->host->message_opaque, address, data);
}
