/* SPDX-License-Identifier: MIT */
/* Delivery of exceptions, interrupts and software interrupts (Intel SDM vol. 3A ch. 6 and 20.2;
 * vol. 2 INT n).
 *
 * One path for all: read the gate, check it, build the frame on the old or the inner stack, then
 * commit. A fault on the way unwinds to the interpreter loop, which calls x86_deliver_fault()
 * again; v->delivering says what was being delivered, which is all that the double-fault table
 * needs. Interrupts and INT n are benign in that table and leave v->delivering at -1.
 *
 * Left out: what makes exceptions pending, which is the loop's and the instructions' business. */
#include "isa/x86/mmu.h"
#include "isa/x86/trap.h"

struct event {
    uint8_t vector;
    bool software; /* gate DPL is checked */
    bool set_rf;   /* in the pushed image */
    bool has_error;
    uint32_t error;
};

#define BIT(vector) (1u << (vector))
/* SDM vol. 3A table 6-4 */
static const uint32_t contributory =
    BIT(X86_DE) | BIT(X86_TS) | BIT(X86_NP) | BIT(X86_SSF) | BIT(X86_GP);
/* Faults, for which the pushed RF is 1 (SDM vol. 3B 17.3.1.1). #DB is decided case by case. */
static const uint32_t fault_class = BIT(X86_DE) | BIT(X86_BR) | BIT(X86_UD) | BIT(X86_NM) |
                                    BIT(X86_TS) | BIT(X86_NP) | BIT(X86_SSF) | BIT(X86_GP) |
                                    BIT(X86_PF) | BIT(X86_MF) | BIT(X86_AC) | BIT(X86_XM);
#undef BIT

/* Fault about an IDT entry: the IDT bit is set in the error code. */
static _Noreturn void raise_idt(struct x86_vcpu *v, enum x86_vector vector, uint8_t entry)
{
    x86_raise_error(v, vector, entry * 8u | 2 | v->delivering_external);
}

void x86_deliver_real(struct x86_vcpu *v, uint8_t vector, uint32_t table, uint16_t flags,
                      uint32_t clear)
{
    uint32_t entry = (uint32_t)x86_sys_read(v, table + vector * 4u, 4);
    struct x86_seg cs = x86_seg_real(&v->seg[X86_CS], (uint16_t)(entry >> 16), x86_v8086(v));
    struct x86_stack st = x86_stack_current(v);
    if ((entry & 0xffff) > cs.limit)
        x86_raise_sel(v, X86_GP, 0);
    x86_stack_push(v, &st, 2, flags);
    x86_stack_push(v, &st, 2, v->seg[X86_CS].sel);
    x86_stack_push(v, &st, 2, (uint32_t)v->eip);
    x86_stack_commit(v, &st);
    x86_set_eflags(v, x86_get_eflags(v) & ~clear);
    x86_commit_code(v, &cs, v->cpl, entry & 0xffff);
}

/* Push the frame and enter the handler. `cs` has RPL = cpl, `st` is the handler's stack.
 *
 *   v8086 only      inner only   always                       exceptions that have one
 *   GS FS DS ES     SS ESP       EFLAGS CS EIP                error code           */
static void enter(struct x86_vcpu *v, const struct event *ev, const struct x86_seg *cs,
                  struct x86_stack *st, unsigned gate_type, uint32_t eip)
{
    static const uint8_t v86_order[] = {X86_GS, X86_FS, X86_DS, X86_ES};
    unsigned size = gate_type & X86_TYPE_32 ? 4 : 2, cpl = st->cpl;
    bool trap = gate_type == X86_TRAP_GATE16 || gate_type == X86_TRAP_GATE32;
    uint32_t eflags = x86_get_eflags(v);
    bool v86 = x86_v8086(v);
    if (v86)
        for (unsigned i = 0; i < ARRAY_LEN(v86_order); i++)
            x86_stack_push(v, st, size, v->seg[v86_order[i]].sel);
    if (cpl != v->cpl) {
        x86_stack_push(v, st, size, v->seg[X86_SS].sel);
        x86_stack_push(v, st, size, x86_r32(v, X86_ESP));
    }
    x86_stack_push(v, st, size, eflags | (ev->set_rf ? FL_RF : 0));
    x86_stack_push(v, st, size, v->seg[X86_CS].sel);
    x86_stack_push(v, st, size, (uint32_t)v->eip);
    if (ev->has_error)
        x86_stack_push(v, st, size, ev->error);

    if (v86)
        for (unsigned i = 0; i < ARRAY_LEN(v86_order); i++)
            v->seg[v86_order[i]] = (struct x86_seg){0};
    x86_stack_commit(v, st);
    x86_set_eflags(v, eflags & ~(FL_TF | FL_NT | FL_RF | FL_VM | (trap ? 0 : FL_IF)));
    x86_commit_code(v, cs, cpl, eip);
    if (v86)
        x86_update_mode(v); /* of all segments */
}

static void through_code_gate(struct x86_vcpu *v, const struct event *ev,
                              const struct x86_desc *gate)
{
    uint16_t sel = (uint16_t)(gate->lo >> 16);
    uint32_t eip = gate->lo & 0xffff;
    if (x86_desc_type(gate) & X86_TYPE_32)
        eip |= gate->hi & 0xffff0000;
    struct x86_desc d = x86_fetch_desc(v, sel, X86_GP);
    unsigned dpl = x86_desc_dpl(&d);
    bool inner = !x86_desc_is_conforming(&d) && dpl < v->cpl;
    /* Only a nonconforming ring 0 handler may interrupt v8086 mode. */
    if (!x86_desc_is_code(&d) || dpl > v->cpl || (x86_v8086(v) && (!inner || dpl != 0)))
        x86_raise_sel(v, X86_GP, sel);
    if (!x86_desc_present(&d))
        x86_raise_sel(v, X86_NP, sel);
    unsigned cpl = inner ? dpl : v->cpl;
    struct x86_stack st = inner ? x86_stack_inner(v, cpl) : x86_stack_current(v);
    struct x86_seg cs = x86_seg_build(v, (uint16_t)((sel & ~3u) | cpl), &d);
    if (eip > cs.limit)
        x86_raise_sel(v, X86_GP, 0);
    enter(v, ev, &cs, &st, x86_desc_type(gate), eip);
}

static void deliver_protected(struct x86_vcpu *v, const struct event *ev)
{
    const uint32_t allowed = 1u << X86_TASK_GATE | 1u << X86_INT_GATE16 | 1u << X86_TRAP_GATE16 |
                             1u << X86_INT_GATE32 | 1u << X86_TRAP_GATE32;
    struct x86_desc gate = {.lin = (uint32_t)v->idtr.base + ev->vector * 8u};
    if (ev->vector * 8u + 7 > v->idtr.limit)
        raise_idt(v, X86_GP, ev->vector);
    uint64_t raw = x86_sys_read(v, gate.lin, 8);
    gate.lo = (uint32_t)raw;
    gate.hi = (uint32_t)(raw >> 32);
    if ((x86_desc_attr(&gate) & SEG_S) || !(allowed >> x86_desc_type(&gate) & 1) ||
        (ev->software && x86_desc_dpl(&gate) < v->cpl))
        raise_idt(v, X86_GP, ev->vector);
    if (!x86_desc_present(&gate))
        raise_idt(v, X86_NP, ev->vector);
    if (x86_desc_type(&gate) != X86_TASK_GATE) {
        through_code_gate(v, ev, &gate);
        return;
    }
    if (ev->set_rf)
        v->eflags |= FL_RF; /* so that it is in the old TSS */
    x86_task_switch(v, (uint16_t)(gate.lo >> 16), X86_TASK_GATE_EVENT, ev->has_error, ev->error);
}

static void deliver(struct x86_vcpu *v, const struct event *ev)
{
    /* Entering a handler clears TF, so the step it would have ended is forgotten. */
    if (v->dr6_pending & DR6_BS) {
        v->dr6_pending &= ~DR6_BS;
        x86_update_debug(v);
    }
    if (x86_protected(v)) {
        deliver_protected(v, ev);
        return;
    }
    if (ev->vector * 4u + 3 > v->idtr.limit)
        raise_idt(v, X86_GP, ev->vector);
    x86_deliver_real(v, ev->vector, (uint32_t)v->idtr.base, (uint16_t)x86_get_eflags(v),
                     FL_IF | FL_TF | FL_AC | FL_RF);
}

/* ---- exceptions ----------------------------------------------------------------------------- */

static void log_fault(struct x86_vcpu *v, const struct x86_fault *f)
{
    v->faults[v->fault_next++ & (X86_FAULT_LOG - 1)] = (struct x86_fault_log){
        .eip = (uint32_t)v->eip,
        .cs = v->seg[X86_CS].sel,
        .error = f->has_error ? f->error : 0,
        .cr2 = v->cr2,
        .vector = f->vector,
    };
}

/* SDM vol. 3A table 6-5: what `second`, raised while delivering `first`, becomes. -1 is shutdown.
 */
static int combine(int first, int second)
{
    bool second_counts = contributory >> second & 1;
    if (first == X86_DF)
        return second_counts || second == X86_PF ? -1 : second;
    if (first == X86_PF)
        return second_counts || second == X86_PF ? X86_DF : second;
    if (first >= 0 && first < 32 && (contributory >> first & 1))
        return second_counts ? X86_DF : second;
    return second;
}

/* DR6 tells the #DB handler why. Returns whether RF is set in the image: only for general detect,
 * since debug traps and breakpoints on instructions push RF as it was. */
static bool take_debug_status(struct x86_vcpu *v)
{
    bool rf = v->dr6_pending & DR6_BD;
    v->dr[6] |= v->dr6_pending;
    v->dr6_pending = 0;
    v->dr[7] &= ~DR7_GD;
    x86_update_debug(v);
    return rf;
}

void x86_deliver_fault(struct x86_vcpu *v)
{
    struct x86_fault f = v->fault;
    if (f.trap)
        v->insn_eip = v->eip;
    v->eip = v->insn_eip;
    log_fault(v, &f);
    int vector = combine(v->delivering, f.vector);
    if (vector < 0) {
        v->delivering = -1;
        v->delivering_external = false;
        x86_leave(v, EXIT_SHUTDOWN, NULL);
    }
    if (vector != f.vector) {
        f = (struct x86_fault){.vector = (uint8_t)vector, .has_error = true};
        log_fault(v, &f);
    }
    v->delivering = f.vector;
    v->delivering_external = true;
    struct event ev = {
        .vector = f.vector,
        .set_rf = f.vector < 32 && (fault_class >> f.vector & 1),
        .has_error = f.has_error,
        .error = f.error,
    };
    if (f.vector == X86_DB)
        ev.set_rf = take_debug_status(v);
    deliver(v, &ev);
    v->delivering = -1;
    v->delivering_external = false;
    v->base.stats.exits[EXIT_EXCEPTION]++;
    if (f.vector == X86_PF)
        v->base.stats.fault_guest++;
}

/* ---- interrupts ----------------------------------------------------------------------------- */

void x86_deliver_external(struct x86_vcpu *v, uint8_t vector)
{
    v->insn_eip = v->eip; /* a fault in here resumes at the interrupted place */
    v->delivering_external = true;
    if (vector == X86_NMI)
        v->nmi_blocked = true;
    deliver(v, &(struct event){.vector = vector});
    v->delivering_external = false;
    v->base.stats.exits[EXIT_INTERRUPT]++;
}

void x86_deliver_software(struct x86_vcpu *v, uint8_t vector)
{
    deliver(v, &(struct event){.vector = vector, .software = true});
    v->base.stats.exits[EXIT_EXCEPTION]++;
}

void x86_deliver_int1(struct x86_vcpu *v)
{
    v->delivering_external = true; /* EXT is set for INT1, unlike INT n */
    v->dr[7] &= ~DR7_GD;
    deliver(v, &(struct event){.vector = X86_DB});
    v->delivering_external = false;
    v->base.stats.exits[EXIT_EXCEPTION]++;
}
