/* SPDX-License-Identifier: MIT */
/* Recognise a kernel file and load it: see boot.h. Also what several formats need: the GDT, the
 * command line, a place for the initrd. */
#include "boot/loader.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define CS_SELECTOR 0x10 /* __BOOT_CS and __BOOT_DS of the Linux boot protocol */
#define DS_SELECTOR 0x18
#define FLAT_CODE   UINT64_C(0x00cf9b000000ffff)
#define FLAT_DATA   UINT64_C(0x00cf93000000ffff)

static bool overlaps(uint64_t a, uint64_t a_end, uint64_t b, uint64_t b_end)
{
    return a < b_end && b < a_end;
}

/* The map's own numbers may be anything: compare without overflow. */
static bool inside(const struct boot_e820 *m, uint64_t start, uint64_t end)
{
    return m->type == E820_RAM && start >= m->base && end - m->base <= m->len;
}

static bool is_ram(const struct boot_request *req, uint64_t start, uint64_t end)
{
    for (size_t i = 0; i < req->map_count; i++)
        if (start <= end && inside(&req->map[i], start, end))
            return true;
    return false;
}

int boot_check_ram(const struct loading *l, uint64_t start, uint64_t end, struct err *e)
{
    if (!is_ram(l->req, start, end))
        return image_err(&l->kernel, ENOSPC, "too-big", e,
                         "wants guest memory 0x%" PRIx64 " to 0x%" PRIx64
                         ", which is not all RAM; try a larger -m",
                         start, end);
    if (start < end && overlaps(start, end, l->own_start, l->own_end))
        return image_err(&l->kernel, ENOSPC, "too-big", e,
                         "wants guest memory 0x%" PRIx64 " to 0x%" PRIx64
                         ", which covers the boot data at 0x%" PRIx64 "%s",
                         start, end, l->own_start,
                         l->own_end > BOOT_LOW_END ? "; try a larger -m" : "");
    return 0;
}

int boot_put_cmdline(const struct loading *l, const char *text, uint64_t max, struct err *e)
{
    size_t n = strlen(text);

    if (max > BOOT_CMDLINE_MAX)
        max = BOOT_CMDLINE_MAX;
    if (n > max)
        return err_set(e, E2BIG, "cmdline-too-long",
                       "the kernel command line has %zu bytes, this kernel takes at most %" PRIu64,
                       n, max);
    if (phys_load(l->req->mem, BOOT_CMDLINE, text, n + 1) < 0)
        return err_set(e, EINVAL, "memory-map", "no RAM at 0x%x for boot data", BOOT_CMDLINE);
    return 0;
}

/* The highest (or lowest) page-aligned start of `bytes` in [min, max) of this RAM piece that is
 * clear of the kernel; UINT64_MAX if there is none. */
static uint64_t place_in(const struct boot_e820 *m, const struct boot_plan *plan, uint64_t bytes,
                         uint64_t min, uint64_t max, bool high)
{
    if (m->type != E820_RAM || m->base >= max)
        return UINT64_MAX;
    uint64_t low = m->base > min ? m->base : min;
    uint64_t end = m->len > max - m->base ? max : m->base + m->len;
    uint64_t best = UINT64_MAX;
    /* What is left around the kernel: a piece below it and a piece above. */
    uint64_t piece[2][2] = {{low, end}, {end, end}};

    if (overlaps(low, end, plan->kernel_start, plan->kernel_end)) {
        piece[0][1] = plan->kernel_start;
        piece[1][0] = plan->kernel_end;
    }
    for (int i = 0; i < 2; i++) {
        uint64_t first = (piece[i][0] + PAGE_BYTES - 1) & PAGE_MASK, top = piece[i][1];
        if (first > top || bytes > top - first)
            continue;
        uint64_t at = high ? (top - bytes) & PAGE_MASK : first;
        if (best == UINT64_MAX || high)
            best = at;
    }
    return best;
}

int boot_load_initrd(struct loading *l, uint64_t min, uint64_t max, bool high, struct err *e)
{
    struct image img;
    uint64_t best = UINT64_MAX;

    if (!l->req->initrd)
        return 0;
    int r = image_open(&img, l->req->initrd, "initrd", e);
    if (r < 0)
        return r;
    for (size_t i = 0; i < l->req->map_count; i++) {
        uint64_t at = place_in(&l->req->map[i], l->plan, img.bytes, min, max, high);
        if (at != UINT64_MAX && (best == UINT64_MAX || (high ? at > best : at < best)))
            best = at;
    }
    if (best == UINT64_MAX)
        r = image_err(&img, ENOSPC, "too-big", e,
                      "%" PRIu64 " KiB do not fit into the guest's %" PRIu64
                      " MiB of RAM beside the kernel; try a larger -m",
                      (img.bytes + KIB - 1) / KIB, phys_ram_bytes(l->req->mem) / MIB);
    else
        r = image_load(&img, 0, img.bytes, l->req->mem, best, e);
    l->plan->initrd_start = best;
    l->plan->initrd_bytes = img.bytes;
    image_close(&img);
    return r;
}

/* Flat code and data, and where a stack may be. */
static int prepare(struct loading *l, struct err *e)
{
    uint8_t gdt[32] = {0};

    put64(gdt + CS_SELECTOR, FLAT_CODE);
    put64(gdt + DS_SELECTOR, FLAT_DATA);
    if (phys_zero(l->req->mem, BOOT_LOW_START, BOOT_LOW_END - BOOT_LOW_START) < 0 ||
        phys_load(l->req->mem, BOOT_GDT, gdt, sizeof gdt) < 0)
        return err_set(e, EINVAL, "memory-map", "no RAM at 0x%x for boot data", BOOT_LOW_START);
    l->own_start = BOOT_LOW_START;
    l->own_end = BOOT_LOW_END;
    *l->plan = (struct boot_plan){
        .gpr[R_ESP] = BOOT_LOW_START,
        .gdt_base = BOOT_GDT,
        .gdt_limit = sizeof gdt - 1,
        .cs_sel = CS_SELECTOR,
        .ds_sel = DS_SELECTOR,
    };
    return 0;
}

static int load_i386(struct loading *l, struct err *e)
{
    int r = prepare(l, e);
    if (r < 0)
        return r;
    if (elf_is(l) && !multiboot_is(l))
        return vmlinux_load(l, e);
    if (bzimage_is(l))
        return bzimage_load(l, e);
    if (multiboot_is(l))
        return multiboot_load(l, e);
    return unknown_image(l, e);
}

static int load_mips(struct loading *l, struct err *e)
{
    *l->plan = (struct boot_plan){0};
    if (!elf_is(l))
        return unknown_image(l, e);
    return l->req->environment ? yamon_load(l, e) : uhi_load(l, e);
}

static const struct {
    const char *name;
    int (*load)(struct loading *l, struct err *e);
} archs[ARCH_COUNT] = {
    [ARCH_I386] = {"i386", load_i386},
    [ARCH_MIPSEL] = {"little-endian MIPS", load_mips},
    [ARCH_MIPS] = {"big-endian MIPS", load_mips},
};

const char *boot_arch_name(enum guest_arch arch)
{
    return arch < ARCH_COUNT ? archs[arch].name : "unknown";
}

int boot_load(const struct boot_request *req, struct boot_plan *plan, struct err *e)
{
    struct loading l = {.req = req, .plan = plan};

    if (req->map_count > BOOT_E820_MAX)
        return err_set(e, EINVAL, "memory-map", "%zu memory map entries are too many",
                       req->map_count);
    int r = image_open(&l.kernel, req->kernel, "kernel", e);
    if (r < 0)
        return r;
    l.head_bytes = l.kernel.bytes < sizeof l.head ? (uint32_t)l.kernel.bytes : sizeof l.head;
    r = image_read(&l.kernel, 0, l.head, l.head_bytes, e);
    if (r == 0)
        r = archs[req->arch].load(&l, e);
    image_close(&l.kernel);
    return r;
}

/* The head of a file that may be a kernel; false: it cannot be read. */
static bool read_head(struct loading *l, const char *path)
{
    struct err e;

    if (image_open(&l->kernel, path, "kernel", &e) < 0)
        return false;
    l->head_bytes = l->kernel.bytes < sizeof l->head ? (uint32_t)l->kernel.bytes : sizeof l->head;
    int r = image_read(&l->kernel, 0, l->head, l->head_bytes, &e);
    image_close(&l->kernel);
    return r == 0;
}

bool boot_is_kernel(const char *path)
{
    struct loading l = {0};

    return read_head(&l, path) &&
           (elf_is(&l) || bzimage_is(&l) ||
            (multiboot_is(&l) && get16(l.head + 510) != 0xaa55)); /* an MBR's signature */
}

enum guest_arch boot_kernel_arch(const char *path)
{
    struct loading l = {0};

    if (!read_head(&l, path))
        return ARCH_UNKNOWN;
    if (elf_is(&l))
        return elf_arch(&l);
    return bzimage_is(&l) || multiboot_is(&l) ? ARCH_I386 : ARCH_UNKNOWN;
}
