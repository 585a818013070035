/* SPDX-License-Identifier: MIT */
/* The processor's local APIC (Intel SDM vol. 3A, "Advanced Programmable Interrupt Controller"). */
#ifndef RING3_DEVICES_LAPIC_H
#define RING3_DEVICES_LAPIC_H

#include "ring3/dev.h"

#define LAPIC_BASE 0xfee00000u
#define LAPIC_HZ   1000000000u /* of the timer, before its divider */

/* How an interrupt message is to be delivered; bits 10..8 of a redirection entry or of the ICR. */
enum lapic_mode {
    LAPIC_FIXED = 0,
    LAPIC_LOWEST = 1,
    LAPIC_SMI = 2,
    LAPIC_NMI = 4,
    LAPIC_INIT = 5,
    LAPIC_STARTUP = 6,
    LAPIC_EXTINT = 7,
};

struct lapic_message {
    uint8_t destination; /* APIC ID, or a set if logical */
    bool logical, level;
    uint8_t mode; /* enum lapic_mode */
    uint8_t vector;
};

struct lapic_wiring {
    uint8_t id;
    struct irq_line intr; /* a level, to the processor; must not call back */
    struct irq_line nmi;  /* pulsed 1, 0 */
    /* The 8259s behind LINT0: their acknowledge cycle. */
    int (*pic_ack)(void *opaque);
    void *pic_opaque;
};

/* Registers at LAPIC_BASE until the guest moves them by the MSR. NULL on error. */
struct device *lapic_new(const struct dev_host *h, const struct lapic_wiring *w, struct err *e);

/* LINT0, where the 8259s' output goes. Any thread. */
struct irq_line lapic_lint0(struct device *lapic);
/* Take a message from an I/O APIC or a device. False: nobody was addressed. Any thread. */
bool lapic_deliver(struct device *lapic, const struct lapic_message *m);
/* Called without a lock, on the vCPU thread, when the guest ends an interrupt: the vector of a
 * level-triggered one, else -1. */
void lapic_set_eoi(struct device *lapic, void (*eoi)(void *opaque, int vector), void *opaque);

/* The processor's side, on the vCPU thread: `lapic` is the struct device *. */
int lapic_ack(void *lapic);                         /* an intc.ack */
uint64_t lapic_read_base(void *lapic);              /* MSR 0x1b */
bool lapic_write_base(void *lapic, uint64_t value); /* false: not a value it takes */

#endif
