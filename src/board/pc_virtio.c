/* SPDX-License-Identifier: MIT */
/* virtio devices of the pc board: disks, network cards, entropy, balloon, console, each a PCI
 * function. They are transitional unless the configuration says otherwise. */
#include "board/pc.h"

#include <string.h>

#include "ring3/devices/virtio_9p.h"
#include "ring3/devices/virtio_balloon.h"
#include "ring3/devices/virtio_blk.h"
#include "ring3/devices/virtio_console.h"
#include "ring3/devices/virtio_net.h"
#include "ring3/devices/virtio_pci.h"
#include "ring3/devices/virtio_rng.h"

#define CLASS_DISK    0x010000u /* SCSI controller, as drivers of other systems know it */
#define CLASS_NETWORK 0x020000u
#define CLASS_SERIAL  0x078000u /* simple communications controller */
#define CLASS_OTHER   0x00ff00u

/* Wrap a device into its PCI function; both become the VM's. */
static int add(struct pc *pc, struct virtio *v, unsigned slot, uint32_t class_code, struct err *e)
{
    unsigned extras = pc->vm->config.extras;

    if (!v)
        return -e->errnum;
    vm_add_device(pc->vm, &v->dev);
    const struct virtio_pci_config c = {.slot = slot,
                                        .modern = !(extras & VM_VIRTIO_LEGACY),
                                        .legacy = !(extras & VM_VIRTIO_MODERN),
                                        .class_code = class_code};
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

int pc_virtio_nic(struct pc *pc, unsigned n, struct err *e)
{
    static const char *const names[VM_MAX_NICS] = {"net0", "net1", "net2", "net3"};
    struct virtio_net_config c = {.instance = names[n], .net = pc->vm->nic[n]};

    memcpy(c.mac, pc->vm->config.nic[n].mac, sizeof c.mac);
    return add(pc, virtio_net_new(&pc->host, &c, e), PC_SLOT_NIC + n, CLASS_NETWORK, e);
}

/* Entropy and balloon belong to what a kernel from the command line finds; not with the virtual
 * clock, whose runs repeat exactly. */
static unsigned extras_of(const struct vm_config *c)
{
    bool usual = c->kernel && !c->firmware && c->clock != CLOCK_VIRTUAL;

    return c->extras | (usual ? VM_RNG | VM_BALLOON : 0u);
}

static int build_extras(struct pc *pc, struct err *e)
{
    unsigned extras = extras_of(&pc->vm->config);
    int r = 0;

    if (extras & VM_CONSOLE) {
        struct virtio_console_config c = {"console", pc->vm->console};
        r = add(pc, virtio_console_new(&pc->host, &c, e), PC_SLOT_CONSOLE, CLASS_SERIAL, e);
    }
    if (r == 0 && (extras & VM_RNG))
        r = add(pc, virtio_rng_new(&pc->host, "rng", e), PC_SLOT_RNG, CLASS_OTHER, e);
    if (r == 0 && (extras & VM_BALLOON)) {
        pc->vm->balloon = virtio_balloon_new(&pc->host, "balloon", e);
        r = add(pc, pc->vm->balloon, PC_SLOT_BALLOON, CLASS_OTHER, e);
    }
    return r;
}

/* The handles of shares are kept in memory behind RAM, so that snapshots have them. */
#define SHARE_MEMORY (32 * MIB) /* of all shares together */

static struct p9 *open_share(struct pc *pc, const struct share_config *s, uint64_t bytes,
                             struct err *e)
{
    uint64_t offset;

    if (phys_extra(pc->vm->mem, bytes, &offset, e) < 0)
        return NULL;
    const struct p9_config c = {.path = s->path,
                                .read_only = s->read_only,
                                .fids = phys_extra_host(pc->vm->mem, offset),
                                .fid_count = (unsigned)(bytes / P9_FID_BYTES)};
    return p9_open(&c, e);
}

static int build_shares(struct pc *pc, struct err *e)
{
    static const char *const names[VM_MAX_SHARES] = {"share0", "share1", "share2", "share3"};
    const struct vm_config *c = &pc->vm->config;
    int r = 0;

    for (unsigned i = 0; i < c->shares && r == 0; i++) {
        uint64_t bytes = SHARE_MEMORY / (c->shares == 1 ? 1 : c->shares == 2 ? 2 : 4);
        struct p9 *server = open_share(pc, &c->share[i], bytes, e);
        if (!server)
            return -e->errnum;
        r = add(pc, virtio_9p_new(&pc->host, names[i], c->share[i].tag, server, e),
                PC_SLOT_SHARE + i, CLASS_OTHER, e);
    }
    return r;
}

int pc_virtio_build(struct pc *pc, struct err *e)
{
    int r = build_drives(pc, e);

    if (r == 0)
        r = build_shares(pc, e);
    return r == 0 ? build_extras(pc, e) : r;
}
