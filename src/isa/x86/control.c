/* SPDX-License-Identifier: MIT */
/* Near control flow: jumps, calls, returns, loops (Intel SDM vol. 2). A target beyond the limit of
 * CS is #GP(0) at the branch. With a 16-bit operand size the target is cut to 16 bits. */
#include "isa/x86/cond.h"
#include "isa/x86/insn.h"
#include "isa/x86/mmu.h"

static inline void branch_to(struct x86_vcpu *v, uint32_t eip)
{
    if (unlikely(eip > v->seg[X86_CS].limit))
        x86_raise_error(v, X86_GP, 0);
    x86_log_branch(v, (uint32_t)v->insn_eip, eip);
    v->eip = eip;
}

void x86_jump(struct x86_vcpu *v, uint32_t eip)
{
    branch_to(v, eip);
}

static inline uint32_t relative(const struct x86_vcpu *v, const struct x86_insn *in)
{
    uint32_t eip = (uint32_t)v->eip + in->imm;
    return likely(in->opsize != 2) ? eip : (uint16_t)eip;
}

static inline void branch_relative(struct x86_vcpu *v, const struct x86_insn *in)
{
    branch_to(v, relative(v, in));
}

#define JCC(cond, expr)                                                                            \
    static void j_##cond(struct x86_vcpu *v, const struct x86_insn *in)                            \
    {                                                                                              \
        if (expr)                                                                                  \
            branch_relative(v, in);                                                                \
    }
#define BOTH(c, n) JCC(c, x86_cond_##c(v->cc)) JCC(n, !x86_cond_##c(v->cc))
X86_CONDITIONS(BOTH)

static void op_jmp(struct x86_vcpu *v, const struct x86_insn *in)
{
    if (in->opcode == 0xff)
        branch_to(v, x86_rm_get(v, in, in->r0, in->opsize));
    else
        branch_relative(v, in);
}

static void op_call(struct x86_vcpu *v, const struct x86_insn *in)
{
    uint32_t target = in->opcode == 0xff ? x86_rm_get(v, in, in->r0, in->opsize) : relative(v, in);
    if (unlikely(target > v->seg[X86_CS].limit))
        x86_raise_error(v, X86_GP, 0);
    x86_push(v, in->opsize, (uint32_t)v->eip);
    branch_to(v, target);
}

static void op_ret(struct x86_vcpu *v, const struct x86_insn *in)
{
    uint32_t sp = x86_sp(v);
    uint32_t target = in->opsize == 4 ? x86_read32(v, X86_SS, sp) : x86_read16(v, X86_SS, sp);
    branch_to(v, target);
    x86_set_sp(v, sp + in->opsize + (in->opcode == 0xc2 ? (uint16_t)in->imm : 0));
}

/* loop, loope, loopne: the count register follows the address size; flags stay. */
static void loop(struct x86_vcpu *v, const struct x86_insn *in, bool condition)
{
    uint32_t count = x86_reg_get(v, X86_ECX * 8, in->asize) - 1;
    if (in->asize == 2)
        count = (uint16_t)count;
    if (count != 0 && condition)
        branch_relative(v, in);
    x86_reg_set(v, X86_ECX * 8, in->asize, count);
}
static void op_loop(struct x86_vcpu *v, const struct x86_insn *in)
{
    loop(v, in, true);
}
static void op_loope(struct x86_vcpu *v, const struct x86_insn *in)
{
    loop(v, in, v->cc & CC_ZF);
}
static void op_loopne(struct x86_vcpu *v, const struct x86_insn *in)
{
    loop(v, in, !(v->cc & CC_ZF));
}
static void op_jcxz(struct x86_vcpu *v, const struct x86_insn *in)
{
    if (x86_reg_get(v, X86_ECX * 8, in->asize) == 0)
        branch_relative(v, in);
}

static void op_bound(struct x86_vcpu *v, const struct x86_insn *in)
{
    uint32_t ea = x86_ea(v, in);
    int64_t index, low, high;
    if (in->opsize == 4) {
        index = (int32_t)x86_reg_get(v, in->r0, 4);
        low = (int32_t)x86_read32(v, in->seg, ea);
        high = (int32_t)x86_read32(v, in->seg, in->asize == 2 ? (uint16_t)(ea + 4) : ea + 4);
    } else {
        index = (int16_t)x86_reg_get(v, in->r0, 2);
        low = (int16_t)x86_read16(v, in->seg, ea);
        high = (int16_t)x86_read16(v, in->seg, in->asize == 2 ? (uint16_t)(ea + 2) : ea + 2);
    }
    if (index < low || index > high)
        x86_raise(v, X86_BR);
}

#define ANY(m, fn)                                                                                 \
    {                                                                                              \
        .mnemonic = ZYDIS_MNEMONIC_##m, .class = X86_BRANCH, .any = fn                             \
    }
const struct x86_op x86_ops_control[] = {
    ANY(JO, j_o),
    ANY(JNO, j_no),
    ANY(JB, j_b),
    ANY(JNB, j_nb),
    ANY(JZ, j_z),
    ANY(JNZ, j_nz),
    ANY(JBE, j_be),
    ANY(JNBE, j_nbe),
    ANY(JS, j_s),
    ANY(JNS, j_ns),
    ANY(JP, j_p),
    ANY(JNP, j_np),
    ANY(JL, j_l),
    ANY(JNL, j_nl),
    ANY(JLE, j_le),
    ANY(JNLE, j_nle),
    ANY(JMP, op_jmp),
    ANY(CALL, op_call),
    ANY(RET, op_ret),
    ANY(LOOP, op_loop),
    ANY(LOOPE, op_loope),
    ANY(LOOPNE, op_loopne),
    ANY(JCXZ, op_jcxz),
    ANY(JECXZ, op_jcxz),
    {.mnemonic = ZYDIS_MNEMONIC_BOUND, .any = op_bound},
    {0},
};
