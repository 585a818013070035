/* SPDX-License-Identifier: MIT */
/* What the measured user programs share: 32-bit Linux system calls without a C library, and the
 * list of programs. What differs by architecture is in a folder each, arch.h and arch.c: i386,
 * whose static binary runs on an x86-64 host (its 32-bit emulation) as well as in guests, and mips.
 */
#ifndef RING3_BENCH_SYS_H
#define RING3_BENCH_SYS_H
#include <stddef.h>
#include <stdint.h>

#include "arch.h"

enum { O_RDONLY = 0, O_WRONLY = 1, O_RDWR = 2 };

#define ARG(x)                 ((long)(x))
#define sys0(n)                sys6(n, 0, 0, 0, 0, 0, 0)
#define sys1(n, a)             sys6(n, ARG(a), 0, 0, 0, 0, 0)
#define sys2(n, a, b)          sys6(n, ARG(a), ARG(b), 0, 0, 0, 0)
#define sys3(n, a, b, c)       sys6(n, ARG(a), ARG(b), ARG(c), 0, 0, 0)
#define sys5(n, a, b, c, d, e) sys6(n, ARG(a), ARG(b), ARG(c), ARG(d), ARG(e), 0)

/* System call n; -errno when it failed. */
long sys6(long n, long a, long b, long c, long d, long e, long f);
/* SYS_PREAD64 or SYS_PWRITE64 of `bytes` at `at`. */
long sys_at(long n, long fd, void *buffer, size_t bytes, uint32_t at);
/* SYS_RT_SIGACTION: `handler` is to be called for this signal. */
long sys_sigaction(int number, void (*handler)(int));
/* The program; arch.c calls it with the stack as the kernel made it. Does not return. */
_Noreturn void start_c(long *stack);

/* One private anonymous mapping, zero, without huge pages. Never NULL: exits when there is none. */
void *map_pages(size_t bytes);
/* Say why on standard error and exit with 1. */
_Noreturn void fail(const char *why);
/* Wait for a child; anything but exit code 0 is a failure. */
void reap(long pid);

/* Next number of a fixed pseudo-random sequence. */
static inline uint32_t next_random(uint32_t *state)
{
    return *state = *state * 1664525u + 1013904223u;
}

/* CRC-32 of ISO 3309 over `bytes`; start with crc 0. */
uint32_t crc32(uint32_t crc, const uint8_t *p, size_t bytes);

/* A measured program does the same work `count` times and returns a sum over the result of one
 * time, the same for every count, so that machines of different speed can be compared. */
typedef uint32_t program_fn(uint32_t count);
program_fn run_sieve, run_crc32, run_quicksort, run_fib, run_indirect;
program_fn run_nbody, run_nbody_x87, run_nbody_sse2;
program_fn run_getppid, run_int80, run_pagefault, run_touch16m, run_fork, run_exec, run_pipe;
program_fn run_signal, run_write64k, run_read64k;
program_fn run_disk_sequential, run_disk_random, run_disk_small, run_disk_write;
program_fn run_disk_random_write;

/* busybox on the data file: file `name` of argument table apps.c; returns the CRC of its output. */
uint32_t run_app(const char *name, uint32_t count);
/* Write file `data`, about `lines` * 48 bytes, in the current directory. Returns its CRC. */
uint32_t make_data(uint32_t lines);

/* Set once at start. */
struct environment {
    const char *self;    /* path of this program */
    const char *busybox; /* path of busybox */
};
extern struct environment environment;
#endif
