/* SPDX-License-Identifier: MIT */
/* x87 arithmetic: the sum of 1/i up to four million, in millionths. */
    .include "start.inc"
    .set N, 4000000

bench:
    fninit
    fldz
    movl $N, term
1:  fld1
    fidivl term
    faddp
    decl term
    jnz 1b
    fimull million
    fistpl term
    cmpl $15779021, term
    jmp finish

    .data
million:
    .long 1000000
    .bss
    .align 4
term:
    .skip 4
