/* SPDX-License-Identifier: MIT */
/* Facts about the host for `ring3 doctor`: CPUID leaves (Intel SDM vol. 2A CPUID), the auxiliary
 * vector, /proc, and two small measurements. Left out: what only one engine cares about; that is
 * in the engine's probe(). */
#include "host/probe.h"

#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#define HWCAP2_FSGSBASE_BIT 2u
#define PROBE_PAGES         256
#define PROBE_SYSCALLS      1000
#define TSC_PROBE_NS        (10 * 1000 * 1000)

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void probe_cpu(struct host_facts *f)
{
    unsigned a, b, c, d;
    if (__get_cpuid(0x80000004, &a, &b, &c, &d))
        for (unsigned i = 0; i < 3; i++) {
            unsigned r[4];
            __get_cpuid(0x80000002 + i, &r[0], &r[1], &r[2], &r[3]);
            memcpy(f->cpu + 16 * i, r, 16);
        }
    const char *start = f->cpu + strspn(f->cpu, " ");
    memmove(f->cpu, start, strlen(start) + 1);
    f->bmi2 = __get_cpuid_count(7, 0, &a, &b, &c, &d) && b >> 8 & 1;
    f->tsc_invariant = __get_cpuid(0x80000007, &a, &b, &c, &d) && d >> 8 & 1;
    f->fsgsbase = getauxval(AT_HWCAP2) & HWCAP2_FSGSBASE_BIT;
    f->cpus = sysconf(_SC_NPROCESSORS_ONLN);
}

static void probe_tsc(struct host_facts *f)
{
    uint64_t ns = now_ns(), tsc = __rdtsc();
    struct timespec pause = {0, TSC_PROBE_NS};
    nanosleep(&pause, NULL);
    uint64_t ticks = __rdtsc() - tsc, took = now_ns() - ns;
    f->tsc_hz = took ? (uint64_t)((unsigned __int128)ticks * 1000000000u / took) : 0;
}

/* The first line of `path` that starts with `prefix`, what follows it as a number. */
static long number_in(const char *path, const char *prefix)
{
    FILE *file = fopen(path, "re");
    char line[256];
    long n = -1;
    while (file && n < 0 && fgets(line, sizeof line, file))
        if (strncmp(line, prefix, strlen(prefix)) == 0)
            n = strtol(line + strlen(prefix), NULL, 10);
    if (file)
        fclose(file);
    return n;
}

static void probe_memory(struct host_facts *f)
{
    size_t len = PROBE_PAGES * 4096;
    int fd = memfd_create("ring3-probe", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, (off_t)len) < 0) {
        f->memfd_errno = errno;
    } else {
        volatile char *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (p != MAP_FAILED) {
            uint64_t start = now_ns();
            for (size_t i = 0; i < len; i += 4096)
                p[i] = 1;
            f->page_fault_ns = (now_ns() - start) / PROBE_PAGES;
            munmap((void *)p, len);
        }
    }
    if (fd >= 0)
        close(fd);
}

void host_probe(struct host_facts *f)
{
    memset(f, 0, sizeof *f);
    struct utsname u;
    if (uname(&u) == 0)
        snprintf(f->kernel, sizeof f->kernel, "%.10s %.60s", u.sysname, u.release);
    probe_cpu(f);
    probe_tsc(f);
    probe_memory(f);
    uint64_t start = now_ns();
    for (int i = 0; i < PROBE_SYSCALLS; i++)
        syscall(SYS_getppid);
    f->syscall_ns = (now_ns() - start) / PROBE_SYSCALLS;
    f->max_map_count = number_in("/proc/sys/vm/max_map_count", "");
    f->seccomp_mode = (int)number_in("/proc/self/status", "Seccomp:");
    f->seccomp_filter = access("/proc/sys/kernel/seccomp/actions_avail", R_OK) == 0;
}
