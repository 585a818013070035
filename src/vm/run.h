/* SPDX-License-Identifier: MIT */
/* Inside vm/: the run loop and its table of exits. */
#ifndef RING3_VM_RUN_H
#define RING3_VM_RUN_H

#include "ring3/vm.h"

/* Virtual time: guest nanoseconds per retired instruction (a 100 MIPS processor), and the most
 * instructions between two looks at the clock (guest time moves in steps of at most 10 us). */
#define VIRTUAL_NS_PER_INSTRUCTION 10
#define VIRTUAL_SLICE              1000

/* Real time: instructions a processor runs right after a halt before the clock's timers go back to
 * the event loop. Most ticks of an idle guest are over by then. */
#define WAKE_BUDGET 20000

uint64_t host_now_ns(void); /* monotonic */

/* Serve an exit that an engine returned. false: the vCPU thread is to end. vCPU thread. */
bool exit_serve(struct vm *vm, const struct vm_exit *x);
/* "halt" and the like; "?" for what is not a kind. Any thread. */
const char *exit_name(enum exit_kind kind);

/* Wait while somebody wants the machine paused. vCPU thread, at an instruction boundary. */
void pause_point(struct vm *vm);
/* The same, but wait for somebody to pause the machine if nobody has yet. */
void pause_awaited(struct vm *vm);
/* The vCPU thread begins (false) or ends (true): nobody need wait for it to park. */
void pause_gone(struct vm *vm, bool gone);

/* Go on with a halt that vcpu.halted says is on. False: the thread is to end. vCPU thread. */
bool exit_serve_halt(struct vm *vm);

/* Body of the vCPU thread; argument and result are those of pthread_create. */
void *vcpu_thread_main(void *vm);

/* Sleep as a halted processor does until one of `wake` or ATTN_STOP is set; in virtual time,
 * jump from deadline to deadline. Counts idle_ns. vCPU thread. */
void run_halted(struct vm *vm, uint32_t wake);

/* Forget the memory that a snapshot still has for the machine (snapshot_memory.c), which ends. */
void snapshot_rest_end(struct vm *vm);

#endif
