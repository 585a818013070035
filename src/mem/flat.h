/* SPDX-License-Identifier: MIT */
/* The flat view of guest-linear memory: a page table of addends that translated code reads itself.
 *
 * Two tables of FLAT_PAGES 8-byte entries, one for reads and FLAT_WRITE_OFFSET bytes behind it one
 * for writes. An entry is the host address of the page minus its guest-linear address, so an
 * access needs no compare and no mask:
 *
 *     shrx r9, ea, 12|table            ; the count is taken modulo 64: the table's address is page
 *     mov  r9, [12|table + r9*8 - 12]  ; aligned, so one register is both base and shift count
 *     access [r9 + ea]                 ; stores: disp32 is FLAT_WRITE_OFFSET - 12
 *
 * Absent pages must make the access itself fault. Their entry is 0, so that the host address is
 * the guest's own, below 4 GiB: the pool keeps all of that PROT_NONE. Pages of this process's low
 * 4 GiB which are something else (a sanitizer's shadow memory, a program that is not position
 * independent) have FLAT_POISON as absent entry, which makes the host address non-canonical; the
 * kernel reports such a fault with si_addr 0. A fresh table of zeros therefore costs nothing, and
 * filling a page is a store: no system call, no mapping.
 *
 * An access that crosses a page is looked up by its first byte only: keeping its tail out of a
 * host page that is not the guest's is the translator's business.
 *
 * Left out: guest-linear addresses over 4 GiB. One thread at a time per flat; another thread may
 * run code over it meanwhile (entries are whole 8-byte stores). Not from a signal handler. */
#ifndef RING3_MEM_FLAT_H
#define RING3_MEM_FLAT_H

#include "ring3/err.h"
#include "ring3/types.h"

#define FLAT_PAGES        (UINT32_C(1) << 20)
#define FLAT_WRITE_OFFSET (FLAT_PAGES * 8)    /* bytes from an entry for reads to its twin */
#define FLAT_POISON       (UINT64_C(1) << 63) /* non-canonical with any 32-bit address added */

struct flat_pool;
struct flat;

/* Reserve what is free of the low 4 GiB for the rest of the process's life (other pools may rely
 * on it by then) and note what is not. Any number of pools may exist, made by any thread. NULL on
 * error. */
struct flat_pool *flat_pool_new(struct err *e);
void flat_pool_free(struct flat_pool *pool);                     /* after its flats; NULL is fine */
bool flat_poisoned(const struct flat_pool *pool, uint32_t page); /* absent entry is FLAT_POISON? */

/* A view with every page absent. NULL when the host has no memory. The pool outlives it. */
struct flat *flat_new(struct flat_pool *pool, struct err *e);
void flat_free(struct flat *f);
uintptr_t flat_table(const struct flat *f); /* of the reads; multiple of 4 KiB */

/* page, and first + pages, stay within FLAT_PAGES (what is beyond is ignored). host is a whole page
 * above 4 GiB that stays mapped until the entry is cleared. */
void flat_set(struct flat *f, uint32_t page, const uint8_t *host, bool writable);
void flat_readonly(struct flat *f, uint32_t page); /* no change if the page is absent */
void flat_clear(struct flat *f, uint32_t first, uint32_t pages);
void flat_clear_all(struct flat *f);

/* Where the access of one byte would go; NULL if it would fault. For C code and tests. */
uint8_t *flat_host(const struct flat *f, uint32_t linear, bool write);

#endif
