/* SPDX-License-Identifier: MIT */
/* Into translated code and out of it: see translate.h (both) for who lives where.
 *
 * Flags travel as lahf and seto give them and add and sahf take them, a fifth of the price of pushf
 * and popf. XMM registers are moved, x87 registers stay in the processor: C code here never uses
 * them. Interrupting signals are handled by address: up to enter_end nothing of the guest has
 * changed, so enter_abort can drop what was loaded; the way out is not worth interrupting. */
#include "isa/x86/translate_enter.h"

#include "ring3/translate.h"

/* Into v->gpr and v->cc; rax is lost. */
#define STORE_GPRS_AND_FLAGS                                                                       \
    "mov %%rax, %c[gpr]+0x00(%%r13)\n"                                                             \
    "lahf\n\tseto %%al\n\tmov %%ax, %c[cc](%%r13)\n"                                               \
    "mov %%rcx, %c[gpr]+0x08(%%r13)\n\tmov %%rdx, %c[gpr]+0x10(%%r13)\n"                           \
    "mov %%rbx, %c[gpr]+0x18(%%r13)\n\tmov %%r12, %c[gpr]+0x20(%%r13)\n"                           \
    "mov %%rbp, %c[gpr]+0x28(%%r13)\n\tmov %%rsi, %c[gpr]+0x30(%%r13)\n"                           \
    "mov %%rdi, %c[gpr]+0x38(%%r13)\n"

__attribute__((naked, noinline)) uint64_t x86_enter(struct vcpu *v, const void *code,
                                                    uintptr_t jump_table, uintptr_t reserve)
{
    __asm__ volatile(
        "push %%rbx\n\tpush %%rbp\n\tpush %%r12\n\tpush %%r13\n\tpush %%r14\n\tpush %%r15\n"
        "mov %%rdi, %%r13\n"
        ".globl x86_enter_begin\n x86_enter_begin:\n"
        "mov %c[attention](%%r13), %%eax\n"
        "test %%eax, %c[attn_mask](%%r13)\n"
        "jnz x86_enter_abort\n"
        "mov %%rsi, %%r10\n\tmov %%rdx, %%r14\n\tmov %%rcx, %%r11\n"
        "mov %c[view](%%r13), %%r15\n"
        "movaps %c[xmm]+0x00(%%r13), %%xmm0\n\tmovaps %c[xmm]+0x10(%%r13), %%xmm1\n"
        "movaps %c[xmm]+0x20(%%r13), %%xmm2\n\tmovaps %c[xmm]+0x30(%%r13), %%xmm3\n"
        "movaps %c[xmm]+0x40(%%r13), %%xmm4\n\tmovaps %c[xmm]+0x50(%%r13), %%xmm5\n"
        "movaps %c[xmm]+0x60(%%r13), %%xmm6\n\tmovaps %c[xmm]+0x70(%%r13), %%xmm7\n"
        "ldmxcsr %c[mxcsr](%%r13)\n"
        "mov %c[gpr]+0x08(%%r13), %%rcx\n\tmov %c[gpr]+0x10(%%r13), %%rdx\n"
        "mov %c[gpr]+0x18(%%r13), %%rbx\n\tmov %c[gpr]+0x20(%%r13), %%r12\n"
        "mov %c[gpr]+0x28(%%r13), %%rbp\n\tmov %c[gpr]+0x30(%%r13), %%rsi\n"
        "mov %c[gpr]+0x38(%%r13), %%rdi\n"
        "cmpl $0, %c[df](%%r13)\n\tje 1f\n\tstd\n"
        "1: movzwl %c[cc](%%r13), %%eax\n"
        "add $0x7f, %%al\n\tsahf\n" /* OF, then the rest */
        "mov %c[gpr](%%r13), %%rax\n"
        "jmp *%%r10\n"
        ".globl x86_enter_end\n x86_enter_end:\n"

        ".globl x86_exit\n x86_exit:\n"
        "mov %%r8, %c[eip](%%r13)\n"
        "jmp 2f\n"
        ".globl x86_fault_exit\n x86_fault_exit:\n"
        "mov %[fault], %%r10d\n"
        "2:\n" STORE_GPRS_AND_FLAGS "4:\n" /* registers are stored */
        "movaps %%xmm0, %c[xmm]+0x00(%%r13)\n\tmovaps %%xmm1, %c[xmm]+0x10(%%r13)\n"
        "movaps %%xmm2, %c[xmm]+0x20(%%r13)\n\tmovaps %%xmm3, %c[xmm]+0x30(%%r13)\n"
        "movaps %%xmm4, %c[xmm]+0x40(%%r13)\n\tmovaps %%xmm5, %c[xmm]+0x50(%%r13)\n"
        "movaps %%xmm6, %c[xmm]+0x60(%%r13)\n\tmovaps %%xmm7, %c[xmm]+0x70(%%r13)\n"
        "stmxcsr %c[mxcsr](%%r13)\n"
        "mov %%r9d, %%eax\n\tshl $32, %%r10\n\tor %%r10, %%rax\n"
        "3: cld\n\tldmxcsr x86_host_mxcsr(%%rip)\n"
        "pop %%r15\n\tpop %%r14\n\tpop %%r13\n\tpop %%r12\n\tpop %%rbp\n\tpop %%rbx\n\tret\n"

        ".globl x86_enter_abort\n x86_enter_abort:\n"
        "mov %[aborted], %%eax\n\tshl $32, %%rax\n\tjmp 3b\n"

        /* A call from generated code: r8d pc, r9d argument of a DBT_EXIT_EMULATE | function << 16
         * | length << 24, r10d operand. XMM registers stay where they are. */
        ".globl x86_callout\n x86_callout:\n" STORE_GPRS_AND_FLAGS "mov %%r8, %c[eip](%%r13)\n"
        "cmpl $0, %c[df](%%r13)\n\tjne 6f\n" /* C wants DF clear */
        "push %%r9\n\tpush %%r11\n"
        "mov %%r9d, %%eax\n\tshr $16, %%eax\n\tmovzbl %%al, %%eax\n"
        "mov %%r13, %%rdi\n\tmov %%r10d, %%esi\n"
        "lea x86_callouts(%%rip), %%r10\n\tcall *(%%r10,%%rax,8)\n"
        "pop %%r11\n\tpop %%r9\n"
        "test %%al, %%al\n\tje 6f\n"
        "shr $24, %%r9d\n\tadd %%r9d, %c[eip](%%r13)\n"
        ".globl x86_callout_begin\n x86_callout_begin:\n"
        "mov %c[attention](%%r13), %%eax\n"
        "test %%eax, %c[attn_mask](%%r13)\n"
        "jnz x86_callout_leave\n"
        "mov %c[gpr]+0x08(%%r13), %%rcx\n\tmov %c[gpr]+0x10(%%r13), %%rdx\n"
        "mov %c[gpr]+0x30(%%r13), %%rsi\n\tmov %c[gpr]+0x38(%%r13), %%rdi\n"
        "mov %c[gpr]+0x20(%%r13), %%r12\n"
        "movzwl %c[cc](%%r13), %%eax\n"
        "add $0x7f, %%al\n\tsahf\n"
        "mov %c[gpr](%%r13), %%rax\n"
        "ret\n"
        ".globl x86_callout_end\n x86_callout_end:\n"
        ".globl x86_callout_leave\n x86_callout_leave:\n"
        "mov %[attend], %%r10d\n\txor %%r9d, %%r9d\n"
        "add $8, %%rsp\n\tjmp 4b\n"
        "6: mov %[emulate], %%r10d\n\tmovzwl %%r9w, %%r9d\n"
        "add $8, %%rsp\n\tjmp 4b\n"
        ".balign 4\n x86_host_mxcsr: .long 0x1f80\n"
        :
        : [attention] "i"(offsetof(struct x86_vcpu, base.attention)),
          [attn_mask] "i"(offsetof(struct x86_vcpu, attn_mask)),
          [view] "i"(offsetof(struct x86_vcpu, gen.view)),
          [xmm] "i"(offsetof(struct x86_vcpu, fx.xmm)),
          [mxcsr] "i"(offsetof(struct x86_vcpu, fx.mxcsr)),
          [gpr] "i"(offsetof(struct x86_vcpu, gpr)), [cc] "i"(offsetof(struct x86_vcpu, cc)),
          [df] "i"(offsetof(struct x86_vcpu, df_flag)), [eip] "i"(offsetof(struct x86_vcpu, eip)),
          [fault] "i"(DBT_EXIT_FAULT), [aborted] "i"(DBT_EXIT_ABORTED),
          [attend] "i"(DBT_EXIT_ATTENTION), [emulate] "i"(DBT_EXIT_EMULATE));
}
