/* SPDX-License-Identifier: MIT */
/* What a guest's kernel is made for: boards say which they run, loaders what a file is. */
#ifndef RING3_ARCH_H
#define RING3_ARCH_H

enum guest_arch {
    ARCH_I386,
    ARCH_MIPSEL, /* MIPS32, little-endian */
    ARCH_MIPS,   /* MIPS32, big-endian */
    ARCH_COUNT,
    ARCH_UNKNOWN = ARCH_COUNT, /* none of these */
};

#endif
