/* SPDX-License-Identifier: MIT */
/* The vCPU thread: let the engine run guest code, serve the exit, repeat.
 *
 * Two ways to pass time. With the real clock the event loop runs timers while the
 * processor does; a halted processor runs them itself, sleeping until the next deadline or until
 * somebody sets a bit of its attention word. With the virtual clock this thread
 * owns time: each retired instruction is VIRTUAL_NS_PER_INSTRUCTION nanoseconds, timers run here
 * between slices that end no later than the next deadline, and a halted processor jumps to that
 * deadline. Virtual time needs an instruction budget, so it runs isa->interpret whatever engine
 * was chosen; runs then repeat exactly, except for what the user types. */
#include "vm/run.h"

#include <signal.h>
#include <stdatomic.h>
#include <time.h>

uint64_t host_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * NS_PER_SEC + (uint64_t)t.tv_nsec;
}

static void run_virtual_slice(struct vm *vm, struct vm_exit *x)
{
    struct vcpu *v = vm->vcpu;
    uint64_t now = clock_now_ns(vm->clock), deadline = clock_next_deadline(vm->clock);
    uint64_t budget = VIRTUAL_SLICE;
    if (deadline <= now)
        budget = 1;
    else if ((deadline - now) / VIRTUAL_NS_PER_INSTRUCTION < VIRTUAL_SLICE)
        budget = (deadline - now + VIRTUAL_NS_PER_INSTRUCTION - 1) / VIRTUAL_NS_PER_INSTRUCTION;
    uint64_t before = v->stats.instructions;
    v->isa->interpret(v, budget, x);
    uint64_t retired = v->stats.instructions - before;
    /* An endless chain of faults retires nothing; time must pass all the same. */
    clock_advance(vm->clock, (retired ? retired : 1) * VIRTUAL_NS_PER_INSTRUCTION);
}

static void jump_to_wakeup(struct vm *vm, uint32_t wake)
{
    struct vcpu *v = vm->vcpu;
    while (!(atomic_load(&v->attention) & wake)) {
        uint64_t now = clock_now_ns(vm->clock), deadline = clock_next_deadline(vm->clock);
        if (deadline == TIMER_NEVER) {
            vcpu_wait(v, wake, UINT64_MAX); /* only input or a stop can help now */
            return;
        }
        clock_advance(vm->clock, deadline > now ? deadline - now : 0);
    }
}

static void timer_moved(void *opaque)
{
    vcpu_attend(opaque, ATTN_TIMER);
}

/* Real time: run the clock's timers here until one of them, or another thread, ends the halt. */
static void sleep_and_serve_timers(struct vm *vm, uint32_t wake)
{
    struct vcpu *v = vm->vcpu;
    if (!vm->timers_borrowed) {
        if (atomic_load(&v->attention) & wake)
            return;
        loop_timers_borrow(vm->loop, timer_moved, v);
        vm->timers_borrowed = true;
    }
    for (;;) {
        vcpu_unattend(v, ATTN_TIMER);
        vm->woken_by_timer = !(atomic_load(&v->attention) & wake);
        if (!vm->woken_by_timer)
            break;
        uint64_t deadline = clock_run_due(vm->clock), now = clock_now_ns(vm->clock);
        if (atomic_load(&v->attention) & wake)
            break;
        vcpu_wait(v, wake | ATTN_TIMER,
                  deadline == TIMER_NEVER ? UINT64_MAX
                  : deadline > now        ? deadline - now
                                          : 0);
    }
}

/* A processor that a timer has woken often halts again very soon. It keeps the timers that long,
 * which saves arming and disarming the host's timer for each tick of an idle guest. They may come
 * late by WAKE_BUDGET instructions. The budget needs isa->interpret, whatever the engine. Woken by
 * a device, say at the end of a disk request, the guest has work to do, which the engine is for. */
static void run_after_halt(struct vm *vm, struct vm_exit *x)
{
    if (vm->woken_by_timer) {
        vm->vcpu->isa->interpret(vm->vcpu, WAKE_BUDGET, x);
        if (x->kind == EXIT_HALT)
            return;
    }
    vm->timers_borrowed = false;
    loop_timers_return(vm->loop);
    if (!vm->woken_by_timer)
        vm->config.engine->run(vm->vcpu, x);
}

void run_halted(struct vm *vm, uint32_t wake)
{
    struct vcpu *v = vm->vcpu;
    wake |= ATTN_STOP;
    uint64_t start = host_now_ns();
    if (vm->config.clock == CLOCK_VIRTUAL)
        jump_to_wakeup(vm, wake);
    else
        sleep_and_serve_timers(vm, wake);
    v->stats.idle_ns += host_now_ns() - start;
}

void *vcpu_thread_main(void *opaque)
{
    struct vm *vm = opaque;
    struct vcpu *v = vm->vcpu;
    if (vm->config.thread_start)
        vm->config.thread_start(vm->config.thread_opaque);
    struct vm_exit x;
    bool goes_on = true;
    pause_gone(vm, false);
    while (goes_on) {
        if (v->halted) {
            goes_on = exit_serve_halt(vm);
            continue;
        }
        x = (struct vm_exit){.kind = EXIT_ATTENTION};
        uint64_t start = host_now_ns();
        if (vm->config.clock == CLOCK_VIRTUAL)
            run_virtual_slice(vm, &x);
        else if (vm->timers_borrowed)
            run_after_halt(vm, &x);
        else
            vm->config.engine->run(v, &x);
        v->stats.guest_ns += host_now_ns() - start;
        goes_on = exit_serve(vm, &x);
    }
    pause_gone(vm, true);
    return NULL;
}
