/* SPDX-License-Identifier: MIT */
/* What was flushed survives the loss of power.
 *
 * A disk in memory records every write and flush that reaches it. Afterwards it is put into the
 * states that a host can leave behind at any moment: all that was written before the last flush,
 * and of what came after it any sectors, or none. Each must be a consistent image. Each sector of
 * the guest's disk must hold what it held when its writer's last flush was answered, or something
 * the writer has written there since.
 *
 * Several writers share clusters: a writer owns every so many sectors. */
#include "unit.h"

#include <stdatomic.h>
#include <stdio.h>

#include "backend/qcow2.h"
#include "mem_disk.h"

#define SECTOR      512
#define BYTES       (768 * KIB) /* of the guest's disk */
#define COUNT       (BYTES / SECTOR)
#define ROOM        (8 * MIB)
#define OWNED       3 /* sectors in a row that belong to one writer */
#define MAX_WRITERS 3

struct version {
    uint64_t event, op; /* number of events when it was issued; number of the writer's operation */
    uint64_t tag;       /* what the sector holds: 0 zeros */
};
struct history {
    struct version *v;
    unsigned count, room;
};
struct answer { /* of a flush */
    uint64_t event, op;
};
struct writer {
    struct world *w;
    unsigned n;
    uint64_t seed;
    struct answer *answer;
    unsigned answers;
};
struct world {
    struct disk *disk;
    struct mem_disk *mem;
    unsigned writers, ops;
    unsigned snapshot_bits; /* of a cluster, if there is a snapshot */
    struct history history[COUNT];
    struct writer writer[MAX_WRITERS];
    _Atomic uint64_t next_tag;
};

static uint64_t rnd(uint64_t *seed)
{
    *seed ^= *seed << 13, *seed ^= *seed >> 7, *seed ^= *seed << 17;
    return *seed * UINT64_C(2685821657736338717) >> 11;
}

static uint64_t now(const struct world *w)
{
    return __atomic_load_n(&w->mem->events, __ATOMIC_ACQUIRE);
}

static void remember(struct world *w, uint64_t sector, struct version v)
{
    struct history *h = &w->history[sector];
    if (h->count == h->room) {
        h->room = h->room ? h->room * 2 : 4;
        h->v = realloc(h->v, h->room * sizeof *h->v);
    }
    h->v[h->count++] = v;
}

static void fill_sector(uint8_t *p, uint64_t sector, uint64_t tag)
{
    uint64_t words[2] = {tag, tag ? sector : 0};
    for (unsigned i = 0; i < SECTOR; i += sizeof words)
        memcpy(p + i, words, sizeof words);
}

/* Write or zero some sectors in a row, of this writer's. */
static void change(struct writer *t, uint64_t op, bool zero)
{
    struct world *w = t->w;
    uint64_t groups = COUNT / OWNED / w->writers;
    uint64_t group = rnd(&t->seed) % (rnd(&t->seed) % 2 ? groups : groups / 8) * w->writers + t->n;
    uint64_t first = group * OWNED + rnd(&t->seed) % OWNED, n = 1 + rnd(&t->seed) % OWNED;
    if (w->writers == 1) /* free of the others: whole clusters, too */
        n = rnd(&t->seed) % 5 ? n : 1 + rnd(&t->seed) % 200;
    else if (n > OWNED - first % OWNED)
        n = OWNED - first % OWNED;
    if (first + n > COUNT)
        n = COUNT - first;
    uint8_t *buf = malloc(n * SECTOR);
    uint64_t event = now(w);
    for (uint64_t i = 0; i < n; i++) {
        uint64_t tag = zero ? 0 : ++w->next_tag;
        fill_sector(buf + i * SECTOR, first + i, tag);
        remember(w, first + i, (struct version){event, op, tag});
    }
    struct iovec v;
    int r = zero ? w->disk->ops->write_zeroes(w->disk, first * SECTOR, n * SECTOR)
                 : w->disk->ops->write(w->disk, first * SECTOR, n * SECTOR,
                                       span_of(&v, buf, n * SECTOR));
    assert_int_equal(r, 0);
    free(buf);
}

static void *write_at_random(void *opaque)
{
    struct writer *t = opaque;
    struct world *w = t->w;
    t->answer = calloc(w->ops, sizeof *t->answer);
    for (uint64_t op = 1; op <= w->ops; op++) {
        unsigned kind = rnd(&t->seed) % 16;
        if (kind > 1) {
            change(t, op, kind < 5);
            continue;
        }
        assert_int_equal(w->disk->ops->flush(w->disk), 0);
        t->answer[t->answers++] = (struct answer){now(w), op};
    }
    return NULL;
}

/* ---- an internal snapshot -------------------------------------------------------------------- */

static uint64_t get_be(const uint8_t *p, unsigned n)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < n; i++)
        value = value << 8 | p[i];
    return value;
}
static void put_be(uint8_t *p, uint64_t value, unsigned n)
{
    while (n--)
        p[n] = (uint8_t)value, value >>= 8;
}

static void set_count(uint8_t *image, unsigned bits, uint64_t cluster, uint64_t count)
{
    unsigned block_bits = bits - 1; /* refcounts of 16 bits */
    uint64_t block = get_be(image + get_be(image + 48, 8) + (cluster >> block_bits) * 8, 8);
    assert_true(block);
    qcow2_ref_write(image + block, 4, cluster & ((1u << block_bits) - 1), count);
}

/* What an L1 table of the image names, from each entry of its L2 tables. */
static void each_entry(uint8_t *image, unsigned bits, uint64_t l1, uint64_t entries,
                       void (*f)(uint8_t *image, unsigned bits, uint64_t cluster, uint8_t *entry,
                                 const void *opaque),
                       const void *opaque)
{
    for (uint64_t i = 0; i < entries; i++) {
        uint64_t l2 = get_be(image + l1 + i * 8, 8) & QCOW2_OFFSET, n = UINT64_C(1) << (bits - 3);
        for (uint64_t k = 0; l2 && k < n; k++)
            f(image, bits, i * n + k, image + l2 + k * 8, opaque);
    }
}

static void share_cluster(uint8_t *image, unsigned bits, uint64_t cluster, uint8_t *entry,
                          const void *opaque)
{
    uint64_t host = get_be(entry, 8) & QCOW2_OFFSET;
    if (!host)
        return;
    put_be(entry, host, 8);
    set_count(image, bits, host >> bits, 2);
}

/* As `qemu-img snapshot -c` does it, in an image that nobody has open. */
static void take_snapshot(struct disk *file, unsigned bits)
{
    uint8_t *image = mem_of(file)->bytes;
    uint64_t size = UINT64_C(1) << bits, l1 = get_be(image + 40, 8),
             entries = get_be(image + 36, 4), copy = (file->end + size - 1) / size * size,
             table = copy + (entries * 8 + size - 1) / size * size;
    each_entry(image, bits, l1, entries, share_cluster, NULL);
    for (uint64_t i = 0; i < entries; i++) {
        uint64_t l2 = get_be(image + l1 + i * 8, 8) & QCOW2_OFFSET;
        put_be(image + l1 + i * 8, l2, 8);
        if (l2)
            set_count(image, bits, l2 >> bits, 2);
    }
    memcpy(image + copy, image + l1, entries * 8);
    put_be(image + table, copy, 8);
    put_be(image + table + 8, entries, 4);
    put_be(image + table + 12, 1, 2);
    put_be(image + table + 14, 1, 2);
    put_be(image + table + 36, 16, 4);
    put_be(image + table + 48, BYTES, 8);
    memcpy(image + table + 56, "1s", 2);
    for (uint64_t at = copy; at <= table; at += size)
        set_count(image, bits, at >> bits, 1);
    put_be(image + 60, 1, 4);
    put_be(image + 64, table, 8);
    file->end = table + 64;
}

/* A cluster of the snapshot holds what was there when it was taken: version s + 1 of sector s. */
static void compare_cluster(uint8_t *image, unsigned bits, uint64_t cluster, uint8_t *entry,
                            const void *opaque)
{
    uint8_t want[SECTOR];
    uint64_t host = get_be(entry, 8) & QCOW2_OFFSET, per = (UINT64_C(1) << bits) / SECTOR;
    for (uint64_t s = cluster * per; s < (cluster + 1) * per && s < COUNT; s++) {
        fill_sector(want, s, s + 1);
        assert_true(host);
        assert_memory_equal(image + host + (s % per) * SECTOR, want, SECTOR);
    }
}

static void compare_snapshot(struct disk *file, unsigned bits)
{
    uint8_t *image = mem_of(file)->bytes, *table = image + get_be(image + 64, 8);
    each_entry(image, bits, get_be(table, 8), get_be(table + 8, 4), compare_cluster, NULL);
}

/* ---- the crash ------------------------------------------------------------------------------- */

/* Of one event: any sectors, or all. */
static void apply(struct mem_disk *to, const struct mem_event *v, bool all, uint64_t *seed)
{
    for (uint64_t at = v->offset; at < v->offset + v->len;) {
        uint64_t end = (at / SECTOR + 1) * SECTOR;
        if (end > v->offset + v->len)
            end = v->offset + v->len;
        if (all || rnd(seed) % 2) {
            if (v->data)
                memcpy(to->bytes + at, v->data + (at - v->offset), end - at);
            else
                memset(to->bytes + at, 0, end - at);
            if (v->data && to->disk.end < end)
                to->disk.end = end;
        }
        at = end;
    }
}

static bool allowed(const struct world *w, uint64_t sector, uint64_t tag, uint64_t crash)
{
    const struct writer *t = &w->writer[sector / OWNED % w->writers];
    const struct history *h = &w->history[sector];
    uint64_t flushed = 0, at_flush = 0;
    for (unsigned i = 0; i < t->answers && t->answer[i].event <= crash; i++)
        flushed = t->answer[i].op;
    for (unsigned i = 0; i < h->count && (!h->v[i].op || h->v[i].op < flushed); i++)
        at_flush = h->v[i].tag;
    if (tag == at_flush)
        return true;
    for (unsigned i = 0; i < h->count; i++)
        if (h->v[i].op > flushed && h->v[i].event <= crash && h->v[i].tag == tag)
            return true;
    return false;
}

static void examine(const struct world *w, struct disk *file, bool qcow2, uint64_t crash,
                    struct disk *backing)
{
    if (w->snapshot_bits)
        compare_snapshot(file, w->snapshot_bits);
    struct err e = {0};
    struct qcow2_report report;
    struct disk *d = file;
    if (qcow2) {
        struct qcow2_open o = {.backing = backing};
        d = qcow2_open(file, &o, &e);
        if (!d || qcow2_check(qcow2_of(d), false, &report, &e) < 0)
            fail_msg("crash at %lu: %s: %s", (unsigned long)crash, e.id, e.text);
        if (report.errors)
            fail_msg("crash at %lu: %s", (unsigned long)crash, report.first);
    }
    uint8_t *all = malloc(BYTES), want[SECTOR];
    struct iovec v;
    assert_int_equal(d->ops->read(d, 0, BYTES, span_of(&v, all, BYTES)), 0);
    for (uint64_t s = 0; s < COUNT; s++) {
        uint64_t tag;
        memcpy(&tag, all + s * SECTOR, sizeof tag);
        fill_sector(want, s, tag);
        assert_memory_equal(all + s * SECTOR, want, SECTOR);
        if (!allowed(w, s, tag, crash))
            fail_msg("crash at %lu: sector %lu holds version %lu", (unsigned long)crash,
                     (unsigned long)s, (unsigned long)tag);
    }
    free(all);
    disk_free(d);
}

static struct disk *make_backing(struct world *w)
{
    uint8_t *p = calloc(1, BYTES);
    for (uint64_t s = 0; s < COUNT; s++) {
        uint64_t tag = s % 3 ? ++w->next_tag : 0;
        fill_sector(p + s * SECTOR, s, tag);
        remember(w, s, (struct version){0, 0, tag});
    }
    struct disk *d = mem_disk("backing", p, BYTES, BYTES);
    d->read_only = true;
    free(p);
    return d;
}

/* Every sector written once, then a snapshot; the image is closed. */
static void fill_and_snapshot(struct world *w, struct disk *file)
{
    struct err e = {0};
    struct qcow2_open o = {0};
    struct disk *copy = mem_disk("filled", mem_of(file)->bytes, file->end, ROOM);
    struct mem_disk *m = mem_of(copy);
    struct disk *d = qcow2_open(copy, &o, &e);
    uint8_t sector[SECTOR];
    struct iovec v;
    assert_non_null(d);
    for (uint64_t s = 0; s < COUNT; s++) {
        uint64_t tag = ++w->next_tag;
        fill_sector(sector, s, tag);
        remember(w, s, (struct version){0, 0, tag});
        assert_int_equal(d->ops->write(d, s * SECTOR, SECTOR, span_of(&v, sector, SECTOR)), 0);
    }
    assert_int_equal(d->ops->flush(d), 0);
    memcpy(mem_of(file)->bytes, m->bytes, ROOM);
    file->end = copy->end;
    disk_free(d);
    take_snapshot(file, w->snapshot_bits);
}

/* The writers' work on a recorded disk; then crashes. Returns how many. */
static unsigned crash_often(struct world *w, bool qcow2, bool with_backing, unsigned crashes,
                            struct qcow2_create c, uint64_t seed)
{
    struct err e = {0};
    struct disk *file = mem_disk("crash", NULL, qcow2 ? 0 : BYTES, ROOM);
    struct disk *backing = with_backing ? make_backing(w) : NULL;
    struct disk *spare =
        with_backing ? mem_disk("backing", mem_of(backing)->bytes, BYTES, BYTES) : NULL;
    pthread_t thread[MAX_WRITERS];
    w->mem = mem_of(file);
    w->disk = file;
    c.bytes = BYTES;
    if (qcow2) {
        assert_int_equal(qcow2_create(file, &c, &e), 0);
        if (w->snapshot_bits)
            fill_and_snapshot(w, file);
        struct qcow2_open o = {.backing = backing};
        w->disk = qcow2_open(file, &o, &e);
        assert_non_null(w->disk);
        if (c.refcount_order == 6) /* the refcount table will have to grow soon */
            qcow2_of(w->disk)->free_hint = 64 * 64 - 100;
    }
    struct disk *host = mem_disk("host", w->mem->bytes, file->end, ROOM); /* durable */
    w->mem->record = true;
    for (unsigned i = 0; i < w->writers; i++) {
        w->writer[i] = (struct writer){.w = w, .n = i, .seed = seed * 1000 + i + 1};
        pthread_create(&thread[i], NULL, write_at_random, &w->writer[i]);
    }
    for (unsigned i = 0; i < w->writers; i++)
        pthread_join(thread[i], NULL);
    uint64_t durable = 0, events = w->mem->events;
    for (unsigned i = 0; i < crashes; i++) {
        uint64_t crash = events * i / crashes + rnd(&seed) % (events / crashes + 1);
        crash = crash < events ? crash : events;
        while (i % 4 && crash < events && w->mem->event[crash].len)
            crash++; /* right before a sync, with most to lose */
        for (uint64_t k = durable; k < crash; k++)
            if (!w->mem->event[k].len)
                for (; durable <= k; durable++)
                    apply(mem_of(host), &w->mem->event[durable], true, &seed);
        struct disk *after = mem_disk("after", mem_of(host)->bytes, host->end, ROOM);
        for (uint64_t k = durable; k < crash; k++)
            apply(mem_of(after), &w->mem->event[k], rnd(&seed) % 4 == 0, &seed);
        struct disk *b = spare ? mem_disk("backing", mem_of(spare)->bytes, BYTES, BYTES) : NULL;
        examine(w, after, qcow2, crash, b);
    }
    disk_free(host);
    disk_free(spare);
    disk_free(w->disk);
    return crashes;
}

static uint64_t more_seeds; /* argument: others than those of `meson test` */

static void run_any(bool qcow2, bool backing, bool snapshot, unsigned writers,
                    struct qcow2_create c, uint64_t seed)
{
    struct world *w = calloc(1, sizeof *w);
    w->snapshot_bits = snapshot ? c.cluster_bits : 0;
    w->writers = writers;
    w->ops = 600 / writers;
    crash_often(w, qcow2, backing, 100, c, seed + more_seeds * 1000);
    for (unsigned i = 0; i < COUNT; i++)
        free(w->history[i].v);
    for (unsigned i = 0; i < writers; i++)
        free(w->writer[i].answer);
    free(w);
}

static void run(bool qcow2, bool backing, unsigned writers, struct qcow2_create c, uint64_t seed)
{
    run_any(qcow2, backing, false, writers, c, seed);
}

static void raw_disks(void **state)
{
    run(false, false, 1, (struct qcow2_create){0}, 1);
    run(false, false, 3, (struct qcow2_create){0}, 2);
}
static void qcow2_small_clusters(void **state)
{
    for (unsigned i = 0; i < 3; i++)
        run(true, false, 1 + i, (struct qcow2_create){.cluster_bits = 9}, i + 10);
    for (unsigned i = 0; i < 3; i++)
        run(true, false, 1 + i, (struct qcow2_create){.cluster_bits = 9, .refcount_order = 6},
            i + 14);
}
static void qcow2_larger_clusters(void **state)
{
    for (unsigned i = 0; i < 3; i++)
        run(true, false, 1 + i, (struct qcow2_create){.cluster_bits = 12}, i + 20);
    run(true, false, 3, (struct qcow2_create){.cluster_bits = 16}, 24);
    run(true, false, 3, (struct qcow2_create){.cluster_bits = 12, .version = 2}, 25);
}
static void qcow2_on_backing_files(void **state)
{
    for (unsigned i = 0; i < 3; i++)
        run(true, true, 1 + i, (struct qcow2_create){.cluster_bits = 12}, i + 30);
    run(true, true, 2, (struct qcow2_create){.cluster_bits = 9}, 34);
    run(true, true, 2, (struct qcow2_create){.cluster_bits = 12, .version = 2}, 35);
}

static void qcow2_with_a_snapshot(void **state)
{
    for (unsigned i = 0; i < 3; i++) {
        run_any(true, false, true, 1 + i, (struct qcow2_create){.cluster_bits = 12}, i + 40);
        run_any(true, false, true, 1 + i, (struct qcow2_create){.cluster_bits = 10}, i + 44);
    }
}

int main(int argc, char **argv)
{
    more_seeds = argc > 1 ? strtoull(argv[1], NULL, 10) : 0;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(raw_disks),
        cmocka_unit_test(qcow2_small_clusters),
        cmocka_unit_test(qcow2_larger_clusters),
        cmocka_unit_test(qcow2_on_backing_files),
        cmocka_unit_test(qcow2_with_a_snapshot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
