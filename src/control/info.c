/* SPDX-License-Identifier: MIT */
/* Commands that show what the machine is like: registers, mappings, devices by their state tables,
 * disks, networks, memory. They pause the machine for as long as they look. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "control/commands.h"
#include "ring3/debug.h"

#define DUMP_MAX     4096u /* bytes of memory in one answer */
#define DUMP_DEFAULT 64u
#define MAPPINGS_MAX 256u /* lines of `info tlb` */

int control_number(const char *text, uint64_t *x, struct err *e)
{
    char *end;
    errno = 0;
    *x = strtoull(text, &end, 0);
    if (errno || end == text || *end || *text == '-')
        return err_set(e, EINVAL, "bad-argument", "\"%s\" is no number", text);
    return 0;
}

/* ---- processor ------------------------------------------------------------------------------- */

static int info_registers(struct control_call *c, struct err *e)
{
    c->vm->vcpu->isa->dump(c->vm->vcpu, c->out);
    return 0;
}

static void print_mapping(FILE *out, uint64_t lin, gpa_t gpa, uint64_t pages)
{
    fprintf(out, "%08" PRIx64 "-%08" PRIx64 " -> %08" PRIx64 "  %" PRIu64 " KiB\n", lin,
            lin + pages * PAGE_BYTES - 1, (uint64_t)gpa, pages * PAGE_BYTES / KIB);
}

/* Runs of pages that follow each other both ways. */
static int info_mappings(struct control_call *c, struct err *e)
{
    const struct isa_debug *d = c->vm->vcpu->isa->debug;
    uint64_t start = 0, pages = 0;
    gpa_t first = 0, gpa;
    unsigned lines = 0;
    if (!d)
        return err_set(e, ENOSYS, "no-debugger", "this processor does not tell");
    for (uint64_t lin = 0; lin <= 4 * GIB && lines < MAPPINGS_MAX; lin += PAGE_BYTES) {
        bool present = lin < 4 * GIB && d->translate(c->vm->vcpu, lin, &gpa);
        if (present && pages && gpa == first + pages * PAGE_BYTES) {
            pages++;
            continue;
        }
        if (pages) {
            print_mapping(c->out, start, first, pages);
            lines++;
        }
        start = lin;
        first = gpa;
        pages = present;
    }
    if (lines == MAPPINGS_MAX)
        fputs("... and more\n", c->out);
    return 0;
}

/* ---- devices --------------------------------------------------------------------------------- */

static uint64_t element(const struct device *d, const struct state_field *f, size_t n)
{
    uint64_t x = 0;
    memcpy(&x, (const char *)d + f->offset + n * f->size, f->size);
    return x;
}

static void print_field(FILE *out, const struct device *d, const struct state_field *f)
{
    enum { SHOWN = 16 };
    fprintf(out, "  %-20s", f->name);
    for (size_t n = 0; n < f->count && n < SHOWN; n++)
        fprintf(out, " %0*" PRIx64, (int)f->size * 2, element(d, f, n));
    fputs(f->count > SHOWN ? " ...\n" : "\n", out);
}

static void print_device(FILE *out, const struct device *d)
{
    fprintf(out, "%s (%s)\n", d->instance, d->ops->name);
    for (size_t i = 0; i < d->ops->state_count; i++)
        print_field(out, d, &d->ops->state[i]);
}

static int info_devices(struct control_call *c, struct err *e)
{
    for (const struct device *d = c->vm->devices; d; d = d->next)
        fprintf(c->out, "%-12s %s\n", d->instance, d->ops->name);
    return 0;
}

static int info_device(struct control_call *c, struct err *e)
{
    bool found = false;
    if (c->argc < 3)
        return err_set(e, EINVAL, "bad-arguments", "usage: info device NAME; see \"info devices\"");
    for (const struct device *d = c->vm->devices; d; d = d->next)
        if (!strcmp(d->instance, c->argv[2]) || !strcmp(d->ops->name, c->argv[2])) {
            print_device(c->out, d);
            found = true;
        }
    return found ? 0
                 : err_set(e, ENOENT, "unknown-device",
                           "there is no device \"%s\"; see \"info "
                           "devices\"",
                           c->argv[2]);
}

static int info_irq(struct control_call *c, struct err *e)
{
    static const char *const controllers[] = {"i8259", "ioapic", "lapic"};
    for (const struct device *d = c->vm->devices; d; d = d->next)
        for (unsigned i = 0; i < ARRAY_LEN(controllers); i++)
            if (!strcmp(d->ops->name, controllers[i]))
                print_device(c->out, d);
    return 0;
}

static int info_block(struct control_call *c, struct err *e)
{
    for (unsigned i = 0; i < c->vm->config.drives; i++) {
        const struct block *b = c->vm->drive[i];
        if (!b) {
            fprintf(c->out, "drive %u: empty\n", i);
            continue;
        }
        const struct block_stats *s = &b->stats;
        fprintf(c->out,
                "drive %u: %s, %s, %" PRIu64 " MiB%s\n"
                "  read %" PRIu64 " requests, %" PRIu64 " KiB; written %" PRIu64 ", %" PRIu64
                " KiB; flushed %" PRIu64 "; errors %" PRIu64 "\n",
                i, b->info.name, b->info.format, b->info.bytes / MIB,
                b->info.read_only ? ", read-only" : "", s->reads, s->read_bytes / KIB, s->writes,
                s->write_bytes / KIB, s->flushes, s->errors);
    }
    return 0;
}

static int info_network(struct control_call *c, struct err *e)
{
    for (unsigned i = 0; i < c->vm->config.nics; i++) {
        const struct netdev *n = c->vm->nic[i];
        if (!n)
            continue;
        const uint8_t *m = c->vm->config.nic[i].mac;
        fprintf(c->out,
                "card %u: %s, %02x:%02x:%02x:%02x:%02x:%02x\n"
                "  sent %" PRIu64 " frames, %" PRIu64 " KiB; received %" PRIu64 ", %" PRIu64
                " KiB; dropped %" PRIu64 "\n",
                i, n->name, m[0], m[1], m[2], m[3], m[4], m[5], n->stats.tx_frames,
                n->stats.tx_bytes / KIB, n->stats.rx_frames, n->stats.rx_bytes / KIB,
                n->stats.rx_dropped);
    }
    return 0;
}

static const struct control_command topics[] = {
    {"registers", "", "of the processor", 0, 0, info_registers},
    {"tlb", "", "linear addresses that are mapped now, and to where", 0, 0, info_mappings},
    {"irq", "", "the interrupt controllers", 0, 0, info_irq},
    {"block", "", "drives: image, format, requests", 0, 0, info_block},
    {"network", "", "network cards: address, frames", 0, 0, info_network},
    {"devices", "", "names of all devices", 0, 0, info_devices},
    {"device", "NAME", "state of one, as a snapshot has it", 1, 1, info_device},
    {0},
};

int control_info(struct control_call *c, struct err *e)
{
    const struct control_command *t = topics;
    while (t->name && (c->argc < 2 || strcmp(t->name, c->argv[1]) != 0))
        t++;
    if (!t->name) {
        for (t = topics; t->name; t++)
            fprintf(c->out, "info %-10s %-5s %s\n", t->name, t->args, t->help);
        return c->argc < 2
                   ? 0
                   : err_set(e, ENOENT, "unknown-command", "no info about \"%s\"", c->argv[1]);
    }
    vm_pause(c->vm);
    int r = t->fn(c, e);
    vm_resume(c->vm);
    return r;
}

/* ---- memory ---------------------------------------------------------------------------------- */

static bool peek(struct vm *vm, uint64_t at, bool linear, uint8_t *byte)
{
    gpa_t gpa = at;
    if (linear && !vm->vcpu->isa->debug->translate(vm->vcpu, at, &gpa))
        return false;
    return phys_read(vm->mem, gpa, byte, 1) == 0;
}

/* Sixteen bytes and their characters; what is no memory shows as "--". */
static void dump_line(struct control_call *c, uint64_t at, unsigned n, bool linear)
{
    char text[17] = "";
    fprintf(c->out, "%08" PRIx64 " ", at);
    for (unsigned i = 0; i < 16; i++) {
        uint8_t byte;
        bool there = i < n && peek(c->vm, at + i, linear, &byte);
        if (there)
            fprintf(c->out, " %02x", byte);
        else
            fputs(i < n ? " --" : "   ", c->out);
        if (i < n)
            text[i] = there && byte >= ' ' && byte < 0x7f ? (char)byte : '.';
    }
    fprintf(c->out, "  %s\n", text);
}

static int dump(struct control_call *c, bool linear, struct err *e)
{
    uint64_t at, n = DUMP_DEFAULT;
    int r = control_number(c->argv[1], &at, e);
    if (r == 0 && c->argc > 2)
        r = control_number(c->argv[2], &n, e);
    if (r < 0)
        return r;
    if (n > DUMP_MAX || at > 4 * GIB || (linear && !c->vm->vcpu->isa->debug))
        return err_set(e, EINVAL, "bad-argument", "up to %u bytes below 4 GiB, please", DUMP_MAX);
    vm_pause(c->vm);
    for (uint64_t done = 0; done < n; done += 16)
        dump_line(c, at + done, n - done < 16 ? (unsigned)(n - done) : 16, linear);
    vm_resume(c->vm);
    return 0;
}

int control_dump_linear(struct control_call *c, struct err *e)
{
    return dump(c, true, e);
}

int control_dump_physical(struct control_call *c, struct err *e)
{
    return dump(c, false, e);
}
