/* SPDX-License-Identifier: MIT */
/* lock_random's machines: one x86 processor each, with its own memory and devices, that runs the
 * programs of lock_program.h under one engine.
 *
 * Linear addresses are those of oracle.h plus a supervisor area; what is mapped where, and how, is
 * one of several address spaces. Physical memory (LOCK_COMPARED bytes from 0 on are all that
 * programs can change, besides their page tables):
 *
 *   0000 supervisor area: GDT, TSS, IDT, a handler per vector, stack
 *   4000 the pages that programs see, none next to its neighbour
 *   10000 page tables */
#ifndef RING3_TESTS_DIFF_LOCK_MACHINE_H
#define RING3_TESTS_DIFF_LOCK_MACHINE_H

#include "isa/x86/x86.h"
#include "lock.h"
#include "oracle.h"

/* Linear addresses of the supervisor area, physical ones plus LOCK_K. */
#define LOCK_K          0x7a5c0000u
#define LOCK_K_BYTES    0x4000u
#define LOCK_K_GDT      LOCK_K
#define LOCK_K_TSS      (LOCK_K + 0x400)
#define LOCK_K_IDT      (LOCK_K + 0x800)
#define LOCK_K_HANDLERS (LOCK_K + 0x1000) /* 4 bytes each: hlt; for interrupts iret */
#define LOCK_K_STACK    (LOCK_K + LOCK_K_BYTES)
#define LOCK_COMPARED   0xc000u
#define LOCK_INTERRUPT  0x20 /* the vector of the only interrupt */

/* Selectors; data and code at CPL 3 have RPL 3. */
enum {
    LOCK_SEL_CODE0 = 0x08,
    LOCK_SEL_DATA0 = 0x10,
    LOCK_SEL_TSS = 0x18,
    LOCK_SEL_CODE3 = 0x23,
    LOCK_SEL_DATA3 = 0x2b,
    LOCK_SEL_FS = 0x33,    /* base OR_DATA */
    LOCK_SEL_GS = 0x3b,    /* base OR_DATA - 0xc000 */
    LOCK_SEL_SMALL = 0x43, /* 4 KiB, base OR_DATA */
    LOCK_GDT_BYTES = 0x48,
};

/* The address spaces, each in a form for CPL 0 and one for CPL 3. */
unsigned lock_spaces(void);
const char *lock_space_name(unsigned space);

struct lock_program {
    struct or_case c; /* registers, patches; its code is in code[] below */
    uint8_t cpl;      /* 0 or 3 */
    uint8_t space;
    bool interrupt;     /* one is pending from the start */
    bool flush;         /* TLB and views start empty */
    bool retable;       /* page tables as at first: accessed and dirty bits clear */
    uint32_t cr0, cr4;  /* without PG and PAE */
    uint32_t at;        /* linear address of code[0] */
    uint32_t len, stop; /* offset of the int3 that ends it */
    uint8_t code[512];
};
/* Contains one of the oracle's or_several_accesses(). */
bool lock_several_accesses(const struct lock_program *p);

struct lock_io { /* what its devices have seen */
    uint64_t count, digest;
};

struct lock_engine {
    const char *name;
    const struct engine_ops *ops;
    struct dbt_options dbt;
};

struct lock_machine {
    const struct lock_engine *engine;
    struct phys *mem;
    struct bus *mmio, *pio;
    struct clock *clock;
    struct log log;
    struct vcpu *vcpu;
    struct x86_vcpu *v;
    uint8_t *base; /* LOCK_COMPARED bytes: memory at the start of a program without patches */
    struct x86_seg seg[2][X86_SREGS]; /* at the start, CPL 0 and CPL 3 */
    struct {
        uint32_t root, tables, bytes;
        uint8_t *contents; /* at first */
    } * space;             /* 2 * lock_spaces() */
    struct lock_io io;
    bool interrupt;
    unsigned fault_base;     /* v->fault_next at the start */
    struct lock_place start; /* lock_place() there */
};

int lock_machine_new(const struct lock_engine *engine, const struct or_image *image,
                     const uint8_t ro[OR_RO_BYTES], struct lock_machine **out, struct err *e);
void lock_machine_free(struct lock_machine *m);
/* Registers and memory for the program's start. */
void lock_machine_load(struct lock_machine *m, const struct lock_program *p);
/* Run the engine once. */
void lock_machine_run(struct lock_machine *m, struct vm_exit *x);
/* All that programs can change, and the page tables of the program's space. Accessed bits that an
 * engine set early are accepted; *marked is then set, and new tables are due. */
bool lock_machine_same_memory(const struct lock_machine *a, const struct lock_machine *b,
                              const struct lock_program *p, bool *marked, FILE *out);

#endif
