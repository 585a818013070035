/* SPDX-License-Identifier: MIT */
/* A window: 4 GiB of host addresses in which guest-linear pages appear as mappings of the RAM
 * memfd, so that translated code reaches guest memory without any look-up.
 *
 * A window is a cache: the caller decides which linear page shows which part of the memfd, and
 * may lose pages at any time that a call says so. Pages that are not mapped are PROT_NONE: an
 * access faults and the caller fills the page or finds that the guest has earned a fault. The
 * base is 4 GiB-aligned and at least WINDOW_GUARD bytes on both sides are PROT_NONE too, so an
 * access at base + (32-bit address) that runs over either end faults as well.
 *
 * Mappings are scarce (vm.max_map_count for the whole process), so all windows of a VM count
 * theirs against the budget of one pool, exactly: pages that continue each other in the window
 * and in the memfd with the same protection are one mapping, as they are in the kernel. (A pool
 * has some 16 spare ones besides, so that it can still empty a window when the process is over.)
 *
 * What filling costs (medians, two shared cores of a cloud guest without large pages, memfd pages
 * resident; a plain host is several times cheaper). Per call:
 *
 *     pages              mmap   +MAP_POPULATE  +read 1 in 16  +write each  +MADV_POPULATE_WRITE
 *     1                   3.2 us     6.6 us         6.5 us       6.6 us       6.9 us
 *     16 contiguous       3.7        9.3            7.4         22           16
 *     64 contiguous       3.8       19             13           72           47
 *     256 contiguous      3.9       60             36          226          168
 *     16 scattered       53         77             77           79           83
 *
 *     mprotect of one page 2.3 us, unmapping one 2.8-3.7 us, clearing a window with 1, 16, 256,
 *     4096 scattered pages 11, 30, 410, 16900 us
 *
 * A read fault on shared memory enters up to 16 resident neighbours, aligned to 64 KiB, and makes
 * them writable where the mapping is; a write fault enters one page. So `populate` reads one page
 * in 16: the cheapest way, and unlike MAP_POPULATE it allocates no memory for the untouched rest.
 *
 * Left out: everything that knows a guest page table; large pages; executable mappings (guest
 * bytes are never run where they lie). One thread at a time per pool, while no other thread runs
 * code over its windows; nothing here may be called from a signal handler. */
#ifndef RING3_MEM_WINDOW_H
#define RING3_MEM_WINDOW_H

#include "ring3/err.h"
#include "ring3/types.h"

#define WINDOW_PAGES (UINT32_C(1) << 20)
#define WINDOW_GUARD MIB

struct window_pool;
struct window;

/* Counted since the pool was made; mappings is the current number. */
struct window_stats {
    uint64_t mappings; /* host mappings of all windows, their reserves included */
    uint64_t most;     /* of them at any time */
    uint64_t maps;     /* mmap calls that showed RAM */
    uint64_t unmaps;
    uint64_t protects; /* mprotect calls */
    uint64_t clears;   /* of a window that was not empty */
    uint64_t refusals; /* window_map calls that the budget turned down */
    uint64_t losses;   /* windows cleared because the kernel or the budget left no other way */
};

/* A pool whose windows show fd, a memfd of constant size (borrowed: it outlives the pool), and
 * together hold at most budget host mappings; 0 takes half of vm.max_map_count. NULL on error. */
struct window_pool *window_pool_new(int fd, uint64_t budget, struct err *e);
void window_pool_free(struct window_pool *pool); /* after its windows; NULL is fine */
struct window_stats window_pool_stats(const struct window_pool *pool);
uint64_t window_pool_budget(const struct window_pool *pool);

/* An empty window, or NULL when the host has no address space left or the budget none. */
struct window *window_new(struct window_pool *pool, struct err *e);
void window_free(struct window *w);
uintptr_t window_base(const struct window *w);
uint32_t window_mappings(const struct window *w); /* host mappings of this window; 1 if empty */

/* Show [ram_offset, +pages) of the memfd at the linear pages from first on, in place of what was
 * there. populate: enter the pages that are resident into the host's page table as well.
 * -ENOMEM: the budget does not allow it and nothing changed, or the kernel refused and the window
 * is now empty; evict and try again. -EINVAL: outside the window or the memfd, or unaligned. */
int window_map(struct window *w, uint32_t first, uint64_t ram_offset, uint32_t pages, bool writable,
               bool populate);

/* Change the protection of those pages of the range that are mapped, or unmap them. They may run
 * over the budget by an eighth, since a caller cannot put off a write protection. -ENOMEM: not
 * possible even so, and the whole window is now empty (which is safe: pages only go away).
 * -EINVAL: outside the window. */
int window_protect(struct window *w, uint32_t first, uint32_t pages, bool writable);
int window_unmap(struct window *w, uint32_t first, uint32_t pages);
void window_clear(struct window *w);

/* What a page shows: false if nothing. ram_offset and writable may be NULL. */
bool window_page(const struct window *w, uint32_t page, uint64_t *ram_offset, bool *writable);

#endif
