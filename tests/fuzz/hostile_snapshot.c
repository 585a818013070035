/* SPDX-License-Identifier: MIT */
/* Damaged and malicious snapshots: a real one is changed and restored in this process. That is an
 * error with a text, or a machine that runs; never harm to the monitor, which ASan watches.
 *
 *     hostile_snapshot [SEED [CASES]]
 *
 * Two snapshots are changed in turns: of a machine that SeaBIOS has been running on, and of one
 * whose devices took random accesses. A case changes one of
 *
 *     bytes     of the file, anywhere; or its length
 *     fields    of the processor and the devices: random and extreme values
 *     list      of fields: lengths, tags, names, order
 *     tables    of memory chunks and disk extents, and the header
 *
 * and, but for the first kind, sets checksums right, since whoever means harm does. A machine that
 * comes out of it runs for a while, interpreted or translated, under random accesses to its
 * devices. A failing case names its seed: run it alone with CASES 1. */
#include <signal.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <xxhash.h>
#include <zstd.h>

#include "../unit/snapshot_rig.h"
#include "vm/snapshot_file.h"

#define DEFAULT_CASES 1500
#define PATIENCE      300     /* seconds a case may take: a timer may tick at 1 MHz */
#define BIOS_RUN      4000000 /* instructions before the first snapshot */

struct image { /* a snapshot's file, taken apart */
    uint8_t *file;
    size_t bytes;
    struct snapshot_header h;
    struct snapshot_chunk *chunks;
    struct snapshot_extent *extents;
    uint8_t *state;
    size_t state_bytes, state_room;
};

struct fuzz {
    struct machine_files files;
    struct image base[2];
    struct machine_map map;
    uint64_t seed, restored, refused;
    int quiet; /* descriptor of /dev/null */
};

static uint64_t current_seed; /* for the alarm */

static void on_alarm(int sig)
{
    char text[80];
    int n = snprintf(text, sizeof text, "FAIL seed %llu: does not end\n",
                     (unsigned long long)current_seed);
    ssize_t ignored = write(STDOUT_FILENO, text, (size_t)n);
    (void)ignored;
    _exit(1);
}

static _Noreturn void die(const char *what)
{
    printf("FAIL seed %llu: %s\n", (unsigned long long)current_seed, what);
    exit(1);
}

static void *need(void *p)
{
    if (!p)
        die("no memory");
    return p;
}

/* ---- snapshots to begin with -----------------------------------------------------------------
 */

static void take_apart(struct image *im, const char *path)
{
    struct stat st;
    int fd = open(path, O_RDONLY);
    if (fd < 0 || fstat(fd, &st) < 0)
        die("cannot open the snapshot");
    im->bytes = (size_t)st.st_size;
    im->file = need(malloc(im->bytes));
    if (snapshot_read_at(fd, im->file, im->bytes, 0) < 0)
        die("cannot read the snapshot");
    close(fd);
    memcpy(&im->h, im->file, sizeof im->h);
    im->chunks = (void *)(im->file + im->h.chunks_at);
    im->extents = (void *)(im->file + im->h.extents_at);
    im->state_bytes = im->h.state_bytes;
    im->state = need(malloc(im->state_bytes));
    if (ZSTD_decompress(im->state, im->state_bytes, im->file + im->h.state_at,
                        im->h.state_stored) != im->state_bytes)
        die("the snapshot's state does not unpack");
}

static void run_bios(struct vm *vm)
{
    struct vm_exit x;
    for (uint64_t done = 0; done < BIOS_RUN; done += 1000) {
        vm->vcpu->isa->interpret(vm->vcpu, 1000, &x);
        clock_advance(vm->clock, 10000);
        if (x.kind == EXIT_HALT)
            clock_advance(vm->clock, NS_PER_SEC / 18);
    }
}

static void make_bases(struct fuzz *f)
{
    for (unsigned i = 0; i < 2; i++) {
        struct vm_config c = machine_config(&f->files);
        struct vm vm;
        uint64_t seed = 99;
        c.restoring = i == 1;
        c.firmware = true;
        machine_build(&vm, &c);
        vm.log.fd = f->quiet;
        if (i == 0) {
            run_bios(&vm);
        } else {
            machine_place_bars(&vm, &f->map);
            for (unsigned n = 0; n < 20000; n++)
                machine_poke(&vm, &f->map, &seed);
        }
        machine_save(&vm, f->files.snapshot);
        vm_free(&vm);
        take_apart(&f->base[i], f->files.snapshot);
    }
}

/* ---- changes ---------------------------------------------------------------------------------
 */

static uint64_t any(struct fuzz *f, uint64_t below)
{
    return machine_random(&f->seed) % below;
}

/* A number that somebody may have forgotten. */
static uint64_t odd_number(struct fuzz *f)
{
    static const uint64_t list[] = {0,
                                    1,
                                    2,
                                    3,
                                    7,
                                    8,
                                    15,
                                    16,
                                    17,
                                    63,
                                    64,
                                    127,
                                    128,
                                    255,
                                    256,
                                    511,
                                    512,
                                    4095,
                                    4096,
                                    65535,
                                    65536,
                                    INT32_MAX,
                                    UINT32_MAX,
                                    INT64_MAX,
                                    (uint64_t)INT64_MAX + 1,
                                    UINT64_MAX,
                                    UINT64_MAX - 1};
    switch (any(f, 4)) {
    case 0:
        return machine_random(&f->seed);
    case 1:
        return UINT64_C(1) << any(f, 64);
    default:
        return list[any(f, ARRAY_LEN(list))];
    }
}

static void change_bytes(struct fuzz *f, uint8_t *p, size_t n, unsigned times)
{
    for (unsigned i = 0; i < times; i++) {
        size_t at = any(f, n);
        if (any(f, 2))
            p[at] ^= (uint8_t)(1u << any(f, 8));
        else
            p[at] = (uint8_t)odd_number(f);
    }
}

/* One element of one field. */
static void change_field(struct fuzz *f, struct image *im)
{
    struct state_in in;
    struct err e;
    if (state_in_parse(&in, im->state, im->state_bytes, &e) == 0 && in.fields) {
        const struct state_in_field *field = &in.field[any(f, in.fields)];
        uint64_t x = odd_number(f);
        if (field->count)
            memcpy((uint8_t *)(uintptr_t)field->data + any(f, field->count) * field->size, &x,
                   field->size);
    }
    state_in_free(&in);
}

/* A device that is wrong all over. */
static void change_section(struct fuzz *f, struct image *im)
{
    struct state_in in;
    struct err e;
    if (state_in_parse(&in, im->state, im->state_bytes, &e) == 0 && in.sections) {
        const struct state_in_section *s = &in.section[any(f, in.sections)];
        for (size_t i = 0; i < s->fields && strcmp(s->name, "config"); i++) {
            const struct state_in_field *field = &in.field[s->first + i];
            for (size_t n = 0; n < field->size * field->count; n++)
                ((uint8_t *)(uintptr_t)field->data)[n] = (uint8_t)machine_random(&f->seed);
        }
    }
    state_in_free(&in);
}

/* Take a stretch out, or put one in a second time. */
static void change_list(struct fuzz *f, struct image *im)
{
    size_t at = any(f, im->state_bytes), n = any(f, any(f, 2) ? 64 : im->state_bytes - at) + 1;
    if (n > im->state_bytes - at)
        n = im->state_bytes - at;
    switch (any(f, 3)) {
    case 0:
        memmove(im->state + at, im->state + at + n, im->state_bytes - at - n);
        im->state_bytes -= n;
        break;
    case 1: {
        im->state = need(realloc(im->state, im->state_bytes + n));
        memmove(im->state + at + n, im->state + at, im->state_bytes - at);
        im->state_bytes += n;
        break;
    }
    default:
        change_bytes(f, im->state, im->state_bytes, 1 + (unsigned)any(f, 8));
    }
    if (!im->state_bytes)
        im->state_bytes = 1;
}

static void change_tables(struct fuzz *f, struct image *im)
{
    const struct snapshot_header *real = (const void *)im->file; /* im->h may lie by now */
    uint64_t x = odd_number(f);
    switch (any(f, 4)) {
    case 0:
        if (real->chunks)
            change_bytes(f, (uint8_t *)im->chunks, real->chunks * sizeof *im->chunks, 1);
        break;
    case 1:
        if (real->chunks)
            memcpy((uint8_t *)im->chunks + any(f, real->chunks * sizeof *im->chunks / 8) * 8, &x,
                   sizeof x);
        break;
    case 2:
        if (real->extents)
            memcpy((uint8_t *)im->extents + any(f, real->extents * sizeof *im->extents / 8) * 8, &x,
                   sizeof x);
        break;
    default: /* the hash last, so it is not hit; what put_together() sets is set anew */
        memcpy((uint8_t *)&im->h + any(f, offsetof(struct snapshot_header, hash) / 8) * 8, &x,
               sizeof x);
    }
}

/* ---- a file of it ----------------------------------------------------------------------------
 */

static void write_file(const char *path, const struct image *im)
{
    struct snapshot_header h = im->h;
    size_t room = ZSTD_compressBound(im->state_bytes);
    uint8_t *packed = need(malloc(room));
    bool same_header = !memcmp(&im->h, im->file, sizeof im->h);
    uint64_t end = h.state_at,
             lists = im->bytes - ((const struct snapshot_header *)im->file)->chunks_at;
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0 || snapshot_write_at(fd, im->file, im->bytes, 0) < 0)
        die("cannot write a file");
    if (same_header) { /* pieces, state, then the lists where they fit now */
        h.state_bytes = im->state_bytes;
        h.state_stored = ZSTD_compress(packed, room, im->state, im->state_bytes, 1);
        h.state_hash = XXH64(packed, h.state_stored, 0);
        h.chunks_at = end + h.state_stored;
        h.extents_at = h.chunks_at + h.chunks * sizeof *im->chunks;
        h.chunks_hash = XXH64(im->chunks, h.chunks * sizeof *im->chunks, 0);
        h.extents_hash = XXH64(im->extents, h.extents * sizeof *im->extents, 0);
        h.file_bytes = h.chunks_at + lists;
        if (snapshot_write_at(fd, packed, h.state_stored, end) < 0 ||
            snapshot_write_at(fd, im->chunks, lists, h.chunks_at) < 0 ||
            ftruncate(fd, (off_t)h.file_bytes) < 0)
            die("cannot write a file");
    }
    h.hash = XXH64(&h, offsetof(struct snapshot_header, hash), 0);
    if (snapshot_write_at(fd, &h, sizeof h, 0) < 0)
        die("cannot write a file");
    close(fd);
    free(packed);
}

static void write_raw(struct fuzz *f, const struct image *im)
{
    size_t n = im->bytes;
    uint8_t *copy = need(malloc(n));
    memcpy(copy, im->file, n);
    change_bytes(f, copy, any(f, 2) ? sizeof im->h : n, 1 + (unsigned)any(f, 4));
    if (any(f, 8) == 0)
        n = any(f, n);
    int fd = open(f->files.snapshot, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0 || snapshot_write_at(fd, copy, n, 0) < 0)
        die("cannot write a file");
    close(fd);
    free(copy);
}

static void make_case(struct fuzz *f)
{
    const struct image *base = &f->base[any(f, 2)];
    unsigned kind = (unsigned)any(f, 16), times = 1 + (unsigned)any(f, 4);
    if (kind == 0) {
        write_raw(f, base);
        return;
    }
    struct image im = *base;
    im.file = need(malloc(im.bytes));
    memcpy(im.file, base->file, im.bytes);
    im.state = need(malloc(im.state_bytes));
    memcpy(im.state, base->state, im.state_bytes);
    im.chunks = (void *)(im.file + im.h.chunks_at);
    im.extents = (void *)(im.file + im.h.extents_at);
    for (unsigned i = 0; i < times; i++) {
        if (kind < 8)
            change_field(f, &im);
        else if (kind < 12)
            change_section(f, &im);
        else if (kind < 14)
            change_list(f, &im);
        else
            change_tables(f, &im);
    }
    write_file(f->files.snapshot, &im);
    free(im.file);
    free(im.state);
}

/* ---- what comes out of it --------------------------------------------------------------------
 */

static void run_machine(struct fuzz *f, struct vm *vm, bool translated)
{
    struct vcpu *v = vm->vcpu;
    struct vm_exit x;
    atomic_store(&v->runner, pthread_self());
    for (unsigned i = 0; i < 40; i++) {
        v->attention &= ~(uint32_t)(ATTN_STOP | ATTN_RESET);
        x = (struct vm_exit){.kind = EXIT_ATTENTION};
        if (translated && v->trace == 0)
            vm->config.engine->run(v, &x);
        else
            v->isa->interpret(v, 300, &x);
        if (x.kind == EXIT_EMULATE)
            v->isa->interpret(v, 1, &x);
        clock_advance(vm->clock, 10000);
        for (unsigned n = 0; n < 4; n++)
            machine_poke(vm, &f->map, &f->seed);
    }
}

static void restore(struct fuzz *f)
{
    struct err e = {0};
    bool translated = any(f, 4) == 0 && dbt_engine.probe(&e) == 0;
    struct vm_config c = {.board = &pc_board,
                          .engine = translated ? &dbt_engine : &interp_engine,
                          .dbt = {.single = true, .cache_bytes = MIB}};
    struct vm vm;
    struct snapshot *s = snapshot_open(f->files.snapshot, &e);
    if (!s || snapshot_config(s, &c, true, &e) < 0) {
        if (!e.text[0] || !e.id[0])
            die("refused without a reason");
        snapshot_close(s);
        f->refused++;
        return;
    }
    /* The harness drives the clock, and has no business with files of any name or size. */
    struct vm_config known = machine_config(&f->files);
    bool ours = c.clock == CLOCK_VIRTUAL && c.ram_bytes == known.ram_bytes &&
                c.drives == known.drives && c.nics == known.nics && !c.shares;
    for (unsigned i = 0; ours && i < c.drives; i++)
        ours = c.drive[i].image.file && !strcmp(c.drive[i].image.file, f->files.disk[i]) &&
               (c.drive[i].image.read_only || c.drive[i].image.snapshot);
    int r = ours ? vm_build(&vm, &c, (struct log){LOG_ERROR, f->quiet}, NULL, &e) : -1;
    if (r == 0)
        r = snapshot_restore(s, &vm, &e);
    if (ours && r < 0 && (!e.text[0] || !e.id[0]))
        die("refused without a reason");
    if (r == 0)
        run_machine(f, &vm, translated);
    f->restored += r == 0;
    f->refused += r < 0;
    if (ours)
        vm_free(&vm);
    snapshot_close(s);
}

int main(int argc, char **argv)
{
    uint64_t first = argc > 1 ? strtoull(argv[1], NULL, 0) : 1;
    uint64_t cases = argc > 2 ? strtoull(argv[2], NULL, 0) : DEFAULT_CASES;
    struct fuzz f = {.quiet = open("/dev/null", O_WRONLY)};
    signal(SIGALRM, on_alarm);
    machine_files_make(&f.files);
    alarm(PATIENCE);
    make_bases(&f);
    for (uint64_t i = 0; i < cases; i++) {
        current_seed = first + i;
        f.seed = current_seed * UINT64_C(0x9e3779b97f4a7c15);
        alarm(PATIENCE);
        make_case(&f);
        restore(&f);
        if (i % 10000 == 9999) {
            printf("%llu cases\n", (unsigned long long)(i + 1));
            fflush(stdout);
        }
    }
    alarm(0);
    machine_files_remove(&f.files);
    for (unsigned i = 0; i < 2; i++) {
        free(f.base[i].file);
        free(f.base[i].state);
    }
    close(f.quiet);
    printf("pass: %llu cases from seed %llu, %llu restored and run, %llu refused\n",
           (unsigned long long)cases, (unsigned long long)first, (unsigned long long)f.restored,
           (unsigned long long)f.refused);
    return f.restored && f.refused ? 0 : 1;
}
