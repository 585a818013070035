/* SPDX-License-Identifier: MIT */
/* The 9P server by its messages: what a hostile guest sends, ways out of the shared directory,
 * handles that come back from a snapshot. What Linux's client does with it is tests/boot/share.py.
 */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ring3/p9.h"

enum {
    RLERROR = 7,
    TLOPEN = 12,
    TLCREATE = 14,
    TSYMLINK = 16,
    TRENAME = 20,
    TREADDIR = 40,
    TUNLINKAT = 76,
    TVERSION = 100,
    TATTACH = 104,
    TWALK = 110,
    TREAD = 116,
    TWRITE = 118,
    TCLUNK = 120,
};
#define FIDS 64u
#define ROOM 65536u

struct bench {
    char dir[64];
    struct p9 *p;
    uint8_t *records;
    uint8_t out[ROOM], in[ROOM];
    uint32_t len; /* of out */
};

static void put(struct bench *b, uint64_t x, unsigned n)
{
    for (; n--; x >>= 8)
        b->out[b->len++] = (uint8_t)x;
}
static void put_text(struct bench *b, const char *text)
{
    put(b, strlen(text), 2);
    memcpy(b->out + b->len, text, strlen(text));
    b->len += (uint32_t)strlen(text);
}
static void begin(struct bench *b, unsigned type)
{
    b->len = 4;
    put(b, type, 1);
    put(b, 0x1234, 2);
}
static uint64_t le(const uint8_t *p, unsigned n)
{
    uint64_t x = 0;
    while (n--)
        x = x << 8 | p[n];
    return x;
}

/* 0, or the errno of the answer. */
static int send(struct bench *b)
{
    memcpy(b->out, &b->len, 4);
    struct iovec out[2] = {{b->out, 5}, {b->out + 5, b->len - 5}},
                 in[2] = {{b->in, 9}, {b->in + 9, ROOM - 9}};
    uint32_t n = p9_serve(b->p, out, 2, in, 2);
    assert_true(n >= 7);
    assert_int_equal(le(b->in, 4), n);
    assert_int_equal(le(b->in + 5, 2), 0x1234);
    if (b->in[4] == RLERROR)
        return (int)le(b->in + 7, 4);
    assert_int_equal(b->in[4], b->out[4] + 1);
    return 0;
}

static int walk(struct bench *b, uint32_t from, uint32_t to, unsigned n, const char *const names[])
{
    begin(b, TWALK);
    put(b, from, 4);
    put(b, to, 4);
    put(b, n, 2);
    for (unsigned i = 0; i < n; i++)
        put_text(b, names[i]);
    return send(b);
}
static int walk1(struct bench *b, uint32_t from, uint32_t to, const char *name)
{
    return walk(b, from, to, 1, &name);
}
static int lopen(struct bench *b, uint32_t fid, uint32_t flags)
{
    begin(b, TLOPEN);
    put(b, fid, 4);
    put(b, flags, 4);
    return send(b);
}
static int clunk(struct bench *b, uint32_t fid)
{
    begin(b, TCLUNK);
    put(b, fid, 4);
    return send(b);
}

static void start(struct bench *b, bool read_only)
{
    char path[128];
    struct p9_config c = {path, read_only, b->records, FIDS};
    snprintf(path, sizeof path, "%s/share", b->dir);
    b->p = p9_open(&c, NULL);
    assert_non_null(b->p);
}

static void attach(struct bench *b)
{
    begin(b, TVERSION);
    put(b, 65536, 4);
    put_text(b, "9P2000.L");
    assert_int_equal(send(b), 0);
    begin(b, TATTACH);
    put(b, 1, 4);
    put(b, UINT32_MAX, 4);
    put_text(b, "root");
    put_text(b, "/ignored");
    assert_int_equal(send(b), 0);
}

static void write_file(const char *dir, const char *name, const char *text)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static int make(void **state)
{
    struct bench *b = calloc(1, sizeof *b);
    char path[128];
    strcpy(b->dir, "/tmp/ring3-p9-XXXXXX");
    if (!mkdtemp(b->dir))
        return -1;
    b->records =
        mmap(NULL, FIDS * P9_FID_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    snprintf(path, sizeof path, "%s/share", b->dir);
    if (mkdir(path, 0700))
        return -1;
    write_file(b->dir, "secret", "secret");
    write_file(b->dir, "share/file", "0123456789");
    snprintf(path, sizeof path, "%s/share/up", b->dir);
    if (symlink("..", path))
        return -1;
    start(b, false);
    attach(b);
    *state = b;
    return 0;
}

static int unmake(void **state)
{
    struct bench *b = *state;
    char command[128], text[16] = "";
    snprintf(command, sizeof command, "%s/secret", b->dir);
    FILE *f = fopen(command, "r");
    bool kept = f && fgets(text, sizeof text, f) && !strcmp(text, "secret");
    if (f)
        fclose(f);
    snprintf(command, sizeof command, "rm -rf %s", b->dir);
    int r = system(command);
    p9_free(b->p);
    munmap(b->records, FIDS * P9_FID_BYTES);
    free(b);
    return kept ? r : -1; /* whatever the test did: nothing outside may change */
}

static void no_way_out(void **state)
{
    struct bench *b = *state;
    const char *through_link[] = {"up", "secret"}, *dots[] = {"..", "..", "secret"};
    assert_int_equal(walk(b, 1, 2, 3, dots), 0); /* .. of the root is the root */
    assert_int_equal(le(b->in + 7, 2), 2);       /* two of the three were found */
    assert_int_equal(clunk(b, 2), EBADF);
    assert_int_equal(walk(b, 1, 2, 2, through_link), 0);
    assert_int_equal(le(b->in + 7, 2), 1);
    assert_int_equal(walk1(b, 1, 2, "up/secret"), ENOENT);
    assert_int_equal(walk1(b, 1, 2, "../secret"), ENOENT);
    assert_int_equal(walk1(b, 1, 2, ""), ENOENT);
    assert_int_equal(walk1(b, 1, 2, "up"), 0); /* the link itself */
    assert_int_equal(lopen(b, 2, O_RDONLY), ELOOP);
    begin(b, TLCREATE);
    put(b, 2, 4);
    put_text(b, "made");
    put(b, O_RDWR, 4);
    put(b, 0600, 4);
    put(b, 0, 4);
    assert_int_equal(send(b), ENOTDIR);
    begin(b, TUNLINKAT);
    put(b, 2, 4);
    put_text(b, "secret");
    put(b, 0, 4);
    assert_int_equal(send(b), ENOTDIR);
    begin(b, TUNLINKAT);
    put(b, 1, 4);
    put_text(b, "../secret");
    put(b, 0, 4);
    assert_int_equal(send(b), EINVAL);
    begin(b, TRENAME);
    put(b, 2, 4);
    put(b, 1, 4);
    put_text(b, "../moved");
    assert_int_equal(send(b), EINVAL);
}

static int rw(struct bench *b, unsigned type, uint32_t fid, uint64_t offset, uint32_t n)
{
    begin(b, type);
    put(b, fid, 4);
    put(b, offset, 8);
    put(b, n, 4);
    if (type == TWRITE)
        for (uint32_t i = 0; i < n; i++)
            put(b, 'a' + i % 26, 1);
    return send(b);
}

static void data_and_its_limits(void **state)
{
    struct bench *b = *state;
    assert_int_equal(walk1(b, 1, 2, "file"), 0);
    assert_int_equal(rw(b, TREAD, 2, 0, 10), EBADF); /* not open */
    assert_int_equal(lopen(b, 2, O_RDWR), 0);
    assert_int_equal(lopen(b, 2, O_RDWR), EBADF); /* twice */
    assert_int_equal(rw(b, TREAD, 2, 3, 100), 0);
    assert_int_equal(le(b->in + 7, 4), 7);
    assert_memory_equal(b->in + 11, "3456789", 7);
    assert_int_equal(rw(b, TREAD, 2, 0, UINT32_MAX), 0); /* cut to the room there is */
    assert_int_equal(le(b->in + 7, 4), 10);
    assert_int_equal(rw(b, TREAD, 2, UINT64_MAX, 4), EINVAL);
    assert_int_equal(rw(b, TWRITE, 2, 8, 5), 0);
    assert_int_equal(le(b->in + 7, 4), 5);
    assert_int_equal(rw(b, TREAD, 2, 0, 100), 0);
    assert_memory_equal(b->in + 11, "01234567abcde", 13);
    begin(b, TWRITE); /* says more than it brings */
    put(b, 2, 4);
    put(b, 0, 8);
    put(b, 1000, 4);
    put(b, 'x', 1);
    assert_int_equal(send(b), EINVAL);
    assert_int_equal(walk1(b, 2, 3, "below"), ENOTDIR);
}

static void handles_are_limited_and_found(void **state)
{
    struct bench *b = *state;
    uint32_t n = 2;
    while (walk(b, 1, n * 977, 0, NULL) == 0)
        n++;
    assert_int_equal(le(b->in + 7, 4), ENFILE);
    assert_in_range(n, FIDS - 3, FIDS + 2);
    assert_int_equal(walk(b, 1, 2 * 977, 0, NULL), EBADF); /* taken */
    for (uint32_t i = 2; i < n; i += 2)
        assert_int_equal(clunk(b, i * 977), 0);
    for (uint32_t i = 2; i < n; i++)
        assert_int_equal(walk(b, i * 977, i * 977, 0, NULL), i % 2 ? 0 : EBADF);
    assert_int_equal(p9_stats(b->p).fids, 1 + (n - 2) / 2);
    p9_reset(b->p);
    assert_int_equal(walk(b, 1, 2, 0, NULL), EBADF);
}

static void read_only_means_it(void **state)
{
    struct bench *b = *state;
    p9_free(b->p);
    memset(b->records, 0, FIDS * P9_FID_BYTES);
    start(b, true);
    attach(b);
    assert_int_equal(walk1(b, 1, 2, "file"), 0);
    assert_int_equal(lopen(b, 2, O_RDWR), EROFS);
    assert_int_equal(lopen(b, 2, O_RDONLY | O_TRUNC), EROFS);
    assert_int_equal(lopen(b, 2, O_RDONLY), 0);
    assert_int_equal(rw(b, TWRITE, 2, 0, 1), EROFS);
    assert_int_equal(rw(b, TREAD, 2, 0, 1), 0);
}

/* A snapshot: the records, in a server of their own. */
static void handles_come_back(void **state)
{
    struct bench *b = *state;
    assert_int_equal(walk1(b, 1, 2, "file"), 0);
    assert_int_equal(walk(b, 1, 3, 0, NULL), 0);
    assert_int_equal(walk1(b, 1, 4, "file"), 0);
    assert_int_equal(clunk(b, 3), 0); /* a gap */
    assert_int_equal(lopen(b, 2, O_RDWR), 0);
    p9_free(b->p);
    start(b, false);
    p9_restored(b->p);
    assert_int_equal(rw(b, TREAD, 2, 9, 10), 0);
    assert_int_equal(b->in[11], '9');
    assert_int_equal(rw(b, TREAD, 4, 0, 1), EBADF);
    assert_int_equal(lopen(b, 4, O_RDONLY), 0);
    assert_int_equal(walk(b, 1, 3, 0, NULL), 0);
    /* Records that a liar wrote. */
    for (unsigned i = 0; i < FIDS; i++)
        strcpy((char *)b->records + i * P9_FID_BYTES + 32, i % 3 == 0   ? "../secret"
                                                           : i % 3 == 1 ? "up/secret"
                                                                        : "/etc/passwd");
    p9_free(b->p);
    start(b, false);
    p9_restored(b->p);
    assert_int_equal(rw(b, TREAD, 2, 0, 10), EBADF);
    assert_int_not_equal(lopen(b, 3, O_RDONLY), 0);
    assert_int_not_equal(lopen(b, 1, O_RDONLY), 0);
    memset(b->records, 0xff, FIDS * P9_FID_BYTES);
    p9_free(b->p);
    start(b, false);
    p9_restored(b->p);
    assert_int_equal(walk(b, 1, 2, 0, NULL), EBADF);
}

static uint32_t rng(uint64_t *seed)
{
    *seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(*seed >> 33);
}

/* Valid messages with some bytes changed, cut anywhere, answered into any room. */
static void damaged_messages(void **state)
{
    static const uint8_t types[] = {8,  12, 14, 16, 18, 20,  22,  24,  26,  30,  40,  50,  52,
                                    54, 70, 72, 74, 76, 100, 104, 108, 110, 116, 118, 120, 122};
    struct bench *b = *state;
    uint64_t seed = 5;
    unsigned answered = 0;
    for (unsigned i = 0; i < 60000; i++) {
        begin(b, types[rng(&seed) % ARRAY_LEN(types)]);
        put(b, 1 + rng(&seed) % 4, 4);
        for (unsigned n = rng(&seed) % 40; n--;) {
            static const char *const names[] = {"a", "up", "file", "..", ".", "a/b", "", "dir"};
            if (rng(&seed) % 3 == 0)
                put_text(b, names[rng(&seed) % ARRAY_LEN(names)]);
            else
                put(b, rng(&seed) % 8 ? rng(&seed) % 5 : rng(&seed), rng(&seed) % 3 ? 4 : 2);
        }
        uint32_t size = rng(&seed) % 8 ? b->len : rng(&seed);
        memcpy(b->out, &size, 4);
        uint32_t cut = rng(&seed) % 16 ? b->len : rng(&seed) % (b->len + 1);
        uint32_t room = rng(&seed) % 4 ? ROOM : rng(&seed) % 64;
        struct iovec out = {b->out, cut}, in = {b->in, room};
        uint32_t n = p9_serve(b->p, &out, 1, &in, 1);
        assert_true(n <= room);
        answered += n != 0;
        if (i % 1000 == 0)
            attach(b);
    }
    assert_in_range(answered, 20000, 60000);
}

int main(void)
{
    umask(022);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(no_way_out, make, unmake),
        cmocka_unit_test_setup_teardown(data_and_its_limits, make, unmake),
        cmocka_unit_test_setup_teardown(handles_are_limited_and_found, make, unmake),
        cmocka_unit_test_setup_teardown(read_only_means_it, make, unmake),
        cmocka_unit_test_setup_teardown(handles_come_back, make, unmake),
        cmocka_unit_test_setup_teardown(damaged_messages, make, unmake),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
