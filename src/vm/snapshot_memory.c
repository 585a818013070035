/* SPDX-License-Identifier: MIT */
/* A machine's memory in a snapshot: chunks of 64 pages, packed and unpacked by a few threads.
 *
 * Holes of the memfd and pages of zeros are not in it. Restoring puts pages where they belong and
 * touches no others, so a restored guest takes no more memory of the host than the saved one did.
 * Everything is unpacked before the guest runs: at about 1 GB/s and processor that is a tenth of a
 * second for a guest of 256 MiB. To do it on demand would need userfaultfd, which containers
 * forbid. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

struct load {
    struct snapshot_crew crew; /* first */
    const struct snapshot_chunk *chunk;
    int fd;
    uint8_t *memory;
};

static unsigned pages_in(uint64_t mask)
{
    return (unsigned)__builtin_popcountll(mask);
}

static int load_chunk(struct snapshot_crew *c, struct snapshot_packer *p, uint64_t n)
{
    const struct load *l = (struct load *)c;
    const struct snapshot_chunk *k = &l->chunk[n];
    int r = snapshot_unpack(p, pages_in(k->pages) * PAGE_BYTES, l->fd, &k->piece);
    if (r < 0)
        return r;
    const uint8_t *from = p->plain;
    for (uint64_t mask = k->pages; mask; mask &= mask - 1, from += PAGE_BYTES) {
        uint64_t page = k->first_page + (unsigned)__builtin_ctzll(mask);
        memcpy(l->memory + (page << PAGE_SHIFT), from, PAGE_BYTES);
    }
    return 0;
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

int snapshot_memory_load(struct vm *vm, int fd, const struct snapshot_chunks *x, struct err *e)
{
    uint64_t bytes;
    struct load l = {.crew = {.job = load_chunk, .unpacks = true, .jobs = x->count},
                     .chunk = x->list,
                     .fd = fd,
                     .memory = phys_memory(vm->mem, &bytes)};
    if (fallocate(phys_ram_fd(vm->mem), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
                  (off_t)bytes) < 0)
        memset(l.memory, 0, bytes);
    int r = snapshot_crew_run(&l.crew);
    if (r == -EBADMSG)
        return err_set(e, EINVAL, "snapshot-corrupt",
                       "the snapshot's memory has a wrong checksum: the file was damaged");
    if (r < 0)
        return err_set(e, -r, "snapshot-read", "cannot read the snapshot's memory: %s",
                       strerror(-r));
    return 0;
}
