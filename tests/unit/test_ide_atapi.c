/* SPDX-License-Identifier: MIT */
/* The ATAPI CD-ROM: packets by data port and bus master, odd byte counts, discs that come and go
 * (SFF-8020i, MMC-3). */
#include "ide_rig.h"

static uint8_t buf[64 * KIB];

/* A packet to drive 2; the registers ask for DMA, or for blocks of at most `limit` bytes. */
static void packet(struct rig *r, bool dma, unsigned limit, const uint8_t cdb[12])
{
    out8(r, 0x171, dma);
    ide_command(r, 2, 0xa0, limit << 8, 0);
    assert_int_equal(ide_alternate(r, 2), READY | DRQ);
    assert_int_equal(ide_reg(r, 2, COUNT) & 3, 1);
    ide_write_data(r, 2, cdb, 12);
}
#define PACKET(r, limit, ...) packet(r, false, limit, (const uint8_t[12]){__VA_ARGS__})

/* Read data until the drive is done; returns how much it was, and the sizes of blocks as text. */
static unsigned drain(struct rig *r, char *blocks, size_t room)
{
    unsigned total = 0;
    blocks[0] = 0;
    while (ide_status(r, 2) & DRQ) {
        unsigned n = ide_reg(r, 2, LBA1) | (unsigned)ide_reg(r, 2, LBA2) << 8;
        assert_int_equal(ide_reg(r, 2, COUNT) & 3, 2);
        assert_in_range(total + n, 1, sizeof buf);
        ide_read_data(r, 2, buf + total, n);
        total += n;
        size_t at = strlen(blocks);
        snprintf(blocks + at, room - at, "%u ", n);
    }
    assert_int_equal(ide_reg(r, 2, COUNT) & 3, 3);
    return total;
}
static unsigned answer(struct rig *r)
{
    char blocks[256];
    return drain(r, blocks, sizeof blocks);
}

static void expect_sense(struct rig *r, unsigned key, unsigned asc, unsigned ascq)
{
    assert_int_equal(ide_status(r, 2), READY | ERR);
    assert_int_equal(ide_reg(r, 2, ERROR), key << 4 | ABRT);
    assert_int_equal(ide_reg(r, 2, COUNT) & 3, 3);
    PACKET(r, 0xfffe, 0x03, 0, 0, 0, 18);
    assert_int_equal(answer(r), 18);
    assert_int_equal(buf[2], key);
    assert_int_equal(buf[12], asc);
    assert_int_equal(buf[13], ascq);
}

static void identity_and_signature(void **state)
{
    struct ide_rig s = ide_rig_new();
    ide_command(s.r, 2, 0xec, 0, 0); /* IDENTIFY DEVICE: abort, with the signature */
    assert_int_equal(ide_status(s.r, 2), READY | ERR);
    assert_int_equal(ide_reg(s.r, 2, LBA1), 0x14);
    assert_int_equal(ide_reg(s.r, 2, LBA2), 0xeb);
    ide_command(s.r, 2, 0xa1, 0, 0);
    ide_status(s.r, 2);
    ide_read_data(s.r, 2, buf, 512);
    assert_int_equal(buf[0] | buf[1] << 8, 0x85c0);
    assert_memory_equal(buf + 54, "IRGN 3DCR-MO", 12);
    ide_command(s.r, 2, 0x08, 0, 0); /* DEVICE RESET: no interrupt */
    assert_int_equal(ide_status(s.r, 2), 0);
    assert_int_equal(ide_reg(s.r, 2, LBA1), 0x14);
    PACKET(s.r, 0xfffe, 0x12, 0, 0, 0, 36);
    assert_int_equal(answer(s.r), 36);
    assert_int_equal(buf[0], 5);
    assert_memory_equal(buf + 8, "RING3   CD-ROM  ", 16);
    ide_rig_free(&s);
}

static void reads_come_in_blocks(void **state)
{
    static const struct {
        unsigned limit;
        const char *blocks;
    } cases[] = {{0xfffe, "6144 "},    {0, "6144 "},
                 {0xffff, "6144 "},    {2048, "2048 2048 2048 "},
                 {4000, "4000 2144 "}, {4001, "4000 2144 "}, /* odd, and the data do not fit */
                 {6144, "6144 "},      {6145, "6144 "}};
    struct ide_rig s = ide_rig_new();
    char blocks[256];
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        PACKET(s.r, cases[i].limit, 0x28, 0, 0, 0, 0, 7, 0, 0, 3);
        assert_int_equal(drain(s.r, blocks, sizeof blocks), 6144);
        assert_string_equal(blocks, cases[i].blocks);
        assert_memory_equal(buf, s.disk[2]->bytes + 7 * 2048, 6144);
        assert_int_equal(ide_status(s.r, 2), READY);
    }
    memory_disk_trace(s.disk[2]);
    PACKET(s.r, 0xfffe, 0xa8, 0, 0, 0, 0, 0, 0, 0, 0, 20); /* more than the buffer holds */
    assert_int_equal(drain(s.r, blocks, sizeof blocks), 40960);
    assert_string_equal(blocks, "32768 8192 ");
    assert_string_equal(memory_disk_trace(s.disk[2]), "r0+64 r64+16 ");
    assert_memory_equal(buf, s.disk[2]->bytes, 40960);
    PACKET(s.r, 0xfffe, 0xbe, 0, 0, 0, 0, 9, 0, 0, 1, 0x10); /* READ CD, user data */
    assert_int_equal(answer(s.r), 2048);
    assert_memory_equal(buf, s.disk[2]->bytes + 9 * 2048, 2048);
    ide_rig_free(&s);
}

static void odd_replies_are_padded(void **state)
{
    struct ide_rig s = ide_rig_new();
    char blocks[256];
    PACKET(s.r, 8, 0x12, 0, 0, 0, 13); /* allocation of 13 bytes, 8 a block */
    assert_int_equal(drain(s.r, blocks, sizeof blocks), 13);
    assert_string_equal(blocks, "8 5 ");
    PACKET(s.r, 3, 0x12, 0, 0, 0, 5);
    assert_int_equal(drain(s.r, blocks, sizeof blocks), 5);
    assert_string_equal(blocks, "2 3 ");
    PACKET(s.r, 0xfffe, 0x12, 0, 0, 0, 0); /* no room: no data */
    assert_int_equal(ide_status(s.r, 2), READY);
    ide_rig_free(&s);
}

static void reads_by_bus_master(void **state)
{
    struct ide_rig s = ide_rig_new();
    prd(s.r, 0, 0x8000, 4096, false);
    prd(s.r, 1, 0xa000, 4096, true);
    bm_prepare(s.r, 1);
    packet(s.r, true, 0, (const uint8_t[12]){0x28, 0, 0, 0, 0, 50, 0, 0, 4});
    rig_trace(s.r);
    bm_start(s.r, 1, true);
    assert_string_equal(rig_trace(s.r), "+15 ");
    assert_int_equal(bm_status(s.r, 1), 0x64);
    assert_int_equal(ide_status(s.r, 2), READY);
    assert_int_equal(ide_reg(s.r, 2, COUNT) & 3, 3);
    phys_read(s.r->host.mem, 0x8000, buf, 4096);
    phys_read(s.r->host.mem, 0xa000, buf + 4096, 4096);
    assert_memory_equal(buf, s.disk[2]->bytes + 50 * 2048, 8192);
    prd(s.r, 0, 0x8000, 8, true);
    bm_prepare(s.r, 1);
    packet(s.r, true, 0, (const uint8_t[12]){0x25}); /* READ CAPACITY */
    bm_start(s.r, 1, true);
    phys_read(s.r->host.mem, 0x8000, buf, 8);
    assert_memory_equal(buf, "\0\0\0\x63\0\0\x08\0", 8);
    s.disk[2]->fail = -EIO;
    bm_prepare(s.r, 1);
    packet(s.r, true, 0, (const uint8_t[12]){0x28, 0, 0, 0, 0, 50, 0, 0, 4});
    prd(s.r, 0, 0x8000, 8192, true);
    bm_start(s.r, 1, true);
    expect_sense(s.r, 3, 0x11, 0);
    ide_rig_free(&s);
}

static void bad_packets_get_sense(void **state)
{
    struct ide_rig s = ide_rig_new();
    PACKET(s.r, 0xfffe, 0xff);
    expect_sense(s.r, 5, 0x20, 0);
    PACKET(s.r, 0xfffe, 0x28, 0, 0, 0, 0, 99, 0, 0, 2); /* beyond the end */
    expect_sense(s.r, 5, 0x21, 0);
    PACKET(s.r, 0xfffe, 0xa8, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff);
    expect_sense(s.r, 5, 0x21, 0);
    PACKET(s.r, 0xfffe, 0x5a, 0, 0xea, 0, 0, 0, 0, 0, 255); /* saved values */
    expect_sense(s.r, 5, 0x39, 0);
    PACKET(s.r, 0xfffe, 0x03, 0, 0, 0, 18); /* sense is told once */
    answer(s.r);
    assert_int_equal(buf[2], 0);
    out8(s.r, 0x171, 2); /* overlapped */
    ide_command(s.r, 2, 0xa0, 0, 0);
    assert_int_equal(ide_status(s.r, 2), READY | ERR);
    ide_rig_free(&s);
}

static void tables_of_the_disc(void **state)
{
    struct ide_rig s = ide_rig_new();
    PACKET(s.r, 0xfffe, 0x43, 0, 0, 0, 0, 0, 0, 0, 255);
    assert_int_equal(answer(s.r), 20);
    assert_memory_equal(buf, "\0\x12\1\1\0\x14\1\0\0\0\0\0\0\x14\xaa\0\0\0\0\x64", 20);
    PACKET(s.r, 0xfffe, 0x43, 2, 0, 0, 0, 0, 0xaa, 0, 255); /* the lead-out, MSF: 250 frames */
    assert_int_equal(answer(s.r), 12);
    assert_memory_equal(buf + 8, "\0\0\3\x19", 4);
    PACKET(s.r, 0xfffe, 0x43, 0, 0, 0, 0, 0, 0, 0, 12, 0x40); /* sessions, the old way */
    assert_int_equal(answer(s.r), 12);
    PACKET(s.r, 0xfffe, 0x43, 0, 2, 0, 0, 0, 0, 1, 0);
    assert_int_equal(answer(s.r), 48);
    PACKET(s.r, 0xfffe, 0x51, 0, 0, 0, 0, 0, 0, 0, 34);
    assert_int_equal(answer(s.r), 34);
    PACKET(s.r, 0xfffe, 0x46, 0, 0, 0, 0, 0, 0, 1, 0); /* profile: CD-ROM */
    unsigned n = answer(s.r);
    assert_int_equal(buf[3] + 4, n);
    assert_int_equal(buf[7], 0x08);
    PACKET(s.r, 0xfffe, 0x5a, 0, 0x2a, 0, 0, 0, 0, 0, 255);
    assert_int_equal(answer(s.r), 28);
    assert_int_equal(buf[8], 0x2a);
    PACKET(s.r, 0xfffe, 0xbd, 0, 0, 0, 0, 0, 0, 0, 8);
    assert_int_equal(answer(s.r), 8);
    ide_rig_free(&s);
}

static unsigned media_event(struct rig *r)
{
    PACKET(r, 0xfffe, 0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8);
    assert_int_equal(answer(r), 8);
    return buf[4] | (unsigned)buf[5] << 8;
}

static void discs_come_and_go(void **state)
{
    struct ide_rig s = ide_rig_new();
    struct memory_disk *other = memory_disk_new(10 * 2048);
    assert_int_equal(media_event(s.r), 0x200);
    assert_int_equal(ide_change_medium(s.r->d, 0, NULL), -ENOTTY);
    assert_int_equal(ide_change_medium(s.r->d, 2, NULL), 0);
    PACKET(s.r, 0xfffe, 0x00);
    expect_sense(s.r, 2, 0x3a, 0);
    assert_int_equal(media_event(s.r), 0x003); /* removed, told once */
    assert_int_equal(media_event(s.r), 0x000);
    assert_int_equal(ide_change_medium(s.r->d, 2, &other->block), 0);
    assert_int_equal(media_event(s.r), 0x202);
    PACKET(s.r, 0xfffe, 0x25);
    expect_sense(s.r, 6, 0x28, 0); /* the disc may have changed */
    PACKET(s.r, 0xfffe, 0x25);
    assert_int_equal(answer(s.r), 8);
    assert_int_equal(buf[3], 9);
    PACKET(s.r, 0xfffe, 0x1e, 0, 0, 0, 1);
    PACKET(s.r, 0xfffe, 0x1b, 0, 0, 0, 2); /* eject while it is locked */
    expect_sense(s.r, 5, 0x53, 2);
    PACKET(s.r, 0xfffe, 0x1e, 0, 0, 0, 0);
    PACKET(s.r, 0xfffe, 0x1b, 0, 0, 0, 2);
    PACKET(s.r, 0xfffe, 0x28, 0, 0, 0, 0, 0, 0, 0, 1);
    expect_sense(s.r, 2, 0x3a, 2); /* tray open */
    PACKET(s.r, 0xfffe, 0x1b, 0, 0, 0, 3);
    PACKET(s.r, 0xfffe, 0x00);
    expect_sense(s.r, 6, 0x28, 0);
    PACKET(s.r, 0xfffe, 0x00);
    assert_int_equal(ide_status(s.r, 2), READY);
    other->hold = true; /* taken out in the middle of a read: the device waits for it first */
    PACKET(s.r, 0xfffe, 0x28, 0, 0, 0, 0, 0, 0, 0, 1);
    assert_int_equal(ide_change_medium(s.r->d, 2, NULL), 0);
    assert_null(other->held);
    ide_rig_free(&s);
    block_free(&other->block);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(identity_and_signature), cmocka_unit_test(reads_come_in_blocks),
        cmocka_unit_test(odd_replies_are_padded), cmocka_unit_test(reads_by_bus_master),
        cmocka_unit_test(bad_packets_get_sense),  cmocka_unit_test(tables_of_the_disc),
        cmocka_unit_test(discs_come_and_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
