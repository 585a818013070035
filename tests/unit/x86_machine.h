/* SPDX-License-Identifier: MIT */
/* A processor in flat 32-bit protected mode with descriptor tables set up by hand, and ways to run
 * one instruction or deliver one event on it. Shared by the tests of segmentation and traps.
 *
 *   1000 GDT   2000 IDT   3000 LDT   4000 TSS A   5000 TSS B   6000 TSS C (16-bit)
 *   10000 code   20000, 22000, 24000, 26000 tops of the stacks of rings 0 to 3 */
#ifndef RING3_TESTS_X86_MACHINE_H
#define RING3_TESTS_X86_MACHINE_H

#include "unit.h"

#include "isa/x86/insn.h"
#include "isa/x86/mmu.h"
#include "isa/x86/trap.h"

#define GDT             0x1000u
#define IDT             0x2000u
#define LDT             0x3000u
#define TSS_A           0x4000u
#define TSS_B           0x5000u
#define TSS_C           0x6000u
#define CODE_AT         0x10000u
#define STACK_TOP(ring) (0x20000u + 0x2000u * (ring))
#define HANDLER(vector) (0x8000u + 16u * (vector))

/* Selectors. */
#define CODE(ring) (uint16_t)(0x08 + 0x10 * (ring) + (ring))
#define DATA(ring) (uint16_t)(0x10 + 0x10 * (ring) + (ring))
enum {
    CONFORMING = 0x48, /* 32-bit conforming code, DPL 0 */
    CODE16 = 0x50,     /* ring 0, 64 KiB at 10000 */
    SEL_TSS_A = 0x58,
    SEL_TSS_B = 0x60,
    SEL_TSS_C = 0x68,
    SEL_LDT = 0x70,
    SLOT = 0x78, /* free for tests */
    SLOT2 = 0x80,
    GDT_BYTES = 0x88,
};
#define ATTR_FLAT   (SEG_G | SEG_DB | SEG_P | SEG_S)
#define ATTR_DPL(n) (uint16_t)((n) << SEG_DPL_SHIFT)

/* What one step led to, when it was not an exception's vector. */
enum { STEP_OK = -1, STEP_EXIT = -2 };

static inline void poke(struct x86_vcpu *v, uint32_t at, uint64_t x, unsigned size)
{
    assert_int_equal(phys_write(v->base.mem, at, &x, size), 0);
}

static inline uint32_t peek(struct x86_vcpu *v, uint32_t at, unsigned size)
{
    uint32_t x = 0;
    assert_int_equal(phys_read(v->base.mem, at, &x, size), 0);
    return x;
}

/* A descriptor; `limit` is the raw 20-bit field. */
static inline void set_desc_at(struct x86_vcpu *v, uint32_t at, uint32_t base, uint32_t limit,
                               unsigned attr)
{
    poke(v, at, base << 16 | (limit & 0xffff), 4);
    poke(v, at + 4,
         (base & 0xff000000) | (attr & 0xf0ff) << 8 | (limit & 0xf0000) | (base >> 16 & 0xff), 4);
}

static inline void set_desc(struct x86_vcpu *v, uint16_t sel, uint32_t base, uint32_t limit,
                            unsigned attr)
{
    set_desc_at(v, GDT + (sel & ~7u), base, limit, attr);
}

/* A gate of any type at a linear address. */
static inline void set_gate(struct x86_vcpu *v, uint32_t at, uint16_t sel, uint32_t offset,
                            unsigned type, unsigned dpl, unsigned params)
{
    poke(v, at, (uint32_t)sel << 16 | (offset & 0xffff), 4);
    poke(v, at + 4, (offset & 0xffff0000) | (SEG_P | dpl << 5 | type) << 8 | params, 4);
}

/* Every vector: a 32-bit gate of `type` to HANDLER(vector) in `sel`. */
static inline void set_idt(struct x86_vcpu *v, uint16_t sel, unsigned type, unsigned dpl)
{
    for (unsigned i = 0; i < 256; i++)
        set_gate(v, IDT + 8 * i, sel, HANDLER(i), type, dpl, 0);
}

/* Load a segment register behind the processor's back. */
static inline void force_seg(struct x86_vcpu *v, enum x86_sreg s, uint16_t sel)
{
    uint32_t at = GDT + (sel & ~7u);
    struct x86_seg seg = {.sel = sel};
    if (sel & ~3u)
        x86_seg_from_desc(&seg, peek(v, at, 4), peek(v, at + 4, 4));
    v->seg[s] = seg;
    x86_seg_changed(v, s);
}

/* Run in a ring with flat segments, at CODE_AT, on that ring's stack. */
static inline void set_ring(struct x86_vcpu *v, unsigned ring)
{
    force_seg(v, X86_CS, CODE(ring));
    force_seg(v, X86_SS, DATA(ring));
    force_seg(v, X86_DS, DATA(ring));
    force_seg(v, X86_ES, DATA(ring));
    force_seg(v, X86_FS, 0);
    force_seg(v, X86_GS, 0);
    x86_w32(v, X86_ESP, STACK_TOP(ring));
    v->eip = v->insn_eip = CODE_AT;
    x86_set_cpl(v, ring);
}

static inline void set_v86(struct x86_vcpu *v, unsigned iopl)
{
    x86_set_eflags(v, FL_VM | FL_IF | iopl << 12);
    for (unsigned s = X86_ES; s <= X86_GS; s++)
        x86_load_seg_real(v, s, (uint16_t)(0x1000 + s));
    x86_w32(v, X86_ESP, 0x800);
    v->eip = v->insn_eip = 0x100;
    x86_set_cpl(v, 3);
}

static inline void set_real(struct x86_vcpu *v)
{
    v->cr0 &= ~CR0_PE;
    for (unsigned s = X86_ES; s <= X86_GS; s++)
        v->seg[s] = x86_seg_real(&(struct x86_seg){0}, (uint16_t)(0x1000 + s), false);
    v->idtr = (struct x86_dtr){0, 0x3ff};
    x86_w32(v, X86_ESP, 0x800);
    v->eip = v->insn_eip = 0x100;
    x86_set_cpl(v, 0);
}

static inline int stepped(struct x86_vcpu *v, int unwind)
{
    if (unwind == X86_UNWIND_NONE)
        return STEP_OK;
    return unwind == X86_UNWIND_FAULT ? v->fault.vector : STEP_EXIT;
}

/* Execute the handler of one instruction; a fault is not delivered, only reported. */
static inline int run(struct x86_vcpu *v, const void *bytes, unsigned n)
{
    struct x86_insn in;
    assert_true(x86_decode(v->decoder, bytes, n, x86_code_size(v), &in));
    v->insn_eip = v->eip;
    int unwind = setjmp(v->unwind);
    if (unwind == X86_UNWIND_NONE) {
        v->eip += in.len;
        in.fn(v, &in);
    }
    return stepped(v, unwind);
}
#define RUN(v, ...) run(v, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

static inline int load_seg(struct x86_vcpu *v, enum x86_sreg s, uint16_t sel)
{
    int unwind = setjmp(v->unwind);
    if (unwind == X86_UNWIND_NONE)
        x86_load_seg(v, s, sel);
    return stepped(v, unwind);
}

/* Deliver an exception as the interpreter loop does, with those its delivery raises. Returns how
 * many times delivery was tried, or STEP_EXIT. */
static inline int deliver_fault(struct x86_vcpu *v, unsigned vector, bool has_error, uint32_t error)
{
    v->fault =
        (struct x86_fault){.vector = (uint8_t)vector, .has_error = has_error, .error = error};
    v->insn_eip = v->eip;
    volatile int tries = 0;
    int unwind = setjmp(v->unwind);
    if (unwind == X86_UNWIND_EXIT)
        return STEP_EXIT;
    tries = tries + 1;
    x86_deliver_fault(v);
    return tries;
}

static inline int deliver_external(struct x86_vcpu *v, uint8_t vector)
{
    int unwind = setjmp(v->unwind);
    if (unwind == X86_UNWIND_NONE)
        x86_deliver_external(v, vector);
    return stepped(v, unwind);
}

/* The words on the stack from eSP up, in the given size. */
static inline void expect_stack(struct x86_vcpu *v, unsigned size, unsigned n,
                                const uint32_t *words)
{
    uint32_t at = (uint32_t)v->seg[X86_SS].base + x86_sp(v);
    for (unsigned i = 0; i < n; i++)
        assert_int_equal(peek(v, at + i * size, size), words[i]);
}
#define EXPECT_STACK(v, size, ...)                                                                 \
    expect_stack(v, size, ARRAY_LEN(((const uint32_t[]){__VA_ARGS__})),                            \
                 (const uint32_t[]){__VA_ARGS__})

struct machine {
    struct x86_vcpu *v;
    struct phys *mem;
    struct bus *mmio, *pio;
    struct clock *clock;
    struct log log;
};

static inline struct x86_vcpu *vcpu_of(void **state)
{
    return ((struct machine *)*state)->v;
}

static inline void make_tables(struct x86_vcpu *v)
{
    for (unsigned r = 0; r < 4; r++) {
        set_desc(v, CODE(r), 0, 0xfffff,
                 ATTR_FLAT | ATTR_DPL(r) | SEG_CODE | SEG_READABLE | SEG_ACCESSED);
        set_desc(v, DATA(r), 0, 0xfffff, ATTR_FLAT | ATTR_DPL(r) | SEG_WRITABLE | SEG_ACCESSED);
        if (r < 3) {
            poke(v, TSS_A + 4 + 8 * r, STACK_TOP(r), 4);
            poke(v, TSS_A + 8 + 8 * r, DATA(r), 4);
        }
    }
    set_desc(v, CONFORMING, 0, 0xfffff, ATTR_FLAT | SEG_CODE | SEG_CONFORMING | SEG_READABLE);
    set_desc(v, CODE16, CODE_AT, 0xffff, SEG_P | SEG_S | SEG_CODE | SEG_READABLE);
    set_desc(v, SEL_TSS_A, TSS_A, 0xff, SEG_P | X86_TSS32_BUSY);
    set_desc(v, SEL_TSS_B, TSS_B, 0x67, SEG_P | X86_TSS32);
    set_desc(v, SEL_TSS_C, TSS_C, 0x2b, SEG_P | X86_TSS16);
    set_desc(v, SEL_LDT, LDT, 0xff, SEG_P | X86_LDT);
    v->gdtr = (struct x86_dtr){GDT, GDT_BYTES - 1};
    v->idtr = (struct x86_dtr){IDT, 0x7ff};
    force_seg(v, X86_TR, SEL_TSS_A);
    force_seg(v, X86_LDTR, SEL_LDT);
    set_idt(v, CODE(0), X86_INT_GATE32, 0);
}

/* cmocka setup and teardown. */
static inline int machine_make(void **state)
{
    struct machine *m = test_calloc(1, sizeof *m);
    m->log = (struct log){LOG_ERROR, 2};
    m->mem = phys_new(4 * MIB, NULL);
    m->mmio = bus_new("mmio", PHYS_LIMIT, NULL);
    m->pio = bus_new("pio", 0x10000, NULL);
    m->clock = clock_new(CLOCK_VIRTUAL, NULL);
    if (!m->mem || !m->mmio || !m->pio || !m->clock || phys_map_ram(m->mem, 0, 0, 4 * MIB, NULL))
        return -1;
    struct vcpu_wiring w = {m->mem, m->mmio, m->pio, m->clock, &m->log};
    struct vcpu *base = x86_vcpu_new(&w, 0, NULL);
    if (!base)
        return -1;
    m->v = x86_of(base);
    *state = m;
    x86_isa.reset(base);
    m->v->cr0 |= CR0_PE;
    make_tables(m->v);
    set_ring(m->v, 0);
    return 0;
}

static inline int machine_free(void **state)
{
    struct machine *m = *state;
    x86_isa.vcpu_free(&m->v->base);
    phys_free(m->mem);
    bus_free(m->mmio);
    bus_free(m->pio);
    clock_free(m->clock);
    test_free(m);
    return 0;
}

#endif
