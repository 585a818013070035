/* SPDX-License-Identifier: MIT */
/* host/fault.c: faults on purpose, kicks, and crashes that still are crashes. cmocka puts handlers
 * of its own around each test, so each enters anew. */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "host/crash.h"
#include "host/fault.h"

#define NON_CANONICAL UINT64_C(0x8000000000001234)
#define EFLAGS_TF     0x100
#define CRASH_LINE    "ring3: error [crash] "

/* What a test gives to and learns from its handler. */
struct seen {
    int count, sig, trapno;
    uint64_t error, addr, rip;
    uint64_t start, end;  /* code under test; `end` is where to go on */
    uint64_t stepped[16]; /* RIP at each single step */
    int steps;
    uint32_t sum;
    void *page;
    _Atomic int started;
    _Atomic pid_t tid;
    _Atomic int kicks;
    int kicks_in_handler;
};

static void note(struct seen *s, const struct host_fault *f)
{
    s->count++;
    s->sig = f->sig;
    s->trapno = f->trapno;
    s->error = f->error;
    s->addr = f->addr;
    s->rip = (uint64_t)f->uc->uc_mcontext.gregs[REG_RIP];
}

static bool go_to_end(void *opaque, const struct host_fault *f)
{
    struct seen *s = opaque;
    note(s, f);
    f->uc->uc_mcontext.gregs[REG_RIP] = (greg_t)s->end;
    return true;
}

static bool not_mine(void *opaque, const struct host_fault *f)
{
    note(opaque, f);
    return false;
}

static void enter(bool (*handler)(void *opaque, const struct host_fault *f), void *opaque)
{
    struct err e;
    assert_int_equal(host_fault_enter(handler, opaque, &e), 0);
}

/* Code that faults: `start` is its first byte, `end` the first label 2 in it or else what follows.
 */
#define FAULTING(seen, instruction, ...)                                                           \
    __asm__ volatile("lea 1f(%%rip), %%rax\n mov %%rax, %[from]\n"                                 \
                     "lea 2f(%%rip), %%rax\n mov %%rax, %[to]\n"                                   \
                     "1: " instruction "\n2:\n"                                                    \
                     : [from] "=m"((seen)->start), [to] "=m"((seen)->end)                          \
                     : __VA_ARGS__                                                                 \
                     : "rax", "rdx", "cc", "memory")

/* ---- faults ---------------------------------------------------------------------------------- */

static bool open_page(void *opaque, const struct host_fault *f)
{
    struct seen *s = opaque;
    note(s, f);
    return mprotect(s->page, 4096, PROT_READ | PROT_WRITE) == 0;
}

static void page_fault_is_resumed(void **state)
{
    struct seen s = {0};
    s.page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(s.page, MAP_FAILED);
    enter(open_page, &s);
    volatile uint32_t *word = (uint32_t *)((char *)s.page + 0x7f4);
    errno = EXDEV;
    *word = 17; /* done again after the handler, so the value arrives */
    assert_int_equal(errno, EXDEV);
    assert_int_equal(*word, 17);
    assert_int_equal(s.count, 1);
    assert_int_equal(s.sig, SIGSEGV);
    assert_int_equal(s.trapno, HOST_TRAP_PF);
    assert_int_equal(s.error & 2, 2); /* a write */
    assert_int_equal(s.addr, (uintptr_t)word);
    host_fault_leave();
    munmap(s.page, 4096);
}

static void file_end_is_a_bus_error(void **state)
{
    struct seen s = {0};
    int fd = memfd_create("test", MFD_CLOEXEC);
    s.page = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
    assert_ptr_not_equal(s.page, MAP_FAILED);
    enter(go_to_end, &s);
    FAULTING(&s, "mov (%[p]), %%eax", [p] "r"(s.page));
    assert_int_equal(s.sig, SIGBUS);
    assert_int_equal(s.trapno, HOST_TRAP_PF);
    assert_int_equal(s.addr, (uintptr_t)s.page);
    host_fault_leave();
    munmap(s.page, 4096);
    close(fd);
}

static void non_canonical_access_has_no_address(void **state)
{
    struct seen s = {0};
    enter(go_to_end, &s);
    FAULTING(&s, "mov (%[p]), %%eax", [p] "r"(NON_CANONICAL));
    assert_int_equal(s.count, 1);
    assert_int_equal(s.sig, SIGSEGV);
    assert_int_equal(s.trapno, HOST_TRAP_GP);
    assert_int_equal(s.addr, 0);
    assert_int_equal(s.rip, s.start);
    host_fault_leave();
}

static void stack_exception_is_a_bus_error(void **state)
{
    struct seen s = {0};
    enter(go_to_end, &s);
    FAULTING(&s,
             "xchg %%rbp, %[p]\n movb (%%rbp), %%al\n 2: xchg %%rbp, %[p]", [p] "c"(NON_CANONICAL));
    assert_int_equal(s.count, 1);
    assert_int_equal(s.sig, SIGBUS);
    assert_int_equal(s.trapno, HOST_TRAP_SS);
    assert_int_equal(s.addr, 0);
    host_fault_leave();
}

static void arithmetic_and_opcode_faults(void **state)
{
    struct seen s = {0};
    enter(go_to_end, &s);
    FAULTING(&s, "xor %%eax, %%eax\n cltd\n idivl %[zero]", [zero] "m"(s.steps));
    assert_int_equal(s.count, 1);
    assert_int_equal(s.sig, SIGFPE);
    assert_int_equal(s.trapno, HOST_TRAP_DE);
    assert_int_equal(s.addr, 0);
    FAULTING(&s, "ud2", "r"(0));
    assert_int_equal(s.count, 2);
    assert_int_equal(s.sig, SIGILL);
    assert_int_equal(s.trapno, HOST_TRAP_UD);
    assert_int_equal(s.rip, s.start);
    host_fault_leave();
}

/* int3 switches stepping on, arrival at `end` switches it off. */
static bool step(void *opaque, const struct host_fault *f)
{
    struct seen *s = opaque;
    greg_t *g = f->uc->uc_mcontext.gregs;
    note(s, f);
    if (f->sig != SIGTRAP)
        return false;
    if (f->trapno == HOST_TRAP_BP) {
        g[REG_EFL] |= EFLAGS_TF;
        return true;
    }
    if (f->trapno != HOST_TRAP_DB || s->steps == 16)
        return false;
    s->stepped[s->steps++] = s->rip;
    if (s->rip == s->end)
        g[REG_EFL] &= ~(greg_t)EFLAGS_TF;
    return true;
}

static void single_steps(void **state)
{
    struct seen s = {0};
    enter(step, &s);
    FAULTING(&s,
             "int3\n addl $1, %[sum]\n nop\n addl $2, %[sum]\n .byte 0x66, 0x90", [sum] "m"(s.sum));
    assert_int_equal(s.sum, 3);
    assert_int_equal(s.steps, 4);
    assert_int_equal(s.stepped[1], s.stepped[0] + 1); /* behind the nop */
    assert_int_equal(s.stepped[3], s.stepped[2] + 2);
    assert_int_equal(s.stepped[3], s.end);
    assert_int_equal(s.count, 5); /* and none after TF was cleared */
    host_fault_leave();
}

static bool unaligned_access(void *opaque, const struct host_fault *f)
{
    struct seen *s = opaque;
    uint64_t words[2] = {0};
    s->stepped[0] = __builtin_ia32_readeflags_u64();
    __asm__ volatile("mov (%0), %%rax" ::"r"((char *)words + 3) : "rax", "memory");
    return go_to_end(opaque, f);
}

static void handler_runs_without_alignment_check_and_direction(void **state)
{
    struct seen s = {0};
    enter(unaligned_access, &s);
    FAULTING(&s,
             "sub $128, %%rsp\n pushfq\n orl $0x40400, (%%rsp)\n popfq\n movb (%[p]), %%al\n"
             "2: pushfq\n andl $~0x40400, (%%rsp)\n popfq\n add $128, %%rsp",
             [p] "r"(NON_CANONICAL));
    assert_int_equal(s.count, 1);
    assert_int_equal(s.stepped[0] & 0x40400, 0);
    host_fault_leave();
}

/* ---- kicks ----------------------------------------------------------------------------------- */

static bool end_loop(void *opaque, const struct host_fault *f)
{
    struct seen *s = opaque;
    greg_t *rip = &f->uc->uc_mcontext.gregs[REG_RIP];
    if (f->sig != HOST_FAULT_KICK)
        return false;
    if ((uint64_t)*rip >= s->start && (uint64_t)*rip < s->end) {
        note(s, f);
        *rip = (greg_t)s->end;
    }
    return true;
}

static void *loop(void *opaque)
{
    struct seen *s = opaque;
    struct err e;
    if (host_fault_enter(end_loop, s, &e) < 0)
        return NULL;
    atomic_store(&s->tid, gettid());
    FAULTING(s, "movl $1, %[started]\n 3: pause\n jmp 3b", [started] "m"(s->started));
    host_fault_leave();
    return s;
}

static void kick_ends_a_loop(void **state)
{
    struct seen s = {0};
    pthread_t t;
    void *result;
    sigset_t kick, before;
    sigemptyset(&kick);
    sigaddset(&kick, HOST_FAULT_KICK);
    pthread_sigmask(SIG_BLOCK, &kick, &before); /* the thread inherits it and must not mind */
    alarm(20);
    assert_int_equal(pthread_create(&t, NULL, loop, &s), 0);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    while (!atomic_load(&s.started))
        sched_yield();
    host_fault_kick(s.tid);
    pthread_join(t, &result);
    alarm(0);
    assert_ptr_equal(result, &s);
    assert_int_equal(s.count, 1);
    assert_int_equal(s.sig, HOST_FAULT_KICK);
    assert_int_equal(s.trapno, 0);
    assert_int_equal(s.addr, 0);
}

static void kick_without_handler_is_ignored(void **state)
{
    struct seen s = {0};
    enter(not_mine, &s);
    host_fault_kick(gettid());
    assert_int_equal(s.count, 1);
    assert_int_equal(s.sig, HOST_FAULT_KICK);
    host_fault_leave();
    host_fault_kick(gettid());
    assert_int_equal(s.count, 1);
}

static bool kick_myself(void *opaque, const struct host_fault *f)
{
    struct seen *s = opaque;
    if (f->sig == HOST_FAULT_KICK) {
        atomic_fetch_add(&s->kicks, 1);
        s->rip = (uint64_t)f->uc->uc_mcontext.gregs[REG_RIP];
        return true;
    }
    host_fault_kick(gettid());
    s->kicks_in_handler = s->kicks;
    f->uc->uc_mcontext.gregs[REG_RIP] = (greg_t)s->end;
    return true;
}

static void kick_waits_for_the_end_of_a_handler(void **state)
{
    struct seen s = {0};
    enter(kick_myself, &s);
    FAULTING(&s, "mov (%[p]), %%eax", [p] "r"(NON_CANONICAL));
    assert_int_equal(s.kicks_in_handler, 0);
    assert_int_equal(s.kicks, 1);
    assert_int_equal(s.rip, s.end); /* what it interrupts is where the handler had pointed */
    host_fault_leave();
}

/* ---- entering and leaving -------------------------------------------------------------------- */

static void leaving_restores_the_alternate_stack(void **state)
{
    static char mine[32768];
    struct seen s = {0};
    struct crash c = {NULL, STDERR_FILENO};
    stack_t my_stack = {.ss_sp = mine, .ss_size = sizeof mine}, before, now;
    assert_int_equal(sigaltstack(&my_stack, &before), 0);
    enter(not_mine, &s);
    sigaltstack(NULL, &now);
    assert_ptr_not_equal(now.ss_sp, mine);
    void *ours = now.ss_sp;
    crash_enter(&c); /* shares the stack */
    host_fault_leave();
    sigaltstack(NULL, &now);
    assert_ptr_equal(now.ss_sp, ours);
    crash_leave();
    sigaltstack(NULL, &now);
    assert_ptr_equal(now.ss_sp, mine);
    host_fault_leave(); /* neither entered: nothing happens */
    crash_leave();
    sigaltstack(NULL, &now);
    assert_ptr_equal(now.ss_sp, mine);
    before.ss_flags &= SS_DISABLE;
    assert_int_equal(sigaltstack(&before, NULL), 0);
}

static void entering_again_replaces_the_handler(void **state)
{
    struct seen a = {0}, b = {0};
    enter(not_mine, &a);
    enter(go_to_end, &b);
    FAULTING(&b, "mov (%[p]), %%eax", [p] "r"(NON_CANONICAL));
    assert_int_equal(a.count, 0);
    assert_int_equal(b.count, 1);
    host_fault_leave();
}

/* ---- crashes --------------------------------------------------------------------------------- */

/* Run `body` in a child; its standard error in text; returns the wait status. */
static int child(void (*body)(void), char *text, size_t size)
{
    int fds[2], status = 0;
    size_t n = 0;
    assert_int_equal(pipe(fds), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        close(fds[0]);
        dup2(fds[1], STDERR_FILENO);
        close(fds[1]);
        alarm(20);
        body();
        _exit(99);
    }
    close(fds[1]);
    for (ssize_t got; n < size - 1 && (got = read(fds[0], text + n, size - 1 - n)) > 0;)
        n += (size_t)got;
    text[n] = 0;
    close(fds[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void dies_with_one_line(void (*body)(void), int sig)
{
    char text[1024], start[64];
    int status = child(body, text, sizeof text);
    snprintf(start, sizeof start, CRASH_LINE "SIG%s at 0x", sigabbrev_np(sig));
    if (!WIFSIGNALED(status) || WTERMSIG(status) != sig ||
        strncmp(text, start, strlen(start)) != 0 || strchr(text, '\n') != text + strlen(text) - 1)
        fail_msg("status %#x, text \"%s\"", status, text);
}

static void touch_non_canonical(void)
{
    __asm__ volatile("mov (%0), %%eax" ::"r"(NON_CANONICAL) : "rax", "memory");
}

static void crash_without_stack(void)
{
    crash_install(NULL);
    touch_non_canonical();
}

static void crash_with_stack(void)
{
    struct crash c = {NULL, STDERR_FILENO};
    crash_install(NULL);
    crash_enter(&c);
    touch_non_canonical();
}

static void crash_refused(void)
{
    struct seen s = {0};
    host_fault_enter(not_mine, &s, NULL);
    touch_non_canonical();
}

static bool crash_here(void *opaque, const struct host_fault *f)
{
    touch_non_canonical();
    return true;
}

static void crash_in_handler(void)
{
    host_fault_enter(crash_here, NULL, NULL);
    touch_non_canonical();
}

static void crash_in_handler_with_crash_record(void)
{
    struct crash c = {NULL, STDERR_FILENO};
    crash_install(NULL);
    crash_enter(&c);
    host_fault_enter(crash_here, NULL, NULL);
    touch_non_canonical();
}

static bool always_served(void *opaque, const struct host_fault *f)
{
    return true;
}

static void crash_sent(void)
{
    host_fault_enter(always_served, NULL, NULL);
    kill(getpid(), SIGSEGV);
}

static void crash_abort(void)
{
    host_fault_enter(always_served, NULL, NULL);
    abort();
}

static void crash_trap(void)
{
    crash_install(NULL);
    __asm__ volatile("int3");
}

static void crash_after_leave(void)
{
    host_fault_enter(always_served, NULL, NULL);
    host_fault_leave();
    touch_non_canonical();
}

static void crashes_are_reported(void **state)
{
    dies_with_one_line(crash_without_stack, SIGSEGV);
    dies_with_one_line(crash_with_stack, SIGSEGV);
    dies_with_one_line(crash_refused, SIGSEGV);
    dies_with_one_line(crash_in_handler, SIGSEGV);
    dies_with_one_line(crash_in_handler_with_crash_record, SIGSEGV);
    dies_with_one_line(crash_sent, SIGSEGV);
    dies_with_one_line(crash_abort, SIGABRT);
    dies_with_one_line(crash_trap, SIGTRAP);
    dies_with_one_line(crash_after_leave, SIGSEGV);
}

static void crash_in_report(void)
{
    struct crash *bad = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    crash_install(NULL);
    crash_enter(bad);
    touch_non_canonical();
}

static void crash_inside_the_report_ends(void **state)
{
    char text[1024];
    int status = child(crash_in_report, text, sizeof text);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGSEGV);
    assert_string_equal(text, "");
}

static void *fault_for_ever(void *opaque)
{
    struct seen *s = opaque;
    host_fault_enter(go_to_end, s, NULL);
    for (;;) {
        FAULTING(s, "mov (%[p]), %%eax", [p] "r"(NON_CANONICAL));
        atomic_fetch_add(&s->started, 1);
    }
    return NULL;
}

static void crash_beside_faults(struct seen *s)
{
    pthread_t t;
    pthread_create(&t, NULL, fault_for_ever, s);
    while (!atomic_load(&s->started))
        sched_yield();
    atomic_store(&s->tid, gettid());
    touch_non_canonical();
    _exit(99);
}

/* Fill a pipe to the last byte; how many went in. */
static size_t fill(int fd)
{
    char block[4096] = {0};
    size_t n = 0;
    fcntl(fd, F_SETFL, O_NONBLOCK);
    while (write(fd, block, sizeof block) == sizeof block)
        n += sizeof block;
    fcntl(fd, F_SETFL, 0);
    return n;
}

/* The child's standard error is a pipe that is full, so its report waits in write() while another
 * thread goes on faulting. */
static void faults_go_on_beside_a_report(void **state)
{
    struct timespec pause = {0, 50 * 1000 * 1000};
    struct seen *s =
        mmap(NULL, sizeof *s, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int fds[2], status;
    assert_ptr_not_equal(s, MAP_FAILED);
    assert_int_equal(pipe(fds), 0);
    size_t filled = fill(fds[1]), n = 0;
    pid_t pid = fork();
    if (pid == 0) {
        close(fds[0]);
        dup2(fds[1], STDERR_FILENO);
        close(fds[1]);
        alarm(20);
        crash_beside_faults(s);
    }
    close(fds[1]);
    alarm(25);
    while (!atomic_load(&s->tid))
        nanosleep(&pause, NULL);
    nanosleep(&pause, NULL); /* by now it has crashed, or the test is a little weaker */
    int before = atomic_load(&s->started);
    for (int i = 0; i < 100 && atomic_load(&s->started) == before; i++)
        nanosleep(&pause, NULL);
    int after = atomic_load(&s->started);
    char *text = malloc(filled + 1024);
    assert_non_null(text);
    for (ssize_t got; (got = read(fds[0], text + n, filled + 1023 - n)) > 0;)
        n += (size_t)got;
    close(fds[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    alarm(0);
    text[n] = 0;
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGSEGV);
    assert_true(after != before);
    assert_true(n > filled);
    assert_memory_equal(text + filled, CRASH_LINE "SIGSEGV at 0x", strlen(CRASH_LINE) + 13);
    free(text);
    munmap(s, sizeof *s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(page_fault_is_resumed),
        cmocka_unit_test(file_end_is_a_bus_error),
        cmocka_unit_test(non_canonical_access_has_no_address),
        cmocka_unit_test(stack_exception_is_a_bus_error),
        cmocka_unit_test(arithmetic_and_opcode_faults),
        cmocka_unit_test(single_steps),
        cmocka_unit_test(handler_runs_without_alignment_check_and_direction),
        cmocka_unit_test(kick_ends_a_loop),
        cmocka_unit_test(kick_without_handler_is_ignored),
        cmocka_unit_test(kick_waits_for_the_end_of_a_handler),
        cmocka_unit_test(leaving_restores_the_alternate_stack),
        cmocka_unit_test(entering_again_replaces_the_handler),
        cmocka_unit_test(crashes_are_reported),
        cmocka_unit_test(crash_inside_the_report_ends),
        cmocka_unit_test(faults_go_on_beside_a_report),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
