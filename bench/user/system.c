/* SPDX-License-Identifier: MIT */
/* Programs that keep the kernel busy: system calls, page faults, processes, pipes, signals, and
 * copies between kernel and user memory. Each checks what the kernel answers. */
#include "sys.h"

enum { PAGE = 4096, BLOCK = 64 << 10 };

/* ---- system calls --------------------------------------------------------------------------- */

uint32_t run_getppid(uint32_t count)
{
    long first = sys0(SYS_GETPPID), last = first;
    while (count--)
        last = sys0(SYS_GETPPID);
    return last == first;
}

/* ---- memory --------------------------------------------------------------------------------- */

/* Map `bytes`, write to each page, unmap. */
static uint32_t touch(size_t bytes, uint32_t count)
{
    uint32_t sum = 0;
    while (count--) {
        volatile uint8_t *p = map_pages(bytes);
        sum = 0;
        for (size_t i = 0; i < bytes; i += PAGE)
            sum += ++p[i];
        if (sys2(SYS_MUNMAP, p, bytes))
            fail("munmap");
    }
    return sum;
}

uint32_t run_pagefault(uint32_t count)
{
    return touch(PAGE, count);
}
uint32_t run_touch16m(uint32_t count)
{
    return touch(16 << 20, count);
}

/* ---- processes ------------------------------------------------------------------------------ */

uint32_t run_fork(uint32_t count)
{
    while (count--) {
        long pid = sys0(SYS_FORK);
        if (!pid)
            sys1(SYS_EXIT, 0);
        reap(pid);
    }
    return 1;
}

uint32_t run_exec(uint32_t count)
{
    const char *arguments[] = {environment.self, NULL}, *none[] = {NULL};
    while (count--) {
        long pid = sys0(SYS_FORK);
        if (!pid) {
            sys3(SYS_EXECVE, environment.self, arguments, none);
            sys1(SYS_EXIT, 1);
        }
        reap(pid);
    }
    return 1;
}

/* A byte to the child and back, `count` times: two context switches each. */
uint32_t run_pipe(uint32_t count)
{
    int to[2], from[2];
    uint8_t byte = 0, sent = 0;
    if (sys2(SYS_PIPE2, to, 0) || sys2(SYS_PIPE2, from, 0))
        fail("pipe");
    long pid = sys0(SYS_FORK);
    if (!pid) {
        sys1(SYS_CLOSE, to[1]);
        while (sys3(SYS_READ, to[0], &byte, 1) == 1) {
            byte = (uint8_t)~byte;
            sys3(SYS_WRITE, from[1], &byte, 1);
        }
        sys1(SYS_EXIT, 0);
    }
    while (count--) {
        byte = ++sent;
        if (sys3(SYS_WRITE, to[1], &byte, 1) != 1 || sys3(SYS_READ, from[0], &byte, 1) != 1 ||
            (byte ^ sent) != 0xff)
            fail("pipe answered wrongly");
    }
    for (int i = 0; i < 2; i++) {
        sys1(SYS_CLOSE, to[i]);
        sys1(SYS_CLOSE, from[i]);
    }
    reap(pid);
    return 1;
}

/* ---- signals -------------------------------------------------------------------------------- */

static volatile uint32_t signals;

static void on_signal(int number)
{
    (void)number;
    signals++;
}

uint32_t run_signal(uint32_t count)
{
    long self = sys0(SYS_GETPID);
    uint32_t wanted = signals + count;
    if (sys_sigaction(SIGUSR1, on_signal))
        fail("sigaction");
    while (count--)
        sys2(SYS_KILL, self, SIGUSR1);
    return signals == wanted;
}

/* ---- files on tmpfs ------------------------------------------------------------------------- */

static uint8_t block[BLOCK];

static int open_file(void)
{
    long fd = sys3(SYS_OPEN, "file", O_RDWR | O_CREAT, 0600);
    if (fd < 0)
        fail("cannot make a file in the current directory");
    for (int i = 0; i < BLOCK; i++)
        block[i] = (uint8_t)i;
    if (sys_at(SYS_PWRITE64, fd, block, BLOCK, 0) != BLOCK)
        fail("write");
    return (int)fd;
}

static uint32_t transfer(long call, uint32_t count)
{
    int fd = open_file();
    while (count--)
        if (sys_at(call, fd, block, BLOCK, 0) != BLOCK)
            fail("read or write");
    sys1(SYS_CLOSE, fd);
    return crc32(0, block, BLOCK);
}

uint32_t run_write64k(uint32_t count)
{
    return transfer(SYS_PWRITE64, count);
}
uint32_t run_read64k(uint32_t count)
{
    return transfer(SYS_PREAD64, count);
}
