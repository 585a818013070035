/* SPDX-License-Identifier: MIT */
/* How interrupts get to the pc board's processor. Each of the 16 classic ones reaches both the
 * 8259s and the I/O APIC; the guest masks what it does not use.
 *
 *   chips ─▶ irq n ─┬▶ 8259s ─ INT ─▶ LINT0 ┐
 *   PIRQA-D ─▶ 10,11 └▶ I/O APIC pin n ─────┴▶ local APIC ─ INTR, NMI ─▶ processor
 *                       (irq 0: pin 2)
 *   HPET ─▶ irq 0 and 8 in place of i8254 and mc146818, or pins 20 to 23 */
#include "board/pc_interrupts.h"

#include "ring3/devices/hpet.h"
#include "ring3/devices/i8259.h"
#include "ring3/devices/ioapic.h"
#include "ring3/devices/lapic.h"

#define HPET_FIRST_PIN 20u
#define HPET_PINS      4u
#define TIMER_PIN      2u /* where interrupt 0 is; the MADT says so */

static void intr_pin(void *opaque, unsigned n, int level)
{
    struct pc *pc = opaque;
    if (level)
        vcpu_attend(&pc->cpu->base, ATTN_INTERRUPT);
    else
        vcpu_unattend(&pc->cpu->base, ATTN_INTERRUPT);
}

static void nmi_pin(void *opaque, unsigned n, int level)
{
    struct pc *pc = opaque;
    if (level)
        vcpu_attend(&pc->cpu->base, ATTN_NMI);
}

static bool message(void *opaque, const struct lapic_message *m)
{
    struct pc *pc = opaque;
    return lapic_deliver(pc->lapic, m);
}

static int pic_ack(void *opaque)
{
    struct pc *pc = opaque;
    return i8259_ack(pc->pic);
}

static void end_of_interrupt(void *opaque, int vector)
{
    struct pc *pc = opaque;
    if (vector >= 0)
        ioapic_eoi(pc->ioapic, (uint8_t)vector);
    hpet_catch_up(pc->hpet);
}

/* A guest may route PCI interrupts to one that a chip has: who drives the line is ORed. */
enum { BY_CHIP = 1, BY_PIRQ = 2 };

static void drive(struct pc *pc, unsigned n, unsigned who, int level)
{
    pthread_mutex_lock(&pc->irq_lock);
    pc->irq_drivers[n] = (uint8_t)(level ? pc->irq_drivers[n] | who : pc->irq_drivers[n] & ~who);
    irq_set(&pc->pic_line[n], pc->irq_drivers[n] != 0);
    irq_set(&pc->apic_line[n], pc->irq_drivers[n] != 0);
    pthread_mutex_unlock(&pc->irq_lock);
}

static void irq_by_chip(void *opaque, unsigned n, int level)
{
    drive(opaque, n, BY_CHIP, level);
}

static void irq_by_pirq(void *opaque, unsigned n, int level)
{
    drive(opaque, n, BY_PIRQ, level);
}

/* A message of a PCI function (Intel SDM 3A, "Message Signalled Interrupts"). */
void pc_pci_message(void *opaque, uint64_t address, uint32_t data)
{
    struct lapic_message m = {.destination = (uint8_t)(address >> 12),
                              .logical = address & 4,
                              .level = data >> 15 & 1,
                              .mode = data >> 8 & 7,
                              .vector = (uint8_t)data};
    if (address >> 20 == LAPIC_BASE >> 20)
        message(opaque, &m);
}

struct irq_line pc_irq(struct pc *pc, unsigned n)
{
    return n < PC_IRQS && n != 2 ? (struct irq_line){irq_by_chip, pc, n} : (struct irq_line){0};
}

struct irq_line pc_irq_for_pci(struct pc *pc, unsigned n)
{
    return n < PC_IRQS && n != 2 ? (struct irq_line){irq_by_pirq, pc, n} : (struct irq_line){0};
}

static int build_hpet(struct pc *pc, struct err *e)
{
    struct hpet_wiring w = {.irq0 = pc_irq(pc, 0), .irq8 = pc_irq(pc, 8)};
    for (unsigned i = HPET_FIRST_PIN; i < HPET_FIRST_PIN + HPET_PINS; i++) {
        w.routes |= 1u << i;
        w.line[i] = ioapic_line(pc->ioapic, i);
    }
    pc->hpet = hpet_new(&pc->host, &w, e);
    if (!pc->hpet)
        return -e->errnum;
    vm_add_device(pc->vm, pc->hpet);
    return 0;
}

int pc_build_interrupts(struct pc *pc, struct err *e)
{
    struct lapic_wiring w = {
        .intr = {intr_pin, pc, 0}, .nmi = {nmi_pin, pc, 0}, .pic_ack = pic_ack, .pic_opaque = pc};
    pc->lapic = lapic_new(&pc->host, &w, e);
    if (!pc->lapic)
        return -e->errnum;
    vm_add_device(pc->vm, pc->lapic);
    pc->ioapic = ioapic_new(&pc->host, message, pc, e);
    if (!pc->ioapic)
        return -e->errnum;
    vm_add_device(pc->vm, pc->ioapic);
    lapic_set_eoi(pc->lapic, end_of_interrupt, pc);
    pc->pic = i8259_new(&pc->host, lapic_lint0(pc->lapic), e);
    if (!pc->pic)
        return -e->errnum;
    vm_add_device(pc->vm, pc->pic);
    for (unsigned n = 0; n < PC_IRQS; n++) {
        pc->pic_line[n] = i8259_line(pc->pic, n);
        pc->apic_line[n] = ioapic_line(pc->ioapic, n ? n : TIMER_PIN);
    }
    pc->cpu->base.intc = (struct intc){lapic_ack, pc->lapic};
    pc->cpu->apic_base.read = lapic_read_base;
    pc->cpu->apic_base.write = lapic_write_base;
    pc->cpu->apic_base.opaque = pc->lapic;
    return build_hpet(pc, e);
}
