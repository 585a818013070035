/* SPDX-License-Identifier: MIT */
/* `ring3 doctor`: what this host offers each engine, and the host facts behind it. */
#include "cli/cli.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "engine/engines.h"
#include "host/probe.h"

static void fact(const char *name, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void fact(const char *name, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    printf("  %-18s ", name);
    vprintf(fmt, ap);
    putchar('\n');
    va_end(ap);
}

static void print_facts(const struct host_facts *f)
{
    static const char *const modes[] = {"none", "strict", "filtered"};
    puts("host");
    fact("processor", "%s, %ld online", *f->cpu ? f->cpu : "unknown", f->cpus);
    fact("kernel", "%s", f->kernel);
    fact("time stamp counter", "%.3f GHz, %s", (double)f->tsc_hz / 1e9,
         f->tsc_invariant ? "invariant" : "NOT invariant: guest time may drift");
    fact("memfd", "%s", f->memfd_errno ? strerror(f->memfd_errno) : "yes");
    fact("max_map_count", "%ld mappings", f->max_map_count);
    fact("seccomp", "%s; this process: %s", f->seccomp_filter ? "filters available" : "no filters",
         f->seccomp_mode >= 0 && f->seccomp_mode <= 2 ? modes[f->seccomp_mode] : "unknown");
    fact("system call", "%" PRIu64 " ns", f->syscall_ns);
    fact("page first touched", "%" PRIu64 " ns", f->page_fault_ns);
}

/* What binary translation builds on, and what it means for speed. */
static void print_translation(const struct host_facts *f)
{
    char why[96];
    puts("translation");
    fact("bmi2", "%s",
         f->bmi2 ? "yes: page numbers in one instruction"
                 : "no: page numbers by way of an SSE register, so returns and each access of a "
                   "guest process before it has a window take some five cycles more");
    if (f->fsgsbase)
        fact("fsgsbase", "yes: views are switched without the kernel");
    else
        fact("fsgsbase",
             "no: each switch to another window is a system call, %" PRIu64
             " ns here; two for most system calls of the guest",
             f->syscall_ns);
    if (f->window_errno)
        fact("4 GiB windows", "no (%s): every access of the guest looks its page up",
             strerror(f->window_errno));
    else
        fact("4 GiB windows", "yes: guest memory is accessed without a look-up");
    if (f->address_space_limit == UINT64_MAX)
        fact("address space", "unlimited: as many windows as the guest has use for");
    else
        fact("address space",
             "%" PRIu64
             " MiB (ulimit -v): the translator takes 19000 to begin with, each window 4096 and "
             "twice that at first; without windows every access looks its page up",
             f->address_space_limit >> 20);
    if (f->overcommit == 2)
        fact("overcommit",
             "strict: windows are free, but guest RAM beyond %" PRIu64
             " MiB ends in a bus error (vm.overcommit_memory=2)",
             f->commit_left_bytes >> 20);
    else
        fact("overcommit", "%s: windows and untouched guest RAM take no memory",
             f->overcommit < 0 ? "unknown" : "allowed");
    snprintf(why, sizeof why, "%s", strerror(f->low_errno));
    if (f->low_taken)
        snprintf(why, sizeof why, "mapped from %#" PRIx64 " on", f->low_taken);
    if (f->low_errno)
        fact("low 4 GiB", "partly in use (%s): faults there hide their address, so they cost more",
             why);
    else
        fact("low 4 GiB", "free: faults on absent pages of a flat view tell their address");
    fact("host fault", "%" PRIu64 " ns: what the first access to a page or to a device adds",
         f->fault_ns);
    fact("page mapped",
         "%" PRIu64 " ns, then first read %" PRIu64 " ns: what a page in a window adds",
         f->map_page_ns, f->map_read_ns);
}

int cmd_doctor(int argc, char **argv)
{
    if (argc > 1) {
        struct err e;
        err_set(&e, EINVAL, "too-many-arguments", "`ring3 doctor` takes no arguments, found \"%s\"",
                argv[1]);
        return cli_error(&e);
    }
    unsigned usable = 0;
    puts("engines");
    for (unsigned i = 0; engines[i]; i++) {
        struct err e = {0};
        bool ok = engines[i]->probe(&e) == 0;
        usable += ok;
        printf("  %-8s %-3s  %s\n", engines[i]->name, ok ? "yes" : "no",
               ok ? engines[i]->summary : e.text);
    }
    struct host_facts f;
    host_probe(&f);
    print_facts(&f);
    print_translation(&f);
    if (f.memfd_errno)
        usable = 0; /* guest RAM is a memfd */
    puts(usable ? "ring3 can run guests here." : "ring3 cannot run guests here.");
    int r = cli_flush_stdout();
    return r ? r : usable ? 0 : VM_EXIT_HOST;
}
