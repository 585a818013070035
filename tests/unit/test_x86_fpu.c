/* SPDX-License-Identifier: MIT */
/* x87, MMX and SSE against the host: every form of every row runs on random state and must leave
 * what the host leaves that runs the same bytes natively. And: the rows are the instruction set. */
#include "x86_fpu_unit.h"

#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>

/* ---- the oracle ------------------------------------------------------------------------------ */

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

/* ---- differential test ----------------------------------------------------------------------- */

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
    assert_int_equal(forms, 15833);
}
static void simd_equals_host(void **state)
{
    simd_forms_equal_host(true);
}
static void simd_equals_host_by_slow_memory(void **state)
{
    simd_forms_equal_host(false);
}

/* ---- which instructions there are ------------------------------------------------------------ */

/* A row if and only if the instruction belongs to a P6 with SSE2. */
static void check_row(const uint8_t *code)
{
    static const uint8_t sets[] = {
        ZYDIS_ISA_SET_X87,      ZYDIS_ISA_SET_FCMOV,        ZYDIS_ISA_SET_PENTIUMMMX,
        ZYDIS_ISA_SET_SSE,      ZYDIS_ISA_SET_SSE2,         ZYDIS_ISA_SET_SSE2MMX,
        ZYDIS_ISA_SET_SSEMXCSR, ZYDIS_ISA_SET_SSE_PREFETCH, ZYDIS_ISA_SET_FXSAVE,
        ZYDIS_ISA_SET_CLFSH,    ZYDIS_ISA_SET_PAUSE};
    ZydisDecoder d;
    ZydisDecodedInstruction z;
    struct x86_insn in;
    ZydisDecoderInit(&d, ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32);
    if (!ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(&d, NULL, code, 15, &z)) ||
        z.encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY)
        return;
    bool wanted = z.opcode >= 0xd8 && z.opcode <= 0xdf && z.meta.isa_set == ZYDIS_ISA_SET_PPRO;
    for (unsigned i = 0; i < ARRAY_LEN(sets); i++)
        wanted = wanted || z.meta.isa_set == sets[i];
    bool row = decode(code, &in);
    if (row && !wanted && execute(&in) == X86_UD)
        row = false; /* a newer instruction by the name of an older one */
    if (row != wanted)
        fail_msg("%s: row %d, wanted %d", ZydisMnemonicGetString(z.mnemonic), row, wanted);
}

static void rows_are_the_instruction_set(void **state)
{
    static const uint8_t prefixes[] = {0, 0x66, 0xf3, 0xf2};
    power_up(false);
    for (unsigned modrm = 0; modrm < 256; modrm++) {
        for (unsigned op = 0xd8; op < 0xe0; op++)
            check_row((uint8_t[15]){(uint8_t)op, (uint8_t)modrm});
        for (unsigned op = 0; op < 256; op++) {
            check_row((uint8_t[15]){0x0f, (uint8_t)op, (uint8_t)modrm});
            check_row((uint8_t[15]){0x66, 0x0f, 0x3a, (uint8_t)op, (uint8_t)modrm});
            for (unsigned p = 1; p < 4; p++)
                check_row((uint8_t[15]){prefixes[p], 0x0f, (uint8_t)op, (uint8_t)modrm});
        }
    }
    check_row((uint8_t[15]){0x9b});
    check_row((uint8_t[15]){0xf3, 0x90});
}

static void rows_are_unique(void **state)
{
    static bool seen[X86_MN_END];
    const struct x86_op *const tables[] = {x86_ops_x87, x86_ops_mmx, x86_ops_sse};
    for (unsigned i = 0; i < ARRAY_LEN(tables); i++)
        for (const struct x86_op *r = tables[i]; r->mnemonic; r++) {
            assert_false(seen[r->mnemonic]);
            assert_non_null(r->any);
            seen[r->mnemonic] = true;
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(x87_equals_host),
        cmocka_unit_test(x87_equals_host_by_slow_memory),
        cmocka_unit_test(simd_equals_host),
        cmocka_unit_test(simd_equals_host_by_slow_memory),
        cmocka_unit_test(rows_are_the_instruction_set),
        cmocka_unit_test(rows_are_unique),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
