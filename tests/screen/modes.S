# SPDX-License-Identifier: MIT
# A boot sector that goes through the modes of the video BIOS. In each it sets the four corners by
# INT 10h AH=0Ch, says so on port e9 with the letter of the mode, and waits for a key.
.code16
.globl _start
_start:
    xorw %ax, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movw $0x7c00, %sp
    cld
    movw $modes, %si
    movb $'a', letter
next:
    movw (%si), %bx
    cmpw $0xffff, %bx
    je done
    cmpw $0x100, %bx
    jae vesa
    movb %bl, %al
    movb $0, %ah
    int $0x10
    jmp corners
vesa:
    movw $0x4f02, %ax
    int $0x10
    cmpw $0x004f, %ax
    je corners
    movb $'!', %al              # the mode is refused
    outb %al, $0xe9
corners:
    xorw %cx, %cx
    xorw %dx, %dx
    call point
    movw 2(%si), %cx
    decw %cx
    call point
    movw 4(%si), %dx
    decw %dx
    call point
    xorw %cx, %cx
    call point
    movb letter, %al
    outb %al, $0xe9
    movb $'\n', %al
    outb %al, $0xe9
    movb $0, %ah
    int $0x16
    incb letter
    addw $8, %si
    jmp next
done:
    movb $0, %al                # debug exit
    outb %al, $0xf4
    hlt
    jmp done

point:                          # cx, dx
    pushw %cx
    pushw %dx
    pushw %si
    movb $0x0c, %ah
    movb 6(%si), %al
    xorw %bx, %bx
    int $0x10
    popw %si
    popw %dx
    popw %cx
    ret

letter:
    .byte 0
    .balign 2
modes:                          # mode, width, height, colour
    .word 0x04, 320, 200, 3
    .word 0x06, 640, 200, 1
    .word 0x0d, 320, 200, 15
    .word 0x0e, 640, 200, 15
    .word 0x10, 640, 350, 15
    .word 0x11, 640, 480, 1
    .word 0x12, 640, 480, 15
    .word 0x13, 320, 200, 15
    .word 0x101, 640, 480, 15
    .word 0x102, 800, 600, 15
    .word 0x103, 800, 600, 15
    .word 0x105, 1024, 768, 15
    .word 0x110, 640, 480, 255
    .word 0x111, 640, 480, 255
    .word 0x112, 640, 480, 255
    .word 0x115, 800, 600, 255
    .word 0x118, 1024, 768, 255
    .word 0x104, 1024, 512, 15  # its last line that AH=0Ch reaches
    .word 0xffff
    .org 510
    .byte 0x55, 0xaa
