/* SPDX-License-Identifier: MIT */
/* Find firmware files: see bios.h. Firmware is not part of ring3: it comes from the
 * distribution's package, as shipped. */
#include "boot/bios.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VARIABLE "RING3_FIRMWARE"
#define BIOS_MIN (64 * KIB)
#define BIOS_MAX (16 * MIB)

static const char *const usual[] = {"/usr/share/seabios", "/usr/share/qemu", NULL};

static int try_directory(const char *directory, const char *const names[], char path[BIOS_PATH_MAX],
                         struct image *img, struct err *e)
{
    int r = -ENOENT;

    for (; *names && r == -ENOENT; names++) {
        int n = snprintf(path, BIOS_PATH_MAX, "%s/%s", directory, *names);
        if (n < BIOS_PATH_MAX)
            r = image_open(img, path, "firmware", e);
    }
    return r;
}

int bios_find(const char *const names[], char path[BIOS_PATH_MAX], struct image *img, struct err *e)
{
    const char *own = getenv(VARIABLE);
    const char *const only[] = {own, NULL}, *const *directory = own && *own ? only : usual;
    int r = -ENOENT;

    for (; *directory && r == -ENOENT; directory++)
        r = try_directory(*directory, names, path, img, e);
    if (r != -ENOENT)
        return r;
    return err_set(e, ENOSYS, "firmware-missing",
                   "there is no firmware file %s in %s%s%s: apt install seabios, or name the "
                   "directory that has it in %s",
                   names[0], own && *own ? own : usual[0], own && *own ? "" : " or ",
                   own && *own ? "" : usual[1], VARIABLE);
}

int bios_open(const char *file, char path[BIOS_PATH_MAX], struct image *img, struct err *e)
{
    static const char *const names[] = {"bios-256k.bin", "bios.bin", NULL};
    int r;

    if (file) {
        snprintf(path, BIOS_PATH_MAX, "%s", file);
        r = image_open(img, file, "firmware", e);
    } else {
        r = bios_find(names, path, img, e);
    }
    if (r < 0)
        return r;
    if (img->bytes >= BIOS_MIN && img->bytes <= BIOS_MAX && img->bytes % PAGE_BYTES == 0)
        return 0;
    r = image_err(img, ENOEXEC, "size", e,
                  "a PC's BIOS has 64 KiB to 16 MiB in whole pages of 4 KiB, this file has %" PRIu64
                  " bytes",
                  img->bytes);
    image_close(img);
    return r;
}
