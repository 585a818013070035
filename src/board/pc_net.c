/* SPDX-License-Identifier: MIT */
/* Network cards of the pc board: --net in order, in slots 3 to 6, of any model in the table. */
#include <errno.h>
#include <string.h>

#include "board/pc.h"
#include "ring3/devices/nic.h"

static const struct model {
    const char *name;
    struct device *(*make)(const struct nic_wiring *w, struct err *e);
} models[] = {
    /* The first is the board's choice. */
    {"e1000", e1000_new},
    {"rtl8139", rtl8139_new},
    {"rtl8139c", rtl8139c_new},
    {"ne2k", ne2k_new},
};

static int add_nic(struct pc *pc, unsigned n, struct err *e)
{
    static const char *const names[VM_MAX_NICS] = {"net0", "net1", "net2", "net3"};
    const struct nic_config *c = &pc->vm->config.nic[n];
    struct nic_wiring w = {.instance = names[n],
                           .host = &pc->host,
                           .pci = pci_host_of(pc->pci_host),
                           .slot = PC_SLOT_NIC + n,
                           .net = pc->vm->nic[n]};
    const char *model = c->model;
    if (!model && pc->vm->config.kernel && !pc->vm->config.firmware)
        model = "virtio"; /* as disks, for kernels from the command line */
    if (model && strcmp(model, "virtio") == 0)
        return pc_virtio_nic(pc, n, e);
    memcpy(w.mac, c->mac, sizeof w.mac);
    unsigned i = 0;
    while (model && i < ARRAY_LEN(models) && strcmp(models[i].name, model) != 0)
        i++;
    if (i == ARRAY_LEN(models))
        return err_set(e, EINVAL, "net-model", "board pc has no network card \"%s\"", c->model);
    struct device *d = models[i].make(&w, e);
    if (!d)
        return -e->errnum;
    vm_add_device(pc->vm, d);
    return 0;
}

int pc_net(struct pc *pc, struct err *e)
{
    int r = 0;
    for (unsigned n = 0; n < pc->vm->config.nics && r == 0; n++)
        r = add_nic(pc, n, e);
    return r;
}
