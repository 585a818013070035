/* SPDX-License-Identifier: MIT */
/* The command line. One function per command; each returns the process's exit code. */
#ifndef RING3_CLI_CLI_H
#define RING3_CLI_CLI_H

#include "ring3/err.h"
#include "ring3/types.h"
#include "ring3/vm.h"

#define RING3_VERSION    "0.1.0"
#define CLI_DEFAULT_RAM  (256 * MIB)
#define CLI_MAX_PATTERNS 16
#define CLI_MAX_STEPS    32 /* --expect-screen and --type */

/* argc and argv as main() got them. */
int cli_main(int argc, char **argv);

enum stats_form { STATS_NONE, STATS_TABLE, STATS_JSON };

/* What concerns the screen: cli/screen.h. */
struct screen_step {
    bool type; /* keys, else a pattern */
    const char *text;
};
struct screen_options {
    enum { SCREEN_NONE, SCREEN_TEXT, SCREEN_VNC } display;
    const char *vnc;        /* where */
    const char *screenshot; /* file, or NULL */
    struct screen_step step[CLI_MAX_STEPS];
    unsigned steps;
};

/* What `ring3 run` was asked to do. Strings point into argv. */
struct run_options {
    struct vm_config vm;
    uint64_t timeout_ns; /* 0: none */
    const char *expect[CLI_MAX_PATTERNS], *fail_on[CLI_MAX_PATTERNS];
    unsigned expect_count, fail_on_count;
    enum stats_form stats;
    uint32_t trace; /* TRACE_* */
    struct screen_options screen;
    bool help;
    const char *control; /* Unix socket for commands, or NULL */
    const char *gdb;     /* where to wait for a debugger, or NULL */
    bool stopped;        /* the guest waits for it */
    const char *restore; /* the snapshot to start from, or NULL */
    bool force;          /* restore it although disk images have changed */
    char decided[160]; /* what drives_settle() made of the argument, if that was not plain; or "" */
    bool snapshot;     /* of all drives */
    char *drive_file[VM_MAX_DRIVES];     /* names that vm.drive[] points to; owned */
    char *share_text[2 * VM_MAX_SHARES]; /* what vm.share[] points to; owned */
    bool net_given;                      /* some --net option */
    bool board_given;
};

/* argv[0] is "run" or "restore". 0 or -EINVAL. */
int run_options_parse(struct run_options *o, int argc, char **argv, struct err *e);
void run_options_free(struct run_options *o);

/* options_display.c: those of the screen. */
int option_display(struct run_options *o, const char *arg, struct err *e);
int option_expect_screen(struct run_options *o, const char *arg, struct err *e);
int option_type(struct run_options *o, const char *arg, struct err *e);
int option_screenshot(struct run_options *o, const char *arg, struct err *e);

/* options_drive.c: the options that name drives, and what follows from all of them. */
int option_disk(struct run_options *o, const char *arg, struct err *e);
int option_cdrom(struct run_options *o, const char *arg, struct err *e);
int option_floppy(struct run_options *o, const char *arg, struct err *e);
int option_snapshot(struct run_options *o, const char *arg, struct err *e);
/* The argument without an option, if there is one: a kernel, or a drive for the guest to start
 * from. Then what concerns all drives. */
/* options_virtio.c */
int option_virtio(struct run_options *o, const char *arg, struct err *e);
int drives_settle(struct run_options *o, char *argument, struct err *e);

/* The file name in front of an option's words: doubled commas become one. *rest: behind the name
 * and its comma, or the end. To be freed; NULL: no memory. */
char *option_take_name(const char *arg, const char **rest);

int option_share(struct run_options *o, const char *arg, struct err *e); /* options_share.c */

/* options_net.c */
int option_net(struct run_options *o, const char *arg, struct err *e);
void nets_settle(struct run_options *o);

/* "128M", "2G", "131072K", or a plain number of MiB. 0 or -EINVAL. */
int parse_size(const char *text, uint64_t *bytes, struct err *e);
/* "30", "30s", "500ms", "2m", "1h"; more than zero. 0 or -EINVAL. */
int parse_duration(const char *text, uint64_t *ns, struct err *e);
/* "cdrom,disk", or letters as of old: "dc". Unused places become BOOT_NONE. The word "menu" among
 * them sets *menu. 0 or -EINVAL. */
int parse_boot_order(const char *text, enum boot_device order[VM_MAX_BOOT], bool *menu,
                     struct err *e);

/* Commands; argv[0] is the command's name. */
int cmd_run(int argc, char **argv); /* and restore */
int cmd_snapshot(int argc, char **argv);
int cmd_image(int argc, char **argv);
int cmd_stat(int argc, char **argv);
int cmd_doctor(int argc, char **argv);
int cmd_machines(int argc, char **argv);
int cmd_version(int argc, char **argv);
int cmd_help(int argc, char **argv);

/* Print "ring3: error [id] text" on stderr and return the exit code that fits e->errnum. */
int cli_error(const struct err *e);
/* Flush stdout; returns 0, or VM_EXIT_FAILURE after an error line if it cannot be written. */
int cli_flush_stdout(void);

#endif
