/* SPDX-License-Identifier: MIT */
/* How fast disks are below the devices: block_submit() on images in the page cache.
 *
 *   ninja -C build/release bench_block && build/release/bench_block [SECONDS]
 *
 * Each line is one kind of request on one kind of image, at a queue depth: requests under way at a
 * time, submitted again from where they end. "inline": reads may be served inside submit; "pool":
 * all of them go to the threads. */
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "backend/qcow2.h"

#define BYTES (512 * MIB)

struct run {
    struct block *b;
    enum block_op op;
    uint64_t len, seed, position;
    bool random;
    sem_t some;
};
struct slot {
    struct block_request r;
    struct iovec v;
    struct run *run;
    struct slot *next;
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double cpu(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static uint64_t next_offset(struct run *r)
{
    uint64_t slots = BYTES / r->len;
    if (!r->random)
        return r->position++ % slots * r->len;
    r->seed ^= r->seed << 13, r->seed ^= r->seed >> 7, r->seed ^= r->seed << 17;
    return (r->seed >> 20) % slots * r->len;
}

static void done(struct block_request *q)
{
    struct slot *s = q->opaque;
    q->opaque = NULL;
    sem_post(&s->run->some);
}

static void measure(struct block *b, const char *image, const char *how, const char *name,
                    enum block_op op, uint64_t len, bool random, unsigned depth, double seconds)
{
    struct run r = {.b = b, .op = op, .len = len, .random = random, .seed = 88172645463325252};
    struct slot slot[32] = {0};
    uint64_t requests = 0;
    sem_init(&r.some, 0, 0);
    for (unsigned i = 0; i < depth; i++)
        slot[i].v = (struct iovec){calloc(1, len), len};
    double start = now(), cpu_start = cpu(), end = start + seconds;
    while (now() < end) {
        for (unsigned i = 0; i < depth; i++) {
            struct slot *s = &slot[i];
            s->run = &r;
            s->r = (struct block_request){.op = op,
                                          .offset = next_offset(&r),
                                          .len = len,
                                          .iov = &s->v,
                                          .iov_count = 1,
                                          .done = done,
                                          .opaque = s};
            if (block_submit(b, &s->r))
                sem_post(&r.some);
        }
        for (unsigned i = 0; i < depth; i++, requests++)
            while (sem_wait(&r.some) < 0)
                ;
    }
    double wall = now() - start, used = cpu() - cpu_start;
    printf("%-8s %-6s %-18s %2u  %8.2f GB/s %10.0f /s  %6.2f us of processor each\n", image, how,
           name, depth, (double)(requests * len) / wall / 1e9, (double)requests / wall,
           used / (double)requests * 1e6);
    fflush(stdout);
    for (unsigned i = 0; i < depth; i++)
        free(slot[i].v.iov_base);
    sem_destroy(&r.some);
}

static struct block *open_image(const char *path, bool snapshot, bool inline_reads)
{
    struct block_config c = {.file = path, .snapshot = snapshot};
    struct err e;
    struct disk *d = disk_open(&c, 0, &e);
    static struct disk_ops ops[4];
    static unsigned count;
    if (d && !inline_reads) {
        struct disk_ops *o = &ops[count++];
        *o = *d->ops;
        o->read_now = NULL;
        d->ops = o;
    }
    struct block *b = d ? block_from_disk(d, &c, &e) : NULL;
    if (!b) {
        fprintf(stderr, "%s\n", e.text);
        exit(1);
    }
    return b;
}

static void measure_image(const char *path, const char *image, bool snapshot, bool inline_reads,
                          double seconds)
{
    struct block *b = open_image(path, snapshot, inline_reads);
    const char *how = inline_reads ? "inline" : "pool";
    measure(b, image, how, "read 1 MiB", BLOCK_READ, MIB, false, 1, seconds);
    measure(b, image, how, "read 128 KiB", BLOCK_READ, 128 * KIB, false, 4, seconds);
    measure(b, image, how, "random read 4 KiB", BLOCK_READ, 4096, true, 1, seconds);
    measure(b, image, how, "random read 4 KiB", BLOCK_READ, 4096, true, 32, seconds);
    if (inline_reads) {
        measure(b, image, how, "write 1 MiB", BLOCK_WRITE, MIB, false, 4, seconds);
        measure(b, image, how, "random write 4 KiB", BLOCK_WRITE, 4096, true, 32, seconds);
    }
    block_free(b);
}

static void fill(struct disk *d)
{
    uint8_t *buf = malloc(MIB);
    memset(buf, 7, MIB);
    for (uint64_t at = 0; at < BYTES; at += MIB) {
        struct iovec v;
        d->ops->write(d, at, MIB, span_of(&v, buf, MIB));
    }
    disk_free(d);
    free(buf);
}

int main(int argc, char **argv)
{
    double seconds = argc > 1 ? atof(argv[1]) : 1;
    char dir[] = "/var/tmp/ring3-bench-XXXXXX", raw[64], qcow2[64];
    struct err e;
    if (!mkdtemp(dir))
        return 1;
    snprintf(raw, sizeof raw, "%s/disk.img", dir);
    snprintf(qcow2, sizeof qcow2, "%s/disk.qcow2", dir);
    struct qcow2_open o = {0};
    struct qcow2_create c = {.bytes = BYTES};
    struct disk *d = disk_file_open(raw, DISK_FILE_CREATE, &e);
    if (d) {
        d->ops->resize(d, BYTES);
        fill(d);
    }
    d = disk_file_open(qcow2, DISK_FILE_CREATE, &e);
    if (d && qcow2_create(d, &c, &e) == 0)
        fill(qcow2_open(d, &o, &e));
    for (int inline_reads = 1; inline_reads >= 0; inline_reads--) {
        measure_image(raw, "raw", false, inline_reads, seconds);
        measure_image(qcow2, "qcow2", false, inline_reads, seconds);
    }
    measure_image(raw, "overlay", true, true, seconds);
    unlink(raw);
    unlink(qcow2);
    rmdir(dir);
    return 0;
}
