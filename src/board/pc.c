/* SPDX-License-Identifier: MIT */
/* Board `pc`: a PC of about 1999, an Intel 440FX with a PIIX4 and the classic chips, one
 * processor, first serial port on the console. Read pc_build() from top to bottom.
 *
 *   interrupts   0 timer  1 keyboard  4 com1  8 clock  9 ACPI  10, 11 PCI  12 mouse  13 FPU
 *                6 floppy  14, 15 IDE
 *   ports        20 a0 4d0 i8259   40 61 i8254   60 64 i8042   70 mc146818   80 POST   92 A20
 *                00 c0 i8237  81 DMA pages  e9 debug console  f0 FPU error  f4 debug exit
 *                170 376 1f0 3f6 IDE  1ce 3b0 3c0 VGA  3f0 3f7 floppy  3f8 com1  402 firmware's
 *                debug output (if traced)  510 fw_cfg  600 ACPI  700 SMBus  cf8 PCI
 *
 * Either firmware runs (pc_firmware.c), or pc_boot.c leaves memory, chips and processor as a BIOS
 * and a boot loader would. Left out: second serial port. */
#include "board/pc.h"

#include <errno.h>
#include <stdlib.h>

#include "board/boards.h"
#include "board/pc_display.h"
#include "board/pc_firmware.h"
#include "board/pc_interrupts.h"
#include "ring3/devices/acpi_pm.h"
#include "ring3/devices/debug_exit.h"
#include "ring3/devices/debugcon.h"
#include "ring3/devices/hpet.h"
#include "ring3/devices/i8042.h"
#include "ring3/devices/i8254.h"
#include "ring3/devices/mc146818.h"
#include "ring3/devices/ns16550.h"
#include "ring3/devices/pci.h"
#include "ring3/devices/piix4.h"
#include "ring3/devices/piix4_smbus.h"
#include "ring3/devices/port80.h"
#include "ring3/devices/port92.h"

/* ---- what is only wires ---------------------------------------------------------------------- */

static void a20_pin(void *opaque, unsigned n, int level)
{
    struct pc *pc = opaque;
    x86_set_a20(pc->cpu, level);
}

static void reset_pin(void *opaque, unsigned n, int level)
{
    struct pc *pc = opaque;
    if (level)
        vm_reset_request(pc->vm);
}

static void power_off(void *opaque)
{
    struct pc *pc = opaque;
    vm_stop(pc->vm, VM_EXIT_POWER_OFF, "power-off", "%s", "");
}

static void guest_exit(void *opaque, unsigned code)
{
    struct pc *pc = opaque;
    vm_stop(pc->vm, (int)code, "guest-exit", "%s", "");
}

/* FERR# of the processor sets a latch that drives interrupt 13; writing port 0xf0 clears it. */
static void fpu_error(void *opaque)
{
    struct pc *pc = opaque;
    irq_set(&pc->fpu_error, 1);
}

static uint64_t port_f0_read(void *opaque, uint64_t offset, unsigned size)
{
    return 0xff;
}

static void port_f0_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct pc *pc = opaque;
    irq_set(&pc->fpu_error, 0);
}

static const struct io_ops port_f0_ops = {port_f0_read, port_f0_write, 1, 1};

static void pc_device_reset(struct device *d)
{
    struct pc *pc = container_of(d, struct pc, dev);
    irq_set(&pc->fpu_error, 0);
}

static void pc_device_free(struct device *d)
{
    struct pc *pc = container_of(d, struct pc, dev);
    display_typist_free(pc->vm->display.typist);
    pthread_mutex_destroy(&pc->irq_lock);
    free(pc);
}

static const struct state_field pc_state[] = {STATE_ARRAY(struct pc, irq_drivers)};
static const struct device_ops pc_device_ops = {.name = "pc",
                                                .reset = pc_device_reset,
                                                .free = pc_device_free,
                                                .state = pc_state,
                                                .state_count = ARRAY_LEN(pc_state)};

/* ---- construction ---------------------------------------------------------------------------- */

static int build_memory(struct vm *vm, struct err *e)
{
    uint64_t ram = vm->config.ram_bytes;
    int r = phys_map_ram(vm->mem, 0, 0, PC_LOW_END, e);
    if (r == 0)
        r = phys_map_rom(vm->mem, PC_ROM_START, PC_ROM_START, PC_HIGH_START - PC_ROM_START, e);
    if (r == 0 && ram > PC_HIGH_START)
        r = phys_map_ram(vm->mem, PC_HIGH_START, PC_HIGH_START, ram - PC_HIGH_START, e);
    return r;
}

static int build_processor(struct pc *pc, struct err *e)
{
    struct vm *vm = pc->vm;
    struct vcpu_wiring w = {vm->mem, vm->mmio, vm->pio, vm->clock, &vm->log};
    vm->vcpu = x86_isa.vcpu_new(&w, 0, e);
    if (!vm->vcpu)
        return -e->errnum;
    pc->cpu = x86_of(vm->vcpu);
    pc->cpu->ferr.raise = fpu_error;
    pc->cpu->ferr.opaque = pc;
    return 0;
}

/* Hand a new chip to the VM; NULL stays NULL. */
static struct device *add(struct pc *pc, struct device *d)
{
    if (d)
        vm_add_device(pc->vm, d);
    return d;
}

static int build_interrupts(struct pc *pc, struct err *e)
{
    int r = pc_build_interrupts(pc, e);
    if (r < 0)
        return r;
    pc->fpu_error = pc_irq(pc, 13);
    return bus_map(pc->vm->pio, 0xf0, 1, &port_f0_ops, pc, "fpu-error", e);
}

static int build_classic_chips(struct pc *pc, struct err *e)
{
    struct irq_line a20 = {a20_pin, pc, 0}, reset = {reset_pin, pc, 0};
    pc->pit = add(pc, i8254_new(&pc->host, hpet_irq0_input(pc->hpet), e));
    if (!pc->pit)
        return -e->errnum;
    pc->rtc = add(pc, mc146818_new(&pc->host, hpet_irq8_input(pc->hpet), e));
    if (!pc->rtc)
        return -e->errnum;
    pc->port92 = add(pc, port92_new(&pc->host, a20, reset, e));
    if (!pc->port92)
        return -e->errnum;
    struct i8042_lines lines = {.keyboard = pc_irq(pc, 1),
                                .mouse = pc_irq(pc, 12),
                                .a20 = port92_a20_input(pc->port92),
                                .reset = reset};
    pc->i8042 = add(pc, i8042_new(&pc->host, &lines, e));
    if (!pc->i8042)
        return -e->errnum;
    struct ns16550_config com1 = {.instance = "com1",
                                  .bus = pc->vm->pio,
                                  .base = NS16550_COM1_BASE,
                                  .irq = pc_irq(pc, NS16550_COM1_IRQ),
                                  .out2_gates_irq = true,
                                  .chr = pc->vm->console};
    pc->com1 = add(pc, ns16550_new(&pc->host, &com1, e));
    if (!pc->com1)
        return -e->errnum;
    return 0;
}

static int build_pci(struct pc *pc, struct err *e)
{
    pc->pci_host = add(pc, pci_host_new(&pc->host, (struct irq_line){reset_pin, pc, 0}, e));
    if (!pc->pci_host)
        return -e->errnum;
    struct pci_host *pci = pci_host_of(pc->pci_host);
    pci_set_messages(pci, pc_pci_message, pc);
    struct i440fx_config north;
    int r = pc_firmware_memory(pc, &north, e);
    if (r < 0)
        return r;
    if (!add(pc, i440fx_new(pci, &north, e)))
        return -e->errnum;
    struct piix4_wiring w = {.route = {PC_PIRQ_A, PC_PIRQ_B, PC_PIRQ_C, PC_PIRQ_D},
                             .pm_base = ACPI_PM_BASE,
                             .smbus_base = PIIX4_SMBUS_BASE,
                             .slot = PC_SLOT_PIIX4};
    for (unsigned i = 0; i < ARRAY_LEN(w.isa); i++)
        w.isa[i] = pc_irq_for_pci(pc, i);
    pc->piix4 = add(pc, piix4_new(pci, &w, e));
    if (!pc->piix4 || !add(pc, piix4_smbus_new(&pc->host, e)))
        return -e->errnum;
    pc->acpi_pm = add(pc, acpi_pm_new(&pc->host, pc_irq(pc, ACPI_SCI_IRQ), power_off, pc, e));
    return pc->acpi_pm ? 0 : -e->errnum;
}

static int build_debug_ports(struct pc *pc, struct err *e)
{
    if (!add(pc, port80_new(&pc->host, e)) ||
        !add(pc, debugcon_new(&pc->host, pc->vm->console, e)) ||
        !add(pc, debug_exit_new(&pc->host, guest_exit, pc, e)))
        return -e->errnum;
    return 0;
}

static int pc_build(struct vm *vm, struct err *e)
{
    struct pc *pc = calloc(1, sizeof *pc);
    if (!pc)
        return err_set(e, ENOMEM, "no-memory", "no memory for the board");
    pc->dev = (struct device){.ops = &pc_device_ops, .instance = "pc"};
    pthread_mutex_init(&pc->irq_lock, NULL);
    pc->vm = vm;
    pc->host = (struct dev_host){vm->mem, vm->mmio, vm->pio, vm->clock, &vm->log};
    vm->board_state = pc;
    vm_add_device(vm, &pc->dev);

    int (*const steps[])(struct pc *, struct err *) = {
        build_processor,   build_interrupts, build_classic_chips,
        build_pci,         pc_display_build, pc_drives_build,
        build_debug_ports, pc_net,           pc_virtio_build,
        pc_firmware_build, pc_boot,
    };
    int r = build_memory(vm, e);
    for (unsigned i = 0; i < ARRAY_LEN(steps) && r == 0; i++)
        r = steps[i](pc, e);
    return r;
}

/* Guest memory is cleared, so that a restarted guest finds what the first one did. */
static int pc_reset(struct vm *vm, struct err *e)
{
    struct pc *pc = vm->board_state;
    uint64_t ram = vm->config.ram_bytes;
    /* The host bridge's reset puts back what is behind shadow RAM. */
    phys_remap(vm->mem, PC_ROM_START, PHYS_RAM, PC_ROM_START, PC_HIGH_START - PC_ROM_START);
    phys_zero(vm->mem, 0, PC_LOW_END);
    phys_zero(vm->mem, PC_ROM_START, ram - PC_ROM_START);
    for (struct device *d = vm->devices; d; d = d->next)
        d->ops->reset(d);
    x86_isa.reset(vm->vcpu);
    return pc_boot(pc, e);
}

static void pc_power_button(struct vm *vm)
{
    struct pc *pc = vm->board_state;
    acpi_pm_power_button(pc->acpi_pm);
}

const struct board_ops pc_board = {
    .name = "pc",
    .summary = "PC with 440FX, PIIX4, classic chips, serial console",
    .arch = ARCH_I386,
    .min_ram = MIB,
    .max_ram = PC_MAX_RAM,
    .build = pc_build,
    .reset = pc_reset,
    .power_button = pc_power_button,
    .change_medium = pc_change_medium,
};
