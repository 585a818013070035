/* SPDX-License-Identifier: MIT */
/* What happens at each kind of exit. One row per kind of EXIT_KINDS: its name comes from the
 * X-macro, its handler from the table below. A handler says whether the processor goes on. */
#include "vm/run.h"

#include <inttypes.h>
#include <stdatomic.h>

static const char *const names[] = {
#define X(kind, name, meaning) [kind] = name,
    EXIT_KINDS(X)
#undef X
};

const char *exit_name(enum exit_kind kind)
{
    return (unsigned)kind < EXIT_KIND_COUNT ? names[kind] : "?";
}

static bool is_stopped(struct vm *vm)
{
    pthread_mutex_lock(&vm->stop_lock);
    bool stopped = vm->stopped;
    pthread_mutex_unlock(&vm->stop_lock);
    return stopped;
}

static bool serve_reset(struct vm *vm)
{
    struct err e = {0};
    if (!vm->config.allow_reboot) {
        vm_stop(vm, VM_EXIT_REBOOT, "guest-reset",
                "the guest reset the machine; add --reboot to let it restart");
        return false;
    }
    vm->vcpu->halted = 0;
    if (vm->config.board->reset(vm, &e) < 0) {
        vm_stop(vm, VM_EXIT_FAILURE, e.id, "%s", e.text);
        return false;
    }
    return true;
}

/* The bits go first, then the reasons are looked at: who asks again sets them again. */
static bool on_attention(struct vm *vm, const struct vm_exit *x)
{
    uint32_t old = atomic_fetch_and(&vm->vcpu->attention, ~(uint32_t)(ATTN_STOP | ATTN_RESET));
    if (is_stopped(vm))
        return false;
    bool wanted = atomic_exchange(&vm->reset_wanted, false);
    if ((wanted || old & ATTN_RESET) && !serve_reset(vm))
        return false;
    pause_point(vm);
    return !is_stopped(vm);
}

/* A pause, or a reset that is not to be, does not end the halt. */
bool exit_serve_halt(struct vm *vm)
{
    struct vcpu *v = vm->vcpu;
    run_halted(vm, v->halted);
    uint32_t now = atomic_load(&v->attention);
    if (now & v->halted & ~(uint32_t)ATTN_STOP)
        v->halted = 0;
    return !(now & ATTN_STOP) || on_attention(vm, NULL);
}

/* What ends even the wait of a processor that takes no interrupts. */
#define HALTED_FOR_GOOD ((uint32_t)(ATTN_STOP | ATTN_NMI | ATTN_RESET | ATTN_CODE))

static bool on_halt(struct vm *vm, const struct vm_exit *x)
{
    uint32_t wake = x->wake ? x->wake : ATTN_INTERRUPT | ATTN_NMI | ATTN_RESET;
    if (!(wake & ~HALTED_FOR_GOOD) && vm->config.board->halt_is_off) {
        vm_stop(vm, VM_EXIT_POWER_OFF, "guest-halted",
                "the guest halted its processor for good, with all interrupts masked: powered off");
        return false;
    }
    vm->vcpu->halted = wake & ~(uint32_t)(ATTN_STOP | ATTN_CODE); /* DMA to code wakes nobody */
    return exit_serve_halt(vm);
}

static bool on_emulate(struct vm *vm, const struct vm_exit *x)
{
    struct vm_exit y = {.kind = EXIT_ATTENTION};
    vm->vcpu->isa->interpret(vm->vcpu, 1, &y);
    if (y.kind == EXIT_EMULATE) {
        vm_stop(vm, VM_EXIT_FAILURE, "emulate-loop",
                "the %s interpreter declined the instruction at %#" PRIx64
                ", which it never may: please report this",
                vm->vcpu->isa->name, x->pc);
        return false;
    }
    return exit_serve(vm, &y);
}

/* Whoever debugs pauses the machine when it hears of this; until then the processor stands. */
static bool on_debug(struct vm *vm, const struct vm_exit *x)
{
    if (!vm->debug_stopped || loop_post(vm->loop, vm->debug_stopped, vm->debug_opaque) < 0)
        return true;
    pause_awaited(vm);
    return !is_stopped(vm);
}

static bool on_shutdown(struct vm *vm, const struct vm_exit *x)
{
    vm_stop(vm, VM_EXIT_TRIPLE_FAULT, "triple-fault",
            "the guest's processor shut down (triple fault) at %#" PRIx64
            ": a fault came while it was delivering a double fault",
            x->pc);
    return false;
}

static bool on_unsupported(struct vm *vm, const struct vm_exit *x)
{
    vm_stop(vm, VM_EXIT_UNSUPPORTED, "unsupported",
            "the guest used what ring3 does not implement: %s (at %#" PRIx64 ")",
            x->what ? x->what : "unnamed", x->pc);
    return false;
}

/* Kinds without a row are served inside engines; meeting one here is our mistake, but a guest
 * may have led us to it, so only this VM ends. */
static bool (*const handlers[EXIT_KIND_COUNT])(struct vm *, const struct vm_exit *) = {
    [EXIT_ATTENTION] = on_attention, [EXIT_HALT] = on_halt,
    [EXIT_EMULATE] = on_emulate,     [EXIT_DEBUG] = on_debug,
    [EXIT_SHUTDOWN] = on_shutdown,   [EXIT_UNSUPPORTED] = on_unsupported,
};

bool exit_serve(struct vm *vm, const struct vm_exit *x)
{
    struct vcpu *v = vm->vcpu;
    if ((unsigned)x->kind >= EXIT_KIND_COUNT || !handlers[x->kind]) {
        vm_stop(vm, VM_EXIT_FAILURE, "exit-unexpected",
                "engine %s left with exit \"%s\" (%d), which it should have served: please "
                "report this",
                vm->config.engine->name, exit_name(x->kind), (int)x->kind);
        return false;
    }
    v->stats.exits[x->kind]++;
    if (v->trace & TRACE_EXITS)
        log_line(v->log, LOG_INFO, "trace-exit", "%s pc=%#" PRIx64 " instructions=%" PRIu64,
                 exit_name(x->kind), x->pc, v->stats.instructions);
    return handlers[x->kind](vm, x);
}
