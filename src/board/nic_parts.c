/* SPDX-License-Identifier: MIT */
/* The table of PCI network cards. */
#include "board/nic_parts.h"

#include <errno.h>
#include <string.h>

static const struct model {
    const char *name;
    struct device *(*make)(const struct nic_wiring *w, struct err *e);
} models[] = {
    {"e1000", e1000_new}, {"rtl8139", rtl8139_new}, {"rtl8139c", rtl8139c_new},
    {"ne2k", ne2k_new},   {"pcnet", pcnet_new},
};

int nic_parts_add(struct vm *vm, const char *model, unsigned n, struct nic_wiring w, struct err *e)
{
    static const char *const names[VM_MAX_NICS] = {"net0", "net1", "net2", "net3"};
    unsigned i = 0;

    while (i < ARRAY_LEN(models) && strcmp(models[i].name, model) != 0)
        i++;
    if (i == ARRAY_LEN(models))
        return err_set(e, EINVAL, "net-model", "board %s has no network card \"%s\"",
                       vm->config.board->name, model);
    w.instance = names[n];
    w.net = vm->nic[n];
    memcpy(w.mac, vm->config.nic[n].mac, sizeof w.mac);
    struct device *d = models[i].make(&w, e);
    if (!d)
        return -e->errnum;
    vm_add_device(vm, d);
    return 0;
}
