/* SPDX-License-Identifier: MIT */
/* Two Intel 8237A DMA controllers (data sheet 231466) as the PC/AT wires them: the first moves
 * bytes, the second, whose channel 0 (4) cascades the first, moves words. Registers of the second
 * are two ports apart. Upper address bits come from page registers at 0x81-0x8f:
 *
 *   address of a byte channel   page 23-16 | address 15-0
 *   of a word channel           page 23-17 | address 16-1 | 0
 *
 *   +0..7 address, count of channel 0 to 3; 16 bits through a flip-flop, count is one less
 *   +8 status / command    +c clear flip-flop
 *   +9 request             +d temporary / master clear
 *   +a mask one            +e clear all masks
 *   +b mode                +f mask all
 *
 *   mode: 7-6 demand, single, block, cascade  5 downwards  4 reload  3-2 verify, write, read
 *
 * Devices move data in runs of their choice (i8237_move), so that demand, single and block mode
 * come to the same; verify mode counts without touching memory. Left out: memory to memory,
 * software requests, priorities, compressed timing. */
#include "ring3/devices/i8237.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define PAGE_PORT  0x81
#define PAGE_PORTS 15

enum { STATUS_COMMAND = 8, REQUEST, MASK_ONE, MODE, CLEAR_FLIP_FLOP, MASTER, CLEAR_MASK, MASK_ALL };
enum { COMMAND_DISABLE = 0x04 };
enum { MODE_DOWN = 0x20, MODE_RELOAD = 0x10, MODE_KIND = 0xc0, MODE_CASCADE = 0xc0 };
enum { MODE_WHERE = 0x0c, WHERE_VERIFY = 0x00, WHERE_WRITE = 0x04, WHERE_READ = 0x08 };

struct channel {
    uint16_t base_address, base_count, address, count;
    uint8_t mode;
};

struct controller {
    struct channel channel[4];
    uint8_t command, mask, request, reached; /* bits per channel; reached: terminal counts */
    uint8_t flip_flop;                       /* the next access is the high byte */
};

struct i8237 {
    struct device dev;
    struct dev_host h;
    unsigned mapped;      /* entries of ranges[] that are on the bus */
    pthread_mutex_t lock; /* the rest */
    struct {
        void (*ready)(void *opaque);
        void *opaque;
    } client[I8237_CHANNELS]; /* fixed */
    struct controller controller[2];
    uint8_t page[PAGE_PORTS];
    uint8_t dreq; /* bits per channel of all eight; not saved: devices ask again */
};

/* Which page register a channel has, as an index. Channel 4 has none. */
static const uint8_t page_of[I8237_CHANNELS] = {
    0x87 - PAGE_PORT, 0x83 - PAGE_PORT, 0x81 - PAGE_PORT, 0x82 - PAGE_PORT,
    0x8f - PAGE_PORT, 0x8b - PAGE_PORT, 0x89 - PAGE_PORT, 0x8a - PAGE_PORT};

static struct i8237 *self(struct device *d)
{
    return container_of(d, struct i8237, dev);
}

/* ---- moving data ----------------------------------------------------------------------------- */

/* Guest-physical address of the channel's next unit. */
static gpa_t address_of(const struct i8237 *s, unsigned n)
{
    uint32_t at = s->controller[n / 4].channel[n & 3].address, page = s->page[page_of[n]];

    return n < 4 ? page << 16 | at : (page & 0xfe) << 16 | at << 1;
}

static void copy(struct i8237 *s, const struct channel *c, gpa_t at, uint8_t *buf, unsigned bytes)
{
    unsigned where = c->mode & MODE_WHERE;

    if (where == WHERE_WRITE)
        (void)phys_write(s->h.mem, at, buf, bytes); /* what is not RAM does not listen */
    else if (where == WHERE_READ && phys_read(s->h.mem, at, buf, bytes) < 0)
        memset(buf, 0xff, bytes);
}

/* How many units go at once: as many as follow each other upwards, or one. */
static unsigned run_of(const struct channel *c, unsigned units)
{
    unsigned to_wrap = 0x10000u - c->address, to_end = c->count + 1u;
    unsigned n = units < to_end ? units : to_end;

    if (c->mode & MODE_DOWN)
        return 1;
    return n < to_wrap ? n : to_wrap;
}

static void reach(struct controller *k, unsigned n)
{
    struct channel *c = &k->channel[n];

    k->reached |= (uint8_t)(1u << n);
    if (c->mode & MODE_RELOAD) {
        c->address = c->base_address;
        c->count = c->base_count;
    } else {
        k->mask |= (uint8_t)(1u << n);
    }
}

static bool can_go(const struct i8237 *s, unsigned n)
{
    const struct controller *k = &s->controller[n / 4];

    if ((k->command & COMMAND_DISABLE) || (k->mask >> (n & 3) & 1) ||
        (k->channel[n & 3].mode & MODE_KIND) == MODE_CASCADE)
        return false;
    /* The first controller works through channel 4. */
    return n >= 4 || !(s->controller[1].command & COMMAND_DISABLE);
}

static bool fits(const struct channel *c, enum i8237_direction direction)
{
    unsigned where = c->mode & MODE_WHERE;

    return where == WHERE_VERIFY ||
           where == (direction == I8237_TO_MEMORY ? WHERE_WRITE : WHERE_READ);
}

unsigned i8237_move(struct device *dma, unsigned channel, enum i8237_direction direction, void *buf,
                    unsigned bytes, bool *tc)
{
    struct i8237 *s = self(dma);
    unsigned shift = channel >= 4, done = 0;

    *tc = false;
    pthread_mutex_lock(&s->lock);
    struct controller *k = &s->controller[channel / 4];
    struct channel *c = &k->channel[channel & 3];
    while (bytes >> shift && !*tc && can_go(s, channel) && fits(c, direction)) {
        unsigned units = run_of(c, bytes >> shift), n = units << shift;
        copy(s, c, address_of(s, channel), (uint8_t *)buf + done, n);
        *tc = c->count + 1u == units;
        c->address = (uint16_t)(c->address + (c->mode & MODE_DOWN ? UINT32_MAX : units));
        c->count = (uint16_t)(c->count - units);
        done += n;
        bytes -= n;
        if (*tc)
            reach(k, channel & 3);
    }
    pthread_mutex_unlock(&s->lock);
    return done;
}

/* ---- requests -------------------------------------------------------------------------------- */

void i8237_attach(struct device *dma, unsigned channel, void (*ready)(void *opaque), void *opaque)
{
    struct i8237 *s = self(dma);

    s->client[channel].ready = ready;
    s->client[channel].opaque = opaque;
}

void i8237_request(struct device *dma, unsigned channel, bool level)
{
    struct i8237 *s = self(dma);
    uint8_t bit = (uint8_t)(1u << channel);

    pthread_mutex_lock(&s->lock);
    s->dreq = (uint8_t)(level ? s->dreq | bit : s->dreq & ~bit);
    pthread_mutex_unlock(&s->lock);
}

/* Channels that wait and can go. */
static uint8_t waiting(const struct i8237 *s)
{
    uint8_t bits = 0;

    for (unsigned n = 0; n < I8237_CHANNELS; n++)
        if ((s->dreq >> n & 1) && can_go(s, n))
            bits |= (uint8_t)(1u << n);
    return bits;
}

/* No lock held. */
static void tell(struct i8237 *s, uint8_t channels)
{
    for (unsigned n = 0; n < I8237_CHANNELS; n++)
        if ((channels >> n & 1) && s->client[n].ready)
            s->client[n].ready(s->client[n].opaque);
}

/* ---- registers ------------------------------------------------------------------------------- */

/* One half of a 16-bit register, and the flip-flop turns. */
static uint8_t read_half(struct controller *k, uint16_t value)
{
    k->flip_flop ^= 1;
    return (uint8_t)(k->flip_flop ? value : value >> 8);
}

static void write_half(struct controller *k, uint16_t *base, uint16_t *current, uint8_t value)
{
    *base = (uint16_t)(k->flip_flop ? (*base & 0x00ff) | value << 8 : (*base & 0xff00) | value);
    *current = *base;
    k->flip_flop ^= 1;
}

static void master_clear(struct controller *k)
{
    k->command = k->request = k->reached = k->flip_flop = 0;
    k->mask = 0x0f;
}

static uint8_t read_register(struct i8237 *s, struct controller *k, unsigned reg)
{
    uint8_t value = 0;

    switch (reg) {
    case STATUS_COMMAND:
        value = (uint8_t)(k->reached | (k == s->controller ? s->dreq << 4 : s->dreq & 0xf0));
        k->reached = 0;
        return value;
    case MASK_ALL:
        return k->mask | 0xf0;
    default:
        if (reg < STATUS_COMMAND)
            value = read_half(k, reg & 1 ? k->channel[reg / 2].count : k->channel[reg / 2].address);
        return value;
    }
}

static void write_register(struct controller *k, unsigned reg, uint8_t value)
{
    struct channel *c = &k->channel[value & 3];
    uint8_t bit = (uint8_t)(1u << (value & 3));

    switch (reg) {
    case STATUS_COMMAND:
        k->command = value;
        break;
    case REQUEST:
        k->request = (uint8_t)(value & 4 ? k->request | bit : k->request & ~bit);
        break;
    case MASK_ONE:
        k->mask = (uint8_t)(value & 4 ? k->mask | bit : k->mask & ~bit);
        break;
    case MODE:
        c->mode = value & 0xfc;
        break;
    case CLEAR_FLIP_FLOP:
        k->flip_flop = 0;
        break;
    case MASTER:
        master_clear(k);
        break;
    case CLEAR_MASK:
        k->mask = 0;
        break;
    case MASK_ALL:
        k->mask = value & 0x0f;
        break;
    default:
        c = &k->channel[reg / 2];
        if (reg & 1)
            write_half(k, &c->base_count, &c->count, value);
        else
            write_half(k, &c->base_address, &c->address, value);
        break;
    }
}

static uint64_t controller_read(struct i8237 *s, unsigned n, unsigned reg)
{
    pthread_mutex_lock(&s->lock);
    uint8_t value = read_register(s, &s->controller[n], reg);
    pthread_mutex_unlock(&s->lock);
    return value;
}

static void controller_write(struct i8237 *s, unsigned n, unsigned reg, uint8_t value)
{
    pthread_mutex_lock(&s->lock);
    uint8_t before = waiting(s);
    write_register(&s->controller[n], reg, value);
    uint8_t now = waiting(s) & (uint8_t)~before;
    pthread_mutex_unlock(&s->lock);
    tell(s, now);
}

static uint64_t read_first(void *opaque, uint64_t offset, unsigned size)
{
    return controller_read(opaque, 0, (unsigned)offset);
}

static void write_first(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    controller_write(opaque, 0, (unsigned)offset, (uint8_t)value);
}

static uint64_t read_second(void *opaque, uint64_t offset, unsigned size)
{
    return offset & 1 ? 0xff : controller_read(opaque, 1, (unsigned)offset / 2);
}

static void write_second(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    if (!(offset & 1))
        controller_write(opaque, 1, (unsigned)offset / 2, (uint8_t)value);
}

static uint64_t read_page(void *opaque, uint64_t offset, unsigned size)
{
    struct i8237 *s = opaque;

    pthread_mutex_lock(&s->lock);
    uint8_t value = s->page[offset];
    pthread_mutex_unlock(&s->lock);
    return value;
}

static void write_page(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct i8237 *s = opaque;

    pthread_mutex_lock(&s->lock);
    s->page[offset] = (uint8_t)value;
    pthread_mutex_unlock(&s->lock);
}

static const struct {
    uint16_t base, len;
    const char *name;
    struct io_ops ops;
} ranges[] = {
    {0x00, 16, "dma1", {read_first, write_first, 1, 1}},
    {PAGE_PORT, PAGE_PORTS, "dma-page", {read_page, write_page, 1, 1}},
    {0xc0, 32, "dma2", {read_second, write_second, 1, 1}},
};

/* ---- life ------------------------------------------------------------------------------------ */

/* Channel 4 is left in cascade mode and open, as a BIOS leaves it. */
static void reset(struct device *d)
{
    struct i8237 *s = self(d);

    pthread_mutex_lock(&s->lock);
    memset(s->controller, 0, sizeof s->controller);
    memset(s->page, 0, sizeof s->page);
    master_clear(&s->controller[0]);
    master_clear(&s->controller[1]);
    s->controller[1].channel[0].mode = MODE_CASCADE;
    s->controller[1].mask = 0x0e;
    pthread_mutex_unlock(&s->lock);
}

static void release(struct device *d)
{
    struct i8237 *s = self(d);

    for (; s->mapped; s->mapped--)
        bus_unmap(s->h.pio, ranges[s->mapped - 1].base);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

/* clang-format off */
#define CHANNEL_STATE(k, n)                                                                        \
    STATE(struct i8237, controller[k].channel[n].base_address),                                    \
    STATE(struct i8237, controller[k].channel[n].base_count),                                      \
    STATE(struct i8237, controller[k].channel[n].address),                                         \
    STATE(struct i8237, controller[k].channel[n].count),                                           \
    STATE(struct i8237, controller[k].channel[n].mode)
#define CONTROLLER_STATE(k)                                                                        \
    CHANNEL_STATE(k, 0), CHANNEL_STATE(k, 1), CHANNEL_STATE(k, 2), CHANNEL_STATE(k, 3),            \
    STATE(struct i8237, controller[k].command), STATE(struct i8237, controller[k].mask),           \
    STATE(struct i8237, controller[k].request), STATE(struct i8237, controller[k].reached),        \
    STATE(struct i8237, controller[k].flip_flop)

static const struct state_field state[] = {
    CONTROLLER_STATE(0),
    CONTROLLER_STATE(1),
    STATE_ARRAY(struct i8237, page),
};
/* clang-format on */

/* A snapshot file is not trusted. Every value of the other fields is possible. */
static void restored(struct device *d)
{
    struct i8237 *s = self(d);

    pthread_mutex_lock(&s->lock);
    for (unsigned k = 0; k < 2; k++)
        s->controller[k].flip_flop &= 1;
    pthread_mutex_unlock(&s->lock);
}

static const struct device_ops ops = {
    .name = "i8237",
    .reset = reset,
    .free = release,
    .restored = restored,
    .state = state,
    .state_count = ARRAY_LEN(state),
};

struct device *i8237_new(const struct dev_host *h, struct err *e)
{
    struct i8237 *s = calloc(1, sizeof *s);

    if (!s) {
        err_set(e, ENOMEM, "no-memory", "no memory for the DMA controllers");
        return NULL;
    }
    s->dev = (struct device){.ops = &ops, .instance = "dma"};
    s->h = *h;
    pthread_mutex_init(&s->lock, NULL);
    for (; s->mapped < ARRAY_LEN(ranges); s->mapped++)
        if (bus_map(h->pio, ranges[s->mapped].base, ranges[s->mapped].len, &ranges[s->mapped].ops,
                    s, ranges[s->mapped].name, e) < 0) {
            release(&s->dev);
            return NULL;
        }
    reset(&s->dev);
    return &s->dev;
}
