/* SPDX-License-Identifier: MIT */
/* I/O APIC (82093AA, datasheet 290566): 24 interrupt inputs that become messages. */
#ifndef RING3_DEVICES_IOAPIC_H
#define RING3_DEVICES_IOAPIC_H

#include "ring3/dev.h"

#define IOAPIC_BASE 0xfec00000u
#define IOAPIC_PINS 24u

struct lapic_message;

/* `send` carries messages to the local APICs; false: nobody was addressed. It must not call back.
 * NULL on error. */
struct device *ioapic_new(const struct dev_host *h,
                          bool (*send)(void *opaque, const struct lapic_message *m), void *opaque,
                          struct err *e);

/* Input n; 1 means asserted, whatever polarity the guest writes. Any thread. */
struct irq_line ioapic_line(struct device *ioapic, unsigned n);
/* A processor ended the interrupt of this vector. `ioapic` is the struct device *. */
void ioapic_eoi(void *ioapic, uint8_t vector);

#endif
