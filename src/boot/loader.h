/* SPDX-License-Identifier: MIT */
/* What the format loaders share. Nobody outside src/boot includes this. */
#ifndef RING3_BOOT_LOADER_H
#define RING3_BOOT_LOADER_H

#include "boot/boot.h"
#include "boot/image.h"

/* Low memory the loader itself uses; see boot.h. */
#define BOOT_LOW_START   0x90000u
#define BOOT_INFO        0x90000u
#define BOOT_GDT         0x91000u
#define BOOT_LISTS       0x92000u
#define BOOT_CMDLINE     0x94000u
#define BOOT_LOW_END     0x9f000u
#define BOOT_CMDLINE_MAX (BOOT_LOW_END - BOOT_CMDLINE - 1) /* bytes without the NUL */

enum { R_EAX, R_ECX, R_EDX, R_EBX, R_ESP, R_EBP, R_ESI, R_EDI };

/* How much of the head of a file the recognisers look at. */
#define BOOT_HEAD_BYTES 8192u

/* One load in progress. */
struct loading {
    const struct boot_request *req;
    struct image kernel;
    uint8_t head[BOOT_HEAD_BYTES]; /* zeros beyond the end of the file */
    uint32_t head_bytes;           /* valid part */
    uint64_t own_start, own_end;   /* guest memory that the loader itself uses */
    struct boot_plan *plan;
};

/* Little-endian fields of headers. */
static inline uint16_t get16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}
static inline uint32_t get32(const uint8_t *p)
{
    return (uint32_t)get16(p) | (uint32_t)get16(p + 2) << 16;
}
static inline uint64_t get64(const uint8_t *p)
{
    return get32(p) | (uint64_t)get32(p + 4) << 32;
}
static inline void put16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)v, p[1] = (uint8_t)(v >> 8);
}
static inline void put32(uint8_t *p, uint32_t v)
{
    put16(p, (uint16_t)v);
    put16(p + 2, (uint16_t)(v >> 16));
}
static inline void put64(uint8_t *p, uint64_t v)
{
    put32(p, (uint32_t)v);
    put32(p + 4, (uint32_t)(v >> 32));
}

/* load.c */
/* Is [start, end) inside one RAM piece of the memory map, and clear of the loader's own area? */
int boot_check_ram(const struct loading *l, uint64_t start, uint64_t end, struct err *e);
/* Copy command line `text` (at most `max` bytes) to BOOT_CMDLINE. */
int boot_put_cmdline(const struct loading *l, const char *text, uint64_t max, struct err *e);
/* Load the initrd, if there is one, page-aligned into RAM within [min, max), clear of the kernel:
 * as high as possible, or as low. Fills plan->initrd_*. */
int boot_load_initrd(struct loading *l, uint64_t min, uint64_t max, bool high, struct err *e);

/* elf.c */
bool elf_is(const struct loading *l);
int elf_load(struct loading *l, struct err *e); /* segments and entry; no registers */
enum guest_arch elf_arch(const struct loading *l);

/* linux.c */
bool bzimage_is(const struct loading *l);
int bzimage_load(struct loading *l, struct err *e);
/* linux_real.c: the other entry of a bzImage whose protected-mode part is loaded; `setup` bytes of
 * real-mode code are at the start of the file. */
int bzimage_finish_real(struct loading *l, uint64_t setup, uint64_t cmdline_max,
                        uint64_t initrd_max, struct err *e);
/* An ELF32 executable, entered as a Linux vmlinux expects: esi = boot_params. */
int vmlinux_load(struct loading *l, struct err *e);

/* multiboot.c */
bool multiboot_is(const struct loading *l);
int multiboot_load(struct loading *l, struct err *e);

/* uhi.c: ELF32 executables for MIPS. */
int uhi_load(struct loading *l, struct err *e);
/* yamon.c: the same, for machines without a tree. */
int yamon_load(struct loading *l, struct err *e);

/* unknown.c: an error that names what the file is. */
int unknown_image(const struct loading *l, struct err *e);

#endif
