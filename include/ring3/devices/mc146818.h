/* SPDX-License-Identifier: MIT */
/* mc146818 battery clock with 128 bytes of CMOS memory. */
#ifndef RING3_DEVICES_MC146818_H
#define RING3_DEVICES_MC146818_H

#include "ring3/dev.h"

/* Ports 0x70 and 0x71. `irq` is the PC's interrupt 8. NULL on error. */
struct device *mc146818_new(const struct dev_host *h, struct irq_line irq, struct err *e);

/* Set a byte of CMOS memory, index 14 to 127 (the clock's own registers are left alone). What a
 * BIOS would have put there. Any thread. */
void mc146818_set_cmos(struct device *rtc, unsigned index, uint8_t value);

/* The bytes that say how much memory there is: base, 1 to 64 MiB, 16 MiB to 4 GiB. */
void mc146818_set_memory(struct device *rtc, uint64_t ram_bytes);

#endif
