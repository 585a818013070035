/* SPDX-License-Identifier: MIT */
/* Drives of the pc board that are not virtio: IDE disks and CD-ROMs, floppies, and the DMA
 * controllers that move the floppies' data. There is a floppy controller only if there is a drive.
 */
#include "board/pc.h"

#include <errno.h>

#include "board/pc_interrupts.h"
#include "ring3/devices/fdc.h"
#include "ring3/devices/i8237.h"
#include "ring3/devices/ide.h"
#include "ring3/devices/mc146818.h"

#define CMOS_FLOPPIES 0x10u /* types of drive 0 (7-4) and 1 (3-0) */

static int build_ide(struct pc *pc, struct err *e)
{
    const struct ide_config wiring = {.irq = {pc_irq(pc, IDE_IRQ0), pc_irq(pc, IDE_IRQ1)},
                                      .slot = PC_SLOT_PIIX4};

    return ide_parts_build(&pc->ide, pc->vm, &pc->host, pci_host_of(pc->pci_host), &wiring, e);
}

/* In the order they were given. */
static int place_floppies(struct pc *pc, struct fdc_config *fdc, struct err *e)
{
    const struct vm_config *c = &pc->vm->config;
    unsigned n = 0;

    for (unsigned i = 0; i < c->drives; i++) {
        if (c->drive[i].interface != DRIVE_FLOPPY)
            continue;
        if (n == FDC_DRIVES)
            return err_set(e, EINVAL, "too-many-floppies", "more than %d floppy drives",
                           FDC_DRIVES);
        pc->floppy_place[i] = (uint8_t)(n + 1);
        fdc->drive[n].present = true;
        fdc->drive[n++].medium = pc->vm->drive[i];
    }
    return (int)n;
}

static int build_floppies(struct pc *pc, struct err *e)
{
    struct fdc_config fdc = {.irq = pc_irq(pc, FDC_IRQ)};
    int n = place_floppies(pc, &fdc, e);

    if (n <= 0)
        return n;
    fdc.dma = pc->dma;
    pc->fdc = fdc_new(&pc->host, &fdc, e);
    if (!pc->fdc)
        return -e->errnum;
    vm_add_device(pc->vm, pc->fdc);
    mc146818_set_cmos(pc->rtc, CMOS_FLOPPIES,
                      (uint8_t)(fdc_drive_type(pc->fdc, 0) << 4 | fdc_drive_type(pc->fdc, 1)));
    return 0;
}

int pc_change_medium(struct vm *vm, unsigned n, struct block *medium, struct err *e)
{
    struct pc *pc = vm->board_state;
    int r = -ENOTTY;

    if (pc->floppy_place[n])
        r = fdc_change_medium(pc->fdc, pc->floppy_place[n] - 1u, medium);
    else if (pc->ide.place[n])
        r = ide_change_medium(pc->ide.ide, pc->ide.place[n] - 1u, medium);
    if (r == -EINVAL)
        return err_set(
            e, EINVAL, "floppy-size",
            "%s: %llu bytes is no floppy's size; there are 360, 720, 1200, 1440 and 2880 "
            "KiB",
            medium->info.name, (unsigned long long)medium->info.bytes);
    return r < 0 ? err_set(e, -r, "not-removable", "what is in drive %u cannot be changed", n) : 0;
}

uint8_t pc_floppy_equipment(const struct pc *pc)
{
    enum { SOME = 0x01, TWO = 0x40 };

    if (!pc->fdc)
        return 0;
    return fdc_drive_type(pc->fdc, 1) ? SOME | TWO : SOME;
}

int pc_drives_build(struct pc *pc, struct err *e)
{
    int r = build_ide(pc, e);

    if (r < 0)
        return r;
    pc->dma = i8237_new(&pc->host, e);
    if (!pc->dma)
        return -e->errnum;
    vm_add_device(pc->vm, pc->dma);
    return build_floppies(pc, e);
}
