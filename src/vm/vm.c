/* SPDX-License-Identifier: MIT */
/* Life of a virtual machine: build, run, stop, reset, free. See ring3/vm.h.
 *
 * Threads: the caller of vm_run serves the event loop; one more thread runs the processor. A
 * stop, from whichever thread, is recorded once, then both are asked to leave. */
#include "vm/run.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/engines.h"

static int attach(struct vm *vm, const struct engine_ops *engine, struct err *e)
{
    int r = engine->probe(e);
    if (r == 0)
        r = engine->attach(vm->vcpu, &vm->config.dbt, e);
    vm->engine_attached = r == 0;
    return r;
}

/* A host may pass an engine's probe and still not have what it needs with this guest's RAM. */
static int attach_any(struct vm *vm, struct err *e)
{
    if (vm->config.clock == CLOCK_VIRTUAL) {
        vm->config.engine = &interp_engine;
        return attach(vm, &interp_engine, e);
    }
    struct err why = {0};
    int r = -ENOSYS;
    for (unsigned i = 0; r < 0 && engines[i]; i++) {
        vm->config.engine = engines[i];
        r = attach(vm, engines[i], e);
        if (r < 0 && i == 0)
            why = *e;
    }
    if (r == 0 && why.errnum && vm->vcpu->isa->translator) /* else nothing is missed */
        log_line(&vm->log, LOG_INFO, "engine-fallback",
                 "engine %s runs this guest, not %s, which would be several times faster: %s",
                 vm->config.engine->name, engines[0]->name, why.text);
    return r;
}

static int open_drives(struct vm *vm, struct err *e)
{
    for (unsigned i = 0; i < vm->config.drives; i++) {
        struct block_config c = vm->config.drive[i].image;
        c.log = &vm->log;
        c.thread_start = vm->config.thread_start;
        c.thread_opaque = vm->config.thread_opaque;
        if (c.file && !(vm->drive[i] = block_open(&c, e)))
            return -e->errnum;
    }
    return 0;
}

static int open_nics(struct vm *vm, struct err *e)
{
    for (unsigned i = 0; i < vm->config.nics; i++) {
        vm->nic[i] = netdev_open(vm->config.nic[i].backend, vm->loop, &vm->log, e);
        if (!vm->nic[i])
            return -e->errnum;
    }
    return 0;
}

static int build_parts(struct vm *vm, struct err *e)
{
    const struct vm_config *c = &vm->config;
    vm->clock = clock_new(c->clock, e);
    if (!vm->clock)
        return -e->errnum;
    vm->loop = loop_new(c->clock == CLOCK_REAL_TIME ? vm->clock : NULL, e);
    if (!vm->loop)
        return -e->errnum;
    vm->mem = phys_new(c->ram_bytes, e);
    if (!vm->mem)
        return -e->errnum;
    vm->mmio = bus_new("mmio", PHYS_LIMIT, e);
    if (!vm->mmio)
        return -e->errnum;
    vm->pio = bus_new("pio", 0x10000, e);
    if (!vm->pio)
        return -e->errnum;
    int r = open_drives(vm, e);
    if (r == 0)
        r = open_nics(vm, e);
    if (r == 0)
        r = c->board->build(vm, e);
    if (r < 0)
        return r;
    if (!c->engine)
        return attach_any(vm, e);
    r = c->engine->attach(vm->vcpu, &c->dbt, e);
    vm->engine_attached = r == 0;
    return r;
}

int vm_build(struct vm *vm, const struct vm_config *config, struct log log, struct chardev *console,
             struct err *e)
{
    struct err own = {0};
    memset(vm, 0, sizeof *vm);
    vm->config = *config;
    vm->log = log;
    vm->console = console;
    vm->created_ns = host_now_ns();
    pthread_mutex_init(&vm->stop_lock, NULL);
    pthread_cond_init(&vm->parking, NULL);
    vm->parked = true;
    int r = build_parts(vm, &own);
    if (r < 0 && e)
        *e = own;
    return r;
}

void vm_free(struct vm *vm)
{
    if (vm->engine_attached)
        vm->config.engine->detach(vm->vcpu);
    for (unsigned i = 0; i < VM_MAX_DRIVES; i++)
        if (vm->drive[i])
            block_drain(vm->drive[i]); /* what is under way writes to RAM and tells devices */
    snapshot_rest_end(vm);
    while (vm->devices) {
        struct device *d = vm->devices;
        vm->devices = d->next;
        d->ops->free(d);
    }
    for (unsigned i = 0; i < VM_MAX_DRIVES; i++) {
        block_free(vm->drive[i]);
        free(vm->medium_name[i]);
    }
    for (unsigned i = 0; i < VM_MAX_NICS; i++)
        netdev_free(vm->nic[i]);
    if (vm->vcpu)
        vm->vcpu->isa->vcpu_free(vm->vcpu);
    if (vm->pio)
        bus_free(vm->pio);
    if (vm->mmio)
        bus_free(vm->mmio);
    if (vm->mem)
        phys_free(vm->mem);
    if (vm->console)
        vm->console->ops->free(vm->console);
    if (vm->loop)
        loop_free(vm->loop);
    if (vm->clock)
        clock_free(vm->clock);
    pthread_cond_destroy(&vm->parking);
    pthread_mutex_destroy(&vm->stop_lock);
    memset(vm, 0, sizeof *vm);
}

/* The new thread starts with every signal blocked that others are to
 * take; those of a crash stay open, since they hit the thread that caused them. */
static int start_vcpu(struct vm *vm)
{
    sigset_t all, old;
    sigfillset(&all);
    static const int crash[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP};
    for (unsigned i = 0; i < ARRAY_LEN(crash); i++)
        sigdelset(&all, crash[i]);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int r = pthread_create(&vm->vcpu_thread, NULL, vcpu_thread_main, vm);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    vm->vcpu_thread_started = r == 0;
    if (r == 0)
        pthread_setname_np(vm->vcpu_thread, "ring3-vcpu0");
    return -r;
}

int vm_run(struct vm *vm)
{
    int r = start_vcpu(vm);
    if (r < 0) {
        vm_stop(vm, VM_EXIT_HOST, "thread-failed",
                "cannot start the processor's thread: %s; check the limit on processes "
                "(ulimit -u)",
                strerror(-r));
    } else {
        struct err e = {0};
        if (loop_run(vm->loop, &e) < 0)
            vm_stop(vm, VM_EXIT_FAILURE, e.id, "%s", e.text);
        pthread_join(vm->vcpu_thread, NULL);
        vm->vcpu_thread_started = false;
    }
    pthread_mutex_lock(&vm->stop_lock);
    int code = vm->exit_code;
    pthread_mutex_unlock(&vm->stop_lock);
    return code;
}

void vm_stop(struct vm *vm, int code, const char *id, const char *fmt, ...)
{
    pthread_mutex_lock(&vm->stop_lock);
    if (!vm->stopped) {
        vm->stopped = true;
        vm->exit_code = code;
        snprintf(vm->stop_id, sizeof vm->stop_id, "%s", id);
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(vm->stop_text, sizeof vm->stop_text, fmt, ap);
        va_end(ap);
    }
    pthread_cond_broadcast(&vm->parking);
    pthread_mutex_unlock(&vm->stop_lock);
    if (vm->vcpu)
        vcpu_attend(vm->vcpu, ATTN_STOP);
    if (vm->loop)
        loop_quit(vm->loop);
}

void vm_reset_request(struct vm *vm)
{
    vm->reset_wanted = true;
    if (vm->vcpu)
        vcpu_attend(vm->vcpu, ATTN_STOP);
}

void vm_add_device(struct vm *vm, struct device *d)
{
    d->next = vm->devices;
    vm->devices = d;
}
