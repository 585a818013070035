/* SPDX-License-Identifier: MIT */
/* Event traces without hooks in buses or chips: see debug/trace.h.
 *
 *   io     the processor's two buses are replaced by tracing ones of the same size, which hold
 *          one device: itself forwarding to the real bus and printing
 *   irq    the processor's interrupt controller is replaced by one that prints what it acks
 *   exits, exceptions   the run loop and the ISA look at vcpu.trace
 *   blocks  a translating engine looks at it
 *   firmware  port 0x402 is there, to which SeaBIOS writes its debug output
 *
 * Devices still see the real buses. The tracing bus splits nothing (1 to 8 bytes pass). */
#include "debug/trace.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    uint32_t bit;
} event_names[] = {
    {"exits", TRACE_EXITS}, {"exceptions", TRACE_EXCEPTIONS}, {"io", TRACE_IO},
    {"irq", TRACE_IRQ},     {"blocks", TRACE_BLOCKS},         {"firmware", TRACE_FIRMWARE},
};

/* Bochs' information port. A read tells SeaBIOS that somebody listens. */
#define FIRMWARE_PORT  0x402
#define FIRMWARE_READS 0xe9

struct traced_bus {
    struct vcpu *v;
    struct bus *real, *seen;
    const char *name;
};

struct trace {
    struct vcpu *v;
    struct traced_bus mmio, pio;
    struct intc intc;
    char line[160]; /* of firmware's, so far */
    size_t line_bytes;
};

int trace_parse(const char *list, uint32_t *events, struct err *e)
{
    while (*list) {
        size_t n = strcspn(list, ",");
        uint32_t bit = 0;
        for (unsigned i = 0; i < ARRAY_LEN(event_names); i++)
            if (strlen(event_names[i].name) == n && memcmp(list, event_names[i].name, n) == 0)
                bit = event_names[i].bit;
        if (!bit)
            return err_set(e, EINVAL, "unknown-event",
                           "--trace knows no event \"%.*s\"; it knows exits, exceptions, io, "
                           "irq, blocks and firmware",
                           (int)n, list);
        *events |= bit;
        list += n + (list[n] == ',');
    }
    return *events ? 0
                   : err_set(e, EINVAL, "unknown-event",
                             "--trace needs events: exits, exceptions, io, irq, blocks, firmware");
}

static void print_io(const struct traced_bus *b, const char *verb, uint64_t addr, unsigned size,
                     uint64_t value)
{
    const char *device = bus_name_at(b->real, addr);
    log_line(b->v->log, LOG_INFO, "trace-io",
             "%s %s addr=%#" PRIx64 " size=%u value=%#" PRIx64 " device=%s pc=%#" PRIx64, b->name,
             verb, addr, size, value, device ? device : "none", b->v->isa->pc(b->v));
}

static uint64_t traced_read(void *opaque, uint64_t addr, unsigned size)
{
    const struct traced_bus *b = opaque;
    uint64_t value = bus_read(b->real, addr, size);
    print_io(b, "read", addr, size, value);
    return value;
}

static void traced_write(void *opaque, uint64_t addr, unsigned size, uint64_t value)
{
    const struct traced_bus *b = opaque;
    print_io(b, "write", addr, size, value);
    bus_write(b->real, addr, size, value);
}

static const struct io_ops traced_ops = {traced_read, traced_write, 1, 8};

static int trace_bus(struct traced_bus *b, struct vcpu *v, struct bus **slot, uint64_t limit,
                     const char *name, struct err *e)
{
    *b = (struct traced_bus){.v = v, .real = *slot, .name = name};
    b->seen = bus_new(name, limit, e);
    if (!b->seen)
        return -1;
    int r = bus_map(b->seen, 0, limit, &traced_ops, b, name, e);
    if (r == 0)
        *slot = b->seen;
    return r;
}

static int traced_ack(void *opaque)
{
    struct trace *t = opaque;
    int vector = t->intc.ack(t->intc.opaque);
    log_line(t->v->log, LOG_INFO, "trace-irq", "vector=%#x pc=%#" PRIx64, (unsigned)vector,
             t->v->isa->pc(t->v));
    return vector;
}

static uint64_t firmware_read(void *opaque, uint64_t addr, unsigned size)
{
    return FIRMWARE_READS;
}

static void firmware_write(void *opaque, uint64_t addr, unsigned size, uint64_t value)
{
    struct trace *t = opaque;
    char c = (char)value;
    if (c != '\n' && c != '\r')
        t->line[t->line_bytes++] = c >= ' ' && c <= '~' ? c : '.';
    if (t->line_bytes && (c == '\n' || t->line_bytes == sizeof t->line)) {
        log_line(t->v->log, LOG_INFO, "firmware", "%.*s", (int)t->line_bytes, t->line);
        t->line_bytes = 0;
    }
}

static const struct io_ops firmware_ops = {firmware_read, firmware_write, 1, 1};

struct trace *trace_attach(struct vm *vm, uint32_t events, struct err *e)
{
    struct trace *t = calloc(1, sizeof *t);
    if (!t) {
        err_set(e, ENOMEM, "no-memory", "no memory for tracing");
        return NULL;
    }
    struct vcpu *v = t->v = vm->vcpu;
    v->trace = events;
    if (events & TRACE_FIRMWARE &&
        bus_map(vm->pio, FIRMWARE_PORT, 1, &firmware_ops, t, "firmware", e) < 0) {
        trace_free(t);
        return NULL;
    }
    if (events & TRACE_IO && (trace_bus(&t->mmio, v, &v->mmio, PHYS_LIMIT, "mmio", e) < 0 ||
                              trace_bus(&t->pio, v, &v->pio, 0x10000, "pio", e) < 0)) {
        trace_free(t);
        return NULL;
    }
    if (events & TRACE_IRQ && v->intc.ack) {
        t->intc = v->intc;
        v->intc = (struct intc){traced_ack, t};
    }
    return t;
}

void trace_free(struct trace *t)
{
    if (!t)
        return;
    if (t->mmio.seen)
        bus_free(t->mmio.seen);
    if (t->pio.seen)
        bus_free(t->pio.seen);
    free(t);
}
