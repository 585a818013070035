/* SPDX-License-Identifier: MIT */
/* The interrupt flag, a million times closed and opened, nothing pending. For figures.py. */
    .include "start.inc"
    .set N, 1000000

bench:
    mov $N, %ecx
    xor %ebx, %ebx
1:  cli
    inc %ebx
    sti
    dec %ecx
    jnz 1b
    cli
    cmp $N, %ebx
    jmp finish
