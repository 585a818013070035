/* SPDX-License-Identifier: MIT */
/* I/O APIC (Intel 82093AA, datasheet 290566).
 *
 * Two registers are visible, a selector and a window; behind them are ID, version, arbitration and
 * 24 redirection entries:
 *
 *   63    56 55   17 16   15    14         13       12     11      10    8 7      0
 *   dest     -       mask level remote-IRR polarity status logical mode    vector
 *
 * A level input sends again when the processor has ended its interrupt and it is still up. An edge
 * while masked is lost, as the datasheet says. Left out: polarity (1 means asserted; kept) and the
 * serial bus of the chip: messages arrive at once. */
#include "ring3/devices/ioapic.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "ring3/devices/lapic.h"

#define IOAPIC_BYTES  0x100u
#define SELECT_OFFSET 0x00
#define WINDOW_OFFSET 0x10
enum { REG_ID, REG_VERSION, REG_ARBITRATION, REG_TABLE = 0x10 };
#define VERSION          (0x11u | (IOAPIC_PINS - 1) << 16)
#define ENTRY_LOGICAL    (1u << 11)
#define ENTRY_REMOTE_IRR (1u << 14)
#define ENTRY_LEVEL      (1u << 15)
#define ENTRY_MASKED     (1u << 16)
#define ENTRY_WRITABLE   UINT64_C(0xff0000000001afff)

struct ioapic {
    struct device dev;
    struct bus *mmio;
    bool (*send)(void *opaque, const struct lapic_message *m);
    void *opaque;
    bool mapped;
    pthread_mutex_t lock; /* the rest */
    uint64_t entry[IOAPIC_PINS];
    uint32_t lines; /* bit n: input n is up */
    uint32_t id;
    uint8_t select;
};

/* lock held. */
static bool send(struct ioapic *s, unsigned n)
{
    uint64_t entry = s->entry[n];
    struct lapic_message m = {.destination = (uint8_t)(entry >> 56),
                              .logical = entry & ENTRY_LOGICAL,
                              .level = entry & ENTRY_LEVEL,
                              .mode = (uint8_t)(entry >> 8 & 7),
                              .vector = (uint8_t)entry};
    return s->send(s->opaque, &m);
}

/* A level input that is up and waits for nothing sends; lock held. */
static void send_level(struct ioapic *s, unsigned n)
{
    const uint64_t watched = ENTRY_LEVEL | ENTRY_MASKED | ENTRY_REMOTE_IRR;
    if ((s->lines >> n & 1) && (s->entry[n] & watched) == ENTRY_LEVEL && send(s, n))
        s->entry[n] |= ENTRY_REMOTE_IRR;
}

static void line_set(void *opaque, unsigned n, int level)
{
    struct ioapic *s = opaque;
    pthread_mutex_lock(&s->lock);
    bool rises = level && !(s->lines >> n & 1);
    s->lines = level ? s->lines | 1u << n : s->lines & ~(1u << n);
    if (s->entry[n] & ENTRY_LEVEL)
        send_level(s, n);
    else if (rises && !(s->entry[n] & ENTRY_MASKED))
        send(s, n);
    pthread_mutex_unlock(&s->lock);
}

struct irq_line ioapic_line(struct device *d, unsigned n)
{
    if (n >= IOAPIC_PINS)
        return (struct irq_line){0};
    return (struct irq_line){line_set, container_of(d, struct ioapic, dev), n};
}

void ioapic_eoi(void *ioapic, uint8_t vector)
{
    struct ioapic *s = container_of((struct device *)ioapic, struct ioapic, dev);
    pthread_mutex_lock(&s->lock);
    for (unsigned n = 0; n < IOAPIC_PINS; n++)
        if ((uint8_t)s->entry[n] == vector && (s->entry[n] & ENTRY_REMOTE_IRR)) {
            s->entry[n] &= ~(uint64_t)ENTRY_REMOTE_IRR;
            send_level(s, n);
        }
    pthread_mutex_unlock(&s->lock);
}

/* ---- registers ------------------------------------------------------------------------------- */

static uint32_t read_window(const struct ioapic *s)
{
    unsigned n = (s->select - REG_TABLE) / 2u;
    switch (s->select) {
    case REG_ID:
    case REG_ARBITRATION:
        return s->id;
    case REG_VERSION:
        return VERSION;
    default:
        if (s->select < REG_TABLE || n >= IOAPIC_PINS)
            return 0;
        return (uint32_t)(s->select & 1 ? s->entry[n] >> 32 : s->entry[n]);
    }
}

static void write_entry(struct ioapic *s, unsigned n, bool high, uint32_t value)
{
    uint64_t mask = ENTRY_WRITABLE & (high ? ~UINT64_C(0) << 32 : UINT32_MAX);
    uint64_t wide = high ? (uint64_t)value << 32 : value;
    s->entry[n] = (s->entry[n] & ~mask) | (wide & mask);
    if (!(s->entry[n] & ENTRY_LEVEL))
        s->entry[n] &= ~(uint64_t)ENTRY_REMOTE_IRR; /* an edge waits for nothing */
    send_level(s, n);
}

static void write_window(struct ioapic *s, uint32_t value)
{
    unsigned n = (s->select - REG_TABLE) / 2u;
    if (s->select == REG_ID)
        s->id = value & 0x0f000000;
    else if (s->select >= REG_TABLE && n < IOAPIC_PINS)
        write_entry(s, n, s->select & 1, value);
}

static uint64_t mmio_read(void *opaque, uint64_t offset, unsigned size)
{
    struct ioapic *s = opaque;
    pthread_mutex_lock(&s->lock);
    uint32_t value = offset == SELECT_OFFSET   ? s->select
                     : offset == WINDOW_OFFSET ? read_window(s)
                                               : 0;
    pthread_mutex_unlock(&s->lock);
    return value;
}

static void mmio_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct ioapic *s = opaque;
    pthread_mutex_lock(&s->lock);
    if (offset == SELECT_OFFSET)
        s->select = (uint8_t)value;
    else if (offset == WINDOW_OFFSET)
        write_window(s, (uint32_t)value);
    pthread_mutex_unlock(&s->lock);
}

static const struct io_ops ops = {mmio_read, mmio_write, 4, 4};

/* ---- life ------------------------------------------------------------------------------------ */

static void power_up(struct ioapic *s)
{
    for (unsigned n = 0; n < IOAPIC_PINS; n++)
        s->entry[n] = ENTRY_MASKED;
    s->id = 0;
    s->select = 0;
}

static void reset(struct device *d)
{
    struct ioapic *s = container_of(d, struct ioapic, dev);
    pthread_mutex_lock(&s->lock);
    power_up(s);
    pthread_mutex_unlock(&s->lock);
}

static void release(struct device *d)
{
    struct ioapic *s = container_of(d, struct ioapic, dev);
    if (s->mapped)
        bus_unmap(s->mmio, IOAPIC_BASE);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static const struct state_field state[] = {
    STATE_ARRAY(struct ioapic, entry),
    STATE(struct ioapic, lines),
    STATE(struct ioapic, id),
    STATE(struct ioapic, select),
};
static const struct device_ops device_ops = {.name = "ioapic",
                                             .reset = reset,
                                             .free = release,
                                             .state = state,
                                             .state_count = ARRAY_LEN(state)};

struct device *ioapic_new(const struct dev_host *h,
                          bool (*deliver)(void *opaque, const struct lapic_message *m),
                          void *opaque, struct err *e)
{
    struct ioapic *s = calloc(1, sizeof *s);
    if (!s) {
        err_set(e, ENOMEM, "no-memory", "no memory for an I/O APIC");
        return NULL;
    }
    s->dev = (struct device){.ops = &device_ops, .instance = "ioapic0"};
    s->mmio = h->mmio;
    s->send = deliver;
    s->opaque = opaque;
    pthread_mutex_init(&s->lock, NULL);
    power_up(s);
    s->mapped = bus_map(h->mmio, IOAPIC_BASE, IOAPIC_BYTES, &ops, s, "ioapic", e) == 0;
    if (!s->mapped) {
        release(&s->dev);
        return NULL;
    }
    return &s->dev;
}
