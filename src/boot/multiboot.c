/* SPDX-License-Identifier: MIT */
/* Multiboot 1 kernels (Multiboot Specification 0.6.96): ELF32 files, or any file whose header
 * gives load addresses (flag 16, "a.out kludge").
 *
 * The kernel gets eax = 0x2BADB002 and ebx = information: memory sizes, command line, the initrd
 * as the one module, the memory map, the loader's name.
 *
 * Left out: a video mode (flag 2 of the header is accepted, no mode is reported), drives, APM,
 * ELF symbols. */
#include "boot/loader.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define HEADER_MAGIC   0x1badb002u
#define BOOT_MAGIC     0x2badb002u
#define FLAGS_REQUIRED 0xffffu /* bits 0 to 15 must be understood */
#define FLAGS_KNOWN    0x7u    /* page-aligned modules, memory information, video */
#define FLAG_ADDRESSES (1u << 16)

/* Header fields. */
enum {
    MH_FLAGS = 4,
    MH_CHECKSUM = 8,
    MH_HEADER_ADDR = 12,
    MH_LOAD_ADDR = 16,
    MH_LOAD_END_ADDR = 20,
    MH_BSS_END_ADDR = 24,
    MH_ENTRY_ADDR = 28,
    MH_BYTES = 12,
    MH_BYTES_ADDRESSES = 32,
};

/* Information fields and the flags that make them valid. */
enum {
    MI_FLAGS = 0,
    MI_MEM_LOWER = 4, /* KiB */
    MI_MEM_UPPER = 8, /* KiB from 1 MiB to the first hole */
    MI_CMDLINE = 16,
    MI_MODS_COUNT = 20,
    MI_MODS_ADDR = 24,
    MI_MMAP_LENGTH = 44,
    MI_MMAP_ADDR = 48,
    MI_LOADER_NAME = 64,
    MI_BYTES = 120,
};
#define MIF_MEMORY      (1u << 0)
#define MIF_CMDLINE     (1u << 2)
#define MIF_MODS        (1u << 3)
#define MIF_MMAP        (1u << 6)
#define MIF_LOADER_NAME (1u << 9)

/* Lists behind the information, at BOOT_LISTS. */
#define LIST_MODULE      BOOT_LISTS           /* 16 bytes */
#define LIST_LOADER_NAME (BOOT_LISTS + 0x10)  /* 16 bytes */
#define LIST_MODULE_NAME (BOOT_LISTS + 0x20)  /* up to 256 bytes */
#define LIST_MMAP        (BOOT_LISTS + 0x200) /* 24 bytes an entry */
#define MMAP_ENTRY       24
#define NAME_MAX_BYTES   256
_Static_assert(LIST_MMAP + BOOT_E820_MAX * MMAP_ENTRY <= BOOT_CMDLINE, "lists fit");

/* Offset of the header in the first 8 KiB, or -1. */
static int find_header(const struct loading *l)
{
    for (uint32_t i = 0; i + MH_BYTES <= l->head_bytes; i += 4) {
        const uint8_t *h = l->head + i;
        if (get32(h) == HEADER_MAGIC &&
            HEADER_MAGIC + get32(h + MH_FLAGS) + get32(h + MH_CHECKSUM) == 0)
            return (int)i;
    }
    return -1;
}

bool multiboot_is(const struct loading *l)
{
    return find_header(l) >= 0;
}

static int load_by_addresses(struct loading *l, uint32_t at, struct err *e)
{
    const uint8_t *h = l->head + at;
    struct boot_plan *plan = l->plan;

    if (at + MH_BYTES_ADDRESSES > l->head_bytes)
        return image_err(&l->kernel, ENOEXEC, "truncated", e,
                         "the multiboot header ends at byte %u, the file has %" PRIu64,
                         at + MH_BYTES_ADDRESSES, l->kernel.bytes);
    uint32_t header = get32(h + MH_HEADER_ADDR), load = get32(h + MH_LOAD_ADDR);
    uint32_t end = get32(h + MH_LOAD_END_ADDR), bss_end = get32(h + MH_BSS_END_ADDR);
    if (load > header || header - load > at)
        return image_err(&l->kernel, ENOEXEC, "format", e,
                         "multiboot load address 0x%x does not match the header's, 0x%x", load,
                         header);
    uint64_t offset = at - (header - load), rest = l->kernel.bytes - offset;
    uint64_t bytes = end ? (uint64_t)end - load : rest; /* 0: the whole file */
    if (end && (end < load || bytes > rest))
        return image_err(&l->kernel, ENOEXEC, end < load ? "format" : "truncated", e,
                         "multiboot load_end_addr 0x%x asks for %" PRIu64
                         " bytes, the file has %" PRIu64,
                         end, end < load ? 0 : offset + bytes, l->kernel.bytes);
    plan->kernel_start = load;
    plan->kernel_end = load + bytes;
    if (bss_end > plan->kernel_end)
        plan->kernel_end = bss_end;
    int r = boot_check_ram(l, plan->kernel_start, plan->kernel_end, e);
    if (r == 0)
        r = image_load(&l->kernel, offset, bytes, l->req->mem, load, e);
    if (r < 0)
        return r;
    if (phys_zero(l->req->mem, load + bytes, plan->kernel_end - load - bytes) < 0)
        return err_set(e, EINVAL, "memory-map", "no RAM behind the memory map at 0x%x", load);
    plan->entry = get32(h + MH_ENTRY_ADDR);
    return 0;
}

/* RAM from `base` to the first hole, KiB. */
static uint32_t kib_from(const struct boot_request *req, uint64_t base)
{
    for (size_t i = 0; i < req->map_count; i++) {
        const struct boot_e820 *m = &req->map[i];
        if (m->type == E820_RAM && m->base <= base && m->len > base - m->base)
            return (uint32_t)((m->len - (base - m->base)) / KIB);
    }
    return 0;
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static int put_mmap(const struct boot_request *req)
{
    for (size_t i = 0; i < req->map_count; i++) {
        uint8_t entry[MMAP_ENTRY] = {0};
        put32(entry, MMAP_ENTRY - 4); /* size does not count itself */
        put64(entry + 4, req->map[i].base);
        put64(entry + 12, req->map[i].len);
        put32(entry + 20, req->map[i].type);
        if (phys_load(req->mem, LIST_MMAP + i * MMAP_ENTRY, entry, sizeof entry) < 0)
            return -EFAULT;
    }
    return 0;
}

static int put_module(const struct boot_request *req, const struct boot_plan *plan)
{
    char name[NAME_MAX_BYTES];
    uint8_t module[16] = {0};

    snprintf(name, sizeof name, "%s", base_name(req->initrd));
    put32(module, (uint32_t)plan->initrd_start);
    put32(module + 4, (uint32_t)(plan->initrd_start + plan->initrd_bytes));
    put32(module + 8, LIST_MODULE_NAME);
    return phys_load(req->mem, LIST_MODULE, module, sizeof module) < 0
               ? -EFAULT
               : phys_load(req->mem, LIST_MODULE_NAME, name, strlen(name) + 1);
}

static int put_info(struct loading *l, struct err *e)
{
    const struct boot_request *req = l->req;
    uint8_t info[MI_BYTES] = {0};
    uint32_t flags = MIF_MEMORY | MIF_CMDLINE | MIF_MMAP | MIF_LOADER_NAME;

    put32(info + MI_MEM_LOWER, kib_from(req, 0));
    put32(info + MI_MEM_UPPER, kib_from(req, MIB));
    put32(info + MI_CMDLINE, BOOT_CMDLINE);
    put32(info + MI_MMAP_ADDR, LIST_MMAP);
    put32(info + MI_MMAP_LENGTH, (uint32_t)req->map_count * MMAP_ENTRY);
    put32(info + MI_LOADER_NAME, LIST_LOADER_NAME);
    if (req->initrd) {
        flags |= MIF_MODS;
        put32(info + MI_MODS_COUNT, 1);
        put32(info + MI_MODS_ADDR, LIST_MODULE);
    }
    put32(info + MI_FLAGS, flags);
    if (phys_load(req->mem, BOOT_INFO, info, sizeof info) < 0 || put_mmap(req) < 0 ||
        phys_load(req->mem, LIST_LOADER_NAME, "ring3", sizeof "ring3") < 0 ||
        (req->initrd && put_module(req, l->plan) < 0))
        return err_set(e, EINVAL, "memory-map", "no RAM at 0x%x for boot data", BOOT_INFO);
    return 0;
}

/* As GRUB does: the kernel's name, then its arguments. */
static int put_cmdline(const struct loading *l, struct err *e)
{
    const char *append = l->req->append ? l->req->append : "";
    char line[BOOT_CMDLINE_MAX + 1];
    int n = snprintf(line, sizeof line, "%s%s%s", base_name(l->req->kernel), *append ? " " : "",
                     append);

    if (n < 0 || (size_t)n >= sizeof line)
        return err_set(e, E2BIG, "cmdline-too-long",
                       "the kernel command line has %zu bytes, at most %u fit", strlen(append),
                       BOOT_CMDLINE_MAX);
    return boot_put_cmdline(l, line, BOOT_CMDLINE_MAX, e);
}

int multiboot_load(struct loading *l, struct err *e)
{
    uint32_t at = (uint32_t)find_header(l);
    uint32_t flags = get32(l->head + at + MH_FLAGS),
             unknown = flags & FLAGS_REQUIRED & ~FLAGS_KNOWN;

    l->plan->format = "multiboot";
    if (unknown)
        return image_err(&l->kernel, ENOEXEC, "format", e,
                         "multiboot kernel requires unknown features 0x%x", unknown);
    if (!(flags & FLAG_ADDRESSES) && !elf_is(l))
        return image_err(&l->kernel, ENOEXEC, "format", e,
                         "multiboot kernel is neither ELF nor gives load addresses");
    int r = flags & FLAG_ADDRESSES ? load_by_addresses(l, at, e) : elf_load(l, e);
    if (r == 0)
        r = put_cmdline(l, e);
    if (r == 0) /* right behind the kernel, where loaders put modules */
        r = boot_load_initrd(l, MIB, PHYS_LIMIT, false, e);
    if (r == 0)
        r = put_info(l, e);
    if (r < 0)
        return r;
    l->plan->gpr[R_EAX] = BOOT_MAGIC;
    l->plan->gpr[R_EBX] = BOOT_INFO;
    return 0;
}
