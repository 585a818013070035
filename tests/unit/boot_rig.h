/* SPDX-License-Identifier: MIT */
/* For tests of kernel loaders: an image that is poked by offset, so that the tests do not share the
 * loaders' idea of the layout, and a load of it. */
#ifndef RING3_TESTS_BOOT_RIG_H
#define RING3_TESTS_BOOT_RIG_H

#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "boot/boot.h"

#define IMAGE_ROOM 65536

struct fixture {
    struct phys *mem;
    char kernel[32], initrd[32]; /* paths of temporary files */
    uint8_t image[IMAGE_ROOM];
    size_t bytes;
    struct boot_request req;
    struct boot_plan plan;
    struct err e;
};

static void temp_file(char *path)
{
    strcpy(path, "/tmp/ring3-boot-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
}

static void write_file(const char *path, const void *p, size_t n)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(p, 1, n, f), n);
    fclose(f);
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    unlink(f->kernel);
    unlink(f->initrd);
    phys_free(f->mem);
    free(f);
    return 0;
}

static void poke(struct fixture *f, size_t at, unsigned size, uint64_t v)
{
    for (unsigned i = 0; i < size; i++)
        f->image[at + i] = (uint8_t)(v >> 8 * i);
}

static int load(struct fixture *f)
{
    write_file(f->kernel, f->image, f->bytes);
    memset(&f->plan, 0, sizeof f->plan);
    memset(&f->e, 0, sizeof f->e);
    return boot_load(&f->req, &f->plan, &f->e);
}

static uint32_t mem32(struct fixture *f, gpa_t gpa)
{
    uint32_t v = 0;
    assert_int_equal(phys_read(f->mem, gpa, &v, 4), 0);
    return v;
}

/* A fixed sequence, so that a failure repeats. */
static uint32_t next_random(uint64_t *seed)
{
    *seed = *seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (uint32_t)(*seed >> 33);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
