/* SPDX-License-Identifier: MIT */
/* virtio-blk over both kinds of drivers, against a disk in memory whose requests finish when the
 * test says; and what the two PCI faces have in common. */
#include "virtio_rig.h"

#include <errno.h>

#include "ring3/devices/virtio_blk.h"

#define SECTORS   2048u
#define HEADER    0x300000u
#define DATA      0x310000u
#define STATUS    0x3f0000u
#define UNTOUCHED 0xee

/* A disk in memory. */
struct fake {
    struct block block;
    uint8_t bytes[SECTORS * 512];
    bool slow, broken;
    struct block_request *waiting[300];
    unsigned waits;
    char log[4096]; /* "R0+1 " */
};

static void transfer(struct fake *f, struct block_request *r)
{
    uint64_t at = r->offset;
    r->result = f->broken ? -EIO : 0;
    for (unsigned i = 0; i < r->iov_count && !f->broken; i++) {
        if (r->op == BLOCK_READ)
            memcpy(r->iov[i].iov_base, f->bytes + at, r->iov[i].iov_len);
        else
            memcpy(f->bytes + at, r->iov[i].iov_base, r->iov[i].iov_len);
        at += r->iov[i].iov_len;
    }
    if (r->op == BLOCK_WRITE_ZEROES)
        memset(f->bytes + r->offset, 0, r->len);
    r->iov = NULL; /* a backend may use up what it was given */
}

static bool fake_submit(struct block *b, struct block_request *r)
{
    struct fake *f = container_of(b, struct fake, block);
    size_t n = strlen(f->log);
    uint64_t sum = 0;
    for (unsigned i = 0; i < r->iov_count; i++)
        sum += r->iov[i].iov_len;
    if (r->op == BLOCK_READ || r->op == BLOCK_WRITE)
        assert_int_equal(sum, r->len);
    assert_true(r->offset % 512 == 0 && r->len % 512 == 0);
    assert_true(r->offset + r->len <= sizeof f->bytes);
    snprintf(f->log + n, sizeof f->log - n, "%c%u+%u%s ", "RWFDZ"[r->op],
             (unsigned)(r->offset / 512), (unsigned)(r->len / 512), r -> fua ? "!" : "");
    if (!f->slow) {
        transfer(f, r);
        return true;
    }
    assert_true(f->waits < ARRAY_LEN(f->waiting));
    f->waiting[f->waits++] = r;
    return false;
}

static void fake_drain(struct block *b)
{
    struct fake *f = container_of(b, struct fake, block);
    for (unsigned i = 0; i < f->waits; i++) {
        transfer(f, f->waiting[i]);
        f->waiting[i]->done(f->waiting[i]);
    }
    f->waits = 0;
}

static const struct block_ops fake_ops = {fake_submit, fake_drain, NULL};

static struct fake *new_fake(bool read_only)
{
    struct fake *f = calloc(1, sizeof *f);
    f->block.ops = &fake_ops;
    f->block.info = (struct block_info){sizeof f->bytes, read_only, true, 4096, "fake", "fake"};
    for (size_t i = 0; i < sizeof f->bytes; i++)
        f->bytes[i] = (uint8_t)(i * 7 + i / 512);
    return f;
}

struct bench {
    struct vr *d;
    struct fake *disk;
};

static struct bench new_bench(bool modern, bool legacy, bool read_only)
{
    struct device *pci;
    struct rig *r = vr_rig(&pci);
    struct bench b = {.disk = new_fake(read_only)};
    struct virtio_blk_config c = {"drive0", &b.disk->block};
    b.d = vr_new(r, pci, virtio_blk_new(&r->host, &c, NULL), modern, legacy);
    return b;
}

static void free_bench(struct bench *b)
{
    vr_free(b->d);
    free(b->disk);
}

static void header(struct bench *b, unsigned slot, unsigned type, uint64_t sector)
{
    struct phys *mem = b->d->r->host.mem;
    put(mem, HEADER + 64 * slot, type, 8);
    put(mem, HEADER + 64 * slot + 8, sector, 8);
    put(mem, STATUS + slot, UNTOUCHED, 1);
}

/* A request of one data buffer at DATA + 64 KiB * slot. */
static void request(struct bench *b, unsigned slot, unsigned type, uint64_t sector, uint32_t len)
{
    const struct vr_buffer with[] = {{HEADER + 64 * slot, 16, false},
                                     {DATA + 0x10000 * slot, len, type == 0 || type == 8},
                                     {STATUS + slot, 1, true}};
    const struct vr_buffer without[] = {with[0], with[2]};
    header(b, slot, type, sector);
    if (len)
        vr_offer(b->d, 0, slot, with, 3);
    else
        vr_offer(b->d, 0, slot, without, 2);
}

static unsigned status(struct bench *b, unsigned slot)
{
    return (unsigned)get(b->d->r->host.mem, STATUS + slot, 1);
}

/* Whole: kick, wait for the answer, acknowledge. */
static unsigned run(struct bench *b, unsigned type, uint64_t sector, uint32_t len)
{
    uint32_t id, written;
    request(b, 0, type, sector, len);
    vr_kick(b->d, 0);
    assert_true(gq_used(&b->d->q[0], &id, &written));
    assert_int_equal(id, 0);
    assert_int_equal(b->d->r->level[0], 1);
    assert_int_equal(vr_isr(b->d), 1);
    assert_int_equal(b->d->r->level[0], 0);
    assert_int_equal(vr_isr(b->d), 0);
    return status(b, 0);
}

static const char *disk_log(struct bench *b)
{
    static char copy[4096];
    strcpy(copy, b->disk->log);
    b->disk->log[0] = 0;
    return copy;
}

/* ---- both kinds of drivers ------------------------------------------------------------------- */

static void reads_and_writes(bool modern, bool legacy)
{
    struct bench b = new_bench(modern, legacy, false);
    uint8_t copy[1024];
    struct phys *mem = b.d->r->host.mem;
    uint64_t f = vr_start(b.d, VR_ALL & ~VIRTIO_F_EVENT_IDX, 1);
    assert_int_equal(!!(f & VIRTIO_F_VERSION_1), modern);
    assert_int_equal(vr_config(b.d, 0, 4), SECTORS);
    assert_int_equal(vr_config(b.d, 20, 4), 512);

    assert_int_equal(run(&b, 0, 3, 1024), 0);
    phys_read(mem, DATA, copy, sizeof copy);
    assert_memory_equal(copy, b.disk->bytes + 3 * 512, 1024);
    for (unsigned i = 0; i < 512; i++)
        put(mem, DATA + i, i * 3, 1);
    assert_int_equal(run(&b, 1, 100, 512), 0);
    assert_int_equal(b.disk->bytes[100 * 512 + 9], 27);
    assert_int_equal(run(&b, 4, 0, 0), 0);
    assert_string_equal(disk_log(&b), "R3+2 W100+1 F0+0 ");

    assert_int_equal(run(&b, 8, 0, 20), 0);
    phys_read(mem, DATA, copy, 20);
    assert_string_equal((char *)copy, "drive0");

    assert_int_equal(run(&b, 0, SECTORS - 1, 1024), 1); /* runs over the end */
    assert_int_equal(run(&b, 0, UINT64_MAX, 512), 1);
    assert_int_equal(run(&b, 1, UINT64_MAX / 512, 512), 1);
    assert_int_equal(run(&b, 0, 0, 100), 1); /* no whole sector */
    assert_int_equal(run(&b, 2, 0, 512), 2); /* a SCSI command */
    assert_string_equal(disk_log(&b), "");
    b.disk->broken = true;
    assert_int_equal(run(&b, 0, 0, 512), 1);
    free_bench(&b);
}

static void modern_driver(void **state)
{
    reads_and_writes(true, false);
    reads_and_writes(true, true);
}

static void legacy_driver(void **state)
{
    reads_and_writes(false, true);
}

static void identities(void **state)
{
    static const struct {
        bool modern, legacy;
        unsigned device, revision, subsystem;
    } rows[] = {
        {true, true, 0x1001, 0, 2}, {false, true, 0x1001, 0, 2}, {true, false, 0x1042, 1, 0}};
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
        struct bench b = new_bench(rows[i].modern, rows[i].legacy, false);
        assert_int_equal(vr_cfg_read(b.d, 0, 2), 0x1af4);
        assert_int_equal(vr_cfg_read(b.d, 2, 2), rows[i].device);
        assert_int_equal(vr_cfg_read(b.d, 8, 1), rows[i].revision);
        if (rows[i].legacy)
            assert_int_equal(vr_cfg_read(b.d, 0x2e, 2), rows[i].subsystem);
        free_bench(&b);
    }
}

/* ---- features -------------------------------------------------------------------------------- */

static void features_are_checked(void **state)
{
    struct bench b = new_bench(true, true, false);
    struct vr *d = b.d;
    assert_true(vr_offered(d) & VIRTIO_F_VERSION_1);
    vr_set_status(d, 3);
    vr_set_status(d, 11); /* without VERSION_1 */
    assert_int_equal(vr_status(d), 3);
    vr_set_status(d, 0);
    vr_negotiate(d, VR_ALL);
    mem_write(d, d->common + 8, 4, 0);
    mem_write(d, d->common + 12, 4, 0); /* too late */
    assert_int_not_equal(mem_read(d, d->common + 12, 4), 0);
    mem_write(d, d->common + 8, 4, 2);
    mem_write(d, d->common + 12, 4, UINT32_MAX); /* no such half */
    assert_int_equal(mem_read(d, d->common + 12, 4), 0);
    vr_set_status(d, 0);
    mem_write(d, d->common + 8, 4, 0);
    mem_write(d, d->common + 12, 4, UINT32_MAX); /* only what is offered stays */
    assert_int_equal(mem_read(d, d->common + 12, 4) & ~(uint32_t)vr_offered(d), 1u << 27);
    free_bench(&b);
}

static void read_only_disks_refuse_writes(void **state)
{
    struct bench b = new_bench(true, true, true);
    uint64_t f = vr_start(b.d, VR_ALL & ~VIRTIO_F_EVENT_IDX, 1);
    assert_true(f & 1 << 5);
    assert_false(f & (1 << 13 | 1 << 14));
    assert_int_equal(run(&b, 1, 0, 512), 1);
    assert_int_equal(run(&b, 13, 0, 16), 1);
    assert_int_equal(run(&b, 0, 0, 512), 0);
    assert_string_equal(disk_log(&b), "R0+1 ");
    free_bench(&b);
}

/* 5.2.6.2: without FLUSH, or with `writeback` off, what is written is durable. */
static void write_cache_follows_the_driver(void **state)
{
    struct bench b = new_bench(true, true, false);
    vr_start(b.d, VIRTIO_F_VERSION_1 | 1 << 9 | 1 << 11, 1);
    assert_int_equal(vr_config(b.d, 32, 1), 1);
    run(&b, 1, 0, 512);
    vr_set_config(b.d, 32, 1, 0);
    assert_int_equal(vr_config(b.d, 32, 1), 0);
    run(&b, 1, 0, 512);
    vr_set_config(b.d, 32, 1, 1);
    run(&b, 1, 0, 512);
    assert_string_equal(disk_log(&b), "W0+1 W0+1! W0+1 ");
    vr_set_config(b.d, 0, 4, 5); /* the capacity is not the driver's */
    assert_int_equal(vr_config(b.d, 0, 4), SECTORS);
    vr_start(b.d, VIRTIO_F_VERSION_1, 1);
    run(&b, 1, 0, 512);
    assert_string_equal(disk_log(&b), "W0+1! ");
    free_bench(&b);
}

static void ranges(void **state)
{
    struct bench b = new_bench(true, true, false);
    struct phys *mem = b.d->r->host.mem;
    static const struct {
        unsigned type;
        uint64_t sector;
        uint32_t sectors, flags;
        unsigned status;
        const char *log;
    } rows[] = {
        {11, 16, 8, 0, 0, "D16+8 "},     {11, 16, 8, 1, 2, ""},
        {13, 100, 50, 0, 0, "Z100+50 "}, {13, 100, 50, 1, 0, "Z100+50 "},
        {13, 100, 50, 2, 2, ""},         {13, 100, SECTORS, 0, 1, ""},
        {11, UINT64_MAX, 1, 0, 1, ""},   {11, 0, UINT32_MAX, 0, 1, ""},
    };
    vr_start(b.d, VR_ALL & ~VIRTIO_F_EVENT_IDX, 1);
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
        put(mem, DATA, rows[i].sector, 8);
        put(mem, DATA + 8, rows[i].sectors, 4);
        put(mem, DATA + 12, rows[i].flags, 4);
        assert_int_equal(run(&b, rows[i].type, 0, 16), rows[i].status);
        assert_string_equal(disk_log(&b), rows[i].log);
    }
    assert_int_equal(b.disk->bytes[100 * 512], 0);
    assert_int_equal(run(&b, 11, 0, 32), 1); /* two ranges: one is the most */
    free_bench(&b);
}

/* ---- layouts, batches, threads --------------------------------------------------------------- */

/* 2.7.4: nothing may depend on where buffers are cut. */
static void framing_is_free(void **state)
{
    struct bench b = new_bench(true, false, false);
    struct phys *mem = b.d->r->host.mem;
    uint8_t copy[512];
    uint32_t id, len;
    vr_start(b.d, VR_ALL & ~VIRTIO_F_EVENT_IDX, 1);
    header(&b, 0, 0, 7);
    const struct vr_buffer read[] = {{HEADER, 3, false},    {HEADER + 3, 13, false},
                                     {DATA, 100, true},     {DATA + 100, 411, true},
                                     {DATA + 511, 1, true}, {STATUS, 1, true}};
    vr_offer(b.d, 0, 0, read, 6);
    /* The data's end and the status byte in one buffer; header and data in one. */
    header(&b, 1, 0, 9);
    const struct vr_buffer joint[] = {{HEADER + 64, 16, false}, {DATA + 0x10000, 513, true}};
    vr_offer(b.d, 0, 1, joint, 2);
    header(&b, 2, 1, 20);
    for (unsigned i = 0; i < 512; i++)
        put(mem, HEADER + 128 + 16 + i, 0x55, 1);
    const struct vr_buffer write[] = {{HEADER + 128, 528, false}, {STATUS + 2, 1, true}};
    vr_offer(b.d, 0, 2, write, 2);
    vr_kick(b.d, 0);
    assert_true(gq_used(&b.d->q[0], &id, &len));
    assert_int_equal(len, 513);
    assert_int_equal(status(&b, 0), 0);
    phys_read(mem, DATA, copy, 512);
    assert_memory_equal(copy, b.disk->bytes + 7 * 512, 512);
    assert_int_equal(get(mem, DATA + 0x10000 + 512, 1), 0);
    phys_read(mem, DATA + 0x10000, copy, 512);
    assert_memory_equal(copy, b.disk->bytes + 9 * 512, 512);
    assert_int_equal(b.disk->bytes[20 * 512 + 511], 0x55);
    assert_string_equal(disk_log(&b), "R7+1 R9+1 W20+1 ");
    assert_int_equal(b.d->r->rises[0], 1); /* three requests, one interrupt */
    free_bench(&b);
}

static void slow_requests_finish_from_elsewhere(void **state)
{
    struct bench b = new_bench(true, true, false);
    uint32_t id, len;
    vr_start(b.d, VR_ALL, 1);
    b.disk->slow = true;
    for (unsigned i = 0; i < 4; i++)
        request(&b, i, 0, i, 512);
    vr_kick(b.d, 0);
    assert_false(gq_used(&b.d->q[0], &id, &len));
    assert_int_equal(status(&b, 3), UNTOUCHED);
    gq_used_event(&b.d->q[0], 3); /* interrupt me after the fourth */
    block_drain(&b.disk->block);
    for (unsigned i = 0; i < 4; i++) {
        assert_true(gq_used(&b.d->q[0], &id, &len));
        assert_int_equal(id, 8 * i);
        assert_int_equal(status(&b, i), 0);
    }
    assert_int_equal(b.d->r->rises[0], 1);
    free_bench(&b);
}

/* A head given again and again: more requests than can be under way wait their turn. */
static void requests_under_way_are_bounded(void **state)
{
    struct bench b = new_bench(false, true, false);
    uint32_t id, len;
    unsigned answers = 0;
    vr_start(b.d, VR_ALL, 1);
    b.disk->slow = true;
    request(&b, 0, 0, 0, 512);
    for (unsigned i = 1; i < 256; i++)
        gq_offer(&b.d->q[0], 0);
    vr_kick(b.d, 0);
    for (unsigned i = 0; i < 200; i++)
        gq_offer(&b.d->q[0], 0); /* the ring has room, as these were taken */
    vr_kick(b.d, 0);
    assert_int_equal(b.disk->waits, 256);
    b.disk->slow = false; /* what starts from now on is done at once */
    block_drain(&b.disk->block);
    while (gq_used(&b.d->q[0], &id, &len))
        answers++;
    assert_int_equal(answers, 456);
    free_bench(&b);
}

/* A reset waits: afterwards nothing is stored in the guest's memory any more. */
static void reset_waits_for_requests(void **state)
{
    struct bench b = new_bench(true, true, false);
    vr_start(b.d, VR_ALL, 1);
    b.disk->slow = true;
    request(&b, 0, 0, 0, 512);
    vr_kick(b.d, 0);
    assert_int_equal(b.disk->waits, 1);
    vr_set_status(b.d, 0);
    assert_int_equal(b.disk->waits, 0);
    assert_int_equal(vr_status(b.d), 0);
    assert_int_equal(b.d->r->level[0], 0);
    b.disk->slow = false;
    vr_start(b.d, VR_ALL & ~VIRTIO_F_EVENT_IDX, 1);
    assert_int_equal(run(&b, 0, 3, 512), 0);
    free_bench(&b);
}

static void senseless_requests_need_a_reset(void **state)
{
    static const struct vr_buffer rows[][2] = {
        {{HEADER, 15, false}, {STATUS, 1, true}},  /* half a header */
        {{HEADER, 16, false}, {HEADER, 1, false}}, /* no status */
    };
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
        struct bench b = new_bench(true, true, false);
        b.d->r->log.level = LOG_ERROR;
        vr_start(b.d, VR_ALL & ~VIRTIO_F_EVENT_IDX, 1);
        vr_offer(b.d, 0, 0, rows[i], 2);
        vr_kick(b.d, 0);
        assert_int_equal(vr_status(b.d) & 0x40, 0x40);
        assert_int_equal(vr_isr(b.d), 2);
        request(&b, 1, 0, 0, 512);
        vr_kick(b.d, 0);
        assert_int_equal(status(&b, 1), UNTOUCHED);
        vr_start(b.d, VR_ALL & ~VIRTIO_F_EVENT_IDX, 1);
        assert_int_equal(run(&b, 0, 0, 512), 0);
        free_bench(&b);
    }
}

/* ---- transport ------------------------------------------------------------------------------- */

/* 4.1.4.9: the same registers through configuration space. */
static void window_in_configuration_space(void **state)
{
    struct bench b = new_bench(true, true, false);
    struct vr *d = b.d;
    vr_cfg_write(d, d->window + 4, 1, 1);
    vr_cfg_write(d, d->window + 8, 4, d->device - VR_MEMORY);
    vr_cfg_write(d, d->window + 12, 4, 4);
    assert_int_equal(vr_cfg_read(d, d->window + 16, 4), SECTORS);
    vr_cfg_write(d, d->window + 8, 4, d->common - VR_MEMORY + 20);
    vr_cfg_write(d, d->window + 12, 4, 1);
    vr_cfg_write(d, d->window + 16, 1, 3);
    assert_int_equal(vr_status(d), 3);
    assert_int_equal(vr_cfg_read(d, d->window + 16, 1), 3);
    for (unsigned i = 0; i < 3; i++) { /* aimed at nothing */
        static const uint32_t bad[][3] = {{0, 20, 1}, {1, 4096, 4}, {1, 20, 3}};
        vr_cfg_write(d, d->window + 4, 1, bad[i][0]);
        vr_cfg_write(d, d->window + 8, 4, bad[i][1]);
        vr_cfg_write(d, d->window + 12, 4, bad[i][2]);
        vr_cfg_write(d, d->window + 16, 4, 0);
        assert_int_equal(vr_status(d), 3);
    }
    free_bench(&b);
}

/* All that a guest can change is in the tables: a copy goes on where the original was. */
static void state_tables_are_complete(void **state)
{
    struct bench a = new_bench(true, true, false), b = new_bench(true, true, false);
    vr_start(a.d, VR_ALL & ~VIRTIO_F_EVENT_IDX, 1);
    for (unsigned i = 0; i < 5; i++)
        run(&a, 0, i, 512);
    vr_set_config(a.d, 32, 1, 0);
    request(&a, 1, 1, 40, 512);
    vr_kick(a.d, 0);
    assert_string_equal(disk_log(&a), "R0+1 R1+1 R2+1 R3+1 R4+1 W40+1! ");
    void *ram = malloc(GUEST_RAM);
    phys_read(a.d->r->host.mem, 0, ram, GUEST_RAM);
    phys_load(b.d->r->host.mem, 0, ram, GUEST_RAM);
    free(ram);
    rig_copy_state(&b.d->v->dev, &a.d->v->dev);
    rig_copy_state(b.d->transport, a.d->transport);
    memcpy(b.d->q, a.d->q, sizeof a.d->q);
    b.d->q[0].mem = b.d->r->host.mem;
    assert_int_equal(b.d->r->level[0], 1);
    assert_int_equal(vr_isr(b.d), 1);
    assert_int_equal(b.d->r->level[0], 0);
    uint32_t id, len;
    assert_true(gq_used(&b.d->q[0], &id, &len));
    assert_int_equal(id, 8);
    run(&b, 1, 41, 512);
    assert_string_equal(disk_log(&b), "W41+1! ");
    free_bench(&a);
    free_bench(&b);
}

static void machine_reset_is_a_reset(void **state)
{
    struct bench b = new_bench(true, true, false);
    vr_start(b.d, VR_ALL & ~VIRTIO_F_EVENT_IDX, 1);
    request(&b, 0, 0, 0, 512);
    vr_kick(b.d, 0);
    assert_int_equal(b.d->r->level[0], 1);
    b.d->transport->ops->reset(b.d->transport);
    b.d->v->dev.ops->reset(&b.d->v->dev);
    assert_int_equal(b.d->r->level[0], 0);
    assert_int_equal(vr_cfg_read(b.d, PCI_COMMAND, 2), 0);
    assert_int_equal(port_read(b.d, 18, 1), 0xff);
    free_bench(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(modern_driver),
        cmocka_unit_test(legacy_driver),
        cmocka_unit_test(identities),
        cmocka_unit_test(features_are_checked),
        cmocka_unit_test(read_only_disks_refuse_writes),
        cmocka_unit_test(write_cache_follows_the_driver),
        cmocka_unit_test(ranges),
        cmocka_unit_test(framing_is_free),
        cmocka_unit_test(slow_requests_finish_from_elsewhere),
        cmocka_unit_test(requests_under_way_are_bounded),
        cmocka_unit_test(reset_waits_for_requests),
        cmocka_unit_test(senseless_requests_need_a_reset),
        cmocka_unit_test(window_in_configuration_space),
        cmocka_unit_test(state_tables_are_complete),
        cmocka_unit_test(machine_reset_is_a_reset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
