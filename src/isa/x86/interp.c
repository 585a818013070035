/* SPDX-License-Identifier: MIT */
/* The interpreter loop: look at the attention word, fetch a decoded instruction, call its handler.
 *
 * Handlers leave early by longjmp to the one setjmp here: x86_raise() for exceptions, x86_leave()
 * for exits. They change nothing before their last possible fault, so an abandoned instruction
 * simply has not happened. Between instructions, in the order of Intel SDM vol. 3A table 6-2:
 * traps of the previous instruction, NMI, interrupts, instruction breakpoints. */
#include "isa/x86/debugger.h"
#include "isa/x86/interp.h"

#include <stdatomic.h>

#include "isa/x86/fpu.h"
#include "isa/x86/icache.h"
#include "isa/x86/trap.h"

void x86_raise(struct x86_vcpu *v, enum x86_vector vector)
{
    v->fault = (struct x86_fault){.vector = (uint8_t)vector};
    longjmp(v->unwind, X86_UNWIND_FAULT);
}

void x86_raise_error(struct x86_vcpu *v, enum x86_vector vector, uint32_t error)
{
    v->fault = (struct x86_fault){.vector = (uint8_t)vector, .has_error = true, .error = error};
    longjmp(v->unwind, X86_UNWIND_FAULT);
}

void x86_leave(struct x86_vcpu *v, enum exit_kind kind, const char *what)
{
    v->exit = (struct vm_exit){.kind = kind, .what = what};
    longjmp(v->unwind, X86_UNWIND_EXIT);
}

/* ---- debug traps ------------------------------------------------------------------------ */

void x86_update_debug(struct x86_vcpu *v)
{
    bool wanted = (v->eflags & (FL_TF | FL_RF)) || (v->dr[7] & 0xff) || v->dr6_pending ||
                  x86_debugger_active(v);
    bool is = atomic_load_explicit(&v->base.attention, memory_order_relaxed) & X86_ATTN_DEBUG;
    if (wanted && !is)
        atomic_fetch_or(&v->base.attention, X86_ATTN_DEBUG);
    else if (!wanted && is)
        atomic_fetch_and(&v->base.attention, ~(uint32_t)X86_ATTN_DEBUG);
}

/* DR6 bits of the instruction breakpoints that match the next instruction. */
static uint32_t instruction_breakpoints(const struct x86_vcpu *v)
{
    uint32_t lin = (uint32_t)(v->seg[X86_CS].base + v->eip), hits = 0;
    for (unsigned i = 0; i < 4; i++)
        if ((v->dr[7] >> (2 * i) & 3) && !(v->dr[7] >> (16 + 4 * i) & 3) && v->dr[i] == lin)
            hits |= 1u << i;
    return hits;
}

static void deliver_debug(struct x86_vcpu *v)
{
    v->fault = (struct x86_fault){.vector = X86_DB, .trap = true};
    x86_deliver_fault(v);
}

/* The instruction that comes now: it may have a breakpoint, and TF asks for a trap after it. */
static void debug_before(struct x86_vcpu *v, bool after_mov_ss)
{
    if (!(v->eflags & FL_RF)) {
        v->dr6_pending |= instruction_breakpoints(v);
        if (v->dr6_pending && !after_mov_ss) {
            deliver_debug(v);
            return;
        }
    }
    v->eflags &= ~FL_RF; /* it covers one instruction */
    if (v->eflags & FL_TF)
        v->dr6_pending |= DR6_BS;
    x86_update_debug(v);
}

/* ---- between two instructions ----------------------------------------------------------- */

/* Interrupts that may be taken now; true if one was delivered. */
static bool deliver_interrupt(struct x86_vcpu *v, uint32_t a)
{
    if ((a & ATTN_NMI) && !v->nmi_blocked) {
        vcpu_unattend(&v->base, ATTN_NMI);
        x86_deliver_external(v, X86_NMI);
        return true;
    }
    if ((a & ATTN_INTERRUPT) && v->if_flag && v->base.intc.ack) {
        int vector = v->base.intc.ack(v->base.intc.opaque);
        if (vector < 0)
            return false;
        x86_deliver_external(v, (uint8_t)vector);
        return true;
    }
    return false;
}

/* Something wants attention. False: leave the interpreter, *x is filled. */
static bool boundary(struct x86_vcpu *v, struct vm_exit *x)
{
    uint32_t a = atomic_load(&v->base.attention);
    if (a & (ATTN_STOP | ATTN_RESET)) {
        *x = (struct vm_exit){.kind = EXIT_ATTENTION};
        return false;
    }
    if (a & ATTN_CODE) {
        vcpu_unattend(&v->base, ATTN_CODE);
        x86_icache_flush(v->icache);
    }
    if ((a & X86_ATTN_DEBUG) && x86_debugger_active(v) && x86_debugger_stops(v)) {
        *x = (struct vm_exit){.kind = EXIT_DEBUG};
        x86_update_debug(v);
        return false;
    }
    bool shadow = v->shadow_until == v->retired, after_mov_ss = shadow && v->shadow_debug;
    if (v->dr6_pending && !after_mov_ss) {
        deliver_debug(v);
        return true;
    }
    if (!shadow && !v->debugger.step && deliver_interrupt(v, a))
        return true;
    if (a & X86_ATTN_DEBUG)
        debug_before(v, after_mov_ss);
    return true;
}

static void trace_fault(const struct x86_vcpu *v)
{
    log_line(v->base.log, LOG_INFO, "trace-exception", "vector %u error %#x at %04x:%08x cr2 %08x",
             v->fault.vector, v->fault.has_error ? v->fault.error : 0, v->seg[X86_CS].sel,
             (uint32_t)v->insn_eip, v->cr2);
}

/* An instruction, or a delivery, was abandoned with v->fault. */
static void unwound_by_fault(struct x86_vcpu *v)
{
    if (v->budget_end > v->retired)
        v->budget_end--; /* so that an endless chain of faults ends the slice, too */
    if (v->fault.vector != X86_DB && v->dr6_pending) {
        v->dr6_pending = 0; /* what the abandoned instruction matched has not happened */
        x86_update_debug(v);
    }
    if (v->debugger.step)
        v->debugger.from = v->retired - 1; /* a step ends at the handler */
    if (unlikely(v->base.trace & TRACE_EXCEPTIONS))
        trace_fault(v);
    x86_deliver_fault(v);
}

static inline bool attention(const struct x86_vcpu *v)
{
    return atomic_load_explicit(&v->base.attention, memory_order_relaxed) & v->attn_mask;
}

/* Run the decoded instructions from `in` on, for as long as they follow each other in memory and
 * nothing came up: no branch taken, no attention, no change of the code or of its mapping. */
static void run_on(struct x86_vcpu *v, const struct x86_insn *in)
{
    const struct x86_icache *c = v->icache;
    /* Without a window each fetch has to check the limit of CS. */
    const uint64_t window = c->window_lin != X86_WINDOW_NONE ? c->window_lin : ~X86_WINDOW_NONE;
    uint32_t eip = (uint32_t)v->eip; /* wraps behind the last byte of a 4 GiB segment */
    for (;; in++) {
        v->insn_eip = eip;
        eip += in->len;
        v->eip = eip;
        in->fn(v, in);
        v->retired++;
        if (v->eip != eip || !in->runs_on || unlikely(attention(v)) || c->window_lin != window ||
            unlikely(v->retired >= v->budget_end))
            return;
    }
}

static void loop(struct x86_vcpu *v, struct vm_exit *x)
{
    while (v->retired < v->budget_end) {
        if (unlikely(attention(v)) && !boundary(v, x))
            return;
        v->insn_eip = v->eip;
        run_on(v, x86_icache_fetch(v));
    }
    *x = (struct vm_exit){.kind = EXIT_ATTENTION};
}

void x86_interpret(struct vcpu *base, uint64_t budget, struct vm_exit *x)
{
    struct x86_vcpu *v = x86_of(base);
    v->owner = pthread_self();
    uint64_t before = v->retired;
    v->budget_end = v->retired + budget;
    switch (setjmp(v->unwind)) {
    case X86_UNWIND_FAULT:
        unwound_by_fault(v);
        loop(v, x);
        break;
    case X86_UNWIND_EXIT:
        *x = v->exit;
        x->wake = v->attn_mask & ~(uint32_t)X86_ATTN_DEBUG;
        break;
    default:
        loop(v, x);
    }
    if (!v->fpu.keep_live)
        x86_fpu_park(v);
    x->pc = (uint32_t)(v->seg[X86_CS].base + v->eip);
    base->stats.interpreted += v->retired - before;
    base->stats.instructions += v->retired - v->counted; /* translated code counts on request */
    v->counted = v->retired;
}
