/* SPDX-License-Identifier: MIT */
/* Where parts of a VM put named numbers for `--stats`. */
#ifndef RING3_FIGURES_H
#define RING3_FIGURES_H

/* Takes one figure; `name` is copied, `unit` must be static. */
struct figure_sink {
    void (*add)(void *opaque, const char *name, double value, int decimals, const char *unit);
    void *opaque;
};

#endif
