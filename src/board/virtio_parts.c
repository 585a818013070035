/* SPDX-License-Identifier: MIT */
/* virtio devices of any board, from the configuration: disks, network cards, shares, entropy,
 * balloon, console. */
#include "board/virtio_parts.h"

#include <string.h>

#include "ring3/devices/virtio_9p.h"
#include "ring3/devices/virtio_balloon.h"
#include "ring3/devices/virtio_blk.h"
#include "ring3/devices/virtio_console.h"
#include "ring3/devices/virtio_net.h"
#include "ring3/devices/virtio_rng.h"

/* The device and its transport become the VM's, in that order. */
static int add(const struct virtio_parts *p, struct virtio *v, unsigned n, struct err *e)
{
    if (!v)
        return -e->errnum;
    vm_add_device(p->vm, &v->dev);
    return p->connect(p->opaque, v, n, e);
}

/* Kernels given on the command line get virtio disks, since they come without a boot loader. */
bool virtio_parts_is_drive(const struct vm_config *c, const struct drive_config *d)
{
    if (d->interface == DRIVE_AUTO)
        return !d->cdrom && c->kernel && !c->firmware;
    return d->interface == DRIVE_VIRTIO;
}

int virtio_parts_drives(const struct virtio_parts *p, struct err *e)
{
    static const char *const names[VM_MAX_DRIVES] = {"drive0", "drive1", "drive2", "drive3",
                                                     "drive4", "drive5", "drive6", "drive7"};
    const struct vm_config *c = &p->vm->config;
    int r = 0;

    for (unsigned i = 0; i < c->drives && r == 0; i++) {
        if (!virtio_parts_is_drive(c, &c->drive[i]) || !p->vm->drive[i])
            continue;
        struct virtio_blk_config config = {names[i], p->vm->drive[i]};
        r = add(p, virtio_blk_new(p->host, &config, e), i, e);
    }
    return r;
}

int virtio_parts_nic(const struct virtio_parts *p, unsigned n, struct err *e)
{
    static const char *const names[VM_MAX_NICS] = {"net0", "net1", "net2", "net3"};
    struct virtio_net_config c = {.instance = names[n], .net = p->vm->nic[n]};

    memcpy(c.mac, p->vm->config.nic[n].mac, sizeof c.mac);
    return add(p, virtio_net_new(p->host, &c, e), n, e);
}

/* Entropy and balloon belong to what a kernel from the command line finds; not with the virtual
 * clock, whose runs repeat exactly. */
static unsigned extras_of(const struct vm_config *c)
{
    bool usual = c->kernel && !c->firmware && c->clock != CLOCK_VIRTUAL;

    return c->extras | (usual ? VM_RNG | VM_BALLOON : 0u);
}

int virtio_parts_extras(const struct virtio_parts *p, struct err *e)
{
    unsigned extras = extras_of(&p->vm->config);
    int r = 0;

    if (extras & VM_CONSOLE) {
        struct virtio_console_config c = {"console", p->vm->console};
        r = add(p, virtio_console_new(p->host, &c, e), 0, e);
    }
    if (r == 0 && (extras & VM_RNG))
        r = add(p, virtio_rng_new(p->host, "rng", e), 0, e);
    if (r == 0 && (extras & VM_BALLOON)) {
        p->vm->balloon = virtio_balloon_new(p->host, "balloon", e);
        r = add(p, p->vm->balloon, 0, e);
    }
    return r;
}

/* The handles of shares are kept in memory behind RAM, so that snapshots have them. */
#define SHARE_MEMORY (32 * MIB) /* of all shares together */

static struct p9 *open_share(const struct virtio_parts *p, const struct share_config *s,
                             uint64_t bytes, struct err *e)
{
    uint64_t offset;

    if (phys_extra(p->vm->mem, bytes, &offset, e) < 0)
        return NULL;
    const struct p9_config c = {.path = s->path,
                                .read_only = s->read_only,
                                .fids = phys_extra_host(p->vm->mem, offset),
                                .fid_count = (unsigned)(bytes / P9_FID_BYTES)};
    return p9_open(&c, e);
}

int virtio_parts_shares(const struct virtio_parts *p, struct err *e)
{
    static const char *const names[VM_MAX_SHARES] = {"share0", "share1", "share2", "share3"};
    const struct vm_config *c = &p->vm->config;
    int r = 0;

    for (unsigned i = 0; i < c->shares && r == 0; i++) {
        uint64_t bytes = SHARE_MEMORY / (c->shares == 1 ? 1 : c->shares == 2 ? 2 : 4);
        struct p9 *server = open_share(p, &c->share[i], bytes, e);
        if (!server)
            return -e->errnum;
        r = add(p, virtio_9p_new(p->host, names[i], c->share[i].tag, server, e), i, e);
    }
    return r;
}
