/* SPDX-License-Identifier: MIT */
/* Arithmetic of generated code that may not change flags: shifts and masks of addresses.
 *
 * With BMI2 a shift is one instruction (shrx) and takes its count from a register: r15 is 12 in its
 * low six bits. Without BMI2, or with --dbt nobmi2, it is done in xmm8, which neither the guest nor
 * the monitor's own code keeps anything in: three instructions, some five cycles more before the
 * access can start. Saving the flags around an ordinary shift (lahf, seto, add, sahf) takes as many
 * cycles and makes every access wait for the one before it. A mask that 16 bits can hold needs
 * neither: movzx. pext is not used: it is slow on AMD processors before Zen 3. */
#include "isa/x86/translate.h"

#define XMM 8u

enum { PSRLD = 2, PSRAD = 4, PSLLD = 6 }; /* 66 0F 72 /n ib: Intel SDM vol. 2B */

static void sse(struct x64 *e, unsigned opcode, unsigned reg, unsigned rm)
{
    struct x64_op op = X64_OP(0x0f, (uint8_t)opcode);
    op.opsize16 = true;
    x64_op_reg(e, op, reg, rm);
}

static void xmm_from(struct x64 *e, unsigned reg)
{
    sse(e, 0x6e, XMM, reg);
}
static void xmm_to(struct x64 *e, unsigned reg)
{
    sse(e, 0x7e, XMM, reg);
}
static void xmm_shift(struct x64 *e, unsigned how, uint8_t count)
{
    sse(e, 0x72, how, XMM);
    x64_u8(e, count);
}

static void shift(struct x86_tr *tr, unsigned to, unsigned from, unsigned how, uint8_t count)
{
    xmm_from(&tr->e, from);
    xmm_shift(&tr->e, how, count);
    xmm_to(&tr->e, to);
}

void x86_tr_page(struct x86_tr *tr)
{
    if (tr->t->bmi2)
        x64_shrx(&tr->e, X64_R9, X64_R8, X64_R15);
    else
        shift(tr, X64_R9, X64_R8, PSRLD, PAGE_SHIFT);
}

void x86_tr_quarter(struct x86_tr *tr)
{
    if (tr->t->bmi2) {
        x64_mov32_imm(&tr->e, X64_R10, 30);
        x64_shrx(&tr->e, X64_R10, X64_R8, X64_R10);
    } else {
        shift(tr, X64_R10, X64_R8, PSRLD, 30);
    }
}

/* 16 times the address, cut to 16 bits. */
void x86_tr_offset16(struct x86_tr *tr)
{
    x64_lea32(&tr->e, X64_R9, x64_indexed(X64_R8, X64_R8, 0, 0));
    x64_lea32(&tr->e, X64_R9, x64_indexed(X64_NONE, X64_R9, 3, 0));
    x64_op_reg(&tr->e, X64_OP(0x0f, 0xb7), X64_R9, X64_R9);
}

void x86_tr_bit_word(struct x86_tr *tr, unsigned reg)
{
    shift(tr, X64_R9, reg, PSRAD, 5);
}

void x86_tr_bit_index(struct x86_tr *tr, unsigned reg)
{
    xmm_from(&tr->e, reg);
    xmm_shift(&tr->e, PSLLD, 27);
    xmm_shift(&tr->e, PSRLD, 27);
    xmm_to(&tr->e, X64_R10);
}
