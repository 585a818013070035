/* SPDX-License-Identifier: MIT */
/* A multiboot guest for tests of the command line. It greets on the first serial port, then does
 * what its command line asks for with do=X:
 *
 *   o  power off through ACPI        3  debug exit with code 3      r  reset (8042)
 *   p  prompt without newline, halt  t  triple fault                s  spin
 *   e  echo; q powers off            f  endless output              b  200,000 bytes, power off
 *   i  idle for ever, timer 100 Hz   k  50 timer ticks, power off   m  write memory-mapped space
 *
 * Assembled with `as --32`, linked at 1 MiB. */
        .equ    COM1, 0x3f8
        .equ    PM1_CONTROL, 0x604
        .equ    DEBUG_EXIT, 0xf4

        .macro  row key, label
        .byte   \key
        .long   \label
        .endm
        .macro  put value, port
        mov     $\value, %al
        out     %al, $\port
        .endm

        .section .text
        .globl  _start
        .align  4
        .long   0x1badb002, 0, -0x1badb002      /* multiboot header, no wishes */

_start: mov     $stack_top, %esp
        mov     16(%ebx), %edi                  /* multiboot information: command line */
        mov     $greeting, %esi
        call    puts
find:   mov     (%edi), %al                     /* look for "do=" */
        test    %al, %al
        jz      power_off
        inc     %edi
        cmp     $'d', %al
        jne     find
        cmpw    $0x3d6f, (%edi)                 /* "o=" */
        jne     find
        mov     2(%edi), %al
        mov     $table, %esi
next:   cmpb    $0, (%esi)
        je      power_off
        cmp     (%esi), %al
        je      found
        add     $5, %esi
        jmp     next
found:  jmp     *1(%esi)

table:
        row     'o', power_off
        row     '3', exit_three
        row     'r', reset
        row     'p', prompt
        row     't', triple
        row     's', spin
        row     'e', echo
        row     'f', flood
        row     'b', bulk
        row     'i', idle
        row     'k', ticks
        row     'm', mmio
        .byte   0

power_off:
        mov     $PM1_CONTROL, %dx
        mov     $0x2000, %ax                    /* SLP_EN, S5 */
        out     %ax, %dx
        jmp     halt
exit_three:
        mov     $3, %al
        out     %al, $DEBUG_EXIT
halt:   cli
        hlt
        jmp     halt
reset:  mov     $0xfe, %al
        out     %al, $0x64
        jmp     halt
prompt: mov     $login, %esi
        call    puts
        jmp     halt
triple: lidt    empty_idt
        int3
spin:   jmp     spin

echo:   mov     $COM1 + 5, %dx
        in      %dx, %al
        test    $1, %al
        jz      echo
        mov     $COM1, %dx
        in      %dx, %al
        call    putc
        cmp     $'q', %al
        je      power_off
        jmp     echo

flood:  mov     $greeting, %esi
        call    puts
        jmp     flood

/* 4000 lines of 50 bytes: 48 letters that move on from line to line, CR LF */
bulk:   mov     $4000, %ebp
        xor     %ecx, %ecx
1:      mov     $48, %edi
2:      mov     %cl, %al
        and     $15, %al
        add     $'a', %al
        call    putc
        inc     %ecx
        dec     %edi
        jnz     2b
        inc     %ecx
        mov     $'\r', %al
        call    putc
        mov     $'\n', %al
        call    putc
        dec     %ebp
        jnz     1b
        jmp     power_off

mmio:   movl    $0x12345678, 0xc0001000
        jmp     power_off

idle:   call    start_timer
1:      hlt
        jmp     1b
ticks:  call    start_timer
1:      hlt
        cmpl    $50, tick_count
        jb      1b
        cli
        jmp     power_off

/* Interrupt 0 at vector 0x20, 100 Hz, everything else masked. */
start_timer:
        mov     $on_tick, %eax
        mov     $idt + 0x20 * 8, %edi
        mov     %ax, (%edi)
        mov     %cs, %cx
        mov     %cx, 2(%edi)
        movw    $0x8e00, 4(%edi)
        shr     $16, %eax
        mov     %ax, 6(%edi)
        lidt    idt_pointer
        put     0x11, 0x20                      /* both controllers: cascade, edge, ICW4 */
        put     0x11, 0xa0
        put     0x20, 0x21
        put     0x28, 0xa1
        put     4, 0x21
        put     2, 0xa1
        put     1, 0x21
        put     1, 0xa1
        put     0xfe, 0x21
        put     0xff, 0xa1
        put     0x34, 0x43                      /* counter 0, rate generator, 1193182 / 100 */
        put     11932&255, 0x40
        put     11932>>8, 0x40
        sti
        ret
on_tick:
        push    %eax
        incl    tick_count
        put     0x20, 0x20
        pop     %eax
        iret

/* al to the port, when its transmitter is empty; keeps all registers but edx. */
putc:   push    %eax
        mov     $COM1 + 5, %dx
1:      in      %dx, %al
        test    $0x20, %al
        jz      1b
        pop     %eax
        mov     $COM1, %dx
        out     %al, %dx
        ret
puts:   lodsb
        test    %al, %al
        jz      1f
        call    putc
        jmp     puts
1:      ret

greeting: .asciz "hello from the guest\r\n"
login:  .asciz  "guest login: "

        .data
        .align  8
empty_idt: .word 0
        .long   0
idt_pointer: .word 0x21 * 8 - 1
        .long   idt
tick_count: .long 0
        .bss
        .align  8
idt:    .skip   0x21 * 8
        .skip   4096
stack_top:
