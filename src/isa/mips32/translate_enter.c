/* SPDX-License-Identifier: MIT */
/* Into translated code and out of it: translate.h says which guest register is where.
 *
 * Interrupting signals are handled by address: up to enter_end nothing of the guest has changed, so
 * enter_abort can drop what was loaded; the way out is not worth interrupting. A call-out looks at
 * attention before it goes back into the code, and a signal from there on makes it leave. */
#include "isa/mips32/translate.h"

#define STORE_GPRS                                                                                 \
    "mov %%eax, %c[gpr]+2*4(%%r13)\n\tmov %%ecx, %c[gpr]+3*4(%%r13)\n"                             \
    "mov %%edx, %c[gpr]+4*4(%%r13)\n\tmov %%ebx, %c[gpr]+5*4(%%r13)\n"                             \
    "mov %%ebp, %c[gpr]+6*4(%%r13)\n\tmov %%esi, %c[gpr]+7*4(%%r13)\n"                             \
    "mov %%edi, %c[gpr]+16*4(%%r13)\n\tmov %%r12d, %c[gpr]+29*4(%%r13)\n"
#define LOAD_GPRS                                                                                  \
    "mov %c[gpr]+2*4(%%r13), %%eax\n\tmov %c[gpr]+3*4(%%r13), %%ecx\n"                             \
    "mov %c[gpr]+4*4(%%r13), %%edx\n\tmov %c[gpr]+5*4(%%r13), %%ebx\n"                             \
    "mov %c[gpr]+6*4(%%r13), %%ebp\n\tmov %c[gpr]+7*4(%%r13), %%esi\n"                             \
    "mov %c[gpr]+16*4(%%r13), %%edi\n\tmov %c[gpr]+29*4(%%r13), %%r12d\n"

__attribute__((naked, noinline)) uint64_t mips32_enter(struct vcpu *v, const void *code,
                                                       uintptr_t jump_table, uintptr_t reserve)
{
    __asm__ volatile(
        "push %%rbx\n\tpush %%rbp\n\tpush %%r12\n\tpush %%r13\n\tpush %%r14\n\tpush %%r15\n"
        "mov %%rdi, %%r13\n"
        ".globl mips32_enter_begin\n mips32_enter_begin:\n"
        "mov %c[attention](%%r13), %%eax\n"
        "test %%eax, %c[attn_mask](%%r13)\n"
        "jnz mips32_enter_abort\n"
        "mov %%rsi, %%r10\n\tmov %%rdx, %%r14\n\tmov %%rcx, %%r11\n"
        "mov %c[view](%%r13), %%r15\n\tldmxcsr %c[csr](%%r13)\n" LOAD_GPRS "jmp *%%r10\n"
        ".globl mips32_enter_end\n mips32_enter_end:\n"

        ".globl mips32_exit\n mips32_exit:\n"
        "mov %%r8d, %c[pc](%%r13)\n"
        "jmp 2f\n"
        ".globl mips32_fault_exit\n mips32_fault_exit:\n"
        "mov %[fault], %%r10d\n"
        "2:\n" STORE_GPRS "stmxcsr %c[csr](%%r13)\n"
        "4:\n" /* registers are stored */
        "mov %%r9d, %%eax\n\tshl $32, %%r10\n\tor %%r10, %%rax\n"
        "3: ldmxcsr mips32_host_mxcsr(%%rip)\n"
        "pop %%r15\n\tpop %%r14\n\tpop %%r13\n\tpop %%r12\n\tpop %%rbp\n\tpop %%rbx\n\tret\n"

        ".globl mips32_enter_abort\n mips32_enter_abort:\n"
        "mov %[aborted], %%eax\n\tshl $32, %%rax\n\tjmp 3b\n"

        /* A call from generated code: r8d pc, r9d row, r10d instruction. */
        ".globl mips32_callout\n mips32_callout:\n" STORE_GPRS "mov %%r8d, %c[pc](%%r13)\n"
        "stmxcsr %c[csr](%%r13)\n\tldmxcsr mips32_host_mxcsr(%%rip)\n"
        "push %%r11\n\tsub $8, %%rsp\n"
        "mov %%r13, %%rdi\n\tmov %%r9d, %%esi\n\tmov %%r10d, %%edx\n"
        "call mips32_run_callout@PLT\n"
        "add $8, %%rsp\n\tpop %%r11\n"
        "mov %[miss], %%r10d\n"
        "cmp %[next], %%eax\n\tjne 5f\n"
        ".globl mips32_callout_begin\n mips32_callout_begin:\n"
        "mov %c[attention](%%r13), %%eax\n"
        "test %%eax, %c[attn_mask](%%r13)\n"
        "jnz mips32_callout_leave\n"
        "ldmxcsr %c[csr](%%r13)\n" LOAD_GPRS "ret\n"
        ".globl mips32_callout_end\n mips32_callout_end:\n"
        ".globl mips32_callout_leave\n mips32_callout_leave:\n"
        "mov %[attend], %%r10d\n"
        "5: xor %%r9d, %%r9d\n\tadd $8, %%rsp\n\tjmp 4b\n"
        ".balign 4\n mips32_host_mxcsr: .long 0x1f80\n"
        :
        : [attention] "i"(offsetof(struct mips32_vcpu, base.attention)),
          [attn_mask] "i"(offsetof(struct mips32_vcpu, attn_mask)),
          [csr] "i"(offsetof(struct mips32_vcpu, gen.csr)),
          [view] "i"(offsetof(struct mips32_vcpu, gen.view)),
          [gpr] "i"(offsetof(struct mips32_vcpu, gpr)), [pc] "i"(offsetof(struct mips32_vcpu, pc)),
          [fault] "i"(DBT_EXIT_FAULT), [aborted] "i"(DBT_EXIT_ABORTED), [miss] "i"(DBT_EXIT_MISS),
          [attend] "i"(DBT_EXIT_ATTENTION), [next] "i"(MIPS32_CALLOUT_NEXT));
}
