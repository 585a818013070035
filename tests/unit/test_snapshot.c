/* SPDX-License-Identifier: MIT */
/* Snapshots of whole machines: what is restored is what was saved, and behaves so. */
#include "snapshot_rig.h"

#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <xxhash.h>

#include "isa/x86/trap.h"
#include "vm/snapshot_file.h"

/* ---- comparison ------------------------------------------------------------------------------ */

static const char *differs(const struct state_field *fields, size_t count, const void *a,
                           const void *b)
{
    for (size_t i = 0; i < count; i++)
        if (memcmp((const char *)a + fields[i].offset, (const char *)b + fields[i].offset,
                   fields[i].size * fields[i].count))
            return fields[i].name;
    return NULL;
}

static void assert_same_state(struct vm *a, struct vm *b, const char *when)
{
    const struct device *x = a->devices, *y = b->devices;
    for (; x && y; x = x->next, y = y->next) {
        assert_ptr_equal(x->ops, y->ops);
        const char *field = differs(x->ops->state, x->ops->state_count, x, y);
        if (field)
            fail_msg("%s: %s %s: %s differs", when, x->ops->name, x->instance, field);
    }
    assert_true(!x && !y);
    size_t count;
    const struct state_field *fields = x86_isa.state(&count);
    const char *field = differs(fields, count, a->vcpu, b->vcpu);
    if (field)
        fail_msg("%s: the processor's %s differs", when, field);
    if ((a->vcpu->attention ^ b->vcpu->attention) & (ATTN_INTERRUPT | ATTN_NMI))
        fail_msg("%s: pins of the processor differ: %x %x", when, a->vcpu->attention,
                 b->vcpu->attention);
}

/* A page is looked at as the guest would first, since that makes its contents come. */
static void assert_same_memory(struct vm *a, struct vm *b)
{
    uint64_t bytes, bytes_b;
    const uint8_t *x = phys_memory(a->mem, &bytes), *y = phys_memory(b->mem, &bytes_b);
    assert_int_equal(bytes, bytes_b);
    for (uint64_t n = PHYS_LIMIT >> PAGE_SHIFT; n--;) {
        struct phys_page p = phys_page(a->mem, (gpfn_t){n}), q = phys_page(b->mem, (gpfn_t){n});
        if (p.kind != q.kind || (p.kind && p.host - x != q.host - y))
            fail_msg("page %#lx shows something else", (unsigned long)n);
        if (p.kind && memcmp(p.host, q.host, PAGE_BYTES))
            fail_msg("page %#lx has other contents", (unsigned long)n);
    }
    while (phys_lazy_step(b->mem))
        ;
    assert_memory_equal(x, y, bytes);
}

/* ---- devices --------------------------------------------------------------------------------- */

static void scribble(struct vm *vm, uint64_t *seed)
{
    for (unsigned i = 0; i < 50; i++) {
        uint64_t r = machine_random(seed);
        phys_write(vm->mem, r % (MACHINE_RAM - 8), &r, sizeof r);
    }
}

/* The restored machine must answer as the first one does: what a table lacks shows. */
static void restored_machines_behave_like_the_saved_one(void **state)
{
    struct machine_files files;
    machine_files_make(&files);
    struct vm_config c = machine_config(&files);
    struct machine_map map;
    struct vm a, b;
    machine_build(&a, &c);
    machine_place_bars(&a, &map);
    uint64_t seed = 2;
    for (unsigned round = 0; round < 40; round++) {
        for (unsigned i = 0; i < 2000; i++)
            machine_poke(&a, &map, &seed);
        scribble(&a, &seed);
        machine_save(&a, files.snapshot);
        struct snapshot *s = machine_restore(&b, files.snapshot);
        assert_same_state(&a, &b, "restored");
        assert_same_memory(&a, &b);
        uint64_t seed_b = seed;
        for (unsigned i = 0; i < 500; i++) {
            uint64_t x = machine_poke(&a, &map, &seed), y = machine_poke(&b, &map, &seed_b);
            if (x != y)
                fail_msg("round %u: access %u reads %#lx and %#lx", round, i, (unsigned long)x,
                         (unsigned long)y);
        }
        assert_same_state(&a, &b, "later");
        vm_free(&b);
        snapshot_close(s);
    }
    vm_free(&a);
    machine_files_remove(&files);
}

/* ---- the processor --------------------------------------------------------------------------- */

static void pending_events_of_the_processor_survive(void **state)
{
    struct machine_files files;
    machine_files_make(&files);
    struct vm_config c = machine_config(&files);
    struct vm a, b;
    machine_build(&a, &c);
    struct x86_vcpu *v = x86_of(a.vcpu);
    vcpu_attend(a.vcpu, ATTN_NMI);
    v->gpr[X86_EAX] = 0x12345678;
    v->retired = v->shadow_until = 77; /* behind sti or mov ss */
    v->shadow_debug = true;
    v->fx.st[3][9] = 0x3f;
    v->fx.xmm[7][15] = 0xa5;
    a.vcpu->halted = ATTN_NMI;
    machine_save(&a, files.snapshot);
    struct snapshot *s = machine_restore(&b, files.snapshot);
    struct x86_vcpu *w = x86_of(b.vcpu);
    assert_true(b.vcpu->attention & ATTN_NMI);
    assert_int_equal(w->gpr[X86_EAX], 0x12345678);
    assert_int_equal(w->shadow_until, w->retired);
    assert_true(w->shadow_debug);
    assert_int_equal(w->fx.st[3][9], 0x3f);
    assert_int_equal(w->fx.xmm[7][15], 0xa5);
    assert_int_not_equal(b.vcpu->halted, 0);
    assert_false(b.vcpu->halted & ATTN_INTERRUPT); /* IF is clear */
    vm_free(&b);
    snapshot_close(s);
    vm_free(&a);
    machine_files_remove(&files);
}

static void impossible_processors_are_brought_into_range(void **state)
{
    struct machine_files files;
    machine_files_make(&files);
    struct vm_config c = machine_config(&files);
    struct vm a, b;
    machine_build(&a, &c);
    struct x86_vcpu *v = x86_of(a.vcpu);
    v->fx.mxcsr = UINT32_MAX; /* the host would fault */
    v->gpr[X86_ESI] = UINT64_MAX;
    v->eip = UINT64_MAX;
    v->cr0 = CR0_PG; /* without PE */
    v->eflags = UINT32_MAX;
    v->seg[X86_DS].base = UINT64_MAX;
    v->delivering = 1000;
    v->cpl = 200;
    machine_save(&a, files.snapshot);
    struct snapshot *s = machine_restore(&b, files.snapshot);
    struct x86_vcpu *w = x86_of(b.vcpu);
    assert_int_equal(w->fx.mxcsr, 0xffff);
    assert_int_equal(w->gpr[X86_ESI], UINT32_MAX);
    assert_int_equal(w->eip, UINT32_MAX);
    assert_int_equal(w->cr0 & CR0_PG, 0);
    assert_int_equal(w->eflags & FL_VM, 0);
    assert_int_equal(w->seg[X86_DS].base, UINT32_MAX);
    assert_int_equal(w->delivering, -1);
    assert_int_equal(w->cpl, 0);
    vm_free(&b);
    snapshot_close(s);
    vm_free(&a);
    machine_files_remove(&files);
}

/* ---- memory ---------------------------------------------------------------------------------- */

static void empty_memory_takes_no_room(void **state)
{
    struct machine_files files;
    machine_files_make(&files);
    struct vm_config c = machine_config(&files);
    c.ram_bytes = 256 * MIB;
    struct vm a, b;
    struct stat st;
    machine_build(&a, &c);
    uint8_t page[PAGE_BYTES];
    memset(page, 0x5a, sizeof page);
    phys_write(a.mem, 200 * MIB, page, sizeof page);
    memset(page, 0, sizeof page);
    for (unsigned i = 0; i < 256; i++) /* there, but zero */
        phys_write(a.mem, 100 * MIB + i * PAGE_BYTES, page, sizeof page);
    machine_save(&a, files.snapshot);
    assert_int_equal(stat(files.snapshot, &st), 0);
    assert_in_range(st.st_size, 1, 512 * KIB); /* firmware and state */
    uint64_t touched = phys_host_pages_touched(a.mem);
    struct snapshot *s = machine_restore(&b, files.snapshot);
    assert_true(phys_host_pages_touched(b.mem) + 256 <= touched);
    assert_same_memory(&a, &b);
    vm_free(&b);
    snapshot_close(s);
    vm_free(&a);
    machine_files_remove(&files);
}

/* ---- time ------------------------------------------------------------------------------------ */

static void real_time_goes_on_where_it_was(void **state)
{
    struct machine_files files;
    machine_files_make(&files);
    struct vm_config c = machine_config(&files);
    c.clock = CLOCK_REAL_TIME;
    struct vm a, b;
    machine_build(&a, &c);
    usleep(100000);
    vm_pause(&a);
    uint64_t ns = clock_now_ns(a.clock), tsc = clock_tsc(a.clock);
    struct err e = {0};
    assert_int_equal(snapshot_save(&a, files.snapshot, NULL, &e), 0);
    usleep(20000);
    assert_int_equal(clock_now_ns(a.clock), ns);
    assert_int_equal(clock_tsc(a.clock), tsc);
    vm_resume(&a);
    assert_true(clock_now_ns(a.clock) >= ns);
    vm_free(&a);
    struct snapshot *s = machine_restore(&b, files.snapshot);
    assert_true(clock_now_ns(b.clock) >= ns);
    assert_true(clock_tsc(b.clock) >= tsc);
    assert_true(clock_tsc(b.clock) - tsc < clock_tsc_hz(b.clock) * 60);
    assert_true(clock_now_ns(b.clock) - ns < 60 * NS_PER_SEC);
    vm_free(&b);
    snapshot_close(s);
    machine_files_remove(&files);
}

/* ---- disks ----------------------------------------------------------------------------------- */

static void io_done(struct block_request *r)
{
    *(volatile bool *)r->opaque = true;
}

static void disk_io(struct block *b, enum block_op op, uint64_t offset, void *p, size_t n)
{
    struct iovec iov = {p, n};
    volatile bool done = false;
    struct block_request r = {.op = op,
                              .offset = offset,
                              .len = n,
                              .iov = &iov,
                              .iov_count = 1,
                              .done = io_done,
                              .opaque = (void *)&done};
    if (!block_submit(b, &r))
        block_drain(b);
    assert_int_equal(r.result, 0);
}

static void what_is_to_be_thrown_away_comes_along(void **state)
{
    struct machine_files files;
    machine_files_make(&files);
    struct vm_config c = machine_config(&files);
    struct vm a, b;
    static uint8_t wrote[700 * KIB], got[700 * KIB], old[512];
    uint64_t seed = 7;
    for (size_t i = 0; i < sizeof wrote; i++)
        wrote[i] = (uint8_t)machine_random(&seed);
    int fd = open(files.disk[0], O_WRONLY);
    assert_int_equal(pwrite(fd, "below", 5, 3 * MIB), 5);
    close(fd);
    machine_build(&a, &c);
    disk_io(a.drive[0], BLOCK_WRITE, 512, wrote, sizeof wrote);
    disk_io(a.drive[0], BLOCK_WRITE, 4 * MIB - 512, wrote, 512);
    machine_save(&a, files.snapshot);
    struct snapshot *s = machine_restore(&b, files.snapshot);
    disk_io(b.drive[0], BLOCK_READ, 512, got, sizeof got);
    assert_memory_equal(got, wrote, sizeof got);
    disk_io(b.drive[0], BLOCK_READ, 4 * MIB - 512, got, 512);
    assert_memory_equal(got, wrote, 512);
    disk_io(b.drive[0], BLOCK_READ, 3 * MIB, old, 512);
    assert_memory_equal(old, "below", 6);
    disk_io(b.drive[0], BLOCK_READ, 0, old, 512);
    assert_int_equal(old[0], 0);
    vm_free(&b);
    snapshot_close(s);
    vm_free(&a);
    fd = open(files.disk[0], O_RDONLY);
    assert_int_equal(pread(fd, old, 512, 512), 512);
    close(fd);
    for (unsigned i = 0; i < 512; i++)
        assert_int_equal(old[i], 0);
    machine_files_remove(&files);
}

static void disks_that_have_changed_are_refused(void **state)
{
    struct machine_files files;
    machine_files_make(&files);
    struct vm_config c = machine_config(&files), d = {.board = &pc_board};
    struct vm a;
    struct err e = {0};
    machine_build(&a, &c);
    machine_save(&a, files.snapshot);
    vm_free(&a);
    struct snapshot *s = snapshot_open(files.snapshot, &e);
    assert_non_null(s);
    assert_string_equal(snapshot_board(s), "pc");
    assert_int_equal(snapshot_config(s, &d, false, &e), 0);
    assert_string_equal(d.drive[2].image.file, files.disk[2]);
    assert_true(d.restoring);

    int fd = open(files.disk[2], O_WRONLY);
    assert_int_equal(pwrite(fd, "x", 1, 0), 1);
    close(fd);
    assert_int_equal(snapshot_config(s, &d, false, &e), -EINVAL);
    assert_string_equal(e.id, "snapshot-disk");
    assert_non_null(strstr(e.text, files.disk[2]));
    assert_int_equal(snapshot_config(s, &d, true, &e), 0);
    unlink(files.disk[2]);
    assert_int_equal(snapshot_config(s, &d, false, &e), -ENOENT);
    snapshot_close(s);
    machine_files_remove(&files);
}

/* ---- files that are not what they should be -------------------------------------------------- */

static void expect_refused(const char *path, const char *id)
{
    struct err e = {0};
    struct snapshot *s = snapshot_open(path, &e);
    assert_null(s);
    assert_string_equal(e.id, id);
}

static void flip(const char *path, off_t at, const char *id)
{
    int fd = open(path, O_RDWR);
    uint8_t byte;
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte ^= 0x10;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    expect_refused(path, id);
    byte ^= 0x10;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    close(fd);
}

static void damage_is_found(void **state)
{
    struct machine_files files;
    machine_files_make(&files);
    struct vm_config c = machine_config(&files);
    struct vm a;
    struct stat st;
    struct snapshot_header h;
    machine_build(&a, &c);
    phys_write(a.mem, 0x5000, "snapshot", 8);
    machine_save(&a, files.snapshot);
    vm_free(&a);
    const char *path = files.snapshot;
    assert_int_equal(stat(path, &st), 0);
    int fd = open(path, O_RDWR);
    assert_int_equal(pread(fd, &h, sizeof h, 0), sizeof h);
    flip(path, 3, "snapshot-format");
    flip(path, offsetof(struct snapshot_header, version), "snapshot-version");
    flip(path, offsetof(struct snapshot_header, memory_bytes), "snapshot-corrupt");
    flip(path, (off_t)h.chunks_at + 9, "snapshot-corrupt");
    flip(path, (off_t)h.state_at + 9, "snapshot-corrupt");
    assert_int_equal(ftruncate(fd, st.st_size - 1), 0);
    expect_refused(path, "snapshot-corrupt");
    assert_int_equal(ftruncate(fd, 10), 0);
    expect_refused(path, "snapshot-format");
    close(fd);
    unlink(path);
    expect_refused(path, "snapshot-open");
    machine_files_remove(&files);
}

static void damaged_memory_is_found(void **state)
{
    struct machine_files files;
    machine_files_make(&files);
    struct vm_config c = machine_config(&files);
    struct vm a, b;
    struct err e = {0};
    machine_build(&a, &c);
    phys_write(a.mem, 0x5000, "snapshot", 8);
    machine_save(&a, files.snapshot);
    vm_free(&a);
    int fd = open(files.snapshot, O_RDWR);
    uint8_t byte;
    off_t at = sizeof(struct snapshot_header) + 5;
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte ^= 1;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    close(fd);
    struct snapshot *s = snapshot_open(files.snapshot, &e);
    assert_non_null(s);
    struct vm_config d = {.board = &pc_board, .engine = &interp_engine};
    assert_int_equal(snapshot_config(s, &d, false, &e), 0);
    machine_build(&b, &d);
    assert_int_equal(snapshot_restore(s, &b, &e), -EINVAL);
    assert_string_equal(e.id, "snapshot-corrupt");
    vm_free(&b);
    snapshot_close(s);
    machine_files_remove(&files);
}

static void write_at(const char *path, uint64_t at, const void *p, size_t n)
{
    int fd = open(path, O_WRONLY);
    assert_int_equal(pwrite(fd, p, n, (off_t)at), n);
    close(fd);
}

static void read_at(const char *path, uint64_t at, void *p, size_t n)
{
    int fd = open(path, O_RDONLY);
    assert_int_equal(pread(fd, p, n, (off_t)at), n);
    close(fd);
}

/* What only unpacking can find stops the machine, which runs by then. */
static void memory_that_does_not_unpack_stops_the_machine(void **state)
{
    struct machine_files files;
    machine_files_make(&files);
    struct vm_config c = machine_config(&files);
    struct vm a, b;
    machine_build(&a, &c);
    phys_write(a.mem, 0x5000, "snapshot", 8);
    machine_save(&a, files.snapshot);
    vm_free(&a);
    struct snapshot_header h;
    read_at(files.snapshot, 0, &h, sizeof h);
    struct snapshot_chunk *list = calloc(h.chunks, sizeof *list);
    read_at(files.snapshot, h.chunks_at, list, h.chunks * sizeof *list);
    assert_int_equal(list[0].first_page, 0);
    uint8_t *packed = malloc(list[0].piece.stored);
    read_at(files.snapshot, list[0].piece.at, packed, list[0].piece.stored);
    packed[0] ^= 0xff; /* no zstd frame begins so */
    write_at(files.snapshot, list[0].piece.at, packed, list[0].piece.stored);
    list[0].piece.hash = XXH64(packed, list[0].piece.stored, 0);
    write_at(files.snapshot, h.chunks_at, list, h.chunks * sizeof *list);
    h.chunks_hash = XXH64(list, h.chunks * sizeof *list, 0);
    h.hash = XXH64(&h, offsetof(struct snapshot_header, hash), 0);
    write_at(files.snapshot, 0, &h, sizeof h);
    free(packed);
    free(list);
    struct snapshot *s = machine_restore(&b, files.snapshot);
    uint8_t byte = 1;
    assert_int_equal(phys_read(b.mem, 0x5000, &byte, 1), 0);
    assert_int_equal(byte, 0);
    vm_run(&b); /* the thread that unpacks may have been the one to find it */
    assert_int_equal(b.exit_code, VM_EXIT_FAILURE);
    assert_string_equal(b.stop_id, "snapshot-corrupt");
    vm_free(&b);
    snapshot_close(s);
    machine_files_remove(&files);
}

static void what_cannot_be_written_leaves_nothing_behind(void **state)
{
    struct machine_files files;
    machine_files_make(&files);
    struct vm_config c = machine_config(&files);
    struct vm a;
    struct err e = {0};
    machine_build(&a, &c);
    vm_pause(&a);
    assert_int_equal(snapshot_save(&a, "/nonexistent/x.snap", NULL, &e), -ENOENT);
    assert_string_equal(e.id, "snapshot-write");
    assert_int_equal(snapshot_save(&a, "/dev/full/x.snap", NULL, &e), -ENOTDIR);
    assert_int_equal(snapshot_save(&a, "/dev/null", NULL, &e), -EINVAL);
    assert_int_equal(snapshot_save(&a, "/tmp", NULL, &e), -EINVAL);

    /* No room: the old file stays, and nothing is left beside it. */
    char folder[] = "/tmp/ring3-test-full.XXXXXX", path[64];
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/x", folder);
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    assert_int_equal(write(fd, "old", 3), 3);
    close(fd);
    struct rlimit limit, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    small = (struct rlimit){4096, limit.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    int r = snapshot_save(&a, path, NULL, &e);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    assert_int_equal(r, -EFBIG);
    assert_string_equal(e.id, "snapshot-write");
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, 3);
    unlink(path);
    assert_int_equal(rmdir(folder), 0); /* it is empty */
    vm_resume(&a);
    vm_free(&a);
    machine_files_remove(&files);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(restored_machines_behave_like_the_saved_one),
        cmocka_unit_test(pending_events_of_the_processor_survive),
        cmocka_unit_test(impossible_processors_are_brought_into_range),
        cmocka_unit_test(empty_memory_takes_no_room),
        cmocka_unit_test(real_time_goes_on_where_it_was),
        cmocka_unit_test(what_is_to_be_thrown_away_comes_along),
        cmocka_unit_test(disks_that_have_changed_are_refused),
        cmocka_unit_test(damage_is_found),
        cmocka_unit_test(damaged_memory_is_found),
        cmocka_unit_test(memory_that_does_not_unpack_stops_the_machine),
        cmocka_unit_test(what_cannot_be_written_leaves_nothing_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
