/* SPDX-License-Identifier: MIT */
/* Debug-exit port: the guest writes its exit code, a byte, word or dword. */
#ifndef RING3_DEVICES_DEBUG_EXIT_H
#define RING3_DEVICES_DEBUG_EXIT_H

#include "ring3/dev.h"

#define DEBUG_EXIT_PORT 0xf4
#define DEBUG_EXIT_MAX  119 /* larger values become this, with a warning */

/* fn gets the code, 0 to DEBUG_EXIT_MAX, on the vCPU thread. NULL on error. */
struct device *debug_exit_new(const struct dev_host *h, void (*fn)(void *opaque, unsigned code),
                              void *opaque, struct err *e);

#endif
