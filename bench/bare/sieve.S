/* SPDX-License-Identifier: MIT */
/* Byte stores in strides: the primes below a million, ten times over. There are 78,498. */
    .include "start.inc"
    .set N, 1000000

bench:
    mov $10, %ebp
round:
    mov $flags, %edi
    mov $N / 4, %ecx
    xor %eax, %eax
    rep stosl
    mov $2, %esi
    xor %ebx, %ebx
1:  cmpb $0, flags(%esi)
    jne 3f
    inc %ebx
    lea (%esi, %esi), %edi
    jmp 4f
2:  movb $1, flags(%edi)
    add %esi, %edi
4:  cmp $N, %edi
    jb 2b
3:  inc %esi
    cmp $N, %esi
    jb 1b
    dec %ebp
    jnz round
    cmp $78498, %ebx
    jmp finish

    .bss
flags:
    .skip N
