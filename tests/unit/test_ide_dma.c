/* SPDX-License-Identifier: MIT */
/* The IDE bus master: transfers to and from guest memory, and tables that a hostile guest makes. */
#include "ide_rig.h"

enum { ACTIVE = 1, BM_ERROR = 2, INTERRUPT = 4, CAPABLE = 0x60 };

static uint8_t buf[128 * KIB];

static void check_memory(struct rig *r, uint32_t gpa, unsigned from, unsigned bytes)
{
    assert_int_equal(phys_read(r->host.mem, gpa, buf, bytes), 0);
    for (unsigned i = 0; i < bytes; i++)
        if (buf[i] != memory_disk_byte((from + i) / 512, (from + i) % 512))
            fail_msg("byte %u at %x is %02x", from + i, gpa + i, buf[i]);
}

static void reads_scatter_over_memory(void **state)
{
    struct ide_rig s = ide_rig_new();
    prd(s.r, 0, 0x8000, 4096, false);
    prd(s.r, 1, 0x20ffe, 2, false);
    prd(s.r, 2, 0x30002, 1022, false);
    prd(s.r, 3, 0x40000, 0, true); /* 64 KiB */
    bm_prepare(s.r, 0);
    ide_command(s.r, 0, 0xc8, 3, 138);
    assert_string_equal(rig_trace(s.r), ""); /* the bus master is not started */
    bm_start(s.r, 0, true);
    assert_string_equal(rig_trace(s.r), "+14 ");
    assert_int_equal(bm_status(s.r, 0), CAPABLE | INTERRUPT);
    assert_int_equal(ide_status(s.r, 0), READY);
    assert_int_equal(bm_status(s.r, 0), CAPABLE | INTERRUPT); /* it stays until it is cleared */
    bm_prepare(s.r, 0);
    assert_int_equal(bm_status(s.r, 0), CAPABLE);
    check_memory(s.r, 0x8000, 3 * 512, 4096);
    check_memory(s.r, 0x20ffe, 3 * 512 + 4096, 2);
    check_memory(s.r, 0x30002, 3 * 512 + 4098, 1022);
    check_memory(s.r, 0x40000, 3 * 512 + 5120, 65536);
    assert_string_equal(memory_disk_trace(s.disk[0]), "r3+138 ");
    ide_rig_free(&s);
}

static void writes_gather(void **state)
{
    struct ide_rig s = ide_rig_new();
    for (unsigned i = 0; i < 1024; i++)
        buf[i] = (uint8_t)(i * 13 + 5);
    phys_write(s.r->host.mem, 0x8000, buf, 1000);
    phys_write(s.r->host.mem, 0x9001 & ~1u, buf + 1000, 24);
    prd(s.r, 0, 0x8000, 1000, false);
    prd(s.r, 1, 0x9001, 25, true); /* odd ones are rounded down */
    bm_prepare(s.r, 0);
    bm_start(s.r, 0, false); /* before the command is as good as after it */
    assert_int_equal(bm_status(s.r, 0), CAPABLE | ACTIVE);
    ide_command_ext(s.r, 1, 0x35, 200, 2);
    assert_int_equal(bm_status(s.r, 0), CAPABLE | INTERRUPT);
    assert_int_equal(ide_status(s.r, 1), READY);
    assert_memory_equal(s.disk[1]->bytes + 200 * 512, buf, 1024);
    bm_prepare(s.r, 0);
    ide_command_ext(s.r, 1, 0x3d, 200, 2); /* FUA */
    bm_start(s.r, 0, false);
    assert_string_equal(memory_disk_trace(s.disk[1]), "w200+2 W200+2 ");
    ide_rig_free(&s);
}

static void the_status_says_how_the_table_fits(void **state)
{
    struct ide_rig s = ide_rig_new();
    prd(s.r, 0, 0x8000, 1024, true);
    bm_prepare(s.r, 0);
    ide_command(s.r, 0, 0xc8, 3, 1); /* longer than the transfer: it stays active */
    bm_start(s.r, 0, true);
    assert_int_equal(bm_status(s.r, 0), CAPABLE | INTERRUPT | ACTIVE);
    assert_int_equal(ide_status(s.r, 0), READY);
    check_memory(s.r, 0x8000, 3 * 512, 512);
    bm_prepare(s.r, 0);
    rig_trace(s.r);
    memory_disk_trace(s.disk[0]);
    ide_command(s.r, 0, 0xc8, 3, 3); /* shorter: the drive waits, without interrupt or error */
    bm_start(s.r, 0, true);
    assert_int_equal(bm_status(s.r, 0), CAPABLE);
    assert_string_equal(rig_trace(s.r), "");
    assert_int_equal(ide_alternate(s.r, 0), READY | DRQ);
    assert_string_equal(memory_disk_trace(s.disk[0]), "");
    out8(s.r, 0x3f6, 4);
    out8(s.r, 0x3f6, 0);
    assert_int_equal(ide_status(s.r, 0), READY);
    ide_rig_free(&s);
}

/* Whatever a table says: an answer, no access outside of memory, the monitor lives. */
static void hostile_tables(void **state)
{
    struct ide_rig s = ide_rig_new();
    static const struct {
        uint32_t table, gpa, bytes;
        uint8_t status;
    } cases[] = {
        {0xfffffffc, 0, 0, BM_ERROR}, /* the table itself is not memory */
        {RAM, 0, 0, BM_ERROR},
        {TABLE, 0xfee00000, 512, BM_ERROR}, /* the device space */
        {TABLE, 0xfffffffe, 0, BM_ERROR},   /* around the end of the address space */
        {TABLE, RAM - 256, 512, BM_ERROR},  /* half in memory */
        {TABLE, 0x8000, 256, 0},            /* too short */
    };
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        prd(s.r, 0, cases[i].gpa, cases[i].bytes, true);
        bm_prepare(s.r, 0);
        bus_write(s.r->host.pio, BM + 4, 4, cases[i].table);
        ide_command(s.r, 0, i & 1 ? 0xc8 : 0xca, 3, 1);
        bm_start(s.r, 0, i & 1);
        assert_int_equal(bm_status(s.r, 0), CAPABLE | cases[i].status);
        assert_string_equal(memory_disk_trace(s.disk[0]), "");
    }
    /* 64 KiB of descriptors of two bytes, none the last: read around once, too short. */
    uint32_t entry[2] = {0x8000, 2};
    for (uint32_t at = 0x10000; at < 0x20000; at += 8)
        phys_write(s.r->host.mem, at, entry, sizeof entry);
    bm_prepare(s.r, 0);
    bus_write(s.r->host.pio, BM + 4, 4, 0x1fff0);
    ide_command(s.r, 0, 0xc8, 3, 33); /* 8448 pairs; there are 8192 */
    bm_start(s.r, 0, true);
    assert_int_equal(bm_status(s.r, 0), CAPABLE);
    bm_prepare(s.r, 0);
    bus_write(s.r->host.pio, BM + 4, 4, 0x1fff2); /* the low bits do not exist */
    assert_int_equal(bus_read(s.r->host.pio, BM + 4, 4), 0x1fff0);
    ide_command(s.r, 0, 0xc8, 3, 32);
    bm_start(s.r, 0, true);
    assert_int_equal(bm_status(s.r, 0), CAPABLE | INTERRUPT | ACTIVE);
    assert_int_equal(ide_status(s.r, 0), READY);
    check_memory(s.r, 0x8000, 35 * 512 - 2, 2);
    ide_rig_free(&s);
}

/* A reset under way: the drive stays busy until the memory is written, and watchers hear of it. */
struct ear {
    struct wp_watcher w;
    uint64_t bytes;
};
static void changed(void *opaque, gpfn_t page, uint8_t reasons) {}
static void written(void *opaque, gpa_t gpa, uint64_t len, uint8_t reasons)
{
    ((struct ear *)opaque)->bytes += len;
}

static void a_reset_waits_for_the_transfer(void **state)
{
    struct ide_rig s = ide_rig_new();
    struct ear ear = {.w = {.changed = changed, .written = written}};
    ear.w.opaque = &ear;
    wp_watch(s.r->host.mem, &ear.w);
    wp_add(s.r->host.mem, (gpfn_t){8}, WP_CODE);
    s.disk[0]->hold = true;
    prd(s.r, 0, 0x8000, 1024, true);
    bm_prepare(s.r, 0);
    ide_command(s.r, 0, 0xc8, 3, 2);
    bm_start(s.r, 0, true);
    assert_int_equal(ide_status(s.r, 0), BSY);
    out8(s.r, BM, 0);
    out8(s.r, 0x3f6, 4);
    out8(s.r, 0x3f6, 0);
    assert_int_equal(ide_status(s.r, 0), BSY);
    assert_int_equal(ear.bytes, 0);
    memory_disk_finish(s.disk[0]);
    assert_int_equal(ear.bytes, 1024);
    assert_int_equal(ide_status(s.r, 0), READY);
    assert_string_equal(rig_trace(s.r), "");
    assert_int_equal(bm_status(s.r, 0), CAPABLE);
    wp_unwatch(s.r->host.mem, &ear.w);
    ide_rig_free(&s);
}

static void errors_of_the_image_show(void **state)
{
    struct ide_rig s = ide_rig_new();
    prd(s.r, 0, 0x8000, 512, true);
    bm_prepare(s.r, 0);
    s.disk[0]->fail = -EIO;
    ide_command(s.r, 0, 0xc8, 0x10203 % SECTORS0, 1);
    bm_start(s.r, 0, true);
    assert_int_equal(bm_status(s.r, 0), CAPABLE | INTERRUPT | ACTIVE);
    assert_int_equal(ide_status(s.r, 0), READY | ERR);
    assert_int_equal(ide_reg(s.r, 0, ERROR), UNC);
    bm_prepare(s.r, 0);
    s.disk[0]->fail = -EIO;
    ide_command(s.r, 0, 0xca, 3, 1);
    bm_start(s.r, 0, false);
    assert_int_equal(ide_status(s.r, 0), READY | ERR | DF);
    ide_rig_free(&s);
}

static void trim_discards_ranges(void **state)
{
    struct ide_rig s = ide_rig_new();
    uint64_t ranges[64] = {UINT64_C(2) << 48 | 10, 0, UINT64_C(5) << 48 | 290};
    phys_write(s.r->host.mem, 0x8000, ranges, sizeof ranges);
    prd(s.r, 0, 0x8000, 512, true);
    bm_prepare(s.r, 0);
    out8(s.r, 0x1f1, 1);
    ide_command_ext(s.r, 1, 0x06, 0, 1);
    bm_start(s.r, 0, false);
    assert_int_equal(ide_status(s.r, 1), READY);
    assert_string_equal(memory_disk_trace(s.disk[1]), "d10+2 d290+5 ");
    ranges[1] = UINT64_C(11) << 48 | 290; /* beyond the end */
    phys_write(s.r->host.mem, 0x8000, ranges, sizeof ranges);
    bm_prepare(s.r, 0);
    ide_command_ext(s.r, 1, 0x06, 0, 1);
    bm_start(s.r, 0, false);
    assert_int_equal(ide_status(s.r, 1), READY | ERR);
    ide_command_ext(s.r, 1, 0x06, 0, 2);
    assert_int_equal(ide_status(s.r, 1), READY | ERR);
    ide_rig_free(&s);
}

static void both_channels_are_independent(void **state)
{
    struct ide_rig s = ide_rig_new();
    prd(s.r, 0, 0x8000, 512, true);
    s.disk[0]->hold = true;
    bm_prepare(s.r, 0);
    bm_prepare(s.r, 1);
    ide_command(s.r, 0, 0xc8, 3, 1);
    bm_start(s.r, 0, true);
    ide_command(s.r, 2, 0xa1, 0, 0); /* IDENTIFY PACKET DEVICE meanwhile */
    assert_string_equal(rig_trace(s.r), "+15 ");
    ide_read_data(s.r, 2, buf, 512);
    assert_int_equal(ide_status(s.r, 2), READY);
    memory_disk_finish(s.disk[0]);
    assert_string_equal(rig_trace(s.r), "-15 +14 ");
    check_memory(s.r, 0x8000, 3 * 512, 512);
    ide_rig_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_scatter_over_memory),
        cmocka_unit_test(writes_gather),
        cmocka_unit_test(the_status_says_how_the_table_fits),
        cmocka_unit_test(hostile_tables),
        cmocka_unit_test(a_reset_waits_for_the_transfer),
        cmocka_unit_test(errors_of_the_image_show),
        cmocka_unit_test(trim_discards_ranges),
        cmocka_unit_test(both_channels_are_independent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
