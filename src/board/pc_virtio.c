/* SPDX-License-Identifier: MIT */
/* How virtio devices are connected on the pc board: each a PCI function. They are transitional
 * unless the configuration says otherwise. */
#include "board/pc.h"
#include "board/virtio_parts.h"
#include "ring3/devices/virtio_pci.h"

#define CLASS_DISK    0x010000u /* SCSI controller, as drivers of other systems know it */
#define CLASS_NETWORK 0x020000u
#define CLASS_SERIAL  0x078000u /* simple communications controller */
#define CLASS_OTHER   0x00ff00u

/* By enum virtio_id: the device number of the first of its kind. */
static const struct place {
    unsigned slot;
    uint32_t class_code;
} places[] = {
    [VIRTIO_NET] = {PC_SLOT_NIC, CLASS_NETWORK},        [VIRTIO_BLK] = {PC_SLOT_DRIVE, CLASS_DISK},
    [VIRTIO_CONSOLE] = {PC_SLOT_CONSOLE, CLASS_SERIAL}, [VIRTIO_RNG] = {PC_SLOT_RNG, CLASS_OTHER},
    [VIRTIO_BALLOON] = {PC_SLOT_BALLOON, CLASS_OTHER},  [VIRTIO_9P] = {PC_SLOT_SHARE, CLASS_OTHER},
};

static int connect_pci(void *opaque, struct virtio *v, unsigned n, struct err *e)
{
    struct pc *pc = opaque;
    unsigned extras = pc->vm->config.extras;
    const struct place *place = &places[v->ops->id];
    const struct virtio_pci_config c = {.slot = place->slot + n,
                                        .modern = !(extras & VM_VIRTIO_LEGACY),
                                        .legacy = !(extras & VM_VIRTIO_MODERN),
                                        .class_code = place->class_code};
    struct device *d = virtio_pci_new(pci_host_of(pc->pci_host), &c, v, e);
    if (!d)
        return -e->errnum;
    vm_add_device(pc->vm, d);
    return 0;
}

static struct virtio_parts parts_of(struct pc *pc)
{
    return (struct virtio_parts){pc->vm, &pc->host, connect_pci, pc};
}

int pc_virtio_nic(struct pc *pc, unsigned n, struct err *e)
{
    struct virtio_parts p = parts_of(pc);

    return virtio_parts_nic(&p, n, e);
}

int pc_virtio_build(struct pc *pc, struct err *e)
{
    struct virtio_parts p = parts_of(pc);
    int r = virtio_parts_drives(&p, e);

    if (r == 0)
        r = virtio_parts_shares(&p, e);
    return r == 0 ? virtio_parts_extras(&p, e) : r;
}
