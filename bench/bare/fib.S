/* SPDX-License-Identifier: MIT */
/* Calls, returns and the stack: the 32nd Fibonacci number by plain recursion, 2,178,309. */
    .include "start.inc"

bench:
    mov $32, %eax
    call fib
    cmp $2178309, %eax
    jmp finish

/* eax: n in, fib(n) out */
fib:
    cmp $2, %eax
    jb 1f
    push %ebx
    push %eax
    dec %eax
    call fib
    mov %eax, %ebx
    pop %eax
    sub $2, %eax
    call fib
    add %ebx, %eax
    pop %ebx
1:  ret
