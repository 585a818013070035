/* SPDX-License-Identifier: MIT */
/* i8042 keyboard controller with a PS/2 keyboard and a PS/2 mouse. */
#ifndef RING3_DEVICES_I8042_H
#define RING3_DEVICES_I8042_H

#include "ring3/dev.h"

struct i8042_lines {
    struct irq_line keyboard; /* interrupt 1 */
    struct irq_line mouse;    /* interrupt 12 */
    struct irq_line a20;      /* level: 1 lets address bit 20 through */
    struct irq_line reset;    /* pulsed 1, 0 to reset the machine; must not call back at once */
};

/* Ports 0x60 and 0x64. NULL on error. */
struct device *i8042_new(const struct dev_host *h, const struct i8042_lines *lines, struct err *e);

/* Key movements as the keyboard sends them: bytes of scan code set 2 (the controller translates
 * to set 1 when the guest asks it to). Taken whole, or not at all and false when the keyboard's
 * buffer has no room or the guest has switched it off. Any thread. */
bool i8042_key(struct device *kbc, const uint8_t *codes, size_t n);

enum { I8042_LEFT = 1, I8042_RIGHT = 2, I8042_MIDDLE = 4 };

/* Mouse movement since the last call, right and up positive, wheel towards the user positive
 * (each cut to one packet's range), and which buttons are down. False when the guest does not
 * listen or its buffer is full. Any thread. */
bool i8042_mouse(struct device *kbc, int dx, int dy, int dz, unsigned buttons);

#endif
