/* SPDX-License-Identifier: MIT */
/* Exchanging what is in a drive while the guest runs: see vm_change_medium() in ring3/vm.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ring3/vm.h"

static int check(const struct vm *vm, unsigned drive, struct err *e)
{
    if (drive >= vm->config.drives)
        return err_set(e, ENOENT, "no-drive", "there is no drive %u; `info block` lists them",
                       drive);
    const struct drive_config *d = &vm->config.drive[drive];
    if ((!d->cdrom && d->interface != DRIVE_FLOPPY) || !vm->config.board->change_medium)
        return err_set(e, ENOTTY, "not-removable",
                       "what is in drive %u cannot be changed: it is neither a CD-ROM nor a floppy "
                       "drive",
                       drive);
    return 0;
}

/* NULL for none, which is no error if there is no file. */
static struct block *open_medium(struct vm *vm, unsigned drive, const char *file, struct err *e)
{
    struct block_config c = vm->config.drive[drive].image;

    if (!file)
        return NULL;
    c.file = file;
    c.format = BLOCK_FORMAT_BY_NAME;
    c.log = &vm->log;
    c.thread_start = vm->config.thread_start;
    c.thread_opaque = vm->config.thread_opaque;
    return block_open(&c, e);
}

int vm_change_medium(struct vm *vm, unsigned drive, const char *file, struct err *e)
{
    int r = check(vm, drive, e);

    if (r < 0)
        return r;
    char *name = file ? strdup(file) : NULL;
    if (file && !name)
        return err_set(e, ENOMEM, "no-memory", "no memory for a file's name");
    struct block *new = open_medium(vm, drive, name, e), *old = vm->drive[drive];
    if (file && !new) {
        free(name);
        return -e->errnum;
    }
    r = vm->config.board->change_medium(vm, drive, new, e);
    if (r < 0) {
        block_free(new);
        free(name);
        return r;
    }
    vm->drive[drive] = new;
    vm->config.drive[drive].image.file = name;
    vm->config.drive[drive].image.format = BLOCK_FORMAT_BY_NAME;
    block_free(old);
    free(vm->medium_name[drive]);
    vm->medium_name[drive] = name;
    return 0;
}
