/* SPDX-License-Identifier: MIT */
/* The part of a virtual processor that does not depend on its instruction set. The ISA embeds
 * struct vcpu first in its own struct and adds registers, TLB and so on. Owned by the vCPU
 * thread, except where a field says otherwise. */
#ifndef RING3_VCPU_H
#define RING3_VCPU_H

#include <pthread.h>

#include "ring3/bus.h"
#include "ring3/clock.h"
#include "ring3/exit.h"
#include "ring3/isa.h"
#include "ring3/log.h"
#include "ring3/mem.h"

/* What `--trace` asked for. TRACE_EXCEPTIONS is the ISA's to print, when it delivers one:
 * log_line(v->log, LOG_INFO, "trace-exception", ...). src/debug/trace.c does the others. */
enum {
    TRACE_EXITS = 1 << 0,
    TRACE_EXCEPTIONS = 1 << 1,
    TRACE_IO = 1 << 2,
    TRACE_IRQ = 1 << 3,
    TRACE_BLOCKS = 1 << 4,   /* each translation an engine makes: guest and host code */
    TRACE_FIRMWARE = 1 << 5, /* what firmware says about itself; kept by debug/trace.c */
};

/* Bits of vcpu.attention: why the processor should look up between two instructions. */
enum {
    ATTN_STOP = 1 << 0,      /* leave the engine with EXIT_ATTENTION; sticky until cleared */
    ATTN_INTERRUPT = 1 << 1, /* the interrupt controller asserts its output (a level) */
    ATTN_NMI = 1 << 2,       /* an NMI edge is latched */
    ATTN_RESET = 1 << 3,     /* INIT/reset line pulsed */
    ATTN_CODE = 1 << 4,      /* another thread wrote to pages with decoded code */
    ATTN_TIMER = 1 << 5,     /* an earlier timer while this halted processor serves the clock */
    ATTN_ISA = 1 << 8,       /* this and higher bits: the ISA's own, set by its own thread */
};

/* The interrupt controller as the processor sees it. ack() returns the vector (the INTA cycle);
 * called on the vCPU thread. Zero when there is none. */
struct intc {
    int (*ack)(void *opaque);
    void *opaque;
};

struct vcpu_stats {
    uint64_t instructions; /* retired: all that were interpreted, and what engines counted */
    uint64_t interpreted;  /* of them */
    uint64_t exits[EXIT_KIND_COUNT];
    /* The three kinds of page fault (shadowing or TLB fill): device page, fault that the guest
     * gets, hidden fill that it never sees. */
    uint64_t fault_device, fault_guest, fault_hidden;
    uint64_t guest_ns, idle_ns; /* wall time in engine and halted; the rest is the monitor's */
    uint64_t code_decoded;      /* instructions decoded (not found in the decode cache) */
    uint64_t code_invalidated;  /* stores that hit decoded code */
};

struct vcpu {
    const struct isa_ops *isa;
    unsigned index;             /* within the VM, from 0 */
    _Atomic uint32_t attention; /* ATTN_* bits; any thread sets through vcpu_attend */
    _Atomic bool asleep;        /* halted and waiting on `attention` */
    uint32_t halted; /* ATTN_* bits that end a halt, 0 while it runs; vCPU thread, vm/exit.c */
    struct phys *mem;
    struct bus *mmio, *pio;
    struct clock *clock;
    const struct log *log;
    struct log_limit log_limit;
    struct intc intc;
    struct vcpu_stats stats;
    void *engine_state; /* the running engine's own */
    /* Make the processor's thread look at `attention` although it runs code that does not look.
     * NULL: none needed. Set by the engine's attach(), before other threads know v. Called by
     * vcpu_attend on any thread but `runner`, with new bits in `attention` and the processor not
     * asleep; must not block. How not to lose one: vm/vcpu.c. */
    void (*kick)(struct vcpu *v);
    _Atomic pthread_t runner; /* who never needs kick(): an engine with kick() stores
                                 pthread_self() here in every run() */
    uint32_t trace;           /* TRACE_* bits; set before the VM runs */
};

/* Set bits and make sure the processor notices: wakes it if it sleeps. Any thread. */
void vcpu_attend(struct vcpu *v, uint32_t bits);
/* Clear bits. Any thread. */
void vcpu_unattend(struct vcpu *v, uint32_t bits);
/* Sleep until attention & bits is nonzero or timeout_ns (UINT64_MAX: never) have passed; may
 * return early. vCPU thread. */
void vcpu_wait(struct vcpu *v, uint32_t bits, uint64_t timeout_ns);

#endif
