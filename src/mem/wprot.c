/* SPDX-License-Identifier: MIT */
/* Write-protection reasons per guest page, and who wants to hear about them.
 *
 * A reader (say, the decoder) calls wp_add() and then reads the page; a writer stores and then
 * looks at the reasons. Both sides are sequentially consistent, so either the reader sees the new
 * bytes or the writer sees the reason and reports: no store is lost between two threads.
 *
 * Left out: RAM that a board shows at two guest addresses. Reasons belong to the address; boards
 * that alias RAM do it with ROM mappings, which are never written by the guest. */
#include "mem/phys_internal.h"

void wp_watch(struct phys *p, struct wp_watcher *w)
{
    w->next = p->watchers;
    p->watchers = w;
}

void wp_unwatch(struct phys *p, struct wp_watcher *w)
{
    struct wp_watcher **at = &p->watchers;
    while (*at && *at != w)
        at = &(*at)->next;
    if (*at)
        *at = w->next;
}

static void tell_changed(struct phys *p, gpfn_t page, uint8_t reasons)
{
    for (struct wp_watcher *w = p->watchers; w; w = w->next)
        if (w->changed)
            w->changed(w->opaque, page, reasons);
}

void wp_add(struct phys *p, gpfn_t page, uint8_t reasons)
{
    if (page.n >= PHYS_PAGES)
        return;
    uint8_t old = atomic_fetch_or(&p->wp[page.n], reasons);
    if ((old | reasons) != old)
        tell_changed(p, page, old | reasons);
}

void wp_drop(struct phys *p, gpfn_t page, uint8_t reasons)
{
    if (page.n >= PHYS_PAGES)
        return;
    uint8_t old = atomic_fetch_and(&p->wp[page.n], (uint8_t)~reasons);
    if (old & reasons)
        tell_changed(p, page, old & (uint8_t)~reasons);
}

static void tell_written(struct phys *p, gpa_t gpa, uint64_t len)
{
    uint8_t reasons = atomic_load_explicit(&p->wp[gpa >> PAGE_SHIFT], memory_order_relaxed);

    if (!reasons)
        return;
    for (struct wp_watcher *w = p->watchers; w; w = w->next)
        if (w->written)
            w->written(w->opaque, gpa, len, reasons);
}

void wp_written(struct phys *p, gpa_t gpa, uint64_t len)
{
    if (gpa >= PHYS_LIMIT)
        return;
    atomic_thread_fence(memory_order_seq_cst);
    tell_written(p, gpa, len);
}

void wp_written_range(struct phys *p, gpa_t gpa, uint64_t len)
{
    atomic_thread_fence(memory_order_seq_cst);
    while (len) {
        uint64_t n = PAGE_BYTES - (gpa & ~PAGE_MASK);
        if (n > len)
            n = len;
        tell_written(p, gpa, n);
        gpa += n;
        len -= n;
    }
}

void wp_remapped(struct phys *p, gpa_t gpa, uint64_t len)
{
    for (struct wp_watcher *w = p->watchers; w; w = w->next)
        if (w->remapped)
            w->remapped(w->opaque, gpa, len);
}
