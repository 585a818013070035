/* SPDX-License-Identifier: MIT */
/* Real-time clock of Google's Goldfish platform: nanoseconds since 1970, one alarm. */
#ifndef RING3_DEVICES_GOLDFISH_RTC_H
#define RING3_DEVICES_GOLDFISH_RTC_H

#include "ring3/dev.h"

#define GOLDFISH_RTC_BYTES 0x1000u

struct goldfish_rtc_config {
    uint64_t base; /* on the MMIO bus */
    struct irq_line irq;
};

/* Starts with the clock's wall time. NULL on error. */
struct device *goldfish_rtc_new(const struct dev_host *h, const struct goldfish_rtc_config *config,
                                struct err *e);

#endif
