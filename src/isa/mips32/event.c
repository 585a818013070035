/* SPDX-License-Identifier: MIT */
/* Exceptions and interrupts (vol. III chapter 6).
 *
 * Interrupt lines are a word of their own, `lines`, that any thread changes; Cause.IP is computed
 * from it. ATTN_INTERRUPT says that a line waits that Status.IM lets through; whether it is taken
 * is attn_mask's business. Who raises a line sets the bit, the processor alone clears it, and looks
 * at the lines after that, so none is lost.
 *
 * Left out: errors of caches, machine checks, EJTAG, watchpoints. */
#include "isa/mips32/cp0.h"

#define VECTOR_BEV     0xbfc00200u
#define VECTOR_RESET   0xbfc00000u
#define OFFSET_GENERAL 0x180u
#define OFFSET_SPECIAL 0x200u /* interrupts, with Cause.IV */
#define INTCTL_VS      0x3e0u /* distance of vectors, in bytes */

/* ---- entering a handler ---------------------------------------------------------------------- */

static void log_exception(struct mips32_vcpu *v, uint32_t pc)
{
    v->faults[v->fault_next++ & (MIPS32_FAULT_LOG - 1)] = (struct mips32_fault_log){
        .epc = pc,
        .bad_vaddr = v->cp0.bad_vaddr,
        .cause = v->cp0.cause,
        .status = v->cp0.status,
    };
    if (unlikely(v->base.trace & TRACE_EXCEPTIONS) && v->cp0.cause & CA_EXC) /* no interrupts */
        log_line(v->base.log, LOG_INFO, "trace-exception",
                 "code %u at %08x badvaddr %08x cause %08x status %08x",
                 v->cp0.cause >> CA_EXC_SHIFT & 31, pc, v->cp0.bad_vaddr, v->cp0.cause,
                 v->cp0.status);
}

static void enter(struct mips32_vcpu *v, unsigned code, unsigned coprocessor, uint32_t offset)
{
    struct mips32_cp0 *c = &v->cp0;
    uint32_t pc = mips32_pc(v);
    c->cause &= ~(CA_EXC | 3u << CA_CE_SHIFT);
    c->cause |= code << CA_EXC_SHIFT | coprocessor << CA_CE_SHIFT;
    if (!(c->status & ST_EXL)) {
        c->epc = pc;
        c->cause = (c->cause & ~CA_BD) | (v->in_slot ? CA_BD : 0);
    }
    log_exception(v, pc);
    v->cur = NULL;
    v->in_slot = false;
    v->pc = (c->status & ST_BEV ? VECTOR_BEV : c->ebase & (uint32_t)PAGE_MASK) + offset;
    mips32_set_status(v, c->status | ST_EXL);
}

static bool is_tlb(unsigned code)
{
    return code == EXC_MOD || code == EXC_TLBL || code == EXC_TLBS;
}

void mips32_deliver_fault(struct mips32_vcpu *v)
{
    const struct mips32_fault f = v->fault;
    struct mips32_cp0 *c = &v->cp0;
    if (f.address)
        c->bad_vaddr = f.vaddr;
    if (is_tlb(f.code)) {
        c->context = (c->context & 0xff800000u) | (f.vaddr >> 9 & 0x7ffff0u);
        c->entry_hi = (f.vaddr & HI_VPN2) | (c->entry_hi & HI_ASID);
        v->base.stats.fault_guest++;
    }
    bool fast = f.refill && !(c->status & ST_EXL);
    enter(v, f.code, f.coprocessor, fast ? 0 : OFFSET_GENERAL);
    v->base.stats.exits[EXIT_EXCEPTION]++;
}

/* ---- interrupts ------------------------------------------------------------------------------ */

uint32_t mips32_cause(const struct mips32_vcpu *v)
{
    uint32_t lines = atomic_load(&v->lines);
    uint32_t timer = lines & CA_TI ? CA_IP7 | (v->model->release2 ? CA_TI : 0) : 0;
    return v->cp0.cause | (lines & CA_IP_PINS) | timer;
}

static uint32_t waiting(const struct mips32_vcpu *v)
{
    return mips32_cause(v) & v->cp0.status & ST_IM;
}

void mips32_update_interrupts(struct mips32_vcpu *v)
{
    vcpu_unattend(&v->base, ATTN_INTERRUPT);
    if (waiting(v))
        vcpu_attend(&v->base, ATTN_INTERRUPT);
}

void mips32_set_lines(struct mips32_vcpu *v, uint32_t bits, bool level)
{
    if (!level) {
        atomic_fetch_and(&v->lines, ~bits);
        return;
    }
    atomic_fetch_or(&v->lines, bits);
    uint32_t ip = bits & CA_TI ? bits | CA_IP7 : bits;
    if (ip & atomic_load(&v->line_im))
        vcpu_attend(&v->base, ATTN_INTERRUPT);
}

static void set_pin(void *opaque, unsigned n, int level)
{
    mips32_set_lines(opaque, 1u << (n + CA_IP_SHIFT + 2), level);
}

struct irq_line mips32_pin(struct vcpu *v, unsigned n)
{
    return (struct irq_line){.set = set_pin, .opaque = mips32_of(v), .n = n};
}

/* Vol. III 6.1.2: compatibility mode, Cause.IV, vectored mode. */
static uint32_t interrupt_offset(const struct mips32_vcpu *v, uint32_t ip)
{
    uint32_t distance = v->cp0.int_ctl & INTCTL_VS;
    if (!(v->cp0.cause & CA_IV))
        return OFFSET_GENERAL;
    if (!distance || (v->cp0.status & ST_BEV))
        return OFFSET_SPECIAL;
    unsigned highest = 31u - (unsigned)__builtin_clz(ip >> CA_IP_SHIFT);
    return OFFSET_SPECIAL + highest * distance;
}

static void deliver_nmi(struct mips32_vcpu *v)
{
    vcpu_unattend(&v->base, ATTN_NMI);
    v->cp0.error_epc = mips32_pc(v);
    v->cur = NULL;
    v->pc = VECTOR_RESET;
    uint32_t status = v->cp0.status & ~(ST_TS | ST_SR);
    mips32_set_status(v, status | ST_BEV | ST_NMI | ST_ERL);
    v->base.stats.exits[EXIT_INTERRUPT]++;
}

bool mips32_deliver_interrupt(struct mips32_vcpu *v, uint32_t attention)
{
    if (attention & ATTN_NMI) {
        deliver_nmi(v);
        return true;
    }
    if (!(attention & v->attn_mask & ATTN_INTERRUPT))
        return false;
    mips32_update_interrupts(v);
    uint32_t ip = waiting(v);
    if (!ip)
        return false;
    enter(v, EXC_INT, 0, interrupt_offset(v, ip));
    v->base.stats.exits[EXIT_INTERRUPT]++;
    return true;
}
