/* SPDX-License-Identifier: MIT */
/* Network cards of the pc board: --net in order, in slots 3 to 6. */
#include <string.h>

#include "board/nic_parts.h"
#include "board/pc.h"

static int add_nic(struct pc *pc, unsigned n, struct err *e)
{
    const struct vm_config *c = &pc->vm->config;
    const struct nic_wiring w = {
        .host = &pc->host, .pci = pci_host_of(pc->pci_host), .slot = PC_SLOT_NIC + n};
    const char *model = c->nic[n].model;

    if (!model) /* kernels from the command line get virtio, as with disks */
        model = c->kernel && !c->firmware ? "virtio" : "e1000";
    return strcmp(model, "virtio") == 0 ? pc_virtio_nic(pc, n, e)
                                        : nic_parts_add(pc->vm, model, n, w, e);
}

int pc_net(struct pc *pc, struct err *e)
{
    int r = 0;
    for (unsigned n = 0; n < pc->vm->config.nics && r == 0; n++)
        r = add_nic(pc, n, e);
    return r;
}
