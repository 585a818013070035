/* SPDX-License-Identifier: MIT */
/* What happens when ring3 itself crashes: see host/crash.h.
 *
 * A signal handler gets no argument of ours, and ring3 keeps no globals. But every thread has
 * its own alternate signal stack, whose address the kernel passes to the handler in uc_stack; so
 * the pointer to what must be restored lies at the bottom of that stack, behind a magic word. */
#include "host/crash.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#define STACK_BYTES (64 * 1024)
#define STACK_MAGIC UINT64_C(0x7233637261736821)

struct stack_bottom {
    uint64_t magic;
    struct crash *crash;
};

/* Append to a line; async-signal-safe, never past the end. */
static size_t put_text(char *line, size_t at, size_t size, const char *s)
{
    while (*s && at < size)
        line[at++] = *s++;
    return at;
}

static size_t put_hex(char *line, size_t at, size_t size, uint64_t x)
{
    char digits[19] = "0x";
    int shift = 60;
    while (shift && !(x >> shift & 15))
        shift -= 4;
    size_t n = 2;
    for (; shift >= 0; shift -= 4)
        digits[n++] = "0123456789abcdef"[x >> shift & 15];
    digits[n] = 0;
    return put_text(line, at, size, digits);
}

static const char *signal_name(int sig)
{
    return sig == SIGSEGV  ? "SIGSEGV"
           : sig == SIGBUS ? "SIGBUS"
           : sig == SIGFPE ? "SIGFPE"
           : sig == SIGILL ? "SIGILL"
                           : "SIGABRT";
}

/* Async-signal-safe. The disposition is the default again (SA_RESETHAND), so raise() ends us
 * with the right status and a core file where wanted. */
static void on_crash(int sig, siginfo_t *info, void *context)
{
    const ucontext_t *uc = context;
    const struct stack_bottom *b = uc->uc_stack.ss_sp;
    struct crash *c = NULL;
    if (!(uc->uc_stack.ss_flags & SS_DISABLE) && b && b->magic == STACK_MAGIC)
        c = b->crash;
    if (c && c->term)
        term_restore(c->term);

    char line[256];
    size_t n = put_text(line, 0, sizeof line, "ring3: error [crash] ");
    n = put_text(line, n, sizeof line, signal_name(sig));
    n = put_text(line, n, sizeof line, " at ");
    n = put_hex(line, n, sizeof line, (uint64_t)uc->uc_mcontext.gregs[REG_RIP]);
    if (sig != SIGABRT) {
        n = put_text(line, n, sizeof line, ", address ");
        n = put_hex(line, n, sizeof line, (uint64_t)(uintptr_t)info->si_addr);
    }
    n = put_text(line, n, sizeof line,
                 ": this is a mistake in ring3, not in the guest; please report it\n");
    ssize_t ignored = write(c ? c->log_fd : STDERR_FILENO, line, n);
    (void)ignored;
    raise(sig);
}

int crash_install(struct err *e)
{
    static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
    struct sigaction crash = {.sa_sigaction = on_crash,
                              .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESETHAND | SA_NODEFER};
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        if (sigaction(signals[i], &crash, NULL) < 0)
            return err_set(e, errno, "signals", "sigaction: %s", strerror(errno));
    if (sigaction(SIGPIPE, &ignore, NULL) < 0)
        return err_set(e, errno, "signals", "sigaction: %s", strerror(errno));
    return 0;
}

void crash_enter(void *crash)
{
    void *stack =
        mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (stack == MAP_FAILED)
        return; /* a crash would then leave the terminal raw; nothing worse */
    *(struct stack_bottom *)stack = (struct stack_bottom){STACK_MAGIC, crash};
    stack_t s = {.ss_sp = stack, .ss_size = STACK_BYTES};
    if (sigaltstack(&s, NULL) < 0)
        munmap(stack, STACK_BYTES);
}

void crash_leave(void)
{
    stack_t off = {.ss_flags = SS_DISABLE}, old;
    if (sigaltstack(&off, &old) < 0 || old.ss_flags & SS_DISABLE)
        return;
    const struct stack_bottom *b = old.ss_sp;
    if (b->magic == STACK_MAGIC)
        munmap(old.ss_sp, old.ss_size);
}
