/* SPDX-License-Identifier: MIT */
/* The MIPS32 processor as an object: models, making it, reset, and the state derived from Status.
 */
#include <errno.h>
#include <stdlib.h>

#include "isa/mips32/cp0.h"
#include "isa/mips32/debugger.h"
#include "isa/mips32/fpu.h"
#include "isa/mips32/mmu.h"
#include "isa/mips32/translate.h"

const struct mips32_model mips32_24kf = {
    .name = "24Kf",
    .prid = 0x00019300,
    .tlb_entries = 32,
    .release2 = true,
    .fpu = true,
    .count_hz = 100 * 1000 * 1000,
};

/* ---- derived state --------------------------------------------------------------------------- */

void mips32_update_mode(struct mips32_vcpu *v)
{
    uint32_t s = v->cp0.status;
    bool kernel = !(s & (ST_UM | ST_SM)) || (s & (ST_EXL | ST_ERL));
    v->mode = kernel ? MIPS32_KERNEL : s & ST_UM ? MIPS32_USER : MIPS32_SUPERVISOR;
    v->soft = v->soft_sets[v->mode];
    v->attn_mask = (s & (ST_IE | ST_EXL | ST_ERL)) == ST_IE ? MIPS32_ATTN_OPEN : MIPS32_ATTN_CLOSED;
    if (atomic_load_explicit(&v->line_im, memory_order_relaxed) != (s & ST_IM))
        atomic_store(&v->line_im, s & ST_IM);
}

/* ---- stores to decoded code ------------------------------------------------------------------ */

static void reasons_changed(void *opaque, gpfn_t page, uint8_t reasons)
{
    if (reasons)
        mips32_soft_protect(opaque, page);
}

static void code_written(void *opaque, gpa_t gpa, uint64_t len, uint8_t reasons)
{
    struct mips32_vcpu *v = opaque;
    if (!(reasons & WP_CODE))
        return;
    if (pthread_equal(pthread_self(), v->owner))
        mips32_icache_invalidate(v, gpa, len);
    else
        vcpu_attend(&v->base, ATTN_CODE);
}

/* A board shows other memory at some addresses. Decoded pages know where their bytes are, so they
 * go, at the next boundary: the instruction under way is in one. */
static void remapped(void *opaque, gpa_t gpa, uint64_t len)
{
    struct mips32_vcpu *v = opaque;
    mips32_soft_flush(v);
    vcpu_attend(&v->base, ATTN_CODE);
}

/* ---- life ------------------------------------------------------------------------------------ */

static void reset(struct vcpu *base)
{
    struct mips32_vcpu *v = mips32_of(base);
    memset(v->gpr, 0, sizeof v->gpr);
    memset(v->fpr, 0, sizeof v->fpr);
    mips32_tlb_drop_victims(v);
    mips32_soft_flush(v);
    memset(v->tlb, 0, sizeof v->tlb);
    v->hi = v->lo = 0;
    v->cur = NULL;
    v->in_slot = false;
    v->pc = 0xbfc00000;
    v->ll_bit = false;
    mips32_cp0_reset(v);
    mips32_fpu_reset(v);
    mips32_set_lines(v, CA_TI, false);
    mips32_icache_flush(v);
    mips32_update_mode(v);
    mips32_set_count(v, 0);
    mips32_update_interrupts(v);
}

static void vcpu_free(struct vcpu *base)
{
    struct mips32_vcpu *v = mips32_of(base);
    if (!base)
        return;
    wp_unwatch(base->mem, &v->watcher);
    mips32_timer_free(v);
    mips32_icache_free(v->icache);
    mips32_decoder_free(v->decoder);
    free(v);
}

static int check_model(const struct mips32_model *m, struct err *e)
{
    if (m->tlb_entries < 16 || m->tlb_entries > MIPS32_TLB_MAX || !m->count_hz)
        return err_set(e, EINVAL, "mips32-model",
                       "processor model %s: the TLB must have 16 to %u entries and Count a rate",
                       m->name, MIPS32_TLB_MAX);
    return 0;
}

struct vcpu *mips32_new(const struct vcpu_wiring *w, const struct mips32_model *m, unsigned index,
                        struct err *e)
{
    if (check_model(m, e) < 0)
        return NULL;
    struct mips32_vcpu *v = aligned_alloc(64, (sizeof *v + 63) & ~(size_t)63);
    if (!v) {
        err_set(e, ENOMEM, "out-of-memory", "no memory for a virtual processor");
        return NULL;
    }
    memset(v, 0, sizeof *v);
    v->base.isa = &mips32_ops;
    v->base.index = index;
    v->base.mem = w->mem;
    v->base.mmio = w->mmio;
    v->base.pio = w->pio;
    v->base.clock = w->clock;
    v->base.log = w->log;
    v->model = m;
    v->big_endian = m->big_endian;
    v->owner = pthread_self();
    mips32_timer_init(v);
    v->decoder = mips32_decoder_new(m, e);
    v->icache = mips32_icache_new(v, e);
    if (!v->decoder || !v->icache) {
        vcpu_free(&v->base);
        return NULL;
    }
    v->watcher = (struct wp_watcher){
        .changed = reasons_changed, .written = code_written, .remapped = remapped, .opaque = v};
    wp_watch(w->mem, &v->watcher);
    reset(&v->base);
    return &v->base;
}

static struct vcpu *vcpu_new(const struct vcpu_wiring *w, unsigned index, struct err *e)
{
    return mips32_new(w, &mips32_24kf, index, e);
}

void mips32_start(struct vcpu *base, uint32_t pc, const uint32_t a[4])
{
    struct mips32_vcpu *v = mips32_of(base);
    v->pc = pc;
    v->cur = NULL;
    memcpy(&v->gpr[MIPS32_A0], a, 4 * sizeof *a);
    mips32_set_status(v, v->cp0.status & ~(ST_BEV | ST_ERL | ST_EXL));
}

static uint64_t pc(const struct vcpu *base)
{
    return mips32_pc(mips32_const_of(base));
}

const struct isa_ops mips32_ops = {
    .name = "mips32",
    .translator = &mips32_translator,
    .debug = &mips32_debug,
    .vcpu_new = vcpu_new,
    .vcpu_free = vcpu_free,
    .reset = reset,
    .interpret = mips32_interpret,
    .state = mips32_state_table,
    .parked = mips32_parked,
    .restored = mips32_restored,
    .pc = pc,
    .dump = mips32_dump,
    .post_mortem = mips32_post_mortem,
};
