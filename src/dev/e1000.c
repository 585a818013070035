/* SPDX-License-Identifier: MIT */
/* Intel 82540EM, gigabit Ethernet on PCI (manual 317453): registers, interrupts, life. Sending is
 * in e1000_tx.c, receiving in e1000_rx.c, EEPROM and PHY in e1000_phy.c.
 *
 * Registers are words of an array; a table says for ranges of them which bits can be written and
 * what else happens. BAR 0 is 128 KiB of memory, BAR 2 an address and data pair of ports (13.4.1).
 * The line is up while ICR and IMS have a bit in common; reading ICR clears it.
 *
 * Left out: interrupt throttling (ITR is kept without effect), wake-up, flow control, flash, the
 * diagnostic access to packet memory, link changes. */
#include "e1000.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define DEVICE_ID    0x100e
#define REVISION     2
#define STATUS_VALUE 0x0683 /* full duplex, link up, 1000 Mb/s */
#define RING_INDEX   0xffffu
#define RING_LEN     0xfff80u
#define FULL         0xffffffffu

/* ---- interrupts, counters -------------------------------------------------------------------- */

static void update_line(struct e1000 *s)
{
    nic_pin(&s->counts, &s->pci, (*e1000_reg(s, R_ICR) & *e1000_reg(s, R_IMS)) != 0);
}

void e1000_cause(struct e1000 *s, uint32_t causes)
{
    uint32_t *icr = e1000_reg(s, R_ICR);
    *icr |= causes & ICR_CAUSES;
    if (causes & ICR_TXDW)
        s->tx_said_late = 0;
    if (s->tx_said_late && (*icr & *e1000_reg(s, R_IMS) & (ICR_RXT0 | ICR_RXDMT0))) {
        *icr |= ICR_TXDW; /* comes along with another interrupt */
        s->tx_said_late = 0;
    }
    update_line(s);
}

void e1000_count(struct e1000 *s, unsigned at, uint32_t n)
{
    uint32_t *c = e1000_reg(s, at);
    *c = *c + n < n ? FULL : *c + n; /* counters stick at their largest */
}

void e1000_count_bytes(struct e1000 *s, unsigned at, size_t n)
{
    uint64_t sum = ((uint64_t)*e1000_reg(s, at + 4) << 32 | *e1000_reg(s, at)) + n;
    *e1000_reg(s, at) = (uint32_t)sum;
    *e1000_reg(s, at + 4) = (uint32_t)(sum >> 32);
}

/* ---- reset ----------------------------------------------------------------------------------- */

static const struct {
    uint16_t at;
    uint32_t value;
} power_up[] = {
    {R_CTRL, 0x00000240}, {R_STATUS, STATUS_VALUE}, {R_PBA, 0x00100030},    {R_LEDCTL, 0x07068302},
    {R_VET, 0x8100},      {R_TXDCTL, 0x00000000},   {R_RXDCTL, 0x00010100}, {R_MANC, 0x00002000},
};

/* Everything but the receive addresses behind the first and the tables, which the driver clears. */
static void reset_registers(struct e1000 *s)
{
    memset(s->reg, 0, sizeof s->reg);
    for (unsigned i = 0; i < ARRAY_LEN(power_up); i++)
        *e1000_reg(s, power_up[i].at) = power_up[i].value;
    memcpy(e1000_reg(s, R_RA), s->mac, 4);
    *e1000_reg(s, R_RA + 4) = (uint32_t)s->mac[4] | (uint32_t)s->mac[5] << 8 | 0x80000000u;
    s->rx_news = 0;
    e1000_eeprom_reset(s);
    e1000_tx_reset(s);
    timer_set(&s->tx_timer, TIMER_NEVER);
    update_line(s);
}

/* ---- registers ------------------------------------------------------------------------------- */

static void ctrl_write(struct e1000 *s, uint32_t value)
{
    if (value & CTRL_RST)
        reset_registers(s);
    else
        *e1000_reg(s, R_CTRL) = value & 0x7fffffffu; /* the PHY's reset ends at once */
    if (value & 0x80000000u)
        e1000_phy_reset(s);
}

static void icr_write(struct e1000 *s, uint32_t value)
{
    *e1000_reg(s, R_ICR) &= ~value;
    update_line(s);
}

static void ics_write(struct e1000 *s, uint32_t value)
{
    e1000_cause(s, value);
}

static void ims_write(struct e1000 *s, uint32_t value)
{
    *e1000_reg(s, R_IMS) |= value & ICR_CAUSES;
    update_line(s);
}

static void imc_write(struct e1000 *s, uint32_t value)
{
    *e1000_reg(s, R_IMS) &= ~value;
    update_line(s);
}

static void tdt_write(struct e1000 *s, uint32_t value)
{
    *e1000_reg(s, R_TDT) = value & RING_INDEX;
    e1000_transmit(s);
}

static void tctl_write(struct e1000 *s, uint32_t value)
{
    *e1000_reg(s, R_TCTL) = value;
    e1000_transmit(s);
}

/* A range of registers. write: instead of storing; mask: bits that storing changes. */
static const struct range {
    uint16_t first, last;
    uint32_t mask;
    void (*write)(struct e1000 *s, uint32_t value);
} ranges[] = {
    {R_CTRL, R_CTRL, 0, ctrl_write},
    {R_EECD, R_EECD, 0, e1000_eecd_write},
    {R_EERD, R_EERD, 0, e1000_eerd_write},
    {R_CTRL_EXT, R_CTRL_EXT, FULL, NULL},
    {R_MDIC, R_MDIC, 0, e1000_mdic_write},
    {R_FCAL, R_FCT, FULL, NULL},
    {R_VET, R_VET, 0xffff, NULL},
    {R_ICR, R_ICR, 0, icr_write},
    {R_ITR, R_ITR, 0xffff, NULL},
    {R_ICS, R_ICS, 0, ics_write},
    {R_IMS, R_IMS, 0, ims_write},
    {R_IMC, R_IMC, 0, imc_write},
    {R_RCTL, R_RCTL, FULL, NULL},
    {R_FCTTV, R_TXCW, FULL, NULL},
    {R_TCTL, R_TCTL, 0, tctl_write},
    {R_TIPG, R_TIPG, FULL, NULL},
    {R_AIT, R_AIT, 0xffff, NULL},
    {R_LEDCTL, R_LEDCTL, FULL, NULL},
    {R_PBA, R_PBA, 0xffff, NULL},
    {R_FCRTL, R_FCRTL, FULL, NULL},
    {R_FCRTH, R_FCRTH, FULL, NULL},
    {R_RDBAL, R_RDBAL, 0xfffffff0u, NULL},
    {R_RDBAH, R_RDBAH, FULL, NULL},
    {R_RDLEN, R_RDLEN, RING_LEN, NULL},
    {R_RDH, R_RDH, RING_INDEX, NULL},
    {R_RDT, R_RDT, RING_INDEX, NULL},
    {R_RDTR, R_RDTR, 0xffff, NULL},
    {R_RXDCTL, R_RADV, FULL, NULL},
    {R_RSRPD, R_RSRPD, 0xfff, NULL},
    {R_TDBAL, R_TDBAL, 0xfffffff0u, NULL},
    {R_TDBAH, R_TDBAH, FULL, NULL},
    {R_TDLEN, R_TDLEN, RING_LEN, NULL},
    {R_TDH, R_TDH, RING_INDEX, NULL},
    {R_TDT, R_TDT, 0, tdt_write},
    {R_TIDV, R_TIDV, 0xffff, NULL},
    {R_TXDCTL, R_TSPMT, FULL, NULL},
    {R_RXCSUM, R_RXCSUM, 0x7ff, NULL},
    {R_MTA, R_MTA + 0x1fc, FULL, NULL},
    {R_RA, R_RA + 0x7c, FULL, NULL},
    {R_VFTA, R_VFTA + 0x1fc, FULL, NULL},
    {R_WUC, R_WUC, FULL, NULL},
    {R_WUFC, R_WUFC, FULL, NULL},
    {R_MANC, R_MANC, FULL, NULL},
};

static const struct range *find_range(unsigned at)
{
    for (unsigned i = 0; i < ARRAY_LEN(ranges); i++)
        if (at >= ranges[i].first && at <= ranges[i].last)
            return &ranges[i];
    return NULL;
}

/* Reading these clears them. */
static bool clears(unsigned at)
{
    return at == R_ICR || (at >= R_STATS && at < R_STATS + 0x100);
}

static uint32_t reg_read(struct e1000 *s, uint64_t at)
{
    s->counts.accesses++;
    if (at / 4 >= E1000_REGS || at == R_ICS || at == R_IMC)
        return 0;
    uint32_t value = *e1000_reg(s, (unsigned)at);
    if (clears((unsigned)at))
        *e1000_reg(s, (unsigned)at) = 0;
    if (at == R_ICR)
        update_line(s);
    return value;
}

static void reg_write(struct e1000 *s, uint64_t at, uint32_t value)
{
    const struct range *r = at / 4 < E1000_REGS ? find_range((unsigned)at) : NULL;
    if (!r)
        return;
    if (r->write) {
        r->write(s, value);
    } else {
        uint32_t *p = e1000_reg(s, (unsigned)at);
        *p = (*p & ~r->mask) | (value & r->mask);
    }
}

static void locked_write(struct e1000 *s, uint64_t at, uint32_t value)
{
    pthread_mutex_lock(&s->lock);
    s->counts.accesses++;
    reg_write(s, at, value);
    bool resume = e1000_rx_buffers(s);
    pthread_mutex_unlock(&s->lock);
    if (resume)
        netdev_resume(s->net);
}

static uint64_t mmio_read(void *opaque, uint64_t offset, unsigned size)
{
    struct e1000 *s = opaque;
    pthread_mutex_lock(&s->lock);
    uint32_t value = reg_read(s, offset);
    pthread_mutex_unlock(&s->lock);
    return value;
}

static void mmio_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    locked_write(opaque, offset, (uint32_t)value);
}

/* Port 0 holds the address of the register that port 4 shows. */
static uint64_t port_read(void *opaque, uint64_t offset, unsigned size)
{
    struct e1000 *s = opaque;
    pthread_mutex_lock(&s->lock);
    uint32_t value = offset == 0 ? s->io_address : offset == 4 ? reg_read(s, s->io_address) : 0;
    pthread_mutex_unlock(&s->lock);
    return value;
}

static void port_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct e1000 *s = opaque;
    if (offset == 4) {
        pthread_mutex_lock(&s->lock);
        uint32_t at = s->io_address;
        pthread_mutex_unlock(&s->lock);
        locked_write(s, at, (uint32_t)value);
    } else if (offset == 0) {
        pthread_mutex_lock(&s->lock);
        s->io_address = (uint32_t)value & (E1000_MMIO_BYTES - 4);
        pthread_mutex_unlock(&s->lock);
    }
}

static const struct io_ops mmio_ops = {mmio_read, mmio_write, 4, 4};
static const struct io_ops port_ops = {port_read, port_write, 4, 4};

/* ---- life ------------------------------------------------------------------------------------ */

static void take_command(struct e1000 *s)
{
    pthread_mutex_lock(&s->lock);
    s->master = (pci_get16(&s->pci, PCI_COMMAND) & PCI_COMMAND_MASTER) != 0;
    pthread_mutex_unlock(&s->lock);
}

static void config_written(struct pci_func *f, unsigned offset, unsigned size)
{
    if (offset <= PCI_COMMAND && offset + size > PCI_COMMAND)
        take_command(container_of(f, struct e1000, pci));
}

static void reset(struct device *d)
{
    struct e1000 *s = container_of(d, struct e1000, dev);
    pci_func_reset(&s->pci);
    pthread_mutex_lock(&s->lock);
    s->io_address = 0;
    s->master = s->starved = 0;
    reset_registers(s);
    e1000_phy_reset(s);
    pthread_mutex_unlock(&s->lock);
    netdev_resume(s->net);
}

/* A snapshot is not trusted: sizes come back into range; indexes of rings are checked in use. */
static void restored(struct device *d)
{
    struct e1000 *s = container_of(d, struct e1000, dev);
    pci_func_restored(&s->pci);
    take_command(s);
    pthread_mutex_lock(&s->lock);
    if (s->tx_len > sizeof s->tx_frame)
        s->tx_len = 0;
    s->io_address &= E1000_MMIO_BYTES - 4;
    timer_set(&s->tx_timer, s->tx_at_ns);
    update_line(s);
    pthread_mutex_unlock(&s->lock);
    netdev_resume(s->net);
}

static void release(struct device *d)
{
    struct e1000 *s = container_of(d, struct e1000, dev);
    timer_set(&s->tx_timer, TIMER_NEVER);
    pci_remove(&s->pci);
    if (s->net)
        s->net->client = (struct netdev_client){0};
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static void figures(struct device *d, const struct figure_sink *to)
{
    struct e1000 *s = container_of(d, struct e1000, dev);
    nic_figures(&s->counts, s->net, to);
}

static const struct state_field state[] = {
    STATE_ARRAY(struct e1000, pci.config), STATE_ARRAY(struct e1000, reg),
    STATE(struct e1000, io_address),       STATE(struct e1000, starved),
    STATE(struct e1000, rx_news),          STATE(struct e1000, tx_said_late),
    STATE(struct e1000, tx_at_ns),         STATE_ARRAY(struct e1000, phy),
    STATE(struct e1000, ee.shift),         STATE(struct e1000, ee.out),
    STATE(struct e1000, ee.bits),          STATE_ARRAY(struct e1000, context),
    STATE(struct e1000, tx_len),           STATE(struct e1000, tx_drop),
    STATE(struct e1000, tx_options),       STATE(struct e1000, tx_first),
    STATE_ARRAY(struct e1000, tx_frame),
};

static const struct device_ops ops = {
    .name = "e1000",
    .reset = reset,
    .free = release,
    .restored = restored,
    .figures = figures,
    .state = state,
    .state_count = ARRAY_LEN(state),
};

static void describe(struct e1000 *s)
{
    pci_func_init(&s->pci, "e1000", 0x8086, DEVICE_ID, 0x020000, REVISION);
    s->pci.config[PCI_STATUS] = 0x20; /* 66 MHz */
    s->pci.config[PCI_STATUS + 1] = 0x02;
    s->pci.config[PCI_SUBSYSTEM_VENDOR] = 0x86;
    s->pci.config[PCI_SUBSYSTEM_VENDOR + 1] = 0x80;
    s->pci.config[PCI_SUBSYSTEM] = DEVICE_ID & 0xff;
    s->pci.config[PCI_SUBSYSTEM + 1] = DEVICE_ID >> 8;
    s->pci.config[PCI_INT_PIN] = 1;
    pci_func_bar(&s->pci, 0, false, E1000_MMIO_BYTES, &mmio_ops, s);
    pci_func_bar(&s->pci, 2, true, E1000_IO_BYTES, &port_ops, s);
    s->pci.config_written = config_written;
}

struct device *e1000_new(const struct nic_wiring *w, struct err *e)
{
    struct e1000 *s = calloc(1, sizeof *s);
    if (!s) {
        err_set(e, ENOMEM, "no-memory", "no memory for a network card");
        return NULL;
    }
    s->dev = (struct device){.ops = &ops, .instance = w->instance};
    s->h = *w->host;
    s->net = w->net;
    memcpy(s->mac, w->mac, sizeof s->mac);
    pthread_mutex_init(&s->lock, NULL);
    timer_init(&s->tx_timer, s->h.clock, e1000_tx_timer, s);
    e1000_eeprom_fill(s);
    describe(s);
    if (pci_add(w->pci, &s->pci, w->slot, w->function, e) < 0) {
        pthread_mutex_destroy(&s->lock);
        free(s);
        return NULL;
    }
    if (s->net)
        s->net->client = (struct netdev_client){e1000_receive, s, e1000_batch_end};
    reset(&s->dev);
    return &s->dev;
}
