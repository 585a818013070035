/* SPDX-License-Identifier: MIT */
/* Segment registers and descriptors (Intel SDM vol. 3A ch. 3 and 5; vol. 2 MOV, POP, LDS, LAR,
 * LSL, VERR, ARPL, LGDT, LLDT, LTR).
 *
 * Every load first builds the new contents in a struct x86_seg, raising what there is to raise,
 * then commits them, so that a fault leaves the registers alone. Accessed bits are set while
 * building; a restarted instruction sets them again. In real and v8086 mode selectors are
 * paragraphs and nothing can fault.
 *
 * Left out: the code-segment rules of far transfers, which are in far.c. */
#include "isa/x86/insn.h"
#include "isa/x86/mmu.h"
#include "isa/x86/translate_enter.h"
#include "isa/x86/trap.h"

/* Attributes of every real-mode and v8086 segment: present, read/write, accessed. */
#define ATTR_REAL (SEG_P | SEG_S | SEG_WRITABLE | SEG_ACCESSED)

_Noreturn void x86_raise_sel(struct x86_vcpu *v, enum x86_vector vector, uint16_t sel)
{
    x86_raise_error(v, vector, x86_sel_error(v, sel));
}

static bool is_null(uint16_t sel)
{
    return !(sel & 0xfffc);
}

static uint32_t desc_limit(uint32_t lo, uint32_t hi)
{
    uint32_t limit = (lo & 0xffff) | (hi & 0xf0000);
    return hi >> 8 & SEG_G ? limit << 12 | 0xfff : limit;
}

void x86_seg_from_desc(struct x86_seg *s, uint32_t lo, uint32_t hi)
{
    s->attr = (uint16_t)(hi >> 8 & 0xf0ff);
    s->limit = desc_limit(lo, hi);
    s->base = lo >> 16 | (hi & 0xff) << 16 | (hi & 0xff000000);
}

/* Linear address of the descriptor, or false if it is null or outside its table. */
static bool desc_address(const struct x86_vcpu *v, uint16_t sel, uint32_t *lin)
{
    bool local = sel & 4;
    const struct x86_seg *ldt = &v->seg[X86_LDTR];
    uint32_t limit = local ? ldt->limit : v->gdtr.limit;
    if (is_null(sel) || (local && !(ldt->attr & SEG_P)) || (sel | 7u) > limit)
        return false;
    *lin = (uint32_t)(local ? ldt->base : v->gdtr.base) + (sel & 0xfff8u);
    return true;
}

static struct x86_desc read_desc(struct x86_vcpu *v, uint32_t lin)
{
    uint64_t raw = x86_sys_read(v, lin, 8);
    return (struct x86_desc){(uint32_t)raw, (uint32_t)(raw >> 32), lin};
}

struct x86_desc x86_fetch_desc(struct x86_vcpu *v, uint16_t sel, enum x86_vector vector)
{
    uint32_t lin;
    if (!desc_address(v, sel, &lin))
        x86_raise_sel(v, vector, sel);
    return read_desc(v, lin);
}

struct x86_seg x86_seg_build(struct x86_vcpu *v, uint16_t sel, const struct x86_desc *d)
{
    struct x86_seg s = {.sel = sel};
    uint32_t hi = d->hi;
    if (!(hi >> 8 & SEG_ACCESSED)) {
        hi |= SEG_ACCESSED << 8;
        x86_sys_write(v, d->lin + 4, 4, hi);
    }
    x86_seg_from_desc(&s, d->lo, hi);
    return s;
}

struct x86_seg x86_seg_real(const struct x86_seg *old, uint16_t sel, bool v86)
{
    struct x86_seg s = {.sel = sel, .base = (uint32_t)sel << 4, .limit = 0xffff};
    const uint16_t kept = SEG_G | SEG_DB | SEG_L | SEG_AVL;
    s.attr = ATTR_REAL;
    if (v86) {
        s.attr |= SEG_DPL;
    } else if (old->attr & SEG_P) {
        s.limit = old->limit;
        s.attr |= old->attr & kept;
        if (!(old->attr & SEG_CODE))
            s.attr |= old->attr & SEG_EXPAND_DOWN;
    }
    return s;
}

struct x86_seg x86_data_seg(struct x86_vcpu *v, uint16_t sel, unsigned cpl, enum x86_vector vector)
{
    if (is_null(sel))
        return (struct x86_seg){.sel = sel};
    struct x86_desc d = x86_fetch_desc(v, sel, vector);
    uint16_t attr = x86_desc_attr(&d);
    unsigned rpl = sel & 3, dpl = x86_desc_dpl(&d);
    bool readable = (attr & SEG_S) && (!(attr & SEG_CODE) || (attr & SEG_READABLE));
    if (!readable || (!x86_desc_is_conforming(&d) && (rpl > dpl || cpl > dpl)))
        x86_raise_sel(v, vector, sel);
    if (!(attr & SEG_P))
        x86_raise_sel(v, X86_NP, sel);
    return x86_seg_build(v, sel, &d);
}

struct x86_seg x86_stack_seg(struct x86_vcpu *v, uint16_t sel, unsigned cpl, enum x86_vector vector)
{
    struct x86_desc d = x86_fetch_desc(v, sel, vector);
    uint16_t attr = x86_desc_attr(&d);
    bool writable = (attr & (SEG_S | SEG_CODE | SEG_WRITABLE)) == (SEG_S | SEG_WRITABLE);
    if (!writable || (sel & 3u) != cpl || x86_desc_dpl(&d) != cpl)
        x86_raise_sel(v, vector, sel);
    if (!(attr & SEG_P))
        x86_raise_sel(v, X86_SSF, sel);
    return x86_seg_build(v, sel, &d);
}

void x86_load_seg_real(struct x86_vcpu *v, enum x86_sreg s, uint16_t sel)
{
    v->seg[s] = x86_seg_real(&v->seg[s], sel, x86_v8086(v));
    x86_seg_changed(v, s);
}

void x86_load_seg(struct x86_vcpu *v, enum x86_sreg s, uint16_t sel)
{
    if (x86_real_or_v86(v)) {
        x86_load_seg_real(v, s, sel);
        return;
    }
    v->seg[s] =
        s == X86_SS ? x86_stack_seg(v, sel, v->cpl, X86_GP) : x86_data_seg(v, sel, v->cpl, X86_GP);
    x86_seg_changed(v, s);
    if (v->gen.translator)
        x86_callout_remember(v, s);
}

void x86_set_cpl(struct x86_vcpu *v, unsigned cpl)
{
    v->cpl = (uint8_t)cpl;
    if ((v->cr0 & CR0_AM) && (v->eflags & FL_AC))
        x86_update_mode(v); /* spans depend on it */
    else
        x86_privilege_changed(v);
}

/* SDM vol. 1 19.5.2. The two bytes are read together, so both must lie within the limit. */
void x86_check_io(struct x86_vcpu *v, uint16_t port, unsigned size)
{
    const struct x86_seg *tr = &v->seg[X86_TR];
    if (!x86_protected(v) || (!x86_v8086(v) && v->cpl <= x86_iopl(v)))
        return;
    unsigned type = tr->attr & SEG_TYPE;
    if (!(tr->attr & SEG_P) || (type | X86_TYPE_BUSY) != X86_TSS32_BUSY || tr->limit < 0x67)
        x86_raise_error(v, X86_GP, 0);
    uint32_t at = (uint32_t)x86_sys_read(v, (uint32_t)tr->base + 0x66, 2) + port / 8;
    if (at + 1 > tr->limit)
        x86_raise_error(v, X86_GP, 0);
    unsigned bits = (unsigned)x86_sys_read(v, (uint32_t)tr->base + at, 2) >> (port & 7);
    if (bits & ((1u << size) - 1))
        x86_raise_error(v, X86_GP, 0);
}

/* ---- stacks under construction -------------------------------------------------------------- */

static uint32_t stack_mask(const struct x86_seg *ss)
{
    return ss->attr & SEG_DB ? 0xffffffff : 0xffff;
}

struct x86_stack x86_stack_current(const struct x86_vcpu *v)
{
    return (struct x86_stack){
        .ss = v->seg[X86_SS],
        .cpl = v->cpl,
        .sp = x86_r32(v, X86_ESP),
        .mask = v->sp_mask,
        .vector = X86_SSF,
        .error = x86_sel_error(v, 0),
    };
}

struct x86_stack x86_stack_inner(struct x86_vcpu *v, unsigned cpl)
{
    const struct x86_seg *tr = &v->seg[X86_TR];
    unsigned wide = tr->attr & X86_TYPE_32 ? 4 : 2; /* bytes of a stack pointer in the TSS */
    uint32_t at = cpl * 2 * wide + wide;
    if (!(tr->attr & SEG_P) || at + wide + 1 > tr->limit)
        x86_raise_sel(v, X86_TS, tr->sel);
    struct x86_stack st = {.cpl = cpl, .vector = X86_SSF};
    st.sp = (uint32_t)x86_sys_read(v, (uint32_t)tr->base + at, wide);
    uint16_t sel = (uint16_t)x86_sys_read(v, (uint32_t)tr->base + at + wide, 2);
    st.ss = x86_stack_seg(v, sel, cpl, X86_TS);
    st.mask = stack_mask(&st.ss);
    st.error = x86_sel_error(v, sel);
    return st;
}

void x86_stack_push(struct x86_vcpu *v, struct x86_stack *st, unsigned size, uint32_t x)
{
    uint32_t sp = (st->sp - size) & st->mask;
    x86_stack_write(v, &st->ss, st->cpl, sp, size, x, st->vector, st->error);
    st->sp = (st->sp & ~st->mask) | sp;
}

uint32_t x86_stack_pop(struct x86_vcpu *v, struct x86_stack *st, unsigned size)
{
    uint32_t x =
        x86_stack_read(v, &st->ss, st->cpl, st->sp & st->mask, size, st->vector, st->error);
    st->sp = (st->sp & ~st->mask) | ((st->sp + size) & st->mask);
    return x;
}

void x86_stack_commit(struct x86_vcpu *v, const struct x86_stack *st)
{
    v->seg[X86_SS] = st->ss;
    x86_seg_changed(v, X86_SS);
    x86_w32(v, X86_ESP, st->sp);
}

/* ---- moves of segment registers ------------------------------------------------------------- */

/* No interrupt before the end of the next instruction (SDM vol. 2, MOV, POP). */
static void stack_shadow(struct x86_vcpu *v)
{
    v->shadow_until = v->retired + 1;
    v->shadow_debug = true;
}

static void mov_seg(struct x86_vcpu *v, const struct x86_insn *in)
{
    unsigned sreg = in->modrm >> 3 & 7;
    uint8_t rm = (uint8_t)((in->modrm & 7) * 8);
    bool load = in->opcode == 0x8e;
    if (sreg > X86_GS || (load && sreg == X86_CS))
        x86_raise(v, X86_UD);
    if (!load) {
        unsigned size = in->has_mem ? 2 : in->opsize; /* a register gets zeros on top */
        x86_rm_set(v, in, rm, size, v->seg[sreg].sel);
        return;
    }
    x86_load_seg(v, sreg, (uint16_t)x86_rm_get(v, in, rm, 2));
    if (sreg == X86_SS)
        stack_shadow(v);
}

/* P6 processors move 2 bytes whatever the operand size; the upper half of a 32-bit slot is neither
 * written nor read (SDM vol. 3B 22.31.1). */
static void push_seg(struct x86_vcpu *v, const struct x86_insn *in)
{
    uint32_t sp = (x86_sp(v) - in->opsize) & v->sp_mask;
    x86_write16(v, X86_SS, sp, v->seg[in->r0].sel);
    x86_set_sp(v, sp);
}

static void pop_seg(struct x86_vcpu *v, const struct x86_insn *in)
{
    uint32_t sp = x86_sp(v), mask = v->sp_mask; /* the old SS's size, even for pop ss */
    x86_load_seg(v, in->r0, x86_read16(v, X86_SS, sp));
    x86_w32(v, X86_ESP, (x86_r32(v, X86_ESP) & ~mask) | ((sp + in->opsize) & mask));
    if (in->r0 == X86_SS)
        stack_shadow(v);
}

/* LDS, LES, LFS, LGS, LSS: m16:16 or m16:32 */
static void load_pointer(struct x86_vcpu *v, const struct x86_insn *in, enum x86_sreg s)
{
    uint32_t ea = x86_ea(v, in);
    uint32_t off = in->opsize == 4 ? x86_read32(v, in->seg, ea) : x86_read16(v, in->seg, ea);
    x86_load_seg(v, s, x86_read16(v, in->seg, ea + in->opsize));
    x86_reg_set(v, in->r0, in->opsize, off);
}

static void lds(struct x86_vcpu *v, const struct x86_insn *in)
{
    load_pointer(v, in, X86_DS);
}
static void les(struct x86_vcpu *v, const struct x86_insn *in)
{
    load_pointer(v, in, X86_ES);
}
static void lfs(struct x86_vcpu *v, const struct x86_insn *in)
{
    load_pointer(v, in, X86_FS);
}
static void lgs(struct x86_vcpu *v, const struct x86_insn *in)
{
    load_pointer(v, in, X86_GS);
}
static void lss(struct x86_vcpu *v, const struct x86_insn *in)
{
    load_pointer(v, in, X86_SS);
}

/* ---- table registers ------------------------------------------------------------------------ */

static void load_table(struct x86_vcpu *v, const struct x86_insn *in, struct x86_dtr *t)
{
    uint32_t ea = x86_ea(v, in);
    uint16_t limit = x86_read16(v, in->seg, ea);
    uint32_t base = x86_read32(v, in->seg, ea + 2);
    t->limit = limit;
    t->base = in->opsize == 2 ? base & 0xffffff : base;
}

/* All 32 bits of the base whatever the operand size, as processors since the 386 do. */
static void store_table(struct x86_vcpu *v, const struct x86_insn *in, const struct x86_dtr *t)
{
    uint32_t ea = x86_ea(v, in);
    x86_probe_write(v, in->seg, ea, 6);
    x86_write16(v, in->seg, ea, t->limit);
    x86_write32(v, in->seg, ea + 2, (uint32_t)t->base);
}

static void lgdt(struct x86_vcpu *v, const struct x86_insn *in)
{
    load_table(v, in, &v->gdtr);
}
static void lidt(struct x86_vcpu *v, const struct x86_insn *in)
{
    load_table(v, in, &v->idtr);
}
static void sgdt(struct x86_vcpu *v, const struct x86_insn *in)
{
    store_table(v, in, &v->gdtr);
}
static void sidt(struct x86_vcpu *v, const struct x86_insn *in)
{
    store_table(v, in, &v->idtr);
}

static void lldt(struct x86_vcpu *v, const struct x86_insn *in)
{
    uint16_t sel = (uint16_t)x86_rm_get(v, in, in->r0, 2);
    struct x86_seg s = {.sel = sel};
    if (!is_null(sel)) {
        if (sel & 4)
            x86_raise_sel(v, X86_GP, sel);
        struct x86_desc d = x86_fetch_desc(v, sel, X86_GP);
        if ((x86_desc_attr(&d) & (SEG_S | SEG_TYPE)) != X86_LDT)
            x86_raise_sel(v, X86_GP, sel);
        if (!x86_desc_present(&d))
            x86_raise_sel(v, X86_NP, sel);
        x86_seg_from_desc(&s, d.lo, d.hi);
    }
    v->seg[X86_LDTR] = s;
    x86_seg_changed(v, X86_LDTR);
}

static void ltr(struct x86_vcpu *v, const struct x86_insn *in)
{
    uint16_t sel = (uint16_t)x86_rm_get(v, in, in->r0, 2);
    if (sel & 4)
        x86_raise_sel(v, X86_GP, sel);
    struct x86_desc d = x86_fetch_desc(v, sel, X86_GP);
    unsigned type = x86_desc_attr(&d) & (SEG_S | SEG_TYPE);
    if (type != X86_TSS16 && type != X86_TSS32)
        x86_raise_sel(v, X86_GP, sel);
    if (!x86_desc_present(&d))
        x86_raise_sel(v, X86_NP, sel);
    d.hi |= X86_TYPE_BUSY << 8;
    x86_sys_write(v, d.lin + 4, 4, d.hi);
    struct x86_seg s = {.sel = sel};
    x86_seg_from_desc(&s, d.lo, d.hi);
    v->seg[X86_TR] = s;
    x86_seg_changed(v, X86_TR);
}

static void store_selector(struct x86_vcpu *v, const struct x86_insn *in, enum x86_sreg s)
{
    x86_rm_set(v, in, in->r0, in->has_mem ? 2 : in->opsize, v->seg[s].sel);
}

static void sldt(struct x86_vcpu *v, const struct x86_insn *in)
{
    store_selector(v, in, X86_LDTR);
}
static void str(struct x86_vcpu *v, const struct x86_insn *in)
{
    store_selector(v, in, X86_TR);
}

/* ---- questions about descriptors ------------------------------------------------------------ */

/* System descriptor types each instruction accepts. */
enum {
    LSL_TYPES =
        1 << X86_TSS16 | 1 << X86_LDT | 1 << X86_TSS16_BUSY | 1 << X86_TSS32 | 1 << X86_TSS32_BUSY,
    LAR_TYPES = LSL_TYPES | 1 << X86_CALL_GATE16 | 1 << X86_TASK_GATE | 1 << X86_CALL_GATE32,
};

static void set_zf(struct x86_vcpu *v, bool zf)
{
    v->cc = (uint16_t)(zf ? v->cc | CC_ZF : v->cc & ~CC_ZF);
}

/* The descriptor, if CPL and RPL may see it and it is code, data or one of the system types in
 * the mask. */
static bool visible_desc(struct x86_vcpu *v, uint16_t sel, unsigned sys_types, struct x86_desc *d)
{
    uint32_t lin;
    if (!desc_address(v, sel, &lin))
        return false;
    *d = read_desc(v, lin);
    unsigned dpl = x86_desc_dpl(d);
    if (!(x86_desc_attr(d) & SEG_S) && !(sys_types >> x86_desc_type(d) & 1))
        return false;
    return x86_desc_is_conforming(d) || (v->cpl <= dpl && (sel & 3u) <= dpl);
}

static void lar(struct x86_vcpu *v, const struct x86_insn *in)
{
    struct x86_desc d;
    bool ok = visible_desc(v, (uint16_t)x86_rm_get(v, in, in->r1, 2), LAR_TYPES, &d);
    if (ok)
        x86_reg_set(v, in->r0, in->opsize, d.hi & 0x00f0ff00);
    set_zf(v, ok);
}

static void lsl(struct x86_vcpu *v, const struct x86_insn *in)
{
    struct x86_desc d;
    bool ok = visible_desc(v, (uint16_t)x86_rm_get(v, in, in->r1, 2), LSL_TYPES, &d);
    if (ok)
        x86_reg_set(v, in->r0, in->opsize, desc_limit(d.lo, d.hi));
    set_zf(v, ok);
}

static void verr(struct x86_vcpu *v, const struct x86_insn *in)
{
    struct x86_desc d;
    bool ok = visible_desc(v, (uint16_t)x86_rm_get(v, in, in->r0, 2), 0, &d) &&
              (!x86_desc_is_code(&d) || (x86_desc_type(&d) & SEG_READABLE));
    set_zf(v, ok);
}

static void verw(struct x86_vcpu *v, const struct x86_insn *in)
{
    struct x86_desc d;
    bool ok = visible_desc(v, (uint16_t)x86_rm_get(v, in, in->r0, 2), 0, &d) &&
              !x86_desc_is_code(&d) && (x86_desc_type(&d) & SEG_WRITABLE);
    set_zf(v, ok);
}

static void arpl(struct x86_vcpu *v, const struct x86_insn *in)
{
    uint32_t dst = x86_rm_get(v, in, in->r0, 2), src = x86_reg_get(v, in->r1, 2);
    bool raise = (dst & 3) < (src & 3);
    if (raise)
        x86_rm_set(v, in, in->r0, 2, (dst & ~3u) | (src & 3));
    set_zf(v, raise);
}

#define SENSITIVE X86_BEHAVIOUR_SENSITIVE
#define SYSTEM    (X86_PRIVILEGED | X86_CONTROL_SENSITIVE | X86_CPL0)
/* The boot tests build this file once more with a translator that copies two of them, and want the
 * guest's intruder to notice what it then sees of the host. */
#ifdef X86_PLANT_LEAK
#define PLANTED X86_COPY
#else
#define PLANTED 0
#endif
const struct x86_op x86_ops_segment[] = {
    {X86_MN_MOV_SEG, SENSITIVE, mov_seg},
    {X86_MN_PUSH_SEG, SENSITIVE, push_seg},
    {X86_MN_POP_SEG, SENSITIVE, pop_seg},
    {ZYDIS_MNEMONIC_LDS, SENSITIVE, lds},
    {ZYDIS_MNEMONIC_LES, SENSITIVE, les},
    {ZYDIS_MNEMONIC_LFS, SENSITIVE, lfs},
    {ZYDIS_MNEMONIC_LGS, SENSITIVE, lgs},
    {ZYDIS_MNEMONIC_LSS, SENSITIVE, lss},
    {ZYDIS_MNEMONIC_LGDT, SYSTEM, lgdt},
    {ZYDIS_MNEMONIC_LIDT, SYSTEM, lidt},
    {ZYDIS_MNEMONIC_SGDT, SENSITIVE, sgdt},
    {ZYDIS_MNEMONIC_SIDT, SENSITIVE, sidt},
    {ZYDIS_MNEMONIC_LLDT, SYSTEM | X86_PROT_ONLY, lldt},
    {ZYDIS_MNEMONIC_LTR, SYSTEM | X86_PROT_ONLY, ltr},
    {ZYDIS_MNEMONIC_SLDT, SENSITIVE | X86_PROT_ONLY, sldt},
    {ZYDIS_MNEMONIC_STR, PLANTED | SENSITIVE | X86_PROT_ONLY, str},
    {ZYDIS_MNEMONIC_LAR, PLANTED | SENSITIVE | X86_PROT_ONLY, lar},
    {ZYDIS_MNEMONIC_LSL, SENSITIVE | X86_PROT_ONLY, lsl},
    {ZYDIS_MNEMONIC_VERR, SENSITIVE | X86_PROT_ONLY, verr},
    {ZYDIS_MNEMONIC_VERW, SENSITIVE | X86_PROT_ONLY, verw},
    {ZYDIS_MNEMONIC_ARPL, SENSITIVE | X86_PROT_ONLY, arpl},
    {0},
};
