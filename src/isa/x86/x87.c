/* SPDX-License-Identifier: MIT */
/* x87 instructions, on the guest's registers live in the host (Intel SDM vol. 1 ch. 8).
 *
 * fpu_stubs.S holds every register form and every memory form of D8 to DF. A handler checks,
 * finds the operand, notes the instruction and operand pointers, and calls the stub on it; the
 * host does the rest, results, flags, tags, masked and pending exceptions. A table says how wide
 * each memory operand is and which way it goes. A store must be sure of its memory before the
 * FPU state changes: either the fast path gives the host address to store to, or the write is
 * probed first and the bytes follow from a buffer.
 *
 * Environments (FLDENV, FNSTENV, FRSTOR, FNSAVE) pass through the host's own 32-bit protected
 * format and are repacked to the guest's of four (figures 8-9 to 8-12); their pointers are the
 * guest's, from v->fpu.
 *
 * Left out: FISTTP (SSE3) and all opcodes the P6 does not define; they have no row. */
#include "isa/x86/fpu.h"
#include "isa/x86/mmu.h"

typedef unsigned (*x87_stub)(void *mem);
extern const uint8_t x86_x87_reg_stubs[], x86_x87_mem_stubs[];
unsigned x86_x87_with_flags(x87_stub stub, unsigned cc);
#define X87_STRIDE 4

#define FSW_NOT_STORED 0x1fu /* all but precision: unmasked, they keep a store from happening */

static x87_stub reg_stub(const struct x86_insn *in)
{
    unsigned i = (in->opcode & 7u) << 6 | (in->modrm & 63u);
    return (x87_stub)((uintptr_t)x86_x87_reg_stubs + i * X87_STRIDE);
}

static unsigned mem_index(const struct x86_insn *in)
{
    return (in->opcode & 7u) << 3 | (in->modrm >> 3 & 7u);
}

static x87_stub mem_stub(const struct x86_insn *in)
{
    return (x87_stub)((uintptr_t)x86_x87_mem_stubs + mem_index(in) * X87_STRIDE);
}

/* Guard of instructions that do not wait for pending errors. */
static void guard_nowait(struct x86_vcpu *v)
{
    if (v->cr0 & (CR0_EM | CR0_TS))
        x86_raise(v, X86_NM);
    x86_fpu_load(v);
}

static void note_insn(struct x86_vcpu *v, const struct x86_insn *in)
{
    v->fpu.fip = (uint32_t)v->insn_eip;
    v->fpu.fcs = v->seg[X86_CS].sel;
    v->fpu.fop = (uint16_t)((in->opcode & 7u) << 8 | in->modrm);
}

static void note_operand(struct x86_vcpu *v, const struct x86_insn *in, uint32_t ea)
{
    note_insn(v, in);
    v->fpu.fdp = ea;
    v->fpu.fds = v->seg[in->seg].sel;
}

static void forget_pointers(struct x86_vcpu *v)
{
    v->fpu.fip = v->fpu.fdp = 0;
    v->fpu.fcs = v->fpu.fds = v->fpu.fop = 0;
}

/* ---- arithmetic, loads and stores ------------------------------------------------------------ */

/* Bytes of the memory operand of [opcode - D8h][modrm.reg], stores marked; 0 where there is no
 * instruction or a control instruction, which has its own handler. */
#define ST 0x80
/* clang-format off */
static const uint8_t operand_bytes[64] = {
    4, 4, 4,      4,      4,  4,  4,       4,      /* D8: m32 */
    4, 0, 4 | ST, 4 | ST, 0,  0,  0,       0,      /* D9: m32 */
    4, 4, 4,      4,      4,  4,  4,       4,      /* DA: m32 integer */
    4, 0, 4 | ST, 4 | ST, 0,  10, 0,       10 | ST, /* DB: m32 integer, m80 */
    8, 8, 8,      8,      8,  8,  8,       8,      /* DC: m64 */
    8, 0, 8 | ST, 8 | ST, 0,  0,  0,       0,      /* DD: m64 */
    2, 2, 2,      2,      2,  2,  2,       2,      /* DE: m16 integer */
    2, 0, 2 | ST, 2 | ST, 10, 8,  10 | ST, 8 | ST, /* DF: m16 and m64 integer, m80 BCD */
};
/* clang-format on */

static void read_operand(struct x86_vcpu *v, const struct x86_insn *in, uint32_t ea, void *buf,
                         unsigned n)
{
    if (n > 8) {
        x86_read_bytes(v, in->seg, ea, buf, n);
        return;
    }
    uint64_t x = x86_read_slow(v, in->seg, ea, n);
    memcpy(buf, &x, n);
}

static void write_operand(struct x86_vcpu *v, const struct x86_insn *in, uint32_t ea,
                          const void *buf, unsigned n)
{
    uint64_t x = 0;
    if (n > 8) {
        x86_write_bytes(v, in->seg, ea, buf, n);
        return;
    }
    memcpy(&x, buf, n);
    x86_write_slow(v, in->seg, ea, n, x);
}

static void load_form(struct x86_vcpu *v, const struct x86_insn *in, uint32_t ea, unsigned n)
{
    uint8_t buf[16];
    uint8_t *p = x86_fast_read(v, in->seg, ea, n);
    if (unlikely(!p)) {
        read_operand(v, in, ea, buf, n);
        p = buf;
    }
    note_operand(v, in, ea);
    mem_stub(in)(p);
}

/* Whether the store just executed took place: ES was clear before, so what is pending is new. */
static bool stored(void)
{
    uint16_t fsw, fcw;
    __asm__ volatile("fnstsw %0\n\tfnstcw %1" : "=a"(fsw), "=m"(fcw) : : "memory");
    return !(fsw & ~fcw & FSW_NOT_STORED);
}

static void store_form(struct x86_vcpu *v, const struct x86_insn *in, uint32_t ea, unsigned n)
{
    uint8_t buf[16];
    uint8_t *p = x86_fast_write(v, in->seg, ea, n);
    if (likely(p)) {
        note_operand(v, in, ea);
        mem_stub(in)(p);
        return;
    }
    x86_probe_write(v, in->seg, ea, n);
    note_operand(v, in, ea);
    mem_stub(in)(buf);
    if (stored())
        write_operand(v, in, ea, buf, n);
}

static void x87_exec(struct x86_vcpu *v, const struct x86_insn *in)
{
    if (!x86_fpu_guard(v))
        return;
    if (!in->has_mem) {
        note_insn(v, in);
        reg_stub(in)(NULL);
        return;
    }
    unsigned n = operand_bytes[mem_index(in)];
    uint32_t ea = x86_ea(v, in);
    if (n & ST)
        store_form(v, in, ea, n & ~ST);
    else
        load_form(v, in, ea, n);
}

/* FCMOVcc reads and FCOMI, FUCOMI write EFLAGS. */
static void x87_flags(struct x86_vcpu *v, const struct x86_insn *in)
{
    if (!x86_fpu_guard(v))
        return;
    note_insn(v, in);
    v->cc = (uint16_t)x86_x87_with_flags(reg_stub(in), v->cc);
}

/* ---- control --------------------------------------------------------------------------------- */

/* FNCLEX and the 8087's and 80287's switches, which do nothing since. */
static void x87_control(struct x86_vcpu *v, const struct x86_insn *in)
{
    guard_nowait(v);
    reg_stub(in)(NULL);
}

static void x87_fninit(struct x86_vcpu *v, const struct x86_insn *in)
{
    x87_control(v, in);
    forget_pointers(v);
}

static void x87_fldcw(struct x86_vcpu *v, const struct x86_insn *in)
{
    if (!x86_fpu_guard(v))
        return;
    uint16_t cw = x86_read16(v, in->seg, x86_ea(v, in));
    mem_stub(in)(&cw);
}

/* FNSTCW m16, FNSTSW m16, FNSTSW AX */
static void x87_store_word(struct x86_vcpu *v, const struct x86_insn *in)
{
    uint16_t word;
    guard_nowait(v);
    if (!in->has_mem) {
        x86_w16(v, X86_EAX, (uint16_t)reg_stub(in)(NULL));
        return;
    }
    mem_stub(in)(&word);
    x86_write16(v, in->seg, x86_ea(v, in), word);
}

static void x87_fwait(struct x86_vcpu *v, const struct x86_insn *in)
{
    uint32_t both = CR0_MP | CR0_TS;
    if ((v->cr0 & both) == both)
        x86_raise(v, X86_NM);
    x86_fpu_load(v);
    (void)x86_fpu_wait(v); /* false: frozen, and starts over */
}

/* ---- environments ---------------------------------------------------------------------------- */

/* The host's format: 32-bit protected. Only the low halves of the first three mean anything. */
struct x87_env {
    uint32_t fcw, fsw, ftw, fip, fcs_fop, fdp, fds;
};
_Static_assert(sizeof(struct x87_env) == 28, "FNSTENV image");
#define X87_STACK_BYTES 80
struct x87_state {
    struct x87_env env;
    uint8_t st[X87_STACK_BYTES];
};

static unsigned env_bytes(const struct x86_insn *in)
{
    return in->opsize == 2 ? 14 : 28;
}

static uint32_t reserved_high(uint32_t x)
{
    return 0xffff0000u | (x & 0xffff);
}

/* Host's environment and guest's pointers into the format of the mode: seven fields of 2 or 4
 * bytes each. In real mode pointers are linear, and what is over 16 bits shares a field, at bit
 * 12, with the opcode. */
static void pack_env(const struct x86_vcpu *v, const struct x86_insn *in, const struct x87_env *h,
                     uint8_t *out)
{
    uint32_t f[7] = {h->fcw, h->fsw, h->ftw};
    if (x86_real_or_v86(v)) {
        uint32_t ip = ((uint32_t)v->fpu.fcs << 4) + v->fpu.fip;
        uint32_t dp = ((uint32_t)v->fpu.fds << 4) + v->fpu.fdp;
        f[3] = reserved_high(ip);
        f[4] = (ip >> 16 & 0xffff) << 12 | v->fpu.fop;
        f[5] = reserved_high(dp);
        f[6] = (dp >> 16 & 0xffff) << 12;
    } else {
        f[3] = v->fpu.fip;
        f[4] = v->fpu.fcs | (uint32_t)v->fpu.fop << 16;
        f[5] = v->fpu.fdp;
        f[6] = reserved_high(v->fpu.fds);
    }
    for (unsigned i = 0; i < 3; i++)
        f[i] = reserved_high(f[i]);
    unsigned field = env_bytes(in) / 7;
    for (unsigned i = 0; i < 7; i++)
        memcpy(out + i * field, &f[i], field);
}

/* The reverse: fills *h for the host and the guest's pointers. */
static void unpack_env(struct x86_vcpu *v, const struct x86_insn *in, const uint8_t *img,
                       struct x87_env *h)
{
    uint32_t f[7] = {0};
    unsigned field = env_bytes(in) / 7;
    for (unsigned i = 0; i < 7; i++)
        memcpy(&f[i], img + i * field, field);
    *h = (struct x87_env){.fcw = f[0], .fsw = f[1], .ftw = f[2]};
    if (x86_real_or_v86(v)) {
        v->fpu.fip = (f[3] & 0xffff) | (f[4] >> 12 & 0xffff) << 16;
        v->fpu.fdp = (f[5] & 0xffff) | (f[6] >> 12 & 0xffff) << 16;
        v->fpu.fop = f[4] & 0x7ff;
        v->fpu.fcs = v->fpu.fds = 0;
        return;
    }
    v->fpu.fip = f[3];
    v->fpu.fcs = (uint16_t)f[4];
    v->fpu.fop = f[4] >> 16 & 0x7ff; /* not in the 16-bit format: becomes 0 */
    v->fpu.fdp = f[5];
    v->fpu.fds = (uint16_t)f[6];
}

static void x87_fnstenv(struct x86_vcpu *v, const struct x86_insn *in)
{
    struct x87_env h;
    uint8_t img[sizeof h];
    guard_nowait(v);
    uint32_t ea = x86_ea(v, in);
    x86_probe_write(v, in->seg, ea, env_bytes(in));
    mem_stub(in)(&h); /* masks all exceptions, too */
    pack_env(v, in, &h, img);
    x86_write_bytes(v, in->seg, ea, img, env_bytes(in));
}

static void x87_fldenv(struct x86_vcpu *v, const struct x86_insn *in)
{
    struct x87_env h;
    uint8_t img[sizeof h];
    if (!x86_fpu_guard(v))
        return;
    x86_read_bytes(v, in->seg, x86_ea(v, in), img, env_bytes(in));
    unpack_env(v, in, img, &h);
    mem_stub(in)(&h);
}

static void x87_fnsave(struct x86_vcpu *v, const struct x86_insn *in)
{
    struct x87_state h;
    uint8_t img[sizeof h];
    guard_nowait(v);
    uint32_t ea = x86_ea(v, in);
    unsigned n = env_bytes(in);
    x86_probe_write(v, in->seg, ea, n + X87_STACK_BYTES);
    mem_stub(in)(&h); /* initialises the FPU, too */
    pack_env(v, in, &h.env, img);
    memcpy(img + n, h.st, sizeof h.st);
    x86_write_bytes(v, in->seg, ea, img, n + X87_STACK_BYTES);
    forget_pointers(v);
}

static void x87_frstor(struct x86_vcpu *v, const struct x86_insn *in)
{
    struct x87_state h;
    uint8_t img[sizeof h];
    if (!x86_fpu_guard(v))
        return;
    unsigned n = env_bytes(in);
    x86_read_bytes(v, in->seg, x86_ea(v, in), img, n + X87_STACK_BYTES);
    unpack_env(v, in, img, &h.env);
    memcpy(h.st, img + n, sizeof h.st);
    mem_stub(in)(&h);
}

/* ---- rows ------------------------------------------------------------------------------------ */

#define ROW(mnemonic, handler)                                                                     \
    {                                                                                              \
        ZYDIS_MNEMONIC_##mnemonic, X86_FPU | X86_COPY, handler, NULL                               \
    }
/* These store, load or forget the instruction and operand pointers, which on the host are its
 * own. */
#define POINTERS(mnemonic, handler)                                                                \
    {                                                                                              \
        ZYDIS_MNEMONIC_##mnemonic, X86_FPU, handler, NULL                                          \
    }
#define X(mnemonic) ROW(mnemonic, x87_exec)
/* clang-format off */
const struct x86_op x86_ops_x87[] = {
    X(F2XM1), X(FABS), X(FADD), X(FADDP), X(FBLD), X(FBSTP), X(FCHS), X(FCOM), X(FCOMP),
    X(FCOMPP), X(FCOS), X(FDECSTP), X(FDIV), X(FDIVP), X(FDIVR), X(FDIVRP), X(FFREE), X(FFREEP),
    X(FIADD), X(FICOM), X(FICOMP), X(FIDIV), X(FIDIVR), X(FILD), X(FIMUL), X(FINCSTP), X(FIST),
    X(FISTP), X(FISUB), X(FISUBR), X(FLD), X(FLD1), X(FLDL2E), X(FLDL2T), X(FLDLG2), X(FLDLN2),
    X(FLDPI), X(FLDZ), X(FMUL), X(FMULP), X(FNOP), X(FPATAN), X(FPREM), X(FPREM1), X(FPTAN),
    X(FRNDINT), X(FSCALE), X(FSIN), X(FSINCOS), X(FSQRT), X(FST), X(FSTP), X(FSTPNCE), X(FSUB),
    X(FSUBP), X(FSUBR), X(FSUBRP), X(FTST), X(FUCOM), X(FUCOMP), X(FUCOMPP), X(FXAM), X(FXCH),
    X(FXTRACT), X(FYL2X), X(FYL2XP1),
    ROW(FCMOVB, x87_flags), ROW(FCMOVBE, x87_flags), ROW(FCMOVE, x87_flags),
    ROW(FCMOVNB, x87_flags), ROW(FCMOVNBE, x87_flags), ROW(FCMOVNE, x87_flags),
    ROW(FCMOVNU, x87_flags), ROW(FCMOVU, x87_flags), ROW(FCOMI, x87_flags),
    ROW(FCOMIP, x87_flags), ROW(FUCOMI, x87_flags), ROW(FUCOMIP, x87_flags),
    ROW(FNCLEX, x87_control), ROW(FENI8087_NOP, x87_control), ROW(FDISI8087_NOP, x87_control),
    ROW(FSETPM287_NOP, x87_control), ROW(FLDCW, x87_fldcw),
    ROW(FNSTCW, x87_store_word), ROW(FNSTSW, x87_store_word), ROW(FWAIT, x87_fwait),
    POINTERS(FNINIT, x87_fninit), POINTERS(FNSTENV, x87_fnstenv), POINTERS(FLDENV, x87_fldenv),
    POINTERS(FNSAVE, x87_fnsave), POINTERS(FRSTOR, x87_frstor),
    {0},
};
/* clang-format on */
#undef ROW
#undef POINTERS
#undef X
#undef ST
