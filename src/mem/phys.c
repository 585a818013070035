/* SPDX-License-Identifier: MIT */
/* Guest-physical memory: one memfd mapped once, and a table from guest page to memfd page.
 *
 * The table is direct (4 bytes a guest page), because phys_page() runs on every TLB fill. It is
 * one anonymous mapping, so a 128 MiB guest touches 128 KiB of it. A guest page is RAM, ROM (the
 * same memory, guest writes dropped) or nothing; device registers live on the MMIO bus instead.
 * Behind RAM the memfd has PHYS_EXTRA more bytes, which cost nothing until they are used. */
#include "mem/phys_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "ring3/log.h"

#define RAM_MIN MIB
#define RAM_MAX (7 * GIB / 2)

/* Zeroing at least this much gives whole pages back to the host instead of writing them. */
#define PUNCH_MIN (256 * KIB)

static void *map_table(size_t bytes)
{
    return mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                -1, 0);
}

static int open_memory(struct phys *p, struct err *e)
{
    p->fd = memfd_create("ring3-ram", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (p->fd < 0)
        return err_set(e, errno, "host-memory", "memfd_create: %s", strerror(errno));
    if (ftruncate(p->fd, (off_t)p->file_bytes) < 0)
        return err_set(e, errno, "host-memory", "cannot size guest RAM to %" PRIu64 " MiB: %s",
                       p->ram_bytes / MIB, strerror(errno));
    /* A file that cannot shrink cannot turn a later access into SIGBUS. */
    if (fcntl(p->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
        return err_set(e, errno, "host-memory", "cannot seal guest RAM: %s", strerror(errno));
    p->ram =
        mmap(NULL, p->file_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, p->fd, 0);
    p->slots = map_table(PHYS_PAGES * sizeof(*p->slots));
    p->wp = map_table(PHYS_PAGES * sizeof(*p->wp));
    if (p->ram == MAP_FAILED || p->slots == MAP_FAILED || p->wp == MAP_FAILED)
        return err_set(e, ENOMEM, "host-memory",
                       "cannot map %" PRIu64 " MiB of guest RAM: the host's address space or "
                       "memory limit is too small; try a smaller -m",
                       p->ram_bytes / MIB);
    return 0;
}

struct phys *phys_new(uint64_t ram_bytes, struct err *e)
{
    if (ram_bytes % PAGE_BYTES || ram_bytes < RAM_MIN || ram_bytes > RAM_MAX) {
        err_set(e, EINVAL, "ram-size",
                "guest RAM of %" PRIu64 " bytes: must be whole pages, 1 MiB to 3.5 GiB", ram_bytes);
        return NULL;
    }
    struct phys *p = malloc(sizeof(*p));
    if (!p) {
        err_set(e, ENOMEM, "host-memory", "out of memory");
        return NULL;
    }
    *p = (struct phys){.fd = -1,
                       .ram = MAP_FAILED,
                       .ram_bytes = ram_bytes,
                       .file_bytes = ram_bytes + PHYS_EXTRA,
                       .slots = MAP_FAILED,
                       .wp = MAP_FAILED};
    if (open_memory(p, e) < 0) {
        phys_free(p);
        return NULL;
    }
    return p;
}

void phys_free(struct phys *p)
{
    if (!p)
        return;
    if (p->ram != MAP_FAILED)
        munmap(p->ram, p->file_bytes);
    if (p->slots != MAP_FAILED)
        munmap(p->slots, PHYS_PAGES * sizeof(*p->slots));
    if (p->wp != MAP_FAILED)
        munmap((void *)p->wp, PHYS_PAGES * sizeof(*p->wp));
    if (p->fd >= 0)
        close(p->fd);
    phys_lazy_end(p);
    free(p);
}

uint64_t phys_ram_bytes(const struct phys *p)
{
    return p->ram_bytes;
}

int phys_ram_fd(const struct phys *p)
{
    return p->fd;
}

int phys_extra(struct phys *p, uint64_t bytes, uint64_t *ram_offset, struct err *e)
{
    uint64_t len = (bytes + PAGE_BYTES - 1) & PAGE_MASK;
    if (bytes > PHYS_EXTRA || len > PHYS_EXTRA - p->extra_used)
        return err_set(e, ENOSPC, "memory-map",
                       "no room for %" PRIu64 " KiB of firmware or video memory: devices may have "
                       "%" PRIu64 " MiB in all",
                       bytes / KIB, (uint64_t)(PHYS_EXTRA / MIB));
    *ram_offset = p->ram_bytes + p->extra_used;
    p->extra_used += len;
    return 0;
}

uint8_t *phys_memory(const struct phys *p, uint64_t *bytes)
{
    *bytes = p->ram_bytes + p->extra_used;
    return p->ram;
}

static bool can_map(const struct phys *p, gpa_t gpa, uint64_t ram_offset, uint64_t len)
{
    return !((gpa | ram_offset | len) % PAGE_BYTES) && len && gpa <= PHYS_LIMIT &&
           len <= PHYS_LIMIT - gpa && ram_offset <= p->ram_bytes + p->extra_used &&
           len <= p->ram_bytes + p->extra_used - ram_offset;
}

/* What page n shows. phys_remap() may change it meanwhile, so who has looked once uses what it saw.
 */
static slot_t slot_at(const struct phys *p, uint64_t n)
{
    return __atomic_load_n(&p->slots[n], __ATOMIC_RELAXED);
}

static void set_slot(struct phys *p, uint64_t n, slot_t slot)
{
    __atomic_store_n(&p->slots[n], slot, __ATOMIC_RELAXED);
}

static void set_slots(struct phys *p, gpa_t gpa, uint64_t ram_offset, uint64_t len, slot_t flags)
{
    for (uint64_t i = 0; i < len >> PAGE_SHIFT; i++)
        set_slot(p, (gpa >> PAGE_SHIFT) + i, flags | (slot_t)((ram_offset >> PAGE_SHIFT) + i + 1));
}

void phys_remap(struct phys *p, gpa_t gpa, enum phys_kind kind, uint64_t ram_offset, uint64_t len)
{
    if (!can_map(p, gpa, kind == PHYS_NONE ? 0 : ram_offset,
                 kind == PHYS_NONE ? PAGE_BYTES : len) ||
        len % PAGE_BYTES || len > PHYS_LIMIT - gpa)
        BUG("remap of 0x%" PRIx64 ", 0x%" PRIx64 " bytes", gpa, len);
    if (kind == PHYS_NONE)
        for (uint64_t i = 0; i < len >> PAGE_SHIFT; i++)
            set_slot(p, (gpa >> PAGE_SHIFT) + i, 0);
    else
        set_slots(p, gpa, ram_offset, len, kind == PHYS_ROM ? SLOT_ROM : 0);
    wp_remapped(p, gpa, len);
}

static int map_slots(struct phys *p, gpa_t gpa, uint64_t ram_offset, uint64_t len, slot_t flags,
                     struct err *e)
{
    if (!can_map(p, gpa, ram_offset, len))
        return err_set(e, EINVAL, "memory-map",
                       "cannot map RAM +0x%" PRIx64 " at 0x%" PRIx64 ", 0x%" PRIx64 " bytes",
                       ram_offset, gpa, len);

    slot_t *slot = p->slots + (gpa >> PAGE_SHIFT);
    uint64_t pages = len >> PAGE_SHIFT;
    for (uint64_t i = 0; i < pages; i++)
        if (slot[i])
            return err_set(e, EEXIST, "memory-map", "guest page 0x%" PRIx64 " is mapped twice",
                           gpa + (i << PAGE_SHIFT));
    set_slots(p, gpa, ram_offset, len, flags);
    return 0;
}

int phys_map_ram(struct phys *p, gpa_t gpa, uint64_t ram_offset, uint64_t len, struct err *e)
{
    return map_slots(p, gpa, ram_offset, len, 0, e);
}

int phys_map_rom(struct phys *p, gpa_t gpa, uint64_t ram_offset, uint64_t len, struct err *e)
{
    return map_slots(p, gpa, ram_offset, len, SLOT_ROM, e);
}

/* [in, +len) of the page that a slot names, and on behind it in the memfd; the contents are there.
 * slot must not be 0, nor len. */
static uint8_t *slot_host(const struct phys *p, slot_t slot, uint64_t in, uint64_t len)
{
    uint64_t offset = ((uint64_t)((slot & ~SLOT_ROM) - 1) << PAGE_SHIFT) + in;
    if (unlikely(p->lazy))
        phys_lazy_want(p, offset, len);
    return p->ram + offset;
}

struct phys_page phys_page(const struct phys *p, gpfn_t page)
{
    if (unlikely(page.n >= PHYS_PAGES))
        return (struct phys_page){.kind = PHYS_NONE};
    slot_t slot = slot_at(p, page.n);
    if (!slot)
        return (struct phys_page){.kind = PHYS_NONE};
    return (struct phys_page){.kind = slot & SLOT_ROM ? PHYS_ROM : PHYS_RAM,
                              .wp = atomic_load(&p->wp[page.n]),
                              .host = slot_host(p, slot, 0, PAGE_BYTES)};
}

uint64_t phys_ram_offset(const struct phys *p, const uint8_t *host)
{
    return (uint64_t)(host - p->ram);
}

uint64_t phys_host_pages_touched(const struct phys *p)
{
    struct stat st;

    if (fstat(p->fd, &st) < 0)
        return 0;
    return (uint64_t)st.st_blocks * 512 / PAGE_BYTES; /* st_blocks counts 512-byte units */
}

static bool usable(slot_t slot, bool rom_ok)
{
    return slot && (rom_ok || !(slot & SLOT_ROM));
}

/* Is [gpa, gpa+len) all memory, and none of it ROM if rom_ok is false? */
static bool range_ok(const struct phys *p, gpa_t gpa, uint64_t len, bool rom_ok)
{
    if (gpa > PHYS_LIMIT || len > PHYS_LIMIT - gpa)
        return false;
    if (!len)
        return true;
    for (uint64_t n = gpa >> PAGE_SHIFT; n <= (gpa + len - 1) >> PAGE_SHIFT; n++)
        if (!usable(slot_at(p, n), rom_ok))
            return false;
    return true;
}

/* The longest run from gpa, at most len, that is contiguous in the monitor's map. The range has
 * passed range_ok(), but may have been remapped since: NULL if it starts with what is not usable
 * any more. */
static uint8_t *next_run(const struct phys *p, gpa_t gpa, uint64_t len, bool rom_ok, uint64_t *run)
{
    uint64_t n = gpa >> PAGE_SHIFT, offset = gpa & ~PAGE_MASK, bytes = PAGE_BYTES - offset;
    slot_t slot = slot_at(p, n);

    if (!usable(slot, rom_ok))
        return NULL;
    for (slot_t next = slot + 1; bytes < len && slot_at(p, ++n) == next; next++)
        bytes += PAGE_BYTES;
    *run = bytes < len ? bytes : len;
    return slot_host(p, slot, offset, *run);
}

int phys_read(const struct phys *p, gpa_t gpa, void *buf, uint64_t len)
{
    if (!range_ok(p, gpa, len, true))
        return -EFAULT;
    for (uint8_t *to = buf; len;) {
        uint64_t n;
        const uint8_t *from = next_run(p, gpa, len, true, &n);
        if (!from)
            return -EFAULT;
        memcpy(to, from, n);
        to += n, gpa += n, len -= n;
    }
    return 0;
}

static int store(struct phys *p, gpa_t gpa, const void *buf, uint64_t len, bool rom_ok)
{
    if (!range_ok(p, gpa, len, rom_ok))
        return -EFAULT;
    const uint8_t *from = buf;
    uint64_t done = 0;
    while (done < len) {
        uint64_t n;
        uint8_t *to = next_run(p, gpa + done, len - done, rom_ok, &n);
        if (!to)
            break;
        memcpy(to, from + done, n);
        done += n;
    }
    wp_written_range(p, gpa, done);
    return done == len ? 0 : -EFAULT;
}

int phys_write(struct phys *p, gpa_t gpa, const void *buf, uint64_t len)
{
    return store(p, gpa, buf, len, false);
}

int phys_iovec(const struct phys *p, gpa_t gpa, uint64_t len, bool write, struct iovec *iov,
               unsigned max)
{
    unsigned n = 0;
    if (!range_ok(p, gpa, len, !write))
        return -EFAULT;
    while (len) {
        uint64_t run;
        if (n == max)
            return -E2BIG;
        iov[n].iov_base = next_run(p, gpa, len, !write, &run);
        if (!iov[n].iov_base)
            return -EFAULT;
        iov[n++].iov_len = run;
        gpa += run, len -= run;
    }
    return (int)n;
}

void phys_dma_written(struct phys *p, gpa_t gpa, uint64_t len)
{
    if (gpa <= PHYS_LIMIT && len <= PHYS_LIMIT - gpa)
        wp_written_range(p, gpa, len);
}

int phys_load(struct phys *p, gpa_t gpa, const void *buf, uint64_t len)
{
    return store(p, gpa, buf, len, true);
}

/* Zero host memory of the RAM map; large stretches become holes of the memfd, which read as zero
 * and cost the host nothing. */
static void zero_run(struct phys *p, uint8_t *host, uint64_t len)
{
    uint64_t start = (uint64_t)(host - p->ram), end = start + len;
    uint64_t first = (start + PAGE_BYTES - 1) & PAGE_MASK, last = end & PAGE_MASK;

    if (len < PUNCH_MIN || fallocate(p->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                     (off_t)first, (off_t)(last - first)) < 0) {
        memset(host, 0, len);
        return;
    }
    memset(host, 0, first - start);
    memset(p->ram + last, 0, end - last);
}

uint8_t *phys_extra_host(const struct phys *p, uint64_t ram_offset)
{
    return p->ram + ram_offset;
}

void phys_extra_zero(struct phys *p, uint64_t ram_offset, uint64_t len)
{
    zero_run(p, p->ram + ram_offset, len);
}

int phys_zero(struct phys *p, gpa_t gpa, uint64_t len)
{
    if (!range_ok(p, gpa, len, true))
        return -EFAULT;
    for (uint64_t done = 0; done < len;) {
        uint64_t n;
        uint8_t *host = next_run(p, gpa + done, len - done, true, &n);
        if (!host)
            return -EFAULT;
        zero_run(p, host, n);
        done += n;
    }
    wp_written_range(p, gpa, len);
    return 0;
}

int phys_discard(struct phys *p, gpa_t gpa, uint64_t len)
{
    if ((gpa | len) % PAGE_BYTES || !range_ok(p, gpa, len, false))
        return -EFAULT;
    for (uint64_t done = 0; done < len;) {
        uint64_t n;
        uint8_t *host = next_run(p, gpa + done, len - done, false, &n);
        if (!host)
            return -EFAULT;
        if (fallocate(p->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, host - p->ram, (off_t)n) <
            0)
            memset(host, 0, n);
        done += n;
    }
    wp_written_range(p, gpa, len);
    return 0;
}
