/* SPDX-License-Identifier: MIT */
/* lock_mips_random's machines: see lock_mips_machine.h. Memory, TLB and registers are set up from
 * outside before each program; only what has changed is written again, the TLB as TLBWI does it, so
 * that code and views made for earlier programs go when they would in a real guest, and stay
 * otherwise. */
#include "lock_mips_machine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/dbt/dbt.h"
#include "engine/engines.h"
#include "host/fault.h"
#include "isa/mips32/cp0.h"
#include "isa/mips32/fpu.h"
#include "isa/mips32/mmu.h"

#define RAM_BYTES  (1 * MIB)
#define BOOT_PAGE  LOCK_MIPS_PAGES /* the page that is shown at LOCK_MIPS_BOOT */
#define COMPARED   ((LOCK_MIPS_PAGES + 1) * 0x1000u)
#define BOOT_BYTES 0x1000u

/* Byte orders, releases, sizes of the TLB, with and without FPU and supervisor mode. */
const struct mips32_model lock_mips_model[LOCK_MIPS_MODELS] = {
    {.name = "little, release 2",
     .prid = 0x00019300,
     .tlb_entries = 32,
     .release2 = true,
     .fpu = true,
     .count_hz = 100 * 1000 * 1000},
    {.name = "big, release 2, supervisor",
     .prid = 0x00019300,
     .tlb_entries = 16,
     .big_endian = true,
     .supervisor = true,
     .release2 = true,
     .fpu = true,
     .default_nan = true,
     .count_hz = 100 * 1000 * 1000},
    {.name = "little, release 1, no FPU",
     .prid = 0x00018000,
     .tlb_entries = 64,
     .count_hz = 50 * 1000 * 1000},
    {.name = "big, release 1, FPU",
     .prid = 0x00018000,
     .tlb_entries = 16,
     .big_endian = true,
     .fpu = true,
     .count_hz = 50 * 1000 * 1000},
    {.name = "little, release 2, supervisor",
     .prid = 0x00019300,
     .tlb_entries = 64,
     .supervisor = true,
     .release2 = true,
     .fpu = true,
     .count_hz = 200 * 1000 * 1000},
};

uint64_t lock_mips_mix(uint64_t x)
{
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

/* ---- handlers ---------------------------------------------------------------------------------
 * Registers k0 and k1 are theirs. A handler skips the instruction that caused the exception, or the
 * branch whose delay slot did; an interrupt masks all of them and goes on; BREAK, or no fuel, ends
 * the program in a WAIT that nothing ends. */

enum { K0 = 26, K1 = 27 };
#define I_TYPE(op, s, t, imm)                                                                      \
    ((uint32_t)(op) << 26 | (uint32_t)(s) << 21 | (uint32_t)(t) << 16 | ((uint32_t)(imm)&0xffff))
#define R_TYPE(funct, s, t, d)                                                                     \
    ((uint32_t)(s) << 21 | (uint32_t)(t) << 16 | (uint32_t)(d) << 11 | (funct))
#define MFC0(t, r)      (0x40000000u | (uint32_t)(t) << 16 | (uint32_t)(r) << 11)
#define MTC0(t, r)      (0x40800000u | (uint32_t)(t) << 16 | (uint32_t)(r) << 11)
#define ADDU(d, s, t)   R_TYPE(0x21, s, t, d)
#define AND(d, s, t)    R_TYPE(0x24, s, t, d)
#define JR(s)           R_TYPE(8, s, 0, 0)
#define LW(t, i, s)     I_TYPE(35, s, t, i)
#define SW(t, i, s)     I_TYPE(43, s, t, i)
#define LUI(t, i)       I_TYPE(15, 0, t, i)
#define ADDIU(t, s, i)  I_TYPE(9, s, t, i)
#define ANDI(t, s, i)   I_TYPE(12, s, t, i)
#define ORI(t, s, i)    I_TYPE(13, s, t, i)
#define XORI(t, s, i)   I_TYPE(14, s, t, i)
#define BEQ(s, t, dist) I_TYPE(4, s, t, (dist) / 4)
#define BLTZ(s, dist)   I_TYPE(1, s, 0, (dist) / 4)
#define BGEZ(s, dist)   I_TYPE(1, s, 1, (dist) / 4)
#define JUMP(to)        (2u << 26 | (to) / 4)
#define TLBWR           0x42000006u
#define ERET            0x42000018u
#define WAIT            0x42000020u
#define NOP             0u
#define BREAK           0x0000000du
#define OF(member)      (LOCK_MIPS_HANDLING + (unsigned)offsetof(struct lock_mips_handling, member))

enum { REFILL = 0, GENERAL = 0x180, COMMON = 0x400, END = 0x500, BOOT_VECTORS = 0x200 };

static const uint32_t refill_code[] = {
    /* 00 */ LUI(K1, 0x8000),
    /* 04 */ LW(K0, OF(refill), K1),
    /* 08 */ BEQ(K0, 0, 0x38 - 0x0c),
    /* 0c */ LW(K0, OF(fuel), K1),
    /* 10 */ ADDIU(K0, K0, -1),
    /* 14 */ BLTZ(K0, 0x40 - 0x18),
    /* 18 */ SW(K0, OF(fuel), K1),
    /* 1c */ LW(K0, OF(lo[0]), K1),
    /* 20 */ MTC0(K0, 2),
    /* 24 */ LW(K0, OF(lo[1]), K1),
    /* 28 */ MTC0(K0, 3),
    /* 2c */ TLBWR,
    /* 30 */ ERET,
    /* 34 */ NOP,
    /* 38 */ JUMP(COMMON),
    /* 3c */ NOP,
    /* 40 */ JUMP(END),
    /* 44 */ NOP,
};
static const uint32_t common_code[] = {
    /* 00 */ LUI(K1, 0x8000),
    /* 04 */ LW(K0, OF(fuel), K1),
    /* 08 */ ADDIU(K0, K0, -1),
    /* 0c */ BLTZ(K0, 0x48 - 0x10),
    /* 10 */ SW(K0, OF(fuel), K1),
    /* 14 */ MFC0(K0, 13),
    /* 18 */ ANDI(K1, K0, 0x7c),
    /* 1c */ BEQ(K1, 0, 0x50 - 0x20),
    /* 20 */ XORI(K1, K1, EXC_BP << CA_EXC_SHIFT),
    /* 24 */ BEQ(K1, 0, 0x48 - 0x28),
    /* 28 */ ADDIU(K1, 0, 4),
    /* 2c */ BGEZ(K0, 0x38 - 0x30), /* Cause.BD */
    /* 30 */ NOP,
    /* 34 */ ADDIU(K1, 0, 8),
    /* 38 */ MFC0(K0, 14),
    /* 3c */ ADDU(K0, K0, K1),
    /* 40 */ MTC0(K0, 14),
    /* 44 */ ERET,
    /* 48 */ JUMP(END),
    /* 4c */ NOP,
    /* 50 an interrupt */ MFC0(K0, 12),
    /* 54 */ LUI(K1, 0xffff),
    /* 58 */ ORI(K1, K1, 0x00ff),
    /* 5c */ AND(K0, K0, K1),
    /* 60 */ MTC0(K0, 12),
    /* 64 */ ERET,
};
static const uint32_t end_code[] = {
    LUI(K1, 0x8000),
    MFC0(K0, 12),
    SW(K0, OF(status), K1),
    MFC0(K0, 13),
    SW(K0, OF(cause), K1),
    MTC0(0, 12),
    MTC0(0, 13),
    WAIT,
    BEQ(0, 0, -8),
    NOP,
};
static const uint32_t boot_code[] = {LUI(K1, 0x8000), ORI(K1, K1, COMMON), JR(K1), NOP};

static void put(const struct lock_mips_machine *m, uint8_t *at, uint32_t x)
{
    x = mips32_const_of(m->v)->big_endian ? __builtin_bswap32(x) : x;
    memcpy(at, &x, sizeof x);
}

static void put_all(const struct lock_mips_machine *m, uint8_t *at, const uint32_t *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        put(m, at + 4 * i, x[i]);
}

/* Everywhere else in its pages something leads to where it is handled. */
static void build_handlers(struct lock_mips_machine *m)
{
    uint8_t *boot = m->base + BOOT_PAGE * 0x1000;
    for (unsigned at = 0; at < 0x1000; at += 8)
        put_all(m, m->base + at, (const uint32_t[]){JUMP(COMMON), NOP}, 2);
    for (unsigned at = 0; at < BOOT_BYTES; at += 16)
        put_all(m, boot + at, boot_code, ARRAY_LEN(boot_code));
    put_all(m, m->base + REFILL, refill_code, ARRAY_LEN(refill_code));
    put_all(m, m->base + COMMON, common_code, ARRAY_LEN(common_code));
    put_all(m, m->base + END, end_code, ARRAY_LEN(end_code));
}

/* ---- the device -------------------------------------------------------------------------------
 */

static void note_io(struct lock_mips_machine *m, uint64_t offset, unsigned size, uint64_t value)
{
    m->io++;
    m->io_digest = lock_mips_mix(m->io_digest + offset) + value + size;
}

/* Another answer each time: a read that happens twice shows. */
static uint64_t device_read(void *opaque, uint64_t offset, unsigned size)
{
    struct lock_mips_machine *m = opaque;
    note_io(m, offset, size, 0);
    return lock_mips_mix(m->io_digest);
}

/* Writes move its interrupt line. */
static void device_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct lock_mips_machine *m = opaque;
    note_io(m, offset | UINT64_C(1) << 32, size, value);
    irq_set(&m->pin, value & 1);
}

/* ---- a program --------------------------------------------------------------------------------
 */

static void build_memory(const struct lock_mips_machine *m, const struct lock_mips_program *p,
                         uint8_t memory[COMPARED])
{
    const uint32_t handling[] = {
        p->handling.fuel, p->handling.refill, p->handling.lo[0], p->handling.lo[1], 0, 0};
    memcpy(memory, m->base, COMPARED);
    put_all(m, memory + LOCK_MIPS_CODE + 4 * p->first, p->code, p->words);
    put_all(m, memory + LOCK_MIPS_HANDLING, handling, ARRAY_LEN(handling));
}

/* Where byte i of that is in the machine. */
static gpa_t gpa_of(uint32_t i)
{
    return i >= BOOT_PAGE * 0x1000 ? LOCK_MIPS_BOOT + (i & 0xfff) : i;
}

static const uint8_t *host_of(const struct lock_mips_machine *m, uint32_t i)
{
    return phys_page(m->mem, gpa_page(gpa_of(i))).host + (i & 0xfff);
}

static void load_memory(struct lock_mips_machine *m, const struct lock_mips_program *p)
{
    uint8_t memory[COMPARED];
    build_memory(m, p, memory);
    for (uint32_t i = 0; i < COMPARED; i += 0x1000)
        if (memcmp(host_of(m, i), memory + i, 0x1000))
            phys_write(m->mem, gpa_of(i), memory + i, 0x1000);
}

bool lock_mips_machine_code_changed(const struct lock_mips_machine *m,
                                    const struct lock_mips_program *p)
{
    static const uint32_t pages[] = {0, LOCK_MIPS_CODE, LOCK_MIPS_CODE + 0x1000,
                                     BOOT_PAGE * 0x1000};
    uint8_t memory[COMPARED];
    build_memory(m, p, memory);
    for (unsigned i = 0; i < ARRAY_LEN(pages); i++)
        if (memcmp(host_of(m, pages[i]), memory + pages[i], 0x1000))
            return true;
    return false;
}

/* Entry n of the TLB is to be this one. */
static void load_entry(struct mips32_vcpu *v, unsigned n, uint32_t hi, uint32_t mask, uint32_t lo0,
                       uint32_t lo1)
{
    struct mips32_tlb_entry old = v->tlb[n];
    mips32_cp0_write(v, 5, 0, mask);
    mips32_cp0_write(v, 2, 0, lo0);
    mips32_cp0_write(v, 3, 0, lo1);
    v->cp0.entry_hi = hi & (HI_VPN2 | HI_ASID);
    v->cp0.index = n;
    uint32_t global = lo0 & lo1 & LO_G;
    if (old.hi != (v->cp0.entry_hi & ~v->cp0.page_mask) || old.mask != v->cp0.page_mask ||
        old.lo[0] != (v->cp0.entry_lo[0] & ~LO_G) || old.lo[1] != (v->cp0.entry_lo[1] & ~LO_G) ||
        old.global != global)
        mips32_tlb_write_indexed(v);
}

static void load_tlb(struct mips32_vcpu *v, const struct lock_mips_program *p)
{
    mips32_set_entry_hi(v, p->entry_hi);
    mips32_tlb_drop_victims(v);
    for (unsigned i = 0; i < v->model->tlb_entries; i++)
        if (i < LOCK_MIPS_ENTRIES)
            load_entry(v, i, p->tlb[i].hi, p->tlb[i].mask, p->tlb[i].lo[0], p->tlb[i].lo[1]);
        else
            load_entry(v, i, 0x80000000u + (i << 13), 0, 0, 0);
}

static void load_cp0(struct mips32_vcpu *v, const struct lock_mips_program *p)
{
    uint32_t status = v->cp0.status;
    v->cp0 = (struct mips32_cp0){
        .index = p->tlb_index,
        .random = p->random,
        .entry_lo = {p->entry_lo[0], p->entry_lo[1]},
        .page_mask = p->page_mask,
        .wired = p->wired,
        .hwrena = p->hwrena,
        .entry_hi = p->entry_hi,
        .compare = p->count + 1000,
        .status = p->status,
        .epc = p->epc,
        .error_epc = p->error_epc,
        .config0 = 3,
        .cause = p->cause,
    };
    mips32_cp0_restored(v);
    uint32_t wanted = v->cp0.status;
    v->cp0.status = status;
    mips32_set_status(v, wanted);
    mips32_set_count(v, p->count);
    mips32_set_lines(v, CA_IP_PINS | CA_TI, false);
    mips32_set_lines(v, p->lines, true);
    atomic_store(&v->base.attention, 0);
    mips32_update_interrupts(v);
}

void lock_mips_machine_load(struct lock_mips_machine *m, const struct lock_mips_program *p)
{
    struct mips32_vcpu *v = mips32_of(m->v);
    load_memory(m, p);
    load_tlb(v, p);
    load_cp0(v, p);
    memcpy(v->gpr, p->gpr, sizeof p->gpr);
    memcpy(v->fpr, p->fpr, sizeof p->fpr);
    v->gpr[0] = 0;
    v->hi = p->hi;
    v->lo = p->lo;
    mips32_set_fcsr(v, p->fcsr);
    v->ll_bit = p->ll_bit;
    v->pc = p->at;
    m->io = m->io_digest = 0;
    m->fault_base = lock_faults(m->v);
    m->start = lock_place(m->v);
}

void lock_mips_machine_run(struct lock_mips_machine *m, uint64_t budget, struct vm_exit *x)
{
    struct err e;
    *x = (struct vm_exit){.kind = EXIT_ATTENTION};
    if (m->engine->ops == &interp_engine) {
        m->v->isa->interpret(m->v, budget, x);
        return;
    }
    /* Several engines take turns on this thread: give this one its signal handler. */
    if (host_fault_enter(dbt_on_host_fault, m->v->engine_state, &e) == 0)
        m->engine->ops->run(m->v, x);
}

bool lock_mips_machine_same_memory(const struct lock_mips_machine *a,
                                   const struct lock_mips_machine *b, FILE *out)
{
    bool same = a->io == b->io && a->io_digest == b->io_digest;
    if (!same && out)
        fprintf(out, "    the device saw %llu and %llu accesses, digests %llx and %llx\n",
                (unsigned long long)a->io, (unsigned long long)b->io,
                (unsigned long long)a->io_digest, (unsigned long long)b->io_digest);
    for (uint32_t i = 0; i < COMPARED; i += 4) {
        const uint8_t *x = host_of(a, i), *y = host_of(b, i);
        if (!(i & 0xfff) && !memcmp(x, y, 0x1000)) {
            i += 0xffc;
            continue;
        }
        if (!memcmp(x, y, 4))
            continue;
        same = false;
        if (out)
            fprintf(out, "    physical %08llx   %02x%02x%02x%02x %02x%02x%02x%02x\n",
                    (unsigned long long)gpa_of(i), x[0], x[1], x[2], x[3], y[0], y[1], y[2], y[3]);
    }
    return same;
}

static bool overlap(const struct mips32_tlb_entry *a, const struct mips32_tlb_entry *b)
{
    return !((a->hi ^ b->hi) & HI_VPN2 & ~(a->mask | b->mask)) &&
           (a->global || b->global || !((a->hi ^ b->hi) & HI_ASID));
}

bool lock_mips_machine_tlb_overlaps(const struct lock_mips_machine *m)
{
    const struct mips32_vcpu *v = mips32_const_of(m->v);
    for (unsigned i = 0; i < v->model->tlb_entries; i++)
        for (unsigned k = 0; k < i; k++)
            if (overlap(&v->tlb[i], &v->tlb[k]))
                return true;
    return false;
}

/* ---- life -------------------------------------------------------------------------------------
 */

static int build_parts(struct lock_mips_machine *m, const struct mips32_model *model, struct err *e)
{
    static const struct io_ops device = {device_read, device_write, 1, 8, NULL};
    if (!(m->mem = phys_new(RAM_BYTES, e)) ||
        phys_map_ram(m->mem, 0, 0, LOCK_MIPS_PAGES * 0x1000, e) ||
        phys_map_ram(m->mem, LOCK_MIPS_BOOT, RAM_BYTES - BOOT_BYTES, BOOT_BYTES, e) ||
        !(m->mmio = bus_new("mmio", PHYS_LIMIT, e)) || !(m->clock = clock_new(CLOCK_VIRTUAL, e)) ||
        bus_map(m->mmio, LOCK_MIPS_DEVICE, 0x2000, &device, m, "device", e))
        return -e->errnum;
    const struct vcpu_wiring w = {
        .mem = m->mem, .mmio = m->mmio, .clock = m->clock, .log = &m->log};
    if (!(m->v = mips32_new(&w, model, 0, e)))
        return -e->errnum;
    m->pin = mips32_pin(m->v, 1);
    return 0;
}

/* Words of data are random, or numbers with which something special happens. */
static void build_data(struct lock_mips_machine *m)
{
    static const uint32_t special[] = {0,          1,          0xffffffff, 0x80000000, 0x7fffffff,
                                       0x3ff00000, 0x7f800000, 0x7fc00001, 0x7fbfffff, 0x00000080};
    for (unsigned i = 0; i < LOCK_MIPS_DATA_BYTES / 4; i++) {
        uint64_t x = lock_mips_mix(i);
        put(m, m->base + LOCK_MIPS_DATA + 4 * i,
            x >> 32 & 3 ? (uint32_t)x : special[x % ARRAY_LEN(special)]);
    }
    for (unsigned i = 0; i < LOCK_MIPS_CODE_WORDS; i++)
        put(m, m->base + LOCK_MIPS_CODE + 4 * i, BREAK);
}

int lock_mips_machine_new(const struct lock_mips_engine *engine, const struct mips32_model *model,
                          struct lock_mips_machine **out, struct err *e)
{
    struct lock_mips_machine *m = calloc(1, sizeof *m);
    *out = m;
    if (!m || !(m->base = calloc(1, COMPARED)))
        return err_set(e, ENOMEM, "lock-memory", "no memory");
    m->log = (struct log){LOG_INFO, 1};
    int r = build_parts(m, model, e);
    if (r < 0)
        return r;
    build_handlers(m);
    build_data(m);
    r = engine->ops->attach(m->v, &engine->dbt, e);
    if (r == 0)
        m->engine = engine;
    return r;
}

void lock_mips_machine_free(struct lock_mips_machine *m)
{
    if (!m)
        return;
    if (m->engine)
        m->engine->ops->detach(m->v);
    if (m->v)
        m->v->isa->vcpu_free(m->v);
    if (m->clock)
        clock_free(m->clock);
    if (m->mmio)
        bus_free(m->mmio);
    if (m->mem)
        phys_free(m->mem);
    free(m->base);
    free(m);
}
