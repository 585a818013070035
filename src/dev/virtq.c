/* SPDX-License-Identifier: MIT */
/* Split virtqueues, the device's side (virtio 1.2, 2.6 split virtqueues, 2.6.5.3 indirect
 * descriptors, 2.6.7 and 2.6.8 event index; 2.6.2 the legacy layout).
 *
 *   desc    { le64 address, le32 length, le16 flags, le16 next } [size]
 *   avail   { le16 flags, le16 index, le16 ring[size], le16 used_event }     written by the driver
 *   used    { le16 flags, le16 index, { le32 id, le32 length }[size], le16 avail_event }     by us
 *
 * The guest is an adversary and runs meanwhile. Each word of its rings is loaded once, atomically,
 * into a local; an indirect table is copied before it is looked at. A chain has at most VIRTQ_MAX
 * descriptors, so a loop ends there. Lengths add up to at most VIRTQ_CHAIN_BYTES. Addresses become
 * host pointers through phys_iovec(), which checks that each byte is memory. Anything else marks
 * the queue broken.
 *
 * The rings are kept as host pointers; virtq_remapped() drops them. Order against the guest, on
 * another thread: its index is loaded with acquire, ours stored with release; a full barrier stands
 * between what we wrote (used index, avail_event) and what we look at next (used_event, the
 * available index), so that one of the two sides always sees the other.
 *
 * Left out: packed rings (no driver needs them), VIRTIO_F_IN_ORDER, rings that are not contiguous
 * in the host's memory (RAM of all boards is), big-endian legacy drivers. */
#include "ring3/devices/virtq.h"

#include <stdatomic.h>
#include <string.h>

#define DESC_BYTES   16u
#define DESC_NEXT    1
#define DESC_WRITE   2
#define DESC_TABLE   4
#define NO_INTERRUPT 1 /* flag of the available ring */

#define AVAIL_INDEX 1 /* in words of 16 bits */
#define AVAIL_RING  2
#define USED_INDEX  2 /* in bytes */
#define USED_RING   4
#define USED_BYTES  8

#define ARM_TRIES 8 /* a guest that is faster each time only harms itself */

struct desc {
    uint64_t address;
    uint32_t length;
    uint16_t flags, next;
};

static uint16_t load16(const uint16_t *p)
{
    return __atomic_load_n(p, __ATOMIC_RELAXED);
}

static uint64_t load64(const uint8_t *p)
{
    return __atomic_load_n((const uint64_t *)(const void *)p, __ATOMIC_RELAXED);
}

static enum virtq_result broken(struct virtq *q, const char *why)
{
    q->broken = why;
    return VIRTQ_BROKEN;
}

/* ---- where the rings are --------------------------------------------------------------------- */

static void *ring_host(const struct virtq *q, gpa_t gpa, uint64_t len, unsigned align, bool write)
{
    struct iovec iov;

    if (gpa % align || phys_iovec(q->mem, gpa, len, write, &iov, 1) != 1)
        return NULL;
    return iov.iov_base;
}

static bool map_rings(struct virtq *q)
{
    if (likely(q->mapped))
        return true;
    if (!q->size || q->size > VIRTQ_MAX || (q->size & (q->size - 1)))
        return false;
    unsigned n = q->size;
    q->desc_host = ring_host(q, q->desc, DESC_BYTES * n, 16, false);
    q->avail_host = ring_host(q, q->avail, 2 * (AVAIL_RING + n + 1), 2, false);
    q->used_host = ring_host(q, q->used, USED_RING + USED_BYTES * n + 2, 4, true);
    q->mapped = q->desc_host && q->avail_host && q->used_host;
    return q->mapped;
}

void virtq_reset(struct virtq *q, struct phys *mem)
{
    *q = (struct virtq){.mem = mem};
}

void virtq_remapped(struct virtq *q)
{
    q->mapped = false;
}

void virtq_start(struct virtq *q)
{
    q->mapped = false;
    q->ready = 1;
    q->avail_seen = q->next_avail;
}

void virtq_legacy_layout(struct virtq *q, gpa_t base, uint32_t align)
{
    uint64_t driver_end = base + DESC_BYTES * q->size + 2 * (AVAIL_RING + q->size + 1u);

    q->desc = base;
    q->avail = base + DESC_BYTES * q->size;
    q->used = (driver_end + align - 1) & ~(uint64_t)(align - 1);
    q->mapped = false;
}

void virtq_restored(struct virtq *q)
{
    q->mapped = false;
    q->broken = NULL;
    q->avail_seen = q->next_avail;
    q->published = q->next_used;
}

/* ---- taking chains --------------------------------------------------------------------------- */

/* A descriptor's memory becomes pieces of the chain. */
static enum virtq_result add_buffer(struct virtq *q, struct virtq_chain *c, const struct desc *d)
{
    bool write = d->flags & DESC_WRITE;
    unsigned n = c->out + c->in;
    uint64_t *bytes = write ? &c->in_bytes : &c->out_bytes;

    if (!d->length)
        return VIRTQ_TAKEN;
    if (!write && c->in)
        return broken(q, "a readable buffer follows a writable one");
    if (d->length > VIRTQ_CHAIN_BYTES - c->in_bytes - c->out_bytes)
        return broken(q, "a chain is too long");
    int pieces = phys_iovec(q->mem, d->address, d->length, write, &c->iov[n], VIRTQ_PIECES - n);
    if (pieces < 0)
        return broken(q, "a buffer is not in memory");
    gpa_t gpa = d->address;
    for (int i = 0; i < pieces; i++) {
        c->gpa[n + (unsigned)i] = gpa;
        gpa += c->iov[n + (unsigned)i].iov_len;
    }
    *bytes += d->length;
    if (write)
        c->in += (uint16_t)pieces;
    else
        c->out += (uint16_t)pieces;
    return VIRTQ_TAKEN;
}

static struct desc load_desc(const uint8_t *at)
{
    uint64_t low = load64(at), high = load64(at + 8);

    return (struct desc){low, (uint32_t)high, (uint16_t)(high >> 32), (uint16_t)(high >> 48)};
}

/* The chain is a table elsewhere, which has no tables of its own. */
static enum virtq_result walk_table(struct virtq *q, struct virtq_chain *c, const struct desc *d)
{
    _Alignas(8) uint8_t copy[DESC_BYTES * VIRTQ_MAX];
    unsigned count = d->length / DESC_BYTES, at = 0;

    if (!count || d->length % DESC_BYTES || d->length > sizeof copy)
        return broken(q, "an indirect table has an impossible size");
    if (phys_read(q->mem, d->address, copy, d->length) < 0)
        return broken(q, "an indirect table is not in memory");
    for (unsigned i = 0; i < count; i++) {
        struct desc e = load_desc(copy + DESC_BYTES * at);
        if (e.flags & DESC_TABLE)
            return broken(q, "an indirect table refers to another");
        if (add_buffer(q, c, &e) == VIRTQ_BROKEN)
            return VIRTQ_BROKEN;
        if (!(e.flags & DESC_NEXT))
            return VIRTQ_TAKEN;
        if (e.next >= count)
            return broken(q, "a descriptor leads out of its table");
        at = e.next;
    }
    return broken(q, "descriptors form a loop");
}

static enum virtq_result walk(struct virtq *q, struct virtq_chain *c)
{
    unsigned at = c->head;

    for (unsigned i = 0; i < q->size; i++) {
        struct desc d = load_desc(q->desc_host + DESC_BYTES * at);
        if (d.flags & DESC_TABLE) {
            if (d.flags & DESC_NEXT)
                return broken(q, "an indirect descriptor has a successor");
            return walk_table(q, c, &d);
        }
        if (add_buffer(q, c, &d) == VIRTQ_BROKEN)
            return VIRTQ_BROKEN;
        if (!(d.flags & DESC_NEXT))
            return VIRTQ_TAKEN;
        if (d.next >= q->size)
            return broken(q, "a descriptor leads out of the queue");
        at = d.next;
    }
    return broken(q, "descriptors form a loop");
}

static uint16_t *avail_event(struct virtq *q)
{
    return (uint16_t *)(void *)(q->used_host + USED_RING + USED_BYTES * q->size);
}

/* Ask for a notification when the guest adds an entry at this index, then see what it has added. */
static void ask(struct virtq *q, uint16_t index)
{
    __atomic_store_n(avail_event(q), index, __ATOMIC_RELAXED);
    phys_dma_written(q->mem, q->used + USED_RING + USED_BYTES * q->size, 2);
    atomic_thread_fence(memory_order_seq_cst);
    q->avail_seen = __atomic_load_n(&q->avail_host[AVAIL_INDEX], __ATOMIC_ACQUIRE);
}

static void look_for_more(struct virtq *q)
{
    q->avail_seen = __atomic_load_n(&q->avail_host[AVAIL_INDEX], __ATOMIC_ACQUIRE);
    if (q->avail_seen == q->next_avail && q->event_idx)
        ask(q, q->next_avail);
}

void virtq_arm(struct virtq *q)
{
    if (!q->ready || q->broken || !q->event_idx || !map_rings(q))
        return;
    for (unsigned i = 0; i < ARM_TRIES; i++) {
        uint16_t index = q->avail_seen;
        ask(q, index);
        if (q->avail_seen == index)
            return;
    }
}

enum virtq_result virtq_pop(struct virtq *q, struct virtq_chain *c)
{
    if (!q->ready)
        return VIRTQ_EMPTY;
    if (q->broken)
        return VIRTQ_BROKEN;
    if (!map_rings(q))
        return broken(q, "the rings are not in memory");
    if (q->avail_seen == q->next_avail)
        look_for_more(q);
    if (q->avail_seen == q->next_avail)
        return VIRTQ_EMPTY;
    if ((uint16_t)(q->avail_seen - q->next_avail) > q->size)
        return broken(q, "the available index is ahead by more than the queue holds");
    uint16_t head = load16(&q->avail_host[AVAIL_RING + (q->next_avail & (q->size - 1u))]);
    if (head >= q->size)
        return broken(q, "an available entry names no descriptor");
    c->head = head;
    c->out = c->in = 0;
    c->out_bytes = c->in_bytes = 0;
    q->next_avail++;
    return walk(q, c);
}

void virtq_rewind(struct virtq *q, unsigned n)
{
    q->next_avail = (uint16_t)(q->next_avail - n);
}

void virtq_undo(struct virtq *q, unsigned n)
{
    virtq_rewind(q, n);
    q->next_used = (uint16_t)(q->next_used - n);
}

/* ---- giving them back ------------------------------------------------------------------------ */

void virtq_report(struct virtq *q, const struct virtq_chain *c, uint64_t n)
{
    for (unsigned i = c->out; i < c->out + c->in && n; i++) {
        uint64_t part = c->iov[i].iov_len < n ? c->iov[i].iov_len : n;
        phys_dma_written(q->mem, c->gpa[i], part);
        n -= part;
    }
}

void virtq_push(struct virtq *q, const struct virtq_chain *c, uint64_t written)
{
    virtq_report(q, c, written);
    if (!q->ready || q->broken || !map_rings(q))
        return;
    uint64_t at = USED_RING + USED_BYTES * (q->next_used & (q->size - 1u));
    uint32_t *entry = (uint32_t *)(void *)(q->used_host + at);
    __atomic_store_n(&entry[0], c->head, __ATOMIC_RELAXED);
    __atomic_store_n(&entry[1], (uint32_t)written, __ATOMIC_RELAXED);
    q->next_used++;
    phys_dma_written(q->mem, q->used + at, USED_BYTES);
}

bool virtq_publish(struct virtq *q)
{
    uint16_t old = q->published, new = q->next_used;

    if (new == old || !q->ready || q->broken || !map_rings(q))
        return false;
    __atomic_store_n((uint16_t *)(void *)(q->used_host + USED_INDEX), new, __ATOMIC_RELEASE);
    q->published = new;
    phys_dma_written(q->mem, q->used + USED_INDEX, 2);
    atomic_thread_fence(memory_order_seq_cst);
    if (!q->event_idx)
        return !(load16(&q->avail_host[0]) & NO_INTERRUPT);
    uint16_t event = load16(&q->avail_host[AVAIL_RING + q->size]);
    return (uint16_t)(new - event - 1) < (uint16_t)(new - old);
}

/* ---- copies ---------------------------------------------------------------------------------- */

/* The next run of pieces [*i, end) from byte *at on; NULL at the end. */
static uint8_t *run_at(const struct virtq_chain *c, unsigned *i, unsigned end, uint64_t *at,
                       uint64_t *n)
{
    while (*i < end && *at >= c->iov[*i].iov_len)
        *at -= c->iov[(*i)++].iov_len;
    if (*i == end)
        return NULL;
    uint64_t left = c->iov[*i].iov_len - *at;
    if (*n > left)
        *n = left;
    return (uint8_t *)c->iov[*i].iov_base + *at;
}

uint64_t virtq_read(const struct virtq_chain *c, uint64_t at, void *buf, uint64_t n)
{
    uint64_t done = 0;
    unsigned i = 0;

    while (done < n) {
        uint64_t part = n - done;
        const uint8_t *p = run_at(c, &i, c->out, &at, &part);
        if (!p)
            break;
        memcpy((uint8_t *)buf + done, p, part);
        done += part;
        at += part;
    }
    return done;
}

uint64_t virtq_write(const struct virtq_chain *c, uint64_t at, const void *buf, uint64_t n)
{
    uint64_t done = 0;
    unsigned i = c->out;

    while (done < n) {
        uint64_t part = n - done;
        uint8_t *p = run_at(c, &i, c->out + c->in, &at, &part);
        if (!p)
            break;
        memcpy(p, (const uint8_t *)buf + done, part);
        done += part;
        at += part;
    }
    return done;
}
