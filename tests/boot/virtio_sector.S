# SPDX-License-Identifier: MIT
# A boot sector that reads what lies behind it with INT 13h, both with CHS and with LBA, says on
# com1 what it found, and ends the guest with code 7 through the debug-exit port.
    .code16
    .globl _start
_start:
    ljmp $0x7c0, $(1f - _start)
1:  mov %cs, %ax
    mov %ax, %ds
    mov %ax, %ss
    mov $0x7c00 - 0x7c00 + 0x1000, %sp
    mov %dl, drive - _start

    mov $0x0201, %ax                # one sector, CHS 0/0/2
    mov $0x0002, %cx
    mov $0, %dh
    mov $0x800, %bx
    push $0x1000
    pop %es
    int $0x13
    jc bad
    mov $0x1080, %si
    call say_es

    mov drive - _start, %dl
    mov $packet - _start, %si       # LBA 100 and on, 64 sectors
    mov $0x42, %ah
    int $0x13
    jc bad
    push $0x2000
    pop %es
    mov $0x2000, %si
    call say_es
    mov $7, %al
    out %al, $0xf4
bad:
    mov $9, %al
    out %al, $0xf4
    hlt

# The text at segment ES, in the first case behind 0x800.
say_es:
    mov $0, %di
    cmpw $0x1080, %si
    jne 2f
    mov $0x800, %di
2:  mov %es:(%di), %al
    inc %di
    test %al, %al
    jz 3f
    mov $0x3f8, %dx
    out %al, %dx
    jmp 2b
3:  ret

drive:
    .byte 0
    .balign 4
packet:
    .byte 16, 0
    .word 64, 0, 0x2000
    .quad 100

    .org 510
    .word 0xaa55
    .ascii "sector one by virtio\n\0"
    .org 512 * 100
    .ascii "sector hundred by virtio\n\0"
    .org 512 * 4096
