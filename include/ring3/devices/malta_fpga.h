/* SPDX-License-Identifier: MIT */
/* Registers of the MIPS Malta board itself, which its FPGA has on the CBUS: revision, switches,
 * LEDs, display, reset, general purpose pins, I2C. */
#ifndef RING3_DEVICES_MALTA_FPGA_H
#define RING3_DEVICES_MALTA_FPGA_H

#include "ring3/dev.h"

#define MALTA_FPGA_BASE     0x1f000000u
#define MALTA_REVISION_AT   0x1fc00010u
#define MALTA_FPGA_UART     0x1f000900u /* the third serial port's place: a chip of its own */
#define MALTA_DISPLAY_CHARS 8

/* Offsets; each register is 32 bits in a slot of 8 bytes. */
enum {
    MALTA_SWITCH = 0x200,
    MALTA_STATUS = 0x208,
    MALTA_JUMPERS = 0x210,
    MALTA_LED_BAR = 0x408,
    MALTA_ASCII_WORD = 0x410,
    MALTA_ASCII_POSITION = 0x418, /* of the first of eight characters */
    MALTA_SOFT_RESET = 0x500,
    MALTA_BREAK_RESET = 0x508,
    MALTA_GPIO_OUT = 0xa00,
    MALTA_GPIO_IN = 0xa08,
    MALTA_I2C_IN = 0xb00,
    MALTA_I2C_ENABLE = 0xb08,
    MALTA_I2C_OUT = 0xb10,
    MALTA_I2C_SELECT = 0xb18,
};
#define MALTA_GO_RESET 0x42u /* written to MALTA_SOFT_RESET */

/* On h->mmio, around the UART's place, and at the revision register's. `reset`: pulsed 1, 0 on the
 * vCPU thread. NULL on error. */
struct device *malta_fpga_new(const struct dev_host *h, bool big_endian, struct irq_line reset,
                              struct err *e);

/* What the eight characters show now; text ends with a NUL. Any thread. */
void malta_fpga_display(struct device *d, char text[MALTA_DISPLAY_CHARS + 1]);

#endif
