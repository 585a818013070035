/* SPDX-License-Identifier: MIT */
/* The option ROM of kernel_rom.h (PnP BIOS Specification 1.0a, chapter 3: expansion header; BIOS
 * Boot Specification 1.01, 3.4: a device with a bootstrap entry vector). Real mode, and the few
 * instructions in 16-bit protected mode that lead to a kernel that starts there. Checksums are put in by C. */
#include "boot/kernel_rom.h"

#define LINEAR (KERNEL_ROM_SEGMENT * 16 + KERNEL_ROM_PLAN)
#define OFFSET(x) (x - kernel_rom_image)

        .section .rodata
        .balign 16
        .code16
        .globl  kernel_rom_image, kernel_rom_image_end
kernel_rom_image:
        .byte   0x55, 0xaa
        .byte   1                       /* blocks of 512 bytes */
        jmp     init
        .org    0x06
        .byte   0                       /* checksum */
        .org    0x1a
        .word   OFFSET(pnp)

        .balign 16
pnp:    .ascii  "$PnP"
        .byte   1, 2                    /* version; length / 16 */
        .word   0                       /* no further header */
        .byte   0
        .byte   0                       /* checksum */
        .long   0                       /* device */
        .word   OFFSET(maker), OFFSET(product)
        .byte   0, 0x80, 2              /* class: other memory */
        .byte   0xe4                    /* starts a system, is no display nor input */
        .word   0, 0, OFFSET(start)     /* boot connection, disconnect, bootstrap */
        .word   0, 0

maker:  .asciz  "ring3"
product: .asciz "kernel"

init:   xorw    %ax, %ax
        lret

start:  cli
        cld
        movw    $KERNEL_ROM_SEGMENT, %ax
        movw    %ax, %es
        movl    $0, %es:KERNEL_ROM_MAP
        movw    $(KERNEL_ROM_MAP + 4), %di
        xorl    %ebx, %ebx
1:      movl    $0xe820, %eax
        movl    $0x534d4150, %edx       /* "SMAP" */
        movl    $KERNEL_ROM_ENTRY, %ecx
        int     $0x15
        jc      2f
        incl    %es:KERNEL_ROM_MAP
        addw    $KERNEL_ROM_ENTRY, %di
        cmpw    $(KERNEL_ROM_MAP + 4 + KERNEL_ROM_MAX * KERNEL_ROM_ENTRY), %di
        jae     2f
        testl   %ebx, %ebx
        jnz     1b

2:      cli                             /* the BIOS may have let them in */
        movw    $0x510, %dx
        movw    $KERNEL_ROM_ITEM, %ax
        outw    %ax, %dx
        incw    %dx
        movw    $KERNEL_ROM_PLAN, %di
        movw    $PLAN_BYTES, %cx
        rep insb
        movw    %es:(KERNEL_ROM_PLAN + PLAN_DATA), %cx
        movw    %es:(KERNEL_ROM_PLAN + PLAN_WAY), %ax
        cmpw    $PLAN_WAY_PROTECTED, %ax
        je      protected
        cmpw    $PLAN_WAY_REAL, %ax
        je      real
3:      hlt
        jmp     3b

real:   movw    %cx, %ss
        movw    %es:(KERNEL_ROM_PLAN + PLAN_GPR + 16), %sp
        pushl   %es:(KERNEL_ROM_PLAN + PLAN_ENTRY)
        movw    %cx, %ds
        movw    %cx, %es
        movw    %cx, %fs
        movw    %cx, %gs
        lret

protected:
        lgdtl   %es:(KERNEL_ROM_PLAN + PLAN_GDTR)
        movl    %cr0, %eax
        orb     $1, %al
        movl    %eax, %cr0
        movw    %cx, %ds
        movw    %cx, %es
        movw    %cx, %fs
        movw    %cx, %gs
        movw    %cx, %ss
        movl    $LINEAR, %eax
        movl    PLAN_GPR + 4(%eax), %ecx
        movl    PLAN_GPR + 8(%eax), %edx
        movl    PLAN_GPR + 12(%eax), %ebx
        movl    PLAN_GPR + 16(%eax), %esp
        movl    PLAN_GPR + 20(%eax), %ebp
        movl    PLAN_GPR + 24(%eax), %esi
        movl    PLAN_GPR + 28(%eax), %edi
        movl    PLAN_GPR(%eax), %eax
        addr32 ljmpl *(LINEAR + PLAN_ENTRY)

        .org    512
kernel_rom_image_end:
        .section .note.GNU-stack, "", @progbits
