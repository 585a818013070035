/* SPDX-License-Identifier: MIT */
/* Far transfers: JMP, CALL and RET far, call gates, IRET, INT n, SYSENTER (Intel SDM vol. 2 under
 * each name; vol. 3A 5.8 and 20.2-20.3).
 *
 * Each builds the new CS and the new stack aside, reads and writes all the memory it needs, and
 * then commits registers, so that a page fault on the way restarts the instruction cleanly. What
 * it had pushed by then lies below the old eSP, where nobody looks. Task gates and TSS selectors
 * go to task.c, interrupts to event.c. */
#include "isa/x86/insn.h"
#include "isa/x86/mmu.h"
#include "isa/x86/trap.h"

void x86_commit_code(struct x86_vcpu *v, const struct x86_seg *cs, unsigned cpl, uint32_t eip)
{
    x86_log_branch(v, (uint32_t)v->insn_eip, eip);
    v->seg[X86_CS] = *cs;
    v->eip = eip;
    if (cpl != v->cpl)
        x86_set_cpl(v, cpl);
    x86_seg_changed(v, X86_CS);
}

static uint32_t operand_mask(unsigned size)
{
    return size == 4 ? 0xffffffff : 0xffff;
}

static void check_eip(struct x86_vcpu *v, const struct x86_seg *cs, uint32_t eip)
{
    if (eip > cs->limit)
        x86_raise_error(v, X86_GP, 0);
}

static void push_return(struct x86_vcpu *v, struct x86_stack *st, unsigned size)
{
    x86_stack_push(v, st, size, v->seg[X86_CS].sel);
    x86_stack_push(v, st, size, (uint32_t)v->eip);
}

static void release(struct x86_stack *st, uint32_t bytes)
{
    st->sp = (st->sp & ~st->mask) | ((st->sp + bytes) & st->mask);
}

/* ---- JMP and CALL --------------------------------------------------------------------------- */

/* A code segment as a jump target at the same privilege; cs.sel gets RPL = CPL. */
static struct x86_seg direct_target(struct x86_vcpu *v, uint16_t sel, const struct x86_desc *d)
{
    unsigned dpl = x86_desc_dpl(d);
    bool ok = x86_desc_is_conforming(d) ? dpl <= v->cpl : dpl == v->cpl && (sel & 3u) <= v->cpl;
    if (!ok)
        x86_raise_sel(v, X86_GP, sel);
    if (!x86_desc_present(d))
        x86_raise_sel(v, X86_NP, sel);
    return x86_seg_build(v, (uint16_t)((sel & ~3u) | v->cpl), d);
}

static void jump_to(struct x86_vcpu *v, const struct x86_seg *cs, uint32_t eip, unsigned size,
                    bool call)
{
    check_eip(v, cs, eip);
    if (call) {
        struct x86_stack st = x86_stack_current(v);
        push_return(v, &st, size);
        x86_w32(v, X86_ESP, st.sp);
    }
    x86_commit_code(v, cs, v->cpl, eip);
}

/* Call through a gate into a more privileged segment: new stack, parameters copied. */
static void call_inner(struct x86_vcpu *v, const struct x86_seg *cs, unsigned cpl, uint32_t eip,
                       unsigned size, unsigned params)
{
    uint32_t param[31];
    struct x86_stack outer = x86_stack_current(v), inner = x86_stack_inner(v, cpl);
    check_eip(v, cs, eip);
    for (unsigned i = 0; i < params; i++)
        param[i] = x86_stack_pop(v, &outer, size);
    x86_stack_push(v, &inner, size, v->seg[X86_SS].sel);
    x86_stack_push(v, &inner, size, x86_r32(v, X86_ESP));
    while (params--)
        x86_stack_push(v, &inner, size, param[params]);
    push_return(v, &inner, size);
    x86_stack_commit(v, &inner);
    x86_commit_code(v, cs, cpl, eip);
}

static void through_gate(struct x86_vcpu *v, const struct x86_desc *gate, bool call)
{
    unsigned size = x86_desc_type(gate) & X86_TYPE_32 ? 4 : 2;
    uint16_t sel = (uint16_t)(gate->lo >> 16);
    uint32_t eip = ((gate->lo & 0xffff) | (gate->hi & 0xffff0000)) & operand_mask(size);
    struct x86_desc d = x86_fetch_desc(v, sel, X86_GP);
    unsigned dpl = x86_desc_dpl(&d);
    bool inner = !x86_desc_is_conforming(&d) && dpl < v->cpl;
    if (!x86_desc_is_code(&d) || dpl > v->cpl || (inner && !call))
        x86_raise_sel(v, X86_GP, sel);
    if (!x86_desc_present(&d))
        x86_raise_sel(v, X86_NP, sel);
    unsigned cpl = inner ? dpl : v->cpl;
    struct x86_seg cs = x86_seg_build(v, (uint16_t)((sel & ~3u) | cpl), &d);
    if (inner)
        call_inner(v, &cs, cpl, eip, size, gate->hi & 31);
    else
        jump_to(v, &cs, eip, size, call);
}

/* Gate or TSS: DPL must admit both CPL and RPL. A TSS that is not present is task.c's to find. */
static void through_system(struct x86_vcpu *v, uint16_t sel, const struct x86_desc *d, bool call)
{
    enum x86_task_cause cause = call ? X86_TASK_CALL : X86_TASK_JUMP;
    unsigned type = x86_desc_type(d), dpl = x86_desc_dpl(d);
    bool tss = type == X86_TSS16 || type == X86_TSS32;
    bool gate = type == X86_CALL_GATE16 || type == X86_CALL_GATE32;
    if ((!tss && !gate && type != X86_TASK_GATE) || dpl < v->cpl || dpl < (sel & 3u))
        x86_raise_sel(v, X86_GP, sel);
    if (tss) {
        x86_task_switch(v, sel, cause, false, 0);
        return;
    }
    if (!x86_desc_present(d))
        x86_raise_sel(v, X86_NP, sel);
    if (gate)
        through_gate(v, d, call);
    else
        x86_task_switch(v, (uint16_t)(d->lo >> 16), cause, false, 0);
}

static void far_transfer(struct x86_vcpu *v, const struct x86_insn *in, bool call)
{
    uint16_t sel = in->imm2;
    uint32_t eip = in->imm;
    if (in->has_mem) {
        uint32_t ea = x86_ea(v, in);
        eip = in->opsize == 4 ? x86_read32(v, in->seg, ea) : x86_read16(v, in->seg, ea);
        sel = x86_read16(v, in->seg, ea + in->opsize);
    }
    eip &= operand_mask(in->opsize);
    struct x86_seg cs;
    if (x86_real_or_v86(v)) {
        cs = x86_seg_real(&v->seg[X86_CS], sel, x86_v8086(v));
    } else {
        struct x86_desc d = x86_fetch_desc(v, sel, X86_GP);
        if (!x86_desc_is_code(&d)) {
            if (x86_desc_attr(&d) & SEG_S)
                x86_raise_sel(v, X86_GP, sel);
            through_system(v, sel, &d, call);
            return;
        }
        cs = direct_target(v, sel, &d);
    }
    jump_to(v, &cs, eip, in->opsize, call);
}

static void jmp_far(struct x86_vcpu *v, const struct x86_insn *in)
{
    far_transfer(v, in, false);
}
static void call_far(struct x86_vcpu *v, const struct x86_insn *in)
{
    far_transfer(v, in, true);
}

/* ---- RET and IRET --------------------------------------------------------------------------- */

/* The code segment a return goes to; its privilege is the selector's RPL, never an inner one. */
static struct x86_seg return_target(struct x86_vcpu *v, uint16_t sel)
{
    struct x86_desc d = x86_fetch_desc(v, sel, X86_GP);
    unsigned rpl = sel & 3, dpl = x86_desc_dpl(&d);
    if (!x86_desc_is_code(&d) || rpl < v->cpl ||
        (x86_desc_is_conforming(&d) ? dpl > rpl : dpl != rpl))
        x86_raise_sel(v, X86_GP, sel);
    if (!x86_desc_present(&d))
        x86_raise_sel(v, X86_NP, sel);
    return x86_seg_build(v, sel, &d);
}

static void drop_segment(struct x86_vcpu *v, enum x86_sreg s)
{
    v->seg[s] = (struct x86_seg){0};
    x86_seg_changed(v, s);
}

/* Data segments the outer level may not use become null (SDM vol. 3A 5.8.6). */
static void drop_inner_segments(struct x86_vcpu *v, unsigned cpl)
{
    static const uint8_t data[] = {X86_ES, X86_DS, X86_FS, X86_GS};
    for (unsigned i = 0; i < ARRAY_LEN(data); i++) {
        struct x86_seg *s = &v->seg[data[i]];
        bool conforming = (s->attr & SEG_CODE) && (s->attr & SEG_CONFORMING);
        if ((s->attr & SEG_P) && !conforming && x86_dpl(s) < cpl)
            drop_segment(v, data[i]);
    }
}

/* Finish a return in protected mode: `st` stands behind what was popped so far; an outer level's
 * stack pointer is next. `params` bytes are released on the outer stack, too. */
static void return_to(struct x86_vcpu *v, struct x86_stack *st, uint16_t sel, uint32_t eip,
                      unsigned size, uint32_t params, uint32_t eflags)
{
    struct x86_seg cs = return_target(v, sel);
    unsigned rpl = sel & 3;
    if (rpl == v->cpl) {
        check_eip(v, &cs, eip);
        x86_w32(v, X86_ESP, st->sp);
    } else {
        uint32_t sp = x86_stack_pop(v, st, size);
        uint16_t ss = (uint16_t)x86_stack_pop(v, st, size);
        struct x86_stack outer = {.ss = x86_stack_seg(v, ss, rpl, X86_GP)};
        check_eip(v, &cs, eip);
        /* A 16-bit stack leaves the upper half of the inner esp visible, as processors do. */
        outer.mask = outer.ss.attr & SEG_DB ? 0xffffffff : 0xffff;
        outer.sp = (x86_r32(v, X86_ESP) & ~outer.mask) | (sp & outer.mask);
        release(&outer, params);
        x86_stack_commit(v, &outer);
        drop_inner_segments(v, rpl);
    }
    x86_set_eflags(v, eflags);
    x86_commit_code(v, &cs, rpl, eip);
}

static void ret_far(struct x86_vcpu *v, const struct x86_insn *in)
{
    struct x86_stack st = x86_stack_current(v);
    uint32_t params = in->imm & 0xffff; /* 0 for the form without an operand */
    uint32_t eip = x86_stack_pop(v, &st, in->opsize);
    uint16_t sel = (uint16_t)x86_stack_pop(v, &st, in->opsize);
    release(&st, params);
    if (!x86_real_or_v86(v)) {
        return_to(v, &st, sel, eip, in->opsize, params, x86_get_eflags(v));
        return;
    }
    struct x86_seg cs = x86_seg_real(&v->seg[X86_CS], sel, x86_v8086(v));
    check_eip(v, &cs, eip);
    x86_w32(v, X86_ESP, st.sp);
    x86_commit_code(v, &cs, v->cpl, eip);
}

/* EFLAGS after an IRET that may replace the flags in `mask` by those of the popped image. */
static uint32_t merged_flags(const struct x86_vcpu *v, uint32_t image, uint32_t mask, unsigned size)
{
    mask &= operand_mask(size);
    return (x86_get_eflags(v) & ~mask) | (image & mask);
}

/* 16-bit IRET in v8086 mode with CR4.VME and IOPL < 3: VIF for IF (SDM vol. 3A 20.3). */
static uint32_t vme_flags(struct x86_vcpu *v, uint32_t image)
{
    if (((v->eflags & FL_VIP) && (image & FL_IF)) || (image & FL_TF))
        x86_raise_error(v, X86_GP, 0);
    uint32_t eflags = merged_flags(v, image, X86_FLAGS & ~(FL_IOPL | FL_IF), 2);
    return image & FL_IF ? eflags | FL_VIF : eflags & ~FL_VIF;
}

static void iret_real_or_v86(struct x86_vcpu *v, unsigned size)
{
    struct x86_stack st = x86_stack_current(v);
    bool v86 = x86_v8086(v);
    if (v86 && x86_iopl(v) != 3 && (!(v->cr4 & CR4_VME) || size != 2))
        x86_raise_error(v, X86_GP, 0);
    uint32_t eip = x86_stack_pop(v, &st, size);
    uint16_t sel = (uint16_t)x86_stack_pop(v, &st, size);
    uint32_t image = x86_stack_pop(v, &st, size), eflags;
    if (!v86)
        eflags = merged_flags(v, image, X86_FLAGS, size);
    else if (x86_iopl(v) == 3)
        eflags = merged_flags(v, image, X86_FLAGS & ~FL_IOPL, size);
    else
        eflags = vme_flags(v, image);
    struct x86_seg cs = x86_seg_real(&v->seg[X86_CS], sel, v86);
    check_eip(v, &cs, eip);
    x86_w32(v, X86_ESP, st.sp);
    x86_set_eflags(v, eflags);
    x86_commit_code(v, &cs, v->cpl, eip);
}

/* From ring 0 into v8086 mode: the frame goes on with ESP, SS, ES, DS, FS, GS. */
static void iret_to_v86(struct x86_vcpu *v, struct x86_stack *st, uint16_t sel, uint32_t eip,
                        uint32_t image)
{
    static const uint8_t order[] = {X86_SS, X86_ES, X86_DS, X86_FS, X86_GS};
    uint16_t sels[ARRAY_LEN(order)];
    uint32_t esp = x86_stack_pop(v, st, 4);
    for (unsigned i = 0; i < ARRAY_LEN(order); i++)
        sels[i] = (uint16_t)x86_stack_pop(v, st, 4);
    if (eip > 0xffff)
        x86_raise_error(v, X86_GP, 0);
    for (unsigned i = 0; i < ARRAY_LEN(order); i++)
        v->seg[order[i]] = x86_seg_real(&v->seg[order[i]], sels[i], true);
    struct x86_seg cs = x86_seg_real(&v->seg[X86_CS], sel, true);
    x86_w32(v, X86_ESP, esp);
    x86_set_eflags(v, merged_flags(v, image, X86_FLAGS | FL_VM | FL_VIF | FL_VIP, 4));
    x86_commit_code(v, &cs, 3, eip);
    x86_update_mode(v); /* of all segments */
}

static void iret_protected(struct x86_vcpu *v, unsigned size)
{
    struct x86_stack st = x86_stack_current(v);
    uint32_t mask = X86_FLAGS | FL_VIF | FL_VIP;
    uint32_t eip = x86_stack_pop(v, &st, size);
    uint16_t sel = (uint16_t)x86_stack_pop(v, &st, size);
    uint32_t image = x86_stack_pop(v, &st, size);
    if (size == 4 && (image & FL_VM) && v->cpl == 0) {
        iret_to_v86(v, &st, sel, eip, image);
        return;
    }
    if (v->cpl > x86_iopl(v))
        mask &= ~FL_IF;
    if (v->cpl != 0)
        mask &= ~(FL_IOPL | FL_VIF | FL_VIP);
    return_to(v, &st, sel, eip, size, 0, merged_flags(v, image, mask, size));
}

static void iret(struct x86_vcpu *v, const struct x86_insn *in)
{
    if (x86_real_or_v86(v))
        iret_real_or_v86(v, in->opsize);
    else if (v->eflags & FL_NT)
        x86_task_switch(v, (uint16_t)x86_sys_read(v, (uint32_t)v->seg[X86_TR].base, 2),
                        X86_TASK_IRET, false, 0);
    else
        iret_protected(v, in->opsize);
    v->nmi_blocked = false;
}

/* ---- INT ------------------------------------------------------------------------------------ */

/* CR4.VME: does the TSS's redirection bitmap (32 bytes below the I/O bitmap) send this vector to
 * the v8086 program's own handler? (SDM vol. 3A 20.3) */
static bool redirected(struct x86_vcpu *v, uint8_t vector)
{
    const struct x86_seg *tr = &v->seg[X86_TR];
    if (!(v->cr4 & CR4_VME) || tr->limit < 0x67)
        return false;
    uint32_t at = (uint32_t)x86_sys_read(v, (uint32_t)tr->base + 0x66, 2) - 32 + vector / 8;
    if (at > tr->limit)
        x86_raise_error(v, X86_GP, 0);
    return !(x86_sys_read(v, (uint32_t)tr->base + at, 1) >> (vector & 7) & 1);
}

static void int_v86(struct x86_vcpu *v, uint8_t vector)
{
    bool trusted = x86_iopl(v) == 3;
    uint32_t image = x86_get_eflags(v);
    if (redirected(v, vector)) {
        if (!trusted) {
            image = (image & ~FL_IF) | FL_IOPL;
            image |= v->eflags & FL_VIF ? FL_IF : 0;
        }
        x86_deliver_real(v, vector, 0, (uint16_t)image, FL_TF | FL_RF | (trusted ? FL_IF : FL_VIF));
        v->base.stats.exits[EXIT_EXCEPTION]++;
        return;
    }
    if (!trusted)
        x86_raise_error(v, X86_GP, 0);
    x86_deliver_software(v, vector);
}

static void int_n(struct x86_vcpu *v, const struct x86_insn *in)
{
    if (x86_v8086(v))
        int_v86(v, (uint8_t)in->imm);
    else
        x86_deliver_software(v, (uint8_t)in->imm);
}

static void int3(struct x86_vcpu *v, const struct x86_insn *in)
{
    x86_deliver_software(v, X86_BP);
}
static void int1(struct x86_vcpu *v, const struct x86_insn *in)
{
    x86_deliver_int1(v);
}

static void into(struct x86_vcpu *v, const struct x86_insn *in)
{
    if (v->cc & CC_OF)
        x86_deliver_software(v, X86_OF);
}

/* ---- SYSENTER --------------------------------------------------------------------------- */

/* Flat 4 GiB segments made from nothing; the descriptor tables are not read. */
static void flat_transfer(struct x86_vcpu *v, uint16_t cs_sel, unsigned cpl, uint32_t eip,
                          uint32_t esp)
{
    const uint16_t attr = (uint16_t)(SEG_G | SEG_DB | SEG_P | SEG_S | cpl << SEG_DPL_SHIFT);
    struct x86_stack st = {.sp = esp};
    struct x86_seg cs = {.sel = (uint16_t)(cs_sel | cpl), .limit = 0xffffffff};
    st.ss = cs;
    st.ss.sel = (uint16_t)((cs_sel + 8) | cpl);
    st.ss.attr = attr | SEG_WRITABLE | SEG_ACCESSED;
    cs.attr = attr | SEG_CODE | SEG_READABLE | SEG_ACCESSED;
    x86_stack_commit(v, &st);
    x86_commit_code(v, &cs, cpl, eip);
}

static void sysenter(struct x86_vcpu *v, const struct x86_insn *in)
{
    uint16_t cs = v->sysenter_cs & 0xfffc;
    if (!x86_protected(v) || !cs)
        x86_raise_error(v, X86_GP, 0);
    x86_set_eflags(v, x86_get_eflags(v) & ~(FL_VM | FL_IF | FL_RF));
    flat_transfer(v, cs, 0, (uint32_t)v->sysenter_eip, (uint32_t)v->sysenter_esp);
}

static void sysexit(struct x86_vcpu *v, const struct x86_insn *in)
{
    uint16_t cs = v->sysenter_cs & 0xfffc;
    if (!x86_protected(v) || !cs || v->cpl != 0)
        x86_raise_error(v, X86_GP, 0);
    flat_transfer(v, (uint16_t)(cs + 16), 3, x86_r32(v, X86_EDX), x86_r32(v, X86_ECX));
}

#define SENSITIVE (X86_BEHAVIOUR_SENSITIVE | X86_BRANCH)
#define SYSTEM    (X86_CONTROL_SENSITIVE | X86_BRANCH)
const struct x86_op x86_ops_far[] = {
    {X86_MN_JMP_FAR, SENSITIVE, jmp_far},
    {X86_MN_CALL_FAR, SENSITIVE, call_far},
    {X86_MN_RET_FAR, SENSITIVE, ret_far},
    {ZYDIS_MNEMONIC_IRET, SENSITIVE | SYSTEM, iret},
    {ZYDIS_MNEMONIC_IRETD, SENSITIVE | SYSTEM, iret},
    {ZYDIS_MNEMONIC_INT, SENSITIVE, int_n},
    {ZYDIS_MNEMONIC_INT1, SENSITIVE, int1},
    {ZYDIS_MNEMONIC_INT3, SENSITIVE, int3},
    {ZYDIS_MNEMONIC_INTO, SENSITIVE, into},
    {ZYDIS_MNEMONIC_SYSENTER, SYSTEM, sysenter},
    {ZYDIS_MNEMONIC_SYSEXIT, SYSTEM | X86_PRIVILEGED, sysexit},
    {0},
};
