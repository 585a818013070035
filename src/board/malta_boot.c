/* SPDX-License-Identifier: MIT */
/* The malta board's stand-in for its monitor, YAMON: what that leaves in the chips before it starts
 * a program, then the kernel, with arguments and environment (boot/yamon.c).
 *
 * In the chips: the GT-64120's registers and windows at their places, PCI interrupts levels. All
 * else of PCI, such as where devices are, is the kernel's to do. */
#include <stdio.h>

#include "board/malta.h"
#include "boot/boot.h"
#include "isa/mips32/mips32.h"
#include "ring3/devices/gt64120.h"

#define PORT_ELCR_HIGH 0x4d1u
#define GT(reg)        (MALTA_GT_BASE + (reg))
#define LOW(address)   ((address) >> GT_PLACE_SHIFT)
#define HIGH(end)      (((end)-1) >> GT_PLACE_SHIFT & 0x7f)

static void start_chips(struct malta *m)
{
    static const uint32_t writes[][2] = {
        {GT64120_RESET_BASE + GT_INTERNAL_SPACE, LOW(MALTA_GT_BASE)},
        {GT(GT_PCI0_IO_LOW), LOW(MALTA_PCI_IO)},
        {GT(GT_PCI0_IO_HIGH), HIGH(MALTA_PCI_MEM1)},
        {GT(GT_PCI0_IO_REMAP), 0},
        {GT(GT_PCI0_MEM0_LOW), LOW(MALTA_PCI_MEM0)},
        {GT(GT_PCI0_MEM0_HIGH), HIGH(MALTA_PCI_IO)},
        {GT(GT_PCI0_MEM1_LOW), LOW(MALTA_PCI_MEM1)},
        {GT(GT_PCI0_MEM1_HIGH), HIGH(MALTA_GT_BASE)},
    };

    for (unsigned i = 0; i < ARRAY_LEN(writes); i++)
        bus_write(m->vm->mmio, writes[i][0], 4, writes[i][1]);
    bus_write(m->vm->pio, PORT_ELCR_HIGH, 1, 1u << (MALTA_PIRQ_AB - 8) | 1u << (MALTA_PIRQ_CD - 8));
}

static int load(struct malta *m, struct boot_plan *plan, struct err *e)
{
    const struct vm_config *c = &m->vm->config;
    uint64_t low = malta_low_ram(m);
    const struct boot_e820 map[] = {{0, low, E820_RAM},
                                    {MALTA_HIGH_BASE, c->ram_bytes - low, E820_RAM}};
    const struct boot_variable environment[] = {{"memsize", m->memsize},
                                                {"ememsize", m->ememsize},
                                                {"modetty0", "38400,n,8,1,hw"},
                                                {"yamonrev", "02.00"},
                                                {NULL, NULL}};
    const struct boot_request req = {.arch = ARCH_MIPSEL,
                                     .kernel = c->kernel,
                                     .initrd = c->initrd,
                                     .append = c->append,
                                     .mem = m->vm->mem,
                                     .map = map,
                                     .map_count = c->ram_bytes > low ? 2 : 1,
                                     .environment = environment};

    snprintf(m->memsize, sizeof m->memsize, "%llu", (unsigned long long)low);
    snprintf(m->ememsize, sizeof m->ememsize, "%llu", (unsigned long long)c->ram_bytes);
    return boot_load(&req, plan, e);
}

int malta_boot(struct malta *m, struct err *e)
{
    struct boot_plan plan;

    if (m->vm->config.restoring)
        return 0;
    start_chips(m);
    int r = load(m, &plan, e);
    if (r == 0)
        mips32_start(m->vm->vcpu, plan.entry, plan.argument);
    return r;
}
