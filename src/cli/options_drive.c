/* SPDX-License-Identifier: MIT */
/* Drives on the command line: --disk FILE[,word...], --cdrom, --floppy, --snapshot, and an image in
 * place of a kernel. A comma that belongs to the name behind an option is written twice. */
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/disk.h"
#include "boot/boot.h"

char *option_take_name(const char *arg, const char **rest)
{
    char *name = malloc(strlen(arg) + 1);
    if (!name)
        return NULL;
    char *to = name;
    for (; *arg && (arg[0] != ',' || arg[1] == ','); arg++) {
        *to++ = *arg;
        if (arg[0] == ',')
            arg++;
    }
    *to = 0;
    *rest = *arg ? arg + 1 : arg;
    return name;
}

static int too_many(struct err *e)
{
    return err_set(e, EINVAL, "too-many-drives", "at most %d drives: --disk, --cdrom, --floppy",
                   VM_MAX_DRIVES);
}

static struct drive_config *add_drive(struct run_options *o, const char *arg, const char **rest,
                                      struct err *e)
{
    if (o->vm.drives == VM_MAX_DRIVES) {
        too_many(e);
        return NULL;
    }
    unsigned n = o->vm.drives;
    o->drive_file[n] = option_take_name(arg, rest);
    if (!o->drive_file[n]) {
        err_set(e, ENOMEM, "no-memory", "no memory");
        return NULL;
    }
    o->vm.drives++;
    o->vm.drive[n] = (struct drive_config){.image.file = o->drive_file[n]};
    return &o->vm.drive[n];
}

static bool set_word(struct drive_config *d, const char *word, size_t n)
{
    static const struct {
        const char *word;
        enum { INTERFACE, FORMAT, READ_ONLY, SNAPSHOT, UNSAFE } what;
        int value;
    } words[] = {
        {"if=virtio", INTERFACE, DRIVE_VIRTIO},
        {"if=ide", INTERFACE, DRIVE_IDE},
        {"format=raw", FORMAT, BLOCK_FORMAT_RAW},
        {"format=qcow2", FORMAT, BLOCK_FORMAT_QCOW2},
        {"ro", READ_ONLY, true},
        {"snapshot", SNAPSHOT, true},
        {"unsafe", UNSAFE, true},
    };
    for (unsigned i = 0; i < ARRAY_LEN(words); i++) {
        if (strlen(words[i].word) != n || memcmp(words[i].word, word, n) != 0)
            continue;
        switch (words[i].what) {
        case INTERFACE:
            d->interface = (enum drive_interface)words[i].value;
            break;
        case FORMAT:
            d->image.format = (enum block_format)words[i].value;
            break;
        case READ_ONLY:
            d->image.read_only = true;
            break;
        case SNAPSHOT:
            d->image.snapshot = true;
            break;
        case UNSAFE:
            d->image.unsafe = true;
            break;
        }
        return true;
    }
    return false;
}

static int set_words(struct drive_config *d, const char *option, const char *at, struct err *e)
{
    while (*at) {
        size_t n = strcspn(at, ",");
        if (!set_word(d, at, n))
            return err_set(e, EINVAL, "bad-option",
                           "--%s does not know \"%.*s\"; it knows if=virtio, if=ide, format=raw, "
                           "format=qcow2, ro, snapshot and unsafe, with commas between; a comma "
                           "in a file name is written twice",
                           option, (int)n, at);
        at += n + (at[n] == ',');
    }
    return 0;
}

static int no_file(const char *option, struct err *e)
{
    return err_set(e, EINVAL, "bad-option", "--%s needs the name of a file", option);
}

int option_disk(struct run_options *o, const char *arg, struct err *e)
{
    const char *rest;
    struct drive_config *d = add_drive(o, arg, &rest, e);
    if (!d)
        return -e->errnum;
    return *d->image.file ? set_words(d, "disk", rest, e) : no_file("disk", e);
}

/* An empty name is a drive without a disc. */
int option_cdrom(struct run_options *o, const char *arg, struct err *e)
{
    const char *rest;
    struct drive_config *d = add_drive(o, arg, &rest, e);
    if (!d)
        return -e->errnum;
    d->cdrom = true;
    d->image.read_only = true;
    if (!*d->image.file)
        d->image.file = NULL;
    return set_words(d, "cdrom", rest, e);
}

int option_floppy(struct run_options *o, const char *arg, struct err *e)
{
    const char *rest;
    struct drive_config *d = add_drive(o, arg, &rest, e);
    if (!d)
        return -e->errnum;
    d->interface = DRIVE_FLOPPY;
    if (!*d->image.file)
        d->image.file = NULL;
    int r = set_words(d, "floppy", rest, e);
    d->interface = DRIVE_FLOPPY;
    return r;
}

int option_snapshot(struct run_options *o, const char *arg, struct err *e)
{
    o->snapshot = true;
    return 0;
}

/* ---- the argument without an option ---------------------------------------------------------- */

static const struct {
    const char *suffix;
    bool cdrom, qcow2;
} suffixes[] = {
    {".qcow2", false, true}, {".iso", true, false},  {".img", false, false}, {".ima", false, false},
    {".raw", false, false},  {".vfd", false, false}, {".flp", false, false}, {".dsk", false, false},
};

/* Bytes of the floppy formats that drives of a PC read. */
static const struct {
    uint64_t bytes;
    const char *name;
} floppies[] = {
    {1440 * KIB, "1.44M"}, {2880 * KIB, "2.88M"}, {1200 * KIB, "1.2M"}, {720 * KIB, "720K"}};

static const char *floppy_format(const char *path)
{
    struct stat st;
    if (stat(path, &st) < 0 || !S_ISREG(st.st_mode))
        return NULL;
    for (unsigned i = 0; i < ARRAY_LEN(floppies); i++)
        if ((uint64_t)st.st_size == floppies[i].bytes)
            return floppies[i].name;
    return NULL;
}

/* Row of suffixes[], or -1. */
static int find_suffix(const char *path)
{
    size_t n = strlen(path);
    for (unsigned i = 0; i < ARRAY_LEN(suffixes); i++) {
        size_t m = strlen(suffixes[i].suffix);
        if (n >= m && strcasecmp(path + n - m, suffixes[i].suffix) == 0)
            return (int)i;
    }
    return -1;
}

/* ISO 9660, 8.1: its volume descriptors begin in sector 16. A CD's contents may decide, since no
 * guest can write to it. */
static bool is_iso(const char *path)
{
    char mark[5] = "";
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    bool is = fd >= 0 && pread(fd, mark, sizeof mark, 16 * 2048 + 1) == sizeof mark &&
              !memcmp(mark, "CD001", sizeof mark);
    if (fd >= 0)
        close(fd);
    return is;
}

static bool is_block_device_or_uri(const char *path)
{
    struct stat st;
    return disk_is_nbd(path) || (stat(path, &st) == 0 && S_ISBLK(st.st_mode));
}

static void decide_drive(struct run_options *o, struct drive_config *d, const char *argument,
                         int suffix, bool iso)
{
    const char *floppy = suffix >= 0 && !suffixes[suffix].cdrom && !suffixes[suffix].qcow2
                             ? floppy_format(argument)
                             : NULL;
    const char *what = "a disk";
    if (iso) {
        d->cdrom = d->image.read_only = true;
        what = "a CD, by its contents";
    } else if (floppy) {
        d->interface = DRIVE_FLOPPY;
        what = "a floppy, by its size of ";
    } else if (suffix >= 0 && suffixes[suffix].cdrom) {
        d->cdrom = d->image.read_only = true;
        what = "a CD, by its name";
    } else if (suffix >= 0 && suffixes[suffix].qcow2) {
        what = "a qcow2 disk, by its name";
    } else if (suffix >= 0) {
        what = "a raw disk, by its name";
    }
    snprintf(o->decided, sizeof o->decided, "%.*s: taken for %s%s", 100, argument, what,
             floppy ? floppy : "");
}

/* A kernel is known by its contents; other files by their names, since a guest may have
 * written what is in them. The drive becomes the first of its kind. */
static int take_argument(struct run_options *o, char *argument, struct err *e)
{
    int suffix = find_suffix(argument);
    bool drive = suffix >= 0 || is_block_device_or_uri(argument);
    bool kernel = boot_is_kernel(argument), iso = !drive && !kernel && is_iso(argument);
    if (kernel || !(drive || iso)) {
        o->vm.kernel = argument;
        return 0;
    }
    if (o->vm.drives == VM_MAX_DRIVES)
        return too_many(e);
    memmove(o->vm.drive + 1, o->vm.drive, o->vm.drives * sizeof o->vm.drive[0]);
    o->vm.drives++;
    o->vm.drive[0] = (struct drive_config){.image.file = argument};
    decide_drive(o, &o->vm.drive[0], argument, suffix, iso);
    if (!o->vm.boot[0])
        o->vm.boot[0] = o->vm.drive[0].cdrom                       ? BOOT_CDROM
                        : o->vm.drive[0].interface == DRIVE_FLOPPY ? BOOT_FLOPPY
                                                                   : BOOT_DISK;
    return 0;
}

int drives_settle(struct run_options *o, char *argument, struct err *e)
{
    if (!argument && !o->vm.drives && !o->vm.firmware)
        return err_set(e, EINVAL, "no-kernel",
                       "which kernel or disk? usage: ring3 run [OPTIONS] [KERNEL|IMAGE]; see "
                       "`ring3 --help`");
    if (argument && take_argument(o, argument, e) < 0)
        return -e->errnum;
    for (unsigned i = 0; i < o->vm.drives; i++)
        if (o->snapshot && !o->vm.drive[i].image.read_only)
            o->vm.drive[i].image.snapshot = true;
    return 0;
}

void run_options_free(struct run_options *o)
{
    for (unsigned i = 0; i < ARRAY_LEN(o->share_text); i++)
        free(o->share_text[i]);
    for (unsigned i = 0; i < VM_MAX_DRIVES; i++)
        free(o->drive_file[i]);
}
