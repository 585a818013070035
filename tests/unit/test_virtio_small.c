/* SPDX-License-Identifier: MIT */
/* virtio entropy, console and balloon. */
#include "virtio_rig.h"

#include "ring3/devices/virtio_balloon.h"
#include "ring3/devices/virtio_console.h"
#include "ring3/devices/virtio_rng.h"

#define DATA 0x300000u

static struct phys *mem_of(struct vr *d)
{
    return d->r->host.mem;
}

static void offer(struct vr *d, unsigned q, unsigned slot, gpa_t at, uint32_t len, bool write)
{
    const struct vr_buffer v = {at, len, write};
    vr_offer(d, q, slot, &v, 1);
}

/* ---- entropy --------------------------------------------------------------------------------- */

static void entropy_is_new_each_time(void **state)
{
    struct device *pci;
    struct rig *r = vr_rig(&pci);
    struct vr *d = vr_new(r, pci, virtio_rng_new(&r->host, "rng", NULL), true, true);
    uint8_t a[64], b[64];
    uint32_t id, len;
    vr_start(d, VR_ALL & ~VIRTIO_F_EVENT_IDX, 1);
    offer(d, 0, 0, DATA, 64, true);
    offer(d, 0, 1, DATA + 64, 64, true);
    offer(d, 0, 2, DATA + 0x1000, 1 * MIB, true);
    offer(d, 0, 3, DATA, 64, false); /* no room at all */
    vr_kick(d, 0);
    static const uint32_t want[] = {64, 64, 4096, 0};
    for (unsigned i = 0; i < 4; i++) {
        assert_true(gq_used(&d->q[0], &id, &len));
        assert_int_equal(len, want[i]);
    }
    phys_read(mem_of(d), DATA, a, 64);
    phys_read(mem_of(d), DATA + 64, b, 64);
    assert_memory_not_equal(a, b, 64);
    assert_int_equal(r->rises[0], 1);
    vr_free(d);
}

/* ---- console --------------------------------------------------------------------------------- */

static struct vr *new_console(void)
{
    struct device *pci;
    struct rig *r = vr_rig(&pci);
    struct virtio_console_config c = {"console", &r->chr};
    return vr_new(r, pci, virtio_console_new(&r->host, &c, NULL), true, true);
}

static void output_waits_for_the_backend(void **state)
{
    struct vr *d = new_console();
    uint32_t id, len;
    vr_set_config(d, 8, 4, '!'); /* before any driver */
    vr_start(d, VR_ALL & ~VIRTIO_F_EVENT_IDX, 2);
    phys_load(mem_of(d), DATA, "hello world", 11);
    const struct vr_buffer v[] = {{DATA, 6, false}, {DATA + 6, 5, false}};
    vr_offer(d, 1, 0, v, 2);
    vr_kick(d, 1);
    assert_string_equal(d->r->sent, "!hello world");
    assert_true(gq_used(&d->q[1], &id, &len));
    assert_int_equal(len, 0);
    d->r->congested = true;
    offer(d, 1, 1, DATA, 5, false);
    vr_kick(d, 1);
    assert_false(gq_used(&d->q[1], &id, &len));
    d->r->congested = false;
    d->r->chr.client.writable(d->r->chr.client.opaque);
    assert_true(gq_used(&d->q[1], &id, &len));
    assert_string_equal(d->r->sent, "!hello worldhello");
    vr_free(d);
}

static void input_waits_for_the_guest(void **state)
{
    struct vr *d = new_console();
    struct chardev_client *c = &d->r->chr.client;
    uint32_t id, len;
    assert_int_equal(c->room(c->opaque), 0);
    unsigned resumes = d->r->resumes;
    vr_start(d, VR_ALL & ~VIRTIO_F_EVENT_IDX, 2);
    assert_int_equal(d->r->resumes, resumes + 2); /* reset, start */
    assert_in_range(c->room(c->opaque), 1, 4096);
    c->receive(c->opaque, (const uint8_t *)"abcdef", 6);
    offer(d, 0, 0, DATA, 4, true);
    vr_kick(d, 0);
    assert_true(gq_used(&d->q[0], &id, &len));
    assert_int_equal(len, 4);
    assert_int_equal(get(mem_of(d), DATA, 4), 'a' | 'b' << 8 | 'c' << 16 | 'd' << 24);
    assert_int_equal(d->r->resumes, resumes + 3);
    offer(d, 0, 1, DATA, 4, true);
    vr_kick(d, 0);
    assert_true(gq_used(&d->q[0], &id, &len));
    assert_int_equal(len, 2);
    offer(d, 0, 2, DATA, 4, true);
    vr_kick(d, 0);
    assert_false(gq_used(&d->q[0], &id, &len));
    c->receive(c->opaque, (const uint8_t *)"x", 1);
    assert_true(gq_used(&d->q[0], &id, &len));
    vr_free(d);
}

/* ---- balloon --------------------------------------------------------------------------------- */

static struct vr *new_balloon(void)
{
    struct device *pci;
    struct rig *r = vr_rig(&pci);
    return vr_new(r, pci, virtio_balloon_new(&r->host, "balloon", NULL), true, true);
}

static void touch(struct vr *d, gpa_t at, unsigned pages)
{
    for (unsigned i = 0; i < pages; i++)
        put(mem_of(d), at + PAGE_BYTES * i, 0x77, 1);
}

static void inflated_pages_go_back(void **state)
{
    struct vr *d = new_balloon();
    gpa_t at = 0x800000;
    uint32_t id, len;
    vr_start(d, VR_ALL & ~VIRTIO_F_EVENT_IDX, 4);
    virtio_balloon_set(d->v, 6 * PAGE_BYTES);
    assert_int_equal(vr_isr(d), 2);
    assert_int_equal(vr_config(d, 0, 4), 6);
    touch(d, at, 16);
    put(mem_of(d), DATA, 0, 4);
    uint64_t before = phys_host_pages_touched(mem_of(d));
    /* Upwards, downwards, alone, and pages that are none. */
    static const uint32_t pages[] = {0x800, 0x801, 0x806,   0x805,     0x804,
                                     0x80a, 0xf0,  0xfffff, 0xffffffff};
    for (unsigned i = 0; i < ARRAY_LEN(pages); i++)
        put(mem_of(d), DATA + 4 * i, pages[i], 4);
    offer(d, 0, 0, DATA, sizeof pages, false);
    vr_kick(d, 0);
    assert_true(gq_used(&d->q[0], &id, &len));
    assert_int_equal(phys_host_pages_touched(mem_of(d)), before - 6);
    static const uint8_t gone[16] = {[0] = 1, [1] = 1, [4] = 1, [5] = 1, [6] = 1, [10] = 1};
    for (unsigned i = 0; i < 16; i++)
        assert_int_equal(get(mem_of(d), at + PAGE_BYTES * i, 1), gone[i] ? 0 : 0x77);
    vr_set_config(d, 4, 4, 6);
    struct virtio_balloon_report report;
    virtio_balloon_query(d->v, &report);
    assert_true(report.driver);
    assert_int_equal(report.target_bytes, 6 * PAGE_BYTES);
    assert_int_equal(report.given_bytes, 6 * PAGE_BYTES);
    offer(d, 1, 0, DATA, 4, false); /* deflate */
    vr_kick(d, 1);
    assert_true(gq_used(&d->q[1], &id, &len));
    vr_set_config(d, 0, 4, 0); /* the target is not the driver's */
    assert_int_equal(vr_config(d, 0, 4), 6);
    vr_set_status(d, 0);
    assert_int_equal(vr_config(d, 0, 4), 6); /* survives a reset, ... */
    assert_int_equal(vr_config(d, 4, 4), 0); /* ... unlike what the driver has given */
    vr_free(d);
}

static void free_memory_is_reported(void **state)
{
    struct vr *d = new_balloon();
    uint32_t id, len;
    vr_start(d, VR_ALL & ~VIRTIO_F_EVENT_IDX, 5);
    for (unsigned q = 3; q < 5; q++) {
        touch(d, 0x800000, 16);
        /* A page and two halves: only whole pages go. */
        const struct vr_buffer v[] = {{0x800000, 4096, true}, {0x802800, 8192, true}};
        vr_offer(d, q, 0, v, 2);
        vr_kick(d, q);
        assert_true(gq_used(&d->q[q], &id, &len));
        assert_int_equal(get(mem_of(d), 0x800000, 1), 0);
        assert_int_equal(get(mem_of(d), 0x801000, 1), 0x77);
        assert_int_equal(get(mem_of(d), 0x802000, 1), 0x77);
        assert_int_equal(get(mem_of(d), 0x803000, 1), 0);
        assert_int_equal(get(mem_of(d), 0x804000, 1), 0x77);
    }
    vr_free(d);
}

static void statistics_are_held_until_asked_for(void **state)
{
    for (unsigned event = 0; event < 2; event++) {
        struct vr *d = new_balloon();
        struct virtio_balloon_report report;
        uint32_t id, len;
        vr_start(d, event ? VR_ALL : VR_ALL & ~VIRTIO_F_EVENT_IDX, 4);
        for (unsigned round = 0; round < 3; round++) {
            put(mem_of(d), DATA, 4, 2); /* free memory */
            put(mem_of(d), DATA + 2, 1000 + round, 8);
            put(mem_of(d), DATA + 10, 77, 2); /* unknown */
            put(mem_of(d), DATA + 12, 1, 8);
            if (event) /* the device asked to hear of this one */
                assert_int_equal(gq_avail_event(&d->q[2]), round);
            offer(d, 2, 0, DATA, 20, false);
            vr_kick(d, 2);
            assert_false(gq_used(&d->q[2], &id, &len));
            virtio_balloon_query(d->v, &report);
            assert_int_equal(report.known, 1 << 4);
            assert_int_equal(report.stat[4], 1000 + round);
            assert_true(gq_used(&d->q[2], &id, &len));
            assert_int_equal(len, 0);
        }
        vr_free(d);
    }
    assert_string_equal(virtio_balloon_stat_name(4), "free-memory");
    assert_null(virtio_balloon_stat_name(16));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entropy_is_new_each_time),
        cmocka_unit_test(output_waits_for_the_backend),
        cmocka_unit_test(input_waits_for_the_guest),
        cmocka_unit_test(inflated_pages_go_back),
        cmocka_unit_test(free_memory_is_reported),
        cmocka_unit_test(statistics_are_held_until_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
