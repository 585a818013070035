/* SPDX-License-Identifier: MIT */
/* A kernel file that no loader takes: say what it is instead. */
#include "boot/loader.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* What goes behind the file's name: the formats that would do, or the kernels. */
enum advice { NONE, TAKES, RUNS };

static const char *const takes[ARCH_COUNT] = {
    [ARCH_I386] = "a Linux bzImage, an ELF32 i386 file or a multiboot kernel is needed",
    [ARCH_MIPSEL] = "an ELF32 file for little-endian MIPS, such as vmlinux, is needed",
    [ARCH_MIPS] = "an ELF32 file for big-endian MIPS, such as vmlinux, is needed",
};

/* First match wins. */
static const struct magic {
    uint16_t offset;
    uint8_t len;
    const char *bytes;
    const char *what;
    enum advice advice;
} magics[] = {
    {0, 2, "\x1f\x8b", "gzip-compressed file; unpack it first"},
    {0, 6,
     "\xfd"
     "7zXZ",
     "xz-compressed file; unpack it first"},
    {0, 4, "\x28\xb5\x2f\xfd", "zstd-compressed file; unpack it first"},
    {0, 4, "\x04\x22\x4d\x18", "lz4-compressed file; unpack it first"},
    {0, 4, "\x02\x21\x4c\x18", "lz4-compressed file; unpack it first"},
    {0, 3, "BZh", "bzip2-compressed file; unpack it first"},
    {0, 5, "\x5d\x00\x00\x00", "lzma-compressed file; unpack it first"},
    {0, 5, "07070", "cpio archive (an initrd?)", TAKES},
    {0, 8, "!<arch>\n", "ar archive or Debian package", TAKES},
    {0, 4, "PK\x03\x04", "zip archive", TAKES},
    {257, 5, "ustar", "tar archive", TAKES},
    {0, 4, "QFI\xfb", "qcow2 disk image; start it with --disk FILE,format=qcow2"},
    {0, 4, "\x27\x05\x19\x56", "U-Boot image", TAKES},
    {0, 4, "\xd0\x0d\xfe\xed", "device tree", TAKES},
    {0, 2, "#!", "script", TAKES},
    {0x38, 4, "ARMd", "64-bit ARM Linux kernel", RUNS},
    {0x24, 4, "\x18\x28\x6f\x01", "ARM Linux zImage", RUNS},
    {0x202, 4, "HdrS", "x86 Linux kernel", RUNS},
    {0, 2, "MZ", "PE or DOS executable without a Linux boot header", TAKES},
    {510, 2, "\x55\xaa", "disk image or boot sector; start it with --disk FILE"},
};

static int refuse(const struct loading *l, enum advice advice, const char *what, struct err *e)
{
    enum guest_arch arch = l->req->arch;

    switch (advice) {
    case TAKES:
        return image_err(&l->kernel, ENOEXEC, "format", e, "%s; %s", what, takes[arch]);
    case RUNS:
        return image_err(&l->kernel, ENOEXEC, "format", e, "%s; this machine runs %s kernels", what,
                         boot_arch_name(arch));
    default:
        return image_err(&l->kernel, ENOEXEC, "format", e, "%s", what);
    }
}

int unknown_image(const struct loading *l, struct err *e)
{
    char what[64];

    for (size_t i = 0; i < ARRAY_LEN(magics); i++) {
        const struct magic *m = &magics[i];
        if ((uint32_t)m->offset + m->len <= l->head_bytes &&
            !memcmp(l->head + m->offset, m->bytes, m->len))
            return refuse(l, m->advice, m->what, e);
    }
    snprintf(what, sizeof what, "unknown file format (starts with %02x %02x %02x %02x)", l->head[0],
             l->head[1], l->head[2], l->head[3]);
    return refuse(l, TAKES, what, e);
}
