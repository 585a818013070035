/* SPDX-License-Identifier: MIT */
/* Facts about the host for `ring3 doctor`: CPUID leaves (Intel SDM vol. 2A CPUID), the auxiliary
 * vector, /proc, trial reservations and small measurements. Left out: whether an engine can do with
 * what is here; that is for the engine's probe() to say. */
#include "host/probe.h"

#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#include "host/fault.h"

#define HWCAP2_FSGSBASE_BIT 2u
#define PROBE_PAGES         256
#define PROBE_SYSCALLS      1000
#define PROBE_FAULTS        500
#define TSC_PROBE_NS        (10 * 1000 * 1000)
#define WINDOW_BYTES        (UINT64_C(1) << 32)
#define NON_CANONICAL       UINT64_C(0x8000000000000000)

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

/* The lowest mapping of this process if it lies below `limit`, else 0. */
static uint64_t lowest_mapping(uint64_t limit)
{
    FILE *file = fopen("/proc/self/maps", "re");
    char line[256];
    uint64_t at = file && fgets(line, sizeof line, file) ? strtoull(line, NULL, 16) : 0;
    if (file)
        fclose(file);
    return at < limit ? at : 0;
}

static void *reserve(uint64_t at, uint64_t bytes, int flags)
{
    return mmap((void *)(uintptr_t)at, bytes, PROT_NONE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | flags, -1, 0);
}

static void probe_reserves(struct host_facts *f)
{
    struct rlimit limit;
    bool limited = getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY;
    f->address_space_limit = limited ? limit.rlim_cur : UINT64_MAX;
    f->overcommit = (int)number_in("/proc/sys/vm/overcommit_memory", "");
    long granted = number_in("/proc/meminfo", "CommitLimit:");
    long used = number_in("/proc/meminfo", "Committed_AS:");
    f->commit_left_bytes = granted > used ? (uint64_t)(granted - used) * 1024 : 0;

    /* Twice the size has an aligned 4 GiB inside, wherever it lands. */
    void *p = reserve(0, 2 * WINDOW_BYTES, 0);
    if (p == MAP_FAILED)
        f->window_errno = errno;
    else
        munmap(p, 2 * WINDOW_BYTES);

    long min = number_in("/proc/sys/vm/mmap_min_addr", "");
    uint64_t from = min > 0 ? ((uint64_t)min + 4095) & ~UINT64_C(4095) : 4096;
    p = reserve(from, WINDOW_BYTES - from, MAP_FIXED_NOREPLACE);
    if (p == MAP_FAILED)
        f->low_errno = errno;
    else
        munmap(p, WINDOW_BYTES - from);
    if (p != MAP_FAILED && (uintptr_t)p != from)
        f->low_errno = EEXIST; /* a kernel before 4.17 takes the address as a hint */
    f->low_taken = f->low_errno ? lowest_mapping(WINDOW_BYTES) : 0;
}

/* `opaque` points to where to go on. Async-signal-safe. */
static bool skip(void *opaque, const struct host_fault *h)
{
    if (h->sig != SIGSEGV)
        return false;
    h->uc->uc_mcontext.gregs[REG_RIP] = *(greg_t *)opaque;
    return true;
}

static void probe_fault(struct host_facts *f)
{
    greg_t next = 0;
    if (host_fault_enter(skip, &next, NULL) < 0)
        return;
    uint64_t start = now_ns();
    for (int i = 0; i < PROBE_FAULTS; i++)
        __asm__ volatile("lea 1f(%%rip), %%rax\n mov %%rax, %0\n movb (%1), %%al\n1:"
                         : "=m"(next)
                         : "r"(NON_CANONICAL)
                         : "rax", "memory");
    f->fault_ns = (now_ns() - start) / PROBE_FAULTS;
    host_fault_leave();
}

/* Pages that are neighbours in the view are not in the file, so each is a mapping of its own, as
 * in a window. */
static void probe_map(struct host_facts *f)
{
    size_t len = PROBE_PAGES * 4096;
    int fd = memfd_create("ring3-probe", MFD_CLOEXEC);
    void *view = reserve(0, len, 0);
    if (fd >= 0 && view != MAP_FAILED && fallocate(fd, 0, 0, (off_t)len) == 0) {
        bool ok = true;
        uint64_t start = now_ns();
        for (size_t i = 0; i < len && ok; i += 4096)
            ok = mmap((char *)view + i, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd,
                      (off_t)(len - 4096 - i)) != MAP_FAILED;
        uint64_t mapped = now_ns();
        for (size_t i = 0; i < len && ok; i += 4096)
            *((volatile char *)view + i);
        f->map_page_ns = ok ? (mapped - start) / PROBE_PAGES : 0;
        f->map_read_ns = ok ? (now_ns() - mapped) / PROBE_PAGES : 0;
    }
    if (view != MAP_FAILED)
        munmap(view, len);
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
    probe_reserves(f);
    probe_fault(f);
    probe_map(f);
    uint64_t start = now_ns();
    for (int i = 0; i < PROBE_SYSCALLS; i++)
        syscall(SYS_getppid);
    f->syscall_ns = (now_ns() - start) / PROBE_SYSCALLS;
    f->max_map_count = number_in("/proc/sys/vm/max_map_count", "");
    f->seccomp_mode = (int)number_in("/proc/self/status", "Seccomp:");
    f->seccomp_filter = access("/proc/sys/kernel/seccomp/actions_avail", R_OK) == 0;
}
