/* SPDX-License-Identifier: MIT */
/* Guest-physical memory and write-protection reasons. */
#include "unit.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <sys/uio.h>

#include "ring3/mem.h"

#define RAM (4 * MIB)

static int make(void **state)
{
    struct phys *p = phys_new(RAM, NULL);
    /* RAM with a hole, ROM at the top; the second RAM piece is not contiguous with the first in
     * the memfd, the ROM is. */
    if (!p || phys_map_ram(p, 0, 0, 640 * KIB, NULL) ||
        phys_map_ram(p, 640 * KIB, 2 * MIB, MIB, NULL) ||
        phys_map_rom(p, PHYS_LIMIT - 64 * KIB, MIB, 64 * KIB, NULL))
        return -1;
    *state = p;
    return 0;
}

static int unmake(void **state)
{
    phys_free(*state);
    return 0;
}

static void sizes_are_checked(void **state)
{
    struct err e = {0};
    assert_null(phys_new(0, &e));
    assert_string_equal(e.id, "ram-size");
    assert_null(phys_new(MIB + 1, NULL));
    assert_null(phys_new(4 * GIB, NULL));
    struct phys *p = *state;
    assert_int_equal(phys_ram_bytes(p), RAM);
    assert_int_equal(phys_map_ram(p, 8 * MIB, RAM - PAGE_BYTES, 2 * PAGE_BYTES, &e), -EINVAL);
    assert_int_equal(phys_map_ram(p, 8 * MIB, UINT64_MAX & PAGE_MASK, 2 * PAGE_BYTES, &e), -EINVAL);
    assert_int_equal(phys_map_ram(p, PHYS_LIMIT, 0, PAGE_BYTES, &e), -EINVAL);
    assert_int_equal(phys_map_ram(p, 8 * MIB, 0, 100, &e), -EINVAL);
    assert_int_equal(phys_map_ram(p, MIB, 0, PAGE_BYTES, &e), -EEXIST);
    assert_string_equal(e.id, "memory-map");
}

static void pages_are_ram_rom_or_nothing(void **state)
{
    struct phys *p = *state;
    struct phys_page ram = phys_page(p, gpa_page(0x5000));
    assert_int_equal(ram.kind, PHYS_RAM);
    ram.host[7] = 0x42;
    uint8_t b = 0;
    assert_int_equal(phys_read(p, 0x5007, &b, 1), 0);
    assert_int_equal(b, 0x42);
    assert_int_equal(phys_ram_offset(p, ram.host), 0x5000);
    assert_int_equal(phys_ram_offset(p, phys_page(p, gpa_page(640 * KIB)).host), 2 * MIB);
    assert_int_equal(phys_page(p, gpa_page(PHYS_LIMIT - 1)).kind, PHYS_ROM);
    assert_int_equal(phys_page(p, gpa_page(32 * MIB)).kind, PHYS_NONE);
    assert_int_equal(phys_page(p, gpa_page(PHYS_LIMIT)).kind, PHYS_NONE);
    assert_int_equal(phys_page(p, (gpfn_t){UINT64_MAX}).kind, PHYS_NONE);
}

static void copies_cross_pages_and_pieces(void **state)
{
    struct phys *p = *state;
    uint8_t out[3 * PAGE_BYTES], in[sizeof out];
    for (size_t i = 0; i < sizeof out; i++)
        out[i] = (uint8_t)(i * 7 + 1);
    gpa_t at = 640 * KIB - PAGE_BYTES - 100; /* ends beyond the seam in the memfd */
    assert_int_equal(phys_write(p, at, out, sizeof out), 0);
    assert_int_equal(phys_read(p, at, in, sizeof in), 0);
    assert_memory_equal(in, out, sizeof in);
    assert_int_equal(phys_page(p, gpa_page(640 * KIB)).host[0], out[PAGE_BYTES + 100]);

    assert_int_equal(phys_zero(p, at + 1, sizeof out - 2), 0);
    assert_int_equal(phys_read(p, at, in, sizeof in), 0);
    assert_int_equal(in[0], out[0]);
    assert_int_equal(in[sizeof in - 1], out[sizeof out - 1]);
    for (size_t i = 1; i < sizeof in - 1; i++)
        assert_int_equal(in[i], 0);
}

static void bounds_hold(void **state)
{
    struct phys *p = *state;
    uint8_t buf[64] = {0};
    gpa_t end = 640 * KIB + MIB;
    assert_int_equal(phys_read(p, end - 64, buf, 64), 0);
    assert_int_equal(phys_read(p, end - 63, buf, 64), -EFAULT);
    assert_int_equal(phys_write(p, end - 63, buf, 64), -EFAULT);
    assert_int_equal(phys_read(p, UINT64_MAX - 10, buf, 64), -EFAULT);
    assert_int_equal(phys_read(p, PHYS_LIMIT - 10, buf, 64), -EFAULT);
    assert_int_equal(phys_zero(p, 0, UINT64_MAX), -EFAULT);
    assert_int_equal(phys_zero(p, 4096, UINT64_MAX - 4095), -EFAULT);
    assert_int_equal(phys_read(p, 0x1000, buf, 0), 0);
    /* Nothing is copied when any byte is bad. */
    memset(buf, 0x55, sizeof buf);
    assert_int_equal(phys_write(p, end - 32, buf, 64), -EFAULT);
    assert_int_equal(phys_read(p, end - 32, buf, 32), 0);
    assert_int_equal(buf[0], 0);
}

static void rom_drops_writes_but_loads(void **state)
{
    struct phys *p = *state;
    gpa_t rom = PHYS_LIMIT - 16;
    uint32_t v = 0x12345678, got = 0;
    assert_int_equal(phys_write(p, rom, &v, 4), -EFAULT);
    assert_int_equal(phys_load(p, rom, &v, 4), 0);
    assert_int_equal(phys_read(p, rom, &got, 4), 0);
    assert_int_equal(got, v);
}

static void large_zero_gives_pages_back(void **state)
{
    struct phys *p = *state;
    static const uint8_t ones[MIB] = {[0 ... MIB - 1] = 1};
    uint8_t b[3];
    assert_int_equal(phys_write(p, 640 * KIB, ones, sizeof ones), 0);
    uint64_t touched = phys_host_pages_touched(p);
    assert_true(touched >= MIB / PAGE_BYTES);
    assert_int_equal(phys_zero(p, 640 * KIB + 1, MIB - 2), 0);
    assert_true(phys_host_pages_touched(p) <= touched - MIB / PAGE_BYTES + 2);
    assert_int_equal(phys_read(p, 640 * KIB, b, 2), 0);
    assert_int_equal(b[0], 1);
    assert_int_equal(b[1], 0);
    assert_int_equal(phys_read(p, 640 * KIB + MIB - 2, b, 2), 0);
    assert_int_equal(b[0], 0);
    assert_int_equal(b[1], 1);
}

struct seen {
    unsigned changed, written;
    uint64_t page, gpa[4], len[4];
    uint8_t reasons;
};

static void on_changed(void *opaque, gpfn_t page, uint8_t reasons)
{
    struct seen *s = opaque;
    s->changed++;
    s->page = page.n;
    s->reasons = reasons;
}

static void on_written(void *opaque, gpa_t gpa, uint64_t len, uint8_t reasons)
{
    struct seen *s = opaque;
    s->gpa[s->written % 4] = gpa;
    s->len[s->written++ % 4] = len;
    s->reasons = reasons;
}

static void watchers_hear_changes_and_writes(void **state)
{
    struct phys *p = *state;
    struct seen s = {0};
    struct wp_watcher w = {.changed = on_changed, .written = on_written, .opaque = &s};
    wp_watch(p, &w);

    wp_add(p, (gpfn_t){3}, WP_CODE);
    wp_add(p, (gpfn_t){3}, WP_CODE); /* nothing new: no call */
    assert_int_equal(s.changed, 1);
    wp_add(p, (gpfn_t){3}, WP_DIRTY_LOG);
    assert_int_equal(s.changed, 2);
    assert_int_equal(s.page, 3);
    assert_int_equal(s.reasons, WP_CODE | WP_DIRTY_LOG);
    assert_int_equal(phys_page(p, (gpfn_t){3}).wp, WP_CODE | WP_DIRTY_LOG);

    uint8_t buf[3 * PAGE_BYTES] = {0};
    assert_int_equal(phys_write(p, 0x2800, buf, sizeof buf), 0); /* pages 2, 3, 4 and 5 */
    assert_int_equal(s.written, 1);
    assert_int_equal(s.gpa[0], 0x3000);
    assert_int_equal(s.len[0], 0x1000);
    wp_written(p, 0x3ffc, 4);
    assert_int_equal(s.written, 2);
    assert_int_equal(s.gpa[1], 0x3ffc);
    wp_written(p, 0x4000, 4);
    wp_written(p, UINT64_MAX, 4);
    assert_int_equal(s.written, 2);
    assert_int_equal(phys_zero(p, 0x3000, 8), 0);
    assert_int_equal(s.written, 3);

    wp_drop(p, (gpfn_t){3}, WP_CODE);
    assert_int_equal(s.reasons, WP_DIRTY_LOG);
    wp_drop(p, (gpfn_t){3}, WP_CODE);
    assert_int_equal(s.changed, 3);
    wp_drop(p, (gpfn_t){UINT64_MAX}, WP_CODE);
    wp_add(p, (gpfn_t){UINT64_MAX}, WP_CODE);
    assert_int_equal(s.changed, 3);
}

static void seen_remapped(void *opaque, gpa_t gpa, uint64_t len)
{
    uint64_t *seen = opaque;
    seen[0] = gpa;
    seen[1] = len;
}

static void chipsets_remap_while_the_guest_runs(void **state)
{
    struct phys *p = *state;
    uint64_t seen[2] = {0}, extra, more;
    struct wp_watcher w = {.remapped = seen_remapped, .opaque = seen};
    const gpa_t at = 0xe0000;
    uint8_t b = 7;
    wp_watch(p, &w);
    assert_int_equal(phys_extra(p, 100, &extra, NULL), 0);
    assert_int_equal(extra, RAM);
    assert_int_equal(phys_extra(p, 2 * PAGE_BYTES, &more, NULL), 0);
    assert_int_equal(more, RAM + PAGE_BYTES);
    assert_int_equal(phys_extra(p, PHYS_EXTRA, &more, NULL), -ENOSPC);
    phys_remap(p, at, PHYS_RAM, RAM + PAGE_BYTES, 2 * PAGE_BYTES);
    assert_int_equal(seen[0], at);
    assert_int_equal(seen[1], 2 * PAGE_BYTES);
    assert_int_equal(phys_write(p, at + PAGE_BYTES, &b, 1), 0);
    phys_remap(p, at, PHYS_ROM, RAM + 2 * PAGE_BYTES, PAGE_BYTES); /* the same byte, elsewhere */
    b = 0;
    assert_int_equal(phys_read(p, at, &b, 1), 0);
    assert_int_equal(b, 7);
    assert_int_equal(phys_write(p, at, &b, 1), -EFAULT);
    phys_remap(p, at, PHYS_NONE, 0, 2 * PAGE_BYTES);
    assert_int_equal(phys_page(p, gpa_page(at)).kind, PHYS_NONE);
    wp_unwatch(p, &w);
}

static void devices_get_pieces_of_memory(void **state)
{
    struct phys *p = *state;
    struct iovec v[3];
    const gpa_t seam = 640 * KIB;
    assert_int_equal(phys_iovec(p, 0x1003, 0x5000, true, v, 1), 1);
    assert_int_equal(v[0].iov_len, 0x5000);
    assert_int_equal(phys_iovec(p, seam - 10, 30, true, v, 3), 2);
    assert_int_equal(v[0].iov_len, 10);
    assert_int_equal(v[1].iov_len, 20);
    assert_ptr_equal(v[1].iov_base, phys_page(p, gpa_page(seam)).host);
    assert_int_equal(phys_iovec(p, seam - 10, 30, true, v, 1), -E2BIG);
    assert_int_equal(phys_iovec(p, seam + MIB - 1, 2, false, v, 3), -EFAULT);
    assert_int_equal(phys_iovec(p, PHYS_LIMIT - 4, 4, true, v, 3), -EFAULT); /* ROM */
    assert_int_equal(phys_iovec(p, PHYS_LIMIT - 4, 4, false, v, 3), 1);
    assert_int_equal(phys_iovec(p, PHYS_LIMIT - 4, UINT64_MAX - 2, false, v, 3), -EFAULT);
    assert_int_equal(phys_iovec(p, 0, 0, true, v, 3), 0);
}

/* ---- devices and remapping at the same time -------------------------------------------------- */

#define MOVING (512 * KIB) /* two pages that come and go */

struct race {
    struct phys *p;
    _Atomic bool stop;
    _Atomic uint64_t done;
    uint64_t refused;
};

/* As a device's thread: what it gets is the page, or an error. */
/* A source whose chunk n is full of the byte n + 1. */
struct source {
    uint8_t *memory;
    unsigned fetched[RAM / PHYS_CHUNK], failures;
    int error;
};

static int fill_chunk(void *opaque, uint64_t chunk)
{
    struct source *s = opaque;
    s->fetched[chunk]++;
    memset(s->memory + chunk * PHYS_CHUNK, (int)chunk + 1, PHYS_CHUNK);
    return s->error;
}

static void count_failure(void *opaque, int error)
{
    struct source *s = opaque;
    assert_int_equal(error, -EBADMSG);
    s->failures++;
}

static void begin_source(struct phys *p, struct source *s, uint64_t absent)
{
    uint64_t bits[(RAM + PHYS_EXTRA) / PHYS_CHUNK / 64 + 1] = {absent}, bytes;
    s->memory = phys_memory(p, &bytes);
    assert_int_equal(phys_lazy_begin(p, &(struct phys_source){fill_chunk, count_failure, s}, bits),
                     0);
}

static void contents_come_when_they_are_wanted(void **state)
{
    struct phys *p = *state;
    struct source s = {0};
    uint8_t out[2] = {0};
    struct iovec v[2];
    begin_source(p, &s, 0x1fff & ~2u); /* not chunk 1 */
    assert_int_equal(s.fetched[0], 0);
    assert_int_equal(phys_read(p, 3 * PAGE_BYTES, out, 1), 0);
    assert_int_equal(out[0], 1);
    assert_int_equal(phys_read(p, PHYS_CHUNK - 1, out, 2), 0); /* into what is there */
    assert_int_equal(out[0], 1);
    assert_int_equal(out[1], 0);
    assert_int_equal(phys_read(p, 2 * PHYS_CHUNK - 1, out, 2), 0);
    assert_int_equal(out[1], 3);
    assert_int_equal(s.fetched[1], 0);
    /* The second piece of RAM is elsewhere in the memfd: chunks 8 to 11. */
    assert_int_equal(phys_page(p, gpa_page(640 * KIB + PHYS_CHUNK)).host[9], 10);
    assert_int_equal(s.fetched[8] + s.fetched[10], 0);
    assert_int_equal(phys_iovec(p, 640 * KIB + PHYS_CHUNK - 7, 9, true, v, 2), 1);
    assert_int_equal(((uint8_t *)v[0].iov_base)[0], 9);
    assert_int_equal(phys_write(p, 640 * KIB + 2 * PHYS_CHUNK, "x", 1), 0);
    assert_int_equal(phys_page(p, gpa_page(640 * KIB + 2 * PHYS_CHUNK)).host[1], 11);
    assert_int_equal(phys_page(p, gpa_page(640 * KIB + 2 * PHYS_CHUNK)).host[0], 'x');
    unsigned steps = 0;
    while (phys_lazy_step(p))
        steps++;
    assert_int_equal(steps, 7); /* of the 12: 0, 2, 8, 9 and 10 were wanted */
    for (unsigned i = 0; i < 13; i++)
        assert_int_equal(s.fetched[i], i != 1);
    phys_lazy_end(p);
    assert_false(phys_lazy_step(p));
}

static void the_first_failure_is_told(void **state)
{
    struct phys *p = *state;
    struct source s = {.error = -EBADMSG};
    uint8_t b;
    begin_source(p, &s, 7);
    assert_int_equal(phys_read(p, 0, &b, 1), 0);
    assert_int_equal(phys_read(p, 0, &b, 1), 0);
    assert_int_equal(s.failures, 1);
    while (phys_lazy_step(p))
        ;
    assert_int_equal(s.failures, 1);
    assert_int_equal(s.fetched[0] + s.fetched[1] + s.fetched[2], 3);
}

struct wanting {
    struct phys *p;
    unsigned wrong;
};

static void *want_all(void *opaque)
{
    struct wanting *w = opaque;
    for (gpa_t at = 0; at < 640 * KIB; at += PAGE_BYTES)
        w->wrong += phys_page(w->p, gpa_page(at)).host[5] != at / PHYS_CHUNK + 1;
    return NULL;
}

static void each_chunk_comes_once(void **state)
{
    struct phys *p = *state;
    for (unsigned round = 0; round < 50; round++) {
        struct source s = {0};
        struct wanting w = {.p = p};
        pthread_t thread;
        begin_source(p, &s, 7);
        memset(s.memory, 0, 3 * PHYS_CHUNK);
        assert_int_equal(pthread_create(&thread, NULL, want_all, &w), 0);
        while (phys_lazy_step(p))
            ;
        pthread_join(thread, NULL);
        assert_int_equal(w.wrong, 0);
        for (unsigned i = 0; i < 3; i++)
            assert_int_equal(s.fetched[i], 1);
    }
}

static void *copy_all_the_time(void *opaque)
{
    struct race *r = opaque;
    static uint8_t buf[3 * PAGE_BYTES];
    struct iovec v[4];
    while (!r->stop) {
        bool bad = phys_write(r->p, MOVING - 100, buf, 2 * PAGE_BYTES) != 0;
        bad |= phys_read(r->p, MOVING - PAGE_BYTES, buf, sizeof buf) != 0;
        int n = phys_iovec(r->p, MOVING - 8, PAGE_BYTES + 8, true, v, 4);
        for (int i = 0; i < n; i++)
            memset(v[i].iov_base, 0, v[i].iov_len);
        r->done++;
        r->refused += bad || n < 0;
    }
    return NULL;
}

static void devices_survive_remapping(void **state)
{
    struct race r = {.p = *state};
    pthread_t t;
    assert_int_equal(pthread_create(&t, NULL, copy_all_the_time, &r), 0);
    for (unsigned i = 0; i < 300000; i++) {
        phys_remap(r.p, MOVING + (i & 1) * PAGE_BYTES, i % 3 == 0 ? PHYS_NONE : PHYS_RAM,
                   MOVING + (i / 4 & 1) * PAGE_BYTES, PAGE_BYTES);
        if (i % 512 == 0)
            sched_yield();
    }
    while (!r.done) /* on a busy host the thread may not have run yet */
        sched_yield();
    r.stop = true;
    pthread_join(t, NULL);
    phys_remap(r.p, MOVING, PHYS_RAM, MOVING, 2 * PAGE_BYTES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(sizes_are_checked, make, unmake),
        cmocka_unit_test_setup_teardown(pages_are_ram_rom_or_nothing, make, unmake),
        cmocka_unit_test_setup_teardown(copies_cross_pages_and_pieces, make, unmake),
        cmocka_unit_test_setup_teardown(bounds_hold, make, unmake),
        cmocka_unit_test_setup_teardown(rom_drops_writes_but_loads, make, unmake),
        cmocka_unit_test_setup_teardown(large_zero_gives_pages_back, make, unmake),
        cmocka_unit_test_setup_teardown(chipsets_remap_while_the_guest_runs, make, unmake),
        cmocka_unit_test_setup_teardown(contents_come_when_they_are_wanted, make, unmake),
        cmocka_unit_test_setup_teardown(the_first_failure_is_told, make, unmake),
        cmocka_unit_test_setup_teardown(each_chunk_comes_once, make, unmake),
        cmocka_unit_test_setup_teardown(devices_survive_remapping, make, unmake),
        cmocka_unit_test_setup_teardown(devices_get_pieces_of_memory, make, unmake),
        cmocka_unit_test_setup_teardown(watchers_hear_changes_and_writes, make, unmake),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
