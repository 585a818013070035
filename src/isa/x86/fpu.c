/* SPDX-License-Identifier: MIT */
/* The FPU's state as a whole: reset, moving x87/MMX registers between v->fx and the host, the
 * guards, FXSAVE and FXRSTOR (Intel SDM vol. 1 ch. 8.1, 8.7, 10.5; vol. 2A FXSAVE; vol. 3A 2.5).
 *
 * Moving in is FXRSTOR straight from v->fx: it overwrites the host's XMM registers and MXCSR,
 * which the compiler is told and which go back to the host's default. Moving out is FXSAVE to a
 * scratch image, of which only the x87 part is taken. Both are exact, pending exceptions and
 * all; neither can trap. The host must never meet a waiting instruction while an unmasked
 * exception is pending: in C code there is none, in the stubs the guards see to it.
 *
 * Instruction and operand pointers in the host would be addresses of stubs; the guest's own are
 * kept in v->fpu and put into every image.
 *
 * Left out: IGNNE# (the PC's port F0h). With CR0.NE clear, a waiting instruction raises FERR#
 * and stays frozen, by being started over, until an interrupt handler clears the exception with
 * a non-waiting instruction, as all known handlers do. */
#include "isa/x86/fpu.h"

#include "isa/x86/simd.h"

#define MXCSR_DEFAULT 0x1f80u
#define FSW_ES        0x80u
#define FX_X87_HEAD   24u  /* fcw to fds */
#define FX_ST_OFFSET  32u  /* st[0] */
#define FX_XMM_OFFSET 160u /* xmm[0] */
#define FX_USED       288u /* 8 XMM registers; the rest of the 512 bytes is not written */

void x86_fpu_reset(struct x86_vcpu *v)
{
    bool keep_live = v->fpu.keep_live;
    x86_fpu_park(v);
    memset(&v->fx, 0, sizeof v->fx);
    memset(&v->fpu, 0, sizeof v->fpu);
    v->fpu.keep_live = keep_live;
    v->fx.fcw = 0x40;
    v->fx.ftw_abridged = 0xff; /* every register holds +0.0: tag word 5555h */
    v->fx.mxcsr = MXCSR_DEFAULT;
    v->fx.mxcsr_mask = X86_MXCSR_MASK;
}

void x86_fpu_load(struct x86_vcpu *v)
{
    static const uint32_t host_mxcsr = MXCSR_DEFAULT;
    if (v->fpu.live)
        return;
    __asm__ volatile("fxrstor %0\n\tldmxcsr %1"
                     :
                     : "m"(v->fx), "m"(host_mxcsr)
                     : "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7",
                       "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
    v->fpu.live = true;
}

void x86_fpu_park(struct x86_vcpu *v)
{
    struct x86_fx now;
    if (!v->fpu.live)
        return;
    __asm__ volatile("fxsave %0\n\tfninit" : "=m"(now) : : "memory");
    v->fpu.live = false;
    v->fx.fcw = now.fcw;
    v->fx.fsw = now.fsw;
    v->fx.ftw_abridged = now.ftw_abridged;
    v->fx.fop = v->fpu.fop;
    v->fx.fip = v->fpu.fip;
    v->fx.fcs = v->fpu.fcs;
    v->fx.fdp = v->fpu.fdp;
    v->fx.fds = v->fpu.fds;
    memcpy(v->fx.st, now.st, sizeof v->fx.st);
}

/* ---- guards ---------------------------------------------------------------------------------- */

static bool pending_error(struct x86_vcpu *v)
{
    if (v->cr0 & CR0_NE)
        x86_raise(v, X86_MF);
    if (v->ferr.raise)
        v->ferr.raise(v->ferr.opaque);
    v->eip = v->insn_eip;
    return false;
}

bool x86_fpu_pending(const struct x86_vcpu *v)
{
    uint16_t fsw;
    __asm__ volatile("fnstsw %0" : "=a"(fsw) : : "memory");
    return fsw & FSW_ES;
}

/* Before a waiting instruction: the host would trap if ES were set, so look first. */
bool x86_fpu_wait(struct x86_vcpu *v)
{
    return likely(!x86_fpu_pending(v)) || pending_error(v);
}

bool x86_fpu_guard(struct x86_vcpu *v)
{
    if (unlikely(v->cr0 & (CR0_EM | CR0_TS)))
        x86_raise(v, X86_NM);
    x86_fpu_load(v);
    return x86_fpu_wait(v);
}

bool x86_mmx_guard(struct x86_vcpu *v)
{
    if (unlikely(v->cr0 & CR0_EM))
        x86_raise(v, X86_UD);
    if (unlikely(v->cr0 & CR0_TS))
        x86_raise(v, X86_NM);
    x86_fpu_load(v);
    return x86_fpu_wait(v);
}

void x86_sse_guard(struct x86_vcpu *v)
{
    if (unlikely(v->cr0 & CR0_EM) || unlikely(!(v->cr4 & CR4_OSFXSR)))
        x86_raise(v, X86_UD);
    if (unlikely(v->cr0 & CR0_TS))
        x86_raise(v, X86_NM);
}

/* ---- FXSAVE, FXRSTOR ------------------------------------------------------------------------- */

static uint32_t fx_operand(struct x86_vcpu *v, const struct x86_insn *in)
{
    if (v->cr0 & (CR0_EM | CR0_TS))
        x86_raise(v, X86_NM);
    uint32_t ea = x86_ea(v, in);
    if (((uint32_t)v->seg[in->seg].base + ea) & 15)
        x86_raise_error(v, X86_GP, 0);
    return ea;
}

/* Where the last x87 instruction was matters to who handles its exception, so FXSAVE stores that
 * only with one pending, as AMD's processors do (APM vol. 2 11.4.4); otherwise zeros. Both engines
 * agree then: translated code does not keep track. */
static void hide_pointers(struct x86_fx *img)
{
    if (img->fsw & FSW_ES)
        return;
    img->fop = 0;
    img->fip = img->fcs = img->fdp = img->fds = 0;
}

/* With CR4.OSFXSR clear, XMM registers and MXCSR are neither stored nor loaded. */
void x86_fxsave(struct x86_vcpu *v, const struct x86_insn *in)
{
    uint32_t ea = fx_operand(v, in);
    x86_probe_write(v, in->seg, ea, sizeof v->fx);
    x86_fpu_park(v);
    struct x86_fx img = v->fx;
    hide_pointers(&img);
    if (v->cr4 & CR4_OSFXSR) {
        x86_write_bytes(v, in->seg, ea, &img, FX_USED);
        return;
    }
    x86_write_bytes(v, in->seg, ea, &img, FX_X87_HEAD);
    x86_write_bytes(v, in->seg, ea + FX_ST_OFFSET, img.st, sizeof img.st);
}

void x86_fxrstor(struct x86_vcpu *v, const struct x86_insn *in)
{
    struct x86_fx img;
    uint32_t ea = fx_operand(v, in);
    x86_read_bytes(v, in->seg, ea, &img, sizeof img);
    bool sse = v->cr4 & CR4_OSFXSR;
    if (sse && (img.mxcsr & ~X86_MXCSR_MASK))
        x86_raise_error(v, X86_GP, 0);
    x86_fpu_park(v);
    v->fx.fcw = img.fcw;
    v->fx.fsw = img.fsw;
    v->fx.ftw_abridged = img.ftw_abridged;
    memcpy(v->fx.st, img.st, sizeof v->fx.st);
    v->fpu.fop = img.fop & 0x7ff;
    v->fpu.fip = img.fip;
    v->fpu.fcs = (uint16_t)img.fcs;
    v->fpu.fdp = img.fdp;
    v->fpu.fds = (uint16_t)img.fds;
    if (sse) {
        v->fx.mxcsr = img.mxcsr;
        memcpy(v->fx.xmm, img.xmm, FX_USED - FX_XMM_OFFSET);
    }
    x86_fpu_load(v); /* the host forces reserved bits and recomputes ES */
}
