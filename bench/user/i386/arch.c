/* SPDX-License-Identifier: MIT */
/* Linux/i386 without a C library: start, system calls, signals. System calls take the kernel's own
 * fast entry (AT_SYSINFO: sysenter or syscall), as C libraries do; program `int80` alone measures
 * the old gate, which some hosts have made very slow. */
#include "sys.h"

/* ---- system calls --------------------------------------------------------------------------- */

/* How system calls enter the kernel; by `int $0x80` unless the kernel offers a faster way. */
void enter_by_int80(void);
void (*kernel_entry)(void) = enter_by_int80;
__asm__(".globl enter_by_int80\nenter_by_int80:\n\tint $0x80\n\tret");

long sys6(long n, long a, long b, long c, long d, long e, long f)
{
    long result;
    /* ebp carries the sixth argument and is saved here, as the compiler may need it. */
    __asm__ volatile("push %[f]\n\tpush %%ebp\n\tmov 4(%%esp), %%ebp\n\tcall *kernel_entry\n\t"
                     "pop %%ebp\n\tadd $4, %%esp"
                     : "=a"(result)
                     : "a"(n), "b"(a), "c"(b), "d"(c), "S"(d), "D"(e), [f] "m"(f)
                     : "memory");
    return result;
}

long sys_at(long n, long fd, void *buffer, size_t bytes, uint32_t at)
{
    return sys5(n, fd, buffer, bytes, at, 0);
}

/* Program `getppid` by interrupt gate. */
uint32_t run_int80(uint32_t count)
{
    void (*entry)(void) = kernel_entry;
    kernel_entry = enter_by_int80;
    uint32_t good = run_getppid(count);
    kernel_entry = entry;
    return good;
}

/* ---- signals -------------------------------------------------------------------------------- */

/* The handler's return address. Frame of a handler without SA_SIGINFO: the number, then the saved
 * state that sigreturn (119) expects at esp. */
extern void restore_signal(void);
__asm__("restore_signal:\n\tpop %eax\n\tmov $119, %eax\n\tint $0x80");

long sys_sigaction(int number, void (*handler)(int))
{
    enum { SA_RESTORER = 0x04000000 };
    const struct {
        void (*handler)(int);
        unsigned long flags;
        void (*restorer)(void);
        uint32_t mask[2];
    } action = {handler, SA_RESTORER, restore_signal, {0, 0}};
    return sys5(SYS_RT_SIGACTION, number, &action, 0, sizeof(action.mask), 0);
}

/* ---- memory --------------------------------------------------------------------------------- */

void *memset(void *to, int value, size_t bytes)
{
    void *p = to;
    __asm__ volatile("rep stosb" : "+D"(p), "+c"(bytes) : "a"(value) : "memory");
    return to;
}

void *memcpy(void *restrict to, const void *restrict from, size_t bytes)
{
    void *p = to;
    __asm__ volatile("rep movsb" : "+D"(p), "+S"(from), "+c"(bytes) : : "memory");
    return to;
}

/* ---- start ---------------------------------------------------------------------------------- */

/* stack: argc, argv[], NULL, environment, NULL, auxiliary vector (pairs, ending with type 0) */
__attribute__((used)) void start_i386(long *stack)
{
    enum { AT_SYSINFO = 32 };
    long *aux = stack + 1 + stack[0] + 1;
    while (*aux++)
        ;
    for (; aux[0]; aux += 2)
        if (aux[0] == AT_SYSINFO)
            kernel_entry = (void (*)(void))aux[1];
    start_c(stack);
}

__asm__(".globl _start\n_start:\n\txor %ebp, %ebp\n\tmov %esp, %eax\n\tand $-16, %esp\n\t"
        "sub $12, %esp\n\tpush %eax\n\tcall start_i386\n\thlt");
