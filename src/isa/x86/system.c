/* SPDX-License-Identifier: MIT */
/* System instructions: control and debug registers, flags, HLT, TLB, MSRs, time stamp (Intel SDM
 * vol. 3A ch. 2, vol. 2). CPUID and the MSR table are in cpuid.c and msr.c; descriptor-table
 * instructions in segment.c.
 *
 * Virtual interrupt flag (CR4.VME, PVI): SDM vol. 3B 20.3 and 20.4; INT and IRET are in far.c.
 *
 * Left out: caches have no model: CR0.CD, INVD and WBINVD do nothing. */
#include "isa/x86/cpuid.h"
#include "isa/x86/insn.h"
#include "isa/x86/mmu.h"
#include "isa/x86/trap.h"

#define CR4_SUPPORTED                                                                              \
    (CR4_VME | CR4_PVI | CR4_TSD | CR4_DE | CR4_PSE | CR4_PAE | CR4_MCE | CR4_PGE | CR4_PCE |      \
     CR4_OSFXSR | CR4_OSXMMEXCPT)
#define CR0_DEFINED                                                                                \
    (CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | CR0_PG)

/* ---- interrupt flag, pushf, popf -------------------------------------------------------- */

/* What CLI and STI act on: IF where IOPL allows, else VIF where an extension is on. */
static uint32_t interrupt_flag(struct x86_vcpu *v)
{
    if (!x86_protected(v) || v->cpl <= x86_iopl(v)) /* v8086: CPL is 3 */
        return FL_IF;
    if (!(v->cr4 & (x86_v8086(v) ? CR4_VME : CR4_PVI)) || v->cpl != 3)
        x86_raise_error(v, X86_GP, 0);
    return FL_VIF;
}

static void op_cli(struct x86_vcpu *v, const struct x86_insn *in)
{
    x86_set_eflags(v, x86_get_eflags(v) & ~interrupt_flag(v));
}

static void op_sti(struct x86_vcpu *v, const struct x86_insn *in)
{
    if (interrupt_flag(v) == FL_VIF) {
        if (v->eflags & FL_VIP) /* one is waiting for the monitor to deliver it */
            x86_raise_error(v, X86_GP, 0);
        x86_set_eflags(v, x86_get_eflags(v) | FL_VIF);
    } else if (!v->if_flag) {
        x86_set_eflags(v, x86_get_eflags(v) | FL_IF);
        v->shadow_until = v->retired + 1;
        v->shadow_debug = false;
    }
}

/* PUSHF and POPF in v8086 mode with IOPL < 3: VIF stands for IF in 16-bit images with CR4.VME,
 * otherwise they trap. */
static bool virtual_flags(struct x86_vcpu *v, unsigned size)
{
    if (!x86_v8086(v) || x86_iopl(v) == 3)
        return false;
    if (!(v->cr4 & CR4_VME) || size != 2)
        x86_raise_error(v, X86_GP, 0);
    return true;
}

static void op_pushf(struct x86_vcpu *v, const struct x86_insn *in)
{
    uint32_t x = x86_get_eflags(v) & ~(FL_RF | FL_VM);
    if (virtual_flags(v, in->opsize))
        x = (x & ~FL_IF) | FL_IOPL | (x & FL_VIF ? FL_IF : 0);
    x86_push(v, in->opsize, x);
}

static void pop_virtual_flags(struct x86_vcpu *v)
{
    uint32_t mask = FL_ARITH | FL_DF | FL_NT;
    uint32_t x = x86_read16(v, X86_SS, x86_sp(v));
    if ((x & FL_TF) || ((x & FL_IF) && (v->eflags & FL_VIP)))
        x86_raise_error(v, X86_GP, 0);
    x86_set_sp(v, x86_sp(v) + 2);
    x86_set_eflags(v, (x86_get_eflags(v) & ~(mask | FL_VIF | FL_TF)) | (x & mask) |
                          (x & FL_IF ? FL_VIF : 0));
}

static void op_popf(struct x86_vcpu *v, const struct x86_insn *in)
{
    if (virtual_flags(v, in->opsize)) {
        pop_virtual_flags(v);
        return;
    }
    uint32_t old = x86_get_eflags(v);
    uint32_t mask = FL_ARITH | FL_TF | FL_DF | FL_NT | FL_AC | FL_ID;
    if (v->cpl == 0)
        mask |= FL_IOPL;
    if (!x86_protected(v) || v->cpl <= x86_iopl(v))
        mask |= FL_IF;
    if (in->opsize == 2)
        mask &= 0xffff;
    uint32_t x = x86_pop(v, in->opsize);
    x86_set_eflags(v, (old & ~(mask | FL_RF)) | (x & mask));
}

static void op_hlt(struct x86_vcpu *v, const struct x86_insn *in)
{
    v->retired++;
    x86_leave(v, EXIT_HALT, NULL);
}

/* ---- control registers ------------------------------------------------------------------ */

static void write_cr0(struct x86_vcpu *v, uint32_t x)
{
    if (((x & CR0_PG) && !(x & CR0_PE)) || ((x & CR0_NW) && !(x & CR0_CD)))
        x86_raise_error(v, X86_GP, 0);
    x = (x & CR0_DEFINED) | CR0_ET;
    uint32_t changed = x ^ v->cr0;
    if ((changed & x & CR0_PG) && (v->cr4 & CR4_PAE))
        x86_load_pdptes(v, v->cr3);
    v->cr0 = x;
    if (changed & (CR0_PG | CR0_PE | CR0_WP))
        x86_tlb_flush(v, false);
    x86_update_mode(v);
}

static void write_cr3(struct x86_vcpu *v, uint32_t x)
{
    if ((v->cr0 & CR0_PG) && (v->cr4 & CR4_PAE))
        x86_load_pdptes(v, x);
    v->cr3 = x;
    x86_tlb_flush(v, v->cr4 & CR4_PGE);
}

static void write_cr4(struct x86_vcpu *v, uint32_t x)
{
    if (x & ~CR4_SUPPORTED)
        x86_raise_error(v, X86_GP, 0);
    uint32_t changed = x ^ v->cr4;
    if ((v->cr0 & CR0_PG) && (changed & x & CR4_PAE))
        x86_load_pdptes(v, v->cr3);
    v->cr4 = x;
    if (changed & (CR4_PGE | CR4_PAE | CR4_PSE))
        x86_tlb_flush(v, false);
}

/* mov crN, r32 (0F 22) and mov r32, crN (0F 20). The number is in the reg field. */
static void op_mov_cr(struct x86_vcpu *v, const struct x86_insn *in)
{
    unsigned cr = in->modrm >> 3 & 7, reg = in->modrm & 7;
    bool write = in->opcode == 0x22;
    uint32_t x = x86_r32(v, reg);
    switch (cr) {
    case 0:
        if (write)
            write_cr0(v, x);
        else
            x86_w32(v, reg, v->cr0);
        return;
    case 2:
        if (write)
            v->cr2 = x;
        else
            x86_w32(v, reg, v->cr2);
        return;
    case 3:
        if (write)
            write_cr3(v, x);
        else
            x86_w32(v, reg, v->cr3);
        return;
    case 4:
        if (write)
            write_cr4(v, x);
        else
            x86_w32(v, reg, v->cr4);
        return;
    default:
        x86_raise(v, X86_UD);
    }
}

static void op_clts(struct x86_vcpu *v, const struct x86_insn *in)
{
    v->cr0 &= ~CR0_TS;
}

/* LMSW loads the low four bits; it can set PE but not clear it. */
static void op_lmsw(struct x86_vcpu *v, const struct x86_insn *in)
{
    uint32_t x = x86_rm_get(v, in, in->r0, 2);
    write_cr0(v,
              (v->cr0 & ~(CR0_MP | CR0_EM | CR0_TS)) | (x & (CR0_PE | CR0_MP | CR0_EM | CR0_TS)));
}

static void op_smsw(struct x86_vcpu *v, const struct x86_insn *in)
{
    if (in->has_mem)
        x86_rm_set(v, in, in->r0, 2, v->cr0);
    else
        x86_reg_set(v, in->r0, in->opsize, v->cr0);
}

/* ---- debug registers -------------------------------------------------------------------- */

static void op_mov_dr(struct x86_vcpu *v, const struct x86_insn *in)
{
    unsigned dr = in->modrm >> 3 & 7, reg = in->modrm & 7;
    if (dr == 4 || dr == 5) {
        if (v->cr4 & CR4_DE)
            x86_raise(v, X86_UD);
        dr += 2;
    }
    if (v->dr[7] & DR7_GD) {
        v->dr6_pending |= DR6_BD;
        x86_raise(v, X86_DB);
    }
    if (in->opcode == 0x21) {
        x86_w32(v, reg, v->dr[dr]);
        return;
    }
    uint32_t x = x86_r32(v, reg);
    if (dr == 6)
        x = (x & 0xe00f) | DR6_FIXED;
    else if (dr == 7)
        x = (x & 0xffff23ff) | DR7_FIXED;
    v->dr[dr] = x;
    x86_update_mode(v); /* data breakpoints close the fast path */
}

/* ---- TLB, caches, counters -------------------------------------------------------------- */

static void op_invlpg(struct x86_vcpu *v, const struct x86_insn *in)
{
    x86_tlb_flush_page(v, (uint32_t)v->seg[in->seg].base + x86_ea(v, in));
}

static void op_rdtsc(struct x86_vcpu *v, const struct x86_insn *in)
{
    if ((v->cr4 & CR4_TSD) && v->cpl != 0)
        x86_raise_error(v, X86_GP, 0);
    uint64_t t = clock_tsc(v->base.clock) + (uint64_t)v->tsc_offset;
    x86_w32(v, X86_EAX, (uint32_t)t);
    x86_w32(v, X86_EDX, (uint32_t)(t >> 32));
}

/* There are no performance counters: every index is out of range. */
static void op_rdpmc(struct x86_vcpu *v, const struct x86_insn *in)
{
    x86_raise_error(v, X86_GP, 0);
}

static void op_cpuid(struct x86_vcpu *v, const struct x86_insn *in)
{
    struct x86_cpuid r = x86_cpuid(v, x86_r32(v, X86_EAX), x86_r32(v, X86_ECX));
    x86_w32(v, X86_EAX, r.eax);
    x86_w32(v, X86_EBX, r.ebx);
    x86_w32(v, X86_ECX, r.ecx);
    x86_w32(v, X86_EDX, r.edx);
}

static void op_rdmsr(struct x86_vcpu *v, const struct x86_insn *in)
{
    uint64_t x;
    if (!x86_msr_read(v, x86_r32(v, X86_ECX), &x))
        x86_raise_error(v, X86_GP, 0);
    x86_w32(v, X86_EAX, (uint32_t)x);
    x86_w32(v, X86_EDX, (uint32_t)(x >> 32));
}

static void op_wrmsr(struct x86_vcpu *v, const struct x86_insn *in)
{
    uint64_t x = (uint64_t)x86_r32(v, X86_EDX) << 32 | x86_r32(v, X86_EAX);
    if (!x86_msr_write(v, x86_r32(v, X86_ECX), x))
        x86_raise_error(v, X86_GP, 0);
}

static void op_nothing(struct x86_vcpu *v, const struct x86_insn *in) {}

/* ---- rows ------------------------------------------------------------------------------------ */

#define ROW(m, c, fn)                                                                              \
    {                                                                                              \
        .mnemonic = ZYDIS_MNEMONIC_##m, .class = c, .any = fn                                      \
    }
#define PRIV      (X86_PRIVILEGED | X86_CPL0)
#define BY_IOPL   (X86_PRIVILEGED | X86_CONTROL_SENSITIVE)
#define SENSITIVE X86_BEHAVIOUR_SENSITIVE
const struct x86_op x86_ops_system[] = {
    ROW(CLI, BY_IOPL, op_cli),
    ROW(STI, BY_IOPL, op_sti),
    ROW(PUSHF, SENSITIVE, op_pushf),
    ROW(PUSHFD, SENSITIVE, op_pushf),
    ROW(POPF, SENSITIVE | X86_CONTROL_SENSITIVE, op_popf),
    ROW(POPFD, SENSITIVE | X86_CONTROL_SENSITIVE, op_popf),
    ROW(HLT, PRIV, op_hlt),
    {.mnemonic = X86_MN_MOV_CR, .class = PRIV | X86_CONTROL_SENSITIVE, .any = op_mov_cr},
    {.mnemonic = X86_MN_MOV_DR, .class = PRIV | X86_CONTROL_SENSITIVE, .any = op_mov_dr},
    ROW(CLTS, PRIV | X86_CONTROL_SENSITIVE, op_clts),
    ROW(LMSW, PRIV | X86_CONTROL_SENSITIVE, op_lmsw),
    ROW(SMSW, SENSITIVE, op_smsw),
    ROW(INVLPG, PRIV | X86_CONTROL_SENSITIVE, op_invlpg),
    ROW(INVD, PRIV | X86_CONTROL_SENSITIVE, op_nothing),
    ROW(WBINVD, PRIV | X86_CONTROL_SENSITIVE, op_nothing),
    ROW(RDMSR, PRIV, op_rdmsr),
    ROW(WRMSR, PRIV | X86_CONTROL_SENSITIVE, op_wrmsr),
    ROW(RDTSC, SENSITIVE, op_rdtsc),
    ROW(RDPMC, SENSITIVE, op_rdpmc),
    ROW(CPUID, SENSITIVE, op_cpuid),
    {0},
};
