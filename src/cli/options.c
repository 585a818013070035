/* SPDX-License-Identifier: MIT */
/* The options of `ring3 run`. GNU getopt_long does the splitting; what each option means is a
 * row of a table and a small function. Options and KERNEL may come in any order. */
#include "cli/cli.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "board/boards.h"
#include "boot/boot.h"
#include "debug/trace.h"
#include "engine/engines.h"

static int set_ram(struct run_options *o, const char *arg, struct err *e)
{
    return parse_size(arg, &o->vm.ram_bytes, e);
}

static int set_initrd(struct run_options *o, const char *arg, struct err *e)
{
    o->vm.initrd = arg;
    return 0;
}

static int set_append(struct run_options *o, const char *arg, struct err *e)
{
    o->vm.append = arg;
    return 0;
}

static int set_engine(struct run_options *o, const char *arg, struct err *e)
{
    o->vm.engine = engine_find(arg);
    if (o->vm.engine || strcmp(arg, "auto") == 0)
        return 0;
    return err_set(e, EINVAL, "unknown-engine",
                   "there is no engine \"%s\"; `ring3 doctor` lists them, auto takes the first "
                   "that can run",
                   arg);
}

static int set_board(struct run_options *o, const char *arg, struct err *e)
{
    o->vm.board = board_find(arg);
    o->board_given = true;
    if (o->vm.board)
        return 0;
    return err_set(e, EINVAL, "unknown-board",
                   "there is no board \"%s\"; `ring3 machines` lists them", arg);
}

static int set_timeout(struct run_options *o, const char *arg, struct err *e)
{
    return parse_duration(arg, &o->timeout_ns, e);
}

static int add_pattern(const char **list, unsigned *count, const char *arg, struct err *e)
{
    if (*count == CLI_MAX_PATTERNS)
        return err_set(e, EINVAL, "too-many-patterns",
                       "at most %d --expect and %d --fail-on options", CLI_MAX_PATTERNS,
                       CLI_MAX_PATTERNS);
    list[(*count)++] = arg;
    return 0;
}

static int add_expect(struct run_options *o, const char *arg, struct err *e)
{
    return add_pattern(o->expect, &o->expect_count, arg, e);
}

static int add_fail_on(struct run_options *o, const char *arg, struct err *e)
{
    return add_pattern(o->fail_on, &o->fail_on_count, arg, e);
}

static int set_stats(struct run_options *o, const char *arg, struct err *e)
{
    o->stats = arg ? STATS_JSON : STATS_TABLE;
    if (arg && strcmp(arg, "json") != 0)
        return err_set(e, EINVAL, "bad-option",
                       "--stats takes nothing or =json, not \"=%s\"; see `ring3 --help`", arg);
    return 0;
}

static int set_trace(struct run_options *o, const char *arg, struct err *e)
{
    return trace_parse(arg, &o->trace, e);
}

static int set_clock(struct run_options *o, const char *arg, struct err *e)
{
    if (strcmp(arg, "real") == 0)
        o->vm.clock = CLOCK_REAL_TIME;
    else if (strcmp(arg, "virtual") == 0)
        o->vm.clock = CLOCK_VIRTUAL;
    else
        return err_set(e, EINVAL, "bad-option", "--clock is real or virtual, not \"%s\"", arg);
    return 0;
}

static int set_cache(struct run_options *o, const char *arg, struct err *e)
{
    int r = parse_size(arg, &o->vm.dbt.cache_bytes, e);
    if (r == 0 && (o->vm.dbt.cache_bytes < MIB || o->vm.dbt.cache_bytes > DBT_CODE_LIMIT))
        return err_set(e, EINVAL, "bad-size", "--cache takes 1M to %" PRIu64 "M, not \"%s\"",
                       (uint64_t)(DBT_CODE_LIMIT / MIB), arg);
    return r;
}

/* Words of --dbt that only set a flag. */
static const struct dbt_word {
    const char *word;
    size_t flag; /* offset of a bool in struct dbt_options */
} dbt_words[] = {
    {"nochain", offsetof(struct dbt_options, no_chain)},
    {"noadapt", offsetof(struct dbt_options, no_adapt)},
    {"trap", offsetof(struct dbt_options, trap)},
    {"count", offsetof(struct dbt_options, count)},
    {"trace-tables", offsetof(struct dbt_options, trace_tables)},
    {"check", offsetof(struct dbt_options, check_code)},
    {"nobmi2", offsetof(struct dbt_options, no_bmi2)},
    {"nofsgsbase", offsetof(struct dbt_options, no_fsgsbase)},
    {"perf-map", offsetof(struct dbt_options, perf_map)},
};

/* "max=N" */
static bool parse_max(const char *word, size_t n, uint16_t *max)
{
    unsigned x = 0;
    if (n < 5 || n > 7 || memcmp(word, "max=", 4) != 0)
        return false;
    for (size_t i = 4; i < n; i++) {
        if (word[i] < '0' || word[i] > '9')
            return false;
        x = x * 10 + (unsigned)(word[i] - '0');
    }
    *max = (uint16_t)x;
    return x >= 1 && x <= TB_MAX_INSNS;
}

static bool set_dbt_word(struct dbt_options *d, const char *word, size_t n)
{
    static const char *const views[] = {
        [DBT_VIEW_AUTO] = "auto", [DBT_VIEW_WINDOW] = "window", [DBT_VIEW_FLAT] = "flat"};
    for (unsigned i = 0; i < ARRAY_LEN(views); i++)
        if (strlen(views[i]) == n && memcmp(word, views[i], n) == 0) {
            d->view = (enum dbt_view)i;
            return true;
        }
    for (unsigned i = 0; i < ARRAY_LEN(dbt_words); i++)
        if (strlen(dbt_words[i].word) == n && memcmp(word, dbt_words[i].word, n) == 0) {
            *(bool *)((char *)d + dbt_words[i].flag) = true;
            return true;
        }
    if (n == 3 && memcmp(word, "one", 3) == 0) {
        d->max_insns = 1;
        return true;
    }
    return parse_max(word, n, &d->max_insns);
}

static int set_dbt(struct run_options *o, const char *arg, struct err *e)
{
    const char *at = arg;
    do {
        size_t n = strcspn(at, ",");
        if (!set_dbt_word(&o->vm.dbt, at, n))
            return err_set(e, EINVAL, "bad-option",
                           "--dbt does not know \"%.*s\"; it knows auto, window, flat, nochain, "
                           "one, max=1 to max=%u, noadapt, trap, count, trace-tables, check, "
                           "nobmi2, nofsgsbase and perf-map, with commas between",
                           (int)n, at, TB_MAX_INSNS);
        at += n;
    } while (*at++);
    return 0;
}

static int set_reboot(struct run_options *o, const char *arg, struct err *e)
{
    o->vm.allow_reboot = true;
    return 0;
}

static int set_firmware(struct run_options *o, const char *arg, struct err *e)
{
    o->vm.firmware = true;
    return 0;
}

static int set_bios(struct run_options *o, const char *arg, struct err *e)
{
    o->vm.firmware = true;
    o->vm.bios = arg;
    return 0;
}

static int set_boot(struct run_options *o, const char *arg, struct err *e)
{
    return parse_boot_order(arg, o->vm.boot, &o->vm.boot_menu, e);
}

static int set_control(struct run_options *o, const char *arg, struct err *e)
{
    o->control = arg;
    return 0;
}

static int set_gdb(struct run_options *o, const char *arg, struct err *e)
{
    o->gdb = arg;
    return 0;
}

static int set_stopped(struct run_options *o, const char *arg, struct err *e)
{
    o->stopped = true;
    return 0;
}

static int set_force(struct run_options *o, const char *arg, struct err *e)
{
    o->force = true;
    return 0;
}

static int set_help(struct run_options *o, const char *arg, struct err *e)
{
    o->help = true;
    return 0;
}

#define GDB_DEFAULT "1234" /* -s, as other monitors have it */

/* Row N is getopt value FIRST_VALUE + N. */
#define FIRST_VALUE 256
static const struct row {
    const char *name;
    int has_arg;
    int (*set)(struct run_options *o, const char *arg, struct err *e);
    bool restore; /* `ring3 restore` has it, too */
} rows[] = {
    {"mem", required_argument, set_ram},
    {"initrd", required_argument, set_initrd},
    {"append", required_argument, set_append},
    {"engine", required_argument, set_engine, true},
    {"board", required_argument, set_board},
    {"timeout", required_argument, set_timeout, true},
    {"expect", required_argument, add_expect, true},
    {"fail-on", required_argument, add_fail_on, true},
    {"stats", optional_argument, set_stats, true},
    {"trace", required_argument, set_trace, true},
    {"clock", required_argument, set_clock},
    {"reboot", no_argument, set_reboot, true},
    {"dbt", required_argument, set_dbt, true},
    {"cache", required_argument, set_cache, true},
    {"disk", required_argument, option_disk},
    {"cdrom", required_argument, option_cdrom},
    {"floppy", required_argument, option_floppy},
    {"snapshot", no_argument, option_snapshot},
    {"firmware", no_argument, set_firmware},
    {"bios", required_argument, set_bios},
    {"boot", required_argument, set_boot},
    {"net", required_argument, option_net},
    {"share", required_argument, option_share},
    {"virtio", required_argument, option_virtio},
    {"control", required_argument, set_control, true},
    {"gdb", required_argument, set_gdb, true},
    {"stopped", no_argument, set_stopped, true},
    {"force", no_argument, set_force, true},
    {"display", required_argument, option_display, true},
    {"expect-screen", required_argument, option_expect_screen, true},
    {"type", required_argument, option_type, true},
    {"screenshot", required_argument, option_screenshot, true},
    {"help", no_argument, set_help, true},
};

static int bad_option(int argc, char **argv, int value, struct err *e)
{
    const char *word = optind > 0 && optind <= argc ? argv[optind - 1] : "";
    if (value == ':')
        return err_set(e, EINVAL, "bad-option",
                       "option %s needs a value behind it; see `ring3 --help`", word);
    if (optopt > 0 && optopt < FIRST_VALUE)
        return err_set(e, EINVAL, "unknown-option",
                       "`ring3 run` has no option -%c; see `ring3 --help`", optopt);
    if (optopt >= FIRST_VALUE)
        return err_set(e, EINVAL, "bad-option", "option %s takes no value; see `ring3 --help`",
                       word);
    return err_set(e, EINVAL, "unknown-option",
                   "`ring3 run` has no option %s, or it is short for several; see "
                   "`ring3 --help`",
                   word);
}

/* Without --board the kernel says which: the first that runs its kind. What no loader knows is left
 * to the board's own, whose error says more. */
static int settle_board(struct run_options *o, struct err *e)
{
    enum guest_arch arch = o->vm.kernel ? boot_kernel_arch(o->vm.kernel) : ARCH_UNKNOWN;
    const struct board_ops *fits = board_for(arch);
    if (arch == ARCH_UNKNOWN || arch == o->vm.board->arch)
        return 0;
    if (!fits)
        return err_set(e, ENOEXEC, "kernel-format",
                       "%s: a kernel for %s, which no board runs; `ring3 machines` lists them",
                       o->vm.kernel, boot_arch_name(arch));
    if (o->board_given)
        return err_set(e, ENOEXEC, "kernel-format",
                       "%s: a kernel for %s; board %s runs kernels for %s. Leave --board out, or "
                       "say --board %s",
                       o->vm.kernel, boot_arch_name(arch), o->vm.board->name,
                       boot_arch_name(o->vm.board->arch), fits->name);
    o->vm.board = fits;
    return 0;
}

static int check(struct run_options *o, int argc, char **argv, struct err *e)
{
    if (optind + 1 < argc)
        return err_set(
            e, EINVAL, "too-many-arguments",
            "one KERNEL or IMAGE, please: found \"%s\" and \"%s\"; quote what belongs to "
            "--append",
            argv[optind], argv[optind + 1]);
    if (drives_settle(o, optind < argc ? argv[optind] : NULL, e) < 0)
        return -e->errnum;
    nets_settle(o);
    if (settle_board(o, e) < 0)
        return -e->errnum;
    const struct board_ops *b = o->vm.board;
    if (o->vm.ram_bytes < b->min_ram || o->vm.ram_bytes > b->max_ram)
        return err_set(e, EINVAL, "ram-size",
                       "board %s takes %" PRIu64 "M to %" PRIu64 "M of RAM; -m asks for %" PRIu64
                       "K",
                       b->name, b->min_ram / MIB, b->max_ram / MIB, o->vm.ram_bytes / KIB);
    if (o->vm.ram_bytes % PAGE_BYTES)
        return err_set(e, EINVAL, "ram-size", "RAM comes in pages of 4K; -m asks for %" PRIu64 "K",
                       o->vm.ram_bytes / KIB);
    return 0;
}

static int check_restore(struct run_options *o, int argc, char **argv, struct err *e)
{
    if (optind + 1 != argc)
        return err_set(e, EINVAL, "no-snapshot", "usage: ring3 restore [OPTIONS] FILE");
    o->restore = argv[optind];
    return 0;
}

static int set_row(struct run_options *o, const struct row *row, bool restore, struct err *e)
{
    if (restore && !row->restore)
        return err_set(e, EINVAL, "bad-option",
                       "`ring3 restore` has no option --%s: the machine is the one in the snapshot",
                       row->name);
    return row->set(o, optarg, e);
}

int run_options_parse(struct run_options *o, int argc, char **argv, struct err *e)
{
    bool restore = strcmp(argv[0], "restore") == 0;
    *o = (struct run_options){.vm = {.board = boards[0],
                                     .engine = NULL, /* auto */
                                     .clock = CLOCK_REAL_TIME,
                                     .ram_bytes = CLI_DEFAULT_RAM,
                                     .append = ""}};
    struct option longs[ARRAY_LEN(rows) + 1] = {{0}};
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++)
        longs[i] = (struct option){rows[i].name, rows[i].has_arg, NULL, FIRST_VALUE + (int)i};
    opterr = 0;
    optind = 0; /* GNU: start afresh */
    int value, r = 0;
    while (r == 0 && (value = getopt_long(argc, argv, ":m:hsS", longs, NULL)) != -1) {
        if (value == 'm')
            r = set_row(o, &rows[0], restore, e);
        else if (value == 'h')
            o->help = true;
        else if (value == 's')
            o->gdb = GDB_DEFAULT;
        else if (value == 'S')
            o->stopped = true;
        else if (value >= FIRST_VALUE)
            r = set_row(o, &rows[value - FIRST_VALUE], restore, e);
        else
            r = bad_option(argc, argv, value, e);
    }
    if (r < 0 || o->help)
        return r;
    if (o->stopped && !o->gdb)
        return err_set(e, EINVAL, "bad-option",
                       "--stopped waits for a debugger, but no --gdb says where it can connect");
    return restore ? check_restore(o, argc, argv, e) : check(o, argc, argv, e);
}
