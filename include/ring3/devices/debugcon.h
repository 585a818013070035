/* SPDX-License-Identifier: MIT */
/* Debug console: port 0xe9, as in Bochs. Bytes written go to a character backend. */
#ifndef RING3_DEVICES_DEBUGCON_H
#define RING3_DEVICES_DEBUGCON_H

#include "ring3/backend.h"
#include "ring3/dev.h"

#define DEBUGCON_PORT 0xe9

/* out is not owned, may be shared with a serial port (its client is left alone) and may be NULL.
 * NULL on error. */
struct device *debugcon_new(const struct dev_host *h, struct chardev *out, struct err *e);

#endif
