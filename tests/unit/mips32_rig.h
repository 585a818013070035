/* SPDX-License-Identifier: MIT */
/* A MIPS32 processor with 16 MiB of RAM at 0, a register file of a device at 1f000000, a virtual
 * clock, and enough of an assembler to write test programs as C arrays.
 *
 * Programs start in kernel mode, BEV, ERL and EXL clear, at CODE (KSEG0). Every exception vector
 * holds a WAIT that leaves the processor at a known place: see stopped_at(). */
#ifndef RING3_TESTS_MIPS32_RIG_H
#define RING3_TESTS_MIPS32_RIG_H

#include "unit.h"

#include "isa/mips32/cp0.h"
#include "isa/mips32/fpu.h"
#include "isa/mips32/mmu.h"

#define RAM_BYTES (16 * MIB)
#define CODE      0x80010000u
#define DATA      0x80020000u
#define DEVICE    0xbf000000u
#define VECTOR(n) (0x80000000u + (n))
enum { REFILL = 0x000, GENERAL = 0x180, INTERRUPT = 0x200 };

/* General registers by ABI name. */
enum { ZERO, AT, V0, V1, A0, A1, A2, A3, T0, T1, T2, T3, T4, T5, T6, T7 };
enum { S0 = 16, S1, S2, S3, S4, S5, S6, S7, T8, T9, K0, K1, GP, SP, FP, RA };

/* ---- assembler ------------------------------------------------------------------------------- */

#define R_TYPE(funct, s, t, d, sa)                                                                 \
    ((uint32_t)(s) << 21 | (uint32_t)(t) << 16 | (uint32_t)(d) << 11 | (uint32_t)(sa) << 6 |       \
     (funct))
#define I_TYPE(op, s, t, imm)                                                                      \
    ((uint32_t)(op) << 26 | (uint32_t)(s) << 21 | (uint32_t)(t) << 16 | ((uint32_t)(imm)&0xffff))
#define NOP               0u
#define ADDIU(t, s, i)    I_TYPE(9, s, t, i)
#define ORI(t, s, i)      I_TYPE(13, s, t, i)
#define LUI(t, i)         I_TYPE(15, 0, t, i)
#define ADDU(d, s, t)     R_TYPE(0x21, s, t, d, 0)
#define ADD(d, s, t)      R_TYPE(0x20, s, t, d, 0)
#define BEQ(s, t, words)  I_TYPE(4, s, t, words)
#define BNE(s, t, words)  I_TYPE(5, s, t, words)
#define BEQL(s, t, words) I_TYPE(20, s, t, words)
#define BNEL(s, t, words) I_TYPE(21, s, t, words)
#define BGEZAL(s, words)  I_TYPE(1, s, 17, words)
#define J(target)         (2u << 26 | ((target) >> 2 & 0x3ffffff))
#define JAL(target)       (3u << 26 | ((target) >> 2 & 0x3ffffff))
#define JR(s)             R_TYPE(8, s, 0, 0, 0)
#define JALR(d, s)        R_TYPE(9, s, 0, d, 0)
#define LB(t, i, s)       I_TYPE(32, s, t, i)
#define LH(t, i, s)       I_TYPE(33, s, t, i)
#define LWL(t, i, s)      I_TYPE(34, s, t, i)
#define LW(t, i, s)       I_TYPE(35, s, t, i)
#define LBU(t, i, s)      I_TYPE(36, s, t, i)
#define LHU(t, i, s)      I_TYPE(37, s, t, i)
#define LWR(t, i, s)      I_TYPE(38, s, t, i)
#define SB(t, i, s)       I_TYPE(40, s, t, i)
#define SH(t, i, s)       I_TYPE(41, s, t, i)
#define SWL(t, i, s)      I_TYPE(42, s, t, i)
#define SW(t, i, s)       I_TYPE(43, s, t, i)
#define SWR(t, i, s)      I_TYPE(46, s, t, i)
#define LL(t, i, s)       I_TYPE(48, s, t, i)
#define SC(t, i, s)       I_TYPE(56, s, t, i)
#define SYSCALL           0x0000000cu
#define BREAK             0x0000000du
#define TEQ(s, t)         R_TYPE(0x34, s, t, 0, 0)
#define MFC0(t, r, sel)   (0x40000000u | (uint32_t)(t) << 16 | (uint32_t)(r) << 11 | (sel))
#define MTC0(t, r, sel)   (0x40800000u | (uint32_t)(t) << 16 | (uint32_t)(r) << 11 | (sel))
#define TLBR              0x42000001u
#define TLBWI             0x42000002u
#define TLBWR             0x42000006u
#define TLBP              0x42000008u
#define ERET              0x42000018u
#define WAIT              0x42000020u
#define DI(t)             (0x41606000u | (uint32_t)(t) << 16)
#define EI(t)             (0x41606020u | (uint32_t)(t) << 16)
#define RDHWR(t, d)       (0x7c00003bu | (uint32_t)(t) << 16 | (uint32_t)(d) << 11)
#define CACHE(op, i, s)   I_TYPE(47, s, op, i)

/* ---- the machine ----------------------------------------------------------------------------- */

struct mips32_rig {
    struct phys *mem;
    struct bus *mmio;
    struct clock *clock;
    struct mips32_vcpu *v;
    uint32_t device[4];   /* the device's registers */
    uint64_t device_size; /* of its last access */
    struct vm_exit exit;  /* of the last run */
};

static inline uint64_t device_read(void *opaque, uint64_t offset, unsigned size)
{
    struct mips32_rig *m = opaque;
    m->device_size = size;
    return m->device[offset / 4 % 4] >> 8 * (offset % 4);
}

static inline void device_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct mips32_rig *m = opaque;
    m->device_size = size;
    m->device[offset / 4 % 4] = (uint32_t)value;
}

static inline void poke32(struct mips32_rig *m, uint32_t va, uint32_t x)
{
    if (m->v->big_endian)
        x = __builtin_bswap32(x);
    assert_int_equal(phys_write(m->mem, va & 0x1fffffff, &x, 4), 0);
}

static inline uint32_t peek32(struct mips32_rig *m, uint32_t va)
{
    uint32_t x = 0;
    assert_int_equal(phys_read(m->mem, va & 0x1fffffff, &x, 4), 0);
    return m->v->big_endian ? __builtin_bswap32(x) : x;
}

static inline void put_code(struct mips32_rig *m, uint32_t va, const uint32_t *words, size_t n)
{
    for (size_t i = 0; i < n; i++)
        poke32(m, va + 4 * (uint32_t)i, words[i]);
}
#define PUT(m, va, ...)                                                                            \
    put_code(m, va, (const uint32_t[]){__VA_ARGS__}, ARRAY_LEN(((const uint32_t[]){__VA_ARGS__})))

static inline struct mips32_rig *rig_new(const struct mips32_model *model)
{
    static const struct io_ops ops = {device_read, device_write, 1, 4, NULL};
    struct mips32_rig *m = test_calloc(1, sizeof *m);
    struct err e = {0};
    m->mem = phys_new(RAM_BYTES, &e);
    m->mmio = bus_new("mmio", UINT64_C(1) << 32, &e);
    m->clock = clock_new(CLOCK_VIRTUAL, &e);
    assert_int_equal(phys_map_ram(m->mem, 0, 0, RAM_BYTES, &e), 0);
    assert_int_equal(bus_map(m->mmio, DEVICE & 0x1fffffff, 16, &ops, m, "device", &e), 0);
    struct vcpu_wiring w = {.mem = m->mem, .mmio = m->mmio, .clock = m->clock};
    m->v = mips32_of(mips32_new(&w, model, 0, &e));
    assert_non_null(m->v);
    const uint32_t a[4] = {0};
    mips32_start(&m->v->base, CODE, a);
    mips32_set_status(m->v, m->v->cp0.status | ST_IM);
    for (uint32_t at = 0; at < 0x400; at += 4)
        poke32(m, VECTOR(at), WAIT);
    return m;
}

static inline void rig_free(struct mips32_rig *m)
{
    m->v->base.isa->vcpu_free(&m->v->base);
    clock_free(m->clock);
    bus_free(m->mmio);
    phys_free(m->mem);
    test_free(m);
}

/* Run until a WAIT; the address of that WAIT. Programs that go on for longer fail. */
static inline uint32_t run(struct mips32_rig *m)
{
    m->exit = (struct vm_exit){.kind = EXIT_ATTENTION};
    m->v->base.isa->interpret(&m->v->base, 100000, &m->exit);
    assert_int_equal(m->exit.kind, EXIT_HALT);
    return m->v->pc - 4;
}

/* Put a program at `va`, start there in the present mode, and run until a WAIT. */
static inline uint32_t run_code(struct mips32_rig *m, uint32_t va, const uint32_t *words, size_t n)
{
    put_code(m, va, words, n);
    m->v->pc = va;
    return run(m);
}
#define RUN(m, ...)                                                                                \
    run_code(m, CODE, (const uint32_t[]){__VA_ARGS__}, ARRAY_LEN(((const uint32_t[]){__VA_ARGS__})))

static inline unsigned exc_code(const struct mips32_rig *m)
{
    return m->v->cp0.cause >> CA_EXC_SHIFT & 31;
}
static inline bool in_delay_slot(const struct mips32_rig *m)
{
    return m->v->cp0.cause & CA_BD;
}
/* Forget an exception: EXL clear, as an ERET would. */
static inline void acknowledge(struct mips32_rig *m)
{
    mips32_set_status(m->v, m->v->cp0.status & ~ST_EXL);
}

/* A TLB entry, written as TLBWI does. */
static inline void set_tlb(struct mips32_rig *m, unsigned index, uint32_t hi, uint32_t page_mask,
                           uint32_t lo0, uint32_t lo1)
{
    uint32_t old = m->v->cp0.entry_hi;
    mips32_cp0_write(m->v, 10, 0, hi);
    mips32_cp0_write(m->v, 5, 0, page_mask);
    mips32_cp0_write(m->v, 2, 0, lo0);
    mips32_cp0_write(m->v, 3, 0, lo1);
    mips32_cp0_write(m->v, 0, 0, index);
    mips32_tlb_write_indexed(m->v);
    mips32_cp0_write(m->v, 10, 0, old);
}
/* EntryLo of a physical address. */
#define LO(pa, flags) (((pa) >> 6 & 0x03ffffc0u) | 3u << 3 | (flags))

#endif
