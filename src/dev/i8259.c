/* SPDX-License-Identifier: MIT */
/* The PC's pair of i8259A interrupt controllers (Intel 8259A data sheet, 231468) with the
 * edge/level control registers of the EISA and PCI chip sets (82371AB PIIX4, ELCR1 and ELCR2).
 *
 *   lines 8..15 ─▶ slave ─INT─▶ line 2 ┐
 *   lines 0,1,3..7 ────────────────────┴▶ master ─INT─▶ out ─▶ processor
 *
 * A request bit (IRR) of an edge line is latched by the rising edge and dropped when the line
 * falls before the acknowledge; one of a level line follows the line. When the processor
 * acknowledges and nothing is pending any more it gets the vector of line 7: the spurious
 * interrupt operating systems know. A request of the slave that vanishes takes line 2 with it at
 * once, so it ends as the master's spurious 7; the spurious 15 needs a race inside the acknowledge
 * cycle, which is atomic here.
 *
 * Left out: MCS-80 call mode, buffered mode (pins only), other cascades than slave on line 2. */
#include "ring3/devices/i8259.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#define CASCADE 2 /* the master's line the slave hangs on */
#define NOTHING (-1)

enum { ICW1_ICW4 = 0x01, ICW1_SINGLE = 0x02, ICW1_LEVEL = 0x08, ICW1_START = 0x10 };
enum { ICW4_AUTO_EOI = 0x02, ICW4_SPECIAL_NESTED = 0x10 };
enum {
    OCW3_SELECT = 0x08,
    OCW3_ISR = 0x01,
    OCW3_READ = 0x02,
    OCW3_POLL = 0x04,
    OCW3_MASK = 0x20,
    OCW3_SET_MASK = 0x40
};
/* Bits 7..5 of OCW2: rotate, specific, end of interrupt. */
enum {
    OCW2_CLEAR_AUTO_ROTATE,
    OCW2_EOI,
    OCW2_NOP,
    OCW2_EOI_LINE,
    OCW2_SET_AUTO_ROTATE,
    OCW2_EOI_ROTATE,
    OCW2_SET_LOWEST,
    OCW2_EOI_LINE_ROTATE
};

/* Which command word port 1 expects next. */
enum { READY, WANT_ICW2, WANT_ICW3, WANT_ICW4 };

struct pic {
    uint8_t line, irr, isr, imr; /* bit n: line n */
    uint8_t elcr;                /* level triggered lines, by the ELCR */
    uint8_t vector;              /* of line 0; a multiple of 8 */
    uint8_t lowest;              /* the line with lowest priority; the one after it has highest */
    uint8_t init, icw1, icw4;
    uint8_t auto_rotate, special_mask, read_isr, poll; /* flags */
};

enum { MASTER, SLAVE };

struct i8259 {
    struct device d;
    struct bus *pio;
    struct irq_line out;
    pthread_mutex_t lock; /* guards everything below */
    struct pic chip[2];
};

static const uint8_t elcr_writable[2] = {0xf8, 0xde}; /* 0, 1, 2, 8 and 13 are always edge */

static uint8_t level_lines(const struct pic *p)
{
    return p->icw1 & ICW1_LEVEL ? 0xff : p->elcr;
}

/* 0 is the highest priority. */
static unsigned priority(const struct pic *p, unsigned line)
{
    return (line - p->lowest - 1) & 7;
}

/* Line of highest priority among `lines`, or NOTHING. */
static int first_of(const struct pic *p, uint8_t lines)
{
    for (unsigned i = 1; i <= 8; i++) {
        unsigned line = (p->lowest + i) & 7;
        if (lines & 1u << line)
            return (int)line;
    }
    return NOTHING;
}

/* Line whose request would be acknowledged now, or NOTHING. Lines in service hold back their own
 * and lower priorities; special mask mode frees what masked lines in service hold back; in
 * special fully nested mode the master lets its slave interrupt itself. */
static int request(const struct pic *p, bool is_master)
{
    int line = first_of(p, p->irr & (uint8_t)~p->imr);
    int serving = first_of(p, p->special_mask ? p->isr & (uint8_t)~p->imr : p->isr);
    if (line == NOTHING || serving == NOTHING || p->init != READY)
        return p->init == READY ? line : NOTHING;
    if (line == serving && is_master && line == CASCADE && (p->icw4 & ICW4_SPECIAL_NESTED))
        return line;
    return priority(p, (unsigned)line) < priority(p, (unsigned)serving) ? line : NOTHING;
}

static void set_line(struct pic *p, unsigned n, int level)
{
    uint8_t bit = (uint8_t)(1u << n);
    if (!level) {
        p->line &= (uint8_t)~bit;
        p->irr &= (uint8_t)~bit;
    } else {
        if (!(p->line & bit) || (level_lines(p) & bit))
            p->irr |= bit;
        p->line |= bit;
    }
}

/* Carry the slave's INT to the master and the master's to the processor. */
static void propagate(struct i8259 *s)
{
    set_line(&s->chip[MASTER], CASCADE, request(&s->chip[SLAVE], false) != NOTHING);
    irq_set(&s->out, request(&s->chip[MASTER], true) != NOTHING);
}

static void end_of_interrupt(struct pic *p, int line, bool rotate)
{
    if (line == NOTHING)
        return;
    p->isr &= (uint8_t) ~(1u << line);
    if (rotate)
        p->lowest = (uint8_t)line;
}

/* The chip's part of an acknowledge cycle. Returns the line, or 7 if there was no request. */
static unsigned acknowledge(struct pic *p, bool is_master)
{
    int line = request(p, is_master);
    if (line == NOTHING)
        return 7;
    uint8_t bit = (uint8_t)(1u << line);
    p->isr |= bit;
    if (!(level_lines(p) & bit))
        p->irr &= (uint8_t)~bit;
    if (p->icw4 & ICW4_AUTO_EOI)
        end_of_interrupt(p, line, p->auto_rotate);
    return (unsigned)line;
}

int i8259_ack(void *pic)
{
    struct i8259 *s = pic;
    pthread_mutex_lock(&s->lock);
    struct pic *p = &s->chip[MASTER];
    bool cascaded = request(p, true) == CASCADE;
    unsigned line = acknowledge(p, true);
    if (cascaded) {
        p = &s->chip[SLAVE];
        line = acknowledge(p, false);
        /* The slave's INT falls during the cycle, so a further request makes a new edge. */
        set_line(&s->chip[MASTER], CASCADE, 0);
    }
    int vector = p->vector | (int)line;
    propagate(s);
    pthread_mutex_unlock(&s->lock);
    return vector;
}

static void write_icw1(struct pic *p, uint8_t value)
{
    p->icw1 = value;
    p->init = WANT_ICW2;
    p->imr = p->isr = 0;
    p->irr = p->line & level_lines(p); /* edges must come anew */
    p->lowest = 7;
    p->special_mask = p->read_isr = p->poll = p->auto_rotate = 0;
    p->icw4 = 0;
}

static void write_ocw2(struct pic *p, uint8_t value)
{
    int named = value & 7;
    /* In special mask mode a plain EOI does not see masked lines. */
    int serving = first_of(p, p->special_mask ? p->isr & (uint8_t)~p->imr : p->isr);
    switch (value >> 5) {
    case OCW2_CLEAR_AUTO_ROTATE:
        p->auto_rotate = 0;
        break;
    case OCW2_SET_AUTO_ROTATE:
        p->auto_rotate = 1;
        break;
    case OCW2_EOI:
        end_of_interrupt(p, serving, false);
        break;
    case OCW2_EOI_ROTATE:
        end_of_interrupt(p, serving, true);
        break;
    case OCW2_EOI_LINE:
        end_of_interrupt(p, named, false);
        break;
    case OCW2_EOI_LINE_ROTATE:
        end_of_interrupt(p, named, true);
        break;
    case OCW2_SET_LOWEST:
        p->lowest = (uint8_t)named;
        break;
    default:
        break; /* OCW2_NOP */
    }
}

static void write_ocw3(struct pic *p, uint8_t value)
{
    if (value & OCW3_POLL)
        p->poll = 1;
    if (value & OCW3_READ)
        p->read_isr = value & OCW3_ISR;
    if (value & OCW3_SET_MASK)
        p->special_mask = !!(value & OCW3_MASK);
}

static void write_data(struct pic *p, uint8_t value)
{
    bool single = p->icw1 & ICW1_SINGLE, has_icw4 = p->icw1 & ICW1_ICW4;
    switch (p->init) {
    case WANT_ICW2:
        p->vector = value & 0xf8;
        p->init = !single ? WANT_ICW3 : has_icw4 ? WANT_ICW4 : READY;
        break;
    case WANT_ICW3: /* the wiring is fixed, whatever it says */
        p->init = has_icw4 ? WANT_ICW4 : READY;
        break;
    case WANT_ICW4:
        p->icw4 = value;
        p->init = READY;
        break;
    default:
        p->imr = value;
        break;
    }
}

static void pic_write(void *opaque, unsigned which, uint64_t offset, uint64_t value)
{
    struct i8259 *s = opaque;
    struct pic *p = &s->chip[which];
    pthread_mutex_lock(&s->lock);
    if (offset)
        write_data(p, (uint8_t)value);
    else if (value & ICW1_START)
        write_icw1(p, (uint8_t)value);
    else if (value & OCW3_SELECT)
        write_ocw3(p, (uint8_t)value);
    else
        write_ocw2(p, (uint8_t)value);
    propagate(s);
    pthread_mutex_unlock(&s->lock);
}

/* Poll mode: the read is the acknowledge. Bit 7 says whether there was a request. */
static uint8_t poll(struct i8259 *s, unsigned which)
{
    struct pic *p = &s->chip[which];
    p->poll = 0;
    if (request(p, which == MASTER) == NOTHING)
        return 0;
    uint8_t value = (uint8_t)(0x80 | acknowledge(p, which == MASTER));
    if (which == SLAVE)
        set_line(&s->chip[MASTER], CASCADE, 0);
    propagate(s);
    return value;
}

static uint64_t pic_read(void *opaque, unsigned which, uint64_t offset)
{
    struct i8259 *s = opaque;
    const struct pic *p = &s->chip[which];
    pthread_mutex_lock(&s->lock);
    uint8_t value = p->poll ? poll(s, which) : offset ? p->imr : p->read_isr ? p->isr : p->irr;
    pthread_mutex_unlock(&s->lock);
    return value;
}

static uint64_t master_read(void *opaque, uint64_t offset, unsigned size)
{
    return pic_read(opaque, MASTER, offset);
}
static void master_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    pic_write(opaque, MASTER, offset, value);
}
static uint64_t slave_read(void *opaque, uint64_t offset, unsigned size)
{
    return pic_read(opaque, SLAVE, offset);
}
static void slave_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    pic_write(opaque, SLAVE, offset, value);
}

static uint64_t elcr_read(void *opaque, uint64_t offset, unsigned size)
{
    struct i8259 *s = opaque;
    pthread_mutex_lock(&s->lock);
    uint8_t value = s->chip[offset & 1].elcr;
    pthread_mutex_unlock(&s->lock);
    return value;
}

static void elcr_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct i8259 *s = opaque;
    struct pic *p = &s->chip[offset & 1];
    pthread_mutex_lock(&s->lock);
    p->elcr = (uint8_t)value & elcr_writable[offset & 1];
    p->irr |= p->line & p->elcr;
    propagate(s);
    pthread_mutex_unlock(&s->lock);
}

static void line_set(void *opaque, unsigned n, int level)
{
    struct i8259 *s = opaque;
    pthread_mutex_lock(&s->lock);
    set_line(&s->chip[n / 8], n % 8, level);
    propagate(s);
    pthread_mutex_unlock(&s->lock);
}

struct irq_line i8259_line(struct device *pic, unsigned n)
{
    if (n == CASCADE || n > 15)
        return (struct irq_line){0};
    return (struct irq_line){line_set, pic, n};
}

/* The lines belong to the devices and keep their levels. All is masked until software comes. */
static void i8259_reset(struct device *d)
{
    struct i8259 *s = (struct i8259 *)d;
    pthread_mutex_lock(&s->lock);
    for (unsigned i = 0; i < 2; i++)
        s->chip[i] = (struct pic){.line = s->chip[i].line, .imr = 0xff, .lowest = 7};
    propagate(s);
    pthread_mutex_unlock(&s->lock);
}

static void i8259_free(struct device *d)
{
    struct i8259 *s = (struct i8259 *)d;
    bus_unmap(s->pio, 0x20);
    bus_unmap(s->pio, 0xa0);
    bus_unmap(s->pio, 0x4d0);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static void i8259_restored(struct device *d)
{
    struct i8259 *s = (struct i8259 *)d;
    pthread_mutex_lock(&s->lock);
    for (unsigned i = 0; i < 2; i++) { /* a snapshot file is not trusted */
        s->chip[i].lowest &= 7;
        s->chip[i].vector &= 0xf8;
    }
    propagate(s);
    pthread_mutex_unlock(&s->lock);
}

/* clang-format off */
#define CHIP_STATE(i)                                                                              \
    STATE(struct i8259, chip[i].line),        STATE(struct i8259, chip[i].irr),                    \
    STATE(struct i8259, chip[i].isr),         STATE(struct i8259, chip[i].imr),                    \
    STATE(struct i8259, chip[i].elcr),        STATE(struct i8259, chip[i].vector),                 \
    STATE(struct i8259, chip[i].lowest),      STATE(struct i8259, chip[i].init),                   \
    STATE(struct i8259, chip[i].icw1),        STATE(struct i8259, chip[i].icw4),                   \
    STATE(struct i8259, chip[i].auto_rotate), STATE(struct i8259, chip[i].special_mask),           \
    STATE(struct i8259, chip[i].read_isr),    STATE(struct i8259, chip[i].poll)
/* clang-format on */
static const struct state_field state[] = {CHIP_STATE(0), CHIP_STATE(1)};

static const struct device_ops ops = {
    .name = "i8259",
    .reset = i8259_reset,
    .free = i8259_free,
    .restored = i8259_restored,
    .state = state,
    .state_count = ARRAY_LEN(state),
};

struct device *i8259_new(const struct dev_host *h, struct irq_line out, struct err *e)
{
    static const struct io_ops master_io = {master_read, master_write, 1, 1};
    static const struct io_ops slave_io = {slave_read, slave_write, 1, 1};
    static const struct io_ops elcr_io = {elcr_read, elcr_write, 1, 1};
    struct i8259 *s = calloc(1, sizeof *s);
    if (!s) {
        err_set(e, ENOMEM, "no-memory", "no memory for the interrupt controllers");
        return NULL;
    }
    s->d = (struct device){.ops = &ops, .instance = "pic"};
    s->pio = h->pio;
    s->out = out;
    pthread_mutex_init(&s->lock, NULL);
    if (bus_map(h->pio, 0x20, 2, &master_io, s, "pic-master", e))
        goto fail;
    if (bus_map(h->pio, 0xa0, 2, &slave_io, s, "pic-slave", e))
        goto fail_master;
    if (bus_map(h->pio, 0x4d0, 2, &elcr_io, s, "elcr", e))
        goto fail_slave;
    i8259_reset(&s->d);
    return &s->d;

fail_slave:
    bus_unmap(h->pio, 0xa0);
fail_master:
    bus_unmap(h->pio, 0x20);
fail:
    pthread_mutex_destroy(&s->lock);
    free(s);
    return NULL;
}
