/* SPDX-License-Identifier: MIT */
/* Integer arithmetic, logic, shifts and bit operations (Intel SDM vol. 2).
 *
 * The host processor is the ALU: each operation is the same instruction in inline assembler, and
 * the flags are what the host's lahf and seto report, so the "undefined" ones agree with code
 * that a translator copies. Instructions that leave some flags alone start from the guest's:
 * adding 127 to the saved OF byte restores OF, sahf the rest.
 * BCD instructions have no 64-bit form and are written out. */
#include "isa/x86/insn.h"
#include "isa/x86/mmu.h"

/* Guest memory is not aligned. */
typedef uint8_t u8m;
typedef uint16_t u16m __attribute__((aligned(1)));
typedef uint32_t u32m __attribute__((aligned(1)));

#define SAVE_FLAGS "\n\tlahf\n\tseto %%al"
#define LOAD_FLAGS "addb $127, %%al\n\tsahf\n\t"
#define LOAD_CARRY "btw $8, %w[old]\n\t"

/* ---- host ALU primitives: name_bits(a, b, &cc) -> result -------------------------------- */

/* Both operands in, all flags written. */
#define HOST2(name, insn, T, bits, sfx)                                                            \
    static inline T name##_##bits(T a, T b, uint16_t *cc)                                          \
    {                                                                                              \
        uint16_t f;                                                                                \
        __asm__(insn sfx " %[b], %[a]" SAVE_FLAGS : [a] "+&q"(a), "=&a"(f) : [b] "q"(b) : "cc");   \
        *cc = f;                                                                                   \
        return a;                                                                                  \
    }
/* The same with carry in. */
#define HOST2C(name, insn, T, bits, sfx)                                                           \
    static inline T name##_##bits(T a, T b, uint16_t *cc)                                          \
    {                                                                                              \
        uint16_t f;                                                                                \
        __asm__(LOAD_CARRY insn sfx " %[b], %[a]" SAVE_FLAGS                                       \
                : [a] "+&q"(a), "=&a"(f)                                                           \
                : [b] "q"(b), [old] "r"(*cc)                                                       \
                : "cc");                                                                           \
        *cc = f;                                                                                   \
        return a;                                                                                  \
    }
/* One operand, carry kept. */
#define HOST1C(name, insn, T, bits, sfx)                                                           \
    static inline T name##_##bits(T a, uint16_t *cc)                                               \
    {                                                                                              \
        uint16_t f;                                                                                \
        __asm__(LOAD_CARRY insn sfx " %[a]" SAVE_FLAGS                                             \
                : [a] "+&q"(a), "=&a"(f)                                                           \
                : [old] "r"(*cc)                                                                   \
                : "cc");                                                                           \
        *cc = f;                                                                                   \
        return a;                                                                                  \
    }
/* Count in cl; flags partly kept. */
#define HOST_SHIFT(name, insn, T, bits, sfx)                                                       \
    static inline T name##_##bits(T a, uint8_t count, uint16_t *cc)                                \
    {                                                                                              \
        __asm__(LOAD_FLAGS insn sfx " %%cl, %[a]" SAVE_FLAGS                                       \
                : [a] "+q"(a), "+a"(*cc)                                                           \
                : "c"(count)                                                                       \
                : "cc");                                                                           \
        return a;                                                                                  \
    }
#define HOST_ALL(M, name, insn)                                                                    \
    M(name, insn, uint8_t, 8, "b")                                                                 \
    M(name, insn, uint16_t, 16, "w")                                                               \
    M(name, insn, uint32_t, 32, "l")

HOST_ALL(HOST2, add, "add")
HOST_ALL(HOST2, or, "or")
HOST_ALL(HOST2C, adc, "adc")
HOST_ALL(HOST2C, sbb, "sbb")
HOST_ALL(HOST2, and, "and")
HOST_ALL(HOST2, sub, "sub")
HOST_ALL(HOST2, xor, "xor")
HOST_ALL(HOST1C, inc, "inc")
HOST_ALL(HOST1C, dec, "dec")
HOST_ALL(HOST1C, neg, "neg")
HOST_ALL(HOST_SHIFT, rol, "rol")
HOST_ALL(HOST_SHIFT, ror, "ror")
HOST_ALL(HOST_SHIFT, rcl, "rcl")
HOST_ALL(HOST_SHIFT, rcr, "rcr")
HOST_ALL(HOST_SHIFT, shl, "shl")
HOST_ALL(HOST_SHIFT, shr, "shr")
HOST_ALL(HOST_SHIFT, sar, "sar")

#define NOT(T, bits)                                                                               \
    static inline T not_##bits(T a, uint16_t *cc)                                                  \
    {                                                                                              \
        return (T)~a;                                                                              \
    }
NOT(uint8_t, 8)
NOT(uint16_t, 16)
NOT(uint32_t, 32)

/* ---- forms ----------------------------------------------------------------------------------- */

#define REG(T, offset) (*(T *)x86_reg_ptr(v, offset))

/* A store that depends on the old value: fast on the host page, or by the slow path, whose first
 * half has made sure that the second cannot fault. EXPR computes from `old` and `cc`. */
#define RMW(name, T, M, bits, EXPR)                                                                \
    X86_SLOW_HALF void name##_slow(struct x86_vcpu *v, const struct x86_insn *in)                  \
    {                                                                                              \
        uint32_t ea = x86_ea(v, in);                                                               \
        uint16_t cc = v->cc;                                                                       \
        T old = (T)x86_rmw_slow(v, in->seg, ea, bits / 8);                                         \
        x86_write_slow(v, in->seg, ea, bits / 8, (EXPR));                                          \
        v->cc = cc;                                                                                \
    }                                                                                              \
    static void name(struct x86_vcpu *v, const struct x86_insn *in)                                \
    {                                                                                              \
        M *p = (M *)x86_fast_write(v, in->seg, x86_ea(v, in), bits / 8);                           \
        if (unlikely(!p)) {                                                                        \
            name##_slow(v, in);                                                                    \
            return;                                                                                \
        }                                                                                          \
        uint16_t cc = v->cc;                                                                       \
        T old = *p;                                                                                \
        *p = (EXPR);                                                                               \
        v->cc = cc;                                                                                \
    }

#define BINARY(op, T, M, bits)                                                                     \
    static void op##bits##_rr(struct x86_vcpu *v, const struct x86_insn *in)                       \
    {                                                                                              \
        T *d = x86_reg_ptr(v, in->r0);                                                             \
        *d = op##_##bits(*d, REG(T, in->r1), &v->cc);                                              \
    }                                                                                              \
    X86_SLOW_HALF void op##bits##_rm_slow(struct x86_vcpu *v, const struct x86_insn *in)           \
    {                                                                                              \
        T b = (T)x86_read_slow(v, in->seg, x86_ea(v, in), bits / 8);                               \
        T *d = x86_reg_ptr(v, in->r0);                                                             \
        *d = op##_##bits(*d, b, &v->cc);                                                           \
    }                                                                                              \
    static void op##bits##_rm(struct x86_vcpu *v, const struct x86_insn *in)                       \
    {                                                                                              \
        const M *p = (const M *)x86_fast_read(v, in->seg, x86_ea(v, in), bits / 8);                \
        if (unlikely(!p)) {                                                                        \
            op##bits##_rm_slow(v, in);                                                             \
            return;                                                                                \
        }                                                                                          \
        T *d = x86_reg_ptr(v, in->r0);                                                             \
        *d = op##_##bits(*d, *p, &v->cc);                                                          \
    }                                                                                              \
    static void op##bits##_ri(struct x86_vcpu *v, const struct x86_insn *in)                       \
    {                                                                                              \
        T *d = x86_reg_ptr(v, in->r0);                                                             \
        *d = op##_##bits(*d, (T)in->imm, &v->cc);                                                  \
    }                                                                                              \
    RMW(op##bits##_mr, T, M, bits, op##_##bits(old, REG(T, in->r1), &cc))                          \
    RMW(op##bits##_mi, T, M, bits, op##_##bits(old, (T)in->imm, &cc))

/* cmp and test: flags only. */
#define COMPARE(op, calc, T, bits)                                                                 \
    static void op##bits##_rr(struct x86_vcpu *v, const struct x86_insn *in)                       \
    {                                                                                              \
        calc##_##bits(REG(T, in->r0), REG(T, in->r1), &v->cc);                                     \
    }                                                                                              \
    static void op##bits##_rm(struct x86_vcpu *v, const struct x86_insn *in)                       \
    {                                                                                              \
        T b = x86_read##bits(v, in->seg, x86_ea(v, in));                                           \
        calc##_##bits(REG(T, in->r0), b, &v->cc);                                                  \
    }                                                                                              \
    static void op##bits##_ri(struct x86_vcpu *v, const struct x86_insn *in)                       \
    {                                                                                              \
        calc##_##bits(REG(T, in->r0), (T)in->imm, &v->cc);                                         \
    }                                                                                              \
    static void op##bits##_mr(struct x86_vcpu *v, const struct x86_insn *in)                       \
    {                                                                                              \
        T a = x86_read##bits(v, in->seg, x86_ea(v, in));                                           \
        calc##_##bits(a, REG(T, in->r1), &v->cc);                                                  \
    }                                                                                              \
    static void op##bits##_mi(struct x86_vcpu *v, const struct x86_insn *in)                       \
    {                                                                                              \
        T a = x86_read##bits(v, in->seg, x86_ea(v, in));                                           \
        calc##_##bits(a, (T)in->imm, &v->cc);                                                      \
    }

#define UNARY(op, T, M, bits)                                                                      \
    static void op##bits##_r(struct x86_vcpu *v, const struct x86_insn *in)                        \
    {                                                                                              \
        T *d = x86_reg_ptr(v, in->r0);                                                             \
        *d = op##_##bits(*d, &v->cc);                                                              \
    }                                                                                              \
    RMW(op##bits##_m, T, M, bits, op##_##bits(old, &cc))

/* Shifts and rotates: the count is an immediate or cl. */
#define SHIFT(op, T, M, bits)                                                                      \
    static void op##bits##_ri(struct x86_vcpu *v, const struct x86_insn *in)                       \
    {                                                                                              \
        T *d = x86_reg_ptr(v, in->r0);                                                             \
        *d = op##_##bits(*d, (uint8_t)in->imm, &v->cc);                                            \
    }                                                                                              \
    static void op##bits##_rr(struct x86_vcpu *v, const struct x86_insn *in)                       \
    {                                                                                              \
        T *d = x86_reg_ptr(v, in->r0);                                                             \
        *d = op##_##bits(*d, (uint8_t)v->gpr[X86_ECX], &v->cc);                                    \
    }                                                                                              \
    RMW(op##bits##_mi, T, M, bits, op##_##bits(old, (uint8_t)in->imm, &cc))                        \
    RMW(op##bits##_mr, T, M, bits, op##_##bits(old, (uint8_t)v->gpr[X86_ECX], &cc))

#define SLOT(form, n) [X86_FORM_##form * 3 + n]
#define FORMS_BINARY(op)                                                                           \
    static const x86_handler op##_forms[X86_FORM_SLOTS] = {                                        \
        SLOT(RR, 0) = op##8_rr, SLOT(RR, 1) = op##16_rr, SLOT(RR, 2) = op##32_rr,                  \
        SLOT(RM, 0) = op##8_rm, SLOT(RM, 1) = op##16_rm, SLOT(RM, 2) = op##32_rm,                  \
        SLOT(MR, 0) = op##8_mr, SLOT(MR, 1) = op##16_mr, SLOT(MR, 2) = op##32_mr,                  \
        SLOT(RI, 0) = op##8_ri, SLOT(RI, 1) = op##16_ri, SLOT(RI, 2) = op##32_ri,                  \
        SLOT(MI, 0) = op##8_mi, SLOT(MI, 1) = op##16_mi, SLOT(MI, 2) = op##32_mi,                  \
    };
#define FORMS_UNARY(op)                                                                            \
    static const x86_handler op##_forms[X86_FORM_SLOTS] = {                                        \
        SLOT(R, 0) = op##8_r, SLOT(R, 1) = op##16_r, SLOT(R, 2) = op##32_r,                        \
        SLOT(M, 0) = op##8_m, SLOT(M, 1) = op##16_m, SLOT(M, 2) = op##32_m,                        \
    };
#define FORMS_SHIFT(op)                                                                            \
    static const x86_handler op##_forms[X86_FORM_SLOTS] = {                                        \
        SLOT(RR, 0) = op##8_rr, SLOT(RR, 1) = op##16_rr, SLOT(RR, 2) = op##32_rr,                  \
        SLOT(RI, 0) = op##8_ri, SLOT(RI, 1) = op##16_ri, SLOT(RI, 2) = op##32_ri,                  \
        SLOT(MR, 0) = op##8_mr, SLOT(MR, 1) = op##16_mr, SLOT(MR, 2) = op##32_mr,                  \
        SLOT(MI, 0) = op##8_mi, SLOT(MI, 1) = op##16_mi, SLOT(MI, 2) = op##32_mi,                  \
    };
#define DEFINE(KIND, op)                                                                           \
    KIND(op, uint8_t, u8m, 8)                                                                      \
    KIND(op, uint16_t, u16m, 16)                                                                   \
    KIND(op, uint32_t, u32m, 32)                                                                   \
    FORMS_##KIND(op)

DEFINE(BINARY, add)
DEFINE(BINARY, or)
DEFINE(BINARY, adc)
DEFINE(BINARY, sbb)
DEFINE(BINARY, and)
DEFINE(BINARY, sub)
DEFINE(BINARY, xor)
DEFINE(UNARY, inc)
DEFINE(UNARY, dec)
DEFINE(UNARY, neg)
DEFINE(UNARY, not )
DEFINE(SHIFT, rol)
DEFINE(SHIFT, ror)
DEFINE(SHIFT, rcl)
DEFINE(SHIFT, rcr)
DEFINE(SHIFT, shl)
DEFINE(SHIFT, shr)
DEFINE(SHIFT, sar)

#define DEFINE_COMPARE(op, calc)                                                                   \
    COMPARE(op, calc, uint8_t, 8)                                                                  \
    COMPARE(op, calc, uint16_t, 16)                                                                \
    COMPARE(op, calc, uint32_t, 32)                                                                \
    FORMS_BINARY(op)
DEFINE_COMPARE(cmp, sub)
DEFINE_COMPARE(test, and)

/* ---- multiplication and division -------------------------------------------------------- */

#define MUL(name, insn, T, WIDE, bits, sfx, lo, hi)                                                \
    static WIDE name##_##bits(T a, T b, uint16_t *cc)                                              \
    {                                                                                              \
        uint16_t f = *cc;                                                                          \
        T high;                                                                                    \
        __asm__("movw %w[f], %%ax\n\t" LOAD_FLAGS "mov %[a], %%" lo "\n\t" insn sfx " %[b]\n\t"    \
                "mov %%" hi ", %[h]\n\tmov %%" lo ", %[a]" SAVE_FLAGS "\n\tmovw %%ax, %w[f]"       \
                : [a] "+&r"(a), [h] "=&r"(high), [f] "+&r"(f)                                      \
                : [b] "r"(b)                                                                       \
                : "rax", "rdx", "cc");                                                             \
        *cc = f;                                                                                   \
        return (WIDE)((WIDE)high << bits | a);                                                     \
    }
MUL(mul, "mul", uint16_t, uint32_t, 16, "w", "ax", "dx")
MUL(mul, "mul", uint32_t, uint64_t, 32, "l", "eax", "edx")
MUL(imul1, "imul", uint16_t, uint32_t, 16, "w", "ax", "dx")
MUL(imul1, "imul", uint32_t, uint64_t, 32, "l", "eax", "edx")

/* Bytes: ax = al * b. */
#define MUL8(name, insn)                                                                           \
    static uint16_t name##_8(uint8_t a, uint8_t b, uint16_t *cc)                                   \
    {                                                                                              \
        uint16_t f = *cc, product;                                                                 \
        __asm__("movw %w[f], %%ax\n\t" LOAD_FLAGS "movb %[a], %%al\n\t" insn "b %[b]\n\t"          \
                "movw %%ax, %[p]" SAVE_FLAGS "\n\tmovw %%ax, %w[f]"                                \
                : [p] "=&r"(product), [f] "+&r"(f)                                                 \
                : [a] "q"(a), [b] "q"(b)                                                           \
                : "rax", "cc");                                                                    \
        *cc = f;                                                                                   \
        return product;                                                                            \
    }
MUL8(mul, "mul")
MUL8(imul1, "imul")

#define IMUL2(T, bits, sfx)                                                                        \
    static T imul2_##bits(T a, T b, uint16_t *cc)                                                  \
    {                                                                                              \
        __asm__(LOAD_FLAGS "imul" sfx " %[b], %[a]" SAVE_FLAGS                                     \
                : [a] "+r"(a), "+a"(*cc)                                                           \
                : [b] "r"(b)                                                                       \
                : "cc");                                                                           \
        return a;                                                                                  \
    }
IMUL2(uint16_t, 16, "w")
IMUL2(uint32_t, 32, "l")

#define ONE_OPERAND_MUL(name, calc)                                                                \
    static void name(struct x86_vcpu *v, const struct x86_insn *in)                                \
    {                                                                                              \
        uint32_t b = x86_rm_get(v, in, in->r0, in->opsize);                                        \
        if (in->opsize == 1) {                                                                     \
            x86_w16(v, X86_EAX, calc##_8((uint8_t)v->gpr[X86_EAX], (uint8_t)b, &v->cc));           \
        } else if (in->opsize == 2) {                                                              \
            uint32_t p = calc##_16(x86_r16(v, X86_EAX), (uint16_t)b, &v->cc);                      \
            x86_w16(v, X86_EAX, (uint16_t)p);                                                      \
            x86_w16(v, X86_EDX, (uint16_t)(p >> 16));                                              \
        } else {                                                                                   \
            uint64_t p = calc##_32(x86_r32(v, X86_EAX), b, &v->cc);                                \
            x86_w32(v, X86_EAX, (uint32_t)p);                                                      \
            x86_w32(v, X86_EDX, (uint32_t)(p >> 32));                                              \
        }                                                                                          \
    }
/* The form that long arithmetic lives on. */
static void mul32_r(struct x86_vcpu *v, const struct x86_insn *in)
{
    uint64_t p = mul_32(x86_r32(v, X86_EAX), REG(uint32_t, in->r0), &v->cc);
    x86_w32(v, X86_EAX, (uint32_t)p);
    x86_w32(v, X86_EDX, (uint32_t)(p >> 32));
}
static const x86_handler mul_forms[X86_FORM_SLOTS] = {SLOT(R, 2) = mul32_r};

ONE_OPERAND_MUL(op_mul, mul)
ONE_OPERAND_MUL(op_imul1, imul1)

/* imul r, r/m and imul r, r/m, imm. */
static void op_imul23(struct x86_vcpu *v, const struct x86_insn *in)
{
    uint32_t b =
        in->has_mem ? x86_rm_get(v, in, in->r1, in->opsize) : x86_reg_get(v, in->r1, in->opsize);
    bool three = !(in->prefix & X86_PFX_0F); /* 69, 6B */
    uint32_t a = three ? in->imm : x86_reg_get(v, in->r0, in->opsize);
    uint32_t r =
        in->opsize == 2 ? imul2_16((uint16_t)b, (uint16_t)a, &v->cc) : imul2_32(b, a, &v->cc);
    x86_reg_set(v, in->r0, in->opsize, r);
}

static void op_imul(struct x86_vcpu *v, const struct x86_insn *in)
{
    if (!(in->prefix & X86_PFX_0F) && (in->opcode == 0xf6 || in->opcode == 0xf7))
        op_imul1(v, in);
    else
        op_imul23(v, in);
}

/* On the host, for the sake of the flags; the quotient fits. */
#define DIVIDE(name, insn, T, bits, sfx, lo, hi)                                                   \
    static void name##_##bits(T *low, T *high, T b, uint16_t *cc)                                  \
    {                                                                                              \
        T l = *low, h = *high;                                                                     \
        uint16_t f = *cc;                                                                          \
        __asm__("movw %w[f], %%ax\n\t" LOAD_FLAGS "mov %[l], %%" lo "\n\tmov %[h], %%" hi          \
                "\n\t" insn sfx " %[b]\n\tmov %%" lo ", %[l]\n\tmov %%" hi ", %[h]" SAVE_FLAGS     \
                "\n\tmovw %%ax, %w[f]"                                                             \
                : [l] "+&r"(l), [h] "+&r"(h), [f] "+&r"(f)                                         \
                : [b] "r"(b)                                                                       \
                : "rax", "rdx", "cc");                                                             \
        *low = l;                                                                                  \
        *high = h;                                                                                 \
        *cc = f;                                                                                   \
    }
DIVIDE(div, "div", uint16_t, 16, "w", "ax", "dx")
DIVIDE(div, "div", uint32_t, 32, "l", "eax", "edx")
DIVIDE(idiv, "idiv", uint16_t, 16, "w", "ax", "dx")
DIVIDE(idiv, "idiv", uint32_t, 32, "l", "eax", "edx")

/* Bytes: al = ax / b, ah the rest. */
#define DIVIDE8(name, insn)                                                                        \
    static void name##_8(uint16_t *a, uint8_t b, uint16_t *cc)                                     \
    {                                                                                              \
        uint16_t x = *a, f = *cc;                                                                  \
        __asm__("movw %w[f], %%ax\n\t" LOAD_FLAGS "movw %[x], %%ax\n\t" insn                       \
                "b %[b]\n\tmovw %%ax, %[x]" SAVE_FLAGS "\n\tmovw %%ax, %w[f]"                      \
                : [x] "+&r"(x), [f] "+&r"(f)                                                       \
                : [b] "q"(b)                                                                       \
                : "rax", "cc");                                                                    \
        *a = x;                                                                                    \
        *cc = f;                                                                                   \
    }
DIVIDE8(div, "div")
DIVIDE8(idiv, "idiv")

#define ONE_OPERAND_DIV(name, calc)                                                                \
    static void name(struct x86_vcpu *v, unsigned size, uint32_t b)                                \
    {                                                                                              \
        uint16_t ax = x86_r16(v, X86_EAX), dx = x86_r16(v, X86_EDX);                               \
        uint32_t eax = x86_r32(v, X86_EAX), edx = x86_r32(v, X86_EDX);                             \
        if (size == 4) {                                                                           \
            calc##_32(&eax, &edx, b, &v->cc);                                                      \
            x86_w32(v, X86_EAX, eax);                                                              \
            x86_w32(v, X86_EDX, edx);                                                              \
            return;                                                                                \
        }                                                                                          \
        if (size == 2) {                                                                           \
            calc##_16(&ax, &dx, (uint16_t)b, &v->cc);                                              \
            x86_w16(v, X86_EDX, dx);                                                               \
        } else {                                                                                   \
            calc##_8(&ax, (uint8_t)b, &v->cc);                                                     \
        }                                                                                          \
        x86_w16(v, X86_EAX, ax);                                                                   \
    }
ONE_OPERAND_DIV(divide_unsigned, div)
ONE_OPERAND_DIV(divide_signed, idiv)

static void op_div(struct x86_vcpu *v, const struct x86_insn *in)
{
    uint64_t b = x86_rm_get(v, in, in->r0, in->opsize), a;
    unsigned bits = in->opsize * 8u;
    a = bits == 8    ? x86_r16(v, X86_EAX)
        : bits == 16 ? (uint32_t)x86_r16(v, X86_EDX) << 16 | x86_r16(v, X86_EAX)
                     : (uint64_t)x86_r32(v, X86_EDX) << 32 | x86_r32(v, X86_EAX);
    if (b == 0 || (a / b) >> bits)
        x86_raise(v, X86_DE);
    divide_unsigned(v, in->opsize, (uint32_t)b);
}

static void op_idiv(struct x86_vcpu *v, const struct x86_insn *in)
{
    uint32_t raw = x86_rm_get(v, in, in->r0, in->opsize);
    unsigned bits = in->opsize * 8u;
    int64_t b, a, q;
    if (bits == 8) {
        b = (int8_t)raw;
        a = (int16_t)x86_r16(v, X86_EAX);
    } else if (bits == 16) {
        b = (int16_t)raw;
        a = (int32_t)((uint32_t)x86_r16(v, X86_EDX) << 16 | x86_r16(v, X86_EAX));
    } else {
        b = (int32_t)raw;
        a = (int64_t)((uint64_t)x86_r32(v, X86_EDX) << 32 | x86_r32(v, X86_EAX));
    }
    if (b == 0 || (a == INT64_MIN && b == -1))
        x86_raise(v, X86_DE);
    q = a / b;
    if (q < -(INT64_C(1) << (bits - 1)) || q >= INT64_C(1) << (bits - 1))
        x86_raise(v, X86_DE);
    divide_signed(v, in->opsize, raw);
}

/* ---- double shifts ---------------------------------------------------------------------- */

#define DOUBLE_SHIFT(name, insn)                                                                   \
    static uint32_t name##_16(uint32_t a, uint32_t b, uint8_t count, uint16_t *cc)                 \
    {                                                                                              \
        __asm__(LOAD_FLAGS insn "w %%cl, %w[b], %w[a]" SAVE_FLAGS                                  \
                : [a] "+r"(a), "+a"(*cc)                                                           \
                : [b] "r"(b), "c"(count)                                                           \
                : "cc");                                                                           \
        return a;                                                                                  \
    }                                                                                              \
    static uint32_t name##_32(uint32_t a, uint32_t b, uint8_t count, uint16_t *cc)                 \
    {                                                                                              \
        __asm__(LOAD_FLAGS insn "l %%cl, %[b], %[a]" SAVE_FLAGS                                    \
                : [a] "+r"(a), "+a"(*cc)                                                           \
                : [b] "r"(b), "c"(count)                                                           \
                : "cc");                                                                           \
        return a;                                                                                  \
    }                                                                                              \
    static void op_##name(struct x86_vcpu *v, const struct x86_insn *in)                           \
    {                                                                                              \
        uint8_t count = in->opcode & 1 ? (uint8_t)v->gpr[X86_ECX] : (uint8_t)in->imm;              \
        uint32_t b = x86_reg_get(v, in->r1, in->opsize);                                           \
        uint16_t cc = v->cc;                                                                       \
        uint32_t a = x86_rm_get_for_write(v, in, in->r0, in->opsize);                              \
        a = in->opsize == 2 ? name##_16(a, b, count, &cc) : name##_32(a, b, count, &cc);           \
        x86_rm_set(v, in, in->r0, in->opsize, a);                                                  \
        v->cc = cc;                                                                                \
    }
DOUBLE_SHIFT(shld, "shld")
DOUBLE_SHIFT(shrd, "shrd")

/* ---- bits ------------------------------------------------------------------------------- */

enum bit_op { BIT_TEST, BIT_SET, BIT_RESET, BIT_COMPLEMENT };

static uint32_t bit_apply(enum bit_op op, uint32_t a, uint32_t bit)
{
    uint32_t m = 1u << bit;
    return op == BIT_SET ? a | m : op == BIT_RESET ? a & ~m : op == BIT_COMPLEMENT ? a ^ m : a;
}

/* With a register as bit number and memory as operand, the number reaches beyond the operand. */
static void bit_op(struct x86_vcpu *v, const struct x86_insn *in, enum bit_op op)
{
    bool by_reg = in->opcode != 0xba; /* all are two-byte opcodes */
    unsigned size = in->opsize;
    uint32_t n = by_reg ? x86_reg_get(v, in->r1, size) : in->imm;
    uint32_t bit = n & (size * 8 - 1), a;
    if (!in->has_mem) {
        a = x86_reg_get(v, in->r0, size);
        if (op != BIT_TEST)
            x86_reg_set(v, in->r0, size, bit_apply(op, a, bit));
    } else {
        uint32_t ea = x86_ea(v, in);
        if (by_reg) {
            int32_t sn = size == 2 ? (int16_t)n : (int32_t)n;
            ea += (uint32_t)(sn >> (size == 2 ? 4 : 5)) * size;
            if (in->asize == 2)
                ea = (uint16_t)ea;
        }
        if (op == BIT_TEST) {
            a = size == 2 ? x86_read16(v, in->seg, ea) : x86_read32(v, in->seg, ea);
        } else {
            a = (uint32_t)x86_rmw_slow(v, in->seg, ea, size);
            x86_write_slow(v, in->seg, ea, size, bit_apply(op, a, bit));
        }
    }
    v->cc = (uint16_t)((v->cc & ~CC_CF) | (a >> bit & 1 ? CC_CF : 0));
}
static void op_bt(struct x86_vcpu *v, const struct x86_insn *in)
{
    bit_op(v, in, BIT_TEST);
}
static void op_bts(struct x86_vcpu *v, const struct x86_insn *in)
{
    bit_op(v, in, BIT_SET);
}
static void op_btr(struct x86_vcpu *v, const struct x86_insn *in)
{
    bit_op(v, in, BIT_RESET);
}
static void op_btc(struct x86_vcpu *v, const struct x86_insn *in)
{
    bit_op(v, in, BIT_COMPLEMENT);
}

#define SCAN(name, insn)                                                                           \
    static void op_##name(struct x86_vcpu *v, const struct x86_insn *in)                           \
    {                                                                                              \
        uint32_t b = x86_rm_get(v, in, in->r1, in->opsize);                                        \
        uint32_t a = x86_reg_get(v, in->r0, in->opsize);                                           \
        if (in->opsize == 2)                                                                       \
            __asm__(LOAD_FLAGS insn "w %w[b], %w[a]" SAVE_FLAGS                                    \
                    : [a] "+r"(a), "+a"(v->cc)                                                     \
                    : [b] "r"(b)                                                                   \
                    : "cc");                                                                       \
        else                                                                                       \
            __asm__(LOAD_FLAGS insn "l %[b], %[a]" SAVE_FLAGS                                      \
                    : [a] "+r"(a), "+a"(v->cc)                                                     \
                    : [b] "r"(b)                                                                   \
                    : "cc");                                                                       \
        x86_reg_set(v, in->r0, in->opsize, a);                                                     \
    }
SCAN(bsf, "bsf")
SCAN(bsr, "bsr")

/* ---- exchange and compare --------------------------------------------------------------- */

static uint32_t add_sized(uint32_t a, uint32_t b, unsigned size, uint16_t *cc)
{
    return size == 1   ? add_8((uint8_t)a, (uint8_t)b, cc)
           : size == 2 ? add_16((uint16_t)a, (uint16_t)b, cc)
                       : add_32(a, b, cc);
}
void x86_compare(uint32_t a, uint32_t b, unsigned size, uint16_t *cc)
{
    if (size == 1)
        sub_8((uint8_t)a, (uint8_t)b, cc);
    else if (size == 2)
        sub_16((uint16_t)a, (uint16_t)b, cc);
    else
        sub_32(a, b, cc);
}

static void op_xadd(struct x86_vcpu *v, const struct x86_insn *in)
{
    uint16_t cc;
    uint32_t a = x86_rm_get_for_write(v, in, in->r0, in->opsize);
    uint32_t b = x86_reg_get(v, in->r1, in->opsize);
    uint32_t sum = add_sized(a, b, in->opsize, &cc);
    if (in->has_mem) {
        x86_rm_set(v, in, in->r0, in->opsize, sum);
        x86_reg_set(v, in->r1, in->opsize, a);
    } else { /* with one register as both operands the sum stays */
        x86_reg_set(v, in->r1, in->opsize, a);
        x86_reg_set(v, in->r0, in->opsize, sum);
    }
    v->cc = cc;
}

/* The destination is written even if the comparison fails. */
static void op_cmpxchg(struct x86_vcpu *v, const struct x86_insn *in)
{
    uint16_t cc;
    uint32_t a = x86_rm_get_for_write(v, in, in->r0, in->opsize);
    uint32_t acc = x86_reg_get(v, X86_EAX * 8, in->opsize);
    x86_compare(acc, a, in->opsize, &cc);
    x86_rm_set(v, in, in->r0, in->opsize, cc & CC_ZF ? x86_reg_get(v, in->r1, in->opsize) : a);
    if (!(cc & CC_ZF))
        x86_reg_set(v, X86_EAX * 8, in->opsize, a);
    v->cc = cc;
}

static void op_cmpxchg8b(struct x86_vcpu *v, const struct x86_insn *in)
{
    uint32_t ea = x86_ea(v, in);
    uint64_t a = x86_rmw_slow(v, in->seg, ea, 8);
    uint64_t acc = (uint64_t)x86_r32(v, X86_EDX) << 32 | x86_r32(v, X86_EAX);
    uint64_t source = (uint64_t)x86_r32(v, X86_ECX) << 32 | x86_r32(v, X86_EBX);
    x86_write64(v, in->seg, ea, a == acc ? source : a);
    if (a == acc) {
        v->cc |= CC_ZF;
    } else {
        v->cc &= (uint16_t)~CC_ZF;
        x86_w32(v, X86_EAX, (uint32_t)a);
        x86_w32(v, X86_EDX, (uint32_t)(a >> 32));
    }
}

/* ---- BCD -------------------------------------------------------------------------------- */

/* SF, ZF, PF of a byte result; the other flags as in `rest` (CC_CF, CC_AF, CC_OF). */
static void set_bcd_flags(struct x86_vcpu *v, uint8_t result, uint16_t rest)
{
    uint16_t cc;
    and_8(result, result, &cc);
    v->cc = (uint16_t)((cc & (CC_SF | CC_ZF | CC_PF)) | rest);
}

static void decimal_adjust(struct x86_vcpu *v, int sign)
{
    uint8_t old = (uint8_t)v->gpr[X86_EAX], al = old;
    bool carry = v->cc & CC_CF;
    uint16_t rest = 0;
    if ((old & 15) > 9 || (v->cc & CC_AF)) {
        al = (uint8_t)(al + sign * 6);
        rest |= CC_AF;
        if (sign < 0 && (carry || old < 6))
            rest |= CC_CF;
    }
    if (old > 0x99 || carry) {
        al = (uint8_t)(al + sign * 0x60);
        rest |= CC_CF;
    }
    x86_reg_set(v, X86_EAX * 8, 1, al);
    set_bcd_flags(v, al, rest);
}
static void op_daa(struct x86_vcpu *v, const struct x86_insn *in)
{
    decimal_adjust(v, 1);
}
static void op_das(struct x86_vcpu *v, const struct x86_insn *in)
{
    decimal_adjust(v, -1);
}

static void ascii_adjust(struct x86_vcpu *v, int sign)
{
    uint16_t ax = x86_r16(v, X86_EAX), rest = 0;
    if ((ax & 15) > 9 || (v->cc & CC_AF)) {
        ax = (uint16_t)(ax + sign * 0x106);
        rest = CC_AF | CC_CF;
    }
    ax &= 0xff0f;
    x86_w16(v, X86_EAX, ax);
    set_bcd_flags(v, (uint8_t)ax, rest);
}
static void op_aaa(struct x86_vcpu *v, const struct x86_insn *in)
{
    ascii_adjust(v, 1);
}
static void op_aas(struct x86_vcpu *v, const struct x86_insn *in)
{
    ascii_adjust(v, -1);
}

static void op_aam(struct x86_vcpu *v, const struct x86_insn *in)
{
    uint8_t al = (uint8_t)v->gpr[X86_EAX], base = (uint8_t)in->imm;
    if (base == 0)
        x86_raise(v, X86_DE);
    x86_w16(v, X86_EAX, (uint16_t)((al / base) << 8 | al % base));
    set_bcd_flags(v, (uint8_t)(al % base), 0);
}
static void op_aad(struct x86_vcpu *v, const struct x86_insn *in)
{
    uint16_t ax = x86_r16(v, X86_EAX);
    uint8_t al = (uint8_t)(ax + (ax >> 8) * in->imm);
    x86_w16(v, X86_EAX, al);
    set_bcd_flags(v, al, 0);
}

/* ---- rows ------------------------------------------------------------------------------- */

#define ROW(m, op)                                                                                 \
    {                                                                                              \
        .mnemonic = ZYDIS_MNEMONIC_##m, .class = X86_COPY, .forms = op##_forms                     \
    }
#define ANY(m, fn)                                                                                 \
    {                                                                                              \
        .mnemonic = ZYDIS_MNEMONIC_##m, .class = X86_COPY, .any = fn                               \
    }
/* not in 64-bit mode */
#define OLD(m, fn)                                                                                 \
    {                                                                                              \
        .mnemonic = ZYDIS_MNEMONIC_##m, .any = fn                                                  \
    }
const struct x86_op x86_ops_alu[] = {
    ROW(ADD, add),
    ROW(OR, or),
    ROW(ADC, adc),
    ROW(SBB, sbb),
    ROW(AND, and),
    ROW(SUB, sub),
    ROW(XOR, xor),
    ROW(CMP, cmp),
    ROW(TEST, test),
    ROW(INC, inc),
    ROW(DEC, dec),
    ROW(NEG, neg),
    ROW(NOT, not ),
    ROW(ROL, rol),
    ROW(ROR, ror),
    ROW(RCL, rcl),
    ROW(RCR, rcr),
    ROW(SHL, shl),
    ROW(SHR, shr),
    ROW(SAR, sar),
    {.mnemonic = ZYDIS_MNEMONIC_MUL, .class = X86_COPY, .any = op_mul, .forms = mul_forms},
    ANY(IMUL, op_imul),
    ANY(DIV, op_div),
    ANY(IDIV, op_idiv),
    ANY(SHLD, op_shld),
    ANY(SHRD, op_shrd),
    ANY(BT, op_bt),
    ANY(BTS, op_bts),
    ANY(BTR, op_btr),
    ANY(BTC, op_btc),
    ANY(BSF, op_bsf),
    ANY(BSR, op_bsr),
    ANY(XADD, op_xadd),
    ANY(CMPXCHG, op_cmpxchg),
    ANY(CMPXCHG8B, op_cmpxchg8b),
    OLD(DAA, op_daa),
    OLD(DAS, op_das),
    OLD(AAA, op_aaa),
    OLD(AAS, op_aas),
    OLD(AAM, op_aam),
    OLD(AAD, op_aad),
    {0},
};
