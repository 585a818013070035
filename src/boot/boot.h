/* SPDX-License-Identifier: MIT */
/* Loading a guest kernel without firmware. boot_load() recognises the file, fills guest memory and
 * says, as plain data, how the processor must start; the board applies it.
 *
 * Formats for i386: Linux bzImage (boot protocol 2.02 and later, 32-bit entry), multiboot 1 (ELF32
 * or the address fields), ELF32 executables such as vmlinux. For MIPS: ELF32 executables, which get
 * a device tree (uhi.c) or arguments and an environment (yamon.c). Low memory the loader uses
 * itself on i386:
 *
 *   0x90000  boot_params ("zero page") or multiboot information     the stack grows down from here
 *   0x91000  GDT
 *   0x92000  multiboot memory map, module list, names
 *   0x94000  command line, up to 0x9f000 */
#ifndef RING3_BOOT_BOOT_H
#define RING3_BOOT_BOOT_H

#include "ring3/arch.h"
#include "ring3/err.h"
#include "ring3/mem.h"

/* BIOS call INT 15h AX=E820h, as the board would answer it. */
enum boot_e820_type { E820_RAM = 1, E820_RESERVED = 2, E820_ACPI = 3, E820_NVS = 4 };
struct boot_e820 {
    uint64_t base, len; /* bytes */
    uint32_t type;      /* enum boot_e820_type */
};
#define BOOT_E820_MAX 128

/* Of the environment that a monitor keeps: "memsize", "33554432". */
struct boot_variable {
    const char *name, *value;
};

struct boot_request {
    enum guest_arch arch; /* what the machine runs */
    const char *kernel;   /* path */
    const char *initrd;   /* path, or NULL; the one module of a multiboot kernel */
    const char *append;   /* command line; "" or NULL when absent */
    bool text_screen;     /* there is a VGA in text mode 3 */
    bool bios;            /* a BIOS runs: a bzImage is to start in real mode, and asks it itself */
    struct phys *mem;     /* must have RAM wherever the map says so */
    const struct boot_e820 *map;
    size_t map_count; /* at most BOOT_E820_MAX */
    /* For kernels that are told by a device tree: the machine's, to which the loader adds what it
     * knows: command line and initrd. At most BOOT_TREE_BYTES / 2. */
    const void *tree;
    /* For kernels that are told by a monitor's environment instead; ends with a name of NULL. */
    const struct boot_variable *environment;
};
#define BOOT_TREE_BYTES (64 * KIB) /* room for it in guest memory */

/* i386: start in protected mode, unless real_segment says otherwise: paging and interrupts off,
 * CR0.PE only; CS flat 32-bit code, all other segments flat 32-bit data, base 0, limit 4 GiB, DPL
 * 0. */
#define BOOT_REAL_ENTRY 0x200u
struct boot_plan {
    const char *format;   /* "bzImage", "multiboot", "ELF"; static */
    uint32_t entry;       /* eip or pc */
    uint32_t argument[4]; /* MIPS: a0 to a3; the rest but the last four is i386's */
    uint32_t gpr[8];      /* eax ecx edx ebx esp ebp esi edi */
    uint32_t gdt_base;    /* holds cs_sel and ds_sel */
    uint16_t gdt_limit;
    uint16_t cs_sel, ds_sel;
    /* Not 0: in real mode, with interrupts off. All data segments are this one, esp is the stack's
     * top in it; code starts at its byte BOOT_REAL_ENTRY. The rest above is not valid. */
    uint16_t real_segment;
    uint64_t kernel_start, kernel_end;   /* guest memory the kernel takes, its own idea of it */
    uint64_t initrd_start, initrd_bytes; /* 0, 0 without one */
};

/* 0 or -errno. Error ids: {kernel,initrd}-{missing,unreadable,truncated,empty}, kernel-format,
 * kernel-64bit, kernel-too-big, initrd-too-big, cmdline-too-long, memory-map. A failed load may
 * leave part of the kernel in guest memory. Build and reset time only. */
int boot_load(const struct boot_request *req, struct boot_plan *plan, struct err *e);

/* Is this file one of those formats? Disks with a boot sector are not, even if they hold GRUB,
 * which has a multiboot header of its own; nor is what cannot be read. */
bool boot_is_kernel(const char *path);
/* What it is made for; ARCH_UNKNOWN also if it is no such file. */
enum guest_arch boot_kernel_arch(const char *path);
const char *boot_arch_name(enum guest_arch arch); /* "i386", "little-endian MIPS" */

#endif
