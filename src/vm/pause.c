/* SPDX-License-Identifier: MIT */
/* Pausing a VM: see vm_pause() in ring3/vm.h.
 *
 * The caller is the loop thread, so no timer and no backend callback runs meanwhile. It asks the
 * vCPU thread to stop (ATTN_STOP), which parks in pause_point() at an instruction boundary, with
 * whatever the ISA keeps in host registers stored. Then guest time stops, timers that are
 * overdue run, and block requests run out. A stop of the VM wakes a parked thread, which then ends.
 */
#include <stdatomic.h>

#include "vm/run.h"

static bool wanted(struct vm *vm)
{
    return vm->pauses && !vm->stopped;
}

void pause_point(struct vm *vm)
{
    pthread_mutex_lock(&vm->stop_lock);
    if (wanted(vm)) {
        if (vm->vcpu->isa->parked)
            vm->vcpu->isa->parked(vm->vcpu);
        vm->parked = true;
        pthread_cond_broadcast(&vm->parking);
        while (wanted(vm))
            pthread_cond_wait(&vm->parking, &vm->stop_lock);
        vm->parked = vm->stopped;
    }
    pthread_mutex_unlock(&vm->stop_lock);
}

void pause_awaited(struct vm *vm)
{
    pthread_mutex_lock(&vm->stop_lock);
    while (!vm->pauses && !vm->stopped)
        pthread_cond_wait(&vm->parking, &vm->stop_lock);
    pthread_mutex_unlock(&vm->stop_lock);
    pause_point(vm);
}

void pause_gone(struct vm *vm, bool gone)
{
    pthread_mutex_lock(&vm->stop_lock);
    if (gone && vm->vcpu->isa->parked)
        vm->vcpu->isa->parked(vm->vcpu);
    vm->parked = gone;
    pthread_cond_broadcast(&vm->parking);
    pthread_mutex_unlock(&vm->stop_lock);
    if (!gone)
        pause_point(vm);
}

static void drain_drives(struct vm *vm)
{
    for (unsigned i = 0; i < ARRAY_LEN(vm->drive); i++)
        if (vm->drive[i])
            block_drain(vm->drive[i]);
}

void vm_pause(struct vm *vm)
{
    pthread_mutex_lock(&vm->stop_lock);
    bool first = vm->pauses++ == 0;
    pthread_cond_broadcast(&vm->parking);
    pthread_mutex_unlock(&vm->stop_lock);
    if (!first)
        return;
    vcpu_attend(vm->vcpu, ATTN_STOP);
    pthread_mutex_lock(&vm->stop_lock);
    while (!vm->parked)
        pthread_cond_wait(&vm->parking, &vm->stop_lock);
    pthread_mutex_unlock(&vm->stop_lock);
    if (!vm->vcpu_thread_started && vm->vcpu->isa->parked)
        vm->vcpu->isa->parked(vm->vcpu);
    clock_pause(vm->clock);
    clock_run_due(vm->clock); /* what came due before, but for which nobody had time */
    drain_drives(vm);
}

void vm_resume(struct vm *vm)
{
    pthread_mutex_lock(&vm->stop_lock);
    bool last = vm->pauses == 1;
    pthread_mutex_unlock(&vm->stop_lock);
    if (last) {
        clock_resume(vm->clock);
        if (vm->vcpu->isa->resumed)
            vm->vcpu->isa->resumed(vm->vcpu);
    }
    pthread_mutex_lock(&vm->stop_lock);
    vm->pauses -= vm->pauses != 0;
    pthread_cond_broadcast(&vm->parking);
    pthread_mutex_unlock(&vm->stop_lock);
}

bool vm_is_paused(struct vm *vm)
{
    pthread_mutex_lock(&vm->stop_lock);
    bool paused = vm->pauses != 0;
    pthread_mutex_unlock(&vm->stop_lock);
    return paused;
}
