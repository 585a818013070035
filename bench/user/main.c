/* SPDX-License-Identifier: MIT */
/* The measured user programs, served one by one over standard input and output:
 *
 *     bench BUSYBOX           in a current directory on tmpfs
 *
 * prints `= ready 0 0 0 0`, then for each line `NAME COUNT` runs program NAME that many times and
 * answers
 *
 *     = NAME SECONDS NANOSECONDS CPU-MICROSECONDS SUM
 *
 * with its own monotonic clock, the processor time of itself and its children, and the checksum of
 * the result. The machine that asks takes its own times as well: it sends a line only when it is
 * ready, so nothing runs unseen. The end of the input ends the program. Leaves out floating-point
 * and 64-bit division, which would need a compiler library. */
#include "sys.h"

struct environment environment;

struct program {
    const char *name;
    program_fn *run; /* NULL: an application of apps.c */
};

static const struct program programs[] = {{"sieve", run_sieve},
                                          {"crc32", run_crc32},
                                          {"quicksort", run_quicksort},
                                          {"fib", run_fib},
                                          {"indirect", run_indirect},
                                          {"sha256", NULL},
                                          {"gzip", NULL},
                                          {"sort", NULL},
                                          {"awk", NULL},
                                          {"getppid", run_getppid},
                                          {"pagefault", run_pagefault},
                                          {"touch16m", run_touch16m},
                                          {"fork", run_fork},
                                          {"exec", run_exec},
                                          {"pipe", run_pipe},
                                          {"signal", run_signal},
                                          {"write64k", run_write64k},
                                          {"read64k", run_read64k},
                                          {"data", make_data},
                                          {"disk-sequential", run_disk_sequential},
                                          {"disk-random", run_disk_random},
                                          {"disk-small", run_disk_small},
                                          {"disk-write", run_disk_write},
                                          {"disk-random-write", run_disk_random_write},
                                          ARCH_PROGRAMS};

/* ---- the C library's part ------------------------------------------------------------------ */

static size_t length(const char *s)
{
    size_t n = 0;
    while (s[n])
        n++;
    return n;
}

static int same(const char *a, const char *b)
{
    while (*a && *a == *b)
        a++, b++;
    return *a == *b;
}

static _Noreturn void leave(int code)
{
    for (;;)
        sys1(SYS_EXIT, code);
}

_Noreturn void fail(const char *why)
{
    sys3(SYS_WRITE, 2, "bench: ", 7);
    sys3(SYS_WRITE, 2, why, length(why));
    sys3(SYS_WRITE, 2, "\n", 1);
    leave(1);
}

void *map_pages(size_t bytes)
{
    enum { READ_WRITE = 3, MAP_PRIVATE = 2, NO_HUGE_PAGES = 15 };
    long p = sys6(SYS_MMAP2, 0, ARG(bytes), READ_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p < 0 && p > -4096)
        fail("mmap");
    sys3(SYS_MADVISE, p, bytes, NO_HUGE_PAGES); /* refused by kernels without huge pages */
    return (void *)p;
}

void reap(long pid)
{
    int status = -1;
    if (pid < 0 || sys3(SYS_WAITPID, pid, &status, 0) != pid || status)
        fail("a child process failed");
}

/* ---- lines in and out ---------------------------------------------------------------------- */

/* One line without its end, or 0 at the end of the input. */
static size_t read_line(char *line, size_t room)
{
    size_t n = 0;
    char c;
    for (;;) {
        if (sys3(SYS_READ, 0, &c, 1) != 1)
            return 0;
        if (c == '\n' && n)
            break;
        if (c != '\n' && c != '\r' && n + 1 < room)
            line[n++] = c;
    }
    line[n] = 0;
    return n;
}

static char *put_text(char *to, const char *s)
{
    while (*s)
        *to++ = *s++;
    return to;
}

static char *put_number(char *to, uint32_t value)
{
    char digits[10];
    int n = 0;
    do
        digits[n++] = (char)('0' + value % 10);
    while (value /= 10);
    *to++ = ' ';
    while (n)
        *to++ = digits[--n];
    return to;
}

/* Split `NAME COUNT` in place. */
static uint32_t split(char *line)
{
    uint32_t count = 0;
    while (*line && *line != ' ')
        line++;
    if (*line)
        *line++ = 0;
    while (*line >= '0' && *line <= '9')
        count = count * 10 + (uint32_t)(*line++ - '0');
    return count;
}

/* ---- measuring ----------------------------------------------------------------------------- */

struct time {
    long s, ns;
};

static struct time now(void)
{
    enum { MONOTONIC = 1 };
    struct time t;
    if (sys2(SYS_CLOCK_GETTIME, MONOTONIC, &t))
        fail("clock_gettime");
    return t;
}

/* Microseconds of processor time so far, own and of the children waited for; may wrap. */
static uint32_t cpu_us(void)
{
    enum { SELF = 0, CHILDREN = -1 };
    long usage[18] = {0}; /* user s, us, system s, us, then what does not matter here */
    uint32_t sum = 0;
    for (int who = SELF; who >= CHILDREN; who--) {
        sys2(SYS_GETRUSAGE, who, usage);
        sum += (uint32_t)(usage[0] + usage[2]) * 1000000u + (uint32_t)(usage[1] + usage[3]);
    }
    return sum;
}

static void answer(const char *name, struct time took, uint32_t us, uint32_t sum)
{
    char line[128], *p = put_text(line, "= ");
    p = put_text(p, name);
    p = put_number(p, (uint32_t)took.s);
    p = put_number(p, (uint32_t)took.ns);
    p = put_number(p, us);
    p = put_number(p, sum);
    *p++ = '\n';
    if (sys3(SYS_WRITE, 1, line, p - line) != p - line)
        fail("cannot answer");
}

static void serve(char *line)
{
    uint32_t count = split(line);
    const struct program *p = programs, *end = programs + sizeof(programs) / sizeof(programs[0]);
    while (p < end && !same(p->name, line))
        p++;
    if (p == end || !count)
        fail("no such program, or no count");
    uint32_t us = cpu_us();
    struct time began = now();
    uint32_t sum = p->run ? p->run(count) : run_app(p->name, count);
    struct time took = now();
    took.s -= began.s;
    took.ns -= began.ns;
    if (took.ns < 0) {
        took.ns += 1000000000;
        took.s--;
    }
    answer(p->name, took, cpu_us() - us, sum);
}

/* ---- start --------------------------------------------------------------------------------- */

/* stack: argc, argv[], NULL, environment, and more */
void start_c(long *stack)
{
    char **argv = (char **)(stack + 1);
    if (stack[0] == 1) /* what program `exec` runs */
        leave(0);
    environment.self = argv[0];
    environment.busybox = argv[1];
    answer("ready", (struct time){0}, 0, 0);
    for (char line[64]; read_line(line, sizeof(line));)
        serve(line);
    leave(0);
}
