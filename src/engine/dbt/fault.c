/* SPDX-License-Identifier: MIT */
/* Host faults and kicks in generated code.
 *
 * The signal handler only notes what happened and sends the thread to isa->fault_exit, which stores
 * the guest's registers and returns from enter(); everything else is ordinary code behind that.
 *
 * A kick (another thread wants this one to look at `attention`) may meet generated code anywhere
 * inside an instruction's translation. At an entry mark the guest's state is exact, and it leaves
 * there. Elsewhere the handler sets the host's trap flag and looks again after each host
 * instruction until it is at an entry mark or outside of generated code. Branches lead to entry
 * marks or outside, so that takes at most the host instructions of one guest instruction. Only
 * REP would stay where it is for as long as its count lasts: seen twice in one place, it is left
 * like a fault there, since a repeated instruction can be interrupted between two rounds.
 *
 * "Innocent until proven guilty": each memory access is first translated as an ordinary one. A site
 * that keeps faulting for one reason is translated anew with the policy that fits. Each run of a
 * call-out is looked at, and one that has no reason any more goes back. */
#include "host/fault.h"

#include <string.h>

#include "engine/dbt/dbt.h"

#define GUILTY_AFTER 3u /* faults of one kind at one site */

#define QUIET_ENOUGH 4u /* runs of a call-out in a row that had no reason */
#define STUBBORN     5u /* both double each time a site has changed its mind, up to so often */

#define HOST_TF 0x100

/* ---- in the signal handler: async-signal-safe, reads tables only ---------------------------- */

static void redirect(struct dbt *d, const struct host_fault *f, const void *to)
{
    f->uc->uc_mcontext.gregs[REG_RIP] = (greg_t)(uintptr_t)to;
    f->uc->uc_mcontext.gregs[REG_EFL] &= ~(greg_t)HOST_TF;
    d->stepping = false;
}

static void note(struct dbt *d, const struct host_fault *f, int sig, bool boundary)
{
    const greg_t *g = f->uc->uc_mcontext.gregs;
    d->note =
        (struct dbt_note){.sig = sig,
                          .trapno = f->trapno,
                          .error = f->error,
                          .addr = f->addr,
                          .r8 = (uint64_t)g[REG_R8],
                          .r9 = (uint64_t)g[REG_R9],
                          .r10 = (uint64_t)g[REG_R10],
                          .at = (uint32_t)((uintptr_t)g[REG_RIP] - (uintptr_t)d->cache.reserve),
                          .boundary = boundary};
    redirect(d, f, d->isa->fault_exit);
}

/* Is `at` where a guest instruction starts with exact state? */
static bool at_entry(const struct dbt *d, uint32_t at)
{
    const struct translation *t = map_find(&d->map, at);
    struct tb_mark mark;
    bool exact;
    return t && map_mark(&d->map, t, at, &mark, &exact) && exact && mark.entry;
}

static void step(struct dbt *d, const struct host_fault *f, uintptr_t rip)
{
    d->stepping = true;
    d->stepped_from = rip;
    d->figures.steps++;
    f->uc->uc_mcontext.gregs[REG_EFL] |= HOST_TF;
}

static void leave_at_boundary(struct dbt *d, const struct host_fault *f, uintptr_t rip)
{
    uint32_t at = (uint32_t)(rip - (uintptr_t)d->cache.reserve);
    if (at_entry(d, at))
        note(d, f, HOST_FAULT_KICK, true);
    else
        step(d, f, rip);
}

static bool between(uintptr_t rip, const void *from, const void *to)
{
    return rip - (uintptr_t)from < (uintptr_t)to - (uintptr_t)from;
}

static void on_kick(struct dbt *d, const struct host_fault *f, uintptr_t rip)
{
    const struct isa_translator *isa = d->isa;
    if (between(rip, isa->enter_begin, isa->enter_end)) {
        redirect(d, f, isa->enter_abort);
        return;
    }
    if (between(rip, isa->callout_begin, isa->callout_end)) {
        redirect(d, f, isa->callout_leave);
        return;
    }
    if (!cache_holds(&d->cache, rip) || d->stepping || !atomic_load(&d->v->attention))
        return; /* on its way to look, or it has looked */
    d->figures.kicks++;
    leave_at_boundary(d, f, rip);
}

static void on_step(struct dbt *d, const struct host_fault *f, uintptr_t rip)
{
    if (!cache_holds(&d->cache, rip)) {
        f->uc->uc_mcontext.gregs[REG_EFL] &= ~(greg_t)HOST_TF;
        d->stepping = false;
    } else if (rip == d->stepped_from) {
        note(d, f, HOST_FAULT_KICK, false); /* REP */
    } else {
        leave_at_boundary(d, f, rip);
    }
}

bool dbt_on_host_fault(void *opaque, const struct host_fault *f)
{
    struct dbt *d = opaque;
    uintptr_t rip = (uintptr_t)f->uc->uc_mcontext.gregs[REG_RIP];
    if (f->sig == HOST_FAULT_KICK) {
        on_kick(d, f, rip);
        return true;
    }
    if (f->sig == SIGTRAP && d->stepping) {
        on_step(d, f, rip);
        return true;
    }
    uint32_t at = (uint32_t)(rip - (uintptr_t)d->cache.reserve);
    if (!cache_holds(&d->cache, rip) || !map_find(&d->map, at))
        return false;
    note(d, f, f->sig, false);
    return true;
}

/* ---- afterwards -------------------------------------------------------------------------------
 */

/* Which policy cures faults of this kind; TB_PLAIN if none does. */
static enum tb_policy cure(enum dbt_verdict verdict)
{
    switch (verdict) {
    case DBT_DEVICE:
    case DBT_TRACED:
    case DBT_TRAPPED:
        return TB_CALLOUT;
    case DBT_FOREIGN:
        return TB_SELECT;
    default:
        return TB_PLAIN;
    }
}

static void blame(struct dbt *d, uint32_t tp, uint16_t offset, enum dbt_verdict verdict)
{
    enum tb_policy policy = cure(verdict);
    struct site *s = NULL;
    bool straddles = d->pages.tpages[tp].straddle_off == offset; /* translated as TB_PLAIN always */
    if (policy != TB_PLAIN && !d->o.no_adapt && !straddles)
        s = tpage_site(&d->pages, tp, offset);
    if (!s || ++s->faults[verdict] < GUILTY_AFTER << s->reverted)
        return;
    s->policy = (uint8_t)policy;
    s->quiet = 0;
    memset(s->faults, 0, sizeof s->faults);
    tpage_clear(&d->pages, tp);
    d->figures.retranslated[verdict]++;
}

/* The instruction that the noted address belongs to. It is one: the handler has looked it up. */
static const struct translation *describe(const struct dbt *d, struct dbt_fault *f)
{
    const struct dbt_note *n = &d->note;
    const struct translation *t = map_find(&d->map, n->at);
    bool exact;
    *f = (struct dbt_fault){n->sig, n->trapno, n->error, n->addr,
                            n->r8,  n->r9,     n->r10,   .policy = TB_PLAIN};
    if (!t || !map_mark(&d->map, t, n->at, &f->mark, &exact))
        return NULL;
    f->pc = d->pages.tpages[t->tpage].page + f->mark.guest;
    f->policy = tpage_policy(&d->pages, t->tpage, f->mark.guest);
    return t;
}

bool dbt_serve_fault(struct dbt *d)
{
    struct dbt_fault f;
    const struct translation *t = describe(d, &f);
    if (!t)
        return false;
    if (d->note.boundary) {
        d->isa->set_pc(d->v, f.pc);
        return false;
    }
    enum dbt_verdict verdict = d->isa->fault(d->v, &f);
    if (f.sig == HOST_FAULT_KICK)
        return false;
    d->figures.verdicts[verdict]++;
    if (verdict == DBT_RESUME) {
        d->v->stats.fault_hidden++;
        return true;
    }
    blame(d, t->tpage, f.mark.guest, verdict);
    return false;
}

/* ---- call-outs that lost their reason ----------------------------------------------------------
 */

/* The record of the call-out at the guest's pc, or NULL. */
static struct site *callout_here(struct dbt *d, uint32_t *tp)
{
    struct dbt_where w;
    if (!d->isa->prepare(d->v, &w))
        return NULL;
    struct jump_table *j = tables_get(&d->tables, w.space, w.mode);
    *tp = j ? dbt_table_tpage(d, j, w.pc) : 0;
    if (!*tp || tpage_policy(&d->pages, *tp, w.pc & ~PAGE_MASK) != TB_CALLOUT)
        return NULL;
    return tpage_site(&d->pages, *tp, w.pc & ~PAGE_MASK);
}

static void revert(struct dbt *d, uint32_t tp, struct site *s)
{
    s->policy = TB_PLAIN;
    s->quiet = 0;
    if (s->reverted < STUBBORN)
        s->reverted++;
    tpage_clear(&d->pages, tp);
    d->figures.reverted++;
}

/* What a call-out can be there for: device accesses, traced stores, exceptions. */
static uint64_t reasons(const struct dbt *d)
{
    const struct vcpu_stats *s = &d->v->stats;
    return s->exits[EXIT_MMIO] + s->exits[EXIT_EXCEPTION] + s->fault_device + d->figures.written;
}

/* A call-out: did it have a reason this time? */
static void call_out(struct dbt *d, struct vm_exit *x)
{
    struct vcpu *v = d->v;
    uint32_t tp = 0;
    uint64_t flushes = d->figures.flushes;
    struct site *s = callout_here(d, &tp);
    uint64_t before = reasons(d);
    v->isa->interpret(v, 1, x);
    if (!s || d->figures.flushes != flushes)
        return;
    s->quiet = reasons(d) == before ? s->quiet + 1 : 0;
    if (s->quiet >= QUIET_ENOUGH << s->reverted)
        revert(d, tp, s);
}

void dbt_emulate(struct dbt *d, uint32_t argument, struct vm_exit *x)
{
    uint32_t declined = argument & ~DBT_CALLOUT;
    d->figures.declined[declined < DECLINED_MAX ? declined : DECLINED_MAX - 1]++;
    d->v->stats.exits[EXIT_EMULATE]++;
    if (argument & DBT_CALLOUT)
        call_out(d, x);
    else
        d->v->isa->interpret(d->v, 1, x);
}
