/* SPDX-License-Identifier: MIT */
/* Memory whose contents come when somebody first asks for them: see phys_source in ring3/mem.h.
 *
 * Whoever wants an address in guest memory gets it from phys.c, which looks here first: a bit per
 * chunk of the memfd says that its contents are still to come. The bits only ever become clear,
 * after the contents are there, so who sees one clear need not look again and takes no lock. No
 * fault of the host is involved, hence neither userfaultfd, which containers forbid, nor a signal.
 *
 * Left out: addresses that were given out before phys_lazy_begin(). */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "mem/phys_internal.h"

#define WORD_BITS 64u

struct phys_lazy {
    struct phys_source source;
    pthread_mutex_t fetching; /* one chunk at a time */
    bool failed;              /* under it */
    uint64_t chunks;
    _Atomic uint64_t next;     /* no chunk below it is absent; a hint for phys_lazy_step() */
    _Atomic uint64_t absent[]; /* a bit per chunk */
};

static bool is_absent(struct phys_lazy *l, uint64_t chunk)
{
    return atomic_load_explicit(&l->absent[chunk / WORD_BITS], memory_order_acquire) >>
               (chunk % WORD_BITS) &
           1;
}

static void fetch(struct phys_lazy *l, uint64_t chunk)
{
    int r = 0;
    pthread_mutex_lock(&l->fetching);
    if (is_absent(l, chunk)) {
        r = l->source.fetch(l->source.opaque, chunk);
        atomic_fetch_and_explicit(&l->absent[chunk / WORD_BITS],
                                  ~(UINT64_C(1) << (chunk % WORD_BITS)), memory_order_release);
    }
    bool first = r < 0 && !l->failed;
    l->failed |= r < 0;
    pthread_mutex_unlock(&l->fetching);
    if (first)
        l->source.failed(l->source.opaque, r);
}

void phys_lazy_want(const struct phys *p, uint64_t offset, uint64_t len)
{
    struct phys_lazy *l = p->lazy;
    for (uint64_t c = offset / PHYS_CHUNK; c <= (offset + len - 1) / PHYS_CHUNK; c++)
        if (c < l->chunks && unlikely(is_absent(l, c)))
            fetch(l, c);
}

int phys_lazy_begin(struct phys *p, const struct phys_source *source, const uint64_t *absent)
{
    uint64_t chunks = (p->file_bytes + PHYS_CHUNK - 1) / PHYS_CHUNK;
    uint64_t words = (chunks + WORD_BITS - 1) / WORD_BITS;
    phys_lazy_end(p);
    struct phys_lazy *l = malloc(sizeof *l + words * sizeof *l->absent);
    if (!l)
        return -ENOMEM;
    l->source = *source;
    l->failed = false;
    l->chunks = chunks;
    atomic_init(&l->next, 0);
    for (uint64_t i = 0; i < words; i++)
        atomic_init(&l->absent[i], absent[i]);
    pthread_mutex_init(&l->fetching, NULL);
    p->lazy = l;
    return 0;
}

bool phys_lazy_step(const struct phys *p)
{
    struct phys_lazy *l = p->lazy;
    if (!l)
        return false;
    for (uint64_t c = atomic_load(&l->next); c < l->chunks; c++)
        if (is_absent(l, c)) {
            atomic_store(&l->next, c);
            fetch(l, c);
            return true;
        }
    return false;
}

void phys_lazy_end(struct phys *p)
{
    struct phys_lazy *l = p->lazy;
    p->lazy = NULL;
    if (!l)
        return;
    pthread_mutex_destroy(&l->fetching);
    free(l);
}
