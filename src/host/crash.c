/* SPDX-License-Identifier: MIT */
/* What happens when ring3 itself crashes: see host/crash.h. The signal handler is in host/fault.c,
 * where the pointer to what must be restored lies in host/altstack.c. */
#include "host/crash.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "host/fault.h"
#include "host/altstack.h"

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
    return sig == SIGSEGV   ? "SIGSEGV"
           : sig == SIGBUS  ? "SIGBUS"
           : sig == SIGFPE  ? "SIGFPE"
           : sig == SIGILL  ? "SIGILL"
           : sig == SIGTRAP ? "SIGTRAP"
                            : "SIGABRT";
}

void crash_report(struct crash *c, int sig, const siginfo_t *info, const ucontext_t *uc)
{
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
}

int crash_install(struct err *e)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    int r = host_fault_install(e);
    if (r == 0 && sigaction(SIGPIPE, &ignore, NULL) < 0)
        r = err_set(e, errno, "signals", "sigaction: %s", strerror(errno));
    return r;
}

void crash_enter(void *crash)
{
    struct altstack *s = altstack_enter();
    if (s) /* else a crash would leave the terminal raw; nothing worse */
        s->crash = crash;
}

void crash_leave(void)
{
    struct altstack *s = altstack_get();
    if (!s)
        return;
    s->crash = NULL;
    altstack_leave(s);
}
