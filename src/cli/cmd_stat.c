/* SPDX-License-Identifier: MIT */
/* `ring3 stat [--json] [--interval D] [--count N] SOCKET`: what a running ring3 does per second, by
 * the difference of its statistics. On a terminal one table that is drawn over; elsewhere one after
 * the other. With --json a line per interval, of all figures as they are. */
#include "cli/cli.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/client.h"

#define COUNT_FOR_EVER UINT64_MAX

struct stat_options {
    const char *socket;
    bool json;
    uint64_t interval_ns, count;
};

/* Rows of the table: figures that count up, shown as so many a second; a name that ends in a dot
 * stands for all that begin so. */
static const char *const rates[] = {
    "instructions", "exit_", "fault_", "dbt_exit_", "dbt_fault_", "view_fills", "virtio", "drive",
    "net",          "nic",   "e1000",  "rtl8139",   "ne2k",       "pcnet",      "ide",
};
static const char *const levels[] = {"ram_touched_mib", "resident_beyond_mib", "host_cpu_s"};

static json_t *fetch(FILE *f, struct err *e)
{
    json_t *request = json_pack("{s:s}", "command", "stats");
    json_t *answer = client_ask(f, request, NULL, e);
    json_t *result = json_incref(json_object_get(answer, "result"));
    json_decref(request);
    json_decref(answer);
    if (answer && !json_is_object(result)) {
        err_set(e, EPROTO, "control-socket", "the other ring3 sent no statistics");
        json_decref(result);
        return NULL;
    }
    return result;
}

static bool is_rate(const char *name)
{
    for (unsigned i = 0; i < ARRAY_LEN(rates); i++)
        if (!strncmp(name, rates[i], strlen(rates[i])))
            return true;
    return false;
}

static unsigned print_rates(json_t *before, json_t *now, double seconds)
{
    const char *name;
    json_t *value;
    unsigned lines = 0;
    json_object_foreach(now, name, value)
    {
        double x = json_number_value(value), old = json_number_value(json_object_get(before, name));
        if (is_rate(name) && x > old) {
            printf("  %-28s %14.0f /s\033[K\n", name, (x - old) / seconds);
            lines++;
        }
    }
    return lines;
}

static unsigned print_table(json_t *before, json_t *now, double seconds)
{
    double idle = json_number_value(json_object_get(now, "time_idle_s")) -
                  json_number_value(json_object_get(before, "time_idle_s"));
    double cpu = json_number_value(json_object_get(now, "host_cpu_s")) -
                 json_number_value(json_object_get(before, "host_cpu_s"));
    const char *engine = json_string_value(json_object_get(now, "engine"));
    printf("engine %s, guest busy %3.0f%%, host processor %3.0f%%\033[K\n", engine ? engine : "?",
           100 * (1 - idle / seconds), 100 * cpu / seconds);
    unsigned lines = 1;
    for (unsigned i = 0; i < ARRAY_LEN(levels); i++, lines++)
        printf("  %-28s %14.1f\033[K\n", levels[i],
               json_number_value(json_object_get(now, levels[i])));
    return lines + print_rates(before, now, seconds);
}

static void wait_ns(uint64_t ns)
{
    struct timespec t = {(time_t)(ns / NS_PER_SEC), (long)(ns % NS_PER_SEC)};
    nanosleep(&t, NULL);
}

static double seconds_of(const json_t *now, const json_t *before)
{
    double s = json_number_value(json_object_get(now, "time_total_s")) -
               json_number_value(json_object_get(before, "time_total_s"));
    return s > 0 ? s : 1;
}

static int print_json(const json_t *now)
{
    json_dumpf(now, stdout, JSON_COMPACT);
    putchar('\n');
    return fflush(stdout) ? -errno : 0;
}

static int watch(FILE *f, const struct stat_options *o, struct err *e)
{
    bool over = isatty(STDOUT_FILENO);
    json_t *before = fetch(f, e);
    unsigned lines = 0;
    for (uint64_t n = 0; before && n < o->count; n++) {
        wait_ns(o->interval_ns);
        json_t *now = fetch(f, e);
        if (!now)
            break;
        if (o->json) {
            print_json(now);
        } else {
            if (over && lines)
                printf("\033[%uA", lines);
            lines = print_table(before, now, seconds_of(now, before));
            printf("%s", over ? "\033[J" : "");
            fflush(stdout);
        }
        json_decref(before);
        before = now;
    }
    json_decref(before);
    return e->errnum ? -e->errnum : 0;
}

static int parse(struct stat_options *o, int argc, char **argv, struct err *e)
{
    static const struct option longs[] = {{"json", no_argument, NULL, 'j'},
                                          {"interval", required_argument, NULL, 'i'},
                                          {"count", required_argument, NULL, 'n'},
                                          {0}};
    int value, r = 0;
    opterr = 0;
    optind = 0;
    *o = (struct stat_options){.interval_ns = NS_PER_SEC, .count = COUNT_FOR_EVER};
    while (r == 0 && (value = getopt_long(argc, argv, ":", longs, NULL)) != -1) {
        char *end;
        if (value == 'j')
            o->json = true;
        else if (value == 'i')
            r = parse_duration(optarg, &o->interval_ns, e);
        else if (value == 'n' && (o->count = strtoull(optarg, &end, 10), end != optarg && !*end))
            continue;
        else
            r = -EINVAL;
    }
    if (r == 0 && optind + 1 == argc) {
        o->socket = argv[optind];
        return 0;
    }
    return e->errnum ? -e->errnum
                     : err_set(e, EINVAL, "bad-arguments",
                               "usage: ring3 stat [--json] [--interval 1s] [--count N] SOCKET, "
                               "with the socket of `ring3 run --control`");
}

int cmd_stat(int argc, char **argv)
{
    struct err e = {0};
    struct stat_options o;
    if (parse(&o, argc, argv, &e) < 0)
        return cli_error(&e);
    FILE *f = client_connect(o.socket, &e);
    int r = f ? watch(f, &o, &e) : -e.errnum;
    if (f)
        fclose(f);
    return r < 0 ? cli_error(&e) : cli_flush_stdout();
}
