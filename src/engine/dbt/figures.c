/* SPDX-License-Identifier: MIT */
/* What the engine has to say for `--stats`. Read while the processor runs it is only a glance. */
#include <ctype.h>
#include <stdio.h>

#include "engine/dbt/dbt.h"

#define TOP 8

static void add(const struct figure_sink *to, const char *name, double value, int decimals,
                const char *unit)
{
    to->add(to->opaque, name, value, decimals, unit);
}

static void add_counts(const struct figure_sink *to, const char *prefix, const char *const *names,
                       const uint64_t *counts, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        char name[32];
        snprintf(name, sizeof name, "%s%s", prefix, names[i]);
        if (names[i])
            add(to, name, (double)counts[i], 0, "");
    }
}

static double ratio(uint64_t a, uint64_t b)
{
    return b ? (double)a / (double)b : 0;
}

/* Per cent of `all` that are not `some`. */
static double rest(uint64_t some, uint64_t all)
{
    return some < all ? 100 * (1 - ratio(some, all)) : 0;
}

static void add_translation(const struct figure_sink *to, const struct dbt *d)
{
    const struct dbt_figures *f = &d->figures;
    add(to, "dbt_translations", (double)f->translations, 0, "");
    add(to, "dbt_straddles", (double)f->straddles, 0, "instructions that cross a page");
    add(to, "dbt_instructions", (double)f->instructions, 0, "translated");
    add(to, "dbt_guest_bytes", (double)f->guest_bytes, 0, "translated");
    add(to, "dbt_host_bytes", (double)f->host_bytes, 0, "made of them");
    add(to, "dbt_copied", 100 * ratio(f->copied, f->instructions), 1, "% copied: same operation");
    add(to, "dbt_ident", 100 * ratio(f->identical, f->instructions), 1, "% without any change");
    add(to, "dbt_expansion", ratio(f->host_bytes, f->guest_bytes), 2, "host bytes per guest byte");
    add(to, "dbt_cycles_per_insn", ratio(f->cycles, f->timed_instructions), 0, "TSC, to translate");
    add(to, "dbt_cache_used", (double)d->cache.used, 0, "bytes");
    add(to, "dbt_flushes", (double)f->flushes, 0, "of the whole cache");
    add(to, "dbt_links", (double)f->links, 0, "direct jumps patched");
    add(to, "dbt_lookups", (double)f->lookups, 0, "dispatcher's slow path");
}

static void add_exits(const struct figure_sink *to, const struct dbt *d)
{
    static const char *const kinds[] = {
        [DBT_EXIT_MISS] = "miss",         [DBT_EXIT_LINK] = "link",
        [DBT_EXIT_EMULATE] = "emulate",   [DBT_EXIT_ATTENTION] = "attention",
        [DBT_EXIT_SHADOWED] = "shadowed", [DBT_EXIT_FAULT] = "fault",
        [DBT_EXIT_ABORTED] = "aborted",
    };
    const struct dbt_figures *f = &d->figures;
    add(to, "dbt_entries", (double)f->entries, 0, "of generated code");
    add_counts(to, "dbt_exit_", kinds, f->exits, ARRAY_LEN(kinds));
    add(to, "dbt_unfit", (double)f->unfit, 0, "slices interpreted: state not for translation");
    add(to, "dbt_unfetchable", (double)f->unfetchable, 0, "instructions interpreted: no code");
    add(to, "dbt_kicks", (double)f->kicks, 0, "that met generated code");
    add(to, "dbt_steps", (double)f->steps, 0, "single steps for them");
}

/* How much the monitor has to do with running instructions. All but the first two need generated
 * code that counts (--dbt count). */
static void add_shares(const struct figure_sink *to, const struct dbt *d)
{
    const struct dbt_figures *f = &d->figures;
    uint64_t all = d->v->stats.instructions, interpreted = d->v->stats.interpreted;
    add(to, "dbt_interpreted", (double)interpreted, 0, "instructions");
    add(to, "dbt_found", rest(f->translations, f->entries + f->unfetchable), 2,
        "% of the dispatcher's questions");
    if (!d->o.count)
        return;
    add(to, "dbt_entries_per_minsn", ratio(f->entries, all) * 1e6, 1, "per million instructions");
    add(to, "dbt_share_translated", rest(interpreted, all), 3, "% of instructions run translated");
    add(to, "dbt_unaided", rest(interpreted + f->entries, all), 3, "% without monitor entry");
    add(to, "dbt_hit_rate", rest(f->instructions, all - interpreted), 3,
        "% of them found in the cache");
}

static void add_adaptation(const struct figure_sink *to, const struct dbt *d)
{
    static const char *const verdicts[] = {
        [DBT_RESUME] = "resume", [DBT_INTERPRET] = "interpret", [DBT_DEVICE] = "device",
        [DBT_TRACED] = "traced", [DBT_FOREIGN] = "foreign",     [DBT_TRAPPED] = "trapped",
    };
    static const char *const reasons[] = {[DBT_DEVICE] = "device",
                                          [DBT_TRACED] = "traced",
                                          [DBT_FOREIGN] = "foreign",
                                          [DBT_TRAPPED] = "trapped"};
    const struct dbt_figures *f = &d->figures;
    add_counts(to, "dbt_fault_", verdicts, f->verdicts, ARRAY_LEN(verdicts));
    add_counts(to, "dbt_again_", reasons, f->retranslated, ARRAY_LEN(reasons));
    add(to, "dbt_reverted", (double)f->reverted, 0, "call-outs without reason");
    add(to, "dbt_invalidated", (double)f->invalidated, 0, "pages whose code was overwritten");
    add(to, "dbt_written_far", (double)f->written_far, 0, "stores of devices to code pages");
}

/* A name that scripts can live with, "declined_mov_cr". */
static void name_declined(const struct dbt *d, unsigned argument, char *name, size_t size)
{
    const char *what = d->isa->declined_name ? d->isa->declined_name(argument) : NULL;
    if (what)
        snprintf(name, size, "declined_%s", what);
    else
        snprintf(name, size, "declined_%u", argument);
    for (; *name; name++)
        if (!isalnum((unsigned char)*name))
            *name = '_';
}

/* The most frequent declined instructions. */
static void add_declined(const struct figure_sink *to, const struct dbt *d)
{
    const uint64_t *count = d->figures.declined;
    uint64_t below = UINT64_MAX;
    unsigned shown = 0;
    while (shown < TOP) {
        uint64_t best = 0;
        for (unsigned i = 0; i < DECLINED_MAX; i++)
            if (count[i] < below && count[i] > best)
                best = count[i];
        if (!best)
            return;
        for (unsigned i = 0; i < DECLINED_MAX && shown < TOP; i++) {
            if (count[i] != best)
                continue;
            char name[32];
            name_declined(d, i, name, sizeof name);
            add(to, name, (double)best, 0, "");
            shown++;
        }
        below = best;
    }
}

void dbt_figures(const struct vcpu *v, const struct figure_sink *to)
{
    const struct dbt *d = v->engine_state;
    if (!d)
        return;
    add_translation(to, d);
    add_exits(to, d);
    add_shares(to, d);
    add_adaptation(to, d);
    if (d->isa->figures)
        d->isa->figures(v, to);
    add_declined(to, d);
}
