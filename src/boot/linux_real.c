/* SPDX-License-Identifier: MIT */
/* Linux, the real-mode entry of a bzImage (kernel documentation, Documentation/x86/boot.rst, "The
 * real-mode kernel header", "Sample boot configuration"), for machines with a BIOS. The kernel's
 * setup code asks the BIOS for memory map, screen and disks, and then goes to the protected-mode
 * part at 1 MiB by itself.
 *
 *   0x10000  boot sector and setup code, at most 32 KiB
 *   0x18000  its heap and stack, up to 0x1e000
 *   command line, initrd: as for the other entry
 *
 * Of the command line the loader heeds vga=, as the protocol wants it to. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "boot/loader.h"

#define SEGMENT   0x1000u
#define BASE      (SEGMENT * 16u)
#define SETUP_MAX 0x8000u
#define STACK_TOP 0xe000u

enum {
    HDR_VID_MODE = 0x1fa,
    HDR_LOADER_TYPE = 0x210,
    HDR_LOADFLAGS = 0x211,
    HDR_RAMDISK_IMAGE = 0x218,
    HDR_RAMDISK_SIZE = 0x21c,
    HDR_HEAP_END = 0x224,
    HDR_CMD_LINE_PTR = 0x228,
};
#define CAN_USE_HEAP      0x80 /* loadflags */
#define HEAP_END_BIAS     0x200
#define LOADER_UNASSIGNED 0xff

static const struct {
    const char *word;
    uint16_t mode;
} video_words[] = {{"normal", 0xffff}, {"ext", 0xfffe}, {"ask", 0xfffd}};

/* The mode that the last vga= on the command line asks for; the kernel's own without one. */
static uint16_t video_mode(const char *cmdline, uint16_t mode)
{
    for (const char *at = cmdline; *at; at += *at == ' ') {
        size_t n = strcspn(at, " ");
        if (n > 4 && !memcmp(at, "vga=", 4)) {
            mode = (uint16_t)strtoul(at + 4, NULL, 0);
            for (size_t i = 0; i < ARRAY_LEN(video_words); i++)
                if (strlen(video_words[i].word) == n - 4 &&
                    !memcmp(at + 4, video_words[i].word, n - 4))
                    mode = video_words[i].mode;
        }
        at += n;
    }
    return mode;
}

static void fill_header(uint8_t *h, const struct loading *l, const char *cmdline)
{
    put16(h + HDR_VID_MODE, video_mode(cmdline, get16(h + HDR_VID_MODE)));
    h[HDR_LOADER_TYPE] = LOADER_UNASSIGNED;
    h[HDR_LOADFLAGS] |= CAN_USE_HEAP;
    put16(h + HDR_HEAP_END, STACK_TOP - HEAP_END_BIAS);
    put32(h + HDR_CMD_LINE_PTR, BOOT_CMDLINE);
    put32(h + HDR_RAMDISK_IMAGE, (uint32_t)l->plan->initrd_start);
    put32(h + HDR_RAMDISK_SIZE, (uint32_t)l->plan->initrd_bytes);
}

int bzimage_finish_real(struct loading *l, uint64_t setup, uint64_t cmdline_max,
                        uint64_t initrd_max, struct err *e)
{
    const char *cmdline = l->req->append ? l->req->append : "";
    uint8_t code[SETUP_MAX];

    if (setup > SETUP_MAX)
        return image_err(&l->kernel, ENOEXEC, "format", e,
                         "%" PRIu64 " bytes of setup code, at most %u have room", setup, SETUP_MAX);
    int r = boot_check_ram(l, BASE, BASE + STACK_TOP, e);
    if (r == 0)
        r = boot_put_cmdline(l, cmdline, cmdline_max, e);
    if (r == 0)
        r = boot_load_initrd(l, MIB, initrd_max + 1, true, e);
    if (r == 0)
        r = image_read(&l->kernel, 0, code, setup, e);
    if (r < 0)
        return r;
    fill_header(code, l, cmdline);
    if (phys_load(l->req->mem, BASE, code, setup) < 0)
        return err_set(e, EINVAL, "memory-map", "no RAM at 0x%x for boot code", BASE);
    l->plan->real_segment = SEGMENT;
    l->plan->gpr[R_ESP] = STACK_TOP;
    return 0;
}
