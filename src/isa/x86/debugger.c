/* SPDX-License-Identifier: MIT */
/* A debugger outside of the guest (ring3/debug.h): its points are checked where the guest's own
 * debug registers are, in the interpreter; translated code does not run while there are any
 * (X86_ATTN_DEBUG).
 *
 * Registers are numbered as gdb numbers those of i386, behind them are the ones of a kernel's
 * debugger. Addresses are linear: where CS or SS has a base (real mode, v8086), eip and esp are
 * shown with it added, so that `x/i $pc` and `x/x $sp` find what they name; `ip_offset` and
 * `sp_offset` are without it. */
#include "isa/x86/debugger.h"

#include <errno.h>
#include <string.h>

#include "isa/x86/fpu.h"
#include "isa/x86/interp.h"
#include "isa/x86/mmu.h"

/* ---- points ---------------------------------------------------------------------------------- */

static bool is_watch(enum debug_point kind)
{
    return kind != DEBUG_EXECUTE;
}

static int find(const struct x86_debugger *d, enum debug_point kind, uint32_t lin, unsigned len)
{
    for (unsigned i = 0; i < d->points; i++)
        if (d->point[i].kind == kind && d->point[i].lin == lin && d->point[i].len == len)
            return (int)i;
    return -1;
}

static int set_point(struct vcpu *base, enum debug_point kind, uint64_t lin, unsigned len, bool on)
{
    struct x86_vcpu *v = x86_of(base);
    struct x86_debugger *d = &v->debugger;
    if (len < 1 || len > PAGE_BYTES || lin > UINT32_MAX)
        return -EINVAL;
    int i = find(d, kind, (uint32_t)lin, len);
    if (on == (i >= 0))
        return on ? 0 : -ENOENT;
    if (on) {
        if (d->points == X86_DEBUG_POINTS)
            return -ENOSPC;
        d->point[d->points++] =
            (struct x86_debug_point){(uint32_t)lin, (uint16_t)len, (uint8_t)kind};
        d->watches += is_watch(kind);
    } else {
        d->point[i] = d->point[--d->points];
        d->watches -= is_watch(kind);
    }
    x86_update_mode(v);
    return 0;
}

static void set_step(struct vcpu *base, bool on)
{
    struct x86_vcpu *v = x86_of(base);
    v->debugger.step = on;
    v->debugger.from = v->retired;
    v->debugger.stopped = false;
    x86_update_debug(v);
}

static void stop_at(struct x86_debugger *d, enum debug_point kind, uint32_t lin)
{
    d->stopped = true;
    d->stop = (struct debug_stop){true, kind, lin};
}

void x86_debugger_access(struct x86_vcpu *v, uint32_t at, unsigned n, bool write)
{
    struct x86_debugger *d = &v->debugger;
    for (unsigned i = 0; i < d->points; i++) {
        const struct x86_debug_point *p = &d->point[i];
        if (!is_watch(p->kind) || (write ? p->kind == DEBUG_READ : p->kind == DEBUG_WRITE))
            continue;
        if ((uint64_t)at < (uint64_t)p->lin + p->len && p->lin < (uint64_t)at + n)
            stop_at(d, p->kind, p->lin);
    }
    x86_update_debug(v);
}

bool x86_debugger_stops(struct x86_vcpu *v)
{
    struct x86_debugger *d = &v->debugger;
    if (d->stopped) {
        d->stopped = false; /* reported now; d->stop stays */
        return true;
    }
    if (d->step && v->retired != d->from) {
        d->step = false;
        d->stop = (struct debug_stop){0};
        return true;
    }
    uint32_t lin = (uint32_t)(v->seg[X86_CS].base + v->eip);
    for (unsigned i = 0; i < d->points && v->retired != d->from; i++)
        if (d->point[i].kind == DEBUG_EXECUTE && d->point[i].lin == lin) {
            d->from = v->retired; /* going on from here runs it */
            d->stop = (struct debug_stop){true, DEBUG_EXECUTE, lin};
            return true;
        }
    return false;
}

static void reason(const struct vcpu *base, struct debug_stop *s)
{
    *s = container_of(base, const struct x86_vcpu, base)->debugger.stop;
}

static bool translate(struct vcpu *base, uint64_t lin, gpa_t *gpa)
{
    struct x86_vcpu *v = x86_of(base);
    if (lin > UINT32_MAX)
        return false;
    struct x86_walk w = x86_walk(v, (uint32_t)lin, X86_READ, false, true);
    *gpa = w.gpa;
    return w.present;
}

/* ---- registers ------------------------------------------------------------------------------- */

enum kind {
    K_GPR,
    K_ESP,
    K_EIP,
    K_EFLAGS,
    K_SEGMENT,
    K_ST,
    K_TAGS,
    K_FX16, /* fields of the FXSAVE image shown with 32 bits */
    K_FX32,
    K_XMM,
    K_FIELD32, /* field of struct x86_vcpu, read only */
    K_BASE,    /* of a segment */
    K_OFFSET,  /* general register or eip, without a base */
};

struct reg {
    uint8_t kind, size;
    uint16_t arg; /* number, or offset of the field */
};

#define FX(field)   offsetof(struct x86_fx, field)
#define VCPU(field) offsetof(struct x86_vcpu, field)
#define GPR(n)                                                                                     \
    {                                                                                              \
        K_GPR, 4, n                                                                                \
    }
#define ST(n)                                                                                      \
    {                                                                                              \
        K_ST, 10, n                                                                                \
    }
#define XMM(n)                                                                                     \
    {                                                                                              \
        K_XMM, 16, n                                                                               \
    }

/* clang-format off */
static const struct reg regs[] = {
    GPR(0), GPR(1), GPR(2), GPR(3), {K_ESP, 4, X86_ESP}, GPR(5), GPR(6), GPR(7),
    {K_EIP, 4, 0}, {K_EFLAGS, 4, 0},
    {K_SEGMENT, 4, X86_CS}, {K_SEGMENT, 4, X86_SS}, {K_SEGMENT, 4, X86_DS}, {K_SEGMENT, 4, X86_ES},
    {K_SEGMENT, 4, X86_FS}, {K_SEGMENT, 4, X86_GS},
    ST(0), ST(1), ST(2), ST(3), ST(4), ST(5), ST(6), ST(7),
    {K_FX16, 4, FX(fcw)}, {K_FX16, 4, FX(fsw)}, {K_TAGS, 4, 0}, {K_FX16, 4, FX(fcs)},
    {K_FX32, 4, FX(fip)}, {K_FX16, 4, FX(fds)}, {K_FX32, 4, FX(fdp)}, {K_FX16, 4, FX(fop)},
    XMM(0), XMM(1), XMM(2), XMM(3), XMM(4), XMM(5), XMM(6), XMM(7),
    {K_FX32, 4, FX(mxcsr)},
    {K_FIELD32, 4, VCPU(cr0)}, {K_FIELD32, 4, VCPU(cr2)}, {K_FIELD32, 4, VCPU(cr3)},
    {K_FIELD32, 4, VCPU(cr4)}, {K_FIELD32, 4, VCPU(efer)},
    {K_OFFSET, 4, 8}, {K_OFFSET, 4, X86_ESP},
    {K_BASE, 4, X86_CS}, {K_BASE, 4, X86_SS}, {K_BASE, 4, X86_DS}, {K_BASE, 4, X86_ES},
    {K_BASE, 4, X86_FS}, {K_BASE, 4, X86_GS},
    {K_FIELD32, 4, VCPU(gdtr.base)}, {K_FIELD32, 4, VCPU(idtr.base)},
};

#define R(name, bits, type) "<reg name=\"" name "\" bitsize=\"" bits "\" type=\"" type "\"/>"
#define R32(name)           R(name, "32", "int32")
#define P32(name)           R(name, "32", "data_ptr")
#define FLOAT(n)            R("st" n, "80", "i387_ext")
#define CTRL(name)          "<reg name=\"" name "\" bitsize=\"32\" type=\"int\" group=\"float\"/>"
#define VECTOR(n)           R("xmm" n, "128", "vec128")

static const char target_xml[] =
    "<?xml version=\"1.0\"?><!DOCTYPE target SYSTEM \"gdb-target.dtd\"><target version=\"1.0\">"
    "<architecture>i386</architecture>"
    "<feature name=\"org.gnu.gdb.i386.core\">"
    R32("eax") R32("ecx") R32("edx") R32("ebx") P32("esp") P32("ebp") R32("esi") R32("edi")
    R("eip", "32", "code_ptr") R32("eflags")
    R32("cs") R32("ss") R32("ds") R32("es") R32("fs") R32("gs")
    FLOAT("0") FLOAT("1") FLOAT("2") FLOAT("3") FLOAT("4") FLOAT("5") FLOAT("6") FLOAT("7")
    CTRL("fctrl") CTRL("fstat") CTRL("ftag") CTRL("fiseg") CTRL("fioff") CTRL("foseg")
    CTRL("fooff") CTRL("fop")
    "</feature><feature name=\"org.gnu.gdb.i386.sse\">"
    "<vector id=\"v4f\" type=\"ieee_single\" count=\"4\"/>"
    "<vector id=\"v2d\" type=\"ieee_double\" count=\"2\"/>"
    "<vector id=\"v16i8\" type=\"int8\" count=\"16\"/>"
    "<vector id=\"v4i32\" type=\"int32\" count=\"4\"/>"
    "<union id=\"vec128\"><field name=\"v4_float\" type=\"v4f\"/>"
    "<field name=\"v2_double\" type=\"v2d\"/><field name=\"v16_int8\" type=\"v16i8\"/>"
    "<field name=\"v4_int32\" type=\"v4i32\"/><field name=\"uint128\" type=\"uint128\"/></union>"
    VECTOR("0") VECTOR("1") VECTOR("2") VECTOR("3") VECTOR("4") VECTOR("5") VECTOR("6") VECTOR("7")
    R("mxcsr", "32", "int")
    "</feature><feature name=\"org.ring3.i386.system\">"
    R32("cr0") R32("cr2") R32("cr3") R32("cr4") R32("efer") R32("ip_offset") R32("sp_offset")
    R32("cs_base") R32("ss_base") R32("ds_base") R32("es_base") R32("fs_base") R32("gs_base")
    R32("gdt_base") R32("idt_base")
    "</feature></target>";
/* clang-format on */

static unsigned reg_size(unsigned n)
{
    return n < ARRAY_LEN(regs) ? regs[n].size : 0;
}

/* The full tag word; the FXSAVE image has a bit per register: not empty. Tags are by physical
 * register, st[] by distance from the top. 0 valid, 1 zero, 2 special, 3 empty. */
static uint32_t tag_word(const struct x86_fx *fx)
{
    uint32_t tags = 0;
    for (unsigned physical = 0; physical < 8; physical++) {
        const uint8_t *st = fx->st[(physical - (fx->fsw >> 11)) & 7];
        uint64_t mantissa;
        uint16_t exponent;
        memcpy(&mantissa, st, 8);
        memcpy(&exponent, st + 8, 2);
        exponent &= 0x7fff;
        uint32_t tag = !(fx->ftw_abridged >> physical & 1)                    ? 3
                       : !exponent && !mantissa                               ? 1
                       : !exponent || exponent == 0x7fff || !(mantissa >> 63) ? 2
                                                                              : 0;
        tags |= tag << 2 * physical;
    }
    return tags;
}

static uint32_t read32(const struct x86_vcpu *v, const struct reg *r)
{
    uint32_t x = 0;
    switch (r->kind) {
    case K_GPR:
        return (uint32_t)v->gpr[r->arg];
    case K_ESP:
        return (uint32_t)(v->seg[X86_SS].base + (v->gpr[X86_ESP] & v->sp_mask));
    case K_EIP:
        return (uint32_t)(v->seg[X86_CS].base + v->eip);
    case K_OFFSET:
        return (uint32_t)(r->arg == 8 ? v->eip : v->gpr[r->arg]);
    case K_EFLAGS:
        return x86_get_eflags(v);
    case K_SEGMENT:
        return v->seg[r->arg].sel;
    case K_BASE:
        return (uint32_t)v->seg[r->arg].base;
    case K_TAGS:
        return tag_word(&v->fx);
    case K_FX16:
        memcpy(&x, (const char *)&v->fx + r->arg, 2);
        return x;
    case K_FX32:
        memcpy(&x, (const char *)&v->fx + r->arg, 4);
        return x;
    default: /* K_FIELD32 */
        memcpy(&x, (const char *)v + r->arg, 4);
        return x;
    }
}

static void reg_read(struct vcpu *base, unsigned n, uint8_t *bytes)
{
    struct x86_vcpu *v = x86_of(base);
    const struct reg *r = &regs[n];
    if (r->kind == K_ST) {
        memcpy(bytes, v->fx.st[r->arg], 10);
    } else if (r->kind == K_XMM) {
        memcpy(bytes, v->fx.xmm[r->arg], 16);
    } else {
        uint32_t x = read32(v, r);
        memcpy(bytes, &x, 4);
    }
}

static bool write32(struct x86_vcpu *v, const struct reg *r, uint32_t x)
{
    switch (r->kind) {
    case K_GPR:
        v->gpr[r->arg] = x;
        return true;
    case K_ESP:
        x -= (uint32_t)v->seg[X86_SS].base;
        v->gpr[X86_ESP] = (v->gpr[X86_ESP] & ~v->sp_mask & UINT32_MAX) | (x & v->sp_mask);
        return true;
    case K_EIP:
        v->eip = (uint32_t)(x - v->seg[X86_CS].base);
        v->base.halted = 0;
        return true;
    case K_EFLAGS: /* the mode is not the debugger's to change */
        x86_set_eflags(v, (x & ~(uint32_t)FL_VM) | (v->eflags & FL_VM));
        return true;
    case K_FX16:
        if (r->arg == FX(fcw))
            v->fx.fcw = (uint16_t)x;
        return r->arg == FX(fcw);
    case K_FX32:
        if (r->arg == FX(mxcsr))
            v->fx.mxcsr = x & X86_MXCSR_MASK;
        return r->arg == FX(mxcsr);
    default:
        return x == read32(v, r); /* as gdb does when it writes all of them */
    }
}

static bool reg_write(struct vcpu *base, unsigned n, const uint8_t *bytes)
{
    struct x86_vcpu *v = x86_of(base);
    const struct reg *r = &regs[n];
    uint32_t x;
    if (r->kind == K_ST) {
        memcpy(v->fx.st[r->arg], bytes, 10);
        return true;
    }
    if (r->kind == K_XMM) {
        memcpy(v->fx.xmm[r->arg], bytes, 16);
        return true;
    }
    memcpy(&x, bytes, 4);
    return write32(v, r, x);
}

const struct isa_debug x86_debug = {
    .target_xml = target_xml,
    .registers = ARRAY_LEN(regs),
    .size = reg_size,
    .read = reg_read,
    .write = reg_write,
    .set_point = set_point,
    .set_step = set_step,
    .reason = reason,
    .translate = translate,
};
