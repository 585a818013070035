/* SPDX-License-Identifier: MIT */
/* Guest program: what few programs use, and a monitor may get wrong. Single steps, breakpoints and
 * watchpoints by ptrace (Intel SDM 3B 18.2, 18.3), 16-bit code in segments of an LDT, 8086 mode by
 * vm86(), ports by iopl() and ioperm(), and many processes that switch often.
 *
 * A line per check, which ends in `ok` or in what was wrong; `debugger: done` comes last. Each
 * check knows what is right from the manual, so the same lines come from every i386 Linux that is
 * root. */
#include "user.h"

enum {
    PTRACE_TRACEME = 0,
    PTRACE_PEEKTEXT = 1,
    PTRACE_PEEKUSER = 3,
    PTRACE_POKETEXT = 4,
    PTRACE_POKEUSER = 6,
    PTRACE_CONT = 7,
    PTRACE_KILL = 8,
    PTRACE_SINGLESTEP = 9,
    PTRACE_GETREGS = 12,
    PTRACE_SETREGS = 13,
};
enum { SIGSTOP = 19, DEBUG_REGISTERS = 252 /* offsetof(struct user, u_debugreg) */ };

/* As PTRACE_GETREGS has them. */
struct user_regs {
    u32 ebx, ecx, edx, esi, edi, ebp, eax, ds, es, fs, gs, orig_eax, eip, cs, eflags, esp, ss;
};

static void check(const char *what, int right, u32 seen)
{
    put(what);
    if (right) {
        put(": ok");
    } else {
        put(": WRONG ");
        put_hex(seen, 8);
    }
    end_line();
}

static long trace(long request, long pid, u32 address, u32 data)
{
    long result = sys4(SYS_PTRACE, request, pid, (long)address, (long)data);
    if (result < 0 && result > -4096 && request != PTRACE_PEEKUSER)
        fail("ptrace");
    return result;
}
static u32 debug_register(long pid, unsigned n)
{
    u32 value = 0;
    sys4(SYS_PTRACE, PTRACE_PEEKUSER, pid, (long)(DEBUG_REGISTERS + 4 * n), (long)&value);
    return value;
}
static void set_debug_register(long pid, unsigned n, u32 value)
{
    trace(PTRACE_POKEUSER, pid, DEBUG_REGISTERS + 4 * n, value);
}

/* ---- a child that is traced ------------------------------------------------------------------ */

/* What it does after it stopped: 3 + 3 * 10 instructions and a little more, stores to `watched`, a
 * read of it, string stores. Labels are where the checks look. */
u32 watched[16];
void child_code(void), child_loop(void), child_break(void), child_store(void), child_stored(void);
void child_load(void), child_loaded(void), child_string(void), child_end(void), child_trap(void);
__asm__("child_code:\n"
        "    mov $10, %ecx\n"
        "    xor %eax, %eax\n"
        "    cld\n"
        "child_loop:\n"
        "    add %ecx, %eax\n"
        "    dec %ecx\n"
        "    jnz child_loop\n"
        "child_break:\n"
        "    add $1000, %eax\n"
        "child_store:\n"
        "    mov %eax, watched + 8\n"
        "child_stored:\n"
        "    mov watched, %edx\n"
        "child_load:\n"
        "    movzbl watched + 9, %edx\n"
        "child_loaded:\n"
        "    mov $watched, %edi\n"
        "    mov $5, %ecx\n"
        "child_string:\n"
        "    rep stosl\n"
        "child_end:\n"
        "    xor %ebx, %ebx\n"
        "    cmp $1055, %eax\n"
        "    setne %bl\n"
        "    mov $1, %eax\n"
        "    int $0x80\n"
        "    ud2\n");

/* A child stopped before its first instruction of child_code. */
static long start_child(void)
{
    long pid = fork();
    if (!pid) {
        trace(PTRACE_TRACEME, 0, 0, 0);
        sys4(SYS_KILL, sys1(SYS_GETPID, 0), SIGSTOP, 0, 0);
        child_code();
    }
    if (wait_for(pid) != (SIGSTOP << 8 | 0x7f))
        fail("the child did not stop");
    struct user_regs r;
    trace(PTRACE_GETREGS, pid, 0, (u32)&r);
    r.eip = (u32)child_code;
    r.orig_eax = ~0u; /* not in a system call, so that none is restarted */
    trace(PTRACE_SETREGS, pid, 0, (u32)&r);
    return pid;
}

static u32 where(long pid)
{
    struct user_regs r;
    trace(PTRACE_GETREGS, pid, 0, (u32)&r);
    return r.eip;
}

enum { TRAPPED = SIGTRAP << 8 | 0x7f };

static int go(long request, long pid)
{
    trace(request, pid, 0, 0);
    return wait_for(pid);
}

static void end_child(const char *what, long pid)
{
    u32 status = (u32)go(PTRACE_CONT, pid);
    check(what, status == 0, status);
}

static void single_step(void)
{
    long pid = start_child();
    unsigned steps = 0, loops = 0, strings = 0;
    u32 last = 0;
    while (where(pid) != (u32)child_end && steps < 1000) {
        u32 at = where(pid);
        if (go(PTRACE_SINGLESTEP, pid) != TRAPPED)
            fail("a step did not end in a trap");
        steps++;
        loops += at == (u32)child_loop;
        strings += at == (u32)child_string;
        last = debug_register(pid, 6);
    }
    /* A repeated string instruction traps after each repetition. */
    check("steps", steps == 3 + 3 * 10 + 6 + 5, steps);
    check("steps in the loop", loops == 10, loops);
    check("steps in rep stos", strings == 5, strings);
    check("DR6 says step", (last & 0xe00f) == 0x4000, last);
    end_child("and to its end", pid);
}

/* int3 put into its code by the debugger, removed, run again. */
static void breakpoint(void)
{
    long pid = start_child();
    u32 at = (u32)child_break, old = 0, hits = 0;
    sys4(SYS_PTRACE, PTRACE_PEEKTEXT, pid, (long)at, (long)&old);
    trace(PTRACE_POKETEXT, pid, at, (old & ~0xffu) | 0xcc);
    hits += go(PTRACE_CONT, pid) == TRAPPED && where(pid) == at + 1;
    struct user_regs r;
    trace(PTRACE_GETREGS, pid, 0, (u32)&r);
    check("int3 in another's code", hits == 1 && r.eax == 55 && r.ecx == 0, r.eip);
    trace(PTRACE_POKETEXT, pid, at, old);
    r.eip = at;
    r.orig_eax = ~0u;
    trace(PTRACE_SETREGS, pid, 0, (u32)&r);
    end_child("int3 removed", pid);
}

/* DR7 for register n: enabled for this task, of this kind and length. */
static u32 dr7(unsigned n, u32 kind, u32 length)
{
    return 1u << 2 * n | (kind | (length - 1) << 2) << (16 + 4 * n);
}
enum { EXECUTE = 0, WRITE = 1, ACCESS = 3 };

static void hardware_breakpoint(void)
{
    long pid = start_child();
    set_debug_register(pid, 2, (u32)child_loop);
    set_debug_register(pid, 7, dr7(2, EXECUTE, 1));
    u32 hits = 0, wrong = 0;
    for (; hits < 10 && go(PTRACE_CONT, pid) == TRAPPED; hits++) {
        u32 dr6 = debug_register(pid, 6);
        wrong |= where(pid) != (u32)child_loop || (dr6 & 15) != 4;
        set_debug_register(pid, 6, 0);
    }
    check("breakpoint by DR2", hits == 10 && !wrong, hits | wrong << 16);
    set_debug_register(pid, 7, 0);
    end_child("without it", pid);
}

static void watchpoint(void)
{
    long pid = start_child();
    set_debug_register(pid, 0, (u32)&watched[2]);
    set_debug_register(pid, 7, dr7(0, WRITE, 4));
    u32 status = (u32)go(PTRACE_CONT, pid);
    check("store watched by DR0", status == TRAPPED && where(pid) == (u32)child_stored, where(pid));
    check("DR6 says DR0", (debug_register(pid, 6) & 15) == 1, debug_register(pid, 6));
    /* The loads do not count. rep stosl traps after the repetition that stores there. */
    status = (u32)go(PTRACE_CONT, pid);
    struct user_regs r;
    trace(PTRACE_GETREGS, pid, 0, (u32)&r);
    check("string store watched", status == TRAPPED && r.eip == (u32)child_string && r.ecx == 2,
          r.ecx);
    end_child("and to its end", pid);

    pid = start_child();
    set_debug_register(pid, 3, (u32)&watched[2] + 1);
    set_debug_register(pid, 7, dr7(3, ACCESS, 1));
    go(PTRACE_CONT, pid);
    check("access to a byte, the store", where(pid) == (u32)child_stored, where(pid));
    go(PTRACE_CONT, pid);
    check("access to a byte, the load", where(pid) == (u32)child_loaded, where(pid));
    set_debug_register(pid, 7, 0);
    end_child("and to its end", pid);
}

/* The trap flag set by the program itself. */
void own_step(void), own_stepped(void);
__asm__("own_step: pushl $0x302; popfl; inc %eax; own_stepped: inc %eax; ret\n");
static void own_trap_flag(void)
{
    regs = (struct regs){0};
    attempt((const void *)(u32)own_step);
    check("trap flag by popf", ending.trap == 1 && ending.eip == (u32)own_stepped && regs.eax == 1,
          ending.eip);
}

/* ---- segments of its own --------------------------------------------------------------------- */

struct descriptor {
    u32 entry, base, limit, flags;
};
enum { SEG_32 = 1, SEG_CODE = 2 << 1, SEG_PAGES = 1 << 4, SEG_USABLE = 1 << 6 };

static void set_ldt(u32 entry, u32 base, u32 limit, u32 flags)
{
    struct descriptor d = {entry, base, limit, flags};
    if (sys4(SYS_MODIFY_LDT, 0x11, (long)&d, sizeof d, 0))
        fail("modify_ldt");
}

/* 16-bit code in segments of 64 KiB, called far from here: a sum of words, by 16-bit addressing and
 * a 16-bit stack. ecx: how many; far pointer in `into16`. */
struct {
    u32 offset;
    u16 selector;
} into16;
u8 *low; /* what the 16-bit segments show */
void code16(void), code16_end(void), call16(void), limit16(void);
__asm__("code16:\n"
        "    .code16\n"
        "    push %si\n"
        "    xor %ax, %ax\n"
        "    mov $0x100, %si\n"
        "1:  add (%si), %ax\n"
        "    inc %si\n"
        "    inc %si\n"
        "    loop 1b\n"
        "    call 2f\n"
        "    pop %si\n"
        "    lretl\n"
        "2:  push %bp\n"
        "    mov %sp, %bp\n"
        "    mov 2(%bp), %dx\n" /* where it returns to */
        "    pop %bp\n"
        "    ret\n"
        "    .code32\n"
        "code16_end:\n"
        /* DS = SS = entry 1; a 16-bit stack at 0x8000 of it. */
        "call16:\n"
        "    mov %ds, %ebx\n"
        "    mov %esp, %edi\n"
        "    mov $0xf, %edx\n"
        "    mov %edx, %ds\n"
        "    mov %edx, %ss\n"
        "    mov $0x8000, %esp\n"
        "    lcall *%cs:into16\n"
        "    mov %ebx, %ss\n"
        "    mov %edi, %esp\n"
        "    mov %ebx, %ds\n"
        "    ret\n"
        /* one byte over the limit of entry 2, which has 4,096 bytes */
        "limit16: mov $0x17, %edx; mov %edx, %es; movb %es:4095, %al; movb %es:4096, %al; ret\n");

static void sixteen_bits(void)
{
    low = map(0, 0x10000, PROT_RWX, MAP_PRIVATE);
    for (u32 i = 0; i < (u32)code16_end - (u32)code16; i++)
        low[i] = ((const u8 *)(u32)code16)[i];
    u32 sum = 0;
    for (u32 i = 0; i < 1000; i++) {
        ((u16 *)(low + 0x100))[i] = (u16)(i * 77);
        sum += i * 77;
    }
    set_ldt(0, (u32)low, 0xffff, SEG_CODE | SEG_USABLE);
    set_ldt(1, (u32)low, 0xffff, SEG_USABLE);
    set_ldt(2, (u32)low, 0xfff, SEG_32 | SEG_USABLE);
    into16.offset = 0;
    into16.selector = 7;
    u32 right = 0;
    for (unsigned i = 0; i < 200; i++) {
        regs = (struct regs){.ecx = 1000};
        right += attempt((const void *)(u32)call16) && (regs.eax & 0xffff) == (sum & 0xffff) &&
                 (regs.edx & 0xffff) == 0xf;
    }
    check("16-bit code in an LDT", right == 200, regs.eax | regs.edx << 16);
    attempt((const void *)(u32)limit16);
    check("limit of a segment", ending.trap == 13 && ending.error == 0, ending.trap);
    into16.selector = 3 << 3 | 7; /* not there */
    regs = (struct regs){.ecx = 1000};
    attempt((const void *)(u32)call16);
    check("a segment that is not there", ending.trap == 13 && ending.error == 0x1c, ending.error);
}

/* ---- 8086 mode ------------------------------------------------------------------------------- */

/* struct vm86plus_struct of Linux: registers in the order of pt_regs, then what to do. */
struct vm86 {
    u32 ebx, ecx, edx, esi, edi, ebp, eax, null_ds, null_es, null_fs, null_gs, orig_eax, eip, cs,
        eflags, esp, ss, es, ds, fs, gs;
    u32 flags, screen_bitmap, cpu_type;
    u8 revectored[32], revectored21[32];
    u8 plus[128];
};
enum { VM86_SIGNAL = 0, VM86_UNKNOWN = 1, VM86_INTx = 2, VM86_STI = 3 };

static void v86(void)
{
    static struct vm86 v;
    /* The first pages are refused to mappings unless vm.mmap_min_addr allows; 0x10000 is fine. */
    u8 *at = map(0x10000, 0x10000, PROT_RWX, MAP_PRIVATE | MAP_FIXED);
    /* mov ax, cs; add ax, [0x20]; int 0x42 */
    static const u8 program[] = {0x8c, 0xc8, 0x03, 0x06, 0x20, 0x00, 0xcd, 0x42};
    if (!at)
        fail("no memory at 0x10000");
    for (unsigned i = 0; i < sizeof program; i++)
        at[i] = program[i];
    at[0x20] = 0x34;
    at[0x21] = 0x12;
    v.cs = v.ds = v.ss = v.es = 0x1000;
    v.esp = 0xfffe;
    v.eflags = 0x20202;
    v.cpu_type = 5;
    v.revectored[0x42 / 8] = 1 << 0x42 % 8; /* comes back to us */
    long result = sys4(SYS_VM86, 1 /* VM86_ENTER */, (long)&v, 0, 0);
    if (result == -38 || result == -1) {
        put("vm86: not in this kernel");
        end_line();
        return;
    }
    check("vm86", result == (VM86_INTx | 0x42 << 8) && (v.eax & 0xffff) == 0x2234, (u32)result);
    /* cli and hlt: the first is the virtual flag, the second goes to a signal or "unknown". */
    at[0] = 0xfa;
    at[1] = 0x9c; /* pushf */
    at[2] = 0x58; /* pop ax */
    at[3] = 0xcd;
    at[4] = 0x42;
    v.eip = 0;
    v.eflags = 0x20202;
    result = sys4(SYS_VM86, 1, (long)&v, 0, 0);
    check("vm86 cli", result == (VM86_INTx | 0x42 << 8) && !(v.eax & 0x200), v.eax);
    at[0] = 0xf4;
    v.eip = 0;
    result = sys4(SYS_VM86, 1, (long)&v, 0, 0);
    check("vm86 hlt", (result & 0xff) == VM86_UNKNOWN, (u32)result);
}

/* ---- ports ----------------------------------------------------------------------------------- */

void port_in(void), port_cli(void), port_out(void);
__asm__("port_in: inb %dx, %al; ret\n"
        "port_out: outb %al, %dx; ret\n"
        "port_cli: pushfl; pop %esi; cli; pushfl; pop %edi; sti; ret\n");

static int port(void (*code)(void), u32 number)
{
    regs = (struct regs){.edx = number};
    return attempt((const void *)(u32)code);
}

/* The register of the first serial port that nobody uses keeps what it is given. */
enum { SCRATCH = 0x3ff };

static void ports(void)
{
    check("port refused", !port(port_in, SCRATCH) && ending.trap == 13, ending.trap);
    if (sys4(SYS_IOPERM, SCRATCH, 1, 1, 0)) {
        put("ioperm: not allowed here");
        end_line();
        return;
    }
    regs = (struct regs){.edx = SCRATCH, .eax = 0x5a};
    int out = attempt((const void *)(u32)port_out);
    check("port given", out && port(port_in, SCRATCH) && (regs.eax & 0xff) == 0x5a, regs.eax);
    check("its neighbour", !port(port_in, SCRATCH + 1) && ending.trap == 13, ending.trap);
    long pid = fork();
    if (!pid)
        leave(port(port_in, SCRATCH) ? 0 : 1);
    u32 status = (u32)wait_for(pid);
    check("a child has it, too", status == 0, status);
    check("ioperm off", !sys4(SYS_IOPERM, SCRATCH, 1, 0, 0) && !port(port_in, SCRATCH), 0);
    check("iopl 3", !sys1(SYS_IOPL, 3), 0);
    check("any port", port(port_in, SCRATCH) && port(port_in, 0x61), ending.trap);
    /* Since Linux 5.5 iopl() gives ports only; cli then does nothing, as the kernel pretends. */
    check("but no cli", port(port_cli, 0) && regs.esi & regs.edi & 0x200, regs.edi);
    check("iopl 0", !sys1(SYS_IOPL, 0) && !port(port_in, 0x61), 0);
}

/* ---- many processes -------------------------------------------------------------------------- */

static u32 crc(u32 x, const u8 *data, u32 bytes)
{
    while (bytes--) {
        x ^= *data++;
        for (unsigned bit = 0; bit < 8; bit++)
            x = x >> 1 ^ (x & 1 ? 0xedb88320 : 0);
    }
    return x;
}

/* All with the same addresses, other contents, a segment and an LDT entry of their own; they give
 * the processor away after each piece of work. */
static void switches(void)
{
    enum { PROCESSES = 20, BYTES = 4 * PAGE, ROUNDS = 40 };
    long pids[PROCESSES];
    u32 wrong = 0;
    for (unsigned i = 0; i < PROCESSES; i++) {
        if ((pids[i] = fork()))
            continue;
        u8 *data = map(0x30000000, BYTES, PROT_RW, MAP_PRIVATE | MAP_FIXED);
        for (u32 k = 0; k < BYTES; k++)
            data[k] = (u8)(k * (i + 1) >> 3);
        u32 right = crc(~0u, data, BYTES);
        volatile double sum = 0, right_sum = 0; /* rounded to 64 bits each time */
        set_ldt(4, (u32)data, BYTES - 1, SEG_32 | SEG_USABLE);
        for (unsigned round = 0; round < ROUNDS; round++) {
            u32 word, x = ~0u;
            for (u32 k = 0; k < BYTES; k += PAGE) {
                x = crc(x, data + k, PAGE);
                sum += (double)data[k + round] / (i + 3);
                sys1(SYS_SCHED_YIELD, 0);
            }
            __asm__ volatile("mov %1, %%gs\n\tmov %%gs:(%2), %0"
                             : "=r"(word)
                             : "r"(4 << 3 | 7), "r"(round * 64));
            if (x != right || word != *(u32 *)(data + round * 64))
                leave(1);
        }
        for (unsigned round = 0; round < ROUNDS; round++)
            for (u32 k = 0; k < BYTES; k += PAGE)
                right_sum += (double)data[k + round] / (i + 3);
        leave(sum == right_sum ? 0 : 2);
    }
    for (unsigned i = 0; i < PROCESSES; i++)
        wrong += wait_for(pids[i]) != 0;
    check("twenty processes", !wrong, wrong);
}

__attribute__((force_align_arg_pointer)) void _start(void)
{
    catch_signals();
    single_step();
    breakpoint();
    hardware_breakpoint();
    watchpoint();
    own_trap_flag();
    sixteen_bits();
    v86();
    ports();
    switches();
    put("debugger: done");
    end_line();
    leave(0);
}
