/* SPDX-License-Identifier: MIT */
/* IDE disks and CD-ROMs of any board, from the configuration.
 *
 * Disks become primary master, primary slave, secondary master, secondary slave, in the order they
 * were given; CD-ROMs the secondary master first, so that a PC's usual places are kept. */
#include "board/ide_parts.h"

#include <errno.h>

/* Disks without an interface are IDE for firmware; kernels given directly get virtio instead. */
bool ide_parts_is_drive(const struct vm_config *c, const struct drive_config *d)
{
    if (d->interface == DRIVE_AUTO)
        return d->cdrom || !c->kernel || c->firmware;
    return d->interface == DRIVE_IDE;
}

/* Put a drive into the first free place of `order`. */
static int place(struct ide_parts *p, const struct vm *vm, unsigned drive, struct ide_config *ide,
                 const uint8_t order[IDE_DRIVES], enum ide_kind kind, struct err *e)
{
    for (unsigned i = 0; i < IDE_DRIVES; i++) {
        unsigned n = order[i];
        if (ide->drive[n].kind == IDE_ABSENT) {
            ide->drive[n].kind = kind;
            ide->drive[n].medium = vm->drive[drive];
            p->place[drive] = (uint8_t)(n + 1);
            return 0;
        }
    }
    return err_set(e, EINVAL, "too-many-ide",
                   "more than %d IDE drives (disks and CD-ROMs); give other disks the interface "
                   "virtio (--disk FILE,if=virtio)",
                   IDE_DRIVES);
}

/* CD-ROMs first: they have the narrower choice. */
static int place_drives(struct ide_parts *p, const struct vm *vm, struct ide_config *ide,
                        bool cdroms, struct err *e)
{
    static const uint8_t disk_order[IDE_DRIVES] = {0, 1, 2, 3}, cd_order[IDE_DRIVES] = {2, 3, 1, 0};
    const struct vm_config *c = &vm->config;
    int r = 0;

    for (unsigned i = 0; i < c->drives && r == 0; i++) {
        const struct drive_config *d = &c->drive[i];
        if (!ide_parts_is_drive(c, d) || d->cdrom != cdroms)
            continue;
        if (d->cdrom)
            r = place(p, vm, i, ide, cd_order, IDE_CDROM, e);
        else if (vm->drive[i])
            r = place(p, vm, i, ide, disk_order, IDE_DISK, e);
        else
            r = err_set(e, EINVAL, "drive-empty", "drive %u: an IDE disk needs an image", i);
    }
    return r;
}

int ide_parts_build(struct ide_parts *p, struct vm *vm, const struct dev_host *h,
                    struct pci_host *pci, const struct ide_config *wiring, struct err *e)
{
    struct ide_config ide = *wiring;
    int r = place_drives(p, vm, &ide, true, e);

    if (r == 0)
        r = place_drives(p, vm, &ide, false, e);
    if (r < 0)
        return r;
    p->ide = ide_new(h, pci, &ide, e);
    if (!p->ide)
        return -e->errnum;
    vm_add_device(vm, p->ide);
    return 0;
}
