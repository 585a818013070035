/* SPDX-License-Identifier: MIT */
/* For the tests of x87, MMX and SSE: a processor without the rest of a processor. Memory and
 * x86_raise() are stand-ins, and decoding is what these rows need. Included once per program. */
#ifndef RING3_TESTS_X86_FPU_UNIT_H
#define RING3_TESTS_X86_FPU_UNIT_H

#include "unit.h"

#include <emmintrin.h>

#include "isa/x86/fpu.h"
#include "isa/x86/mmu.h"

/* ---- a processor with 64 KiB of memory ------------------------------------------------------- */

#define MEM_BYTES 65536u
#define OPERAND   0x800u /* where esi and edi point */
#define NO_FAULT  (-1)

static struct x86_vcpu cpu;
static uint8_t mem[MEM_BYTES] __attribute__((aligned(4096)));
static uint32_t readable, writable; /* accesses beyond are page faults */
static int ferr_raised;

_Noreturn void x86_raise(struct x86_vcpu *v, enum x86_vector vector)
{
    v->fault = (struct x86_fault){.vector = (uint8_t)vector};
    longjmp(v->unwind, X86_UNWIND_FAULT);
}
_Noreturn void x86_raise_error(struct x86_vcpu *v, enum x86_vector vector, uint32_t error)
{
    v->fault = (struct x86_fault){(uint8_t)vector, true, error};
    longjmp(v->unwind, X86_UNWIND_FAULT);
}
static void check(struct x86_vcpu *v, uint32_t off, unsigned n, uint32_t limit)
{
    if (off + n > limit)
        x86_raise_error(v, X86_PF, limit == writable ? 2 : 0);
}
void x86_probe_write(struct x86_vcpu *v, enum x86_sreg s, uint32_t off, unsigned n)
{
    check(v, off, n, writable);
}
void x86_read_bytes(struct x86_vcpu *v, enum x86_sreg s, uint32_t off, void *buf, unsigned n)
{
    check(v, off, n, readable);
    memcpy(buf, mem + off, n);
}
void x86_write_bytes(struct x86_vcpu *v, enum x86_sreg s, uint32_t off, const void *buf, unsigned n)
{
    check(v, off, n, writable);
    memcpy(mem + off, buf, n);
}
uint64_t x86_read_slow(struct x86_vcpu *v, enum x86_sreg s, uint32_t off, unsigned size)
{
    uint64_t x = 0;
    x86_read_bytes(v, s, off, &x, size);
    return x;
}
void x86_write_slow(struct x86_vcpu *v, enum x86_sreg s, uint32_t off, unsigned size, uint64_t x)
{
    x86_write_bytes(v, s, off, &x, size);
}

static void raise_ferr(void *opaque)
{
    ++*(int *)opaque;
}

static void power_up(bool fast_memory)
{
    memset(&cpu, 0, sizeof cpu);
    memset(mem, 0, sizeof mem);
    readable = writable = MEM_BYTES;
    ferr_raised = 0;
    cpu.tlb = cpu.tlb_sets[0];
    for (unsigned i = 0; i < X86_TLB_SIZE; i++)
        cpu.tlb[i].tag_read = cpu.tlb[i].tag_write = X86_TLB_NONE;
    for (unsigned i = 0; fast_memory && i < MEM_BYTES / 4096; i++)
        cpu.tlb[i] = (struct x86_tlb_entry){i * 4096, i * 4096, (uintptr_t)mem, i, false};
    for (unsigned i = 0; fast_memory && i < X86_SREGS; i++)
        cpu.seg[i].read_span = cpu.seg[i].write_span = MEM_BYTES;
    cpu.seg[X86_CS].sel = 0x10;
    cpu.seg[X86_DS].sel = 0x18;
    cpu.cr0 = CR0_PE | CR0_NE | CR0_MP;
    cpu.cr4 = CR4_OSFXSR | CR4_OSXMMEXCPT;
    cpu.gpr[X86_ESI] = cpu.gpr[X86_EDI] = OPERAND;
    cpu.ferr.raise = raise_ferr;
    cpu.ferr.opaque = &ferr_raised;
    x86_fpu_reset(&cpu);
}

static const struct x86_op *find_row(unsigned mnemonic)
{
    const struct x86_op *const tables[] = {x86_ops_x87, x86_ops_mmx, x86_ops_sse};
    for (unsigned i = 0; i < ARRAY_LEN(tables); i++)
        for (const struct x86_op *r = tables[i]; r->mnemonic; r++)
            if (r->mnemonic == mnemonic)
                return r;
    return NULL;
}

/* Decode as far as these rows need it. False: undefined or no row here. */
static bool decode(const uint8_t *code, struct x86_insn *in)
{
    ZydisDecoder d;
    ZydisDecodedInstruction z;
    ZydisDecoderInit(&d, ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32);
    if (!ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(&d, NULL, code, 15, &z)))
        return false;
    *in = (struct x86_insn){.mnemonic = (uint16_t)z.mnemonic,
                            .len = z.length,
                            .opsize = 4,
                            .asize = 4,
                            .seg = X86_DS,
                            .opcode = z.opcode,
                            .prefix = z.opcode_map == ZYDIS_OPCODE_MAP_0F ? X86_PFX_0F : 0,
                            .imm = (uint32_t)z.raw.imm[0].value.u,
                            .base = X86_GPR_ZERO,
                            .index = X86_GPR_ZERO,
                            .disp = (uint32_t)z.raw.disp.value};
    for (unsigned i = 0; i < z.raw.prefix_count; i++)
        in->prefix |= z.raw.prefixes[i].value == 0x66   ? X86_PFX_OPSIZE
                      : z.raw.prefixes[i].value == 0xf3 ? X86_PFX_REP
                                                        : X86_PFX_REPNE;
    if (z.attributes & ZYDIS_ATTRIB_HAS_MODRM)
        in->modrm = (uint8_t)(z.raw.modrm.mod << 6 | z.raw.modrm.reg << 3 | z.raw.modrm.rm);
    in->has_mem = (z.attributes & ZYDIS_ATTRIB_HAS_MODRM) && z.raw.modrm.mod != 3;
    if (in->has_mem)
        in->base = z.raw.modrm.rm;
    if (z.opcode_map == ZYDIS_OPCODE_MAP_0F && z.mnemonic == ZYDIS_MNEMONIC_MOVSD)
        in->mnemonic = X86_MN_MOVSD_SSE;
    if (z.opcode_map == ZYDIS_OPCODE_MAP_0F && z.mnemonic == ZYDIS_MNEMONIC_CMPSD)
        in->mnemonic = X86_MN_CMPSD_SSE;
    const struct x86_op *row = find_row(in->mnemonic);
    in->fn = row ? row->any : NULL;
    return row;
}

/* Vector of the fault, or NO_FAULT. */
static int execute(const struct x86_insn *in)
{
    cpu.insn_eip = 0x1000;
    cpu.eip = 0x1000u + in->len;
    if (setjmp(cpu.unwind))
        return cpu.fault.vector;
    in->fn(&cpu, in);
    return NO_FAULT;
}

/* ---- random state ---------------------------------------------------------------------------- */

static uint64_t seed = 0x1234567;
static uint64_t rnd(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    return seed ^= seed << 17;
}
static bool one_in(unsigned n)
{
    return rnd() % n == 0;
}

static uint32_t rnd_float(void)
{
    static const uint32_t odd[] = {0,          0x80000000, 1,          0x807fffff, 0x00800000,
                                   0x7f7fffff, 0x7f800000, 0xff800000, 0x7fc00001, 0x7fa00001,
                                   0x3f800000, 0xbf800000, 0x4f000000, 0x5f000000, 0x33800000};
    return one_in(2) ? odd[rnd() % ARRAY_LEN(odd)] : (uint32_t)rnd();
}
static uint64_t rnd_double(void)
{
    static const uint64_t odd[] = {0,
                                   1ull << 63,
                                   1,
                                   0x800fffffffffffff,
                                   0x0010000000000000,
                                   0x7fefffffffffffff,
                                   0x7ff0000000000000,
                                   0xfff0000000000000,
                                   0x7ff8000000000001,
                                   0x7ff4000000000001,
                                   0x3ff0000000000000,
                                   0xbff0000000000000,
                                   0x41e0000000000000,
                                   0x43e0000000000000,
                                   0x3690000000000000,
                                   0x381fffffe0000000,
                                   0x47f0000000000000};
    return one_in(2) ? odd[rnd() % ARRAY_LEN(odd)] : rnd();
}
/* 16 bytes that make sense as something. */
static void rnd_vector(void *p)
{
    uint64_t q[2];
    uint32_t d[4];
    for (int i = 0; i < 4; i++)
        d[i] = one_in(8) ? (uint32_t)(rnd() % 20) : rnd_float();
    for (int i = 0; i < 2; i++)
        q[i] = one_in(8) ? rnd() % 20 : rnd_double();
    memcpy(p, one_in(2) ? (void *)q : (void *)d, 16);
}
/* 80 bits in 16 bytes; all classes, unsupported formats too. */
static void rnd_extended(uint8_t *p)
{
    static const uint16_t exponents[] = {0,      1,      0x3ffe, 0x3fff, 0x4000, 0x401e,     0x403e,
                                         0x7ffe, 0x7fff, 0x3c00, 0x3f80, 0x4400, 0x3fff + 62};
    static const uint64_t mantissas[] = {0, 1, 1ull << 63, 3ull << 62, 5ull << 61, ~0ull};
    uint64_t m = one_in(2) ? mantissas[rnd() % ARRAY_LEN(mantissas)] : rnd() | 1ull << 63;
    uint16_t e = one_in(4) ? (uint16_t)rnd() : exponents[rnd() % ARRAY_LEN(exponents)];
    e |= (uint16_t)(one_in(2) ? 0x8000 : 0);
    memset(p, 0, 16);
    memcpy(p, &m, 8);
    memcpy(p + 8, &e, 2);
}
static void rnd_fx(struct x86_fx *fx)
{
    memset(fx, 0, sizeof *fx);
    fx->fcw = (uint16_t)(0x40 | (rnd() & 0xf00) | (one_in(3) ? rnd() & 0x3f : 0x3f));
    if (one_in(2))
        fx->fcw |= 0x300;
    fx->fsw = (uint16_t)((rnd() & 0x7f00) | (one_in(2) ? rnd() & fx->fcw & 0x3f : 0));
    if (fx->fsw & 1 && one_in(2))
        fx->fsw |= 0x40;
    fx->ftw_abridged = (uint8_t)(one_in(2) ? 0xff : rnd());
    fx->mxcsr = (uint32_t)((rnd() & 0x603f) | (one_in(3) ? rnd() & 0x1f80 : 0x1f80) |
                           (one_in(4) ? rnd() & 0x8040 : 0));
    fx->mxcsr_mask = X86_MXCSR_MASK;
    for (int i = 0; i < 8; i++) {
        rnd_extended(fx->st[i]);
        rnd_vector(fx->xmm[i]);
    }
}
#endif
