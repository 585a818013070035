/* SPDX-License-Identifier: MIT */
/* A file that is to be loaded into guest memory: bounded reads, errors that name it. */
#ifndef RING3_BOOT_IMAGE_H
#define RING3_BOOT_IMAGE_H

#include "ring3/err.h"
#include "ring3/mem.h"

struct image {
    int fd;
    uint64_t bytes;
    const char *path, *role; /* role: "kernel" or "initrd", the first half of error ids */
};

/* Regular files only (a pipe has no size). An empty file is an error. */
int image_open(struct image *img, const char *path, const char *role, struct err *e);
void image_close(struct image *img);

/* Read exactly n bytes at offset; anything less is ROLE-truncated. */
int image_read(const struct image *img, uint64_t offset, void *buf, uint64_t n, struct err *e);
/* Copy n bytes of the file to guest memory. */
int image_load(const struct image *img, uint64_t offset, uint64_t n, struct phys *mem, gpa_t gpa,
               struct err *e);

/* err_set with id "ROLE-what" and text "PATH: ..." */
int image_err(const struct image *img, int errnum, const char *what, struct err *e, const char *fmt,
              ...) __attribute__((format(printf, 5, 6)));

#endif
