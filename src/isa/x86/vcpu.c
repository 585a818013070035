/* SPDX-License-Identifier: MIT */
/* The x86 processor as an object: making it, reset state (Intel SDM vol. 3A table 9-1), and the
 * derived state that the fast paths use. */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "isa/x86/fpu.h"
#include "isa/x86/icache.h"
#include "isa/x86/debugger.h"
#include "isa/x86/interp.h"
#include "isa/x86/mmu.h"
#include "isa/x86/translator.h"

/* ---- derived state ---------------------------------------------------------------------- */

/* A span closes (0) whenever the slow path has to look at every access. */
static void derive_spans(struct x86_vcpu *v, struct x86_seg *s)
{
    bool ac = v->user && (v->cr0 & CR0_AM) && (v->eflags & FL_AC);
    bool data = (s->attr & (SEG_S | SEG_CODE)) == SEG_S;
    bool expand_down = data && (s->attr & SEG_EXPAND_DOWN);
    uint32_t span = s->limit >= 15 ? s->limit - 14 : 0;
    s->read_span = s->write_span = 0;
    if (ac || (v->dr[7] & 0xff) || v->debugger.watches || expand_down)
        return;
    if (x86_real_or_v86(v)) {
        s->read_span = s->write_span = span;
        return;
    }
    if (!(s->attr & SEG_P))
        return;
    if (data || (s->attr & SEG_READABLE))
        s->read_span = span;
    if (data && (s->attr & SEG_WRITABLE))
        s->write_span = span;
}

/* For translated code, which checks nothing. */
static void derive_base_pointer(struct x86_vcpu *v, enum x86_sreg s)
{
    const struct x86_seg *seg = &v->seg[s];
    v->gen.base_at[s - X86_FS] = x86_seg_unlimited(seg) ? (uintptr_t)&seg->base : X86_GEN_NO_BASE;
}

void x86_seg_changed(struct x86_vcpu *v, enum x86_sreg s)
{
    derive_spans(v, &v->seg[s]);
    if (s == X86_FS || s == X86_GS)
        derive_base_pointer(v, s);
    else if (s == X86_SS)
        v->sp_mask = v->seg[X86_SS].attr & SEG_DB ? UINT32_MAX : UINT16_MAX;
    else if (s == X86_CS)
        x86_icache_leave_window(v->icache);
}

void x86_privilege_changed(struct x86_vcpu *v)
{
    v->user = v->cpl == 3;
    v->tlb = v->tlb_sets[v->user];
    x86_icache_leave_window(v->icache);
}

void x86_update_mode(struct x86_vcpu *v)
{
    x86_privilege_changed(v);
    for (unsigned s = 0; s < X86_SREGS; s++)
        x86_seg_changed(v, s);
    v->attn_mask = x86_attn_mask(v->if_flag);
    x86_update_debug(v);
}

void x86_set_eflags(struct x86_vcpu *v, uint32_t eflags)
{
    uint32_t changed = v->eflags ^ eflags;
    v->cc = x86_flags_to_cc(eflags);
    v->eflags = (eflags & ~(FL_ARITH | FL_IF | FL_DF)) | FL_FIXED;
    v->if_flag = eflags & FL_IF;
    v->df_flag = eflags & FL_DF;
    v->attn_mask = x86_attn_mask(v->if_flag);
    if (changed & (FL_TF | FL_RF))
        x86_update_debug(v);
    if ((changed & FL_AC) && (v->cr0 & CR0_AM))
        x86_update_mode(v);
}

void x86_set_a20(struct x86_vcpu *v, bool on)
{
    uint64_t mask = on ? UINT64_MAX : ~(UINT64_C(1) << 20);
    if (mask == v->a20_mask)
        return;
    v->a20_mask = mask;
    x86_tlb_flush(v, false);
}

/* ---- stores to decoded code ------------------------------------------------------------- */

static void reasons_changed(void *opaque, gpfn_t page, uint8_t reasons)
{
    struct x86_vcpu *v = opaque;
    if (reasons)
        x86_tlb_protect(v, page);
}

static void code_written(void *opaque, gpa_t gpa, uint64_t len, uint8_t reasons)
{
    struct x86_vcpu *v = opaque;
    if (!(reasons & WP_CODE))
        return;
    if (pthread_equal(pthread_self(), v->owner))
        x86_icache_invalidate(v->icache, gpa, len);
    else
        vcpu_attend(&v->base, ATTN_CODE);
}

/* A chipset shows other memory at some addresses from the next instruction on. */
static void remapped(void *opaque, gpa_t gpa, uint64_t len)
{
    struct x86_vcpu *v = opaque;
    for (uint64_t done = 0; done < len; done += PAGE_BYTES)
        x86_icache_invalidate(v->icache, gpa + done, PAGE_BYTES);
    x86_tlb_flush(v, false);
}

/* ---- life ------------------------------------------------------------------------------------ */

static void reset(struct vcpu *base)
{
    struct x86_vcpu *v = x86_of(base);
    memset(v->gpr, 0, sizeof v->gpr);
    v->gpr[X86_EDX] = 0x623; /* the CPUID signature */
    v->eip = 0xfff0;
    v->cc = 0;
    v->eflags = FL_FIXED;
    v->if_flag = v->df_flag = 0;
    v->cpl = 0;
    for (unsigned s = 0; s < X86_SREGS; s++)
        v->seg[s] =
            (struct x86_seg){.attr = SEG_P | SEG_S | SEG_WRITABLE | SEG_ACCESSED, .limit = 0xffff};
    v->seg[X86_CS].sel = 0xf000;
    v->seg[X86_CS].base = 0xffff0000;
    v->seg[X86_CS].attr |= SEG_CODE;
    v->seg[X86_LDTR].attr = SEG_P | 2;
    v->seg[X86_TR].attr = SEG_P | 11;
    v->gdtr = v->idtr = (struct x86_dtr){0, 0xffff};
    v->cr0 = CR0_CD | CR0_NW | CR0_ET;
    v->cr2 = v->cr3 = v->cr4 = 0;
    memset(v->dr, 0, sizeof v->dr);
    v->dr[6] = DR6_FIXED;
    v->dr[7] = DR7_FIXED;
    v->efer = v->sysenter_cs = v->sysenter_esp = v->sysenter_eip = v->debugctl = 0;
    v->pat = UINT64_C(0x0007040600070406);
    v->tsc_offset = -(int64_t)clock_tsc(v->base.clock);
    v->a20_mask = UINT64_MAX;
    v->shadow_until = UINT64_MAX;
    v->dr6_pending = 0;
    v->nmi_blocked = false;
    v->delivering = -1;
    v->delivering_external = false;
    x86_fpu_reset(v);
    x86_icache_flush(v->icache);
    x86_tlb_flush(v, false);
    x86_update_mode(v);
}

static void vcpu_free(struct vcpu *base)
{
    struct x86_vcpu *v = x86_of(base);
    if (!v)
        return;
    x86_icache_free(v->icache);
    x86_decoder_free(v->decoder);
    free(v);
}

struct vcpu *x86_vcpu_new(const struct vcpu_wiring *w, unsigned index, struct err *e)
{
    struct x86_vcpu *v = aligned_alloc(64, (sizeof *v + 63) & ~(size_t)63);
    if (!v) {
        err_set(e, ENOMEM, "out-of-memory", "no memory for a virtual processor");
        return NULL;
    }
    memset(v, 0, sizeof *v);
    v->base.isa = &x86_isa;
    v->base.index = index;
    v->base.mem = w->mem;
    v->base.mmio = w->mmio;
    v->base.pio = w->pio;
    v->base.clock = w->clock;
    v->base.log = w->log;
    v->owner = pthread_self();
    v->decoder = x86_decoder_new(e);
    v->icache = x86_icache_new(v, e);
    if (!v->decoder || !v->icache) {
        vcpu_free(&v->base);
        return NULL;
    }
    v->watcher = (struct wp_watcher){
        .changed = reasons_changed, .written = code_written, .remapped = remapped, .opaque = v};
    wp_watch(w->mem, &v->watcher);
    reset(&v->base);
    return &v->base;
}

static uint64_t pc(const struct vcpu *base)
{
    const struct x86_vcpu *v = container_of(base, const struct x86_vcpu, base);
    return (uint32_t)(v->seg[X86_CS].base + v->eip);
}

const struct isa_ops x86_isa = {
    .name = "x86",
    .vcpu_new = x86_vcpu_new,
    .vcpu_free = vcpu_free,
    .reset = reset,
    .interpret = x86_interpret,
    .state = x86_state_table,
    .debug = &x86_debug,
    .parked = x86_parked,
    .restored = x86_restored,
    .resumed = x86_resumed,
    .pc = pc,
    .dump = x86_dump,
    .post_mortem = x86_post_mortem,
    .translator = &x86_translator,
};
