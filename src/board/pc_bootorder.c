/* SPDX-License-Identifier: MIT */
/* What firmware tries to start from, drive by drive: the fw_cfg file "bootorder", a line for each,
 * as an Open Firmware path that SeaBIOS (src/boot.c there) compares with its own.
 *
 *   /rom@genroms/NAME                              an option ROM of fw_cfg
 *   /pci@i0cf8/isa@1/fdc@03f0/floppy@N             floppy drive N
 *   /pci@i0cf8/ide@1,1/drive@CHANNEL/disk@DRIVE    an IDE disk or CD
 *   /pci@i0cf8/scsi@SLOT/disk@0,0                  a virtio disk
 *
 * Kinds of drives come in the order of --boot, drives of a kind in the order they were given. What
 * is not named here SeaBIOS tries afterwards, by the order in CMOS memory. */
#include "board/pc_firmware.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "boot/kernel_rom.h"
#include "ring3/devices/fw_cfg.h"

struct order {
    char text[1024];
    size_t used;
    unsigned floppies;
};

static void line(struct order *o, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void line(struct order *o, const char *fmt, ...)
{
    size_t room = sizeof o->text - o->used;
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(o->text + o->used, room, fmt, ap);
    va_end(ap);
    if (n > 0 && (size_t)n + 1 < room) { /* else it is cut off again */
        o->used += (size_t)n;
        o->text[o->used++] = '\n';
    }
    o->text[o->used] = 0;
}

static enum boot_device kind_of(const struct drive_config *d)
{
    return d->interface == DRIVE_FLOPPY ? BOOT_FLOPPY : d->cdrom ? BOOT_CDROM : BOOT_DISK;
}

static void add_drive(struct pc *pc, struct order *o, unsigned drive)
{
    if (kind_of(&pc->vm->config.drive[drive]) == BOOT_FLOPPY)
        line(o, "/pci@i0cf8/isa@%d/fdc@03f0/floppy@%u", PC_SLOT_PIIX4, o->floppies++);
    else if (pc->ide.place[drive])
        line(o, "/pci@i0cf8/ide@%d,1/drive@%d/disk@%d", PC_SLOT_PIIX4,
             (pc->ide.place[drive] - 1) / 2, (pc->ide.place[drive] - 1) % 2);
    else
        line(o, "/pci@i0cf8/scsi@%x/disk@0,0", PC_SLOT_DRIVE + drive);
}

const enum boot_device *pc_boot_devices(const struct pc *pc)
{
    static const enum boot_device usual[VM_MAX_BOOT] = {BOOT_DISK, BOOT_CDROM, BOOT_FLOPPY};
    return pc->vm->config.boot[0] ? pc->vm->config.boot : usual;
}

int pc_bootorder_tell(struct pc *pc, struct err *e)
{
    const struct vm_config *c = &pc->vm->config;
    const enum boot_device *kinds = pc_boot_devices(pc);
    struct order o = {.used = 0};

    if (c->kernel) /* it was named, so it comes first */
        line(&o, "/rom@%s", KERNEL_ROM_NAME);
    for (unsigned k = 0; k < VM_MAX_BOOT && kinds[k]; k++)
        for (unsigned i = 0; i < c->drives; i++)
            if (kind_of(&c->drive[i]) == kinds[k])
                add_drive(pc, &o, i);
    return fw_cfg_add_file(pc->fw_cfg, "bootorder", o.text, o.used + 1, e);
}
