/* SPDX-License-Identifier: MIT */
/* Board `malta`: MIPS Technologies' Malta (MD00048) with a little-endian 24Kf on a Core LV card: a
 * GT-64120, behind it PCI with a PIIX4 and a PC's chips. Memory map, pins and slots are in malta.h.
 * Read malta_build() from top to bottom.
 *
 *   interrupts   pin 0 i8259: 0 timer  1 keyboard  3 com2  4 com1  8 clock  9 ACPI  10, 11 PCI
 *                12 mouse  14, 15 IDE
 *                pin 2 third serial port   pin 3 GT-64120
 *   ports        20 a0 4d0 i8259   40 61 i8254   60 64 i8042   70 mc146818
 *                170 376 1f0 3f6 IDE   2f8 3f8 serial   1000 power management
 *
 * There is no firmware: malta_boot.c leaves all as the YAMON monitor does. Left out: flash memory,
 * USB, SMBus, sound, floppies and parallel port, DMA controllers, a screen, the reset control port
 * (kernels use the board's own register), other core cards, big-endian operation; RAM beyond 256
 * MiB shows at 0x90000000 only. */
#include "board/malta.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "board/boards.h"
#include "isa/mips32/mips32.h"
#include "ring3/devices/acpi_pm.h"
#include "ring3/devices/gt64120.h"
#include "ring3/devices/i8042.h"
#include "ring3/devices/i8254.h"
#include "ring3/devices/i8259.h"
#include "ring3/devices/irq_or.h"
#include "ring3/devices/malta_fpga.h"
#include "ring3/devices/mc146818.h"
#include "ring3/devices/ns16550.h"
#include "ring3/devices/piix4.h"

#define COM2_BASE         0x2f8u
#define COM2_IRQ          3
#define PIRQ_TURN         1u      /* INTA of slot 18 is PIRQA, of 19 PIRQB, of 11 PIRQB */
#define SHARED_INTERRUPTS 0xdef8u /* what the PIIX4 can route PCI interrupts to */

/* ---- what is only wires ---------------------------------------------------------------------- */

static void reset_pin(void *opaque, unsigned n, int level)
{
    struct malta *m = opaque;
    if (level)
        vm_reset_request(m->vm);
}

static void power_off(void *opaque)
{
    struct malta *m = opaque;
    vm_stop(m->vm, VM_EXIT_POWER_OFF, "power-off", "%s", "");
}

static int acknowledge(void *opaque)
{
    struct malta *m = opaque;
    return i8259_ack(m->pic);
}

static void pm_moved(void *opaque, uint16_t port)
{
    struct malta *m = opaque;
    acpi_pm_move(m->acpi_pm, port);
}

enum { BY_CHIP, BY_PIRQ };

struct irq_line malta_irq(struct malta *m, unsigned n)
{
    return m->isa_irq[n] ? irq_or_input(m->isa_irq[n], BY_CHIP) : i8259_line(m->pic, n);
}

struct irq_line malta_irq_for_pci(struct malta *m, unsigned n)
{
    return m->isa_irq[n] ? irq_or_input(m->isa_irq[n], BY_PIRQ) : (struct irq_line){0};
}

static void board_device_reset(struct device *d) {}

static void board_device_free(struct device *d)
{
    free(container_of(d, struct malta, dev));
}

static const struct device_ops board_device_ops = {
    .name = "malta", .reset = board_device_reset, .free = board_device_free};

/* ---- what the configuration asks for and this board does not have ---------------------------- */

static int check_config(struct malta *m, struct err *e)
{
    const struct vm_config *c = &m->vm->config;

    if (c->firmware || (!c->kernel && !c->restoring))
        return err_set(e, EINVAL, "no-firmware",
                       "board malta has no firmware: name a KERNEL, without --firmware, --bios or "
                       "an image to boot from");
    if (c->display)
        return err_set(e, EINVAL, "no-display",
                       "board malta has no screen; its console is the serial port ttyS0");
    for (unsigned i = 0; i < c->drives; i++)
        if (c->drive[i].interface == DRIVE_FLOPPY)
            return err_set(e, EINVAL, "drive-interface",
                           "board malta has IDE and virtio drives, no floppy drives");
    return 0;
}

/* ---- construction ---------------------------------------------------------------------------- */

/* A new chip becomes the VM's. */
static int add(struct malta *m, struct device *d, struct device **keep, struct err *e)
{
    if (!d)
        return -e->errnum;
    vm_add_device(m->vm, d);
    if (keep)
        *keep = d;
    return 0;
}

static int build_memory(struct malta *m, struct err *e)
{
    struct vm *vm = m->vm;
    uint64_t low = malta_low_ram(m), high = vm->config.ram_bytes - low;
    int r = phys_map_ram(vm->mem, 0, 0, low, e);
    if (r == 0 && high)
        r = phys_map_ram(vm->mem, MALTA_HIGH_BASE, low, high, e);
    return r;
}

static int build_processor(struct malta *m, struct err *e)
{
    struct vm *vm = m->vm;
    struct vcpu_wiring w = {vm->mem, vm->mmio, vm->pio, vm->clock, &vm->log};

    vm->vcpu = mips32_new(&w, &mips32_24kf, 0, e);
    return vm->vcpu ? 0 : -e->errnum;
}

static int build_north(struct malta *m, struct err *e)
{
    const struct gt64120_config c = {
        .interrupt = mips32_pin(m->vm->vcpu, MALTA_PIN_GT), .iack = acknowledge, .iack_opaque = m};
    int r = add(m, gt64120_new(&m->host, &c, e), &m->gt, e);

    if (r < 0)
        return r;
    m->pci_host = gt64120_pci_host(m->gt);
    r = add(m, pci_bus_new(&m->pci_host, PIRQ_TURN, e), &m->pci, e);
    return r == 0 ? gt64120_connect(m->gt, pci_host_of(m->pci), e) : r;
}

static int build_interrupts(struct malta *m, struct err *e)
{
    static const char *const names[MALTA_ISA_IRQS] = {
        "irq0", "irq1", "irq2",  "irq3",  "irq4",  "irq5",  "irq6",  "irq7",
        "irq8", "irq9", "irq10", "irq11", "irq12", "irq13", "irq14", "irq15"};
    struct irq_line out = mips32_pin(m->vm->vcpu, MALTA_PIN_I8259);
    int r = add(m, i8259_new(&m->host, out, e), &m->pic, e);

    for (unsigned n = 0; n < MALTA_ISA_IRQS && r == 0; n++)
        if (SHARED_INTERRUPTS >> n & 1)
            r = add(m, irq_or_new(names[n], i8259_line(m->pic, n), e), &m->isa_irq[n], e);
    return r;
}

static int build_serial(struct malta *m, struct err *e)
{
    struct ns16550_config com1 = {.instance = "com1",
                                  .bus = m->vm->pio,
                                  .base = NS16550_COM1_BASE,
                                  .irq = malta_irq(m, NS16550_COM1_IRQ),
                                  .out2_gates_irq = true,
                                  .chr = m->vm->console};
    struct ns16550_config com2 = {.instance = "com2",
                                  .bus = m->vm->pio,
                                  .base = COM2_BASE,
                                  .irq = malta_irq(m, COM2_IRQ),
                                  .out2_gates_irq = true};
    struct ns16550_config com3 = {.instance = "com3",
                                  .bus = m->vm->mmio,
                                  .base = MALTA_FPGA_UART,
                                  .shift = 3,
                                  .irq = mips32_pin(m->vm->vcpu, MALTA_PIN_UART)};
    int r = add(m, ns16550_new(&m->host, &com1, e), NULL, e);

    if (r == 0)
        r = add(m, ns16550_new(&m->host, &com2, e), NULL, e);
    return r == 0 ? add(m, ns16550_new(&m->host, &com3, e), NULL, e) : r;
}

static int build_classic_chips(struct malta *m, struct err *e)
{
    const struct i8042_lines keyboard = {.keyboard = malta_irq(m, 1), .mouse = malta_irq(m, 12)};
    struct irq_line sci = malta_irq(m, ACPI_SCI_IRQ), reset = {reset_pin, m, 0};
    int r = add(m, i8254_new(&m->host, malta_irq(m, 0), e), NULL, e);

    if (r == 0)
        r = add(m, mc146818_new(&m->host, malta_irq(m, 8), e), &m->rtc, e);
    if (r == 0)
        r = add(m, i8042_new(&m->host, &keyboard, e), NULL, e);
    if (r == 0)
        r = add(m, acpi_pm_new(&m->host, sci, power_off, m, e), &m->acpi_pm, e);
    return r == 0 ? add(m, malta_fpga_new(&m->host, false, reset, e), NULL, e) : r;
}

static int build_south(struct malta *m, struct err *e)
{
    const struct ide_config ide = {.irq = {malta_irq(m, IDE_IRQ0), malta_irq(m, IDE_IRQ1)},
                                   .slot = MALTA_SLOT_PIIX4};
    struct piix4_wiring w = {.route = {MALTA_PIRQ_AB, MALTA_PIRQ_AB, MALTA_PIRQ_CD, MALTA_PIRQ_CD},
                             .pm_base = MALTA_PM_BASE,
                             .slot = MALTA_SLOT_PIIX4,
                             .pm_moved = pm_moved,
                             .opaque = m};

    for (unsigned n = 0; n < MALTA_ISA_IRQS; n++)
        w.isa[n] = malta_irq_for_pci(m, n);
    int r = add(m, piix4_new(pci_host_of(m->pci), &w, e), NULL, e);
    return r == 0 ? ide_parts_build(&m->ide, m->vm, &m->pci_host, pci_host_of(m->pci), &ide, e) : r;
}

static int malta_build(struct vm *vm, struct err *e)
{
    struct malta *m = calloc(1, sizeof *m);
    if (!m)
        return err_set(e, ENOMEM, "no-memory", "no memory for the board");
    m->dev = (struct device){.ops = &board_device_ops, .instance = "malta"};
    m->vm = vm;
    m->host = (struct dev_host){vm->mem, vm->mmio, vm->pio, vm->clock, &vm->log};
    vm->board_state = m;
    vm_add_device(vm, &m->dev);

    int (*const steps[])(struct malta *, struct err *) = {
        check_config,        build_memory, build_processor, build_north, build_interrupts,
        build_classic_chips, build_serial, build_south,     malta_cards, malta_boot,
    };
    int r = 0;
    for (unsigned i = 0; i < ARRAY_LEN(steps) && r == 0; i++)
        r = steps[i](m, e);
    return r;
}

/* Guest memory is cleared, so that a restarted guest finds what the first one did. */
static int malta_reset(struct vm *vm, struct err *e)
{
    struct malta *m = vm->board_state;
    uint64_t low = malta_low_ram(m);

    phys_zero(vm->mem, 0, low);
    phys_zero(vm->mem, MALTA_HIGH_BASE, vm->config.ram_bytes - low);
    for (struct device *d = vm->devices; d; d = d->next)
        d->ops->reset(d);
    vm->vcpu->isa->reset(vm->vcpu);
    return malta_boot(m, e);
}

static int malta_change_medium(struct vm *vm, unsigned n, struct block *medium, struct err *e)
{
    struct malta *m = vm->board_state;
    int r = m->ide.place[n] ? ide_change_medium(m->ide.ide, m->ide.place[n] - 1u, medium) : -ENOTTY;

    return r < 0 ? err_set(e, -r, "not-removable", "what is in drive %u cannot be changed", n) : 0;
}

const struct board_ops malta_board = {
    .name = "malta",
    .summary = "MIPS Malta: 24Kf, GT-64120, PIIX4, PCnet, serial console",
    .arch = ARCH_MIPSEL,
    .min_ram = 32 * MIB,
    .max_ram = MALTA_MAX_RAM,
    .build = malta_build,
    .reset = malta_reset,
    .change_medium = malta_change_medium,
};
