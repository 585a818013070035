/* SPDX-License-Identifier: MIT */
/* IDE: registers, PIO, resets, features (ATA/ATAPI-6), as probes of SeaBIOS and Linux use them. */
#include "ide_rig.h"

static uint8_t buf[256 * 512];

static void check_sectors(const uint8_t *p, unsigned first, unsigned n)
{
    for (unsigned s = 0; s < n; s++)
        for (unsigned i = 0; i < 512; i++)
            if (p[512 * s + i] != memory_disk_byte(first + s, i))
                fail_msg("sector %u byte %u is %02x", first + s, i, p[512 * s + i]);
}

static void presence_is_seen_at_once(void **state)
{
    struct ide_rig s = ide_rig_new();
    static const bool there[IDE_DRIVES] = {true, true, true, false};
    for (unsigned n = 0; n < IDE_DRIVES; n++) {
        ide_select(s.r, n, 0);
        assert_int_equal(ide_reg(s.r, n, DEVICE), 0xa0 | (n & 1) << 4);
        out8(s.r, ide_base(n) + COUNT, 0x55);
        out8(s.r, ide_base(n) + LBA0, 0xaa);
        assert_int_equal(ide_reg(s.r, n, COUNT), there[n] ? 0x55 : 0);
        assert_int_equal(ide_reg(s.r, n, LBA0), there[n] ? 0xaa : 0);
        assert_int_equal(ide_status(s.r, n) != 0, n < 2); /* packet devices are not ready yet */
    }
    ide_command(s.r, 3, 0xec, 0, 0); /* nobody takes it */
    assert_int_equal(ide_status(s.r, 3), 0);
    assert_string_equal(rig_trace(s.r), "");
    ide_rig_free(&s);
}

static uint16_t word(unsigned n)
{
    return (uint16_t)(buf[2 * n] | buf[2 * n + 1] << 8);
}

static void text(char *to, unsigned first, unsigned words)
{
    for (unsigned i = 0; i < 2 * words; i++)
        to[i] = (char)buf[2 * first + (i ^ 1)];
    to[2 * words] = 0;
}

static void identify_says_what_the_disk_is(void **state)
{
    struct ide_rig s = ide_rig_new();
    char model[41], serial[21];
    uint8_t sum = 0;
    ide_command(s.r, 1, 0xec, 0, 0);
    assert_string_equal(rig_trace(s.r), "+14 ");
    assert_int_equal(ide_status(s.r, 1), READY | DRQ);
    assert_string_equal(rig_trace(s.r), "-14 ");
    ide_read_data(s.r, 1, buf, 512);
    assert_int_equal(ide_status(s.r, 1), READY);
    assert_string_equal(rig_trace(s.r), ""); /* none after the last block */
    text(model, 27, 20);
    text(serial, 10, 10);
    assert_memory_equal(model, "RING3 DISK   ", 13);
    assert_memory_equal(serial, "RING3-0001   ", 13);
    assert_int_equal(word(3), 16);
    assert_int_equal(word(6), 63);
    assert_int_equal(word(60) | word(61) << 16, SECTORS1);
    assert_int_equal(word(100), SECTORS1);
    assert_int_equal(word(49) & 0x0300, 0x0300); /* LBA, DMA */
    assert_int_equal(word(83) & 0xf400, 0x7400); /* LBA48, FLUSH CACHE both */
    assert_int_equal(word(85) & 0x20, 0x20);     /* write cache on */
    assert_int_equal(word(169), 1);              /* TRIM */
    for (unsigned i = 0; i < 512; i++)
        sum = (uint8_t)(sum + buf[i]);
    assert_int_equal(buf[510], 0xa5);
    assert_int_equal(sum, 0);
    ide_rig_free(&s);
}

static void reads_interrupt_per_sector(void **state)
{
    struct ide_rig s = ide_rig_new();
    ide_command(s.r, 0, 0x20, 1000, 0); /* 256 */
    for (unsigned i = 0; i < 256; i++) {
        assert_string_equal(rig_trace(s.r), "+14 ");
        assert_int_equal(ide_alternate(s.r, 0), READY | DRQ);
        assert_string_equal(rig_trace(s.r), "");
        assert_int_equal(ide_status(s.r, 0), READY | DRQ);
        rig_trace(s.r);
        ide_read_data(s.r, 0, buf + 512 * i, 512);
    }
    assert_int_equal(ide_status(s.r, 0), READY);
    assert_string_equal(rig_trace(s.r), "");
    check_sectors(buf, 1000, 256);
    assert_string_equal(memory_disk_trace(s.disk[0]), "r1000+64 r1064+64 r1128+64 r1192+64 ");
    assert_int_equal(bus_read(s.r->host.pio, 0x1f0, 2), 0xffff);
    ide_rig_free(&s);
}

static void reads_by_32_bits_and_cylinders(void **state)
{
    struct ide_rig s = ide_rig_new();
    ide_select(s.r, 0, 3); /* cylinder 1, head 3, sector 5 */
    out8(s.r, 0x1f2, 1);
    out8(s.r, 0x1f3, 5);
    bus_write(s.r->host.pio, 0x1f4, 2, 1); /* two registers at once */
    out8(s.r, 0x1f7, 0x20);
    assert_int_equal(ide_status(s.r, 0), READY | DRQ);
    for (unsigned i = 0; i < 512; i += 4) {
        uint32_t v = (uint32_t)bus_read(s.r->host.pio, 0x1f0, 4);
        memcpy(buf + i, &v, 4);
    }
    check_sectors(buf, (16 + 3) * 63 + 4, 1);
    ide_select(s.r, 0, 15); /* INITIALIZE DEVICE PARAMETERS: 16 heads of 32 sectors */
    out8(s.r, 0x1f2, 32);
    out8(s.r, 0x1f7, 0x91);
    assert_int_equal(ide_status(s.r, 0), READY);
    ide_select(s.r, 0, 3);
    out8(s.r, 0x1f2, 1);
    out8(s.r, 0x1f7, 0x20);
    ide_read_data(s.r, 0, buf, 512);
    check_sectors(buf, (16 + 3) * 32 + 4, 1);
    out8(s.r, 0x1f3, 33); /* there is no sector 33, nor a sector 0 */
    out8(s.r, 0x1f7, 0x20);
    assert_int_equal(ide_status(s.r, 0), READY | ERR);
    assert_int_equal(ide_reg(s.r, 0, ERROR), IDNF);
    ide_rig_free(&s);
}

/* The data port read in bulk gives what single reads give, up to the end of a block. */
static void strings_read_the_same(void **state)
{
    struct ide_rig s = ide_rig_new();
    struct bus *pio = s.r->host.pio;
    assert_int_equal(bus_read_many(pio, 0x1f0, 2, buf, 256), 0); /* nothing to read */
    ide_select(s.r, 0, 0xe0);
    out8(s.r, 0x1f2, 2);
    out8(s.r, 0x1f3, 77);
    out8(s.r, 0x1f7, 0x20);
    assert_int_equal(bus_read_many(pio, 0x1f7, 1, buf, 4), 0); /* no data port */
    assert_int_equal(bus_read_many(pio, 0x1f2, 2, buf, 4), 0);
    assert_int_equal(ide_status(s.r, 0), READY | DRQ);
    assert_int_equal(bus_read_many(pio, 0x1f0, 2, buf, 3), 3);
    uint32_t v = (uint32_t)bus_read(pio, 0x1f0, 4);
    memcpy(buf + 6, &v, 4);
    assert_int_equal(bus_read_many(pio, 0x1f0, 4, buf + 10, 1000), 125); /* 2 bytes remain */
    assert_int_equal(bus_read_many(pio, 0x1f0, 4, buf + 510, 1000), 0);
    assert_int_equal(bus_read_many(pio, 0x1f0, 2, buf + 510, 1000), 1);
    assert_int_equal(ide_status(s.r, 0), READY | DRQ); /* the second sector */
    assert_int_equal(bus_read_many(pio, 0x1f0, 2, buf + 512, 1000), 256);
    check_sectors(buf, 77, 2);
    assert_int_equal(ide_status(s.r, 0), READY);
    assert_int_equal(bus_read_many(pio, 0x1f0, 2, buf, 1000), 0);
    ide_rig_free(&s);
}

static void multiple_moves_blocks(void **state)
{
    struct ide_rig s = ide_rig_new();
    ide_command(s.r, 0, 0xc4, 7, 10);
    assert_int_equal(ide_status(s.r, 0), READY | ERR); /* SET MULTIPLE first */
    assert_int_equal(ide_reg(s.r, 0, ERROR), ABRT);
    ide_command(s.r, 0, 0xc6, 0, 3);
    assert_int_equal(ide_status(s.r, 0), READY | ERR);
    ide_command(s.r, 0, 0xc6, 0, 8);
    assert_int_equal(ide_status(s.r, 0), READY);
    rig_trace(s.r);
    ide_command_ext(s.r, 0, 0x29, 7, 10);
    ide_status(s.r, 0);
    ide_read_data(s.r, 0, buf, 8 * 512);
    assert_string_equal(rig_trace(s.r), "+14 -14 +14 ");
    assert_int_equal(ide_status(s.r, 0), READY | DRQ);
    ide_read_data(s.r, 0, buf + 8 * 512, 2 * 512);
    assert_int_equal(ide_status(s.r, 0), READY);
    check_sectors(buf, 7, 10);
    for (unsigned i = 0; i < sizeof buf; i++)
        buf[i] = (uint8_t)(i * 31);
    rig_trace(s.r);
    memory_disk_trace(s.disk[0]);
    ide_command(s.r, 0, 0xc5, 100, 10);
    assert_string_equal(rig_trace(s.r), ""); /* the first block is asked for without */
    ide_write_data(s.r, 0, buf, 8 * 512);
    assert_string_equal(rig_trace(s.r), "+14 ");
    ide_write_data(s.r, 0, buf + 8 * 512, 2 * 512);
    assert_int_equal(ide_status(s.r, 0), READY);
    assert_memory_equal(s.disk[0]->bytes + 100 * 512, buf, 10 * 512);
    assert_string_equal(memory_disk_trace(s.disk[0]), "w100+10 ");
    ide_rig_free(&s);
}

static void long_writes_go_in_pieces(void **state)
{
    struct ide_rig s = ide_rig_new();
    for (unsigned i = 0; i < sizeof buf; i++)
        buf[i] = (uint8_t)(i * 5 + i / 512);
    ide_command(s.r, 1, 0x30, 20, 200);
    ide_write_data(s.r, 1, buf, 100 * 512);
    ide_write_data(s.r, 1, buf + 100 * 512, 100 * 512);
    assert_int_equal(ide_status(s.r, 1), READY);
    assert_int_equal(s.r->rises[14], 1); /* 200 of them, but nobody read the status */
    assert_memory_equal(s.disk[1]->bytes + 20 * 512, buf, 200 * 512);
    assert_int_equal(s.disk[1]->bytes[220 * 512], memory_disk_byte(220, 0));
    assert_string_equal(memory_disk_trace(s.disk[1]), "w20+64 w84+64 w148+64 w212+8 ");
    assert_string_equal(memory_disk_trace(s.disk[0]), "");
    ide_rig_free(&s);
}

static void ranges_beyond_the_end_fail(void **state)
{
    static const struct {
        unsigned command;
        bool ext;
        uint64_t lba;
        unsigned count;
    } cases[] = {{0x20, false, SECTORS1, 1},      {0x20, false, SECTORS1 - 1, 2},
                 {0x30, false, SECTORS1 - 1, 2},  {0x24, true, 1, 0},
                 {0x24, true, 0xffffffffffff, 1}, {0xc8, false, 0xfffffff, 0},
                 {0x35, true, SECTORS1, 1},       {0x42, true, 299, 2}};
    struct ide_rig s = ide_rig_new();
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        if (cases[i].ext)
            ide_command_ext(s.r, 1, cases[i].command, cases[i].lba, cases[i].count);
        else
            ide_command(s.r, 1, cases[i].command, (uint32_t)cases[i].lba, cases[i].count);
        assert_int_equal(s.r->level[14], 1);
        assert_int_equal(ide_status(s.r, 1), READY | ERR);
        assert_int_equal(ide_reg(s.r, 1, ERROR), IDNF);
    }
    assert_string_equal(memory_disk_trace(s.disk[1]), "");
    ide_command(s.r, 1, 0x20, SECTORS1 - 1, 1);
    assert_int_equal(ide_status(s.r, 1), READY | DRQ);
    ide_rig_free(&s);
}

static void errors_of_the_image_show(void **state)
{
    struct ide_rig s = ide_rig_new();
    s.disk[0]->fail = -EIO;
    ide_command(s.r, 0, 0x20, 77, 1);
    assert_int_equal(ide_status(s.r, 0), READY | ERR);
    assert_int_equal(ide_reg(s.r, 0, ERROR), UNC);
    assert_int_equal(ide_reg(s.r, 0, LBA0), 77);
    ide_command(s.r, 0, 0x30, 5, 1);
    s.disk[0]->fail = -ENOSPC;
    ide_write_data(s.r, 0, buf, 512);
    assert_int_equal(ide_status(s.r, 0), READY | ERR | DF);
    s.disk[0]->fail = -EIO;
    ide_command(s.r, 0, 0xe7, 0, 0);
    assert_int_equal(ide_status(s.r, 0), READY | ERR | DF);
    s.disk[0]->block.info.read_only = true;
    ide_command(s.r, 0, 0x30, 5, 1);
    ide_write_data(s.r, 0, buf, 512);
    assert_int_equal(ide_status(s.r, 0), READY | ERR);
    assert_int_equal(ide_reg(s.r, 0, ERROR), ABRT);
    ide_rig_free(&s);
}

static void the_write_cache_can_be_off(void **state)
{
    struct ide_rig s = ide_rig_new();
    ide_feature(s.r, 0, 0x82, 0);
    assert_string_equal(memory_disk_trace(s.disk[0]), "f "); /* first what it holds */
    ide_command(s.r, 0, 0x30, 9, 1);
    ide_write_data(s.r, 0, buf, 512);
    assert_string_equal(memory_disk_trace(s.disk[0]), "W9+1 ");
    out8(s.r, 0x3f6, 4);
    out8(s.r, 0x3f6, 0); /* a software reset keeps it */
    ide_command(s.r, 0, 0x30, 9, 1);
    ide_write_data(s.r, 0, buf, 512);
    assert_string_equal(memory_disk_trace(s.disk[0]), "W9+1 ");
    ide_command(s.r, 0, 0xec, 0, 0);
    ide_read_data(s.r, 0, buf, 512);
    assert_int_equal(word(85) & 0x20, 0);
    ide_feature(s.r, 0, 0x02, 0);
    ide_command(s.r, 0, 0x30, 9, 1);
    ide_write_data(s.r, 0, buf, 512);
    ide_command(s.r, 0, 0xea, 0, 0);
    assert_int_equal(ide_status(s.r, 0), READY);
    assert_string_equal(memory_disk_trace(s.disk[0]), "w9+1 f ");
    ide_command(s.r, 0, 0xc6, 0, 1);
    ide_command_ext(s.r, 0, 0xce, 9, 1); /* WRITE MULTIPLE FUA EXT */
    ide_write_data(s.r, 0, buf, 512);
    assert_string_equal(memory_disk_trace(s.disk[0]), "W9+1 ");
    ide_rig_free(&s);
}

static void software_reset_leaves_the_signature(void **state)
{
    static const struct {
        unsigned drive;
        uint8_t status, low, high;
    } cases[] = {{0, READY, 0, 0}, {1, READY, 0, 0}, {2, 0, 0x14, 0xeb}};
    struct ide_rig s = ide_rig_new();
    ide_command(s.r, 0, 0x20, 5, 2);
    ide_read_data(s.r, 0, buf, 100);
    for (unsigned channel = 0; channel < 2; channel++) {
        out8(s.r, ide_base(2 * channel) + 0x206, 0x04);
        assert_int_equal(ide_status(s.r, 2 * channel), BSY);
        out8(s.r, ide_base(2 * channel) + COMMAND, 0xec); /* ignored */
        out8(s.r, ide_base(2 * channel) + 0x206, 0x00);
    }
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        ide_select(s.r, cases[i].drive, 0);
        assert_int_equal(ide_status(s.r, cases[i].drive), cases[i].status);
        assert_int_equal(ide_reg(s.r, cases[i].drive, ERROR), 1);
        assert_int_equal(ide_reg(s.r, cases[i].drive, COUNT), 1);
        assert_int_equal(ide_reg(s.r, cases[i].drive, LBA0), 1);
        assert_int_equal(ide_reg(s.r, cases[i].drive, LBA1), cases[i].low);
        assert_int_equal(ide_reg(s.r, cases[i].drive, LBA2), cases[i].high);
    }
    assert_int_equal(bus_read(s.r->host.pio, 0x1f0, 2), 0xffff);
    assert_int_equal(s.r->level[14], 0);
    ide_command(s.r, 1, 0x90, 0, 0); /* diagnostics: drive 0 answers for both */
    assert_int_equal(s.r->level[14], 1);
    assert_int_equal(ide_reg(s.r, 0, DEVICE), 0xa0);
    assert_int_equal(ide_status(s.r, 0), READY);
    assert_int_equal(ide_reg(s.r, 0, ERROR), 1);
    ide_rig_free(&s);
}

static void a_reset_waits_for_the_image(void **state)
{
    struct ide_rig s = ide_rig_new();
    s.disk[0]->hold = true;
    ide_command(s.r, 0, 0x20, 5, 2);
    assert_int_equal(ide_status(s.r, 0), BSY);
    ide_select(s.r, 1, 0); /* no effect while a drive is busy */
    assert_int_equal(ide_status(s.r, 0), BSY);
    out8(s.r, 0x1f7, 0xec);
    out8(s.r, 0x3f6, 0x04);
    out8(s.r, 0x3f6, 0x00);
    assert_int_equal(ide_status(s.r, 0), BSY);
    memory_disk_finish(s.disk[0]);
    assert_int_equal(ide_status(s.r, 0), READY);
    assert_int_equal(ide_reg(s.r, 0, COUNT), 1);
    assert_string_equal(rig_trace(s.r), "");
    ide_command(s.r, 0, 0x20, 5, 2);
    memory_disk_finish(s.disk[0]);
    assert_string_equal(rig_trace(s.r), "+14 ");
    ide_read_data(s.r, 0, buf, 1024);
    check_sectors(buf, 5, 2);
    ide_command(s.r, 0, 0x20, 5, 2);
    s.r->d->ops->reset(s.r->d); /* of the whole machine: waits */
    assert_null(s.disk[0]->held);
    assert_int_equal(ide_status(s.r, 0), READY);
    ide_rig_free(&s);
}

static void interrupts_can_be_masked(void **state)
{
    struct ide_rig s = ide_rig_new();
    out8(s.r, 0x3f6, 2);
    ide_command(s.r, 0, 0x20, 5, 1);
    assert_string_equal(rig_trace(s.r), "");
    out8(s.r, 0x3f6, 0);
    assert_string_equal(rig_trace(s.r), "+14 ");
    ide_select(s.r, 1, 0); /* the other drive does not pull */
    assert_string_equal(rig_trace(s.r), "-14 ");
    ide_select(s.r, 0, 0);
    assert_string_equal(rig_trace(s.r), "+14 ");
    out8(s.r, 0x1f7, 0xe1); /* a command clears it, its end sets it */
    assert_string_equal(rig_trace(s.r), "-14 +14 ");
    ide_rig_free(&s);
}

static void the_high_bytes_can_be_read(void **state)
{
    struct ide_rig s = ide_rig_new();
    ide_command_ext(s.r, 0, 0x27, 0, 0); /* READ NATIVE MAX ADDRESS EXT */
    assert_int_equal(ide_reg(s.r, 0, LBA0) | ide_reg(s.r, 0, LBA1) << 8, SECTORS0 - 1);
    ide_command_ext(s.r, 0, 0x42, UINT64_C(0x112233445566), 0x789a);
    assert_int_equal(ide_reg(s.r, 0, COUNT), 0x9a);
    assert_int_equal(ide_reg(s.r, 0, LBA2), 0x44);
    out8(s.r, 0x3f6, 0x80);
    assert_int_equal(ide_reg(s.r, 0, COUNT), 0x78);
    assert_int_equal(ide_reg(s.r, 0, LBA0), 0x33);
    assert_int_equal(ide_reg(s.r, 0, LBA2), 0x11);
    out8(s.r, 0x1f2, 0); /* a write ends it */
    assert_int_equal(ide_reg(s.r, 0, LBA0), 0x66);
    ide_rig_free(&s);
}

static void small_commands_answer(void **state)
{
    static const struct {
        unsigned command, features, lba, status;
    } cases[] = {{0x10, 0, 0, READY},
                 {0x00, 0, 0, READY | ERR},
                 {0x70, 0, 5, READY},
                 {0x70, 0, 5000, READY | ERR},
                 {0x40, 0, 5, READY},
                 {0xe0, 0, 0, READY},
                 {0xb0, 0xda, 0xc24f00, READY},
                 {0xb0, 0xda, 0, READY | ERR},
                 {0xb0, 0xd0, 0xc24f00, READY | DRQ},
                 {0xb0, 0xd9, 0xc24f00, READY},
                 {0xb0, 0xd0, 0xc24f00, READY | ERR},
                 {0xb0, 0xd8, 0xc24f00, READY},
                 {0xef, 0x99, 0, READY | ERR},
                 {0xa0, 0, 0, READY | ERR},
                 {0xa1, 0, 0, READY | ERR},
                 {0xff, 0, 0, READY | ERR}};
    struct ide_rig s = ide_rig_new();
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        out8(s.r, 0x1f1, cases[i].features);
        ide_command(s.r, 0, cases[i].command, cases[i].lba, 1);
        if (ide_status(s.r, 0) != cases[i].status)
            fail_msg("command %02x, row %u: status %02x", cases[i].command, i,
                     ide_alternate(s.r, 0));
        if (cases[i].status & DRQ)
            ide_read_data(s.r, 0, buf, 512);
    }
    ide_command(s.r, 0, 0xe0, 0, 1);
    ide_command(s.r, 0, 0xe5, 0, 1); /* CHECK POWER MODE: standby, idle */
    assert_int_equal(ide_reg(s.r, 0, COUNT), 0x00);
    ide_command(s.r, 0, 0x20, 0, 1);
    ide_read_data(s.r, 0, buf, 512);
    ide_command(s.r, 0, 0xe5, 0, 1);
    assert_int_equal(ide_reg(s.r, 0, COUNT), 0xff);
    ide_rig_free(&s);
}

static void decoding_can_be_turned_off(void **state)
{
    struct ide_rig s = ide_rig_new();
    assert_int_equal(cfg_read(s.r, 0, 4), 0x71118086);
    assert_int_equal(cfg_read(s.r, 8, 4) >> 8, 0x010180);
    assert_int_equal(cfg_read(s.r, 0x20, 4), BM | 1);
    cfg_write(s.r, 0x40, 2, 0);
    assert_int_equal(ide_status(s.r, 0), 0xff);
    assert_int_equal(ide_reg(s.r, 2, DEVICE), 0xa0); /* the other channel still does */
    cfg_write(s.r, 0x40, 2, 0x8000);
    assert_int_equal(ide_status(s.r, 0), READY);
    cfg_write(s.r, 4, 2, 0);
    assert_int_equal(ide_status(s.r, 0), 0xff);
    assert_int_equal(in8(s.r, BM), 0xff);
    s.r->d->ops->reset(s.r->d);
    assert_int_equal(ide_status(s.r, 0), READY);
    ide_rig_free(&s);
}

/* ---- twins: one pair of images and one memory for both ---- */

static struct memory_disk *shared[3];
static struct phys *shared_mem;
static uint8_t s_pattern[1026];

static struct device *make_twin(struct rig *r)
{
    r->host.mem = shared_mem;
    r->log.level = LOG_ERROR;
    return ide_rig_device(r, shared);
}

/* Random registers rarely make a command that does something: begin some, and move data. Data is
 * then mostly left half moved. */
static uint64_t poke_packet(struct rig *r, uint64_t random)
{
    static const uint8_t packets[] = {0x00, 0x03, 0x12, 0x1b, 0x25, 0x28, 0x43, 0x46,
                                      0x4a, 0x51, 0x52, 0x5a, 0xa8, 0xbd, 0xbe, 0x1e};
    uint8_t packet[12] = {packets[random & 15], 0, 0, 0, random >> 4 & 7, random >> 8 & 63};
    packet[7] = random >> 16 & 1, packet[8] = random >> 17 & 15, packet[9] = packet[8];
    out8(r, 0x171, random >> 22 & 1);
    ide_command(r, 2, 0xa0, random >> 24 & 0xffff00, 0);
    ide_write_data(r, 2, packet, sizeof packet);
    return ide_alternate(r, 2);
}

static uint64_t poke(struct rig *r, uint64_t random)
{
    static const uint8_t commands[] = {0x20, 0x24, 0x29, 0x30, 0x39, 0xc8, 0xca, 0xec,
                                       0xef, 0xc6, 0xa0, 0x91, 0xe7, 0x06, 0x35, 0x25};
    unsigned drive = random >> 3 & 3, bytes = 2 + (random >> 16 & 1023);
    switch (random & 7) {
    case 0:
        out8(r, ide_base(drive) + 0x206, random >> 8 & 0x86);
        return ide_alternate(r, drive);
    case 1:
    case 2:
        out8(r, ide_base(drive) + 0x206, 0); /* out of a reset */
        if (random >> 5 & 1)
            out8(r, ide_base(drive) + DEVICE, 0xa0 | (random >> 48 & 31)); /* cylinders */
        ide_command(r, drive, commands[random >> 12 & 15], random >> 32 & 255, random >> 40 & 31);
        return ide_alternate(r, drive);
    case 3:
        ide_read_data(r, drive, buf, bytes);
        return buf[0] | buf[1] << 8 | buf[bytes - 1] << 16;
    case 4:
        ide_write_data(r, drive, s_pattern, bytes);
        return ide_status(r, drive);
    case 5:
        cfg_write(r, 0x20, 4, BM);
        cfg_write(r, 4, 1, 5);
        bm_prepare(r, drive / 2);
        if (random >> 5 & 1)
            bm_start(r, drive / 2, random >> 20 & 1);
        return bm_status(r, drive / 2);
    default:
        out8(r, 0x376, 0);
        return poke_packet(r, random >> 8);
    }
}

static void state_table_is_complete(void **state)
{
    static const uint16_t ports[] = {0x1f0, 0x1f1, 0x1f2, 0x1f3,  0x1f4,  0x1f5,  0x1f6,
                                     0x1f7, 0x170, 0x171, 0x172,  0x173,  0x174,  0x175,
                                     0x176, 0x177, BM,    BM + 2, BM + 8, BM + 10};
    struct rig_fuzz f = {make_twin, ports, ARRAY_LEN(ports), 1000000, poke};
    ide_rig_disks(shared);
    shared_mem = phys_new(RAM, NULL);
    assert_int_equal(phys_map_ram(shared_mem, 0, 0, RAM, NULL), 0);
    uint32_t table[] = {0x8000, 512, 0x9000, 1024, 0xa000, 0x80000000u | 4096};
    phys_write(shared_mem, TABLE, table, sizeof table);
    for (unsigned i = 0; i < sizeof s_pattern; i++)
        s_pattern[i] = (uint8_t)(i * 77 + 3);
    rig_fuzz(&f);
    for (unsigned i = 0; i < 3; i++)
        block_free(&shared[i]->block);
    phys_free(shared_mem);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(presence_is_seen_at_once),
        cmocka_unit_test(identify_says_what_the_disk_is),
        cmocka_unit_test(reads_interrupt_per_sector),
        cmocka_unit_test(reads_by_32_bits_and_cylinders),
        cmocka_unit_test(strings_read_the_same),
        cmocka_unit_test(multiple_moves_blocks),
        cmocka_unit_test(long_writes_go_in_pieces),
        cmocka_unit_test(ranges_beyond_the_end_fail),
        cmocka_unit_test(errors_of_the_image_show),
        cmocka_unit_test(the_write_cache_can_be_off),
        cmocka_unit_test(software_reset_leaves_the_signature),
        cmocka_unit_test(a_reset_waits_for_the_image),
        cmocka_unit_test(interrupts_can_be_masked),
        cmocka_unit_test(the_high_bytes_can_be_read),
        cmocka_unit_test(small_commands_answer),
        cmocka_unit_test(decoding_can_be_turned_off),
        cmocka_unit_test(state_table_is_complete),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
