/* SPDX-License-Identifier: MIT */
/* Disks: checks of requests, raw files, opening. */
#include "block_rig.h"

#include <sys/resource.h>

static struct block *open_raw(const char *path)
{
    struct block_config c = {.file = path};
    struct err e = {0};
    struct block *b = block_open(&c, &e);
    if (!b)
        fail_msg("%s: %s", e.id, e.text);
    return b;
}
static void must_fail(struct block_config c, int errnum, const char *id)
{
    struct err e = {0};
    struct block *b = block_open(&c, &e);
    assert_null(b);
    assert_string_equal(e.id, id);
    assert_int_equal(e.errnum, errnum);
    assert_non_null(strstr(e.text, c.file));
}

static void bytes_go_in_and_come_out(void **state)
{
    uint8_t buf[4096], again[4096];
    for (unsigned i = 0; i < sizeof buf; i++)
        buf[i] = RIG_PATTERN(i);
    struct block *b = open_raw(rig_file("a.img", buf, sizeof buf, 1 << 20));
    assert_int_equal(b->info.bytes, 1 << 20);
    assert_string_equal(b->info.format, "raw");
    assert_false(b->info.read_only);
    assert_int_equal(rig_io(b, BLOCK_READ, 0, again, sizeof again), 0);
    assert_memory_equal(buf, again, sizeof buf);
    assert_int_equal(rig_io(b, BLOCK_WRITE, (1 << 20) - 4096, buf, sizeof buf), 0);
    assert_int_equal(rig_io(b, BLOCK_WRITE_ZEROES, 512, NULL, 1024), 0);
    assert_int_equal(rig_io(b, BLOCK_FLUSH, 0, NULL, 0), 0);
    assert_int_equal(rig_io(b, BLOCK_DISCARD, 8192, NULL, 4096), 0);
    assert_int_equal(b->stats.reads, 1);
    assert_int_equal(b->stats.read_bytes, 4096);
    assert_int_equal(b->stats.writes, 1);
    assert_int_equal(b->stats.write_bytes, 4096);
    assert_int_equal(b->stats.flushes, 1);
    assert_int_equal(b->stats.discards, 2);
    assert_int_equal(b->stats.errors, 0);
    block_free(b);
    rig_load(rig_path("a.img"), again, sizeof again);
    memset(buf + 512, 0, 1024);
    assert_memory_equal(buf, again, sizeof buf);
}

static void requests_are_checked(void **state)
{
    uint8_t buf[1024];
    struct block *b = open_raw(rig_file("c.img", "", 0, 65536));
    struct iovec v[2] = {{buf, 512}, {buf, 512}};
    static const struct {
        enum block_op op;
        uint64_t offset, len;
        unsigned count;
    } bad[] = {
        {BLOCK_READ, 65536, 512, 1},
        {BLOCK_READ, 65024, 1024, 2},
        {BLOCK_READ, 1, 512, 1},
        {BLOCK_READ, 0, 511, 1},
        {BLOCK_READ, 0, 1024, 1},
        {BLOCK_WRITE, 0, 512, 2},
        {BLOCK_READ, UINT64_MAX - 511, 512, 1},
        {BLOCK_WRITE, 512, UINT64_MAX - 511, 1},
        {BLOCK_DISCARD, 65024, 1024, 0},
        {BLOCK_WRITE_ZEROES, 0, 66048, 0},
        {(enum block_op)99, 0, 512, 1},
    };
    for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
        struct block_request r = {.op = bad[i].op,
                                  .offset = bad[i].offset,
                                  .len = bad[i].len,
                                  .iov = v,
                                  .iov_count = bad[i].count};
        assert_true(block_submit(b, &r)); /* at once */
        assert_int_equal(r.result, -EINVAL);
    }
    assert_int_equal(b->stats.errors, ARRAY_LEN(bad));
    assert_int_equal(b->stats.reads, 0);
    assert_int_equal(rig_io(b, BLOCK_READ, 65536, buf, 0), 0);
    block_free(b);
}

static void read_only_is_read_only(void **state)
{
    uint8_t buf[512] = {0};
    struct block_config c = {.file = rig_file("ro.img", "x", 1, 4096), .read_only = true};
    struct err e = {0};
    assert_int_equal(chmod(c.file, 0444), 0);
    struct block *b = block_open(&c, &e);
    assert_non_null(b);
    assert_true(b->info.read_only);
    assert_int_equal(rig_io(b, BLOCK_READ, 0, buf, 512), 0);
    assert_int_equal(buf[0], 'x');
    assert_int_equal(rig_io(b, BLOCK_WRITE, 0, buf, 512), -EROFS);
    assert_int_equal(rig_io(b, BLOCK_DISCARD, 0, NULL, 512), -EROFS);
    assert_int_equal(rig_io(b, BLOCK_WRITE_ZEROES, 0, NULL, 512), -EROFS);
    assert_int_equal(rig_io(b, BLOCK_FLUSH, 0, NULL, 0), 0);
    block_free(b);
    if (getuid() ==
        0) /* root may write everything: leave the file system's own refusal to others */
        return;
    c.read_only = false;
    must_fail(c, EACCES, "disk-read-only");
}

static void what_is_no_disk_is_refused(void **state)
{
    must_fail((struct block_config){.file = rig_path("none.img")}, ENOENT, "disk-missing");
    must_fail((struct block_config){.file = rig_dir}, EISDIR, "disk-unreadable");
    must_fail((struct block_config){.file = rig_dir, .read_only = true}, EISDIR, "disk-unreadable");
    must_fail((struct block_config){.file = "/dev/zero"}, EINVAL, "disk-unreadable");
    must_fail((struct block_config){.file = rig_file("e.img", "", 0, 0)}, EINVAL, "disk-empty");
    assert_int_equal(mkfifo(rig_path("pipe"), 0666), 0);
    must_fail((struct block_config){.file = rig_path("pipe"), .read_only = true}, EINVAL,
              "disk-unreadable");
}

static void format_is_never_guessed(void **state)
{
    struct block_config c = {.file = rig_file("q.img", "QFI\xfb\0\0\0\3", 8, 4096)};
    must_fail(c, EINVAL, "disk-format");
    c.format = BLOCK_FORMAT_RAW; /* the user knows */
    struct err e;
    struct block *b = block_open(&c, &e);
    assert_non_null(b);
    block_free(b);
}

static void two_writers_are_refused(void **state)
{
    struct block_config c = {.file = rig_file("l.img", "", 0, 4096)};
    struct err e;
    struct block *b = block_open(&c, &e);
    assert_non_null(b);
    must_fail(c, EBUSY, "disk-locked");
    c.read_only = true;
    must_fail(c, EBUSY, "disk-locked");
    block_free(b);
    b = block_open(&c, &e);
    assert_non_null(b);
    struct block *second = block_open(&c, &e); /* readers do not mind each other */
    assert_non_null(second);
    c.read_only = false;
    must_fail(c, EBUSY, "disk-locked");
    block_free(second);
    block_free(b);
    b = block_open(&c, &e);
    assert_non_null(b);
    block_free(b);
}

/* The last sector of an odd file is filled up with zeros; what is written there stays. */
static void odd_length_is_rounded_up(void **state)
{
    uint8_t buf[1024];
    memset(buf, 'y', sizeof buf);
    struct block *b = open_raw(rig_file("odd.img", buf, 700, 700));
    assert_int_equal(b->info.bytes, 1024);
    assert_int_equal(rig_io(b, BLOCK_READ, 0, buf, 1024), 0);
    assert_int_equal(buf[699], 'y');
    for (unsigned i = 700; i < 1024; i++)
        assert_int_equal(buf[i], 0);
    buf[1000] = 'z';
    assert_int_equal(rig_io(b, BLOCK_WRITE, 512, buf + 512, 512), 0);
    memset(buf, 0, sizeof buf);
    assert_int_equal(rig_io(b, BLOCK_READ, 512, buf, 512), 0);
    assert_int_equal(buf[1000 - 512], 'z');
    block_free(b);
}

static void file_that_shrinks_gives_errors(void **state)
{
    uint8_t buf[1024];
    struct block *b = open_raw(rig_file("s.img", "", 0, 1 << 20));
    assert_int_equal(truncate(rig_path("s.img"), 4096), 0);
    assert_int_equal(rig_io(b, BLOCK_READ, 65536, buf, 1024), -EIO);
    assert_int_equal(b->stats.errors, 1);
    assert_int_equal(rig_io(b, BLOCK_READ, 0, buf, 1024), 0);
    block_free(b);
}

static void full_host_is_enospc(void **state)
{
    struct rlimit old, small = {.rlim_cur = 65536, .rlim_max = RLIM_INFINITY};
    uint8_t buf[4096] = {1};
    struct block *b = open_raw(rig_file("f.img", "", 0, 1 << 20));
    getrlimit(RLIMIT_FSIZE, &old);
    small.rlim_max = old.rlim_max;
    setrlimit(RLIMIT_FSIZE, &small);
    int r = rig_io(b, BLOCK_WRITE, 131072, buf, sizeof buf);
    setrlimit(RLIMIT_FSIZE, &old);
    assert_int_equal(r, -ENOSPC);
    assert_int_equal(rig_io(b, BLOCK_WRITE, 131072, buf, sizeof buf), 0);
    block_free(b);
}

static void random_requests_match_a_copy(void **state)
{
    for (uint64_t seed = 1; seed <= 3; seed++) {
        struct rig_shadow s;
        struct block *b = open_raw(rig_file("r.img", "", 0, 3 << 20));
        rig_shadow_open(&s, b, NULL, seed, 300 * 1024);
        rig_shadow_run(&s, 1500);
        rig_shadow_compare(&s);
        for (unsigned i = 0; i < 4; i++)
            assert_true(s.counts[i == BLOCK_DISCARD ? BLOCK_WRITE_ZEROES : i] > 20);
        block_free(b);
        uint8_t *file = malloc(s.bytes);
        rig_load(rig_path("r.img"), file, s.bytes);
        assert_memory_equal(file, s.copy, s.bytes);
        free(file);
        rig_shadow_close(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_go_in_and_come_out),
        cmocka_unit_test(requests_are_checked),
        cmocka_unit_test(read_only_is_read_only),
        cmocka_unit_test(what_is_no_disk_is_refused),
        cmocka_unit_test(format_is_never_guessed),
        cmocka_unit_test(two_writers_are_refused),
        cmocka_unit_test(odd_length_is_rounded_up),
        cmocka_unit_test(file_that_shrinks_gives_errors),
        cmocka_unit_test(full_host_is_enospc),
        cmocka_unit_test(random_requests_match_a_copy),
    };
    return cmocka_run_group_tests(tests, rig_enter, rig_leave);
}
