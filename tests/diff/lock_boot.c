/* SPDX-License-Identifier: MIT */
/* lock_boot: boots one guest in two machines at once, the interpreter's and the translator's, and
 * compares them after every translation.
 *
 *   lock_boot --kernel FILE [--board NAME] [--initrd FILE] [--append STRING] [--mem MIB]
 *             [--until TEXT]
 *             [--stretch N] [--steps N] [--memory-every N] [--full-every N]
 *             [--view auto|window|flat] [--cache MIB] [--no-adapt] [--one] [--trace-from N]
 *             [--spoil N] [--snapshot-every N] [--verbose]
 *
 * Both are complete machines of one board, by default the first that runs such kernels, with
 * virtual clocks, driven from here without threads. In a step the translator runs one translation,
 * or --stretch N instructions' worth of them; then the interpreter goes as far; then both clocks
 * advance by the same time, so that timers, and with them interrupts, come between the same two
 * instructions. The registers that most instructions change are compared after each step, all
 * registers every
 * --full-every steps, RAM every
 * --memory-every steps and at the end, and so is what the consoles took. It ends with the guest,
 * after --steps, or once the console shows --until.
 *
 * All that repeats exactly. --trace-from N prints the translations made from step N on; with
 * smaller intervals that is the wrong one. --spoil N flips a bit of a register of the translator's
 * after step N, to see that a difference is found.
 *
 * --snapshot-every N: after each N steps one machine is written to a snapshot, from which the other
 * one is built anew; the next time it is the other way round. So what was saved under one engine
 * goes on under the other, and must go the way of the machine that it was saved from.
 *
 * Exit status: 0 equal, 1 not, 2 usage or set-up, 77 this host cannot. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "board/boards.h"
#include "boot/boot.h"
#include "engine/engines.h"
#include "lock.h"
#include "ring3/snapshot.h"
#include "vm/run.h"

struct console {
    struct chardev chardev; /* first */
    char *text;
    size_t len, room;
};

struct machine {
    struct vm vm;
    struct vcpu *v;
    struct console *console;
    struct lock_place at;
    const uint8_t *ram;
    struct snapshot *restored_from; /* or NULL */
};

struct options {
    struct vm_config vm;
    const char *until;
    uint64_t stretch, steps, memory_every, full_every, trace_from, spoil, snapshot_every;
    bool verbose;
};

struct lock_boot {
    struct options o;
    struct machine ref, dbt;
    uint64_t snapshots, steps, translations, instructions, exceptions, interrupts;
};

/* ---- consoles ---------------------------------------------------------------------------------
 */

static size_t console_write(struct chardev *c, const uint8_t *p, size_t n)
{
    struct console *k = (struct console *)c;
    if (k->len + n + 1 > k->room) {
        size_t room = 2 * (k->room + n + 1);
        char *text = realloc(k->text, room);
        if (!text)
            return n; /* the difference in length will show */
        k->text = text;
        k->room = room;
    }
    memcpy(k->text + k->len, p, n);
    k->len += n;
    k->text[k->len] = 0;
    return n;
}

static void console_free(struct chardev *c)
{
    struct console *k = (struct console *)c;
    free(k->text);
    free(k);
}

/* ---- machines ---------------------------------------------------------------------------------
 */

static int map_ram(struct machine *m, struct err *e)
{
    m->v = m->vm.vcpu;
    m->at = lock_place(m->v);
    atomic_store(&m->v->runner, pthread_self());
    void *ram =
        mmap(NULL, m->vm.config.ram_bytes, PROT_READ, MAP_SHARED, phys_ram_fd(m->vm.mem), 0);
    if (ram == MAP_FAILED)
        return err_set(e, errno, "mmap", "cannot map guest memory: %s", strerror(errno));
    m->ram = ram;
    return 0;
}

static int make(struct machine *m, const struct vm_config *config, const struct engine_ops *engine,
                struct err *e)
{
    static const struct chardev_ops ops = {.write = console_write, .free = console_free};
    struct vm_config c = *config;
    m->console = calloc(1, sizeof *m->console);
    if (!m->console)
        return err_set(e, ENOMEM, "out-of-memory", "no memory for a console");
    m->console->chardev.ops = &ops;
    c.engine = engine;
    int r = vm_build(&m->vm, &c, (struct log){LOG_INFO, STDERR_FILENO}, &m->console->chardev, e);
    return r < 0 ? r : map_ram(m, e);
}

static void destroy(struct machine *m)
{
    if (m->ram)
        munmap((void *)(uintptr_t)m->ram, m->vm.config.ram_bytes);
    vm_free(&m->vm);
    m->ram = NULL;
}

/* ---- comparison -------------------------------------------------------------------------------
 */

static void where(const struct lock_boot *l, const char *what)
{
    printf("%s after step %" PRIu64 ", instruction %" PRIu64 "\n", what, l->steps, l->instructions);
}

static void print_states(struct lock_boot *l, bool all)
{
    struct lock_state a, b;
    lock_capture(l->ref.v, 0, &a);
    lock_capture(l->dbt.v, 0, &b);
    lock_print(stdout, &a, &b, all);
}

static bool same_registers(struct lock_boot *l, uint64_t pc)
{
    struct lock_state a, b;
    if (l->steps % l->o.full_every) {
        if (lock_same_quick(l->ref.v, l->dbt.v))
            return true;
    } else {
        lock_capture(l->ref.v, 0, &a);
        lock_capture(l->dbt.v, 0, &b);
        if (lock_same(&a, &b))
            return true;
    }
    where(l, "registers differ");
    printf("    it began at %08" PRIx64 "\n", pc);
    print_states(l, true);
    return false;
}

static bool same_memory(const struct lock_boot *l)
{
    const uint8_t *a = l->ref.ram, *b = l->dbt.ram;
    uint64_t size = l->o.vm.ram_bytes, count = 0;
    if (!memcmp(a, b, size))
        return true;
    where(l, "memory differs");
    for (uint64_t i = 0; i < size && count < 32; i += 4)
        if (memcmp(a + i, b + i, 4)) {
            uint32_t x, y;
            memcpy(&x, a + i, 4);
            memcpy(&y, b + i, 4);
            printf("    [%08" PRIx64 "]  %08x  %08x\n", i, x, y);
            count++;
        }
    return false;
}

static bool same_consoles(const struct lock_boot *l)
{
    const struct console *a = l->ref.console, *b = l->dbt.console;
    if (a->len == b->len && !memcmp(a->text ? a->text : "", b->text ? b->text : "", a->len))
        return true;
    where(l, "consoles differ");
    return false;
}

/* ---- snapshots --------------------------------------------------------------------------------
 */

/* Every field of every device. */
static bool same_devices(const struct lock_boot *l)
{
    const struct device *a = l->ref.vm.devices, *b = l->dbt.vm.devices;
    bool same = true;
    for (; a && b; a = a->next, b = b->next)
        for (size_t i = 0; i < a->ops->state_count; i++) {
            const struct state_field *f = &a->ops->state[i];
            if (!memcmp((const char *)a + f->offset, (const char *)b + f->offset,
                        f->size * f->count))
                continue;
            if (same)
                where(l, "devices differ");
            printf("    %s %s: %s\n", a->ops->name, a->instance, f->name);
            same = false;
        }
    return same;
}

static int rebuild(struct machine *m, const char *path, struct err *e)
{
    struct console *console = calloc(1, sizeof *console);
    struct vm_config c = m->vm.config;
    struct snapshot *s = snapshot_open(path, e);
    int r = s && console ? snapshot_config(s, &c, false, e) : -EIO;
    if (r == 0) {
        *console = *m->console; /* its text goes on */
        m->console->text = NULL;
        destroy(m);
        m->console = console;
        r = vm_build(&m->vm, &c, (struct log){LOG_INFO, STDERR_FILENO}, &console->chardev, e);
        console = NULL;
    }
    if (r == 0)
        r = snapshot_restore(s, &m->vm, e);
    while (r == 0 && phys_lazy_step(m->vm.mem))
        ; /* this program looks at the memory directly */
    /* The configuration's strings are the snapshot's. */
    snapshot_close(m->restored_from);
    m->restored_from = s;
    free(console);
    return r < 0 ? r : map_ram(m, e);
}

static bool exchange(struct lock_boot *l)
{
    bool from_ref = l->snapshots++ & 1;
    struct machine *from = from_ref ? &l->ref : &l->dbt, *to = from_ref ? &l->dbt : &l->ref;
    char path[] = "/tmp/lock_boot.XXXXXX";
    struct err e = {0};
    int fd = mkstemp(path);
    if (fd < 0)
        return false;
    close(fd);
    vm_pause(&from->vm);
    int r = snapshot_save(&from->vm, path, NULL, &e);
    vm_resume(&from->vm);
    if (r == 0)
        r = rebuild(to, path, &e);
    unlink(path);
    if (r < 0) {
        printf("snapshot: [%s] %s\n", e.id, e.text);
        return false;
    }
    from->at = lock_place(from->v);
    lock_isa_of(to->v)->adopt(to->v, from->v);
    return same_registers(l, from->v->isa->pc(from->v)) && same_memory(l) && same_devices(l);
}

/* ---- one step ---------------------------------------------------------------------------------
 */

/* Serve an exit in both machines; they must agree on going on. -1: they do not. */
static int serve_both(struct lock_boot *l, const struct vm_exit *xa, const struct vm_exit *xb)
{
    if (xa->kind != xb->kind) {
        where(l, "exits differ");
        printf("    %s %s\n", exit_name(xa->kind), exit_name(xb->kind));
        return -1;
    }
    uint32_t stop = ATTN_STOP | ATTN_RESET;
    uint32_t aa = l->ref.v->attention & stop, ab = l->dbt.v->attention & stop;
    if (aa != ab) {
        where(l, "attention differs");
        return -1;
    }
    if (xa->kind == EXIT_ATTENTION && !aa)
        return 1;
    bool a = exit_serve(&l->ref.vm, xa), b = exit_serve(&l->dbt.vm, xb);
    if (a == b)
        return a;
    where(l, "ends differ");
    return -1;
}

static void spoil(struct lock_boot *l)
{
    if (l->steps == l->o.spoil)
        lock_isa_of(l->dbt.v)->spoil(l->dbt.v);
}

/* The translator's half of a step; returns how far it came. */
static struct lock_place run_ahead(struct lock_boot *l, struct vm_exit *x)
{
    struct vcpu *v = l->dbt.v;
    struct lock_place d;
    bool half;
    do {
        uint64_t hidden = v->stats.fault_hidden;
        *x = (struct vm_exit){.kind = EXIT_ATTENTION};
        dbt_engine.run(v, x);
        l->translations++;
        d = lock_distance(lock_place(l->dbt.v), l->dbt.at);
        /* A view was filled: a repeated instruction may be half done. */
        half = v->stats.fault_hidden != hidden;
    } while (x->kind == EXIT_ATTENTION && !(v->attention & (ATTN_STOP | ATTN_RESET)) &&
             (half || d.retired < l->o.stretch));
    l->dbt.at = lock_place(l->dbt.v);
    return d;
}

/* 1: go on; 0: both have ended; -1: a difference. */
static int step(struct lock_boot *l)
{
    struct vm_exit xa, xb;
    uint64_t pc = l->dbt.v->isa->pc(l->dbt.v);
    if (l->steps == l->o.trace_from)
        l->dbt.v->trace |= TRACE_BLOCKS;
    struct lock_place distance = run_ahead(l, &xb);
    l->steps++;
    l->instructions += distance.retired;
    l->exceptions += distance.exceptions;
    l->interrupts += distance.interrupts;
    spoil(l);
    if (lock_isa_of(l->dbt.v)->park)
        lock_isa_of(l->dbt.v)->park(l->dbt.v); /* the interpreter needs the host's registers */
    bool there = lock_follow(l->ref.v, l->dbt.v, l->ref.at, distance, xb.kind != EXIT_ATTENTION,
                             !l->o.stretch, &xa);
    l->ref.at = lock_place(l->ref.v);
    if (!there) {
        where(l, "the interpreter took another way");
        printf("    it began at %08" PRIx64 "\n", pc);
        print_states(l, true);
        return -1;
    }
    if (!same_registers(l, pc) || (l->steps % l->o.memory_every == 0 && !same_memory(l)))
        return -1;
    uint64_t ns = (distance.retired ? distance.retired : 1) * VIRTUAL_NS_PER_INSTRUCTION;
    clock_advance(l->ref.vm.clock, ns);
    clock_advance(l->dbt.vm.clock, ns);
    return serve_both(l, &xa, &xb);
}

static bool shown(const struct lock_boot *l)
{
    return l->o.until && l->dbt.console->text && strstr(l->dbt.console->text, l->o.until);
}

static void progress(const struct lock_boot *l)
{
    if (l->o.verbose && l->steps % 1000000 == 0)
        printf("%" PRIu64 " steps, %" PRIu64 " instructions, %zu bytes of console output\n",
               l->steps, l->instructions, l->dbt.console->len);
}

static bool same_end(struct lock_boot *l)
{
    l->o.full_every = 1;
    return same_registers(l, l->dbt.v->isa->pc(l->dbt.v)) && same_memory(l) && same_devices(l) &&
           same_consoles(l);
}

static int run(struct lock_boot *l)
{
    int r = 1;
    size_t seen = 0;
    bool found = false;
    while (r == 1 && !found && l->steps < l->o.steps) {
        r = step(l);
        if (r == 1 && l->o.snapshot_every && l->steps % l->o.snapshot_every == 0 && !exchange(l))
            r = -1;
        if (l->dbt.console->len != seen)
            found = shown(l);
        seen = l->dbt.console->len;
        progress(l);
    }
    bool good = r >= 0 && same_end(l);
    printf("%" PRIu64 " instructions in %" PRIu64 " translations run, %" PRIu64 " steps, %" PRIu64
           " exceptions, %" PRIu64 " interrupts, %zu bytes of console output: %s\n",
           l->instructions, l->translations, l->steps, l->exceptions, l->interrupts,
           l->dbt.console->len, good ? "equal" : "different");
    if (l->snapshots)
        printf("%" PRIu64 " snapshots taken and restored\n", l->snapshots);
    if (!good)
        printf("console:\n%s\n", l->dbt.console->text ? l->dbt.console->text : "");
    if (l->o.until && !found && good) {
        printf("the console never showed \"%s\"\n", l->o.until);
        good = false;
    }
    return good ? 0 : 1;
}

/* ---- command line -------------------------------------------------------------------------------
 */

static bool parse_view(const char *name, enum dbt_view *view)
{
    static const char *const names[] = {"auto", "window", "flat"};
    for (unsigned i = 0; i < ARRAY_LEN(names); i++)
        if (!strcmp(name, names[i])) {
            *view = (enum dbt_view)i;
            return true;
        }
    return false;
}

static bool number(const char *text, uint64_t *x)
{
    char *end;
    *x = strtoull(text, &end, 0);
    return *text && !*end;
}

static bool option(struct options *o, int ch)
{
    uint64_t x;
    switch (ch) {
    case 'k':
        o->vm.kernel = optarg;
        return true;
    case 'B':
        return (o->vm.board = board_find(optarg)) != NULL;
    case 'i':
        o->vm.initrd = optarg;
        return true;
    case 'a':
        o->vm.append = optarg;
        return true;
    case 'u':
        o->until = optarg;
        return true;
    case 'v':
        return parse_view(optarg, &o->vm.dbt.view);
    case 'A':
        o->vm.dbt.no_adapt = true;
        return true;
    case '1':
        o->vm.dbt.max_insns = 1;
        return true;
    case 'm':
        o->vm.ram_bytes = number(optarg, &x) ? x * MIB : 0;
        return o->vm.ram_bytes;
    case 'c':
        o->vm.dbt.cache_bytes = number(optarg, &x) ? x * MIB : 0;
        return o->vm.dbt.cache_bytes;
    case 'b':
        return number(optarg, &o->steps);
    case 'S':
        return number(optarg, &o->stretch);
    case 'V':
        o->verbose = true;
        return true;
    case 'M':
        return number(optarg, &o->memory_every) && o->memory_every;
    case 'F':
        return number(optarg, &o->full_every) && o->full_every;
    case 't':
        return number(optarg, &o->trace_from);
    case 'x':
        return number(optarg, &o->snapshot_every);
    case 's':
        return number(optarg, &o->spoil);
    default:
        return false;
    }
}

static bool parse(int argc, char **argv, struct options *o)
{
    static const struct option names[] = {{"kernel", required_argument, NULL, 'k'},
                                          {"board", required_argument, NULL, 'B'},
                                          {"initrd", required_argument, NULL, 'i'},
                                          {"append", required_argument, NULL, 'a'},
                                          {"mem", required_argument, NULL, 'm'},
                                          {"until", required_argument, NULL, 'u'},
                                          {"steps", required_argument, NULL, 'b'},
                                          {"stretch", required_argument, NULL, 'S'},
                                          {"verbose", no_argument, NULL, 'V'},
                                          {"memory-every", required_argument, NULL, 'M'},
                                          {"full-every", required_argument, NULL, 'F'},
                                          {"view", required_argument, NULL, 'v'},
                                          {"cache", required_argument, NULL, 'c'},
                                          {"no-adapt", no_argument, NULL, 'A'},
                                          {"one", no_argument, NULL, '1'},
                                          {"trace-from", required_argument, NULL, 't'},
                                          {"spoil", required_argument, NULL, 's'},
                                          {"snapshot-every", required_argument, NULL, 'x'},
                                          {NULL, 0, NULL, 0}};
    int ch;
    while ((ch = getopt_long(argc, argv, "", names, NULL)) != -1)
        if (!option(o, ch))
            return false;
    return optind == argc && o->vm.kernel;
}

static const struct board_ops *board_of(const char *kernel)
{
    enum guest_arch arch = boot_kernel_arch(kernel);
    return arch == ARCH_UNKNOWN ? boards[0] : board_for(arch);
}

static int build(struct lock_boot *l, struct err *e)
{
    if (!l->o.vm.board)
        l->o.vm.board = board_of(l->o.vm.kernel);
    if (!l->o.vm.board)
        return err_set(e, ENOEXEC, "kernel-format", "%s: no board runs it", l->o.vm.kernel);
    int r = make(&l->ref, &l->o.vm, &interp_engine, e);
    return r < 0 ? r : make(&l->dbt, &l->o.vm, &dbt_engine, e);
}

int main(int argc, char **argv)
{
    struct lock_boot *l = calloc(1, sizeof *l);
    struct err e = {0};
    if (!l)
        return 2;
    l->o = (struct options){
        .vm = {.clock = CLOCK_VIRTUAL, .ram_bytes = 128 * MIB, .append = ""},
        .steps = UINT64_MAX,
        .memory_every = 2000000,
        .full_every = 64,
        .trace_from = UINT64_MAX,
        .spoil = UINT64_MAX,
    };
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (!parse(argc, argv, &l->o)) {
        fprintf(stderr, "lock_boot: see the first lines of tests/diff/lock_boot.c\n");
        free(l);
        return 2;
    }
    l->o.vm.dbt.single = l->o.vm.dbt.count = true;
    int rc = 2;
    if (dbt_engine.probe(&e) < 0) {
        printf("skipped: this host cannot run the translator: %s\n", e.text);
        rc = LOCK_SKIP;
    } else if (build(l, &e) < 0) {
        fprintf(stderr, "lock_boot: [%s] %s\n", e.id, e.text);
    } else {
        rc = run(l);
    }
    destroy(&l->dbt);
    destroy(&l->ref);
    snapshot_close(l->dbt.restored_from);
    snapshot_close(l->ref.restored_from);
    free(l);
    return rc;
}
