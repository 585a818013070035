/* SPDX-License-Identifier: MIT */
/* Linux/MIPS, ABI o32, without a C library: start, system calls, signals. The kernel's own page
 * beside each program holds the return from signal handlers, as C libraries use it. */
#include "sys.h"

/* ---- system calls --------------------------------------------------------------------------- */

/* The number in v0, arguments in a0 to a3 and above the four words of stack that callees own; the
 * result in v0, and a3 says whether it is an error number. */
long sys6(long n, long a, long b, long c, long d, long e, long f)
{
    register long v0 __asm__("$2") = n;
    register long a0 __asm__("$4") = a;
    register long a1 __asm__("$5") = b;
    register long a2 __asm__("$6") = c;
    register long a3 __asm__("$7") = d;
    __asm__ volatile("addiu $sp, $sp, -32\n\tsw %[e], 16($sp)\n\tsw %[f], 20($sp)\n\tsyscall\n\t"
                     "addiu $sp, $sp, 32"
                     : "+r"(v0), "+r"(a3)
                     : "r"(a0), "r"(a1), "r"(a2), [e] "r"(e), [f] "r"(f)
                     : "$1", "$3", "$8", "$9", "$10", "$11", "$12", "$13", "$14", "$15", "$24",
                       "$25", "hi", "lo", "memory");
    return a3 ? -v0 : v0;
}

/* A 64-bit argument starts at an even word: the fourth stays empty. Its low half comes first, as
 * these programs are little-endian. */
long sys_at(long n, long fd, void *buffer, size_t bytes, uint32_t at)
{
    return sys6(n, fd, ARG(buffer), ARG(bytes), 0, ARG(at), 0);
}

/* ---- signals -------------------------------------------------------------------------------- */

long sys_sigaction(int number, void (*handler)(int))
{
    const struct {
        unsigned flags;
        void (*handler)(int);
        uint32_t mask[4];
    } action = {0, handler, {0}};
    return sys5(SYS_RT_SIGACTION, number, &action, 0, sizeof(action.mask), 0);
}

/* ---- memory --------------------------------------------------------------------------------- */

/* Words, where both ends of a copy are aligned; there is no fast way for the rest. */
void *memset(void *to, int value, size_t bytes)
{
    uint8_t *p = to;
    uint32_t word = (uint8_t)value * 0x01010101u;
    for (; bytes && (uintptr_t)p % 4; bytes--)
        *p++ = (uint8_t)value;
    for (; bytes >= 16; bytes -= 16, p += 16) {
        uint32_t *w = (uint32_t *)p;
        w[0] = w[1] = w[2] = w[3] = word;
    }
    for (; bytes; bytes--)
        *p++ = (uint8_t)value;
    return to;
}

void *memcpy(void *restrict to, const void *restrict from, size_t bytes)
{
    uint8_t *p = to;
    const uint8_t *q = from;
    if (!(((uintptr_t)p | (uintptr_t)q) % 4))
        for (; bytes >= 4; bytes -= 4, p += 4, q += 4)
            *(uint32_t *)p = *(const uint32_t *)q;
    while (bytes--)
        *p++ = *q++;
    return to;
}

/* ---- start ---------------------------------------------------------------------------------- */

/* The stack pointer, aligned as the kernel leaves it, goes to start_c, which owns four words. */
__asm__(".globl __start\n__start:\n\tmove $30, $0\n\tmove $31, $0\n\tmove $4, $sp\n\t"
        "addiu $sp, $sp, -16\n\tjal start_c");
