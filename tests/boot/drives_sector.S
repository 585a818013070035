# SPDX-License-Identifier: MIT
# A boot sector for floppies and for CDs without emulation: reads a sector with INT 13h, by cylinder,
# head and sector or by LBA, says on com1 what it holds, and ends the guest with code 7 through the
# debug-exit port, 9 if the BIOS reports an error.
#
#   floppy  cylinder 40, head 1, sector 18     CD  LBA 16: its volume descriptor
    .code16
    .globl _start
_start:
    ljmp $0x7c0, $(1f - _start)
1:  mov %cs, %ax
    mov %ax, %ds
    mov %ax, %ss
    mov $0x1000, %sp
    push $0x1000
    pop %es
    test $0x80, %dl
    jnz cd

    mov $0x0201, %ax
    mov $40 << 8 | 18, %cx
    mov $1, %dh
    xor %bx, %bx
    int $0x13
    jc bad
    xor %di, %di
    jmp say
cd:
    mov $packet - _start, %si
    mov $0x42, %ah
    int $0x13
    jc bad
    mov $40, %di                    # the volume's name
    movb $0, %es:72
say:
    mov %es:(%di), %al
    inc %di
    test %al, %al
    jz good
    mov $0x3f8, %dx
    out %al, %dx
    jmp say
good:
    mov $7, %al
    out %al, $0xf4
bad:
    mov $9, %al
    out %al, $0xf4
    hlt

    .balign 4
packet:
    .byte 16, 0
    .word 1, 0, 0x1000
    .quad 16

    .org 510
    .word 0xaa55
