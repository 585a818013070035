/* SPDX-License-Identifier: MIT */
/* Memory operands that lie in two linear pages whose frames are not neighbours (Intel SDM vol. 3A
 * 4.7, 6.15): each kind of load, store, read-modify-write and stack access, at every offset, in
 * rings 0 and 3. An access must do what the same access inside one page does. When either page is
 * absent, read-only or the supervisor's, it faults with the right error code and CR2 and changes
 * nothing, and after the repair it completes. Then half an operand in a hole of memory, and the
 * wrap at 4 GiB.
 *
 * Left to paging.c: restarts of string instructions in mid-course; to smc2.c: instruction bytes. */
#include "lib/lib.h"

const struct deviation qemu_deviations[] = {
    {"faults-rmw*", "reported as a read"},
    {"faults-load-lret", "read as the supervisor"},
    {"faults-store-fstt", "stores in two parts"},
    {"faults-store-fbstp", "stores byte by byte"},
    {"faults-store-movups_st", "stores in two parts"},
    {"repaired-rcrl", "the faulting try changes CF"},
    {"hole-reads-ones*", "reads as 0"},
    {NULL, NULL},
};

#define P    1u
#define RW   2u
#define US   4u
#define ALL  (P | RW | US)
#define WP   0x10000u
#define LIN  0x40000000u
#define NEXT (LIN + 0x1000)
#define REF  (LIN + 0x2800) /* an operand inside one page */
#define HOLE 0xc0000000u    /* no memory and no device */

static u32 pt[1024] __attribute__((aligned(4096)));
static u8 frames[4][4096] __attribute__((aligned(4096)));
static u8 result[128] __attribute__((aligned(16))); /* what a fragment shows of the FPU */

static void invlpg(u32 a)
{
    asm volatile("invlpg (%0)" ::"r"(a) : "memory");
}

static void map(u32 flags0, u32 flags1)
{
    pt[0] = (u32)frames[2] | flags0;
    pt[1] = (u32)frames[0] | flags1;
    pt[2] = (u32)frames[3] | ALL;
    invlpg(LIN);
    invlpg(NEXT);
    invlpg(NEXT + 0x1000);
}

/* ---- the accesses ---------------------------------------------------------------------------- */

enum kind { LOAD, STORE, RMW };
#define R3      1u  /* on the stack, so for ring 3 only: in ring 0 the fault itself would need it */
#define LONG    2u  /* several accesses; their order is the processor's business */
#define NOFLAGS 4u  /* leaves some flags undefined */
#define BY16    8u  /* must be aligned to 16 */
#define FAR     16u /* the operand holds a selector behind its first dword */

/* X(name, kind, bytes, flags, before, instruction, behind). The operand is at (%esi), or the stack
 * pointer is set to it or behind it; a label in the operand's first dword leads `behind`. */
#define FORMS(X)                                                                                   \
    X(movw, LOAD, 2, 0, "", "movw (%esi), %ax", "")                                                \
    X(movl, LOAD, 4, 0, "", "movl (%esi), %eax", "")                                               \
    X(movl_fs, LOAD, 4, 0, "", "movl %fs:(%esi), %eax", "")                                        \
    X(movzwl, LOAD, 2, 0, "", "movzwl (%esi), %ebx", "")                                           \
    X(movswl, LOAD, 2, 0, "", "movswl (%esi), %edx", "")                                           \
    X(addl_ld, LOAD, 4, 0, "", "addl (%esi), %eax", "")                                            \
    X(cmpl, LOAD, 4, 0, "", "cmpl %ecx, (%esi)", "")                                               \
    X(cmpw_imm, LOAD, 2, 0, "", "cmpw $0x1234, (%esi)", "")                                        \
    X(testl, LOAD, 4, 0, "", "testl %eax, (%esi)", "")                                             \
    X(imul, LOAD, 4, NOFLAGS, "", "imull (%esi), %ecx", "")                                        \
    X(mull, LOAD, 4, NOFLAGS, "", "mull (%esi)", "")                                               \
    X(cmov, LOAD, 4, 0, "cmp %eax, %eax", "cmovel (%esi), %ebx", "")                               \
    X(bt, LOAD, 4, NOFLAGS, "", "btl $9, (%esi)", "")                                              \
    X(lodsl, LOAD, 4, 0, "", "lodsl", "")                                                          \
    X(lodsw, LOAD, 2, 0, "", "lodsw", "")                                                          \
    X(scasl, LOAD, 4, 0, "mov %esi, %edi", "scasl", "")                                            \
    X(cmpsl, LOAD, 4, 0, "mov $result, %edi", "cmpsl", "")                                         \
    X(movsl_from, LOAD, 4, 0, "mov $result, %edi", "movsl", "")                                    \
    X(push_mem, LOAD, 4, 0, "", "pushl (%esi)", "pop %eax")                                        \
    X(jmp_mem, LOAD, 4, FAR, "", "jmp *(%esi)", "")                                                \
    X(call_mem, LOAD, 4, FAR, "", "call *(%esi)", "")                                              \
    X(les, LOAD, 6, FAR | LONG, "", "les (%esi), %eax", "mov %es, %ebx")                           \
    X(bound, LOAD, 8, FAR | LONG, "mov $0x200000, %eax", "bound %eax, (%esi)", "")                 \
    X(flds, LOAD, 4, 0, "", "flds (%esi)", "fstpt result")                                         \
    X(fldl, LOAD, 8, 0, "", "fldl (%esi)", "fstpt result")                                         \
    X(fldt, LOAD, 10, 0, "", "fldt (%esi)", "fstpt result")                                        \
    X(filds, LOAD, 2, 0, "", "filds (%esi)", "fstpt result")                                       \
    X(fildq, LOAD, 8, 0, "", "fildq (%esi)", "fstpt result")                                       \
    X(faddl, LOAD, 8, 0, "fldpi", "faddl (%esi)", "fstpt result")                                  \
    X(fldcw, LOAD, 2, 0, "movw $0x37f, (%esi)", "fldcw (%esi)", "fnstcw result")                   \
    X(movq_ld, LOAD, 8, 0, "", "movq (%esi), %mm0", "movq %mm0, result; emms")                     \
    X(paddb, LOAD, 8, 0, "pcmpeqb %mm1, %mm1", "paddb (%esi), %mm1", "movq %mm1, result; emms")    \
    X(movd_ld, LOAD, 4, 0, "", "movd (%esi), %mm0", "movq %mm0, result; emms")                     \
    X(movups_ld, LOAD, 16, 0, "", "movups (%esi), %xmm1", "movups %xmm1, result")                  \
    X(movss_ld, LOAD, 4, 0, "", "movss (%esi), %xmm2", "movups %xmm2, result")                     \
    X(movlps_ld, LOAD, 8, 0, "xorps %xmm3, %xmm3", "movlps (%esi), %xmm3", "movups %xmm3, result") \
    X(pop, LOAD, 4, R3, "mov %esi, %esp", "pop %eax", "")                                          \
    X(popw, LOAD, 2, R3, "mov %esi, %esp", "popw %ax", "")                                         \
    X(pop_mem, LOAD, 4, R3, "mov %esi, %esp", "popl result", "")                                   \
    X(popf, LOAD, 4, R3, "andl $0x8d5, (%esi); mov %esi, %esp", "popf", "")                        \
    X(leave, LOAD, 4, R3, "mov %esi, %ebp", "leave", "")                                           \
    X(popa, LOAD, 32, R3 | LONG, "mov %esi, %esp", "popa", "")                                     \
    X(ret, LOAD, 4, R3 | FAR, "mov %esi, %esp", "ret $8", "")                                      \
    X(lret, LOAD, 8, R3 | FAR | LONG, "mov %esi, %esp", "lret", "")                                \
    X(movw_st, STORE, 2, 0, "", "movw %ax, (%esi)", "")                                            \
    X(movl_st, STORE, 4, 0, "", "movl %eax, (%esi)", "")                                           \
    X(movl_imm, STORE, 4, 0, "", "movl $0x12345678, (%esi)", "")                                   \
    X(movl_gs, STORE, 4, 0, "", "movl %eax, %gs:(%esi)", "")                                       \
    X(stosl, STORE, 4, 0, "mov %esi, %edi", "stosl", "")                                           \
    X(stosw_down, STORE, 2, 0, "mov %esi, %edi; std", "stosw", "cld")                              \
    X(movsl_to, STORE, 4, 0, "mov %esi, %edi; mov $result, %esi", "movsl", "")                     \
    X(pop_store, STORE, 4, 0, "push %eax", "popl (%esi)", "")                                      \
    X(fsts, STORE, 4, 0, "fldpi; fldl2e", "fstps (%esi)", "fstpt result")                          \
    X(fstl, STORE, 8, 0, "fldpi; fldl2e", "fstpl (%esi)", "fstpt result")                          \
    X(fstt, STORE, 10, 0, "fldpi; fldl2e", "fstpt (%esi)", "fstpt result")                         \
    X(fistq, STORE, 8, 0, "fldpi; fldl2e", "fistpq (%esi)", "fstpt result")                        \
    X(fists, STORE, 2, 0, "fldpi; fldl2e", "fistps (%esi)", "fstpt result")                        \
    X(fbstp, STORE, 10, 0, "fldpi; fldl2e", "fbstp (%esi)", "fstpt result")                        \
    X(fnstcw, STORE, 2, 0, "", "fnstcw (%esi)", "")                                                \
    X(fnstsw, STORE, 2, 0, "fldz; ftst", "fnstsw (%esi)", "")                                      \
    X(fnstenv, STORE, 28, LONG, "", "fnstenv (%esi)", "")                                          \
    X(fnsave, STORE, 108, LONG, "", "fnsave (%esi)", "fnstsw result")                              \
    X(fxsave, STORE, 288, LONG | BY16, "xorps %xmm0, %xmm0", "fxsave (%esi)", "")                  \
    X(movq_st, STORE, 8, 0, "pcmpeqb %mm0, %mm0", "movq %mm0, (%esi)", "emms")                     \
    X(movd_st, STORE, 4, 0, "movd %eax, %mm0", "movd %mm0, (%esi)", "emms")                        \
    X(movups_st, STORE, 16, 0, "movups result, %xmm1", "movups %xmm1, (%esi)", "")                 \
    X(movss_st, STORE, 4, 0, "movups result, %xmm1", "movss %xmm1, (%esi)", "")                    \
    X(movhps_st, STORE, 8, 0, "movups result, %xmm1", "movhps %xmm1, (%esi)", "")                  \
    X(sgdt, STORE, 6, LONG, "", "sgdt (%esi)", "")                                                 \
    X(push, STORE, 4, R3, "lea 4(%esi), %esp", "push %eax", "")                                    \
    X(push_imm, STORE, 4, R3, "lea 4(%esi), %esp", "push $-3", "")                                 \
    X(pushw, STORE, 2, R3, "lea 2(%esi), %esp", "pushw %ax", "")                                   \
    X(push_from, STORE, 4, R3, "lea 4(%esi), %esp", "pushl result", "")                            \
    X(pushf, STORE, 4, R3, "lea 4(%esi), %esp; stc", "pushf", "")                                  \
    X(push_seg, STORE, 4, R3 | LONG, "lea 4(%esi), %esp; movl $0, (%esi)", "push %ds", "")         \
    X(call, STORE, 4, R3, "lea 4(%esi), %esp", "call 1f; 1:", "")                                  \
    X(call_reg, STORE, 4, R3, "lea 4(%esi), %esp; mov $1f, %eax", "call *%eax; 1:", "")            \
    X(enter, STORE, 4, R3 | LONG, "lea 4(%esi), %esp; mov $0x5a5a, %ebp", "enter $0, $0", "")      \
    X(pusha, STORE, 32, R3 | LONG, "lea 32(%esi), %esp; mov $7, %esi", "pusha", "")                \
    X(addl, RMW, 4, 0, "", "addl %eax, (%esi)", "")                                                \
    X(addw, RMW, 2, 0, "", "addw $-3, (%esi)", "")                                                 \
    X(adcl, RMW, 4, 0, "stc", "adcl %eax, (%esi)", "")                                             \
    X(sbbl, RMW, 4, 0, "stc", "sbbl $5, (%esi)", "")                                               \
    X(incl, RMW, 4, 0, "stc", "incl (%esi)", "")                                                   \
    X(negw, RMW, 2, 0, "", "negw (%esi)", "")                                                      \
    X(notl, RMW, 4, 0, "", "notl (%esi)", "")                                                      \
    X(shll, RMW, 4, NOFLAGS, "", "shll $3, (%esi)", "")                                            \
    X(rcrl, RMW, 4, NOFLAGS, "stc", "rcrl %cl, (%esi)", "")                                        \
    X(shld, RMW, 4, NOFLAGS, "", "shldl $5, %eax, (%esi)", "")                                     \
    X(btsl, RMW, 4, NOFLAGS, "", "btsl $30, (%esi)", "")                                           \
    X(btcl_reg, RMW, 4, NOFLAGS, "mov $-31, %ecx; add $4, %esi", "btcl %ecx, (%esi)", "")          \
    X(xchg, RMW, 4, 0, "", "xchg %eax, (%esi)", "")                                                \
    X(lock_add, RMW, 4, 0, "", "lock addl %eax, (%esi)", "")                                       \
    X(xadd, RMW, 4, 0, "", "lock xaddl %eax, (%esi)", "")                                          \
    X(cmpxchg_eq, RMW, 4, 0, "mov (%esi), %eax", "cmpxchgl %ecx, (%esi)", "")                      \
    X(cmpxchg_ne, RMW, 4, 0, "mov (%esi), %eax; inc %eax", "cmpxchgl %ecx, (%esi)", "")            \
    X(cmpxchg8b_eq, RMW, 8, 0, "mov (%esi), %eax; mov 4(%esi), %edx", "cmpxchg8b (%esi)", "")      \
    X(cmpxchg8b_ne, RMW, 8, 0, "", "lock cmpxchg8b (%esi)", "")

#define FRAGMENT(name, kind, bytes, options, before, instruction, behind)                          \
    FRAG(s_##name, before "; .globl s_" #name "_at, s_" #name "_to; s_" #name "_at: " instruction  \
                          "; s_" #name "_to: " behind);                                            \
    LABEL(s_##name##_at);                                                                          \
    LABEL(s_##name##_to);
FORMS(FRAGMENT)

static const struct form {
    const char *name;
    enum kind kind;
    u32 bytes, options;
    const char *code, *at, *to;
} forms[] = {
#define ROW(name, kind, bytes, options, before, instruction, behind)                               \
    {#name, kind, bytes, options, s_##name, s_##name##_at, s_##name##_to},
    FORMS(ROW)};

/* ---- one run --------------------------------------------------------------------------------- */

#define AROUND 32
#define WINDOW (AROUND + 512 + AROUND) /* at most */

struct outcome {
    struct cpu c;
    u8 memory[WINDOW], result[sizeof(result)];
};

static volatile u32 repairs;

static void repair(struct frame *f)
{
    repairs++;
    map(ALL, ALL);
}

static u32 neutral(u32 x, u32 base) /* a register that points near the operand, as a distance */
{
    return x - base + 0x800 < 0x1000 ? x - base : x;
}

static u32 window(const struct form *f)
{
    return AROUND + f->bytes + AROUND;
}

/* The operand's surroundings, seen through a mapping that always works. */
static u8 *byte_at(u32 linear)
{
    static const u8 frame[] = {2, 0, 3};
    return &frames[frame[(linear - LIN) >> 12]][linear & 0xfff];
}

static void prepare(const struct form *f, u32 at)
{
    u32 n = window(f);

    for (u32 i = 0; i < n; i++)
        *byte_at(at - AROUND + i) = (u8)(i * 37 + 11);
    if (f->options & FAR) {
        u32 pair[2] = {(u32)f->to, f->code == s_bound ? 0x7fffffff
                                   : f->code == s_les ? U_DATA
                                                      : U_CODE};
        for (u32 i = 0; i < 8; i++)
            *byte_at(at + i) = ((u8 *)pair)[i];
    }
    for (u32 i = 0; i < sizeof(result); i++)
        result[i] = (u8)(0x91 + i * 29);
}

static void record(struct outcome *o, const struct form *f, u32 at)
{
    u32 n = window(f);

    for (u32 i = 0; i < n; i++)
        o->memory[i] = *byte_at(at - AROUND + i);
    memcpy(o->result, result, sizeof(result));
}

static void go(struct outcome *o, const struct form *f, unsigned ring, u32 at)
{
    o->c = cpu_make(ring, f->code);
    o->c.esi = at;
    o->c.eax = 0x89abcdef;
    o->c.ecx = 0x13579bdf;
    o->c.edx = 0x02468ace;
    o->c.ebx = 0x600dcafe;
    o->c.edi = 0x55aa33cc;
    asm volatile("fninit");
    cpu_run(&o->c);
    record(o, f, at);
}

/* 0 if two completed runs came to the same. */
static u32 differs(const struct form *f, const struct outcome *a, u32 at, const struct outcome *b,
                   u32 other)
{
    const u32 *x = &a->c.eax, *y = &b->c.eax;
    u32 n = window(f);

    if (a->c.vector != DONE || b->c.vector != DONE)
        return 1;
    for (unsigned i = 0; i < 8; i++)
        if (neutral(x[i], at) != neutral(y[i], other))
            return 2;
    if (!(f->options & NOFLAGS) && (a->c.eflags ^ b->c.eflags) & 0x8d5)
        return 3;
    for (u32 i = 0; i < n; i++)
        if (a->memory[i] != b->memory[i] &&
            !(f->code == s_pusha && i >= AROUND + 12 && i < AROUND + 16))
            return 4; /* pusha's copy of esp is where the operand is */
    return memcmp(a->result, b->result, sizeof(result)) ? 5 : 0;
}

/* ---- against the same access in one page ----------------------------------------------------- */

static u32 step(const struct form *f)
{
    return f->options & BY16 ? 16 : f->bytes > 40 ? 9 : 1;
}

static void completes(const struct form *f)
{
    static struct outcome straddling, reference;
    u32 wrong = 0;

    map(ALL, ALL);
    for (unsigned ring = f->options & R3 ? 3 : 0; ring <= 3; ring += 3)
        for (u32 back = 0; back <= f->bytes && !wrong; back += step(f))
            for (unsigned again = 0; again < 3 && !wrong; again++) {
                prepare(f, REF);
                go(&reference, f, ring, REF);
                prepare(f, NEXT - back);
                go(&straddling, f, ring, NEXT - back);
                u32 why = differs(f, &straddling, NEXT - back, &reference, REF);
                if (why)
                    wrong = why << 16 | ring << 12 | back;
            }
    check_eq(f->name, wrong, 0);
}

/* ---- faults ---------------------------------------------------------------------------------- */

static const struct scenario {
    u32 first, second; /* flags of the two entries */
} scenarios[] = {
    {ALL, 0}, {0, ALL}, {0, 0}, {ALL, P | US}, {P | US, ALL}, {ALL, P | RW}, {P | RW, ALL},
};

/* The error code of a page's entry, or -1 if the access is allowed. CR0.WP is set. */
static int denied(u32 flags, enum kind kind, unsigned ring)
{
    int code = (kind == LOAD ? 0 : 2) | (ring == 3 ? 4 : 0);

    if (!(flags & P))
        return code;
    if ((ring == 3 && !(flags & US)) || (kind != LOAD && !(flags & RW)))
        return code | 1;
    return -1;
}

/* The run that faults: 0 if it did, as it must. */
static u32 faults_right(const struct form *f, const struct scenario *s, unsigned ring, u32 at)
{
    static struct outcome o;
    static u8 before[WINDOW];
    int first = denied(s->first, f->kind, ring), second = denied(s->second, f->kind, ring);
    u32 n = window(f), error = (u32)(first >= 0 ? first : second), cr2 = first >= 0 ? at : NEXT;

    u32 esp = f->code == s_leave ? (u32)frag_stack_top : f->kind == STORE ? at + f->bytes : at;

    for (u32 i = 0; i < n; i++)
        before[i] = *byte_at(at - AROUND + i);
    go(&o, f, ring, at);
    if (first < 0 && second < 0)
        return o.c.vector == DONE ? 0 : 1;
    if (o.c.vector != 14 || o.c.eip != (u32)f->at)
        return 2;
    if (o.c.error != error)
        return 3;
    if (f->options & LONG ? (o.c.cr2 & ~0xfffu) != LIN && (o.c.cr2 & ~0xfffu) != NEXT
                          : o.c.cr2 != cr2)
        return 4;
    if (f->options & LONG)
        return 0;
    return memcmp(o.memory, before, n) || (f->options & R3 && o.c.esp != esp) ? 5 : 0;
}

/* Its preparation would fault before it. */
static bool prepares_through_esi(const struct form *f)
{
    return f->code == s_fldcw || f->code == s_popf || f->code == s_push_seg ||
           f->code == s_cmpxchg_eq || f->code == s_cmpxchg_ne || f->code == s_cmpxchg8b_eq;
}

static void put_fault_name(char *to, const struct form *f)
{
    static const char *const kinds[] = {"faults-load-", "faults-store-", "faults-rmw-"};

    for (const char *s = kinds[f->kind]; *s;)
        *to++ = *s++;
    for (const char *s = f->name; *s;)
        *to++ = *s++;
    *to = 0;
}

static void faults(const struct form *f)
{
    static struct outcome reference, repaired;
    char name[40], name_after[40] = "repaired-";
    u32 wrong = 0, wrong_after = 0;

    for (unsigned ring = f->options & R3 ? 3 : 0; ring <= 3; ring += 3)
        for (u32 back = step(f); back < f->bytes; back += step(f))
            for (unsigned i = 0; i < sizeof(scenarios) / sizeof(*scenarios); i++) {
                u32 at = NEXT - back, why;
                const struct scenario *s = &scenarios[i];

                map(ALL, ALL);
                prepare(f, REF);
                go(&reference, f, ring, REF);
                prepare(f, at);
                map(s->first, s->second);
                if (!prepares_through_esi(f) && (why = faults_right(f, s, ring, at)) && !wrong)
                    wrong = why << 20 | i << 16 | ring << 12 | back;
                prepare(f, at);
                map(s->first, s->second);
                hook[14] = repair;
                repairs = 0;
                go(&repaired, f, ring, at);
                hook[14] = NULL;
                why = differs(f, &repaired, at, &reference, REF);
                if (repairs > 1)
                    why |= 8;
                if (why && !wrong_after)
                    wrong_after = why << 20 | i << 16 | ring << 12 | back;
            }
    put_fault_name(name, f);
    if (!prepares_through_esi(f))
        check_eq(name, wrong, 0);
    memcpy(name_after + 9, f->name, 20);
    check_eq(name_after, wrong_after, 0);
}

/* ---- half in a hole -------------------------------------------------------------------------- */

/* The second page is where no memory is: it reads as ones and drops what is written; the first
 * page gets its part all the same. */
static void half_in_hole(void)
{
    static struct outcome o;
    u32 good_st = 0, good_ld = 0, good_rmw = 0;

    map(ALL, ALL);
    pt[1] = HOLE | ALL;
    invlpg(NEXT);
    for (u32 back = 1; back < 4; back++)
        for (unsigned ring = 0; ring <= 3; ring += 3) {
            u32 keep = (1u << 8 * back) - 1;
            static const struct form ld = {"", LOAD, 4, 0, s_movl, s_movl, s_movl_to},
                                     st = {"", STORE, 4, 0, s_movl_st, s_movl_st, s_movl_st_to},
                                     add = {"", RMW, 4, 0, s_addl, s_addl, s_addl_to};
            u32 first = NEXT - back, had = 0;

            prepare(&st, first);
            go(&o, &st, ring, first);
            good_st += o.c.vector == DONE;
            for (u32 i = 0; i < 4; i++)
                good_st += i < back ? *byte_at(first + i) == (u8)(0x89abcdef >> 8 * i)
                                    : *byte_at(first + i) == (u8)((i + AROUND) * 37 + 11);
            good_st += *byte_at(first - 1) == (u8)((AROUND - 1) * 37 + 11);
            prepare(&ld, first);
            for (u32 i = 0; i < back; i++)
                had |= (u32)*byte_at(first + i) << 8 * i;
            go(&o, &ld, ring, first);
            good_ld += o.c.vector == DONE && o.c.eax == (had | ~keep);
            prepare(&add, first);
            go(&o, &add, ring, first);
            for (u32 i = 0; i < back; i++)
                good_rmw += *byte_at(first + i) == (u8)((had + 0x89abcdef) >> 8 * i);
        }
    check_eq("hole-store", good_st, 36);
    check_eq("hole-reads-ones", good_ld, 6);
    check_eq("hole-rmw", good_rmw, 12);

    /* Sixteen bytes, and a string of dwords that runs from memory into the hole and back. */
    prepare(&forms[0], NEXT - 5);
    struct cpu c = cpu_make(3, s_movups_ld);
    c.esi = NEXT - 5;
    cpu_run(&c);
    check("hole-movups", c.vector == DONE && !memcmp(result, byte_at(NEXT - 5), 5));
    check("hole-reads-ones-movups", result[5] == 0xff && result[15] == 0xff);
    memset(frames[3], 0, 4096);
    asm volatile("cld; rep movsl" ::"S"(NEXT - 6), "D"(NEXT + 0xffa), "c"(3) : "memory");
    check("hole-reads-ones-rep-movsl", frames[3][0] == 0xff && frames[3][5] == 0xff);
    check_eq("hole-rep-movsl-end", frames[3][6], 0);
    map(ALL, ALL);
}

/* ---- the end of the address space ------------------------------------------------------------ */

static u32 low_pt[1024] __attribute__((aligned(4096)));
static u32 top_pt[1024] __attribute__((aligned(4096)));

FRAG(w_call_next, "call 1f; 1: pop %eax");

/* What a flat segment of 4 GiB does with an operand over its end is the model's choice (SDM vol.
 * 3A 5.3): to fault or to go on at 0. It must be one of the two, and nothing in between. */
static void wrap(void)
{
    static u8 top[4096] __attribute__((aligned(4096))), bottom[4096] __attribute__((aligned(4096)));
    u32 good = 0, n = 0;

    for (u32 i = 0; i < 1024; i++)
        low_pt[i] = i << 12 | ALL;
    low_pt[0] = (u32)bottom | ALL;
    top_pt[1023] = (u32)top | ALL;
    page_dir[0] = (u32)low_pt | ALL;
    page_dir[1023] = (u32)top_pt | ALL;
    write_cr3(read_cr3());
    for (u32 size = 2; size <= 4; size += 2)
        for (u32 back = 0; back <= size; back++)
            for (unsigned ring = 0; ring <= 3; ring += 3) {
                struct cpu c = cpu_make(ring, size == 2 ? s_movw_st : s_movl_st);
                u32 landed = 0, want = size == 2 ? 0xcdef : 0x89abcdef;

                memset(top, 0x11, sizeof(top));
                memset(bottom, 0x11, sizeof(bottom));
                c.eax = 0x89abcdef;
                c.esi = 0u - back;
                cpu_run(&c);
                for (u32 i = 0; i < size; i++)
                    landed |= (u32)(i < back ? top[4096 - back + i] : bottom[i - back]) << 8 * i;
                bool straddles = back && back < size;
                n++;
                if (c.vector == DONE)
                    good += landed == want && top[4096 - back - 1] == 0x11 && bottom[size] == 0x11;
                else
                    good +=
                        straddles && c.vector == 13 && landed == (size == 2 ? 0x1111 : 0x11111111);
                c = cpu_make(ring, size == 2 ? s_movzwl : s_movl);
                c.esi = 0u - back;
                cpu_run(&c);
                n++;
                good += c.vector == DONE ? (size == 2 ? c.ebx : c.eax) == landed
                                         : straddles && c.vector == 13;
            }
    check_eq("wrap", good, n);
    /* The last bytes themselves, by string instructions and the stack, do not wrap. */
    memset(top, 0, sizeof(top));
    asm volatile("std; rep stosl; cld" ::"D"(0xfffffffc), "c"(3), "a"(0x31323334) : "memory");
    check("last-dwords-down", *(u32 *)&top[4092] == 0x31323334 &&
                                  *(u32 *)&top[4084] == 0x31323334 && *(u32 *)&top[4080] == 0);
    struct cpu c = cpu_make(3, w_call_next);
    c.esp = 0;
    cpu_run(&c);
    check("stack-at-the-very-top", c.vector == DONE && c.esp == 0 &&
                                       *(u32 *)&top[4092] == (u32)w_call_next + 5 &&
                                       c.eax == (u32)w_call_next + 5);
    page_dir[0] = 0x87;
    page_dir[1023] = 1023u << 22 | 0x87;
    write_cr3(read_cr3());
}

void test_main(void)
{
    write_cr4(read_cr4() | 0x600); /* OSFXSR, OSXMMEXCPT */
    paging_on();
    write_cr0(read_cr0() | WP);
    page_dir[LIN >> 22] = (u32)pt | ALL;
    write_cr3(read_cr3());
    for (unsigned i = 0; i < sizeof(forms) / sizeof(*forms); i++)
        completes(&forms[i]);
    for (unsigned i = 0; i < sizeof(forms) / sizeof(*forms); i++)
        faults(&forms[i]);
    half_in_hole();
    wrap();
}
