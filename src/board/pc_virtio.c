/* SPDX-License-Identifier: MIT */
/* virtio devices of the pc board: disks, network cards, entropy, balloon, console, each a PCI
 * function. They are transitional unless the configuration says otherwise. */
#include "board/pc.h"

#include "ring3/devices/virtio_blk.h"
#include "ring3/devices/virtio_pci.h"

#define CLASS_DISK 0x010000u /* SCSI controller, as drivers of other systems know it */

/* Wrap a device into its PCI function; both become the VM's. */
static int add(struct pc *pc, struct virtio *v, unsigned slot, uint32_t class_code, struct err *e)
{
    if (!v)
        return -e->errnum;
    vm_add_device(pc->vm, &v->dev);
    const struct virtio_pci_config c = {
        .slot = slot, .modern = true, .legacy = true, .class_code = class_code};
    struct device *d = virtio_pci_new(pci_host_of(pc->pci_host), &c, v, e);
    if (!d)
        return -e->errnum;
    vm_add_device(pc->vm, d);
    return 0;
}

/* Kernels given on the command line get virtio disks, since they come without a boot loader. */
static bool is_virtio(const struct vm_config *c, const struct drive_config *d)
{
    if (d->interface == DRIVE_AUTO)
        return !d->cdrom && c->kernel && !c->firmware;
    return d->interface == DRIVE_VIRTIO;
}

static int build_drives(struct pc *pc, struct err *e)
{
    static const char *const names[VM_MAX_DRIVES] = {"drive0", "drive1", "drive2", "drive3",
                                                     "drive4", "drive5", "drive6", "drive7"};
    const struct vm_config *c = &pc->vm->config;
    int r = 0;

    for (unsigned i = 0; i < c->drives && r == 0; i++) {
        if (!is_virtio(c, &c->drive[i]) || !pc->vm->drive[i])
            continue;
        struct virtio_blk_config config = {names[i], pc->vm->drive[i]};
        r = add(pc, virtio_blk_new(&pc->host, &config, e), PC_SLOT_DRIVE + i, CLASS_DISK, e);
    }
    return r;
}

int pc_virtio_build(struct pc *pc, struct err *e)
{
    return build_drives(pc, e);
}
