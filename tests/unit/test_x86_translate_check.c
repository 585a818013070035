/* SPDX-License-Identifier: MIT */
/* --dbt check finds every instruction that generated code must not contain, wherever it is planted,
 * and finds no fault with what is copied and written on purpose. That all golden translations pass
 * is tested with them. */
#include "unit.h"

#include "isa/x86/translate.h"

/* clang-format off */
struct row {
    const char *what;
    uint8_t len, bytes[15];
};
#define ROW(what, ...) {what, sizeof((uint8_t[]){__VA_ARGS__}), {__VA_ARGS__}}

static const struct row forbidden[] = {
    /* sensitive and not privileged (Robin and Irvine's list for i386) */
    ROW("sgdt [r9+r8]", 0x43, 0x0f, 0x01, 0x04, 0x01), ROW("sidt [rax]", 0x0f, 0x01, 0x08),
    ROW("sldt eax", 0x0f, 0x00, 0xc0), ROW("str eax", 0x0f, 0x00, 0xc8),
    ROW("smsw eax", 0x0f, 0x01, 0xe0), ROW("popfq", 0x9d), ROW("popf", 0x66, 0x9d),
    ROW("pushf", 0x66, 0x9c), ROW("lar", 0x0f, 0x02, 0xc3), ROW("lsl", 0x0f, 0x03, 0xc3),
    ROW("verr", 0x0f, 0x00, 0xe0), ROW("verw", 0x0f, 0x00, 0xe8),
    ROW("pop fs", 0x0f, 0xa1), ROW("pop gs", 0x0f, 0xa9), ROW("push fs", 0x0f, 0xa0),
    ROW("push gs", 0x0f, 0xa8), ROW("mov ds, eax", 0x8e, 0xd8), ROW("mov gs, [rax]", 0x8e, 0x28),
    ROW("mov eax, cs", 0x8c, 0xc8), ROW("mov [rax], ss", 0x8c, 0x10),
    ROW("call far [rax]", 0xff, 0x18), ROW("jmp far [rax]", 0xff, 0x28),
    ROW("jmp far [r9+r8]", 0x43, 0xff, 0x2c, 0x01), ROW("int 80", 0xcd, 0x80), ROW("int3", 0xcc),
    ROW("int1", 0xf1), ROW("retf", 0xcb), ROW("retf 4", 0xca, 4, 0), ROW("iret", 0xcf),
    ROW("iretq", 0x48, 0xcf), ROW("lfs", 0x0f, 0xb4, 0x00), ROW("lgs", 0x0f, 0xb5, 0x00),
    ROW("lss", 0x0f, 0xb2, 0x00),
    /* privileged */
    ROW("hlt", 0xf4), ROW("cli", 0xfa), ROW("sti", 0xfb), ROW("in al, dx", 0xec),
    ROW("in eax, 60", 0xe5, 0x60), ROW("out dx, al", 0xee), ROW("insb", 0x6c),
    ROW("rep outsd", 0xf3, 0x6f), ROW("lgdt", 0x0f, 0x01, 0x10), ROW("lidt", 0x0f, 0x01, 0x18),
    ROW("lldt", 0x0f, 0x00, 0xd0), ROW("ltr", 0x0f, 0x00, 0xd8), ROW("lmsw", 0x0f, 0x01, 0xf0),
    ROW("invlpg", 0x0f, 0x01, 0x38), ROW("clts", 0x0f, 0x06), ROW("invd", 0x0f, 0x08),
    ROW("wbinvd", 0x0f, 0x09), ROW("rdmsr", 0x0f, 0x32), ROW("wrmsr", 0x0f, 0x30),
    ROW("mov rax, cr0", 0x0f, 0x20, 0xc0), ROW("mov cr3, rax", 0x0f, 0x22, 0xd8),
    ROW("mov rax, dr7", 0x0f, 0x21, 0xf8), ROW("mov dr0, rax", 0x0f, 0x23, 0xc0),
    ROW("swapgs", 0x0f, 0x01, 0xf8), ROW("rdpmc", 0x0f, 0x33),
    /* ways into the host's kernel or hypervisor */
    ROW("syscall", 0x0f, 0x05), ROW("sysret", 0x0f, 0x07), ROW("sysenter", 0x0f, 0x34),
    ROW("sysexit", 0x0f, 0x35), ROW("vmcall", 0x0f, 0x01, 0xc1), ROW("vmmcall", 0x0f, 0x01, 0xd9),
    ROW("vmfunc", 0x0f, 0x01, 0xd4), ROW("encls", 0x0f, 0x01, 0xcf), ROW("enclu", 0x0f, 0x01, 0xd7),
    ROW("ud2", 0x0f, 0x0b),
    /* what the host would answer, and ways out of the window */
    ROW("cpuid", 0x0f, 0xa2), ROW("rdtsc", 0x0f, 0x31), ROW("rdtscp", 0x0f, 0x01, 0xf9),
    ROW("rdpid", 0xf3, 0x0f, 0xc7, 0xf8), ROW("rdrand", 0x0f, 0xc7, 0xf0),
    ROW("rdseed", 0x0f, 0xc7, 0xf8), ROW("xgetbv", 0x0f, 0x01, 0xd0),
    ROW("xsetbv", 0x0f, 0x01, 0xd1), ROW("rdpkru", 0x0f, 0x01, 0xee),
    ROW("wrpkru", 0x0f, 0x01, 0xef), ROW("rdfsbase", 0xf3, 0x0f, 0xae, 0xc0),
    ROW("rdgsbase", 0xf3, 0x0f, 0xae, 0xc8), ROW("wrfsbase", 0xf3, 0x0f, 0xae, 0xd0),
    ROW("wrgsbase", 0xf3, 0x0f, 0xae, 0xd8), ROW("wrgsbase rax", 0xf3, 0x48, 0x0f, 0xae, 0xd8),
    ROW("movdir64b", 0x66, 0x0f, 0x38, 0xf8, 0x00), ROW("movdiri", 0x0f, 0x38, 0xf9, 0x00),
    ROW("enqcmd", 0xf2, 0x0f, 0x38, 0xf8, 0x00), ROW("monitor", 0x0f, 0x01, 0xc8),
    ROW("mwait", 0x0f, 0x01, 0xc9), ROW("umwait", 0xf2, 0x0f, 0xae, 0xf0),
    ROW("xbegin", 0xc7, 0xf8, 0, 0, 0, 0), ROW("xsave", 0x0f, 0xae, 0x20),
    ROW("xrstor", 0x0f, 0xae, 0x28), ROW("fxsave", 0x0f, 0xae, 0x00),
    ROW("fxrstor", 0x0f, 0xae, 0x08), ROW("ldmxcsr", 0x0f, 0xae, 0x10),
    ROW("fnsave", 0xdd, 0x30), ROW("fldenv", 0xd9, 0x20), ROW("maskmovdqu", 0x66, 0x0f, 0xf7, 0xc1),
    ROW("clui", 0xf3, 0x0f, 0x01, 0xee), ROW("rdsspq", 0xf3, 0x48, 0x0f, 0x1e, 0xc8),
    /* what means something else than in the guest */
    ROW("tzcnt", 0xf3, 0x0f, 0xbc, 0xc3), ROW("lzcnt", 0xf3, 0x0f, 0xbd, 0xc3),
    ROW("vmovaps", 0xc5, 0xf8, 0x28, 0xc1), ROW("vaddps zmm", 0x62, 0xf1, 0x7c, 0x48, 0x58, 0xc1),
    ROW("pext", 0xc4, 0xe2, 0xe2, 0xf5, 0xc1), ROW("pshufb", 0x0f, 0x38, 0x00, 0xc1),
    /* control flow that leaves for where the guest says */
    ROW("jmp rax", 0xff, 0xe0), ROW("jmp [rax]", 0xff, 0x20), ROW("jmp r8", 0x41, 0xff, 0xe0),
    ROW("call rax", 0xff, 0xd0), ROW("call [rax]", 0xff, 0x10), ROW("call [r13+0]", 0x41, 0xff, 0x55, 0),
    ROW("call rel32", 0xe8, 0, 0, 0, 0), ROW("ret", 0xc3), ROW("ret 4", 0xc2, 4, 0),
    ROW("jmp by 66", 0x66, 0xe9, 0, 0, 0, 0), ROW("jz by 66", 0x66, 0x74, 0),
    /* the monitor's registers */
    ROW("mov rsp, rax", 0x48, 0x89, 0xc4), ROW("mov esp, eax", 0x89, 0xc4),
    ROW("add esp, 4", 0x83, 0xc4, 4), ROW("mov spl, al", 0x40, 0x88, 0xc4),
    ROW("xchg rsp, rax", 0x48, 0x94), ROW("mov r11, rax", 0x49, 0x89, 0xc3),
    ROW("mov r13d, eax", 0x41, 0x89, 0xc5), ROW("xor r14w, ax", 0x66, 0x41, 0x31, 0xc6),
    ROW("lea r15, [rax]", 0x4c, 0x8d, 0x38), ROW("pop rax", 0x58), ROW("pop rsp", 0x5c),
    ROW("pop [rax]", 0x8f, 0x00), ROW("push rax", 0x50), ROW("leave", 0xc9), ROW("enter", 0xc8, 0, 0, 0),
    /* no instruction */
    ROW("06", 0x06), ROW("cut short", 0x0f),
};

static const struct row allowed[] = {
    ROW("mov eax, gs:[ebx]", 0x65, 0x67, 0x8b, 0x03), ROW("push eax", 0x65, 0x67, 0x41, 0x89, 0x44, 0x24, 0xfc),
    ROW("lea r12d, [r12-4]", 0x45, 0x8d, 0x64, 0x24, 0xfc), ROW("inc r12d", 0x41, 0xff, 0xc4),
    ROW("mov ah, bh", 0x88, 0xfc), ROW("add ah, 4", 0x80, 0xc4, 4), ROW("pushfq", 0x9c),
    ROW("pop r10", 0x41, 0x5a), ROW("cld", 0xfc), ROW("std", 0xfd), ROW("rep movsd", 0xf3, 0xa5),
    ROW("repne scasb", 0xf2, 0xae), ROW("lahf", 0x9f), ROW("sahf", 0x9e), ROW("cmc", 0xf5),
    ROW("jmp r9", 0x41, 0xff, 0xe1), ROW("jmp rel32", 0xe9, 0, 0, 0, 0), ROW("jz", 0x0f, 0x84, 0, 0, 0, 0),
    ROW("jrcxz", 0xe3, 0), ROW("loop by ecx", 0x67, 0xe2, 2), ROW("shrx r9, r8, r15", 0xc4, 0x42, 0x83, 0xf7, 0xc8),
    ROW("movsd xmm1, gs:[ebx]", 0x65, 0x67, 0xf2, 0x0f, 0x10, 0x0b), ROW("movd xmm8, r8d", 0x66, 0x45, 0x0f, 0x6e, 0xc0),
    ROW("psrld xmm8, 12", 0x66, 0x41, 0x0f, 0x72, 0xd0, 12), ROW("fld1", 0xd9, 0xe8), ROW("emms", 0x0f, 0x77),
    ROW("lock add", 0x65, 0x67, 0xf0, 0x01, 0x03), ROW("pause", 0xf3, 0x90), ROW("mul ecx", 0xf7, 0xe1),
    ROW("cmpxchg8b", 0x65, 0x67, 0x0f, 0xc7, 0x0b), ROW("sfence", 0x0f, 0xae, 0xf8),
    ROW("mov [r13], r9", 0x4d, 0x89, 0x4d, 0), ROW("mov r10, [r15+r9*8]", 0x4f, 0x8b, 0x14, 0xcf),
};
/* clang-format on */

/* The only call: through the field that holds the address of x86_callout. */
static unsigned put_callout(uint8_t *at)
{
    struct x64 e = {at};
    x64_op_mem(&e, X64_OP(0xff), 2, X86_STATE(gen.callout));
    return (unsigned)(e.at - at);
}

static unsigned put_ordinary(uint8_t *code)
{
    unsigned n = 0;
    for (unsigned i = 0; i < ARRAY_LEN(allowed); i++) {
        memcpy(code + n, allowed[i].bytes, allowed[i].len);
        n += allowed[i].len;
    }
    return n + put_callout(code + n);
}

static void ordinary_code_passes(void **state)
{
    uint8_t code[512] = {0};
    assert_int_equal(x86_find_sensitive(code, 0), -1);
    for (unsigned i = 0; i < ARRAY_LEN(allowed); i++)
        if (x86_find_sensitive(allowed[i].bytes, allowed[i].len) >= 0)
            fail_msg("%s is found", allowed[i].what);
    unsigned n = put_ordinary(code);
    assert_int_equal(x86_find_sensitive(code, n), -1);
}

static void planted_instructions_are_found(void **state)
{
    for (unsigned i = 0; i < ARRAY_LEN(forbidden); i++) {
        const struct row *r = &forbidden[i];
        uint8_t code[1100];
        unsigned n = put_ordinary(code), len = n + r->len;
        memcpy(code + n, r->bytes, r->len);
        if (strcmp(r->what, "cut short") != 0)
            len += put_ordinary(code + len);
        if (x86_find_sensitive(code, len) != (int64_t)n)
            fail_msg("%s is not found", r->what);
        if (x86_find_sensitive(r->bytes, r->len) != 0)
            fail_msg("%s is not found alone", r->what);
    }
}

/* What no row allows to be copied is found, unless it is glue: over all opcodes, so that it is the
 * list of what is allowed that decides. */
static void only_copied_rows_pass(void **state)
{
    struct x86_decoder *d = x86_decoder_new(NULL);
    ZydisDecoder host;
    ZydisDecoderInit(&host, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    unsigned found = 0, passed = 0;
    for (unsigned op = 0; op < 0x200; op++)
        for (unsigned modrm = 0; modrm < 256; modrm++) {
            uint8_t code[16] = {0x0f};
            code[op >> 8] = (uint8_t)op;
            code[(op >> 8) + 1] = (uint8_t)modrm;
            ZydisDecodedInstruction z;
            ZydisDecodedOperand o[ZYDIS_MAX_OPERAND_COUNT];
            if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&host, code, 15, &z, o)))
                continue;
            bool pass = x86_find_sensitive(code, z.length) < 0;
            const struct x86_op *row = x86_op_row(d, z.mnemonic);
            unsigned bad = X86_PRIVILEGED | X86_CONTROL_SENSITIVE | X86_BEHAVIOUR_SENSITIVE;
            if (pass && (z.attributes & ZYDIS_ATTRIB_IS_PRIVILEGED || (row && row->class & bad)))
                fail_msg("%s passes", ZydisMnemonicGetString(z.mnemonic));
            found += !pass;
            passed += pass;
        }
    x86_decoder_free(d);
    assert_true(found > 5000 && passed > 30000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ordinary_code_passes),
        cmocka_unit_test(planted_instructions_are_found),
        cmocka_unit_test(only_copied_rows_pass),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
