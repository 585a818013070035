/* SPDX-License-Identifier: MIT */
/* vm/vm.c, vm/run.c, vm/exit.c with a toy processor whose program is a list of exits. */
#include "unit.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "ring3/vm.h"
#include "vm/run.h"

/* One step of a program: retire instructions, then leave like this. */
struct step {
    enum exit_kind kind;
    uint64_t instructions;
    uint32_t wake;
    void (*action)(struct vm *vm);
};

struct toy {
    struct vcpu v; /* first */
    struct vm *vm;
    const struct step *program;
    unsigned next, interpreted;
    int resets, frees;
    uint64_t budget; /* last one seen */
};

/* The program reaches the board through config.append. */
struct toy_setup {
    const struct step *program;
    struct toy toy;
    int attach_result, build_result, detached;
};

static struct toy_setup *setup_of(const struct vm *vm)
{
    return (struct toy_setup *)(uintptr_t)vm->config.append;
}

static void step(struct toy *t, struct vm_exit *x)
{
    if (t->v.attention & ATTN_STOP) {
        x->kind = EXIT_ATTENTION;
        return;
    }
    const struct step *s = &t->program[t->next++];
    t->v.stats.instructions += s->instructions;
    if (s->action)
        s->action(t->vm);
    *x = (struct vm_exit){.kind = s->kind, .pc = 0x1000, .wake = s->wake, .what = "toy feature"};
}

static void toy_free(struct vcpu *v)
{
    container_of(v, struct toy, v)->frees++;
}

static void toy_interpret(struct vcpu *v, uint64_t budget, struct vm_exit *x)
{
    struct toy *t = container_of(v, struct toy, v);
    t->interpreted++;
    t->budget = budget;
    if (t->vm->config.clock == CLOCK_VIRTUAL) {
        step(t, x);
    } else {
        v->stats.instructions++;
        x->kind = EXIT_ATTENTION;
    }
}

static const struct isa_ops toy_isa = {
    .name = "toy", .vcpu_free = toy_free, .interpret = toy_interpret};

static int toy_build(struct vm *vm, struct err *e)
{
    struct toy_setup *s = setup_of(vm);
    if (s->build_result < 0)
        return err_set(e, -s->build_result, "toy-build", "no");
    s->toy = (struct toy){.vm = vm, .program = s->program};
    s->toy.v.isa = &toy_isa;
    s->toy.v.clock = vm->clock;
    s->toy.v.log = &vm->log;
    vm->vcpu = &s->toy.v;
    return 0;
}

static int toy_reset(struct vm *vm, struct err *e)
{
    setup_of(vm)->toy.resets++;
    return 0;
}

static const struct board_ops toy_board = {.name = "toy", .build = toy_build, .reset = toy_reset};

static int toy_attach(struct vcpu *v, const struct dbt_options *dbt, struct err *e)
{
    struct toy_setup *s = container_of(v, struct toy_setup, toy.v);
    return s->attach_result < 0 ? err_set(e, -s->attach_result, "toy-attach", "no") : 0;
}

static void toy_detach(struct vcpu *v)
{
    container_of(v, struct toy_setup, toy.v)->detached++;
}

static void toy_run(struct vcpu *v, struct vm_exit *x)
{
    step(container_of(v, struct toy, v), x);
}

static const struct engine_ops toy_engine = {
    .name = "toy", .attach = toy_attach, .detach = toy_detach, .run = toy_run};

static int build(struct vm *vm, struct toy_setup *s, enum clock_kind clock, bool reboot,
                 struct err *e)
{
    struct vm_config c = {.board = &toy_board,
                          .engine = &toy_engine,
                          .clock = clock,
                          .ram_bytes = MIB,
                          .append = (const char *)s,
                          .allow_reboot = reboot};
    return vm_build(vm, &c, (struct log){LOG_ERROR, STDERR_FILENO}, NULL, e);
}

static int run_program(struct vm *vm, struct toy_setup *s, const struct step *program,
                       enum clock_kind clock, bool reboot)
{
    struct err e = {0};
    *s = (struct toy_setup){.program = program};
    assert_int_equal(build(vm, s, clock, reboot, &e), 0);
    alarm(20);
    int code = vm_run(vm);
    alarm(0);
    return code;
}

static void power_off(struct vm *vm)
{
    vm_stop(vm, 7, "guest-exit", "%s", "seven");
    vm_stop(vm, 8, "too-late", "%s", "eight");
}

static void stop_ends_the_run_and_the_first_wins(void **state)
{
    static const struct step program[] = {{EXIT_ATTENTION, 10}, {EXIT_ATTENTION, 5, 0, power_off}};
    struct vm vm;
    struct toy_setup s;
    assert_int_equal(run_program(&vm, &s, program, CLOCK_REAL_TIME, false), 7);
    assert_string_equal(vm.stop_id, "guest-exit");
    assert_string_equal(vm.stop_text, "seven");
    assert_int_equal(vm.vcpu->stats.instructions, 15);
    assert_int_equal(vm.vcpu->stats.exits[EXIT_ATTENTION], 2);
    vm_free(&vm);
    assert_int_equal(s.detached, 1);
    assert_int_equal(s.toy.frees, 1);
}

static void declined_instruction_is_interpreted_once(void **state)
{
    static const struct step program[] = {{EXIT_EMULATE}, {EXIT_EMULATE}, {EXIT_SHUTDOWN}};
    struct vm vm;
    struct toy_setup s;
    assert_int_equal(run_program(&vm, &s, program, CLOCK_REAL_TIME, false), VM_EXIT_TRIPLE_FAULT);
    assert_int_equal(s.toy.interpreted, 2);
    assert_int_equal(s.toy.budget, 1);
    assert_int_equal(vm.vcpu->stats.exits[EXIT_EMULATE], 2);
    vm_free(&vm);
}

static void unsupported_operation_is_named(void **state)
{
    static const struct step program[] = {{EXIT_UNSUPPORTED}};
    struct vm vm;
    struct toy_setup s;
    assert_int_equal(run_program(&vm, &s, program, CLOCK_REAL_TIME, false), VM_EXIT_UNSUPPORTED);
    assert_non_null(strstr(vm.stop_text, "toy feature"));
    vm_free(&vm);
}

static void unserved_inline_exit_stops_only_the_vm(void **state)
{
    static const struct step program[] = {{EXIT_PIO}};
    struct vm vm;
    struct toy_setup s;
    assert_int_equal(run_program(&vm, &s, program, CLOCK_REAL_TIME, false), VM_EXIT_FAILURE);
    assert_string_equal(vm.stop_id, "exit-unexpected");
    vm_free(&vm);
}

static void reset_stops_or_restarts(void **state)
{
    static const struct step program[] = {
        {EXIT_ATTENTION, 1, 0, vm_reset_request}, {EXIT_ATTENTION, 1}, {EXIT_SHUTDOWN}};
    struct vm vm;
    struct toy_setup s;
    assert_int_equal(run_program(&vm, &s, program, CLOCK_REAL_TIME, false), VM_EXIT_REBOOT);
    assert_int_equal(s.toy.resets, 0);
    vm_free(&vm);
    assert_int_equal(run_program(&vm, &s, program, CLOCK_REAL_TIME, true), VM_EXIT_TRIPLE_FAULT);
    assert_int_equal(s.toy.resets, 1);
    vm_free(&vm);
}

static void *interrupt_later(void *opaque)
{
    struct vm *vm = opaque;
    struct timespec pause = {0, 30 * 1000 * 1000};
    nanosleep(&pause, NULL);
    vcpu_attend(vm->vcpu, ATTN_INTERRUPT);
    nanosleep(&pause, NULL);
    vcpu_attend(vm->vcpu, ATTN_NMI);
    return NULL;
}

static void start_interrupter(struct vm *vm)
{
    pthread_t t;
    assert_int_equal(pthread_create(&t, NULL, interrupt_later, vm), 0);
    pthread_detach(t);
}

/* The halt masks interrupts, so the first poke must not end it. */
static void halt_sleeps_until_its_wake_bits(void **state)
{
    static const struct step program[] = {
        {EXIT_ATTENTION, 1, 0, start_interrupter}, {EXIT_HALT, 1, ATTN_NMI}, {EXIT_SHUTDOWN}};
    struct vm vm;
    struct toy_setup s;
    assert_int_equal(run_program(&vm, &s, program, CLOCK_REAL_TIME, false), VM_EXIT_TRIPLE_FAULT);
    assert_true(vm.vcpu->attention & ATTN_NMI);
    assert_true(vm.vcpu->stats.idle_ns > 50 * 1000 * 1000);
    assert_true(vm.vcpu->stats.guest_ns < 40 * 1000 * 1000);
    vm_free(&vm);
}

/* On a board where that turns the machine off, a halt that only a reset could end does, other halts
 * do not. */
static void halt_for_good_turns_off(void **state)
{
    static const struct step program[] = {{EXIT_ATTENTION, 1, 0, start_interrupter},
                                          {EXIT_HALT, 1, ATTN_NMI | ATTN_INTERRUPT},
                                          {EXIT_HALT, 1, ATTN_NMI | ATTN_ISA},
                                          {EXIT_HALT, 1, ATTN_NMI | ATTN_RESET},
                                          {EXIT_SHUTDOWN}};
    struct board_ops board = toy_board;
    struct toy_setup s = {.program = program};
    struct vm_config c = {
        .board = &board, .engine = &toy_engine, .ram_bytes = MIB, .append = (const char *)&s};
    struct vm vm;
    board.halt_is_off = true;
    assert_int_equal(vm_build(&vm, &c, (struct log){LOG_ERROR, STDERR_FILENO}, NULL, NULL), 0);
    alarm(20);
    assert_int_equal(vm_run(&vm), VM_EXIT_POWER_OFF);
    alarm(0);
    assert_string_equal(vm.stop_id, "guest-halted");
    assert_int_equal(s.toy.next, 4);
    vm_free(&vm);
}

/* ---- pausing --------------------------------------------------------------------------------- */

struct pauser {
    struct vm *vm;
    unsigned next, later; /* of the program, when paused and a while after that */
    uint64_t ns, ns_later;
    uint32_t halted;
    bool nested;
};

static void pause_and_look(void *opaque)
{
    struct pauser *p = opaque;
    const struct timespec moment = {0, 30 * 1000 * 1000};
    struct toy *t = container_of(p->vm->vcpu, struct toy, v);
    vm_pause(p->vm);
    vm_pause(p->vm);
    p->next = t->next;
    p->ns = clock_now_ns(p->vm->clock);
    p->halted = p->vm->vcpu->halted;
    nanosleep(&moment, NULL);
    vm_resume(p->vm);
    p->nested = vm_is_paused(p->vm);
    p->later = t->next;
    p->ns_later = clock_now_ns(p->vm->clock);
    vm_resume(p->vm);
    vcpu_attend(p->vm->vcpu, ATTN_NMI); /* ends the halt, if there is one */
}

static void pause_the_halt(void *opaque)
{
    struct pauser *p = opaque;
    while (!atomic_load(&p->vm->vcpu->asleep))
        sched_yield();
    pause_and_look(p);
}

static struct pauser pauser_of_test;
static void ask_for_pause_in_halt(struct vm *vm)
{
    pauser_of_test = (struct pauser){.vm = vm};
    assert_int_equal(loop_post(vm->loop, pause_the_halt, &pauser_of_test), 0);
}

static void ask_for_pause(struct vm *vm)
{
    pauser_of_test = (struct pauser){.vm = vm};
    assert_int_equal(loop_post(vm->loop, pause_and_look, &pauser_of_test), 0);
}

static void expect_paused(const struct pauser *p)
{
    assert_int_equal(p->next, p->later);
    assert_true(p->ns == p->ns_later);
    assert_true(p->nested);
}

static bool was_paused(const struct vm *vm)
{
    return pauser_of_test.ns_later && !((struct vm *)(uintptr_t)vm)->pauses;
}

/* Keeps the program where it is until the pause is over. */
static void again_until_paused(struct vm *vm)
{
    if (!was_paused(vm))
        container_of(vm->vcpu, struct toy, v)->next--;
}

static void nothing_moves_while_paused(void **state)
{
    static const struct step program[] = {{EXIT_ATTENTION, 1, 0, ask_for_pause},
                                          {EXIT_ATTENTION, 1, 0, again_until_paused},
                                          {EXIT_SHUTDOWN}};
    struct vm vm;
    struct toy_setup s;
    assert_int_equal(run_program(&vm, &s, program, CLOCK_REAL_TIME, false), VM_EXIT_TRIPLE_FAULT);
    expect_paused(&pauser_of_test);
    assert_int_equal(pauser_of_test.halted, 0);
    vm_free(&vm);
}

/* What a pause interrupts is a halt afterwards, too. */
static void a_pause_does_not_end_a_halt(void **state)
{
    static const struct step program[] = {
        {EXIT_ATTENTION, 1, 0, ask_for_pause_in_halt}, {EXIT_HALT, 1, ATTN_NMI}, {EXIT_SHUTDOWN}};
    struct vm vm;
    struct toy_setup s;
    assert_int_equal(run_program(&vm, &s, program, CLOCK_REAL_TIME, false), VM_EXIT_TRIPLE_FAULT);
    expect_paused(&pauser_of_test);
    assert_int_equal(pauser_of_test.halted, ATTN_NMI);
    assert_true(vm.vcpu->attention & ATTN_NMI);
    vm_free(&vm);
}

static void stop_while_paused(void *opaque)
{
    struct vm *vm = opaque;
    vm_pause(vm);
    vm_stop(vm, 9, "guest-exit", "%s", "nine");
}

static void ask_for_stop(struct vm *vm)
{
    assert_int_equal(loop_post(vm->loop, stop_while_paused, vm), 0);
}

static void a_paused_vm_can_be_stopped(void **state)
{
    static const struct step program[] = {
        {EXIT_ATTENTION, 1, 0, ask_for_stop}, {EXIT_HALT, 1, ATTN_NMI}, {EXIT_SHUTDOWN}};
    struct vm vm;
    struct toy_setup s;
    assert_int_equal(run_program(&vm, &s, program, CLOCK_REAL_TIME, false), 9);
    vm_free(&vm);
}

static void fire(void *opaque)
{
    vcpu_attend(opaque, ATTN_INTERRUPT);
}

/* 1000 instructions are 10 us; the halt jumps over the hour to the timer without waiting. */
static void virtual_time_follows_instructions_and_jumps_when_halted(void **state)
{
    static const struct step program[] = {
        {EXIT_ATTENTION, 600}, {EXIT_ATTENTION, 400}, {EXIT_HALT}, {EXIT_SHUTDOWN}};
    struct vm vm;
    struct toy_setup s = {.program = program};
    struct err e = {0};
    struct timer t;
    assert_int_equal(build(&vm, &s, CLOCK_VIRTUAL, false, &e), 0);
    timer_init(&t, vm.clock, fire, vm.vcpu);
    timer_set(&t, 3600 * NS_PER_SEC);
    uint64_t start = host_now_ns();
    alarm(20);
    assert_int_equal(vm_run(&vm), VM_EXIT_TRIPLE_FAULT);
    alarm(0);
    assert_true(host_now_ns() - start < 10 * NS_PER_SEC);
    /* the last step retired nothing, which still counts as one instruction */
    assert_int_equal(clock_now_ns(vm.clock), 3600 * NS_PER_SEC + VIRTUAL_NS_PER_INSTRUCTION);
    assert_true(vm.vcpu->attention & ATTN_INTERRUPT);
    vm_free(&vm);
}

static void virtual_slices_end_at_the_next_deadline(void **state)
{
    static const struct step program[] = {{EXIT_SHUTDOWN, 1}};
    struct vm vm;
    struct toy_setup s = {.program = program};
    struct err e = {0};
    struct timer t;
    assert_int_equal(build(&vm, &s, CLOCK_VIRTUAL, false, &e), 0);
    timer_init(&t, vm.clock, fire, vm.vcpu);
    timer_set(&t, 255);
    assert_int_equal(vm_run(&vm), VM_EXIT_TRIPLE_FAULT);
    assert_int_equal(s.toy.budget, 26);
    timer_set(&t, TIMER_NEVER);
    vm_free(&vm);
}

static void half_built_vms_are_freed(void **state)
{
    struct vm vm;
    struct err e = {0};
    struct toy_setup s = {.build_result = -ENOENT};
    assert_int_equal(build(&vm, &s, CLOCK_REAL_TIME, false, &e), -ENOENT);
    assert_string_equal(e.id, "toy-build");
    vm_free(&vm);
    assert_int_equal(s.detached, 0);

    s = (struct toy_setup){.attach_result = -ENOMEM};
    assert_int_equal(build(&vm, &s, CLOCK_REAL_TIME, false, &e), -ENOMEM);
    assert_string_equal(e.id, "toy-attach");
    vm_free(&vm);
    assert_int_equal(s.detached, 0);
    assert_int_equal(s.toy.frees, 1);
}

static void every_exit_kind_has_a_name(void **state)
{
    for (int i = 0; i < EXIT_KIND_COUNT; i++)
        assert_true(strlen(exit_name((enum exit_kind)i)) > 1);
    assert_string_equal(exit_name(EXIT_HALT), "halt");
    assert_string_equal(exit_name(EXIT_KIND_COUNT), "?");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stop_ends_the_run_and_the_first_wins),
        cmocka_unit_test(declined_instruction_is_interpreted_once),
        cmocka_unit_test(unsupported_operation_is_named),
        cmocka_unit_test(unserved_inline_exit_stops_only_the_vm),
        cmocka_unit_test(reset_stops_or_restarts),
        cmocka_unit_test(halt_sleeps_until_its_wake_bits),
        cmocka_unit_test(halt_for_good_turns_off),
        cmocka_unit_test(nothing_moves_while_paused),
        cmocka_unit_test(a_pause_does_not_end_a_halt),
        cmocka_unit_test(a_paused_vm_can_be_stopped),
        cmocka_unit_test(virtual_time_follows_instructions_and_jumps_when_halted),
        cmocka_unit_test(virtual_slices_end_at_the_next_deadline),
        cmocka_unit_test(half_built_vms_are_freed),
        cmocka_unit_test(every_exit_kind_has_a_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
