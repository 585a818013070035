/* SPDX-License-Identifier: MIT */
/* A multiboot guest for the debugger's stub: counts in memory until somebody sets `leave`, then
 * exits with that code. The labels are what gdb.py reads from the symbol table. */
        .globl  _start, loop, store, after_store, counter, leave, divide, handler, idt_end
        .section .text
        .align  4
        .long   0x1badb002, 0, -0x1badb002

_start: mov     $stack_top, %esp
        mov     $handler, %eax
        mov     %ax, idt
        shr     $16, %eax
        mov     %ax, idt + 6
        mov     %cs, idt + 2
        lidt    idtr
        xor     %eax, %eax
        fninit
        fld1
loop:   inc     %eax
store:  mov     %eax, counter
after_store:
        mov     counter, %ecx
        cmpl    $0, divide
        je      1f
        xor     %ecx, %ecx
        div     %ecx
1:      mov     leave, %al
        test    %al, %al
        mov     counter, %eax
        jz      loop
        mov     leave, %al
        out     %al, $0xf4
        hlt

handler:
        movl    $0, divide
        addl    $2, (%esp)              /* behind the division */
        iret

        .align  8
idt:    .word   0, 0, 0x8e00, 0         /* vector 0 alone */
idt_end:
idtr:   .word   7
        .long   idt

counter:
        .long   0
leave:  .long   0
divide: .long   0
        .space  1024
stack_top:
