/* SPDX-License-Identifier: MIT */
/* Intel 82371AB PIIX4 (datasheet 290562), functions 0 (ISA bridge) and 3 (power management).
 *
 * The interrupt router: registers 0x60-0x63 name the ISA interrupt of PIRQA to PIRQD, bit 7 turns
 * one off. An ISA input is up while any PIRQ routed to it is.
 *
 * Left out: the USB function; positive decode and chip-select registers, which are stored without
 * effect; moving the SMBus registers (piix4_smbus.c), and, unless the board offers it, those of
 * power management: they stay at the board's ports. */
#include "ring3/devices/piix4.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define PIRQS        4
#define PIRQ_ROUTE   0x60
#define PIRQ_OFF     0x80
#define ISA_USABLE   0xdef8u /* interrupts 3-7, 9-12, 14, 15 */
#define XBCS         0x4e    /* X-bus chip selects */
#define PM_BASE      0x40
#define PM_BASE_BITS 0xffc0u
#define PM_ENABLE    0x80 /* bit 0: registers at PM_BASE decode */

#define SMBUS_BASE   0x90
#define SMBUS_HOST   0xd2
#define SMBUS_ENABLE 0x09 /* registers decode; interrupts would come as IRQ 9 */

/* Device activity B, bit 25: writes to port 0xb2 cause an SMI. Set from the start, it tells
 * firmware that system management mode is somebody else's business: acpi_pm.c acts at once. */
#define DEVICE_ACTIVITY_B 0x58
#define APMC_SMI          0x02 /* in the last byte */

struct piix4 {
    struct device dev;
    struct pci_func isa, pm;
    void (*pm_moved)(void *opaque, uint16_t port); /* or NULL */
    void *opaque;
    pthread_mutex_t lock; /* the rest; taken under the host's locks */
    struct irq_line line[16];
    uint8_t route[PIRQS]; /* registers as last seen: the pins' side must not take the host's lock */
    uint8_t level[PIRQS]; /* not saved: the functions drive their pins again */
    uint16_t driven;      /* ISA inputs that are up */
};

/* lock held. */
static void route_levels(struct piix4 *s)
{
    uint16_t want = 0;

    for (unsigned i = 0; i < PIRQS; i++)
        if (s->level[i] && !(s->route[i] & PIRQ_OFF))
            want |= (uint16_t)(1u << (s->route[i] & 15));
    want &= ISA_USABLE;
    uint16_t changed = want ^ s->driven;
    s->driven = want;
    for (unsigned n = 0; n < 16; n++)
        if (changed >> n & 1)
            irq_set(&s->line[n], want >> n & 1);
}

/* PIRQ n changes; any thread. */
static void pirq_set(void *opaque, unsigned n, int level)
{
    struct piix4 *s = opaque;

    pthread_mutex_lock(&s->lock);
    s->level[n] = (uint8_t)level;
    route_levels(s);
    pthread_mutex_unlock(&s->lock);
}

static void take_routes(struct piix4 *s)
{
    pthread_mutex_lock(&s->lock);
    memcpy(s->route, s->isa.config + PIRQ_ROUTE, PIRQS);
    route_levels(s);
    pthread_mutex_unlock(&s->lock);
}

static void isa_written(struct pci_func *f, unsigned offset, unsigned size)
{
    if (offset < PIRQ_ROUTE + PIRQS && offset + size > PIRQ_ROUTE)
        take_routes(container_of(f, struct piix4, isa));
}

static void take_pm_base(struct piix4 *s)
{
    uint16_t port = pci_get16(&s->pm, PM_BASE) & PM_BASE_BITS;

    if (s->pm_moved)
        s->pm_moved(s->opaque, s->pm.config[PM_ENABLE] & 1 ? port : 0);
}

static void pm_written(struct pci_func *f, unsigned offset, unsigned size)
{
    bool base = offset < PM_BASE + 2 && offset + size > PM_BASE;

    if (base || (offset <= PM_ENABLE && offset + size > PM_ENABLE))
        take_pm_base(container_of(f, struct piix4, pm));
}

static void restored(struct device *d)
{
    struct piix4 *s = container_of(d, struct piix4, dev);

    pci_func_restored(&s->isa);
    pci_func_restored(&s->pm);
    take_routes(s);
    take_pm_base(s);
}

static void reset(struct device *d)
{
    struct piix4 *s = container_of(d, struct piix4, dev);

    pci_func_reset(&s->isa);
    pci_func_reset(&s->pm);
    take_routes(s);
    take_pm_base(s);
}

static void release(struct device *d)
{
    struct piix4 *s = container_of(d, struct piix4, dev);

    pci_remove(&s->isa);
    pci_remove(&s->pm);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static const struct state_field state[] = {
    STATE_ARRAY(struct piix4, isa.config),
    STATE_ARRAY(struct piix4, pm.config),
};
static const struct device_ops ops = {
    .name = "piix4",
    .reset = reset,
    .free = release,
    .restored = restored,
    .state = state,
    .state_count = ARRAY_LEN(state),
};

static void describe_functions(struct piix4 *s, const struct piix4_wiring *w)
{
    pci_func_init(&s->isa, "piix4-isa", 0x8086, 0x7110, 0x060100, 2);
    s->isa.config[PCI_COMMAND] = 0x07; /* I/O, memory, bus master: always on */
    memset(s->isa.writable + PCI_COMMAND, 0, 2);
    s->isa.config[PCI_STATUS + 1] = 0x02; /* medium decode */
    s->isa.config[PCI_HEADER_TYPE] = PCI_HEADER_MULTIFUNCTION;
    s->isa.writable[XBCS] = s->isa.writable[XBCS + 1] = 0xff;
    for (unsigned i = 0; i < PIRQS; i++) {
        s->isa.config[PIRQ_ROUTE + i] = w->route[i] ? w->route[i] : PIRQ_OFF;
        s->isa.writable[PIRQ_ROUTE + i] = 0x8f;
    }
    s->isa.config_written = isa_written;

    pci_func_init(&s->pm, "piix4-pm", 0x8086, 0x7113, 0x068000, 3);
    s->pm.config[PCI_STATUS + 1] = 0x02;
    s->pm.config[PM_BASE] = (uint8_t)(w->pm_base | 1); /* an I/O address */
    s->pm.config[PM_BASE + 1] = (uint8_t)(w->pm_base >> 8);
    if (w->smbus_base) {
        s->pm.config[SMBUS_BASE] = (uint8_t)(w->smbus_base | 1);
        s->pm.config[SMBUS_BASE + 1] = (uint8_t)(w->smbus_base >> 8);
        s->pm.config[SMBUS_HOST] = SMBUS_ENABLE;
    }
    s->pm.config[PM_ENABLE] = 1;
    if (w->pm_moved) {
        s->pm.writable[PM_BASE] = PM_BASE_BITS & 0xff;
        s->pm.writable[PM_BASE + 1] = PM_BASE_BITS >> 8;
        s->pm.writable[PM_ENABLE] = 1;
        s->pm.config_written = pm_written;
    }
    s->pm.config[DEVICE_ACTIVITY_B + 3] = APMC_SMI;
}

struct device *piix4_new(struct pci_host *pci, const struct piix4_wiring *w, struct err *e)
{
    struct piix4 *s = calloc(1, sizeof *s);
    struct irq_line pirq[PIRQS];
    unsigned slot = w->slot ? w->slot : 1;

    if (!s) {
        err_set(e, ENOMEM, "no-memory", "no memory for the ISA bridge");
        return NULL;
    }
    s->dev = (struct device){.ops = &ops, .instance = "piix4"};
    s->pm_moved = w->pm_moved;
    s->opaque = w->opaque;
    memcpy(s->line, w->isa, sizeof s->line);
    pthread_mutex_init(&s->lock, NULL);
    describe_functions(s, w);
    if (pci_add(pci, &s->isa, slot, 0, e) < 0 || pci_add(pci, &s->pm, slot, 3, e) < 0) {
        release(&s->dev);
        return NULL;
    }
    take_routes(s);
    take_pm_base(s);
    for (unsigned i = 0; i < PIRQS; i++)
        pirq[i] = (struct irq_line){pirq_set, s, i};
    pci_set_pirq(pci, pirq);
    return &s->dev;
}
