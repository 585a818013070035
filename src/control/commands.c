/* SPDX-License-Identifier: MIT */
/* The commands of the control socket and the monitor: see control.h. A new one is a function and a
 * row. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "control/commands.h"
#include "debug/stats.h"
#include "ring3/snapshot.h"
#include "vm/run.h"

static int cmd_help(struct control_call *c, struct err *e)
{
    for (const struct control_command *k = control_commands; k->name; k++) {
        char usage[64];
        snprintf(usage, sizeof usage, "%s %s", k->name, k->args);
        fprintf(c->out, "%-20s %s\n", usage, k->help);
        json_object_set_new(c->result, k->name, json_string(k->help));
    }
    return 0;
}

static int cmd_pause(struct control_call *c, struct err *e)
{
    if (!vm_is_paused(c->vm))
        vm_pause(c->vm);
    fputs("paused\n", c->out);
    return 0;
}

static int cmd_resume(struct control_call *c, struct err *e)
{
    if (vm_is_paused(c->vm))
        vm_resume(c->vm);
    fputs("running\n", c->out);
    return 0;
}

static int cmd_status(struct control_call *c, struct err *e)
{
    const char *status = vm_is_paused(c->vm) ? "paused" : "running";
    fprintf(c->out, "%s\n", status);
    json_object_set_new(c->result, "status", json_string(status));
    return 0;
}

/* The disks that the snapshot only names. */
static void warn_of_disks(struct control_call *c)
{
    for (unsigned i = 0; i < c->vm->config.drives; i++) {
        const struct block *b = c->vm->drive[i];
        if (b && !b->info.read_only && !c->vm->config.drive[i].image.snapshot)
            fprintf(c->out,
                    "the contents of %s are not in it: it can be restored for as long as that does "
                    "not change\n",
                    b->info.name);
    }
}

static int cmd_snapshot(struct control_call *c, struct err *e)
{
    struct snapshot_progress progress = {c->progress, c->progress_opaque};
    const char *path = c->argv[1];
    struct stat st;
    vm_pause(c->vm);
    uint64_t start = host_now_ns();
    int r = snapshot_save(c->vm, path, &progress, e);
    uint64_t ns = host_now_ns() - start;
    vm_resume(c->vm);
    if (r < 0)
        return r;
    uint64_t bytes = stat(path, &st) == 0 ? (uint64_t)st.st_size : 0;
    uint64_t used = phys_host_pages_touched(c->vm->mem) * PAGE_BYTES;
    fprintf(c->out, "%s: %.1f MiB for %.1f MiB of memory in use, in %.2f s\n", path,
            (double)bytes / (double)MIB, (double)used / (double)MIB, (double)ns / 1e9);
    warn_of_disks(c);
    json_object_set_new(c->result, "bytes", json_integer((json_int_t)bytes));
    json_object_set_new(c->result, "memory_bytes", json_integer((json_int_t)used));
    json_object_set_new(c->result, "seconds", json_real((double)ns / 1e9));
    return 0;
}

static int cmd_power_button(struct control_call *c, struct err *e)
{
    const struct board_ops *b = c->vm->config.board;
    if (!b->power_button)
        return err_set(e, ENOTSUP, "no-power-button", "board %s has no power button", b->name);
    b->power_button(c->vm);
    return 0;
}

static int cmd_stats(struct control_call *c, struct err *e)
{
    char *text = NULL;
    size_t size;
    FILE *f = open_memstream(&text, &size);
    if (!f)
        return err_set(e, ENOMEM, "no-memory", "no memory for statistics");
    stats_print_json(c->vm, f);
    fclose(f);
    json_t *all = json_loads(text, 0, NULL);
    if (all)
        json_object_update(c->result, all);
    json_decref(all);
    free(text);
    stats_print(c->vm, c->out);
    return 0;
}

static int cmd_quit(struct control_call *c, struct err *e)
{
    char *end = NULL;
    unsigned long code = c->argc > 1 ? strtoul(c->argv[1], &end, 10) : 0;
    if (end && (*end || end == c->argv[1] || code > 119))
        return err_set(e, EINVAL, "bad-argument", "the exit code is a number from 0 to 119");
    vm_stop(c->vm, (int)code, "user-quit", "ended by \"%s\" on the control socket", c->argv[0]);
    return 0;
}

const struct control_command control_commands[] = {
    {"help", "", "this list", 0, 0, cmd_help},
    {"status", "", "running or paused", 0, 0, cmd_status},
    {"pause", "", "stop the guest and its clock", 0, 0, cmd_pause},
    {"resume", "", "let a paused guest go on", 0, 0, cmd_resume},
    {"snapshot", "FILE", "write the whole machine to FILE, for `ring3 restore`", 1, 1,
     cmd_snapshot},
    {"power-button", "", "press the power button; systems then shut down", 0, 0, cmd_power_button},
    {"info", "[TOPIC]", "a look into the machine; \"info\" lists topics", 0, 2, control_info},
    {"x", "ADDRESS [BYTES]", "memory at a linear address", 1, 2, control_dump_linear},
    {"xp", "ADDRESS [BYTES]", "memory at a guest-physical address", 1, 2, control_dump_physical},
    {"screen", "", "the screen as text", 0, 0, control_screen},
    {"screenshot", "FILE", "the screen as a PNG file", 1, 1, control_screenshot},
    {"type", "KEYS...", "type text and keys such as <enter>; `ring3 help screen`", 1, 15,
     control_type},
    {"balloon", "[MIB]", "have the guest do without MIB of memory; or how it is", 0, 1,
     control_balloon},
    {"change", "DRIVE FILE", "put another disc into a CD-ROM or floppy drive", 2, 2,
     control_change},
    {"eject", "DRIVE", "take the disc out of it; \"info block\" numbers drives", 1, 1,
     control_eject},
    {"reset", "", "press the reset button", 0, 0, control_reset},
    {"nmi", "", "a non-maskable interrupt", 0, 0, control_nmi},
    {"stats", "", "what the guest did, in numbers", 0, 0, cmd_stats},
    {"stop", "", "cut the guest's power: ring3 ends with exit code 0", 0, 0, cmd_quit},
    {"quit", "[CODE]", "the same, with this exit code", 0, 1, cmd_quit},
    {0},
};

int control_run(struct control_call *c, struct err *e)
{
    const struct control_command *k = control_commands;
    while (k->name && strcmp(k->name, c->argv[0]) != 0)
        k++;
    if (!k->name)
        return err_set(e, ENOENT, "unknown-command", "there is no command \"%s\"; see \"help\"",
                       c->argv[0]);
    if (c->argc - 1 < k->min_args || c->argc - 1 > k->max_args)
        return err_set(e, EINVAL, "bad-arguments", "usage: %s %s", k->name, k->args);
    return k->fn(c, e);
}

int control_run_line(struct control_call *c, const char *line, struct err *e)
{
    enum { WORDS = 16, BYTES = 1024 };
    char copy[BYTES], *save = NULL;
    const char *words[WORDS];
    if (strlen(line) >= sizeof copy)
        return err_set(e, E2BIG, "bad-command", "a command has at most %d characters", BYTES - 1);
    strcpy(copy, line);
    c->argc = 0;
    c->argv = words;
    for (char *w = strtok_r(copy, " \t\r\n", &save); w; w = strtok_r(NULL, " \t\r\n", &save)) {
        if (c->argc == WORDS)
            return err_set(e, E2BIG, "bad-command", "a command has at most %d words", WORDS);
        words[c->argc++] = w;
    }
    return c->argc ? control_run(c, e) : 0;
}
