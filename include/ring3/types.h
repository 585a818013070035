/* SPDX-License-Identifier: MIT */
/* Scalar types every layer shares. Addresses are plain integers; page numbers are one-field
 * structs, so that passing a virtual page where a physical one is meant does not compile. */
#ifndef RING3_TYPES_H
#define RING3_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint64_t gpa_t; /* guest-physical address, bytes */
typedef uint64_t gva_t; /* guest-virtual (on x86: linear) address, bytes */

typedef struct {
    uint64_t n;
} gpfn_t; /* guest-physical page number */

typedef struct {
    uint64_t n;
} gvpn_t; /* guest-virtual page number */

#define PAGE_SHIFT 12
#define PAGE_BYTES ((uint64_t)1 << PAGE_SHIFT)
#define PAGE_MASK  (~(PAGE_BYTES - 1))

static inline gpfn_t gpa_page(gpa_t a)
{
    return (gpfn_t){a >> PAGE_SHIFT};
}
static inline gvpn_t gva_page(gva_t a)
{
    return (gvpn_t){a >> PAGE_SHIFT};
}

#define NS_PER_SEC UINT64_C(1000000000)
#define KIB        UINT64_C(1024)
#define MIB        (1024 * KIB)
#define GIB        (1024 * MIB)

#define ARRAY_LEN(a)                  (sizeof(a) / sizeof((a)[0]))
#define container_of(p, type, member) ((type *)(void *)((char *)(p)-offsetof(type, member)))
#define likely(x)                     __builtin_expect(!!(x), 1)
#define unlikely(x)                   __builtin_expect(!!(x), 0)

#endif
