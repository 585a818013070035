/* SPDX-License-Identifier: MIT */
/* A VGA with the Bochs extensions for linear modes ("dispi"), as a PCI card 1234:1111. */
#ifndef RING3_DEVICES_VGA_H
#define RING3_DEVICES_VGA_H

#include "ring3/dev.h"
#include "ring3/devices/pci.h"
#include "ring3/display.h"

/* Ports 0x3b0-0x3df and 0x1ce, window 0xa0000-0xbffff; 16 MiB of video memory from phys_extra().
 * Shows nothing until it is programmed. NULL on error. */
struct device *vga_new(const struct dev_host *h, struct err *e);
/* Also a PCI function: BAR 0 video memory, BAR 2 registers. Build time. */
int vga_on_pci(struct device *vga, struct pci_host *host, unsigned slot, struct err *e);

extern const struct display_ops vga_display_ops; /* opaque: the struct device */

/* As a BIOS leaves it: text mode of 80 by 25, an empty screen, colours; `font` (256 characters of
 * 16 rows) or NULL. After reset, while the VM does not run or on its vCPU thread. */
void vga_text_mode(struct device *vga, const uint8_t *font);
/* The font of 16 rows inside the image of a video BIOS, or NULL. */
const uint8_t *vga_find_font(const uint8_t *image, size_t bytes);

#endif
