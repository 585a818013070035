/* SPDX-License-Identifier: MIT */
/* What was flushed survives kill -9 at any moment. A child process writes and flushes and says in
 * shared memory how far it is; it is killed after a random while, and the image must hold what it
 * had flushed. The same image goes on in the next round. */
#include "block_rig.h"

#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#include "backend/qcow2.h"

#define KILLS   50
#define SECTORS 8192 /* of 4 MiB */
#define MOST    300  /* in a request */

struct progress {
    _Atomic uint64_t issued, flushed; /* numbers of operations */
};

/* Operation n writes *count sectors from *at on; they hold n then, or zeros. */
static bool operation(uint64_t n, uint64_t *at, uint64_t *count)
{
    uint64_t seed = n * UINT64_C(0x9e3779b97f4a7c15) + 1;
    rig_random(&seed);
    *count = rig_random(&seed) % 3 ? 1 + rig_random(&seed) % 8 : 1 + rig_random(&seed) % MOST;
    *at = rig_random(&seed) % ((rig_random(&seed) % 2 ? SECTORS : 600) - *count + 1);
    return rig_random(&seed) % 8 != 0;
}

static struct block *open_image(const char *path)
{
    struct block_config c = {.file = path};
    struct err e = {0};
    struct block *b = block_open(&c, &e);
    if (!b)
        fprintf(stderr, "%s: %s\n", e.id, e.text);
    return b;
}

static void write_until_killed(const char *path, struct progress *p)
{
    struct block *b = open_image(path);
    static uint64_t data[MOST * 64];
    uint64_t at, count;
    for (uint64_t n = p->issued + 1; b; n++) {
        p->issued = n;
        if (operation(n, &at, &count)) {
            for (uint64_t i = 0; i < count * 64; i++)
                data[i] = n;
            if (rig_io(b, BLOCK_WRITE, at * 512, data, count * 512))
                break;
        } else if (rig_io(b, BLOCK_WRITE_ZEROES, at * 512, NULL, count * 512)) {
            break;
        }
        if (n % 7 == 0) {
            if (rig_io(b, BLOCK_FLUSH, 0, NULL, 0))
                break;
            p->flushed = n;
        }
    }
    _exit(1);
}

static void examine(const char *path, bool qcow2, uint64_t *before, struct progress *p)
{
    uint64_t *held = calloc(SECTORS, 8), *flushed = malloc(SECTORS * 8), at, count;
    uint8_t *all = malloc(SECTORS * 512);
    struct err e = {0};
    if (qcow2) {
        struct qcow2_open o = {.read_only = true};
        struct qcow2_report report;
        struct disk *d = disk_file_open(path, DISK_FILE_READ_ONLY, &e);
        assert_non_null(d);
        d = qcow2_open(d, &o, &e);
        if (!d || qcow2_check(qcow2_of(d), false, &report, &e) < 0)
            fail_msg("%s: %s", e.id, e.text);
        if (report.errors)
            fail_msg("%s", report.first);
        disk_free(d);
    }
    struct block *b = open_image(path);
    assert_non_null(b);
    assert_int_equal(rig_io(b, BLOCK_READ, 0, all, SECTORS * 512), 0);
    block_free(b);
    for (uint64_t s = 0; s < SECTORS; s++) {
        memcpy(&held[s], all + s * 512, 8);
        for (unsigned i = 0; i < 512; i += 8)
            assert_memory_equal(all + s * 512 + i, &held[s], 8);
    }
    memcpy(flushed, before, SECTORS * 8);
    for (uint64_t n = 1; n <= p->flushed; n++) {
        bool data = operation(n, &at, &count);
        for (uint64_t s = at; s < at + count && n > before[SECTORS]; s++)
            flushed[s] = data ? n : 0;
    }
    /* Each sector: as flushed, or one of the later operations on it. */
    for (uint64_t n = p->flushed + 1; n <= p->issued; n++) {
        bool data = operation(n, &at, &count);
        for (uint64_t s = at; s < at + count; s++)
            if (held[s] == (data ? n : 0))
                flushed[s] = held[s];
    }
    for (uint64_t s = 0; s < SECTORS; s++)
        if (held[s] != flushed[s])
            fail_msg("sector %lu holds %lu, wanted %lu; %lu flushed, %lu issued", (unsigned long)s,
                     (unsigned long)held[s], (unsigned long)flushed[s], (unsigned long)p->flushed,
                     (unsigned long)p->issued);
    memcpy(before, held, SECTORS * 8);
    (before)[SECTORS] = p->issued;
    free(held), free(flushed), free(all);
}

static void kill_often(const char *path, bool qcow2)
{
    struct progress *p =
        mmap(NULL, sizeof *p, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    uint64_t *before = calloc(SECTORS + 1, 8), seed = 42, flushed = 0;
    assert_true(p != MAP_FAILED);
    for (int i = 0; i < KILLS; i++) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0)
            write_until_killed(path, p);
        /* Not before it writes, or nothing is tested; then any moment. */
        uint64_t start = p->issued;
        for (int wait = 0; p->issued == start && wait < 10000; wait++)
            usleep(1000);
        usleep((useconds_t)(rig_random(&seed) % 20000));
        kill(child, SIGKILL);
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status));
        examine(path, qcow2, before, p);
        flushed += p->flushed;
        p->flushed = p->issued;
    }
    assert_true(flushed > KILLS);
    munmap(p, sizeof *p);
    free(before);
}

static void raw_survives(void **state)
{
    kill_often(rig_file("k.img", "", 0, SECTORS * 512), false);
}

static void qcow2_survives(void **state)
{
    for (unsigned bits = 12; bits <= 16; bits += 4) {
        struct err e = {0};
        struct qcow2_create c = {.bytes = SECTORS * 512, .cluster_bits = bits};
        const char *path = rig_path(bits == 12 ? "k12.qcow2" : "k16.qcow2");
        struct disk *file = disk_file_open(path, DISK_FILE_CREATE, &e);
        assert_non_null(file);
        assert_int_equal(qcow2_create(file, &c, &e), 0);
        disk_free(file);
        kill_often(path, true);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(raw_survives),
        cmocka_unit_test(qcow2_survives),
    };
    return cmocka_run_group_tests(tests, rig_enter, rig_leave);
}
