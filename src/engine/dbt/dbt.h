/* SPDX-License-Identifier: MIT */
/* The translating engine's state. Only files in this folder, and their tests, include it. All of
 * it belongs to the vCPU thread, except where a field says otherwise. */
#ifndef RING3_ENGINE_DBT_DBT_H
#define RING3_ENGINE_DBT_DBT_H

#include <pthread.h>
#include <stdatomic.h>

#include "engine/dbt/cache.h"
#include "engine/dbt/map.h"
#include "engine/dbt/pages.h"
#include "engine/dbt/tables.h"
#include "ring3/translate.h"
#include "ring3/engine.h"
#include "ring3/vcpu.h"

struct host_fault;

/* What the signal handler noted before it redirected to isa->fault_exit. */
struct dbt_note {
    int sig, trapno;
    uint64_t error, addr, r8, r9, r10;
    uint32_t at;   /* offset in the cache */
    bool boundary; /* a kick, met at an entry mark */
};

struct dbt_write {
    gpa_t gpa;
    uint64_t len;
};
#define DBT_WRITES 256u

#define DECLINED_MAX 4096u /* arguments of DBT_EXIT_EMULATE are counted up to here */

struct dbt_figures {
    uint64_t translations, instructions, guest_bytes, host_bytes, straddles;
    uint64_t copied, identical;          /* of the instructions; see struct tb */
    uint64_t cycles, timed_instructions; /* TSC to translate so many */
    uint64_t entries;                    /* of generated code */
    uint64_t lookups; /* the dispatcher's slow path: new table entry or new translation */
    uint64_t links;
    uint64_t exits[DBT_EXIT_ABORTED + 1];
    uint64_t verdicts[DBT_VERDICTS];
    uint64_t retranslated[DBT_VERDICTS]; /* pages dropped because of sites of this kind */
    uint64_t reverted;
    uint64_t written;     /* stores to protected pages that were reported, this thread's */
    uint64_t invalidated; /* guest pages whose code they ended */
    uint64_t written_far; /* by other threads */
    uint64_t flushes;
    uint64_t unfit;        /* slices interpreted because prepare() said so */
    uint64_t unfetchable;  /* instructions interpreted because no code could be had */
    uint64_t kicks, steps; /* that met generated code; single steps they needed */
    uint64_t declined[DECLINED_MAX];
};

struct dbt {
    struct vcpu *v;
    const struct isa_translator *isa;
    struct dbt_options o;

    struct dbt_cache cache;
    struct dbt_map map;
    struct dbt_tables tables;
    struct dbt_pages pages;
    struct dbt_hooks hooks; /* what the ISA tells */

    /* Run loop. */
    uint32_t link_at;  /* rel32 that asked for its target, 0: none */
    pthread_t entered; /* thread that has our handler of host faults */
    bool has_entered;
    int entered_tid;
    uint64_t slice;    /* instructions to interpret when the state is unfit */
    uint64_t bad_code; /* guest pc of code that --dbt check found fault with, plus 1; 0: none */

    /* Written by the signal handler of this thread, while generated code runs. */
    struct dbt_note note;
    bool stepping;
    uintptr_t stepped_from;

    /* Stores to translated pages. */
    struct wp_watcher watcher;
    _Atomic int tid; /* thread inside run(), to be kicked; 0: none */
    _Atomic bool far_pending;
    pthread_mutex_t far_lock;
    struct dbt_write far[DBT_WRITES]; /* under far_lock */
    unsigned far_count;               /* under far_lock; more than DBT_WRITES: all code goes */

    int perf_fd; /* -1: none */
    struct dbt_figures figures;

    /* The translation being built. */
    uint32_t building; /* tpage */
    struct tb tb;
};

/* Number of the tpage that linear address `pc` leads to in this table; 0: none. */
static inline uint32_t dbt_table_tpage(const struct dbt *d, const struct jump_table *j, uint32_t pc)
{
    uint64_t value = j->entry[pc >> PAGE_SHIFT];
    if (!value)
        return 0;
    uint64_t array = value + (uintptr_t)d->cache.reserve + DBT_NOTHING_OFFSET +
                     (uint64_t)(pc & (uint32_t)PAGE_MASK) * 4;
    return (uint32_t)((array - (uintptr_t)d->pages.arrays) / (PAGE_ENTRIES * sizeof(uint32_t)));
}

/* ---- build.c -------------------------------------------------------------------------------- */

/* Room for whatever one look-up may build? If not: dbt_flush. */
bool dbt_room(const struct dbt *d);
/* Translate from `offset` of the page on; returns the code's offset, 0 if it cannot be. Needs
 * room. */
uint32_t dbt_build(struct dbt *d, uint32_t tp, uint16_t offset);
/* Translate the instruction that starts at tpages[tp].straddle_off and ends in `next`. */
uint32_t dbt_build_straddle(struct dbt *d, uint32_t tp, gpfn_t next);
/* Drop all code. */
void dbt_flush(struct dbt *d);

/* ---- fault.c -------------------------------------------------------------------------------- */

/* The handler for host/fault.h; opaque is the struct dbt. */
bool dbt_on_host_fault(void *opaque, const struct host_fault *f);
/* Generated code left through isa->fault_exit: make the guest's state precise. True: look for
 * code again; false: interpret one instruction first. */
bool dbt_serve_fault(struct dbt *d);
/* Generated code declined an instruction; interpret it, and now and then see whether a call-out
 * still has its reason. */
void dbt_emulate(struct dbt *d, uint32_t argument, struct vm_exit *x);

/* ---- watch.c -------------------------------------------------------------------------------- */

void watch_open(struct dbt *d);
void watch_close(struct dbt *d);
/* Serve what other threads queued. */
void watch_drain(struct dbt *d);

/* ---- show.c, figures.c ---------------------------------------------------------------------- */

/* `--trace blocks`: print the translation whose code lies at `at`. */
void show_translation(const struct dbt *d, const struct translation *t, uint32_t stubs);
/* `--dbt perf-map` */
void show_to_perf(struct dbt *d, const struct translation *t, uint32_t bytes);
int show_open_perf(struct dbt *d, struct err *e);

void dbt_figures(const struct vcpu *v, const struct figure_sink *to);

#endif
