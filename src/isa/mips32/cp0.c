/* SPDX-License-Identifier: MIT */
/* Coprocessor 0 (vol. III chapter 9): a row per register says where it is, which bits MTC0 changes,
 * and what else happens. Registers without a row read as zero and ignore writes: SRSCtl, PageGrain
 * (no 1 KiB pages), performance counters, watchpoints, EJTAG's, errors of caches.
 *
 * A processor of release 1 has no rows of MIPS32_R2. */
#include "isa/mips32/cp0.h"

#include "isa/mips32/mmu.h"

struct reg {
    const char *name; /* NULL: there is none */
    bool release2;
    uint16_t offset;                                  /* in struct mips32_cp0 */
    uint32_t mask;                                    /* bits that MTC0 writes */
    uint32_t (*read)(struct mips32_vcpu *v);          /* NULL: the field */
    void (*write)(struct mips32_vcpu *v, uint32_t x); /* NULL: the field under the mask */
};

/* ---- Status ---------------------------------------------------------------------------------- */

uint32_t mips32_status_mask(const struct mips32_model *m)
{
    uint32_t mask = ST_IE | ST_EXL | ST_ERL | ST_UM | ST_IM | ST_BEV | ST_CU0;
    if (m->supervisor)
        mask |= ST_SM;
    if (m->fpu)
        mask |= ST_CU1 | (m->release2 ? ST_FR : 0);
    return mask;
}

void mips32_set_status(struct mips32_vcpu *v, uint32_t x)
{
    uint32_t changed = v->cp0.status ^ x;
    v->cp0.status = x;
    if (changed & ST_ERL)
        mips32_soft_flush(v); /* it unmaps KUSEG */
    mips32_update_mode(v);
    if (changed & ST_IM)
        mips32_update_interrupts(v);
}

static void write_status(struct mips32_vcpu *v, uint32_t x)
{
    const uint32_t clear_only = ST_TS | ST_SR | ST_NMI, mask = mips32_status_mask(v->model);
    mips32_set_status(v, (x & mask) | (v->cp0.status & x & clear_only));
}

/* ---- the others with side effects ------------------------------------------------------------ */

static uint32_t read_random(struct mips32_vcpu *v)
{
    return mips32_tlb_random(v);
}

static void write_index(struct mips32_vcpu *v, uint32_t x)
{
    uint32_t last = v->model->tlb_entries - 1, bits = 31u - (uint32_t)__builtin_clz(last) + 1;
    v->cp0.index = (v->cp0.index & 1u << 31) | (x & ((1u << bits) - 1));
}

static void write_wired(struct mips32_vcpu *v, uint32_t x)
{
    uint32_t last = v->model->tlb_entries - 1;
    v->cp0.wired = (x & 63) < last ? x & 63 : last;
    v->cp0.random = last;
}

static void write_page_mask(struct mips32_vcpu *v, uint32_t x)
{
    v->cp0.page_mask = mips32_legal_page_mask(x);
}

static uint32_t read_cause(struct mips32_vcpu *v)
{
    return mips32_cause(v);
}

static void write_cause(struct mips32_vcpu *v, uint32_t x)
{
    uint32_t mask = CA_IP_SOFT | CA_IV | CA_WP | (v->model->release2 ? CA_DC : 0);
    uint32_t new = (v->cp0.cause & ~mask) | (x & mask);
    if ((new ^ v->cp0.cause) & CA_DC)
        mips32_stop_count(v, new &CA_DC);
    v->cp0.cause = new;
    mips32_timer_arm(v);
    mips32_update_interrupts(v);
}

static uint32_t read_count(struct mips32_vcpu *v)
{
    return mips32_read_count(v);
}

static uint32_t read_prid(struct mips32_vcpu *v)
{
    return v->model->prid;
}

static uint32_t read_config(struct mips32_vcpu *v)
{
    const struct mips32_model *m = v->model;
    const uint32_t more = 1u << 31, mmu_tlb = 1u << 7;
    return more | (uint32_t)m->big_endian << 15 | (uint32_t)m->release2 << 10 | mmu_tlb |
           v->cp0.config0;
}

/* Both caches: 4 ways of 128 lines of 32 bytes. A way is no larger than a page, so the guest sees
 * no aliases. */
static uint32_t read_config1(struct mips32_vcpu *v)
{
    const struct mips32_model *m = v->model;
    const uint32_t cache = 1u << 6 | 4u << 3 | 3u; /* sets, line, ways */
    return (uint32_t)m->release2 << 31 | (m->tlb_entries - 1) << 25 | cache << 16 | cache << 7 |
           m->fpu;
}

static uint32_t read_config2(struct mips32_vcpu *v)
{
    return 1u << 31; /* there is Config3; no other caches */
}

static uint32_t read_config3(struct mips32_vcpu *v)
{
    const uint32_t vectored_interrupts = 1u << 5, user_local = 1u << 13;
    return vectored_interrupts | user_local;
}

/* ---- rows ------------------------------------------------------------------------------------ */

#define AT(field) offsetof(struct mips32_cp0, field)
#define FULL      UINT32_MAX
/* IntCtl: the timer's and the counters' interrupt are IP7; VS is writable. */
#define INTCTL_RESET (7u << 29 | 7u << 26)
#define INTCTL_VS    0x3e0u
#define EBASE_BITS   0x3ffff000u
#define HWRENA_BITS  0x2000000fu
#define CONTEXT_BASE 0xff800000u

/* clang-format off */
#define N(number, sel) ((number) * 8 + (sel))
static const struct reg regs[32 * 8] = {
    [N( 0, 0)] = {"Index",     false, AT(index),        0,           NULL,         write_index},
    [N( 1, 0)] = {"Random",    false, AT(random),       0,           read_random,  NULL},
    [N( 2, 0)] = {"EntryLo0",  false, AT(entry_lo[0]),  LO_MASK,     NULL,         NULL},
    [N( 3, 0)] = {"EntryLo1",  false, AT(entry_lo[1]),  LO_MASK,     NULL,         NULL},
    [N( 4, 0)] = {"Context",   false, AT(context),      CONTEXT_BASE, NULL,        NULL},
    [N( 4, 2)] = {"UserLocal", true,  AT(user_local),   FULL,        NULL,         NULL},
    [N( 5, 0)] = {"PageMask",  false, AT(page_mask),    0,           NULL,         write_page_mask},
    [N( 6, 0)] = {"Wired",     false, AT(wired),        0,           NULL,         write_wired},
    [N( 7, 0)] = {"HWREna",    true,  AT(hwrena),       HWRENA_BITS, NULL,         NULL},
    [N( 8, 0)] = {"BadVAddr",  false, AT(bad_vaddr),    0,           NULL,         NULL},
    [N( 9, 0)] = {"Count",     false, 0,                0,           read_count,   mips32_set_count},
    [N(10, 0)] = {"EntryHi",   false, AT(entry_hi),     0,           NULL,         mips32_set_entry_hi},
    [N(11, 0)] = {"Compare",   false, AT(compare),      0,           NULL,         mips32_set_compare},
    [N(12, 0)] = {"Status",    false, AT(status),       0,           NULL,         write_status},
    [N(12, 1)] = {"IntCtl",    true,  AT(int_ctl),      INTCTL_VS,   NULL,         NULL},
    [N(13, 0)] = {"Cause",     false, 0,                0,           read_cause,   write_cause},
    [N(14, 0)] = {"EPC",       false, AT(epc),          FULL,        NULL,         NULL},
    [N(15, 0)] = {"PRId",      false, 0,                0,           read_prid,    NULL},
    [N(15, 1)] = {"EBase",     true,  AT(ebase),        EBASE_BITS,  NULL,         NULL},
    [N(16, 0)] = {"Config",    false, AT(config0),      7,           read_config,  NULL},
    [N(16, 1)] = {"Config1",   false, 0,                0,           read_config1, NULL},
    [N(16, 2)] = {"Config2",   true,  0,                0,           read_config2, NULL},
    [N(16, 3)] = {"Config3",   true,  0,                0,           read_config3, NULL},
    [N(17, 0)] = {"LLAddr",    false, AT(ll_addr),      0,           NULL,         NULL},
    [N(28, 0)] = {"TagLo",     false, AT(tag_lo),       FULL,        NULL,         NULL},
    [N(29, 0)] = {"TagHi",     false, AT(tag_hi),       FULL,        NULL,         NULL},
    [N(30, 0)] = {"ErrorEPC",  false, AT(error_epc),    FULL,        NULL,         NULL},
    [N(31, 0)] = {"DESAVE",    false, AT(desave),       FULL,        NULL,         NULL},
};
/* clang-format on */

static const struct reg *find(const struct mips32_vcpu *v, unsigned number, unsigned sel)
{
    const struct reg *r = &regs[N(number, sel)];
    return r->name && (v->model->release2 || !r->release2) ? r : NULL;
}

static uint32_t *field(struct mips32_vcpu *v, const struct reg *r)
{
    return (uint32_t *)(void *)((char *)&v->cp0 + r->offset);
}

uint32_t mips32_cp0_read(struct mips32_vcpu *v, unsigned number, unsigned sel)
{
    const struct reg *r = find(v, number, sel);
    if (!r)
        return 0;
    return r->read ? r->read(v) : *field(v, r);
}

void mips32_cp0_write(struct mips32_vcpu *v, unsigned number, unsigned sel, uint32_t x)
{
    const struct reg *r = find(v, number, sel);
    if (!r)
        return;
    if (r->write)
        r->write(v, x);
    else if (r->mask)
        *field(v, r) = (*field(v, r) & ~r->mask) | (x & r->mask);
}

bool mips32_cp0_field(const struct mips32_vcpu *v, unsigned number, unsigned sel, bool write,
                      uint16_t *offset, uint32_t *mask)
{
    const struct reg *r = find(v, number, sel);
    if (!r || (write ? r->write != NULL : r->read != NULL))
        return false;
    *offset = r->offset;
    *mask = r->mask;
    return true;
}

/* Vol. III 6.1 and each register's reset state; what is undefined is zero. */
void mips32_cp0_reset(struct mips32_vcpu *v)
{
    v->cp0 = (struct mips32_cp0){
        .random = v->model->tlb_entries - 1,
        .status = ST_BEV | ST_ERL,
        .int_ctl = INTCTL_RESET,
        .ebase = 0x80000000u | v->base.index,
        .config0 = 2, /* KSEG0 uncached */
    };
}

/* As writes would leave it; what only the processor writes may be anything. */
void mips32_cp0_restored(struct mips32_vcpu *v)
{
    struct mips32_cp0 *c = &v->cp0;
    uint32_t last = v->model->tlb_entries - 1, status_bits = ST_TS | ST_SR | ST_NMI;
    c->index &= 1u << 31 | 63u;
    c->wired = c->wired < last ? c->wired : last;
    c->random = c->random <= last ? c->random : last;
    c->entry_lo[0] &= LO_MASK;
    c->entry_lo[1] &= LO_MASK;
    c->entry_hi &= HI_VPN2 | HI_ASID;
    c->page_mask = mips32_legal_page_mask(c->page_mask);
    c->hwrena &= HWRENA_BITS;
    c->status &= mips32_status_mask(v->model) | status_bits;
    c->int_ctl = INTCTL_RESET | (c->int_ctl & INTCTL_VS);
    c->ebase = 0x80000000u | (c->ebase & EBASE_BITS) | v->base.index;
    c->config0 &= 7;
    c->cause &= CA_BD | 3u << CA_CE_SHIFT | CA_DC | CA_IV | CA_WP | CA_IP_SOFT | CA_EXC;
}
