/* SPDX-License-Identifier: MIT */
/* Linux: bzImage and vmlinux, entered by the 32-bit boot protocol (kernel documentation,
 * Documentation/x86/boot.rst and zero-page.rst); linux_real.c has the entry in real mode.
 *
 * A bzImage is setup_sects + 1 sectors of real-mode code, which we skip, and a protected-mode part
 * that goes to 1 MiB and unpacks itself. The header at 0x1f1 is copied into boot_params, which the
 * kernel finds through esi. Text mode 3 is reported if there is a VGA.
 *
 * Left out: zImage (loaded low), setup_data, EFI hand-over. */
#include "boot/loader.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

/* Setup header; the same offsets in the file and in boot_params. */
enum {
    HDR_START = 0x1f1,
    HDR_SETUP_SECTS = 0x1f1,
    HDR_SYSSIZE = 0x1f4, /* protected-mode part, units of 16 bytes */
    HDR_BOOT_FLAG = 0x1fe,
    HDR_JUMP_OFFSET = 0x201, /* the header ends at 0x202 plus this */
    HDR_MAGIC = 0x202,
    HDR_VERSION = 0x206,
    HDR_LOADER_TYPE = 0x210,
    HDR_LOADFLAGS = 0x211,
    HDR_CODE32_START = 0x214,
    HDR_RAMDISK_IMAGE = 0x218,
    HDR_RAMDISK_SIZE = 0x21c,
    HDR_CMD_LINE_PTR = 0x228,
    HDR_INITRD_ADDR_MAX = 0x22c, /* 2.03 */
    HDR_ALIGNMENT = 0x230,       /* 2.05 */
    HDR_RELOCATABLE = 0x234,     /* 2.05 */
    HDR_XLOADFLAGS = 0x236,      /* 2.12 */
    HDR_CMDLINE_SIZE = 0x238,    /* 2.06 */
    HDR_PREF_ADDRESS = 0x258,    /* 2.10 */
    HDR_INIT_SIZE = 0x260,       /* 2.10 */
    HDR_END_MAX = 0x290,
};
#define BOOT_FLAG         0xaa55
#define MAGIC             "HdrS"
#define LOADED_HIGH       0x01 /* loadflags */
#define XLF_KERNEL_64     0x01 /* xloadflags */
#define LOADER_UNASSIGNED 0xff

/* The rest of boot_params. */
enum {
    BP_VIDEO_MODE = 0x006, /* screen_info: what the BIOS says of the screen */
    BP_VIDEO_COLUMNS = 0x007,
    BP_VIDEO_EGA_BX = 0x00a,
    BP_VIDEO_LINES = 0x00e,
    BP_VIDEO_IS_VGA = 0x00f,
    BP_VIDEO_POINTS = 0x010,
    BP_EXT_MEM_K = 0x002, /* KiB above 1 MiB, at most 0xfc00; for kernels that ignore E820 */
    BP_ALT_MEM_K = 0x1e0, /* the same, 32 bits */
    BP_E820_ENTRIES = 0x1e8,
    BP_E820_TABLE = 0x2d0, /* 20 bytes each */
    BP_BYTES = 0x1000,
};
#define E820_ENTRY_BYTES 20

#define LOAD_ADDRESS        MIB
#define SECTOR              512u
#define CMDLINE_MAX_OLD     255 /* before 2.06 */
#define INITRD_MAX_OLD      0x37ffffffu
#define VMLINUX_CMDLINE_MAX 2047 /* COMMAND_LINE_SIZE of x86 */
#define VMLINUX_INITRD_MAX  0x7fffffffu
#define VMLINUX_VERSION     0x20f

bool bzimage_is(const struct loading *l)
{
    return l->head_bytes >= HDR_VERSION + 2 && get16(l->head + HDR_BOOT_FLAG) == BOOT_FLAG &&
           !memcmp(l->head + HDR_MAGIC, MAGIC, 4);
}

/* KiB of RAM from 1 MiB up to the first hole. */
static uint64_t ext_mem_kib(const struct boot_request *req)
{
    for (size_t i = 0; i < req->map_count; i++)
        if (req->map[i].type == E820_RAM && req->map[i].base <= MIB &&
            req->map[i].len > MIB - req->map[i].base)
            return (req->map[i].len - (MIB - req->map[i].base)) / KIB;
    return 0;
}

/* As a VGA BIOS reports mode 3: 80 by 25 characters of 16 lines, 256 KiB of video memory. */
static void put_screen(uint8_t *bp)
{
    bp[BP_VIDEO_MODE] = 3;
    bp[BP_VIDEO_COLUMNS] = 80;
    put16(bp + BP_VIDEO_EGA_BX, 3);
    bp[BP_VIDEO_LINES] = 25;
    bp[BP_VIDEO_IS_VGA] = 1;
    put16(bp + BP_VIDEO_POINTS, 16);
}

/* Everything in boot_params that does not come from the kernel file, the registers, and the
 * initrd. */
static int finish(struct loading *l, uint8_t *bp, uint64_t cmdline_max, uint64_t initrd_max,
                  struct err *e)
{
    const struct boot_request *req = l->req;
    struct boot_plan *plan = l->plan;

    int r = boot_put_cmdline(l, req->append ? req->append : "", cmdline_max, e);
    if (r == 0)
        r = boot_load_initrd(l, MIB, initrd_max + 1, true, e);
    if (r < 0)
        return r;

    if (req->text_screen)
        put_screen(bp);
    uint64_t ext = ext_mem_kib(req);
    put16(bp + BP_EXT_MEM_K, (uint16_t)(ext > 0xfc00 ? 0xfc00 : ext));
    put32(bp + BP_ALT_MEM_K, (uint32_t)ext);
    bp[HDR_LOADER_TYPE] = LOADER_UNASSIGNED;
    put32(bp + HDR_CMD_LINE_PTR, BOOT_CMDLINE);
    put32(bp + HDR_RAMDISK_IMAGE, (uint32_t)plan->initrd_start);
    put32(bp + HDR_RAMDISK_SIZE, (uint32_t)plan->initrd_bytes);
    bp[BP_E820_ENTRIES] = (uint8_t)req->map_count;
    for (size_t i = 0; i < req->map_count; i++) {
        uint8_t *entry = bp + BP_E820_TABLE + i * E820_ENTRY_BYTES;
        put64(entry, req->map[i].base);
        put64(entry + 8, req->map[i].len);
        put32(entry + 16, req->map[i].type);
    }
    if (phys_load(req->mem, BOOT_INFO, bp, BP_BYTES) < 0)
        return err_set(e, EINVAL, "memory-map", "no RAM at 0x%x for boot data", BOOT_INFO);
    plan->gpr[R_ESI] = BOOT_INFO;
    return 0;
}

static int check_header(const struct loading *l, struct err *e)
{
    const uint8_t *h = l->head;
    unsigned version = get16(h + HDR_VERSION);

    if (version < 0x202)
        return image_err(&l->kernel, ENOEXEC, "format", e,
                         "Linux kernel of boot protocol %u.%02u; at least 2.02 is needed",
                         version >> 8, version & 0xff);
    if (l->head_bytes < HDR_MAGIC + (unsigned)h[HDR_JUMP_OFFSET])
        return image_err(&l->kernel, ENOEXEC, "truncated", e,
                         "the setup header ends at byte %u, the file has %" PRIu64,
                         HDR_MAGIC + h[HDR_JUMP_OFFSET], l->kernel.bytes);
    if (version >= 0x20c && get16(h + HDR_XLOADFLAGS) & XLF_KERNEL_64)
        return image_err(&l->kernel, ENOEXEC, "64bit", e,
                         "64-bit (x86-64) Linux kernel; this machine runs i386 kernels");
    if (!(h[HDR_LOADFLAGS] & LOADED_HIGH))
        return image_err(&l->kernel, ENOEXEC, "format", e,
                         "zImage, a kernel for low memory; a bzImage is needed");
    return 0;
}

static uint64_t setup_bytes(const uint8_t *h)
{
    unsigned sects = h[HDR_SETUP_SECTS] ? h[HDR_SETUP_SECTS] : 4; /* 0 means 4 */
    return (sects + 1) * SECTOR;
}

/* Load the protected-mode part at 1 MiB. */
static int load_payload(struct loading *l, struct err *e)
{
    const uint8_t *h = l->head;
    uint64_t setup = setup_bytes(h);
    uint64_t bytes = (uint64_t)get32(h + HDR_SYSSIZE) * 16;

    if (setup >= l->kernel.bytes)
        return image_err(&l->kernel, ENOEXEC, "truncated", e,
                         "setup_sects says %" PRIu64 " bytes of setup code, the file has %" PRIu64,
                         setup, l->kernel.bytes);
    uint64_t rest = l->kernel.bytes - setup;
    if (get16(h + HDR_VERSION) < 0x204 || !bytes)
        bytes = rest; /* the field was 16 bits wide */
    if (bytes - rest < 16)
        bytes = rest; /* syssize is rounded up, the file need not be */
    if (bytes > rest)
        return image_err(&l->kernel, ENOEXEC, "truncated", e,
                         "syssize says %" PRIu64 " bytes in all, the file has %" PRIu64,
                         setup + bytes, l->kernel.bytes);
    int r = boot_check_ram(l, LOAD_ADDRESS, LOAD_ADDRESS + bytes, e);
    if (r == 0)
        r = image_load(&l->kernel, setup, bytes, l->req->mem, LOAD_ADDRESS, e);
    l->plan->kernel_start = LOAD_ADDRESS;
    l->plan->kernel_end = LOAD_ADDRESS + bytes;
    return r;
}

/* Where the kernel unpacks itself to: memory that must exist and stay free of the initrd. */
static int reserve_runtime(struct loading *l, struct err *e)
{
    const uint8_t *h = l->head;

    if (get16(h + HDR_VERSION) < 0x20a)
        return 0;
    uint64_t start = get64(h + HDR_PREF_ADDRESS);
    if (start < LOAD_ADDRESS)
        start = LOAD_ADDRESS;
    uint64_t end = start + get32(h + HDR_INIT_SIZE);
    int r = boot_check_ram(l, start, end, e);
    if (r == 0 && end > l->plan->kernel_end)
        l->plan->kernel_end = end;
    return r;
}

int bzimage_load(struct loading *l, struct err *e)
{
    const uint8_t *h = l->head;
    uint8_t bp[BP_BYTES] = {0};

    l->plan->format = "bzImage";
    int r = check_header(l, e);
    if (r == 0)
        r = load_payload(l, e);
    if (r == 0)
        r = reserve_runtime(l, e);
    if (r < 0)
        return r;

    unsigned version = get16(h + HDR_VERSION), end = HDR_MAGIC + h[HDR_JUMP_OFFSET];
    uint64_t cmdline_max = version >= 0x206 ? get32(h + HDR_CMDLINE_SIZE) : CMDLINE_MAX_OLD;
    uint64_t initrd_max = version >= 0x203 ? get32(h + HDR_INITRD_ADDR_MAX) : INITRD_MAX_OLD;
    if (l->req->bios)
        return bzimage_finish_real(l, setup_bytes(h), cmdline_max, initrd_max, e);
    uint32_t entry = get32(h + HDR_CODE32_START);
    if (entry < LOAD_ADDRESS || entry >= l->plan->kernel_end)
        return image_err(
            &l->kernel, ENOEXEC, "format", e,
            "code32_start 0x%x lies outside the loaded kernel; --firmware starts it in "
            "real mode",
            entry);
    l->plan->entry = entry;
    memcpy(bp + HDR_START, h + HDR_START, (end < HDR_END_MAX ? end : HDR_END_MAX) - HDR_START);
    return finish(l, bp, cmdline_max, initrd_max, e);
}

int vmlinux_load(struct loading *l, struct err *e)
{
    uint8_t bp[BP_BYTES] = {0};

    l->plan->format = "ELF";
    int r = elf_load(l, e);
    if (r < 0)
        return r;
    put16(bp + HDR_BOOT_FLAG, BOOT_FLAG);
    memcpy(bp + HDR_MAGIC, MAGIC, 4);
    put16(bp + HDR_VERSION, VMLINUX_VERSION);
    bp[HDR_LOADFLAGS] = LOADED_HIGH;
    put32(bp + HDR_CODE32_START, l->plan->entry);
    put32(bp + HDR_INITRD_ADDR_MAX, VMLINUX_INITRD_MAX);
    put32(bp + HDR_CMDLINE_SIZE, VMLINUX_CMDLINE_MAX);
    return finish(l, bp, VMLINUX_CMDLINE_MAX, VMLINUX_INITRD_MAX, e);
}
