/* SPDX-License-Identifier: MIT */
/* Hostile drivers of virtio devices.
 *
 *   hostile_virtio [SEED [CASES]]      HOSTILE_SECONDS=N: go on with further seeds for so long
 *                                      HOSTILE_RACE=1: another thread scribbles over the rings
 *
 * A case is one device (disk, network card, console, entropy, balloon) behind PCI, transitional,
 * modern or legacy, and a driver that knows how things are done and does many of them wrong: rings
 * anywhere, chains with loops, giant lengths, addresses in ROM, in holes, in the rings themselves;
 * registers at random; memory that is remapped under the rings; state tables full of noise, as from
 * a malicious snapshot. Meanwhile disk requests finish, frames and keys come in. Nothing that the
 * driver cannot reach may change; the device must work again after a reset. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ring3/devices/virtio_balloon.h"
#include "ring3/devices/virtio_blk.h"
#include "ring3/devices/virtio_console.h"
#include "ring3/devices/virtio_net.h"
#include "ring3/devices/virtio_pci.h"
#include "ring3/devices/virtio_rng.h"

#define RAM         (4 * MIB)
#define HOLE        0xa0000u
#define ROM         0xe0000u
#define HIGH        0x100000u
#define EXTRA       (64 * KIB)
#define SECRET      0xc5     /* what everything out of reach holds */
#define ARENA       0x10000u /* rings, tables and most buffers: here and in the next 256 KiB */
#define ARENA_BYTES 0x40000u
#define SLOT        4
#define PORTS       0xc000u
#define MEMORY      0xf0000000u
#define STEPS       400
#define SECTORS     512u

static const char *const kinds[] = {"blk", "net", "console", "rng", "balloon"};
enum { BLK, NET, CONSOLE, RNG, BALLOON, KINDS };

struct fuzz {
    uint64_t seed, kicks, interrupts, requests, broken, restores, answers;
};

struct machine {
    struct fuzz *f;
    struct dev_host h;
    struct log log;
    struct device *pci, *transport;
    struct virtio *v;
    unsigned kind;
    bool modern, legacy;
    int level;
    /* backends */
    struct block block;
    uint8_t disk[SECTORS * 512];
    struct block_request *waiting[512];
    unsigned waits;
    struct netdev net;
    struct chardev chr;
    bool congested;
    uint64_t target;
    /* the driver's idea of its queues */
    gpa_t desc[8], avail[8], used[8];
    unsigned size[8];
    uint16_t next[8];
};

static uint64_t rnd(struct fuzz *f)
{
    f->seed ^= f->seed << 13, f->seed ^= f->seed >> 7, f->seed ^= f->seed << 17;
    return f->seed * UINT64_C(2685821657736338717) >> 11;
}
static uint64_t below(struct machine *m, uint64_t n)
{
    return rnd(m->f) % n;
}

_Noreturn static void fail(uint64_t which, const char *what)
{
    fprintf(stderr, "FAIL: hostile_virtio %llu 1: %s\n", (unsigned long long)which, what);
    abort();
}

/* ---- backends -------------------------------------------------------------------------------- */

static void transfer(struct machine *m, struct block_request *r)
{
    uint64_t at = r->offset;
    r->result = below(m, 8) ? 0 : -EIO;
    for (unsigned i = 0; i < r->iov_count; i++) {
        if (r->op == BLOCK_READ)
            memcpy(r->iov[i].iov_base, m->disk + at, r->iov[i].iov_len);
        else
            memcpy(m->disk + at, r->iov[i].iov_base, r->iov[i].iov_len);
        at += r->iov[i].iov_len;
    }
}

static bool disk_submit(struct block *b, struct block_request *r)
{
    struct machine *m = container_of(b, struct machine, block);
    if (below(m, 2) && m->waits < ARRAY_LEN(m->waiting)) {
        m->waiting[m->waits++] = r;
        return false;
    }
    transfer(m, r);
    return true;
}

static void finish(struct machine *m, unsigned n)
{
    struct block_request *r = m->waiting[n];
    m->waiting[n] = m->waiting[--m->waits];
    transfer(m, r);
    r->done(r);
}

static void disk_drain(struct block *b)
{
    struct machine *m = container_of(b, struct machine, block);
    while (m->waits)
        finish(m, (unsigned)below(m, m->waits));
}

static uint32_t swallow(const struct iovec *iov, unsigned count)
{
    uint32_t sum = 0; /* reads it all, for the sanitizer to see */
    for (unsigned i = 0; i < count; i++)
        for (size_t k = 0; k < iov[i].iov_len; k++)
            sum += ((const volatile uint8_t *)iov[i].iov_base)[k];
    return sum;
}

static void net_send(struct netdev *n, const struct iovec *iov, unsigned count)
{
    swallow(iov, count);
}
static void net_resume(struct netdev *n) {}

static size_t chr_write(struct chardev *c, const uint8_t *p, size_t n)
{
    struct machine *m = container_of(c, struct machine, chr);
    struct iovec iov = {(void *)p, n};
    size_t taken = m->congested ? below(m, n + 1) : n;
    iov.iov_len = taken;
    swallow(&iov, 1);
    return taken;
}

static void line(void *opaque, unsigned n, int level)
{
    struct machine *m = opaque;
    m->f->interrupts += level && !m->level;
    m->level = level;
}

static void message(void *opaque, uint64_t address, uint32_t data)
{
    struct machine *m = opaque;
    m->f->interrupts++;
}

/* ---- the machine ----------------------------------------------------------------------------- */

static struct virtio *make_device(struct machine *m)
{
    static const struct block_ops disk_ops = {disk_submit, disk_drain, NULL};
    static const struct netdev_ops net_ops = {net_send, net_resume, NULL};
    static const struct chardev_ops chr_ops = {chr_write, NULL, NULL};
    m->block.ops = &disk_ops;
    m->block.info = (struct block_info){sizeof m->disk, below(m, 4) == 0, true, 4096, "x", "x"};
    m->net.ops = &net_ops;
    m->net.max_frame = below(m, 2) ? 1514 : NET_FRAME_MAX;
    m->chr.ops = &chr_ops;
    struct virtio_blk_config blk = {"drive0", &m->block};
    struct virtio_net_config net = {"net0", &m->net, {2, 0, 0, 0, 0, 1}};
    struct virtio_console_config console = {"console", &m->chr};
    switch (m->kind) {
    case BLK:
        return virtio_blk_new(&m->h, &blk, NULL);
    case NET:
        return virtio_net_new(&m->h, &net, NULL);
    case CONSOLE:
        return virtio_console_new(&m->h, &console, NULL);
    case RNG:
        return virtio_rng_new(&m->h, "rng", NULL);
    default:
        return virtio_balloon_new(&m->h, "balloon", NULL);
    }
}

static void make_memory(struct machine *m)
{
    uint64_t bytes, offset;
    m->h.mem = phys_new(RAM, NULL);
    phys_extra(m->h.mem, EXTRA, &offset, NULL);
    phys_map_ram(m->h.mem, 0, 0, HOLE, NULL);
    phys_map_rom(m->h.mem, ROM, ROM, HIGH - ROM, NULL);
    phys_map_ram(m->h.mem, HIGH, HIGH, RAM - HIGH, NULL);
    uint8_t *p = phys_memory(m->h.mem, &bytes);
    memset(p + HOLE, SECRET, HIGH - HOLE);
    memset(p + offset, SECRET, EXTRA);
}

static void check_memory(struct machine *m, uint64_t which)
{
    uint64_t bytes;
    const uint8_t *p = phys_memory(m->h.mem, &bytes);
    for (uint64_t i = HOLE; i < HIGH; i++)
        if (p[i] != SECRET)
            fail(which, "memory that is not the guest's to write has changed");
    for (uint64_t i = RAM; i < RAM + EXTRA; i++)
        if (p[i] != SECRET)
            fail(which, "memory behind the guest's has changed");
}

static void config_write(struct machine *m, unsigned at, unsigned size, uint32_t value)
{
    bus_write(m->h.pio, 0xcf8, 4, 0x80000000u | SLOT << 11 | (at & 0xfc));
    bus_write(m->h.pio, 0xcfc + (at & 3), size, value);
}

static void place_bars(struct machine *m)
{
    config_write(m, PCI_COMMAND, 2, 7);
    config_write(m, PCI_BAR0, 4, PORTS);
    config_write(m, PCI_BAR0 + 4, 4, MEMORY);
}

static struct machine *new_machine(struct fuzz *f)
{
    struct machine *m = calloc(1, sizeof *m);
    m->f = f;
    m->kind = (unsigned)below(m, KINDS);
    m->log = (struct log){LOG_ERROR, 2};
    m->h.log = &m->log;
    m->h.clock = clock_new(CLOCK_VIRTUAL, NULL);
    m->h.pio = bus_new("pio", 0x10000, NULL);
    m->h.mmio = bus_new("mmio", 4 * GIB, NULL);
    make_memory(m);
    m->pci = pci_host_new(&m->h, (struct irq_line){0}, NULL);
    struct irq_line pirq[4];
    for (unsigned i = 0; i < 4; i++)
        pirq[i] = (struct irq_line){line, m, 0};
    pci_set_pirq(pci_host_of(m->pci), pirq);
    if (below(m, 2))
        pci_set_messages(pci_host_of(m->pci), message, m);
    unsigned faces = (unsigned)below(m, 4);
    m->modern = faces != 1;
    m->legacy = faces != 2;
    struct virtio_pci_config c = {SLOT, m->modern, m->legacy, 0x010000};
    m->v = make_device(m);
    m->transport = virtio_pci_new(pci_host_of(m->pci), &c, m->v, NULL);
    place_bars(m);
    return m;
}

static void free_machine(struct machine *m)
{
    disk_drain(&m->block);
    m->transport->ops->free(m->transport);
    m->v->dev.ops->free(&m->v->dev);
    m->pci->ops->free(m->pci);
    bus_free(m->h.pio);
    bus_free(m->h.mmio);
    clock_free(m->h.clock);
    phys_free(m->h.mem);
    free(m);
}

/* ---- the driver ------------------------------------------------------------------------------ */

static void put(struct machine *m, gpa_t at, uint64_t value, unsigned n)
{
    phys_write(m->h.mem, at, &value, n);
}
static void modern(struct machine *m, unsigned at, unsigned size, uint64_t value)
{
    bus_write(m->h.mmio, MEMORY + at, size, value);
}
static void legacy(struct machine *m, unsigned at, unsigned size, uint32_t value)
{
    bus_write(m->h.pio, PORTS + at, size, value);
}

static gpa_t somewhere(struct machine *m)
{
    switch (below(m, 100)) {
    case 0:
        return ROM + below(m, HIGH - ROM);
    case 1:
        return HOLE - below(m, 64);
    case 2:
        return RAM - below(m, 64);
    case 3:
        return rnd(m->f) << below(m, 20);
    default:
        return ARENA + below(m, ARENA_BYTES);
    }
}

static uint32_t length(struct machine *m)
{
    static const uint32_t usual[] = {0, 1, 10, 12, 16, 20, 512, 1024, 1514, 4096};
    return below(m, 30) ? usual[below(m, ARRAY_LEN(usual))] : (uint32_t)rnd(m->f);
}

/* A queue set up, mostly well. */
static void set_queue(struct machine *m, unsigned n)
{
    unsigned size = 1u << below(m, 9);
    gpa_t at = ARENA + 0x4000 * n;
    if (below(m, 12) == 0)
        at = somewhere(m) & ~UINT64_C(15);
    m->next[n] = 0;
    if (m->modern && (!m->legacy || below(m, 2))) {
        m->desc[n] = at, m->avail[n] = at + 0x1000, m->used[n] = at + 0x2000;
        modern(m, 22, 2, n);
        modern(m, 24, 2, below(m, 12) ? size : rnd(m->f));
        modern(m, 32, 8, m->desc[n]);
        modern(m, 40, 8, m->avail[n]);
        modern(m, 48, 8, below(m, 12) ? m->used[n] : somewhere(m));
        modern(m, 28, 2, 1);
    } else {
        size = VIRTQ_MAX;
        at &= ~UINT64_C(4095);
        m->desc[n] = at, m->avail[n] = at + 4096, m->used[n] = at + 8192;
        legacy(m, 14, 2, n);
        legacy(m, 8, 4, (uint32_t)(at >> 12));
    }
    m->size[n] = size;
    put(m, m->avail[n], 0, 4);
}

static void start_driver(struct machine *m)
{
    uint64_t features = below(m, 3) ? UINT64_MAX : rnd(m->f) | VIRTIO_F_VERSION_1;
    if (m->modern && (!m->legacy || below(m, 2))) {
        modern(m, 20, 1, 0);
        modern(m, 8, 4, 0);
        modern(m, 12, 4, (uint32_t)features);
        modern(m, 8, 4, 1);
        modern(m, 12, 4, (uint32_t)(features >> 32));
        modern(m, 20, 1, 11);
    } else {
        legacy(m, 18, 1, 0);
        legacy(m, 4, 4, (uint32_t)features);
    }
    for (unsigned n = 0; n < m->v->ops->queues; n++)
        set_queue(m, n);
    if (m->modern)
        modern(m, 20, 1, 15);
    else
        legacy(m, 18, 1, 7);
}

static void random_desc(struct machine *m, gpa_t table, unsigned i, unsigned entries, bool last,
                        bool write)
{
    gpa_t at = table + 16 * i;
    unsigned flags = (last ? 0 : 1) | (write ? 2 : 0);
    if (below(m, 60) == 0)
        flags ^= (unsigned)below(m, 8);
    put(m, at, somewhere(m), 8);
    put(m, at + 8, length(m), 4);
    put(m, at + 12, flags, 2);
    put(m, at + 14, below(m, 80) ? (i + 1) % entries : rnd(m->f), 2);
}

/* What a request of this device begins with. */
static void random_header(struct machine *m, gpa_t at)
{
    static const uint8_t types[] = {0, 0, 0, 1, 1, 4, 8, 11, 13, 2};
    if (m->kind == BLK) {
        put(m, at, types[below(m, ARRAY_LEN(types))], 8);
        put(m, at + 8, below(m, 8) ? below(m, SECTORS) : rnd(m->f), 8);
    } else if (m->kind == NET) {
        put(m, at, below(m, 2) | (below(m, 3) ? 0 : below(m, 8)) << 8 | below(m, 2000) << 32, 8);
        put(m, at + 6, below(m, 100), 2);
        put(m, at + 8, below(m, 100), 2);
    } else {
        put(m, at, rnd(m->f), 8);
    }
}

static void offer(struct machine *m, unsigned n)
{
    unsigned size = m->size[n] ? m->size[n] : 1, head = (unsigned)below(m, size);
    unsigned count = 1 + (unsigned)below(m, 5), out = (unsigned)below(m, count + 1);
    gpa_t table = m->desc[n];
    unsigned at = head, entries = size;
    if (below(m, 3) == 0) { /* indirect */
        table = (ARENA + below(m, ARENA_BYTES)) & ~UINT64_C(7);
        put(m, m->desc[n] + 16 * head, table, 8);
        put(m, m->desc[n] + 16 * head + 8, below(m, 20) ? 16 * count : length(m), 4);
        put(m, m->desc[n] + 16 * head + 12, below(m, 30) ? 4 : rnd(m->f), 2);
        at = 0, entries = count;
    }
    for (unsigned i = 0; i < count; i++)
        random_desc(m, table, (at + i) % entries, entries, i + 1 == count, i >= out);
    if (below(m, 3)) { /* a sound head and tail */
        gpa_t header = ARENA + ARENA_BYTES - 0x100;
        random_header(m, header);
        put(m, table + 16 * at, header, 8);
        put(m, table + 16 * at + 8, m->kind == NET ? 12 : 16, 4);
    }
    put(m, m->avail[n] + 4 + 2 * (m->next[n] % size), below(m, 60) ? head : rnd(m->f), 2);
    m->next[n]++;
    put(m, m->avail[n] + 2, below(m, 200) ? m->next[n] : rnd(m->f), 2);
    if (below(m, 8) == 0)
        put(m, m->avail[n] + 4 + 2 * size, rnd(m->f), 2);
}

static void kick(struct machine *m, unsigned n)
{
    m->f->kicks++;
    if (m->modern)
        modern(m, 0x800 + 4 * n, 2, n);
    else
        legacy(m, 16, 2, n);
}

static void random_register(struct machine *m)
{
    static const uint8_t sizes[] = {1, 2, 4, 8};
    unsigned size = sizes[below(m, 4)];
    uint64_t value = below(m, 2) ? rnd(m->f) : below(m, 16);
    switch (below(m, 6)) {
    case 0:
        modern(m, (unsigned)below(m, 0x300), size, value);
        break;
    case 1:
        bus_read(m->h.mmio, MEMORY + below(m, 0x900), size);
        break;
    case 2:
        legacy(m, (unsigned)below(m, 128), size, (uint32_t)value);
        break;
    case 3:
        bus_read(m->h.pio, PORTS + below(m, 128), size);
        break;
    case 4:
        config_write(m, 0x40 + (unsigned)below(m, 0xc0), 1, (uint32_t)value);
        modern(m, 0xc00 + 4 * (unsigned)below(m, 40), 4, below(m, 2));
        break;
    default: /* BARs and command come and go */
        config_write(m, (unsigned)below(m, 0x40), 1, (uint32_t)value);
        place_bars(m);
        break;
    }
}

static void outside_world(struct machine *m)
{
    static uint8_t frame[NET_FRAME_MAX];
    struct virtio_balloon_report report;
    if (m->kind == BLK && m->waits) {
        finish(m, (unsigned)below(m, m->waits));
    } else if (m->kind == NET) {
        size_t n = 15 + below(m, below(m, 3) ? 1500 : NET_FRAME_MAX - 14);
        const struct netdev_client *c = &m->net.client;
        frame[14] = (uint8_t)below(m, 256); /* length of the IP header */
        if (c->takes_large(c->opaque) && below(m, 2))
            c->receive_large(c->opaque, frame, n, below(m, 2000));
        else
            c->receive(c->opaque, frame, n);
        m->net.client.batch_end(m->net.client.opaque);
    } else if (m->kind == CONSOLE) {
        struct chardev_client *c = &m->chr.client;
        size_t n = c->room(c->opaque);
        m->congested = below(m, 2);
        c->receive(c->opaque, frame, n ? below(m, n) : 0);
        c->writable(c->opaque);
    } else if (m->kind == BALLOON) {
        virtio_balloon_set(m->v, rnd(m->f));
        virtio_balloon_query(m->v, &report);
    }
}

static void remap(struct machine *m)
{
    gpa_t at = ARENA + PAGE_BYTES * below(m, ARENA_BYTES / PAGE_BYTES);
    if (below(m, 2))
        phys_remap(m->h.mem, at, PHYS_NONE, 0, PAGE_BYTES);
    else
        phys_remap(m->h.mem, at, PHYS_ROM, ROM, PAGE_BYTES);
    unsigned n = (unsigned)below(m, m->v->ops->queues);
    offer(m, n);
    kick(m, n);
    phys_remap(m->h.mem, at, PHYS_RAM, at, PAGE_BYTES);
}

/* As a malicious snapshot may: noise in some of the state. */
static void restore_noise(struct machine *m)
{
    struct device *d = below(m, 4) ? &m->v->dev : m->transport;
    disk_drain(&m->block);
    for (size_t i = 0; i < d->ops->state_count; i++) {
        const struct state_field *s = &d->ops->state[i];
        uint8_t *p = (uint8_t *)d + s->offset;
        for (size_t k = 0; k < s->size * s->count && below(m, 3) == 0; k++)
            p[k] = (uint8_t)(s->is_bool ? below(m, 2) : rnd(m->f));
    }
    d->ops->restored(d);
    place_bars(m);
    m->f->restores++;
}

static void step(struct machine *m)
{
    unsigned n = (unsigned)below(m, m->v->ops->queues), action = (unsigned)below(m, 100);
    bool dead = m->v->status & VIRTIO_STATUS_NEEDS_RESET;
    if (action < 2 || (dead && below(m, 8) == 0))
        start_driver(m);
    else if (action < 50)
        offer(m, n);
    else if (action < 75)
        kick(m, n);
    else if (action < 90)
        outside_world(m);
    else if (action < 95)
        random_register(m);
    else if (action < 96)
        set_queue(m, n);
    else if (action < 98)
        remap(m);
    else if (action < 99)
        bus_read(m->h.mmio, MEMORY + 0x100, 1);
    else if (below(m, 8) == 0)
        restore_noise(m);
}

/* ---- afterwards: a device that was reset does its work --------------------------------------- */

static void works(struct machine *m, uint64_t which)
{
    unsigned n = m->kind == CONSOLE || m->kind == NET ? 1 : 0;
    gpa_t at = ARENA, data = ARENA + 0x8000;
    uint16_t used = 0;
    m->transport->ops->reset(m->transport);
    m->v->dev.ops->reset(&m->v->dev);
    place_bars(m);
    m->congested = false;
    phys_zero(m->h.mem, ARENA, ARENA_BYTES);
    bool is_modern = m->modern;
    if (is_modern) {
        modern(m, 8, 4, 1);
        modern(m, 12, 4, 1);
        modern(m, 20, 1, 11);
        modern(m, 22, 2, n);
        modern(m, 24, 2, 256);
        modern(m, 32, 8, at);
        modern(m, 40, 8, at + 4096);
        modern(m, 48, 8, at + 8192);
        modern(m, 28, 2, 1);
        modern(m, 20, 1, 15);
    } else {
        legacy(m, 14, 2, n);
        legacy(m, 8, 4, (uint32_t)(at >> 12));
        legacy(m, 18, 1, 7);
    }
    /* One buffer out, one in: for the disk, an unknown request. */
    uint32_t len[2] = {64, 16};
    for (unsigned i = 0; i < 2; i++) {
        put(m, at + 16 * i, data + 0x1000 * i, 8);
        put(m, at + 16 * i + 8, len[i], 4);
        put(m, at + 16 * i + 12, i ? 2 : 1, 2);
        put(m, at + 16 * i + 14, 1, 2);
    }
    put(m, data, m->kind == BLK ? 99 : 0, 4);
    put(m, at + 4096 + 2, 1, 2);
    kick(m, n);
    phys_read(m->h.mem, at + 8192 + 2, &used, 2);
    if (used != 1)
        fail(which, kinds[m->kind]);
    m->f->answers++;
}

/* ---- a guest that writes while the device reads ---------------------------------------------- */

struct scribbler {
    pthread_t thread;
    uint8_t *ram;
    uint64_t seed;
    _Atomic bool stop;
};

static void *scribble(void *opaque)
{
    struct scribbler *s = opaque;
    while (!atomic_load_explicit(&s->stop, memory_order_relaxed)) {
        s->seed ^= s->seed << 13, s->seed ^= s->seed >> 7, s->seed ^= s->seed << 17;
        uint64_t at = ARENA + (s->seed >> 8) % 0x10000;
        *(volatile uint8_t *)(s->ram + at) = (uint8_t)(s->seed >> 40);
    }
    return NULL;
}

static void one_case(struct fuzz *f, uint64_t which, bool race)
{
    uint64_t bytes;
    f->seed = which * UINT64_C(0x9e3779b97f4a7c15) + 1;
    rnd(f);
    struct machine *m = new_machine(f);
    struct scribbler s = {.ram = phys_memory(m->h.mem, &bytes), .seed = which + 1};
    if (race)
        pthread_create(&s.thread, NULL, scribble, &s);
    start_driver(m);
    for (unsigned i = 0; i < STEPS; i++)
        step(m);
    f->broken += m->v->status >> 6 & 1;
    f->requests += m->v->stats.requests;
    atomic_store(&s.stop, true);
    if (race)
        pthread_join(s.thread, NULL);
    works(m, which);
    check_memory(m, which);
    free_machine(m);
}

int main(int argc, char **argv)
{
    uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 1;
    uint64_t cases = argc > 2 ? strtoull(argv[2], NULL, 0) : 1000;
    const char *seconds = getenv("HOSTILE_SECONDS"), *race = getenv("HOSTILE_RACE");
    time_t end = time(NULL) + (seconds ? atol(seconds) : 0);
    struct fuzz f = {0};
    uint64_t n = 0;
    for (; n < cases || time(NULL) < end; n++)
        one_case(&f, seed + n, race != NULL);
    printf("%llu devices: %llu chains taken in %llu notifications, %llu interrupts, %llu restored, "
           "%llu broken at the end, %llu work after a reset\n",
           (unsigned long long)n, (unsigned long long)f.requests, (unsigned long long)f.kicks,
           (unsigned long long)f.interrupts, (unsigned long long)f.restores,
           (unsigned long long)f.broken, (unsigned long long)f.answers);
    return f.requests > 10 * n && f.broken > n / 20 && f.broken < n && f.answers == n ? 0 : 1;
}
