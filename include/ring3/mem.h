/* SPDX-License-Identifier: MIT */
/* Guest-physical memory: RAM as one memfd, ROM, and per-page write-protection reasons.
 * Devices and loaders use phys_read/phys_write (always bounds-checked, never MMIO). Processors
 * look pages up once (phys_page) and keep the host address in their TLB. */
#ifndef RING3_MEM_H
#define RING3_MEM_H

#include "ring3/err.h"
#include "ring3/types.h"

struct phys;

/* Why guest writes to a page must be seen. Kept per guest page; applied by each processor's TLB
 * or window, never to the monitor's own map. */
enum wp_reason {
    WP_CODE = 1 << 0,       /* holds instructions that the interpreter has decoded */
    WP_PAGE_TABLE = 1 << 1, /* holds a page table that a shadow was built from */
    WP_DIRTY_LOG = 1 << 2,  /* snapshot or migration wants to know */
    WP_TRANSLATED = 1 << 3, /* holds translated instructions: an engine's own, beside WP_CODE */
};

enum phys_kind { PHYS_NONE, PHYS_RAM, PHYS_ROM };

struct phys_page {
    enum phys_kind kind; /* PHYS_NONE: not memory, try the MMIO bus */
    uint8_t wp;          /* OR of enum wp_reason */
    uint8_t *host;       /* the page in the monitor's own map; valid unless PHYS_NONE */
};

/* Largest guest-physical address space a board may use. */
#define PHYS_LIMIT (4 * GIB)

/* RAM of ram_bytes (page multiple, 1 MiB to 3.5 GiB), not yet mapped anywhere. NULL on error. */
struct phys *phys_new(uint64_t ram_bytes, struct err *e);
void phys_free(struct phys *p);
uint64_t phys_ram_bytes(const struct phys *p);
int phys_ram_fd(const struct phys *p); /* the memfd; owned by phys */

/* Board wiring, before the VM runs: show RAM [ram_offset, +len) at gpa. All page multiples.
 * -EEXIST if a page already shows something, -EINVAL if the range is not within RAM or PHYS_LIMIT.
 */
int phys_map_ram(struct phys *p, gpa_t gpa, uint64_t ram_offset, uint64_t len, struct err *e);
/* The same, but guest writes are dropped. */
int phys_map_rom(struct phys *p, gpa_t gpa, uint64_t ram_offset, uint64_t len, struct err *e);

/* Memory that is not RAM (firmware, video memory) comes from the same memfd, behind RAM, so that
 * it can be shown to guests in the same way. Build time only; *ram_offset is what the calls above
 * take. -ENOSPC beyond PHYS_EXTRA in all. */
#define PHYS_EXTRA (64 * MIB)
int phys_extra(struct phys *p, uint64_t bytes, uint64_t *ram_offset, struct err *e);
/* Such memory in the monitor's map, for the device that got it; and cleared, which gives it back
 * to the host. Neither tells watchers. */
uint8_t *phys_extra_host(const struct phys *p, uint64_t ram_offset);
void phys_extra_zero(struct phys *p, uint64_t ram_offset, uint64_t len);
/* Change what [gpa, +len) shows while the VM runs (chipset shadowing, memory BARs), and tell the
 * watchers: RAM or ROM from ram_offset on, or nothing (PHYS_NONE). All page multiples, within
 * RAM plus extra. Only on the vCPU thread, or while it does not run. */
void phys_remap(struct phys *p, gpa_t gpa, enum phys_kind kind, uint64_t ram_offset, uint64_t len);

/* For snapshots: RAM and what phys_extra() has given out, as one piece of the monitor's map and of
 * phys_ram_fd(). Stores to it are told to no watcher, and absent contents (below) are not there. */
uint8_t *phys_memory(const struct phys *p, uint64_t *bytes);

/* Contents that come later, for restored machines. From phys_lazy_begin() on, whoever asks for an
 * address in a chunk whose bit is set in `absent` (a bit per PHYS_CHUNK of phys_memory(), from bit
 * 0 of absent[0] on) waits until fetch() has filled the chunk by way of phys_memory()'s address,
 * which must read as zeros before. It is called once for each chunk, one chunk at a time, on any
 * thread. The first that returns an error is told to failed(), and all such chunks count as filled.
 */
#define PHYS_CHUNK (256 * KIB)
struct phys_source {
    int (*fetch)(void *opaque, uint64_t chunk); /* 0 or -errno; calls nothing of phys */
    void (*failed)(void *opaque, int error);
    void *opaque;
};
/* While nobody else uses *p. Ends an earlier one, whatever it lacks. 0 or -ENOMEM. */
int phys_lazy_begin(struct phys *p, const struct phys_source *source, const uint64_t *absent);
/* Fetch one more chunk. False: nothing is absent. Any thread. */
bool phys_lazy_step(const struct phys *p);
/* Forget the source; what is still absent stays zero. While nobody else uses *p. */
void phys_lazy_end(struct phys *p);

/* Any thread. */
struct phys_page phys_page(const struct phys *p, gpfn_t page);
/* Byte offset within phys_ram_fd() of an address that phys_page() gave, for mapping the page. */
uint64_t phys_ram_offset(const struct phys *p, const uint8_t *host);
uint64_t phys_host_pages_touched(const struct phys *p); /* resident pages of the memfd */

/* Copy between guest memory and the monitor. -EFAULT if any byte is not memory, phys_write also if
 * any is ROM: nothing was copied then, unless another thread is just remapping the range.
 * phys_write honours write-protection reasons: it tells the watchers. Loaders that place ROM images
 * use phys_load, which like phys_zero may change ROM. phys_zero gives large stretches back to the
 * host. Any thread. */
int phys_read(const struct phys *p, gpa_t gpa, void *buf, uint64_t len);
int phys_write(struct phys *p, gpa_t gpa, const void *buf, uint64_t len);
int phys_load(struct phys *p, gpa_t gpa, const void *buf, uint64_t len);
int phys_zero(struct phys *p, gpa_t gpa, uint64_t len);
/* Whole pages of RAM go back to the host and read as zeros. -EFAULT: not all of it is RAM. */
int phys_discard(struct phys *p, gpa_t gpa, uint64_t len);

/* Guest memory for a device's own transfers, without a copy: the pieces of [gpa, +len) in the
 * monitor's map. Returns how many, at most `max`; -EFAULT if a byte is not memory (or, for
 * `write`, not RAM), -E2BIG if max pieces do not do. They stay valid as long as *p. Who has
 * stored to them reports it by phys_dma_written(), afterwards. Any thread. */
struct iovec;
int phys_iovec(const struct phys *p, gpa_t gpa, uint64_t len, bool write, struct iovec *iov,
               unsigned max);
void phys_dma_written(struct phys *p, gpa_t gpa, uint64_t len);

/* Write protection. wp_add and wp_drop tell every watcher that the page's reasons changed (so
 * that processors drop writable TLB entries); wp_written tells them that bytes changed. */
struct wp_watcher {
    void (*changed)(void *opaque, gpfn_t page, uint8_t reasons);
    void (*written)(void *opaque, gpa_t gpa, uint64_t len, uint8_t reasons); /* after the write */
    /* [gpa, +len) shows something else: forget what is known of it. vCPU thread; may be NULL. */
    void (*remapped)(void *opaque, gpa_t gpa, uint64_t len);
    void *opaque;
    struct wp_watcher *next; /* phys's list */
};
void wp_watch(struct phys *p, struct wp_watcher *w);   /* before the VM runs; not owned */
void wp_unwatch(struct phys *p, struct wp_watcher *w); /* after it ran */
void wp_add(struct phys *p, gpfn_t page, uint8_t reasons);
void wp_drop(struct phys *p, gpfn_t page, uint8_t reasons);
/* A processor stored [gpa, gpa+len) itself, within one page that has reasons. */
void wp_written(struct phys *p, gpa_t gpa, uint64_t len);

#endif
