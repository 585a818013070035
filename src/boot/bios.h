/* SPDX-License-Identifier: MIT */
/* Firmware files of the distribution: SeaBIOS and its video BIOS (Debian package seabios). */
#ifndef RING3_BOOT_BIOS_H
#define RING3_BOOT_BIOS_H

#include "boot/image.h"

/* Open the first of `names` (ends with NULL) that is in one of the usual directories, or in the one
 * that the environment variable RING3_FIRMWARE names. path is filled, img refers to it. 0 or
 * -errno; -ENOSYS, "firmware-missing", if there is none. The caller closes img. */
#define BIOS_PATH_MAX 512
int bios_find(const char *const names[], char path[BIOS_PATH_MAX], struct image *img,
              struct err *e);

/* Open a system BIOS: `file` or, if NULL, the distribution's. Checked: 64 KiB to 16 MiB, whole
 * 4 KiB pages. */
int bios_open(const char *file, char path[BIOS_PATH_MAX], struct image *img, struct err *e);

#endif
