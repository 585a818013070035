/* SPDX-License-Identifier: MIT */
/* --disk FILE[,word...], --cdrom, --floppy, --snapshot. A comma that belongs to the file's name is
 * written twice. */
#include "cli/cli.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The file name in front of the words: doubled commas become one. *rest: behind the name and its
 * comma, or the end. NULL: no memory. */
static char *take_name(const char *arg, const char **rest)
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

static struct drive_config *add_drive(struct run_options *o, const char *arg, const char **rest,
                                      struct err *e)
{
    if (o->vm.drives == VM_MAX_DRIVES) {
        err_set(e, EINVAL, "too-many-drives", "at most %d drives: --disk, --cdrom and --floppy",
                VM_MAX_DRIVES);
        return NULL;
    }
    unsigned n = o->vm.drives;
    o->drive_file[n] = take_name(arg, rest);
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

void drives_settle(struct run_options *o)
{
    for (unsigned i = 0; i < o->vm.drives; i++)
        if (o->snapshot && !o->vm.drive[i].image.read_only)
            o->vm.drive[i].image.snapshot = true;
}

void run_options_free(struct run_options *o)
{
    for (unsigned i = 0; i < VM_MAX_DRIVES; i++)
        free(o->drive_file[i]);
}
