/* SPDX-License-Identifier: MIT */
/* A machine's memory in a snapshot: chunks of 64 pages, packed and unpacked by a few threads.
 *
 * Holes of the memfd and pages of zeros are not in it. Restoring puts pages where they belong and
 * touches no others, so a restored guest takes no more memory of the host than the saved one did.
 *
 * A restored guest runs before its memory is there. First all chunks are read and their checksums
 * compared, so that a damaged file is found before anything happens; a chunk is unpacked when
 * somebody first wants a page of it (mem/lazy.c), and a thread unpacks the rest meanwhile. What
 * devices have in the memfd besides RAM is unpacked at once, since they use it directly. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vm/run.h"
#include "vm/snapshot_file.h"

/* ---- saving ---------------------------------------------------------------------------------- */

struct save {
    struct snapshot_crew crew; /* first */
    struct snapshot_out *out;
    struct snapshot_chunk *chunk;
    const uint8_t *memory;
    int memory_fd;
    uint64_t memory_bytes;
};

static bool is_zero(const uint8_t *page)
{
    return !page[0] && !memcmp(page, page + 1, PAGE_BYTES - 1);
}

/* Copy the pages of [from, to) that hold something; reading a hole would fill it. */
static size_t gather(const struct save *s, uint64_t from, uint64_t to, uint8_t *pages,
                     uint64_t *mask)
{
    size_t n = 0;
    for (uint64_t at = from; at < to;) {
        off_t data = lseek(s->memory_fd, (off_t)at, SEEK_DATA);
        if (data < 0 || (uint64_t)data >= to)
            break;
        off_t hole = lseek(s->memory_fd, data, SEEK_HOLE);
        uint64_t end = hole < 0 || (uint64_t)hole > to ? to : (uint64_t)hole;
        for (at = (uint64_t)data & PAGE_MASK; at < end; at += PAGE_BYTES)
            if (!is_zero(s->memory + at)) {
                memcpy(pages + n, s->memory + at, PAGE_BYTES);
                *mask |= UINT64_C(1) << ((at - from) >> PAGE_SHIFT);
                n += PAGE_BYTES;
            }
    }
    return n;
}

static int save_chunk(struct snapshot_crew *c, struct snapshot_packer *p, uint64_t n)
{
    const struct save *s = (struct save *)c;
    struct snapshot_chunk *k = &s->chunk[n];
    uint64_t from = n * SNAPSHOT_PIECE_BYTES, to = from + SNAPSHOT_PIECE_BYTES;
    k->first_page = n * SNAPSHOT_CHUNK_PAGES;
    size_t bytes =
        gather(s, from, to < s->memory_bytes ? to : s->memory_bytes, p->plain, &k->pages);
    return bytes ? snapshot_pack(p, bytes, s->out, &k->piece) : 0;
}

int snapshot_memory_save(struct vm *vm, struct snapshot_out *o, struct snapshot_chunks *x,
                         const struct snapshot_progress *p, struct err *e)
{
    struct save s = {
        .crew = {.job = save_chunk, .progress = p}, .out = o, .memory_fd = phys_ram_fd(vm->mem)};
    while (phys_lazy_step(vm->mem)) /* what this machine was itself restored from */
        ;
    s.memory = phys_memory(vm->mem, &s.memory_bytes);
    s.crew.jobs = (s.memory_bytes + SNAPSHOT_PIECE_BYTES - 1) / SNAPSHOT_PIECE_BYTES;
    s.chunk = x->list = calloc(s.crew.jobs, sizeof *x->list);
    int r = s.chunk ? snapshot_crew_run(&s.crew) : -ENOMEM;
    if (r < 0)
        return err_set(e, -r, "snapshot-write", "%s", strerror(-r));
    for (uint64_t i = 0; i < s.crew.jobs; i++)
        if (x->list[i].pages)
            x->list[x->count++] = x->list[i];
    return 0;
}

/* ---- restoring ------------------------------------------------------------------------------- */

struct snapshot_rest {
    struct vm *vm;
    int fd; /* of the snapshot, which outlives the VM */
    const struct snapshot_chunks *chunks;
    uint8_t *memory;
    uint64_t ram_chunks; /* those that are RAM only, from 0 on */
    pthread_t thread;
    bool started;
    _Atomic bool quit;
    struct snapshot_packer packer; /* used by one fetch at a time */
};

static unsigned pages_in(uint64_t mask)
{
    return (unsigned)__builtin_popcountll(mask);
}

static int unpack_chunk(const struct snapshot_rest *s, struct snapshot_packer *p,
                        const struct snapshot_chunk *k)
{
    int r = snapshot_unpack(p, pages_in(k->pages) * PAGE_BYTES, s->fd, &k->piece);
    if (r < 0)
        return r;
    const uint8_t *from = p->plain;
    for (uint64_t mask = k->pages; mask; mask &= mask - 1, from += PAGE_BYTES) {
        uint64_t page = k->first_page + (unsigned)__builtin_ctzll(mask);
        memcpy(s->memory + (page << PAGE_SHIFT), from, PAGE_BYTES);
    }
    return 0;
}

static int compare_chunks(const void *key, const void *element)
{
    uint64_t first = *(const uint64_t *)key;
    const struct snapshot_chunk *k = element;
    return first < k->first_page ? -1 : first > k->first_page;
}

static int fetch_chunk(void *opaque, uint64_t chunk)
{
    struct snapshot_rest *s = opaque;
    uint64_t first = chunk * SNAPSHOT_CHUNK_PAGES;
    const struct snapshot_chunk *k =
        bsearch(&first, s->chunks->list, s->chunks->count, sizeof *s->chunks->list, compare_chunks);
    return k ? unpack_chunk(s, &s->packer, k) : 0;
}

static int load_error(int r, struct err *e)
{
    if (r == -EBADMSG)
        return err_set(e, EINVAL, "snapshot-corrupt",
                       "the snapshot's memory has a wrong checksum: the file was damaged");
    return err_set(e, -r, "snapshot-read", "cannot read the snapshot's memory: %s", strerror(-r));
}

static void fetch_failed(void *opaque, int r)
{
    struct snapshot_rest *s = opaque;
    struct err e = {0};
    load_error(r, &e);
    vm_stop(s->vm, VM_EXIT_FAILURE, e.id, "%s; it changed after the guest was started from it",
            e.text);
}

static void *fetch_rest(void *opaque)
{
    struct snapshot_rest *s = opaque;
    while (!s->quit && phys_lazy_step(s->vm->mem))
        ;
    return NULL;
}

void snapshot_rest_end(struct vm *vm)
{
    struct snapshot_rest *s = vm->rest;
    vm->rest = NULL;
    if (!s)
        return;
    s->quit = true;
    if (s->started)
        pthread_join(s->thread, NULL);
    phys_lazy_end(vm->mem);
    snapshot_packer_free(&s->packer, true);
    free(s);
}

int snapshot_memory_check(const struct snapshot_header *h, const struct snapshot_chunks *x,
                          struct err *e)
{
    uint64_t all = h->memory_bytes >> PAGE_SHIFT;
    for (uint64_t i = 0; i < x->count; i++) {
        const struct snapshot_chunk *k = &x->list[i];
        bool ascends = !i || k->first_page > x->list[i - 1].first_page;
        bool pages =
            k->pages && k->first_page % SNAPSHOT_CHUNK_PAGES == 0 && k->first_page < all &&
            (all - k->first_page >= SNAPSHOT_CHUNK_PAGES || !(k->pages >> (all - k->first_page)));
        if (!ascends || !pages || !snapshot_piece_ok(&k->piece, h->file_bytes))
            return err_set(e, EINVAL, "snapshot-corrupt",
                           "chunk %llu of the snapshot's memory cannot be", (unsigned long long)i);
    }
    return 0;
}

struct load {
    struct snapshot_crew crew; /* first */
    const struct snapshot_rest *rest;
};

/* Look at a chunk, or unpack it if it is not to come later. */
static int load_chunk(struct snapshot_crew *c, struct snapshot_packer *p, uint64_t n)
{
    const struct snapshot_rest *s = ((struct load *)c)->rest;
    const struct snapshot_chunk *k = &s->chunks->list[n];
    if (k->first_page / SNAPSHOT_CHUNK_PAGES >= s->ram_chunks)
        return unpack_chunk(s, p, k);
    return snapshot_read_piece(p, s->fd, &k->piece);
}

/* Have the others come when they are wanted. */
static int leave_the_rest(struct snapshot_rest *s)
{
    _Static_assert(PHYS_CHUNK == SNAPSHOT_CHUNK_PAGES * PAGE_BYTES, "a fetch is a piece");
    static const uint64_t most = (PHYS_LIMIT + PHYS_EXTRA) / PHYS_CHUNK;
    const struct phys_source source = {fetch_chunk, fetch_failed, s};
    uint64_t *absent = calloc(most / 64 + 1, sizeof *absent);
    int r = absent ? 0 : -ENOMEM;
    for (uint64_t i = 0; i < s->chunks->count && r == 0; i++) {
        uint64_t n = s->chunks->list[i].first_page / SNAPSHOT_CHUNK_PAGES;
        if (n < s->ram_chunks)
            absent[n / 64] |= UINT64_C(1) << (n % 64);
    }
    if (r == 0)
        r = phys_lazy_begin(s->vm->mem, &source, absent);
    free(absent);
    if (r == 0) /* without the thread everything comes when it is wanted */
        s->started = snapshot_thread_start(&s->thread, fetch_rest, s) == 0;
    return r;
}

int snapshot_memory_load(struct vm *vm, int fd, const struct snapshot_chunks *x, struct err *e)
{
    uint64_t bytes;
    snapshot_rest_end(vm);
    struct snapshot_rest *s = vm->rest = calloc(1, sizeof *s);
    if (!s || snapshot_packer_init(&s->packer, true) < 0)
        return load_error(-ENOMEM, e);
    s->vm = vm;
    s->fd = fd;
    s->chunks = x;
    s->memory = phys_memory(vm->mem, &bytes);
    s->ram_chunks = phys_ram_bytes(vm->mem) / PHYS_CHUNK;
    if (fallocate(phys_ram_fd(vm->mem), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
                  (off_t)bytes) < 0)
        memset(s->memory, 0, bytes);
    struct load l = {.crew = {.job = load_chunk, .unpacks = true, .jobs = x->count}, .rest = s};
    int r = snapshot_crew_run(&l.crew);
    if (r == 0)
        r = leave_the_rest(s);
    return r < 0 ? load_error(r, e) : 0;
}
