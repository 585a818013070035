/* SPDX-License-Identifier: MIT */
/* Why control came from guest code to the monitor. One enum for all engines and ISAs; the table
 * in vm/exit.c gives each kind its name and handler. Kinds marked "inline" are served inside an
 * engine without returning to vm/run.c and are only counted. */
#ifndef RING3_EXIT_H
#define RING3_EXIT_H

#include "ring3/types.h"

/* clang-format off */
/*      kind          name           meaning */
#define EXIT_KINDS(X)                                                                              \
    X(EXIT_ATTENTION, "attention",   "asked to leave: stop, time-out, or instruction budget")      \
    X(EXIT_HALT,      "halt",        "processor waits for an interrupt")                           \
    X(EXIT_EMULATE,   "emulate",     "engine declined an instruction: interpret exactly one")      \
    X(EXIT_PIO,       "pio",         "port access (inline)")                                       \
    X(EXIT_MMIO,      "mmio",        "device memory access (inline)")                              \
    X(EXIT_EXCEPTION, "exception",   "fault, trap or software interrupt delivered (inline)")       \
    X(EXIT_INTERRUPT, "interrupt",   "external interrupt delivered (inline)")                      \
    X(EXIT_DEBUG,     "debug",       "a debugger's point was met, or its step is done")              \
    X(EXIT_SHUTDOWN,  "shutdown",    "triple fault or its equivalent")                             \
    X(EXIT_UNSUPPORTED, "unsupported", "guest asked for what ring3 does not implement")

enum exit_kind {
#define X(kind, name, meaning) kind,
    EXIT_KINDS(X)
#undef X
    EXIT_KIND_COUNT
};
/* clang-format on */

struct vm_exit {
    enum exit_kind kind;
    uint64_t pc;      /* guest pc of the instruction at which the guest resumes */
    const char *what; /* EXIT_UNSUPPORTED: static text naming the feature; else NULL */
    uint32_t wake;    /* EXIT_HALT: ATTN_* bits that end the wait (no ATTN_INTERRUPT while the
                       * guest masks interrupts); 0 means any. ATTN_STOP always does. */
};

#endif
