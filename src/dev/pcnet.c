/* SPDX-License-Identifier: MIT */
/* AMD PCnet-PCI II, Am79C970A (data sheet 19436), 10 Mb/s Ethernet: registers, life. pcnet_rings.c
 * moves frames.
 *
 * 32 bytes, in ports (BAR 0) and in memory (BAR 1): first the address PROM, then four registers,
 * RDP, RAP, RESET, BDP. RAP selects which of the control and status registers (CSR) RDP is, and
 * which bus configuration register (BCR) BDP. They are 16 bits wide and 16 bits apart until a
 * 32-bit write to RDP's place makes them 32 of both, to the next reset of the bus (section "I/O
 * resources"). Reading RESET resets the chip but for what is about its bus.
 *
 * STOP, INIT and STRT in CSR0 are a driver's life: stop, read the initialization block, run. Most
 * other registers can be written only while stopped or suspended (CSR5.SPND). Tables have the
 * masks.
 *
 * A frame without a receive buffer waits at the backend; the chip looks for one after each access
 * to its registers and, as it does by itself, every 1.6 ms.
 *
 * Left out: polling for frames to send without a demand (TDMD), MII and link negotiation (the
 * link is always up), look-ahead packet processing, big-endian buffers (CSR3.BSWP), stripping of
 * padding, writes to the PROM, the EEPROM's wires, internal pointers that only tests of the chip
 * read. Received frames end in four zero bytes in place of a CRC. */
#include "pcnet.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CHIP_ID    0x02621003u /* CSR88, 89: Am79C970A */
#define CSR_CHIP   88u
#define POLL_NS    (1600 * 1000)
#define STYLE_LAST 3u
#define LINK_UP    0x8000u /* a LED register: lit */

/* ---- which bits of the registers there are --------------------------------------------------- */

struct row {
    uint8_t at;
    uint16_t reset, writable;
    bool stopped;                                   /* writable only while stopped or suspended */
    void (*write)(struct pcnet *s, uint16_t value); /* in place of the mask */
};

static void csr0_write(struct pcnet *s, uint16_t value);
static void csr4_write(struct pcnet *s, uint16_t value);
static void csr5_write(struct pcnet *s, uint16_t value);
static void style_write(struct pcnet *s, uint16_t value);

static const struct row csrs[] = {
    {0, CSR0_STOP, 0, false, csr0_write}, {1, 0, 0xffff, true, NULL},
    {2, 0, 0xffff, true, NULL},           {3, 0, 0x5f7c, false, NULL},
    {4, 0x0115, 0, false, csr4_write},    {5, 0, 0, false, csr5_write},
    {8, 0, 0xffff, true, NULL},           {9, 0, 0xffff, true, NULL},
    {10, 0, 0xffff, true, NULL},          {11, 0, 0xffff, true, NULL},
    {12, 0, 0xffff, true, NULL},          {13, 0, 0xffff, true, NULL},
    {14, 0, 0xffff, true, NULL},          {CSR_MODE, 0, 0xffff, true, NULL},
    {24, 0, 0xffff, true, NULL},          {25, 0, 0xffff, true, NULL},
    {30, 0, 0xffff, true, NULL},          {31, 0, 0xffff, true, NULL},
    {47, 0, 0xffff, true, NULL},          {58, 0, 0, true, style_write},
    {80, 0x1410, 0xffff, true, NULL},     {82, 0, 0xffff, true, NULL},
    {100, 0x0200, 0xffff, true, NULL},    {122, 0, 0x0001, true, NULL},
    {124, 0, 0x001e, true, NULL},
};

/* The hardware reset of the bus brings these back; a software reset leaves them alone. */
static const struct row bcrs[] = {
    {0, 0x0005, 0, false, NULL},
    {1, 0x0005, 0, false, NULL},
    {2, 0x0002, 0x5102, false, NULL},
    {BCR_LINK, 0x00c0, 0x40ff, false, NULL},
    {5, 0x0084, 0x40ff, false, NULL},
    {6, 0x0088, 0x40ff, false, NULL},
    {7, 0x0090, 0x40ff, false, NULL},
    {9, 0x0000, 0x0003, false, NULL},
    {16, 0x0000, 0xffe0, true, NULL},
    {17, 0x0000, 0xffff, true, NULL},
    {BCR_BURST, 0x2101, 0xf97b, false, NULL},
    {19, 0x8002, 0, false, NULL}, /* the EEPROM was read and is good */
    {BCR_STYLE, 0x0200, 0, true, style_write},
    {21, 0x0000, 0x003f, true, NULL},
    {22, 0xff06, 0xffff, true, NULL},
};

static const struct row *row_of(const struct row *rows, size_t count, unsigned at)
{
    for (size_t i = 0; i < count; i++)
        if (rows[i].at == at)
            return &rows[i];
    return NULL;
}

/* ---- interrupts ------------------------------------------------------------------------------ */

static bool interrupting(const struct pcnet *s)
{
    uint16_t plain = s->csr[0] & (uint16_t)~s->csr[3] & CSR0_CAUSES;
    /* Each cause in CSR4 has its mask one place below. */
    uint16_t more = s->csr[4] & (uint16_t) ~(s->csr[4] << 1) & (CSR4_MFCO | CSR4_TXSTRT);

    return plain || more || (s->csr[4] & CSR4_UINT);
}

void pcnet_update(struct pcnet *s)
{
    nic_pin(&s->counts, &s->pci, (s->csr[0] & CSR0_IENA) && interrupting(s));
}

/* ---- registers that do something when written ------------------------------------------------ */

static void set_poll(struct pcnet *s, uint64_t at_ns)
{
    s->poll_ns = at_ns;
    timer_set(&s->poll, at_ns);
}

static void stop(struct pcnet *s)
{
    s->csr[0] = CSR0_STOP;
    s->csr[5] &= (uint16_t)~CSR5_SPND;
    s->rx_news = 0;
}

static void start(struct pcnet *s)
{
    uint16_t mode = s->csr[CSR_MODE];

    s->csr[0] &= (uint16_t)~CSR0_STOP;
    s->csr[0] |= CSR0_STRT;
    if (!(mode & MODE_NO_RX))
        s->csr[0] |= CSR0_RXON;
    if (!(mode & MODE_NO_TX))
        s->csr[0] |= CSR0_TXON;
}

static void initialize(struct pcnet *s)
{
    s->csr[0] &= (uint16_t)~CSR0_STOP;
    s->csr[0] |= CSR0_INIT | (s->master && pcnet_read_init(s) ? CSR0_IDON : CSR0_MERR);
}

static void csr0_write(struct pcnet *s, uint16_t value)
{
    s->csr[0] &= (uint16_t) ~(value & CSR0_CAUSES);
    if (value & CSR0_STOP) {
        stop(s);
        return;
    }
    s->csr[0] = (uint16_t)((s->csr[0] & ~CSR0_IENA) | (value & CSR0_IENA));
    if ((value & CSR0_INIT) && !(s->csr[0] & (CSR0_INIT | CSR0_STRT)))
        initialize(s);
    bool starts = (value & CSR0_STRT) && !(s->csr[0] & CSR0_STRT);
    if (starts)
        start(s);
    if (starts || (value & CSR0_TDMD))
        pcnet_transmit(s);
}

static void csr4_write(struct pcnet *s, uint16_t value)
{
    static const uint16_t causes = 0x026a, kept = 0xfd15; /* write 1 to clear; read and write */

    s->csr[4] &= (uint16_t) ~(value & causes);
    s->csr[4] = (uint16_t)((s->csr[4] & ~kept) | (value & kept));
    if (value & CSR4_UINTCMD)
        s->csr[4] |= CSR4_UINT;
}

static void csr5_write(struct pcnet *s, uint16_t value)
{
    static const uint16_t kept = 0xc52f;

    s->csr[5] = value & kept;
    if (!(value & CSR5_SPND))
        pcnet_transmit(s);
}

/* Software style: how descriptors look. The two bits above follow it: 32-bit structures, and CSRs
 * as the PCnet family has them. */
static void style_write(struct pcnet *s, uint16_t value)
{
    static const uint16_t bits[STYLE_LAST + 1] = {0x0200, 0x0100, 0x0300, 0x0300};
    unsigned style = value & 0xff;

    if (style <= STYLE_LAST)
        s->bcr[BCR_STYLE] = (uint16_t)(style | bits[style]);
}

/* ---- registers in general -------------------------------------------------------------------- */

static void write_row(struct pcnet *s, const struct row *row, uint16_t *reg, uint16_t value)
{
    bool still = (s->csr[0] & CSR0_STOP) || pcnet_suspended(s);

    if (!row || (row->stopped && !still))
        return;
    if (row->write)
        row->write(s, value);
    else
        *reg = (uint16_t)((*reg & ~row->writable) | (value & row->writable));
}

static uint16_t csr_read(const struct pcnet *s)
{
    switch (s->rap) {
    case 0:
        return (uint16_t)(s->csr[0] |
                          (s->csr[0] & (CSR0_BABL | CSR0_MISS | CSR0_MERR) ? CSR0_ERR : 0) |
                          (interrupting(s) ? CSR0_INTR : 0));
    case 16: /* once more CSR1 and 2 */
    case 17:
        return s->csr[s->rap - 15];
    case 58:
        return s->bcr[BCR_STYLE];
    case 72: /* counters of descriptors run down, lengths are negative */
        return (uint16_t)(pcnet_rx_entries(s) - s->rx_index);
    case 74:
        return (uint16_t)(pcnet_tx_entries(s) - s->tx_index);
    case 76:
        return (uint16_t)-pcnet_rx_entries(s);
    case 78:
        return (uint16_t)-pcnet_tx_entries(s);
    case CSR_CHIP:
        return (uint16_t)CHIP_ID;
    case CSR_CHIP + 1:
        return CHIP_ID >> 16;
    default:
        return s->csr[s->rap];
    }
}

static void csr_write(struct pcnet *s, uint16_t value)
{
    unsigned at = s->rap == 16 || s->rap == 17 ? s->rap - 15u : s->rap;

    write_row(s, row_of(csrs, ARRAY_LEN(csrs), at), &s->csr[at], value);
    pcnet_update(s);
}

static uint16_t bcr_read(const struct pcnet *s)
{
    uint16_t value = s->rap < ARRAY_LEN(s->bcr) ? s->bcr[s->rap] : 0;

    return s->rap == BCR_LINK ? value | LINK_UP : value;
}

static void bcr_write(struct pcnet *s, uint16_t value)
{
    if (s->rap < ARRAY_LEN(s->bcr))
        write_row(s, row_of(bcrs, ARRAY_LEN(bcrs), s->rap), &s->bcr[s->rap], value);
}

/* ---- reset ----------------------------------------------------------------------------------- */

/* By reading RESET. Addresses, filter and rings stay. */
static void soft_reset(struct pcnet *s)
{
    static const uint8_t again[] = {3, 4, 5, CSR_MODE, 80, 100, 122, 124};

    stop(s);
    for (unsigned i = 0; i < sizeof again; i++)
        s->csr[again[i]] = row_of(csrs, ARRAY_LEN(csrs), again[i])->reset;
    s->rap = 0;
    pcnet_update(s);
}

static void hard_reset(struct pcnet *s)
{
    memset(s->csr, 0, sizeof s->csr);
    memset(s->bcr, 0, sizeof s->bcr);
    for (unsigned i = 0; i < ARRAY_LEN(bcrs); i++)
        s->bcr[bcrs[i].at] = bcrs[i].reset;
    for (unsigned i = 0; i < 3; i++) /* from the EEPROM */
        s->csr[CSR_PADR + i] = (uint16_t)(s->mac[2 * i] | s->mac[2 * i + 1] << 8);
    s->rx_index = s->tx_index = 0;
    s->starved = 0;
    set_poll(s, TIMER_NEVER);
    soft_reset(s);
}

/* ---- accesses -------------------------------------------------------------------------------- */

static uint32_t read_aprom(const struct pcnet *s, unsigned at, unsigned size)
{
    uint32_t value = 0;

    for (unsigned i = 0; i < size; i++)
        value |= (uint32_t)s->aprom[at + i] << 8 * i;
    return value;
}

static uint32_t read_wide(struct pcnet *s, unsigned at)
{
    switch (at) {
    case D_RDP:
        return csr_read(s);
    case D_RAP:
        return s->rap;
    case D_RESET:
        soft_reset(s);
        return 0;
    default: /* D_BDP */
        return bcr_read(s);
    }
}

/* Which register a 16-bit access at `at` means, as the 32-bit one has it. */
static unsigned widened(unsigned at)
{
    return D_RDP + 2 * (at - W_RDP);
}

static bool dwio(const struct pcnet *s)
{
    return s->bcr[BCR_BURST] & BCR18_DWIO;
}

static uint32_t read_any(struct pcnet *s, unsigned at, unsigned size)
{
    if (at < PCNET_APROM)
        return read_aprom(s, at, size);
    if (dwio(s) && size == 4)
        return read_wide(s, at);
    if (!dwio(s) && size == 2 && at <= W_BDP)
        return read_wide(s, widened(at));
    return UINT32_MAX;
}

static void write_any(struct pcnet *s, unsigned at, unsigned size, uint32_t value)
{
    if (size == 4 && at == D_RDP)
        s->bcr[BCR_BURST] |= BCR18_DWIO;
    if (at < PCNET_APROM || size != (dwio(s) ? 4 : 2) || (!dwio(s) && at > W_BDP))
        return;
    switch (dwio(s) ? at : widened(at)) {
    case D_RDP:
        csr_write(s, (uint16_t)value);
        break;
    case D_RAP:
        s->rap = value & 0x7f;
        break;
    case D_BDP:
        bcr_write(s, (uint16_t)value);
        break;
    }
}

/* A frame was refused for want of a buffer, or it waits no longer: true if the backend is to be
 * told, without the lock, to try again. */
static bool found_room(struct pcnet *s)
{
    if (!s->starved)
        return false;
    bool room = !(s->csr[0] & CSR0_RXON) || !s->master || pcnet_room(s);
    pcnet_update(s); /* there may have been no memory */
    if (!room)
        return false;
    s->starved = 0;
    set_poll(s, TIMER_NEVER);
    return true;
}

static uint64_t reg_read(void *opaque, uint64_t offset, unsigned size)
{
    struct pcnet *s = opaque;

    pthread_mutex_lock(&s->lock);
    s->counts.accesses++;
    uint32_t value = read_any(s, (unsigned)offset, size);
    bool resume = found_room(s);
    pthread_mutex_unlock(&s->lock);
    if (resume)
        netdev_resume(s->net);
    return value;
}

static void reg_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct pcnet *s = opaque;

    pthread_mutex_lock(&s->lock);
    s->counts.accesses++;
    write_any(s, (unsigned)offset, size, (uint32_t)value);
    bool resume = found_room(s);
    pthread_mutex_unlock(&s->lock);
    if (resume)
        netdev_resume(s->net);
}

static const struct io_ops io = {reg_read, reg_write, 1, 4};

/* ---- receiving ------------------------------------------------------------------------------- */

static bool receive(void *opaque, const uint8_t *frame, size_t n)
{
    struct pcnet *s = opaque;
    enum pcnet_fate fate = PCNET_DROPPED;

    pthread_mutex_lock(&s->lock);
    if ((s->csr[0] & CSR0_RXON) && s->master && !(s->csr[CSR_MODE] & MODE_LOOP) &&
        pcnet_wants(s, frame)) {
        fate = pcnet_suspended(s) ? PCNET_WAITS : pcnet_store(s, frame, n);
        s->rx_news |= fate == PCNET_STORED;
        s->starved = fate == PCNET_WAITS;
        if (s->starved)
            set_poll(s, clock_now_ns(s->h.clock) + POLL_NS);
        if (fate == PCNET_DROPPED)
            pcnet_update(s);
    }
    pthread_mutex_unlock(&s->lock);
    return fate != PCNET_WAITS;
}

static void batch_end(void *opaque)
{
    struct pcnet *s = opaque;

    pthread_mutex_lock(&s->lock);
    if (s->rx_news) {
        s->rx_news = 0;
        s->csr[0] |= CSR0_RINT;
        pcnet_update(s);
    }
    pthread_mutex_unlock(&s->lock);
}

static void poll(void *opaque)
{
    struct pcnet *s = opaque;
    bool resume = false;

    pthread_mutex_lock(&s->lock);
    if (s->poll_ns <= clock_now_ns(s->h.clock)) {
        resume = found_room(s);
        if (!resume)
            set_poll(s, s->starved ? clock_now_ns(s->h.clock) + POLL_NS : TIMER_NEVER);
    }
    pthread_mutex_unlock(&s->lock);
    if (resume)
        netdev_resume(s->net);
}

/* ---- life ------------------------------------------------------------------------------------ */

static void take_command(struct pcnet *s)
{
    pthread_mutex_lock(&s->lock);
    s->master = (pci_get16(&s->pci, PCI_COMMAND) & PCI_COMMAND_MASTER) != 0;
    pthread_mutex_unlock(&s->lock);
}

static void config_written(struct pci_func *f, unsigned offset, unsigned size)
{
    if (offset <= PCI_COMMAND && offset + size > PCI_COMMAND)
        take_command(container_of(f, struct pcnet, pci));
}

static void reset(struct device *d)
{
    struct pcnet *s = container_of(d, struct pcnet, dev);

    pci_func_reset(&s->pci);
    pthread_mutex_lock(&s->lock);
    s->master = 0;
    hard_reset(s);
    pthread_mutex_unlock(&s->lock);
    netdev_resume(s->net);
}

/* A snapshot is not trusted: lengths and indexes come back into range. */
static void restored(struct device *d)
{
    struct pcnet *s = container_of(d, struct pcnet, dev);

    pci_func_restored(&s->pci);
    take_command(s);
    pthread_mutex_lock(&s->lock);
    unsigned lengths = s->csr[CSR_LENGTHS];
    if (lengths >> 12 > PCNET_LOG_MAX || (lengths >> 8 & 15) > PCNET_LOG_MAX)
        s->csr[CSR_LENGTHS] = 0;
    s->rx_index &= (uint16_t)(pcnet_rx_entries(s) - 1);
    s->tx_index &= (uint16_t)(pcnet_tx_entries(s) - 1);
    s->rap &= 0x7f;
    style_write(s, (s->bcr[BCR_STYLE] & 0xff) > STYLE_LAST ? 0 : s->bcr[BCR_STYLE]);
    timer_set(&s->poll, s->poll_ns);
    pcnet_update(s);
    pthread_mutex_unlock(&s->lock);
    netdev_resume(s->net);
}

static void release(struct device *d)
{
    struct pcnet *s = container_of(d, struct pcnet, dev);

    timer_set(&s->poll, TIMER_NEVER);
    pci_remove(&s->pci);
    if (s->net)
        s->net->client = (struct netdev_client){0};
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static void figures(struct device *d, const struct figure_sink *to)
{
    struct pcnet *s = container_of(d, struct pcnet, dev);
    nic_figures(&s->counts, s->net, to);
}

static const struct state_field state[] = {
    STATE_ARRAY(struct pcnet, pci.config), STATE_ARRAY(struct pcnet, csr),
    STATE_ARRAY(struct pcnet, bcr),        STATE(struct pcnet, rap),
    STATE(struct pcnet, starved),          STATE(struct pcnet, rx_news),
    STATE(struct pcnet, rx_index),         STATE(struct pcnet, tx_index),
    STATE(struct pcnet, poll_ns),
};

static const struct device_ops ops = {
    .name = "pcnet",
    .reset = reset,
    .free = release,
    .restored = restored,
    .figures = figures,
    .state = state,
    .state_count = ARRAY_LEN(state),
};

/* Address, hardware identification, checksum, "WW". */
static void fill_aprom(struct pcnet *s)
{
    unsigned sum = 0;

    memcpy(s->aprom, s->mac, sizeof s->mac);
    s->aprom[9] = 0x11;
    s->aprom[14] = s->aprom[15] = 'W';
    for (unsigned i = 0; i < PCNET_APROM; i++)
        sum += s->aprom[i];
    s->aprom[12] = (uint8_t)sum;
    s->aprom[13] = (uint8_t)(sum >> 8);
}

static void describe(struct pcnet *s)
{
    pci_func_init(&s->pci, "pcnet", 0x1022, 0x2000, 0x020000, 0x16);
    s->pci.config[PCI_STATUS] = 0x80; /* fast back-to-back transactions */
    s->pci.config[PCI_STATUS + 1] = 0x02;
    s->pci.config[PCI_INT_PIN] = 1;
    s->pci.config[PCI_INT_PIN + 1] = 0x06; /* how long and how often it wants the bus */
    s->pci.config[PCI_INT_PIN + 2] = 0xff;
    pci_func_bar(&s->pci, 0, true, PCNET_BYTES, &io, s);
    pci_func_bar(&s->pci, 1, false, PCNET_BYTES, &io, s);
    s->pci.config_written = config_written;
}

struct device *pcnet_new(const struct nic_wiring *w, struct err *e)
{
    struct pcnet *s = calloc(1, sizeof *s);

    if (!s) {
        err_set(e, ENOMEM, "no-memory", "no memory for a network card");
        return NULL;
    }
    s->dev = (struct device){.ops = &ops, .instance = w->instance};
    s->h = *w->host;
    s->net = w->net;
    memcpy(s->mac, w->mac, sizeof s->mac);
    pthread_mutex_init(&s->lock, NULL);
    timer_init(&s->poll, s->h.clock, poll, s);
    fill_aprom(s);
    describe(s);
    if (pci_add(w->pci, &s->pci, w->slot, w->function, e) < 0) {
        pthread_mutex_destroy(&s->lock);
        free(s);
        return NULL;
    }
    if (s->net)
        s->net->client = (struct netdev_client){receive, s, batch_end};
    reset(&s->dev);
    return &s->dev;
}
