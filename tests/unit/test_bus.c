/* SPDX-License-Identifier: MIT */
/* The bus: finding mappings, splitting and merging accesses, overlaps, unmapping. */
#include "unit.h"

#include <errno.h>

#include "ring3/bus.h"

/* Memory-like registers that note each access they see. */
struct probe {
    uint8_t bytes[32];
    unsigned reads, writes;
    uint64_t offset[16];
    unsigned size[16];
};

static uint64_t probe_read(void *opaque, uint64_t offset, unsigned size)
{
    struct probe *p = opaque;
    p->offset[p->reads % 16] = offset;
    p->size[p->reads++ % 16] = size;
    uint64_t v = 0;
    memcpy(&v, p->bytes + offset, size);
    return v | ~UINT64_C(0) << 4 * size << 4 * size; /* dirty high bits: the bus must cut them */
}

static void probe_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct probe *p = opaque;
    p->offset[p->writes % 16] = offset;
    p->size[p->writes++ % 16] = size;
    memcpy(p->bytes + offset, &value, size);
}

static const struct io_ops byte_wide = {probe_read, probe_write, 1, 1};
static const struct io_ops any_wide = {probe_read, probe_write, 1, 8};
static const struct io_ops word_only = {probe_read, probe_write, 4, 4};

static void unmapped_reads_ones_and_drops_writes(void **state)
{
    struct bus *b = bus_new("pio", 0x10000, NULL);
    assert_true(bus_read(b, 0x80, 1) == 0xff);
    assert_true(bus_read(b, 0x80, 4) == 0xffffffff);
    assert_true(bus_read(b, 0xfffe, 8) == UINT64_MAX);
    assert_true(bus_read(b, UINT64_MAX, 8) == UINT64_MAX);
    bus_write(b, 0x80, 4, 1);
    assert_null(bus_name_at(b, 0x80));
    bus_free(b);
}

static void wide_access_splits_ascending(void **state)
{
    struct bus *b = bus_new("pio", 0x10000, NULL);
    struct probe p = {0};
    assert_int_equal(bus_map(b, 0x70, 8, &byte_wide, &p, "p", NULL), 0);
    bus_write(b, 0x70, 4, 0x44332211);
    assert_int_equal(p.writes, 4);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(p.offset[i], i);
        assert_int_equal(p.size[i], 1);
    }
    assert_true(bus_read(b, 0x70, 4) == 0x44332211);
    assert_true(bus_read(b, 0x71, 2) == 0x3322);
    assert_string_equal(bus_name_at(b, 0x77), "p");
    assert_null(bus_name_at(b, 0x78));
    bus_free(b);
}

static void misaligned_access_splits_to_aligned_pieces(void **state)
{
    struct bus *b = bus_new("mmio", 0x10000, NULL);
    struct probe p = {0};
    assert_int_equal(bus_map(b, 0x100, 32, &any_wide, &p, "p", NULL), 0);
    bus_write(b, 0x101, 8, 0x8877665544332211);
    assert_int_equal(p.writes, 4);
    const unsigned offset[] = {1, 2, 4, 8}, size[] = {1, 2, 4, 1};
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(p.offset[i], offset[i]);
        assert_int_equal(p.size[i], size[i]);
    }
    assert_true(bus_read(b, 0x101, 8) == 0x8877665544332211);
    p.reads = 0;
    assert_true(bus_read(b, 0x100, 8) == 0x7766554433221100);
    assert_int_equal(p.reads, 1);
    bus_free(b);
}

static void narrow_access_to_wide_register(void **state)
{
    struct bus *b = bus_new("mmio", 0x10000, NULL);
    struct probe p = {.bytes = {0x11, 0x22, 0x33, 0x44}};
    assert_int_equal(bus_map(b, 0, 8, &word_only, &p, "p", NULL), 0);
    assert_true(bus_read(b, 2, 1) == 0x33);
    assert_int_equal(p.size[0], 4);
    assert_int_equal(p.offset[0], 0);
    bus_write(b, 2, 2, 0xbbaa);
    const uint8_t want[] = {0, 0, 0xaa, 0xbb};
    assert_memory_equal(p.bytes, want, 4);
    bus_free(b);
}

static void access_across_two_devices(void **state)
{
    struct bus *b = bus_new("pio", 0x10000, NULL);
    struct probe p = {0}, q = {0};
    assert_int_equal(bus_map(b, 0x10, 2, &any_wide, &p, "p", NULL), 0);
    assert_int_equal(bus_map(b, 0x12, 1, &byte_wide, &q, "q", NULL), 0);
    bus_write(b, 0x10, 4, 0x44332211);
    assert_int_equal(p.bytes[0], 0x11);
    assert_int_equal(p.bytes[1], 0x22);
    assert_int_equal(q.bytes[0], 0x33);
    assert_true(bus_read(b, 0x10, 4) == 0xff332211); /* 0x13 is nobody's */
    bus_free(b);
}

static void overlap_and_range_are_refused(void **state)
{
    struct bus *b = bus_new("pio", 0x10000, NULL);
    struct probe p = {0};
    struct err e = {0};
    assert_int_equal(bus_map(b, 0x20, 2, &byte_wide, &p, "a", &e), 0);
    assert_int_equal(bus_map(b, 0x21, 4, &byte_wide, &p, "b", &e), -EEXIST);
    assert_string_equal(e.id, "bus-overlap");
    assert_int_equal(bus_map(b, 0x1f, 2, &byte_wide, &p, "b", NULL), -EEXIST);
    assert_int_equal(bus_map(b, 0x10, 0x40, &byte_wide, &p, "b", NULL), -EEXIST);
    assert_int_equal(bus_map(b, 0x1e, 2, &byte_wide, &p, "b", NULL), 0);
    assert_int_equal(bus_map(b, 0x22, 2, &byte_wide, &p, "b", NULL), 0);
    assert_int_equal(bus_map(b, 0xffff, 2, &byte_wide, &p, "b", NULL), -EINVAL);
    assert_int_equal(bus_map(b, 0x40, UINT64_MAX, &byte_wide, &p, "b", NULL), -EINVAL);
    assert_int_equal(bus_map(b, 0x40, 0, &byte_wide, &p, "b", NULL), -EINVAL);
    const struct io_ops odd = {probe_read, probe_write, 3, 4};
    assert_int_equal(bus_map(b, 0x40, 4, &odd, &p, "b", NULL), -EINVAL);
    bus_free(b);
}

static void many_mappings_come_and_go(void **state)
{
    struct bus *b = bus_new("pio", 0x10000, NULL);
    static struct probe p[100];
    for (unsigned i = 0; i < 100; i++) { /* a scattered order */
        unsigned n = i * 37 % 100;
        p[n].bytes[0] = (uint8_t)n;
        assert_int_equal(bus_map(b, 16 * n, 4, &byte_wide, &p[n], "p", NULL), 0);
    }
    for (unsigned i = 0; i < 100; i += 2)
        bus_unmap(b, 16 * i);
    bus_unmap(b, 16 + 1); /* not a base: no effect */
    for (unsigned i = 0; i < 100; i++)
        assert_true(bus_read(b, 16 * i, 1) == (i % 2 ? i : 0xff));
    bus_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unmapped_reads_ones_and_drops_writes),
        cmocka_unit_test(wide_access_splits_ascending),
        cmocka_unit_test(misaligned_access_splits_to_aligned_pieces),
        cmocka_unit_test(narrow_access_to_wide_register),
        cmocka_unit_test(access_across_two_devices),
        cmocka_unit_test(overlap_and_range_are_refused),
        cmocka_unit_test(many_mappings_come_and_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
