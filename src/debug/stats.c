/* SPDX-License-Identifier: MIT */
/* `--stats`: see debug/stats.h. All figures are gathered first, into one flat list of named
 * numbers, and both forms print that list. Memory "beyond" guest RAM is what the process holds
 * in anonymous and file pages; pages of the guest's memfd count as shared memory in
 * /proc/self/status and are reported as touched guest RAM. */
#include "debug/stats.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "vm/run.h"

#define MAX_FIGURES 512

struct figure {
    char name[32];     /* the JSON key */
    const char *group; /* heading of the table; a new one begins a section */
    double value;
    int decimals;
    const char *unit; /* table only */
};

struct figures {
    struct figure f[MAX_FIGURES];
    unsigned count;
    const char *group;
};

static void add(struct figures *fs, const char *name, double value, int decimals, const char *unit)
{
    if (fs->count == MAX_FIGURES)
        return;
    struct figure *f = &fs->f[fs->count++];
    snprintf(f->name, sizeof f->name, "%s", name);
    f->group = fs->group;
    f->value = value;
    f->decimals = decimals;
    f->unit = unit;
}

static void add_count(struct figures *fs, const char *name, uint64_t n)
{
    add(fs, name, (double)n, 0, "");
}

/* A field of /proc/self/status in bytes; 0 if it is not there. */
static uint64_t status_bytes(const char *field)
{
    FILE *f = fopen("/proc/self/status", "re");
    char line[256];
    uint64_t kib = 0;
    size_t n = strlen(field);
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, field, n) == 0 && line[n] == ':')
            kib = strtoull(line + n + 1, NULL, 10);
    if (f)
        fclose(f);
    return kib * KIB;
}

static void gather_work(struct figures *fs, const struct vm *vm)
{
    const struct vcpu_stats *s = &vm->vcpu->stats;
    double guest_s = (double)s->guest_ns / 1e9;
    fs->group = "work";
    add_count(fs, "instructions", s->instructions);
    add(fs, "mips", guest_s > 0 ? (double)s->instructions / guest_s / 1e6 : 0, 1,
        "million instructions per second in guest");
    add_count(fs, "instructions_decoded", s->code_decoded);
    add_count(fs, "code_invalidations", s->code_invalidated);
}

static void gather_exits(struct figures *fs, const struct vm *vm)
{
    const struct vcpu_stats *s = &vm->vcpu->stats;
    fs->group = "exits";
    for (unsigned i = 0; i < EXIT_KIND_COUNT; i++) {
        char name[32];
        snprintf(name, sizeof name, "exit_%s", exit_name((enum exit_kind)i));
        add_count(fs, name, s->exits[i]);
    }
    fs->group = "page faults";
    add(fs, "fault_device", (double)s->fault_device, 0, "(device page)");
    add(fs, "fault_guest", (double)s->fault_guest, 0, "(delivered to the guest)");
    add(fs, "fault_hidden", (double)s->fault_hidden, 0, "(filled by the monitor, unseen)");
    fs->group = "interrupts";
    add_count(fs, "interrupts", s->exits[EXIT_INTERRUPT]);
}

static void gather_time(struct figures *fs, const struct vm *vm)
{
    const struct vcpu_stats *s = &vm->vcpu->stats;
    uint64_t total = host_now_ns() - vm->created_ns, known = s->guest_ns + s->idle_ns;
    struct timespec cpu = {0};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
    fs->group = "time";
    add(fs, "time_guest_s", (double)s->guest_ns / 1e9, 3, "s");
    add(fs, "time_idle_s", (double)s->idle_ns / 1e9, 3, "s");
    add(fs, "time_monitor_s", (double)(total > known ? total - known : 0) / 1e9, 3, "s");
    add(fs, "time_total_s", (double)total / 1e9, 3, "s");
    add(fs, "host_cpu_s", (double)cpu.tv_sec + (double)cpu.tv_nsec / 1e9, 3, "s, all threads");
}

static void gather_memory(struct figures *fs, const struct vm *vm)
{
    uint64_t rss = status_bytes("VmRSS"), shared = status_bytes("RssShmem");
    uint64_t touched = phys_host_pages_touched(vm->mem) * PAGE_BYTES;
    fs->group = "memory";
    add(fs, "ram_mib", (double)vm->config.ram_bytes / (double)MIB, 1, "MiB of guest RAM");
    add(fs, "ram_touched_mib", (double)touched / (double)MIB, 1, "MiB of it touched");
    add(fs, "resident_beyond_mib", (double)(rss > shared ? rss - shared : 0) / (double)MIB, 1,
        "MiB resident beyond guest RAM");
}

static void add_of_engine(void *opaque, const char *name, double value, int decimals,
                          const char *unit)
{
    add(opaque, name, value, decimals, unit);
}

static void gather_engine(struct figures *fs, const struct vm *vm)
{
    const struct figure_sink sink = {add_of_engine, fs};
    fs->group = "engine";
    if (vm->config.engine->figures && vm->engine_attached)
        vm->config.engine->figures(vm->vcpu, &sink);
}

struct device_figures {
    struct figures *fs;
    const char *instance;
};

static void add_of_device(void *opaque, const char *name, double value, int decimals,
                          const char *unit)
{
    const struct device_figures *d = opaque;
    char whole[32];
    snprintf(whole, sizeof whole, "%s_%s", d->instance, name);
    add(d->fs, whole, value, decimals, unit);
}

static void gather_devices(struct figures *fs, const struct vm *vm)
{
    for (struct device *d = vm->devices; d; d = d->next) {
        struct device_figures of = {fs, d->instance};
        const struct figure_sink sink = {add_of_device, &of};
        fs->group = d->instance;
        if (d->ops->figures)
            d->ops->figures(d, &sink);
    }
}

static void gather(struct figures *fs, const struct vm *vm)
{
    memset(fs, 0, sizeof *fs);
    gather_work(fs, vm);
    gather_exits(fs, vm);
    gather_engine(fs, vm);
    gather_devices(fs, vm);
    gather_time(fs, vm);
    gather_memory(fs, vm);
}

void stats_print(const struct vm *vm, FILE *out)
{
    struct figures fs;
    gather(&fs, vm);
    fprintf(out, "ring3: statistics (board %s, engine %s)\n", vm->config.board->name,
            vm->config.engine->name);
    for (unsigned i = 0; i < fs.count; i++) {
        const struct figure *f = &fs.f[i];
        bool first = i == 0 || f->group != fs.f[i - 1].group;
        fprintf(out, "  %-12s%-22s %16.*f%s%s\n", first ? f->group : "", f->name, f->decimals,
                f->value, *f->unit ? " " : "", f->unit);
    }
    fflush(out);
}

void stats_print_json(const struct vm *vm, FILE *out)
{
    struct figures fs;
    gather(&fs, vm);
    fprintf(out, "{\"board\":\"%s\",\"engine\":\"%s\"", vm->config.board->name,
            vm->config.engine->name);
    for (unsigned i = 0; i < fs.count; i++)
        fprintf(out, ",\"%s\":%.*f", fs.f[i].name, fs.f[i].decimals, fs.f[i].value);
    fputs("}\n", out);
    fflush(out);
}
