/* SPDX-License-Identifier: MIT */
/* Hardware task switches (Intel SDM vol. 3A ch. 7).
 *
 * Up to the commit point - new TSS readable and valid, old TSS, back link and both descriptors
 * writable - a fault belongs to the old task and nothing has changed. From there on the new task
 * runs: its registers are loaded with unusable segments, and a bad selector faults in its
 * context, with the segments behind it still unusable.
 *
 * Left out: the privilege checks on the selector or gate that led here (far.c, event.c). */
#include "isa/x86/mmu.h"
#include "isa/x86/trap.h"

/* Where a TSS keeps what. Segment registers are in the order of enum x86_sreg. */
struct layout {
    uint8_t ip, flags, gpr, sreg, ldt;
    uint8_t width;     /* bytes of a slot */
    uint8_t sregs;     /* how many */
    uint8_t min_limit; /* of a valid TSS */
};
static const struct layout layout16 = {0x0e, 0x10, 0x12, 0x22, 0x2a, 2, 4, 0x2b};
static const struct layout layout32 = {0x20, 0x24, 0x28, 0x48, 0x60, 4, 6, 0x67};
#define TSS_CR3   0x1c   /* 32-bit only */
#define TSS_TRAP  0x64   /* bit 0: debug trap on arrival; 32-bit only */
#define DR7_LOCAL 0x155u /* L0-L3 and LE: off in a new task */

struct task {
    const struct layout *at;
    struct x86_seg tr;
    struct x86_desc desc;
    uint32_t ip, flags, gpr[8], cr3;
    uint16_t sreg[6], ldt;
    bool trap;
};

static const struct layout *layout_of(unsigned type)
{
    return type & X86_TYPE_32 ? &layout32 : &layout16;
}

/* Find and check the new TSS: available, or busy when returning to it. */
static void find_tss(struct x86_vcpu *v, uint16_t sel, enum x86_task_cause cause, struct task *t)
{
    enum x86_vector bad = cause == X86_TASK_IRET ? X86_TS : X86_GP;
    if (sel & 4)
        x86_raise_sel(v, bad, sel);
    t->desc = x86_fetch_desc(v, sel, bad);
    unsigned type = x86_desc_attr(&t->desc) & (SEG_S | SEG_TYPE);
    if (cause == X86_TASK_IRET)
        type ^= X86_TYPE_BUSY;
    if (type != X86_TSS16 && type != X86_TSS32)
        x86_raise_sel(v, bad, sel);
    if (!x86_desc_present(&t->desc))
        x86_raise_sel(v, X86_NP, sel);
    t->at = layout_of(type);
    t->desc.hi |= X86_TYPE_BUSY << 8;
    t->tr.sel = sel;
    x86_seg_from_desc(&t->tr, t->desc.lo, t->desc.hi);
    if (t->tr.limit < t->at->min_limit)
        x86_raise_sel(v, X86_TS, sel);
}

static void read_tss(struct x86_vcpu *v, struct task *t)
{
    const struct layout *at = t->at;
    uint32_t base = (uint32_t)t->tr.base;
    t->ip = (uint32_t)x86_sys_read(v, base + at->ip, at->width);
    t->flags = (uint32_t)x86_sys_read(v, base + at->flags, at->width);
    for (unsigned i = 0; i < ARRAY_LEN(t->gpr); i++)
        t->gpr[i] = (uint32_t)x86_sys_read(v, base + at->gpr + i * at->width, at->width);
    for (unsigned i = 0; i < at->sregs; i++)
        t->sreg[i] = (uint16_t)x86_sys_read(v, base + at->sreg + i * at->width, 2);
    t->ldt = (uint16_t)x86_sys_read(v, base + at->ldt, 2);
    if (at == &layout32) {
        t->cr3 = (uint32_t)x86_sys_read(v, base + TSS_CR3, 4);
        t->trap = x86_sys_read(v, base + TSS_TRAP, 1) & 1;
    }
}

static void save_tss(struct x86_vcpu *v, const struct layout *at, uint32_t flags)
{
    uint32_t base = (uint32_t)v->seg[X86_TR].base;
    x86_sys_write(v, base + at->ip, at->width, v->eip);
    x86_sys_write(v, base + at->flags, at->width, flags);
    for (unsigned i = 0; i < 8; i++)
        x86_sys_write(v, base + at->gpr + i * at->width, at->width, v->gpr[i]);
    for (unsigned i = 0; i < at->sregs; i++)
        x86_sys_write(v, base + at->sreg + i * at->width, 2, v->seg[i].sel);
}

/* Everything that can fault in the old task has to fault here. */
static void probe(struct x86_vcpu *v, const struct task *t, const struct layout *old_at,
                  uint32_t old_desc, enum x86_task_cause cause)
{
    const struct x86_seg *tr = &v->seg[X86_TR];
    if (!(tr->attr & SEG_P) || tr->limit < old_at->ldt - 1u)
        x86_raise_sel(v, X86_TS, tr->sel);
    x86_sys_probe_write(v, (uint32_t)tr->base + old_at->ip, (unsigned)old_at->ldt - old_at->ip);
    if (cause == X86_TASK_JUMP || cause == X86_TASK_IRET)
        x86_sys_probe_write(v, old_desc + 4, 4);
    else
        x86_sys_probe_write(v, (uint32_t)t->tr.base, 2);
    if (cause != X86_TASK_IRET)
        x86_sys_probe_write(v, t->desc.lin + 4, 4);
}

static void set_busy(struct x86_vcpu *v, uint32_t desc, bool busy)
{
    uint32_t hi = (uint32_t)x86_sys_read(v, desc + 4, 4);
    const uint32_t bit = X86_TYPE_BUSY << 8;
    x86_sys_write(v, desc + 4, 4, busy ? hi | bit : hi & ~bit);
}

/* The new task's registers, segments as yet unusable. */
static void load_registers(struct x86_vcpu *v, const struct task *t)
{
    x86_log_branch(v, (uint32_t)v->insn_eip, t->ip);
    for (unsigned i = 0; i < ARRAY_LEN(t->gpr); i++)
        x86_w32(v, i, t->gpr[i]);
    for (unsigned i = 0; i < ARRAY_LEN(t->sreg); i++)
        v->seg[i] = (struct x86_seg){.sel = t->sreg[i]};
    v->seg[X86_LDTR] = (struct x86_seg){.sel = t->ldt};
    v->seg[X86_TR] = t->tr;
    v->cr0 |= CR0_TS;
    v->dr[7] &= ~DR7_LOCAL;
    v->eip = v->insn_eip = t->ip;
    x86_set_eflags(v, t->flags & (X86_FLAGS | FL_VM | FL_VIF | FL_VIP));
    x86_set_cpl(v, t->flags & FL_VM ? 3 : t->sreg[X86_CS] & 3);
    x86_update_mode(v); /* of all segments */
}

static void load_cr3(struct x86_vcpu *v, uint32_t cr3)
{
    if (v->cr4 & CR4_PAE)
        x86_load_pdptes(v, cr3);
    v->cr3 = cr3;
    x86_tlb_flush(v, true);
    x86_update_mode(v);
}

static void load_ldt(struct x86_vcpu *v, uint16_t sel)
{
    if (!(sel & 0xfffc))
        return;
    struct x86_desc d = x86_fetch_desc(v, sel, X86_TS); /* refuses TI: there is no LDT yet */
    if ((x86_desc_attr(&d) & (SEG_S | SEG_TYPE | SEG_P)) != (X86_LDT | SEG_P))
        x86_raise_sel(v, X86_TS, sel);
    x86_seg_from_desc(&v->seg[X86_LDTR], d.lo, d.hi);
    x86_seg_changed(v, X86_LDTR);
}

static struct x86_seg task_code(struct x86_vcpu *v, uint16_t sel)
{
    struct x86_desc d = x86_fetch_desc(v, sel, X86_TS);
    unsigned rpl = sel & 3, dpl = x86_desc_dpl(&d);
    if (!x86_desc_is_code(&d) || (x86_desc_is_conforming(&d) ? dpl > rpl : dpl != rpl))
        x86_raise_sel(v, X86_TS, sel);
    if (!x86_desc_present(&d))
        x86_raise_sel(v, X86_NP, sel);
    return x86_seg_build(v, sel, &d);
}

/* SDM vol. 3A table 7-1, in the new task's context. */
static void load_segments(struct x86_vcpu *v, const struct task *t)
{
    static const uint8_t data[] = {X86_DS, X86_ES, X86_FS, X86_GS};
    if (x86_v8086(v)) {
        for (unsigned i = X86_ES; i <= X86_GS; i++)
            x86_load_seg_real(v, i, t->sreg[i]);
        return;
    }
    v->seg[X86_CS] = task_code(v, t->sreg[X86_CS]);
    x86_seg_changed(v, X86_CS);
    v->seg[X86_SS] = x86_stack_seg(v, t->sreg[X86_SS], v->cpl, X86_TS);
    x86_seg_changed(v, X86_SS);
    for (unsigned i = 0; i < ARRAY_LEN(data); i++) {
        v->seg[data[i]] = x86_data_seg(v, t->sreg[data[i]], v->cpl, X86_TS);
        x86_seg_changed(v, data[i]);
    }
}

void x86_task_switch(struct x86_vcpu *v, uint16_t sel, enum x86_task_cause cause, bool has_error,
                     uint32_t error)
{
    struct task t = {0};
    const struct layout *old_at = layout_of(v->seg[X86_TR].attr);
    uint16_t old_sel = v->seg[X86_TR].sel;
    uint32_t old_desc = (uint32_t)v->gdtr.base + (old_sel & 0xfff8u);
    uint32_t old_flags = x86_get_eflags(v);
    bool nested = cause == X86_TASK_CALL || cause == X86_TASK_GATE_EVENT;

    find_tss(v, sel, cause, &t);
    read_tss(v, &t);
    probe(v, &t, old_at, old_desc, cause);

    if (!nested)
        set_busy(v, old_desc, false);
    if (cause == X86_TASK_IRET)
        old_flags &= ~FL_NT;
    save_tss(v, old_at, old_flags);
    if (nested) {
        x86_sys_write(v, (uint32_t)t.tr.base, 2, old_sel);
        t.flags |= FL_NT;
    }
    if (cause != X86_TASK_IRET)
        set_busy(v, t.desc.lin, true);

    load_registers(v, &t);
    if (t.at == &layout32 && (v->cr0 & CR0_PG))
        load_cr3(v, t.cr3);
    load_ldt(v, t.ldt);
    load_segments(v, &t);
    if (t.trap) {
        v->dr6_pending |= DR6_BT;
        x86_update_debug(v);
    }
    if (t.ip > v->seg[X86_CS].limit)
        x86_raise_sel(v, X86_GP, 0);
    if (has_error) {
        struct x86_stack st = x86_stack_current(v);
        x86_stack_push(v, &st, t.at->width, error);
        x86_stack_commit(v, &st);
    }
}
