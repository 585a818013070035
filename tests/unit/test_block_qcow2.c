/* SPDX-License-Identifier: MIT */
/* qcow2 images: random requests against a copy in memory, then QEMU's own tools are asked whether
 * the image is in order and holds the same. Without qemu-img ring3's own check has to do. */
#include "block_rig.h"

#include "backend/qcow2.h"
#include "mem_disk.h"

static bool have_qemu;

__attribute__((format(printf, 1, 2))) static int sh(const char *fmt, ...)
{
    char command[1024];
    va_list ap;
    va_start(ap, fmt);
    int n = snprintf(command, sizeof command, "cd %s && ", rig_dir);
    vsnprintf(command + n, sizeof command - (size_t)n, fmt, ap);
    va_end(ap);
    strncat(command, " >log 2>&1", sizeof command - strlen(command) - 1);
    int r = system(command);
    if (r) {
        snprintf(command, sizeof command, "cat %s/log >&2", rig_dir);
        if (system(command))
            return -1;
    }
    return r;
}

static struct block *open_image(const char *name)
{
    struct block_config c = {.file = rig_path(name)};
    struct err e = {0};
    struct block *b = block_open(&c, &e);
    if (!b)
        fail_msg("%s: %s", e.id, e.text);
    return b;
}
static void must_fail(const char *name, bool read_only, const char *id)
{
    struct block_config c = {.file = rig_path(name), .read_only = read_only};
    struct err e = {0};
    struct block *b = block_open(&c, &e);
    if (b)
        fail_msg("%s opened, wanted [%s]", name, id);
    assert_string_equal(e.id, id);
}

static void new_image(const char *name, struct qcow2_create c)
{
    struct err e = {0};
    unlink(rig_path(name));
    struct disk *file = disk_file_open(rig_path(name), DISK_FILE_CREATE, &e);
    if (!file || qcow2_create(file, &c, &e) < 0)
        fail_msg("%s: %s", e.id, e.text);
    disk_free(file);
}

/* No errors, no leaks, for QEMU and for ring3. */
static void must_be_clean(const char *name)
{
    struct qcow2_report report;
    struct err e = {0};
    struct disk *file = disk_file_open(rig_path(name), DISK_FILE_READ_ONLY, &e);
    assert_non_null(file);
    struct qcow2_open o = {.read_only = true, .no_backing = true};
    struct disk *d = qcow2_open(file, &o, &e);
    if (!d || qcow2_check(qcow2_of(d), false, &report, &e) < 0)
        fail_msg("%s: %s", e.id, e.text);
    if (report.errors || report.leaks)
        fail_msg("%s: %lu errors, %lu leaks: %s", name, (unsigned long)report.errors,
                 (unsigned long)report.leaks, report.first);
    disk_free(d);
    if (have_qemu)
        assert_int_equal(sh("qemu-img check -q %s", name), 0);
}

/* Both tools must find the bytes of `want` in the image. */
static void must_hold(const char *name, const uint8_t *want, uint64_t bytes)
{
    if (!have_qemu)
        return;
    rig_file("want.raw", want, bytes, (off_t)bytes);
    assert_int_equal(sh("qemu-img compare -q -f raw -F qcow2 want.raw %s", name), 0);
}

/* Write at random to an image that holds `contents`; it ends clean. `again`: how often it is closed
 * and opened in between. */
static void torture(const char *name, const uint8_t *contents, uint64_t seed, unsigned requests,
                    uint64_t max, uint8_t *final)
{
    struct rig_shadow s;
    struct block *b = open_image(name);
    rig_shadow_open(&s, b, contents, seed, max);
    rig_shadow_compare(&s);
    for (int round = 0; round < 2; round++) {
        rig_shadow_run(&s, requests);
        rig_shadow_compare(&s);
        block_free(b);
        must_be_clean(name);
        b = s.b = open_image(name);
        rig_shadow_compare(&s);
    }
    block_free(b);
    must_hold(name, s.copy, s.bytes);
    if (final)
        memcpy(final, s.copy, s.bytes);
    rig_shadow_close(&s);
}

static void images_of_every_kind(void **state)
{
    static const struct {
        unsigned version, cluster_bits, order;
        uint64_t bytes;
    } kinds[] = {
        {3, 16, 4, 40 * MIB}, {2, 16, 4, 10 * MIB}, {3, 9, 4, 3 * MIB + 512}, {3, 16, 0, 3 * MIB},
        {3, 12, 1, 4 * MIB},  {3, 10, 2, 4 * MIB},  {3, 12, 3, 4 * MIB},      {3, 9, 5, 3 * MIB},
        {3, 9, 6, 4 * MIB},   {2, 9, 4, 4 * MIB},   {3, 21, 4, 40 * MIB},
    };
    for (unsigned i = 0; i < ARRAY_LEN(kinds); i++) {
        new_image("k.qcow2", (struct qcow2_create){.bytes = kinds[i].bytes,
                                                   .version = kinds[i].version,
                                                   .cluster_bits = kinds[i].cluster_bits,
                                                   .refcount_order = kinds[i].order});
        must_be_clean("k.qcow2");
        torture("k.qcow2", NULL, i + 1, 400, 200 * KIB, NULL);
    }
}

static void order_zero_is_one_bit(void **state)
{
    uint8_t block[64] = {0};
    for (unsigned order = 0; order <= 6; order++) {
        memset(block, 0, sizeof block);
        uint64_t most = order == 6 ? UINT64_MAX : (UINT64_C(1) << (1 << order)) - 1;
        qcow2_ref_write(block, order, 3, most);
        qcow2_ref_write(block, order, 4, 1);
        assert_true(qcow2_ref_read(block, order, 3) == most);
        assert_int_equal(qcow2_ref_read(block, order, 2), 0);
        assert_int_equal(qcow2_ref_read(block, order, 4), 1);
    }
    memset(block, 0, sizeof block);
    qcow2_ref_write(block, 4, 1, 0x1234);
    assert_int_equal(block[2], 0x12); /* big endian */
    qcow2_ref_write(block, 1, 1, 3);
    assert_int_equal(block[0], 0x0c); /* least significant bits first */
}

/* A disk of random pieces, holes and repetitions. */
static uint8_t *contents(uint64_t bytes, uint64_t seed)
{
    uint8_t *p = calloc(1, bytes);
    seed = seed * 77 + 1;
    for (uint64_t at = 0; at < bytes;) {
        uint64_t n = 4096 + rig_random(&seed) % 100000, kind = rig_random(&seed) % 3;
        n = n < bytes - at ? n : bytes - at;
        for (uint64_t i = 0; kind && i < n; i++)
            p[at + i] = kind == 1 ? (uint8_t)(i / 100) : (uint8_t)rig_random(&seed);
        at += n;
    }
    return p;
}

static void backing_files(void **state)
{
    uint64_t bytes = 6 * MIB, shorter = 4 * MIB + 512;
    uint8_t *p = contents(bytes, 5), *end = malloc(bytes);
    rig_file("base.raw", p, shorter, (off_t)shorter);
    memset(p + shorter, 0, bytes - shorter);
    for (unsigned version = 2; version <= 3; version++) {
        new_image("mid.qcow2", (struct qcow2_create){.bytes = bytes,
                                                     .version = version,
                                                     .cluster_bits = 14,
                                                     .backing = "base.raw",
                                                     .backing_format = "raw"});
        torture("mid.qcow2", p, version, 300, 100 * KIB, end);
        new_image("top.qcow2", (struct qcow2_create){.bytes = bytes,
                                                     .version = version,
                                                     .cluster_bits = 16,
                                                     .backing = "mid.qcow2",
                                                     .backing_format = "qcow2"});
        torture("top.qcow2", end, version + 10, 300, 100 * KIB, NULL);
    }
    uint8_t *base = malloc(shorter);
    rig_load(rig_path("base.raw"), base, shorter);
    assert_memory_equal(base, p, shorter); /* nobody wrote there */
    free(base), free(p), free(end);
}

static void compressed_images(void **state)
{
    if (!have_qemu)
        skip();
    uint64_t bytes = 6 * MIB;
    uint8_t *p = contents(bytes, 7);
    rig_file("c.raw", p, bytes, (off_t)bytes);
    for (unsigned i = 0; i < 4; i++) {
        static const char *const options[] = {"compression_type=zlib", "compression_type=zstd",
                                              "compat=0.10,cluster_size=4096",
                                              "compression_type=zstd,cluster_size=2M"};
        assert_int_equal(
            sh("rm -f c.qcow2; qemu-img convert -c -f raw -O qcow2 -o %s c.raw c.qcow2",
               options[i]),
            0);
        torture("c.qcow2", p, i + 20, 200, 100 * KIB, NULL);
    }
    free(p);
}

/* What an internal snapshot holds must survive everything. */
static void internal_snapshots(void **state)
{
    if (!have_qemu)
        skip();
    uint64_t bytes = 6 * MIB;
    uint8_t *p = contents(bytes, 9), *end = malloc(bytes), *again = malloc(bytes);
    rig_file("s.raw", p, bytes, (off_t)bytes);
    for (unsigned i = 0; i < 3; i++) {
        static const char *const options[] = {"cluster_size=64k", "cluster_size=1k",
                                              "refcount_bits=2,cluster_size=4k"};
        assert_int_equal(
            sh("rm -f s.qcow2; qemu-img convert %s -f raw -O qcow2 -o %s s.raw s.qcow2 "
               "&& qemu-img snapshot -c one s.qcow2",
               i == 1 ? "-c" : "", options[i]),
            0);
        torture("s.qcow2", p, i + 30, 200, 100 * KIB, end);
        assert_int_equal(sh("qemu-img snapshot -c two s.qcow2"), 0);
        torture("s.qcow2", end, i + 40, 200, 100 * KIB, NULL);
        assert_int_equal(sh("qemu-img convert -l snapshot.name=one -f qcow2 -O raw s.qcow2 o.raw"),
                         0);
        rig_load(rig_path("o.raw"), again, bytes);
        assert_memory_equal(again, p, bytes);
        assert_int_equal(sh("qemu-img convert -l snapshot.name=two -f qcow2 -O raw s.qcow2 o.raw"),
                         0);
        rig_load(rig_path("o.raw"), again, bytes);
        assert_memory_equal(again, end, bytes);
        assert_int_equal(sh("qemu-img snapshot -d one s.qcow2 && qemu-img snapshot -d two s.qcow2"),
                         0);
        must_be_clean("s.qcow2");
    }
    free(p), free(end), free(again);
}

static void images_made_by_qemu(void **state)
{
    if (!have_qemu)
        skip();
    assert_int_equal(
        sh("qemu-img create -f qcow2 -o preallocation=metadata,cluster_size=8k p.qcow2 "
           "5M"),
        0);
    torture("p.qcow2", NULL, 50, 300, 100 * KIB, NULL);
    assert_int_equal(sh("rm p.qcow2; qemu-img create -f qcow2 -o lazy_refcounts=on p.qcow2 5M"), 0);
    torture("p.qcow2", NULL, 51, 300, 100 * KIB, NULL);
    assert_int_equal(
        sh("rm p.qcow2; qemu-img create -f qcow2 -o refcount_bits=1,cluster_size=4k p.qcow2 5M"),
        0);
    torture("p.qcow2", NULL, 52, 300, 100 * KIB, NULL);
}

/* A disk of zeros takes no space, and what is discarded is given back. */
static void space_is_given_back(void **state)
{
    struct stat st;
    uint8_t *buf = malloc(8 * MIB);
    new_image("g.qcow2", (struct qcow2_create){.bytes = 64 * MIB});
    struct block *b = open_image("g.qcow2");
    memset(buf, 5, 8 * MIB);
    assert_int_equal(rig_io(b, BLOCK_WRITE_ZEROES, 0, NULL, 64 * MIB), 0);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(rig_io(b, BLOCK_WRITE, (uint64_t)(i % 7) * 8 * MIB, buf, 8 * MIB), 0);
        assert_int_equal(rig_io(b, BLOCK_DISCARD, (uint64_t)(i % 7) * 8 * MIB, NULL, 8 * MIB), 0);
        assert_int_equal(rig_io(b, BLOCK_FLUSH, 0, NULL, 0), 0);
    }
    assert_int_equal(rig_io(b, BLOCK_READ, 0, buf, 8 * MIB), 0);
    for (uint64_t i = 0; i < 8 * MIB; i++)
        assert_int_equal(buf[i], 0);
    block_free(b);
    assert_int_equal(stat(rig_path("g.qcow2"), &st), 0);
    assert_true((uint64_t)st.st_size < 20 * MIB);
    assert_true((uint64_t)st.st_blocks * 512 < 1 * MIB);
    must_be_clean("g.qcow2");
    free(buf);
}

static void snapshot_overlay_leaves_the_file_alone(void **state)
{
    uint64_t bytes = 5 * MIB;
    uint8_t *p = contents(bytes, 11), *again = malloc(bytes);
    for (int qcow2 = 0; qcow2 < 2; qcow2++) {
        const char *name = qcow2 ? "t.qcow2" : "t.img";
        if (qcow2) {
            new_image(name, (struct qcow2_create){.bytes = bytes});
            struct block *b = open_image(name);
            assert_int_equal(rig_io(b, BLOCK_WRITE, 0, p, bytes), 0);
            block_free(b);
        } else {
            rig_file(name, p, bytes, (off_t)bytes);
        }
        assert_int_equal(chmod(rig_path(name), 0444), 0);
        struct block_config c = {.file = rig_path(name), .snapshot = true};
        struct err e = {0};
        struct block *b = block_open(&c, &e);
        assert_non_null(b);
        assert_false(b->info.read_only);
        struct rig_shadow s;
        rig_shadow_open(&s, b, p, 60, 100 * KIB);
        rig_shadow_run(&s, 500);
        rig_shadow_compare(&s);
        rig_shadow_close(&s);
        block_free(b);
        b = block_open(&c, &e);
        assert_non_null(b);
        assert_int_equal(rig_io(b, BLOCK_READ, 0, again, bytes), 0);
        assert_memory_equal(again, p, bytes);
        block_free(b);
    }
    free(p), free(again);
}

/* Put bytes into a file. */
static void patch(const char *name, uint64_t offset, const void *p, size_t n)
{
    int fd = open(rig_path(name), O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, p, n, (off_t)offset), n);
    close(fd);
}

static void what_is_not_known_is_refused_by_name(void **state)
{
    static const struct {
        uint64_t offset;
        const char *bytes;
        size_t n;
        const char *id;
    } bad[] = {
        {0, "X", 1, "qcow2-header"},
        {7, "\4", 1, "qcow2-header"},    /* version */
        {23, "\10", 1, "qcow2-header"},  /* clusters of 256 bytes */
        {23, "\26", 1, "qcow2-header"},  /* of 4 MiB */
        {24, "\377", 1, "qcow2-header"}, /* size */
        {26, "\1", 1, "qcow2-header"},   /* larger than L1 */
        {35, "\2", 1, "qcow2-encrypted"},
        {36, "\377", 1, "qcow2-header"},        /* L1 entries */
        {47, "\1", 1, "qcow2-header"},          /* L1 misaligned */
        {42, "\1", 1, "qcow2-header"},          /* L1 behind the end */
        {55, "\1", 1, "qcow2-header"},          /* refcount table */
        {56, "\1", 1, "qcow2-header"},          /* its size */
        {60, "\1", 1, "qcow2-header"},          /* snapshots */
        {79, "\4", 1, "qcow2-feature"},         /* external data */
        {79, "\20", 1, "qcow2-feature"},        /* extended L2 */
        {72, "\200", 1, "qcow2-feature"},       /* unknown */
        {79, "\10", 1, "qcow2-header"},         /* compression without a type */
        {99, "\7", 1, "qcow2-header"},          /* refcount width */
        {103, "\147", 1, "qcow2-header"},       /* header length */
        {108, "\177\0\0\0", 4, "qcow2-header"}, /* extension's length */
        {79, "\2", 1, "qcow2-damaged"},         /* corrupt */
        {95, "\1", 1, "qcow2-feature"},         /* bitmaps */
    };
    for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
        new_image("n.qcow2", (struct qcow2_create){.bytes = 10 * MIB});
        if (bad[i].offset == 108)
            patch("n.qcow2", 104, "\1\1\1\1", 4);
        patch("n.qcow2", bad[i].offset, bad[i].bytes, bad[i].n);
        must_fail("n.qcow2", false, bad[i].id);
    }
    must_fail("n.qcow2", false, "qcow2-feature");
    assert_int_equal(truncate(rig_path("n.qcow2"), 65536), 0);
    must_fail("n.qcow2", true, "qcow2-header");
    assert_int_equal(truncate(rig_path("n.qcow2"), 20), 0);
    must_fail("n.qcow2", true, "qcow2-header");
}

/* The name of an unknown feature comes from the image. */
static void feature_names_are_told(void **state)
{
    struct err e = {0};
    struct block_config c = {.file = rig_path("f.qcow2")};
    uint8_t table[8 + 48] = "\x68\x03\xf8\x57\0\0\0\x30\0\x3fmagic carpets";
    new_image("f.qcow2", (struct qcow2_create){.bytes = 10 * MIB});
    patch("f.qcow2", 104, table, sizeof table);
    patch("f.qcow2", 72, "\x80", 1);
    assert_null(block_open(&c, &e));
    assert_non_null(strstr(e.text, "magic carpets"));
}

static void backing_files_are_not_guessed(void **state)
{
    struct qcow2_create c = {.bytes = 10 * MIB, .backing = "b.img"};
    rig_file("b.img", "x", 1, 1 << 20);
    new_image("u.qcow2", c);
    must_fail("u.qcow2", false, "qcow2-backing"); /* states no format */
    c.backing_format = "vmdk";
    new_image("u.qcow2", c);
    must_fail("u.qcow2", false, "qcow2-backing");
    c.backing_format = "raw";
    c.backing = "nbd://localhost/x";
    new_image("u.qcow2", c);
    must_fail("u.qcow2", false, "qcow2-backing");
    c.backing = "none.img";
    new_image("u.qcow2", c);
    must_fail("u.qcow2", false, "disk-missing");
    c.backing = "u.qcow2"; /* itself */
    c.backing_format = "qcow2";
    new_image("u.qcow2", c);
    must_fail("u.qcow2", true, "qcow2-backing");
}

/* A table that directs guest data to metadata: neither is touched. */
static void metadata_are_out_of_reach(void **state)
{
    uint8_t buf[65536], before[6 * 65536], after[6 * 65536];
    uint64_t entry, l2;
    memset(buf, 9, sizeof buf);
    for (uint64_t target = 0; target < 5; target++) {
        new_image("m.qcow2", (struct qcow2_create){.bytes = 10 * MIB});
        struct block *b = open_image("m.qcow2");
        assert_int_equal(rig_io(b, BLOCK_WRITE, 0, buf, sizeof buf), 0);
        block_free(b);
        rig_load(rig_path("m.qcow2"), before, sizeof before);
        memcpy(&l2, before + 3 * 65536, 8);
        l2 = be64toh(l2) & QCOW2_OFFSET;
        entry = htobe64(target << 16 | QCOW2_COPIED);
        patch("m.qcow2", l2, &entry, 8);
        rig_load(rig_path("m.qcow2"), before, sizeof before);
        b = open_image("m.qcow2");
        bool is_l2 = target == l2 >> 16, is_meta = target < 4 || is_l2;
        assert_int_equal(rig_io(b, BLOCK_WRITE, 512, buf, 512), is_meta ? -EIO : 0);
        rig_io(b, BLOCK_DISCARD, 0, NULL, 65536);
        rig_io(b, BLOCK_WRITE, 65536, buf, 65536);
        block_free(b);
        rig_load(rig_path("m.qcow2"), after, sizeof after);
        if (is_meta)
            assert_memory_equal(before, after, sizeof before);
    }
}

/* Refcounts that say metadata are free. */
static void free_metadata_are_not_taken(void **state)
{
    uint8_t buf[65536], zero[64] = {0};
    memset(buf, 9, sizeof buf);
    new_image("z.qcow2", (struct qcow2_create){.bytes = 10 * MIB});
    patch("z.qcow2", 2 * 65536, zero, sizeof zero); /* the refcount block */
    struct block *b = open_image("z.qcow2");
    assert_int_equal(rig_io(b, BLOCK_WRITE, 0, buf, sizeof buf), -EIO);
    assert_int_equal(rig_io(b, BLOCK_READ, 0, buf, sizeof buf), 0);
    block_free(b);
}

static void cut_off_images_give_errors(void **state)
{
    uint8_t *buf = malloc(4 * MIB);
    memset(buf, 3, 4 * MIB);
    new_image("x.qcow2", (struct qcow2_create){.bytes = 10 * MIB});
    struct block *b = open_image("x.qcow2");
    assert_int_equal(rig_io(b, BLOCK_WRITE, 0, buf, 4 * MIB), 0);
    block_free(b);
    assert_int_equal(truncate(rig_path("x.qcow2"), 2 * MIB), 0);
    b = open_image("x.qcow2");
    assert_int_equal(rig_io(b, BLOCK_READ, 0, buf, 65536), 0);
    assert_int_equal(rig_io(b, BLOCK_READ, 3 * MIB, buf, 65536), -EIO);
    block_free(b);
    free(buf);
}

static void dirty_images_are_counted_anew(void **state)
{
    uint64_t bytes = 6 * MIB;
    uint8_t *p = contents(bytes, 13), zero[512] = {0};
    new_image("d.qcow2", (struct qcow2_create){.bytes = bytes, .cluster_bits = 12});
    struct block *b = open_image("d.qcow2");
    assert_int_equal(rig_io(b, BLOCK_WRITE, 0, p, bytes), 0);
    block_free(b);
    patch("d.qcow2", 2 * 4096 + 64, zero, sizeof zero); /* refcounts lost */
    patch("d.qcow2", 79, "\1", 1);
    torture("d.qcow2", p, 70, 200, 100 * KIB, NULL);
    free(p);
}

/* A guest that never flushes: some seconds later its data are in the file all the same. */
static void changes_are_written_some_time(void **state)
{
    uint8_t buf[4096], again[4096];
    bool there = false;
    memset(buf, 77, sizeof buf);
    new_image("w.qcow2", (struct qcow2_create){.bytes = 4 * MIB});
    struct block *b = open_image("w.qcow2");
    assert_int_equal(rig_io(b, BLOCK_WRITE, 1 * MIB, buf, sizeof buf), 0);
    for (int i = 0; i < 600 && !there; i++) {
        usleep(100000);
        assert_int_equal(sh("cp w.qcow2 w2.qcow2"), 0); /* as after a crash */
        struct block *copy = open_image("w2.qcow2");
        assert_int_equal(rig_io(copy, BLOCK_READ, 1 * MIB, again, sizeof again), 0);
        there = !memcmp(buf, again, sizeof buf);
        block_free(copy);
    }
    assert_true(there);
    must_be_clean("w2.qcow2");
    block_free(b);
}

/* The host's disk is full: errors for those who write, an image in order, and nothing is lost of
 * what was there. Later there is room again. */
static void full_host_harms_nothing(void **state)
{
    for (uint64_t seed = 1; seed <= 30; seed++) {
        struct err e;
        struct qcow2_report report;
        struct qcow2_create c = {.bytes = 2 * MIB,
                                 .cluster_bits = seed % 2 ? 9 : 12,
                                 .refcount_order = seed % 2 ? 6 : 4}; /* the table must grow */
        struct qcow2_open o = {0};
        struct disk *file = mem_disk("full", NULL, 0, 8 * MIB);
        struct mem_disk *m = mem_of(file);
        assert_int_equal(qcow2_create(file, &c, &e), 0);
        struct disk *d = qcow2_open(file, &o, &e);
        assert_non_null(d);
        uint64_t random = seed * 1234567, failed = 0, sector[64], again[64];
        uint32_t *held = calloc(4096, sizeof *held);
        struct iovec v;
        for (uint32_t n = 1; n < 3000; n++) {
            if (n == 1000) {
                m->budget = rig_random(&random) % (seed % 2 ? 12000 : 100000);
                if (seed % 2) /* it gets full when the refcount table must grow */
                    qcow2_of(d)->free_hint = 64 * 64 - 8;
            } else if (n == 2000)
                m->budget = UINT64_MAX;
            uint64_t at = rig_random(&random) % 4096;
            for (unsigned i = 0; i < 64; i++)
                sector[i] = n;
            if (d->ops->write(d, at * 512, 512, span_of(&v, sector, 512)) == 0)
                held[at] = n;
            else
                failed++, held[at] = UINT32_MAX; /* anything */
            if (rig_random(&random) % 16 == 0)
                failed += d->ops->flush(d) < 0;
        }
        assert_true(failed > 0);
        for (uint64_t at = 0; at < 4096; at++) {
            assert_int_equal(d->ops->read(d, at * 512, 512, span_of(&v, again, 512)), 0);
            if (held[at] != UINT32_MAX)
                assert_int_equal(again[0], held[at]);
        }
        pthread_mutex_lock(&qcow2_of(d)->lock);
        assert_int_equal(qcow2_settle(qcow2_of(d)), 0);
        pthread_mutex_unlock(&qcow2_of(d)->lock);
        assert_int_equal(qcow2_check(qcow2_of(d), false, &report, &e), 0);
        if (report.errors || report.leaks)
            fail_msg("%lu errors, %lu leaks: %s", (unsigned long)report.errors,
                     (unsigned long)report.leaks, report.first);
        free(held);
        disk_free(d);
    }
}

int main(void)
{
    have_qemu = system("qemu-img --version >/dev/null 2>&1") == 0;
    if (!have_qemu)
        fprintf(stderr,
                "qemu-img (package qemu-utils) is missing: tests that need it are skipped\n");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(order_zero_is_one_bit),
        cmocka_unit_test(images_of_every_kind),
        cmocka_unit_test(backing_files),
        cmocka_unit_test(compressed_images),
        cmocka_unit_test(internal_snapshots),
        cmocka_unit_test(images_made_by_qemu),
        cmocka_unit_test(space_is_given_back),
        cmocka_unit_test(snapshot_overlay_leaves_the_file_alone),
        cmocka_unit_test(what_is_not_known_is_refused_by_name),
        cmocka_unit_test(feature_names_are_told),
        cmocka_unit_test(backing_files_are_not_guessed),
        cmocka_unit_test(metadata_are_out_of_reach),
        cmocka_unit_test(free_metadata_are_not_taken),
        cmocka_unit_test(cut_off_images_give_errors),
        cmocka_unit_test(dirty_images_are_counted_anew),
        cmocka_unit_test(changes_are_written_some_time),
        cmocka_unit_test(full_host_harms_nothing),
    };
    return cmocka_run_group_tests(tests, rig_enter, rig_leave);
}
