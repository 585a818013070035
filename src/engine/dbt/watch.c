/* SPDX-License-Identifier: MIT */
/* Stores to guest pages with translated code.
 *
 * Generated code cannot store to such a page: its views are read-only there, so the store faults
 * and is interpreted, and the interpreter reports it through phys. So a report on the vCPU thread
 * always finds generated code at rest and is served at once. Reports of other threads (devices)
 * are queued with their exact range; ATTN_CODE brings the processor out of generated code, and the
 * queue is served before it goes back in. */
#include "engine/dbt/dbt.h"

static void queue(struct dbt *d, gpa_t gpa, uint64_t len)
{
    pthread_mutex_lock(&d->far_lock);
    d->figures.written_far++;
    if (d->far_count < DBT_WRITES)
        d->far[d->far_count] = (struct dbt_write){gpa, len};
    if (d->far_count <= DBT_WRITES)
        d->far_count++;
    pthread_mutex_unlock(&d->far_lock);
    /* First the queue, then the bit: who clears the bit looks at the queue later. */
    atomic_store(&d->far_pending, true);
    vcpu_attend(d->v, ATTN_CODE);
}

static void written(void *opaque, gpa_t gpa, uint64_t len, uint8_t reasons)
{
    struct dbt *d = opaque;
    bool mine =
        pthread_equal(pthread_self(), atomic_load_explicit(&d->v->runner, memory_order_relaxed));
    if (mine)
        d->figures.written++;
    if (!(reasons & WP_TRANSLATED))
        return;
    if (!mine)
        queue(d, gpa, len);
    else if (pages_written(&d->pages, gpa, len))
        d->figures.invalidated++;
}

static void remapped(void *opaque, gpa_t gpa, uint64_t len)
{
    struct dbt *d = opaque;
    for (uint64_t done = 0; done < len; done += PAGE_BYTES)
        if (pages_written(&d->pages, gpa + done, PAGE_BYTES))
            d->figures.invalidated++;
}

void watch_drain(struct dbt *d)
{
    pthread_mutex_lock(&d->far_lock);
    atomic_store(&d->far_pending, false);
    bool all = d->far_count > DBT_WRITES;
    for (unsigned i = 0; i < d->far_count && !all; i++)
        if (pages_written(&d->pages, d->far[i].gpa, d->far[i].len))
            d->figures.invalidated++;
    d->far_count = 0;
    pthread_mutex_unlock(&d->far_lock);
    if (all)
        dbt_flush(d);
}

void watch_open(struct dbt *d)
{
    pthread_mutex_init(&d->far_lock, NULL);
    d->watcher = (struct wp_watcher){.written = written, .remapped = remapped, .opaque = d};
    wp_watch(d->v->mem, &d->watcher);
}

void watch_close(struct dbt *d)
{
    wp_unwatch(d->v->mem, &d->watcher);
    pthread_mutex_destroy(&d->far_lock);
}
