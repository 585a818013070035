/* SPDX-License-Identifier: MIT */
/* Host signals that a thread takes on purpose: faults of translated code, and kicks. */
#ifndef RING3_HOST_FAULT_H
#define RING3_HOST_FAULT_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <ucontext.h>

#include "ring3/err.h"

/* Another thread wants this one to look up; see host_fault_kick. */
#define HOST_FAULT_KICK (SIGRTMIN + 4)

enum { /* host_fault.trapno: exception vectors, Intel SDM vol. 3A table 6-1 */
       HOST_TRAP_DE = 0,
       HOST_TRAP_DB = 1,  /* SIGTRAP: a single step */
       HOST_TRAP_BP = 3,  /* SIGTRAP: int3 */
       HOST_TRAP_UD = 6,  /* SIGILL */
       HOST_TRAP_SS = 12, /* SIGBUS: non-canonical, by way of rsp or rbp without GS or FS prefix */
       HOST_TRAP_GP = 13, /* SIGSEGV: non-canonical otherwise, privileged */
       HOST_TRAP_PF = 14, /* SIGSEGV; SIGBUS behind the end of a mapped file */
       HOST_TRAP_MF = 16, /* SIGFPE: x87 */
       HOST_TRAP_AC = 17, /* SIGBUS: unaligned, with EFLAGS.AC set */
       HOST_TRAP_XM = 19, /* SIGFPE: SSE */
};

struct host_fault {
    int sig;        /* SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP or HOST_FAULT_KICK */
    int trapno;     /* HOST_TRAP_*; 0 for a kick, so ask for `sig` first */
    uint64_t error; /* what the processor pushed; of a page fault: 1 present, 2 write, 16 fetch */
    uint64_t addr;  /* exact address of a page fault (CR2), else 0 */
    ucontext_t *uc; /* the interrupted state; what is changed here is in force on return */
};

/* Let the calling thread take its faults and kicks itself. handler() runs on the thread's alternate
 * stack (64 KiB), must be async-signal-safe and must return, not jump out:
 *     true   served: go on with *f->uc, possibly changed
 *     false  not mine: a crash of ring3, reported as host/crash.h says (a kick: ignored)
 * The kernel gives it clean FPU control words and DF = TF = 0; the interrupted ones are in *f->uc
 * and come back. No kick arrives meanwhile: it follows when the handler has returned. A fault
 * inside the handler is a crash, and so is one of a thread whose stack pointer is in its alternate
 * stack. Signals sent by processes (kill, raise) are not faults.
 *
 * One handler per thread: entering again replaces it, at the cost of two system calls. Works
 * without crash_install() and crash_enter() and beside them. Undone by host_fault_leave or lost
 * with the thread. 0 or -errno with *e filled. */
int host_fault_enter(bool (*handler)(void *opaque, const struct host_fault *f), void *opaque,
                     struct err *e);
void host_fault_leave(void);

/* Interrupt thread `tid` (gettid()) of this process: its handler is called with HOST_FAULT_KICK, at
 * once when it runs, and also when it is inside a system call. Nothing happens if the thread is
 * gone or has no handler; the number may by then belong to another thread, so handlers must put up
 * with kicks without a reason. Only after some thread has entered: before, the signal would end the
 * process. Any thread, async-signal-safe. */
void host_fault_kick(pid_t tid);

/* Install the one handler of all these signals and of SIGABRT. Repeatable; host_fault_enter and
 * crash_install do it. */
int host_fault_install(struct err *e);

#endif
