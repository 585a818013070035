/* SPDX-License-Identifier: MIT */
/* What this host offers. Measured when asked; takes some 20 ms. */
#ifndef RING3_HOST_PROBE_H
#define RING3_HOST_PROBE_H

#include <stdbool.h>
#include <stdint.h>

struct host_facts {
    char cpu[49];    /* brand string of the processor */
    char kernel[80]; /* "Linux 6.1.0" */
    long cpus;       /* online */
    bool fsgsbase;   /* usable in user mode: the kernel says so */
    bool bmi2;
    bool tsc_invariant;     /* constant rate in all states */
    uint64_t tsc_hz;        /* measured; 0 if it stands still */
    long max_map_count;     /* -1: unknown */
    int memfd_errno;        /* 0: memfd_create works */
    bool seccomp_filter;    /* the kernel can filter system calls */
    int seccomp_mode;       /* of this process: 0 none, 1 strict, 2 filter; -1 unknown */
    uint64_t syscall_ns;    /* the cheapest system call */
    uint64_t page_fault_ns; /* first touch of a memfd page; 0: not measured */
};

void host_probe(struct host_facts *f);

#endif
