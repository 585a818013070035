/* SPDX-License-Identifier: MIT */
/* ns16550a serial port (National Semiconductor PC16550D data sheet, section 8).
 *
 * Output leaves at once: a byte written to THR goes to the backend within the register write, so
 * THRE and TEMT are normally always set. When the backend is congested the bytes wait in the
 * transmit FIFO, THRE stays clear, and the guest sees a slow line until client.writable().
 * Input waits in the backend while the receive FIFO is full, so it is never overrun by the host;
 * only loopback can overrun it. The receive timeout is four character times at the programmed
 * rate, at most TIMEOUT_MAX_NS so that a terminal stays pleasant at 50 baud.
 *
 * Left out: parity, framing and break errors (a backend has none; LCR's break bit is only kept),
 * modem lines of the outside world (a terminal that is always ready: CTS, DSR, DCD set). */
#include "ring3/devices/ns16550.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define FIFO_BYTES     16
#define CRYSTAL_HZ     1843200
#define TIMEOUT_MAX_NS (4 * 1000 * 1000)

enum { REG_DATA, REG_IER, REG_IIR_FCR, REG_LCR, REG_MCR, REG_LSR, REG_MSR, REG_SCR, REG_COUNT };

enum { IER_RX = 1, IER_THRE = 2, IER_LINE = 4, IER_MODEM = 8 };
enum {
    IIR_NONE = 0x01,
    IIR_LINE = 0x06,
    IIR_RX = 0x04,
    IIR_TIMEOUT = 0x0c,
    IIR_THRE = 0x02,
    IIR_MODEM = 0x00,
    IIR_FIFOS = 0xc0
};
enum { FCR_ENABLE = 1, FCR_CLEAR_RX = 2, FCR_CLEAR_TX = 4, FCR_KEPT = 0xc9 };
enum { LCR_STOP2 = 0x04, LCR_PARITY = 0x08, LCR_DLAB = 0x80 };
enum { MCR_DTR = 1, MCR_RTS = 2, MCR_OUT1 = 4, MCR_OUT2 = 8, MCR_LOOP = 0x10 };
enum { LSR_DR = 1, LSR_OVERRUN = 2, LSR_ERRORS = 0x1e, LSR_THRE = 0x20, LSR_TEMT = 0x40 };
enum {
    MSR_DELTAS = 0x0f,
    MSR_TERI = 4,
    MSR_CTS = 0x10,
    MSR_DSR = 0x20,
    MSR_RI = 0x40,
    MSR_DCD = 0x80
};

struct fifo {
    uint8_t bytes[FIFO_BYTES];
    uint8_t head, count;
};

struct ns16550 {
    struct device d;
    struct ns16550_config config;
    struct clock *clock;
    struct timer timeout;
    pthread_mutex_t lock; /* guards everything below */

    uint8_t ier, fcr, lcr, mcr, msr, scr, dll, dlm;
    uint8_t overrun;         /* LSR's overrun bit, until LSR is read */
    uint8_t thre_pending;    /* the THRE interrupt waits to be seen in IIR */
    uint8_t timeout_pending; /* the character timeout interrupt is on */
    uint64_t timeout_ns;     /* when it comes on; TIMER_NEVER if it will not */
    struct fifo rx, tx;
};

static void fifo_clear(struct fifo *f)
{
    f->head = f->count = 0;
}

static bool fifo_put(struct fifo *f, size_t limit, uint8_t byte)
{
    if (f->count >= limit)
        return false;
    f->bytes[(f->head + f->count++) % FIFO_BYTES] = byte;
    return true;
}

static uint8_t fifo_get(struct fifo *f)
{
    uint8_t byte = f->bytes[f->head % FIFO_BYTES];
    f->head = (uint8_t)((f->head + 1) % FIFO_BYTES);
    f->count--;
    return byte;
}

static size_t fifo_limit(const struct ns16550 *s)
{
    return s->fcr & FCR_ENABLE ? FIFO_BYTES : 1;
}

static unsigned rx_trigger(const struct ns16550 *s)
{
    static const uint8_t levels[] = {1, 4, 8, 14};
    return s->fcr & FCR_ENABLE ? levels[s->fcr >> 6] : 1;
}

/* Interrupt identification by priority (table III of the data sheet). */
static uint8_t pending_id(const struct ns16550 *s)
{
    if ((s->ier & IER_LINE) && s->overrun)
        return IIR_LINE;
    if ((s->ier & IER_RX) && s->rx.count >= rx_trigger(s))
        return IIR_RX;
    if ((s->ier & IER_RX) && s->timeout_pending)
        return IIR_TIMEOUT;
    if ((s->ier & IER_THRE) && s->thre_pending)
        return IIR_THRE;
    if ((s->ier & IER_MODEM) && (s->msr & MSR_DELTAS))
        return IIR_MODEM;
    return IIR_NONE;
}

/* In loopback the OUT2 pin is inactive whatever MCR says. */
static bool irq_connected(const struct ns16550 *s)
{
    return !s->config.out2_gates_irq || (s->mcr & (MCR_OUT2 | MCR_LOOP)) == MCR_OUT2;
}

static void update_irq(struct ns16550 *s)
{
    irq_set(&s->config.irq, irq_connected(s) && pending_id(s) != IIR_NONE);
}

static uint64_t four_characters_ns(const struct ns16550 *s)
{
    uint64_t divisor = (uint64_t)s->dlm << 8 | s->dll;
    unsigned bits = 1 + 5 + (s->lcr & 3) + !!(s->lcr & LCR_PARITY) + 1 + !!(s->lcr & LCR_STOP2);
    uint64_t ns = 4 * bits * 16 * divisor * NS_PER_SEC / CRYSTAL_HZ;
    return ns && ns < TIMEOUT_MAX_NS ? ns : TIMEOUT_MAX_NS;
}

/* The receive FIFO was touched: the timeout starts again if bytes wait below the trigger level. */
static void restart_timeout(struct ns16550 *s)
{
    s->timeout_pending = 0;
    bool waits = (s->fcr & FCR_ENABLE) && s->rx.count;
    s->timeout_ns = waits ? clock_now_ns(s->clock) + four_characters_ns(s) : TIMER_NEVER;
    timer_set(&s->timeout, s->timeout_ns);
}

static void on_timeout(void *opaque)
{
    struct ns16550 *s = opaque;
    pthread_mutex_lock(&s->lock);
    if (s->timeout_ns <= clock_now_ns(s->clock)) {
        s->timeout_ns = TIMER_NEVER;
        s->timeout_pending = 1;
        update_irq(s);
    }
    pthread_mutex_unlock(&s->lock);
}

static void receive_byte(struct ns16550 *s, uint8_t byte)
{
    if (fifo_put(&s->rx, fifo_limit(s), byte))
        return;
    s->overrun = LSR_OVERRUN;
    if (!(s->fcr & FCR_ENABLE)) /* without FIFO the new byte overwrites the old one */
        s->rx.bytes[s->rx.head % FIFO_BYTES] = byte;
}

/* Move transmit bytes on. In loopback they arrive at the receiver. */
static void pump(struct ns16550 *s)
{
    if (!s->tx.count)
        return;
    while (s->tx.count) {
        uint8_t byte = s->tx.bytes[s->tx.head % FIFO_BYTES];
        if (s->mcr & MCR_LOOP) {
            receive_byte(s, byte);
            restart_timeout(s);
        } else if (!chardev_write(s->config.chr, &byte, 1)) {
            return;
        }
        fifo_get(&s->tx);
    }
    s->thre_pending = 1;
}

static void write_thr(struct ns16550 *s, uint8_t byte)
{
    s->thre_pending = 0;
    /* A full transmitter loses the byte, as the data sheet warns. */
    fifo_put(&s->tx, fifo_limit(s), byte);
    pump(s);
}

static void write_ier(struct ns16550 *s, uint8_t value)
{
    uint8_t rising = value & ~s->ier;
    s->ier = value & 0x0f;
    if ((rising & IER_THRE) && !s->tx.count)
        s->thre_pending = 1;
}

static void write_fcr(struct ns16550 *s, uint8_t value)
{
    bool toggled = (value ^ s->fcr) & FCR_ENABLE;
    bool transmitting = s->tx.count;
    if (toggled || ((value & FCR_ENABLE) && (value & FCR_CLEAR_RX))) {
        fifo_clear(&s->rx);
        s->overrun = 0;
    }
    if (toggled || ((value & FCR_ENABLE) && (value & FCR_CLEAR_TX)))
        fifo_clear(&s->tx);
    if (transmitting && !s->tx.count)
        s->thre_pending = 1;
    s->fcr = value & FCR_ENABLE ? value & FCR_KEPT : 0;
    restart_timeout(s);
}

/* Modem inputs: from MCR in loopback, else a terminal that is always ready. Changes leave marks
 * in the low bits. */
static void update_modem(struct ns16550 *s)
{
    uint8_t lines = MSR_CTS | MSR_DSR | MSR_DCD;
    if (s->mcr & MCR_LOOP)
        lines = (uint8_t)((s->mcr & MCR_RTS ? MSR_CTS : 0) | (s->mcr & MCR_DTR ? MSR_DSR : 0) |
                          (s->mcr & MCR_OUT1 ? MSR_RI : 0) | (s->mcr & MCR_OUT2 ? MSR_DCD : 0));
    uint8_t changed = (s->msr ^ lines) >> 4;
    if (lines & MSR_RI)
        changed &= (uint8_t)~MSR_TERI; /* only the trailing edge of RI counts */
    s->msr = lines | ((s->msr | changed) & MSR_DELTAS);
}

static uint8_t read_lsr(struct ns16550 *s)
{
    uint8_t lsr = s->overrun;
    if (s->rx.count)
        lsr |= LSR_DR;
    if (!s->tx.count)
        lsr |= LSR_THRE | LSR_TEMT;
    s->overrun = 0;
    return lsr;
}

static uint8_t read_iir(struct ns16550 *s)
{
    uint8_t id = pending_id(s);
    if (id == IIR_THRE)
        s->thre_pending = 0;
    return s->fcr & FCR_ENABLE ? id | IIR_FIFOS : id;
}

static uint8_t read_rbr(struct ns16550 *s)
{
    if (!s->rx.count)
        return 0;
    uint8_t byte = fifo_get(&s->rx);
    restart_timeout(s);
    return byte;
}

static uint8_t read_register(struct ns16550 *s, unsigned reg)
{
    uint8_t value;
    bool dlab = s->lcr & LCR_DLAB;
    switch (reg) {
    case REG_DATA:
        return dlab ? s->dll : read_rbr(s);
    case REG_IER:
        return dlab ? s->dlm : s->ier;
    case REG_IIR_FCR:
        return read_iir(s);
    case REG_LCR:
        return s->lcr;
    case REG_MCR:
        return s->mcr;
    case REG_LSR:
        return read_lsr(s);
    case REG_MSR:
        value = s->msr;
        s->msr &= (uint8_t)~MSR_DELTAS;
        return value;
    default:
        return s->scr;
    }
}

static void write_register(struct ns16550 *s, unsigned reg, uint8_t value)
{
    bool dlab = s->lcr & LCR_DLAB;
    switch (reg) {
    case REG_DATA:
        if (dlab)
            s->dll = value;
        else
            write_thr(s, value);
        break;
    case REG_IER:
        if (dlab)
            s->dlm = value;
        else
            write_ier(s, value);
        break;
    case REG_IIR_FCR:
        write_fcr(s, value);
        break;
    case REG_LCR:
        s->lcr = value;
        break;
    case REG_MCR:
        s->mcr = value & 0x1f;
        update_modem(s);
        pump(s); /* bytes that waited for the backend may now loop */
        break;
    case REG_SCR:
        s->scr = value;
        break;
    default:
        break; /* LSR and MSR are for factory tests only */
    }
}

static size_t rx_room(const struct ns16550 *s)
{
    return s->mcr & MCR_LOOP ? 0 : fifo_limit(s) - s->rx.count;
}

/* Run a register access; tells the backend, without the lock, if room for input appeared. */
static uint64_t uart_read(void *opaque, uint64_t offset, unsigned size)
{
    struct ns16550 *s = opaque;
    if (offset & ((1u << s->config.shift) - 1))
        return 0; /* padding between registers */
    pthread_mutex_lock(&s->lock);
    size_t room = rx_room(s);
    uint8_t value = read_register(s, (offset >> s->config.shift) % REG_COUNT);
    bool resume = !room && rx_room(s);
    update_irq(s);
    pthread_mutex_unlock(&s->lock);
    if (resume)
        chardev_resume(s->config.chr);
    return value;
}

static void uart_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct ns16550 *s = opaque;
    if (offset & ((1u << s->config.shift) - 1))
        return;
    pthread_mutex_lock(&s->lock);
    size_t room = rx_room(s);
    write_register(s, (offset >> s->config.shift) % REG_COUNT, (uint8_t)value);
    bool resume = !room && rx_room(s);
    update_irq(s);
    pthread_mutex_unlock(&s->lock);
    if (resume)
        chardev_resume(s->config.chr);
}

static size_t client_room(void *opaque)
{
    struct ns16550 *s = opaque;
    pthread_mutex_lock(&s->lock);
    size_t room = rx_room(s);
    pthread_mutex_unlock(&s->lock);
    return room;
}

static void client_receive(void *opaque, const uint8_t *p, size_t n)
{
    struct ns16550 *s = opaque;
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < n; i++)
        receive_byte(s, p[i]);
    if (n)
        restart_timeout(s);
    update_irq(s);
    pthread_mutex_unlock(&s->lock);
}

static void client_writable(void *opaque)
{
    struct ns16550 *s = opaque;
    pthread_mutex_lock(&s->lock);
    pump(s);
    update_irq(s);
    pthread_mutex_unlock(&s->lock);
}

static void ns16550_reset(struct device *d)
{
    struct ns16550 *s = (struct ns16550 *)d;
    pthread_mutex_lock(&s->lock);
    s->ier = s->fcr = s->lcr = s->mcr = s->scr = 0;
    s->dll = 12; /* 9600 baud */
    s->dlm = 0;
    s->overrun = s->thre_pending = 0;
    s->msr = MSR_CTS | MSR_DSR | MSR_DCD;
    fifo_clear(&s->rx);
    fifo_clear(&s->tx);
    restart_timeout(s);
    update_irq(s);
    pthread_mutex_unlock(&s->lock);
    chardev_resume(s->config.chr);
}

static void ns16550_free(struct device *d)
{
    struct ns16550 *s = (struct ns16550 *)d;
    timer_set(&s->timeout, TIMER_NEVER);
    bus_unmap(s->config.bus, s->config.base);
    if (s->config.chr)
        s->config.chr->client = (struct chardev_client){0};
    pthread_mutex_destroy(&s->lock);
    free(s);
}

/* A snapshot file is not trusted: indexes are brought into range. */
static void ns16550_restored(struct device *d)
{
    struct ns16550 *s = (struct ns16550 *)d;
    pthread_mutex_lock(&s->lock);
    s->rx.head %= FIFO_BYTES;
    s->tx.head %= FIFO_BYTES;
    if (s->rx.count > fifo_limit(s))
        s->rx.count = (uint8_t)fifo_limit(s);
    if (s->tx.count > fifo_limit(s))
        s->tx.count = (uint8_t)fifo_limit(s);
    timer_set(&s->timeout, s->timeout_ns);
    pump(s);
    update_irq(s);
    pthread_mutex_unlock(&s->lock);
    chardev_resume(s->config.chr);
}

static const struct state_field state[] = {
    STATE(struct ns16550, ier),
    STATE(struct ns16550, fcr),
    STATE(struct ns16550, lcr),
    STATE(struct ns16550, mcr),
    STATE(struct ns16550, msr),
    STATE(struct ns16550, scr),
    STATE(struct ns16550, dll),
    STATE(struct ns16550, dlm),
    STATE(struct ns16550, overrun),
    STATE(struct ns16550, thre_pending),
    STATE(struct ns16550, timeout_pending),
    STATE(struct ns16550, timeout_ns),
    STATE_ARRAY(struct ns16550, rx.bytes),
    STATE(struct ns16550, rx.head),
    STATE(struct ns16550, rx.count),
    STATE_ARRAY(struct ns16550, tx.bytes),
    STATE(struct ns16550, tx.head),
    STATE(struct ns16550, tx.count),
};

static const struct device_ops ops = {
    .name = "ns16550",
    .reset = ns16550_reset,
    .free = ns16550_free,
    .restored = ns16550_restored,
    .state = state,
    .state_count = ARRAY_LEN(state),
};

struct device *ns16550_new(const struct dev_host *h, const struct ns16550_config *config,
                           struct err *e)
{
    if (config->shift > 3) {
        err_set(e, EINVAL, "uart-shift", "%s: register distance 2^%u", config->instance,
                config->shift);
        return NULL;
    }
    /* A register may be read with the full width of its slot. */
    uint8_t widest = (uint8_t)(config->shift < 2 ? 1 << config->shift : 4);
    const struct io_ops io = {uart_read, uart_write, 1, widest};
    struct ns16550 *s = calloc(1, sizeof *s);
    if (!s) {
        err_set(e, ENOMEM, "no-memory", "no memory for serial port %s", config->instance);
        return NULL;
    }
    s->d = (struct device){.ops = &ops, .instance = config->instance};
    s->config = *config;
    s->clock = h->clock;
    pthread_mutex_init(&s->lock, NULL);
    timer_init(&s->timeout, h->clock, on_timeout, s);
    if (bus_map(config->bus, config->base, (uint64_t)REG_COUNT << config->shift, &io, s,
                config->instance, e)) {
        pthread_mutex_destroy(&s->lock);
        free(s);
        return NULL;
    }
    if (config->chr)
        config->chr->client =
            (struct chardev_client){client_room, client_receive, client_writable, s};
    ns16550_reset(&s->d);
    return &s->d;
}
