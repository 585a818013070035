/* SPDX-License-Identifier: MIT */
/* The command line's front: find the command, print errors, and the commands that only print. */
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "board/boards.h"

static const struct command {
    const char *name;
    int (*run)(int argc, char **argv);
} commands[] = {
    {"run", cmd_run},         {"doctor", cmd_doctor},     {"machines", cmd_machines},
    {"version", cmd_version}, {"help", cmd_help},         {"--help", cmd_help},
    {"-h", cmd_help},         {"--version", cmd_version},
};

static int exit_code_for(int errnum)
{
    switch (errnum) {
    case ENOENT:
    case ENOTDIR:
        return VM_EXIT_NOT_FOUND;
    case ENOSYS:
    case ENODEV:
    case EOPNOTSUPP:
        return VM_EXIT_HOST;
    default:
        return VM_EXIT_FAILURE;
    }
}

int cli_error(const struct err *e)
{
    struct log l = {LOG_ERROR, STDERR_FILENO};
    log_line(&l, LOG_ERROR, e->id, "%s", e->text);
    return exit_code_for(e->errnum);
}

int cli_flush_stdout(void)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return 0;
    struct err e;
    err_set(&e, errno ? errno : EIO, "stdout-failed", "cannot write to standard output: %s",
            strerror(errno ? errno : EIO));
    cli_error(&e);
    return VM_EXIT_FAILURE;
}

int cmd_version(int argc, char **argv)
{
    puts("ring3 " RING3_VERSION);
    return cli_flush_stdout();
}

int cmd_machines(int argc, char **argv)
{
    for (unsigned i = 0; boards[i]; i++)
        printf("%-10s %s (%lluM to %lluM of RAM)%s\n", boards[i]->name, boards[i]->summary,
               (unsigned long long)(boards[i]->min_ram / MIB),
               (unsigned long long)(boards[i]->max_ram / MIB), i ? "" : " [default]");
    return cli_flush_stdout();
}

int cmd_help(int argc, char **argv)
{
    /* At most 23 lines of 79 columns: it fits a 24x80 screen with the prompt below it. */
    puts("usage: ring3 run [OPTIONS] KERNEL    run a guest; its console is this terminal\n"
         "       ring3 doctor | machines | version | --help\n"
         "KERNEL is a Linux bzImage, an ELF vmlinux or a multiboot ELF. Options of run:\n"
         "  -m, --mem SIZE    guest RAM: 256M (default), 1G, 131072K\n"
         "  --initrd FILE     initial RAM disk\n"
         "  --append STRING   kernel command line, e.g. \"console=ttyS0\"\n"
         "  --timeout D       stop after 30s, 500ms, 2m, ... with exit code 124\n"
         "  --expect REGEX    stop with code 0 once a line of output matches; repeat it\n"
         "                    for several matches in order. Guest ends before: code 125\n"
         "  --fail-on REGEX   stop with code 121 once a line of output matches\n"
         "  --reboot          let a guest that resets restart (else exit code 122)\n"
         "  --engine NAME     how to run guest code: auto (default) or see `ring3 doctor`\n"
         "  --board NAME      machine to be; see `ring3 machines`\n"
         "  --clock KIND      guest time: real, or virtual (10 ns an instruction)\n"
         "  --stats[=json]    numbers about the run on stderr at the end\n"
         "  --trace EVENTS    print events on stderr: exits,exceptions,io,irq,blocks\n"
         "  --dbt LIST        translator: window|flat,nochain,one,max=N,noadapt,trap,\n"
         "                    count,trace-tables,check,nobmi2,nofsgsbase,perf-map\n"
         "  --cache SIZE      room for the translator's code\n"
         "On a terminal Ctrl-a x quits, s prints statistics, a sends Ctrl-a, h is help.\n"
         "Exit codes: 0 guest powered off, 1-119 the guest's own, 120 triple fault,\n"
         "121 --fail-on, 122 reset, 123 unsupported operation, 124 timeout, 125 ring3\n"
         "failed or was killed, 126 host lacks something, 127 file not found.");
    return cli_flush_stdout();
}

/* Descriptors 0 to 2 must be taken, or guest RAM might become "standard output". Standard input
 * and error may be missing; without standard output there is nothing to do. */
static int check_descriptors(void)
{
    bool no_stdout = fcntl(STDOUT_FILENO, F_GETFD) < 0;
    int fd;
    do {
        fd = open("/dev/null", O_RDWR);
    } while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        close(fd);
    if (!no_stdout)
        return 0;
    struct err e;
    err_set(&e, EBADF, "stdout-closed",
            "standard output is closed, but output goes there; give it a file or /dev/null");
    return cli_error(&e);
}

int cli_main(int argc, char **argv)
{
    int r = check_descriptors();
    if (r)
        return r;
    struct err e;
    if (argc < 2) {
        err_set(&e, EINVAL, "no-command", "what shall I do? see `ring3 --help`");
        return cli_error(&e);
    }
    for (unsigned i = 0; i < ARRAY_LEN(commands); i++)
        if (strcmp(argv[1], commands[i].name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    err_set(&e, EINVAL, "unknown-command", "there is no command \"%s\"; see `ring3 --help`",
            argv[1]);
    return cli_error(&e);
}
