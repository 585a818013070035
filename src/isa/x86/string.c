/* SPDX-License-Identifier: MIT */
/* String instructions and port I/O (Intel SDM vol. 2: MOVS, CMPS, SCAS, LODS, STOS, INS, OUTS, REP,
 * IN, OUT).
 *
 * One iteration reads, writes, then moves the index registers, so that a fault leaves a state from
 * which the instruction restarts. Between iterations a repeated instruction looks at the attention
 * word and, if something is up, ends early with eip back on itself. Forward movs and stos on plain
 * memory run a page at a time, forward ins as far as the device has data, too. */
#include <stdatomic.h>

#include "isa/x86/insn.h"
#include "isa/x86/mmu.h"
#include "isa/x86/trap.h"

/* ---- index and count registers at the address size -------------------------------------- */

static inline uint32_t index_get(const struct x86_vcpu *v, const struct x86_insn *in,
                                 enum x86_gpr r)
{
    return in->asize == 4 ? x86_r32(v, r) : x86_r16(v, r);
}
static inline void index_add(struct x86_vcpu *v, const struct x86_insn *in, enum x86_gpr r,
                             int32_t delta)
{
    if (in->asize == 4)
        x86_w32(v, r, x86_r32(v, r) + (uint32_t)delta);
    else
        x86_w16(v, r, (uint16_t)(x86_r16(v, r) + delta));
}
static inline int32_t step(const struct x86_vcpu *v, const struct x86_insn *in)
{
    return v->df_flag ? -(int32_t)in->opsize : in->opsize;
}

static uint32_t load(struct x86_vcpu *v, enum x86_sreg s, uint32_t off, unsigned size)
{
    return size == 4   ? x86_read32(v, s, off)
           : size == 2 ? x86_read16(v, s, off)
                       : x86_read8(v, s, off);
}
static void store(struct x86_vcpu *v, enum x86_sreg s, uint32_t off, unsigned size, uint32_t x)
{
    if (size == 4)
        x86_write32(v, s, off, x);
    else if (size == 2)
        x86_write16(v, s, off, (uint16_t)x);
    else
        x86_write8(v, s, off, (uint8_t)x);
}

/* ---- repetition ------------------------------------------------------------------------- */

typedef void (*iteration)(struct x86_vcpu *v, const struct x86_insn *in);

static bool interrupted(struct x86_vcpu *v)
{
    return atomic_load_explicit(&v->base.attention, memory_order_relaxed) & v->attn_mask;
}

/* Elements after which a repeated instruction takes a pause: bounds the time between two looks at
 * the instruction budget. */
#define REPEAT_LIMIT 16384u

/* Stop here; the instruction goes on after whatever is pending. RF keeps an instruction breakpoint
 * on it from firing again. */
static void resume_later(struct x86_vcpu *v)
{
    v->eip = v->insn_eip;
    if (v->dr[7] & 0xff)
        v->eflags |= FL_RF;
}

enum until { FOREVER, WHILE_ZF, WHILE_NZ };

static void repeat(struct x86_vcpu *v, const struct x86_insn *in, iteration once, enum until until)
{
    if (!(in->prefix & (X86_PFX_REP | X86_PFX_REPNE))) {
        once(v, in);
        return;
    }
    for (unsigned done = 0; index_get(v, in, X86_ECX) != 0; done++) {
        if (done == REPEAT_LIMIT || (done && unlikely(interrupted(v)))) {
            resume_later(v);
            return;
        }
        once(v, in);
        index_add(v, in, X86_ECX, -1);
        if (until != FOREVER && !(v->cc & CC_ZF) == (until == WHILE_ZF))
            return;
    }
}

/* ---- whole pages at a time -------------------------------------------------------------- */

/* How many elements from `off` on lie in one page, under `span` and before a 16-bit wrap. */
static uint32_t run_length(const struct x86_vcpu *v, const struct x86_insn *in, enum x86_sreg s,
                           uint32_t off, uint32_t span, uint32_t count)
{
    uint32_t lin = (uint32_t)v->seg[s].base + off;
    uint64_t bytes = PAGE_BYTES - (lin & ~PAGE_MASK);
    uint64_t to_span = span > off ? span - off : 0;
    uint64_t to_wrap = in->asize == 2 ? 0x10000u - off : bytes;
    if (bytes > to_span)
        bytes = to_span;
    if (bytes > to_wrap)
        bytes = to_wrap;
    uint64_t n = bytes / in->opsize;
    return n < count ? (uint32_t)n : count;
}

/* Move or fill as much as one page of each operand allows; returns elements done, 0 when the
 * general way has to take a step. */
static uint32_t bulk_movs(struct x86_vcpu *v, const struct x86_insn *in, uint32_t count)
{
    uint32_t si = index_get(v, in, X86_ESI), di = index_get(v, in, X86_EDI);
    uint32_t n = run_length(v, in, in->seg, si, v->seg[in->seg].read_span, count);
    n = run_length(v, in, X86_ES, di, v->seg[X86_ES].write_span, n);
    uint32_t bytes = n * in->opsize;
    if (n < 2)
        return 0;
    const uint8_t *src = x86_fast_read(v, in->seg, si, 1);
    uint8_t *dst = x86_fast_write(v, X86_ES, di, 1);
    if (!src || !dst)
        return 0;
    if (dst > src && dst < src + bytes) /* overlapping upwards: a pattern repeats */
        return 0;
    memmove(dst, src, bytes);
    return n;
}

static uint32_t bulk_stos(struct x86_vcpu *v, const struct x86_insn *in, uint32_t count)
{
    uint32_t di = index_get(v, in, X86_EDI), a = x86_r32(v, X86_EAX);
    uint32_t n = run_length(v, in, X86_ES, di, v->seg[X86_ES].write_span, count);
    uint8_t *dst = n < 2 ? NULL : x86_fast_write(v, X86_ES, di, 1);
    if (!dst)
        return 0;
    if (in->opsize == 1)
        memset(dst, (int)(a & 0xff), n);
    else
        for (uint32_t i = 0; i < n; i++)
            memcpy(dst + i * in->opsize, &a, in->opsize);
    return n;
}

typedef uint32_t (*bulk)(struct x86_vcpu *v, const struct x86_insn *in, uint32_t count);

static void repeat_bulk(struct x86_vcpu *v, const struct x86_insn *in, iteration once, bulk many,
                        bool moves_si)
{
    if (!(in->prefix & (X86_PFX_REP | X86_PFX_REPNE)) || v->df_flag || interrupted(v)) {
        repeat(v, in, once, FOREVER);
        return;
    }
    uint32_t count;
    for (uint32_t done = 0; (count = index_get(v, in, X86_ECX)) != 0;) {
        if (done >= REPEAT_LIMIT || (done && unlikely(interrupted(v)))) {
            resume_later(v);
            return;
        }
        uint32_t n = many(v, in, count);
        if (n == 0) {
            once(v, in);
            n = 1;
        } else {
            index_add(v, in, X86_EDI, (int32_t)(n * in->opsize));
            if (moves_si)
                index_add(v, in, X86_ESI, (int32_t)(n * in->opsize));
        }
        index_add(v, in, X86_ECX, -(int32_t)n);
        done += n;
    }
}

/* ---- the instructions ------------------------------------------------------------------- */

static void movs_once(struct x86_vcpu *v, const struct x86_insn *in)
{
    uint32_t x = load(v, in->seg, index_get(v, in, X86_ESI), in->opsize);
    store(v, X86_ES, index_get(v, in, X86_EDI), in->opsize, x);
    index_add(v, in, X86_ESI, step(v, in));
    index_add(v, in, X86_EDI, step(v, in));
}
static void stos_once(struct x86_vcpu *v, const struct x86_insn *in)
{
    store(v, X86_ES, index_get(v, in, X86_EDI), in->opsize, x86_r32(v, X86_EAX));
    index_add(v, in, X86_EDI, step(v, in));
}
static void lods_once(struct x86_vcpu *v, const struct x86_insn *in)
{
    uint32_t x = load(v, in->seg, index_get(v, in, X86_ESI), in->opsize);
    x86_reg_set(v, X86_EAX * 8, in->opsize, x);
    index_add(v, in, X86_ESI, step(v, in));
}
static void cmps_once(struct x86_vcpu *v, const struct x86_insn *in)
{
    uint32_t a = load(v, in->seg, index_get(v, in, X86_ESI), in->opsize);
    uint32_t b = load(v, X86_ES, index_get(v, in, X86_EDI), in->opsize);
    x86_compare(a, b, in->opsize, &v->cc);
    index_add(v, in, X86_ESI, step(v, in));
    index_add(v, in, X86_EDI, step(v, in));
}
static void scas_once(struct x86_vcpu *v, const struct x86_insn *in)
{
    uint32_t b = load(v, X86_ES, index_get(v, in, X86_EDI), in->opsize);
    x86_compare(x86_r32(v, X86_EAX), b, in->opsize, &v->cc);
    index_add(v, in, X86_EDI, step(v, in));
}

static void op_movs(struct x86_vcpu *v, const struct x86_insn *in)
{
    repeat_bulk(v, in, movs_once, bulk_movs, true);
}
static void op_stos(struct x86_vcpu *v, const struct x86_insn *in)
{
    repeat_bulk(v, in, stos_once, bulk_stos, false);
}
static void op_lods(struct x86_vcpu *v, const struct x86_insn *in)
{
    repeat(v, in, lods_once, FOREVER);
}
static void op_cmps(struct x86_vcpu *v, const struct x86_insn *in)
{
    repeat(v, in, cmps_once, in->prefix & X86_PFX_REPNE ? WHILE_NZ : WHILE_ZF);
}
static void op_scas(struct x86_vcpu *v, const struct x86_insn *in)
{
    repeat(v, in, scas_once, in->prefix & X86_PFX_REPNE ? WHILE_NZ : WHILE_ZF);
}

/* ---- ports ----------------------------------------------------------------------------------- */

static uint32_t port_read(struct x86_vcpu *v, uint16_t port, unsigned size)
{
    v->base.stats.exits[EXIT_PIO]++;
    x86_check_port_breakpoints(v, port, size);
    return (uint32_t)bus_read(v->base.pio, port, size);
}
static void port_write(struct x86_vcpu *v, uint16_t port, unsigned size, uint32_t x)
{
    v->base.stats.exits[EXIT_PIO]++;
    x86_check_port_breakpoints(v, port, size);
    bus_write(v->base.pio, port, size, size == 4 ? x : x & ((1u << size * 8) - 1));
}

/* The device is asked only when the store cannot fault any more. */
static void ins_once(struct x86_vcpu *v, const struct x86_insn *in)
{
    uint16_t port = x86_r16(v, X86_EDX);
    uint32_t di = index_get(v, in, X86_EDI);
    x86_check_io(v, port, in->opsize);
    x86_probe_write(v, X86_ES, di, in->opsize);
    store(v, X86_ES, di, in->opsize, port_read(v, port, in->opsize));
    index_add(v, in, X86_EDI, step(v, in));
}
/* As many as one page takes and the device has at once. */
static uint32_t bulk_ins(struct x86_vcpu *v, const struct x86_insn *in, uint32_t count)
{
    uint32_t di = index_get(v, in, X86_EDI);
    uint32_t n = run_length(v, in, X86_ES, di, v->seg[X86_ES].write_span, count);
    uint8_t *dst = n < 2 ? NULL : x86_fast_write(v, X86_ES, di, 1);
    if (!dst)
        return 0;
    n = bus_read_many(v->base.pio, x86_r16(v, X86_EDX), in->opsize, dst, n);
    v->base.stats.exits[EXIT_PIO] += n != 0;
    return n;
}
static void outs_once(struct x86_vcpu *v, const struct x86_insn *in)
{
    uint16_t port = x86_r16(v, X86_EDX);
    x86_check_io(v, port, in->opsize);
    port_write(v, port, in->opsize, load(v, in->seg, index_get(v, in, X86_ESI), in->opsize));
    index_add(v, in, X86_ESI, step(v, in));
}
/* Permission is checked even when the count is 0. */
static void op_ins(struct x86_vcpu *v, const struct x86_insn *in)
{
    x86_check_io(v, x86_r16(v, X86_EDX), in->opsize);
    repeat_bulk(v, in, ins_once, bulk_ins, false);
}
static void op_outs(struct x86_vcpu *v, const struct x86_insn *in)
{
    x86_check_io(v, x86_r16(v, X86_EDX), in->opsize);
    repeat(v, in, outs_once, FOREVER);
}

/* Opcodes E4-E7 name the port in an immediate, EC-EF in dx. */
static uint16_t port_operand(const struct x86_vcpu *v, const struct x86_insn *in)
{
    return in->opcode & 8 ? x86_r16(v, X86_EDX) : (uint8_t)in->imm;
}
static void op_in(struct x86_vcpu *v, const struct x86_insn *in)
{
    uint16_t port = port_operand(v, in);
    x86_check_io(v, port, in->opsize);
    x86_reg_set(v, X86_EAX * 8, in->opsize, port_read(v, port, in->opsize));
}
static void op_out(struct x86_vcpu *v, const struct x86_insn *in)
{
    uint16_t port = port_operand(v, in);
    x86_check_io(v, port, in->opsize);
    port_write(v, port, in->opsize, x86_r32(v, X86_EAX));
}

#define ANY(m, fn)                                                                                 \
    {                                                                                              \
        .mnemonic = ZYDIS_MNEMONIC_##m, .any = fn                                                  \
    }
#define IO(m, fn)                                                                                  \
    {                                                                                              \
        .mnemonic = ZYDIS_MNEMONIC_##m, .class = X86_PRIVILEGED, .any = fn                         \
    }
#define SIZES(ROW, m, fn) ROW(m##B, fn), ROW(m##W, fn), ROW(m##D, fn)
const struct x86_op x86_ops_string[] = {
    SIZES(ANY, MOVS, op_movs), SIZES(ANY, STOS, op_stos),
    SIZES(ANY, LODS, op_lods), SIZES(ANY, CMPS, op_cmps),
    SIZES(ANY, SCAS, op_scas), SIZES(IO, INS, op_ins),
    SIZES(IO, OUTS, op_outs),  IO(IN, op_in),
    IO(OUT, op_out),           {0},
};
