/* SPDX-License-Identifier: MIT */
/* Realtek RTL8029AS: an NE2000 on PCI, the card that systems without any other driver know.
 * National DP8390D data sheet (registers, ring) and the RTL8029AS's (identity, page 3).
 *
 *   port 00-0f  registers of the DP8390, in pages       10-17 data port       18-1f reset
 *
 * The card has 16 KiB of memory at 0x4000 and, at 0, the station address with each byte twice. The
 * driver moves bytes to and from it through the data port ("remote DMA": RSAR address, RBCR count).
 * Received frames lie in a ring of pages of 256 bytes, PSTART to PSTOP, each frame with
 *
 *   status | next page | length low | length high     (with these four bytes)
 *
 * in front of it; the card writes at CURR, the driver has read up to BNRY.
 * Drivers read CURR, deal with the frames up to there and then clear PRX; a frame that comes in
 * between is lost to a driver until the next one. That is rare on a wire of 10 Mb/s. Here whole
 * batches come in such a moment, so PRX is set again if CURR has moved since it was read. Left out:
 * collisions and all errors of the wire, loopback (frames are lost), page 3's settings.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "ring3/devices/nic.h"
#include "ring3/net_offload.h"

#define PORTS      32
#define DATA_PORT  0x10
#define RESET_PORT 0x18
#define MEM_START  0x4000u
#define MEM_BYTES  0x4000u
#define PROM_BYTES 32
#define PAGE       256u
#define HEADER     4u
#define LONGEST    1518u

enum { CR_STP = 1, CR_STA = 2, CR_TXP = 4, CR_DMA = 0x38, CR_READ = 0x08, CR_WRITE = 0x10 };
enum { ISR_PRX = 1, ISR_PTX = 2, ISR_TXE = 8, ISR_RDC = 0x40, ISR_RST = 0x80 };
enum { RCR_AB = 4, RCR_AM = 8, RCR_PRO = 0x10, RCR_MON = 0x20 };
enum { RSR_PRX = 1, RSR_PHY = 0x20 };
#define DCR_WORD     1
#define TCR_LOOPBACK 6
#define TSR_PTX      1

/* Registers of page 0 as they are written, by number; BNRY, ISR and CR are kept here, too. */
enum {
    CR,
    PSTART,
    PSTOP,
    BNRY,
    TPSR,
    TBCR0,
    TBCR1,
    ISR,
    RSAR0,
    RSAR1,
    RBCR0,
    RBCR1,
    RCR,
    TCR,
    DCR,
    IMR
};
/* Page 1: 1 to 6 the station address, 7 CURR, 8 to 15 the multicast filter. */
#define CURR 7
#define MAR  8

struct ne2k {
    struct device dev;
    struct pci_func pci;
    struct netdev *net;
    uint8_t mac[6];

    pthread_mutex_t lock; /* the rest */
    struct nic_counts counts;
    uint8_t page0[16], page1[16];
    uint8_t tsr, rsr, starved, rx_news;
    uint8_t seen; /* CURR as last read */
    uint8_t mem[MEM_BYTES];
};

static void update_line(struct ne2k *s)
{
    nic_pin(&s->counts, &s->pci, s->page0[ISR] & s->page0[IMR] & 0x7f);
}

static unsigned pair(const struct ne2k *s, unsigned low)
{
    return (unsigned)(s->page0[low] | s->page0[low + 1] << 8);
}

static void set_pair(struct ne2k *s, unsigned low, unsigned value)
{
    s->page0[low] = (uint8_t)value;
    s->page0[low + 1] = (uint8_t)(value >> 8);
}

/* ---- the card's memory ----------------------------------------------------------------------- */

static uint8_t mem_read(const struct ne2k *s, unsigned at)
{
    static const uint8_t signature = 0x57;
    if (at < PROM_BYTES)
        return at / 2 < 6 ? s->mac[at / 2] : at / 2 >= 14 ? signature : 0;
    return at - MEM_START < MEM_BYTES ? s->mem[at - MEM_START] : 0xff;
}

static void mem_write(struct ne2k *s, unsigned at, uint8_t value)
{
    if (at - MEM_START < MEM_BYTES)
        s->mem[at - MEM_START] = value;
}

/* Remote DMA moves on; at the end of the ring it goes on at its start. */
static void dma_step(struct ne2k *s, unsigned n)
{
    unsigned at = pair(s, RSAR0) + n, left = pair(s, RBCR0);
    if (at == s->page0[PSTOP] * PAGE)
        at = s->page0[PSTART] * PAGE;
    set_pair(s, RSAR0, at);
    set_pair(s, RBCR0, left > n ? left - n : 0);
    if (left <= n) {
        s->page0[ISR] |= ISR_RDC;
        update_line(s);
    }
}

/* One transfer of the data port: a byte or, in word mode, a word, whatever the port's access. */
static uint32_t data_read(struct ne2k *s)
{
    unsigned at = pair(s, RSAR0), step = s->page0[DCR] & DCR_WORD ? 2 : 1;
    uint32_t value = mem_read(s, at);
    if (step == 2)
        value |= (uint32_t)mem_read(s, at + 1) << 8;
    if (pair(s, RBCR0))
        dma_step(s, step);
    return value;
}

static void data_write(struct ne2k *s, uint32_t value)
{
    unsigned at = pair(s, RSAR0), step = s->page0[DCR] & DCR_WORD ? 2 : 1;
    if (!pair(s, RBCR0))
        return;
    mem_write(s, at, (uint8_t)value);
    if (step == 2)
        mem_write(s, at + 1, (uint8_t)(value >> 8));
    dma_step(s, step);
}

/* ---- frames ---------------------------------------------------------------------------------- */

static void transmit(struct ne2k *s)
{
    unsigned at = s->page0[TPSR] * PAGE - MEM_START, n = pair(s, TBCR0);
    bool good = at < MEM_BYTES && n <= MEM_BYTES - at && n >= NET_FRAME_MIN && n <= LONGEST;
    if (good && !(s->page0[TCR] & TCR_LOOPBACK)) {
        struct iovec iov = {s->mem + at, n};
        netdev_send(s->net, &iov, 1);
    }
    s->tsr = good ? TSR_PTX : 0;
    s->page0[ISR] |= good ? ISR_PTX : ISR_TXE;
    s->page0[CR] &= (uint8_t)~CR_TXP;
    update_line(s);
}

static unsigned ring_start(const struct ne2k *s)
{
    return s->page0[PSTART] * PAGE;
}

static unsigned ring_stop(const struct ne2k *s)
{
    return s->page0[PSTOP] * PAGE;
}

/* The ring lies in memory and CURR lies in the ring. */
static bool ring_is_good(const struct ne2k *s)
{
    uint8_t first = s->page0[PSTART], last = s->page0[PSTOP];
    return ring_start(s) >= MEM_START && ring_stop(s) <= MEM_START + MEM_BYTES && first < last &&
           s->page1[CURR] >= first && s->page1[CURR] < last;
}

/* Drivers write the page in front of the next frame to BNRY, even if that is in front of the ring.
 */
static bool has_room(const struct ne2k *s)
{
    unsigned first = s->page0[PSTART], last = s->page0[PSTOP];
    unsigned at = s->page1[CURR], end = s->page0[BNRY];
    if (end < first || end >= last)
        end = last - 1;
    unsigned pages = at < end ? end - at : last - first - (at - end);
    return pages * PAGE >= LONGEST + HEADER + PAGE;
}

static bool hears(const struct ne2k *s)
{
    return (s->page0[CR] & (CR_STP | CR_STA)) == CR_STA && !(s->page0[RCR] & RCR_MON) &&
           !(s->page0[TCR] & TCR_LOOPBACK) && ring_is_good(s);
}

static bool passes(const struct ne2k *s, const uint8_t *frame)
{
    static const uint8_t broadcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    uint8_t rcr = s->page0[RCR];
    if (rcr & RCR_PRO)
        return true;
    if (memcmp(frame, broadcast, 6) == 0)
        return rcr & RCR_AB;
    if (!(frame[0] & 1))
        return memcmp(frame, s->page1 + 1, 6) == 0;
    unsigned hash = net_multicast_hash(frame);
    return (rcr & RCR_AM) && (s->page1[MAR + hash / 8] >> hash % 8 & 1);
}

static void ring_put(struct ne2k *s, unsigned *at, const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        s->mem[*at - MEM_START] = p[i];
        if (++*at == ring_stop(s))
            *at = ring_start(s);
    }
}

/* A frame with its header takes whole pages. */
static void store(struct ne2k *s, const uint8_t *frame, size_t n)
{
    unsigned at = s->page1[CURR] * PAGE, total = (unsigned)n + HEADER;
    unsigned next = s->page1[CURR] + (total + PAGE - 1) / PAGE;
    if (next >= s->page0[PSTOP])
        next -= s->page0[PSTOP] - s->page0[PSTART];
    s->rsr = (uint8_t)(RSR_PRX | (frame[0] & 1 ? RSR_PHY : 0));
    uint8_t header[HEADER] = {s->rsr, (uint8_t)next, (uint8_t)total, (uint8_t)(total >> 8)};
    ring_put(s, &at, header, HEADER);
    ring_put(s, &at, frame, n);
    s->page1[CURR] = (uint8_t)next;
    s->rx_news = 1;
}

static bool receive(void *opaque, const uint8_t *frame, size_t n)
{
    struct ne2k *s = opaque;
    bool taken = true;
    pthread_mutex_lock(&s->lock);
    if (n <= LONGEST && hears(s) && passes(s, frame)) {
        taken = has_room(s);
        s->starved = !taken;
        if (taken)
            store(s, frame, n);
    }
    pthread_mutex_unlock(&s->lock);
    return taken;
}

static void batch_end(void *opaque)
{
    struct ne2k *s = opaque;
    pthread_mutex_lock(&s->lock);
    if (s->rx_news) {
        s->rx_news = 0;
        s->page0[ISR] |= ISR_PRX;
        update_line(s);
    }
    pthread_mutex_unlock(&s->lock);
}

/* ---- registers ------------------------------------------------------------------------------- */

static void reset_registers(struct ne2k *s)
{
    memset(s->page0, 0, sizeof s->page0);
    s->page0[CR] = CR_STP | 0x20;
    s->page0[ISR] = ISR_RST;
    s->tsr = s->rsr = s->rx_news = s->seen = 0;
    update_line(s);
}

static void cr_write(struct ne2k *s, uint8_t value)
{
    if (!(value & (CR_STP | CR_STA))) /* neither: as it was */
        value |= s->page0[CR] & (CR_STP | CR_STA);
    s->page0[CR] = value;
    if (value & CR_STP)
        s->page0[ISR] |= ISR_RST;
    else
        s->page0[ISR] &= (uint8_t)~ISR_RST;
    unsigned dma = value & CR_DMA;
    if ((dma == CR_READ || dma == CR_WRITE) && !pair(s, RBCR0))
        s->page0[ISR] |= ISR_RDC;
    update_line(s);
    if ((value & CR_TXP) && !(value & CR_STP))
        transmit(s);
}

static void page0_write(struct ne2k *s, unsigned at, uint8_t value)
{
    uint8_t unseen = hears(s) && s->seen != s->page1[CURR] ? ISR_PRX : 0;
    if (at == ISR)
        s->page0[ISR] &= (uint8_t) ~(value & ~unseen & 0x7f);
    else
        s->page0[at] = value;
    update_line(s);
}

static uint8_t page0_read(const struct ne2k *s, unsigned at)
{
    switch (at) {
    case 1:
    case 2: /* local DMA */
        return 0;
    case 4:
        return s->tsr;
    case 8:
    case 9: /* remote DMA */
        return s->page0[RSAR0 + at - 8];
    case 10:
        return 0x50; /* identify the RTL8029 */
    case 11:
        return 0x43;
    case 12:
        return s->rsr;
    case 3:
    case 7:
        return s->page0[at];
    default: /* collisions, FIFO, counters of errors */
        return 0;
    }
}

static uint8_t register_read(struct ne2k *s, unsigned at)
{
    if (at == CURR && s->page0[CR] >> 6 == 1)
        s->seen = s->page1[CURR];
    if (at == 0)
        return s->page0[CR];
    switch (s->page0[CR] >> 6) {
    case 0:
        return page0_read(s, at);
    case 1:
        return s->page1[at];
    case 2:
        return s->page0[at];
    default:
        return 0;
    }
}

static void register_write(struct ne2k *s, unsigned at, uint8_t value)
{
    unsigned page = s->page0[CR] >> 6;
    if (at == 0)
        cr_write(s, value);
    else if (page == 0)
        page0_write(s, at, value);
    else if (page == 1)
        s->page1[at] = value;
}

static uint64_t port_read(void *opaque, uint64_t offset, unsigned size)
{
    struct ne2k *s = opaque;
    uint64_t value = 0;
    pthread_mutex_lock(&s->lock);
    s->counts.accesses++;
    if (offset < DATA_PORT) {
        for (unsigned i = 0; i < size; i++)
            value |= (uint64_t)register_read(s, (unsigned)offset + i) << 8 * i;
    } else if (offset < RESET_PORT) {
        value = data_read(s);
        if (size == 4)
            value |= (uint64_t)data_read(s) << 16;
    } else {
        reset_registers(s);
    }
    pthread_mutex_unlock(&s->lock);
    return value & (UINT64_MAX >> (64 - 8 * size));
}

static void port_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct ne2k *s = opaque;
    pthread_mutex_lock(&s->lock);
    s->counts.accesses++;
    if (offset < DATA_PORT) {
        for (unsigned i = 0; i < size; i++)
            register_write(s, (unsigned)offset + i, (uint8_t)(value >> 8 * i));
    } else if (offset < RESET_PORT) {
        data_write(s, (uint32_t)value);
        if (size == 4)
            data_write(s, (uint32_t)(value >> 16));
    }
    bool resume = s->starved && (!hears(s) || has_room(s));
    s->starved = s->starved && !resume;
    pthread_mutex_unlock(&s->lock);
    if (resume)
        netdev_resume(s->net);
}

static const struct io_ops io = {port_read, port_write, 1, 4};

/* ---- life ------------------------------------------------------------------------------------ */

static void reset(struct device *d)
{
    struct ne2k *s = container_of(d, struct ne2k, dev);
    pci_func_reset(&s->pci);
    pthread_mutex_lock(&s->lock);
    s->starved = 0;
    memset(s->page1, 0, sizeof s->page1);
    memcpy(s->page1 + 1, s->mac, 6);
    memset(s->mem, 0, sizeof s->mem);
    reset_registers(s);
    pthread_mutex_unlock(&s->lock);
    netdev_resume(s->net);
}

/* The ring's limits are checked in use. */
static void restored(struct device *d)
{
    struct ne2k *s = container_of(d, struct ne2k, dev);
    pci_func_restored(&s->pci);
    pthread_mutex_lock(&s->lock);
    update_line(s);
    pthread_mutex_unlock(&s->lock);
    netdev_resume(s->net);
}

static void release(struct device *d)
{
    struct ne2k *s = container_of(d, struct ne2k, dev);
    pci_remove(&s->pci);
    if (s->net)
        s->net->client = (struct netdev_client){0};
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static void figures(struct device *d, const struct figure_sink *to)
{
    struct ne2k *s = container_of(d, struct ne2k, dev);
    nic_figures(&s->counts, s->net, to);
}

static const struct state_field state[] = {
    STATE_ARRAY(struct ne2k, pci.config),
    STATE_ARRAY(struct ne2k, page0),
    STATE_ARRAY(struct ne2k, page1),
    STATE(struct ne2k, tsr),
    STATE(struct ne2k, rsr),
    STATE(struct ne2k, starved),
    STATE(struct ne2k, rx_news),
    STATE(struct ne2k, seen),
    STATE_ARRAY(struct ne2k, mem),
};

static const struct device_ops ops = {
    .name = "ne2k",
    .reset = reset,
    .free = release,
    .restored = restored,
    .figures = figures,
    .state = state,
    .state_count = ARRAY_LEN(state),
};

struct device *ne2k_new(const struct nic_wiring *w, struct err *e)
{
    struct ne2k *s = calloc(1, sizeof *s);
    if (!s) {
        err_set(e, ENOMEM, "no-memory", "no memory for a network card");
        return NULL;
    }
    s->dev = (struct device){.ops = &ops, .instance = w->instance};
    s->net = w->net;
    memcpy(s->mac, w->mac, sizeof s->mac);
    pthread_mutex_init(&s->lock, NULL);
    pci_func_init(&s->pci, "ne2k", 0x10ec, 0x8029, 0x020000, 0);
    s->pci.config[PCI_STATUS + 1] = 0x02;
    s->pci.config[PCI_INT_PIN] = 1;
    pci_func_bar(&s->pci, 0, true, PORTS, &io, s);
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
