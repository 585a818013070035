/* SPDX-License-Identifier: MIT */
/* Data-dependent branches: Shell sort of 131,072 pseudo-random words, then a look that they are in
 * order and still add up to the same. */
    .include "start.inc"
    .set N, 1 << 17

bench:
    mov $3, %ebp
round:
    mov $12345, %eax
    xor %ecx, %ecx
    xor %ebx, %ebx
1:  imul $1664525, %eax, %eax
    add $1013904223, %eax
    mov %eax, words(, %ecx, 4)
    add %eax, %ebx
    inc %ecx
    cmp $N, %ecx
    jb 1b
    mov %ebx, sum

    mov $N / 2, %ebx /* gap */
gap:
    mov %ebx, %ecx /* the element to be placed */
place:
    mov words(, %ecx, 4), %edx
    mov %ecx, %esi
1:  mov %esi, %edi
    sub %ebx, %edi
    jb 2f
    mov words(, %edi, 4), %eax
    cmp %edx, %eax
    jbe 2f
    mov %eax, words(, %esi, 4)
    mov %edi, %esi
    jmp 1b
2:  mov %edx, words(, %esi, 4)
    inc %ecx
    cmp $N, %ecx
    jb place
    shr $1, %ebx
    jnz gap
    dec %ebp
    jnz round

    xor %edx, %edx
    mov words, %ebx
    mov $1, %ecx
1:  mov words(, %ecx, 4), %eax
    cmp words - 4(, %ecx, 4), %eax
    adc $0, %edx /* counts elements below their predecessor */
    add %eax, %ebx
    inc %ecx
    cmp $N, %ecx
    jb 1b
    sub sum, %ebx
    or %ebx, %edx
    jmp finish

    .bss
    .align 4
sum:
    .skip 4
words:
    .skip N * 4
