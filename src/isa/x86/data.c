/* SPDX-License-Identifier: MIT */
/* Data movement: mov and its relatives, stack, exchange, conversions, conditional moves and sets,
 * flag bits (Intel SDM vol. 2). */
#include "isa/x86/cond.h"
#include "isa/x86/insn.h"
#include "isa/x86/mmu.h"

#define REG(T, offset) (*(T *)x86_reg_ptr(v, offset))
#define SLOT(form, n)  [X86_FORM_##form * 3 + n]

/* ---- mov -------------------------------------------------------------------------------- */

/* The slow halves are functions of their own, so that the fast ones need no stack frame. */
#define MOV(T, bits)                                                                               \
    static void mov##bits##_rr(struct x86_vcpu *v, const struct x86_insn *in)                      \
    {                                                                                              \
        REG(T, in->r0) = REG(T, in->r1);                                                           \
    }                                                                                              \
    X86_SLOW_HALF void mov##bits##_rm_slow(struct x86_vcpu *v, const struct x86_insn *in)          \
    {                                                                                              \
        REG(T, in->r0) = (T)x86_read_slow(v, in->seg, x86_ea(v, in), bits / 8);                    \
    }                                                                                              \
    static void mov##bits##_rm(struct x86_vcpu *v, const struct x86_insn *in)                      \
    {                                                                                              \
        const uint8_t *p = x86_fast_read(v, in->seg, x86_ea(v, in), bits / 8);                     \
        if (likely(p))                                                                             \
            memcpy(x86_reg_ptr(v, in->r0), p, bits / 8);                                           \
        else                                                                                       \
            mov##bits##_rm_slow(v, in);                                                            \
    }                                                                                              \
    X86_SLOW_HALF void mov##bits##_mr_slow(struct x86_vcpu *v, const struct x86_insn *in)          \
    {                                                                                              \
        x86_write_slow(v, in->seg, x86_ea(v, in), bits / 8, REG(T, in->r1));                       \
    }                                                                                              \
    static void mov##bits##_mr(struct x86_vcpu *v, const struct x86_insn *in)                      \
    {                                                                                              \
        uint8_t *p = x86_fast_write(v, in->seg, x86_ea(v, in), bits / 8);                          \
        if (likely(p))                                                                             \
            memcpy(p, x86_reg_ptr(v, in->r1), bits / 8);                                           \
        else                                                                                       \
            mov##bits##_mr_slow(v, in);                                                            \
    }                                                                                              \
    static void mov##bits##_ri(struct x86_vcpu *v, const struct x86_insn *in)                      \
    {                                                                                              \
        REG(T, in->r0) = (T)in->imm;                                                               \
    }                                                                                              \
    static void mov##bits##_mi(struct x86_vcpu *v, const struct x86_insn *in)                      \
    {                                                                                              \
        x86_write##bits(v, in->seg, x86_ea(v, in), (T)in->imm);                                    \
    }
MOV(uint8_t, 8)
MOV(uint16_t, 16)
MOV(uint32_t, 32)
static const x86_handler mov_forms[X86_FORM_SLOTS] = {
    SLOT(RR, 0) = mov8_rr,  SLOT(RR, 1) = mov16_rr, SLOT(RR, 2) = mov32_rr, SLOT(RM, 0) = mov8_rm,
    SLOT(RM, 1) = mov16_rm, SLOT(RM, 2) = mov32_rm, SLOT(MR, 0) = mov8_mr,  SLOT(MR, 1) = mov16_mr,
    SLOT(MR, 2) = mov32_mr, SLOT(RI, 0) = mov8_ri,  SLOT(RI, 1) = mov16_ri, SLOT(RI, 2) = mov32_ri,
    SLOT(MI, 0) = mov8_mi,  SLOT(MI, 1) = mov16_mi, SLOT(MI, 2) = mov32_mi,
};

/* movzx and movsx: the opcode's low bit gives the source size, the operand size the destination. */
#define EXTEND(name, S8, S16)                                                                      \
    static void name##8_r(struct x86_vcpu * v, const struct x86_insn *in)                          \
    {                                                                                              \
        x86_reg_set(v, in->r0, in->opsize, (uint32_t)(int32_t)REG(S8, in->r1));                    \
    }                                                                                              \
    static void name##8_m(struct x86_vcpu * v, const struct x86_insn *in)                          \
    {                                                                                              \
        S8 x = (S8)x86_read8(v, in->seg, x86_ea(v, in));                                           \
        x86_reg_set(v, in->r0, in->opsize, (uint32_t)(int32_t)x);                                  \
    }                                                                                              \
    static void name##16(struct x86_vcpu * v, const struct x86_insn *in)                           \
    {                                                                                              \
        S16 x = in->has_mem ? (S16)x86_read16(v, in->seg, x86_ea(v, in)) : REG(S16, in->r1);       \
        x86_reg_set(v, in->r0, in->opsize, (uint32_t)(int32_t)x);                                  \
    }                                                                                              \
    static void op_##name(struct x86_vcpu *v, const struct x86_insn *in)                           \
    {                                                                                              \
        if (in->opcode & 1)                                                                        \
            name##16(v, in);                                                                       \
        else if (in->has_mem)                                                                      \
            name##8_m(v, in);                                                                      \
        else                                                                                       \
            name##8_r(v, in);                                                                      \
    }
EXTEND(movzx, uint8_t, uint16_t)
EXTEND(movsx, int8_t, int16_t)

static void lea32(struct x86_vcpu *v, const struct x86_insn *in)
{
    REG(uint32_t, in->r0) = x86_ea(v, in);
}
static void op_lea(struct x86_vcpu *v, const struct x86_insn *in)
{
    x86_reg_set(v, in->r0, in->opsize, x86_ea(v, in));
}

static void op_xchg(struct x86_vcpu *v, const struct x86_insn *in)
{
    if (in->has_mem) {
        uint8_t reg = in->r0 | in->r1; /* memory comes first or second; the other one is 0 */
        uint32_t ea = x86_ea(v, in);
        uint32_t old = (uint32_t)x86_rmw_slow(v, in->seg, ea, in->opsize);
        x86_write_slow(v, in->seg, ea, in->opsize, x86_reg_get(v, reg, in->opsize));
        x86_reg_set(v, reg, in->opsize, old);
    } else {
        uint32_t a = x86_reg_get(v, in->r0, in->opsize), b = x86_reg_get(v, in->r1, in->opsize);
        x86_reg_set(v, in->r0, in->opsize, b);
        x86_reg_set(v, in->r1, in->opsize, a);
    }
}

static void op_bswap(struct x86_vcpu *v, const struct x86_insn *in)
{
    uint32_t x = __builtin_bswap32(REG(uint32_t, in->r0));
    if (in->opsize == 4)
        REG(uint32_t, in->r0) = x;
    else
        REG(uint16_t, in->r0) = 0; /* undefined by the manual; what processors do */
}

static void op_xlat(struct x86_vcpu *v, const struct x86_insn *in)
{
    uint32_t ea = x86_r32(v, X86_EBX) + (uint8_t)v->gpr[X86_EAX];
    x86_reg_set(v, X86_EAX * 8, 1, x86_read8(v, in->seg, in->asize == 2 ? (uint16_t)ea : ea));
}

static void op_nop(struct x86_vcpu *v, const struct x86_insn *in) {}

/* ---- stack ------------------------------------------------------------------------------ */

static void push32_r(struct x86_vcpu *v, const struct x86_insn *in)
{
    x86_push(v, 4, REG(uint32_t, in->r0));
}
static void op_push(struct x86_vcpu *v, const struct x86_insn *in)
{
    bool imm = !(in->prefix & X86_PFX_0F) && (in->opcode == 0x68 || in->opcode == 0x6a);
    x86_push(v, in->opsize, imm ? in->imm : x86_rm_get(v, in, in->r0, in->opsize));
}
static const x86_handler lea_forms[X86_FORM_SLOTS] = {SLOT(RM, 2) = lea32};
static const x86_handler push_forms[X86_FORM_SLOTS] = {SLOT(R, 2) = push32_r};

static void pop32_r(struct x86_vcpu *v, const struct x86_insn *in)
{
    REG(uint32_t, in->r0) = x86_pop(v, 4); /* pop esp: the popped value wins */
}
/* The address of a memory destination is computed with the incremented stack pointer. */
static void op_pop(struct x86_vcpu *v, const struct x86_insn *in)
{
    uint64_t old_sp = v->gpr[X86_ESP];
    uint32_t x = x86_pop(v, in->opsize);
    if (!in->has_mem) {
        x86_reg_set(v, in->r0, in->opsize, x);
        return;
    }
    uint32_t ea = x86_ea(v, in);
    uint64_t new_sp = v->gpr[X86_ESP];
    v->gpr[X86_ESP] = old_sp; /* in case the store faults */
    if (in->opsize == 4)
        x86_write32(v, in->seg, ea, x);
    else
        x86_write16(v, in->seg, ea, (uint16_t)x);
    v->gpr[X86_ESP] = new_sp;
}
static const x86_handler pop_forms[X86_FORM_SLOTS] = {SLOT(R, 2) = pop32_r};

static void op_pusha(struct x86_vcpu *v, const struct x86_insn *in)
{
    unsigned size = in->opsize;
    uint64_t old_sp = v->gpr[X86_ESP];
    /* Lowest slot first: if all eight do not fit, nothing has been stored when it faults. */
    x86_probe_stack_write(v, size * 8);
    for (unsigned r = 0; r < 8; r++)
        x86_push(v, size, r == X86_ESP ? (uint32_t)old_sp : x86_r32(v, r));
}

static void op_popa(struct x86_vcpu *v, const struct x86_insn *in)
{
    uint32_t value[8], sp = x86_sp(v);
    unsigned size = in->opsize;
    for (unsigned i = 0; i < 8; i++) {
        uint32_t at = (sp + i * size) & v->sp_mask;
        value[7 - i] = size == 4 ? x86_read32(v, X86_SS, at) : x86_read16(v, X86_SS, at);
    }
    for (unsigned r = 0; r < 8; r++)
        if (r != X86_ESP)
            x86_reg_set(v, (uint8_t)(r * 8), size, value[r]);
    x86_set_sp(v, sp + 8 * size);
}

/* ENTER: the frame pointers of `level` enclosing frames are copied (SDM vol. 2). Nothing is
 * committed before everything has been written. */
static void op_enter(struct x86_vcpu *v, const struct x86_insn *in)
{
    unsigned size = in->opsize, level = in->imm2 & 31;
    uint64_t old_sp = v->gpr[X86_ESP];
    uint32_t old_bp = x86_r32(v, X86_EBP), bp = old_bp & v->sp_mask;
    x86_probe_stack_write(v, size * (level + 1));
    x86_push(v, size, old_bp);
    uint32_t frame = (uint32_t)v->gpr[X86_ESP];
    for (unsigned i = 1; i < level; i++) {
        bp = (bp - size) & v->sp_mask;
        uint64_t new_sp = v->gpr[X86_ESP];
        v->gpr[X86_ESP] = old_sp; /* in case the read faults */
        uint32_t link = size == 4 ? x86_read32(v, X86_SS, bp) : x86_read16(v, X86_SS, bp);
        v->gpr[X86_ESP] = new_sp;
        x86_push(v, size, link);
    }
    if (level)
        x86_push(v, size, frame);
    uint32_t sp = (x86_sp(v) - in->imm) & v->sp_mask;
    uint64_t new_sp = v->gpr[X86_ESP];
    v->gpr[X86_ESP] = old_sp;
    x86_probe_write(v, X86_SS, sp, 1); /* the manual: the new top must be writable */
    v->gpr[X86_ESP] = new_sp;
    x86_set_sp(v, sp);
    x86_reg_set(v, X86_EBP * 8, size, frame);
}

static void op_leave(struct x86_vcpu *v, const struct x86_insn *in)
{
    uint32_t bp = x86_r32(v, X86_EBP) & v->sp_mask;
    uint32_t x = in->opsize == 4 ? x86_read32(v, X86_SS, bp) : x86_read16(v, X86_SS, bp);
    x86_set_sp(v, bp + in->opsize);
    x86_reg_set(v, X86_EBP * 8, in->opsize, x);
}

/* ---- conversions ------------------------------------------------------------------------ */

static void op_cbw(struct x86_vcpu *v, const struct x86_insn *in)
{
    x86_w16(v, X86_EAX, (uint16_t)(int8_t)v->gpr[X86_EAX]);
}
static void op_cwde(struct x86_vcpu *v, const struct x86_insn *in)
{
    x86_w32(v, X86_EAX, (uint32_t)(int16_t)v->gpr[X86_EAX]);
}
static void op_cwd(struct x86_vcpu *v, const struct x86_insn *in)
{
    x86_w16(v, X86_EDX, v->gpr[X86_EAX] & 0x8000 ? 0xffff : 0);
}
static void op_cdq(struct x86_vcpu *v, const struct x86_insn *in)
{
    x86_w32(v, X86_EDX, v->gpr[X86_EAX] & 0x80000000 ? 0xffffffff : 0);
}

/* ---- conditional ------------------------------------------------------------------------ */

/* A cmov whose condition is false still reads its source, and faults. */
#define CONDITIONAL(cond, expr)                                                                    \
    static void set_##cond(struct x86_vcpu *v, const struct x86_insn *in)                          \
    {                                                                                              \
        x86_rm_set(v, in, in->r0, 1, (expr));                                                      \
    }                                                                                              \
    static void cmov_##cond(struct x86_vcpu *v, const struct x86_insn *in)                         \
    {                                                                                              \
        uint32_t x = x86_rm_get(v, in, in->r1, in->opsize);                                        \
        if (expr)                                                                                  \
            x86_reg_set(v, in->r0, in->opsize, x);                                                 \
    }
#define BOTH(c, n) CONDITIONAL(c, x86_cond_##c(v->cc)) CONDITIONAL(n, !x86_cond_##c(v->cc))
X86_CONDITIONS(BOTH)

/* ---- flag bits -------------------------------------------------------------------------- */

static void op_clc(struct x86_vcpu *v, const struct x86_insn *in)
{
    v->cc &= (uint16_t)~CC_CF;
}
static void op_stc(struct x86_vcpu *v, const struct x86_insn *in)
{
    v->cc |= CC_CF;
}
static void op_cmc(struct x86_vcpu *v, const struct x86_insn *in)
{
    v->cc ^= CC_CF;
}
static void op_cld(struct x86_vcpu *v, const struct x86_insn *in)
{
    v->df_flag = 0;
}
static void op_std(struct x86_vcpu *v, const struct x86_insn *in)
{
    v->df_flag = FL_DF;
}
static void op_lahf(struct x86_vcpu *v, const struct x86_insn *in)
{
    x86_reg_set(v, X86_EAX * 8 + 1, 1, (v->cc >> 8 & 0xd5) | 2);
}
static void op_sahf(struct x86_vcpu *v, const struct x86_insn *in)
{
    v->cc = (uint16_t)((v->gpr[X86_EAX] & 0xd500) | (v->cc & CC_OF));
}
static void op_salc(struct x86_vcpu *v, const struct x86_insn *in)
{
    x86_reg_set(v, X86_EAX * 8, 1, v->cc & CC_CF ? 0xff : 0);
}

/* ---- rows ------------------------------------------------------------------------------- */

#define ANY(m, fn)                                                                                 \
    {                                                                                              \
        .mnemonic = ZYDIS_MNEMONIC_##m, .any = fn                                                  \
    }
#define COPY(m, fn)                                                                                \
    {                                                                                              \
        .mnemonic = ZYDIS_MNEMONIC_##m, .class = X86_COPY, .any = fn                               \
    }
#define CC(C, c) COPY(SET##C, set_##c), COPY(CMOV##C, cmov_##c)
/* Not copied: what uses the stack, CLD and STD (df_flag), SALC (gone in 64-bit mode). */
const struct x86_op x86_ops_data[] = {
    {.mnemonic = ZYDIS_MNEMONIC_MOV, .class = X86_COPY, .forms = mov_forms},
    {.mnemonic = ZYDIS_MNEMONIC_PUSH, .any = op_push, .forms = push_forms},
    {.mnemonic = ZYDIS_MNEMONIC_POP, .any = op_pop, .forms = pop_forms},
    COPY(MOVZX, op_movzx),
    COPY(MOVSX, op_movsx),
    {.mnemonic = ZYDIS_MNEMONIC_LEA, .class = X86_COPY, .any = op_lea, .forms = lea_forms},
    COPY(XCHG, op_xchg),
    COPY(BSWAP, op_bswap),
    COPY(XLAT, op_xlat),
    COPY(NOP, op_nop),

    ANY(ENDBR32, op_nop),
    ANY(PUSHA, op_pusha),
    ANY(PUSHAD, op_pusha),
    ANY(POPA, op_popa),
    ANY(POPAD, op_popa),
    ANY(ENTER, op_enter),
    ANY(LEAVE, op_leave),
    COPY(CBW, op_cbw),
    COPY(CWDE, op_cwde),
    COPY(CWD, op_cwd),
    COPY(CDQ, op_cdq),
    COPY(CLC, op_clc),
    COPY(STC, op_stc),
    COPY(CMC, op_cmc),
    ANY(CLD, op_cld),
    ANY(STD, op_std),
    COPY(LAHF, op_lahf),
    COPY(SAHF, op_sahf),
    ANY(SALC, op_salc),
    CC(O, o),
    CC(NO, no),
    CC(B, b),
    CC(NB, nb),
    CC(Z, z),
    CC(NZ, nz),
    CC(BE, be),
    CC(NBE, nbe),
    CC(S, s),
    CC(NS, ns),
    CC(P, p),
    CC(NP, np),
    CC(L, l),
    CC(NL, nl),
    CC(LE, le),
    CC(NLE, nle),
    {0},
};
