/* SPDX-License-Identifier: MIT */
/* The interpreter loop: look at the attention word, look up a decoded instruction, and run on from
 * there for as long as handlers say what comes next and nothing came up.
 *
 * Handlers leave early by longjmp to the one setjmp here. They change nothing before their last
 * possible fault, so an abandoned instruction simply has not happened; where it was is v->cur. */
#include "isa/mips32/debugger.h"
#include "isa/mips32/mmu.h"

void mips32_raise(struct mips32_vcpu *v, enum mips32_exception code)
{
    v->fault = (struct mips32_fault){.code = (uint8_t)code};
    longjmp(v->unwind, MIPS32_UNWIND_FAULT);
}

void mips32_raise_coprocessor(struct mips32_vcpu *v, unsigned n)
{
    v->fault = (struct mips32_fault){.code = EXC_CPU, .coprocessor = (uint8_t)n};
    longjmp(v->unwind, MIPS32_UNWIND_FAULT);
}

void mips32_raise_address(struct mips32_vcpu *v, enum mips32_exception code, uint32_t vaddr,
                          bool refill)
{
    v->fault = (struct mips32_fault){
        .code = (uint8_t)code, .refill = refill, .address = true, .vaddr = vaddr};
    longjmp(v->unwind, MIPS32_UNWIND_FAULT);
}

void mips32_leave(struct mips32_vcpu *v, const struct vm_exit *x)
{
    v->exit = *x;
    longjmp(v->unwind, MIPS32_UNWIND_EXIT);
}

uint32_t mips32_pc(const struct mips32_vcpu *v)
{
    return v->cur ? mips32_pc_of(v, v->cur) : v->pc;
}

static inline bool attention(const struct mips32_vcpu *v)
{
    return atomic_load_explicit(&v->base.attention, memory_order_relaxed) & v->attn_mask;
}

/* Something wants attention. False: leave the interpreter, *x is filled. */
static bool boundary(struct mips32_vcpu *v, struct vm_exit *x)
{
    uint32_t a = atomic_load(&v->base.attention);
    if (a & (ATTN_STOP | ATTN_RESET)) {
        *x = (struct vm_exit){.kind = EXIT_ATTENTION};
        return false;
    }
    if (a & ATTN_CODE) {
        vcpu_unattend(&v->base, ATTN_CODE);
        mips32_icache_flush(v);
    }
    if ((a & MIPS32_ATTN_DEBUG) && mips32_debugger_stops(v)) {
        *x = (struct vm_exit){.kind = EXIT_DEBUG};
        mips32_update_debug(v);
        return false;
    }
    if (!v->debugger.step)
        mips32_deliver_interrupt(v, a);
    return true;
}

/* An instruction, or a fetch, was abandoned with v->fault. */
static void unwound_by_fault(struct mips32_vcpu *v)
{
    if (v->budget_end > v->retired)
        v->budget_end--; /* so that an endless chain of faults ends the slice, too */
    if (v->debugger.step)
        v->debugger.from = v->retired - 1; /* a step ends at the handler */
    mips32_deliver_fault(v);
}

/* From the instruction at v->pc on. */
static void run_on(struct mips32_vcpu *v)
{
    const struct mips32_insn *in = mips32_fetch(v, v->pc);
    v->page_va = v->pc & (uint32_t)PAGE_MASK;
    do {
        v->cur = in;
        in = in->fn(v, in);
        v->retired++;
    } while (likely(in) && likely(!attention(v)) && likely(v->retired < v->budget_end));
    v->cur = NULL;
    if (in)
        v->pc = mips32_pc_of(v, in);
}

static void loop(struct mips32_vcpu *v, struct vm_exit *x)
{
    while (v->retired < v->budget_end) {
        if (unlikely(attention(v)) && !boundary(v, x))
            return;
        if (unlikely(mips32_icache_full(v->icache)))
            mips32_icache_flush(v);
        run_on(v);
    }
    *x = (struct vm_exit){.kind = EXIT_ATTENTION};
}

void mips32_interpret(struct vcpu *base, uint64_t budget, struct vm_exit *x)
{
    struct mips32_vcpu *v = mips32_of(base);
    v->owner = pthread_self();
    uint64_t before = v->retired;
    v->budget_end = v->retired + budget;
    switch (setjmp(v->unwind)) {
    case MIPS32_UNWIND_FAULT:
        unwound_by_fault(v);
        loop(v, x);
        break;
    case MIPS32_UNWIND_EXIT:
        *x = v->exit;
        break;
    default:
        loop(v, x);
    }
    x->pc = v->pc;
    base->stats.interpreted += v->retired - before;
    base->stats.instructions += v->retired - v->counted;
    v->counted = v->retired;
}
