/* SPDX-License-Identifier: MIT */
/* ACPI fixed hardware: see ring3/devices/acpi_pm.h. Registers, from the base:
 *
 *   +0 PM1_STS  16 bits, write 1 to clear   TMR 0, GBL 5, PWRBTN 8, RTC 10, WAK 15
 *   +2 PM1_EN   16 bits                     the same bits
 *   +4 PM1_CNT  16 bits                     SCI_EN 0, SLP_TYP 10-12, SLP_EN 13 (reads 0)
 *   +8 PM_TMR   32 bits, read only          24-bit counter at 3.579545 MHz
 *
 * The counter is computed from the clock. TMR_STS is set whenever its top bit toggles; that moment
 * is kept as a tick number and a timer is armed only while the guest wants the interrupt.
 *
 * Left out: general-purpose events, sleep states but S5, global lock release, real SMI code. */
#include "ring3/devices/acpi_pm.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#define STS_TMR           0x0001u
#define STS_GBL           0x0020u
#define STS_PWRBTN        0x0100u
#define STS_RTC           0x0400u
#define STS_WAK           0x8000u
#define EN_BITS           (STS_TMR | STS_GBL | STS_PWRBTN | STS_RTC)
#define CNT_SCI_EN        0x0001u
#define CNT_SLP_TYP       0x1c00u
#define CNT_SLP_TYP_SHIFT 10
#define CNT_SLP_EN        0x2000u
#define CNT_KEPT          0x1c03u /* SCI_EN, BM_RLD, SLP_TYP */

#define TIMER_MASK 0xffffffu
#define TIMER_HALF 0x800000u /* ticks between two toggles of the top bit */

struct acpi_pm {
    struct device dev;
    pthread_mutex_t lock;
    struct dev_host h;
    struct irq_line sci;
    void (*power_off)(void *opaque);
    void *opaque;
    struct timer timer;
    struct log_limit limit;
    uint16_t at[3]; /* ports of blocks[] as they are on the bus, or 0; not state */

    uint16_t pm1_sts, pm1_en, pm1_cnt;
    uint64_t toggle; /* tick at which the counter's top bit toggles next, as far as STS knows */
    uint8_t smi_command, smi_status;
};

/* ---- the counter ----------------------------------------------------------------------------- */

static uint64_t ticks_now(const struct acpi_pm *s)
{
    return (uint64_t)((unsigned __int128)clock_now_ns(s->h.clock) * ACPI_PM_TIMER_HZ / NS_PER_SEC);
}

/* The first nanosecond of a tick. */
static uint64_t tick_ns(uint64_t tick)
{
    return (uint64_t)(((unsigned __int128)tick * NS_PER_SEC + ACPI_PM_TIMER_HZ - 1) /
                      ACPI_PM_TIMER_HZ);
}

/* Guests poll this: no lock, the clock is safe from any thread. */
static uint64_t timer_read(void *opaque, uint64_t offset, unsigned size)
{
    return ticks_now(opaque) & TIMER_MASK;
}

/* ---- status and interrupt -------------------------------------------------------------------- */

/* lock held, in all below. */
static void note_toggle(struct acpi_pm *s)
{
    if (ticks_now(s) >= s->toggle)
        s->pm1_sts |= STS_TMR;
}

static void update(struct acpi_pm *s)
{
    bool wants_timer = s->pm1_en & STS_TMR && !(s->pm1_sts & STS_TMR);

    timer_set(&s->timer, wants_timer ? tick_ns(s->toggle) : TIMER_NEVER);
    irq_set(&s->sci, s->pm1_cnt & CNT_SCI_EN && s->pm1_sts & s->pm1_en & EN_BITS);
}

static void timer_fired(void *opaque)
{
    struct acpi_pm *s = opaque;

    pthread_mutex_lock(&s->lock);
    note_toggle(s);
    update(s);
    pthread_mutex_unlock(&s->lock);
}

static void status_clear(struct acpi_pm *s, uint16_t bits)
{
    note_toggle(s);
    s->pm1_sts &= (uint16_t)~bits;
    if (bits & STS_TMR)
        s->toggle = (ticks_now(s) / TIMER_HALF + 1) * TIMER_HALF;
}

/* ---- PM1 registers --------------------------------------------------------------------------- */

static uint16_t *pm1_register(struct acpi_pm *s, uint64_t offset)
{
    switch (offset & ~UINT64_C(1)) {
    case ACPI_PM1_EVENT:
        return &s->pm1_sts;
    case ACPI_PM1_EVENT + 2:
        return &s->pm1_en;
    case ACPI_PM1_CONTROL:
        return &s->pm1_cnt;
    default:
        return NULL;
    }
}

static uint64_t pm1_read(void *opaque, uint64_t offset, unsigned size)
{
    struct acpi_pm *s = opaque;
    uint64_t value = 0;

    pthread_mutex_lock(&s->lock);
    note_toggle(s);
    const uint16_t *reg = pm1_register(s, offset);
    if (reg)
        value = *reg >> 8 * (offset & 1);
    pthread_mutex_unlock(&s->lock);
    return value;
}

/* SLP_EN was written. Returns true for soft off. */
static bool sleep_request(struct acpi_pm *s)
{
    unsigned type = (s->pm1_cnt & CNT_SLP_TYP) >> CNT_SLP_TYP_SHIFT;

    if (type == ACPI_S5_TYPE)
        return true;
    log_guest(s->h.log, &s->limit, "acpi-sleep",
              "guest asked for sleep type %u, only soft off (%u) exists; it goes on awake", type,
              ACPI_S5_TYPE);
    s->pm1_sts |= STS_WAK; /* woken at once, so that a guest that waits for it goes on */
    return false;
}

static void pm1_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct acpi_pm *s = opaque;
    unsigned shift = 8 * (offset & 1);
    uint16_t lanes = (uint16_t)((size == 1 ? 0xffu : 0xffffu) << shift);
    uint16_t bits = (uint16_t)(value << shift);
    bool off = false;

    pthread_mutex_lock(&s->lock);
    uint16_t *reg = pm1_register(s, offset);
    if (reg == &s->pm1_sts)
        status_clear(s, bits);
    else if (reg == &s->pm1_en)
        *reg = (*reg & ~lanes) | (bits & lanes & EN_BITS);
    else if (reg == &s->pm1_cnt) {
        *reg = (*reg & ~lanes) | (bits & lanes & CNT_KEPT);
        off = bits & CNT_SLP_EN && sleep_request(s);
    }
    update(s);
    pthread_mutex_unlock(&s->lock);
    if (off && s->power_off)
        s->power_off(s->opaque);
}

/* ---- SMI command port: what firmware's SMI handler would do --------------------------------- */

static uint64_t smi_read(void *opaque, uint64_t offset, unsigned size)
{
    struct acpi_pm *s = opaque;

    pthread_mutex_lock(&s->lock);
    uint8_t value = offset ? s->smi_status : s->smi_command;
    pthread_mutex_unlock(&s->lock);
    return value;
}

static void smi_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct acpi_pm *s = opaque;

    pthread_mutex_lock(&s->lock);
    if (offset) {
        s->smi_status = (uint8_t)value;
    } else {
        s->smi_command = (uint8_t)value;
        if (value == ACPI_SMI_ENABLE)
            s->pm1_cnt |= CNT_SCI_EN;
        else if (value == ACPI_SMI_DISABLE)
            s->pm1_cnt &= (uint16_t)~CNT_SCI_EN;
        update(s);
    }
    pthread_mutex_unlock(&s->lock);
}

void acpi_pm_power_button(struct device *d)
{
    struct acpi_pm *s = container_of(d, struct acpi_pm, dev);

    pthread_mutex_lock(&s->lock);
    s->pm1_sts |= STS_PWRBTN;
    update(s);
    pthread_mutex_unlock(&s->lock);
}

/* ---- device ---------------------------------------------------------------------------------- */

static const struct block {
    bool moves; /* offset is from the base that moves */
    uint16_t offset, len;
    const char *name;
    struct io_ops ops;
} blocks[] = {
    {true, ACPI_PM1_EVENT, ACPI_PM_TIMER, "acpi-pm1", {pm1_read, pm1_write, 1, 2}},
    {true, ACPI_PM_TIMER, 4, "acpi-timer", {timer_read, NULL, 4, 4}},
    {false, ACPI_SMI_PORT, 2, "acpi-smi", {smi_read, smi_write, 1, 1}},
};

static void unmap(struct acpi_pm *s, unsigned i)
{
    if (s->at[i])
        bus_unmap(s->h.pio, s->at[i]);
    s->at[i] = 0;
}

static int map(struct acpi_pm *s, unsigned i, uint16_t base, struct err *e)
{
    const struct block *b = &blocks[i];
    uint16_t at = (uint16_t)(b->moves ? base + b->offset : b->offset);
    int r = bus_map(s->h.pio, at, b->len, &b->ops, s, b->name, e);

    if (r == 0)
        s->at[i] = at;
    return r;
}

void acpi_pm_move(struct device *d, uint16_t port)
{
    struct acpi_pm *s = container_of(d, struct acpi_pm, dev);
    struct err e;

    for (unsigned i = 0; i < ARRAY_LEN(blocks); i++) {
        uint16_t at = (uint16_t)(port ? port + blocks[i].offset : 0);
        if (!blocks[i].moves || s->at[i] == at)
            continue;
        unmap(s, i);
        if (port && map(s, i, port, &e) < 0)
            log_guest(s->h.log, &s->limit, "acpi-base",
                      "guest placed the power management registers badly: %s", e.text);
    }
}

static void reset(struct device *d)
{
    struct acpi_pm *s = container_of(d, struct acpi_pm, dev);

    pthread_mutex_lock(&s->lock);
    s->pm1_sts = s->pm1_en = s->pm1_cnt = 0;
    s->smi_command = s->smi_status = 0;
    status_clear(s, STS_TMR);
    update(s);
    pthread_mutex_unlock(&s->lock);
}

static void release(struct device *d)
{
    struct acpi_pm *s = container_of(d, struct acpi_pm, dev);

    timer_set(&s->timer, TIMER_NEVER);
    for (unsigned i = 0; i < ARRAY_LEN(blocks); i++)
        unmap(s, i);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static void restored(struct device *d)
{
    struct acpi_pm *s = container_of(d, struct acpi_pm, dev);

    pthread_mutex_lock(&s->lock);
    update(s);
    pthread_mutex_unlock(&s->lock);
}

static const struct state_field state[] = {
    STATE(struct acpi_pm, pm1_sts),     STATE(struct acpi_pm, pm1_en),
    STATE(struct acpi_pm, pm1_cnt),     STATE(struct acpi_pm, toggle),
    STATE(struct acpi_pm, smi_command), STATE(struct acpi_pm, smi_status),
};
static const struct device_ops ops = {
    .name = "acpi-pm",
    .reset = reset,
    .free = release,
    .restored = restored,
    .state = state,
    .state_count = ARRAY_LEN(state),
};

struct device *acpi_pm_new(const struct dev_host *h, struct irq_line sci,
                           void (*power_off)(void *opaque), void *opaque, struct err *e)
{
    struct acpi_pm *s = calloc(1, sizeof *s);

    if (!s) {
        err_set(e, ENOMEM, "no-memory", "no memory for ACPI power management");
        return NULL;
    }
    s->dev = (struct device){.ops = &ops, .instance = "acpi-pm"};
    s->h = *h;
    s->sci = sci;
    s->power_off = power_off;
    s->opaque = opaque;
    pthread_mutex_init(&s->lock, NULL);
    timer_init(&s->timer, h->clock, timer_fired, s);
    status_clear(s, STS_TMR);
    for (unsigned i = 0; i < ARRAY_LEN(blocks); i++)
        if (map(s, i, ACPI_PM_BASE, e) < 0) {
            release(&s->dev);
            return NULL;
        }
    return &s->dev;
}
