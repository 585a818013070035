/* SPDX-License-Identifier: MIT */
/* Operand access for instructions without specialised forms, and the stack. */
#include "isa/x86/insn.h"
#include "isa/x86/mmu.h"

static uint32_t read_sized(struct x86_vcpu *v, enum x86_sreg s, uint32_t off, unsigned size)
{
    return size == 4   ? x86_read32(v, s, off)
           : size == 2 ? x86_read16(v, s, off)
                       : x86_read8(v, s, off);
}

static void write_sized(struct x86_vcpu *v, enum x86_sreg s, uint32_t off, unsigned size,
                        uint32_t x)
{
    if (size == 4)
        x86_write32(v, s, off, x);
    else if (size == 2)
        x86_write16(v, s, off, (uint16_t)x);
    else
        x86_write8(v, s, off, (uint8_t)x);
}

uint32_t x86_rm_get(struct x86_vcpu *v, const struct x86_insn *in, uint8_t reg, unsigned size)
{
    return in->has_mem ? read_sized(v, in->seg, x86_ea(v, in), size) : x86_reg_get(v, reg, size);
}

uint32_t x86_rm_get_for_write(struct x86_vcpu *v, const struct x86_insn *in, uint8_t reg,
                              unsigned size)
{
    return in->has_mem ? (uint32_t)x86_rmw_slow(v, in->seg, x86_ea(v, in), size)
                       : x86_reg_get(v, reg, size);
}

void x86_rm_set(struct x86_vcpu *v, const struct x86_insn *in, uint8_t reg, unsigned size,
                uint32_t x)
{
    if (in->has_mem)
        write_sized(v, in->seg, x86_ea(v, in), size, x);
    else
        x86_reg_set(v, reg, size, x);
}

void x86_push(struct x86_vcpu *v, unsigned size, uint32_t x)
{
    uint32_t sp = (x86_sp(v) - size) & v->sp_mask;
    write_sized(v, X86_SS, sp, size, x);
    x86_set_sp(v, sp);
}

uint32_t x86_pop(struct x86_vcpu *v, unsigned size)
{
    uint32_t sp = x86_sp(v), x = read_sized(v, X86_SS, sp, size);
    x86_set_sp(v, sp + size);
    return x;
}
