/* SPDX-License-Identifier: MIT */
/* Coprocessor 0's registers as MFC0 and MTC0 see them. */
#ifndef RING3_ISA_MIPS32_CP0_H
#define RING3_ISA_MIPS32_CP0_H

#include "isa/mips32/cpu.h"

uint32_t mips32_cp0_read(struct mips32_vcpu *v, unsigned reg, unsigned sel);
/* Writes change what the register's mask lets through, and all that depends on it. */
void mips32_cp0_write(struct mips32_vcpu *v, unsigned reg, unsigned sel, uint32_t x);
/* A register that is just a field: where it is in struct mips32_cp0 and which bits writes change.
 * False: reading it (or, with `write`, writing it) does something else. What does not exist reads
 * as zero and is no field. */
bool mips32_cp0_field(const struct mips32_vcpu *v, unsigned reg, unsigned sel, bool write,
                      uint16_t *offset, uint32_t *mask);
/* Bits of Status that MTC0 writes. */
uint32_t mips32_status_mask(const struct mips32_model *m);
void mips32_cp0_reset(struct mips32_vcpu *v);
void mips32_set_status(struct mips32_vcpu *v, uint32_t x); /* all bits; and what depends on it */
/* After a snapshot: bring every register into the range that writes keep it in. */
void mips32_cp0_restored(struct mips32_vcpu *v);

#endif
