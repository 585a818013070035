/* SPDX-License-Identifier: MIT */
/* A bench for one network card: PCI host, 1 MiB of RAM at 0, a backend that keeps what was sent.
 * The card's first memory BAR is at NIC_BAR. Interrupt line 0 is its pin.
 *
 * nic_fuzz drives a card with random registers, descriptors, frames and time, and compares it now
 * and then with a twin made from its state table and a copy of the RAM. */
#ifndef RING3_TESTS_NIC_RIG_H
#define RING3_TESTS_NIC_RIG_H

#include "dev_rig.h"

#include "ring3/devices/nic.h"

#define NIC_BAR   0xe0000000u
#define NIC_RAM   MIB
#define NIC_SLOT  3
#define NIC_SENT  64
#define NIC_FRAME 2048

struct nic_rig {
    struct rig *r;
    struct device *card;
    struct netdev net;
    struct netdev_ops ops;
    struct {
        size_t n;
        uint8_t bytes[NIC_FRAME]; /* the beginning */
    } sent[NIC_SENT];             /* the last ones, by number */
    uint64_t sent_count, sent_digest;
    bool tame;      /* the fuzzer leaves registers alone, for a while */
    uint64_t taken; /* frames that the fuzzer gave and the card stored or dropped */
    unsigned resumes;
    unsigned bar; /* which is at NIC_BAR */
};

typedef struct device *nic_make(const struct nic_wiring *w, struct err *e);

static inline void nic_rig_send(struct netdev *net, const struct iovec *iov, unsigned count)
{
    struct nic_rig *b = container_of(net, struct nic_rig, net);
    size_t n = 0;
    uint8_t *to = b->sent[b->sent_count % NIC_SENT].bytes;
    for (unsigned i = 0; i < count; i++)
        for (size_t j = 0; j < iov[i].iov_len; j++, n++) {
            uint8_t byte = ((const uint8_t *)iov[i].iov_base)[j];
            if (n < NIC_FRAME)
                to[n] = byte;
            b->sent_digest = (b->sent_digest ^ byte) * UINT64_C(0x100000001b3);
        }
    assert_in_range(n, NET_FRAME_MIN, net->max_frame > 1514 ? net->max_frame : NET_FRAME_MAX);
    b->sent[b->sent_count++ % NIC_SENT].n = n;
}

static inline void nic_rig_resume(struct netdev *net)
{
    container_of(net, struct nic_rig, net)->resumes++;
}

static inline void nic_config(struct nic_rig *b, unsigned at, unsigned size, uint32_t value)
{
    bus_write(b->r->host.pio, 0xcf8, 4, 0x80000000u | NIC_SLOT << 11 | (at & 0xfc));
    bus_write(b->r->host.pio, 0xcfc + (at & 3), size, value);
}

static inline uint32_t nic_config_read(struct nic_rig *b, unsigned at, unsigned size)
{
    bus_write(b->r->host.pio, 0xcf8, 4, 0x80000000u | NIC_SLOT << 11 | (at & 0xfc));
    return (uint32_t)bus_read(b->r->host.pio, 0xcfc + (at & 3), size);
}

/* As a driver does first: place the registers, switch memory and bus mastering on. */
static inline void nic_enable(struct nic_rig *b)
{
    nic_config(b, PCI_BAR0 + 4 * b->bar, 4, NIC_BAR);
    nic_config(b, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
}

/* `bar`: the card's memory BAR. */
static inline struct nic_rig *nic_rig_new(nic_make *make, unsigned bar)
{
    struct nic_rig *b = calloc(1, sizeof *b);
    b->r = rig_new();
    b->r->log.level = LOG_ERROR;
    b->bar = bar;
    struct phys *mem = phys_new(NIC_RAM, NULL);
    b->r->host.mem = mem;
    assert_int_equal(phys_map_ram(mem, 0, 0, NIC_RAM, NULL), 0);
    b->r->d = pci_host_new(&b->r->host, (struct irq_line){0}, NULL);
    struct irq_line pirq[4] = {rig_line(b->r, 0), rig_line(b->r, 0), rig_line(b->r, 0),
                               rig_line(b->r, 0)};
    pci_set_pirq(pci_host_of(b->r->d), pirq);
    b->ops = (struct netdev_ops){nic_rig_send, nic_rig_resume, NULL};
    b->net = (struct netdev){.ops = &b->ops, .name = "test", .max_frame = 1514};
    struct nic_wiring w = {.instance = "net0",
                           .host = &b->r->host,
                           .pci = pci_host_of(b->r->d),
                           .slot = NIC_SLOT,
                           .net = &b->net,
                           .mac = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56}};
    b->card = make(&w, NULL);
    assert_non_null(b->card);
    nic_enable(b);
    b->resumes = 0;
    return b;
}

static inline void nic_rig_free(struct nic_rig *b)
{
    struct phys *mem = b->r->host.mem;
    b->card->ops->free(b->card);
    assert_null(b->net.client.receive);
    rig_free(b->r);
    phys_free(mem);
    free(b);
}

static inline uint32_t nic_read(struct nic_rig *b, unsigned at, unsigned size)
{
    return (uint32_t)bus_read(b->r->host.mmio, NIC_BAR + at, size);
}
static inline void nic_write(struct nic_rig *b, unsigned at, unsigned size, uint32_t value)
{
    bus_write(b->r->host.mmio, NIC_BAR + at, size, value);
}
static inline void ram_write(struct nic_rig *b, uint32_t at, const void *bytes, size_t n)
{
    assert_int_equal(phys_write(b->r->host.mem, at, bytes, n), 0);
}
static inline void ram_read(struct nic_rig *b, uint32_t at, void *bytes, size_t n)
{
    assert_int_equal(phys_read(b->r->host.mem, at, bytes, n), 0);
}
static inline uint32_t ram32(struct nic_rig *b, uint32_t at)
{
    uint32_t x;
    ram_read(b, at, &x, 4);
    return x;
}
static inline void ram_set32(struct nic_rig *b, uint32_t at, uint32_t x)
{
    ram_write(b, at, &x, 4);
}

/* A frame arrives; true if the card took it. */
static inline bool nic_receive(struct nic_rig *b, const void *frame, size_t n)
{
    return b->net.client.receive(b->net.client.opaque, frame, n);
}
static inline void nic_batch_end(struct nic_rig *b)
{
    b->net.client.batch_end(b->net.client.opaque);
}

/* ---- random driving -------------------------------------------------------------------------- */

struct nic_fuzz {
    nic_make *make;
    unsigned bar;
    unsigned reg_bytes;  /* size of the register space */
    unsigned widest;     /* of accesses: 4, or 1 for any */
    const uint16_t *hot; /* registers that matter, half of the accesses */
    unsigned hot_count;
    uint16_t bell[2]; /* registers that say there is something to do */
    uint8_t bell_bytes;
    uint32_t bell_mask;
    /* What a sane driver does at first, roughly; and a descriptor that makes some sense. */
    void (*setup)(struct nic_rig *b, uint64_t random);
    void (*descriptor)(uint64_t random, uint32_t d[4]);
};

static inline uint32_t nic_fuzz_value(uint64_t x)
{
    switch (x % 6) {
    case 0:
        return (uint32_t)(x >> 8 & 0xff);
    case 1:
        return (uint32_t)(x >> 8 & 0xfff0);
    case 2:
        return (uint32_t)(x >> 8) & ((uint32_t)NIC_RAM - 1);
    case 3:
        return UINT32_C(1) << (x >> 8 & 31);
    case 4:
        return (uint32_t)(x >> 16);
    default:
        return x >> 8 & 1 ? UINT32_MAX : 0;
    }
}

/* Rings live in the first page. */
static inline void nic_fuzz_ram(struct nic_rig *b, const struct nic_fuzz *f, uint64_t *seed)
{
    uint64_t x = rig_random(seed);
    uint32_t at = (uint32_t)(x & 0xf00), d[4];
    for (unsigned n = 0; n < 16; n++, at += 16) {
        f->descriptor(rig_random(seed), d);
        if (rig_random(seed) % 64 == 0)
            d[x >> 20 & 3] = (uint32_t)rig_random(seed);
        ram_write(b, at, d, sizeof d);
    }
}

static inline uint64_t nic_fuzz_frame(struct nic_rig *b, uint64_t *seed)
{
    static uint8_t frame[NET_FRAME_MAX];
    uint64_t x = rig_random(seed);
    size_t n = x % 32 ? NET_FRAME_MIN + (x >> 8) % 1510 : NET_FRAME_MIN + (x >> 8) % 65000;
    for (size_t i = 0; i < 64; i++)
        frame[i] = (uint8_t)(rig_random(seed) >> 8);
    if (x >> 62)
        memcpy(frame, "\x52\x54\x00\x12\x34\x56", 6);
    if (x >> 61 & 1)
        memcpy(frame + 12, x >> 60 & 1 ? "\x08\x00\x45" : "\x81\x00\x00", 3);
    uint64_t taken = nic_receive(b, frame, n);
    b->taken += taken;
    if (x >> 59 & 1)
        nic_batch_end(b);
    return taken;
}

static inline uint64_t nic_fuzz_step(struct nic_rig *b, const struct nic_fuzz *f, uint64_t *seed)
{
    uint64_t x = rig_random(seed), y = rig_random(seed);
    unsigned size = f->widest == 4 ? 4 : 1u << (x >> 8) % 3;
    unsigned at = (unsigned)(x >> 16) % f->reg_bytes;
    if (x >> 40 & 1)
        at = f->hot[(x >> 16) % f->hot_count];
    at &= ~(size - 1);
    switch (x % 8) {
    case 0:
        return nic_read(b, at, size);
    case 1:
    case 2:
    case 3:
        if (b->tame)
            nic_write(b, f->bell[y % 2], f->bell_bytes, nic_fuzz_value(y >> 8) & f->bell_mask);
        else
            nic_write(b, at, size, nic_fuzz_value(y));
        return 0;
    case 4:
        if (y % 4 == 0 && !b->tame)
            f->setup(b, y);
        else
            nic_fuzz_ram(b, f, seed);
        return 0;
    case 5:
        nic_write(b, f->bell[y % 2], f->bell_bytes, nic_fuzz_value(y >> 8) & f->bell_mask);
        return 0;
    case 6:
        return nic_fuzz_frame(b, seed);
    default:
        if (y % 64 == 0)
            nic_enable(b);
        else if (y % 64 == 1 && !b->tame)
            nic_config(b, PCI_COMMAND, 2, (uint32_t)(y >> 8));
        rig_advance(b->r, UINT64_C(1) << (y >> 16) % 24);
        return 0;
    }
}

static inline void nic_fuzz_twin(struct nic_rig *a, const struct nic_fuzz *f, uint64_t *seed)
{
    static uint8_t ram_a[NIC_RAM], ram_b[NIC_RAM];
    struct nic_rig *b = nic_rig_new(f->make, f->bar);
    rig_advance(b->r, clock_now_ns(a->r->host.clock));
    b->net.max_frame = a->net.max_frame;
    b->tame = a->tame;
    ram_read(a, 0, ram_a, NIC_RAM);
    ram_write(b, 0, ram_a, NIC_RAM);
    rig_copy_state(b->r->d, a->r->d);
    rig_copy_state(b->card, a->card);
    a->r->digest = b->r->digest = 0;
    a->sent_digest = b->sent_digest = 0;
    assert_memory_equal(a->r->level, b->r->level, sizeof a->r->level);
    uint64_t seed_b = *seed;
    for (unsigned i = 0; i < 60; i++) {
        uint64_t value_a = nic_fuzz_step(a, f, seed), value_b = nic_fuzz_step(b, f, &seed_b);
        if (value_a != value_b || a->r->digest != b->r->digest || a->sent_digest != b->sent_digest)
            fail_msg("%s: twins differ at step %u: %#lx %#lx, trace A ...%s, trace B ...%s",
                     a->card->ops->name, i, (unsigned long)value_a, (unsigned long)value_b,
                     rig_trace(a->r), b->r->trace);
        a->r->trace[0] = b->r->trace[0] = 0;
    }
    ram_read(a, 0, ram_a, NIC_RAM);
    ram_read(b, 0, ram_b, NIC_RAM);
    assert_memory_equal(ram_a, ram_b, NIC_RAM);
    nic_rig_free(b);
}

static inline void nic_fuzz(const struct nic_fuzz *f, uint64_t seed, unsigned steps)
{
    struct nic_rig *b = nic_rig_new(f->make, f->bar);
    for (unsigned i = 0; i < steps; i++) {
        if (i % 1000 == 500) {
            b->tame = true;
            nic_enable(b);
            f->setup(b, rig_random(&seed));
        }
        nic_fuzz_step(b, f, &seed);
        if (i % 1000 == 999)
            nic_fuzz_twin(b, f, &seed);
        b->tame = b->tame && i % 1000 != 999;
        if (i % 5000 == 4999) {
            b->card->ops->reset(b->card);
            nic_enable(b);
            b->net.max_frame = i % 10000 == 4999 ? NET_FRAME_MAX : 1514;
        }
        b->r->trace[0] = 0;
    }
    uint64_t sent = b->sent_count, received = b->taken;
    nic_rig_free(b);
    assert_true(sent > steps / 100 && received > steps / 100); /* it did get somewhere */
}

#endif
