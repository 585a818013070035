/* SPDX-License-Identifier: MIT */
/* Runs oracle cases on the host processor in 32-bit mode.
 *
 * A 64-bit, position-independent process: everything of its own lies far above 4 GiB, so 32-bit
 * code, entered by iretq to the kernel's 32-bit user selector, can reach only the pages of
 * oracle.h. Modes with an LDT go on from there through a trampoline that loads SS:ESP and CS, since
 * iretq does not set the upper half of ESP for a 16-bit stack. The case comes back by the signal
 * its last exception causes; the 64-bit signal frame holds all registers, the vector, the error
 * code and the FXSAVE image. FS holds the C library's thread pointer in 64-bit code and a test base
 * in 32-bit code, hence the few lines of assembler that swap it (FSGSBASE instructions). A system
 * call from 32-bit code ends in SIGSYS (seccomp).
 *
 * Protocol: descriptor 3 is the shared memory; on descriptor 0 arrives a byte, the number of slots
 * to run, and on descriptor 1 the same byte goes back. End of file ends the program. */
#include <asm/ldt.h>
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <ucontext.h>
#include <unistd.h>

#include "oracle.h"

#define HWCAP2_FSGSBASE_BIT 2u
#define SIGNAL_STACK_BYTES  65536
#define BATCH_SECONDS       5
#define HOST_CS             0x33

/* The trampoline: 32-bit code, then its two far pointers. */
#define TRAMPOLINE        0x09000000u
#define TRAMPOLINE_SS_ESP (TRAMPOLINE + 0x100)
#define TRAMPOLINE_CS_EIP (TRAMPOLINE + 0x110)

/* What the assembler reads; the signal handler has no other way to find it. */
struct helper {
    uint64_t host_rsp, host_fs;
    const struct or_state *init;
    uint32_t eip, esp; /* what iretq loads, in the flat segments */
    uint16_t es, ds, fs, gs;
    uint64_t fs_base, gs_base; /* valid for flat selectors */
    struct or_state *result;
    uint8_t *code_alias; /* OR_CODE, then TRAMPOLINE, writable */
    struct or_shared *shared;
};
struct helper helper __attribute__((visibility("hidden")));

void native_enter(void);
void native_signal(int sig, siginfo_t *info, void *context);
bool native_capture(int sig, siginfo_t *info, void *context);

#define STR_(x) #x
#define STR(x)  STR_(x)
/* struct or_state: fx at 0, gpr at 512, eip at 544, eflags at 548 */
_Static_assert(offsetof(struct or_state, gpr) == 512 && offsetof(struct or_state, eip) == 544 &&
                   offsetof(struct or_state, eflags) == 548,
               "the assembler below");
_Static_assert(offsetof(struct helper, host_rsp) == 0 && offsetof(struct helper, host_fs) == 8 &&
                   offsetof(struct helper, init) == 16 && offsetof(struct helper, eip) == 24 &&
                   offsetof(struct helper, es) == 32 && offsetof(struct helper, fs_base) == 40,
               "the assembler below");

__asm__(
    ".text\n"
    ".globl native_enter\n"
    "native_enter:\n"
    "    push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
    "    mov %rsp, helper(%rip)\n"
    "    rdfsbase %rax\n"
    "    mov %rax, helper+8(%rip)\n"
    "    mov helper+16(%rip), %r15\n"
    "    fxrstor (%r15)\n"
    "    mov helper+32(%rip), %es; mov helper+34(%rip), %ds\n"
    "    mov helper+36(%rip), %fs; mov helper+38(%rip), %gs\n"
    "    cmpw $" STR(
        OR_FLAT_DS) ", helper+36(%rip)\n"
                    "    jne 1f\n"
                    "    mov helper+40(%rip), %rax; wrfsbase %rax\n"
                    "    mov helper+48(%rip), %rax; wrgsbase %rax\n"
                    "1:  pushq $" STR(
                        OR_FLAT_DS) "\n"
                                    "    mov helper+28(%rip), %eax; push %rax\n"
                                    "    mov 548(%r15), %eax; push %rax\n"
                                    "    pushq $" STR(
                                        OR_FLAT_CS) "\n"
                                                    "    mov helper+24(%rip), %eax; push %rax\n"
                                                    "    mov 512(%r15), %eax; mov 516(%r15), %ecx; "
                                                    "mov 520(%r15), %edx; mov 524(%r15), %ebx\n"
                                                    "    mov 532(%r15), %ebp; mov 536(%r15), %esi; "
                                                    "mov 540(%r15), %edi\n"
                                                    "    iretq\n"
                                                    /* Signal context: the kernel gives clean FPU
                                                       state, but not NT nor our FS. */
                                                    ".globl native_signal\n"
                                                    "native_signal:\n"
                                                    "    pushq $0x202; popfq\n"
                                                    "    mov helper+8(%rip), %rax\n"
                                                    "    wrfsbase %rax\n"
                                                    "    sub $8, %rsp\n"
                                                    "    call native_capture\n"
                                                    "    add $8, %rsp\n"
                                                    "    test %al, %al\n"
                                                    "    jz 1f\n"
                                                    "    mov helper(%rip), %rsp\n"
                                                    "    pop %r15; pop %r14; pop %r13; pop %r12; "
                                                    "pop %rbp; pop %rbx\n"
                                                    "1:  ret\n");

/* Signal context. True: the case has ended, leave the frame for good. False: it was the timer and
 * no case is running. */
bool native_capture(int sig, siginfo_t *info, void *context)
{
    const ucontext_t *u = context;
    const greg_t *g = u->uc_mcontext.gregs;
    struct or_state *s = helper.result;

    if ((g[REG_CSGSFS] & 0xffff) == HOST_CS) {
        if (sig == SIGALRM)
            return false;
        static const char text[] = "native_helper: fault in its own code\n";
        if (write(STDERR_FILENO, text, sizeof(text) - 1) < 0)
            _exit(4);
        _exit(3);
    }
    static const uint8_t order[8] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX,
                                     REG_RSP, REG_RBP, REG_RSI, REG_RDI};
    for (unsigned i = 0; i < 8; i++)
        s->gpr[i] = (uint32_t)g[order[i]];
    s->eip = (uint32_t)g[REG_RIP];
    s->eflags = (uint32_t)g[REG_EFL];
    s->vector = sig == SIGALRM ? OR_VECTOR_HANG : (uint32_t)g[REG_TRAPNO];
    if (sig == SIGSYS)
        s->vector = 0x80;
    s->error = (uint32_t)g[REG_ERR];
    s->cr2 = s->vector == 14 ? (uint32_t)g[REG_CR2] : 0;
    memcpy(&s->fx, u->uc_mcontext.fpregs, sizeof(s->fx));
    return true;
}

/* Far pointers of 16:32 bits. */
static void set_pointer(uint32_t where, uint32_t offset, uint16_t sel)
{
    uint8_t *p = helper.code_alias + OR_CODE_BYTES + (where - TRAMPOLINE);
    memcpy(p, &offset, 4);
    memcpy(p + 4, &sel, 2);
}

static void set_entry(const struct or_case *c, struct or_result *r)
{
    const struct or_seg *seg = or_modes[c->mode].seg;

    helper.init = &c->init;
    helper.result = &r->state;
    helper.es = seg[0].sel;
    helper.ds = seg[3].sel;
    helper.fs = seg[4].sel;
    helper.gs = seg[5].sel;
    helper.fs_base = seg[4].base;
    helper.gs_base = seg[5].base;
    helper.eip = c->init.eip;
    helper.esp = c->init.gpr[4];
    if (seg[1].sel == OR_FLAT_CS)
        return;
    set_pointer(TRAMPOLINE_SS_ESP, c->init.gpr[4], seg[2].sel);
    set_pointer(TRAMPOLINE_CS_EIP, c->init.eip, seg[1].sel);
    helper.eip = TRAMPOLINE;
}

static void run_case(const struct or_case *c, struct or_result *r)
{
    struct or_image *base = &helper.shared->base;
    uint32_t offset = c->code_addr - OR_CODE;
    uint32_t len = c->code_len < OR_CODE_BYTES - offset ? c->code_len : OR_CODE_BYTES - offset;

    memcpy(helper.code_alias + offset, c->code, len);
    memcpy(&r->image, base, sizeof(*base));
    or_apply_patches(&r->image, c);
    memcpy((void *)(uintptr_t)OR_DATA, r->image.data, OR_DATA_BYTES);
    memcpy((void *)(uintptr_t)OR_SAVE, r->image.save, OR_SAVE_BYTES);
    memcpy((void *)(uintptr_t)OR_STACK, r->image.stack, OR_STACK_BYTES);

    set_entry(c, r);
    native_enter();

    memcpy(r->image.data, (void *)(uintptr_t)OR_DATA, OR_DATA_BYTES);
    memcpy(r->image.save, (void *)(uintptr_t)OR_SAVE, OR_SAVE_BYTES);
    memcpy(r->image.stack, (void *)(uintptr_t)OR_STACK, OR_STACK_BYTES);
    memset(helper.code_alias + offset, 0xcc, len);
}

static bool map_at(uint32_t addr, uint32_t bytes, int prot, int flags, int fd, off_t offset)
{
    void *want = (void *)(uintptr_t)addr;
    return mmap(want, bytes, prot, flags | MAP_FIXED_NOREPLACE, fd, offset) == want;
}

static void write_trampoline(void)
{
    static const uint8_t code[] = {
        0x2e, 0x0f, 0xb2, 0x25, 0x00, 0x01, 0x00, 0x09, /* lss esp, cs:[TRAMPOLINE_SS_ESP] */
        0x2e, 0xff, 0x2d, 0x10, 0x01, 0x00, 0x09,       /* jmp far cs:[TRAMPOLINE_CS_EIP] */
    };
    memcpy(helper.code_alias + OR_CODE_BYTES, code, sizeof(code));
}

static const char *map_pages(void)
{
    const uint32_t bytes = OR_CODE_BYTES + 0x1000;
    int code = memfd_create("oracle-code", MFD_CLOEXEC);
    if (code < 0 || ftruncate(code, bytes))
        return "memfd_create failed";
    helper.code_alias = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, code, 0);
    if (helper.code_alias == MAP_FAILED)
        return "mmap failed";
    memset(helper.code_alias, 0xcc, OR_CODE_BYTES);
    write_trampoline();
    const int rw = PROT_READ | PROT_WRITE, anon = MAP_PRIVATE | MAP_ANONYMOUS;
    if (!map_at(OR_CODE, OR_CODE_BYTES, PROT_READ | PROT_EXEC, MAP_SHARED, code, 0) ||
        !map_at(TRAMPOLINE, 0x1000, PROT_READ | PROT_EXEC, MAP_SHARED, code, OR_CODE_BYTES) ||
        !map_at(OR_DATA, OR_DATA_BYTES, rw, anon, -1, 0) ||
        !map_at(OR_RO, OR_RO_BYTES, rw, anon, -1, 0) ||
        !map_at(OR_SAVE, OR_SAVE_BYTES, rw, anon, -1, 0) ||
        !map_at(OR_STACK, OR_STACK_BYTES, rw, anon, -1, 0))
        return "cannot map pages below 4 GiB";
    memcpy((void *)(uintptr_t)OR_RO, helper.shared->ro, OR_RO_BYTES);
    if (mprotect((void *)(uintptr_t)OR_RO, OR_RO_BYTES, PROT_READ))
        return "mprotect failed";
    return NULL;
}

static const char *catch_signals(void)
{
    static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGALRM};
    stack_t stack = {.ss_sp = malloc(SIGNAL_STACK_BYTES), .ss_size = SIGNAL_STACK_BYTES};
    struct sigaction sa = {.sa_sigaction = native_signal,
                           .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
    if (!stack.ss_sp || sigaltstack(&stack, NULL))
        return "sigaltstack failed";
    for (size_t i = 0; i < ARRAY_LEN(signals); i++)
        if (sigaction(signals[i], &sa, NULL))
            return "sigaction failed";
    return NULL;
}

/* Generated code holds no system call; should a stray jump find one, it must do nothing. */
static const char *forbid_32bit_calls(void)
{
    struct sock_filter f[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
    };
    struct sock_fprog prog = {ARRAY_LEN(f), f};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog))
        return "seccomp is not available";
    return NULL;
}

/* All LDT segments of or_modes; false when the kernel has no modify_ldt. */
static bool load_ldt(void)
{
    static const unsigned contents[] = {MODIFY_LDT_CONTENTS_DATA, MODIFY_LDT_CONTENTS_DATA,
                                        MODIFY_LDT_CONTENTS_STACK, MODIFY_LDT_CONTENTS_CODE};
    for (unsigned i = 0; i < OR_MODES * 6; i++) {
        const struct or_seg *s = &or_modes[i / 6].seg[i % 6];
        bool pages = s->limit >= MIB;
        struct user_desc d = {.entry_number = s->sel >> 3,
                              .base_addr = s->base,
                              .limit = pages ? s->limit >> 12 : s->limit,
                              .seg_32bit = s->big,
                              .contents = contents[s->kind],
                              .read_exec_only = s->kind == OR_SEG_READ_ONLY,
                              .limit_in_pages = pages,
                              .useable = 1};
        if (s->sel & 4 && syscall(SYS_modify_ldt, 1, &d, sizeof(d)))
            return false;
    }
    return true;
}

/* One int3 in 32-bit mode: does this host do what the rest assumes? */
static const char *try_out(void)
{
    struct or_case *c = &helper.shared->slot[0].c;
    struct or_result *r = &helper.shared->slot[0].r;

    memset(c, 0, sizeof(*c));
    c->init.fx.fcw = 0x37f;
    c->init.fx.mxcsr = 0x1f80;
    c->init.eip = c->code_addr = OR_CODE;
    c->init.eflags = 0x202;
    c->code_len = 1;
    c->code[0] = 0xcc;
    run_case(c, r);
    return r->state.vector == 3 && r->state.eip == OR_CODE + 1
               ? NULL
               : "32-bit code does not run (IA-32 emulation off?)";
}

static const char *set_up(void)
{
    const char *why;

    if (!(getauxval(AT_HWCAP2) & HWCAP2_FSGSBASE_BIT))
        return "processor or kernel lacks the FSGSBASE instructions";
    helper.shared->modes = load_ldt() ? OR_MODES : 1;
    if ((why = map_pages()) || (why = catch_signals()) || (why = forbid_32bit_calls()))
        return why;
    return try_out();
}

int main(void)
{
    helper.shared = mmap(NULL, sizeof(*helper.shared), PROT_READ | PROT_WRITE, MAP_SHARED, 3, 0);
    if (helper.shared == MAP_FAILED)
        return 2;
    const char *why = set_up();
    strncpy(helper.shared->verdict, why ? why : "", sizeof(helper.shared->verdict) - 1);

    uint8_t count = 0;
    if (write(STDOUT_FILENO, &count, 1) != 1 || why)
        return 2;
    const struct itimerval limit = {.it_value.tv_sec = BATCH_SECONDS}, off = {0};
    while (read(STDIN_FILENO, &count, 1) == 1 && count <= OR_BATCH) {
        setitimer(ITIMER_REAL, &limit, NULL);
        for (unsigned i = 0; i < count; i++)
            run_case(&helper.shared->slot[i].c, &helper.shared->slot[i].r);
        setitimer(ITIMER_REAL, &off, NULL);
        if (write(STDOUT_FILENO, &count, 1) != 1)
            break;
    }
    return 0;
}
