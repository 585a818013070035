/* SPDX-License-Identifier: MIT */
/* The x86 processor as a snapshot holds it: architectural state (Intel SDM vol. 3A ch. 2), what is
 * pending between two instructions, and nothing that can be derived. Views, TLB, decoded and
 * translated code start empty.
 *
 * A snapshot file is not trusted: whatever the guest could not have brought about is brought back
 * into the range that the rest of isa/x86 relies on. */
#include <stdatomic.h>

#include "isa/x86/fpu.h"
#include "isa/x86/icache.h"
#include "isa/x86/mmu.h"
#include "ring3/dev.h"

/* clang-format off */
#define F(field) STATE(struct x86_vcpu, field)
#define NAMED(name, field) {name, offsetof(struct x86_vcpu, field), sizeof(((struct x86_vcpu *)0)->field), 1}
#define BYTES(name, field) {name, offsetof(struct x86_vcpu, field), 1, sizeof(((struct x86_vcpu *)0)->field)}
#define SEG(name, s)                                                                               \
    NAMED(name ".sel", seg[s].sel), NAMED(name ".attr", seg[s].attr),                              \
    NAMED(name ".limit", seg[s].limit), NAMED(name ".base", seg[s].base)

static const struct state_field fields[] = {
    NAMED("eax", gpr[X86_EAX]), NAMED("ecx", gpr[X86_ECX]), NAMED("edx", gpr[X86_EDX]),
    NAMED("ebx", gpr[X86_EBX]), NAMED("esp", gpr[X86_ESP]), NAMED("ebp", gpr[X86_EBP]),
    NAMED("esi", gpr[X86_ESI]), NAMED("edi", gpr[X86_EDI]),
    F(eip), F(cc), F(eflags), F(if_flag), F(df_flag), F(cpl),
    SEG("es", X86_ES), SEG("cs", X86_CS), SEG("ss", X86_SS), SEG("ds", X86_DS), SEG("fs", X86_FS),
    SEG("gs", X86_GS), SEG("ldtr", X86_LDTR), SEG("tr", X86_TR),
    F(gdtr.base), F(gdtr.limit), F(idtr.base), F(idtr.limit),
    F(cr0), F(cr2), F(cr3), F(cr4), STATE_ARRAY(struct x86_vcpu, dr),
    F(efer), F(pat), F(sysenter_cs), F(sysenter_esp), F(sysenter_eip), F(debugctl),
    STATE_ARRAY(struct x86_vcpu, pdpte), F(tsc_offset), F(a20_mask),
    F(retired), F(shadow_until), F(shadow_debug), F(dr6_pending), F(nmi_blocked),
    F(delivering), F(delivering_external),
    NAMED("nmi_pending", saved_nmi), NAMED("halted", base.halted),
    F(fpu.fip), F(fpu.fdp), F(fpu.fcs), F(fpu.fds), F(fpu.fop),
    F(fx.fcw), F(fx.fsw), F(fx.ftw_abridged), F(fx.mxcsr),
    BYTES("fx.st", fx.st), BYTES("fx.xmm", fx.xmm),
};
/* clang-format on */

const struct state_field *x86_state_table(size_t *count)
{
    *count = ARRAY_LEN(fields);
    return fields;
}

void x86_parked(struct vcpu *base)
{
    struct x86_vcpu *v = x86_of(base);
    x86_fpu_park(v);
    v->saved_nmi = !!(atomic_load(&base->attention) & ATTN_NMI);
}

/* ---- bringing into range ------------------------------------------------------------------------
 */

#define CR0_KEPT                                                                                   \
    (CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD |     \
     CR0_PG)
#define CR4_KEPT                                                                                   \
    (CR4_VME | CR4_PVI | CR4_TSD | CR4_DE | CR4_PSE | CR4_PAE | CR4_MCE | CR4_PGE | CR4_PCE |      \
     CR4_OSFXSR | CR4_OSXMMEXCPT)
#define EFLAGS_KEPT (FL_TF | FL_IOPL | FL_NT | FL_RF | FL_VM | FL_AC | FL_VIF | FL_VIP | FL_ID)
#define CC_KEPT     (CC_OF | CC_CF | CC_PF | CC_AF | CC_ZF | CC_SF)

static void check_control(struct x86_vcpu *v)
{
    v->cr0 &= CR0_KEPT;
    v->cr4 &= CR4_KEPT;
    v->efer &= EFER_NXE;
    if (!(v->cr0 & CR0_PE))
        v->cr0 &= ~CR0_PG;
    v->dr[4] = v->dr[5] = 0;
    v->dr[6] |= DR6_FIXED;
    v->dr[7] |= DR7_FIXED;
    v->dr6_pending &= 15 | DR6_BD | DR6_BS | DR6_BT;
    v->sysenter_cs &= UINT32_MAX;
    v->sysenter_esp &= UINT32_MAX;
    v->sysenter_eip &= UINT32_MAX;
    v->debugctl &= 3;
    v->a20_mask |= ~(UINT64_C(1) << 20);
    if (v->delivering < -1 || v->delivering > X86_XM)
        v->delivering = -1;
}

static void check_registers(struct x86_vcpu *v)
{
    for (unsigned i = 0; i < 8; i++)
        v->gpr[i] &= UINT32_MAX;
    v->gpr[X86_GPR_ZERO] = 0;
    v->eip &= UINT32_MAX;
    v->cc &= CC_KEPT;
    v->eflags = (v->eflags & EFLAGS_KEPT) | FL_FIXED;
    v->if_flag &= FL_IF;
    v->df_flag &= FL_DF;
    if (!x86_protected(v))
        v->eflags &= ~FL_VM;
    v->cpl = !x86_protected(v) ? 0 : x86_v8086(v) ? 3 : v->cpl & 3;
    for (unsigned s = 0; s < X86_SREGS; s++) {
        v->seg[s].base &= UINT32_MAX;
        v->seg[s].attr &= 0xf0ff;
    }
    v->gdtr.base &= UINT32_MAX;
    v->idtr.base &= UINT32_MAX;
}

/* The x87 part goes through the host's FXRSTOR, which takes anything but reserved bits of MXCSR. */
static void check_fpu(struct x86_vcpu *v)
{
    v->fx.mxcsr &= X86_MXCSR_MASK;
    v->fx.mxcsr_mask = X86_MXCSR_MASK;
    v->fpu.fop &= 0x7ff;
    v->fx.fop = v->fpu.fop;
    v->fx.fip = v->fpu.fip;
    v->fx.fcs = v->fpu.fcs;
    v->fx.fdp = v->fpu.fdp;
    v->fx.fds = v->fpu.fds;
    v->fpu.live = false;
}

void x86_restored(struct vcpu *base)
{
    struct x86_vcpu *v = x86_of(base);
    check_control(v);
    check_registers(v);
    check_fpu(v);
    v->counted = v->retired;
    x86_icache_flush(v->icache);
    x86_tlb_flush(v, false);
    x86_update_mode(v);
    if (base->halted) /* as interpret() would say */
        base->halted = v->attn_mask & ~(uint32_t)(X86_ATTN_DEBUG | ATTN_STOP | ATTN_CODE);
    if (v->saved_nmi)
        vcpu_attend(base, ATTN_NMI);
    else
        vcpu_unattend(base, ATTN_NMI);
    x86_resumed(base);
}

void x86_resumed(struct vcpu *base)
{
    struct x86_vcpu *v = x86_of(base);
    v->gen.tsc_is_host = clock_tsc_offset(base->clock, &v->gen.tsc_offset);
}
