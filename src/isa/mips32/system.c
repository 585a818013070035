/* SPDX-License-Identifier: MIT */
/* Privileged instructions, traps, and those about caches (vol. II).
 *
 * Caches are coherent with memory and with decoded instructions, so CACHE, SYNCI, SYNC and PREF do
 * nothing; they raise no TLB exception either. There are no shadow registers: RDPGPR and WRPGPR
 * copy. Coprocessor 2 is never usable. Reserved: SDBBP and DERET (no EJTAG). */
#include "isa/mips32/cp0.h"
#include "isa/mips32/mmu.h"

/* ---- coprocessor 0 --------------------------------------------------------------------------- */

MIPS32_HANDLER(op_mfc0)
{
    v->gpr[in->dst] = mips32_cp0_read(v, in->rd, (unsigned)in->imm);
    return in + 1;
}

MIPS32_HANDLER(op_mtc0)
{
    mips32_cp0_write(v, in->rd, (unsigned)in->imm, v->gpr[in->rt]);
    return mips32_look_again(v, in);
}

static const struct mips32_insn *set_ie(struct mips32_vcpu *v, const struct mips32_insn *in,
                                        uint32_t ie)
{
    uint32_t old = v->cp0.status;
    mips32_set_status(v, (old & ~ST_IE) | ie);
    v->gpr[in->dst] = old;
    return in + 1;
}

MIPS32_HANDLER(op_di)
{
    return set_ie(v, in, 0);
}

MIPS32_HANDLER(op_ei)
{
    return set_ie(v, in, ST_IE);
}

MIPS32_HANDLER(op_copy_gpr)
{
    v->gpr[in->dst] = v->gpr[in->rt];
    return in + 1;
}

MIPS32_HANDLER(op_tlbr)
{
    mips32_tlb_read(v);
    return mips32_look_again(v, in);
}

MIPS32_HANDLER(op_tlbwi)
{
    mips32_tlb_write_indexed(v);
    return mips32_look_again(v, in);
}

MIPS32_HANDLER(op_tlbwr)
{
    mips32_tlb_write_random(v);
    return mips32_look_again(v, in);
}

MIPS32_HANDLER(op_tlbp)
{
    mips32_tlb_probe(v);
    return in + 1;
}

MIPS32_HANDLER(op_eret)
{
    uint32_t status = v->cp0.status;
    if (v->in_slot)
        mips32_raise(v, EXC_RI);
    v->pc = status & ST_ERL ? v->cp0.error_epc : v->cp0.epc;
    v->ll_bit = false;
    mips32_set_status(v, status & ~(status & ST_ERL ? ST_ERL : ST_EXL));
    return NULL;
}

/* Sleeps until an interrupt that Status.IM lets through waits, whether interrupts are enabled or
 * not (which vol. II leaves open). With all of them masked only a reset helps. */
MIPS32_HANDLER(op_wait)
{
    if (v->in_slot)
        mips32_raise(v, EXC_RI);
    mips32_update_interrupts(v);
    uint32_t attention = atomic_load(&v->base.attention);
    if (attention & (ATTN_INTERRUPT | ATTN_NMI | ATTN_RESET))
        return in + 1;
    v->pc = mips32_pc_of(v, in) + 4;
    v->cur = NULL;
    v->retired++;
    mips32_leave(v, &(struct vm_exit){.kind = EXIT_HALT,
                                      .wake = ATTN_NMI | ATTN_RESET |
                                              (v->cp0.status & ST_IM ? ATTN_INTERRUPT : 0)});
    return NULL;
}

/* ---- hardware registers ---------------------------------------------------------------------- */

/* Vol. II RDHWR: 0 CPUNum, 1 SYNCI_Step, 2 CC, 3 CCRes (Count ticks each second cycle), 29
 * UserLocal. */
MIPS32_HANDLER(op_rdhwr)
{
    const uint32_t known = 0x2000000fu;
    bool granted =
        v->mode == MIPS32_KERNEL || (v->cp0.status & ST_CU0) || (v->cp0.hwrena >> in->rd & 1);
    if (!granted || !(known >> in->rd & 1))
        mips32_raise(v, EXC_RI);
    v->gpr[in->dst] = in->rd == 0   ? v->base.index
                      : in->rd == 1 ? 32
                      : in->rd == 2 ? mips32_read_count(v)
                      : in->rd == 3 ? 2
                                    : v->cp0.user_local;
    return in + 1;
}

/* ---- traps ----------------------------------------------------------------------------------- */

/* The most frequent exception that is no accident: delivered at once, without a longjmp, which only
 * a delay slot needs. */
MIPS32_HANDLER(op_syscall)
{
    if (v->in_slot)
        mips32_raise(v, EXC_SYS);
    v->fault = (struct mips32_fault){.code = EXC_SYS};
    mips32_deliver_fault(v);
    return NULL;
}

MIPS32_HANDLER(op_break)
{
    mips32_raise(v, EXC_BP);
    return in;
}

#define TRAP(name, condition)                                                                      \
    MIPS32_HANDLER(op_##name)                                                                      \
    {                                                                                              \
        const uint32_t s = v->gpr[in->rs], t = v->gpr[in->rt], i = (uint32_t)in->imm;              \
        (void)t, (void)i;                                                                          \
        if (condition)                                                                             \
            mips32_raise(v, EXC_TR);                                                               \
        return in + 1;                                                                             \
    }
TRAP(tge, (int32_t)s >= (int32_t)t)
TRAP(tgeu, s >= t)
TRAP(tlt, (int32_t)s < (int32_t)t)
TRAP(tltu, s < t)
TRAP(teq, s == t)
TRAP(tne, s != t)
TRAP(tgei, (int32_t)s >= (int32_t)i)
TRAP(tgeiu, s >= i)
TRAP(tlti, (int32_t)s < (int32_t)i)
TRAP(tltiu, s < i)
TRAP(teqi, s == i)
TRAP(tnei, s != i)

/* ---- the rest -------------------------------------------------------------------------------- */

MIPS32_HANDLER(op_nothing)
{
    return in + 1;
}

MIPS32_HANDLER(op_no_cop2)
{
    mips32_raise_coprocessor(v, 2);
    return in;
}

/* Coprocessor 0's words without a row of their own: unusable comes before reserved. */
MIPS32_HANDLER(op_reserved)
{
    mips32_raise(v, EXC_RI);
    return in;
}

#define M_MAJOR  0xfc000000u
#define M_REGIMM 0xfc1f0000u
#define M_FUNCT  0xfc00003fu
#define P        MIPS32_CP0
#define E        MIPS32_END

/* clang-format off */
static const struct mips32_op ops[] = {
    {"syscall", 0x0000000c, M_FUNCT,    op_syscall,  "k",  E},
    {"break",   0x0000000d, M_FUNCT,    op_break,    "k",  E},
    {"sync",    0x0000000f, 0xfffff83f, op_nothing,  "",   0},
    {"tge",     0x00000030, M_FUNCT,    op_tge,      "st", 0},
    {"tgeu",    0x00000031, M_FUNCT,    op_tgeu,     "st", 0},
    {"tlt",     0x00000032, M_FUNCT,    op_tlt,      "st", 0},
    {"tltu",    0x00000033, M_FUNCT,    op_tltu,     "st", 0},
    {"teq",     0x00000034, M_FUNCT,    op_teq,      "st", 0},
    {"tne",     0x00000036, M_FUNCT,    op_tne,      "st", 0},
    {"tgei",    0x04080000, M_REGIMM,   op_tgei,     "si", 0},
    {"tgeiu",   0x04090000, M_REGIMM,   op_tgeiu,    "si", 0},
    {"tlti",    0x040a0000, M_REGIMM,   op_tlti,     "si", 0},
    {"tltiu",   0x040b0000, M_REGIMM,   op_tltiu,    "si", 0},
    {"teqi",    0x040c0000, M_REGIMM,   op_teqi,     "si", 0},
    {"tnei",    0x040e0000, M_REGIMM,   op_tnei,     "si", 0},
    {"synci",   0x041f0000, M_REGIMM,   op_nothing,  "o",  MIPS32_R2 | E},
    {"mfc0",    0x40000000, 0xffe007f8, op_mfc0,     "wc", P},
    {"mtc0",    0x40800000, 0xffe007f8, op_mtc0,     "tc", P | E},
    {"rdpgpr",  0x41400000, 0xffe007ff, op_copy_gpr, "dt", P | MIPS32_R2},
    {"wrpgpr",  0x41c00000, 0xffe007ff, op_copy_gpr, "dt", P | MIPS32_R2},
    {"di",      0x41606000, 0xffe0ffff, op_di,       "w",  P | E | MIPS32_R2},
    {"ei",      0x41606020, 0xffe0ffff, op_ei,       "w",  P | E | MIPS32_R2},
    {"tlbr",    0x42000001, 0xffffffff, op_tlbr,     "",   P | E},
    {"tlbwi",   0x42000002, 0xffffffff, op_tlbwi,    "",   P | E},
    {"tlbwr",   0x42000006, 0xffffffff, op_tlbwr,    "",   P | E},
    {"tlbp",    0x42000008, 0xffffffff, op_tlbp,     "",   P},
    {"eret",    0x42000018, 0xffffffff, op_eret,     "",   P | E},
    {"wait",    0x42000020, 0xfe00003f, op_wait,     "",   P | E},
    {"cop0",    0x40000000, M_MAJOR,    op_reserved, "",   P | E},
    {"cop2",    0x48000000, M_MAJOR,    op_no_cop2,  "",   E},
    {"rdhwr",   0x7c00003b, 0xffe007ff, op_rdhwr,    "w",  MIPS32_R2},
    {"cache",   0xbc000000, M_MAJOR,    op_nothing,  "o",  P},
    {"lwc2",    0xc8000000, M_MAJOR,    op_no_cop2,  "o",  E},
    {"pref",    0xcc000000, M_MAJOR,    op_nothing,  "o",  0},
    {"ldc2",    0xd8000000, M_MAJOR,    op_no_cop2,  "o",  E},
    {"swc2",    0xe8000000, M_MAJOR,    op_no_cop2,  "o",  E},
    {"sdc2",    0xf8000000, M_MAJOR,    op_no_cop2,  "o",  E},
};
/* clang-format on */

const struct mips32_ops_list mips32_ops_system = {ops, ARRAY_LEN(ops)};
