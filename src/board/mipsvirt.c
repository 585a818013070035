/* SPDX-License-Identifier: MIT */
/* Board `mipsvirt`: a little MIPS machine that exists nowhere else, for kernels that read a device
 * tree, such as Linux' generic MIPS kernel. Memory map and interrupt pins are in mipsvirt_tree.h.
 * Read mipsvirt_build() from top to bottom.
 *
 * There is no firmware: the kernel starts by the UHI boot protocol (boot/uhi.c). Disks, network
 * cards and all else that moves data is virtio over MMIO. Interrupts go to the processor's own
 * pins, which are few, so devices of a kind share one.
 *
 * Left out: PCI, a screen, floppies and CD-ROM drives, media that are changed, a power button,
 * big-endian kernels. */
#include "board/mipsvirt_tree.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "board/boards.h"
#include "board/virtio_parts.h"
#include "boot/boot.h"
#include "isa/mips32/mips32.h"
#include "ring3/devices/goldfish_rtc.h"
#include "ring3/devices/irq_or.h"
#include "ring3/devices/ns16550.h"
#include "ring3/devices/syscon.h"
#include "ring3/devices/virtio_mmio.h"
#include "ring3/vm.h"

#define MAX_RAM (3 * GIB)

struct mipsvirt {
    struct device dev; /* first; owns this struct */
    struct vm *vm;
    struct dev_host host;
    struct device *shared[MIPSVIRT_PINS]; /* of pins that several devices have; else NULL */
    struct mipsvirt_tree tree;
    char cpu[32];
    uint8_t seed[MIPSVIRT_SEED_BYTES];
};

/* ---- what is only wires ---------------------------------------------------------------------- */

static void reset_pin(void *opaque, unsigned n, int level)
{
    struct mipsvirt *m = opaque;
    if (level)
        vm_reset_request(m->vm);
}

static void power_off(void *opaque)
{
    struct mipsvirt *m = opaque;
    vm_stop(m->vm, VM_EXIT_POWER_OFF, "power-off", "%s", "");
}

static void guest_exit(void *opaque, unsigned code)
{
    struct mipsvirt *m = opaque;
    vm_stop(m->vm, (int)code, "guest-exit", "%s", "");
}

static void board_device_reset(struct device *d) {}

static void board_device_free(struct device *d)
{
    free(container_of(d, struct mipsvirt, dev));
}

static const struct device_ops board_device_ops = {
    .name = "mipsvirt", .reset = board_device_reset, .free = board_device_free};

/* ---- what the configuration asks for and this board does not have ---------------------------- */

static int check_drives(const struct vm_config *c, struct err *e)
{
    for (unsigned i = 0; i < c->drives; i++)
        if (!virtio_parts_is_drive(c, &c->drive[i]))
            return err_set(e, EINVAL, "drive-interface",
                           "board mipsvirt has virtio disks only, no IDE, CD-ROM or floppy drives; "
                           "--disk FILE.iso,ro shows the guest a CD as a disk");
    return 0;
}

static int check_nics(const struct vm_config *c, struct err *e)
{
    for (unsigned i = 0; i < c->nics; i++)
        if (c->nic[i].model && strcmp(c->nic[i].model, "virtio") != 0)
            return err_set(e, EINVAL, "net-model",
                           "board mipsvirt has no network card \"%s\"; leave model= out, or say "
                           "model=virtio",
                           c->nic[i].model);
    return 0;
}

static int check_config(struct mipsvirt *m, struct err *e)
{
    const struct vm_config *c = &m->vm->config;

    if (c->firmware || (!c->kernel && !c->restoring))
        return err_set(e, EINVAL, "no-firmware",
                       "board mipsvirt has no firmware: name a KERNEL, without --firmware, --bios "
                       "or an image to boot from");
    if (c->display)
        return err_set(e, EINVAL, "no-display",
                       "board mipsvirt has no screen; its console is the serial port");
    int r = check_drives(c, e);
    return r == 0 ? check_nics(c, e) : r;
}

/* ---- construction ---------------------------------------------------------------------------- */

static uint64_t low_ram(const struct vm *vm)
{
    uint64_t ram = vm->config.ram_bytes;
    return ram < MIPSVIRT_LOW_RAM ? ram : MIPSVIRT_LOW_RAM;
}

static int build_memory(struct mipsvirt *m, struct err *e)
{
    struct vm *vm = m->vm;
    uint64_t low = low_ram(vm), high = vm->config.ram_bytes - low;
    int r = phys_map_ram(vm->mem, 0, 0, low, e);
    if (r == 0 && high)
        r = phys_map_ram(vm->mem, MIPSVIRT_HIGH_BASE, low, high, e);
    return r;
}

static int build_processor(struct mipsvirt *m, struct err *e)
{
    const struct mips32_model *model = &mips32_24kf;
    struct vm *vm = m->vm;
    struct vcpu_wiring w = {vm->mem, vm->mmio, vm->pio, vm->clock, &vm->log};

    vm->vcpu = mips32_new(&w, model, 0, e);
    if (!vm->vcpu)
        return -e->errnum;
    snprintf(m->cpu, sizeof m->cpu, "mips,mips%s", model->name);
    m->tree.cpu = m->cpu;
    m->tree.clock_hz = 2 * model->count_hz;
    return 0;
}

static int add(struct mipsvirt *m, struct device *d, struct err *e)
{
    if (!d)
        return -e->errnum;
    vm_add_device(m->vm, d);
    return 0;
}

static int build_pins(struct mipsvirt *m, struct err *e)
{
    static const char *const shared[MIPSVIRT_PINS] = {
        [MIPSVIRT_PIN_DRIVES] = "pin-drives",
        [MIPSVIRT_PIN_NICS] = "pin-nics",
        [MIPSVIRT_PIN_OTHERS] = "pin-others",
    };
    int r = 0;

    for (unsigned i = 0; i < MIPSVIRT_PINS && r == 0; i++)
        if (shared[i]) {
            m->shared[i] = irq_or_new(shared[i], mips32_pin(m->vm->vcpu, i), e);
            r = add(m, m->shared[i], e);
        }
    return r;
}

static int build_chips(struct mipsvirt *m, struct err *e)
{
    struct vcpu *v = m->vm->vcpu;
    struct ns16550_config com1 = {.instance = "com1",
                                  .bus = m->vm->mmio,
                                  .base = MIPSVIRT_COM1,
                                  .irq = mips32_pin(v, MIPSVIRT_PIN_COM1),
                                  .chr = m->vm->console};
    struct syscon_config syscon = {.base = MIPSVIRT_SYSCON,
                                   .reset = {reset_pin, m, 0},
                                   .power_off = power_off,
                                   .guest_exit = guest_exit,
                                   .opaque = m};
    struct goldfish_rtc_config clock = {MIPSVIRT_CLOCK, mips32_pin(v, MIPSVIRT_PIN_CLOCK)};
    int r = add(m, ns16550_new(&m->host, &com1, e), e);

    if (r == 0)
        r = add(m, syscon_new(&m->host, &syscon, e), e);
    return r == 0 ? add(m, goldfish_rtc_new(&m->host, &clock, e), e) : r;
}

/* By enum virtio_id: the slot of the first of its kind, and the pin they share. Linux numbers disks
 * and cards in this order. */
static const struct place {
    unsigned slot;
    enum mipsvirt_pin pin;
} places[] = {
    [VIRTIO_BLK] = {0, MIPSVIRT_PIN_DRIVES},  [VIRTIO_NET] = {8, MIPSVIRT_PIN_NICS},
    [VIRTIO_9P] = {12, MIPSVIRT_PIN_OTHERS},  [VIRTIO_CONSOLE] = {16, MIPSVIRT_PIN_OTHERS},
    [VIRTIO_RNG] = {17, MIPSVIRT_PIN_OTHERS}, [VIRTIO_BALLOON] = {18, MIPSVIRT_PIN_OTHERS},
};
_Static_assert(VM_MAX_DRIVES <= 8 && VM_MAX_NICS <= 4 && VM_MAX_SHARES <= 4, "slots suffice");

static int connect_mmio(void *opaque, struct virtio *v, unsigned n, struct err *e)
{
    struct mipsvirt *m = opaque;
    const struct place *place = &places[v->ops->id];
    unsigned slot = place->slot + n;
    const struct virtio_mmio_config c = {.base = MIPSVIRT_VIRTIO + slot * VIRTIO_MMIO_BYTES,
                                         .legacy = m->vm->config.extras & VM_VIRTIO_LEGACY,
                                         .irq = irq_or_input(m->shared[place->pin], slot)};

    m->tree.slot[slot] = (struct mipsvirt_slot){true, place->pin};
    return add(m, virtio_mmio_new(&m->host, &c, v, e), e);
}

static int build_virtio(struct mipsvirt *m, struct err *e)
{
    struct virtio_parts p = {m->vm, &m->host, connect_mmio, m};
    int r = virtio_parts_drives(&p, e);

    for (unsigned n = 0; n < m->vm->config.nics && r == 0; n++)
        r = virtio_parts_nic(&p, n, e);
    if (r == 0)
        r = virtio_parts_shares(&p, e);
    return r == 0 ? virtio_parts_extras(&p, e) : r;
}

/* ---- the boot loader's part ------------------------------------------------------------------ */

/* Runs with the virtual clock repeat, so their guests get nothing random. */
static void make_seed(struct mipsvirt *m)
{
    bool random = m->vm->config.clock != CLOCK_VIRTUAL &&
                  getrandom(m->seed, sizeof m->seed, GRND_NONBLOCK) == sizeof m->seed;
    m->tree.seed = random ? m->seed : NULL;
}

static int boot(struct mipsvirt *m, struct err *e)
{
    const struct vm_config *c = &m->vm->config;
    uint64_t low = low_ram(m->vm);
    const struct boot_e820 map[] = {{0, low, E820_RAM},
                                    {MIPSVIRT_HIGH_BASE, c->ram_bytes - low, E820_RAM}};
    uint8_t tree[BOOT_TREE_BYTES / 2];
    struct boot_request req = {.arch = ARCH_MIPSEL,
                               .kernel = c->kernel,
                               .initrd = c->initrd,
                               .append = c->append,
                               .mem = m->vm->mem,
                               .map = map,
                               .map_count = c->ram_bytes > low ? 2 : 1,
                               .tree = tree};
    struct boot_plan plan;

    if (c->restoring)
        return 0;
    m->tree.ram_bytes = c->ram_bytes;
    make_seed(m);
    int r = mipsvirt_tree_write(&m->tree, tree, sizeof tree, e);
    if (r == 0)
        r = boot_load(&req, &plan, e);
    if (r == 0)
        mips32_start(m->vm->vcpu, plan.entry, plan.argument);
    return r;
}

static int mipsvirt_build(struct vm *vm, struct err *e)
{
    struct mipsvirt *m = calloc(1, sizeof *m);
    if (!m)
        return err_set(e, ENOMEM, "no-memory", "no memory for the board");
    m->dev = (struct device){.ops = &board_device_ops, .instance = "mipsvirt"};
    m->vm = vm;
    m->host = (struct dev_host){vm->mem, vm->mmio, vm->pio, vm->clock, &vm->log};
    vm->board_state = m;
    vm_add_device(vm, &m->dev);

    int (*const steps[])(struct mipsvirt *, struct err *) = {
        check_config, build_memory, build_processor, build_pins, build_chips, build_virtio, boot,
    };
    int r = 0;
    for (unsigned i = 0; i < ARRAY_LEN(steps) && r == 0; i++)
        r = steps[i](m, e);
    return r;
}

/* Guest memory is cleared, so that a restarted guest finds what the first one did. */
static int mipsvirt_reset(struct vm *vm, struct err *e)
{
    struct mipsvirt *m = vm->board_state;
    uint64_t low = low_ram(vm);

    phys_zero(vm->mem, 0, low);
    phys_zero(vm->mem, MIPSVIRT_HIGH_BASE, vm->config.ram_bytes - low);
    for (struct device *d = vm->devices; d; d = d->next)
        d->ops->reset(d);
    vm->vcpu->isa->reset(vm->vcpu);
    return boot(m, e);
}

const struct board_ops mipsvirt_board = {
    .name = "mipsvirt",
    .summary = "MIPS32 24Kf, device tree, serial console, virtio over MMIO",
    .arch = ARCH_MIPSEL,
    .min_ram = 16 * MIB,
    .max_ram = MAX_RAM,
    .halt_is_off = true,
    .build = mipsvirt_build,
    .reset = mipsvirt_reset,
};
