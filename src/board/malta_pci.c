/* SPDX-License-Identifier: MIT */
/* Cards of the malta board: the network card on the board itself, and whatever the configuration
 * asks for in its four PCI slots: functions of one device for each kind. */
#include <string.h>

#include "board/malta.h"
#include "board/nic_parts.h"
#include "board/virtio_parts.h"
#include "ring3/devices/virtio_pci.h"

#define CLASS_DISK    0x010000u /* SCSI controller, as on pc */
#define CLASS_NETWORK 0x020000u
#define CLASS_SERIAL  0x078000u
#define CLASS_OTHER   0x00ff00u
#define FUNCTIONS     8

/* By enum virtio_id. */
static const struct place {
    enum malta_slot slot;
    uint32_t class_code;
} places[] = {
    [VIRTIO_NET] = {MALTA_SLOT_4, CLASS_NETWORK},    [VIRTIO_BLK] = {MALTA_SLOT_1, CLASS_DISK},
    [VIRTIO_CONSOLE] = {MALTA_SLOT_3, CLASS_SERIAL}, [VIRTIO_RNG] = {MALTA_SLOT_3, CLASS_OTHER},
    [VIRTIO_BALLOON] = {MALTA_SLOT_3, CLASS_OTHER},  [VIRTIO_9P] = {MALTA_SLOT_2, CLASS_OTHER},
};
_Static_assert(VM_MAX_DRIVES <= FUNCTIONS && VM_MAX_NICS <= FUNCTIONS && VM_MAX_SHARES <= FUNCTIONS,
               "a slot for each kind suffices");

static int connect_pci(void *opaque, struct virtio *v, unsigned n, struct err *e)
{
    struct malta *m = opaque;
    unsigned extras = m->vm->config.extras;
    const struct place *place = &places[v->ops->id];
    const struct virtio_pci_config c = {.slot = place->slot,
                                        .function = m->used[place->slot]++,
                                        .modern = !(extras & VM_VIRTIO_LEGACY),
                                        .legacy = !(extras & VM_VIRTIO_MODERN),
                                        .class_code = place->class_code};
    struct device *d = virtio_pci_new(pci_host_of(m->pci), &c, v, e);
    if (!d)
        return -e->errnum;
    vm_add_device(m->vm, d);
    return 0;
}

static int add_nic(struct malta *m, const struct virtio_parts *p, unsigned n, struct err *e)
{
    const char *model = m->vm->config.nic[n].model ? m->vm->config.nic[n].model : "pcnet";
    enum malta_slot slot = n == 0 && strcmp(model, "pcnet") == 0 ? MALTA_SLOT_PCNET : MALTA_SLOT_4;

    if (strcmp(model, "virtio") == 0)
        return virtio_parts_nic(p, n, e);
    const struct nic_wiring w = {.host = &m->pci_host,
                                 .pci = pci_host_of(m->pci),
                                 .slot = slot,
                                 .function = m->used[slot]++};
    return nic_parts_add(m->vm, model, n, w, e);
}

int malta_cards(struct malta *m, struct err *e)
{
    struct virtio_parts p = {m->vm, &m->pci_host, connect_pci, m};
    int r = virtio_parts_drives(&p, e);

    for (unsigned n = 0; n < m->vm->config.nics && r == 0; n++)
        r = add_nic(m, &p, n, e);
    if (r == 0)
        r = virtio_parts_shares(&p, e);
    return r == 0 ? virtio_parts_extras(&p, e) : r;
}
