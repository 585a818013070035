/* SPDX-License-Identifier: MIT */
/* What guest programs of the boot tests share: Linux/i386 without a C library (system calls by
 * interrupt, arch/x86/entry/syscalls/syscall_32.tbl of Linux), text to standard output, and code
 * that may fault: attempt() runs it and says how it ended. */
#ifndef USER_H
#define USER_H

#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

enum {
    SYS_EXIT = 1,
    SYS_FORK = 2,
    SYS_READ = 3,
    SYS_WRITE = 4,
    SYS_OPEN = 5,
    SYS_WAITPID = 7,
    SYS_GETPID = 20,
    SYS_PTRACE = 26,
    SYS_KILL = 37,
    SYS_MUNMAP = 91,
    SYS_IOPERM = 101,
    SYS_IOPL = 110,
    SYS_VM86 = 166,
    SYS_MODIFY_LDT = 123,
    SYS_SCHED_YIELD = 158,
    SYS_RT_SIGRETURN = 173,
    SYS_RT_SIGACTION = 174,
    SYS_RT_SIGPROCMASK = 175,
    SYS_SIGALTSTACK = 186,
    SYS_MMAP2 = 192,
    SYS_SET_THREAD_AREA = 243,
};
enum { PROT_READ = 1, PROT_RW = 3, PROT_RWX = 7 };
enum { MAP_SHARED = 1, MAP_PRIVATE = 2, MAP_FIXED = 0x10, MAP_ANONYMOUS = 0x20 };
enum { SIGILL = 4, SIGTRAP = 5, SIGBUS = 7, SIGFPE = 8, SIGKILL = 9, SIGSEGV = 11 };
enum { PAGE = 4096 };

static __attribute__((noinline)) long sys6(long n, long a, long b, long c, long d, long e, long f)
{
    long result;
    __asm__ volatile("push %[f]\n\tpush %%ebp\n\tmov 4(%%esp), %%ebp\n\tint $0x80\n\t"
                     "pop %%ebp\n\tadd $4, %%esp"
                     : "=a"(result)
                     : "a"(n), "b"(a), "c"(b), "d"(c), "S"(d), "D"(e), [f] "rm"(f)
                     : "memory");
    return result;
}
static inline long sys4(long n, long a, long b, long c, long d)
{
    return sys6(n, a, b, c, d, 0, 0);
}
static inline long sys1(long n, long a)
{
    return sys6(n, a, 0, 0, 0, 0, 0);
}

static inline _Noreturn void leave(int code)
{
    for (;;)
        sys1(SYS_EXIT, code);
}

/* ---- text: gathered in lines, so that lines of several processes do not mix ------------------ */

static struct line {
    char text[4096];
    unsigned len;
} line;

static void put(const char *text)
{
    for (; *text && line.len < sizeof line.text; text++)
        line.text[line.len++] = *text;
}
static void put_hex(u32 x, int digits)
{
    char c[2] = {0};
    while (digits--) {
        c[0] = "0123456789abcdef"[x >> 4 * digits & 15];
        put(c);
    }
}
static void put_number(u32 x)
{
    char text[12], *p = text + sizeof text;
    *--p = 0;
    do
        *--p = (char)('0' + x % 10);
    while (x /= 10);
    put(p);
}
static void flush(void)
{
    sys4(SYS_WRITE, 1, (long)line.text, (long)line.len, 0);
    line.len = 0;
}
static void end_line(void)
{
    put("\n");
    flush();
}
static _Noreturn void fail(const char *why)
{
    put("FAILED: ");
    put(why);
    end_line();
    leave(1);
}

static void *map(u32 address, u32 bytes, int prot, int flags)
{
    u32 p = (u32)sys6(SYS_MMAP2, (long)address, (long)bytes, prot, flags | MAP_ANONYMOUS, -1, 0);
    return p > -(u32)PAGE ? NULL : (void *)p;
}

/* Wait for one child: its status as waitpid has it. */
static inline int wait_for(long pid)
{
    int status = -1;
    if (sys4(SYS_WAITPID, pid, (long)&status, 0, 0) != pid)
        fail("waitpid");
    return status;
}
static inline long fork(void)
{
    long pid = sys1(SYS_FORK, 0);
    if (pid < 0)
        fail("fork");
    return pid;
}

/* ---- code that may fault --------------------------------------------------------------------- */

/* Signal frame, arch/x86/include/uapi/asm/sigcontext.h. */
struct sigcontext {
    u32 gs, fs, es, ds, edi, esi, ebp, esp, ebx, edx, ecx, eax;
    u32 trap, error, eip, cs, eflags, esp_at_signal, ss;
    u32 fpu, mask, cr2;
};
struct ucontext {
    u32 flags, link, stack[3];
    struct sigcontext c;
};

/* Registers that an attempt starts with and ended with. The asm below knows the order. */
struct regs {
    u32 eax, ecx, edx, ebx, esi, edi;
} regs;
/* How it ended: `signal` 0 if by returning. trap and error are the processor's. */
struct ending {
    u32 signal, trap, error, cr2, eip;
} ending;
u32 attempt_esp, user_ds;

void attempt_run(void *code);
void attempt_landed(void);
void signal_return(void);
__asm__("attempt_run:\n"
        "    pushal\n"
        "    mov %esp, attempt_esp\n"
        "    mov 36(%esp), %ebp\n"
        "    mov regs, %eax\n"
        "    mov regs + 4, %ecx\n"
        "    mov regs + 8, %edx\n"
        "    mov regs + 12, %ebx\n"
        "    mov regs + 16, %esi\n"
        "    mov regs + 20, %edi\n"
        "    call *%ebp\n"
        "attempt_landed:\n"
        "    mov %cs:user_ds, %ds\n"
        "    mov %cs:user_ds, %es\n"
        "    mov attempt_esp, %esp\n"
        "    mov %eax, regs\n"
        "    mov %ecx, regs + 4\n"
        "    mov %edx, regs + 8\n"
        "    mov %ebx, regs + 12\n"
        "    mov %esi, regs + 16\n"
        "    mov %edi, regs + 20\n"
        "    pushl $2\n"
        "    popfl\n"
        "    popal\n"
        "    ret\n"
        "signal_return:\n"
        "    mov $173, %eax\n"
        "    int $0x80\n");

static void on_signal(int number, void *info, struct ucontext *u)
{
    (void)info;
    ending.signal = (u32)number;
    ending.trap = u->c.trap;
    ending.error = u->c.error;
    ending.cr2 = u->c.cr2;
    ending.eip = u->c.eip;
    u->c.eip = (u32)attempt_landed;
    u->c.eflags = 0x202;
    u->c.ds = u->c.es = u->c.ss = user_ds;
    u->c.fs = u->c.gs = 0;
}

static inline void catch_signals(void)
{
    static u8 stack[16384];
    const struct {
        void *at;
        u32 flags, bytes;
    } altstack = {stack, 0, sizeof stack};
    /* SA_SIGINFO, SA_RESTORER, SA_ONSTACK, SA_NODEFER */
    const struct {
        void (*handler)(int, void *, struct ucontext *);
        u32 flags;
        void (*restorer)(void);
        u32 mask[2];
    } action = {on_signal, 0x4c000004, signal_return, {0, 0}};
    static const u8 numbers[] = {SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGSEGV};
    __asm__("mov %%ds, %0" : "=r"(user_ds));
    sys4(SYS_SIGALTSTACK, (long)&altstack, 0, 0, 0);
    for (unsigned i = 0; i < sizeof numbers; i++)
        if (sys4(SYS_RT_SIGACTION, numbers[i], (long)&action, 0, 8))
            fail("sigaction");
}

/* Run code that returns or faults, with `regs`. True if it returned. */
static inline int attempt(const void *code)
{
    ending = (struct ending){0};
    /* The code may end with any register changed, but `regs` and `ending` are all that is used. */
    attempt_run((void *)(u32)code);
    __asm__ volatile("" ::: "memory");
    return !ending.signal;
}

static inline void put_ending(void)
{
    if (!ending.signal) {
        put("returned");
        return;
    }
    put("trap ");
    put_number(ending.trap);
    put(" error ");
    put_hex(ending.error, 4);
}

#endif
