/* SPDX-License-Identifier: MIT */
/* Table look-ups and shifts: CRC-32 (the one of zlib) of a megabyte, sixteen times over. */
    .include "start.inc"
    .set BYTES, 1 << 20

bench:
    /* The table of the reflected polynomial. */
    xor %ecx, %ecx
1:  mov %ecx, %eax
    mov $8, %edx
2:  shr $1, %eax
    jnc 3f
    xor $0xedb88320, %eax
3:  dec %edx
    jnz 2b
    mov %eax, table(, %ecx, 4)
    inc %ecx
    cmp $256, %ecx
    jb 1b
    /* Data: the top byte of i * 2654435761. */
    xor %ecx, %ecx
1:  imul $2654435761, %ecx, %eax
    shr $24, %eax
    mov %al, data(%ecx)
    inc %ecx
    cmp $BYTES, %ecx
    jb 1b

    mov $16, %ebp
round:
    mov $-1, %eax
    mov $data, %esi
    mov $BYTES, %ecx
1:  movzbl (%esi), %edx
    xor %eax, %edx
    and $0xff, %edx
    shr $8, %eax
    xor table(, %edx, 4), %eax
    inc %esi
    dec %ecx
    jnz 1b
    not %eax
    dec %ebp
    jnz round
    cmp $0x158987c5, %eax
    jmp finish

    .bss
    .align 4
table:
    .skip 1024
data:
    .skip BYTES
