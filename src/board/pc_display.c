/* SPDX-License-Identifier: MIT */
/* The pc board's screen: the VGA in its slot, and keyboard and pointer of the i8042, as one struct
 * display. Without firmware the card is left in text mode, as a BIOS would leave it. */
#include "board/pc_display.h"

#include <errno.h>
#include <stdlib.h>

#include "board/pc_firmware.h"
#include "boot/bios.h"
#include "ring3/devices/fw_cfg.h"
#include "ring3/devices/i8042.h"
#include "ring3/devices/vga.h"

#define VIDEO_ROM_FILE "pci1234,1111.rom" /* where SeaBIOS looks before it asks the card */
#define VIDEO_BIOS_MAX (256 * KIB)

/* ---- keys ------------------------------------------------------------------------------------ */

/* Scan code set 1 to set 2 (IBM PS/2 Technical Reference, "Keyboard"): what the keyboard sends. */
static const uint8_t set2_of_set1[0x59] = {
    0x00, 0x76, 0x16, 0x1e, 0x26, 0x25, 0x2e, 0x36, 0x3d, 0x3e, 0x46, 0x45, 0x4e, 0x55, 0x66,
    0x0d, 0x15, 0x1d, 0x24, 0x2d, 0x2c, 0x35, 0x3c, 0x43, 0x44, 0x4d, 0x54, 0x5b, 0x5a, 0x14,
    0x1c, 0x1b, 0x23, 0x2b, 0x34, 0x33, 0x3b, 0x42, 0x4b, 0x4c, 0x52, 0x0e, 0x12, 0x5d, 0x1a,
    0x22, 0x21, 0x2a, 0x32, 0x31, 0x3a, 0x41, 0x49, 0x4a, 0x59, 0x7c, 0x11, 0x29, 0x58, 0x05,
    0x06, 0x04, 0x0c, 0x03, 0x0b, 0x83, 0x0a, 0x01, 0x09, 0x77, 0x7e, 0x6c, 0x75, 0x7d, 0x7b,
    0x6b, 0x73, 0x74, 0x79, 0x69, 0x72, 0x7a, 0x70, 0x71, 0x7f, 0x60, 0x61, 0x78, 0x07,
};

static bool press(void *opaque, unsigned code, bool down)
{
    static const uint8_t pause[] = {0xe1, 0x14, 0x77, 0xe1, 0xf0, 0x14, 0xf0, 0x77};
    struct pc *pc = opaque;
    uint8_t bytes[3];
    size_t n = 0;

    if (code == DISPLAY_KEY_PAUSE) /* has no release */
        return !down || i8042_key(pc->i8042, pause, sizeof pause);
    if ((code & 0xff) >= sizeof set2_of_set1 || !set2_of_set1[code & 0xff])
        return true; /* no such key */
    if (code >> 8)
        bytes[n++] = 0xe0;
    if (!down)
        bytes[n++] = 0xf0;
    bytes[n++] = set2_of_set1[code & 0xff];
    return i8042_key(pc->i8042, bytes, n);
}

/* The mouse counts upwards. */
static bool point(void *opaque, int dx, int dy, int dz, unsigned buttons)
{
    struct pc *pc = opaque;
    return i8042_mouse(pc->i8042, dx, -dy, dz, buttons);
}

/* ---- the card -------------------------------------------------------------------------------- */

/* The file of the video BIOS; *bytes is the caller's to free. */
static int read_video_bios(uint8_t **bytes, size_t *n, struct err *e)
{
    static const char *const names[] = {"vgabios-stdvga.bin", NULL};
    char path[BIOS_PATH_MAX];
    struct image img;
    int r = bios_find(names, path, &img, e);

    *bytes = NULL;
    if (r < 0)
        return r;
    *n = img.bytes;
    if (img.bytes > VIDEO_BIOS_MAX)
        r = image_err(&img, ENOEXEC, "size", e, "a video BIOS has at most %u KiB",
                      (unsigned)(VIDEO_BIOS_MAX / KIB));
    else if (!(*bytes = malloc(img.bytes)))
        r = err_set(e, ENOMEM, "no-memory", "no memory for the video BIOS");
    else
        r = image_read(&img, 0, *bytes, img.bytes, e);
    image_close(&img);
    return r;
}

int pc_display_build(struct pc *pc, struct err *e)
{
    struct display *d = &pc->vm->display;

    if (!pc->vm->config.display && !pc_has_firmware(pc))
        return 0;
    pc->vga = vga_new(&pc->host, e);
    if (!pc->vga)
        return -e->errnum;
    vm_add_device(pc->vm, pc->vga);
    *d = (struct display){.ops = &vga_display_ops,
                          .opaque = pc->vga,
                          .key = press,
                          .pointer = point,
                          .input_opaque = pc};
    d->typist = display_typist_new(d, pc->vm->clock, e);
    if (!d->typist)
        return -e->errnum;
    return vga_on_pci(pc->vga, pci_host_of(pc->pci_host), PC_SLOT_VGA, e);
}

int pc_display_rom(struct pc *pc, struct err *e)
{
    uint8_t *bytes;
    size_t n;
    int r = read_video_bios(&bytes, &n, e);

    if (r == 0)
        r = fw_cfg_add_file(pc->fw_cfg, VIDEO_ROM_FILE, bytes, n, e);
    free(bytes);
    return r;
}

/* The font is in the ROM of the video BIOS; without one characters can be read, not seen. */
void pc_display_boot(struct pc *pc)
{
    const uint8_t *font = NULL;
    uint8_t *bytes;
    size_t n;

    if (!pc->vga)
        return;
    if (read_video_bios(&bytes, &n, NULL) == 0)
        font = vga_find_font(bytes, n);
    vga_text_mode(pc->vga, font);
    free(bytes);
}
