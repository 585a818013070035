/* SPDX-License-Identifier: MIT */
/* Dependent loads all over 4 MiB, a thousand pages: sixteen walks round a cycle of 2^20 words. */
    .include "start.inc"
    .set N, 1 << 20

bench:
    /* i -> a * i + c with this a and c visits every i below a power of two. */
    xor %ecx, %ecx
1:  imul $1664525, %ecx, %eax
    add $1013904223, %eax
    and $N - 1, %eax
    mov %eax, next(, %ecx, 4)
    inc %ecx
    cmp $N, %ecx
    jb 1b
    xor %eax, %eax
    xor %ebx, %ebx
    mov $16 * N, %ecx
1:  mov next(, %eax, 4), %eax
    add %eax, %ebx
    dec %ecx
    jnz 1b
    /* Back at 0, having added up 16 times 0 to N - 1, modulo 2^32. */
    sub $(16 * (N / 2) * (N - 1)) & 0xffffffff, %ebx
    or %ebx, %eax
    jmp finish

    .bss
    .align 4
next:
    .skip N * 4
