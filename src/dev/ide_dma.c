/* SPDX-License-Identifier: MIT */
/* The bus master of an IDE channel (Programming Interface for Bus Master IDE Controller 1.0; PIIX4
 * datasheet 290562, 5.2). Eight registers per channel:
 *
 *   +0 command   start 0, to memory 3
 *   +2 status    active 0, error 1 and interrupt 2 (write 1 to clear), drive capable 5 and 6
 *   +4 address of the table of physical region descriptors, 4-byte aligned
 *
 *   descriptor:  address (even)  |  bytes (even, 0 for 64 KiB), bit 63 in the last one
 *
 * A table is read once, when drive and bus master are both ready, and as far as the transfer needs.
 * The whole transfer is then one request to the image, straight to or from guest memory. A table
 * that is too short or names something that is not memory moves nothing: the bus master goes
 * inactive, in the latter case with its error bit, and the drive waits for a reset.
 *
 * Left out: stopping a transfer half-way, as it may be complete already; the direction bit, since
 * the drive's command says the direction. */
#include "dev/ide.h"

#include <errno.h>
#include <string.h>

enum { BM_START = 0x01, BM_KEPT = 0x09 };
enum { BM_ACTIVE = 0x01, BM_ERROR = 0x02, BM_INTERRUPT = 0x04, BM_CAPABLE = 0x60 };
#define END_OF_TABLE 0x80

static uint32_t le32(const uint8_t *p)
{
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* ---- descriptor tables ----------------------------------------------------------------------- */

/* Add [gpa, +len) to the channel's list. 0 or -errno. */
static int add_piece(struct ide_channel *c, uint32_t gpa, uint32_t len, bool to_guest)
{
    unsigned used = c->request.iov_count;
    int n = phys_iovec(c->ide->h.mem, gpa, len, to_guest, c->iov + used,
                       (unsigned)ARRAY_LEN(c->iov) - used);

    if (n < 0)
        return n;
    c->request.iov_count += (unsigned)n;
    if (to_guest)
        c->piece[c->pieces++] = (struct ide_piece){gpa, len};
    return 0;
}

/* Find guest memory for `want` bytes. Returns how many there are, or -errno. */
static int64_t gather(struct ide_channel *c, uint64_t want, bool to_guest)
{
    uint64_t total = 0;

    c->pieces = 0;
    c->request.iov_count = 0;
    for (unsigned i = 0; i < IDE_MAX_PRDS && total < want; i++) {
        uint8_t raw[8];
        gpa_t at = (c->bm.table & 0xffff0000) | ((c->bm.table + 8 * i) & 0xfffc);
        if (phys_read(c->ide->h.mem, at, raw, sizeof raw) < 0)
            return -EFAULT;
        uint32_t gpa = le32(raw) & ~1u, len = le32(raw + 4) & 0xfffe;
        len = len ? len : 0x10000;
        uint32_t n = len < want - total ? len : (uint32_t)(want - total);
        int r = add_piece(c, gpa, n, to_guest);
        if (r < 0)
            return r;
        total += n;
        c->table_ends = (raw[7] & END_OF_TABLE) && n == len;
        if (raw[7] & END_OF_TABLE)
            break;
    }
    return (int64_t)total;
}

void ide_dma_written(struct ide_channel *c)
{
    for (unsigned i = 0; i < c->pieces; i++)
        phys_dma_written(c->ide->h.mem, c->piece[i].gpa, c->piece[i].len);
    c->pieces = 0;
}

/* ---- jobs ------------------------------------------------------------------------------------ */

/* The table was right for the transfer: the bus master is idle. Too long: it waits for more. */
static void used_up(struct ide_channel *c)
{
    if (c->table_ends)
        c->bm.status &= (uint8_t)~BM_ACTIVE;
}

static void read_done(struct ide_channel *c, struct ide_drive *d, int result)
{
    if (result < 0) {
        ide_read_failed(c, d, result);
        return;
    }
    used_up(c);
    ide_complete(c, d);
}

static void cd_read_done(struct ide_channel *c, struct ide_drive *d, int result)
{
    if (result < 0) {
        ide_cd_read_failed(c, d);
        return;
    }
    used_up(c);
    ide_cd_complete(c, d);
}

static void write_done(struct ide_channel *c, struct ide_drive *d, int result)
{
    if (result < 0) {
        ide_write_failed(c, d, result);
        return;
    }
    used_up(c);
    ide_complete(c, d);
}

static void transfer(struct ide_channel *c, enum block_op op, uint32_t sector, ide_then_fn then)
{
    c->request.op = op;
    c->request.fua = op == BLOCK_WRITE && c->t.fua;
    c->request.offset = c->t.lba * sector;
    c->request.len = (uint64_t)c->t.left * sector;
    c->request.iov = c->iov;
    ide_submit(c, then);
}

/* Between the buffer and guest memory. */
static void copy(struct ide_channel *c, bool to_guest)
{
    uint8_t *p = c->t.buf;

    for (unsigned i = 0; i < c->request.iov_count; i++) {
        struct iovec *v = &c->iov[i];
        memcpy(to_guest ? v->iov_base : p, to_guest ? p : v->iov_base, v->iov_len);
        p += v->iov_len;
    }
    ide_dma_written(c);
    used_up(c);
}

static void run_read(struct ide_channel *c, struct ide_drive *d)
{
    transfer(c, BLOCK_READ, IDE_SECTOR, read_done);
}

static void run_write(struct ide_channel *c, struct ide_drive *d)
{
    transfer(c, BLOCK_WRITE, IDE_SECTOR, write_done);
}

static void run_cd_read(struct ide_channel *c, struct ide_drive *d)
{
    transfer(c, BLOCK_READ, IDE_CD_SECTOR, cd_read_done);
}

static void run_reply(struct ide_channel *c, struct ide_drive *d)
{
    copy(c, true);
    ide_complete(c, d);
}

static void run_cd_reply(struct ide_channel *c, struct ide_drive *d)
{
    copy(c, true);
    ide_cd_complete(c, d);
}

static void run_trim(struct ide_channel *c, struct ide_drive *d)
{
    copy(c, false);
    ide_trim(c, d);
}

static const struct {
    void (*run)(struct ide_channel *c, struct ide_drive *d);
    uint16_t sector; /* bytes per unit of t.left; 0: t.filled bytes of the buffer */
    bool to_guest;
} jobs[JOB_COUNT] = {
    [JOB_READ] = {run_read, IDE_SECTOR, true},
    [JOB_WRITE] = {run_write, IDE_SECTOR, false},
    [JOB_REPLY] = {run_reply, 0, true},
    [JOB_TRIM] = {run_trim, 0, false},
    [JOB_CD_READ] = {run_cd_read, IDE_CD_SECTOR, true},
    [JOB_CD_REPLY] = {run_cd_reply, 0, true},
};

static void stall(struct ide_channel *c, struct ide_drive *d, bool fault)
{
    c->bm.status &= (uint8_t)~BM_ACTIVE;
    if (fault)
        c->bm.status |= BM_ERROR;
    c->pieces = 0;
    ide_offer(c, d, PHASE_STALLED);
    log_guest(c->ide->h.log, &c->ide->limit, "ide-dma", "guest gave drive %u a table of memory %s",
              d->number, fault ? "that is not memory" : "too small for the transfer");
}

/* Drive and bus master both wait for each other: go. */
static void start_if_ready(struct ide_channel *c)
{
    struct ide_drive *d = ide_owner(c);

    if (c->t.phase != PHASE_DMA || !(c->bm.command & BM_START) || !jobs[c->t.job].run)
        return;
    unsigned sector = jobs[c->t.job].sector;
    uint64_t want = sector ? (uint64_t)c->t.left * sector : c->t.filled;
    c->request = (struct block_request){.iov = c->iov};
    int64_t have = gather(c, want, jobs[c->t.job].to_guest);
    if (have < 0 || (uint64_t)have < want) {
        stall(c, d, have < 0);
        return;
    }
    c->t.phase = PHASE_IDLE;
    jobs[c->t.job].run(c, d);
}

void ide_dma_begin(struct ide_channel *c, struct ide_drive *d, enum ide_job job)
{
    c->t.job = (uint8_t)job;
    ide_offer(c, d, PHASE_DMA);
    start_if_ready(c);
}

/* ---- registers ------------------------------------------------------------------------------- */

void ide_dma_interrupt(struct ide_channel *c)
{
    c->bm.status |= BM_INTERRUPT;
}

void ide_dma_reset(struct ide_channel *c)
{
    c->bm = (struct ide_bus_master){0};
}

static void write_command(struct ide_channel *c, uint8_t value)
{
    uint8_t changed = c->bm.command ^ value;

    c->bm.command = value & BM_KEPT;
    if (!(changed & BM_START))
        return;
    if (value & BM_START) {
        c->bm.status |= BM_ACTIVE;
        start_if_ready(c);
    } else {
        c->bm.status &= (uint8_t)~BM_ACTIVE;
    }
}

static void write_status(struct ide_channel *c, uint8_t value)
{
    uint8_t kept = c->bm.status & (BM_ACTIVE | (~value & (BM_ERROR | BM_INTERRUPT)));
    c->bm.status = (uint8_t)(kept | (value & BM_CAPABLE));
}

static uint8_t read_byte(const struct ide_channel *c, unsigned at)
{
    if (at >= 4)
        return (uint8_t)(c->bm.table >> 8 * (at - 4));
    return at == 0 ? c->bm.command : at == 2 ? c->bm.status : 0;
}

static void write_byte(struct ide_channel *c, unsigned at, uint8_t value)
{
    if (at == 0) {
        write_command(c, value);
    } else if (at == 2) {
        write_status(c, value);
    } else if (at >= 4) {
        unsigned shift = 8 * (at - 4);
        c->bm.table = (c->bm.table & ~(UINT32_C(0xff) << shift)) | (uint32_t)value << shift;
        c->bm.table &= ~3u;
    }
}

static uint64_t bus_master_read(void *opaque, uint64_t offset, unsigned size)
{
    struct ide *s = opaque;
    uint64_t value = 0;

    ide_enter(s);
    for (unsigned i = 0; i < size; i++)
        value |= (uint64_t)read_byte(&s->channel[offset >> 3 & 1], (offset & 7) + i) << 8 * i;
    pthread_mutex_unlock(&s->lock);
    return value;
}

static void bus_master_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct ide *s = opaque;

    ide_enter(s);
    for (unsigned i = 0; i < size; i++)
        write_byte(&s->channel[offset >> 3 & 1], (offset & 7) + i, (uint8_t)(value >> 8 * i));
    pthread_mutex_unlock(&s->lock);
}

const struct io_ops ide_bus_master_ops = {bus_master_read, bus_master_write, 1, 4};
