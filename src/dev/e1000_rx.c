/* SPDX-License-Identifier: MIT */
/* e1000: receiving (manual 3.2). Frames go to the buffers of descriptors from RDH to before RDT.
 *
 *   63             0 | 63    48 47    40 39    32 31   16 15     0
 *   buffer address   | special   errors   status  checksum  length
 *
 * A frame for which there are not enough buffers is refused; the backend keeps it until the driver
 * gives more. The interrupt follows at the end of a batch. Left out: header split, interrupt delay,
 * flow control, wake-up; the packet checksum of the descriptor is that of a whole frame. */
#include "e1000.h"

#include <string.h>

#include "ring3/net_offload.h"

#define CRC_BYTES  4
#define FRAME_LONG 1522 /* with a VLAN tag and CRC; longer ones need LPE */
#define FRAME_MOST 16384

enum {
    RCTL_EN = 1 << 1,
    RCTL_UPE = 1 << 3,
    RCTL_MPE = 1 << 4,
    RCTL_LPE = 1 << 5,
    RCTL_BAM = 1 << 15,
    RCTL_VFE = 1 << 18,
    RCTL_BSEX = 1 << 25,
    RCTL_SECRC = 1 << 26,
};
enum { RXCSUM_IP = 0x100, RXCSUM_L4 = 0x200 };
enum {
    RX_DD = 1,
    RX_EOP = 2,
    RX_IXSM = 4,
    RX_VP = 8,
    RX_UDPCS = 0x10,
    RX_TCPCS = 0x20,
    RX_IPCS = 0x40,
    RX_PIF = 0x80
};
enum { RX_TCPE = 0x20, RX_IPE = 0x40 };
#define RA_VALID 0x80000000u

struct rx_descriptor {
    uint64_t address;
    uint16_t length, checksum;
    uint8_t status, errors;
    uint16_t special;
};

/* ---- filters --------------------------------------------------------------------------------- */

static bool exact_match(struct e1000 *s, const uint8_t *mac)
{
    uint32_t low, high = (uint32_t)mac[4] | (uint32_t)mac[5] << 8 | RA_VALID;
    memcpy(&low, mac, 4);
    for (unsigned at = R_RA; at < R_RA + 128; at += 8)
        if (*e1000_reg(s, at) == low && (*e1000_reg(s, at + 4) & (RA_VALID | 0xffff)) == high)
            return true;
    return false;
}

/* A hash of 12 of the address's last 16 bits, which ones by RCTL.MO. */
static bool hash_match(struct e1000 *s, const uint8_t *mac)
{
    static const uint8_t shifts[] = {4, 3, 2, 0};
    unsigned bits = (unsigned)(mac[4] | mac[5] << 8) >> shifts[*e1000_reg(s, R_RCTL) >> 12 & 3];
    return *e1000_reg(s, R_MTA + 4 * (bits >> 5 & 127)) >> (bits & 31) & 1;
}

static bool vlan_passes(struct e1000 *s, const uint8_t *frame)
{
    unsigned tag = (unsigned)(frame[14] << 8 | frame[15]);
    return *e1000_reg(s, R_VFTA + 4 * (tag >> 5 & 127)) >> (tag & 31) & 1;
}

static bool has_vlan(struct e1000 *s, const uint8_t *frame, size_t n)
{
    return n >= NET_FRAME_MIN + 4 &&
           (uint32_t)(frame[12] << 8 | frame[13]) == (*e1000_reg(s, R_VET) & 0xffff);
}

/* *how: status bits that say why it passed. */
static bool passes(struct e1000 *s, const uint8_t *frame, size_t n, uint8_t *how)
{
    static const uint8_t broadcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    uint32_t rctl = *e1000_reg(s, R_RCTL);
    if (n + CRC_BYTES > (rctl & RCTL_LPE ? FRAME_MOST : FRAME_LONG))
        return false;
    if ((rctl & RCTL_VFE) && has_vlan(s, frame, n) && !vlan_passes(s, frame))
        return false;
    if (exact_match(s, frame))
        return true;
    if (memcmp(frame, broadcast, 6) == 0 && (rctl & RCTL_BAM))
        return true;
    if (!(frame[0] & 1))
        return rctl & RCTL_UPE;
    *how |= RX_PIF;
    return (rctl & RCTL_MPE) || hash_match(s, frame);
}

/* ---- buffers --------------------------------------------------------------------------------- */

static uint32_t buffer_bytes(struct e1000 *s)
{
    uint32_t rctl = *e1000_reg(s, R_RCTL), bytes = 2048u >> (rctl >> 16 & 3);
    return (rctl & RCTL_BSEX) && bytes < 2048 ? bytes * 16 : bytes;
}

static uint32_t entries(struct e1000 *s)
{
    return *e1000_reg(s, R_RDLEN) / 16;
}

static uint32_t free_buffers(struct e1000 *s)
{
    uint32_t n = entries(s), head = *e1000_reg(s, R_RDH), tail = *e1000_reg(s, R_RDT);
    if (head >= n || tail >= n)
        return 0;
    return tail >= head ? tail - head : n - head + tail;
}

static void checksum_bits(struct e1000 *s, const uint8_t *frame, size_t n, struct rx_descriptor *d)
{
    uint32_t rxcsum = *e1000_reg(s, R_RXCSUM);
    if (!(rxcsum & (RXCSUM_IP | RXCSUM_L4))) {
        d->status |= RX_IXSM;
        return;
    }
    unsigned known = net_checksum_verify(frame, n);
    if ((rxcsum & RXCSUM_IP) && (known & NET_IP_CHECKED))
        d->status |= RX_IPCS;
    if ((rxcsum & RXCSUM_IP) && (known & NET_IP_BAD))
        d->errors |= RX_IPE;
    if ((rxcsum & RXCSUM_L4) && (known & NET_L4_CHECKED))
        d->status |= RX_TCPCS | (known & NET_L4_UDP ? RX_UDPCS : 0);
    if ((rxcsum & RXCSUM_L4) && (known & NET_L4_BAD))
        d->errors |= RX_TCPE;
}

/* A frame on its way into buffers: pieces that follow each other, less a VLAN tag, then a CRC that
 * drivers do not look at. */
struct parcel {
    struct iovec piece[3];
    unsigned pieces, at; /* pieces[at] is next */
    size_t left;
};

static size_t take(struct parcel *p, uint8_t *to, size_t n)
{
    size_t done = 0;
    while (done < n && p->at < p->pieces) {
        struct iovec *v = &p->piece[p->at];
        size_t part = v->iov_len < n - done ? v->iov_len : n - done;
        memcpy(to + done, v->iov_base, part);
        v->iov_base = (uint8_t *)v->iov_base + part;
        v->iov_len -= part;
        done += part;
        p->at += !v->iov_len;
    }
    p->left -= done;
    return done;
}

/* Fill the buffers of as many descriptors as it takes. False: the ring is not in memory. */
static bool place(struct e1000 *s, struct parcel *p, const struct rx_descriptor *last)
{
    uint32_t size = buffer_bytes(s), n = entries(s), *head = e1000_reg(s, R_RDH);
    uint64_t base = (uint64_t)*e1000_reg(s, R_RDBAH) << 32 | *e1000_reg(s, R_RDBAL);
    while (p->left) {
        uint8_t bytes[FRAME_MOST];
        struct rx_descriptor d;
        uint64_t at = base + 16 * (uint64_t)*head;
        if (phys_read(s->h.mem, at, &d, sizeof d) < 0)
            return false;
        size_t part = take(p, bytes, size);
        if (d.address) /* a null buffer swallows the data (3.2.3) */
            phys_write(s->h.mem, d.address, bytes, part);
        uint64_t address = d.address;
        d = p->left ? (struct rx_descriptor){.status = RX_DD} : *last;
        d.address = address;
        d.length = (uint16_t)part;
        phys_write(s->h.mem, at, &d, sizeof d);
        *head = *head + 1 == n ? 0 : *head + 1;
    }
    return true;
}

static void count_received(struct e1000 *s, const uint8_t *frame, size_t n)
{
    e1000_count(s, R_GPRC, 1);
    e1000_count(s, R_TPR, 1);
    if (frame[0] & 1)
        e1000_count(s, frame[0] == 0xff ? R_BPRC : R_MPRC, 1);
    e1000_count_bytes(s, R_GORCL, n + CRC_BYTES);
    e1000_count_bytes(s, R_TORL, n + CRC_BYTES);
}

/* Lock held, filters passed. */
static bool store(struct e1000 *s, const uint8_t *frame, size_t n, uint8_t how)
{
    static const uint8_t crc[CRC_BYTES];
    struct rx_descriptor last = {.status = RX_DD | RX_EOP | how};
    struct parcel p = {.piece = {{(void *)frame, n}}, .pieces = 1, .left = n};
    checksum_bits(s, frame, n, &last);
    if ((*e1000_reg(s, R_CTRL) & CTRL_VME) && has_vlan(s, frame, n)) {
        last.status |= RX_VP;
        last.special = (uint16_t)(frame[14] << 8 | frame[15]);
        p.piece[0].iov_len = 12;
        p.piece[1] = (struct iovec){(void *)(frame + 16), n - 16};
        p.pieces = 2;
        p.left -= 4;
    }
    if (!(*e1000_reg(s, R_RCTL) & RCTL_SECRC)) {
        p.piece[p.pieces++] = (struct iovec){(void *)crc, CRC_BYTES};
        p.left += CRC_BYTES;
    }
    uint32_t size = buffer_bytes(s), room = free_buffers(s);
    if ((p.left + size - 1) / size > room) {
        s->starved = 1;
        return false;
    }
    if (!place(s, &p, &last)) {
        log_guest(s->h.log, &s->limit, "e1000-ring", "guest's receive ring is not in RAM");
        return true;
    }
    count_received(s, frame, n);
    uint32_t threshold = entries(s) >> (1 + (*e1000_reg(s, R_RCTL) >> 8 & 3));
    s->rx_news |= free_buffers(s) <= threshold ? ICR_RXT0 | ICR_RXDMT0 : ICR_RXT0;
    return true;
}

bool e1000_receive(void *opaque, const uint8_t *frame, size_t n)
{
    struct e1000 *s = opaque;
    uint8_t how = 0;
    bool taken = true;
    pthread_mutex_lock(&s->lock);
    if ((*e1000_reg(s, R_RCTL) & RCTL_EN) && s->master && passes(s, frame, n, &how))
        taken = store(s, frame, n, how);
    pthread_mutex_unlock(&s->lock);
    return taken;
}

void e1000_batch_end(void *opaque)
{
    struct e1000 *s = opaque;
    pthread_mutex_lock(&s->lock);
    uint32_t causes = s->rx_news;
    s->rx_news = 0;
    if (causes)
        e1000_cause(s, causes);
    pthread_mutex_unlock(&s->lock);
}

bool e1000_rx_buffers(struct e1000 *s)
{
    bool tell = s->starved && (free_buffers(s) || !(*e1000_reg(s, R_RCTL) & RCTL_EN));
    if (tell)
        s->starved = 0;
    return tell;
}
