/* SPDX-License-Identifier: MIT */
/* A debugger outside of the guest (ring3/debug.h): its points are checked between instructions.
 * While there are watches no access takes the fast path.
 *
 * Registers are numbered as gdb numbers those of MIPS. Bytes of registers are in the order of the
 * guest's memory, which gdb has to be told (`set endian big`) where it is not little. A branch and
 * its delay slot are one step; gdb itself moves points from slots to branches. */
#include "isa/mips32/debugger.h"

#include <errno.h>
#include <string.h>

#include "isa/mips32/cp0.h"
#include "isa/mips32/fpu.h"
#include "isa/mips32/mmu.h"

/* ---- points ---------------------------------------------------------------------------------- */

static bool active(const struct mips32_debugger *d)
{
    return d->points || d->step || d->stopped;
}

void mips32_update_debug(struct mips32_vcpu *v)
{
    if (active(&v->debugger))
        atomic_fetch_or(&v->base.attention, MIPS32_ATTN_DEBUG);
    else
        atomic_fetch_and(&v->base.attention, ~(uint32_t)MIPS32_ATTN_DEBUG);
}

static int find(const struct mips32_debugger *d, enum debug_point kind, uint32_t va, unsigned len)
{
    for (unsigned i = 0; i < d->points; i++)
        if (d->point[i].kind == kind && d->point[i].va == va && d->point[i].len == len)
            return (int)i;
    return -1;
}

static int set_point(struct vcpu *base, enum debug_point kind, uint64_t va, unsigned len, bool on)
{
    struct mips32_vcpu *v = mips32_of(base);
    struct mips32_debugger *d = &v->debugger;
    if (len < 1 || len > PAGE_BYTES || va > UINT32_MAX)
        return -EINVAL;
    int i = find(d, kind, (uint32_t)va, len);
    if (on == (i >= 0))
        return on ? 0 : -ENOENT;
    if (on && d->points == MIPS32_DEBUG_POINTS)
        return -ENOSPC;
    if (on)
        d->point[d->points++] =
            (struct mips32_debug_point){(uint32_t)va, (uint16_t)len, (uint8_t)kind};
    else
        d->point[i] = d->point[--d->points];
    d->watches += kind == DEBUG_EXECUTE ? 0 : on ? 1 : -1u;
    mips32_soft_flush(v); /* accesses have to be seen from now on, or need not any more */
    mips32_update_debug(v);
    return 0;
}

static void set_step(struct vcpu *base, bool on)
{
    struct mips32_vcpu *v = mips32_of(base);
    v->debugger.step = on;
    v->debugger.from = v->retired;
    v->debugger.stopped = false;
    mips32_update_debug(v);
}

void mips32_debugger_access(struct mips32_vcpu *v, uint32_t va, unsigned n, bool write)
{
    struct mips32_debugger *d = &v->debugger;
    for (unsigned i = 0; i < d->points; i++) {
        const struct mips32_debug_point *p = &d->point[i];
        if (p->kind == DEBUG_EXECUTE || p->kind == (write ? DEBUG_READ : DEBUG_WRITE))
            continue;
        if ((uint64_t)va < (uint64_t)p->va + p->len && p->va < (uint64_t)va + n) {
            d->stopped = true;
            d->stop = (struct debug_stop){true, p->kind, p->va};
        }
    }
    mips32_update_debug(v);
}

bool mips32_debugger_stops(struct mips32_vcpu *v)
{
    struct mips32_debugger *d = &v->debugger;
    if (d->stopped) {
        d->stopped = false; /* reported now; d->stop stays */
        return true;
    }
    if (d->step && v->retired != d->from) {
        d->step = false;
        d->stop = (struct debug_stop){0};
        return true;
    }
    for (unsigned i = 0; i < d->points && v->retired != d->from; i++)
        if (d->point[i].kind == DEBUG_EXECUTE && d->point[i].va == v->pc) {
            d->from = v->retired; /* going on from here runs it */
            d->stop = (struct debug_stop){true, DEBUG_EXECUTE, v->pc};
            return true;
        }
    return false;
}

static void reason(const struct vcpu *base, struct debug_stop *s)
{
    *s = mips32_const_of(base)->debugger.stop;
}

/* As the kernel sees it, so that memory can be read whatever runs. */
static bool translate(struct vcpu *base, uint64_t va, gpa_t *gpa)
{
    if (va > UINT32_MAX)
        return false;
    struct mips32_translation t =
        mips32_translate(mips32_of(base), (uint32_t)va, MIPS32_READ, MIPS32_KERNEL);
    *gpa = t.gpa;
    return t.result == MIPS32_MAPPED;
}

/* ---- registers ------------------------------------------------------------------------------- */

enum {
    R_STATUS = 32,
    R_LO,
    R_HI,
    R_BADVADDR,
    R_CAUSE,
    R_PC,
    R_F0,
    R_FCSR = R_F0 + 32,
    R_FIR,
    REGS
};

#define R(name, n) "<reg name=\"" name "\" bitsize=\"32\" regnum=\"" #n "\"/>"
#define R8(a, b, c, d, e, f, g, h)                                                                 \
    R("r" #a, a)                                                                                   \
    R("r" #b, b) R("r" #c, c) R("r" #d, d) R("r" #e, e) R("r" #f, f) R("r" #g, g) R("r" #h, h)
#define FREG(name, n)                                                                              \
    "<reg name=\"f" #name "\" bitsize=\"64\" type=\"ieee_double\" regnum=\"" #n "\"/>"
#define FCTL(name, n) "<reg name=\"" name "\" bitsize=\"32\" group=\"float\" regnum=\"" #n "\"/>"

/* clang-format off */
static const char target_xml[] =
    "<?xml version=\"1.0\"?><!DOCTYPE target SYSTEM \"gdb-target.dtd\"><target version=\"1.0\">"
    "<architecture>mips:isa32r2</architecture>"
    "<feature name=\"org.gnu.gdb.mips.cpu\">"
    R8(0, 1, 2, 3, 4, 5, 6, 7) R8(8, 9, 10, 11, 12, 13, 14, 15)
    R8(16, 17, 18, 19, 20, 21, 22, 23) R8(24, 25, 26, 27, 28, 29, 30, 31)
    R("lo", 33) R("hi", 34) R("pc", 37)
    "</feature><feature name=\"org.gnu.gdb.mips.cp0\">"
    R("status", 32) R("badvaddr", 35) R("cause", 36)
    "</feature><feature name=\"org.gnu.gdb.mips.fpu\">"
    FREG(0, 38) FREG(1, 39) FREG(2, 40) FREG(3, 41) FREG(4, 42) FREG(5, 43) FREG(6, 44) FREG(7, 45)
    FREG(8, 46) FREG(9, 47) FREG(10, 48) FREG(11, 49) FREG(12, 50) FREG(13, 51) FREG(14, 52)
    FREG(15, 53) FREG(16, 54) FREG(17, 55) FREG(18, 56) FREG(19, 57) FREG(20, 58) FREG(21, 59)
    FREG(22, 60) FREG(23, 61) FREG(24, 62) FREG(25, 63) FREG(26, 64) FREG(27, 65) FREG(28, 66)
    FREG(29, 67) FREG(30, 68) FREG(31, 69)
    FCTL("fcsr", 70) FCTL("fir", 71)
    "</feature></target>";
/* clang-format on */

static bool is_fpr(unsigned n)
{
    return n >= R_F0 && n < R_FCSR;
}

static unsigned reg_size(unsigned n)
{
    return n >= REGS ? 0 : is_fpr(n) ? 8 : 4;
}

static uint32_t read32(const struct mips32_vcpu *v, unsigned n)
{
    switch (n) {
    case R_STATUS:
        return v->cp0.status;
    case R_LO:
        return v->lo;
    case R_HI:
        return v->hi;
    case R_BADVADDR:
        return v->cp0.bad_vaddr;
    case R_CAUSE:
        return mips32_cause(v);
    case R_PC:
        return mips32_pc(v);
    case R_FCSR:
        return v->fcsr;
    case R_FIR:
        return mips32_fir(v);
    default:
        return v->gpr[n];
    }
}

/* 64 bits wide. With Status.FR clear an even one shows its pair, an odd one its 32 bits. */
static uint64_t read_fpr(const struct mips32_vcpu *v, unsigned n)
{
    return v->cp0.status & ST_FR || n % 2 == 0 ? v->fpr[n] : mips32_get_s(v, n);
}

static void write_fpr(struct mips32_vcpu *v, unsigned n, uint64_t x)
{
    if (v->cp0.status & ST_FR || n % 2 == 0)
        v->fpr[n] = x;
    else
        mips32_set_s(v, n, (uint32_t)x);
}

static void reg_read(struct vcpu *base, unsigned n, uint8_t *bytes)
{
    const struct mips32_vcpu *v = mips32_of(base);
    uint64_t x = is_fpr(n) ? read_fpr(v, n - R_F0) : read32(v, n);
    if (v->big_endian)
        x = __builtin_bswap64(x) >> (64 - 8 * reg_size(n));
    memcpy(bytes, &x, reg_size(n));
}

/* The mode is not the debugger's to change, nor what the processor reports. */
static bool write32(struct mips32_vcpu *v, unsigned n, uint32_t x)
{
    if (n < 32) {
        v->gpr[n] = n ? x : 0;
        return true;
    }
    switch (n) {
    case R_LO:
        v->lo = x;
        return true;
    case R_HI:
        v->hi = x;
        return true;
    case R_PC:
        v->pc = x;
        v->cur = NULL;
        v->base.halted = 0;
        return true;
    case R_FCSR:
        mips32_set_fcsr(v, x);
        return true;
    default:
        return x == read32(v, n); /* as gdb does when it writes all of them */
    }
}

static bool reg_write(struct vcpu *base, unsigned n, const uint8_t *bytes)
{
    struct mips32_vcpu *v = mips32_of(base);
    uint64_t x = 0;
    memcpy(&x, bytes, reg_size(n));
    if (v->big_endian)
        x = __builtin_bswap64(x) >> (64 - 8 * reg_size(n));
    if (!is_fpr(n))
        return write32(v, n, (uint32_t)x);
    write_fpr(v, n - R_F0, x);
    return true;
}

const struct isa_debug mips32_debug = {
    .target_xml = target_xml,
    .registers = REGS,
    .size = reg_size,
    .read = reg_read,
    .write = reg_write,
    .set_point = set_point,
    .set_step = set_step,
    .reason = reason,
    .translate = translate,
};
