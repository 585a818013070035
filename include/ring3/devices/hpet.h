/* SPDX-License-Identifier: MIT */
/* High precision event timer (IA-PC HPET Specification 1.0a). */
#ifndef RING3_DEVICES_HPET_H
#define RING3_DEVICES_HPET_H

#include "ring3/dev.h"

#define HPET_BASE   0xfed00000u
#define HPET_TIMERS 3u
#define HPET_ID     0x8086a201u /* low half of the capabilities, for the ACPI table */

struct hpet_wiring {
    /* Inputs 0 to 23 of the I/O APIC that timers may use: bit n of routes, line[n]. */
    uint32_t routes;
    struct irq_line line[24];
    /* The classic interrupts, shared with i8254 and mc146818: in legacy replacement mode timers 0
     * and 1 drive them instead. */
    struct irq_line irq0, irq8;
};

struct device *hpet_new(const struct dev_host *h, const struct hpet_wiring *w, struct err *e);

/* Where the i8254's and the mc146818's interrupt outputs go. */
struct irq_line hpet_irq0_input(struct device *hpet);
struct irq_line hpet_irq8_input(struct device *hpet);

/* The guest has ended an interrupt: if periods of timer 0 have passed unseen, here is the next.
 * vCPU thread. */
void hpet_catch_up(struct device *hpet);

#endif
