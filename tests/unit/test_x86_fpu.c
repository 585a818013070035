/* SPDX-License-Identifier: MIT */
/* x87, MMX and SSE. Every form of every row runs on random state and must leave what the host
 * leaves that runs the same bytes natively; state handling and faults have tests of their own.
 * Memory and x86_raise() are stand-ins, so that nothing else of the processor is needed. */
#include "unit.h"

#include <emmintrin.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "isa/x86/fpu.h"
#include "isa/x86/mmu.h"

/* ---- a processor with 64 KiB of memory ------------------------------------------------------- */

#define MEM_BYTES 65536u
#define OPERAND   0x800u /* where esi and edi point */
#define NO_FAULT  (-1)

static struct x86_vcpu cpu;
static uint8_t mem[MEM_BYTES] __attribute__((aligned(4096)));
static uint32_t readable, writable; /* accesses beyond are page faults */
static int ferr_raised;

_Noreturn void x86_raise(struct x86_vcpu *v, enum x86_vector vector)
{
    v->fault = (struct x86_fault){.vector = (uint8_t)vector};
    longjmp(v->unwind, X86_UNWIND_FAULT);
}
_Noreturn void x86_raise_error(struct x86_vcpu *v, enum x86_vector vector, uint32_t error)
{
    v->fault = (struct x86_fault){(uint8_t)vector, true, error};
    longjmp(v->unwind, X86_UNWIND_FAULT);
}
static void check(struct x86_vcpu *v, uint32_t off, unsigned n, uint32_t limit)
{
    if (off + n > limit)
        x86_raise_error(v, X86_PF, limit == writable ? 2 : 0);
}
void x86_probe_write(struct x86_vcpu *v, enum x86_sreg s, uint32_t off, unsigned n)
{
    check(v, off, n, writable);
}
void x86_read_bytes(struct x86_vcpu *v, enum x86_sreg s, uint32_t off, void *buf, unsigned n)
{
    check(v, off, n, readable);
    memcpy(buf, mem + off, n);
}
void x86_write_bytes(struct x86_vcpu *v, enum x86_sreg s, uint32_t off, const void *buf, unsigned n)
{
    check(v, off, n, writable);
    memcpy(mem + off, buf, n);
}
uint64_t x86_read_slow(struct x86_vcpu *v, enum x86_sreg s, uint32_t off, unsigned size)
{
    uint64_t x = 0;
    x86_read_bytes(v, s, off, &x, size);
    return x;
}
void x86_write_slow(struct x86_vcpu *v, enum x86_sreg s, uint32_t off, unsigned size, uint64_t x)
{
    x86_write_bytes(v, s, off, &x, size);
}

static void raise_ferr(void *opaque)
{
    ++*(int *)opaque;
}

static void power_up(bool fast_memory)
{
    memset(&cpu, 0, sizeof cpu);
    memset(mem, 0, sizeof mem);
    readable = writable = MEM_BYTES;
    ferr_raised = 0;
    cpu.tlb = cpu.tlb_sets[0];
    for (unsigned i = 0; i < X86_TLB_SIZE; i++)
        cpu.tlb[i].tag_read = cpu.tlb[i].tag_write = X86_TLB_NONE;
    for (unsigned i = 0; fast_memory && i < MEM_BYTES / 4096; i++)
        cpu.tlb[i] = (struct x86_tlb_entry){i * 4096, i * 4096, (uintptr_t)mem, i, false};
    for (unsigned i = 0; fast_memory && i < X86_SREGS; i++)
        cpu.seg[i].read_span = cpu.seg[i].write_span = MEM_BYTES;
    cpu.seg[X86_CS].sel = 0x10;
    cpu.seg[X86_DS].sel = 0x18;
    cpu.cr0 = CR0_PE | CR0_NE | CR0_MP;
    cpu.cr4 = CR4_OSFXSR | CR4_OSXMMEXCPT;
    cpu.gpr[X86_ESI] = cpu.gpr[X86_EDI] = OPERAND;
    cpu.ferr.raise = raise_ferr;
    cpu.ferr.opaque = &ferr_raised;
    x86_fpu_reset(&cpu);
}

static const struct x86_op *find_row(unsigned mnemonic)
{
    const struct x86_op *const tables[] = {x86_ops_x87, x86_ops_mmx, x86_ops_sse};
    for (unsigned i = 0; i < ARRAY_LEN(tables); i++)
        for (const struct x86_op *r = tables[i]; r->mnemonic; r++)
            if (r->mnemonic == mnemonic)
                return r;
    return NULL;
}

/* Decode as far as these rows need it. False: undefined or no row here. */
static bool decode(const uint8_t *code, struct x86_insn *in)
{
    ZydisDecoder d;
    ZydisDecodedInstruction z;
    ZydisDecoderInit(&d, ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32);
    if (!ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(&d, NULL, code, 15, &z)))
        return false;
    *in = (struct x86_insn){.mnemonic = (uint16_t)z.mnemonic,
                            .len = z.length,
                            .opsize = 4,
                            .asize = 4,
                            .seg = X86_DS,
                            .opcode = z.opcode,
                            .map = (uint8_t)z.opcode_map,
                            .imm = (uint32_t)z.raw.imm[0].value.u,
                            .base = X86_GPR_ZERO,
                            .index = X86_GPR_ZERO,
                            .disp = (uint32_t)z.raw.disp.value};
    for (unsigned i = 0; i < z.raw.prefix_count; i++)
        in->prefix |= z.raw.prefixes[i].value == 0x66   ? X86_PFX_OPSIZE
                      : z.raw.prefixes[i].value == 0xf3 ? X86_PFX_REP
                                                        : X86_PFX_REPNE;
    if (z.attributes & ZYDIS_ATTRIB_HAS_MODRM)
        in->modrm = (uint8_t)(z.raw.modrm.mod << 6 | z.raw.modrm.reg << 3 | z.raw.modrm.rm);
    in->has_mem = (z.attributes & ZYDIS_ATTRIB_HAS_MODRM) && z.raw.modrm.mod != 3;
    if (in->has_mem)
        in->base = z.raw.modrm.rm;
    if (in->map == 1 && z.mnemonic == ZYDIS_MNEMONIC_MOVSD)
        in->mnemonic = X86_MN_MOVSD_SSE;
    if (in->map == 1 && z.mnemonic == ZYDIS_MNEMONIC_CMPSD)
        in->mnemonic = X86_MN_CMPSD_SSE;
    const struct x86_op *row = find_row(in->mnemonic);
    in->fn = row ? row->any : NULL;
    return row;
}

/* Vector of the fault, or NO_FAULT. */
static int execute(const struct x86_insn *in)
{
    cpu.insn_eip = 0x1000;
    cpu.eip = 0x1000u + in->len;
    if (setjmp(cpu.unwind))
        return cpu.fault.vector;
    in->fn(&cpu, in);
    return NO_FAULT;
}

static int run(const char *bytes, unsigned n)
{
    uint8_t code[15] = {0};
    struct x86_insn in;
    memcpy(code, bytes, n);
    assert_true(decode(code, &in));
    assert_int_equal(in.len, n);
    return execute(&in);
}
#define RUN(bytes) run(bytes, sizeof(bytes) - 1)

/* ---- the oracle ---------------------------------------------------------------------------------
 */

struct oracle {
    struct x86_fx fx;
    uint64_t gpr[8];
    uint64_t flags;
    uint64_t trapped; /* an unmasked SIMD exception */
};
_Static_assert(offsetof(struct oracle, gpr) == 512 && offsetof(struct oracle, flags) == 576, "");
void oracle_run(struct oracle *o, void *code);
__asm__(".text\n.globl oracle_run\n.type oracle_run, @function\n"
        "oracle_run:\n"
        "push %rbx\n push %rbp\n push %r12\n push %r13\n sub $8, %rsp\n"
        "mov %rdi, %r12\n mov %rsi, %r13\n"
        "fxrstor (%r12)\n pushq 576(%r12)\n popfq\n"
        "mov 512(%r12), %rax\n mov 520(%r12), %rcx\n mov 528(%r12), %rdx\n mov 536(%r12), %rbx\n"
        "mov 552(%r12), %rbp\n mov 560(%r12), %rsi\n mov 568(%r12), %rdi\n"
        "call *%r13\n"
        "mov %rax, 512(%r12)\n mov %rcx, 520(%r12)\n mov %rdx, 528(%r12)\n mov %rbx, 536(%r12)\n"
        "mov %rbp, 552(%r12)\n pushfq\n popq 576(%r12)\n"
        "fxsave (%r12)\n fninit\n pushq $0x1f80\n ldmxcsr (%rsp)\n pop %rax\n"
        "add $8, %rsp\n pop %r13\n pop %r12\n pop %rbp\n pop %rbx\n ret\n");

static volatile sig_atomic_t sigfpe_seen;
static void on_sigfpe(int sig, siginfo_t *info, void *context)
{
    ucontext_t *uc = context;
    greg_t *g = uc->uc_mcontext.gregs;
    sigfpe_seen = 1;
    g[REG_RIP] = *(greg_t *)g[REG_RSP]; /* as if the instruction had been a return */
    g[REG_RSP] += 8;
}

static uint8_t *code_page;

/* Per test, since cmocka installs handlers of its own around each. */
static void oracle_start(void)
{
    struct sigaction sa = {.sa_sigaction = on_sigfpe, .sa_flags = SA_SIGINFO};
    code_page =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(code_page, MAP_FAILED);
    assert_int_equal(sigaction(SIGFPE, &sa, NULL), 0);
}
static void oracle_stop(void)
{
    munmap(code_page, 4096);
}

/* ---- random state -------------------------------------------------------------------------------
 */

static uint64_t seed = 0x1234567;
static uint64_t rnd(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    return seed ^= seed << 17;
}
static bool one_in(unsigned n)
{
    return rnd() % n == 0;
}

static uint32_t rnd_float(void)
{
    static const uint32_t odd[] = {0,          0x80000000, 1,          0x807fffff, 0x00800000,
                                   0x7f7fffff, 0x7f800000, 0xff800000, 0x7fc00001, 0x7fa00001,
                                   0x3f800000, 0xbf800000, 0x4f000000, 0x5f000000, 0x33800000};
    return one_in(2) ? odd[rnd() % ARRAY_LEN(odd)] : (uint32_t)rnd();
}
static uint64_t rnd_double(void)
{
    static const uint64_t odd[] = {0,
                                   1ull << 63,
                                   1,
                                   0x800fffffffffffff,
                                   0x0010000000000000,
                                   0x7fefffffffffffff,
                                   0x7ff0000000000000,
                                   0xfff0000000000000,
                                   0x7ff8000000000001,
                                   0x7ff4000000000001,
                                   0x3ff0000000000000,
                                   0xbff0000000000000,
                                   0x41e0000000000000,
                                   0x43e0000000000000,
                                   0x3690000000000000,
                                   0x381fffffe0000000,
                                   0x47f0000000000000};
    return one_in(2) ? odd[rnd() % ARRAY_LEN(odd)] : rnd();
}
/* 16 bytes that make sense as something. */
static void rnd_vector(void *p)
{
    uint64_t q[2];
    uint32_t d[4];
    for (int i = 0; i < 4; i++)
        d[i] = one_in(8) ? (uint32_t)(rnd() % 20) : rnd_float();
    for (int i = 0; i < 2; i++)
        q[i] = one_in(8) ? rnd() % 20 : rnd_double();
    memcpy(p, one_in(2) ? (void *)q : (void *)d, 16);
}
/* 80 bits in 16 bytes; all classes, unsupported formats too. */
static void rnd_extended(uint8_t *p)
{
    static const uint16_t exponents[] = {0,      1,      0x3ffe, 0x3fff, 0x4000, 0x401e,     0x403e,
                                         0x7ffe, 0x7fff, 0x3c00, 0x3f80, 0x4400, 0x3fff + 62};
    static const uint64_t mantissas[] = {0, 1, 1ull << 63, 3ull << 62, 5ull << 61, ~0ull};
    uint64_t m = one_in(2) ? mantissas[rnd() % ARRAY_LEN(mantissas)] : rnd() | 1ull << 63;
    uint16_t e = one_in(4) ? (uint16_t)rnd() : exponents[rnd() % ARRAY_LEN(exponents)];
    e |= (uint16_t)(one_in(2) ? 0x8000 : 0);
    memset(p, 0, 16);
    memcpy(p, &m, 8);
    memcpy(p + 8, &e, 2);
}
static void rnd_fx(struct x86_fx *fx)
{
    memset(fx, 0, sizeof *fx);
    fx->fcw = (uint16_t)(0x40 | (rnd() & 0xf00) | (one_in(3) ? rnd() & 0x3f : 0x3f));
    if (one_in(2))
        fx->fcw |= 0x300;
    fx->fsw = (uint16_t)((rnd() & 0x7f00) | (one_in(2) ? rnd() & fx->fcw & 0x3f : 0));
    if (fx->fsw & 1 && one_in(2))
        fx->fsw |= 0x40;
    fx->ftw_abridged = (uint8_t)(one_in(2) ? 0xff : rnd());
    fx->mxcsr = (uint32_t)((rnd() & 0x603f) | (one_in(3) ? rnd() & 0x1f80 : 0x1f80) |
                           (one_in(4) ? rnd() & 0x8040 : 0));
    fx->mxcsr_mask = X86_MXCSR_MASK;
    for (int i = 0; i < 8; i++) {
        rnd_extended(fx->st[i]);
        rnd_vector(fx->xmm[i]);
    }
}
static void rnd_operand(uint8_t *p)
{
    for (int i = 0; i < 64; i += 16)
        rnd_vector(p + i);
    if (one_in(3))
        rnd_extended(p);
    if (one_in(6))
        for (int i = 0; i < 10; i++) /* decimal digits for FBLD */
            p[i] = (uint8_t)(rnd() % 10 << 4 | rnd() % 10);
}

/* ---- differential test --------------------------------------------------------------------------
 */

static void describe(const uint8_t *code, const struct x86_insn *in, const struct oracle *o,
                     const struct oracle *before)
{
    print_error("%s: %02x %02x %02x %02x %02x; fcw %04x fsw %04x mxcsr %04x\n",
                ZydisMnemonicGetString(in->mnemonic), code[0], code[1], code[2], code[3], code[4],
                before->fx.fcw, before->fx.fsw, before->fx.mxcsr);
    print_error("host: fcw %04x fsw %04x ftw %02x mxcsr %04x trapped %d flags %x\n", o->fx.fcw,
                o->fx.fsw, o->fx.ftw_abridged, o->fx.mxcsr, (int)o->trapped, (unsigned)o->flags);
    print_error("ring3: fcw %04x fsw %04x ftw %02x mxcsr %04x flags %x\n", cpu.fx.fcw, cpu.fx.fsw,
                cpu.fx.ftw_abridged, cpu.fx.mxcsr, x86_cc_to_flags(cpu.cc));
}

/* The one inexactness of sse.c: PE beside an unmasked overflow or underflow. */
static bool same_mxcsr(const struct oracle *o)
{
    bool by_result = o->trapped && (o->fx.mxcsr & ~(o->fx.mxcsr >> 7) & 0x18);
    return (cpu.fx.mxcsr & ~(by_result ? 0x20u : 0)) == (o->fx.mxcsr & ~(by_result ? 0x20u : 0));
}

static bool same(const struct oracle *o, int fault, const uint8_t *host_mem)
{
    bool ok = fault == (o->trapped ? X86_XM : NO_FAULT);
    ok = ok && cpu.fx.fcw == o->fx.fcw && cpu.fx.fsw == o->fx.fsw;
    ok = ok && cpu.fx.ftw_abridged == o->fx.ftw_abridged && same_mxcsr(o);
    ok = ok && !memcmp(cpu.fx.st, o->fx.st, sizeof o->fx.st);
    ok = ok && !memcmp(cpu.fx.xmm, o->fx.xmm, 8 * 16);
    ok = ok && x86_cc_to_flags(cpu.cc) == (o->flags & FL_ARITH);
    for (unsigned i = 0; i < 6; i++)
        ok = ok && (i == X86_ESP || cpu.gpr[i] == (uint32_t)o->gpr[i]);
    return ok && !memcmp(mem + OPERAND, host_mem, 64);
}

/* Once with random state, on the host and here. */
static void compare(const uint8_t *code, const struct x86_insn *in)
{
    static uint8_t host_mem[64] __attribute__((aligned(64)));
    struct oracle o = {0}, before;
    rnd_fx(&o.fx);
    rnd_operand(host_mem);
    memcpy(mem + OPERAND, host_mem, 64);
    for (unsigned i = 0; i < 6; i++)
        if (i != X86_ESP)
            o.gpr[i] = cpu.gpr[i] = rnd_float();
    o.gpr[X86_ESI] = o.gpr[X86_EDI] = (uintptr_t)host_mem;
    o.flags = FL_FIXED | FL_IF | (rnd() & FL_ARITH);
    cpu.cc = x86_flags_to_cc((uint32_t)o.flags);
    cpu.fx = o.fx;
    before = o;

    memcpy(code_page, code, in->len);
    code_page[in->len] = 0xc3;
    sigfpe_seen = 0;
    oracle_run(&o, code_page);
    o.trapped = (uint64_t)sigfpe_seen;

    int fault = execute(in);
    if (_mm_getcsr() & 0xe040)
        fail_msg("host MXCSR left at %x", _mm_getcsr());
    x86_fpu_park(&cpu);
    if (!same(&o, fault, host_mem)) {
        describe(code, in, &o, &before);
        fail_msg("differs from the host; fault %d", fault);
    }
}

/* Instructions whose effect depends on addresses or that can fault: tested below. */
static bool compared(unsigned mnemonic)
{
    static const uint16_t apart[] = {
        ZYDIS_MNEMONIC_FNSTENV, ZYDIS_MNEMONIC_FLDENV, ZYDIS_MNEMONIC_FNSAVE,
        ZYDIS_MNEMONIC_FRSTOR,  ZYDIS_MNEMONIC_FXSAVE, ZYDIS_MNEMONIC_FXRSTOR,
        ZYDIS_MNEMONIC_LDMXCSR,
    };
    for (unsigned i = 0; i < ARRAY_LEN(apart); i++)
        if (mnemonic == apart[i])
            return false;
    return true;
}

/* Memory operands are at [esi]. Registers esp, esi and edi differ between host and guest here. */
static bool usable_modrm(unsigned modrm, bool any_register)
{
    unsigned reg = modrm >> 3 & 7, rm = modrm & 7;
    bool reg_ok = any_register || (reg != 4 && reg != 6 && reg != 7);
    if (modrm < 0xc0)
        return modrm < 0x40 && rm == X86_ESI && reg_ok;
    return reg_ok && (any_register || (rm != 4 && rm != 6 && rm != 7));
}

static unsigned compare_forms(const uint8_t *head, unsigned head_bytes, bool any_register,
                              unsigned rounds)
{
    unsigned forms = 0;
    for (unsigned modrm = 0; modrm < 256; modrm++) {
        uint8_t code[15] = {0};
        struct x86_insn in;
        memcpy(code, head, head_bytes);
        code[head_bytes] = (uint8_t)modrm;
        if (!usable_modrm(modrm, any_register) || !decode(code, &in) || !compared(in.mnemonic))
            continue;
        forms++;
        for (unsigned i = 0; i < rounds; i++) {
            if (in.len > head_bytes + 1)
                code[head_bytes + 1] = (uint8_t)(in.imm = (uint8_t)(rnd() >> (one_in(2) ? 5 : 0)));
            if (in.opcode == 0xc2)
                code[head_bytes + 1] &= 7;
            compare(code, &in);
        }
    }
    return forms;
}

static void x87_forms_equal_host(bool fast)
{
    unsigned forms = 0;
    power_up(fast);
    oracle_start();
    for (unsigned op = 0xd8; op < 0xe0; op++)
        forms += compare_forms(&(uint8_t){(uint8_t)op}, 1, true, 60);
    oracle_stop();
    assert_int_equal(forms, 473);
}
static void x87_equals_host(void **state)
{
    x87_forms_equal_host(true);
}
static void x87_equals_host_by_slow_memory(void **state)
{
    x87_forms_equal_host(false);
}

/* GPR operands: which opcodes have some. */
static bool has_gpr(unsigned prefix, unsigned op)
{
    switch (op) {
    case 0x2a:
    case 0x2c:
    case 0x2d:
    case 0x50:
    case 0x6e:
    case 0xc3:
    case 0xc4:
    case 0xc5:
    case 0xd7:
        return true;
    default:
        return op == 0x7e && prefix != 0xf3;
    }
}

static void simd_forms_equal_host(bool fast)
{
    static const uint8_t prefixes[] = {0, 0x66, 0xf3, 0xf2};
    unsigned forms = 0;
    power_up(fast);
    oracle_start();
    for (unsigned op = 0; op < 256; op++)
        for (unsigned p = 0; p < 4; p++) {
            uint8_t head[3] = {prefixes[p], 0x0f, (uint8_t)op};
            forms += compare_forms(p ? head : head + 1, p ? 3 : 2, !has_gpr(prefixes[p], op), 16);
        }
    oracle_stop();
    assert_true(forms > 10000);
    print_message("%u forms\n", forms);
}
static void simd_equals_host(void **state)
{
    simd_forms_equal_host(true);
}
static void simd_equals_host_by_slow_memory(void **state)
{
    simd_forms_equal_host(false);
}

static void fninit_sets_defaults(void **state)
{
    power_up(false);
    assert_int_equal(RUN("\xdb\xe3"), NO_FAULT);
    x86_fpu_park(&cpu);
    assert_int_equal(cpu.fx.fcw, 0x37f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fninit_sets_defaults),
        cmocka_unit_test(x87_equals_host),
        cmocka_unit_test(x87_equals_host_by_slow_memory),
        cmocka_unit_test(simd_equals_host),
        cmocka_unit_test(simd_equals_host_by_slow_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
