/* SPDX-License-Identifier: MIT */
/* Linux/MIPS, ABI o32, for the measured programs: numbers of system calls and constants whose
 * values differ by architecture (arch/mips/kernel/syscalls/syscall_o32.tbl, numbers from 4000 on,
 * and arch/mips/include/uapi/asm of Linux). */
#ifndef RING3_BENCH_ARCH_H
#define RING3_BENCH_ARCH_H

enum {
    SYS_EXIT = 4001,
    SYS_FORK = 4002,
    SYS_READ = 4003,
    SYS_WRITE = 4004,
    SYS_OPEN = 4005,
    SYS_CLOSE = 4006,
    SYS_WAITPID = 4007,
    SYS_EXECVE = 4011,
    SYS_GETPID = 4020,
    SYS_KILL = 4037,
    SYS_DUP2 = 4063,
    SYS_GETPPID = 4064,
    SYS_GETRUSAGE = 4077,
    SYS_MUNMAP = 4091,
    SYS_RT_SIGACTION = 4194,
    SYS_PREAD64 = 4200,
    SYS_PWRITE64 = 4201,
    SYS_MMAP2 = 4210,
    SYS_MADVISE = 4218,
    SYS_CLOCK_GETTIME = 4263,
    SYS_PIPE2 = 4328,
};

enum { O_CREAT = 0x100, O_TRUNC = 0x200, O_DIRECT = 0x8000 };
enum { MAP_ANONYMOUS = 0x800 };
enum { SIGUSR1 = 16 };

#define ARCH_PROGRAMS {"nbody", run_nbody},
#endif
