/* SPDX-License-Identifier: MIT */
/* Near jumps, calls and returns in translated code.
 *
 * Inside the page they are rel32 jumps that the engine links. Everything else goes through the jump
 * table (translate.h), so that no code depends on how another page is mapped. */
#include "isa/x86/translate.h"

static bool unchained(const struct x86_tr *tr)
{
    return tr->t->options.no_chain || tr->t->options.single;
}

/* r9 = table entry of the page; jump to the code of r8d. */
static void jump_by_entry(struct x86_tr *tr)
{
    struct x64 *e = &tr->e;
    x64_lea64(e, X64_R9, x64_indexed(X64_R9, X64_R8, 2, 0));
    x64_load32(e, X64_R9, x64_indexed(X64_R9, X64_R11, 0, DBT_NOTHING_OFFSET));
    x64_lea64(e, X64_R9, x64_indexed(X64_R9, X64_R11, 0, 0));
    x64_jmp_reg(e, X64_R9);
}

void x86_tr_jump_indirect(struct x86_tr *tr)
{
    if (unchained(tr)) {
        x86_tr_exit(tr, DBT_EXIT_MISS);
        return;
    }
    x86_tr_page(tr);
    x64_load64(&tr->e, X64_R9, x64_indexed(X64_R14, X64_R9, 3, 0));
    jump_by_entry(tr);
}

static void jump_far_page(struct x86_tr *tr, uint32_t target)
{
    x64_mov32_imm(&tr->e, X64_R8, target);
    if (unchained(tr)) {
        x86_tr_exit(tr, DBT_EXIT_MISS);
        return;
    }
    x64_load64(&tr->e, X64_R9, x64_at(X64_R14, (int32_t)(target >> PAGE_SHIFT) * 8));
    jump_by_entry(tr);
}

static bool in_page(const struct x86_tr *tr, uint32_t target)
{
    return !tr->tb->straddle && (target & PAGE_MASK) == tr->tb->page && !tr->t->options.single;
}

static void link_at(struct x86_tr *tr, uint8_t *at, uint32_t target)
{
    struct tb *tb = tr->tb;
    tb->link[tb->links++] =
        (struct tb_link){(uint16_t)(at - tb->code), (uint16_t)(target & ~PAGE_MASK)};
}

void x86_tr_jump(struct x86_tr *tr, uint32_t target)
{
    if (in_page(tr, target))
        link_at(tr, x64_jmp(&tr->e), target);
    else
        jump_far_page(tr, target);
}

void x86_tr_branch(struct x86_tr *tr, uint8_t *at, uint32_t target)
{
    if (in_page(tr, target)) {
        link_at(tr, at, target);
    } else {
        tr->tail[tr->tails].at = at;
        tr->tail[tr->tails++].target = target;
    }
}

void x86_tr_tails(struct x86_tr *tr)
{
    for (unsigned i = 0; i < tr->tails; i++) {
        x64_here32(&tr->e, tr->tail[i].at);
        jump_far_page(tr, tr->tail[i].target);
    }
}

void x86_tr_straddle(struct x86_tr *tr)
{
    struct x64 *e = &tr->e;
    x64_mov32_imm(e, X64_R8, tr->pc);
    if (unchained(tr)) {
        x86_tr_exit(tr, DBT_EXIT_MISS);
        return;
    }
    x64_load32(e, X64_R9,
               x64_at(X64_R14, (int32_t)(DBT_STRADDLE_OFFSET + (tr->pc >> PAGE_SHIFT) * 4)));
    x64_lea64(e, X64_R9, x64_indexed(X64_R9, X64_R11, 0, 0));
    x64_jmp_reg(e, X64_R9);
}

/* ---- the instructions ------------------------------------------------------------------- */

static uint32_t relative_target(const struct x86_tr *tr)
{
    return tr->next + tr->in.imm;
}

/* A 16-bit operand cuts eip: nobody means that in 32-bit code. */
static bool odd_size(struct x86_tr *tr)
{
    if (tr->in.opsize != 2)
        return false;
    x86_tr_decline(tr);
    return true;
}

static void tr_jcc(struct x86_tr *tr)
{
    if (odd_size(tr))
        return;
    x86_tr_count(tr);
    x86_tr_branch(tr, x64_jcc(&tr->e, tr->in.opcode & 15), relative_target(tr));
}

/* jecxz and loop exist with rel8 only: they hop over the jump that is not wanted. */
static void tr_loop(struct x86_tr *tr)
{
    if (odd_size(tr))
        return;
    if (tr->in.asize != 4) {
        x86_tr_decline(tr);
        return;
    }
    x86_tr_count(tr);
    x64_u8(&tr->e, 0x67); /* ecx counts */
    x64_u8(&tr->e, tr->in.opcode);
    x64_u8(&tr->e, 2);
    x64_u8(&tr->e, 0xeb);
    x64_u8(&tr->e, 5);
    x86_tr_branch(tr, x64_jmp(&tr->e), relative_target(tr));
}

/* The target of an indirect jump or call into r8d. */
static bool target_to_r8(struct x86_tr *tr)
{
    struct x64_mem m;
    if (!tr->in.has_mem) {
        x64_mov32(&tr->e, X64_R8, x86_host_reg(tr->in.modrm & 7));
        return true;
    }
    if (!x86_tr_mem(tr, 4, false, &m)) {
        x86_tr_decline(tr);
        return false;
    }
    x64_load32(&tr->e, X64_R8, m);
    return true;
}

static void tr_jmp(struct x86_tr *tr)
{
    if (odd_size(tr))
        return;
    if (tr->in.opcode != 0xff) {
        tr->done = true;
        x86_tr_count(tr);
        x86_tr_jump(tr, relative_target(tr));
    } else if (target_to_r8(tr)) {
        tr->done = true;
        x86_tr_count(tr);
        x86_tr_jump_indirect(tr);
    }
}

/* Store the return address, then move esp: the store may fault. */
static void push_return(struct x86_tr *tr)
{
    x64_store32_imm(&tr->e, x86_tr_stack(tr, -4, 4, true), tr->next);
    x64_lea32(&tr->e, X64_R12, x64_at(X64_R12, -4));
}

static void call_indirect(struct x86_tr *tr)
{
    if (!target_to_r8(tr))
        return;
    x64_mov32(&tr->e, X64_R10, X64_R8); /* the target is read before the push is seen */
    push_return(tr);
    x86_tr_count(tr);
    x64_mov32(&tr->e, X64_R8, X64_R10);
    x86_tr_jump_indirect(tr);
}

/* Position-independent code learns its address by calling `mov reg,[esp]; ret`. One return for
 * hundreds of call sites is never predicted, so that is put in place. */
static bool pc_thunk(struct x86_tr *tr, uint32_t target, unsigned *reg)
{
    const uint8_t *b = tr->tb->peek(tr->tb->opaque, target, 4);
    if (!b || b[0] != 0x8b || (b[1] & 0xc7) != 0x04 || b[2] != 0x24 || b[3] != 0xc3)
        return false;
    *reg = b[1] >> 3 & 7;
    return *reg != X86_ESP;
}

/* Might it be one? Only where it pays to look: position-independent code uses the result at once:
 * add reg, imm32. */
static bool address_follows(const struct x86_tr *tr)
{
    unsigned behind = (tr->next & ~(uint32_t)PAGE_MASK);
    if (tr->tb->straddle || behind == 0 || behind >= PAGE_BYTES - 2)
        return false;
    const uint8_t *b = tr->tb->bytes + behind;
    return b[0] == 0x05 || (b[0] == 0x81 && (b[1] & 0xf8) == 0xc0);
}

/* Translation goes on behind a call: that is where it will come back to. */
static void tr_call(struct x86_tr *tr)
{
    if (odd_size(tr))
        return;
    if (tr->in.opcode == 0xff) {
        call_indirect(tr);
        return;
    }
    unsigned reg;
    if (address_follows(tr) && pc_thunk(tr, relative_target(tr), &reg)) {
        x64_store32_imm(&tr->e, x86_tr_stack(tr, -4, 4, true), tr->next);
        x64_mov32_imm(&tr->e, reg, tr->next);
        return;
    }
    push_return(tr);
    x86_tr_count(tr);
    if (relative_target(tr) != tr->next)
        x86_tr_jump(tr, relative_target(tr));
}

static void tr_ret(struct x86_tr *tr)
{
    if (odd_size(tr))
        return;
    tr->done = true;
    int32_t release = 4 + (tr->in.opcode == 0xc2 ? (uint16_t)tr->in.imm : 0);
    x64_load32(&tr->e, X64_R8, x86_tr_stack(tr, 0, 4, false));
    x64_lea32(&tr->e, X64_R12, x64_at(X64_R12, release));
    x86_tr_count(tr);
    x86_tr_jump_indirect(tr);
}

#define ROW(m, fn)                                                                                 \
    {                                                                                              \
        ZYDIS_MNEMONIC_##m, fn                                                                     \
    }
const struct x86_special_row x86_specials_flow[] = {
    ROW(JO, tr_jcc),    ROW(JNO, tr_jcc),    ROW(JB, tr_jcc),      ROW(JNB, tr_jcc),
    ROW(JZ, tr_jcc),    ROW(JNZ, tr_jcc),    ROW(JBE, tr_jcc),     ROW(JNBE, tr_jcc),
    ROW(JS, tr_jcc),    ROW(JNS, tr_jcc),    ROW(JP, tr_jcc),      ROW(JNP, tr_jcc),
    ROW(JL, tr_jcc),    ROW(JNL, tr_jcc),    ROW(JLE, tr_jcc),     ROW(JNLE, tr_jcc),
    ROW(LOOP, tr_loop), ROW(LOOPE, tr_loop), ROW(LOOPNE, tr_loop), ROW(JECXZ, tr_loop),
    ROW(JMP, tr_jmp),   ROW(CALL, tr_call),  ROW(RET, tr_ret),     {0},
};
