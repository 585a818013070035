/* SPDX-License-Identifier: MIT */
/* Local APIC of the only processor (Intel SDM vol. 3A, "Advanced Programmable Interrupt
 * Controller (APIC)").
 *
 *   messages ─▶ IRR ─▶ priority > PPR? ─▶ INTR ─▶ acknowledge: ISR ─▶ EOI ─▶ I/O APIC, if level
 *   8259 ─▶ LINT0 ─▶ ExtINT and not masked? ─▶ INTR
 *   timer ─▶ its vector
 *
 * It powers up as a BIOS leaves it, in virtual wire mode: LINT0 is ExtINT and open, so that systems
 * without a driver for it get the 8259's interrupts.
 *
 * The registers' addresses follow the base MSR. Left out: other processors (messages to them
 * vanish; INIT and start-up are ignored), SMI, TSC deadline mode, x2APIC, thermal and performance
 * interrupts (their LVT entries are kept), focus processors and the remote read of the ICR. */
#include "ring3/devices/lapic.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define LAPIC_BYTES 0x1000u

/* Register numbers: address bits 11..4. */
enum {
    REG_ID = 0x02,
    REG_VERSION = 0x03,
    REG_TPR = 0x08,
    REG_PPR = 0x0a,
    REG_EOI = 0x0b,
    REG_LDR = 0x0d,
    REG_DFR = 0x0e,
    REG_SVR = 0x0f,
    REG_ISR = 0x10, /* eight each */
    REG_TMR = 0x18,
    REG_IRR = 0x20,
    REG_ESR = 0x28,
    REG_ICR_LOW = 0x30,
    REG_ICR_HIGH = 0x31,
    REG_LVT = 0x32, /* six */
    REG_INITIAL = 0x38,
    REG_CURRENT = 0x39,
    REG_DIVIDE = 0x3e,
};
enum { LVT_TIMER, LVT_THERMAL, LVT_PERFORMANCE, LVT_LINT0, LVT_LINT1, LVT_ERROR, LVTS };

#define VERSION        (0x14u | (LVTS - 1) << 16)
#define LVT_MASKED     0x10000u
#define LVT_PERIODIC   0x20000u
#define SVR_ENABLE     0x100u
#define ESR_BAD_VECTOR 0x40u /* received illegal vector; bit 5: sent one */
#define ESR_BAD_SENT   0x20u
#define DFR_FLAT       0xfu
#define BASE_ENABLE    0x800u
#define BASE_BOOTSTRAP 0x100u
#define BASE_ADDRESS   0xfffff000u
#define FIRST_VECTOR   16u /* lower ones are illegal */

static const uint32_t lvt_writable[LVTS] = {
    [LVT_TIMER] = 0x300ff, [LVT_THERMAL] = 0x107ff, [LVT_PERFORMANCE] = 0x107ff,
    [LVT_LINT0] = 0x1a7ff, [LVT_LINT1] = 0x1a7ff,   [LVT_ERROR] = 0x100ff,
};

struct lapic {
    struct device dev;
    struct dev_host h;
    struct lapic_wiring w;
    void (*eoi)(void *opaque, int vector);
    void *eoi_opaque;
    pthread_mutex_t lock; /* the rest */
    struct timer timer;
    bool mapped;
    uint32_t mapped_at;

    uint64_t base; /* the MSR */
    uint32_t irr[8], isr[8], tmr[8];
    uint32_t lvt[LVTS];
    uint32_t id, ldr, dfr, svr, esr, esr_found, icr_low, icr_high;
    uint32_t initial, divide;
    uint64_t started_ns; /* the timer counts since then */
    uint8_t tpr;
    uint8_t lint0;  /* level */
    uint8_t extint; /* an ExtINT message waits */
};

/* ---- bits and priorities --------------------------------------------------------------------- */

static void set_bit(uint32_t *set, unsigned n, bool value)
{
    uint32_t bit = 1u << (n & 31);
    set[n / 32] = value ? set[n / 32] | bit : set[n / 32] & ~bit;
}

static bool get_bit(const uint32_t *set, unsigned n)
{
    return set[n / 32] >> (n & 31) & 1;
}

/* The highest vector of a set, or -1. */
static int highest(const uint32_t *set)
{
    for (int i = 7; i >= 0; i--)
        if (set[i])
            return i * 32 + 31 - __builtin_clz(set[i]);
    return -1;
}

static uint8_t processor_priority(const struct lapic *s)
{
    int serving = highest(s->isr);
    return serving >= 0 && (serving & 0xf0) > (s->tpr & 0xf0) ? (uint8_t)(serving & 0xf0) : s->tpr;
}

static bool works(const struct lapic *s)
{
    return (s->base & BASE_ENABLE) && (s->svr & SVR_ENABLE);
}

/* The vector that the processor would get, or -1. */
static int deliverable(const struct lapic *s)
{
    int vector = works(s) ? highest(s->irr) : -1;
    return vector >= 0 && (vector & 0xf0) > (processor_priority(s) & 0xf0) ? vector : -1;
}

static unsigned lvt_mode(const struct lapic *s, unsigned n)
{
    return s->lvt[n] >> 8 & 7;
}

/* Does LINT0 reach the processor? */
static bool pic_open(const struct lapic *s)
{
    return !(s->base & BASE_ENABLE) ||
           (!(s->lvt[LVT_LINT0] & LVT_MASKED) && lvt_mode(s, LVT_LINT0) == LAPIC_EXTINT);
}

static bool pic_waits(const struct lapic *s)
{
    return (s->lint0 && pic_open(s)) || s->extint;
}

/* lock held. */
static void drive_intr(struct lapic *s)
{
    irq_set(&s->w.intr, deliverable(s) >= 0 || pic_waits(s));
}

static void accept_vector(struct lapic *s, unsigned vector, bool level)
{
    if (vector < FIRST_VECTOR) {
        s->esr_found |= ESR_BAD_VECTOR;
        return;
    }
    set_bit(s->irr, vector, true);
    set_bit(s->tmr, vector, level);
}

static void pulse_nmi(struct lapic *s)
{
    irq_set(&s->w.nmi, 1);
    irq_set(&s->w.nmi, 0);
}

/* lock held. */
static void accept(struct lapic *s, unsigned mode, unsigned vector, bool level)
{
    switch (mode) {
    case LAPIC_FIXED:
    case LAPIC_LOWEST:
        if (works(s))
            accept_vector(s, vector, level);
        break;
    case LAPIC_NMI:
        pulse_nmi(s);
        break;
    case LAPIC_EXTINT:
        s->extint = true;
        break;
    }
    drive_intr(s);
}

/* ---- messages -------------------------------------------------------------------------------- */

static bool addressed(const struct lapic *s, uint8_t destination, bool logical)
{
    uint8_t mine = (uint8_t)(s->ldr >> 24);
    if (!logical)
        return destination == (uint8_t)(s->id >> 24) || destination == 0xff;
    if (s->dfr >> 28 == DFR_FLAT)
        return mine & destination;
    return (mine >> 4 == destination >> 4 || destination >> 4 == 0xf) && (mine & destination & 0xf);
}

bool lapic_deliver(struct device *d, const struct lapic_message *m)
{
    struct lapic *s = container_of(d, struct lapic, dev);
    pthread_mutex_lock(&s->lock);
    bool mine = (s->base & BASE_ENABLE) && addressed(s, m->destination, m->logical);
    if (mine)
        accept(s, m->mode, m->vector, m->level);
    pthread_mutex_unlock(&s->lock);
    return mine;
}

/* Interrupt command register: bits 19..18 are a shorthand: 0 destination field, 1 self, 2 all, 3
 * all others. */
static void send_command(struct lapic *s)
{
    unsigned shorthand = s->icr_low >> 18 & 3, mode = s->icr_low >> 8 & 7;
    uint8_t vector = (uint8_t)s->icr_low;
    bool self = shorthand == 1 || shorthand == 2 ||
                (shorthand == 0 && addressed(s, (uint8_t)(s->icr_high >> 24), s->icr_low & 0x800));
    if ((mode == LAPIC_FIXED || mode == LAPIC_LOWEST) && vector < FIRST_VECTOR)
        s->esr_found |= ESR_BAD_SENT;
    else if (self && mode != LAPIC_EXTINT)
        accept(s, mode, vector, false);
}

static void lint0_set(void *opaque, unsigned n, int level)
{
    struct lapic *s = opaque;
    pthread_mutex_lock(&s->lock);
    bool rises = level && !s->lint0;
    s->lint0 = (uint8_t)level;
    if (rises && (s->base & BASE_ENABLE) && !(s->lvt[LVT_LINT0] & LVT_MASKED) &&
        lvt_mode(s, LVT_LINT0) != LAPIC_EXTINT)
        accept(s, lvt_mode(s, LVT_LINT0), s->lvt[LVT_LINT0] & 0xff, false);
    drive_intr(s);
    pthread_mutex_unlock(&s->lock);
}

struct irq_line lapic_lint0(struct device *d)
{
    return (struct irq_line){lint0_set, container_of(d, struct lapic, dev), 0};
}

int lapic_ack(void *lapic)
{
    struct lapic *s = container_of((struct device *)lapic, struct lapic, dev);
    pthread_mutex_lock(&s->lock);
    int vector = deliverable(s);
    if (vector >= 0) {
        set_bit(s->irr, (unsigned)vector, false);
        set_bit(s->isr, (unsigned)vector, true);
        drive_intr(s);
    }
    /* A request that the 8259s took back is theirs to answer: their spurious vector. */
    bool pic = vector < 0 && (pic_open(s) || s->extint);
    int spurious = (int)(s->svr & 0xff);
    if (pic)
        s->extint = false;
    pthread_mutex_unlock(&s->lock);
    return vector >= 0 ? vector : pic ? s->w.pic_ack(s->w.pic_opaque) : spurious;
}

/* ---- timer ----------------------------------------------------------------------------------- */

/* Bits 3, 1, 0 of the register: 2, 4, 8, 16, 32, 64, 128, 1. */
static unsigned divisor(const struct lapic *s)
{
    unsigned code = (s->divide & 3) | (s->divide >> 1 & 4);
    return code == 7 ? 1 : 2u << code;
}

static uint64_t period_ns(const struct lapic *s)
{
    _Static_assert(LAPIC_HZ == NS_PER_SEC, "a tick is a nanosecond");
    return (uint64_t)s->initial * divisor(s);
}

static bool periodic(const struct lapic *s)
{
    return s->lvt[LVT_TIMER] & LVT_PERIODIC;
}

static uint32_t current_count(const struct lapic *s)
{
    if (!s->initial)
        return 0;
    uint64_t ticks = (clock_now_ns(s->h.clock) - s->started_ns) / divisor(s);
    if (periodic(s))
        return s->initial - (uint32_t)(ticks % s->initial);
    return ticks < s->initial ? s->initial - (uint32_t)ticks : 0;
}

/* The next end of the count; lock held. Also the way a masked or stopped timer is disarmed. An end
 * that has passed is due: the host may be late, or a snapshot have come before the tick. */
static void arm_timer(struct lapic *s)
{
    uint64_t period = period_ns(s), deadline = TIMER_NEVER;
    if (period && !(s->lvt[LVT_TIMER] & LVT_MASKED))
        deadline = s->started_ns + period;
    timer_set(&s->timer, deadline);
}

/* Nobody hears of the ends that came while the timer was masked. Lock held, before the mask
 * changes. */
static void forget_masked_ends(struct lapic *s)
{
    uint64_t period = period_ns(s), passed = clock_now_ns(s->h.clock) - s->started_ns;
    if (!(s->lvt[LVT_TIMER] & LVT_MASKED) || !period || passed < period)
        return;
    if (periodic(s))
        s->started_ns += passed / period * period;
    else
        s->initial = 0;
}

static void timer_due(void *opaque)
{
    struct lapic *s = opaque;
    pthread_mutex_lock(&s->lock);
    uint64_t period = period_ns(s), now = clock_now_ns(s->h.clock);
    if (period && now >= s->started_ns + period && !(s->lvt[LVT_TIMER] & LVT_MASKED)) {
        if (periodic(s))
            s->started_ns += (now - s->started_ns) / period * period;
        accept(s, LAPIC_FIXED, s->lvt[LVT_TIMER] & 0xff, false);
        if (periodic(s))
            arm_timer(s);
        else
            s->initial = 0;
    } else {
        arm_timer(s);
    }
    pthread_mutex_unlock(&s->lock);
}

/* ---- registers ------------------------------------------------------------------------------- */

static uint32_t read_register(struct lapic *s, unsigned reg)
{
    if (reg >= REG_ISR && reg < REG_ISR + 8)
        return s->isr[reg - REG_ISR];
    if (reg >= REG_TMR && reg < REG_TMR + 8)
        return s->tmr[reg - REG_TMR];
    if (reg >= REG_IRR && reg < REG_IRR + 8)
        return s->irr[reg - REG_IRR];
    if (reg >= REG_LVT && reg < REG_LVT + LVTS)
        return s->lvt[reg - REG_LVT];
    switch (reg) {
    case REG_ID:
        return s->id;
    case REG_VERSION:
        return VERSION;
    case REG_TPR:
        return s->tpr;
    case REG_PPR:
        return processor_priority(s);
    case REG_LDR:
        return s->ldr;
    case REG_DFR:
        return s->dfr;
    case REG_SVR:
        return s->svr;
    case REG_ESR:
        return s->esr;
    case REG_ICR_LOW:
        return s->icr_low;
    case REG_ICR_HIGH:
        return s->icr_high;
    case REG_INITIAL:
        return s->initial;
    case REG_CURRENT:
        return current_count(s);
    case REG_DIVIDE:
        return s->divide;
    default:
        return 0;
    }
}

static void write_lvt(struct lapic *s, unsigned n, uint32_t value)
{
    if (n == LVT_TIMER)
        forget_masked_ends(s);
    s->lvt[n] = value & lvt_writable[n];
    if (!(s->svr & SVR_ENABLE))
        s->lvt[n] |= LVT_MASKED;
    if (n == LVT_TIMER)
        arm_timer(s);
}

static void write_svr(struct lapic *s, uint32_t value)
{
    bool stops = (s->svr & SVR_ENABLE) && !(value & SVR_ENABLE);
    s->svr = value & 0x3ff;
    for (unsigned n = 0; stops && n < LVTS; n++)
        write_lvt(s, n, s->lvt[n] | LVT_MASKED);
}

/* Returns the vector whose end the I/O APIC must hear of, or -1. */
static int end_of_interrupt(struct lapic *s)
{
    int vector = highest(s->isr);
    if (vector < 0)
        return -1;
    set_bit(s->isr, (unsigned)vector, false);
    return get_bit(s->tmr, (unsigned)vector) ? vector : -1;
}

static void write_timer(struct lapic *s, unsigned reg, uint32_t value)
{
    if (reg == REG_DIVIDE)
        s->divide = value & 0xb;
    else
        s->initial = value;
    s->started_ns = clock_now_ns(s->h.clock);
    arm_timer(s);
}

static void write_register(struct lapic *s, unsigned reg, uint32_t value)
{
    if (reg >= REG_LVT && reg < REG_LVT + LVTS) {
        write_lvt(s, reg - REG_LVT, value);
        return;
    }
    switch (reg) {
    case REG_ID:
        s->id = value & 0xff000000;
        break;
    case REG_TPR:
        s->tpr = (uint8_t)value;
        break;
    case REG_LDR:
        s->ldr = value & 0xff000000;
        break;
    case REG_DFR:
        s->dfr = value | 0x0fffffff;
        break;
    case REG_SVR:
        write_svr(s, value);
        break;
    case REG_ESR: /* writing shows what was found since the last time */
        s->esr = s->esr_found;
        s->esr_found = 0;
        break;
    case REG_ICR_LOW:
        s->icr_low = value & 0xccfff; /* delivery status: always done */
        send_command(s);
        break;
    case REG_ICR_HIGH:
        s->icr_high = value & 0xff000000;
        break;
    case REG_INITIAL:
    case REG_DIVIDE:
        write_timer(s, reg, value);
        break;
    }
}

static uint64_t mmio_read(void *opaque, uint64_t offset, unsigned size)
{
    struct lapic *s = opaque;
    pthread_mutex_lock(&s->lock);
    uint32_t value = offset & 0xf ? 0 : read_register(s, (unsigned)(offset >> 4));
    pthread_mutex_unlock(&s->lock);
    return value;
}

static void mmio_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct lapic *s = opaque;
    if (offset & 0xf)
        return;
    pthread_mutex_lock(&s->lock);
    int ended = -1;
    if (offset >> 4 == REG_EOI)
        ended = end_of_interrupt(s);
    else
        write_register(s, (unsigned)(offset >> 4), (uint32_t)value);
    drive_intr(s);
    pthread_mutex_unlock(&s->lock);
    if (offset >> 4 == REG_EOI && s->eoi)
        s->eoi(s->eoi_opaque, ended);
}

static const struct io_ops ops = {mmio_read, mmio_write, 4, 4};

/* ---- the base MSR ---------------------------------------------------------------------------- */

/* lock held. */
static int place(struct lapic *s, struct err *e)
{
    uint32_t at = (uint32_t)(s->base & BASE_ADDRESS);
    bool wanted = s->base & BASE_ENABLE;
    if (s->mapped && (!wanted || at != s->mapped_at)) {
        bus_unmap(s->h.mmio, s->mapped_at);
        s->mapped = false;
    }
    if (!wanted || s->mapped)
        return 0;
    int r = bus_map(s->h.mmio, at, LAPIC_BYTES, &ops, s, "lapic", e);
    s->mapped = r == 0;
    s->mapped_at = at;
    return r;
}

uint64_t lapic_read_base(void *lapic)
{
    struct lapic *s = container_of((struct device *)lapic, struct lapic, dev);
    pthread_mutex_lock(&s->lock);
    uint64_t value = s->base;
    pthread_mutex_unlock(&s->lock);
    return value;
}

static void power_up(struct lapic *s)
{
    memset(s->irr, 0, sizeof s->irr);
    memset(s->isr, 0, sizeof s->isr);
    memset(s->tmr, 0, sizeof s->tmr);
    for (unsigned n = 0; n < LVTS; n++)
        s->lvt[n] = LVT_MASKED;
    s->lvt[LVT_LINT0] = LAPIC_EXTINT << 8;
    s->id = (uint32_t)s->w.id << 24;
    s->ldr = s->esr = s->esr_found = s->icr_low = s->icr_high = s->initial = s->divide = 0;
    s->dfr = 0xffffffff;
    s->svr = 0xff;
    s->tpr = 0;
    s->extint = false;
    s->started_ns = 0;
    timer_set(&s->timer, TIMER_NEVER);
}

bool lapic_write_base(void *lapic, uint64_t value)
{
    struct lapic *s = container_of((struct device *)lapic, struct lapic, dev);
    struct err e;
    if (value & ~(uint64_t)(BASE_ADDRESS | BASE_ENABLE | BASE_BOOTSTRAP))
        return false;
    pthread_mutex_lock(&s->lock);
    s->base = value;
    if (!(value & BASE_ENABLE))
        power_up(s);
    if (place(s, &e) < 0)
        log_line(s->h.log, LOG_WARN, "lapic-base",
                 "the guest moved its local APIC to where it cannot be: %s", e.text);
    drive_intr(s);
    pthread_mutex_unlock(&s->lock);
    return true;
}

/* ---- life ------------------------------------------------------------------------------------ */

void lapic_set_eoi(struct device *d, void (*eoi)(void *opaque, int vector), void *opaque)
{
    struct lapic *s = container_of(d, struct lapic, dev);
    s->eoi = eoi;
    s->eoi_opaque = opaque;
}

static void reset(struct device *d)
{
    struct lapic *s = container_of(d, struct lapic, dev);
    struct err e;
    pthread_mutex_lock(&s->lock);
    s->base = LAPIC_BASE | BASE_ENABLE | BASE_BOOTSTRAP;
    power_up(s);
    place(s, &e); /* it was there before */
    drive_intr(s);
    pthread_mutex_unlock(&s->lock);
}

static void restored(struct device *d)
{
    struct lapic *s = container_of(d, struct lapic, dev);
    struct err e;
    pthread_mutex_lock(&s->lock);
    if (place(s, &e) < 0)
        log_line(s->h.log, LOG_WARN, "lapic-base", "%s", e.text);
    arm_timer(s);
    drive_intr(s);
    pthread_mutex_unlock(&s->lock);
}

static void release(struct device *d)
{
    struct lapic *s = container_of(d, struct lapic, dev);
    timer_set(&s->timer, TIMER_NEVER);
    if (s->mapped)
        bus_unmap(s->h.mmio, s->mapped_at);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static const struct state_field state[] = {
    STATE(struct lapic, base),       STATE_ARRAY(struct lapic, irr), STATE_ARRAY(struct lapic, isr),
    STATE_ARRAY(struct lapic, tmr),  STATE_ARRAY(struct lapic, lvt), STATE(struct lapic, id),
    STATE(struct lapic, ldr),        STATE(struct lapic, dfr),       STATE(struct lapic, svr),
    STATE(struct lapic, esr),        STATE(struct lapic, esr_found), STATE(struct lapic, icr_low),
    STATE(struct lapic, icr_high),   STATE(struct lapic, initial),   STATE(struct lapic, divide),
    STATE(struct lapic, started_ns), STATE(struct lapic, tpr),       STATE(struct lapic, lint0),
    STATE(struct lapic, extint),
};
static const struct device_ops device_ops = {.name = "lapic",
                                             .reset = reset,
                                             .free = release,
                                             .restored = restored,
                                             .state = state,
                                             .state_count = ARRAY_LEN(state)};

struct device *lapic_new(const struct dev_host *h, const struct lapic_wiring *w, struct err *e)
{
    struct lapic *s = calloc(1, sizeof *s);
    if (!s) {
        err_set(e, ENOMEM, "no-memory", "no memory for a local APIC");
        return NULL;
    }
    s->dev = (struct device){.ops = &device_ops, .instance = "lapic0"};
    s->h = *h;
    s->w = *w;
    pthread_mutex_init(&s->lock, NULL);
    timer_init(&s->timer, h->clock, timer_due, s);
    s->base = LAPIC_BASE | BASE_ENABLE | BASE_BOOTSTRAP;
    power_up(s);
    if (place(s, e) < 0) {
        release(&s->dev);
        return NULL;
    }
    return &s->dev;
}
