/* SPDX-License-Identifier: MIT */
/* Flags that are not arithmetic, and the few data moves that need more than a
 * copy.
 *
 * The interrupt flag is memory: cli and sti are stores. After sti the attention word
 * is looked at; interrupts that arrive later find IF set. */
#include "isa/x86/translate.h"
#include "isa/x86/translate_enter.h"

static bool supervisor(const struct x86_tr *tr)
{
    return !(tr->tb->mode & X86_MODE_USER) && !tr->t->options.trap;
}

static void store_if(struct x86_tr *tr, uint32_t flag)
{
    x64_store32_imm(&tr->e, X86_STATE(if_flag), flag);
    x64_store32_imm(&tr->e, X86_STATE(attn_mask), flag ? X86_ATTN_MASK_OPEN : X86_ATTN_MASK_CLOSED);
}

static void tr_cli(struct x86_tr *tr)
{
    if (!supervisor(tr))
        x86_tr_decline(tr);
    else
        store_if(tr, 0);
}

/* mov r8,rcx; mov ecx,[attention]; jrcxz +n; leave; mov rcx,r8. The jump is flag-free. */
static void leave_if_attention(struct x86_tr *tr)
{
    struct x64 *e = &tr->e;
    x64_mov64(e, X64_R8, X64_RCX);
    x64_load32(e, X64_RCX, X86_STATE(base.attention));
    x64_u8(e, 0xe3);
    uint8_t *over = e->at;
    x64_u8(e, 0);
    x64_mov64(e, X64_RCX, X64_R8);
    x86_tr_set_shadow(tr);
    x64_mov32_imm(e, X64_R8, tr->next);
    x64_mov32_imm(e, X64_R9, 0);
    x86_tr_exit(tr, DBT_EXIT_SHADOWED);
    x64_here8(e, over);
    x64_mov64(e, X64_RCX, X64_R8);
}

/* The next instruction is in the shadow of sti if IF was clear; if it was set already, that is
 * only stricter than a processor need be. */
static void tr_sti(struct x86_tr *tr)
{
    if (!supervisor(tr) || tr->after_sti) {
        x86_tr_decline(tr);
        return;
    }
    store_if(tr, FL_IF);
    x86_tr_count(tr);
    leave_if_attention(tr);
    tr->after_sti = true;
}

static void tr_cld(struct x86_tr *tr)
{
    x64_u8(&tr->e, 0xfc);
    x64_store32_imm(&tr->e, X86_STATE(df_flag), 0);
}

static void tr_std(struct x86_tr *tr)
{
    x64_u8(&tr->e, 0xfd);
    x64_store32_imm(&tr->e, X86_STATE(df_flag), FL_DF);
}

static void tr_rdtsc(struct x86_tr *tr)
{
    if (x86_tr_may_call(tr))
        x86_tr_callout(tr, X86_CALLOUT_RDTSC);
    else
        x86_tr_decline(tr);
}

/* ---- data moves ------------------------------------------------------------------------- */

static void tr_nothing(struct x86_tr *tr) {}

static void tr_lea(struct x86_tr *tr)
{
    if (tr->in.asize != 4) {
        x86_tr_decline(tr);
        return;
    }
    x64_op_mem(&tr->e, x86_tr_op(tr), x86_host_reg(tr->in.modrm >> 3 & 7), x86_tr_plain(tr));
}

/* A0 to A3 have a 64-bit address in 64-bit code: 8A, 8B, 88, 89 with an absolute operand. */
static void tr_mov(struct x86_tr *tr)
{
    static const uint8_t with_modrm[] = {0x8a, 0x8b, 0x88, 0x89};
    unsigned opcode = tr->in.opcode;
    if (!tr->in.has_mem || tr->l.has_modrm || (tr->in.prefix & X86_PFX_0F)) {
        x86_tr_copy(tr);
        return;
    }
    struct x64_mem m;
    unsigned bytes = opcode & 1 ? tr->in.opsize : 1;
    if (!x86_tr_mem(tr, bytes, opcode & 2, &m)) {
        x86_tr_decline(tr);
        return;
    }
    struct x64_op op = x86_tr_op(tr);
    op.opcode[0] = with_modrm[opcode & 3];
    x64_op_mem(&tr->e, op, X64_RAX, m);
}

/* al = [ebx + al] */
static void tr_xlat(struct x86_tr *tr)
{
    if (tr->in.seg == X86_FS || tr->in.seg == X86_GS || tr->in.asize != 4) {
        x86_tr_decline(tr);
        return;
    }
    x64_op_reg(&tr->e, X64_OP(0x0f, 0xb6), X64_R8, X64_RAX);
    x64_lea32(&tr->e, X64_R8, x64_indexed(X64_RBX, X64_R8, 0, 0));
    x64_op_mem(&tr->e, X64_OP(0x8a), X64_RAX, x86_tr_view(tr, 1, false, tr->policy));
}

/* A register bit offset reaches beyond the operand: word (offset >> 5) from its address, bit
 * offset & 31. */
static void tr_bit(struct x86_tr *tr)
{
    bool by_register = tr->in.opcode != 0xba;
    if (!tr->in.has_mem || !by_register) {
        x86_tr_copy(tr);
        return;
    }
    /* A 16-bit address would have to wrap once more, behind the word's offset. */
    if (tr->in.opsize != 4 || tr->in.asize != 4 || !x86_tr_address(tr)) {
        x86_tr_decline(tr);
        return;
    }
    struct x64 *e = &tr->e;
    unsigned reg = x86_host_reg(tr->in.modrm >> 3 & 7);
    x86_tr_bit_word(tr, reg);
    x64_lea32(e, X64_R8, x64_indexed(X64_R8, X64_R9, 2, 0));
    struct x64_mem m = x86_tr_view(tr, 4, tr->l.mem_write, tr->policy);
    x86_tr_bit_index(tr, reg);
    x64_op_mem(e, x86_tr_op(tr), X64_R10, m);
}

#define ROW(m, fn)                                                                                 \
    {                                                                                              \
        ZYDIS_MNEMONIC_##m, fn                                                                     \
    }
const struct x86_special_row x86_specials_state[] = {
    ROW(CLI, tr_cli), ROW(STI, tr_sti),     ROW(CLD, tr_cld),
    ROW(STD, tr_std), ROW(RDTSC, tr_rdtsc), {0},
};
const struct x86_special_row x86_specials_data[] = {
    ROW(NOP, tr_nothing), ROW(LEA, tr_lea), ROW(MOV, tr_mov),
    ROW(XLAT, tr_xlat),   ROW(BT, tr_bit),  ROW(BTS, tr_bit),
    ROW(BTR, tr_bit),     ROW(BTC, tr_bit), {0},
};
