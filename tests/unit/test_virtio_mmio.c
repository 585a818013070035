/* SPDX-License-Identifier: MIT */
/* The registers of virtio-mmio, both versions, as Linux' driver uses them. */
#include "dev_rig.h"
#include "virtq_rig.h"

#include "ring3/devices/virtio_mmio.h"
#include "ring3/devices/virtio_rng.h"

#define BASE  0xd0000000u
#define RINGS 0x20000u
#define DATA  0x300000u

struct bench {
    struct rig *r;
    struct virtio *v;
    struct device *mmio;
};

static struct bench new_bench(bool legacy)
{
    struct bench b = {.r = rig_new()};
    struct virtio_mmio_config c = {BASE, legacy, rig_line(b.r, 3)};
    b.r->host.mem = guest_memory();
    b.v = virtio_rng_new(&b.r->host, "rng", NULL);
    b.mmio = virtio_mmio_new(&b.r->host, &c, b.v, NULL);
    assert_non_null(b.mmio);
    return b;
}

static void free_bench(struct bench *b)
{
    struct phys *mem = b->r->host.mem;
    b->mmio->ops->free(b->mmio);
    b->v->dev.ops->free(&b->v->dev);
    rig_free(b->r);
    phys_free(mem);
}

static uint32_t rd(struct bench *b, unsigned at)
{
    return (uint32_t)bus_read(b->r->host.mmio, BASE + at, 4);
}
static void wr(struct bench *b, unsigned at, uint32_t value)
{
    bus_write(b->r->host.mmio, BASE + at, 4, value);
}

static void identify(struct bench *b, unsigned version)
{
    assert_int_equal(rd(b, 0x000), 0x74726976);
    assert_int_equal(rd(b, 0x004), version);
    assert_int_equal(rd(b, 0x008), 4);
    assert_int_equal(bus_read(b->r->host.mmio, BASE, 1), 0x76);
    wr(b, 0x070, 0);
    wr(b, 0x070, 1);
    wr(b, 0x070, 3);
}

static void use(struct bench *b, struct gq *g)
{
    uint32_t id, len;
    gq_desc(g, 0, DATA, 16, D_WRITE, 0);
    gq_offer(g, 0);
    wr(b, 0x050, 0);
    assert_true(gq_used(g, &id, &len));
    assert_int_equal(len, 16);
    assert_int_equal(b->r->level[3], 1);
    assert_int_equal(rd(b, 0x060), 1);
    assert_int_equal(rd(b, 0x060), 1); /* reading does not clear */
    wr(b, 0x064, 1);
    assert_int_equal(rd(b, 0x060), 0);
    assert_int_equal(b->r->level[3], 0);
}

static void version_2(void **state)
{
    struct bench b = new_bench(false);
    identify(&b, 2);
    wr(&b, 0x014, 1);
    assert_int_equal(rd(&b, 0x010), 1); /* VERSION_1 */
    wr(&b, 0x024, 1);
    wr(&b, 0x020, 1);
    wr(&b, 0x070, 11);
    assert_int_equal(rd(&b, 0x070), 11);
    wr(&b, 0x030, 1);
    assert_int_equal(rd(&b, 0x034), 0); /* there is no second queue */
    wr(&b, 0x030, 0);
    assert_int_equal(rd(&b, 0x034), VIRTQ_MAX);
    assert_int_equal(rd(&b, 0x044), 0);
    struct gq g = gq_at(b.r->host.mem, RINGS, 8);
    wr(&b, 0x038, 8);
    wr(&b, 0x080, (uint32_t)g.desc);
    wr(&b, 0x084, 0);
    wr(&b, 0x090, (uint32_t)g.avail);
    wr(&b, 0x094, 0);
    wr(&b, 0x0a0, (uint32_t)g.used);
    wr(&b, 0x0a4, 0);
    wr(&b, 0x044, 1);
    wr(&b, 0x070, 15);
    use(&b, &g);
    use(&b, &g);
    wr(&b, 0x044, 0); /* off, and on again: from the start */
    assert_int_equal(rd(&b, 0x044), 0);
    g = gq_at(b.r->host.mem, RINGS + 0x8000, 8);
    wr(&b, 0x038, 8);
    wr(&b, 0x080, (uint32_t)g.desc);
    wr(&b, 0x090, (uint32_t)g.avail);
    wr(&b, 0x0a0, (uint32_t)g.used);
    wr(&b, 0x044, 1);
    use(&b, &g);
    assert_int_equal(rd(&b, 0x040), 0); /* no legacy registers */
    free_bench(&b);
}

static void version_1(void **state)
{
    struct bench b = new_bench(true);
    identify(&b, 1);
    wr(&b, 0x014, 1);
    assert_int_equal(rd(&b, 0x010), 0);
    wr(&b, 0x014, 0);
    assert_true(rd(&b, 0x010) & 1u << 28);
    wr(&b, 0x024, 0);
    wr(&b, 0x020, 0);
    wr(&b, 0x028, 4096);
    wr(&b, 0x030, 0);
    assert_int_equal(rd(&b, 0x040), 0);
    struct gq g = gq_at(b.r->host.mem, RINGS, 8);
    g.avail = g.desc + 16 * 8;
    g.used = g.desc + 4096;
    wr(&b, 0x038, 8);
    wr(&b, 0x03c, 4096);
    wr(&b, 0x040, RINGS >> 12);
    assert_int_equal(rd(&b, 0x040), RINGS >> 12);
    wr(&b, 0x070, 7);
    use(&b, &g);
    wr(&b, 0x040, 0);
    assert_int_equal(rd(&b, 0x040), 0);
    free_bench(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(version_2),
        cmocka_unit_test(version_1),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
