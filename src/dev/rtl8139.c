/* SPDX-License-Identifier: MIT */
/* Realtek RTL8139C+ (PCI revision 0x20) or RTL8139C (0x10), 100 Mb/s Ethernet: registers,
 * filters, life. rtl8139_c.c moves frames as all these chips do, rtl8139_cp.c as the C+ does when
 * its driver switches that on. Data sheets RTL8139C(L) and RTL8139C+.
 *
 * 256 bytes of registers, in ports (BAR 0) and in memory (BAR 1), read and written in any size. A
 * table has those that can be written, with what happens then; all else reads as it was left.
 *
 * Linux' 8139cp can be interrupted between ending its poll and enabling the receive interrupt; it
 * then enables that with the next poll already asked for, and its handler neither does anything nor
 * clears the cause. On real machines a few instructions run between two interrupts, so that the
 * poll comes. Here MUTE_READS reads of ISR that change nothing hold the pin down for MUTE_NS.
 *
 * In C mode Linux' 8139too clears ROK while it reads frames and may stop before the ring is empty.
 * On a wire the next frame brings ROK back; here all may be there, and the rest refused. So ROK is
 * set when interrupts are enabled with frames in the ring.
 *
 * Left out: the timer interrupt, wake-up, write protection of the configuration bytes, early
 * receive and transmit, the bits of physical tests; the link is always up at 100 Mb/s. Sent frames
 * under loopback are lost. */
#include "rtl8139.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ring3/net_offload.h"

#define TIMER_HZ   33000000u
#define BYTES      256u
#define MUTE_READS 200
#define MUTE_NS    (100 * 1000)

enum { EE_EEM_PROGRAM = 0x80, EE_CS = 8, EE_SK = 4, EE_DI = 2, EE_DO = 1 };
enum { BMCR_RESET = 0x8000, BMCR_RESTART = 0x0200 };
#define TCR_LOOPBACK 0x00060000u

/* ---- interrupts ------------------------------------------------------------------------------ */

static void update_line(struct rtl8139 *s)
{
    bool wanted = rtl_get16(s, R_ISR) & rtl_get16(s, R_IMR);
    nic_pin(&s->counts, &s->pci, wanted && s->mute_ns == TIMER_NEVER);
}

/* ISR was read. */
static void count_isr_read(struct rtl8139 *s)
{
    if (!(rtl_get16(s, R_ISR) & rtl_get16(s, R_IMR)) || ++s->isr_reads < MUTE_READS)
        return;
    s->isr_reads = 0;
    s->mute_ns = clock_now_ns(s->h.clock) + MUTE_NS;
    timer_set(&s->mute_timer, s->mute_ns);
    update_line(s);
}

static void unmute(void *opaque)
{
    struct rtl8139 *s = opaque;
    pthread_mutex_lock(&s->lock);
    if (s->mute_ns <= clock_now_ns(s->h.clock)) {
        s->mute_ns = TIMER_NEVER;
        update_line(s);
    }
    pthread_mutex_unlock(&s->lock);
}

void rtl_cause(struct rtl8139 *s, unsigned causes)
{
    if (s->tx_unsaid) /* comes along */
        causes |= ISR_TOK | ISR_TDU;
    s->tx_unsaid = 0;
    rtl_put16(s, R_ISR, rtl_get16(s, R_ISR) | causes);
    update_line(s);
}

bool rtl_loopback(const struct rtl8139 *s)
{
    return (rtl_get32(s, R_TCR) & TCR_LOOPBACK) == TCR_LOOPBACK;
}

/* ---- receiving ------------------------------------------------------------------------------- */

/* Bits that say how it passed; 0: it did not. */
static unsigned filter(struct rtl8139 *s, const uint8_t *frame)
{
    static const uint8_t broadcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    uint32_t rcr = rtl_get32(s, R_RCR);
    if (memcmp(frame, broadcast, 6) == 0)
        return rcr & (RCR_AB | RCR_AAP) ? PASSED_BROADCAST : 0;
    if (frame[0] & 1) {
        unsigned hash = net_multicast_hash(frame);
        bool match = (rcr & RCR_AM) && (s->reg[R_MAR + hash / 8] >> hash % 8 & 1);
        return match || (rcr & RCR_AAP) ? PASSED_MULTICAST : 0;
    }
    bool mine = (rcr & RCR_APM) && memcmp(frame, s->reg + R_IDR, 6) == 0;
    return mine || (rcr & RCR_AAP) ? PASSED_PHYSICAL : 0;
}

static bool receive(void *opaque, const uint8_t *frame, size_t n)
{
    struct rtl8139 *s = opaque;
    bool taken = true;
    pthread_mutex_lock(&s->lock);
    unsigned how = s->reg[R_CR] & CR_RE && s->master ? filter(s, frame) : 0;
    if (how) {
        taken = rtl_cp_rx(s) ? rtl_cp_store(s, frame, n, how) : rtl_c_store(s, frame, n, how);
        s->starved = !taken;
        s->rx_news |= taken;
        s->received += taken;
    }
    pthread_mutex_unlock(&s->lock);
    return taken;
}

static void batch_end(void *opaque)
{
    struct rtl8139 *s = opaque;
    pthread_mutex_lock(&s->lock);
    if (s->rx_news) {
        s->rx_news = 0;
        rtl_cause(s, ISR_ROK);
    }
    pthread_mutex_unlock(&s->lock);
}

/* True if the backend is to be told, without the lock, that there is room. */
static bool found_room(struct rtl8139 *s)
{
    bool room =
        s->starved && (!(s->reg[R_CR] & CR_RE) || (rtl_cp_rx(s) ? rtl_cp_room(s) : rtl_c_room(s)));
    if (room)
        s->starved = 0;
    return room;
}

/* ---- reset ----------------------------------------------------------------------------------- */

/* By CR.RST; addresses, hash filter and configuration stay. */
static void soft_reset(struct rtl8139 *s)
{
    memset(s->reg + R_TSD, 0, 0x20);
    for (unsigned i = 0; i < 4; i++)
        rtl_put32(s, R_TSD + 4 * i, 0x2000);
    memset(s->reg + R_RBSTART, 0, R_TCR - R_RBSTART);
    rtl_put16(s, R_CAPR, 0xfff0);
    rtl_put32(s, R_TCR, s->c_plus ? 0x74800000 : 0x74000000); /* which chip it is */
    rtl_put32(s, R_RCR, 0);
    rtl_put16(s, R_CPCR, 0);
    rtl_put32(s, R_RDSAR, 0);
    rtl_put32(s, R_RDSAR + 4, 0);
    s->rx_news = 0;
    s->isr_reads = 0;
    s->mute_ns = TIMER_NEVER;
    timer_set(&s->mute_timer, TIMER_NEVER);
    s->timer_base_ns = clock_now_ns(s->h.clock);
    rtl_cp_reset(s);
    timer_set(&s->tx_timer, TIMER_NEVER);
    update_line(s);
}

static void reset_phy(struct rtl8139 *s)
{
    rtl_put16(s, R_BMCR, 0x1100); /* 100 Mb/s, full duplex, negotiates */
    rtl_put16(s, R_BMSR, 0x782d); /* negotiated, link up */
    rtl_put16(s, R_ANAR, 0x05e1);
    rtl_put16(s, R_ANLPAR, 0x45e1);
    rtl_put16(s, R_ANER, 0x0001);
}

static void hard_reset(struct rtl8139 *s)
{
    memset(s->reg, 0, sizeof s->reg);
    memcpy(s->reg + R_IDR, s->mac, 6);
    s->reg[R_CONFIG1] = 0x0c; /* ports and memory */
    s->reg[R_MSR] = 0x10;     /* link up (bit 2 clear), 100 Mb/s */
    rtl_put16(s, R_CSCR, 0x0408);
    reset_phy(s);
    eeprom93_deselect(&s->ee);
    soft_reset(s);
}

/* ---- registers that do something when written ------------------------------------------------ */

static void cr_write(struct rtl8139 *s, unsigned at, uint32_t value)
{
    uint32_t old = s->reg[R_CR];
    if (value & CR_RST) {
        soft_reset(s);
        return;
    }
    s->reg[R_CR] = value & (CR_TE | CR_RE);
    if (value & ~old & CR_RE)
        s->rx_index = 0;
    if (value & ~old & CR_TE)
        s->tx_index[0] = s->tx_index[1] = 0;
}

static void imr_write(struct rtl8139 *s, unsigned at, uint32_t value)
{
    rtl_put16(s, R_IMR, value);
    s->isr_reads = 0;
    if ((s->reg[R_CR] & CR_RE) && !rtl_cp_rx(s) && !rtl_c_empty(s))
        rtl_put16(s, R_ISR, rtl_get16(s, R_ISR) | ISR_ROK);
    update_line(s);
}

static void isr_write(struct rtl8139 *s, unsigned at, uint32_t value)
{
    if (rtl_get16(s, R_ISR) & value)
        s->isr_reads = 0;
    rtl_put16(s, R_ISR, rtl_get16(s, R_ISR) & ~value);
    update_line(s);
}

/* In C+ mode the same place has the address for a dump of counters, with a bit that starts it. */
static void tsd_write(struct rtl8139 *s, unsigned at, uint32_t value)
{
    rtl_put32(s, at, value);
    if (!rtl_cp_tx(s)) {
        rtl_c_send(s, (at - R_TSD) / 4);
    } else if (at == R_DTCCR && (value & 8)) {
        rtl_cp_dump(s);
        s->reg[R_DTCCR] &= (uint8_t)~8;
    }
}

static void tsad_write(struct rtl8139 *s, unsigned at, uint32_t value)
{
    rtl_put32(s, at, value);
    if (rtl_cp_tx(s))
        s->tx_index[at >= R_THPDS] = 0;
}

static void rdsar_write(struct rtl8139 *s, unsigned at, uint32_t value)
{
    rtl_put32(s, at, value);
    s->rx_index = 0;
}

static void poll_write(struct rtl8139 *s, unsigned at, uint32_t value)
{
    if (value & 0xc0)
        rtl_cp_transmit(s);
    if (value & 1) /* forced software interrupt */
        rtl_cause(s, ISR_SWINT);
}

static void cpcr_write(struct rtl8139 *s, unsigned at, uint32_t value)
{
    rtl_put16(s, R_CPCR, s->c_plus ? value & 0x7f : 0);
}

static void tcr_write(struct rtl8139 *s, unsigned at, uint32_t value)
{
    static const uint32_t version = 0x7cc00000;
    rtl_put32(s, R_TCR, (rtl_get32(s, R_TCR) & version) | (value & ~version));
}

static void tctr_write(struct rtl8139 *s, unsigned at, uint32_t value)
{
    s->timer_base_ns = clock_now_ns(s->h.clock);
}

static void eeprom_write(struct rtl8139 *s, unsigned at, uint32_t value)
{
    uint32_t old = s->reg[R_9346CR], out = old & EE_DO;
    if ((value & 0xc0) != EE_EEM_PROGRAM || !(value & EE_CS)) {
        eeprom93_deselect(&s->ee);
        out = EE_DO;
    } else if ((value & EE_SK) && !(old & EE_SK)) {
        out = eeprom93_clock(&s->ee, s->eeprom, value & EE_DI) ? EE_DO : 0;
    }
    s->reg[R_9346CR] = (uint8_t)((value & ~(uint32_t)EE_DO) | out);
}

static void bmcr_write(struct rtl8139 *s, unsigned at, uint32_t value)
{
    if (value & BMCR_RESET)
        reset_phy(s);
    else
        rtl_put16(s, R_BMCR, value & ~(uint32_t)BMCR_RESTART);
}

static void mpc_write(struct rtl8139 *s, unsigned at, uint32_t value)
{
    rtl_put32(s, R_MPC, 0);
}

/* `count` registers of `len` bytes from `at` on. Without `write` the bytes are stored. A narrower
 * access keeps the other bytes, or, where `ones_clear`, leaves them alone. */
static const struct row {
    uint8_t at, len, count;
    bool ones_clear;
    void (*write)(struct rtl8139 *s, unsigned at, uint32_t value);
} rows[] = {
    {R_IDR, 1, 6, false, NULL},          {R_MAR, 1, 8, false, NULL},
    {R_TSD, 4, 4, false, tsd_write},     {R_TSAD, 4, 4, false, tsad_write},
    {R_RBSTART, 4, 1, false, NULL},      {R_CR, 1, 1, false, cr_write},
    {R_CAPR, 2, 1, false, NULL},         {R_IMR, 2, 1, false, imr_write},
    {R_ISR, 2, 1, true, isr_write},      {R_TCR, 4, 1, false, tcr_write},
    {R_RCR, 4, 1, false, NULL},          {R_TCTR, 4, 1, false, tctr_write},
    {R_MPC, 4, 1, false, mpc_write},     {R_9346CR, 1, 1, false, eeprom_write},
    {R_CONFIG0, 1, 2, false, NULL},      {R_TIMERINT, 4, 1, false, NULL},
    {R_CONFIG3, 1, 2, false, NULL},      {R_MULINT, 2, 1, false, NULL},
    {R_BMCR, 2, 1, false, bmcr_write},   {R_ANAR, 2, 1, false, NULL},
    {R_NWAYTR, 2, 3, false, NULL},       {R_CONFIG5, 1, 1, false, NULL},
    {R_TPPOLL, 1, 1, false, poll_write}, {R_CPCR, 2, 1, false, cpcr_write},
    {R_RDSAR, 4, 2, false, rdsar_write}, {R_ETTHR, 1, 1, false, NULL},
};

/* The part of an access that falls on the register at `at`. */
static void write_one(struct rtl8139 *s, const struct row *r, unsigned at, unsigned first,
                      unsigned size, uint32_t value)
{
    uint32_t merged = 0;
    for (unsigned i = 0; i < r->len; i++) {
        bool written = at + i >= first && at + i < first + size;
        uint8_t byte = r->ones_clear ? 0 : s->reg[at + i];
        if (written)
            byte = (uint8_t)(value >> 8 * (at + i - first));
        merged |= (uint32_t)byte << 8 * i;
    }
    if (r->write)
        r->write(s, at, merged);
    else
        for (unsigned i = 0; i < r->len; i++)
            s->reg[at + i] = (uint8_t)(merged >> 8 * i);
}

static void reg_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct rtl8139 *s = opaque;
    unsigned first = (unsigned)offset;
    pthread_mutex_lock(&s->lock);
    s->counts.accesses++;
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++)
        for (unsigned n = 0; n < rows[i].count; n++) {
            unsigned at = rows[i].at + n * rows[i].len;
            if (at < first + size && at + rows[i].len > first)
                write_one(s, &rows[i], at, first, size, (uint32_t)value);
        }
    bool resume = found_room(s);
    pthread_mutex_unlock(&s->lock);
    if (resume)
        netdev_resume(s->net);
}

static uint8_t read_byte(struct rtl8139 *s, unsigned at)
{
    uint8_t empty = !rtl_cp_rx(s) && rtl_c_empty(s) ? CR_BUFE : 0;
    if (at == R_CR)
        return s->reg[at] | empty;
    if (at >= R_TSADS && at < R_TSADS + 2) { /* OWN, aborted, underrun, OK of the four */
        unsigned bits = 0;
        for (unsigned i = 0; i < 4; i++) {
            uint32_t tsd = rtl_get32(s, R_TSD + 4 * i);
            bits |= (tsd >> 13 & 1) << i | (tsd >> 15 & 1) << (12 + i);
        }
        return (uint8_t)(bits >> 8 * (at - R_TSADS));
    }
    if (at >= R_TCTR && at < R_TCTR + 4) {
        uint64_t ns = clock_now_ns(s->h.clock) - s->timer_base_ns;
        uint32_t ticks = (uint32_t)(ns / 1000 * (TIMER_HZ / 1000000));
        return (uint8_t)(ticks >> 8 * (at - R_TCTR));
    }
    return s->reg[at];
}

static uint64_t reg_read(void *opaque, uint64_t offset, unsigned size)
{
    struct rtl8139 *s = opaque;
    uint64_t value = 0;
    pthread_mutex_lock(&s->lock);
    s->counts.accesses++;
    for (unsigned i = 0; i < size; i++)
        value |= (uint64_t)read_byte(s, (unsigned)offset + i) << 8 * i;
    if (offset <= R_ISR && offset + size > R_ISR)
        count_isr_read(s);
    bool resume = found_room(s); /* C+ drivers give descriptors without telling the chip */
    pthread_mutex_unlock(&s->lock);
    if (resume)
        netdev_resume(s->net);
    return value;
}

static const struct io_ops io = {reg_read, reg_write, 1, 4};

/* ---- life ------------------------------------------------------------------------------------ */

static void take_command(struct rtl8139 *s)
{
    pthread_mutex_lock(&s->lock);
    s->master = (pci_get16(&s->pci, PCI_COMMAND) & PCI_COMMAND_MASTER) != 0;
    pthread_mutex_unlock(&s->lock);
}

static void config_written(struct pci_func *f, unsigned offset, unsigned size)
{
    if (offset <= PCI_COMMAND && offset + size > PCI_COMMAND)
        take_command(container_of(f, struct rtl8139, pci));
}

static void reset(struct device *d)
{
    struct rtl8139 *s = container_of(d, struct rtl8139, dev);
    pci_func_reset(&s->pci);
    pthread_mutex_lock(&s->lock);
    s->master = s->starved = 0;
    s->sent = s->received = 0;
    hard_reset(s);
    pthread_mutex_unlock(&s->lock);
    netdev_resume(s->net);
}

/* A snapshot is not trusted: sizes and indexes come back into range. */
static void restored(struct device *d)
{
    struct rtl8139 *s = container_of(d, struct rtl8139, dev);
    pci_func_restored(&s->pci);
    take_command(s);
    pthread_mutex_lock(&s->lock);
    if (s->tx_len > sizeof s->tx_frame)
        s->tx_len = 0;
    s->tx_index[0] %= 64;
    s->tx_index[1] %= 64;
    s->rx_index %= 64;
    timer_set(&s->tx_timer, s->tx_at_ns);
    timer_set(&s->mute_timer, s->mute_ns);
    update_line(s);
    pthread_mutex_unlock(&s->lock);
    netdev_resume(s->net);
}

static void release(struct device *d)
{
    struct rtl8139 *s = container_of(d, struct rtl8139, dev);
    timer_set(&s->tx_timer, TIMER_NEVER);
    timer_set(&s->mute_timer, TIMER_NEVER);
    pci_remove(&s->pci);
    if (s->net)
        s->net->client = (struct netdev_client){0};
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static void figures(struct device *d, const struct figure_sink *to)
{
    struct rtl8139 *s = container_of(d, struct rtl8139, dev);
    nic_figures(&s->counts, s->net, to);
}

static const struct state_field state[] = {
    STATE_ARRAY(struct rtl8139, pci.config),
    STATE_ARRAY(struct rtl8139, reg),
    STATE(struct rtl8139, ee.shift),
    STATE(struct rtl8139, ee.out),
    STATE(struct rtl8139, ee.bits),
    STATE(struct rtl8139, starved),
    STATE(struct rtl8139, rx_news),
    STATE(struct rtl8139, isr_reads),
    STATE(struct rtl8139, mute_ns),
    STATE(struct rtl8139, timer_base_ns),
    STATE(struct rtl8139, sent),
    STATE(struct rtl8139, received),
    STATE_ARRAY(struct rtl8139, tx_index),
    STATE(struct rtl8139, rx_index),
    STATE(struct rtl8139, tx_len),
    STATE(struct rtl8139, tx_drop),
    STATE(struct rtl8139, tx_unsaid),
    STATE(struct rtl8139, tx_at_ns),
    STATE_ARRAY(struct rtl8139, tx_frame),
};

static const struct device_ops ops = {
    .name = "rtl8139",
    .reset = reset,
    .free = release,
    .restored = restored,
    .figures = figures,
    .state = state,
    .state_count = ARRAY_LEN(state),
};

static void fill_eeprom(struct rtl8139 *s)
{
    s->eeprom[0] = 0x8129; /* the signature */
    s->eeprom[1] = 0x10ec;
    s->eeprom[2] = 0x8139;
    s->eeprom[3] = 0x10ec; /* subsystem */
    s->eeprom[4] = 0x8139;
    for (unsigned i = 0; i < 3; i++)
        s->eeprom[7 + i] = (uint16_t)(s->mac[2 * i] | s->mac[2 * i + 1] << 8);
}

static void describe(struct rtl8139 *s)
{
    pci_func_init(&s->pci, "rtl8139", 0x10ec, 0x8139, 0x020000, s->c_plus ? 0x20 : 0x10);
    s->pci.config[PCI_STATUS + 1] = 0x02;
    s->pci.config[PCI_SUBSYSTEM_VENDOR] = 0xec;
    s->pci.config[PCI_SUBSYSTEM_VENDOR + 1] = 0x10;
    s->pci.config[PCI_SUBSYSTEM] = 0x39;
    s->pci.config[PCI_SUBSYSTEM + 1] = 0x81;
    s->pci.config[PCI_INT_PIN] = 1;
    pci_func_bar(&s->pci, 0, true, BYTES, &io, s);
    pci_func_bar(&s->pci, 1, false, BYTES, &io, s);
    s->pci.config_written = config_written;
}

static struct device *make(const struct nic_wiring *w, bool c_plus, struct err *e)
{
    struct rtl8139 *s = calloc(1, sizeof *s);
    if (!s) {
        err_set(e, ENOMEM, "no-memory", "no memory for a network card");
        return NULL;
    }
    s->dev = (struct device){.ops = &ops, .instance = w->instance};
    s->h = *w->host;
    s->net = w->net;
    s->c_plus = c_plus;
    memcpy(s->mac, w->mac, sizeof s->mac);
    pthread_mutex_init(&s->lock, NULL);
    timer_init(&s->tx_timer, s->h.clock, rtl_cp_timer, s);
    timer_init(&s->mute_timer, s->h.clock, unmute, s);
    fill_eeprom(s);
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

struct device *rtl8139_new(const struct nic_wiring *w, struct err *e)
{
    return make(w, true, e);
}

struct device *rtl8139c_new(const struct nic_wiring *w, struct err *e)
{
    return make(w, false, e);
}
