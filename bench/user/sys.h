/* SPDX-License-Identifier: MIT */
/* What the measured user programs share: Linux/i386 system calls without a C library, and the list
 * of programs. The same static binary runs on an x86-64 host (its 32-bit emulation) and in guests.
 * System calls take the kernel's own fast entry (AT_SYSINFO: sysenter or syscall), as C libraries
 * do; program `int80` alone measures the old gate, which some hosts have made very slow. Numbers:
 * arch/x86/entry/syscalls/syscall_32.tbl of Linux. */
#ifndef RING3_BENCH_SYS_H
#define RING3_BENCH_SYS_H
#include <stddef.h>
#include <stdint.h>

enum {
    SYS_EXIT = 1,
    SYS_FORK = 2,
    SYS_READ = 3,
    SYS_WRITE = 4,
    SYS_OPEN = 5,
    SYS_CLOSE = 6,
    SYS_WAITPID = 7,
    SYS_EXECVE = 11,
    SYS_GETPID = 20,
    SYS_KILL = 37,
    SYS_PIPE = 42,
    SYS_DUP2 = 63,
    SYS_GETPPID = 64,
    SYS_GETRUSAGE = 77,
    SYS_MUNMAP = 91,
    SYS_RT_SIGACTION = 174,
    SYS_PREAD64 = 180,
    SYS_PWRITE64 = 181,
    SYS_MMAP2 = 192,
    SYS_MADVISE = 219,
    SYS_CLOCK_GETTIME = 265,
};

enum { O_RDONLY = 0, O_WRONLY = 1, O_RDWR = 2, O_CREAT = 0100, O_TRUNC = 01000 };

#define ARG(x)                 ((long)(x))
#define sys0(n)                sys6(n, 0, 0, 0, 0, 0, 0)
#define sys1(n, a)             sys6(n, ARG(a), 0, 0, 0, 0, 0)
#define sys2(n, a, b)          sys6(n, ARG(a), ARG(b), 0, 0, 0, 0)
#define sys3(n, a, b, c)       sys6(n, ARG(a), ARG(b), ARG(c), 0, 0, 0)
#define sys5(n, a, b, c, d, e) sys6(n, ARG(a), ARG(b), ARG(c), ARG(d), ARG(e), 0)

/* How system calls enter the kernel; by `int $0x80` unless the kernel offers a faster way. */
extern void (*kernel_entry)(void);
void enter_by_int80(void);
/* System call n; -errno when it failed. */
long sys6(long n, long a, long b, long c, long d, long e, long f);

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
program_fn run_nbody_x87, run_nbody_sse2;
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
