/* SPDX-License-Identifier: MIT */
/* The only signal handler of ring3, and the only place that installs one.
 *
 *     signal ─▶ record of the thread (altstack) ─▶ its handler: served, go on
 *                                              └─▶ else: crash_report, die of the signal
 *
 * Which thread, and so which handler, follows from the alternate stack the kernel runs us on: no
 * global, no thread-local, no system call. Delivery is all a fault costs (1.7-2 us where the
 * kernel is itself a guest).
 *
 * Masks. The fault signals block nothing while one is served (SA_NODEFER, empty mask, which
 * spares the kernel two changes of the mask): a fault inside the handler comes here again, is
 * recognised by its stack pointer (inside the alternate stack) and reported. A kick inside a
 * handler is put off: it sends itself again and blocks itself in the context it returns to, that
 * of the handler. The handler's own return then brings back the mask from before, and the kick.
 *
 * Dispositions stay in force until just before we die of the signal: while one thread reports its
 * crash, others go on faulting on purpose. SA_RESETHAND would kill the process there. What it is
 * good for, a crash inside the report, is recognised by a flag in the record.
 *
 * Manual: signal(7), sigaltstack(2); arch/x86 of Linux for si_code and the trap numbers. Leaves
 * out SIGPIPE (host/crash.c) and the signals that users send (host/signals.c). */
#include "host/fault.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "host/crash.h"
#include "host/altstack.h"

#define EFLAGS_AC (1u << 18)

static const int fault_signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT};

static bool on_own_stack(const ucontext_t *uc)
{
    uint64_t sp = (uint64_t)uc->uc_mcontext.gregs[REG_RSP];
    return sp - (uint64_t)(uintptr_t)uc->uc_stack.ss_sp <= uc->uc_stack.ss_size;
}

/* Async-signal-safe. */
static void put_off(ucontext_t *uc)
{
    sigaddset(&uc->uc_sigmask, HOST_FAULT_KICK);
    host_fault_kick(gettid()); /* blocked here, pending from now on */
}

/* Async-signal-safe. */
static bool serve(const struct altstack *s, int sig, const siginfo_t *info, ucontext_t *uc)
{
    bool kick = sig == HOST_FAULT_KICK;
    bool sent = info->si_code <= 0; /* by a process, not by the processor */
    if (!s->handler || sig == SIGABRT || sent != kick)
        return false;
    if (on_own_stack(uc)) {
        if (kick)
            put_off(uc);
        return kick;
    }
    struct host_fault f = {.sig = sig, .uc = uc};
    if (!kick) {
        f.trapno = (int)uc->uc_mcontext.gregs[REG_TRAPNO];
        f.error = (uint64_t)uc->uc_mcontext.gregs[REG_ERR];
        if (f.trapno == HOST_TRAP_PF)
            f.addr = (uint64_t)(uintptr_t)info->si_addr;
    }
    return s->handler(s->opaque, &f);
}

/* Async-signal-safe. The default action gives the right status, and a core file where wanted. */
static void die(struct altstack *s, int sig, const siginfo_t *info, const ucontext_t *uc)
{
    if (!s || !s->reporting) {
        if (s)
            s->reporting = 1;
        crash_report(s ? s->crash : NULL, sig, info, uc);
    }
    struct sigaction by_default = {.sa_handler = SIG_DFL};
    sigaction(sig, &by_default, NULL);
    raise(sig);
}

/* Async-signal-safe. */
static void on_signal(int sig, siginfo_t *info, void *context)
{
    int saved_errno = errno;
    ucontext_t *uc = context;
    /* The kernel clears DF and TF for us but not AC, under which compiled code may trap. */
    if (uc->uc_mcontext.gregs[REG_EFL] & EFLAGS_AC)
        __builtin_ia32_writeeflags_u64(__builtin_ia32_readeflags_u64() & ~(uint64_t)EFLAGS_AC);
    struct altstack *s = altstack_of(&uc->uc_stack);
    if (!(s && serve(s, sig, info, uc)) && sig != HOST_FAULT_KICK)
        die(s, sig, info, uc);
    errno = saved_errno;
}

int host_fault_install(struct err *e)
{
    struct sigaction fault = {.sa_sigaction = on_signal,
                              .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
    struct sigaction kick = {.sa_sigaction = on_signal,
                             .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART};
    sigemptyset(&fault.sa_mask);
    sigemptyset(&kick.sa_mask);
    bool ok = sigaction(HOST_FAULT_KICK, &kick, NULL) == 0;
    for (size_t i = 0; ok && i < sizeof fault_signals / sizeof *fault_signals; i++)
        ok = sigaction(fault_signals[i], &fault, NULL) == 0;
    return ok ? 0 : err_set(e, errno, "signals", "sigaction: %s", strerror(errno));
}

/* Dispositions can be lost to a test framework, and a mask inherited from a strange parent. */
static int make_ready(struct err *e)
{
    struct sigaction now;
    if (sigaction(SIGSEGV, NULL, &now) == 0 && now.sa_sigaction == on_signal)
        return 0;
    return host_fault_install(e);
}

static void unblock(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, HOST_FAULT_KICK);
    for (size_t i = 0; i < sizeof fault_signals / sizeof *fault_signals; i++)
        sigaddset(&set, fault_signals[i]);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

int host_fault_enter(bool (*handler)(void *opaque, const struct host_fault *f), void *opaque,
                     struct err *e)
{
    int r = make_ready(e);
    if (r < 0)
        return r;
    struct altstack *s = altstack_enter();
    if (!s)
        return err_set(e, errno, "signals", "alternate signal stack: %s", strerror(errno));
    bool first = !s->handler;
    s->handler = NULL; /* a kick between these lines is ignored, never given the wrong pointer */
    s->opaque = opaque;
    s->handler = handler;
    if (first)
        unblock();
    return 0;
}

void host_fault_leave(void)
{
    struct altstack *s = altstack_get();
    if (!s)
        return;
    s->handler = NULL;
    altstack_leave(s);
}

void host_fault_kick(pid_t tid)
{
    syscall(SYS_tgkill, getpid(), tid, HOST_FAULT_KICK);
}
