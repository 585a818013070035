/* SPDX-License-Identifier: MIT */
/* Interrupt wiring of the pc board. */
#ifndef RING3_BOARD_PC_INTERRUPTS_H
#define RING3_BOARD_PC_INTERRUPTS_H

#include "board/pc.h"

/* Make 8259s, local APIC, I/O APIC and HPET; needs the processor. */
int pc_build_interrupts(struct pc *pc, struct err *e);

/* Interrupt n, 0 to 15, into both kinds of controllers; 2 is the cascade and goes nowhere. */
struct irq_line pc_irq(struct pc *pc, unsigned n);
/* The same for what PCI's interrupt router drives, which shares lines with chips. */
struct irq_line pc_irq_for_pci(struct pc *pc, unsigned n);

/* Takes the interrupt messages of PCI functions; opaque is the struct pc. Any thread. */
void pc_pci_message(void *opaque, uint64_t address, uint32_t data);

#endif
