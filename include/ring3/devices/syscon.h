/* SPDX-License-Identifier: MIT */
/* A board's system controller: one register that turns the machine off or resets it, as kernels
 * know from device trees ("syscon", "syscon-poweroff", "syscon-reboot"). */
#ifndef RING3_DEVICES_SYSCON_H
#define RING3_DEVICES_SYSCON_H

#include "ring3/dev.h"

#define SYSCON_BYTES 0x1000u

/* Values of the register at offset 0, in bits 15-0; SYSCON_EXIT has an exit code above them. */
#define SYSCON_EXIT      0x3333u
#define SYSCON_POWER_OFF 0x5555u
#define SYSCON_RESET     0x7777u
#define SYSCON_EXIT_MAX  119u

struct syscon_config {
    uint64_t base;                                   /* on the MMIO bus */
    struct irq_line reset;                           /* pulsed 1, 0 */
    void (*power_off)(void *opaque);                 /* vCPU thread */
    void (*guest_exit)(void *opaque, unsigned code); /* likewise; 0 to SYSCON_EXIT_MAX */
    void *opaque;
};

/* NULL on error. */
struct device *syscon_new(const struct dev_host *h, const struct syscon_config *config,
                          struct err *e);

#endif
