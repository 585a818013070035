/* SPDX-License-Identifier: MIT */
/* The x86 side of the dbt engine as a whole: when translated code may run, what a host fault in it
 * means, and the operations of ring3/translate.h. */
#include "isa/x86/translator.h"

#include <cpuid.h>
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "isa/x86/fpu.h"
#include "isa/x86/translate.h"
#include "isa/x86/translate_enter.h"
#include "mem/flat.h"

#define TRAP_PAGE_FAULT 14
#define FAULT_WRITE     2u
#define CPUID7_EBX_BMI2 (1u << 8)
#define CPUID1_ECX_LAHF 1u /* leaf 80000001h: LAHF in 64-bit mode */

static int probe(struct err *e)
{
    unsigned a, b, c, d;
    if (!__get_cpuid(0x80000001, &a, &b, &c, &d) || !(c & CPUID1_ECX_LAHF))
        return err_set(e, ENOTSUP, "host-cpu", "the host processor has no LAHF in 64-bit mode");
    return 0;
}

static bool host_has_bmi2(void)
{
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && b & CPUID7_EBX_BMI2;
}

/* ---- attach --------------------------------------------------------------------------------- */

static void add_rows(struct x86_translator *t, const struct x86_special_row *row)
{
    for (; row->mnemonic; row++)
        t->special[row->mnemonic] = row->fn;
}

static void detach(struct vcpu *base)
{
    struct x86_vcpu *v = x86_of(base);
    struct x86_translator *t = v->gen.translator; /* x86_shadow_free() clears gen */
    x86_shadow_free(v->gen.shadow);
    free(t);
    v->gen = (struct x86_gen){0};
    v->fpu.keep_live = false;
    x86_fpu_park(v);
}

static int attach(struct vcpu *base, const struct dbt_options *o, const struct dbt_hooks *h,
                  struct err *e)
{
    struct x86_vcpu *v = x86_of(base);
    struct x86_translator *t = calloc(1, sizeof *t);
    if (!t)
        return err_set(e, ENOMEM, "out-of-memory", "no memory for the translator");
    t->options = *o;
    t->hooks = *h;
    t->bmi2 = !o->no_bmi2 && host_has_bmi2();
    add_rows(t, x86_specials_flow);
    add_rows(t, x86_specials_stack);
    add_rows(t, x86_specials_state);
    add_rows(t, x86_specials_string);
    add_rows(t, x86_specials_data);
    v->gen.translator = t;
    v->gen.callout = (uintptr_t)x86_callout;
    x86_resumed(base);
    v->gen.shadow = x86_shadow_new(v, o, h, e);
    if (!v->gen.shadow) {
        detach(base);
        return -ENOMEM;
    }
    v->fpu.keep_live = true;
    return 0;
}

/* ---- when ----------------------------------------------------------------------------------- */

static bool flat_code(const struct x86_seg *s)
{
    return s->base == 0 && s->limit == UINT32_MAX && (s->attr & SEG_DB);
}

/* 32-bit protected mode, flat segments, nothing that must be looked at between instructions. */
static bool suits(const struct x86_vcpu *v)
{
    const struct x86_seg *s = v->seg;
    return x86_protected(v) && !x86_v8086(v) && (v->cpl == 0 || v->cpl == 3) &&
           flat_code(&s[X86_CS]) && x86_seg_flat(&s[X86_SS]) && x86_seg_flat(&s[X86_DS]) &&
           x86_seg_flat(&s[X86_ES]) && v->sp_mask == UINT32_MAX && v->shadow_until != v->retired &&
           !(atomic_load_explicit(&v->base.attention, memory_order_relaxed) & X86_ATTN_DEBUG);
}

static unsigned mode_of(const struct x86_vcpu *v)
{
    bool fpu = !(v->cr0 & (CR0_EM | CR0_TS));
    return (v->user ? X86_MODE_USER : 0) | (fpu ? X86_MODE_FPU : 0) |
           (v->cr4 & CR4_OSFXSR ? X86_MODE_SSE : 0);
}

/* A call-out met a page that its view does not show: show it, if the instruction went well. */
static void show_wanted(struct x86_vcpu *v)
{
    const struct x86_want want = v->gen.want;
    v->gen.want.wanted = false;
    if (v->user == want.user && (want.pc == v->eip || want.next == v->eip))
        x86_shadow_fault(v, want.lin, want.write, want.select ? TB_SELECT : TB_PLAIN);
}

static bool prepare(struct vcpu *base, struct dbt_where *w)
{
    struct x86_vcpu *v = x86_of(base);
    if (!suits(v))
        return false;
    enum x86_flavour flavour;
    w->pc = (uint32_t)v->eip;
    w->space = (uint16_t)x86_shadow_prepare(v, &flavour);
    if (unlikely(v->gen.want.wanted))
        show_wanted(v);
    if (unlikely(flavour == X86_FLAVOUR_NONE))
        return false;
    w->mode = (uint16_t)(mode_of(v) | (flavour == X86_FLAVOUR_FLAT ? X86_MODE_FLAT : 0));
    if (w->mode & X86_MODE_FPU)
        x86_fpu_load(v);
    return true;
}

static bool fetch(struct vcpu *base, uint32_t page, gpfn_t *gpfn)
{
    return x86_shadow_fetch(x86_of(base), page, gpfn);
}

static void set_pc(struct vcpu *base, uint32_t pc)
{
    x86_of(base)->eip = pc;
}

/* ---- host faults ---------------------------------------------------------------------------- */

static void put_right(struct x86_vcpu *v, const struct dbt_fault *f)
{
    switch (f->mark.fix) {
    case X86_FIX_ESP:
        v->gpr[X86_ESP] = (uint32_t)(v->gpr[X86_ESP] + (uint64_t)(int64_t)f->mark.fix_arg);
        break;
    case X86_FIX_STRING:
        v->gpr[X86_ESI] = (uint32_t)v->gpr[X86_ESI];
        v->gpr[X86_EDI] = (uint32_t)v->gpr[X86_EDI];
        break;
    case X86_FIX_ESI:
        v->gpr[X86_ESI] = (uint32_t)f->r10;
        break;
    default:
        break;
    }
}

/* The guest-linear address of the access that faulted. False: none of ours, or one that leaves the
 * window or straddles pages of the flat view: the interpreter knows what to do. */
static bool fault_address(const struct x86_vcpu *v, const struct dbt_fault *f, uint32_t *lin)
{
    if (f->sig != SIGSEGV)
        return false;
    if (f->trapno != TRAP_PAGE_FAULT) { /* an unaligned operand, unless the addend is poisoned */
        *lin = (uint32_t)f->r8;
        return f->r9 == FLAT_POISON;
    }
    uint64_t base = f->addr >> 32 ? v->gen.window : 0; /* an absent addend is 0 */
    *lin = (uint32_t)f->addr;
    return f->addr - base <= UINT32_MAX;
}

static enum dbt_verdict fault(struct vcpu *base, const struct dbt_fault *f)
{
    struct x86_vcpu *v = x86_of(base);
    uint32_t lin;
    put_right(v, f);
    v->eip = f->pc;
    if (f->sig != SIGSEGV && f->sig != SIGFPE && f->sig != SIGBUS && f->sig != SIGILL)
        return DBT_RESUME; /* a kick in the middle of a repeated string instruction */
    if (f->sig == SIGFPE)  /* a division, or an unmasked floating-point exception */
        return DBT_TRAPPED;
    if (!fault_address(v, f, &lin))
        return DBT_INTERPRET;
    bool write = f->trapno == TRAP_PAGE_FAULT && (f->error & FAULT_WRITE);
    return x86_shadow_fault(v, lin, write, f->policy);
}

/* ---- names and figures ---------------------------------------------------------------------- */

static const char *declined_name(uint32_t mnemonic)
{
    static const char *const refined[] = {
        "mov sreg", "mov cr",   "mov dr",  "push sreg", "pop sreg",
        "jmp far",  "call far", "ret far", "movsd xmm", "cmpsd xmm",
    };
    if (mnemonic > ZYDIS_MNEMONIC_MAX_VALUE && mnemonic < X86_MN_END)
        return refined[mnemonic - ZYDIS_MNEMONIC_MAX_VALUE - 1];
    return mnemonic ? ZydisMnemonicGetString((ZydisMnemonic)mnemonic) : "(page end)";
}

static unsigned disassemble(const struct vcpu *v, const uint8_t *bytes, unsigned len, uint32_t pc,
                            char *text, size_t size)
{
    ZydisDecoder d;
    ZydisFormatter f;
    ZydisDecodedInstruction z;
    ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
    ZydisDecoderInit(&d, ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32);
    ZydisFormatterInit(&f, ZYDIS_FORMATTER_STYLE_INTEL);
    if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&d, bytes, len, &z, operands)) ||
        !ZYAN_SUCCESS(ZydisFormatterFormatInstruction(&f, &z, operands, z.operand_count_visible,
                                                      text, size, pc, NULL)))
        return 0;
    return z.length;
}

static void figures(const struct vcpu *base, const struct figure_sink *to)
{
    const struct x86_vcpu *v = container_of(base, const struct x86_vcpu, base);
    x86_shadow_figures(v->gen.shadow, to);
}

const struct isa_translator x86_translator = {
    .probe = probe,
    .attach = attach,
    .detach = detach,
    .prepare = prepare,
    .fetch = fetch,
    .translate = x86_translate,
    .enter = x86_enter,
    .exit = x86_exit,
    .fault_exit = x86_fault_exit,
    .enter_begin = x86_enter_begin,
    .enter_end = x86_enter_end,
    .enter_abort = x86_enter_abort,
    .callout_begin = x86_callout_begin,
    .callout_end = x86_callout_end,
    .callout_leave = x86_callout_leave,
    .fault = fault,
    .set_pc = set_pc,
    .declined_name = declined_name,
    .figures = figures,
    .disassemble = disassemble,
    .find_sensitive = x86_find_sensitive,
};
