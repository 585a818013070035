/* SPDX-License-Identifier: MIT */
/* What phys.c (memory) and wprot.c (write protection) share. Nobody else includes this. */
#ifndef RING3_MEM_PHYS_INTERNAL_H
#define RING3_MEM_PHYS_INTERNAL_H

#include <stdatomic.h>

#include "ring3/mem.h"

#define PHYS_PAGES (PHYS_LIMIT >> PAGE_SHIFT)

/* One guest page: 0 is not memory, otherwise the page number within the memfd plus one, and
 * SLOT_ROM when guest writes are dropped. RAM and extra are less than 4 GiB, so the number needs 20
 * bits. */
typedef uint32_t slot_t;
#define SLOT_ROM UINT32_C(0x80000000)

/* slots and wp are anonymous mappings of PHYS_PAGES elements: pages of them that describe no
 * memory are never touched and cost nothing. slots changes by phys_remap() alone, once the VM runs:
 * other threads then see either. */
struct phys {
    int fd;
    uint8_t *ram;                   /* the whole memfd */
    uint64_t ram_bytes, file_bytes; /* RAM; RAM and PHYS_EXTRA */
    uint64_t extra_used;            /* of PHYS_EXTRA */
    slot_t *slots;
    _Atomic uint8_t *wp;
    struct wp_watcher *watchers; /* constant once the VM runs */
    struct phys_lazy *lazy;      /* likewise; NULL: all contents are there */
};

/* Tell watchers that [gpa, gpa+len), which may cross pages, was written; only pages that have
 * reasons are reported. Orders the caller's stores before the look at the reasons. */
void wp_written_range(struct phys *p, gpa_t gpa, uint64_t len);
/* Tell watchers that [gpa, gpa+len) shows something else. */
void wp_remapped(struct phys *p, gpa_t gpa, uint64_t len);

/* Have the contents of [offset, +len) of the memfd, len > 0, before an address in it is given out.
 * Only while p->lazy. */
void phys_lazy_want(const struct phys *p, uint64_t offset, uint64_t len);

#endif
