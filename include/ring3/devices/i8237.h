/* SPDX-License-Identifier: MIT */
/* The PC/AT's two i8237A DMA controllers and its page registers: seven channels for devices on the
 * ISA bus, 0 to 3 by bytes, 5 to 7 by 16-bit words. */
#ifndef RING3_DEVICES_I8237_H
#define RING3_DEVICES_I8237_H

#include "ring3/dev.h"

#define I8237_CHANNELS 8 /* number 4 is the cascade */

/* Ports 0x00-0x0f, 0x81-0x8f, 0xc0-0xdf. NULL on error. */
struct device *i8237_new(const struct dev_host *h, struct err *e);

/* A device that wants to know when its channel, having waited for it with DREQ up, can move data:
 * unmasked, controller enabled. Called on the vCPU thread without the controller's lock. Board
 * wiring, before the VM runs. */
void i8237_attach(struct device *dma, unsigned channel, void (*ready)(void *opaque), void *opaque);
/* Drive DREQ of a channel. Any thread, device's lock held. */
void i8237_request(struct device *dma, unsigned channel, bool level);

/* Move up to `bytes` as the channel is programmed, and no further than its terminal count. Returns
 * how many, and in *tc whether the last of them reached it; 0 if the channel is masked, or
 * programmed for the other direction. Memory that is not RAM loses the bytes, or gives 0xff.
 * 16-bit channels move whole words. Any thread, device's lock held. */
enum i8237_direction { I8237_TO_MEMORY, I8237_FROM_MEMORY };
unsigned i8237_move(struct device *dma, unsigned channel, enum i8237_direction direction, void *buf,
                    unsigned bytes, bool *tc);

#endif
