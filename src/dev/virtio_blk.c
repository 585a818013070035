/* SPDX-License-Identifier: MIT */
/* virtio block device (virtio 1.2, 5.2).
 *
 *   readable   le32 type, le32 reserved, le64 sector; then data of a write or a list of ranges
 *   writable   data of a read; then one status byte
 *
 * Guest memory is handed to the block layer as it is, without a copy. A notification takes all
 * requests there are; those that the block layer finishes at once share one interrupt. The others
 * finish on its threads: each puts its request on a lock-free list, and the thread that finds the
 * list empty takes the lock and finishes whatever has gathered by then, again with one interrupt.
 *
 * Write cache: with VIRTIO_BLK_F_FLUSH the disk has one unless the driver turns `writeback` off;
 * without the feature, or turned off, writes are durable when they are done.
 *
 * Left out: several queues (boards have one processor), SCSI commands, zones, secure erase,
 * barriers of the time before FLUSH, lifetime. */
#include "ring3/devices/virtio_blk.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define F_SEG_MAX      (UINT64_C(1) << 2)
#define F_GEOMETRY     (UINT64_C(1) << 4)
#define F_RO           (UINT64_C(1) << 5)
#define F_BLK_SIZE     (UINT64_C(1) << 6)
#define F_FLUSH        (UINT64_C(1) << 9)
#define F_TOPOLOGY     (UINT64_C(1) << 10)
#define F_CONFIG_WCE   (UINT64_C(1) << 11)
#define F_DISCARD      (UINT64_C(1) << 13)
#define F_WRITE_ZEROES (UINT64_C(1) << 14)

enum { T_IN = 0, T_OUT = 1, T_FLUSH = 4, T_GET_ID = 8, T_DISCARD = 11, T_WRITE_ZEROES = 13 };
enum { S_OK = 0, S_IOERR = 1, S_UNSUPP = 2 };

/* Offsets of the configuration space. */
enum {
    CFG_CAPACITY = 0,
    CFG_SEG_MAX = 12,
    CFG_CYLINDERS = 16,
    CFG_HEADS = 18,
    CFG_SECTORS = 19,
    CFG_BLK_SIZE = 20,
    CFG_PHYSICAL_EXP = 24,
    CFG_MIN_IO = 26,
    CFG_OPT_IO = 28,
    CFG_WRITEBACK = 32,
    CFG_MAX_DISCARD = 36,
    CFG_MAX_DISCARD_SEG = 40,
    CFG_DISCARD_ALIGN = 44,
    CFG_MAX_ZEROES = 48,
    CFG_MAX_ZEROES_SEG = 52,
    CFG_ZEROES_UNMAP = 56,
    CFG_BYTES = 60,
};
#define SECTOR           512u
#define HEADER_BYTES     16u
#define RANGE_BYTES      16u /* le64 sector, le32 sectors, le32 flags */
#define RANGE_FLAG_UNMAP 1u
#define RANGE_MAX        (UINT32_C(1) << 21) /* sectors of a discard: 1 GiB */
#define SERIAL_BYTES     20u
#define HEADS            16u
#define SECTORS          63u
#define IN_FLIGHT        VIRTQ_MAX

struct virtio_blk;

struct request {
    struct block_request r;
    struct virtio_blk *blk;
    struct request *next_done;
    struct virtq_chain c;
    struct iovec data[VIRTQ_PIECES]; /* of c, without header and status byte; the block layer's */
};

struct virtio_blk {
    struct virtio v; /* first */
    struct block *block;
    struct request *requests;           /* IN_FLIGHT of them */
    uint16_t unused[IN_FLIGHT];         /* numbers of those not under way, a stack */
    unsigned unused_count;              /* under the lock, as all above */
    _Atomic(struct request *) finished; /* put there by block threads */
};

static struct virtio_blk *blk_of(struct virtio *v)
{
    return container_of(v, struct virtio_blk, v);
}

/* ---- ends of requests, lock held ------------------------------------------------------------- */

static void release_request(struct virtio_blk *b, struct request *q)
{
    b->unused[b->unused_count++] = (uint16_t)(q - b->requests);
}

/* The status byte is the last writable one. All writable ones count as written, since a read that
 * failed may have stored some of them. */
static void answer(struct virtio_blk *b, struct request *q, uint8_t status)
{
    virtq_write(&q->c, q->c.in_bytes - 1, &status, 1);
    virtq_push(&b->v.q[0], &q->c, q->c.in_bytes);
    release_request(b, q);
}

static uint8_t status_of(const struct block_request *r)
{
    return r->result < 0 ? S_IOERR : S_OK;
}

/* What has gathered on the list, from this thread and others. */
static void finish_gathered(struct virtio_blk *b)
{
    struct request *q = atomic_exchange(&b->finished, NULL);

    while (q) {
        struct request *next = q->next_done;
        answer(b, q, status_of(&q->r));
        q = next;
    }
}

static void take_all(struct virtio_blk *b);

/* A block thread is done with a request; no lock held. */
static void request_done(struct block_request *r)
{
    struct request *q = r->opaque;
    struct virtio_blk *b = q->blk;
    struct request *first = atomic_load_explicit(&b->finished, memory_order_relaxed);

    do
        q->next_done = first;
    while (!atomic_compare_exchange_weak(&b->finished, &first, q));
    if (first)
        return; /* who put the first one there finishes this one, too */
    pthread_mutex_lock(&b->v.lock);
    bool starved = !b->unused_count;
    finish_gathered(b);
    if (starved)
        take_all(b);
    virtio_publish(&b->v, &b->v.q[0]);
    pthread_mutex_unlock(&b->v.lock);
}

/* ---- starts of requests, lock held ----------------------------------------------------------- */

enum { SUBMIT = 0x100 }; /* beside the status values: q->r is ready for the block layer */

static bool range_ok(const struct virtio_blk *b, uint64_t sector, uint64_t bytes)
{
    uint64_t total = b->block->info.bytes;
    return bytes % SECTOR == 0 && sector <= total / SECTOR && bytes <= total - sector * SECTOR;
}

/* q->data: `n` pieces without the first `skip` bytes and the last `cut` of them. */
static void set_data(struct request *q, const struct iovec *piece, unsigned n, uint64_t skip,
                     uint64_t cut)
{
    uint64_t left = 0;
    unsigned used = 0;

    for (unsigned i = 0; i < n; i++)
        left += piece[i].iov_len;
    q->r.len = left - skip - cut;
    left = q->r.len;
    for (; n && left; piece++, n--) {
        if (skip >= piece->iov_len) {
            skip -= piece->iov_len;
            continue;
        }
        uint64_t bytes = piece->iov_len - skip < left ? piece->iov_len - skip : left;
        q->data[used++] = (struct iovec){(uint8_t *)piece->iov_base + skip, bytes};
        left -= bytes;
        skip = 0;
    }
    q->r.iov = q->data;
    q->r.iov_count = used;
}

static unsigned start_read(struct virtio_blk *b, struct request *q, uint64_t sector)
{
    set_data(q, q->c.iov + q->c.out, q->c.in, 0, 1);
    q->r.op = BLOCK_READ;
    q->r.offset = sector * SECTOR;
    return range_ok(b, sector, q->r.len) ? SUBMIT : S_IOERR;
}

/* May data that is written be lost until the next flush? */
static bool write_back(const struct virtio_blk *b)
{
    return virtio_has(&b->v, F_FLUSH) && b->v.config[CFG_WRITEBACK];
}

static unsigned start_write(struct virtio_blk *b, struct request *q, uint64_t sector)
{
    set_data(q, q->c.iov, q->c.out, HEADER_BYTES, 0);
    q->r.op = BLOCK_WRITE;
    q->r.offset = sector * SECTOR;
    q->r.fua = !write_back(b);
    return range_ok(b, sector, q->r.len) ? SUBMIT : S_IOERR;
}

static unsigned start_flush(struct virtio_blk *b, struct request *q, uint64_t sector)
{
    q->r.op = BLOCK_FLUSH;
    return SUBMIT;
}

static unsigned start_get_id(struct virtio_blk *b, struct request *q, uint64_t sector)
{
    char serial[SERIAL_BYTES] = {0};
    uint64_t n = q->c.in_bytes - 1 < SERIAL_BYTES ? q->c.in_bytes - 1 : SERIAL_BYTES;

    memcpy(serial, b->v.dev.instance, strnlen(b->v.dev.instance, SERIAL_BYTES));
    virtq_write(&q->c, 0, serial, n);
    return S_OK;
}

/* A single range, as the configuration space says. */
static unsigned start_range(struct virtio_blk *b, struct request *q, enum block_op op,
                            uint32_t flags_allowed)
{
    uint8_t range[RANGE_BYTES];

    if (q->c.out_bytes != HEADER_BYTES + RANGE_BYTES)
        return S_IOERR;
    virtq_read(&q->c, HEADER_BYTES, range, RANGE_BYTES);
    uint64_t sector = virtio_get(range, 8);
    uint32_t sectors = (uint32_t)virtio_get(range + 8, 4);
    if (virtio_get(range + 12, 4) & ~(uint64_t)flags_allowed)
        return S_UNSUPP;
    q->r.op = op;
    q->r.offset = sector * SECTOR;
    q->r.len = (uint64_t)sectors * SECTOR;
    return sectors <= RANGE_MAX && range_ok(b, sector, q->r.len) ? SUBMIT : S_IOERR;
}

static unsigned start_discard(struct virtio_blk *b, struct request *q, uint64_t sector)
{
    return start_range(b, q, BLOCK_DISCARD, 0);
}

static unsigned start_write_zeroes(struct virtio_blk *b, struct request *q, uint64_t sector)
{
    return start_range(b, q, BLOCK_WRITE_ZEROES, RANGE_FLAG_UNMAP);
}

static const struct kind {
    uint32_t type;
    bool writes;
    uint64_t feature; /* must be offered; 0: always there */
    /* A status to answer with, or SUBMIT. */
    unsigned (*start)(struct virtio_blk *b, struct request *q, uint64_t sector);
} kinds[] = {
    {T_IN, false, 0, start_read},
    {T_OUT, true, 0, start_write},
    {T_FLUSH, false, 0, start_flush},
    {T_GET_ID, false, 0, start_get_id},
    {T_DISCARD, true, F_DISCARD, start_discard},
    {T_WRITE_ZEROES, true, F_WRITE_ZEROES, start_write_zeroes},
};

static unsigned start(struct virtio_blk *b, struct request *q)
{
    uint8_t header[HEADER_BYTES];

    virtq_read(&q->c, 0, header, sizeof header);
    uint32_t type = (uint32_t)virtio_get(header, 4);
    uint64_t sector = virtio_get(header + 8, 8);
    q->r = (struct block_request){.done = request_done, .opaque = q};
    for (unsigned i = 0; i < ARRAY_LEN(kinds); i++) {
        const struct kind *k = &kinds[i];
        if (k->type != type)
            continue;
        if (k->writes && b->block->info.read_only)
            return S_IOERR;
        return k->feature && !(b->v.features & k->feature) ? S_UNSUPP : k->start(b, q, sector);
    }
    return S_UNSUPP;
}

static void take_all(struct virtio_blk *b)
{
    while (b->unused_count) {
        struct request *q = &b->requests[b->unused[b->unused_count - 1]];
        if (!virtio_pop(&b->v, &b->v.q[0], &q->c))
            break;
        if (q->c.out_bytes < HEADER_BYTES || !q->c.in_bytes) {
            virtio_broken(&b->v, "a request has no header, or no room for its status");
            break;
        }
        b->unused_count--;
        unsigned status = start(b, q);
        if (status != SUBMIT)
            answer(b, q, (uint8_t)status);
        else if (block_submit(b->block, &q->r))
            answer(b, q, status_of(&q->r));
    }
}

static void kick(struct virtio *v, unsigned n)
{
    struct virtio_blk *b = blk_of(v);

    take_all(b);
    virtio_publish(v, &v->q[0]);
}

/* ---- life ------------------------------------------------------------------------------------ */

static void started(struct virtio *v)
{
    if (!virtio_has(v, F_FLUSH))
        v->config[CFG_WRITEBACK] = 0;
}

static void config_written(struct virtio *v, unsigned at, unsigned n, uint32_t value)
{
    if (at == CFG_WRITEBACK && n == 1 && virtio_has(v, F_CONFIG_WCE))
        v->config[CFG_WRITEBACK] = value & 1;
}

static void quiesce(struct virtio *v)
{
    block_drain(blk_of(v)->block);
}

static void reset(struct virtio *v)
{
    v->config[CFG_WRITEBACK] = 1;
}

static void release(struct device *d)
{
    struct virtio_blk *b = container_of(d, struct virtio_blk, v.dev);

    block_drain(b->block);
    virtio_destroy(&b->v);
    free(b->requests);
    free(b);
}

static const struct state_field state[] = {
    VIRTIO_STATE(struct virtio_blk, v),
    VIRTQ_STATE(struct virtio_blk, v.q[0]),
};
static const struct device_ops dev_ops = {
    .name = "virtio-blk",
    .reset = virtio_device_reset,
    .free = release,
    .restored = virtio_device_restored,
    .state = state,
    .state_count = ARRAY_LEN(state),
    .figures = virtio_device_figures,
};
static const struct virtio_ops ops = {
    .id = VIRTIO_BLK,
    .queues = 1,
    .kick = kick,
    .started = started,
    .config_written = config_written,
    .quiesce = quiesce,
    .reset = reset,
};

static unsigned log2_of(uint64_t n)
{
    unsigned log = 0;
    while (n >>= 1)
        log++;
    return log;
}

/* The translated geometry that PC firmware would use. */
static void set_geometry(uint8_t *c, uint64_t sectors)
{
    uint64_t cylinders = sectors / (HEADS * SECTORS);

    virtio_put(c + CFG_CYLINDERS, cylinders > UINT16_MAX ? UINT16_MAX : cylinders, 2);
    c[CFG_HEADS] = HEADS;
    c[CFG_SECTORS] = SECTORS;
}

static void set_config(struct virtio_blk *b)
{
    const struct block_info *info = &b->block->info;
    uint8_t *c = b->v.config;
    uint64_t cluster = info->cluster / SECTOR;

    virtio_put(c + CFG_CAPACITY, info->bytes / SECTOR, 8);
    virtio_put(c + CFG_SEG_MAX, VIRTQ_MAX - 2, 4);
    set_geometry(c, info->bytes / SECTOR);
    virtio_put(c + CFG_BLK_SIZE, SECTOR, 4);
    c[CFG_PHYSICAL_EXP] = cluster >= 8 ? 3 : (uint8_t)log2_of(cluster ? cluster : 1);
    virtio_put(c + CFG_MIN_IO, 1, 2);
    virtio_put(c + CFG_OPT_IO, cluster, 4);
    virtio_put(c + CFG_MAX_DISCARD, RANGE_MAX, 4);
    virtio_put(c + CFG_MAX_DISCARD_SEG, 1, 4);
    virtio_put(c + CFG_DISCARD_ALIGN, cluster ? cluster : 1, 4);
    virtio_put(c + CFG_MAX_ZEROES, RANGE_MAX, 4);
    virtio_put(c + CFG_MAX_ZEROES_SEG, 1, 4);
    c[CFG_ZEROES_UNMAP] = 1;
    b->v.config_bytes = CFG_BYTES;
}

static uint64_t offered(const struct block_info *info)
{
    uint64_t f = F_SEG_MAX | F_GEOMETRY | F_BLK_SIZE | F_FLUSH | F_TOPOLOGY |
                 VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX;
    if (info->read_only)
        return f | F_RO;
    return f | F_CONFIG_WCE | F_WRITE_ZEROES | (info->can_discard ? F_DISCARD : 0);
}

struct virtio *virtio_blk_new(const struct dev_host *h, const struct virtio_blk_config *config,
                              struct err *e)
{
    struct virtio_blk *b = calloc(1, sizeof *b);

    if (b)
        b->requests = calloc(IN_FLIGHT, sizeof *b->requests);
    if (!b || !b->requests) {
        free(b);
        err_set(e, ENOMEM, "no-memory", "no memory for virtio disk %s", config->instance);
        return NULL;
    }
    b->block = config->block;
    for (unsigned i = 0; i < IN_FLIGHT; i++) {
        b->unused[b->unused_count++] = (uint16_t)i;
        b->requests[i].blk = b;
    }
    b->v.dev = (struct device){.ops = &dev_ops, .instance = config->instance};
    b->v.ops = &ops;
    b->v.features = offered(&b->block->info);
    set_config(b);
    virtio_init(&b->v, h);
    return &b->v;
}
