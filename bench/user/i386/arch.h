/* SPDX-License-Identifier: MIT */
/* Linux/i386 for the measured programs: numbers of system calls and constants whose values differ
 * by architecture (arch/x86/entry/syscalls/syscall_32.tbl, asm-generic/{fcntl,mman-common}.h of
 * Linux), and what only this processor has. */
#ifndef RING3_BENCH_ARCH_H
#define RING3_BENCH_ARCH_H

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
    SYS_PIPE2 = 331,
};

enum { O_CREAT = 0100, O_TRUNC = 01000, O_DIRECT = 040000 };
enum { MAP_ANONYMOUS = 0x20 };
enum { SIGUSR1 = 10 };

/* One source (nbody.c) is compiled twice. */
#define ARCH_PROGRAMS                                                                              \
    {"nbody-x87", run_nbody_x87}, {"nbody-sse2", run_nbody_sse2}, {"int80", run_int80},
#endif
