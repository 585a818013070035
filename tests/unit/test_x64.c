/* SPDX-License-Identifier: MIT */
/* host/x64: what the emitters write is read back by Zydis in 64-bit mode, operand by operand, for
 * every register, form of address and size of displacement. */
#include "unit.h"

#include <Zydis/Zydis.h>

#include "host/x64.h"
#include "ring3/types.h"

static ZydisDecoder decoder;

struct got {
    ZydisDecodedInstruction z;
    ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
};

static int set_up(void **state)
{
    ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    return 0;
}

/* Exactly one instruction lies in code[0..n). */
static void decode(const uint8_t *code, size_t n, struct got *g)
{
    if (n > X64_MAX_INSN || !ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, code, n, &g->z, g->op)))
        fail_msg("%zu bytes, %02x %02x %02x %02x: no instruction", n, code[0], code[1], code[2],
                 code[3]);
    assert_int_equal(g->z.length, n);
}

static ZydisRegister gpr(int number, unsigned bits)
{
    ZydisRegisterClass c = bits == 64   ? ZYDIS_REGCLASS_GPR64
                           : bits == 32 ? ZYDIS_REGCLASS_GPR32
                                        : ZYDIS_REGCLASS_GPR16;
    return number < 0 ? ZYDIS_REGISTER_NONE : ZydisRegisterEncode(c, (ZyanU8)number);
}

static void expect_reg(const ZydisDecodedOperand *o, unsigned number, unsigned bits)
{
    assert_int_equal(o->type, ZYDIS_OPERAND_TYPE_REGISTER);
    assert_int_equal(o->reg.value, gpr((int)number, bits));
}

static void expect_imm(const ZydisDecodedOperand *o, uint32_t value)
{
    assert_int_equal(o->type, ZYDIS_OPERAND_TYPE_IMMEDIATE);
    assert_int_equal((uint32_t)o->imm.value.u, value);
}

/* The smallest displacement that does, in bits; bases rbp and r13 have no form without one. */
static unsigned least_disp(const struct x64_mem *m)
{
    if (m->base < 0)
        return 32;
    if (m->disp == 0 && (m->base & 7) != X64_RBP)
        return 0;
    return m->disp == (int8_t)m->disp ? 8 : 32;
}

static void expect_mem(const struct got *g, const ZydisDecodedOperand *o, const struct x64_mem *m,
                       unsigned bits)
{
    unsigned address = m->addr32 ? 32 : 64;
    bool by_stack = m->base == X64_RSP || m->base == X64_RBP;
    assert_int_equal(o->type, ZYDIS_OPERAND_TYPE_MEMORY);
    assert_int_equal(o->mem.base, gpr(m->base, address));
    assert_int_equal(o->mem.index, gpr(m->index, address));
    assert_int_equal(o->mem.scale, m->index < 0 ? 0 : 1 << m->shift);
    assert_int_equal(o->mem.disp.value, m->disp);
    assert_int_equal(g->z.raw.disp.size, least_disp(m));
    assert_int_equal(g->z.address_width, address);
    if (o->mem.type == ZYDIS_MEMOP_TYPE_AGEN)
        return; /* lea: no segment, and Zydis gives the size of the address */
    assert_int_equal(o->size, bits);
    assert_int_equal(o->mem.segment, m->gs      ? ZYDIS_REGISTER_GS
                                     : by_stack ? ZYDIS_REGISTER_SS
                                                : ZYDIS_REGISTER_DS);
}

/* ---- all addresses --------------------------------------------------------------------------- */

static const int32_t disps[] = {0, 1, -1, 127, -128, 128, -129, 0x1000, INT32_MAX, INT32_MIN};

typedef void (*with_mem)(void *opaque, struct x64_mem m);

static void all_bases(struct x64_mem m, with_mem fn, void *opaque)
{
    for (int base = X64_NONE; base < 16; base++)
        for (unsigned d = 0; d < ARRAY_LEN(disps); d++) {
            m.base = (int8_t)base;
            m.disp = disps[d];
            fn(opaque, m);
        }
}

static void all_addresses(with_mem fn, void *opaque)
{
    for (unsigned prefix = 0; prefix < 4; prefix++)
        for (int index = X64_NONE; index < 16; index++)
            for (unsigned shift = 0; shift < (index < 0 ? 1 : 4); shift++)
                if (index != X64_RSP)
                    all_bases((struct x64_mem){.index = (int8_t)index,
                                               .shift = (uint8_t)shift,
                                               .gs = prefix & 1,
                                               .addr32 = prefix & 2},
                              fn, opaque);
}

/* ---- a register and memory ------------------------------------------------------------------- */

static void load32(struct x64 *e, unsigned reg, struct x64_mem m)
{
    x64_load32(e, reg, m);
}
static void load64(struct x64 *e, unsigned reg, struct x64_mem m)
{
    x64_load64(e, reg, m);
}
static void load16(struct x64 *e, unsigned reg, struct x64_mem m)
{
    x64_load16(e, reg, m);
}
static void load8(struct x64 *e, unsigned reg, struct x64_mem m)
{
    x64_load8(e, reg, m);
}
static void store32(struct x64 *e, unsigned reg, struct x64_mem m)
{
    x64_store32(e, m, reg);
}
static void store64(struct x64 *e, unsigned reg, struct x64_mem m)
{
    x64_store64(e, m, reg);
}
static void lea32(struct x64 *e, unsigned reg, struct x64_mem m)
{
    x64_lea32(e, reg, m);
}
static void lea64(struct x64 *e, unsigned reg, struct x64_mem m)
{
    x64_lea64(e, reg, m);
}
static void locked_xadd16(struct x64 *e, unsigned reg, struct x64_mem m)
{
    struct x64_op op = X64_OP(0x0f, 0xc1);
    op.lock = op.opsize16 = true;
    x64_op_mem(e, op, reg, m);
}

struct reg_mem_row {
    const char *name;
    void (*emit)(struct x64 *e, unsigned reg, struct x64_mem m);
    ZydisMnemonic mnemonic;
    unsigned reg_at, reg_bits, mem_bits;
};
static const struct reg_mem_row reg_mem_rows[] = {
    {"load32", load32, ZYDIS_MNEMONIC_MOV, 0, 32, 32},
    {"load64", load64, ZYDIS_MNEMONIC_MOV, 0, 64, 64},
    {"load16", load16, ZYDIS_MNEMONIC_MOVZX, 0, 32, 16},
    {"load8", load8, ZYDIS_MNEMONIC_MOVZX, 0, 32, 8},
    {"store32", store32, ZYDIS_MNEMONIC_MOV, 1, 32, 32},
    {"store64", store64, ZYDIS_MNEMONIC_MOV, 1, 64, 64},
    {"lea32", lea32, ZYDIS_MNEMONIC_LEA, 0, 32, 32},
    {"lea64", lea64, ZYDIS_MNEMONIC_LEA, 0, 64, 64},
    {"lock xadd16", locked_xadd16, ZYDIS_MNEMONIC_XADD, 1, 16, 16},
};

static void check_reg_mem(void *opaque, struct x64_mem m)
{
    const struct reg_mem_row *row = opaque;
    for (unsigned reg = 0; reg < 16; reg++) {
        uint8_t code[32];
        struct x64 e = {code};
        struct got g;
        row->emit(&e, reg, m);
        decode(code, (size_t)(e.at - code), &g);
        assert_int_equal(g.z.mnemonic, row->mnemonic);
        expect_reg(&g.op[row->reg_at], reg, row->reg_bits);
        expect_mem(&g, &g.op[!row->reg_at], &m, row->mem_bits);
        assert_int_equal(!!(g.z.attributes & ZYDIS_ATTRIB_HAS_LOCK), row->emit == locked_xadd16);
    }
}

static void registers_and_memory(void **state)
{
    for (unsigned i = 0; i < ARRAY_LEN(reg_mem_rows); i++)
        all_addresses(check_reg_mem, (void *)(uintptr_t)&reg_mem_rows[i]);
}

/* ---- other uses of memory -------------------------------------------------------------------- */

static void check_immediate(void *opaque, struct x64_mem m)
{
    uint8_t code[32];
    struct x64 e = {code};
    struct got g;
    x64_store32_imm(&e, m, 0x89abcdef);
    decode(code, (size_t)(e.at - code), &g);
    assert_int_equal(g.z.mnemonic, ZYDIS_MNEMONIC_MOV);
    expect_mem(&g, &g.op[0], &m, 32);
    expect_imm(&g.op[1], 0x89abcdef);
}

/* Mandatory prefixes stand right in front of REX. */
static void check_mandatory(void *opaque, struct x64_mem m)
{
    static const struct {
        uint8_t prefix;
        ZydisMnemonic mnemonic;
        unsigned bits;
    } rows[] = {{0, ZYDIS_MNEMONIC_ADDPS, 128},
                {0x66, ZYDIS_MNEMONIC_ADDPD, 128},
                {0xf3, ZYDIS_MNEMONIC_ADDSS, 32},
                {0xf2, ZYDIS_MNEMONIC_ADDSD, 64}};
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
        struct x64_op op = X64_OP(0x0f, 0x58);
        op.opsize16 = rows[i].prefix == 0x66;
        op.mandatory = op.opsize16 ? 0 : rows[i].prefix;
        uint8_t code[32];
        struct x64 e = {code};
        struct got g;
        x64_op_mem(&e, op, 7, m);
        decode(code, (size_t)(e.at - code), &g);
        assert_int_equal(g.z.mnemonic, rows[i].mnemonic);
        assert_int_equal(g.op[0].reg.value, ZYDIS_REGISTER_XMM7);
        expect_mem(&g, &g.op[1], &m, rows[i].bits);
    }
}

/* ah to bh can be named exactly where x64_mem_needs_rex() says no. */
static void check_high_byte(void *opaque, struct x64_mem m)
{
    uint8_t code[32];
    struct x64 e = {code};
    struct got g;
    x64_op_mem(&e, X64_OP(0x88), 4, m);
    decode(code, (size_t)(e.at - code), &g);
    bool rex = g.z.attributes & ZYDIS_ATTRIB_HAS_REX;
    assert_int_equal(rex, x64_mem_needs_rex(&m));
    assert_int_equal(g.op[1].reg.value, rex ? ZYDIS_REGISTER_SPL : ZYDIS_REGISTER_AH);
}

static void immediates_to_memory(void **state)
{
    all_addresses(check_immediate, NULL);
}
static void mandatory_prefixes(void **state)
{
    all_addresses(check_mandatory, NULL);
}
static void high_bytes(void **state)
{
    all_addresses(check_high_byte, NULL);
}
/* x64_at() and x64_indexed() make what was meant. */
static void operands_are_made(void **state)
{
    struct x64_mem a = x64_at(X64_R13, -5), b = x64_indexed(X64_R9, X64_R8, 2, 7);
    assert_true(a.base == X64_R13 && a.index == X64_NONE && a.disp == -5 && !a.gs && !a.addr32);
    assert_true(b.base == X64_R9 && b.index == X64_R8 && b.shift == 2 && b.disp == 7 && !b.gs);
}

/* ---- registers only -------------------------------------------------------------------------- */

static void two_registers(void **state)
{
    for (unsigned to = 0; to < 16; to++)
        for (unsigned from = 0; from < 16; from++)
            for (unsigned bits = 16; bits <= 64; bits *= 2) {
                uint8_t code[32];
                struct x64 e = {code};
                struct got g;
                struct x64_op op = X64_OP(0x8b);
                op.opsize16 = true;
                if (bits == 16)
                    x64_op_reg(&e, op, to, from);
                else if (bits == 32)
                    x64_mov32(&e, to, from);
                else
                    x64_mov64(&e, to, from);
                decode(code, (size_t)(e.at - code), &g);
                assert_int_equal(g.z.mnemonic, ZYDIS_MNEMONIC_MOV);
                expect_reg(&g.op[0], to, bits);
                expect_reg(&g.op[1], from, bits);
                bool rex = to >= 8 || from >= 8 || bits == 64;
                assert_int_equal(g.z.length, 2 + rex + (bits == 16));
            }
}

static void one_register(void **state)
{
    for (unsigned reg = 0; reg < 16; reg++) {
        uint8_t code[32];
        struct x64 e = {code};
        struct got g;
        x64_mov32_imm(&e, reg, 0xfedcba98);
        decode(code, (size_t)(e.at - code), &g);
        assert_int_equal(g.z.mnemonic, ZYDIS_MNEMONIC_MOV);
        expect_reg(&g.op[0], reg, 32);
        expect_imm(&g.op[1], 0xfedcba98);

        e.at = code;
        x64_op_short(&e, X64_WIDE(0x0f, 0xc8), reg);
        decode(code, (size_t)(e.at - code), &g);
        assert_int_equal(g.z.mnemonic, ZYDIS_MNEMONIC_BSWAP);
        expect_reg(&g.op[0], reg, 64);

        e.at = code;
        x64_op_short(&e, X64_OP(0x58), reg);
        decode(code, (size_t)(e.at - code), &g);
        assert_int_equal(g.z.mnemonic, ZYDIS_MNEMONIC_POP);
        expect_reg(&g.op[0], reg, 64);

        e.at = code;
        x64_jmp_reg(&e, reg);
        decode(code, (size_t)(e.at - code), &g);
        assert_int_equal(g.z.mnemonic, ZYDIS_MNEMONIC_JMP);
        expect_reg(&g.op[0], reg, 64);
    }
}

static void vex_with_registers(void **state)
{
    static const struct {
        enum x64_vex_prefix pp;
        uint8_t opcode;
        ZydisMnemonic mnemonic;
        bool count_last; /* the register of VEX.vvvv is the last operand */
    } rows[] = {
        {X64_VEX_66, 0xf7, ZYDIS_MNEMONIC_SHLX, true},
        {X64_VEX_F3, 0xf7, ZYDIS_MNEMONIC_SARX, true},
        {X64_VEX_F2, 0xf7, ZYDIS_MNEMONIC_SHRX, true},
        {X64_VEX_NONE, 0xf5, ZYDIS_MNEMONIC_BZHI, true},
        {X64_VEX_F3, 0xf5, ZYDIS_MNEMONIC_PEXT, false},
        {X64_VEX_F2, 0xf5, ZYDIS_MNEMONIC_PDEP, false},
        {X64_VEX_NONE, 0xf2, ZYDIS_MNEMONIC_ANDN, false},
    };
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++)
        for (unsigned n = 0; n < 16 * 16 * 16; n++) {
            unsigned reg = n & 15, vvvv = n >> 4 & 15, rm = n >> 8;
            uint8_t code[32];
            struct x64 e = {code};
            struct got g;
            if (rows[i].mnemonic == ZYDIS_MNEMONIC_SHRX)
                x64_shrx(&e, reg, rm, vvvv);
            else
                x64_vex_reg(&e, rows[i].pp, rows[i].opcode, reg, vvvv, rm);
            decode(code, (size_t)(e.at - code), &g);
            assert_int_equal(g.z.mnemonic, rows[i].mnemonic);
            expect_reg(&g.op[0], reg, 64);
            expect_reg(&g.op[rows[i].count_last ? 2 : 1], vvvv, 64);
            expect_reg(&g.op[rows[i].count_last ? 1 : 2], rm, 64);
        }
}

/* ---- jumps ----------------------------------------------------------------------------------- */

static void jumps(void **state)
{
    for (unsigned cc = 0; cc <= 16; cc++) {
        uint8_t code[64] = {0};
        struct x64 e = {code};
        struct got g;
        uint8_t *at = cc < 16 ? x64_jcc(&e, cc) : x64_jmp(&e);
        size_t n = (size_t)(e.at - code);
        decode(code, n, &g);
        assert_ptr_equal(at, e.at - 4);
        assert_int_equal(g.op[0].imm.value.s, 0);
        e.at += 23;
        x64_here32(&e, at);
        decode(code, n, &g);
        assert_int_equal(g.op[0].imm.value.s, 23);
        assert_int_equal(g.z.opcode, cc < 16 ? 0x80 | cc : 0xe9);
        e.at = code; /* backwards */
        x64_here32(&e, at);
        decode(code, n, &g);
        assert_int_equal(g.op[0].imm.value.s, -(int64_t)n);
    }
}

static void short_jumps(void **state)
{
    uint8_t code[64] = {0xe3, 0};
    struct x64 e = {code + 2};
    struct got g;
    x64_u8(&e, 0x90);
    x64_bytes(&e, (const uint8_t[]){0x90, 0x90}, 2);
    x64_here8(&e, code + 1);
    decode(code, 2, &g);
    assert_int_equal(g.z.mnemonic, ZYDIS_MNEMONIC_JRCXZ);
    assert_int_equal(g.op[0].imm.value.s, 3);
    x64_u32(&e, 0x01020304);
    assert_memory_equal(code + 5, "\4\3\2\1", 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(registers_and_memory),
        cmocka_unit_test(immediates_to_memory),
        cmocka_unit_test(mandatory_prefixes),
        cmocka_unit_test(high_bytes),
        cmocka_unit_test(operands_are_made),
        cmocka_unit_test(two_registers),
        cmocka_unit_test(one_register),
        cmocka_unit_test(vex_with_registers),
        cmocka_unit_test(jumps),
        cmocka_unit_test(short_jumps),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
