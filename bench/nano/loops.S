/* SPDX-License-Identifier: MIT */
/* The measured loops of the nanobenchmarks and their lean kernel entries. Everything that is not
 * the operation itself is kept out of the loops: a counter, a branch, and in the entries the
 * increment that proves they ran. Called from nano.c as void f(u32 n) unless told otherwise. */

    .macro loop name
    .p2align 6
    .globl \name
\name:
    push %ebx
    push %esi
    push %edi
    push %ebp
    mov 20(%esp), %ecx
    xor %eax, %eax
    .p2align 4
9:
    .endm
    .macro end_loop
    dec %ecx
    jnz 9b
    pop %ebp
    pop %edi
    pop %esi
    pop %ebx
    ret
    .endm

    .text
loop loop_empty
end_loop

/* ---- ports: return the sum of what was read --------------------------------------------------- */

loop loop_in_device
    in $0x21, %al
    movzbl %al, %eax
    add %eax, port_sum
end_loop

loop loop_in_absent
    mov $0x2f0, %edx
    in %dx, %al
    movzbl %al, %eax
    add %eax, port_sum
end_loop

/* ---- interrupt masks -------------------------------------------------------------------------- */

loop loop_cli_sti
    cli
    sti
end_loop

loop loop_save_restore
    pushf
    cli
    popf
end_loop

loop loop_pic_mask
    mov %cl, %al
    or $1, %al /* the timer stays masked */
    out %al, $0x21
end_loop

/* ---- calls ------------------------------------------------------------------------------------ */

loop loop_call_ret
    call callee_near
end_loop
callee_near:
    incl calls
    ret

loop loop_call_ret_pages
    call callee_page
end_loop

loop loop_call_ret_indirect
    mov $callee_page, %edx
    call *%edx
end_loop

/* ---- traps ------------------------------------------------------------------------------------ */

/* One page after the other, from 20(%esp) on: f(n, first address). */
loop loop_pgfault
    mov 24(%esp), %edx
    mov %ecx, %eax
    shl $12, %eax
    movb $1, -4096(%edx, %eax)
end_loop

loop loop_divzero
    xor %edx, %edx
    mov $7, %eax
    div %edx
end_loop

/* ---- page-table changes ----------------------------------------------------------------------- */

/* A software bit of an entry nobody uses meanwhile. */
loop loop_ptemod_plain
    xorl $0x200, nano_pte
end_loop

loop loop_ptemod_invlpg
    xorl $0x200, nano_pte
    invlpg NANO_LINEAR
end_loop

/* The entry moves between two frames (one address bit apart), and is used in between. */
loop loop_ptemod_used
    xorl $0x1000, nano_pte
    invlpg NANO_LINEAR
    mov NANO_LINEAR, %eax
    add %eax, frame_sum
    incl NANO_LINEAR + 4
end_loop

/* ---- user mode: n in %esi, ends by int $0x81 ---------------------------------------------------- */

    .p2align 6
    .globl user_int80, user_sysenter
user_int80:
    int $0x80
    dec %esi
    jnz user_int80
    int $0x81

    .p2align 6
user_sysenter:
    mov $1f, %edx
    mov %esp, %ecx
    sysenter
1:  dec %esi
    jnz user_sysenter
    int $0x81

/* ---- kernel entries --------------------------------------------------------------------------- */

    .p2align 4
    .globl entry_int80, entry_sysenter, entry_fault, entry_divide, entry_irq0
entry_int80:
    incl entries
    iret

    .p2align 4
entry_sysenter:
    incl entries
    sysexit

    .p2align 4
entry_fault:
    push %eax
    mov %cr2, %eax
    shr $12, %eax
    orl $1, nano_page_tables(, %eax, 4) /* its index counts from linear address 0 */
    incl entries
    pop %eax
    add $4, %esp
    iret

    .p2align 4
entry_divide:
    addl $2, (%esp)
    incl entries
    iret

    .p2align 4
entry_irq0:
    push %eax
    mov $0x20, %al
    out %al, $0x20
    incl entries
    pop %eax
    iret

    .p2align 12
callee_page:
    incl calls
    ret
    .p2align 12

    .section .note.GNU-stack, "", @progbits
