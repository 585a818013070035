/* SPDX-License-Identifier: MIT */
/* Memory operands of translated code: three ways to the same byte.
 *
 * Window   65 67 [operand as the guest wrote it]. The address wraps at 4 GiB before the GS base,
 * the window, is added; nothing else is needed. Flat     r8d = linear address; r9 = addend of its
 * page; [r9 + r8]. Select   the same with a table that bits 31 and 30 of the address choose:
 * supervisor code that touches user memory. An operand of several bytes may straddle two pages
 * whose addends differ. A load from the guard pages (translate.h), 16 bytes for each byte up to its
 * last one, faults exactly then.
 *
 * r15 holds table | 12: the 12 is the shift count of a page number (translate_host.c). */
#include "isa/x86/translate.h"

#include "mem/flat.h"

static bool is_based(unsigned seg)
{
    return seg == X86_FS || seg == X86_GS;
}

/* CS is flat but not writable; DS, ES and SS are flat; FS and GS check themselves. */
static bool segment_ok(const struct x86_tr *tr)
{
    return tr->in.seg != X86_CS || !tr->l.mem_write;
}

static enum x64_reg guest_reg(unsigned index)
{
    return index == X86_GPR_ZERO ? X64_NONE : (enum x64_reg)x86_host_reg(index);
}

struct x64_mem x86_tr_plain(const struct x86_tr *tr)
{
    const struct x86_insn *in = &tr->in;
    return (struct x64_mem){
        .base = (int8_t)guest_reg(in->base),
        .index = (int8_t)guest_reg(in->index),
        .shift = in->shift,
        .disp = (int32_t)in->disp,
    };
}

/* Add the base of FS or GS, in r9d, to an address; r8d if there is no room for it. The pointer to
 * the base faults if the segment needs checks. */
static struct x64_mem add_base(struct x86_tr *tr, struct x64_mem m)
{
    x64_load64(&tr->e, X64_R9,
               x86_state(offsetof(struct x86_vcpu, gen.base_at) +
                         (tr->in.seg - X86_FS) * sizeof(uint64_t)));
    x64_load32(&tr->e, X64_R9, x64_at(X64_R9, 0));
    if (m.base < 0) {
        m.base = X64_R9;
        return m;
    }
    if (m.index >= 0) {
        x64_lea32(&tr->e, X64_R8, m);
        m = x64_at(X64_R8, 0);
    }
    m.index = X64_R9;
    m.shift = 0;
    return m;
}

/* 16-bit addressing: the offset wraps at 64 KiB. Leaves it in r8d. */
static struct x64_mem wrapped(struct x86_tr *tr, struct x64_mem m)
{
    x64_lea32(&tr->e, X64_R8, m);
    x64_op_reg(&tr->e, X64_OP(0x0f, 0xb7), X64_R8, X64_R8);
    return x64_at(X64_R8, 0);
}

static struct x64_mem address(struct x86_tr *tr)
{
    struct x64_mem m = x86_tr_plain(tr);
    if (tr->in.asize == 2)
        m = wrapped(tr, m);
    if (is_based(tr->in.seg))
        m = add_base(tr, m);
    return m;
}

bool x86_tr_address(struct x86_tr *tr)
{
    if (!segment_ok(tr))
        return false;
    x64_lea32(&tr->e, X64_R8, address(tr));
    return true;
}

static void guard(struct x86_tr *tr, unsigned bytes)
{
    x86_tr_offset16(tr);
    x64_load8(&tr->e, X64_R9,
              x64_indexed(X64_R11, X64_R9, 0, (int32_t)(DBT_GUARD_OFFSET + 16 * (bytes - 1))));
}

struct x64_mem x86_tr_view(struct x86_tr *tr, unsigned bytes, bool write, enum tb_policy policy)
{
    struct x64 *e = &tr->e;
    int32_t table = (write ? (int32_t)FLAT_WRITE_OFFSET : 0) - X86_VIEW_TAG;
    bool select = policy == TB_SELECT && !(tr->tb->mode & X86_MODE_USER);
    if (!(tr->tb->mode & X86_MODE_FLAT) && !select) {
        struct x64_mem m = x64_at(X64_R8, 0);
        m.gs = m.addr32 = true;
        return m;
    }
    if (bytes > 1)
        guard(tr, bytes);
    unsigned view = X64_R15;
    if (select) {
        view = X64_R10;
        x86_tr_quarter(tr);
        x64_load64(e, X64_R10,
                   x64_indexed(X64_R13, X64_R10, 3, offsetof(struct x86_vcpu, gen.select)));
    }
    x86_tr_page(tr);
    x64_load64(e, X64_R9, x64_indexed(view, X64_R9, 3, table));
    return x64_indexed(X64_R9, X64_R8, 0, 0);
}

static bool through_window(const struct x86_tr *tr)
{
    return !(tr->tb->mode & X86_MODE_FLAT) && tr->policy != TB_SELECT;
}

bool x86_tr_mem(struct x86_tr *tr, unsigned bytes, bool write, struct x64_mem *m)
{
    if (!segment_ok(tr))
        return false;
    if (through_window(tr)) {
        *m = address(tr);
        m->gs = m->addr32 = true;
        return true;
    }
    x64_lea32(&tr->e, X64_R8, address(tr));
    *m = x86_tr_view(tr, bytes, write, tr->policy);
    return true;
}

struct x64_mem x86_tr_stack(struct x86_tr *tr, int32_t disp, unsigned bytes, bool write)
{
    if (!(tr->tb->mode & X86_MODE_FLAT)) {
        struct x64_mem m = x64_at(X64_R12, disp);
        m.gs = m.addr32 = true;
        return m;
    }
    x64_lea32(&tr->e, X64_R8, x64_at(X64_R12, disp));
    return x86_tr_view(tr, bytes, write, TB_PLAIN);
}
