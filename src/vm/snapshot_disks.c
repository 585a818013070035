/* SPDX-License-Identifier: MIT */
/* What a guest has written to disks whose writes are thrown away in the end (`--snapshot`): their
 * overlays, in a snapshot. The image below is named in the configuration and must be the same.
 *
 * Extents are what block_changed() says, cut into pieces. The machine is paused, so nothing else
 * reads or writes these disks; each thread waits for its own requests. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "vm/snapshot_file.h"

/* ---- requests that are waited for ------------------------------------------------------------ */

struct waiting {
    struct block_request r;
    pthread_mutex_t lock;
    pthread_cond_t done;
    bool is_done;
};

static void request_done(struct block_request *r)
{
    struct waiting *w = r->opaque;
    pthread_mutex_lock(&w->lock);
    w->is_done = true;
    pthread_cond_signal(&w->done);
    pthread_mutex_unlock(&w->lock);
}

static int transfer(struct block *b, enum block_op op, uint64_t offset, void *p, size_t n)
{
    struct iovec iov = {p, n};
    struct waiting w = {.r = {.op = op,
                              .offset = offset,
                              .len = n,
                              .iov = &iov,
                              .iov_count = n ? 1 : 0,
                              .done = request_done,
                              .opaque = &w},
                        .lock = PTHREAD_MUTEX_INITIALIZER,
                        .done = PTHREAD_COND_INITIALIZER};
    if (!block_submit(b, &w.r)) {
        pthread_mutex_lock(&w.lock);
        while (!w.is_done)
            pthread_cond_wait(&w.done, &w.lock);
        pthread_mutex_unlock(&w.lock);
    }
    return w.r.result;
}

/* ---- saving ---------------------------------------------------------------------------------- */

static bool has_overlay(const struct vm_config *c, unsigned n)
{
    return c->drive[n].image.snapshot && !c->drive[n].image.read_only;
}

static int add_extent(struct snapshot_extents *x, unsigned drive, uint64_t offset, uint64_t bytes)
{
    if ((x->count & (x->count - 1)) == 0) {
        size_t room = x->count ? 2 * x->count : 1;
        struct snapshot_extent *list = realloc(x->list, room * sizeof *list);
        if (!list)
            return -ENOMEM;
        x->list = list;
    }
    x->list[x->count++] =
        (struct snapshot_extent){.drive = drive, .bytes = (uint32_t)bytes, .offset = offset};
    return 0;
}

static int list_extents(struct block *b, unsigned drive, struct snapshot_extents *x)
{
    int r = 0;
    for (uint64_t at = 0, len; at < b->info.bytes && r >= 0; at += len) {
        r = block_changed(b, at, &len);
        for (uint64_t done = 0; r == 1 && done < len; done += SNAPSHOT_PIECE_BYTES) {
            uint64_t n = len - done < SNAPSHOT_PIECE_BYTES ? len - done : SNAPSHOT_PIECE_BYTES;
            int failed = add_extent(x, drive, at + done, n);
            if (failed)
                return failed;
        }
    }
    return r < 0 ? r : 0;
}

struct disks_job {
    struct snapshot_crew crew; /* first */
    struct vm *vm;
    struct snapshot_out *out;
    int fd;
    struct snapshot_extent *list;
};

static int save_extent(struct snapshot_crew *c, struct snapshot_packer *p, uint64_t n)
{
    const struct disks_job *j = (struct disks_job *)c;
    struct snapshot_extent *x = &j->list[n];
    int r = transfer(j->vm->drive[x->drive], BLOCK_READ, x->offset, p->plain, x->bytes);
    return r < 0 ? r : snapshot_pack(p, x->bytes, j->out, &x->piece);
}

/* What was written to disks that stay must be there when the snapshot is used. */
static int flush_disks(struct vm *vm)
{
    int r = 0;
    for (unsigned n = 0; n < vm->config.drives && r == 0; n++)
        if (vm->drive[n] && !vm->drive[n]->info.read_only && !has_overlay(&vm->config, n))
            r = transfer(vm->drive[n], BLOCK_FLUSH, 0, NULL, 0);
    return r;
}

int snapshot_disks_save(struct vm *vm, struct snapshot_out *o, struct snapshot_extents *x,
                        const struct snapshot_progress *p, struct err *e)
{
    int r = flush_disks(vm);
    for (unsigned n = 0; n < vm->config.drives && r == 0; n++)
        if (vm->drive[n] && has_overlay(&vm->config, n))
            r = list_extents(vm->drive[n], n, x);
    struct disks_job j = {.crew = {.job = save_extent, .jobs = x->count, .progress = p},
                          .vm = vm,
                          .out = o,
                          .list = x->list};
    if (r == 0 && x->count)
        r = snapshot_crew_run(&j.crew);
    return r < 0 ? err_set(e, -r, "snapshot-write", "%s", strerror(-r)) : 0;
}

/* ---- restoring ------------------------------------------------------------------------------- */

static int load_extent(struct snapshot_crew *c, struct snapshot_packer *p, uint64_t n)
{
    const struct disks_job *j = (struct disks_job *)c;
    const struct snapshot_extent *x = &j->list[n];
    int r = snapshot_unpack(p, x->bytes, j->fd, &x->piece);
    return r < 0 ? r : transfer(j->vm->drive[x->drive], BLOCK_WRITE, x->offset, p->plain, x->bytes);
}

static bool extent_ok(const struct vm *vm, const struct snapshot_extent *x, uint64_t file_bytes)
{
    if (x->drive >= vm->config.drives || !vm->drive[x->drive] ||
        !has_overlay(&vm->config, x->drive))
        return false;
    uint64_t bytes = vm->drive[x->drive]->info.bytes;
    return x->bytes && x->bytes <= SNAPSHOT_PIECE_BYTES && (x->bytes | x->offset) % 512 == 0 &&
           x->bytes <= bytes && x->offset <= bytes - x->bytes &&
           snapshot_piece_ok(&x->piece, file_bytes);
}

int snapshot_disks_load(struct vm *vm, int fd, uint64_t file_bytes,
                        const struct snapshot_extents *x, struct err *e)
{
    for (uint64_t i = 0; i < x->count; i++)
        if (!extent_ok(vm, &x->list[i], file_bytes))
            return err_set(e, EINVAL, "snapshot-corrupt",
                           "piece %llu of the snapshot's disks cannot be", (unsigned long long)i);
    struct disks_job j = {.crew = {.job = load_extent, .unpacks = true, .jobs = x->count},
                          .vm = vm,
                          .fd = fd,
                          .list = x->list};
    int r = x->count ? snapshot_crew_run(&j.crew) : 0;
    if (r == -EBADMSG)
        return err_set(e, EINVAL, "snapshot-corrupt",
                       "the snapshot's disks have a wrong checksum: the file was damaged");
    return r < 0 ? err_set(e, -r, "snapshot-read", "cannot restore the snapshot's disks: %s",
                           strerror(-r))
                 : 0;
}
