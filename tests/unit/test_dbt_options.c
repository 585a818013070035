/* SPDX-License-Identifier: MIT */
/* `--dbt LIST`, `--cache SIZE` and `--trace blocks` of cli/options.c. */
#include "unit.h"

#include <errno.h>
#include <stdio.h>

#include "cli/cli.h"
#include "debug/trace.h"

/* Parse "run OPTION VALUE KERNEL". */
static int parse(struct run_options *o, const char *option, const char *value, struct err *e)
{
    char *argv[] = {"run", (char *)option, (char *)value, "kernel", NULL};
    *e = (struct err){0};
    return run_options_parse(o, 4, argv, e);
}

static struct dbt_options good(const char *option, const char *value)
{
    struct run_options o;
    struct err e;
    assert_int_equal(parse(&o, option, value, &e), 0);
    assert_string_equal(o.vm.kernel, "kernel");
    return o.vm.dbt;
}

static void bad(const char *option, const char *value, const char *id, const char *says)
{
    struct run_options o;
    struct err e;
    assert_int_equal(parse(&o, option, value, &e), -EINVAL);
    assert_string_equal(e.id, id);
    assert_non_null(strstr(e.text, says));
}

static void nothing_said_means_defaults(void **state)
{
    struct dbt_options o = good("--mem", "64M"), none = {0};
    assert_memory_equal(&o, &none, sizeof o);
}

/* Each word sets its field and no other. */
static void words_mean_what_they_say(void **state)
{
    static const struct {
        const char *word;
        struct dbt_options want;
    } rows[] = {
        {"auto", {.view = DBT_VIEW_AUTO}},
        {"window", {.view = DBT_VIEW_WINDOW}},
        {"flat", {.view = DBT_VIEW_FLAT}},
        {"nochain", {.no_chain = true}},
        {"noadapt", {.no_adapt = true}},
        {"one", {.max_insns = 1}},
        {"max=1", {.max_insns = 1}},
        {"max=128", {.max_insns = 128}},
        {"trap", {.trap = true}},
        {"count", {.count = true}},
        {"trace-tables", {.trace_tables = true}},
        {"check", {.check_code = true}},
        {"nobmi2", {.no_bmi2 = true}},
        {"nofsgsbase", {.no_fsgsbase = true}},
        {"perf-map", {.perf_map = true}},
        {"flat,one,nochain", {.view = DBT_VIEW_FLAT, .max_insns = 1, .no_chain = true}},
    };
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
        struct dbt_options o = good("--dbt", rows[i].word);
        const struct dbt_options *w = &rows[i].want;
        assert_int_equal(o.view, w->view);
        assert_int_equal(o.max_insns, w->max_insns);
        assert_int_equal(o.cache_bytes, 0);
        assert_false(o.single);
        bool got[] = {o.no_chain,   o.no_adapt, o.trap,        o.count,   o.trace_tables,
                      o.check_code, o.no_bmi2,  o.no_fsgsbase, o.perf_map};
        bool want[] = {w->no_chain,   w->no_adapt, w->trap,        w->count,   w->trace_tables,
                       w->check_code, w->no_bmi2,  w->no_fsgsbase, w->perf_map};
        assert_memory_equal(got, want, sizeof got);
    }
}

static void bad_words_are_named(void **state)
{
    static const char *const words[] = {"",        "winDow", "one ",   "max=",      "max=0",
                                        "max=129", "max=1x", "max=-1", "max=00001", "single"};
    for (unsigned i = 0; i < ARRAY_LEN(words); i++) {
        char quoted[32];
        snprintf(quoted, sizeof quoted, "\"%s\"", words[i]);
        bad("--dbt", words[i], "bad-option", quoted);
    }
    bad("--dbt", "flat,,one", "bad-option", "\"\"");
    bad("--dbt", "flat,", "bad-option", "\"\"");
    bad("--dbt", "flat,wrong,one", "bad-option", "\"wrong\"");
}

static void cache_sizes_have_limits(void **state)
{
    assert_int_equal(good("--cache", "1M").cache_bytes, MIB);
    assert_int_equal(good("--cache", "512M").cache_bytes, 512 * MIB);
    bad("--cache", "1023K", "bad-size", "1M to 512M");
    bad("--cache", "513", "bad-size", "1M to 512M");
    bad("--cache", "much", "bad-size", "much");
}

static void blocks_can_be_traced(void **state)
{
    struct run_options o;
    struct err e;
    assert_int_equal(parse(&o, "--trace", "io,blocks", &e), 0);
    assert_int_equal(o.trace, TRACE_IO | TRACE_BLOCKS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_said_means_defaults), cmocka_unit_test(words_mean_what_they_say),
        cmocka_unit_test(bad_words_are_named),         cmocka_unit_test(cache_sizes_have_limits),
        cmocka_unit_test(blocks_can_be_traced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
