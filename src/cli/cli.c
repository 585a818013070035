/* SPDX-License-Identifier: MIT */
/* The command line's front: find the command, print errors, and the commands that only print. */
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "board/boards.h"
#include "boot/boot.h"

static const struct command {
    const char *name;
    int (*run)(int argc, char **argv);
} commands[] = {
    {"run", cmd_run},           {"restore", cmd_run},     {"snapshot", cmd_snapshot},
    {"image", cmd_image},       {"stat", cmd_stat},       {"doctor", cmd_doctor},
    {"machines", cmd_machines}, {"version", cmd_version}, {"help", cmd_help},
    {"--help", cmd_help},       {"-h", cmd_help},         {"--version", cmd_version},
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
        printf("%-10s %s\n"
               "           runs kernels for %s in %lluM to %lluM of RAM%s\n",
               boards[i]->name, boards[i]->summary, boot_arch_name(boards[i]->arch),
               (unsigned long long)(boards[i]->min_ram / MIB),
               (unsigned long long)(boards[i]->max_ram / MIB),
               i ? "" : "; the board of disks and firmware");
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
