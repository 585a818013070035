/* SPDX-License-Identifier: MIT */
/* Entry of a test guest, exception stubs, and the two transitions everything rests on:
 *
 *   cpu_enter(c)   loads a whole processor context (any ring, v8086, 16-bit) by IRET
 *   trap stubs     whatever event ends it comes here, is recorded, and cpu_enter returns
 *
 * A stub runs on the stack the processor chose. If that is not the flat kernel stack segment, it
 * moves to odd_stack first and tells trap_entry where the frame really is.
 * Multiboot 1 specification; Intel SDM vol. 3A 6.12. */

    .section .multiboot, "a"
    .align 4
    .long 0x1badb002, 3, -(0x1badb002 + 3) /* page-aligned modules, memory map */

    .text
    .globl start
start:
    mov $boot_stack_top, %esp
    push $0
    popf
    mov %eax, boot_magic
    mov %ebx, boot_info
    call lib_start
1:  hlt
    jmp 1b

/* void cpu_enter(struct cpu *c): offsets are those of struct cpu in lib.h. */
    .globl cpu_enter
cpu_enter:
    pushf
    push %ebx
    push %esi
    push %edi
    push %ebp
    mov 20(%esp), %edx /* return address, then c */
    mov 24(%esp), %edx
    mov %esp, enter_esp
    testl $0x20000, 36(%edx)
    jnz 2f
    testl $3, 40(%edx)
    jz 1f
    push 44(%edx) /* outer ring: ss, esp */
    push 16(%edx)
    jmp 3f
1:  mov 44(%edx), %ss /* ring 0: take the stack now, IRET will not */
    mov 16(%edx), %esp
    jmp 3f
2:  push 60(%edx) /* v8086: gs, fs, ds, es, ss, esp */
    push 56(%edx)
    push 48(%edx)
    push 52(%edx)
    push 44(%edx)
    push 16(%edx)
    push 36(%edx)
    push 40(%edx)
    push 32(%edx)
    jmp 4f
3:  push 36(%edx)
    push 40(%edx)
    push 32(%edx)
    mov 52(%edx), %es
    mov 56(%edx), %fs
    mov 60(%edx), %gs
4:  mov 0(%edx), %eax
    mov 4(%edx), %ecx
    mov 12(%edx), %ebx
    mov 20(%edx), %ebp
    mov 24(%edx), %esi
    mov 28(%edx), %edi
    testl $0x20000, 36(%edx)
    jnz 5f
    push 48(%edx)
    mov 8(%edx), %edx
    pop %ds
    .globl cpu_enter_iret
cpu_enter_iret:
    iret
5:  mov 8(%edx), %edx
    iret

/* Back in cpu_enter's caller, from trap_entry. */
    .globl cpu_leave
cpu_leave:
    mov enter_esp, %esp
    pop %ebp
    pop %edi
    pop %esi
    pop %ebx
    popf
    ret

/* 256 stubs of 16 bytes, then 32 more without an error code for "int n" of error vectors. */
    .macro stub vector, dummy
    .align 16
    .if \dummy
    push $0
    .endif
    push $\vector
    jmp trap_common
    .endm
    .macro has_error vector
    .if (\vector == 8) || ((\vector >= 10) && (\vector <= 14)) || (\vector == 17)
    stub \vector, 0
    .else
    stub \vector, 1
    .endif
    .endm

    .align 16
    .globl trap_stubs
trap_stubs:
    .set n, 0
    .rept 256
    has_error n
    .set n, n + 1
    .endr
    .align 16
    .globl trap_stubs_no_error
trap_stubs_no_error:
    .set n, 0
    .rept 32
    stub n, 1
    .set n, n + 1
    .endr

trap_common:
    pusha
    push %ds
    push %es
    push %fs
    push %gs
    cld
    mov $0x10, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %fs
    mov %eax, %gs
    mov %ss, %ebx
    mov %esp, %esi
    cmp $0x10, %bx
    je 1f
    mov %eax, %ss
    mov $odd_stack_top, %esp
1:  push %esi
    push %ebx
    call trap_entry /* returns only if a hook took the event */
    mov %ebx, %ss
    mov %esi, %esp
    pop %gs
    pop %fs
    pop %es
    pop %ds
    popa
    add $8, %esp
    iret

    .bss
    .align 16
    .skip 16384
boot_stack_top:
    .skip 8192
    .globl odd_stack_top
odd_stack_top:
    .skip 8192
    .globl trap_stack_top
trap_stack_top:
    .skip 8192
    .globl frag_stack_top
frag_stack_top:
    .skip 256 /* room above for tests that look there */
    .globl enter_esp, boot_magic, boot_info
enter_esp: .long 0
boot_magic: .long 0
boot_info: .long 0
    .section .note.GNU-stack, "", @progbits
