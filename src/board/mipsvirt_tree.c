/* SPDX-License-Identifier: MIT */
/* Device tree of board mipsvirt (Devicetree Specification 0.4), written in order with libfdt. Names
 * and properties are those that Linux' bindings document: mti,cpu-interrupt-controller, ns16550a,
 * syscon-reboot, syscon-poweroff, google,goldfish-rtc, virtio,mmio. Addresses and sizes take one
 * cell. Errors of libfdt stick: the first one ends the writing. */
#include "board/mipsvirt_tree.h"

#include <errno.h>
#include <libfdt.h>
#include <stdio.h>

#include "ring3/devices/goldfish_rtc.h"
#include "ring3/devices/syscon.h"
#include "ring3/devices/virtio_mmio.h"

#define COM1_BYTES    8
#define COM1_CLOCK_HZ 1843200 /* 16 times 115,200: what a divisor of 1 gives */

/* Handles by which nodes speak of each other. */
enum { NONE, INTC, CPU_CLOCK, SYSCON };

struct writer {
    void *blob;
    int error; /* of libfdt, the first one */
};

static void check(struct writer *w, int r)
{
    if (!w->error)
        w->error = r;
}

static void begin(struct writer *w, const char *name)
{
    check(w, fdt_begin_node(w->blob, name));
}

/* A node with a register range: "name@base". */
static void begin_at(struct writer *w, const char *name, uint32_t base, uint32_t bytes)
{
    char full[48];
    uint32_t reg[2] = {cpu_to_fdt32(base), cpu_to_fdt32(bytes)};

    snprintf(full, sizeof full, "%s@%x", name, base);
    begin(w, full);
    check(w, fdt_property(w->blob, "reg", reg, sizeof reg));
}

static void end(struct writer *w)
{
    check(w, fdt_end_node(w->blob));
}

static void text(struct writer *w, const char *name, const char *value)
{
    check(w, fdt_property_string(w->blob, name, value));
}

static void cell(struct writer *w, const char *name, uint32_t value)
{
    check(w, fdt_property_u32(w->blob, name, value));
}

static void flag(struct writer *w, const char *name)
{
    check(w, fdt_property(w->blob, name, NULL, 0));
}

static void interrupt(struct writer *w, enum mipsvirt_pin pin)
{
    cell(w, "interrupts", MIPSVIRT_FIRST_IP + pin);
}

static void write_chosen(struct writer *w, const struct mipsvirt_tree *t)
{
    begin(w, "chosen");
    text(w, "stdout-path", "serial0:115200n8");
    if (t->seed)
        check(w, fdt_property(w->blob, "rng-seed", t->seed, MIPSVIRT_SEED_BYTES));
    end(w);
    begin(w, "aliases");
    text(w, "serial0", "/soc/serial@1f000000");
    end(w);
}
_Static_assert(MIPSVIRT_COM1 == 0x1f000000, "the alias names it");

static void write_memory(struct writer *w, const struct mipsvirt_tree *t)
{
    uint64_t low = t->ram_bytes < MIPSVIRT_LOW_RAM ? t->ram_bytes : MIPSVIRT_LOW_RAM;
    uint64_t high = t->ram_bytes - low;
    uint32_t reg[4] = {0, cpu_to_fdt32((uint32_t)low), cpu_to_fdt32(MIPSVIRT_HIGH_BASE),
                       cpu_to_fdt32((uint32_t)high)};

    begin(w, "memory@0");
    text(w, "device_type", "memory");
    check(w, fdt_property(w->blob, "reg", reg, high ? sizeof reg : sizeof reg / 2));
    end(w);
}

static void write_processor(struct writer *w, const struct mipsvirt_tree *t)
{
    begin(w, "cpus");
    cell(w, "#address-cells", 1);
    cell(w, "#size-cells", 0);
    begin(w, "cpu@0");
    text(w, "device_type", "cpu");
    text(w, "compatible", t->cpu);
    cell(w, "reg", 0);
    cell(w, "clocks", CPU_CLOCK);
    end(w);
    end(w);

    begin(w, "cpu-clock");
    text(w, "compatible", "fixed-clock");
    cell(w, "#clock-cells", 0);
    cell(w, "clock-frequency", (uint32_t)t->clock_hz);
    cell(w, "phandle", CPU_CLOCK);
    end(w);

    begin(w, "interrupt-controller");
    text(w, "compatible", "mti,cpu-interrupt-controller");
    flag(w, "interrupt-controller");
    cell(w, "#address-cells", 0);
    cell(w, "#interrupt-cells", 1);
    cell(w, "phandle", INTC);
    end(w);
}

static void write_chips(struct writer *w)
{
    begin_at(w, "serial", MIPSVIRT_COM1, COM1_BYTES);
    text(w, "compatible", "ns16550a");
    cell(w, "clock-frequency", COM1_CLOCK_HZ);
    cell(w, "current-speed", 115200);
    interrupt(w, MIPSVIRT_PIN_COM1);
    end(w);

    begin_at(w, "syscon", MIPSVIRT_SYSCON, SYSCON_BYTES);
    text(w, "compatible", "syscon");
    cell(w, "phandle", SYSCON);
    end(w);

    begin_at(w, "rtc", MIPSVIRT_CLOCK, GOLDFISH_RTC_BYTES);
    text(w, "compatible", "google,goldfish-rtc");
    interrupt(w, MIPSVIRT_PIN_CLOCK);
    end(w);
}

/* What a register of the system controller is for. */
static void write_action(struct writer *w, const char *name, const char *compatible, uint32_t value)
{
    begin(w, name);
    text(w, "compatible", compatible);
    cell(w, "regmap", SYSCON);
    cell(w, "offset", 0);
    cell(w, "value", value);
    end(w);
}

static void write_virtio(struct writer *w, const struct mipsvirt_tree *t)
{
    for (uint32_t i = 0; i < MIPSVIRT_SLOTS; i++) {
        if (!t->slot[i].used)
            continue;
        begin_at(w, "virtio", MIPSVIRT_VIRTIO + i * VIRTIO_MMIO_BYTES, VIRTIO_MMIO_BYTES);
        text(w, "compatible", "virtio,mmio");
        interrupt(w, t->slot[i].pin);
        end(w);
    }
}

static void write_soc(struct writer *w, const struct mipsvirt_tree *t)
{
    begin(w, "soc");
    text(w, "compatible", "simple-bus");
    cell(w, "#address-cells", 1);
    cell(w, "#size-cells", 1);
    flag(w, "ranges"); /* addresses are the processor's */
    write_chips(w);
    write_virtio(w, t);
    end(w);
    write_action(w, "reboot", "syscon-reboot", SYSCON_RESET);
    write_action(w, "poweroff", "syscon-poweroff", SYSCON_POWER_OFF);
}

int mipsvirt_tree_write(const struct mipsvirt_tree *t, void *buf, size_t bytes, struct err *e)
{
    struct writer w = {buf, 0};

    check(&w, fdt_create(buf, (int)bytes));
    check(&w, fdt_finish_reservemap(buf));
    begin(&w, "");
    cell(&w, "#address-cells", 1);
    cell(&w, "#size-cells", 1);
    text(&w, "model", "ring3 mipsvirt");
    text(&w, "compatible", "ring3,mipsvirt");
    cell(&w, "interrupt-parent", INTC);
    write_chosen(&w, t);
    write_memory(&w, t);
    write_processor(&w, t);
    write_soc(&w, t);
    end(&w);
    check(&w, fdt_finish(buf));
    if (w.error)
        return err_set(e, ENOSPC, "device-tree", "the device tree cannot be written: %s",
                       fdt_strerror(w.error));
    return 0;
}
