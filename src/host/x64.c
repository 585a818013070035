/* SPDX-License-Identifier: MIT */
/* Encodings behind x64.h: legacy and REX prefixes in one canonical order, ModRM, SIB, VEX. */
#include "host/x64.h"

#define REX   0x40u
#define REX_W 8u
#define REX_R 4u
#define REX_X 2u
#define REX_B 1u

static void legacy(struct x64 *e, const struct x64_op *op, const struct x64_mem *m)
{
    if (m && m->gs)
        x64_u8(e, 0x65);
    if (m && m->addr32)
        x64_u8(e, 0x67);
    if (op->opsize16)
        x64_u8(e, 0x66);
    if (op->lock)
        x64_u8(e, 0xf0);
    if (op->mandatory)
        x64_u8(e, op->mandatory);
}

static void rex(struct x64 *e, unsigned bits)
{
    if (bits)
        x64_u8(e, (uint8_t)(REX | bits));
}

static unsigned rex_of_mem(const struct x64_mem *m)
{
    return (m->base >= 8 ? REX_B : 0) | (m->index >= 8 ? REX_X : 0);
}

static void modrm(struct x64 *e, unsigned mod, unsigned reg, unsigned rm)
{
    x64_u8(e, (uint8_t)(mod << 6 | (reg & 7) << 3 | (rm & 7)));
}

/* ModRM, SIB and displacement. rm 4 announces a SIB byte, base 5 with mod 0 means none, so bases
 * 4 and 12 need a SIB byte and bases 5 and 13 a displacement. */
static void mem_operand(struct x64 *e, unsigned reg, const struct x64_mem *m)
{
    bool none = m->base < 0, disp8 = m->disp >= -128 && m->disp <= 127;
    unsigned mod = none || (m->disp == 0 && (m->base & 7) != 5) ? 0 : disp8 ? 1 : 2;
    if (none || m->index >= 0 || (m->base & 7) == 4) {
        modrm(e, mod, reg, 4);
        unsigned index = m->index < 0 ? 4 : (unsigned)m->index & 7;
        x64_u8(e, (uint8_t)(m->shift << 6 | index << 3 | (none ? 5 : (unsigned)m->base & 7)));
    } else {
        modrm(e, mod, reg, (unsigned)m->base);
    }
    if (none || mod == 2)
        x64_u32(e, (uint32_t)m->disp);
    else if (mod == 1)
        x64_u8(e, (uint8_t)m->disp);
}

void x64_op_mem(struct x64 *e, struct x64_op op, unsigned reg, struct x64_mem m)
{
    legacy(e, &op, &m);
    rex(e, (op.wide ? REX_W : 0) | (reg >= 8 ? REX_R : 0) | rex_of_mem(&m));
    x64_bytes(e, op.opcode, op.len);
    mem_operand(e, reg, &m);
}

void x64_op_reg(struct x64 *e, struct x64_op op, unsigned reg, unsigned rm)
{
    legacy(e, &op, NULL);
    rex(e, (op.wide ? REX_W : 0) | (reg >= 8 ? REX_R : 0) | (rm >= 8 ? REX_B : 0));
    x64_bytes(e, op.opcode, op.len);
    modrm(e, 3, reg, rm);
}

void x64_op_short(struct x64 *e, struct x64_op op, unsigned reg)
{
    legacy(e, &op, NULL);
    rex(e, (op.wide ? REX_W : 0) | (reg >= 8 ? REX_B : 0));
    x64_bytes(e, op.opcode, op.len - 1u);
    x64_u8(e, (uint8_t)(op.opcode[op.len - 1] | (reg & 7)));
}

/* Three-byte VEX: C4, RXB inverted and map 0F38, W1 vvvv inverted L0 pp. */
static void vex(struct x64 *e, enum x64_vex_prefix pp, unsigned reg, unsigned vvvv, unsigned rxb)
{
    rxb |= reg >= 8 ? REX_R : 0;
    x64_u8(e, 0xc4);
    x64_u8(e, (uint8_t)((~rxb & 7) << 5 | 2));
    x64_u8(e, (uint8_t)(0x80 | (~vvvv & 15) << 3 | pp));
}

void x64_vex_reg(struct x64 *e, enum x64_vex_prefix pp, uint8_t opcode, unsigned reg, unsigned vvvv,
                 unsigned rm)
{
    vex(e, pp, reg, vvvv, rm >= 8 ? REX_B : 0);
    x64_u8(e, opcode);
    modrm(e, 3, reg, rm);
}
