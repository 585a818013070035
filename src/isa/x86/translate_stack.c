/* SPDX-License-Identifier: MIT */
/* Pushes and pops in translated code: 64-bit code has no 32-bit forms, and the guest's esp is not
 * the host's. Each is a mov; runs of them move esp once, at their end (tr->esp says by how much
 * r12d is behind). Every store that may fault comes before its change of esp. */
#include "isa/x86/translate.h"
#include "isa/x86/translate_enter.h"

static bool register_form(const struct x86_tr *tr)
{
    return !tr->in.has_mem && tr->l.opcode_reg_is_gpr;
}

static bool names_esp(const struct x86_tr *tr)
{
    return (tr->in.opcode & 7) == X86_ESP;
}

bool x86_tr_merges(const struct x86_tr *tr)
{
    if (tr->in.opsize != 4 || tr->after_sti)
        return false;
    if (tr->in.mnemonic == ZYDIS_MNEMONIC_PUSH)
        return !tr->in.has_mem && !(register_form(tr) && names_esp(tr)) && tr->in.opcode != 0xff;
    return tr->in.mnemonic == ZYDIS_MNEMONIC_POP && register_form(tr) && !names_esp(tr);
}

/* Store r10d below the stack pointer. */
static void push_r10(struct x86_tr *tr)
{
    x64_store32(&tr->e, x86_tr_stack(tr, -4, 4, true), X64_R10);
    x64_lea32(&tr->e, X64_R12, x64_at(X64_R12, -4));
}

static void push_memory(struct x86_tr *tr)
{
    struct x64_mem m;
    if (!x86_tr_mem(tr, 4, false, &m)) {
        x86_tr_decline(tr);
        return;
    }
    x64_load32(&tr->e, X64_R10, m);
    push_r10(tr);
}

static void tr_push(struct x86_tr *tr)
{
    if (tr->in.opsize != 4) {
        x86_tr_decline(tr);
    } else if (tr->in.has_mem) {
        push_memory(tr);
    } else if (tr->in.opcode == 0xff || (register_form(tr) && names_esp(tr))) {
        unsigned reg = tr->in.opcode == 0xff ? tr->in.modrm & 7u : X86_ESP;
        x64_mov32(&tr->e, X64_R10, x86_host_reg(reg));
        push_r10(tr);
    } else {
        struct x64_mem m = x86_tr_stack(tr, tr->esp - 4, 4, true);
        if (register_form(tr))
            x64_store32(&tr->e, m, tr->in.opcode & 7);
        else
            x64_store32_imm(&tr->e, m, tr->in.imm);
        tr->esp = (int16_t)(tr->esp - 4);
    }
}

/* An address by esp is that of esp after the pop. */
static void pop_memory(struct x86_tr *tr)
{
    struct x64_mem m;
    if (tr->policy == TB_SELECT) { /* r10 would be needed twice */
        x86_tr_decline(tr);
        return;
    }
    x64_load32(&tr->e, X64_R10, x86_tr_stack(tr, 0, 4, false));
    if (tr->in.base == X86_ESP)
        tr->in.disp += 4;
    if (!x86_tr_mem(tr, 4, true, &m)) {
        x86_tr_decline(tr);
        return;
    }
    x64_store32(&tr->e, m, X64_R10);
    x64_lea32(&tr->e, X64_R12, x64_at(X64_R12, 4));
}

static void tr_pop(struct x86_tr *tr)
{
    if (tr->in.opsize != 4) {
        x86_tr_decline(tr);
    } else if (tr->in.has_mem) {
        pop_memory(tr);
    } else if (!register_form(tr)) { /* 8F /0 with a register */
        x86_tr_decline(tr);
    } else if (names_esp(tr)) {
        x64_load32(&tr->e, X64_R12, x86_tr_stack(tr, 0, 4, false));
    } else {
        struct x64_mem m = x86_tr_stack(tr, tr->esp, 4, false);
        x64_load32(&tr->e, tr->in.opcode & 7, m);
        tr->esp = (int16_t)(tr->esp + 4);
    }
}

/* esp = ebp, pop ebp */
static void tr_leave(struct x86_tr *tr)
{
    if (tr->in.opsize != 4) {
        x86_tr_decline(tr);
        return;
    }
    x64_mov32(&tr->e, X64_R8, X64_RBP);
    x64_load32(&tr->e, X64_R10, x86_tr_view(tr, 4, false, TB_PLAIN));
    x64_lea32(&tr->e, X64_R12, x64_at(X64_RBP, 4));
    x64_mov32(&tr->e, X64_RBP, X64_R10);
}

static struct x64_mem selector(const struct x86_tr *tr, unsigned seg)
{
    return x86_state(offsetof(struct x86_vcpu, seg) + seg * sizeof(struct x86_seg) +
                     offsetof(struct x86_seg, sel));
}

static void tr_push_seg(struct x86_tr *tr)
{
    if (tr->in.opsize != 4) {
        x86_tr_decline(tr);
        return;
    }
    x64_load16(&tr->e, X64_R10, selector(tr, tr->in.r0));
    struct x64_op store16 = X64_OP(0x89); /* the upper half of the slot keeps what it was */
    store16.opsize16 = true;
    x64_op_mem(&tr->e, store16, X64_R10, x86_tr_stack(tr, -4, 2, true));
    x64_lea32(&tr->e, X64_R12, x64_at(X64_R12, -4));
}

static bool loadable(const struct x86_tr *tr, unsigned seg)
{
    return seg <= X86_GS && seg != X86_CS && seg != X86_SS && x86_tr_may_call(tr);
}

static void tr_pop_seg(struct x86_tr *tr)
{
    if (tr->in.opsize != 4 || !loadable(tr, tr->in.r0)) {
        x86_tr_decline(tr);
        return;
    }
    x64_load16(&tr->e, X64_R10, x86_tr_stack(tr, 0, 2, false));
    x86_tr_callout(tr, X86_CALLOUT_POP + tr->in.r0);
}

static void tr_mov_seg(struct x86_tr *tr)
{
    unsigned seg = tr->in.modrm >> 3 & 7, reg = x86_host_reg(tr->in.modrm & 7);
    if (tr->in.has_mem || tr->in.opsize != 4 || seg > X86_GS) {
        x86_tr_decline(tr);
    } else if (tr->in.opcode == 0x8c) {
        x64_load16(&tr->e, reg, selector(tr, seg));
    } else if (loadable(tr, seg)) {
        x64_mov32(&tr->e, X64_R10, reg);
        x86_tr_callout(tr, X86_CALLOUT_LOAD + seg);
    } else {
        x86_tr_decline(tr);
    }
}

/* The host's image holds the arithmetic flags, DF, and of the others IF and the fixed bit. */
static void tr_pushf(struct x86_tr *tr)
{
    struct x64 *e = &tr->e;
    if (tr->in.opsize != 4 || tr->after_sti) {
        x86_tr_decline(tr);
        return;
    }
    x64_u8(e, 0x9c);
    x64_op_short(e, X64_OP(0x58), X64_R10);
    x64_load32(e, X64_R9, X86_STATE(eflags));
    x64_lea32(e, X64_R10, x64_indexed(X64_R10, X64_R9, 0, -(int32_t)(FL_IF | FL_FIXED)));
    x64_load32(e, X64_R9, X86_STATE(if_flag));
    x64_lea32(e, X64_R10, x64_indexed(X64_R10, X64_R9, 0, 0));
    push_r10(tr);
}

static void tr_popf(struct x86_tr *tr)
{
    if (tr->in.opsize != 4 || !x86_tr_may_call(tr)) {
        x86_tr_decline(tr);
        return;
    }
    x64_load32(&tr->e, X64_R10, x86_tr_stack(tr, 0, 4, false));
    x86_tr_callout(tr, X86_CALLOUT_POPF);
}

const struct x86_special_row x86_specials_stack[] = {
    {ZYDIS_MNEMONIC_PUSH, tr_push},
    {ZYDIS_MNEMONIC_POP, tr_pop},
    {ZYDIS_MNEMONIC_LEAVE, tr_leave},
    {X86_MN_PUSH_SEG, tr_push_seg},
    {X86_MN_POP_SEG, tr_pop_seg},
    {X86_MN_MOV_SEG, tr_mov_seg},
    {ZYDIS_MNEMONIC_PUSHFD, tr_pushf},
    {ZYDIS_MNEMONIC_POPFD, tr_popf},
    {0},
};
