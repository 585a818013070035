/* SPDX-License-Identifier: MIT */
/* ACPI fixed hardware: PM1a event and control block, power management timer, SMI command port.
 * (ACPI Specification 4.8; register layout and S5 code of the PIIX4, datasheet 7.2.) */
#ifndef RING3_DEVICES_ACPI_PM_H
#define RING3_DEVICES_ACPI_PM_H

#include "ring3/dev.h"

/* Port offsets from the base: a block of registers, and one for the timer. */
enum { ACPI_PM1_EVENT = 0, ACPI_PM1_CONTROL = 4, ACPI_PM_TIMER = 8 };
#define ACPI_PM_BASE     0x600
#define ACPI_SMI_PORT    0xb2
#define ACPI_SMI_ENABLE  0xf1 /* commands: SCI_EN on and off */
#define ACPI_SMI_DISABLE 0xf0
#define ACPI_SCI_IRQ     9
#define ACPI_S5_TYPE     0 /* SLP_TYP of soft off */

#define ACPI_PM_TIMER_HZ 3579545 /* counts in 24 bits */

/* Ports 0x600-0x60b, 0xb2, 0xb3. sci: level interrupt. power_off() is called on the vCPU thread
 * when the guest enters S5. NULL on error. */
struct device *acpi_pm_new(const struct dev_host *h, struct irq_line sci,
                           void (*power_off)(void *opaque), void *opaque, struct err *e);

/* Show the first two blocks from `port` on instead, or nowhere (0). vCPU thread, or while it does
 * not run. */
void acpi_pm_move(struct device *d, uint16_t port);

/* Press the power button: the guest gets an SCI if it is in ACPI mode and wants it; otherwise
 * nothing happens. Any thread. */
void acpi_pm_power_button(struct device *d);

#endif
