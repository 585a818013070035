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

    /* What binary translation builds on. */
    int window_errno;                  /* 0: an aligned reserve of 4 GiB can be had */
    int low_errno;                     /* 0: so can all below 4 GiB from mmap_min_addr up */
    uint64_t low_taken;                /* the lowest mapping in the way of that; 0: none seen */
    uint64_t address_space_limit;      /* RLIMIT_AS in bytes; UINT64_MAX: none */
    int overcommit;                    /* vm.overcommit_memory: 0, 1, 2 = strict; -1: unknown */
    uint64_t commit_left_bytes;        /* what strict accounting still grants; else not valid */
    uint64_t fault_ns;                 /* fault, handler, resume; 0: not measured */
    uint64_t map_page_ns, map_read_ns; /* map one scattered memfd page; read it first. 0: not */
};

void host_probe(struct host_facts *f);

#endif
