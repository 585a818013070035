/* SPDX-License-Identifier: MIT */
/* Snapshots: the whole machine in a file (snapshot_file.h), and back.
 *
 * State is tables of fields (struct state_field) of the clock, the processor and each device, under
 * names, so versions of ring3 can differ: a field or device that the file does not have keeps the
 * value of a reset, with a warning; one that this ring3 does not have is an error that names it.
 *
 * Order of restoring: memory; clock; all device tables; then each device's restored(), in order of
 * construction, which sets lines and timers; last the processor, whose pins the devices have set
 * by then.
 *
 * Left out: what backends have in flight, namely bytes on their way to the console and network
 * connections (dropped, as if the cable had been pulled for a moment). */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>
#include <zstd.h>

#include "vm/snapshot_file.h"

#define STATE_LEVEL 3 /* of zstd */

static const struct state_field clock_fields[] = {
    STATE(struct clock_state, now_ns),   STATE(struct clock_state, tsc),
    STATE(struct clock_state, tsc_hz),   STATE(struct clock_state, wall_s),
    STATE(struct clock_state, missed_s),
};

static void device_section(char *to, size_t size, const struct device *d)
{
    snprintf(to, size, "device %s %s", d->ops->name, d->instance ? d->instance : "");
}

/* ---- saving ---------------------------------------------------------------------------------- */

struct saving {
    const char *path;
    char temporary[PATH_MAX];
    struct snapshot_header header;
    struct snapshot_out out;
    struct snapshot_chunks chunks;
    struct snapshot_extents extents;
    struct state_out state;
};

static int write_failed(const struct saving *s, int errnum, struct err *e)
{
    return err_set(e, errnum, "snapshot-write", "cannot write the snapshot %s: %s%s", s->path,
                   strerror(errnum),
                   errnum == ENOSPC ? "; a snapshot needs about half as much as "
                                      "the guest uses of its memory"
                                    : "");
}

static void save_state(struct vm *vm, struct state_out *o)
{
    struct clock_state clock;
    clock_get_state(vm->clock, &clock);
    snapshot_config_save(vm, o);
    state_out_section(o, "clock");
    state_out_table(o, clock_fields, ARRAY_LEN(clock_fields), &clock);
    size_t count;
    const struct state_field *fields = vm->vcpu->isa->state(&count);
    char name[128];
    snprintf(name, sizeof name, "vcpu %s %u", vm->vcpu->isa->name, vm->vcpu->index);
    state_out_section(o, name);
    state_out_table(o, fields, count, vm->vcpu);
    for (const struct device *d = vm->devices; d; d = d->next) {
        device_section(name, sizeof name, d);
        state_out_section(o, name);
        state_out_table(o, d->ops->state, d->ops->state_count, d);
    }
}

/* Put a part of the file behind the others. */
static int append(struct saving *s, const void *p, size_t bytes, uint64_t *at, uint64_t *hash,
                  struct err *e)
{
    *at = s->out.end;
    *hash = XXH64(p, bytes, 0);
    s->out.end += bytes;
    int r = snapshot_write_at(s->out.fd, p, bytes, *at);
    return r < 0 ? write_failed(s, -r, e) : 0;
}

static int write_state(struct saving *s, struct err *e)
{
    size_t room = ZSTD_compressBound(s->state.len);
    void *packed = s->state.failed ? NULL : malloc(room);
    struct snapshot_header *h = &s->header;
    if (packed)
        h->state_stored = ZSTD_compress(packed, room, s->state.data, s->state.len, STATE_LEVEL);
    h->state_bytes = s->state.len;
    int r = !packed || ZSTD_isError(h->state_stored)
                ? err_set(e, ENOMEM, "no-memory", "no memory for the snapshot's state")
                : append(s, packed, h->state_stored, &h->state_at, &h->state_hash, e);
    free(packed);
    return r;
}

static int write_lists(struct saving *s, struct err *e)
{
    struct snapshot_header *h = &s->header;
    h->chunks = s->chunks.count;
    h->extents = s->extents.count;
    int r = append(s, s->chunks.list, h->chunks * sizeof *s->chunks.list, &h->chunks_at,
                   &h->chunks_hash, e);
    return r < 0 ? r
                 : append(s, s->extents.list, h->extents * sizeof *s->extents.list, &h->extents_at,
                          &h->extents_hash, e);
}

static int write_header(struct saving *s, struct err *e)
{
    struct snapshot_header *h = &s->header;
    memcpy(h->magic, SNAPSHOT_MAGIC, sizeof h->magic);
    h->version = SNAPSHOT_VERSION;
    h->header_bytes = sizeof *h;
    h->file_bytes = s->out.end;
    h->hash = XXH64(h, offsetof(struct snapshot_header, hash), 0);
    int r = snapshot_write_at(s->out.fd, h, sizeof *h, 0);
    return r < 0 ? write_failed(s, -r, e) : 0;
}

static int write_all(struct saving *s, struct vm *vm, const struct snapshot_progress *p,
                     struct err *e)
{
    phys_memory(vm->mem, &s->header.memory_bytes);
    s->out.end = sizeof s->header;
    int r = snapshot_disks_save(vm, &s->out, &s->extents, p, e);
    if (r == 0)
        r = snapshot_memory_save(vm, &s->out, &s->chunks, p, e);
    if (r < 0)
        return write_failed(s, -r, e);
    save_state(vm, &s->state);
    r = write_state(s, e);
    if (r == 0)
        r = write_lists(s, e);
    if (r == 0)
        r = write_header(s, e);
    return r;
}

/* The new name is durable only with its directory. */
static void sync_directory(const char *path)
{
    char copy[PATH_MAX];
    snprintf(copy, sizeof copy, "%s", path);
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return;
    fsync(fd);
    close(fd);
}

static int put_in_place(struct saving *s, struct err *e)
{
    if (fsync(s->out.fd) < 0 || rename(s->temporary, s->path) < 0)
        return write_failed(s, errno, e);
    sync_directory(s->path);
    return 0;
}

int snapshot_save(struct vm *vm, const char *path, const struct snapshot_progress *progress,
                  struct err *e)
{
    struct saving s = {.path = path};
    if (!vm->vcpu->isa->state)
        return err_set(e, ENOSYS, "snapshot-isa", "there are no snapshots of %s processors",
                       vm->vcpu->isa->name);
    struct stat st;
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
        return err_set(e, EINVAL, "snapshot-write",
                       "%s is no file, so it cannot be replaced by one", path);
    if ((size_t)snprintf(s.temporary, sizeof s.temporary, "%s.XXXXXX", path) >= sizeof s.temporary)
        return err_set(e, ENAMETOOLONG, "snapshot-write", "the snapshot's name is too long");
    s.out.fd = mkostemp(s.temporary, O_CLOEXEC);
    if (s.out.fd < 0)
        return write_failed(&s, errno, e);
    int r = write_all(&s, vm, progress, e);
    if (r == 0)
        r = put_in_place(&s, e);
    if (r < 0)
        unlink(s.temporary);
    close(s.out.fd);
    free(s.chunks.list);
    free(s.extents.list);
    free(s.state.data);
    return r;
}

/* ---- opening --------------------------------------------------------------------------------- */

struct snapshot {
    int fd;
    char *path;
    struct snapshot_header header;
    struct snapshot_chunks chunks;
    struct snapshot_extents extents;
    uint8_t *state;
    struct state_in in;
    struct snapshot_machine machine;
};

static int damaged(const struct snapshot *s, const char *what, struct err *e)
{
    return err_set(e, EINVAL, "snapshot-corrupt", "the snapshot %s is damaged: %s", s->path, what);
}

static bool within(const struct snapshot_header *h, uint64_t at, uint64_t bytes)
{
    return bytes <= h->file_bytes && at <= h->file_bytes - bytes;
}

static int read_header(struct snapshot *s, struct err *e)
{
    struct snapshot_header *h = &s->header;
    struct stat st;
    int r = fstat(s->fd, &st) < 0 ? -errno : snapshot_read_at(s->fd, h, sizeof *h, 0);
    if (r < 0 && r != -EIO)
        return err_set(e, -r, "snapshot-open", "cannot read the snapshot %s: %s", s->path,
                       strerror(-r));
    if (r < 0 || memcmp(h->magic, SNAPSHOT_MAGIC, sizeof h->magic))
        return err_set(e, EINVAL, "snapshot-format",
                       "%s is no snapshot of ring3; `ring3 snapshot` makes them", s->path);
    if (h->version != SNAPSHOT_VERSION || h->header_bytes != sizeof *h)
        return err_set(e, EINVAL, "snapshot-version",
                       "the snapshot %s has format %u, this ring3 reads format %u: restore it with "
                       "the ring3 that made it",
                       s->path, h->version, SNAPSHOT_VERSION);
    if (h->hash != XXH64(h, offsetof(struct snapshot_header, hash), 0))
        return damaged(s, "its header has a wrong checksum", e);
    if (h->file_bytes != (uint64_t)st.st_size)
        return damaged(s, "it was cut short or something was added", e);
    bool possible = h->memory_bytes <= PHYS_LIMIT && h->memory_bytes % PAGE_BYTES == 0 &&
                    h->chunks <= PHYS_LIMIT / SNAPSHOT_PIECE_BYTES &&
                    h->extents <= SNAPSHOT_MAX_EXTENTS &&
                    within(h, h->chunks_at, h->chunks * sizeof(struct snapshot_chunk)) &&
                    within(h, h->extents_at, h->extents * sizeof(struct snapshot_extent)) &&
                    within(h, h->state_at, h->state_stored) && h->state_stored &&
                    h->state_stored <= ZSTD_COMPRESSBOUND(SNAPSHOT_STATE_MAX) && h->state_bytes &&
                    h->state_bytes <= SNAPSHOT_STATE_MAX;
    return possible ? 0 : damaged(s, "its header says what cannot be", e);
}

static int read_part(const struct snapshot *s, void *to, size_t n, uint64_t at, uint64_t hash,
                     struct err *e)
{
    int r = to ? snapshot_read_at(s->fd, to, n, at) : -ENOMEM;
    if (r < 0)
        return err_set(e, -r, "snapshot-open", "cannot read the snapshot %s: %s", s->path,
                       strerror(-r));
    return XXH64(to, n, 0) == hash ? 0 : damaged(s, "a checksum is wrong", e);
}

static int read_lists(struct snapshot *s, struct err *e)
{
    const struct snapshot_header *h = &s->header;
    size_t chunks = h->chunks * sizeof *s->chunks.list;
    size_t extents = h->extents * sizeof *s->extents.list;
    s->chunks = (struct snapshot_chunks){malloc(chunks + 1), h->chunks};
    s->extents = (struct snapshot_extents){malloc(extents + 1), h->extents};
    int r = read_part(s, s->chunks.list, chunks, h->chunks_at, h->chunks_hash, e);
    if (r == 0)
        r = read_part(s, s->extents.list, extents, h->extents_at, h->extents_hash, e);
    return r < 0 ? r : snapshot_memory_check(h, &s->chunks, e);
}

static int read_state(struct snapshot *s, struct err *e)
{
    const struct snapshot_header *h = &s->header;
    void *packed = malloc(h->state_stored);
    int r = read_part(s, packed, h->state_stored, h->state_at, h->state_hash, e);
    s->state = r == 0 ? malloc(h->state_bytes) : NULL;
    if (r == 0 && !s->state)
        r = err_set(e, ENOMEM, "no-memory", "no memory for the snapshot's state");
    if (r == 0 &&
        ZSTD_decompress(s->state, h->state_bytes, packed, h->state_stored) != h->state_bytes)
        r = damaged(s, "its state does not unpack", e);
    free(packed);
    return r < 0 ? r : state_in_parse(&s->in, s->state, h->state_bytes, e);
}

struct snapshot *snapshot_open(const char *path, struct err *e)
{
    struct snapshot *s = calloc(1, sizeof *s);
    if (!s || !(s->path = strdup(path))) {
        free(s);
        err_set(e, ENOMEM, "no-memory", "no memory for a snapshot");
        return NULL;
    }
    s->fd = open(path, O_RDONLY | O_CLOEXEC);
    int r = s->fd < 0 ? err_set(e, errno, "snapshot-open", "cannot open the snapshot %s: %s", path,
                                strerror(errno))
                      : read_header(s, e);
    if (r == 0)
        r = read_lists(s, e);
    if (r == 0)
        r = read_state(s, e);
    if (r == 0)
        r = snapshot_config_load(&s->in, &s->machine, e);
    if (r < 0) {
        snapshot_close(s);
        s = NULL;
    }
    return s;
}

void snapshot_close(struct snapshot *s)
{
    if (!s)
        return;
    if (s->fd >= 0)
        close(s->fd);
    snapshot_config_free(&s->machine);
    state_in_free(&s->in);
    free(s->state);
    free(s->chunks.list);
    free(s->extents.list);
    free(s->path);
    free(s);
}

const char *snapshot_board(const struct snapshot *s)
{
    return s->machine.board;
}

int snapshot_config(struct snapshot *s, struct vm_config *c, bool force, struct err *e)
{
    struct vm_config own = *c;
    *c = s->machine.config;
    c->board = own.board;
    c->engine = own.engine;
    c->dbt = own.dbt;
    c->thread_start = own.thread_start;
    c->thread_opaque = own.thread_opaque;
    c->restoring = true;
    return force ? 0 : snapshot_config_images(&s->machine, e);
}

/* ---- restoring ------------------------------------------------------------------------------- */

static int load_table(struct snapshot *s, struct vm *vm, const char *name,
                      const struct state_field *fields, size_t count, void *object, struct err *e)
{
    const struct state_in_section *sec = state_in_section(&s->in, name);
    unsigned missing = 0;
    const char *example = NULL;
    if (!sec) {
        log_line(&vm->log, LOG_WARN, "snapshot-state",
                 "the snapshot has no \"%s\": it is as after a reset", name);
        return 0;
    }
    int r = state_in_table(&s->in, sec, fields, count, object, &missing, &example, e);
    if (r == 0 && missing)
        log_line(&vm->log, LOG_WARN, "snapshot-state",
                 "the snapshot lacks %u fields of \"%s\", one of them \"%s\": they are as after a "
                 "reset",
                 missing, name, example);
    return r;
}

static int load_clock(struct snapshot *s, struct vm *vm, struct err *e)
{
    struct clock_state clock;
    clock_get_state(vm->clock, &clock);
    uint64_t hz = clock.tsc_hz;
    int r = load_table(s, vm, "clock", clock_fields, ARRAY_LEN(clock_fields), &clock, e);
    if (r < 0)
        return r;
    if (clock.now_ns > (uint64_t)INT64_MAX / 2)
        return damaged(s, "its guest has run for centuries", e);
    clock_set_state(vm->clock, &clock);
    uint64_t apart = hz > clock.tsc_hz ? hz - clock.tsc_hz : clock.tsc_hz - hz;
    if (apart > hz / 1000)
        log_line(&vm->log, LOG_WARN, "snapshot-tsc",
                 "the guest's time stamp counter ran at %" PRIu64 " MHz and goes on at %" PRIu64
                 ", this host's: its clock may run wrong",
                 clock.tsc_hz / 1000000, hz / 1000000);
    return 0;
}

/* The list is newest first; this is oldest first. */
static void call_restored(struct device *d)
{
    if (!d)
        return;
    call_restored(d->next);
    if (d->ops->restored)
        d->ops->restored(d);
}

static int load_devices(struct snapshot *s, struct vm *vm, struct err *e)
{
    char name[128];
    int r = 0;
    for (struct device *d = vm->devices; d && r == 0; d = d->next) {
        device_section(name, sizeof name, d);
        r = load_table(s, vm, name, d->ops->state, d->ops->state_count, d, e);
    }
    return r;
}

static int load_processor(struct snapshot *s, struct vm *vm, struct err *e)
{
    size_t count;
    char name[128];
    const struct state_field *fields = vm->vcpu->isa->state(&count);
    snprintf(name, sizeof name, "vcpu %s %u", vm->vcpu->isa->name, vm->vcpu->index);
    int r = load_table(s, vm, name, fields, count, vm->vcpu, e);
    if (r == 0 && vm->vcpu->isa->restored)
        vm->vcpu->isa->restored(vm->vcpu);
    return r;
}

static int all_sections_used(const struct snapshot *s, struct err *e)
{
    for (size_t i = 0; i < s->in.sections; i++)
        if (!s->in.section[i].used)
            return err_set(e, EINVAL, "snapshot-state",
                           "the snapshot has a \"%s\", which this machine has not: restore it with "
                           "the ring3 that made it",
                           s->in.section[i].name);
    return 0;
}

static int load_all(struct snapshot *s, struct vm *vm, struct err *e)
{
    uint64_t bytes;
    phys_memory(vm->mem, &bytes);
    if (bytes != s->header.memory_bytes)
        return err_set(e, EINVAL, "snapshot-machine",
                       "the snapshot has %" PRIu64 " KiB of memory, video memory and firmware "
                       "included, this machine %" PRIu64 ": restore it with the ring3 that made it",
                       s->header.memory_bytes / KIB, bytes / KIB);
    int r = snapshot_memory_load(vm, s->fd, &s->chunks, e);
    if (r == 0)
        r = snapshot_disks_load(vm, s->fd, s->header.file_bytes, &s->extents, e);
    if (r == 0)
        r = load_clock(s, vm, e);
    if (r == 0)
        r = load_devices(s, vm, e);
    if (r < 0)
        return r;
    call_restored(vm->devices);
    r = load_processor(s, vm, e);
    return r < 0 ? r : all_sections_used(s, e);
}

int snapshot_restore(struct snapshot *s, struct vm *vm, struct err *e)
{
    if (!vm->vcpu->isa->state)
        return err_set(e, ENOSYS, "snapshot-isa", "there are no snapshots of %s processors",
                       vm->vcpu->isa->name);
    vm_pause(vm);
    int r = load_all(s, vm, e);
    vm_resume(vm);
    if (r == 0)
        vm->config.restoring = false; /* a guest that resets boots as it did the first time */
    return r;
}
